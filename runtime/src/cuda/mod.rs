//! CUDA devices, opened lazily: a machine without a driver, a GPU or the compiler's library gets a typed error.
//!
//! `libraries` finds shared libraries before the first call into them (the bindings panic in a library that is not
//! there). `context` holds one device's context and stream and turns status codes into errors; `memory` caches its
//! memory; `compile` makes machine code and keeps it on disk; `loops` and `gemm`
//! launch kernels made of text, `cublaslt` speaks to the library of products, `routines` runs routines on host copies.
//! The kernels' text comes from `kernels::cuda`.

mod cache;
mod compile;
mod context;
mod cublaslt;
mod gemm;
mod libraries;
mod loops;
mod memory;
mod routines;

use crate::device::{Device, DeviceId, Event, RawBuffer, Work, index_error};
use crate::error::{Error, ErrorKind, Result};
use crate::profile::{self, Bucket};
use context::{Context, Mark};
use kernels::cuda::FAULT_BYTES;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Devices of one machine that have a name here.
const DEVICES: usize = 16;

/// The CUDA device with this ordinal. The first call for an ordinal opens it; what came of that is remembered.
pub fn open(ordinal: u8) -> Result<&'static dyn Device> {
    static OPEN: [OnceLock<Result<Cuda>>; DEVICES] = [const { OnceLock::new() }; DEVICES];
    let Some(slot) = OPEN.get(ordinal as usize) else {
        return Err(unavailable(format!("there is no cuda:{ordinal}: at most {DEVICES} devices have names")));
    };
    let opened = slot.get_or_init(|| {
        // A driver older than the bindings lacks functions, and the bindings panic when one is called.
        catch_unwind(AssertUnwindSafe(|| Cuda::open(ordinal)))
            .unwrap_or_else(|_| Err(unavailable("the CUDA driver lacks a function that trifold needs")))
    });
    match opened {
        Ok(device) => Ok(device),
        Err(error) => Err(error.clone()),
    }
}

/// The error of a machine where CUDA cannot be used.
#[cold]
pub(crate) fn unavailable(reason: impl Into<String>) -> Error {
    Error::new(ErrorKind::CudaUnavailable, reason)
}

/// One GPU.
pub struct Cuda {
    context: Context,
    memory: memory::Memory,
    products: gemm::Products,
    /// Where kernels report an index out of range; one record, since one such error ends the computation.
    fault: u64,
    /// Whether a kernel that may report one has been launched since the record was read.
    may_fault: AtomicBool,
}

impl Cuda {
    fn open(ordinal: u8) -> Result<Cuda> {
        let context = Context::open(ordinal)?;
        libraries::nvrtc()?;
        let fault = context.allocate(FAULT_BYTES)?.ok_or_else(|| {
            Error::new(
                ErrorKind::OutOfMemory,
                format!("cuda:{ordinal} has not even {FAULT_BYTES} bytes left"),
            )
        })?;
        context.zero(fault, FAULT_BYTES)?;
        Ok(Cuda {
            context,
            memory: memory::Memory::default(),
            products: gemm::Products::default(),
            fault,
            may_fault: AtomicBool::new(false),
        })
    }

    /// Reads the record of an index out of range, after the stream has been waited for.
    fn check_fault(&self) -> Result<()> {
        if !self.may_fault.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let mut record = [0u8; FAULT_BYTES];
        self.context.copy_out(self.fault, &mut record)?;
        self.context.wait()?;
        let word = |at: usize| i64::from_ne_bytes(std::array::from_fn(|i| record[at + i]));
        if u32::from_ne_bytes(std::array::from_fn(|i| record[i])) == 0 {
            return Ok(());
        }
        self.context.zero(self.fault, FAULT_BYTES)?;
        Err(index_error(word(8), word(16) as usize))
    }
}

impl Device for Cuda {
    fn id(&self) -> DeviceId {
        DeviceId::Cuda(self.context.ordinal)
    }

    fn describe(&self) -> String {
        let gib = self.context.total_bytes as f64 / (1u64 << 30) as f64;
        format!(
            "cuda:{} ({}, {}, {gib:.1} GiB)",
            self.context.ordinal, self.context.name, self.context.architecture
        )
    }

    fn alloc(&self, bytes: usize) -> Result<RawBuffer> {
        self.memory.take(&self.context, bytes)
    }

    fn free(&self, buffer: RawBuffer) {
        self.memory.give(buffer);
    }

    unsafe fn copy_in(&self, source: &[u8], target: *mut u8) -> Result<()> {
        self.context.copy_in(source, target as u64)
    }

    unsafe fn copy_out(&self, source: *const u8, target: &mut [u8]) -> Result<()> {
        let _wait = profile::timed(Bucket::Wait);
        self.context.copy_out(source as u64, target)?;
        self.context.wait()?;
        self.check_fault()
    }

    unsafe fn run(&self, work: &Work, pointers: &[*mut u8]) -> Result<()> {
        let _launch = profile::timed(Bucket::Launch);
        match work {
            Work::Loop(kernel, space, params) => self.run_loop(kernel, space, params, pointers),
            Work::Gemm(product) => self.run_product(product, pointers),
            Work::Routine(routine) => self.run_routine(routine, pointers),
        }
    }

    fn sync(&self) -> Result<()> {
        let _wait = profile::timed(Bucket::Wait);
        self.context.wait()?;
        self.check_fault()
    }

    fn record(&self) -> Result<Box<dyn Event>> {
        Ok(Box::new(Mark::record(&self.context)?))
    }

    fn empty_cache(&self) {
        self.memory.release(&self.context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds on machines with and without a GPU: opening never panics, and failing says why.
    #[test]
    fn opening_gives_a_device_or_a_reason() {
        match open(0) {
            Ok(device) => assert_eq!(device.id(), DeviceId::Cuda(0)),
            Err(error) => {
                println!("no device: {error}");
                assert_eq!(error.kind(), ErrorKind::CudaUnavailable);
                assert!(!error.message().is_empty());
            }
        }
        let missing = open(15).err().or_else(|| open(200).err()).expect("no machine has that many devices");
        assert_eq!(missing.kind(), ErrorKind::CudaUnavailable);
    }
}
