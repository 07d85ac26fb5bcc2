//! The gradient of a graph: its nodes are replayed under a tracer, each leaving a record, and the one reverse walk runs
//! their gradient rules under the same tracer. So the rules that a tape computes with are the backward graph, and
//! contributions are added in the order in which a tape adds them.
//!
//! The result is one graph from inputs and cotangents to results and gradients, or that graph cut in two: a forward with
//! residuals as further results, and a backward that takes them. What is saved is what the rules read of the forward
//! values; inputs, constants and views of them are not saved but taken again.
//!
//! A branch is differentiated by a branch that computes the chosen side again; a loop by a loop back over what its turns
//! have left on stacks (`turns`, docs/decisions/0015).

mod record;
mod sources;
mod turns;

pub(crate) use sources::sources;

use crate::build::{Builder, ValueMap};
use crate::ir::{Graph, InputRole, NodeId, NodeKind, Operand, Type, ValueId};
use crate::trace::{Mode, Source, Spec, Tracer, constants};
use crate::verify::verify;
use record::Replay;
use runtime::device::DeviceId;
use runtime::error::{Error, Origin, Result};
use runtime::reverse;
use runtime::table::Effect;
use std::collections::{HashMap, HashSet};

/// A graph with its gradients.
#[derive(Clone, Debug)]
pub struct Joint {
    /// Inputs: those of the graph, then one cotangent for each of `cotangents`. Results: those of the graph, then the
    /// gradients.
    pub graph: Graph,
    /// Number of inputs of the graph itself.
    pub inputs: usize,
    /// Number of results of the graph itself.
    pub results: usize,
    /// Which results have a cotangent, in the order of the inputs.
    pub cotangents: Vec<usize>,
    /// Where the gradient of each input is among the results; `None` where none flows or none was asked for.
    pub gradients: Vec<Option<usize>>,
    /// The first nodes of the body: constants of rules, then the graph itself.
    pub(crate) folded: usize,
    pub(crate) forward: usize,
}

/// A value of the forward half by the place where it is computed: node, output. The same in every joint graph of one
/// graph, whatever gradients and cotangents it was made for.
pub type Position = (usize, usize);

/// A joint graph cut in two.
#[derive(Clone, Debug)]
pub struct Split {
    /// From the inputs to the results, then the residuals.
    pub forward: Graph,
    /// From the inputs, the residuals and the cotangents to the gradients that exist, in the order of the inputs.
    pub backward: Graph,
    /// Number of residuals.
    pub residuals: usize,
}

/// The graph with the gradients of the inputs in `wanted`, for cotangents of the results in `given`.
pub fn joint(graph: &Graph, device: DeviceId, wanted: &[bool], given: &[bool]) -> Result<Joint> {
    let tracer = Tracer::new(&format!("{}.joint", graph.name), Mode::Staged);
    let (inputs, results) = (graph.params().len(), graph.results().len());
    if wanted.len() != inputs || given.len() != results {
        let message =
            format!("{} wanted, {} given for {inputs} inputs, {results} results", wanted.len(), given.len());
        return Err(Error::internal(message));
    }
    let spec = |value: ValueId, prefix: &str| {
        let info = graph.value(value);
        let name = if info.name.is_empty() { String::new() } else { format!("{prefix}{}", info.name) };
        Ok(Spec { ty: graph.tensor_type(value)?.clone(), device, example: None, name })
    };
    let args = graph.params().iter().map(|&v| tracer.argument(&spec(v, "")?)).collect::<Result<Vec<_>>>()?;
    let cotangents: Vec<usize> = (0..results)
        .filter(|&r| given[r] && graph.ty(graph.results()[r]).tensor().is_some_and(|t| t.dtype.is_float()))
        .collect();
    let seeds = cotangents.iter().map(|&r| tracer.argument(&spec(graph.results()[r], "d_")?));
    let seeds = seeds.collect::<Result<Vec<_>>>()?;
    let (mut outputs, gradients, forward) = {
        let _active = tracer.activate();
        let mut replay = Replay::new(graph, &tracer);
        let outputs = replay.body(&args, wanted)?;
        let forward = tracer.body_nodes();
        let roots: Vec<_> = cotangents
            .iter()
            .zip(&seeds)
            .map(|(&r, seed)| (replay.edge(graph.results()[r]), seed.clone()))
            .collect();
        let leaves = reverse::walk(roots, |_, _| Ok(()))?;
        let gradients: Vec<_> = (0..inputs as u64).map(|key| leaves.get(&key).cloned()).collect();
        (outputs, gradients, forward)
    };
    let mut at = Vec::with_capacity(inputs);
    for gradient in gradients {
        at.push(gradient.map(|g| {
            outputs.push(g);
            outputs.len() - 1
        }));
    }
    let recording = tracer.finish(&outputs)?;
    drop((outputs, args, seeds, tracer));
    let (recording, folded) = constants(recording)?;
    let foreign = recording.sources.iter().any(|s| !matches!(s, Source::Argument(_)));
    if foreign {
        return Err(Error::internal("a gradient rule reads a tensor from outside the graph"));
    }
    let mut graph_out = recording.graph;
    graph_out.inputs[..inputs].copy_from_slice(&graph.inputs);
    verify(&graph_out)?;
    let forward = forward + folded;
    Ok(Joint { graph: graph_out, inputs, results, cotangents, gradients: at, folded, forward })
}

impl Joint {
    /// What the backward half reads of the forward half and cannot take again for nothing.
    pub fn saved(&self) -> Vec<Position> {
        let (_, saved) = self.cut();
        let position = |v: &ValueId| {
            let nodes = self.graph.main().nodes[self.folded..].iter().enumerate();
            let mut places = nodes.filter_map(|(i, &n)| {
                let output = self.graph.node(n).outputs.iter().position(|o| o == v)?;
                Some((i, output))
            });
            places.next()
        };
        saved.iter().filter_map(position).collect()
    }

    /// The gradients alone, from inputs and cotangents.
    pub fn gradient(&self) -> Graph {
        let mut graph = self.graph.clone();
        graph.name = graph.name.replace(".joint", ".gradient");
        let body = graph.body.0 as usize;
        let results = self.gradients.iter().flatten().map(|&at| self.graph.results()[at]).collect();
        graph.blocks[body].results = results;
        graph
    }

    fn cut(&self) -> (Cut<'_>, Vec<ValueId>) {
        let nodes = &self.graph.main().nodes;
        let (forward, backward) = nodes.split_at(self.forward.min(nodes.len()));
        let mut cut = Cut::new(self, forward);
        let mut saved = Vec::new();
        for &node in backward {
            self.reads(node).into_iter().for_each(|v| cut.need(v, &mut saved));
        }
        for &at in self.gradients.iter().flatten() {
            cut.need(self.graph.results()[at], &mut saved);
        }
        (cut, saved)
    }

    /// The graph cut in two, with these values as residuals: `saved()` of this joint graph, or of one for more cotangents.
    pub fn split(&self, saved: &[Position]) -> Result<Split> {
        let nodes = &self.graph.main().nodes;
        let (forward, backward) = nodes.split_at(self.forward.min(nodes.len()));
        let (cut, needed) = self.cut();
        let value = |&(node, output): &Position| {
            let node = forward.get(self.folded + node).map(|&n| self.graph.node(n));
            node.and_then(|n| n.outputs.get(output).copied())
                .ok_or_else(|| Error::internal("no such residual"))
        };
        let saved: Vec<ValueId> = saved.iter().map(value).collect::<Result<_>>()?;
        if needed.iter().any(|v| !saved.contains(v)) {
            return Err(Error::internal("the backward reads a value that the forward does not save"));
        }
        let retake: Vec<NodeId> = forward.iter().copied().filter(|n| cut.retaken.contains(n)).collect();
        let (inputs, cotangents) = self.graph.params().split_at(self.inputs);

        let mut builder = Builder::new(self.graph.name.replace(".joint", ".forward"));
        let mut map = ValueMap::new(&self.graph);
        self.declare(&mut builder, &mut map, inputs);
        for &node in forward {
            builder.copy(&self.graph, node, &mut map)?;
        }
        let results = self.graph.results()[..self.results].iter().chain(&saved);
        let results = results.map(|&v| map.get(v)).collect::<Result<_>>()?;
        let forward = builder.finish(results, Vec::new());

        let mut builder = Builder::new(self.graph.name.replace(".joint", ".backward"));
        let mut map = ValueMap::new(&self.graph);
        self.declare(&mut builder, &mut map, inputs);
        self.declare(&mut builder, &mut map, &saved);
        self.declare(&mut builder, &mut map, cotangents);
        for &node in retake.iter().chain(backward) {
            builder.copy(&self.graph, node, &mut map)?;
        }
        let gradients = self.gradients.iter().flatten().map(|&at| map.get(self.graph.results()[at]));
        let gradients = gradients.collect::<Result<_>>()?;
        let backward = builder.finish(gradients, Vec::new());
        verify(&forward)?;
        verify(&backward)?;
        Ok(Split { forward, backward, residuals: saved.len() })
    }

    pub(crate) fn declare(&self, builder: &mut Builder, map: &mut ValueMap, values: &[ValueId]) {
        for &value in values {
            let info = self.graph.value(value);
            let new = builder.input(info.ty.clone(), InputRole::Argument, &info.name);
            map.set(value, new);
        }
    }

    /// Every value from outside that a node or its blocks read.
    pub(crate) fn reads(&self, node: NodeId) -> Vec<ValueId> {
        let node = self.graph.node(node);
        let inside = node.blocks.iter().flat_map(|&b| self.graph.free_values(b));
        node.reads().chain(inside).collect()
    }
}

/// Which forward values the backward half takes, and how.
struct Cut<'a> {
    joint: &'a Joint,
    inputs: HashSet<ValueId>,
    maker: HashMap<ValueId, NodeId>,
    retaken: HashSet<NodeId>,
    seen: HashSet<ValueId>,
}

impl<'a> Cut<'a> {
    fn new(joint: &'a Joint, forward: &[NodeId]) -> Cut<'a> {
        let mut maker = HashMap::new();
        for &node in forward {
            maker.extend(joint.graph.node(node).outputs.iter().map(|&v| (v, node)));
        }
        let inputs = joint.graph.params().iter().copied().collect();
        Cut { joint, inputs, maker, retaken: HashSet::new(), seen: HashSet::new() }
    }

    /// The nodes that give `value` again without computing: constants, and views of what is there.
    fn free(&self, value: ValueId) -> Option<Vec<NodeId>> {
        let (mut value, mut nodes) = (value, Vec::new());
        while !self.inputs.contains(&value) {
            let &id = self.maker.get(&value)?;
            let node = self.joint.graph.node(id);
            nodes.push(id);
            match (&node.kind, node.operands.as_slice()) {
                (NodeKind::Constant(_), _) => return Some(nodes),
                (NodeKind::Op(op), [Operand::Value(base), rest @ ..])
                    if matches!(op.effect, Effect::View(0))
                        && rest.iter().all(|o| matches!(o, Operand::Host(_))) =>
                {
                    value = *base;
                }
                _ => return None,
            }
        }
        Some(nodes)
    }

    fn need(&mut self, value: ValueId, saved: &mut Vec<ValueId>) {
        let forward = self.maker.contains_key(&value);
        if !forward || !self.seen.insert(value) {
            return;
        }
        match self.free(value) {
            Some(nodes) => self.retaken.extend(nodes),
            None => saved.push(value),
        }
    }
}

/// Whether a gradient can flow to values of this type.
pub(crate) fn differentiable(ty: &Type) -> bool {
    ty.tensor().is_some_and(|t| t.dtype.is_float())
}

/// The line to which nodes without one are charged.
#[track_caller]
pub(crate) fn here() -> Origin {
    Origin::caller()
}
