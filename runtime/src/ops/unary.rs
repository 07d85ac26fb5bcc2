//! Functions of one element: signs, rounding, tests, powers, exponentials, logarithms, trigonometry.

use super::rules::{
    chain, lower_unary, methods, no_bools, no_numbers, same, same_number, to_bool, to_float, unary_samples,
};
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Types};
use crate::lower::Lowering;
use crate::samples::tensor;
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use kernels::DType;
use kernels::loops::{BinaryOp, UnaryOp};
use std::f64::consts::{FRAC_2_SQRT_PI, LN_2, LN_10};

/// Integers are whole already.
fn lower_rounding(l: &mut Lowering, op: UnaryOp) -> Result<()> {
    if l.dtype(0).is_float() {
        return lower_unary(l, op);
    }
    let x = l.input(0)?;
    l.output(x);
    Ok(())
}

/// Bools are their own sign. Comparing leaves 0 for NaN, which the instruction keeps.
fn lower_sign(l: &mut Lowering) -> Result<()> {
    let (x, dtype) = (l.input(0)?, l.dtype(0));
    if dtype == DType::Bool {
        l.output(x);
        return Ok(());
    }
    let sign = l.region.unary(UnaryOp::Sign, x);
    let zero = l.region.constant(0i64, dtype);
    let number = l.region.binary(BinaryOp::Eq, x, x);
    let y = if dtype.is_float() { l.region.select(number, sign, zero) } else { sign };
    l.output(y);
    Ok(())
}

/// A test of the operand in its own type.
pub(super) fn lower_test(
    l: &mut Lowering,
    test: impl FnOnce(&mut Lowering, kernels::loops::Node) -> kernels::loops::Node,
) -> Result<()> {
    let x = l.input(0)?;
    let y = test(l, x);
    l.output(y);
    Ok(())
}

/// `op` of floats; nothing else is infinite or not a number.
pub(super) fn lower_float_test(l: &mut Lowering, op: UnaryOp) -> Result<()> {
    lower_test(l, |l, x| match l.region.dtype(x).is_float() {
        true => l.region.unary(op, x),
        false => l.region.binary(BinaryOp::Ne, x, x),
    })
}

fn infer_bits(c: &Infer) -> Result<Types> {
    match c.tensor(0)?.dtype.is_float() {
        true => Err(Error::dtype("bitwise operations take integers and bool")),
        false => same(c),
    }
}

/// torch squares bools as integers.
fn infer_square(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    super::rules::one(if t.dtype == DType::Bool { DType::I64 } else { t.dtype }, t.shape.clone())
}

macro_rules! unary {
    ($($(#[doc = $doc:literal])+ $id:ident $method:ident $schema:literal $infer:ident $flops:literal
        ($type:ident: $low:literal, $high:literal) $errors:ident $lower:expr => $vjp:expr;)*) => {
        ops! {$(
            $(#[doc = $doc])+
            $id = $schema {
                infer: $infer,
                vjp: $vjp,
                effect: Effect::Pure,
                cost: cost::per_output::<$flops>,
                lower: Lower::Map($lower),
                samples: |s| if types::$type(s.dtype) {
                    unary_samples(s, $low, $high)
                },
                errors: $errors,
            }
        )*}
        methods! { unary: $($(#[doc = $doc])+ $method $id;)* }
    };
}

pub(super) use unary;

/// The element types of an op's samples.
pub(super) mod types {
    use kernels::DType;
    pub(in crate::ops) fn any(_: DType) -> bool {
        true
    }
    pub(in crate::ops) fn numbers(d: DType) -> bool {
        d != DType::Bool
    }
    pub(in crate::ops) fn whole(d: DType) -> bool {
        !d.is_float()
    }
    pub(in crate::ops) fn floats(d: DType) -> bool {
        d.is_float()
    }
}

/// Floats are refused.
fn no_floats(e: &mut crate::samples::ErrorSamples) {
    e.case(ErrorKind::DType, [tensor(DType::F32, &[2], 0.0, 1.0)]);
}

unary! {
    /// Absolute value; integers wrap.
    ABS abs "abs(Tensor self) -> Tensor" same_number 1 (numbers: -3.0, 3.0) no_bools
        |l| lower_unary(l, UnaryOp::Abs)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.sign()?)));
    /// -1, 0 or 1 with the operand's sign; 0 for what is not a number (torch).
    SIGN sign "sign(Tensor self) -> Tensor" same 1 (any: -3.0, 3.0) no_numbers
        lower_sign
        => Vjp::Zero;
    /// Largest integer that is not above the element.
    FLOOR floor "floor(Tensor self) -> Tensor" same_number 1 (numbers: -3.0, 3.0) no_bools
        |l| lower_rounding(l, UnaryOp::Floor) => Vjp::Zero;
    /// Smallest integer that is not below the element.
    CEIL ceil "ceil(Tensor self) -> Tensor" same_number 1 (numbers: -3.0, 3.0) no_bools
        |l| lower_rounding(l, UnaryOp::Ceil) => Vjp::Zero;
    /// The integer part.
    TRUNC trunc "trunc(Tensor self) -> Tensor" same_number 1 (numbers: -3.0, 3.0) no_bools
        |l| lower_rounding(l, UnaryOp::Trunc) => Vjp::Zero;
    /// Nearest integer, ties to even.
    ROUND round "round(Tensor self) -> Tensor" same_number 1 (numbers: -3.0, 3.0) no_bools
        |l| lower_rounding(l, UnaryOp::Round) => Vjp::Zero;
    /// The element times itself.
    SQUARE square "square(Tensor self) -> Tensor" infer_square 1 (any: -3.0, 3.0) no_numbers
        |l| {
            let dtype = l.dtype(0);
            let x = l.operand(0, dtype)?;
            let y = l.region.binary(BinaryOp::Mul, x, x);
            l.output(y);
            Ok(())
        }
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.mul(2.0)?)));
    /// Square root.
    SQRT sqrt "sqrt(Tensor self) -> Tensor" to_float 4 (numbers: 0.25, 9.0) no_numbers
        |l| lower_unary(l, UnaryOp::Sqrt)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| dy.div(&c.output(0)?.mul(2.0)?)));
    /// One over the square root.
    RSQRT rsqrt "rsqrt(Tensor self) -> Tensor" to_float 5 (numbers: 0.25, 9.0) no_numbers
        |l| lower_unary(l, UnaryOp::Rsqrt)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| {
            let y = c.output(0)?;
            dy.mul(&y.square()?.mul(y)?.mul(-0.5)?)
        }));
    /// One over the element.
    RECIPROCAL reciprocal "reciprocal(Tensor self) -> Tensor" to_float 1 (numbers: 1.0, 5.0) no_numbers
        |l| lower_unary(l, UnaryOp::Recip)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| dy.mul(&c.output(0)?.square()?.neg()?)));
    /// e to the element.
    EXP exp "exp(Tensor self) -> Tensor" to_float 10 (numbers: -3.0, 3.0) no_numbers
        |l| lower_unary(l, UnaryOp::Exp)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| dy.mul(c.output(0)?)));
    /// e to the element, minus 1; accurate near 0.
    EXPM1 expm1 "expm1(Tensor self) -> Tensor" to_float 10 (numbers: -3.0, 3.0) no_numbers
        |l| lower_unary(l, UnaryOp::Expm1)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| dy.mul(&c.output(0)?.add(1.0)?)));
    /// 2 to the element.
    EXP2 exp2 "exp2(Tensor self) -> Tensor" to_float 10 (numbers: -3.0, 3.0) no_numbers
        |l| lower_unary(l, UnaryOp::Exp2)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| dy.mul(&c.output(0)?.mul(LN_2)?)));
    /// Natural logarithm.
    LOG log "log(Tensor self) -> Tensor" to_float 10 (numbers: 0.25, 9.0) no_numbers
        |l| lower_unary(l, UnaryOp::Log)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.div(c.input(0)?)));
    /// Natural logarithm of 1 plus the element; accurate near 0.
    LOG1P log1p "log1p(Tensor self) -> Tensor" to_float 10 (numbers: 0.0, 5.0) no_numbers
        |l| lower_unary(l, UnaryOp::Log1p)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.div(&c.input(0)?.add(1.0)?)));
    /// Logarithm to base 2.
    LOG2 log2 "log2(Tensor self) -> Tensor" to_float 10 (numbers: 0.25, 9.0) no_numbers
        |l| lower_unary(l, UnaryOp::Log2)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.div(&c.input(0)?.mul(LN_2)?)));
    /// Logarithm to base 10.
    LOG10 log10 "log10(Tensor self) -> Tensor" to_float 10 (numbers: 0.25, 9.0) no_numbers
        |l| lower_unary(l, UnaryOp::Log10)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.div(&c.input(0)?.mul(LN_10)?)));
    /// Sine of an angle in radians.
    SIN sin "sin(Tensor self) -> Tensor" to_float 15 (numbers: -3.0, 3.0) no_numbers
        |l| lower_unary(l, UnaryOp::Sin)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.cos()?)));
    /// Cosine of an angle in radians.
    COS cos "cos(Tensor self) -> Tensor" to_float 15 (numbers: -3.0, 3.0) no_numbers
        |l| lower_unary(l, UnaryOp::Cos)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.mul(&c.input(0)?.sin()?.neg()?)));
    /// Tangent of an angle in radians.
    TAN tan "tan(Tensor self) -> Tensor" to_float 20 (numbers: -1.2, 1.2) no_numbers
        |l| lower_unary(l, UnaryOp::Tan)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| dy.mul(&c.output(0)?.square()?.add(1.0)?)));
    /// The angle whose tangent is the element.
    ATAN atan "atan(Tensor self) -> Tensor" to_float 15 (numbers: -3.0, 3.0) no_numbers
        |l| lower_unary(l, UnaryOp::Atan)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| dy.div(&c.input(0)?.square()?.add(1.0)?)));
    /// Hyperbolic tangent.
    TANH tanh "tanh(Tensor self) -> Tensor" to_float 15 (numbers: -3.0, 3.0) no_numbers
        |l| lower_unary(l, UnaryOp::Tanh)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| dy.tanh_backward(c.output(0)?)));
    /// The logistic function, 1 / (1 + e^-x).
    SIGMOID sigmoid "sigmoid(Tensor self) -> Tensor" to_float 12 (numbers: -3.0, 3.0) no_numbers
        |l| lower_unary(l, UnaryOp::Sigmoid)
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| dy.sigmoid_backward(c.output(0)?)));
    /// The error function.
    ERF erf "erf(Tensor self) -> Tensor" to_float 15 (numbers: -3.0, 3.0) no_numbers
        |l| lower_unary(l, UnaryOp::Erf)
        => Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            dy.mul(&c.input(0)?.square()?.neg()?.exp()?.mul(FRAC_2_SQRT_PI)?)
        }));
    /// The element where it is positive, else 0.
    RELU relu "relu(Tensor self) -> Tensor" same_number 1 (numbers: -3.0, 3.0) no_bools
        |l| {
            let (x, dtype) = (l.input(0)?, l.dtype(0));
            let zero = l.region.constant(0i64, dtype);
            let y = l.region.binary(BinaryOp::Max, x, zero);
            l.output(y);
            Ok(())
        }
        => Vjp::Rule(Saves::OUTPUT, |c| chain(c, |dy| dy.threshold_backward(c.output(0)?)));
    /// Whether the element is zero.
    LOGICAL_NOT logical_not "logical_not(Tensor self) -> Tensor" to_bool 1 (any: -1.0, 2.0) no_numbers
        |l| lower_test(l, |l, x| {
            let truth = l.region.cast(x, DType::Bool);
            l.region.unary(UnaryOp::Not, truth)
        })
        => Vjp::Zero;
    /// Every bit turned; bools negated.
    BITWISE_NOT bitwise_not "bitwise_not(Tensor self) -> Tensor" infer_bits 1 (whole: 0.0, 9.0) no_floats
        |l| lower_test(l, |l, x| match l.region.dtype(x) {
            DType::Bool => l.region.unary(UnaryOp::Not, x),
            _ => l.region.unary(UnaryOp::BitNot, x),
        })
        => Vjp::Zero;
    /// Whether the element is not a number.
    ISNAN isnan "isnan(Tensor self) -> Tensor" to_bool 1 (any: -1.0, 2.0) no_numbers
        |l| lower_float_test(l, UnaryOp::IsNan) => Vjp::Zero;
    /// Whether the element is infinite.
    ISINF isinf "isinf(Tensor self) -> Tensor" to_bool 1 (any: -1.0, 2.0) no_numbers
        |l| lower_float_test(l, UnaryOp::IsInf) => Vjp::Zero;
    /// Whether the element is neither infinite nor not a number.
    ISFINITE isfinite "isfinite(Tensor self) -> Tensor" to_bool 2 (any: -1.0, 2.0) no_numbers
        |l| lower_test(l, |l, x| {
            // x - x is 0 for finite numbers and NaN for all others.
            match l.region.dtype(x).is_float() {
                true => {
                    let difference = l.region.binary(BinaryOp::Sub, x, x);
                    l.region.binary(BinaryOp::Eq, difference, difference)
                }
                false => l.region.binary(BinaryOp::Eq, x, x),
            }
        })
        => Vjp::Zero;
}

impl Tensor {
    /// Rounded to a number of decimal places, ties to even; negative ones round to tens, hundreds and so on.
    #[track_caller]
    pub fn round_decimals(&self, decimals: i32) -> Result<Tensor> {
        match decimals {
            0 => self.round(),
            d if d > 0 => self.mul(10f64.powi(d))?.round()?.div(10f64.powi(d)),
            d => self.div(10f64.powi(-d))?.round()?.mul(10f64.powi(-d)),
        }
    }
}
