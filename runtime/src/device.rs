//! Devices: who owns memory and runs kernels. Eager calls and compiled plans launch through the same function,
//! `launch`; nothing else calls `Device::run`.

use crate::alloc;
use crate::error::{Error, ErrorKind, Result};
use kernels::Scalar;
use kernels::cpu::gemm::{Gemm, MatrixGeometry};
use kernels::cpu::loops::CompiledLoop;
use kernels::loops::{Geometry, Program};
use kernels::routines::{Failure, Reason, Routine};
use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A device, as tensors name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum DeviceId {
    /// The host's processor.
    Cpu,
    /// A CUDA device by ordinal.
    Cuda(u8),
    /// A device that owns no memory and only logs what is asked of it.
    Null,
}

impl DeviceId {
    /// `cpu`, `cuda`, `cuda:1` or `null`.
    pub fn parse(text: &str) -> Result<DeviceId> {
        match text {
            "cpu" => Ok(DeviceId::Cpu),
            "cuda" => Ok(DeviceId::Cuda(0)),
            "null" => Ok(DeviceId::Null),
            _ => {
                text.strip_prefix("cuda:").and_then(|n| n.parse().ok()).map(DeviceId::Cuda).ok_or_else(|| {
                    Error::value(format!("unknown device '{text}'")).hint("use cpu, cuda or cuda:N")
                })
            }
        }
    }

    /// The open device. Opening CUDA for the first time looks for the driver and its libraries; where they are absent
    /// this is an error of kind `CudaUnavailable`, never a panic.
    pub fn open(self) -> Result<&'static dyn Device> {
        match self {
            DeviceId::Cpu => Ok(&crate::cpu::CPU),
            DeviceId::Null => Ok(crate::null::device()),
            DeviceId::Cuda(ordinal) => crate::cuda::open(ordinal),
        }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceId::Cpu => f.write_str("cpu"),
            DeviceId::Cuda(n) => write!(f, "cuda:{n}"),
            DeviceId::Null => f.write_str("null"),
        }
    }
}

/// Memory of a device: an address there and the bytes that were asked for.
#[derive(Clone, Copy, Debug)]
pub struct RawBuffer {
    /// Address on the device, 64-byte aligned; dangling for 0 bytes.
    pub pointer: *mut u8,
    /// Bytes asked for.
    pub bytes: usize,
}

// SAFETY: a RawBuffer is an address; whoever dereferences it answers for the access.
unsafe impl Send for RawBuffer {}
// SAFETY: as above.
unsafe impl Sync for RawBuffer {}

/// A loop program made ready for launching on any device; each device compiles it once, when it first runs there.
pub struct LoopKernel {
    /// The program.
    pub program: Program,
    cpu: OnceLock<CompiledLoop>,
    /// The CUDA device's compiled module.
    pub(crate) cuda: OnceLock<Arc<dyn Any + Send + Sync>>,
    bytes_per_point: u64,
}

impl LoopKernel {
    /// Wraps a verified program.
    pub fn new(program: Program) -> LoopKernel {
        let bytes_per_point = program.accesses.iter().map(|a| a.dtype.size() as u64).sum();
        LoopKernel { program, cpu: OnceLock::new(), cuda: OnceLock::new(), bytes_per_point }
    }

    /// The CPU code, compiled on first use.
    #[inline]
    pub fn cpu(&self) -> Result<&CompiledLoop> {
        match self.cpu.get() {
            Some(code) => Ok(code),
            None => self.compile_cpu(),
        }
    }

    #[cold]
    fn compile_cpu(&self) -> Result<&CompiledLoop> {
        let code = kernels::cpu::loops::compile(&self.program)
            .map_err(|e| Error::internal(format!("loop program does not compile: {e}")))?;
        Ok(self.cpu.get_or_init(|| code))
    }
}

impl fmt::Debug for LoopKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.program.fmt(f)
    }
}

/// The iteration space of one launch of a loop program.
#[derive(Clone, Copy, Debug)]
pub enum Space<'a> {
    /// `points` points in one axis; every access steps by one element, or by none where its bit in `broadcast` is set.
    Flat {
        /// Number of points.
        points: usize,
        /// Bit i: access i stays on its first element.
        broadcast: u32,
    },
    /// Any extents and strides.
    Strided(&'a Geometry),
}

/// One kernel launch but for its addresses.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// A loop program over a space with host numbers.
    Loop(&'a LoopKernel, Space<'a>, &'a [Scalar]),
    /// A (batched) matrix product; pointers are a, b, c and, if it adds one, the bias.
    Gemm(&'a Gemm),
    /// A routine; pointers are its operands.
    Routine(&'a Routine),
}

impl Work<'_> {
    /// Bytes read and written: for each access, every distinct element once.
    #[inline(always)]
    pub fn bytes(&self) -> u64 {
        match self {
            Work::Loop(kernel, Space::Flat { points, broadcast: 0 }, _) => {
                kernel.bytes_per_point * *points as u64
            }
            _ => self.count_bytes(),
        }
    }

    fn count_bytes(&self) -> u64 {
        match self {
            Work::Loop(kernel, Space::Flat { points, broadcast }, _) => {
                let each = kernel.program.accesses.iter().enumerate();
                each.map(|(i, a)| {
                    a.dtype.size() as u64 * if broadcast >> i & 1 == 1 { 1 } else { *points as u64 }
                })
                .sum()
            }
            Work::Loop(kernel, Space::Strided(geometry), _) => {
                let extents = || geometry.outer.iter().chain(&geometry.inner);
                let each = kernel.program.accesses.iter().zip(&geometry.accesses);
                each.map(|(access, where_)| {
                    let distinct: usize = extents()
                        .zip(&where_.strides)
                        .map(|(&n, &s)| if s == 0 { n.min(1) } else { n })
                        .product();
                    (access.dtype.size() * distinct) as u64
                })
                .sum()
            }
            Work::Gemm(gemm) => gemm_bytes(gemm),
            Work::Routine(routine) => routine.bytes(),
        }
    }
}

fn gemm_bytes(gemm: &Gemm) -> u64 {
    let matrices = |g: &MatrixGeometry| -> usize {
        gemm.batch.iter().zip(&g.batch_strides).map(|(&n, &s)| if s == 0 { n.min(1) } else { n }).product()
    };
    let elements = matrices(&gemm.a) * gemm.m * gemm.k
        + matrices(&gemm.b) * gemm.k * gemm.n
        + matrices(&gemm.c) * gemm.m * gemm.n * if gemm.accumulate { 2 } else { 1 }
        + if gemm.bias { gemm.n } else { 0 };
    (elements * gemm.dtype.size()) as u64
}

/// A point in a device's stream of work.
pub trait Event: Send + Sync {
    /// Waits until the work before it is done.
    fn wait(&self) -> Result<()>;
    /// Seconds of device time from `earlier` to this event.
    fn seconds_since(&self, earlier: &dyn Event) -> Result<f64>;
    /// For downcasting in `seconds_since`.
    fn as_any(&self) -> &dyn Any;
}

/// What a device can do. Work is ordered: what is asked later sees what was asked before.
pub trait Device: Send + Sync {
    /// Its name among tensors.
    fn id(&self) -> DeviceId;
    /// The hardware, in words.
    fn describe(&self) -> String;
    /// Memory with undefined contents, 64-byte aligned.
    fn alloc(&self, bytes: usize) -> Result<RawBuffer>;
    /// Takes memory back; queued work that uses it still completes.
    fn free(&self, buffer: RawBuffer);
    /// Copies from the host.
    ///
    /// # Safety
    /// `target` points to at least `source.len()` bytes of this device.
    unsafe fn copy_in(&self, source: &[u8], target: *mut u8) -> Result<()>;
    /// Copies to the host and waits for it.
    ///
    /// # Safety
    /// `source` points to at least `target.len()` initialised bytes of this device.
    unsafe fn copy_out(&self, source: *const u8, target: &mut [u8]) -> Result<()>;
    /// Starts a kernel. Called by `launch` alone.
    ///
    /// # Safety
    /// Each pointer, moved as the work's geometry says, stays inside live memory of this device.
    unsafe fn run(&self, work: &Work, pointers: &[*mut u8]) -> Result<()>;
    /// Waits for all work, and reports what failed in it (an index out of range, say).
    fn sync(&self) -> Result<()>;
    /// Marks the present end of the stream.
    fn record(&self) -> Result<Box<dyn Event>>;
    /// Gives cached memory back to the system.
    fn empty_cache(&self) {}
}

/// Runs one kernel on a device and counts it. `launch_counted` does the work.
///
/// # Safety
/// As `Device::run`.
#[inline]
pub unsafe fn launch(device: &dyn Device, work: &Work, pointers: &[*mut u8]) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { launch_counted(device, work, work.bytes(), pointers) }
}

/// `launch` for callers that have kept `work.bytes()`. The only caller of `Device::run`.
///
/// # Safety
/// As `Device::run`.
#[inline]
pub unsafe fn launch_counted(
    device: &dyn Device,
    work: &Work,
    bytes: u64,
    pointers: &[*mut u8],
) -> Result<()> {
    alloc::note_launch(bytes);
    // SAFETY: the caller's promise.
    unsafe { device.run(work, pointers) }
}

/// Counts work that an executor does itself instead of launching it: a loop in registers.
pub fn count_launch(bytes: u64) {
    alloc::note_launch(bytes);
}

/// The error of a gathered index outside its dimension.
#[cold]
pub fn index_error(index: i64, extent: usize) -> Error {
    Error::new(ErrorKind::Index, format!("index {index} is out of range for a dimension of size {extent}"))
}

/// The error of a routine that has no result for the values that it was given.
#[cold]
pub fn routine_error(failure: Failure) -> Error {
    match failure.reason {
        Reason::OutOfRange(place, extent) => index_error(place, extent),
        Reason::NotPositiveDefinite(_) | Reason::Singular(_) | Reason::NotFinite | Reason::NoConvergence => {
            Error::value(failure.to_string())
        }
    }
}
