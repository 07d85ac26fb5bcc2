//! Registers full of numbers: the few operations that a matrix product needs, for each instruction set.
//!
//! `mul_add` is fused (rounded once) for floats on every instruction set, in hardware or not, because the sum that
//! defines a product is a chain of fused steps; for integers it wraps.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// A number that products are accumulated in.
pub(super) trait Number: Copy + Send + Sync + 'static {
    /// Nothing.
    const ZERO: Self;
    /// self * b + c.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// self + b.
    fn add(self, b: Self) -> Self;
}

macro_rules! numbers {
    ($($type:ty, |$x:ident, $b:ident, $c:ident| $mul_add:expr, $add:expr;)*) => {$(
        impl Number for $type {
            const ZERO: $type = 0 as $type;
            #[inline(always)]
            fn mul_add(self, $b: $type, $c: $type) -> $type { let $x = self; $mul_add }
            #[inline(always)]
            fn add(self, $b: $type) -> $type { let $x = self; $add }
        }
    )*};
}

numbers! {
    f32, |x, b, c| f32::mul_add(x, b, c), x + b;
    f64, |x, b, c| f64::mul_add(x, b, c), x + b;
    i32, |x, b, c| x.wrapping_mul(b).wrapping_add(c), x.wrapping_add(b);
    i64, |x, b, c| x.wrapping_mul(b).wrapping_add(c), x.wrapping_add(b);
}

/// `LANES` numbers side by side.
///
/// # Safety
/// Pointers must be good for `LANES` items (any alignment), and the processor must know the instructions.
pub(super) trait Vector: Copy {
    /// What a lane holds.
    type Item: Number;
    /// Lanes.
    const LANES: usize;
    /// Loads from memory.
    unsafe fn load(from: *const Self::Item) -> Self;
    /// Stores to memory.
    unsafe fn store(self, to: *mut Self::Item);
    /// Asks for a line of memory that will be needed soon; any address will do.
    unsafe fn prefetch(from: *const Self::Item);
    /// The same number in every lane.
    unsafe fn splat(item: Self::Item) -> Self;
    /// self * b + c in each lane.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// self + b in each lane.
    unsafe fn add(self, b: Self) -> Self;
}

/// Lanes as an array: what the compiler makes of them is the best there is for integers, and the fallback for floats.
#[derive(Clone, Copy)]
pub(super) struct Plain<T, const N: usize>([T; N]);

impl<T: Number, const N: usize> Vector for Plain<T, N> {
    type Item = T;
    const LANES: usize = N;
    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: by the trait's contract.
        Plain(unsafe { from.cast::<[T; N]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: by the trait's contract.
        unsafe { to.cast::<[T; N]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn prefetch(_: *const T) {}
    #[inline(always)]
    unsafe fn splat(item: T) -> Self {
        Plain([item; N])
    }
    #[inline(always)]
    unsafe fn mul_add(mut self, b: Self, c: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].mul_add(b.0[i], c.0[i]);
        }
        self
    }
    #[inline(always)]
    unsafe fn add(mut self, b: Self) -> Self {
        for i in 0..N {
            self.0[i] = self.0[i].add(b.0[i]);
        }
        self
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! registers {
    ($($type:ty, $item:ty, $lanes:literal, $load:ident, $store:ident, $splat:ident, $mul_add:ident, $add:ident;)*) => {$(
        impl Vector for $type {
            type Item = $item;
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn load(from: *const $item) -> Self {
                // SAFETY: by the trait's contract.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $item) {
                // SAFETY: by the trait's contract.
                unsafe { $store(to, self) }
            }
            #[inline(always)]
            unsafe fn prefetch(from: *const $item) {
                // SAFETY: a prefetch cannot fail.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(item: $item) -> Self {
                // SAFETY: by the trait's contract.
                unsafe { $splat(item) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, b: Self, c: Self) -> Self {
                // SAFETY: by the trait's contract.
                unsafe { $mul_add(self, b, c) }
            }
            #[inline(always)]
            unsafe fn add(self, b: Self) -> Self {
                // SAFETY: by the trait's contract.
                unsafe { $add(self, b) }
            }
        }
    )*};
}

#[cfg(target_arch = "x86_64")]
registers! {
    __m256, f32, 8, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps;
    __m256d, f64, 4, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_set1_pd, _mm256_fmadd_pd, _mm256_add_pd;
    __m512, f32, 16, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps;
    __m512d, f64, 8, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_set1_pd, _mm512_fmadd_pd, _mm512_add_pd;
}
