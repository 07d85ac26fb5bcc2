//! Adam (Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015) and AdamW.

use super::{Optimizer, Parameter, decayed, each};
use runtime::door::bind1;
use runtime::error::Result;
use runtime::{Arg, DType, Tensor, ops};

/// Adam: m and v are running means of the gradient and of its square, both corrected for their start at zero, and
/// p = p - rate * m / (sqrt(v) + epsilon).
///
/// The count of steps is a tensor, not a host number: a staged step would otherwise repeat its first correction for ever.
pub struct Adam<P> {
    parameters: Vec<P>,
    rate: f64,
    betas: (f64, f64),
    epsilon: f64,
    weight_decay: f64,
    decoupled: bool,
    steps: P,
    means: Vec<P>,
    squares: Vec<P>,
}

impl<P: Parameter> Adam<P> {
    /// Adam with torch's defaults (0.9, 0.999, 1e-8) but for the learning rate.
    pub fn new(parameters: Vec<P>, rate: f64) -> Result<Adam<P>> {
        let _guard = eager::no_grad();
        let state = || parameters.iter().map(|p| P::state(&p.value()?)).collect::<Result<Vec<P>>>();
        let device = match parameters.first() {
            Some(p) => p.value()?.device(),
            None => runtime::DeviceId::Cpu,
        };
        // Counted in f64: 1 - 0.999 loses four digits in f32.
        let steps = P::state(&Tensor::zeros(&[], DType::F64, device)?)?;
        let (means, squares) = (state()?, state()?);
        Ok(Adam {
            parameters,
            rate,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            steps,
            means,
            squares,
        })
    }

    /// With other decay rates of the running means.
    pub fn betas(mut self, mean: f64, square: f64) -> Adam<P> {
        self.betas = (mean, square);
        self
    }

    /// With another number added to the denominator.
    pub fn epsilon(mut self, epsilon: f64) -> Adam<P> {
        self.epsilon = epsilon;
        self
    }

    /// With weight decay added to the gradient.
    pub fn weight_decay(mut self, weight_decay: f64) -> Adam<P> {
        (self.weight_decay, self.decoupled) = (weight_decay, false);
        self
    }

    /// With weight decay apart from the gradient (AdamW).
    pub fn decoupled_weight_decay(mut self, weight_decay: f64) -> Adam<P> {
        (self.weight_decay, self.decoupled) = (weight_decay, true);
        self
    }
}

/// 1 - beta ^ steps.
fn correction(beta: f64, steps: &Tensor) -> Result<Tensor> {
    let power = bind1(&ops::POW, &[Arg::Float(beta), Arg::Tensor(steps)])?;
    bind1(&ops::SUB, &[Arg::Float(1.0), Arg::Tensor(&power)])
}

impl<P: Parameter> Optimizer<P> for Adam<P> {
    fn parameters(&self) -> &[P] {
        &self.parameters
    }

    fn apply(&mut self, gradients: &[Option<Tensor>]) -> Result<()> {
        let corrections = {
            let _guard = eager::no_grad();
            self.steps.update(&ops::ADD, &[Arg::Float(1.0)])?;
            let steps = self.steps.value()?;
            let step = correction(self.betas.0, &steps)?;
            (
                bind1(&ops::DIV, &[Arg::Float(self.rate), Arg::Tensor(&step)])?,
                correction(self.betas.1, &steps)?.sqrt()?,
            )
        };
        each(&self.parameters, gradients, |i, parameter, gradient| {
            let dtype = gradient.dtype();
            let mut gradient = gradient.clone();
            if self.weight_decay != 0.0 && self.decoupled {
                parameter.update(&ops::MUL, &[Arg::Float(1.0 - self.rate * self.weight_decay)])?;
            } else if self.weight_decay != 0.0 {
                gradient = decayed(&gradient, parameter, self.weight_decay)?;
            }
            self.means[i].update(&ops::LERP, &[Arg::Tensor(&gradient), Arg::Float(1.0 - self.betas.0)])?;
            self.squares[i].update(&ops::MUL, &[Arg::Float(self.betas.1)])?;
            let part = [Arg::Tensor(&gradient), Arg::Tensor(&gradient), Arg::Float(1.0 - self.betas.1)];
            self.squares[i].update(&ops::ADDCMUL, &part)?;
            let (rate, scale) = (corrections.0.to(dtype)?, corrections.1.to(dtype)?);
            let denominator = self.squares[i].value()?.sqrt()?.div(&scale)?.add(self.epsilon)?;
            let step = self.means[i].value()?.div(&denominator)?.mul(&rate)?;
            parameter.update(&ops::SUB, &[Arg::Tensor(&step)])
        })
    }
}
