//! Arithmetic of two operands, tensors or host numbers, with broadcasting and promotion.

use crate::door::bind1;
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::{Infer, InferArg, TensorType, Types, broadcast, promote};
use crate::lower::Lowering;
use crate::samples::{self, ErrorSamples, Samples, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::BinaryOp;
use smallvec::smallvec;

/// Shape of the broadcast of all tensor operands, type of their promotion.
pub(crate) fn infer_broadcast(c: &Infer) -> Result<Types> {
    let dtype = promote(c.args)?;
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

/// Both operands promoted to the output's type, one loop instruction.
pub(crate) fn lower_binary(l: &mut Lowering, op: BinaryOp) -> Result<()> {
    let dtype = l.dtype(0);
    let (a, b) = (l.operand(0, dtype)?, l.operand(1, dtype)?);
    let y = l.region.binary(op, a, b);
    l.output(y);
    Ok(())
}

/// A gradient brought back to operand `i`'s shape and type: summed over what broadcasting repeated.
pub(crate) fn unbroadcast(c: &VjpContext, i: usize, gradient: Tensor) -> Result<Tensor> {
    let ty = c.input_type(i)?;
    gradient.sum_to_size(&ty.constant_dims()?)?.to(ty.dtype)
}

/// The gradients of a two-operand op, each computed only if wanted and only for tensor operands.
pub(crate) fn binary_gradients(
    c: &VjpContext,
    left: impl FnOnce(&Tensor) -> Result<Tensor>,
    right: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Gradients> {
    let dy = c.dy()?;
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
    Ok(out)
}

/// Quotients of integers are f32 (torch's default type).
fn infer_div(c: &Infer) -> Result<Types> {
    let dtype = promote(c.args)?;
    infer_broadcast_as(c, if dtype.is_float() { dtype } else { DType::F32 })
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
        s.case([tensor(d, &[3, 4], low, high), samples::host(1.5)]);
        s.case([samples::host(1.5), tensor(d, &[3, 4], low, high)]);
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

fn nonzero(s: &mut Samples) {
    if s.dtype != DType::Bool {
        binary_samples(s, 1.0, 5.0);
    }
}

ops! {
    /// Sum of two operands.
    ADD = "add(Tensor self, Tensor other) -> Tensor" {
        infer: infer_broadcast,
        vjp: Vjp::Rule(Saves::NOTHING, |c| binary_gradients(c, |dy| Ok(dy.clone()), |dy| Ok(dy.clone()))),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| lower_binary(l, BinaryOp::Add)),
        samples: numeric,
        errors: binary_errors,
    }
    /// Difference of two operands.
    SUB = "sub(Tensor self, Tensor other) -> Tensor" {
        infer: no_bool,
        vjp: Vjp::Rule(Saves::NOTHING, |c| binary_gradients(c, |dy| Ok(dy.clone()), |dy| dy.neg())),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| lower_binary(l, BinaryOp::Sub)),
        samples: numeric,
        errors: binary_errors,
    }
    /// Product of two operands, element by element.
    MUL = "mul(Tensor self, Tensor other) -> Tensor" {
        infer: infer_broadcast,
        vjp: Vjp::Rule(Saves::INPUTS, |c| binary_gradients(
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
    /// Quotient of two operands; of integers as f32.
    DIV = "div(Tensor self, Tensor other) -> Tensor" {
        infer: infer_div,
        vjp: Vjp::Rule(Saves::INPUTS, |c| binary_gradients(
            c,
            |dy| bind1(&DIV, &[Arg::Tensor(dy), c.arg(1)?]),
            |dy| {
                let scaled = bind1(&MUL, &[Arg::Tensor(dy), c.arg(0)?])?;
                let b = c.input(1)?;
                scaled.neg()?.div(&b.mul(b)?)
            },
        )),
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Map(|l| lower_binary(l, BinaryOp::Div)),
        samples: nonzero,
        errors: binary_errors,
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
            let y = l.region.unary(kernels::loops::UnaryOp::Neg, x);
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

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident $op:ident $sugar:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[inline]
            #[track_caller]
            pub fn $name<'a>(&'a self, other: impl Into<Arg<'a>>) -> Result<Tensor> {
                bind1(&$op, &[Arg::Tensor(self), other.into()])
            }
        )*}
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

methods! {
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

impl Tensor {
    /// `-self`.
    #[inline]
    #[track_caller]
    pub fn neg(&self) -> Result<Tensor> {
        bind1(&NEG, &[Arg::Tensor(self)])
    }
}

impl std::ops::Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        expect(Tensor::neg(self))
    }
}

/// Operand `i` is a tensor or a host number.
#[allow(dead_code, reason = "shared by the families of this folder")]
pub(crate) fn is_number(c: &Infer, i: usize) -> bool {
    matches!(c.args.get(i), Some(InferArg::Host(a)) if a.scalar().is_some())
}
