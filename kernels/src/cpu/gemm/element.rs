//! What lies in memory, and the number that it is accumulated as.

use super::vector::Number;
use half::{bf16, f16};

/// An element of a matrix.
pub(super) trait Element: Copy + Send + Sync + 'static {
    /// What its products are accumulated in.
    type Sum: Number;
    /// Whether `Sum` is the same type, so that sums can be kept in the result itself.
    const IS_SUM: bool;
    /// Whether AVX-512 has code of its own: for floats. Integers use that of AVX2, to keep the program small.
    const IS_FLOAT: bool;
    /// The element as a number.
    fn widen(self) -> Self::Sum;
    /// The number as an element, rounded once.
    fn narrow(sum: Self::Sum) -> Self;
    /// self + b, rounded.
    fn add(self, b: Self) -> Self;
    /// 0 for numbers below 0; NaN and -0 stay, as in `Max(x, 0)` of the loop language.
    fn relu(self) -> Self;
}

/// A truth value in memory: 0 or 1.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Truth(u8);

macro_rules! elements {
    ($($type:ty, $sum:ty, $is_sum:literal, $is_float:literal, |$x:ident| $widen:expr, $narrow:expr, |$a:ident, $b:ident| $add:expr, $relu:expr;)*) => {$(
        impl Element for $type {
            type Sum = $sum;
            const IS_SUM: bool = $is_sum;
            const IS_FLOAT: bool = $is_float;
            #[inline(always)]
            fn widen(self) -> $sum { let $x = self; $widen }
            #[inline(always)]
            fn narrow($x: $sum) -> $type { $narrow }
            #[inline(always)]
            fn add(self, $b: $type) -> $type { let $a = self; $add }
            #[inline(always)]
            fn relu(self) -> $type { let $a = self; $relu }
        }
    )*};
}

elements! {
    f32, f32, true, true, |x| x, x, |a, b| a + b, if a < 0.0 { 0.0 } else { a };
    f64, f64, true, true, |x| x, x, |a, b| a + b, if a < 0.0 { 0.0 } else { a };
    i32, i32, true, false, |x| x, x, |a, b| a.wrapping_add(b), a.max(0);
    i64, i64, true, false, |x| x, x, |a, b| a.wrapping_add(b), a.max(0);
    // Sums modulo 2^32 are right modulo 2^8.
    u8, i32, false, false, |x| x as i32, x as u8, |a, b| a.wrapping_add(b), a;
    f16, f32, false, true, |x| widen_f16(x), narrow_f16(x), |a, b| narrow_f16(widen_f16(a) + widen_f16(b)),
        if widen_f16(a) < 0.0 { f16::ZERO } else { a };
    bf16, f32, false, true, |x| widen_bf16(x), bf16::from_f32(x), |a, b| bf16::from_f32(widen_bf16(a) + widen_bf16(b)),
        if widen_bf16(a) < 0.0 { bf16::ZERO } else { a };
    // The number of pairs that are both true; k is far below 2^32.
    Truth, i32, false, false, |x| (x.0 != 0) as i32, Truth((x != 0) as u8), |a, b| Truth(((a.0 | b.0) != 0) as u8), a;
}

/// Branch-free, so that packing loops become vector code; `half` asks the processor about F16C at every number.
#[inline(always)]
fn widen_f16(x: f16) -> f32 {
    let bits = x.to_bits() as u32;
    let magnitude = (bits & 0x7fff) << 13;
    // The exponent moves from bias 15 to bias 127 by an exact multiplication, which also normalises subnormals.
    let finite = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let special = magnitude | 0x7f80_0000;
    let is_special = bits & 0x7c00 == 0x7c00;
    f32::from_bits((if is_special { special } else { finite }) | (bits & 0x8000) << 16)
}

/// To the nearest, ties to even; free of branches and of questions to the processor, as `widen_f16`.
#[inline(always)]
fn narrow_f16(x: f32) -> f16 {
    let sign = x.to_bits() >> 16 & 0x8000;
    let bits = x.to_bits() & 0x7fff_ffff;
    let nan = 0x7e00 | (bits >> 13 & 0x3ff);
    // The exponent moves from bias 127 to bias 15; adding a little less than half a step, and one more to odd numbers,
    // rounds, and a carry out of the fraction is right as it is.
    let normal = bits.wrapping_add(0xc800_0fff).wrapping_add(bits >> 13 & 1) >> 13;
    // Half a unit's last place is the step of subnormals, so that an addition rounds to it.
    let subnormal = (f32::from_bits(bits) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let finite = if bits < 0x3880_0000 { subnormal } else { normal };
    let number = if bits >= 0x4780_0000 { 0x7c00 } else { finite };
    f16::from_bits((sign | if bits > 0x7f80_0000 { nan } else { number }) as u16)
}

#[inline(always)]
fn widen_bf16(x: bf16) -> f32 {
    f32::from_bits((x.to_bits() as u32) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_and_what_lies_between_rounds_as_it_should() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits).to_f32().to_bits();
            // The number, its neighbours, and the middle to the next one with its neighbours.
            for offset in [0u32, 1, u32::MAX, 0xfff, 0x1000, 0x1001, 0x1fff, 0x17ff] {
                let x = f32::from_bits(half.wrapping_add(offset));
                let (ours, theirs) = (narrow_f16(x), f16::from_f32(x));
                assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{x:e}");
            }
        }
        for seed in 0..1 << 20 {
            let x = f32::from_bits(crate::philox::random_bits(1, 0, seed, 0));
            let (ours, theirs) = (narrow_f16(x), f16::from_f32(x));
            assert!(ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(), "{x:e}");
        }
    }

    #[test]
    fn every_half_widens_exactly() {
        for bits in 0..=u16::MAX {
            let (h, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            if h.is_nan() {
                assert!(widen_f16(h).is_nan());
            } else {
                assert_eq!(widen_f16(h).to_bits(), h.to_f32().to_bits());
            }
            if b.is_nan() {
                assert!(widen_bf16(b).is_nan());
            } else {
                assert_eq!(widen_bf16(b).to_bits(), b.to_f32().to_bits());
            }
        }
    }
}
