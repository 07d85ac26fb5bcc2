//! A branch whose condition is known is the side that is taken.
//!
//! Known is what is computed from constants, and what has been decided already: on the first side of an `if` its condition
//! is true, on the second false, and in the body of a `while` the condition of the turn is true. What has been decided holds
//! for every value computed alike from the same values, since values never change.

use super::Record;
use super::known::Known;
use super::moves::is_pure;
use crate::ir::{Graph, Node, NodeId, NodeKind, Operand, Type, ValueId, tensor};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, keep_apart, rewrite};
use kernels::DType;
use runtime::error::Result;
use runtime::ops;
use std::collections::HashMap;

/// How deep two conditions are compared, and taken apart.
const DEPTH: usize = 8;

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let mut branches =
        Branches { known: Known::default(), facts: Vec::new(), open: Vec::new(), twins: HashMap::new() };
    let (next, changes) = rewrite(graph, &mut branches)?;
    record.changes = changes;
    keep_apart(graph, next)
}

struct Branches {
    known: Known,
    /// Truths of values of the new graph that hold here.
    facts: Vec<(ValueId, bool)>,
    /// How many facts held outside of each open block.
    open: Vec<usize>,
    /// For a parameter of a loop's condition, in the new graph, the same carried value in the body, in the old one.
    twins: HashMap<ValueId, ValueId>,
}

impl Visitor for Branches {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let node = rewrite.old.node(id);
        let (NodeKind::If, Some(asked)) = (&node.kind, node.reads().next()) else { return Ok(Outcome::Keep) };
        let condition = rewrite.map.get(asked)?;
        let constant = self.known.truth(rewrite.new.graph(), condition);
        let Some(truth) = constant.or_else(|| self.decided(rewrite, condition, DEPTH)) else {
            return Ok(Outcome::Keep);
        };
        let why = if constant.is_some() { "is constant" } else { "was decided before" };
        rewrite.changes.push(format!("the condition {} {why}: {truth}", rewrite.old.label(asked)).into());
        let taken = node.blocks[usize::from(!truth)];
        Ok(Outcome::Replaced(rewrite.straight(taken, self)?))
    }

    fn enter(&mut self, rewrite: &mut Rewrite, id: NodeId, which: usize) -> Result<()> {
        self.open.push(self.facts.len());
        let old = rewrite.old;
        let node = old.node(id);
        match (&node.kind, node.reads().next()) {
            (NodeKind::If, Some(asked)) => {
                let condition = rewrite.map.get(asked)?;
                self.learn(rewrite.new.graph(), condition, which == 0, DEPTH);
            }
            (NodeKind::While, _) if which == 1 => {
                let [test, body] = [old.block(node.blocks[0]), old.block(node.blocks[1])];
                for (&asked, &twin) in test.params.iter().zip(&body.params) {
                    self.twins.insert(rewrite.map.get(asked)?, twin);
                }
                if let Some(&asked) = test.results.first() {
                    let condition = rewrite.map.get(asked)?;
                    self.learn(rewrite.new.graph(), condition, true, DEPTH);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(before) = self.open.pop() {
            self.facts.truncate(before);
        }
    }
}

/// What a condition is made of.
enum Parts {
    Not(ValueId),
    /// True if all are.
    All(Vec<ValueId>),
    /// True if one is.
    Any(Vec<ValueId>),
    Itself,
}

fn parts(graph: &Graph, node: &Node) -> Parts {
    let truth = |v: &ValueId| *graph.ty(*v) == Type::Bool || *graph.ty(*v) == tensor(DType::Bool, &[]);
    let values: Vec<ValueId> = node.reads().collect();
    if values.len() != node.operands.len() || !values.iter().all(truth) {
        return Parts::Itself;
    }
    let host = |name| matches!(node.kind, NodeKind::HostOp(op) if op.name == name);
    match values.as_slice() {
        [one] if node.is(&ops::LOGICAL_NOT) || host("host.not") => Parts::Not(*one),
        [one] if host("host.truth_of") => Parts::All(vec![*one]),
        _ if node.is(&ops::LOGICAL_AND) || host("host.all_of") => Parts::All(values),
        _ if node.is(&ops::LOGICAL_OR) || host("host.any_of") => Parts::Any(values),
        _ => Parts::Itself,
    }
}

impl Branches {
    /// From here on this value is known, and what follows from it.
    fn learn(&mut self, graph: &Graph, value: ValueId, truth: bool, depth: usize) {
        self.facts.push((value, truth));
        let Some(node) = self.known.maker(graph, value).filter(|_| depth > 0) else { return };
        match (parts(graph, node), truth) {
            (Parts::Not(of), _) => self.learn(graph, of, !truth, depth - 1),
            (Parts::All(list), true) | (Parts::Any(list), false) => {
                list.into_iter().for_each(|v| self.learn(graph, v, truth, depth - 1));
            }
            (Parts::All(_), false) | (Parts::Any(_), true) | (Parts::Itself, _) => {}
        }
    }

    /// The truth of a value by what was decided before, of itself or of its parts.
    fn decided(&mut self, rewrite: &Rewrite, value: ValueId, depth: usize) -> Option<bool> {
        for at in (0..self.facts.len()).rev() {
            let (fact, truth) = self.facts[at];
            if self.alike(rewrite, fact, value, DEPTH) {
                return Some(truth);
            }
        }
        let graph = rewrite.new.graph();
        let node = self.known.maker(graph, value).filter(|_| depth > 0)?;
        let mut each = |list: Vec<ValueId>| -> Vec<Option<bool>> {
            list.into_iter().map(|v| self.decided(rewrite, v, depth - 1)).collect()
        };
        match parts(graph, node) {
            Parts::Not(of) => each(vec![of])[0].map(|t| !t),
            Parts::All(list) => joined(&each(list), false),
            Parts::Any(list) => joined(&each(list), true),
            Parts::Itself => None,
        }
    }

    /// Whether two values are computed alike from the same values.
    fn alike(&mut self, rewrite: &Rewrite, a: ValueId, b: ValueId, depth: usize) -> bool {
        if a == b || self.twins.get(&a).is_some_and(|&twin| rewrite.map.find(twin) == Some(b)) {
            return true;
        }
        let graph = rewrite.new.graph();
        let (Some(x), Some(y)) = (self.known.maker(graph, a), self.known.maker(graph, b)) else {
            return false;
        };
        let same_kind = match (&x.kind, &y.kind) {
            (NodeKind::Op(x), NodeKind::Op(y)) => std::ptr::eq(*x, *y),
            (NodeKind::HostOp(x), NodeKind::HostOp(y)) => std::ptr::eq(*x, *y),
            (NodeKind::Host(x), NodeKind::Host(y)) => x.name() == y.name(),
            (NodeKind::Constant(_), NodeKind::Constant(_)) => return self.equal_constants(graph, a, b),
            _ => false,
        };
        let place = |node: &Node, v| node.outputs.iter().position(|&o| o == v);
        depth > 0
            && same_kind
            && is_pure(x)
            && is_pure(y)
            && place(x, a) == place(y, b)
            && x.operands.len() == y.operands.len()
            && x.operands.iter().zip(&y.operands).all(|pair| match pair {
                (Operand::Host(p), Operand::Host(q)) => p == q,
                (Operand::Host(_), _) | (_, Operand::Host(_)) => false,
                (p, q) => {
                    p.values().len() == q.values().len()
                        && p.values()
                            .iter()
                            .zip(q.values())
                            .all(|(&p, &q)| self.alike(rewrite, p, q, depth - 1))
                }
            })
    }

    fn equal_constants(&mut self, graph: &Graph, a: ValueId, b: ValueId) -> bool {
        let mut bytes = |v| {
            let item = self.known.item(graph, v)?;
            let tensor = item.tensor().ok()?;
            Some((tensor.tensor_type(), tensor.to_bytes().ok()?))
        };
        bytes(a).is_some_and(|a| Some(a) == bytes(b))
    }
}

/// The truth of "one is `decisive`" over what is known of the parts.
fn joined(parts: &[Option<bool>], decisive: bool) -> Option<bool> {
    match parts.contains(&Some(decisive)) {
        true => Some(decisive),
        false => parts.iter().all(Option::is_some).then_some(!decisive),
    }
}
