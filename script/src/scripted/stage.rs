//! Staging a part of a scripted graph: its nodes are done with traced tensors, so that what they compute becomes a graph of
//! the table's operations.
//!
//! Control flow that hangs on tensors stays control flow. Its host numbers turn into tensors of rank 0 (int64, float64,
//! bool), whose arithmetic is the host's but for overflow; a call of torch never sees one of these, because a host number
//! beside a tensor promotes otherwise than a tensor does: such a part is left to the host. A loop whose turns the region's
//! inputs count is staged turn by turn.

use super::action::{Action, Call};
use super::perform::{Args, World, perform, unpack};
use super::region::value_of;
use crate::syntax::{BinaryOp, CompareOp};
use crate::tree::Conversion;
use crate::value::Value;
use graph::ir::{BlockId, Graph, Node, NodeKind, Operand, Type, ValueId};
use graph::trace::{cond, constant, while_loop};
use runtime::error::{Error, Result};
use runtime::{DType, DeviceId, Tensor, origin};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};

/// Operations of all turns of the counted loops of a region; more are left to the host, turn by turn.
const ROOM: usize = 4096;

/// A part of a graph while it is staged; registers are the graph's values.
pub(super) struct Stage<'a, 'w, 'h> {
    graph: &'a Graph,
    /// Operations that turns of counted loops may still add.
    room: Cell<usize>,
    /// Whether the host computed what could be otherwise for other integers in other ways than by arithmetic.
    decided: Cell<bool>,
    registers: RefCell<Vec<Value>>,
    world: RefCell<&'w mut World<'h>>,
}

impl<'a, 'w, 'h> Stage<'a, 'w, 'h> {
    pub(super) fn new(graph: &'a Graph, registers: Vec<Value>, world: &'w mut World<'h>) -> Self {
        Stage {
            graph,
            room: Cell::new(ROOM),
            decided: Cell::new(false),
            registers: RefCell::new(registers),
            world: RefCell::new(world),
        }
    }

    /// The value of a result.
    pub(super) fn get(&self, value: ValueId) -> Value {
        self.registers.borrow()[value.0 as usize].clone()
    }

    fn set(&self, value: ValueId, new: Value) {
        self.registers.borrow_mut()[value.0 as usize] = new;
    }

    /// Whether turns of loops were staged one by one.
    pub(super) fn counted(&self) -> bool {
        self.room.get() < ROOM
    }

    /// Whether the host computed what could be otherwise for other integers in other ways than by arithmetic.
    pub(super) fn decided(&self) -> bool {
        self.decided.get()
    }

    /// The nodes of a block, in order.
    pub(super) fn block(&self, block: BlockId) -> Result<()> {
        for &id in &self.graph.block(block).nodes {
            let node = self.graph.node(id);
            if let Some(origin) = node.origin {
                origin::resume(origin);
            }
            match &node.kind {
                NodeKind::If => self.branch(node)?,
                NodeKind::While => self.repeat(node)?,
                NodeKind::HostOp(_) => {
                    let Some(Operand::Host(host)) = node.operands.first() else {
                        return Err(Error::internal("a host operation that is no literal"));
                    };
                    self.set(node.outputs[0], value_of(host));
                }
                // A region within: the whole is compiled as one.
                NodeKind::Host(_) if !node.blocks.is_empty() => {
                    self.block(node.blocks[0])?;
                    let results = &self.graph.block(node.blocks[0]).results;
                    node.outputs.iter().zip(results).for_each(|(&v, &r)| self.set(v, self.get(r)));
                }
                NodeKind::Constant(tensor) => self.set(node.outputs[0], Value::Tensor(constant(tensor)?)),
                NodeKind::Host(call) => {
                    let call = Call::of(call.as_ref())
                        .ok_or_else(|| Error::internal("a foreign call in a region"))?;
                    self.call(&call.action, node)?;
                }
                other => return Err(Error::internal(format!("a region holds a '{}'", other.word()))),
            }
        }
        Ok(())
    }

    fn call(&self, action: &Action, node: &Node) -> Result<()> {
        let mut operands: SmallVec<[Value; 8]> = SmallVec::new();
        let mut staged = false;
        for operand in &node.operands {
            operands.push(match operand {
                Operand::Value(v) => {
                    let value = self.get(*v);
                    staged |= matches!(value, Value::Tensor(_)) && is_number(self.graph.ty(*v));
                    value
                }
                Operand::Host(host) => value_of(host),
                Operand::Values(_) => return Err(Error::internal("a list of operands in a region")),
            });
        }
        if let Action::Unpack = action {
            let parts = unpack(&operands[0], node.outputs.len())?;
            node.outputs.iter().zip(parts.iter()).for_each(|(&output, part)| self.set(output, part.clone()));
            return Ok(());
        }
        let looks = is_look(action) && matches!(&operands[0], Value::Tensor(_));
        let value = match staged || looks {
            true => on_tensors(action, &operands)?,
            false => {
                self.decided.set(self.decided.get() || decides(action));
                let places: SmallVec<[u32; 8]> = (0..operands.len() as u32).collect();
                perform(action, Args { registers: &operands, places: &places }, &mut self.world.borrow_mut())?
            }
        };
        if let Some(&output) = node.outputs.first() {
            self.set(output, value);
        }
        Ok(())
    }

    fn branch(&self, node: &Node) -> Result<()> {
        let condition = self.condition(&node.operands[0])?;
        let results = |side: usize| &self.graph.block(node.blocks[side]).results;
        let condition = match condition {
            Value::Tensor(condition) => condition,
            // A truth that the region was compiled for.
            other => {
                let side = usize::from(!other.truth()?);
                self.block(node.blocks[side])?;
                for (&output, &result) in node.outputs.iter().zip(results(side)) {
                    self.set(output, self.get(result));
                }
                return Ok(());
            }
        };
        let side = |side: usize| -> Result<Vec<Tensor>> {
            self.block(node.blocks[side])?;
            let values = results(side).iter().zip(&node.outputs);
            values.map(|(&result, &output)| self.tensor(&self.get(result), output)).collect()
        };
        let outputs = cond(&condition, || side(0), || side(1))?;
        node.outputs.iter().zip(outputs).for_each(|(&v, t)| self.set(v, Value::Tensor(t)));
        Ok(())
    }

    fn repeat(&self, node: &Node) -> Result<()> {
        let mut init = Vec::new();
        for operand in &node.operands {
            init.push(match operand {
                Operand::Value(v) => self.get(*v),
                Operand::Host(host) => value_of(host),
                Operand::Values(_) => return Err(Error::internal("a list of operands in a region")),
            });
        }
        if let Some(outputs) = self.turns(node, &init)? {
            node.outputs.iter().zip(outputs).for_each(|(&v, value)| self.set(v, value));
            return Ok(());
        }
        let init: Vec<Tensor> = init
            .iter()
            .zip(&node.outputs)
            .map(|(v, &output)| self.tensor(v, output))
            .collect::<Result<_>>()?;
        let enter = |part: usize, carried: &[Tensor]| -> Result<&[ValueId]> {
            let block = self.graph.block(node.blocks[part]);
            block.params.iter().zip(carried).for_each(|(&v, t)| self.set(v, Value::Tensor(t.clone())));
            self.block(node.blocks[part])?;
            Ok(&block.results)
        };
        let outputs = while_loop(
            |carried| {
                let result = enter(0, carried)?[0];
                self.tensor(&self.get(result), result)
            },
            |carried| {
                let results = enter(1, carried)?;
                results.iter().zip(&node.outputs).map(|(&r, &o)| self.tensor(&self.get(r), o)).collect()
            },
            &init,
        )?;
        node.outputs.iter().zip(outputs).for_each(|(&v, t)| self.set(v, Value::Tensor(t)));
        Ok(())
    }

    /// The turns of a loop one after the other, if the host knows of each whether there is one and they have room. If not,
    /// nobody reads what was staged.
    fn turns(&self, node: &Node, init: &[Value]) -> Result<Option<Vec<Value>>> {
        let (test, body) = (node.blocks[0], node.blocks[1]);
        let before = self.room.get();
        let enter = |block: BlockId, carried: &[Value]| -> Result<&[ValueId]> {
            let inside = self.graph.block(block);
            inside.params.iter().zip(carried).for_each(|(&v, value)| self.set(v, value.clone()));
            self.block(block)?;
            Ok(&inside.results)
        };
        let mut carried = init.to_vec();
        loop {
            match self.get(enter(test, &carried)?[0]) {
                Value::Bool(false) => return Ok(Some(carried)),
                Value::Bool(true) => {}
                _ => break,
            }
            let Some(room) = self.room.get().checked_sub(self.graph.block(body).nodes.len()) else { break };
            self.room.set(room);
            carried = enter(body, &carried)?.iter().map(|&r| self.get(r)).collect();
        }
        self.room.set(before);
        Ok(None)
    }

    fn condition(&self, operand: &Operand) -> Result<Value> {
        match operand {
            Operand::Value(v) => Ok(self.get(*v)),
            Operand::Host(host) => Ok(value_of(host)),
            Operand::Values(_) => Err(Error::internal("a branch on a list")),
        }
    }

    /// A value as the tensor that stands for it where values of this graph's value's type are carried.
    fn tensor(&self, value: &Value, like: ValueId) -> Result<Tensor> {
        let dtype = match self.graph.ty(like) {
            Type::Int => DType::I64,
            Type::Float => DType::F64,
            Type::Bool => DType::Bool,
            _ => return value.tensor().cloned(),
        };
        scalar(value, dtype)
    }
}

/// A number as a tensor of rank 0.
fn scalar(value: &Value, dtype: DType) -> Result<Tensor> {
    match value {
        Value::Tensor(t) => Ok(t.clone()),
        other => {
            let arg = other.scalar().and(other.arg()).ok_or_else(|| other.unexpected("a number"))?;
            Tensor::full(&[], arg, dtype, DeviceId::Cpu)
        }
    }
}

/// Whether values of this type are host numbers.
fn is_number(ty: &Type) -> bool {
    match ty {
        Type::Int | Type::Float | Type::Bool => true,
        Type::Object(name) => &**name == "number",
        _ => false,
    }
}

/// Whether what an action of the host gives for integers could be otherwise than a sum or product of them, or is an extent.
fn decides(action: &Action) -> bool {
    let plain = matches!(
        action,
        Action::Torch { .. }
            | Action::Index(_)
            | Action::Widen(_)
            | Action::Convert(Conversion::IntToFloat | Conversion::BoolToInt)
            | Action::Arithmetic(_, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul)
            | Action::Negate
            | Action::List
            | Action::Tuple
            | Action::Item
            | Action::Unpack
    );
    !plain
}

/// Functions that make a number or a truth of a number or a tensor of one element.
const NUMBERS: &[&str] = &["bool", "int", "float"];

/// Whether an action makes a host's number of a number or of a tensor of one element.
pub(super) fn is_number_of(action: &Action) -> bool {
    matches!(action, Action::Builtin(builtin) if NUMBERS.contains(&builtin.name))
}

/// Whether an action is the host's look at a tensor's value, if its operand is a tensor.
pub(super) fn is_look(action: &Action) -> bool {
    match action {
        Action::Convert(
            Conversion::TensorToBool
            | Conversion::TensorToInt
            | Conversion::TensorToFloat
            | Conversion::Truth,
        ) => true,
        Action::Builtin(builtin) => builtin.name == "Tensor.item" || is_number_of(action),
        _ => false,
    }
}

/// A host's action where a tensor of rank 0 stands for a number, or where the host would look at a tensor.
fn on_tensors(action: &Action, operands: &[Value]) -> Result<Value> {
    let number = |value: &Value| {
        let dtype = match value {
            Value::Int(_) => DType::I64,
            Value::Bool(_) => DType::Bool,
            _ => DType::F64,
        };
        scalar(value, dtype)
    };
    let single = || operands[0].tensor()?.reshape(&[]);
    let made = match action {
        Action::Widen(_) => return Ok(operands[0].clone()),
        Action::Convert(Conversion::TensorToBool | Conversion::Truth) => single()?.to(DType::Bool)?,
        Action::Convert(Conversion::TensorToInt | Conversion::BoolToInt) => single()?.to(DType::I64)?,
        Action::Convert(Conversion::TensorToFloat | Conversion::IntToFloat) => single()?.to(DType::F64)?,
        Action::Builtin(builtin) if builtin.name == "Tensor.item" => {
            let t = single()?;
            match t.dtype() {
                DType::Bool => t,
                dtype if dtype.is_float() => t.to(DType::F64)?,
                _ => t.to(DType::I64)?,
            }
        }
        Action::Builtin(builtin) if is_number_of(action) => {
            let t = number(&operands[0])?.reshape(&[])?;
            t.to(match builtin.name {
                "bool" => DType::Bool,
                "int" => DType::I64,
                _ => DType::F64,
            })?
        }
        Action::Not => number(&operands[0])?.to(DType::Bool)?.logical_not()?,
        Action::Negate => number(&operands[0])?.neg()?,
        Action::Arithmetic(_, op) => {
            let (a, b) = (number(&operands[0])?, number(&operands[1])?);
            match op {
                BinaryOp::Add => a.add(&b)?,
                BinaryOp::Sub => a.sub(&b)?,
                BinaryOp::Mul => a.mul(&b)?,
                BinaryOp::FloorDiv => a.floor_divide(&b)?,
                BinaryOp::Mod => a.remainder(&b)?,
                BinaryOp::Div => a.to(DType::F64)?.div(&b.to(DType::F64)?)?,
                other => return Err(unstaged(other.symbol())),
            }
        }
        Action::Compare(op) => {
            let (a, b) = (number(&operands[0])?, number(&operands[1])?);
            match op {
                CompareOp::Lt => a.lt(&b)?,
                CompareOp::Le => a.le(&b)?,
                CompareOp::Gt => a.gt(&b)?,
                CompareOp::Ge => a.ge(&b)?,
                CompareOp::Eq => a.eq(&b)?,
                CompareOp::Ne => a.ne(&b)?,
                _ => return Err(unstaged("this comparison")),
            }
        }
        other => return Err(unstaged(&format!("{other:?}"))),
    };
    Ok(Value::Tensor(made))
}

#[cold]
fn unstaged(what: &str) -> Error {
    Error::value(format!("{what} on a number that is known only when the region runs"))
}
