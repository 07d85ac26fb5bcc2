//! How a dense or strided block of elements lies in a buffer. Every view is a change of this value alone.

use crate::shape::{self, Dims, Strides};

/// Extents, steps and the position of the first element, all in elements.
#[derive(PartialEq, Eq, Debug)]
pub struct Layout {
    /// Extents, outermost first.
    pub shape: Dims,
    /// Steps, outermost first; never negative in a tensor.
    pub strides: Strides,
    /// Position of the first element in its buffer.
    pub offset: usize,
}

impl Clone for Layout {
    /// By copying the inline words: the derived clone would go element by element, on the hot path of every op.
    #[inline(always)]
    fn clone(&self) -> Layout {
        if !self.shape.spilled() && !self.strides.spilled() {
            // SAFETY: vectors that have not spilled to the heap own nothing; their bytes are all they are.
            return unsafe { std::ptr::read(self) };
        }
        Layout {
            shape: Dims::from_slice(&self.shape),
            strides: Strides::from_slice(&self.strides),
            offset: self.offset,
        }
    }
}

impl Layout {
    /// Row-major, starting at the buffer's first element.
    pub fn contiguous(shape: &[usize]) -> Layout {
        Layout { shape: Dims::from_slice(shape), strides: shape::contiguous_strides(shape), offset: 0 }
    }

    /// Number of dimensions.
    #[inline]
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    #[inline]
    pub fn numel(&self) -> usize {
        shape::numel(&self.shape)
    }

    /// Whether the elements lie row-major without gaps (the offset may be anything).
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1isize;
        for (&extent, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if extent == 0 {
                return true;
            }
            if extent != 1 {
                if stride != expected {
                    return false;
                }
                expected *= extent as isize;
            }
        }
        true
    }

    /// One past the largest position that any element has; `offset` when there are no elements.
    pub fn end(&self) -> usize {
        if self.numel() == 0 {
            return self.offset;
        }
        let last: isize = self.shape.iter().zip(&self.strides).map(|(&n, &s)| (n as isize - 1) * s).sum();
        self.offset + last as usize + 1
    }

    /// The dimensions in another order; `order` must be a permutation.
    pub fn permute(&self, order: &[usize]) -> Layout {
        Layout {
            shape: order.iter().map(|&i| self.shape[i]).collect(),
            strides: order.iter().map(|&i| self.strides[i]).collect(),
            offset: self.offset,
        }
    }

    /// Repeated along missing and 1-sized dimensions; `None` where the shapes do not fit.
    pub fn broadcast_to(&self, shape: &[usize]) -> Option<Layout> {
        let missing = shape.len().checked_sub(self.rank())?;
        let mut strides = Strides::new();
        for (i, &n) in shape.iter().enumerate() {
            if i < missing {
                strides.push(0);
            } else if self.shape[i - missing] == n {
                strides.push(self.strides[i - missing]);
            } else if self.shape[i - missing] == 1 {
                strides.push(0);
            } else {
                return None;
            }
        }
        Some(Layout { shape: Dims::from_slice(shape), strides, offset: self.offset })
    }

    /// Every `step`-th index of `dim` from `start`, `len` of them; the caller has checked the bounds.
    pub fn slice(&self, dim: usize, start: usize, len: usize, step: usize) -> Layout {
        let mut out = self.clone();
        if len > 0 {
            out.offset += start * self.strides[dim] as usize;
        }
        out.shape[dim] = len;
        out.strides[dim] *= step as isize;
        out
    }

    /// Without dimension `dim`, at `index`.
    pub fn select(&self, dim: usize, index: usize) -> Layout {
        let mut out = self.slice(dim, index, 1, 1);
        out.shape.remove(dim);
        out.strides.remove(dim);
        out
    }

    /// With a dimension of extent 1 inserted before `dim`.
    pub fn unsqueeze(&self, dim: usize) -> Layout {
        let mut out = self.clone();
        let stride = if dim < self.rank() { self.shape[dim].max(1) as isize * self.strides[dim] } else { 1 };
        out.shape.insert(dim, 1);
        out.strides.insert(dim, stride);
        out
    }

    /// The same elements under another shape without a copy, where the strides allow it.
    pub fn reshape(&self, shape: &[usize]) -> Option<Layout> {
        if shape::numel(shape) != self.numel() {
            return None;
        }
        if self.numel() == 0 || self.is_contiguous() {
            return Some(Layout { offset: self.offset, ..Layout::contiguous(shape) });
        }
        // Merge the old dimensions into maximal runs that step evenly, then cut each run into new ones.
        let mut runs: Vec<(usize, isize)> = Vec::new();
        for (&n, &s) in self.shape.iter().zip(&self.strides) {
            if n == 1 {
                continue;
            }
            match runs.last_mut() {
                Some((count, step)) if *step == n as isize * s => {
                    *count *= n;
                    *step = s;
                }
                _ => runs.push((n, s)),
            }
        }
        let mut strides: Strides = Strides::from_elem(1, shape.len());
        let mut run = runs.len();
        let (mut left, mut step) = (1usize, 1isize);
        for i in (0..shape.len()).rev() {
            if shape[i] == 1 {
                strides[i] = step;
                continue;
            }
            if left == 1 {
                run = run.checked_sub(1)?;
                (left, step) = runs[run];
            }
            if left % shape[i] != 0 {
                return None;
            }
            strides[i] = step;
            step *= shape[i] as isize;
            left /= shape[i];
        }
        Some(Layout { shape: Dims::from_slice(shape), strides, offset: self.offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_of_a_transposed_block_needs_a_copy() {
        let base = Layout::contiguous(&[2, 3, 4]);
        let moved = base.permute(&[2, 0, 1]);
        assert_eq!(moved.strides.as_slice(), &[1, 12, 4]);
        assert!(moved.reshape(&[4, 6]).is_some());
        assert!(moved.reshape(&[8, 3]).is_none());
        assert_eq!(moved.reshape(&[2, 2, 6]).unwrap().strides.as_slice(), &[2, 1, 4]);
    }

    #[test]
    fn slices_and_ends() {
        let l = Layout::contiguous(&[5, 4]).slice(0, 1, 2, 2);
        assert_eq!((l.offset, l.end(), l.is_contiguous()), (4, 16, false));
        assert_eq!(l.select(0, 1).offset, 12);
        assert!(l.broadcast_to(&[3, 2, 4]).is_some());
    }
}
