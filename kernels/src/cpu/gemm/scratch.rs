//! Memory for packed blocks and unfinished sums: one buffer per thread, kept, 64-byte aligned.

use std::cell::Cell;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

thread_local! {
    static BUFFER: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Calls `f` with this thread's buffer, at least `bytes` long and filled with whatever was there.
pub(super) fn with<R>(bytes: usize, f: impl FnOnce(*mut u8) -> R) -> R {
    // The buffer is taken out, so that a product inside `f` would get another one instead of the same.
    let mut buffer = BUFFER.take();
    let lines = bytes.div_ceil(64);
    if buffer.len() < lines {
        buffer.resize(lines, Line([0; 64]));
    }
    let result = f(buffer.as_mut_ptr().cast());
    BUFFER.set(buffer);
    result
}
