//! `Lazy`, as LazyTensor: operations wait until a value is looked at, a step ends, or too many wait. Then those that some
//! living tensor needs are compiled together and run.
//!
//! Each time around a loop the operations are recorded anew, which is what the model costs, and compiled only if no equal
//! graph was compiled before: equal in ops, types, shapes and host operands, whatever the tensors hold. Autograd works on
//! top of it as on top of anything; so a step of training is one graph if nobody looks before its end.

mod cache;

pub use crate::defer::Why;
pub use cache::{Compiled, Counters, Flush};

use crate::defer::Recorder;
use crate::options::Options;
use cache::Cache;
use runtime::door::{self, Scope};
use runtime::error::{Origin, Result};
use std::sync::Arc;

/// How to defer.
#[derive(Clone, Debug)]
pub struct LazyOptions {
    /// How to compile.
    pub compile: Options,
    /// Operations that may wait; without a limit a loop that never looks would grow for ever.
    pub limit: usize,
}

impl Default for LazyOptions {
    fn default() -> LazyOptions {
        LazyOptions { compile: Options::default(), limit: 10_000 }
    }
}

/// Deferred execution, with the graphs that it has compiled.
pub struct Lazy {
    recorder: Arc<Recorder>,
    cache: Arc<Cache>,
}

/// While it lives, operations of this thread are deferred; its end is a barrier. Tapes go inside of it.
pub struct LazyScope<'a> {
    lazy: &'a Lazy,
    _scope: Scope,
}

impl Lazy {
    /// Nothing deferred, nothing compiled.
    pub fn new(options: LazyOptions) -> Lazy {
        let cache = Arc::new(Cache::new(options.compile));
        Lazy { recorder: Recorder::new(Box::new(cache.clone()), options.limit.max(1)), cache }
    }

    /// Defers operations until the scope ends. Tensors that are deferred then keep what uses them deferred only as long.
    #[must_use = "operations are deferred while the scope lives"]
    pub fn enter(&self) -> LazyScope<'_> {
        LazyScope { lazy: self, _scope: door::enter(self.recorder.clone()) }
    }

    /// Runs what waits, as far as a living tensor needs it.
    #[track_caller]
    pub fn mark_step(&self) -> Result<()> {
        self.recorder.flush(Why::Barrier, Origin::caller())
    }

    /// Operations that wait.
    pub fn waiting(&self) -> usize {
        self.recorder.waiting()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.cache.counters()
    }

    /// The graphs that were compiled and are kept, in the order in which they were.
    pub fn graphs(&self) -> Vec<Arc<Compiled>> {
        self.cache.graphs()
    }

    /// The last flushes, oldest first.
    pub fn flushes(&self) -> Vec<Flush> {
        self.cache.flushes()
    }
}

impl Drop for LazyScope<'_> {
    /// An error is kept by the tensors that have no elements for it, and raised where they are looked at.
    fn drop(&mut self) {
        let _ = self.lazy.mark_step();
    }
}
