//! What composing a region gives: a program, and how its axes run along the dimensions of the buffers.
//!
//! A `Composed` belongs to the region's shapes, not to any memory: `geometry` takes the layouts of one launch.

use super::ir::{AccessGeometry, AccessId, AccessKind, Combine, Geometry, InstOp, Program};
use super::sweeps::Sweeps;
use crate::dtype::Scalar;
use crate::layout::Layout;
use crate::shape::{Dims, Strides};
use smallvec::SmallVec;

/// The buffer that an access steps through.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BufferRef {
    /// The region's input with this number.
    Input(u32),
    /// The region's output with this number.
    Output(u32),
}

/// For each axis the buffer's dimension that runs along it, and the gathered or scattered dimension.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct AxisMap {
    pub(super) dims: SmallVec<[Option<u8>; 6]>,
    /// `Some(None)`: indexed along a dimension that the buffer does not have, of extent 1.
    pub(super) gather: Option<Option<u8>>,
}

impl AxisMap {
    pub(super) fn new(axes: usize) -> AxisMap {
        AxisMap { dims: SmallVec::from_elem(None, axes), gather: None }
    }
}

/// A program together with the way in which its accesses step through the inputs and outputs of the region.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Composed {
    /// What is computed at each point.
    pub program: Program,
    pub(super) buffers: Vec<BufferRef>,
    pub(super) maps: Vec<AxisMap>,
    pub(super) outer: Dims,
    pub(super) inner: Dims,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Composed {
    /// Number of input buffers, those that are never read included.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of output buffers.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The buffer of each access, in the order of `Program::accesses` and so of the launch pointers.
    pub fn buffers(&self) -> &[BufferRef] {
        &self.buffers
    }

    /// Extents of the outer and of the inner axes, before any are merged.
    pub fn space(&self) -> (&[usize], &[usize]) {
        (&self.outer, &self.inner)
    }

    /// Whether an access moves along each axis, outer axes first.
    pub fn moves(&self, access: usize) -> impl Iterator<Item = bool> + '_ {
        self.maps[access].dims.iter().map(Option::is_some)
    }

    /// The space and the steps of every access for buffers with these layouts, which have the shapes of the region.
    ///
    /// Axes along which every access steps evenly are merged. Outer axes are first sorted by the outputs' strides, so
    /// that transposed but dense operands become one axis, unless points are numbered or visited in order.
    pub fn geometry(&self, inputs: &[&Layout], outputs: &[&Layout]) -> Geometry {
        self.spread(self.outer.clone(), self.inner.clone(), inputs, outputs)
    }

    /// `geometry` over axes of other extents than the region's, outer axes first; `None` where a buffer does not run along
    /// its axes from end to end.
    ///
    /// That the program is the one that a region of these extents would give is for the caller to know: what it counted
    /// over outer axes is a constant in it.
    pub fn geometry_over(
        &self,
        extents: &[usize],
        inputs: &[&Layout],
        outputs: &[&Layout],
    ) -> Option<Geometry> {
        let fits = self.buffers.iter().zip(&self.maps).all(|(buffer, map)| {
            let layout = match *buffer {
                BufferRef::Input(i) => inputs.get(i as usize),
                BufferRef::Output(i) => outputs.get(i as usize),
            };
            let along = |(dim, extent): (&Option<u8>, &usize)| match (dim, layout) {
                (Some(d), Some(layout)) => layout.shape.get(*d as usize) == Some(extent),
                (None, Some(_)) => true,
                (_, None) => false,
            };
            map.dims.iter().zip(extents).all(along)
                && layout.is_some_and(|l| !l.shape.contains(&0) && gathered(map).is_none_or(|d| d < l.rank()))
        });
        if !fits || extents.len() != self.maps_rank() {
            return None;
        }
        let (outer, inner) = extents.split_at(self.outer.len());
        Some(self.spread(Dims::from_slice(outer), Dims::from_slice(inner), inputs, outputs))
    }

    /// Whether another one differs in nothing but extents.
    pub fn is_like(&self, other: &Composed) -> bool {
        self.program == other.program
            && self.buffers == other.buffers
            && self.maps == other.maps
            && self.outer.len() == other.outer.len()
            && self.inner.len() == other.inner.len()
            && (self.inputs, self.outputs) == (other.inputs, other.outputs)
    }

    /// The same with a launch parameter in the place of each constant that `open` picks, and what these constants were.
    pub fn opened(mut self, open: impl Fn(Scalar) -> bool) -> (Composed, Vec<Scalar>) {
        let mut constants = Vec::new();
        for inst in &mut self.program.insts {
            if let InstOp::Const(value) = inst.op
                && open(value)
            {
                inst.op = InstOp::Param(self.program.params.len() as u32);
                self.program.params.push(inst.dtype);
                constants.push(value);
            }
        }
        (self, constants)
    }

    fn spread(&self, outer: Dims, inner: Dims, inputs: &[&Layout], outputs: &[&Layout]) -> Geometry {
        let mut geometry = Geometry { outer, inner, accesses: SmallVec::new() };
        for (buffer, map) in self.buffers.iter().zip(&self.maps) {
            let layout = match *buffer {
                BufferRef::Input(i) => inputs[i as usize],
                BufferRef::Output(i) => outputs[i as usize],
            };
            let stride = |dim: &Option<u8>| dim.map_or(0, |d| layout.strides[d as usize]);
            let gather = |dim: Option<u8>| {
                dim.map_or((1, 0), |d| (layout.shape[d as usize], layout.strides[d as usize]))
            };
            geometry.accesses.push(AccessGeometry {
                offset: layout.offset as isize,
                strides: map.dims.iter().map(stride).collect(),
                gather: map.gather.map(gather),
            });
        }
        let mut numbered: SmallVec<[bool; 6]> = SmallVec::from_elem(false, self.maps_rank());
        let (mut named, mut ordered) = (false, false);
        for inst in &self.program.insts {
            match inst.op {
                InstOp::Index(axis) => {
                    numbered[axis as usize] = true;
                    named = true;
                }
                InstOp::RandomBits { .. } | InstOp::Store { index: Some(_), .. } => ordered = true,
                InstOp::Store { combine: Combine::Add, .. } => ordered = true,
                _ => {}
            }
        }
        if !named && !ordered && geometry.outer.len() > 1 {
            sort_outer(&mut geometry, &self.program);
        }
        merge(&mut geometry, &numbered, named);
        geometry
    }

    /// Whether the output may be written into the buffer of the input, given that both have one layout.
    ///
    /// Both have one type and the same axes; the input is not gathered; and no sweep after the one that stores needs the
    /// input, so that whoever reads a row again in each sweep still reads what was there.
    pub fn in_place(&self, output: usize, input: usize) -> bool {
        let accesses =
            |wanted: BufferRef| (0..self.buffers.len()).filter(move |&i| self.buffers[i] == wanted);
        let Some(target) = accesses(BufferRef::Output(output as u32)).next() else {
            return false;
        };
        let stored = self.program.insts.iter().position(|inst| match inst.op {
            InstOp::Store { access, index, combine, .. } => {
                access.0 as usize == target && index.is_none() && combine == Combine::Set
            }
            _ => false,
        });
        let Some(stored) = stored else { return false };
        let sweeps = Sweeps::of(&self.program);
        let mut sources = accesses(BufferRef::Input(input as u32)).peekable();
        // Of an input that is never read nothing is known here, not even its type.
        sources.peek().is_some()
            && sources.all(|source| {
                self.maps[source] == self.maps[target]
                    && self.program.accesses[source].dtype == self.program.accesses[target].dtype
                    && sweeps.last_read(&self.program, AccessId(source as u32)) <= sweeps.time(stored)
            })
    }

    fn maps_rank(&self) -> usize {
        self.outer.len() + self.inner.len()
    }
}

/// The buffer's dimension that an access is indexed along.
fn gathered(map: &AxisMap) -> Option<usize> {
    map.gather.flatten().map(usize::from)
}

impl Geometry {
    /// The points of a space with one outer axis along which every access steps by one element or by none, and (bit i:
    /// access i) which accesses stay. Programs that name coordinates or reduce keep the general form.
    pub fn even(&self, program: &Program) -> Option<(usize, u32)> {
        let &[points] = self.outer.as_slice() else { return None };
        let special = program.insts.iter().any(|i| {
            matches!(
                i.op,
                InstOp::Index(_)
                    | InstOp::Extent
                    | InstOp::RandomBits { .. }
                    | InstOp::Reduce(..)
                    | InstOp::Scan(..)
            )
        });
        if special || !self.inner.is_empty() || self.accesses.len() > 32 {
            return None;
        }
        let mut broadcast = 0;
        for (i, access) in self.accesses.iter().enumerate() {
            let reads = program.accesses[i].kind == AccessKind::Read;
            match (access.strides.as_slice(), &access.gather) {
                ([1], None) => {}
                ([_], None) if points == 1 => {}
                ([0], None) if reads => broadcast |= 1 << i,
                _ => return None,
            }
        }
        Some((points, broadcast))
    }
}

/// Larger strides outward, judged by the outputs, then by the inputs.
fn sort_outer(geometry: &mut Geometry, program: &Program) {
    let kinds = [AccessKind::Write, AccessKind::Read];
    let judges: SmallVec<[usize; 6]> = kinds
        .iter()
        .flat_map(|&kind| (0..program.accesses.len()).filter(move |&i| program.accesses[i].kind == kind))
        .collect();
    for end in 1..geometry.outer.len() {
        for axis in (1..=end).rev() {
            let steps = judges.iter().map(|&i| {
                let strides = &geometry.accesses[i].strides;
                (strides[axis - 1].unsigned_abs(), strides[axis].unsigned_abs())
            });
            let mut decisive = steps.filter(|&(a, b)| a != 0 && b != 0 && a != b);
            if decisive.next().is_none_or(|(a, b)| a >= b) {
                break;
            }
            geometry.outer.swap(axis - 1, axis);
            for access in &mut geometry.accesses {
                access.strides.swap(axis - 1, axis);
            }
        }
    }
}

/// Merges neighbours along which every access steps evenly. Axes that `Index` names stay as they are, and where there
/// are any, the axes that vanish leave one of extent 1 behind, so that the names stay right.
fn merge(geometry: &mut Geometry, numbered: &[bool], keep_rank: bool) {
    let (outer, rank) = (geometry.outer.len(), geometry.outer.len() + geometry.inner.len());
    let mut extents: Dims = geometry.outer.iter().chain(&geometry.inner).copied().collect();
    let mut gone: SmallVec<[bool; 6]> = SmallVec::from_elem(false, rank);
    for axis in 1..rank {
        let previous = axis - 1;
        if axis == outer || numbered[axis] || numbered[previous] {
            continue;
        }
        let extent = extents[axis] as isize;
        let even = |access: &AccessGeometry| access.strides[previous] == access.strides[axis] * extent;
        if geometry.accesses.iter().all(even) {
            extents[axis] *= extents[previous];
            extents[previous] = 1;
            gone[previous] = true;
            for access in &mut geometry.accesses {
                access.strides[previous] = 0;
            }
        }
    }
    let stays = |axis: &usize| keep_rank || !gone[*axis];
    geometry.outer = (0..outer).filter(stays).map(|axis| extents[axis]).collect();
    geometry.inner = (outer..rank).filter(stays).map(|axis| extents[axis]).collect();
    if !keep_rank && gone.contains(&true) {
        for access in &mut geometry.accesses {
            access.strides = (0..rank).filter(stays).map(|axis| access.strides[axis]).collect::<Strides>();
        }
    }
}
