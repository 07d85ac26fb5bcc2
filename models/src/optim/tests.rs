//! Optimisers against their definitions in f64, for leaf tensors and for Variables.

use super::{Adam, Optimizer, Sgd, Step};
use eager::Autograd;
use runtime::{Tensor, Variable};

const START: [f64; 3] = [1.0, -2.0, 0.5];

/// The gradient of sum(p^3) / 3.
fn square(p: f64) -> f64 {
    p * p
}

fn run_leaves(mut make: impl FnMut(Vec<Tensor>) -> Box<dyn StepBoxed>, steps: usize) -> Vec<f64> {
    let p = Tensor::from_slice(&START, &[3]).unwrap().requires_grad_(true).unwrap();
    let mut optimizer = make(vec![p.clone()]);
    for _ in 0..steps {
        optimizer.zero();
        let cube = p.mul(&p).unwrap().mul(&p).unwrap().sum(&[], false).unwrap().div(3.0).unwrap();
        cube.backward().unwrap();
        optimizer.go();
    }
    assert!(p.is_leaf() && p.requires_grad());
    p.to_f64_vec().unwrap()
}

trait StepBoxed {
    fn zero(&self);
    fn go(&mut self);
}

impl<O: Optimizer<Tensor>> StepBoxed for O {
    fn zero(&self) {
        self.zero_grad();
    }
    fn go(&mut self) {
        self.step().unwrap();
    }
}

fn run_variables(mut optimizer: impl Optimizer<Variable>, steps: usize) -> Vec<f64> {
    for _ in 0..steps {
        let tape = eager::GradientTape::new();
        let p = optimizer.parameters()[0].read().unwrap();
        let cube = p.mul(&p).unwrap().mul(&p).unwrap().sum(&[], false).unwrap().div(3.0).unwrap();
        let gradients = tape.gradient(&cube, &[&optimizer.parameters()[0]]).unwrap();
        optimizer.apply(&gradients).unwrap();
    }
    optimizer.parameters()[0].read().unwrap().to_f64_vec().unwrap()
}

fn variable() -> Vec<Variable> {
    vec![Variable::new(&Tensor::from_slice(&START, &[3]).unwrap(), "p").unwrap()]
}

fn close(found: &[f64], expected: &[f64]) {
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} {expected:?}");
}

fn by_hand(mut step: impl FnMut(&mut f64, f64, i32), steps: i32) -> Vec<f64> {
    let mut out = Vec::new();
    for start in START {
        let mut p = start;
        for t in 1..=steps {
            let g = square(p);
            step(&mut p, g, t);
        }
        out.push(p);
    }
    out
}

#[test]
fn sgd() {
    let expected = by_hand(|p, g, _| *p -= 0.1 * g, 3);
    close(&run_leaves(|p| Box::new(Sgd::new(p, 0.1)), 3), &expected);
    close(&run_variables(Sgd::new(variable(), 0.1), 3), &expected);
}

#[test]
fn sgd_with_momentum_and_decay() {
    let mut velocity = 0.0;
    let expected = by_hand(
        |p, g, t| {
            if t == 1 {
                velocity = 0.0;
            }
            velocity = 0.9 * velocity + g + 0.01 * *p;
            *p -= 0.1 * velocity;
        },
        4,
    );
    let leaves = run_leaves(|p| Box::new(Sgd::new(p, 0.1).weight_decay(0.01).momentum(0.9).unwrap()), 4);
    close(&leaves, &expected);
    close(&run_variables(Sgd::new(variable(), 0.1).weight_decay(0.01).momentum(0.9).unwrap(), 4), &expected);
}

#[test]
fn adam_and_adamw() {
    for decoupled in [false, true] {
        let (mut m, mut v) = (0.0, 0.0);
        let expected = by_hand(
            |p, g, t| {
                if t == 1 {
                    (m, v) = (0.0, 0.0);
                }
                let g = if decoupled { g } else { g + 0.01 * *p };
                if decoupled {
                    *p *= 1.0 - 0.1 * 0.01;
                }
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                let (m, v) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
                *p -= 0.1 * m / (v.sqrt() + 1e-8);
            },
            5,
        );
        let with_decay = |adam: Adam<Tensor>| match decoupled {
            true => adam.decoupled_weight_decay(0.01),
            false => adam.weight_decay(0.01),
        };
        close(&run_leaves(|p| Box::new(with_decay(Adam::new(p, 0.1).unwrap())), 5), &expected);
        let adam = Adam::new(variable(), 0.1).unwrap();
        let adam = if decoupled { adam.decoupled_weight_decay(0.01) } else { adam.weight_decay(0.01) };
        close(&run_variables(adam, 5), &expected);
    }
}
