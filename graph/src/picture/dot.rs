//! A picture as DOT text.

use super::{Look, Picture, picture};
use crate::ir::Graph;
use petgraph::dot::{Config, Dot};
use petgraph::graph::{EdgeReference, NodeIndex};

impl Look {
    const fn attributes(self) -> &'static str {
        match self {
            Look::Input => "shape=ellipse, style=filled, fillcolor=\"#eef3fb\"",
            Look::State => "shape=ellipse, style=filled, fillcolor=\"#fbe9d0\"",
            Look::Constant => "shape=plaintext",
            Look::Op => "shape=box, style=\"rounded,filled\", fillcolor=\"#ffffff\"",
            Look::Product => "shape=box, style=filled, fillcolor=\"#d7e3d4\"",
            Look::Kernel => "shape=box, style=filled, fillcolor=\"#dcd6f0\"",
            Look::Control => "shape=diamond, style=filled, fillcolor=\"#f6f0c8\"",
            Look::Result => "shape=ellipse, style=dashed",
        }
    }
}

/// The body of a graph as DOT text. Constants of one element are left out: they are numbers of whoever reads them.
pub fn dot(graph: &Graph) -> String {
    let edge = |_: &Picture, e: EdgeReference<'_, String>| format!("label={:?}, fontsize=9", e.weight());
    let node = |_: &Picture, (_, (label, look)): (NodeIndex, &(String, Look))| {
        format!("label={label:?}, {}", look.attributes())
    };
    let config = [Config::NodeNoLabel, Config::EdgeNoLabel];
    format!("{:?}", Dot::with_attr_getters(&picture(graph), &config, &edge, &node))
}
