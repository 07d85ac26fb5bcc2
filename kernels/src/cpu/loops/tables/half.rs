//! Half types: rounding of f32 lanes, and conversion between memory and lanes.

use crate::cpu::isa::Isa;
use crate::cpu::loops::kernel::{Kernel, kernel};
use half::{bf16, f16};

/// The f32 lane of an f64 rounded once to f16.
#[inline(always)]
pub(crate) fn round_f16_from(v: f64) -> f32 {
    f16::from_f64(v).to_f32()
}

/// The f32 lane of an f64 rounded once to bf16.
#[inline(always)]
pub(crate) fn round_bf16_from(v: f64) -> f32 {
    bf16::from_f64(v).to_f32()
}

/// The bits of an f32 rounded to bf16, ties to even; NaN stays NaN (quiet).
#[inline(always)]
fn bf16_bits(v: f32) -> u32 {
    let bits = v.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if v.is_nan() { bits >> 16 | 0x40 } else { rounded >> 16 }
}

/// f32 lanes to f32 lanes that are bf16 values.
pub(crate) fn round_bf16(isa: Isa) -> Kernel {
    kernel!(isa, |a: f32| -> f32 { f32::from_bits(bf16_bits(a) << 16) })
}

/// bf16 memory to lanes.
pub(crate) fn load_bf16(isa: Isa) -> Kernel {
    kernel!(isa, |a: u16| -> f32 { f32::from_bits((a as u32) << 16) })
}

/// Lanes to bf16 memory.
pub(crate) fn store_bf16(isa: Isa) -> Kernel {
    kernel!(isa, |a: f32| -> u16 { bf16_bits(a) as u16 })
}

/// f32 lanes to f32 lanes that are f16 values.
pub(crate) fn round_f16(isa: Isa) -> Kernel {
    match isa {
        Isa::Portable => kernel!(Isa::Portable, |a: f32| -> f32 { f16::from_f32(a).to_f32() }),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => x86::round,
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => round_f16(Isa::Portable),
    }
}

/// f16 memory to lanes.
pub(crate) fn load_f16(isa: Isa) -> Kernel {
    match isa {
        Isa::Portable => kernel!(Isa::Portable, |a: u16| -> f32 { f16::from_bits(a).to_f32() }),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => x86::load,
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => load_f16(Isa::Portable),
    }
}

/// Lanes to f16 memory.
pub(crate) fn store_f16(isa: Isa) -> Kernel {
    match isa {
        Isa::Portable => kernel!(Isa::Portable, |a: f32| -> u16 { f16::from_f32(a).to_bits() }),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::Avx512 => x86::store,
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => store_f16(Isa::Portable),
    }
}

/// F16C by hand: the compiler does not know the conversion as a loop over scalars.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use half::f16;
    use std::arch::x86_64::*;

    /// # Safety
    /// As `Kernel`, with F16C; the operand steps unless bit 0 of `steps` is clear.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn round(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, steps: usize, n: usize) {
        let (d, a, step) = (d as *mut f32, a as *const f32, steps & 1);
        // SAFETY: the caller's contract.
        unsafe {
            let mut i = 0;
            while i + 8 <= n {
                let h = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(a.add(i * step)));
                _mm256_storeu_ps(d.add(i), _mm256_cvtph_ps(h));
                i += 8;
            }
            for i in i..n {
                *d.add(i) = f16::from_f32(*a.add(i * step)).to_f32();
            }
        }
    }

    /// # Safety
    /// As `Kernel`, with F16C.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn load(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, steps: usize, n: usize) {
        let (d, a, step) = (d as *mut f32, a as *const u16, steps & 1);
        // SAFETY: the caller's contract.
        unsafe {
            let mut i = 0;
            while i + 8 <= n {
                _mm256_storeu_ps(
                    d.add(i),
                    _mm256_cvtph_ps(_mm_loadu_si128(a.add(i * step) as *const __m128i)),
                );
                i += 8;
            }
            for i in i..n {
                *d.add(i) = f16::from_bits(*a.add(i * step)).to_f32();
            }
        }
    }

    /// # Safety
    /// As `Kernel`, with F16C.
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn store(d: *mut u8, a: *const u8, _: *const u8, _: *const u8, steps: usize, n: usize) {
        let (d, a, step) = (d as *mut u16, a as *const f32, steps & 1);
        // SAFETY: the caller's contract.
        unsafe {
            let mut i = 0;
            while i + 8 <= n {
                let h = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm256_loadu_ps(a.add(i * step)));
                _mm_storeu_si128(d.add(i) as *mut __m128i, h);
                i += 8;
            }
            for i in i..n {
                *d.add(i) = f16::from_f32(*a.add(i * step)).to_bits();
            }
        }
    }
}
