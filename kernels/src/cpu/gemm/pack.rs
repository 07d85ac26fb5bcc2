//! Copies of blocks in the order in which the inner loop reads them, widened to the type of the sums.

use super::element::Element;
use super::vector::Number;

/// Elements that step evenly in two directions.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    pub(super) row: isize,
    pub(super) col: isize,
}

/// Extra elements between packed rows, so that equal columns of neighbouring rows fall into different cache sets.
const GAP: usize = 16;

/// Elements that `rows` may need at most.
pub(super) const fn rows_len(rows: usize, k: usize, height: usize) -> usize {
    (rows + height) * (k + GAP)
}

/// Packs `rows` x `k` elements of a for tiles of `height` rows. The result's steps within a tile; tile t begins at
/// `t * height * result.0`, where the step is between rows, or else (panels) at `t * height * k`.
#[inline(always)]
pub(super) unsafe fn pack_a<E: Element>(
    from: *const E,
    steps: Steps,
    rows: usize,
    k: usize,
    height: usize,
    to: *mut E::Sum,
) -> PackedA<E::Sum> {
    // SAFETY: the caller vouches for rows x k elements and for `rows_len` places.
    unsafe {
        if steps.col == 1 {
            let stride = k + GAP;
            for i in 0..rows {
                let (from, to) = (from.offset(i as isize * steps.row), to.add(i * stride));
                for p in 0..k {
                    *to.add(p) = (*from.add(p)).widen();
                }
            }
            let stride = stride as isize;
            return PackedA { start: to, row: stride, col: 1, tile: height as isize * stride };
        }
        for first in (0..rows).step_by(height) {
            let count = height.min(rows - first);
            let panel = to.add(first * k);
            for p in 0..k {
                let from = from.offset(first as isize * steps.row + p as isize * steps.col);
                let to = panel.add(p * height);
                for i in 0..count {
                    *to.add(i) = (*from.offset(i as isize * steps.row)).widen();
                }
            }
        }
        PackedA { start: to, row: 1, col: height as isize, tile: (height * k) as isize }
    }
}

/// A block of a as the tiles read it.
pub(super) struct PackedA<T> {
    pub(super) start: *const T,
    /// Step between the rows of a tile.
    pub(super) row: isize,
    /// Step between the columns of a tile.
    pub(super) col: isize,
    /// Step between tiles.
    pub(super) tile: isize,
}

/// Packs `k` x `cols` elements of b as rows of `width` numbers, filled up with zeros.
#[inline(always)]
pub(super) unsafe fn pack_b<E: Element>(
    from: *const E,
    steps: Steps,
    k: usize,
    cols: usize,
    width: usize,
    to: *mut E::Sum,
) {
    // SAFETY: the caller vouches for k x cols elements and for k x width places.
    unsafe {
        if cols < width {
            for i in 0..k * width {
                *to.add(i) = E::Sum::ZERO;
            }
        }
        if steps.col == 1 && cols == width {
            for p in 0..k {
                let (from, to) = (from.offset(p as isize * steps.row), to.add(p * width));
                for j in 0..width {
                    *to.add(j) = (*from.add(j)).widen();
                }
            }
        } else if steps.row == 1 {
            // Few rows at a time: the places that one column goes to stay in the first-level cache.
            for first in (0..k).step_by(16) {
                let count = 16.min(k - first);
                for j in 0..cols {
                    let from = from.offset(first as isize + j as isize * steps.col);
                    let to = to.add(first * width + j);
                    for p in 0..count {
                        *to.add(p * width) = (*from.add(p)).widen();
                    }
                }
            }
        } else {
            for p in 0..k {
                let (from, to) = (from.offset(p as isize * steps.row), to.add(p * width));
                for j in 0..cols {
                    *to.add(j) = (*from.offset(j as isize * steps.col)).widen();
                }
            }
        }
    }
}
