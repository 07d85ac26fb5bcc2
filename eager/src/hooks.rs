//! What users hang on a gradient in passing: hooks, and gradients retained on tensors that are not leaves.

use crate::node::Leaf;
use runtime::Tensor;
use runtime::error::{Error, Result};
use runtime::shared::Shared;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// A function of a gradient; what it returns takes the gradient's place.
pub(crate) type Hook = dyn Fn(&Tensor) -> Result<Option<Tensor>> + Send + Sync;

/// What is called with a leaf when its `.grad` has been added to.
pub(crate) type After = dyn Fn(&Shared<Leaf>) -> Result<()> + Send + Sync;

struct Registered {
    id: u64,
    output: u32,
    hook: Arc<Hook>,
}

/// Hooks of the outputs of a node or of a leaf, and retained gradients.
#[derive(Default)]
pub(crate) struct Extras(Arc<Mutex<State>>);

#[derive(Default)]
pub(crate) struct State {
    hooks: Vec<Registered>,
    after: Vec<(u64, Arc<After>)>,
    /// Outputs whose gradients are retained, and the gradients.
    retained: Vec<(u32, Option<Tensor>)>,
}

/// Takes its hook away when `remove` is called; dropping it leaves the hook in place, as in torch.
pub struct HookHandle {
    id: u64,
    state: Weak<Mutex<State>>,
}

impl HookHandle {
    /// The hook does not run any more.
    pub fn remove(self) {
        if let Some(state) = self.state.upgrade() {
            let mut state = state.lock().unwrap_or_else(|p| p.into_inner());
            state.hooks.retain(|r| r.id != self.id);
            state.after.retain(|(id, _)| *id != self.id);
        }
    }
}

impl Extras {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|p| p.into_inner())
    }

    /// Adds a hook for the gradient of an output; hooks run in the order of registration.
    pub(crate) fn register(&self, output: u32, hook: Arc<Hook>) -> HookHandle {
        let handle = self.handle();
        self.state().hooks.push(Registered { id: handle.id, output, hook });
        handle
    }

    fn handle(&self) -> HookHandle {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        HookHandle { id: NEXT.fetch_add(1, Relaxed), state: Arc::downgrade(&self.0) }
    }

    /// Adds a hook for when the leaf's `.grad` has been added to; they run in the order of registration.
    pub(crate) fn register_after(&self, hook: Arc<After>) -> HookHandle {
        let handle = self.handle();
        self.state().after.push((handle.id, hook));
        handle
    }

    /// The leaf's `.grad` has been added to.
    pub(crate) fn accumulated(&self, leaf: &Shared<Leaf>) -> Result<()> {
        let hooks: Vec<Arc<After>> = self.state().after.iter().map(|(_, hook)| hook.clone()).collect();
        hooks.into_iter().try_for_each(|hook| hook(leaf))
    }

    /// Runs the hooks of an output on its gradient.
    pub(crate) fn apply(&self, output: u32, gradient: Tensor) -> Result<Tensor> {
        let hooks: Vec<Arc<Hook>> =
            self.state().hooks.iter().filter(|r| r.output == output).map(|r| r.hook.clone()).collect();
        let mut gradient = gradient;
        for hook in hooks {
            let Some(other) = hook(&gradient)? else { continue };
            if other.tensor_type() != gradient.tensor_type() {
                return Err(Error::gradient(format!(
                    "a hook turned a gradient {} into {}",
                    gradient.tensor_type(),
                    other.tensor_type()
                )));
            }
            gradient = other;
        }
        Ok(gradient)
    }

    /// From now on keeps the gradient of an output.
    pub(crate) fn retain(&self, output: u32) {
        let mut state = self.state();
        if !state.retained.iter().any(|(o, _)| *o == output) {
            state.retained.push((output, None));
        }
    }

    /// The retained gradient of an output.
    pub(crate) fn retained(&self, output: u32) -> Option<Tensor> {
        self.state().retained.iter().find(|(o, _)| *o == output).and_then(|(_, g)| g.clone())
    }

    /// Forgets the retained gradient of an output; it stays retained.
    pub(crate) fn forget(&self, output: u32) {
        self.state().retained.iter_mut().filter(|(o, _)| *o == output).for_each(|(_, g)| *g = None);
    }

    /// Replaces the retained gradient of an output, if it is retained.
    pub(crate) fn set_retained(
        &self,
        output: u32,
        update: impl FnOnce(Option<Tensor>) -> Result<Option<Tensor>>,
    ) -> Result<()> {
        let Some(before) = self.state().retained.iter().find(|(o, _)| *o == output).map(|(_, g)| g.clone())
        else {
            return Ok(());
        };
        let after = update(before)?;
        if let Some((_, gradient)) = self.state().retained.iter_mut().find(|(o, _)| *o == output) {
            *gradient = after;
        }
        Ok(())
    }
}
