//! In-place writes through views.
//!
//! A view's elements are its base's. A write through the view gives the base a new history, a splice of the elements before
//! and the operation's result; every other view takes its history anew from the base when it is next looked at (the
//! version of the memory says that it must).

use crate::engine::own_history;
use crate::node::{Edge, Links, Node, Rule};
use kernels::Layout;
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::shared::Shared;
use runtime::table::{Effect, Gradients};
use runtime::{DeviceId, Tensor};
use smallvec::{SmallVec, smallvec};

/// Which elements of a base a view shows.
pub(crate) struct Region {
    base: Layout,
    view: Layout,
    device: DeviceId,
}

impl Region {
    fn new(base: &Tensor, view: &Tensor) -> Box<Region> {
        Box::new(Region { base: base.layout().clone(), view: view.layout().clone(), device: base.device() })
    }

    /// For each element of the view, its position among the base's elements, both in row-major order.
    fn positions(&self) -> Result<Vec<i64>> {
        let mut at = vec![-1i64; self.base.end() - self.base.offset.min(self.base.end())];
        for (index, place) in places(&self.base).enumerate() {
            at[place - self.base.offset] = index as i64;
        }
        places(&self.view)
            .map(|place| {
                let found = place.checked_sub(self.base.offset).and_then(|i| at.get(i));
                found
                    .copied()
                    .filter(|&i| i >= 0)
                    .ok_or_else(|| Error::internal("a view shows more than its base"))
            })
            .collect()
    }

    fn on_device(&self, positions: &[i64]) -> Result<Tensor> {
        Tensor::from_slice(positions, &[positions.len()])?.to_device(self.device)
    }

    /// The gradient of the base of a view with gradient `dy`.
    pub(crate) fn part_gradient(&self, dy: &Tensor) -> Result<Tensor> {
        let index = self.on_device(&self.positions()?)?;
        let flat = Tensor::zeros(&[self.base.numel()], dy.dtype(), dy.device())?;
        flat.index_add(0, &index, &dy.reshape(&[-1])?, 1i64)?.reshape(&extents(&self.base))
    }

    /// The gradients of the base before a write and of what was written, for the gradient `dy` of the base after it.
    pub(crate) fn splice_gradients(&self, dy: &Tensor, needs: u64) -> Result<Gradients> {
        let positions = self.positions()?;
        let flat = dy.reshape(&[-1])?;
        let before = match needs & 1 {
            0 => None,
            _ => {
                let mut written = vec![false; self.base.numel()];
                positions.iter().for_each(|&i| written[i as usize] = true);
                let mask = Tensor::from_slice(&written, &[written.len()])?.to_device(self.device)?;
                Some(flat.masked_fill(&mask, 0.0)?.reshape(&extents(&self.base))?)
            }
        };
        let result = flat.index_select(0, &self.on_device(&positions)?)?.reshape(&extents(&self.view))?;
        Ok(smallvec![before, Some(result)])
    }
}

fn extents(layout: &Layout) -> SmallVec<[i64; 6]> {
    layout.shape.iter().map(|&n| n as i64).collect()
}

/// The positions of a layout's elements in their buffer, in row-major order.
fn places(layout: &Layout) -> impl Iterator<Item = usize> {
    (0..layout.numel()).map(|mut index| {
        let mut place = layout.offset as isize;
        for (&extent, &stride) in layout.shape.iter().zip(&layout.strides).rev() {
            place += (index % extent) as isize * stride;
            index /= extent;
        }
        place as usize
    })
}

/// The history of a view of `base`: its own, or a part of the base's if the memory has been written to since.
#[inline(never)]
pub(crate) fn history(view: &Tensor, base: &Tensor) -> Edge {
    let own = own_history(view);
    let through = own_history(base);
    let fresh = match (&own, &through) {
        (Edge::Leaf(_), _) | (_, Edge::None | Edge::Leaf(_)) => true,
        (Edge::None, Edge::Node(..)) => false,
        (Edge::Node(node, _), Edge::Node(..)) => node.view_version == view.version(),
    };
    if fresh {
        return own;
    }
    let origin = match &through {
        Edge::Node(node, _) => node.origin,
        Edge::None | Edge::Leaf(_) => Origin::caller(),
    };
    let rule = Rule::Part(Region::new(base, view));
    let node = Node::new(rule, Links::of(smallvec![through]), std::slice::from_ref(view), 0, origin);
    view.set_slot(Some(node.clone().into()));
    Edge::Node(node, 0)
}

/// Whether `target` may be written to in place while its write is recorded.
pub(crate) fn check_target(target: &Tensor) -> Result<()> {
    let Some(base) = target.base() else { return Ok(()) };
    let of_leaf = match own_history(base) {
        Edge::Leaf(_) => true,
        Edge::Node(..) => false,
        // The leaf may itself be a view of memory without a history.
        Edge::None => leads_to_leaf(own_history(target)),
    };
    if of_leaf {
        return Err(Error::new(
            ErrorKind::InPlace,
            "a view of a leaf tensor that requires grad is being used in an in-place operation",
        )
        .hint("update it under no_grad(), or write into a copy"));
    }
    Ok(())
}

/// Whether only views lie between a tensor and a leaf.
fn leads_to_leaf(mut edge: Edge) -> bool {
    loop {
        edge = match edge {
            Edge::None => return false,
            Edge::Leaf(_) => return true,
            Edge::Node(node, _) => match (&node.rule, node.edges.first()) {
                (Rule::Op(op), Some(before)) if matches!(op.effect, Effect::View(_)) => before.clone(),
                _ => return false,
            },
        }
    }
}

/// After a write through the view `target` that `node` recorded: the new history of its base.
pub(crate) fn splice(target: &Tensor, node: &Shared<Node>, origin: Origin) {
    let Some(base) = target.base() else { return };
    let edges = smallvec![own_history(base), Edge::Node(node.clone(), 0)];
    let rule = Rule::Splice(Region::new(base, target));
    base.set_slot(Some(Node::new(rule, Links::of(edges), std::slice::from_ref(base), 0, origin).into()));
}
