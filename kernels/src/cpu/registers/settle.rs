//! What is done to code when it is complete: copies that need not be, comparisons that only jumps look at, places of
//! labels.

use super::{Code, Inst, Register, What};

impl What {
    /// The jump that is taken where this comparison of (a, b) is `holds`, and whether its operands change places.
    fn as_jump(self, holds: bool) -> Option<(What, bool)> {
        Some(match (self, holds) {
            (What::Eq, true) | (What::Ne, false) => (What::JumpEq, false),
            (What::Ne, true) | (What::Eq, false) => (What::JumpNe, false),
            (What::Lt, true) => (What::JumpLt, false),
            (What::Le, true) => (What::JumpLe, false),
            (What::Lt, false) => (What::JumpLe, true),
            (What::Le, false) => (What::JumpLt, true),
            _ => return None,
        })
    }
}

impl Inst {
    /// The registers that it reads.
    fn reads(&self) -> impl Iterator<Item = Register> {
        use What::*;
        let (a, b) = (Some(self.a), Some(self.b));
        let list = match self.what {
            Move | Not | Wrap32 | IntToF64 | IntToF32 | F64ToInt | F32ToInt | F64ToF32 | F32ToF64 | Shift
            | JumpIf | JumpUnless => [a, None, None],
            Unless => [a, b, Some(self.to)],
            Jump | Halt => [None; 3],
            _ => [a, b, None],
        };
        list.into_iter().flatten()
    }

    /// The register that it writes.
    fn writes(&self) -> Option<Register> {
        (!self.what.jumps() && self.what != What::Halt).then_some(self.to)
    }
}

impl Code {
    /// Ends the code, after which the registers in `kept` are looked at: leaves out copies, joins comparisons with the
    /// jumps after them, and puts places into jumps.
    pub fn finish(&mut self, kept: &[Register]) {
        self.push(What::Halt, 0, 0, 0);
        while self.leave_out_copy(kept) {}
        self.join_comparisons(kept);
        let Code { insts, labels, registers, .. } = self;
        for inst in insts {
            if inst.what.jumps() {
                inst.target = labels[inst.target as usize];
            }
            let inside = inst.reads().chain(inst.writes()).all(|r| (r as usize) < registers.len());
            assert!(inside, "invariant: registers are made before they are named");
        }
        let end = self.insts.len() as u32;
        assert!(self.labels.iter().all(|&place| place < end), "invariant: labels have places");
    }

    /// For each instruction, the registers whose values are read after it.
    fn live(&self, kept: &[Register]) -> Vec<Vec<bool>> {
        let count = self.registers.len();
        let mut live = vec![vec![false; count]; self.insts.len()];
        let mut end = vec![false; count];
        kept.iter().for_each(|&r| end[r as usize] = true);
        loop {
            let mut changed = false;
            for i in (0..self.insts.len()).rev() {
                let inst = self.insts[i];
                let mut after = if inst.what == What::Halt { end.clone() } else { vec![false; count] };
                let target = inst.what.jumps().then(|| self.labels[inst.target as usize] as usize);
                let next = (!matches!(inst.what, What::Jump | What::Halt)).then_some(i + 1);
                for successor in target.into_iter().chain(next) {
                    let (there, inst) = (&live[successor], self.insts[successor]);
                    for r in 0..count {
                        after[r] |= there[r] && inst.writes() != Some(r as Register);
                    }
                    inst.reads().for_each(|r| after[r as usize] = true);
                }
                if after != live[i] {
                    live[i] = after;
                    changed = true;
                }
            }
            if !changed {
                return live;
            }
        }
    }

    /// Lets the source of some copy be computed where it is copied to, if neither is in the other's way.
    fn leave_out_copy(&mut self, kept: &[Register]) -> bool {
        // Long code has other costs.
        if self.insts.len() * self.registers.len() > 1 << 16 {
            return false;
        }
        let live = self.live(kept);
        let first = self.insts[0];
        let written = |r: Register| self.insts.iter().any(|i| i.writes() == Some(r));
        let at_entry =
            |r: Register| first.reads().any(|x| x == r) || (live[0][r as usize] && first.writes() != Some(r));
        let candidate = self.insts.iter().position(|copy| {
            let (to, from) = (copy.to, copy.a);
            copy.what == What::Move
                && to != from
                && !kept.contains(&from)
                && written(from)
                && !at_entry(from)
                && self.insts.iter().zip(&live).all(|(inst, live)| match inst.writes() {
                    Some(r) if r == from => !live[to as usize],
                    Some(r) if r == to => !live[from as usize] || (inst.what == What::Move && inst.a == from),
                    _ => true,
                })
        });
        let Some(at) = candidate else { return false };
        let Inst { to, a: from, .. } = self.insts[at];
        let renamed = |r: Register| if r == from { to } else { r };
        for inst in &mut self.insts {
            (inst.to, inst.a) = (renamed(inst.to), renamed(inst.a));
            inst.b = if inst.what == What::Shift { inst.b } else { renamed(inst.b) };
        }
        self.drop_at(at);
        true
    }

    fn drop_at(&mut self, at: usize) {
        self.insts.remove(at);
        for place in self.labels.iter_mut().filter(|p| **p != u32::MAX && **p as usize > at) {
            *place -= 1;
        }
    }

    fn join_comparisons(&mut self, kept: &[Register]) {
        let live = self.live(kept);
        let joined = |i: &usize| {
            let (test, jump) = (self.insts[*i], self.insts[*i + 1]);
            let holds = match jump.what {
                What::JumpIf => true,
                What::JumpUnless => false,
                _ => return None,
            };
            let alone = jump.a == test.to
                && !live[*i + 1][test.to as usize]
                && !self.labels.contains(&(*i as u32 + 1));
            let (what, swapped) = test.what.as_jump(holds).filter(|_| alone)?;
            let (a, b) = if swapped { (test.b, test.a) } else { (test.a, test.b) };
            Some((*i, Inst { what, to: 0, a, b, target: jump.target }))
        };
        let found: Vec<(usize, Inst)> = (0..self.insts.len() - 1).filter_map(|i| joined(&i)).collect();
        for (at, jump) in found.into_iter().rev() {
            self.insts[at + 1] = jump;
            self.drop_at(at);
        }
    }
}
