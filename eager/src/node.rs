//! The dynamic graph: leaves, recorded operations, and the edges between them.
//!
//! A node owns the nodes before it, never those after; tensors own the node that made them. A chain of a million
//! operations is dropped with a loop, not by recursion.

use crate::engine::{ENGINE, ResidualSources};
use crate::hooks::Extras;
use crate::saved::{KeptList, free};
use crate::view::Region;
use kernels::{Dims, shape};
use runtime::callable::Callable;
use runtime::error::Origin;
use runtime::infer::TensorType;
use runtime::shared::Shared;
use runtime::table::OpDef;
use runtime::tensor::{self, AutogradSlot, Slot};
use runtime::{DType, Tensor};
use smallvec::SmallVec;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Where the gradient of an operand goes.
#[derive(Clone)]
pub(crate) enum Edge {
    /// Nowhere.
    None,
    /// To an output of an earlier node.
    Node(Shared<Node>, u32),
    /// To a tensor that collects it.
    Leaf(Shared<Leaf>),
}

impl Edge {
    /// Number of the node or leaf it leads to.
    #[inline(always)]
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Edge::None => None,
            Edge::Node(node, _) => Some(node.number),
            Edge::Leaf(leaf) => Some(leaf.number),
        }
    }

    /// Whether it leads anywhere.
    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Edge::None)
    }
}

/// One edge for each flattened tensor operand.
pub(crate) type Edges = SmallVec<[Edge; 2]>;

/// The edges of a record that is to be, with what is asked of all of them at once.
pub(crate) struct Links {
    pub(crate) edges: Edges,
    /// Bit i: edge i leads somewhere.
    pub(crate) needs: u64,
    /// The largest number that an edge leads to.
    pub(crate) floor: u64,
}

impl Links {
    /// Of two edges, without going through memory.
    #[inline(always)]
    pub(crate) fn pair(a: Edge, b: Edge) -> Links {
        let needs = a.is_some() as u64 | (b.is_some() as u64) << 1;
        let floor = a.number().max(b.number()).unwrap_or(0);
        Links { edges: Edges::from_buf([a, b]), needs, floor }
    }

    /// Of any edges.
    pub(crate) fn of(edges: Edges) -> Links {
        let floor = edges.iter().filter_map(Edge::number).max().unwrap_or(0);
        Links { needs: needs_of(&edges), edges, floor }
    }
}

/// Bit i: edge i leads somewhere.
pub(crate) fn needs_of(edges: &[Edge]) -> u64 {
    edges.iter().enumerate().fold(0, |bits, (i, e)| bits | (e.is_some() as u64) << i.min(63))
}

/// A tensor that requires a gradient by itself; the slot of such a tensor.
pub(crate) struct Leaf {
    pub(crate) number: u64,
    pub(crate) grad: Mutex<Option<Tensor>>,
    pub(crate) extras: Extras,
}

/// How a node turns cotangents into gradients.
pub(crate) enum Rule {
    /// The rule of an op of the table.
    Op(&'static OpDef),
    /// The backward of a region; its residuals are the kept outputs.
    Call(Box<(Arc<dyn Callable>, ResidualSources)>),
    /// The elements of a base that a view shows.
    Part(Box<Region>),
    /// A base of which a region has been written to: edge 0 is the base before, edge 1 what was written.
    Splice(Box<Region>),
    /// Whatever it is asked for has no gradient, for this reason.
    Refuse(&'static str),
}

/// What a node keeps for its rule.
pub(crate) struct Kept {
    pub(crate) args: KeptList,
    pub(crate) outputs: KeptList,
    pub(crate) freed: bool,
}

/// A recorded operation; the slot of its only output.
pub(crate) struct Node {
    pub(crate) number: u64,
    pub(crate) rule: Rule,
    pub(crate) edges: Edges,
    pub(crate) outputs: u32,
    /// Version of the first output's memory when it was recorded.
    pub(crate) view_version: u32,
    /// Type of the first output.
    dtype: DType,
    dims: Dims,
    pub(crate) origin: Origin,
    pub(crate) extras: OnceLock<Box<Extras>>,
    kept: Mutex<Kept>,
}

/// One output of a node with several; the slot of that output.
pub(crate) struct Output {
    node: Shared<Node>,
    index: u32,
}

thread_local! {
    static NUMBERS: Cell<(u64, u64)> = const { Cell::new((1, 1)) };
}
static NUMBER_BLOCK: AtomicU64 = AtomicU64::new(1);

/// A number above `floor` that no other node or leaf has. Threads take blocks of a million; where an operand was made in
/// a later block, by another thread, a new block is begun, so numbers ascend along every edge.
#[inline(always)]
fn next_number(floor: u64) -> u64 {
    let taken = NUMBERS.try_with(|numbers| {
        let (next, end) = numbers.get();
        let (next, end) = if next == end || next <= floor { number_block() } else { (next, end) };
        numbers.set((next + 1, end));
        next
    });
    taken.unwrap_or_else(|_| number_block().0)
}

#[cold]
fn number_block() -> (u64, u64) {
    let next = NUMBER_BLOCK.fetch_add(1, Relaxed) << 20;
    (next, next + (1 << 20))
}

impl Leaf {
    pub(crate) fn new() -> Shared<Leaf> {
        Shared::new(Leaf { number: next_number(0), grad: Mutex::new(None), extras: Extras::default() })
    }

    pub(crate) fn grad(&self) -> MutexGuard<'_, Option<Tensor>> {
        self.grad.lock().unwrap_or_else(|p| p.into_inner())
    }
}

impl Node {
    /// A node with these outputs, of which it takes the number and the first one's type and version. It keeps
    /// `operands` entries `Like` for its operands and one for its output.
    #[inline(always)]
    pub(crate) fn new(
        rule: Rule,
        links: Links,
        outputs: &[Tensor],
        operands: usize,
        origin: Origin,
    ) -> Shared<Node> {
        let vacant = Shared::vacant();
        let (dtype, dims) = match outputs.first() {
            Some(output) => (output.dtype(), &output.layout().shape),
            None => (DType::F32, const { &Dims::new_const() }),
        };
        let kept = Kept { args: KeptList::Like(operands as u32), outputs: KeptList::Like(1), freed: false };
        vacant.fill(Node {
            number: next_number(links.floor),
            rule,
            edges: links.edges,
            dtype,
            dims: shape::copy(dims),
            outputs: outputs.len().max(1) as u32,
            view_version: outputs.first().map_or(0, Tensor::version),
            origin,
            extras: OnceLock::new(),
            kept: Mutex::new(kept),
        })
    }

    /// A node that keeps these for its rule.
    pub(crate) fn keeping(
        rule: Rule,
        links: Links,
        outputs: &[Tensor],
        (args, kept_outputs): (KeptList, KeptList),
        origin: Origin,
    ) -> Shared<Node> {
        let mut node = Node::new(rule, links, outputs, 0, origin);
        if let Some(node) = node.get_mut() {
            let kept = node.kept.get_mut().unwrap_or_else(|p| p.into_inner());
            kept.args = args;
            kept.outputs = kept_outputs;
        }
        node
    }

    /// Type of its first output.
    pub(crate) fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, &self.dims)
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|p| p.into_inner())
    }

    /// Gives up the tensors kept for the rule. Types and host values stay, so a rule that read none can run again.
    pub(crate) fn free(&self) {
        let mut kept = self.kept();
        let kept = &mut *kept;
        let any = free(&mut kept.args) | free(&mut kept.outputs);
        kept.freed |= any;
    }

    /// What hooks and retained gradients hang on.
    pub(crate) fn extras(&self) -> &Extras {
        self.extras.get_or_init(Box::default)
    }

    /// Its operation's name.
    pub(crate) fn name(&self) -> &str {
        match &self.rule {
            Rule::Op(op) => op.name,
            Rule::Call(call) => call.0.name(),
            Rule::Part(_) => "view",
            Rule::Splice(_) => "in-place write through a view",
            Rule::Refuse(_) => "residual",
        }
    }
}

impl Drop for Node {
    #[inline]
    fn drop(&mut self) {
        if self.edges.iter().any(|e| matches!(e, Edge::Node(..))) {
            dismantle(std::mem::take(&mut self.edges));
        }
    }
}

/// Drops the edges of a node, and all nodes that only they lead to, without recursion.
fn dismantle(edges: Edges) {
    let mut doomed: SmallVec<[Edges; 4]> = SmallVec::new();
    doomed.push(edges);
    while let Some(edges) = doomed.pop() {
        for edge in edges {
            // Whoever gives up the last handle takes the node's edges, so that the node is dropped bare.
            if let Edge::Node(node, _) = edge {
                node.finish(|last| {
                    if last.edges.iter().any(|e| matches!(e, Edge::Node(..))) {
                        doomed.push(std::mem::take(&mut last.edges));
                    }
                });
            }
        }
    }
}

/// Hangs a node's history on its outputs; those that are not floats stay without.
#[inline]
pub(crate) fn attach(node: Shared<Node>, outputs: &mut [Tensor]) {
    attach_where(node, outputs, |_| true);
}

/// The same, where some of several outputs do not depend on what has a history.
#[inline]
pub(crate) fn attach_where(node: Shared<Node>, outputs: &mut [Tensor], depends: impl Fn(usize) -> bool) {
    if let [tensor] = outputs {
        tensor.attach_slot(node.into());
        return;
    }
    for (index, tensor) in outputs.iter_mut().enumerate() {
        if tensor.dtype().is_float() && depends(index) {
            tensor.attach_slot(slot_of(&node, index as u32));
        }
    }
}

/// The slot that makes a tensor output `index` of `node`.
pub(crate) fn slot_of(node: &Shared<Node>, index: u32) -> Slot {
    match node.outputs {
        1 => node.clone().into(),
        _ => Shared::new(Output { node: node.clone(), index }).into(),
    }
}

/// A slot whose history refuses to be differentiated, for this reason.
pub(crate) fn refusing(why: &'static str, tensor: &Tensor, origin: Origin) -> Slot {
    let links = Links::of(SmallVec::new());
    Node::new(Rule::Refuse(why), links, std::slice::from_ref(tensor), 0, origin).into()
}

/// The slot that gives a tensor the history `edge`.
pub(crate) fn slot_for(edge: &Edge) -> Option<Slot> {
    match edge {
        Edge::None => None,
        Edge::Node(node, index) => Some(slot_of(node, *index)),
        Edge::Leaf(leaf) => Some(leaf.clone().into()),
    }
}

/// The history that a slot of this engine stands for.
#[inline(always)]
pub(crate) fn edge_of(slot: Slot) -> Edge {
    let slot = match slot.downcast::<Node>() {
        Ok(node) => return Edge::Node(node, 0),
        Err(slot) => slot,
    };
    let slot = match slot.downcast::<Leaf>() {
        Ok(leaf) => return Edge::Leaf(leaf),
        Err(slot) => slot,
    };
    edge_of_output(slot)
}

#[inline(never)]
fn edge_of_output(slot: Slot) -> Edge {
    match slot.downcast::<Output>() {
        Ok(output) => Edge::Node(output.node.clone(), output.index),
        Err(_) => Edge::None,
    }
}

macro_rules! slots {
    ($($type:ty),*) => {$(
        impl AutogradSlot for $type {
            #[inline]
            fn interpreter(&self) -> &'static tensor::Engine {
                &ENGINE
            }
        }
    )*};
}

slots!(Node, Leaf, Output);
