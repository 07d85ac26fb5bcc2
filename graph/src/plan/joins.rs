//! Values that are computed where a `cat` puts them, so that joining them costs no copy.
//!
//! A part is the output of an element-wise launch in the cat's own block: such a launch writes through any layout. Or it is
//! another cat, if it lies there without gaps; its own parts are then computed there too. A part must
//! have the cat's element type, stand in one cat and there once, and leave no block, since what leaves may be written to by
//! others. Of a cat all of whose parts are found nothing is launched; the copies of the others remain. The joined buffer
//! lives from the first part on.

use super::Place;
use super::emit::Emitter;
use crate::ir::{BlockId, Graph, Node, NodeKind, Operand, ValueId};
use crate::stack;
use runtime::error::Result;
use runtime::infer::wrap_dim;
use runtime::ops;
use runtime::table::{Effect, Lower};
use std::collections::{HashMap, HashSet};

/// Where a part lies in a cat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    whole: ValueId,
    dim: usize,
    start: usize,
    length: usize,
    /// Whether its elements follow each other.
    dense: bool,
}

/// A row of a part that does not follow the last one in memory has at least this many elements: shorter ones cost a loop
/// more than their copy.
const ROW: usize = 16;

/// The parts of all cats of a graph.
pub(super) fn find(graph: &Graph) -> HashMap<ValueId, Part> {
    let mut found = HashMap::new();
    blocks(graph, graph.body, &mut found);
    found
}

fn blocks(graph: &Graph, block: BlockId, found: &mut HashMap<ValueId, Part>) {
    let results: HashSet<ValueId> = graph.block(block).results.iter().copied().collect();
    let (mut computed, mut cats): (HashSet<ValueId>, HashSet<ValueId>) = Default::default();
    for &id in &graph.block(block).nodes {
        let node = graph.node(id);
        for (value, part) in parts(graph, node).unwrap_or_default() {
            let fits = computed.contains(&value) || (part.dense && cats.contains(&value));
            if fits && !results.contains(&value) {
                found.entry(value).or_insert(part);
            }
        }
        if is_loop(node) {
            computed.extend(&node.outputs);
        } else if node.is(&ops::CAT) {
            cats.extend(&node.outputs);
        }
        if matches!(node.kind, NodeKind::If | NodeKind::While) {
            node.blocks.iter().for_each(|&inner| blocks(graph, inner, found));
        }
    }
}

/// Whether a node is one loop over the elements of its outputs.
fn is_loop(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Fused => true,
        NodeKind::Op(op) => matches!((op.effect, &op.lower), (Effect::Pure, Lower::Map(_))),
        _ => false,
    }
}

/// The operands of a cat that may lie in its output.
fn parts(graph: &Graph, node: &Node) -> Option<Vec<(ValueId, Part)>> {
    let Some(Operand::Values(list)) = node.operands.first().filter(|_| node.is(&ops::CAT)) else {
        return None;
    };
    let whole = node.outputs[0];
    let ty = graph.tensor_type(whole).ok()?;
    let dims = ty.dims()?;
    let dim = wrap_dim(node.host(1).as_arg().int().unwrap_or(0), dims.len()).ok()?;
    let outer: usize = dims[..dim].iter().product();
    let mut start = 0;
    let mut out = Vec::new();
    for &value in list {
        let part = graph.tensor_type(value).ok()?;
        let extents = part.dims()?;
        if extents.len() != dims.len() {
            continue;
        }
        let length = extents[dim];
        let row: usize = extents[dim..].iter().product();
        let once = list.iter().filter(|&&v| v == value).count() == 1;
        if once && part.dtype == ty.dtype && row > 0 && (outer == 1 || row >= ROW) && !stack::is(part) {
            out.push((value, Part { whole, dim, start, length, dense: outer == 1 }));
        }
        start += length;
    }
    Some(out)
}

impl Emitter<'_> {
    /// The place of a value in the cat that it is part of.
    pub(super) fn joined(&mut self, value: ValueId) -> Result<Option<Place>> {
        let Some(Part { whole, dim, start, length, .. }) = self.parts.get(&value).copied() else {
            return Ok(None);
        };
        let place = match self.reserved.get(&whole) {
            Some(place) => place.clone(),
            None => {
                let ty = self.graph.tensor_type(whole)?;
                let place = match self.joined(whole)? {
                    Some(place) => place,
                    None => self.draft.fresh(ty.dtype, &ty.constant_dims()?),
                };
                self.reserved.insert(whole, place.clone());
                place
            }
        };
        let layout = place.layout.slice(dim, start, length, 1);
        Ok(Some(Place { layout, ..place }))
    }
}
