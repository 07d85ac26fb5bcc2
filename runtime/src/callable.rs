//! `Callable`: a region that acts as one operation. Compiled functions, custom gradients and checkpoints implement it, so
//! that a compiled call under a tape is one entry with a backward of its own. This is all that the eager and the graph
//! wing know of each other.

use crate::door::Outputs;
use crate::error::Result;
use crate::infer::{TensorType, Types};
use crate::reverse::Later;
use crate::tensor::Tensor;
use smallvec::SmallVec;
use std::sync::Arc;

/// What a call leaves for its backward.
pub type Residuals = SmallVec<[Tensor; 4]>;

/// Gradients of the arguments; `None` where none flows.
pub type ArgGradients = SmallVec<[Option<Tensor>; 4]>;

/// A region with tensors in and tensors out.
pub trait Callable: Send + Sync {
    /// Its name in messages and pictures.
    fn name(&self) -> &str;
    /// Types of the outputs for these arguments.
    fn infer(&self, args: &[TensorType]) -> Result<Types>;
    /// Runs it.
    fn run(&self, args: &[Tensor]) -> Result<Outputs>;
    /// Runs it and keeps what `vjp` needs.
    fn run_with_residuals(&self, args: &[Tensor]) -> Result<(Outputs, Residuals)>;
    /// Like `run_with_residuals`, where only the gradients of the arguments in `needs` (bit i: argument i; bit 63: all from
    /// 63 on) will ever be asked for, so that less need be kept.
    fn run_for_gradient(&self, args: &[Tensor], needs: u64) -> Result<(Outputs, Residuals)> {
        let _ = needs;
        self.run_with_residuals(args)
    }
    /// Whether `vjp` reads the elements of argument `arg`, rather than residuals, when nothing records it, for the
    /// cotangents that are there; `None` is all. An argument that is not read may be overwritten before.
    fn reads(&self, arg: usize, needs: u64, given: Option<&[bool]>) -> bool {
        let _ = (arg, needs, given);
        true
    }
    /// The same of a residual, which may be an output too.
    fn reads_residual(&self, residual: usize, needs: u64, given: &[bool]) -> bool {
        let _ = (residual, needs, given);
        true
    }
    /// Whether a `vjp` that is itself recorded makes what it needs of arguments and cotangents alone.
    fn recomputes(&self) -> bool {
        false
    }
    /// Whether an output depends on the arguments in `needs` by operations that have gradients. One that does not has no
    /// history.
    fn depends(&self, output: usize, needs: u64) -> bool {
        let _ = (output, needs);
        true
    }
    /// Gradients of the arguments for these cotangents (one for each output; `None` is zero), themselves computed through
    /// the door, so that they can be differentiated again. What is asked for is what the forward was told.
    fn vjp(
        self: Arc<Self>,
        args: &[Tensor],
        residuals: &[Tensor],
        cotangents: &[Option<Tensor>],
        ask: Ask,
    ) -> Result<ArgGradients>;
}

/// What is asked of a call's backward.
#[derive(Clone, Copy)]
pub struct Ask<'a> {
    /// Bit i: the gradient of argument i; bit 63: of all from 63 on.
    pub needs: u64,
    /// Where gradients may be left that need not be computed whole.
    pub later: Option<&'a Later>,
}

impl Ask<'_> {
    /// Every gradient, whole.
    pub const ALL: Ask<'static> = Ask { needs: u64::MAX, later: None };
}
