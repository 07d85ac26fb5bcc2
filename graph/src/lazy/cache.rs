//! Compiled graphs of deferred operations, by what they are.

use crate::defer::{Backend, Key, Why, Work, memory_of};
use crate::function::Runner;
use crate::ir::Graph;
use crate::options::Options;
use runtime::DeviceId;
use runtime::error::{Origin, Result};
use runtime::shared::Shared;
use runtime::tensor::{Storage, Tensor};
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often what happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Graphs that ran.
    pub flushes: u64,
    /// Of these, how many had been compiled before.
    pub hits: u64,
    /// Graphs compiled.
    pub compiled: u64,
    /// Operations in the graphs that ran, before anything was optimised.
    pub operations: u64,
}

/// One run of deferred operations.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Flush {
    /// Why it had to be.
    pub why: Why,
    /// The line that asked.
    pub origin: Origin,
    /// Operations that waited.
    pub operations: usize,
    /// Tensors that somebody held, and writes.
    pub results: usize,
    /// Whether an equal graph had been compiled before.
    pub hit: bool,
}

/// Flushes that are remembered.
const REMEMBERED: usize = 256;

/// Graphs that are kept; the one used longest ago goes.
const KEPT: usize = 1024;

/// A graph that was compiled.
pub struct Compiled {
    /// As it was recorded, without what nobody held any more.
    pub recorded: Graph,
    /// What runs.
    pub runner: Runner,
    /// Which inputs of the recording it takes.
    used: Vec<usize>,
    number: u64,
}

struct Kept {
    compiled: Arc<Compiled>,
    used: u64,
}

#[derive(Default)]
struct State {
    graphs: HashMap<(DeviceId, Key), Kept>,
    counters: Counters,
    log: VecDeque<Flush>,
}

/// Compiled graphs.
pub(super) struct Cache {
    options: Options,
    state: Mutex<State>,
}

impl Cache {
    pub(super) fn new(options: Options) -> Cache {
        Cache { options, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counters(&self) -> Counters {
        self.state().counters
    }

    pub(super) fn flushes(&self) -> Vec<Flush> {
        self.state().log.iter().copied().collect()
    }

    pub(super) fn graphs(&self) -> Vec<Arc<Compiled>> {
        let mut all: Vec<_> = self.state().graphs.values().map(|kept| kept.compiled.clone()).collect();
        all.sort_by_key(|compiled| compiled.number);
        all
    }

    /// The graph of this work, and whether it was there.
    fn compiled(&self, work: &Work) -> Result<(Arc<Compiled>, bool)> {
        let key = (work.device, work.program.key(work.results, work.write_backs));
        {
            let mut state = self.state();
            let now = state.counters.flushes;
            if let Some(kept) = state.graphs.get_mut(&key) {
                kept.used = now;
                return Ok((kept.compiled.clone(), true));
            }
        }
        let (recorded, used) = work.program.graph("lazy", work.results, work.write_backs)?;
        let runner = Runner::new(&recorded, &self.options, work.device)?;
        let mut state = self.state();
        if state.graphs.len() >= KEPT {
            let oldest = state.graphs.iter().min_by_key(|(_, kept)| kept.used).map(|(key, _)| key.clone());
            oldest.and_then(|key| state.graphs.remove(&key));
        }
        let now = state.counters.flushes;
        let compiled = Arc::new(Compiled { recorded, runner, used, number: state.counters.compiled });
        state.graphs.insert(key, Kept { compiled: compiled.clone(), used: now });
        Ok((compiled, false))
    }
}

impl Backend for Arc<Cache> {
    fn run(&self, work: &Work) -> Result<Vec<Shared<Storage>>> {
        let (compiled, hit) = self.compiled(work)?;
        {
            let mut state = self.state();
            let operations = work.program.nodes.len();
            let counters = &mut state.counters;
            counters.flushes += 1;
            counters.hits += hit as u64;
            counters.compiled += !hit as u64;
            counters.operations += operations as u64;
            if state.log.len() == REMEMBERED {
                state.log.pop_front();
            }
            let (why, origin, results) = (work.why, work.origin, work.results.len());
            state.log.push_back(Flush { why, origin, operations, results, hit });
        }
        let inputs: SmallVec<[Tensor; 16]> = compiled.used.iter().map(|&i| work.inputs[i].clone()).collect();
        compiled.runner.run(&inputs)?.into_iter().map(memory_of).collect()
    }
}
