//! Moving boxes of elements between memory and tiles.
//!
//! A box is `rows` x `cols` elements, packed row-major in the tile and strided in memory. Lines that are contiguous
//! are copied (or converted) as lines; a box whose rows are the contiguous direction is walked by columns, so that
//! each cache line that a transposed access touches is used up while it is near.

use super::kernel::{CHUNK, Kernel};
use super::plan::Mover;
use crate::loops::{AccessId, IndexOutOfRange};

/// A box in memory: where it begins and its steps, in elements.
#[derive(Clone, Copy)]
pub(super) struct Box2 {
    pub(super) at: *mut u8,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_step: isize,
    pub(super) col_step: isize,
}

impl Box2 {
    /// A column as a row, which is the same box.
    #[inline(always)]
    pub(super) fn line(self) -> Box2 {
        if self.cols == 1 {
            return Box2 { rows: 1, cols: self.rows, row_step: 0, col_step: self.row_step, ..self };
        }
        self
    }

    /// Whether the elements lie in memory as they lie in a tile.
    #[inline(always)]
    pub(super) fn packed(&self) -> bool {
        (self.cols == 1 || self.col_step == 1) && (self.rows == 1 || self.row_step == self.cols as isize)
    }

    /// Whether all points are one element.
    #[inline(always)]
    pub(super) fn constant(&self) -> bool {
        (self.cols == 1 || self.col_step == 0) && (self.rows == 1 || self.row_step == 0)
    }
}

macro_rules! by_size {
    ($size:expr, $f:ident($($arg:expr),*)) => {
        match $size {
            1 => $f::<u8>($($arg),*),
            2 => $f::<u16>($($arg),*),
            4 => $f::<u32>($($arg),*),
            _ => $f::<u64>($($arg),*),
        }
    };
}

/// Fills a tile from a box.
///
/// # Safety
/// The box lies in its buffer; `dst` is valid for as many lanes, and distinct.
pub(super) unsafe fn load(mover: &Mover, dst: *mut u8, from: Box2) {
    let n = from.rows * from.cols;
    // SAFETY: the caller's contract. Halves are gathered into the upper end of the tile and widened upward, which
    // reads each element before its place is written: lane i ends at 4i + 4, element i + 1 begins at 2n + 2i + 2.
    unsafe {
        match mover.widen {
            None => by_size!(mover.size, pack(dst, from)),
            Some(widen) if from.packed() => widen(dst, from.at, from.at, from.at, 1, n),
            Some(widen) => {
                let raw = dst.add(n * (mover.lane - mover.size));
                by_size!(mover.size, pack(raw, from));
                widen(dst, raw, raw, raw, 1, n);
            }
        }
    }
}

/// Sixteen lanes of one element.
///
/// # Safety
/// `at` is valid for one element, `dst` for sixteen lanes.
pub(super) unsafe fn splat(mover: &Mover, dst: *mut u8, at: *const u8) {
    // SAFETY: the caller's contract.
    unsafe {
        match mover.widen {
            None => by_size!(mover.size, fill(dst, at, CHUNK)),
            Some(widen) => {
                let mut raw = [0u16; CHUNK];
                fill::<u16>(raw.as_mut_ptr().cast(), at, CHUNK);
                widen(dst, raw.as_ptr().cast(), raw.as_ptr().cast(), raw.as_ptr().cast(), 1, CHUNK);
            }
        }
    }
}

/// Writes a tile (or, where `step` is 0, one value of sixteen lanes everywhere) into a box.
///
/// # Safety
/// The box lies in its buffer; `src` is valid for as many lanes; `spare` for as many elements.
pub(super) unsafe fn store(mover: &Mover, to: Box2, src: *const u8, step: usize, spare: *mut u8) {
    let n = if step == 0 { CHUNK } else { to.rows * to.cols };
    // SAFETY: the caller's contract.
    unsafe {
        match mover.narrow {
            None => by_size!(mover.size, unpack(to, src, step)),
            Some(narrow) if step == 1 && to.packed() => narrow(to.at, src, src, src, 1, n),
            Some(narrow) => {
                narrow(spare, src, src, src, 1, n);
                by_size!(mover.size, unpack(to, spare, step))
            }
        }
    }
}

/// # Safety
/// `dst` is valid for n elements, `src` for one.
#[inline(always)]
unsafe fn fill<E: Copy>(dst: *mut u8, src: *const u8, n: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let (dst, value) = (dst as *mut E, (src as *const E).read_unaligned());
        for i in 0..n {
            dst.add(i).write_unaligned(value);
        }
    }
}

/// # Safety
/// As `load`, for elements that are lanes.
unsafe fn pack<E: Copy>(dst: *mut u8, from: Box2) {
    let Box2 { at, rows, cols, row_step, col_step } = from;
    let (dst, src) = (dst as *mut E, at as *const E);
    // SAFETY: the caller's contract.
    unsafe {
        if col_step == 1 {
            for r in 0..rows {
                std::ptr::copy_nonoverlapping(src.offset(r as isize * row_step), dst.add(r * cols), cols);
            }
        } else if col_step == 0 {
            for r in 0..rows {
                fill::<E>(dst.add(r * cols).cast(), src.offset(r as isize * row_step).cast(), cols);
            }
        } else if rows > 1 && row_step.abs() < col_step.abs() {
            for c in 0..cols {
                let line = src.offset(c as isize * col_step);
                for r in 0..rows {
                    dst.add(r * cols + c)
                        .write_unaligned(line.offset(r as isize * row_step).read_unaligned());
                }
            }
        } else {
            for r in 0..rows {
                let line = src.offset(r as isize * row_step);
                for c in 0..cols {
                    dst.add(r * cols + c)
                        .write_unaligned(line.offset(c as isize * col_step).read_unaligned());
                }
            }
        }
    }
}

/// # Safety
/// As `store`, for elements that are lanes.
unsafe fn unpack<E: Copy>(to: Box2, src: *const u8, step: usize) {
    let Box2 { at, rows, cols, row_step, col_step } = to;
    let (dst, src) = (at as *mut E, src as *const E);
    // SAFETY: the caller's contract.
    unsafe {
        if step == 0 {
            for r in 0..rows {
                let line = dst.offset(r as isize * row_step);
                if col_step == 1 {
                    fill::<E>(line.cast(), src.cast(), cols);
                    continue;
                }
                for c in 0..cols {
                    line.offset(c as isize * col_step).write(*src);
                }
            }
        } else if col_step == 1 {
            for r in 0..rows {
                // A value that is already in its place (an in-place copy) makes the ranges equal.
                std::ptr::copy(src.add(r * cols), dst.offset(r as isize * row_step), cols);
            }
        } else if rows > 1 && row_step.abs() < col_step.abs() {
            for c in 0..cols {
                let line = dst.offset(c as isize * col_step);
                for r in 0..rows {
                    line.offset(r as isize * row_step).write(*src.add(r * cols + c));
                }
            }
        } else {
            for r in 0..rows {
                let line = dst.offset(r as isize * row_step);
                for c in 0..cols {
                    line.offset(c as isize * col_step).write(*src.add(r * cols + c));
                }
            }
        }
    }
}

/// Index and mask values of a tile: a pointer and whether it steps.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) ptr: *const u8,
    pub(super) step: usize,
}

/// The gathered dimension of an access.
#[derive(Clone, Copy)]
pub(super) struct Gathered {
    pub(super) access: u16,
    pub(super) extent: usize,
    pub(super) stride: isize,
}

impl Gathered {
    /// The distance to the element with this index.
    #[inline(always)]
    fn distance(&self, index: i64) -> Result<isize, IndexOutOfRange> {
        if index < 0 || index as u64 >= self.extent as u64 {
            return Err(IndexOutOfRange { access: AccessId(self.access as u32), index, extent: self.extent });
        }
        Ok(index as isize * self.stride)
    }
}

/// Fills a tile with the elements that an index chooses, where a mask allows.
///
/// # Safety
/// Each position of the box, moved by a valid index, lies in the buffer where the mask is true.
pub(super) unsafe fn gather(
    mover: &Mover,
    dst: *mut u8,
    from: Box2,
    index: Option<Choice>,
    mask: Option<Choice>,
    along: Gathered,
) -> Result<(), IndexOutOfRange> {
    let n = from.rows * from.cols;
    let raw = if mover.widen.is_some() {
        // SAFETY: as in `load`.
        unsafe { dst.add(n * (mover.lane - mover.size)) }
    } else {
        dst
    };
    // SAFETY: the caller's contract; widening as in `load`.
    unsafe {
        by_size!(mover.size, gather_raw(raw, from, index, mask, along))?;
        if let Some(widen) = mover.widen {
            widen(dst, raw, raw, raw, 1, n);
        }
    }
    Ok(())
}

/// # Safety
/// As `gather`, for elements that are lanes.
unsafe fn gather_raw<E: Copy>(
    dst: *mut u8,
    from: Box2,
    index: Option<Choice>,
    mask: Option<Choice>,
    along: Gathered,
) -> Result<(), IndexOutOfRange> {
    let (dst, src) = (dst as *mut E, from.at as *const E);
    let mut i = 0;
    for r in 0..from.rows {
        for c in 0..from.cols {
            // SAFETY: the caller's contract; nothing is read where the mask is false.
            unsafe {
                let on = mask.is_none_or(|m| *m.ptr.add(i * m.step) != 0);
                let value = if on {
                    let moved = match index {
                        Some(x) => along.distance((x.ptr as *const i64).add(i * x.step).read_unaligned())?,
                        None => 0,
                    };
                    let at = src.offset(r as isize * from.row_step + c as isize * from.col_step + moved);
                    at.read_unaligned()
                } else {
                    std::mem::zeroed()
                };
                dst.add(i).write_unaligned(value);
            }
            i += 1;
        }
    }
    Ok(())
}

/// Writes or adds the values of a tile at the positions that an index chooses, in ascending order of the points.
///
/// # Safety
/// Each position of the box, moved by a valid index, lies in the buffer; `src` steps over lanes of the mover's type.
pub(super) unsafe fn scatter(
    mover: &Mover,
    to: Box2,
    src: Choice,
    index: Option<Choice>,
    along: Gathered,
    add: bool,
) -> Result<(), IndexOutOfRange> {
    let mut i = 0;
    for r in 0..to.rows {
        for c in 0..to.cols {
            // SAFETY: the caller's contract.
            unsafe {
                let moved = match index {
                    Some(x) => along.distance((x.ptr as *const i64).add(i * x.step).read_unaligned())?,
                    None => 0,
                };
                let step = r as isize * to.row_step + c as isize * to.col_step + moved;
                let at = to.at.offset(step * mover.size as isize);
                put(mover, at, src.ptr.add(i * src.step * mover.lane), add);
            }
            i += 1;
        }
    }
    Ok(())
}

/// # Safety
/// `at` is valid for one element, `value` for one lane.
unsafe fn put(mover: &Mover, at: *mut u8, value: *const u8, add: bool) {
    let one = |kernel: Kernel, dst: *mut u8, a: *const u8, b: *const u8| {
        // SAFETY: one point, each operand stepping.
        unsafe { kernel(dst, a, b, a, 3, 1) }
    };
    let mut lane = [0u64; 2];
    let lane: *mut u8 = lane.as_mut_ptr().cast();
    // SAFETY: the caller's contract.
    unsafe {
        let mut value = value;
        if add {
            match mover.widen {
                Some(widen) => {
                    one(widen, lane, at, at);
                    one(mover.add, lane, lane, value);
                }
                None => one(mover.add, lane, at, value),
            }
            if let Some(round) = mover.round {
                one(round, lane, lane, lane);
            }
            value = lane;
        }
        match mover.narrow {
            Some(narrow) => one(narrow, at, value, value),
            None => std::ptr::copy(value, at, mover.size),
        }
    }
}

/// Fills a tile with coordinates: `start + r * row_step + c * col_step`.
///
/// # Safety
/// `dst` is valid for as many i64 lanes.
pub(super) unsafe fn iota(
    dst: *mut u8,
    start: i64,
    rows: usize,
    cols: usize,
    row_step: isize,
    col_step: isize,
) {
    let dst = dst as *mut i64;
    for r in 0..rows {
        let base = start + r as i64 * row_step as i64;
        for c in 0..cols {
            // SAFETY: the caller's contract.
            unsafe { dst.add(r * cols + c).write(base + c as i64 * col_step as i64) };
        }
    }
}
