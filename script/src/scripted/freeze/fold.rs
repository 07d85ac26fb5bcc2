//! Evaluating before the program runs what depends on known values alone: a scripted graph is rewritten while its actions
//! are done by the functions that would do them later, so that what is folded is what would have been computed, bit for bit.
//!
//! A branch whose test is known is the side that is taken, and a loop whose tests are known is its turns, up to the limits
//! of unrolling. What fails keeps its place: it has to fail when the program runs, where its line is known, and if it is
//! reached at all.

use super::values::{Emit, is_plain, size};
use crate::scripted::action::{Action, Call};
use crate::scripted::aliases::{Aliases, argument};
use crate::scripted::any_call;
use crate::scripted::perform::{Args, World, perform, unpack};
use crate::scripted::region::value_of;
use crate::tree::Program;
use crate::value::{Cursor, Value};
use graph::Options;
use graph::build::{Builder, ValueMap};
use graph::ir::{Graph, HostCall as _, HostEffect, Node, NodeId, NodeKind, Operand, Type, ValueId};
use graph::passes::Change;
use graph::rewrite::{Outcome, Rewrite, Visitor};
use runtime::Scalar;
use runtime::error::Result;
use std::collections::{HashMap, HashSet};

/// A folded tensor may have this many elements, or as many as the tensors that it is made of: folding must not make a
/// program hold what it could make from nothing.
const SMALL: usize = 64;

/// Most nodes for what one action gives.
const LARGE: usize = 1024;

/// Most elements of what is looped over.
const MOST: usize = 64;

/// What ends otherwise when it is asked later.
const CHANGEABLE: &[&str] = &["torch.is_grad_enabled"];

pub(super) struct Fold<'a, 'w, 'h> {
    pub(super) program: &'a Program,
    pub(super) options: &'a Options,
    pub(super) world: &'w mut World<'h>,
    /// What may be written; without it only values that nobody can change are known.
    pub(super) aliases: Option<Aliases>,
    /// Whether what only gradients need is left out.
    pub(super) inference: bool,
    pub(super) known: HashMap<ValueId, Value>,
    pub(super) loops: Loops,
}

/// Loops over something whose elements may all be known: the loop takes each node's place when it is reached.
#[derive(Default)]
pub(super) struct Loops {
    /// The start and the first step, by the loop.
    starts: HashMap<NodeId, [NodeId; 2]>,
    held: HashSet<NodeId>,
    /// What is still to come, by the iterator.
    coming: HashMap<ValueId, std::collections::VecDeque<Value>>,
}

impl Loops {
    /// The loops whose iterator is read by its first step and by the last node of the loop's body alone.
    pub(super) fn of(graph: &Graph) -> Loops {
        let mut users: HashMap<ValueId, Vec<NodeId>> = HashMap::new();
        let mut blocks = vec![graph.body];
        let mut found = Loops::default();
        for id in graph.walk() {
            graph.node(id).reads().for_each(|v| users.entry(v).or_default().push(id));
            blocks.extend(&graph.node(id).blocks);
        }
        let action = |id: NodeId| action_of(graph.node(id));
        for block in blocks {
            let nodes = &graph.block(block).nodes;
            for (at, &id) in nodes.iter().enumerate() {
                let Some(Action::Iterate) = action(id) else { continue };
                let Some([first, step]) = users.get(&graph.node(id).outputs[0]).map(Vec::as_slice) else {
                    continue;
                };
                let looped = nodes[at..].iter().copied().find(|&n| {
                    let node = graph.node(n);
                    matches!(node.kind, NodeKind::While)
                        && graph.node(*first).outputs.iter().all(|v| node.reads().any(|r| r == *v))
                        && graph.block(node.blocks[1]).nodes.contains(step)
                });
                // What a loop uses up is there for this one alone.
                let iterator = |v: ValueId| *graph.ty(v) == Type::Object("iterator".into());
                let fresh = graph.node(id).reads().all(|v| {
                    !iterator(v)
                        || users[&v] == [id] && nodes.iter().any(|&n| graph.node(n).outputs.contains(&v))
                });
                if let Some(looped) = looped
                    && fresh
                    && nodes.contains(first)
                    && graph.node(*first).outputs.iter().all(|v| users[v] == [looped])
                {
                    found.starts.insert(looped, [id, *first]);
                    found.held.extend([id, *first]);
                }
            }
        }
        found
    }
}

fn action_of(node: &Node) -> Option<&Action> {
    match &node.kind {
        NodeKind::Host(call) => Call::of(call.as_ref()).map(|c| &c.action),
        _ => None,
    }
}

/// A place in a rewriting to come back to.
struct Mark {
    new: Builder,
    map: ValueMap,
    changes: usize,
    known: HashMap<ValueId, Value>,
    coming: HashMap<ValueId, std::collections::VecDeque<Value>>,
}

impl Fold<'_, '_, '_> {
    /// The graph with these of its inputs bound.
    pub(super) fn run(mut self, graph: &Graph, bound: &[(usize, Value)]) -> Result<(Graph, Vec<Change>)> {
        let mut new = Builder::new(graph.name.clone());
        let mut map = ValueMap::new(graph);
        let inputs = graph.params().iter().zip(&graph.inputs).enumerate();
        let of = |at: usize| bound.iter().find(|(place, _)| *place == at).map(|(_, value)| value);
        for (_, (&param, &role)) in inputs.clone().filter(|(at, _)| of(*at).is_none()) {
            let info = graph.value(param);
            map.set(param, new.input(info.ty.clone(), role, &info.name));
        }
        let mut changes = Vec::new();
        for (at, (&param, _)) in inputs {
            let Some(value) = of(at) else { continue };
            let info = graph.value(param);
            let apart = self.aliases.as_mut().is_some_and(|a| a.leaves(param));
            let mut emit = Emit { builder: &mut new, program: self.program, apart, origin: None };
            map.set(param, emit.value(value, &info.ty)?);
            changes.push(Change { what: format!("%{} is constant", info.name), origin: None });
            self.know(graph, param, Some(value.clone()));
        }
        let mut rewrite = Rewrite { old: graph, new, map, changes };
        rewrite.nodes(graph.body, &mut self)?;
        let Rewrite { new, map, changes, .. } = rewrite;
        Ok((new.finish_like(graph, &map)?, changes))
    }

    /// From now on this is what is known of a value.
    fn know(&mut self, graph: &Graph, value: ValueId, what: Option<Value>) {
        let allowed = |what: &Value, aliases: &mut Option<Aliases>| {
            is_plain(what) || aliases.as_mut().is_some_and(|a| a.written(graph, value).is_none())
        };
        match what.filter(|what| allowed(what, &mut self.aliases)) {
            Some(what) => self.known.insert(value, what),
            None => self.known.remove(&value),
        };
    }

    /// Makes a value of the new graph for one of the old. What leaves with the result is the caller's to change.
    fn emit(
        &mut self,
        new: &mut Builder,
        graph: &Graph,
        old: ValueId,
        value: &Value,
        from: &Node,
    ) -> Result<ValueId> {
        let apart = self.aliases.as_mut().is_some_and(|a| a.leaves(old));
        Emit { builder: new, program: self.program, apart, origin: from.origin }.value(value, graph.ty(old))
    }

    fn operand(&self, operand: &Operand) -> Option<Value> {
        match operand {
            Operand::Host(host) => Some(value_of(host)),
            Operand::Value(v) => self.known.get(v).cloned(),
            Operand::Values(_) => None,
        }
    }

    /// What a node gives, if all that it reads is known.
    fn evaluate(&mut self, graph: &Graph, action: &Action, node: &Node) -> Option<Vec<Value>> {
        let operands: Vec<Value> = node.operands.iter().map(|o| self.operand(o)).collect::<Option<_>>()?;
        // An op without tensors makes its elements from nothing wherever it is part of a region. What a loop uses up is
        // known as its elements, and read by that loop alone.
        let mut given = 0;
        operands.iter().for_each(|v| elements(v, &mut given, 0));
        let used_up = |v: ValueId| {
            *graph.ty(v) == Type::Object("iterator".into())
                && matches!(self.known.get(&v), Some(Value::Tuple(_)))
        };
        if matches!(action, Action::Torch { .. }) && given == 0
            || matches!(action, Action::Builtin(b) if CHANGEABLE.contains(&b.name))
            || matches!(action, Action::Iterate)
            || node.reads().any(used_up)
        {
            return None;
        }
        let _no_grad = runtime::door::no_grad();
        let made = match action {
            Action::Unpack => unpack(&operands[0], node.outputs.len()).ok()?.to_vec(),
            Action::Global(..) if self.aliases.is_none() => return None,
            _ => {
                let places: Vec<u32> = (0..operands.len() as u32).collect();
                let args = Args { registers: &operands, places: &places };
                vec![perform(action, args, self.world).ok()?]
            }
        };
        let mut count = 0;
        made.iter().for_each(|v| elements(v, &mut count, 0));
        let fits = matches!(action, Action::Global(..)) || count <= given.max(SMALL);
        (fits && made.len() == node.outputs.len()).then_some(made)
    }

    fn action(&mut self, rewrite: &mut Rewrite, node: &Node, call: &Call) -> Result<Outcome> {
        let old = rewrite.old;
        let action = &call.action;
        if self.inference && matches!(action, Action::GradMode(_) | Action::EndGradMode) {
            return Ok(Outcome::Drop);
        }
        if let Some(kept) = self.undropped(old, action, node) {
            rewrite.changes.push(format!("{} drops nothing", call.name()).into());
            let known = self.known.get(&kept).cloned();
            self.know(old, node.outputs[0], known);
            return Ok(Outcome::Replaced(vec![rewrite.map.get(kept)?]));
        }
        let made = match call.effect() {
            HostEffect::Ordered => None,
            HostEffect::None | HostEffect::Reads => self.evaluate(old, action, node),
        };
        let Some(made) = made else {
            let stilled = !call.still && action.is_still(&|name| self.number(action, node, name));
            return match (self.unknown(node, old), stilled) {
                (outcome, false) => Ok(outcome),
                (_, true) => self.stilled(rewrite, node, call),
            };
        };
        let mut values: Vec<Value> = Vec::with_capacity(made.len());
        for value in made {
            values.push(match &value {
                Value::Iterator(lazy) if lazy.count().is_none() => match listed(&value) {
                    Some(elements) => Value::tuple(elements),
                    None => return Ok(self.unknown(node, old)),
                },
                _ => dense(value)?,
            });
        }
        let made = values;
        for (&output, value) in node.outputs.iter().zip(&made) {
            self.know(old, output, Some(value.clone()));
        }
        // What only gathers is no smaller as a value, and an iterator has no other form.
        let gathers = matches!(
            action,
            Action::List | Action::Tuple | Action::Dict | Action::Object(..) | Action::Widen(_)
        );
        let known = node.outputs.iter().all(|v| self.known.contains_key(v));
        let iterates = node.outputs.iter().any(|v| *old.ty(*v) == Type::Object("iterator".into()));
        if gathers || iterates || !known || !made.iter().all(|v| size(v, 0).is_some_and(|n| n <= LARGE)) {
            return Ok(Outcome::Keep);
        }
        let mut values = Vec::new();
        for (&output, value) in node.outputs.iter().zip(&made) {
            values.push(self.emit(&mut rewrite.new, old, output, value, node)?);
        }
        rewrite.changes.push(format!("{} of what is known", call.name()).into());
        Ok(Outcome::Replaced(values))
    }

    /// What is known of an argument of a call of torch: `None` where it is left out, else its number.
    fn number(&self, action: &Action, node: &Node, name: &str) -> Option<Option<Scalar>> {
        argument(action, node, name).map(|o| self.operand(o).and_then(|v| v.scalar()))
    }

    /// A call that may train, as one that does not: nothing keeps it in its place.
    fn stilled(&mut self, rewrite: &mut Rewrite, node: &Node, call: &Call) -> Result<Outcome> {
        let operands = node.operands.iter().map(|o| rewrite.map.operand(o)).collect::<Result<_>>()?;
        let types: Vec<Type> = node.outputs.iter().map(|&v| rewrite.old.ty(v).clone()).collect();
        let ordered = self.aliases.as_ref().is_none_or(Aliases::writes)
            || any_call(rewrite.old, |c| matches!(c.action, Action::GradMode(_)));
        let kind = NodeKind::Host(Call::still(call.action.clone(), ordered));
        let made = rewrite.new.node(kind, operands, Vec::new(), &types, node.origin);
        rewrite.changes.push(format!("{} does not train", call.name()).into());
        Ok(Outcome::Replaced(rewrite.new.outputs(made).to_vec()))
    }

    /// The node stays, and nothing is known of what it gives.
    fn unknown(&mut self, node: &Node, graph: &Graph) -> Outcome {
        node.outputs.iter().for_each(|&v| self.know(graph, v, None));
        Outcome::Keep
    }

    /// What a call that would drop elements gives, where it does not: its operand.
    fn undropped(&mut self, graph: &Graph, action: &Action, node: &Node) -> Option<ValueId> {
        let Action::Torch { call, .. } = action else { return None };
        let name = call.name.rsplit('.').next()?;
        if !matches!(name, "dropout" | "dropout1d" | "dropout2d" | "dropout3d") {
            return None;
        }
        let trains = !matches!(self.number(action, node, "training"), Some(Some(Scalar::Bool(false))));
        let odds = match self.number(action, node, "p") {
            None => 0.5,
            Some(p) => p?.to_f64(),
        };
        let still = if trains { odds == 0.0 } else { (0.0..=1.0).contains(&odds) };
        let (of, output) = (node.reads().next()?, *node.outputs.first()?);
        let shared = self.aliases.as_mut()?.written(graph, output).is_some();
        (still && !shared).then_some(of)
    }

    fn mark(&self, rewrite: &Rewrite) -> Mark {
        Mark {
            new: rewrite.new.clone(),
            map: rewrite.map.clone(),
            changes: rewrite.changes.len(),
            known: self.known.clone(),
            coming: self.loops.coming.clone(),
        }
    }

    fn back(&mut self, rewrite: &mut Rewrite, mark: Mark) {
        (rewrite.new, rewrite.map) = (mark.new, mark.map);
        rewrite.changes.truncate(mark.changes);
        (self.known, self.loops.coming) = (mark.known, mark.coming);
    }

    /// A loop as its turns; `None` where they are not known or too many, and then nothing has changed.
    fn turns(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Option<Vec<ValueId>>> {
        let old = rewrite.old;
        let node = old.node(id);
        let mark = self.mark(rewrite);
        if let Some(&[start, first]) = self.loops.starts.get(&id) {
            let over = old.node(start).operands.first().and_then(|o| self.operand(o));
            let Some(elements) = over.and_then(|over| listed(&over)) else { return Ok(None) };
            self.loops.coming.insert(old.node(start).outputs[0], elements.into());
            if !self.next(rewrite, old.node(first))? {
                self.back(rewrite, mark);
                return Ok(None);
            }
        }
        let mut carried: Vec<(Option<ValueId>, Option<Value>)> = Vec::new();
        for operand in &node.operands {
            let new = operand.values().first().and_then(|&v| rewrite.map.find(v));
            carried.push((new, self.operand(operand)));
        }
        let before = rewrite.new.graph().node_count();
        let [test, body] = [node.blocks[0], node.blocks[1]];
        for turn in 0.. {
            for block in [test, body] {
                for (&param, (new, known)) in old.block(block).params.iter().zip(&carried) {
                    new.iter().for_each(|&new| rewrite.map.set(param, new));
                    self.know(old, param, known.clone());
                }
            }
            rewrite.nodes(test, self)?;
            let holds = old.block(test).results.first().and_then(|v| self.known.get(v));
            match holds {
                Some(Value::Bool(false)) => {
                    rewrite.changes.push(format!("a loop of {turn} turns").into());
                    let outputs: Option<Vec<ValueId>> = carried.iter().map(|(new, _)| *new).collect();
                    let Some(outputs) = outputs else { break };
                    for (&output, (_, known)) in node.outputs.iter().zip(carried) {
                        self.know(old, output, known);
                    }
                    // The next time that this loop is met it begins anew.
                    if let Some([start, _]) = self.loops.starts.get(&id) {
                        self.loops.coming.remove(&old.node(*start).outputs[0]);
                    }
                    return Ok(Some(outputs));
                }
                Some(Value::Bool(true)) if turn < self.options.unroll_turns => {}
                _ => break,
            }
            rewrite.nodes(body, self)?;
            let results = &old.block(body).results;
            carried = results.iter().map(|v| (rewrite.map.find(*v), self.known.get(v).cloned())).collect();
            if rewrite.new.graph().node_count() - before > self.options.unroll_nodes {
                break;
            }
        }
        self.back(rewrite, mark);
        Ok(None)
    }

    /// The next element of a loop whose elements are known; whether there was such a loop.
    fn next(&mut self, rewrite: &mut Rewrite, node: &Node) -> Result<bool> {
        let old = rewrite.old;
        let Some(coming) = node.reads().next().and_then(|v| self.loops.coming.get_mut(&v)) else {
            return Ok(false);
        };
        let element = coming.pop_front();
        let [more, to] = node.outputs[..] else { return Ok(false) };
        let there = Value::Bool(element.is_some());
        let made = self.emit(&mut rewrite.new, old, more, &there, node)?;
        rewrite.map.set(more, made);
        self.know(old, more, Some(there));
        // Behind the last element nobody reads one; its type may have no value for that.
        let ty = old.ty(to);
        let made = match &element {
            Some(value) if size(value, 0).is_none_or(|n| n > LARGE) => return Ok(false),
            Some(value) => self.emit(&mut rewrite.new, old, to, value, node)?,
            None => {
                let never = NodeKind::Host(Call::new(Action::Widen(ty.clone()), false));
                let none = vec![Operand::Host(runtime::Host::None)];
                let node = rewrite.new.node(never, none, Vec::new(), std::slice::from_ref(ty), node.origin);
                rewrite.new.outputs(node)[0]
            }
        };
        rewrite.map.set(to, made);
        self.know(old, to, element);
        Ok(true)
    }
}

/// What a loop over a value meets, if that is not too much.
fn listed(value: &Value) -> Option<Vec<Value>> {
    let mut cursor = Cursor::over(value).ok()?;
    let mut elements = Vec::new();
    while let Some(element) = cursor.next().ok()? {
        elements.push(element);
        if elements.len() > MOST {
            return None;
        }
    }
    Some(elements)
}

/// Elements of the tensors in a value.
fn elements(value: &Value, sum: &mut usize, depth: usize) {
    if depth > 8 {
        return;
    }
    match value {
        Value::Tensor(t) => *sum += t.numel(),
        Value::Tuple(parts) => parts.iter().for_each(|v| elements(v, sum, depth + 1)),
        Value::List(list) => list.borrow().iter().for_each(|v| elements(v, sum, depth + 1)),
        Value::Dict(dict) => dict.borrow().iter().for_each(|(_, v)| elements(v, sum, depth + 1)),
        Value::Object(object) => object.fields.borrow().iter().for_each(|v| elements(v, sum, depth + 1)),
        _ => {}
    }
}

/// A tensor that lies as a constant does.
fn dense(value: Value) -> Result<Value> {
    match value {
        Value::Tensor(t) if !t.is_contiguous() => t.contiguous().map(Value::Tensor),
        other => Ok(other),
    }
}

impl Visitor for Fold<'_, '_, '_> {
    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let old = rewrite.old;
        let node = old.node(id);
        match &node.kind {
            NodeKind::HostOp(op) => {
                let literal = if op.name == "host.literal" { node.operands.first() } else { None };
                let value = literal.and_then(|o| self.operand(o));
                node.outputs.iter().for_each(|&v| self.know(old, v, value.clone()));
                Ok(Outcome::Keep)
            }
            NodeKind::Constant(tensor) => {
                self.know(old, node.outputs[0], Some(Value::Tensor(tensor.clone())));
                Ok(Outcome::Keep)
            }
            NodeKind::If => {
                let Some(Value::Bool(holds)) = node.operands.first().and_then(|o| self.operand(o)) else {
                    node.outputs.iter().for_each(|&v| self.know(old, v, None));
                    return Ok(Outcome::Keep);
                };
                rewrite.changes.push(format!("a branch that is always {holds}").into());
                let taken = node.blocks[usize::from(!holds)];
                let values = rewrite.straight(taken, self)?;
                for (&output, result) in node.outputs.iter().zip(&old.block(taken).results) {
                    let known = self.known.get(result).cloned();
                    self.know(old, output, known);
                }
                Ok(Outcome::Replaced(values))
            }
            NodeKind::While => {
                if let Some(values) = self.turns(rewrite, id)? {
                    return Ok(Outcome::Replaced(values));
                }
                if let Some(start) = self.loops.starts.get(&id) {
                    start.iter().try_for_each(|&n| rewrite.new.copy(old, n, &mut rewrite.map).map(|_| ()))?;
                }
                let params = node.blocks.iter().flat_map(|&b| &old.block(b).params);
                params.chain(&node.outputs).for_each(|&v| self.know(old, v, None));
                Ok(Outcome::Keep)
            }
            NodeKind::Host(_) if self.loops.held.contains(&id) => Ok(Outcome::Drop),
            NodeKind::Host(call) => match Call::of(call.as_ref()) {
                Some(Call { action: Action::Next, .. }) => match self.next(rewrite, node)? {
                    true => Ok(Outcome::Drop),
                    false => {
                        node.outputs.iter().for_each(|&v| self.know(old, v, None));
                        Ok(Outcome::Keep)
                    }
                },
                Some(call) => self.action(rewrite, node, call),
                None => Ok(Outcome::Keep),
            },
            NodeKind::Op(_) | NodeKind::Fused | NodeKind::Call(_) => Ok(Outcome::Keep),
        }
    }
}
