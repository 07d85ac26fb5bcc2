//! The incomplete gamma functions, regularised.

use super::arithmetic::{binary_errors, binary_gradients, infer_broadcast_as};
use super::gamma::lgamma;
use super::rules::{Formula, float_only, methods};
use crate::error::{ErrorKind, Result};
use crate::infer::{Infer, Types, promote};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use kernels::DType;
use kernels::loops::{BinaryOp, Node, ReduceOp};
use std::f64::consts::PI;

/// Terms of the series.
const LONG: usize = 384;

fn infer_floats(c: &Infer) -> Result<Types> {
    c.tensor(0)?;
    c.tensor(1)?;
    let dtype = promote(c.args)?;
    float_only(dtype)?;
    infer_broadcast_as(c, dtype)
}

/// The integral of t^(a-1) e^-t from 0 to x over the whole, by the series x^a e^-x / Gamma(a+1) sum of the running products
/// of x / (a + k). Beyond the series' reach, where a and x are large, Temme's expansion.
fn lower_incomplete(l: &mut Lowering, upper: bool) -> Result<()> {
    let (a, x) = (l.operand(0, DType::F64)?, l.operand(1, DType::F64)?);
    let dims = l.dims(0);
    let mut wide = dims.to_vec();
    wide.push(LONG);
    let inner = dims.len();
    let spread = |l: &mut Lowering, n: Node| {
        let missing = inner - l.region.shape(n).len();
        let mut n = n;
        for _ in 0..missing {
            n = l.region.unsqueeze(n, 0);
        }
        let n = l.region.unsqueeze(n, inner);
        l.region.expand(n, &wide)
    };
    let (wide_a, wide_x) = (spread(l, a), spread(l, x));
    let k = l.region.index(&wide, inner);
    let k = l.region.cast(k, DType::F64);
    let one = l.region.constant(1.0, DType::F64);
    let k = l.region.binary(BinaryOp::Add, k, one);
    let below = l.region.binary(BinaryOp::Add, wide_a, k);
    let ratio = l.region.binary(BinaryOp::Div, wide_x, below);
    let products = l.region.scan(ReduceOp::Prod, ratio, inner);
    let sum = l.region.reduce(ReduceOp::Sum, products, &[inner], false);
    let f = &mut Formula { region: &mut *l.region, dtype: DType::F64 };
    let y = incomplete(f, a, x, sum, upper);
    super::rules::finish(l, y);
    Ok(())
}

fn incomplete(f: &mut Formula, a: Node, x: Node, sum: Node, upper: bool) -> Node {
    let (zero, one, nan) = (f.number(0.0), f.number(1.0), f.number(f64::NAN));
    let sum = f.shift(sum, 1.0);
    let next = f.shift(a, 1.0);
    let gamma = lgamma(f, [next]);
    let log = f.log(x);
    let power = f.mul(a, log);
    let power = f.sub(power, x);
    let power = f.sub(power, gamma);
    let power = f.exp(power);
    let series = f.mul(power, sum);
    // Temme: erfc(-eta sqrt(a/2)) / 2 - e^(-a eta^2 / 2) / sqrt(2 pi a) c0(eta), eta^2 / 2 = mu - log(1 + mu).
    let difference = f.sub(x, a);
    let mu = f.div(difference, a);
    let log = f.log1p(mu);
    let square = f.sub(mu, log);
    let square = f.max(square, zero);
    let double = f.add(square, square);
    let size = f.sqrt(double);
    let sign = f.sign(mu);
    let eta = f.mul(sign, size);
    let half = f.scale(a, 0.5);
    let root = f.sqrt(half);
    let argument = f.mul(eta, root);
    let argument = f.neg(argument);
    let tail = f.erfc(argument);
    let tail = f.scale(tail, 0.5);
    let (by_mu, by_eta) = (f.recip(mu), f.recip(eta));
    let c0 = f.sub(by_mu, by_eta);
    let small = f.polynomial(eta, &[-1.0 / 3.0, 1.0 / 12.0, -2.0 / 135.0, 1.0 / 864.0, 1.0 / 2835.0]);
    let (bound, distance) = (f.number(0.05), f.abs(eta));
    let is_small = f.lt(distance, bound);
    let c0 = f.select(is_small, small, c0);
    let exponent = f.mul(a, square);
    let exponent = f.neg(exponent);
    let weight = f.exp(exponent);
    let below = f.scale(a, 2.0 * PI);
    let below = f.sqrt(below);
    let weight = f.div(weight, below);
    let rest = f.mul(weight, c0);
    let temme = f.add(tail, rest);
    // The series ends within its terms unless both are large.
    let reach = f.number(180.0);
    let is_far = f.gt(x, reach);
    let (many, few) = (f.gt(a, zero), f.lt(x, zero));
    let value = f.select(is_far, temme, series);
    let value = f.min(value, one);
    let empty = f.eq(x, zero);
    let value = f.select(empty, zero, value);
    let value = f.select(many, value, one);
    // a = 0 has its whole mass at 0, where torch defines nothing; what is not a number stays.
    let (no_a, at_zero) = (f.lt(a, zero), f.eq(a, zero));
    let nowhere = f.and(at_zero, empty);
    let bad = f.or(no_a, few);
    let bad = f.or(bad, nowhere);
    let (unknown_a, unknown_x) = (f.isnan(a), f.isnan(x));
    let unknown = f.or(unknown_a, unknown_x);
    let bad = f.or(bad, unknown);
    let (far_a, far_x) = (f.isinf(a), f.isinf(x));
    let value = f.select(far_x, one, value);
    let value = f.select(far_a, zero, value);
    let both = f.and(far_a, far_x);
    let bad = f.or(bad, both);
    let value = if upper { f.sub(one, value) } else { value };
    f.select(bad, nan, value)
}

/// t^(a-1) e^-t / Gamma(a) at x.
fn density(c: &VjpContext, dy: &Tensor) -> Result<Tensor> {
    let (a, x) = (c.input(0)?, c.input(1)?);
    let log = a.sub(1.0)?.mul(&x.log()?)?.sub(x)?.sub(&a.lgamma()?)?;
    dy.mul(&log.exp()?)
}

fn no_derivative(c: &VjpContext) -> Result<Tensor> {
    Err(c.op.no_gradient("torch defines none for the first operand of this function"))
}

fn positive(s: &mut Samples) {
    let d = s.dtype;
    if d.is_float() {
        for (a, b) in [
            (&[2usize, 3][..], &[2usize, 3][..]),
            (&[4, 1, 3], &[2, 1]),
            (&[], &[]),
            (&[5], &[]),
            (&[0, 2], &[1]),
        ] {
            s.case([tensor(d, a, 0.5, 9.0), tensor(d, b, 0.5, 9.0)]);
        }
    }
}

fn floats_only(e: &mut ErrorSamples) {
    binary_errors(e);
    e.case(ErrorKind::DType, [tensor(DType::I64, &[2], 1.0, 5.0), tensor(DType::I64, &[2], 1.0, 5.0)]);
}

ops! {
    /// Regularised lower incomplete gamma function: the share of the integral of t^(self-1) e^-t below other.
    IGAMMA = "igamma(Tensor self, Tensor other) -> Tensor" {
        infer: infer_floats,
        vjp: Vjp::Rule(Saves::INPUTS, |c| binary_gradients(c, |_| no_derivative(c), |dy| density(c, dy))),
        effect: Effect::Pure,
        cost: cost::per_output::<2000>,
        lower: Lower::Loop(|l| lower_incomplete(l, false)),
        samples: positive,
        errors: floats_only,
    }
    /// Regularised upper incomplete gamma function: 1 less igamma.
    IGAMMAC = "igammac(Tensor self, Tensor other) -> Tensor" {
        infer: infer_floats,
        vjp: Vjp::Rule(Saves::INPUTS, |c| binary_gradients(c, |_| no_derivative(c), |dy| density(c, dy)?.neg())),
        effect: Effect::Pure,
        cost: cost::per_output::<2000>,
        lower: Lower::Loop(|l| lower_incomplete(l, true)),
        samples: positive,
        errors: floats_only,
    }
}

methods! { pair:
    /// Regularised lower incomplete gamma function.
    igamma IGAMMA;
    /// Regularised upper incomplete gamma function.
    igammac IGAMMAC;
}
