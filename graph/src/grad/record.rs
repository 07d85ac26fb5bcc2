//! Replaying a graph under a tracer, with a record for every node that a gradient passes.

use super::turns::Turns;
use super::{differentiable, here};
use crate::host::Item;
use crate::interpret::{self, Operands};
use crate::ir::{BlockId, Graph, Node, NodeId, NodeKind, ValueId};
use crate::trace::{Tracer, cond};
use runtime::callable::{Ask, Callable};
use runtime::device::DeviceId;
use runtime::door;
use runtime::error::{Error, Origin, Result};
use runtime::reverse::{self, Cotangents, Edge, Later, Recorded};
use runtime::table::{OpDef, Saves, Vjp, VjpContext};
use runtime::tensor::Tensor;
use runtime::value::Value;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;

/// Gradients of a record's tensor operands.
type Gradients = SmallVec<[Option<Tensor>; 3]>;

/// A replayed node.
#[derive(Clone)]
pub(super) struct Record<'a>(Arc<Facts<'a>>);

struct Facts<'a> {
    number: u64,
    outputs: usize,
    edges: SmallVec<[Edge<Record<'a>>; 3]>,
    rule: Rule<'a>,
    origin: Origin,
}

enum Rule<'a> {
    Op {
        op: &'static OpDef,
        args: Vec<Value>,
        outputs: Vec<Value>,
    },
    Call {
        callable: Arc<dyn Callable>,
        args: Vec<Tensor>,
        residuals: Vec<Tensor>,
    },
    If {
        graph: &'a Graph,
        tracer: &'a Arc<Tracer>,
        node: &'a Node,
        condition: Tensor,
        free: Vec<(ValueId, Item)>,
    },
    Turns {
        turns: Turns,
        tracer: &'a Arc<Tracer>,
        /// The values from outside that the loop reads.
        outside: Vec<Tensor>,
        /// The number of turns and the stacks.
        left: Vec<Tensor>,
    },
    Refuse(&'static str),
}

/// The state of a replay.
pub(super) struct Replay<'a> {
    graph: &'a Graph,
    tracer: &'a Arc<Tracer>,
    values: HashMap<ValueId, Item>,
    edges: HashMap<ValueId, Edge<Record<'a>>>,
    next: u64,
}

impl<'a> Replay<'a> {
    pub(super) fn new(graph: &'a Graph, tracer: &'a Arc<Tracer>) -> Replay<'a> {
        Replay { graph, tracer, values: HashMap::new(), edges: HashMap::new(), next: 0 }
    }

    /// Replays the whole graph; the inputs in `wanted` are leaves, known by their position.
    pub(super) fn body(&mut self, args: &[Tensor], wanted: &[bool]) -> Result<Vec<Tensor>> {
        for (i, (&param, arg)) in self.graph.params().iter().zip(args).enumerate() {
            self.values.insert(param, Item::Tensor(arg.clone()));
            if wanted[i] && differentiable(self.graph.ty(param)) {
                self.edges.insert(param, Edge::Leaf(i as u64));
            }
        }
        self.nodes(self.graph.body)?;
        self.graph.results().iter().map(|&v| self.tensor(v)).collect()
    }

    /// Where the gradient of a value goes.
    pub(super) fn edge(&self, value: ValueId) -> Edge<Record<'a>> {
        self.edges.get(&value).cloned().unwrap_or(Edge::None)
    }

    fn item(&self, value: ValueId) -> Result<Item> {
        self.values
            .get(&value)
            .cloned()
            .ok_or_else(|| Error::internal(format!("%{} is not computed yet", value.0)))
    }

    fn tensor(&self, value: ValueId) -> Result<Tensor> {
        self.item(value)?.tensor().cloned()
    }

    fn tensors(&self, values: &[ValueId]) -> Result<Vec<Tensor>> {
        values.iter().map(|&v| self.tensor(v)).collect()
    }

    fn nodes(&mut self, block: BlockId) -> Result<()> {
        self.graph.block(block).nodes.iter().try_for_each(|&node| self.node(node))
    }

    fn node(&mut self, id: NodeId) -> Result<()> {
        let graph = self.graph;
        let node = graph.node(id);
        let origin = node.origin.unwrap_or_else(here);
        match &node.kind {
            NodeKind::Op(op) => {
                let operands = Operands::of(&node.operands, |v| self.item(v))?;
                let args = operands.args();
                let outputs = door::bind(op, &args, origin)?;
                let (rule, saves) = match op.vjp {
                    Vjp::Rule(saves, _) => (None, saves),
                    Vjp::None(why) => (Some(why), Saves::NOTHING),
                    Vjp::Zero => return self.define(node, outputs, None),
                };
                let flat: Vec<ValueId> = node.reads().filter(|&v| graph.ty(v).tensor().is_some()).collect();
                let needs = self.needs(&flat);
                let rule = match rule {
                    Some(why) => Rule::Refuse(why),
                    None => Rule::Op {
                        op,
                        args: saves.keep(&args, needs),
                        outputs: keep_outputs(&outputs, saves),
                    },
                };
                self.define(node, outputs, Some((rule, &flat)))
            }
            NodeKind::Constant(tensor) => {
                let value = self.tracer.constant(tensor, origin)?;
                self.define(node, [value], None)
            }
            NodeKind::Fused => {
                let block = graph.block(node.blocks[0]);
                for (&param, value) in block.params.iter().zip(node.reads()) {
                    self.alias(param, value)?;
                }
                self.nodes(node.blocks[0])?;
                for (&output, &result) in node.outputs.iter().zip(&block.results) {
                    self.alias(output, result)?;
                }
                Ok(())
            }
            NodeKind::If => {
                let condition = self.item(node.operands[0].values()[0])?;
                let Item::Tensor(condition) = condition else {
                    return Err(
                        Error::gradient("a branch on a host value has no gradient in a graph").at(origin)
                    );
                };
                let free = self.free(node)?;
                let side = |at: usize| {
                    let mut inner = Replay::new(graph, self.tracer);
                    inner.values = free.iter().cloned().collect();
                    inner.nodes(node.blocks[at])?;
                    inner.tensors(&graph.block(node.blocks[at]).results)
                };
                let outputs = cond(&condition, || side(0), || side(1))?;
                let values: Vec<ValueId> = free.iter().map(|(v, _)| *v).collect();
                let rule = Rule::If { graph, tracer: self.tracer, node, condition, free };
                self.define(node, outputs, Some((rule, &values)))
            }
            NodeKind::Call(callable) => {
                let reads: Vec<ValueId> = node.reads().collect();
                let args = self.tensors(&reads)?;
                if self.needs(&reads) == 0 {
                    let outputs = door::call(callable, &args, origin)?;
                    return self.define(node, outputs, None);
                }
                let (outputs, residuals) = callable.run_with_residuals(&args)?;
                let rule = Rule::Call { callable: callable.clone(), args, residuals: residuals.into_vec() };
                self.define(node, outputs, Some((rule, &reads)))
            }
            NodeKind::While => self.repeat(node, origin),
            NodeKind::Host(call) => Err(interpret::foreign(call.as_ref()).at(origin)),
            NodeKind::HostOp(op) => {
                let mut inputs = Vec::new();
                for operand in &node.operands {
                    match operand {
                        crate::ir::Operand::Host(h) => inputs.push(Item::Host(h.clone())),
                        other => {
                            other.values().iter().try_for_each(|&v| self.item(v).map(|i| inputs.push(i)))?
                        }
                    }
                }
                let item = (op.run)(&inputs).map_err(|e| e.in_op(op.name).at(origin))?;
                node.outputs.iter().for_each(|&v| {
                    self.values.insert(v, item.clone());
                });
                Ok(())
            }
        }
    }

    /// A loop: as it is where no gradient passes, else with stacks for the loop back.
    fn repeat(&mut self, node: &'a Node, origin: Origin) -> Result<()> {
        let free = self.free(node)?;
        let mut reads: Vec<ValueId> = node.reads().collect();
        reads.extend(free.iter().map(|(v, _)| *v).filter(|&v| self.graph.ty(v).tensor().is_some()));
        let args = self.tensors(&reads)?;
        let device = args.first().map_or(DeviceId::Cpu, Tensor::device);
        let mut turns = Turns::of(self.graph, node, &free, device, origin)?;
        let needed: Vec<bool> = reads.iter().map(|&v| !matches!(self.edge(v), Edge::None)).collect();
        let Some(forward) = turns.forward(&needed)? else {
            let outputs = self.tracer.insert(turns.plain(), &args, origin)?;
            return self.define(node, outputs, None);
        };
        let mut outputs = self.tracer.insert(&forward, &args, origin)?;
        let left = outputs.split_off(node.outputs.len());
        let outside = args[node.outputs.len()..].to_vec();
        let rule = Rule::Turns { turns, tracer: self.tracer, outside, left };
        self.define(node, outputs, Some((rule, &reads)))
    }

    /// The values from outside that the blocks of a node read.
    fn free(&self, node: &Node) -> Result<Vec<(ValueId, Item)>> {
        let mut free: Vec<ValueId> = node.blocks.iter().flat_map(|&b| self.graph.free_values(b)).collect();
        free.sort_unstable();
        free.dedup();
        free.into_iter().map(|v| Ok((v, self.item(v)?))).collect()
    }

    fn needs(&self, values: &[ValueId]) -> u64 {
        let each = values.iter().enumerate();
        each.fold(0, |n, (i, v)| n | (!matches!(self.edge(*v), Edge::None) as u64) << i.min(63))
    }

    fn alias(&mut self, new: ValueId, old: ValueId) -> Result<()> {
        let item = self.item(old)?;
        self.values.insert(new, item);
        let edge = self.edge(old);
        self.edges.insert(new, edge);
        Ok(())
    }

    /// Notes a node's outputs; where a gradient flows from them to `reads`, also a record.
    fn define(
        &mut self,
        node: &Node,
        outputs: impl IntoIterator<Item = Tensor>,
        rule: Option<(Rule<'a>, &[ValueId])>,
    ) -> Result<()> {
        for (&value, tensor) in node.outputs.iter().zip(outputs) {
            self.values.insert(value, Item::Tensor(tensor));
        }
        let Some((rule, reads)) = rule else { return Ok(()) };
        if self.needs(reads) == 0 || !node.outputs.iter().any(|&v| differentiable(self.graph.ty(v))) {
            return Ok(());
        }
        let record = Record(Arc::new(Facts {
            number: self.next,
            outputs: node.outputs.len(),
            edges: reads.iter().map(|&v| self.edge(v)).collect(),
            rule,
            origin: node.origin.unwrap_or_else(here),
        }));
        self.next += 1;
        for (i, &value) in node.outputs.iter().enumerate().filter(|(_, v)| differentiable(self.graph.ty(**v)))
        {
            self.edges.insert(value, Edge::Record(record.clone(), i as u32));
        }
        Ok(())
    }
}

fn keep_outputs(outputs: &[Tensor], saves: Saves) -> Vec<Value> {
    let each = outputs.iter().enumerate();
    each.map(|(i, t)| if saves.output(i) { Value::Tensor(t.clone()) } else { Value::Type(t.tensor_type()) })
        .collect()
}

impl<'a> Recorded for Record<'a> {
    fn number(&self) -> u64 {
        self.0.number
    }

    fn outputs(&self) -> usize {
        self.0.outputs
    }

    fn edge(&self, operand: usize) -> Edge<Self> {
        self.0.edges.get(operand).cloned().unwrap_or(Edge::None)
    }

    fn vjp(&self, cotangents: &Cotangents, _: &Later) -> Result<Gradients> {
        let facts = &*self.0;
        let needs = facts.edges.iter().enumerate();
        let needs = needs.fold(0u64, |n, (i, e)| n | (!matches!(e, Edge::None) as u64) << i.min(63));
        match &facts.rule {
            Rule::Op { op, args, outputs } => match op.vjp {
                Vjp::Rule(_, rule) => rule(&VjpContext { op, args, outputs, cotangents, needs, later: None })
                    .map_err(|e| e.in_op(op.name)),
                Vjp::Zero | Vjp::None(_) => Ok(SmallVec::from_elem(None, facts.edges.len())),
            },
            Rule::Call { callable, args, residuals } => {
                let gradients = callable.clone().vjp(args, residuals, cotangents, Ask::ALL)?;
                Ok(gradients.into_iter().collect())
            }
            Rule::If { graph, tracer, node, condition, free } => {
                branch(graph, tracer, node, condition, free, cotangents, needs)
            }
            Rule::Turns { turns, tracer, outside, left } => {
                loop_back(turns, tracer, outside, left, cotangents, facts.origin)
            }
            Rule::Refuse(why) => Err(Error::gradient(format!("no gradient, because {why}"))),
        }
        .map_err(|e| e.at(facts.origin))
    }
}

/// The gradients of a loop's first carried values and of what it reads from outside.
fn loop_back(
    turns: &Turns,
    tracer: &Arc<Tracer>,
    outside: &[Tensor],
    left: &[Tensor],
    cotangents: &Cotangents,
    origin: Origin,
) -> Result<Gradients> {
    let given: Vec<bool> = cotangents.iter().map(Option::is_some).collect();
    let (graph, there) = turns.backward(&given)?;
    let seeds = cotangents.iter().zip(&there).filter(|(_, there)| **there).filter_map(|(c, _)| c.as_ref());
    let args: Vec<Tensor> = outside.iter().chain(left).chain(seeds).cloned().collect();
    let mut gradients = tracer.insert(&graph, &args, origin)?.into_iter();
    Ok(there.into_iter().map(|there| if there { gradients.next() } else { None }).collect())
}

/// The gradient of a branch: the chosen side again, with records, and its walk.
fn branch(
    graph: &Graph,
    tracer: &Arc<Tracer>,
    node: &Node,
    condition: &Tensor,
    free: &[(ValueId, Item)],
    cotangents: &Cotangents,
    needs: u64,
) -> Result<Gradients> {
    let wanted = |i: usize| needs >> i.min(63) & 1 == 1;
    let side = |at: usize| -> Result<Vec<Tensor>> {
        let mut inner = Replay::new(graph, tracer);
        inner.values = free.iter().cloned().collect();
        for (i, (value, _)) in free.iter().enumerate().filter(|(i, _)| wanted(*i)) {
            inner.edges.insert(*value, Edge::Leaf(i as u64));
        }
        inner.nodes(node.blocks[at])?;
        let results = &graph.block(node.blocks[at]).results;
        let roots = results.iter().zip(cotangents).filter_map(|(&v, c)| Some((inner.edge(v), c.clone()?)));
        let mut leaves = reverse::walk(roots.collect::<Vec<_>>(), |_, _| Ok(()))?;
        let mut gradients = Vec::new();
        for (i, (_, item)) in free.iter().enumerate().filter(|(i, _)| wanted(*i)) {
            gradients.push(match leaves.remove(&(i as u64)) {
                Some(gradient) => gradient,
                None => item.tensor()?.zeros_like(None)?,
            });
        }
        Ok(gradients)
    };
    let mut gradients = cond(condition, || side(0), || side(1))?.into_iter();
    Ok((0..free.len()).map(|i| if wanted(i) { gradients.next() } else { None }).collect())
}
