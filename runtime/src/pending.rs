//! Memory that is still to be computed. A tensor over it has a type and a layout like any other; its elements come when
//! the interpreter that deferred them settles it, and from then on it is memory like any other. Views share it as they
//! share storage, and it has a version as storage has, so that autograd sees the writes that are only planned.

use crate::door::Interpreter;
use crate::error::{Error, ErrorKind, Result};
use crate::shared::Shared;
use crate::tensor::Storage;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Memory that an interpreter has promised.
pub struct Pending {
    owner: Arc<dyn Interpreter>,
    number: u64,
    /// Writes that were planned before there was memory.
    planned: AtomicU32,
    settled: OnceLock<Result<Shared<Storage>>>,
}

impl Pending {
    /// A promise of `owner`, which knows it by `number`.
    pub fn new(owner: Arc<dyn Interpreter>, number: u64) -> Shared<Pending> {
        Shared::new(Pending { owner, number, planned: AtomicU32::new(0), settled: OnceLock::new() })
    }

    /// Who defers it.
    pub fn owner(&self) -> &Arc<dyn Interpreter> {
        &self.owner
    }

    /// What its owner knows it by.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether the memory is still missing.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.settled.get().is_none()
    }

    /// Gives it its memory, or the reason why there is none. The first call counts.
    pub fn settle(&self, memory: Result<Shared<Storage>>) {
        let _ = self.settled.set(memory);
    }

    /// Its memory; an error while it is missing, and where computing it failed.
    pub fn storage(&self) -> Result<&Shared<Storage>> {
        match self.settled.get() {
            Some(Ok(storage)) => Ok(storage),
            Some(Err(why)) => Err(why.clone()),
            None => {
                Err(Error::new(ErrorKind::Trace, "the elements of a deferred tensor are not computed yet")
                    .hint("read it through `to_vec` or `item`, or end the step first"))
            }
        }
    }

    /// Notes an in-place write.
    pub fn bump_version(&self) {
        self.planned.fetch_add(1, Relaxed);
    }

    /// In-place writes so far.
    pub fn version(&self) -> u32 {
        let written = self.settled.get().and_then(|s| s.as_ref().ok()).map_or(0, |s| s.version());
        self.planned.load(Relaxed) + written
    }
}
