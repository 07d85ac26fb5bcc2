//! torch's way of recording: the interpreter that tensors with a history bring to the door. It pushes nothing; it runs
//! the operation on the level below and hangs one node on the result.

use crate::node::{Edge, Edges, Node, Rule, attach, edge_of};
use crate::saved::{KeptList, keep_args, keep_outputs};
use crate::view;
use runtime::callable::Callable;
use runtime::door::{self, Interpreter, Observe, Outputs};
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::table::{Effect, OpDef, Saves, Vjp};
use runtime::tensor::{self, flags};
use runtime::{Arg, Tensor};
use smallvec::SmallVec;
use std::sync::Arc;

/// The interpreter behind every slot of this crate.
pub(crate) struct Engine;

/// Its only value, as tensors name it.
pub(crate) static ENGINE: tensor::Engine = &Engine;

/// The history of a tensor.
#[inline]
pub(crate) fn history(tensor: &Tensor) -> Edge {
    let bits = tensor.flags();
    if bits & flags::TRACKED == 0 {
        return Edge::None;
    }
    match tensor.base() {
        Some(base) if bits & flags::VIEW != 0 => view::history(tensor, base),
        _ => own_history(tensor),
    }
}

/// The history in a tensor's own slot.
#[inline]
pub(crate) fn own_history(tensor: &Tensor) -> Edge {
    tensor.slot().map_or(Edge::None, edge_of)
}

/// Bit i: edge i leads somewhere.
#[inline]
pub(crate) fn needs_of(edges: &[Edge]) -> u64 {
    edges.iter().enumerate().fold(0, |bits, (i, e)| bits | (e.is_some() as u64) << i.min(63))
}

#[inline]
fn edges_of(args: &[Arg]) -> Edges {
    let mut edges = Edges::new();
    for arg in args {
        match arg {
            Arg::Tensor(tensor) => edges.push(history(tensor)),
            Arg::Tensors(list) => edges.extend(list.iter().map(history)),
            _ => {}
        }
    }
    edges
}

/// What the record of an op keeps; `None` where no gradient flows through it.
fn saves_of(op: &OpDef) -> Option<Saves> {
    match op.vjp {
        Vjp::Rule(saves, _) => Some(saves),
        Vjp::None(_) => Some(Saves::NOTHING),
        Vjp::Zero => None,
    }
}

impl Interpreter for Engine {
    fn name(&self) -> &'static str {
        "autograd"
    }

    fn bind(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Outputs> {
        let mut outputs = door::bind_below_slots(op, args, origin)?;
        let Some(saves) = saves_of(op) else { return Ok(outputs) };
        if !outputs.iter().any(|t| t.dtype().is_float()) {
            return Ok(outputs);
        }
        let edges = edges_of(args);
        let needs = needs_of(&edges);
        if needs == 0 {
            return Ok(outputs);
        }
        let kept = (keep_args(args, saves, needs, &outputs[0]), keep_outputs(&outputs, saves));
        attach(Node::new(Rule::Op(op), edges, &outputs, kept, origin), &mut outputs);
        if let Effect::View(_) = op.effect {
            outputs[0].follow_base();
        }
        Ok(outputs)
    }

    fn observe(&self, tensor: &Tensor, what: Observe, origin: Origin) -> Result<Tensor> {
        door::observe(tensor, what, origin)
    }

    fn mutate(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<()> {
        let Some(Arg::Tensor(target)) = args.first().copied() else {
            return Err(Error::value("an in-place operation needs a tensor to write to"));
        };
        if op.effect == Effect::Write || !target.dtype().is_float() {
            return door::mutate(op, args, origin);
        }
        let mut edges = edges_of(args);
        if let Some(Edge::Leaf(_)) = edges.first() {
            return Err(Error::new(
                ErrorKind::InPlace,
                "a leaf tensor that requires grad is being used in an in-place operation",
            )
            .hint("update it under no_grad(), or write into a copy"));
        }
        view::check_target(target)?;
        let saves = saves_of(op).unwrap_or_else(|| {
            edges.iter_mut().for_each(|e| *e = Edge::None);
            Saves::NOTHING
        });
        let needs = needs_of(&edges);
        // Kept before the write, at the version before it: what the rule reads of the target's old elements is then
        // known to be lost.
        let args_kept = keep_args(args, saves, needs, target);
        door::mutate(op, args, origin)?;
        let outputs = std::slice::from_ref(target);
        let kept = (args_kept, keep_outputs(outputs, saves));
        let node = Node::new(Rule::Op(op), edges, outputs, kept, origin);
        view::splice(target, &node, origin);
        target.set_slot(Some(node.into()));
        Ok(())
    }

    fn call(&self, callable: &Arc<dyn Callable>, args: &[Tensor], origin: Origin) -> Result<Outputs> {
        let edges: Edges = args.iter().map(history).collect();
        let needs = needs_of(&edges);
        let (mut outputs, residuals) = callable.run_for_gradient(args, needs)?;
        if needs == 0 || !outputs.iter().any(|t| t.dtype().is_float()) {
            return Ok(outputs);
        }
        for output in &mut outputs {
            // An argument handed through is a new tensor: its history is this call.
            if args.iter().any(|a| a.same(output)) {
                *output = output.alias();
            }
        }
        let sources = residuals.iter().map(|r| ResidualSource::of(r, args, &outputs)).collect();
        let kept = (KeptList::tensors(args), KeptList::tensors(&residuals));
        let rule = Rule::Call(Box::new((callable.clone(), sources)));
        attach(Node::new(rule, edges, &outputs, kept, origin), &mut outputs);
        Ok(outputs)
    }
}

/// Which history a residual of a call has when the call's backward is itself recorded.
#[derive(Clone, Copy)]
pub(crate) enum ResidualSource {
    /// That of an argument.
    Arg(u32),
    /// That of an output.
    Output(u32),
    /// One that is hidden inside the call.
    Inside,
}

impl ResidualSource {
    fn of(residual: &Tensor, args: &[Tensor], outputs: &[Tensor]) -> ResidualSource {
        let at = |list: &[Tensor]| list.iter().position(|t| t.same(residual)).map(|i| i as u32);
        match (at(args), at(outputs)) {
            (Some(i), _) => ResidualSource::Arg(i),
            (None, Some(i)) => ResidualSource::Output(i),
            (None, None) => ResidualSource::Inside,
        }
    }
}

/// Sources of all residuals of one call.
pub(crate) type ResidualSources = SmallVec<[ResidualSource; 4]>;
