//! One device's context and stream, and what status codes mean.
//!
//! All work of a device goes to one stream, in the order of the calls. A kernel that fails takes the whole context
//! with it: from then on every call returns the first failure's message and none reaches the driver.

use super::{libraries, unavailable};
use crate::device::Event;
use crate::error::{Error, ErrorKind, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUresult};
use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

/// The oldest driver that has every function that is called (`cuEventElapsedTime_v2`), as CUDA counts versions.
const OLDEST_DRIVER: i32 = 12_080;

/// An open device.
pub struct Context {
    /// Its ordinal.
    pub ordinal: u8,
    /// Its name.
    pub name: String,
    /// What to compile for: `sm_90`.
    pub architecture: String,
    /// Its memory.
    pub total_bytes: usize,
    context: sys::CUcontext,
    stream: sys::CUstream,
    poison: Arc<OnceLock<String>>,
}

// SAFETY: the driver's handles may be used from any thread; the fields are never changed after `open`.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

thread_local! {
    /// The context that this thread has made current.
    static CURRENT: Cell<sys::CUcontext> = const { Cell::new(std::ptr::null_mut()) };
}

impl Context {
    /// Opens the device's primary context, which is shared with any other library in the process.
    pub fn open(ordinal: u8) -> Result<Context> {
        libraries::driver()?;
        let refused = |what: &str, error: DriverError| unavailable(format!("{what}: {}", describe(error)));
        result::init().map_err(|e| refused("the CUDA driver does not start", e))?;
        let mut version = 0;
        // SAFETY: the pointer is good for one integer.
        unsafe { sys::cuDriverGetVersion(&mut version) }
            .result()
            .map_err(|e| refused("the CUDA driver does not tell its version", e))?;
        if version < OLDEST_DRIVER {
            let text = |v: i32| format!("{}.{}", v / 1000, v % 1000 / 10);
            return Err(unavailable(format!(
                "the driver supports CUDA {}, and trifold needs {}",
                text(version),
                text(OLDEST_DRIVER)
            ))
            .hint("update NVIDIA's driver"));
        }
        let count = result::device::get_count().map_err(|e| refused("devices cannot be counted", e))?;
        if ordinal as i32 >= count {
            return Err(unavailable(format!(
                "there is no cuda:{ordinal}: the driver sees {count} device(s)"
            )));
        }
        let open = || -> Result<Context, DriverError> {
            let device = result::device::get(ordinal as i32)?;
            // SAFETY: the device and then its context are the driver's own, just obtained; the context is never
            // released, since devices live as long as the process.
            unsafe {
                use sys::CUdevice_attribute_enum::*;
                let major =
                    result::device::get_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
                let minor =
                    result::device::get_attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
                let context = result::primary_ctx::retain(device)?;
                result::ctx::set_current(context)?;
                CURRENT.set(context);
                Ok(Context {
                    ordinal,
                    name: result::device::get_name(device)?,
                    architecture: format!("sm_{major}{minor}"),
                    total_bytes: result::device::total_mem(device)?,
                    context,
                    stream: result::stream::create(result::stream::StreamKind::NonBlocking)?,
                    poison: Arc::new(OnceLock::new()),
                })
            }
        };
        open().map_err(|e| refused(&format!("cuda:{ordinal} cannot be opened"), e))
    }

    /// Makes the context current for this thread, unless an earlier failure has made it unusable.
    #[inline]
    pub fn enter(&self) -> Result<()> {
        if let Some(message) = self.poison.get() {
            return Err(Error::new(ErrorKind::Device, message.clone()));
        }
        if CURRENT.get() != self.context {
            // SAFETY: the context is open for the rest of the process.
            self.check("its context cannot be made current", unsafe {
                result::ctx::set_current(self.context)
            })?;
            CURRENT.set(self.context);
        }
        Ok(())
    }

    /// The stream that all work goes to.
    pub fn stream(&self) -> sys::CUstream {
        self.stream
    }

    /// Turns a status into an error; one that ends the context is remembered.
    #[inline]
    pub fn check<T>(&self, what: &str, status: Result<T, DriverError>) -> Result<T> {
        status.map_err(|error| self.failed(what, error))
    }

    #[cold]
    fn failed(&self, what: &str, error: DriverError) -> Error {
        let message = format!("cuda:{}: {what}: {}", self.ordinal, describe(error));
        if is_final(error.0) {
            let lasting = format!(
                "cuda:{} is unusable since an earlier failure: {what}: {}",
                self.ordinal,
                describe(error)
            );
            let _ = self.poison.set(lasting);
        }
        let kind = match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => ErrorKind::OutOfMemory,
            _ => ErrorKind::Device,
        };
        Error::new(kind, message)
    }

    /// Fresh memory, or `None` where the device has too little.
    pub fn allocate(&self, bytes: usize) -> Result<Option<u64>> {
        self.enter()?;
        // SAFETY: a plain request; nobody reads the memory before writing it.
        match unsafe { result::malloc_sync(bytes) } {
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(None),
            other => self.check("memory cannot be allocated", other).map(Some),
        }
    }

    /// Gives memory back to the driver, which waits for all work first.
    pub fn release(&self, address: u64) -> Result<()> {
        self.enter()?;
        // SAFETY: the address came from `allocate`, and the caller has no further use for it.
        self.check("memory cannot be freed", unsafe { result::free_sync(address) })
    }

    /// Queues zeros.
    pub fn zero(&self, address: u64, bytes: usize) -> Result<()> {
        self.enter()?;
        // SAFETY: the caller's range lies in memory of this device.
        self.check("memory cannot be set", unsafe { result::memset_d8_async(address, 0, bytes, self.stream) })
    }

    /// Queues a copy from the host; the source has been read when this returns.
    pub fn copy_in(&self, source: &[u8], target: u64) -> Result<()> {
        self.enter()?;
        if source.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller's target is as long as the source. Pageable memory is staged before the call returns.
        self.check("a copy to the device failed", unsafe {
            result::memcpy_htod_async(target, source, self.stream)
        })
    }

    /// Queues a copy to the host; the target is whole after `wait`.
    pub fn copy_out(&self, source: u64, target: &mut [u8]) -> Result<()> {
        self.enter()?;
        if target.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller's source is as long as the target and waits before it looks.
        self.check("a copy from the device failed", unsafe {
            result::memcpy_dtoh_async(target, source, self.stream)
        })
    }

    /// Waits for all queued work.
    pub fn wait(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream is open for the rest of the process.
        self.check("a kernel failed", unsafe { result::stream::synchronize(self.stream) })
    }

    /// Loads machine code and finds one kernel in it.
    pub fn load(&self, code: &[u8], entry: &std::ffi::CStr) -> Result<Function> {
        self.enter()?;
        // SAFETY: the image is a whole CUBIN; the module is never unloaded, so the function stays good.
        let function = unsafe {
            let mut module = std::ptr::null_mut();
            let loaded = sys::cuModuleLoadData(&mut module, code.as_ptr().cast()).result();
            self.check("machine code does not load", loaded)?;
            let mut function = std::ptr::null_mut();
            let found = sys::cuModuleGetFunction(&mut function, module, entry.as_ptr()).result();
            self.check("the kernel is not in its module", found)?;
            function
        };
        Ok(Function(function))
    }

    /// Queues a kernel whose only argument is the block `arguments`.
    #[inline]
    pub fn launch(&self, function: &Function, grid: [u32; 3], threads: u32, arguments: &[u8]) -> Result<()> {
        self.enter()?;
        let mut parameters = [arguments.as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: the function takes one struct of exactly this block's layout, which the driver copies during the
        // call; the caller answers for the pointers in it.
        self.check("a kernel does not start", unsafe {
            result::launch_kernel(
                function.0,
                (grid[0], grid[1], grid[2]),
                (threads, 1, 1),
                0,
                self.stream,
                &mut parameters,
            )
        })
    }
}

/// A kernel, loaded.
#[derive(Clone, Copy)]
pub struct Function(sys::CUfunction);

// SAFETY: a handle of the driver, good from any thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// The driver's name and text for a status.
fn describe(error: DriverError) -> String {
    let name = error.error_name().map(|t| t.to_string_lossy().into_owned());
    let text = error.error_string().map(|t| t.to_string_lossy().into_owned());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{text} ({name})"),
        _ => format!("{:?}", error.0),
    }
}

/// Statuses after which nothing works any more in this context.
fn is_final(status: CUresult) -> bool {
    use CUresult::*;
    matches!(
        status,
        CUDA_ERROR_ILLEGAL_ADDRESS
            | CUDA_ERROR_LAUNCH_FAILED
            | CUDA_ERROR_LAUNCH_TIMEOUT
            | CUDA_ERROR_MISALIGNED_ADDRESS
            | CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUDA_ERROR_INVALID_PC
            | CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUDA_ERROR_ECC_UNCORRECTABLE
            | CUDA_ERROR_ASSERT
            | CUDA_ERROR_CONTEXT_IS_DESTROYED
            | CUDA_ERROR_DEINITIALIZED
            | CUDA_ERROR_UNKNOWN
    )
}

/// A point in the stream.
pub struct Mark {
    event: sys::CUevent,
    context: sys::CUcontext,
    poison: Arc<OnceLock<String>>,
}

// SAFETY: a handle of the driver, good from any thread.
unsafe impl Send for Mark {}
// SAFETY: as above.
unsafe impl Sync for Mark {}

impl Mark {
    /// Marks the present end of the stream.
    pub fn record(context: &Context) -> Result<Mark> {
        context.enter()?;
        let event = context
            .check("an event cannot be made", result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT))?;
        let mark = Mark { event, context: context.context, poison: context.poison.clone() };
        // SAFETY: event and stream are open.
        let status = unsafe { result::event::record(event, context.stream) };
        context.check("an event cannot be recorded", status)?;
        Ok(mark)
    }

    fn check<T>(&self, status: Result<T, DriverError>) -> Result<T> {
        status.map_err(|error| {
            if is_final(error.0) {
                let _ = self
                    .poison
                    .set(format!("the device is unusable since an earlier failure: {}", describe(error)));
            }
            Error::new(ErrorKind::Device, format!("waiting for an event failed: {}", describe(error)))
        })
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        // SAFETY: the event is open and nobody else has it. Its status is of no use to anybody.
        unsafe {
            if result::ctx::set_current(self.context).is_ok() {
                CURRENT.set(self.context);
                let _ = result::event::destroy(self.event);
            }
        }
    }
}

impl Event for Mark {
    fn wait(&self) -> Result<()> {
        // SAFETY: the event is open; events may be waited for from any context.
        self.check(unsafe { result::event::synchronize(self.event) })
    }

    fn seconds_since(&self, earlier: &dyn Event) -> Result<f64> {
        let earlier = earlier
            .as_any()
            .downcast_ref::<Mark>()
            .filter(|earlier| earlier.context == self.context)
            .ok_or_else(|| Error::new(ErrorKind::Device, "the events belong to different devices"))?;
        self.wait()?;
        // SAFETY: both events are open and were recorded on the same stream.
        let milliseconds = self.check(unsafe { result::event::elapsed(earlier.event, self.event) })?;
        Ok(milliseconds as f64 / 1e3)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
