//! Methods that compare or weigh tensors by several ops: distances, normalize, losses of pairs and triples, attention,
//! instance_norm, differences.

use super::join::explain;
use super::loss::{reduce, reduction};
use crate::door::bind1;
use crate::error::{Error, Result};
use crate::infer::wrap_dim;
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;

impl Tensor {
    /// The norm of order `p` of self - other + eps along the last dimension.
    #[track_caller]
    pub fn pairwise_distance(&self, other: &Tensor, p: f64, eps: f64, keepdim: bool) -> Result<Tensor> {
        let apart = self.sub(other)?.add(eps)?;
        if apart.rank() == 0 {
            return Err(explain("pairwise_distance")(Error::shape("rank 0 has no vectors")));
        }
        apart.norm(p, &[-1], keepdim)
    }

    /// Over the norm of order `p` along `dim`, which is not below `eps`.
    #[track_caller]
    pub fn normalize(&self, p: f64, dim: i64, eps: f64) -> Result<Tensor> {
        let length = if self.rank() == 0 { self.abs()? } else { self.norm(p, &[dim], true)? };
        self.div(&length.clamp(eps, Arg::None)?)
    }

    /// 1 less the similarity of pairs with target 1, what the similarity of those with target -1 exceeds `margin` by.
    #[track_caller]
    pub fn cosine_embedding_loss(
        &self,
        other: &Tensor,
        target: &Tensor,
        margin: f64,
        reduction: &str,
    ) -> Result<Tensor> {
        let how = self::reduction(Arg::Str(reduction)).map_err(explain("cosine_embedding_loss"))?;
        // torch adds eps to the squared lengths here, where cosine_similarity bounds the lengths.
        const EPS: f64 = 1e-12;
        let last = [-1];
        let square = |t: &Tensor| t.square()?.sum(&last, false)?.add(EPS);
        let product = self.mul(other)?.sum(&last, false)?;
        let cosine = product.div(&square(self)?.mul(&square(other)?)?.sqrt()?)?;
        let like = cosine.neg()?.add(1.0)?.masked_fill(&target.ne(1i64)?, 0.0)?;
        let unlike = cosine.sub(margin)?.clamp(0.0, Arg::None)?.masked_fill(&target.ne(-1i64)?, 0.0)?;
        reduce(&like.add(&unlike)?, how)
    }

    /// What this anchor lacks to be `margin` nearer to `positive` than to `negative`; with `swap` the nearer of both
    /// distances to `negative` counts.
    #[track_caller]
    #[allow(clippy::too_many_arguments, reason = "torch's parameters")]
    pub fn triplet_margin_loss(
        &self,
        positive: &Tensor,
        negative: &Tensor,
        margin: f64,
        p: f64,
        eps: f64,
        swap: bool,
        reduction: &str,
    ) -> Result<Tensor> {
        let how = self::reduction(Arg::Str(reduction)).map_err(explain("triplet_margin_loss"))?;
        if margin <= 0.0 {
            let what = format!("the margin must be positive, got {margin}");
            return Err(explain("triplet_margin_loss")(Error::value(what)));
        }
        if self.rank() != positive.rank() || self.rank() != negative.rank() {
            let what = format!(
                "ranks differ: anchor {:?}, positive {:?}, negative {:?}",
                self.shape(),
                positive.shape(),
                negative.shape()
            );
            return Err(explain("triplet_margin_loss")(Error::shape(what)));
        }
        let near = self.pairwise_distance(positive, p, eps, false)?;
        let mut far = self.pairwise_distance(negative, p, eps, false)?;
        if swap {
            far = far.minimum(&positive.pairwise_distance(negative, p, eps, false)?)?;
        }
        reduce(&near.sub(&far)?.add(margin)?.clamp(0.0, Arg::None)?, how)
    }

    /// softmax(self key^T scale + mask) value over the last two dimensions. A bool mask keeps where it is true; `causal`
    /// keeps no key after its query. The scale is 1 / sqrt(features) where none is given.
    #[track_caller]
    pub fn scaled_dot_product_attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        causal: bool,
        scale: Option<f64>,
    ) -> Result<Tensor> {
        let explain = explain("scaled_dot_product_attention");
        let (Some(&features), true) = (self.shape().last(), self.rank() >= 2 && key.rank() >= 2) else {
            return Err(explain(Error::shape("attention takes matrices of queries and keys")));
        };
        if causal && mask.is_some() {
            return Err(explain(Error::value("a causal attention takes no other mask")));
        }
        // Narrow types are widened once and rounded once.
        if self.dtype().is_narrow() {
            let wide = |t: &Tensor| if t.dtype() == self.dtype() { t.to(DType::F32) } else { Ok(t.clone()) };
            let mask = mask.map(wide).transpose()?;
            let (query, key, value) = (wide(self)?, wide(key)?, wide(value)?);
            let out = query.scaled_dot_product_attention(&key, &value, mask.as_ref(), causal, scale)?;
            return out.to(self.dtype());
        }
        let scale = scale.unwrap_or(1.0 / (features as f64).sqrt());
        let mut scores = self.mul(scale)?.matmul(&key.transpose(-2, -1)?)?;
        let hide =
            |scores: &Tensor, keep: &Tensor| scores.masked_fill(&keep.logical_not()?, f64::NEG_INFINITY);
        if causal {
            let (queries, keys) = (self.shape()[self.rank() - 2], key.shape()[key.rank() - 2]);
            let keep = Tensor::ones(&[queries, keys], DType::Bool, self.device())?.tril(0)?;
            scores = hide(&scores, &keep)?;
        }
        match mask {
            Some(mask) if mask.dtype() == DType::Bool => scores = hide(&scores, mask)?,
            Some(mask) => scores = scores.add(mask)?,
            None => {}
        }
        if mask.is_none() || scores.numel() == 0 {
            return scores.softmax(-1)?.matmul(value);
        }
        // A query from which every key is hidden finds zero (torch).
        let nothing = scores.detach()?.amax(&[-1], true)?.eq(f64::NEG_INFINITY)?;
        let weights = scores.masked_fill(&nothing, 0.0)?.softmax(-1)?.masked_fill(&nothing, 0.0)?;
        weights.matmul(value)
    }

    /// Each channel of each element of the batch brought to mean 0 and variance 1, then scaled and shifted by channel.
    #[track_caller]
    pub fn instance_norm(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Result<Tensor> {
        let channels = self.shape().get(1).copied().unwrap_or(0);
        if self.rank() < 3 {
            return Err(explain("instance_norm")(Error::shape(format!(
                "{:?} has no dimensions beside batch and channels",
                self.shape()
            ))));
        }
        self.group_norm(channels as i64, weight, bias, eps)
    }

    /// The difference of neighbours along `dim`, taken `n` times.
    #[track_caller]
    pub fn diff(&self, n: usize, dim: i64) -> Result<Tensor> {
        let explain = explain("diff");
        if self.rank() == 0 {
            return Err(explain(Error::shape("rank 0 has no neighbours")));
        }
        let at = wrap_dim(dim, self.rank()).map_err(explain)?;
        let mut out = self.clone();
        for _ in 0..n {
            let last = out.shape()[at] as i64 - 1;
            if last < 0 {
                break;
            }
            let (low, high) = (out.narrow(dim, 0, last)?, out.narrow(dim, 1, last)?);
            out = if out.dtype() == DType::Bool { high.logical_xor(&low)? } else { high.sub(&low)? };
        }
        Ok(out)
    }

    /// What pairs lack to be `margin` apart in the order that `target` (1 or -1) says.
    #[track_caller]
    pub fn margin_ranking_loss(
        &self,
        other: &Tensor,
        target: &Tensor,
        margin: f64,
        reduction: &str,
    ) -> Result<Tensor> {
        let (a, b, t) = (Arg::Tensor(self), Arg::Tensor(other), Arg::Tensor(target));
        bind1(&super::MARGIN_RANKING_LOSS, &[a, b, t, Arg::Float(margin), Arg::Str(reduction)])
    }

    /// The value where `target` is 1, and what it lacks to `margin` where it is -1.
    #[track_caller]
    pub fn hinge_embedding_loss(&self, target: &Tensor, margin: f64, reduction: &str) -> Result<Tensor> {
        let (x, t) = (Arg::Tensor(self), Arg::Tensor(target));
        bind1(&super::HINGE_EMBEDDING_LOSS, &[x, t, Arg::Float(margin), Arg::Str(reduction)])
    }
}
