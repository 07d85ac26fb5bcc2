//! Orthogonal polynomials of an order that is an operand (its whole part counts; negative orders give 0).
//!
//! Chebyshev's have closed forms in the angle or the hyperbolic angle of the argument; the others are recurrences, of which
//! each element takes its order's value, up to order 64. Above that they are not a number.

use super::arithmetic::{binary_errors, binary_samples, infer_broadcast_as};
use super::pairs::pairs;
use super::rules::{Formula, float_of, lower_exact, methods};
use crate::error::{Error, Result};
use crate::infer::{Infer, Types, promote};
use crate::samples::Samples;
use crate::table::{Effect, Lower, Vjp, cost, ops};
use kernels::DType;
use kernels::loops::Node;

/// The largest order of a recurrence.
const ORDERS: usize = 64;
const NONE: &str = "torch defines none for orthogonal polynomials";

fn infer_to_float(c: &Infer) -> Result<Types> {
    if c.all_tensors().next().is_none() {
        return Err(Error::value("one of the operands must be a tensor"));
    }
    infer_broadcast_as(c, float_of(promote(c.args)?))
}

fn samples(s: &mut Samples) {
    if s.dtype != DType::Bool {
        binary_samples(s, if s.dtype == DType::U8 { 0.0 } else { -1.5 }, 6.0);
    }
}

/// The kinds of Chebyshev's polynomials: cos(n a), sin((n + 1) a) / sin(a), and with half angles
/// cos((n + 1/2) a) / cos(a / 2) and sin((n + 1/2) a) / sin(a / 2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    T,
    U,
    V,
    W,
}

/// 1 for even orders, -1 for odd ones.
fn parity(f: &mut Formula, n: Node) -> Node {
    let half = f.scale(n, 0.5);
    let whole = f.trunc(half);
    let odd = f.ne(half, whole);
    let (one, minus) = (f.number(1.0), f.number(-1.0));
    f.select(odd, minus, one)
}

/// The multiple of the angle and the angle below, if there is a quotient.
fn angles(f: &mut Formula, n: Node, angle: Node, kind: Kind) -> (Node, Option<Node>) {
    let (by, below) = match kind {
        Kind::T => (n, None),
        Kind::U => (f.shift(n, 1.0), Some(angle)),
        Kind::V | Kind::W => (f.shift(n, 0.5), Some(f.scale(angle, 0.5))),
    };
    (f.mul(by, angle), below)
}

fn hyperbolic(f: &mut Formula, angle: Node, sine: bool) -> Node {
    let down = f.neg(angle);
    let (grown, fallen) = (f.exp(angle), f.exp(down));
    let sum = if sine { f.sub(grown, fallen) } else { f.add(grown, fallen) };
    f.scale(sum, 0.5)
}

fn chebyshev(f: &mut Formula, x: Node, n: Node, kind: Kind) -> Node {
    let (zero, one) = (f.number(0.0), f.number(1.0));
    let n = f.trunc(n);
    let size = f.abs(x);
    // Inside: the angle's sine without cancellation.
    let (less, more) = (f.sub(one, x), f.shift(x, 1.0));
    let product = f.mul(less, more);
    let opposite = f.sqrt(product);
    let angle = f.atan2(opposite, x);
    let (multiple, below) = angles(f, n, angle, kind);
    let wave = |f: &mut Formula, a| if matches!(kind, Kind::U | Kind::W) { f.sin(a) } else { f.cos(a) };
    let mut inside = wave(f, multiple);
    if let Some(below) = below {
        let below = wave(f, below);
        inside = f.div(inside, below);
    }
    // Outside: the mirror image of V is W, times the parity.
    let t = f.shift(size, -1.0);
    let far = f.shift(t, 2.0);
    let root = f.mul(t, far);
    let root = f.sqrt(root);
    let sum = f.add(t, root);
    let angle = f.log1p(sum);
    let (multiple, below) = angles(f, n, angle, kind);
    let quotient = |f: &mut Formula, sine: bool| {
        let value = hyperbolic(f, multiple, sine);
        match below {
            Some(below) => {
                let below = hyperbolic(f, below, sine);
                f.div(value, below)
            }
            None => value,
        }
    };
    let sign = parity(f, n);
    let negative = f.lt(x, zero);
    let (direct, mirrored) = match kind {
        Kind::T => (quotient(f, false), None),
        Kind::U => (quotient(f, true), None),
        Kind::V => (quotient(f, false), Some(quotient(f, true))),
        Kind::W => (quotient(f, true), Some(quotient(f, false))),
    };
    let mirrored = f.mul(sign, mirrored.unwrap_or(direct));
    let outside = f.select(negative, mirrored, direct);
    let is_inside = f.lt(size, one);
    let value = f.select(is_inside, inside, outside);
    // At the ends the quotients are of zeros.
    let (next, double) = (f.shift(n, 1.0), f.add(n, n));
    let double = f.shift(double, 1.0);
    let (right, left) = match kind {
        Kind::T => (one, one),
        Kind::U => (next, next),
        Kind::V => (one, double),
        Kind::W => (double, one),
    };
    let left = f.mul(sign, left);
    let end = f.select(negative, left, right);
    let at_end = f.eq(size, one);
    let value = f.select(at_end, end, value);
    ordered(f, n, value)
}

/// 1 for order 0, whatever the argument, and 0 for negative orders.
fn ordered(f: &mut Formula, n: Node, value: Node) -> Node {
    let (zero, one) = (f.number(0.0), f.number(1.0));
    let (first, below) = (f.eq(n, zero), f.lt(n, zero));
    let value = f.select(first, one, value);
    f.select(below, zero, value)
}

fn shifted(f: &mut Formula, x: Node, n: Node, kind: Kind) -> Node {
    let double = f.add(x, x);
    let x = f.shift(double, -1.0);
    chebyshev(f, x, n, kind)
}

/// p(k + 1) from p(k), p(k - 1) and k; p(0) = 1 and p(1) is given.
fn recurrence(
    f: &mut Formula,
    n: Node,
    first: Node,
    next: impl Fn(&mut Formula, f64, Node, Node) -> Node,
) -> Node {
    let n = f.trunc(n);
    let (mut before, mut now) = (f.number(1.0), first);
    let mut value = f.number(f64::NAN);
    for k in 1..=ORDERS {
        let order = f.number(k as f64);
        let here = f.eq(n, order);
        value = f.select(here, now, value);
        if k < ORDERS {
            (before, now) = (now, next(f, k as f64, now, before));
        }
    }
    ordered(f, n, value)
}

fn hermite_h(f: &mut Formula, [x, n]: [Node; 2]) -> Node {
    let double = f.add(x, x);
    recurrence(f, n, double, |f, k, now, before| {
        let (up, down) = (f.mul(double, now), f.scale(before, 2.0 * k));
        f.sub(up, down)
    })
}

fn hermite_he(f: &mut Formula, [x, n]: [Node; 2]) -> Node {
    recurrence(f, n, x, |f, k, now, before| {
        let (up, down) = (f.mul(x, now), f.scale(before, k));
        f.sub(up, down)
    })
}

fn laguerre_l(f: &mut Formula, [x, n]: [Node; 2]) -> Node {
    let one = f.number(1.0);
    let first = f.sub(one, x);
    recurrence(f, n, first, |f, k, now, before| {
        let odd = f.number(2.0 * k + 1.0);
        let factor = f.sub(odd, x);
        let (up, down) = (f.mul(factor, now), f.scale(before, k));
        let (difference, next) = (f.sub(up, down), f.number(k + 1.0));
        f.div(difference, next)
    })
}

fn legendre_p(f: &mut Formula, [x, n]: [Node; 2]) -> Node {
    recurrence(f, n, x, |f, k, now, before| {
        let up = f.mul(x, now);
        let (up, down) = (f.scale(up, 2.0 * k + 1.0), f.scale(before, k));
        let (difference, next) = (f.sub(up, down), f.number(k + 1.0));
        f.div(difference, next)
    })
}

pairs! {
    /// Chebyshev's polynomial of the first kind.
    CHEBYSHEV_T chebyshev_polynomial_t "chebyshev_polynomial_t(Tensor x, Tensor n) -> Tensor"
        infer_to_float 120 samples binary_errors |l| lower_exact(l, |f, [x, n]| chebyshev(f, x, n, Kind::T)) => Vjp::None(NONE);
    /// Chebyshev's polynomial of the second kind.
    CHEBYSHEV_U chebyshev_polynomial_u "chebyshev_polynomial_u(Tensor x, Tensor n) -> Tensor"
        infer_to_float 120 samples binary_errors |l| lower_exact(l, |f, [x, n]| chebyshev(f, x, n, Kind::U)) => Vjp::None(NONE);
    /// Chebyshev's polynomial of the third kind.
    CHEBYSHEV_V chebyshev_polynomial_v "chebyshev_polynomial_v(Tensor x, Tensor n) -> Tensor"
        infer_to_float 150 samples binary_errors |l| lower_exact(l, |f, [x, n]| chebyshev(f, x, n, Kind::V)) => Vjp::None(NONE);
    /// Chebyshev's polynomial of the fourth kind.
    CHEBYSHEV_W chebyshev_polynomial_w "chebyshev_polynomial_w(Tensor x, Tensor n) -> Tensor"
        infer_to_float 150 samples binary_errors |l| lower_exact(l, |f, [x, n]| chebyshev(f, x, n, Kind::W)) => Vjp::None(NONE);
    /// Chebyshev's polynomial of the first kind at 2x - 1.
    SHIFTED_CHEBYSHEV_T shifted_chebyshev_polynomial_t "shifted_chebyshev_polynomial_t(Tensor x, Tensor n) -> Tensor"
        infer_to_float 120 samples binary_errors |l| lower_exact(l, |f, [x, n]| shifted(f, x, n, Kind::T)) => Vjp::None(NONE);
    /// Chebyshev's polynomial of the second kind at 2x - 1.
    SHIFTED_CHEBYSHEV_U shifted_chebyshev_polynomial_u "shifted_chebyshev_polynomial_u(Tensor x, Tensor n) -> Tensor"
        infer_to_float 120 samples binary_errors |l| lower_exact(l, |f, [x, n]| shifted(f, x, n, Kind::U)) => Vjp::None(NONE);
    /// Chebyshev's polynomial of the third kind at 2x - 1.
    SHIFTED_CHEBYSHEV_V shifted_chebyshev_polynomial_v "shifted_chebyshev_polynomial_v(Tensor x, Tensor n) -> Tensor"
        infer_to_float 150 samples binary_errors |l| lower_exact(l, |f, [x, n]| shifted(f, x, n, Kind::V)) => Vjp::None(NONE);
    /// Chebyshev's polynomial of the fourth kind at 2x - 1.
    SHIFTED_CHEBYSHEV_W shifted_chebyshev_polynomial_w "shifted_chebyshev_polynomial_w(Tensor x, Tensor n) -> Tensor"
        infer_to_float 150 samples binary_errors |l| lower_exact(l, |f, [x, n]| shifted(f, x, n, Kind::W)) => Vjp::None(NONE);
    /// Hermite's polynomial of the physicists.
    HERMITE_H hermite_polynomial_h "hermite_polynomial_h(Tensor x, Tensor n) -> Tensor"
        infer_to_float 320 samples binary_errors |l| lower_exact(l, hermite_h) => Vjp::None(NONE);
    /// Hermite's polynomial of the probabilists.
    HERMITE_HE hermite_polynomial_he "hermite_polynomial_he(Tensor x, Tensor n) -> Tensor"
        infer_to_float 320 samples binary_errors |l| lower_exact(l, hermite_he) => Vjp::None(NONE);
    /// Laguerre's polynomial.
    LAGUERRE_L laguerre_polynomial_l "laguerre_polynomial_l(Tensor x, Tensor n) -> Tensor"
        infer_to_float 450 samples binary_errors |l| lower_exact(l, laguerre_l) => Vjp::None(NONE);
    /// Legendre's polynomial.
    LEGENDRE_P legendre_polynomial_p "legendre_polynomial_p(Tensor x, Tensor n) -> Tensor"
        infer_to_float 450 samples binary_errors |l| lower_exact(l, legendre_p) => Vjp::None(NONE);
}
