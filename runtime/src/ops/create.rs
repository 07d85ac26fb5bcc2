//! Tensors made of host values: constants, ranges, the unit matrix.

use super::rules::{f32s, float_or, one};
use crate::device::DeviceId;
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, TensorType, Types};
use crate::lower::{Lowering, Steps, View};
use crate::samples::{Samples, host, none, tensor};
use crate::table::{Effect, Lower, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::{BinaryOp, Node};
use kernels::{DType, Scalar};
use smallvec::{SmallVec, smallvec};

/// torch's type for a host number: f32, i64 or bool.
fn dtype_of(value: Arg) -> Result<DType> {
    match value.scalar() {
        Some(Scalar::Float(_)) => Ok(DType::F32),
        Some(Scalar::Int(_)) => Ok(DType::I64),
        Some(Scalar::Bool(_)) => Ok(DType::Bool),
        None => Err(Error::value(format!("expected a number, got {value:?}"))),
    }
}

/// A dtype operand, or what the rule would choose.
fn dtype_at(c: &Infer, i: usize, otherwise: impl FnOnce() -> Result<DType>) -> Result<DType> {
    let given = c.host(i)?;
    if given.is_none() { otherwise() } else { given.dtype() }
}

/// Number of steps of a range that stops before its end.
fn range_length(start: Arg, end: Arg, step: Arg) -> Result<usize> {
    let whole = |a: Arg| matches!(a, Arg::Int(_) | Arg::Bool(_));
    let (from, to, by) = (start.float()?, end.float()?, step.float()?);
    if by == 0.0 || !by.is_finite() || !from.is_finite() || !to.is_finite() {
        return Err(Error::value(format!("no range from {from} to {to} by {by}")));
    }
    if (to - from) * by.signum() < 0.0 {
        return Err(Error::value(format!("a step of {by} does not lead from {from} to {to}")));
    }
    if whole(start) && whole(end) && whole(step) {
        let (from, to, by) = (start.int()?, end.int()?, step.int()?);
        return Ok((to.abs_diff(from)).div_ceil(by.unsigned_abs()) as usize);
    }
    Ok(((to - from) / by).ceil() as usize)
}

/// A non-negative extent.
fn extent(arg: Arg) -> Result<usize> {
    let n = arg.int()?;
    usize::try_from(n).map_err(|_| Error::value(format!("negative extent {n}")))
}

/// Numbers of the points along the only dimension, in `dtype`.
fn counter(l: &mut Lowering, dtype: DType) -> Node {
    let dims = l.dims(0);
    let index = l.region.index(&dims, 0);
    l.region.cast(index, dtype)
}

/// Appends a step that writes one number everywhere.
pub(super) fn fill(s: &mut Steps, out: &View, value: impl Into<Scalar>) -> Result<()> {
    let value = value.into();
    s.region(&[], &[out], |r, _| {
        let value = r.constant(value, out.dtype);
        Ok(smallvec![r.expand(value, &out.layout.shape)])
    })
}

fn infer_full(c: &Infer) -> Result<Types> {
    let own = dtype_of(c.host(1)?)?;
    let dims = c.host(0)?.extents()?;
    Ok(smallvec![TensorType::new(dtype_at(c, 2, || Ok(own))?, &dims)])
}

fn infer_like(c: &Infer) -> Result<Types> {
    let t = c.tensor(0)?;
    dtype_of(c.host(1)?)?;
    one(dtype_at(c, 2, || Ok(t.dtype))?, t.shape.clone())
}

/// One number everywhere.
fn lower_full(l: &mut Lowering) -> Result<()> {
    let (dtype, dims) = (l.dtype(0), l.dims(0));
    let value = l.operand(1, dtype)?;
    let y = l.region.expand(value, &dims);
    l.output(y);
    Ok(())
}

fn lower_arange(l: &mut Lowering) -> Result<()> {
    let dtype = l.dtype(0);
    // torch computes ranges of floats in f64 and of integers exactly.
    let wide = if dtype.is_float() { DType::F64 } else { DType::I64 };
    let (start, step) = (l.operand(0, wide)?, l.operand(2, wide)?);
    let index = counter(l, wide);
    let way = l.region.binary(BinaryOp::Mul, index, step);
    let y = l.region.binary(BinaryOp::Add, start, way);
    let y = l.region.cast(y, dtype);
    l.output(y);
    Ok(())
}

fn lower_linspace(l: &mut Lowering) -> Result<()> {
    let dtype = l.dtype(0);
    // The ends are numbers of the result's type.
    let whole = |v: f64| if dtype.is_float() { v } else { v.trunc() };
    let (start, end, steps) = (whole(l.host(0)?.float()?), whole(l.host(1)?.float()?), extent(l.host(2)?)?);
    let step = if steps > 1 { (end - start) / (steps as f64 - 1.0) } else { 0.0 };
    let index = counter(l, DType::F64);
    let number = |l: &mut Lowering, v: f64| l.region.constant(v, DType::F64);
    let (start, end) = (number(l, start), number(l, end));
    let (by, last, middle) = (number(l, step), number(l, steps as f64 - 1.0), number(l, (steps / 2) as f64));
    // From the nearer end, so that both ends are exact.
    let way = l.region.binary(BinaryOp::Mul, by, index);
    let from_start = l.region.binary(BinaryOp::Add, start, way);
    let left = l.region.binary(BinaryOp::Sub, last, index);
    let way = l.region.binary(BinaryOp::Mul, by, left);
    let from_end = l.region.binary(BinaryOp::Sub, end, way);
    let near = l.region.binary(BinaryOp::Lt, index, middle);
    let y = if steps > 1 { l.region.select(near, from_start, from_end) } else { from_start };
    let y = l.region.cast(y, dtype);
    l.output(y);
    Ok(())
}

fn lower_eye(l: &mut Lowering) -> Result<()> {
    let (dtype, dims) = (l.dtype(0), l.dims(0));
    let (row, column) = (l.region.index(&dims, 0), l.region.index(&dims, 1));
    let equal = l.region.binary(BinaryOp::Eq, row, column);
    let y = l.region.cast(equal, dtype);
    l.output(y);
    Ok(())
}

/// Creation has no tensor operands; its samples are the same for every type.
fn once(s: &Samples) -> bool {
    s.dtype == DType::F32
}

const NO_OPERANDS: Vjp = Vjp::Zero;

ops! {
    /// A tensor of one number.
    FULL = "full(int[] size, Scalar fill_value, *, ScalarType? dtype=None, Device? device=None) -> Tensor" {
        infer: infer_full,
        vjp: NO_OPERANDS,
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Loop(lower_full),
        samples: |s| {
            let d = s.dtype;
            s.case([host(&[2i64, 3]), host(7.5), host(d), none()]);
            s.case([host(&[] as &[i64]), host(1i64), host(d), none()]);
            s.case([host(&[0i64, 2]), host(true), host(d), none()]);
            s.case([host(&[70i64]), host(3i64), none(), host("cpu")]);
        },
        errors: |e| e.case(ErrorKind::Value, [host(&[2i64, -1]), host(0.0), none(), none()]),
    }
    /// One number in the shape of a tensor.
    FULL_LIKE = "full_like(Tensor self, Scalar fill_value, *, ScalarType? dtype=None) -> Tensor" {
        infer: infer_like,
        vjp: NO_OPERANDS,
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Map(lower_full),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[2, 3], 0.0, 1.0), host(1i64)]);
            s.case([tensor(d, &[0], 0.0, 1.0), host(true)]);
            s.case([tensor(d, &[2], 0.0, 1.0), host(3i64), host(DType::I64)]);
        },
        errors: |e| e.case(ErrorKind::Value, [f32s(&[2]), none()]),
    }
    /// start, start + step, ... up to, but without, end.
    ARANGE = "arange(Scalar start, Scalar end, Scalar step, *, ScalarType? dtype=None, Device? device=None) -> Tensor" {
        infer: |c| {
            let n = range_length(c.host(0)?, c.host(1)?, c.host(2)?)?;
            let dtype = dtype_at(c, 3, || {
                let own = [dtype_of(c.host(0)?)?, dtype_of(c.host(1)?)?, dtype_of(c.host(2)?)?];
                Ok(if own.iter().any(|d| d.is_float()) { DType::F32 } else { DType::I64 })
            })?;
            Ok(smallvec![TensorType::new(dtype, &[n])])
        },
        vjp: NO_OPERANDS,
        effect: Effect::Pure,
        cost: cost::per_output::<2>,
        lower: Lower::Loop(lower_arange),
        samples: |s| if once(s) {
            let case = |s: &mut Samples, a: f64, b: f64, c: f64| s.case([host(a), host(b), host(c), none(), none()]);
            case(s, 1.0, 2.5, 0.5);
            case(s, 0.0, 1.0, 0.25);
            s.case([host(7i64), host(2i64), host(-2i64), none(), none()]);
            s.case([host(0i64), host(50i64), host(1i64), host(DType::F32), none()]);
            s.case([host(3i64), host(3i64), host(1i64), none(), none()]);
        },
        errors: |e| {
            e.case(ErrorKind::Value, [host(0i64), host(5i64), host(-1i64), none(), none()]);
            e.case(ErrorKind::Value, [host(0i64), host(5i64), host(0i64), none(), none()]);
        },
    }
    /// `steps` numbers at equal distances from start to end, both included.
    LINSPACE = "linspace(Scalar start, Scalar end, int steps, *, ScalarType? dtype=None, Device? device=None) -> Tensor" {
        infer: |c| {
            let (_, _) = (float_or(c.host(0)?, 0.0)?, float_or(c.host(1)?, 0.0)?);
            let n = extent(c.host(2)?)?;
            Ok(smallvec![TensorType::new(dtype_at(c, 3, || Ok(DType::F32))?, &[n])])
        },
        vjp: NO_OPERANDS,
        effect: Effect::Pure,
        cost: cost::per_output::<5>,
        lower: Lower::Loop(lower_linspace),
        samples: |s| if once(s) {
            s.case([host(0.0), host(1.0), host(5i64), none(), none()]);
            s.case([host(-2.0), host(3.0), host(4i64), host(DType::F64), none()]);
            s.case([host(3i64), host(-3i64), host(7i64), none(), none()]);
            s.case([host(0.5), host(9.9), host(7i64), host(DType::I64), none()]);
            s.case([host(-2.7), host(3.9), host(5i64), host(DType::I32), none()]);
            s.case([host(1.0), host(2.0), host(1i64), none(), none()]);
            s.case([host(1.0), host(2.0), host(0i64), none(), none()]);
        },
        errors: |e| e.case(ErrorKind::Value, [host(0.0), host(1.0), host(-1i64), none(), none()]),
    }
    /// Ones on the main diagonal, zeros elsewhere.
    EYE = "eye(int n, int m, *, ScalarType? dtype=None, Device? device=None) -> Tensor" {
        infer: |c| {
            let dims = [extent(c.host(0)?)?, extent(c.host(1)?)?];
            Ok(smallvec![TensorType::new(dtype_at(c, 2, || Ok(DType::F32))?, &dims)])
        },
        vjp: NO_OPERANDS,
        effect: Effect::Pure,
        cost: cost::per_output::<1>,
        lower: Lower::Loop(lower_eye),
        samples: |s| {
            let d = s.dtype;
            s.case([host(3i64), host(3i64), host(d), none()]);
            s.case([host(2i64), host(4i64), host(d), none()]);
            s.case([host(1i64), host(1i64), host(d), none()]);
            s.case([host(0i64), host(2i64), none(), none()]);
        },
        errors: |e| e.case(ErrorKind::Value, [host(-1i64), host(2i64), none(), none()]),
    }
}

/// `f` with the device's name.
fn on<T>(device: DeviceId, f: impl FnOnce(Arg) -> T) -> T {
    match device {
        DeviceId::Cpu => f(Arg::None),
        other => f(Arg::Str(&other.to_string())),
    }
}

impl Tensor {
    /// A tensor of one number.
    #[track_caller]
    pub fn full<'a>(
        dims: &[usize],
        value: impl Into<Arg<'a>>,
        dtype: DType,
        device: DeviceId,
    ) -> Result<Tensor> {
        let size: SmallVec<[i64; 6]> = super::rules::ints(dims);
        let value = value.into();
        on(device, |device| bind1(&FULL, &[Arg::Ints(&size), value, Arg::DType(dtype), device]))
    }

    /// A tensor of zeros.
    #[track_caller]
    pub fn zeros(dims: &[usize], dtype: DType, device: DeviceId) -> Result<Tensor> {
        Tensor::full(dims, 0i64, dtype, device)
    }

    /// A tensor of ones.
    #[track_caller]
    pub fn ones(dims: &[usize], dtype: DType, device: DeviceId) -> Result<Tensor> {
        Tensor::full(dims, 1i64, dtype, device)
    }

    /// One number in this tensor's shape, in its type or another.
    #[track_caller]
    pub fn full_like<'a>(&'a self, value: impl Into<Arg<'a>>, dtype: Option<DType>) -> Result<Tensor> {
        match dtype {
            Some(dtype) if dtype != self.dtype() => {
                bind1(&FULL_LIKE, &[Arg::Tensor(self), value.into(), Arg::DType(dtype)])
            }
            _ => bind1(&FULL_LIKE, &[Arg::Tensor(self), value.into()]),
        }
    }

    /// Zeros in this tensor's shape.
    #[track_caller]
    pub fn zeros_like(&self, dtype: Option<DType>) -> Result<Tensor> {
        self.full_like(0i64, dtype)
    }

    /// Ones in this tensor's shape.
    #[track_caller]
    pub fn ones_like(&self, dtype: Option<DType>) -> Result<Tensor> {
        self.full_like(1i64, dtype)
    }

    /// start, start + step, ... up to, but without, end; integers if all three are and no type is asked for.
    #[track_caller]
    pub fn arange<'a>(
        start: impl Into<Arg<'a>>,
        end: impl Into<Arg<'a>>,
        step: impl Into<Arg<'a>>,
        dtype: Option<DType>,
        device: DeviceId,
    ) -> Result<Tensor> {
        let (start, end, step) = (start.into(), end.into(), step.into());
        on(device, |device| bind1(&ARANGE, &[start, end, step, dtype.into(), device]))
    }

    /// `steps` numbers at equal distances from start to end, both included.
    #[track_caller]
    pub fn linspace(start: f64, end: f64, steps: usize, dtype: DType, device: DeviceId) -> Result<Tensor> {
        let args = [Arg::Float(start), Arg::Float(end), Arg::Int(steps as i64), Arg::DType(dtype)];
        on(device, |device| bind1(&LINSPACE, &[args[0], args[1], args[2], args[3], device]))
    }

    /// `linspace` between two tensors of rank 0, which the host does not look at; not differentiable.
    #[track_caller]
    pub fn linspace_between(start: &Tensor, end: &Tensor, steps: usize, dtype: DType) -> Result<Tensor> {
        for t in [start, end] {
            if t.rank() > 0 {
                return Err(Error::shape(format!("an end has rank 0, got {t:?}")).in_op("linspace"));
            }
        }
        // The ends are numbers of the result's type.
        let number = |t: &Tensor| -> Result<Tensor> {
            let wide = t.detach()?.to(DType::F64)?;
            if dtype.is_float() { Ok(wide) } else { wide.trunc() }
        };
        let (start, end) = (number(start)?, number(end)?);
        if steps < 2 {
            return start.expand(&[steps])?.to(dtype);
        }
        let index = Tensor::arange(0.0, steps as f64, 1.0, Some(DType::F64), start.device())?;
        let last = steps as f64 - 1.0;
        let by = end.sub(&start)?.div(last)?;
        // From the nearer end, so that both ends are exact.
        let from_start = start.add(&by.mul(&index)?)?;
        let from_end = end.sub(&by.mul(&index.mul(-1.0)?.add(last)?)?)?;
        index.lt((steps / 2) as f64)?.select_where(&from_start, &from_end)?.to(dtype)
    }

    /// Ones on the main diagonal, zeros elsewhere.
    #[track_caller]
    pub fn eye(n: usize, m: usize, dtype: DType, device: DeviceId) -> Result<Tensor> {
        let args = [Arg::Int(n as i64), Arg::Int(m as i64), Arg::DType(dtype)];
        on(device, |device| bind1(&EYE, &[args[0], args[1], args[2], device]))
    }
}
