//! A region as one kernel for buffers of any extents: what to compute is decided once, where it runs is found at each call.
//!
//! Plans decide both at once, for extents that stay. Eager calls find what to compute by the extents too. Between them is
//! this: for whoever knows that another region, of other extents, would be the same program but for some numbers (graph's
//! `open`).

use crate::device::{self, DeviceId, LoopKernel, Space, Work};
use crate::door::Outputs;
use crate::error::{Error, Result};
use crate::lower::intern;
use crate::profile::{self, Bucket};
use crate::tensor::Tensor;
use kernels::loops::{BufferRef, Composed, Region};
use kernels::{DType, Dims, Layout, Scalar};
use smallvec::SmallVec;
use std::sync::Arc;

/// A region without extents of its own.
#[derive(Clone)]
pub struct OpenLoop {
    composed: Composed,
    kernel: Arc<LoopKernel>,
    outputs: SmallVec<[DType; 2]>,
    constants: Vec<Scalar>,
}

/// Two are equal if they differ in nothing but the extents of the regions that they were made from, and in the numbers that
/// each call supplies.
impl PartialEq for OpenLoop {
    fn eq(&self, other: &OpenLoop) -> bool {
        self.composed.is_like(&other.composed) && self.outputs == other.outputs
    }
}

impl OpenLoop {
    /// The kernel of a region without launch parameters; each call supplies the constants that `open` picks.
    pub fn new(region: &Region, open: impl Fn(Scalar) -> bool) -> Result<OpenLoop> {
        let composed = region.compose().map_err(|e| Error::internal(format!("no single program: {e}")))?;
        let (composed, constants) = composed.opened(open);
        let kernel = intern(&composed.program);
        let outputs = region.outputs().map(|(dtype, _)| dtype).collect();
        Ok(OpenLoop { composed, kernel, outputs, constants })
    }

    /// The constants that each call supplies, as they are in the region that it was made from.
    pub fn constants(&self) -> &[Scalar] {
        &self.constants
    }

    /// Extents of the axes for the region that it was made from, outer axes first.
    pub fn axes(&self) -> impl Iterator<Item = usize> + '_ {
        let (outer, inner) = self.composed.space();
        outer.iter().chain(inner).copied()
    }

    /// Runs it over axes of these extents, none of them 0, with these numbers for its constants, into new tensors of these
    /// shapes on this device.
    pub fn run(
        &self,
        axes: &[usize],
        numbers: &[Scalar],
        inputs: &[&Tensor],
        shapes: &[Dims],
        device: DeviceId,
    ) -> Result<Outputs> {
        let outputs = shapes.iter().zip(&self.outputs).map(|(dims, &dtype)| {
            let _allocate = profile::timed(Bucket::Allocate);
            Tensor::empty(dims, dtype, device)
        });
        let outputs: Outputs = outputs.collect::<Result<_>>()?;
        let geometry = {
            let places: SmallVec<[&Layout; 6]> = inputs.iter().map(|t| t.layout()).collect();
            let results: SmallVec<[&Layout; 2]> = outputs.iter().map(|t| t.layout()).collect();
            self.composed.geometry_over(axes, &places, &results)
        };
        let mut pointers: SmallVec<[*mut u8; 8]> = SmallVec::new();
        let mut fits = outputs.len() == self.outputs.len() && numbers.len() == self.constants.len();
        for (buffer, access) in self.composed.buffers().iter().zip(&self.kernel.program.accesses) {
            let tensor = match *buffer {
                BufferRef::Input(i) => inputs.get(i as usize).copied(),
                BufferRef::Output(i) => outputs.get(i as usize),
            };
            let tensor = tensor.ok_or_else(|| misfit(axes))?;
            fits &= tensor.dtype() == access.dtype && tensor.device() == device;
            pointers.push(tensor.storage()?.pointer());
        }
        let geometry = geometry.filter(|_| fits).ok_or_else(|| misfit(axes))?;
        let _kernel = profile::timed(Bucket::Kernel);
        let space = match geometry.even(&self.kernel.program) {
            Some((points, broadcast)) => {
                for (i, pointer) in pointers.iter_mut().enumerate() {
                    let access = &self.kernel.program.accesses[i];
                    let offset = geometry.accesses[i].offset * access.dtype.size() as isize;
                    // SAFETY: a layout's offset lies inside its storage.
                    *pointer = unsafe { pointer.offset(offset) };
                }
                Space::Flat { points, broadcast }
            }
            None => Space::Strided(&geometry),
        };
        let work = Work::Loop(&self.kernel, space, numbers);
        // SAFETY: the geometry was made from the layouts of these very tensors, each of which was checked to have the extents
        // of the axes that run along it, and the element type that the program reads or writes there.
        unsafe { device::launch(device.open()?, &work, &pointers)? };
        Ok(outputs)
    }
}

#[cold]
fn misfit(axes: &[usize]) -> Error {
    Error::internal(format!("a buffer of a loop over {axes:?} has other extents"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::loops::{BinaryOp, ReduceOp, UnaryOp};

    fn close(a: f32, b: f32) -> bool {
        (a - b).abs() <= 1e-5 * (1.0 + b.abs())
    }

    #[test]
    fn one_program_runs_on_any_extents() {
        // tanh(x * y + b) * 1009 and its sums over rows: y is broadcast over columns, b over rows, the factor is each call's.
        let mut region = Region::new();
        let x = region.input(DType::F32, &[1009, 7]);
        let y = region.input(DType::F32, &[1009, 1]);
        let b = region.input(DType::F32, &[7]);
        let product = region.binary(BinaryOp::Mul, x, y);
        let sum = region.binary(BinaryOp::Add, product, b);
        let z = region.unary(UnaryOp::Tanh, sum);
        let factor = region.constant(Scalar::Float(1009.0), DType::F32);
        let z = region.binary(BinaryOp::Mul, z, factor);
        let rows = region.reduce(ReduceOp::Sum, z, &[1], false);
        region.output(z);
        region.output(rows);
        let open = OpenLoop::new(&region, |number| number.to_f64() == 1009.0).unwrap();
        assert_eq!(open.axes().collect::<Vec<_>>(), [1009, 7]);
        assert_eq!(open.constants(), [Scalar::Float(1009.0)]);
        for (n, m) in [(1, 1), (3, 7), (50, 2)] {
            let whole: Vec<f32> = (0..2 * n * m).map(|i| (i as f32).sin()).collect();
            let x = Tensor::from_slice(&whole, &[n, 2 * m]).unwrap();
            let half = Layout { offset: m, ..x.layout().clone() };
            let half = Layout { shape: Dims::from_slice(&[n, m]), ..half };
            let x = x.with_layout(half).unwrap();
            let y = Tensor::from_slice(&whole[..n], &[n, 1]).unwrap();
            let b = Tensor::from_slice(&whole[..m], &[m]).unwrap();
            let shapes = [Dims::from_slice(&[n, m]), Dims::from_slice(&[n])];
            let found =
                open.run(&[n, m], &[Scalar::Float(n as f64)], &[&x, &y, &b], &shapes, DeviceId::Cpu).unwrap();
            for row in 0..n {
                let each = |column: usize| {
                    let x = whole[row * 2 * m + m + column];
                    (x * whole[row] + whole[column]).tanh() * n as f32
                };
                let wanted: Vec<f32> = (0..m).map(each).collect();
                let got = found[0].to_vec::<f32>().unwrap()[row * m..(row + 1) * m].to_vec();
                assert!(got.iter().zip(&wanted).all(|(a, b)| close(*a, *b)));
                let sum = found[1].to_vec::<f32>().unwrap()[row];
                assert!(close(sum, wanted.iter().sum()));
            }
        }
    }

    #[test]
    fn buffers_that_do_not_fit_are_refused() {
        let mut region = Region::new();
        let x = region.input(DType::F32, &[5]);
        let y = region.input(DType::F32, &[5]);
        let sum = region.binary(BinaryOp::Add, x, y);
        region.output(sum);
        let open = OpenLoop::new(&region, |_| false).unwrap();
        let t = |n: usize| Tensor::zeros(&[n], DType::F32, DeviceId::Cpu).unwrap();
        let run = |axes: &[usize], x: &Tensor, y: &Tensor, out: usize| {
            open.run(axes, &[], &[x, y], &[Dims::from_slice(&[out])], DeviceId::Cpu)
        };
        assert!(run(&[4], &t(4), &t(4), 4).is_ok());
        assert!(run(&[4], &t(4), &t(1), 4).is_err());
        assert!(run(&[4], &t(4), &t(4), 3).is_err());
        assert!(run(&[4, 1], &t(4), &t(4), 4).is_err());
        let ints = Tensor::zeros(&[4], DType::I64, DeviceId::Cpu).unwrap();
        assert!(run(&[4], &t(4), &ints, 4).is_err());
    }
}
