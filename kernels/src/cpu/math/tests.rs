//! Errors of the f32 functions over the whole range, at every level that this processor has.

use crate::cpu::isa::Isa;
use crate::cpu::loops::kernels_for_tests::{binary, unary};
use crate::dtype::DType;
use crate::loops::{BinaryOp, UnaryOp};

/// The distance from the exact value in units of the last place of an f32 there.
fn ulps(got: f32, exact: f64) -> f64 {
    if got.is_nan() || exact.is_nan() {
        return if got.is_nan() && exact.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let rounded = exact as f32;
    if got == rounded {
        let signs_differ = got == 0.0 && exact == 0.0 && got.is_sign_negative() != exact.is_sign_negative();
        return if signs_differ { f64::INFINITY } else { 0.0 };
    }
    let exponent = exact.abs().log2().floor().clamp(-126.0, 127.0) as i32;
    let exact = if got.is_infinite() { return f64::INFINITY } else { exact };
    (got as f64 - exact).abs() / 2f64.powi(exponent - 23)
}

fn exact(op: UnaryOp) -> Option<fn(f64) -> f64> {
    Some(match op {
        UnaryOp::Exp => f64::exp,
        UnaryOp::Exp2 => f64::exp2,
        UnaryOp::Expm1 => f64::exp_m1,
        UnaryOp::Log => f64::ln,
        UnaryOp::Log2 => f64::log2,
        UnaryOp::Log10 => f64::log10,
        UnaryOp::Log1p => f64::ln_1p,
        UnaryOp::Sin => f64::sin,
        UnaryOp::Cos => f64::cos,
        UnaryOp::Tan => f64::tan,
        UnaryOp::Atan => f64::atan,
        UnaryOp::Tanh => f64::tanh,
        UnaryOp::Erf => libm::erf,
        UnaryOp::Erfc => libm::erfc,
        UnaryOp::Sigmoid => |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) },
        _ => return None,
    })
}

fn special() -> impl Iterator<Item = f32> {
    [
        0.0,
        1.0,
        2.0,
        0.5,
        10.0,
        88.7,
        88.73,
        103.9,
        104.1,
        127.9,
        128.0,
        1e-45,
        1.2e-38,
        3e38,
        f32::INFINITY,
        1e-20,
    ]
    .into_iter()
    .flat_map(|x| [x, -x])
    .chain([f32::NAN])
}

#[test]
fn functions_of_one_value_stay_within_two_and_a_half_ulps() {
    let patterns = (0..=u32::MAX).step_by(9973).map(f32::from_bits);
    let line = (-200_000..200_000).map(|i| i as f32 * 1.3e-4);
    let inputs: Vec<f32> = special().chain(patterns).chain(line).collect();
    for &op in UnaryOp::ALL {
        let Some(exact) = exact(op) else { continue };
        let expected: Vec<f64> = inputs.iter().map(|&x| exact(x as f64)).collect();
        for isa in Isa::available() {
            let kernel = unary(op, DType::F32, isa).unwrap();
            let mut out = vec![0f32; inputs.len()];
            let input = inputs.as_ptr().cast();
            // SAFETY: all are as long as the number of points.
            unsafe { kernel(out.as_mut_ptr().cast(), input, input, input, 1, inputs.len()) };
            let mut worst = (0.0, 0.0, 0.0, 0.0);
            for ((&x, &got), &y) in inputs.iter().zip(&out).zip(&expected) {
                let far = ulps(got, y);
                if far > worst.0 {
                    worst = (far, x, got, y);
                }
            }
            println!("{} {isa:?}: {:.2} ulp at {:e}", op.name(), worst.0, worst.1);
            assert!(
                worst.0 <= 2.5,
                "{} {isa:?}: {} ulp at {:e}: {:e}, not {:e}",
                op.name(),
                worst.0,
                worst.1,
                worst.2,
                worst.3
            );
        }
    }
}

#[test]
fn functions_of_two_values_stay_within_two_and_a_half_ulps() {
    let some: Vec<f32> = special()
        .chain((0..=u32::MAX).step_by(9_999_991).map(f32::from_bits))
        .chain((-60..60).map(|i| i as f32 * 0.37))
        .chain((-9..10).map(|i| i as f32))
        .collect();
    let (a, b): (Vec<f32>, Vec<f32>) = some.iter().flat_map(|&x| some.iter().map(move |&y| (x, y))).unzip();
    for (op, exact) in [(BinaryOp::Pow, f64::powf as fn(f64, f64) -> f64), (BinaryOp::Atan2, f64::atan2)] {
        for isa in Isa::available() {
            let kernel = binary(op, DType::F32, isa).unwrap();
            let mut out = vec![0f32; a.len()];
            // SAFETY: all are as long as the number of points.
            unsafe {
                kernel(
                    out.as_mut_ptr().cast(),
                    a.as_ptr().cast(),
                    b.as_ptr().cast(),
                    a.as_ptr().cast(),
                    3,
                    a.len(),
                )
            };
            for i in 0..a.len() {
                let y = exact(a[i] as f64, b[i] as f64);
                let far = ulps(out[i], y);
                assert!(
                    far <= 2.5,
                    "{} {isa:?} {:e} {:e}: {far} ulp, {:e}, not {y:e}",
                    op.name(),
                    a[i],
                    b[i],
                    out[i]
                );
            }
        }
    }
}
