//! Which arguments a result depends on by operations that have gradients.

use super::differentiable;
use crate::ir::{Graph, NodeKind, ValueId};
use runtime::table::Vjp;

/// Of each result of a graph its arguments: bit i is argument i, bit 63 all from 63 on. A branch or loop depends on all that it
/// reads.
pub(crate) fn sources(graph: &Graph) -> Vec<u64> {
    let mut of = vec![0u64; graph.value_count()];
    for (i, &param) in graph.params().iter().enumerate() {
        if differentiable(graph.ty(param)) {
            of[param.0 as usize] = 1 << i.min(63);
        }
    }
    for &id in &graph.main().nodes {
        let node = graph.node(id);
        if node.op().is_some_and(|op| matches!(op.vjp, Vjp::Zero))
            || matches!(node.kind, NodeKind::Constant(_))
        {
            continue;
        }
        let inner = node.blocks.iter().flat_map(|&block| graph.free_values(block));
        let read = node.reads().chain(inner).fold(0, |all, value: ValueId| all | of[value.0 as usize]);
        for &output in node.outputs.iter().filter(|&&output| differentiable(graph.ty(output))) {
            of[output.0 as usize] = read;
        }
    }
    graph.results().iter().map(|value| of[value.0 as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sketch;

    #[test]
    fn results_know_their_arguments() {
        let mut s = Sketch::new();
        let (x, y, z) = (s.argument(&[2]), s.argument(&[2]), s.argument(&[2]));
        let (product, cut) = (s.mul(x, y), s.named("detach", &[z], &[]));
        let sum = s.add(cut, y);
        let graph = s.finish(&[product, cut, sum, x], &[]);
        assert_eq!(sources(&graph), [0b11, 0, 0b10, 0b1]);
    }
}
