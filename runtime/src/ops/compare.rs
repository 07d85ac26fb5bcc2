//! Comparisons, logic and bits of two operands, tensors or host numbers.

use super::arithmetic::{binary_errors, binary_samples, infer_broadcast, infer_broadcast_as};
use super::rules::{common, methods};
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Types};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, tensor};
use crate::table::{Effect, Lower, Vjp, cost, ops};
use kernels::DType;
use kernels::loops::BinaryOp;

fn infer_bool(c: &Infer) -> Result<Types> {
    infer_broadcast_as(c, DType::Bool)
}

fn infer_bits(c: &Infer) -> Result<Types> {
    let out = infer_broadcast(c)?;
    match out[0].dtype.is_float() {
        true => Err(Error::dtype("bitwise operations take integers and bool")),
        false => Ok(out),
    }
}

/// Operands are compared in their common type, to which host numbers are rounded first (torch).
fn lower_comparison(l: &mut Lowering, op: BinaryOp) -> Result<()> {
    let dtype = common(l, 0)?;
    let (a, b) = (l.operand(0, dtype)?, l.operand(1, dtype)?);
    let y = l.region.binary(op, a, b);
    l.output(y);
    Ok(())
}

fn lower_logic(l: &mut Lowering, op: BinaryOp) -> Result<()> {
    let (a, b) = (l.operand(0, DType::Bool)?, l.operand(1, DType::Bool)?);
    let y = l.region.binary(op, a, b);
    l.output(y);
    Ok(())
}

fn lower_bits(l: &mut Lowering, op: BinaryOp) -> Result<()> {
    let dtype = l.dtype(0);
    let (a, b) = (l.operand(0, dtype)?, l.operand(1, dtype)?);
    let y = l.region.binary(op, a, b);
    l.output(y);
    Ok(())
}

fn anything(s: &mut Samples) {
    binary_samples(s, 0.0, 3.0);
}

fn whole(s: &mut Samples) {
    if !s.dtype.is_float() {
        binary_samples(s, 0.0, 30.0);
    }
}

fn no_floats(e: &mut ErrorSamples) {
    binary_errors_of(e, DType::I64);
    let t = || tensor(DType::F32, &[2], 0.0, 1.0);
    e.case(ErrorKind::DType, [t(), t()]);
}

fn binary_errors_of(e: &mut ErrorSamples, dtype: DType) {
    e.case(ErrorKind::Shape, [tensor(dtype, &[2, 3], 0.0, 2.0), tensor(dtype, &[4, 3], 0.0, 2.0)]);
}

macro_rules! comparisons {
    ($($(#[doc = $doc:literal])+ $id:ident $method:ident $schema:literal
        $infer:ident $lower:ident $op:ident $samples:ident $errors:ident;)*) => {
        ops! {$(
            $(#[doc = $doc])+
            $id = $schema {
                infer: $infer,
                vjp: Vjp::Zero,
                effect: Effect::Pure,
                cost: cost::per_output::<1>,
                lower: Lower::Map(|l| $lower(l, BinaryOp::$op)),
                samples: $samples,
                errors: $errors,
            }
        )*}
        methods! { binary: $($(#[doc = $doc])+ $method $id;)* }
    };
}

comparisons! {
    /// Whether the operands are equal.
    EQ eq "eq(Tensor self, Tensor other) -> Tensor" infer_bool lower_comparison Eq anything binary_errors;
    /// Whether the operands differ.
    NE ne "ne(Tensor self, Tensor other) -> Tensor" infer_bool lower_comparison Ne anything binary_errors;
    /// Whether the first operand is less than the second.
    LT lt "lt(Tensor self, Tensor other) -> Tensor" infer_bool lower_comparison Lt anything binary_errors;
    /// Whether the first operand is not greater than the second.
    LE le "le(Tensor self, Tensor other) -> Tensor" infer_bool lower_comparison Le anything binary_errors;
    /// Whether the first operand is greater than the second.
    GT gt "gt(Tensor self, Tensor other) -> Tensor" infer_bool lower_comparison Gt anything binary_errors;
    /// Whether the first operand is not less than the second.
    GE ge "ge(Tensor self, Tensor other) -> Tensor" infer_bool lower_comparison Ge anything binary_errors;
    /// Whether both operands are not zero.
    LOGICAL_AND logical_and "logical_and(Tensor self, Tensor other) -> Tensor"
        infer_bool lower_logic And anything binary_errors;
    /// Whether one operand is not zero.
    LOGICAL_OR logical_or "logical_or(Tensor self, Tensor other) -> Tensor"
        infer_bool lower_logic Or anything binary_errors;
    /// Whether exactly one operand is not zero.
    LOGICAL_XOR logical_xor "logical_xor(Tensor self, Tensor other) -> Tensor"
        infer_bool lower_logic Xor anything binary_errors;
    /// Bits that are set in both operands.
    BITWISE_AND bitwise_and "bitwise_and(Tensor self, Tensor other) -> Tensor"
        infer_bits lower_bits And whole no_floats;
    /// Bits that are set in one operand.
    BITWISE_OR bitwise_or "bitwise_or(Tensor self, Tensor other) -> Tensor"
        infer_bits lower_bits Or whole no_floats;
    /// Bits that are set in exactly one operand.
    BITWISE_XOR bitwise_xor "bitwise_xor(Tensor self, Tensor other) -> Tensor"
        infer_bits lower_bits Xor whole no_floats;
}
