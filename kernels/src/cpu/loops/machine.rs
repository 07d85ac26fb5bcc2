//! Runs decoded steps over one tile.
//!
//! The machine knows nothing of strategies: whoever drives it says which box of points the tile is and where each
//! access begins, and it leaves each value in its slot.

use super::access::{self, Box2};
use super::ahead::Ahead;
use super::kernel::CHUNK;
use super::plan::*;
use crate::dtype::Scalar;
use crate::loops::IndexOutOfRange;

/// Where a value is while a tile is computed.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) ptr: *mut u8,
    /// 1 for a vector, 0 for sixteen equal lanes.
    pub(super) step: usize,
    /// Elements from one row of the tile to the next, where that is not the number of columns; else 0.
    pub(super) line: isize,
}

/// Where an access stands and how it steps over the tile; `at` is the coordinate itself for an affine view.
#[derive(Clone, Copy)]
pub(super) struct View {
    pub(super) at: *mut u8,
    pub(super) row_step: isize,
    pub(super) col_step: isize,
}

/// Which points a tile is.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Rows before the tile.
    pub(super) skip: usize,
    /// The axes that the rows are numbered over, where they are more than one: rows then step unevenly.
    pub(super) uneven: Option<&'a Uneven<'a>>,
}

/// Inner axes that do not merge: extents, and steps of every view (view-major).
pub(super) struct Uneven<'a> {
    pub(super) extents: &'a [usize],
    pub(super) steps: &'a [isize],
}

/// The pieces of memory that a machine uses.
pub(super) struct Sizes {
    /// Points of a tile.
    pub(super) tile: usize,
    /// Outer points side by side.
    pub(super) width: usize,
}

/// The state of one thread's execution.
pub(super) struct Machine<'c> {
    pub(super) code: &'c Code,
    pub(super) slots: *mut Slot,
    pub(super) views: *mut View,
    pub(super) gathers: &'c [(usize, isize)],
    buffers: *mut u8,
    buffer_size: usize,
    rows: *mut u8,
    row_size: usize,
    pub(super) spare: *mut u8,
    states: *mut u8,
    state_size: usize,
    pub(super) width: usize,
    pub(super) ahead: Ahead,
}

const fn aligned(size: usize) -> usize {
    size.next_multiple_of(64)
}

impl<'c> Machine<'c> {
    fn parts(code: &Code, buffers: usize, sizes: &Sizes) -> [usize; 6] {
        let views = code.movers.len() + code.affines.len();
        let tile = Self::buffer_size(code, sizes);
        let state = Self::state_size(code, sizes);
        [
            aligned(code.slots * size_of::<Slot>()),
            aligned(views * size_of::<View>()),
            tile * buffers,
            tile,
            Self::row_size(sizes) * code.row_buffers,
            state * code.reductions.len(),
        ]
    }

    /// A whole number of chunks, and a line more, so that equal positions of two buffers fall into different sets.
    fn buffer_size(code: &Code, sizes: &Sizes) -> usize {
        aligned(sizes.tile.next_multiple_of(CHUNK) * code.lane) + 64
    }

    fn row_size(sizes: &Sizes) -> usize {
        aligned(sizes.width.max(CHUNK) * 8)
    }

    /// Sixteen lanes and a total of the widest accumulator.
    fn state_size(code: &Code, sizes: &Sizes) -> usize {
        let widest = code.reductions.iter().map(|r| r.reducer.size).max().unwrap_or(0);
        aligned(widest * sizes.width * (CHUNK + 1))
    }

    /// Bytes of scratch memory.
    pub(super) fn size(code: &Code, buffers: usize, sizes: &Sizes) -> usize {
        Self::parts(code, buffers, sizes).iter().sum()
    }

    /// A machine in this scratch memory, with the values of the launch computed.
    ///
    /// # Safety
    /// `memory` is 64-byte aligned and valid for `size` bytes.
    pub(super) unsafe fn new(
        code: &'c Code,
        buffers: usize,
        sizes: &Sizes,
        gathers: &'c [(usize, isize)],
        memory: *mut u8,
    ) -> Machine<'c> {
        let parts = Self::parts(code, buffers, sizes);
        let mut at = memory;
        let mut next = |i: usize| {
            let here = at;
            // SAFETY: the parts add up to the size of the memory.
            at = unsafe { at.add(parts[i]) };
            here
        };
        Machine {
            code,
            slots: next(0).cast(),
            views: next(1).cast(),
            buffers: next(2),
            spare: next(3),
            rows: next(4),
            states: next(5),
            gathers,
            buffer_size: Self::buffer_size(code, sizes),
            row_size: Self::row_size(sizes),
            state_size: Self::state_size(code, sizes),
            width: sizes.width,
            ahead: Ahead::new(),
        }
    }

    /// Computes the values of the launch.
    ///
    /// # Safety
    /// The machine's memory is still its own.
    pub(super) unsafe fn begin(&mut self, params: &[Scalar], extent: usize) {
        // SAFETY: slots and row buffers are within the machine's memory; uniform steps touch no tensor.
        unsafe {
            for (slot, block) in &self.code.constants {
                self.put(*slot, block.0.as_ptr().cast_mut(), 0);
            }
            for uniform in &self.code.uniforms {
                let (value, dtype, dst, buffer) = match *uniform {
                    Uniform::Param { param, dtype, dst, buffer } => {
                        (params[param as usize], dtype, dst, buffer)
                    }
                    Uniform::Extent { dtype, dst, buffer } => {
                        (Scalar::Int(extent as i64), dtype, dst, buffer)
                    }
                };
                let at = self.row(buffer);
                (at as *mut Block).write(Block::of(value, dtype));
                self.put(dst, at, 0);
            }
            for step in &self.code.head {
                if let Step::Compute { kernel, args, dst, buffer, round, .. } = *step {
                    let at = self.row(buffer);
                    let [a, b, c] = args.map(|s| self.slot(s).ptr);
                    kernel(at, a, b, c, 0, CHUNK);
                    if let Some(round) = round {
                        round(at, at, at, at, 1, CHUNK);
                    }
                    self.put(dst, at, 0);
                }
            }
        }
    }

    #[inline(always)]
    pub(super) unsafe fn slot(&self, slot: SlotId) -> Slot {
        // SAFETY: slot numbers come from the compiler that counted them.
        unsafe { *self.slots.add(slot as usize) }
    }

    #[inline(always)]
    pub(super) unsafe fn put(&mut self, slot: SlotId, ptr: *mut u8, step: usize) {
        // SAFETY: as in `slot`.
        unsafe { self.slots.add(slot as usize).write(Slot { ptr, step, line: 0 }) }
    }

    #[inline(always)]
    pub(super) fn buffer(&self, buffer: BufferId) -> *mut u8 {
        // SAFETY: buffer numbers come from the compiler that counted them.
        unsafe { self.buffers.add(buffer as usize * self.buffer_size) }
    }

    #[inline(always)]
    pub(super) fn row(&self, buffer: BufferId) -> *mut u8 {
        // SAFETY: as in `buffer`.
        unsafe { self.rows.add(buffer as usize * self.row_size) }
    }

    /// The sixteen lanes and, behind them, the total of a reduction.
    pub(super) fn state(&self, reduction: u16) -> (*mut u8, *mut u8) {
        let lanes = self.code.reductions[reduction as usize].reducer.size * self.width * CHUNK;
        // SAFETY: within the states, which the compiler counted.
        unsafe {
            let state = self.states.add(reduction as usize * self.state_size);
            (state, state.add(lanes))
        }
    }

    #[inline(always)]
    pub(super) unsafe fn view(&self, view: u16) -> View {
        // SAFETY: view numbers come from the compiler that counted them.
        unsafe { *self.views.add(view as usize) }
    }

    /// The box of an access over a tile of even steps.
    #[inline(always)]
    pub(super) unsafe fn box_of(&self, access: u16, tile: &Tile<'_>) -> Box2 {
        // SAFETY: the positions of a tile lie in the access's buffer.
        unsafe {
            let view = self.view(access);
            let size = self.code.movers[access as usize].size as isize;
            let at = view.at.offset(tile.skip as isize * view.row_step * size);
            Box2 { at, rows: tile.rows, cols: tile.cols, row_step: view.row_step, col_step: view.col_step }
                .line()
        }
    }

    /// Runs steps over one tile of each machine, step by step: the processor foresees where a step leads if it has just
    /// been there. `ROWS` steps compute row values: into row buffers, one lane (as sixteen equal ones) or `width` lanes.
    ///
    /// # Safety
    /// Views point into the tensors so that each point of the tiles is valid; steps belong to the machines' one code.
    pub(super) unsafe fn run<const ROWS: bool>(
        machines: &mut [Machine<'_>],
        steps: &[Step],
        tile: Tile<'_>,
    ) -> Result<(), IndexOutOfRange> {
        for step in steps {
            for machine in machines.iter_mut() {
                machine.ahead.step();
                // SAFETY: the caller's contract.
                unsafe { machine.one::<ROWS>(step, &tile)? }
            }
        }
        Ok(())
    }

    /// # Safety
    /// As `run`.
    #[inline(always)]
    unsafe fn one<const ROWS: bool>(&mut self, step: &Step, tile: &Tile<'_>) -> Result<(), IndexOutOfRange> {
        let n = tile.rows * tile.cols;
        // SAFETY: the caller's contract.
        unsafe {
            match *step {
                Step::Compute { kernel, args, dst, buffer, direct, round } => {
                    let [a, b, c] = args.map(|s| self.slot(s));
                    let steps = a.step | b.step << 1 | c.step << 2;
                    let (at, count) = match steps {
                        _ if ROWS => (self.row(buffer), if steps == 0 { CHUNK } else { n }),
                        0 => (self.buffer(buffer), CHUNK),
                        _ => (self.target(buffer, direct, tile), n),
                    };
                    kernel(at, a.ptr, b.ptr, c.ptr, steps, count);
                    if let Some(round) = round {
                        round(at, at, at, at, 1, count);
                    }
                    self.put(dst, at, (steps != 0) as usize);
                }
                Step::Load { access, dst, buffer, copy, lines } => {
                    self.load::<ROWS>(access, dst, buffer, copy, lines, tile)
                }
                Step::Store { access, arg } => match tile.uneven {
                    None => {
                        let mover = &self.code.movers[access as usize];
                        let (value, to) = (self.slot(arg), self.box_of(access, tile));
                        if value.ptr != to.at || value.step == 0 {
                            access::store(mover, to, value.ptr, value.step, self.spare);
                        }
                    }
                    Some(_) => self.store_uneven(access, arg, tile)?,
                },
                Step::Reduce { reduction, arg } => {
                    let value = self.slot(arg);
                    let add = self.code.reductions[reduction as usize].reducer.add;
                    let line = if value.line == 0 { self.width as isize } else { value.line };
                    add(
                        self.state(reduction).0,
                        value.ptr,
                        value.step,
                        n,
                        self.width,
                        tile.skip as i64,
                        line,
                    );
                }
                Step::Finish { reduction, dst, buffer, round } => {
                    let at = self.row(buffer);
                    let reducer = &self.code.reductions[reduction as usize].reducer;
                    (reducer.finish)(self.state(reduction).1, at, self.width);
                    if let Some(round) = round {
                        round(at, at, at, at, 1, self.width.max(CHUNK));
                    }
                    self.put(dst, at, (self.width > 1) as usize);
                }
                Step::Chain(at) => self.chain(at, tile)?,
                Step::Rare(rare) => self.rare::<ROWS>(rare, tile)?,
            }
        }
        Ok(())
    }

    /// Runs a chain over a tile.
    ///
    /// # Safety
    /// As `run`.
    #[inline(never)]
    unsafe fn chain(&mut self, at: u16, tile: &Tile<'_>) -> Result<(), IndexOutOfRange> {
        let chain = &self.code.chains[at as usize];
        // SAFETY: the caller's contract; slots and buffers are those of the compiler that made the chain.
        unsafe {
            if self.width > 1 && !chain.folds.is_empty() {
                for step in &chain.steps {
                    self.one::<false>(step, tile)?;
                }
                return Ok(());
            }
            let n = tile.rows * tile.cols;
            for &(slot, buffer, direct) in &chain.outputs {
                self.put(slot, self.target(buffer, direct, tile), 1);
            }
            let fetch = self.ahead.take(n / CHUNK);
            chain.native.run(n, fetch, |mut words| {
                let mut put = |word: usize| {
                    words.write(word);
                    words = words.add(1);
                };
                for &input in &chain.inputs {
                    let Slot { ptr, step, .. } = self.slot(input);
                    put(ptr as usize);
                    put(step * CHUNK * size_of::<f32>());
                }
                chain.outputs.iter().for_each(|&(slot, ..)| put(self.slot(slot).ptr as usize));
                chain.folds.iter().for_each(|&fold| put(self.state(fold).0 as usize));
            });
        }
        Ok(())
    }

    /// Where a value of a tile is written: its buffer, or its place in a tensor where that is one piece.
    #[inline(always)]
    unsafe fn target(&self, buffer: BufferId, direct: u16, tile: &Tile<'_>) -> *mut u8 {
        if direct != NONE && tile.uneven.is_none() {
            // SAFETY: the positions of a tile lie in the access's buffer.
            let to = unsafe { self.box_of(direct, tile) };
            if to.packed() {
                return to.at;
            }
        }
        self.buffer(buffer)
    }

    #[inline(always)]
    unsafe fn load<const ROWS: bool>(
        &mut self,
        access: u16,
        dst: SlotId,
        buffer: BufferId,
        copy: bool,
        lines: bool,
        tile: &Tile<'_>,
    ) {
        let mover = &self.code.movers[access as usize];
        let at = if ROWS { self.row(buffer) } else { self.buffer(buffer) };
        // SAFETY: the positions of a tile lie in the access's buffer.
        unsafe {
            if let Some(uneven) = tile.uneven {
                return self.load_uneven(access, dst, at, tile, uneven);
            }
            let from = self.box_of(access, tile);
            let scalar = ROWS && self.width == 1;
            if !scalar && !copy && from.packed() && mover.widen.is_none() {
                self.put(dst, from.at, 1);
            } else if lines
                && !scalar
                && from.col_step == 1
                && from.rows > 1
                && from.row_step != 0
                && mover.widen.is_none()
            {
                self.slots.add(dst as usize).write(Slot { ptr: from.at, step: 1, line: from.row_step });
            } else if scalar || from.constant() {
                access::splat(mover, at, from.at);
                self.put(dst, at, 0);
            } else {
                access::load(mover, at, from);
                self.put(dst, at, 1);
            }
        }
    }
}
