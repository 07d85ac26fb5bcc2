//! The text form of a graph. `parse` reads it back to an equal graph.
//!
//! ```text
//! graph step(%x: f32[64,784], state %w: f32[784,10]) {
//!   %0: f32[64,10] = matmul(%x, %w)            # src/mlp.rs:12
//!   %1: f32[10] = sum(%0, dim=[0])
//!   %2: f32[2] = constant(f32[2], [1.0, 2.0])
//!   return %1, %3 into %w
//! }
//! ```
//!
//! Tensor operands stand in order, host operands by keyword and only where they differ from the schema's default. A
//! value prints as its name where it has one that no other value has, else as a number in order of appearance. Small
//! constants are written out; of large ones the text has a name made from their content, and `constants` has the
//! tensor. Callables print by name. Origins are comments: they do not come back.

use crate::ir::{BlockId, Graph, InputRole, Node, NodeKind, Operand, Type, ValueId};
use crate::schema::{OperandKind, schema};
use runtime::tensor::Tensor;
use runtime::value::Host;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

/// A constant with more elements than this prints as a reference.
pub const INLINE_ELEMENTS: usize = 16;

/// The names of a graph's values in its text.
pub struct Names(HashMap<ValueId, String>);

impl Names {
    /// Names every value that appears in the graph.
    pub fn of(graph: &Graph) -> Names {
        let mut order = Vec::new();
        in_order(graph, graph.body, &mut order);
        let mut taken: HashMap<&str, u32> = HashMap::new();
        order.iter().for_each(|&v| *taken.entry(&graph.value(v).name).or_default() += 1);
        let mut next = 0;
        let mut names = HashMap::new();
        for v in order {
            let name: &str = &graph.value(v).name;
            let usable = is_name(name) && taken.get(name) == Some(&1);
            names.entry(v).or_insert_with(|| {
                if usable {
                    return name.to_string();
                }
                next += 1;
                (next - 1).to_string()
            });
        }
        Names(names)
    }

    /// The name of a value, with its `%`; values that are defined nowhere print as `%?id`.
    pub fn show(&self, value: ValueId) -> String {
        match self.0.get(&value) {
            Some(name) => format!("%{name}"),
            None => format!("%?{}", value.0),
        }
    }
}

/// The values that a block and those inside it define, in the order of the text.
fn in_order(graph: &Graph, block: BlockId, order: &mut Vec<ValueId>) {
    order.extend(&graph.block(block).params);
    for &node in &graph.block(block).nodes {
        let Some(node) = graph.nodes.get(node.0 as usize) else { continue };
        order.extend(&node.outputs);
        for &inner in node.blocks.iter().filter(|b| graph.blocks.get(b.0 as usize).is_some()) {
            in_order(graph, inner, order);
        }
    }
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

/// A graph's text with the constants to which it refers.
#[derive(Clone, Debug)]
pub struct Printed {
    /// The text.
    pub text: String,
    /// Large constants by the name that the text uses.
    pub constants: BTreeMap<String, Tensor>,
}

/// The text of a graph and its large constants.
pub fn print(graph: &Graph) -> Printed {
    let mut printer = Printer {
        graph,
        names: Names::of(graph),
        text: String::new(),
        constants: BTreeMap::new(),
        origins: true,
    };
    printer.graph();
    Printed { text: printer.text, constants: printer.constants }
}

/// The text without origins: the same for equal graphs, whatever source lines made them.
pub fn canonical(graph: &Graph) -> String {
    let mut printer = Printer {
        graph,
        names: Names::of(graph),
        text: String::new(),
        constants: BTreeMap::new(),
        origins: false,
    };
    printer.graph();
    printer.text
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self).text)
    }
}

struct Printer<'a> {
    graph: &'a Graph,
    names: Names,
    text: String,
    constants: BTreeMap<String, Tensor>,
    origins: bool,
}

impl Printer<'_> {
    fn graph(&mut self) {
        let name = if is_name(&self.graph.name) {
            self.graph.name.clone()
        } else {
            format!("{:?}", self.graph.name)
        };
        self.push(&format!("graph {name}("));
        for (i, &param) in self.graph.params().iter().enumerate() {
            let role = self.graph.inputs.get(i).copied().unwrap_or(InputRole::Argument);
            let declared = self.declared(param);
            self.push(&format!("{}{}{declared}", if i > 0 { ", " } else { "" }, role.word()));
        }
        self.push(") {\n");
        self.nodes(self.graph.body, 1);
        let results = self.graph.results().iter().enumerate().map(|(i, &v)| {
            let shown = self.names.show(v);
            match self.graph.write_backs.iter().find(|(_, result)| *result == i) {
                Some((input, _)) => match self.graph.params().get(*input) {
                    Some(&state) => format!("{shown} into {}", self.names.show(state)),
                    None => format!("{shown} into %?{input}"),
                },
                None => shown,
            }
        });
        let results = results.collect::<Vec<_>>().join(", ");
        self.push(format!("  return {results}").trim_end());
        self.push("\n}\n");
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn declared(&self, value: ValueId) -> String {
        format!("{}: {}", self.names.show(value), self.graph.ty(value))
    }

    fn nodes(&mut self, block: BlockId, depth: usize) {
        for &id in &self.graph.block(block).nodes {
            let node = self.graph.node(id);
            let outputs = node.outputs.iter().map(|&v| self.declared(v)).collect::<Vec<_>>().join(", ");
            let indent = "  ".repeat(depth);
            let equals = if outputs.is_empty() { "" } else { " = " };
            self.push(&format!("{indent}{outputs}{equals}"));
            self.expression(node);
            if let Some(origin) = node.origin.filter(|_| self.origins) {
                self.push(&format!("  # {}:{}", origin.file(), origin.line()));
            }
            for &inner in &node.blocks {
                self.block(inner, depth);
            }
            self.push("\n");
        }
    }

    /// A nested block starts on a line of its own, so that the origin's comment ends before it.
    fn block(&mut self, block: BlockId, depth: usize) {
        let indent = "  ".repeat(depth);
        let params =
            self.graph.block(block).params.iter().map(|&v| self.declared(v)).collect::<Vec<_>>().join(", ");
        self.push(&format!("\n{indent}{{ ({params})\n"));
        self.nodes(block, depth + 1);
        let results = self.graph.block(block).results.iter().map(|&v| self.names.show(v)).collect::<Vec<_>>();
        self.push(format!("{indent}  yield {}", results.join(", ")).trim_end());
        self.push(&format!("\n{indent}}}"));
    }

    fn expression(&mut self, node: &Node) {
        let operands = match &node.kind {
            NodeKind::Op(op) => {
                let mut parts = Vec::new();
                let mut in_order = true;
                let schema = schema(op);
                for (i, operand) in node.operands.iter().enumerate() {
                    let Some(parameter) = schema.get(i) else {
                        parts.push(self.operand(operand));
                        continue;
                    };
                    if matches!(operand, Operand::Host(h) if parameter.default.as_ref() == Some(h)) {
                        in_order = false;
                        continue;
                    }
                    let by_order = in_order && parameter.kind != OperandKind::Host;
                    in_order = by_order;
                    let shown = self.operand(operand);
                    parts.push(if by_order { shown } else { format!("{}={shown}", parameter.name) });
                }
                parts.join(", ")
            }
            NodeKind::Constant(tensor) => self.constant(tensor),
            NodeKind::Call(callable) => {
                let operands = self.operands(node);
                let name = format!("{:?}", callable.name());
                if operands.is_empty() { name } else { format!("{name}, {operands}") }
            }
            NodeKind::Host(call) => {
                let operands = self.operands(node);
                let name = format!("{:?}", call.name());
                if operands.is_empty() { name } else { format!("{name}, {operands}") }
            }
            NodeKind::Fused | NodeKind::If | NodeKind::While | NodeKind::HostOp(_) => self.operands(node),
        };
        self.push(&format!("{}({operands})", node.kind.word()));
    }

    fn operands(&self, node: &Node) -> String {
        node.operands.iter().map(|o| self.operand(o)).collect::<Vec<_>>().join(", ")
    }

    fn operand(&self, operand: &Operand) -> String {
        match operand {
            Operand::Value(v) => self.names.show(*v),
            Operand::Values(list) => {
                format!("[{}]", list.iter().map(|&v| self.names.show(v)).collect::<Vec<_>>().join(", "))
            }
            Operand::Host(h) => h.to_string(),
        }
    }

    fn constant(&mut self, tensor: &Tensor) -> String {
        let ty = Type::Tensor(tensor.tensor_type());
        if tensor.numel() <= INLINE_ELEMENTS
            && let Ok(elements) = tensor.to_scalars()
        {
            let list = elements.iter().map(|s| Host::Scalar(*s).to_string()).collect::<Vec<_>>();
            return format!("{ty}, [{}]", list.join(", "));
        }
        let name = content_name(tensor);
        self.constants.insert(name.clone(), tensor.clone());
        format!("{ty}, {name:?}")
    }
}

/// A name made from type and elements (FNV-1a, 64 bits); tensors whose elements cannot be read are named by identity.
pub fn content_name(tensor: &Tensor) -> String {
    let Ok(bytes) = tensor.to_bytes() else { return format!("t{}", tensor.id()) };
    let ty = tensor.tensor_type().to_string();
    let hash = ty
        .bytes()
        .chain(bytes)
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ b as u64).wrapping_mul(0x100_0000_01b3));
    let mut name = String::new();
    // Writing to a String cannot fail.
    let _ = write!(name, "c{hash:016x}");
    name
}
