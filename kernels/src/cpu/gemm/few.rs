//! Products with few rows, a vector times a matrix above all: bound by reading b, which is read once, in its own order.
//!
//! The tiles of the general path would read b in narrow columns, a cache line from each row. Here eight rows of b at a
//! time are added, scaled, to a row of sums that stays in the first-level cache; where the columns of b lie side by
//! side instead, small squares are transposed on the way.

use super::BLOCK;
use super::element::Element;
use super::machine::Machine;
use super::pack;
use super::part::{Job, Place, finish};
use super::scratch::Scratch;
use super::vector::{Number, Vector};

/// Rows for which this path is used.
pub(super) const FEW: usize = 4;
/// Columns of a part are a multiple of this.
pub(super) const UNIT: usize = 64;
/// Columns that are summed at a time at most: a row of sums in the first-level cache. Shorter pieces of rows were measured
/// to be slower by half, because each is too short to be fetched ahead.
const MOST: usize = 2048;
/// Rows of b per step. Rows that are a power of two apart share the sets of the first-level cache, which has 8 or more
/// places in each; eight rows and the sums were measured to be slower.
const STEP: usize = 4;
/// Rows of b that are transposed at a time: whole cache lines of its columns.
const DEPTH: usize = 64;

/// Computes the columns of one block; all rows.
///
/// # Safety
/// The job's pointers must be good for its geometry, and the processor must know the machine's instructions.
#[inline(always)]
pub(super) unsafe fn block<E: Element, M: Machine<E::Sum>>(job: &Job<E>, in_batch: usize, place: Place) {
    let Place { i: top, j: edge, rows, cols } = place;
    let (a, b, c) = job.at(in_batch, top, edge);
    let streams = E::IS_SUM && job.b_steps.col == 1;
    let dots = if E::IS_SUM && job.b_steps.row == 1 { M::DOTS } else { None };
    let width = if streams { cols.min(MOST) } else { UNIT };
    let k_most = job.k.min(BLOCK);
    let step = width.next_multiple_of(16);
    let row_len = k_most.next_multiple_of(16);
    let len = rows * (2 * step + row_len) + if streams { 0 } else { DEPTH * UNIT };
    let mut scratch = Scratch::take(len * size_of::<E::Sum>());
    let totals: *mut E::Sum = scratch.start();
    let sums = totals.wrapping_add(rows * step);
    let left = sums.wrapping_add(rows * step);
    let square = left.wrapping_add(rows * row_len);
    for j in (0..cols).step_by(width) {
        let count = width.min(cols - j);
        let b = b.wrapping_offset(j as isize * job.b_steps.col);
        for first in (0..job.k.max(1)).step_by(BLOCK) {
            let k = BLOCK.min(job.k - first);
            let into = if first == 0 { totals } else { sums };
            // SAFETY: the buffer has been measured for all of it, and the operands are good for the geometry.
            unsafe {
                for i in 0..rows * step {
                    into.add(i).write(E::Sum::ZERO);
                }
                for i in 0..rows {
                    let from = a.offset(i as isize * job.a_steps.row + first as isize * job.a_steps.col);
                    for p in 0..k {
                        left.add(i * row_len + p).write((*from.offset(p as isize * job.a_steps.col)).widen());
                    }
                }
                if let Some(dots) = dots {
                    let from: *const E::Sum = b.offset(first as isize * job.b_steps.row).cast();
                    for i in 0..rows {
                        dots(k, left.add(i * row_len), from, job.b_steps.col, count, into.add(i * step));
                    }
                }
                for p in (0..if dots.is_some() { 0 } else { k }).step_by(if streams { STEP } else { DEPTH }) {
                    let depth = (if streams { STEP } else { DEPTH }).min(k - p);
                    let from = b.offset((first + p) as isize * job.b_steps.row);
                    let (right, right_row) = if streams {
                        (from.cast(), job.b_steps.row)
                    } else {
                        pack::gather::<E, M>(from, job.b_steps, depth, count, UNIT, square);
                        (square.cast_const(), UNIT as isize)
                    };
                    for i in 0..rows {
                        let (x, into) = (left.add(i * row_len + p), into.add(i * step));
                        for q in (0..depth).step_by(STEP) {
                            let (x, right) = (x.add(q), right.offset(q as isize * right_row));
                            if depth - q >= STEP {
                                add_rows::<M::Vector, STEP>(x, right, right_row, count, into);
                            } else {
                                for q in 0..depth - q {
                                    let right = right.offset(q as isize * right_row);
                                    add_rows::<M::Vector, 1>(x.add(q), right, right_row, count, into);
                                }
                            }
                        }
                    }
                }
                if first > 0 {
                    for i in 0..rows * step {
                        *totals.add(i) = (*totals.add(i)).add(*sums.add(i));
                    }
                }
            }
        }
        let to = c.wrapping_offset(j as isize * job.c_steps.col);
        let tile = Place { i: top, j: edge + j, rows, cols: count };
        // SAFETY: the columns are a part of c and of the totals.
        unsafe { finish(job, Some((totals.cast_const(), step)), to, tile) };
    }
}

/// into[j] += x[0] b[0, j] + .. + x[P - 1] b[P - 1, j], as a chain.
#[inline(always)]
unsafe fn add_rows<V: Vector, const P: usize>(
    x: *const V::Item,
    b: *const V::Item,
    b_row: isize,
    count: usize,
    into: *mut V::Item,
) {
    // SAFETY: the caller vouches for P numbers, P rows of `count` numbers, and `count` sums.
    unsafe {
        let mut scales = [V::splat(V::Item::ZERO); P];
        for (q, scale) in scales.iter_mut().enumerate() {
            *scale = V::splat(*x.add(q));
        }
        let even = count / V::LANES * V::LANES;
        for j in (0..even).step_by(V::LANES) {
            let mut sum = V::load(into.add(j));
            for (q, scale) in scales.iter().enumerate() {
                sum = scale.mul_add(V::load(b.offset(q as isize * b_row).add(j)), sum);
            }
            sum.store(into.add(j));
        }
        for j in even..count {
            let mut sum = *into.add(j);
            for q in 0..P {
                sum = (*x.add(q)).mul_add(*b.offset(q as isize * b_row).add(j), sum);
            }
            *into.add(j) = sum;
        }
    }
}
