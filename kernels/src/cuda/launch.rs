//! From a geometry to a kernel's grid and argument block.
//!
//! A plan is made once for each program and geometry; a launch then only fills in pointers and numbers. Axes that every
//! stream steps through evenly are merged first, so almost every geometry has rank one or two when it arrives on the
//! device.

use super::CudaSource;
use super::rows::MAX_THREADS;
use super::streams::{Class, Stream, Streams, is_plain, is_written};
use crate::dtype::{DType, Element, Scalar};
use crate::loops::{AccessId, Geometry, Program, REDUCE_BLOCK, REDUCE_LANES};
use smallvec::SmallVec;
use thiserror::Error;

/// Axes that a kernel can walk after merging, outer and inner ones together.
pub const MAX_RANK: usize = 8;

/// Bytes of kernel arguments that every supported device takes (compute capability 7.0 and later, CUDA 12.1).
pub const MAX_ARGUMENT_BYTES: usize = 32_764;

/// Threads of a thread block of a map.
const MAP_THREADS: usize = 256;
/// More thread blocks than fill any device; the kernels step on by the grid's size.
const MAX_GRID: usize = 1 << 16;

/// Why a geometry cannot be launched.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum LaunchError {
    /// Too many axes remain.
    #[error("the space keeps {rank} axes after merging, and a CUDA kernel walks at most {MAX_RANK}")]
    RankTooHigh {
        /// Axes after merging.
        rank: usize,
    },
    /// The program has too many accesses for one kernel.
    #[error(
        "the kernel would take {bytes} bytes of arguments, and a device takes at most {MAX_ARGUMENT_BYTES}"
    )]
    ArgumentsTooLarge {
        /// Bytes of the argument block.
        bytes: usize,
    },
    /// The geometry or the launch does not belong to the program.
    #[error("the program has {expected} {what}, and {found} were given")]
    CountDiffers {
        /// What is counted.
        what: &'static str,
        /// In the program.
        expected: usize,
        /// Given.
        found: usize,
    },
}

/// One axis of the space with the step of every stream along it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Axis {
    extent: usize,
    strides: SmallVec<[isize; 8]>,
}

/// The grid and the argument block of one program over one geometry, but for pointers and numbers.
#[derive(Clone, Debug)]
pub struct LaunchPlan {
    template: Vec<u8>,
    pointers_at: usize,
    offsets: SmallVec<[i64; 8]>,
    param_types: Vec<DType>,
    params_at: usize,
    grid: u32,
    block: u32,
    /// Where packs may be used, their number of points and the plain accesses that step (position, bytes of a pack).
    packs: Option<(u32, SmallVec<[(usize, u64); 8]>)>,
}

/// The fixed head of the argument block, in bytes; the axes follow.
const HEAD: usize = 64;
const FAULT_AT: usize = 24;
const VECTOR_AT: usize = 44;

impl LaunchPlan {
    /// The plan for a source that was made from this program.
    pub fn new(
        source: &CudaSource,
        program: &Program,
        geometry: &Geometry,
    ) -> Result<LaunchPlan, LaunchError> {
        let count = |what, expected, found| match expected == found {
            true => Ok(()),
            false => Err(LaunchError::CountDiffers { what, expected, found }),
        };
        count("accesses", program.accesses.len(), geometry.accesses.len())?;
        let streams = Streams::of(program);
        let (outer, inner) = split(&source.class, program, &streams, geometry);
        let points = |axes: &[Axis]| axes.iter().map(|a| a.extent).product::<usize>();
        let (outer_points, inner_points) = (points(&outer), points(&inner));
        let (outer, inner) = (merged(outer, streams.len()), merged(inner, streams.len()));
        let rank = outer.len() + inner.len();
        if rank > MAX_RANK {
            return Err(LaunchError::RankTooHigh { rank });
        }
        let layout = Threads::of(&source.class, program, &outer, &inner, outer_points, inner_points);
        let narrow = outer_points < 1 << 31 && inner_points < 1 << 31;

        let mut bytes = Block(Vec::with_capacity(HEAD + 192 + streams.len() * 8 * MAX_RANK));
        for word in [outer_points as i64, inner_points as i64, geometry.inner_points() as i64, 0] {
            bytes.i64(word);
        }
        for word in
            [outer.len(), inner.len(), narrow as usize, 0, layout.rows, layout.threads, layout.interleaved, 0]
        {
            bytes.i32(word as i32);
        }
        let axes: SmallVec<[&Axis; MAX_RANK]> = outer.iter().chain(&inner).collect();
        for d in 0..MAX_RANK {
            let extent = axes.get(d).map_or(1, |axis| axis.extent);
            let (magic, shift) = divisor(extent);
            bytes.i64(extent as i64);
            bytes.i32(magic as i32);
            bytes.i32(shift as i32);
        }
        for s in 0..streams.len().max(1) {
            for d in 0..MAX_RANK {
                let stride = axes.get(d).and_then(|axis| axis.strides.get(s)).copied().unwrap_or(0);
                bytes.i64(stride as i64);
            }
        }
        let accesses = program.accesses.len();
        for a in 0..accesses.max(1) {
            let (extent, stride) = geometry.accesses.get(a).and_then(|g| g.gather).unwrap_or((0, 0));
            bytes.i64(extent as i64);
            bytes.i64(stride as i64);
        }
        let pointers_at = bytes.0.len();
        (0..accesses.max(1)).for_each(|_| bytes.i64(0));
        let params_at = bytes.0.len();
        (0..program.params.len().max(1)).for_each(|_| bytes.i64(0));
        if bytes.0.len() > MAX_ARGUMENT_BYTES {
            return Err(LaunchError::ArgumentsTooLarge { bytes: bytes.0.len() });
        }
        let packs = packs(&source.class, program, &outer, outer_points);
        let offsets = (program.accesses.iter().zip(&geometry.accesses))
            .map(|(access, g)| g.offset as i64 * access.dtype.size() as i64)
            .collect();
        Ok(LaunchPlan {
            template: bytes.0,
            pointers_at,
            offsets,
            param_types: program.params.clone(),
            params_at,
            grid: layout.grid as u32,
            block: layout.block as u32,
            packs,
        })
    }

    /// Whether there is nothing to launch.
    pub fn is_empty(&self) -> bool {
        self.grid == 0
    }

    /// Threads of a thread block.
    pub fn block(&self) -> u32 {
        self.block
    }

    /// Writes the argument block for one launch into `out` and returns the number of thread blocks.
    ///
    /// `pointers` are the device addresses of element 0 of each access's buffer, `fault` that of a zeroed record of
    /// `FAULT_BYTES` bytes.
    pub fn arguments(
        &self,
        pointers: &[u64],
        params: &[Scalar],
        fault: u64,
        out: &mut Vec<u8>,
    ) -> Result<u32, LaunchError> {
        let count = |what, expected, found| match expected == found {
            true => Ok(()),
            false => Err(LaunchError::CountDiffers { what, expected, found }),
        };
        count("accesses", self.offsets.len(), pointers.len())?;
        count("parameters", self.param_types.len(), params.len())?;
        out.clear();
        out.extend_from_slice(&self.template);
        let mut put = |at: usize, word: u64| out[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        put(FAULT_AT, fault);
        let address = |i: usize| pointers[i].wrapping_add_signed(self.offsets[i]);
        for i in 0..pointers.len() {
            put(self.pointers_at + 8 * i, address(i));
        }
        for (i, (&param, &dtype)) in params.iter().zip(&self.param_types).enumerate() {
            put(self.params_at + 8 * i, param_word(param, dtype));
        }
        let mut grid = self.grid;
        if let Some((pack, steps)) = &self.packs
            && steps.iter().all(|&(i, bytes)| address(i) % bytes == 0)
        {
            out[VECTOR_AT..VECTOR_AT + 4].copy_from_slice(&1i32.to_ne_bytes());
            grid = grid.div_ceil(*pack);
        }
        Ok(grid)
    }
}

/// Bytes of the record in which a kernel reports an index out of range: state and access (u32), index and extent (i64).
pub const FAULT_BYTES: usize = 24;

/// A number as the kernel reads it: floats (already rounded to the parameter's type) as f64, the rest as i64.
fn param_word(value: Scalar, dtype: DType) -> u64 {
    match dtype {
        DType::Bool => value.to_bool() as u64,
        DType::U8 => u8::from_scalar(value) as u64,
        DType::I32 => i32::from_scalar(value) as i64 as u64,
        DType::I64 => value.to_i64() as u64,
        DType::F16 => half::f16::from_scalar(value).to_f64().to_bits(),
        DType::BF16 => half::bf16::from_scalar(value).to_f64().to_bits(),
        DType::F32 => (f32::from_scalar(value) as f64).to_bits(),
        DType::F64 => value.to_f64().to_bits(),
    }
}

/// The multiplier and shift that divide numbers below 2^31 by `extent`: with l = ceil(log2 d) and
/// m = floor(2^32 (2^l - d) / d) + 1, n / d = (mulhi(n, m) + n) >> l (Granlund and Montgomery, PLDI 1994).
fn divisor(extent: usize) -> (u32, u32) {
    if extent == 0 || extent >= 1 << 31 {
        return (0, 0);
    }
    let (d, shift) = (extent as u64, (extent as u64).next_power_of_two().trailing_zeros());
    ((((1u64 << 32) * ((1u64 << shift) - d)) / d + 1) as u32, shift)
}

/// The space cut in two: what threads take in parallel, and what one thread or one row walks through.
fn split(class: &Class, program: &Program, streams: &Streams, geometry: &Geometry) -> (Vec<Axis>, Vec<Axis>) {
    let extents: SmallVec<[usize; 8]> = geometry.outer.iter().chain(&geometry.inner).copied().collect();
    let row_major = crate::shape::contiguous_strides(&extents);
    let axes = (0..extents.len()).map(|d| Axis {
        extent: extents[d],
        strides: streams
            .iter()
            .map(|stream| match stream {
                Stream::Access(a) => geometry.accesses[a.0 as usize].strides[d],
                Stream::Index(axis) => (axis as usize == d) as isize,
                Stream::Point => row_major[d],
            })
            .collect(),
    });
    match class {
        Class::Rows { .. } => {
            let mut axes: Vec<Axis> = axes.collect();
            let inner = axes.split_off(geometry.outer.len());
            (axes, inner)
        }
        Class::Map { ordered, .. } if ordered.is_empty() => (axes.collect(), Vec::new()),
        Class::Map { ordered, .. } => {
            // Points that differ along an axis that moves every ordered store can never meet in one element, if the
            // store's steps are a mixed-radix number; the other axes are walked in order.
            let disjoint = ordered.iter().all(|&a| {
                let indexed = !is_plain(program, a);
                is_disjoint(&geometry.accesses[a.0 as usize], &extents, indexed)
            });
            let moves = |axis: &Axis| ordered.iter().all(|a| axis.strides[a.0 as usize] != 0);
            axes.partition(|axis| axis.extent == 1 || (disjoint && moves(axis)))
        }
    }
}

/// Whether different coordinates along the axes that move an access, and different gathered indices, always give
/// different elements: each step is larger than all smaller steps together can reach.
fn is_disjoint(access: &crate::loops::AccessGeometry, extents: &[usize], indexed: bool) -> bool {
    let mut digits: SmallVec<[(usize, usize); 8]> = (extents.iter().zip(&access.strides))
        .filter(|&(&extent, &stride)| extent > 1 && stride != 0)
        .map(|(&extent, stride)| (stride.unsigned_abs(), extent))
        .collect();
    if let (true, Some((extent, stride))) = (indexed, access.gather)
        && extent > 1
    {
        digits.push((stride.unsigned_abs(), extent));
    }
    digits.sort_unstable();
    let mut reach = 0usize;
    digits.iter().all(|&(stride, extent)| {
        let apart = stride > reach;
        reach += stride * (extent - 1);
        apart
    })
}

/// Without axes of extent 1, and with neighbours joined that every stream steps through as one; at least one axis.
fn merged(axes: Vec<Axis>, streams: usize) -> Vec<Axis> {
    let mut out: Vec<Axis> = Vec::with_capacity(axes.len());
    for axis in axes {
        if axis.extent == 1 {
            continue;
        }
        match out.last_mut() {
            Some(last)
                if (last.strides.iter().zip(&axis.strides)).all(|(&a, &b)| a == b * axis.extent as isize) =>
            {
                last.extent *= axis.extent;
                last.strides = axis.strides;
            }
            _ => out.push(axis),
        }
    }
    if out.is_empty() {
        out.push(Axis { extent: 1, strides: SmallVec::from_elem(0, streams) });
    }
    out
}

/// How many threads there are and what they stand for.
struct Threads {
    rows: usize,
    threads: usize,
    interleaved: usize,
    grid: usize,
    block: usize,
}

impl Threads {
    fn of(
        class: &Class,
        program: &Program,
        outer: &[Axis],
        inner: &[Axis],
        rows: usize,
        width: usize,
    ) -> Threads {
        let (lockstep, ordered) = match *class {
            Class::Map { .. } => {
                let grid = if width == 0 { 0 } else { rows.div_ceil(MAP_THREADS).min(MAX_GRID) };
                return Threads { rows: 0, threads: 0, interleaved: 0, grid, block: MAP_THREADS };
            }
            Class::Rows { lockstep, ordered } => (lockstep, ordered),
        };
        // Lanes that step far while neighbouring rows lie side by side: then neighbouring threads take the rows.
        let step = |axes: &[Axis], a: usize| axes.last().map_or(0, |axis| axis.strides[a].unsigned_abs());
        let votes: isize = (0..program.accesses.len())
            .map(|a| match (step(outer, a) <= 1, step(inner, a) <= 1) {
                (true, false) => 1,
                (false, true) => -1,
                (true, true) | (false, false) => 0,
            })
            .sum();
        let interleaved = votes > 0;
        // One group for each block of points; more for wide rows that are too few to fill a device, since the sweep
        // that stores can use them.
        let blocks = width.div_ceil(REDUCE_BLOCK);
        let spread = if rows < 4096 && !interleaved { width / 256 } else { 1 };
        let groups = if lockstep { 1 } else { blocks.max(spread).clamp(1, 16) };
        let threads = groups * REDUCE_LANES;
        let room = if interleaved { MAX_THREADS } else { MAX_THREADS / 2 };
        let per_block = if ordered { 1 } else { (room / threads).clamp(1, rows.max(1)) };
        let grid = if ordered { rows.min(1) } else { rows.div_ceil(per_block).min(MAX_GRID) };
        let interleaved = interleaved as usize;
        Threads { rows: per_block, threads, interleaved, grid, block: per_block * threads }
    }
}

/// Whether a map is dense enough for packs, and which accesses then have to be aligned.
fn packs(
    class: &Class,
    program: &Program,
    outer: &[Axis],
    points: usize,
) -> Option<(u32, SmallVec<[(usize, u64); 8]>)> {
    let pack = match class {
        Class::Map { pack, ordered } if *pack > 1 && ordered.is_empty() => *pack,
        Class::Map { .. } | Class::Rows { .. } => return None,
    };
    let [axis] = outer else { return None };
    if points < pack as usize {
        return None;
    }
    let mut steps = SmallVec::new();
    for (a, access) in program.accesses.iter().enumerate() {
        let id = AccessId(a as u32);
        match axis.strides[a] {
            _ if !is_plain(program, id) => {}
            1 => steps.push((a, pack as u64 * access.dtype.size() as u64)),
            0 if !is_written(program, id) => {}
            _ => return None,
        }
    }
    Some((pack, steps))
}

/// The argument block while it grows.
struct Block(Vec<u8>);

impl Block {
    fn i64(&mut self, word: i64) {
        self.0.extend_from_slice(&word.to_ne_bytes());
    }
    fn i32(&mut self, word: i32) {
        self.0.extend_from_slice(&word.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loops::AccessGeometry;

    #[test]
    fn divisors_divide_every_number_below_two_to_the_31() {
        for extent in (1..300).chain([4095, 4096, 65_537, 1 << 30, (1 << 31) - 1]) {
            let (magic, shift) = divisor(extent);
            let near = (0..5).flat_map(|i| [extent as u64 * i, extent as u64 * i + extent as u64 - 1]);
            for n in near.chain([0, 1, 12_345_678, (1 << 31) - 1]).filter(|&n| n < 1 << 31) {
                // As the prelude's `quotient`.
                let quotient = (((n * magic as u64) >> 32) as u32 + n as u32) >> shift;
                assert_eq!(quotient as u64, n / extent as u64, "{n} / {extent}");
            }
        }
    }

    #[test]
    fn axes_that_every_stream_steps_evenly_through_are_one() {
        let axis = |extent, strides: &[isize]| Axis { extent, strides: SmallVec::from_slice(strides) };
        let one = merged(vec![axis(2, &[12, 0]), axis(3, &[4, 0]), axis(1, &[9, 9]), axis(4, &[1, 0])], 2);
        assert_eq!(one, [axis(24, &[1, 0])]);
        let two = merged(vec![axis(2, &[12, 1]), axis(3, &[4, 0]), axis(4, &[1, 0])], 2);
        assert_eq!(two, [axis(2, &[12, 1]), axis(12, &[1, 0])]);
        assert_eq!(merged(Vec::new(), 1), [axis(1, &[0])]);
    }

    #[test]
    fn scattered_points_stay_apart_only_along_digits() {
        let access = |strides: &[isize], gather| AccessGeometry {
            offset: 0,
            strides: strides.iter().copied().collect(),
            gather,
        };
        // Rows of 5 that are chosen by an index: columns never meet.
        assert!(is_disjoint(&access(&[0, 1], Some((6, 5))), &[8, 5], true));
        // Steps of 3 under columns 0..5 do.
        assert!(!is_disjoint(&access(&[0, 1], Some((6, 3))), &[8, 5], true));
        assert!(!is_disjoint(&access(&[1, 1], None), &[2, 2], false));
    }
}
