//! Losses of integer classes: cross_entropy and nll_loss with their gradients. Rows are one loop program; a mean or sum
//! over rows is a second one.

use super::normal::{Shifted, shifted};
use super::rules::{Formula, chain, f32s, float_only, i64s, int_or, one, wanted};
use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Infer, Shape, TensorType, Types};
use crate::lower::{Steps, View};
use crate::samples::{ErrorSamples, SampleArg, Samples, exact, host, none, tensor};
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::loops::{BinaryOp, Node, ReduceOp, Region};
use kernels::{DType, Dims};
use smallvec::{SmallVec, smallvec};

/// How rows become the result.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Reduction {
    None,
    Mean,
    Sum,
}

/// The reduction that an operand names; the mean where it is left out.
pub(super) fn reduction(arg: Arg) -> Result<Reduction> {
    match arg {
        Arg::None | Arg::Str("mean") => Ok(Reduction::Mean),
        Arg::Str("sum") => Ok(Reduction::Sum),
        Arg::Str("none") => Ok(Reduction::None),
        other => Err(Error::value(format!("reduction must be 'none', 'mean' or 'sum', got {other:?}"))),
    }
}

/// Place of the class dimension.
fn class_dim(rank: usize) -> usize {
    usize::from(rank > 1)
}

/// Types of scores, targets and weights at operands `at`, `at + 1` and `at + 2`.
fn check_classes(c: &Infer, at: usize) -> Result<TensorType> {
    let (x, target) = (c.tensor(at)?, c.tensor(at + 1)?);
    float_only(x.dtype)?;
    if !target.dtype.is_int() {
        return Err(Error::dtype(format!("classes must be integers, got {}", target.dtype)));
    }
    if x.rank() == 0 {
        return Err(Error::shape("scores need a dimension of classes"));
    }
    let mut rows: Shape = x.shape.clone();
    let classes = rows.remove(class_dim(x.rank()));
    if rows != target.shape {
        return Err(Error::shape(format!("targets {target} do not fit scores {x}")));
    }
    match c.optional(at + 2)? {
        Some(w) if w.rank() != 1 || w.shape[0] != classes || w.dtype != x.dtype => {
            Err(Error::shape(format!("weights {w} do not fit the classes of {x}")))
        }
        _ => Ok(TensorType { dtype: x.dtype, shape: rows }),
    }
}

/// self, target, weight, reduction, ignore_index.
fn infer_loss(c: &Infer) -> Result<Types> {
    let rows = check_classes(c, 0)?;
    int_or(c.host(4)?, -100)?;
    match reduction(c.host(3)?)? {
        Reduction::None => Ok(smallvec![rows]),
        Reduction::Mean | Reduction::Sum => one(rows.dtype, Shape::new()),
    }
}

/// grad_output, self, target, weight, reduction, ignore_index.
fn infer_backward(c: &Infer) -> Result<Types> {
    let rows = check_classes(c, 1)?;
    let expected = match reduction(c.host(4)?)? {
        Reduction::None => rows,
        Reduction::Mean | Reduction::Sum => TensorType { dtype: rows.dtype, shape: Shape::new() },
    };
    match *c.tensor(0)? == expected {
        true => Ok(smallvec![c.tensor(1)?.clone()]),
        false => Err(Error::shape(format!("a cotangent {} for a loss {expected}", c.tensor(0)?))),
    }
}

/// Targets with the class dimension of extent 1, whether each counts, and its weight.
struct Rows {
    index: Node,
    counts: Node,
    weight: Option<Node>,
}

fn rows(r: &mut Region, target: Node, weight: Option<Node>, rank: usize, ignore: i64, wide: DType) -> Rows {
    let class = class_dim(rank);
    let index = r.cast(target, DType::I64);
    let index = r.unsqueeze(index, class);
    let ignore = r.constant(ignore, DType::I64);
    let counts = r.binary(BinaryOp::Ne, index, ignore);
    let weight = weight.map(|mut w| {
        for _ in 0..class {
            w = r.unsqueeze(w, 0);
        }
        for after in class + 1..rank {
            w = r.unsqueeze(w, after);
        }
        let own = r.gather_masked(w, class, index, counts);
        r.cast(own, wide)
    });
    Rows { index, counts, weight }
}

/// The weight of each row that counts, 0 of the others.
fn row_weight(f: &mut Formula, rows: &Rows) -> Node {
    match rows.weight {
        Some(weight) => weight,
        None => f.region.cast(rows.counts, f.dtype),
    }
}

fn lower_loss(s: &mut Steps, scores_are_logarithms: bool) -> Result<()> {
    let (x, target, out) = (s.input(0)?, s.input(1)?, s.output(0));
    let weight = if s.is_tensor(2) { Some(s.input(2)?) } else { None };
    let (reduction, ignore) = (reduction(s.host(3)?)?, int_or(s.host(4)?, -100)?);
    let wide = x.dtype.accumulator();
    let (rank, class) = (x.layout.rank(), class_dim(x.layout.rank()));
    let dims = target.layout.shape.clone();
    let losses = if reduction == Reduction::None { out.clone() } else { s.temp(wide, &dims) };
    let weights = (reduction == Reduction::Mean && weight.is_some()).then(|| s.temp(wide, &dims));
    let inputs: SmallVec<[&View; 4]> = [&x, &target].into_iter().chain(&weight).collect();
    let outputs: SmallVec<[&View; 4]> = [&losses].into_iter().chain(&weights).collect();
    s.region(&inputs, &outputs, |r, n| {
        let rows = rows(r, n[1], n.get(2).copied(), rank, ignore, wide);
        let picked = r.gather_masked(n[0], class, rows.index, rows.counts);
        let picked = r.cast(picked, wide);
        let scores = r.cast(n[0], wide);
        let mut f = Formula { region: r, dtype: wide };
        let zero = f.number(0.0);
        let mut loss = if scores_are_logarithms {
            f.neg(picked)
        } else {
            let Shifted { top, sum, .. } = shifted(&mut f, scores, &[class]);
            let log = f.log(sum);
            let below = f.sub(top, picked);
            f.add(log, below)
        };
        if let Some(weight) = rows.weight {
            loss = f.mul(loss, weight);
        }
        let loss = f.select(rows.counts, loss, zero);
        let loss = f.region.cast(loss, losses.dtype);
        let mut out: SmallVec<[Node; 2]> = smallvec![f.region.squeeze(loss, class)];
        if weights.is_some() {
            let weight = row_weight(&mut f, &rows);
            out.push(f.region.squeeze(weight, class));
        }
        Ok(out)
    })?;
    if reduction == Reduction::None {
        return Ok(());
    }
    let all: Dims = (0..dims.len()).collect();
    let dtype = out.dtype;
    let second = weights.as_ref().unwrap_or(&target);
    s.region(&[&losses, second], &[&out], |r, n| {
        let mut f = Formula { region: r, dtype: wide };
        let mut total = f.region.reduce(ReduceOp::Sum, n[0], &all, false);
        if reduction == Reduction::Mean {
            let weight = if weights.is_some() { n[1] } else { counted(&mut f, n[1], ignore) };
            let sum = f.region.reduce(ReduceOp::Sum, weight, &all, false);
            total = f.div(total, sum);
        }
        Ok(smallvec![f.region.cast(total, dtype)])
    })
}

/// 1 for each target that counts, 0 for those to be ignored.
fn counted(f: &mut Formula, target: Node, ignore: i64) -> Node {
    let index = f.region.cast(target, DType::I64);
    let ignore = f.region.constant(ignore, DType::I64);
    let counts = f.ne(index, ignore);
    f.region.cast(counts, f.dtype)
}

fn lower_backward(s: &mut Steps, scores_are_logarithms: bool) -> Result<()> {
    let (mut dy, x, target, out) = (s.input(0)?, s.input(1)?, s.input(2)?, s.output(0));
    let weight = if s.is_tensor(3) { Some(s.input(3)?) } else { None };
    let (reduction, ignore) = (reduction(s.host(4)?)?, int_or(s.host(5)?, -100)?);
    let wide = x.dtype.accumulator();
    let (rank, class) = (x.layout.rank(), class_dim(x.layout.rank()));
    let dims = x.layout.shape.clone();
    if reduction == Reduction::Mean {
        let share = s.temp(wide, &[]);
        let own = dy.clone();
        let inputs: SmallVec<[&View; 4]> = [&own, &target].into_iter().chain(&weight).collect();
        s.region(&inputs, &[&share], |r, n| {
            let rows = rows(r, n[1], n.get(2).copied(), rank, ignore, wide);
            let dy = r.cast(n[0], wide);
            let mut f = Formula { region: r, dtype: wide };
            let weight = row_weight(&mut f, &rows);
            let all: Dims = (0..rank).collect();
            let sum = f.region.reduce(ReduceOp::Sum, weight, &all, false);
            Ok(smallvec![f.div(dy, sum)])
        })?;
        dy = share;
    }
    let dtype = out.dtype;
    let inputs: SmallVec<[&View; 4]> = [&dy, &x, &target].into_iter().chain(&weight).collect();
    s.region(&inputs, &[&out], |r, n| {
        let rows = rows(r, n[2], n.get(3).copied(), rank, ignore, wide);
        let mut scale = r.cast(n[0], wide);
        if reduction == Reduction::None {
            scale = r.unsqueeze(scale, class);
        }
        let scores = r.cast(n[1], wide);
        let place = r.index(&dims, class);
        let mut f = Formula { region: r, dtype: wide };
        let (zero, one) = (f.number(0.0), f.number(1.0));
        let own = f.eq(place, rows.index);
        let own = f.select(own, one, zero);
        let mut slope = if scores_are_logarithms {
            f.neg(own)
        } else {
            let Shifted { sum, grown, .. } = shifted(&mut f, scores, &[class]);
            let p = f.div(grown, sum);
            f.sub(p, own)
        };
        if let Some(weight) = rows.weight {
            slope = f.mul(slope, weight);
        }
        let dx = f.mul(slope, scale);
        let dx = f.select(rows.counts, dx, zero);
        Ok(smallvec![f.region.cast(dx, dtype)])
    })
}

fn gradient(c: &VjpContext, backward: &'static crate::table::OpDef) -> Result<Gradients> {
    chain(c, |dy| {
        let (x, target) = (Arg::Tensor(c.input(0)?), Arg::Tensor(c.input(1)?));
        let how = if c.host(3)?.is_none() { Arg::Str("mean") } else { c.host(3)? };
        bind1(backward, &[Arg::Tensor(dy), x, target, c.arg(2)?, how, c.host(4)?])
    })
}

/// The cotangent's gradient: the loss's slope along `h`.
fn along(c: &VjpContext, backward: &'static crate::table::OpDef) -> Result<Tensor> {
    let (h, x) = (c.dy()?, c.input(1)?);
    let ones = Tensor::ones(&c.input_dims(0)?, x.dtype(), x.device())?;
    let (x_arg, target) = (Arg::Tensor(x), Arg::Tensor(c.input(2)?));
    let slope = bind1(backward, &[Arg::Tensor(&ones), x_arg, target, c.arg(3)?, c.host(4)?, c.host(5)?])?;
    let product = h.mul(&slope)?;
    match reduction(c.host(4)?)? {
        Reduction::None => product.sum(&[class_dim(x.rank()) as i64], false),
        Reduction::Mean | Reduction::Sum => product.sum(&[], false),
    }
}

/// The weight of each target's class, 0 where it is ignored.
fn target_weights(
    target: &Tensor,
    ignored: &Tensor,
    weight: Option<&Tensor>,
    dtype: DType,
) -> Result<Tensor> {
    let counts = ignored.logical_not()?.to(dtype)?;
    let Some(weight) = weight else { return Ok(counts) };
    let index = target.masked_fill(ignored, 0i64)?.reshape(&[-1])?;
    counts.mul(&weight.index_select(0, &index)?.reshape(&super::rules::ints(target.shape()))?)
}

/// dy times weight for each row, over the sum of weights for a mean; the class dimension has extent 1.
fn row_scale(c: &VjpContext) -> Result<Tensor> {
    let target = c.input(2)?;
    let ignored = target.eq(int_or(c.host(5)?, -100)?)?;
    let weight = if c.is_tensor(3) { Some(c.input(3)?) } else { None };
    let mut weight = target_weights(target, &ignored, weight, c.input(1)?.dtype())?;
    if reduction(c.host(4)?)? == Reduction::Mean {
        weight = weight.div(&weight.sum(&[], false)?)?;
    }
    c.input(0)?.mul(&weight)?.unsqueeze(class_dim(c.input(1)?.rank()) as i64)
}

fn classes(dims: &[usize], elements: &[i64]) -> SampleArg {
    exact(DType::I64, dims, elements)
}

fn loss_samples(s: &mut Samples) {
    let d = s.dtype;
    if !d.is_float() {
        return;
    }
    let t = |dims: &[usize]| tensor(d, dims, -2.0, 0.0);
    let five = || classes(&[5], &[0, 3, 2, 2, 1]);
    for word in ["mean", "sum", "none"] {
        s.case([t(&[5, 4]), five(), none(), host(word), host(-100i64)]);
        s.case([t(&[5, 4]), five(), tensor(d, &[4], 0.5, 2.0), host(word), host(2i64)]);
        s.case([t(&[2, 3, 2]), classes(&[2, 2], &[0, 2, 1, 1]), none(), host(word), host(1i64)]);
    }
    s.case([t(&[4]), classes(&[], &[2])]);
    s.case([t(&[3, 40]), classes(&[3], &[39, 0, 17])]);
}

fn loss_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Index, [f32s(&[2, 4]), classes(&[2], &[0, 4])]);
    e.case(ErrorKind::Shape, [f32s(&[5, 4]), i64s(&[4])]);
    e.case(ErrorKind::Value, [f32s(&[5, 4]), i64s(&[5]), none(), host("average")]);
    e.case(ErrorKind::DType, [f32s(&[5, 4]), f32s(&[5])]);
}

fn backward_samples(s: &mut Samples) {
    let d = s.dtype;
    if !d.is_float() {
        return;
    }
    let t = |dims: &[usize]| tensor(d, dims, -2.0, 0.0);
    let five = || classes(&[5], &[0, 3, 2, 2, 1]);
    for word in ["mean", "sum", "none"] {
        let dy = if word == "none" { t(&[5]) } else { t(&[]) };
        s.case([dy.clone(), t(&[5, 4]), five(), none(), host(word), host(-100i64)]);
        s.case([dy, t(&[5, 4]), five(), tensor(d, &[4], 0.5, 2.0), host(word), host(2i64)]);
    }
}

fn backward_errors(e: &mut ErrorSamples) {
    e.case(ErrorKind::Shape, [f32s(&[2]), f32s(&[5, 4]), i64s(&[5]), none(), host("mean")]);
}

ops! {
    /// Minus the logarithm of softmax at the target's class, over rows: each, their mean (by weight) or their sum.
    CROSS_ENTROPY = "cross_entropy(Tensor self, Tensor target, Tensor? weight=None, str reduction='mean', int ignore_index=-100) -> Tensor" {
        infer: infer_loss,
        vjp: Vjp::Rule(Saves::INPUTS, |c| gradient(c, &CROSS_ENTROPY_BACKWARD)),
        effect: Effect::Pure,
        cost: cost::per_input::<14>,
        lower: Lower::Steps(|s| lower_loss(s, false)),
        samples: loss_samples,
        errors: loss_errors,
    }
    /// The gradient of cross_entropy with respect to the scores.
    CROSS_ENTROPY_BACKWARD = "cross_entropy_backward(Tensor grad_output, Tensor self, Tensor target, Tensor? weight=None, str reduction='mean', int ignore_index=-100) -> Tensor" {
        infer: infer_backward,
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let mut out: Gradients = smallvec![
                wanted(c, 0, || along(c, &CROSS_ENTROPY_BACKWARD))?,
                wanted(c, 1, || {
                    let dim = class_dim(c.input(1)?.rank()) as i64;
                    let p = c.input(1)?.softmax(dim)?;
                    let scaled = c.dy()?.mul(&row_scale(c)?)?;
                    bind1(&super::SOFTMAX_BACKWARD, &[Arg::Tensor(&scaled), Arg::Tensor(&p), Arg::Int(dim)])
                })?,
                None,
            ];
            out.extend(c.is_tensor(3).then_some(None));
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<16>,
        lower: Lower::Steps(|s| lower_backward(s, false)),
        samples: backward_samples,
        errors: backward_errors,
    }
    /// Minus the score at the target's class, over rows: each, their mean (by weight) or their sum.
    NLL_LOSS = "nll_loss(Tensor self, Tensor target, Tensor? weight=None, str reduction='mean', int ignore_index=-100) -> Tensor" {
        infer: infer_loss,
        vjp: Vjp::Rule(Saves::INPUTS, |c| gradient(c, &NLL_LOSS_BACKWARD)),
        effect: Effect::Pure,
        cost: cost::per_output::<2>,
        lower: Lower::Steps(|s| lower_loss(s, true)),
        samples: loss_samples,
        errors: loss_errors,
    }
    /// The gradient of nll_loss with respect to the scores.
    NLL_LOSS_BACKWARD = "nll_loss_backward(Tensor grad_output, Tensor self, Tensor target, Tensor? weight=None, str reduction='mean', int ignore_index=-100) -> Tensor" {
        infer: infer_backward,
        vjp: Vjp::Rule(Saves::INPUTS, |c| {
            let mut out: Gradients = smallvec![wanted(c, 0, || along(c, &NLL_LOSS_BACKWARD))?, None, None];
            out.extend(c.is_tensor(3).then_some(None));
            Ok(out)
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<3>,
        lower: Lower::Steps(|s| lower_backward(s, true)),
        samples: backward_samples,
        errors: backward_errors,
    }
}

/// One of the losses of this file.
#[track_caller]
fn of_classes(
    op: &'static crate::table::OpDef,
    scores: &Tensor,
    target: &Tensor,
    weight: Option<&Tensor>,
    reduction: &str,
    ignore: i64,
) -> Result<Tensor> {
    let (scores, target) = (Arg::Tensor(scores), Arg::Tensor(target));
    bind1(op, &[scores, target, weight.into(), Arg::Str(reduction), Arg::Int(ignore)])
}

/// The reduction of rows that all count alike.
pub(super) fn reduce(rows: &Tensor, reduction: Reduction) -> Result<Tensor> {
    match reduction {
        Reduction::None => Ok(rows.clone()),
        Reduction::Mean => rows.mean(&[], false),
        Reduction::Sum => rows.sum(&[], false),
    }
}

impl Tensor {
    /// Minus the logarithm of softmax at the target's class. `reduction` is "mean", "sum" or "none"; rows whose target is
    /// `ignore_index` do not count. Targets of the scores' shape and type are probabilities.
    #[track_caller]
    pub fn cross_entropy(
        &self,
        target: &Tensor,
        weight: Option<&Tensor>,
        reduction: &str,
        ignore_index: i64,
        label_smoothing: f64,
    ) -> Result<Tensor> {
        let explain = |e: Error| e.in_op("cross_entropy").at(crate::error::Origin::caller());
        let how = self::reduction(Arg::Str(reduction)).map_err(explain)?;
        let dim = class_dim(self.rank());
        if !(0.0..=1.0).contains(&label_smoothing) {
            return Err(explain(Error::value(format!(
                "label_smoothing {label_smoothing} is not within [0, 1]"
            ))));
        }
        let weighed = |logs: Tensor| -> Result<Tensor> {
            let Some(weight) = weight else { return Ok(logs) };
            let mut shape: SmallVec<[i64; 6]> = smallvec![1; self.rank()];
            shape[dim] = -1;
            logs.mul(&weight.reshape(&shape)?)
        };
        if target.dtype().is_float() {
            if target.shape() != self.shape() || self.rank() == 0 {
                let what = format!("probabilities {:?} do not fit scores {:?}", target.shape(), self.shape());
                return Err(explain(Error::shape(what)));
            }
            let classes = self.shape()[dim] as f64;
            let smooth = match label_smoothing {
                0.0 => target.clone(),
                e => target.mul(1.0 - e)?.add(e / classes)?,
            };
            let rows =
                weighed(self.log_softmax(dim as i64)?)?.mul(&smooth)?.sum(&[dim as i64], false)?.neg()?;
            return reduce(&rows, how);
        }
        let hard = || of_classes(&CROSS_ENTROPY, self, target, weight, reduction, ignore_index);
        if label_smoothing == 0.0 {
            return hard();
        }
        let classes = self.shape().get(dim).copied().unwrap_or(1) as f64;
        let ignored = target.eq(ignore_index)?;
        let rows = weighed(self.log_softmax(dim as i64)?)?
            .sum(&[dim as i64], false)?
            .neg()?
            .masked_fill(&ignored, 0.0)?;
        let spread = match how {
            Reduction::Mean => {
                let counts = target_weights(target, &ignored, weight, self.dtype())?;
                rows.sum(&[], false)?.div(&counts.sum(&[], false)?)?
            }
            Reduction::Sum | Reduction::None => reduce(&rows, how)?,
        };
        hard()?.mul(1.0 - label_smoothing)?.add(&spread.mul(label_smoothing / classes)?)
    }

    /// Minus the score at the target's class; the scores are logarithms of probabilities.
    #[track_caller]
    pub fn nll_loss(
        &self,
        target: &Tensor,
        weight: Option<&Tensor>,
        reduction: &str,
        ignore_index: i64,
    ) -> Result<Tensor> {
        of_classes(&NLL_LOSS, self, target, weight, reduction, ignore_index)
    }
}
