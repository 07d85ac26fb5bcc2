//! Choosing and blending: where, clamp, masked_fill, addcmul, addcdiv, lerp.

use super::arithmetic::{infer_broadcast_as, unbroadcast};
use super::rules::{Formula, f32s, finish, float_only, i64s, in_float32, wanted, wide};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, InferArg, Types, promote};
use crate::lower::Lowering;
use crate::samples::{Samples, exact, host, none, tensor};
use crate::table::{Effect, Gradients, Lower, OpDef, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::BinaryOp;

/// The first tensor operand must be bool.
fn bool_condition(c: &Infer, i: usize) -> Result<()> {
    match c.tensor(i)?.dtype {
        DType::Bool => Ok(()),
        other => {
            Err(Error::dtype(format!("the condition must be bool, got {other}")).hint("compare with ne(0)"))
        }
    }
}

fn infer_clamp(c: &Infer) -> Result<Types> {
    let given = |i: usize| !matches!(c.args.get(i), None | Some(InferArg::Host(Arg::None)));
    if !given(1) && !given(2) {
        return Err(Error::value("at least one of min and max must be given"));
    }
    infer_broadcast_as(c, promote(c.args)?)
}

fn infer_lerp(c: &Infer) -> Result<Types> {
    let start = c.tensor(0)?;
    float_only(start.dtype)?;
    for t in c.all_tensors() {
        if t.dtype != start.dtype {
            return Err(Error::dtype(format!(
                "expected operands of one type, got {} and {}",
                start.dtype, t.dtype
            )));
        }
    }
    infer_broadcast_as(c, start.dtype)
}

/// A number must not be of a higher category (bool, integer, float) than the tensor that it fills.
pub(super) fn fits_into(c: &Infer, i: usize, dtype: DType) -> Result<()> {
    let fits = match c.args.get(i) {
        Some(InferArg::Host(Arg::Float(_))) => dtype.is_float(),
        Some(InferArg::Host(Arg::Int(_) | Arg::Bool(_))) => true,
        Some(InferArg::Tensor(v)) if v.rank() == 0 => dtype.is_float() || !v.dtype.is_float(),
        Some(InferArg::Tensor(v)) => {
            return Err(Error::shape(format!("the value must be of rank 0, got {v}")));
        }
        other => {
            return Err(Error::value(format!(
                "the value must be a number or a tensor of rank 0, got {other:?}"
            )));
        }
    };
    match fits {
        true => Ok(()),
        false => Err(Error::dtype(format!("a float value does not fit into {dtype}"))),
    }
}

fn infer_fill(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    bool_condition(c, 1)?;
    fits_into(c, 2, t.dtype)?;
    infer_broadcast_as(c, t.dtype)
}

/// Whether operand `i` stands in this call (a tensor or a number).
fn given(l: &Lowering, i: usize) -> Result<bool> {
    Ok(l.is_tensor(i) || !l.host(i)?.is_none())
}

fn lower_clamp(l: &mut Lowering) -> Result<()> {
    let dtype = l.dtype(0);
    let mut y = l.operand(0, dtype)?;
    for (i, op) in [(1, BinaryOp::Max), (2, BinaryOp::Min)] {
        if given(l, i)? {
            let bound = l.operand(i, dtype)?;
            y = l.region.binary(op, y, bound);
        }
    }
    l.output(y);
    Ok(())
}

/// Operands of `clamp`: the bound `i`, if it is given.
fn bound<'a>(c: &VjpContext<'a>, i: usize) -> Result<Option<Arg<'a>>> {
    let arg = c.arg(i)?;
    Ok((!arg.is_none()).then_some(arg))
}

/// With one bound, a tensor, clamping is a maximum or minimum: where both are equal each gets half of the gradient.
fn shared_gradients(c: &VjpContext, i: usize, bound: &Tensor, inside: &'static OpDef) -> Result<Gradients> {
    let (dy, x) = (c.dy()?, c.input(0)?);
    let own = bind1(inside, &[Arg::Tensor(x), Arg::Tensor(bound)])?;
    let tie = x.eq(bound)?;
    let half = dy.mul(0.5)?;
    let share = |own: &Tensor| tie.select_where(&half, &own.select_where(dy, 0.0)?);
    let mut out = Gradients::new();
    out.push(wanted(c, 0, || unbroadcast(c, 0, share(&own)?))?);
    out.push(wanted(c, 1, || unbroadcast(c, i, share(&own.logical_not()?)?))?);
    Ok(out)
}

/// Between two tensors: where the operand equals one bound, and the bounds differ, each gets half (torch). A lower bound
/// above the upper one never counts.
fn between_gradients(c: &VjpContext, low: &Tensor, high: &Tensor) -> Result<Gradients> {
    let (dy, x) = (c.dy()?, c.input(0)?);
    let half = dy.mul(0.5)?;
    let apart = low.lt(high)?;
    let at_low = x.eq(low)?.logical_and(&apart)?;
    let at_high = x.eq(high)?.logical_and(&apart)?;
    let share =
        |whole: &Tensor, tie: &Tensor| whole.select_where(dy, 0.0)?.add(&tie.select_where(&half, 0.0)?);
    let mut out = Gradients::new();
    out.push(wanted(c, 0, || {
        let inside = x.gt(low)?.logical_and(&x.lt(high)?)?;
        let pinned = x.eq(low)?.logical_and(&x.eq(high)?)?;
        unbroadcast(c, 0, share(&inside.logical_or(&pinned)?, &at_low.logical_or(&at_high)?)?)
    })?);
    out.push(wanted(c, 1, || unbroadcast(c, 1, share(&x.lt(low)?.logical_and(&low.le(high)?)?, &at_low)?))?);
    out.push(wanted(c, 2, || unbroadcast(c, 2, share(&x.gt(high)?.logical_or(&high.lt(low)?)?, &at_high)?))?);
    Ok(out)
}

/// The operand keeps its gradient strictly between the bounds; a bound gets it where it is the result (torch).
fn clamp_gradients(c: &VjpContext) -> Result<Gradients> {
    let (dy, x) = (c.dy()?, c.input(0)?);
    let (low, high) = (bound(c, 1)?, bound(c, 2)?);
    match (low, high) {
        (Some(Arg::Tensor(low)), None) => return shared_gradients(c, 1, low, &super::GT),
        (None, Some(Arg::Tensor(high))) => return shared_gradients(c, 2, high, &super::LT),
        (Some(Arg::Tensor(low)), Some(Arg::Tensor(high))) => return between_gradients(c, low, high),
        _ => {}
    }
    let compare = |op: &'static OpDef, a: Arg, b: Arg| bind1(op, &[a, b]);
    let x_arg = Arg::Tensor(x);
    let mut out = Gradients::new();
    out.push(wanted(c, 0, || {
        let mut inside: Option<Tensor> = None;
        for (op, bound) in [(&super::GT, low), (&super::LT, high)] {
            if let Some(bound) = bound {
                let within = compare(op, x_arg, bound)?;
                inside = Some(match inside {
                    Some(before) => before.logical_and(&within)?,
                    None => within,
                });
            }
        }
        match inside {
            Some(inside) => unbroadcast(c, 0, inside.select_where(dy, 0.0)?),
            None => Ok(dy.clone()),
        }
    })?);
    let mut at = 1;
    if let Some(Arg::Tensor(low)) = low {
        out.push(wanted(c, at, || {
            let mut wins = compare(&super::LT, x_arg, Arg::Tensor(low))?;
            if let Some(high) = high {
                wins = wins.logical_and(&compare(&super::LT, Arg::Tensor(low), high)?)?;
            }
            unbroadcast(c, 1, dy.masked_fill(&wins.logical_not()?, 0.0)?)
        })?);
        at += 1;
    }
    if let Some(Arg::Tensor(high)) = high {
        out.push(wanted(c, at, || {
            let mut wins = compare(&super::GT, x_arg, Arg::Tensor(high))?;
            if let Some(low) = low {
                wins = wins.logical_or(&compare(&super::LT, Arg::Tensor(high), low)?)?;
            }
            unbroadcast(c, 2, dy.masked_fill(&wins.logical_not()?, 0.0)?)
        })?);
    }
    Ok(out)
}

fn bools(dims: &[usize]) -> crate::samples::SampleArg {
    tensor(DType::Bool, dims, 0.0, 1.0)
}

fn choices(s: &mut Samples) {
    let d = s.dtype;
    let t = |dims: &[usize]| tensor(d, dims, 0.0, 5.0);
    s.case([bools(&[2, 3]), t(&[2, 3]), t(&[2, 3])]);
    s.case([bools(&[3, 1]), t(&[4]), t(&[2, 1, 1])]);
    s.case([bools(&[]), t(&[]), t(&[])]);
    s.case([bools(&[0]), t(&[0]), t(&[1])]);
    if d.is_float() {
        s.case([bools(&[4]), t(&[4]), host(1.5)]);
        s.case([bools(&[4]), host(1.5), t(&[4])]);
    }
}

/// self + value * tensor1 `op` tensor2.
fn lower_added(l: &mut Lowering, op: BinaryOp) -> Result<()> {
    let (x, a, b) = (wide(l, 0)?, wide(l, 1)?, wide(l, 2)?);
    let value = if l.host(3)?.is_none() { None } else { Some(wide(l, 3)?) };
    let mut f = Formula::of(l);
    let a = value.map_or(a, |v| f.mul(v, a));
    let part = f.region.binary(op, a, b);
    let y = f.add(x, part);
    finish(l, y);
    Ok(())
}

/// A cotangent times `value` (operand 3), where there is one.
fn times_value(c: &VjpContext, t: Tensor) -> Result<Tensor> {
    if c.host(3)?.is_none() { Ok(t) } else { t.mul(c.host(3)?) }
}

ops! {
    /// The second operand where the first is true, else the third; all broadcast.
    WHERE = "where(Tensor condition, Tensor self, Tensor other) -> Tensor" {
        infer: |c| {
            bool_condition(c, 0)?;
            infer_broadcast_as(c, promote(&c.args[1.min(c.args.len())..])?)
        },
        vjp: Vjp::Rule(Saves::inputs(1), |c| {
            let (dy, condition) = (c.dy()?, c.input(0)?);
            let choose = |a: Arg, b: Arg| bind1(&WHERE, &[Arg::Tensor(condition), a, b]);
            let mut out = Gradients::new();
            out.push(None);
            let mut at = 1;
            if c.is_tensor(1) {
                out.push(wanted(c, at, || unbroadcast(c, 1, choose(Arg::Tensor(dy), Arg::Float(0.0))?))?);
                at += 1;
            }
            if c.is_tensor(2) {
                out.push(wanted(c, at, || unbroadcast(c, 2, choose(Arg::Float(0.0), Arg::Tensor(dy))?))?);
            }
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| {
            let (condition, dtype) = (l.input(0)?, l.dtype(0));
            let (a, b) = (l.operand(1, dtype)?, l.operand(2, dtype)?);
            let y = l.region.select(condition, a, b);
            l.output(y);
            Ok(())
        }),
        samples: choices,
        errors: |e| {
            e.case(ErrorKind::Shape, [bools(&[3]), f32s(&[4]), f32s(&[4])]);
            e.case(ErrorKind::DType, [f32s(&[3]), f32s(&[3]), f32s(&[3])]);
        },
    }
    /// The element, but not below `min` and not above `max`; `max` wins where they cross.
    CLAMP = "clamp(Tensor self, Tensor? min=None, Tensor? max=None) -> Tensor" {
        infer: infer_clamp,
        vjp: Vjp::Rule(Saves::INPUTS, clamp_gradients),
        effect: Effect::Pure,
        cost: cost::per_output::<2>,
        lower: Lower::Map(lower_clamp),
        samples: |s| {
            let d = s.dtype;
            if d == DType::Bool {
                return;
            }
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[3, 4]), host(2i64), host(5i64)]);
            s.case([t(&[3, 4]), host(2i64), none()]);
            s.case([t(&[]), none(), host(5i64)]);
            s.case([t(&[3, 4]), t(&[4]), t(&[3, 1])]);
            s.case([t(&[0]), host(5i64), host(2i64)]);
        },
        errors: |e| {
            e.case(ErrorKind::Value, [f32s(&[3]), none(), none()]);
            e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[2]), none()]);
        },
    }
    /// The value where the mask is true, else the element.
    MASKED_FILL = "masked_fill(Tensor self, Tensor mask, Tensor value) -> Tensor" {
        infer: infer_fill,
        vjp: Vjp::Rule(Saves::inputs(2), |c| {
            let (dy, mask) = (c.dy()?, c.input(1)?);
            let mut out = Gradients::new();
            out.push(wanted(c, 0, || unbroadcast(c, 0, dy.masked_fill(mask, 0.0)?))?);
            out.push(None);
            if c.is_tensor(2) {
                out.push(wanted(c, 2, || {
                    let filled = bind1(&WHERE, &[Arg::Tensor(mask), Arg::Tensor(dy), Arg::Float(0.0)])?;
                    unbroadcast(c, 2, filled)
                })?);
            }
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| {
            let (x, mask, dtype) = (l.input(0)?, l.input(1)?, l.dtype(0));
            let value = l.operand(2, dtype)?;
            let y = l.region.select(mask, value, x);
            l.output(y);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 5.0);
            s.case([t(&[3, 4]), bools(&[3, 4]), host(1i64)]);
            s.case([t(&[3, 4]), bools(&[4]), t(&[])]);
            s.case([t(&[4]), bools(&[3, 1]), host(0i64)]);
            s.case([t(&[0, 2]), bools(&[2]), host(1i64)]);
            if d.is_float() {
                s.case([t(&[3]), exact(DType::Bool, &[3], &[true, false, true]), host(f64::NEG_INFINITY)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::DType, [f32s(&[3]), i64s(&[3]), host(1.0)]);
            e.case(ErrorKind::Shape, [f32s(&[3]), bools(&[4]), host(1.0)]);
            e.case(ErrorKind::DType, [i64s(&[3]), bools(&[3]), host(1.5)]);
        },
    }
    /// self + value * tensor1 * tensor2.
    ADDCMUL = "addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor" {
        infer: |c| infer_broadcast_as(c, promote(&c.args[..3.min(c.args.len())])?),
        vjp: Vjp::Rule(Saves::inputs(6), |c| in_float32(c, |c| {
            let dy = c.dy()?;
            let scaled = |other: usize| times_value(c, dy.mul(c.input(other)?)?);
            let mut out = Gradients::new();
            out.push(wanted(c, 0, || unbroadcast(c, 0, dy.clone()))?);
            out.push(wanted(c, 1, || unbroadcast(c, 1, scaled(2)?))?);
            out.push(wanted(c, 2, || unbroadcast(c, 2, scaled(1)?))?);
            Ok(out)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<3>,
        lower: Lower::Map(|l| lower_added(l, BinaryOp::Mul)),
        samples: |s| {
            let d = s.dtype;
            if d == DType::Bool {
                return;
            }
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 3.0);
            s.case([t(&[3, 4]), t(&[3, 4]), t(&[3, 4]), none()]);
            s.case([t(&[4]), t(&[3, 1]), t(&[3, 4]), host(2i64)]);
            s.case([t(&[]), t(&[2]), t(&[2]), host(3i64)]);
            s.case([t(&[0]), t(&[1]), t(&[0]), host(3i64)]);
        },
        errors: |e| e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[2]), f32s(&[3]), none()]),
    }
    /// self + value * tensor1 / tensor2, of floats.
    ADDCDIV = "addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor" {
        infer: |c| {
            let dtype = promote(&c.args[..3.min(c.args.len())])?;
            float_only(dtype)?;
            infer_broadcast_as(c, dtype)
        },
        vjp: Vjp::Rule(Saves::inputs(6), |c| in_float32(c, |c| {
            let dy = c.dy()?;
            let mut out = Gradients::new();
            out.push(wanted(c, 0, || unbroadcast(c, 0, dy.clone()))?);
            out.push(wanted(c, 1, || unbroadcast(c, 1, times_value(c, dy.div(c.input(2)?)?)?))?);
            out.push(wanted(c, 2, || {
                let slope = c.input(1)?.div(&c.input(2)?.square()?)?.neg()?;
                unbroadcast(c, 2, times_value(c, dy.mul(&slope)?)?)
            })?);
            Ok(out)
        })),
        effect: Effect::Pure,
        cost: cost::per_output::<3>,
        lower: Lower::Map(|l| lower_added(l, BinaryOp::Div)),
        samples: |s| {
            let d = s.dtype;
            if !d.is_float() {
                return;
            }
            let t = |dims: &[usize]| tensor(d, dims, 0.5, 3.0);
            s.case([t(&[3, 4]), t(&[3, 4]), t(&[3, 4]), none()]);
            s.case([t(&[4]), t(&[3, 1]), t(&[3, 4]), host(2i64)]);
            s.case([t(&[]), t(&[2]), t(&[2]), host(-1.5)]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[2]), f32s(&[3]), none()]);
            e.case(ErrorKind::DType, [i64s(&[3]), i64s(&[3]), i64s(&[3]), none()]);
        },
    }
    /// The point at `weight` on the way from `self` (0) to `end` (1).
    LERP = "lerp(Tensor self, Tensor end, Tensor weight) -> Tensor" {
        infer: infer_lerp,
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let dy = c.dy()?;
            let times = |weight: Arg| bind1(&super::MUL, &[Arg::Tensor(dy), weight]);
            let mut out = Gradients::new();
            out.push(wanted(c, 0, || {
                unbroadcast(c, 0, match c.arg(2)? {
                    Arg::Tensor(weight) => times(Arg::Tensor(&bind1(&super::SUB, &[Arg::Float(1.0), Arg::Tensor(weight)])?))?,
                    number => times(Arg::Float(1.0 - number.float()?))?,
                })
            })?);
            out.push(wanted(c, 1, || unbroadcast(c, 1, times(c.arg(2)?)?))?);
            if c.is_tensor(2) {
                out.push(wanted(c, 2, || unbroadcast(c, 2, dy.mul(&c.input(1)?.sub(c.input(0)?)?)?))?);
            }
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<5>,
        lower: Lower::Map(|l| {
            let (start, end, weight) = (wide(l, 0)?, wide(l, 1)?, wide(l, 2)?);
            let mut f = Formula::of(l);
            // From the nearer end, so that weights 0 and 1 give the ends exactly.
            let way = f.sub(end, start);
            let half = f.number(0.5);
            let one = f.number(1.0);
            let near = f.lt(weight, half);
            let step = f.mul(weight, way);
            let from_start = f.add(start, step);
            let left = f.sub(one, weight);
            let back = f.mul(way, left);
            let from_end = f.sub(end, back);
            let y = f.select(near, from_start, from_end);
            finish(l, y);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            if !d.is_float() {
                return;
            }
            let t = |dims: &[usize]| tensor(d, dims, -2.0, 2.0);
            s.case([t(&[3, 4]), t(&[3, 4]), host(0.25)]);
            s.case([t(&[3, 4]), t(&[4]), tensor(d, &[3, 1], 0.0, 1.0)]);
            s.case([t(&[]), t(&[]), host(1.5)]);
            s.case([t(&[0]), t(&[0]), host(0.5)]);
        },
        errors: |e| {
            e.case(ErrorKind::DType, [i64s(&[3]), i64s(&[3]), host(0.5)]);
            e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[2]), host(0.5)]);
        },
    }
}

impl Tensor {
    /// `a` where this bool tensor is true, else `b`.
    #[track_caller]
    pub fn select_where<'a>(&'a self, a: impl Into<Arg<'a>>, b: impl Into<Arg<'a>>) -> Result<Tensor> {
        bind1(&WHERE, &[Arg::Tensor(self), a.into(), b.into()])
    }

    /// The elements, but not below `min` and not above `max`; `Arg::None` leaves a bound out.
    #[track_caller]
    pub fn clamp<'a>(&'a self, min: impl Into<Arg<'a>>, max: impl Into<Arg<'a>>) -> Result<Tensor> {
        bind1(&CLAMP, &[Arg::Tensor(self), min.into(), max.into()])
    }

    /// `value` where `mask` is true, else the element.
    #[track_caller]
    pub fn masked_fill<'a>(&'a self, mask: &'a Tensor, value: impl Into<Arg<'a>>) -> Result<Tensor> {
        bind1(&MASKED_FILL, &[Arg::Tensor(self), Arg::Tensor(mask), value.into()])
    }

    /// self + value * a * b.
    #[track_caller]
    pub fn addcmul<'a>(&'a self, a: &'a Tensor, b: &'a Tensor, value: impl Into<Arg<'a>>) -> Result<Tensor> {
        bind1(&ADDCMUL, &[Arg::Tensor(self), Arg::Tensor(a), Arg::Tensor(b), value.into()])
    }

    /// self + value * a / b.
    #[track_caller]
    pub fn addcdiv<'a>(&'a self, a: &'a Tensor, b: &'a Tensor, value: impl Into<Arg<'a>>) -> Result<Tensor> {
        bind1(&ADDCDIV, &[Arg::Tensor(self), Arg::Tensor(a), Arg::Tensor(b), value.into()])
    }

    /// The point at `weight` on the way from `self` to `end`.
    #[track_caller]
    pub fn lerp<'a>(&'a self, end: &'a Tensor, weight: impl Into<Arg<'a>>) -> Result<Tensor> {
        bind1(&LERP, &[Arg::Tensor(self), Arg::Tensor(end), weight.into()])
    }
}
