//! Losses of sequences and attention, which are compositions of ops and so not among the table's samples: first and second
//! derivatives against finite differences, and values that are known on paper.

use eager::testing::{GradcheckOptions, gradcheck, gradgradcheck};
use eager::{Autograd, GradOptions, grad};
use runtime::ops::{Heads, Lengths, Projection};
use runtime::{DType, DeviceId, Result, Tensor};

/// Numbers between -1 and 1 without a pattern.
fn numbers(dims: &[usize], seed: f64) -> Result<Tensor> {
    let n: usize = dims.iter().product();
    let values: Vec<f64> = (0..n).map(|i| ((i as f64 + seed) * 12.9898).sin()).collect();
    Tensor::from_slice(&values, dims)?.requires_grad_(true)
}

#[test]
fn ctc_loss_of_scores_agrees_with_finite_differences() -> Result<()> {
    let targets = Tensor::from_slice(&[1i64, 1, 2, 2, 3, 0], &[2, 3])?;
    let lengths = (Lengths::List(&[6, 4]), Lengths::List(&[3, 2]));
    let loss = |x: &[Tensor]| {
        Ok(vec![x[0].log_softmax(-1)?.ctc_loss(&targets, lengths.0, lengths.1, 0, "none", false)?])
    };
    let x = [numbers(&[6, 2, 4], 1.0)?];
    gradcheck(loss, &x, GradcheckOptions::default())?;
    gradgradcheck(loss, &x, None, GradcheckOptions::default())
}

#[test]
fn ctc_loss_takes_the_gradient_of_scores() -> Result<()> {
    // One step, one symbol: the loss is -x[1], the gradient exp(x) - [0, 1, 0].
    let x = numbers(&[1, 1, 3], 2.0)?;
    let target = Tensor::from_slice(&[1i64], &[1, 1])?;
    let loss = x.ctc_loss(&target, Lengths::List(&[1]), Lengths::List(&[1]), 0, "sum", false)?;
    let values = x.detach()?.to_vec::<f64>()?;
    assert!((loss.item()?.to_f64() + values[1]).abs() < 1e-12);
    let found = grad(&[&loss], &[&x], GradOptions::default())?.remove(0);
    let found = found.map_or(Ok(Vec::new()), |g| g.to_vec::<f64>())?;
    for (i, (g, v)) in found.iter().zip(&values).enumerate() {
        assert!((g - v.exp() + f64::from(i == 1)).abs() < 1e-12, "{g} for {v}");
    }
    assert_eq!(found.len(), 3);
    Ok(())
}

#[test]
fn attention_agrees_with_finite_differences() -> Result<()> {
    let hide = Tensor::ones(&[3, 3], DType::Bool, DeviceId::Cpu)?.triu(1)?;
    let attend = |x: &[Tensor]| {
        let heads = Heads {
            embed_dim: 4,
            count: 2,
            weights: Projection::Packed(&x[1]),
            biases: Some(&x[2]),
            more: [None, None],
            more_zeros: true,
            fixed: [None, None],
            dropout: 0.0,
            out_weight: &x[3],
            out_bias: None,
            padding: None,
            mask: Some(&hide),
            causal: false,
            need_weights: true,
            average_weights: true,
        };
        let (out, weights) = x[0].multi_head_attention(&x[0], &x[0], &heads)?;
        Ok(std::iter::once(out).chain(weights).collect())
    };
    let x =
        [numbers(&[3, 1, 4], 1.0)?, numbers(&[12, 4], 2.0)?, numbers(&[12], 3.0)?, numbers(&[4, 4], 4.0)?];
    gradcheck(attend, &x, GradcheckOptions::default())?;
    gradgradcheck(attend, &x, None, GradcheckOptions { fast_mode: true, ..GradcheckOptions::default() })
}
