//! What stands in brackets after a tensor: integers, slices, new dimensions, an ellipsis, masks and tensors of places, in
//! any mixture, read and written as in torch.
//!
//! Integers, slices and new dimensions are views. Tensors come after them: their dimensions take the place of the first of
//! them where they are neighbours, else they come first.

use super::rules::ints;
use crate::door;
use crate::error::{Error, Origin, Result};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;

/// One entry of an index.
#[derive(Clone, Debug)]
pub enum Index {
    /// The slice at a place; the dimension goes.
    At(i64),
    /// Every step-th slice from start to end.
    Slice(Option<i64>, Option<i64>, i64),
    /// A new dimension of extent 1.
    New,
    /// As many whole dimensions as are missing.
    Ellipsis,
    /// Places along one dimension, or a bool mask of several.
    Places(Tensor),
    /// A new dimension of extent 1 (true) or 0.
    Truth(bool),
}

/// A view and, for each of its dimensions, the places that index it.
struct Resolved {
    view: Tensor,
    places: Vec<Option<Tensor>>,
}

fn resolve(x: &Tensor, index: &[Index]) -> Result<Resolved> {
    let taken: usize = index
        .iter()
        .map(|i| match i {
            Index::At(_) | Index::Slice(..) => 1,
            Index::New | Index::Ellipsis | Index::Truth(_) => 0,
            Index::Places(t) if matches!(t.dtype(), DType::Bool | DType::U8) => t.rank(),
            Index::Places(_) => 1,
        })
        .sum();
    if taken > x.rank() {
        return Err(Error::index(format!("{taken} indices for a tensor of rank {}", x.rank())));
    }
    let (mut view, mut places) = (x.clone(), Vec::new());
    for entry in index {
        let dim = places.len() as i64;
        match entry {
            Index::At(i) => view = view.select(dim, *i)?,
            Index::Slice(start, end, step) => {
                if *step < 1 {
                    return Err(Error::value(format!("a slice's step must be positive, got {step}")));
                }
                view = view.slice(dim, *start, *end, *step)?;
                places.push(None);
            }
            Index::New => {
                view = view.unsqueeze(dim)?;
                places.push(None);
            }
            Index::Ellipsis => places.extend((0..x.rank() - taken).map(|_| None)),
            Index::Truth(on) => {
                view = view.unsqueeze(dim)?;
                places.push(Some(Tensor::zeros(&[*on as usize], DType::I64, x.device())?));
            }
            Index::Places(t) => match t.dtype() {
                DType::Bool | DType::U8 if t.rank() == 0 => {
                    let on = t.item()?.to_bool();
                    view = view.unsqueeze(dim)?;
                    places.push(Some(Tensor::zeros(&[on as usize], DType::I64, x.device())?));
                }
                DType::Bool | DType::U8 => {
                    let extents = &view.shape()[places.len()..places.len() + t.rank()];
                    if extents != t.shape() {
                        return Err(Error::index(format!(
                            "a mask {t:?} does not fit the extents {extents:?}"
                        )));
                    }
                    places.extend(t.nonzero_tuple()?.into_iter().map(Some));
                }
                DType::I32 | DType::I64 => places.push(Some(t.clone())),
                other => {
                    return Err(Error::index(format!("an index must hold integers or bool, got {other}")));
                }
            },
        }
    }
    places.resize(view.rank(), None);
    Ok(Resolved { view, places })
}

impl Resolved {
    /// The view with the indexed dimensions first, what indexes them, and where they belong in the result.
    fn front(&self) -> Result<(Tensor, Vec<Tensor>, usize)> {
        let (some, none): (Vec<i64>, Vec<i64>) =
            (0..self.places.len() as i64).partition(|&d| self.places[d as usize].is_some());
        let neighbours = some.windows(2).all(|p| p[1] == p[0] + 1);
        let at = if neighbours { some.first().map_or(0, |&d| d as usize) } else { 0 };
        let order: Vec<i64> = some.into_iter().chain(none).collect();
        let sorted = order.windows(2).all(|p| p[0] < p[1]);
        let view = if sorted { self.view.clone() } else { self.view.permute(&order)? };
        Ok((view, self.places.iter().flatten().cloned().collect(), at))
    }
}

/// The rank of indices after broadcasting.
fn common_rank(places: &[Tensor]) -> usize {
    places.iter().map(Tensor::rank).max().unwrap_or(0)
}

impl Tensor {
    /// A copy in which values that are the same at every place of a mask of the leading dimensions stand where it is true,
    /// or are added there; `None` where there is a value for each place. However many are true, the host looks at none.
    pub(super) fn put_where(
        &self,
        mask: &Tensor,
        values: &Tensor,
        accumulate: bool,
    ) -> Result<Option<Tensor>> {
        let rest = self.rank().saturating_sub(mask.rank());
        let fits =
            self.shape().starts_with(mask.shape()) && mask.rank() > 0 && values.dtype() == self.dtype();
        let extra = values.rank().saturating_sub(rest);
        if !fits || extra > 1 || values.shape()[..extra] != [1usize][..extra] {
            return Ok(None);
        }
        let values = values.reshape(&ints(&values.shape()[extra..]))?.expand(&self.shape()[mask.rank()..])?;
        let mut dims = ints(mask.shape());
        dims.extend((0..rest).map(|_| 1));
        let put = match (accumulate, self.dtype()) {
            (false, _) => values,
            (true, DType::Bool) => self.logical_or(&values)?,
            (true, _) => self.add(&values)?,
        };
        mask.to(DType::Bool)?.reshape(&dims)?.select_where(&put, self).map(Some)
    }

    /// Writes values at the places that index tensors of the leading dimensions name, masks among them, as torch's
    /// `index_put`.
    #[track_caller]
    pub fn put_at(&self, indices: &[Tensor], values: &Tensor, accumulate: bool) -> Result<Tensor> {
        let is_mask = |t: &Tensor| matches!(t.dtype(), DType::Bool | DType::U8);
        if let [mask] = indices
            && is_mask(mask)
            && let Some(out) = self.put_where(mask, values, accumulate)?
        {
            return Ok(out);
        }
        let mut places = Vec::new();
        for t in indices {
            match is_mask(t) {
                true => places.extend(t.nonzero_tuple()?),
                false => places.push(t.clone()),
            }
        }
        self.index_put(&places, values, accumulate)
    }

    /// What an index in brackets names: a view, unless it holds tensors.
    #[track_caller]
    pub fn at(&self, index: &[Index]) -> Result<Tensor> {
        let found = resolve(self, index)?;
        if found.places.iter().all(Option::is_none) {
            // Something new in any case: an in-place write to the result must be one to a view.
            return if index.is_empty() { self.reshape(&ints(self.shape())) } else { Ok(found.view) };
        }
        let (view, places, at) = found.front()?;
        let out = view.index(&places)?;
        let new = common_rank(&places);
        if at == 0 {
            return Ok(out);
        }
        // [named..., before..., after...] to [before..., named..., after...].
        let rank = out.rank() as i64;
        let (new, at) = (new as i64, at as i64);
        let order: Vec<i64> = (new..new + at).chain(0..new).chain(new + at..rank).collect();
        out.permute(&order)
    }

    /// Writes `value`, which broadcasts, over what an index in brackets names.
    #[track_caller]
    pub fn set_at(&self, index: &[Index], value: &Tensor) -> Result<()> {
        let origin = Origin::caller();
        let value = value.to(self.dtype())?;
        if let [Index::Places(mask)] = index
            && matches!(mask.dtype(), DType::Bool | DType::U8)
            && let Some(new) = self.put_where(mask, &value, false)?
        {
            return door::mutate(&super::COPY, &[Arg::Tensor(self), Arg::Tensor(&new)], origin);
        }
        let found = resolve(self, index)?;
        // Leading dimensions of extent 1 that the place lacks do not count.
        let fitted = |dims: &[usize]| -> Result<Tensor> {
            let extra = value.rank().saturating_sub(dims.len());
            match value.shape()[..extra].iter().all(|&n| n == 1) {
                true => value.reshape(&ints(&value.shape()[extra..])),
                false => Ok(value.clone()),
            }
        };
        if found.places.iter().all(Option::is_none) {
            let value = fitted(found.view.shape())?.expand(found.view.shape())?;
            return door::mutate(&super::COPY, &[Arg::Tensor(&found.view), Arg::Tensor(&value)], origin);
        }
        let (view, places, at) = found.front()?;
        let new = common_rank(&places);
        let mut dims: Vec<usize> = view.index(&places)?.shape().to_vec();
        let value = if at == 0 {
            fitted(&dims)?
        } else {
            dims[..new + at].rotate_left(new);
            let order = (at..at + new).chain(0..at).chain(at + new..dims.len());
            fitted(&dims)?.expand(&dims)?.permute(&order.map(|d| d as i64).collect::<Vec<_>>())?
        };
        let args = [Arg::Tensor(&view), Arg::Tensors(&places), Arg::Tensor(&value)];
        door::mutate(&super::INDEX_PUT, &args, origin)
    }
}
