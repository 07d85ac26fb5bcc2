//! A row times columns that lie side by side in memory: dot products whose lanes are columns, not parts of a column.
//!
//! Lanes along k would be simpler and would change the sum. So squares of 8 columns x 8 rows are transposed in
//! registers, and each lane continues the chain of its own column.

use super::machine::Dots;
use std::arch::x86_64::*;

/// The routine for f32 and AVX2.
pub(super) const F32: Option<Dots<f32>> = Some(avx2);

/// Rows that one group of columns advances before the next one does: whole cache lines.
const RUN: usize = 16;

#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(k: usize, x: *const f32, b: *const f32, step: isize, cols: usize, into: *mut f32) {
    // SAFETY: the caller vouches for k numbers, for k rows of `cols` columns `step` apart, and for `cols` sums.
    unsafe {
        // One group alone waits for its own chain. Two groups must not be used where columns fall into the same set of
        // the first-level cache, since 16 lines do not fit there.
        let mut j = 0;
        if !(step as usize).is_multiple_of(1024) {
            while cols - j >= 16 {
                groups::<2>(k, x, b.offset(j as isize * step), step, into.add(j));
                j += 16;
            }
        }
        while cols - j >= 8 {
            groups::<1>(k, x, b.offset(j as isize * step), step, into.add(j));
            j += 8;
        }
        for j in j..cols {
            tail(0, k, x, b.offset(j as isize * step), into.add(j));
        }
    }
}

/// 8 columns in each of `G` groups.
#[target_feature(enable = "avx2,fma")]
unsafe fn groups<const G: usize>(k: usize, x: *const f32, b: *const f32, step: isize, into: *mut f32) {
    // SAFETY: as in `avx2`.
    unsafe {
        let mut sums = [_mm256_setzero_ps(); G];
        for (g, sum) in sums.iter_mut().enumerate() {
            *sum = _mm256_loadu_ps(into.add(8 * g));
        }
        let even = k / 8 * 8;
        for first in (0..even).step_by(RUN) {
            for (g, sum) in sums.iter_mut().enumerate() {
                for p in (first..(first + RUN).min(even)).step_by(8) {
                    *sum = square(*sum, x.add(p), b.offset((8 * g) as isize * step + p as isize), step);
                }
            }
        }
        for (g, sum) in sums.into_iter().enumerate() {
            _mm256_storeu_ps(into.add(8 * g), sum);
        }
        for j in 0..8 * G {
            tail(even, k, x, b.offset(j as isize * step), into.add(j));
        }
    }
}

/// Eight steps of eight chains.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn square(mut sum: __m256, x: *const f32, b: *const f32, step: isize) -> __m256 {
    // SAFETY: as in `avx2`.
    unsafe {
        for p in [0, 4] {
            // Columns i and i + 4 share a register half by half.
            let mut pairs = [_mm256_setzero_ps(); 4];
            for (i, pair) in pairs.iter_mut().enumerate() {
                let (low, high) =
                    (b.offset(i as isize * step).add(p), b.offset((i as isize + 4) * step).add(p));
                *pair =
                    _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
            }
            let (a, b) = (_mm256_unpacklo_ps(pairs[0], pairs[1]), _mm256_unpackhi_ps(pairs[0], pairs[1]));
            let (c, d) = (_mm256_unpacklo_ps(pairs[2], pairs[3]), _mm256_unpackhi_ps(pairs[2], pairs[3]));
            let rows = [
                _mm256_shuffle_ps(a, c, 0b01_00_01_00),
                _mm256_shuffle_ps(a, c, 0b11_10_11_10),
                _mm256_shuffle_ps(b, d, 0b01_00_01_00),
                _mm256_shuffle_ps(b, d, 0b11_10_11_10),
            ];
            for (q, row) in rows.into_iter().enumerate() {
                sum = _mm256_fmadd_ps(_mm256_set1_ps(*x.add(p + q)), row, sum);
            }
        }
        sum
    }
}

/// Steps `from..to` of one chain.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn tail(from: usize, to: usize, x: *const f32, b: *const f32, into: *mut f32) {
    // SAFETY: as in `avx2`.
    unsafe {
        for p in from..to {
            *into = (*x.add(p)).mul_add(*b.add(p), *into);
        }
    }
}
