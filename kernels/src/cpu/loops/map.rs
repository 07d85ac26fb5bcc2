//! Programs without reductions: the space is cut into boxes of about a thousand points over two of its axes.
//!
//! The columns of a box run along the axis over which most accesses are contiguous. A box has one row where that axis
//! is long; several where it is short (so that a decoded step is worth its call); and about as many rows as columns
//! where some access is contiguous the other way, so that both sides of a transposition use whole cache lines.

use super::machine::{Machine, Sizes, Tile, View};
use super::plan::Code;
use super::space::Space;
use super::{Launch, ahead, scratch};
use crate::loops::IndexOutOfRange;
use smallvec::SmallVec;
use std::slice::from_mut;

/// Points of a tile: four kilobytes of f32, so that the buffers of a program fit the first-level cache.
pub(super) const TILE: usize = 1024;
/// Rows and columns of a tile that transposes.
const SQUARE: usize = 32;

/// How the space is cut.
struct Cut {
    /// The axes that boxes cover.
    row_axis: Option<usize>,
    col_axis: Option<usize>,
    rows: usize,
    cols: usize,
    row_extent: usize,
    col_extent: usize,
    /// The other axes.
    others: SmallVec<[usize; 6]>,
    tiles: usize,
}

impl Cut {
    fn new(code: &Code, space: &Space) -> Cut {
        let axes = &space.outer;
        let unit = |axis: usize| {
            let weigh = |(v, m): (usize, &super::plan::Mover)| {
                (axes.step(v, axis) == 1) as usize * (1 + m.written as usize)
            };
            code.movers.iter().enumerate().map(weigh).sum::<usize>()
        };
        let last = axes.len().checked_sub(1);
        let col_axis = match last {
            Some(last) if !code.sequential => (0..axes.len()).max_by_key(|&a| (unit(a), a)).or(Some(last)),
            other => other,
        };
        let remaining = (0..axes.len()).filter(|&a| Some(a) != col_axis);
        let crossing =
            remaining.clone().filter(|&a| !code.sequential && unit(a) > 0).max_by_key(|&a| (unit(a), a));
        let row_axis = crossing.or(remaining.max());
        let extent = |axis: Option<usize>| axis.map_or(1, |a| axes.extents[a]);
        let (row_extent, col_extent) = (extent(row_axis), extent(col_axis));
        let (rows, cols) = match crossing {
            Some(_) => {
                let cols = col_extent.min(SQUARE.max(TILE / row_extent.max(1)));
                (row_extent.min(TILE / cols.max(1)), cols)
            }
            None if col_extent >= TILE / 2 => (1, col_extent.min(TILE)),
            // Whole rows, which keeps the order of the points.
            None => (row_extent.min(TILE / col_extent.max(1)), col_extent),
        };
        let others: SmallVec<[usize; 6]> =
            (0..axes.len()).filter(|&a| Some(a) != row_axis && Some(a) != col_axis).collect();
        let outside: usize = others.iter().map(|&a| axes.extents[a]).product();
        let tiles = match axes.points() {
            0 => 0,
            _ => outside * row_extent.div_ceil(rows) * col_extent.div_ceil(cols),
        };
        Cut { row_axis, col_axis, rows, cols, row_extent, col_extent, others, tiles }
    }
}

/// Whether a launch over so many points touches more than a cache holds.
fn is_far(code: &Code, points: usize) -> bool {
    code.movers.iter().map(|m| m.size * points).sum::<usize>() >= ahead::FAR
}

/// Runs a program without reductions.
///
/// # Safety
/// As `CompiledLoop::run`.
pub(super) unsafe fn run(launch: &Launch<'_>, space: &Space) -> Result<(), IndexOutOfRange> {
    let cut = Cut::new(launch.code, space);
    if cut.tiles == 0 {
        return Ok(());
    }
    let cost = space.outer.points() as u64 * launch.code.kept.sweeps[0].cost as u64 / 1000;
    let most = if launch.code.sequential { 1 } else { cut.tiles };
    launch.parts(most, cost, &|from, to| {
        // SAFETY: the caller's contract; parts cover distinct tiles.
        unsafe { run_tiles(launch, space, &cut, cut.tiles * from / to.1, cut.tiles * to.0 / to.1) }
    })
}

/// # Safety
/// As `run`.
unsafe fn run_tiles(
    launch: &Launch<'_>,
    space: &Space,
    cut: &Cut,
    from: usize,
    to: usize,
) -> Result<(), IndexOutOfRange> {
    let code = launch.code;
    let axes = &space.outer;
    let sizes = Sizes { tile: cut.rows * cut.cols, width: 1 };
    let plan = &code.kept;
    let far = is_far(code, axes.points());
    let (col_blocks, row_blocks) = (cut.col_extent.div_ceil(cut.cols), cut.row_extent.div_ceil(cut.rows));
    scratch::with(|memory| {
        let memory = memory.of(Machine::size(code, plan.buffers, &sizes));
        // SAFETY: the memory is as large as the machine says; the caller's contract for the tensors.
        unsafe {
            let mut machine = Machine::new(code, plan.buffers, &sizes, &space.gathers, memory);
            machine.begin(launch.params, 1);
            for t in from..to {
                let (block, first_col) = (t / col_blocks, t % col_blocks * cut.cols);
                let (mut outside, first_row) = (block / row_blocks, block % row_blocks * cut.rows);
                let mut at: SmallVec<[(usize, isize); 6]> = SmallVec::new();
                for &axis in cut.others.iter().rev() {
                    at.push((axis, (outside % axes.extents[axis]) as isize));
                    outside /= axes.extents[axis];
                }
                at.extend(cut.row_axis.map(|a| (a, first_row as isize)));
                at.extend(cut.col_axis.map(|a| (a, first_col as isize)));
                for v in 0..space.bases.len() {
                    let distance: isize = at.iter().map(|&(axis, i)| i * axes.step(v, axis)).sum();
                    let size = code.movers.get(v).map_or(1, |m| m.size as isize);
                    let view = View {
                        at: space.bases[v].wrapping_offset(distance * size),
                        row_step: cut.row_axis.map_or(0, |a| axes.step(v, a)),
                        col_step: cut.col_axis.map_or(0, |a| axes.step(v, a)),
                    };
                    machine.views.add(v).write(view);
                }
                let rows = cut.rows.min(cut.row_extent - first_row);
                let cols = cut.cols.min(cut.col_extent - first_col);
                if far {
                    // Where a tile is one piece of memory, the next one most often lies behind it.
                    machine.ahead.clear();
                    for (v, mover) in code.movers.iter().enumerate() {
                        let View { at, row_step, col_step } = *machine.views.add(v);
                        if !code.fetched[v] && col_step == 1 && (rows == 1 || row_step == cols as isize) {
                            let bytes = rows * cols * mover.size;
                            machine.ahead.add(at.wrapping_add(bytes), bytes);
                        }
                    }
                    machine.ahead.over(plan.sweeps[0].tiles.len());
                }
                let tile = Tile { rows, cols, skip: 0, uneven: None };
                Machine::run::<false>(from_mut(&mut machine), &plan.sweeps[0].tiles, tile)?;
            }
            Ok(())
        }
    })
}

/// Runs a program over `n` points in one axis. `broadcast` has a bit for each access that stays at its first element.
///
/// # Safety
/// As `CompiledLoop::run_flat`.
pub(super) unsafe fn run_flat(
    launch: &Launch<'_>,
    n: usize,
    pointers: &[*mut u8],
    broadcast: u32,
) -> Result<(), IndexOutOfRange> {
    let code = launch.code;
    let cost = n as u64 * code.kept.sweeps[0].cost as u64 / 1000;
    let most = if code.sequential { 1 } else { n.div_ceil(TILE) };
    let far = is_far(code, n);
    let pointers = Pointers(pointers);
    let part = |from: usize, to: usize| {
        let pointers = pointers.get();
        let sizes = Sizes { tile: TILE.min(n), width: 1 };
        let plan = &code.kept;
        scratch::with(|memory| {
            let memory = memory.of(Machine::size(code, plan.buffers, &sizes));
            // SAFETY: as in `run_tiles`.
            unsafe {
                let mut machine = Machine::new(code, plan.buffers, &sizes, &[], memory);
                machine.begin(launch.params, 1);
                for first in (from..to).step_by(TILE) {
                    for v in 0..pointers.len() + code.affines.len() {
                        let step = if v < 32 { (broadcast >> v & 1 ^ 1) as isize } else { 1 };
                        let (base, size) = match pointers.get(v) {
                            Some(&p) => (p, code.movers[v].size as isize),
                            None => (std::ptr::null_mut(), 1),
                        };
                        let at = base.wrapping_offset(first as isize * step * size);
                        machine.views.add(v).write(View { at, row_step: 0, col_step: step });
                    }
                    machine.ahead.clear();
                    if far && first + TILE < to {
                        for (v, p) in pointers
                            .iter()
                            .enumerate()
                            .filter(|&(v, _)| broadcast >> v & 1 == 0 && !code.fetched[v])
                        {
                            let size = code.movers[v].size;
                            let bytes = TILE.min(to - first - TILE) * size;
                            machine.ahead.add(p.wrapping_add((first + TILE) * size), bytes);
                        }
                        machine.ahead.over(plan.sweeps[0].tiles.len());
                    }
                    let tile = Tile { rows: 1, cols: TILE.min(to - first), skip: 0, uneven: None };
                    Machine::run::<false>(from_mut(&mut machine), &plan.sweeps[0].tiles, tile)?;
                }
                Ok(())
            }
        })
    };
    if n == 0 {
        return Ok(());
    }
    if launch.inline(cost) {
        return part(0, n);
    }
    launch.parts(most, cost, &|i, of| {
        let tiles = n.div_ceil(TILE);
        part(tiles * i / of.1 * TILE, (tiles * of.0 / of.1 * TILE).min(n))
    })
}

/// The addresses of a launch.
#[derive(Clone, Copy)]
struct Pointers<'a>(&'a [*mut u8]);

// SAFETY: the parts of the launch touch distinct points.
unsafe impl Sync for Pointers<'_> {}

impl<'a> Pointers<'a> {
    fn get(self) -> &'a [*mut u8] {
        self.0
    }
}
