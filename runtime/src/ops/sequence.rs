//! The loss of connectionist temporal classification (CTC): minus the logarithm of the probability that a sequence of
//! distributions over symbols, repeats and blanks taken out, reads as a target.
//!
//! Tensor code that looks at no value, so that it is recorded like any other: how far a row's steps and symbols reach is a
//! mask. The forward variables advance one step of time at once for all rows and states.

use super::join::explain;
use super::loss::{reduce, reduction};
use crate::device::DeviceId;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;

/// Above this an exponential is taken of the bound instead: no logarithm of a probability comes near it.
const LARGEST_LOG: f64 = 80.0;

/// A loss's operands of checked shapes: `log_probs` [steps, batch, classes], lengths of int64 [batch].
struct Alignment<'a> {
    log_probs: Tensor,
    targets: &'a Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: i64,
    /// No target is longer.
    longest: usize,
}

/// One length for each row of a batch.
#[derive(Clone, Copy)]
pub enum Lengths<'a> {
    /// A tensor; a length that does not fit is refused where its values are known.
    Tensor(&'a Tensor),
    /// Numbers of the host.
    List(&'a [i64]),
}

impl Lengths<'_> {
    /// The lengths as int64 [batch], and their values unless they are only recorded.
    fn read(self, name: &str, like: &Tensor, batch: usize) -> Result<(Tensor, Option<Vec<i64>>)> {
        let wrong = |shape: &[usize]| {
            Error::shape(format!("{name} must be one for each of {batch} rows, got the shape {shape:?}"))
        };
        match self {
            Lengths::List(list) if list.len() != batch => Err(wrong(&[list.len()])),
            Lengths::List(list) => {
                Ok((Tensor::from_slice(list, &[batch])?.to_device(like.device())?, Some(list.to_vec())))
            }
            Lengths::Tensor(t) if t.dtype().is_float() || t.dtype() == DType::Bool => {
                Err(Error::dtype(format!("{name} must be whole numbers, got {}", t.dtype())))
            }
            Lengths::Tensor(t) if t.rank() > 1 || t.numel() != batch => Err(wrong(t.shape())),
            Lengths::Tensor(t) => {
                let t = t.to(DType::I64)?.reshape(&[batch as i64])?;
                let known = if t.traced().is_some() { None } else { Some(t.to_vec::<i64>()?) };
                Ok((t, known))
            }
        }
    }
}

/// log(sum(exp)) over dimension 0, whose gradient is zero, not NaN, where nothing but -inf is summed.
fn log_sum(terms: &[Tensor]) -> Result<Tensor> {
    let terms = Tensor::stack(terms, 0)?;
    let none = terms.detach()?.amax(&[0], true)?.eq(f64::NEG_INFINITY)?;
    let sum = terms.masked_fill(&none, 0.0)?.logsumexp(&[0], false)?;
    sum.masked_fill(&none.squeeze(0)?, f64::NEG_INFINITY)
}

/// The slices along dimension 0. Each half is cut on its own, since the gradient of a cut is as large as what it is cut
/// from: n log n elements instead of the n^2 of one cut for each slice.
fn halved(x: &Tensor, out: &mut Vec<Tensor>) -> Result<()> {
    let n = x.shape()[0] as i64;
    if n == 1 {
        out.push(x.squeeze(0)?);
        return Ok(());
    }
    halved(&x.narrow(0, 0, n / 2)?, out)?;
    halved(&x.narrow(0, n / 2, n - n / 2)?, out)
}

impl<'a> Alignment<'a> {
    fn of(
        log_probs: &Tensor,
        targets: &'a Tensor,
        [inputs, symbols]: [Lengths; 2],
        blank: i64,
    ) -> Result<Alignment<'a>> {
        let x = if log_probs.rank() == 2 { log_probs.unsqueeze(1)? } else { log_probs.clone() };
        let [steps, batch, classes] = x.shape()[..] else {
            let what =
                format!("log_probs are [steps, batch, classes] or [steps, classes], got {log_probs:?}");
            return Err(Error::shape(what));
        };
        if !matches!(x.dtype(), DType::F32 | DType::F64) {
            return Err(Error::dtype(format!("log_probs must be float32 or float64, got {}", x.dtype())));
        }
        if x.numel() == 0 {
            return Err(Error::shape(format!("log_probs have no elements: {log_probs:?}")));
        }
        if !(0..classes as i64).contains(&blank) {
            return Err(Error::value(format!("the blank {blank} is none of {classes} classes")));
        }
        let (input_lengths, known) = inputs.read("input_lengths", &x, batch)?;
        if let Some(n) = known.iter().flatten().find(|n| !(0..=steps as i64).contains(*n)) {
            return Err(Error::value(format!("an input length of {n} among {steps} steps")));
        }
        let (target_lengths, known) = symbols.read("target_lengths", &x, batch)?;
        if let Some(n) = known.iter().flatten().find(|n| **n < 0) {
            return Err(Error::value(format!("a target length of {n}")));
        }
        // Of targets one after another none is longer than all together.
        let bound = targets.shape().last().copied().unwrap_or(0);
        let longest = known.as_ref().map_or(bound, |l| l.iter().max().map_or(0, |&n| n as usize));
        match (targets.shape(), known) {
            (&[n], Some(l)) if l.iter().sum::<i64>() != n as i64 => {
                let total = l.iter().sum::<i64>();
                return Err(Error::shape(format!("{n} symbols for targets of {total} together")));
            }
            (&[rows, _], _) if rows != batch => {
                return Err(Error::shape(format!("targets {targets:?} for a batch of {batch}")));
            }
            (&[_, n], Some(l)) if l.iter().any(|&wanted| wanted > n as i64) => {
                return Err(Error::shape(format!("targets of length {l:?} in rows of {n}")));
            }
            (&[_] | &[_, _], _) => {}
            _ => return Err(Error::shape(format!("targets are one or two dimensional, got {targets:?}"))),
        }
        Ok(Alignment { log_probs: x, targets, input_lengths, target_lengths, blank, longest })
    }

    fn device(&self) -> DeviceId {
        self.log_probs.device()
    }

    /// Whether each of `n` places lies within each row's length: [batch, n].
    fn within(&self, lengths: &Tensor, n: usize) -> Result<Tensor> {
        let places = Tensor::arange(0i64, n as i64, 1i64, Some(DType::I64), self.device())?;
        places.unsqueeze(0)?.lt(&lengths.unsqueeze(1)?)
    }

    /// Each row's symbols, with the blank after its last: [batch, longest]. What the targets hold there does not count.
    fn symbols(&self) -> Result<Tensor> {
        let inside = self.within(&self.target_lengths, self.longest)?;
        let targets = self.targets.to(DType::I64)?;
        if self.longest == 0 {
            return Tensor::zeros(inside.shape(), DType::I64, self.device());
        }
        if targets.rank() == 2 {
            return inside.select_where(&targets.narrow(1, 0, self.longest as i64)?, self.blank);
        }
        let starts = self.target_lengths.cumsum(0)?.sub(&self.target_lengths)?.unsqueeze(1)?;
        let places = Tensor::arange(0i64, self.longest as i64, 1i64, Some(DType::I64), self.device())?;
        let places = inside.select_where(&starts.add(&places.unsqueeze(0)?)?, 0i64)?;
        inside.select_where(&targets.take(&places)?, self.blank)
    }

    /// The classes of the states: a blank, a symbol, a blank, .., a blank.
    fn states(&self) -> Result<Tensor> {
        let symbols = self.symbols()?;
        let [rows, n] = [0, 1].map(|d| symbols.shape()[d] as i64);
        let blanks = symbols.full_like(self.blank, None)?;
        let pairs = Tensor::stack(&[blanks, symbols], 2)?.reshape(&[rows, 2 * n])?;
        let last = Tensor::full(&[rows as usize, 1], self.blank, DType::I64, self.device())?;
        Tensor::cat(&[pairs, last], 1)
    }

    /// Minus the logarithm of each row's probability.
    fn losses(&self) -> Result<Tensor> {
        let (x, classes) = (&self.log_probs, self.states()?);
        let (steps, batch, count) = (x.shape()[0], x.shape()[1], classes.shape()[1]);
        let impossible = |n| Tensor::full(&[batch, n], f64::NEG_INFINITY, x.dtype(), x.device());
        // From a symbol to the next one without the blank between them, unless they are the same.
        let skips = match count as i64 - 2 {
            1.. => {
                let to = classes.narrow(1, 2, count as i64 - 2)?;
                let differ = to.ne(&classes.narrow(1, 0, count as i64 - 2)?)?;
                Some(differ.logical_and(&to.ne(self.blank)?)?)
            }
            _ => None,
        };
        let mut emitted = Vec::with_capacity(steps);
        halved(&x.gather(2, &classes.unsqueeze(0)?.expand(&[steps, batch, count])?)?, &mut emitted)?;
        let live = self.within(&self.input_lengths, steps)?;
        // Before the first step all stands at the first blank, from which both it and the first symbol are reached.
        let start = Tensor::zeros(&[batch, 1], x.dtype(), x.device())?;
        let mut reached = Tensor::cat(&[start, impossible(count - 1)?], 1)?;
        for (t, emitted) in emitted.iter().enumerate() {
            let mut ways = vec![reached.clone()];
            if count > 1 {
                ways.push(Tensor::cat(&[impossible(1)?, reached.narrow(1, 0, count as i64 - 1)?], 1)?);
            }
            if let Some(skips) = &skips {
                let skipped =
                    skips.select_where(&reached.narrow(1, 0, count as i64 - 2)?, f64::NEG_INFINITY)?;
                ways.push(Tensor::cat(&[impossible(2)?, skipped], 1)?);
            }
            let next = log_sum(&ways)?.add(emitted)?;
            reached = live.narrow(1, t as i64, 1)?.select_where(&next, &reached)?;
        }
        // A row ends with its last symbol or the blank after it.
        let end = self.target_lengths.mul(2i64)?.unsqueeze(1)?;
        let blank = reached.gather(1, &end)?.squeeze(1)?;
        let symbol = reached.gather(1, &end.sub(1i64)?.clamp(0i64, Arg::None)?)?.squeeze(1)?;
        let symbol = symbol.masked_fill(&self.target_lengths.eq(0i64)?, f64::NEG_INFINITY)?;
        log_sum(&[blank, symbol])?.neg()
    }

    /// Zero, whose gradient is that of the sum of a row's probabilities over its steps.
    fn normaliser(&self) -> Result<Tensor> {
        let live = self.within(&self.input_lengths, self.log_probs.shape()[0])?;
        let live = live.transpose(0, 1)?.unsqueeze(2)?;
        let mass = self.log_probs.clamp(Arg::None, LARGEST_LOG)?.exp()?;
        let mass = live.select_where(&mass, 0.0)?.sum(&[0, 2], false)?;
        mass.sub(&mass.detach()?)
    }
}

impl Tensor {
    /// The CTC loss of logarithms of probabilities [steps, batch, classes] (or [steps, classes]) against `targets`, rows of
    /// symbols or all one after another, of which each row has so many steps and symbols. `how` is "none", "sum", or
    /// "mean": over the target's length, then over the batch. `zero_infinity` makes losses without an alignment zero.
    ///
    /// The gradient is PyTorch's: exp(log_probs) less the probability of each class given the target. That is the gradient
    /// of scores of which `log_probs` are the log_softmax; the derivative by `log_probs` themselves lacks the first term,
    /// which a log_softmax before takes out again. It is a term of the loss that is zero, so its own derivatives are those
    /// of that gradient. Where there is no alignment, PyTorch's gradient is NaN, this one the first term.
    #[track_caller]
    pub fn ctc_loss(
        &self,
        targets: &Tensor,
        input_lengths: Lengths,
        target_lengths: Lengths,
        blank: i64,
        how: &str,
        zero_infinity: bool,
    ) -> Result<Tensor> {
        let explain = explain("ctc_loss");
        let how_to_reduce = reduction(Arg::Str(how)).map_err(explain)?;
        let rows = Alignment::of(self, targets, [input_lengths, target_lengths], blank).map_err(explain)?;
        let mut losses = rows.losses()?.add(&rows.normaliser()?)?;
        if zero_infinity {
            losses = losses.masked_fill(&losses.detach()?.eq(f64::INFINITY)?, 0.0)?;
        }
        match how {
            "mean" => losses = losses.div(&rows.target_lengths.clamp(1i64, Arg::None)?)?,
            "none" if self.rank() == 2 => return losses.squeeze(0),
            _ => {}
        }
        reduce(&losses, how_to_reduce)
    }
}
