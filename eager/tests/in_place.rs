//! Writes in place whose gradient reads what the target was: a copy is kept then, and only then. The names are torch's.

use eager::prelude::*;
use runtime::table::OpDef;
use runtime::{Arg, ErrorKind, Origin, Result, Tensor, alloc, door, ops};

const LENGTH: usize = 1000;
const BYTES: i64 = 8 * LENGTH as i64;

fn vector(value: f64) -> Tensor {
    Tensor::from_slice(&vec![value; LENGTH], &[LENGTH]).unwrap()
}

fn leaf(value: f64) -> Tensor {
    vector(value).requires_grad_(true).unwrap()
}

fn first(t: &Tensor) -> f64 {
    t.to_f64_vec().unwrap()[0]
}

fn write(op: &'static OpDef, args: &[Arg]) -> Result<()> {
    door::mutate(op, args, Origin::caller())
}

/// Bytes that a write left alive besides its target.
fn kept(op: &'static OpDef, args: &[Arg]) -> i64 {
    let before = alloc::stats().live_bytes;
    write(op, args).unwrap();
    alloc::stats().live_bytes - before
}

#[test]
fn a_copy_is_kept_only_where_the_rule_reads_it() {
    let (x, w, plain) = (leaf(0.5), leaf(2.0), vector(2.0));
    let h = x.mul(1.0).unwrap();
    let (h, w, plain) = (Arg::Tensor(&h), Arg::Tensor(&w), Arg::Tensor(&plain));
    // sin_, mul_(other) and pow_(number) read what the target was.
    assert_eq!(kept(&ops::SIN, &[h]), BYTES);
    assert_eq!(kept(&ops::MUL, &[h, w]), BYTES);
    assert_eq!(kept(&ops::DIV, &[h, w]), BYTES);
    assert_eq!(kept(&ops::FMOD, &[h, w]), BYTES);
    assert_eq!(kept(&ops::POW, &[h, Arg::Float(2.0)]), BYTES);
    // The rest reads nothing, the result, or the other operand: mul_ and div_ by what needs no gradient above all.
    assert_eq!(kept(&ops::ADD, &[h, w]), 0);
    assert_eq!(kept(&ops::MUL, &[h, Arg::Float(3.0)]), 0);
    assert_eq!(kept(&ops::MUL, &[h, plain]), 0);
    assert_eq!(kept(&ops::DIV, &[h, plain]), 0);
    assert_eq!(kept(&ops::FMOD, &[h, plain]), 0);
    assert_eq!(kept(&ops::EXP, &[h]), 0);
    assert_eq!(kept(&ops::SIGMOID, &[h]), 0);
    assert_eq!(kept(&ops::COPY, &[h, w]), 0);
    let _off = no_grad();
    assert_eq!(kept(&ops::SIN, &[h]), 0);
}

#[test]
fn what_was_kept_can_be_differentiated_again() {
    let x = leaf(0.5);
    let h = x.mul(2.0).unwrap();
    write(&ops::SIN, &[Arg::Tensor(&h)]).unwrap();
    let y = h.sum(&[], false).unwrap();
    let options = GradOptions { create_graph: true, ..GradOptions::default() };
    let dx = grad(&[&y], &[&x], options).unwrap().remove(0).unwrap();
    assert!((first(&dx) - 2.0 * 1f64.cos()).abs() < 1e-15);
    let again = dx.sum(&[], false).unwrap();
    let ddx = grad(&[&again], &[&x], GradOptions::default()).unwrap().remove(0).unwrap();
    assert!((first(&ddx) + 4.0 * 1f64.sin()).abs() < 1e-15);
}

#[test]
fn a_view_keeps_what_it_showed() {
    let x = leaf(0.5);
    let h = x.mul(1.0).unwrap();
    let part = h.slice(0, Some(0), Some(2), 1).unwrap();
    write(&ops::SIN, &[Arg::Tensor(&part)]).unwrap();
    h.sum(&[], false).unwrap().backward().unwrap();
    let gradient = x.grad().unwrap().to_f64_vec().unwrap();
    assert_eq!(gradient[..3], [0.5f64.cos(), 0.5f64.cos(), 1.0]);
}

#[test]
fn the_target_as_the_other_factor_is_lost() {
    let x = leaf(0.5);
    let h = x.mul(1.0).unwrap();
    write(&ops::MUL, &[Arg::Tensor(&h), Arg::Tensor(&h)]).unwrap();
    let error = h.sum(&[], false).unwrap().backward().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InPlace);
    assert!(error.message().contains("at version 1, expected version 0"), "{error}");
    // A result that was kept and then written over, too.
    let h = x.mul(1.0).unwrap();
    write(&ops::EXP, &[Arg::Tensor(&h)]).unwrap();
    write(&ops::ADD, &[Arg::Tensor(&h), Arg::Float(1.0)]).unwrap();
    let error = h.sum(&[], false).unwrap().backward().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InPlace);
    assert!(error.message().contains("exp") && error.message().contains("at version 2"), "{error}");
}
