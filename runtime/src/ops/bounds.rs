//! Elements held against bounds: logit, nan_to_num, isclose.

use super::arithmetic::infer_broadcast_as;
use super::rules::{Formula, chain, f32s, finish, flag, float_or, float_samples, i64s, same, to_float, wide};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Types};
use crate::lower::Lowering;
use crate::samples::{exact, host, none, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::BinaryOp;

/// The largest finite number of a float type.
fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 65504.0,
        DType::BF16 => f64::from(f32::from_bits(0x7f7f_0000)),
        DType::F64 => f64::MAX,
        DType::F32 | DType::Bool | DType::U8 | DType::I32 | DType::I64 => f64::from(f32::MAX),
    }
}

fn lower_logit(l: &mut Lowering) -> Result<()> {
    let mut x = wide(l, 0)?;
    let eps = if l.host(1)?.is_none() { None } else { Some(wide(l, 1)?) };
    let mut f = Formula::of(l);
    let one = f.number(1.0);
    if let Some(eps) = eps {
        let high = f.sub(one, eps);
        // torch looks at the lower bound first, which decides where eps is above a half.
        let (below, held) = (f.lt(x, eps), f.min(x, high));
        x = f.select(below, eps, held);
    }
    let rest = f.sub(one, x);
    let odds = f.div(x, rest);
    let y = f.log(odds);
    finish(l, y);
    Ok(())
}

/// Compared in its own type, so that every value that is kept keeps its bits.
fn lower_nan_to_num(l: &mut Lowering) -> Result<()> {
    let (x, dtype) = (l.input(0)?, l.dtype(0));
    if !dtype.is_float() {
        l.output(x);
        return Ok(());
    }
    let bound = largest(dtype);
    let number = |l: &mut Lowering, i: usize, default: f64| -> Result<_> {
        let value = float_or(l.host(i)?, default)?;
        Ok(l.region.constant(value, dtype))
    };
    let (nan, high, low) = (number(l, 1, 0.0)?, number(l, 2, bound)?, number(l, 3, -bound)?);
    let (up, down) = (l.region.constant(f64::INFINITY, dtype), l.region.constant(f64::NEG_INFINITY, dtype));
    let unknown = l.region.binary(BinaryOp::Ne, x, x);
    let (above, below) = (l.region.binary(BinaryOp::Eq, x, up), l.region.binary(BinaryOp::Eq, x, down));
    let y = l.region.select(unknown, nan, x);
    let y = l.region.select(above, high, y);
    let y = l.region.select(below, low, y);
    l.output(y);
    Ok(())
}

fn infer_close(c: &Infer) -> Result<Types> {
    let (a, b) = (c.tensor(0)?, c.tensor(1)?);
    if a.dtype != b.dtype {
        return Err(Error::dtype(format!("expected operands of one type, got {} and {}", a.dtype, b.dtype)));
    }
    let (rtol, atol) = (float_or(c.host(2)?, 1e-5)?, float_or(c.host(3)?, 1e-8)?);
    flag(c.host(4)?)?;
    if rtol < 0.0 || atol < 0.0 {
        return Err(Error::value(format!("tolerances must not be negative, got {rtol} and {atol}")));
    }
    infer_broadcast_as(c, DType::Bool)
}

/// Equal, or finitely far apart by no more than atol + |rtol other|.
fn lower_close(l: &mut Lowering) -> Result<()> {
    let (rtol, atol) = (float_or(l.host(2)?, 1e-5)?, float_or(l.host(3)?, 1e-8)?);
    let equal_nan = flag(l.host(4)?)?;
    let (a, b) = (l.input(0)?, l.input(1)?);
    let same = l.region.binary(BinaryOp::Eq, a, b);
    let dtype = super::rules::float_of(l.region.dtype(a)).accumulator();
    let (a, b) = (l.region.cast(a, dtype), l.region.cast(b, dtype));
    let mut f = Formula { region: &mut *l.region, dtype };
    let (infinity, atol) = (f.number(f64::INFINITY), f.number(atol));
    let scaled = f.scale(b, rtol);
    let scaled = f.abs(scaled);
    let allowed = f.add(atol, scaled);
    let apart = f.sub(a, b);
    let apart = f.abs(apart);
    let (finite, near) = (f.lt(apart, infinity), f.le(apart, allowed));
    let near = f.and(finite, near);
    let mut close = f.or(same, near);
    if equal_nan {
        let (no_a, no_b) = (f.ne(a, a), f.ne(b, b));
        let both = f.and(no_a, no_b);
        close = f.or(close, both);
    }
    l.output(close);
    Ok(())
}

ops! {
    /// log(x / (1 - x)), of x held within [eps, 1 - eps] where an eps is given.
    LOGIT = "logit(Tensor self, float? eps=None) -> Tensor" {
        infer: to_float,
        vjp: Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            let x = c.input(0)?;
            let (eps, beyond) = match c.host(1)? {
                Arg::None => (0.0, f64::NAN),
                eps => (eps.float()?, 0.0),
            };
            let outside = x.lt(eps)?.logical_or(&x.gt(1.0 - eps)?)?;
            let held = x.masked_fill(&outside, 0.5)?;
            dy.div(&held.mul(&held.neg()?.add(1.0)?)?)?.masked_fill(&outside, beyond)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<14>,
        lower: Lower::Map(lower_logit),
        samples: |s| {
            float_samples(s, 0.1, 0.9);
            let d = s.dtype;
            if d.is_float() {
                s.case([tensor(d, &[3, 4], 0.05, 0.95), host(0.2)]);
                s.case([tensor(d, &[5], 0.05, 0.95), none()]);
            }
        },
        errors: |e| e.case(ErrorKind::Value, [host(1.0)]),
    }
    /// Numbers in the place of what is not one and of infinities, the largest finite ones where none are given.
    NAN_TO_NUM = "nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? neginf=None) -> Tensor" {
        infer: |c| {
            for i in 1..4 {
                float_or(c.host(i)?, 0.0)?;
            }
            same(c)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| chain(c, |dy| {
            dy.masked_fill(&c.input(0)?.isfinite()?.logical_not()?, 0.0)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<6>,
        lower: Lower::Loop(lower_nan_to_num),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[2, 3], 0.0, 5.0)]);
            s.case([tensor(d, &[0], 0.0, 5.0), host(1.0)]);
            if d.is_float() {
                let odd = || exact(d, &[4], &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5]);
                s.case([odd()]);
                s.case([odd(), host(1.0), none(), host(-2.0)]);
            }
        },
        errors: |e| e.case(ErrorKind::Value, [f32s(&[2]), host("zero")]),
    }
    /// Whether two elements differ by no more than atol + rtol |other|; equal infinities do not differ.
    ISCLOSE = "isclose(Tensor self, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False) -> Tensor" {
        infer: infer_close,
        vjp: Vjp::Zero,
        effect: Effect::Pure,
        cost: cost::per_output::<8>,
        lower: Lower::Loop(lower_close),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 3.0);
            s.case([t(&[3, 4]), t(&[4])]);
            s.case([t(&[3, 4]), t(&[3, 4]), host(0.0), host(1.0), host(true)]);
            s.case([t(&[0]), t(&[1])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2]), f32s(&[3])]);
            e.case(ErrorKind::DType, [f32s(&[2]), i64s(&[2])]);
            e.case(ErrorKind::Value, [f32s(&[2]), f32s(&[2]), host(-1.0)]);
        },
    }
}

impl Tensor {
    /// log(x / (1 - x)), of x held within [eps, 1 - eps] where an eps is given.
    #[track_caller]
    pub fn logit(&self, eps: Option<f64>) -> Result<Tensor> {
        match eps {
            None => bind1(&LOGIT, &[Arg::Tensor(self)]),
            Some(eps) => bind1(&LOGIT, &[Arg::Tensor(self), Arg::Float(eps)]),
        }
    }

    /// Numbers in the place of what is not one and of infinities, the largest finite ones where none are given.
    #[track_caller]
    pub fn nan_to_num(&self, nan: Option<f64>, posinf: Option<f64>, neginf: Option<f64>) -> Result<Tensor> {
        bind1(&NAN_TO_NUM, &[Arg::Tensor(self), nan.into(), posinf.into(), neginf.into()])
    }

    /// Whether two elements differ by no more than atol + rtol |other|.
    #[track_caller]
    pub fn isclose(&self, other: &Tensor, rtol: f64, atol: f64, equal_nan: bool) -> Result<Tensor> {
        let tolerances = [rtol, atol].map(Arg::Float);
        let (a, b) = (Arg::Tensor(self), Arg::Tensor(other));
        bind1(&ISCLOSE, &[a, b, tolerances[0], tolerances[1], Arg::Bool(equal_nan)])
    }
}
