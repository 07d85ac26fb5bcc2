//! Copies of blocks in the order in which the inner loop reads them, widened to the type of the sums.

use super::element::Element;
use super::machine::Machine;
use super::transpose::SQUARE;
use super::vector::Number;

/// Elements that step evenly in two directions.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    pub(super) row: isize,
    pub(super) col: isize,
}

impl Steps {
    pub(super) fn transposed(self) -> Steps {
        Steps { row: self.col, col: self.row }
    }
}

/// A block of a as the tiles read it.
pub(super) struct Left<T> {
    pub(super) start: *const T,
    /// Step between the rows of a tile.
    pub(super) row: isize,
    /// Step between the columns of a tile.
    pub(super) col: isize,
    /// Step between tiles.
    pub(super) tile: isize,
}

/// Extra elements between packed rows, so that equal columns of neighbouring rows fall into different cache sets.
const GAP: usize = 16;

/// Places that `pack_a` may need.
pub(super) const fn len_a(rows: usize, k: usize, height: usize) -> usize {
    (rows + height) * (k + GAP)
}

/// Packs `rows` x `k` elements of a: row by row where rows lie side by side, else as panels of tile height.
#[inline(always)]
pub(super) unsafe fn pack_a<E: Element, M: Machine<E::Sum>>(
    from: *const E,
    steps: Steps,
    rows: usize,
    k: usize,
    to: *mut E::Sum,
) -> Left<E::Sum> {
    let height = M::ROWS;
    // SAFETY: the caller vouches for rows x k elements and for `len_a` places.
    unsafe {
        if steps.col == 1 {
            let step = k + GAP;
            for i in 0..rows {
                copy(from.offset(i as isize * steps.row), k, to.add(i * step));
            }
            return Left { start: to, row: step as isize, col: 1, tile: (height * step) as isize };
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
        Left { start: to, row: 1, col: height as isize, tile: (height * k) as isize }
    }
}

/// Packs `k` x `cols` elements of b as panels of tile width, the last one filled up with zeros.
#[inline(always)]
pub(super) unsafe fn pack_b<E: Element, M: Machine<E::Sum>>(
    from: *const E,
    steps: Steps,
    k: usize,
    cols: usize,
    to: *mut E::Sum,
) {
    let width = M::WIDTH;
    let full = cols / width;
    // SAFETY: the caller vouches for k x cols elements and for k places for each column of each panel.
    unsafe {
        if steps.col == 1 {
            for p in 0..k {
                let from = from.offset(p as isize * steps.row);
                for panel in 0..full {
                    copy(from.add(panel * width), width, to.add((panel * k + p) * width));
                }
            }
        } else {
            for panel in 0..full {
                let from = from.offset((panel * width) as isize * steps.col);
                gather::<E, M>(from, steps, k, width, width, to.add(panel * k * width));
            }
        }
        let rest = cols % width;
        if rest != 0 {
            let to = to.add(full * k * width);
            for i in 0..k * width {
                to.add(i).write(E::Sum::ZERO);
            }
            gather::<E, M>(from.offset((full * width) as isize * steps.col), steps, k, rest, width, to);
        }
    }
}

/// Copies `k` x `cols` elements from any layout to rows that are `width` apart.
#[inline(always)]
pub(super) unsafe fn gather<E: Element, M: Machine<E::Sum>>(
    from: *const E,
    steps: Steps,
    k: usize,
    cols: usize,
    width: usize,
    to: *mut E::Sum,
) {
    // SAFETY: as in `pack_b`.
    unsafe {
        // Squares of rows and columns that can be moved in registers.
        let (k_even, cols_even) = match steps.row {
            1 => (k / SQUARE * SQUARE, cols / SQUARE * SQUARE),
            _ => (0, 0),
        };
        // Along k first: eight columns that are a power of two apart share the sets of the first-level cache, and more of
        // them would drive each other out between two squares.
        for j in (0..cols_even).step_by(SQUARE) {
            for p in (0..k_even).step_by(SQUARE) {
                let from = from.offset(p as isize + j as isize * steps.col);
                transpose::<E, M>(from, steps.col, to.add(p * width + j), width);
            }
        }
        for p in 0..k {
            let (from, to) = (from.offset(p as isize * steps.row), to.add(p * width));
            for j in if p < k_even { cols_even } else { 0 }..cols {
                *to.add(j) = (*from.offset(j as isize * steps.col)).widen();
            }
        }
    }
}

/// Writes the `SQUARE` rows at `from` as columns at `to`.
#[inline(always)]
unsafe fn transpose<E: Element, M: Machine<E::Sum>>(
    from: *const E,
    step: isize,
    to: *mut E::Sum,
    to_step: usize,
) {
    // SAFETY: the caller vouches for both squares.
    unsafe {
        if E::IS_SUM {
            M::transpose(from.cast(), step, to, to_step);
        } else {
            let mut wide = [[E::Sum::ZERO; SQUARE]; SQUARE];
            for (i, row) in wide.iter_mut().enumerate() {
                copy(from.offset(i as isize * step), SQUARE, row.as_mut_ptr());
            }
            M::transpose(wide.as_ptr().cast(), SQUARE as isize, to, to_step);
        }
    }
}

/// Widens `len` elements that lie side by side.
#[inline(always)]
unsafe fn copy<E: Element>(from: *const E, len: usize, to: *mut E::Sum) {
    // SAFETY: the caller vouches for `len` elements and places.
    unsafe {
        let even = len / SQUARE * SQUARE;
        // Whole groups through values: the compiler cannot know that the two places do not overlap.
        for i in (0..even).step_by(SQUARE) {
            let group = from.add(i).cast::<[E; SQUARE]>().read_unaligned();
            let mut wide = [E::Sum::ZERO; SQUARE];
            for (wide, narrow) in wide.iter_mut().zip(group) {
                *wide = narrow.widen();
            }
            to.add(i).cast::<[E::Sum; SQUARE]>().write_unaligned(wide);
        }
        for i in even..len {
            to.add(i).write((*from.add(i)).widen());
        }
    }
}
