//! Views and copies: the same elements in another place, order or type.

use crate::door::bind1;
use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, TensorType};
use crate::samples::{host, tensor};
use crate::table::{Effect, Lower, Saves, Vjp, cost, ops};
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::DType;
use smallvec::smallvec;

ops! {
    /// A dense copy.
    CLONE = "clone(Tensor self) -> Tensor" {
        infer: |c| Ok(smallvec![c.tensor(0)?.clone()]),
        vjp: Vjp::Rule(Saves::NOTHING, |c| Ok(smallvec![Some(c.dy()?.clone())])),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Map(|l| {
            let x = l.input(0)?;
            l.output(x);
            Ok(())
        }),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[2, 3], 0.0, 9.0)]);
            s.case([tensor(d, &[], 0.0, 9.0)]);
        },
        errors: |_| {},
    }
    /// Converted to another element type; float to integer truncates.
    TO = "to(Tensor self, ScalarType dtype) -> Tensor" {
        infer: |c| Ok(smallvec![c.tensor(0)?.with_dtype(c.host(1)?.dtype()?)]),
        vjp: Vjp::Rule(Saves::NOTHING, |c| {
            let from = c.input_type(0)?.dtype;
            Ok(smallvec![if from.is_float() { Some(c.dy()?.to(from)?) } else { None }])
        }),
        effect: Effect::Pure,
        cost: cost::per_output::<0>,
        lower: Lower::Map(|l| {
            let dtype = l.dtype(0);
            let y = l.operand(0, dtype)?;
            l.output(y);
            Ok(())
        }),
        samples: |s| for to in DType::ALL {
            let d = s.dtype;
            s.case([tensor(d, &[2, 3], 0.0, 9.0), host(to)]);
        },
        errors: |e| e.case(ErrorKind::Value, [tensor(DType::F32, &[2], 0.0, 1.0), host(1i64)]),
    }
    /// A view with a dimension of extent 1 inserted at `dim`.
    UNSQUEEZE = "unsqueeze(Tensor self, int dim) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let at = c.dim(1, t.rank() + 1)?;
            let mut out = t.clone();
            out.shape.insert(at, Dim::ONE);
            Ok(smallvec![out])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| {
            let at = crate::infer::wrap_dim(c.host(1)?.int()?, c.input_type(0)?.rank() + 1)?;
            Ok(smallvec![Some(c.dy()?.squeeze(at as i64)?)])
        }),
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(
            |v| Ok(Some(v.layout.unsqueeze(crate::infer::wrap_dim(v.host(1)?.int()?, v.layout.rank() + 1)?))),
            Some(|l| {
                let x = l.input(0)?;
                let at = crate::infer::wrap_dim(l.host(1)?.int()?, l.region.shape(x).len() + 1)?;
                let y = l.region.unsqueeze(x, at);
                l.output(y);
                Ok(())
            }),
        ),
        samples: |s| for at in [0i64, 1, -1] {
            let d = s.dtype;
            s.case([tensor(d, &[2, 3], 0.0, 9.0), host(at)]);
        },
        errors: |e| e.case(ErrorKind::Index, [tensor(DType::F32, &[2], 0.0, 1.0), host(3i64)]),
    }
    /// A view without dimension `dim`, if its extent is 1; else the tensor as it is.
    SQUEEZE = "squeeze(Tensor self, int dim) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let at = c.dim(1, t.rank())?;
            let mut out = t.clone();
            if at < out.shape.len() && out.shape[at].is(1) {
                out.shape.remove(at);
            }
            Ok(smallvec![out])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| {
            let ty = c.input_type(0)?;
            let at = crate::infer::wrap_dim(c.host(1)?.int()?, ty.rank())?;
            let squeezed = at < ty.rank() && ty.shape[at].is(1);
            Ok(smallvec![Some(if squeezed { c.dy()?.unsqueeze(at as i64)? } else { c.dy()?.clone() })])
        }),
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(
            |v| {
                let at = crate::infer::wrap_dim(v.host(1)?.int()?, v.layout.rank())?;
                let one = at < v.layout.rank() && v.layout.shape[at] == 1;
                Ok(Some(if one { v.layout.select(at, 0) } else { v.layout.clone() }))
            },
            Some(|l| {
                let x = l.input(0)?;
                let at = crate::infer::wrap_dim(l.host(1)?.int()?, l.region.shape(x).len())?;
                let one = l.region.shape(x).get(at) == Some(&1);
                let y = if one { l.region.squeeze(x, at) } else { x };
                l.output(y);
                Ok(())
            }),
        ),
        samples: |s| for at in [0i64, 1, -1] {
            let d = s.dtype;
            s.case([tensor(d, &[2, 1, 3], 0.0, 9.0), host(at)]);
        },
        errors: |e| e.case(ErrorKind::Index, [tensor(DType::F32, &[2], 0.0, 1.0), host(3i64)]),
    }
    /// A view in which dimensions of extent 1 (and new leading ones) repeat; -1 keeps an extent.
    EXPAND = "expand(Tensor self, int[] size) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let size = c.host(1)?.ints()?;
            let missing = size.len().checked_sub(t.rank()).ok_or_else(|| {
                Error::shape(format!("cannot expand {t} to {:?}: fewer dimensions", size.as_slice()))
            })?;
            let mut shape = crate::infer::Shape::new();
            for (i, &n) in size.iter().enumerate() {
                let have = if i < missing { Dim::ONE } else { t.shape[i - missing] };
                shape.push(match n {
                    -1 if i >= missing => have,
                    n if n >= 0 && (have.is(n as usize) || have.is(1)) => Dim::constant(n as usize),
                    _ => return Err(Error::shape(format!("cannot expand {t} to {:?}: {have} against {n}", size.as_slice())).at_dim(i as isize)),
                });
            }
            Ok(smallvec![TensorType { dtype: t.dtype, shape }])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| Ok(smallvec![Some(c.dy()?.sum_to_size(&c.input_dims(0)?)?)])),
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(
            |v| v.layout.broadcast_to(v.output).map(Some).ok_or_else(|| Error::internal("shape rule and layout disagree")),
            Some(|l| {
                let (x, dims) = (l.input(0)?, l.dims(0));
                let y = l.region.expand(x, &dims);
                l.output(y);
                Ok(())
            }),
        ),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[2, 1], 0.0, 9.0), host(&[4i64, -1, 3])]);
            s.case([tensor(d, &[], 0.0, 9.0), host(&[2i64, 2])]);
        },
        errors: |e| {
            e.case(ErrorKind::Shape, [tensor(DType::F32, &[2, 3], 0.0, 1.0), host(&[2i64, 4])]);
            e.case(ErrorKind::Shape, [tensor(DType::F32, &[2, 3], 0.0, 1.0), host(&[3i64])]);
        },
    }
    /// A view with the dimensions in another order.
    PERMUTE = "permute(Tensor self, int[] dims) -> Tensor" {
        infer: |c| {
            let t = c.tensor(0)?;
            let order = order(c.host(1)?, t.rank())?;
            Ok(smallvec![TensorType { dtype: t.dtype, shape: order.iter().map(|&i| t.shape[i]).collect() }])
        },
        vjp: Vjp::Rule(Saves::NOTHING, |c| {
            let order = order(c.host(1)?, c.input_type(0)?.rank())?;
            let mut inverse = vec![0i64; order.len()];
            order.iter().enumerate().for_each(|(to, &from)| inverse[from] = to as i64);
            Ok(smallvec![Some(c.dy()?.permute(&inverse)?)])
        }),
        effect: Effect::View(0),
        cost: cost::free,
        lower: Lower::View(
            |v| Ok(Some(v.layout.permute(&order(v.host(1)?, v.layout.rank())?))),
            Some(|l| {
                let x = l.input(0)?;
                let order = order(l.host(1)?, l.region.shape(x).len())?;
                let y = l.region.permute(x, &order);
                l.output(y);
                Ok(())
            }),
        ),
        samples: |s| {
            let d = s.dtype;
            s.case([tensor(d, &[2, 3, 4], 0.0, 9.0), host(&[2i64, 0, -2])]);
            s.case([tensor(d, &[], 0.0, 9.0), host(&[] as &[i64])]);
        },
        errors: |e| {
            e.case(ErrorKind::Value, [tensor(DType::F32, &[2, 3], 0.0, 1.0), host(&[0i64, 0])]);
            e.case(ErrorKind::Shape, [tensor(DType::F32, &[2, 3], 0.0, 1.0), host(&[0i64])]);
        },
    }
}

/// A permutation of `rank` dimensions.
fn order(arg: Arg, rank: usize) -> Result<kernels::Dims> {
    let list = arg.ints()?;
    let order = list.iter().map(|&d| crate::infer::wrap_dim(d, rank)).collect::<Result<kernels::Dims>>()?;
    if order.len() != rank {
        return Err(Error::shape(format!(
            "{:?} does not name every one of {rank} dimensions",
            list.as_slice()
        )));
    }
    let is_permutation = (0..rank).all(|i| order.contains(&i));
    if !is_permutation {
        return Err(Error::value(format!("{:?} is not a permutation of {rank} dimensions", list.as_slice())));
    }
    Ok(order)
}

impl Tensor {
    /// A dense copy (torch's `clone`; the Rust method of that name copies the handle).
    #[track_caller]
    pub fn copy(&self) -> Result<Tensor> {
        bind1(&CLONE, &[Arg::Tensor(self)])
    }

    /// Converted to `dtype`; itself if it has that type.
    #[track_caller]
    pub fn to(&self, dtype: DType) -> Result<Tensor> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        bind1(&TO, &[Arg::Tensor(self), Arg::DType(dtype)])
    }

    /// With a dimension of extent 1 inserted at `dim`.
    #[track_caller]
    pub fn unsqueeze(&self, dim: i64) -> Result<Tensor> {
        bind1(&UNSQUEEZE, &[Arg::Tensor(self), Arg::Int(dim)])
    }

    /// Without dimension `dim`, if its extent is 1.
    #[track_caller]
    pub fn squeeze(&self, dim: i64) -> Result<Tensor> {
        bind1(&SQUEEZE, &[Arg::Tensor(self), Arg::Int(dim)])
    }

    /// Repeated along dimensions of extent 1 to `size`.
    #[track_caller]
    pub fn expand(&self, size: &[usize]) -> Result<Tensor> {
        let size: smallvec::SmallVec<[i64; 6]> = size.iter().map(|&n| n as i64).collect();
        bind1(&EXPAND, &[Arg::Tensor(self), Arg::Ints(&size)])
    }

    /// With the dimensions in another order.
    #[track_caller]
    pub fn permute(&self, dims: &[i64]) -> Result<Tensor> {
        bind1(&PERMUTE, &[Arg::Tensor(self), Arg::Ints(dims)])
    }

    /// With two dimensions exchanged.
    #[track_caller]
    pub fn transpose(&self, a: i64, b: i64) -> Result<Tensor> {
        let wrap = |d| crate::infer::wrap_dim(d, self.rank()).map_err(|e| e.in_op("transpose"));
        let (a, b) = (wrap(a)?, wrap(b)?);
        let mut dims: smallvec::SmallVec<[i64; 6]> = (0..self.rank() as i64).collect();
        if self.rank() > 0 {
            dims.swap(a, b);
        }
        self.permute(&dims)
    }
}
