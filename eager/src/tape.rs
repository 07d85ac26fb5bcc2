//! What a `GradientTape` records: the interpreter that stands in scope, and its entries.
//!
//! Entries hold tensors strongly: a tape belongs to a scope and nothing that it holds leads back to it, and an outer tape
//! must meet the very tensors that it has seen when an inner tape's rules read them.

use runtime::callable::{ArgGradients, Ask, Callable, Residuals};
use runtime::door::{self, Interpreter, Observe, Outputs};
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::hash::NumberMap;
use runtime::infer::{TensorType, Types};
use runtime::table::{Effect, OpDef, Saves, Vjp};
use runtime::{Arg, Tensor, Value, Variable};
use smallvec::SmallVec;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Where a tensor on the tape comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// It is watched; the key of a leaf.
    Watched(u64),
    /// It is an output of an entry.
    Entry(u32, u32),
}

/// The leaf key of a watched tensor.
pub(crate) fn tensor_key(tensor: &Tensor) -> u64 {
    tensor.id() << 1
}

/// The leaf key of a Variable.
pub(crate) fn variable_key(id: u64) -> u64 {
    id << 1 | 1
}

/// How an entry turns cotangents into gradients.
pub(crate) enum Rule {
    /// The rule of an op of the table.
    Op(&'static OpDef),
    /// The backward of a region, with its residuals.
    Call(Arc<dyn Callable>, Residuals),
}

/// A recorded operation.
pub(crate) struct Entry {
    pub(crate) rule: Rule,
    /// Where each flattened tensor operand comes from; `None` if no gradient flows there.
    pub(crate) operands: SmallVec<[Option<From>; 2]>,
    pub(crate) args: SmallVec<[Value; 2]>,
    pub(crate) outputs: SmallVec<[Value; 1]>,
    /// Versions of the kept tensors in the order of `args`, then `outputs`.
    versions: SmallVec<[u32; 2]>,
    pub(crate) count: u32,
    pub(crate) origin: Origin,
}

impl Entry {
    /// Its operation's name.
    pub(crate) fn name(&self) -> &str {
        match &self.rule {
            Rule::Op(op) => op.name,
            Rule::Call(callable, _) => callable.name(),
        }
    }

    /// An error if a kept tensor has been written to since.
    pub(crate) fn check(&self) -> Result<()> {
        let kept = self.args.iter().chain(&self.outputs).flat_map(tensors);
        for (tensor, &version) in kept.zip(&self.versions) {
            if tensor.version() != version {
                return Err(Error::new(
                    ErrorKind::InPlace,
                    format!(
                        "a tensor needed for the gradient of {} has been modified by an in-place operation: {} is at \
                         version {}, expected version {version}",
                        self.name(),
                        tensor.tensor_type(),
                        tensor.version()
                    ),
                )
                .at(self.origin));
            }
        }
        Ok(())
    }
}

fn tensors(value: &Value) -> &[Tensor] {
    match value {
        Value::Tensor(t) => std::slice::from_ref(t),
        Value::Tensors(t) => t,
        Value::Type(_) | Value::Types(_) | Value::Host(_) | Value::Lost(..) => &[],
    }
}

/// What has been recorded.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) known: NumberMap<From>,
    /// Variables that were watched by name.
    pub(crate) variables: HashSet<u64>,
    /// A gradient was taken and the tape is not persistent.
    pub(crate) used: bool,
}

/// The interpreter of a tape.
pub(crate) struct Tape {
    pub(crate) persistent: bool,
    pub(crate) watch_accessed_variables: bool,
    pub(crate) paused: AtomicU32,
    state: Mutex<State>,
}

impl Tape {
    pub(crate) fn new(persistent: bool, watch_accessed_variables: bool) -> Tape {
        Tape { persistent, watch_accessed_variables, paused: AtomicU32::new(0), state: Mutex::default() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|p| p.into_inner())
    }

    fn paused(&self) -> bool {
        self.paused.load(Relaxed) > 0
    }

    /// Whether what happens now becomes an entry; torch's `no_grad` in a program stops a tape too.
    fn records(&self) -> bool {
        !self.paused() && door::grad_mode()
    }

    /// A Variable was read: its value is a leaf, if the Variable is watched.
    fn read_variable(&self, args: &[Arg], value: &Tensor) {
        let Some(Arg::Int(id)) = args.get(1) else { return };
        let id = *id as u64;
        let mut state = self.state();
        let watched = state.variables.contains(&id)
            || (self.watch_accessed_variables && Variable::find(id).is_some_and(|v| v.trainable()));
        if watched && value.dtype().is_float() {
            state.known.insert(value.id(), From::Watched(variable_key(id)));
        }
    }

    fn record(&self, rule: Rule, saves: Saves, args: &[Arg], outputs: &Outputs, origin: Origin) {
        let mut state = self.state();
        let operands: SmallVec<[Option<From>; 2]> =
            args.iter().flat_map(|a| a.tensors()).map(|t| state.known.get(&t.id()).copied()).collect();
        let needs = operands.iter().enumerate().fold(0, |n, (i, o)| n | (o.is_some() as u64) << i.min(63));
        if needs == 0 || !outputs.iter().any(|t| t.dtype().is_float()) {
            return;
        }
        let args: SmallVec<[Value; 2]> = saves.keep(args, needs);
        let outputs_kept: SmallVec<[Value; 1]> = outputs
            .iter()
            .enumerate()
            .map(
                |(i, t)| {
                    if saves.output(i) { Value::Tensor(t.clone()) } else { Value::Type(t.tensor_type()) }
                },
            )
            .collect();
        let versions = args.iter().chain(&outputs_kept).flat_map(tensors).map(Tensor::version).collect();
        let index = state.entries.len() as u32;
        for (i, t) in outputs.iter().enumerate().filter(|(_, t)| t.dtype().is_float()) {
            state.known.insert(t.id(), From::Entry(index, i as u32));
        }
        let count = outputs.len() as u32;
        state.entries.push(Arc::new(Entry {
            rule,
            operands,
            args,
            outputs: outputs_kept,
            versions,
            count,
            origin,
        }));
    }

    /// Bit i: a gradient may be asked for tensor i (bit 63: for one from 63 on).
    fn needs(&self, tensors: &[Tensor]) -> u64 {
        let state = self.state();
        let each = tensors.iter().enumerate();
        each.fold(0, |n, (i, t)| n | (state.known.contains_key(&t.id()) as u64) << i.min(63))
    }

    fn knows(&self, tensors: &[Tensor]) -> bool {
        let state = self.state();
        tensors.iter().any(|t| state.known.contains_key(&t.id()))
    }
}

impl Interpreter for Tape {
    fn name(&self) -> &'static str {
        "GradientTape"
    }

    fn bind(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<Outputs> {
        let outputs = door::bind(op, args, origin)?;
        if !self.records() {
            return Ok(outputs);
        }
        if op.effect == Effect::Read {
            if let [value] = outputs.as_slice() {
                self.read_variable(args, value);
            }
            return Ok(outputs);
        }
        let saves = match op.vjp {
            Vjp::Rule(saves, _) => saves,
            Vjp::None(_) => Saves::NOTHING,
            Vjp::Zero => return Ok(outputs),
        };
        self.record(Rule::Op(op), saves, args, &outputs, origin);
        Ok(outputs)
    }

    fn observe(&self, tensor: &Tensor, what: Observe, origin: Origin) -> Result<Tensor> {
        door::observe(tensor, what, origin)
    }

    fn mutate(&self, op: &'static OpDef, args: &[Arg], origin: Origin) -> Result<()> {
        if op.effect != Effect::Write && !self.paused() {
            let mut tensors = args.iter().map(|a| a.tensors());
            if tensors.next().is_some_and(|written| self.knows(written)) {
                let what = "tensors that a GradientTape watches or has computed are immutable";
                return Err(
                    Error::new(ErrorKind::InPlace, what).hint("keep state that changes in a Variable")
                );
            }
            // The tape would not know the tensor that is written to, and its gradient would be silently none.
            if tensors.any(|t| self.knows(t)) {
                let what = "what a GradientTape has computed cannot be written into another tensor";
                return Err(Error::new(ErrorKind::InPlace, what)
                    .hint("put the parts together with cat, stack or where"));
            }
        }
        door::mutate(op, args, origin)
    }

    fn call(&self, callable: &Arc<dyn Callable>, args: &[Tensor], origin: Origin) -> Result<Outputs> {
        if !self.records() || !self.knows(args) {
            return door::call(callable, args, origin);
        }
        let needs = self.needs(args);
        let (outputs, residuals) = if door::in_scope() {
            let augmented = Arc::new(Augmented { inner: callable.clone(), outputs: OnceLock::new(), needs });
            let mut all = door::call(&(augmented.clone() as Arc<dyn Callable>), args, origin)?;
            let count = augmented.outputs.get().copied().unwrap_or(all.len());
            let residuals: Residuals = all.drain(count..).collect();
            (all, residuals)
        } else {
            callable.run_for_gradient(args, needs)?
        };
        let given: SmallVec<[Arg; 4]> = args.iter().map(Arg::Tensor).collect();
        // A result that is an argument would be its own predecessor.
        let outputs: Outputs = outputs
            .into_iter()
            .map(|o| if args.iter().any(|a| a.same(&o)) { o.alias() } else { o })
            .collect();
        self.record(Rule::Call(callable.clone(), residuals), Saves::INPUTS, &given, &outputs, origin);
        Ok(outputs)
    }
}

/// A call as the levels below an inner tape see it: its residuals are outputs too, so that they record one call and can
/// tell when a second derivative would have to pass through the inside of it.
struct Augmented {
    inner: Arc<dyn Callable>,
    outputs: OnceLock<usize>,
    /// What the inner tape may ask for.
    needs: u64,
}

impl Callable for Augmented {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn infer(&self, _: &[TensorType]) -> Result<Types> {
        Err(Error::new(ErrorKind::Trace, "the residuals of a call have no types before it runs"))
    }

    fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        let (mut outputs, residuals) = self.inner.run_for_gradient(args, self.needs)?;
        self.outputs.get_or_init(|| outputs.len());
        outputs.extend(residuals);
        Ok(outputs)
    }

    fn run_with_residuals(&self, args: &[Tensor]) -> Result<(Outputs, Residuals)> {
        let (mut outputs, residuals) = self.inner.run_for_gradient(args, self.needs)?;
        self.outputs.get_or_init(|| outputs.len());
        outputs.extend(
            residuals.iter().map(|r| if args.iter().any(|a| a.same(r)) { r.clone() } else { r.alias() }),
        );
        Ok((outputs, residuals))
    }

    fn vjp(
        self: Arc<Self>,
        args: &[Tensor],
        residuals: &[Tensor],
        cotangents: &[Option<Tensor>],
        _: Ask,
    ) -> Result<ArgGradients> {
        let count = self.outputs.get().copied().unwrap_or(cotangents.len());
        let (outer, inside) = cotangents.split_at(count.min(cotangents.len()));
        if inside.iter().any(Option::is_some) {
            return Err(Error::gradient(
                "the call keeps values of its inside for its backward, and these cannot be differentiated again",
            ));
        }
        self.inner.clone().vjp(args, residuals, outer, Ask { needs: self.needs, later: None })
    }
}
