//! Normalisation over the batch: batch_norm and instance_norm with running statistics, local_response_norm. Rows of a
//! channel are what layer_norm knows already, so the statistics, the kernel and the gradients are its own.

use super::convolution::batched;
use super::pools::Pool;
use super::rules::{float_only, ints};
use super::{COPY, LAYER_NORM};
use crate::door::{bind, mutate};
use crate::error::{Error, Origin, Result};
use crate::tensor::Tensor;
use crate::value::Arg;
use smallvec::SmallVec;

/// Means and variances that follow those of the batches.
#[derive(Clone, Copy, Debug)]
pub struct Running<'a> {
    /// Running mean of each channel.
    pub mean: Option<&'a Tensor>,
    /// Running variance of each channel.
    pub variance: Option<&'a Tensor>,
    /// Part of a batch's statistics in the new running ones.
    pub momentum: f64,
}

/// running = (1 - momentum) running + momentum seen, in place.
fn follow(running: Option<&Tensor>, seen: &Tensor, momentum: f64) -> Result<()> {
    let Some(running) = running else { return Ok(()) };
    let wide = seen.dtype();
    let next = running.detach()?.to(wide)?.mul(1.0 - momentum)?.add(&seen.mul(momentum)?)?;
    mutate(&COPY, &[Arg::Tensor(running), Arg::Tensor(&next)], Origin::caller())
}

/// A vector of channels laid along dimension 1, in this type.
fn by_channel(x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let mut shape: SmallVec<[i64; 6]> = smallvec::smallvec![1; x.rank()];
    shape[1] = -1;
    v.to(x.dtype())?.reshape(&shape)
}

fn scaled(mut y: Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<Tensor> {
    if let Some(weight) = weight {
        y = y.mul(&by_channel(&y, weight)?)?;
    }
    if let Some(bias) = bias {
        y = y.add(&by_channel(&y, bias)?)?;
    }
    Ok(y)
}

/// What no elements become: themselves, with a history that gives vectors of channels a gradient of zeros.
fn nothing(x: &Tensor, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Result<[Tensor; 3]> {
    let mut y = x.copy()?;
    for v in [weight, bias].into_iter().flatten() {
        let sum = v.to(x.dtype())?.sum(&[], false)?;
        y = y.add(&sum)?;
    }
    let none = Tensor::zeros(&[0], x.dtype(), x.device())?;
    Ok([y, none.clone(), none])
}

/// Every vector of channels must have as many elements as there are channels.
fn check(x: &Tensor, vectors: &[Option<&Tensor>]) -> Result<()> {
    float_only(x.dtype())?;
    if x.rank() < 2 && x.numel() > 0 {
        return Err(Error::shape(format!("expected an input of rank 2 or more, got {:?}", x.shape())));
    }
    if x.rank() < 2 {
        return Ok(());
    }
    let channels = x.shape()[1];
    match vectors.iter().flatten().find(|v| v.shape() != [channels]) {
        Some(v) => Err(Error::shape(format!("{:?} does not fit {channels} channels", v.shape()))),
        None => Ok(()),
    }
}

impl Tensor {
    /// Each channel (dimension 1) brought to mean 0 and variance 1 over everything else, then scaled and shifted; with the
    /// means and 1 / deviations of the batch. While `training` the batch's own statistics count, and the running ones
    /// follow them in place; else the running ones count.
    #[track_caller]
    pub fn native_batch_norm(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        running: Running,
        training: bool,
        eps: f64,
    ) -> Result<[Tensor; 3]> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("batch_norm").at(origin);
        check(self, &[weight, bias, running.mean, running.variance]).map_err(explain)?;
        let own = self.dtype();
        let x = self.to(own.accumulator())?;
        if self.numel() == 0 {
            return nothing(self, weight, bias);
        }
        if !training {
            let (Some(mean), Some(variance)) = (running.mean, running.variance) else {
                let what = "running statistics are needed where the batch's own do not count";
                return Err(explain(Error::value(what)));
            };
            let scale = by_channel(&x, variance)?.add(eps)?.rsqrt()?;
            let y = x.sub(&by_channel(&x, mean)?)?.mul(&scale)?;
            let none = Tensor::zeros(&[0], own, self.device())?;
            return Ok([scaled(y, weight, bias)?.to(own)?, none.clone(), none]);
        }
        let rows = x.transpose(0, 1)?;
        let rest = ints(&rows.shape()[1..]);
        let args = [Arg::Tensor(&rows), Arg::Ints(&rest), Arg::None, Arg::None, Arg::Float(eps)];
        let found = bind(&LAYER_NORM, &args, origin)?;
        let (mean, deviation) = (found[1].reshape(&[-1])?, found[2].reshape(&[-1])?);
        follow(running.mean, &mean.detach()?, running.momentum)?;
        if running.variance.is_some() {
            let others: SmallVec<[i64; 6]> = (1..rows.rank() as i64).collect();
            follow(running.variance, &rows.detach()?.var(&others, 1.0, false)?, running.momentum)?;
        }
        let y = scaled(found[0].transpose(0, 1)?, weight, bias)?.to(own)?;
        Ok([y, mean.to(own)?, deviation.to(own)?])
    }

    /// `native_batch_norm` without the statistics; a batch that trains must have more than one element of a channel.
    #[track_caller]
    pub fn batch_norm(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        running: Running,
        training: bool,
        eps: f64,
    ) -> Result<Tensor> {
        let others = self.shape().iter().enumerate().filter(|(d, _)| *d != 1);
        if training && self.rank() >= 2 && others.map(|(_, n)| n).product::<usize>() == 1 {
            let what = format!("{:?} has one element of each channel, which has no variance", self.shape());
            return Err(Error::shape(what).in_op("batch_norm").at(Origin::caller()));
        }
        let [y, ..] = self.native_batch_norm(weight, bias, running, training, eps)?;
        Ok(y)
    }

    /// Each channel of each sample brought to mean 0 and variance 1, then scaled and shifted by channel; the running
    /// statistics follow the samples' means. Without `own_statistics` the running ones count, as in `batch_norm`.
    #[track_caller]
    pub fn instance_norm_running(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        running: Running,
        own_statistics: bool,
        eps: f64,
    ) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("instance_norm").at(origin);
        check(self, &[weight, bias, running.mean, running.variance]).map_err(explain)?;
        if !own_statistics {
            let [y, ..] = self.native_batch_norm(weight, bias, running, false, eps)?;
            return Ok(y);
        }
        if self.rank() < 3 || self.shape()[2..].iter().product::<usize>() == 1 {
            let what = format!("{:?} has one element of each channel, which has no variance", self.shape());
            return Err(explain(Error::shape(what)));
        }
        let own = self.dtype();
        let x = self.to(own.accumulator())?;
        if running.mean.is_some() || running.variance.is_some() {
            let still = x.detach()?;
            let places: SmallVec<[i64; 6]> = (2..x.rank() as i64).collect();
            follow(running.mean, &still.mean(&places, false)?.mean(&[0], false)?, running.momentum)?;
            let variance = still.var(&places, 1.0, false)?.mean(&[0], false)?;
            follow(running.variance, &variance, running.momentum)?;
        }
        let rows = x.flatten(2, -1)?;
        let last = [rows.shape()[2]];
        scaled(rows.layer_norm(&last, None, None, eps)?, weight, bias)?.reshape(&ints(self.shape()))?.to(own)
    }

    /// The channels of each of `groups` groups of each sample, with all that follows, brought to mean 0 and variance 1, then
    /// scaled and shifted by channel; with the groups' means and 1 / deviations.
    #[track_caller]
    pub fn native_group_norm(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        groups: usize,
        eps: f64,
    ) -> Result<[Tensor; 3]> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("group_norm").at(origin);
        check(self, &[weight, bias]).map_err(explain)?;
        if self.rank() < 2 {
            return Err(explain(Error::shape(format!("{:?} has no channels", self.shape()))));
        }
        let (batch, channels) = (self.shape()[0], self.shape()[1]);
        let each = channels / groups.max(1) * self.shape()[2..].iter().product::<usize>();
        if groups == 0 || !channels.is_multiple_of(groups) || each == 0 {
            let what = format!("{:?} does not fall into {groups} groups of channels", self.shape());
            return Err(explain(Error::shape(what)));
        }
        let own = self.dtype();
        let rows = self.to(own.accumulator())?.reshape(&ints(&[batch, groups, each]))?;
        let args = [Arg::Tensor(&rows), Arg::Ints(&[each as i64]), Arg::None, Arg::None, Arg::Float(eps)];
        let found = bind(&LAYER_NORM, &args, origin)?;
        let y = scaled(found[0].reshape(&ints(self.shape()))?, weight, bias)?.to(own)?;
        let rows = |t: &Tensor| t.reshape(&ints(&[batch, groups]))?.to(own);
        Ok([y, rows(&found[1])?, rows(&found[2])?])
    }

    /// The element over (k + alpha mean(x^2 of `size` neighbouring channels))^beta.
    #[track_caller]
    pub fn local_response_norm(&self, size: i64, alpha: f64, beta: f64, k: f64) -> Result<Tensor> {
        let origin = Origin::caller();
        let explain = |e: Error| e.in_op("local_response_norm").at(origin);
        if self.rank() < 3 {
            let what = format!("expected an input of rank 3 or more, got {:?}", self.shape());
            return Err(explain(Error::shape(what)));
        }
        if self.numel() == 0 {
            return Ok(self.clone());
        }
        let (rows, _) = batched(&self.flatten(2, -1)?, 1)?;
        let squares = rows.mul(&rows)?.transpose(1, 2)?.pad(&[size / 2, (size - 1) / 2], "constant", 0i64)?;
        let window = Pool { stride: &[1], ..Pool::new(std::slice::from_ref(&size)) };
        let mean = squares.avg_pool(1, window, true, None)?.transpose(1, 2)?;
        let scale = mean.mul(alpha)?.add(k)?.pow(beta)?;
        rows.div(&scale)?.reshape(&ints(self.shape()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_statistics_follow_a_training_batch_in_place() {
        let x = Tensor::from_slice(&[1.0f64, 10.0, 3.0, 20.0, 5.0, 30.0], &[3, 2]).unwrap();
        let mean = Tensor::from_slice(&[1.0f64, 0.0], &[2]).unwrap();
        let variance = Tensor::from_slice(&[1.0f64, 1.0], &[2]).unwrap();
        let running = Running { mean: Some(&mean), variance: Some(&variance), momentum: 0.5 };
        let y = x.batch_norm(None, None, running, true, 0.0).unwrap();
        let (low, high) = (-(1.5f64.sqrt()), 1.5f64.sqrt());
        for (got, want) in y.to_f64_vec().unwrap().iter().zip([low, low, 0.0, 0.0, high, high]) {
            assert!((got - want).abs() < 1e-12, "{got} against {want}");
        }
        assert_eq!(mean.to_f64_vec().unwrap(), [2.0, 10.0]);
        assert_eq!(variance.to_f64_vec().unwrap(), [2.5, 50.5]);
        let still = x.batch_norm(None, None, running, false, 0.0).unwrap();
        assert_eq!(still.to_f64_vec().unwrap()[2], 1.0 / 2.5f64.sqrt());
        assert_eq!(mean.to_f64_vec().unwrap(), [2.0, 10.0]);
    }
}
