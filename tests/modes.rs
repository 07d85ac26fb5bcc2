//! The execution models agree: what is traced or staged has the bits of what is eager, gradients included.

use eager::GradientTape;
use eager::prelude::Autograd;
use graph::{Argument, Options, TraceOptions, function, trace};
use runtime::ops::Running;
use runtime::{Result, Tensor, Variable};
use std::time::{Duration, Instant};

/// A small deterministic source of choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }

    fn tensor(&mut self, dims: &[usize]) -> Tensor {
        let data: Vec<f32> =
            (0..dims.iter().product()).map(|_| self.below(4000) as f32 / 1000.0 - 2.0).collect();
        Tensor::from_slice(&data, dims).expect("data fills the shape")
    }
}

/// A program drawn from a seed: the same steps, whoever runs them. Values are square matrices.
fn program(seed: u64, inputs: &[Tensor]) -> Result<Tensor> {
    let mut choices = Choices(seed);
    let mut values = inputs.to_vec();
    for _ in 0..14 {
        let a = values[choices.below(values.len())].clone();
        let b = values[choices.below(values.len())].clone();
        values.push(match choices.below(12) {
            0 => a.add(&b)?,
            1 => a.mul(&b)?,
            2 => a.sub(&b)?.mul(0.5)?,
            3 => a.tanh()?.matmul(&b.tanh()?)?,
            4 => a.permute(&[1, 0])?,
            5 => a.relu()?.add(&b)?,
            6 => a.sigmoid()?,
            7 => a.softmax(-1)?.add(&b.softmax(0)?)?,
            8 => a.sub(&a.sum(&[1], true)?.mul(0.25)?)?,
            9 => a.maximum(&b)?,
            10 => Tensor::cat(&[a.slice(0, Some(0), Some(2), 1)?, b.slice(0, Some(2), None, 1)?], 0)?,
            _ => a.gt(&b)?.select_where(&a, &b)?,
        });
    }
    let last = values[values.len() - 1].add(&values[values.len() - 2])?;
    last.tanh()?.sum(&[], false)
}

fn bits(t: &Tensor) -> Vec<u8> {
    t.to_bytes().expect("the tensor is in memory")
}

fn leaves(inputs: &[Tensor]) -> Vec<Tensor> {
    let leaves: Vec<Tensor> = inputs.iter().map(Tensor::alias).collect();
    leaves.iter().for_each(|t| {
        t.requires_grad_(true).expect("a float leaf");
    });
    leaves
}

fn grads(leaves: &[Tensor]) -> Vec<Option<Vec<u8>>> {
    leaves.iter().map(|t| t.grad().map(|g| bits(&g))).collect()
}

fn exact() -> Options {
    Options { exact: true, ..Options::default() }
}

/// Eager value and gradients, and those of the traced program under the autograd engine and under a tape.
fn traced_agrees(seed: u64, options: Options) {
    let mut choices = Choices(seed ^ 0xabcdef);
    let inputs: Vec<Tensor> = (0..3).map(|_| choices.tensor(&[4, 4])).collect();
    let eager = leaves(&inputs);
    let loss = program(seed, &eager).expect("the program runs");
    loss.backward().expect("the program has gradients");
    let compile = TraceOptions { compile: options, ..TraceOptions::default() };
    let traced =
        trace("program", &inputs, compile, |a| Ok(vec![program(seed, a)?])).expect("the program traces");
    let compiled = leaves(&inputs);
    let out = traced.call(&compiled).expect("the trace runs").remove(0);
    assert_eq!(bits(&out), bits(&loss), "seed {seed}\n{}", traced.recording().graph);
    out.backward().expect("the trace has gradients");
    assert_eq!(grads(&compiled), grads(&eager), "seed {seed}\n{}", traced.recording().graph);
    let taped: Vec<Tensor> = inputs.iter().map(Tensor::alias).collect();
    let tape = GradientTape::new();
    taped.iter().for_each(|t| tape.watch(t).expect("a float"));
    let out = traced.call(&taped).expect("the trace runs").remove(0);
    let sources: Vec<&Tensor> = taped.iter().collect();
    let found = tape.gradient(&out, &sources).expect("the trace has gradients");
    let found: Vec<Option<Vec<u8>>> = found.iter().map(|g| g.as_ref().map(bits)).collect();
    assert_eq!(found, grads(&eager), "seed {seed}");
}

#[test]
fn random_programs_traced_have_eagers_bits() {
    for seed in 0..40 {
        traced_agrees(seed, exact());
    }
}

/// A whole step (tape, gradients, update) staged, against the same step eager.
#[test]
fn random_steps_staged_have_eagers_bits() {
    for seed in 100..130 {
        let mut choices = Choices(seed);
        let initial: Vec<Tensor> = (0..2).map(|_| choices.tensor(&[4, 4])).collect();
        let batches: Vec<Tensor> = (0..3).map(|_| choices.tensor(&[4, 4])).collect();
        let make = || -> Vec<Variable> {
            initial.iter().map(|t| Variable::new(t, "w").expect("a variable")).collect()
        };
        let step = move |variables: &[Variable], x: &Tensor| -> Result<Tensor> {
            let tape = GradientTape::new();
            let mut inputs = vec![x.clone()];
            for v in variables {
                inputs.push(v.read()?);
            }
            let loss = program(seed, &inputs)?;
            let sources: Vec<&Variable> = variables.iter().collect();
            for (v, g) in variables.iter().zip(tape.gradient(&loss, &sources)?) {
                if let Some(g) = g {
                    v.assign_sub(&g.mul(0.1)?)?;
                }
            }
            Ok(loss)
        };
        let eager = make();
        let staged = make();
        let held = staged.clone();
        let f = function("step", exact(), move |a| Ok(vec![step(&held, a[0].tensor()?)?]));
        for x in &batches {
            let wanted = step(&eager, x).expect("the step runs");
            let found = f.call(&[Argument::from(x)]).expect("the staged step runs").remove(0);
            assert_eq!(bits(&found), bits(&wanted), "seed {seed}");
            for (a, b) in eager.iter().zip(&staged) {
                assert_eq!(bits(&b.current()), bits(&a.current()), "seed {seed}");
            }
        }
        assert_eq!(f.traces(), 1);
    }
}

/// A traced batch norm writes its running statistics into the captured tensors, each call once, and has gradients after it.
#[test]
fn running_statistics_follow_under_a_trace() {
    let mut choices = Choices(5);
    let x = choices.tensor(&[4, 3, 2]);
    let vector = |v: f32| Tensor::from_slice(&[v; 3], &[3]).expect("three elements");
    let step = |x: &Tensor, mean: &Tensor, variance: &Tensor| {
        let running = Running { mean: Some(mean), variance: Some(variance), momentum: 0.25 };
        x.batch_norm(None, None, running, true, 1e-5)
    };
    let (mean, variance) = (vector(0.5), vector(2.0));
    let (m, v) = (mean.clone(), variance.clone());
    let options = TraceOptions { compile: exact(), ..TraceOptions::default() };
    let f = trace("norm", std::slice::from_ref(&x), options, move |a| Ok(vec![step(&a[0], &m, &v)?]))
        .expect("it traces");
    let before = (mean.copy().expect("a copy"), variance.copy().expect("a copy"));
    let eager = leaves(std::slice::from_ref(&x)).remove(0);
    let wanted = step(&eager, &before.0, &before.1).expect("it runs");
    wanted.mul(&x).and_then(|y| y.sum(&[], false)).and_then(|s| s.backward()).expect("gradients");
    let leaf = leaves(std::slice::from_ref(&x)).remove(0);
    let found = f.call(std::slice::from_ref(&leaf)).expect("it runs").remove(0);
    found.mul(&x).and_then(|y| y.sum(&[], false)).and_then(|s| s.backward()).expect("gradients");
    assert_eq!(bits(&found.detach().expect("values")), bits(&wanted.detach().expect("values")));
    assert_eq!(grads(&[leaf]), grads(&[eager]));
    assert_eq!(bits(&mean), bits(&before.0));
    assert_eq!(bits(&variance), bits(&before.1));
    assert_ne!(bits(&mean), bits(&vector(0.5)));
}

#[test]
fn second_derivatives_pass_a_trace() {
    let x = Tensor::from_slice(&[0.5f64, -1.5, 2.0], &[3]).expect("three elements");
    let cubed = |a: &[Tensor]| Ok(vec![a[0].mul(&a[0])?.mul(&a[0])?]);
    let f = trace("cubed", std::slice::from_ref(&x), TraceOptions::default(), cubed).expect("it traces");
    let leaf = leaves(&[x]).remove(0);
    let out = f.call(std::slice::from_ref(&leaf)).expect("it runs").remove(0).sum(&[], false).expect("a sum");
    let options = eager::GradOptions { create_graph: true, ..Default::default() };
    let first =
        eager::grad(&[&out], &[&leaf], options).expect("a gradient").remove(0).expect("it depends on x");
    let total = first.sum(&[], false).expect("a sum");
    let second = eager::grad(&[&total], &[&leaf], Default::default()).expect("a gradient").remove(0);
    assert_eq!(second.expect("it depends on x").to_f64_vec().expect("in memory"), [3.0, -9.0, 12.0]);
}

/// Recording and compiling the MLP's whole training step is a matter of milliseconds.
#[test]
fn staging_a_training_step_is_quick() {
    let parameters = models::workloads::mlp_parameters(runtime::DType::F32).expect("parameters");
    let mut choices = Choices(5);
    let x = choices.tensor(&[64, 784]);
    let labels: Vec<i64> = (0..64).map(|i| i % 10).collect();
    let y = Tensor::from_slice(&labels, &[64]).expect("64 labels");
    let mut best = Duration::MAX;
    let mut recording = Duration::MAX;
    let mut nodes = 0;
    for _ in 0..5 {
        let variables: Vec<Variable> =
            parameters.iter().map(|(name, t)| Variable::new(t, name).expect("a variable")).collect();
        let step = move |a: &[Argument]| -> Result<Vec<Tensor>> {
            let tape = GradientTape::new();
            let mut values = Vec::new();
            for v in &variables {
                values.push(v.read()?);
            }
            let loss =
                models::workloads::mlp_loss(&values, &[a[0].tensor()?.clone(), a[1].tensor()?.clone()])?;
            let sources: Vec<&Variable> = variables.iter().collect();
            for (v, g) in variables.iter().zip(tape.gradient(&loss, &sources)?) {
                if let Some(g) = g {
                    v.assign_sub(&g.mul(0.01)?)?;
                }
            }
            Ok(vec![loss])
        };
        let f = function("step", Options::default(), step);
        let start = Instant::now();
        let concrete = f.concrete(&[(&x).into(), (&y).into()]).expect("it records");
        concrete.compiled().stateful().expect("it compiles");
        best = best.min(start.elapsed());
        recording = recording.min(f.retraces()[0].took);
        nodes = concrete.recording().graph.main().nodes.len();
    }
    println!("MLP step: {nodes} nodes, recorded in {recording:?}, recorded and compiled in {best:?}");
    assert!(best < Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 10 }), "{best:?}");
}

#[test]
fn a_tape_around_a_function_sees_one_call() {
    let v = Variable::new(&Tensor::from_slice(&[2.0f32, 3.0], &[2]).expect("two"), "v").expect("a variable");
    let count = Variable::with_trainable(&Tensor::scalar(0.0f32), "count", false).expect("a variable");
    let (held, calls) = (v.clone(), count.clone());
    let f = function("f", exact(), move |a| {
        calls.assign_add(&Tensor::scalar(1.0f32))?;
        Ok(vec![held.read()?.mul(a[0].tensor()?)?.mul(&held.read()?)?])
    });
    let x = Tensor::from_slice(&[5.0f32, 7.0], &[2]).expect("two");
    for turn in 1..3 {
        let tape = GradientTape::new();
        tape.watch(&x).expect("a float");
        let y = f.call(&[(&x).into()]).expect("it runs").remove(0);
        let found = tape.gradient(&y, &[&v]).expect("a gradient").remove(0).expect("y depends on v");
        assert_eq!(found.to_f64_vec().expect("in memory"), [20.0, 42.0]);
        assert_eq!(count.current().item().expect("one").to_f64(), turn as f64);
    }
    assert_eq!(f.traces(), 1);
}

#[test]
fn captured_parameters_get_gradients() {
    let w = Tensor::from_slice(&[2.0f32, 3.0], &[2]).expect("two").requires_grad_(true).expect("a leaf");
    let x = Tensor::from_slice(&[5.0f32, 7.0], &[2]).expect("two");
    let held = w.clone();
    let f = trace("f", std::slice::from_ref(&x), TraceOptions::default(), move |a| {
        Ok(vec![a[0].mul(&held)?.sum(&[], false)?])
    })
    .expect("it traces");
    for turn in 1..3 {
        f.call(std::slice::from_ref(&x)).expect("it runs")[0].backward().expect("a gradient");
        let found = w.grad().expect("a gradient").to_f64_vec().expect("in memory");
        assert_eq!(found, [5.0 * turn as f64, 7.0 * turn as f64]);
    }
    // An optimiser's step is seen by the next call: the trace holds the parameter, not its value.
    let _no_grad = eager::no_grad();
    runtime::door::mutate(
        &runtime::ops::SUB,
        &[runtime::Arg::Tensor(&w), runtime::Arg::Float(1.0)],
        runtime::Origin::caller(),
    )
    .expect("a write");
    assert_eq!(f.call(&[x]).expect("it runs")[0].item().expect("one").to_f64(), 19.0);
}

#[test]
fn a_routine_succeeds_and_fails_alike_in_eager_and_planned_code() {
    let good = Tensor::from_slice(&[2.0f32, 1.0, 1.0, 2.0], &[2, 2]).expect("four elements");
    let bad = Tensor::from_slice(&[1.0f32, 2.0, 2.0, 1.0], &[2, 2]).expect("four elements");
    let factor = |a: &[Tensor]| {
        let (sorted, places) = a[0].linalg_cholesky(false)?.sort(-1, true)?;
        Ok(vec![sorted, places])
    };
    let f = trace("factor", std::slice::from_ref(&good), TraceOptions::default(), factor).expect("it traces");
    let planned = f.call(std::slice::from_ref(&good)).expect("it runs");
    let eager = factor(std::slice::from_ref(&good)).expect("it runs");
    assert!(planned.iter().zip(&eager).all(|(a, b)| bits(a) == bits(b)));
    let wanted = factor(std::slice::from_ref(&bad)).expect_err("not positive definite");
    let found = f.call(&[bad]).expect_err("not positive definite");
    assert_eq!((found.kind(), found.message()), (wanted.kind(), wanted.message()));
    assert_eq!(found.kind(), runtime::ErrorKind::Value);
}

#[test]
fn a_shape_that_depends_on_values_cannot_be_staged() {
    let x = Tensor::from_slice(&[2.0f32, 0.0, 1.0], &[3]).expect("three elements");
    assert_eq!(x.nonzero().expect("it runs eagerly").shape(), [2, 1]);
    let f = function("nonzero", Options::default(), |a| Ok(vec![a[0].tensor()?.nonzero()?]));
    let error = f.call(&[Argument::from(&x)]).expect_err("the count is not known");
    assert_eq!(error.kind(), runtime::ErrorKind::Trace, "{error}");
    let f = function("static", Options::default(), |a| Ok(vec![a[0].tensor()?.nonzero_static(2, -1)?]));
    let found = f.call(&[Argument::from(&x)]).expect("its size is known").remove(0);
    assert_eq!(found.to_vec::<i64>().expect("in memory"), [0, 2]);
}
