//! Optimisers, written once for torch's leaf tensors and for TensorFlow's Variables.
//!
//! State and parameters change through the door's `mutate` and `assign` alone, and no host number depends on how many
//! steps were made, so a whole step can be staged: a tracer sees every read and every write.

mod adam;
mod sgd;

pub use adam::Adam;
pub use sgd::Sgd;

use eager::{Autograd, no_grad};
use runtime::door;
use runtime::error::{Error, Origin, Result};
use runtime::table::OpDef;
use runtime::{Arg, Tensor, Variable, ops};

/// Something that an optimiser can update.
pub trait Parameter: Sized {
    /// Its present value.
    fn value(&self) -> Result<Tensor>;
    /// Replaces its value by `op(value, operands...)`.
    fn update(&self, op: &'static OpDef, operands: &[Arg]) -> Result<()>;
    /// State of the same kind that starts as zeros like this value.
    fn state(value: &Tensor) -> Result<Self>;
}

impl Parameter for Tensor {
    fn value(&self) -> Result<Tensor> {
        Ok(self.clone())
    }

    #[track_caller]
    fn update(&self, op: &'static OpDef, operands: &[Arg]) -> Result<()> {
        let mut args = vec![Arg::Tensor(self)];
        args.extend_from_slice(operands);
        door::mutate(op, &args, Origin::caller())
    }

    fn state(value: &Tensor) -> Result<Tensor> {
        Tensor::zeros(value.shape(), value.dtype(), value.device())
    }
}

impl Parameter for Variable {
    fn value(&self) -> Result<Tensor> {
        self.read()
    }

    #[track_caller]
    fn update(&self, op: &'static OpDef, operands: &[Arg]) -> Result<()> {
        Variable::update(self, op, operands, Origin::caller())
    }

    fn state(value: &Tensor) -> Result<Variable> {
        Variable::with_trainable(&Tensor::state(value)?, "state", false)
    }
}

/// An optimiser over parameters of one kind.
pub trait Optimizer<P: Parameter> {
    /// The parameters, in the order of the gradients.
    fn parameters(&self) -> &[P];

    /// Updates every parameter that has a gradient; without recording anything for torch's autograd.
    fn apply(&mut self, gradients: &[Option<Tensor>]) -> Result<()>;
}

/// The torch style: gradients are where `backward` put them.
pub trait Step: Optimizer<Tensor> {
    /// Updates every parameter by its `.grad`.
    fn step(&mut self) -> Result<()> {
        let gradients: Vec<Option<Tensor>> = self.parameters().iter().map(Autograd::grad).collect();
        self.apply(&gradients)
    }

    /// Forgets every `.grad`.
    fn zero_grad(&self) {
        self.parameters().iter().for_each(Autograd::zero_grad);
    }
}

impl<O: Optimizer<Tensor>> Step for O {}

/// Runs an update for each parameter with a gradient of its type, under `no_grad`.
fn each<P: Parameter>(
    parameters: &[P],
    gradients: &[Option<Tensor>],
    mut update: impl FnMut(usize, &P, &Tensor) -> Result<()>,
) -> Result<()> {
    if parameters.len() != gradients.len() {
        return Err(Error::gradient(format!(
            "{} gradients for {} parameters",
            gradients.len(),
            parameters.len()
        )));
    }
    let _guard = no_grad();
    for (i, (parameter, gradient)) in parameters.iter().zip(gradients).enumerate() {
        if let Some(gradient) = gradient {
            update(i, parameter, gradient)?;
        }
    }
    Ok(())
}

/// gradient + decay * parameter.
fn decayed<P: Parameter>(gradient: &Tensor, parameter: &P, decay: f64) -> Result<Tensor> {
    let value = parameter.value()?;
    door::bind1(&ops::ADD, &[Arg::Tensor(gradient), Arg::Tensor(&value), Arg::Float(decay)])
}

#[cfg(test)]
mod tests;
