//! Squares of 8 x 8 numbers, transposed in registers: how a packed block is filled from the direction that it does not
//! lie in. Numbers are only moved, so one routine serves all types of a size.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Side of a square.
pub(super) const SQUARE: usize = 8;

/// Writes row i of `from` to column i of `to`; steps are between rows, which lie side by side.
#[inline(always)]
pub(super) unsafe fn plain<T: Copy>(from: *const T, from_step: isize, to: *mut T, to_step: usize) {
    // SAFETY: the caller vouches for both squares.
    unsafe {
        for i in 0..SQUARE {
            let from = from.offset(i as isize * from_step);
            for j in 0..SQUARE {
                *to.add(j * to_step + i) = *from.add(j);
            }
        }
    }
}

/// As `plain`, for types of 4 or 8 bytes, on a processor with AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn avx2<T: Copy>(from: *const T, from_step: isize, to: *mut T, to_step: usize) {
    // SAFETY: the caller vouches for both squares and for AVX2.
    unsafe {
        match size_of::<T>() {
            4 => words(from.cast(), from_step, to.cast(), to_step),
            8 => {
                for (i, j) in [(0, 0), (0, 4), (4, 0), (4, 4)] {
                    let from: *const f64 = from.offset(i as isize * from_step + j as isize).cast();
                    quads(from, from_step, to.add(j * to_step + i).cast(), to_step);
                }
            }
            _ => plain(from, from_step, to, to_step),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn words(from: *const f32, from_step: isize, to: *mut f32, to_step: usize) {
    // SAFETY: the caller vouches for both squares.
    unsafe {
        // Rows i and i + 4 share a register half by half, so that all later moves stay within halves.
        let half = |i: isize, at: usize| {
            let low = _mm_loadu_ps(from.offset(i * from_step).add(at));
            _mm256_insertf128_ps(
                _mm256_castps128_ps256(low),
                _mm_loadu_ps(from.offset((i + 4) * from_step).add(at)),
                1,
            )
        };
        for at in [0, 4] {
            let (r0, r1, r2, r3) = (half(0, at), half(1, at), half(2, at), half(3, at));
            let (a, b) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
            let (c, d) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
            let columns = [
                _mm256_shuffle_ps(a, c, 0b01_00_01_00),
                _mm256_shuffle_ps(a, c, 0b11_10_11_10),
                _mm256_shuffle_ps(b, d, 0b01_00_01_00),
                _mm256_shuffle_ps(b, d, 0b11_10_11_10),
            ];
            for (j, column) in columns.into_iter().enumerate() {
                _mm256_storeu_ps(to.add((at + j) * to_step), column);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn quads(from: *const f64, from_step: isize, to: *mut f64, to_step: usize) {
    // SAFETY: the caller vouches for both squares.
    unsafe {
        let row = |i: isize| _mm256_loadu_pd(from.offset(i * from_step));
        let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
        let (a, b) = (_mm256_unpacklo_pd(r0, r1), _mm256_unpackhi_pd(r0, r1));
        let (c, d) = (_mm256_unpacklo_pd(r2, r3), _mm256_unpackhi_pd(r2, r3));
        let columns = [
            _mm256_permute2f128_pd(a, c, 0x20),
            _mm256_permute2f128_pd(b, d, 0x20),
            _mm256_permute2f128_pd(a, c, 0x31),
            _mm256_permute2f128_pd(b, d, 0x31),
        ];
        for (j, column) in columns.into_iter().enumerate() {
            _mm256_storeu_pd(to.add(j * to_step), column);
        }
    }
}
