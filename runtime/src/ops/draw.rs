//! Random draws. Each is a pure function of a state tensor, i64[2] of seed and offset, so equal states draw equal numbers
//! on every device and in every mode, and a mask that a gradient needs is drawn again instead of kept.

use super::rules::{Formula, dtype_or, f32s, float_only, i64s};
use crate::device::DeviceId;
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, TensorType, Types};
use crate::lower::{Steps, View};
use crate::random;
use crate::samples::{SampleArg, exact, host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::{BinaryOp, Node, Region, UnaryOp};
use kernels::{DType, Layout};
use smallvec::smallvec;
use std::f64::consts::TAU;

fn check_state(c: &Infer) -> Result<()> {
    match *c.tensor(0)? == TensorType::new(DType::I64, &[2]) {
        true => Ok(()),
        false => Err(Error::dtype(format!("a random state is i64[2], got {}", c.tensor(0)?))),
    }
}

/// state, size, ..., dtype at operand `i`.
fn infer_drawn(c: &Infer, i: usize, otherwise: DType) -> Result<Types> {
    check_state(c)?;
    let dims = c.host(1)?.extents()?;
    Ok(smallvec![TensorType::new(dtype_or(c.host(i)?, otherwise)?, &dims)])
}

/// Seed and offset as values of rank 0.
fn state_parts(s: &Steps) -> Result<(View, View)> {
    let state = s.input(0)?;
    let part = |i: usize| {
        let offset = state.layout.offset + i * state.layout.strides[0] as usize;
        View { layout: Layout { offset, ..Layout::contiguous(&[]) }, ..state.clone() }
    };
    Ok((part(0), part(1)))
}

/// Uniform numbers in [0, 1): 24 bits for f32 and below, 48 for f64. Halves drop bits that would round up to 1.
fn uniform(r: &mut Region, dims: &[usize], dtype: DType, stream: u8, state: &[Node]) -> Node {
    let word = |r: &mut Region, stream: u8| {
        let bits = r.random_bits(dims, stream, state[0], state[1]);
        r.unary(UnaryOp::Uniform, bits)
    };
    let coarse = word(r, stream);
    match dtype {
        DType::F64 => {
            let fine = word(r, stream + 1);
            let (high, low) = (r.cast(coarse, DType::F64), r.cast(fine, DType::F64));
            let unit = r.constant(2f64.powi(-24), DType::F64);
            let low = r.binary(BinaryOp::Mul, low, unit);
            r.binary(BinaryOp::Add, high, low)
        }
        DType::F16 | DType::BF16 => {
            let steps = if dtype == DType::F16 { 2048.0 } else { 256.0 };
            let (up, down) = (r.constant(steps, DType::F32), r.constant(1.0 / steps, DType::F32));
            let scaled = r.binary(BinaryOp::Mul, coarse, up);
            let whole = r.unary(UnaryOp::Floor, scaled);
            let value = r.binary(BinaryOp::Mul, whole, down);
            r.cast(value, dtype)
        }
        _ => coarse,
    }
}

/// A step that draws from the state and other inputs.
fn draw(
    s: &mut Steps,
    more: &[View],
    build: impl FnOnce(&mut Region, &[Node], &[Node]) -> Node,
) -> Result<()> {
    let ((seed, offset), out) = (state_parts(s)?, s.output(0));
    let inputs: Vec<&View> = [&seed, &offset].into_iter().chain(more).collect();
    s.region(&inputs, &[&out], |r, n| {
        let value = build(r, &n[..2], &n[2..]);
        Ok(smallvec![r.cast(value, out.dtype)])
    })
}

fn lower_randn(s: &mut Steps) -> Result<()> {
    let out = s.output(0);
    let dims = out.layout.shape.clone();
    draw(s, &[], |r, state, _| {
        // Box and Muller: the radius from one number in (0, 1], the angle from another.
        let (u, v) = (uniform(r, &dims, DType::F32, 0, state), uniform(r, &dims, DType::F32, 1, state));
        let wide = if out.dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let (u, v) = (r.cast(u, wide), r.cast(v, wide));
        let mut f = Formula { region: r, dtype: wide };
        let one = f.number(1.0);
        let rest = f.sub(one, u);
        let log = f.log(rest);
        let square = f.scale(log, -2.0);
        let radius = f.sqrt(square);
        let angle = f.scale(v, TAU);
        let wave = f.region.unary(UnaryOp::Cos, angle);
        f.mul(radius, wave)
    })
}

fn probability(arg: Arg) -> Result<f64> {
    let p = arg.float()?;
    match (0.0..=1.0).contains(&p) {
        true => Ok(p),
        false => Err(Error::value(format!("a probability must be within [0, 1], got {p}"))),
    }
}

fn lower_dropout(s: &mut Steps) -> Result<()> {
    let (x, p) = (s.input(1)?, probability(s.host(2)?)?);
    let dims = x.layout.shape.clone();
    draw(s, &[x], |r, state, n| {
        let u = uniform(r, &dims, DType::F32, 0, state);
        let p_node = r.constant(p, DType::F32);
        let kept = r.binary(BinaryOp::Ge, u, p_node);
        let wide = r.dtype(n[0]).accumulator();
        let x = r.cast(n[0], wide);
        let mut f = Formula { region: r, dtype: wide };
        let zero = f.number(0.0);
        let scaled = f.scale(x, if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 });
        f.select(kept, scaled, zero)
    })
}

/// Draws from the same state, for the same mask.
fn dropout_gradient(c: &VjpContext) -> Result<crate::table::Gradients> {
    let dx = match c.needs(1) {
        true => Some(bind1(&DROPOUT, &[Arg::Tensor(c.input(0)?), Arg::Tensor(c.dy()?), c.host(2)?])?),
        false => None,
    };
    Ok(smallvec![None, dx])
}

fn state() -> SampleArg {
    exact(DType::I64, &[2], &[7i64, 3])
}

ops! {
    /// Uniform numbers in [0, 1).
    RAND = "rand(Tensor state, int[] size, *, ScalarType? dtype=None) -> Tensor" {
        infer: |c| {
            float_only(dtype_or(c.host(2)?, DType::F32)?)?;
            infer_drawn(c, 2, DType::F32)
        },
        vjp: Vjp::Zero,
        effect: Effect::Random,
        cost: cost::per_output::<40>,
        lower: Lower::Steps(|s| {
            let out = s.output(0);
            let dims = out.layout.shape.clone();
            draw(s, &[], |r, state, _| uniform(r, &dims, out.dtype, 0, state))
        }),
        samples: |s| if s.dtype.is_float() {
            s.case([state(), host(&[3i64, 5]), host(s.dtype)]);
            s.case([state(), host(&[] as &[i64]), host(s.dtype)]);
            s.case([state(), host(&[0i64]), host(s.dtype)]);
        },
        errors: |e| {
            e.case(ErrorKind::DType, [f32s(&[2]), host(&[3i64])]);
            e.case(ErrorKind::DType, [i64s(&[2]), host(&[3i64]), host(DType::I64)]);
        },
    }
    /// Normal numbers of mean 0 and variance 1.
    RANDN = "randn(Tensor state, int[] size, *, ScalarType? dtype=None) -> Tensor" {
        infer: |c| {
            float_only(dtype_or(c.host(2)?, DType::F32)?)?;
            infer_drawn(c, 2, DType::F32)
        },
        vjp: Vjp::Zero,
        effect: Effect::Random,
        cost: cost::per_output::<80>,
        lower: Lower::Steps(lower_randn),
        samples: |s| if s.dtype.is_float() {
            s.case([state(), host(&[3i64, 5]), host(s.dtype)]);
            s.case([state(), host(&[] as &[i64]), host(s.dtype)]);
        },
        errors: |e| e.case(ErrorKind::DType, [f32s(&[2]), host(&[3i64])]),
    }
    /// Whole numbers from low up to, but without, high, equally likely.
    RANDINT = "randint(Tensor state, int low, int high, int[] size, *, ScalarType? dtype=None) -> Tensor" {
        infer: |c| {
            check_state(c)?;
            let (low, high) = (c.host(1)?.int()?, c.host(2)?.int()?);
            if low >= high {
                return Err(Error::value(format!("there is no whole number from {low} to {high}")));
            }
            let dims = c.host(3)?.extents()?;
            Ok(smallvec![TensorType::new(dtype_or(c.host(4)?, DType::I64)?, &dims)])
        },
        vjp: Vjp::Zero,
        effect: Effect::Random,
        cost: cost::per_output::<45>,
        lower: Lower::Steps(|s| {
            let (low, high) = (s.host(1)?.int()?, s.host(2)?.int()?);
            let dims = s.output(0).layout.shape.clone();
            draw(s, &[], |r, state, _| {
                let u = uniform(r, &dims, DType::F64, 0, state);
                let mut f = Formula { region: r, dtype: DType::F64 };
                let scaled = f.scale(u, (high - low) as f64);
                let whole = f.region.cast(scaled, DType::I64);
                let low = f.region.constant(low, DType::I64);
                f.add(whole, low)
            })
        }),
        samples: |s| {
            s.case([state(), host(0i64), host(2i64), host(&[4i64, 3]), host(s.dtype)]);
            s.case([state(), host(0i64), host(90i64), host(&[50i64]), host(s.dtype)]);
        },
        errors: |e| e.case(ErrorKind::Value, [i64s(&[2]), host(3i64), host(3i64), host(&[2i64])]),
    }
    /// Elements set to 0 with probability p, the others divided by 1 - p.
    DROPOUT = "dropout(Tensor state, Tensor self, float p) -> Tensor" {
        infer: |c| {
            check_state(c)?;
            float_only(c.tensor(1)?.dtype)?;
            probability(c.host(2)?)?;
            Ok(smallvec![c.tensor(1)?.clone()])
        },
        vjp: Vjp::Rule(Saves::inputs(1), dropout_gradient),
        effect: Effect::Random,
        cost: cost::per_output::<42>,
        lower: Lower::Steps(lower_dropout),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                s.case([state(), tensor(d, &[3, 40], 1.0, 2.0), host(0.5)]);
                s.case([state(), tensor(d, &[3], 1.0, 2.0), host(1.0)]);
                s.case([state(), tensor(d, &[], 1.0, 2.0), host(0.0)]);
            }
        },
        errors: |e| {
            e.case(ErrorKind::Value, [i64s(&[2]), f32s(&[3]), host(1.5)]);
            e.case(ErrorKind::DType, [i64s(&[2]), i64s(&[3]), host(0.5)]);
        },
    }
}

/// The next state of this thread's default stream, on a device.
fn next(device: DeviceId) -> Result<Tensor> {
    random::default_generator()?.next()?.to_device(device)
}

impl Tensor {
    /// Uniform numbers in [0, 1) from this thread's default stream.
    #[track_caller]
    pub fn rand(dims: &[usize], dtype: DType, device: DeviceId) -> Result<Tensor> {
        bind1(&RAND, &[Arg::Tensor(&next(device)?), Arg::Ints(&super::rules::ints(dims)), Arg::DType(dtype)])
    }

    /// Normal numbers of mean 0 and variance 1 from this thread's default stream.
    #[track_caller]
    pub fn randn(dims: &[usize], dtype: DType, device: DeviceId) -> Result<Tensor> {
        bind1(&RANDN, &[Arg::Tensor(&next(device)?), Arg::Ints(&super::rules::ints(dims)), Arg::DType(dtype)])
    }

    /// Whole numbers from `low` up to, but without, `high` from this thread's default stream.
    #[track_caller]
    pub fn randint(low: i64, high: i64, dims: &[usize], dtype: DType, device: DeviceId) -> Result<Tensor> {
        let size = super::rules::ints(dims);
        let state = next(device)?;
        bind1(
            &RANDINT,
            &[Arg::Tensor(&state), Arg::Int(low), Arg::Int(high), Arg::Ints(&size), Arg::DType(dtype)],
        )
    }

    /// Elements set to 0 with probability `p` by this thread's default stream, the others divided by 1 - p; the tensor as
    /// it is where not `training`.
    #[track_caller]
    pub fn dropout(&self, p: f64, training: bool) -> Result<Tensor> {
        if !training && (0.0..=1.0).contains(&p) {
            return Ok(self.clone());
        }
        bind1(&DROPOUT, &[Arg::Tensor(&next(self.device())?), Arg::Tensor(self), Arg::Float(p)])
    }
}
