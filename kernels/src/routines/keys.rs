//! Elements of any type as unsigned numbers in the same order, so that one sort serves all types. Zeros of either sign are
//! equal; every NaN is the same and greater than all numbers, as torch orders them.

use super::member::Member;
use crate::dtype::DType;

/// The key of a NaN in the floating-point types, and the number of bits of any key of the type.
pub(super) fn nan_key(dtype: DType) -> Option<u64> {
    match dtype {
        DType::F16 | DType::BF16 => Some(u16::MAX as u64),
        DType::F32 => Some(u32::MAX as u64),
        DType::F64 => Some(u64::MAX),
        DType::Bool | DType::U8 | DType::I32 | DType::I64 => None,
    }
}

/// The key of the number zero.
pub(super) fn zero_key(dtype: DType) -> u64 {
    match dtype {
        DType::Bool | DType::U8 => 0,
        DType::F16 | DType::BF16 => 1 << 15,
        DType::I32 | DType::F32 => 1 << 31,
        DType::I64 | DType::F64 => 1 << 63,
    }
}

/// A sign-and-magnitude number of `bits` bits whose infinity is `infinity`.
fn float_key(bits: u64, width: u32, infinity: u64) -> u64 {
    let (sign, all) = (1u64 << (width - 1), u64::MAX >> (64 - width));
    let magnitude = bits & !sign & all;
    if magnitude > infinity {
        all
    } else if magnitude == 0 {
        sign
    } else if bits & sign == 0 {
        magnitude | sign
    } else {
        !bits & all
    }
}

/// The keys of operand `i`.
pub(super) fn keys(member: &Member, i: usize) -> Vec<u64> {
    let bytes = member.bytes(i);
    let halves = || bytes.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]]) as u64);
    let words = || bytes.chunks_exact(4).map(|b| u32::from_ne_bytes(std::array::from_fn(|k| b[k])));
    let longs = || bytes.chunks_exact(8).map(|b| u64::from_ne_bytes(std::array::from_fn(|k| b[k])));
    match member.dtype(i) {
        DType::Bool | DType::U8 => bytes.iter().map(|&b| b as u64).collect(),
        DType::I32 => words().map(|w| (w ^ 1 << 31) as u64).collect(),
        DType::I64 => longs().map(|w| w ^ 1 << 63).collect(),
        DType::F16 => halves().map(|b| float_key(b, 16, 0x7c00)).collect(),
        DType::BF16 => halves().map(|b| float_key(b, 16, 0x7f80)).collect(),
        DType::F32 => words().map(|b| float_key(b as u64, 32, 0x7f80_0000)).collect(),
        DType::F64 => longs().map(|b| float_key(b, 64, 0x7ff0_0000_0000_0000)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_floats_as_torch_does() {
        let key = |v: f32| float_key(v.to_bits() as u64, 32, 0x7f80_0000);
        let rising =
            [f32::NEG_INFINITY, f32::MIN, -1.0, -1e-40, 0.0, 1e-40, 1.0, f32::MAX, f32::INFINITY, f32::NAN];
        assert!(rising.windows(2).all(|w| key(w[0]) < key(w[1])));
        assert_eq!(key(-0.0), key(0.0));
        assert_eq!(key(0.0), zero_key(DType::F32));
        assert_eq!(Some(key(-f32::NAN)), nan_key(DType::F32));
    }
}
