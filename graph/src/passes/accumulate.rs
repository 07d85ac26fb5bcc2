//! An update of state by a scaled product becomes a product that adds to the state: `w - (a b) s` is `w + a (b * -s)`. The
//! product is then neither written nor read again, and the state is read and written once, by the product's kernel.
//!
//! Only for state that is replaced by the result, and for what a loop carries, since only there the sum lands where the
//! old value lies; and only where
//! nobody else needs the product. The smaller factor is scaled. Each term is rounded before it is summed instead of after,
//! so the class is reassociating.

use super::Record;
use crate::ir::{BlockId, Graph, InputRole, NodeId, NodeKind, Operand, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, makers, rewrite};
use kernels::Scalar;
use runtime::error::Result;
use runtime::ops;
use runtime::value::{Arg, Host};
use std::collections::{HashMap, HashSet};

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let mut found = Accumulate { updates: HashMap::new(), gone: HashSet::new() };
    let made = makers(graph);
    let uses = graph.use_counts();
    for (block, old, new) in replaced(graph) {
        if uses[new.0 as usize] == 1
            && let Some(maker) = made[new.0 as usize]
            && let Some((update, gone)) = match_update(graph, maker, old, block, &made, &uses)
        {
            found.updates.insert(maker, update);
            found.gone.extend(gone);
        }
    }
    let (next, changes) = rewrite(graph, &mut found)?;
    record.changes = changes;
    Ok(next)
}

/// Values that are replaced at the end of a block: state by its new value, and what a loop carries by what a turn gives.
fn replaced(graph: &Graph) -> Vec<(BlockId, ValueId, ValueId)> {
    let states = graph.write_backs.iter().filter(|(input, _)| graph.inputs[*input] == InputRole::State);
    let mut out: Vec<_> = states.map(|&(i, r)| (graph.body, graph.params()[i], graph.results()[r])).collect();
    for id in graph.walk() {
        if let (NodeKind::While, &[_, turn]) = (&graph.node(id).kind, graph.node(id).blocks.as_slice()) {
            let block = graph.block(turn);
            out.extend(block.params.iter().zip(&block.results).map(|(&old, &new)| (turn, old, new)));
        }
    }
    out
}

/// `state + (a b) * factor`.
struct Update {
    state: ValueId,
    a: ValueId,
    b: ValueId,
    factor: f64,
}

struct Accumulate {
    updates: HashMap<NodeId, Update>,
    gone: HashSet<NodeId>,
}

fn number(operand: Option<&Operand>) -> Option<f64> {
    match operand? {
        Operand::Host(Host::Scalar(v)) => Some(v.to_f64()),
        Operand::Host(_) | Operand::Values(_) | Operand::Value(_) => None,
    }
}

/// The update that a node is, and the nodes that only it needs.
fn match_update(
    graph: &Graph,
    id: NodeId,
    state: ValueId,
    block: BlockId,
    made: &[Option<NodeId>],
    uses: &[u32],
) -> Option<(Update, Vec<NodeId>)> {
    let node = graph.node(id);
    let sign = if node.is(&ops::ADD) {
        1.0
    } else if node.is(&ops::SUB) {
        -1.0
    } else {
        return None;
    };
    if node.value(0)? != state {
        return None;
    }
    let alpha = match node.host(2).as_arg() {
        Arg::None => 1.0,
        other => other.float().ok()?,
    };
    let mut factor = sign * alpha;
    let mut gone = Vec::new();
    let mut term = node.value(1)?;
    let mut maker = made[term.0 as usize]?;
    if graph.node(maker).is(&ops::MUL) {
        let scaled = graph.node(maker);
        let (inner, by) = match (scaled.value(0), number(scaled.operands.get(1))) {
            (Some(v), Some(by)) => (v, by),
            _ => (scaled.value(1)?, number(scaled.operands.first())?),
        };
        if uses[term.0 as usize] != 1 {
            return None;
        }
        gone.push(maker);
        factor *= by;
        term = inner;
        maker = made[term.0 as usize]?;
    }
    let product = graph.node(maker);
    let (ty, whole) = (graph.tensor_type(term).ok()?, graph.tensor_type(state).ok()?);
    let fits = product.is(&ops::MATMUL) && uses[term.0 as usize] == 1 && ty == whole && ty.rank() == 2;
    // A product in another block would move out of it.
    let here = |id: NodeId| graph.block(block).nodes.contains(&id);
    if !fits || !here(maker) || !here(id) || !ty.dtype.is_float() {
        return None;
    }
    gone.push(maker);
    let (a, b) = (product.value(0)?, product.value(1)?);
    let matrices = [a, b].iter().all(|&v| graph.tensor_type(v).is_ok_and(|t| t.rank() == 2));
    matrices.then_some((Update { state, a, b, factor }, gone))
}

impl Visitor for Accumulate {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        if self.gone.contains(&id) {
            return Ok(Outcome::Drop);
        }
        let Some(update) = self.updates.get(&id) else { return Ok(Outcome::Keep) };
        let origin = rewrite.old.node(id).origin;
        let map = |v: ValueId| rewrite.map.get(v);
        let (state, mut a, mut b) = (map(update.state)?, map(update.a)?, map(update.b)?);
        let size = |v: ValueId| rewrite.old.tensor_type(v).map(|t| t.numel().known().unwrap_or(usize::MAX));
        let left = size(update.a)? < size(update.b)?;
        if update.factor != 1.0 {
            let by = Operand::Host(Host::Scalar(Scalar::Float(update.factor)));
            let smaller = if left { &mut a } else { &mut b };
            *smaller = rewrite.new.op1(&ops::MUL, vec![Operand::Value(*smaller), by], origin)?;
        }
        let operands = [state, a, b].map(Operand::Value).to_vec();
        let sum = rewrite.new.op1(&ops::ADDMM, operands, origin)?;
        rewrite.changes.push(format!("an update of {} by a product", rewrite.old.label(update.state)).into());
        Ok(Outcome::Replaced(vec![sum]))
    }
}
