//! torch's calls that draw random numbers, or would if they trained.

use super::{Call, Entry, bind, one};
use runtime::error::{Error, Result};
use runtime::{Arg, DType, DeviceId, Tensor};

/// The slopes of a random leaky ReLU: fixed where it does not train.
fn rrelu(c: &Call) -> Result<Vec<Tensor>> {
    let (x, low, high) = (c.tensor("input")?, c.float("lower", 1.0 / 8.0)?, c.float("upper", 1.0 / 3.0)?);
    if low > high {
        return Err(Error::value(format!("the lower bound {low} is above the upper one, {high}")));
    }
    if !c.flag("training", false)? {
        return bind("leaky_relu", &[Arg::Tensor(x), Arg::Float((low + high) / 2.0)]);
    }
    let slope = Tensor::rand(x.shape(), x.dtype(), x.device())?.mul(high - low)?.add(low)?;
    one(x.ge(0.0)?.select_where(x, &x.mul(&slope)?))
}

/// Whole feature maps dropped (`dropout1d` and so on), or noise that keeps mean and variance of SELU (`alpha`).
fn dropped(c: &Call, features: bool, alpha: bool) -> Result<Vec<Tensor>> {
    let (x, p) = (c.tensor("input")?, c.float("p", 0.5)?);
    // torch's defaults differ.
    let training = c.flag("training", !alpha)?;
    if !(0.0..=1.0).contains(&p) {
        return Err(Error::value(format!("the probability of dropping must be in [0, 1], got {p}")));
    }
    if !training || p == 0.0 || x.numel() == 0 {
        return one(x.copy());
    }
    if p == 1.0 {
        return one(x.mul(0.0));
    }
    let kept: Vec<usize> =
        x.shape().iter().enumerate().map(|(d, &n)| if features && d > 1 { 1 } else { n }).collect();
    let keep = Tensor::rand(&kept, DType::F32, x.device())?.ge(p)?;
    if !alpha {
        return one(x.mul(&keep.to(x.dtype())?)?.div(1.0 - p));
    }
    // The value that SELU tends to, and the affine map back to mean 0 and variance 1 (Klambauer et al. 2017).
    const LEAST: f64 = -1.758_099_340_847_376_6;
    let scale = ((1.0 - p) * (1.0 + p * LEAST * LEAST)).powf(-0.5);
    let noisy = keep.expand(x.shape())?.select_where(x, LEAST)?;
    one(noisy.mul(scale)?.sub(scale * LEAST * p))
}

/// The range of `randint`: one bound counts from 0.
fn bounds(c: &Call) -> Result<(i64, i64)> {
    let low = c.int("low", 0)?;
    Ok(c.optional_int("high")?.map_or((0, low), |high| (low, high)))
}

/// Categories drawn by their weights: with replacement by the place of a number among the running sums; without, those
/// whose exponential waiting times are shortest (Efraimidis and Spirakis 2006).
fn multinomial(c: &Call) -> Result<Vec<Tensor>> {
    let (p, n, again) = (c.tensor("input")?, c.int("num_samples", 1)?, c.flag("replacement", false)?);
    if !p.dtype().is_float() {
        return Err(Error::dtype(format!("weights must be floats, got {}", p.dtype())));
    }
    let Some(&categories) = p.shape().last().filter(|_| p.rank() <= 2) else {
        return Err(Error::shape(format!("weights are a vector or rows of a matrix, got {:?}", p.shape())));
    };
    if n <= 0 {
        return Err(Error::value(format!("{n} samples")));
    }
    if categories == 0 || (!again && n as usize > categories) {
        let what = format!("{n} samples without replacement from {categories} categories");
        return Err(Error::value(what));
    }
    if p.traced().is_none() {
        let rows = p.to_f64_vec()?;
        let bad = rows.iter().find(|w| !w.is_finite() || **w < 0.0);
        if let Some(w) = bad {
            return Err(Error::value(format!("a weight must be finite and not negative, got {w}")));
        }
        if rows.chunks(categories).any(|row| row.iter().sum::<f64>() <= 0.0) {
            return Err(Error::value("the weights of a row sum to 0"));
        }
        if !again && rows.chunks(categories).any(|row| row.iter().filter(|w| **w > 0.0).count() < n as usize)
        {
            return Err(Error::value(format!("a row has fewer than {n} weights above 0")));
        }
    }
    let p = p.to(DType::F64)?;
    if !again {
        let waits = Tensor::rand(p.shape(), DType::F64, p.device())?.neg()?.log1p()?.neg()?.div(&p)?;
        return one(waits.topk(n, -1, false)?.1.detach());
    }
    let mut shape = p.shape().to_vec();
    shape[p.rank() - 1] = n as usize;
    let sums = p.cumsum(-1)?;
    let drawn =
        Tensor::rand(&shape, DType::F64, p.device())?.mul(&sums.narrow(-1, categories as i64 - 1, 1)?)?;
    let below = sums.unsqueeze(-2)?.le(&drawn.unsqueeze(-1)?)?.to(DType::I64)?.sum(&[-1], false)?;
    one(below.clamp(0i64, categories as i64 - 1))
}

pub(super) const FUNCTIONS: &[Entry] = &[
    ("torch.nn.functional.rrelu", "input lower? upper? training?", rrelu),
    ("torch.nn.functional.dropout1d", "input p? training?", |c| dropped(c, true, false)),
    ("torch.nn.functional.dropout2d", "input p? training?", |c| dropped(c, true, false)),
    ("torch.nn.functional.dropout3d", "input p? training?", |c| dropped(c, true, false)),
    ("torch.nn.functional.alpha_dropout", "input p? training?", |c| dropped(c, false, true)),
    ("torch.nn.functional.feature_alpha_dropout", "input p? training?", |c| dropped(c, true, true)),
    ("torch.normal", "mean std? size? dtype?", |c| {
        let std = c.weak("std", DType::F32)?;
        if std.traced().is_none() && std.to_f64_vec()?.iter().any(|s| *s < 0.0) {
            return Err(Error::value("a standard deviation must not be negative"));
        }
        let mean = c.weak("mean", DType::F32)?;
        let shape = match c.value("size") {
            Some(_) => c.arg("size")?.extents()?.to_vec(),
            None => Tensor::broadcast_shapes(&[mean.shape(), std.shape()])?,
        };
        let noise = Tensor::randn(&shape, c.dtype(mean.dtype().promote(std.dtype()))?, mean.device())?;
        one(noise.mul(&std)?.add(&mean))
    }),
    ("torch.multinomial", "input num_samples replacement?", multinomial),
    ("torch.bernoulli", "input p?", |c| {
        let x = c.tensor("input")?;
        let drawn = Tensor::rand(x.shape(), DType::F32, x.device())?;
        let p = c.optional_float("p")?;
        let hit = p.map_or_else(|| drawn.lt(x), |p| drawn.lt(p))?;
        one(hit.to(x.dtype()))
    }),
    ("torch.rand", "*size dtype?", |c| {
        one(Tensor::rand(&c.arg("size")?.extents()?, c.dtype(DType::F32)?, DeviceId::Cpu))
    }),
    ("torch.randn", "*size dtype?", |c| {
        one(Tensor::randn(&c.arg("size")?.extents()?, c.dtype(DType::F32)?, DeviceId::Cpu))
    }),
    ("torch.randperm", "n dtype?", |c| {
        let n = usize::try_from(c.int("n", 0)?)
            .map_err(|_| Error::value("a permutation of less than nothing"))?;
        // Of doubles hardly two are equal; the sort breaks such a tie by place.
        let order = Tensor::rand(&[n], DType::F64, DeviceId::Cpu)?.argsort(0, false)?;
        one(order.to(c.dtype(DType::I64)?))
    }),
    ("torch.rand_like", "input dtype?", |c| {
        let x = c.tensor("input")?;
        one(Tensor::rand(x.shape(), c.dtype(x.dtype())?, x.device()))
    }),
    ("torch.randn_like", "input dtype?", |c| {
        let x = c.tensor("input")?;
        one(Tensor::randn(x.shape(), c.dtype(x.dtype())?, x.device()))
    }),
    ("torch.randint_like", "input low high? dtype?", |c| {
        let x = c.tensor("input")?;
        let (low, high) = bounds(c)?;
        one(Tensor::randint(low, high, x.shape(), c.dtype(x.dtype())?, x.device()))
    }),
    ("torch.randint", "low? high? *size? dtype?", |c| {
        // One bound counts from 0, and the size then comes second.
        let (low, high, size) = match c.value("size") {
            Some(_) => (c.int("low", 0)?, c.int("high", 0)?, c.arg("size")?.extents()?),
            None => (0, c.int("low", 0)?, c.arg("high")?.extents()?),
        };
        one(Tensor::randint(low, high, &size, c.dtype(DType::I64)?, DeviceId::Cpu))
    }),
];
