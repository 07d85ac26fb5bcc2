//! Routines against their definitions: orders against a plain sort, factors against the matrix that they factor.

use kernels::cpu::threads::Pool;
use kernels::routines::{Failure, Kind, Reason, Routine};
use kernels::{DType, Dims};

/// Numbers in [-1, 1) drawn from a seed.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2862933555777941757).wrapping_add(3037000493);
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Runs a routine on f64 inputs; every output's words, f64 as its bits.
fn run(kind: Kind, batch: usize, extents: &[usize], inputs: &[&[f64]]) -> Result<Vec<Vec<u64>>, Failure> {
    let routine = Routine { kind, dtype: DType::F64, batch, extents: Dims::from_slice(extents) };
    let mut given = inputs.iter();
    let mut memory: Vec<Vec<u64>> = routine
        .operands()
        .iter()
        .map(|o| match o.writes {
            true => vec![0; o.elements * batch],
            false => given.next().unwrap().iter().map(|v| v.to_bits()).collect(),
        })
        .collect();
    let pointers: Vec<*mut u8> = memory.iter_mut().map(|m| m.as_mut_ptr().cast()).collect();
    let pool = Pool::new(2);
    // SAFETY: every operand has a vector of its own with at least its bytes.
    unsafe { routine.run(&pointers, &pool)? };
    let outputs = memory.into_iter().zip(routine.operands()).filter(|(_, o)| o.writes);
    Ok(outputs.map(|(m, _)| m).collect())
}

fn floats(words: &[u64]) -> Vec<f64> {
    words.iter().map(|w| f64::from_bits(*w)).collect()
}

/// a b, or a b^T.
fn product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize, turned: bool) -> Vec<f64> {
    let at = |l: usize, j: usize| if turned { b[j * k + l] } else { b[l * n + j] };
    let cell = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * at(l, j)).sum();
    (0..m * n).map(|x| cell(x / n, x % n)).collect()
}

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    let worst = a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-11, "{worst}");
}

fn symmetric(n: usize, seed: u64) -> Vec<f64> {
    let a = numbers(n * n, seed);
    (0..n * n).map(|x| a[x] + a[x % n * n + x / n]).collect()
}

#[test]
fn sorting_is_stable_and_puts_nan_last() {
    let mut x: Vec<f64> = numbers(300, 3).iter().map(|v| (v * 20.0).floor()).collect();
    x[17] = f64::NAN;
    x[5] = f64::INFINITY;
    for descending in [false, true] {
        let out = run(Kind::Sort { descending }, 3, &[100], &[&x]).unwrap();
        for row in 0..3 {
            let own = &x[row * 100..][..100];
            let mut want: Vec<usize> = (0..100).collect();
            let key = |i: usize| if own[i].is_nan() { f64::MAX } else { own[i].min(1e300) };
            match descending {
                true => want.sort_by(|&a, &b| key(b).total_cmp(&key(a))),
                false => want.sort_by(|&a, &b| key(a).total_cmp(&key(b))),
            }
            let places: Vec<usize> = out[1][row * 100..][..100].iter().map(|&w| w as usize).collect();
            assert_eq!(places, want);
            let values = floats(&out[0][row * 100..][..100]);
            assert!(values.iter().zip(&places).all(|(v, &p)| v.to_bits() == own[p].to_bits()));
        }
    }
    let chosen = run(Kind::Choose { largest: true }, 1, &[300, 5], &[&x]).unwrap();
    let sorted = run(Kind::Sort { descending: true }, 1, &[300], &[&x]).unwrap();
    assert_eq!(chosen[1], sorted[1][..5]);
}

#[test]
fn factors_multiply_to_the_matrix() {
    for n in [0, 1, 2, 5, 17, 40] {
        let a = numbers(n * n, n as u64);
        let mut positive = product(&a, &a, n, n, n, true);
        (0..n).for_each(|i| positive[i * n + i] += 1.0);
        let l = floats(&run(Kind::Cholesky { upper: false, check: true }, 1, &[n], &[&positive]).unwrap()[0]);
        close(&product(&l, &l, n, n, n, true), &positive);

        let b = numbers(n * 3, 8);
        let x = floats(&run(Kind::Solve { check: true }, 1, &[n, 3], &[&positive, &b]).unwrap()[0]);
        close(&product(&positive, &x, n, n, 3, false), &b);
        let inverse = floats(&run(Kind::Inverse { check: true }, 1, &[n], &[&positive]).unwrap()[0]);
        close(
            &product(&positive, &inverse, n, n, n, false),
            &(0..n * n).map(|x| (x / n == x % n) as u8 as f64).collect::<Vec<_>>(),
        );

        let s = symmetric(n, 4);
        let out = run(Kind::Eigh { upper: false }, 1, &[n], &[&s]).unwrap();
        let (w, v) = (floats(&out[0]), floats(&out[1]));
        assert!(w.windows(2).all(|p| p[0] <= p[1]));
        let scaled: Vec<f64> = (0..n * n).map(|x| v[x] * w[x % n]).collect();
        close(&product(&scaled, &v, n, n, n, true), &s);
    }
    for (m, n) in [(3, 3), (6, 4), (4, 6), (1, 5), (30, 7)] {
        let (a, k) = (numbers(m * n, 9), m.min(n));
        let out = run(Kind::Qr { with_q: true }, 1, &[m, n, k], &[&a]).unwrap();
        close(&product(&floats(&out[0]), &floats(&out[1]), m, k, n, false), &a);
        let full = run(Kind::Qr { with_q: true }, 1, &[m, n, m], &[&a]).unwrap();
        let q = floats(&full[0]);
        close(
            &product(&q, &q, m, m, m, true),
            &(0..m * m).map(|x| (x / m == x % m) as u8 as f64).collect::<Vec<_>>(),
        );
        for full in [false, true] {
            let out = run(Kind::Svd { full }, 1, &[m, n], &[&a]).unwrap();
            let (u, s, v) = (floats(&out[0]), floats(&out[1]), floats(&out[2]));
            let columns = if full { m } else { k };
            let scaled: Vec<f64> = (0..m * k).map(|x| u[x / k * columns + x % k] * s[x % k]).collect();
            close(&product(&scaled, &v[..k * n], m, k, n, false), &a);
            let gram: Vec<f64> = (0..columns * columns)
                .map(|x| (0..m).map(|i| u[i * columns + x / columns] * u[i * columns + x % columns]).sum())
                .collect();
            close(
                &gram,
                &(0..columns * columns)
                    .map(|x| (x / columns == x % columns) as u8 as f64)
                    .collect::<Vec<_>>(),
            );
        }
    }
}

#[test]
fn singular_values_of_a_deficient_matrix() {
    let column = numbers(6, 5);
    let a: Vec<f64> = (0..24).map(|x| column[x / 4] * (x % 4 + 1) as f64).collect();
    let out = run(Kind::Svd { full: true }, 1, &[6, 4], &[&a]).unwrap();
    let (u, s) = (floats(&out[0]), floats(&out[1]));
    assert!(s[0] > 1.0 && s[1..].iter().all(|v| *v < 1e-14), "{s:?}");
    close(
        &product(&u, &u, 6, 6, 6, true),
        &(0..36).map(|x| (x / 6 == x % 6) as u8 as f64).collect::<Vec<_>>(),
    );
}

#[test]
fn the_exponential_of_a_sum_of_one_matrix_is_a_product() {
    let a: Vec<f64> = numbers(25, 6).iter().map(|v| v * 0.7).collect();
    let doubled: Vec<f64> = a.iter().map(|v| v * 2.0).collect();
    let exp = |a: &[f64]| floats(&run(Kind::Exponential, 1, &[5], &[a]).unwrap()[0]);
    let once = exp(&a);
    close(&product(&once, &once, 5, 5, 5, false), &exp(&doubled));
    assert!((exp(&[0.0; 25])[0] - 1.0).abs() < 1e-15);
}

#[test]
fn the_first_member_that_fails_is_named() {
    let mut many: Vec<f64> = [2.0, 1.0, 1.0, 2.0].repeat(5);
    many[8] = -1.0;
    many[16] = -1.0;
    let failed = run(Kind::Cholesky { upper: false, check: true }, 5, &[2], &[&many]).unwrap_err();
    assert_eq!(failed, Failure { member: 2, reason: Reason::NotPositiveDefinite(1) });
    let singular = run(Kind::Inverse { check: true }, 1, &[2], &[&[1.0, 2.0, 2.0, 4.0]]).unwrap_err();
    assert_eq!(singular.reason, Reason::Singular(2));
    assert!(run(Kind::Inverse { check: false }, 1, &[2], &[&[1.0, 2.0, 2.0, 4.0]]).is_ok());
}
