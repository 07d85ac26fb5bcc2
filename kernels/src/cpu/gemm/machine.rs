//! Instruction sets: which tile each one computes at a time, and the inner loop that all of them share.
//!
//! A tile of `rows` x (2 vectors) of the result stays in registers while k advances. Six rows of two vectors fill the
//! 16 registers of AVX2 (12 sums, 2 of b, 1 of a), fourteen rows the 32 of AVX-512.

#[cfg(target_arch = "x86_64")]
use super::dots;
use super::transpose;
use super::vector::{Number, Plain, Vector};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};
use std::sync::OnceLock;

/// c[i, j] = (c[i, j] if `add`) + sum over p of a[i, p] * b[p, j], for the rows of the tile and `Machine::WIDTH` columns
/// that lie side by side in b and c. Arguments: k; a, its row and column step; b, its row step; c, its row step; add.
pub(super) type Tile<T> = unsafe fn(usize, *const T, isize, isize, *const T, isize, *mut T, isize, bool);

/// sums[j] += x[0] b[0, j] + x[1] b[1, j] + .. as a chain, for columns that lie side by side. Arguments: k; x; b, the step
/// between its columns; the number of columns; sums.
pub(super) type Dots<T> = unsafe fn(usize, *const T, *const T, isize, usize, *mut T);

/// How an instruction set multiplies matrices of `T`.
pub(super) trait Machine<T: Number> {
    /// The register.
    type Vector: Vector<Item = T>;
    /// Rows of the largest tile.
    const ROWS: usize;
    /// Columns of a tile.
    const WIDTH: usize = 2 * <Self::Vector as Vector>::LANES;
    /// The tile of r + 1 rows at position r.
    const TILES: &'static [Tile<T>];
    /// Rows of a packed: a block of a of this height and `BLOCK` columns is to stay in the second-level cache.
    const PACK_ROWS: usize;
    /// Dot products, where there is a routine for them.
    const DOTS: Option<Dots<T>>;
    /// Writes the `SQUARE` rows at `from` as columns at `to`; steps are between rows.
    unsafe fn transpose(from: *const T, from_step: isize, to: *mut T, to_step: usize);
}

/// An instruction set; later ones include earlier ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Level {
    /// Whatever the compiler was told.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F.
    Avx512,
}

impl Level {
    /// Every one.
    pub(super) const ALL: [Level; 3] = [Level::Portable, Level::Avx2, Level::Avx512];

    /// The best one that this processor has.
    pub(super) fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| {
            Level::ALL.into_iter().rev().find(|l| l.is_available()).unwrap_or(Level::Portable)
        })
    }

    /// Whether this processor has it.
    pub(super) fn is_available(self) -> bool {
        match self {
            Level::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => is_x86_feature_detected!("avx512f") && Level::Avx2.is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => false,
        }
    }
}

pub(super) struct Portable;
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) struct Avx512;

#[inline(always)]
unsafe fn tile<V: Vector, const R: usize, const UNROLL: usize>(
    k: usize,
    mut a: *const V::Item,
    a_row: isize,
    a_col: isize,
    mut b: *const V::Item,
    b_row: isize,
    c: *mut V::Item,
    c_row: isize,
    add: bool,
) {
    // SAFETY: the caller vouches for R rows and k columns of a, k rows of b, R rows of c, and for the instructions.
    unsafe {
        // The result is not read before the loop has ended; by then it is there.
        for i in 0..R {
            let to = c.wrapping_offset(i as isize * c_row);
            V::prefetch(to);
            V::prefetch(to.wrapping_add(2 * V::LANES - 1));
        }
        let mut sums = [[V::splat(V::Item::ZERO); 2]; R];
        macro_rules! step {
            ($sums:ident) => {
                let (left, right) = (V::load(b), V::load(b.add(V::LANES)));
                for (i, sum) in $sums.iter_mut().enumerate() {
                    let x = V::splat(*a.offset(i as isize * a_row));
                    sum[0] = x.mul_add(left, sum[0]);
                    sum[1] = x.mul_add(right, sum[1]);
                }
                a = a.wrapping_offset(a_col);
                b = b.wrapping_offset(b_row);
            };
        }
        for _ in 0..k / UNROLL {
            for _ in 0..UNROLL {
                step!(sums);
            }
        }
        for _ in 0..k % UNROLL {
            step!(sums);
        }
        for (i, [left, right]) in sums.into_iter().enumerate() {
            let to = c.offset(i as isize * c_row);
            let next = to.add(V::LANES);
            if add {
                V::load(to).add(left).store(to);
                V::load(next).add(right).store(next);
            } else {
                left.store(to);
                right.store(next);
            }
        }
    }
}

macro_rules! tiles {
    ($tile:ident, $vector:ty, [$($rows:literal)*]) => { &[$($tile::<$vector, $rows>),*] };
}

macro_rules! machine {
    ($machine:ident, $tile:ident, [$($feature:literal)?], $transpose:ident, $rows:literal, $counts:tt;
        $($item:ty, $vector:ty, $pack_rows:literal, $dots:expr;)*) => {
        $(#[target_feature(enable = $feature)])?
        unsafe fn $tile<V: Vector, const R: usize>(
            k: usize,
            a: *const V::Item,
            a_row: isize,
            a_col: isize,
            b: *const V::Item,
            b_row: isize,
            c: *mut V::Item,
            c_row: isize,
            add: bool,
        ) {
            // SAFETY: the same contract.
            unsafe {
                // The common case, with steps that are constants and an unrolled loop: a row by row, b packed.
                if a_col == 1 && b_row == 2 * V::LANES as isize {
                    tile::<V, R, 4>(k, a, a_row, 1, b, 2 * V::LANES as isize, c, c_row, add)
                } else {
                    tile::<V, R, 1>(k, a, a_row, a_col, b, b_row, c, c_row, add)
                }
            }
        }
        $(impl Machine<$item> for $machine {
            type Vector = $vector;
            const ROWS: usize = $rows;
            const TILES: &'static [Tile<$item>] = tiles!($tile, $vector, $counts);
            const PACK_ROWS: usize = $pack_rows;
            const DOTS: Option<Dots<$item>> = $dots;
            #[inline(always)]
            unsafe fn transpose(from: *const $item, from_step: isize, to: *mut $item, to_step: usize) {
                // SAFETY: the same contract.
                unsafe { transpose::$transpose(from, from_step, to, to_step) }
            }
        })*
    };
}

machine! { Portable, tile_portable, [], plain, 4, [1 2 3 4];
    f32, Plain<f32, 4>, 128, None;
    f64, Plain<f64, 4>, 64, None;
    i32, Plain<i32, 4>, 128, None;
    i64, Plain<i64, 4>, 64, None;
}
#[cfg(target_arch = "x86_64")]
machine! { Avx2, tile_avx2, ["avx2,fma"], avx2, 6, [1 2 3 4 5 6];
    f32, __m256, 252, dots::F32;
    f64, __m256d, 126, None;
    i32, Plain<i32, 8>, 252, None;
    i64, Plain<i64, 4>, 126, None;
}
#[cfg(target_arch = "x86_64")]
machine! { Avx512, tile_avx512, ["avx2,fma,avx512f"], avx2, 14, [1 2 3 4 5 6 7 8 9 10 11 12 13 14];
    f32, __m512, 448, dots::F32_WIDE;
    f64, __m512d, 224, None;
    i32, Plain<i32, 16>, 448, None;
    i64, Plain<i64, 8>, 224, None;
}
