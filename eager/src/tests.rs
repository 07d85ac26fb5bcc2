//! Golden behaviours of torch's autograd.

use crate::prelude::*;
use runtime::ErrorKind;
use runtime::door::{self, Outputs};
use runtime::{Arg, DType, Origin, Tensor, ops};

fn leaf(data: &[f64]) -> Tensor {
    Tensor::from_slice(data, &[data.len()]).unwrap().requires_grad_(true).unwrap()
}

fn scalar(value: f64) -> Tensor {
    Tensor::scalar(value).requires_grad_(true).unwrap()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.to_f64_vec().unwrap()
}

fn add_in_place<'a>(t: &'a Tensor, other: impl Into<Arg<'a>>) -> runtime::Result<()> {
    door::mutate(&ops::ADD, &[Arg::Tensor(t), other.into()], Origin::caller())
}

fn mul_in_place(t: &Tensor, other: Arg) -> runtime::Result<()> {
    door::mutate(&ops::MUL, &[Arg::Tensor(t), other], Origin::caller())
}

#[test]
fn cube_has_first_and_second_derivatives() {
    let x = scalar(2.0);
    let y = &(&x * &x) * &x;
    let options = GradOptions { create_graph: true, ..GradOptions::default() };
    let dx = grad(&[&y], &[&x], options).unwrap().remove(0).unwrap();
    assert_eq!(values(&dx), [12.0]);
    let ddx = grad(&[&dx], &[&x], GradOptions::default()).unwrap().remove(0).unwrap();
    assert_eq!(values(&ddx), [12.0]);
    assert!(x.grad().is_none());
}

#[test]
fn a_graph_that_saved_nothing_can_be_walked_twice() {
    let x = scalar(1.0);
    let y = &x + 1.0;
    y.backward().unwrap();
    y.backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [2.0]);
    let scaled = &x * 3.0;
    scaled.backward().unwrap();
    scaled.backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [8.0]);
}

#[test]
fn a_graph_that_saved_something_is_freed() {
    let x = scalar(3.0);
    let y = &x * &x;
    let keep = BackwardOptions { retain_graph: Some(true), ..BackwardOptions::default() };
    y.backward_with(keep).unwrap();
    y.backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [12.0]);
    let error = y.backward().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gradient);
    assert!(error.message().contains("second time"), "{error}");
}

#[test]
fn a_saved_tensor_that_was_overwritten_is_an_error() {
    let x = leaf(&[1.0, 2.0]);
    let h = &x + 0.0;
    let y = h.mul(&h).unwrap();
    add_in_place(&h, 1.0).unwrap();
    let error = y.sum(&[], false).unwrap().backward().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InPlace);
    assert!(error.message().contains("mul") && error.message().contains("expected version 0"), "{error}");
    assert!(error.message().contains("at version 1"), "{error}");
    assert!(error.origin().unwrap().file().ends_with("tests.rs"));
}

#[test]
fn versions_are_shared_by_views_and_detached_aliases() {
    let x = leaf(&[1.0, 2.0]);
    let h = &x + 0.0;
    let y = h.mul(&h).unwrap();
    add_in_place(&h.detach().unwrap(), 1.0).unwrap();
    assert_eq!(y.sum(&[], false).unwrap().backward().unwrap_err().kind(), ErrorKind::InPlace);
}

#[test]
fn scaling_in_place_by_a_number_saves_nothing() {
    let x = leaf(&[1.0, 2.0]);
    let h = &x + 0.0;
    mul_in_place(&h, Arg::Float(3.0)).unwrap();
    assert_eq!(h.grad_fn().unwrap(), "mul");
    h.sum(&[], false).unwrap().backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [3.0, 3.0]);
}

#[test]
fn in_place_rebases_history() {
    let (x, w) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
    let h = Tensor::from_slice(&[1.0, 1.0], &[2]).unwrap();
    assert!(!h.requires_grad());
    add_in_place(&h, 1.0).unwrap();
    mul_in_place(&h, Arg::Tensor(&x)).unwrap();
    mul_in_place(&h, Arg::Tensor(&w)).unwrap();
    add_in_place(&h, Arg::Tensor(&w)).unwrap();
    h.sum(&[], false).unwrap().backward().unwrap();
    // h = 2 x w + w: what h was at each product is the gradient of the other factor.
    assert_eq!(values(&x.grad().unwrap()), [6.0, 8.0]);
    assert_eq!(values(&w.grad().unwrap()), [3.0, 5.0]);
}

#[test]
fn leaves_refuse_writes_outside_of_no_grad() {
    let x = leaf(&[1.0]);
    let error = add_in_place(&x, 1.0).unwrap_err();
    assert_eq!((error.kind(), error.op()), (ErrorKind::InPlace, Some("add")));
    let guard = no_grad();
    add_in_place(&x, 1.0).unwrap();
    drop(guard);
    assert_eq!(values(&x), [2.0]);
    assert!(x.is_leaf() && x.requires_grad());
}

#[test]
fn guards_may_close_in_any_order() {
    let x = scalar(2.0);
    let a = no_grad();
    let b = enable_grad();
    assert!((&x * 2.0).requires_grad());
    drop(b);
    assert!(!(&x * 2.0).requires_grad());
    drop(a);
    assert!((&x * 2.0).requires_grad());
    let a = no_grad();
    let b = no_grad();
    drop(a);
    assert!(!(&x * 2.0).requires_grad(), "one guard is still open");
    drop(b);
    assert!((&x * 2.0).requires_grad());
}

#[test]
fn only_floats_require_gradients() {
    let error = Tensor::scalar(1i64).requires_grad_(true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gradient);
    assert!(!Tensor::scalar(1i64).requires_grad_(false).unwrap().requires_grad());
}

#[test]
fn several_elements_need_a_gradient() {
    let x = leaf(&[1.0, 2.0]);
    let y = &x * 2.0;
    assert!(y.backward().unwrap_err().message().contains("one element"));
    let g = Tensor::from_slice(&[1.0, 10.0], &[2]).unwrap();
    y.backward_with(BackwardOptions { gradient: Some(&g), ..BackwardOptions::default() }).unwrap();
    assert_eq!(values(&x.grad().unwrap()), [2.0, 20.0]);
    let wrong = Tensor::scalar(1.0);
    y.backward_with(BackwardOptions { gradient: Some(&wrong), ..BackwardOptions::default() }).unwrap_err();
    assert!(Tensor::scalar(1.0).backward().unwrap_err().message().contains("no history"));
}

#[test]
fn unused_inputs() {
    let (x, z) = (scalar(1.0), scalar(1.0));
    let y = &x + 1.0;
    assert!(grad(&[&y], &[&x, &z], GradOptions::default()).is_err());
    let options = GradOptions { allow_unused: true, ..GradOptions::default() };
    let g = grad(&[&y], &[&x, &z], options).unwrap();
    assert_eq!((values(g[0].as_ref().unwrap()), g[1].is_none()), (vec![1.0], true));
    let y = &x + 1.0;
    let options = GradOptions { materialize_grads: true, ..GradOptions::default() };
    let g = grad(&[&y], &[&x, &z], options).unwrap();
    assert_eq!((values(g[0].as_ref().unwrap()), values(g[1].as_ref().unwrap())), (vec![1.0], vec![0.0]));
}

#[test]
fn gradients_of_inner_tensors() {
    let x = scalar(3.0);
    let h = &x * &x;
    let y = &h * 5.0;
    let g = grad(&[&y], &[&h], GradOptions { retain_graph: Some(true), ..GradOptions::default() }).unwrap();
    assert_eq!(values(g[0].as_ref().unwrap()), [5.0]);
    assert!(h.grad().is_none() && !h.is_leaf());
    h.retain_grad().unwrap();
    y.backward().unwrap();
    assert_eq!((values(&h.grad().unwrap()), values(&x.grad().unwrap())), (vec![5.0], vec![30.0]));
}

#[test]
fn chosen_inputs_alone_get_gradients() {
    let (a, b) = (scalar(3.0), scalar(4.0));
    let y = &a * &b;
    y.backward_with(BackwardOptions { inputs: Some(&[&a]), ..BackwardOptions::default() }).unwrap();
    assert_eq!(values(&a.grad().unwrap()), [4.0]);
    assert!(b.grad().is_none());
}

#[test]
fn hooks_replace_gradients() {
    let x = scalar(3.0);
    let h = &x * 2.0;
    let doubled = h.register_hook(|g| g.mul(2.0).map(Some)).unwrap();
    h.backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [4.0]);
    doubled.remove();
    x.zero_grad();
    let on_leaf = x.register_hook(|g| g.mul(10.0).map(Some)).unwrap();
    h.backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [20.0]);
    on_leaf.remove();
}

#[test]
fn shared_first_gradients_are_not_shared_afterwards() {
    let (x, y) = (leaf(&[1.0, 2.0]), leaf(&[3.0, 4.0]));
    let z = (&x + &y).sum(&[], false).unwrap();
    z.backward().unwrap();
    let _guard = no_grad();
    mul_in_place(&x.grad().unwrap(), Arg::Float(7.0)).unwrap();
    assert_eq!((values(&x.grad().unwrap()), values(&y.grad().unwrap())), (vec![7.0, 7.0], vec![1.0, 1.0]));
}

#[test]
fn broadcast_products_have_gradients_of_the_operands_shapes() {
    let a = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])
        .unwrap()
        .requires_grad_(true)
        .unwrap();
    let b = Tensor::from_slice(&[10.0f32, 20.0, 30.0], &[3]).unwrap().requires_grad_(true).unwrap();
    a.mul(&b).unwrap().sum(&[], false).unwrap().backward().unwrap();
    assert_eq!(values(&a.grad().unwrap()), [10.0, 20.0, 30.0, 10.0, 20.0, 30.0]);
    assert_eq!(values(&b.grad().unwrap()), [5.0, 7.0, 9.0]);
}

#[test]
fn a_million_operations_neither_recurse_backward_nor_on_drop() {
    let x = scalar(1.0);
    let mut y = &x + 0.0;
    for _ in 0..1_000_000 {
        y = y.add(1.0).unwrap();
    }
    y.backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [1.0]);
    drop(y);
}

#[test]
fn dropped_graphs_leave_nothing_behind() {
    let live = runtime::alloc::stats().live_bytes;
    for _ in 0..10 {
        let x = leaf(&[1.0; 100]);
        let h = Tensor::from_slice(&[1.0; 100], &[100]).unwrap();
        let y = h.mul(&x).unwrap();
        door::mutate(&ops::ADD, &[Arg::Tensor(&h), Arg::Tensor(&y)], Origin::caller()).unwrap();
        let z = h.mul(&h).unwrap();
        let _ = z.sum(&[], false).unwrap();
    }
    assert_eq!(runtime::alloc::stats().live_bytes, live);
}

#[test]
fn nodes_made_by_other_threads_come_first() {
    let x = scalar(2.0);
    let y = std::thread::scope(|s| {
        s.spawn(|| {
            let mut y = &x * 3.0;
            for _ in 0..10 {
                y = &y + &x;
            }
            y
        })
        .join()
        .unwrap()
    });
    let z = &(&y * &y) + &(&x * &y);
    z.backward().unwrap();
    // y = 13 x, z = 182 x^2.
    assert_eq!(values(&x.grad().unwrap()), [728.0]);
}

/// y = x^2 with a gradient that is ten times too large.
struct Steep;

impl runtime::callable::Callable for Steep {
    fn name(&self) -> &str {
        "steep"
    }
    fn infer(&self, args: &[runtime::infer::TensorType]) -> runtime::Result<runtime::infer::Types> {
        Ok(args.iter().cloned().collect())
    }
    fn run(&self, args: &[Tensor]) -> runtime::Result<Outputs> {
        Ok([args[0].mul(&args[0])?].into_iter().collect())
    }
    fn run_with_residuals(
        &self,
        args: &[Tensor],
    ) -> runtime::Result<(Outputs, runtime::callable::Residuals)> {
        Ok((self.run(args)?, [args[0].clone(), args[0].mul(1.0)?].into_iter().collect()))
    }
    fn vjp(
        self: std::sync::Arc<Self>,
        _args: &[Tensor],
        residuals: &[Tensor],
        cotangents: &[Option<Tensor>],
        _: runtime::callable::Ask,
    ) -> runtime::Result<runtime::callable::ArgGradients> {
        let dy = cotangents[0].as_ref().unwrap();
        let x = if dy.numel() == 1 { &residuals[0] } else { &residuals[1] };
        Ok([Some(dy.mul(x)?.mul(20.0)?)].into_iter().collect())
    }
}

#[test]
fn custom_functions() {
    let steep: std::sync::Arc<dyn runtime::callable::Callable> = std::sync::Arc::new(Steep);
    let call = |x: &Tensor| door::call(&steep, std::slice::from_ref(x), Origin::caller()).unwrap().remove(0);
    let x = scalar(3.0);
    let y = call(&x);
    assert_eq!(y.grad_fn().unwrap(), "steep");
    let options = GradOptions { create_graph: true, ..GradOptions::default() };
    let dx = grad(&[&y], &[&x], options).unwrap().remove(0).unwrap();
    assert_eq!(values(&dx), [60.0]);
    let ddx = grad(&[&dx], &[&x], GradOptions::default()).unwrap().remove(0).unwrap();
    assert_eq!(values(&ddx), [20.0]);
    // A residual from the inside of the call has no second derivative, and says so.
    let x = leaf(&[1.0, 2.0]);
    let y = call(&x);
    let ones = Tensor::from_slice(&[1.0, 1.0], &[2]).unwrap();
    let given = [Some(&ones)];
    let options = GradOptions { create_graph: true, grad_outputs: Some(&given), ..GradOptions::default() };
    let dx = grad(&[&y], &[&x], options).unwrap().remove(0).unwrap();
    let error = dx.sum(&[], false).unwrap().backward().unwrap_err();
    assert!(error.message().contains("inside"), "{error}");
}

#[test]
fn types_survive() {
    let x = Tensor::from_slice(&[1.0f32, 2.0], &[2]).unwrap().requires_grad_(true).unwrap();
    let y = x.to(DType::F64).unwrap().sum(&[], false).unwrap();
    y.backward().unwrap();
    assert_eq!(x.grad().unwrap().dtype(), DType::F32);
}

fn iota(n: usize) -> Tensor {
    Tensor::from_slice(&(0..n).map(|i| i as f64).collect::<Vec<_>>(), &[n]).unwrap()
}

#[test]
fn a_write_through_a_view_gives_the_base_a_new_history() {
    let w = leaf(&[10.0, 20.0]);
    let base = Tensor::zeros(&[2, 2], DType::F64, runtime::DeviceId::Cpu).unwrap();
    let row = base.select(0, 1).unwrap();
    let corner = base.select(0, 1).unwrap().select(0, 0).unwrap();
    add_in_place(&row, &w).unwrap();
    assert!(base.requires_grad() && row.requires_grad() && corner.requires_grad());
    assert_eq!(values(&base), [0.0, 0.0, 10.0, 20.0]);
    let weights = iota(4).reshape(&[2, 2]).unwrap();
    base.mul(&weights).unwrap().sum(&[], false).unwrap().backward().unwrap();
    assert_eq!(values(&w.grad().unwrap()), [2.0, 3.0]);
    w.zero_grad();
    (&corner * 7.0).backward().unwrap();
    assert_eq!(values(&w.grad().unwrap()), [7.0, 0.0]);
    w.zero_grad();
    row.sum(&[], false).unwrap().backward().unwrap();
    assert_eq!(values(&w.grad().unwrap()), [1.0, 1.0]);
}

#[test]
fn a_write_through_a_view_of_a_computed_tensor() {
    let x = leaf(&[1.0, 2.0, 3.0, 4.0]);
    let h = &x * 2.0;
    let odd = h.slice(0, Some(1), None, 2).unwrap();
    mul_in_place(&odd, Arg::Float(10.0)).unwrap();
    h.sum(&[], false).unwrap().backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [2.0, 20.0, 2.0, 20.0]);
    // A write to the base reaches the views made before.
    x.zero_grad();
    let h = &x * 2.0;
    let first = h.select(0, 0).unwrap();
    mul_in_place(&h, Arg::Float(3.0)).unwrap();
    first.backward().unwrap();
    assert_eq!(values(&x.grad().unwrap()), [6.0, 0.0, 0.0, 0.0]);
}

#[test]
fn views_of_leaves_and_views_made_without_gradients_refuse_writes() {
    let x = leaf(&[1.0, 2.0]);
    let w = scalar(1.0);
    assert_eq!(add_in_place(&x.select(0, 0).unwrap(), 1.0).unwrap_err().kind(), ErrorKind::InPlace);
    let h = &x * 2.0;
    let guard = no_grad();
    let part = h.select(0, 0).unwrap();
    drop(guard);
    assert!(!part.requires_grad());
    assert_eq!(add_in_place(&part, &w).unwrap_err().kind(), ErrorKind::InPlace);
    assert_eq!(add_in_place(&part, 1.0).unwrap_err().kind(), ErrorKind::InPlace);
    let apart = h.detach().unwrap();
    add_in_place(&apart, &w).unwrap();
    assert!(apart.requires_grad() && h.grad_fn().unwrap() == "mul");
    // A leaf that looks at memory without a history.
    let half = iota(4).slice(0, None, Some(2), 1).unwrap().requires_grad_(true).unwrap();
    let first = half.select(0, 0).unwrap();
    assert_eq!(add_in_place(&first, 1.0).unwrap_err().kind(), ErrorKind::InPlace);
}

#[test]
fn one_of_several_views_refuses_writes_with_gradients() {
    let h = &leaf(&[1.0, 2.0, 3.0, 4.0]) * 2.0;
    let siblings = [
        h.unbind(0).unwrap(),
        h.split(2, 0).unwrap(),
        h.chunk(2, 0).unwrap(),
        h.split_sizes(&[1, 3], 0).unwrap(),
    ];
    for view in siblings.iter().flatten() {
        let error = add_in_place(view, 1.0).unwrap_err();
        assert!(error.to_string().contains("one of several views"), "{error}");
    }
    let within = siblings[1][0].slice(0, None, Some(1), 1).unwrap();
    assert_eq!(add_in_place(&within, 1.0).unwrap_err().kind(), ErrorKind::InPlace);
    // Without gradients, and through a view of its own, they may be written.
    add_in_place(&h.detach().unwrap().unbind(0).unwrap()[0], 1.0).unwrap();
    add_in_place(&h.select(0, 1).unwrap(), 1.0).unwrap();
    assert_eq!(values(&h), [3.0, 5.0, 6.0, 8.0]);
}

#[test]
fn a_write_whose_operand_lies_partly_under_it_is_refused() {
    let y = iota(5);
    let (front, back) = (y.slice(0, None, Some(4), 1).unwrap(), y.slice(0, Some(1), None, 1).unwrap());
    let error = add_in_place(&back, &front).unwrap_err();
    assert!(error.kind() == ErrorKind::InPlace && error.to_string().contains("share some"), "{error}");
    let square = iota(4).reshape(&[2, 2]).unwrap();
    assert_eq!(add_in_place(&square, &square.t().unwrap()).unwrap_err().kind(), ErrorKind::InPlace);
    // All of them in the same places, none, or with gaps, which torch does not look into either.
    add_in_place(&y, &y).unwrap();
    add_in_place(&y.slice(0, None, Some(2), 1).unwrap(), &y.slice(0, Some(2), Some(4), 1).unwrap()).unwrap();
    add_in_place(&y.slice(0, None, None, 2).unwrap(), &y.slice(0, Some(2), None, 1).unwrap()).unwrap();
    assert_eq!(values(&y)[1], 8.0);
}

#[test]
fn a_chain_recorded_on_two_threads_is_dropped_on_a_third() {
    let leaf = leaf(&[1.0, 2.0]);
    let halves: Vec<Tensor> = (0..2)
        .map(|_| {
            let leaf = leaf.clone();
            let grow = move || (0..50_000).fold(leaf, |x, _| x.add(1.0).unwrap());
            std::thread::spawn(grow).join().unwrap()
        })
        .collect();
    let sum = halves[0].add(&halves[1]).unwrap();
    drop(halves);
    assert_eq!(sum.grad_fn().as_deref(), Some("add"));
    std::thread::spawn(move || drop(sum)).join().unwrap();
    assert_eq!(leaf.handles(), 1);
}
