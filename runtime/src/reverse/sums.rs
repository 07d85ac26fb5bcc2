//! Sums of gradients: whole ones, parts, and products of thin factors.
//!
//! Parts are added where they lie, with the bits that adding them whole would give. What a whole adds around its part is
//! +0, which changes nothing but -0, to +0. A sum can be -0 only where no contribution so far was such a zero; these places
//! are known (`Signed`), so that they can be mended when a part leaves them out.

use super::later::{Part, Product, part_of};
use crate::door;
use crate::error::Result;
use crate::hash::WordHasher;
use crate::ops;
use crate::run;
use crate::tensor::Tensor;
use crate::value::Arg;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

/// Adds a contribution to what has come before.
pub(super) fn accumulate(slot: &mut Option<Tensor>, contribution: Tensor) -> Result<()> {
    *slot = Some(match slot.take() {
        None => contribution,
        Some(sum) if alone(&sum) && sum.layout().shape == contribution.layout().shape => {
            run::run_in_place(&ops::ADD, &[Arg::Tensor(&sum), Arg::Tensor(&contribution)])?;
            sum
        }
        Some(sum) => sum.add(&contribution)?,
    });
    Ok(())
}

/// Whether nobody but the walk can see a sum, so that it may grow where it lies: nobody records it, and nobody else holds
/// its memory. The bits are those of a new tensor.
fn alone(sum: &Tensor) -> bool {
    !door::in_scope()
        && !door::grad_enabled()
        && sum.handles() == 1
        && sum.storage().is_ok_and(|s| s.handles() == 1)
        && sum.is_contiguous()
}

/// Whose gradient a sum is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// That of a leaf.
    Leaf(u64),
    /// That of an output of a record.
    Record(u64, u32),
}

/// Where a sum may be -0: a superset, along one dimension.
#[derive(Clone, Copy)]
enum Signed {
    Everywhere,
    Within { dim: usize, start: usize, end: usize },
    Nowhere,
}

impl Signed {
    fn of(part: &Part) -> Signed {
        Signed::Within { dim: part.dim, start: part.start, end: part.end() }
    }
}

/// A map from places.
type Places<V> = HashMap<Place, V, BuildHasherDefault<WordHasher>>;

/// What is known of the sums of a walk beside their elements.
#[derive(Default)]
pub(super) struct Sums {
    signed: Places<Signed>,
    factors: Places<Factors>,
}

/// Factors of products that one sum is to get.
#[derive(Default)]
struct Factors {
    left: Vec<Tensor>,
    right: Vec<Tensor>,
    terms: usize,
}

impl Sums {
    /// Adds a part.
    pub(super) fn part(&mut self, place: Place, slot: &mut Option<Tensor>, part: &Part) -> Result<()> {
        let Some(sum) = slot else {
            *slot = Some(part.whole()?);
            self.signed.insert(place, Signed::of(part));
            return Ok(());
        };
        let signed = self.signed.entry(place).or_insert(Signed::Everywhere);
        if alone(sum) {
            match *signed {
                Signed::Nowhere => return part.add_to(sum),
                Signed::Within { dim, start, end } if dim == part.dim => {
                    if part.start <= start && end <= part.end() {
                        return part.add_to(sum);
                    }
                    if part.end() <= start || end <= part.start {
                        let left_out = part_of(sum, dim, start, end)?;
                        run::run_in_place(&ops::ADD, &[Arg::Tensor(&left_out), Arg::Float(0.0)])?;
                        *signed = Signed::Nowhere;
                        return part.add_to(sum);
                    }
                }
                Signed::Within { .. } | Signed::Everywhere => {}
            }
        }
        *signed = match *signed {
            Signed::Nowhere => Signed::Nowhere,
            Signed::Everywhere | Signed::Within { .. } => Signed::of(part),
        };
        accumulate(slot, part.whole()?)
    }

    /// Adds a product: its factors wait until they are as large as it.
    pub(super) fn product(
        &mut self,
        place: Place,
        slot: &mut Option<Tensor>,
        product: Product,
    ) -> Result<()> {
        let (k, m, n) = (product.left.shape()[0], product.left.shape()[1], product.right.shape()[1]);
        let factors = self.factors.entry(place).or_default();
        factors.terms += k;
        factors.left.push(product.left);
        factors.right.push(product.right);
        if factors.terms * (m + n) >= m * n { self.finish(place, slot) } else { Ok(()) }
    }

    /// Adds what waits for a sum.
    pub(super) fn finish(&mut self, place: Place, slot: &mut Option<Tensor>) -> Result<()> {
        match self.factors.remove(&place) {
            Some(factors) => accumulate(slot, factors.product()?),
            None => Ok(()),
        }
    }

    /// Whether products wait for any sum.
    #[inline]
    pub(super) fn waiting(&self) -> bool {
        !self.factors.is_empty()
    }

    /// The leaves for which products wait.
    pub(super) fn waiting_leaves(&self) -> Vec<u64> {
        let leaf = |place: &Place| if let Place::Leaf(key) = place { Some(*key) } else { None };
        self.factors.keys().filter_map(leaf).collect()
    }
}

impl Factors {
    fn product(&self) -> Result<Tensor> {
        let joined = |list: &[Tensor]| match list {
            [one] => Ok(one.clone()),
            _ => Tensor::cat(list, 0),
        };
        joined(&self.left)?.transpose(0, 1)?.matmul(&joined(&self.right)?)
    }
}
