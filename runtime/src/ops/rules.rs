//! Rules that many blocks share: shapes and types of outputs, formulas in a region, gradients and samples.

use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, InferArg, Shape, TensorType, Types, promote};
use crate::lower::{Lowering, RegionArg};
use crate::samples::{self, ErrorSamples, SampleArg, Samples, tensor};
use crate::table::{Gradients, VjpContext};
use crate::tensor::Tensor;
use crate::value::{Arg, Value};
use kernels::DType;
use kernels::loops::{BinaryOp, Node, Region, UnaryOp};
use smallvec::{SmallVec, smallvec};

/// Methods with torch's names, one a line: of one operand, of two (the second a tensor or a number), of two tensors, with
/// numbers, or over dimensions.
macro_rules! methods {
    (unary: $($(#[$doc:meta])* $name:ident $op:ident;)*) => {
        impl $crate::tensor::Tensor {$(
            $(#[$doc])*
            #[inline]
            #[track_caller]
            pub fn $name(&self) -> $crate::error::Result<$crate::tensor::Tensor> {
                $crate::door::bind1(&$op, &[$crate::value::Arg::Tensor(self)])
            }
        )*}
    };
    (binary: $($(#[$doc:meta])* $name:ident $op:ident;)*) => {
        impl $crate::tensor::Tensor {$(
            $(#[$doc])*
            #[inline]
            #[track_caller]
            pub fn $name<'a>(
                &'a self,
                other: impl Into<$crate::value::Arg<'a>>,
            ) -> $crate::error::Result<$crate::tensor::Tensor> {
                $crate::door::bind1(&$op, &[$crate::value::Arg::Tensor(self), other.into()])
            }
        )*}
    };
    (pair: $($(#[$doc:meta])* $name:ident $op:ident;)*) => {
        impl $crate::tensor::Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(
                &self,
                other: &$crate::tensor::Tensor,
            ) -> $crate::error::Result<$crate::tensor::Tensor> {
                let args = [$crate::value::Arg::Tensor(self), $crate::value::Arg::Tensor(other)];
                $crate::door::bind1(&$op, &args)
            }
        )*}
    };
    (numbers: $($(#[$doc:meta])* $name:ident $op:ident ($($number:ident),*);)*) => {
        impl $crate::tensor::Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, $($number: f64),*) -> $crate::error::Result<$crate::tensor::Tensor> {
                let args = [$crate::value::Arg::Tensor(self), $($crate::value::Arg::Float($number)),*];
                $crate::door::bind1(&$op, &args)
            }
        )*}
    };
    (reduction: $($(#[$doc:meta])* $name:ident $op:ident;)*) => {
        impl $crate::tensor::Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, dims: &[i64], keepdim: bool) -> $crate::error::Result<$crate::tensor::Tensor> {
                let dims = $crate::value::Arg::Ints(dims);
                $crate::door::bind1(&$op, &[$crate::value::Arg::Tensor(self), dims, $crate::value::Arg::Bool(keepdim)])
            }
        )*}
    };
}
pub(super) use methods;

/// One output.
pub(super) fn one(dtype: DType, shape: Shape) -> Result<Types> {
    Ok(smallvec![TensorType { dtype, shape }])
}

/// The first operand's type.
pub(super) fn same(c: &Infer) -> Result<Types> {
    Ok(smallvec![c.tensor(0)?.clone()])
}

/// The first operand's type, which must not be bool.
pub(super) fn same_number(c: &Infer) -> Result<Types> {
    match c.tensor(0)?.dtype {
        DType::Bool => Err(Error::dtype("not defined for bool tensors")),
        _ => same(c),
    }
}

/// The first operand's type, which must be a float.
pub(super) fn same_float(c: &Infer) -> Result<Types> {
    float_only(c.tensor(0)?.dtype)?;
    same(c)
}

/// An error unless the type is a float.
pub(super) fn float_only(dtype: DType) -> Result<()> {
    match dtype.is_float() {
        true => Ok(()),
        false => Err(Error::dtype(format!("not defined for {dtype}")).hint("convert to a float type first")),
    }
}

/// Functions with float values take integers as f32 (torch's default type).
pub(super) fn to_float(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    one(float_of(t.dtype), t.shape.clone())
}

/// The type itself, or f32 for integers and bool.
pub(super) fn float_of(dtype: DType) -> DType {
    if dtype.is_float() { dtype } else { DType::F32 }
}

/// The first operand's shape, of bool.
pub(super) fn to_bool(c: &Infer) -> Result<Types> {
    one(DType::Bool, c.tensor(0)?.shape.clone())
}

/// A truth value that is false where it is left out.
pub(super) fn flag(arg: Arg) -> Result<bool> {
    if arg.is_none() { Ok(false) } else { arg.bool() }
}

/// A number that is `default` where it is left out.
pub(super) fn float_or(arg: Arg, default: f64) -> Result<f64> {
    if arg.is_none() { Ok(default) } else { arg.float() }
}

/// An integer that is `default` where it is left out.
pub(super) fn int_or(arg: Arg, default: i64) -> Result<i64> {
    if arg.is_none() { Ok(default) } else { arg.int() }
}

/// An element type that is `default` where it is left out.
pub(super) fn dtype_or(arg: Arg, default: DType) -> Result<DType> {
    if arg.is_none() { Ok(default) } else { arg.dtype() }
}

/// torch's promotion over the operands from `first` on, as lowering sees them.
pub(super) fn common(l: &Lowering, first: usize) -> Result<DType> {
    let args: SmallVec<[InferArg; 4]> = l.args[first..]
        .iter()
        .map(|a| match a {
            RegionArg::Node(n) => InferArg::Tensor(TensorType::new(l.region.dtype(*n), l.region.shape(*n))),
            RegionArg::Nodes(list) => InferArg::Tensors(
                list.iter().map(|n| TensorType::new(l.region.dtype(*n), l.region.shape(*n))).collect(),
            ),
            RegionArg::Host(a) => InferArg::Host(*a),
        })
        .collect();
    promote(&args)
}

/// Operand 0 converted to the output's type, then one instruction.
pub(super) fn lower_unary(l: &mut Lowering, op: UnaryOp) -> Result<()> {
    let dtype = l.dtype(0);
    let x = l.operand(0, dtype)?;
    let y = l.region.unary(op, x);
    l.output(y);
    Ok(())
}

/// A formula of several instructions: it is computed in the accumulation type and rounded once at the end, so that a
/// composite of halves is as accurate as one instruction.
pub(super) struct Formula<'a> {
    /// Where it grows.
    pub(super) region: &'a mut Region,
    /// The type in which it is computed.
    pub(super) dtype: DType,
}

macro_rules! instructions {
    ([$($name:ident $op:ident;)*] [$($name2:ident $op2:ident;)*]) => {
        #[allow(dead_code, reason = "the instructions of formulas are one vocabulary")]
        impl Formula<'_> {
            $(pub(super) fn $name(&mut self, a: Node) -> Node { self.region.unary(UnaryOp::$op, a) })*
            $(pub(super) fn $name2(&mut self, a: Node, b: Node) -> Node { self.region.binary(BinaryOp::$op2, a, b) })*
        }
    };
}

instructions! {
    [
    neg Neg; exp Exp; exp2 Exp2; expm1 Expm1; erfc Erfc; sin Sin; sign Sign; trunc Trunc; log Log; log1p Log1p; sqrt Sqrt; rsqrt Rsqrt; tanh Tanh; erf Erf; sigmoid Sigmoid; abs Abs; not Not;
    isinf IsInf; isnan IsNan; recip Recip; cos Cos; tan Tan; round Round; floor Floor;
    ]
    [
    add Add; sub Sub; mul Mul; div Div; max Max; min Min; eq Eq; ne Ne; lt Lt; le Le; gt Gt; ge Ge; and And; or Or; pow Pow; atan2 Atan2;
    ]
}

impl<'a> Formula<'a> {
    /// A formula for the first output of this lowering.
    pub(super) fn of<'b: 'a>(l: &'a mut Lowering<'b>) -> Formula<'a> {
        let dtype = l.dtype(0).accumulator();
        Formula { region: &mut *l.region, dtype }
    }

    /// A constant of the formula's type.
    pub(super) fn number(&mut self, value: f64) -> Node {
        self.region.constant(value, self.dtype)
    }

    /// `a` where `c`, else `b`.
    pub(super) fn select(&mut self, c: Node, a: Node, b: Node) -> Node {
        self.region.select(c, a, b)
    }

    /// `a` plus a constant.
    pub(super) fn shift(&mut self, a: Node, by: f64) -> Node {
        let by = self.number(by);
        self.add(a, by)
    }

    /// A polynomial, coefficients from the constant up.
    pub(super) fn polynomial(&mut self, x: Node, coefficients: &[f64]) -> Node {
        let mut terms = coefficients.iter().rev();
        let mut sum = self.number(terms.next().copied().unwrap_or(0.0));
        for &c in terms {
            let product = self.mul(sum, x);
            sum = self.shift(product, c);
        }
        sum
    }

    /// A Chebyshev series in t, which lies in [-1, 1], by Clenshaw's recurrence.
    pub(super) fn series(&mut self, t: Node, coefficients: &[f64]) -> Node {
        let double = self.add(t, t);
        let (mut last, mut sum) = (self.number(0.0), self.number(0.0));
        for &c in coefficients[1..].iter().rev() {
            let product = self.mul(double, sum);
            let difference = self.sub(product, last);
            (last, sum) = (sum, self.shift(difference, c));
        }
        let product = self.mul(t, sum);
        let difference = self.sub(product, last);
        self.shift(difference, coefficients[0])
    }

    /// `a` times a constant.
    pub(super) fn scale(&mut self, a: Node, by: f64) -> Node {
        let by = self.number(by);
        self.mul(a, by)
    }
}

/// A formula of the first operand alone.
pub(super) fn lower_formula(l: &mut Lowering, value: impl FnOnce(&mut Formula, Node) -> Node) -> Result<()> {
    let x = wide(l, 0)?;
    let y = value(&mut Formula::of(l), x);
    finish(l, y);
    Ok(())
}

/// A formula of the first operands alone, computed in f64 whatever their type: special functions cancel and grow.
pub(super) fn lower_exact<const N: usize>(
    l: &mut Lowering,
    value: impl FnOnce(&mut Formula, [Node; N]) -> Node,
) -> Result<()> {
    let mut operands = SmallVec::<[Node; 4]>::new();
    for i in 0..N {
        operands.push(l.operand(i, DType::F64)?);
    }
    let operands = std::array::from_fn(|i| operands[i]);
    let y = value(&mut Formula { region: &mut *l.region, dtype: DType::F64 }, operands);
    finish(l, y);
    Ok(())
}

/// Operand `i` in the accumulation type of the first output.
pub(super) fn wide(l: &mut Lowering, i: usize) -> Result<Node> {
    let dtype = l.dtype(0).accumulator();
    l.operand(i, dtype)
}

/// Rounds a formula's value to the output's type and names it the next output.
pub(super) fn finish(l: &mut Lowering, value: Node) {
    let dtype = l.dtype(l.outputs.len());
    let value = l.region.cast(value, dtype);
    l.output(value);
}

/// A rule of several steps, or one that sums, computed in float32 where the op's types are narrower, and rounded once.
pub(super) fn in_float32(
    c: &VjpContext,
    rule: impl FnOnce(&VjpContext) -> Result<Gradients>,
) -> Result<Gradients> {
    let types: Vec<DType> = c.args.iter().flat_map(Value::types).map(|t| t.dtype).collect();
    if !types.iter().any(|d| d.is_narrow()) {
        return rule(c);
    }
    let wide = |t: &Tensor| if t.dtype().is_narrow() { t.to(DType::F32) } else { Ok(t.clone()) };
    let wide_type = |t: &TensorType| if t.dtype.is_narrow() { t.with_dtype(DType::F32) } else { t.clone() };
    let value = |v: &Value| -> Result<Value> {
        Ok(match v {
            Value::Tensor(t) => Value::Tensor(wide(t)?),
            Value::Tensors(list) => Value::Tensors(list.iter().map(wide).collect::<Result<_>>()?),
            Value::Type(t) => Value::Type(wide_type(t)),
            Value::Types(list) => Value::Types(list.iter().map(wide_type).collect()),
            Value::Lost(t, why) => Value::Lost(wide_type(t), why.clone()),
            Value::Host(h) => Value::Host(h.clone()),
        })
    };
    let values = |list: &[Value]| list.iter().map(value).collect::<Result<Vec<_>>>();
    let (args, outputs) = (values(c.args)?, values(c.outputs)?);
    let cotangents =
        c.cotangents.iter().map(|t| t.as_ref().map(wide).transpose()).collect::<Result<Vec<_>>>()?;
    let context = VjpContext { args: &args, outputs: &outputs, cotangents: &cotangents, later: None, ..*c };
    let gradients = rule(&context)?;
    gradients.into_iter().zip(types).map(|(g, dtype)| g.map(|g| g.to(dtype)).transpose()).collect()
}

/// The gradient of the first operand alone, in its type; none of other tensor operands.
pub(super) fn chain(c: &VjpContext, rule: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Gradients> {
    let dtype = c.input_type(0)?.dtype;
    let mut out = Gradients::new();
    out.push(if c.needs(0) && dtype.is_float() { Some(rule(c.dy()?)?.to(dtype)?) } else { None });
    for arg in &c.args[1..] {
        let tensors = match arg {
            Value::Tensor(_) | Value::Type(_) => 1,
            Value::Tensors(list) => list.len(),
            Value::Types(list) => list.len(),
            _ => 0,
        };
        out.extend(std::iter::repeat_n(None, tensors));
    }
    Ok(out)
}

/// `value` only where it is wanted.
pub(super) fn wanted(
    c: &VjpContext,
    i: usize,
    rule: impl FnOnce() -> Result<Tensor>,
) -> Result<Option<Tensor>> {
    if c.needs(i) { rule().map(Some) } else { Ok(None) }
}

/// `dims` as the integers that methods take.
pub(super) fn ints(dims: &[usize]) -> SmallVec<[i64; 6]> {
    dims.iter().map(|&n| n as i64).collect()
}

/// One-operand samples: a matrix, rank 0, rank 3 with a 1, empty, more than one vector.
pub(super) fn unary_samples(s: &mut Samples, low: f64, high: f64) {
    let d = s.dtype;
    for dims in [&[2usize, 3][..], &[], &[2, 1, 3], &[0], &[37]] {
        s.case([tensor(d, dims, if d == DType::U8 { low.max(0.0) } else { low }, high)]);
    }
}

/// One-operand samples of float types.
pub(super) fn float_samples(s: &mut Samples, low: f64, high: f64) {
    if s.dtype.is_float() {
        unary_samples(s, low, high);
    }
}

/// Two operands of one shape, floats, for gradient ops.
pub(super) fn pair_samples(s: &mut Samples, low: f64, high: f64) {
    let d = s.dtype;
    if d.is_float() {
        for dims in [&[2usize, 3][..], &[], &[0], &[37]] {
            s.case([tensor(d, dims, -1.0, 1.0), tensor(d, dims, low, high)]);
        }
    }
}

/// An f32 operand of these extents.
pub(super) fn f32s(dims: &[usize]) -> SampleArg {
    tensor(DType::F32, dims, -1.0, 1.0)
}

/// An i64 operand of these extents, for refusals.
pub(super) fn i64s(dims: &[usize]) -> SampleArg {
    tensor(DType::I64, dims, 0.0, 2.0)
}

/// A bool operand is refused.
pub(super) fn no_bools(e: &mut ErrorSamples) {
    e.case(ErrorKind::DType, [tensor(DType::Bool, &[2], 0.0, 1.0)]);
}

/// A host number is refused where a tensor must stand.
pub(super) fn no_numbers(e: &mut ErrorSamples) {
    e.case(ErrorKind::Value, [samples::host(1.0)]);
}
