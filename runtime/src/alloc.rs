//! The caching allocator's statistics and size classes, shared by every device.
//!
//! Statistics are kept per thread, exactly and without atomics: a step that runs on one thread is counted on that
//! thread, whatever the pool's workers do inside a kernel (kernels allocate nothing).

use crate::error::{Error, ErrorKind, Result};
use std::cell::Cell;

/// What the calling thread has asked of allocators and devices since it started.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Buffers handed out.
    pub allocations: u64,
    /// Of those, how many came from the system rather than from the cache.
    pub system_allocations: u64,
    /// Bytes handed out and not yet returned; negative on a thread that frees what others allocated.
    pub live_bytes: i64,
    /// Largest `live_bytes` since the last `reset_peak`.
    pub peak_bytes: i64,
    /// Kernels launched.
    pub launches: u64,
    /// Bytes that those kernels read and wrote: for each access, every distinct element once.
    pub bytes_moved: u64,
}

/// The live counters; separate cells, so that an update touches only what it changes.
struct Counters {
    allocations: Cell<u64>,
    system_allocations: Cell<u64>,
    live_bytes: Cell<i64>,
    peak_bytes: Cell<i64>,
    launches: Cell<u64>,
    bytes_moved: Cell<u64>,
    /// What `live_bytes` may become.
    most: Cell<i64>,
}

thread_local! {
    static COUNTERS: Counters = const {
        Counters {
            allocations: Cell::new(0),
            system_allocations: Cell::new(0),
            live_bytes: Cell::new(0),
            peak_bytes: Cell::new(0),
            launches: Cell::new(0),
            bytes_moved: Cell::new(0),
            most: Cell::new(i64::MAX),
        }
    };
}

/// The calling thread's statistics.
pub fn stats() -> Stats {
    COUNTERS.with(|c| Stats {
        allocations: c.allocations.get(),
        system_allocations: c.system_allocations.get(),
        live_bytes: c.live_bytes.get(),
        peak_bytes: c.peak_bytes.get(),
        launches: c.launches.get(),
        bytes_moved: c.bytes_moved.get(),
    })
}

/// Makes the current live bytes the new peak.
pub fn reset_peak() {
    COUNTERS.with(|c| c.peak_bytes.set(c.live_bytes.get()));
}

/// A limit of the calling thread's memory, until it drops.
pub struct Limited {
    before: i64,
}

/// Lets the calling thread take so many bytes more than it has, within any limit that there is already.
pub fn limit(bytes: u64) -> Limited {
    COUNTERS.with(|c| {
        let most = c.live_bytes.get().saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        Limited { before: c.most.replace(c.most.get().min(most)) }
    })
}

impl Drop for Limited {
    fn drop(&mut self) {
        COUNTERS.with(|c| c.most.set(self.before));
    }
}

/// Whether the calling thread may take so many bytes more; asked before they are taken.
#[inline(always)]
pub fn ask(bytes: usize) -> Result<()> {
    COUNTERS.with(|c| match c.live_bytes.get().checked_add_unsigned(bytes as u64) {
        Some(after) if after <= c.most.get() => Ok(()),
        _ => Err(beyond(bytes)),
    })
}

#[cold]
fn beyond(bytes: usize) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("MemoryError: {bytes} more bytes are beyond the memory limit"))
}

#[inline(always)]
pub(crate) fn note_alloc(bytes: usize, from_system: bool) {
    COUNTERS.with(|c| {
        c.allocations.set(c.allocations.get() + 1);
        if from_system {
            c.system_allocations.set(c.system_allocations.get() + 1);
        }
        let live = c.live_bytes.get() + bytes as i64;
        c.live_bytes.set(live);
        if live > c.peak_bytes.get() {
            c.peak_bytes.set(live);
        }
    });
}

#[inline(always)]
pub(crate) fn note_free(bytes: usize) {
    COUNTERS.with(|c| c.live_bytes.set(c.live_bytes.get() - bytes as i64));
}

#[inline(always)]
pub(crate) fn note_launch(bytes: u64) {
    COUNTERS.with(|c| {
        c.launches.set(c.launches.get() + 1);
        c.bytes_moved.set(c.bytes_moved.get() + bytes);
    });
}

/// Number of size classes.
pub const CLASSES: usize = 160;

/// The class of a request and the bytes that it hands out: multiples of 64 up to 256, then four steps for each power of
/// two, so at most a fifth is lost.
#[inline]
pub fn size_class(bytes: usize) -> (usize, usize) {
    let units = bytes.max(1).div_ceil(64);
    if units <= 4 {
        return (units - 1, units * 64);
    }
    let shift = (usize::BITS - 1 - (units - 1).leading_zeros()) - 2;
    let quarter = (units - 1) >> shift;
    (4 * shift as usize + quarter, (quarter + 1) << (shift + 6))
}

/// The bytes of a class; the inverse of `size_class`.
pub fn class_bytes(class: usize) -> usize {
    match class {
        0..4 => (class + 1) * 64,
        _ => {
            let shift = class / 4 - 1;
            (class - 4 * shift + 1) << (shift + 6)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_counts_from_what_is_held() {
        ask(usize::MAX >> 2).unwrap();
        {
            let _outer = limit(1000);
            let _inner = limit(1 << 40);
            ask(1000).unwrap();
            let refused = ask(1001).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
        }
        ask(1001).unwrap();
    }

    #[test]
    fn classes_cover_and_ascend() {
        let mut last = (0, 64);
        for bytes in 1..100_000usize {
            let (class, size) = size_class(bytes);
            assert_eq!(class_bytes(class), size);
            assert!(size >= bytes && size % 64 == 0 && class < CLASSES, "{bytes} -> {class} {size}");
            assert!(size <= bytes.div_ceil(64) * 64 * 5 / 4 + 64);
            assert!(
                (class, size) == last || (class == last.0 + 1 && size > last.1),
                "{bytes}: {class} {size} {last:?}"
            );
            last = (class, size);
        }
        assert!(size_class(1 << 40).0 < CLASSES);
    }
}
