//! Deciding at once: torch-style autograd, which hangs its graph on tensors, and TensorFlow's `GradientTape`, which records
//! in a scope. Both are interpreters of the runtime's door and use its one reverse walk and its gradient rules.

mod autograd;
mod backward;
mod engine;
mod function;
mod gradient_tape;
mod hooks;
mod node;
mod saved;
mod tape;
pub mod testing;
mod view;

pub use autograd::{Autograd, enable_grad, no_grad};
pub use backward::{Anomaly, BackwardOptions, GradOptions, detect_anomaly, grad};
pub use function::{Function, FunctionContext, apply, checkpoint};
pub use gradient_tape::{GradientTape, Source, StopRecording, TapeOptions, Unconnected, Watchable};
pub use hooks::HookHandle;

/// What programs in torch's style import.
pub mod prelude {
    pub use crate::{Autograd, BackwardOptions, GradOptions, enable_grad, grad, no_grad};
}

#[cfg(test)]
mod function_tests;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod tape_tests;
