//! One block of the result: from the operands to finished elements, on one thread.
//!
//! Per block of k: a is packed (or read where it lies), then for each panel of columns b is packed into the first-level
//! cache and every tile of the panel is computed. b is packed once for each block of rows, which costs a few per cent
//! and saves the barrier that sharing packed panels between threads would need.

use super::element::Element;
use super::few::{self, FEW};
use super::machine::Machine;
use super::pack::{self, Left, Steps};
use super::scratch::Scratch;
use super::vector::Number;
use super::{Activation, BLOCK};
use crate::shape::{Dims, Strides};

/// One product, oriented so that the rows of c lie side by side if any of its directions does.
pub(super) struct Job<E> {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) a: *const E,
    pub(super) b: *const E,
    pub(super) c: *mut E,
    pub(super) a_steps: Steps,
    pub(super) b_steps: Steps,
    pub(super) c_steps: Steps,
    pub(super) accumulate: bool,
    pub(super) bias: Option<(*const E, Steps)>,
    /// Only of elements that are not summed in their own type.
    pub(super) rounds_once: bool,
    pub(super) activation: Activation,
    pub(super) batch: Batch,
    pub(super) cut: Cut,
}

// SAFETY: the pointers are used only during the call that made the job, whose caller vouches for them; parts write
// disjoint blocks of c.
unsafe impl<E: Sync> Sync for Job<E> {}

/// The repeated products.
pub(super) struct Batch {
    pub(super) dims: Dims,
    pub(super) a: Strides,
    pub(super) b: Strides,
    pub(super) c: Strides,
}

/// How the results are cut into blocks, and how many blocks make a part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_blocks: usize,
    pub(super) col_blocks: usize,
    pub(super) blocks: usize,
    pub(super) per_part: usize,
}

impl<E: Element> Job<E> {
    /// Whether sums can be kept in c. A sum over several blocks of k that meets an old value cannot: the old value
    /// joins the finished sum, as it would if the two were separate operations.
    fn in_place(&self) -> bool {
        E::IS_SUM && self.c_steps.col == 1 && !(self.accumulate && self.k > BLOCK)
    }

    /// c^T = b^T a^T.
    pub(super) fn transpose(&mut self) {
        (self.m, self.n) = (self.n, self.m);
        (self.a, self.b) = (self.b, self.a);
        (self.a_steps, self.b_steps) = (self.b_steps.transposed(), self.a_steps.transposed());
        std::mem::swap(&mut self.batch.a, &mut self.batch.b);
        self.c_steps = self.c_steps.transposed();
        self.bias = self.bias.map(|(bias, steps)| (bias, steps.transposed()));
    }

    /// Where row `i` of a, column `j` of b and element (i, j) of c of one product of the batch are.
    pub(super) fn at(&self, in_batch: usize, i: usize, j: usize) -> (*const E, *const E, *mut E) {
        let (mut a, mut b, mut c) = (self.a, self.b, self.c);
        let mut rest = in_batch;
        for d in (0..self.batch.dims.len()).rev() {
            let index = (rest % self.batch.dims[d]) as isize;
            rest /= self.batch.dims[d];
            a = a.wrapping_offset(index * self.batch.a[d]);
            b = b.wrapping_offset(index * self.batch.b[d]);
            c = c.wrapping_offset(index * self.batch.c[d]);
        }
        let (i, j) = (i as isize, j as isize);
        (
            a.wrapping_offset(i * self.a_steps.row),
            b.wrapping_offset(j * self.b_steps.col),
            c.wrapping_offset(i * self.c_steps.row + j * self.c_steps.col),
        )
    }

    fn has_epilogue(&self) -> bool {
        self.bias.is_some() || self.activation != Activation::None
    }
}

/// Computes all blocks of part `index`.
///
/// # Safety
/// The job's pointers must be good for its geometry, and the processor must know the machine's instructions.
#[inline(always)]
pub(super) unsafe fn part<E: Element, M: Machine<E::Sum>>(job: &Job<E>, index: usize) {
    let cut = job.cut;
    let first = index * cut.per_part;
    let per_product = cut.row_blocks * cut.col_blocks;
    for item in first..(first + cut.per_part).min(cut.blocks) {
        let (i, j) = (item % cut.row_blocks * cut.rows, item % per_product / cut.row_blocks * cut.cols);
        let place = Place { i, j, rows: cut.rows.min(job.m - i), cols: cut.cols.min(job.n - j) };
        // SAFETY: the same contract.
        unsafe {
            if job.m <= FEW {
                few::block::<E, M>(job, item / per_product, place);
            } else {
                block::<E, M>(job, item / per_product, place);
            }
        }
    }
}

/// A block of the result.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) i: usize,
    pub(super) j: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

#[inline(always)]
unsafe fn block<E: Element, M: Machine<E::Sum>>(job: &Job<E>, in_batch: usize, place: Place) {
    let Place { i: top, j: edge, rows, cols } = place;
    let (a, b, c) = job.at(in_batch, top, edge);
    let k_blocks = job.k.div_ceil(BLOCK).max(1);
    let k_most = job.k.min(BLOCK);
    let panels = cols.div_ceil(M::WIDTH);
    let in_place = job.in_place();
    let packs_a = packs_a::<E>(job.a_steps, panels);
    let packs_b = packs_b::<E>(job.b_steps, rows, M::ROWS);
    // Unfinished sums outside c: of one tile if each tile is finished at once, of one panel if only the last panel is
    // not full, else of the whole block.
    let pending = match (k_blocks == 1, in_place) {
        (true, _) => M::ROWS,
        (false, true) => rows,
        (false, false) => rows * panels,
    };
    let a_len = if packs_a { pack::len_a(rows, k_most, M::ROWS) } else { 0 }.next_multiple_of(16);
    let panel_len = (k_most * M::WIDTH).next_multiple_of(16);
    let len = a_len + panel_len * panels.min(GROUP) + pending * M::WIDTH;
    let mut scratch = Scratch::take(len * size_of::<E::Sum>());
    let a_buffer: *mut E::Sum = scratch.start();
    let b_buffer = a_buffer.wrapping_add(a_len);
    let sums = b_buffer.wrapping_add(panel_len * panels.min(GROUP));
    for k_block in 0..k_blocks {
        let p = k_block * BLOCK;
        let k = BLOCK.min(job.k - p);
        let from = a.wrapping_offset(p as isize * job.a_steps.col);
        let left = if packs_a {
            // SAFETY: the buffer has been measured for it.
            unsafe { pack::pack_a::<E, M>(from, job.a_steps, rows, k, a_buffer) }
        } else {
            let Steps { row, col } = job.a_steps;
            Left { start: from.cast(), row, col, tile: M::ROWS as isize * row }
        };
        for first in (0..panels).step_by(GROUP) {
            let group = GROUP.min(panels - first);
            let j = first * M::WIDTH;
            let width = (group * M::WIDTH).min(cols - j);
            let from = b.wrapping_offset(p as isize * job.b_steps.row + j as isize * job.b_steps.col);
            let (right, right_row, right_panel) = if packs_b || width % M::WIDTH != 0 {
                // SAFETY: the buffer has been measured for it.
                unsafe { pack::pack_b::<E, M>(from, job.b_steps, k, width, b_buffer) };
                (b_buffer.cast_const(), M::WIDTH as isize, k * M::WIDTH)
            } else {
                (from.cast(), job.b_steps.row, M::WIDTH)
            };
            for panel in 0..group {
                let j = j + panel * M::WIDTH;
                let width = M::WIDTH.min(cols - j);
                let right = right.wrapping_add(panel * right_panel);
                let keeps = in_place && width == M::WIDTH;
                for i in (0..rows).step_by(M::ROWS) {
                    let height = M::ROWS.min(rows - i);
                    let to = c.wrapping_offset(i as isize * job.c_steps.row + j as isize * job.c_steps.col);
                    let (sum, sum_row, add) = if keeps {
                        (to.cast(), job.c_steps.row, k_block > 0 || job.accumulate)
                    } else {
                        let slot = match (k_blocks == 1, in_place) {
                            (true, _) => 0,
                            (false, true) => i,
                            (false, false) => (first + panel) * rows + i,
                        };
                        (sums.wrapping_add(slot * M::WIDTH), M::WIDTH as isize, k_block > 0)
                    };
                    let start = left.start.wrapping_offset((i / M::ROWS) as isize * left.tile);
                    // SAFETY: a and b are packed or lie as the job says; the sums have room for the tile.
                    unsafe {
                        M::TILES[height - 1](
                            k, start, left.row, left.col, right, right_row, sum, sum_row, add,
                        )
                    };
                    let sums = (!keeps).then_some((sum.cast_const(), M::WIDTH));
                    if k_block + 1 == k_blocks && (!keeps || job.has_epilogue()) {
                        let tile = Place { i: top + i, j: edge + j, rows: height, cols: width };
                        // SAFETY: the tile is a part of c and of the sums.
                        unsafe { finish(job, sums, to, tile) };
                    }
                }
            }
        }
    }
}

/// Panels of b that are packed together: enough that a row of them is a few cache lines, which is what the processor
/// fetches ahead; few enough that they stay in the second-level cache beside a.
const GROUP: usize = 8;

/// Whether a is copied before use. It is read in place where its rows are numbers that lie side by side, or if it is
/// read only once.
fn packs_a<E: Element>(steps: Steps, panels: usize) -> bool {
    !E::IS_SUM || panels >= if steps.col == 1 { 8 } else { 2 }
}

/// Whether b is copied before use. A panel that is read only a few times is read in place if it can be; tall tiles wait less
/// for what they read.
fn packs_b<E: Element>(steps: Steps, rows: usize, height: usize) -> bool {
    let few = if height > 8 { 3 } else { 2 };
    !E::IS_SUM || steps.col != 1 || rows > few * height
}

/// Rounds the sums of a tile (or takes what is in c), adds the old value and the bias before or after, and activates.
#[inline(always)]
pub(super) unsafe fn finish<E: Element>(
    job: &Job<E>,
    sums: Option<(*const E::Sum, usize)>,
    to: *mut E,
    tile: Place,
) {
    let Place { i, j, rows, cols } = tile;
    // SAFETY: the caller vouches for the tile in c and in the sums.
    unsafe {
        for r in 0..rows {
            let to = to.offset(r as isize * job.c_steps.row);
            let step = job.c_steps.col;
            let bias = job.bias.map(|(bias, steps)| {
                (bias.offset((i + r) as isize * steps.row + j as isize * steps.col), steps.col)
            });
            match sums {
                Some((sums, stride)) if job.rounds_once => {
                    let from = sums.add(r * stride);
                    for s in 0..cols {
                        let to = to.offset(s as isize * step);
                        let mut sum = *from.add(s);
                        if job.accumulate {
                            sum = sum.add((*to).widen());
                        }
                        if let Some((bias, step)) = bias {
                            sum = sum.add((*bias.offset(s as isize * step)).widen());
                        }
                        *to = E::narrow(sum);
                    }
                }
                Some((sums, stride)) if job.accumulate => {
                    let from = sums.add(r * stride);
                    map(to, step, cols, |s, old: E| old.add(E::narrow(*from.add(s))));
                }
                Some((sums, stride)) => {
                    let from = sums.add(r * stride);
                    for s in 0..cols {
                        *to.offset(s as isize * step) = E::narrow(*from.add(s));
                    }
                }
                None => {}
            }
            if let Some((bias, along)) = bias
                && !job.rounds_once
            {
                map(to, step, cols, |s, x: E| x.add(*bias.offset(s as isize * along)));
            }
            match job.activation {
                Activation::None => {}
                Activation::Relu => map(to, step, cols, |_, x: E| x.relu()),
            }
        }
    }
}

#[inline(always)]
unsafe fn map<E: Copy>(to: *mut E, step: isize, count: usize, f: impl Fn(usize, E) -> E) {
    // SAFETY: the caller vouches for `count` elements.
    unsafe {
        if step == 1 {
            for s in 0..count {
                *to.add(s) = f(s, *to.add(s));
            }
        } else {
            for s in 0..count {
                let to = to.offset(s as isize * step);
                *to = f(s, *to);
            }
        }
    }
}
