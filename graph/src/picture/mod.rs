//! Pictures: a graph as DOT text, or laid out as SVG. Ops are boxes, kernels made of many are boxes that list them, products
//! are darker, state and its new values have a colour of their own.

mod dot;
mod svg;

pub use dot::dot;
pub use svg::svg;

use crate::fused;
use crate::ir::{Graph, InputRole, NodeId, NodeKind, ValueId};
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::HashMap;

/// The form of a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Text that Graphviz lays out.
    Dot,
    /// Laid out, for browsers.
    Svg,
}

impl Format {
    /// How names of such files end.
    pub const fn extension(self) -> &'static str {
        match self {
            Format::Dot => "dot",
            Format::Svg => "svg",
        }
    }

    /// The body of a graph in this form.
    pub fn draw(self, graph: &Graph) -> String {
        match self {
            Format::Dot => dot(graph),
            Format::Svg => svg(graph),
        }
    }
}

/// What a box of the picture is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    Input,
    State,
    Constant,
    Op,
    Product,
    Kernel,
    Control,
    Result,
}

/// Boxes with their labels, and the types of the values between them.
type Picture = DiGraph<(String, Look), String>;

/// The body of a graph. Constants of one element are left out: they are numbers of whoever reads them.
fn picture(graph: &Graph) -> Picture {
    let mut picture = Picture::new();
    let mut makers: HashMap<ValueId, NodeIndex> = HashMap::new();
    for (&param, role) in graph.params().iter().zip(&graph.inputs) {
        let look = match role {
            InputRole::Argument => Look::Input,
            InputRole::State | InputRole::Captured => Look::State,
        };
        makers.insert(param, picture.add_node((value_label(graph, param), look)));
    }
    for &id in &graph.main().nodes {
        if let NodeKind::Constant(tensor) = &graph.node(id).kind
            && tensor.numel() == 1
        {
            continue;
        }
        let at = picture.add_node(node_label(graph, id));
        let inner = graph.node(id).blocks.iter().flat_map(|&b| graph.free_values(b));
        for value in graph.node(id).reads().chain(inner) {
            if let Some(&from) = makers.get(&value) {
                picture.update_edge(from, at, graph.ty(value).to_string());
            }
        }
        makers.extend(graph.node(id).outputs.iter().map(|&v| (v, at)));
    }
    for (r, value) in graph.results().iter().enumerate() {
        let written = graph.write_backs.iter().find(|(_, result)| *result == r);
        let label = match written {
            Some(&(input, _)) => format!("new {}", value_label(graph, graph.params()[input])),
            None => format!("result {r}"),
        };
        let look = if written.is_some() { Look::State } else { Look::Result };
        let at = picture.add_node((label, look));
        if let Some(&from) = makers.get(value) {
            picture.add_edge(from, at, graph.ty(*value).to_string());
        }
    }
    picture
}

fn value_label(graph: &Graph, value: ValueId) -> String {
    match &*graph.value(value).name {
        "" => format!("%{}", value.0),
        name => name.to_string(),
    }
}

fn node_label(graph: &Graph, id: NodeId) -> (String, Look) {
    let node = graph.node(id);
    match &node.kind {
        NodeKind::Op(op) => {
            let product = matches!(op.lower, runtime::table::Lower::Steps(_));
            (op.name.to_string(), if product { Look::Product } else { Look::Op })
        }
        NodeKind::Constant(tensor) => (format!("{}", tensor.tensor_type()), Look::Constant),
        NodeKind::Fused => (fused::label(graph, node.blocks[0]).to_string(), Look::Kernel),
        NodeKind::If | NodeKind::While | NodeKind::Call(_) | NodeKind::HostOp(_) | NodeKind::Host(_) => {
            (node.kind.word().to_string(), Look::Control)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Sketch;
    use crate::{Options, optimize};

    #[test]
    fn before_and_after_fusing() {
        let mut s = Sketch::new();
        let (x, w) = (s.argument(&[4, 4]), s.state(&[4, 4]));
        let y = s.matmul(x, w);
        let z = s.times(y, 2.0);
        let z = s.plus(z, 1.0);
        let new = s.add(w, z);
        let loss = s.sum(z, &[0, 1], false);
        let graph = s.finish(&[loss, new], &[(1, 1)]);
        let before = dot(&graph);
        assert!(before.starts_with("digraph {") && before.contains("label=\"matmul\""), "{before}");
        assert_eq!(before.matches("label=\"mul\"").count(), 1);
        let (after, _) = optimize(graph, &Options::default()).unwrap();
        let text = dot(&after);
        assert!(text.contains("mul+add"), "{text}");
        assert!(text.contains("new w"), "{text}");
        let drawn = svg(&after);
        for word in ["matmul", "mul+add", "new w", "f32[4,4]"] {
            assert!(drawn.contains(word), "{word}: {drawn}");
        }
    }
}
