//! Scratch memory of a thread: tile buffers stay in cache and are not allocated by a launch.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;

/// A piece of 64-byte aligned memory.
pub(super) struct Scratch {
    ptr: *mut u8,
    size: usize,
}

const ALIGN: usize = 64;

impl Scratch {
    const NONE: Scratch = Scratch { ptr: std::ptr::null_mut(), size: 0 };

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, ALIGN).expect("invariant: scratch sizes are far below isize::MAX")
    }

    /// At least `size` bytes, of any content.
    #[inline]
    pub(super) fn of(&mut self, size: usize) -> *mut u8 {
        if size > self.size {
            let size = size.next_power_of_two().max(1 << 14);
            self.free();
            // SAFETY: the layout is not empty.
            let ptr = unsafe { alloc(Self::layout(size)) };
            if ptr.is_null() {
                handle_alloc_error(Self::layout(size));
            }
            *self = Scratch { ptr, size };
        }
        self.ptr
    }

    fn free(&mut self) {
        if self.size > 0 {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.ptr, Self::layout(self.size)) };
            self.size = 0;
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.free();
    }
}

thread_local! {
    /// The piece that nobody on this thread is using. While launches nest (a thread that waits for the parts of a row
    /// computes parts itself) the inner one finds none and brings its own, and the last one stays.
    static IDLE: Cell<Scratch> = const { Cell::new(Scratch::NONE) };
}

/// Lends a piece of scratch memory of this thread.
#[inline]
pub(super) fn with<R>(use_it: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = IDLE.with(|idle| idle.replace(Scratch::NONE));
    let out = use_it(&mut scratch);
    IDLE.with(|idle| drop(idle.replace(scratch)));
    out
}
