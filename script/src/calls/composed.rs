//! torch's calls that are methods of several ops: combining, arranging, spreads, losses with margins, and the overloads of
//! a name by the kinds of its arguments.

use super::{Call, Entry, Value, bind, one};
use runtime::error::{Error, Result};
use runtime::ops::{Bags, Spacing};
use runtime::{Arg, DType, DeviceId, Host, Scalar, Tensor};

fn dtype_method(c: &Call, dtype: DType) -> Result<Vec<Tensor>> {
    one(c.tensor("self")?.to(dtype))
}

/// `max` and `min`: of all elements, along a dimension, or of two tensors.
fn extreme(c: &Call, op: &str, all: &str, pair: &str) -> Result<Vec<Tensor>> {
    let x = c.tensor("input")?;
    match c.value("dim") {
        None if c.value("other").is_some() => bind(pair, &[Arg::Tensor(x), c.arg("other")?]),
        None => {
            if x.numel() == 0 {
                return Err(Error::shape(format!("{op} of no elements: {:?}", x.shape())));
            }
            bind(all, &[Arg::Tensor(x)])
        }
        Some(Value::Tensor(other)) => bind(pair, &[Arg::Tensor(x), Arg::Tensor(other)]),
        Some(_) => bind(op, &[Arg::Tensor(x), Arg::Int(c.int("dim", 0)?), c.arg("keepdim")?]),
    }
}

fn to(c: &Call) -> Result<Vec<Tensor>> {
    let x = c.tensor("self")?;
    let options: Vec<&Value> = match c.value("options") {
        Some(Value::List(list)) => list.iter().collect(),
        one => one.into_iter().collect(),
    };
    let asked = options.into_iter().chain(c.value("dtype")).chain(c.value("other")).find_map(|v| match v {
        Value::Host(Host::DType(d)) => Some(*d),
        Value::Tensor(t) => Some(t.dtype()),
        _ => None,
    });
    one(x.to(asked.unwrap_or(x.dtype())))
}

fn sizes(c: &Call, name: &str) -> Result<Vec<usize>> {
    c.ints(name)?
        .iter()
        .map(|&n| usize::try_from(n).map_err(|_| Error::value(format!("negative extent {n}"))))
        .collect()
}

/// Sections or places of a split: an int, ints, or a tensor of either.
fn tensor_split(c: &Call, sections: &str, dim: i64) -> Result<Vec<Tensor>> {
    let x = c.tensor("input")?;
    match c.value(sections) {
        Some(Value::Host(Host::Scalar(Scalar::Int(n)))) => x.tensor_split(*n, dim),
        Some(Value::Tensor(t)) if t.rank() == 0 => x.tensor_split(t.item()?.to_i64(), dim),
        Some(Value::Tensor(t)) => x.tensor_split_at(&t.to_vec::<i64>()?, dim),
        Some(_) => x.tensor_split_at(&c.ints(sections)?, dim),
        None => Err(Error::value("neither sections nor places to split at")),
    }
}

/// `hsplit`, `vsplit` and `dsplit`, which want equal parts and a rank.
fn split_along(c: &Call, least_rank: usize, dim: i64) -> Result<Vec<Tensor>> {
    let x = c.tensor("input")?;
    if x.rank() < least_rank {
        let what = format!("the split needs rank {least_rank} or more, got {:?}", x.shape());
        return Err(Error::shape(what));
    }
    if let Some(Value::Host(Host::Scalar(Scalar::Int(n)))) = c.value("sections") {
        let extent = x.size(dim)? as i64;
        if *n <= 0 {
            return Err(Error::value(format!("{n} sections")));
        }
        if extent % n != 0 {
            let what = format!("extent {extent} does not fall into {n} equal parts");
            return Err(Error::shape(what).at_dim(dim as isize));
        }
    }
    tensor_split(c, "sections", dim)
}

fn at_least(c: &Call, rank: usize) -> Result<Vec<Tensor>> {
    let raise = |x: &Tensor| match (rank, x.rank()) {
        (1, 0) => x.reshape(&[1]),
        (2, 0) => x.reshape(&[1, 1]),
        (2, 1) => x.unsqueeze(0),
        (3, 0) => x.reshape(&[1, 1, 1]),
        (3, 1) => x.unsqueeze(0)?.unsqueeze(2),
        (3, 2) => x.unsqueeze(2),
        _ => Ok(x.clone()),
    };
    c.tensors("tensors")?.iter().map(raise).collect()
}

fn spacing<'a>(c: &Call<'a>, places: &str, step: &str) -> Result<Spacing<'a>> {
    Ok(match c.optional(places)? {
        Some(x) => Spacing::Places(x),
        None => Spacing::Steps(c.float(step, 1.0)?),
    })
}

fn gradient(c: &Call) -> Result<Vec<Tensor>> {
    let x = c.tensor("input")?;
    let dims = match c.arg("dim")? {
        Arg::None => (0..x.rank() as i64).collect(),
        _ => c.ints("dim")?,
    };
    let order = c.int("edge_order", 1)?;
    let each: Vec<Spacing> = match c.value("spacing") {
        None => vec![Spacing::Steps(1.0); dims.len()],
        Some(Value::List(list)) => list
            .iter()
            .map(|v| match v {
                Value::Tensor(t) => Ok(Spacing::Places(t)),
                Value::Host(h) => h.as_arg().float().map(Spacing::Steps),
                other => Err(Error::value(format!("spacing cannot be {other:?}"))),
            })
            .collect::<Result<_>>()?,
        Some(Value::Host(Host::Ints(steps))) => steps.iter().map(|&h| Spacing::Steps(h as f64)).collect(),
        Some(_) => vec![Spacing::Steps(c.float("spacing", 1.0)?); dims.len()],
    };
    let rank = x.rank();
    let places = dims.iter().map(|&d| runtime::infer::wrap_dim(d, rank)).collect::<Result<Vec<_>>>()?;
    if (1..places.len()).any(|i| places[..i].contains(&places[i])) {
        return Err(Error::value(format!("a dimension comes twice in {dims:?}")));
    }
    if each.len() != dims.len() {
        return Err(Error::value(format!("{} spacings for {} dimensions", each.len(), dims.len())));
    }
    dims.iter().zip(each).map(|(&dim, spacing)| x.gradient(spacing, dim, order)).collect()
}

/// A host number or tensor on the left of `op`, this tensor on the right.
fn reversed(c: &Call, op: &str) -> Result<Vec<Tensor>> {
    let x = c.tensor("self")?;
    bind(op, &[Arg::Tensor(&c.weak("other", x.dtype())?), Arg::Tensor(x)])
}

fn new_filled(c: &Call, value: Arg) -> Result<Vec<Tensor>> {
    let x = c.tensor("self")?;
    one(Tensor::full(&sizes(c, "size")?, value, c.dtype(x.dtype())?, x.device()))
}

/// Rows and columns of the places of a matrix that lie on a side of a diagonal.
fn triangle(c: &Call, inside: impl Fn(i64, i64, i64) -> bool) -> Result<Vec<Tensor>> {
    let (rows, columns, offset) = (c.int("row", 0)?, c.int("col", 0)?, c.int("offset", 0)?);
    if rows < 0 || columns < 0 {
        return Err(Error::value(format!("a matrix of {rows} by {columns}")));
    }
    let places = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    let (i, j): (Vec<i64>, Vec<i64>) = places.filter(|&(i, j)| inside(i, j, offset)).unzip();
    one(Tensor::from_slice(&[&i[..], &j[..]].concat(), &[2, i.len()])?.to(c.dtype(DType::I64)?))
}

/// A tensor as floats, whole numbers in the default type.
fn floats(c: &Call, name: &str) -> Result<Tensor> {
    let x = c.tensor(name)?;
    if x.dtype().is_float() { Ok(x.clone()) } else { x.to(DType::F32) }
}

/// Within bounds, which are whole numbers for whole elements.
fn held(c: &Call, low: f64, high: f64, op: &str) -> Result<Vec<Tensor>> {
    let x = c.tensor("input")?;
    match x.dtype() {
        DType::Bool => Err(Error::dtype(format!("{op} is not defined for bool"))),
        d if d.is_float() => bind("hardtanh", &[Arg::Tensor(x), Arg::Float(low), Arg::Float(high)]),
        _ => one(x.clamp(low as i64, high as i64)),
    }
}

/// Numbers at equal distances between two ends, numbers or tensors; `whole` cuts their fractions off.
fn line(c: &Call, dtype: DType, whole: bool) -> Result<Tensor> {
    let steps = c.int("steps", 100)?;
    let steps = usize::try_from(steps).map_err(|_| Error::value(format!("{steps} steps")))?;
    let (start, end) = (c.arg("start")?, c.arg("end")?);
    let device = match (start, end) {
        (Arg::Tensor(t), _) | (_, Arg::Tensor(t)) => t.device(),
        _ => {
            let (start, end) = (start.float()?, end.float()?);
            let (start, end) = if whole { (start.trunc(), end.trunc()) } else { (start, end) };
            return Tensor::linspace(start, end, steps, dtype, DeviceId::Cpu);
        }
    };
    let read = |end: Arg| {
        let end = match end {
            Arg::Tensor(t) => t.to(DType::F64)?,
            number => Tensor::full(&[], number.float()?, DType::F64, device)?,
        };
        if whole { end.trunc() } else { Ok(end) }
    };
    Tensor::linspace_between(&read(start)?, &read(end)?, steps, dtype)
}

fn reduction<'a>(c: &Call<'a>) -> Result<&'a str> {
    c.str("reduction", "mean")
}

pub(super) const FUNCTIONS: &[Entry] = &[
    ("torch.max", "input dim? keepdim? other?", |c| extreme(c, "max", "amax", "maximum")),
    ("torch.min", "input dim? keepdim? other?", |c| extreme(c, "min", "amin", "minimum")),
    ("torch.nn.functional.linear", "input weight bias?", |c| {
        one(c.tensor("input")?.linear(c.tensor("weight")?, c.optional("bias")?))
    }),
    ("torch.nn.functional.gaussian_nll_loss", "input target var full? eps? reduction?", |c| {
        let (full, eps) = (c.flag("full", false)?, c.float("eps", 1e-6)?);
        let var = c.weak("var", c.tensor("input")?.dtype())?;
        one(c.tensor("input")?.gaussian_nll_loss(c.tensor("target")?, &var, full, eps, reduction(c)?))
    }),
    ("torch.nn.functional.one_hot", "input num_classes?", |c| {
        let x = c.tensor("input")?;
        let classes = match c.int("num_classes", -1)? {
            -1 if x.numel() > 0 => x.amax(&[], false)?.item()?.to_i64() + 1,
            n => n,
        };
        bind("one_hot", &[Arg::Tensor(x), Arg::Int(classes)])
    }),
    ("torch.nn.functional.hardtanh", "input min_val? max_val?", |c| {
        held(c, c.float("min_val", -1.0)?, c.float("max_val", 1.0)?, "hardtanh")
    }),
    ("torch.nn.functional.relu6", "input", |c| held(c, 0.0, 6.0, "relu6")),
    ("torch.nn.functional.tanhshrink", "input", |c| bind("tanhshrink", &[Arg::Tensor(&floats(c, "input")?)])),
    ("torch.nn.functional.softsign", "input", |c| bind("softsign", &[Arg::Tensor(&floats(c, "input")?)])),
    (
        "torch.nn.functional.poisson_nll_loss",
        "input target log_input? full? ~size_average? eps? ~reduce? reduction?",
        |c| {
            let (x, t) = (floats(c, "input")?, floats(c, "target")?);
            let options = [c.arg("log_input")?, c.arg("full")?, c.arg("eps")?, c.arg("reduction")?];
            let [log, full, eps, how] = options;
            bind("poisson_nll_loss", &[Arg::Tensor(&x), Arg::Tensor(&t), log, full, eps, how])
        },
    ),
    (
        "torch.nn.functional.margin_ranking_loss",
        "input1 input2 target margin? ~size_average? ~reduce? reduction?",
        |c| {
            let (a, b, t) = (c.tensor("input1")?, c.tensor("input2")?, c.tensor("target")?);
            if !a.dtype().is_float() {
                // Whole numbers are subtracted and multiplied as such before the margin is added.
                let apart = t.neg()?.mul(&a.sub(b)?)?.add(c.float("margin", 0.0)?)?.clamp(0.0, Arg::None)?;
                return match reduction(c)? {
                    "none" => one(Ok(apart)),
                    "sum" => one(apart.sum(&[], false)),
                    _ => one(apart.mean(&[], false)),
                };
            }
            let (b, t) = (floats(c, "input2")?, floats(c, "target")?);
            one(a.margin_ranking_loss(&b, &t, c.float("margin", 0.0)?, reduction(c)?))
        },
    ),
    ("torch.Tensor.unfold", "self dimension size step", |c| {
        let (dim, size, step) = (c.int("dimension", 0)?, c.int("size", 0)?, c.int("step", 1)?);
        one(c.tensor("self")?.unfold(dim, size, step))
    }),
    (
        "torch.nn.functional.embedding_bag",
        "input weight offsets? max_norm? norm_type? scale_grad_by_freq? mode? sparse? per_sample_weights? include_last_offset? padding_idx?",
        |c| {
            if c.value("max_norm").is_some() {
                return Err(Error::value("max_norm is not supported: it would change the table")
                    .hint("renorm the table first"));
            }
            let bags = Bags {
                offsets: c.optional("offsets")?,
                mode: c.str("mode", "mean")?,
                per_sample_weights: c.optional("per_sample_weights")?,
                include_last_offset: c.flag("include_last_offset", false)?,
                padding_idx: c.optional_int("padding_idx")?,
            };
            one(c.tensor("weight")?.embedding_bag(c.tensor("input")?, bags))
        },
    ),
    (
        "torch.nn.functional.triplet_margin_with_distance_loss",
        "anchor positive negative distance_function? margin? swap? reduction?",
        |c| {
            let (positive, negative) = (c.tensor("positive")?, c.tensor("negative")?);
            let (margin, swap) = (c.float("margin", 1.0)?, c.flag("swap", false)?);
            one(c.tensor("anchor")?.triplet_margin_loss(
                positive,
                negative,
                margin,
                2.0,
                1e-6,
                swap,
                reduction(c)?,
            ))
        },
    ),
    ("torch.unravel_index", "indices shape", |c| {
        let mut rest = c.tensor("indices")?.to(DType::I64)?;
        let mut out = Vec::new();
        for &n in c.ints("shape")?.iter().rev() {
            out.push(rest.remainder(n)?);
            rest = rest.floor_divide(n)?;
        }
        out.reverse();
        Ok(out)
    }),
    ("torch.triu_indices", "row col offset? dtype?", |c| triangle(c, |i, j, offset| j - i >= offset)),
    ("torch.tril_indices", "row col offset? dtype?", |c| triangle(c, |i, j, offset| j - i <= offset)),
    ("torch.kron", "input other", |c| one(c.tensor("input")?.kron(c.tensor("other")?))),
    ("torch.inner", "input other", |c| one(c.tensor("input")?.inner(c.tensor("other")?))),
    ("torch.vdot", "input other", |c| one(c.tensor("input")?.dot(c.tensor("other")?))),
    ("torch.block_diag", "*tensors", |c| one(Tensor::block_diag(&c.tensors("tensors")?))),
    ("torch.cartesian_prod", "*tensors", |c| one(Tensor::cartesian_prod(&c.tensors("tensors")?))),
    ("torch.combinations", "input r? with_replacement?", |c| {
        let again = c.flag("with_replacement", false)?;
        let r = c.int("r", 2)?;
        let r = usize::try_from(r).map_err(|_| Error::value(format!("combinations of {r} elements")))?;
        one(c.tensor("input")?.combinations(r, again))
    }),
    ("torch.column_stack", "tensors", |c| one(Tensor::column_stack(&c.tensors("tensors")?))),
    ("torch.broadcast_tensors", "*tensors", |c| Tensor::broadcast_tensors(&c.tensors("tensors")?)),
    ("torch.broadcast_to", "input size", |c| bind("expand", &[c.arg("input")?, c.arg("size")?])),
    ("torch.broadcast_shapes", "**shapes", |c| {
        let ints = |v: &Value| match v {
            Value::Host(h) => h.as_arg().extents().map(|d| d.to_vec()),
            other => Err(Error::value(format!("a shape cannot be {other:?}"))),
        };
        let shapes: Vec<Vec<usize>> = match c.value("shapes") {
            Some(Value::List(list)) => list.iter().map(ints).collect::<Result<_>>()?,
            Some(one) => vec![ints(one)?],
            None => Vec::new(),
        };
        let shape = Tensor::broadcast_shapes(&shapes.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
        one(Tensor::from_slice(&shape, &[shape.len()]))
    }),
    ("torch.Tensor.sum_to_size", "self *size", |c| {
        let (x, size) = (c.tensor("self")?, sizes(c, "size")?);
        // A sum of all elements, which widens integers even if there is one.
        one(if size.is_empty() { x.sum(&[], false) } else { x.sum_to_size(&size) })
    }),
    ("torch.Tensor.view_as", "self other", |c| {
        let shape: Vec<i64> = c.tensor("other")?.shape().iter().map(|&n| n as i64).collect();
        one(c.tensor("self")?.view(&shape))
    }),
    ("torch.Tensor.reshape_as", "self other", |c| {
        let shape: Vec<i64> = c.tensor("other")?.shape().iter().map(|&n| n as i64).collect();
        one(c.tensor("self")?.reshape(&shape))
    }),
    ("torch.Tensor.expand_as", "self other", |c| one(c.tensor("self")?.expand(c.tensor("other")?.shape()))),
    ("torch.diagflat", "input offset?", |c| one(c.tensor("input")?.diagflat(c.int("offset", 0)?))),
    ("torch.ravel", "input", |c| one(c.tensor("input")?.reshape(&[-1]))),
    ("torch.Tensor.adjoint", "self", |c| one(c.tensor("self")?.transpose(-2, -1))),
    ("torch.linalg.diagonal", "A offset? dim1? dim2?", |c| {
        let (offset, a, b) = (c.int("offset", 0)?, c.int("dim1", -2)?, c.int("dim2", -1)?);
        one(c.tensor("A")?.diagonal(offset, a, b))
    }),
    (
        "torch.tensor_split",
        "input indices_or_sections? dim? sections? indices? tensor_indices_or_sections?",
        |c| {
            let given = ["indices_or_sections", "sections", "indices", "tensor_indices_or_sections"];
            let given = given.into_iter().find(|name| c.value(name).is_some()).unwrap_or(given[0]);
            tensor_split(c, given, c.int("dim", 0)?)
        },
    ),
    ("torch.hsplit", "input sections", |c| split_along(c, 1, i64::from(c.tensor("input")?.rank() > 1))),
    ("torch.vsplit", "input sections", |c| split_along(c, 2, 0)),
    ("torch.dsplit", "input sections", |c| split_along(c, 3, 2)),
    ("torch.atleast_1d", "*tensors", |c| at_least(c, 1)),
    ("torch.atleast_2d", "*tensors", |c| at_least(c, 2)),
    ("torch.atleast_3d", "*tensors", |c| at_least(c, 3)),
    ("torch.equal", "input other", |c| one(c.tensor("input")?.equal(c.tensor("other")?))),
    ("torch.allclose", "input other rtol? atol? equal_nan?", |c| {
        let (rtol, atol) = (c.float("rtol", 1e-5)?, c.float("atol", 1e-8)?);
        one(c.tensor("input")?.allclose(c.tensor("other")?, rtol, atol, c.flag("equal_nan", false)?))
    }),
    ("torch.addbmm", "input batch1 batch2 beta? alpha?", |c| {
        let or_one = |a: Arg<'static>| if a.is_none() { Arg::Int(1) } else { a };
        let scalar = |name: &str| -> Result<Arg<'static>> {
            Ok(or_one(match c.arg(name)? {
                Arg::Int(n) => Arg::Int(n),
                Arg::Float(v) => Arg::Float(v),
                Arg::Bool(b) => Arg::Bool(b),
                _ => Arg::None,
            }))
        };
        let (beta, alpha) = (scalar("beta")?, scalar("alpha")?);
        one(c.tensor("input")?.addbmm(c.tensor("batch1")?, c.tensor("batch2")?, beta, alpha))
    }),
    ("torch.dist", "input other p?", |c| {
        one(c.tensor("input")?.dist(c.tensor("other")?, c.float("p", 2.0)?))
    }),
    ("torch.cdist", "x1 x2 p? compute_mode?", |c| {
        one(c.tensor("x1")?.cdist(c.tensor("x2")?, c.float("p", 2.0)?))
    }),
    ("torch.nn.functional.pdist", "input p?", |c| one(c.tensor("input")?.pdist(c.float("p", 2.0)?))),
    ("torch.cov", "input correction? fweights? aweights?", |c| {
        let (f, a) = (c.optional("fweights")?, c.optional("aweights")?);
        one(c.tensor("input")?.cov(c.int("correction", 1)?, f, a))
    }),
    ("torch.corrcoef", "input", |c| one(c.tensor("input")?.corrcoef())),
    ("torch.renorm", "input p dim maxnorm", |c| {
        one(c.tensor("input")?.renorm(c.float("p", 2.0)?, c.int("dim", 0)?, c.float("maxnorm", 1.0)?))
    }),
    ("torch.nn.functional.bilinear", "input1 input2 weight bias?", |c| {
        one(c.tensor("input1")?.bilinear(c.tensor("input2")?, c.tensor("weight")?, c.optional("bias")?))
    }),
    ("torch.trapezoid", "y x? dx? dim?", |c| {
        one(c.tensor("y")?.trapezoid(spacing(c, "x", "dx")?, c.int("dim", -1)?))
    }),
    ("torch.cumulative_trapezoid", "y x? dx? dim?", |c| {
        one(c.tensor("y")?.cumulative_trapezoid(spacing(c, "x", "dx")?, c.int("dim", -1)?))
    }),
    ("torch.gradient", "input spacing? dim? edge_order?", gradient),
    (
        "torch.nn.functional.multi_margin_loss",
        "input target p? margin? weight? ~size_average? ~reduce? reduction?",
        |c| {
            let (p, margin, weight) = (c.int("p", 1)?, c.float("margin", 1.0)?, c.optional("weight")?);
            one(c.tensor("input")?.multi_margin_loss(c.tensor("target")?, p, margin, weight, reduction(c)?))
        },
    ),
    ("torch.nn.functional.multilabel_margin_loss", "input target ~size_average? ~reduce? reduction?", |c| {
        one(c.tensor("input")?.multilabel_margin_loss(c.tensor("target")?, reduction(c)?))
    }),
    (
        "torch.nn.functional.multilabel_soft_margin_loss",
        "input target weight? ~size_average? ~reduce? reduction?",
        |c| {
            let weight = c.optional("weight")?;
            one(c.tensor("input")?.multilabel_soft_margin_loss(c.tensor("target")?, weight, reduction(c)?))
        },
    ),
    ("torch.rsub", "input other alpha?", |c| {
        let x = c.tensor("input")?;
        bind("sub", &[Arg::Tensor(&c.weak("other", x.dtype())?), Arg::Tensor(x), c.arg("alpha")?])
    }),
    ("torch.Tensor.__rdiv__", "self other", |c| reversed(c, "div")),
    ("torch.Tensor.__rmod__", "self other", |c| reversed(c, "remainder")),
    ("torch.Tensor.__rpow__", "self other", |c| reversed(c, "pow")),
    ("torch.Tensor.__rmatmul__", "self other", |c| reversed(c, "matmul")),
    ("torch.clamp_min", "input min", |c| {
        bind("clamp", &[Arg::Tensor(c.tensor("input")?), c.arg("min")?, Arg::None])
    }),
    ("torch.clamp_max", "input max", |c| {
        bind("clamp", &[Arg::Tensor(c.tensor("input")?), Arg::None, c.arg("max")?])
    }),
    ("torch.Tensor.where", "self condition other", |c| {
        bind("where", &[c.arg("condition")?, c.arg("self")?, c.arg("other")?])
    }),
    ("torch.Tensor.new_zeros", "self *size dtype?", |c| new_filled(c, Arg::Int(0))),
    ("torch.Tensor.new_ones", "self *size dtype?", |c| new_filled(c, Arg::Int(1))),
    ("torch.Tensor.new_empty", "self *size dtype?", |c| new_filled(c, Arg::Int(0))),
    ("torch.Tensor.new_full", "self size fill_value dtype?", |c| new_filled(c, c.arg("fill_value")?)),
    ("torch.scalar_tensor", "s dtype?", |c| {
        one(Tensor::full(&[], c.arg("s")?, c.dtype(DType::F32)?, DeviceId::Cpu))
    }),
    ("torch.fill", "input value", |c| {
        let x = c.tensor("input")?;
        let value = match c.arg("value")? {
            Arg::Tensor(t) if t.rank() > 0 => {
                return Err(Error::shape(format!("a value of rank 0 fills, got {:?}", t.shape())));
            }
            Arg::Tensor(t) => t.to(x.dtype())?,
            number => Tensor::full(&[], number, x.dtype(), x.device())?,
        };
        one(value.expand(x.shape())?.contiguous())
    }),
    ("torch.Tensor.item", "self", |c| {
        let x = c.tensor("self")?;
        if x.numel() != 1 {
            return Err(Error::shape(format!("item needs exactly one element, got shape {:?}", x.shape())));
        }
        let dtype = match x.dtype() {
            d if d.is_float() => DType::F32,
            DType::Bool => DType::Bool,
            _ => DType::I64,
        };
        one(x.reshape(&[])?.to(dtype))
    }),
    ("torch.clone", "input", |c| one(c.tensor("input")?.copy())),
    ("torch.Tensor.to", "self *options? dtype? other? non_blocking? copy?", to),
    ("torch.Tensor.float", "self", |c| dtype_method(c, DType::F32)),
    ("torch.Tensor.double", "self", |c| dtype_method(c, DType::F64)),
    ("torch.Tensor.half", "self", |c| dtype_method(c, DType::F16)),
    ("torch.Tensor.bfloat16", "self", |c| dtype_method(c, DType::BF16)),
    ("torch.Tensor.int", "self", |c| dtype_method(c, DType::I32)),
    ("torch.Tensor.long", "self", |c| dtype_method(c, DType::I64)),
    ("torch.Tensor.byte", "self", |c| dtype_method(c, DType::U8)),
    ("torch.Tensor.bool", "self", |c| dtype_method(c, DType::Bool)),
    ("torch.logspace", "start end steps base? dtype?", |c| {
        let (base, dtype) = (c.float("base", 10.0)?, c.dtype(DType::F32)?);
        // The ends are numbers of the result's type.
        let exponents = line(c, DType::F64, !dtype.is_float())?;
        let base = Tensor::full(&[], base, DType::F64, exponents.device())?;
        one(base.pow(&exponents)?.to(dtype))
    }),
    ("torch.linspace", "start end steps dtype?", |c| one(line(c, c.dtype(DType::F32)?, false))),
];
