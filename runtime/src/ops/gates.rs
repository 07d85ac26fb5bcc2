//! Activations that are a formula of one element and up to two numbers. Each comes with its gradient, an op of its own in
//! one loop program, so that it can be differentiated again.

use super::rules::{
    Formula, chain, f32s, finish, float_or, float_samples, i64s, methods, pair_samples, same_float, wanted,
    wide,
};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Types};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, host, tensor};
use crate::table::{Effect, Gradients, Lower, OpDef, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::Node;
use smallvec::{SmallVec, smallvec};

/// The fixed point of selu: its scale.
const SCALE: f64 = 1.050_700_987_355_480_5;
/// The fixed point of selu: its bound below zero, before scaling.
const ALPHA: f64 = 1.673_263_242_354_377_2;

/// A value or a slope: of the element and the op's numbers.
type Rule = fn(&mut Formula, Node, &[Node]) -> Node;
/// The derivative of the slope; `None` where it is zero almost everywhere.
type Curvature = fn(&Tensor, &[f64]) -> Result<Option<Tensor>>;

/// The op's numbers, operands from `first` on, with defaults for those that are left out.
fn numbers(l: &mut Lowering, first: usize, defaults: &[f64]) -> Result<SmallVec<[Node; 2]>> {
    let dtype = l.dtype(0).accumulator();
    let mut out = SmallVec::new();
    for (i, &default) in defaults.iter().enumerate() {
        out.push(match l.host(first + i)? {
            Arg::None => l.region.constant(default, dtype),
            _ => l.operand(first + i, dtype)?,
        });
    }
    Ok(out)
}

fn lower_value(l: &mut Lowering, defaults: &[f64], value: Rule) -> Result<()> {
    let x = wide(l, 0)?;
    let numbers = numbers(l, 1, defaults)?;
    let y = value(&mut Formula::of(l), x, &numbers);
    finish(l, y);
    Ok(())
}

fn lower_slope(l: &mut Lowering, defaults: &[f64], slope: Rule) -> Result<()> {
    let (dy, x) = (wide(l, 0)?, wide(l, 1)?);
    let numbers = numbers(l, 2, defaults)?;
    let mut f = Formula::of(l);
    let slope = slope(&mut f, x, &numbers);
    let dx = f.mul(dy, slope);
    finish(l, dx);
    Ok(())
}

/// The numbers of a call, operands from `first` on.
fn given(c: &Infer, first: usize, defaults: &[f64]) -> Result<SmallVec<[f64; 2]>> {
    defaults.iter().enumerate().map(|(i, &d)| float_or(c.host(first + i)?, d)).collect()
}

/// Any numbers will do.
fn any(_: &[f64]) -> Result<()> {
    Ok(())
}

fn ordered(numbers: &[f64]) -> Result<()> {
    match numbers {
        [low, high] if low > high => {
            Err(Error::value(format!("the least value {low} is above the greatest {high}")))
        }
        _ => Ok(()),
    }
}

fn not_negative(numbers: &[f64]) -> Result<()> {
    match numbers.iter().find(|n| **n < 0.0) {
        Some(n) => Err(Error::value(format!("lambd must not be negative, got {n}"))),
        None => Ok(()),
    }
}

fn not_zero(numbers: &[f64]) -> Result<()> {
    match numbers.contains(&0.0) {
        true => Err(Error::value("alpha must not be 0")),
        false => Ok(()),
    }
}

/// The cotangent through the gradient op `back`.
fn first(c: &VjpContext, back: &'static OpDef) -> Result<Gradients> {
    chain(c, |dy| {
        let mut args: SmallVec<[Arg; 4]> = smallvec![Arg::Tensor(dy), Arg::Tensor(c.input(0)?)];
        for i in 1..c.args.len() {
            args.push(c.host(i)?);
        }
        bind1(back, &args)
    })
}

/// The gradient of a gradient op: linear in the cotangent, and bent where the activation is.
fn second(c: &VjpContext, back: &'static OpDef, defaults: &[f64], bend: Curvature) -> Result<Gradients> {
    let (h, dy, x) = (c.dy()?, c.input(0)?, c.input(1)?);
    let mut args: SmallVec<[Arg; 4]> = smallvec![Arg::Tensor(h), Arg::Tensor(x)];
    for i in 2..c.args.len() {
        args.push(c.host(i)?);
    }
    let numbers = defaults.iter().enumerate().map(|(i, &d)| float_or(c.host(2 + i)?, d));
    let numbers = numbers.collect::<Result<SmallVec<[f64; 2]>>>()?;
    let to_cotangent = wanted(c, 0, || bind1(back, &args))?;
    let to_value = match c.needs(1) {
        true => bend(x, &numbers)?.map(|bend| h.mul(dy)?.mul(&bend)).transpose()?,
        false => None,
    };
    Ok(smallvec![to_cotangent, to_value])
}

/// A cotangent and a float tensor of one shape and type, numbers that do.
fn infer_slope(c: &Infer, defaults: &[f64], check: fn(&[f64]) -> Result<()>) -> Result<Types> {
    check(&given(c, 2, defaults)?)?;
    super::activation::infer_pair(c)
}

fn straight(_: &Tensor, _: &[f64]) -> Result<Option<Tensor>> {
    Ok(None)
}

/// The negative part, so that exponentials of it stay small.
fn falling(x: &Tensor) -> Result<Tensor> {
    x.clamp(Arg::None, 0.0)
}

/// `bend` below zero, none above.
fn below_zero(x: &Tensor, bend: Tensor) -> Result<Option<Tensor>> {
    bend.masked_fill(&x.gt(0.0)?, 0.0).map(Some)
}

fn where_positive(f: &mut Formula, x: Node, above: Node, below: Node) -> Node {
    let zero = f.number(0.0);
    let positive = f.gt(x, zero);
    f.select(positive, above, below)
}

/// x, and alpha (e^x - 1) below zero.
fn exponential(f: &mut Formula, x: Node, alpha: Node) -> Node {
    let grown = f.expm1(x);
    let low = f.mul(alpha, grown);
    where_positive(f, x, x, low)
}

fn exponential_slope(f: &mut Formula, x: Node, alpha: Node) -> Node {
    let (grown, one) = (f.exp(x), f.number(1.0));
    let low = f.mul(alpha, grown);
    where_positive(f, x, one, low)
}

/// tanh(log(1 + e^x)) and the logistic function of x.
fn mish_parts(f: &mut Formula, x: Node) -> (Node, Node) {
    let (zero, sigmoid) = (f.number(0.0), f.sigmoid(x));
    let size = f.abs(x);
    let size = f.neg(size);
    let tail = f.exp(size);
    let tail = f.log1p(tail);
    let rise = f.max(x, zero);
    let soft = f.add(tail, rise);
    (f.tanh(soft), sigmoid)
}

fn mish_bend(x: &Tensor) -> Result<Tensor> {
    let (w, s) = (x.softplus(1.0, 20.0)?.tanh()?, x.sigmoid()?);
    let rest = w.square()?.neg()?.add(1.0)?;
    let first = rest.mul(&s)?;
    let second = w.mul(&first)?.mul(&s)?.mul(-2.0)?.add(&rest.mul(&s)?.mul(&s.neg()?.add(1.0)?)?)?;
    first.mul(2.0)?.add(&x.mul(&second)?)
}

/// Within (low, high) the first, elsewhere 0.
fn inside(f: &mut Formula, x: Node, low: Node, high: Node, slope: Node) -> Node {
    let (above, below, zero) = (f.gt(x, low), f.lt(x, high), f.number(0.0));
    let within = f.and(above, below);
    f.select(within, slope, zero)
}

/// min(max(x + 3, 0), 6) / 6.
fn hard_sigmoid(f: &mut Formula, x: Node) -> Node {
    let (zero, three, six) = (f.number(0.0), f.number(3.0), f.number(6.0));
    let moved = f.add(x, three);
    let moved = f.max(moved, zero);
    let held = f.min(moved, six);
    f.div(held, six)
}

/// Beyond lambda of zero the first, else 0.
fn outside(f: &mut Formula, x: Node, lambda: Node, value: Node) -> Node {
    let (size, zero) = (f.abs(x), f.number(0.0));
    let small = f.le(size, lambda);
    f.select(small, zero, value)
}

fn float_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::DType, [i64s(&[2])]);
}

fn slope_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Shape, [f32s(&[2]), f32s(&[3])]);
    e.case(ErrorKind::DType, [i64s(&[2]), i64s(&[2])]);
}

macro_rules! gates {
    ($($(#[doc = $doc:literal])+ $id:ident $schema:literal, $back:ident $back_doc:literal $back_schema:literal,
        $lower:ident $check:ident [$($default:literal),*] [$([$($other:literal),*])*] [$([$($bad:literal),*])*]
        $value:expr, $slope:expr, $bend:expr;)*) => {
        ops! {$(
            $(#[doc = $doc])+
            $id = $schema {
                infer: |c| {
                    $check(&given(c, 1, &[$($default),*])?)?;
                    same_float(c)
                },
                vjp: Vjp::Rule(Saves::INPUTS, |c| first(c, &$back)),
                effect: Effect::Pure,
                cost: cost::per_output::<15>,
                lower: Lower::$lower(|l| lower_value(l, &[$($default),*], $value)),
                samples: |s| {
                    float_samples(s, -4.0, 4.0);
                    if s.dtype.is_float() {
                        $(s.case([tensor(s.dtype, &[40], -4.0, 4.0), $(host($other)),*]);)*
                    }
                },
                errors: |e| {
                    float_errors(e);
                    $(e.case(ErrorKind::Value, [f32s(&[2]), $(host($bad)),*]);)*
                },
            }
            #[doc = $back_doc]
            $back = $back_schema {
                infer: |c| infer_slope(c, &[$($default),*], $check),
                vjp: Vjp::Rule(Saves::INPUTS, |c| second(c, &$back, &[$($default),*], $bend)),
                effect: Effect::Pure,
                cost: cost::per_output::<16>,
                lower: Lower::$lower(|l| lower_slope(l, &[$($default),*], $slope)),
                samples: |s| {
                    pair_samples(s, -4.0, 4.0);
                    let d = s.dtype;
                    if d.is_float() {
                        $(s.case([tensor(d, &[40], -1.0, 1.0), tensor(d, &[40], -4.0, 4.0), $(host($other)),*]);)*
                    }
                },
                errors: slope_errors,
            }
        )*}
    };
}

gates! {
    /// x where it is positive, else alpha (e^x - 1).
    ELU "elu(Tensor self, Scalar alpha=1.0) -> Tensor",
    ELU_BACKWARD "The gradient of elu: the cotangent times the slope at `self`."
        "elu_backward(Tensor grad_output, Tensor self, Scalar alpha=1.0) -> Tensor",
        Map any [1.0] [[0.5]] []
        |f, x, n| exponential(f, x, n[0]),
        |f, x, n| exponential_slope(f, x, n[0]),
        |x, n| below_zero(x, falling(x)?.exp()?.mul(n[0])?);
    /// elu with the scale and the bound that keep mean 0 and variance 1.
    SELU "selu(Tensor self) -> Tensor",
    SELU_BACKWARD "The gradient of selu: the cotangent times the slope at `self`."
        "selu_backward(Tensor grad_output, Tensor self) -> Tensor",
        Map any [] [] []
        |f, x, _| {
            let alpha = f.number(ALPHA);
            let y = exponential(f, x, alpha);
            f.scale(y, SCALE)
        },
        |f, x, _| {
            let alpha = f.number(ALPHA);
            let slope = exponential_slope(f, x, alpha);
            f.scale(slope, SCALE)
        },
        |x, _| below_zero(x, falling(x)?.exp()?.mul(ALPHA * SCALE)?);
    /// x where it is positive, else alpha (e^(x / alpha) - 1), which has slope 1 at zero.
    CELU "celu(Tensor self, Scalar alpha=1.0) -> Tensor",
    CELU_BACKWARD "The gradient of celu: the cotangent times the slope at `self`."
        "celu_backward(Tensor grad_output, Tensor self, Scalar alpha=1.0) -> Tensor",
        Loop not_zero [1.0] [[2.0]] [[0.0]]
        |f, x, n| {
            let scaled = f.div(x, n[0]);
            let grown = f.expm1(scaled);
            let low = f.mul(n[0], grown);
            where_positive(f, x, x, low)
        },
        |f, x, n| {
            let (scaled, one) = (f.div(x, n[0]), f.number(1.0));
            let low = f.exp(scaled);
            where_positive(f, x, one, low)
        },
        |x, n| below_zero(x, falling(x)?.div(n[0])?.exp()?.div(n[0])?);
    /// x times tanh(log(1 + e^x)).
    MISH "mish(Tensor self) -> Tensor",
    MISH_BACKWARD "The gradient of mish: the cotangent times the slope at `self`."
        "mish_backward(Tensor grad_output, Tensor self) -> Tensor",
        Map any [] [] []
        |f, x, _| {
            let (w, _) = mish_parts(f, x);
            f.mul(x, w)
        },
        |f, x, _| {
            let (w, sigmoid) = mish_parts(f, x);
            let (square, one) = (f.mul(w, w), f.number(1.0));
            let rest = f.sub(one, square);
            let more = f.mul(rest, sigmoid);
            let more = f.mul(x, more);
            f.add(w, more)
        },
        |x, _| mish_bend(x).map(Some);
    /// The element held within [min_val, max_val].
    HARDTANH "hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor",
    HARDTANH_BACKWARD "The gradient of hardtanh: the cotangent strictly between the bounds, else 0."
        "hardtanh_backward(Tensor grad_output, Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor",
        Loop ordered [-1.0, 1.0] [[-2.0, 0.5]] [[1.0, -1.0]]
        |f, x, n| {
            let low = f.max(x, n[0]);
            f.min(low, n[1])
        },
        |f, x, n| {
            let one = f.number(1.0);
            inside(f, x, n[0], n[1], one)
        },
        straight;
    /// x times the hard sigmoid of x.
    HARDSWISH "hardswish(Tensor self) -> Tensor",
    HARDSWISH_BACKWARD "The gradient of hardswish: the cotangent times the slope at `self`."
        "hardswish_backward(Tensor grad_output, Tensor self) -> Tensor",
        Map any [] [] []
        |f, x, _| {
            let gate = hard_sigmoid(f, x);
            f.mul(x, gate)
        },
        |f, x, _| {
            let (zero, one, half, three) = (f.number(0.0), f.number(1.0), f.number(0.5), f.number(3.0));
            let third = f.div(x, three);
            let middle = f.add(third, half);
            let minus = f.neg(three);
            let (low, high) = (f.le(x, minus), f.ge(x, three));
            let slope = f.select(high, one, middle);
            f.select(low, zero, slope)
        },
        |x, _| {
            let flat = x.abs()?.ge(3.0)?;
            x.full_like(1.0 / 3.0, None)?.masked_fill(&flat, 0.0).map(Some)
        };
    /// x / 6 + 1 / 2, held within [0, 1].
    HARDSIGMOID "hardsigmoid(Tensor self) -> Tensor",
    HARDSIGMOID_BACKWARD "The gradient of hardsigmoid: a sixth of the cotangent strictly between -3 and 3, else 0."
        "hardsigmoid_backward(Tensor grad_output, Tensor self) -> Tensor",
        Map any [] [] []
        |f, x, _| hard_sigmoid(f, x),
        |f, x, _| {
            let (low, high, slope) = (f.number(-3.0), f.number(3.0), f.number(1.0 / 6.0));
            inside(f, x, low, high, slope)
        },
        straight;
    /// x / (1 + |x|).
    SOFTSIGN "softsign(Tensor self) -> Tensor",
    SOFTSIGN_BACKWARD "The gradient of softsign: the cotangent over (1 + |x|)^2."
        "softsign_backward(Tensor grad_output, Tensor self) -> Tensor",
        Map any [] [] []
        |f, x, _| {
            let (size, one) = (f.abs(x), f.number(1.0));
            let below = f.add(one, size);
            f.div(x, below)
        },
        |f, x, _| {
            let (size, one) = (f.abs(x), f.number(1.0));
            let below = f.add(one, size);
            let square = f.mul(below, below);
            f.div(one, square)
        },
        |x, _| x.sign()?.mul(-2.0)?.div(&x.abs()?.add(1.0)?.pow(3.0)?).map(Some);
    /// Logarithm of the logistic function, accurate where that is near 0.
    LOGSIGMOID "logsigmoid(Tensor self) -> Tensor",
    LOGSIGMOID_BACKWARD "The gradient of logsigmoid: the cotangent times the logistic function of -x."
        "logsigmoid_backward(Tensor grad_output, Tensor self) -> Tensor",
        Map any [] [] []
        |f, x, _| {
            let (size, zero) = (f.abs(x), f.number(0.0));
            let size = f.neg(size);
            let tail = f.exp(size);
            let tail = f.log1p(tail);
            let low = f.min(x, zero);
            f.sub(low, tail)
        },
        |f, x, _| {
            let minus = f.neg(x);
            f.sigmoid(minus)
        },
        |x, _| {
            let s = x.sigmoid()?;
            s.mul(&s.sub(1.0)?).map(Some)
        };
    /// x where it is positive, else `negative_slope` times x.
    LEAKY_RELU "leaky_relu(Tensor self, Scalar negative_slope=0.01) -> Tensor",
    LEAKY_RELU_BACKWARD "The gradient of leaky_relu: the cotangent times 1 or the slope."
        "leaky_relu_backward(Tensor grad_output, Tensor self, Scalar negative_slope=0.01) -> Tensor",
        Map any [0.01] [[0.3]] []
        |f, x, n| {
            let low = f.mul(x, n[0]);
            where_positive(f, x, x, low)
        },
        |f, x, n| {
            let one = f.number(1.0);
            where_positive(f, x, one, n[0])
        },
        straight;
    /// x drawn toward zero by lambd, and 0 where it is nearer.
    SOFTSHRINK "softshrink(Tensor self, Scalar lambd=0.5) -> Tensor",
    SOFTSHRINK_BACKWARD "The gradient of softshrink: the cotangent beyond lambd, else 0."
        "softshrink_backward(Tensor grad_output, Tensor self, Scalar lambd=0.5) -> Tensor",
        Loop not_negative [0.5] [[1.5]] [[-1.0]]
        |f, x, n| {
            let sign = f.sign(x);
            let step = f.mul(sign, n[0]);
            let drawn = f.sub(x, step);
            outside(f, x, n[0], drawn)
        },
        |f, x, n| {
            let one = f.number(1.0);
            outside(f, x, n[0], one)
        },
        straight;
    /// x, and 0 where it is no further than lambd from zero.
    HARDSHRINK "hardshrink(Tensor self, Scalar lambd=0.5) -> Tensor",
    HARDSHRINK_BACKWARD "The gradient of hardshrink: the cotangent beyond lambd, else 0."
        "hardshrink_backward(Tensor grad_output, Tensor self, Scalar lambd=0.5) -> Tensor",
        Map any [0.5] [[1.5]] []
        |f, x, n| outside(f, x, n[0], x),
        |f, x, n| {
            let one = f.number(1.0);
            outside(f, x, n[0], one)
        },
        straight;
    /// x less its hyperbolic tangent.
    TANHSHRINK "tanhshrink(Tensor self) -> Tensor",
    TANHSHRINK_BACKWARD "The gradient of tanhshrink: the cotangent times tanh(x)^2."
        "tanhshrink_backward(Tensor grad_output, Tensor self) -> Tensor",
        Map any [] [] []
        |f, x, _| {
            let t = f.tanh(x);
            f.sub(x, t)
        },
        |f, x, _| {
            let t = f.tanh(x);
            f.mul(t, t)
        },
        |x, _| {
            let t = x.tanh()?;
            t.mul(&t.square()?.neg()?.add(1.0)?)?.mul(2.0).map(Some)
        };
}

methods! {
    unary:
    /// elu with the scale and the bound that keep mean 0 and variance 1.
    selu SELU;
    /// x times tanh(log(1 + e^x)).
    mish MISH;
    /// x times the hard sigmoid of x.
    hardswish HARDSWISH;
    /// x / 6 + 1 / 2, held within [0, 1].
    hardsigmoid HARDSIGMOID;
    /// x / (1 + |x|).
    softsign SOFTSIGN;
    /// Logarithm of the logistic function.
    logsigmoid LOGSIGMOID;
    /// x less its hyperbolic tangent.
    tanhshrink TANHSHRINK;
}

methods! {
    numbers:
    /// x where it is positive, else alpha (e^x - 1).
    elu ELU (alpha);
    /// x where it is positive, else alpha (e^(x / alpha) - 1).
    celu CELU (alpha);
    /// The element held within [min, max].
    hardtanh HARDTANH (min, max);
    /// x where it is positive, else `negative_slope` times x.
    leaky_relu LEAKY_RELU (negative_slope);
    /// x drawn toward zero by lambd, and 0 where it is nearer.
    softshrink SOFTSHRINK (lambd);
    /// x, and 0 where it is no further than lambd from zero.
    hardshrink HARDSHRINK (lambd);
}
