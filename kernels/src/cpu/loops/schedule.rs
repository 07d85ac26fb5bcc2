//! What each pass over a row computes, in which order, and in which scratch buffers.

use super::compile::{Class, CompileError, Compiler};
use super::plan::*;
use super::tables::{self, Lane};
use crate::loops::{BinaryOp, Combine, InstOp, UnaryOp};

impl Compiler<'_> {
    /// What each pass must bring about: reductions, and stores of points.
    ///
    /// A store may overwrite an input (that it steps through identically), so it waits for the last pass if any later
    /// pass could still read elements of that size.
    pub(super) fn roots(&mut self, passes: u32) -> Vec<Vec<usize>> {
        let n = self.program.insts.len();
        let mut roots = vec![Vec::new(); passes as usize];
        for i in (0..n).filter(|&i| self.is_reduce(i)) {
            roots[self.stage[i] as usize - 1].push(i);
        }
        for i in (0..n).filter(|&i| self.is_store(i) && self.class[i] == Class::Elem) {
            roots[self.stage[i] as usize].push(i);
        }
        let reads: Vec<Vec<usize>> = roots
            .iter()
            .map(|wanted| {
                let list = self.closure(wanted, &vec![false; n]);
                let size = |i: usize| match self.program.insts[i].op {
                    InstOp::Load { access, .. } => Some(self.code.movers[access.0 as usize].size),
                    _ => None,
                };
                list.into_iter().filter_map(size).collect()
            })
            .collect();
        for s in 0..passes as usize {
            for i in std::mem::take(&mut roots[s]) {
                let late = match self.program.insts[i].op {
                    InstOp::Store { access, .. } => {
                        let size = self.code.movers[access.0 as usize].size;
                        reads[s + 1..].iter().any(|r| r.contains(&size))
                    }
                    _ => false,
                };
                roots[if late { passes as usize - 1 } else { s }].push(i);
            }
        }
        roots
    }

    /// Finds the loads whose values are stored by a program with several stores. Stores come last in their pass and one
    /// after the other, so an earlier one may overwrite what a later one stores.
    pub(super) fn mark_copies(&mut self) {
        let stores: Vec<&InstOp> = self
            .program
            .insts
            .iter()
            .map(|inst| &inst.op)
            .filter(|op| matches!(op, InstOp::Store { .. }))
            .collect();
        if stores.len() > 1 {
            stores.iter().flat_map(|op| op.operands()).for_each(|r| self.copied[r.0 as usize] = true);
        }
    }

    /// Finds the values that only reductions read.
    pub(super) fn mark_reduced(&mut self) {
        self.reduced = self.class.iter().map(|&class| class == Class::Elem).collect();
        for i in 0..self.class.len() {
            if self.class[i] != Class::Dead && !self.is_reduce(i) {
                self.operands(i).iter().for_each(|r| self.reduced[r.0 as usize] = false);
            }
        }
    }

    /// The Elem instructions that the roots need and that are not done, operands first; stores last.
    pub(super) fn closure(&self, roots: &[usize], done: &[bool]) -> Vec<usize> {
        let mut wanted = vec![false; self.program.insts.len()];
        roots.iter().for_each(|&i| wanted[i] = true);
        for i in (0..wanted.len()).rev() {
            if !wanted[i] {
                continue;
            }
            for r in self.operands(i) {
                let j = r.0 as usize;
                wanted[j] |= self.class[j] == Class::Elem && !done[j];
            }
        }
        let (stores, others): (Vec<usize>, Vec<usize>) =
            (0..wanted.len()).filter(|&i| wanted[i]).partition(|&i| self.is_store(i));
        others.into_iter().chain(stores).collect()
    }

    /// A plan whose passes compute these lists. With `kept`, values live from pass to pass.
    pub(super) fn plan(
        &mut self,
        lists: &[Vec<usize>],
        rows: &[Vec<Step>],
        last: Vec<Step>,
        kept: bool,
    ) -> Result<Plan, CompileError> {
        // Where each value is read for the last time, in (pass, position).
        let mut ends: Vec<Vec<Option<(usize, usize)>>> =
            vec![vec![None; self.program.insts.len()]; lists.len()];
        for (s, list) in lists.iter().enumerate() {
            for (at, &i) in list.iter().enumerate() {
                for r in self.operands(i) {
                    let from = if kept { 0 } else { s };
                    ends[from..=s].iter_mut().for_each(|e| e[r.0 as usize] = Some((s, at)));
                }
            }
        }
        let mut buffers = Buffers::default();
        let mut plan = Plan { last, ..Plan::default() };
        for (s, list) in lists.iter().enumerate() {
            let mut sweep = Sweep { rows: rows.get(s).cloned().unwrap_or_default(), ..Sweep::default() };
            buffers.release(|end| end < (s, 0));
            for j in self.row_operands(list) {
                let dst = self.new_slot();
                self.spread[j] = dst;
                let buffer = buffers.take((s, usize::MAX));
                let size = self.widen(j);
                let spread = Rare::Spread { arg: j as SlotId, dst, buffer, size: size as u8 };
                sweep.spreads.push(Step::Rare(spread));
            }
            let (mut chain, mut steps) = (0..0, Vec::new());
            for (at, &i) in list.iter().enumerate() {
                if chain.end <= at {
                    chain = self.chainable(list, at);
                }
                // Freed after the step or the chain that reads it and not before: a value that does not step is read
                // again for each chunk, so its buffer cannot take the result.
                let start = if chain.is_empty() { at } else { chain.start };
                buffers.release(|end| end < (s, start));
                if !self.is_store(i) && !self.is_reduce(i) {
                    self.widen(i);
                    self.buffer[i] = buffers.take(ends[s][i].unwrap_or((s, at)));
                }
                if self.reduction[i] != NONE {
                    sweep.reductions.push(self.reduction[i]);
                }
                let direct = self.direct(i, at, s, lists, kept);
                let to = if chain.is_empty() || self.is_load(i) { &mut sweep.tiles } else { &mut steps };
                self.compute_step(i, true, direct, to)?;
                sweep.cost += self.cost(i);
                if at + 1 == chain.end {
                    let needed = |i: usize| ends[s][i].is_some_and(|end| end > (s, at));
                    match self.chain(&list[chain.clone()], std::mem::take(&mut steps), needed) {
                        Ok(made) => sweep.tiles.push(Step::Chain(made)),
                        Err(steps) => sweep.tiles.extend(steps),
                    }
                }
            }
            plan.sweeps.push(sweep);
        }
        plan.buffers = buffers.count();
        Ok(plan)
    }

    fn is_load(&self, i: usize) -> bool {
        matches!(self.program.insts[i].op, InstOp::Load { .. })
    }

    /// Makes tile buffers wide enough for a value; its lane's bytes.
    fn widen(&mut self, i: usize) -> usize {
        let size = Lane::of(self.program.insts[i].dtype).size();
        self.code.lane = self.code.lane.max(size);
        size
    }

    /// The row values that the tiles of a pass read.
    fn row_operands(&self, list: &[usize]) -> Vec<usize> {
        let mut out: Vec<usize> = list
            .iter()
            .flat_map(|&i| self.operands(i))
            .map(|r| r.0 as usize)
            .filter(|&j| self.class[j] == Class::Row)
            .collect();
        out.sort_unstable();
        out.dedup();
        out
    }

    /// The access that instruction `i` may write instead of its buffer: a plain store of the value in this pass, if
    /// nothing that could be the overwritten data is read from here on.
    fn direct(&self, i: usize, at: usize, s: usize, lists: &[Vec<usize>], kept: bool) -> u16 {
        let inst = &self.program.insts[i];
        let computes =
            matches!(inst.op, InstOp::Unary(..) | InstOp::Binary(..) | InstOp::Select(..) | InstOp::Cast(_));
        if !computes || !tables::is_direct(inst.dtype) {
            return NONE;
        }
        let target = lists[s][at..].iter().find_map(|&j| match self.program.insts[j].op {
            InstOp::Store { access, value, index: None, combine: Combine::Set } if value.0 as usize == i => {
                Some(access.0 as u16)
            }
            _ => None,
        });
        let Some(target) = target else { return NONE };
        let size = inst.dtype.size();
        let loads = |j: usize| match self.program.insts[j].op {
            InstOp::Load { access, .. } => self.code.movers[access.0 as usize].size == size,
            _ => false,
        };
        let later = lists[s][at + 1..].iter().chain(lists[s + 1..].iter().filter(|_| kept).flatten());
        let mut hazards =
            later.filter(|&&j| loads(j) || self.operands(j).iter().any(|r| loads(r.0 as usize)));
        if hazards.next().is_some() { NONE } else { target }
    }

    /// Estimated picoseconds for each point.
    fn cost(&self, i: usize) -> u32 {
        use UnaryOp::*;
        match self.program.insts[i].op {
            InstOp::Load { index: Some(_), .. } | InstOp::Load { mask: Some(_), .. } => 1500,
            InstOp::Load { .. } | InstOp::Const(_) | InstOp::Param(_) | InstOp::Extent => 50,
            InstOp::Unary(Exp | Exp2 | Log | Log2 | Log10 | Tanh | Sigmoid | Sin | Cos | Erf, _) => 500,
            InstOp::Unary(Expm1 | Log1p | Tan | Atan | Erfc, _) => 2000,
            InstOp::Binary(BinaryOp::Pow | BinaryOp::Atan2 | BinaryOp::Rem | BinaryOp::Fmod, ..) => 4000,
            InstOp::Binary(BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::TruncDiv, ..) => 300,
            InstOp::RandomBits { .. } => 4000,
            InstOp::Scan(..) => 1000,
            InstOp::Store { index: Some(_), .. } | InstOp::Store { combine: Combine::Add, .. } => 2000,
            InstOp::Unary(..)
            | InstOp::Binary(..)
            | InstOp::Select(..)
            | InstOp::Cast(_)
            | InstOp::Index(_)
            | InstOp::Reduce(..)
            | InstOp::Store { .. } => 100,
        }
    }
}

/// Buffers by the position of the last reader of what they hold.
#[derive(Default)]
struct Buffers(Vec<Option<(usize, usize)>>);

impl Buffers {
    fn take(&mut self, end: (usize, usize)) -> BufferId {
        let at = self.0.iter().position(Option::is_none).unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[at] = Some(end);
        at as BufferId
    }

    /// Frees what ends before, as the caller judges.
    fn release(&mut self, over: impl Fn((usize, usize)) -> bool) {
        for slot in &mut self.0 {
            if slot.is_some_and(&over) {
                *slot = None;
            }
        }
    }

    fn count(&self) -> usize {
        self.0.len()
    }
}
