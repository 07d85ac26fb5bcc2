//! What a forward keeps for its backward, where cheap values may be computed again instead: the smallest cut.
//!
//! Every value of the forward that the backward reads must be kept, or be computed again from values that are kept. Element-wise
//! ops and views are computed again; products, reductions, draws and regions never are. So the values to keep cut every way
//! from what is computed once to what the backward reads. Each value is an edge with its bytes as capacity, inputs cost
//! nothing since the caller holds them, and the least cut is found by the greatest flow (Dinic). Of several least cuts the
//! one nearest to the backward is taken, which computes least again.

use crate::build::{Builder, ValueMap};
use crate::grad::{Joint, Position, Split};
use crate::ir::{NodeId, NodeKind, ValueId};
use crate::verify::verify;
use runtime::error::{Error, Result};
use runtime::table::{Effect, Lower};
use std::collections::{HashMap, HashSet, VecDeque};

/// A capacity that no cut can afford.
const NEVER: u64 = 1 << 60;
/// What keeping a value costs whose size nobody knows (a stack of what turns left): more than any that is known.
const DEAR: u64 = 1 << 44;

/// The values of the forward that the backward is given.
pub(crate) fn saved(joint: &Joint) -> Result<Vec<Position>> {
    let forward = Forward::of(joint);
    let usual = joint.saved();
    let mut number: HashMap<ValueId, usize> = HashMap::new();
    // Vertices 0 and 1 are what is computed once and the backward; a value has two, before and after it is kept.
    let mut flow = Flow::new(2);
    for &node in forward.nodes.iter() {
        for &value in &joint.graph.node(node).outputs {
            let before = flow.vertices(2);
            number.insert(value, before);
            flow.edge(before, before + 1, bytes(joint, value));
        }
    }
    for &node in forward.nodes.iter() {
        let again = recomputed(joint, node);
        for value in &joint.graph.node(node).outputs {
            let before = number[value];
            if !again {
                flow.edge(0, before, NEVER);
                continue;
            }
            for read in joint.reads(node) {
                if let Some(&source) = number.get(&read) {
                    flow.edge(source + 1, before, NEVER);
                }
            }
        }
    }
    for value in forward.read_by_backward(joint) {
        if let Some(&at) = number.get(&value) {
            flow.edge(at + 1, 1, NEVER);
        }
    }
    flow.saturate();
    let reaches = flow.reaches_end();
    let mut kept = Vec::new();
    for (i, &node) in forward.nodes[joint.folded..].iter().enumerate() {
        for (output, value) in joint.graph.node(node).outputs.iter().enumerate() {
            let before = number[value];
            if !reaches[before] && reaches[before + 1] {
                kept.push((i, output));
            }
        }
    }
    let size = |list: &[Position]| -> u64 {
        let value = |&(node, output): &Position| {
            let node = joint.graph.node(forward.nodes[joint.folded + node]);
            bytes(joint, node.outputs[output])
        };
        list.iter().map(value).sum()
    };
    Ok(if size(&kept) < size(&usual) { kept } else { usual })
}

/// A joint graph cut in two at these values; what the backward reads and is not given, it computes again.
pub(crate) fn split(joint: &Joint, saved: &[Position]) -> Result<Split> {
    let forward = Forward::of(joint);
    let nodes = &joint.graph.main().nodes;
    let missing = || Error::internal("no such residual");
    let value = |&(node, output): &Position| {
        let node = forward.nodes.get(joint.folded + node).map(|&n| joint.graph.node(n));
        node.and_then(|n| n.outputs.get(output).copied()).ok_or_else(missing)
    };
    let given: Vec<ValueId> = saved.iter().map(value).collect::<Result<_>>()?;
    let mut again: HashSet<NodeId> = HashSet::new();
    let mut open: Vec<ValueId> = forward.read_by_backward(joint);
    let known: HashSet<ValueId> = given.iter().copied().collect();
    while let Some(value) = open.pop() {
        let Some(&node) = forward.maker.get(&value) else { continue };
        if known.contains(&value) || again.contains(&node) {
            continue;
        }
        if !recomputed(joint, node) {
            return Err(Error::internal("the backward reads a value that the forward does not save"));
        }
        again.insert(node);
        open.extend(joint.reads(node));
    }
    let (inputs, cotangents) = joint.graph.params().split_at(joint.inputs);
    let mut builder = Builder::new(joint.graph.name.replace(".joint", ".forward"));
    let mut map = ValueMap::new(&joint.graph);
    joint.declare(&mut builder, &mut map, inputs);
    for &node in forward.nodes {
        builder.copy(&joint.graph, node, &mut map)?;
    }
    let results = joint.graph.results()[..joint.results].iter().chain(&given);
    let results = results.map(|&v| map.get(v)).collect::<Result<_>>()?;
    let first = builder.finish(results, Vec::new());

    let mut builder = Builder::new(joint.graph.name.replace(".joint", ".backward"));
    let mut map = ValueMap::new(&joint.graph);
    joint.declare(&mut builder, &mut map, inputs);
    joint.declare(&mut builder, &mut map, &given);
    joint.declare(&mut builder, &mut map, cotangents);
    let places: Vec<ValueId> = given.iter().map(|&v| map.get(v)).collect::<Result<_>>()?;
    for &node in forward.nodes.iter().filter(|n| again.contains(n)) {
        builder.copy(&joint.graph, node, &mut map)?;
        // Of a node with several outputs some may be given.
        for (&value, &place) in given.iter().zip(&places) {
            map.set(value, place);
        }
    }
    for &node in &nodes[forward.nodes.len()..] {
        builder.copy(&joint.graph, node, &mut map)?;
    }
    let gradients = joint.gradients.iter().flatten().map(|&at| map.get(joint.graph.results()[at]));
    let gradients = gradients.collect::<Result<_>>()?;
    let second = builder.finish(gradients, Vec::new());
    verify(&first)?;
    verify(&second)?;
    Ok(Split { forward: first, backward: second, residuals: given.len() })
}

/// The forward half.
struct Forward<'a> {
    nodes: &'a [NodeId],
    maker: HashMap<ValueId, NodeId>,
}

impl<'a> Forward<'a> {
    fn of(joint: &'a Joint) -> Forward<'a> {
        let all = &joint.graph.main().nodes;
        let nodes = &all[..joint.forward.min(all.len())];
        let made = nodes.iter().flat_map(|&n| joint.graph.node(n).outputs.iter().map(move |&v| (v, n)));
        Forward { nodes, maker: made.collect() }
    }

    fn read_by_backward(&self, joint: &Joint) -> Vec<ValueId> {
        let backward = &joint.graph.main().nodes[self.nodes.len()..];
        let mut read: Vec<ValueId> = backward.iter().flat_map(|&n| joint.reads(n)).collect();
        read.extend(joint.gradients.iter().flatten().map(|&at| joint.graph.results()[at]));
        let mut seen = HashSet::new();
        read.retain(|v| self.maker.contains_key(v) && seen.insert(*v));
        read
    }
}

/// Whether a backward may compute a node again.
fn recomputed(joint: &Joint, node: NodeId) -> bool {
    let node = joint.graph.node(node);
    match &node.kind {
        NodeKind::Constant(_) => true,
        NodeKind::Op(op) => match (op.effect, &op.lower) {
            (Effect::Pure | Effect::View(_), Lower::Map(_) | Lower::View(..)) => true,
            // What is made of host values alone.
            (Effect::Pure, _) => node.reads().next().is_none(),
            _ => false,
        },
        NodeKind::Fused
        | NodeKind::If
        | NodeKind::While
        | NodeKind::Call(_)
        | NodeKind::HostOp(_)
        | NodeKind::Host(_) => false,
    }
}

fn bytes(joint: &Joint, value: ValueId) -> u64 {
    let ty = joint.graph.ty(value).tensor();
    let elements = ty.and_then(|t| t.numel().known().map(|n| n * t.dtype.size()));
    // A value without bytes still costs a residual.
    elements.map_or(DEAR, |n| n as u64 + 1)
}

struct Edge {
    to: usize,
    left: u64,
}

/// A network; edge `e` and its reverse `e ^ 1` are neighbours.
struct Flow {
    edges: Vec<Edge>,
    from: Vec<Vec<usize>>,
}

impl Flow {
    fn new(vertices: usize) -> Flow {
        Flow { edges: Vec::new(), from: vec![Vec::new(); vertices] }
    }

    fn vertices(&mut self, count: usize) -> usize {
        let first = self.from.len();
        self.from.resize_with(first + count, Vec::new);
        first
    }

    fn edge(&mut self, a: usize, b: usize, capacity: u64) {
        self.from[a].push(self.edges.len());
        self.edges.push(Edge { to: b, left: capacity });
        self.from[b].push(self.edges.len());
        self.edges.push(Edge { to: a, left: 0 });
    }

    /// Pushes what can flow from vertex 0 to vertex 1.
    fn saturate(&mut self) {
        loop {
            let mut level = vec![usize::MAX; self.from.len()];
            level[0] = 0;
            let mut queue = VecDeque::from([0]);
            while let Some(v) = queue.pop_front() {
                for &e in &self.from[v] {
                    let to = self.edges[e].to;
                    if self.edges[e].left > 0 && level[to] == usize::MAX {
                        level[to] = level[v] + 1;
                        queue.push_back(to);
                    }
                }
            }
            if level[1] == usize::MAX {
                return;
            }
            let mut next = vec![0; self.from.len()];
            while self.push(&level, &mut next) {}
        }
    }

    /// One way along the levels, without recursion: forwards are as deep as programs are long.
    fn push(&mut self, level: &[usize], next: &mut [usize]) -> bool {
        let mut way: Vec<usize> = Vec::new();
        let mut v = 0;
        while v != 1 {
            let step = self.from[v][next[v]..].iter().position(|&e| {
                let edge = &self.edges[e];
                edge.left > 0 && level[edge.to] == level[v] + 1
            });
            match step {
                Some(skipped) => {
                    next[v] += skipped;
                    let e = self.from[v][next[v]];
                    way.push(e);
                    v = self.edges[e].to;
                }
                None => {
                    next[v] = self.from[v].len();
                    let Some(e) = way.pop() else { return false };
                    v = self.edges[e ^ 1].to;
                    next[v] += 1;
                }
            }
        }
        let least = way.iter().map(|&e| self.edges[e].left).min().unwrap_or(0);
        for e in way {
            self.edges[e].left -= least;
            self.edges[e ^ 1].left += least;
        }
        true
    }

    /// Which vertices still reach vertex 1.
    fn reaches_end(&self) -> Vec<bool> {
        let mut reaches = vec![false; self.from.len()];
        reaches[1] = true;
        let mut open = vec![1];
        while let Some(v) = open.pop() {
            for &e in &self.from[v] {
                let from = self.edges[e].to;
                if self.edges[e ^ 1].left > 0 && !reaches[from] {
                    reaches[from] = true;
                    open.push(from);
                }
            }
        }
        reaches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_is_the_least_and_the_nearest_to_the_end() {
        // 0 -> 2 =5=> 3 -> 4 =5=> 5 -> 1: two cuts of 5; the later one is nearer.
        let mut flow = Flow::new(6);
        flow.edge(0, 2, NEVER);
        flow.edge(2, 3, 5);
        flow.edge(3, 4, NEVER);
        flow.edge(4, 5, 5);
        flow.edge(5, 1, NEVER);
        flow.saturate();
        assert_eq!(flow.reaches_end(), [false, true, false, false, false, true]);
        // Two ways that share a narrow place.
        let mut flow = Flow::new(6);
        flow.edge(0, 2, 7);
        flow.edge(0, 3, 7);
        flow.edge(2, 4, NEVER);
        flow.edge(3, 4, NEVER);
        flow.edge(4, 5, 3);
        flow.edge(5, 1, NEVER);
        flow.saturate();
        assert_eq!(flow.reaches_end(), [false, true, false, false, false, true]);
        assert_eq!(flow.edges[8].left, 0);
    }
}
