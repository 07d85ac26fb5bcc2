//! The one door. Every computation, look and write passes one of four verbs here:
//!
//! - `bind`: an operation of the table,
//! - `observe`: the host reads values of a tensor,
//! - `mutate`: an operation whose result replaces the elements of its first operand,
//! - `call`: a compiled or custom region as one operation.
//!
//! What a verb means is decided by interpreters. They are chosen from the inputs (a tensor with an autograd slot brings
//! its engine) and from the scoped ones (tapes, tracers; innermost first). An interpreter that applies masks only its
//! own level while it works, so levels compose: a tape inside a tracer records entries of traced tensors. Where no
//! interpreter is left the operation runs. Nothing else launches a kernel or adds a node.

use crate::callable::Callable;
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::table::{Effect, Lower, OpDef};
use crate::tensor::{self, Tensor, flags};
use crate::value::Arg;
use crate::writes;
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

/// Results of an operation.
pub type Outputs = SmallVec<[Tensor; 1]>;

/// What the host wants to know of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observe {
    /// Its elements.
    Values,
    /// Its truth, for a host branch.
    Truth,
    /// The extent of one dimension, or its shape as a whole. What comes back is the tensor itself.
    Extent(Option<usize>),
}

/// A meaning of the four verbs. Each method handles one level and reaches the level below by using the door again; the
/// `bind` of an engine behind autograd slots does so through `bind_below_slots`, which masks its level where that matters.
pub trait Interpreter: Send + Sync {
    /// Its name in messages.
    fn name(&self) -> &'static str;
    /// An operation of the table.
    fn bind(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Outputs>;
    /// `bind` of an op with one output, which then need not be put into a list.
    fn bind1(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Tensor> {
        crate::run::only(op, self.bind(op, args, origin)?)
    }
    /// A look at a tensor: returns one whose elements can be read.
    fn observe(&self, tensor: &Tensor, what: Observe, origin: Origin) -> Result<Tensor>;
    /// An operation that writes its result into its first operand.
    fn mutate(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<()>;
    /// A region as one operation.
    fn call(&self, callable: &Arc<dyn Callable>, args: &[Tensor], origin: Origin) -> Result<Outputs>;
    /// The host does something that no operation shows (prints, say).
    fn effect(&self, what: &str, origin: Origin) {
        let _ = (what, origin);
    }
    /// The host is about to look at a tensor in memory: the place to carry out writes to it that were deferred.
    fn settle(&self, tensor: &Tensor, origin: Origin) -> Result<()> {
        let _ = (tensor, origin);
        Ok(())
    }
}

struct Level {
    id: u64,
    interpreter: Arc<dyn Interpreter>,
    masked: bool,
}

thread_local! {
    static SCOPED: RefCell<Vec<Level>> = const { RefCell::new(Vec::new()) };
    /// Scoped interpreters that are not masked.
    static ACTIVE: Cell<u32> = const { Cell::new(0) };
    /// Bits of `flags` that are looked at: TRACKED is masked while an autograd engine applies and under `no_grad`.
    static INPUT_BITS: Cell<u8> = const { Cell::new(flags::TRACKED | flags::TRACED | flags::PENDING) };
    static NEXT_LEVEL: Cell<u64> = const { Cell::new(1) };
    /// Open guards of the grad mode, oldest first.
    static GRAD_MODES: RefCell<Vec<GradMode>> = const { RefCell::new(Vec::new()) };
}

/// What a guard of the grad mode says.
struct GradMode {
    id: u64,
    /// Whether engines record.
    engines: bool,
    /// Whether the program wants a history; nothing where someone below it masks engines for work of its own.
    program: Option<bool>,
}

/// Keeps an interpreter in scope on this thread; dropping it (also on unwind, in any order) ends the scope.
pub struct Scope {
    id: u64,
    not_send: PhantomData<Rc<()>>,
}

/// Puts an interpreter into scope, innermost.
pub fn enter(interpreter: Arc<dyn Interpreter>) -> Scope {
    let id = NEXT_LEVEL.with(|n| n.replace(n.get() + 1));
    SCOPED.with_borrow_mut(|s| s.push(Level { id, interpreter, masked: false }));
    ACTIVE.with(|a| a.set(a.get() + 1));
    Scope { id, not_send: PhantomData }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let removed = SCOPED.with_borrow_mut(|s| s.iter().position(|l| l.id == self.id).map(|i| s.remove(i)));
        if removed.is_some_and(|l| !l.masked) {
            ACTIVE.with(|a| a.set(a.get() - 1));
        }
    }
}

/// While it lives, a level of the stack does not apply. The level may leave the stack meanwhile.
struct Mask(u64);

impl Mask {
    fn new(id: u64) -> Mask {
        set_masked(id, true);
        Mask(id)
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        set_masked(self.0, false);
    }
}

fn set_masked(id: u64, masked: bool) {
    SCOPED.with_borrow_mut(|s| {
        if let Some(level) = s.iter_mut().find(|l| l.id == id)
            && level.masked != masked
        {
            level.masked = masked;
            ACTIVE.with(|a| a.set(if masked { a.get() - 1 } else { a.get() + 1 }));
        }
    });
}

/// While it lives, autograd slots of inputs are looked at on this thread or not. This is torch's `no_grad`, its
/// `enable_grad`, and the mask of the autograd engine's own level. Guards may close in any order: the youngest that is
/// open decides.
pub struct NoGrad {
    id: u64,
    not_send: PhantomData<Rc<()>>,
}

/// Stops autograd engines from recording until the guard drops.
#[inline]
pub fn no_grad() -> NoGrad {
    set_grad(false, Some(false))
}

/// Lets autograd engines record again inside a `no_grad` scope until the guard drops.
#[inline]
pub fn enable_grad() -> NoGrad {
    set_grad(true, Some(true))
}

/// Stops autograd engines from recording what is done below the program until the guard drops; `grad_mode` stays.
#[inline]
pub fn without_engines() -> NoGrad {
    set_grad(false, None)
}

/// What is recorded from here on is a program of its own, in `grad_mode` until it says otherwise; whether engines record
/// stays as it is.
pub fn program_begins() -> NoGrad {
    set_grad(grad_enabled(), Some(true))
}

#[inline]
fn set_grad(engines: bool, program: Option<bool>) -> NoGrad {
    let id = NEXT_LEVEL.with(|n| n.replace(n.get() + 1));
    GRAD_MODES.with_borrow_mut(|modes| modes.push(GradMode { id, engines, program }));
    look_at_slots(engines);
    NoGrad { id, not_send: PhantomData }
}

#[inline]
fn look_at_slots(on: bool) {
    let bits = INPUT_BITS.get();
    INPUT_BITS.set(if on { bits | flags::TRACKED } else { bits & !flags::TRACKED });
}

impl Drop for NoGrad {
    #[inline]
    fn drop(&mut self) {
        GRAD_MODES.with_borrow_mut(|modes| {
            match modes.last() {
                Some(mode) if mode.id == self.id => {
                    modes.pop();
                }
                _ => modes.retain(|mode| mode.id != self.id),
            }
            look_at_slots(modes.last().is_none_or(|mode| mode.engines));
        });
    }
}

/// Whether the program wants a history of what it does: it is not under a `no_grad` of its own.
pub fn grad_mode() -> bool {
    GRAD_MODES.with_borrow(|modes| modes.iter().rev().find_map(|mode| mode.program).unwrap_or(true))
}

/// Whether autograd engines record on this thread.
pub fn grad_enabled() -> bool {
    INPUT_BITS.get() & flags::TRACKED != 0
}

/// While it lives, no scoped interpreter applies on this thread (TensorFlow's `init_scope`).
pub struct Outside(#[allow(dead_code, reason = "the masks are held for their drop")] Vec<Mask>);

/// Leaves every scope until the guard drops.
pub fn outside() -> Outside {
    let ids = SCOPED.with_borrow(|s| s.iter().filter(|l| !l.masked).map(|l| l.id).collect::<Vec<_>>());
    Outside(ids.into_iter().map(Mask::new).collect())
}

/// The scoped interpreter that would see the next operation first.
pub fn innermost() -> Option<Arc<dyn Interpreter>> {
    SCOPED.with_borrow(|s| s.iter().rev().find(|l| !l.masked).map(|l| l.interpreter.clone()))
}

/// Whether a scoped interpreter would see the next operation.
pub fn in_scope() -> bool {
    ACTIVE.get() > 0
}

#[inline(always)]
fn union_of_flags(args: &[Arg]) -> u8 {
    let mut bits = 0;
    for arg in args {
        match arg {
            Arg::Tensor(t) => bits |= t.flags(),
            Arg::Tensors(list) => bits |= flags_of_list(list),
            _ => {}
        }
    }
    bits
}

#[inline(never)]
fn flags_of_list(list: &[Tensor]) -> u8 {
    list.iter().fold(0, |bits, t| bits | t.flags())
}

/// Who handles a verb for these inputs.
enum Handler {
    Engine(&'static dyn Interpreter),
    Scoped(Arc<dyn Interpreter>, Mask),
    /// Who deferred an input; below every level of the stack.
    Owner(Arc<dyn Interpreter>),
    Run,
}

/// What `handler` would find in the most frequent case, an engine behind a tensor that is an operand itself.
#[inline]
fn first_engine(args: &[Arg]) -> Option<&'static dyn Interpreter> {
    args.iter().find_map(|arg| if let Arg::Tensor(t) = arg { t.engine() } else { None })
}

fn handler<'a>(bits: u8, mut tensors: impl Iterator<Item = &'a Tensor> + Clone) -> Result<Handler> {
    if bits & flags::TRACKED != 0
        && let Some(engine) = tensors.clone().find_map(Tensor::engine)
    {
        return Ok(Handler::Engine(engine));
    }
    let top =
        SCOPED.with_borrow(|s| s.iter().rev().find(|l| !l.masked).map(|l| (l.interpreter.clone(), l.id)));
    if let Some((interpreter, id)) = top {
        return Ok(Handler::Scoped(interpreter, Mask::new(id)));
    }
    if let Some(traced) = tensors.clone().find_map(Tensor::traced) {
        return Err(tensor::escaped(traced));
    }
    match tensors.find_map(Tensor::pending) {
        Some(pending) => Ok(Handler::Owner(pending.owner().clone())),
        None => Ok(Handler::Run),
    }
}

/// An operation of the table. Errors name the op, its operands and the origin.
#[inline]
pub fn bind(op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Outputs> {
    let bits = union_of_flags(args) & INPUT_BITS.get();
    if bits == 0 && ACTIVE.get() == 0 {
        return crate::run::run(op, args).map_err(|e| explain(e, op, args, origin));
    }
    if bits & flags::TRACKED != 0
        && let Some(engine) = first_engine(args)
    {
        return engine.bind(op, args, origin).map_err(|e| explain(e, op, args, origin));
    }
    let outcome = match handler(bits, args.iter().flat_map(|a| a.tensors())) {
        Ok(Handler::Engine(engine)) => engine.bind(op, args, origin),
        Ok(Handler::Scoped(scoped, _mask)) => scoped.bind(op, args, origin),
        Ok(Handler::Owner(owner)) => owner.bind(op, args, origin),
        Ok(Handler::Run) => crate::run::run(op, args),
        Err(e) => Err(e),
    };
    outcome.map_err(|e| explain(e, op, args, origin))
}

/// `bind` for an op with one output.
#[inline]
#[track_caller]
pub fn bind1(op: &'static OpDef, args: &[Arg]) -> Result<Tensor> {
    let origin = Origin::caller();
    let bits = union_of_flags(args) & INPUT_BITS.get();
    if bits == 0 && ACTIVE.get() == 0 {
        return crate::run::run1(op, args).map_err(|e| explain(e, op, args, origin));
    }
    if bits & flags::TRACKED != 0
        && let Some(engine) = first_engine(args)
    {
        return engine.bind1(op, args, origin).map_err(|e| explain(e, op, args, origin));
    }
    crate::run::only(op, bind(op, args, origin)?)
}

/// `bind` on the level below autograd slots, for the engine that they brought.
#[inline]
pub fn bind_below_slots(op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Outputs> {
    if runs_below_slots(op, args) {
        return crate::run::run(op, args);
    }
    let _mask = without_engines();
    bind(op, args, origin)
}

/// `bind1` on the level below autograd slots.
#[inline]
pub fn bind1_below_slots(op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Tensor> {
    if runs_below_slots(op, args) {
        return crate::run::run1(op, args);
    }
    let _mask = without_engines();
    crate::run::only(op, bind(op, args, origin)?)
}

/// Whether nothing but running is left below autograd slots. Running looks at no slots (a view alone asks about the grad
/// mode), so there is nothing to mask then.
#[inline(always)]
fn runs_below_slots(op: &'static OpDef, args: &[Arg]) -> bool {
    ACTIVE.get() == 0
        && !matches!(op.lower, Lower::View(..))
        && union_of_flags(args) & (flags::TRACED | flags::PENDING) == 0
}

/// An operation whose result replaces the elements of `args[0]`, in place and visible through every view of it.
pub fn mutate(op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<()> {
    let bits = union_of_flags(args) & INPUT_BITS.get();
    check_write(op, args).map_err(|e| explain(e, op, args, origin))?;
    let outcome = match handler(bits, args.iter().flat_map(|a| a.tensors())) {
        Ok(Handler::Engine(engine)) => {
            let _mask = without_engines();
            engine.mutate(op, args, origin)
        }
        Ok(Handler::Scoped(scoped, _mask)) => scoped.mutate(op, args, origin),
        Ok(Handler::Owner(owner)) => owner.mutate(op, args, origin),
        Ok(Handler::Run) => crate::run::run_in_place(op, args),
        Err(e) => Err(e),
    };
    outcome.map_err(|e| explain(e, op, args, origin))
}

fn check_write(op: &'static OpDef, args: &[Arg]) -> Result<()> {
    if op.effect == Effect::Write {
        return Ok(());
    }
    writes::check_overlap(args)?;
    if grad_enabled() { writes::check_view(args) } else { Ok(()) }
}

/// The host looks at a tensor; returns one that is in memory.
pub fn observe(tensor: &Tensor, what: Observe, origin: Origin) -> Result<Tensor> {
    if tensor.traced().is_none() {
        return look(tensor, what, origin).map_err(|e| e.at(origin));
    }
    let top =
        SCOPED.with_borrow(|s| s.iter().rev().find(|l| !l.masked).map(|l| (l.interpreter.clone(), l.id)));
    match top {
        Some((interpreter, id)) => {
            let _mask = Mask::new(id);
            interpreter.observe(tensor, what, origin)
        }
        None => match tensor.traced() {
            Some(traced) => Err(tensor::escaped(traced)),
            None => Ok(tensor.clone()),
        },
    }
    .map_err(|e| e.at(origin))
}

/// A look at a tensor that no tracer made. One in memory can be read without asking anyone, since looking at it changes
/// nothing that a tape or tracer records; but a write to it may have been deferred.
fn look(tensor: &Tensor, what: Observe, origin: Origin) -> Result<Tensor> {
    if let Some(pending) = tensor.pending() {
        return pending.owner().clone().observe(tensor, what, origin);
    }
    if in_scope() && !matches!(what, Observe::Extent(_)) {
        scoped().iter().try_for_each(|interpreter| interpreter.settle(tensor, origin))?;
    }
    Ok(tensor.clone())
}

/// The interpreters in scope that are not masked, innermost first.
fn scoped() -> SmallVec<[Arc<dyn Interpreter>; 4]> {
    SCOPED.with_borrow(|s| s.iter().rev().filter(|l| !l.masked).map(|l| l.interpreter.clone()).collect())
}

/// Tells every interpreter in scope of something that the host does and that no operation shows.
pub fn effect(what: &str, origin: Origin) {
    if in_scope() {
        scoped().iter().for_each(|interpreter| interpreter.effect(what, origin));
    }
}

/// A region as one operation.
pub fn call(callable: &Arc<dyn Callable>, args: &[Tensor], origin: Origin) -> Result<Outputs> {
    let bits = args.iter().fold(0, |b, t| b | t.flags()) & INPUT_BITS.get();
    if bits == 0 && ACTIVE.get() == 0 {
        return callable.run(args);
    }
    match handler(bits, args.iter())? {
        Handler::Engine(engine) => {
            let _mask = without_engines();
            engine.call(callable, args, origin)
        }
        Handler::Scoped(scoped, _mask) => scoped.call(callable, args, origin),
        Handler::Owner(owner) => owner.call(callable, args, origin),
        Handler::Run => callable.run(args),
    }
    .map_err(|e| e.at(origin))
}

#[cold]
fn explain(error: Error, op: &'static OpDef, args: &[Arg], origin: Origin) -> Error {
    if error.kind() == ErrorKind::Trace {
        return error.in_op(op.name).at(origin);
    }
    let operands = args.iter().flat_map(|a| a.tensors()).map(|t| (t.dtype(), t.layout().shape.clone()));
    error.in_op(op.name).with_operands(operands).at(origin)
}
