//! The space of one launch: axes of extent 1 dropped, axes that every view steps over evenly merged.

use super::plan::{Affine, Code};
use crate::loops::Geometry;
use crate::shape::contiguous_strides;
use smallvec::SmallVec;

/// A list of axes: extents, and the steps of every view.
#[derive(Default)]
pub(super) struct Axes {
    pub(super) extents: SmallVec<[usize; 6]>,
    /// View-major: `views` runs of one step for each axis.
    steps: SmallVec<[isize; 32]>,
}

impl Axes {
    pub(super) fn len(&self) -> usize {
        self.extents.len()
    }

    pub(super) fn points(&self) -> usize {
        self.extents.iter().product()
    }

    /// The step of a view along an axis.
    #[inline(always)]
    pub(super) fn step(&self, view: usize, axis: usize) -> isize {
        self.steps[view * self.extents.len() + axis]
    }

    /// The steps of every view, view-major.
    pub(super) fn steps(&self) -> &[isize] {
        &self.steps
    }

    /// Axes with these extents and steps (by view and axis), normalised.
    fn merged(extents: &[usize], views: usize, step: impl Fn(usize, usize) -> isize) -> Axes {
        // Runs of original axes that became one: the last axis of each run gives its steps.
        let mut runs: SmallVec<[(usize, usize); 6]> = SmallVec::new();
        for (axis, &extent) in extents.iter().enumerate() {
            if extent == 1 {
                continue;
            }
            match runs.last_mut() {
                Some((last, total))
                    if extent != 0
                        && (0..views).all(|v| step(v, *last) == step(v, axis) * extent as isize) =>
                {
                    (*last, *total) = (axis, *total * extent);
                }
                _ => runs.push((axis, extent)),
            }
        }
        Axes {
            extents: runs.iter().map(|r| r.1).collect(),
            steps: (0..views)
                .flat_map(|v| runs.iter().map(move |r| (v, r.0)))
                .map(|(v, a)| step(v, a))
                .collect(),
        }
    }
}

/// Outer and inner axes, and where each view begins.
pub(super) struct Space {
    pub(super) outer: Axes,
    pub(super) inner: Axes,
    /// Address of point 0 of each access, then coordinate of point 0 of each affine view.
    pub(super) bases: SmallVec<[*mut u8; 8]>,
    /// Extent and step of the gathered dimension of each access.
    pub(super) gathers: SmallVec<[(usize, isize); 8]>,
    /// Inner points before merging.
    pub(super) inner_points: usize,
}

impl Space {
    /// The space of a geometry. In a program without reductions all axes are outer ones.
    pub(super) fn new(code: &Code, geometry: &Geometry, pointers: &[*mut u8]) -> Space {
        let accesses = code.movers.len();
        let views = accesses + code.affines.len();
        let axes = geometry.outer.len() + geometry.inner.len();
        let outer = if code.map { axes } else { geometry.outer.len() };
        let extents: SmallVec<[usize; 8]> = geometry.outer.iter().chain(&geometry.inner).copied().collect();
        let point = if code.affines.is_empty() { SmallVec::new() } else { contiguous_strides(&extents) };
        let step = |view: usize, axis: usize| match view.checked_sub(accesses) {
            None => geometry.accesses[view].strides[axis],
            Some(affine) => match code.affines[affine] {
                Affine::Axis(a) => (a as usize == axis) as isize,
                Affine::Point => point[axis],
            },
        };
        let base = |view: usize| match view < accesses {
            true => {
                let bytes = geometry.accesses[view].offset * code.movers[view].size as isize;
                pointers[view].wrapping_offset(bytes)
            }
            false => std::ptr::null_mut(),
        };
        Space {
            outer: Axes::merged(&extents[..outer], views, step),
            inner: Axes::merged(&extents[outer..], views, |v, a| step(v, a + outer)),
            bases: (0..views).map(base).collect(),
            gathers: geometry.accesses.iter().map(|a| a.gather.unwrap_or((0, 0))).collect(),
            inner_points: geometry.inner_points(),
        }
    }
}

// SAFETY: the addresses are those of one launch, whose parts touch distinct points.
unsafe impl Sync for Space {}
