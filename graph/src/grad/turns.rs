//! The gradient of a loop: a loop that keeps what the rules of its body read, and a loop back over what was kept.
//!
//! The body is a graph of its own (the carried values and the values from outside are its inputs), and its gradient is
//! `joint`, cut in two, like that of any other graph. The loop forward runs the first half, counts its turns and pushes
//! the residuals of each turn on stacks; the loop back runs the second half as many times, on what it pops. Values from
//! outside are the same at every turn: they are not kept, and their gradients are summed over the turns.
//!
//! A residual that is a stack itself is that of a loop in the body. It is not kept on a stack of stacks: the inner loop
//! goes on with the stack that the outer one carries, and its way back leaves the stack as high as the way there found it.
//!
//! Both loops are made of ops that have gradients, `stack_push` and `stack_pop` too, so loops can be differentiated as
//! often as asked.

use super::{Joint, Position, Split, differentiable, joint};
use crate::build::{Builder, ValueMap};
use crate::host::{self, Item};
use crate::ir::{Block, BlockId, Graph, InputRole, Node, NodeId, NodeKind, Operand, Type, ValueId};
use crate::stack;
use kernels::{DType, Scalar};
use runtime::device::DeviceId;
use runtime::error::{Error, Origin, Result};
use runtime::infer::TensorType;
use runtime::ops;
use runtime::table::Vjp;
use runtime::tensor::Tensor;
use runtime::value::Host;

/// A loop that is differentiated.
pub(super) struct Turns {
    /// The loop's node and everything that its blocks read; inputs: the first carried values, then those from outside.
    whole: Graph,
    /// The body alone, with the same inputs.
    body: Graph,
    carried: usize,
    device: DeviceId,
    origin: Origin,
    /// Which inputs of the body have gradients.
    wanted: Vec<bool>,
    /// What each turn keeps: residuals of the body, and carried values as they were before the turn.
    saved: Vec<Position>,
    kept: Vec<usize>,
}

/// A loop forward that keeps what the way back needs: the results of the loop, the number of turns, the stacks.
pub(super) type Forward = Graph;

impl Turns {
    /// The loop at `node` of `graph`; `free` is what its blocks read from outside.
    pub(super) fn of(
        graph: &Graph,
        node: &Node,
        free: &[(ValueId, Item)],
        device: DeviceId,
        origin: Origin,
    ) -> Result<Turns> {
        let carried = node.outputs.len();
        let block = graph.block(node.blocks[1]);
        let mut builder = Builder::new("turn");
        let mut map = ValueMap::new(graph);
        for &param in &block.params {
            let ty = graph.tensor_type(param).map_err(|_| host_value(graph, param, origin))?.clone();
            map.set(param, builder.input(Type::Tensor(ty), InputRole::Argument, &graph.value(param).name));
        }
        inputs_from_outside(&mut builder, graph, free, &mut map)?;
        for &inner in &block.nodes {
            builder.copy(graph, inner, &mut map)?;
        }
        let results = block.results.iter().map(|&v| map.get(v)).collect::<Result<_>>()?;
        let body = builder.finish(results, Vec::new());

        let mut builder = Builder::new("loop");
        let mut map = ValueMap::new(graph);
        let mut first = Vec::with_capacity(carried);
        for value in node.reads() {
            let name = &graph.value(value).name;
            first.push(builder.input(graph.ty(value).clone(), InputRole::Argument, name));
        }
        inputs_from_outside(&mut builder, graph, free, &mut map)?;
        let blocks = node.blocks.iter().map(|&b| builder.copy_block(graph, b, &mut map));
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        let types: Vec<Type> = node.outputs.iter().map(|&v| graph.ty(v).clone()).collect();
        let first = first.into_iter().map(Operand::Value).collect();
        let made = builder.node(NodeKind::While, first, blocks, &types, Some(origin));
        let results = builder.outputs(made).to_vec();
        let whole = builder.finish(results, Vec::new());

        let wanted = vec![false; body.params().len()];
        Ok(Turns { whole, body, carried, device, origin, wanted, saved: Vec::new(), kept: Vec::new() })
    }

    /// The loop as it is, where no gradient passes it.
    pub(super) fn plain(&self) -> &Graph {
        &self.whole
    }

    /// Settles which gradients pass the loop, given the inputs that have one, and makes the loop forward; `None` where
    /// none passes.
    pub(super) fn forward(&mut self, needed: &[bool]) -> Result<Option<Forward>> {
        let float = |v: &ValueId| differentiable(self.body.ty(*v));
        let mut wanted: Vec<bool> =
            self.body.params().iter().zip(needed).map(|(v, &n)| n && float(v)).collect();
        loop {
            let reached = reached(&self.body, &wanted);
            let results = self.body.results().iter().enumerate();
            let new: Vec<usize> = results
                .filter(|(i, v)| !wanted[*i] && float(v) && reached[v.0 as usize])
                .map(|r| r.0)
                .collect();
            if new.is_empty() {
                break;
            }
            new.into_iter().for_each(|i| wanted[i] = true);
        }
        if !wanted[..self.carried].contains(&true) {
            return Ok(None);
        }
        self.wanted = wanted;
        let joint = self.joint(&self.wanted[..self.carried])?;
        self.saved = joint.saved();
        let split = joint.split(&self.saved)?;
        let uses = split.backward.use_counts();
        let params = split.backward.params();
        self.kept = (0..self.carried).filter(|&i| uses[params[i].0 as usize] > 0).collect();
        self.loop_forward(&split).map(Some)
    }

    fn joint(&self, given: &[bool]) -> Result<Joint> {
        joint(&self.body, self.device, &self.wanted, given)
    }

    /// The types of the stacks: those of the residuals, then those of the kept carried values.
    fn stacks(&self, split: &Split) -> Result<Vec<TensorType>> {
        let (graph, results) = (&split.forward, split.forward.results());
        let residuals = results[results.len() - split.residuals..].iter().map(|&v| graph.tensor_type(v));
        let kept = self.kept.iter().map(|&i| self.body.tensor_type(self.body.params()[i]));
        residuals
            .chain(kept)
            .map(|ty| ty.map(|ty| if stack::is(ty) { ty.clone() } else { stack::with_items(ty) }))
            .collect()
    }

    fn loop_forward(&self, split: &Split) -> Result<Graph> {
        let origin = Some(self.origin);
        let (mut b, inputs) = Builder::like(&self.whole);
        let outside: Vec<ValueId> =
            self.whole.params()[self.carried..].iter().map(|&v| inputs.get(v)).collect::<Result<_>>()?;
        let node = self.whole.node(*self.whole.main().nodes.last().ok_or_else(lost)?);
        let mut map = inputs.clone();
        for &literal in &self.whole.main().nodes[..self.whole.main().nodes.len() - 1] {
            b.copy(&self.whole, literal, &mut map)?;
        }
        let stacks = self.stacks(split)?;
        let mut first: Vec<ValueId> =
            self.whole.params()[..self.carried].iter().map(|&v| inputs.get(v)).collect::<Result<_>>()?;
        let mut types: Vec<Type> = node.outputs.iter().map(|&v| self.whole.ty(v).clone()).collect();
        first.push(number(&mut b, 0, self.device, origin)?);
        types.push(Type::Tensor(TensorType::new(DType::I64, &[])));
        for ty in &stacks {
            first.push(zeros(&mut b, ty, self.device, origin)?);
            types.push(Type::Tensor(ty.clone()));
        }
        // The condition sees the carried values alone.
        let test = b.begin(&types);
        let given = b.graph().block(test).params.clone();
        let holds = copy_body(&mut b, &self.whole, node.blocks[0], &given, map.clone())?;
        b.end(holds);

        let turn = b.begin(&types);
        let given = b.graph().block(turn).params.clone();
        let graph = &split.forward;
        let mut map = ValueMap::new(graph);
        let from = given[..self.carried].iter().chain(&outside);
        graph.params().iter().zip(from).for_each(|(&param, &value)| map.set(param, value));
        let residuals = &graph.results()[graph.results().len() - split.residuals..];
        let threaded = Threads::made(graph, residuals)?;
        let high = &given[self.carried + 1..];
        for &inner in &graph.main().nodes {
            let mut operands: Vec<Operand> =
                graph.node(inner).operands.iter().map(|o| map.operand(o)).collect::<Result<_>>()?;
            for &(_, at, k) in threaded.0.iter().filter(|t| t.0 == inner) {
                operands[at] = Operand::Value(high[k]);
            }
            b.copy_with(graph, inner, operands, &mut map)?;
        }
        let mut results: Vec<ValueId> =
            graph.results()[..self.carried].iter().map(|&v| map.get(v)).collect::<Result<_>>()?;
        let more = vec![Operand::Value(given[self.carried]), one()];
        results.push(b.op1(&ops::ADD, more, origin)?);
        for (k, &residual) in residuals.iter().enumerate() {
            let residual_is_stack = graph.tensor_type(residual).is_ok_and(stack::is);
            let value = map.get(residual)?;
            results.push(if residual_is_stack { value } else { push(&mut b, high[k], value, origin)? });
        }
        for (k, &i) in self.kept.iter().enumerate() {
            results.push(push(&mut b, high[residuals.len() + k], given[i], origin)?);
        }
        b.end(results);
        let first = first.into_iter().map(Operand::Value).collect();
        let made = b.node(NodeKind::While, first, vec![test, turn], &types, origin);
        let results = b.outputs(made).to_vec();
        Ok(b.finish(results, Vec::new()))
    }

    /// The loop back, for cotangents of the results in `given`. Inputs: the values from outside, the number of turns, the
    /// stacks, the cotangents that are there. Results: the gradients of the body's inputs; says which there are.
    pub(super) fn backward(&self, given: &[bool]) -> Result<(Graph, Vec<bool>)> {
        let mut flowing: Vec<bool> = (0..self.carried).map(|i| given[i] && self.wanted[i]).collect();
        let joint = loop {
            let joint = self.joint(&flowing)?;
            let new = |i: &usize| !flowing[*i] && joint.gradients[*i].is_some();
            let new: Vec<usize> = (0..self.carried).filter(new).collect();
            if new.is_empty() {
                break joint;
            }
            new.into_iter().for_each(|i| flowing[i] = true);
        };
        let split = joint.split(&self.saved)?;
        let inputs = joint.gradients.len();
        let summed: Vec<usize> = (self.carried..inputs).filter(|&i| joint.gradients[i].is_some()).collect();
        let there = (0..inputs).map(|i| if i < self.carried { flowing[i] } else { summed.contains(&i) });
        let there = there.collect();
        Ok((self.loop_back(&joint, &split, given, &flowing, &summed)?, there))
    }

    fn loop_back(
        &self,
        joint: &Joint,
        split: &Split,
        given: &[bool],
        flowing: &[bool],
        summed: &[usize],
    ) -> Result<Graph> {
        let origin = Some(self.origin);
        let mut b = Builder::new("loop.back");
        let params = self.body.params();
        let ty = |i: usize| self.body.tensor_type(params[i]).cloned();
        let input = |b: &mut Builder, ty: TensorType, name: &str| {
            b.input(Type::Tensor(ty), InputRole::Argument, name)
        };
        let mut outside = Vec::new();
        for &param in &params[self.carried..] {
            outside.push(input(&mut b, self.body.tensor_type(param)?.clone(), &self.body.value(param).name));
        }
        let count = TensorType::new(DType::I64, &[]);
        let mut first = vec![input(&mut b, count.clone(), "turns")];
        let mut types = vec![Type::Tensor(count)];
        let stacks = self.stacks(split)?;
        for ty in &stacks {
            first.push(input(&mut b, ty.clone(), ""));
            types.push(Type::Tensor(ty.clone()));
        }
        let flows: Vec<usize> = (0..self.carried).filter(|&i| flowing[i]).collect();
        let mut seeds = Vec::new();
        for &i in &flows {
            seeds.push(if given[i] { Some(input(&mut b, ty(i)?, "")) } else { None });
        }
        for (&i, seed) in flows.iter().zip(seeds) {
            first.push(match seed {
                Some(seed) => seed,
                None => zeros(&mut b, &ty(i)?, self.device, origin)?,
            });
            types.push(Type::Tensor(ty(i)?));
        }
        for &i in summed {
            first.push(zeros(&mut b, &ty(i)?, self.device, origin)?);
            types.push(Type::Tensor(ty(i)?));
        }
        let test = b.begin(&types);
        let left = b.graph().block(test).params[0];
        let zero = Operand::Host(Host::Scalar(Scalar::Int(0)));
        let holds = b.op1(&ops::GT, vec![Operand::Value(left), zero], origin)?;
        b.end(vec![holds]);

        let turn = b.begin(&types);
        let now = b.graph().block(turn).params.clone();
        let (high, now_rest) = now[1..].split_at(stacks.len());
        let (cotangents, sums) = now_rest.split_at(flows.len());
        let graph = &split.backward;
        let (own, rest) = graph.params().split_at(params.len());
        let (residuals, seeds) = rest.split_at(split.residuals);
        let mut map = ValueMap::new(graph);
        own[self.carried..].iter().zip(&outside).for_each(|(&p, &v)| map.set(p, v));
        seeds.iter().zip(cotangents).for_each(|(&p, &v)| map.set(p, v));
        let mut rests = Vec::with_capacity(stacks.len());
        let items = residuals.iter().copied().chain(self.kept.iter().map(|&i| own[i]));
        for (k, item) in items.enumerate() {
            if k < residuals.len() && graph.tensor_type(item).is_ok_and(stack::is) {
                map.set(item, high[k]);
                rests.push(high[k]);
                continue;
            }
            let both = b.op(&ops::STACK_POP, vec![Operand::Value(high[k])], origin)?;
            rests.push(both[0]);
            map.set(item, both[1]);
        }
        let gradients = b.inline(graph, &mut map)?;
        for (k, &residual) in residuals.iter().enumerate() {
            if let Some(rest) = Threads::left(graph, residual)? {
                rests[k] = map.get(rest)?;
            }
        }
        let mut at = gradients.into_iter();
        let gradients: Vec<Option<ValueId>> =
            joint.gradients.iter().map(|g| g.and_then(|_| at.next())).collect();
        let less = vec![Operand::Value(now[0]), one()];
        let mut results = vec![b.op1(&ops::SUB, less, origin)?];
        results.extend(rests);
        for &i in &flows {
            results.push(match gradients[i] {
                Some(gradient) => gradient,
                None => zeros(&mut b, &ty(i)?, self.device, origin)?,
            });
        }
        for (&i, &sum) in summed.iter().zip(sums) {
            let gradient = gradients[i].ok_or_else(lost)?;
            results.push(b.op1(&ops::ADD, vec![Operand::Value(sum), Operand::Value(gradient)], origin)?);
        }
        b.end(results);
        let first = first.into_iter().map(Operand::Value).collect();
        let made = b.node(NodeKind::While, first, vec![test, turn], &types, origin);
        let results = b.outputs(made)[1 + stacks.len()..].to_vec();
        Ok(b.finish(results, Vec::new()))
    }
}

/// Stacks of loops inside a body, which go on from turn to turn: node, operand, number of the residual.
struct Threads(Vec<(NodeId, usize, usize)>);

impl Threads {
    /// Where the stacks among these values begin.
    fn made(graph: &Graph, residuals: &[ValueId]) -> Result<Threads> {
        let mut out = Vec::new();
        for (k, &residual) in residuals.iter().enumerate() {
            if !graph.tensor_type(residual).is_ok_and(stack::is) {
                continue;
            }
            let place = graph.main().nodes.iter().find_map(|&n| {
                let node = graph.node(n);
                let at = node.outputs.iter().position(|&o| o == residual)?;
                matches!(node.kind, NodeKind::While).then_some((n, at, k))
            });
            out.push(place.ok_or_else(|| Error::internal("a stack that no loop makes"))?);
        }
        Ok(Threads(out))
    }

    /// What is left of a stack after the loop that takes it.
    fn left(graph: &Graph, residual: ValueId) -> Result<Option<ValueId>> {
        if !graph.tensor_type(residual).is_ok_and(stack::is) {
            return Ok(None);
        }
        let nodes = graph.main().nodes.iter().map(|&n| graph.node(n));
        let mut takers = nodes.filter(|n| n.reads().any(|v| v == residual));
        match (takers.next(), takers.next()) {
            (None, _) => Ok(None),
            (Some(node), None) if matches!(node.kind, NodeKind::While) => {
                let at = node.reads().position(|v| v == residual);
                Ok(at.map(|at| node.outputs[at]))
            }
            _ => Err(Error::internal("a stack that is not taken by one loop alone")),
        }
    }
}

/// Which values of a graph depend on the inputs in `wanted` in a way that gradients follow.
fn reached(graph: &Graph, wanted: &[bool]) -> Vec<bool> {
    let mut reached = vec![false; graph.value_count()];
    graph.params().iter().zip(wanted).for_each(|(v, &w)| reached[v.0 as usize] = w);
    for &id in &graph.main().nodes {
        let node = graph.node(id);
        let stops = matches!(node.kind, NodeKind::Op(op) if matches!(op.vjp, Vjp::Zero));
        let inside = node.blocks.iter().flat_map(|&block| graph.free_values(block));
        let any = !stops && node.reads().chain(inside).any(|v| reached[v.0 as usize]);
        for &output in &node.outputs {
            reached[output.0 as usize] = any && differentiable(graph.ty(output));
        }
    }
    reached
}

/// Tensors from outside become inputs; host values become literals.
fn inputs_from_outside(
    builder: &mut Builder,
    graph: &Graph,
    free: &[(ValueId, Item)],
    map: &mut ValueMap,
) -> Result<()> {
    for (value, _) in free.iter().filter(|(v, _)| graph.ty(*v).tensor().is_some()) {
        let info = graph.value(*value);
        map.set(*value, builder.input(info.ty.clone(), InputRole::Argument, &info.name));
    }
    let literal = host::find("host.literal").ok_or_else(|| Error::internal("no host.literal"))?;
    for (value, item) in free.iter().filter(|(v, _)| graph.ty(*v).tensor().is_none()) {
        let Item::Host(host) = item else {
            return Err(Error::gradient(
                "a loop reads a container of the host; its gradient is not made in a graph",
            ));
        };
        map.set(*value, builder.host_op(literal, vec![Operand::Host(host.clone())], None)?);
    }
    Ok(())
}

/// Copies the nodes of a block into the open one, its parameters being the first of `given`.
fn copy_body(
    b: &mut Builder,
    graph: &Graph,
    block: BlockId,
    given: &[ValueId],
    mut map: ValueMap,
) -> Result<Vec<ValueId>> {
    let Block { params, nodes, results } = graph.block(block);
    params.iter().zip(given).for_each(|(&param, &value)| map.set(param, value));
    for &inner in nodes {
        b.copy(graph, inner, &mut map)?;
    }
    results.iter().map(|&v| map.get(v)).collect()
}

fn push(b: &mut Builder, stack: ValueId, item: ValueId, origin: Option<Origin>) -> Result<ValueId> {
    b.op1(&ops::STACK_PUSH, vec![Operand::Value(stack), Operand::Value(item)], origin)
}

fn one() -> Operand {
    Operand::Host(Host::Scalar(Scalar::Int(1)))
}

/// A constant of rank 0.
fn number(b: &mut Builder, value: i64, device: DeviceId, origin: Option<Origin>) -> Result<ValueId> {
    Ok(b.constant(Tensor::scalar(value).to_device(device)?, origin))
}

/// Zeros of a type; of a stack, the empty one.
fn zeros(b: &mut Builder, ty: &TensorType, device: DeviceId, origin: Option<Origin>) -> Result<ValueId> {
    let size = ty.facts().1.iter().map(|&n| n as i64).collect::<Vec<_>>();
    let operands = vec![
        Operand::Host(Host::Ints(size.into())),
        Operand::Host(Host::Scalar(Scalar::Int(0))),
        Operand::Host(Host::DType(ty.dtype)),
        Operand::Host(Host::Str(device.to_string().into())),
    ];
    b.op1(&ops::FULL, operands, origin)
}

fn lost() -> Error {
    Error::internal("a part of a loop is missing")
}

#[cold]
fn host_value(graph: &Graph, value: ValueId, origin: Origin) -> Error {
    let message = format!("a loop carries a host value of type {}, and gradients pass it", graph.ty(value));
    Error::gradient(message).at(origin).hint("carry a tensor")
}
