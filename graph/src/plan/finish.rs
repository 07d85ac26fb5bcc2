//! From a draft and what was decided about sharing to a plan: homes, places in the arena, allocation steps, the direct
//! form of even spaces.

use super::arena::{self, Request};
use super::emit::Draft;
use super::lifetime;
use super::reuse::Reused;
use super::{Buffer, BufferId, Home, Kernel, Launch, Plan, Step};
use crate::ir::Graph;
use crate::options::Memory;
use kernels::loops::InstOp;
use runtime::device::{Space, Work};

impl Draft {
    pub(super) fn finish(self, graph: &Graph, memory: Memory, reused: Reused) -> Plan {
        let Draft { device, inputs, buffers: drafts, stacks, mut steps, next, .. } = self;
        let root = |mut b: BufferId| {
            while reused.shared[b.0 as usize] != b {
                b = reused.shared[b.0 as usize];
            }
            b
        };
        drop_self_copies(&mut steps, &root);
        let ranges = lifetime::uses(&steps).ranges(drafts.len(), root);
        let mut buffers = Vec::with_capacity(drafts.len());
        for (i, draft) in drafts.into_iter().enumerate() {
            let id = BufferId(i as u32);
            let (first, last) = ranges[i];
            let home = match draft.home {
                _ if root(id) != id => Home::Shared(root(id)),
                Home::Own if reused.returned[i] => Home::Returned,
                other => other,
            };
            buffers.push(Buffer { bytes: draft.bytes, home, first, last });
        }
        let mut plan = Plan {
            name: graph.name.clone(),
            device,
            memory,
            inputs,
            buffers,
            stacks,
            steps,
            results: reused.results,
            arena_bytes: 0,
            peak_bytes: 0,
            write_backs: reused.write_backs,
            in_place: reused.in_place,
        };
        plan.settle(next);
        plan
    }
}

impl Plan {
    /// Gives every own buffer its home and every buffer with memory of its own its allocation step.
    fn settle(&mut self, end: u32) {
        let used = |b: &Buffer| b.first != u32::MAX;
        let own: Vec<usize> =
            (0..self.buffers.len()).filter(|&i| matches!(self.buffers[i].home, Home::Own)).collect();
        let request = |b: &Buffer, last: u32| match used(b) {
            true => Request { bytes: b.bytes, first: b.first, last },
            false => Request { bytes: 0, first: 0, last: 0 },
        };
        let returned: Vec<Request> = self
            .buffers
            .iter()
            .filter(|b| matches!(b.home, Home::Returned))
            .map(|b| Request { bytes: b.bytes, first: if used(b) { b.first } else { 0 }, last: end })
            .collect();
        let requests: Vec<Request> =
            own.iter().map(|&i| request(&self.buffers[i], self.buffers[i].last)).collect();
        match self.memory {
            Memory::Arena => {
                let (offsets, total) = arena::place(&requests);
                for (&i, offset) in own.iter().zip(offsets) {
                    self.buffers[i].home = Home::Arena(offset);
                }
                self.arena_bytes = total;
                self.peak_bytes = total + returned.iter().map(|r| r.bytes).sum::<usize>();
            }
            Memory::Dynamic => {
                let all: Vec<Request> = requests.into_iter().chain(returned).collect();
                self.peak_bytes = arena::live_peak(&all);
            }
        }
        self.allocate();
        let steps = std::mem::take(&mut self.steps);
        self.steps = steps.into_iter().map(direct).collect();
        self.register_loops();
    }

    /// Puts allocation steps around the top-level steps that use a buffer first and last.
    fn allocate(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        let spans: Vec<(u32, u32)> = steps.iter().map(span).collect();
        let mut before: Vec<Vec<BufferId>> = vec![Vec::new(); steps.len() + 1];
        let mut after: Vec<Vec<BufferId>> = vec![Vec::new(); steps.len() + 1];
        for (i, buffer) in self.buffers.iter().enumerate() {
            let (needs, leaves) = match buffer.home {
                Home::Own => (buffer.first != u32::MAX, false),
                Home::Returned => (true, true),
                Home::Input(_)
                | Home::Constant(_)
                | Home::Arena(_)
                | Home::Shared(_)
                | Home::Stack(_)
                | Home::Item(_) => (false, false),
            };
            if !needs {
                continue;
            }
            let id = BufferId(i as u32);
            let at = |position: u32| spans.partition_point(|&(_, last)| last < position).min(steps.len());
            before[if buffer.first == u32::MAX { 0 } else { at(buffer.first) }].push(id);
            if !leaves {
                after[at(buffer.last)].push(id);
            }
        }
        for (i, step) in steps.into_iter().map(Some).chain([None]).enumerate() {
            self.steps.extend(before[i].iter().map(|&b| Step::Allocate(b)));
            self.steps.extend(step);
            self.steps.extend(after[i].iter().map(|&b| Step::Free(b)));
        }
    }
}

/// First and last position in a step.
fn span(step: &Step) -> (u32, u32) {
    match step {
        Step::Launch(Launch { at, .. }) | Step::Call { at, .. } | Step::Stack { at, .. } => (*at, *at),
        Step::Branch { at, then, otherwise, .. } => {
            let last = otherwise.last().or(then.last()).map_or(*at, |s| span(s).1);
            (*at, last.max(then.last().map_or(*at, |s| span(s).1)))
        }
        Step::Loop { range, .. } | Step::Registers { range, .. } => *range,
        Step::Allocate(_) | Step::Free(_) => (0, 0),
    }
}

/// Leaves out copies of a buffer to itself, which sharing has made pointless.
fn drop_self_copies(steps: &mut Vec<Step>, root: &impl Fn(BufferId) -> BufferId) {
    steps.retain_mut(|step| match step {
        Step::Launch(launch) => !copies_itself(launch, root),
        Step::Branch { then, otherwise, .. } => {
            drop_self_copies(then, root);
            drop_self_copies(otherwise, root);
            true
        }
        Step::Loop { test, body, .. } => {
            drop_self_copies(test, root);
            drop_self_copies(body, root);
            true
        }
        Step::Registers { .. }
        | Step::Call { .. }
        | Step::Stack { .. }
        | Step::Allocate(_)
        | Step::Free(_) => true,
    });
}

fn copies_itself(launch: &Launch, root: &impl Fn(BufferId) -> BufferId) -> bool {
    let Kernel::Strided(kernel, _, geometry) = &launch.kernel else { return false };
    let [load, store] = kernel.program.insts.as_slice() else { return false };
    let plain = matches!(load.op, InstOp::Load { .. }) && matches!(store.op, InstOp::Store { .. });
    let [(a, a_offset), (b, b_offset)] = launch.pointers.as_slice() else { return false };
    plain && root(*a) == root(*b) && a_offset == b_offset && geometry.accesses[0] == geometry.accesses[1]
}

/// A launch over one even axis in its direct form; bytes counted.
fn direct(step: Step) -> Step {
    match step {
        Step::Launch(mut launch) => {
            match &launch.kernel {
                Kernel::Strided(kernel, params, geometry) => {
                    launch.bytes = Work::Loop(kernel, Space::Strided(geometry), params).bytes();
                    if let Some((points, broadcast)) = geometry.even(&kernel.program) {
                        for (i, pointer) in launch.pointers.iter_mut().enumerate() {
                            let size = kernel.program.accesses[i].dtype.size() as isize;
                            pointer.1 += (geometry.accesses[i].offset * size) as usize;
                        }
                        launch.kernel = Kernel::Flat(kernel.clone(), params.clone(), points, broadcast);
                    }
                }
                Kernel::Gemm(gemm) => launch.bytes = Work::Gemm(gemm).bytes(),
                Kernel::Routine(routine) => launch.bytes = Work::Routine(routine).bytes(),
                Kernel::Flat(..) => {}
            }
            Step::Launch(launch)
        }
        Step::Branch { condition, then, otherwise, at } => Step::Branch {
            condition,
            then: then.into_iter().map(direct).collect(),
            otherwise: otherwise.into_iter().map(direct).collect(),
            at,
        },
        Step::Loop { test, condition, body, at, range } => Step::Loop {
            test: test.into_iter().map(direct).collect(),
            condition,
            body: body.into_iter().map(direct).collect(),
            at,
            range,
        },
        Step::Registers { .. }
        | Step::Call { .. }
        | Step::Stack { .. }
        | Step::Allocate(_)
        | Step::Free(_) => step,
    }
}
