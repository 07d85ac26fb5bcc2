//! Programs of one kernel over contiguous operands, as eager execution launches them by the million.
//!
//! Such a program needs no tile, no slot and no scratch memory: the kernel runs over the tensors themselves.

use super::kernel::{CHUNK, Kernel};
use super::plan::{Block, Code, NONE, SlotId, Step, Uniform};
use super::{Launch, PART_NANOSECONDS};
use crate::dtype::DType;
use crate::loops::IndexOutOfRange;
use std::mem::MaybeUninit;

/// Where an operand comes from.
#[derive(Clone, Copy)]
enum Source {
    /// An access, and the bytes of its elements.
    Access(u16, u8),
    /// A constant of the code.
    Constant(u16),
    /// A launch parameter.
    Param(u16, DType),
    /// The same as the first operand.
    First,
}

/// The one kernel of a program.
pub(super) struct Simple {
    kernel: Kernel,
    sources: [Source; 3],
    out: u16,
    out_size: u8,
    /// The accesses of the operands, where each is one.
    accesses: Option<[u16; 3]>,
    /// Fewer points are not worth another thread.
    small: usize,
}

impl Simple {
    /// The one kernel of a program that has no other.
    pub(super) fn of(code: &Code) -> Option<Simple> {
        if !code.map || code.sequential || !code.head.is_empty() || code.movers.len() > 32 {
            return None;
        }
        let steps = &code.kept.sweeps.first()?.tiles;
        let mut compute = None;
        for step in steps {
            match *step {
                Step::Load { .. } => {}
                Step::Compute { kernel, args, dst, direct, round: None, .. }
                    if compute.is_none() && direct != NONE =>
                {
                    compute = Some((kernel, args, dst, direct));
                }
                Step::Store { access, arg } if matches!(compute, Some((_, _, dst, out)) if dst == arg && out == access) =>
                    {}
                _ => return None,
            }
        }
        let (kernel, args, _, out) = compute?;
        let source = |slot: SlotId| {
            let load = steps.iter().find_map(|step| match *step {
                Step::Load { access, dst, copy: false, .. } if dst == slot => Some(access),
                _ => None,
            });
            if let Some(access) = load {
                let mover = &code.movers[access as usize];
                return mover.widen.is_none().then_some(Source::Access(access, mover.size as u8));
            }
            if let Some(at) = code.constants.iter().position(|(dst, _)| *dst == slot) {
                return Some(Source::Constant(at as u16));
            }
            code.uniforms.iter().find_map(|uniform| match *uniform {
                Uniform::Param { param, dtype, dst, .. } if dst == slot => Some(Source::Param(param, dtype)),
                _ => None,
            })
        };
        let sources = [
            source(args[0])?,
            if args[1] == args[0] { Source::First } else { source(args[1])? },
            if args[2] == args[0] { Source::First } else { source(args[2])? },
        ];
        let Source::Access(first, _) = sources[0] else {
            return Some(Simple::new(code, kernel, sources, out, None));
        };
        let access = |source: Source| match source {
            Source::Access(access, _) => Some(access),
            Source::First => Some(first),
            Source::Constant(_) | Source::Param(..) => None,
        };
        let accesses = || Some([first, access(sources[1])?, access(sources[2])?]);
        Some(Simple::new(code, kernel, sources, out, accesses()))
    }

    fn new(
        code: &Code,
        kernel: Kernel,
        sources: [Source; 3],
        out: u16,
        accesses: Option<[u16; 3]>,
    ) -> Simple {
        let cost = code.kept.sweeps.iter().map(|s| s.cost as u64).sum::<u64>().max(1);
        let small = (2 * PART_NANOSECONDS * 1000 / cost) as usize;
        Simple { kernel, sources, out, out_size: code.movers[out as usize].size as u8, accesses, small }
    }

    /// Runs it over `n` points if they are few and every operand is an access that steps; says whether it did.
    ///
    /// # Safety
    /// As `CompiledLoop::run_flat`.
    #[inline(always)]
    pub(super) unsafe fn run_small(&self, n: usize, pointers: &[*mut u8], broadcast: u32) -> bool {
        let Some([a, b, c]) = self.accesses else { return false };
        if broadcast != 0 || n >= self.small {
            return false;
        }
        let at = |access: u16| pointers[access as usize];
        // SAFETY: the caller's contract.
        unsafe { (self.kernel)(at(self.out), at(a), at(b), at(c), 7, n) };
        true
    }

    /// Runs it over `n` points; `None` where no operand steps, which tiles do.
    ///
    /// # Safety
    /// As `CompiledLoop::run_flat`.
    pub(super) unsafe fn run(
        &self,
        launch: &Launch<'_>,
        n: usize,
        pointers: &[*mut u8],
        broadcast: u32,
    ) -> Option<Result<(), IndexOutOfRange>> {
        let mut blocks = [const { MaybeUninit::<Block>::uninit() }; 3];
        let mut operands = [std::ptr::null_mut::<u8>(); 3];
        let mut sizes = [0usize; 3];
        let mut steps = 0;
        for i in 0..3 {
            let block: *mut Block = blocks[i].as_mut_ptr();
            match self.sources[i] {
                Source::Access(access, size) if broadcast >> access & 1 == 0 => {
                    (operands[i], sizes[i]) = (pointers[access as usize], size as usize);
                    steps |= 1 << i;
                }
                Source::Access(access, size) => {
                    let from = pointers[access as usize];
                    // SAFETY: a broadcast access is valid for one element, a block for sixteen lanes of any type.
                    unsafe {
                        match size {
                            1 => (block as *mut [u8; CHUNK]).write([*from; CHUNK]),
                            4 => (block as *mut [u32; CHUNK]).write([*(from as *const u32); CHUNK]),
                            _ => (block as *mut [u64; CHUNK]).write([*(from as *const u64); CHUNK]),
                        }
                    }
                    operands[i] = block.cast();
                }
                Source::Constant(at) => {
                    operands[i] = launch.code.constants[at as usize].1.0.as_ptr().cast_mut()
                }
                Source::Param(param, dtype) => {
                    // SAFETY: the block is ours.
                    unsafe { block.write(Block::of(launch.params[param as usize], dtype)) };
                    operands[i] = block.cast();
                }
                Source::First => {
                    (operands[i], sizes[i]) = (operands[0], sizes[0]);
                    steps |= (steps & 1) << i;
                }
            }
        }
        if steps == 0 {
            return None;
        }
        let out = pointers[self.out as usize];
        let cost = n as u64 * launch.code.kept.sweeps[0].cost as u64 / 1000;
        if launch.inline(cost) {
            // SAFETY: the caller's contract.
            unsafe { (self.kernel)(out, operands[0], operands[1], operands[2], steps, n) };
            return Some(Ok(()));
        }
        let shared = &Shared { out, operands };
        let tiles = n.div_ceil(CHUNK);
        Some(launch.parts(tiles, cost, &|i, of| {
            let (from, to) = (tiles * i / of.1 * CHUNK, (tiles * of.0 / of.1 * CHUNK).min(n));
            let Shared { out, operands } = *shared;
            let at = |i: usize| operands[i].wrapping_add(from * sizes[i]);
            // SAFETY: the caller's contract; parts are distinct.
            unsafe {
                (self.kernel)(out.add(from * self.out_size as usize), at(0), at(1), at(2), steps, to - from)
            };
            Ok(())
        }))
    }
}

/// The addresses of a launch.
#[derive(Clone, Copy)]
struct Shared {
    out: *mut u8,
    operands: [*mut u8; 3],
}

// SAFETY: the parts of the launch touch distinct points.
unsafe impl Sync for Shared {}
