//! Gradient descent with momentum and weight decay, as torch and TensorFlow define it.

use super::{Optimizer, Parameter, decayed, each};
use runtime::error::Result;
use runtime::{Arg, Tensor, ops};

/// Stochastic gradient descent: with g = gradient + decay * p, and with momentum b = momentum * b + g in place of g,
/// p = p - rate * g.
pub struct Sgd<P> {
    parameters: Vec<P>,
    rate: f64,
    momentum: f64,
    weight_decay: f64,
    velocities: Vec<P>,
}

impl<P: Parameter> Sgd<P> {
    /// Plain descent at this learning rate.
    pub fn new(parameters: Vec<P>, rate: f64) -> Sgd<P> {
        Sgd { parameters, rate, momentum: 0.0, weight_decay: 0.0, velocities: Vec::new() }
    }

    /// With momentum; the velocities start at zero.
    pub fn momentum(mut self, momentum: f64) -> Result<Sgd<P>> {
        let _guard = eager::no_grad();
        self.velocities = self.parameters.iter().map(|p| P::state(&p.value()?)).collect::<Result<_>>()?;
        self.momentum = momentum;
        Ok(self)
    }

    /// With weight decay.
    pub fn weight_decay(mut self, weight_decay: f64) -> Sgd<P> {
        self.weight_decay = weight_decay;
        self
    }

    /// From now on steps at another learning rate.
    pub fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }
}

impl<P: Parameter> Optimizer<P> for Sgd<P> {
    fn parameters(&self) -> &[P] {
        &self.parameters
    }

    fn apply(&mut self, gradients: &[Option<Tensor>]) -> Result<()> {
        each(&self.parameters, gradients, |i, parameter, gradient| {
            let mut gradient = gradient.clone();
            if self.weight_decay != 0.0 {
                gradient = decayed(&gradient, parameter, self.weight_decay)?;
            }
            if let Some(velocity) = self.velocities.get(i) {
                velocity.update(&ops::MUL, &[Arg::Float(self.momentum)])?;
                velocity.update(&ops::ADD, &[Arg::Tensor(&gradient)])?;
                gradient = velocity.value()?;
            }
            parameter.update(&ops::SUB, &[Arg::Tensor(&gradient), Arg::Float(self.rate)])
        })
    }
}
