//! Any driver with its operations deferred to the end of each step.

use crate::drivers::Driver;
use graph::Options;
use graph::lazy::{Lazy, LazyOptions};
use runtime::{Result, Tensor};

/// A driver whose operations wait.
pub(crate) struct Deferred {
    lazy: Lazy,
    inner: Box<dyn Driver>,
}

impl Deferred {
    pub(crate) fn new(options: Options, inner: Box<dyn Driver>) -> Deferred {
        Deferred { lazy: Lazy::new(LazyOptions { compile: options, ..LazyOptions::default() }), inner }
    }

    /// What defers.
    pub(crate) fn lazy(&self) -> &Lazy {
        &self.lazy
    }
}

impl Driver for Deferred {
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let _scope = self.lazy.enter();
        let outputs = self.inner.step(inputs)?;
        self.lazy.mark_step()?;
        Ok(outputs)
    }

    fn parameters(&self) -> Result<Vec<Tensor>> {
        self.inner.parameters()
    }

    fn retraces(&self) -> u64 {
        self.lazy.counters().compiled.saturating_sub(1)
    }
}
