//! The first three steps of the fixed training against what PyTorch and TensorFlow answer.

use crate::optim::{Optimizer, Sgd, Step};
use crate::workloads::{Program, Workload, make};
use eager::{Autograd, GradientTape};
use runtime::{DType, Tensor, Variable};

/// Losses of both systems in float64 (tests/reference/mlp_steps.safetensors).
#[allow(clippy::excessive_precision, reason = "as the real frameworks print them")]
const LOSSES: [f64; 3] = [2.315_240_710_174_031_3, 2.313_103_866_107_272_8, 2.311_033_832_124_149_7];

fn parts(dtype: DType) -> (Workload, fn(&[Tensor], &[Tensor]) -> runtime::Result<Tensor>, Vec<Tensor>) {
    let workload = make("mlp_train", dtype).unwrap();
    let Program::Train(loss, _) = workload.program else { panic!("not a training") };
    let inputs = workload.inputs.iter().map(|(_, t)| t.clone()).collect();
    (workload, loss, inputs)
}

fn torch_losses(dtype: DType) -> Vec<f64> {
    let (workload, loss, inputs) = parts(dtype);
    let parameters: Vec<Tensor> =
        workload.parameters.iter().map(|(_, t)| t.copy().unwrap().requires_grad_(true).unwrap()).collect();
    let mut optimizer = Sgd::new(parameters.clone(), 0.01);
    let mut step = || {
        optimizer.zero_grad();
        let value = loss(&parameters, &inputs).unwrap();
        value.backward().unwrap();
        optimizer.step().unwrap();
        value.item().unwrap().to_f64()
    };
    (0..3).map(|_| step()).collect()
}

fn tape_losses(dtype: DType) -> Vec<f64> {
    let (workload, loss, inputs) = parts(dtype);
    let variables: Vec<Variable> =
        workload.parameters.iter().map(|(name, t)| Variable::new(t, name).unwrap()).collect();
    let mut optimizer = Sgd::new(variables, 0.01);
    let mut step = || {
        let tape = GradientTape::new();
        let values: Vec<Tensor> = optimizer.parameters().iter().map(|v| v.read().unwrap()).collect();
        let value = loss(&values, &inputs).unwrap();
        let sources: Vec<&Variable> = optimizer.parameters().iter().collect();
        let gradients = tape.gradient(&value, &sources).unwrap();
        optimizer.apply(&gradients).unwrap();
        value.item().unwrap().to_f64()
    };
    (0..3).map(|_| step()).collect()
}

#[test]
fn the_first_losses_are_those_of_the_real_systems() {
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 2e-6)] {
        let (torch, tape) = (torch_losses(dtype), tape_losses(dtype));
        assert_eq!(torch, tape, "one set of kernels: the same bits");
        for (found, expected) in torch.iter().zip(LOSSES) {
            assert!(
                (found - expected).abs() <= tolerance * expected,
                "{dtype}: {torch:?} against {LOSSES:?}"
            );
        }
    }
}
