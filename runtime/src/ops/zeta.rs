//! Hurwitz's zeta function and the derivatives of digamma, which are its values.

use super::arithmetic::{binary_errors, binary_gradients, binary_samples, infer_broadcast_as};
use super::gamma::{BERNOULLI, digamma, trigamma};
use super::rules::{Formula, f32s, float_of, lower_exact, methods, one};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Types, promote};
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, Samples, host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use kernels::loops::Node;
use smallvec::smallvec;

/// Terms that are added one by one; negative arguments above -20 are right too.
const TERMS: usize = 28;

/// The sum of (q + k)^-s over k from 0, by Euler-Maclaurin from `TERMS` on; `s` as torch restricts it.
fn zeta(f: &mut Formula, s: Node, q: Node) -> Node {
    let (zero, one) = (f.number(0.0), f.number(1.0));
    let down = f.neg(s);
    let mut sum = f.pow(q, down);
    for k in 1..TERMS {
        let base = f.shift(q, k as f64);
        let term = f.pow(base, down);
        sum = f.add(sum, term);
    }
    let w = f.shift(q, TERMS as f64);
    let (power, before) = (f.pow(w, down), f.shift(s, -1.0));
    let integral = f.mul(power, w);
    let integral = f.div(integral, before);
    let half = f.scale(power, 0.5);
    sum = f.add(sum, integral);
    sum = f.add(sum, half);
    // B2k / (2k)! s (s + 1) ... (s + 2k - 2) w^(-s - 2k + 1)
    let inverse = f.recip(w);
    let mut rising = s;
    let mut factor = f.mul(power, inverse);
    let mut factorial = 2.0;
    for (k, b) in BERNOULLI.iter().enumerate() {
        let term = f.mul(rising, factor);
        let term = f.scale(term, b / factorial);
        sum = f.add(sum, term);
        let n = (2 * k + 2) as f64;
        factorial *= (n + 1.0) * (n + 2.0);
        for step in [n - 1.0, n] {
            let next = f.shift(s, step);
            rising = f.mul(rising, next);
            factor = f.mul(factor, inverse);
        }
    }
    let (infinity, nan) = (f.number(f64::INFINITY), f.number(f64::NAN));
    let (whole_q, whole_s) = (f.floor(q), f.floor(s));
    let (at_pole, fractional) = (f.eq(q, whole_q), f.ne(s, whole_s));
    let left = f.le(q, zero);
    let odd = f.and(left, fractional);
    let value = f.select(odd, nan, sum);
    let pole = f.and(left, at_pole);
    let value = f.select(pole, infinity, value);
    let diverges = f.eq(s, one);
    let value = f.select(diverges, infinity, value);
    let undefined = f.lt(s, one);
    f.select(undefined, nan, value)
}

fn infer_polygamma(c: &Infer) -> Result<Types> {
    let n = c.host(0)?.int()?;
    if n < 0 {
        return Err(Error::value(format!("the order of polygamma must not be negative, got {n}")));
    }
    let t = c.tensor(1)?;
    one(float_of(t.dtype), t.shape.clone())
}

fn lower_polygamma(l: &mut Lowering) -> Result<()> {
    let n = l.host(0)?.int()?;
    let x = l.operand(1, DType::F64)?;
    let f = &mut Formula { region: &mut *l.region, dtype: DType::F64 };
    let y = match n {
        0 => digamma(f, [x]),
        1 => trigamma(f, x),
        _ => {
            let order = f.number(n as f64 + 1.0);
            let value = zeta(f, order, x);
            let factorial: f64 = (1..=n.min(1000)).map(|k| k as f64).product();
            f.scale(value, if n % 2 == 0 { -factorial } else { factorial })
        }
    };
    super::rules::finish(l, y);
    Ok(())
}

fn polygamma_samples(s: &mut Samples) {
    let d = s.dtype;
    if d != DType::Bool {
        for (n, dims) in
            [(0i64, &[2usize, 3][..]), (1, &[]), (1, &[5]), (2, &[2, 1, 3]), (3, &[0]), (4, &[7])]
        {
            s.case([host(n), tensor(d, dims, 1.0, 9.0)]);
        }
    }
}

fn polygamma_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Value, [host(-1i64), f32s(&[2])]);
}

fn infer_to_float(c: &Infer) -> Result<Types> {
    if c.all_tensors().next().is_none() {
        return Err(Error::value("one of the operands must be a tensor"));
    }
    infer_broadcast_as(c, float_of(promote(c.args)?))
}

fn no_derivative(c: &VjpContext) -> Result<Tensor> {
    Err(c.op.no_gradient("torch defines none for the first operand of this function"))
}

/// -self zeta(self + 1, other).
fn along_other(c: &VjpContext, dy: &Tensor) -> Result<Tensor> {
    let slope = match c.arg(0)? {
        Arg::Tensor(s) => s.add(1.0)?.zeta(c.arg(1)?)?,
        number => bind1(&ZETA, &[Arg::Float(number.float()? + 1.0), c.arg(1)?])?,
    };
    bind1(&super::MUL, &[Arg::Tensor(dy), c.arg(0)?])?.mul(&slope)?.neg()
}

fn above_one(s: &mut Samples) {
    if s.dtype != DType::Bool {
        binary_samples(s, 2.0, 9.0);
    }
}

ops! {
    /// Derivative of order n of digamma; order 0 is digamma itself.
    POLYGAMMA = "polygamma(int n, Tensor self) -> Tensor" {
        infer: infer_polygamma,
        vjp: Vjp::Rule(Saves::inputs(2), |c| Ok(smallvec![match c.needs(0) {
            true => {
                let (n, x) = (c.host(0)?.int()?, c.input(1)?);
                Some(c.dy()?.mul(&x.polygamma(n + 1)?)?.to(x.dtype())?)
            }
            false => None,
        }])),
        effect: Effect::Pure,
        cost: cost::per_output::<700>,
        lower: Lower::Loop(lower_polygamma),
        samples: polygamma_samples,
        errors: polygamma_errors,
    }
    /// Hurwitz's zeta function: the sum of (other + k)^-self over k from 0; infinite at self = 1, not a number below.
    ZETA = "zeta(Tensor self, Tensor other) -> Tensor" {
        infer: infer_to_float,
        vjp: Vjp::Rule(Saves::INPUTS, |c| binary_gradients(c, |_| no_derivative(c), |dy| along_other(c, dy))),
        effect: Effect::Pure,
        cost: cost::per_output::<700>,
        lower: Lower::Map(|l| lower_exact(l, |f, [s, q]| zeta(f, s, q))),
        samples: above_one,
        errors: binary_errors,
    }
}

methods! { binary:
    /// Hurwitz's zeta function.
    zeta ZETA;
}

impl Tensor {
    /// Derivative of order n of digamma.
    #[track_caller]
    pub fn polygamma(&self, n: i64) -> Result<Tensor> {
        bind1(&POLYGAMMA, &[Arg::Int(n), Arg::Tensor(self)])
    }
}
