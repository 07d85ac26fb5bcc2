//! Who may take over whose memory.
//!
//! New state is computed into the old state's memory where nobody reads the old value afterwards; else it is copied there
//! at the end, and `WriteBack` says why. An intermediate value takes over the memory of an operand that dies in the
//! launch that makes it, where the launch steps through both identically. Both are decisions about one launch and the
//! uses after it; `Program::in_place` knows whether a launch may write where it reads.

use super::emit::Draft;
use super::lifetime::{self, Uses};
use super::{BufferId, Home, Kernel, Launch, Place, Step, WriteBack};
use crate::ir::{Graph, InputRole};
use kernels::Layout;
use kernels::loops::{AccessId, AccessKind};
use runtime::error::{Error, Result};
use std::collections::HashMap;

/// What was decided.
pub(super) struct Reused {
    /// For each buffer, the buffer whose memory it has (itself if none).
    pub(super) shared: Vec<BufferId>,
    /// Buffers that leave with a result.
    pub(super) returned: Vec<bool>,
    /// The results that the caller gets.
    pub(super) results: Vec<Place>,
    /// What became of each write-back.
    pub(super) write_backs: Vec<(usize, WriteBack)>,
    /// How many results took over an operand's memory.
    pub(super) in_place: usize,
}

/// Decides for a draft; adds the copies that remain.
pub(super) fn reuse(graph: &Graph, draft: &mut Draft, in_place: bool) -> Result<Reused> {
    let results = return_results(graph, draft)?;
    let moves = read_old_states(graph, draft)?;
    let mut sharing = Sharing::new(draft);
    for place in &results {
        if matches!(draft.buffers[place.buffer.0 as usize].home, Home::Own) {
            sharing.returned[place.buffer.0 as usize] = true;
        }
    }
    let mut write_backs = Vec::new();
    for (input, source) in moves {
        let target = draft.inputs[input].buffer;
        let whole =
            Place { buffer: target, dtype: source.dtype, layout: Layout::contiguous(&source.layout.shape) };
        let fate = if source == whole {
            WriteBack::Unchanged
        } else {
            draft.inputs[input].written = true;
            let obstacle = match in_place {
                true => sharing.donation_obstacle(draft, &source, target),
                false => Some("in-place reuse is off"),
            };
            match obstacle {
                None => {
                    sharing.share(source.buffer, target);
                    WriteBack::Donated
                }
                Some(reason) => {
                    draft.copy(&source, &whole)?;
                    WriteBack::Copied(reason)
                }
            }
        };
        write_backs.push((input, fate));
    }
    let mut taken = 0;
    if in_place {
        sharing.refresh(draft);
        taken = sharing.take_over(draft);
    }
    Ok(Reused { shared: sharing.shared, returned: sharing.returned, results, write_backs, in_place: taken })
}

/// Where the results are that the caller gets. What lies in an argument leaves as a view of it, as in an eager program;
/// what lies in state, in a constant or in a buffer that becomes new state leaves as a copy, since those live on.
fn return_results(graph: &Graph, draft: &mut Draft) -> Result<Vec<Place>> {
    let kept: Vec<BufferId> = graph.write_backs.iter().map(|&(_, r)| draft.results[r].buffer).collect();
    let mut out = Vec::new();
    for r in graph.returned() {
        let place = draft.results[r].clone();
        let leaves = match draft.buffers[place.buffer.0 as usize].home {
            Home::Input(i) => draft.inputs[i].role == InputRole::Argument,
            Home::Own => !kept.contains(&place.buffer),
            Home::Constant(_) | Home::Item(_) => false,
            Home::Stack(_) => true,
            Home::Arena(_) | Home::Returned | Home::Shared(_) => {
                return Err(Error::internal("a draft has no homes yet"));
            }
        };
        out.push(match leaves {
            true => place,
            false => {
                let fresh = draft.fresh(place.dtype, &place.layout.shape.clone());
                draft.copy(&place, &fresh)?;
                fresh
            }
        });
    }
    Ok(out)
}

/// The write-backs as (input, source). A new value that is (a view of) the old value of some state is saved first, so
/// that two states can change places.
fn read_old_states(graph: &Graph, draft: &mut Draft) -> Result<Vec<(usize, Place)>> {
    let mut moves = Vec::new();
    for &(input, result) in &graph.write_backs {
        let source = draft.results[result].clone();
        let own = source.buffer == draft.inputs[input].buffer
            && source.layout == Layout::contiguous(&source.layout.shape);
        let of_input = matches!(draft.buffers[source.buffer.0 as usize].home, Home::Input(_));
        moves.push(match of_input && !own {
            true => {
                let saved = draft.fresh(source.dtype, &source.layout.shape.clone());
                draft.copy(&source, &saved)?;
                (input, saved)
            }
            false => (input, source),
        });
    }
    Ok(moves)
}

struct Sharing {
    shared: Vec<BufferId>,
    returned: Vec<bool>,
    uses: Uses,
}

impl Sharing {
    fn new(draft: &Draft) -> Sharing {
        Sharing {
            shared: (0..draft.buffers.len() as u32).map(BufferId).collect(),
            returned: vec![false; draft.buffers.len()],
            uses: lifetime::uses(&draft.steps),
        }
    }

    /// Buffers and uses that came since.
    fn refresh(&mut self, draft: &Draft) {
        let known = self.shared.len() as u32;
        self.shared.extend((known..draft.buffers.len() as u32).map(BufferId));
        self.returned.resize(draft.buffers.len(), false);
        self.uses = lifetime::uses(&draft.steps);
    }

    fn root(&self, mut buffer: BufferId) -> BufferId {
        while self.shared[buffer.0 as usize] != buffer {
            buffer = self.shared[buffer.0 as usize];
        }
        buffer
    }

    fn share(&mut self, buffer: BufferId, with: BufferId) {
        self.shared[buffer.0 as usize] = with;
    }

    /// Why new state cannot be computed into the old state's memory.
    fn donation_obstacle(&self, draft: &Draft, source: &Place, target: BufferId) -> Option<&'static str> {
        let home = &draft.buffers[source.buffer.0 as usize].home;
        if !matches!(home, Home::Own) || self.root(source.buffer) != source.buffer {
            return Some("the new value lies in memory that has another owner");
        }
        let bytes = |b: BufferId| draft.buffers[b.0 as usize].bytes;
        if source.layout != Layout::contiguous(&source.layout.shape) || bytes(source.buffer) != bytes(target)
        {
            return Some("the new value is a part or a rearrangement of another");
        }
        if self.returned[source.buffer.0 as usize] {
            return Some("the new value is also a result");
        }
        let written =
            self.uses.all.iter().filter(|u| u.writes && u.buffer == source.buffer).map(|u| u.at).min();
        let Some(written) = written else { return Some("nothing computes the new value") };
        if self.uses.looped(written) {
            return Some("the new value is computed in a loop");
        }
        let root_is_target = |b: BufferId| self.root(b) == target;
        let old = |u: &&lifetime::Use| root_is_target(u.buffer);
        if self.uses.all.iter().filter(old).any(|u| u.at > written) {
            return Some("the old value is still read after the new one is made");
        }
        if self.uses.all.iter().filter(old).any(|u| u.at == written) {
            let launch = find(&draft.steps, written);
            if !launch.is_some_and(|l| writes_over(l, source.buffer, &root_is_target)) {
                return Some("the launch that makes the new value reads the old one at other points");
            }
        }
        None
    }

    /// Lets values take over the memory of operands that die; returns how many did.
    fn take_over(&mut self, draft: &Draft) -> usize {
        let mut ranges = self.uses.ranges(draft.buffers.len(), |b| self.root(b));
        let mut first_write: HashMap<BufferId, u32> = HashMap::new();
        for used in self.uses.all.iter().filter(|u| u.writes) {
            let at = first_write.entry(used.buffer).or_insert(used.at);
            *at = (*at).min(used.at);
        }
        let mut launches = Vec::new();
        lifetime::visit(&draft.steps, &mut |step| {
            if let Step::Launch(launch) = step {
                launches.push(launch);
            }
        });
        let own = |b: BufferId| matches!(draft.buffers[b.0 as usize].home, Home::Own);
        let mut taken = 0;
        for launch in launches {
            let written: Vec<BufferId> = pointers(launch, true).collect();
            for &new in &written {
                let fresh = own(new) && self.root(new) == new && first_write.get(&new) == Some(&launch.at);
                if !fresh || ranges[new.0 as usize].0 != launch.at {
                    continue;
                }
                let heir = pointers(launch, false).map(|old| self.root(old)).find(|&old| {
                    own(old)
                        && old != new
                        && ranges[old.0 as usize].1 == launch.at
                        && !self.returned[old.0 as usize]
                        && draft.buffers[old.0 as usize].bytes == draft.buffers[new.0 as usize].bytes
                        && !written.iter().any(|&w| self.root(w) == old)
                        && writes_over(launch, new, &|b| self.root(b) == old)
                });
                if let Some(old) = heir {
                    self.share(new, old);
                    self.returned[old.0 as usize] |= self.returned[new.0 as usize];
                    ranges[old.0 as usize].1 = ranges[new.0 as usize].1;
                    taken += 1;
                }
            }
        }
        taken
    }
}

/// The buffers that a launch writes, or those that it reads.
fn pointers(launch: &Launch, written: bool) -> impl Iterator<Item = BufferId> + '_ {
    launch.pointers.iter().zip(lifetime::writes(launch)).filter(move |(_, w)| *w == written).map(|(p, _)| p.0)
}

fn find(steps: &[Step], at: u32) -> Option<&Launch> {
    let mut found = None;
    lifetime::visit(steps, &mut |step| {
        if let Step::Launch(launch) = step
            && launch.at == at
        {
            found = Some(launch);
        }
    });
    found
}

/// Whether a launch may write `new` into the memory of everything that it reads and `is_old`.
fn writes_over(launch: &Launch, new: BufferId, is_old: &dyn Fn(BufferId) -> bool) -> bool {
    let Kernel::Strided(kernel, _, geometry) = &launch.kernel else { return false };
    let accesses = || launch.pointers.iter().enumerate();
    let mut targets =
        accesses().filter(|(i, (b, _))| *b == new && kernel.program.accesses[*i].kind == AccessKind::Write);
    let (Some((target, &(_, target_offset))), None) = (targets.next(), targets.next()) else { return false };
    accesses().filter(|(i, (b, _))| *i != target && is_old(*b)).all(|(i, &(_, offset))| {
        offset == target_offset
            && kernel.program.in_place(geometry, AccessId(target as u32), AccessId(i as u32))
    })
}
