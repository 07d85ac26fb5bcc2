//! A dense matrix of f64, by rows, and what every factorisation does with its rows.

use crate::routines::member::Member;
use crate::{DType, Element};

/// rows x columns numbers, row after row.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) data: Vec<f64>,
}

impl Matrix {
    pub(super) fn zeros(rows: usize, columns: usize) -> Matrix {
        Matrix { rows, columns, data: vec![0.0; rows * columns] }
    }

    pub(super) fn identity(n: usize) -> Matrix {
        let mut out = Matrix::zeros(n, n);
        (0..n).for_each(|i| out.data[i * n + i] = 1.0);
        out
    }

    /// Operand `i`, which is read.
    pub(super) fn read(member: &Member, i: usize, rows: usize, columns: usize) -> Matrix {
        let data = match member.dtype(i) {
            DType::F64 => member.read::<f64>(i).to_vec(),
            DType::F32 => member.read::<f32>(i).iter().map(|&v| v as f64).collect(),
            // Other types have no factorisations; the ops refuse them.
            DType::Bool | DType::U8 | DType::I32 | DType::I64 | DType::F16 | DType::BF16 => {
                vec![f64::NAN; rows * columns]
            }
        };
        Matrix { rows, columns, data }
    }

    /// Rounds it into operand `i`.
    pub(super) fn write(&self, member: &mut Member, i: usize) {
        write(member, i, &self.data);
    }

    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.columns..(i + 1) * self.columns]
    }

    pub(super) fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.data[i * self.columns..(i + 1) * self.columns]
    }

    pub(super) fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.columns + j]
    }

    pub(super) fn set(&mut self, i: usize, j: usize, value: f64) {
        self.data[i * self.columns + j] = value;
    }

    /// Row `i` to change and row `j` to read.
    pub(super) fn pair(&mut self, i: usize, j: usize) -> (&mut [f64], &[f64]) {
        let (low, high) = (i.min(j), i.max(j));
        let (head, tail) = self.data.split_at_mut(high * self.columns);
        let (first, second) =
            (&mut head[low * self.columns..(low + 1) * self.columns], &mut tail[..self.columns]);
        if i < j { (first, second) } else { (second, first) }
    }

    pub(super) fn swap_rows(&mut self, i: usize, j: usize) {
        if i != j {
            let (low, high) = (i.min(j), i.max(j));
            let (head, tail) = self.data.split_at_mut(high * self.columns);
            head[low * self.columns..(low + 1) * self.columns].swap_with_slice(&mut tail[..self.columns]);
        }
    }

    pub(super) fn transposed(&self) -> Matrix {
        let mut out = Matrix::zeros(self.columns, self.rows);
        for i in 0..self.rows {
            for (j, &v) in self.row(i).iter().enumerate() {
                out.data[j * self.rows + i] = v;
            }
        }
        out
    }

    pub(super) fn finite(&self) -> bool {
        self.data.iter().all(|v| v.is_finite())
    }

    pub(super) fn times(&self, other: &Matrix) -> Matrix {
        let mut out = Matrix::zeros(self.rows, other.columns);
        for i in 0..self.rows {
            for k in 0..self.columns {
                let by = self.at(i, k);
                add_scaled(out.row_mut(i), by, other.row(k));
            }
        }
        out
    }
}

/// Rounds numbers into operand `i`.
pub(super) fn write(member: &mut Member, i: usize, values: &[f64]) {
    fn each<T: Element + bytemuck::AnyBitPattern>(out: &mut [T], values: &[f64], round: impl Fn(f64) -> T) {
        out.iter_mut().zip(values).for_each(|(o, &v)| *o = round(v));
    }
    match member.dtype(i) {
        DType::F64 => each(member.write::<f64>(i), values, |v| v),
        DType::F32 => each(member.write::<f32>(i), values, |v| v as f32),
        DType::Bool | DType::U8 | DType::I32 | DType::I64 | DType::F16 | DType::BF16 => {}
    }
}

/// The sum of products, in eight lanes.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (heads, rest) = (a.chunks_exact(8).zip(b.chunks_exact(8)), a.len() / 8 * 8);
    for (x, y) in heads {
        for k in 0..8 {
            lanes[k] += x[k] * y[k];
        }
    }
    for (k, (x, y)) in a[rest..].iter().zip(&b[rest..]).enumerate() {
        lanes[k] += x * y;
    }
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

/// a += by * b.
pub(super) fn add_scaled(a: &mut [f64], by: f64, b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(x, y)| *x += by * y);
}

/// The square root of the sum of squares, without overflow or underflow on the way.
pub(super) fn norm(a: &[f64]) -> f64 {
    let most = a.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    if most == 0.0 || !most.is_finite() {
        return most;
    }
    if (1e-140..1e140).contains(&most) {
        return dot(a, a).sqrt();
    }
    most * a.iter().map(|v| (v / most) * (v / most)).sum::<f64>().sqrt()
}
