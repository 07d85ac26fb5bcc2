//! From a program to a plan.
//!
//! Each value gets a stage: how many passes over the row must end before it can be computed. A pass computes what its
//! reductions and stores need and nothing else, on demand, so a value used only later is not computed early. Stores
//! come last in their pass, so an output may be the buffer of an input: by then each load of the tile has been read.

use super::kernel::Kernel;
use super::plan::*;
use super::tables::{self, Lane, cast::Cast, fused::Side};
use crate::cpu::isa::Isa;
use crate::dtype::DType;
use crate::loops::{AccessKind, BinaryOp, Combine, Inst, InstOp, Level, Program, Reg, UnaryOp};

/// Why a program cannot be compiled. A verified program always can, up to the limit on its length.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The instruction has no meaning for its operand's type.
    #[error("instruction %{inst} ({what}) is not defined for {dtype}")]
    Undefined {
        /// Position of the instruction.
        inst: u32,
        /// Name of the function.
        what: &'static str,
        /// Type of the operand.
        dtype: DType,
    },
    /// An instruction names a value or an access that is not there.
    #[error("instruction %{inst} names something that does not precede it")]
    Malformed {
        /// Position of the instruction.
        inst: u32,
    },
    /// More instructions or accesses than a plan can number.
    #[error("the program has {insts} instructions and {accesses} accesses; the limit is {limit} together")]
    TooLong {
        /// Number of instructions.
        insts: usize,
        /// Number of accesses.
        accesses: usize,
        /// The limit.
        limit: usize,
    },
}

/// Instructions and accesses of one program.
const LIMIT: usize = 16_000;

/// How often a value is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Nobody needs it, or it is part of a fused pair.
    Dead,
    /// Once for each launch.
    Uniform,
    /// Once for each row.
    Row,
    /// Once for each point.
    Elem,
}

/// Compiles a verified program for a level of vector instructions.
pub(super) fn compile(program: &Program, isa: Isa, native: bool) -> Result<Code, CompileError> {
    let (insts, accesses) = (program.insts.len(), program.accesses.len());
    if insts + accesses > LIMIT {
        return Err(CompileError::TooLong { insts, accesses, limit: LIMIT });
    }
    let mut compiler = Compiler::new(program, isa, native && isa >= Isa::Avx2)?;
    compiler.classify();
    compiler.pair();
    compiler.emit()
}

pub(super) struct Compiler<'p> {
    pub(super) program: &'p Program,
    pub(super) isa: Isa,
    /// Whether neighbouring steps become machine code.
    pub(super) native: bool,
    pub(super) map: bool,
    pub(super) class: Vec<Class>,
    pub(super) stage: Vec<u32>,
    pub(super) uses: Vec<u32>,
    /// The pair that an instruction computes together with the one that it absorbed: kernel and operands.
    pub(super) pairs: Vec<Option<(Kernel, [Reg; 3])>>,
    /// Slot of the value as a vector of the tile; differs from the value's own for spread row values.
    pub(super) spread: Vec<SlotId>,
    pub(super) buffer: Vec<BufferId>,
    pub(super) reduction: Vec<u16>,
    /// Loads that a store reads while there are other stores.
    pub(super) copied: Vec<bool>,
    /// Values that only reductions read.
    pub(super) reduced: Vec<bool>,
    pub(super) code: Code,
}

impl<'p> Compiler<'p> {
    fn new(program: &'p Program, isa: Isa, native: bool) -> Result<Compiler<'p>, CompileError> {
        let n = program.insts.len();
        let mut uses = vec![0u32; n];
        for (i, inst) in program.insts.iter().enumerate() {
            let malformed = CompileError::Malformed { inst: i as u32 };
            for r in inst.op.operands() {
                if r.0 as usize >= i {
                    return Err(malformed);
                }
            }
            match inst.op {
                InstOp::Load { access, .. } | InstOp::Store { access, .. }
                    if access.0 as usize >= program.accesses.len() =>
                {
                    return Err(malformed);
                }
                InstOp::Param(p) if p as usize >= program.params.len() => return Err(malformed),
                _ => {}
            }
        }
        // What no store needs is not computed.
        for i in (0..n).rev() {
            let inst = &program.insts[i];
            if uses[i] > 0 || matches!(inst.op, InstOp::Store { .. }) {
                for r in inst.op.operands() {
                    uses[r.0 as usize] += 1;
                }
            }
        }
        let closes = |inst: &Inst| matches!(inst.op, InstOp::Reduce(..) | InstOp::Scan(..));
        let movers: Vec<Mover> = program
            .accesses
            .iter()
            .map(|access| {
                let (widen, narrow, round) = match access.dtype {
                    DType::F16 => (
                        Some(tables::half::load_f16(isa)),
                        Some(tables::half::store_f16(isa)),
                        rounder(access.dtype, isa),
                    ),
                    DType::BF16 => (
                        Some(tables::half::load_bf16(isa)),
                        Some(tables::half::store_bf16(isa)),
                        rounder(access.dtype, isa),
                    ),
                    _ => (None, None, None),
                };
                Mover {
                    size: access.dtype.size(),
                    lane: Lane::of(access.dtype).size(),
                    widen,
                    narrow,
                    add: tables::binary(BinaryOp::Add, access.dtype, isa)
                        .expect("invariant: every element type has an addition"),
                    round,
                    written: access.kind == AccessKind::Write,
                }
            })
            .collect();
        Ok(Compiler {
            program,
            isa,
            native,
            map: !program.insts.iter().any(closes),
            class: vec![Class::Dead; n],
            stage: vec![0; n],
            uses,
            pairs: vec![None; n],
            spread: vec![NONE; n],
            buffer: vec![NONE; n],
            reduction: vec![NONE; n],
            copied: vec![false; n],
            reduced: vec![false; n],
            code: Code {
                kept: Plan::default(),
                streamed: None,
                head: Vec::new(),
                uniforms: Vec::new(),
                constants: Vec::new(),
                reductions: Vec::new(),
                chains: Vec::new(),
                fetched: vec![false; movers.len()],
                movers,
                affines: Vec::new(),
                slots: n,
                row_buffers: 0,
                lane: 1,
                map: false,
                sequential: false,
                scans: false,
            },
        })
    }

    fn inst(&self, r: Reg) -> &'p Inst {
        &self.program.insts[r.0 as usize]
    }

    /// Classes and stages.
    fn classify(&mut self) {
        for i in 0..self.program.insts.len() {
            let inst = &self.program.insts[i];
            let is_store = matches!(inst.op, InstOp::Store { .. });
            if self.uses[i] == 0 && !is_store {
                continue;
            }
            let operands = inst.op.operands();
            let uniform = operands.iter().all(|r| self.class[r.0 as usize] == Class::Uniform);
            self.class[i] = match inst.op {
                InstOp::Const(_) | InstOp::Param(_) | InstOp::Extent => Class::Uniform,
                InstOp::Unary(..) | InstOp::Binary(..) | InstOp::Select(..) | InstOp::Cast(_) if uniform => {
                    Class::Uniform
                }
                InstOp::Reduce(..) => Class::Row,
                _ if self.map || inst.level == Level::Elem => Class::Elem,
                _ => Class::Row,
            };
            let before = operands.iter().map(|r| self.stage[r.0 as usize]).max().unwrap_or(0);
            self.stage[i] = before + matches!(inst.op, InstOp::Reduce(..)) as u32;
        }
    }

    /// Absorbs an operation into its only user where one kernel does both.
    fn pair(&mut self) {
        for i in 0..self.program.insts.len() {
            let inst = &self.program.insts[i];
            if self.class[i] != Class::Elem || !matches!(inst.dtype, DType::F32 | DType::F64) {
                continue;
            }
            let lane = Lane::of(inst.dtype);
            let both = match inst.op {
                InstOp::Unary(second, x) => self.absorbable(x).and_then(|(first, a, b)| {
                    Some((tables::fused::after(first, second, lane, self.isa)?, x, [a, b, a]))
                }),
                InstOp::Binary(second, x, y) => {
                    [(x, y, Side::Left), (y, x, Side::Right)].into_iter().find_map(|(inner, other, side)| {
                        let (first, a, b) = self.absorbable(inner)?;
                        let kernel = tables::fused::pair(first, second, side, lane, self.isa)?;
                        Some((kernel, inner, [a, b, other]))
                    })
                }
                _ => None,
            };
            if let Some((kernel, inner, args)) = both {
                self.pairs[i] = Some((kernel, args));
                self.class[inner.0 as usize] = Class::Dead;
            }
        }
    }

    /// The operation and the operands of a value of two operands that only one instruction reads.
    fn absorbable(&self, r: Reg) -> Option<(BinaryOp, Reg, Reg)> {
        let j = r.0 as usize;
        let InstOp::Binary(op, a, b) = self.inst(r).op else { return None };
        let free = self.class[j] == Class::Elem && self.uses[j] == 1 && self.pairs[j].is_none();
        free.then_some((op, a, b))
    }

    /// The values that an instruction reads once pairs are formed.
    pub(super) fn operands(&self, i: usize) -> smallvec::SmallVec<[Reg; 3]> {
        match self.pairs[i] {
            Some((_, args)) => smallvec::SmallVec::from_slice(&args),
            None => self.program.insts[i].op.operands(),
        }
    }

    pub(super) fn new_slot(&mut self) -> SlotId {
        self.code.slots += 1;
        (self.code.slots - 1) as SlotId
    }

    fn row_buffer(&mut self) -> BufferId {
        self.code.row_buffers += 1;
        (self.code.row_buffers - 1) as BufferId
    }

    fn emit(mut self) -> Result<Code, CompileError> {
        let n = self.program.insts.len();
        self.code.map = self.map;
        self.code.head = self.uniforms()?;
        let last_stage =
            (0..n).filter(|&i| self.class[i] != Class::Dead).map(|i| self.stage[i]).max().unwrap_or(0);
        // The stage of a reduction's result exceeds the pass that makes it by one.
        let passes = (0..n)
            .filter(|&i| self.class[i] == Class::Elem)
            .map(|i| self.stage[i] + 1)
            .chain((0..n).filter(|&i| self.is_reduce(i)).map(|i| self.stage[i]))
            .max()
            .unwrap_or(1)
            .max(1);
        self.mark_copies();
        self.mark_reduced();
        let roots = self.roots(passes);
        self.reductions()?;
        let rows: Vec<Vec<usize>> = (0..=last_stage.max(passes))
            .map(|s| {
                (0..n)
                    .filter(|&i| self.class[i] == Class::Row && self.stage[i] == s && !self.is_store(i))
                    .collect()
            })
            .collect();
        for &i in rows.iter().flatten() {
            self.buffer[i] = self.row_buffer();
        }
        let mut row_steps = Vec::new();
        for list in &rows {
            let mut steps = Vec::new();
            for &i in list {
                self.row_step(i, &mut steps)?;
            }
            row_steps.push(steps);
        }
        let mut last: Vec<Step> = row_steps.split_off((passes as usize).min(row_steps.len())).concat();
        for i in 0..n {
            if self.is_store(i) && self.class[i] == Class::Row {
                self.row_step(i, &mut last)?;
            }
        }
        let mut lists: Vec<Vec<usize>> = Vec::new();
        let mut done = vec![false; n];
        for wanted in &roots {
            let list = self.closure(wanted, &done);
            list.iter().for_each(|&i| done[i] = true);
            lists.push(list);
        }
        self.code.kept = self.plan(&lists, &row_steps, last.clone(), true)?;
        if passes > 1 {
            let lists: Vec<Vec<usize>> =
                roots.iter().map(|wanted| self.closure(wanted, &vec![false; n])).collect();
            self.code.streamed = Some(self.plan(&lists, &row_steps, last, false)?);
        }
        Ok(self.code)
    }

    pub(super) fn is_store(&self, i: usize) -> bool {
        matches!(self.program.insts[i].op, InstOp::Store { .. })
    }

    pub(super) fn is_reduce(&self, i: usize) -> bool {
        self.class[i] != Class::Dead && matches!(self.program.insts[i].op, InstOp::Reduce(..))
    }

    /// Values of the launch.
    fn uniforms(&mut self) -> Result<Vec<Step>, CompileError> {
        let mut head = Vec::new();
        for i in 0..self.program.insts.len() {
            if self.class[i] != Class::Uniform {
                continue;
            }
            let inst = &self.program.insts[i];
            let dst = i as SlotId;
            match inst.op {
                InstOp::Const(value) => self.code.constants.push((dst, Block::of(value, inst.dtype))),
                InstOp::Param(p) => {
                    let buffer = self.row_buffer();
                    self.code.uniforms.push(Uniform::Param {
                        param: p as u16,
                        dtype: inst.dtype,
                        dst,
                        buffer,
                    });
                }
                InstOp::Extent => {
                    let buffer = self.row_buffer();
                    self.code.uniforms.push(Uniform::Extent { dtype: inst.dtype, dst, buffer });
                }
                _ => {
                    self.buffer[i] = self.row_buffer();
                    self.compute_step(i, false, NONE, &mut head)?;
                }
            }
        }
        Ok(head)
    }

    fn reductions(&mut self) -> Result<(), CompileError> {
        for i in 0..self.program.insts.len() {
            if self.class[i] == Class::Dead {
                continue;
            }
            let (op, arg, scan) = match self.program.insts[i].op {
                InstOp::Reduce(op, arg) => (op, arg, false),
                InstOp::Scan(op, arg) => (op, arg, true),
                _ => continue,
            };
            let dtype = self.inst(arg).dtype;
            let undefined = CompileError::Undefined { inst: i as u32, what: op.name(), dtype };
            let reducer = tables::reduce::reducer(op, dtype, self.isa).ok_or(undefined)?;
            self.reduction[i] = self.code.reductions.len() as u16;
            self.code.reductions.push(Reduction { reducer, scan });
            self.code.scans |= scan;
        }
        Ok(())
    }

    /// The step of a row value or a row store.
    fn row_step(&mut self, i: usize, steps: &mut Vec<Step>) -> Result<(), CompileError> {
        if self.is_reduce(i) {
            let round = rounder(self.program.insts[i].dtype, self.isa);
            steps.push(Step::Finish {
                reduction: self.reduction[i],
                dst: i as SlotId,
                buffer: self.buffer[i],
                round,
            });
            return Ok(());
        }
        self.compute_step(i, false, NONE, steps)
    }

    /// The step of any instruction but a reduction, with operands of the tile (`elem`) or of the row.
    pub(super) fn compute_step(
        &mut self,
        i: usize,
        elem: bool,
        direct: u16,
        steps: &mut Vec<Step>,
    ) -> Result<(), CompileError> {
        let inst = &self.program.insts[i];
        let (dst, buffer, isa) = (i as SlotId, self.buffer[i], self.isa);
        let slot = |r: Reg| match elem && self.class[r.0 as usize] == Class::Row {
            true => self.spread[r.0 as usize],
            false => r.0 as SlotId,
        };
        let optional = |r: Option<Reg>| r.map_or(NONE, slot);
        let undefined = |what: &'static str, r: Reg| CompileError::Undefined {
            inst: i as u32,
            what,
            dtype: self.program.inst(r).dtype,
        };
        let compute = |kernel, args, rounds: bool| Step::Compute {
            kernel,
            args,
            dst,
            buffer,
            direct,
            round: if rounds { rounder(inst.dtype, isa) } else { None },
        };
        if let Some((kernel, args)) = self.pairs[i] {
            steps.push(compute(kernel, args.map(slot), false));
            return Ok(());
        }
        let step = match inst.op {
            InstOp::Unary(op, a) => {
                let kernel =
                    tables::unary(op, self.inst(a).dtype, isa).ok_or_else(|| undefined(op.name(), a))?;
                compute(kernel, [slot(a); 3], tables::unary_rounds(op) && op != UnaryOp::Uniform)
            }
            InstOp::Binary(op, a, b) => {
                let kernel =
                    tables::binary(op, self.inst(a).dtype, isa).ok_or_else(|| undefined(op.name(), a))?;
                compute(kernel, [slot(a), slot(b), slot(a)], tables::binary_rounds(op))
            }
            InstOp::Select(p, a, b) => {
                compute(tables::select(Lane::of(inst.dtype), isa), [slot(p), slot(a), slot(b)], false)
            }
            InstOp::Cast(a) => match tables::cast::cast(self.inst(a).dtype, inst.dtype, isa) {
                Cast::Convert(kernel) => compute(kernel, [slot(a); 3], false),
                Cast::Nothing => compute(tables::copy(Lane::of(inst.dtype), isa), [slot(a); 3], false),
            },
            InstOp::Load { access, index: None, mask: None } => Step::Load {
                access: access.0 as u16,
                dst,
                buffer,
                copy: self.copied[i],
                lines: self.reduced[i],
            },
            InstOp::Load { access, index, mask } => Step::Rare(Rare::Gather {
                access: access.0 as u16,
                dst,
                buffer,
                index: optional(index),
                mask: optional(mask),
            }),
            InstOp::Index(axis) => {
                let view = self.affine(Affine::Axis(axis));
                Step::Rare(Rare::Iota { view, dst, buffer })
            }
            InstOp::RandomBits { stream, seed, offset } => {
                let (seed, offset) = (slot(seed), slot(offset));
                let view = self.affine(Affine::Point);
                // The point numbers take the buffer of the result: the kernel reads a chunk before it writes one, and
                // an i32 is not wider than an i64.
                steps.push(Step::Rare(Rare::Iota { view, dst, buffer }));
                self.code.lane = 8;
                Step::Compute {
                    kernel: tables::random(stream, isa),
                    args: [dst, seed, offset],
                    dst,
                    buffer,
                    direct: NONE,
                    round: None,
                }
            }
            InstOp::Scan(_, a) => Step::Rare(Rare::Scan {
                reduction: self.reduction[i],
                arg: slot(a),
                dst,
                buffer,
                round: rounder(inst.dtype, isa),
            }),
            InstOp::Store { access, value, index, combine } => {
                let (access, arg) = (access.0 as u16, slot(value));
                if index.is_none() && combine == Combine::Set {
                    Step::Store { access, arg }
                } else {
                    self.code.sequential = true;
                    let add = combine == Combine::Add;
                    Step::Rare(Rare::Scatter { access, arg, index: optional(index), add })
                }
            }
            InstOp::Reduce(_, a) => Step::Reduce { reduction: self.reduction[i], arg: slot(a) },
            InstOp::Const(_) | InstOp::Param(_) | InstOp::Extent => return Ok(()),
        };
        steps.push(step);
        Ok(())
    }

    fn affine(&mut self, which: Affine) -> u16 {
        let accesses = self.program.accesses.len();
        let at = self.code.affines.iter().position(|&a| a == which).unwrap_or_else(|| {
            self.code.affines.push(which);
            self.code.affines.len() - 1
        });
        (accesses + at) as u16
    }
}

fn rounder(dtype: DType, isa: Isa) -> Option<Kernel> {
    match dtype {
        DType::F16 => Some(tables::half::round_f16(isa)),
        DType::BF16 => Some(tables::half::round_bf16(isa)),
        _ => None,
    }
}
