//! Hooks of tensors, hooks after accumulation, and the search for NaN.

use super::{Behaviour, Outcome, creating, flat, gradients, leaf, one, total, vector};
use std::sync::{Arc, Mutex};
use trifold::runtime::{Arg, Origin, door, ops};
use trifold::torch::{Autograd as _, BackwardOptions, HookHandle, detect_anomaly, no_grad};
use trifold::{Result, Tensor};

/// Numbers that hooks leave.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<f64>>>);

impl Log {
    fn note(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }

    fn values(&self) -> Vec<f64> {
        self.0.lock().unwrap().clone()
    }

    /// Notes each gradient of a tensor.
    fn watch(&self, t: &Tensor) -> Result<HookHandle> {
        let log = self.clone();
        t.register_hook(move |g| {
            log.note(g.item()?.to_f64());
            Ok(None)
        })
    }
}

fn times(t: &Tensor, by: f64) -> Result<HookHandle> {
    t.register_hook(move |g| g.mul(by).map(Some))
}

fn plus(t: &Tensor, by: f64) -> Result<HookHandle> {
    t.register_hook(move |g| g.add(by).map(Some))
}

fn retaining(t: &Tensor) -> Result<()> {
    t.backward_with(BackwardOptions { retain_graph: Some(true), ..Default::default() })
}

fn in_order() -> Result<Outcome> {
    let (x, log) = (leaf(&[1.5]), Log::default());
    let h = x.mul(2.0)?;
    let names: Arc<Mutex<Vec<bool>>> = Arc::default();
    let (a, b) = (log.clone(), log.clone());
    let (is_first, is_second) = (names.clone(), names.clone());
    h.register_hook(move |g| {
        a.note(g.item()?.to_f64());
        is_first.lock().unwrap().push(true);
        g.mul(10.0).map(Some)
    })?;
    h.register_hook(move |g| {
        b.note(g.item()?.to_f64());
        is_second.lock().unwrap().push(false);
        g.add(1.0).map(Some)
    })?;
    h.mul(3.0)?.backward()?;
    let names = names.lock().unwrap().clone();
    flat(&[&log.values(), &names, &x.grad()])
}

fn removed() -> Result<Outcome> {
    let (x, log) = (leaf(&[1.5]), Log::default());
    let h = x.mul(2.0)?;
    let handle = log.watch(&h)?;
    times(&h, 2.0)?;
    retaining(&h)?;
    handle.remove();
    h.backward()?;
    flat(&[&log.values(), &x.grad()])
}

fn written() -> Result<Outcome> {
    let (x, log) = (leaf(&[1.5]), Log::default());
    let h = x.mul(2.0)?;
    let before = log.clone();
    before.watch(&h)?;
    door::mutate(&ops::MUL, &[Arg::Tensor(&h), Arg::Float(3.0)], Origin::caller())?;
    log.watch(&h)?;
    h.mul(5.0)?.backward()?;
    flat(&[&log.values(), &x.grad()])
}

fn of_a_view() -> Result<Outcome> {
    let x = leaf(&[1.5, 2.5]);
    let h = x.mul(2.0)?;
    times(&h.select(0, 1)?, 0.0)?;
    let part = h.select(0, 0)?;
    times(&part, 10.0)?;
    part.mul(3.0)?.add(&total(&h)?)?.backward()?;
    flat(&[&x.grad()])
}

fn after_sums() -> Result<Outcome> {
    let (x, log) = (leaf(&[1.5]), Log::default());
    for sign in [1.0, -1.0] {
        let log = log.clone();
        x.register_post_accumulate_grad_hook(move |t| {
            log.note(sign * t.grad().unwrap().item()?.to_f64());
            Ok(())
        })?;
    }
    let before = log.clone();
    x.register_hook(move |_| {
        before.note(100.0);
        Ok(None)
    })?;
    x.mul(2.0)?.add(&x.mul(&x)?)?.backward()?;
    x.mul(2.0)?.backward()?;
    flat(&[&log.values(), &x.grad()])
}

fn after_taking() -> Result<Outcome> {
    let x = leaf(&[1.5]);
    let handle = x.register_post_accumulate_grad_hook(|t| {
        let step = t.grad().unwrap().mul(0.1)?;
        {
            let _off = no_grad();
            door::mutate(&ops::SUB, &[Arg::Tensor(t), Arg::Tensor(&step)], Origin::caller())?;
        }
        t.zero_grad();
        Ok(())
    })?;
    x.mul(&x)?.backward()?;
    let (value, gradient) = (x.detach()?.copy()?, x.grad());
    handle.remove();
    x.mul(&x)?.backward()?;
    flat(&[&value, &gradient, &x, &x.grad()])
}

/// What a search for NaN says of a program, which gives the line of the operation.
fn found(program: impl Fn() -> Result<(Tensor, u32)>) -> Result<Outcome> {
    let _search = detect_anomaly();
    let (out, line) = program()?;
    let Err(error) = out.backward() else { return Ok(Outcome::Nan(None)) };
    let op = error.message().split('\'').nth(1).unwrap_or_default().to_string();
    let operand = error.message().rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
    let here = error.origin().is_some_and(|o| o.file().ends_with("hooks.rs") && o.line() == line);
    Ok(Outcome::Nan(Some((op, operand, here))))
}

pub const BEHAVIOURS: &[Behaviour] = &[
    ("hooks_run_in_order_and_pass_on", in_order),
    ("hooks_see_sums", || {
        let (x, log) = (leaf(&[1.5]), Log::default());
        let h = x.mul(2.0)?;
        log.watch(&h)?;
        log.watch(&x)?;
        h.mul(3.0)?.add(&h.mul(&h)?)?.add(&x)?.backward()?;
        flat(&[&log.values(), &x.grad()])
    }),
    ("hooks_go_when_removed", removed),
    ("hooks_of_a_leaf_change_what_is_accumulated", || {
        let x = leaf(&[1.5]);
        times(&x, 10.0)?;
        x.mul(&x)?.backward()?;
        plus(&x, 1.0)?;
        x.mul(2.0)?.backward()?;
        flat(&[&x.grad()])
    }),
    ("hooks_change_what_grad_returns", || {
        let x = leaf(&[1.5]);
        let h = x.mul(2.0)?;
        times(&h, 10.0)?;
        plus(&x, 1.0)?;
        flat(&[&gradients(&[&h.mul(&h)?], &[&h, &x])?, &x.grad()])
    }),
    ("hooks_change_what_grad_returns_at_the_end", || {
        let h = leaf(&[1.5]).mul(2.0)?;
        times(&h, 10.0)?;
        flat(&[&gradients(&[&h.mul(&h)?], &[&h])?])
    }),
    ("hooks_come_before_retained_gradients", || {
        let x = leaf(&[1.5]);
        let h = x.mul(2.0)?;
        h.retain_grad()?;
        times(&h, 10.0)?;
        h.mul(3.0)?.backward()?;
        flat(&[&h.grad(), &x.grad()])
    }),
    ("hooks_of_a_tensor_that_is_then_written", written),
    ("hooks_of_a_view", of_a_view),
    ("hooks_must_keep_the_shape", || {
        let h = leaf(&[1.5, 2.5]).mul(2.0)?;
        h.register_hook(|g| total(g).map(Some))?;
        total(&h)?.backward()?;
        flat(&[])
    }),
    ("hooks_need_a_gradient", || {
        times(&vector(&[1.0, 1.0]), 1.0)?;
        flat(&[])
    }),
    ("hooks_can_be_differentiated", || {
        let x = leaf(&[1.5]);
        let h = x.mul(&x)?;
        let by = x.clone();
        h.register_hook(move |g| g.mul(&by).map(Some))?;
        let first = one(creating(&[&h], &[&x])?);
        flat(&[&first, &gradients(&[&first], &[&x])?])
    }),
    ("post_hooks_see_the_sum_in_order", after_sums),
    ("post_hooks_may_take_the_gradient", after_taking),
    ("post_hooks_are_not_for_grad", || {
        let (x, log) = (leaf(&[1.5]), Log::default());
        let noted = log.clone();
        x.register_post_accumulate_grad_hook(move |_| {
            noted.note(1.0);
            Ok(())
        })?;
        gradients(&[&x.mul(&x)?], &[&x])?;
        x.mul(&x)?.backward()?;
        flat(&[&log.values()])
    }),
    ("post_hooks_are_for_leaves", || {
        leaf(&[1.5]).mul(2.0)?.register_post_accumulate_grad_hook(|_| Ok(()))?;
        flat(&[])
    }),
    ("anomaly_is_not_looked_for", || {
        let x = leaf(&[0.0, 4.0]);
        total(&x.sqrt()?.mul(0.0)?)?.backward()?;
        let gradient = x.grad().unwrap().to_f64_vec()?;
        flat(&[&gradient[0].is_nan(), &gradient[1].is_nan(), &gradient[1]])
    }),
    ("anomaly_in_sqrt", || {
        found(|| {
            let x = leaf(&[0.0, 4.0]);
            let (root, line) = (x.sqrt()?, line!());
            Ok((total(&root.mul(0.0)?)?, line))
        })
    }),
    ("anomaly_in_mul", || {
        found(|| {
            let (x, y) = (leaf(&[f64::INFINITY]), leaf(&[2.0]));
            let (product, line) = (x.mul(&y)?, line!());
            Ok((total(&product.clamp(0.0, 1.0)?.mul(0.0)?)?, line))
        })
    }),
    ("anomaly_in_div", || {
        found(|| {
            let (x, y) = (leaf(&[0.0]), leaf(&[0.0]));
            let (quotient, line) = (x.div(&y)?, line!());
            Ok((total(&quotient.nan_to_num(None, None, None)?)?.mul(0.0)?, line))
        })
    }),
    ("anomaly_in_log", || {
        found(|| {
            let x = leaf(&[0.0]);
            let (logarithm, line) = (x.log()?, line!());
            Ok((total(&logarithm.exp()?.mul(1.0)?)?, line))
        })
    }),
    ("anomaly_is_not_infinity", || found(|| Ok((total(&leaf(&[0.0]).sqrt()?)?, 0)))),
];
