//! When each buffer is used. Positions are those of the launches, in the order of the text; what a loop uses and was made
//! before it lives until the loop ends, because the next round uses it again.

use super::{BufferId, Kernel, Launch, Motion, Step};
use kernels::loops::AccessKind;
use smallvec::SmallVec;

/// Calls `f` with every step, nested ones included, in order.
pub(super) fn visit<'a>(steps: &'a [Step], f: &mut impl FnMut(&'a Step)) {
    for step in steps {
        f(step);
        match step {
            Step::Branch { then, otherwise, .. } => {
                visit(then, f);
                visit(otherwise, f);
            }
            Step::Loop { test, body, .. } => {
                visit(test, f);
                visit(body, f);
            }
            Step::Launch(_)
            | Step::Registers { .. }
            | Step::Call { .. }
            | Step::Stack { .. }
            | Step::Allocate(_)
            | Step::Free(_) => {}
        }
    }
}

/// One use of a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Use {
    /// Position of the launch.
    pub(super) at: u32,
    /// The buffer, as the launch names it.
    pub(super) buffer: BufferId,
    /// Whether it is written.
    pub(super) writes: bool,
}

/// The uses of a list of steps and the ranges of its loops.
#[derive(Default)]
pub(super) struct Uses {
    pub(super) all: Vec<Use>,
    pub(super) loops: Vec<(u32, u32)>,
}

/// Whether each pointer of a launch is written.
pub(super) fn writes(launch: &Launch) -> impl Iterator<Item = bool> + '_ {
    let operands = match &launch.kernel {
        Kernel::Routine(routine) => routine.operands(),
        Kernel::Flat(..) | Kernel::Strided(..) | Kernel::Gemm(_) => SmallVec::new(),
    };
    (0..launch.pointers.len()).map(move |i| match &launch.kernel {
        Kernel::Flat(kernel, ..) | Kernel::Strided(kernel, ..) => {
            kernel.program.accesses[i].kind == AccessKind::Write
        }
        Kernel::Gemm(_) => i == 2,
        Kernel::Routine(_) => operands[i].writes,
    })
}

/// Everything that steps use.
pub(super) fn uses(steps: &[Step]) -> Uses {
    let mut out = Uses::default();
    collect(steps, &mut out);
    out
}

fn collect(steps: &[Step], out: &mut Uses) {
    for step in steps {
        match step {
            Step::Launch(launch) => {
                for (&(buffer, _), writes) in launch.pointers.iter().zip(writes(launch)) {
                    out.all.push(Use { at: launch.at, buffer, writes });
                }
            }
            Step::Call { args, outputs, at, .. } => {
                out.all.extend(args.iter().map(|p| Use { at: *at, buffer: p.buffer, writes: false }));
                out.all.extend(outputs.iter().map(|p| Use { at: *at, buffer: p.buffer, writes: true }));
            }
            Step::Branch { condition, then, otherwise, at } => {
                out.all.push(Use { at: *at, buffer: condition.buffer, writes: false });
                collect(then, out);
                collect(otherwise, out);
            }
            Step::Loop { test, condition, body, at, range } => {
                collect(test, out);
                out.all.push(Use { at: *at, buffer: condition.buffer, writes: false });
                collect(body, out);
                out.loops.push(*range);
            }
            Step::Stack { motion, at, .. } => match motion {
                Motion::Load(from) => out.all.push(Use { at: *at, buffer: from.buffer, writes: false }),
                Motion::Reserve(item) | Motion::Pop(item) => {
                    out.all.push(Use { at: *at, buffer: *item, writes: true });
                }
                Motion::Empty | Motion::Push => {}
            },
            // Loops are put into registers when lifetimes are settled.
            Step::Registers { .. } | Step::Allocate(_) | Step::Free(_) => {}
        }
    }
}

impl Uses {
    /// First and last position of each of `count` buffers, after `root` has named whose memory each is.
    pub(super) fn ranges(&self, count: usize, root: impl Fn(BufferId) -> BufferId) -> Vec<(u32, u32)> {
        let mut ranges = vec![(u32::MAX, 0); count];
        for used in &self.all {
            let range = &mut ranges[root(used.buffer).0 as usize];
            *range = (range.0.min(used.at), range.1.max(used.at));
        }
        // Inner loops come first in the list, so an extension reaches the loops around it.
        for &(first, last) in &self.loops {
            for used in self.all.iter().filter(|u| (first..=last).contains(&u.at)) {
                let range = &mut ranges[root(used.buffer).0 as usize];
                if range.0 < first {
                    range.1 = range.1.max(last);
                }
            }
        }
        ranges
    }

    /// Whether a position lies in a loop.
    pub(super) fn looped(&self, at: u32) -> bool {
        self.loops.iter().any(|&(first, last)| (first..=last).contains(&at))
    }
}
