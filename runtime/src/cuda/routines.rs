//! Routines on host copies: wait, copy out, run the CPU's code, copy in. Right on every device and slow on this one; an
//! order or a factorisation is seldom where a step spends its time, and a kernel of its own replaces it here alone.

use super::Cuda;
use crate::device::{Device, routine_error};
use crate::error::Result;
use kernels::cpu::threads;
use kernels::routines::Routine;

impl Cuda {
    /// Runs a routine whose operands lie at these device addresses.
    pub fn run_routine(&self, routine: &Routine, pointers: &[*mut u8]) -> Result<()> {
        let operands = routine.operands();
        let bytes = |i: usize| operands[i].elements * operands[i].dtype.size() * routine.batch;
        // Words of 16 bytes, so that every copy is aligned for every element type.
        let mut copies: Vec<Vec<u128>> =
            (0..operands.len()).map(|i| vec![0; bytes(i).div_ceil(16)]).collect();
        for (i, copy) in copies.iter_mut().enumerate().filter(|(i, _)| !operands[*i].writes && bytes(*i) > 0)
        {
            let target: &mut [u8] = &mut bytemuck::cast_slice_mut(copy)[..bytes(i)];
            // SAFETY: the operand has this many initialised bytes, by the caller's promise.
            unsafe { self.copy_out(pointers[i], target)? };
        }
        let host: Vec<*mut u8> = copies.iter_mut().map(|copy| copy.as_mut_ptr().cast()).collect();
        // SAFETY: each copy is as long as its operand, aligned, initialised, and apart from the others.
        unsafe { routine.run(&host, threads::global()) }.map_err(routine_error)?;
        for (i, copy) in copies.iter().enumerate().filter(|(i, _)| operands[*i].writes && bytes(*i) > 0) {
            let source: &[u8] = &bytemuck::cast_slice(copy)[..bytes(i)];
            // SAFETY: the operand has this many bytes, by the caller's promise.
            unsafe { self.copy_in(source, pointers[i])? };
        }
        self.sync()
    }
}
