//! Gradients of a backward that are products of thin factors, given as the factors.
//!
//! The gradient of a weight is xᵀ dy. Where a call is one of many with few rows (a cell of a recurrence, a node of a tree),
//! writing it and adding it to the sum of the others moves far more memory than x and dy have: whoever sums can set the
//! factors of many calls beside each other, and their product is the sum. That reassociates.

use crate::build::Builder;
use crate::ir::{Graph, Node, Operand, ValueId};
use runtime::error::Result;
use runtime::{Host, ops};

/// How many times larger than its factors a product has to be, so that the factors wait for others at a gain.
const THIN: usize = 4;

/// The graph with the factors (left [k, m], right [k, n], for leftᵀ right) in place of such results, and which these are: those
/// of `chosen`, or all that are thin.
pub(super) fn factored(graph: Graph, chosen: Option<&[bool]>) -> Result<(Graph, Vec<bool>)> {
    let results = graph.results().to_vec();
    let factors = results.iter().enumerate().map(|(i, &result)| {
        let (left, right, thin) = factors_of(&graph, result)?;
        chosen.map_or(thin, |chosen| chosen[i]).then_some((left, right))
    });
    let factors: Vec<Option<(ValueId, ValueId)>> = factors.collect();
    let is_factored = factors.iter().map(Option::is_some).collect();
    let mut builder = Builder::resume(graph);
    let mut given = Vec::new();
    for (result, factors) in results.into_iter().zip(factors) {
        match factors {
            Some((left, right)) => given.extend([transposed(&mut builder, left)?, right]),
            None => given.push(result),
        }
    }
    Ok((builder.finish(given, Vec::new()), is_factored))
}

fn maker(graph: &Graph, value: ValueId) -> Option<&Node> {
    graph.main().nodes.iter().map(|&n| graph.node(n)).find(|n| n.outputs.contains(&value))
}

/// The operands of the product that a result is, if nothing else reads it, and whether they are thin.
fn factors_of(graph: &Graph, result: ValueId) -> Option<(ValueId, ValueId, bool)> {
    let node = maker(graph, result).filter(|n| n.is(&ops::MATMUL))?;
    let (left, right) = (node.value(0)?, node.value(1)?);
    let dims = |v: ValueId| graph.ty(v).tensor().and_then(|t| t.dims());
    let (l, r) = (dims(left)?, dims(right)?);
    let (&[m, k], &[_, n]) = (l.as_slice(), r.as_slice()) else { return None };
    let thin = k > 0 && THIN * k * (m + n) <= m * n;
    let read_once = graph.use_counts()[result.0 as usize] == 1;
    read_once.then_some((left, right, thin))
}

/// The transpose of a matrix, which may be one already.
fn transposed(builder: &mut Builder, value: ValueId) -> Result<ValueId> {
    let turned =
        |node: &&Node| node.is(&ops::PERMUTE) && node.host(1).as_arg().ints().is_ok_and(|d| *d == [1, 0]);
    match maker(builder.graph(), value).filter(turned).and_then(|node| node.value(0)) {
        Some(before) => Ok(before),
        None => {
            let order = Operand::Host(Host::Ints([1, 0].into_iter().collect()));
            builder.op1(&ops::PERMUTE, vec![Operand::Value(value), order], None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Draw, Sketch, inputs, oracle};

    #[test]
    fn a_product_of_thin_factors_is_given_as_them() {
        // Rows, and whether the product of [rows, 16] and [rows, 32] is left as factors.
        for (rows, left) in [(1, true), (2, true), (3, false)] {
            let mut s = Sketch::new();
            let (x, dy) = (s.argument(&[rows, 16]), s.argument(&[rows, 32]));
            let xt = s.transpose(x);
            let gradient = s.matmul(xt, dy);
            let other = s.neg(dy);
            let graph = s.finish(&[gradient, other], &[]);
            let args = inputs(&graph, &mut Draw(rows as u64));
            let whole = oracle(&graph, &args).unwrap();
            let (given, factors) = factored(graph, None).unwrap();
            assert_eq!(factors, [left, false]);
            let found = oracle(&given, &args).unwrap();
            assert_eq!(found.len(), 2 + usize::from(left));
            if left {
                let again = found[0].transpose(0, 1).unwrap().matmul(&found[1]).unwrap();
                assert_eq!(again.to_vec::<f32>().unwrap(), whole[0].to_vec::<f32>().unwrap());
            }
        }
    }

    #[test]
    fn a_product_that_somebody_else_reads_stays_whole() {
        let mut s = Sketch::new();
        let (x, dy) = (s.argument(&[16, 1]), s.argument(&[1, 32]));
        let gradient = s.matmul(x, dy);
        let doubled = s.times(gradient, 2.0);
        let (given, factors) = factored(s.finish(&[gradient, doubled], &[]), None).unwrap();
        assert_eq!(factors, [false, false]);
        assert_eq!(given.results().len(), 2);
    }
}
