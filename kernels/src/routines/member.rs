//! The operands of a launch, one member of the batch at a time, as slices.

use super::Operand;
use crate::dtype::{DType, Element};
use bytemuck::AnyBitPattern;
use smallvec::SmallVec;
use std::marker::PhantomData;

/// The addresses of a launch.
pub(super) struct Launch<'a> {
    parts: SmallVec<[Part; 8]>,
    memory: PhantomData<&'a mut [u8]>,
}

#[derive(Clone, Copy)]
struct Part {
    pointer: *mut u8,
    operand: Operand,
}

// SAFETY: an address may be sent; `Launch::member` says under which promise it is used.
unsafe impl Sync for Launch<'_> {}

impl<'a> Launch<'a> {
    pub(super) fn new(pointers: &'a [*mut u8], operands: &[Operand]) -> Launch<'a> {
        let parts = pointers.iter().zip(operands).map(|(&pointer, &operand)| Part { pointer, operand });
        Launch { parts: parts.collect(), memory: PhantomData }
    }

    /// One member's operands.
    ///
    /// # Safety
    /// The pointers are as `Routine::run` asks, `index` is less than the batch, and no other `Member` of this index lives.
    pub(super) unsafe fn member(&self, index: usize) -> Member<'_> {
        let parts = self.parts.iter().map(|part| {
            let bytes = index * part.operand.elements * part.operand.dtype.size();
            Part { pointer: part.pointer.wrapping_add(bytes), ..*part }
        });
        Member { parts: parts.collect(), memory: PhantomData }
    }
}

/// One member's operands.
pub(super) struct Member<'a> {
    parts: SmallVec<[Part; 8]>,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> Member<'a> {
    /// Element type of operand `i`.
    pub(super) fn dtype(&self, i: usize) -> DType {
        self.parts[i].operand.dtype
    }

    /// The elements of operand `i`, which is read.
    pub(super) fn read<T: Element + AnyBitPattern>(&self, i: usize) -> &'a [T] {
        let Part { pointer, operand } = self.parts[i];
        assert!(
            !operand.writes && operand.dtype == T::DTYPE,
            "invariant: operands are used as they are declared"
        );
        if operand.elements == 0 {
            return &[];
        }
        // SAFETY: `Launch::member`'s promise: live, aligned, initialised, written by nobody.
        unsafe { std::slice::from_raw_parts(pointer.cast::<T>(), operand.elements) }
    }

    /// The bytes of operand `i`, which is read.
    pub(super) fn bytes(&self, i: usize) -> &'a [u8] {
        let Part { pointer, operand } = self.parts[i];
        assert!(!operand.writes, "invariant: operands are used as they are declared");
        if operand.elements == 0 {
            return &[];
        }
        // SAFETY: as in `read`; every initialised element is initialised bytes.
        unsafe { std::slice::from_raw_parts(pointer, operand.elements * operand.dtype.size()) }
    }

    /// The elements of operand `i`, which is written; they can be taken once.
    pub(super) fn write<T: Element + AnyBitPattern>(&mut self, i: usize) -> &'a mut [T] {
        assert!(self.parts[i].operand.dtype == T::DTYPE, "invariant: operands are used as they are declared");
        let part = self.take(i);
        if part.operand.elements == 0 {
            return &mut [];
        }
        // SAFETY: `Launch::member`'s promise: live, aligned, overlapping nothing; `take` gives it away once. The memory may
        // hold anything, and T takes any bits.
        unsafe { std::slice::from_raw_parts_mut(part.pointer.cast::<T>(), part.operand.elements) }
    }

    /// The bytes of operand `i`, which is written; they can be taken once.
    pub(super) fn bytes_mut(&mut self, i: usize) -> &'a mut [u8] {
        let part = self.take(i);
        if part.operand.elements == 0 {
            return &mut [];
        }
        // SAFETY: as in `write`.
        unsafe {
            std::slice::from_raw_parts_mut(part.pointer, part.operand.elements * part.operand.dtype.size())
        }
    }

    fn take(&mut self, i: usize) -> Part {
        let part = self.parts[i];
        assert!(part.operand.writes, "invariant: operands are used as they are declared");
        self.parts[i].operand.elements = 0;
        part
    }

    /// Copies the elements of operand `from` in these places to operand `to`, one after the other.
    pub(super) fn gather(&mut self, from: usize, to: usize, places: impl Iterator<Item = usize>) {
        let size = self.dtype(from).size();
        let source = self.bytes(from);
        for (target, place) in self.bytes_mut(to).chunks_exact_mut(size).zip(places) {
            target.copy_from_slice(&source[place * size..(place + 1) * size]);
        }
    }
}
