//! Functions with gradients of their own, checkpoints, hooks after accumulation and the search for NaN, as in torch.

use crate::{
    Autograd, BackwardOptions, Function, FunctionContext, GradOptions, apply, checkpoint, detect_anomaly,
    grad,
};
use runtime::error::{ErrorKind, Result};
use runtime::{Tensor, door, random};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

fn leaf(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, &[values.len()]).unwrap().requires_grad_(true).unwrap()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.detach().unwrap().to_f64_vec().unwrap()
}

fn total(t: &Tensor) -> Tensor {
    t.sum(&[], false).unwrap()
}

/// x * x * y, and whether x is positive.
struct Cube {
    once: bool,
}

impl Function for Cube {
    fn name(&self) -> &str {
        "Cube"
    }

    fn forward(&self, context: &mut FunctionContext, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        assert!(!door::grad_enabled(), "a forward is not recorded");
        context.save_for_backward(&[&inputs[0], &inputs[1]]);
        context.mark_non_differentiable(&[1]);
        let square = inputs[0].mul(&inputs[0])?;
        Ok(vec![square.mul(&inputs[1])?, square])
    }

    fn backward(
        &self,
        context: &FunctionContext,
        gradients: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let [x, y] = context.saved_tensors() else { panic!("two tensors were saved") };
        let g = gradients[0].as_ref().unwrap();
        assert!(gradients[1].is_none(), "no gradient comes through what is marked");
        let of_x = context.needs_input_grad(0).then(|| g.mul(x)?.mul(y)?.mul(2.0)).transpose()?;
        let of_y = context.needs_input_grad(1).then(|| g.mul(x)?.mul(x)).transpose()?;
        Ok(vec![of_x, of_y])
    }

    fn once_differentiable(&self) -> bool {
        self.once
    }
}

#[test]
fn a_function_is_differentiated_by_its_own_backward_and_again() {
    let (x, y) = (leaf(&[3.0]), leaf(&[2.0]));
    let out = apply(Cube { once: false }, &[&x, &y]).unwrap();
    assert!(out[0].requires_grad() && !out[1].requires_grad());
    assert_eq!(out[0].grad_fn().as_deref(), Some("Cube"));
    let create = GradOptions { create_graph: true, ..GradOptions::default() };
    let first = grad(&[&out[0]], &[&x, &y], create).unwrap();
    assert_eq!(values(first[0].as_ref().unwrap()), [12.0]);
    assert_eq!(values(first[1].as_ref().unwrap()), [9.0]);
    // d(2xy)/dx = 2y, d(2xy)/dy = 2x.
    let second = grad(&[first[0].as_ref().unwrap()], &[&x, &y], GradOptions::default()).unwrap();
    assert_eq!(values(second[0].as_ref().unwrap()), [4.0]);
    assert_eq!(values(second[1].as_ref().unwrap()), [6.0]);
}

#[test]
fn an_input_that_needs_no_gradient_gets_none() {
    let (x, y) = (leaf(&[3.0]), Tensor::from_slice(&[2.0], &[1]).unwrap());
    let out = apply(Cube { once: false }, &[&x, &y]).unwrap();
    out[0].backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [12.0]);
    assert!(y.grad().is_none());
}

#[test]
fn once_differentiable_is_differentiated_once() {
    let (x, y) = (leaf(&[3.0]), leaf(&[2.0]));
    let out = apply(Cube { once: true }, &[&x, &y]).unwrap();
    let create = GradOptions { create_graph: true, ..GradOptions::default() };
    let first = grad(&[&out[0]], &[&x], create).unwrap();
    assert_eq!(values(first[0].as_ref().unwrap()), [12.0]);
    let unused = GradOptions { allow_unused: true, ..GradOptions::default() };
    let error = grad(&[first[0].as_ref().unwrap()], &[&x], unused);
    // As in torch the gradient still has a history, which ends in an error when it is walked.
    let error = error.and_then(|_| first[0].as_ref().unwrap().backward()).unwrap_err();
    assert!(error.message().contains("once-differentiable"), "{error}");
}

#[test]
fn what_was_saved_must_not_be_overwritten() {
    let (x, y) = (leaf(&[3.0]), leaf(&[2.0]));
    let z = x.mul(1.0).unwrap();
    let out = apply(Cube { once: false }, &[&z, &y]).unwrap();
    door::mutate(
        &runtime::ops::MUL,
        &[runtime::Arg::Tensor(&z.detach().unwrap()), 2.0.into()],
        runtime::Origin::caller(),
    )
    .unwrap();
    let error = out[0].backward().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InPlace, "{error}");
}

#[test]
fn a_checkpoint_gives_the_same_gradients_and_runs_twice() {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let region = move |t: &[Tensor]| {
        counted.fetch_add(1, SeqCst);
        Ok(vec![t[0].mul(&t[0])?.mul(&t[1])?.sin()?])
    };
    let (x, y) = (leaf(&[0.5, 1.0]), leaf(&[2.0, 3.0]));
    let plain = region(&[x.clone(), y.clone()]).unwrap();
    let wanted = grad(&[&total(&plain[0])], &[&x, &y], GradOptions::default()).unwrap();
    runs.store(0, SeqCst);
    let out = checkpoint(region, &[&x, &y]).unwrap();
    assert_eq!(runs.load(SeqCst), 1);
    total(&out[0]).backward_with(BackwardOptions { retain_graph: Some(true), ..Default::default() }).unwrap();
    assert_eq!(runs.load(SeqCst), 2);
    assert_eq!(values(&x.grad().unwrap()), values(wanted[0].as_ref().unwrap()));
    assert_eq!(values(&y.grad().unwrap()), values(wanted[1].as_ref().unwrap()));
}

#[test]
fn checkpoints_nest_and_draw_the_same_numbers() {
    random::manual_seed(7).unwrap();
    let (x, seen) = (leaf(&[1.0, 2.0, 3.0]), Arc::new(Mutex::new(Vec::new())));
    let kept = seen.clone();
    let noisy = move |t: &[Tensor]| {
        let state = random::default_generator()?.next()?;
        kept.lock().unwrap().push(values(&state));
        Ok(vec![t[0].mul(&t[0])?])
    };
    let outer = move |t: &[Tensor]| checkpoint(noisy.clone(), &[&t[0].mul(3.0)?]);
    let out = checkpoint(outer, &[&x]).unwrap();
    let after = values(&random::default_generator().unwrap().state().unwrap());
    total(&out[0]).backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [18.0, 36.0, 54.0]);
    let draws = seen.lock().unwrap().clone();
    assert_eq!(draws.len(), 3, "the forward, the outer one again, the inner one again");
    assert!(draws.iter().all(|d| *d == draws[0]), "{draws:?}");
    assert_eq!(values(&random::default_generator().unwrap().state().unwrap()), after, "the stream goes on");
}

#[test]
fn a_checkpoint_refuses_what_it_would_lose() {
    let (x, w) = (leaf(&[1.0]), leaf(&[2.0]));
    let captured = w.clone();
    let out = checkpoint(move |t| Ok(vec![t[0].mul(&captured)?]), &[&x]).unwrap();
    let error = out[0].backward().unwrap_err();
    assert!(error.message().contains("no input"), "{error}");
}

#[test]
fn hooks_after_accumulation_see_the_sum_and_go() {
    let x = leaf(&[1.0, 2.0]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (first, second) = (seen.clone(), seen.clone());
    let handle = x
        .register_post_accumulate_grad_hook(move |t| {
            first.lock().unwrap().push((1, values(&t.grad().unwrap())));
            Ok(())
        })
        .unwrap();
    x.register_post_accumulate_grad_hook(move |t| {
        second.lock().unwrap().push((2, values(&t.grad().unwrap())));
        t.zero_grad();
        Ok(())
    })
    .unwrap();
    // Each use contributes; the hook runs once for their sum.
    total(&x.mul(2.0).unwrap().add(&x).unwrap()).backward().unwrap();
    assert_eq!(*seen.lock().unwrap(), [(1, vec![3.0, 3.0]), (2, vec![3.0, 3.0])]);
    assert!(x.grad().is_none());
    handle.remove();
    total(&x).backward().unwrap();
    assert_eq!(seen.lock().unwrap().len(), 3);
    // `grad` accumulates nothing.
    grad(&[&total(&x)], &[&x], GradOptions::default()).unwrap();
    assert_eq!(seen.lock().unwrap().len(), 3);
    assert!(x.mul(2.0).unwrap().register_post_accumulate_grad_hook(|_| Ok(())).is_err());
}

#[test]
fn the_line_whose_gradient_is_nan_is_named() {
    let x = leaf(&[0.0, 1.0]);
    let line = line!() + 1;
    let root = x.sqrt().unwrap();
    let out = total(&root.mul(0.0).unwrap());
    let retain = BackwardOptions { retain_graph: Some(true), ..Default::default() };
    out.backward_with(retain).unwrap();
    assert!(values(&x.grad().unwrap())[0].is_nan());
    let error = {
        let _looked = detect_anomaly();
        out.backward_with(retain).unwrap_err()
    };
    assert!(error.message().contains("'sqrt'"), "{error}");
    assert_eq!(error.origin().unwrap().line(), line);
    out.backward().unwrap();
}
