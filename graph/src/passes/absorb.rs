//! What scales and shifts each channel by constants, behind a convolution or a linear layer by constants, becomes part of
//! its weights and its bias: `(w x + b) s + t` is `(w s) x + (b s + t)`.
//!
//! A batch normalisation that does not train is such a chain (less the mean, times 1 / deviation, times the scale, plus the
//! shift), and so is one that a program writes out; no op needs to be recognised. Scale and shift are gathered in float64 and
//! rounded once. Each product is rounded before it is summed instead of after, so the class is reassociating.

use super::Record;
use crate::ir::{BlockId, Graph, Node, NodeId, NodeKind, Operand, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, makers, rewrite};
use kernels::DType;
use runtime::error::Result;
use runtime::ops;
use runtime::tensor::Tensor;
use runtime::value::{Arg, Host};
use std::collections::{HashMap, HashSet};

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let mut found = Absorb { layers: HashMap::new(), gone: HashSet::new() };
    let search = Search::new(graph);
    for id in graph.walk() {
        if let Some((layer, chain)) = search.layer(id)
            && let Some((&end, between)) = chain.split_last()
        {
            found.gone.insert(id);
            found.gone.extend(between);
            found.layers.insert(end, layer);
        }
    }
    if found.layers.is_empty() {
        return Ok(graph.clone());
    }
    let (next, changes) = rewrite(graph, &mut found)?;
    record.changes = changes;
    Ok(next)
}

/// A convolution or linear layer with what follows it in its weights.
struct Layer {
    producer: NodeId,
    weight: Tensor,
    bias: Tensor,
    /// What became part of it.
    absorbed: Vec<&'static str>,
}

struct Absorb {
    /// By the last node of the chain.
    layers: HashMap<NodeId, Layer>,
    gone: HashSet<NodeId>,
}

/// Times `scale`, plus `shift`, for each channel.
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Affine {
    fn each(&mut self, by: &[f64], f: impl Fn(f64, f64, f64) -> (f64, f64)) {
        for (i, (scale, shift)) in self.scale.iter_mut().zip(&mut self.shift).enumerate() {
            (*scale, *shift) = f(*scale, *shift, by[i % by.len()]);
        }
    }
}

struct Search<'g> {
    graph: &'g Graph,
    made: Vec<Option<NodeId>>,
    uses: Vec<u32>,
    /// The last node that reads each value.
    users: HashMap<ValueId, NodeId>,
    within: HashMap<NodeId, BlockId>,
}

impl<'g> Search<'g> {
    fn new(graph: &'g Graph) -> Search<'g> {
        let mut search = Search {
            graph,
            made: makers(graph),
            uses: graph.use_counts(),
            users: HashMap::new(),
            within: HashMap::new(),
        };
        let mut blocks = vec![graph.body];
        while let Some(block) = blocks.pop() {
            for &id in &graph.block(block).nodes {
                search.within.insert(id, block);
                search.users.extend(graph.node(id).reads().map(|v| (v, id)));
                blocks.extend(&graph.node(id).blocks);
            }
        }
        search
    }

    fn constant(&self, operand: Option<&Operand>) -> Option<&'g Tensor> {
        match &self.graph.node(self.made[operand?.value()?.0 as usize]?).kind {
            NodeKind::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The layer that a node is with what follows it, and the nodes that follow.
    fn layer(&self, id: NodeId) -> Option<(Layer, Vec<NodeId>)> {
        let node = self.graph.node(id);
        let (linear, convolution) = (node.is(&ops::LINEAR), node.is(&ops::CONVOLUTION));
        if !linear && !convolution {
            return None;
        }
        let weight = self.constant(node.operands.get(1))?;
        let output = *node.outputs.first()?;
        let shape = self.graph.ty(output).tensor()?.dims()?;
        if !matches!(weight.dtype(), DType::F32 | DType::F64) {
            return None;
        }
        let flag = |i: usize| matches!(node.host(i).as_arg(), Arg::Bool(true));
        let groups = match node.host(8).as_arg() {
            Arg::Int(n) => n,
            _ => 1,
        };
        let transposed = convolution && flag(6);
        if transposed && groups != 1 {
            return None;
        }
        let channel = if linear { shape.len().checked_sub(1)? } else { 1 };
        // Where the weights' channels of the output lie, and how many elements each has side by side.
        let made = usize::from(transposed);
        let channels = *weight.shape().get(made)?;
        let inner: usize = weight.shape()[made + 1..].iter().product();
        if channels == 0 || shape.get(channel) != Some(&channels) {
            return None;
        }
        let mut bias = match node.operands.get(2) {
            None | Some(Operand::Host(Host::None)) => vec![0.0; channels],
            given => self.constant(given)?.to_f64_vec().ok()?,
        };
        if bias.len() == 1 {
            bias = vec![bias[0]; channels];
        }
        let mut affine = Affine { scale: vec![1.0; channels], shift: vec![0.0; channels] };
        let (mut last, mut chain, mut absorbed) = (output, Vec::new(), Vec::new());
        while self.uses[last.0 as usize] == 1
            && let Some(&next) = self.users.get(&last)
            && self.within.get(&next) == self.within.get(&id)
            && let Some(word) = self.step(next, last, channel, channels, &mut affine)
        {
            chain.push(next);
            absorbed.push(word);
            last = self.graph.node(next).outputs[0];
        }
        let Affine { scale, shift } = affine;
        if chain.is_empty() || bias.len() != channels || !scale.iter().chain(&shift).all(|v| v.is_finite()) {
            return None;
        }
        let scaled = weight.to_f64_vec().ok()?.into_iter().enumerate();
        let scaled = scaled.map(|(i, w)| w * scale[i / inner.max(1) % channels]).collect::<Vec<_>>();
        let bias: Vec<f64> = bias.iter().zip(scale.iter().zip(&shift)).map(|(b, (s, t))| b * s + t).collect();
        let weight_of = |values: &[f64], shape: &[usize]| rounded(values, shape, weight).ok();
        let layer = Layer {
            producer: id,
            weight: weight_of(&scaled, weight.shape())?,
            bias: weight_of(&bias, &[channels])?,
            absorbed,
        };
        Some((layer, chain))
    }

    /// Takes a node that scales or shifts `last` into the map; its word, if it does.
    fn step(
        &self,
        id: NodeId,
        last: ValueId,
        channel: usize,
        channels: usize,
        affine: &mut Affine,
    ) -> Option<&'static str> {
        let node: &Node = self.graph.node(id);
        let op = node.op()?;
        let first = node.value(0) == Some(last);
        let other = self.constant(node.operands.get(usize::from(first)))?;
        // Another factor of the second operand, or another kind of division.
        let plain = matches!(node.operands.get(2), None | Some(Operand::Host(Host::None)));
        if !plain || self.graph.ty(*node.outputs.first()?) != self.graph.ty(last) {
            return None;
        }
        let rank = self.graph.ty(last).tensor()?.rank();
        let shape = other.shape();
        let by_channel = shape.len() <= rank
            && shape
                .iter()
                .enumerate()
                .all(|(i, &n)| n == 1 || (i + rank - shape.len() == channel && n == channels));
        if !by_channel {
            return None;
        }
        let by = other.to_f64_vec().ok()?;
        if node.is(&ops::ADD) {
            affine.each(&by, |s, t, c| (s, t + c));
        } else if node.is(&ops::SUB) && first {
            affine.each(&by, |s, t, c| (s, t - c));
        } else if node.is(&ops::SUB) {
            affine.each(&by, |s, t, c| (-s, c - t));
        } else if node.is(&ops::MUL) {
            affine.each(&by, |s, t, c| (s * c, t * c));
        } else if node.is(&ops::DIV) && first {
            affine.each(&by, |s, t, c| (s / c, t / c));
        } else {
            return None;
        }
        Some(op.name)
    }
}

/// Numbers as a tensor of the type and on the device of another.
fn rounded(values: &[f64], shape: &[usize], like: &Tensor) -> Result<Tensor> {
    let tensor = match like.dtype() {
        DType::F64 => Tensor::from_slice(values, shape)?,
        _ => Tensor::from_slice(&values.iter().map(|v| *v as f32).collect::<Vec<_>>(), shape)?,
    };
    tensor.to_device(like.device())
}

impl Visitor for Absorb {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        if self.gone.contains(&id) {
            return Ok(Outcome::Drop);
        }
        let Some(layer) = self.layers.get(&id) else { return Ok(Outcome::Keep) };
        let old = rewrite.old.node(layer.producer);
        let op = match old.kind {
            NodeKind::Op(op) => op,
            _ => return Ok(Outcome::Keep),
        };
        let mut operands = old.operands.clone();
        operands.truncate(2);
        let mut operands = operands.iter().map(|o| rewrite.map.operand(o)).collect::<Result<Vec<_>>>()?;
        operands[1] = Operand::Value(rewrite.new.constant(layer.weight.clone(), old.origin));
        operands.push(Operand::Value(rewrite.new.constant(layer.bias.clone(), old.origin)));
        operands.extend(old.operands.iter().skip(3).cloned());
        let made = rewrite.new.op1(op, operands, old.origin)?;
        let words = layer.absorbed.join(", ");
        rewrite.changes.push(
            format!("{words} of constants are part of the weights of {}", rewrite.old.label(old.outputs[0]))
                .into(),
        );
        Ok(Outcome::Replaced(vec![made]))
    }
}
