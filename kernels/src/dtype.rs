//! Element types, host scalars and the promotion lattice (torch's).

use std::fmt;
use std::hash::{Hash, Hasher};

/// The type of one element of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum DType {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 32-bit integer, wrapping.
    I32,
    /// Signed 64-bit integer, wrapping.
    I64,
    /// IEEE binary16; computed in f32 and rounded after every instruction.
    F16,
    /// bfloat16; computed in f32 and rounded after every instruction.
    BF16,
    /// IEEE binary32.
    F32,
    /// IEEE binary64.
    F64,
}

impl DType {
    /// Every element type, in promotion order.
    pub const ALL: [DType; 8] =
        [DType::Bool, DType::U8, DType::I32, DType::I64, DType::F16, DType::BF16, DType::F32, DType::F64];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// The short name of the text forms: `f32`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        }
    }

    /// torch's name: `float32`.
    pub const fn torch_name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::U8 => "uint8",
            DType::I32 => "int32",
            DType::I64 => "int64",
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::F32 => "float32",
            DType::F64 => "float64",
        }
    }

    /// The type with this short or torch name.
    pub fn parse(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name || d.torch_name() == name)
    }

    /// f16, bf16, f32 or f64.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    /// f16 or bf16, which are computed in f32.
    pub const fn is_narrow(self) -> bool {
        matches!(self, DType::F16 | DType::BF16)
    }

    /// u8, i32 or i64 (not bool).
    pub const fn is_int(self) -> bool {
        matches!(self, DType::U8 | DType::I32 | DType::I64)
    }

    /// The type in which sums of this type are accumulated: halves in f32, everything else in itself.
    pub const fn accumulator(self) -> DType {
        match self {
            DType::F16 | DType::BF16 => DType::F32,
            other => other,
        }
    }

    /// torch's `promote_types` for two tensors of rank >= 1.
    pub fn promote(self, other: DType) -> DType {
        match (self, other) {
            (a, b) if a == b => a,
            (DType::F16, DType::BF16) | (DType::BF16, DType::F16) => DType::F32,
            (a, b) => a.max(b),
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A host number, as it appears in program text and in launch parameters.
///
/// Equality and hashing are by bits, so that NaN equals itself and -0.0 differs from 0.0.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    /// A floating-point number.
    Float(f64),
    /// An integer.
    Int(i64),
    /// A truth value.
    Bool(bool),
}

impl Scalar {
    /// The value as f64 (integers rounded, truth as 0 or 1).
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::Float(v) => v,
            Scalar::Int(v) => v as f64,
            Scalar::Bool(v) => v as u8 as f64,
        }
    }

    /// The value as i64 (floats truncated toward zero and saturated, truth as 0 or 1).
    pub fn to_i64(self) -> i64 {
        match self {
            Scalar::Float(v) => v as i64,
            Scalar::Int(v) => v,
            Scalar::Bool(v) => v as i64,
        }
    }

    /// The value as truth: not equal to zero.
    pub fn to_bool(self) -> bool {
        match self {
            Scalar::Float(v) => v != 0.0,
            Scalar::Int(v) => v != 0,
            Scalar::Bool(v) => v,
        }
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Scalar) -> bool {
        match (self, other) {
            (Scalar::Float(a), Scalar::Float(b)) => a.to_bits() == b.to_bits(),
            (Scalar::Int(a), Scalar::Int(b)) => a == b,
            (Scalar::Bool(a), Scalar::Bool(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Scalar::Float(v) => (0u8, v.to_bits()).hash(state),
            Scalar::Int(v) => (1u8, v).hash(state),
            Scalar::Bool(v) => (2u8, v).hash(state),
        }
    }
}

impl From<f64> for Scalar {
    fn from(v: f64) -> Scalar {
        Scalar::Float(v)
    }
}
impl From<i64> for Scalar {
    fn from(v: i64) -> Scalar {
        Scalar::Int(v)
    }
}
impl From<bool> for Scalar {
    fn from(v: bool) -> Scalar {
        Scalar::Bool(v)
    }
}

impl fmt::Display for Scalar {
    /// Text that parses back to the same bits: `1.5`, `inf`, `nan`, `3`, `true`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Float(v) if v.is_nan() => f.write_str("nan"),
            Scalar::Float(v) if v.is_infinite() => f.write_str(if *v > 0.0 { "inf" } else { "-inf" }),
            Scalar::Float(v) => write!(f, "{v:?}"),
            Scalar::Int(v) => write!(f, "{v}"),
            Scalar::Bool(v) => write!(f, "{v}"),
        }
    }
}

/// A Rust type that is the element of a tensor.
pub trait Element: bytemuck::NoUninit + Copy + Send + Sync + 'static {
    /// Its element type.
    const DTYPE: DType;
    /// The value as a host number.
    fn to_scalar(self) -> Scalar;
    /// The host number converted to this type as torch's `to` does.
    fn from_scalar(value: Scalar) -> Self;
}

macro_rules! elements {
    ($($type:ty, $dtype:ident, $to:expr, $from:expr;)*) => {$(
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            fn to_scalar(self) -> Scalar { ($to)(self) }
            fn from_scalar(value: Scalar) -> Self { ($from)(value) }
        }
    )*};
}

elements! {
    bool, Bool, Scalar::Bool, Scalar::to_bool;
    u8, U8, |v: u8| Scalar::Int(v as i64), |s: Scalar| s.to_i64() as u8;
    i32, I32, |v: i32| Scalar::Int(v as i64), |s: Scalar| s.to_i64() as i32;
    i64, I64, Scalar::Int, Scalar::to_i64;
    half::f16, F16, |v: half::f16| Scalar::Float(v.to_f64()), |s: Scalar| half::f16::from_f64(s.to_f64());
    half::bf16, BF16, |v: half::bf16| Scalar::Float(v.to_f64()), |s: Scalar| half::bf16::from_f64(s.to_f64());
    f32, F32, |v: f32| Scalar::Float(v as f64), |s: Scalar| s.to_f64() as f32;
    f64, F64, Scalar::Float, Scalar::to_f64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_is_torchs() {
        assert_eq!(DType::Bool.promote(DType::U8), DType::U8);
        assert_eq!(DType::I64.promote(DType::F16), DType::F16);
        assert_eq!(DType::F16.promote(DType::BF16), DType::F32);
        for a in DType::ALL {
            assert_eq!(DType::parse(a.name()), Some(a));
            assert_eq!(DType::parse(a.torch_name()), Some(a));
            for b in DType::ALL {
                assert_eq!(a.promote(b), b.promote(a));
            }
        }
    }
}
