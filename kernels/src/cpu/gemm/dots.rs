//! A row times columns that lie side by side in memory: dot products whose lanes are columns, not parts of a column.
//!
//! Lanes along k would be simpler and would change the sum. So pieces of 8 columns x 8 rows (16 x 4 with AVX-512) are
//! transposed in registers, and each lane continues the chain of its own column.

use super::machine::Dots;
use std::arch::x86_64::*;

/// The routine for f32 and AVX2.
pub(super) const F32: Option<Dots<f32>> = Some(avx2);
/// The routine for f32 and AVX-512.
pub(super) const F32_WIDE: Option<Dots<f32>> = Some(avx512);

/// Rows that one group of columns advances before the next one does: whole cache lines.
const RUN: usize = 16;

/// Whether columns this far apart fall into the same set of the first-level cache, where 16 lines do not fit.
fn collide(step: isize) -> bool {
    (step as usize).is_multiple_of(1024)
}

#[target_feature(enable = "avx2,fma,avx512f")]
unsafe fn avx512(k: usize, x: *const f32, b: *const f32, step: isize, cols: usize, into: *mut f32) {
    // SAFETY: as in `avx2`.
    unsafe {
        let mut j = 0;
        if !collide(step) {
            while cols - j >= 32 {
                wide_groups::<2>(k, x, b.offset(j as isize * step), step, into.add(j));
                j += 32;
            }
        }
        avx2(k, x, b.offset(j as isize * step), step, cols - j, into.add(j));
    }
}

/// 16 columns in each of `G` groups.
#[target_feature(enable = "avx2,fma,avx512f")]
unsafe fn wide_groups<const G: usize>(k: usize, x: *const f32, b: *const f32, step: isize, into: *mut f32) {
    // SAFETY: as in `avx2`.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); G];
        for (g, sum) in sums.iter_mut().enumerate() {
            *sum = _mm512_loadu_ps(into.add(16 * g));
        }
        let even = k / 4 * 4;
        for first in (0..even).step_by(RUN) {
            for (g, sum) in sums.iter_mut().enumerate() {
                let b = b.offset((16 * g) as isize * step);
                for p in (first..(first + RUN).min(even)).step_by(4) {
                    *sum = four_steps(*sum, x.add(p), b.add(p), step);
                }
            }
        }
        for (g, sum) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(into.add(16 * g), sum);
        }
        for j in 0..16 * G {
            tail(even, k, x, b.offset(j as isize * step), into.add(j));
        }
    }
}

/// Four steps of sixteen chains.
#[inline]
#[target_feature(enable = "avx2,fma,avx512f")]
unsafe fn four_steps(mut sum: __m512, x: *const f32, b: *const f32, step: isize) -> __m512 {
    // SAFETY: as in `avx2`.
    unsafe {
        // Columns i, i + 4, i + 8 and i + 12 share a register quarter by quarter.
        let mut fours = [_mm512_setzero_ps(); 4];
        for (i, four) in fours.iter_mut().enumerate() {
            let column = |c: usize| _mm_loadu_ps(b.offset((i + c) as isize * step));
            *four = _mm512_castps128_ps512(column(0));
            *four = _mm512_insertf32x4(*four, column(4), 1);
            *four = _mm512_insertf32x4(*four, column(8), 2);
            *four = _mm512_insertf32x4(*four, column(12), 3);
        }
        let (a, b) = (_mm512_unpacklo_ps(fours[0], fours[1]), _mm512_unpackhi_ps(fours[0], fours[1]));
        let (c, d) = (_mm512_unpacklo_ps(fours[2], fours[3]), _mm512_unpackhi_ps(fours[2], fours[3]));
        let rows = [
            _mm512_shuffle_ps(a, c, 0b01_00_01_00),
            _mm512_shuffle_ps(a, c, 0b11_10_11_10),
            _mm512_shuffle_ps(b, d, 0b01_00_01_00),
            _mm512_shuffle_ps(b, d, 0b11_10_11_10),
        ];
        for (q, row) in rows.into_iter().enumerate() {
            sum = _mm512_fmadd_ps(_mm512_set1_ps(*x.add(q)), row, sum);
        }
        sum
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(k: usize, x: *const f32, b: *const f32, step: isize, cols: usize, into: *mut f32) {
    // SAFETY: the caller vouches for k numbers, for k rows of `cols` columns `step` apart, and for `cols` sums.
    unsafe {
        // One group alone waits for its own chain.
        let mut j = 0;
        if !collide(step) {
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
