//! From op nodes to one region of the loop language: what a fused node means, and what fusing tries out.

use crate::ir::{BlockId, Graph, Node, NodeId, NodeKind, Operand, Type, ValueId};
use kernels::loops::{self, Region};
use kernels::{DType, Dims};
use runtime::error::{Error, Result};
use runtime::lower::{self, RegionArg};
use runtime::table::Lower;
use runtime::tensor::Tensor;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// The region of the block of a fused node: its parameters are the inputs, its results the outputs.
pub fn region_of_block(graph: &Graph, block: BlockId) -> Result<Region> {
    let block = graph.block(block);
    region_of(graph, &block.params, &block.nodes, &block.results)
}

/// The region that computes `results` from `inputs` by `nodes` (in order).
pub fn region_of(graph: &Graph, inputs: &[ValueId], nodes: &[NodeId], results: &[ValueId]) -> Result<Region> {
    let mut grown = Grown { graph, region: Region::new(), values: HashMap::new() };
    for &input in inputs {
        let ty = graph.tensor_type(input)?;
        let node = grown.region.input(ty.dtype, &ty.constant_dims()?);
        grown.values.insert(input, node);
    }
    for &node in nodes {
        grown.append(graph.node(node))?;
    }
    for &result in results {
        let node = grown.get(result)?;
        grown.region.output(node);
    }
    Ok(grown.region)
}

/// Whether a node can be part of a region at all.
pub fn can_join(graph: &Graph, node: &Node) -> bool {
    let known = || {
        let known_type = |v: ValueId| matches!(graph.ty(v), Type::Tensor(t) if t.dims().is_some());
        node.reads().chain(node.outputs.iter().copied()).all(known_type)
    };
    match &node.kind {
        NodeKind::Op(op) => match op.lower {
            Lower::Map(_) | Lower::Loop(_) | Lower::View(_, Some(_)) => known(),
            Lower::View(_, None) | Lower::Steps(_) => false,
        },
        NodeKind::Constant(tensor) => tensor.rank() == 0 && tensor.storage().is_ok(),
        NodeKind::Fused
        | NodeKind::If
        | NodeKind::While
        | NodeKind::Call(_)
        | NodeKind::HostOp(_)
        | NodeKind::Host(_) => false,
    }
}

/// The names of a block's ops, for readers.
pub fn label(graph: &Graph, block: BlockId) -> Arc<str> {
    let names: Vec<&str> = graph.block(block).nodes.iter().map(|&n| graph.node(n).kind.word()).collect();
    const SHOWN: usize = 6;
    match names.len() > SHOWN {
        true => format!("{}+{} more", names[..SHOWN].join("+"), names.len() - SHOWN).into(),
        false => names.join("+").into(),
    }
}

struct Grown<'g> {
    graph: &'g Graph,
    region: Region,
    values: HashMap<ValueId, loops::Node>,
}

impl Grown<'_> {
    fn get(&self, value: ValueId) -> Result<loops::Node> {
        self.values
            .get(&value)
            .copied()
            .ok_or_else(|| Error::internal(format!("%{} is not part of the region", value.0)))
    }

    fn append(&mut self, node: &Node) -> Result<()> {
        let op = match &node.kind {
            NodeKind::Op(op) => *op,
            NodeKind::Constant(tensor) => return self.constant(node.outputs[0], tensor),
            other => return Err(Error::internal(format!("a {other:?} node cannot be part of a region"))),
        };
        let mut args: SmallVec<[RegionArg; 4]> = SmallVec::new();
        for operand in &node.operands {
            args.push(match operand {
                Operand::Value(v) => RegionArg::Node(self.get(*v)?),
                Operand::Values(list) => {
                    RegionArg::Nodes(list.iter().map(|&v| self.get(v)).collect::<Result<_>>()?)
                }
                Operand::Host(h) => RegionArg::Host(h.as_arg()),
            });
        }
        let types = node
            .outputs
            .iter()
            .map(|&v| {
                let ty = self.graph.tensor_type(v)?;
                Ok((ty.dtype, ty.constant_dims()?))
            })
            .collect::<Result<SmallVec<[(DType, Dims); 1]>>>()?;
        let (made, params) = lower::append(op, &mut self.region, &args, &types, true)?;
        if !params.is_empty() {
            return Err(Error::internal("a baked lowering asks for launch parameters").in_op(op.name));
        }
        self.values.extend(node.outputs.iter().copied().zip(made));
        Ok(())
    }

    fn constant(&mut self, value: ValueId, tensor: &Tensor) -> Result<()> {
        let node = self.region.constant(tensor.item()?, tensor.dtype());
        self.values.insert(value, node);
        Ok(())
    }
}
