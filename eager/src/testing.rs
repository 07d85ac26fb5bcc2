//! Gradients against finite differences: `gradcheck` and `gradgradcheck`, with the semantics and defaults of
//! `torch.autograd`'s.
//!
//! The numeric Jacobian comes from central differences of the function, the analytic one from `grad`, an output element (or,
//! in fast mode, a random direction) at a time; so each output is also differentiated while the others have no cotangent.

use crate::autograd::Autograd;
use crate::backward::{GradOptions, grad};
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::samples::TensorSample;
use runtime::testing::{Tolerance, differences};
use runtime::{DType, Tensor};

/// How to check gradients. The default is torch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GradcheckOptions {
    /// The step of finite differences.
    pub eps: f64,
    /// Absolute tolerance between the Jacobians.
    pub atol: f64,
    /// Relative tolerance between the Jacobians.
    pub rtol: f64,
    /// How much the analytic Jacobian may differ when it is computed again.
    pub nondet_tol: f64,
    /// Compares along one random direction for each pair of input and output, instead of whole Jacobians.
    pub fast_mode: bool,
    /// Accepts a derivative between those to the left and to the right, which is all that can be asked of a function at a
    /// kink (relu at 0, the maximum of equal elements). torch has no such option; whole Jacobians only.
    pub one_sided: bool,
}

impl Default for GradcheckOptions {
    fn default() -> GradcheckOptions {
        GradcheckOptions {
            eps: 1e-6,
            atol: 1e-5,
            rtol: 1e-3,
            nondet_tol: 0.0,
            fast_mode: false,
            one_sided: false,
        }
    }
}

/// An input and an output between which the Jacobians differ.
#[derive(Clone, PartialEq, Debug)]
pub struct JacobianMismatch {
    /// Which input.
    pub input: usize,
    /// Which output.
    pub output: usize,
    /// How they differ; places are [element of the input, element of the output].
    pub message: String,
}

type Function<'a> = &'a dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>;

/// An error of kind `NotClose` unless the gradients of `function` at `inputs` agree with finite differences, for every
/// input that requires its gradient and every output that has one.
#[track_caller]
pub fn gradcheck(
    function: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    options: GradcheckOptions,
) -> Result<()> {
    raise("gradcheck", gradcheck_report(function, inputs, options), Origin::caller())
}

/// `gradcheck` of the gradients of `function`, with respect to its inputs and to the gradients of its outputs, which are
/// `grad_outputs` or else random.
#[track_caller]
pub fn gradgradcheck(
    function: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    grad_outputs: Option<&[Tensor]>,
    options: GradcheckOptions,
) -> Result<()> {
    raise("gradgradcheck", gradgradcheck_report(function, inputs, grad_outputs, options), Origin::caller())
}

fn raise(what: &'static str, found: Result<Vec<JacobianMismatch>>, origin: Origin) -> Result<()> {
    match found.map_err(|e| e.in_op(what).at(origin))?.first() {
        None => Ok(()),
        Some(JacobianMismatch { input, output, message }) => {
            let text = format!("the Jacobian of output {output} with respect to input {input}: {message}");
            Err(Error::new(ErrorKind::NotClose, text).in_op(what).at(origin))
        }
    }
}

/// What `gradcheck` finds, as a list; errors are those of the function and of its gradients.
pub fn gradcheck_report(
    function: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    options: GradcheckOptions,
) -> Result<Vec<JacobianMismatch>> {
    Check { function: &function, inputs, options, wanted: wanted(inputs)? }.run()
}

/// What `gradgradcheck` finds, as a list; empty where no output has a gradient.
pub fn gradgradcheck_report(
    function: impl Fn(&[Tensor]) -> Result<Vec<Tensor>>,
    inputs: &[Tensor],
    grad_outputs: Option<&[Tensor]>,
    options: GradcheckOptions,
) -> Result<Vec<JacobianMismatch>> {
    let wanted = wanted(inputs)?;
    let outputs = differentiable(function(inputs)?);
    if outputs.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = inputs.to_vec();
    match grad_outputs {
        Some(given) => all.extend_from_slice(given),
        None => {
            for (i, y) in outputs.iter().enumerate() {
                all.push(random(y, -1.0, 1000 + i as u64)?.requires_grad_(true)?);
            }
        }
    }
    let count = inputs.len();
    let first = move |all: &[Tensor]| {
        let outputs = differentiable(function(&all[..count])?);
        let ys: Vec<&Tensor> = outputs.iter().collect();
        let seeds: Vec<Option<&Tensor>> = all[count..].iter().map(Some).collect();
        let xs: Vec<&Tensor> = wanted.iter().map(|&i| &all[i]).collect();
        let options = GradOptions {
            grad_outputs: Some(&seeds),
            create_graph: true,
            allow_unused: true,
            ..GradOptions::default()
        };
        Ok(grad(&ys, &xs, options)?.into_iter().flatten().collect())
    };
    gradcheck_report(first, &all, options)
}

/// Random numbers in the shape of a tensor, between `low` and 1.
fn random(like: &Tensor, low: f64, seed: u64) -> Result<Tensor> {
    let dims = like.layout().shape.clone();
    TensorSample { dtype: DType::F64, dims, low, high: 1.0, exact: None, diagonal: 0.0 }.make(seed)
}

/// A random direction of length 1 with positive components, so that no part of a derivative hides another.
fn direction(like: &Tensor, seed: u64) -> Result<Vec<f64>> {
    let values = random(like, 0.0, seed)?.to_vec::<f64>()?;
    let length = values.iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    Ok(values.into_iter().map(|v| v / length).collect())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn differentiable(outputs: Vec<Tensor>) -> Vec<Tensor> {
    outputs.into_iter().filter(|t| t.dtype().is_float() && t.requires_grad()).collect()
}

/// Places of the inputs that require gradients.
fn wanted(inputs: &[Tensor]) -> Result<Vec<usize>> {
    let wanted: Vec<usize> = (0..inputs.len()).filter(|&i| inputs[i].requires_grad()).collect();
    if wanted.is_empty() {
        return Err(Error::value("no input requires its gradient").hint("call requires_grad_(true)"));
    }
    for &i in &wanted {
        let x = &inputs[i];
        if x.dtype() != DType::F64 {
            return Err(Error::dtype(format!(
                "input {i} is {}, too coarse for finite differences",
                x.dtype()
            ))
            .hint("check gradients in float64"));
        }
        let overlaps = |(&n, &stride): (&usize, &isize)| n > 1 && stride == 0;
        if x.layout().shape.iter().zip(&x.layout().strides).any(overlaps) {
            return Err(Error::value(format!("elements of input {i} share memory (a stride is 0)"))
                .hint("check a copy of it"));
        }
    }
    Ok(wanted)
}

struct Check<'a> {
    function: Function<'a>,
    inputs: &'a [Tensor],
    options: GradcheckOptions,
    wanted: Vec<usize>,
}

impl Check<'_> {
    fn run(&self) -> Result<Vec<JacobianMismatch>> {
        let outputs = (self.function)(self.inputs)?;
        let places: Vec<usize> = match outputs.iter().any(|t| t.dtype().is_float() && t.requires_grad()) {
            true => (0..outputs.len())
                .filter(|&o| outputs[o].dtype().is_float() && outputs[o].requires_grad())
                .collect(),
            // No output has a history: then nothing may depend on the inputs.
            false => (0..outputs.len()).filter(|&o| outputs[o].dtype().is_float()).collect(),
        };
        let mut found = Vec::new();
        for &o in &places {
            if outputs[o].dtype() != DType::F64 {
                return Err(Error::dtype(format!("output {o} is {}", outputs[o].dtype()))
                    .hint("check gradients in float64"));
            }
            for (w, &i) in self.wanted.iter().enumerate() {
                let (analytic, again) =
                    (self.analytic(&outputs[o], w, o)?, self.analytic(&outputs[o], w, o)?);
                let same = Tolerance { rtol: 0.0, atol: self.options.nondet_tol };
                let repeated = differences(&again, &analytic, same, true)?;
                let message = if repeated.mismatched > 0 {
                    Some(format!("differs when computed again: {}", repeated.message(same)))
                } else {
                    self.compare(&analytic, i, o)?
                };
                found.extend(message.map(|message| JacobianMismatch { input: i, output: o, message }));
            }
        }
        Ok(found)
    }

    /// The gradient of sum(output * cotangent) for one input.
    fn pull(&self, output: &Tensor, cotangent: &[f64], w: usize) -> Result<Vec<f64>> {
        let x = &self.inputs[self.wanted[w]];
        if !output.requires_grad() {
            return Ok(vec![0.0; x.numel()]);
        }
        let cotangent = Tensor::from_slice(cotangent, output.shape())?;
        let seeds = [Some(&cotangent)];
        let options = GradOptions {
            grad_outputs: Some(&seeds),
            retain_graph: Some(true),
            allow_unused: true,
            ..GradOptions::default()
        };
        match grad(&[output], &[x], options)?.remove(0) {
            None => Ok(vec![0.0; x.numel()]),
            Some(g) if g.tensor_type() == x.tensor_type() => g.detach()?.to_vec::<f64>(),
            Some(g) => Err(Error::new(
                ErrorKind::NotClose,
                format!("the gradient of {} is {}", x.tensor_type(), g.tensor_type()),
            )),
        }
    }

    /// The analytic Jacobian [input, output], or its one number in fast mode.
    fn analytic(&self, output: &Tensor, w: usize, o: usize) -> Result<Tensor> {
        let x = &self.inputs[self.wanted[w]];
        if self.options.fast_mode {
            let (u, v) = (direction(x, self.wanted[w] as u64)?, direction(output, 500 + o as u64)?);
            return Tensor::from_slice(&[dot(&self.pull(output, &v, w)?, &u)], &[]);
        }
        let (rows, columns) = (x.numel(), output.numel());
        let mut jacobian = vec![0.0; rows * columns];
        let mut seed = vec![0.0; columns];
        for c in 0..columns {
            seed[c] = 1.0;
            for (r, g) in self.pull(output, &seed, w)?.into_iter().enumerate() {
                jacobian[r * columns + c] = g;
            }
            seed[c] = 0.0;
        }
        Tensor::from_slice(&jacobian, &[rows, columns])
    }

    /// Output `o` where input `i` is moved by `step` times a direction.
    fn moved(&self, i: usize, o: usize, step: f64, along: &[f64]) -> Result<Vec<f64>> {
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (k, x) in self.inputs.iter().enumerate() {
            let mut leaf = if k == i {
                let values = x.detach()?.to_vec::<f64>()?;
                let values: Vec<f64> = values.iter().zip(along).map(|(x, v)| x + step * v).collect();
                Tensor::from_slice(&values, x.shape())?
            } else {
                x.alias()
            };
            if self.wanted.contains(&k) {
                leaf = leaf.requires_grad_(true)?;
            }
            inputs.push(leaf);
        }
        let output = (self.function)(&inputs)?.into_iter().nth(o);
        output.ok_or_else(|| Error::value("the number of outputs changes with the inputs"))?.to_vec::<f64>()
    }

    /// How the analytic Jacobian differs from finite differences, if it does.
    fn compare(&self, analytic: &Tensor, i: usize, o: usize) -> Result<Option<String>> {
        let GradcheckOptions { eps, rtol, atol, fast_mode, one_sided, .. } = self.options;
        let x = &self.inputs[i];
        let slope = |high: &[f64], low: &[f64], by: f64| -> Vec<f64> {
            high.iter().zip(low).map(|(h, l)| (h - l) / by).collect()
        };
        if fast_mode {
            let u = direction(x, i as u64)?;
            let (high, low) = (self.moved(i, o, eps, &u)?, self.moved(i, o, -eps, &u)?);
            let output = Tensor::from_slice(&high, (self.function)(self.inputs)?[o].shape())?;
            let v = direction(&output, 500 + o as u64)?;
            let numeric = Tensor::from_slice(&[dot(&slope(&high, &low, 2.0 * eps), &v)], &[])?;
            let tolerance = Tolerance { rtol, atol: atol * u.iter().sum::<f64>() * v.iter().sum::<f64>() };
            return verdict(analytic, &numeric, tolerance);
        }
        let tolerance = Tolerance { rtol, atol };
        let own = analytic.to_vec::<f64>()?;
        let middle = if one_sided { self.moved(i, o, 0.0, &vec![0.0; x.numel()])? } else { Vec::new() };
        let mut numeric = Vec::with_capacity(own.len());
        let mut along = vec![0.0; x.numel()];
        for r in 0..x.numel() {
            along[r] = 1.0;
            let (high, low) = (self.moved(i, o, eps, &along)?, self.moved(i, o, -eps, &along)?);
            let mut row = slope(&high, &low, 2.0 * eps);
            if one_sided {
                let (right, left) = (slope(&high, &middle, eps), slope(&middle, &low, eps));
                for (c, central) in row.iter_mut().enumerate() {
                    // The nearest value between the one-sided slopes; a slope that is not a number stays.
                    let (least, most) = (right[c].min(left[c]), right[c].max(left[c]));
                    if (right[c] - left[c]).abs() > atol + rtol * central.abs() {
                        *central = own[r * high.len() + c].clamp(least, most);
                    }
                }
            }
            numeric.extend(row);
            along[r] = 0.0;
        }
        verdict(analytic, &Tensor::from_slice(&numeric, analytic.shape())?, tolerance)
    }
}

fn verdict(analytic: &Tensor, numeric: &Tensor, tolerance: Tolerance) -> Result<Option<String>> {
    let found = differences(analytic, numeric, tolerance, false)?;
    Ok((found.mismatched > 0).then(|| {
        format!("the analytic one (got) against finite differences (expected): {}", found.message(tolerance))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(data: &[f64]) -> Tensor {
        Tensor::from_slice(data, &[data.len()]).unwrap().requires_grad_(true).unwrap()
    }

    /// x^2 whose recorded gradient is wrong by a factor where `wrong`: a part of it is cut off.
    fn square(x: &Tensor, wrong: bool) -> Result<Tensor> {
        if wrong { x.mul(&x.detach()?) } else { x.mul(x) }
    }

    #[test]
    fn right_gradients_pass_and_wrong_ones_are_placed() {
        for fast_mode in [false, true] {
            let options = GradcheckOptions { fast_mode, ..GradcheckOptions::default() };
            let x = leaf(&[0.5, -1.0, 2.0]);
            let right = |a: &[Tensor]| Ok(vec![square(&a[0], false)?]);
            gradcheck(right, std::slice::from_ref(&x), options).unwrap();
            gradgradcheck(right, std::slice::from_ref(&x), None, options).unwrap();
            let error =
                gradcheck(|a: &[Tensor]| Ok(vec![square(&a[0], true)?]), std::slice::from_ref(&x), options)
                    .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotClose);
            assert!(error.message().contains("output 0 with respect to input 0"), "{error}");
            // The first derivative is right and the second is not.
            let half =
                |a: &[Tensor]| Ok(vec![square(&a[0], true)?.mul(2.0)?.sub(&a[0].detach()?.square()?)?]);
            gradcheck(half, std::slice::from_ref(&x), options).unwrap();
            assert!(gradgradcheck(half, &[x], None, options).is_err());
        }
    }

    #[test]
    fn what_depends_on_an_input_silently_is_found() {
        let detached = |a: &[Tensor]| Ok(vec![a[0].detach()?.exp()?]);
        let error = gradcheck(detached, &[leaf(&[0.5])], GradcheckOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotClose);
        let constant = |a: &[Tensor]| Ok(vec![a[0].detach()?.floor()?]);
        gradcheck(constant, &[leaf(&[0.5])], GradcheckOptions::default()).unwrap();
    }

    #[test]
    fn kinks_are_accepted_only_where_asked() {
        let options = GradcheckOptions { one_sided: true, ..GradcheckOptions::default() };
        let relu = |a: &[Tensor]| Ok(vec![a[0].relu()?]);
        assert!(gradcheck(relu, &[leaf(&[0.0, 1.0])], GradcheckOptions::default()).is_err());
        gradcheck(relu, &[leaf(&[0.0, 1.0])], options).unwrap();
        let wrong = |a: &[Tensor]| Ok(vec![a[0].relu()?.mul(2.0)?.sub(&a[0].detach()?)?]);
        assert!(gradcheck(wrong, &[leaf(&[0.0, 1.0])], options).is_err());
    }

    #[test]
    fn unsuitable_inputs_are_typed_errors() {
        let id = |a: &[Tensor]| Ok(vec![a[0].mul(1.0)?]);
        let options = GradcheckOptions::default();
        let plain = Tensor::from_slice(&[1.0f64], &[1]).unwrap();
        assert_eq!(
            gradcheck(id, std::slice::from_ref(&plain), options).unwrap_err().kind(),
            ErrorKind::Value
        );
        let coarse = plain.to(DType::F32).unwrap().requires_grad_(true).unwrap();
        assert_eq!(gradcheck(id, &[coarse], options).unwrap_err().kind(), ErrorKind::DType);
        let spread = plain.expand(&[4]).unwrap().alias().requires_grad_(true).unwrap();
        assert_eq!(gradcheck(id, &[spread], options).unwrap_err().kind(), ErrorKind::Value);
        let fails = |_: &[Tensor]| Err(Error::shape("no"));
        let x = plain.requires_grad_(true).unwrap();
        assert_eq!(gradcheck(fails, &[x], options).unwrap_err().kind(), ErrorKind::Shape);
    }
}
