//! Common subexpressions: a node that computes what another has computed is that other one.
//!
//! Nodes are equal if op and operands are: values by identity, host operands by bits, small constants by type and bits.
//! Random ops are never merged: two draws are two draws. Reads of state need no rule of their own, because a write makes
//! a new value. Two results of the graph stay two tensors, since the caller may write into one of them.

use super::Record;
use crate::ir::{Graph, HostEffect, Node, NodeId, NodeKind, Operand, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, makers, rewrite, view_base};
use kernels::DType;
use runtime::error::Result;
use runtime::table::Effect;
use runtime::tensor::Tensor;
use std::collections::{HashMap, HashSet};

/// Constants of more bytes are compared by identity alone.
const SMALL: usize = 256;

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let made = makers(graph);
    let leaving = graph.returned().into_iter().map(|r| view_base(graph, &made, graph.results()[r])).collect();
    let mut cse = Cse { scopes: vec![HashMap::new()], leaving };
    let (next, changes) = rewrite(graph, &mut cse)?;
    record.changes = changes;
    Ok(next)
}

/// What a node computes: nodes with equal keys compute equal values.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Key {
    Node(usize, Vec<Operand>),
    Host(String, Vec<Operand>),
    Constant(DType, Vec<usize>, Vec<u8>),
    Tensor(u64),
}

/// The key of a node with these operands; `None` for one that does not only compute.
pub(super) fn key(node: &Node, operands: impl FnOnce() -> Result<Vec<Operand>>) -> Result<Option<Key>> {
    Ok(Some(match &node.kind {
        NodeKind::Op(op) => match op.effect {
            Effect::Pure | Effect::View(_) | Effect::Read => {
                Key::Node(std::ptr::from_ref(*op).addr(), operands()?)
            }
            Effect::Random | Effect::Write => return Ok(None),
        },
        NodeKind::HostOp(op) => Key::Node(std::ptr::from_ref(*op).addr(), operands()?),
        NodeKind::Constant(tensor) => constant_key(tensor)?,
        NodeKind::Host(call) if call.effect() == HostEffect::None && node.blocks.is_empty() => {
            Key::Host(call.name().to_string(), operands()?)
        }
        NodeKind::Fused | NodeKind::If | NodeKind::While | NodeKind::Call(_) | NodeKind::Host(_) => {
            return Ok(None);
        }
    }))
}

struct Cse {
    /// What was computed so far, in each open block. A block sees what the blocks around it have computed.
    scopes: Vec<HashMap<Key, Vec<ValueId>>>,
    /// Old values whose memory leaves with a result.
    leaving: HashSet<ValueId>,
}

impl Visitor for Cse {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let node = rewrite.old.node(id);
        let operands =
            || node.operands.iter().map(|o| rewrite.map.operand(o)).collect::<Result<Vec<Operand>>>();
        let Some(key) = key(node, operands)? else { return Ok(Outcome::Keep) };
        let leaves = node.outputs.iter().any(|v| self.leaving.contains(v));
        if let Some(known) = self.scopes.iter().rev().find_map(|s| s.get(&key)) {
            if leaves {
                return Ok(Outcome::Keep);
            }
            rewrite.changes.push(
                format!("{} = {} was computed before", rewrite.old.label(node.outputs[0]), node.kind.word())
                    .into(),
            );
            return Ok(Outcome::Replaced(known.clone()));
        }
        rewrite.new.copy(rewrite.old, id, &mut rewrite.map)?;
        let made = node.outputs.iter().map(|&v| rewrite.map.get(v)).collect::<Result<Vec<_>>>()?;
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(key, made.clone());
        }
        Ok(Outcome::Replaced(made))
    }

    fn enter(&mut self, _: &mut Rewrite, _: NodeId, _: usize) -> Result<()> {
        self.scopes.push(HashMap::new());
        Ok(())
    }

    fn leave(&mut self) {
        self.scopes.pop();
    }
}

fn constant_key(tensor: &Tensor) -> Result<Key> {
    let bytes = tensor.numel() * tensor.dtype().size();
    Ok(match bytes <= SMALL && tensor.storage().is_ok() {
        true => Key::Constant(tensor.dtype(), tensor.shape().to_vec(), tensor.to_bytes()?),
        false => Key::Tensor(tensor.id()),
    })
}
