//! The fixed workloads: what they compute, on which inputs. Every mode of every system runs these same functions.

use crate::generate::Generator;
use runtime::{DType, Error, Result, Tensor};

/// How a workload is driven.
#[derive(Clone, Copy)]
pub enum Program {
    /// Outputs from inputs; no gradients.
    Forward(fn(&[Tensor]) -> Result<Vec<Tensor>>),
    /// A scalar from inputs, and its gradients with respect to all of them.
    Gradient(fn(&[Tensor]) -> Result<Tensor>),
    /// A loss from parameters and inputs; a step updates the parameters by SGD with this learning rate.
    Train(fn(&[Tensor], &[Tensor]) -> Result<Tensor>, f64),
}

/// A workload with its data made.
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// What it computes, in a line.
    pub doc: &'static str,
    /// How it is driven.
    pub program: Program,
    /// Input names and tensors.
    pub inputs: Vec<(&'static str, Tensor)>,
    /// Parameter names and initial tensors; empty unless it trains.
    pub parameters: Vec<(&'static str, Tensor)>,
}

/// How a workload is made for an element type.
type Maker = fn(DType) -> Result<Workload>;

/// Every workload, by name.
pub const WORKLOADS: &[(&str, Maker)] = &[
    ("dispatch", dispatch),
    ("dispatch_grad", dispatch_grad),
    ("pointwise", pointwise),
    ("softmax_ln", softmax_ln),
    ("matmul", matmul),
    ("mlp_train", mlp_train),
];

/// The workload with this name, its floating-point data of type `dtype`.
pub fn make(name: &str, dtype: DType) -> Result<Workload> {
    let (_, maker) = WORKLOADS.iter().find(|(n, _)| *n == name).ok_or_else(|| {
        let names: Vec<&str> = WORKLOADS.iter().map(|(n, _)| *n).collect();
        Error::value(format!("there is no workload '{name}'"))
            .hint(format!("workloads are {}", names.join(", ")))
    })?;
    maker(dtype)
}

/// Additions of `dispatch`.
pub const DISPATCH_OPS: usize = 1000;

fn additions(inputs: &[Tensor]) -> Result<Tensor> {
    let mut x = inputs[0].clone();
    for _ in 0..DISPATCH_OPS {
        x = x.add(&inputs[1])?;
    }
    Ok(x)
}

fn dispatch_inputs(name: &str, dtype: DType) -> Result<Vec<(&'static str, Tensor)>> {
    let g = Generator::new(name);
    Ok(vec![
        ("x", g.uniform("x", &[16], -1.0, 1.0, dtype)?),
        ("c", g.uniform("c", &[16], -1e-3, 1e-3, dtype)?),
    ])
}

fn dispatch(dtype: DType) -> Result<Workload> {
    Ok(Workload {
        name: "dispatch",
        doc: "1000 dependent additions of 16 elements",
        program: Program::Forward(|inputs| Ok(vec![additions(inputs)?])),
        inputs: dispatch_inputs("dispatch", dtype)?,
        parameters: vec![],
    })
}

fn dispatch_grad(dtype: DType) -> Result<Workload> {
    Ok(Workload {
        name: "dispatch_grad",
        doc: "1000 dependent additions of 16 elements, summed, and both gradients",
        program: Program::Gradient(|inputs| additions(inputs)?.sum(&[], false)),
        inputs: dispatch_inputs("dispatch_grad", dtype)?,
        parameters: vec![],
    })
}

fn pointwise(dtype: DType) -> Result<Workload> {
    let g = Generator::new("pointwise");
    let make = |name: &'static str| Ok((name, g.uniform(name, &[1 << 20], -1.0, 1.0, dtype)?));
    Ok(Workload {
        name: "pointwise",
        doc: "ten element-wise operations, gelu, tanh and sigmoid among them, on 2^20 elements",
        program: Program::Forward(|inputs| {
            let [x, a, b, c] = inputs else {
                return Err(Error::value("pointwise takes x, a, b, c"));
            };
            let t1 = x.mul(a)?;
            let t6 = t1.add(b)?.gelu("tanh")?.add(&c.tanh()?.mul(x)?)?;
            let t8 = t6.sigmoid()?.mul(&t6)?;
            Ok(vec![t8.mul(b)?.sub(&t1)?])
        }),
        inputs: ["x", "a", "b", "c"].into_iter().map(make).collect::<Result<_>>()?,
        parameters: vec![],
    })
}

fn softmax_ln(dtype: DType) -> Result<Workload> {
    let g = Generator::new("softmax_ln");
    Ok(Workload {
        name: "softmax_ln",
        doc: "softmax, then layer norm, over 4096 rows of 1024",
        program: Program::Forward(|inputs| {
            let [x, gain, bias] = inputs else {
                return Err(Error::value("softmax_ln takes x, ln.g, ln.b"));
            };
            Ok(vec![x.softmax(-1)?.layer_norm(&[1024], Some(gain), Some(bias), 1e-5)?])
        }),
        inputs: vec![
            ("x", g.uniform("x", &[4096, 1024], -4.0, 4.0, dtype)?),
            ("ln.g", g.uniform("ln.g", &[1024], 0.5, 1.5, dtype)?),
            ("ln.b", g.uniform("ln.b", &[1024], -0.1, 0.1, dtype)?),
        ],
        parameters: vec![],
    })
}

fn matmul(dtype: DType) -> Result<Workload> {
    let g = Generator::new("matmul");
    let make = |name: &'static str| Ok((name, g.uniform(name, &[1024, 1024], -1.0, 1.0, dtype)?));
    Ok(Workload {
        name: "matmul",
        doc: "a product of two 1024 x 1024 matrices",
        program: Program::Forward(|inputs| Ok(vec![inputs[0].matmul(&inputs[1])?])),
        inputs: ["a", "b"].into_iter().map(make).collect::<Result<_>>()?,
        parameters: vec![],
    })
}

/// Widths of the MLP's layers.
pub const MLP: [usize; 4] = [784, 512, 256, 10];

/// Initial parameters of the MLP: weights are [in, out].
pub fn mlp_parameters(dtype: DType) -> Result<Vec<(&'static str, Tensor)>> {
    let g = Generator::new("mlp_train");
    let names = ["fc1.w", "fc1.b", "fc2.w", "fc2.b", "fc3.w", "fc3.b"];
    let mut out = Vec::new();
    for layer in 0..3 {
        let (n_in, n_out) = (MLP[layer], MLP[layer + 1]);
        let (weight, bias) = (names[2 * layer], names[2 * layer + 1]);
        out.push((weight, g.weight(weight, &[n_in, n_out], n_in, dtype)?));
        out.push((bias, g.weight(bias, &[n_out], n_in, dtype)?));
    }
    Ok(out)
}

/// Logits [n, 10] of the MLP for images [n, 784]: y = x W + b with ReLU between the layers.
pub fn mlp_logits(parameters: &[Tensor], x: &Tensor) -> Result<Tensor> {
    let mut h = x.clone();
    for (layer, pair) in parameters.chunks(2).enumerate() {
        h = h.matmul(&pair[0])?.add(&pair[1])?;
        if layer < 2 {
            h = h.relu()?;
        }
    }
    Ok(h)
}

/// Mean cross entropy of the MLP's logits for inputs (images, labels).
pub fn mlp_loss(parameters: &[Tensor], inputs: &[Tensor]) -> Result<Tensor> {
    mlp_logits(parameters, &inputs[0])?.cross_entropy(&inputs[1], None, "mean", -100, 0.0)
}

fn mlp_train(dtype: DType) -> Result<Workload> {
    let g = Generator::new("mlp_train");
    Ok(Workload {
        name: "mlp_train",
        doc: "a training step of a 784-512-256-10 MLP: relu, cross entropy, batch 64, SGD 0.01",
        program: Program::Train(mlp_loss, 0.01),
        inputs: vec![("x", g.uniform("x", &[64, 784], 0.0, 1.0, dtype)?), ("y", g.integer("y", &[64], 10)?)],
        parameters: mlp_parameters(dtype)?,
    })
}
