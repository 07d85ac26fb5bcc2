//! The only place that adds nodes. A `Builder` grows one graph, infers the types of what it adds, and copies nodes from
//! other graphs, which is how passes make the next graph.

use crate::host::{HostArg, HostOp};
use crate::ir::{
    Block, BlockId, Graph, InputRole, Node, NodeId, NodeKind, Operand, Type, ValueId, ValueInfo,
};
use runtime::error::{Error, Origin, Result};
use runtime::infer::{Infer, InferArg, Types};
use runtime::table::OpDef;
use runtime::tensor::Tensor;
use runtime::value::Arg;
use smallvec::SmallVec;
use std::sync::Arc;

/// Grows one graph. Nodes go to the end of the innermost open block. A copy is a place to come back to.
#[derive(Clone)]
pub struct Builder {
    graph: Graph,
    open: Vec<BlockId>,
}

/// Where the values of one graph are in another.
#[derive(Clone, Default, Debug)]
pub struct ValueMap(Vec<Option<ValueId>>);

impl ValueMap {
    /// An empty map from the values of `graph`.
    pub fn new(graph: &Graph) -> ValueMap {
        ValueMap(vec![None; graph.value_count()])
    }

    /// The new value of `old`, if it has one.
    pub fn find(&self, old: ValueId) -> Option<ValueId> {
        self.0.get(old.0 as usize).copied().flatten()
    }

    /// The new value of `old`; an internal error where it was not copied.
    pub fn get(&self, old: ValueId) -> Result<ValueId> {
        self.find(old).ok_or_else(|| Error::internal(format!("%{} is read before it was copied", old.0)))
    }

    /// From now on `old` is `new`.
    pub fn set(&mut self, old: ValueId, new: ValueId) {
        if self.0.len() <= old.0 as usize {
            self.0.resize(old.0 as usize + 1, None);
        }
        self.0[old.0 as usize] = Some(new);
    }

    /// An operand with every value replaced.
    pub fn operand(&self, operand: &Operand) -> Result<Operand> {
        Ok(match operand {
            Operand::Value(v) => Operand::Value(self.get(*v)?),
            Operand::Values(list) => {
                Operand::Values(list.iter().map(|&v| self.get(v)).collect::<Result<_>>()?)
            }
            Operand::Host(h) => Operand::Host(h.clone()),
        })
    }
}

impl Builder {
    /// A graph without inputs and nodes.
    pub fn new(name: impl Into<String>) -> Builder {
        let graph = Graph {
            name: name.into(),
            values: Vec::new(),
            nodes: Vec::new(),
            blocks: vec![Block::default()],
            body: BlockId(0),
            inputs: Vec::new(),
            write_backs: Vec::new(),
        };
        Builder { open: vec![graph.body], graph }
    }

    /// A graph with the inputs of another, its name and nothing else; and where they are.
    pub fn like(old: &Graph) -> (Builder, ValueMap) {
        let mut builder = Builder::new(old.name.clone());
        let mut map = ValueMap::new(old);
        for (&param, &role) in old.params().iter().zip(&old.inputs) {
            let info = old.value(param);
            let new = builder.input(info.ty.clone(), role, &info.name);
            map.set(param, new);
        }
        (builder, map)
    }

    /// Goes on with a graph: new nodes go to the end of its body.
    pub fn resume(graph: Graph) -> Builder {
        Builder { open: vec![graph.body], graph }
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// A new input.
    pub fn input(&mut self, ty: Type, role: InputRole, name: &str) -> ValueId {
        let value = self.value(ty, name);
        self.graph.blocks[self.graph.body.0 as usize].params.push(value);
        self.graph.inputs.push(role);
        value
    }

    /// Changes what an input is for (a capture turns out to be written).
    pub fn set_role(&mut self, input: usize, role: InputRole) {
        self.graph.inputs[input] = role;
    }

    /// Names a value for readers.
    pub fn rename(&mut self, value: ValueId, name: &str) {
        self.graph.values[value.0 as usize].name = Arc::from(name);
    }

    /// The graph with a name for every value that had none, so that texts of it before and after a pass can be compared
    /// line by line.
    pub fn named(mut graph: Graph) -> Graph {
        for (i, info) in graph.values.iter_mut().enumerate() {
            if info.name.is_empty() {
                info.name = format!("v{i}").into();
            }
        }
        graph
    }

    fn value(&mut self, ty: Type, name: &str) -> ValueId {
        let id = ValueId(self.graph.values.len() as u32);
        self.graph.values.push(ValueInfo { ty, name: Arc::from(name) });
        id
    }

    /// Adds a node whose output types are known.
    pub fn node(
        &mut self,
        kind: NodeKind,
        operands: Vec<Operand>,
        blocks: Vec<BlockId>,
        types: &[Type],
        origin: Option<Origin>,
    ) -> NodeId {
        let outputs = types.iter().map(|ty| self.value(ty.clone(), "")).collect();
        self.push(Node { kind, operands, outputs, blocks, origin })
    }

    fn push(&mut self, node: Node) -> NodeId {
        let id = NodeId(self.graph.nodes.len() as u32);
        self.graph.nodes.push(node);
        let block = self.open.last().expect("invariant: the body never closes");
        self.graph.blocks[block.0 as usize].nodes.push(id);
        id
    }

    /// Adds an op; its outputs get the types of its shape rule.
    pub fn op(
        &mut self,
        op: &'static OpDef,
        operands: Vec<Operand>,
        origin: Option<Origin>,
    ) -> Result<Vec<ValueId>> {
        let types: Vec<Type> = infer_op(&self.graph, op, &operands)?.into_iter().map(Type::Tensor).collect();
        let node = self.node(NodeKind::Op(op), operands, Vec::new(), &types, origin);
        Ok(self.outputs(node).to_vec())
    }

    /// Adds an op with one output.
    pub fn op1(
        &mut self,
        op: &'static OpDef,
        operands: Vec<Operand>,
        origin: Option<Origin>,
    ) -> Result<ValueId> {
        match self.op(op, operands, origin)?.as_slice() {
            [one] => Ok(*one),
            many => {
                Err(Error::internal(format!("{} outputs where one was expected", many.len())).in_op(op.name))
            }
        }
    }

    /// Adds a tensor that nobody can change.
    pub fn constant(&mut self, tensor: Tensor, origin: Option<Origin>) -> ValueId {
        let ty = Type::Tensor(tensor.tensor_type());
        let node = self.node(NodeKind::Constant(tensor), Vec::new(), Vec::new(), &[ty], origin);
        self.outputs(node)[0]
    }

    /// Adds a host operation.
    pub fn host_op(
        &mut self,
        op: &'static HostOp,
        operands: Vec<Operand>,
        origin: Option<Origin>,
    ) -> Result<ValueId> {
        let ty = infer_host(&self.graph, op, &operands)?;
        let node = self.node(NodeKind::HostOp(op), operands, Vec::new(), &[ty], origin);
        Ok(self.outputs(node)[0])
    }

    /// The outputs of a node.
    pub fn outputs(&self, node: NodeId) -> &[ValueId] {
        &self.graph.node(node).outputs
    }

    /// Opens a block with parameters of these types; nodes go there until it is closed.
    pub fn begin(&mut self, params: &[Type]) -> BlockId {
        let id = BlockId(self.graph.blocks.len() as u32);
        let params = params.iter().map(|ty| self.value(ty.clone(), "")).collect();
        self.graph.blocks.push(Block { params, ..Block::default() });
        self.open.push(id);
        id
    }

    /// Closes the innermost block with these results. The body stays open.
    pub fn end(&mut self, results: Vec<ValueId>) -> BlockId {
        let id = *self.open.last().expect("invariant: the body never closes");
        self.graph.blocks[id.0 as usize].results = results;
        if self.open.len() > 1 {
            self.open.pop();
        }
        id
    }

    /// Gives a closed block other results.
    pub fn set_results(&mut self, block: BlockId, results: Vec<ValueId>) {
        self.graph.blocks[block.0 as usize].results = results;
    }

    /// Copies a node with its blocks from another graph; its outputs keep their types and names and enter the map.
    pub fn copy(&mut self, from: &Graph, node: NodeId, map: &mut ValueMap) -> Result<NodeId> {
        let operands = from.node(node).operands.iter().map(|o| map.operand(o)).collect::<Result<_>>()?;
        self.copy_with(from, node, operands, map)
    }

    /// Like `copy`, with other operands (of this graph).
    pub fn copy_with(
        &mut self,
        from: &Graph,
        node: NodeId,
        operands: Vec<Operand>,
        map: &mut ValueMap,
    ) -> Result<NodeId> {
        self.copy_node(from, from.node(node), operands, map)
    }

    /// Like `copy_with`, of a node that is at hand.
    pub(crate) fn copy_node(
        &mut self,
        from: &Graph,
        old: &Node,
        operands: Vec<Operand>,
        map: &mut ValueMap,
    ) -> Result<NodeId> {
        let mut blocks = Vec::with_capacity(old.blocks.len());
        for &block in &old.blocks {
            blocks.push(self.copy_block(from, block, map)?);
        }
        let outputs = old.outputs.iter().map(|&v| self.copy_value(from, v, map)).collect();
        Ok(self.push(Node { kind: old.kind.clone(), operands, outputs, blocks, origin: old.origin }))
    }

    /// Copies a block, to be a block of the next node.
    pub fn copy_block(&mut self, from: &Graph, block: BlockId, map: &mut ValueMap) -> Result<BlockId> {
        let id = self.begin(&[]);
        for &param in &from.block(block).params {
            let new = self.copy_value(from, param, map);
            self.graph.blocks[id.0 as usize].params.push(new);
        }
        for &inner in &from.block(block).nodes {
            self.copy(from, inner, map)?;
        }
        let results = from.block(block).results.iter().map(|&v| map.get(v)).collect::<Result<_>>()?;
        Ok(self.end(results))
    }

    fn copy_value(&mut self, from: &Graph, old: ValueId, map: &mut ValueMap) -> ValueId {
        let info = from.value(old).clone();
        let new = ValueId(self.graph.values.len() as u32);
        self.graph.values.push(info);
        map.set(old, new);
        new
    }

    /// Copies every node of another graph's body and returns where its results are.
    pub fn inline(&mut self, from: &Graph, map: &mut ValueMap) -> Result<Vec<ValueId>> {
        for &node in &from.main().nodes {
            self.copy(from, node, map)?;
        }
        from.results().iter().map(|&v| map.get(v)).collect()
    }

    /// The finished graph.
    pub fn finish(mut self, results: Vec<ValueId>, write_backs: Vec<(usize, usize)>) -> Graph {
        self.graph.blocks[self.graph.body.0 as usize].results = results;
        self.graph.write_backs = write_backs;
        self.graph
    }

    /// The finished graph with the results and write-backs of another, which was copied into this one.
    pub fn finish_like(self, old: &Graph, map: &ValueMap) -> Result<Graph> {
        let results = old.results().iter().map(|&v| map.get(v)).collect::<Result<_>>()?;
        Ok(self.finish(results, old.write_backs.clone()))
    }
}

/// The operands as the op's shape rule sees them; `None` where one is a host value known only when the graph runs.
pub fn infer_args<'a>(graph: &Graph, operands: &'a [Operand]) -> Result<Option<SmallVec<[InferArg<'a>; 4]>>> {
    let mut args = SmallVec::new();
    for operand in operands {
        args.push(match operand {
            Operand::Value(v) => match graph.ty(*v) {
                Type::Tensor(t) => InferArg::Tensor(t.clone()),
                Type::AnyTensor
                | Type::Int
                | Type::Float
                | Type::Bool
                | Type::Str
                | Type::List(_)
                | Type::Optional(_) => {
                    return Ok(None);
                }
                Type::None => InferArg::Host(Arg::None),
                other @ (Type::Tuple(_) | Type::Dict(..) | Type::Object(_)) => {
                    return Err(Error::value(format!("a {other} cannot be an operand of a tensor op")));
                }
            },
            Operand::Values(list) => {
                InferArg::Tensors(list.iter().map(|&v| graph.tensor_type(v).cloned()).collect::<Result<_>>()?)
            }
            Operand::Host(h) => InferArg::Host(h.as_arg()),
        });
    }
    Ok(Some(args))
}

/// Types of an op's outputs.
pub fn infer_op(graph: &Graph, op: &'static OpDef, operands: &[Operand]) -> Result<Types> {
    let args = infer_args(graph, operands)?.ok_or_else(|| {
        Error::value("an operand is known only when the graph runs; the output types must be given")
            .in_op(op.name)
    })?;
    (op.infer)(&Infer { op, args: &args }).map_err(|e| e.in_op(op.name))
}

/// Type of a host operation's result.
pub fn infer_host(graph: &Graph, op: &'static HostOp, operands: &[Operand]) -> Result<Type> {
    let mut args = Vec::with_capacity(operands.len());
    for operand in operands {
        match operand {
            Operand::Value(v) => args.push(HostArg { ty: graph.ty(*v).clone(), constant: None }),
            Operand::Values(list) => {
                args.extend(list.iter().map(|&v| HostArg { ty: graph.ty(v).clone(), constant: None }));
            }
            Operand::Host(h) => args.push(HostArg::constant(h)),
        }
    }
    (op.infer)(&args).map_err(|e| e.in_op(op.name))
}
