//! Control flow on tensors inside a traced program. Staged, a branch becomes an `if` node and a loop a `while` node, and
//! what their blocks write (Variables, tensors in place) becomes more results of the node. Along an example, and outside
//! of any trace, the host decides, which a tracer reports like any other look. Under a tape that stands in the trace, either
//! is recorded apart (`region`).

use super::cells::Cell;
use super::region::{apart, watched};
use super::state::State;
use super::tracer::{Mode, Tracer, active, innermost};
use crate::ir::{BlockId, NodeKind, Operand, Type, ValueId};
use kernels::DType;
use runtime::door::{self, Observe};
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::tensor::Tensor;
use std::collections::HashSet;
use std::sync::Arc;

/// `then` where the truth of `condition` (a bool of rank 0) holds, else `otherwise`; both return tensors of equal types.
#[track_caller]
pub fn cond(
    condition: &Tensor,
    then: impl FnOnce() -> Result<Vec<Tensor>>,
    otherwise: impl FnOnce() -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    let origin = Origin::caller();
    check_condition(condition, origin)?;
    match staging(condition) {
        Some(tracer) if watched(&tracer, std::slice::from_ref(condition)) => {
            apart("branch", std::slice::from_ref(condition), origin, |a| cond(&a[0], then, otherwise))
        }
        Some(tracer) => {
            let all = |n: usize| (0..n).map(Choice::Result).collect();
            tracer.cond(condition, then, otherwise, |sides| Ok(sides.map(all)), origin)
        }
        None => match truth(condition, origin)? {
            true => then(),
            false => otherwise(),
        },
    }
}

/// What one side of a branch gives for a result.
#[derive(Clone, Debug)]
pub enum Choice {
    /// The tensor of this place among those that the side returned.
    Result(usize),
    /// A tensor from outside of both.
    Outside(Tensor),
}

/// A branch that is staged whatever is known, whose sides return what they have; which of it becomes results is chosen when
/// both are known: as many for each side, of equal types.
#[track_caller]
pub fn cond_with(
    condition: &Tensor,
    then: impl FnOnce() -> Result<Vec<Tensor>>,
    otherwise: impl FnOnce() -> Result<Vec<Tensor>>,
    choose: impl FnOnce() -> Result<[Vec<Choice>; 2]>,
) -> Result<Vec<Tensor>> {
    let origin = Origin::caller();
    check_condition(condition, origin)?;
    let tracer = innermost().filter(|t| t.mode() == Mode::Staged).ok_or_else(|| {
        Error::new(ErrorKind::Trace, "a branch is staged while a function is recorded").at(origin)
    })?;
    let condition = std::slice::from_ref(condition);
    match watched(&tracer, condition) {
        true => apart("branch", condition, origin, |a| cond_with(&a[0], then, otherwise, choose)),
        false => tracer.cond(&condition[0], then, otherwise, |_| choose(), origin),
    }
}

/// Runs `body` on the carried tensors while `condition` of them holds; both see the values of the turn.
#[track_caller]
pub fn while_loop(
    condition: impl Fn(&[Tensor]) -> Result<Tensor>,
    body: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    init: &[Tensor],
) -> Result<Vec<Tensor>> {
    let origin = Origin::caller();
    if let Some(tracer) = innermost().filter(|t| t.mode() == Mode::Staged) {
        return match watched(&tracer, init) {
            true => apart("loop", init, origin, |a| while_loop(condition, body, a)),
            false => tracer.while_loop(&condition, &body, init, origin),
        };
    }
    let mut carried = init.to_vec();
    loop {
        let holds = condition(&carried)?;
        check_condition(&holds, origin)?;
        if !truth(&holds, origin)? {
            return Ok(carried);
        }
        carried = body(&carried)?;
    }
}

fn truth(condition: &Tensor, origin: Origin) -> Result<bool> {
    Ok(door::observe(condition, Observe::Truth, origin)?.item()?.to_bool())
}

fn check_condition(condition: &Tensor, origin: Origin) -> Result<()> {
    match condition.dtype() == DType::Bool && condition.rank() == 0 {
        true => Ok(()),
        false => {
            let message = format!("a condition must be a bool of rank 0, not {}", condition.tensor_type());
            Err(Error::dtype(message).at(origin).hint("compare, then reduce with `any` or `all`"))
        }
    }
}

/// The tracer that stages a decision on this tensor.
fn staging(condition: &Tensor) -> Option<Arc<Tracer>> {
    active(condition.traced()?.tracer)?;
    innermost().filter(|t| t.mode() == Mode::Staged)
}

fn differ(what: &str, a: &[Type], b: &[Type], origin: Origin) -> Error {
    let show = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
    Error::new(ErrorKind::Trace, format!("{what}: ({}) and ({})", show(a), show(b)))
        .at(origin)
        .hint("shapes and types must be equal; cast or reshape in one of them")
}

/// What one block did.
struct Traced {
    block: BlockId,
    results: Vec<ValueId>,
    /// Of each result the cell from outside whose memory it is, if it is one's.
    outside: Vec<Option<u32>>,
    /// Cells from outside whose value is another one now.
    written: Vec<(u32, ValueId)>,
    /// Cells that may have been written through others.
    stale: HashSet<u32>,
}

impl Tracer {
    /// Records a block; outside of it every cell is as it was.
    fn block(
        &self,
        params: &[Type],
        program: impl FnOnce(&[ValueId]) -> Result<Vec<Tensor>>,
    ) -> Result<Traced> {
        let (block, values, before, stale) = {
            let mut state = self.state();
            let block = state.builder.begin(params);
            let values = state.builder.graph().block(block).params.clone();
            (block, values, state.cells.clone(), state.stale.clone())
        };
        let outcome = program(&values);
        let mut state = self.state();
        let (mut results, mut outside) = (Vec::new(), Vec::new());
        let outcome = outcome.and_then(|tensors| {
            for tensor in &tensors {
                let cell = self.cell(&mut state, tensor)?;
                results.push(state.read(cell)?);
                let root = state.root(cell);
                let own = (root as usize) >= before.len() && !state.is_input(root);
                outside.push((!own).then_some(root));
            }
            Ok(())
        });
        let captured = state.captures();
        let mut written = Vec::new();
        for (at, cell) in state.cells.iter().enumerate() {
            let first = before.get(at).map(|c: &Cell| c.value);
            let first =
                first.or_else(|| captured.iter().find(|(c, _)| *c == at as u32).map(|(_, param)| *param));
            if cell.view.is_none() && first.is_some_and(|first| first != cell.value) {
                written.push((at as u32, cell.value));
            }
        }
        state.builder.end(results.clone());
        state.cells[..before.len()].clone_from_slice(&before);
        for (cell, param) in captured.into_iter().filter(|(c, _)| *c as usize >= before.len()) {
            state.cells[cell as usize].value = param;
        }
        let stale = std::mem::replace(&mut state.stale, stale);
        outcome?;
        Ok(Traced { block, results, outside, written, stale })
    }

    fn cond(
        &self,
        condition: &Tensor,
        then: impl FnOnce() -> Result<Vec<Tensor>>,
        otherwise: impl FnOnce() -> Result<Vec<Tensor>>,
        choose: impl FnOnce([usize; 2]) -> Result<[Vec<Choice>; 2]>,
        origin: Origin,
    ) -> Result<Vec<Tensor>> {
        let operand = {
            let mut state = self.state();
            let cell = self.cell(&mut state, condition)?;
            Operand::Value(state.read(cell)?)
        };
        let mut blocks = [self.block(&[], |_| then())?, self.block(&[], |_| otherwise())?];
        let chosen = choose([blocks[0].results.len(), blocks[1].results.len()])?;
        let mut state = self.state();
        for (block, chosen) in blocks.iter_mut().zip(chosen) {
            let chosen = chosen.into_iter().map(|choice| match choice {
                Choice::Result(at) => {
                    let result = block.results.get(at).copied().zip(block.outside.get(at).copied());
                    result.ok_or_else(|| Error::internal("no such result"))
                }
                Choice::Outside(tensor) => {
                    let cell = self.cell(&mut state, &tensor)?;
                    Ok((state.read(cell)?, Some(state.root(cell))))
                }
            });
            (block.results, block.outside) = chosen.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        }
        let mut written: Vec<u32> = blocks.iter().flat_map(|b| b.written.iter().map(|(c, _)| *c)).collect();
        written.sort_unstable();
        written.dedup();
        let mut types: Vec<Vec<Type>> = Vec::new();
        for block in &blocks {
            let mut results = block.results.clone();
            for &cell in &written {
                let inside = block.written.iter().find(|(c, _)| *c == cell).map(|(_, value)| *value);
                results.push(inside.unwrap_or(state.cells[cell as usize].value));
            }
            types.push(results.iter().map(|&v| state.builder.graph().ty(v).clone()).collect());
            state.builder.set_results(block.block, results);
        }
        if types[0] != types[1] {
            return Err(differ("the branches return different types", &types[0], &types[1], origin));
        }
        let ids = blocks.iter().map(|b| b.block).collect();
        let node = state.builder.node(NodeKind::If, vec![operand], ids, &types[0], Some(origin));
        let outputs = state.builder.outputs(node).to_vec();
        let (returned, new) = outputs.split_at(outputs.len() - written.len());
        for (&cell, &value) in written.iter().zip(new) {
            state.write(cell, value, origin)?;
        }
        state.stale.extend(blocks.iter().flat_map(|block| &block.stale));
        let mut results = Vec::with_capacity(returned.len());
        for (i, &value) in returned.iter().enumerate() {
            let result = self.wrap(&mut state, value, condition.device(), origin)?;
            let cell = self.cell(&mut state, &result)?;
            blocks.iter().filter_map(|block| block.outside[i]).for_each(|root| state.link(cell, root));
            results.push(result);
        }
        Ok(results)
    }

    fn while_loop(
        &self,
        condition: &impl Fn(&[Tensor]) -> Result<Tensor>,
        body: &impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
        init: &[Tensor],
        origin: Origin,
    ) -> Result<Vec<Tensor>> {
        let mut carried: Vec<Type> = init.iter().map(|t| Type::Tensor(t.tensor_type())).collect();
        // Which state the body writes is known after it was recorded once; it is carried, so the blocks that stay are
        // recorded when the set no longer grows.
        let mut written: Vec<u32> = Vec::new();
        let (test, turn) = loop {
            carried.truncate(init.len());
            {
                let state = self.state();
                carried.extend(
                    written.iter().map(|&c| state.builder.graph().ty(state.cells[c as usize].value).clone()),
                );
            }
            let enter = |values: &[ValueId]| -> Result<Vec<Tensor>> {
                let mut state = self.state();
                for (&cell, &value) in written.iter().zip(&values[init.len()..]) {
                    state.write(cell, value, origin)?;
                }
                let turn = values[..init.len()].iter().zip(init);
                turn.map(|(&v, first)| self.handed(&mut state, v, first, origin)).collect()
            };
            let test = self.block(&carried, |values| {
                let holds = condition(&enter(values)?)?;
                check_condition(&holds, origin)?;
                Ok(vec![holds])
            })?;
            let given = self.state().builder.graph().block(test.block).params[init.len()..].to_vec();
            let entered =
                |cell: &u32| written.iter().position(|w| w == cell).and_then(|k| given.get(k)).copied();
            if test.written.iter().any(|(cell, value)| entered(cell) != Some(*value)) {
                return Err(Error::new(ErrorKind::Trace, "the condition of a loop writes state")
                    .at(origin)
                    .hint("write it in the body"));
            }
            let turn = self.block(&carried, |values| body(&enter(values)?))?;
            let grown: Vec<u32> =
                turn.written.iter().map(|(c, _)| *c).filter(|c| !written.contains(c)).collect();
            if grown.is_empty() {
                break (test, turn);
            }
            written.extend(grown);
            written.sort_unstable();
            written.dedup();
        };
        let mut state = self.state();
        let mut results = turn.results.clone();
        for &cell in &written {
            let inside = turn.written.iter().find(|(c, _)| *c == cell).map(|(_, value)| *value);
            results
                .push(inside.ok_or_else(|| Error::internal("carried state that the body does not write"))?);
        }
        let types: Vec<Type> = results.iter().map(|&v| state.builder.graph().ty(v).clone()).collect();
        if types != carried {
            return Err(differ(
                "the body of a loop returns other types than it is given",
                &types,
                &carried,
                origin,
            ));
        }
        state.builder.set_results(turn.block, results);
        let mut operands = Vec::new();
        for tensor in init {
            let cell = self.cell(&mut state, tensor)?;
            operands.push(Operand::Value(state.read(cell)?));
        }
        operands.extend(written.iter().map(|&c| Operand::Value(state.cells[c as usize].value)));
        let blocks = vec![test.block, turn.block];
        let node = state.builder.node(NodeKind::While, operands, blocks, &carried, Some(origin));
        let outputs = state.builder.outputs(node).to_vec();
        let (returned, new) = outputs.split_at(init.len());
        for (&cell, &value) in written.iter().zip(new) {
            state.write(cell, value, origin)?;
        }
        state.stale.extend(test.stale.iter().chain(&turn.stale));
        let mut results = Vec::with_capacity(returned.len());
        for ((&value, first), outside) in returned.iter().zip(init).zip(&turn.outside) {
            let result = self.handed(&mut state, value, first, origin)?;
            let cell = self.cell(&mut state, &result)?;
            outside.iter().for_each(|&root| state.link(cell, root));
            results.push(result);
        }
        Ok(results)
    }

    /// A tensor for a value that a loop carries: in the first turn, or after none, it is what the loop began with.
    fn handed(&self, state: &mut State, value: ValueId, first: &Tensor, origin: Origin) -> Result<Tensor> {
        let tensor = self.wrap(state, value, first.device(), origin)?;
        let (cell, begin) = (self.cell(state, &tensor)?, self.cell(state, first)?);
        state.link(cell, begin);
        Ok(tensor)
    }
}
