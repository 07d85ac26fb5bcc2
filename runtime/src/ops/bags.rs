//! embedding_bag: sums, means or maxima of an embedding's rows, bag by bag.

use super::join::explain;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;

/// What `embedding_bag` makes of a bag, besides the indices.
#[derive(Clone, Copy, Debug)]
pub struct Bags<'a> {
    /// Where each bag starts in a vector of indices; none where the rows of a matrix of indices are the bags.
    pub offsets: Option<&'a Tensor>,
    /// "sum", "mean" or "max".
    pub mode: &'a str,
    /// A factor for each index, for sums only.
    pub per_sample_weights: Option<&'a Tensor>,
    /// Whether the last offset is the number of indices instead of a bag's start.
    pub include_last_offset: bool,
    /// Rows of this index do not count and get no gradient.
    pub padding_idx: Option<i64>,
}

impl Tensor {
    /// This matrix's rows at `indices`, reduced bag by bag: [bags, columns]. A bag without rows is zero.
    #[track_caller]
    pub fn embedding_bag(&self, indices: &Tensor, bags: Bags) -> Result<Tensor> {
        let explain = explain("embedding_bag");
        let [rows, columns] = *self.shape() else {
            return Err(explain(Error::shape(format!(
                "a table of rows is a matrix, got {:?}",
                self.shape()
            ))));
        };
        if !matches!(bags.mode, "sum" | "mean" | "max") {
            let what = format!("mode must be 'sum', 'mean' or 'max', got '{}'", bags.mode);
            return Err(explain(Error::value(what)));
        }
        if bags.per_sample_weights.is_some() && bags.mode != "sum" {
            return Err(explain(Error::value(format!("weights are for sums, not for '{}'", bags.mode))));
        }
        if let Some(w) = bags.per_sample_weights
            && w.shape() != indices.shape()
        {
            let what = format!("weights of shape {:?} for indices of {:?}", w.shape(), indices.shape());
            return Err(explain(Error::shape(what)));
        }
        let whole = |from: usize, to: usize| {
            Tensor::arange(from as i64, to as i64, 1i64, Some(DType::I64), self.device())
        };
        let n = indices.numel();
        let (count, owner) = match (indices.shape(), bags.offsets) {
            (&[count, each], None) => (count, whole(0, count)?.repeat_interleave(each as i64, Some(0))?),
            ([_], Some(offsets)) if offsets.rank() == 1 => {
                let count = offsets.numel().saturating_sub(usize::from(bags.include_last_offset));
                let starts = offsets.narrow(0, 0, count as i64)?;
                let begun = whole(0, n)?.unsqueeze(1)?.ge(&starts)?;
                (count, begun.sum(&[1], false)?.sub(1i64)?)
            }
            (shape, offsets) => {
                let what = match offsets {
                    Some(o) => format!("indices of {shape:?} with offsets of {:?}", o.shape()),
                    None => format!("indices of {shape:?} without offsets"),
                };
                let hint = "a vector of indices takes a vector of offsets, a matrix takes none";
                return Err(explain(Error::shape(what).hint(hint)));
            }
        };
        let flat = indices.reshape(&[-1])?;
        let padding = bags.padding_idx.map(|p| if p < 0 { p + rows as i64 } else { p });
        let keep = match padding {
            Some(p) => flat.ne(p)?,
            None => Tensor::ones(&[n], DType::Bool, self.device())?,
        };
        let mut taken = self.index_select(0, &flat)?;
        // Products and sums of narrow types are kept in float32; a maximum has no need of it.
        if bags.mode != "max" {
            taken = taken.to(taken.dtype().accumulator())?;
        }
        if let Some(w) = bags.per_sample_weights {
            taken = taken.mul(&w.to(taken.dtype())?.reshape(&[-1, 1])?)?;
        }
        let skipped = keep.logical_not()?.unsqueeze(1)?;
        let taken = taken.masked_fill(&skipped, 0.0)?;
        if bags.mode == "max" {
            let own = owner.unsqueeze(0)?.eq(&whole(0, count)?.unsqueeze(1)?)?.logical_and(&keep)?;
            if n == 0 {
                return Tensor::zeros(&[count, columns], self.dtype(), self.device());
            }
            let each =
                taken.unsqueeze(0)?.masked_fill(&own.logical_not()?.unsqueeze(2)?, f64::NEG_INFINITY)?;
            let nothing = own.any(&[1], true)?.logical_not()?;
            return each.max_along(1, false)?.0.masked_fill(&nothing, 0.0);
        }
        let mut out = Tensor::zeros(&[count, columns], taken.dtype(), self.device())?;
        out = out.index_add(0, &owner, &taken, Arg::None)?;
        if bags.mode == "mean" {
            let sizes = Tensor::zeros(&[count], DType::I64, self.device())?;
            let sizes = sizes.index_add(0, &owner, &keep.to(DType::I64)?, Arg::None)?;
            out = out.div(&sizes.clamp(1i64, Arg::None)?.unsqueeze(1)?)?;
        }
        out.to(self.dtype())
    }
}
