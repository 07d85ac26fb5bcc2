//! The host's processor: a thread-local cache of 64-byte aligned blocks by size class, and kernels on the global pool.

use crate::alloc::{self, CLASSES, size_class};
use crate::device::{Device, DeviceId, Event, RawBuffer, Space, Work, index_error};
use crate::error::{Error, ErrorKind, Result};
use kernels::cpu::threads;
use std::alloc::{Layout, alloc as system_alloc, dealloc as system_dealloc};
use std::any::Any;
use std::cell::UnsafeCell;
use std::time::Instant;

/// The CPU device.
pub struct Cpu;

/// The one CPU device.
pub static CPU: Cpu = Cpu;

/// A thread keeps at most this much freed memory.
const CACHE_LIMIT: usize = 2 << 30;

/// Freed blocks by class, linked through their first word.
struct Cache {
    heads: [*mut u8; CLASSES],
    bytes: usize,
}

impl Cache {
    #[inline]
    fn pop(&mut self, class: usize, size: usize) -> Option<*mut u8> {
        let head = self.heads[class];
        if head.is_null() {
            return None;
        }
        // SAFETY: `push` stored the next block's address in the first word of this free block.
        self.heads[class] = unsafe { head.cast::<*mut u8>().read() };
        self.bytes -= size;
        Some(head)
    }

    #[inline]
    fn push(&mut self, class: usize, size: usize, block: *mut u8) -> bool {
        if self.bytes + size > CACHE_LIMIT {
            return false;
        }
        // SAFETY: the block is free, at least 64 bytes long and 64-byte aligned.
        unsafe { block.cast::<*mut u8>().write(self.heads[class]) };
        self.heads[class] = block;
        self.bytes += size;
        true
    }

    fn release(&mut self) {
        for class in 0..CLASSES {
            let size = class_bytes(class);
            while let Some(block) = self.pop(class, size) {
                // SAFETY: every cached block of a class came from the system with the class's layout.
                unsafe { system_dealloc(block, block_layout(size)) };
            }
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.release();
    }
}

thread_local! {
    static CACHE: UnsafeCell<Cache> =
        const { UnsafeCell::new(Cache { heads: [std::ptr::null_mut(); CLASSES], bytes: 0 }) };
}

/// The bytes of a class; the inverse of `size_class`.
fn class_bytes(class: usize) -> usize {
    match class {
        0..4 => (class + 1) * 64,
        _ => {
            let shift = class / 4 - 1;
            (class - 4 * shift + 1) << (shift + 6)
        }
    }
}

fn block_layout(size: usize) -> Layout {
    Layout::from_size_align(size, 64).expect("invariant: size classes are far below isize::MAX")
}

impl Device for Cpu {
    fn id(&self) -> DeviceId {
        DeviceId::Cpu
    }

    fn describe(&self) -> String {
        format!("cpu ({:?}, {} threads)", kernels::cpu::isa::isa(), threads::global().threads())
            .to_lowercase()
    }

    #[inline]
    fn alloc(&self, bytes: usize) -> Result<RawBuffer> {
        if bytes > isize::MAX as usize / 4 {
            return Err(out_of_memory(bytes));
        }
        let (class, size) = size_class(bytes);
        // SAFETY: the cache is this thread's alone and no reference to it outlives the closure.
        let cached = CACHE.try_with(|c| unsafe { (*c.get()).pop(class, size) }).ok().flatten();
        let pointer = match cached {
            Some(pointer) => pointer,
            // SAFETY: the layout's size is not 0.
            None => unsafe { system_alloc(block_layout(size)) },
        };
        if pointer.is_null() {
            return Err(out_of_memory(bytes));
        }
        alloc::note_alloc(bytes, cached.is_none());
        Ok(RawBuffer { pointer, bytes })
    }

    #[inline]
    fn free(&self, buffer: RawBuffer) {
        alloc::note_free(buffer.bytes);
        let (class, size) = size_class(buffer.bytes);
        // SAFETY: as in `alloc`.
        let kept =
            CACHE.try_with(|c| unsafe { (*c.get()).push(class, size, buffer.pointer) }).unwrap_or(false);
        if !kept {
            // SAFETY: the block came from the system with this layout.
            unsafe { system_dealloc(buffer.pointer, block_layout(size)) };
        }
    }

    unsafe fn copy_in(&self, source: &[u8], target: *mut u8) -> Result<()> {
        // SAFETY: the caller's promise; the regions belong to different allocations.
        unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), target, source.len()) };
        Ok(())
    }

    unsafe fn copy_out(&self, source: *const u8, target: &mut [u8]) -> Result<()> {
        // SAFETY: the caller's promise; the regions belong to different allocations.
        unsafe { std::ptr::copy_nonoverlapping(source, target.as_mut_ptr(), target.len()) };
        Ok(())
    }

    #[inline]
    unsafe fn run(&self, work: &Work, pointers: &[*mut u8]) -> Result<()> {
        let pool = threads::global();
        match work {
            Work::Loop(kernel, space, params) => {
                let code = kernel.cpu()?;
                // SAFETY: the caller's promise.
                let outcome = unsafe {
                    match *space {
                        Space::Flat { points, broadcast } => {
                            code.run_flat(points, pointers, broadcast, params, pool)
                        }
                        Space::Strided(geometry) => code.run(geometry, pointers, params, pool),
                    }
                };
                outcome.map_err(|e| index_error(e.index, e.extent))
            }
            Work::Gemm(gemm) => {
                let bias = pointers.get(3).map_or(std::ptr::null(), |p| p.cast_const());
                // SAFETY: the caller's promise.
                unsafe { gemm.run(pointers[0], pointers[1], pointers[2], bias, pool) };
                Ok(())
            }
        }
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn record(&self) -> Result<Box<dyn Event>> {
        Ok(Box::new(HostEvent(Instant::now())))
    }

    fn empty_cache(&self) {
        // SAFETY: as in `alloc`.
        let _ = CACHE.try_with(|c| unsafe { (*c.get()).release() });
    }
}

/// A moment of the host's clock; the CPU's work is done when it is asked for.
pub(crate) struct HostEvent(pub(crate) Instant);

impl Event for HostEvent {
    fn wait(&self) -> Result<()> {
        Ok(())
    }

    fn seconds_since(&self, earlier: &dyn Event) -> Result<f64> {
        let earlier = earlier
            .as_any()
            .downcast_ref::<HostEvent>()
            .ok_or_else(|| Error::new(ErrorKind::Device, "the events belong to different devices"))?;
        Ok((self.0 - earlier.0).as_secs_f64())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cold]
fn out_of_memory(bytes: usize) -> Error {
    let live = alloc::stats().live_bytes;
    Error::new(
        ErrorKind::OutOfMemory,
        format!("cannot allocate {bytes} bytes on the CPU ({live} bytes are live)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_reused_and_counted() {
        let before = alloc::stats();
        let a = CPU.alloc(100).unwrap();
        assert_eq!(a.pointer as usize % 64, 0);
        CPU.free(a);
        let b = CPU.alloc(128).unwrap();
        assert_eq!(a.pointer, b.pointer);
        CPU.free(b);
        let after = alloc::stats();
        assert_eq!(after.allocations - before.allocations, 2);
        assert_eq!(after.live_bytes, before.live_bytes);
        assert!(CPU.alloc(usize::MAX / 2).is_err());
        for bytes in [1, 64, 65, 300, 5000, 1 << 20, (1 << 20) + 1] {
            let (class, size) = size_class(bytes);
            assert_eq!(class_bytes(class), size);
        }
    }
}
