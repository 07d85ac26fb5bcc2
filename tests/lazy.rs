//! `lazy`: what waits, what runs it, and that nothing but the time of running differs from eager.

use eager::prelude::Autograd;
use graph::Options;
use graph::lazy::{Lazy, LazyOptions, Why};
use models::optim::{Adam, Sgd, Step};
use runtime::{Arg, DType, DeviceId, ErrorKind, Origin, Result, Tensor, Variable, door, ops};

fn exact() -> Lazy {
    Lazy::new(LazyOptions { compile: Options { exact: true, ..Options::default() }, limit: 10_000 })
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, &[values.len()]).expect("values fill their shape")
}

fn numbers(t: &Tensor) -> Vec<f64> {
    t.to_f64_vec().expect("it can be read")
}

fn write(op: &'static runtime::table::OpDef, target: &Tensor, with: &Tensor) -> Result<()> {
    door::mutate(op, &[Arg::Tensor(target), Arg::Tensor(with)], Origin::caller())
}

#[test]
fn nothing_runs_before_someone_looks() {
    let lazy = exact();
    let x = vector(&[1.0, 2.0, 3.0]);
    let _scope = lazy.enter();
    let y = x.add(&x).unwrap().mul(2.0).unwrap();
    let dropped = x.exp().unwrap().log().unwrap();
    assert!(y.pending().is_some());
    assert_eq!((lazy.waiting(), lazy.counters().flushes), (4, 0));
    drop(dropped);
    assert_eq!(numbers(&y), [4.0, 8.0, 12.0]);
    assert!(y.pending().is_none());
    let flush = lazy.flushes()[0];
    assert_eq!((flush.why, flush.operations, flush.results, flush.hit), (Why::Values, 4, 1, false));
    assert!(flush.origin.to_string().contains("lazy.rs"), "{}", flush.origin);
    // What nobody holds was not computed: only the two operations of y are in the compiled graph.
    let compiled = &lazy.graphs()[0];
    assert_eq!(compiled.runner.graph().count("exp"), 0);
    assert_eq!(lazy.waiting(), 0);
}

#[test]
fn equal_graphs_are_compiled_once_whatever_tensors_hold() {
    let lazy = exact();
    for turn in 0..5 {
        let x = vector(&[turn as f32, 1.0]);
        let _scope = lazy.enter();
        let y = x.mul(&x).unwrap().sum(&[], false).unwrap();
        assert_eq!(numbers(&y), [(turn * turn) as f64 + 1.0]);
    }
    let counters = lazy.counters();
    assert_eq!((counters.flushes, counters.hits, counters.compiled), (5, 4, 1));
    assert_eq!(counters.operations, 10);
    // Another shape, another element type, another host operand: other graphs.
    let _scope = lazy.enter();
    for (x, by) in [
        (vector(&[1.0, 2.0, 3.0]), 2.0),
        (vector(&[1.0, 2.0, 3.0]).to(DType::F64).unwrap(), 2.0),
        (vector(&[1.0, 2.0, 3.0]), 3.0),
    ] {
        lazy.mark_step().unwrap();
        numbers(&x.mul(by).unwrap());
    }
    assert_eq!((lazy.counters().compiled - counters.compiled, lazy.counters().hits), (4, 4));
}

#[test]
fn a_barrier_runs_what_is_alive_and_a_second_one_nothing() {
    let lazy = exact();
    let scope = lazy.enter();
    let y = vector(&[1.0]).add(1.0).unwrap();
    lazy.mark_step().unwrap();
    assert!(y.pending().is_none());
    assert_eq!(lazy.flushes()[0].why, Why::Barrier);
    lazy.mark_step().unwrap();
    drop(scope);
    assert_eq!(lazy.counters().flushes, 1);
}

#[test]
fn a_loop_without_end_does_not_grow_without_end() {
    let lazy = Lazy::new(LazyOptions { limit: 50, ..LazyOptions::default() });
    let _scope = lazy.enter();
    let mut x = vector(&[0.0]);
    for _ in 0..1000 {
        x = x.add(1.0).unwrap();
        assert!(lazy.waiting() <= 50);
    }
    assert_eq!(numbers(&x), [1000.0]);
    let counters = lazy.counters();
    assert!(counters.flushes >= 20 && counters.compiled <= 3, "{counters:?}");
    assert!(lazy.flushes().iter().any(|f| f.why == Why::Limit));
}

#[test]
fn writes_are_seen_through_views_and_by_who_looks_at_memory() {
    for deferred in [false, true] {
        let lazy = exact();
        let memory = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
        let outside = memory.alias();
        let scope = deferred.then(|| lazy.enter());
        let made = memory.mul(1.0).unwrap();
        let row = made.select(0, 1).unwrap();
        let column = made.permute(&[1, 0]).unwrap().select(0, 0).unwrap();
        let before = made.add(0.0).unwrap();
        write(&ops::ADD, &row, &vector(&[10.0, 20.0])).unwrap();
        write(&ops::MUL, &column, &vector(&[-1.0, -2.0])).unwrap();
        write(&ops::ADD, &memory, &made).unwrap();
        let flat = memory.reshape(&[4]).unwrap();
        write(&ops::MUL, &flat, &vector(&[1.0, 1.0, 1.0, 2.0])).unwrap();
        assert_eq!(numbers(&before), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(numbers(&made), [-1.0, 2.0, -26.0, 24.0]);
        assert_eq!((numbers(&row), numbers(&column)), (vec![-26.0, 24.0], vec![-1.0, -26.0]));
        assert_eq!(numbers(&outside), [0.0, 4.0, -23.0, 56.0]);
        // After it ran, they still share memory.
        write(&ops::ADD, &row, &vector(&[1.0, 1.0])).unwrap();
        assert_eq!(numbers(&made)[2..], [-25.0, 25.0]);
        drop(scope);
        assert_eq!(numbers(&column)[1], -25.0);
    }
}

#[test]
fn an_old_value_outlives_the_write_that_replaces_it() {
    let lazy = exact();
    let x = vector(&[1.0, 2.0]);
    let _scope = lazy.enter();
    let old = x.copy().unwrap();
    let sum = x.add(0.0).unwrap();
    write(&ops::ADD, &x, &vector(&[5.0, 5.0])).unwrap();
    let new = x.copy().unwrap();
    lazy.mark_step().unwrap();
    write(&ops::ADD, &new, &x).unwrap();
    assert_eq!((numbers(&old), numbers(&sum)), (vec![1.0, 2.0], vec![1.0, 2.0]));
    assert_eq!((numbers(&x), numbers(&new)), (vec![6.0, 7.0], vec![12.0, 14.0]));
}

#[test]
fn errors_of_shape_come_at_once_with_their_line() {
    let lazy = exact();
    let _scope = lazy.enter();
    let x = vector(&[1.0, 2.0]).add(1.0).unwrap();
    let line = line!() + 1;
    let error = x.matmul(&Tensor::zeros(&[3, 3], DType::F32, DeviceId::Cpu).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().contains(&format!("lazy.rs:{line}")), "{error}");
    assert_eq!(numbers(&x), [2.0, 3.0]);
}

#[test]
fn an_error_of_values_comes_where_someone_looks() {
    let lazy = exact();
    let scope = lazy.enter();
    let bad = Tensor::from_slice(&[1f32, 2.0, 2.0, 1.0], &[2, 2]).unwrap();
    let factor = bad.linalg_cholesky(false).unwrap();
    drop(scope);
    let error = factor.to_f64_vec().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Value, "{error}");
    assert_eq!(factor.add(1.0).unwrap_err().kind(), ErrorKind::Value);
}

#[test]
fn a_deferred_tensor_defers_what_uses_it_without_a_scope() {
    let lazy = exact();
    let scope = lazy.enter();
    let x = vector(&[1.0, 2.0]).add(1.0).unwrap();
    std::thread::scope(|threads| {
        let seen = threads.spawn(|| {
            let y = x.mul(2.0).unwrap();
            assert!(y.pending().is_some());
            numbers(&y)
        });
        assert_eq!(seen.join().unwrap(), [4.0, 6.0]);
    });
    drop(scope);
    assert!(x.mul(2.0).unwrap().pending().is_none());
}

#[test]
fn random_draws_are_two_draws_and_those_of_eager() {
    let draw = || -> Result<(Vec<f64>, Vec<f64>)> {
        runtime::random::manual_seed(7)?;
        let a = Tensor::rand(&[4], DType::F32, DeviceId::Cpu)?;
        let b = Tensor::rand(&[4], DType::F32, DeviceId::Cpu)?;
        Ok((a.to_f64_vec()?, b.to_f64_vec()?))
    };
    let expected = draw().unwrap();
    let lazy = exact();
    let _scope = lazy.enter();
    let found = draw().unwrap();
    assert_eq!(found, expected);
    assert_ne!(found.0, found.1);
}

fn losses(steps: usize, lazy: Option<&Lazy>, adam: bool) -> (Vec<f64>, Vec<Vec<f64>>) {
    let leaf = |values: &[f32], dims: &[usize]| {
        Tensor::from_slice(values, dims).unwrap().requires_grad_(true).unwrap()
    };
    let weights = vec![leaf(&[0.1, -0.2, 0.3, 0.4, 0.5, -0.6], &[3, 2]), leaf(&[0.0, 0.1], &[2])];
    let x = Tensor::from_slice(&[1f32, 2.0, 3.0, -1.0, 0.5, 2.0], &[2, 3]).unwrap();
    let mut sgd = Sgd::new(weights.clone(), 0.1).momentum(0.9).unwrap();
    let mut by_adam = Adam::new(weights.clone(), 0.01).unwrap();
    let mut out = Vec::new();
    for _ in 0..steps {
        let _scope = lazy.map(Lazy::enter);
        weights.iter().for_each(Autograd::zero_grad);
        let y = x.matmul(&weights[0]).unwrap().add(&weights[1]).unwrap().tanh().unwrap();
        let loss = y.mul(&y).unwrap().sum(&[], false).unwrap();
        loss.backward().unwrap();
        match adam {
            true => by_adam.step().unwrap(),
            false => sgd.step().unwrap(),
        }
        if let Some(lazy) = lazy {
            assert!(loss.pending().is_some(), "a look ended the step");
            lazy.mark_step().unwrap();
        }
        out.push(loss.item().unwrap().to_f64());
    }
    (out, weights.iter().map(numbers).collect())
}

#[test]
fn a_training_is_one_graph_for_each_step_and_the_same_bits() {
    for adam in [false, true] {
        let expected = losses(6, None, adam);
        let lazy = exact();
        assert_eq!(losses(6, Some(&lazy), adam), expected);
        let counters = lazy.counters();
        assert_eq!(counters.flushes, 6);
        assert!(counters.compiled <= 2, "{counters:?}");
    }
}

#[test]
fn what_autograd_kept_may_not_be_overwritten() {
    let lazy = exact();
    let _scope = lazy.enter();
    let x = vector(&[1.0, 2.0]).requires_grad_(true).unwrap();
    let y = x.exp().unwrap();
    let loss = y.mul(&y).unwrap().sum(&[], false).unwrap();
    lazy.mark_step().unwrap();
    {
        let _no_grad = eager::no_grad();
        write(&ops::ADD, &y, &vector(&[1.0, 1.0])).unwrap();
    }
    assert_eq!(loss.backward().unwrap_err().kind(), ErrorKind::InPlace);
    // A write before the barrier counts once, not again when it is carried out.
    let z = x.mul(2.0).unwrap();
    write(&ops::ADD, &z, &vector(&[1.0, 1.0])).unwrap();
    let loss = z.mul(&z).unwrap().sum(&[], false).unwrap();
    lazy.mark_step().unwrap();
    loss.backward().unwrap();
    assert_eq!(numbers(&x.grad().unwrap()), [12.0, 20.0]);
}

#[test]
fn variables_and_tapes_work_on_top() {
    let v = Variable::new(&vector(&[2.0, 3.0]), "v").unwrap();
    let lazy = exact();
    for _ in 0..3 {
        let _scope = lazy.enter();
        let tape = eager::GradientTape::new();
        let read = v.read().unwrap();
        let y = read.mul(&read).unwrap().sum(&[], false).unwrap();
        let gradient = tape.gradient(&y, &[&v]).unwrap().remove(0).unwrap();
        drop(tape);
        v.assign_sub(&gradient.mul(0.25).unwrap()).unwrap();
    }
    assert_eq!(numbers(&v.current()), [0.25, 0.375]);
    assert_eq!(lazy.counters().compiled, 1);
}
