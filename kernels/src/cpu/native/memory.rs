//! Memory that holds code: written once, then executable and no longer writable.

use std::ptr::NonNull;

/// Pages of code.
pub(super) struct CodeMemory {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: the pages are not written after `new`.
unsafe impl Send for CodeMemory {}
// SAFETY: as above.
unsafe impl Sync for CodeMemory {}

impl CodeMemory {
    /// Pages with this code; `None` where the system does not allow it.
    pub(super) fn new(code: &[u8]) -> Option<CodeMemory> {
        // SAFETY: a fresh private mapping, which nobody else knows of; the code fits into it.
        unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), code.len(), access, flags, -1, 0);
            if start == libc::MAP_FAILED {
                return None;
            }
            let memory = CodeMemory { start: NonNull::new(start.cast())?, size: code.len() };
            std::ptr::copy_nonoverlapping(code.as_ptr(), memory.start.as_ptr(), code.len());
            let done = libc::mprotect(start, code.len(), libc::PROT_READ | libc::PROT_EXEC);
            (done == 0).then_some(memory)
        }
    }

    pub(super) fn start(&self) -> *const u8 {
        self.start.as_ptr()
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size; nobody calls the code of a chain that is gone.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}
