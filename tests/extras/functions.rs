//! Functions with gradients of their own, and checkpoints.

use super::{Behaviour, Outcome, creating, flat, gradients, leaf, one, retaining, total, unused};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use trifold::runtime::{Arg, Origin, door, ops};
use trifold::torch::autograd::{Function, FunctionContext, apply};
use trifold::torch::utils::checkpoint;
use trifold::torch::{Autograd as _, BackwardOptions, GradOptions, grad, no_grad};
use trifold::{Result, Tensor};

type Given<'a> = &'a [Option<Tensor>];
type Forward = fn(&mut FunctionContext, &[Tensor]) -> Result<Vec<Tensor>>;
type Backward = fn(&FunctionContext, Given) -> Result<Vec<Option<Tensor>>>;

/// A function of two halves.
struct Halves {
    forward: Forward,
    backward: Backward,
    once: bool,
}

impl Function for Halves {
    fn name(&self) -> &str {
        "Halves"
    }

    fn forward(&self, context: &mut FunctionContext, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        (self.forward)(context, inputs)
    }

    fn backward(&self, context: &FunctionContext, given: Given) -> Result<Vec<Option<Tensor>>> {
        (self.backward)(context, given)
    }

    fn once_differentiable(&self) -> bool {
        self.once
    }
}

fn halves(forward: Forward, backward: Backward, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    apply(Halves { forward, backward, once: false }, inputs)
}

fn first<'a>(given: Given<'a>) -> &'a Tensor {
    given[0].as_ref().expect("the only output has a gradient")
}

/// x^2 y, which saves both.
const PRODUCT: (Forward, Backward) = (
    |context, inputs| {
        context.save_for_backward(&[&inputs[0], &inputs[1]]);
        Ok(vec![inputs[0].mul(&inputs[0])?.mul(&inputs[1])?])
    },
    |context, given| {
        let (g, [x, y]) = (first(given), context.saved_tensors()) else { unreachable!("both were saved") };
        Ok(vec![Some(g.mul(x)?.mul(y)?.mul(2.0)?), Some(g.mul(x)?.mul(x)?)])
    },
);

fn product(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    Ok(halves(PRODUCT.0, PRODUCT.1, &[x, y])?.remove(0))
}

/// x y and x + y.
fn both(x: &Tensor, y: &Tensor) -> Result<Vec<Tensor>> {
    let forward: Forward = |context, inputs| {
        context.save_for_backward(&[&inputs[0], &inputs[1]]);
        Ok(vec![inputs[0].mul(&inputs[1])?, inputs[0].add(&inputs[1])?])
    };
    let backward: Backward = |context, given| {
        let saved = context.saved_tensors();
        let part = |of: &Tensor| match (&given[0], &given[1]) {
            (Some(g), Some(h)) => g.mul(of)?.add(h).map(Some),
            (Some(g), None) => g.mul(of).map(Some),
            (None, h) => Ok(h.clone()),
        };
        Ok(vec![part(&saved[1])?, part(&saved[0])?])
    };
    halves(forward, backward, &[x, y])
}

/// x y with no gradient for y.
fn first_alone(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    let forward: Forward = |context, inputs| {
        context.save_for_backward(&[&inputs[1]]);
        Ok(vec![inputs[0].mul(&inputs[1])?])
    };
    let backward: Backward =
        |context, given| Ok(vec![Some(first(given).mul(&context.saved_tensors()[0])?), None]);
    Ok(halves(forward, backward, &[x, y])?.remove(0))
}

/// Saves its output.
fn exponential(x: &Tensor) -> Result<Tensor> {
    let forward: Forward = |context, inputs| {
        let y = inputs[0].exp()?;
        context.save_for_backward(&[&y]);
        Ok(vec![y])
    };
    let backward: Backward = |context, given| Ok(vec![Some(first(given).mul(&context.saved_tensors()[0])?)]);
    Ok(halves(forward, backward, &[x])?.remove(0))
}

fn write(t: &Tensor) -> Result<()> {
    door::mutate(&ops::ADD, &[Arg::Tensor(t), Arg::Float(1.0)], Origin::caller())
}

fn walked_twice(out: &Tensor) -> Result<()> {
    out.backward()?;
    out.backward()
}

fn told() -> Result<Outcome> {
    struct Told(Arc<Mutex<Vec<bool>>>);
    impl Function for Told {
        fn name(&self) -> &str {
            "Told"
        }
        fn forward(&self, _: &mut FunctionContext, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
            Ok(vec![inputs[0].add(&inputs[1])?])
        }
        fn backward(&self, context: &FunctionContext, given: Given) -> Result<Vec<Option<Tensor>>> {
            self.0.lock().unwrap().extend([context.needs_input_grad(0), context.needs_input_grad(1)]);
            Ok(vec![given[0].clone(), given[0].clone()])
        }
    }
    let (x, y, log) = (leaf(&[1.5]), leaf(&[2.0]), Arc::new(Mutex::default()));
    apply(Told(log.clone()), &[&x, &y.detach()?])?[0].backward()?;
    apply(Told(log.clone()), &[&x, &y])?[0].backward()?;
    let log = log.lock().unwrap().clone();
    flat(&[&log, &x.grad(), &y.grad()])
}

fn plain() -> Result<Outcome> {
    let x = leaf(&[1.5, -2.0]);
    let forward: Forward = |context, inputs| {
        context.mark_non_differentiable(&[1]);
        Ok(vec![inputs[0].mul(2.0)?, inputs[0].sign()?])
    };
    let out = halves(forward, |_, given| Ok(vec![Some(first(given).mul(2.0)?)]), &[&x])?;
    total(&out[0].mul(&out[1])?)?.backward()?;
    flat(&[&out[0].requires_grad(), &out[1].requires_grad(), &x.grad()])
}

/// A region that counts its runs.
fn region(
    runs: &Arc<AtomicUsize>,
) -> impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + Clone + Send + Sync + 'static {
    let runs = runs.clone();
    move |t| {
        runs.fetch_add(1, SeqCst);
        Ok(vec![t[0].mul(&t[1])?.sin()?.mul(&t[0])?])
    }
}

fn checkpoint_gives_the_same() -> Result<Outcome> {
    let (x, y, runs) = (leaf(&[0.5, 1.0]), leaf(&[2.0, 3.0]), Arc::default());
    let plain = region(&Arc::default())(&[x.clone(), y.clone()])?.remove(0);
    let want = gradients(&[&total(&plain)?], &[&x, &y])?;
    let out = checkpoint(region(&runs), &[&x, &y])?.remove(0);
    let before = runs.load(SeqCst);
    total(&out)?.backward()?;
    let bytes = |t: &Tensor| t.detach().and_then(|t| t.to_bytes()).unwrap();
    let same = bytes(&out) == bytes(&plain)
        && [(&x, &want[0]), (&y, &want[1])]
            .iter()
            .all(|(t, g)| bytes(&t.grad().unwrap()) == bytes(g.as_ref().unwrap()));
    flat(&[&out, &x.grad(), &y.grad(), &before, &runs.load(SeqCst), &same])
}

fn checkpoint_under_no_grad() -> Result<Outcome> {
    let runs = Arc::default();
    let _off = no_grad();
    let out = checkpoint(region(&runs), &[&leaf(&[0.5]), &leaf(&[2.0])])?.remove(0);
    flat(&[&out, &out.requires_grad(), &runs.load(SeqCst)])
}

fn checkpoint_walked_twice() -> Result<Outcome> {
    let (x, y, runs) = (leaf(&[0.5]), leaf(&[2.0]), Arc::default());
    let out = checkpoint(region(&runs), &[&x, &y])?.remove(0);
    out.backward_with(BackwardOptions { retain_graph: Some(true), ..Default::default() })?;
    let between = runs.load(SeqCst);
    out.backward()?;
    flat(&[&x.grad(), &y.grad(), &between])
}

fn checkpoint_inside() -> Result<Outcome> {
    let (x, y, runs) = (leaf(&[0.5]), leaf(&[2.0]), Arc::default());
    let inner = region(&runs);
    let outer = move |t: &[Tensor]| {
        Ok(vec![checkpoint(inner.clone(), &[&t[0].mul(2.0)?, &t[1]])?.remove(0).mul(3.0)?])
    };
    let out = checkpoint(outer, &[&x, &y])?.remove(0);
    let before = runs.load(SeqCst);
    out.backward()?;
    flat(&[&out, &x.grad(), &y.grad(), &before])
}

pub const BEHAVIOURS: &[Behaviour] = &[
    ("function_saves_inputs", || {
        let (x, y) = (leaf(&[1.5, -0.5]), leaf(&[2.0, 3.0]));
        let out = product(&x, &y)?;
        total(&out)?.backward()?;
        flat(&[&out, &x.grad(), &y.grad()])
    }),
    ("function_saves_its_output", || {
        let x = leaf(&[1.5, -0.5]);
        let out = exponential(&x)?;
        let first = one(creating(&[&total(&out)?], &[&x])?);
        let second = one(gradients(&[&total(&first)?], &[&x])?);
        flat(&[&out, &first, &second])
    }),
    ("function_with_two_outputs", || {
        let (x, y) = (leaf(&[1.5]), leaf(&[2.0]));
        let out = both(&x, &y)?;
        let (a, b) = (&out[0], &out[1]);
        let apart = retaining(&[a, b], &[&x, &y])?;
        flat(&[a, b, &apart, &gradients(&[a, &a.mul(b)?], &[&x, &y])?])
    }),
    ("function_of_which_one_output_is_used", || {
        let (x, y) = (leaf(&[1.5]), leaf(&[2.0]));
        let out = both(&x, &y)?;
        flat(&[&retaining(&[&out[0]], &[&x, &y])?, &gradients(&[&out[1]], &[&x, &y])?])
    }),
    ("function_without_a_gradient_for_one_input", || {
        let (x, y) = (leaf(&[1.5]), leaf(&[2.0]));
        first_alone(&x, &y)?.backward()?;
        flat(&[&x.grad(), &y.grad()])
    }),
    ("function_without_a_gradient_asked_for", || {
        let (x, y) = (leaf(&[1.5]), leaf(&[2.0]));
        flat(&[&unused(&[&first_alone(&x, &y)?], &[&x, &y])?])
    }),
    ("function_without_a_gradient_insisted_on", || {
        let (x, y) = (leaf(&[1.5]), leaf(&[2.0]));
        flat(&[&gradients(&[&first_alone(&x, &y)?], &[&x, &y])?])
    }),
    ("function_differentiated_twice", || {
        let (x, y) = (leaf(&[1.5]), leaf(&[2.0]));
        let first = creating(&[&product(&x, &y)?], &[&x, &y])?;
        let [Some(a), Some(b)] = &first[..] else { unreachable!("both have gradients") };
        flat(&[&first, &retaining(&[a], &[&x, &y])?, &unused(&[b], &[&x, &y])?])
    }),
    ("function_that_saved_walked_twice", || {
        walked_twice(&product(&leaf(&[1.5]), &leaf(&[2.0]))?)?;
        flat(&[])
    }),
    ("function_that_saved_nothing_walked_twice", || {
        let x = leaf(&[1.5]);
        let backward: Backward = |_, given| Ok(vec![Some(first(given).mul(3.0)?)]);
        let out = halves(|_, inputs| Ok(vec![inputs[0].mul(2.0)?]), backward, &[&x])?.remove(0);
        walked_twice(&out)?;
        flat(&[&out, &x.grad()])
    }),
    ("function_whose_input_is_overwritten", || {
        let h = leaf(&[1.5]).mul(1.0)?;
        let out = product(&h, &leaf(&[2.0]))?;
        write(&h)?;
        out.backward()?;
        flat(&[])
    }),
    ("function_whose_output_is_overwritten", || {
        let out = exponential(&leaf(&[1.5]))?;
        write(&out)?;
        out.backward()?;
        flat(&[])
    }),
    ("function_is_told_what_is_needed", told),
    ("function_with_a_plain_output", plain),
    ("function_with_too_many_gradients", || {
        let backward: Backward = |_, given| Ok(vec![given[0].clone(), given[0].clone()]);
        halves(|_, inputs| Ok(vec![inputs[0].mul(2.0)?]), backward, &[&leaf(&[1.5])])?[0].backward()?;
        flat(&[])
    }),
    ("function_with_a_gradient_of_another_shape", || {
        let backward: Backward = |_, _| Ok(vec![Some(super::vector(&[1.0, 1.0, 1.0]))]);
        halves(|_, inputs| Ok(vec![total(&inputs[0])?]), backward, &[&leaf(&[1.5, 2.5])])?[0].backward()?;
        flat(&[])
    }),
    ("function_that_returns_its_input", || {
        let x = leaf(&[1.5]);
        let backward: Backward = |_, given| Ok(vec![Some(first(given).mul(5.0)?)]);
        let y = halves(|_, inputs| Ok(vec![inputs[0].clone()]), backward, &[&x])?.remove(0);
        y.backward()?;
        flat(&[&y, &y.is_leaf(), &x.is_leaf(), &x.grad()])
    }),
    ("function_differentiated_once", || {
        let (x, y, seed) = (leaf(&[1.5]), leaf(&[2.0]), leaf(&[1.0]));
        let once = Halves { forward: PRODUCT.0, backward: PRODUCT.1, once: true };
        let out = apply(once, &[&x, &y])?.remove(0);
        let given = [Some(&seed)];
        let options = GradOptions { create_graph: true, grad_outputs: Some(&given), ..Default::default() };
        one(grad(&[&out], &[&x, &y], options)?).backward()?;
        flat(&[])
    }),
    ("function_under_no_grad", || {
        let _off = no_grad();
        let out = product(&leaf(&[1.5]), &leaf(&[2.0]))?;
        flat(&[&out, &out.requires_grad()])
    }),
    ("checkpoint_gives_the_same", checkpoint_gives_the_same),
    ("checkpoint_under_no_grad_runs_once", checkpoint_under_no_grad),
    ("checkpoint_is_differentiated_twice", || {
        let (x, y) = (leaf(&[0.5]), leaf(&[2.0]));
        let out = checkpoint(region(&Arc::default()), &[&x, &y])?.remove(0);
        let first = creating(&[&out], &[&x, &y])?;
        flat(&[&first, &gradients(&[first[0].as_ref().unwrap()], &[&x, &y])?])
    }),
    ("checkpoint_walked_twice", checkpoint_walked_twice),
    ("checkpoint_freed", || {
        walked_twice(&checkpoint(region(&Arc::default()), &[&leaf(&[0.5]), &leaf(&[2.0])])?[0])?;
        flat(&[])
    }),
    ("checkpoint_inside_a_checkpoint", checkpoint_inside),
];
