//! A graph as instructions on registers: one register for each value and constant, jumps for branches and loops. The carried
//! values of a loop live in one register each, from the first turn to what follows the loop.

use super::action::{Action, Call};
use super::region::Region;
use crate::syntax::{BinaryOp, CompareOp};
use crate::tree::Arithmetic;
use graph::ir::{BlockId, Graph, Node, NodeId, NodeKind, Operand, ValueId};
use runtime::error::{Error, Origin, Result};
use runtime::{Host, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// No register.
pub(super) const NOWHERE: u32 = u32::MAX;

/// One step of a program.
pub(super) enum Instruction {
    /// Does an action.
    Do { call: Arc<dyn graph::HostCall>, args: Range<u32>, out: u32, origin: Origin },
    /// Arithmetic of two ints.
    Ints { op: BinaryOp, a: u32, b: u32, out: u32, origin: Origin },
    /// A comparison of two numbers.
    Compare { op: CompareOp, a: u32, b: u32, out: u32, origin: Origin },
    /// The parts of a container.
    Unpack { from: u32, outs: Range<u32>, origin: Origin },
    /// Whether a loop has a next element, and it.
    Next { from: u32, more: u32, element: u32, origin: Origin },
    /// Copies a value.
    Copy { from: u32, to: u32 },
    /// Moves a value that nobody else reads.
    Move { from: u32, to: u32 },
    /// Goes on there.
    Jump(u32),
    /// Goes on there unless the truth holds.
    Unless { test: u32, to: u32 },
    /// A loop's next turn begins.
    Turn(Origin),
    /// Runs a compiled region and goes on behind its own instructions, which follow for where it cannot.
    Region { number: u32, args: Range<u32>, outs: Range<u32>, to: u32, origin: Origin },
}

/// A program as instructions.
pub(super) struct Code {
    pub(super) instructions: Vec<Instruction>,
    /// Operands of instructions, one after the other.
    pub(super) places: Vec<u32>,
    /// Registers that hold constants.
    pub(super) constants: Vec<(u32, Host)>,
    /// Registers that hold tensors that never change.
    pub(super) tensors: Vec<(u32, Tensor)>,
    /// How many registers there are; the first are the parameters.
    pub(super) registers: u32,
    /// Where the result is.
    pub(super) result: u32,
    pub(super) regions: Vec<Region>,
}

impl Code {
    /// The instructions of a graph with one result.
    pub(super) fn of(graph: &Arc<Graph>) -> Result<Code> {
        let [result] = graph.results() else { return Err(Error::internal("a function has one result")) };
        let mut writer = Writer {
            graph,
            code: Code {
                instructions: Vec::new(),
                places: Vec::new(),
                constants: Vec::new(),
                tensors: Vec::new(),
                registers: 0,
                result: 0,
                regions: Vec::new(),
            },
            at: vec![None; graph.value_count()],
        };
        for &param in graph.params() {
            writer.register(param);
        }
        writer.block(graph.body)?;
        writer.code.result = writer.place(*result)?;
        Ok(writer.code)
    }
}

struct Writer<'g> {
    graph: &'g Arc<Graph>,
    code: Code,
    /// The register of each value.
    at: Vec<Option<u32>>,
}

impl Writer<'_> {
    fn fresh(&mut self) -> u32 {
        self.code.registers += 1;
        self.code.registers - 1
    }

    fn register(&mut self, value: ValueId) -> u32 {
        let register = self.fresh();
        self.at[value.0 as usize] = Some(register);
        register
    }

    fn place(&self, value: ValueId) -> Result<u32> {
        self.at[value.0 as usize]
            .ok_or_else(|| Error::internal(format!("%{} is read before it is made", value.0)))
    }

    fn constant(&mut self, host: &Host) -> u32 {
        if let Some((register, _)) = self.code.constants.iter().find(|(_, known)| known == host) {
            return *register;
        }
        let register = self.fresh();
        self.code.constants.push((register, host.clone()));
        register
    }

    fn operand(&mut self, operand: &Operand) -> Result<u32> {
        match operand {
            Operand::Value(v) => self.place(*v),
            Operand::Host(host) => Ok(self.constant(host)),
            Operand::Values(_) => Err(Error::internal("a list of operands of a host's call")),
        }
    }

    fn list(&mut self, registers: &[u32]) -> Range<u32> {
        let start = self.code.places.len() as u32;
        self.code.places.extend(registers);
        start..self.code.places.len() as u32
    }

    fn push(&mut self, instruction: Instruction) -> usize {
        self.code.instructions.push(instruction);
        self.code.instructions.len() - 1
    }

    fn here(&self) -> u32 {
        self.code.instructions.len() as u32
    }

    fn aim(&mut self, at: usize) {
        let here = self.here();
        match &mut self.code.instructions[at] {
            Instruction::Jump(to) | Instruction::Unless { to, .. } | Instruction::Region { to, .. } => {
                *to = here
            }
            _ => {}
        }
    }

    fn block(&mut self, block: BlockId) -> Result<()> {
        let graph = self.graph.clone();
        graph.block(block).nodes.iter().try_for_each(|&id| self.node(&graph, id))
    }

    fn node(&mut self, graph: &Graph, id: NodeId) -> Result<()> {
        let node = graph.node(id);
        match &node.kind {
            NodeKind::HostOp(op) if op.name == "host.literal" => {
                let Some(Operand::Host(host)) = node.operands.first() else {
                    return Err(Error::internal("a literal without value"));
                };
                let register = self.constant(host);
                self.at[node.outputs[0].0 as usize] = Some(register);
                Ok(())
            }
            NodeKind::Constant(tensor) => {
                let register = self.register(node.outputs[0]);
                self.code.tensors.push((register, tensor.clone()));
                Ok(())
            }
            NodeKind::If => self.branch(graph, node),
            NodeKind::While => self.repeat(graph, node),
            NodeKind::Host(_) if !node.blocks.is_empty() => self.region(graph, node),
            NodeKind::Host(_) => self.call(node),
            other => Err(Error::internal(format!("the host does not run '{}'", other.word()))),
        }
    }

    fn call(&mut self, node: &Node) -> Result<()> {
        let NodeKind::Host(call) = &node.kind else { return Err(Error::internal("no call of the host")) };
        let action = &Call::of(call.as_ref()).ok_or_else(|| Error::internal("a foreign call"))?.action;
        let origin = node.origin.unwrap_or_else(Origin::caller);
        let mut args = Vec::with_capacity(node.operands.len());
        for operand in &node.operands {
            args.push(self.operand(operand)?);
        }
        if let (Action::Widen(_), [register]) = (action, args.as_slice()) {
            self.at[node.outputs[0].0 as usize] = Some(*register);
            return Ok(());
        }
        let outs: Vec<u32> = node.outputs.iter().map(|&v| self.register(v)).collect();
        let out = outs.first().copied().unwrap_or(NOWHERE);
        let instruction = match (action, args.as_slice()) {
            (Action::Arithmetic(Arithmetic::Int, op), &[a, b]) => {
                Instruction::Ints { op: *op, a, b, out, origin }
            }
            (Action::Compare(op), &[a, b]) => Instruction::Compare { op: *op, a, b, out, origin },
            (Action::Unpack, &[from]) => Instruction::Unpack { from, outs: self.list(&outs), origin },
            (Action::Next, &[from]) => Instruction::Next { from, more: outs[0], element: outs[1], origin },
            _ => Instruction::Do { call: call.clone(), args: self.list(&args), out, origin },
        };
        self.push(instruction);
        Ok(())
    }

    fn branch(&mut self, graph: &Graph, node: &Node) -> Result<()> {
        let outs: Vec<u32> = node.outputs.iter().map(|&v| self.register(v)).collect();
        let test = self.operand(&node.operands[0])?;
        let otherwise = self.push(Instruction::Unless { test, to: 0 });
        let mut end = 0;
        for (side, &block) in node.blocks.iter().enumerate() {
            self.block(block)?;
            self.copies(&graph.block(block).results, &outs)?;
            if side == 0 {
                end = self.push(Instruction::Jump(0));
                self.aim(otherwise);
            }
        }
        self.aim(end);
        // A branch that only chooses is a jump less.
        if self.here() as usize == end + 1 {
            self.code.instructions.pop();
            self.aim(otherwise);
        }
        Ok(())
    }

    fn repeat(&mut self, graph: &Graph, node: &Node) -> Result<()> {
        let origin = node.origin.unwrap_or_else(Origin::caller);
        let outs: Vec<u32> = node.outputs.iter().map(|&v| self.register(v)).collect();
        for (operand, &out) in node.operands.iter().zip(&outs) {
            let from = self.operand(operand)?;
            self.push(Instruction::Copy { from, to: out });
        }
        for &block in &node.blocks {
            for (&param, &out) in graph.block(block).params.iter().zip(&outs) {
                self.at[param.0 as usize] = Some(out);
            }
        }
        let top = self.here();
        self.block(node.blocks[0])?;
        let test = self.place(graph.block(node.blocks[0]).results[0])?;
        let end = self.push(Instruction::Unless { test, to: 0 });
        self.push(Instruction::Turn(origin));
        self.block(node.blocks[1])?;
        self.copies(&graph.block(node.blocks[1]).results, &outs)?;
        self.push(Instruction::Jump(top));
        self.aim(end);
        Ok(())
    }

    /// Copies values to registers at once: what another copy would overwrite first is set aside.
    fn copies(&mut self, values: &[ValueId], to: &[u32]) -> Result<()> {
        let mut pairs = Vec::new();
        for (&value, &to) in values.iter().zip(to) {
            let from = self.place(value)?;
            if from != to {
                pairs.push((from, to));
            }
        }
        let mut aside = Vec::new();
        for (i, &(from, to)) in pairs.iter().enumerate() {
            match pairs[i + 1..].iter().any(|&(later, _)| later == to) {
                true => {
                    let held = self.fresh();
                    self.push(Instruction::Copy { from, to: held });
                    aside.push((held, to));
                }
                false => {
                    let own = !self.code.constants.iter().any(|(c, _)| *c == from)
                        && pairs.iter().filter(|(f, _)| *f == from).count() == 1
                        && self.dies(from);
                    self.push(match own {
                        true => Instruction::Move { from, to },
                        false => Instruction::Copy { from, to },
                    });
                }
            }
        }
        for (from, to) in aside {
            self.push(Instruction::Move { from, to });
        }
        Ok(())
    }

    /// Whether the last instruction made this register's value, so that the copy is its only reader.
    fn dies(&self, register: u32) -> bool {
        match self.code.instructions.last() {
            Some(
                Instruction::Do { out, .. }
                | Instruction::Ints { out, .. }
                | Instruction::Compare { out, .. },
            ) => *out == register,
            _ => false,
        }
    }

    fn region(&mut self, graph: &Graph, node: &Node) -> Result<()> {
        let origin = node.origin.unwrap_or_else(Origin::caller);
        let number = self.code.regions.len() as u32;
        let region =
            Region::new(format!("{}.region{number}", graph.name), self.graph.clone(), node.blocks[0]);
        let args = region.inputs.iter().map(|&v| self.place(v)).collect::<Result<Vec<_>>>()?;
        let outs: Vec<u32> = node.outputs.iter().map(|&v| self.register(v)).collect();
        self.code.regions.push(region);
        let (args, list) = (self.list(&args), self.list(&outs));
        let at = self.push(Instruction::Region { number, args, outs: list, to: 0, origin });
        self.block(node.blocks[0])?;
        self.copies(&graph.block(node.blocks[0]).results, &outs)?;
        self.aim(at);
        Ok(())
    }
}

/// An int in a register.
#[inline(always)]
pub(super) fn int(value: &crate::value::Value) -> Option<i64> {
    match value {
        crate::value::Value::Int(v) => Some(*v),
        _ => None,
    }
}
