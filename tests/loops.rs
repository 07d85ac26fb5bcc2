//! Loops on tensors in every model: the host's turns under a tape, staged under a tape, and tapes staged with the loop.

use eager::GradientTape;
use eager::prelude::Autograd;
use graph::trace::{cond, while_loop};
use graph::{Argument, Options, function};
use runtime::{Result, Tensor, Variable};

fn tensor(data: &[f64]) -> Tensor {
    Tensor::from_slice(data, &[data.len()]).expect("data fills the shape")
}

/// As many turns as it takes, a branch in each; `w` comes from outside.
fn program(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let out = while_loop(
        |c| c[1].lt(6i64),
        |c| {
            let odd = c[1].remainder(2i64)?.eq(1i64)?;
            let next = cond(&odd, || Ok(vec![c[0].mul(w)?.sin()?]), || Ok(vec![c[0].mul(&c[0])?.add(w)?]))?;
            Ok(vec![next[0].clone(), c[1].add(1i64)?])
        },
        &[x.clone(), Tensor::scalar(0i64)],
    )?;
    out[0].mul(x)?.sum(&[], false)
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_f64_vec().expect("the tensor is in memory")
}

#[track_caller]
fn close(found: &[Tensor], wanted: &[Tensor]) {
    assert_eq!(found.len(), wanted.len());
    for (f, w) in found.iter().zip(wanted) {
        for (f, w) in values(f).iter().zip(&values(w)) {
            assert!((f - w).abs() <= 1e-12 * w.abs().max(1.0), "{f} instead of {w}");
        }
    }
}

type Pair = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// Value, gradients, and the gradient of a sum of the gradients' squares.
fn twice(f: impl Fn(&Tensor, &Tensor) -> Result<Tensor>, x: &Tensor, w: &Tensor) -> Result<Vec<Tensor>> {
    let outer = GradientTape::new();
    outer.watch(x)?;
    outer.watch(w)?;
    let inner = GradientTape::new();
    inner.watch(x)?;
    inner.watch(w)?;
    let y = f(x, w)?;
    let first: Vec<Tensor> = inner.gradient(&y, &[x, w])?.into_iter().flatten().collect();
    drop(inner);
    let square = |t: &Tensor| t.mul(t)?.sum(&[], false);
    let total = square(&first[0])?.add(&square(&first[1])?)?;
    let second = outer.gradient(&total, &[x, w])?.into_iter().flatten();
    Ok([vec![y], first.clone(), second.collect()].concat())
}

fn inputs() -> (Tensor, Tensor) {
    (tensor(&[0.3, -0.6]), tensor(&[0.8, 0.4]))
}

#[test]
fn tapes_staged_with_the_loop() {
    let (x, w) = inputs();
    let eager = twice(program, &x, &w).expect("the host runs the loop");
    assert_eq!(eager.len(), 5);
    for exact in [true, false] {
        let options = Options { exact, ..Options::default() };
        let staged = function("step", options, |a| twice(program, a[0].tensor()?, a[1].tensor()?));
        for _ in 0..2 {
            let found = staged.call(&[Argument::from(&x), Argument::from(&w)]).expect("the step runs");
            close(&found, &eager);
        }
        let concrete = staged.concrete(&[Argument::from(&x), Argument::from(&w)]).expect("it is recorded");
        let runner = concrete.compiled().stateful().expect("it is compiled");
        assert_eq!(runner.fallback(), None);
        assert_eq!(runner.graph().count("call"), 0);
    }
}

#[test]
fn a_staged_loop_under_tapes() {
    let (x, w) = inputs();
    let eager = twice(program, &x, &w).expect("the host runs the loop");
    let staged = function("loop", Options::default(), |a| Ok(vec![program(a[0].tensor()?, a[1].tensor()?)?]));
    let call = move |x: &Tensor, w: &Tensor| -> Result<Tensor> {
        Ok(staged.call(&[Argument::from(x), Argument::from(w)])?.remove(0))
    };
    for _ in 0..2 {
        close(&twice(&call, &x, &w).expect("the tapes have gradients"), &eager);
    }
    // PyTorch's tape, and a function that calls the function.
    let leaves = [x.alias(), w.alias()];
    leaves.iter().for_each(|t| {
        t.requires_grad_(true).expect("a float leaf");
    });
    call(&leaves[0], &leaves[1]).expect("it runs").backward().expect("it has gradients");
    let grads: Vec<Tensor> = leaves.iter().map(|t| t.grad().expect("a gradient")).collect();
    close(&grads, &eager[1..3]);
    let outer = function("outer", Options::default(), move |a| twice(&call, a[0].tensor()?, a[1].tensor()?));
    close(&outer.call(&[Argument::from(&x), Argument::from(&w)]).expect("it runs"), &eager);
}

#[test]
fn state_is_read_and_written_in_a_loop_under_a_tape() {
    let step = |v: &Variable, x: &Tensor| -> Result<Vec<Tensor>> {
        let tape = GradientTape::new();
        tape.watch(x)?;
        let out = while_loop(
            |c| c[0].sum(&[], false)?.lt(20.0),
            |c| Ok(vec![c[0].mul(&v.read()?)?.add(&c[0])?]),
            std::slice::from_ref(x),
        )?;
        let y = out[0].mul(&out[0])?.sum(&[], false)?;
        let g = tape.gradient(&y, &[v])?.remove(0).expect("a gradient flows");
        v.assign_sub(&g.mul(1e-4)?)?;
        Ok(vec![y, g])
    };
    let (here, there) = (tensor(&[0.9, 1.1]), tensor(&[0.9, 1.1]));
    let (here, there) = (Variable::new(&here, "v").expect("one"), Variable::new(&there, "v").expect("one"));
    let variable = there.clone();
    let staged = function("step", Options::default(), move |a| step(&variable, a[0].tensor()?));
    for turn in 0..3 {
        let x = tensor(&[1.0 + turn as f64, 0.5]);
        let eager = step(&here, &x).expect("the host runs the loop");
        close(&staged.call(&[Argument::from(&x)]).expect("the step runs"), &eager);
        close(&[there.current()], &[here.current()]);
    }
}

#[test]
fn a_loop_without_turns_hands_the_gradient_through() {
    let f: Pair = |x, w| {
        let out = while_loop(
            |c| c[0].sum(&[], false)?.gt(1e3),
            |c| Ok(vec![c[0].mul(w)?]),
            std::slice::from_ref(x),
        )?;
        out[0].mul(x)?.sum(&[], false)?.add(&w.sum(&[], false)?)
    };
    let (x, w) = inputs();
    let eager = twice(|x, w| x.mul(x)?.sum(&[], false)?.add(&w.sum(&[], false)?), &x, &w);
    let eager = eager.expect("two tapes");
    let staged = function("none", Options::default(), move |a| twice(f, a[0].tensor()?, a[1].tensor()?));
    let found = staged.call(&[Argument::from(&x), Argument::from(&w)]).expect("it runs");
    close(&found[..3], &eager[..3]);
}
