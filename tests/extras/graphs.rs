//! What may be walked again, what must not be written, what is a constant, what is not used.

use super::{Behaviour, Outcome, creating, flat, gradients, leaf, one, retaining, total, unused, vector};
use trifold::runtime::table::OpDef;
use trifold::runtime::{Arg, DType, Origin, door, ops};
use trifold::torch::{Autograd as _, BackwardOptions, enable_grad, no_grad};
use trifold::{Error, Result, Tensor};

fn write(op: &'static OpDef, t: &Tensor, with: f64) -> Result<()> {
    door::mutate(op, &[Arg::Tensor(t), Arg::Float(with)], Origin::caller())
}

fn fill(t: &Tensor, with: f64) -> Result<()> {
    door::mutate(
        &ops::COPY,
        &[Arg::Tensor(t), Arg::Tensor(&Tensor::scalar(with).to(t.dtype())?)],
        Origin::caller(),
    )
}

fn twice(y: &Tensor) -> Result<()> {
    y.backward()?;
    y.backward()
}

fn versions_of_views() -> Result<Outcome> {
    let t = vector(&[0.0; 4]);
    let part = t.slice(0, Some(1), Some(3), 1)?;
    let mut seen = vec![0, 0];
    let mut note = || seen.extend([t.version(), part.version()]);
    write(&ops::ADD, &part, 1.0)?;
    note();
    write(&ops::MUL, &t.detach()?, 2.0)?;
    note();
    {
        let _off = no_grad();
        write(&ops::ADD, &t, 1.0)?;
    }
    note();
    fill(&t.select(0, 0)?, 7.0)?;
    note();
    fill(&part.view(&[2, 1])?, 0.0)?;
    note();
    let seen: Vec<f64> = seen.into_iter().map(f64::from).collect();
    flat(&[&seen, &(t.copy()?.version() as f64), &(t.add(1.0)?.version() as f64)])
}

/// The versions that an error names: the one found, the one expected.
fn versions(failed: Result<()>) -> Result<Outcome> {
    let error: Error = failed.expect_err("what was written is not noticed");
    let number = |after: &str| {
        let text = error.message().split(after).nth(1).unwrap_or_default();
        text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<f64>().unwrap_or(-1.0)
    };
    flat(&[&number("is at version "), &number("expected version ")])
}

fn recording() -> Result<Outcome> {
    let x = leaf(&[3.0]);
    let (a, b, c, made);
    {
        let _off = no_grad();
        a = x.mul(2.0)?;
        made = leaf(&[1.0]);
        {
            let _on = enable_grad();
            b = x.mul(2.0)?;
        }
        c = x.mul(2.0)?;
    }
    let d = x.mul(&made)?;
    d.backward()?;
    let recorded: Vec<bool> = [&a, &b, &c, &made, &d].iter().map(|t| t.requires_grad()).collect();
    flat(&[&recorded, &x.grad(), &made.grad()])
}

pub const BEHAVIOURS: &[Behaviour] = &[
    ("graph_that_saved_walked_twice", || {
        twice(&leaf(&[3.0]).pow(2.0)?)?;
        flat(&[])
    }),
    ("graph_that_saved_nothing_walked_twice", || {
        let x = leaf(&[3.0]);
        twice(&x.add(1.0)?)?;
        flat(&[&x.grad()])
    }),
    ("graph_that_saved_a_number_walked_twice", || {
        let x = leaf(&[3.0]);
        twice(&x.mul(3.0)?)?;
        flat(&[&x.grad()])
    }),
    ("graph_of_exp_walked_twice", || {
        twice(&leaf(&[3.0]).exp()?)?;
        flat(&[])
    }),
    ("graph_retained", || {
        let x = leaf(&[3.0]);
        let y = x.mul(&x)?;
        let retain = BackwardOptions { retain_graph: Some(true), ..Default::default() };
        y.backward_with(retain)?;
        y.backward_with(retain)?;
        y.backward()?;
        flat(&[&x.grad()])
    }),
    ("graph_freed_by_grad", || {
        let x = leaf(&[3.0]);
        let y = x.mul(&x)?;
        gradients(&[&y], &[&x])?;
        y.backward()?;
        flat(&[])
    }),
    ("graph_shared_in_part", || {
        let h = leaf(&[3.0]).pow(2.0)?;
        h.add(1.0)?.backward()?;
        h.mul(2.0)?.backward()?;
        flat(&[])
    }),
    ("graph_shared_where_nothing_was_saved", || {
        let x = leaf(&[3.0]);
        let h = x.add(1.0)?;
        h.mul(&h)?.backward()?;
        h.mul(2.0)?.backward()?;
        flat(&[&x.grad()])
    }),
    ("create_graph_cube", || {
        let x = leaf(&[2.0]);
        let first = one(creating(&[&x.pow(3)?], &[&x])?);
        let second = one(creating(&[&first], &[&x])?);
        flat(&[&first, &second, &gradients(&[&second], &[&x])?])
    }),
    ("create_graph_of_products", || {
        let x = leaf(&[2.0]);
        let first = one(creating(&[&x.mul(&x)?.mul(&x)?], &[&x])?);
        flat(&[&first, &gradients(&[&first], &[&x])?])
    }),
    ("create_graph_accumulates", || {
        let x = leaf(&[2.0]);
        x.pow(3)?.backward_with(BackwardOptions { create_graph: true, ..Default::default() })?;
        let first = x.grad().unwrap();
        let value = first.detach()?.copy()?;
        total(&first)?.backward()?;
        flat(&[&value, &x.grad()])
    }),
    ("create_graph_retains", || {
        let x = leaf(&[2.0]);
        let y = x.mul(&x)?;
        let first = one(creating(&[&y], &[&x])?);
        flat(&[&first, &gradients(&[&y], &[&x])?])
    }),
    ("create_graph_left_out", || {
        let x = leaf(&[2.0]);
        flat(&[&one(gradients(&[&x.pow(3)?], &[&x])?).requires_grad()])
    }),
    ("gradient_of_a_gradient_penalty", || {
        let (x, w) = (leaf(&[1.0, -2.0]), leaf(&[0.5, 3.0]));
        let inner = one(creating(&[&total(&x.mul(&w)?.tanh()?)?], &[&x])?);
        total(&inner.mul(&inner)?)?.backward()?;
        flat(&[&inner, &x.grad(), &w.grad()])
    }),
    ("versions_are_shared_by_views", versions_of_views),
    ("written_leaf", || {
        write(&ops::ADD, &leaf(&[1.0]), 1.0)?;
        flat(&[])
    }),
    ("written_view_of_a_leaf", || {
        write(&ops::ADD, &leaf(&[1.0, 2.0]).select(0, 0)?, 1.0)?;
        flat(&[])
    }),
    ("written_leaf_under_no_grad", || {
        let x = leaf(&[1.0]);
        {
            let _off = no_grad();
            write(&ops::ADD, &x, 1.0)?;
        }
        x.mul(&x)?.backward()?;
        flat(&[&x, &x.is_leaf(), &x.requires_grad(), &x.grad()])
    }),
    ("written_leaf_that_was_saved", || {
        let x = leaf(&[1.0]);
        let y = x.mul(&x)?;
        {
            let _off = no_grad();
            write(&ops::ADD, &x, 1.0)?;
        }
        y.backward()?;
        flat(&[])
    }),
    ("written_saved_operand", || {
        let h = leaf(&[1.0]).add(0.0)?;
        let y = h.mul(&h)?;
        write(&ops::ADD, &h, 1.0)?;
        write(&ops::MUL, &h, 2.0)?;
        versions(y.backward())
    }),
    ("written_saved_output", || {
        let y = leaf(&[1.0]).exp()?;
        write(&ops::ADD, &y, 1.0)?;
        versions(y.backward())
    }),
    ("written_through_a_view", || {
        let h = leaf(&[1.0, 2.0]).add(0.0)?;
        let y = total(&h.mul(&h)?)?;
        fill(&h.select(0, 0)?, 5.0)?;
        versions(y.backward())
    }),
    ("written_through_a_detached_alias", || {
        let h = leaf(&[1.0]).add(0.0)?;
        let y = h.mul(&h)?;
        fill(&h.detach()?, 0.0)?;
        versions(y.backward())
    }),
    ("written_but_not_saved", || {
        let x = leaf(&[1.0, 2.0]);
        let h = x.mul(2.0)?;
        let y = h.add(1.0)?;
        write(&ops::MUL, &h, 3.0)?;
        let z = h.sin()?;
        total(&y.add(&z)?)?.backward()?;
        flat(&[&y, &z, &x.grad()])
    }),
    ("detached_is_a_constant", || {
        let x = leaf(&[3.0]);
        let h = x.mul(&x)?;
        let d = h.detach()?;
        h.mul(&d)?.backward()?;
        flat(&[&d, &d.requires_grad(), &d.is_leaf(), &x.grad()])
    }),
    ("detached_shares_memory", || {
        let h = leaf(&[3.0]).mul(2.0)?;
        let d = h.detach()?;
        fill(&d, 7.0)?;
        flat(&[&h, &d])
    }),
    ("no_grad_records_nothing", recording),
    ("no_grad_is_a_constant", || {
        let x = leaf(&[3.0]);
        let h = x.mul(&x)?;
        let k = {
            let _off = no_grad();
            h.mul(&x)?
        };
        h.mul(&k)?.backward()?;
        flat(&[&x.grad()])
    }),
    ("unused_input", || {
        let (x, z) = (leaf(&[1.0]), leaf(&[1.0]));
        flat(&[&gradients(&[&x.mul(2.0)?], &[&x, &z])?])
    }),
    ("unused_input_allowed", || {
        let (x, z) = (leaf(&[1.0]), leaf(&[1.0]));
        flat(&[&unused(&[&x.mul(2.0)?], &[&x, &z])?])
    }),
    ("unused_leaf_keeps_no_gradient", || {
        let (x, z) = (leaf(&[1.0]), leaf(&[1.0]));
        x.mul(2.0)?.backward()?;
        flat(&[&x.grad(), &z.grad()])
    }),
    ("unused_for_zero_is_not_unused", || {
        let (x, z) = (leaf(&[1.0]), leaf(&[1.0]));
        flat(&[&gradients(&[&x.mul(2.0)?.add(&z.mul(0.0)?)?], &[&x, &z])?])
    }),
    ("asked_of_a_constant", || {
        vector(&[1.0]).backward()?;
        flat(&[])
    }),
    ("asked_for_a_constant", || flat(&[&gradients(&[&leaf(&[1.0]).mul(2.0)?], &[&vector(&[1.0])])?])),
    ("asked_of_several_elements", || {
        leaf(&[1.0, 2.0]).mul(2.0)?.backward()?;
        flat(&[])
    }),
    ("asked_with_a_gradient_of_another_shape", || {
        let seed = vector(&[1.0; 3]);
        let options = BackwardOptions { gradient: Some(&seed), ..Default::default() };
        leaf(&[1.0, 2.0]).mul(2.0)?.backward_with(options)?;
        flat(&[])
    }),
    ("asked_for_inputs_alone", || {
        let (x, z) = (leaf(&[1.0]), leaf(&[2.0]));
        x.mul(&z)?.backward_with(BackwardOptions { inputs: Some(&[&x]), ..Default::default() })?;
        flat(&[&x.grad(), &z.grad()])
    }),
    ("asked_for_the_inside", || {
        let x = leaf(&[3.0]);
        let h = x.mul(&x)?;
        flat(&[&gradients(&[&h.mul(5.0)?], &[&h, &x])?, &gradients(&[&h], &[&h])?])
    }),
    ("asked_for_one_input_twice", || {
        let x = leaf(&[3.0]);
        flat(&[&gradients(&[&x.mul(&x)?], &[&x, &x])?])
    }),
    ("asked_of_outputs_together", || {
        let x = leaf(&[3.0]);
        let h = x.mul(&x)?;
        flat(&[&gradients(&[&h, &h, &x.mul(2.0)?], &[&x])?])
    }),
    ("asked_of_a_leaf", || {
        let x = leaf(&[3.0]);
        x.backward()?;
        flat(&[&x.grad(), &retaining(&[&x], &[&x])?])
    }),
    ("integers_have_no_gradient", || {
        Tensor::zeros(&[2], DType::I64, trifold::DeviceId::Cpu)?.requires_grad_(true)?;
        flat(&[])
    }),
];
