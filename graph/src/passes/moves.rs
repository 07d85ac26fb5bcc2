//! What a node does besides computing its outputs, whether it may fail, and so where it may be moved.
//!
//! A graph of tensors alone has no effects but calls, whose inside nobody sees here; graphs of a whole program have the
//! calls of its host. The order of those that read or change something is the program's order.

use crate::ir::{Graph, HostEffect, Node, NodeId, NodeKind, ValueId};
use crate::stack;
use runtime::table::{Effect, Lower};

/// The strongest effect of a node and of what stands in its blocks.
pub(super) fn effect(graph: &Graph, id: NodeId) -> HostEffect {
    let node = graph.node(id);
    let own = match &node.kind {
        NodeKind::Call(_) => HostEffect::Ordered,
        NodeKind::Op(op) => match op.effect {
            Effect::Write => HostEffect::Ordered,
            Effect::Read => HostEffect::Reads,
            Effect::Pure | Effect::View(_) | Effect::Random => HostEffect::None,
        },
        NodeKind::Host(call) => call.effect(),
        NodeKind::If | NodeKind::While | NodeKind::Constant(_) | NodeKind::Fused | NodeKind::HostOp(_) => {
            HostEffect::None
        }
    };
    let inner = node.blocks.iter().flat_map(|&b| &graph.block(b).nodes).map(|&n| effect(graph, n));
    inner.fold(own, HostEffect::max)
}

/// Whether a node only computes: no effect, no draw, no blocks of its own.
pub(super) fn is_pure(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Op(op) => matches!(op.effect, Effect::Pure | Effect::View(_)),
        NodeKind::Constant(_) | NodeKind::HostOp(_) => true,
        NodeKind::Host(call) => call.effect() == HostEffect::None && node.blocks.is_empty(),
        NodeKind::Fused | NodeKind::If | NodeKind::While | NodeKind::Call(_) => false,
    }
}

/// Whether a node may be moved to another block at all. What works on a stack stays with the loop that carries the stack,
/// in whose memory it works.
pub(super) fn is_movable(graph: &Graph, node: &Node) -> bool {
    let on_stack = |v: ValueId| graph.ty(v).tensor().is_some_and(stack::is);
    is_pure(node) && !node.reads().chain(node.outputs.iter().copied()).any(on_stack)
}

/// Whether every carried value goes in with the type that it has inside; a tensor that goes on as a stack does not.
pub(super) fn keeps_types(graph: &Graph, node: &Node) -> bool {
    node.reads().zip(&node.outputs).all(|(v, &o)| graph.ty(v) == graph.ty(o))
}

/// Whether a node can be computed although the program might not ask for it: it cannot fail, and it costs at most one loop
/// over its elements. Element-wise programs and views of known types are such; programs that gather fail on a bad index,
/// factorisations on a singular matrix, host arithmetic on overflow, and anything on operands of unknown type.
pub(super) fn is_harmless(graph: &Graph, node: &Node) -> bool {
    let known = || {
        let fixed = |v| graph.ty(v).tensor().is_some_and(|t| t.dims().is_some());
        node.reads().chain(node.outputs.iter().copied()).all(fixed)
    };
    match &node.kind {
        NodeKind::Constant(_) => true,
        NodeKind::Op(op) => match op.lower {
            Lower::Map(_) | Lower::View(..) => known(),
            Lower::Loop(_) | Lower::Steps(_) => false,
        },
        NodeKind::HostOp(op) => op.name == "host.literal",
        NodeKind::Fused | NodeKind::If | NodeKind::While | NodeKind::Call(_) | NodeKind::Host(_) => false,
    }
}
