//! The only loop over instructions.

use super::action::Call;
use super::code::{Code, Instruction, NOWHERE, int};
use super::perform::{Args, World, next, perform, unpack};
use super::region::value_of;
use crate::arithmetic;
use crate::syntax::CompareOp;
use crate::value::{self, Value};
use graph::Options;
use runtime::error::{Error, Result};
use runtime::origin;

/// Runs a program on its parameters.
pub(super) fn run(code: &Code, options: &Options, args: Vec<Value>, world: &mut World) -> Result<Value> {
    let mut registers = args;
    registers.resize(code.registers as usize, Value::None);
    for (at, constant) in &code.constants {
        registers[*at as usize] = value_of(constant);
    }
    for (at, tensor) in &code.tensors {
        registers[*at as usize] = Value::Tensor(tensor.clone());
    }
    let mut at = 0;
    while let Some(instruction) = code.instructions.get(at) {
        at += 1;
        match instruction {
            Instruction::Do { call, args, out, origin } => {
                let Some(call) = Call::of(call.as_ref()) else {
                    return Err(Error::internal("a foreign call"));
                };
                origin::resume(*origin);
                let args = Args { registers: &registers, places: &code.places[range(args)] };
                let value = perform(&call.action, args, world).map_err(|e| e.at(*origin))?;
                if *out != NOWHERE {
                    registers[*out as usize] = value;
                }
            }
            Instruction::Ints { op, a, b, out, origin } => {
                let (a, b) = (&registers[*a as usize], &registers[*b as usize]);
                let made = match (int(a), int(b)) {
                    (Some(a), Some(b)) => arithmetic::ints(*op, a, b),
                    _ => arithmetic::binary(*op, a, b),
                };
                registers[*out as usize] = made.map_err(|e| e.at(*origin))?;
            }
            Instruction::Compare { op, a, b, out, origin } => {
                let (a, b) = (&registers[*a as usize], &registers[*b as usize]);
                let holds = match (int(a), int(b)) {
                    (Some(a), Some(b)) => match op {
                        CompareOp::Lt => a < b,
                        CompareOp::Le => a <= b,
                        CompareOp::Gt => a > b,
                        CompareOp::Ge => a >= b,
                        CompareOp::Eq => a == b,
                        CompareOp::Ne => a != b,
                        _ => compared(*op, &registers, instruction)?,
                    },
                    _ => {
                        origin::resume(*origin);
                        value::compare(*op, a, b).map_err(|e| e.at(*origin))?
                    }
                };
                registers[*out as usize] = Value::Bool(holds);
            }
            Instruction::Unpack { from, outs, origin } => {
                origin::resume(*origin);
                let parts = unpack(&registers[*from as usize], outs.len()).map_err(|e| e.at(*origin))?;
                for (&out, part) in code.places[range(outs)].iter().zip(parts.iter()) {
                    registers[out as usize] = part.clone();
                }
            }
            Instruction::Next { from, more, element, origin } => {
                origin::resume(*origin);
                let found = next(&registers[*from as usize]).map_err(|e| e.at(*origin))?;
                registers[*more as usize] = Value::Bool(found.is_some());
                registers[*element as usize] = found.unwrap_or(Value::None);
            }
            Instruction::Copy { from, to } => registers[*to as usize] = registers[*from as usize].clone(),
            Instruction::Move { from, to } => {
                registers[*to as usize] = std::mem::replace(&mut registers[*from as usize], Value::None);
            }
            Instruction::Jump(to) => at = *to as usize,
            Instruction::Unless { test, to } => {
                let holds = match &registers[*test as usize] {
                    Value::Bool(holds) => *holds,
                    other => other.truth()?,
                };
                if !holds {
                    at = *to as usize;
                }
            }
            Instruction::Turn(origin) => world.host.tick().map_err(|e| e.at(*origin))?,
            Instruction::Region { number, args, outs, to, origin } => {
                let region = &code.regions[*number as usize];
                let args = Args { registers: &registers, places: &code.places[range(args)] };
                origin::resume(*origin);
                if let Some(values) = region.run(args, options, world, *origin)? {
                    for (&out, value) in code.places[range(outs)].iter().zip(values) {
                        registers[out as usize] = value;
                    }
                    at = *to as usize;
                }
            }
        }
    }
    Ok(std::mem::replace(&mut registers[code.result as usize], Value::None))
}

fn range(r: &std::ops::Range<u32>) -> std::ops::Range<usize> {
    r.start as usize..r.end as usize
}

/// A comparison that is no order.
#[cold]
fn compared(op: CompareOp, registers: &[Value], instruction: &Instruction) -> Result<bool> {
    match instruction {
        Instruction::Compare { a, b, origin, .. } => {
            value::compare(op, &registers[*a as usize], &registers[*b as usize]).map_err(|e| e.at(*origin))
        }
        _ => Err(Error::internal("no comparison")),
    }
}
