//! The same graph for inputs of other types: every op is inferred again. Sizes that the recorded program had built in stay
//! as they are, so a graph that depends on them is refused here, by its op, rather than computing something else.

use crate::build::{Builder, ValueMap};
use crate::ir::{BlockId, Graph, NodeId, NodeKind, Operand, Type};
use runtime::error::{Error, Result};
use runtime::infer::TensorType;
use runtime::value::Host;

/// The graph for inputs of these types; roles, names and write-backs stay.
pub fn specialize(graph: &Graph, inputs: &[TensorType]) -> Result<Graph> {
    specialize_with(graph, inputs, &|host| Ok(host.clone()))
}

/// The graph for inputs of these types, with other numbers of the host.
pub(crate) fn specialize_with(
    graph: &Graph,
    inputs: &[TensorType],
    numbers: &dyn Fn(&Host) -> Result<Host>,
) -> Result<Graph> {
    if inputs.len() != graph.params().len() {
        let message = format!("{} arguments for {} inputs", inputs.len(), graph.params().len());
        return Err(Error::value(message).in_op("specialize"));
    }
    let mut builder = Builder::new(graph.name.clone());
    let mut map = ValueMap::new(graph);
    for ((&param, ty), &role) in graph.params().iter().zip(inputs).zip(&graph.inputs) {
        let new = builder.input(Type::Tensor(ty.clone()), role, &graph.value(param).name);
        map.set(param, new);
    }
    for &node in &graph.main().nodes {
        again(graph, node, &mut builder, &mut map, numbers)?;
    }
    let results: Vec<_> = graph.results().iter().map(|&v| map.get(v)).collect::<Result<_>>()?;
    for &(input, result) in &graph.write_backs {
        let (old, new) = (Type::Tensor(inputs[input].clone()), builder.graph().ty(results[result]));
        if old != *new {
            return Err(Error::shape(format!("state of type {old} would become {new}")).in_op("specialize"));
        }
    }
    Ok(builder.finish(results, graph.write_backs.clone()))
}

fn again(
    graph: &Graph,
    id: NodeId,
    builder: &mut Builder,
    map: &mut ValueMap,
    numbers: &dyn Fn(&Host) -> Result<Host>,
) -> Result<()> {
    let node = graph.node(id);
    let operand = |operand: &Operand| match operand {
        Operand::Host(host) => numbers(host).map(Operand::Host),
        Operand::Value(_) | Operand::Values(_) => map.operand(operand),
    };
    let operands: Vec<Operand> = node.operands.iter().map(operand).collect::<Result<_>>()?;
    let reads = |builder: &Builder| -> Vec<Type> {
        let values = operands.iter().flat_map(|o| o.values());
        values.map(|&v| builder.graph().ty(v).clone()).collect()
    };
    let located = |e: Error| match node.origin {
        Some(origin) => e.at(origin),
        None => e,
    };
    let (kind, origin) = (node.kind.clone(), node.origin);
    let new = match &node.kind {
        NodeKind::Op(op) => {
            let dynamic = operands
                .iter()
                .any(|o| matches!(o, Operand::Value(v) if builder.graph().ty(*v).tensor().is_none()));
            if dynamic {
                builder.copy_with(graph, id, operands, map)?;
                return Ok(());
            }
            builder.op(op, operands, origin).map_err(|e| {
                located(e).hint("the recorded program has sizes of its example built in; record it again for these shapes")
            })?
        }
        NodeKind::Constant(tensor) => vec![builder.constant(tensor.clone(), origin)],
        NodeKind::HostOp(op) => vec![builder.host_op(op, operands, origin).map_err(located)?],
        NodeKind::Call(callable) => {
            let types: Option<Vec<TensorType>> = reads(builder).iter().map(|t| t.tensor().cloned()).collect();
            let types = types.ok_or_else(|| Error::internal("a call takes tensors"))?;
            let outputs = callable.infer(&types).map_err(located)?;
            let outputs: Vec<Type> = outputs.into_iter().map(Type::Tensor).collect();
            let node = builder.node(kind, operands, Vec::new(), &outputs, origin);
            builder.outputs(node).to_vec()
        }
        NodeKind::Host(_) => {
            builder.copy_with(graph, id, operands, map)?;
            return Ok(());
        }
        NodeKind::Fused | NodeKind::If | NodeKind::While => {
            let carried = if matches!(node.kind, NodeKind::If) { Vec::new() } else { reads(builder) };
            let mut blocks = Vec::new();
            for &inner in &node.blocks {
                blocks.push(block(graph, inner, &carried, builder, map, numbers)?);
            }
            let types = blocks.iter().map(|&b| {
                let results = &builder.graph().block(b).results;
                results.iter().map(|&v| builder.graph().ty(v).clone()).collect::<Vec<_>>()
            });
            let types: Vec<Vec<Type>> = types.collect();
            let outputs = types.last().cloned().unwrap_or_default();
            let regular = match node.kind {
                NodeKind::If => types[0] == outputs,
                NodeKind::While => carried == outputs,
                _ => true,
            };
            if !regular {
                return Err(located(Error::shape(
                    "the blocks of a branch or loop give different types for these inputs",
                )));
            }
            let node = builder.node(kind, operands, blocks, &outputs, origin);
            builder.outputs(node).to_vec()
        }
    };
    for (&old, &value) in node.outputs.iter().zip(&new) {
        let name = graph.value(old).name.clone();
        builder.rename(value, &name);
        map.set(old, value);
    }
    Ok(())
}

fn block(
    graph: &Graph,
    id: BlockId,
    params: &[Type],
    builder: &mut Builder,
    map: &mut ValueMap,
    numbers: &dyn Fn(&Host) -> Result<Host>,
) -> Result<BlockId> {
    let new = builder.begin(params);
    let values = builder.graph().block(new).params.clone();
    for (&old, value) in graph.block(id).params.iter().zip(values) {
        map.set(old, value);
    }
    for &node in &graph.block(id).nodes {
        again(graph, node, builder, map, numbers)?;
    }
    let results = graph.block(id).results.iter().map(|&v| map.get(v)).collect::<Result<_>>()?;
    Ok(builder.end(results))
}
