//! A region: a small graph of loop-language operations over *shaped* values.
//!
//! This is how every op is lowered: a lowering appends nodes to a region. Fusing is lowering several ops into the same
//! region, so a fused op and a lone op are written once. `Region::compose` (in `compose`) finds the iteration space
//! and emits one program.
//!
//! Shapes are concrete. Element-wise nodes broadcast as NumPy does and never convert types: conversions are `cast`
//! nodes that somebody has asked for. `permute`, `unsqueeze`, `squeeze` and `expand` relabel axes and emit nothing.
//!
//! No method panics. The first mistake is kept and returned by `compose`; until then the region goes on with a value
//! of a plausible shape, so that lowerings need no error handling of their own.

use super::ir::{BinaryOp, Combine, ReduceOp, UnaryOp};
use crate::dtype::{DType, Element, Scalar};
use crate::shape::{self, Dims};
use smallvec::SmallVec;
use thiserror::Error;

/// A value of a region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Node(pub u32);

/// Why a region is not one program.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Error)]
pub enum Unfusible {
    /// The region stores nothing.
    #[error("the region has no output")]
    NoOutput,
    /// A node of another region.
    #[error("node {} does not belong to this region", .0.0)]
    UnknownNode(Node),
    /// An operation on types for which it is not defined.
    #[error("{what} is not defined for {dtype}")]
    DType {
        /// The operation.
        what: &'static str,
        /// The operand's type.
        dtype: DType,
    },
    /// Two operands of different types.
    #[error("{what} needs operands of one type, got {a} and {b}")]
    DTypesDiffer {
        /// The operation.
        what: &'static str,
        /// The first operand's type.
        a: DType,
        /// The second operand's type.
        b: DType,
    },
    /// Shapes that do not broadcast together.
    #[error("shapes {a:?} and {b:?} do not broadcast together")]
    Broadcast {
        /// The first shape.
        a: Vec<usize>,
        /// The second shape.
        b: Vec<usize>,
    },
    /// A dimension that a value does not have, or that is named twice, or that cannot be squeezed.
    #[error("{what}: dimension {dim} does not fit shape {shape:?}")]
    Dim {
        /// The operation.
        what: &'static str,
        /// The dimension.
        dim: usize,
        /// The value's shape.
        shape: Vec<usize>,
    },
    /// Reductions or scans over different axes, which would need different inner loops.
    #[error(
        "one reduction runs over extents {first:?} of the space, another over other axes, of extents {second:?}"
    )]
    ReducedAxesDiffer {
        /// The reduced extents of the first reduction.
        first: Vec<usize>,
        /// The reduced extents of the other one.
        second: Vec<usize>,
    },
    /// A result or a reduction that exists for a part of the space only, and would be made many times over.
    #[error(
        "{what} of shape {shape:?} does not match the space {space:?}: something would be made more than once"
    )]
    ShapesDiffer {
        /// What it is: an output, a scatter or a reduction.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// The extents of the space.
        space: Vec<usize>,
    },
    /// A computed value that is needed at two points at once, as in `e + e.T`.
    #[error("a computed value of shape {shape:?} is needed at two different points at once")]
    TwoPoints {
        /// The value's shape.
        shape: Vec<usize>,
    },
    /// A gather from something that is not in memory.
    #[error("a gather reads a value that is computed in the same region")]
    GatherOfComputedValue,
    /// A gather along a dimension that memory does not have.
    #[error("a gather reads along a dimension that is broadcast")]
    GatherOfBroadcast,
    /// Random numbers or a scatter whose points would be numbered in another order than on their own.
    #[error("{what} of shape {shape:?} would visit its points in another order than on its own")]
    OrderDiffers {
        /// What it is.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The seed or offset of random bits varies from point to point.
    #[error("the seed and offset of random bits must be one value for the whole launch")]
    SeedVaries,
}

/// Dimensions of a view: for each the dimension of the base that it is, or `None` if it is new or repeated.
pub(super) type ViewDims = SmallVec<[Option<u8>; 6]>;

/// What makes a value.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    Input(u32),
    Param(u32),
    Const(Scalar),
    Index(usize),
    Random { stream: u8, seed: Node, offset: Node },
    Unary(UnaryOp, Node),
    Binary(BinaryOp, Node, Node),
    Select(Node, Node, Node),
    Cast(Node),
    Reduce { op: ReduceOp, of: Node, dims: Dims, keepdim: bool },
    Scan { op: ReduceOp, of: Node, dim: usize },
    Count { of: Node, dims: Dims },
    Gather { source: Node, dim: usize, index: Node, mask: Option<Node> },
    View { base: Node, dims: ViewDims },
    Invalid,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct NodeData {
    pub(super) kind: Kind,
    pub(super) dtype: DType,
    pub(super) shape: Dims,
}

/// What is stored into one output buffer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Output {
    Store(Node),
    Scatter { shape: Dims, points: Dims, dim: usize, index: Node, value: Node, combine: Combine },
}

/// A graph of shaped values with its inputs, launch parameters and outputs, in the order of their making.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Region {
    pub(super) nodes: Vec<NodeData>,
    pub(super) inputs: Vec<Node>,
    pub(super) params: Vec<DType>,
    pub(super) outputs: Vec<Output>,
    pub(super) error: Option<Unfusible>,
}

impl Region {
    /// An empty region.
    pub fn new() -> Region {
        Region::default()
    }

    /// The next input buffer.
    pub fn input(&mut self, dtype: DType, shape: &[usize]) -> Node {
        let node = self.push(Kind::Input(self.inputs.len() as u32), dtype, Dims::from_slice(shape));
        self.inputs.push(node);
        node
    }

    /// The next launch parameter, a value of rank 0.
    pub fn param(&mut self, dtype: DType) -> Node {
        self.params.push(dtype);
        self.push(Kind::Param(self.params.len() as u32 - 1), dtype, Dims::new())
    }

    /// A number of rank 0, converted to `dtype` as torch's `to` does.
    pub fn constant(&mut self, value: impl Into<Scalar>, dtype: DType) -> Node {
        self.push(Kind::Const(canonical(value.into(), dtype)), dtype, Dims::new())
    }

    /// A value's element type.
    pub fn dtype(&self, a: Node) -> DType {
        self.nodes.get(a.0 as usize).map_or(DType::Bool, |n| n.dtype)
    }

    /// A value's extents.
    pub fn shape(&self, a: Node) -> &[usize] {
        self.nodes.get(a.0 as usize).map_or(&[], |n| &n.shape)
    }

    /// Number of input buffers.
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Element type and extents of each output buffer.
    pub fn outputs(&self) -> impl Iterator<Item = (DType, &[usize])> {
        self.outputs.iter().map(|output| match output {
            Output::Store(value) => (self.dtype(*value), self.shape(*value)),
            Output::Scatter { shape, value, .. } => (self.dtype(*value), shape.as_slice()),
        })
    }

    /// A function of each element.
    pub fn unary(&mut self, op: UnaryOp, a: Node) -> Node {
        let operand = self.dtype(a);
        let dtype = op.result(operand).unwrap_or_else(|| self.wrong_type(op.name(), operand));
        self.push(Kind::Unary(op, a), dtype, self.dims(a))
    }

    /// A function of each pair of elements; the types must be equal, the shapes broadcast.
    pub fn binary(&mut self, op: BinaryOp, a: Node, b: Node) -> Node {
        let operand = self.same_type(op.name(), a, b);
        let dtype = op.result(operand).unwrap_or_else(|| self.wrong_type(op.name(), operand));
        let shape = self.broadcast(&self.dims(a), &self.dims(b));
        self.push(Kind::Binary(op, a, b), dtype, shape)
    }

    /// `a` where `c` (bool) is true, else `b`.
    pub fn select(&mut self, c: Node, a: Node, b: Node) -> Node {
        if self.dtype(c) != DType::Bool {
            self.wrong_type("the condition of select", self.dtype(c));
        }
        let dtype = self.same_type("select", a, b);
        let shape = self.broadcast(&self.dims(a), &self.dims(b));
        let shape = self.broadcast(&self.dims(c), &shape);
        self.push(Kind::Select(c, a, b), dtype, shape)
    }

    /// Each element converted; `a` itself if the type is already right.
    pub fn cast(&mut self, a: Node, dtype: DType) -> Node {
        if self.dtype(a) == dtype {
            return a;
        }
        self.push(Kind::Cast(a), dtype, self.dims(a))
    }

    /// The elements combined over `dims`, which vanish or (`keepdim`) stay with extent 1.
    pub fn reduce(&mut self, op: ReduceOp, a: Node, dims: &[usize], keepdim: bool) -> Node {
        let dtype = op.result(self.dtype(a)).unwrap_or_else(|| self.wrong_type(op.name(), self.dtype(a)));
        let dims = self.sorted_dims(op.name(), a, dims);
        let mut shape = Dims::new();
        for (dim, &extent) in self.dims(a).iter().enumerate() {
            if !dims.contains(&dim) {
                shape.push(extent);
            } else if keepdim {
                shape.push(1);
            }
        }
        self.push(Kind::Reduce { op, of: a, dims, keepdim }, dtype, shape)
    }

    /// The running combination along `dim` (`Sum`, `Prod`, `Max` or `Min`).
    pub fn scan(&mut self, op: ReduceOp, a: Node, dim: usize) -> Node {
        let operand = self.dtype(a);
        let known = matches!(op, ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min);
        let dtype = op.result(operand).filter(|_| known);
        let dtype = dtype.unwrap_or_else(|| self.wrong_type(op.name(), operand));
        match self.sorted_dims("scan", a, &[dim]).first() {
            Some(&dim) => self.push(Kind::Scan { op, of: a, dim }, dtype, self.dims(a)),
            None => self.push(Kind::Invalid, dtype, self.dims(a)),
        }
    }

    /// The number of points that a reduction of `a` over `dims` combines, as a value of rank 0.
    pub fn count(&mut self, a: Node, dims: &[usize], dtype: DType) -> Node {
        let dims = self.sorted_dims("count", a, dims);
        self.push(Kind::Count { of: a, dims }, dtype, Dims::new())
    }

    /// The coordinate along `dim` of each element of a value of this shape, i64.
    pub fn index(&mut self, shape: &[usize], dim: usize) -> Node {
        if dim >= shape.len() {
            self.wrong_dim("index", dim, shape);
            return self.push(Kind::Invalid, DType::I64, Dims::from_slice(shape));
        }
        self.push(Kind::Index(dim), DType::I64, Dims::from_slice(shape))
    }

    /// Random bits (i32) for each element of a value of this shape; `seed` and `offset` are i64 values of rank 0.
    pub fn random_bits(&mut self, shape: &[usize], stream: u8, seed: Node, offset: Node) -> Node {
        for operand in [seed, offset] {
            if self.dtype(operand) != DType::I64 {
                self.wrong_type("the seed or offset of random bits", self.dtype(operand));
            }
            if !self.shape(operand).is_empty() {
                self.fail(Unfusible::SeedVaries);
            }
        }
        self.push(Kind::Random { stream, seed, offset }, DType::I32, Dims::from_slice(shape))
    }

    /// `source`, an input of the result's rank, read at `index` (i64) along `dim` and at the point itself elsewhere.
    ///
    /// The result's shape is `index`'s broadcast with `source`'s, whose `dim` counts as 1.
    pub fn gather(&mut self, source: Node, dim: usize, index: Node) -> Node {
        self.gather_where(source, dim, index, None)
    }

    /// Like `gather` where `mask` (bool) is true; 0, without looking at the index, where it is false.
    pub fn gather_masked(&mut self, source: Node, dim: usize, index: Node, mask: Node) -> Node {
        if self.dtype(mask) != DType::Bool {
            self.wrong_type("the mask of gather", self.dtype(mask));
        }
        self.gather_where(source, dim, index, Some(mask))
    }

    fn gather_where(&mut self, source: Node, dim: usize, index: Node, mask: Option<Node>) -> Node {
        if self.dtype(index) != DType::I64 {
            self.wrong_type("the index of gather", self.dtype(index));
        }
        let mut shape = self.dims(source);
        let Some(extent) = shape.get_mut(dim) else {
            self.wrong_dim("gather", dim, &shape);
            return self.push(Kind::Invalid, self.dtype(source), shape);
        };
        *extent = 1;
        let rank = shape.len();
        let mut shape = self.broadcast(&shape, &self.dims(index));
        if let Some(mask) = mask {
            shape = self.broadcast(&shape, &self.dims(mask));
        }
        if shape.len() != rank {
            self.fail(Unfusible::Broadcast { a: self.shape(source).to_vec(), b: shape.to_vec() });
        }
        let (base, view) = self.resolve(source);
        if !matches!(self.kind(base), Some(Kind::Input(_))) {
            self.fail(Unfusible::GatherOfComputedValue);
        }
        let own = view[dim].map_or(1, |d| self.shape(base)[d as usize]);
        if own != self.shape(source)[dim] {
            self.fail(Unfusible::GatherOfBroadcast);
        }
        self.push(Kind::Gather { source, dim, index, mask }, self.dtype(source), shape)
    }

    /// The dimensions in another order.
    pub fn permute(&mut self, a: Node, order: &[usize]) -> Node {
        let shape = self.dims(a);
        let sorted = self.sorted_dims("permute", a, order);
        if sorted.len() != shape.len() || order.len() != shape.len() {
            self.wrong_dim("permute", order.len(), &shape);
            return a;
        }
        let out = order.iter().map(|&dim| shape[dim]).collect();
        self.view(a, order.iter().map(|&dim| Some(dim as u8)).collect(), out)
    }

    /// With a dimension of extent 1 before `dim`.
    pub fn unsqueeze(&mut self, a: Node, dim: usize) -> Node {
        let mut shape = self.dims(a);
        if dim > shape.len() {
            self.wrong_dim("unsqueeze", dim, &shape);
            return a;
        }
        let mut dims: ViewDims = (0..shape.len()).map(|d| Some(d as u8)).collect();
        dims.insert(dim, None);
        shape.insert(dim, 1);
        self.view(a, dims, shape)
    }

    /// Without the dimension `dim`, which has extent 1.
    pub fn squeeze(&mut self, a: Node, dim: usize) -> Node {
        let mut shape = self.dims(a);
        if shape.get(dim) != Some(&1) {
            self.wrong_dim("squeeze", dim, &shape);
            return a;
        }
        let mut dims: ViewDims = (0..shape.len()).map(|d| Some(d as u8)).collect();
        dims.remove(dim);
        shape.remove(dim);
        self.view(a, dims, shape)
    }

    /// Repeated along missing and 1-sized dimensions.
    pub fn expand(&mut self, a: Node, shape: &[usize]) -> Node {
        let from = self.dims(a);
        let target = Dims::from_slice(shape);
        if shape::broadcast(&from, shape).as_deref() != Ok(shape) {
            self.fail(Unfusible::Broadcast { a: from.to_vec(), b: shape.to_vec() });
            return a;
        }
        if from == target {
            return a;
        }
        let missing = shape.len() - from.len();
        let kept = |dim: usize| dim.checked_sub(missing).filter(|&d| from[d] == shape[dim]);
        self.view(a, (0..shape.len()).map(|dim| kept(dim).map(|d| d as u8)).collect(), target)
    }

    /// The next output buffer, of `a`'s type and shape.
    pub fn output(&mut self, a: Node) {
        self.known(a);
        self.outputs.push(Output::Store(a));
    }

    /// The next output buffer, of `shape` and `value`'s type, which is not cleared: element `p` of `value` is stored
    /// (or added) at `p` with its coordinate along `dim` replaced by `index[p]`, in ascending order of `p`.
    ///
    /// `p` runs over the broadcast shape of `index`, `value` and `shape` with extent 1 along `dim`.
    pub fn scatter_output(
        &mut self,
        shape: &[usize],
        dim: usize,
        index: Node,
        value: Node,
        combine: Combine,
    ) {
        self.known(index);
        self.known(value);
        if self.dtype(index) != DType::I64 {
            self.wrong_type("the index of scatter", self.dtype(index));
        }
        let shape = Dims::from_slice(shape);
        let mut points = shape.clone();
        match points.get_mut(dim) {
            Some(extent) => *extent = 1,
            None => return self.wrong_dim("scatter", dim, &shape),
        }
        let points = self.broadcast(&points, &self.dims(index));
        let points = self.broadcast(&points, &self.dims(value));
        if points.len() != shape.len() {
            return self.fail(Unfusible::Broadcast { a: shape.to_vec(), b: points.to_vec() });
        }
        self.outputs.push(Output::Scatter { shape, points, dim, index, value, combine });
    }

    /// The node that a chain of relabelings ends in, and for each dimension of `a` the dimension of that node.
    pub(super) fn resolve(&self, a: Node) -> (Node, ViewDims) {
        match self.kind(a) {
            Some(Kind::View { base, dims }) => (*base, dims.clone()),
            _ => (a, (0..self.shape(a).len()).map(|dim| Some(dim as u8)).collect()),
        }
    }

    pub(super) fn kind(&self, a: Node) -> Option<&Kind> {
        self.nodes.get(a.0 as usize).map(|node| &node.kind)
    }

    /// Views of views are flattened here, so that a view's base is never a view.
    fn view(&mut self, a: Node, dims: ViewDims, shape: Dims) -> Node {
        let (base, inner) = self.resolve(a);
        let dims = dims.into_iter().map(|dim| dim.and_then(|d| inner[d as usize])).collect();
        self.push(Kind::View { base, dims }, self.dtype(a), shape)
    }

    fn push(&mut self, kind: Kind, dtype: DType, shape: Dims) -> Node {
        for operand in operands(&kind) {
            self.known(operand);
        }
        self.nodes.push(NodeData { kind, dtype, shape });
        Node(self.nodes.len() as u32 - 1)
    }

    fn dims(&self, a: Node) -> Dims {
        Dims::from_slice(self.shape(a))
    }

    fn known(&mut self, a: Node) {
        if a.0 as usize >= self.nodes.len() {
            self.fail(Unfusible::UnknownNode(a));
        }
    }

    fn fail(&mut self, error: Unfusible) {
        self.error.get_or_insert(error);
    }

    fn wrong_type(&mut self, what: &'static str, dtype: DType) -> DType {
        self.fail(Unfusible::DType { what, dtype });
        dtype
    }

    fn wrong_dim(&mut self, what: &'static str, dim: usize, shape: &[usize]) {
        self.fail(Unfusible::Dim { what, dim, shape: shape.to_vec() });
    }

    fn same_type(&mut self, what: &'static str, a: Node, b: Node) -> DType {
        let (a, b) = (self.dtype(a), self.dtype(b));
        if a != b {
            self.fail(Unfusible::DTypesDiffer { what, a, b });
        }
        a
    }

    fn broadcast(&mut self, a: &[usize], b: &[usize]) -> Dims {
        shape::broadcast(a, b).unwrap_or_else(|_| {
            self.fail(Unfusible::Broadcast { a: a.to_vec(), b: b.to_vec() });
            Dims::from_slice(a)
        })
    }

    /// The dimensions in ascending order, without those that do not exist or come twice (which is an error).
    fn sorted_dims(&mut self, what: &'static str, a: Node, dims: &[usize]) -> Dims {
        let shape = self.dims(a);
        let mut sorted = Dims::new();
        for &dim in dims {
            if dim >= shape.len() || sorted.contains(&dim) {
                self.wrong_dim(what, dim, &shape);
            } else {
                sorted.push(dim);
            }
        }
        sorted.sort_unstable();
        sorted
    }
}

/// The nodes that a node reads. `Count` reads no value, only an extent.
pub(super) fn operands(kind: &Kind) -> SmallVec<[Node; 3]> {
    match *kind {
        Kind::Input(_)
        | Kind::Param(_)
        | Kind::Const(_)
        | Kind::Index(_)
        | Kind::Count { .. }
        | Kind::Invalid => SmallVec::new(),
        Kind::Random { seed, offset, .. } => SmallVec::from_slice(&[seed, offset]),
        Kind::Unary(_, a) | Kind::Cast(a) => SmallVec::from_slice(&[a]),
        Kind::Binary(_, a, b) => SmallVec::from_slice(&[a, b]),
        Kind::Select(c, a, b) => SmallVec::from_slice(&[c, a, b]),
        Kind::Reduce { of, .. } | Kind::Scan { of, .. } => SmallVec::from_slice(&[of]),
        Kind::Gather { source, index, mask, .. } => [source, index].into_iter().chain(mask).collect(),
        Kind::View { base, .. } => SmallVec::from_slice(&[base]),
    }
}

/// The host number that has exactly the value that `dtype` keeps of it, so that equal constants are one instruction.
pub(super) fn canonical(value: Scalar, dtype: DType) -> Scalar {
    match dtype {
        // One NaN, so that the text form keeps every bit.
        _ if dtype.is_float() && value.to_f64().is_nan() => Scalar::Float(f64::NAN),
        DType::Bool => bool::from_scalar(value).to_scalar(),
        DType::U8 => u8::from_scalar(value).to_scalar(),
        DType::I32 => i32::from_scalar(value).to_scalar(),
        DType::I64 => i64::from_scalar(value).to_scalar(),
        DType::F16 => half::f16::from_scalar(value).to_scalar(),
        DType::BF16 => half::bf16::from_scalar(value).to_scalar(),
        DType::F32 => f32::from_scalar(value).to_scalar(),
        DType::F64 => f64::from_scalar(value).to_scalar(),
    }
}
