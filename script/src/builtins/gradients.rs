//! Gradients as torch's eager mode takes them: `backward`, `torch.autograd.grad`, and what tensors know of them.

use super::{Builtin, line};
use crate::value::Value;
use eager::{Autograd, BackwardOptions, GradOptions};
use runtime::error::Result;
use runtime::{Tensor, door};

/// A tensor, or the tensors of a list or tuple, some of them left out.
fn tensors(value: &Value) -> Result<Vec<Option<Tensor>>> {
    let one = |value: &Value| match value {
        Value::None => Ok(None),
        other => other.tensor().cloned().map(Some),
    };
    match value {
        Value::Tensor(_) => Ok(vec![one(value)?]),
        list => list.elements()?.iter().map(one).collect(),
    }
}

fn present(tensors: &[Option<Tensor>]) -> Vec<&Tensor> {
    tensors.iter().flatten().collect()
}

/// A bool that may be left out.
fn flag(value: &Value) -> Result<Option<bool>> {
    match value {
        Value::None => Ok(None),
        other => other.bool().map(Some),
    }
}

fn gradient(a: &mut [Value]) -> Result<Value> {
    let (outputs, inputs) = (tensors(&a[0])?, tensors(&a[1])?);
    let given = match &a[2] {
        Value::None => None,
        given => Some(tensors(given)?),
    };
    let given: Option<Vec<Option<&Tensor>>> = given.as_ref().map(|g| g.iter().map(Option::as_ref).collect());
    let options = GradOptions {
        grad_outputs: given.as_deref(),
        retain_graph: flag(&a[3])?,
        create_graph: a[4].truth()?,
        allow_unused: a[5].truth()?,
        ..GradOptions::default()
    };
    let gradients = eager::grad(&present(&outputs), &present(&inputs), options)?;
    Ok(Value::list(gradients.into_iter().map(Value::from)))
}

fn backward(a: &mut [Value]) -> Result<Value> {
    let gradient = match &a[1] {
        Value::None => None,
        gradient => Some(gradient.tensor()?),
    };
    let options =
        BackwardOptions { gradient, retain_graph: flag(&a[2])?, create_graph: a[3].truth()?, inputs: None };
    a[0].tensor()?.backward_with(options)?;
    Ok(Value::None)
}

pub(super) const BUILTINS: &[Builtin] = &[
    line("torch.autograd.grad", "...", |a, _| gradient(a)),
    line(
        "Tensor.backward",
        "(self: Tensor, gradient: Optional[Tensor] = None, retain_graph: Optional[bool] = None, \
         create_graph: bool = False) -> None",
        |a, _| backward(a),
    ),
    line("Tensor.requires_grad", "(self: Tensor) -> bool", |a, _| {
        Ok(Value::Bool(a[0].tensor()?.requires_grad()))
    }),
    line("Tensor.requires_grad_", "(self: Tensor, requires_grad: bool = True) -> Tensor", |a, _| {
        a[0].tensor()?.requires_grad_(a[1].truth()?).map(Value::Tensor)
    }),
    line("Tensor.is_leaf", "(self: Tensor) -> bool", |a, _| Ok(Value::Bool(a[0].tensor()?.is_leaf()))),
    line("Tensor.grad", "(self: Tensor) -> Optional[Tensor]", |a, _| Ok(a[0].tensor()?.grad().into())),
    line("Tensor.retain_grad", "(self: Tensor) -> None", |a, _| {
        a[0].tensor()?.retain_grad().map(|()| Value::None)
    }),
    line("Tensor.detach_", "(self: Tensor) -> Tensor", |a, _| {
        let t = a[0].tensor()?;
        // A view's history is also its base's: cut off alone, it would lie.
        if t.base().is_some() {
            let e = runtime::Error::gradient("a view cannot be detached in place");
            return Err(e.in_op("detach_").hint("use detach()"));
        }
        t.set_slot(None);
        Ok(a[0].clone())
    }),
    // Decided where a program becomes a graph (`scripted::lower`); wherever it is interpreted it is not scripted.
    line("torch.jit.is_scripting", "() -> bool", |_, _| Ok(Value::Bool(false))),
    line("torch.jit.is_tracing", "() -> bool", |_, _| {
        Ok(Value::Bool(graph::trace::is_tracing() && !graph::trace::is_staging()))
    }),
    line("torch.is_grad_enabled", "() -> bool", |_, _| Ok(Value::Bool(door::grad_enabled()))),
];
