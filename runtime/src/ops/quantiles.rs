//! Tensor code on sorted elements: quantiles, membership, counts of values.

use super::rules::ints;
use crate::error::{Error, Result};
use crate::infer::{InferArg, promote, wrap_dim};
use crate::tensor::Tensor;
use kernels::{DType, Scalar};

/// Two tensors in their common type.
fn together(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor)> {
    let dtype = promote(&[a, b].map(|t| InferArg::Tensor(t.tensor_type())))?;
    Ok((a.to(dtype)?, b.to(dtype)?))
}

/// The bins of a histogram.
#[derive(Clone, Copy)]
pub enum Bins<'a> {
    /// So many bins of one width between two ends; the data's own ends where they are equal.
    Even(i64, f64, f64),
    /// The edges of the bins.
    Edges(&'a Tensor),
}

/// The ends of a histogram.
enum Range {
    /// Numbers of the host.
    Given(f64, f64),
    /// Of the data, in float64.
    Found(Tensor, Tensor),
}

impl Tensor {
    /// The values below which a part `q` of the elements lies, along `dim` or of all elements; `q` holds numbers in [0, 1],
    /// and its dimension comes first. Between two elements `how` decides: "linear", "lower", "higher", "midpoint",
    /// "nearest". NaN wherever there is one, unless they are skipped.
    #[track_caller]
    pub fn quantile(
        &self,
        q: &Tensor,
        dim: Option<i64>,
        keepdim: bool,
        how: &str,
        skip_nan: bool,
    ) -> Result<Tensor> {
        if !matches!(how, "linear" | "lower" | "higher" | "midpoint" | "nearest") {
            return Err(Error::value(format!(
                "interpolation must be linear, lower, higher, midpoint or nearest, got '{how}'"
            )));
        }
        if self.numel() == 0 {
            return Err(Error::shape("an empty tensor has no quantiles"));
        }
        if !matches!(self.dtype(), DType::F32 | DType::F64) || q.dtype() != self.dtype() {
            return Err(Error::dtype(format!(
                "quantiles take float32 or float64, and q of the same type; got {} and {}",
                self.dtype(),
                q.dtype()
            )));
        }
        if q.rank() > 1 {
            return Err(Error::shape(format!("q must have at most one dimension, got {q:?}")));
        }
        let rank = self.rank();
        let (rows, kept): (Tensor, Vec<usize>) = match dim {
            None => (self.reshape(&[-1])?, vec![1; rank]),
            Some(d) => {
                let at = wrap_dim(d, rank)?;
                let mut kept = self.shape().to_vec();
                if rank > 0 {
                    kept[at] = 1;
                }
                (if rank > 0 { self.movedim(&[d], &[-1])? } else { self.reshape(&[1])? }, kept)
            }
        };
        let sorted = rows.sort(-1, false)?.0;
        let places = rows.quantile_places(q, skip_nan)?;
        let mut index = sorted.shape().to_vec();
        let last = index.len() - 1;
        index[last] = q.numel();
        let at = |place: &Tensor| sorted.gather(-1, &place.to(DType::I64)?.expand(&index)?);
        let low = places.floor()?;
        let found = match how {
            "lower" => at(&low)?,
            "higher" => at(&places.ceil()?)?,
            "nearest" => at(&places.round()?)?,
            _ => {
                let weight = match how {
                    "midpoint" => places.full_like(0.5, None)?,
                    _ => places.sub(&low)?,
                };
                at(&low)?.lerp(&at(&places.ceil()?)?, &weight.expand(&index)?)?
            }
        };
        let found = match skip_nan {
            true => found,
            false => found.masked_fill(&rows.isnan()?.any(&[-1], true)?.expand(&index)?, f64::NAN)?,
        };
        // [.., q] to [q, ..], with the dimension that was reduced as asked for.
        let front = found.movedim(&[-1], &[0])?;
        let mut dims = if q.rank() == 1 { vec![q.numel()] } else { Vec::new() };
        match (keepdim, dim) {
            (true, _) => dims.extend(kept),
            (false, None) => {}
            (false, Some(_)) => dims.extend(&rows.shape()[..last]),
        }
        front.reshape(&ints(&dims))
    }

    /// The places in sorted rows, not whole numbers, of the quantiles.
    fn quantile_places(&self, q: &Tensor, skip_nan: bool) -> Result<Tensor> {
        let q = q.reshape(&[-1])?;
        if !skip_nan {
            let n = self.shape()[self.rank() - 1] as f64;
            // A row with a NaN is NaN whatever its place.
            return q.mul(n - 1.0);
        }
        let count = self.isnan()?.logical_not()?.sum(&[-1], true)?.to(self.dtype())?;
        q.mul(&count.sub(1.0)?)?.clamp(0.0, None::<f64>)
    }

    /// Whether each element is among the `tests`.
    #[track_caller]
    pub fn isin(&self, tests: &Tensor, invert: bool) -> Result<Tensor> {
        let (elements, tests) = together(&self.detach()?, &tests.detach()?)?;
        let found = if tests.numel() == 0 {
            elements.zeros_like(Some(DType::Bool))?
        } else {
            let sorted = tests.reshape(&[-1])?.sort(0, false)?.0;
            let last = sorted.numel() as i64 - 1;
            let place = sorted.searchsorted(&elements, false)?.clamp(None::<i64>, last)?;
            sorted.take(&place)?.eq(&elements)?
        };
        if invert { found.logical_not() } else { Ok(found) }
    }

    /// How often each number from 0 on occurs among these, or the sum of the weights there; at least `least` numbers. The
    /// host reads the greatest number, since it decides the result's shape.
    #[track_caller]
    pub fn bincount(&self, weights: Option<&Tensor>, least: i64) -> Result<Tensor> {
        if self.dtype().is_float() || self.dtype() == DType::Bool {
            return Err(Error::dtype(format!("counted numbers must be integers, got {}", self.dtype())));
        }
        if self.rank() != 1 {
            return Err(Error::shape(format!("expected one dimension, got {self:?}")));
        }
        if least < 0 {
            return Err(Error::value(format!("the least number of bins must not be negative, got {least}")));
        }
        if let Some(w) = weights
            && w.shape() != self.shape()
        {
            return Err(Error::shape(format!("weights {w:?} do not fit {self:?}")));
        }
        let (lowest, highest) = match self.numel() {
            0 => (0, -1),
            _ => (self.amin(&[], false)?.item()?.to_i64(), self.amax(&[], false)?.item()?.to_i64()),
        };
        if lowest < 0 {
            return Err(Error::value(format!("counted numbers must not be negative, got {lowest}")));
        }
        let bins = (highest + 1).max(least) as usize;
        let weights = match weights {
            None => self.ones_like(Some(DType::I64))?,
            Some(w) if w.dtype() == DType::F32 => w.clone(),
            Some(w) => w.to(DType::F64)?,
        };
        let zeros = Tensor::zeros(&[bins], weights.dtype(), self.device())?;
        zeros.scatter_add(0, &self.to(DType::I64)?, &weights)
    }

    /// How many elements lie in each of `bins` equal parts of [low, high]; of the data's own range where both are equal.
    #[track_caller]
    pub fn histc(&self, bins: i64, low: f64, high: f64) -> Result<Tensor> {
        if self.dtype() == DType::Bool {
            return Err(Error::dtype("a histogram of bool is not defined"));
        }
        let x = self.detach()?.reshape(&[-1])?;
        let wide = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let values = if x.dtype().is_float() { x.to(wide)? } else { x.to(DType::F64)? };
        let (low, high, width) = match x.histogram_range(bins, low, high, 1.0)? {
            Range::Given(low, high) => {
                let number = |v: f64| Tensor::full(&[], v, values.dtype(), x.device());
                (number(low)?, number(high)?, number(high - low)?)
            }
            Range::Found(low, high) => {
                let width = high.sub(&low)?.to(values.dtype())?;
                (low.to(values.dtype())?, high.to(values.dtype())?, width)
            }
        };
        let inside = values.ge(&low)?.logical_and(&values.le(&high)?)?;
        let place = values.sub(&low)?.mul(bins)?.div(&width)?.floor()?.clamp(0.0, bins as f64 - 1.0)?;
        let place = inside.select_where(&place, 0.0)?.to(DType::I64)?;
        // Whole numbers in a wide type: a half counts to 2048 only.
        let zeros = Tensor::zeros(&[bins as usize], DType::I64, x.device())?;
        zeros.scatter_add(0, &place, &inside.to(DType::I64)?)?.to(x.dtype())
    }

    /// The ends of a histogram: as they are given, or the least and greatest element; `apart` from one that is both.
    fn histogram_range(&self, bins: i64, low: f64, high: f64, apart: f64) -> Result<Range> {
        if bins < 1 {
            return Err(Error::value(format!("the number of bins must be positive, got {bins}")));
        }
        if low > high || !low.is_finite() || !high.is_finite() {
            return Err(Error::value(format!("[{low}, {high}] is not a finite range")));
        }
        if low < high {
            return Ok(Range::Given(low, high));
        }
        if self.numel() == 0 {
            return Ok(Range::Given(low - apart, high + apart));
        }
        let (low, high) = self.aminmax(None, false)?;
        let (low, high) = (low.to(DType::F64)?, high.to(DType::F64)?);
        // Recorded elements have no values to look at.
        if self.traced().is_none() {
            let ends = [low.item()?.to_f64(), high.item()?.to_f64()];
            if !ends.iter().all(|v| v.is_finite()) {
                return Err(Error::value(format!("the data's range {ends:?} is not finite")));
            }
        }
        let apart = low.eq(&high)?.to(DType::F64)?.mul(apart)?;
        Ok(Range::Found(low.sub(&apart)?, high.add(&apart)?))
    }

    /// A histogram and the edges of its bins: counts or sums of weights, where `density` divided by their sum and by the
    /// widths of the bins.
    #[track_caller]
    pub fn histogram(&self, bins: Bins, weight: Option<&Tensor>, density: bool) -> Result<(Tensor, Tensor)> {
        if let Some(w) = weight
            && w.shape() != self.shape()
        {
            return Err(Error::shape(format!("weights {w:?} do not fit {self:?}")));
        }
        let weight = weight.map(|w| w.reshape(&[-1])).transpose()?;
        let (counts, mut edges) = self.reshape(&[-1, 1])?.histogramdd(&[bins], weight.as_ref(), density)?;
        Ok((counts, edges.remove(0)))
    }

    /// A histogram of points, whose coordinates lie along the last dimension, in as many dimensions; and the edges of the
    /// bins in each. `density` divides by the sum and by the bins' volumes.
    #[track_caller]
    pub fn histogramdd(
        &self,
        bins: &[Bins],
        weight: Option<&Tensor>,
        density: bool,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let dtype = self.dtype();
        if !matches!(dtype, DType::F32 | DType::F64) {
            return Err(Error::dtype(format!("a histogram takes float32 or float64, got {dtype}")));
        }
        let (Some((&axes, points)), true) = (self.shape().split_last(), self.rank() > 1) else {
            return Err(Error::shape(format!("points lie in rows, got {:?}", self.shape())));
        };
        if bins.len() != axes {
            let what = format!("bins in {} dimensions for points of {axes} coordinates", bins.len());
            return Err(Error::shape(what));
        }
        if let Some(w) = weight
            && (w.dtype() != dtype || w.shape() != points)
        {
            return Err(Error::shape(format!("weights {w:?} do not fit {self:?}")));
        }
        let points = self.detach()?.reshape(&[points.iter().product::<usize>() as i64, axes as i64])?;
        let mut all_edges = Vec::new();
        let (mut place, mut inside): (Option<Tensor>, Option<Tensor>) = (None, None);
        for (d, bins) in bins.iter().enumerate() {
            let x = points.select(1, d as i64)?.contiguous()?;
            let edges = x.bin_edges(*bins)?;
            let n = edges.numel() as i64 - 1;
            let (first, last) = (edges.select(0, 0)?, edges.select(0, n)?);
            let within = x.ge(&first)?.logical_and(&x.le(&last)?)?;
            // The last bin has both its ends.
            let own = edges.searchsorted(&x, true)?.sub(1i64)?.clamp(0i64, (n - 1).max(0))?;
            place = Some(match place {
                Some(before) => before.mul(n)?.add(&own)?,
                None => own,
            });
            inside = Some(match inside {
                Some(before) => before.logical_and(&within)?,
                None => within,
            });
            all_edges.push(edges);
        }
        let (Some(place), Some(inside)) = (place, inside) else {
            return Err(Error::shape("points without coordinates"));
        };
        let weights = match weight {
            Some(w) => w.detach()?.reshape(&[-1])?,
            None => Tensor::ones(place.shape(), dtype, self.device())?,
        };
        let extents: Vec<i64> = all_edges.iter().map(|e| e.numel() as i64 - 1).collect();
        let zeros = Tensor::zeros(&[extents.iter().product::<i64>() as usize], dtype, self.device())?;
        let nothing = Scalar::Int(0).to_f64();
        let places = inside.select_where(&place, 0i64)?;
        let mut counts =
            zeros.scatter_add(0, &places, &inside.select_where(&weights, nothing)?)?.reshape(&extents)?;
        if density {
            counts = counts.div(&counts.sum(&[], false)?)?;
            for (d, edges) in all_edges.iter().enumerate() {
                let mut along = vec![1; axes];
                along[d] = -1;
                counts = counts.div(&edges.diff(1, 0)?.reshape(&along)?)?;
            }
        }
        Ok((counts, all_edges))
    }

    /// The edges of a histogram of this vector.
    fn bin_edges(&self, bins: Bins) -> Result<Tensor> {
        let dtype = self.dtype();
        match bins {
            Bins::Edges(edges) if edges.dtype() != dtype => {
                Err(Error::dtype(format!("edges of {} for elements of {dtype}", edges.dtype())))
            }
            Bins::Edges(edges) if edges.rank() != 1 || edges.numel() < 1 => {
                Err(Error::shape(format!("edges must have one dimension, got {edges:?}")))
            }
            Bins::Edges(edges) => Ok(edges.clone()),
            Bins::Even(n, low, high) => {
                // Of nothing torch makes bins of [0, 1].
                let high = if low == high && self.numel() == 0 { low + 1.0 } else { high };
                let (steps, device) = (n as usize + 1, self.device());
                match self.histogram_range(n, low, high, 0.5)? {
                    Range::Given(low, high) => Tensor::linspace(low, high, steps, dtype, device),
                    Range::Found(low, high) => Tensor::linspace_between(&low, &high, steps, dtype),
                }
            }
        }
    }
}
