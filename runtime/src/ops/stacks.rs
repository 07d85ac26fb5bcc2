//! Stacks: tensors whose first dimension grows and shrinks by one item. Each op is the other's gradient, so what a loop
//! saves for its backward is differentiated by the same two ops, as often as asked.
//!
//! In a graph the first extent of a stack that a loop carries is a symbol, which stays itself: how many items there are
//! is known when it runs.

use super::rules::f32s;
use crate::door::{bind, bind1};
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::infer::{Dim, Infer, TensorType, Types};
use crate::lower::{Steps, View};
use crate::samples::tensor;
use crate::table::{Effect, Gradients, Lower, Saves, Vjp, VjpContext, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::Dims;

/// The extents of a type, where those that are not known count as 0: the stack that nothing was pushed on.
fn least(ty: &TensorType) -> Dims {
    ty.facts().1
}

fn infer_push(c: &Infer) -> Result<Types> {
    let (stack, item) = (c.tensor(0)?, c.tensor(1)?);
    let fits = stack.rank() == item.rank() + 1 && stack.shape[1..] == item.shape[..];
    if !fits || stack.dtype != item.dtype {
        return Err(Error::shape(format!("{item} is no item of the stack {stack}")));
    }
    let mut shape = stack.shape.clone();
    if let Some(n) = shape[0].known() {
        shape[0] = Dim::constant(n + 1);
    }
    Ok(Types::from_iter([TensorType { dtype: stack.dtype, shape }]))
}

fn infer_pop(c: &Infer) -> Result<Types> {
    let stack = c.tensor(0)?;
    let (Some(&count), items) = (stack.shape.first(), stack.shape.iter().skip(1)) else {
        return Err(Error::shape("a tensor of rank 0 is no stack"));
    };
    let mut rest = stack.clone();
    match count.known() {
        Some(0) => return Err(Error::index("the stack is empty")),
        Some(n) => rest.shape[0] = Dim::constant(n - 1),
        None => {}
    }
    Ok(Types::from_iter([rest, TensorType { dtype: stack.dtype, shape: items.copied().collect() }]))
}

/// Item `at` of a stack, as a view.
fn item(stack: &View, at: usize) -> View {
    let mut layout = stack.layout.slice(0, at, 1, 1);
    layout.shape.remove(0);
    layout.strides.remove(0);
    View { layout, ..stack.clone() }
}

fn lower_push(s: &mut Steps) -> Result<()> {
    let (stack, top, out) = (s.input(0)?, s.input(1)?, s.output(0));
    let n = stack.layout.shape[0];
    s.copy(&stack, &View { layout: out.layout.slice(0, 0, n, 1), ..out.clone() })?;
    s.copy(&top, &item(&out, n))
}

fn lower_pop(s: &mut Steps) -> Result<()> {
    let (stack, rest, top) = (s.input(0)?, s.output(0), s.output(1));
    let n = rest.layout.shape[0];
    s.copy(&View { layout: stack.layout.slice(0, 0, n, 1), ..stack.clone() }, &rest)?;
    s.copy(&item(&stack, n), &top)
}

fn push_gradients(c: &VjpContext) -> Result<Gradients> {
    let (rest, top) = c.dy()?.stack_pop()?;
    Ok([Some(rest), Some(top)].into_iter().collect())
}

/// No gradient of the rest is the gradient of a rest that is empty: what a loop pops, another has pushed.
fn pop_gradients(c: &VjpContext) -> Result<Gradients> {
    let present = |i: usize| c.cotangents.get(i).and_then(Option::as_ref);
    let Some(like) = present(0).or(present(1)) else { return Ok([None].into_iter().collect()) };
    let or_zeros = |i: usize| match present(i) {
        Some(gradient) => Ok(gradient.clone()),
        None => {
            let ty = c.output_type(i)?;
            Tensor::zeros(&least(&ty), ty.dtype, like.device())
        }
    };
    Ok([Some(or_zeros(0)?.stack_push(&or_zeros(1)?)?)].into_iter().collect())
}

ops! {
    /// A stack with one more item on top.
    STACK_PUSH = "stack_push(Tensor stack, Tensor item) -> Tensor" {
        infer: infer_push,
        vjp: Vjp::Rule(Saves::NOTHING, push_gradients),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_push),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[2, 3]), t(&[3])]);
            s.case([t(&[0, 2]), t(&[2])]);
            s.case([t(&[3]), t(&[])]);
            s.case([t(&[1, 2, 0]), t(&[2, 0])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [f32s(&[2, 3]), f32s(&[2])]);
            e.case(ErrorKind::Shape, [f32s(&[]), f32s(&[])]);
        },
    }
    /// The rest of a stack, and the item that was on top.
    STACK_POP = "stack_pop(Tensor stack) -> (Tensor, Tensor)" {
        infer: infer_pop,
        vjp: Vjp::Rule(Saves::NOTHING, pop_gradients),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Steps(lower_pop),
        samples: |s| {
            let d = s.dtype;
            let t = |dims: &[usize]| tensor(d, dims, 0.0, 9.0);
            s.case([t(&[2, 3])]);
            s.case([t(&[1, 2, 2])]);
            s.case([t(&[4])]);
        },
        errors: |e| {
            e.case(ErrorKind::Index, [f32s(&[0, 2])]);
            e.case(ErrorKind::Shape, [f32s(&[])]);
        },
    }
}

impl Tensor {
    /// This stack with one more item on top.
    #[track_caller]
    pub fn stack_push(&self, item: &Tensor) -> Result<Tensor> {
        bind1(&STACK_PUSH, &[Arg::Tensor(self), Arg::Tensor(item)])
    }

    /// The rest of this stack, and the item that was on top.
    #[track_caller]
    pub fn stack_pop(&self) -> Result<(Tensor, Tensor)> {
        let mut both = bind(&STACK_POP, &[Arg::Tensor(self)], Origin::caller())?.into_iter();
        match (both.next(), both.next()) {
            (Some(rest), Some(top)) => Ok((rest, top)),
            _ => Err(Error::internal("a pop gives two results")),
        }
    }
}
