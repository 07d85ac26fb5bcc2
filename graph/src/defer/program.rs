//! The nodes of a part that was not run yet, and their key.
//!
//! The key is the part word for word: ops, operands by number, host operands by bits, types of what comes from outside. Equal
//! keys are equal programs, so a look-up can never find another one; what tensors hold is no part of it.

use crate::build::Builder;
use crate::ir::{Graph, InputRole, NodeKind, Operand, Type, ValueId};
use kernels::Scalar;
use runtime::door;
use runtime::error::{Error, Origin, Result};
use runtime::infer::{Infer, InferArg, TensorType};
use runtime::table::OpDef;
use runtime::value::Host;
use smallvec::SmallVec;
use std::ops::Range;

/// A program word for word.
pub(crate) type Key = Vec<u64>;

/// An operation that was not run yet.
pub(crate) struct Deferred {
    pub(crate) op: &'static OpDef,
    pub(crate) operands: Vec<Operand>,
    /// Its first output; the others follow.
    pub(crate) first: u32,
    pub(crate) outputs: u32,
    pub(crate) origin: Origin,
}

/// Operations that were not run yet, in order.
#[derive(Default)]
pub(crate) struct Program {
    types: Vec<TensorType>,
    pub(crate) nodes: Vec<Deferred>,
    /// Values that come from outside.
    pub(crate) inputs: Vec<ValueId>,
    /// Whether any of it was recorded where the program wants a history.
    pub(crate) graded: bool,
    key: Key,
}

const TAG: u64 = 1 << 60;

impl Program {
    /// A value from outside.
    pub(crate) fn input(&mut self, ty: TensorType) -> ValueId {
        self.key.extend([TAG, ty.dtype as u64, ty.shape.len() as u64]);
        self.key.extend(ty.shape.iter().map(|d| d.known().map_or(u64::MAX, |n| n as u64)));
        let value = ValueId(self.types.len() as u32);
        self.types.push(ty);
        self.inputs.push(value);
        value
    }

    /// The type of a value.
    pub(crate) fn ty(&self, value: ValueId) -> &TensorType {
        &self.types[value.0 as usize]
    }

    /// Adds an operation; says which values its outputs are.
    pub(crate) fn emit(
        &mut self,
        op: &'static OpDef,
        operands: Vec<Operand>,
        origin: Origin,
    ) -> Result<Range<u32>> {
        let types = {
            let ty = |v: &ValueId| self.ty(*v).clone();
            let args: SmallVec<[InferArg; 4]> = operands
                .iter()
                .map(|operand| match operand {
                    Operand::Value(v) => InferArg::Tensor(ty(v)),
                    Operand::Values(list) => InferArg::Tensors(list.iter().map(ty).collect()),
                    Operand::Host(h) => InferArg::Host(h.as_arg()),
                })
                .collect();
            (op.infer)(&Infer { op, args: &args })?
        };
        self.key.push(std::ptr::from_ref(op).addr() as u64);
        for operand in &operands {
            match operand {
                Operand::Value(v) => self.key.push(2 * TAG | v.0 as u64),
                Operand::Values(list) => {
                    self.key.push(3 * TAG | list.len() as u64);
                    self.key.extend(list.iter().map(|v| v.0 as u64));
                }
                Operand::Host(h) => push_host(&mut self.key, h),
            }
        }
        self.graded |= door::grad_mode();
        let first = self.types.len() as u32;
        let outputs = types.len() as u32;
        self.types.extend(types);
        self.nodes.push(Deferred { op, operands, first, outputs, origin });
        Ok(first..first + outputs)
    }

    /// `emit` for an op with one output.
    pub(crate) fn emit1(
        &mut self,
        op: &'static OpDef,
        operands: Vec<Operand>,
        origin: Origin,
    ) -> Result<ValueId> {
        let made = self.emit(op, operands, origin)?;
        match made.len() {
            1 => Ok(ValueId(made.start)),
            n => Err(Error::internal(format!("{n} outputs where one was expected")).in_op(op.name)),
        }
    }

    /// What tells this program with these results from any other.
    pub(crate) fn key(&self, results: &[ValueId], write_backs: &[(usize, usize)]) -> Key {
        let mut key = self.key.clone();
        key.extend([4 * TAG | results.len() as u64, write_backs.len() as u64]);
        key.extend(results.iter().map(|v| v.0 as u64));
        key.extend(write_backs.iter().map(|&(input, result)| (input as u64) << 32 | result as u64));
        key
    }

    /// What these results need: values, made or taken in.
    fn needed(&self, results: &[ValueId]) -> Vec<bool> {
        let mut needed = vec![false; self.types.len()];
        results.iter().for_each(|v| needed[v.0 as usize] = true);
        for node in self.nodes.iter().rev() {
            let made = node.first as usize..(node.first + node.outputs) as usize;
            if needed[made].contains(&true) {
                let reads = node.operands.iter().flat_map(|o| o.values());
                reads.for_each(|v| needed[v.0 as usize] = true);
            }
        }
        needed
    }

    /// The program as a graph of what the results need, and which of the inputs these are. Write-backs name inputs of the
    /// program.
    pub(crate) fn graph(
        &self,
        name: &str,
        results: &[ValueId],
        write_backs: &[(usize, usize)],
    ) -> Result<(Graph, Vec<usize>)> {
        let mut needed = self.needed(results);
        write_backs.iter().for_each(|&(i, _)| needed[self.inputs[i].0 as usize] = true);
        let used: Vec<usize> =
            (0..self.inputs.len()).filter(|&i| needed[self.inputs[i].0 as usize]).collect();
        let mut builder = Builder::new(name);
        let mut map: Vec<Option<ValueId>> = vec![None; self.types.len()];
        for &i in &used {
            let input = self.inputs[i];
            let written = write_backs.iter().any(|&(at, _)| at == i);
            let role = if written { InputRole::State } else { InputRole::Argument };
            map[input.0 as usize] = Some(builder.input(Type::Tensor(self.ty(input).clone()), role, ""));
        }
        let missing = || Error::internal("a deferred value is read before it is made");
        for node in &self.nodes {
            if !needed[node.first as usize..(node.first + node.outputs) as usize].contains(&true) {
                continue;
            }
            let value = |v: ValueId| map[v.0 as usize].ok_or_else(missing);
            let operands = node.operands.iter().map(|operand| {
                Ok(match operand {
                    Operand::Value(v) => Operand::Value(value(*v)?),
                    Operand::Values(list) => {
                        Operand::Values(list.iter().map(|&v| value(v)).collect::<Result<_>>()?)
                    }
                    Operand::Host(h) => Operand::Host(h.clone()),
                })
            });
            let operands = operands.collect::<Result<Vec<_>>>()?;
            let made = node.first..node.first + node.outputs;
            let types: Vec<Type> =
                made.clone().map(|v| Type::Tensor(self.types[v as usize].clone())).collect();
            let new = builder.node(NodeKind::Op(node.op), operands, Vec::new(), &types, Some(node.origin));
            for (old, &new) in made.zip(builder.outputs(new)) {
                map[old as usize] = Some(new);
            }
        }
        let results = results.iter().map(|v| map[v.0 as usize].ok_or_else(missing)).collect::<Result<_>>()?;
        let place = |&(input, result): &(usize, usize)| Some((used.binary_search(&input).ok()?, result));
        let write_backs = write_backs.iter().filter_map(place).collect();
        Ok((builder.finish(results, write_backs), used))
    }
}

fn push_host(key: &mut Key, host: &Host) {
    match host {
        Host::Scalar(Scalar::Int(v)) => key.extend([5 * TAG, *v as u64]),
        Host::Scalar(Scalar::Float(v)) => key.extend([6 * TAG, v.to_bits()]),
        Host::Scalar(Scalar::Bool(v)) => key.extend([7 * TAG, *v as u64]),
        Host::Str(v) => {
            key.push(8 * TAG | v.len() as u64);
            key.extend(v.bytes().map(u64::from));
        }
        Host::Ints(v) => {
            key.push(9 * TAG | v.len() as u64);
            key.extend(v.iter().map(|&n| n as u64));
        }
        Host::DType(d) => key.push(10 * TAG | *d as u64),
        Host::None => key.push(11 * TAG),
    }
}
