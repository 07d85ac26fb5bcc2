//! Laws of views, conversions and sums: functions, because they compute with dimensions.

use super::{Context, Law, Replacement, Rule, Term, When};
use crate::ir::{Operand, ValueId};
use crate::passes::Class::{self, Bitwise, Reassociating};
use kernels::{DType, Scalar};
use runtime::infer::{TensorType, wrap_dim, wrap_dims};
use runtime::table::{OpDef, find};
use runtime::value::{Arg, Host};

pub(super) fn rules() -> Vec<Rule> {
    let law =
        |name, class: Class, ops, f| Rule { name, class, when: When::Always, law: Law::Function(ops, f) };
    vec![
        law(
            "a view of the same type",
            Bitwise,
            &["expand", "reshape", "permute", "squeeze", "slice"],
            same_view,
        ),
        law("what only says who reads", Bitwise, &["clone", "detach", "read_variable"], identity),
        law("elements with another history", Bitwise, &["set_data"], data),
        law("permute of permute", Bitwise, &["permute"], permute_twice),
        law("expand of expand", Bitwise, &["expand"], outer_wins),
        law("reshape of reshape", Bitwise, &["reshape"], outer_wins),
        law("squeeze of unsqueeze", Bitwise, &["squeeze"], squeeze_unsqueeze),
        law("unsqueeze of squeeze", Bitwise, &["unsqueeze"], unsqueeze_squeeze),
        law("squeeze of a kept sum", Bitwise, &["squeeze"], squeeze_reduction),
        law("to of an exact to", Bitwise, &["to"], to_twice),
        law("transpose of a product of transposes", Bitwise, &["permute"], transposed_product),
        law("quotient by a power of two", Bitwise, &["div"], power_of_two),
        law("sum of a broadcast", Reassociating, &["sum"], sum_of_expand),
        law("sum over extents of one", Reassociating, &["sum"], sum_of_one),
    ]
}

fn first(term: &Term) -> Option<ValueId> {
    match term.operands.first()? {
        Operand::Value(v) => Some(*v),
        Operand::Values(_) | Operand::Host(_) => None,
    }
}

fn host(operands: &[Operand], i: usize) -> Arg<'_> {
    match operands.get(i) {
        Some(Operand::Host(h)) => h.as_arg(),
        Some(Operand::Value(_) | Operand::Values(_)) | None => Arg::None,
    }
}

fn int(v: usize) -> Operand {
    Operand::Host(Host::Scalar(Scalar::Int(v as i64)))
}

fn ints(list: impl IntoIterator<Item = usize>) -> Operand {
    Operand::Host(Host::Ints(list.into_iter().map(|v| v as i64).collect()))
}

/// The value that the op with this name made another from.
fn inside<'c>(context: &'c Context, value: ValueId, name: &str) -> Option<(ValueId, &'c [Operand])> {
    let (op, operands) = context.term(value)?;
    match operands.first()? {
        Operand::Value(v) if op.name == name => Some((*v, operands)),
        _ => None,
    }
}

fn same_view(context: &Context, term: &Term) -> Option<Replacement> {
    let x = first(term)?;
    // A permutation can keep the type and still move elements.
    if term.op.name == "permute" {
        let order = order(host(&term.operands, 1), context.ty.rank())?;
        return order.iter().enumerate().all(|(i, &d)| i == d).then_some(Replacement::Value(x));
    }
    (context.type_of(x)? == context.ty).then_some(Replacement::Value(x))
}

fn identity(_: &Context, term: &Term) -> Option<Replacement> {
    first(term).map(Replacement::Value)
}

fn data(_: &Context, term: &Term) -> Option<Replacement> {
    match term.operands.get(1)? {
        Operand::Value(data) => Some(Replacement::Value(*data)),
        Operand::Values(_) | Operand::Host(_) => None,
    }
}

fn order(arg: Arg, rank: usize) -> Option<Vec<usize>> {
    arg.ints().ok()?.iter().map(|&d| wrap_dim(d, rank).ok()).collect()
}

fn permute_twice(context: &Context, term: &Term) -> Option<Replacement> {
    let rank = context.ty.rank();
    let (x, operands) = inside(context, first(term)?, "permute")?;
    let (outer, inner) = (order(host(&term.operands, 1), rank)?, order(host(operands, 1), rank)?);
    let both = outer.iter().map(|&d| inner.get(d).copied()).collect::<Option<Vec<_>>>()?;
    Some(Replacement::Term(Term { op: term.op, operands: vec![Operand::Value(x), ints(both)] }))
}

/// The outer of two equal views alone, of what the inner one sees.
fn outer_wins(context: &Context, term: &Term) -> Option<Replacement> {
    let (x, _) = inside(context, first(term)?, term.op.name)?;
    let target = ints(context.ty.dims()?);
    Some(Replacement::Term(Term { op: term.op, operands: vec![Operand::Value(x), target] }))
}

fn squeeze_unsqueeze(context: &Context, term: &Term) -> Option<Replacement> {
    let y = first(term)?;
    let (x, operands) = inside(context, y, "unsqueeze")?;
    let rank = context.type_of(y)?.rank();
    let made = wrap_dim(host(operands, 1).int().ok()?, rank).ok()?;
    let gone = wrap_dim(host(&term.operands, 1).int().ok()?, rank).ok()?;
    (made == gone).then_some(Replacement::Value(x))
}

fn unsqueeze_squeeze(context: &Context, term: &Term) -> Option<Replacement> {
    let (x, operands) = inside(context, first(term)?, "squeeze")?;
    let rank = context.type_of(x)?.rank();
    let gone = wrap_dim(host(operands, 1).int().ok()?, rank).ok()?;
    let made = wrap_dim(host(&term.operands, 1).int().ok()?, context.ty.rank()).ok()?;
    (made == gone && context.type_of(x)? == context.ty).then_some(Replacement::Value(x))
}

/// squeeze(sum(x, d, keepdim), d) is sum(x, d): the same numbers in the same order.
fn squeeze_reduction(context: &Context, term: &Term) -> Option<Replacement> {
    let (op, operands) = context.term(first(term)?)?;
    let Some(Operand::Value(x)) = operands.first() else { return None };
    let kept = matches!(host(operands, 2), Arg::Bool(true));
    let rank = context.type_of(*x)?.rank();
    let reduces = matches!(op.name, "sum" | "amax" | "amin" | "mean" | "any" | "all");
    let plain = operands.iter().skip(3).all(|o| matches!(o, Operand::Host(Host::None)));
    if !reduces || !kept || !plain {
        return None;
    }
    let dims = wrap_dims(host(operands, 1), rank).ok()?;
    let gone = wrap_dim(host(&term.operands, 1).int().ok()?, rank).ok()?;
    if dims.as_slice() != [gone] {
        return None;
    }
    Some(Replacement::Term(Term { op, operands: vec![Operand::Value(*x), ints([gone])] }))
}

/// Whether every value of `from` is a value of `to`.
fn exact(from: DType, to: DType) -> bool {
    use DType::{BF16, Bool, F16, F32, F64, I32, I64, U8};
    match (from, to) {
        (a, b) if a == b => true,
        (Bool, _) => true,
        (U8, I32 | I64 | F16 | F32 | F64 | BF16) => true,
        (I32, I64 | F64) => true,
        (F16 | BF16, F32 | F64) => true,
        (F32, F64) => true,
        _ => false,
    }
}

fn to_twice(context: &Context, term: &Term) -> Option<Replacement> {
    let middle = first(term)?;
    let Some((x, _)) = inside(context, middle, "to") else {
        return (context.type_of(middle)? == context.ty).then_some(Replacement::Value(middle));
    };
    let (from, through) = (context.type_of(x)?, context.type_of(middle)?.dtype);
    // A conversion that wraps or saturates would be seen to do so only on its own.
    if !exact(from.dtype, through) || (from.dtype != context.ty.dtype && !exact(through, context.ty.dtype)) {
        return None;
    }
    if from == context.ty {
        return Some(Replacement::Value(x));
    }
    let operands = vec![Operand::Value(x), Operand::Host(Host::DType(context.ty.dtype))];
    Some(Replacement::Term(Term { op: term.op, operands }))
}

/// Whether an order exchanges the last two dimensions and nothing else.
fn is_transpose(order: &[usize]) -> bool {
    let n = order.len();
    n >= 2 && order[n - 1] == n - 2 && order[n - 2] == n - 1 && (0..n - 2).all(|i| order[i] == i)
}

/// The value whose transpose this is.
fn transposed(context: &Context, operand: &Operand) -> Option<ValueId> {
    let Operand::Value(value) = operand else { return None };
    let (x, operands) = inside(context, *value, "permute")?;
    is_transpose(&order(host(operands, 1), context.type_of(x)?.rank())?).then_some(x)
}

/// (aᵀ bᵀ)ᵀ = b a. Each element is one sum in the order of k, and a product of numbers commutes, so the bits stay.
fn transposed_product(context: &Context, term: &Term) -> Option<Replacement> {
    if !is_transpose(&order(host(&term.operands, 1), context.ty.rank())?) {
        return None;
    }
    let (op, operands) = context.term(first(term)?)?;
    if op.name != "matmul" {
        return None;
    }
    let (a, b) = (transposed(context, operands.first()?)?, transposed(context, operands.get(1)?)?);
    Some(Replacement::Term(Term { op, operands: vec![Operand::Value(b), Operand::Value(a)] }))
}

/// x / 2^n = x * 2^-n: both are exact up to one rounding of the same real number.
fn power_of_two(context: &Context, term: &Term) -> Option<Replacement> {
    let plain = term.operands.iter().skip(2).all(|o| matches!(o, Operand::Host(Host::None)));
    let x = first(term)?;
    let Some(Operand::Host(Host::Scalar(by))) = term.operands.get(1) else { return None };
    let by = by.to_f64();
    // Both the divisor and its reciprocal are normal in every float type here.
    let moderate = (2f64.powi(-13)..=2f64.powi(13)).contains(&by.abs());
    let power = moderate && by.abs().log2().fract() == 0.0;
    let floats = context.type_of(x)?.dtype.is_float();
    if !plain || !power || !floats {
        return None;
    }
    let operands = vec![Operand::Value(x), Operand::Host(Host::Scalar(Scalar::Float(1.0 / by)))];
    Some(Replacement::Term(Term { op: find("mul")?, operands }))
}

fn sum_parts(context: &Context, term: &Term) -> Option<(ValueId, TensorType, Vec<usize>, bool)> {
    let x = first(term)?;
    let ty = context.type_of(x)?.clone();
    let plain = term.operands.iter().skip(3).all(|o| matches!(o, Operand::Host(Host::None)));
    let dims = wrap_dims(host(&term.operands, 1), ty.rank()).ok()?.to_vec();
    let keepdim = matches!(host(&term.operands, 2), Arg::Bool(true));
    (plain && ty.dtype == context.ty.dtype && ty.dtype.is_float()).then_some((x, ty, dims, keepdim))
}

/// The sum of n equal numbers is n times the number, but for the rounding of each addition.
fn sum_of_expand(context: &Context, term: &Term) -> Option<Replacement> {
    let (y, ty, dims, keepdim) = sum_parts(context, term)?;
    let (x, _) = inside(context, y, "expand")?;
    if !keepdim || context.type_of(x)? != context.ty {
        return None;
    }
    let count = dims.iter().map(|&d| ty.shape[d].known()).product::<Option<usize>>()?;
    let operands = vec![Operand::Value(x), Operand::Host(Host::Scalar(Scalar::Float(count as f64)))];
    Some(Replacement::Term(Term { op: find("mul")?, operands }))
}

/// The sum of one number is the number, but for the sign of zero: a sum starts from +0.
fn sum_of_one(context: &Context, term: &Term) -> Option<Replacement> {
    let (x, ty, dims, keepdim) = sum_parts(context, term)?;
    if !dims.iter().all(|&d| ty.shape[d].is(1)) {
        return None;
    }
    match (keepdim || dims.is_empty(), dims.as_slice()) {
        (true, _) => Some(Replacement::Value(x)),
        (false, [one]) => Some(Replacement::Term(view("squeeze", x, *one)?)),
        (false, _) => None,
    }
}

fn view(name: &str, x: ValueId, dim: usize) -> Option<Term> {
    let op: &'static OpDef = find(name)?;
    Some(Term { op, operands: vec![Operand::Value(x), int(dim)] })
}
