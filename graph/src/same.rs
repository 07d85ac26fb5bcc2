//! Equality of graphs: the same computation node by node, up to the numbering of values. Names of values and origins do
//! not count, nor whether an operand that equals the schema's default is written; constants are equal by content.

use crate::ir::{BlockId, Graph, Node, NodeId, NodeKind, Operand, ValueId};
use crate::schema::schema;
use runtime::tensor::Tensor;
use runtime::value::Host;
use std::collections::HashMap;
use std::sync::Arc;

impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        let mut pairs = Pairs { left: self, right: other, map: HashMap::new() };
        self.name == other.name
            && self.inputs == other.inputs
            && self.write_backs == other.write_backs
            && pairs.blocks(self.body, other.body)
    }
}

struct Pairs<'a> {
    left: &'a Graph,
    right: &'a Graph,
    map: HashMap<ValueId, ValueId>,
}

impl Pairs<'_> {
    fn define(&mut self, left: &[ValueId], right: &[ValueId]) -> bool {
        let equal = left.len() == right.len()
            && left.iter().zip(right).all(|(&a, &b)| self.left.ty(a) == self.right.ty(b));
        self.map.extend(left.iter().copied().zip(right.iter().copied()));
        equal
    }

    fn values(&self, left: &[ValueId], right: &[ValueId]) -> bool {
        left.len() == right.len() && left.iter().zip(right).all(|(a, b)| self.map.get(a) == Some(b))
    }

    fn blocks(&mut self, left: BlockId, right: BlockId) -> bool {
        let (a, b) = (self.left.block(left), self.right.block(right));
        self.define(&a.params, &b.params)
            && a.nodes.len() == b.nodes.len()
            && a.nodes.iter().zip(&b.nodes).all(|(&a, &b)| self.nodes(a, b))
            && self.values(&a.results, &b.results)
    }

    fn nodes(&mut self, left: NodeId, right: NodeId) -> bool {
        let (a, b) = (self.left.node(left), self.right.node(right));
        kinds(&a.kind, &b.kind)
            && self.operands(a, b)
            && a.blocks.len() == b.blocks.len()
            && a.blocks.iter().zip(&b.blocks).all(|(&a, &b)| self.blocks(a, b))
            && self.define(&a.outputs, &b.outputs)
    }

    fn operands(&self, a: &Node, b: &Node) -> bool {
        (0..a.operands.len().max(b.operands.len())).all(|i| match (operand(a, i), operand(b, i)) {
            (Operand::Host(x), Operand::Host(y)) => x == y,
            (Operand::Value(x), Operand::Value(y)) => self.values(&[x], &[y]),
            (Operand::Values(x), Operand::Values(y)) => self.values(&x, &y),
            (Operand::Host(_) | Operand::Value(_) | Operand::Values(_), _) => false,
        })
    }
}

/// Operand `i`, or the default that stands for it.
fn operand(node: &Node, i: usize) -> Operand {
    node.operands.get(i).cloned().unwrap_or_else(|| {
        let default = node.op().and_then(|op| schema(op).get(i).and_then(|p| p.default.clone()));
        Operand::Host(default.unwrap_or(Host::None))
    })
}

fn kinds(a: &NodeKind, b: &NodeKind) -> bool {
    match (a, b) {
        (NodeKind::Op(x), NodeKind::Op(y)) => std::ptr::eq(*x, *y),
        (NodeKind::Constant(x), NodeKind::Constant(y)) => constants(x, y),
        (NodeKind::Call(x), NodeKind::Call(y)) => Arc::ptr_eq(x, y),
        (NodeKind::HostOp(x), NodeKind::HostOp(y)) => std::ptr::eq(*x, *y),
        (NodeKind::Host(x), NodeKind::Host(y)) => x.name() == y.name(),
        (NodeKind::Fused, NodeKind::Fused)
        | (NodeKind::If, NodeKind::If)
        | (NodeKind::While, NodeKind::While) => true,
        (
            NodeKind::Op(_)
            | NodeKind::Constant(_)
            | NodeKind::Fused
            | NodeKind::If
            | NodeKind::While
            | NodeKind::Call(_)
            | NodeKind::HostOp(_)
            | NodeKind::Host(_),
            _,
        ) => false,
    }
}

/// Whether two constants are one tensor, or equal by content.
pub(crate) fn constants(a: &Tensor, b: &Tensor) -> bool {
    let bytes = |t: &Tensor| t.to_bytes().ok();
    a.same(b) || (a.tensor_type() == b.tensor_type() && bytes(a).is_some_and(|x| bytes(b) == Some(x)))
}
