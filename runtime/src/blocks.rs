//! Each thread's cache of 64-byte aligned blocks: elements of small CPU tensors and the heads of tensors come from here.
//!
//! A block is freed into the cache of the thread that frees it, whoever took it from the system. The lists have no
//! destructor, so using them costs no check of the thread's state; a second thread-local, touched only when memory comes
//! from the system, empties them when the thread ends and shuts them for what is freed after that.

use crate::alloc::{CLASSES, class_bytes, size_class};
use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ptr::null_mut;

/// A thread keeps at most this much freed memory.
const LIMIT: usize = 2 << 30;

/// Free blocks by class, linked through their first word.
struct Lists {
    heads: [Cell<*mut u8>; CLASSES],
    /// Bytes that may still be put in; 0 until the thread has taken its first block, and after its end.
    room: Cell<usize>,
}

/// Empties the lists when the thread ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        LISTS.with(|lists| {
            lists.release();
            lists.room.set(0);
        });
    }
}

thread_local! {
    static LISTS: Lists = const {
        Lists {
            heads: [const { Cell::new(null_mut()) }; CLASSES],
            room: Cell::new(0),
        }
    };
    static END: Cell<Option<End>> = const { Cell::new(None) };
}

impl Lists {
    #[inline(always)]
    fn pop(&self, class: usize, size: usize) -> *mut u8 {
        let head = self.heads[class].get();
        if !head.is_null() {
            // SAFETY: `push` stored the next block's address in the first word of this free block.
            self.heads[class].set(unsafe { head.cast::<*mut u8>().read() });
            self.room.set(self.room.get() + size);
        }
        head
    }

    #[inline(always)]
    fn push(&self, class: usize, size: usize, block: *mut u8) -> bool {
        let room = self.room.get();
        if room < size {
            return false;
        }
        // SAFETY: the block is free, at least 64 bytes long and 64-byte aligned.
        unsafe { block.cast::<*mut u8>().write(self.heads[class].get()) };
        self.heads[class].set(block);
        self.room.set(room - size);
        true
    }

    fn release(&self) {
        for class in 0..CLASSES {
            let size = class_bytes(class);
            loop {
                let block = self.pop(class, size);
                if block.is_null() {
                    break;
                }
                // SAFETY: every cached block of a class came from the system with the class's layout.
                unsafe { dealloc(block, block_layout(size)) };
            }
        }
    }
}

/// Blocks from this size on lie in huge pages, where the system has them: a pass over such a block would otherwise miss the
/// translation of an address every 4 KiB.
const HUGE: usize = 4 << 20;
/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;

fn block_layout(size: usize) -> Layout {
    let align = if size >= HUGE { HUGE_PAGE } else { 64 };
    Layout::from_size_align(size, align).expect("invariant: size classes are far below isize::MAX")
}

/// A block of at least `bytes` bytes, which must be far below `isize::MAX`, and whether it came from the system; null
/// where the system has none.
#[inline(always)]
pub(crate) fn take(bytes: usize) -> (*mut u8, bool) {
    let (class, size) = size_class(bytes);
    let cached = LISTS.with(|lists| lists.pop(class, size));
    if cached.is_null() { (from_system(size), true) } else { (cached, false) }
}

/// Takes back a block that `take` gave for the same number of bytes.
///
/// # Safety
/// That, and nobody uses the block any more.
#[inline(always)]
pub(crate) unsafe fn give(block: *mut u8, bytes: usize) {
    let (class, size) = size_class(bytes);
    if !LISTS.with(|lists| lists.push(class, size, block)) {
        // SAFETY: the caller's promise.
        unsafe { give_slowly(class, size, block) };
    }
}

#[cold]
#[inline(never)]
fn from_system(size: usize) -> *mut u8 {
    open();
    // SAFETY: the layout's size is not 0.
    let block = unsafe { alloc(block_layout(size)) };
    #[cfg(target_os = "linux")]
    if size >= HUGE && !block.is_null() {
        // SAFETY: advice about memory of ours, which changes no byte of it; that it may be refused does not matter.
        unsafe { libc::madvise(block.cast(), size, libc::MADV_HUGEPAGE) };
    }
    block
}

/// # Safety
/// As `give`.
#[cold]
#[inline(never)]
unsafe fn give_slowly(class: usize, size: usize, block: *mut u8) {
    open();
    if !LISTS.with(|lists| lists.push(class, size, block)) {
        // SAFETY: the block came from the system with the class's layout.
        unsafe { dealloc(block, block_layout(size)) };
    }
}

/// Opens the lists of a thread that has not used them yet.
fn open() {
    LISTS.with(|lists| {
        let fresh = END.try_with(|end| end.replace(Some(End)).map(std::mem::forget).is_none());
        if fresh == Ok(true) {
            lists.room.set(LIMIT);
        }
    });
}

/// Gives this thread's cached blocks back to the system.
pub(crate) fn release() {
    LISTS.with(|lists| lists.release());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_by_class() {
        let (a, _) = take(100);
        assert_eq!(a as usize % 64, 0);
        // SAFETY: taken above for 100 bytes, and again for 128, which are the same class.
        unsafe {
            give(a, 100);
            let (b, from_system) = take(128);
            assert_eq!((a, false), (b, from_system));
            give(b, 128);
        }
    }

    #[test]
    fn a_block_stays_with_the_thread_that_frees_it() {
        let block = take(3000).0 as usize;
        let again = std::thread::spawn(move || {
            // SAFETY: taken for 3000 bytes by the thread that waits here.
            unsafe { give(block as *mut u8, 3000) };
            let (again, from_system) = take(3000);
            assert!(!from_system);
            // SAFETY: taken just now.
            unsafe { give(again, 3000) };
            again as usize
        });
        assert_eq!(again.join().unwrap(), block);
    }

    /// Frees a block when its thread ends.
    struct Late(usize);

    impl Drop for Late {
        fn drop(&mut self) {
            // SAFETY: taken for 64 bytes below, on this thread.
            unsafe { give(self.0 as *mut u8, 64) };
        }
    }

    #[test]
    fn what_is_freed_after_a_threads_end_goes_to_the_system() {
        thread_local! {
            static LATE: Cell<Option<Late>> = const { Cell::new(None) };
        }
        let outcome = std::thread::spawn(|| {
            // First into the thread's destructors, so that it runs when the lists may be shut already.
            LATE.with(|late| late.set(Some(Late(take(64).0 as usize))));
            let (block, _) = take(64);
            // SAFETY: taken just now.
            unsafe { give(block, 64) };
        });
        outcome.join().unwrap();
    }
}
