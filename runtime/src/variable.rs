//! `Variable`: TensorFlow's mutable cell around immutable tensors. Reading gives a tensor that later assignments do not
//! change; reads and writes pass the door, so that tapes watch and tracers stage them.

use crate::door;
use crate::error::{Error, Origin, Result};
use crate::infer::TensorType;
use crate::ops;
use crate::run;
use crate::tensor::Tensor;
use crate::value::Arg;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

struct Inner {
    id: u64,
    name: String,
    trainable: bool,
    ty: TensorType,
    value: Mutex<Tensor>,
}

/// A mutable tensor cell with identity.
#[derive(Clone)]
pub struct Variable(Arc<Inner>);

fn registry() -> MutexGuard<'static, HashMap<u64, Weak<Inner>>> {
    static REGISTRY: OnceLock<Mutex<HashMap<u64, Weak<Inner>>>> = OnceLock::new();
    REGISTRY.get_or_init(Mutex::default).lock().unwrap_or_else(|p| p.into_inner())
}

impl Drop for Inner {
    fn drop(&mut self) {
        registry().remove(&self.id);
    }
}

impl Variable {
    /// A trainable variable that starts as `value`.
    #[track_caller]
    pub fn new(value: &Tensor, name: &str) -> Result<Variable> {
        Variable::with_trainable(value, name, true)
    }

    /// A variable that tapes watch by themselves only if `trainable`.
    #[track_caller]
    pub fn with_trainable(value: &Tensor, name: &str, trainable: bool) -> Result<Variable> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // A deferred value is read: what lies in a variable is memory when it is made.
        let held = match value.pending() {
            Some(_) => door::observe(value, door::Observe::Values, Origin::caller()).map(drop),
            None => value.storage().map(drop),
        };
        held.map_err(|e| {
            e.in_op("Variable").at(Origin::caller()).hint(
                "create variables outside of traced functions, or in their first trace under door::outside()",
            )
        })?;
        let inner = Arc::new(Inner {
            id: NEXT.fetch_add(1, Relaxed),
            name: name.to_string(),
            trainable,
            ty: value.tensor_type(),
            value: Mutex::new(value.alias()),
        });
        registry().insert(inner.id, Arc::downgrade(&inner));
        Ok(Variable(inner))
    }

    /// The living variable with this id.
    pub fn find(id: u64) -> Option<Variable> {
        registry().get(&id).and_then(Weak::upgrade).map(Variable)
    }

    /// Its identity, never reused.
    pub fn id(&self) -> u64 {
        self.0.id
    }
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }
    /// Whether tapes watch it by themselves.
    pub fn trainable(&self) -> bool {
        self.0.trainable
    }
    /// Element type and extents; they never change.
    pub fn tensor_type(&self) -> &TensorType {
        &self.0.ty
    }

    fn lock(&self) -> MutexGuard<'_, Tensor> {
        self.0.value.lock().unwrap_or_else(|p| p.into_inner())
    }

    /// The tensor that it holds now, without asking any interpreter. For executors and tracers.
    pub fn current(&self) -> Tensor {
        self.lock().clone()
    }

    /// Replaces the tensor that it holds. For executors; types must be equal.
    pub fn replace(&self, value: Tensor) -> Result<()> {
        self.accepts(&value)?;
        *self.lock() = value;
        Ok(())
    }

    /// Its type never changes.
    fn accepts(&self, value: &Tensor) -> Result<()> {
        if value.tensor_type() == self.0.ty {
            return Ok(());
        }
        let (name, holds, new) = (&self.0.name, &self.0.ty, value.tensor_type());
        Err(Error::shape(format!("variable '{name}' holds {holds}, it cannot become {new}")).in_op("assign"))
    }

    /// The tensor that it holds, with memory that nobody else sees (copied first where someone does), so that an
    /// executor may write into it. `known` is the number of handles to that tensor that the caller itself keeps.
    pub fn exclusive(&self, known: usize) -> Result<Tensor> {
        let mut held = self.lock();
        let shared = held.storage()?.handles() > 1 || held.handles() > 1 + known || !held.is_contiguous();
        if shared {
            *held = run::contiguous(&held)?;
        }
        Ok(held.clone())
    }

    /// Its value as a tensor.
    #[track_caller]
    pub fn read(&self) -> Result<Tensor> {
        let current = self.current();
        if !door::in_scope() {
            return Ok(current.alias());
        }
        door::bind1(&ops::READ_VARIABLE, &[Arg::Tensor(&current), Arg::Int(self.0.id as i64)])
    }

    /// Makes `value` its value.
    #[track_caller]
    pub fn assign(&self, value: &Tensor) -> Result<()> {
        let origin = Origin::caller();
        self.accepts(value).map_err(|e| e.at(origin))?;
        let current = self.current();
        door::mutate(
            &ops::ASSIGN_VARIABLE,
            &[Arg::Tensor(&current), Arg::Tensor(value), Arg::Int(self.0.id as i64)],
            origin,
        )
    }

    /// Subtracts `delta`; in place where nobody else sees the memory.
    #[track_caller]
    pub fn assign_sub(&self, delta: &Tensor) -> Result<()> {
        self.update(&ops::SUB, &[Arg::Tensor(delta)], Origin::caller())
    }

    /// Adds `delta`; in place where nobody else sees the memory.
    #[track_caller]
    pub fn assign_add(&self, delta: &Tensor) -> Result<()> {
        self.update(&ops::ADD, &[Arg::Tensor(delta)], Origin::caller())
    }

    /// Replaces its value by `op(value, operands...)`; in place where nobody else sees the memory and nothing records.
    pub fn update(&self, op: &'static crate::table::OpDef, operands: &[Arg], origin: Origin) -> Result<()> {
        if !door::in_scope() && operands.iter().flat_map(|a| a.tensors()).all(|t| t.flags() == 0) {
            let target = self.exclusive(0)?;
            let args = [&[Arg::Tensor(&target)], operands].concat();
            return run::run_in_place(op, &args).map_err(|e| e.in_op(op.name).at(origin));
        }
        let current = self.read()?;
        let args = [&[Arg::Tensor(&current)], operands].concat();
        let mut outputs = door::bind(op, &args, origin)?;
        let value = outputs.pop().ok_or_else(|| Error::internal("no output"))?;
        self.assign(&value)
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Variable({} {})", self.0.name, self.0.ty)
    }
}
