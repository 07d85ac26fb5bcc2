//! The caching allocator's statistics and size classes, shared by every device.
//!
//! Statistics are kept per thread, exactly and without atomics: a step that runs on one thread is counted on that
//! thread, whatever the pool's workers do inside a kernel (kernels allocate nothing).

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

thread_local! {
    static STATS: Cell<Stats> = const {
        Cell::new(Stats { allocations: 0, system_allocations: 0, live_bytes: 0, peak_bytes: 0, launches: 0, bytes_moved: 0 })
    };
}

/// The calling thread's statistics.
pub fn stats() -> Stats {
    STATS.with(Cell::get)
}

/// Makes the current live bytes the new peak.
pub fn reset_peak() {
    update(|s| s.peak_bytes = s.live_bytes);
}

#[inline]
fn update(f: impl FnOnce(&mut Stats)) {
    // A thread that is being torn down has nobody left to read its statistics.
    let _ = STATS.try_with(|cell| {
        let mut stats = cell.get();
        f(&mut stats);
        cell.set(stats);
    });
}

#[inline]
pub(crate) fn note_alloc(bytes: usize, from_system: bool) {
    update(|s| {
        s.allocations += 1;
        s.system_allocations += from_system as u64;
        s.live_bytes += bytes as i64;
        s.peak_bytes = s.peak_bytes.max(s.live_bytes);
    });
}

#[inline]
pub(crate) fn note_free(bytes: usize) {
    update(|s| s.live_bytes -= bytes as i64);
}

#[inline]
pub(crate) fn note_launch(bytes: u64) {
    update(|s| {
        s.launches += 1;
        s.bytes_moved += bytes;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_and_ascend() {
        let mut last = (0, 64);
        for bytes in 1..100_000usize {
            let (class, size) = size_class(bytes);
            assert!(size >= bytes && size % 64 == 0 && class < CLASSES, "{bytes} -> {class} {size}");
            assert!(size <= (bytes + 63) / 64 * 64 * 5 / 4 + 64);
            assert!(
                (class, size) == last || (class == last.0 + 1 && size > last.1),
                "{bytes}: {class} {size} {last:?}"
            );
            last = (class, size);
        }
        assert!(size_class(1 << 40).0 < CLASSES);
    }
}
