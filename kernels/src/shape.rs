//! Extents and strides, and NumPy's broadcasting rule on plain extents.

use smallvec::SmallVec;

/// Extents of the dimensions, outermost first; inline up to rank 6.
pub type Dims = SmallVec<[usize; 6]>;

/// Steps in elements for each dimension, outermost first; 0 repeats an element.
pub type Strides = SmallVec<[isize; 6]>;

/// The same extents, by copying the inline words: `SmallVec::clone` goes element by element, on the hot path of every op.
#[inline(always)]
pub fn copy(dims: &Dims) -> Dims {
    if dims.spilled() {
        return Dims::from_slice(dims);
    }
    // SAFETY: a vector that has not spilled to the heap owns nothing; its bytes are all it is.
    unsafe { std::ptr::read(dims) }
}

/// Number of elements; 1 for rank 0.
#[inline]
pub fn numel(dims: &[usize]) -> usize {
    dims.iter().product()
}

/// Row-major strides of a dense block with these extents.
#[inline]
pub fn contiguous_strides(dims: &[usize]) -> Strides {
    let mut strides: Strides = SmallVec::from_elem(1, dims.len());
    for i in (0..dims.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * dims[i + 1].max(1) as isize;
    }
    strides
}

/// The shape that both shapes broadcast to, or the dimension (counted from the right, 0 = last) that clashes.
pub fn broadcast(a: &[usize], b: &[usize]) -> Result<Dims, usize> {
    let rank = a.len().max(b.len());
    let mut out: Dims = SmallVec::from_elem(1, rank);
    for back in 0..rank {
        let x = if back < a.len() { a[a.len() - 1 - back] } else { 1 };
        let y = if back < b.len() { b[b.len() - 1 - back] } else { 1 };
        out[rank - 1 - back] = match (x, y) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => return Err(back),
        };
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_equal_inline_and_spilled() {
        for rank in 0..9 {
            let dims: Dims = (0..rank).collect();
            let same = copy(&dims);
            assert_eq!(same, dims);
            drop(dims);
            assert!(same.iter().copied().eq(0..rank));
        }
    }

    #[test]
    fn broadcasting() {
        assert_eq!(broadcast(&[4, 1, 3], &[2, 1]).unwrap().as_slice(), &[4, 2, 3]);
        assert_eq!(broadcast(&[], &[0]).unwrap().as_slice(), &[0]);
        assert_eq!(broadcast(&[2, 3], &[3, 3]), Err(1));
        assert_eq!(contiguous_strides(&[2, 3, 4]).as_slice(), &[12, 4, 1]);
    }
}
