//! Programs and geometries of the loop language.
//!
//! # The space
//!
//! A space has outer axes and inner axes. Outer points are independent of each other. Reductions run over all inner
//! axes of one outer point, in the order below; a program without reductions has no inner axes. Points are numbered
//! row-major, outer axes before inner ones.
//!
//! # Values
//!
//! A program is a list of instructions in single-assignment form. Each value has an element type and a level:
//! `Level::Elem` (one per point) or `Level::Row` (one per outer point). A `Reduce` turns an Elem value into a Row
//! value and thereby closes the inner loop; Elem instructions that use the result run in a further sweep over the same
//! row. So softmax and layer norm are one program each. An instruction may be of a higher level than its operands (a
//! Row value is the same at each inner point), never of a lower one, `Reduce` apart.
//!
//! Every instruction rounds its result to its declared type (f16 and bf16 are computed in f32, then rounded). FMA is
//! used only where `BinaryOp`s are not: there is no implicit contraction.
//!
//! # Order of reductions
//!
//! The order depends on the number of inner points alone, never on strides, tiles or threads. Inner points 0..K are
//! cut into blocks of `REDUCE_BLOCK`; in a block, point k belongs to lane k % `REDUCE_LANES`; a lane combines its
//! points in ascending order starting from the identity; lanes combine by halves (lane i with lane i + 8, then i + 4,
//! i + 2 and i + 1, the lower lane as left operand); block results combine in ascending order starting from the first.
//! Halves accumulate in f32 and are rounded at the end. `Max`, `Min` propagate NaN (first operand wins ties);
//! `ArgMax`, `ArgMin` give the first index, NaN counting as the extremum.

use crate::dtype::{DType, Scalar};
use crate::shape::{Dims, Strides};
use smallvec::SmallVec;
use thiserror::Error;

/// Lanes of the canonical reduction order.
pub const REDUCE_LANES: usize = 16;
/// Points of one block of the canonical reduction order.
pub const REDUCE_BLOCK: usize = 4096;

/// A value: the index of the instruction that makes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Reg(pub u32);

/// An access: the index into `Program::accesses`, `Geometry::accesses` and the launch pointers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct AccessId(pub u32);

/// How often a value exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Once for each outer point.
    Row,
    /// Once for each point.
    Elem,
}

/// Whether an access reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AccessKind {
    /// Only read.
    Read,
    /// Only written, or (with `Combine::Add`) read and written.
    Write,
}

/// One way of stepping through one buffer.
///
/// A written buffer may also be read by another access of the same program only if both step through it identically
/// (in place), which the launch guarantees.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Access {
    /// Element type of the buffer.
    pub dtype: DType,
    /// Direction.
    pub kind: AccessKind,
}

/// One instruction; its position is its value.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Inst {
    /// What is done.
    pub op: InstOp,
    /// Element type of the result; of the stored value for `Store`.
    pub dtype: DType,
    /// Level of the result; of the store for `Store`.
    pub level: Level,
}

/// What an instruction does. Operands are values of earlier instructions.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum InstOp {
    /// A constant, converted to the instruction's type. Level Row.
    Const(Scalar),
    /// The launch parameter with this index, of type `Program::params[i]`. Level Row.
    Param(u32),
    /// The coordinate along an axis (outer axes first, then inner ones), i64. Level Row only for outer axes.
    Index(u32),
    /// The number of inner points, converted to the instruction's type. Level Row.
    Extent,
    /// An element of a buffer. A Row load has stride 0 along every inner axis.
    /// With `index` (an i64 value) the position is moved by index * gather stride; the index must be in 0..extent
    /// (negative ones have been wrapped before), else the launch fails with `IndexOutOfRange`.
    /// With `mask` (a bool value) nothing is read where it is false and the result is 0.
    Load {
        /// Where from.
        access: AccessId,
        /// Gathered position.
        index: Option<Reg>,
        /// Where to read.
        mask: Option<Reg>,
    },
    /// A function of one value; the result has the operand's type except for tests (`IsNan`..), which give bool.
    Unary(UnaryOp, Reg),
    /// A function of two values of the same type; comparisons give bool.
    Binary(BinaryOp, Reg, Reg),
    /// The second operand where the first (bool) is true, else the third.
    Select(Reg, Reg, Reg),
    /// The operand converted to the instruction's type as torch's `to` does (float to int truncates). To the same type
    /// it is a copy, which is how a Row value becomes an Elem value.
    Cast(Reg),
    /// 32 random bits (as i32) of `philox::random_bits(seed, offset, point number, stream)`; seed and offset are i64
    /// Row values. Level Elem.
    RandomBits {
        /// Word of the block, 0..4.
        stream: u8,
        /// Key.
        seed: Reg,
        /// Upper half of the counter.
        offset: Reg,
    },
    /// Combines the operand (Elem) over the inner points. Level Row. Of zero points: the identity.
    Reduce(ReduceOp, Reg),
    /// The running combination over the inner points in ascending order (a plain left-to-right scan from the identity,
    /// accumulated in `DType::accumulator`, each output rounded). Elem to Elem; it closes the inner loop like a reduction.
    Scan(ReduceOp, Reg),
    /// Writes a value. A Row store happens once for each outer point. `index` as in `Load`. With `Combine::Add` or an
    /// `index` the points are visited in ascending order by one thread, so that the result is the same every time.
    Store {
        /// Where to.
        access: AccessId,
        /// What.
        value: Reg,
        /// Scattered position.
        index: Option<Reg>,
        /// How.
        combine: Combine,
    },
}

/// How a store meets what is there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Combine {
    /// Replaces it.
    Set,
    /// Adds to it (in the access's type).
    Add,
}

macro_rules! names {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$doc])* $variant,)* }
        impl $name {
            /// Every one, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];
            /// Its name in the text form.
            pub const fn name(self) -> &'static str { match self { $($name::$variant => $text,)* } }
            /// The one with this name.
            pub fn parse(text: &str) -> Option<$name> { match text { $($text => Some($name::$variant),)* _ => None } }
        }
    };
}

names! {
    /// Functions of one value. "Float" ones are defined for float types, the others as noted.
    UnaryOp {
        /// -x; wraps for integers.
        Neg = "neg",
        /// |x|; wraps for integers.
        Abs = "abs",
        /// -1 or 1 with x's sign; x itself where it is zero or NaN; any numeric type.
        Sign = "sign",
        /// Float: largest integer not above x.
        Floor = "floor",
        /// Float: smallest integer not below x.
        Ceil = "ceil",
        /// Float: toward zero.
        Trunc = "trunc",
        /// Float: nearest, ties to even.
        Round = "round",
        /// Float, correctly rounded.
        Sqrt = "sqrt",
        /// Float: 1 / sqrt(x), as two rounded operations.
        Rsqrt = "rsqrt",
        /// Float: 1 / x.
        Recip = "recip",
        /// Float: e^x.
        Exp = "exp",
        /// Float: 2^x.
        Exp2 = "exp2",
        /// Float: e^x - 1, accurate near 0.
        Expm1 = "expm1",
        /// Float: natural logarithm.
        Log = "log",
        /// Float: logarithm to base 2.
        Log2 = "log2",
        /// Float: logarithm to base 10.
        Log10 = "log10",
        /// Float: ln(1 + x), accurate near 0.
        Log1p = "log1p",
        /// Float.
        Sin = "sin",
        /// Float.
        Cos = "cos",
        /// Float.
        Tan = "tan",
        /// Float.
        Atan = "atan",
        /// Float.
        Tanh = "tanh",
        /// Float: the error function.
        Erf = "erf",
        /// Float: 1 - erf(x), accurate in the tail.
        Erfc = "erfc",
        /// Float: 1 / (1 + e^-x).
        Sigmoid = "sigmoid",
        /// Bool to bool.
        Not = "not",
        /// Bitwise complement; integers.
        BitNot = "bitnot",
        /// Float to bool.
        IsNan = "isnan",
        /// Float to bool.
        IsInf = "isinf",
        /// i32 bits to f32 in [0, 1): (bits as u32 >> 8) * 2^-24.
        Uniform = "uniform",
    }
}

names! {
    /// Functions of two values of one type.
    BinaryOp {
        /// a + b; wraps for integers; logical or for bool.
        Add = "add",
        /// a - b; wraps.
        Sub = "sub",
        /// a * b; wraps; logical and for bool.
        Mul = "mul",
        /// Float: a / b.
        Div = "div",
        /// floor(a / b), floats and integers (Python's //). An integer divided by zero gives 0.
        FloorDiv = "floordiv",
        /// a / b rounded toward zero, floats and integers (C's /). An integer divided by zero gives 0.
        TruncDiv = "truncdiv",
        /// Python's %: `fmod`, plus b where that is not zero and its sign is not b's. An integer modulo zero gives 0.
        Rem = "rem",
        /// C's fmod or %, exact: the sign of a. An integer modulo zero gives 0.
        Fmod = "fmod",
        /// a^b; floats as C's pow; integers by squaring, negative exponents give 0 unless |a| = 1.
        Pow = "pow",
        /// The larger; NaN if either is NaN; a if equal.
        Max = "max",
        /// The smaller; NaN if either is NaN; a if equal.
        Min = "min",
        /// Float: angle of the point (b, a).
        Atan2 = "atan2",
        /// Bitwise and; logical for bool.
        And = "and",
        /// Bitwise or.
        Or = "or",
        /// Bitwise exclusive or.
        Xor = "xor",
        /// a == b, bool.
        Eq = "eq",
        /// a != b, bool.
        Ne = "ne",
        /// a < b, bool.
        Lt = "lt",
        /// a <= b, bool.
        Le = "le",
        /// a > b, bool.
        Gt = "gt",
        /// a >= b, bool.
        Ge = "ge",
    }
}

impl UnaryOp {
    /// The result's type for an operand's, or `None` where the function is not defined.
    pub fn result(self, operand: DType) -> Option<DType> {
        use UnaryOp::*;
        let ok = match self {
            Neg | Abs | Sign => operand != DType::Bool,
            Not => operand == DType::Bool,
            BitNot => operand.is_int(),
            IsNan | IsInf => return operand.is_float().then_some(DType::Bool),
            Uniform => return (operand == DType::I32).then_some(DType::F32),
            _ => operand.is_float(),
        };
        ok.then_some(operand)
    }
}

impl BinaryOp {
    /// Whether the result is bool whatever the operands.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Eq | Ne | Lt | Le | Gt | Ge)
    }

    /// The result's type for the operands' common type, or `None` where the function is not defined.
    pub fn result(self, operand: DType) -> Option<DType> {
        use BinaryOp::*;
        let ok = match self {
            Add | Mul | Max | Min => true,
            Sub | FloorDiv | TruncDiv | Rem | Fmod | Pow => operand != DType::Bool,
            Div | Atan2 => operand.is_float(),
            And | Or | Xor => !operand.is_float(),
            Eq | Ne | Lt | Le | Gt | Ge => return Some(DType::Bool),
        };
        ok.then_some(operand)
    }
}

names! {
    /// Ways to combine many values. `Any`, `All` take bool. `ArgMax`, `ArgMin` give i64, the number of the inner point.
    /// Scans know `Sum`, `Prod`, `Max`, `Min`.
    ReduceOp {
        /// Sum; identity 0.
        Sum = "sum",
        /// Product; identity 1.
        Prod = "prod",
        /// Largest; identity -inf or the type's least.
        Max = "max",
        /// Smallest; identity inf or the type's greatest.
        Min = "min",
        /// Logical or.
        Any = "any",
        /// Logical and.
        All = "all",
        /// First index of the largest.
        ArgMax = "argmax",
        /// First index of the smallest.
        ArgMin = "argmin",
        /// Float: sum of squared deviations from the mean; a tuple accumulator (count, mean, m2). In each lane Welford's
        /// recurrence: d = x - mean, mean += d * (1 / count), m2 += d * (x - mean). Between lanes and blocks Chan's rule:
        /// d = mean' - mean, mean += d * (count' / n), m2 = m2 + m2' + d * d * (count * count' / n).
        Moment2 = "moment2",
    }
}

impl ReduceOp {
    /// The result's type for an operand's, or `None` where the reduction is not defined.
    pub fn result(self, operand: DType) -> Option<DType> {
        match self {
            ReduceOp::Sum | ReduceOp::Prod => (operand != DType::Bool).then_some(operand),
            ReduceOp::Max | ReduceOp::Min => Some(operand),
            ReduceOp::Any | ReduceOp::All => (operand == DType::Bool).then_some(operand),
            ReduceOp::ArgMax | ReduceOp::ArgMin => Some(DType::I64),
            ReduceOp::Moment2 => operand.is_float().then_some(operand),
        }
    }
}

/// What is computed at each point; knows no extents and no addresses.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Program {
    /// The buffers' types and directions.
    pub accesses: Vec<Access>,
    /// Types of the host numbers that each launch supplies.
    pub params: Vec<DType>,
    /// The instructions, operands before users.
    pub insts: Vec<Inst>,
}

impl Program {
    /// Appends an instruction and returns its value.
    pub fn push(&mut self, op: InstOp, dtype: DType, level: Level) -> Reg {
        self.insts.push(Inst { op, dtype, level });
        Reg(self.insts.len() as u32 - 1)
    }

    /// Appends an access.
    pub fn access(&mut self, dtype: DType, kind: AccessKind) -> AccessId {
        self.accesses.push(Access { dtype, kind });
        AccessId(self.accesses.len() as u32 - 1)
    }

    /// The instruction that makes a value.
    pub fn inst(&self, reg: Reg) -> &Inst {
        &self.insts[reg.0 as usize]
    }
}

/// How one access steps.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AccessGeometry {
    /// Position of point 0, in elements.
    pub offset: isize,
    /// Steps in elements, outer axes then inner axes.
    pub strides: Strides,
    /// Extent and stride of the gathered or scattered dimension, for accesses that are used with an index.
    pub gather: Option<(usize, isize)>,
}

/// Where a program runs: extents of the space and the steps of every access.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Geometry {
    /// Extents of the outer axes.
    pub outer: Dims,
    /// Extents of the inner axes; empty in a program without reductions.
    pub inner: Dims,
    /// One for each of the program's accesses.
    pub accesses: SmallVec<[AccessGeometry; 4]>,
}

impl Geometry {
    /// Number of outer points.
    pub fn outer_points(&self) -> usize {
        self.outer.iter().product()
    }

    /// Number of inner points of one outer point.
    pub fn inner_points(&self) -> usize {
        self.inner.iter().product()
    }
}

/// The launch failed: a gathered or scattered position does not exist. What was stored before is unspecified.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("index {index} is out of range for a dimension of extent {extent} (access a{})", .access.0)]
pub struct IndexOutOfRange {
    /// The access that was used with the index.
    pub access: AccessId,
    /// The index.
    pub index: i64,
    /// The extent of the gathered or scattered dimension.
    pub extent: usize,
}

impl InstOp {
    /// The values that it reads, in order.
    pub fn operands(&self) -> SmallVec<[Reg; 3]> {
        match *self {
            InstOp::Const(_) | InstOp::Param(_) | InstOp::Index(_) | InstOp::Extent => SmallVec::new(),
            InstOp::Load { index, mask, .. } => index.into_iter().chain(mask).collect(),
            InstOp::Unary(_, a) | InstOp::Cast(a) | InstOp::Reduce(_, a) | InstOp::Scan(_, a) => {
                SmallVec::from_slice(&[a])
            }
            InstOp::Binary(_, a, b) => SmallVec::from_slice(&[a, b]),
            InstOp::Select(a, b, c) => SmallVec::from_slice(&[a, b, c]),
            InstOp::RandomBits { seed, offset, .. } => SmallVec::from_slice(&[seed, offset]),
            InstOp::Store { value, index, .. } => std::iter::once(value).chain(index).collect(),
        }
    }
}
