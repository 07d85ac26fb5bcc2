//! A device that owns no memory and runs nothing: it hands out addresses and logs every request, so that plans and
//! allocators are tested without hardware.

use crate::cpu::HostEvent;
use crate::device::{Device, DeviceId, Event, RawBuffer, Work};
use crate::error::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// One request made of the null device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Memory handed out: address and bytes.
    Alloc(usize, usize),
    /// Memory returned: address and bytes.
    Free(usize, usize),
    /// A kernel: its kind and addresses.
    Run(&'static str, Vec<usize>),
    /// A copy from the host: address and bytes.
    CopyIn(usize, usize),
    /// A copy to the host: address and bytes.
    CopyOut(usize, usize),
    /// A wait for all work.
    Sync,
}

/// The null device; it fails kernels and frees that use addresses it never handed out.
#[derive(Default)]
pub struct Null {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    log: Vec<Request>,
    live: BTreeMap<usize, usize>,
    next: usize,
}

/// The one null device.
pub fn device() -> &'static Null {
    static NULL: OnceLock<Null> = OnceLock::new();
    NULL.get_or_init(Null::default)
}

impl Null {
    /// Everything asked since the last call.
    pub fn take_log(&self) -> Vec<Request> {
        std::mem::take(&mut self.lock().log)
    }

    /// Bytes handed out and not returned.
    pub fn live_bytes(&self) -> usize {
        self.lock().live.values().sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl State {
    fn check(&self, address: usize) -> Result<()> {
        let known = self
            .live
            .range(..=address)
            .next_back()
            .is_some_and(|(start, bytes)| address < start + bytes.max(&1));
        if known {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Device, format!("null device: address {address:#x} is not live")))
    }
}

impl Device for Null {
    fn id(&self) -> DeviceId {
        DeviceId::Null
    }

    fn describe(&self) -> String {
        "null".into()
    }

    fn alloc(&self, bytes: usize) -> Result<RawBuffer> {
        let mut state = self.lock();
        let address = (1 << 20) + state.next;
        state.next += bytes.div_ceil(64).max(1) * 64;
        state.live.insert(address, bytes);
        state.log.push(Request::Alloc(address, bytes));
        crate::alloc::note_alloc(bytes, true);
        Ok(RawBuffer { pointer: address as *mut u8, bytes })
    }

    fn free(&self, buffer: RawBuffer) {
        let mut state = self.lock();
        let address = buffer.pointer as usize;
        state.live.remove(&address);
        state.log.push(Request::Free(address, buffer.bytes));
        crate::alloc::note_free(buffer.bytes);
    }

    unsafe fn copy_in(&self, source: &[u8], target: *mut u8) -> Result<()> {
        let mut state = self.lock();
        state.check(target as usize)?;
        state.log.push(Request::CopyIn(target as usize, source.len()));
        Ok(())
    }

    unsafe fn copy_out(&self, source: *const u8, target: &mut [u8]) -> Result<()> {
        let mut state = self.lock();
        state.check(source as usize)?;
        state.log.push(Request::CopyOut(source as usize, target.len()));
        target.fill(0);
        Ok(())
    }

    unsafe fn run(&self, work: &Work, pointers: &[*mut u8]) -> Result<()> {
        let mut state = self.lock();
        for &p in pointers {
            state.check(p as usize)?;
        }
        let kind = match work {
            Work::Loop(..) => "loop",
            Work::Gemm(_) => "gemm",
            Work::Routine(routine) => routine.name(),
        };
        state.log.push(Request::Run(kind, pointers.iter().map(|&p| p as usize).collect()));
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.lock().log.push(Request::Sync);
        Ok(())
    }

    fn record(&self) -> Result<Box<dyn Event>> {
        Ok(Box::new(HostEvent(Instant::now())))
    }
}
