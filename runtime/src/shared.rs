//! `Shared`: a counted handle like `Arc`, for values that are made and dropped by the million.
//!
//! It differs from `Arc` in two ways. Its memory comes from the thread's cache of blocks. And both counts share one word,
//! so that whoever drops the only handle sees by one load that nobody else can reach the value: no atomic
//! read-modify-write is needed to take it down, where an `Arc` needs two.

use crate::blocks;
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// One handle.
const STRONG: u64 = 1;
/// One weak handle; all handles together hold one.
const WEAK: u64 = 1 << 32;
/// One handle, and no weak one but that of all handles together.
const UNIQUE: u64 = STRONG | WEAK;

#[repr(C)]
struct Counted<T: ?Sized> {
    counts: AtomicU64,
    value: T,
}

/// A handle to a value that lives as long as any handle does.
pub struct Shared<T: ?Sized>(NonNull<Counted<T>>, PhantomData<Counted<T>>);

/// A handle that does not keep the value alive.
pub struct Weak<T>(NonNull<Counted<T>>, PhantomData<Counted<T>>);

// SAFETY: as for `Arc`: handles on several threads share the value, and any of them may drop it.
unsafe impl<T: ?Sized + Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Send + Sync> Sync for Shared<T> {}
// SAFETY: as above; a weak handle can become a handle.
unsafe impl<T: Send + Sync> Send for Weak<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Weak<T> {}

impl<T> Shared<T> {
    /// The first handle to `value`.
    #[inline(always)]
    pub fn new(value: T) -> Shared<T> {
        Shared::vacant().fill(value)
    }

    /// A place for a value that is to be built in it. Where the place is known before the value's parts are, they are
    /// written to it at once; a value that exists first is copied, and reading it so soon after it was written in parts
    /// costs a stall besides.
    #[inline(always)]
    pub fn vacant() -> Vacant<T> {
        const { assert!(align_of::<Counted<T>>() <= 64, "blocks are aligned to 64 bytes") };
        let block = blocks::take(size_of::<Counted<T>>()).0.cast::<Counted<T>>();
        let Some(place) = NonNull::new(block) else { no_memory::<T>() };
        Vacant(place)
    }

    /// A handle that does not keep the value alive.
    #[inline]
    pub fn downgrade(&self) -> Weak<T> {
        if self.counts().fetch_add(WEAK, Relaxed) >> 32 > i32::MAX as u64 {
            overflow();
        }
        Weak(self.0, PhantomData)
    }

    /// Calls `last` with the value if this handle is the only one left, then drops the handle. Of several threads that
    /// give up the last handles at once, exactly one is called.
    #[inline]
    pub fn finish(self, last: impl FnOnce(&mut T)) {
        let handle = ManuallyDrop::new(self);
        // SAFETY: the handle is not used after this.
        unsafe { release(handle.0, last) };
    }
}

impl<T> Shared<[T]> {
    /// The first handle to a list of these values, in one block.
    pub fn list(values: impl ExactSizeIterator<Item = T>) -> Shared<[T]> {
        const { assert!(align_of::<T>() <= 8, "the values follow the counts") };
        let count = values.len();
        let block = blocks::take(size_of::<Counted<()>>() + count * size_of::<T>()).0;
        if block.is_null() {
            no_memory::<T>();
        }
        let place = std::ptr::slice_from_raw_parts_mut(block, count) as *mut Counted<[T]>;
        let mut written = 0;
        // SAFETY: the block is ours, aligned, and large enough for the counts and `count` values, which are all written
        // before the handle is made.
        unsafe {
            let first = (&raw mut (*place).value).cast::<T>();
            for value in values.take(count) {
                first.add(written).write(value);
                written += 1;
            }
            assert_eq!(written, count, "an iterator gives as many values as it says");
            (&raw mut (*place).counts).write(AtomicU64::new(UNIQUE));
            Shared(NonNull::new_unchecked(place), PhantomData)
        }
    }
}

/// A place for a value; one that is never filled is lost to the cache of blocks.
pub struct Vacant<T>(NonNull<Counted<T>>);

impl<T> Vacant<T> {
    /// The first handle to `value`, now in its place.
    #[inline(always)]
    pub fn fill(self, value: T) -> Shared<T> {
        let place = self.0.as_ptr();
        // SAFETY: the block is ours, large enough and aligned.
        unsafe {
            (&raw mut (*place).value).write(value);
            (&raw mut (*place).counts).write(AtomicU64::new(UNIQUE));
        }
        Shared(self.0, PhantomData)
    }
}

impl<T: ?Sized> Shared<T> {
    #[inline(always)]
    fn counts(&self) -> &AtomicU64 {
        // SAFETY: a handle keeps the block alive.
        unsafe { &self.0.as_ref().counts }
    }

    /// Number of handles.
    #[inline]
    pub fn handles(&self) -> usize {
        self.counts().load(Acquire) as u32 as usize
    }

    /// Whether both are handles to one value.
    #[inline]
    pub fn same(&self, other: &Shared<T>) -> bool {
        self.address() == other.address()
    }

    /// A number that no other living value of the process has.
    #[inline]
    pub fn address(&self) -> usize {
        self.0.cast::<u8>().as_ptr() as usize
    }

    /// The value, if no other handle of either kind exists.
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        match self.counts().load(Acquire) == UNIQUE {
            // SAFETY: this handle is the only one, and it is borrowed mutably.
            true => Some(unsafe { &mut self.0.as_mut().value }),
            false => None,
        }
    }
}

/// Gives a handle up; `last` is called before the value is dropped, if it was the last.
///
/// # Safety
/// The handle is not used any more.
#[inline(always)]
unsafe fn release<T: ?Sized>(block: NonNull<Counted<T>>, last: impl FnOnce(&mut T)) {
    let place = block.as_ptr();
    // SAFETY: the block lives until the last handle of either kind is gone. With counts of one handle and no weak one
    // nobody else has or can get a handle; else exactly one thread takes the count of handles to zero, and the weak handle
    // of all handles together keeps the block until it has dropped the value.
    unsafe {
        let counts = &(*place).counts;
        if counts.load(Acquire) != UNIQUE {
            if counts.fetch_sub(STRONG, Release) as u32 != 1 {
                return;
            }
            fence(Acquire);
            last(&mut (*place).value);
            let bytes = size_of_val(&*place);
            std::ptr::drop_in_place(&raw mut (*place).value);
            return release_weak(&raw const (*place).counts, bytes);
        }
        last(&mut (*place).value);
        let bytes = size_of_val(&*place);
        std::ptr::drop_in_place(&raw mut (*place).value);
        blocks::give(place.cast(), bytes);
    }
}

/// # Safety
/// `counts` begins a live block of this size, of which the caller gives up a weak handle.
unsafe fn release_weak(counts: *const AtomicU64, bytes: usize) {
    // SAFETY: the caller's promise; who takes the count to zero is the last to know of the block.
    unsafe {
        if (*counts).fetch_sub(WEAK, Release) >> 32 == 1 {
            fence(Acquire);
            blocks::give(counts.cast_mut().cast(), bytes);
        }
    }
}

impl<T: ?Sized> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: nobody uses a handle after it was dropped.
        unsafe { release(self.0, |_| ()) };
    }
}

impl<T> Drop for Weak<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: a weak handle keeps its block.
        unsafe { release_weak(&raw const (*self.0.as_ptr()).counts, size_of::<Counted<T>>()) };
    }
}

impl<T: ?Sized> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Shared<T> {
        if self.counts().fetch_add(STRONG, Relaxed) as u32 > i32::MAX as u32 {
            overflow();
        }
        Shared(self.0, PhantomData)
    }
}

impl<T> Clone for Weak<T> {
    #[inline]
    fn clone(&self) -> Weak<T> {
        // SAFETY: a weak handle keeps its block.
        let before = unsafe { (*self.0.as_ptr()).counts.fetch_add(WEAK, Relaxed) };
        if before >> 32 > i32::MAX as u64 {
            overflow();
        }
        Weak(self.0, PhantomData)
    }
}

impl<T> Weak<T> {
    /// A handle, if there still is one.
    #[inline]
    pub fn upgrade(&self) -> Option<Shared<T>> {
        // SAFETY: a weak handle keeps its block.
        let counts = unsafe { &(*self.0.as_ptr()).counts };
        let more = |now: u64| match now as u32 {
            0 => None,
            n if n > i32::MAX as u32 => overflow(),
            _ => Some(now + STRONG),
        };
        counts.fetch_update(Acquire, Relaxed, more).ok().map(|_| Shared(self.0, PhantomData))
    }
}

impl<T: ?Sized> Deref for Shared<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: a handle keeps the value alive.
        unsafe { &self.0.as_ref().value }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Makes a `Shared` of a trait object out of one of a type, which a library's own handle cannot do by itself.
macro_rules! erasable {
    ($object:ty, $bound:path) => {
        impl<T: $bound> From<Shared<T>> for Shared<$object> {
            #[inline]
            fn from(handle: Shared<T>) -> Shared<$object> {
                let place: *mut Counted<T> = ManuallyDrop::new(handle).0.as_ptr();
                let erased: *mut Counted<$object> = place;
                // SAFETY: the address is that of a block, so not null; the count goes over to the new handle.
                Shared(unsafe { NonNull::new_unchecked(erased) }, PhantomData)
            }
        }

        impl Shared<$object> {
            /// The handle with its type again, if it is this one.
            #[inline(always)]
            pub fn downcast<T: $bound>(self) -> Result<Shared<T>, Self> {
                let any: &dyn Any = &*self;
                if any.type_id() != std::any::TypeId::of::<T>() {
                    return Err(self);
                }
                let place = ManuallyDrop::new(self).0.cast::<Counted<T>>();
                Ok(Shared(place, PhantomData))
            }
        }
    };
}

erasable!(dyn crate::tensor::AutogradSlot, crate::tensor::AutogradSlot);

#[cold]
#[inline(never)]
fn no_memory<T>() -> ! {
    std::alloc::handle_alloc_error(std::alloc::Layout::new::<Counted<T>>())
}

/// More handles than a count can count can only be leaked ones.
#[cold]
#[inline(never)]
fn overflow() -> ! {
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Counts its drops.
    struct Counting<'a>(&'a AtomicUsize);

    impl Drop for Counting<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn the_last_handle_drops_the_value_once() {
        let drops = AtomicUsize::new(0);
        let mut a = Shared::new(Counting(&drops));
        assert!(a.get_mut().is_some());
        let b = a.clone();
        assert_eq!((a.handles(), a.same(&b), a.get_mut().is_none()), (2, true, true));
        drop(a);
        assert_eq!(drops.load(Relaxed), 0);
        let weak = b.downgrade();
        assert!(weak.upgrade().is_some_and(|c| c.same(&b)));
        drop(b);
        assert_eq!(drops.load(Relaxed), 1);
        assert!(weak.clone().upgrade().is_none());
    }

    #[test]
    fn the_last_to_finish_is_told() {
        let a = Shared::new(1);
        let b = a.clone();
        let mut told = Vec::new();
        a.finish(|v| told.push(*v));
        assert!(told.is_empty());
        b.finish(|v| told.push(*v + 1));
        assert_eq!(told, [2]);
    }

    #[test]
    fn a_list_drops_each_value_once() {
        let drops = AtomicUsize::new(0);
        for count in [0, 1, 5, 100] {
            drops.store(0, Relaxed);
            let list = Shared::list((0..count).map(|i| (i, Counting(&drops))));
            assert!(list.iter().map(|(i, _)| *i).eq(0..count));
            let again = list.clone();
            drop(list);
            assert_eq!((again.len(), drops.load(Relaxed)), (count, 0));
            drop(again);
            assert_eq!(drops.load(Relaxed), count);
        }
    }

    #[test]
    fn a_block_is_used_again() {
        let first = Shared::new([0u64; 9]);
        let address = first.address();
        drop(first);
        assert_eq!(Shared::new([1u64; 10]).address(), address);
    }

    #[test]
    fn handles_on_many_threads_agree_on_the_last() {
        let (drops, lasts) = (AtomicUsize::new(0), AtomicUsize::new(0));
        for _ in 0..200 {
            let first = Shared::new(Counting(&drops));
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for i in 0..4 {
                    let (mine, start, lasts) = (first.clone(), &start, &lasts);
                    scope.spawn(move || {
                        start.wait();
                        let weak = mine.downgrade();
                        match i {
                            0 => drop(mine),
                            _ => mine.finish(|_| {
                                lasts.fetch_add(1, Relaxed);
                            }),
                        }
                        drop(weak.upgrade());
                    });
                }
                drop(first);
            });
        }
        assert_eq!(drops.load(Relaxed), 200);
        assert!(lasts.load(Relaxed) <= 200);
    }
}
