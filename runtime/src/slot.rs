//! The cell in which a tensor keeps its autograd slot: a spin lock of one byte around a pointer.
//!
//! Every taped operation reads and writes slots several times, and each time the lock is held for a few instructions that
//! cannot block. A `std` mutex costs one more atomic exchange for every use.

use crate::tensor::AutogradSlot;
use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A replaceable `Arc`.
pub(crate) struct SlotCell {
    busy: AtomicBool,
    slot: UnsafeCell<Option<Arc<dyn AutogradSlot>>>,
}

// SAFETY: the slot is reached only by the thread that holds `busy`, and is itself Send and Sync.
unsafe impl Sync for SlotCell {}

/// Gives the lock back, also on unwind.
struct Held<'a>(&'a AtomicBool);

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl SlotCell {
    pub(crate) const fn new() -> SlotCell {
        SlotCell { busy: AtomicBool::new(false), slot: UnsafeCell::new(None) }
    }

    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Option<Arc<dyn AutogradSlot>>) -> R) -> R {
        while self.busy.swap(true, Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let _held = Held(&self.busy);
        // SAFETY: `busy` was false and is now ours until `_held` drops.
        f(unsafe { &mut *self.slot.get() })
    }

    /// Runs `f` while nobody else uses the slot.
    pub(crate) fn with_lock(&self, f: impl FnOnce()) {
        self.with(|_| f());
    }

    /// The slot.
    #[inline]
    pub(crate) fn get(&self) -> Option<Arc<dyn AutogradSlot>> {
        self.with(|slot| slot.clone())
    }

    /// Something that the slot knows, without taking a handle to it.
    #[inline]
    pub(crate) fn ask<R>(&self, f: impl FnOnce(&dyn AutogradSlot) -> R) -> Option<R> {
        self.with(|slot| slot.as_deref().map(f))
    }

    /// Replaces the slot and calls `meanwhile` before anyone can look; the old one is dropped outside of the lock, since
    /// that may drop a whole graph.
    #[inline]
    pub(crate) fn set(&self, new: Option<Arc<dyn AutogradSlot>>, meanwhile: impl FnOnce()) {
        let old = self.with(|slot| {
            meanwhile();
            std::mem::replace(slot, new)
        });
        drop(old);
    }
}
