//! When two recordings that differ in extents are one: the host did not look at the extents, and the first recording, its
//! types inferred again for the other extents, is the second. Then the recording stands for every extent but 0 and 1.
//!
//! Recording twice is what finds numbers that a program takes from extents without being seen: they differ. A number that
//! only a threshold on an extent changes is found by looks alone.

use super::path::{Output, Path, Step, equal};
use super::{Entry, How};
use crate::specialize::specialize;
use runtime::error::Result;
use std::sync::Arc;

/// The entry that stands for one of these and the new one: which it replaces, and the words for what it no longer asks.
pub(super) fn generalise(entries: &[Entry], new: &Entry) -> Option<(usize, Entry, String)> {
    let How::Paths(found) = &new.how else { return None };
    let [second] = found.as_slice() else { return None };
    for (at, old) in entries.iter().enumerate() {
        let How::Paths(known) = &old.how else { continue };
        let [first] = known.as_slice() else { continue };
        let Some(dims) = old.guards.differing(&new.guards).filter(|dims| !dims.is_empty()) else { continue };
        let looked = old.looked_inside
            || new.looked_inside
            || old.looked.iter().chain(&new.looked).any(|(argument, dim)| {
                dims.iter().any(|(a, d)| a == argument && dim.is_none_or(|dim| dim == *d))
            });
        if looked || !same(first, second).unwrap_or(false) {
            continue;
        }
        let words = dims.iter().map(|(a, d)| format!("dimension {d} of argument {a} is dynamic"));
        let words = words.collect::<Vec<_>>().join(", ");
        let general = Entry {
            guards: old.guards.freed(&dims),
            how: How::Paths(known.clone()),
            looked: old.looked.iter().chain(&new.looked).copied().collect(),
            looked_inside: false,
        };
        return Some((at, general, words));
    }
    None
}

/// Whether the first path, for the second one's types, is the second.
fn same(first: &Arc<Path>, second: &Arc<Path>) -> Result<bool> {
    if first.steps.len() != second.steps.len() || first.seen != second.seen {
        return Ok(false);
    }
    for (a, b) in first.steps.iter().zip(&second.steps) {
        let same = match (a, b) {
            (Step::Run(a), Step::Run(b)) => {
                let inputs = a.inputs.len() == b.inputs.len()
                    && a.inputs.iter().zip(&b.inputs).all(|(x, y)| x.same(y));
                if !inputs {
                    return Ok(false);
                }
                let other = &b.code.graph;
                let types = other.params().iter().map(|&v| other.tensor_type(v).cloned());
                specialize(&a.code.graph, &types.collect::<Result<Vec<_>>>()?)? == *other
            }
            (Step::Look { place: x, truth: t, .. }, Step::Look { place: y, truth: u, .. }) => {
                t == u && x.same(y)
            }
            (Step::End { outputs: x, variables: v }, Step::End { outputs: y, variables: w }) => {
                let output = |(x, y): (&Output, &Output)| match (x, y) {
                    (Output::At(x), Output::At(y)) => x.same(y),
                    (Output::Fresh(x), Output::Fresh(y)) => equal(x, y),
                    (Output::At(_) | Output::Fresh(_), _) => false,
                };
                x.len() == y.len()
                    && x.iter().zip(y).all(output)
                    && v.len() == w.len()
                    && v.iter().zip(w).all(|(v, w)| v.0.id() == w.0.id() && v.1.same(&w.1))
            }
            (Step::Run(_) | Step::Look { .. } | Step::End { .. }, _) => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}
