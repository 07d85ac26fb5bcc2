//! cuBLASLt's terms: how a product and its operands are described to the library, and the algorithm it chose.
//!
//! The library thinks in column-major matrices. A row-major result is computed as the transposed product, so that every
//! combination of row-major and column-major operands has a description without a copy.

use crate::error::{Error, ErrorKind};
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use kernels::DType;
use kernels::cpu::gemm::Gemm;
use std::ffi::c_void;

/// Memory that the library may use for one product; one block for all, since they run one after the other.
pub const WORKSPACE: usize = 32 << 20;

/// Batches that are not one step apart are launched one by one, up to this many.
const LOOSE_BATCHES: usize = 64;

/// The library, ready for products.
#[derive(Clone, Copy)]
pub struct Library {
    /// Its handle.
    pub handle: sys::cublasLtHandle_t,
    /// Memory of `WORKSPACE` bytes.
    pub workspace: u64,
}

// SAFETY: the library's handle may be used from any thread; the workspace is an address.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

/// A failure of the library.
#[cold]
pub fn library_error(what: &str, error: CublasError) -> Error {
    Error::new(ErrorKind::Device, format!("{what}: {error:?}"))
}

/// A matrix as the library describes it: column-major with a leading dimension, maybe transposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stored {
    transposed: bool,
    rows: usize,
    columns: usize,
    leading: usize,
}

/// A product in the library's terms.
pub struct Shape {
    /// The first, the second operand and the result, in the library's order.
    operands: [Stored; 3],
    /// Whether the library computes the transposed product, with b first.
    swapped: bool,
    m: usize,
    n: usize,
    k: usize,
    /// Matrices that one call computes and the steps between them, for a, b and c.
    batch: (usize, [isize; 3]),
    /// Where each call starts, in elements of a, b and c.
    starts: Vec<[isize; 3]>,
}

impl Shape {
    /// `None` where the library has no such type or layout.
    pub fn of(product: &Gemm) -> Option<Shape> {
        if !product.dtype.is_float() || product.k == 0 {
            return None;
        }
        let (m, n, k) = (product.m, product.n, product.k);
        let (a, b, c) = (&product.a, &product.b, &product.c);
        let plain = stored(m, n, c.row_stride, c.col_stride).filter(|c| !c.transposed);
        let (swapped, operands) = match plain {
            Some(result) => (
                false,
                [
                    stored(m, k, a.row_stride, a.col_stride)?,
                    stored(k, n, b.row_stride, b.col_stride)?,
                    result,
                ],
            ),
            // c is row-major: the library computes its transpose, which is column-major, from b and a transposed.
            None => {
                let result = stored(n, m, c.col_stride, c.row_stride).filter(|c| !c.transposed)?;
                (
                    true,
                    [
                        stored(n, k, b.col_stride, b.row_stride)?,
                        stored(k, m, a.col_stride, a.row_stride)?,
                        result,
                    ],
                )
            }
        };
        let (batch, starts) = batches(product)?;
        Some(Shape { operands, swapped, m, n, k, batch, starts })
    }

    /// Whether every matrix begins at a multiple of 16 bytes if the operands do.
    pub fn keeps_alignment(&self, product: &Gemm) -> bool {
        let whole = |elements: isize| (elements * product.dtype.size() as isize) % 16 == 0;
        self.batch.1.iter().all(|&step| whole(step))
            && self.starts.iter().flatten().all(|&start| whole(start))
    }
}

/// A matrix of these steps, column-major where it can be; `None` where neither it nor its transpose is.
fn stored(rows: usize, columns: usize, row_stride: isize, col_stride: isize) -> Option<Stored> {
    let leading = |count: usize, length: usize, step: isize| match count {
        1 => Some(length.max(1)),
        _ if step >= length.max(1) as isize && step <= i32::MAX as isize => Some(step as usize),
        _ => None,
    };
    if (row_stride == 1 || rows == 1)
        && let Some(leading) = leading(columns, rows, col_stride)
    {
        return Some(Stored { transposed: false, rows, columns, leading });
    }
    if (col_stride == 1 || columns == 1)
        && let Some(leading) = leading(rows, columns, row_stride)
    {
        return Some(Stored { transposed: true, rows: columns, columns: rows, leading });
    }
    None
}

/// The batch as one strided run that a call computes, and the starts of the calls.
fn batches(product: &Gemm) -> Option<((usize, [isize; 3]), Vec<[isize; 3]>)> {
    let mut axes: Vec<(usize, [isize; 3])> = Vec::new();
    for (d, &extent) in product.batch.iter().enumerate() {
        let steps = [&product.a, &product.b, &product.c].map(|matrix| matrix.batch_strides[d]);
        if extent == 1 {
            continue;
        }
        match axes.last_mut() {
            Some((count, last)) if (0..3).all(|i| last[i] == steps[i] * extent as isize) => {
                *count *= extent;
                *last = steps;
            }
            _ => axes.push((extent, steps)),
        }
    }
    let longest = (0..axes.len()).max_by_key(|&i| axes[i].0);
    let run = longest.map_or((1, [0; 3]), |i| axes.remove(i));
    if axes.iter().map(|axis| axis.0).product::<usize>() > LOOSE_BATCHES {
        return None;
    }
    let mut starts = vec![[0isize; 3]];
    for (extent, steps) in axes {
        starts = starts
            .iter()
            .flat_map(|start| {
                (0..extent as isize).map(move |i| std::array::from_fn(|s| start[s] + i * steps[s]))
            })
            .collect();
    }
    Some((run, starts))
}

/// A product's descriptions and the algorithm that the library chose.
pub struct Plan {
    /// Element type of the operands.
    pub dtype: DType,
    /// Element type of the result.
    pub sum: DType,
    /// What is multiplied how.
    pub description: sys::cublasLtMatmulDesc_t,
    /// Layouts of the first and second operand and of the result.
    pub layouts: [sys::cublasLtMatrixLayout_t; 3],
    /// The algorithm.
    pub algorithm: sys::cublasLtMatmulAlgo_t,
    /// Whether b comes first.
    pub swapped: bool,
    /// Where each call starts, in elements of a, b and c.
    pub starts: Vec<[isize; 3]>,
}

// SAFETY: the library reads descriptions and algorithms; nothing writes them after `new`.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

impl Plan {
    /// Asks the library; the result of operands of `dtype` is of that type too or of the type that it is summed in.
    /// `aligned` promises addresses that are multiples of 16.
    pub fn new(
        library: &Library,
        [dtype, sum]: [DType; 2],
        shape: &Shape,
        aligned: bool,
    ) -> Result<Plan, CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as Preference;
        let (compute, scale, element) = match dtype {
            DType::F64 => (
                sys::cublasComputeType_t::CUBLAS_COMPUTE_64F,
                sys::cudaDataType_t::CUDA_R_64F,
                sys::cudaDataType_t::CUDA_R_64F,
            ),
            DType::F16 => (
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cudaDataType_t::CUDA_R_32F,
                sys::cudaDataType_t::CUDA_R_16F,
            ),
            DType::BF16 => (
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cudaDataType_t::CUDA_R_32F,
                sys::cudaDataType_t::CUDA_R_16BF,
            ),
            DType::F32 | DType::Bool | DType::U8 | DType::I32 | DType::I64 => (
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cudaDataType_t::CUDA_R_32F,
                sys::cudaDataType_t::CUDA_R_32F,
            ),
        };
        let mut plan = Plan {
            dtype,
            sum,
            description: result::create_matmul_desc(compute, scale)?,
            layouts: [std::ptr::null_mut(); 3],
            // SAFETY: the type is a plain block of words; it is replaced before anything reads it.
            algorithm: unsafe { std::mem::zeroed() },
            swapped: shape.swapped,
            starts: shape.starts.clone(),
        };
        let steps = match (shape.swapped, shape.batch.1) {
            (true, [a, b, c]) => [b, a, c],
            (false, steps) => steps,
        };
        for (i, stored) in shape.operands.iter().enumerate() {
            let (rows, columns) = (stored.rows as u64, stored.columns as u64);
            // What is summed in another type is summed in the scale's.
            let element = if i == 2 && sum != dtype { scale } else { element };
            plan.layouts[i] = result::create_matrix_layout(element, rows, columns, stored.leading as i64)?;
            let (count, step) = (shape.batch.0 as i32, steps[i] as i64);
            use sys::cublasLtMatrixLayoutAttribute_t::*;
            // SAFETY: the layout is open; the attributes are an i32 and an i64.
            unsafe {
                set(plan.layouts[i], CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count)?;
                set(plan.layouts[i], CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step)?;
            }
        }
        debug_assert!(shape.m > 0 && shape.n > 0 && shape.k > 0, "empty products never come here");
        let transposes = [
            (sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSA, shape.operands[0].transposed),
            (sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_TRANSB, shape.operands[1].transposed),
        ];
        for (attribute, transposed) in transposes {
            // CUBLAS_OP_T and CUBLAS_OP_N, which the bindings of this library leave out.
            let operation = match transposed {
                true => 1i32,
                false => 0,
            };
            // SAFETY: the description is open; the attribute is an i32.
            unsafe {
                result::set_matmul_desc_attribute(
                    plan.description,
                    attribute,
                    (&raw const operation).cast(),
                    size_of::<i32>(),
                )?;
            }
        }
        let preference = PreferenceHandle(result::create_matmul_pref()?);
        let alignment = if aligned { 16u32 } else { dtype.size() as u32 };
        let [first, second, third] = plan.layouts;
        // SAFETY: everything named is open; the attributes are a u64 and u32s.
        let found = unsafe {
            let workspace = WORKSPACE as u64;
            let set_preference = |attribute, value: *const c_void, size| {
                result::set_matmul_pref_attribute(preference.0, attribute, value, size)
            };
            set_preference(
                Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                (&raw const workspace).cast(),
                8,
            )?;
            for attribute in [
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
            ] {
                set_preference(attribute, (&raw const alignment).cast(), 4)?;
            }
            result::get_matmul_algo_heuristic(
                library.handle,
                plan.description,
                first,
                second,
                third,
                third,
                preference.0,
            )?
        };
        plan.algorithm = found.algo;
        Ok(plan)
    }
}

/// Sets an attribute of a layout.
///
/// # Safety
/// The layout is open and the attribute has the value's type.
unsafe fn set<T>(
    layout: sys::cublasLtMatrixLayout_t,
    attribute: sys::cublasLtMatrixLayoutAttribute_t,
    value: &T,
) -> Result<(), CublasError> {
    // SAFETY: the caller's promise.
    unsafe {
        result::set_matrix_layout_attribute(
            layout,
            attribute,
            std::ptr::from_ref(value).cast(),
            size_of::<T>(),
        )
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: the descriptions are this plan's alone; null ones were never made.
        unsafe {
            let _ = result::destroy_matmul_desc(self.description);
            for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
                let _ = result::destroy_matrix_layout(layout);
            }
        }
    }
}

/// A preference, destroyed when dropped.
struct PreferenceHandle(sys::cublasLtMatmulPreference_t);

impl Drop for PreferenceHandle {
    fn drop(&mut self) {
        // SAFETY: the preference is open and nobody else has it.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::Dims;
    use kernels::cpu::gemm::MatrixGeometry;

    /// Does what the library would do with a shape, on the host.
    fn emulate(shape: &Shape, a: &[f64], b: &[f64], c: &mut [f64]) {
        let [first, second, result] = shape.operands;
        let (rows, columns) = (result.rows, result.columns);
        let at = |s: &Stored, i: usize, j: usize| match s.transposed {
            false => i + j * s.leading,
            true => j + i * s.leading,
        };
        for &start in &shape.starts {
            for batch in 0..shape.batch.0 as isize {
                let [to_a, to_b, to_c] =
                    std::array::from_fn(|i| (start[i] + batch * shape.batch.1[i]) as usize);
                let (left, right) = match shape.swapped {
                    true => (&b[to_b..], &a[to_a..]),
                    false => (&a[to_a..], &b[to_b..]),
                };
                for j in 0..columns {
                    for i in 0..rows {
                        c[to_c + at(&result, i, j)] =
                            (0..shape.k).map(|p| left[at(&first, i, p)] * right[at(&second, p, j)]).sum();
                    }
                }
            }
        }
    }

    fn matrix(rows: usize, columns: usize, transposed: bool, batch: &[isize]) -> MatrixGeometry {
        let plain = match transposed {
            true => MatrixGeometry::new(1, rows as isize),
            false => MatrixGeometry::new(columns as isize, 1),
        };
        MatrixGeometry { batch_strides: batch.iter().copied().collect(), ..plain }
    }

    #[test]
    fn every_layout_is_described_right() {
        let numbers: Vec<f64> = (0..2000).map(|i| ((i * 37) % 101) as f64 - 50.0).collect();
        for (m, n, k) in [(3, 5, 4), (1, 6, 7), (4, 1, 3), (1, 1, 5), (5, 4, 1), (1, 1, 1)] {
            for layouts in 0..8 {
                let (mk, kn, mn) = ((m * k) as isize, (k * n) as isize, (m * n) as isize);
                // Batches in one run, with b repeated, and in an order that is not one run.
                for (extents, steps) in [
                    (vec![], [vec![], vec![], vec![]]),
                    (vec![2, 3], [vec![3 * mk, mk], vec![3 * kn, kn], vec![3 * mn, mn]]),
                    (vec![2, 3], [vec![3 * mk, mk], vec![0, 0], vec![3 * mn, mn]]),
                    (vec![2, 3], [vec![mk, 2 * mk], vec![3 * kn, kn], vec![3 * mn, mn]]),
                ] {
                    let product = Gemm {
                        batch: Dims::from_vec(extents.clone()),
                        a: matrix(m, k, layouts & 1 != 0, &steps[0]),
                        b: matrix(k, n, layouts & 2 != 0, &steps[1]),
                        c: matrix(m, n, layouts & 4 != 0, &steps[2]),
                        ..Gemm::dense(DType::F64, m, n, k)
                    };
                    let shape = Shape::of(&product).expect("each matrix is dense in one direction");
                    let mut got = vec![0.0; 2000];
                    emulate(&shape, &numbers, &numbers, &mut got);
                    let mut expected = vec![0.0; 2000];
                    let pool = kernels::cpu::threads::Pool::new(1);
                    // SAFETY: the geometries reach at most 6 matrices of 35 elements.
                    unsafe {
                        product.run(
                            numbers.as_ptr().cast(),
                            numbers.as_ptr().cast(),
                            expected.as_mut_ptr().cast(),
                            std::ptr::null(),
                            &pool,
                        );
                    }
                    assert_eq!(got, expected, "{product:?}");
                }
            }
        }
    }

    #[test]
    fn what_the_library_lacks_is_left_to_the_generated_kernel() {
        assert!(Shape::of(&Gemm::dense(DType::I32, 4, 4, 4)).is_none());
        assert!(Shape::of(&Gemm::dense(DType::F32, 4, 4, 0)).is_none());
        let mut strided = Gemm::dense(DType::F32, 4, 4, 4);
        strided.a = MatrixGeometry::new(8, 2);
        assert!(Shape::of(&strided).is_none());
        let mut rows_repeat = Gemm::dense(DType::F32, 4, 4, 4);
        rows_repeat.a = MatrixGeometry::new(0, 1);
        assert!(Shape::of(&rows_repeat).is_none());
    }
}
