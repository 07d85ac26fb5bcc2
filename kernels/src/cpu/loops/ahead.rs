//! Fetching the next tile into the cache while this one is computed.
//!
//! The processor fetches ahead by itself along a stream, but begins anew at every page, and a tile of a stream is about
//! a page. So the lines of the next tile are asked for a few at a time between the steps of this one, those that will be
//! written included: the memory works while the arithmetic does. Chains take lines and ask for them round by round.

/// Bytes of a cache line.
const LINE: usize = 64;
/// A launch that touches less finds its data in the cache as it is.
pub(super) const FAR: usize = 1 << 20;
/// Streams at once; further ones are left to the processor.
const STREAMS: usize = 12;

/// What remains to be fetched, stream by stream.
pub(super) struct Ahead {
    streams: [(*const u8, usize); STREAMS],
    count: usize,
    /// Lines left in all streams.
    left: usize,
    /// Lines to fetch with each step.
    share: usize,
}

impl Ahead {
    pub(super) const fn new() -> Ahead {
        Ahead { streams: [(std::ptr::null(), 0); STREAMS], count: 0, left: 0, share: 0 }
    }

    /// Forgets what has not been fetched.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        (self.count, self.left) = (0, 0);
    }

    /// Asks for these bytes, which need not be readable.
    #[inline(always)]
    pub(super) fn add(&mut self, from: *const u8, bytes: usize) {
        let lines = bytes.div_ceil(LINE);
        if self.count < STREAMS && lines > 0 {
            self.streams[self.count] = (from, lines);
            self.count += 1;
            self.left += lines;
        }
    }

    /// Spreads what was asked for over this many steps.
    #[inline(always)]
    pub(super) fn over(&mut self, steps: usize) {
        self.share = self.left.div_ceil(steps.max(1));
    }

    /// Leaves the fetching to whoever takes lines.
    #[inline(always)]
    pub(super) fn over_takers(&mut self) {
        self.share = 0;
    }

    /// Hands out at most so many lines of one stream, side by side, for the caller to fetch; null if there are none.
    #[inline(always)]
    pub(super) fn take(&mut self, most: usize) -> *const u8 {
        if self.left == 0 {
            return std::ptr::null();
        }
        let (from, lines) = &mut self.streams[self.count - 1];
        let (at, some) = (*from, most.min(*lines));
        *from = at.wrapping_add(some * LINE);
        *lines -= some;
        self.count -= (*lines == 0) as usize;
        self.left -= some;
        at
    }

    /// Fetches the share of one step.
    #[inline(always)]
    pub(super) fn step(&mut self) {
        if self.left > 0 && self.share > 0 {
            self.fetch();
        }
    }

    #[inline(never)]
    fn fetch(&mut self) {
        let mut share = self.share.min(self.left);
        self.left -= share;
        while share > 0 {
            let (from, lines) = &mut self.streams[self.count - 1];
            let some = share.min(*lines);
            for line in 0..some {
                prefetch(from.wrapping_add(line * LINE));
            }
            *from = from.wrapping_add(some * LINE);
            *lines -= some;
            share -= some;
            if *lines == 0 {
                self.count -= 1;
            }
        }
    }
}

/// Asks for a line.
#[inline(always)]
fn prefetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch cannot fail.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast())
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
