//! How the user ends what would not end by itself: a flag, set from another thread, that loops of plans look at once a
//! turn. The flag belongs to the thread that runs.

use crate::error::{Error, Result};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

thread_local! {
    static FLAG: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// While it lives, loops on this thread look at a flag; the flag before is looked at again afterwards.
pub struct Watched(Option<Arc<AtomicBool>>);

/// Lets loops on this thread end with an error once the flag is set.
pub fn watch(flag: Option<Arc<AtomicBool>>) -> Watched {
    Watched(FLAG.replace(flag))
}

impl Drop for Watched {
    fn drop(&mut self) {
        FLAG.set(self.0.take());
    }
}

/// An error if the user wants to stop.
#[inline]
pub fn check() -> Result<()> {
    match FLAG.with_borrow(|flag| flag.as_ref().is_some_and(|f| f.load(Relaxed))) {
        true => Err(stopped()),
        false => Ok(()),
    }
}

/// The error of a program that was stopped.
#[cold]
pub fn stopped() -> Error {
    Error::value("stopped")
}
