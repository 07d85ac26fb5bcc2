//! The one reverse walk, used by every tape and by the graph's gradient.
//!
//! Records are visited in descending number; contributions to a record's cotangent are added in the order of those
//! visits, which is the same in every mode, so gradients agree bit for bit. The walk is iterative: a chain of a million
//! operations does not recurse.

mod later;
mod sums;

pub use later::{Later, Left, Part, Product};

use crate::error::Result;
use crate::hash::NumberMap;
use crate::tensor::Tensor;
use smallvec::SmallVec;
use std::collections::{HashMap, VecDeque};
use sums::{Place, Sums, accumulate};

/// Cotangents of the outputs of one record; `None` is zero.
pub type Cotangents = SmallVec<[Option<Tensor>; 1]>;

/// Where the gradient of one operand goes.
#[derive(Clone)]
pub enum Edge<R> {
    /// To an output of an earlier record.
    Record(R, u32),
    /// To a leaf, known to the sink by this key.
    Leaf(u64),
    /// Nowhere.
    None,
}

/// A recorded operation.
pub trait Recorded: Clone {
    /// Its number: ascending in the order of recording, unique in one walk.
    fn number(&self) -> u64;
    /// Number of its outputs.
    fn outputs(&self) -> usize;
    /// Where the gradient of a tensor operand (lists flattened) goes.
    fn edge(&self, operand: usize) -> Edge<Self>;
    /// The gradients of the tensor operands, in their order, but for those left to the walk.
    fn vjp(&self, cotangents: &Cotangents, later: &Later) -> Result<SmallVec<[Option<Tensor>; 3]>>;
}

/// Records that have received a contribution, in ascending order of their numbers, with their cotangents.
///
/// A walk delivers mostly near the young end (operands were made just before their use) or, where a program went level by
/// level, at the old end; a deque inserts at either for the price of a move.
struct Pending<R>(VecDeque<(u64, R, Cotangents)>);

impl<R: Recorded> Pending<R> {
    /// The cotangents of a record.
    fn of(&mut self, record: R) -> &mut Cotangents {
        let number = record.number();
        let at = match self.0.back() {
            None => Err(0),
            Some((youngest, ..)) if *youngest < number => Err(self.0.len()),
            Some(_) => self.0.binary_search_by_key(&number, |(n, ..)| *n),
        };
        let at = at.unwrap_or_else(|at| {
            let empty = match record.outputs() {
                1 => Cotangents::from_buf([None]),
                n => Cotangents::from_elem(None, n),
            };
            if at == self.0.len() {
                self.0.push_back((number, record, empty));
            } else {
                self.0.insert(at, (number, record, empty));
            }
            at
        });
        &mut self.0[at].2
    }
}

/// Walks from the roots (record, output, cotangent) to the leaves. Returns the gradient of every leaf reached, by key.
///
/// `visit` is called with each record and its complete cotangents before its rule runs and may replace them (hooks).
pub fn walk<R: Recorded>(
    roots: impl IntoIterator<Item = (Edge<R>, Tensor)>,
    mut visit: impl FnMut(&R, &mut Cotangents) -> Result<()>,
) -> Result<HashMap<u64, Tensor>> {
    let mut pending: Pending<R> = Pending(VecDeque::new());
    let mut leaves: NumberMap<Option<Tensor>> = NumberMap::default();
    let (later, mut sums) = (Later::default(), Sums::default());
    let deliver = |pending: &mut Pending<R>,
                   leaves: &mut NumberMap<Option<Tensor>>,
                   edge: Edge<R>,
                   gradient: Tensor| {
        match edge {
            Edge::None => Ok(()),
            Edge::Leaf(key) => accumulate(leaves.entry(key).or_default(), gradient),
            Edge::Record(record, output) => accumulate(&mut pending.of(record)[output as usize], gradient),
        }
    };
    for (edge, cotangent) in roots {
        deliver(&mut pending, &mut leaves, edge, cotangent)?;
    }
    while let Some((number, record, mut cotangents)) = pending.0.pop_back() {
        if sums.waiting() {
            for (output, slot) in cotangents.iter_mut().enumerate() {
                sums.finish(Place::Record(number, output as u32), slot)?;
            }
        }
        visit(&record, &mut cotangents)?;
        let gradients = record.vjp(&cotangents, &later)?;
        for (operand, gradient) in gradients.into_iter().enumerate() {
            if let Some(gradient) = gradient {
                deliver(&mut pending, &mut leaves, record.edge(operand), gradient)?;
            }
        }
        if later.is_empty() {
            continue;
        }
        for (operand, left) in later.take() {
            let (place, slot) = match record.edge(operand) {
                Edge::None => continue,
                Edge::Leaf(key) => (Place::Leaf(key), leaves.entry(key).or_default()),
                Edge::Record(record, output) => {
                    let place = Place::Record(record.number(), output);
                    (place, &mut pending.of(record)[output as usize])
                }
            };
            match left {
                Left::Part(part) => sums.part(place, slot, &part)?,
                Left::Product(product) => sums.product(place, slot, product)?,
            }
        }
    }
    for key in sums.waiting_leaves() {
        sums.finish(Place::Leaf(key), leaves.entry(key).or_default())?;
    }
    Ok(leaves.into_iter().filter_map(|(key, gradient)| Some((key, gradient?))).collect())
}
