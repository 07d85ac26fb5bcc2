//! Which neighbouring steps of a pass become one loop of machine code.

use super::compile::{Class, Compiler};
use super::plan::*;
use crate::cpu::native::{Body, Fold, Native, Value};
use crate::dtype::{DType, Element};
use crate::loops::{InstOp, ReduceOp, Reg, UnaryOp};
use std::collections::HashMap;
use std::ops::Range;

/// Instructions of one chain. What a processor computes at once lies within a window of about a hundred operations: the
/// rounds of a longer loop hardly overlap, and each takes as long as its operations one after the other. So a chain has
/// one function of many operations at most, too.
const MOST_WORK: usize = 24;

impl Compiler<'_> {
    /// The positions from `at` on that may become a chain: computations and reductions that chains have, and the loads
    /// between them. Empty where it would not be worth it.
    pub(super) fn chainable(&self, list: &[usize], at: usize) -> Range<usize> {
        if !self.native {
            return at..at;
        }
        let (mut work, mut long, mut end) = (0, false, at);
        for &i in &list[at..] {
            let chained = self.is_chained(i);
            let fits = work < MOST_WORK && !(long && self.is_long(i));
            if !fits || !chained && self.plain_load(i).is_none() {
                break;
            }
            long |= self.is_long(i);
            work += chained as usize;
            end += 1;
        }
        if work > 1 { at..end } else { at..at }
    }

    /// Whether an instruction is a function of many operations, each waiting for the one before.
    fn is_long(&self, i: usize) -> bool {
        use UnaryOp::{Erf, Exp, Sigmoid, Tanh};
        matches!(self.program.insts[i].op, InstOp::Unary(Exp | Tanh | Sigmoid | Erf, _))
    }

    /// The access of a load that neither gathers nor masks.
    fn plain_load(&self, i: usize) -> Option<u16> {
        match self.program.insts[i].op {
            InstOp::Load { access, index: None, mask: None } => Some(access.0 as u16),
            _ => None,
        }
    }

    /// Whether an instruction of the tile computes something that chains can.
    fn is_chained(&self, i: usize) -> bool {
        let float = |r: Reg| self.program.inst(r).dtype == DType::F32;
        let inst = &self.program.insts[i];
        match inst.op {
            InstOp::Reduce(op, a) => float(a) && fold_of(op).is_some(),
            InstOp::Binary(op, a, b) if op.is_comparison() => float(a) && float(b) && self.only_selects(i),
            InstOp::Binary(op, a, b) => {
                let known = Body::default().binary(op, 0, 0).is_some();
                known && inst.dtype == DType::F32 && float(a) && float(b)
            }
            InstOp::Unary(op, a) => {
                inst.dtype == DType::F32 && float(a) && Body::default().unary(op, 0).is_some()
            }
            InstOp::Select(p, a, b) => {
                let mask = matches!(self.program.inst(p).op, InstOp::Binary(op, ..) if op.is_comparison());
                inst.dtype == DType::F32 && float(a) && float(b) && mask && self.is_chained(p.0 as usize)
            }
            _ => false,
        }
    }

    /// Whether a truth value chooses between floats and does nothing else, so that it may be a mask.
    fn only_selects(&self, i: usize) -> bool {
        let reads = |inst: &crate::loops::Inst| inst.op.operands().iter().any(|r| r.0 as usize == i);
        self.program.insts.iter().filter(|inst| reads(inst)).all(|inst| {
            matches!(inst.op, InstOp::Select(p, a, b)
                if p.0 as usize == i && a.0 as usize != i && b.0 as usize != i && inst.dtype == DType::F32)
        })
    }

    /// The chain of these instructions, whose `steps` do the same one by one. `needed` are the values that others read.
    pub(super) fn chain(
        &mut self,
        list: &[usize],
        steps: Vec<Step>,
        needed: impl Fn(usize) -> bool,
    ) -> Result<u16, Vec<Step>> {
        let mut making = Making {
            compiler: self,
            body: Body::default(),
            values: HashMap::new(),
            inputs: Vec::new(),
            streams: Vec::new(),
        };
        let mut outputs = Vec::new();
        let mut folds = Vec::new();
        for &i in list.iter().filter(|&&i| making.compiler.plain_load(i).is_none()) {
            let inst = &making.compiler.program.insts[i];
            let made = match inst.op {
                InstOp::Reduce(op, a) => fold_of(op).zip(making.operand(a)).map(|(fold, value)| {
                    making.body.fold(fold, value);
                    folds.push(making.compiler.reduction[i]);
                }),
                // A mask is nothing that others could read.
                _ if needed(i) && inst.dtype != DType::F32 => None,
                _ if !needed(i) => making.compute(i).map(|_| ()),
                _ => making.compute(i).zip(written(&steps, i)).map(|(value, output)| {
                    let stream = Some(output.2).filter(|&direct| making.compiler.map && direct != NONE);
                    making.body.output(value, stream.is_some());
                    making.streams.extend(stream);
                    outputs.push(output);
                }),
            };
            if made.is_none() {
                return Err(steps);
            }
        }
        let Making { body, inputs, streams, .. } = making;
        let Some(native) = Native::new(&body) else { return Err(steps) };
        streams.into_iter().for_each(|access| self.code.fetched[access as usize] = true);
        self.code.chains.push(Chain { native, inputs, outputs, folds, steps });
        Ok(self.code.chains.len() as u16 - 1)
    }
}

/// Where the step that computes a value writes it: slot, buffer, and the access that may be written instead.
fn written(steps: &[Step], i: usize) -> Option<(SlotId, BufferId, u16)> {
    steps.iter().find_map(|step| match *step {
        Step::Compute { dst, buffer, direct, .. } if dst as usize == i => Some((dst, buffer, direct)),
        _ => None,
    })
}

/// A chain on its way.
struct Making<'a, 'p> {
    compiler: &'a Compiler<'p>,
    body: Body,
    values: HashMap<usize, Value>,
    inputs: Vec<SlotId>,
    /// Accesses whose lines the chain fetches ahead.
    streams: Vec<u16>,
}

impl Making<'_, '_> {
    /// A value of the chain, a constant, or a value from outside.
    fn operand(&mut self, r: Reg) -> Option<Value> {
        let i = r.0 as usize;
        if let Some(&value) = self.values.get(&i) {
            return Some(value);
        }
        let compiler = self.compiler;
        let value = match compiler.program.insts[i].op {
            // Absorbed by the operation that reads it.
            _ if compiler.class[i] == Class::Dead => return self.compute(i),
            InstOp::Const(number) => self.body.number(f32::from_scalar(number)),
            _ => {
                let slot = match compiler.class[i] {
                    Class::Row => compiler.spread[i],
                    _ => i as SlotId,
                };
                self.inputs.push(slot);
                let stream = compiler.plain_load(i).filter(|_| compiler.map);
                self.streams.extend(stream);
                self.body.input(stream.is_some())
            }
        };
        self.values.insert(i, value);
        Some(value)
    }

    fn compute(&mut self, i: usize) -> Option<Value> {
        let value = match self.compiler.program.insts[i].op {
            InstOp::Unary(op, a) => {
                let a = self.operand(a)?;
                self.body.unary(op, a)?
            }
            InstOp::Binary(op, a, b) => {
                let (a, b) = (self.operand(a)?, self.operand(b)?);
                self.body.binary(op, a, b)?
            }
            InstOp::Select(p, a, b) => {
                // A mask is made in the chain that uses it.
                let p = *self.values.get(&(p.0 as usize))?;
                let (a, b) = (self.operand(a)?, self.operand(b)?);
                self.body.select(p, a, b)
            }
            _ => return None,
        };
        self.values.insert(i, value);
        Some(value)
    }
}

fn fold_of(op: ReduceOp) -> Option<Fold> {
    match op {
        ReduceOp::Sum => Some(Fold::Sum),
        ReduceOp::Max => Some(Fold::Max),
        ReduceOp::Min => Some(Fold::Min),
        ReduceOp::Prod
        | ReduceOp::Any
        | ReduceOp::All
        | ReduceOp::ArgMax
        | ReduceOp::ArgMin
        | ReduceOp::Moment2 => None,
    }
}
