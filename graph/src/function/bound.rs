//! A staged function with its buffers bound once: what no framework offers as a mode, and the ceiling of all of them. A call
//! looks nothing up but its graph, allocates nothing but results, and checks of the state only that it is still the same.

use super::staged::{Argument, Concrete, Function, Retrace, tensors_of};
use crate::exec::Bound;
use crate::trace::Source;
use runtime::door;
use runtime::error::{Error, Origin, Result};
use runtime::tensor::Tensor;
use smallvec::SmallVec;
use std::sync::{Arc, Mutex, PoisonError};

/// A function whose plans own their buffers. Calls take turns.
pub struct BoundFunction {
    function: Function,
    bindings: Mutex<Vec<Binding>>,
}

/// One graph with everything but its arguments in place.
struct Binding {
    concrete: Arc<Concrete>,
    bound: Bound,
    /// The tensors of state and captured inputs that are bound, in the inputs' order.
    fixed: Vec<Tensor>,
}

/// Handles that a binding keeps of each fixed tensor: one of its own and one in `Bound`.
const HANDLES: usize = 2;

impl BoundFunction {
    /// Binds a function's plans as calls ask for them.
    pub fn new(function: Function) -> BoundFunction {
        BoundFunction { function, bindings: Mutex::default() }
    }

    /// Runs the program, recording and binding it first if there is no graph for arguments like these.
    #[track_caller]
    pub fn call(&self, args: &[Argument]) -> Result<Vec<Tensor>> {
        let origin = Origin::caller();
        let tensors = tensors_of(args);
        if door::in_scope() || (door::grad_enabled() && tensors.iter().any(|t| t.flags() != 0)) {
            return self.function.call(args);
        }
        let mut bindings = self.bindings.lock().unwrap_or_else(PoisonError::into_inner);
        let at = match bindings.iter().position(|b| b.concrete.fits(args)) {
            Some(at) => at,
            None => {
                let concrete = self.function.concrete(args).map_err(|e| e.at(origin))?;
                if concrete.compiled().stateful()?.executable().is_none() {
                    return self.function.call(args);
                }
                bindings.push(Binding::new(concrete)?);
                bindings.len() - 1
            }
        };
        if !bindings[at].is_current()? {
            let concrete = bindings.swap_remove(at).concrete;
            bindings.push(Binding::new(concrete)?);
            let last = bindings.len() - 1;
            return bindings[last].run(&tensors).map_err(|e| e.at(origin));
        }
        bindings[at].run(&tensors).map_err(|e| e.at(origin))
    }

    /// The function without bindings.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// Why the program was recorded, each time.
    pub fn retraces(&self) -> Vec<Retrace> {
        self.function.retraces()
    }
}

impl Binding {
    fn new(concrete: Arc<Concrete>) -> Result<Binding> {
        let fixed = state(&concrete, 0)?;
        let executable = concrete
            .compiled()
            .stateful()?
            .executable()
            .ok_or_else(|| Error::internal("a graph without a plan cannot be bound"))?;
        let dense = fixed
            .iter()
            .map(|t| if t.is_contiguous() { Ok(t.clone()) } else { runtime::run::contiguous(t) })
            .collect::<Result<Vec<_>>>()?;
        let bound = executable.bind(&dense)?;
        Ok(Binding { concrete, bound, fixed: dense })
    }

    /// Whether every Variable still holds the tensor that is bound, unseen by others where it is written.
    fn is_current(&self) -> Result<bool> {
        let now = state(&self.concrete, HANDLES)?;
        Ok(now.iter().zip(&self.fixed).all(|(now, bound)| now.same(bound)))
    }

    fn run(&mut self, args: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(self.bound.run(args)?.into_vec())
    }
}

/// The tensors of all inputs that are not arguments.
fn state(concrete: &Concrete, known: usize) -> Result<SmallVec<[Tensor; 8]>> {
    let sources = concrete.recording().sources.iter().zip(concrete.written());
    sources
        .filter_map(|(source, &written)| match source {
            Source::Argument(_) => None,
            Source::Variable(v) if written => Some(v.exclusive(known)),
            Source::Variable(v) => Some(Ok(v.current())),
            Source::Tensor(t) => Some(Ok(t.clone())),
        })
        .collect()
}
