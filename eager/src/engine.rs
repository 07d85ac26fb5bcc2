//! torch's way of recording: the interpreter that tensors with a history bring to the door. It pushes nothing; it runs
//! the operation on the level below and hangs one node on the result.

use crate::node::{Edge, Links, Node, Rule, attach, attach_where, edge_of};
use crate::saved::{KeptList, keep_args, keep_outputs, keeps_nothing};
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
#[inline(always)]
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
#[inline(always)]
pub(crate) fn own_history(tensor: &Tensor) -> Edge {
    match tensor.slot() {
        Some(slot) => edge_of(slot),
        None => Edge::None,
    }
}

/// One edge for each flattened tensor operand.
#[inline(always)]
fn links_of(args: &[Arg]) -> Links {
    match *args {
        [Arg::Tensor(a), Arg::Tensor(b)] => Links::pair(history(a), history(b)),
        _ => links_of_any(args),
    }
}

#[inline(never)]
fn links_of_any(args: &[Arg]) -> Links {
    Links::of(args.iter().flat_map(|a| a.tensors()).map(history).collect())
}

/// What the record of an op keeps; `None` where no gradient flows through it.
fn saves_of(op: &OpDef) -> Option<Saves> {
    match op.vjp {
        Vjp::Rule(saves, _) => Some(saves),
        Vjp::None(_) => Some(Saves::NOTHING),
        Vjp::Zero => None,
    }
}

/// Hangs the record of an op on its outputs, if a gradient flows through it.
#[inline(always)]
fn record(op: &'static OpDef, args: &[Arg], outputs: &mut [Tensor], origin: Origin) {
    let Some(saves) = saves_of(op) else { return };
    if !outputs.iter().any(|t| t.dtype().is_float()) {
        return;
    }
    let links = links_of(args);
    if links.needs == 0 {
        return;
    }
    let rule = Rule::Op(op);
    let node = if keeps_nothing(args, saves, outputs) {
        Node::new(rule, links, outputs, args.len(), origin)
    } else {
        let kept = (keep_args(args, saves, links.needs, &outputs[0]), keep_outputs(outputs, saves));
        Node::keeping(rule, links, outputs, kept, origin)
    };
    attach(node, outputs);
    if let Effect::View(_) = op.effect {
        outputs[0].follow_base();
    }
}

impl Interpreter for Engine {
    fn name(&self) -> &'static str {
        "autograd"
    }

    fn bind(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Outputs> {
        let mut outputs = door::bind_below_slots(op, args, origin)?;
        record(op, args, &mut outputs, origin);
        Ok(outputs)
    }

    fn bind1(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Tensor> {
        let mut output = door::bind1_below_slots(op, args, origin)?;
        record(op, args, std::slice::from_mut(&mut output), origin);
        Ok(output)
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
        let mut links = links_of(args);
        if let Some(Edge::Leaf(_)) = links.edges.first() {
            return Err(Error::new(
                ErrorKind::InPlace,
                "a leaf tensor that requires grad is being used in an in-place operation",
            )
            .hint("update it under no_grad(), or write into a copy"));
        }
        view::check_target(target)?;
        let saves = saves_of(op).unwrap_or_else(|| {
            links.edges.iter_mut().for_each(|e| *e = Edge::None);
            links.needs = 0;
            Saves::NOTHING
        });
        // The write takes what the target was, so where the rule reads that, it gets a copy. The target as another
        // operand (`h.mul_(h)`) is kept as it is, at the version before the write, and so known to be lost, as in torch.
        let old = saves.reads(0, links.needs, 0, 1).then(|| target.copy()).transpose()?;
        let mut given: SmallVec<[Arg; 4]> = args.iter().copied().collect();
        if let Some(old) = &old {
            given[0] = Arg::Tensor(old);
        }
        let args_kept = keep_args(&given, saves, links.needs, target);
        door::mutate(op, args, origin)?;
        let outputs = std::slice::from_ref(target);
        let kept = (args_kept, keep_outputs(outputs, saves));
        let node = Node::keeping(Rule::Op(op), links, outputs, kept, origin);
        view::splice(target, &node, origin);
        target.set_slot(Some(node.into()));
        Ok(())
    }

    fn call(&self, callable: &Arc<dyn Callable>, args: &[Tensor], origin: Origin) -> Result<Outputs> {
        let links = Links::of(args.iter().map(history).collect());
        let (mut outputs, residuals) = callable.run_for_gradient(args, links.needs)?;
        let needs = links.needs;
        let follows = |(i, t): (usize, &Tensor)| t.dtype().is_float() && callable.depends(i, needs);
        if needs == 0 || !outputs.iter().enumerate().any(follows) {
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
        let node = Node::keeping(rule, links, &outputs, kept, origin);
        attach_where(node, &mut outputs, |i| callable.depends(i, needs));
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
