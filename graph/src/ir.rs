//! The graph: SSA values, nodes that carry ops of the one table, blocks in execution order.
//!
//! A graph is a pure function from the inputs of its body to the body's results. What a program changes (parameters,
//! Variables, the random counter) is an input with role `State` whose new value is a result, tied by `write_backs`; so
//! there are no effects, and the order of a block's nodes is one valid order among others. Ids are positions in arenas:
//! cheap, `Copy`, meaningless in another graph. Nodes are added by `build` alone; a pass reads one graph and builds the
//! next, so arenas keep what a pass dropped only until then.
//!
//! Where a program of the script language is lowered whole, its containers, objects and prints are `Host` nodes, which say
//! how they may be moved; a block's order is then the program's order for those that have an effect.
//!
//! Scopes: the blocks of `If`, `While` and `Host` may use every value that is defined before their node; the block of
//! `Fused` is closed and uses its own parameters only, since it becomes one kernel.

use crate::host::HostOp;
use kernels::DType;
use runtime::callable::Callable;
use runtime::error::Origin;
use runtime::infer::TensorType;
use runtime::table::OpDef;
use runtime::tensor::Tensor;
use runtime::value::Host;
use std::fmt;
use std::sync::Arc;

/// A value of one graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ValueId(pub u32);

/// A node of one graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct NodeId(pub u32);

/// A block of one graph.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BlockId(pub u32);

/// What a value is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Type {
    /// A tensor.
    Tensor(TensorType),
    /// A tensor of which nothing is known before the graph runs.
    AnyTensor,
    /// A host integer.
    Int,
    /// A host float.
    Float,
    /// A host truth value.
    Bool,
    /// Host text.
    Str,
    /// A list.
    List(Box<Type>),
    /// A tuple.
    Tuple(Vec<Type>),
    /// A dictionary with these keys and values.
    Dict(Box<Type>, Box<Type>),
    /// A value or none.
    Optional(Box<Type>),
    /// An object of a named class.
    Object(Arc<str>),
    /// The type of `none`.
    None,
}

impl Type {
    /// The tensor type, if it is one.
    pub fn tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            Type::AnyTensor
            | Type::Int
            | Type::Float
            | Type::Bool
            | Type::Str
            | Type::List(_)
            | Type::Tuple(_)
            | Type::Dict(..)
            | Type::Optional(_)
            | Type::Object(_)
            | Type::None => None,
        }
    }

    /// Whether a value of this type fits where `wanted` is asked for: equal, or `none` or the inner type of an optional, or
    /// a tensor where any tensor will do.
    pub fn fits(&self, wanted: &Type) -> bool {
        match (self, wanted) {
            (Type::Tensor(_), Type::AnyTensor) => true,
            (_, Type::Optional(inner)) => self == wanted || *self == Type::None || self.fits(inner),
            _ => self == wanted,
        }
    }
}

impl From<TensorType> for Type {
    fn from(t: TensorType) -> Type {
        Type::Tensor(t)
    }
}

impl fmt::Display for Type {
    /// `f32[64,512]`, `tensor`, `int`, `list<int>`, `tuple<int, f32[]>`, `dict<str, int>`, `optional<int>`, `object<Net>`, `none`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(t) => t.fmt(f),
            Type::AnyTensor => f.write_str("tensor"),
            Type::Int => f.write_str("int"),
            Type::Float => f.write_str("float"),
            Type::Bool => f.write_str("bool"),
            Type::Str => f.write_str("str"),
            Type::List(item) => write!(f, "list<{item}>"),
            Type::Tuple(items) => {
                f.write_str("tuple<")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str(">")
            }
            Type::Dict(key, value) => write!(f, "dict<{key}, {value}>"),
            Type::Optional(inner) => write!(f, "optional<{inner}>"),
            Type::Object(class) => write!(f, "object<{class}>"),
            Type::None => f.write_str("none"),
        }
    }
}

/// One operand of a node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// A value.
    Value(ValueId),
    /// A list of tensors.
    Values(Vec<ValueId>),
    /// A constant of the host: an attribute.
    Host(Host),
}

impl Operand {
    /// The values in it: none, one or a list.
    pub fn values(&self) -> &[ValueId] {
        match self {
            Operand::Value(v) => std::slice::from_ref(v),
            Operand::Values(list) => list,
            Operand::Host(_) => &[],
        }
    }

    /// The value, if it is one by itself.
    pub fn value(&self) -> Option<ValueId> {
        match self {
            Operand::Value(v) => Some(*v),
            Operand::Values(_) | Operand::Host(_) => None,
        }
    }

    /// The same operand with every value replaced.
    pub fn map(&self, mut f: impl FnMut(ValueId) -> ValueId) -> Operand {
        match self {
            Operand::Value(v) => Operand::Value(f(*v)),
            Operand::Values(list) => Operand::Values(list.iter().map(|&v| f(v)).collect()),
            Operand::Host(h) => Operand::Host(h.clone()),
        }
    }
}

/// How a call of the host may be moved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HostEffect {
    /// It depends on its operands alone and changes nothing: it may be moved, merged and left out.
    None,
    /// It reads what others may change: it may be left out, and keeps its place among those that change something.
    Reads,
    /// It changes something or may end the program: it stays, in its place.
    Ordered,
}

/// A call that only the host of a program can make: work on its containers and objects, and calls of tensor functions
/// before types are known. Graphs that hold any are run by that host; here they are printed, verified and rewritten.
pub trait HostCall: Send + Sync {
    /// Its name in the text form, which says all that it does: equal names are equal calls.
    fn name(&self) -> &str;
    /// How it may be moved.
    fn effect(&self) -> HostEffect;
    /// It, for the host that knows what it is.
    fn as_any(&self) -> &dyn std::any::Any;
}

/// What a node does.
#[derive(Clone)]
pub enum NodeKind {
    /// An op of the table; operands in the schema's order, trailing defaults may be left out.
    Op(&'static OpDef),
    /// A tensor that nobody can change.
    Constant(Tensor),
    /// One closed block of op nodes that becomes one loop program; operands are its block's parameters.
    Fused,
    /// Condition as first operand; two blocks without parameters, then and else, whose results are the outputs.
    If,
    /// Operands are the first carried values; a condition block and a body block with the carried values as parameters.
    While,
    /// A region with a meaning and a gradient of its own.
    Call(Arc<dyn Callable>),
    /// Construction of and access to host containers, host arithmetic.
    HostOp(&'static HostOp),
    /// What the host of a program does. It may have one block of its own, a part of the program that it runs as one.
    Host(Arc<dyn HostCall>),
}

impl NodeKind {
    /// The word of the text form.
    pub fn word(&self) -> &str {
        match self {
            NodeKind::Op(op) => op.name,
            NodeKind::Constant(_) => "constant",
            NodeKind::Fused => "fused",
            NodeKind::If => "if",
            NodeKind::While => "while",
            NodeKind::Call(_) => "call",
            NodeKind::HostOp(op) => op.name,
            NodeKind::Host(_) => "host",
        }
    }
}

impl fmt::Debug for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One computation.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it does.
    pub kind: NodeKind,
    /// What it reads.
    pub operands: Vec<Operand>,
    /// What it defines.
    pub outputs: Vec<ValueId>,
    /// Nested blocks of `Fused`, `If` and `While`, and of a `Host` call that has one.
    pub blocks: Vec<BlockId>,
    /// The line of source that asked for it.
    pub origin: Option<Origin>,
}

impl Node {
    /// Every value it reads directly (those read inside its blocks not included), in order.
    pub fn reads(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.operands.iter().flat_map(|o| o.values().iter().copied())
    }

    /// The op, if it is one.
    pub fn op(&self) -> Option<&'static OpDef> {
        match self.kind {
            NodeKind::Op(op) => Some(op),
            NodeKind::Constant(_)
            | NodeKind::Fused
            | NodeKind::If
            | NodeKind::While
            | NodeKind::Call(_)
            | NodeKind::HostOp(_)
            | NodeKind::Host(_) => None,
        }
    }

    /// Whether it is this op of the table.
    pub fn is(&self, op: &'static OpDef) -> bool {
        self.op().is_some_and(|own| std::ptr::eq(own, op))
    }

    /// Operand `i`, if it is a value by itself.
    pub fn value(&self, i: usize) -> Option<ValueId> {
        self.operands.get(i)?.value()
    }

    /// Host operand `i`; `Host::None` where it is left out or not a host value.
    pub fn host(&self, i: usize) -> Host {
        match self.operands.get(i) {
            Some(Operand::Host(h)) => h.clone(),
            Some(Operand::Value(_) | Operand::Values(_)) | None => Host::None,
        }
    }
}

/// Nodes in execution order, with values coming in and going out.
#[derive(Clone, Default, Debug)]
pub struct Block {
    /// Values that it is given.
    pub params: Vec<ValueId>,
    /// Its nodes.
    pub nodes: Vec<NodeId>,
    /// Values that it gives.
    pub results: Vec<ValueId>,
}

/// What is known of a value.
#[derive(Clone, Debug)]
pub struct ValueInfo {
    /// Its type.
    pub ty: Type,
    /// A name for readers; empty where there is none.
    pub name: Arc<str>,
}

/// Where an input's tensor comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InputRole {
    /// The caller passes it.
    Argument,
    /// Mutable state that the function holds: a parameter, a Variable, the random counter.
    State,
    /// A tensor met while tracing; the function holds it and never writes it, but others may.
    Captured,
}

impl InputRole {
    /// The word of the text form; arguments are the unmarked case.
    pub const fn word(self) -> &'static str {
        match self {
            InputRole::Argument => "",
            InputRole::State => "state ",
            InputRole::Captured => "captured ",
        }
    }
}

/// A function as data.
#[derive(Clone)]
pub struct Graph {
    /// Its name.
    pub name: String,
    pub(crate) values: Vec<ValueInfo>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) blocks: Vec<Block>,
    /// The outermost block; its parameters are the inputs.
    pub body: BlockId,
    /// Role of each input.
    pub inputs: Vec<InputRole>,
    /// (input, result): the result is the new value of that state and may take over its memory.
    pub write_backs: Vec<(usize, usize)>,
}

impl Graph {
    /// What is known of a value.
    pub fn value(&self, id: ValueId) -> &ValueInfo {
        &self.values[id.0 as usize]
    }

    /// A value in a message: by its name, or by its id where it has none.
    pub fn label(&self, id: ValueId) -> String {
        match &*self.value(id).name {
            "" => format!("%{}", id.0),
            name => format!("%{name}"),
        }
    }

    /// A value's type.
    pub fn ty(&self, id: ValueId) -> &Type {
        &self.value(id).ty
    }

    /// A value's tensor type; an internal error for a value that is not a tensor.
    pub fn tensor_type(&self, id: ValueId) -> runtime::error::Result<&TensorType> {
        self.ty(id).tensor().ok_or_else(|| {
            runtime::error::Error::internal(format!("%{} is a {}, not a tensor", id.0, self.ty(id)))
        })
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// A block.
    pub fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id.0 as usize]
    }

    /// The outermost block.
    pub fn main(&self) -> &Block {
        self.block(self.body)
    }

    /// The inputs, in order.
    pub fn params(&self) -> &[ValueId] {
        &self.main().params
    }

    /// The results, in order: those the caller gets first, then new values of state.
    pub fn results(&self) -> &[ValueId] {
        &self.main().results
    }

    /// Number of ids ever given to values; a vector indexed by `ValueId` needs this length.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// Number of ids ever given to nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Number of ids ever given to blocks.
    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The results that the caller gets: those that are not new values of state.
    pub fn returned(&self) -> Vec<usize> {
        (0..self.results().len()).filter(|r| !self.write_backs.iter().any(|(_, w)| w == r)).collect()
    }

    /// Every node that can run, in an order in which definitions come before uses; a node comes before the nodes of its
    /// own blocks.
    pub fn walk(&self) -> Vec<NodeId> {
        let mut out = Vec::with_capacity(self.nodes.len());
        let mut stack: Vec<(BlockId, usize)> = vec![(self.body, 0)];
        while let Some((block, at)) = stack.pop() {
            let Some(&node) = self.block(block).nodes.get(at) else { continue };
            out.push(node);
            stack.push((block, at + 1));
            stack.extend(self.node(node).blocks.iter().rev().map(|&inner| (inner, 0)));
        }
        out
    }

    /// How often each value is read by nodes and as a result of a block.
    pub fn use_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.values.len()];
        let mut blocks = vec![self.body];
        for node in self.walk() {
            let node = self.node(node);
            node.reads().for_each(|v| counts[v.0 as usize] += 1);
            blocks.extend(&node.blocks);
        }
        for block in blocks {
            self.block(block).results.iter().for_each(|v| counts[v.0 as usize] += 1);
        }
        counts
    }

    /// Number of op nodes of this name, at any depth; for tests and reports.
    pub fn count(&self, word: &str) -> usize {
        self.walk().into_iter().filter(|&n| self.node(n).kind.word() == word).count()
    }

    /// The values from outside that the nodes of a block read, each once, in order of first use.
    pub fn free_values(&self, block: BlockId) -> Vec<ValueId> {
        let mut defined = std::collections::HashSet::new();
        let mut free = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut visit = |v: ValueId, defined: &std::collections::HashSet<ValueId>| {
            if !defined.contains(&v) && seen.insert(v) {
                free.push(v);
            }
        };
        let mut stack: Vec<(BlockId, usize)> = vec![(block, 0)];
        defined.extend(&self.block(block).params);
        while let Some((block, at)) = stack.pop() {
            let Some(&node) = self.block(block).nodes.get(at) else {
                self.block(block).results.iter().for_each(|&v| visit(v, &defined));
                continue;
            };
            let node = self.node(node);
            node.reads().for_each(|v| visit(v, &defined));
            defined.extend(&node.outputs);
            stack.push((block, at + 1));
            for &inner in node.blocks.iter().rev() {
                defined.extend(&self.block(inner).params);
                stack.push((inner, 0));
            }
        }
        free
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A tensor type with constant extents, as a graph type.
pub fn tensor(dtype: DType, dims: &[usize]) -> Type {
    Type::Tensor(TensorType::new(dtype, dims))
}
