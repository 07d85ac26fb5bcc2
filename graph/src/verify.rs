//! Checks the invariants of a graph; runs after each pass.
//!
//! Checked: every value is defined once and before every use, in its own block or one around it; a fused block is closed;
//! operands are of the kinds that the schema asks for, and required ones are there; the types that the shape rules give
//! equal the annotated ones; conditions are truths; blocks take and give what their node says; roles and write-backs fit
//! the inputs and results.
//!
//! Not checked: the result types of an op with a host operand that is known only when the graph runs; the values of
//! symbolic dimensions; devices; that a fused block can really become one loop program (the plan finds out); that a
//! callable's `infer` is true; order among random draws (there is none: their state is an operand).

use crate::build::{infer_host, infer_op};
use crate::ir::{BlockId, Graph, InputRole, Node, NodeId, NodeKind, Operand, Type, ValueId};
use crate::print::Names;
use crate::schema::{OperandKind, schema};
use crate::stack;
use kernels::DType;
use runtime::error::{Error, Result};
use runtime::infer::TensorType;
use runtime::value::Host;

/// `Ok` if the graph keeps every invariant named above; otherwise an internal error that says where it does not.
pub fn verify(graph: &Graph) -> Result<()> {
    let mut check =
        Check { graph, names: Names::of(graph), scope: vec![Scope::Undefined; graph.value_count()] };
    check.inputs()?;
    check.block(graph.body)?;
    check.write_backs()
}

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    /// Not yet defined.
    Undefined,
    /// Can be used.
    Live,
    /// Defined, but in a block that has ended or, inside a fused block, outside of it.
    Hidden,
}

struct Check<'a> {
    graph: &'a Graph,
    names: Names,
    scope: Vec<Scope>,
}

/// Whether a value of type `from` may go on as one of type `to`: equal, or a stack whose first extent is forgotten.
fn becomes(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (Type::Tensor(from), Type::Tensor(to)) => from == to || stack::of(from).as_ref() == Some(to),
        (from, to) => from == to,
    }
}

impl Check<'_> {
    fn fault(&self, message: String) -> Error {
        Error::internal(format!("graph {} is broken: {message}", self.graph.name))
    }

    fn at(&self, node: &Node, message: String) -> Error {
        let outputs = node.outputs.iter().map(|&v| self.names.show(v)).collect::<Vec<_>>().join(", ");
        let fault = self.fault(format!("{outputs} = {}: {message}", node.kind.word()));
        match node.origin {
            Some(origin) => fault.at(origin),
            None => fault,
        }
    }

    fn inputs(&self) -> Result<()> {
        let (roles, params) = (self.graph.inputs.len(), self.graph.params().len());
        match roles == params {
            true => Ok(()),
            false => Err(self.fault(format!("{params} inputs have {roles} roles"))),
        }
    }

    fn define(&mut self, value: ValueId) -> Result<()> {
        match self.scope.get(value.0 as usize) {
            Some(Scope::Undefined) => {
                self.scope[value.0 as usize] = Scope::Live;
                Ok(())
            }
            Some(Scope::Live | Scope::Hidden) => {
                Err(self.fault(format!("{} is defined twice", self.names.show(value))))
            }
            None => Err(self.fault(format!("value {} does not exist", value.0))),
        }
    }

    fn used(&self, value: ValueId) -> Result<(), String> {
        match self.scope.get(value.0 as usize) {
            Some(Scope::Live) => Ok(()),
            Some(Scope::Undefined) => Err(format!("{} is used before it is defined", self.names.show(value))),
            Some(Scope::Hidden) => Err(format!("{} is not visible in this block", self.names.show(value))),
            None => Err(format!("value {} does not exist", value.0)),
        }
    }

    /// Nesting is the depth of the program text, so recursion is bounded by it.
    fn block(&mut self, id: BlockId) -> Result<()> {
        let block = self.graph.block(id);
        let mut defined: Vec<ValueId> = block.params.clone();
        block.params.iter().try_for_each(|&v| self.define(v))?;
        for &node in &block.nodes {
            self.node(node)?;
            defined.extend(&self.graph.node(node).outputs);
        }
        for &result in &block.results {
            self.used(result).map_err(|m| self.fault(format!("result: {m}")))?;
        }
        if id != self.graph.body {
            defined.into_iter().for_each(|v| self.scope[v.0 as usize] = Scope::Hidden);
        }
        Ok(())
    }

    fn node(&mut self, id: NodeId) -> Result<()> {
        if self.graph.nodes.get(id.0 as usize).is_none() {
            return Err(self.fault(format!("node {} does not exist", id.0)));
        }
        let graph = self.graph;
        let node = graph.node(id);
        for value in node.reads() {
            self.used(value).map_err(|m| self.at(node, m))?;
        }
        if let Some(block) = node.blocks.iter().find(|b| graph.blocks.get(b.0 as usize).is_none()) {
            return Err(self.at(node, format!("block {} does not exist", block.0)));
        }
        match &node.kind {
            NodeKind::Op(_) => self.op(node)?,
            NodeKind::Constant(tensor) => {
                self.operands_are(node, 0)?;
                // A graph of a whole program has types of tensors nowhere, not of its constants either.
                if !matches!(node.outputs.as_slice(), [v] if *graph.ty(*v) == Type::AnyTensor) {
                    self.outputs_are(node, &[Type::Tensor(tensor.tensor_type())])?;
                }
            }
            NodeKind::HostOp(op) => {
                let ty = infer_host(graph, op, &node.operands)
                    .map_err(|e| self.at(node, e.message().to_string()))?;
                self.outputs_are(node, &[ty])?;
            }
            NodeKind::Call(callable) => {
                let args = self.value_operands(node)?;
                let args = args.iter().map(|&v| graph.tensor_type(v).cloned()).collect::<Result<Vec<_>>>();
                let args = args.map_err(|e| self.at(node, e.message().to_string()))?;
                let types = callable.infer(&args).map_err(|e| self.at(node, e.message().to_string()))?;
                self.outputs_are(node, &types.into_iter().map(Type::Tensor).collect::<Vec<_>>())?;
            }
            NodeKind::Fused | NodeKind::If | NodeKind::While => self.nested(node)?,
            NodeKind::Host(_) => self.host(node)?,
        }
        let wanted = match node.kind {
            NodeKind::Fused => 1,
            NodeKind::If | NodeKind::While => 2,
            NodeKind::Host(_) => node.blocks.len().min(1),
            NodeKind::Op(_) | NodeKind::Constant(_) | NodeKind::Call(_) | NodeKind::HostOp(_) => 0,
        };
        if node.blocks.len() != wanted {
            return Err(self.at(node, format!("{} blocks where {wanted} are wanted", node.blocks.len())));
        }
        node.outputs.iter().try_for_each(|&v| self.define(v))
    }

    fn op(&self, node: &Node) -> Result<()> {
        let op = node.op().expect("invariant: asked for op nodes only");
        let schema = schema(op);
        if node.operands.len() > schema.len() {
            let message = format!("{} operands for the schema {}", node.operands.len(), op.schema);
            return Err(self.at(node, message));
        }
        for (i, parameter) in schema.iter().enumerate() {
            let fits = match (node.operands.get(i), parameter.kind) {
                (None, _) => parameter.default.is_some() || parameter.optional,
                (Some(Operand::Value(v)), kind) => match (self.graph.ty(*v), kind) {
                    (Type::Tensor(_) | Type::AnyTensor, kind) => kind == OperandKind::Tensor,
                    (Type::Tuple(_) | Type::Dict(..) | Type::Object(_), _) => false,
                    (
                        Type::Int | Type::Float | Type::Bool | Type::Str | Type::Optional(_) | Type::None,
                        kind,
                    ) => kind != OperandKind::Tensors,
                    (Type::List(item), kind) => (kind == OperandKind::Tensors) == item.tensor().is_some(),
                },
                (Some(Operand::Values(list)), kind) => {
                    kind == OperandKind::Tensors && list.iter().all(|&v| self.graph.ty(v).tensor().is_some())
                }
                (Some(Operand::Host(Host::None)), _) => parameter.optional || parameter.default.is_some(),
                (Some(Operand::Host(Host::Scalar(_))), kind) => kind != OperandKind::Tensors,
                (Some(Operand::Host(_)), kind) => kind == OperandKind::Host,
            };
            if !fits {
                return Err(self.at(
                    node,
                    format!("operand '{}' does not fit the schema {}", parameter.name, op.schema),
                ));
            }
        }
        let dynamic = node
            .operands
            .iter()
            .any(|o| matches!(o, Operand::Value(v) if self.graph.ty(*v).tensor().is_none()));
        if dynamic {
            return Ok(());
        }
        let types =
            infer_op(self.graph, op, &node.operands).map_err(|e| self.at(node, e.message().to_string()))?;
        self.outputs_are(node, &types.into_iter().map(Type::Tensor).collect::<Vec<_>>())
    }

    fn operands_are(&self, node: &Node, count: usize) -> Result<()> {
        match node.operands.len() == count {
            true => Ok(()),
            false => Err(self.at(node, format!("{} operands where {count} are wanted", node.operands.len()))),
        }
    }

    fn value_operands(&self, node: &Node) -> Result<Vec<ValueId>> {
        let values = node.operands.iter().map(|o| match o {
            Operand::Value(v) => Ok(*v),
            Operand::Values(_) | Operand::Host(_) => {
                Err(self.at(node, "every operand must be a value".to_string()))
            }
        });
        values.collect()
    }

    fn outputs_are(&self, node: &Node, types: &[Type]) -> Result<()> {
        let annotated: Vec<&Type> = node.outputs.iter().map(|&v| self.graph.ty(v)).collect();
        match annotated.iter().copied().eq(types) {
            true => Ok(()),
            false => {
                let show = |list: &mut dyn Iterator<Item = String>| list.collect::<Vec<_>>().join(", ");
                let wanted = show(&mut types.iter().map(Type::to_string));
                let found = show(&mut annotated.iter().map(|t| t.to_string()));
                Err(self.at(node, format!("the outputs are annotated ({found}), the rule gives ({wanted})")))
            }
        }
    }

    fn types(&self, values: &[ValueId]) -> Vec<Type> {
        values.iter().map(|&v| self.graph.ty(v).clone()).collect()
    }

    fn nested(&mut self, node: &Node) -> Result<()> {
        let operands = self.types(&self.value_operands(node)?);
        let outputs = self.types(&node.outputs);
        let truth = |ty: &Type| {
            *ty == Type::Bool
                || matches!(ty.tensor(), Some(TensorType { dtype: DType::Bool, shape }) if shape.is_empty())
        };
        let carried = match node.kind {
            NodeKind::If => match operands.split_first() {
                Some((condition, [])) if truth(condition) => Vec::new(),
                _ => return Err(self.at(node, "the only operand must be a truth".to_string())),
            },
            _ => operands,
        };
        let outer = self.scope.clone();
        for (i, &block) in node.blocks.iter().enumerate() {
            if let NodeKind::Fused = node.kind {
                self.scope.iter_mut().filter(|s| **s == Scope::Live).for_each(|s| *s = Scope::Hidden);
            }
            self.block(block)?;
            for (scope, before) in self.scope.iter_mut().zip(&outer) {
                if *before == Scope::Live {
                    *scope = Scope::Live;
                }
            }
            let params = self.types(&self.graph.block(block).params);
            if params.len() != carried.len() || !carried.iter().zip(&params).all(|(c, p)| becomes(c, p)) {
                return Err(self.at(node, format!("block {i} does not take what the node gives it")));
            }
            let results = self.types(&self.graph.block(block).results);
            let is_condition = matches!(node.kind, NodeKind::While) && i == 0;
            let fits = if is_condition {
                matches!(results.as_slice(), [ty] if truth(ty))
            } else {
                results.len() == outputs.len() && results.iter().zip(&outputs).all(|(r, o)| becomes(r, o))
            };
            if !fits {
                return Err(self.at(node, format!("block {i} does not give what the node promises")));
            }
            if matches!(node.kind, NodeKind::Fused)
                && let Some(&inner) =
                    self.graph.block(block).nodes.iter().find(|&&n| {
                        !matches!(self.graph.node(n).kind, NodeKind::Op(_) | NodeKind::Constant(_))
                    })
            {
                return Err(
                    self.at(node, format!("a fused block holds a '{}'", self.graph.node(inner).kind.word()))
                );
            }
        }
        let grows = |(from, to): (&Type, &Type)| becomes(from, to);
        if matches!(node.kind, NodeKind::While)
            && (carried.len() != outputs.len() || !carried.iter().zip(&outputs).all(grows))
        {
            return Err(self.at(node, "the outputs must have the types of the carried values".to_string()));
        }
        Ok(())
    }

    /// What a call of the host takes and gives is the host's to know. A block of its own gives its outputs.
    fn host(&mut self, node: &Node) -> Result<()> {
        let outer = self.scope.clone();
        for &block in &node.blocks {
            self.block(block)?;
            self.scope.clone_from(&outer);
            let results = self.types(&self.graph.block(block).results);
            if !self.graph.block(block).params.is_empty() || results != self.types(&node.outputs) {
                return Err(self.at(node, "the block does not give what the node promises".to_string()));
            }
        }
        Ok(())
    }

    fn write_backs(&self) -> Result<()> {
        let (params, results) = (self.graph.params(), self.graph.results());
        for (k, &(input, result)) in self.graph.write_backs.iter().enumerate() {
            let (Some(&state), Some(&new)) = (params.get(input), results.get(result)) else {
                return Err(self.fault(format!("write-back {k} names input {input} and result {result}")));
            };
            if self.graph.inputs[input] != InputRole::State {
                return Err(
                    self.fault(format!("{} is written back but is not state", self.names.show(state)))
                );
            }
            if self.graph.ty(state) != self.graph.ty(new) {
                let (old, new) = (self.graph.ty(state), self.graph.ty(new));
                return Err(
                    self.fault(format!("a {new} is written back into {}, a {old}", self.names.show(state)))
                );
            }
            let twice = self.graph.write_backs[..k].iter().any(|(i, r)| *i == input || *r == result);
            if twice {
                return Err(self.fault(format!("{} is written back twice", self.names.show(state))));
            }
        }
        Ok(())
    }
}
