//! The host's processor: memory from the thread's cache of blocks, and kernels on the global pool.

use crate::alloc;
use crate::blocks;
use crate::device::{Device, DeviceId, Event, RawBuffer, Space, Work, index_error, routine_error};
use crate::error::{Error, ErrorKind, Result};
use kernels::cpu::threads;
use std::any::Any;
use std::time::Instant;

/// The CPU device.
pub struct Cpu;

/// The one CPU device.
pub static CPU: Cpu = Cpu;

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
        alloc::ask(bytes)?;
        let (pointer, from_system) = blocks::take(bytes);
        if pointer.is_null() {
            return Err(out_of_memory(bytes));
        }
        alloc::note_alloc(bytes, from_system);
        Ok(RawBuffer { pointer, bytes })
    }

    #[inline]
    fn free(&self, buffer: RawBuffer) {
        alloc::note_free(buffer.bytes);
        // SAFETY: `alloc` took the block for this many bytes, and its owner gives it up.
        unsafe { blocks::give(buffer.pointer, buffer.bytes) };
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
        match work {
            Work::Loop(kernel, space, params) => {
                let (code, pool) = (kernel.cpu()?, threads::global());
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
                unsafe { gemm.run(pointers[0], pointers[1], pointers[2], bias, threads::global()) };
                Ok(())
            }
            // SAFETY: the caller's promise.
            Work::Routine(routine) => unsafe {
                routine.run(pointers, threads::global()).map_err(routine_error)
            },
        }
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn record(&self) -> Result<Box<dyn Event>> {
        Ok(Box::new(HostEvent(Instant::now())))
    }

    fn empty_cache(&self) {
        blocks::release();
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
    }

    #[test]
    fn statistics_count_elements_and_not_the_heads_of_tensors() {
        let a = crate::Tensor::from_slice(&[1f32; 16], &[16]).unwrap();
        let step = || a.add(&a).unwrap().mul(&a).unwrap();
        drop(step());
        let before = alloc::stats();
        let kept = step();
        let during = alloc::stats();
        assert_eq!(during.allocations - before.allocations, 2);
        assert_eq!(during.live_bytes - before.live_bytes, 64);
        drop(kept);
        (0..100).for_each(|_| drop(step()));
        let after = alloc::stats();
        assert_eq!(after.live_bytes, before.live_bytes);
        assert_eq!(after.allocations - before.allocations, 202);
        assert_eq!(
            after.system_allocations, before.system_allocations,
            "a step takes what the last gave back"
        );
        assert_eq!(after.launches - before.launches, 202);
    }

    #[test]
    fn a_tensor_may_be_dropped_by_another_thread() {
        let made: Vec<_> = (0..100).map(|i| crate::Tensor::from_slice(&[i; 40], &[40]).unwrap()).collect();
        let bytes = 100 * 40 * size_of::<i32>() as i64;
        let live = alloc::stats().live_bytes;
        let there = std::thread::spawn(move || {
            let one = made[7].add(&made[8]).unwrap().to_vec::<i32>().unwrap();
            drop(made);
            (one, alloc::stats().live_bytes)
        });
        assert_eq!(there.join().unwrap(), (vec![15; 40], -bytes));
        assert_eq!(alloc::stats().live_bytes, live, "who frees is charged");
    }
}
