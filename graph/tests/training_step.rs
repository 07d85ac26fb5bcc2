//! A training step of the 784-512-256-10 MLP as one graph: forward, the gradient of the graph, SGD. Few kernels beyond the
//! products, states updated in place, and the bits of the interpreter under `exact`.

use graph::build::{Builder, ValueMap};
use graph::plan::WriteBack;
use graph::{Executable, Graph, InputRole, Operand, Options, Plan, interpret, optimize, plan};
use kernels::{DType, Scalar};
use runtime::tensor::Tensor;
use runtime::value::Host;
use runtime::{DeviceId, ops, table};

const SIZES: [usize; 4] = [784, 512, 256, 10];
const BATCH: usize = 64;

fn forward() -> Graph {
    let mut b = Builder::new("mlp");
    let ty = |dims: &[usize]| graph::ir::tensor(DType::F32, dims);
    let x = b.input(ty(&[BATCH, SIZES[0]]), InputRole::Argument, "x");
    let y = b.input(graph::ir::tensor(DType::I64, &[BATCH]), InputRole::Argument, "y");
    let mut h = x;
    for layer in 0..3 {
        let w = b.input(ty(&[SIZES[layer], SIZES[layer + 1]]), InputRole::State, &format!("w{layer}"));
        let bias = b.input(ty(&[SIZES[layer + 1]]), InputRole::State, &format!("b{layer}"));
        h = b.op1(&ops::MATMUL, vec![Operand::Value(h), Operand::Value(w)], None).unwrap();
        h = b.op1(&ops::ADD, vec![Operand::Value(h), Operand::Value(bias)], None).unwrap();
        if layer < 2 {
            h = b.op1(&ops::RELU, vec![Operand::Value(h)], None).unwrap();
        }
    }
    let loss = match table::find("cross_entropy") {
        Some(op) => b.op1(op, vec![Operand::Value(h), Operand::Value(y)], None).unwrap(),
        None => {
            let zero = Operand::Host(Host::Scalar(Scalar::Int(1)));
            let p = b.op1(table::find("log_softmax").unwrap(), vec![Operand::Value(h), zero], None).unwrap();
            b.op1(&ops::MEAN, vec![Operand::Value(p)], None).unwrap()
        }
    };
    b.finish(vec![loss], Vec::new())
}

/// Forward, gradients, and `p - 0.01 g` for each parameter.
fn step() -> Graph {
    let forward = forward();
    let count = forward.params().len();
    let wanted: Vec<bool> = (0..count).map(|i| i >= 2).collect();
    let joint = graph::grad::joint(&forward, DeviceId::Cpu, &wanted, &[true]).unwrap();
    let mut b = Builder::new("step");
    let mut map = ValueMap::new(&joint.graph);
    for (i, &param) in joint.graph.params().iter().enumerate() {
        let info = joint.graph.value(param);
        let new = match i < count {
            true => b.input(info.ty.clone(), joint.graph.inputs[i], &info.name),
            false => b.constant(Tensor::scalar(1.0f32), None),
        };
        map.set(param, new);
    }
    let results = b.inline(&joint.graph, &mut map).unwrap();
    let (mut out, mut back) = (vec![results[0]], Vec::new());
    for i in 2..count {
        let parameter = map.get(joint.graph.params()[i]).unwrap();
        let gradient = results[joint.gradients[i].unwrap()];
        let rate = Operand::Host(Host::Scalar(Scalar::Float(0.01)));
        let change = b.op1(&ops::MUL, vec![Operand::Value(gradient), rate], None).unwrap();
        let new = b.op1(&ops::SUB, vec![Operand::Value(parameter), Operand::Value(change)], None).unwrap();
        out.push(new);
        back.push((i, out.len() - 1));
    }
    b.finish(out, back)
}

fn data() -> Vec<Tensor> {
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f32 / (1u64 << 31) as f32
    };
    let mut filled = |dims: &[usize], scale: f32| {
        let n = dims.iter().product();
        let v: Vec<f32> = (0..n).map(|_| (draw() - 0.5) * 2.0 * scale).collect();
        Tensor::from_slice(&v, dims).unwrap()
    };
    let labels: Vec<i64> = (0..BATCH as i64).map(|i| i * 7 % 10).collect();
    let mut out = vec![filled(&[BATCH, SIZES[0]], 1.0), Tensor::from_slice(&labels, &[BATCH]).unwrap()];
    for layer in 0..3 {
        let scale = 1.0 / (SIZES[layer] as f32).sqrt();
        out.push(filled(&[SIZES[layer], SIZES[layer + 1]], scale));
        out.push(filled(&[SIZES[layer + 1]], scale));
    }
    out
}

fn made(options: &Options) -> (Graph, Plan, String) {
    let (graph, log) = optimize(step(), options).unwrap();
    let plan = plan(&graph, options, DeviceId::Cpu).unwrap();
    let text = format!("{graph}\n{log}\n{plan}");
    (graph, plan, text)
}

#[test]
fn exact_steps_have_the_bits_of_the_interpreter() {
    let options = Options { exact: true, ..Options::default() };
    let (_, plan, text) = made(&options);
    let executable = Executable::new(plan).unwrap();
    let (args, reference) = (data(), step());
    let mut states = args.clone();
    for _ in 0..3 {
        let expected = interpret::run(&reference, &states).unwrap();
        let outputs = executable.run(&args).unwrap();
        assert_eq!(outputs[0].to_bytes().unwrap(), expected[0].to_bytes().unwrap(), "{text}");
        for &(input, result) in &reference.write_backs {
            assert_eq!(
                args[input].to_bytes().unwrap(),
                expected[result].to_bytes().unwrap(),
                "input {input}\n{text}"
            );
            states[input] = expected[result].clone();
        }
        for i in 0..args.len() {
            states[i] = runtime::run::contiguous(&args[i]).unwrap();
        }
    }
}

#[test]
fn a_step_is_few_kernels_and_updates_in_place() {
    let (_, plan, text) = made(&Options::default());
    assert!(plan.launches() <= 18, "{text}");
    let copied = plan.write_backs.iter().filter(|(_, w)| *w != WriteBack::Donated).count();
    assert_eq!(copied, 0, "{text}");
}
