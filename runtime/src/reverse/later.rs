//! Gradients that a rule need not compute whole, because a walk can add less than them to a sum: a part of an operand has
//! zeros around it, and a product of two thin factors is larger than both.
//!
//! A rule that is offered a `Later` may leave such a gradient there and give none itself. It is offered where nobody else
//! sees single gradients: not under a recording, not where they are to be differentiated again, not where they are searched
//! for NaN.

use crate::error::Result;
use crate::ops;
use crate::run;
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::Dims;
use smallvec::SmallVec;
use std::cell::RefCell;

/// Gradients left to the walk, each with its operand.
#[derive(Default)]
pub struct Later(RefCell<SmallVec<[(usize, Left); 2]>>);

/// A gradient left to the walk.
pub enum Left {
    /// Zeros but for a part.
    Part(Part),
    /// A product, left as its factors. Sums of such products are one product, so this reassociates.
    Product(Product),
}

/// Zeros of `dims` with `gradient` from `start` along `dim`.
pub struct Part {
    /// What is not zero; of the same rank.
    pub gradient: Tensor,
    /// Extents of the whole.
    pub dims: Dims,
    /// The dimension along which it is a part.
    pub dim: usize,
    /// Where it begins.
    pub start: usize,
}

/// `left`ᵀ `right`, of shapes [k, m] and [k, n].
pub struct Product {
    /// The factor that is transposed.
    pub left: Tensor,
    /// The other.
    pub right: Tensor,
}

impl Later {
    /// Leaves the gradient of flattened tensor operand `operand`.
    pub fn leave(&self, operand: usize, left: Left) {
        self.0.borrow_mut().push((operand, left));
    }

    /// What has been left, which goes.
    #[inline]
    pub(super) fn take(&self) -> SmallVec<[(usize, Left); 2]> {
        std::mem::take(&mut *self.0.borrow_mut())
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

impl Part {
    /// The gradient as one tensor.
    pub fn whole(&self) -> Result<Tensor> {
        let sizes: SmallVec<[i64; 6]> = self.dims.iter().map(|&n| n as i64).collect();
        let place = [self.dim, self.start, 1].map(|n| Arg::Int(n as i64));
        let args = [Arg::Tensor(&self.gradient), Arg::Ints(&sizes), place[0], place[1], place[2]];
        crate::door::bind1(&ops::SLICE_BACKWARD, &args)
    }

    /// Where it ends along its dimension.
    pub(super) fn end(&self) -> usize {
        self.start + self.gradient.shape()[self.dim]
    }

    /// Adds it to a whole, where this lies.
    pub(super) fn add_to(&self, sum: &Tensor) -> Result<()> {
        let place = part_of(sum, self.dim, self.start, self.end())?;
        run::run_in_place(&ops::ADD, &[Arg::Tensor(&place), Arg::Tensor(&self.gradient)])
    }
}

/// A view of some places along one dimension, without history.
pub(super) fn part_of(whole: &Tensor, dim: usize, start: usize, end: usize) -> Result<Tensor> {
    whole.with_layout(whole.layout().slice(dim, start, end - start, 1))
}
