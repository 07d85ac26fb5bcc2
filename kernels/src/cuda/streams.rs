//! What a kernel has to follow through the space besides its values, and how its threads are laid over the points.

use crate::loops::{AccessId, AccessKind, Combine, InstOp, Level, Program, Reg};
use smallvec::SmallVec;

/// A number that is linear in the coordinates: the position of an access, a coordinate itself, or the point's number.
///
/// Coordinates and point numbers are strided like accesses, so that axes may be merged, dropped and reordered without
/// the text knowing: a coordinate has stride 1 along its own axis and 0 along all others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// The position in a buffer, in elements.
    Access(AccessId),
    /// The coordinate along an axis of the program's space.
    Index(u32),
    /// The number of the point, row-major over the whole space.
    Point,
}

/// Every stream of a program: its accesses in order, then the others in order of first use.
pub struct Streams(Vec<Stream>);

impl Streams {
    /// The streams that a program follows.
    pub fn of(program: &Program) -> Streams {
        let mut all: Vec<Stream> =
            (0..program.accesses.len()).map(|i| Stream::Access(AccessId(i as u32))).collect();
        for inst in &program.insts {
            let stream = match inst.op {
                InstOp::Index(axis) => Stream::Index(axis),
                InstOp::RandomBits { .. } => Stream::Point,
                _ => continue,
            };
            if !all.contains(&stream) {
                all.push(stream);
            }
        }
        Streams(all)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Stream> + '_ {
        self.0.iter().copied()
    }

    /// The number of a stream in the argument block.
    pub fn position(&self, stream: Stream) -> usize {
        self.0
            .iter()
            .position(|&s| s == stream)
            .expect("invariant: a program's streams were collected from it")
    }

    /// The stream that an instruction reads, if any.
    pub fn used_by(&self, op: &InstOp) -> Option<usize> {
        let stream = match *op {
            InstOp::Load { access, .. } | InstOp::Store { access, .. } => Stream::Access(access),
            InstOp::Index(axis) => Stream::Index(axis),
            InstOp::RandomBits { .. } => Stream::Point,
            _ => return None,
        };
        Some(self.position(stream))
    }
}

/// How the threads of a kernel are laid over the points.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Class {
    /// One point (or one pack of neighbours) a thread.
    Map {
        /// Neighbouring points that one thread takes where everything is dense.
        pack: u32,
        /// Accesses whose stores must happen in ascending order of points.
        ordered: SmallVec<[AccessId; 2]>,
    },
    /// Several threads a row, since there are reductions or scans.
    Rows {
        /// All sixteen lanes walk together, one step after the other (scans and ordered stores).
        lockstep: bool,
        /// Rows must be taken one after the other by one thread block.
        ordered: bool,
    },
}

impl Class {
    /// The class of a program.
    pub fn of(program: &Program) -> Class {
        let mut ordered: SmallVec<[AccessId; 2]> = SmallVec::new();
        let (mut rows, mut scans) = (false, false);
        for inst in &program.insts {
            match inst.op {
                InstOp::Store { access, index, combine, .. } if is_ordered(index, combine) => {
                    ordered.push(access);
                }
                InstOp::Reduce(..) => rows = true,
                InstOp::Scan(..) => (rows, scans) = (true, true),
                _ => {}
            }
        }
        if rows {
            return Class::Rows { lockstep: scans || !ordered.is_empty(), ordered: !ordered.is_empty() };
        }
        // Sixteen bytes of the widest element, the most that one instruction moves; more than eight points a thread
        // would cost registers in long programs.
        let widest = program.accesses.iter().map(|a| a.dtype.size()).max().unwrap_or(4);
        Class::Map { pack: (16 / widest).min(8) as u32, ordered }
    }
}

/// Whether a store depends on the order of the points.
pub fn is_ordered(index: Option<Reg>, combine: Combine) -> bool {
    index.is_some() || combine == Combine::Add
}

/// Whether an access is only ever used at the plain position of its stream.
pub fn is_plain(program: &Program, access: AccessId) -> bool {
    program.insts.iter().all(|inst| match inst.op {
        InstOp::Load { access: a, index, mask } => a != access || (index.is_none() && mask.is_none()),
        InstOp::Store { access: a, index, combine, .. } => a != access || !is_ordered(index, combine),
        _ => true,
    })
}

/// When the values of a row program exist: in which sweep over the row, or after how many sweeps.
pub struct Sweeps {
    /// For each instruction: an Elem value can be computed from sweep `at` on, a Row value exists before sweep `at`.
    pub at: Vec<u32>,
    /// Number of sweeps that reduce something.
    pub reducing: u32,
    /// The sweep that stores elements, where anything does.
    pub storing: Option<u32>,
}

impl Sweeps {
    /// The schedule of a program.
    ///
    /// Every reduction runs in the first sweep that can compute its operand. All element stores happen in one last
    /// sweep, because earlier ones may still read what an in-place store overwrites.
    pub fn of(program: &Program) -> Sweeps {
        let mut at = vec![0u32; program.insts.len()];
        let (mut reducing, mut storing) = (0, None);
        for (i, inst) in program.insts.iter().enumerate() {
            let ready = inst.op.operands().iter().map(|r| at[r.0 as usize]).max().unwrap_or(0);
            at[i] = ready;
            match inst.op {
                InstOp::Reduce(..) => {
                    at[i] = ready + 1;
                    reducing = reducing.max(ready + 1);
                }
                InstOp::Store { .. } if inst.level == Level::Elem => {
                    storing = Some(storing.unwrap_or(0).max(ready));
                }
                _ => {}
            }
        }
        // A lockstep sweep may both reduce and store; so may a free one: its threads visit every point exactly once.
        let storing = storing.map(|s: u32| s.max(reducing.saturating_sub(1)));
        Sweeps { at, reducing, storing }
    }

    /// How many sweeps there are.
    pub fn count(&self) -> u32 {
        self.reducing.max(self.storing.map_or(0, |s| s + 1))
    }

    /// The Elem instructions that sweep `sweep` has to run, in order.
    pub fn body(&self, program: &Program, sweep: u32) -> Vec<usize> {
        let mut needed = vec![false; program.insts.len()];
        for i in (0..program.insts.len()).rev() {
            let inst = &program.insts[i];
            let sink = match inst.op {
                InstOp::Reduce(..) => self.at[i] == sweep + 1,
                InstOp::Store { .. } => inst.level == Level::Elem && self.storing == Some(sweep),
                _ => false,
            };
            if sink || (needed[i] && inst.level == Level::Elem) {
                needed[i] = true;
                for operand in inst.op.operands() {
                    needed[operand.0 as usize] |= program.inst(operand).level == Level::Elem;
                }
            }
        }
        (0..program.insts.len()).filter(|&i| needed[i]).collect()
    }
}

/// Whether a program writes through an access.
pub fn is_written(program: &Program, access: AccessId) -> bool {
    program.accesses[access.0 as usize].kind == AccessKind::Write
}
