//! Two-operand functions beyond the four operations: whole division and remainders, powers, extrema, angles.

use super::arithmetic::{
    binary_errors, binary_gradients, binary_samples, divisible, infer_broadcast, infer_broadcast_as,
    lower_binary, lower_floor_divide,
};
use super::rules::{float_of, i64s, methods};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, InferArg, Types, promote};
use crate::samples::{ErrorSamples, Samples, host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::BinaryOp;

fn infer_number(c: &Infer) -> Result<Types> {
    let out = infer_broadcast(c)?;
    match out[0].dtype {
        DType::Bool => {
            Err(Error::dtype("not defined for bool tensors").hint("convert to an integer type first"))
        }
        _ => Ok(out),
    }
}

fn infer_whole(c: &Infer) -> Result<Types> {
    divisible(c, infer_number(c)?)
}

fn infer_angle(c: &Infer) -> Result<Types> {
    let dtype = promote(c.args)?;
    infer_broadcast_as(c, float_of(dtype))
}

/// An integer to a negative host power would be a fraction.
fn infer_pow(c: &Infer) -> Result<Types> {
    let out = infer_number(c)?;
    if let (false, Some(InferArg::Host(Arg::Int(power)))) = (out[0].dtype.is_float(), c.args.get(1))
        && *power < 0
    {
        return Err(Error::value(format!("an integer tensor to the power {power} is not an integer"))
            .hint("convert to a float type first"));
    }
    Ok(out)
}

fn numbers(s: &mut Samples) {
    if s.dtype != DType::Bool {
        binary_samples(s, if s.dtype == DType::U8 { 0.0 } else { -4.0 }, 5.0);
    }
}

fn divisors(s: &mut Samples) {
    if s.dtype != DType::Bool {
        binary_samples(s, 1.0, 7.0);
    }
}

fn everything(s: &mut Samples) {
    binary_samples(s, 0.0, 5.0);
}

fn powers(s: &mut Samples) {
    let d = s.dtype;
    if d.is_float() {
        binary_samples(s, 0.3, 2.5);
        for power in [0.0, 1.0, 2.0, 3.0, -1.0, 0.5] {
            s.case([tensor(d, &[5], 0.3, 2.5), host(power)]);
        }
    } else if d != DType::Bool {
        binary_samples(s, 0.0, 4.0);
        s.case([tensor(d, &[5], 0.0, 4.0), host(3i64)]);
    }
}

fn number_errors(e: &mut ErrorSamples) {
    binary_errors(e);
    let t = || tensor(DType::Bool, &[2], 0.0, 1.0);
    e.case(ErrorKind::DType, [t(), t()]);
}

fn divisor_errors(e: &mut ErrorSamples) {
    number_errors(e);
    e.case(ErrorKind::Value, [i64s(&[2]), host(0i64)]);
}

/// b a^(b-1), where 0 whatever the base if b is 0.
fn base_gradient(c: &VjpContext, dy: &Tensor) -> Result<Tensor> {
    let base = c.arg(0)?;
    let raised = |power: Arg| bind1(&POW, &[base, power]);
    if let Some(power) = c.host(1).ok().and_then(|a| a.scalar()) {
        let power = power.to_f64();
        let base = c.input(0)?;
        return match power {
            0.0 => base.zeros_like(Some(dy.dtype())),
            1.0 => Ok(dy.clone()),
            2.0 => dy.mul(&base.mul(2.0)?),
            3.0 => dy.mul(&base.square()?.mul(3.0)?),
            _ => dy.mul(&raised(Arg::Float(power - 1.0))?.mul(power)?),
        };
    }
    let power = c.input(1)?;
    let lower = power.sub(1.0)?;
    let slope = raised(Arg::Tensor(&lower))?.mul(power)?;
    dy.mul(&slope)?.masked_fill(&power.eq(0.0)?, 0.0)
}

/// a^b log a, which is 0 for base 0 and a power that is not negative.
fn power_gradient(c: &VjpContext, dy: &Tensor) -> Result<Tensor> {
    let (power, y) = (c.input(1)?, c.output(0)?);
    match c.arg(0)? {
        Arg::Tensor(base) => {
            let flat = base.eq(0.0)?.logical_and(&power.ge(0.0)?)?;
            dy.mul(&y.mul(&base.log()?)?)?.masked_fill(&flat, 0.0)
        }
        number => {
            let base = number.float()?;
            let slope = dy.mul(&y.mul(base.ln())?)?;
            if base == 0.0 { slope.masked_fill(&power.ge(0.0)?, 0.0) } else { Ok(slope) }
        }
    }
}

/// The gradient of the chosen operand: all of it where it wins, half where both are equal (torch).
fn extremum_gradient(c: &VjpContext, dy: &Tensor, loses: &'static crate::table::OpDef) -> Result<Tensor> {
    let (a, b) = (c.arg(0)?, c.arg(1)?);
    let tie = bind1(&super::EQ, &[a, b])?;
    let shared = bind1(&super::WHERE, &[Arg::Tensor(&tie), Arg::Tensor(&dy.mul(0.5)?), Arg::Tensor(dy)])?;
    shared.masked_fill(&bind1(loses, &[a, b])?, 0.0)
}

/// dy * operand / (a^2 + b^2).
fn angle_gradient(c: &VjpContext, dy: &Tensor, operand: usize) -> Result<Tensor> {
    let (a, b) = (c.arg(0)?, c.arg(1)?);
    let length = match (a, b) {
        (Arg::Tensor(a), Arg::Tensor(b)) => a.square()?.add(&b.square()?)?,
        (Arg::Tensor(x), number) | (number, Arg::Tensor(x)) => x.square()?.add(number.float()?.powi(2))?,
        _ => return Err(Error::internal("atan2 of two numbers")),
    };
    bind1(&super::MUL, &[Arg::Tensor(dy), if operand == 0 { a } else { b }])?.div(&length)
}

ops! {
    /// The largest whole number not above the quotient (Python's `//`); 0 for an integer over an element 0.
    FLOOR_DIVIDE = "floor_divide(Tensor self, Tensor other) -> Tensor" {
        infer: infer_whole,
        vjp: Vjp::None("whole division is a step function; torch defines none either (use div with rounding_mode)"),
        effect: Effect::Pure,
        cost: cost::per_output::<2>,
        lower: Lower::Map(lower_floor_divide),
        samples: divisors,
        errors: divisor_errors,
    }
    /// What whole division leaves, with the divisor's sign (Python's `%`); 0 for an integer modulo an element 0.
    REMAINDER = "remainder(Tensor self, Tensor other) -> Tensor" {
        infer: infer_whole,
        vjp: Vjp::Rule(Saves::QUOTIENT, |c| binary_gradients(c, |dy| Ok(dy.clone()), |dy| {
            dy.mul(&bind1(&super::DIV, &[c.arg(0)?, c.arg(1)?, Arg::Str("floor")])?.neg()?)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<4>,
        lower: Lower::Map(|l| lower_binary(l, BinaryOp::Rem)),
        samples: divisors,
        errors: divisor_errors,
    }
    /// What truncating division leaves, with the dividend's sign (C's `fmod`); 0 for an integer modulo an element 0.
    FMOD = "fmod(Tensor self, Tensor other) -> Tensor" {
        infer: infer_whole,
        vjp: Vjp::Rule(Saves::QUOTIENT, |c| binary_gradients(c, |dy| Ok(dy.clone()), |dy| {
            dy.mul(&bind1(&super::DIV, &[c.arg(0)?, c.arg(1)?, Arg::Str("trunc")])?.neg()?)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<4>,
        lower: Lower::Map(|l| lower_binary(l, BinaryOp::Fmod)),
        samples: divisors,
        errors: divisor_errors,
    }
    /// The first operand to the power of the second.
    POW = "pow(Tensor self, Tensor exponent) -> Tensor" {
        infer: infer_pow,
        vjp: Vjp::Rule(Saves::BOTH, |c| binary_gradients(c, |dy| base_gradient(c, dy), |dy| power_gradient(c, dy))),
        effect: Effect::Pure,
        cost: cost::per_output::<25>,
        lower: Lower::Map(|l| lower_binary(l, BinaryOp::Pow)),
        samples: powers,
        errors: |e| {
            number_errors(e);
            e.case(ErrorKind::Value, [i64s(&[2]), host(-1i64)]);
        },
    }
    /// The larger element; not a number where either is not.
    MAXIMUM = "maximum(Tensor self, Tensor other) -> Tensor" {
        infer: infer_broadcast,
        vjp: Vjp::Rule(Saves::INPUTS, |c| binary_gradients(
            c,
            |dy| extremum_gradient(c, dy, &super::LT),
            |dy| extremum_gradient(c, dy, &super::GT),
        )),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| lower_binary(l, BinaryOp::Max)),
        samples: everything,
        errors: binary_errors,
    }
    /// The smaller element; not a number where either is not.
    MINIMUM = "minimum(Tensor self, Tensor other) -> Tensor" {
        infer: infer_broadcast,
        vjp: Vjp::Rule(Saves::INPUTS, |c| binary_gradients(
            c,
            |dy| extremum_gradient(c, dy, &super::GT),
            |dy| extremum_gradient(c, dy, &super::LT),
        )),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| lower_binary(l, BinaryOp::Min)),
        samples: everything,
        errors: binary_errors,
    }
    /// The angle of the point (other, self).
    ATAN2 = "atan2(Tensor self, Tensor other) -> Tensor" {
        infer: infer_angle,
        vjp: Vjp::Rule(Saves::INPUTS, |c| binary_gradients(
            c,
            |dy| angle_gradient(c, dy, 1),
            |dy| angle_gradient(c, dy, 0)?.neg(),
        )),
        effect: Effect::Pure,
        cost: cost::per_output::<20>,
        lower: Lower::Map(|l| lower_binary(l, BinaryOp::Atan2)),
        samples: numbers,
        errors: binary_errors,
    }
}

methods! {
    binary:
    /// `self // other`: the largest whole number not above the quotient.
    floor_divide FLOOR_DIVIDE;
    /// `self % other` with the divisor's sign.
    remainder REMAINDER;
    /// `self % other` with the dividend's sign.
    fmod FMOD;
    /// The larger element.
    maximum MAXIMUM;
    /// The smaller element.
    minimum MINIMUM;
    /// The angle of the point (other, self).
    atan2 ATAN2;
}

impl Tensor {
    /// `self` to the power of `exponent`.
    #[track_caller]
    pub fn pow<'a>(&'a self, exponent: impl Into<Arg<'a>>) -> Result<Tensor> {
        match exponent.into() {
            // A product is exact where pow is not, and twenty times as fast.
            Arg::Float(2.0) if self.dtype().is_float() => self.square(),
            Arg::Int(2) if self.dtype() != DType::Bool => self.square(),
            exponent => bind1(&POW, &[Arg::Tensor(self), exponent]),
        }
    }

    /// `self / other` rounded down ("floor"), toward zero ("trunc") or not at all (`None`).
    #[track_caller]
    pub fn div_mode<'a>(&'a self, other: impl Into<Arg<'a>>, rounding_mode: Option<&str>) -> Result<Tensor> {
        match rounding_mode {
            None => self.div(other),
            Some(mode) => bind1(&super::DIV, &[Arg::Tensor(self), other.into(), Arg::Str(mode)]),
        }
    }
}
