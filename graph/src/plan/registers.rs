//! Loops on single numbers, in registers: a loop of a plan whose every launch makes one element of each operand becomes
//! one step, which reads its numbers from memory once, turns without memory and launches, and writes them back.
//!
//! Each place of memory is a register. Buffers that share a place of the arena at different times are different
//! registers, and only what is read later is written back. Operations that registers do not know, stacks and calls keep
//! a loop as it is.

use super::{Buffer, BufferId, Home, Kernel, Launch, Place, Plan, Step};
use kernels::cpu::registers::{Code, Register};
use kernels::loops::{Combine, InstOp, Program};
use kernels::{DType, Scalar};
use runtime::DeviceId;
use std::collections::HashMap;
use std::sync::Arc;

/// A loop in registers.
#[derive(Clone, Debug)]
pub struct Registers {
    /// What runs.
    pub code: Code,
    /// Numbers that are read before the first turn.
    pub loads: Vec<Cell>,
    /// Numbers that are written after the last.
    pub stores: Vec<Cell>,
}

/// A number in memory that is a register while the loop runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Cell {
    /// The register.
    pub register: Register,
    /// Whose memory.
    pub buffer: BufferId,
    /// Byte offset in it.
    pub offset: usize,
    /// Its type.
    pub dtype: DType,
}

impl Plan {
    /// Puts the loops into registers that can be there.
    pub(super) fn register_loops(&mut self) {
        if self.device == DeviceId::Cpu {
            let steps = std::mem::take(&mut self.steps);
            self.steps = steps.into_iter().map(|step| self.in_registers(step)).collect();
        }
    }

    fn in_registers(&self, step: Step) -> Step {
        let each = |steps: Vec<Step>| steps.into_iter().map(|step| self.in_registers(step)).collect();
        match step {
            Step::Loop { ref test, ref condition, ref body, at, range } => {
                let mut maker =
                    Maker { plan: self, code: Code::default(), cells: HashMap::new(), written: Vec::new() };
                let made = maker.repeat(test, condition, body).and_then(|()| maker.finish(range));
                match (made, step) {
                    (Some(registers), _) => Step::Registers { loops: Arc::new(registers), at, range },
                    (None, Step::Loop { test, condition, body, at, range }) => {
                        Step::Loop { test: each(test), condition, body: each(body), at, range }
                    }
                    (None, other) => other,
                }
            }
            Step::Branch { condition, then, otherwise, at } => {
                Step::Branch { condition, then: each(then), otherwise: each(otherwise), at }
            }
            other => other,
        }
    }
}

struct Maker<'p> {
    plan: &'p Plan,
    code: Code,
    cells: HashMap<(BufferId, usize), (Register, DType)>,
    written: Vec<Register>,
}

impl Maker<'_> {
    fn repeat(&mut self, test: &[Step], condition: &Place, body: &[Step]) -> Option<()> {
        let (again, ask) = (self.code.label(), self.code.label());
        self.code.jump(ask, None);
        self.code.place(again);
        self.steps(body)?;
        self.code.place(ask);
        self.steps(test)?;
        let holds = self.truth(condition)?;
        self.code.jump(again, Some((holds, true)));
        Some(())
    }

    fn steps(&mut self, steps: &[Step]) -> Option<()> {
        steps.iter().try_for_each(|step| match step {
            Step::Launch(launch) => self.launch(launch),
            Step::Branch { condition, then, otherwise, .. } => {
                let holds = self.truth(condition)?;
                let (other, end) = (self.code.label(), self.code.label());
                self.code.jump(other, Some((holds, false)));
                self.steps(then)?;
                self.code.jump(end, None);
                self.code.place(other);
                self.steps(otherwise)?;
                self.code.place(end);
                Some(())
            }
            Step::Loop { test, condition, body, .. } => self.repeat(test, condition, body),
            Step::Registers { .. }
            | Step::Call { .. }
            | Step::Stack { .. }
            | Step::Allocate(_)
            | Step::Free(_) => None,
        })
    }

    fn truth(&mut self, condition: &Place) -> Option<Register> {
        self.cell(condition.buffer, condition.layout.offset, DType::Bool)
    }

    /// The register of an element; none for a place that is also read as another type.
    fn cell(&mut self, buffer: BufferId, offset: usize, dtype: DType) -> Option<Register> {
        let root = self.plan.root(buffer);
        if matches!(self.plan.buffers[root.0 as usize].home, Home::Item(_) | Home::Stack(_)) {
            return None;
        }
        if let Some(&(register, known)) = self.cells.get(&(root, offset)) {
            return (known == dtype).then_some(register);
        }
        kernels::cpu::registers::bits(Scalar::Int(0), dtype)?;
        let register = self.code.register(0)?;
        self.cells.insert((root, offset), (register, dtype));
        Some(register)
    }

    fn launch(&mut self, launch: &Launch) -> Option<()> {
        let (program, params, offsets): (&Program, _, Vec<isize>) = match &launch.kernel {
            Kernel::Flat(kernel, params, 1, _) => (&kernel.program, params, vec![0; launch.pointers.len()]),
            Kernel::Strided(kernel, params, geometry)
                if geometry.inner.is_empty() && geometry.outer.iter().all(|&n| n == 1) =>
            {
                (&kernel.program, params, geometry.accesses.iter().map(|a| a.offset).collect())
            }
            Kernel::Flat(..) | Kernel::Strided(..) | Kernel::Gemm(_) | Kernel::Routine(_) => return None,
        };
        let mut uses = vec![0; program.insts.len()];
        let place = |maker: &mut Self, access: u32| {
            let (buffer, offset) = launch.pointers[access as usize];
            let dtype = program.accesses[access as usize].dtype;
            let moved = offset as isize + offsets[access as usize] * dtype.size() as isize;
            maker.cell(buffer, usize::try_from(moved).ok()?, dtype)
        };
        let mut values: Vec<Option<Register>> = Vec::with_capacity(program.insts.len());
        let mut stores = Vec::new();
        for inst in &program.insts {
            let mut get = |r: kernels::loops::Reg| {
                uses[r.0 as usize] += 1;
                values[r.0 as usize]
            };
            let type_of = |r: kernels::loops::Reg| program.insts[r.0 as usize].dtype;
            let value = match &inst.op {
                InstOp::Const(value) => Some(self.code.constant(*value, inst.dtype)?),
                InstOp::Param(i) => Some(self.code.constant(*params.get(*i as usize)?, inst.dtype)?),
                InstOp::Load { access, index: None, mask: None } => Some(place(self, access.0)?),
                InstOp::Unary(op, x) => {
                    let (x, ty, to) = (get(*x)?, type_of(*x), self.code.register(0)?);
                    self.code.unary(*op, ty, to, x)?;
                    Some(to)
                }
                InstOp::Binary(op, a, b) => {
                    let (ty, a, b, to) = (type_of(*a), get(*a)?, get(*b)?, self.code.register(0)?);
                    self.code.binary(*op, ty, to, a, b)?;
                    Some(to)
                }
                InstOp::Select(which, yes, no) => {
                    let (which, yes, no, to) = (get(*which)?, get(*yes)?, get(*no)?, self.code.register(0)?);
                    self.code.select(to, which, yes, no);
                    Some(to)
                }
                InstOp::Cast(x) => {
                    let (ty, x, to) = (type_of(*x), get(*x)?, self.code.register(0)?);
                    self.code.cast(ty, inst.dtype, to, x)?;
                    Some(to)
                }
                InstOp::Store { access, value, index: None, combine: Combine::Set } => {
                    let from = get(*value)?;
                    stores.push((place(self, access.0)?, from, *value));
                    None
                }
                InstOp::Index(_)
                | InstOp::Extent
                | InstOp::Load { .. }
                | InstOp::RandomBits { .. }
                | InstOp::Reduce(..)
                | InstOp::Scan(..)
                | InstOp::Store { .. } => return None,
            };
            values.push(value);
        }
        self.store(program, &stores, &uses)
    }

    /// What a launch writes, after everything that it reads.
    fn store(
        &mut self,
        program: &Program,
        stores: &[(Register, Register, kernels::loops::Reg)],
        uses: &[u32],
    ) -> Option<()> {
        if let &[(to, from, value)] = stores {
            let loaded = matches!(program.insts[value.0 as usize].op, InstOp::Load { .. });
            if loaded || uses[value.0 as usize] != 1 || !self.code.redirect(from, to) {
                self.code.copy(to, from);
            }
            self.written.push(to);
            return Some(());
        }
        // A value that lies in a place which another store writes is saved first.
        let mut saved = Vec::with_capacity(stores.len());
        for &(to, from, _) in stores {
            let other = stores.iter().any(|&(written, ..)| written == from);
            saved.push((to, if other { self.code.register(0)? } else { from }));
            if let (true, Some(&(_, copy))) = (other, saved.last()) {
                self.code.copy(copy, from);
            }
        }
        for (to, from) in saved {
            self.code.copy(to, from);
            self.written.push(to);
        }
        Some(())
    }

    /// The code with what it reads and writes.
    fn finish(mut self, (begin, end): (u32, u32)) -> Option<Registers> {
        let mut cells: Vec<Cell> = self
            .cells
            .iter()
            .map(|(&(buffer, offset), &(register, dtype))| Cell { register, buffer, offset, dtype })
            .collect();
        cells.sort_unstable_by_key(|c| c.register);
        let buffer = |c: &Cell| -> &Buffer { &self.plan.buffers[c.buffer.0 as usize] };
        let passing = |c: &Cell| matches!(buffer(c).home, Home::Input(_) | Home::Constant(_));
        let before = |c: &&Cell| passing(c) || buffer(c).first < begin;
        let after = |c: &&Cell| {
            let leaves = passing(c) || matches!(buffer(c).home, Home::Own | Home::Returned);
            self.written.contains(&c.register) && (leaves || buffer(c).last > end)
        };
        let loads = cells.iter().filter(before).copied().collect();
        let stores: Vec<Cell> = cells.iter().filter(after).copied().collect();
        self.code.finish(&stores.iter().map(|c| c.register).collect::<Vec<_>>());
        Some(Registers { code: self.code, loads, stores })
    }
}
