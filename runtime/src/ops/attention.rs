//! Attention of many heads (torch's multi_head_attention_forward): projections in, attention by head, projection out.

use super::join::explain;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;

/// The weights that queries, keys and values are multiplied with before they are attended to.
#[derive(Clone, Copy)]
pub enum Projection<'a> {
    /// Those of all three, one below the other: [3 embed_dim, embed_dim].
    Packed(&'a Tensor),
    /// Each its own, so that keys and values may be of other widths.
    Separate([&'a Tensor; 3]),
}

/// What attention of many heads takes beside queries, keys and values.
#[derive(Clone, Copy)]
pub struct Heads<'a> {
    /// The width of queries.
    pub embed_dim: i64,
    /// How many heads share it.
    pub count: i64,
    /// The projections in.
    pub weights: Projection<'a>,
    /// Their biases [3 embed_dim].
    pub biases: Option<&'a Tensor>,
    /// One more key and one more value, the same for all: [1, 1, embed_dim].
    pub more: [Option<&'a Tensor>; 2],
    /// One more key and value of zeros.
    pub more_zeros: bool,
    /// Keys and values [batch heads, sources, embed_dim / heads] instead of projected ones.
    pub fixed: [Option<&'a Tensor>; 2],
    /// Probability with which a weight is dropped.
    pub dropout: f64,
    /// The projection out.
    pub out_weight: &'a Tensor,
    /// Its bias.
    pub out_bias: Option<&'a Tensor>,
    /// Keys that are not attended to [batch, sources]: true, or what is added to their scores.
    pub padding: Option<&'a Tensor>,
    /// Pairs that are not attended to [queries, sources] or [batch heads, queries, sources], said like `padding`.
    pub mask: Option<&'a Tensor>,
    /// `mask` hides the keys after a query; without weights and padding it need not be looked at.
    pub causal: bool,
    /// Whether to return the weights beside the result.
    pub need_weights: bool,
    /// Whether to return their mean over the heads.
    pub average_weights: bool,
}

/// Narrow types are widened once and rounded once.
fn wide(t: &Tensor) -> Result<Tensor> {
    if matches!(t.dtype(), DType::F16 | DType::BF16) { t.to(DType::F32) } else { Ok(t.clone()) }
}

/// A mask as what is added to scores: -inf where it is true.
fn added(mask: &Tensor, name: &str, dtype: DType) -> Result<Tensor> {
    match mask.dtype() {
        d if d.is_float() => wide(mask),
        DType::Bool => mask.zeros_like(Some(dtype))?.masked_fill(mask, f64::NEG_INFINITY),
        other => Err(Error::dtype(format!("{name} must be bool or float, got {other}"))),
    }
}

/// One column more, in which nothing is hidden.
fn one_more(mask: Option<Tensor>) -> Result<Option<Tensor>> {
    mask.map(|m| m.pad(&[0, 1], "constant", Arg::None)).transpose()
}

fn same(what: &str, got: &[usize], wanted: &[usize]) -> Result<()> {
    match got == wanted {
        true => Ok(()),
        false => Err(Error::shape(format!("{what} must have the shape {wanted:?}, got {got:?}"))),
    }
}

impl Heads<'_> {
    /// Queries, keys and values after their projections.
    fn projected(&self, given: [&Tensor; 3]) -> Result<[Tensor; 3]> {
        let part = |t: &Tensor, i: usize| t.narrow(0, i as i64 * self.embed_dim, self.embed_dim);
        let one = |i: usize| -> Result<Tensor> {
            let bias = self.biases.map(|b| part(b, i)).transpose()?;
            let weight = match self.weights {
                Projection::Packed(all) => part(all, i)?,
                Projection::Separate(each) => each[i].clone(),
            };
            let bias = bias.map(|b| wide(&b)).transpose()?;
            given[i].linear(&wide(&weight)?, bias.as_ref())
        };
        Ok([one(0)?, one(1)?, one(2)?])
    }

    /// The tensors of the queries' type.
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let weights: &[&Tensor] = match &self.weights {
            Projection::Packed(all) => std::slice::from_ref(all),
            Projection::Separate(each) => each,
        };
        let optional = [self.biases, self.more[0], self.more[1], self.fixed[0], self.fixed[1], self.out_bias];
        weights.iter().copied().chain(optional.into_iter().flatten()).chain([self.out_weight])
    }

    fn check(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<()> {
        let (queries, embed, sources) = (query.shape()[0], query.shape()[2], key.shape()[0]);
        if embed as i64 != self.embed_dim {
            return Err(Error::shape(format!("queries of width {embed}, expected {}", self.embed_dim)));
        }
        if self.count < 1 || self.embed_dim % self.count != 0 {
            return Err(Error::value(format!("a width of {embed} does not fall into {} heads", self.count)));
        }
        let alike = match self.weights {
            Projection::Packed(w) => {
                same("the packed weights", w.shape(), &[3 * embed, embed])?;
                key.shape() == value.shape()
            }
            Projection::Separate(_) => key.shape()[..2] == value.shape()[..2],
        };
        if !alike {
            return Err(Error::shape(format!("keys {key:?} do not match values {value:?}")));
        }
        if let Some(b) = self.biases {
            same("the biases", b.shape(), &[3 * embed])?;
        }
        let rows = query.shape()[1] * self.count as usize;
        match self.mask.map(Tensor::shape) {
            Some(shape @ [_, _]) => same("the mask", shape, &[queries, sources])?,
            Some(shape) => same("the mask", shape, &[rows, queries, sources])?,
            None if self.causal => {
                return Err(Error::value("a causal attention needs its mask too")
                    .hint("ones(n, n).triu(1) as bool hides the keys after a query"));
            }
            None => {}
        }
        let [key, value] = self.more;
        if key.is_some() != value.is_some() {
            return Err(Error::value("one more key needs one more value"));
        }
        for fixed in self.fixed.into_iter().flatten() {
            if key.is_some() {
                return Err(Error::value("nothing is added to fixed keys and values"));
            }
            let n = fixed.shape().get(1).copied().unwrap_or(0);
            same("fixed keys and values", fixed.shape(), &[rows, n, embed / self.count as usize])?;
        }
        Ok(())
    }

    /// The attention of batched operands.
    fn attend(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        self.check(query, key, value)?;
        let (queries, batch) = (query.shape()[0] as i64, query.shape()[1] as i64);
        let (width, rows) = (self.embed_dim / self.count, batch * self.count);
        let (narrow, given) = (query.dtype(), [query, key, value]);
        let mut others = given.into_iter().chain(self.tensors());
        if let Some(t) = others.find(|t| t.dtype() != narrow) {
            return Err(Error::dtype(format!("{} beside queries of {narrow}", t.dtype())));
        }
        let [query, key, value] = [wide(query)?, wide(key)?, wide(value)?];
        let dtype = query.dtype();
        let mut padding = self.padding.map(|m| added(m, "key_padding_mask", dtype)).transpose()?;
        // Without weights to return the flag says what the mask would.
        let causal = self.causal && padding.is_none() && !self.need_weights;
        let mask = self.mask.filter(|_| !causal).map(|m| added(m, "attn_mask", dtype)).transpose()?;
        let mut mask = mask.map(|m| if m.rank() == 2 { m.unsqueeze(0) } else { Ok(m) }).transpose()?;
        let [q, mut k, mut v] = self.projected([&query, &key, &value])?;
        if let [Some(key), Some(value)] = self.more {
            let all = |t: &Tensor| wide(t)?.expand(&[1, batch as usize, self.embed_dim as usize]);
            (k, v) = (Tensor::cat(&[k, all(key)?], 0)?, Tensor::cat(&[v, all(value)?], 0)?);
            (mask, padding) = (one_more(mask)?, one_more(padding)?);
        }
        let split = |t: &Tensor| t.reshape(&[t.shape()[0] as i64, rows, width])?.transpose(0, 1);
        let q = split(&q)?;
        k = self.fixed[0].map_or_else(|| split(&k), wide)?;
        v = self.fixed[1].map_or_else(|| split(&v), wide)?;
        if self.more_zeros {
            let zeros = Tensor::zeros(&[rows as usize, 1, width as usize], dtype, query.device())?;
            (k, v) = (Tensor::cat(&[k, zeros.clone()], 1)?, Tensor::cat(&[v, zeros], 1)?);
            (mask, padding) = (one_more(mask)?, one_more(padding)?);
        }
        let sources = k.shape()[1];
        if let Some(padding) = padding {
            same("key_padding_mask", padding.shape(), &[batch as usize, sources])?;
            let each = padding.reshape(&[batch, 1, 1, sources as i64])?;
            let each = each.expand(&[batch as usize, self.count as usize, 1, sources])?;
            let each = each.reshape(&[rows, 1, sources as i64])?;
            mask = Some(mask.map_or(Ok(each.clone()), |m| m.add(&each))?);
        }
        let (found, weights) = if self.need_weights || self.dropout > 0.0 {
            let scores = q.mul((1.0 / width as f64).sqrt())?.bmm(&k.transpose(-2, -1)?)?;
            let scores = mask.map_or(Ok(scores.clone()), |m| scores.add(&m))?;
            let scores = if causal { scores.add(&self.after_query(&scores)?)? } else { scores };
            let weights = scores.softmax(-1)?.dropout(self.dropout, true)?;
            (weights.bmm(&v)?, Some(weights))
        } else {
            let heads = |t: &Tensor| t.reshape(&[batch, self.count, t.shape()[1] as i64, width]);
            let mask = mask.map(|m| match m.shape()[0] {
                1 => m.unsqueeze(0),
                _ => m.reshape(&[batch, self.count, m.shape()[1] as i64, sources as i64]),
            });
            let mask = mask.transpose()?;
            let (q, k, v) = (heads(&q)?, heads(&k)?, heads(&v)?);
            let found = q.scaled_dot_product_attention(&k, &v, mask.as_ref(), causal, None)?;
            (found.reshape(&[rows, queries, width])?, None)
        };
        let joined = found.transpose(0, 1)?.reshape(&[queries, batch, self.embed_dim])?;
        let bias = self.out_bias.map(wide).transpose()?;
        let out = joined.linear(&wide(self.out_weight)?, bias.as_ref())?.to(narrow)?;
        let weights = weights.filter(|_| self.need_weights);
        let weights = weights.map(|w| -> Result<Tensor> {
            let w = w.reshape(&[batch, self.count, queries, sources as i64])?;
            if self.average_weights { w.mean(&[1], false)?.to(narrow) } else { w.to(narrow) }
        });
        Ok((out, weights.transpose()?))
    }

    /// What hides the keys after each query of scores.
    fn after_query(&self, scores: &Tensor) -> Result<Tensor> {
        let dims = [scores.shape()[1], scores.shape()[2]];
        let after = Tensor::ones(&dims, DType::Bool, scores.device())?.triu(1)?;
        added(&after, "mask", scores.dtype())
    }
}

impl Tensor {
    /// Attention of many heads: these queries [queries, batch, embed_dim] (or without the batch), projected and split among
    /// the heads, weigh the values by softmax(q k^T / sqrt(width) + masks); what the heads find is projected out. Beside
    /// it the weights [batch, heads, queries, sources], or their mean over the heads, where they are wanted.
    #[track_caller]
    pub fn multi_head_attention(
        &self,
        key: &Tensor,
        value: &Tensor,
        heads: &Heads,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let explain = explain("multi_head_attention");
        let rank = self.rank();
        if !matches!(rank, 2 | 3) || key.rank() != rank || value.rank() != rank {
            let what =
                format!("queries, keys and values are all batched or not, got {self:?}, {key:?}, {value:?}");
            return Err(explain(Error::shape(what)));
        }
        for (name, mask, ranks) in
            [("key_padding_mask", heads.padding, [rank - 1; 2]), ("attn_mask", heads.mask, [2, 3])]
        {
            if let Some(m) = mask.filter(|m| !ranks.contains(&m.rank())) {
                let what = format!("{name} of rank {} beside queries of rank {rank}", m.rank());
                return Err(explain(Error::shape(what)));
            }
        }
        if rank == 3 {
            return heads.attend(self, key, value).map_err(explain);
        }
        let padding = heads.padding.map(|m| m.unsqueeze(0)).transpose()?;
        let heads = Heads { padding: padding.as_ref(), ..*heads };
        let [query, key, value] = [self, key, value].map(|t| t.unsqueeze(1));
        let (out, weights) = heads.attend(&query?, &key?, &value?).map_err(explain)?;
        Ok((out.squeeze(1)?, weights.map(|w| w.squeeze(0)).transpose()?))
    }
}
