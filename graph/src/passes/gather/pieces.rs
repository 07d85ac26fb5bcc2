//! Of what a value is a run of elements, and whether runs side by side are all of it.

use super::{Facts, int};
use crate::ir::{NodeId, ValueId};
use runtime::ops;
use std::collections::HashMap;

/// What pieces are of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whole {
    /// A value of the old graph.
    Value(ValueId),
    /// The product that this group becomes.
    Group(usize),
}

/// Knows the rows of members in their group's product.
pub(super) struct Pieces<'a, 'g> {
    facts: &'a Facts<'g>,
    /// For each group the first row of each member, and the number of rows.
    rows: Vec<Vec<usize>>,
    members: HashMap<ValueId, (usize, usize)>,
}

impl<'a, 'g> Pieces<'a, 'g> {
    pub(super) fn new(facts: &'a Facts<'g>, groups: &[Vec<NodeId>]) -> Pieces<'a, 'g> {
        let (mut rows, mut members) = (Vec::new(), HashMap::new());
        for (number, group) in groups.iter().enumerate() {
            let mut starts = vec![0];
            for (i, &id) in group.iter().enumerate() {
                let out = facts.graph.node(id).outputs[0];
                members.insert(out, (number, i));
                starts.push(starts[i] + facts.dims(out).map_or(0, |dims| dims[0]));
            }
            rows.push(starts);
        }
        Pieces { facts, rows, members }
    }

    /// The first row of a member in its group's product.
    pub(super) fn rows(&self, group: usize, member: usize) -> usize {
        self.rows[group][member]
    }

    /// The tensor that values side by side along a dimension are, in order and whole, and their shape.
    pub(super) fn whole(&self, parts: &[ValueId], dim: usize) -> Option<(Whole, Vec<usize>)> {
        let mut shape = self.facts.dims(*parts.first()?)?;
        // Side by side is one after the other in memory.
        if shape[..dim].iter().any(|&n| n != 1) {
            return None;
        }
        let (whole, first) = self.run(parts[0])?;
        let (mut end, mut extent) = (first, 0);
        for &part in parts {
            let dims = self.facts.dims(part)?;
            if self.run(part)? != (whole, end) {
                return None;
            }
            extent += dims[dim];
            end += dims.iter().product::<usize>();
        }
        let all = match whole {
            Whole::Value(v) => self.facts.dims(v)?.iter().product(),
            Whole::Group(group) => {
                let columns = *self.facts.dims(self.product(group)?)?.last()?;
                self.rows[group].last()? * columns
            }
        };
        shape[dim] = extent;
        (first == 0 && end == all).then_some((whole, shape))
    }

    fn product(&self, group: usize) -> Option<ValueId> {
        self.members.iter().find(|(_, place)| place.0 == group).map(|(v, _)| *v)
    }

    /// What a value is a run of, and where the run begins, in elements.
    fn run(&self, mut v: ValueId) -> Option<(Whole, usize)> {
        let mut begin = 0;
        loop {
            if let Some(&(group, i)) = self.members.get(&v) {
                let columns = *self.facts.dims(v)?.last()?;
                return Some((Whole::Group(group), begin + self.rows[group][i] * columns));
            }
            let facts = self.facts;
            if let Some(node) = facts.made_by(v, &ops::SELECT) {
                let base = node.value(0)?;
                let dims = facts.dims(base)?;
                let at = int(node, 2)?;
                let at = usize::try_from(if at < 0 { at + dims[0] as i64 } else { at }).ok()?;
                if int(node, 1)? != 0 {
                    return Some((Whole::Value(v), begin));
                }
                begin += at * dims[1..].iter().product::<usize>();
                v = base;
            } else if let Some(node) = facts.made_by(v, &ops::SLICE) {
                let base = node.value(0)?;
                let dims = facts.dims(base)?;
                let start = int(node, 2).unwrap_or(0);
                if int(node, 1).unwrap_or(0) != 0 || int(node, 4).unwrap_or(1) != 1 || start < 0 {
                    return Some((Whole::Value(v), begin));
                }
                begin += (start as usize).min(dims[0]) * dims[1..].iter().product::<usize>();
                v = base;
            } else if let Some(node) = facts.made_by(v, &ops::UNSQUEEZE) {
                v = node.value(0)?;
            } else {
                return Some((Whole::Value(v), begin));
            }
        }
    }
}
