//! Losses of elements: a formula of a value, a target and at most one more tensor, then their mean, their sum or neither.
//! Each is one loop program; gradients are ordinary tensor code.

use super::arithmetic::unbroadcast;
use super::distance::{infer_distance, per_row, reduced};
use super::rules::{Formula, f32s, flag, float_or, i64s, in_float32, wanted, wide};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::Infer;
use crate::lower::Lowering;
use crate::samples::{ErrorSamples, SampleArg, Samples, exact, host, none, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::Node;
use smallvec::SmallVec;

/// The slope of each row along one tensor operand.
pub(super) type Slope = fn(&VjpContext) -> Result<Tensor>;

/// The rows of the tensors among the first operands, combined as operand `at` says.
pub(super) fn lower_rows(
    l: &mut Lowering,
    at: usize,
    rows: impl FnOnce(&mut Formula, &[Node]) -> Node,
) -> Result<()> {
    let mut tensors: SmallVec<[Node; 4]> = SmallVec::new();
    for i in 0..l.args.len() {
        if l.is_tensor(i) {
            tensors.push(wide(l, i)?);
        }
    }
    let rows = rows(&mut Formula::of(l), &tensors);
    reduced(l, rows, at)
}

/// The cotangent times each slope; tensor operands without one get no gradient.
pub(super) fn gradients(c: &VjpContext, at: usize, slopes: &[Slope]) -> Result<Gradients> {
    let dy = per_row(c, at)?;
    let mut out = Gradients::new();
    for i in 0..c.args.len() {
        if c.is_tensor(i) {
            let n = out.len();
            out.push(match slopes.get(n) {
                Some(slope) => wanted(c, n, || unbroadcast(c, i, dy.mul(&slope(c)?)?))?,
                None => None,
            });
        }
    }
    Ok(out)
}

pub(super) fn difference(c: &VjpContext) -> Result<Tensor> {
    c.input(0)?.sub(c.input(1)?)
}

/// A number that must be positive, or not negative where zero has a meaning.
pub(super) fn bounded(c: &Infer, i: usize, default: f64, zero: bool) -> Result<()> {
    let n = float_or(c.host(i)?, default)?;
    match n > 0.0 || (zero && n == 0.0) {
        true => Ok(()),
        false => Err(Error::value(format!("operand {i} must be positive, got {n}"))),
    }
}

/// The difference over beta, held within [-1, 1]; its sign where beta is 0.
fn smooth_slope(c: &VjpContext) -> Result<Tensor> {
    match float_or(c.host(3)?, 1.0)? {
        0.0 => difference(c)?.sign(),
        beta => difference(c)?.div(beta)?.clamp(-1.0, 1.0),
    }
}

fn huber_slope(c: &VjpContext) -> Result<Tensor> {
    let delta = float_or(c.host(3)?, 1.0)?;
    difference(c)?.clamp(-delta, delta)
}

/// log(1 + e^z) without overflow.
fn soft(f: &mut Formula, z: Node) -> Node {
    let (size, zero) = (f.abs(z), f.number(0.0));
    let size = f.neg(size);
    let tail = f.exp(size);
    let tail = f.log1p(tail);
    let rise = f.max(z, zero);
    f.add(tail, rise)
}

/// The slope of log(1 + e^z) at z = -target * value.
fn soft_slope(c: &VjpContext, other: usize) -> Result<Tensor> {
    let z = c.input(0)?.mul(c.input(1)?)?.neg()?;
    z.sigmoid()?.mul(c.input(other)?)?.neg()
}

fn divergence(f: &mut Formula, x: Node, t: Node, logarithms: bool) -> Node {
    if logarithms {
        let (weight, apart) = (f.exp(t), f.sub(t, x));
        return f.mul(weight, apart);
    }
    let (zero, log) = (f.number(0.0), f.log(t));
    let own = f.mul(t, log);
    let nothing = f.eq(t, zero);
    let own = f.select(nothing, zero, own);
    let cross = f.mul(t, x);
    f.sub(own, cross)
}

fn divergence_slope(c: &VjpContext) -> Result<Tensor> {
    let (x, t) = (c.input(0)?, c.input(1)?);
    match flag(c.host(3)?)? {
        true => t.exp()?.mul(&t.sub(x)?.add(1.0)?),
        false => t.log()?.sub(x)?.add(1.0),
    }
}

/// -(t log x + (1 - t) log(1 - x)), logarithms not below -100 (torch).
fn binary_rows(f: &mut Formula, x: Node, t: Node) -> Node {
    let (one, least) = (f.number(1.0), f.number(-100.0));
    let (log, minus) = (f.log(x), f.neg(x));
    let log = f.max(log, least);
    let rest = f.log1p(minus);
    let rest = f.max(rest, least);
    let other = f.sub(one, t);
    let (a, b) = (f.mul(t, log), f.mul(other, rest));
    let sum = f.add(a, b);
    f.neg(sum)
}

fn binary_gradients(c: &VjpContext) -> Result<Gradients> {
    let (x, t, plain) = (c.input(0)?, c.input(1)?, per_row(c, 3)?);
    let dy = if c.is_tensor(2) { plain.mul(c.input(2)?)? } else { plain.clone() };
    let mut out = Gradients::new();
    out.push(wanted(c, 0, || {
        let below = x.neg()?.add(1.0)?.mul(x)?.clamp(1e-12, Arg::None)?;
        unbroadcast(c, 0, dy.mul(&x.sub(t)?.div(&below)?)?)
    })?);
    out.push(wanted(c, 1, || {
        let (log, rest) = (x.log()?.clamp(-100.0, Arg::None)?, x.neg()?.log1p()?.clamp(-100.0, Arg::None)?);
        unbroadcast(c, 1, dy.mul(&rest.sub(&log)?)?)
    })?);
    if c.is_tensor(2) {
        out.push(wanted(c, 2, || {
            let args = [Arg::Tensor(x), Arg::Tensor(t), Arg::None, Arg::Str("none")];
            unbroadcast(c, 2, plain.mul(&bind1(&BINARY_CROSS_ENTROPY, &args)?)?)
        })?);
    }
    Ok(out)
}

/// What a pair of margin_ranking_loss lacks to be margin apart in the right order counts.
fn lacks(c: &VjpContext) -> Result<Tensor> {
    let apart = c.input(0)?.sub(c.input(1)?)?.mul(c.input(2)?)?;
    apart.lt(float_or(c.host(3)?, 0.0)?)?.to(c.input(0)?.dtype())
}

fn ranking_slope(c: &VjpContext) -> Result<Tensor> {
    c.input(2)?.mul(&lacks(c)?)?.neg()
}

fn hinge_slope(c: &VjpContext) -> Result<Tensor> {
    let (x, t) = (c.input(0)?, c.input(1)?);
    let (like, unlike) = (t.ne(-1.0)?, t.ne(1.0)?);
    let near = x.lt(float_or(c.host(2)?, 1.0)?)?.logical_and(&unlike)?;
    like.to(x.dtype())?.sub(&near.to(x.dtype())?)
}

pub(super) const WORDS: [&str; 3] = ["mean", "sum", "none"];

/// A value and a target in every reduction, and the other hosts between and after.
pub(super) fn two(
    s: &mut Samples,
    low: f64,
    high: f64,
    goal: (f64, f64),
    before: &[SampleArg],
    after: &[SampleArg],
) {
    let d = s.dtype;
    if !d.is_float() {
        return;
    }
    let mut case = |dims: &[usize], word: &str| {
        let tensors = [tensor(d, dims, low, high), tensor(d, dims, goal.0, goal.1)];
        let word = std::iter::once(host(word));
        s.case(tensors.into_iter().chain(before.iter().cloned()).chain(word).chain(after.iter().cloned()));
    };
    for word in WORDS {
        case(&[3, 4], word);
    }
    case(&[], "mean");
    case(&[0, 2], "none");
    case(&[70], "mean");
}

pub(super) fn misfits(e: &mut ErrorSamples) {
    e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[4])]);
    e.case(ErrorKind::DType, [i64s(&[3]), i64s(&[3])]);
}

fn signs(d: kernels::DType, dims: &[usize]) -> SampleArg {
    let n: usize = dims.iter().product();
    exact(d, dims, &(0..n).map(|i| if i % 3 == 0 { -1i64 } else { 1 }).collect::<Vec<_>>())
}

ops! {
    /// Absolute differences: each, their mean or their sum.
    L1_LOSS = "l1_loss(Tensor self, Tensor target, str reduction='mean') -> Tensor" {
        infer: |c| infer_distance(c, 2),
        vjp: Vjp::Rule(Saves::INPUTS, |c| gradients(c, 2, &[
            |c| difference(c)?.sign(),
            |c| difference(c)?.sign()?.neg(),
        ])),
        effect: Effect::Pure,
        cost: cost::per_input::<3>,
        lower: Lower::Loop(|l| lower_rows(l, 2, |f, n| {
            let apart = f.sub(n[0], n[1]);
            f.abs(apart)
        })),
        samples: |s| two(s, -1.0, 2.0, (-1.0, 2.0), &[], &[]),
        errors: misfits,
    }
    /// Half the squared difference over beta where it is smaller than beta, else the difference less half of beta.
    SMOOTH_L1_LOSS = "smooth_l1_loss(Tensor self, Tensor target, str reduction='mean', float beta=1.0) -> Tensor" {
        infer: |c| {
            bounded(c, 3, 1.0, true)?;
            infer_distance(c, 2)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| gradients(c, 2, &[smooth_slope, |c| smooth_slope(c)?.neg()])),
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Loop(|l| {
            let beta = float_or(l.host(3)?, 1.0)?;
            lower_rows(l, 2, |f, n| {
                let apart = f.sub(n[0], n[1]);
                let (apart, beta) = (f.abs(apart), f.number(beta));
                let square = f.mul(apart, apart);
                let square = f.scale(square, 0.5);
                let small = f.div(square, beta);
                let half = f.scale(beta, 0.5);
                let large = f.sub(apart, half);
                let near = f.lt(apart, beta);
                f.select(near, small, large)
            })
        }),
        samples: |s| {
            two(s, -1.0, 2.0, (-1.0, 2.0), &[], &[]);
            two(s, -1.0, 2.0, (-1.0, 2.0), &[], &[host(0.5)]);
            two(s, -1.0, 2.0, (-1.0, 2.0), &[], &[host(0.0)]);
        },
        errors: |e| {
            misfits(e);
            e.case(ErrorKind::Value, [f32s(&[3]), f32s(&[3]), host("mean"), host(-1.0)]);
        },
    }
    /// Half the squared difference where it is no larger than delta, else delta times the difference less half of delta.
    HUBER_LOSS = "huber_loss(Tensor self, Tensor target, str reduction='mean', float delta=1.0) -> Tensor" {
        infer: |c| {
            bounded(c, 3, 1.0, false)?;
            infer_distance(c, 2)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| gradients(c, 2, &[huber_slope, |c| huber_slope(c)?.neg()])),
        effect: Effect::Pure,
        cost: cost::per_input::<8>,
        lower: Lower::Loop(|l| {
            let delta = float_or(l.host(3)?, 1.0)?;
            lower_rows(l, 2, |f, n| {
                let apart = f.sub(n[0], n[1]);
                let (apart, delta) = (f.abs(apart), f.number(delta));
                let square = f.mul(apart, apart);
                let small = f.scale(square, 0.5);
                let half = f.scale(delta, 0.5);
                let over = f.sub(apart, half);
                let large = f.mul(delta, over);
                let near = f.le(apart, delta);
                f.select(near, small, large)
            })
        }),
        samples: |s| {
            two(s, -1.0, 2.0, (-1.0, 2.0), &[], &[]);
            two(s, -1.0, 2.0, (-1.0, 2.0), &[], &[host(0.5)]);
        },
        errors: |e| {
            misfits(e);
            e.case(ErrorKind::Value, [f32s(&[3]), f32s(&[3]), host("mean"), host(0.0)]);
        },
    }
    /// log(1 + e^(-target * self)): each, their mean or their sum.
    SOFT_MARGIN_LOSS = "soft_margin_loss(Tensor self, Tensor target, str reduction='mean') -> Tensor" {
        infer: |c| infer_distance(c, 2),
        vjp: Vjp::Rule(Saves::INPUTS, |c| gradients(c, 2, &[|c| soft_slope(c, 1), |c| soft_slope(c, 0)])),
        effect: Effect::Pure,
        cost: cost::per_input::<22>,
        lower: Lower::Loop(|l| lower_rows(l, 2, |f, n| {
            let product = f.mul(n[0], n[1]);
            let z = f.neg(product);
            soft(f, z)
        })),
        samples: |s| two(s, -2.0, 2.0, (-1.0, 1.0), &[], &[]),
        errors: misfits,
    }
    /// target (log(target) - self), or e^target (target - self) where the targets are logarithms: each, mean or sum.
    KL_DIV = "kl_div(Tensor self, Tensor target, str reduction='mean', bool log_target=False) -> Tensor" {
        infer: |c| {
            flag(c.host(3)?)?;
            infer_distance(c, 2)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| gradients(c, 2, &[
            |c| match flag(c.host(3)?)? {
                true => c.input(1)?.exp()?.neg(),
                false => c.input(1)?.neg(),
            },
            divergence_slope,
        ])),
        effect: Effect::Pure,
        cost: cost::per_input::<14>,
        lower: Lower::Loop(|l| {
            let logarithms = flag(l.host(3)?)?;
            lower_rows(l, 2, |f, n| divergence(f, n[0], n[1], logarithms))
        }),
        samples: |s| {
            two(s, -2.0, 0.0, (0.1, 0.9), &[], &[]);
            two(s, -2.0, 0.0, (-2.0, 0.0), &[], &[host(true)]);
        },
        errors: |e| {
            misfits(e);
            e.case(ErrorKind::Value, [f32s(&[3]), f32s(&[3]), host("median")]);
        },
    }
    /// The cross entropy of truths and probabilities; not a number for probabilities outside of [0, 1].
    BINARY_CROSS_ENTROPY = "binary_cross_entropy(Tensor self, Tensor target, Tensor? weight=None, str reduction='mean') -> Tensor" {
        infer: |c| infer_distance(c, 3),
        vjp: Vjp::Rule(Saves::INPUTS, |c| in_float32(c, binary_gradients)),
        effect: Effect::Pure,
        cost: cost::per_input::<26>,
        lower: Lower::Loop(|l| lower_rows(l, 3, |f, n| {
            let rows = binary_rows(f, n[0], n[1]);
            match n.get(2) {
                Some(&weight) => f.mul(rows, weight),
                None => rows,
            }
        })),
        samples: |s| {
            two(s, 0.1, 0.9, (0.0, 1.0), &[none()], &[]);
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, 0.1, 0.9);
                s.case([t(&[3, 4]), t(&[3, 4]), t(&[4]), host("mean")]);
            }
        },
        errors: misfits,
    }
    /// How far a pair is from being `margin` apart in the order that target (1 or -1) says: each, mean or sum.
    MARGIN_RANKING_LOSS = "margin_ranking_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0, str reduction='mean') -> Tensor" {
        infer: |c| {
            float_or(c.host(3)?, 0.0)?;
            c.tensor(2)?;
            infer_distance(c, 4)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| gradients(c, 4, &[
            ranking_slope,
            |c| ranking_slope(c)?.neg(),
            |c| difference(c)?.mul(&lacks(c)?)?.neg(),
        ])),
        effect: Effect::Pure,
        cost: cost::per_input::<5>,
        lower: Lower::Loop(|l| {
            let margin = float_or(l.host(3)?, 0.0)?;
            lower_rows(l, 4, |f, n| {
                let apart = f.sub(n[0], n[1]);
                let right = f.mul(apart, n[2]);
                let (margin, zero) = (f.number(margin), f.number(0.0));
                let lack = f.sub(margin, right);
                f.max(lack, zero)
            })
        }),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -1.0, 2.0);
                for word in WORDS {
                    s.case([t(&[7]), t(&[7]), signs(d, &[7]), host(0.5), host(word)]);
                }
                s.case([t(&[2, 3]), t(&[2, 3]), t(&[2, 3])]);
            }
        },
        errors: |e| e.case(ErrorKind::Shape, [f32s(&[3]), f32s(&[3]), f32s(&[2])]),
    }
    /// The value where target is 1, and what it lacks to margin where target is -1: each, mean or sum.
    HINGE_EMBEDDING_LOSS = "hinge_embedding_loss(Tensor self, Tensor target, float margin=1.0, str reduction='mean') -> Tensor" {
        infer: |c| {
            float_or(c.host(2)?, 1.0)?;
            infer_distance(c, 3)
        },
        vjp: Vjp::Rule(Saves::INPUTS, |c| gradients(c, 3, &[hinge_slope])),
        effect: Effect::Pure,
        cost: cost::per_input::<7>,
        lower: Lower::Loop(|l| {
            let margin = float_or(l.host(2)?, 1.0)?;
            lower_rows(l, 3, |f, n| {
                let (zero, one, minus, margin) = (f.number(0.0), f.number(1.0), f.number(-1.0), f.number(margin));
                let lack = f.sub(margin, n[0]);
                let lack = f.max(lack, zero);
                let (like, unlike) = (f.ne(n[1], minus), f.ne(n[1], one));
                let (a, b) = (f.select(like, n[0], zero), f.select(unlike, lack, zero));
                f.add(a, b)
            })
        }),
        samples: |s| {
            let d = s.dtype;
            if d.is_float() {
                let t = |dims: &[usize]| tensor(d, dims, -1.0, 2.0);
                for word in WORDS {
                    s.case([t(&[7]), signs(d, &[7]), host(1.0), host(word)]);
                }
                s.case([t(&[2, 3]), signs(d, &[2, 3]), host(0.5)]);
            }
        },
        errors: misfits,
    }
}

macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident $op:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, target: &Tensor, reduction: &str) -> Result<Tensor> {
                bind1(&$op, &[Arg::Tensor(self), Arg::Tensor(target), Arg::Str(reduction)])
            }
        )*}
    };
    (number: $($(#[$doc:meta])* $name:ident $op:ident $number:ident;)*) => {
        impl Tensor {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, target: &Tensor, reduction: &str, $number: f64) -> Result<Tensor> {
                let args = [Arg::Tensor(self), Arg::Tensor(target), Arg::Str(reduction), Arg::Float($number)];
                bind1(&$op, &args)
            }
        )*}
    };
}

losses! {
    /// Absolute differences; `reduction` is "mean", "sum" or "none".
    l1_loss L1_LOSS;
    /// log(1 + e^(-target * self)).
    soft_margin_loss SOFT_MARGIN_LOSS;
}

losses! {
    number:
    /// Squared differences below beta, absolute ones above.
    smooth_l1_loss SMOOTH_L1_LOSS beta;
    /// Squared differences up to delta, absolute ones above.
    huber_loss HUBER_LOSS delta;
}

impl Tensor {
    /// The divergence of logarithms of probabilities from targets; `reduction` may also be "batchmean", the sum over the
    /// extent of the first dimension.
    #[track_caller]
    pub fn kl_div(&self, target: &Tensor, reduction: &str, log_target: bool) -> Result<Tensor> {
        let bind = |how| {
            bind1(&KL_DIV, &[Arg::Tensor(self), Arg::Tensor(target), Arg::Str(how), Arg::Bool(log_target)])
        };
        match (reduction, self.shape().first()) {
            ("batchmean", Some(&rows)) => bind("sum")?.div(rows as f64),
            ("batchmean", None) => bind("sum"),
            _ => bind(reduction),
        }
    }

    /// The cross entropy of truths and these probabilities.
    #[track_caller]
    pub fn binary_cross_entropy(
        &self,
        target: &Tensor,
        weight: Option<&Tensor>,
        reduction: &str,
    ) -> Result<Tensor> {
        let args = [Arg::Tensor(self), Arg::Tensor(target), weight.into(), Arg::Str(reduction)];
        bind1(&BINARY_CROSS_ENTROPY, &args)
    }
}
