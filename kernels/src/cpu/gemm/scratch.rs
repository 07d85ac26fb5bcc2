//! Memory for packed blocks and unfinished sums: one buffer per thread, kept, 64-byte aligned.

use std::cell::Cell;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static BUFFER: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// This thread's buffer, lent. A value and not a function that takes a closure, because a closure's code would be
/// compiled without the vector instructions of the function that it stands in.
pub(super) struct Scratch {
    lines: Vec<Line>,
}

impl Scratch {
    /// A buffer of at least `bytes`, filled with whatever was there.
    pub(super) fn take(bytes: usize) -> Scratch {
        let mut lines = BUFFER.take();
        let wanted = bytes.div_ceil(64);
        if lines.len() < wanted {
            lines.resize(wanted, Line([0; 64]));
        }
        Scratch { lines }
    }

    /// Where it begins.
    pub(super) fn start<T>(&mut self) -> *mut T {
        self.lines.as_mut_ptr().cast()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        BUFFER.set(std::mem::take(&mut self.lines));
    }
}
