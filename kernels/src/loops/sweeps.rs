//! Which sweep over a row makes which value: what in-place reuse and the cost of fusing are decided by.
//!
//! Elem values are not remembered between sweeps: whoever needs one in a later sweep computes it again from what it
//! depends on. Row values are made once.

use super::ir::{AccessGeometry, AccessId, AccessKind, Combine, Geometry, InstOp, Level, Program};

/// When each instruction of a program can run at the earliest: 2k for a Row value that sweep k (and later ones) can
/// use, 2k + 1 for an Elem value in sweep k.
#[derive(Clone, Debug)]
pub struct Sweeps(Vec<u32>);

impl Sweeps {
    /// The times of a program's instructions.
    pub fn of(program: &Program) -> Sweeps {
        let mut times: Vec<u32> = Vec::with_capacity(program.insts.len());
        for inst in &program.insts {
            let ready = inst.op.operands().iter().map(|reg| times[reg.0 as usize]).max().unwrap_or(0);
            times.push(match (&inst.op, inst.level) {
                (InstOp::Reduce(..), _) => (ready | 1) + 1,
                (InstOp::Scan(..), _) => (ready | 1) + 2,
                (_, Level::Row) => ready + (ready & 1),
                (_, Level::Elem) => ready | 1,
            });
        }
        Sweeps(times)
    }

    /// The time of the instruction with this position.
    pub fn time(&self, inst: usize) -> u32 {
        self.0[inst]
    }

    /// The last time at which anything that is not remembered between sweeps needs the access.
    pub fn last_read(&self, program: &Program, access: AccessId) -> u32 {
        let mut depends = vec![false; program.insts.len()];
        let mut last = 0;
        for (i, inst) in program.insts.iter().enumerate() {
            let loads = matches!(inst.op, InstOp::Load { access: a, .. } if a == access);
            if loads || inst.op.operands().iter().any(|r| depends[r.0 as usize]) {
                let closes = matches!(inst.op, InstOp::Reduce(..));
                last = last.max(if closes { self.0[i] - 1 } else { self.0[i] });
                depends[i] = !closes;
            }
        }
        last
    }

    /// For each instruction, the number of sweeps in which it is computed: 1 for Row values; for Elem values one for
    /// each sweep whose reductions, scans and stores depend on it.
    pub fn repeats(&self, program: &Program) -> Vec<u32> {
        let mut needed: Vec<Vec<u32>> = vec![Vec::new(); program.insts.len()];
        for (i, inst) in program.insts.iter().enumerate().rev() {
            let sweeps = match inst.op {
                InstOp::Reduce(..) => vec![self.0[i] - 1],
                InstOp::Scan(..) => vec![self.0[i] - 2],
                InstOp::Store { .. } => vec![self.0[i]],
                _ => std::mem::take(&mut needed[i]),
            };
            for reg in inst.op.operands() {
                let at = reg.0 as usize;
                if program.insts[at].level == Level::Elem {
                    for &sweep in &sweeps {
                        if !needed[at].contains(&sweep) {
                            needed[at].push(sweep);
                        }
                    }
                }
            }
            needed[i] = sweeps;
        }
        needed.iter().map(|sweeps| sweeps.len().max(1) as u32).collect()
    }
}

impl Program {
    /// Whether the buffer behind the written access `target` may be the buffer behind the read access `source`: both step
    /// through it identically, the store replaces, and nothing needs the old elements afterwards.
    pub fn in_place(&self, geometry: &Geometry, target: AccessId, source: AccessId) -> bool {
        let (t, s) = (target.0 as usize, source.0 as usize);
        let stored = self.insts.iter().position(|inst| match inst.op {
            InstOp::Store { access, index, combine, .. } => {
                access == target && index.is_none() && combine == Combine::Set
            }
            _ => false,
        });
        let Some(stored) = stored else { return false };
        let plain = |g: &AccessGeometry| g.gather.is_none();
        let sweeps = Sweeps::of(self);
        self.accesses[t].kind == AccessKind::Write
            && self.accesses[s].kind == AccessKind::Read
            && self.accesses[t].dtype == self.accesses[s].dtype
            && plain(&geometry.accesses[t])
            && geometry.accesses[t] == geometry.accesses[s]
            && sweeps.last_read(self, source) <= sweeps.time(stored)
    }
}
