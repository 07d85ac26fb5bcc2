//! Programs with reductions: rows of inner points, `width` outer points side by side.
//!
//! Where the inner points are contiguous a row is computed alone (width 1): tiles run along the row and row values
//! are scalars. Where the outer points are contiguous, or the rows are short, a bundle of rows is computed together:
//! tiles are `[inner point][outer point]` and row values are vectors. Both go through the same steps, and the state of
//! the reductions has the same order in both, so the choice cannot show in the result.
//!
//! A row that fits into a tile keeps its values from pass to pass; a longer one is streamed, and what a later pass
//! needs again is computed again. Few long rows are cut at the blocks of the canonical order between threads.

use super::ahead::Ahead;
use super::machine::{Machine, Sizes, Tile, Uneven, View};
use super::map::TILE;
use super::plan::{Code, Plan, Sweep};
use super::space::Space;
use super::{Launch, ahead, scratch};
use crate::loops::{IndexOutOfRange, REDUCE_BLOCK, REDUCE_LANES};
use smallvec::SmallVec;
use std::slice::from_mut;
use std::sync::Mutex;

/// Shorter rows are bundled even where their points are contiguous.
const SHORT: usize = 48;
/// Outer points of the widest bundle.
const WIDEST: usize = 256;

/// Points of the rows that run in step, so that their buffers stay near; and the most rows.
const TOGETHER: usize = 4096;
const MOST_TOGETHER: usize = 8;

/// A coordinate along each outer axis.
type Place = SmallVec<[isize; 6]>;

/// How rows are bundled and cut.
struct Cut<'c> {
    /// The outer axis along which rows lie side by side.
    axis: Option<usize>,
    width: usize,
    extent: usize,
    /// Inner points of a tile: all of them, or a divisor of `REDUCE_BLOCK` that is a multiple of `REDUCE_LANES`.
    tile: usize,
    plan: &'c Plan,
    bundles: usize,
}

impl<'c> Cut<'c> {
    fn new(code: &'c Code, space: &Space) -> Cut<'c> {
        let (outer, inner) = (&space.outer, &space.inner);
        let points = space.inner_points;
        let contiguous_rows = match inner.len().checked_sub(1) {
            Some(last) => (0..code.movers.len()).filter(|&v| inner.step(v, last) == 1).count(),
            None => 0,
        };
        let contiguous = |axis: usize| {
            let moves = |v: usize| (0..inner.len()).any(|a| inner.step(v, a) != 0);
            (0..code.movers.len())
                .filter(|&v| outer.step(v, axis) == 1 && (moves(v) || inner.len() == 0))
                .count()
        };
        let best = (0..outer.len()).max_by_key(|&a| (contiguous(a), a));
        let short = points < SHORT;
        let axis = best.filter(|&a| !code.sequential && (short || contiguous(a) > contiguous_rows));
        let axis = match axis {
            Some(a) if contiguous(a) == 0 => (0..outer.len()).max_by_key(|&a| (outer.extents[a], a)),
            other => other,
        };
        let extent = axis.map_or(1, |a| outer.extents[a]);
        let several = code.streamed.is_some();
        let streaming = |limit: usize| match limit {
            0..32 => REDUCE_LANES,
            _ => 1 << limit.min(REDUCE_BLOCK).ilog2(),
        };
        let (width, tile) = match axis {
            None => (1, if several && points <= REDUCE_BLOCK { points } else { points.min(TILE) }),
            Some(_) => {
                let whole = (2 * TILE / points.max(1)).max(REDUCE_LANES);
                let width = if several && points * REDUCE_LANES <= 4 * TILE || points <= REDUCE_LANES {
                    extent.min(whole).min(WIDEST)
                } else {
                    extent.min(2 * TILE / REDUCE_LANES)
                };
                let tile = if width * points <= 4 * TILE { points } else { streaming(2 * TILE / width) };
                (width, tile)
            }
        };
        let plan = match &code.streamed {
            Some(streamed) if tile < points => streamed,
            _ => &code.kept,
        };
        let others: usize =
            outer.extents.iter().enumerate().filter(|&(a, _)| Some(a) != axis).map(|(_, &e)| e).product();
        Cut { axis, width, extent, tile: tile.max(1), plan, bundles: others * extent.div_ceil(width.max(1)) }
    }
}

/// Runs a program with reductions.
///
/// # Safety
/// As `CompiledLoop::run`.
pub(super) unsafe fn run(launch: &Launch<'_>, space: &Space) -> Result<(), IndexOutOfRange> {
    let code = launch.code;
    if space.outer.points() == 0 {
        return Ok(());
    }
    let cut = Cut::new(code, space);
    let per_point: u64 = cut.plan.sweeps.iter().map(|s| s.cost as u64).sum();
    let per_row = 50 + space.inner_points as u64 * per_point / 1000;
    let cost = space.outer.points() as u64 * per_row;
    let rows = Rows { launch, space, cut: &cut, far: is_far(code, space, &cut) };
    if code.sequential {
        // SAFETY: the caller's contract.
        return unsafe { rows.run_bundles(0, cut.bundles) };
    }
    let divisible = !code.scans && space.inner_points >= 2 * REDUCE_BLOCK;
    if divisible && cut.bundles < 2 * launch.threads() && !launch.inline(cost / cut.bundles as u64) {
        // SAFETY: the caller's contract.
        return unsafe { rows.run_divided(cost / cut.bundles as u64) };
    }
    launch.parts(cut.bundles, cost, &|from, to| {
        // SAFETY: the caller's contract; parts cover distinct rows.
        unsafe { rows.run_bundles(cut.bundles * from / to.1, cut.bundles * to.0 / to.1) }
    })
}

struct Rows<'a> {
    launch: &'a Launch<'a>,
    space: &'a Space,
    cut: &'a Cut<'a>,
    /// As `is_far`.
    far: bool,
}

/// Whether a view stands elsewhere at another row.
fn moves(space: &Space, v: usize) -> bool {
    (0..space.outer.len()).any(|a| space.outer.step(v, a) != 0)
}

/// Whether tiles are long pieces of memory, of a launch that no cache holds.
fn is_far(code: &Code, space: &Space, cut: &Cut<'_>) -> bool {
    let (outer, inner) = (&space.outer, &space.inner);
    let bytes = |(v, mover): (usize, &super::plan::Mover)| {
        let rows = if moves(space, v) { outer.points() } else { 1 };
        rows * space.inner_points * mover.size
    };
    let flat = cut.axis.is_none() && inner.len() == 1;
    flat && code.movers.iter().enumerate().map(bytes).sum::<usize>() >= ahead::FAR
}

impl<'a> Rows<'a> {
    fn sizes(&self) -> Sizes {
        Sizes { tile: self.cut.tile * self.cut.width, width: self.cut.width }
    }

    fn uneven(&self) -> Option<Uneven<'a>> {
        let inner = &self.space.inner;
        (inner.len() > 1).then(|| Uneven { extents: &inner.extents, steps: inner.steps() })
    }

    /// Calls `run` with so many machines.
    fn with_machines<R>(&self, count: usize, run: impl FnOnce(&mut [Machine<'a>]) -> R) -> R {
        let (code, sizes, buffers) = (self.launch.code, self.sizes(), self.cut.plan.buffers);
        let size = Machine::size(code, buffers, &sizes);
        scratch::with(|memory| {
            let memory = memory.of(size * count);
            let mut machines: SmallVec<[Machine<'a>; 1]> = (0..count)
                // SAFETY: each machine has a piece as large as it says, a multiple of 64 bytes.
                .map(|i| unsafe {
                    Machine::new(code, buffers, &sizes, &self.space.gathers, memory.add(i * size))
                })
                .collect();
            run(&mut machines)
        })
    }

    /// How many rows are run in step: short ones are over before the processor has learnt where their steps lead.
    fn together(&self) -> usize {
        let (cut, code) = (self.cut, self.launch.code);
        let plain = cut.axis.is_none() && cut.tile == self.space.inner_points && !code.sequential;
        let gathers = self.space.gathers.iter().any(|&(extent, _)| extent > 0);
        match plain && !gathers {
            true => (TOGETHER / cut.tile).clamp(1, MOST_TOGETHER),
            // The first index out of range is that of the first row that has one.
            false => 1,
        }
    }

    /// The coordinates of a bundle along the outer axes.
    #[inline]
    fn locate(&self, bundle: usize) -> Place {
        let (outer, cut) = (&self.space.outer, self.cut);
        if outer.len() == 1 && cut.axis.is_none() {
            return Place::from_elem(bundle as isize, 1);
        }
        let groups = cut.extent.div_ceil(cut.width);
        let mut rest = bundle / groups;
        let mut place = Place::from_elem(0, outer.len());
        for axis in (0..outer.len()).rev() {
            if Some(axis) == cut.axis {
                place[axis] = (bundle % groups * cut.width) as isize;
            } else {
                place[axis] = (rest % outer.extents[axis]) as isize;
                rest /= outer.extents[axis];
            }
        }
        place
    }

    /// Where a view stands at such a place: an address, or the coordinate of an affine view.
    #[inline]
    fn position(&self, v: usize, place: &Place) -> *mut u8 {
        let steps = place.iter().enumerate().map(|(axis, i)| i * self.space.outer.step(v, axis));
        let size = self.launch.code.movers.get(v).map_or(1, |m| m.size as isize);
        self.space.bases[v].wrapping_offset(steps.sum::<isize>() * size)
    }

    /// Points the views at a bundle.
    unsafe fn enter(&self, machine: &mut Machine<'_>, bundle: usize) {
        let (space, cut) = (self.space, self.cut);
        let inner = &space.inner;
        if cut.axis.is_some() {
            let groups = cut.extent.div_ceil(cut.width);
            machine.width = cut.width.min(cut.extent - bundle % groups * cut.width);
        }
        let place = self.locate(bundle);
        for v in 0..space.bases.len() {
            let view = View {
                at: self.position(v, &place),
                row_step: inner.len().checked_sub(1).map_or(0, |last| inner.step(v, last)),
                col_step: cut.axis.map_or(0, |a| space.outer.step(v, a)),
            };
            // SAFETY: the machine has as many views as the space.
            unsafe { machine.views.add(v).write(view) };
        }
    }

    /// Asks for the lines of the next tile of a row, spread over the steps of this one.
    unsafe fn look_along(&self, machine: &mut Machine<'_>, sweep: &Sweep, next: usize, to: usize) {
        machine.ahead.clear();
        for (v, mover) in self.launch.code.movers.iter().enumerate() {
            // SAFETY: the machine has as many views as the space.
            let view = unsafe { *machine.views.add(v) };
            if view.row_step == 1 {
                let bytes = self.cut.tile.min(to - next) * mover.size;
                machine.ahead.add(view.at.wrapping_add(next * mover.size), bytes);
            }
        }
        self.spread(&mut machine.ahead, sweep.tiles.len());
    }

    /// The accesses whose next row lies elsewhere, in one piece.
    fn streams(&self) -> SmallVec<[usize; 8]> {
        let is_stream = |&v: &usize| moves(self.space, v) && self.space.inner.step(v, 0) == 1;
        (0..self.launch.code.movers.len()).filter(is_stream).collect()
    }

    /// Asks for the lines of a row, spread over the steps of the one before.
    fn look_down(&self, ahead: &mut Ahead, streams: &[usize], bundle: usize, steps: usize) {
        ahead.clear();
        let place = self.locate(bundle);
        for &v in streams {
            let bytes = self.space.inner_points * self.launch.code.movers[v].size;
            ahead.add(self.position(v, &place), bytes);
        }
        self.spread(ahead, steps);
    }

    /// Spreads what is to be fetched over steps, or over the rounds of chains where there are any.
    fn spread(&self, ahead: &mut Ahead, steps: usize) {
        match self.launch.code.chains.is_empty() {
            true => ahead.over(steps),
            false => ahead.over_takers(),
        }
    }

    /// # Safety
    /// As `run`.
    unsafe fn run_bundles(&self, from: usize, to: usize) -> Result<(), IndexOutOfRange> {
        let uneven = self.uneven();
        let points = self.space.inner_points;
        let together = self.together().min(to - from).max(1);
        let steps = self.cut.plan.sweeps.iter().map(|s| s.rows.len() + s.tiles.len()).sum();
        let streams = match self.far && self.cut.tile == points {
            true => self.streams(),
            false => SmallVec::new(),
        };
        self.with_machines(together, |machines| {
            // SAFETY: the caller's contract.
            unsafe {
                for machine in machines.iter_mut() {
                    machine.begin(self.launch.params, points);
                }
                for first in (from..to).step_by(together) {
                    let machines = &mut machines[..together.min(to - first)];
                    for (bundle, machine) in (first..).zip(machines.iter_mut()) {
                        self.enter(machine, bundle);
                        if !streams.is_empty() && bundle + together < to {
                            self.look_down(&mut machine.ahead, &streams, bundle + together, steps);
                        }
                    }
                    for sweep in &self.cut.plan.sweeps {
                        self.open(machines, sweep)?;
                        self.blocks(machines, sweep, uneven.as_ref(), 0, points)?;
                    }
                    let row = self.row(&machines[0]);
                    Machine::run::<true>(machines, &self.cut.plan.last, row)?;
                }
                Ok(())
            }
        })
    }

    fn row(&self, machine: &Machine<'_>) -> Tile<'static> {
        Tile { rows: 1, cols: machine.width, skip: 0, uneven: None }
    }

    /// Row values before a pass.
    unsafe fn open(&self, machines: &mut [Machine<'_>], sweep: &Sweep) -> Result<(), IndexOutOfRange> {
        let tile = self.row(&machines[0]);
        // SAFETY: the caller's contract.
        unsafe {
            Machine::run::<true>(machines, &sweep.rows, tile)?;
            Machine::run::<false>(machines, &sweep.spreads, Tile { rows: self.cut.tile, ..tile })
        }
    }

    /// The tiles of a pass between two inner points, of which the first begins a block; the totals then hold these
    /// blocks alone. The machines are of one width.
    unsafe fn blocks(
        &self,
        machines: &mut [Machine<'_>],
        sweep: &Sweep,
        uneven: Option<&Uneven<'_>>,
        from: usize,
        to: usize,
    ) -> Result<(), IndexOutOfRange> {
        let width = machines[0].width;
        let code = self.launch.code;
        // SAFETY: the states are large enough for the width; the caller's contract for the tiles.
        unsafe {
            for &r in &sweep.reductions {
                let reduction = &code.reductions[r as usize];
                for machine in machines.iter() {
                    let (lanes, total) = machine.state(r);
                    if reduction.scan {
                        (reduction.reducer.start)(total, width);
                    } else {
                        (reduction.reducer.start)(lanes, width * REDUCE_LANES);
                    }
                }
            }
            let mut first = from;
            loop {
                let rows = self.cut.tile.min(to - first);
                if self.far && rows < to - first {
                    for machine in machines.iter_mut() {
                        self.look_along(machine, sweep, first + rows, to);
                    }
                }
                if rows > 0 {
                    let tile = Tile { rows, cols: width, skip: first, uneven };
                    Machine::run::<false>(machines, &sweep.tiles, tile)?;
                }
                first += rows;
                if first == to || first.is_multiple_of(REDUCE_BLOCK) {
                    let block = first.saturating_sub(1) / REDUCE_BLOCK;
                    for &r in &sweep.reductions {
                        let reduction = &code.reductions[r as usize];
                        for machine in machines.iter().filter(|_| !reduction.scan) {
                            let (lanes, total) = machine.state(r);
                            (reduction.reducer.fold)(lanes, total, width, block == from / REDUCE_BLOCK);
                        }
                    }
                }
                if first == to {
                    return Ok(());
                }
            }
        }
    }

    /// Runs few long rows with each pass cut between threads.
    unsafe fn run_divided(&self, cost: u64) -> Result<(), IndexOutOfRange> {
        let uneven = self.uneven();
        let points = self.space.inner_points;
        let blocks = points.div_ceil(REDUCE_BLOCK);
        let plan = self.cut.plan;
        self.with_machines(1, |machines| {
            let machine = &mut machines[0];
            // SAFETY: the caller's contract; while the parts run this machine is only read.
            unsafe {
                machine.begin(self.launch.params, points);
                for bundle in 0..self.cut.bundles {
                    self.enter(machine, bundle);
                    for sweep in &plan.sweeps {
                        self.open(from_mut(machine), sweep)?;
                        let totals = self.divide(
                            machine,
                            sweep,
                            uneven.as_ref(),
                            blocks,
                            cost / plan.sweeps.len() as u64,
                        )?;
                        self.gather_totals(machine, sweep, &totals, blocks);
                    }
                    let row = self.row(machine);
                    Machine::run::<true>(from_mut(machine), &plan.last, row)?;
                }
                Ok(())
            }
        })
    }

    /// Bytes of the totals of one block: one for each reduction of the pass.
    fn total_sizes(&self, sweep: &Sweep, width: usize) -> SmallVec<[usize; 4]> {
        sweep
            .reductions
            .iter()
            .map(|&r| self.launch.code.reductions[r as usize].reducer.size * width)
            .collect()
    }

    /// One pass in parts; the total of every block for itself.
    unsafe fn divide(
        &self,
        machine: &Machine<'_>,
        sweep: &Sweep,
        uneven: Option<&Uneven<'_>>,
        blocks: usize,
        cost: u64,
    ) -> Result<Vec<u64>, IndexOutOfRange> {
        let width = machine.width;
        let sizes = self.total_sizes(sweep, width);
        let each = sizes.iter().sum::<usize>().div_ceil(8);
        let totals = Mutex::new(vec![0u64; blocks * each]);
        let shared = &Shared { slots: machine.slots, views: machine.views };
        self.launch.parts(blocks, cost, &|from, to| {
            let Shared { slots, views } = *shared;
            self.with_machines(1, |machines| {
                let own = &mut machines[0];
                own.width = width;
                // SAFETY: slots and views of the waiting machine are as many as this one's, and only read.
                unsafe {
                    std::ptr::copy_nonoverlapping(slots, own.slots, self.launch.code.slots);
                    std::ptr::copy_nonoverlapping(views, own.views, self.space.bases.len());
                    for block in blocks * from / to.1..blocks * to.0 / to.1 {
                        let first = block * REDUCE_BLOCK;
                        let last = (first + REDUCE_BLOCK).min(self.space.inner_points);
                        self.blocks(from_mut(own), sweep, uneven, first, last)?;
                        let mut all = totals.lock().unwrap_or_else(|e| e.into_inner());
                        let mut at = all.as_mut_ptr().add(block * each) as *mut u8;
                        for (&r, &size) in sweep.reductions.iter().zip(&sizes) {
                            std::ptr::copy_nonoverlapping(own.state(r).1, at, size);
                            at = at.add(size);
                        }
                    }
                }
                Ok(())
            })
        })?;
        Ok(totals.into_inner().unwrap_or_else(|e| e.into_inner()))
    }

    /// Combines the totals of the blocks in ascending order.
    unsafe fn gather_totals(&self, machine: &mut Machine<'_>, sweep: &Sweep, totals: &[u64], blocks: usize) {
        let width = machine.width;
        let sizes = self.total_sizes(sweep, width);
        let each = sizes.iter().sum::<usize>().next_multiple_of(8);
        let mut before = 0;
        for (&r, &size) in sweep.reductions.iter().zip(&sizes) {
            let total = machine.state(r).1;
            let merge = self.launch.code.reductions[r as usize].reducer.merge;
            for block in 0..blocks {
                // SAFETY: within the totals, which `divide` laid out; the state holds a total of this size.
                unsafe {
                    let from = (totals.as_ptr() as *const u8).add(block * each + before);
                    if block == 0 {
                        std::ptr::copy_nonoverlapping(from, total, size);
                    } else {
                        merge(total, from, width);
                    }
                }
            }
            before += size;
        }
    }
}

/// Slots and views of a machine that waits for the parts that read them.
struct Shared {
    slots: *const super::machine::Slot,
    views: *const View,
}

// SAFETY: only read while the owner waits.
unsafe impl Sync for Shared {}
