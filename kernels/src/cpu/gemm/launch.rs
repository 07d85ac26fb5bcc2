//! From a product to parts: orientation, merged batches, the cut, and the code for this element type and processor.

use super::element::{Element, Truth};
use super::few::{self, FEW};
#[cfg(target_arch = "x86_64")]
use super::machine::{Avx2, Avx512};
use super::machine::{Level, Machine, Portable};
use super::pack::Steps;
use super::part::{Batch, Cut, Job, part};
use super::{Gemm, MatrixGeometry};
use crate::cpu::threads::Pool;
use crate::dtype::DType;
use crate::shape::Strides;

/// Multiply-adds that are worth a part of their own: about 5 us.
const PART_WORK: usize = 200_000;

/// Elements of b whose reading is worth a part of its own.
const PART_READ: usize = 40_000;

/// Parts per thread, so that a thread that comes late or is held up does not hold up the call.
const PARTS_PER_THREAD: usize = 4;

/// As `Gemm::run`, with the instruction set given.
///
/// # Safety
/// As `Gemm::run`; the processor must have `level`.
pub(super) unsafe fn run(
    gemm: &Gemm,
    level: Level,
    a: *const u8,
    b: *const u8,
    c: *mut u8,
    bias: *const u8,
    pool: &Pool,
) {
    if gemm.m == 0 || gemm.n == 0 || gemm.batch.contains(&0) {
        return;
    }
    // SAFETY: the same contract.
    unsafe {
        match gemm.dtype {
            DType::Bool => typed::<Truth>(gemm, level, a, b, c, bias, pool),
            DType::U8 => typed::<u8>(gemm, level, a, b, c, bias, pool),
            DType::I32 => typed::<i32>(gemm, level, a, b, c, bias, pool),
            DType::I64 => typed::<i64>(gemm, level, a, b, c, bias, pool),
            DType::F16 => typed::<half::f16>(gemm, level, a, b, c, bias, pool),
            DType::BF16 => typed::<half::bf16>(gemm, level, a, b, c, bias, pool),
            DType::F32 => typed::<f32>(gemm, level, a, b, c, bias, pool),
            DType::F64 => typed::<f64>(gemm, level, a, b, c, bias, pool),
        }
    }
}

/// An element type whose sums every instruction set can compute.
#[cfg(target_arch = "x86_64")]
trait Everywhere: Element {
    const CODE: [Code<Self>; 3];
}
#[cfg(not(target_arch = "x86_64"))]
trait Everywhere: Element {
    const CODE: [Code<Self>; 1];
}

/// The parts' code for one instruction set.
struct Code<E> {
    part: unsafe fn(&Job<E>, usize),
    rows: usize,
    width: usize,
    pack_rows: usize,
}

const fn code<E: Element, M: Machine<E::Sum>>(part: unsafe fn(&Job<E>, usize)) -> Code<E> {
    Code { part, rows: M::ROWS, width: M::WIDTH, pack_rows: M::PACK_ROWS }
}

unsafe fn part_portable<E: Element>(job: &Job<E>, index: usize)
where
    Portable: Machine<E::Sum>,
{
    // SAFETY: the same contract.
    unsafe { part::<E, Portable>(job, index) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn part_avx2<E: Element>(job: &Job<E>, index: usize)
where
    Avx2: Machine<E::Sum>,
{
    // SAFETY: the same contract.
    unsafe { part::<E, Avx2>(job, index) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f")]
unsafe fn part_avx512<E: Element>(job: &Job<E>, index: usize)
where
    Avx512: Machine<E::Sum>,
{
    // SAFETY: the same contract.
    unsafe { part::<E, Avx512>(job, index) }
}

#[cfg(target_arch = "x86_64")]
impl<E: Element> Everywhere for E
where
    Portable: Machine<E::Sum>,
    Avx2: Machine<E::Sum>,
    Avx512: Machine<E::Sum>,
{
    const CODE: [Code<E>; 3] = [
        code::<E, Portable>(part_portable::<E>),
        code::<E, Avx2>(part_avx2::<E>),
        if E::IS_FLOAT { code::<E, Avx512>(part_avx512::<E>) } else { code::<E, Avx2>(part_avx2::<E>) },
    ];
}
#[cfg(not(target_arch = "x86_64"))]
impl<E: Element> Everywhere for E
where
    Portable: Machine<E::Sum>,
{
    const CODE: [Code<E>; 1] = [code::<E, Portable>(part_portable::<E>)];
}

unsafe fn typed<E: Everywhere>(
    gemm: &Gemm,
    level: Level,
    a: *const u8,
    b: *const u8,
    c: *mut u8,
    bias: *const u8,
    pool: &Pool,
) {
    let code = &E::CODE[level as usize];
    let steps = |g: &MatrixGeometry| Steps { row: g.row_stride, col: g.col_stride };
    let batch = Batch {
        dims: gemm.batch.clone(),
        a: gemm.a.batch_strides.clone(),
        b: gemm.b.batch_strides.clone(),
        c: gemm.c.batch_strides.clone(),
    };
    let mut job = Job::<E> {
        m: gemm.m,
        n: gemm.n,
        k: gemm.k,
        a: a.cast(),
        b: b.cast(),
        c: c.cast(),
        a_steps: steps(&gemm.a),
        b_steps: steps(&gemm.b),
        c_steps: steps(&gemm.c),
        accumulate: gemm.accumulate,
        bias: gemm.bias.then_some((bias.cast(), Steps { row: 0, col: 1 })),
        rounds_once: gemm.rounds_once && !E::IS_SUM,
        activation: gemm.activation,
        batch,
        cut: Cut { rows: 0, cols: 0, row_blocks: 0, col_blocks: 0, blocks: 0, per_part: 1 },
    };
    // Few columns become few rows; otherwise the rows of the result should lie side by side.
    let few = gemm.m.min(gemm.n) <= FEW;
    if (few && job.n < job.m) || (!few && job.c_steps.col != 1 && job.c_steps.row == 1) {
        job.transpose();
    }
    merge_batch(&mut job);
    let count = job.batch.dims.iter().product();
    job.cut = if job.m <= FEW {
        cut_few(job.m, job.n, job.k, count, pool.threads())
    } else {
        cut(job.m, job.n, job.k, count, pool.threads(), code)
    };
    let parts = job.cut.blocks.div_ceil(job.cut.per_part);
    if parts == 1 {
        // SAFETY: the same contract.
        unsafe { (code.part)(&job, 0) };
        return;
    }
    pool.run(parts, &|index| {
        // SAFETY: the same contract.
        unsafe { (code.part)(&job, index) }
    });
}

/// Turns a batch that repeats b, and whose rows of a and c step on evenly, into more rows.
fn merge_batch<E>(job: &mut Job<E>) {
    let batch = &mut job.batch;
    while let Some(last) = batch.dims.len().checked_sub(1) {
        let m = job.m as isize;
        let even = |steps: &Strides, row: isize| steps[last] == m * row;
        let repeats_bias = job.bias.is_none_or(|(_, steps)| steps.row == 0);
        if batch.b[last] != 0
            || !even(&batch.a, job.a_steps.row)
            || !even(&batch.c, job.c_steps.row)
            || !repeats_bias
        {
            return;
        }
        job.m *= batch.dims[last];
        batch.dims.pop();
        for steps in [&mut batch.a, &mut batch.b, &mut batch.c] {
            steps.pop();
        }
    }
}

/// Cuts a product of few rows, whose time is that of reading b.
fn cut_few(m: usize, n: usize, k: usize, batch: usize, threads: usize) -> Cut {
    let work = n.saturating_mul(k.max(1)).saturating_mul(batch);
    let wanted = if threads == 1 { 1 } else { (work / PART_READ).clamp(1, PARTS_PER_THREAD * threads) };
    let cols = n.div_ceil(wanted.div_ceil(batch)).next_multiple_of(few::UNIT);
    let col_blocks = n.div_ceil(cols);
    let blocks = batch * col_blocks;
    Cut { rows: m, cols, row_blocks: 1, col_blocks, blocks, per_part: blocks.div_ceil(wanted) }
}

/// Cuts the results. No element's bits depend on it, so it may follow the number of threads.
fn cut<E>(m: usize, n: usize, k: usize, batch: usize, threads: usize, code: &Code<E>) -> Cut {
    let work_per_product = m.saturating_mul(n).saturating_mul(k.max(1));
    let work = work_per_product.saturating_mul(batch);
    let wanted = if threads == 1 { 1 } else { (work / PART_WORK).clamp(1, PARTS_PER_THREAD * threads) };
    let even = |extent: usize, blocks: usize, unit: usize| {
        let size = extent.div_ceil(blocks).next_multiple_of(unit);
        (size, extent.div_ceil(size))
    };
    let (mut rows, mut row_blocks) = even(m, m.div_ceil(code.pack_rows), code.rows);
    // Columns first: rows that are cut make b be packed more often. Blocks of columns are limited because sums that
    // cannot be kept in c need memory.
    let missing = wanted.div_ceil(batch * row_blocks);
    let (cols, col_blocks) =
        even(n, missing.min(n.div_ceil(code.width)).max(n.div_ceil(MOST_COLS)), code.width);
    let missing = wanted.div_ceil(batch * col_blocks);
    if missing > row_blocks {
        (rows, row_blocks) = even(m, missing.min(m.div_ceil(code.rows)), code.rows);
    }
    let blocks = batch * row_blocks * col_blocks;
    Cut { rows, cols, row_blocks, col_blocks, blocks, per_part: blocks.div_ceil(wanted.max(1)).max(1) }
}

/// Columns of a block of the result at most.
const MOST_COLS: usize = 1024;
