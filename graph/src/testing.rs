//! For tests: a small notation for graphs, random programs, and an oracle that runs a graph op by op as eager code would.

use crate::build::Builder;
use crate::ir::{BlockId, Graph, InputRole, Node, NodeKind, Operand, ValueId, tensor};
use kernels::{DType, Scalar};
use runtime::error::Result;
use runtime::ops;
use runtime::table::OpDef;
use runtime::tensor::Tensor;
use runtime::value::{Arg, Host};
use std::collections::HashMap;

/// A builder with one-letter methods.
pub(crate) struct Sketch {
    pub(crate) builder: Builder,
}

impl Sketch {
    pub(crate) fn new() -> Sketch {
        Sketch { builder: Builder::new("sketch") }
    }

    pub(crate) fn argument(&mut self, dims: &[usize]) -> ValueId {
        self.builder.input(tensor(DType::F32, dims), InputRole::Argument, "x")
    }

    pub(crate) fn state(&mut self, dims: &[usize]) -> ValueId {
        self.builder.input(tensor(DType::F32, dims), InputRole::State, "w")
    }

    pub(crate) fn op(&mut self, op: &'static OpDef, values: &[ValueId], host: &[Host]) -> ValueId {
        let mut operands: Vec<Operand> = values.iter().map(|&v| Operand::Value(v)).collect();
        operands.extend(host.iter().cloned().map(Operand::Host));
        self.builder.op1(op, operands, None).unwrap()
    }

    pub(crate) fn named(&mut self, op: &str, values: &[ValueId], host: &[Host]) -> ValueId {
        self.op(runtime::table::find(op).unwrap(), values, host)
    }

    pub(crate) fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op(&ops::ADD, &[a, b], &[])
    }

    pub(crate) fn mul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op(&ops::MUL, &[a, b], &[])
    }

    pub(crate) fn neg(&mut self, a: ValueId) -> ValueId {
        self.op(&ops::NEG, &[a], &[])
    }

    pub(crate) fn times(&mut self, a: ValueId, by: f64) -> ValueId {
        self.op(&ops::MUL, &[a], &[number(by)])
    }

    pub(crate) fn plus(&mut self, a: ValueId, by: f64) -> ValueId {
        self.op(&ops::ADD, &[a], &[number(by)])
    }

    pub(crate) fn matmul(&mut self, a: ValueId, b: ValueId) -> ValueId {
        self.op(&ops::MATMUL, &[a, b], &[])
    }

    pub(crate) fn transpose(&mut self, a: ValueId) -> ValueId {
        let rank = self.dims(a).len() as i64;
        let mut order: Vec<i64> = (0..rank).collect();
        if rank >= 2 {
            order.swap(rank as usize - 1, rank as usize - 2);
        }
        self.op(&ops::PERMUTE, &[a], &[ints(&order)])
    }

    /// Joined along the last dimension.
    pub(crate) fn join(&mut self, list: &[ValueId]) -> ValueId {
        let operands = vec![Operand::Values(list.to_vec()), Operand::Host(Host::Scalar(Scalar::Int(-1)))];
        self.builder.op1(&ops::CAT, operands, None).unwrap()
    }

    pub(crate) fn sum(&mut self, a: ValueId, dims: &[i64], keepdim: bool) -> ValueId {
        self.op(&ops::SUM, &[a], &[ints(dims), Host::Scalar(Scalar::Bool(keepdim))])
    }

    pub(crate) fn dims(&self, a: ValueId) -> Vec<usize> {
        self.builder.graph().tensor_type(a).unwrap().dims().unwrap().to_vec()
    }

    pub(crate) fn finish(self, results: &[ValueId], write_backs: &[(usize, usize)]) -> Graph {
        self.builder.finish(results.to_vec(), write_backs.to_vec())
    }
}

pub(crate) fn number(v: f64) -> Host {
    Host::Scalar(Scalar::Float(v))
}

pub(crate) fn ints(v: &[i64]) -> Host {
    Host::Ints(v.iter().copied().collect())
}

/// A small generator of numbers, the same at each run.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }

    pub(crate) fn tensor(&mut self, dims: &[usize]) -> Tensor {
        let n: usize = dims.iter().product();
        let data: Vec<f32> = (0..n).map(|_| self.below(2000) as f32 / 1000.0 - 1.0).collect();
        Tensor::from_slice(&data, dims).unwrap()
    }
}

/// A random graph of element-wise ops, reductions, views and products over matrices, with state.
pub(crate) fn random_graph(draw: &mut Draw, size: usize) -> Graph {
    random(draw, |s, draw, values| (0..size).for_each(|_| grow(s, draw, values)))
}

/// Such a graph with branches and loops in it, nested up to three deep: conditions on data, on constants, asked again;
/// counted loops and others; carried values that change, that stay and that nobody reads.
pub(crate) fn random_regions(draw: &mut Draw, size: usize) -> Graph {
    random(draw, |s, draw, values| mix(s, draw, values, &mut Vec::new(), size, 3))
}

fn random(draw: &mut Draw, body: impl FnOnce(&mut Sketch, &mut Draw, &mut Vec<ValueId>)) -> Graph {
    let mut s = Sketch::new();
    let extents = [3usize, 4, 5];
    let mut values: Vec<ValueId> = Vec::new();
    for _ in 0..3 {
        let dims = [extents[draw.below(3)], extents[draw.below(3)]];
        values.push(s.argument(&dims));
    }
    let states = 1 + draw.below(3);
    for _ in 0..states {
        let dims = [extents[draw.below(3)], extents[draw.below(3)]];
        values.push(s.state(&dims));
    }
    body(&mut s, draw, &mut values);
    let graph = s.builder.graph();
    let mut results = vec![*values.last().unwrap(), values[draw.below(values.len())]];
    let mut write_backs = Vec::new();
    for input in 3..3 + states {
        let ty = graph.ty(graph.params()[input]).clone();
        let fits: Vec<ValueId> = values.iter().copied().filter(|&v| *graph.ty(v) == ty).collect();
        results.push(fits[draw.below(fits.len())]);
        write_backs.push((input, results.len() - 1));
    }
    s.finish(&results, &write_backs)
}

/// One more value.
fn grow(s: &mut Sketch, draw: &mut Draw, values: &mut Vec<ValueId>) {
    let a = values[draw.below(values.len())];
    let b = values[draw.below(values.len())];
    let (da, db) = (s.dims(a), s.dims(b));
    let fits = kernels::shape::broadcast(&da, &db).is_ok();
    let next = match draw.below(12) {
        0 | 1 if fits => s.add(a, b),
        2 | 3 if fits => s.mul(a, b),
        4 if fits => s.op(&ops::SUB, &[a, b], &[]),
        5 => s.neg(a),
        6 => s.times(a, draw.below(5) as f64 * 0.5),
        7 => s.plus(a, draw.below(3) as f64 * 0.25),
        8 => s.sum(a, &[draw.below(2) as i64], true),
        9 => s.transpose(a),
        10 if da[1] == db[0] => s.matmul(a, b),
        _ => {
            let t = s.transpose(a);
            s.add(t, t)
        }
    };
    values.push(next);
}

/// Values and regions by turns. `asked` are conditions that are visible here.
fn mix(
    s: &mut Sketch,
    draw: &mut Draw,
    values: &mut Vec<ValueId>,
    asked: &mut Vec<ValueId>,
    size: usize,
    depth: usize,
) {
    for _ in 0..size {
        match draw.below(6) {
            0 if depth > 0 => branch(s, draw, values, asked, depth - 1),
            1 if depth > 0 => repeat(s, draw, values, asked, depth - 1),
            _ => grow(s, draw, values),
        }
    }
}

fn scalar(s: &mut Sketch, v: f32) -> ValueId {
    s.builder.constant(Tensor::from_slice(&[v], &[]).unwrap(), None)
}

/// A bool of rank 0: constant, made of data, or a condition met before and its negation.
fn condition(s: &mut Sketch, draw: &mut Draw, values: &[ValueId], asked: &mut Vec<ValueId>) -> ValueId {
    let made = match draw.below(5) {
        0 => {
            let one = scalar(s, 1.0);
            s.op(&ops::GT, &[one], &[number(draw.below(3) as f64)])
        }
        1 if !asked.is_empty() => {
            let before = asked[draw.below(asked.len())];
            if draw.below(2) == 0 {
                return before;
            }
            s.op(&ops::LOGICAL_NOT, &[before], &[])
        }
        _ => {
            let total = s.sum(values[draw.below(values.len())], &[], false);
            s.op(&ops::GT, &[total], &[number(draw.below(3) as f64 - 1.0)])
        }
    };
    asked.push(made);
    made
}

/// A value of the same type among these, not too large.
fn alike(s: &mut Sketch, draw: &mut Draw, values: &[ValueId], like: ValueId) -> ValueId {
    let dims = s.dims(like);
    let fits: Vec<ValueId> = values.iter().copied().filter(|&v| s.dims(v) == dims).collect();
    let chosen = fits[draw.below(fits.len())];
    match draw.below(2) {
        0 => chosen,
        _ => s.named("tanh", &[chosen], &[]),
    }
}

fn branch(
    s: &mut Sketch,
    draw: &mut Draw,
    values: &mut Vec<ValueId>,
    asked: &mut Vec<ValueId>,
    depth: usize,
) {
    let condition = condition(s, draw, values, asked);
    let like: Vec<ValueId> = (0..1 + draw.below(2)).map(|_| values[draw.below(values.len())]).collect();
    // Both sides often begin alike.
    let seed = draw.0;
    let mut blocks = Vec::new();
    for _ in 0..2 {
        s.builder.begin(&[]);
        let mut inner = values.clone();
        let mut again = Draw(seed);
        let common = again.below(3);
        (0..common).for_each(|_| grow(s, &mut again, &mut inner));
        let size = 1 + draw.below(3);
        mix(s, draw, &mut inner, &mut asked.clone(), size, depth);
        let results = like.iter().map(|&v| alike(s, draw, &inner, v)).collect();
        blocks.push(s.builder.end(results));
    }
    let types: Vec<_> = like.iter().map(|&v| s.builder.graph().ty(v).clone()).collect();
    let node = s.builder.node(NodeKind::If, vec![Operand::Value(condition)], blocks, &types, None);
    values.extend(s.builder.outputs(node).to_vec());
}

fn repeat(s: &mut Sketch, draw: &mut Draw, values: &mut Vec<ValueId>, asked: &[ValueId], depth: usize) {
    let mut first: Vec<ValueId> = (0..1 + draw.below(3)).map(|_| values[draw.below(values.len())]).collect();
    let counter = scalar(s, 0.0);
    first.push(counter);
    let types: Vec<_> = first.iter().map(|&v| s.builder.graph().ty(v).clone()).collect();
    let bound = number(draw.below(4) as f64 - 0.5);
    let counted = draw.below(2) == 0;
    let test = s.builder.begin(&types);
    let params = s.builder.graph().block(test).params.clone();
    let (&i, carried) = params.split_last().unwrap();
    let mut holds = s.op(&ops::LT, &[i], &[bound]);
    if !counted {
        let mut inner: Vec<ValueId> = values.iter().chain(carried).copied().collect();
        (0..draw.below(3)).for_each(|_| grow(s, draw, &mut inner));
        let data = condition(s, draw, &inner, &mut asked.to_vec());
        holds = s.op(&ops::LOGICAL_AND, &[holds, data], &[]);
    }
    s.builder.end(vec![holds]);
    let body = s.builder.begin(&types);
    let params = s.builder.graph().block(body).params.clone();
    let (&i, carried) = params.split_last().unwrap();
    let mut inner: Vec<ValueId> = values.iter().chain(carried).copied().collect();
    let size = 1 + draw.below(4);
    mix(s, draw, &mut inner, &mut asked.to_vec(), size, depth);
    let mut results = Vec::new();
    for &param in carried {
        results.push(if draw.below(3) == 0 { param } else { alike(s, draw, &inner, param) });
    }
    results.push(s.plus(i, 1.0));
    s.builder.end(results);
    let operands = first.into_iter().map(Operand::Value).collect();
    let node = s.builder.node(NodeKind::While, operands, vec![test, body], &types, None);
    let outputs = s.builder.outputs(node).to_vec();
    values.extend(&outputs[..outputs.len() - 1]);
}

/// Tensors for the inputs of a graph.
pub(crate) fn inputs(graph: &Graph, draw: &mut Draw) -> Vec<Tensor> {
    graph.params().iter().map(|&p| draw.tensor(&graph.tensor_type(p).unwrap().dims().unwrap())).collect()
}

/// Every result of a graph, run op by op; state is not written.
pub(crate) fn oracle(graph: &Graph, args: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut values: HashMap<ValueId, Tensor> =
        graph.params().iter().copied().zip(args.iter().cloned()).collect();
    run_block(graph, graph.body, &mut values)
}

fn run_block(graph: &Graph, block: BlockId, values: &mut HashMap<ValueId, Tensor>) -> Result<Vec<Tensor>> {
    for &id in &graph.block(block).nodes {
        let node = graph.node(id);
        let outputs = run_node(graph, node, values)?;
        values.extend(node.outputs.iter().copied().zip(outputs));
    }
    Ok(graph.block(block).results.iter().map(|v| values[v].clone()).collect())
}

fn run_node(graph: &Graph, node: &Node, values: &mut HashMap<ValueId, Tensor>) -> Result<Vec<Tensor>> {
    let reads: Vec<Tensor> = node.reads().map(|v| values[&v].clone()).collect();
    let enter = |block: BlockId, tensors: &[Tensor], values: &mut HashMap<ValueId, Tensor>| {
        values.extend(graph.block(block).params.iter().copied().zip(tensors.iter().cloned()));
        run_block(graph, block, values)
    };
    match &node.kind {
        NodeKind::Op(op) => {
            let lists: Vec<Vec<Tensor>> = node
                .operands
                .iter()
                .map(|o| o.values().iter().map(|v| values[v].clone()).collect())
                .collect();
            let args: Vec<Arg> = node
                .operands
                .iter()
                .zip(&lists)
                .map(|(o, list)| match o {
                    Operand::Value(_) => Arg::Tensor(&list[0]),
                    Operand::Values(_) => Arg::Tensors(list),
                    Operand::Host(h) => h.as_arg(),
                })
                .collect();
            Ok(runtime::run::run(op, &args)?.into_vec())
        }
        NodeKind::Constant(tensor) => Ok(vec![tensor.clone()]),
        NodeKind::Fused => enter(node.blocks[0], &reads, values),
        NodeKind::If => {
            let chosen = node.blocks[!reads[0].item()?.to_bool() as usize];
            enter(chosen, &[], values)
        }
        NodeKind::While => {
            let mut carried = reads;
            while enter(node.blocks[0], &carried, values)?[0].item()?.to_bool() {
                carried = enter(node.blocks[1], &carried, values)?;
            }
            Ok(carried)
        }
        NodeKind::HostOp(_) | NodeKind::Host(_) => Ok(reads),
        NodeKind::Call(callable) => Ok(callable.run(&reads)?.into_vec()),
    }
}

/// The bytes of tensors, for comparisons that want the same bits.
pub(crate) fn bits(tensors: &[Tensor]) -> Vec<Vec<u8>> {
    tensors.iter().map(|t| t.to_bytes().unwrap()).collect()
}

/// A dense copy that shares nothing.
pub(crate) fn copies(tensors: &[Tensor]) -> Vec<Tensor> {
    tensors.iter().map(|t| runtime::run::contiguous(t).unwrap()).collect()
}
