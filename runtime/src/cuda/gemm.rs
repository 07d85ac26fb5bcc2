//! Matrix products: cuBLASLt where it has the element type and the layout, the generated kernel everywhere else.
//!
//! Which of the two runs, and with which of the library's algorithms, depends on the product's type, extents and steps
//! (and on whether its addresses are aligned to 16 bytes), never on what happens to the result. So adding to c, adding a
//! bias and the activation are a loop program of their own after the library's product: fused into it, they would let
//! the library choose another order of summation, and a fused step would not have the bits of separate ones.

use super::context::Function;
use super::cublaslt::{Library, Plan, Shape, WORKSPACE, library_error};
use super::{Cuda, compile, libraries};
use crate::device::{LoopKernel, Space};
use crate::error::{Error, ErrorKind, Result};
use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys;
use kernels::cpu::gemm::{Activation, Gemm, MatrixGeometry};
use kernels::cuda::gemm as generated;
use kernels::loops::{AccessGeometry, AccessKind, BinaryOp, Combine, Geometry, InstOp, Level, Program, Reg};
use kernels::{DType, Dims, Scalar, Strides};
use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, OnceLock};

/// A device's handle, plans and kernels for products.
#[derive(Default)]
pub struct Products {
    library: OnceLock<Result<Library>>,
    plans: Mutex<HashMap<(Gemm, DType, bool), Option<Arc<Plan>>>>,
    generated: [OnceLock<Function>; DType::ALL.len()],
    endings: Mutex<HashMap<Ending, Arc<LoopKernel>>>,
}

/// What happens to a product's result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Ending {
    dtype: DType,
    /// Type of the product that it reads.
    sum: DType,
    accumulate: bool,
    bias: bool,
    relu: bool,
}

impl Cuda {
    /// Queues a product; pointers are a, b, c and, if it adds one, the bias.
    pub fn run_product(&self, product: &Gemm, pointers: &[*mut u8]) -> Result<()> {
        let [a, b, c, ..] = *pointers else {
            return Err(Error::internal("a product needs three addresses"));
        };
        if generated::grid(product).is_none() {
            return Ok(());
        }
        let (a, b, c) = (a as u64, b as u64, c as u64);
        let bias = pointers.get(3).map_or(0, |&pointer| pointer as u64);
        let Some(plain) = self.library_plan(product, product.dtype, [a, b, c])? else {
            return self.run_generated(product, [a, b, c, bias]);
        };
        let joins = product.rounds_once && (product.accumulate || product.bias);
        let ending = Ending {
            dtype: product.dtype,
            sum: if joins { product.dtype.accumulator() } else { product.dtype },
            accumulate: product.accumulate,
            bias: product.bias,
            relu: product.activation == Activation::Relu,
        };
        if !ending.accumulate && ending.sum == ending.dtype {
            self.run_library(&plain, [a, b, c])?;
            return match ending.bias || ending.relu {
                true => self.finish(product, ending, &product.c, c, c, bias),
                false => Ok(()),
            };
        }
        // c is needed after the product, or is narrower than the sum, which therefore goes elsewhere first.
        let dense = dense(product);
        let elements = product.batch.iter().product::<usize>() * product.m * product.n;
        let temporary = self.memory.take(&self.context, elements * ending.sum.size())?;
        let apart = Gemm { c: dense.clone(), accumulate: false, ..product.clone() };
        let address = temporary.pointer as u64;
        let outcome = match self.library_plan(&apart, ending.sum, [a, b, address]) {
            Ok(Some(plan)) => self
                .run_library(&plan, [a, b, address])
                .and_then(|()| self.finish(product, ending, &dense, address, c, bias)),
            Ok(None) if ending.sum != ending.dtype => self.run_generated(product, [a, b, c, bias]),
            Ok(None) => {
                let plain = Gemm { bias: false, activation: Activation::None, ..apart };
                self.run_generated(&plain, [a, b, address, 0])
                    .and_then(|()| self.finish(product, ending, &dense, address, c, bias))
            }
            Err(error) => Err(error),
        };
        self.memory.give(temporary);
        outcome
    }

    fn run_generated(&self, product: &Gemm, pointers: [u64; 4]) -> Result<()> {
        let Some(grid) = generated::grid(product) else { return Ok(()) };
        let slot = &self.products.generated[product.dtype as usize];
        let function = match slot.get() {
            Some(function) => *function,
            None => {
                let unit = generated::unit(product.dtype, "product");
                let code = compile::cubin(&unit, &self.context.architecture)?;
                let function = self.context.load(&code, c"product")?;
                *slot.get_or_init(|| function)
            }
        };
        let mut arguments = Vec::new();
        generated::arguments(product, pointers, &mut arguments)
            .map_err(|error| Error::new(ErrorKind::Device, error.to_string()))?;
        self.context.launch(&function, grid, generated::THREADS, &arguments)
    }

    /// The library's plan for the product without its ending, with a result of type `sum`; `None` where the library does not
    /// serve it.
    fn library_plan(&self, product: &Gemm, sum: DType, addresses: [u64; 3]) -> Result<Option<Arc<Plan>>> {
        let Some(shape) = Shape::of(product) else { return Ok(None) };
        let library = match self.products.library.get_or_init(|| self.open_library()) {
            Ok(library) => *library,
            // The generated kernel needs no library.
            Err(error) if error.kind() == ErrorKind::CudaUnavailable => return Ok(None),
            Err(error) => return Err(error.clone()),
        };
        let activation = Activation::None;
        let plain =
            Gemm { accumulate: false, bias: false, rounds_once: false, activation, ..product.clone() };
        let aligned = addresses.iter().all(|address| address % 16 == 0) && shape.keeps_alignment(product);
        let key = (plain, sum, aligned);
        let mut plans = self.products.plans.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(found) = plans.get(&key) {
            return Ok(found.clone());
        }
        self.context.enter()?;
        let made = match Plan::new(&library, [product.dtype, sum], &shape, aligned) {
            Ok(plan) => Some(Arc::new(plan)),
            // No algorithm for this product: not an error, since the generated kernel takes everything.
            Err(CublasError(
                sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED
                | sys::cublasStatus_t::CUBLAS_STATUS_INVALID_VALUE,
            )) => None,
            Err(error) => return Err(library_error("a product cannot be planned", error)),
        };
        plans.insert(key, made.clone());
        Ok(made)
    }

    fn open_library(&self) -> Result<Library> {
        libraries::cublaslt()?;
        self.context.enter()?;
        let handle = result::create_handle().map_err(|e| library_error("cuBLASLt does not start", e))?;
        let workspace = self.context.allocate(WORKSPACE)?.ok_or_else(|| {
            Error::new(ErrorKind::OutOfMemory, format!("no {WORKSPACE} bytes for the products' workspace"))
        })?;
        Ok(Library { handle, workspace })
    }

    fn run_library(&self, plan: &Plan, [a, b, c]: [u64; 3]) -> Result<()> {
        self.context.enter()?;
        let library = match self.products.library.get() {
            Some(Ok(library)) => library,
            Some(Err(_)) | None => return Err(Error::internal("a product's plan without its library")),
        };
        let single = (1f32, 0f32);
        let double = (1f64, 0f64);
        let (one, zero): (*const c_void, *const c_void) = match plan.dtype {
            DType::F64 => ((&raw const double.0).cast(), (&raw const double.1).cast()),
            _ => ((&raw const single.0).cast(), (&raw const single.1).cast()),
        };
        for &[to_a, to_b, to_c] in &plan.starts {
            let at = |base: u64, elements: isize, dtype: DType| {
                base.wrapping_add_signed((elements * dtype.size() as isize) as i64)
            };
            let (left, right) = (at(a, to_a, plan.dtype), at(b, to_b, plan.dtype));
            let (left, right) = if plan.swapped { (right, left) } else { (left, right) };
            let to = at(c, to_c, plan.sum) as *mut c_void;
            // SAFETY: the descriptions are the plan's own and live; they stay inside the operands, whose addresses the
            // caller answers for; the workspace is as long as the algorithm was told; the stream orders its uses.
            unsafe {
                result::matmul(
                    library.handle,
                    plan.description,
                    one,
                    zero,
                    left as *const c_void,
                    plan.layouts[0],
                    right as *const c_void,
                    plan.layouts[1],
                    to,
                    plan.layouts[2],
                    to,
                    plan.layouts[2],
                    &plan.algorithm,
                    library.workspace as *mut c_void,
                    WORKSPACE,
                    self.context.stream().cast(),
                )
            }
            .map_err(|error| library_error("a product does not start", error))?;
        }
        Ok(())
    }

    /// Old value, bias and activation, each rounded to the element type or all at once, as the CPU's product does them.
    fn finish(
        &self,
        product: &Gemm,
        ending: Ending,
        from: &MatrixGeometry,
        product_at: u64,
        c: u64,
        bias: u64,
    ) -> Result<()> {
        let kernel = {
            let mut endings = self.products.endings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            endings.entry(ending).or_insert_with(|| Arc::new(LoopKernel::new(ending.program()))).clone()
        };
        let steps = |matrix: &MatrixGeometry| {
            let mut strides: Strides = matrix.batch_strides.clone();
            strides.extend([matrix.row_stride, matrix.col_stride]);
            AccessGeometry { offset: 0, strides, gather: None }
        };
        let mut outer: Dims = product.batch.clone();
        outer.extend([product.m, product.n]);
        let mut across = Strides::from_elem(0, outer.len());
        across[outer.len() - 1] = 1;
        let mut accesses: Vec<(AccessGeometry, u64)> = vec![(steps(from), product_at)];
        if ending.accumulate {
            accesses.push((steps(&product.c), c));
        }
        if ending.bias {
            accesses.push((AccessGeometry { offset: 0, strides: across, gather: None }, bias));
        }
        accesses.push((steps(&product.c), c));
        let (accesses, addresses): (Vec<_>, Vec<_>) = accesses.into_iter().unzip();
        let geometry = Geometry { outer, inner: Dims::new(), accesses: accesses.into_iter().collect() };
        let pointers: Vec<*mut u8> = addresses.into_iter().map(|address| address as *mut u8).collect();
        self.run_loop(&kernel, &Space::Strided(&geometry), &[], &pointers)
    }
}

impl Ending {
    /// Reads the product, the old value and the bias; writes c.
    fn program(self) -> Program {
        let (dtype, sum, elem) = (self.dtype, self.sum, Level::Elem);
        let mut program = Program::default();
        let read = |program: &mut Program, own: DType| -> Reg {
            let access = program.access(own, AccessKind::Read);
            let value = program.push(InstOp::Load { access, index: None, mask: None }, own, elem);
            if own == sum { value } else { program.push(InstOp::Cast(value), sum, elem) }
        };
        let mut value = read(&mut program, sum);
        if self.accumulate {
            let old = read(&mut program, dtype);
            value = program.push(InstOp::Binary(BinaryOp::Add, old, value), sum, elem);
        }
        if self.bias {
            let bias = read(&mut program, dtype);
            value = program.push(InstOp::Binary(BinaryOp::Add, value, bias), sum, elem);
        }
        if sum != dtype {
            value = program.push(InstOp::Cast(value), dtype, elem);
        }
        if self.relu {
            let zero = program.push(InstOp::Const(Scalar::Float(0.0)), dtype, Level::Row);
            let below = program.push(InstOp::Binary(BinaryOp::Lt, value, zero), DType::Bool, elem);
            value = program.push(InstOp::Select(below, zero, value), dtype, elem);
        }
        let access = program.access(dtype, AccessKind::Write);
        program.push(InstOp::Store { access, value, index: None, combine: Combine::Set }, dtype, elem);
        program
    }
}

/// The result's layout in a block of its own.
fn dense(product: &Gemm) -> MatrixGeometry {
    let mut step = (product.m * product.n) as isize;
    let mut batch_strides = Strides::from_elem(0, product.batch.len());
    for (stride, &extent) in batch_strides.iter_mut().zip(&product.batch).rev() {
        *stride = step;
        step *= extent as isize;
    }
    MatrixGeometry { batch_strides, ..MatrixGeometry::new(product.n as isize, 1) }
}
