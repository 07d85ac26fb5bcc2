//! What unrolled loops and their gradients do piece by piece is done at once.
//!
//! Gradients of the slices of a tensor, each padded with zeros and all added, are one `cat`. A sum of small products is one
//! product of their factors side by side, `a b + c d = [a c] [b; d]`: the result is written once, not once for each. Small
//! products with one right factor that do not wait for each other are one product of their left factors below each other,
//! so that the right one is read once. Where many do wait for each other and the right factor is a transpose, it is turned
//! in memory once, instead of in each product. Where pieces laid side by side are all of one tensor in order, they are that tensor.
//!
//! A recurrent cell of primitive operations thereby gets what libraries hand-write for it: the inputs of all steps are
//! projected in one product, and the weights' gradients are one product each (Appleyard et al., "Optimizing Performance
//! of Recurrent Neural Networks on GPUs", 2016).
//!
//! Sums are taken in another order and a zero may change its sign, so the class is reassociating. Only straight code at the
//! top of a graph is looked at.

mod order;
mod pieces;
mod sums;

use super::Record;
use crate::ir::{BlockId, Graph, Node, NodeId, Operand, ValueId};
use crate::options::Options;
use crate::rewrite::{Outcome, Rewrite, Visitor, makers, rewrite};
use kernels::Scalar;
use order::ordered;
use pieces::{Pieces, Whole};
use runtime::error::{Error, Origin, Result};
use runtime::ops;
use runtime::table::OpDef;
use runtime::value::Host;
use std::collections::{HashMap, HashSet};
use sums::{Sum, Term, sums};

/// Most rows of the left factor of a product that is joined with others; one with more keeps the machine busy by itself.
const ROWS: usize = 64;

/// So many products that wait for each other are worth a copy of the transpose that is their right factor.
const TURNED: usize = 8;

/// Most groups of products of a graph; each costs a walk through the graph.
const GROUPS: usize = 64;

pub(super) fn run(graph: &Graph, _: &Options, record: &mut Record) -> Result<Graph> {
    let facts = Facts::of(graph);
    let sums = sums(&facts);
    let (groups, order, turned) = groups(&facts, &sums);
    if sums.is_empty() && groups.is_empty() && turned.is_empty() {
        return Ok(graph.clone());
    }
    let mut member = HashMap::new();
    for (number, group) in groups.iter().enumerate() {
        group.iter().enumerate().for_each(|(i, &id)| {
            member.insert(id, (number, i));
        });
    }
    let pieces = Pieces::new(&facts, &groups);
    let mut gather = Gather {
        facts: &facts,
        sums,
        groups: &groups,
        member,
        pieces,
        order,
        turned,
        copies: HashMap::new(),
        done: HashMap::new(),
        joined: HashMap::new(),
    };
    let (next, changes) = rewrite(graph, &mut gather)?;
    record.changes = changes;
    crate::rewrite::keep_apart(graph, next)
}

/// What is asked of a graph again and again.
struct Facts<'g> {
    graph: &'g Graph,
    makers: Vec<Option<NodeId>>,
    uses: Vec<u32>,
    /// The nodes of the main block.
    here: HashSet<NodeId>,
}

impl<'g> Facts<'g> {
    fn of(graph: &'g Graph) -> Facts<'g> {
        let here = graph.main().nodes.iter().copied().collect();
        Facts { graph, makers: makers(graph), uses: graph.use_counts(), here }
    }

    /// The node of the main block that makes a value, if it is one of this op.
    fn made_by(&self, value: ValueId, op: &'static OpDef) -> Option<&'g Node> {
        let id = self.makers[value.0 as usize].filter(|id| self.here.contains(id))?;
        let node = self.graph.node(id);
        node.is(op).then_some(node)
    }

    /// The extents of a tensor, where they are known and it holds anything.
    fn dims(&self, value: ValueId) -> Option<Vec<usize>> {
        let dims = self.graph.ty(value).tensor()?.dims()?;
        (!dims.contains(&0)).then(|| dims.to_vec())
    }

    fn is_float(&self, value: ValueId) -> bool {
        self.graph.ty(value).tensor().is_some_and(|t| t.dtype.is_float())
    }

    /// The factors of a product of two matrices of floats.
    fn factors(&self, node: &Node) -> Option<(ValueId, ValueId)> {
        let (a, b) = (node.value(0)?, node.value(1)?);
        let matrix = |v| self.dims(v).is_some_and(|d| d.len() == 2) && self.is_float(v);
        (node.is(&ops::MATMUL) && matrix(a) && matrix(b)).then_some((a, b))
    }

    /// What a value is the transpose of.
    fn transposed(&self, value: ValueId) -> Option<ValueId> {
        let node = self.made_by(value, &ops::PERMUTE)?;
        let turned = node.host(1).as_arg().ints().is_ok_and(|dims| *dims == [1, 0]);
        node.value(0).filter(|_| turned)
    }
}

fn int(node: &Node, i: usize) -> Option<i64> {
    node.host(i).as_arg().int().ok()
}

/// The groups of products with one right factor, the order of the main block in which a group's members are neighbours, and
/// the products whose right factor is turned in memory.
fn groups(facts: &Facts, sums: &HashMap<NodeId, Sum>) -> (Vec<Vec<NodeId>>, Vec<NodeId>, HashSet<NodeId>) {
    let summed: HashSet<NodeId> =
        sums.values().flat_map(|sum| sum.terms.iter().flat_map(Term::products)).copied().collect();
    let mut by_factor: Vec<Vec<NodeId>> = Vec::new();
    let mut numbers = HashMap::new();
    for &id in &facts.graph.main().nodes {
        let node = facts.graph.node(id);
        let Some((left, right)) = facts.factors(node).filter(|_| !summed.contains(&id)) else { continue };
        if facts.dims(left).is_none_or(|dims| dims[0] > ROWS) {
            continue;
        }
        let inner = facts.transposed(right);
        let key = (inner.unwrap_or(right), inner.is_some(), facts.graph.ty(left).tensor().map(|t| t.dtype));
        let number = *numbers.entry(key).or_insert_with(|| {
            by_factor.push(Vec::new());
            by_factor.len() - 1
        });
        by_factor[number].push(id);
    }
    let candidates = by_factor.into_iter().filter(|group| group.len() > 1).take(GROUPS);
    let mut taken: Vec<Vec<NodeId>> = Vec::new();
    let mut turned = HashSet::new();
    let mut order = facts.graph.main().nodes.clone();
    for group in candidates {
        taken.push(group);
        match ordered(facts.graph, &taken) {
            Some(found) => order = found,
            // One of them waits for another.
            None => {
                let group = taken.pop().unwrap_or_default();
                let right = |&id: &NodeId| facts.factors(facts.graph.node(id)).map(|(_, right)| right);
                let transpose = group.first().and_then(right).and_then(|v| facts.transposed(v));
                if group.len() >= TURNED && transpose.is_some() {
                    turned.extend(group);
                }
            }
        }
    }
    (taken, order, turned)
}

struct Gather<'a, 'g> {
    facts: &'a Facts<'g>,
    sums: HashMap<NodeId, Sum>,
    groups: &'a [Vec<NodeId>],
    /// Group and place in it.
    member: HashMap<NodeId, (usize, usize)>,
    pieces: Pieces<'a, 'g>,
    order: Vec<NodeId>,
    /// Products whose right factor is turned in memory, and what it is then.
    turned: HashSet<NodeId>,
    copies: HashMap<ValueId, ValueId>,
    /// The product that a group has become.
    done: HashMap<usize, ValueId>,
    /// What was laid side by side already.
    joined: HashMap<(Vec<ValueId>, usize), ValueId>,
}

impl Visitor for Gather<'_, '_> {
    fn order(&self, old: &Graph, block: BlockId) -> Vec<NodeId> {
        if block == old.body { self.order.clone() } else { old.block(block).nodes.clone() }
    }

    fn visit(&mut self, rewrite: &mut Rewrite, id: NodeId) -> Result<Outcome> {
        let origin = rewrite.old.node(id).origin;
        if let Some(&(group, place)) = self.member.get(&id) {
            return self.member(rewrite, group, place, origin).map(|v| Outcome::Replaced(vec![v]));
        }
        if self.turned.contains(&id)
            && let Some((left, right)) = self.facts.factors(rewrite.old.node(id))
        {
            let right = self.copy(rewrite, right, origin)?;
            let operands = vec![Operand::Value(rewrite.map.get(left)?), Operand::Value(right)];
            return rewrite.new.op1(&ops::MATMUL, operands, origin).map(|v| Outcome::Replaced(vec![v]));
        }
        let Some(sum) = self.sums.remove(&id) else { return Ok(Outcome::Keep) };
        let mut total: Option<ValueId> = None;
        for term in sum.terms {
            let next = match term {
                Term::Value(v) => rewrite.map.get(v)?,
                Term::Parts { dim, parts } => {
                    rewrite.changes.push(format!("{} gradients of slices are one cat", parts.len()).into());
                    self.join(rewrite, &parts, dim, origin)?
                }
                Term::Products { lefts, rights, .. } => {
                    rewrite.changes.push(format!("a sum of {} products is one product", lefts.len()).into());
                    self.product(rewrite, &lefts, &rights, origin)?
                }
            };
            total = Some(match total {
                None => next,
                Some(total) => {
                    rewrite.new.op1(&ops::ADD, vec![Operand::Value(total), Operand::Value(next)], origin)?
                }
            });
        }
        let total = total.ok_or_else(|| Error::internal("a sum without terms"))?;
        Ok(Outcome::Replaced(vec![total]))
    }
}

impl Gather<'_, '_> {
    /// A transpose as it lies in memory of its own.
    fn copy(&mut self, rewrite: &mut Rewrite, value: ValueId, origin: Option<Origin>) -> Result<ValueId> {
        let inner = self.facts.transposed(value).unwrap_or(value);
        if let Some(&copy) = self.copies.get(&inner) {
            return Ok(copy);
        }
        rewrite.changes.push("a transpose that products share is turned in memory".to_string().into());
        let made = rewrite.new.op1(&ops::CLONE, vec![Operand::Value(rewrite.map.get(value)?)], origin)?;
        self.copies.insert(inner, made);
        Ok(made)
    }

    /// The rows of a group's product that are this member's.
    fn member(
        &mut self,
        rewrite: &mut Rewrite,
        group: usize,
        place: usize,
        origin: Option<Origin>,
    ) -> Result<ValueId> {
        let whole = match self.done.get(&group) {
            Some(&whole) => whole,
            None => {
                let whole = self.batch(rewrite, group, origin)?;
                self.done.insert(group, whole);
                whole
            }
        };
        let rows = |i: usize| self.pieces.rows(group, i);
        let (start, end) = (rows(place), rows(place + 1));
        let operands = vec![Operand::Value(whole), host(0), host(start as i64), host(end as i64), host(1)];
        rewrite.new.op1(&ops::SLICE, operands, origin)
    }

    /// The product of a group.
    fn batch(&mut self, rewrite: &mut Rewrite, group: usize, origin: Option<Origin>) -> Result<ValueId> {
        let members = &self.groups[group];
        let factors = members.iter().map(|&id| self.facts.factors(rewrite.old.node(id)));
        let factors: Vec<_> =
            factors.collect::<Option<_>>().ok_or_else(|| Error::internal("a member that is no product"))?;
        let lefts: Vec<ValueId> = factors.iter().map(|(left, _)| *left).collect();
        let rows = self.join(rewrite, &lefts, 0, origin)?;
        let right = rewrite.map.get(factors[0].1)?;
        let line = format!("{} products with one right factor are one product", members.len());
        rewrite.changes.push(line.into());
        rewrite.new.op1(&ops::MATMUL, vec![Operand::Value(rows), Operand::Value(right)], origin)
    }

    /// The product of factors side by side.
    fn product(
        &mut self,
        rewrite: &mut Rewrite,
        lefts: &[ValueId],
        rights: &[ValueId],
        origin: Option<Origin>,
    ) -> Result<ValueId> {
        // Transposes side by side are the transpose of what lies below each other.
        let turned: Option<Vec<ValueId>> = lefts.iter().map(|&v| self.facts.transposed(v)).collect();
        let left = match turned {
            Some(inner) => {
                let rows = self.join(rewrite, &inner, 0, origin)?;
                let dims = Operand::Host(Host::Ints([1, 0].into_iter().collect()));
                rewrite.new.op1(&ops::PERMUTE, vec![Operand::Value(rows), dims], origin)?
            }
            None => self.join(rewrite, lefts, 1, origin)?,
        };
        let right = self.join(rewrite, rights, 0, origin)?;
        rewrite.new.op1(&ops::MATMUL, vec![Operand::Value(left), Operand::Value(right)], origin)
    }

    /// Values of the old graph laid side by side along a dimension.
    fn join(
        &mut self,
        rewrite: &mut Rewrite,
        parts: &[ValueId],
        dim: usize,
        origin: Option<Origin>,
    ) -> Result<ValueId> {
        let key = (parts.to_vec(), dim);
        if let Some(&known) = self.joined.get(&key) {
            return Ok(known);
        }
        let made = match self.pieces.whole(parts, dim) {
            Some((whole, shape)) => {
                let base = match whole {
                    Whole::Value(v) => rewrite.map.get(v)?,
                    Whole::Group(group) => *self
                        .done
                        .get(&group)
                        .ok_or_else(|| Error::internal("pieces of a product to come"))?,
                };
                let shape = Operand::Host(Host::Ints(shape.into_iter().map(|n| n as i64).collect()));
                rewrite.new.op1(&ops::RESHAPE, vec![Operand::Value(base), shape], origin)?
            }
            None => {
                let parts = parts.iter().map(|&v| rewrite.map.get(v)).collect::<Result<Vec<_>>>()?;
                rewrite.new.op1(&ops::CAT, vec![Operand::Values(parts), host(dim as i64)], origin)?
            }
        };
        self.joined.insert(key, made);
        Ok(made)
    }
}

fn host(v: i64) -> Operand {
    Operand::Host(Host::Scalar(Scalar::Int(v)))
}
