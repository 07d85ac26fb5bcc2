//! The matrix product's text, one kernel for each element type, and its argument block.
//!
//! It serves what the vendor's library does not: integers, truth values, and steps that are 1 in neither dimension.
//! Halves accumulate in f32 over the whole of k and are rounded once.

use super::emit;
use crate::cpu::gemm::{Activation, Gemm};
use crate::dtype::DType;
use thiserror::Error;

/// The templates that every product kernel instantiates; once, after `PRELUDE`.
pub const PRODUCT: &str = include_str!("gemm.cuh");

/// Batch dimensions that a product can have.
pub const MAX_BATCH_RANK: usize = 6;

/// Rows and columns of c that one thread block computes.
const TILE: usize = 64;
/// Threads of a thread block.
pub const THREADS: u32 = 256;

/// The kernel for one element type, named `name`; `PRELUDE` and `PRODUCT` come before it.
pub fn source(dtype: DType, name: &str) -> String {
    let (value, short) = (emit::value_type(dtype), dtype.name());
    let round = emit::rounded(dtype, "x".into());
    format!(
        "struct Element_{name} {{
    typedef {value} Value;
    DEVICE {value} load(const void *p, i64 at) {{ return load_{short}(p, at); }}
    DEVICE {value} round({value} x) {{ return {round}; }}
    DEVICE void store(void *p, i64 at, {value} x) {{ store_{short}(p, at, x); }}
}};
extern \"C\" __global__ void __launch_bounds__({THREADS}) {name}(const __grid_constant__ ProductArguments g) {{
    product<Element_{name}>(g);
}}
"
    )
}

/// A complete translation unit for one element type.
pub fn unit(dtype: DType, name: &str) -> String {
    format!("{}\n{PRODUCT}\n{}", super::PRELUDE, source(dtype, name))
}

/// The product has more batch dimensions than its kernel walks.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("a matrix product on CUDA takes at most {MAX_BATCH_RANK} batch dimensions, and this one has {rank}")]
pub struct BatchRankTooHigh {
    /// Batch dimensions of the product.
    pub rank: usize,
}

/// Thread blocks along x, y and z; `None` where there is nothing to write.
pub fn grid(gemm: &Gemm) -> Option<[u32; 3]> {
    let batches: usize = gemm.batch.iter().product();
    if gemm.m == 0 || gemm.n == 0 || batches == 0 {
        return None;
    }
    Some([gemm.n.div_ceil(TILE) as u32, 1, (batches * gemm.m.div_ceil(TILE)).min(65_535) as u32])
}

/// Writes the argument block of one launch into `out`; the device addresses are those of a, b, c and the bias (read
/// only if the product has one).
pub fn arguments(gemm: &Gemm, pointers: [u64; 4], out: &mut Vec<u8>) -> Result<(), BatchRankTooHigh> {
    let rank = gemm.batch.len();
    if rank > MAX_BATCH_RANK {
        return Err(BatchRankTooHigh { rank });
    }
    out.clear();
    let mut word = |value: i64| out.extend_from_slice(&value.to_ne_bytes());
    for value in [gemm.m, gemm.n, gemm.k, gemm.batch.iter().product()] {
        word(value as i64);
    }
    let relu = gemm.activation == Activation::Relu;
    let pairs = [
        [rank as i32, gemm.accumulate as i32],
        [gemm.bias as i32, relu as i32],
        [gemm.rounds_once as i32, 0],
    ];
    for pair in pairs {
        word(bytemuck::cast(pair));
    }
    for d in 0..MAX_BATCH_RANK {
        word(gemm.batch.get(d).copied().unwrap_or(1) as i64);
    }
    let operands = [&gemm.a, &gemm.b, &gemm.c];
    for operand in operands {
        for d in 0..MAX_BATCH_RANK {
            word(operand.batch_strides.get(d).copied().unwrap_or(0) as i64);
        }
    }
    operands.iter().for_each(|operand| word(operand.row_stride as i64));
    operands.iter().for_each(|operand| word(operand.col_stride as i64));
    pointers.iter().for_each(|&pointer| word(pointer as i64));
    Ok(())
}
