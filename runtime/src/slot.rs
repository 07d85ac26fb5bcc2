//! The cell in which a tensor keeps its autograd slot: a spin lock of one byte around a pointer.
//!
//! Every taped operation reads and writes slots several times, and each time the lock is held for a few instructions that
//! cannot block. A `std` mutex costs one more atomic exchange for every use.

use crate::tensor::{Engine, Slot};
use std::cell::UnsafeCell;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// A replaceable slot.
pub(crate) struct SlotCell {
    busy: AtomicBool,
    /// The slot's interpreter, which the door asks for without the lock; null where there is no slot.
    engine: AtomicPtr<Engine>,
    slot: UnsafeCell<Option<Slot>>,
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
        SlotCell {
            busy: AtomicBool::new(false),
            engine: AtomicPtr::new(null_mut()),
            slot: UnsafeCell::new(None),
        }
    }

    #[inline(always)]
    fn with<R>(&self, f: impl FnOnce(&mut Option<Slot>) -> R) -> R {
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
    pub(crate) fn get(&self) -> Option<Slot> {
        self.with(|slot| slot.clone())
    }

    /// The interpreter of the slot that was here a moment ago, if there was one.
    #[inline]
    pub(crate) fn engine(&self) -> Option<Engine> {
        // SAFETY: what is stored here was a static reference, or is null.
        unsafe { self.engine.load(Ordering::Acquire).as_ref() }.copied()
    }

    /// Replaces the slot and calls `meanwhile` before anyone can look; the old one is dropped outside of the lock, since
    /// that may drop a whole graph.
    #[inline]
    pub(crate) fn set(&self, new: Option<Slot>, meanwhile: impl FnOnce()) {
        let engine = pointer_of(new.as_ref());
        let old = self.with(|slot| {
            meanwhile();
            self.engine.store(engine, Ordering::Release);
            std::mem::replace(slot, new)
        });
        drop(old);
    }

    /// Replaces the slot of a cell that nobody else can reach.
    #[inline]
    pub(crate) fn put(&mut self, new: Slot) {
        *self.engine.get_mut() = pointer_of(Some(&new));
        *self.slot.get_mut() = Some(new);
    }
}

#[inline]
fn pointer_of(slot: Option<&Slot>) -> *mut Engine {
    slot.map_or(null_mut(), |slot| std::ptr::from_ref(slot.interpreter()).cast_mut())
}
