//! What a matrix product does on its way out: a bias and an activation, which the product's kernel applies to each sum
//! after rounding it, so the bits are those of separate kernels.
//!
//! Found are a product whose only reader is an element-wise node, alone or fused, that adds a vector along the columns,
//! or is relu, or both in this order. The reader's output is then computed by the product's launch.

use crate::ir::{BlockId, Graph, NodeId, NodeKind, Operand, ValueId};
use kernels::cpu::gemm::Activation;
use runtime::ops;
use runtime::table::{Lower, OpDef};
use runtime::value::Host;
use std::collections::HashMap;

/// What follows a product.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Epilogue {
    /// The product.
    pub(super) product: NodeId,
    /// The vector that is added to each row, as a value outside of the reader.
    pub(super) bias: Option<ValueId>,
    /// What happens last.
    pub(super) activation: Activation,
}

/// Epilogues by their reader, and the products that they take over.
#[derive(Default)]
pub(super) struct Epilogues {
    pub(super) of: HashMap<NodeId, Epilogue>,
    pub(super) products: HashMap<NodeId, NodeId>,
}

/// Finds the epilogues of a graph.
pub(super) fn find(graph: &Graph) -> Epilogues {
    let mut found = Epilogues::default();
    let uses = graph.use_counts();
    blocks(graph, graph.body, &uses, &mut found);
    found
}

fn blocks(graph: &Graph, block: BlockId, uses: &[u32], found: &mut Epilogues) {
    let mut makers: HashMap<ValueId, NodeId> = HashMap::new();
    for &id in &graph.block(block).nodes {
        let node = graph.node(id);
        if let Some(epilogue) = match_reader(graph, id, uses, &makers)
            && !found.products.contains_key(&epilogue.product)
        {
            found.products.insert(epilogue.product, id);
            found.of.insert(id, epilogue);
        }
        makers.extend(node.outputs.iter().map(|&v| (v, id)));
        if matches!(node.kind, NodeKind::If | NodeKind::While) {
            node.blocks.iter().for_each(|&inner| blocks(graph, inner, uses, found));
        }
    }
}

fn same(a: &'static OpDef, b: &'static OpDef) -> bool {
    std::ptr::eq(a, b)
}

/// The epilogue that a node is.
fn match_reader(
    graph: &Graph,
    id: NodeId,
    uses: &[u32],
    makers: &HashMap<ValueId, NodeId>,
) -> Option<Epilogue> {
    let node = graph.node(id);
    let [output] = node.outputs.as_slice() else { return None };
    // The block's parameters stand for the operands of a fused node.
    let (steps, outer): (Vec<NodeId>, HashMap<ValueId, ValueId>) = match &node.kind {
        NodeKind::Op(_) => (vec![id], HashMap::new()),
        NodeKind::Fused => {
            let block = graph.block(node.blocks[0]);
            let outer = block.params.iter().copied().zip(node.reads()).collect();
            (block.nodes.clone(), outer)
        }
        NodeKind::Constant(_)
        | NodeKind::If
        | NodeKind::While
        | NodeKind::Call(_)
        | NodeKind::HostOp(_)
        | NodeKind::Host(_) => {
            return None;
        }
    };
    let seen = |v: ValueId| outer.get(&v).copied().unwrap_or(v);
    let mut current: Option<ValueId> = None;
    let (mut product, mut bias, mut activation) = (None, None, Activation::None);
    for (i, &step) in steps.iter().enumerate() {
        let inner = graph.node(step);
        let op = inner.op()?;
        let [made] = inner.outputs.as_slice() else { return None };
        let operands = values(&inner.operands)?;
        let reads = |v: ValueId| match current {
            None => product_behind(graph, seen(v), uses, makers),
            Some(before) => (before == v).then_some(()).and(product),
        };
        if same(op, &ops::ADD) && i == 0 {
            let [a, b] = operands.as_slice() else { return None };
            let (from, other) = match (reads(*a), reads(*b)) {
                (Some(p), _) => (p, *b),
                (None, Some(p)) => (p, *a),
                (None, None) => return None,
            };
            product = Some(from);
            bias = Some(seen(other));
        } else if same(op, &ops::RELU) && activation == Activation::None {
            let [a] = operands.as_slice() else { return None };
            product = Some(reads(*a)?);
            activation = Activation::Relu;
        } else {
            return None;
        }
        current = Some(*made);
        // A value in the middle must be nobody else's.
        if i + 1 < steps.len() && uses[made.0 as usize] != 1 {
            return None;
        }
    }
    if let NodeKind::Fused = node.kind
        && graph.block(node.blocks[0]).results.first().copied() != current
    {
        return None;
    }
    let product = product?;
    let ty = graph.tensor_type(*output).ok()?;
    if graph.tensor_type(graph.node(product).outputs[0]).ok()? != ty || ty.rank() < 2 {
        return None;
    }
    if let Some(bias) = bias {
        let own = graph.tensor_type(bias).ok()?;
        if own.dtype != ty.dtype || own.rank() != 1 || own.shape[0] != ty.shape[ty.rank() - 1] {
            return None;
        }
    }
    Some(Epilogue { product, bias, activation })
}

/// The tensors among operands, if all others are left out.
fn values(operands: &[Operand]) -> Option<Vec<ValueId>> {
    let mut out = Vec::new();
    for operand in operands {
        match operand {
            Operand::Value(v) => out.push(*v),
            Operand::Host(Host::None) => {}
            Operand::Host(_) | Operand::Values(_) => return None,
        }
    }
    Some(out)
}

/// The product that makes a value which nobody else reads.
fn product_behind(
    graph: &Graph,
    value: ValueId,
    uses: &[u32],
    makers: &HashMap<ValueId, NodeId>,
) -> Option<NodeId> {
    let id = *makers.get(&value)?;
    let op = graph.node(id).op()?;
    let product = same(op, &ops::MATMUL) || same(op, &ops::LINEAR) || same(op, &ops::ADDMM);
    (product && matches!(op.lower, Lower::Steps(_)) && uses[value.0 as usize] == 1).then_some(id)
}
