//! The product against its definition, bit for bit: every element type, level and thread count, odd shapes and layouts.

use super::machine::Level;
use super::{Activation, BLOCK, Gemm, MatrixGeometry, launch};
use crate::cpu::threads::Pool;
use crate::dtype::{DType, Element, Scalar};
use crate::philox::random_bits;
use crate::shape::{Dims, Strides, contiguous_strides, numel};
use half::{bf16, f16};
use proptest::prelude::*;
use std::sync::LazyLock;

static POOLS: LazyLock<[Pool; 3]> = LazyLock::new(|| [Pool::new(1), Pool::new(2), Pool::new(5)]);

/// How an operand is laid out in its buffer.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Lay {
    Rows,
    Columns,
    /// Row-major with a gap after each row.
    Gaps,
    /// Every second element of rows with a gap.
    Sparse,
    /// One matrix for the whole batch.
    Shared,
}

const LAYS: [Lay; 5] = [Lay::Rows, Lay::Columns, Lay::Gaps, Lay::Sparse, Lay::Shared];

/// A batch of matrices: geometry and buffer length.
fn lay(lay: Lay, batch: &[usize], rows: usize, cols: usize) -> (MatrixGeometry, usize) {
    let (row, col, size) = match lay {
        Lay::Rows | Lay::Shared => (cols, 1, rows * cols),
        Lay::Columns => (1, rows, rows * cols),
        Lay::Gaps => (cols + 3, 1, rows * (cols + 3)),
        Lay::Sparse => (2 * cols + 5, 2, rows * (2 * cols + 5)),
    };
    let steps: Strides = match lay {
        Lay::Shared => Strides::from_elem(0, batch.len()),
        _ => contiguous_strides(batch).iter().map(|s| s * size as isize).collect(),
    };
    let len = if lay == Lay::Shared { size } else { size * numel(batch) };
    (MatrixGeometry { row_stride: row as isize, col_stride: col as isize, batch_strides: steps }, len)
}

/// An element type with the definition of its product.
trait Defined: Element + PartialEq + std::fmt::Debug {
    fn random(bits: u32) -> Self;
    /// The sum that defines a product, rounded to the type.
    fn sum(pairs: impl Iterator<Item = (Self, Self)>) -> Self;
    /// The sum, to which others are added before it is rounded.
    fn joined(pairs: impl Iterator<Item = (Self, Self)>, others: &[Self]) -> Self;
    fn plus(self, other: Self) -> Self;
    fn positive(self) -> Self;
    fn same(self, other: Self) -> bool {
        self == other
    }
}

/// Blocks of chains, generic over what a step is.
fn blocks<T: Copy, S: Copy>(
    pairs: impl Iterator<Item = (T, T)>,
    zero: S,
    step: impl Fn(T, T, S) -> S,
    add: impl Fn(S, S) -> S,
) -> S {
    let pairs: Vec<_> = pairs.collect();
    let mut sums = pairs.chunks(BLOCK).map(|block| block.iter().fold(zero, |s, &(a, b)| step(a, b, s)));
    let first = sums.next().unwrap_or(zero);
    sums.fold(first, add)
}

macro_rules! defined {
    ($($type:ty, |$bits:ident| $random:expr, $zero:expr, |$a:ident, $b:ident, $s:ident| $step:expr, |$x:ident, $y:ident| $add:expr,
       |$r:ident| $round:expr, |$p:ident, $q:ident| $plus:expr, |$v:ident| $positive:expr, |$o:ident| $widen:expr;)*) => {$(
        impl Defined for $type {
            fn random($bits: u32) -> $type { $random }
            fn sum(pairs: impl Iterator<Item = ($type, $type)>) -> $type {
                let $r = blocks(pairs, $zero, |$a, $b, $s| $step, |$x, $y| $add);
                $round
            }
            fn joined(pairs: impl Iterator<Item = ($type, $type)>, others: &[$type]) -> $type {
                let sum = blocks(pairs, $zero, |$a, $b, $s| $step, |$x, $y| $add);
                let $r = others.iter().map(|&$o| $widen).fold(sum, |$x, $y| $add);
                $round
            }
            fn plus(self, $q: $type) -> $type { let $p = self; $plus }
            fn positive(self) -> $type { let $v = self; $positive }
        }
    )*};
}

fn unit(bits: u32) -> f64 {
    bits as f64 / u32::MAX as f64 * 2.0 - 1.0
}

defined! {
    f32, |r| unit(r) as f32, 0f32, |a, b, s| f32::mul_add(a, b, s), |x, y| x + y, |s| s, |p, q| p + q, |v| if v < 0.0 { 0.0 } else { v }, |o| o;
    f64, |r| unit(r), 0f64, |a, b, s| f64::mul_add(a, b, s), |x, y| x + y, |s| s, |p, q| p + q, |v| if v < 0.0 { 0.0 } else { v }, |o| o;
    f16, |r| f16::from_f64(unit(r)), 0f32, |a, b, s| a.to_f32().mul_add(b.to_f32(), s), |x, y| x + y, |s| f16::from_f32(s),
        |p, q| f16::from_f32(p.to_f32() + q.to_f32()), |v| if v.to_f32() < 0.0 { f16::ZERO } else { v },
        |o| o.to_f32();
    bf16, |r| bf16::from_f64(unit(r)), 0f32, |a, b, s| a.to_f32().mul_add(b.to_f32(), s), |x, y| x + y, |s| bf16::from_f32(s),
        |p, q| bf16::from_f32(p.to_f32() + q.to_f32()), |v| if v.to_f32() < 0.0 { bf16::ZERO } else { v },
        |o| o.to_f32();
    i32, |r| r as i32, 0i32, |a, b, s| a.wrapping_mul(b).wrapping_add(s), |x, y| x.wrapping_add(y), |s| s, |p, q| p.wrapping_add(q), |v| v.max(0), |o| o;
    i64, |r| (r as i64) << 33 ^ r as i64, 0i64, |a, b, s| a.wrapping_mul(b).wrapping_add(s), |x, y| x.wrapping_add(y), |s| s,
        |p, q| p.wrapping_add(q), |v| v.max(0), |o| o;
    u8, |r| r as u8, 0u8, |a, b, s| a.wrapping_mul(b).wrapping_add(s), |x, y| x.wrapping_add(y), |s| s, |p, q| p.wrapping_add(q), |v| v, |o| o;
    bool, |r| r.is_multiple_of(16), false, |a, b, s| a && b || s, |x, y| x || y, |s| s, |p, q| p || q, |v| v, |o| o;
}

/// One case of everything that a product can be asked for.
#[derive(Clone, Debug)]
struct Case {
    m: usize,
    n: usize,
    k: usize,
    batch: Vec<usize>,
    lays: [Lay; 3],
    accumulate: bool,
    bias: bool,
    rounds_once: bool,
    relu: bool,
}

impl Case {
    fn dense(m: usize, n: usize, k: usize) -> Case {
        let lays = [Lay::Rows; 3];
        Case { m, n, k, batch: vec![], lays, accumulate: false, bias: false, rounds_once: false, relu: false }
    }

    fn check<T: Defined>(&self) {
        let &Case { m, n, k, .. } = self;
        let (a_geometry, a_len) = lay(self.lays[0], &self.batch, m, k);
        let (b_geometry, b_len) = lay(self.lays[1], &self.batch, k, n);
        let (c_geometry, c_len) = lay(self.lays[2], &self.batch, m, n);
        let fill = |len: usize, seed: i64| -> Vec<T> {
            (0..len).map(|i| T::random(random_bits(seed, 0, i as i64, 0))).collect()
        };
        let (a, b, old, bias) = (fill(a_len, 1), fill(b_len, 2), fill(c_len, 3), fill(n, 4));
        let mut expected = old.clone();
        for at in 0..numel(&self.batch) {
            let place = |g: &MatrixGeometry, i: usize, j: usize| {
                let mut rest = at;
                let mut place = i as isize * g.row_stride + j as isize * g.col_stride;
                for (&extent, &step) in self.batch.iter().zip(&g.batch_strides).rev() {
                    place += (rest % extent) as isize * step;
                    rest /= extent;
                }
                place as usize
            };
            for i in 0..m {
                for j in 0..n {
                    let pairs = (0..k).map(|p| (a[place(&a_geometry, i, p)], b[place(&b_geometry, p, j)]));
                    let mut others = Vec::new();
                    others.extend(self.accumulate.then(|| old[place(&c_geometry, i, j)]));
                    others.extend(self.bias.then(|| bias[j]));
                    let x = match self.rounds_once {
                        true => T::joined(pairs, &others),
                        false => others.into_iter().fold(T::sum(pairs), T::plus),
                    };
                    expected[place(&c_geometry, i, j)] = if self.relu { x.positive() } else { x };
                }
            }
        }
        let gemm = Gemm {
            dtype: T::DTYPE,
            m,
            n,
            k,
            batch: Dims::from_slice(&self.batch),
            a: a_geometry,
            b: b_geometry,
            c: c_geometry,
            accumulate: self.accumulate,
            bias: self.bias,
            rounds_once: self.rounds_once,
            activation: if self.relu { Activation::Relu } else { Activation::None },
        };
        for level in Level::ALL.into_iter().filter(|l| l.is_available()) {
            for pool in POOLS.iter() {
                let mut c = old.clone();
                // SAFETY: the buffers were sized for the geometries.
                unsafe {
                    let (a, b, bias) = (a.as_ptr().cast(), b.as_ptr().cast(), bias.as_ptr().cast());
                    launch::run(&gemm, level, a, b, c.as_mut_ptr().cast(), bias, pool);
                }
                if let Some(at) = (0..c_len).find(|&at| !c[at].same(expected[at])) {
                    panic!(
                        "{} {level:?} {} threads {self:?}: element {at} is {:?}, not {:?}",
                        T::DTYPE,
                        pool.threads(),
                        c[at],
                        expected[at]
                    );
                }
            }
        }
    }

    fn check_all(&self) {
        self.check::<f32>();
        self.check::<f64>();
        self.check::<f16>();
        self.check::<bf16>();
        self.check::<i32>();
        self.check::<i64>();
        self.check::<u8>();
        self.check::<bool>();
    }
}

#[test]
fn degenerate_sizes() {
    for (m, n, k) in [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (1, 1, 0), (1, 1, 1)] {
        for accumulate in [false, true] {
            Case { accumulate, bias: true, ..Case::dense(m, n, k) }.check_all();
            Case { accumulate, bias: true, rounds_once: true, ..Case::dense(m, n, k) }.check_all();
        }
    }
    Case { batch: vec![2, 0], ..Case::dense(2, 2, 2) }.check_all();
}

#[test]
fn sizes_around_tiles_and_blocks() {
    for m in [1, 2, 5, 6, 7, 13, 14, 15, 29] {
        for n in [1, 7, 8, 10, 15, 16, 17, 31, 33, 65] {
            Case::dense(m, n, 9).check::<f32>();
            Case::dense(m, n, 5).check::<f64>();
        }
    }
    for k in [255, 256, 257, 512, 513, 800] {
        Case::dense(7, 18, k).check_all();
        Case { accumulate: true, relu: true, ..Case::dense(7, 18, k) }.check_all();
        Case { accumulate: true, rounds_once: true, ..Case::dense(7, 18, k) }.check_all();
        Case { lays: [Lay::Rows, Lay::Rows, Lay::Sparse], ..Case::dense(9, 17, k) }.check_all();
    }
}

#[test]
fn every_combination_of_layouts() {
    for a in LAYS {
        for b in LAYS {
            for c in [Lay::Rows, Lay::Columns, Lay::Gaps, Lay::Sparse] {
                let case = Case { lays: [a, b, c], batch: vec![2], bias: true, ..Case::dense(13, 19, 11) };
                case.check::<f32>();
                case.check::<bf16>();
                case.check::<i32>();
                Case { m: 1, ..case.clone() }.check::<f32>();
                Case { n: 1, ..case.clone() }.check::<f64>();
                Case { m: 1, n: 1, k: 300, ..case }.check::<f32>();
            }
        }
    }
}

#[test]
fn matrix_times_vector() {
    for (m, n) in [(1, 70), (70, 1), (1, 300), (300, 1), (2, 130), (130, 3)] {
        for k in [3, 8, 64, 256, 300, 777] {
            for lay in [Lay::Rows, Lay::Columns, Lay::Gaps, Lay::Sparse] {
                Case { lays: [lay; 3], relu: true, bias: true, ..Case::dense(m, n, k) }.check::<f32>();
                Case { lays: [lay; 3], accumulate: true, ..Case::dense(m, n, k) }.check::<f64>();
            }
        }
    }
}

#[test]
fn large_enough_for_threads() {
    for (m, n, k) in
        [(64, 512, 784), (64, 10, 256), (784, 512, 64), (300, 200, 300), (1, 1500, 700), (1500, 1, 700)]
    {
        Case::dense(m, n, k).check::<f32>();
        Case { lays: [Lay::Columns, Lay::Rows, Lay::Rows], ..Case::dense(m, n, k) }.check::<f32>();
        Case { lays: [Lay::Rows, Lay::Columns, Lay::Rows], accumulate: true, ..Case::dense(m, n, k) }
            .check::<f32>();
        Case { bias: true, relu: true, ..Case::dense(m, n, k) }.check::<f16>();
    }
}

#[test]
fn close_to_double_precision() {
    let (m, n, k) = (33, 47, 1000);
    let value = |seed: i64, i: usize| unit(random_bits(seed, 0, i as i64, 0)) as f32;
    let a: Vec<f32> = (0..m * k).map(|i| value(1, i)).collect();
    let b: Vec<f32> = (0..k * n).map(|i| value(2, i)).collect();
    let mut c = vec![0f32; m * n];
    // SAFETY: the buffers were sized for the product.
    unsafe {
        let gemm = Gemm::dense(DType::F32, m, n, k);
        gemm.run(a.as_ptr().cast(), b.as_ptr().cast(), c.as_mut_ptr().cast(), std::ptr::null(), &POOLS[1]);
    }
    for i in 0..m {
        for j in 0..n {
            let exact: f64 = (0..k).map(|p| a[i * k + p] as f64 * b[p * n + j] as f64).sum();
            assert!((exact - c[i * n + j] as f64).abs() < 2e-5, "{exact} {}", c[i * n + j]);
        }
    }
}

#[test]
fn infinities_and_nans_stay_in_their_elements() {
    let (m, n, k) = (7, 17, 3);
    let (mut a, b) = (vec![1f32; m * k], vec![0f32; k * n]);
    a[2 * k] = f32::INFINITY;
    let mut c = vec![0f32; m * n];
    // SAFETY: the buffers were sized for the product.
    unsafe {
        let gemm = Gemm { activation: Activation::Relu, ..Gemm::dense(DType::F32, m, n, k) };
        gemm.run(a.as_ptr().cast(), b.as_ptr().cast(), c.as_mut_ptr().cast(), std::ptr::null(), &POOLS[0]);
    }
    for i in 0..m {
        assert!(c[i * n..(i + 1) * n].iter().all(|x| x.is_nan() == (i == 2)));
    }
    assert_eq!(Scalar::Float(c[0] as f64), Scalar::Float(0.0));
}

fn layout() -> impl Strategy<Value = Lay> {
    prop::sample::select(LAYS.as_slice())
}

prop_compose! {
    fn case()(
        m in 1..40usize, n in 1..70usize, k in prop_oneof![0..40usize, 250..530usize],
        batch in prop::collection::vec(1..4usize, 0..3),
        a in layout(), b in layout(), c in 0..4usize,
        accumulate: bool, bias: bool, rounds_once: bool, relu: bool,
    ) -> Case {
        Case { m, n, k, batch, lays: [a, b, LAYS[c]], accumulate, bias, rounds_once, relu }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_product_is_its_definition(case in case(), dtype in 0..8usize) {
        match DType::ALL[dtype] {
            DType::Bool => case.check::<bool>(),
            DType::U8 => case.check::<u8>(),
            DType::I32 => case.check::<i32>(),
            DType::I64 => case.check::<i64>(),
            DType::F16 => case.check::<f16>(),
            DType::BF16 => case.check::<bf16>(),
            DType::F32 => case.check::<f32>(),
            DType::F64 => case.check::<f64>(),
        }
    }
}
