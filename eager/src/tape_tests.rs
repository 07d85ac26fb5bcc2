//! Golden behaviours of TensorFlow's `GradientTape`.

use crate::{GradientTape, Source, TapeOptions, Unconnected};
use runtime::{ErrorKind, Tensor, Variable, door};

fn constant(value: f64) -> Tensor {
    Tensor::scalar(value)
}

fn value(t: &Option<Tensor>) -> f64 {
    t.as_ref().unwrap().to_f64_vec().unwrap()[0]
}

#[test]
fn nested_tapes_differentiate_twice() {
    let x = Variable::new(&constant(1.0), "x").unwrap();
    let outer = GradientTape::new();
    let inner = GradientTape::new();
    let read = x.read().unwrap();
    let y = &(&read * &read) * &read;
    let dy = inner.gradient(&y, &[&x]).unwrap().remove(0);
    assert_eq!(value(&dy), 3.0);
    let ddy = outer.gradient(dy.as_ref().unwrap(), &[&x]).unwrap().remove(0);
    assert_eq!(value(&ddy), 6.0);
}

#[test]
fn temporaries_of_inner_tapes_stay_connected() {
    let x = constant(2.0);
    let outer = GradientTape::new();
    outer.watch(&x).unwrap();
    let dy = {
        let inner = GradientTape::new();
        inner.watch(&x).unwrap();
        let y = &(&(&x * &x) * &x) * &x;
        inner.gradient(&y, &[&x]).unwrap().remove(0).unwrap()
    };
    assert_eq!(value(&outer.gradient(&dy, &[&x]).unwrap()[0]), 48.0);
}

#[test]
fn persistent_tapes_answer_more_than_once() {
    let x = constant(3.0);
    let tape = GradientTape::persistent();
    tape.watch(&x).unwrap();
    let y = &x * &x;
    let z = &y * &y;
    tape.end();
    assert_eq!(value(&tape.gradient(&z, &[&x]).unwrap()[0]), 108.0);
    assert_eq!(value(&tape.gradient(&y, &[&x]).unwrap()[0]), 6.0);
    assert_eq!(value(&tape.gradient(&z, &[&y]).unwrap()[0]), 18.0);
}

#[test]
fn other_tapes_answer_once() {
    let x = constant(3.0);
    let tape = GradientTape::new();
    tape.watch(&x).unwrap();
    let y = &x * &x;
    tape.gradient(&y, &[&x]).unwrap();
    let error = tape.gradient(&y, &[&x]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gradient);
    assert!(error.message().contains("non-persistent"), "{error}");
}

#[test]
fn unconnected_sources() {
    let (x, z) = (constant(3.0), constant(1.0));
    let tape = GradientTape::persistent();
    tape.watch(&x).unwrap();
    tape.watch(&z).unwrap();
    let y = &x * &x;
    assert!(tape.gradient(&y, &[&z]).unwrap()[0].is_none());
    let zero = tape.gradient_with(&[&y], &[&z], None, Unconnected::Zero).unwrap();
    assert_eq!(value(&zero[0]), 0.0);
    assert_eq!(value(&tape.gradient(&x, &[&x]).unwrap()[0]), 1.0);
}

#[test]
fn what_is_not_watched_or_not_recorded_is_constant() {
    let x = constant(3.0);
    let tape = GradientTape::new();
    let y = &x * &x;
    assert!(tape.gradient(&y, &[&x]).unwrap()[0].is_none());

    let tape = GradientTape::new();
    tape.watch(&x).unwrap();
    let pause = tape.stop_recording();
    let c = &x * &x;
    drop(pause);
    let y = &c * &x;
    assert_eq!(value(&tape.gradient(&y, &[&x]).unwrap()[0]), 9.0);

    let frozen = Variable::with_trainable(&constant(2.0), "frozen", false).unwrap();
    let tape = GradientTape::new();
    let y = &frozen.read().unwrap() * 3.0;
    assert!(tape.gradient(&y, &[&frozen]).unwrap()[0].is_none());
    let tape = GradientTape::with_options(TapeOptions { persistent: false, watch_accessed_variables: false });
    tape.watch(&frozen).unwrap();
    let y = &frozen.read().unwrap() * 3.0;
    assert_eq!(value(&tape.gradient(&y, &[&frozen]).unwrap()[0]), 3.0);
    assert!(!door::in_scope());
    assert!(GradientTape::new().watch(&Tensor::scalar(1i64)).is_err());
}

#[test]
fn tensors_and_variables_together() {
    let (x, v) = (constant(3.0), Variable::new(&constant(5.0), "v").unwrap());
    let tape = GradientTape::new();
    tape.watch(&x).unwrap();
    let y = &x * &v.read().unwrap();
    let g = tape.gradient(&y, &[&Source::Tensor(&x), &Source::Variable(&v)]).unwrap();
    assert_eq!((value(&g[0]), value(&g[1])), (5.0, 3.0));
}

#[test]
fn a_variable_keeps_the_value_that_was_read() {
    let v = Variable::new(&constant(5.0), "v").unwrap();
    let tape = GradientTape::new();
    let before = v.read().unwrap();
    let y = &before * &before;
    v.assign_add(&constant(1.0)).unwrap();
    let z = &y * &v.read().unwrap();
    assert_eq!(z.to_f64_vec().unwrap(), [150.0]);
    // Both reads are reads of v: 2 * 5 * 6 + 25.
    assert_eq!(value(&tape.gradient(&z, &[&v]).unwrap()[0]), 85.0);
}

#[test]
fn sums_over_targets_and_elements() {
    let x = Tensor::from_slice(&[1.0, 2.0], &[2]).unwrap();
    let tape = GradientTape::persistent();
    tape.watch(&x).unwrap();
    let (y, z) = (&x * &x, &x * 3.0);
    tape.end();
    let g = tape.gradient(&y, &[&x]).unwrap().remove(0).unwrap();
    assert_eq!(g.to_f64_vec().unwrap(), [2.0, 4.0]);
    let weight = Tensor::from_slice(&[10.0, 20.0], &[2]).unwrap();
    let g = tape.gradient_with(&[&y, &z], &[&x], Some(&[Some(&weight), None]), Unconnected::None).unwrap();
    assert_eq!(g[0].as_ref().unwrap().to_f64_vec().unwrap(), [23.0, 83.0]);
}

#[test]
fn writes_to_what_a_tape_knows_are_refused() {
    let x = constant(1.0);
    let tape = GradientTape::new();
    tape.watch(&x).unwrap();
    let args = [runtime::Arg::Tensor(&x), runtime::Arg::Float(1.0)];
    let error = door::mutate(&runtime::ops::ADD, &args, runtime::Origin::caller()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InPlace);
}

#[test]
fn a_long_chain_on_a_tape() {
    let x = constant(1.0);
    let tape = GradientTape::new();
    tape.watch(&x).unwrap();
    let mut y = &x + 0.0;
    for _ in 0..100_000 {
        y = y.add(1.0).unwrap();
    }
    assert_eq!(value(&tape.gradient(&y, &[&x]).unwrap()[0]), 1.0);
}
