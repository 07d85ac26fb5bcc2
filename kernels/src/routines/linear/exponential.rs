//! The exponential of a matrix: a rational approximation of degree 13 on the matrix scaled to norm 5, squared back.

use super::lu::solved;
use super::matrix::Matrix;
use crate::routines::member::Member;

/// Coefficients of the numerator of exp's diagonal Padé approximant of degree 13.
const COEFFICIENTS: [f64; 14] = [
    64764752532480000.0,
    32382376266240000.0,
    7771770303897600.0,
    1187353796428800.0,
    129060195264000.0,
    10559470521600.0,
    670442572800.0,
    33522128640.0,
    1323241920.0,
    40840800.0,
    960960.0,
    16380.0,
    182.0,
    1.0,
];

/// The greatest norm for which the approximant has full accuracy.
const REACH: f64 = 5.371920351148152;

/// A -> exp(A).
pub(crate) fn exponential(member: &mut Member, n: usize) {
    let mut a = Matrix::read(member, 0, n, n);
    let largest = (0..n).map(|i| a.row(i).iter().map(|v| v.abs()).sum::<f64>()).fold(0.0f64, f64::max);
    if !a.finite() {
        a.data.fill(f64::NAN);
        return a.write(member, 1);
    }
    let squarings = if largest > REACH { (largest / REACH).log2().ceil() as i32 } else { 0 };
    let scale = 0.5f64.powi(squarings);
    a.data.iter_mut().for_each(|v| *v *= scale);
    let square = a.times(&a);
    // Even and odd powers apart: numerator and denominator differ in the sign of the odd ones.
    let (mut odd, mut even) = (Matrix::zeros(n, n), Matrix::zeros(n, n));
    for k in (0..7).rev() {
        for (sum, c) in [(&mut odd, COEFFICIENTS[2 * k + 1]), (&mut even, COEFFICIENTS[2 * k])] {
            *sum = sum.times(&square);
            (0..n).for_each(|i| sum.data[i * n + i] += c);
        }
    }
    let odd = a.times(&odd);
    let both = |sign: f64| {
        let data = even.data.iter().zip(&odd.data).map(|(e, o)| e + sign * o).collect();
        Matrix { rows: n, columns: n, data }
    };
    let mut out = solved(both(-1.0), both(1.0));
    for _ in 0..squarings {
        out = out.times(&out);
    }
    out.write(member, 1);
}
