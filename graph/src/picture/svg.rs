//! A picture laid out as SVG, for browsers: nobody needs a program of Graphviz.

use super::{Look, picture};
use crate::ir::Graph;
use layout::backends::svg::SVGWriter;
use layout::core::base::Orientation;
use layout::core::color::Color;
use layout::core::geometry::{Point, get_size_for_str};
use layout::core::style::StyleAttr;
use layout::std_shapes::shapes::{Arrow, Element, ShapeKind};
use layout::topo::layout::VisualGraph;

/// Size of the letters in a box.
const LETTERS: usize = 14;
/// Size of the letters at an arrow.
const SMALL_LETTERS: usize = 10;
/// Room between a label and the edge of its box.
const MARGIN: f64 = 16.0;

impl Look {
    /// Colour of the box and roundness of its corners.
    fn box_style(self) -> (u32, usize) {
        match self {
            Look::Input => (0xeef3fb, 14),
            Look::State => (0xfbe9d0, 14),
            Look::Constant => (0xf4f4f4, 0),
            Look::Op => (0xffffff, 6),
            Look::Product => (0xd7e3d4, 0),
            Look::Kernel => (0xdcd6f0, 0),
            Look::Control => (0xf6f0c8, 0),
            Look::Result => (0xffffff, 14),
        }
    }
}

/// RGB, opaque.
fn color(rgb: u32) -> Color {
    Color::new(rgb << 8 | 0xff)
}

/// The body of a graph as an SVG file. Constants of one element are left out: they are numbers of whoever reads them.
pub fn svg(graph: &Graph) -> String {
    let picture = picture(graph);
    let mut visual = VisualGraph::new(Orientation::TopToBottom);
    // It would look for cycles along every path after each arrow; a graph has none.
    visual.dag.set_validate(false);
    let boxes: Vec<_> = picture
        .node_weights()
        .map(|(label, look)| {
            let (fill, rounded) = look.box_style();
            let style = StyleAttr::new(color(0x404040), 1, Some(color(fill)), rounded, LETTERS);
            let text = get_size_for_str(label, LETTERS);
            let size = Point::new(text.x + MARGIN, text.y + MARGIN);
            visual.add_node(Element::create(ShapeKind::new_box(label), style, Orientation::TopToBottom, size))
        })
        .collect();
    for edge in picture.edge_indices() {
        let Some((from, to)) = picture.edge_endpoints(edge) else { continue };
        let mut arrow = Arrow::simple(&picture[edge]);
        arrow.look = StyleAttr::new(color(0x606060), 1, None, 0, SMALL_LETTERS);
        visual.add_edge(arrow, boxes[from.index()], boxes[to.index()]);
    }
    let mut writer = SVGWriter::new();
    visual.do_it(false, false, false, &mut writer);
    writer.finalize()
}
