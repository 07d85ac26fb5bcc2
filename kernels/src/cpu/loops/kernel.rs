//! Kernels: one instruction applied to many points, as a plain function pointer.
//!
//! An operand is a pointer and one bit of `steps`. Where the bit is set the operand is a vector of `n` elements; where
//! it is clear it is a block of `CHUNK` equal elements that is read again for each chunk, so one function serves every
//! mixture of vectors and scalars. Operands need no alignment. The destination may be exactly an operand (each chunk
//! is read before it is written) but may not overlap one in any other way.
//!
//! A body is scalar source for one point; the driver loops over chunks of a fixed size, which the compiler turns into
//! whole registers, and no loop needs a run-time check for aliasing. Rejected: slices and iterators (the alias check
//! sends every in-place operation down the scalar path).

use crate::cpu::isa::{self, Isa, Target};
use std::mem::MaybeUninit;

/// Points per step of a kernel: the lanes of the canonical reduction order, so one chunk is one round of the lanes.
pub(crate) const CHUNK: usize = crate::loops::REDUCE_LANES;

/// `kernel(destination, a, b, c, steps, n)`.
///
/// # Safety
/// The destination is valid for `n` elements of the result's lane type, an operand that steps for `n` elements of
/// its own, one that does not for `CHUNK`. Operands that the body does not have may be anything.
pub(crate) type Kernel = unsafe fn(*mut u8, *const u8, *const u8, *const u8, usize, usize);

/// What the first operand of a kernel may be in memory.
pub(crate) trait LaneType: Copy {
    const FLOAT: bool;
}

macro_rules! lane_types {
    ($($t:ty, $float:literal;)*) => {$(
        impl LaneType for $t {
            const FLOAT: bool = $float;
        }
    )*};
}
lane_types! { u8, false; u16, false; u32, false; u64, false; i32, false; i64, false; f32, true; f64, true; }

/// What a kernel does at one point.
pub(crate) trait Body {
    /// First operand's lane type.
    type A: LaneType;
    /// Second operand's lane type.
    type B: Copy;
    /// Third operand's lane type.
    type C: Copy;
    /// Result's lane type.
    type R: Copy;
    /// Operands that are read.
    const ARITY: usize;
    /// Whether some operands are rare enough to be done one by one after the others.
    const RARE: bool = false;
    /// Whether this first operand is.
    #[inline(always)]
    fn is_rare(_: Self::A) -> bool {
        false
    }
    /// The value for such an operand.
    fn rare(_: Self::A, otherwise: Self::R) -> Self::R {
        otherwise
    }
    /// The value at one point.
    fn apply<T: Target>(a: Self::A, b: Self::B, c: Self::C) -> Self::R;
}

/// # Safety
/// As `Kernel`.
#[inline(always)]
unsafe fn drive<K: Body, T: Target>(
    dst: *mut u8,
    a: *const u8,
    b: *const u8,
    c: *const u8,
    steps: usize,
    n: usize,
) {
    let mut dst = dst as *mut K::R;
    let mut a = a as *const K::A;
    let mut b = b as *const K::B;
    let mut c = c as *const K::C;
    let step = |bit: usize| (steps >> bit & 1) * CHUNK;
    let (step_a, step_b, step_c) = (step(0), step(1), step(2));
    let (mut left, mut rest) = (n / CHUNK, n % CHUNK);
    let mut x: MaybeUninit<[K::A; CHUNK]>;
    let mut y: MaybeUninit<[K::B; CHUNK]>;
    let mut z: MaybeUninit<[K::C; CHUNK]>;
    let mut out = MaybeUninit::<[K::R; CHUNK]>::uninit();
    let mut end: *mut K::R = std::ptr::null_mut();
    // SAFETY: the caller's contract. The last partial chunk is a whole one on copies, which comes round the same loop
    // so that the body exists once; lane types are plain numbers, for which all zero bits are a value.
    unsafe {
        loop {
            while left > 0 {
                chunk::<K, T>(dst, a, b, c);
                dst = dst.add(CHUNK);
                a = a.add(step_a);
                if K::ARITY > 1 {
                    b = b.add(step_b);
                }
                if K::ARITY > 2 {
                    c = c.add(step_c);
                }
                left -= 1;
            }
            if !end.is_null() {
                return copy_some(end, out.as_ptr().cast(), n % CHUNK);
            }
            if rest == 0 {
                return;
            }
            if step_a != 0 {
                x = MaybeUninit::zeroed();
                copy_some(x.as_mut_ptr().cast(), a, rest);
                a = x.as_ptr().cast();
            }
            if K::ARITY > 1 && step_b != 0 {
                y = MaybeUninit::zeroed();
                copy_some(y.as_mut_ptr().cast(), b, rest);
                b = y.as_ptr().cast();
            }
            if K::ARITY > 2 && step_c != 0 {
                z = MaybeUninit::zeroed();
                copy_some(z.as_mut_ptr().cast(), c, rest);
                c = z.as_ptr().cast();
            }
            end = dst;
            dst = out.as_mut_ptr().cast();
            (left, rest) = (1, 0);
        }
    }
}

/// An operand that a body of smaller arity ignores.
#[inline(always)]
fn absent<X: Copy>() -> X {
    // SAFETY: lane types are plain numbers, for which all zero bits are a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Copies fewer than `CHUNK` elements, by the binary digits of their number.
///
/// # Safety
/// Both valid for `n` elements.
#[inline(always)]
unsafe fn copy_some<X: Copy>(mut dst: *mut X, mut src: *const X, n: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        if n & 8 != 0 {
            (dst as *mut [X; 8]).write_unaligned((src as *const [X; 8]).read_unaligned());
            (dst, src) = (dst.add(8), src.add(8));
        }
        if n & 4 != 0 {
            (dst as *mut [X; 4]).write_unaligned((src as *const [X; 4]).read_unaligned());
            (dst, src) = (dst.add(4), src.add(4));
        }
        if n & 2 != 0 {
            (dst as *mut [X; 2]).write_unaligned((src as *const [X; 2]).read_unaligned());
            (dst, src) = (dst.add(2), src.add(2));
        }
        if n & 1 != 0 {
            dst.write_unaligned(src.read_unaligned());
        }
    }
}

/// # Safety
/// All valid for `CHUNK` elements as far as the arity reads them.
#[inline(always)]
unsafe fn chunk<K: Body, T: Target>(dst: *mut K::R, a: *const K::A, b: *const K::B, c: *const K::C) {
    // SAFETY: the caller's contract; everything is read before anything is written.
    unsafe {
        let x = (a as *const [K::A; CHUNK]).read_unaligned();
        let y = if K::ARITY > 1 { (b as *const [K::B; CHUNK]).read_unaligned() } else { absent() };
        let z = if K::ARITY > 2 { (c as *const [K::C; CHUNK]).read_unaligned() } else { absent() };
        let mut out = MaybeUninit::<[K::R; CHUNK]>::uninit();
        let to = out.as_mut_ptr() as *mut K::R;
        for i in 0..CHUNK {
            to.add(i).write(K::apply::<T>(x[i], y[i], z[i]));
        }
        if K::RARE {
            // Only the rare operands themselves take the other way: a value may not depend on its neighbours.
            let any = x.iter().fold(false, |any, &x| any | K::is_rare(x));
            if any {
                for (i, &x) in x.iter().enumerate() {
                    if K::is_rare(x) {
                        to.add(i).write(K::rare(x, *to.add(i)));
                    }
                }
            }
        }
        (dst as *mut [K::R; CHUNK]).write_unaligned(out.assume_init());
    }
}

/// Every processor of an architecture whose baseline has vectors: chunks.
///
/// # Safety
/// As `Kernel`.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn portable<K: Body>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, steps: usize, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { drive::<K, isa::Portable>(d, a, b, c, steps, n) }
}

/// An x86 processor without AVX2, which is older than a decade: point by point, which is slow but compiled at once.
///
/// # Safety
/// As `Kernel`.
#[cfg(target_arch = "x86_64")]
unsafe fn portable<K: Body>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, steps: usize, n: usize) {
    #[inline(never)]
    fn point<K: Body>(a: K::A, b: K::B, c: K::C) -> K::R {
        let value = K::apply::<isa::Portable>(a, b, c);
        if K::RARE && K::is_rare(a) { K::rare(a, value) } else { value }
    }
    let (d, a, b, c) = (d as *mut K::R, a as *const K::A, b as *const K::B, c as *const K::C);
    for i in 0..n {
        let at = |bit: usize| i * (steps >> bit & 1);
        // SAFETY: the caller's contract.
        unsafe {
            let y = if K::ARITY > 1 { b.add(at(1)).read_unaligned() } else { absent() };
            let z = if K::ARITY > 2 { c.add(at(2)).read_unaligned() } else { absent() };
            d.add(i).write_unaligned(point::<K>(a.add(at(0)).read_unaligned(), y, z));
        }
    }
}

/// # Safety
/// As `Kernel`, on a processor of this level.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2<K: Body>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, steps: usize, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { drive::<K, isa::Avx2>(d, a, b, c, steps, n) }
}

/// # Safety
/// As `Kernel`, on a processor of this level.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn avx512<K: Body>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, steps: usize, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { drive::<K, isa::Avx512>(d, a, b, c, steps, n) }
}

/// The kernel of a body for a level.
pub(crate) fn kernel_of<K: Body>(isa: Isa) -> Kernel {
    #[cfg(target_arch = "x86_64")]
    match isa {
        Isa::Portable => portable::<K>,
        Isa::Avx2 => avx2::<K>,
        // Wider registers pay for floats; what is left over is bound by memory, and the code need not exist twice.
        Isa::Avx512 if K::A::FLOAT => avx512::<K>,
        Isa::Avx512 => avx2::<K>,
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        portable::<K>
    }
}

/// One kernel out of the source of its body: `kernel!(isa, |a: f32, b: f32| -> f32 { a + b })`. In the body `T` is the
/// target. `, is_rare => rare` names methods of the operand: where the first holds, the second gives the value.
macro_rules! kernel {
    (@body $isa:expr, $arity:literal, $a:pat, $A:ty, $b:pat, $B:ty, $c:pat, $C:ty, $R:ty, $body:expr) => {{
        struct K;
        impl $crate::cpu::loops::kernel::Body for K {
            type A = $A;
            type B = $B;
            type C = $C;
            type R = $R;
            const ARITY: usize = $arity;
            #[inline(always)]
            fn apply<T: $crate::cpu::isa::Target>($a: $A, $b: $B, $c: $C) -> $R {
                $body
            }
        }
        $crate::cpu::loops::kernel::kernel_of::<K>($isa)
    }};
    ($isa:expr, |$a:ident: $A:ty| -> $R:ty $body:block, $is_rare:ident => $rare:ident) => {{
        struct K;
        impl $crate::cpu::loops::kernel::Body for K {
            type A = $A;
            type B = u8;
            type C = u8;
            type R = $R;
            const ARITY: usize = 1;
            const RARE: bool = true;
            #[inline(always)]
            fn is_rare(a: $A) -> bool {
                a.$is_rare()
            }
            #[cold]
            fn rare(a: $A, _: $R) -> $R {
                a.$rare()
            }
            #[inline(always)]
            fn apply<T: $crate::cpu::isa::Target>($a: $A, _: u8, _: u8) -> $R {
                $body
            }
        }
        $crate::cpu::loops::kernel::kernel_of::<K>($isa)
    }};
    ($isa:expr, |$a:ident: $A:ty| -> $R:ty $body:block) => {
        kernel!(@body $isa, 1, $a, $A, _, u8, _, u8, $R, $body)
    };
    ($isa:expr, |$a:ident: $A:ty, $b:ident: $B:ty| -> $R:ty $body:block) => {
        kernel!(@body $isa, 2, $a, $A, $b, $B, _, u8, $R, $body)
    };
    ($isa:expr, |$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty| -> $R:ty $body:block) => {
        kernel!(@body $isa, 3, $a, $A, $b, $B, $c, $C, $R, $body)
    };
}
pub(crate) use kernel;
