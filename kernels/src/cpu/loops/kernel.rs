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

/// What a kernel does at one point.
pub(crate) trait Body {
    /// First operand's lane type.
    type A: Copy;
    /// Second operand's lane type.
    type B: Copy;
    /// Third operand's lane type.
    type C: Copy;
    /// Result's lane type.
    type R: Copy;
    /// Operands that are read.
    const ARITY: usize;
    /// Whether a last partial chunk is better done as a whole chunk on copies than point by point.
    const COSTLY: bool;
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
    // SAFETY: the caller's contract; absent operands are redirected to the first one, which is only read.
    unsafe {
        for _ in 0..n / CHUNK {
            chunk::<K, T>(dst, a, b, c);
            dst = dst.add(CHUNK);
            a = a.add(step_a);
            if K::ARITY > 1 {
                b = b.add(step_b);
            }
            if K::ARITY > 2 {
                c = c.add(step_c);
            }
        }
        let rest = n % CHUNK;
        if rest == 0 {
            return;
        }
        if K::COSTLY {
            let mut x = [*a; CHUNK];
            copy_some(x.as_mut_ptr(), a, rest);
            let y = if K::ARITY > 1 {
                let mut y = [*b; CHUNK];
                copy_some(y.as_mut_ptr(), b, rest);
                MaybeUninit::new(y)
            } else {
                MaybeUninit::uninit()
            };
            let z = if K::ARITY > 2 {
                let mut z = [*c; CHUNK];
                copy_some(z.as_mut_ptr(), c, rest);
                MaybeUninit::new(z)
            } else {
                MaybeUninit::uninit()
            };
            let mut out = MaybeUninit::<[K::R; CHUNK]>::uninit();
            chunk::<K, T>(out.as_mut_ptr().cast(), x.as_ptr(), y.as_ptr().cast(), z.as_ptr().cast());
            copy_some(dst, out.as_ptr().cast(), rest);
        } else {
            for i in 0..rest {
                let x = *a.add(i);
                let y = if K::ARITY > 1 { *b.add(i) } else { absent() };
                let z = if K::ARITY > 2 { *c.add(i) } else { absent() };
                dst.add(i).write(K::apply::<T>(x, y, z));
            }
        }
    }
}

/// An operand that a body of smaller arity ignores.
#[inline(always)]
fn absent<X: Copy>() -> X {
    // SAFETY: lane types are plain numbers, for which all zero bits are a value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// # Safety
/// Both valid for `n` elements.
#[inline(always)]
unsafe fn copy_some<X: Copy>(dst: *mut X, src: *const X, n: usize) {
    for i in 0..n {
        // SAFETY: the caller's contract.
        unsafe { dst.add(i).write(*src.add(i)) };
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
                for i in 0..CHUNK {
                    if K::is_rare(x[i]) {
                        to.add(i).write(K::rare(x[i], *to.add(i)));
                    }
                }
            }
        }
        (dst as *mut [K::R; CHUNK]).write_unaligned(out.assume_init());
    }
}

/// # Safety
/// As `Kernel`.
unsafe fn portable<K: Body>(d: *mut u8, a: *const u8, b: *const u8, c: *const u8, steps: usize, n: usize) {
    // SAFETY: the caller's contract.
    unsafe { drive::<K, isa::Portable>(d, a, b, c, steps, n) }
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
        Isa::Avx512 => avx512::<K>,
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        portable::<K>
    }
}

/// One kernel out of the source of its body: `kernel!(isa, |a: f32, b: f32| -> f32 { a + b })`. In the body `T` is the
/// target. A body written with `costly` is long: its last partial chunk is done as a whole one.
macro_rules! kernel {
    (@body $isa:expr, $arity:literal, $costly:literal, $a:pat, $A:ty, $b:pat, $B:ty, $c:pat, $C:ty, $R:ty, $body:expr) => {{
        struct K;
        impl $crate::cpu::loops::kernel::Body for K {
            type A = $A;
            type B = $B;
            type C = $C;
            type R = $R;
            const ARITY: usize = $arity;
            const COSTLY: bool = $costly;
            #[inline(always)]
            fn apply<T: $crate::cpu::isa::Target>($a: $A, $b: $B, $c: $C) -> $R {
                $body
            }
        }
        $crate::cpu::loops::kernel::kernel_of::<K>($isa)
    }};
    ($isa:expr, costly |$a:ident: $A:ty| -> $R:ty $body:block) => {
        kernel!(@body $isa, 1, true, $a, $A, _, u8, _, u8, $R, $body)
    };
    ($isa:expr, costly |$a:ident: $A:ty| -> $R:ty $body:block, $is_rare:ident => $rare:ident) => {{
        struct K;
        impl $crate::cpu::loops::kernel::Body for K {
            type A = $A;
            type B = u8;
            type C = u8;
            type R = $R;
            const ARITY: usize = 1;
            const COSTLY: bool = true;
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
        kernel!(@body $isa, 1, false, $a, $A, _, u8, _, u8, $R, $body)
    };
    ($isa:expr, costly |$a:ident: $A:ty, $b:ident: $B:ty| -> $R:ty $body:block) => {
        kernel!(@body $isa, 2, true, $a, $A, $b, $B, _, u8, $R, $body)
    };
    ($isa:expr, |$a:ident: $A:ty, $b:ident: $B:ty| -> $R:ty $body:block) => {
        kernel!(@body $isa, 2, false, $a, $A, $b, $B, _, u8, $R, $body)
    };
    ($isa:expr, costly |$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty| -> $R:ty $body:block) => {
        kernel!(@body $isa, 3, true, $a, $A, $b, $B, $c, $C, $R, $body)
    };
    ($isa:expr, |$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty| -> $R:ty $body:block) => {
        kernel!(@body $isa, 3, false, $a, $A, $b, $B, $c, $C, $R, $body)
    };
}
pub(crate) use kernel;
