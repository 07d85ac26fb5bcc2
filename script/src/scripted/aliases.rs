//! Which values of a scripted graph may be written to, and which leave with its result.
//!
//! Values that may share memory are one class; so are values that may hold the same list, dict or object. What writes to
//! one of a class may write to all. Both relations are kept apart, because a tensor that is put into a list is not written
//! when the list grows. The classes are too large rather than too small: what is called written may never be, but what is
//! not is not.

use super::action::{Action, Call};
use crate::tree::Returns;
use graph::ir::{Graph, HostCall as _, HostEffect, Node, NodeKind, Operand, Type, ValueId};
use runtime::error::Origin;
use runtime::{Host, Scalar};
use std::collections::{HashMap, HashSet};

/// Classes of values, by the number of one of them.
struct Classes(Vec<u32>);

impl Classes {
    fn root(&mut self, value: ValueId) -> u32 {
        let mut at = value.0;
        while self.0[at as usize] != at {
            let above = self.0[self.0[at as usize] as usize];
            self.0[at as usize] = above;
            at = above;
        }
        at
    }

    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a as usize] = b;
    }
}

/// What may be written, and how.
pub(super) struct Aliases {
    memory: Classes,
    containers: Classes,
    /// By class, the first line that writes.
    memory_writes: HashMap<u32, Option<Origin>>,
    container_writes: HashMap<u32, Option<Origin>>,
    leaving: HashSet<u32>,
}

/// Whether a value of this type may be or hold a tensor.
fn holds_tensor(ty: &Type) -> bool {
    match ty {
        Type::Tensor(_) | Type::AnyTensor => true,
        Type::List(of) | Type::Optional(of) => holds_tensor(of),
        Type::Tuple(of) => of.iter().any(holds_tensor),
        Type::Dict(_, of) => holds_tensor(of),
        Type::Object(name) => !matches!(&**name, "number" | "dtype" | "device"),
        Type::Int | Type::Float | Type::Bool | Type::Str | Type::None => false,
    }
}

/// Whether a value of this type may be or hold what changes in place and is no tensor.
fn holds_container(ty: &Type) -> bool {
    match ty {
        Type::List(_) | Type::Dict(..) => true,
        Type::Optional(of) => holds_container(of),
        Type::Tuple(of) => of.iter().any(holds_container),
        Type::Object(name) => !matches!(&**name, "number" | "dtype" | "device"),
        Type::Tensor(_) | Type::AnyTensor => false,
        Type::Int | Type::Float | Type::Bool | Type::Str | Type::None => false,
    }
}

fn first(node: &Node) -> Option<ValueId> {
    match node.operands.first()? {
        Operand::Value(v) => Some(*v),
        Operand::Values(_) | Operand::Host(_) => None,
    }
}

/// The operand that a call of torch is given for a parameter.
pub(super) fn argument<'n>(action: &Action, node: &'n Node, parameter: &str) -> Option<&'n Operand> {
    let Action::Torch { call, given, .. } = action else { return None };
    let at = call.parameters.iter().position(|p| p.name == parameter)?;
    let before = given & ((1u64 << at) - 1);
    (given >> at & 1 == 1).then(|| node.operands.get(before.count_ones() as usize))?
}

/// The truth that an operand is known to have.
pub(super) fn truth(graph: &Graph, makers: &HashMap<ValueId, usize>, operand: &Operand) -> Option<bool> {
    let of = |host: &Host| match host {
        Host::Scalar(Scalar::Bool(v)) => Some(*v),
        _ => None,
    };
    match operand {
        Operand::Host(host) => of(host),
        Operand::Values(_) => None,
        Operand::Value(v) => {
            let node = graph.node(graph::NodeId(*makers.get(v)? as u32));
            match (&node.kind, node.operands.first()) {
                (NodeKind::HostOp(op), Some(Operand::Host(host))) if op.name == "host.literal" => of(host),
                _ => None,
            }
        }
    }
}

impl Aliases {
    pub(super) fn of(graph: &Graph) -> Aliases {
        let count = graph.value_count() as u32;
        let mut found = Aliases {
            memory: Classes((0..count).collect()),
            containers: Classes((0..count).collect()),
            memory_writes: HashMap::new(),
            container_writes: HashMap::new(),
            leaving: HashSet::new(),
        };
        let mut makers = HashMap::new();
        let (mut constants, mut writes) = (HashMap::new(), Vec::new());
        for id in graph.walk() {
            let node = graph.node(id);
            makers.extend(node.outputs.iter().map(|&v| (v, id.0 as usize)));
            match &node.kind {
                NodeKind::If | NodeKind::While => found.control(graph, node),
                NodeKind::Host(call) => {
                    let Some(call) = Call::of(call.as_ref()) else { continue };
                    if let (Action::Global(at, _), Some(&output)) = (&call.action, node.outputs.first()) {
                        // A constant of the module is one value wherever it is named.
                        found.join(graph, *constants.entry(*at).or_insert(output), output);
                    }
                    found.call(graph, call, node, &makers, &mut writes);
                }
                _ => {}
            }
        }
        // Classes are known only now.
        for (value, memory, origin) in writes {
            match memory {
                true => found.memory_writes.entry(found.memory.root(value)).or_insert(origin),
                false => found.container_writes.entry(found.containers.root(value)).or_insert(origin),
            };
        }
        found.leaving = graph.results().iter().map(|&v| found.memory.root(v)).collect();
        found
    }

    fn join(&mut self, graph: &Graph, a: ValueId, b: ValueId) {
        let (x, y) = (graph.ty(a), graph.ty(b));
        if holds_tensor(x) && holds_tensor(y) {
            self.memory.join(a, b);
        }
        if holds_container(x) && holds_container(y) {
            self.containers.join(a, b);
        }
    }

    fn control(&mut self, graph: &Graph, node: &Node) {
        let looped = matches!(node.kind, NodeKind::While);
        for (i, &output) in node.outputs.iter().enumerate() {
            let carried = looped.then(|| node.operands.get(i)).flatten();
            carried.into_iter().flat_map(Operand::values).for_each(|&v| self.join(graph, output, v));
            for (which, &block) in node.blocks.iter().enumerate() {
                let block = graph.block(block);
                block.params.get(i).iter().for_each(|&&v| self.join(graph, output, v));
                if !looped || which == 1 {
                    block.results.get(i).iter().for_each(|&&v| self.join(graph, output, v));
                }
            }
        }
    }

    fn call(
        &mut self,
        graph: &Graph,
        call: &Call,
        node: &Node,
        makers: &HashMap<ValueId, usize>,
        writes: &mut Vec<(ValueId, bool, Option<Origin>)>,
    ) {
        let mut write = |value: Option<ValueId>, memory| {
            writes.extend(value.map(|v| (v, memory, node.origin)));
        };
        let outputs = |this: &mut Self, value: Option<ValueId>| {
            let value = value.into_iter();
            value.for_each(|v| node.outputs.iter().for_each(|&o| this.join(graph, o, v)));
        };
        let all = |this: &mut Self| node.reads().for_each(|v| outputs(this, Some(v)));
        // What the others are may be found in the first from now on.
        let into = |this: &mut Self| {
            let container = first(node).into_iter();
            container.for_each(|c| node.reads().for_each(|v| this.join(graph, c, v)));
        };
        let action = &call.action;
        match action {
            Action::Torch { call, returns, .. } => {
                if action.writes() || *returns == Returns::Nothing {
                    write(first(node), true);
                    outputs(self, first(node));
                } else if call.views() {
                    outputs(self, first(node));
                }
                // Statistics follow the batch where they train.
                for (flag, default) in [("training", false), ("use_input_stats", true)] {
                    let trains = match argument(action, node, flag) {
                        Some(operand) => truth(graph, makers, operand) != Some(false),
                        None => default,
                    };
                    if trains && call.parameters.iter().any(|p| p.name == flag) {
                        for name in ["running_mean", "running_var"] {
                            let given = argument(action, node, name).map(Operand::values);
                            write(given.and_then(|v| v.first().copied()), true);
                        }
                    }
                }
            }
            Action::Builtin(builtin) => {
                if action.writes() || WATCHED.contains(&builtin.name) {
                    write(first(node), true);
                }
                let ordered = call.effect() == HostEffect::Ordered;
                match builtin.name {
                    "torch.autograd.grad" => {
                        write(node.operands.get(1).and_then(|o| o.values().first().copied()), true);
                    }
                    name if ordered && (name.starts_with("list.") || name.starts_with("dict.")) => {
                        write(first(node), false);
                        into(self);
                        all(self);
                    }
                    _ => all(self),
                }
            }
            Action::SetIndex(_) | Action::AugmentIndex(..) | Action::SetGrad | Action::AugmentGrad(_) => {
                write(first(node), true);
            }
            Action::Augment(_) => {
                let tensor = first(node).is_some_and(|v| *graph.ty(v) == Type::AnyTensor);
                write(first(node), tensor);
                outputs(self, first(node));
            }
            Action::SetItem | Action::SetField(..) | Action::Delete => {
                write(first(node), false);
                into(self);
            }
            Action::Index(_) => outputs(self, first(node)),
            Action::Convert(_)
            | Action::Widen(_)
            | Action::List
            | Action::Tuple
            | Action::Dict
            | Action::Item
            | Action::Slice
            | Action::Field(..)
            | Action::Unpack
            | Action::Iterate
            | Action::Next
            | Action::Object(..) => all(self),
            Action::Arithmetic(..)
            | Action::Negate
            | Action::Compare(_)
            | Action::Not
            | Action::Text(_)
            | Action::GradMode(_)
            | Action::EndGradMode
            | Action::Raise(_)
            | Action::Never
            | Action::Global(..)
            | Action::Region(_) => {}
        }
    }

    /// Whether a value may be written, in place or by way of what it holds; and the first line that does.
    pub(super) fn written(&mut self, graph: &Graph, value: ValueId) -> Option<Option<Origin>> {
        let (tensor, container) = (holds_tensor(graph.ty(value)), holds_container(graph.ty(value)));
        let memory = tensor.then(|| self.memory.root(value));
        let containers = container.then(|| self.containers.root(value));
        let memory = memory.and_then(|root| self.memory_writes.get(&root));
        memory.or_else(|| containers.and_then(|root| self.container_writes.get(&root))).copied()
    }

    /// Whether anything writes to tensors.
    pub(super) fn writes(&self) -> bool {
        !self.memory_writes.is_empty()
    }

    /// Whether a value may share memory with the result.
    pub(super) fn leaves(&mut self, value: ValueId) -> bool {
        let root = self.memory.root(value);
        self.leaving.contains(&root)
    }
}

/// What writes to a tensor in other ways than to its elements: a constant has no gradient.
const WATCHED: &[&str] = &["Tensor.requires_grad_", "Tensor.retain_grad", "Tensor.grad"];
