//! One program in one mode: the same functions over tensors, driven the way the mode's system would drive them.

use crate::modes::{Mode, Staging};
use eager::{GradOptions, GradientTape, TapeOptions, prelude::*};
use graph::function::{Function, Traced};
use models::optim::Sgd;
use models::workloads::{Program, Workload};
use runtime::{DeviceId, Error, Result, Tensor, Variable};

/// A workload's program and parameters, apart from its data.
#[derive(Clone)]
pub enum Task {
    /// Outputs from inputs; no gradients.
    Forward(fn(&[Tensor]) -> Result<Vec<Tensor>>),
    /// A scalar and its gradients with respect to every input.
    Gradient(fn(&[Tensor]) -> Result<Tensor>),
    /// A loss of parameters and inputs; a step is an SGD update.
    Train {
        /// The loss.
        loss: fn(&[Tensor], &[Tensor]) -> Result<Tensor>,
        /// Initial parameters.
        parameters: Vec<Tensor>,
        /// Learning rate.
        rate: f64,
    },
}

impl Task {
    /// The task of a workload.
    pub fn of(workload: &Workload) -> Task {
        match workload.program {
            Program::Forward(f) => Task::Forward(f),
            Program::Gradient(f) => Task::Gradient(f),
            Program::Train(loss, rate) => {
                let parameters = workload.parameters.iter().map(|(_, t)| t.clone()).collect();
                Task::Train { loss, parameters, rate }
            }
        }
    }
}

/// A task in a mode, ready to step.
pub trait Driver {
    /// One step: outputs of a forward; the scalar and the gradients; the loss before the update.
    fn step(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
    /// The parameters as they are now; empty unless it trains.
    fn parameters(&self) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }
    /// Traces beyond the first.
    fn retraces(&self) -> u64 {
        0
    }
}
