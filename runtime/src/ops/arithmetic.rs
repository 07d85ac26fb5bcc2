//! Arithmetic of two operands, tensors or host numbers, with broadcasting and promotion.

use super::rules::{Formula, finish, float_of, i64s, methods, wide};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::{Infer, InferArg, TensorType, Types, broadcast, promote};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, host, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::{Arg, Value};
use kernels::DType;
use kernels::loops::{BinaryOp, Node, UnaryOp};
use smallvec::smallvec;

/// The two operands, without factors and modes.
fn operands<'a>(c: &Infer<'a>) -> &'a [InferArg<'a>] {
    &c.args[..c.args.len().min(2)]
}

/// Shape of the broadcast of all tensor operands, type of their promotion.
pub(crate) fn infer_broadcast(c: &Infer) -> Result<Types> {
    let dtype = promote(operands(c))?;
    infer_broadcast_as(c, dtype)
}

/// Shape of the broadcast of all tensor operands, a given type.
pub(crate) fn infer_broadcast_as(c: &Infer, dtype: DType) -> Result<Types> {
    let mut shape = crate::infer::Shape::new();
    for t in c.all_tensors() {
        shape = broadcast(&shape, &t.shape)?;
    }
    Ok(smallvec![TensorType { dtype, shape }])
}

/// Both operands promoted to the output's type, one loop instruction. A host number meets halves in f32, so that it is
/// not rounded before it is used (torch).
pub(crate) fn lower_binary(l: &mut Lowering, op: BinaryOp) -> Result<()> {
    let number = !(l.is_tensor(0) && l.is_tensor(1));
    let dtype = if number { l.dtype(0).accumulator() } else { l.dtype(0) };
    let (a, b) = (l.operand(0, dtype)?, l.operand(1, dtype)?);
    let y = l.region.binary(op, a, b);
    finish(l, y);
    Ok(())
}

/// Python's whole quotient of floats: the exact quotient rounded down, not the rounded quotient rounded down, so that
/// 1 // 0.1 is 9. Infinite dividends give NaN; a divisor of 0 gives the quotient itself.
pub(super) fn floor_quotient(f: &mut Formula, a: Node, b: Node) -> Node {
    let (zero, one, half) = (f.number(0.0), f.number(1.0), f.number(0.5));
    let plain = f.div(a, b);
    let rest = f.region.binary(BinaryOp::Fmod, a, b);
    let whole = f.sub(a, rest);
    let quotient = f.div(whole, b);
    let (below, falling) = (f.lt(rest, zero), f.lt(b, zero));
    let (some, apart) = (f.ne(rest, zero), f.ne(below, falling));
    let step = f.and(some, apart);
    let lower = f.sub(quotient, one);
    let quotient = f.select(step, lower, quotient);
    let floor = f.region.unary(UnaryOp::Floor, quotient);
    let gap = f.sub(quotient, floor);
    let (near, up) = (f.gt(gap, half), f.add(floor, one));
    let floor = f.select(near, up, floor);
    let by_zero = f.eq(b, zero);
    f.select(by_zero, plain, floor)
}

/// Whole division rounded down, of floats and integers.
pub(super) fn lower_floor_divide(l: &mut Lowering) -> Result<()> {
    if !l.dtype(0).is_float() {
        return lower_binary(l, BinaryOp::FloorDiv);
    }
    let (a, b) = (wide(l, 0)?, wide(l, 1)?);
    let y = floor_quotient(&mut Formula::of(l), a, b);
    finish(l, y);
    Ok(())
}

/// a + alpha b or a - alpha b; without alpha one instruction.
fn lower_scaled(l: &mut Lowering, op: BinaryOp) -> Result<()> {
    if l.host(2)?.is_none() {
        return lower_binary(l, op);
    }
    let (a, b, alpha) = (wide(l, 0)?, wide(l, 1)?, wide(l, 2)?);
    let mut f = Formula::of(l);
    let scaled = f.mul(alpha, b);
    let y = f.region.binary(op, a, scaled);
    finish(l, y);
    Ok(())
}

/// An integer sum takes no fractions of an operand.
fn check_alpha(c: &Infer, out: &Types) -> Result<()> {
    match c.host(2)? {
        Arg::Float(alpha) if !out[0].dtype.is_float() => {
            Err(Error::dtype(format!("alpha {alpha} is a float, the result is {}", out[0].dtype)))
        }
        Arg::Int(_) | Arg::Float(_) | Arg::Bool(_) | Arg::None => Ok(()),
        other => Err(Error::value(format!("alpha must be a number, got {other:?}"))),
    }
}

/// The cotangent times alpha, where there is one.
fn times_alpha(c: &VjpContext, dy: &Tensor) -> Result<Tensor> {
    let alpha = c.host(2)?;
    if alpha.is_none() { Ok(dy.clone()) } else { dy.mul(alpha) }
}

/// How a quotient is rounded.
fn rounding(arg: Arg) -> Result<BinaryOp> {
    match arg {
        Arg::None => Ok(BinaryOp::Div),
        Arg::Str("floor") => Ok(BinaryOp::FloorDiv),
        Arg::Str("trunc") => Ok(BinaryOp::TruncDiv),
        other => Err(Error::value(format!("rounding_mode must be None, 'trunc' or 'floor', got {other:?}"))),
    }
}

/// A gradient brought back to operand `i`'s shape and type: summed over what broadcasting repeated.
pub(crate) fn unbroadcast(c: &VjpContext, i: usize, gradient: Tensor) -> Result<Tensor> {
    match c.args.get(i) {
        // Nothing was repeated: most often.
        Some(Value::Type(ty)) if *ty == gradient => return Ok(gradient),
        Some(Value::Tensor(t)) if t.dtype() == gradient.dtype() && t.shape() == gradient.shape() => {
            return Ok(gradient);
        }
        _ => {}
    }
    let ty = c.input_type(i)?;
    gradient.sum_to_size(&ty.constant_dims()?)?.to(ty.dtype)
}

/// The cotangent; in float32 where it is narrower and will be summed, so that the terms of the sum are not rounded.
fn summable(c: &VjpContext) -> Result<Tensor> {
    let dy = c.dy()?;
    let repeated = |i: usize| c.input_type(i).is_ok_and(|t| t.dims().is_none_or(|d| d[..] != *dy.shape()));
    let narrow = dy.dtype().is_narrow();
    if narrow && (0..c.args.len()).any(repeated) { dy.to(DType::F32) } else { Ok(dy.clone()) }
}

/// The gradients of a two-operand op, each computed only if wanted and only for tensor operands.
pub(crate) fn binary_gradients(
    c: &VjpContext,
    left: impl FnOnce(&Tensor) -> Result<Tensor>,
    right: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Gradients> {
    let dy = &summable(c)?;
    let mut out = Gradients::new();
    let mut at = 0;
    if c.is_tensor(0) {
        out.push(if c.needs(at) { Some(unbroadcast(c, 0, left(dy)?)?) } else { None });
        at += 1;
    }
    if c.is_tensor(1) {
        out.push(if c.needs(at) { Some(unbroadcast(c, 1, right(dy)?)?) } else { None });
    }
    Ok(out)
}

fn no_bool(c: &Infer) -> Result<Types> {
    let out = infer_broadcast(c)?;
    if out[0].dtype == DType::Bool {
        return Err(Error::dtype("subtraction of bool tensors is not defined").hint("use logical_xor"));
    }
    check_alpha(c, &out)?;
    Ok(out)
}

/// Quotients of integers are f32 (torch's default type).
fn infer_div(c: &Infer) -> Result<Types> {
    let dtype = promote(operands(c))?;
    let whole = rounding(c.host(2)?)? != BinaryOp::Div;
    if whole && dtype == DType::Bool {
        return Err(Error::dtype("whole division of bool tensors is not defined"));
    }
    let out = infer_broadcast_as(c, if whole { dtype } else { float_of(dtype) })?;
    if whole { divisible(c, out) } else { Ok(out) }
}

/// `out`, unless its integers are divided by a host number 0, which torch refuses. A zero in a tensor is not searched for:
/// that would be a pass over the divisor before each division.
pub(super) fn divisible(c: &Infer, out: Types) -> Result<Types> {
    let by_zero = matches!(c.args.get(1), Some(InferArg::Host(Arg::Int(0) | Arg::Bool(false))));
    if by_zero && !out[0].dtype.is_float() && !out[0].numel().is(0) {
        return Err(Error::value("an integer is divided by zero").hint("floats divided by zero are infinite"));
    }
    Ok(out)
}

/// Two-operand samples: equal shapes, broadcasting, rank 0, empty, a host number.
pub(crate) fn binary_samples(s: &mut Samples, low: f64, high: f64) {
    let d = s.dtype;
    for (a, b) in [
        (&[2usize, 3][..], &[2usize, 3][..]),
        (&[4, 1, 3], &[2, 1]),
        (&[], &[]),
        (&[5], &[]),
        (&[1], &[7]),
        (&[0, 3], &[1, 3]),
        (&[40], &[40]),
    ] {
        s.case([tensor(d, a, low, high), tensor(d, b, low, high)]);
    }
    if d.is_float() {
        s.case([tensor(d, &[3, 4], low, high), host(1.5)]);
        s.case([host(1.5), tensor(d, &[3, 4], low, high)]);
    }
}

/// Shapes that do not broadcast.
pub(crate) fn binary_errors(e: &mut ErrorSamples) {
    let t = |dims: &[usize]| tensor(DType::F32, dims, -1.0, 1.0);
    e.case(ErrorKind::Shape, [t(&[2, 3]), t(&[4, 3])]);
    e.case(ErrorKind::Shape, [t(&[2, 3]), t(&[2])]);
}

fn numeric(s: &mut Samples) {
    if s.dtype != DType::Bool {
        binary_samples(s, if s.dtype == DType::U8 { 0.0 } else { -4.0 }, 5.0);
    }
}

/// With a factor for the second operand.
fn scaled(s: &mut Samples) {
    let d = s.dtype;
    if d != DType::Bool {
        s.case([tensor(d, &[2, 3], 0.0, 5.0), tensor(d, &[3], 0.0, 2.0), host(2i64)]);
    }
    if d.is_float() {
        s.case([tensor(d, &[2, 3], 0.0, 5.0), host(1.5), host(2.5)]);
    }
}

fn scaled_errors(e: &mut ErrorSamples) {
    binary_errors(e);
    let t = || tensor(DType::I64, &[3], 0.0, 5.0);
    e.case(ErrorKind::DType, [t(), t(), host(1.5)]);
}

fn nonzero(s: &mut Samples) {
    if s.dtype != DType::Bool {
        binary_samples(s, 1.0, 5.0);
    }
}

ops! {
    /// self + alpha * other.
    ADD = "add(Tensor self, Tensor other, *, Scalar? alpha=None) -> Tensor" {
        infer: |c| {
            let out = infer_broadcast(c)?;
            check_alpha(c, &out)?;
            Ok(out)
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| binary_gradients(c, |dy| Ok(dy.clone()), |dy| times_alpha(c, dy))),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| lower_scaled(l, BinaryOp::Add)),
        samples: |s| {
            numeric(s);
            scaled(s);
        },
        errors: scaled_errors,
    }
    /// self - alpha * other.
    SUB = "sub(Tensor self, Tensor other, *, Scalar? alpha=None) -> Tensor" {
        infer: no_bool,
        vjp: Vjp::Rule(Saves::NOTHING, |c| binary_gradients(c, |dy| Ok(dy.clone()), |dy| times_alpha(c, &dy.neg()?))),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| lower_scaled(l, BinaryOp::Sub)),
        samples: |s| {
            numeric(s);
            scaled(s);
        },
        errors: |e| {
            scaled_errors(e);
            let t = || tensor(DType::Bool, &[2], 0.0, 1.0);
            e.case(ErrorKind::DType, [t(), t()]);
        },
    }
    /// Product of two operands, element by element.
    MUL = "mul(Tensor self, Tensor other) -> Tensor" {
        infer: infer_broadcast,
        vjp: Vjp::Rule(Saves::FACTORS, |c| binary_gradients(
            c,
            |dy| bind1(&MUL, &[Arg::Tensor(dy), c.arg(1)?]),
            |dy| bind1(&MUL, &[Arg::Tensor(dy), c.arg(0)?]),
        )),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| lower_binary(l, BinaryOp::Mul)),
        samples: numeric,
        errors: binary_errors,
    }
    /// Quotient of two operands, of integers as f32; or rounded down ("floor") or toward zero ("trunc").
    DIV = "div(Tensor self, Tensor other, *, str? rounding_mode=None) -> Tensor" {
        infer: infer_div,
        vjp: Vjp::Rule(Saves::QUOTIENT, |c| {
            if rounding(c.host(2)?)? != BinaryOp::Div {
                return binary_gradients(c, |dy| dy.zeros_like(None), |dy| dy.zeros_like(None));
            }
            binary_gradients(
                c,
                |dy| bind1(&DIV, &[Arg::Tensor(dy), c.arg(1)?]),
                |dy| {
                    let scaled = bind1(&MUL, &[Arg::Tensor(dy), c.arg(0)?])?;
                    scaled.neg()?.div(&c.input(1)?.square()?)
                },
            )
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| match rounding(l.host(2)?)? {
            BinaryOp::FloorDiv => lower_floor_divide(l),
            op => lower_binary(l, op),
        }),
        samples: |s| {
            nonzero(s);
            let d = s.dtype;
            if d != DType::Bool {
                for mode in ["floor", "trunc"] {
                    s.case([tensor(d, &[3, 5], 0.0, 9.0), tensor(d, &[5], 1.0, 4.0), host(mode)]);
                }
            }
        },
        errors: |e| {
            binary_errors(e);
            let t = || tensor(DType::F32, &[3], 1.0, 2.0);
            e.case(ErrorKind::Value, [t(), t(), host("up")]);
            e.case(ErrorKind::Value, [i64s(&[2]), host(0i64), host("floor")]);
        },
    }
    /// The operand with its sign turned; integers wrap.
    NEG = "neg(Tensor self) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            if t.dtype == DType::Bool {
                return Err(Error::dtype("negation of a bool tensor is not defined").hint("use logical_not"));
            }
            Ok(smallvec![t.clone()])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| Ok(smallvec![Some(c.dy()?.neg()?)])),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| {
            let x = l.input(0)?;
            let y = l.region.unary(UnaryOp::Neg, x);
            l.output(y);
            Ok(())
        }),
        samples: |s| if s.dtype != DType::Bool {
            for dims in [&[2usize, 3][..], &[], &[0], &[33]] {
                let d = s.dtype;
                s.case([tensor(d, dims, -3.0, 3.0)]);
            }
        },
        errors: |e| e.case(ErrorKind::DType, [tensor(DType::Bool, &[2], 0.0, 1.0)]),
    }
}

macro_rules! operators {
    ($($(#[$doc:meta])* $name:ident $op:ident $sugar:ident;)*) => {
        methods! { binary: $($(#[$doc])* $name $op;)* }
        $(
            impl std::ops::$sugar<&Tensor> for &Tensor {
                type Output = Tensor;
                #[track_caller]
                fn $name(self, other: &Tensor) -> Tensor { expect(bind1(&$op, &[Arg::Tensor(self), Arg::Tensor(other)])) }
            }
            impl std::ops::$sugar<f64> for &Tensor {
                type Output = Tensor;
                #[track_caller]
                fn $name(self, other: f64) -> Tensor { expect(bind1(&$op, &[Arg::Tensor(self), Arg::Float(other)])) }
            }
            impl std::ops::$sugar<&Tensor> for f64 {
                type Output = Tensor;
                #[track_caller]
                fn $name(self, other: &Tensor) -> Tensor { expect(bind1(&$op, &[Arg::Float(self), Arg::Tensor(other)])) }
            }
        )*
    };
}

operators! {
    /// `self + other` with broadcasting.
    add ADD Add;
    /// `self - other` with broadcasting.
    sub SUB Sub;
    /// `self * other`, element by element, with broadcasting.
    mul MUL Mul;
    /// `self / other`, element by element, with broadcasting.
    div DIV Div;
}

/// The documented panic of operator sugar, with the text of the error.
#[track_caller]
pub(crate) fn expect(result: Result<Tensor>) -> Tensor {
    match result {
        Ok(tensor) => tensor,
        Err(error) => panic!("{}", error.at(Origin::caller())),
    }
}

methods! {
    unary:
    /// `-self`.
    neg NEG;
}

impl std::ops::Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        expect(Tensor::neg(self))
    }
}
