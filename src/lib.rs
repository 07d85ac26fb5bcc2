//! One tensor runtime, every way to run it.
//!
//! The public API: tensors and ops, torch-style autograd, TensorFlow's tapes, Variables and functions, tracing, graphs,
//! optimisers, and the measuring that compares them.

pub use eager;
pub use graph;
pub use lab;
pub use models;
pub use runtime::{self, DType, DeviceId, Error, ErrorKind, Result, Scalar, Tensor, Variable, io};
pub use script;

/// Judging tensors and gradients in tests, as `torch.testing` and `torch.autograd.gradcheck` do, with typed errors.
pub mod testing {
    pub use eager::testing::{
        GradcheckOptions, JacobianMismatch, gradcheck, gradcheck_report, gradgradcheck, gradgradcheck_report,
    };
    pub use runtime::testing::{CloseOptions, Differences, Tolerance, assert_close, differences};
}

/// PyTorch's names: eager autograd, layers, optimisers, `compile`, `jit.trace` and `jit.script`.
pub mod torch {
    pub use eager::{
        Autograd, BackwardOptions, GradOptions, HookHandle, detect_anomaly, enable_grad, grad, no_grad,
    };
    pub use graph::compile::{CompileOptions, CompiledProgram, compile};
    pub use models::{nn, optim};
    pub use runtime::random::manual_seed;
    pub use runtime::{DType, Tensor};

    /// Operations with gradients of their own.
    pub mod autograd {
        pub use eager::{Function, FunctionContext, apply, detect_anomaly};
    }

    /// `checkpoint`: computed again for its gradient instead of kept.
    pub mod utils {
        pub use eager::checkpoint;
    }

    /// Programs recorded for example inputs, and programs' texts with their control flow.
    pub mod jit {
        pub use graph::{TraceOptions, TracedFunction, trace};
        pub use script::scripted::{Scripted, script};
    }
}

/// TensorFlow 2's names: tapes, Variables and functions.
pub mod tf {
    pub use eager::GradientTape;
    pub use graph::{Argument, Function, function};
    pub use runtime::{Tensor, Variable};
}
