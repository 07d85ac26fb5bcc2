//! Reads and writes of Variables.

use crate::error::Result;
use crate::samples::{host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use kernels::DType;
use smallvec::smallvec;

ops! {
    /// The value of the Variable with this identity, whose present tensor is the first operand.
    READ_VARIABLE = "read_variable(Tensor self, int variable) -> Tensor" {
        infer: |c| Ok(smallvec![c.tensor(0)?.clone()]),
        vjp: Vjp::Rule(Saves::NOTHING, |c| Ok(smallvec![Some(c.dy()?.clone())])),
        effect: Effect::Read,
        cost: cost::free,
        lower: Lower::View(|v| Ok(Some(v.layout.clone())), Some(|l| {
            let x = l.input(0)?;
            l.output(x);
            Ok(())
        })),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[2, 3], 0.0, 9.0), host(-1i64)]);
        },
        errors: |_| {},
    }
    /// The new value of the Variable with this identity: the second operand. Used with the door's `mutate` alone.
    ASSIGN_VARIABLE = "assign_variable(Tensor self, Tensor value, int variable) -> Tensor" {
        infer: |c| {
            let (old, new) = (c.tensor(0)?, c.tensor(1)?);
            if old != new {
                return Err(crate::error::Error::shape(format!("a variable of type {old} cannot become {new}")));
            }
            Ok(smallvec![new.clone()])
        },
        vjp: Vjp::None("an assignment is an effect; read the variable after it"),
        effect: Effect::Write,
        cost: cost::per_output::<0>,
        lower: Lower::Map(|l| {
            let x = l.input(1)?;
            l.output(x);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[2, 3], 0.0, 9.0), tensor(d, &[2, 3], 0.0, 9.0), host(-1i64)]);
        },
        errors: |e| e.case(
            crate::error::ErrorKind::Shape,
            [tensor(DType::F32, &[2], 0.0, 1.0), tensor(DType::F32, &[3], 0.0, 1.0), host(-1i64)],
        ),
    }
    /// The elements of `data` with the history of `self`: what a tensor is after a write that autograd does not see, under
    /// `no_grad` or through `detach`. The gradient is that of `self`.
    SET_DATA = "set_data(Tensor self, Tensor data) -> Tensor" {
        infer: |c| {
            let (target, data) = (c.tensor(0)?, c.tensor(1)?);
            if target != data {
                return Err(crate::error::Error::shape(format!("{data} cannot be the data of {target}")));
            }
            Ok(smallvec![target.clone()])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| Ok(smallvec![Some(c.dy()?.clone()), None])),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Map(|l| {
            let x = l.input(1)?;
            l.output(x);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[2, 3], 0.0, 9.0), tensor(d, &[2, 3], 0.0, 9.0)]);
        },
        errors: |e| e.case(
            crate::error::ErrorKind::Shape,
            [tensor(DType::F32, &[3], 0.0, 1.0), tensor(DType::F32, &[2, 3], 0.0, 1.0)],
        ),
    }
    /// The second operand in the shape and type of the first, whose elements it replaces. Used with the door's `mutate`.
    COPY = "copy(Tensor self, Tensor src) -> Tensor" {
        infer: |c| {
            let (target, source) = (c.tensor(0)?, c.tensor(1)?);
            if crate::infer::broadcast(&target.shape, &source.shape)? != target.shape {
                return Err(crate::error::Error::shape(format!("{source} does not fit into {target}")));
            }
            Ok(smallvec![target.clone()])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| {
            let source = c.input_type(1)?;
            let gradient = c.dy()?.sum_to_size(&source.constant_dims()?)?;
            Ok(smallvec![None, Some(gradient.to(source.dtype)?)])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Map(|l| {
            let (dtype, dims) = (l.dtype(0), l.dims(0));
            let x = l.operand(1, dtype)?;
            let y = l.region.expand(x, &dims);
            l.output(y);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[2, 3], 0.0, 9.0), tensor(d, &[2, 3], 0.0, 9.0)]);
            s.case([tensor(d, &[2, 3], 0.0, 9.0), tensor(d, &[3], 0.0, 9.0)]);
        },
        errors: |e| e.case(
            crate::error::ErrorKind::Shape,
            [tensor(DType::F32, &[3], 0.0, 1.0), tensor(DType::F32, &[2, 3], 0.0, 1.0)],
        ),
    }
}

/// The write of `ASSIGN_VARIABLE` when no interpreter is left: the variable holds the value's tensor from now on.
pub(crate) fn assign_now(args: &[crate::value::Arg]) -> Result<()> {
    use crate::value::Arg;
    let (Some(Arg::Tensor(value)), Some(Arg::Int(id))) = (args.get(1), args.get(2)) else {
        return Err(crate::error::Error::internal("assign_variable takes a tensor and an identity"));
    };
    match crate::variable::Variable::find(*id as u64) {
        Some(variable) => variable.replace(value.alias()),
        None => Err(crate::error::Error::value("the variable no longer exists")),
    }
}
