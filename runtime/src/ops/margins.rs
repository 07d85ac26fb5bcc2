//! Methods for losses of many classes with margins: multi_margin_loss, multilabel_margin_loss, multilabel_soft_margin_loss.

use super::join::explain;
use super::loss::{reduce, reduction};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;

/// Scores as rows, and whether they were one row without a batch.
fn rows(scores: &Tensor, target: &Tensor, target_rank: usize) -> Result<(Tensor, bool)> {
    let single = scores.rank() < 2;
    let fits = scores.rank() <= 2
        && scores.shape().last().is_none_or(|&classes| classes > 0)
        && (target.rank() == target_rank || (single && target.rank() <= target_rank));
    if !fits {
        let what = format!("scores of shape {:?} and targets of {:?}", scores.shape(), target.shape());
        return Err(Error::shape(what));
    }
    Ok((if single { scores.reshape(&[1, -1])? } else { scores.clone() }, single))
}

impl Tensor {
    /// The mean over the classes of `max(0, margin - x[target] + x[class])^p`, weighed by the target's class.
    #[track_caller]
    pub fn multi_margin_loss(
        &self,
        target: &Tensor,
        p: i64,
        margin: f64,
        weight: Option<&Tensor>,
        reduction: &str,
    ) -> Result<Tensor> {
        let explain = explain("multi_margin_loss");
        let how = self::reduction(Arg::Str(reduction)).map_err(explain)?;
        if !(1..=2).contains(&p) {
            return Err(explain(Error::value(format!("p must be 1 or 2, got {p}"))));
        }
        let (scores, single) = rows(self, target, 1).map_err(explain)?;
        let (n, classes) = (scores.shape()[0], scores.shape()[1]);
        if target.numel() != n {
            let what = format!("{} targets for {n} rows of scores", target.numel());
            return Err(explain(Error::shape(what)));
        }
        if let Some(w) = weight
            && w.shape() != [classes]
        {
            return Err(explain(Error::shape(format!(
                "weights of shape {:?} for {classes} classes",
                w.shape()
            ))));
        }
        let place = target.reshape(&[-1, 1])?;
        let mut apart = scores.sub(&scores.gather(1, &place)?)?.add(margin)?.clamp(0.0, Arg::None)?;
        if p == 2 {
            apart = apart.square()?;
        }
        if let Some(w) = weight {
            apart = apart.mul(&w.take(&place)?)?;
        }
        let class = Tensor::arange(0i64, classes as i64, 1i64, Some(DType::I64), self.device())?;
        let losses = apart.masked_fill(&place.eq(&class)?, 0.0)?.sum(&[1], false)?.div(classes as f64)?;
        reduce(&if single { losses.reshape(&[])? } else { losses }, how)
    }

    /// The mean over the classes of `max(0, 1 - x[label] + x[other])` for every label and every class that is none. A row of
    /// labels ends at its first -1.
    #[track_caller]
    pub fn multilabel_margin_loss(&self, target: &Tensor, reduction: &str) -> Result<Tensor> {
        let explain = explain("multilabel_margin_loss");
        let how = self::reduction(Arg::Str(reduction)).map_err(explain)?;
        let (scores, single) = rows(self, target, 2).map_err(explain)?;
        let labels = if single { target.reshape(&[1, -1])? } else { target.clone() };
        if labels.shape() != scores.shape() {
            let what = format!("scores of shape {:?} and targets of {:?}", self.shape(), target.shape());
            return Err(explain(Error::shape(what)));
        }
        let classes = scores.shape()[1];
        let counts = labels.ge(0i64)?.to(DType::I64)?.cumprod(1)?;
        let place = labels.clamp(0i64, Arg::None)?;
        let named = counts.zeros_like(None)?.scatter_add(1, &place, &counts)?.gt(0i64)?;
        let own = scores.gather(1, &place)?.unsqueeze(2)?;
        let apart = scores.unsqueeze(1)?.sub(&own)?.add(1.0)?.clamp(0.0, Arg::None)?;
        let counted = counts.eq(1i64)?.unsqueeze(2)?.logical_and(&named.logical_not()?.unsqueeze(1)?)?;
        let apart = apart.masked_fill(&counted.logical_not()?, 0.0)?;
        let losses = apart.sum(&[1, 2], false)?.div(classes as f64)?;
        reduce(&if single { losses.reshape(&[])? } else { losses }, how)
    }

    /// The mean over the classes of the binary cross entropy of sigmoid(x) with each class's label.
    #[track_caller]
    pub fn multilabel_soft_margin_loss(
        &self,
        target: &Tensor,
        weight: Option<&Tensor>,
        reduction: &str,
    ) -> Result<Tensor> {
        let how = self::reduction(Arg::Str(reduction)).map_err(explain("multilabel_soft_margin_loss"))?;
        let like = target.mul(&self.logsigmoid()?)?;
        let unlike = target.neg()?.add(1i64)?.mul(&self.neg()?.logsigmoid()?)?;
        let mut losses = like.add(&unlike)?.neg()?;
        if let Some(w) = weight {
            losses = losses.mul(w)?;
        }
        let classes = losses.shape().last().copied().unwrap_or(1);
        let mean = if losses.rank() == 0 { losses } else { losses.sum(&[-1], false)?.div(classes as f64)? };
        reduce(&mean, how)
    }
}
