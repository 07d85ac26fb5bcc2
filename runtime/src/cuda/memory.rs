//! A device's memory: blocks by size class, kept when they are freed.
//!
//! A freed block may be handed out at once, although kernels that use it are still queued: all work of a device is in
//! one stream, so whoever gets the block comes after them. (That is also why the driver's own stream-ordered pools
//! bring nothing here: they solve the case of several streams at the price of a driver call for each request.)

use super::context::Context;
use crate::alloc::{self, CLASSES, size_class};
use crate::device::RawBuffer;
use crate::error::{Error, ErrorKind, Result};
use std::sync::Mutex;

/// Freed blocks of each class.
pub struct Memory {
    free: Mutex<Vec<Vec<u64>>>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { free: Mutex::new(vec![Vec::new(); CLASSES]) }
    }
}

impl Memory {
    /// A block of at least this many bytes, 256-byte aligned.
    pub fn take(&self, context: &Context, bytes: usize) -> Result<RawBuffer> {
        let too_much = || {
            Error::new(
                ErrorKind::OutOfMemory,
                format!("cuda:{} has no {bytes} bytes of memory left", context.ordinal),
            )
        };
        if bytes > context.total_bytes {
            return Err(too_much());
        }
        let (class, size) = size_class(bytes);
        let cached = self.lock()[class].pop();
        let address = match cached {
            Some(address) => address,
            None => match context.allocate(size)? {
                Some(address) => address,
                None => {
                    // What is cached in other classes may be enough.
                    self.release(context);
                    context.allocate(size)?.ok_or_else(too_much)?
                }
            },
        };
        alloc::note_alloc(bytes, cached.is_none());
        Ok(RawBuffer { pointer: address as *mut u8, bytes })
    }

    /// Takes a block back.
    pub fn give(&self, buffer: RawBuffer) {
        alloc::note_free(buffer.bytes);
        self.lock()[size_class(buffer.bytes).0].push(buffer.pointer as u64);
    }

    /// Gives every cached block back to the driver.
    pub fn release(&self, context: &Context) {
        let blocks: Vec<u64> = self.lock().iter_mut().flat_map(std::mem::take).collect();
        // A context that has failed has lost its memory with everything else.
        blocks.into_iter().for_each(|block| _ = context.release(block));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u64>>> {
        self.free.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
