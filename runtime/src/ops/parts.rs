//! The parts of a number: mantissa and exponent, the angle of a real number.

use super::rules::{
    Formula, finish, float_only, float_samples, i64s, lower_formula, methods, no_numbers, one, to_float,
    unary_samples,
};
use crate::door::bind;
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::lower::Lowering;
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use smallvec::smallvec;
use std::f64::consts::PI;

/// Scaled into [1, 2) by powers of two, each exact.
fn lower_frexp(l: &mut Lowering) -> Result<()> {
    let x = l.operand(0, DType::F64)?;
    let f = &mut Formula { region: &mut *l.region, dtype: DType::F64 };
    let (zero, sign) = (f.number(0.0), f.sign(x));
    let (mut size, mut exponent) = (f.abs(x), f.number(0.0));
    let steps = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1];
    for k in steps {
        let bound = f.number(2f64.powi(k));
        let large = f.ge(size, bound);
        let (smaller, more) = (f.scale(size, 2f64.powi(-k)), f.shift(exponent, k as f64));
        (size, exponent) = (f.select(large, smaller, size), f.select(large, more, exponent));
    }
    // The least number is below 2^-1023, which the steps sum up to.
    for k in [512].into_iter().chain(steps) {
        let bound = f.number(2f64.powi(1 - k));
        let small = f.lt(size, bound);
        let (larger, less) = (f.scale(size, 2f64.powi(k)), f.shift(exponent, -k as f64));
        (size, exponent) = (f.select(small, larger, size), f.select(small, less, exponent));
    }
    let mantissa = f.scale(size, 0.5);
    let mantissa = f.mul(mantissa, sign);
    let exponent = f.shift(exponent, 1.0);
    let (infinite, unknown, none) = (f.isinf(x), f.isnan(x), f.eq(x, zero));
    let odd = f.or(infinite, unknown);
    let odd = f.or(odd, none);
    let (mantissa, exponent) = (f.select(odd, x, mantissa), f.select(odd, zero, exponent));
    finish(l, mantissa);
    finish(l, exponent);
    Ok(())
}

ops! {
    /// Mantissa, at least 1/2 and below 1 in size, and exponent of 2.
    FREXP = "frexp(Tensor self) -> (Tensor, Tensor)" {
        infer: |c| {
            let t = c.tensor(0)?;
            float_only(t.dtype)?;
            let mut out = one(t.dtype, t.shape.clone())?;
            out.push(t.with_dtype(DType::I32));
            Ok(out)
        },
        vjp: Vjp::Rule(Saves { outputs: 2, ..Saves::NOTHING }, |c| Ok(smallvec![match c.needs(0) {
            true => {
                let dy = c.dy()?;
                let wide = dy.dtype().accumulator();
                let power = c.output(1)?.to(wide)?.neg()?.exp2()?;
                Some(dy.to(wide)?.mul(&power)?.to(dy.dtype())?)
            }
            false => None,
        }])),
        effect: Effect::Pure,
        cost: cost::per_output::<60>,
        lower: Lower::Loop(lower_frexp),
        samples: |s| float_samples(s, -9.0, 9.0),
        errors: |e| e.case(ErrorKind::DType, [i64s(&[2])]),
    }
    /// The angle of a real number in the complex plane: pi where it is negative, else 0.
    ANGLE = "angle(Tensor self) -> Tensor" {
        infer: to_float,
        vjp: Vjp::Zero,
        effect: Effect::Pure,
        cost: cost::per_output::<2>,
        lower: Lower::Map(|l| lower_formula(l, |f, x| {
            let (zero, pi) = (f.number(0.0), f.number(PI));
            let (negative, unknown) = (f.lt(x, zero), f.isnan(x));
            let value = f.select(negative, pi, zero);
            f.select(unknown, x, value)
        })),
        samples: |s| unary_samples(s, -3.0, 3.0),
        errors: no_numbers,
    }
}

methods! { unary:
    /// The angle of a real number in the complex plane: pi where it is negative, else 0.
    angle ANGLE;
}

impl Tensor {
    /// Mantissa, at least 1/2 and below 1 in size, and exponent of 2.
    #[track_caller]
    pub fn frexp(&self) -> Result<(Tensor, Tensor)> {
        let out = bind(&FREXP, &[Arg::Tensor(self)], Origin::caller())?;
        match &out[..] {
            [mantissa, exponent] => Ok((mantissa.clone(), exponent.clone())),
            _ => Err(Error::internal("frexp has two outputs")),
        }
    }
}
