//! Runs a graph node by node through the door: the oracle of everything that runs graphs faster, and the way in which a
//! graph becomes part of another trace or tape.

use crate::build::{Builder, ValueMap};
use crate::host::Item;
use crate::ir::{BlockId, Graph, HostCall, InputRole, Node, NodeId, NodeKind, Operand, ValueId};
use crate::trace::region;
use kernels::Scalar;
use runtime::door::{self, Observe};
use runtime::error::{Error, Origin, Result};
use runtime::interrupt;
use runtime::table::OpDef;
use runtime::tensor::Tensor;
use runtime::value::{Arg, Host};

/// Runs a graph of tensors; one tensor for each input, one for each result (new values of state included).
pub fn run(graph: &Graph, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let items: Vec<Item> = inputs.iter().cloned().map(Item::Tensor).collect();
    run_items(graph, &items)?.iter().map(|i| i.tensor().cloned()).collect()
}

/// Runs a graph of any values.
pub fn run_items(graph: &Graph, inputs: &[Item]) -> Result<Vec<Item>> {
    let mut machine = Machine { graph, values: vec![None; graph.value_count()] };
    machine.block(graph.body, inputs)
}

/// The operands of an op node with their values, held to be lent to the op.
pub(crate) struct Operands(Vec<Held>);

impl Operands {
    /// Operands whose values `get` knows.
    pub(crate) fn of(operands: &[Operand], get: impl Fn(ValueId) -> Result<Item>) -> Result<Operands> {
        let held = operands.iter().map(|operand| match operand {
            Operand::Host(h) => Ok(Held::Host(h.clone())),
            Operand::Value(v) => held_item(&get(*v)?),
            Operand::Values(list) => {
                let tensors = list.iter().map(|&v| get(v)?.tensor().cloned()).collect::<Result<_>>()?;
                Ok(Held::Tensors(tensors))
            }
        });
        Ok(Operands(held.collect::<Result<_>>()?))
    }

    /// As `bind` takes them.
    pub(crate) fn args(&self) -> Vec<Arg<'_>> {
        let each = self.0.iter().map(|h| match h {
            Held::Tensor(t) => Arg::Tensor(t),
            Held::Tensors(list) => Arg::Tensors(list),
            Held::Host(h) => h.as_arg(),
        });
        each.collect()
    }
}

struct Machine<'a> {
    graph: &'a Graph,
    values: Vec<Option<Item>>,
}

/// An operand as it is handed to an op.
enum Held {
    Tensor(Tensor),
    Tensors(Vec<Tensor>),
    Host(Host),
}

impl Machine<'_> {
    fn get(&self, value: ValueId) -> Result<&Item> {
        self.values[value.0 as usize]
            .as_ref()
            .ok_or_else(|| Error::internal(format!("value {} is read before it is computed", value.0)))
    }

    /// Blocks nest as deep as the program text, so this recursion is bounded by it.
    fn block(&mut self, id: BlockId, inputs: &[Item]) -> Result<Vec<Item>> {
        let block = self.graph.block(id);
        if inputs.len() != block.params.len() {
            let message = format!("{} inputs for a block of {}", inputs.len(), block.params.len());
            return Err(Error::value(message));
        }
        for (&param, item) in block.params.iter().zip(inputs) {
            self.values[param.0 as usize] = Some(item.clone());
        }
        for &node in &block.nodes {
            self.node(node)?;
        }
        block.results.iter().map(|&v| self.get(v).cloned()).collect()
    }

    fn node(&mut self, id: NodeId) -> Result<()> {
        let node = self.graph.node(id);
        let outputs = self.outputs(node).map_err(|e| match node.origin {
            Some(origin) => e.at(origin),
            None => e,
        })?;
        if outputs.len() != node.outputs.len() {
            return Err(Error::internal(format!(
                "{} outputs, the node has {}",
                outputs.len(),
                node.outputs.len()
            ))
            .in_op(node.op().map_or("node", |op| op.name)));
        }
        for (&value, item) in node.outputs.iter().zip(outputs) {
            self.values[value.0 as usize] = Some(item);
        }
        Ok(())
    }

    fn outputs(&mut self, node: &Node) -> Result<Vec<Item>> {
        if let NodeKind::If | NodeKind::While = node.kind
            && let Some(outputs) = self.staged(node)?
        {
            return Ok(outputs);
        }
        match &node.kind {
            NodeKind::Op(op) => self.op(op, node),
            NodeKind::Constant(tensor) => Ok(vec![Item::Tensor(tensor.clone())]),
            NodeKind::Fused => {
                let inputs = self.items(node)?;
                self.block(node.blocks[0], &inputs)
            }
            NodeKind::If => {
                let [condition] =
                    self.items(node)?.try_into().map_err(|_| Error::internal("a branch on nothing"))?;
                let taken = if truth(&condition, node)? { 0 } else { 1 };
                self.block(node.blocks[taken], &[])
            }
            NodeKind::While => {
                let mut carried = self.items(node)?;
                loop {
                    interrupt::check()?;
                    let condition = self.block(node.blocks[0], &carried)?;
                    match condition.as_slice() {
                        [condition] if truth(condition, node)? => {
                            carried = self.block(node.blocks[1], &carried)?
                        }
                        [_] => return Ok(carried),
                        _ => return Err(Error::internal("a loop without condition")),
                    }
                }
            }
            NodeKind::Call(callable) => {
                let inputs = self.items(node)?;
                let inputs = inputs.iter().map(|i| i.tensor().cloned()).collect::<Result<Vec<_>>>()?;
                let outputs = door::call(callable, &inputs, origin(node))?;
                Ok(outputs.into_iter().map(Item::Tensor).collect())
            }
            NodeKind::HostOp(op) => {
                let inputs = self.items(node)?;
                Ok(vec![(op.run)(&inputs).map_err(|e| e.in_op(op.name))?])
            }
            NodeKind::Host(call) => Err(foreign(call.as_ref())),
        }
    }

    /// A branch or loop on traced tensors: nothing is known that could decide it, so it becomes a node of the trace.
    fn staged(&self, node: &Node) -> Result<Option<Vec<Item>>> {
        let free = node.blocks.iter().flat_map(|&b| self.graph.free_values(b));
        let mut reads: Vec<ValueId> = node.reads().collect();
        for value in free {
            if !reads.contains(&value) {
                reads.push(value);
            }
        }
        let tensors = reads.iter().map(|&v| self.get(v)?.tensor().cloned()).collect::<Result<Vec<_>>>();
        let Ok(tensors) = tensors else { return Ok(None) };
        if region::staging(&tensors).is_none() {
            return Ok(None);
        }
        let mut builder = Builder::new(node.kind.word());
        let mut map = ValueMap::new(self.graph);
        for &value in &reads {
            let info = self.graph.value(value);
            map.set(value, builder.input(info.ty.clone(), InputRole::Argument, &info.name));
        }
        let operands = node.operands.iter().map(|o| map.operand(o)).collect::<Result<_>>()?;
        let made = builder.copy_node(self.graph, node, operands, &mut map)?;
        let results = builder.outputs(made).to_vec();
        let outputs = region::call(builder.finish(results, Vec::new()), &tensors, origin(node))?;
        Ok(Some(outputs.into_iter().map(Item::Tensor).collect()))
    }

    fn items(&self, node: &Node) -> Result<Vec<Item>> {
        let mut items = Vec::with_capacity(node.operands.len());
        for operand in &node.operands {
            match operand {
                Operand::Host(h) => items.push(Item::Host(h.clone())),
                Operand::Value(_) | Operand::Values(_) => {
                    for &v in operand.values() {
                        items.push(self.get(v)?.clone());
                    }
                }
            }
        }
        Ok(items)
    }

    fn op(&self, op: &'static OpDef, node: &Node) -> Result<Vec<Item>> {
        let operands = Operands::of(&node.operands, |v| self.get(v).cloned())?;
        Ok(door::bind(op, &operands.args(), origin(node))?.into_iter().map(Item::Tensor).collect())
    }
}

/// The error of a call that only the host of its program can make.
pub(crate) fn foreign(call: &dyn HostCall) -> Error {
    Error::value(format!("only the host of a program can make the call {}", call.name()))
}

fn origin(node: &Node) -> Origin {
    node.origin.unwrap_or_else(Origin::caller)
}

/// A value as an operand: lists of integers and of tensors become what ops take.
fn held_item(item: &Item) -> Result<Held> {
    match item {
        Item::Tensor(t) => Ok(Held::Tensor(t.clone())),
        Item::Host(h) => Ok(Held::Host(h.clone())),
        Item::List(items) if items.iter().all(|i| matches!(i, Item::Tensor(_))) && !items.is_empty() => {
            Ok(Held::Tensors(items.iter().map(|i| i.tensor().cloned()).collect::<Result<_>>()?))
        }
        Item::List(items) | Item::Tuple(items) => {
            let ints = items.iter().map(|i| i.scalar().map(Scalar::to_i64)).collect::<Result<_>>()?;
            Ok(Held::Host(Host::Ints(ints)))
        }
        Item::Dict(_) => Err(Error::value("a dictionary cannot be an operand of a tensor op")),
    }
}

fn truth(item: &Item, node: &Node) -> Result<bool> {
    match item {
        Item::Tensor(t) => Ok(door::observe(t, Observe::Truth, origin(node))?.item()?.to_bool()),
        Item::Host(_) | Item::List(_) | Item::Tuple(_) | Item::Dict(_) => Ok(item.scalar()?.to_bool()),
    }
}
