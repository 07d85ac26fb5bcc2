//! Sums of which some terms can be taken together.

use super::{Facts, int};
use crate::ir::{Node, NodeId, ValueId};
use runtime::ops;
use runtime::value::Arg;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A sum of many terms.
pub(super) struct Sum {
    pub(super) terms: Vec<Term>,
}

/// One term, or several that are one.
pub(super) enum Term {
    Value(ValueId),
    /// Gradients of slices that are side by side all of a tensor.
    Parts {
        dim: usize,
        parts: Vec<ValueId>,
    },
    /// Products, by the nodes `of`.
    Products {
        lefts: Vec<ValueId>,
        rights: Vec<ValueId>,
        of: Vec<NodeId>,
    },
}

impl Term {
    /// The products that are no longer made one by one.
    pub(super) fn products(&self) -> &[NodeId] {
        match self {
            Term::Products { of, .. } => of,
            Term::Value(_) | Term::Parts { .. } => &[],
        }
    }
}

/// The sums of the main block that become shorter, by the last addition.
pub(super) fn sums(facts: &Facts) -> HashMap<NodeId, Sum> {
    let mut found = HashMap::new();
    let mut inner: HashSet<NodeId> = HashSet::new();
    // From the last to the first, so that an addition is seen before those whose results it adds.
    for &id in facts.graph.main().nodes.iter().rev() {
        if inner.contains(&id) || addends(facts, facts.graph.node(id)).is_none() {
            continue;
        }
        let mut leaves = Vec::new();
        flatten(facts, id, &mut leaves, &mut inner);
        let all = leaves.len();
        let out = facts.graph.node(id).outputs[0];
        let terms = products(facts, parts(facts, leaves, out), out);
        if terms.len() < all {
            found.insert(id, Sum { terms });
        }
    }
    found
}

/// The addends, if a node adds two tensors of floats of its own type.
fn addends(facts: &Facts, node: &Node) -> Option<(ValueId, ValueId)> {
    let (a, b) = (node.value(0)?, node.value(1)?);
    let &[out] = node.outputs.as_slice() else { return None };
    let whole = match node.host(2).as_arg() {
        Arg::None => true,
        other => other.float().is_ok_and(|alpha| alpha == 1.0),
    };
    let like = |v| facts.graph.ty(v) == facts.graph.ty(out);
    (node.is(&ops::ADD) && whole && like(a) && like(b) && facts.is_float(out)).then_some((a, b))
}

/// The terms of a sum, through additions that nobody else reads.
fn flatten(facts: &Facts, root: NodeId, leaves: &mut Vec<ValueId>, inner: &mut HashSet<NodeId>) {
    let mut open: Vec<ValueId> = Vec::new();
    if let Some((a, b)) = addends(facts, facts.graph.node(root)) {
        open.extend([b, a]);
    }
    while let Some(v) = open.pop() {
        let added = facts.made_by(v, &ops::ADD).filter(|_| facts.uses[v.0 as usize] == 1);
        match added.and_then(|node| addends(facts, node)) {
            Some((a, b)) => {
                inner.extend(facts.makers[v.0 as usize]);
                open.extend([b, a]);
            }
            None => leaves.push(v),
        }
    }
}

/// Gradients of slices that lie side by side in the sum's shape and fill it become one term.
fn parts(facts: &Facts, leaves: Vec<ValueId>, out: ValueId) -> Vec<Term> {
    let Some(dims) = facts.dims(out) else { return leaves.into_iter().map(Term::Value).collect() };
    // By dimension: start, extent, the slice's gradient, the leaf.
    let mut slices: BTreeMap<usize, Vec<(usize, usize, ValueId, ValueId)>> = BTreeMap::new();
    for &leaf in &leaves {
        let slice = || {
            let node = facts.made_by(leaf, &ops::SLICE_BACKWARD)?;
            let (dim, start, step) = (int(node, 2)?, int(node, 3)?, int(node, 4)?);
            let dim = usize::try_from(if dim < 0 { dim + dims.len() as i64 } else { dim }).ok()?;
            let gradient = node.value(0)?;
            let extent = *facts.dims(gradient)?.get(dim)?;
            (step == 1).then_some((dim, (usize::try_from(start).ok()?, extent, gradient, leaf)))
        };
        if let Some((dim, part)) = slice() {
            slices.entry(dim).or_default().push(part);
        }
    }
    for (dim, mut found) in slices {
        found.sort_by_key(|part| part.0);
        let end = found.iter().try_fold(0, |end, part| (part.0 == end).then_some(end + part.1));
        if found.len() > 1 && end == Some(dims[dim]) {
            let gone: HashSet<ValueId> = found.iter().map(|part| part.3).collect();
            let parts = found.iter().map(|part| part.2).collect();
            let rest = leaves.into_iter().filter(|v| !gone.contains(v)).map(Term::Value);
            return std::iter::once(Term::Parts { dim, parts }).chain(rest).collect();
        }
    }
    leaves.into_iter().map(Term::Value).collect()
}

/// Products that nobody else reads become one, where reading and writing their sums costs more than laying the factors side
/// by side.
fn products(facts: &Facts, terms: Vec<Term>, out: ValueId) -> Vec<Term> {
    let Some([m, n]) = facts.dims(out).and_then(|dims| <[usize; 2]>::try_from(dims).ok()) else {
        return terms;
    };
    let (mut lefts, mut rights, mut of, mut rest) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for term in terms {
        let small = |v: ValueId| {
            let node = facts.made_by(v, &ops::MATMUL).filter(|_| facts.uses[v.0 as usize] == 1)?;
            let (a, b) = facts.factors(node)?;
            let k = facts.dims(a)?[1];
            (k * (m + n) <= m * n).then_some((a, b, facts.makers[v.0 as usize]?))
        };
        match term {
            Term::Value(v) => match small(v) {
                Some((a, b, id)) => {
                    lefts.push(a);
                    rights.push(b);
                    of.push(id);
                    rest.push((Term::Value(v), true));
                }
                None => rest.push((Term::Value(v), false)),
            },
            other => rest.push((other, false)),
        }
    }
    if of.len() < 2 {
        return rest.into_iter().map(|(term, _)| term).collect();
    }
    let others = rest.into_iter().filter(|(_, gone)| !gone).map(|(term, _)| term);
    others.chain(std::iter::once(Term::Products { lefts, rights, of })).collect()
}
