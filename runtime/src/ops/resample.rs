//! Images at other sizes: F.interpolate in every mode, and F.grid_sample. Each output element is a weighted sum of a few
//! inputs along each dimension, so both are choices of places and products.
//!
//! Positions are computed in f32, or in f64 for f64 and bytes, as PyTorch does: which neighbour a tie falls to depends on
//! it. Bytes are rounded after each dimension.

use super::rules::{float_only, ints};
use crate::error::{Error, Origin, Result};
use crate::tensor::Tensor;
use kernels::DType;
use smallvec::SmallVec;

/// What an output size follows from.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The extents themselves.
    Size(&'a [i64]),
    /// Factors of the input's extents.
    Scale(&'a [f64]),
}

/// Arithmetic in the type of positions.
#[derive(Clone, Copy)]
struct Positions {
    double: bool,
}

impl Positions {
    fn round(self, v: f64) -> f64 {
        if self.double { v } else { f64::from(v as f32) }
    }

    /// Input places per output place.
    fn scale(self, n: usize, out: usize, factor: Option<f64>, corners: bool) -> f64 {
        self.round(match (corners, factor) {
            (true, _) if out > 1 => (n as f64 - 1.0) / (out as f64 - 1.0),
            (true, _) => 0.0,
            (false, Some(factor)) if factor > 0.0 => 1.0 / factor,
            (false, _) => n as f64 / out as f64,
        })
    }

    fn source(self, scale: f64, o: usize, corners: bool) -> f64 {
        match corners {
            true => self.round(scale * o as f64),
            false => self.round(self.round(scale * self.round(o as f64 + 0.5)) - 0.5),
        }
    }

    /// The cubic convolution's weights of the four neighbours of a point `t` behind the second.
    fn cubic(self, t: f64) -> [f64; 4] {
        const A: f64 = -0.75;
        let r = |v: f64| self.round(v);
        let near = |x: f64| r(r(r(r((A + 2.0) * x) - (A + 3.0)) * x) * x) + 1.0;
        let far = |x: f64| r(r(r(r(r(A * x) - 5.0 * A) * x) + 8.0 * A) * x) - 4.0 * A;
        [r(far(r(t + 1.0))), r(near(t)), r(near(r(1.0 - t))), r(far(r(2.0 - t)))]
    }
}

/// A neighbour of every output place, and its weight.
type Neighbour = (Vec<i64>, Vec<f64>);

/// The neighbours of each output place in a mode with weights.
fn neighbours(
    at: Positions,
    cubic: bool,
    n: usize,
    out: usize,
    factor: Option<f64>,
    corners: bool,
) -> Vec<Neighbour> {
    let scale = at.scale(n, out, factor, corners);
    let last = n as i64 - 1;
    let mut found: Vec<Neighbour> = vec![Default::default(); if cubic { 4 } else { 2 }];
    for o in 0..out {
        let source = at.source(scale, o, corners);
        if cubic {
            let floor = source.floor();
            for (k, w) in at.cubic(at.round(source - floor)).into_iter().enumerate() {
                found[k].0.push((floor as i64 + k as i64 - 1).clamp(0, last));
                found[k].1.push(w);
            }
            continue;
        }
        let source = if n == out { o as f64 } else { source.max(0.0) };
        let low = (source as i64).min(last);
        let part = at.round(source - low as f64).clamp(0.0, 1.0);
        found[0].0.push(low);
        found[0].1.push(at.round(1.0 - part));
        found[1].0.push((low + 1).min(last));
        found[1].1.push(part);
    }
    found
}

/// Weights of bytes are whole numbers, as many binary digits of them as leave the largest below 2^15; returns the number
/// that stands for 1. Neighbours of one place are one before they are rounded (PyTorch's rule).
fn whole_weights(found: &mut [Neighbour]) -> f64 {
    for k in 1..found.len() {
        let (before, rest) = found.split_at_mut(k);
        let (places, weights) = &mut rest[0];
        for (o, place) in places.iter().enumerate() {
            if let Some(same) = before.iter_mut().find(|b| b.0[o] == *place) {
                same.1[o] += weights[o];
                weights[o] = 0.0;
            }
        }
    }
    let largest = found.iter().flat_map(|n| &n.1).fold(0.0f64, |a, &w| a.max(w));
    let mut one = 1.0;
    while one < 4194304.0 && (largest * 2.0 * one + 0.5).floor() < 32768.0 {
        one *= 2.0;
    }
    found.iter_mut().flat_map(|n| &mut n.1).for_each(|w| *w = (*w * one).round());
    one
}

/// The nearest input of each output place.
fn nearest(exact: bool, n: usize, out: usize, factor: Option<f64>) -> Vec<i64> {
    let at = Positions { double: false };
    let scale = at.scale(n, out, factor, false);
    let place = |o: usize| match (n == out, out == 2 * n) {
        (true, _) => o as i64,
        (false, true) => (o / 2) as i64,
        (false, false) => {
            let o = if exact { at.round(o as f64 + 0.5) } else { o as f64 };
            (at.round(o * scale).floor() as i64).min(n as i64 - 1)
        }
    };
    (0..out).map(place).collect()
}

/// A list along `dim` of a value of this rank.
fn laid_along<T: kernels::Element>(x: &Tensor, dim: usize, list: &[T]) -> Result<Tensor> {
    let mut shape = vec![1; x.rank()];
    shape[dim] = list.len();
    Tensor::from_slice(list, &shape)?.to_device(x.device())
}

fn chosen(x: &Tensor, dim: usize, places: &[i64]) -> Result<Tensor> {
    x.index_select(dim as i64, &Tensor::from_slice(places, &[places.len()])?.to_device(x.device())?)
}

impl Tensor {
    /// An image [batch, channels, ...] at another size: mode "nearest", "nearest-exact", "linear" (of rank 3; "bilinear" of
    /// rank 4, "trilinear" of rank 5), "bicubic" or "area". With `corners` the outermost elements keep their places; with
    /// `recompute` factors count by the sizes that they lead to.
    #[track_caller]
    pub fn interpolate(
        &self,
        target: Target,
        mode: &str,
        corners: Option<bool>,
        recompute: bool,
    ) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("interpolate").at(origin);
        let n = self.rank().saturating_sub(2);
        let wanted = match mode {
            "nearest" | "nearest-exact" | "area" => {
                if corners.is_some() {
                    let what = format!("align_corners has no meaning in mode '{mode}'");
                    return Err(explain(Error::value(what)));
                }
                n.clamp(1, 3)
            }
            "linear" => 1,
            "bilinear" | "bicubic" => 2,
            "trilinear" => 3,
            other => return Err(explain(Error::value(format!("no mode is called '{other}'")))),
        };
        if n != wanted {
            let what = format!("mode '{mode}' needs an input of rank {}, got {:?}", wanted + 2, self.shape());
            return Err(explain(Error::shape(what)));
        }
        let dims = &self.shape()[2..];
        let spread = |given: usize| match given {
            given if given == 1 || given == n => Ok(()),
            _ => Err(explain(Error::shape(format!("{given} numbers for {n} dimensions")))),
        };
        let (size, factors): (Vec<i64>, Vec<Option<f64>>) = match target {
            Target::Size(size) => {
                spread(size.len())?;
                ((0..n).map(|d| size[d % size.len()]).collect(), vec![None; n])
            }
            Target::Scale(scale) => {
                spread(scale.len())?;
                let factor = |d: usize| scale[d % scale.len()];
                let keep = |d: usize| (!recompute).then(|| factor(d));
                ((0..n).map(|d| (dims[d] as f64 * factor(d)) as i64).collect(), (0..n).map(keep).collect())
            }
        };
        if size.iter().any(|n| *n <= 0) || dims.contains(&0) || self.shape()[1] == 0 {
            let what =
                format!("input and output sizes must be greater than 0, got {:?} and {size:?}", self.shape());
            return Err(explain(Error::shape(what)));
        }
        if mode == "area" {
            return self.adaptive_avg_pool(&size);
        }
        let own = self.dtype();
        if own != DType::U8 {
            float_only(own).map_err(explain)?;
        }
        if mode.starts_with("nearest") {
            // Halves go through f32, in which their gradients are added.
            let mut out = if own.is_float() { self.to(own.accumulator())? } else { self.clone() };
            for d in 0..n {
                let places = nearest(mode == "nearest-exact", dims[d], size[d] as usize, factors[d]);
                out = chosen(&out, d + 2, &places)?;
            }
            return out.to(own);
        }
        // Sums of bytes times whole weights are exact.
        let wide = if own == DType::U8 { DType::F64 } else { own.accumulator() };
        let at = Positions { double: wide == DType::F64 };
        let corners = corners.unwrap_or(false);
        let mut out = self.to(wide)?;
        for d in (0..n).rev() {
            let out_size = size[d] as usize;
            if own == DType::U8 && out_size == dims[d] {
                continue;
            }
            let mut found = neighbours(at, mode == "bicubic", dims[d], out_size, factors[d], corners);
            let one = if own == DType::U8 { whole_weights(&mut found) } else { 1.0 };
            let mut sum: Option<Tensor> = None;
            for (places, weights) in found {
                let weights = laid_along(&out, d + 2, &weights)?.to(wide)?;
                let part = chosen(&out, d + 2, &places)?.mul(&weights)?;
                sum = Some(match sum {
                    Some(sum) => sum.add(&part)?,
                    None => part,
                });
            }
            out = sum.ok_or_else(|| Error::internal("a point without neighbours"))?;
            if own == DType::U8 {
                out = out.add(one / 2.0)?.mul(1.0 / one)?.floor()?.clamp(0.0, 255.0)?;
            }
        }
        out.to(own)
    }

    /// The image [batch, channels, ...] read at the points of a grid [batch, ..., n], whose coordinates are -1 to 1 across
    /// the image, the last dimension's first. Mode "bilinear", "nearest" or (of rank 4) "bicubic"; outside of the image it
    /// reads "zeros", the "border" or a "reflection". With `corners` -1 and 1 are the centres of the outermost elements.
    #[track_caller]
    pub fn grid_sample(&self, grid: &Tensor, mode: &str, outside: &str, corners: bool) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("grid_sample").at(origin);
        let rank = self.rank();
        let n = rank.saturating_sub(2);
        float_only(self.dtype()).map_err(explain)?;
        if grid.dtype() != self.dtype() {
            let what = format!("expected operands of one type, got {} and {}", self.dtype(), grid.dtype());
            return Err(explain(Error::dtype(what)));
        }
        let fits = (n == 2 || n == 3) && grid.rank() == rank && grid.shape()[0] == self.shape()[0];
        if !fits || grid.shape()[rank - 1] != n || self.shape()[1..].contains(&0) {
            let what = format!("an image {:?} cannot be read at points {:?}", self.shape(), grid.shape());
            return Err(explain(Error::shape(what)));
        }
        if !["zeros", "border", "reflection"].contains(&outside) {
            return Err(explain(Error::value(format!("no padding_mode is called '{outside}'"))));
        }
        let known = ["bilinear", "nearest"].contains(&mode) || (mode == "bicubic" && n == 2);
        if !known {
            return Err(explain(Error::value(format!("no mode of rank {rank} is called '{mode}'"))));
        }
        let dims = &self.shape()[2..];
        let (batch, channels) = (self.shape()[0], self.shape()[1]);
        let points: usize = grid.shape()[1..rank - 1].iter().product();
        let flat = self.reshape(&ints(&[batch, channels, dims.iter().product()]))?;
        let mut shape = ints(&[batch, channels]);
        shape.extend(grid.shape()[1..rank - 1].iter().map(|&n| n as i64));
        let reader = Reader { flat, dims, outside, corners, shape: ints(&[batch, 1, points]) };
        // Coordinates in elements, dimension by dimension; the grid's last number is that of the first dimension.
        let coordinates = (0..n)
            .map(|d| {
                let c = grid.select(-1, (n - 1 - d) as i64)?.reshape(&reader.shape)?;
                let extent = dims[d] as f64;
                match corners {
                    true => c.add(1.0)?.mul((extent - 1.0) / 2.0),
                    false => c.add(1.0)?.mul(extent / 2.0)?.sub(0.5),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let found = match mode {
            "bicubic" => reader.cubic(&coordinates)?,
            _ => {
                let inside = coordinates.iter().zip(dims).map(|(c, &n)| reader.inside(c, n));
                reader.linear(&inside.collect::<Result<Vec<_>>>()?, mode == "nearest")?
            }
        };
        found.reshape(&shape)
    }
}

/// An image whose places are laid out as one dimension, and how it is read.
struct Reader<'a> {
    flat: Tensor,
    dims: &'a [usize],
    outside: &'a str,
    corners: bool,
    /// Extents of a coordinate of every point.
    shape: SmallVec<[i64; 6]>,
}

impl Reader<'_> {
    /// A coordinate brought into the image, where the mode asks for that.
    fn inside(&self, c: &Tensor, n: usize) -> Result<Tensor> {
        let last = n as f64 - 1.0;
        match self.outside {
            "border" => c.clamp(0.0, last),
            "reflection" => {
                // The centres or the edges of the outermost elements are mirrors.
                let (low, span) = if self.corners { (0.0, last) } else { (-0.5, n as f64) };
                if span == 0.0 {
                    return c.mul(0.0);
                }
                let away = c.sub(low)?.abs()?;
                let extra = away.fmod(span)?;
                let flips = away.detach()?.div(span)?.floor()?.remainder(2.0)?;
                let back = extra.neg()?.add(span + low)?;
                flips.eq(0.0)?.select_where(&extra.add(low)?, &back)?.clamp(0.0, last)
            }
            _ => Ok(c.clone()),
        }
    }

    /// The elements at whole coordinates; zeros where they are outside.
    fn read(&self, at: &[Tensor]) -> Result<Tensor> {
        let mut place: Option<Tensor> = None;
        let mut within: Option<Tensor> = None;
        for (c, &n) in at.iter().zip(self.dims) {
            let last = n as f64 - 1.0;
            let fits = c.ge(0.0)?.logical_and(&c.le(last)?)?;
            // NaN reads the first place, where it is masked.
            let whole = fits.select_where(c, &c.zeros_like(None)?)?.to(DType::I64)?;
            place = Some(match place {
                Some(p) => p.mul(n as i64)?.add(&whole)?,
                None => whole,
            });
            within = Some(match within {
                Some(w) => w.logical_and(&fits)?,
                None => fits,
            });
        }
        let (Some(place), Some(within)) = (place, within) else {
            return Err(Error::internal("a point without coordinates"));
        };
        let shape = [place.shape()[0], self.flat.shape()[1], place.shape()[2]];
        let values = self.flat.gather(2, &place.expand(&shape)?)?;
        values.masked_fill(&within.logical_not()?, 0.0)
    }

    /// The nearest element, or the mean of the corners around each point by nearness.
    fn linear(&self, at: &[Tensor], nearest: bool) -> Result<Tensor> {
        if nearest {
            let whole = at.iter().map(|c| c.detach()?.round());
            return self.read(&whole.collect::<Result<Vec<_>>>()?);
        }
        let low = at.iter().map(|c| c.detach()?.floor()).collect::<Result<Vec<_>>>()?;
        let parts = at.iter().zip(&low).map(|(c, l)| c.sub(l)).collect::<Result<Vec<_>>>()?;
        let mut sum: Option<Tensor> = None;
        for corner in 0..1usize << at.len() {
            let mut weight: Option<Tensor> = None;
            let mut places = Vec::new();
            for d in 0..at.len() {
                let high = corner >> (at.len() - 1 - d) & 1 == 1;
                places.push(if high { low[d].add(1.0)? } else { low[d].clone() });
                let own = if high { parts[d].clone() } else { parts[d].neg()?.add(1.0)? };
                weight = Some(match weight {
                    Some(w) => w.mul(&own)?,
                    None => own,
                });
            }
            let weight = weight.ok_or_else(|| Error::internal("a point without coordinates"))?;
            let part = self.read(&places)?.mul(&weight)?;
            sum = Some(match sum {
                Some(sum) => sum.add(&part)?,
                None => part,
            });
        }
        sum.ok_or_else(|| Error::internal("a point without corners"))
    }

    /// Cubic convolution of four by four elements; each of them is brought into the image by itself.
    fn cubic(&self, at: &[Tensor]) -> Result<Tensor> {
        const A: f64 = -0.75;
        let low = at.iter().map(|c| c.detach()?.floor()).collect::<Result<Vec<_>>>()?;
        let weights = |d: usize| -> Result<[Tensor; 4]> {
            let t = at[d].sub(&low[d])?;
            let near = |x: &Tensor| x.mul(A + 2.0)?.sub(A + 3.0)?.mul(x)?.mul(x)?.add(1.0);
            // The outer cubics, factored: they vanish at the ends, where sums of large terms would not.
            let back = t.neg()?.add(1.0)?;
            let far = |x: &Tensor, y: &Tensor| y.mul(y)?.mul(x)?.mul(A);
            Ok([far(&t, &back)?, near(&t)?, near(&back)?, far(&back, &t)?])
        };
        let place = |d: usize, k: usize| -> Result<Tensor> {
            self.inside(&low[d].add(k as f64 - 1.0)?, self.dims[d])
        };
        let (rows, columns) = (weights(0)?, weights(1)?);
        let mut sum: Option<Tensor> = None;
        for (i, row) in rows.iter().enumerate() {
            let mut line: Option<Tensor> = None;
            for (j, column) in columns.iter().enumerate() {
                let part = self.read(&[place(0, i)?, place(1, j)?])?.mul(column)?;
                line = Some(match line {
                    Some(line) => line.add(&part)?,
                    None => part,
                });
            }
            let part = line.ok_or_else(|| Error::internal("a row without elements"))?.mul(row)?;
            sum = Some(match sum {
                Some(sum) => sum.add(&part)?,
                None => part,
            });
        }
        sum.ok_or_else(|| Error::internal("a point without rows"))
    }
}
