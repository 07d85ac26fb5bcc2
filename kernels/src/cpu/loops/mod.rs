//! The CPU compiler of loop programs: decoded steps over tiles that stay in cache.
//!
//! `compile` decides everything that does not depend on extents and addresses: which passes a row needs, which values
//! a pass computes, which kernel out of `tables` computes each, and in which scratch buffer. `run` cuts the space into
//! tiles and calls the kernels; it allocates nothing and asks nothing about the processor.
//!
//! The result has the same bits for every stride, strategy and number of threads.

mod access;
mod ahead;
mod chains;
mod compile;
mod kernel;
mod machine;
mod map;
mod plan;
mod rare;
mod rows;
mod schedule;
mod scratch;
mod simple;
mod space;
mod tables;

pub use compile::CompileError;

use super::isa::{Isa, isa, native};
use super::threads::Pool;
use crate::dtype::Scalar;
use crate::loops::{Geometry, IndexOutOfRange, Program};
use plan::Code;
use simple::Simple;
use space::Space;
use std::sync::Mutex;

/// A program compiled for this processor; it may run on several threads at once.
pub struct CompiledLoop {
    code: Code,
    simple: Option<Simple>,
}

/// Compiles a verified program.
pub fn compile(program: &Program) -> Result<CompiledLoop, CompileError> {
    compile_for(program, isa())
}

/// Compiles a verified program for a level of vector instructions, which the processor must have.
pub fn compile_for(program: &Program, isa: Isa) -> Result<CompiledLoop, CompileError> {
    compile_with(program, isa, native())
}

/// As `compile_for`; `native` says whether chains of steps become machine code. Either way gives the same bits.
pub fn compile_with(program: &Program, isa: Isa, native: bool) -> Result<CompiledLoop, CompileError> {
    let code = compile::compile(program, isa.min(Isa::highest()), native)?;
    Ok(CompiledLoop { simple: Simple::of(&code), code })
}

impl CompiledLoop {
    /// Runs the program over a space.
    ///
    /// # Safety
    /// `pointers[i]` is element 0 of the buffer of access i, aligned for its type, and every position that the
    /// geometry reaches lies in the buffer. Written buffers are not accessed by anyone else, and overlap read ones
    /// only if both accesses step identically. `params` are as many as the program has.
    pub unsafe fn run(
        &self,
        geometry: &Geometry,
        pointers: &[*mut u8],
        params: &[Scalar],
        pool: &Pool,
    ) -> Result<(), IndexOutOfRange> {
        let launch = Launch { code: &self.code, params, pool };
        if let Some(simple) = &self.simple
            && let Some((n, broadcast)) = flat(geometry)
        {
            // SAFETY: the caller's contract.
            unsafe {
                if simple.run_small(n, pointers, broadcast) {
                    return Ok(());
                }
                if let Some(outcome) = simple.run(&launch, n, pointers, broadcast) {
                    return outcome;
                }
            }
        }
        let space = Space::new(&self.code, geometry, pointers);
        // SAFETY: the caller's contract.
        unsafe {
            match self.code.map {
                true => map::run(&launch, &space),
                false => rows::run(&launch, &space),
            }
        }
    }

    /// Runs a program without reductions over `n` points in one outer axis, where every access steps by 1, or by 0
    /// where its bit of `broadcast` is set.
    ///
    /// # Safety
    /// As `run`; the program has no reductions, scans or indices.
    #[inline]
    pub unsafe fn run_flat(
        &self,
        n: usize,
        pointers: &[*mut u8],
        broadcast: u32,
        params: &[Scalar],
        pool: &Pool,
    ) -> Result<(), IndexOutOfRange> {
        // SAFETY: the caller's contract.
        unsafe {
            match &self.simple {
                Some(simple) if simple.run_small(n, pointers, broadcast) => Ok(()),
                _ => self.run_long(n, pointers, broadcast, params, pool),
            }
        }
    }

    /// `run_flat` for what is more than a call of one kernel.
    ///
    /// # Safety
    /// As `run_flat`.
    #[inline(never)]
    unsafe fn run_long(
        &self,
        n: usize,
        pointers: &[*mut u8],
        broadcast: u32,
        params: &[Scalar],
        pool: &Pool,
    ) -> Result<(), IndexOutOfRange> {
        let launch = Launch { code: &self.code, params, pool };
        // SAFETY: the caller's contract.
        unsafe {
            if let Some(simple) = &self.simple
                && let Some(outcome) = simple.run(&launch, n, pointers, broadcast)
            {
                return outcome;
            }
            map::run_flat(&launch, n, pointers, broadcast)
        }
    }
}

/// The points and the broadcast accesses of a space that `run_flat` could run.
fn flat(geometry: &Geometry) -> Option<(usize, u32)> {
    let (&[n], &[]) = (&*geometry.outer, &*geometry.inner) else { return None };
    let mut broadcast = 0;
    for (i, access) in geometry.accesses.iter().enumerate() {
        match (access.offset, access.strides[0]) {
            (0, 1) => {}
            (0, 0) => broadcast |= 1 << i,
            _ => return None,
        }
    }
    Some((n, broadcast))
}

/// What all parts of one launch share.
struct Launch<'a> {
    code: &'a Code,
    params: &'a [Scalar],
    pool: &'a Pool,
}

/// A part that costs less than this is not worth another thread.
const PART_NANOSECONDS: u64 = 5_000;

impl Launch<'_> {
    #[inline]
    fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Whether work of this many nanoseconds is done by the caller alone.
    #[inline]
    fn inline(&self, nanoseconds: u64) -> bool {
        nanoseconds < 2 * PART_NANOSECONDS || self.threads() == 1
    }

    /// Calls `part(i, (i + 1, parts))` for as many parts as the work is worth, and gives the error of the first part
    /// that has one.
    fn parts(
        &self,
        most: usize,
        nanoseconds: u64,
        part: &(dyn Fn(usize, (usize, usize)) -> Result<(), IndexOutOfRange> + Sync),
    ) -> Result<(), IndexOutOfRange> {
        let parts = match self.inline(nanoseconds) {
            true => 1,
            false => most.min((nanoseconds / PART_NANOSECONDS) as usize).min(4 * self.threads()),
        };
        if parts <= 1 {
            return part(0, (1, 1));
        }
        let first = Mutex::new(None);
        self.pool.run(parts, &|i| {
            if let Err(error) = part(i, (i + 1, parts)) {
                let mut first = first.lock().unwrap_or_else(|e| e.into_inner());
                if first.is_none_or(|(at, _)| i < at) {
                    *first = Some((i, error));
                }
            }
        });
        match first.into_inner().unwrap_or_else(|e| e.into_inner()) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// The kernels themselves, for the tests of `cpu::math`.
#[cfg(test)]
pub(super) mod kernels_for_tests {
    pub(crate) use super::tables::{binary, unary};
}

#[cfg(test)]
mod chain_tests;
#[cfg(test)]
mod tests;
