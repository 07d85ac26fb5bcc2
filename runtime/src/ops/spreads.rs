//! Methods about pairs of rows and about spread: cdist, pdist, dist, cov, corrcoef, renorm, bilinear; integrals and
//! derivatives of sampled functions: trapezoid, cumulative_trapezoid, gradient.

use super::join::explain;
use crate::error::{Error, Result};
use crate::infer::wrap_dim;
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;

/// Where a function was sampled.
#[derive(Clone, Copy, Debug)]
pub enum Spacing<'a> {
    /// At steps of this length.
    Steps(f64),
    /// At the places that a vector holds.
    Places(&'a Tensor),
}

impl Spacing<'_> {
    /// `f` of the same places in float32.
    fn in_float32<T>(self, f: impl FnOnce(Spacing) -> Result<T>) -> Result<T> {
        match self {
            Spacing::Steps(step) => f(Spacing::Steps(step)),
            Spacing::Places(x) => f(Spacing::Places(&x.to(DType::F32)?)),
        }
    }
}

impl Tensor {
    /// The norm of order `p` of the difference.
    #[track_caller]
    pub fn dist(&self, other: &Tensor, p: f64) -> Result<Tensor> {
        self.sub(other)?.norm(p, &[], false)
    }

    /// Distances of order `p` between every row of [..., n, m] and every row of [..., r, m]: [..., n, r].
    #[track_caller]
    pub fn cdist(&self, other: &Tensor, p: f64) -> Result<Tensor> {
        let explain = explain("cdist");
        let (Some(m), Some(own)) = (self.shape().last(), other.shape().last()) else {
            return Err(explain(Error::shape("rank 0 has no rows")));
        };
        if self.rank() < 2 || other.rank() < 2 || m != own {
            let what = format!("{:?} and {:?} are no rows of one length", self.shape(), other.shape());
            return Err(explain(Error::shape(what)));
        }
        if p < 0.0 {
            return Err(explain(Error::value(format!("the order must not be negative, got {p}"))));
        }
        let apart = self.unsqueeze(-2)?.sub(&other.unsqueeze(-3)?)?;
        if *m == 0 { apart.sum(&[-1], false) } else { apart.norm(p, &[-1], false) }
    }

    /// Distances of order `p` between the rows of a matrix, each pair once, the first row's pairs first.
    #[track_caller]
    pub fn pdist(&self, p: f64) -> Result<Tensor> {
        let [n, _] = *self.shape() else {
            return Err(explain("pdist")(Error::shape(format!("{:?} is not a matrix", self.shape()))));
        };
        if p < 0.0 {
            return Err(explain("pdist")(Error::value(format!("the order must not be negative, got {p}"))));
        }
        let pairs = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i as i64, j as i64)));
        let (first, second): (Vec<i64>, Vec<i64>) = pairs.unzip();
        let at = |places: &[i64]| Tensor::from_slice(places, &[places.len()])?.to_device(self.device());
        let apart = self.index_select(0, &at(&first)?)?.sub(&self.index_select(0, &at(&second)?)?)?;
        if self.shape()[1] == 0 { apart.sum(&[-1], false) } else { apart.norm(p, &[-1], false) }
    }

    /// Covariances of the rows of a matrix, whose columns are observations. `fweights` counts an observation several
    /// times, `aweights` weighs it.
    #[track_caller]
    pub fn cov(
        &self,
        correction: i64,
        fweights: Option<&Tensor>,
        aweights: Option<&Tensor>,
    ) -> Result<Tensor> {
        let explain = explain("cov");
        if self.rank() > 2 || self.dtype() == DType::Bool {
            let what = format!("{} is no matrix of numbers", self.tensor_type());
            return Err(explain(if self.rank() > 2 { Error::shape(what) } else { Error::dtype(what) }));
        }
        let rows = if self.rank() < 2 { self.reshape(&[1, -1])? } else { self.clone() };
        let n = rows.shape()[1];
        for (name, weights) in [("fweights", fweights), ("aweights", aweights)] {
            let Some(w) = weights else { continue };
            if w.rank() > 1 {
                return Err(explain(Error::shape(format!("{name} must be a vector, got {:?}", w.shape()))));
            }
            if w.dtype().is_float() != (name == "aweights") {
                return Err(explain(Error::dtype(format!("{name} cannot be {}", w.dtype()))));
            }
            if w.shape() != [n] {
                let what = format!("{name} of shape {:?} for {n} observations", w.shape());
                return Err(explain(Error::shape(what)));
            }
            // A traced weight has no values to look at.
            if w.traced().is_none() && w.lt(0i64)?.any(&[], false)?.item()?.to_f64() != 0.0 {
                return Err(explain(Error::value(format!("{name} must not be negative"))));
            }
        }
        let weights = match (fweights, aweights) {
            (Some(f), Some(a)) => Some(f.mul(a)?),
            (one, other) => one.or(other).cloned(),
        };
        let count = match &weights {
            Some(w) => w.sum(&[], false)?,
            None => Tensor::full(&[], n as i64, DType::I64, self.device())?,
        };
        let total = match &weights {
            Some(w) => rows.mul(w)?,
            None => rows.clone(),
        };
        let centred = rows.sub(&total.sum(&[1], true)?.div(&count)?)?;
        let rest = match (&weights, aweights) {
            (Some(w), Some(a)) if correction != 0 => {
                w.mul(a)?.sum(&[], false)?.div(&count)?.mul(correction)?
            }
            _ => Tensor::full(&[], correction, DType::I64, self.device())?,
        };
        let freedom = count.sub(&rest)?.clamp(0i64, Arg::None)?;
        let weighed = match &weights {
            Some(w) => centred.mul(w)?,
            None => centred.clone(),
        };
        let out = centred.matmul(&weighed.to(centred.dtype())?.t()?)?.div(&freedom)?;
        if rows.shape()[0] == 1 { out.reshape(&[]) } else { Ok(out) }
    }

    /// Correlations of the rows of a matrix.
    #[track_caller]
    pub fn corrcoef(&self) -> Result<Tensor> {
        if self.dtype().is_narrow() {
            return self.to(DType::F32)?.corrcoef()?.to(self.dtype());
        }
        let spread = self.cov(1, None, None)?;
        if spread.rank() == 0 {
            return spread.div(&spread);
        }
        let deviation = spread.diagonal(0, 0, 1)?.sqrt()?;
        let out = spread.div(&deviation.unsqueeze(1)?)?.div(&deviation.unsqueeze(0)?)?;
        out.clamp(-1.0, 1.0)
    }

    /// Each part along `dim` brought to a norm of order `p` of at most `maxnorm`.
    #[track_caller]
    pub fn renorm(&self, p: f64, dim: i64, maxnorm: f64) -> Result<Tensor> {
        let explain = explain("renorm");
        if self.rank() < 2 {
            return Err(explain(Error::shape(format!("{:?} has fewer than two dimensions", self.shape()))));
        }
        let at = wrap_dim(dim, self.rank()).map_err(explain)?;
        if p <= 0.0 || maxnorm < 0.0 {
            let what = format!("the order {p} must be positive and the norm {maxnorm} not negative");
            return Err(explain(Error::value(what)));
        }
        let others: Vec<i64> = (0..self.rank()).filter(|&d| d != at).map(|d| d as i64).collect();
        let wide = if self.dtype().is_narrow() { self.to(DType::F32)? } else { self.clone() };
        let length = wide.norm(p, &others, true)?;
        let shrink = length.add(1e-7)?.reciprocal()?.mul(maxnorm)?;
        let one = length.ones_like(None)?;
        let factor = length.gt(maxnorm)?.select_where(&shrink, &one)?;
        self.mul(&factor.to(self.dtype())?)
    }

    /// x weight_o y + bias_o for each o, over the last dimensions: [..., a] and [..., b] with [o, a, b] give [..., o].
    #[track_caller]
    pub fn bilinear(&self, other: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let product = Tensor::einsum("...a,oab,...b->...o", &[self.clone(), weight.clone(), other.clone()])
            .map_err(explain("bilinear"))?;
        bias.map_or(Ok(product.clone()), |b| product.add(b))
    }

    /// The integral along `dim` by the trapezoid rule.
    #[track_caller]
    pub fn trapezoid(&self, spacing: Spacing, dim: i64) -> Result<Tensor> {
        if self.dtype().is_narrow() {
            let wide = self.to(DType::F32)?;
            return spacing.in_float32(|s| wide.trapezoid(s, dim))?.to(self.dtype());
        }
        if self.rank() > 0 && self.size(dim)? == 0 {
            return self.sum(&[dim], false)?.mul(1.0);
        }
        let (areas, scale) = self.areas(spacing, dim, "trapezoid")?;
        areas.sum(&[dim], false)?.mul(scale)
    }

    /// The running integral along `dim` by the trapezoid rule.
    #[track_caller]
    pub fn cumulative_trapezoid(&self, spacing: Spacing, dim: i64) -> Result<Tensor> {
        let (areas, scale) = self.areas(spacing, dim, "cumulative_trapezoid")?;
        areas.cumsum(dim)?.mul(scale)
    }

    /// Areas between neighbours, but for a factor.
    fn areas(&self, spacing: Spacing, dim: i64, name: &'static str) -> Result<(Tensor, f64)> {
        let explain = explain(name);
        if self.rank() == 0 {
            return Err(explain(Error::shape("rank 0 has no neighbours")));
        }
        let n = self.size(dim)? as i64 - 1;
        let sums = self.narrow(dim, 1, n.max(0))?.add(&self.narrow(dim, 0, n.max(0))?)?;
        match spacing {
            Spacing::Steps(step) => Ok((sums, step / 2.0)),
            Spacing::Places(x) if x.rank() == 0 => Err(explain(Error::shape("places must not be of rank 0"))),
            Spacing::Places(x) => {
                let (at, along) = (wrap_dim(dim, self.rank())?, x.rank() == 1);
                let own = if along { x.numel() } else { x.size(dim).unwrap_or(0) };
                if own as i64 != n + 1 && own != 1 {
                    let what = format!("{own} places for {} values", n + 1);
                    return Err(explain(Error::shape(what).at_dim(at as isize)));
                }
                let apart = x.diff(1, if along { 0 } else { dim })?;
                let after = vec![1; if along { self.rank() - 1 - at } else { 0 }];
                let shape: Vec<i64> = apart.shape().iter().map(|&n| n as i64).chain(after).collect();
                Ok((sums.mul(&apart.reshape(&shape)?)?, 0.5))
            }
        }
    }

    /// The derivative along `dim`: second-order differences inside, of order `edge_order` (1 or 2) at the edges.
    #[track_caller]
    pub fn gradient(&self, spacing: Spacing, dim: i64, edge_order: i64) -> Result<Tensor> {
        if self.dtype().is_narrow() {
            let wide = self.to(DType::F32)?;
            return spacing.in_float32(|s| wide.gradient(s, dim, edge_order))?.to(self.dtype());
        }
        let explain = explain("gradient");
        let at = wrap_dim(dim, self.rank()).map_err(explain)?;
        let n = self.shape().get(at).map_or(0, |&n| n as i64);
        if !(1..=2).contains(&edge_order) {
            return Err(explain(Error::value(format!("edge_order must be 1 or 2, got {edge_order}"))));
        }
        if n < edge_order + 1 {
            let what = format!("{n} samples are too few for edge_order {edge_order}");
            return Err(explain(Error::shape(what).at_dim(at as isize)));
        }
        // Weights of three neighbours, for unequal steps h before and k after the middle one.
        let places = match spacing {
            Spacing::Places(x) if x.shape() == [n as usize] => Some(x.diff(1, 0)?),
            Spacing::Places(x) => {
                let what = format!("places of shape {:?} for {n} samples", x.shape());
                return Err(explain(Error::shape(what).at_dim(at as isize)));
            }
            Spacing::Steps(_) => None,
        };
        let tail: Vec<i64> = vec![1; self.rank() - 1 - at];
        let step = |from: i64, count: i64| -> Result<Tensor> {
            match (&places, spacing) {
                (Some(x), _) => {
                    let part = x.narrow(0, from, count)?;
                    part.reshape(&[&[count], &tail[..]].concat())
                }
                (None, Spacing::Steps(h)) => {
                    let dtype = if self.dtype().is_float() { self.dtype() } else { DType::F32 };
                    Tensor::full(&[], h, dtype, self.device())
                }
                (None, Spacing::Places(_)) => Err(Error::internal("places of gradient")),
            }
        };
        let y = |from: i64, count: i64| self.narrow(dim, from, count);
        let three = |from: i64, count: i64, weights: [Tensor; 3]| -> Result<Tensor> {
            let [a, b, c] = weights;
            y(from, count)?.mul(&a)?.add(&y(from + 1, count)?.mul(&b)?)?.add(&y(from + 2, count)?.mul(&c)?)
        };
        let mut parts = Vec::new();
        let edge = |from: i64, last: bool| -> Result<Tensor> {
            let (h, k) = (step(from, 1)?, step(from + 1, 1)?);
            let sum = h.add(&k)?;
            let weights = if last {
                let (a, c) = (k.div(&h.mul(&sum)?)?, k.mul(2.0)?.add(&h)?.div(&k.mul(&sum)?)?);
                [a, sum.div(&h.mul(&k)?)?.neg()?, c]
            } else {
                let (a, c) = (h.mul(2.0)?.add(&k)?.div(&h.mul(&sum)?)?.neg()?, h.div(&k.mul(&sum)?)?.neg()?);
                [a, sum.div(&h.mul(&k)?)?, c]
            };
            three(from, 1, weights)
        };
        let slope = |from: i64| y(from + 1, 1)?.sub(&y(from, 1)?)?.div(&step(from, 1)?);
        parts.push(if edge_order == 1 { slope(0)? } else { edge(0, false)? });
        if n > 2 {
            parts.push(match spacing {
                Spacing::Steps(h) => y(2, n - 2)?.sub(&y(0, n - 2)?)?.div(2.0 * h)?,
                Spacing::Places(_) => {
                    let (h, k) = (step(0, n - 2)?, step(1, n - 2)?);
                    let sum = h.add(&k)?;
                    let b = k.sub(&h)?.div(&h.mul(&k)?)?;
                    three(0, n - 2, [k.div(&h.mul(&sum)?)?.neg()?, b, h.div(&k.mul(&sum)?)?])?
                }
            });
        }
        parts.push(if edge_order == 1 { slope(n - 2)? } else { edge(n - 3, true)? });
        Tensor::cat(&parts, dim)
    }
}
