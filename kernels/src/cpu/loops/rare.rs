//! What few programs do, out of the way of the loop over steps: gathers, scatters, coordinates, scans, row values as
//! tiles, and tiles whose rows step unevenly, which are moved piece by piece.

use super::access::{self, Box2, Choice, Gathered};
use super::kernel::CHUNK;
use super::machine::{Machine, Tile, Uneven};
use super::plan::*;
use crate::loops::IndexOutOfRange;

impl Machine<'_> {
    /// Stores a tile whose rows step unevenly.
    #[inline(never)]
    pub(super) unsafe fn store_uneven(
        &self,
        access: u16,
        arg: SlotId,
        tile: &Tile<'_>,
    ) -> Result<(), IndexOutOfRange> {
        let mover = &self.code.movers[access as usize];
        // SAFETY: as in `run`.
        unsafe {
            let value = self.slot(arg);
            self.pieces(access, tile, |to, done| {
                let src = value.ptr.add(done * mover.lane * value.step);
                access::store(mover, to, src, value.step, self.spare);
                Ok(())
            })
        }
    }

    /// # Safety
    /// As `run`.
    #[inline(never)]
    pub(super) unsafe fn rare<const ROWS: bool>(
        &mut self,
        step: Rare,
        tile: &Tile<'_>,
    ) -> Result<(), IndexOutOfRange> {
        let n = tile.rows * tile.cols;
        // SAFETY: the caller's contract.
        unsafe {
            match step {
                Rare::Spread { arg, dst, buffer, size } => {
                    let value = self.slot(arg);
                    if value.step == 0 {
                        self.put(dst, value.ptr, 0);
                    } else {
                        let at = self.buffer(buffer);
                        let line = tile.cols * size as usize;
                        for r in 0..tile.rows {
                            std::ptr::copy_nonoverlapping(value.ptr, at.add(r * line), line);
                        }
                        self.put(dst, at, 1);
                    }
                }
                Rare::Iota { view, dst, buffer } => self.iota::<ROWS>(view, dst, buffer, tile),
                Rare::Gather { access, dst, buffer, index, mask } => {
                    let at = if ROWS { self.row(buffer) } else { self.buffer(buffer) };
                    let mover = &self.code.movers[access as usize];
                    let (index, mask) = (self.choice(index), self.choice(mask));
                    let along = self.gathered(access);
                    self.pieces(access, tile, |from, done| {
                        let from_here =
                            |c: Choice, size| Choice { ptr: c.ptr.add(done * size * c.step), ..c };
                        let (index, mask) = (index.map(|c| from_here(c, 8)), mask.map(|c| from_here(c, 1)));
                        access::gather(mover, at.add(done * mover.lane), from, index, mask, along)
                    })?;
                    self.put(dst, at, 1);
                    if ROWS && self.width == 1 {
                        let lane = mover.lane;
                        (1..CHUNK).for_each(|i| std::ptr::copy_nonoverlapping(at, at.add(i * lane), lane));
                        self.put(dst, at, 0);
                    }
                }
                Rare::Scan { reduction, arg, dst, buffer, round } => {
                    let value = self.slot(arg);
                    let at = self.buffer(buffer);
                    let scan = self.code.reductions[reduction as usize].reducer.scan;
                    scan(self.state(reduction).1, at, value.ptr, value.step, n, self.width);
                    if let Some(round) = round {
                        round(at, at, at, at, 1, n);
                    }
                    self.put(dst, at, 1);
                }
                Rare::Scatter { access, arg, index, add } => {
                    let mover = &self.code.movers[access as usize];
                    let (value, index) = (self.slot(arg), self.choice(index));
                    let along = self.gathered(access);
                    self.pieces(access, tile, |to, done| {
                        let src =
                            Choice { ptr: value.ptr.add(done * mover.lane * value.step), step: value.step };
                        let index = index.map(|c| Choice { ptr: c.ptr.add(done * 8 * c.step), ..c });
                        access::scatter(mover, to, src, index, along, add)
                    })?;
                }
            }
        }
        Ok(())
    }

    unsafe fn choice(&self, slot: SlotId) -> Option<Choice> {
        if slot == NONE {
            return None;
        }
        // SAFETY: as in `slot`.
        let slot = unsafe { self.slot(slot) };
        Some(Choice { ptr: slot.ptr, step: slot.step })
    }

    fn gathered(&self, access: u16) -> Gathered {
        let (extent, stride) = self.gathers.get(access as usize).copied().unwrap_or((0, 0));
        Gathered { access, extent, stride }
    }

    /// Loads a tile whose rows step unevenly.
    #[inline(never)]
    pub(super) unsafe fn load_uneven(
        &mut self,
        access: u16,
        dst: SlotId,
        at: *mut u8,
        tile: &Tile<'_>,
        uneven: &Uneven<'_>,
    ) {
        let mover = &self.code.movers[access as usize];
        // SAFETY: as in `load`.
        unsafe {
            let axes = uneven.extents.len();
            let steps = &uneven.steps[access as usize * axes..][..axes];
            let flat = self.view(access).col_step == 0 || tile.cols == 1;
            if flat && steps.iter().all(|&s| s == 0) {
                access::splat(mover, at, self.view(access).at);
                return self.put(dst, at, 0);
            }
            let loaded = self.pieces(access, tile, |from, done| {
                access::load(mover, at.add(done * mover.lane), from);
                Ok(())
            });
            debug_assert!(loaded.is_ok());
            self.put(dst, at, 1);
        }
    }

    unsafe fn iota<const ROWS: bool>(&mut self, view: u16, dst: SlotId, buffer: BufferId, tile: &Tile<'_>) {
        let at = if ROWS { self.row(buffer) } else { self.buffer(buffer) };
        // SAFETY: the buffer holds a tile of the code's widest lane.
        unsafe {
            let v = self.view(view);
            let start = v.at as i64;
            if let Some(uneven) = tile.uneven {
                let mut done = 0;
                for_lines(uneven, tile, |line, first, len| {
                    let steps = &uneven.steps[view as usize * uneven.extents.len()..][..uneven.extents.len()];
                    let (from, step) = position(uneven.extents, steps, line, first);
                    access::iota(at.add(done * 8), start + from as i64, len, tile.cols, step, v.col_step);
                    done += len * tile.cols;
                });
                return self.put(dst, at, 1);
            }
            let start = start + tile.skip as i64 * v.row_step as i64;
            if ROWS && self.width == 1 {
                access::iota(at, start, 1, CHUNK, 0, 0);
                return self.put(dst, at, 0);
            }
            access::iota(at, start, tile.rows, tile.cols, v.row_step, v.col_step);
            self.put(dst, at, 1);
        }
    }

    /// Calls `each` with the boxes of even steps that make up the tile of an access, and the points before each.
    #[inline(always)]
    unsafe fn pieces(
        &self,
        access: u16,
        tile: &Tile<'_>,
        mut each: impl FnMut(Box2, usize) -> Result<(), IndexOutOfRange>,
    ) -> Result<(), IndexOutOfRange> {
        let Some(uneven) = tile.uneven else {
            // SAFETY: the caller's contract.
            return each(unsafe { self.box_of(access, tile) }, 0);
        };
        let axes = uneven.extents.len();
        let steps = &uneven.steps[access as usize * axes..][..axes];
        // SAFETY: the caller's contract.
        let view = unsafe { self.view(access) };
        let size = self.code.movers[access as usize].size as isize;
        let mut done = 0;
        let mut out = Ok(());
        for_lines(uneven, tile, |line, first, len| {
            if out.is_err() {
                return;
            }
            let (from, row_step) = position(uneven.extents, steps, line, first);
            // SAFETY: a point of the row, which lies in the access's buffer.
            let at = unsafe { view.at.offset(from * size) };
            let piece = Box2 { at, rows: len, cols: tile.cols, row_step, col_step: view.col_step };
            out = each(piece.line(), done);
            done += len * tile.cols;
        });
        out
    }
}

/// Calls `each(line, first, len)` for the runs of a tile along the innermost axis: the number of the line, the first
/// point in it, and how many.
#[inline(always)]
fn for_lines(uneven: &Uneven<'_>, tile: &Tile<'_>, mut each: impl FnMut(usize, usize, usize)) {
    let inner = *uneven.extents.last().expect("invariant: uneven rows have at least two axes");
    let (mut k, end) = (tile.skip, tile.skip + tile.rows);
    while k < end {
        let first = k % inner;
        let len = (inner - first).min(end - k);
        each(k / inner, first, len);
        k += len;
    }
}

/// The position of a point in a line, and the step along the line.
#[inline(always)]
fn position(extents: &[usize], steps: &[isize], mut line: usize, first: usize) -> (isize, isize) {
    let last = extents.len() - 1;
    let mut at = first as isize * steps[last];
    for axis in (0..last).rev() {
        at += (line % extents[axis]) as isize * steps[axis];
        line /= extents[axis];
    }
    (at, steps[last])
}
