//! Layers as torch's `nn` knows them, over leaf tensors: a layer owns its parameters and computes a tensor from a tensor.
//! Which execution model runs a layer is not its business.

use eager::Autograd;
use runtime::error::{Error, Result};
use runtime::{DType, DeviceId, Tensor};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A layer, or a network of layers.
pub trait Module {
    /// The output for an input.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
    /// The parameters, in a fixed order.
    fn parameters(&self) -> Vec<Tensor> {
        Vec::new()
    }
    /// Switches layers that behave differently while training (dropout).
    fn train(&self, _training: bool) {}
}

/// Numbers uniform in [-bound, bound) from the default random stream, as a leaf that requires its gradient.
fn uniform(dims: &[usize], bound: f64, dtype: DType, device: DeviceId) -> Result<Tensor> {
    let unit = Tensor::rand(dims, dtype, device)?;
    unit.mul(2.0 * bound)?.sub(bound)?.requires_grad_(true)
}

/// torch.nn.Linear: y = x Wᵀ + b with W of [out_features, in_features].
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Weights and bias uniform within 1 / sqrt(in_features) as torch begins, f32 on the CPU, from the default random
    /// stream.
    pub fn new(in_features: usize, out_features: usize) -> Result<Linear> {
        if in_features == 0 {
            return Err(Error::value("a linear layer needs at least one input"));
        }
        let bound = 1.0 / (in_features as f64).sqrt();
        let make = |dims: &[usize]| uniform(dims, bound, DType::F32, DeviceId::Cpu);
        Ok(Linear { weight: make(&[out_features, in_features])?, bias: Some(make(&[out_features])?) })
    }

    /// With these parameters.
    pub fn from_parameters(weight: &Tensor, bias: Option<&Tensor>) -> Result<Linear> {
        if weight.rank() != 2 || bias.is_some_and(|b| b.shape() != &weight.shape()[..1]) {
            return Err(Error::shape(format!(
                "a linear layer needs a weight [out_features, in_features] and a bias [out_features], got {:?} and {:?}",
                weight.shape(),
                bias.map(Tensor::shape)
            )));
        }
        Ok(Linear { weight: weight.clone(), bias: bias.cloned() })
    }
}

impl Module for Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.linear(&self.weight, self.bias.as_ref())
    }

    fn parameters(&self) -> Vec<Tensor> {
        std::iter::once(&self.weight).chain(&self.bias).cloned().collect()
    }
}

/// torch.nn.LayerNorm over the last dimension, with weight and bias.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Over rows of `width` elements, starting with weight 1 and bias 0; eps is 1e-5.
    pub fn new(width: usize) -> Result<LayerNorm> {
        let (f32, cpu) = (DType::F32, DeviceId::Cpu);
        let weight = Tensor::ones(&[width], f32, cpu)?.requires_grad_(true)?;
        Ok(LayerNorm { weight, bias: Tensor::zeros(&[width], f32, cpu)?.requires_grad_(true)?, eps: 1e-5 })
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.layer_norm(self.weight.shape(), Some(&self.weight), Some(&self.bias), self.eps)
    }

    fn parameters(&self) -> Vec<Tensor> {
        vec![self.weight.clone(), self.bias.clone()]
    }
}

/// A function of each element.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// The positive part.
    Relu,
    /// x times the normal distribution function of x.
    Gelu,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + exp(-x)).
    Sigmoid,
}

impl Module for Activation {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Activation::Relu => x.relu(),
            Activation::Gelu => x.gelu("none"),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => x.sigmoid(),
        }
    }
}

/// While training, each element is 0 with probability p, and the others are scaled by 1 / (1 - p).
pub struct Dropout {
    p: f64,
    training: AtomicBool,
}

impl Dropout {
    /// A layer that is training.
    pub fn new(p: f64) -> Dropout {
        Dropout { p, training: AtomicBool::new(true) }
    }
}

impl Module for Dropout {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.dropout(self.p, self.training.load(Relaxed))
    }

    fn train(&self, training: bool) {
        self.training.store(training, Relaxed);
    }
}

/// Layers one after the other.
#[derive(Default)]
pub struct Sequential(Vec<Box<dyn Module>>);

impl Sequential {
    /// No layers: the identity.
    pub fn new() -> Sequential {
        Sequential::default()
    }

    /// With one more layer at the end.
    pub fn then(mut self, layer: impl Module + 'static) -> Sequential {
        self.0.push(Box::new(layer));
        self
    }
}

impl Module for Sequential {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for layer in &self.0 {
            x = layer.forward(&x)?;
        }
        Ok(x)
    }

    fn parameters(&self) -> Vec<Tensor> {
        self.0.iter().flat_map(|layer| layer.parameters()).collect()
    }

    fn train(&self, training: bool) {
        self.0.iter().for_each(|layer| layer.train(training));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mnist::Digits;
    use crate::optim::{Sgd, Step};

    #[test]
    fn a_network_learns_digits() {
        runtime::random::manual_seed(1).unwrap();
        let network = Sequential::new()
            .then(Linear::new(784, 64).unwrap())
            .then(LayerNorm::new(64).unwrap())
            .then(Activation::Gelu)
            .then(Dropout::new(0.1))
            .then(Linear::new(64, 10).unwrap());
        assert_eq!(network.parameters().len(), 6);
        let digits = Digits::load().unwrap();
        let mut optimizer = Sgd::new(network.parameters(), 0.05).momentum(0.9).unwrap();
        for (x, y) in digits.epoch(0, 64).unwrap() {
            optimizer.zero_grad();
            let loss = network.forward(&x).unwrap().cross_entropy(&y, None, "mean", -100, 0.0).unwrap();
            loss.backward().unwrap();
            optimizer.step().unwrap();
        }
        network.train(false);
        let _guard = eager::no_grad();
        let (x, y) = digits.test().unwrap();
        let found = network.forward(&x).unwrap().argmax(Some(-1), false).unwrap().to_vec::<i64>().unwrap();
        let right = found.iter().zip(y.to_vec::<i64>().unwrap()).filter(|(a, b)| **a == *b).count();
        assert!(right > 800, "{right} of 1000 after one epoch");
    }

    #[test]
    fn parameters_that_do_not_fit_are_refused() {
        let weight = Tensor::zeros(&[2, 3], DType::F32, DeviceId::Cpu).unwrap();
        assert!(Linear::from_parameters(&weight, Some(&weight)).is_err());
        assert!(Linear::new(0, 2).is_err());
        let layer = Linear::from_parameters(&weight, None).unwrap();
        assert_eq!(
            layer.forward(&Tensor::zeros(&[5, 3], DType::F32, DeviceId::Cpu).unwrap()).unwrap().shape(),
            [5, 2]
        );
    }
}
