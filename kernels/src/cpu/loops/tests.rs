//! The executor against the reference interpreter: every instruction and type, every strategy, level and thread count.

use super::*;
use crate::dtype::DType;
use crate::loops::reference::{self, Buffer};
use crate::loops::{
    AccessGeometry, AccessKind, BinaryOp, Combine, InstOp, Level, Precision, ReduceOp, Reg, UnaryOp,
};
use crate::shape::{Strides, contiguous_strides};
use smallvec::SmallVec;

/// One launch and how far its floats may be from the reference, in units of the last place.
struct Case {
    program: Program,
    geometry: Geometry,
    buffers: Vec<Buffer>,
    of_access: Vec<usize>,
    params: Vec<Scalar>,
    ulps: f64,
}

fn distance(a: f64, b: f64, dtype: DType) -> f64 {
    if a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    if a == b {
        // Zeros of different sign.
        return 0.25;
    }
    let digits = match dtype {
        DType::F16 => 10,
        DType::BF16 => 7,
        DType::F32 => 23,
        _ => 52,
    };
    (a - b).abs() / (b.abs() * 2f64.powi(-digits)).max(1e-37)
}

impl Case {
    fn check(&self, what: &str) {
        crate::loops::verify(&self.program).unwrap_or_else(|e| panic!("{what}: {e}\n{:#?}", self.program));
        let mut expected = self.buffers.clone();
        let outcome = reference::run(
            &self.program,
            &self.geometry,
            &mut expected,
            &self.of_access,
            &self.params,
            Precision::Declared,
        );
        for (isa, native) in Isa::available().flat_map(|isa| [(isa, false), (isa, true)]) {
            let compiled = compile_with(&self.program, isa, native).unwrap();
            for threads in [1, 2] {
                let pool = Pool::new(threads);
                let mut got = self.buffers.clone();
                let pointers: Vec<*mut u8> =
                    self.of_access.iter().map(|&b| got[b].bytes_mut().as_mut_ptr()).collect();
                // SAFETY: the geometry lies in the buffers, as the reference has just shown.
                let result = unsafe { compiled.run(&self.geometry, &pointers, &self.params, &pool) };
                assert_eq!(result, outcome, "{what} {isa:?} native {native}");
                if outcome.is_err() {
                    continue;
                }
                for (b, (got, expected)) in got.iter().zip(&expected).enumerate() {
                    for i in 0..got.len() {
                        let (x, y) = (got.get(i), expected.get(i));
                        let far = match (x, y) {
                            (Scalar::Float(x), Scalar::Float(y)) => distance(x, y, got.dtype()),
                            _ => (x != y) as u8 as f64 * 1e9,
                        };
                        assert!(
                            far <= self.ulps,
                            "{what} {isa:?} native {native} {threads} threads: buffer {b}[{i}] is {x}, should be {y}\n{:?}",
                            self.geometry
                        );
                    }
                }
            }
        }
    }
}

/// Numbers without a pattern.
pub(super) struct Noise(pub(super) u64);

impl Noise {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn scalar(&mut self, dtype: DType) -> Scalar {
        let bits = self.next();
        let small = (bits >> 8 & 0xffff) as f64 / 8192.0 - 4.0;
        match dtype {
            DType::Bool => Scalar::Bool(bits & 1 == 1),
            d if d.is_int() && bits & 7 == 0 => Scalar::Int(bits as i64),
            d if d.is_int() => Scalar::Int((bits >> 40) as i64 % 23 - 11),
            _ => match bits & 63 {
                0 => Scalar::Float(f64::NAN),
                1 => Scalar::Float(f64::INFINITY),
                2 => Scalar::Float(f64::NEG_INFINITY),
                3 => Scalar::Float(-0.0),
                4 => Scalar::Float(0.0),
                5 => Scalar::Float(1e-40),
                6 => Scalar::Float(3e4 * small),
                7 => Scalar::Float(1.0),
                _ => Scalar::Float(small),
            },
        }
    }

    pub(super) fn buffer(&mut self, dtype: DType, len: usize) -> Buffer {
        Buffer::of_scalars(dtype, (0..len).map(|_| self.scalar(dtype)))
    }

    /// Floats that neither overflow nor cancel to nothing.
    fn tame(&mut self, dtype: DType, len: usize) -> Buffer {
        let mut value = || Scalar::Float((self.next() >> 40) as f64 / (1u64 << 24) as f64 * 4.0 - 1.5);
        Buffer::of_scalars(dtype, (0..len).map(|_| value()))
    }
}

pub(super) fn access(strides: &[isize], offset: isize) -> AccessGeometry {
    AccessGeometry { offset, strides: Strides::from_slice(strides), gather: None }
}

fn dense(extents: &[usize]) -> AccessGeometry {
    AccessGeometry { offset: 0, strides: contiguous_strides(extents), gather: None }
}

pub(super) fn load(p: &mut Program, dtype: DType, level: Level) -> Reg {
    let a = p.access(dtype, AccessKind::Read);
    p.push(InstOp::Load { access: a, index: None, mask: None }, dtype, level)
}

pub(super) fn store(p: &mut Program, value: Reg, level: Level) {
    let dtype = p.inst(value).dtype;
    let a = p.access(dtype, AccessKind::Write);
    p.push(InstOp::Store { access: a, value, index: None, combine: Combine::Set }, dtype, level);
}

/// A program without reductions over `n` points: dense, then every second point, then all inputs but one constant.
fn check_flat(program: &Program, n: usize, noise: &mut Noise, ulps: f64, what: &str) {
    let count = program.accesses.len();
    for form in 0..3 {
        let buffers: Vec<Buffer> = program.accesses.iter().map(|a| noise.buffer(a.dtype, 2 * n)).collect();
        let step = |i: usize| match (form, program.accesses[i].kind) {
            (1, _) => 2,
            (2, AccessKind::Read) if i > 0 => 0,
            _ => 1,
        };
        let geometry = Geometry {
            outer: [n].into_iter().collect(),
            inner: SmallVec::new(),
            accesses: (0..count).map(|i| access(&[step(i)], 0)).collect(),
        };
        let of_access = (0..count).collect();
        Case { program: program.clone(), geometry, buffers, of_access, params: vec![], ulps }
            .check(&format!("{what} form {form}"));
    }
}

#[test]
fn every_function_of_every_type() {
    let mut noise = Noise(1);
    for dtype in DType::ALL {
        for &op in UnaryOp::ALL {
            let Some(result) = op.result(dtype) else { continue };
            let mut p = Program::default();
            let a = load(&mut p, dtype, Level::Elem);
            let r = p.push(InstOp::Unary(op, a), result, Level::Elem);
            store(&mut p, r, Level::Elem);
            let exact =
                !tables::unary_rounds(op) || matches!(op, UnaryOp::Sqrt | UnaryOp::Rsqrt | UnaryOp::Recip);
            check_flat(&p, 37, &mut noise, if exact { 0.0 } else { 3.0 }, op.name());
        }
        for &op in BinaryOp::ALL {
            let Some(result) = op.result(dtype) else { continue };
            let mut p = Program::default();
            let a = load(&mut p, dtype, Level::Elem);
            let b = load(&mut p, dtype, Level::Elem);
            let r = p.push(InstOp::Binary(op, a, b), result, Level::Elem);
            store(&mut p, r, Level::Elem);
            let exact = dtype.is_int()
                || !matches!(op, BinaryOp::Pow | BinaryOp::Atan2 | BinaryOp::Rem | BinaryOp::Fmod);
            check_flat(&p, 53, &mut noise, if exact { 0.0 } else { 3.0 }, op.name());
        }
        for to in DType::ALL {
            let mut p = Program::default();
            let a = load(&mut p, dtype, Level::Elem);
            let r = p.push(InstOp::Cast(a), to, Level::Elem);
            store(&mut p, r, Level::Elem);
            check_flat(&p, 41, &mut noise, 0.0, &format!("cast {dtype} to {to}"));
        }
        let mut p = Program::default();
        let c = load(&mut p, DType::Bool, Level::Elem);
        let a = load(&mut p, dtype, Level::Elem);
        let b = load(&mut p, dtype, Level::Elem);
        let r = p.push(InstOp::Select(c, a, b), dtype, Level::Elem);
        store(&mut p, r, Level::Elem);
        check_flat(&p, 41, &mut noise, 0.0, "select");
    }
}

/// Geometries of rows: contiguous, strided, columns, uneven inner axes, with 0 to many inner points.
fn row_geometries(outer: usize, points: usize) -> Vec<(Geometry, usize)> {
    let (o, k) = (outer as isize, points as isize);
    let mut out = Vec::new();
    let mut add =
        |outer: &[usize], inner: &[usize], input: &[isize], row: &[isize], elem: &[isize], size: usize| {
            let geometry = Geometry {
                outer: outer.iter().copied().collect(),
                inner: inner.iter().copied().collect(),
                accesses: [access(input, 0), access(row, 0), access(elem, 0)].into_iter().collect(),
            };
            out.push((geometry, size));
        };
    add(&[outer], &[points], &[k, 1], &[1, 0], &[k, 1], outer * points);
    add(&[outer], &[points], &[1, o], &[1, 0], &[1, o], outer * points);
    add(&[outer], &[points], &[2 * k, 2], &[1, 0], &[k, 1], 2 * outer * points);
    add(&[outer], &[points], &[1, 0], &[1, 0], &[1, o], outer * points.max(1));
    if points.is_multiple_of(7) && points > 0 {
        let h = k / 7;
        // Inner axes (7, points / 7) around the outer axis, as batch norm has them.
        add(&[outer], &[7, points / 7], &[h, o * h, 1], &[1, 0, 0], &[h, o * h, 1], outer * points);
        add(&[outer], &[7, points / 7], &[1, o * h, o], &[1, 0, 0], &[1, o * h, o], outer * points);
    }
    out
}

#[test]
fn every_reduction_in_every_layout() {
    let mut noise = Noise(2);
    for dtype in DType::ALL {
        for &op in ReduceOp::ALL {
            let Some(result) = op.result(dtype) else { continue };
            let mut p = Program::default();
            let a = load(&mut p, dtype, Level::Elem);
            let r = p.push(InstOp::Reduce(op, a), result, Level::Row);
            store(&mut p, r, Level::Row);
            let out = p.access(dtype, AccessKind::Write);
            p.push(
                InstOp::Store { access: out, value: a, index: None, combine: Combine::Set },
                dtype,
                Level::Elem,
            );
            for (outer, points) in [(3, 0), (70, 1), (9, 14), (5, 100), (2, 4200), (1, 9001)] {
                for (geometry, size) in row_geometries(outer, points) {
                    let input = match op {
                        ReduceOp::Moment2 | ReduceOp::Prod if dtype.is_float() => noise.tame(dtype, size),
                        _ => noise.buffer(dtype, size),
                    };
                    let buffers = vec![
                        input,
                        Buffer::zeros(result, outer),
                        Buffer::zeros(dtype, outer * points.max(1)),
                    ];
                    let case = Case {
                        program: p.clone(),
                        geometry,
                        buffers,
                        of_access: vec![0, 1, 2],
                        params: vec![],
                        ulps: 0.0,
                    };
                    case.check(&format!("{} {dtype} {outer} x {points}", op.name()));
                }
            }
        }
    }
}

/// Softmax, then layer norm of it, as one program.
fn softmax_layer_norm(dtype: DType) -> Program {
    let mut p = Program::default();
    let e = Level::Elem;
    let x = load(&mut p, dtype, e);
    let most = p.push(InstOp::Reduce(ReduceOp::Max, x), dtype, Level::Row);
    let moved = p.push(InstOp::Binary(BinaryOp::Sub, x, most), dtype, e);
    let powers = p.push(InstOp::Unary(UnaryOp::Exp, moved), dtype, e);
    let sum = p.push(InstOp::Reduce(ReduceOp::Sum, powers), dtype, Level::Row);
    let soft = p.push(InstOp::Binary(BinaryOp::Div, powers, sum), dtype, e);
    let count = p.push(InstOp::Extent, dtype, Level::Row);
    let total = p.push(InstOp::Reduce(ReduceOp::Sum, soft), dtype, Level::Row);
    let mean = p.push(InstOp::Binary(BinaryOp::Div, total, count), dtype, Level::Row);
    store(&mut p, mean, Level::Row);
    let centred = p.push(InstOp::Binary(BinaryOp::Sub, soft, mean), dtype, e);
    let squares = p.push(InstOp::Binary(BinaryOp::Mul, centred, centred), dtype, e);
    let spread = p.push(InstOp::Reduce(ReduceOp::Sum, squares), dtype, Level::Row);
    let variance = p.push(InstOp::Binary(BinaryOp::Div, spread, count), dtype, Level::Row);
    let tiny = p.push(InstOp::Const(Scalar::Float(1e-5)), dtype, Level::Row);
    let safe = p.push(InstOp::Binary(BinaryOp::Add, variance, tiny), dtype, Level::Row);
    let scale = p.push(InstOp::Unary(UnaryOp::Rsqrt, safe), dtype, Level::Row);
    let normal = p.push(InstOp::Binary(BinaryOp::Mul, centred, scale), dtype, e);
    store(&mut p, normal, e);
    p
}

#[test]
fn rows_in_several_passes() {
    let mut noise = Noise(3);
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let p = softmax_layer_norm(dtype);
        for (outer, points) in [(3, 1), (70, 10), (40, 14), (5, 200), (300, 64), (2, 4200), (1, 20000)] {
            for (geometry, size) in row_geometries(outer, points) {
                let buffers = vec![
                    noise.tame(dtype, size),
                    Buffer::zeros(dtype, outer),
                    Buffer::zeros(dtype, outer * points),
                ];
                let ulps = if dtype == DType::F16 || dtype == DType::BF16 { 1e9 } else { 1e7 };
                let case = Case {
                    program: p.clone(),
                    geometry,
                    buffers,
                    of_access: vec![0, 1, 2],
                    params: vec![],
                    ulps,
                };
                case.check(&format!("softmax {dtype} {outer} x {points}"));
            }
        }
    }
}

#[test]
fn in_place_and_long_enough_for_two_threads() {
    let mut noise = Noise(4);
    let n = 300_000;
    let mut p = Program::default();
    let a = load(&mut p, DType::F32, Level::Elem);
    let b = load(&mut p, DType::F32, Level::Elem);
    let s = p.push(InstOp::Binary(BinaryOp::Mul, a, b), DType::F32, Level::Elem);
    let t = p.push(InstOp::Binary(BinaryOp::Add, s, a), DType::F32, Level::Elem);
    store(&mut p, t, Level::Elem);
    let u = p.push(InstOp::Binary(BinaryOp::Sub, t, b), DType::F32, Level::Elem);
    store(&mut p, u, Level::Elem);
    let geometry = Geometry {
        outer: [n].into_iter().collect(),
        inner: SmallVec::new(),
        accesses: (0..4).map(|_| dense(&[n])).collect(),
    };
    let buffers = vec![noise.buffer(DType::F32, n), noise.buffer(DType::F32, n)];
    Case { program: p, geometry, buffers, of_access: vec![0, 1, 0, 1], params: vec![], ulps: 0.0 }
        .check("in place");
}

#[test]
fn transposed_and_broadcast_operands() {
    let mut noise = Noise(5);
    for (rows, cols) in [(1, 1), (3, 5), (64, 10), (33, 70), (200, 300), (5, 2000)] {
        for dtype in [DType::U8, DType::F16, DType::F32, DType::I64] {
            let mut p = Program::default();
            let a = load(&mut p, dtype, Level::Elem);
            let b = load(&mut p, dtype, Level::Elem);
            let c = load(&mut p, dtype, Level::Elem);
            let s = p.push(InstOp::Binary(BinaryOp::Add, a, b), dtype, Level::Elem);
            let t = p.push(InstOp::Binary(BinaryOp::Mul, s, c), dtype, Level::Elem);
            store(&mut p, t, Level::Elem);
            let (r, k) = (rows as isize, cols as isize);
            for out in [[k, 1], [1, r]] {
                for first in [[k, 1], [1, r], [0, 1], [1, 0]] {
                    let geometry = Geometry {
                        outer: [rows, cols].into_iter().collect(),
                        inner: SmallVec::new(),
                        accesses: [first, [0, 1], [1, 0], out].iter().map(|s| access(s, 0)).collect(),
                    };
                    let size = rows * cols;
                    let buffers = vec![
                        noise.buffer(dtype, size),
                        noise.buffer(dtype, cols),
                        noise.buffer(dtype, rows),
                        Buffer::zeros(dtype, size),
                    ];
                    let of_access = vec![0, 1, 2, 3];
                    Case { program: p.clone(), geometry, buffers, of_access, params: vec![], ulps: 0.0 }
                        .check(&format!("{dtype} {rows} x {cols}"));
                }
            }
        }
    }
}

#[test]
fn indices_masks_coordinates_scans_and_random_bits() {
    let mut noise = Noise(6);
    let (rows, cols) = (37usize, 29usize);
    let indices = |noise: &mut Noise, n: usize, top: u64| {
        Buffer::of_scalars(DType::I64, (0..n).map(|_| Scalar::Int((noise.next() % top) as i64)))
    };
    for dtype in [DType::F16, DType::F32, DType::F64, DType::U8] {
        // out[i, j] = mask[i, j] ? table[index[i], j] : 0, and the scatter-add back.
        let mut p = Program::default();
        let index = load(&mut p, DType::I64, Level::Elem);
        let mask = load(&mut p, DType::Bool, Level::Elem);
        let table = p.access(dtype, AccessKind::Read);
        let v =
            p.push(InstOp::Load { access: table, index: Some(index), mask: Some(mask) }, dtype, Level::Elem);
        store(&mut p, v, Level::Elem);
        let back = p.access(dtype, AccessKind::Write);
        let op = InstOp::Store { access: back, value: v, index: Some(index), combine: Combine::Add };
        p.push(op, dtype, Level::Elem);
        let along = |a: AccessGeometry| AccessGeometry { gather: Some((11, cols as isize)), ..a };
        let geometry = |top: usize| Geometry {
            outer: [rows, cols].into_iter().collect(),
            inner: SmallVec::new(),
            accesses: [
                access(&[1, 0], 0),
                dense(&[rows, cols]),
                along(access(&[0, 1], 0)),
                dense(&[rows, cols]),
                AccessGeometry { gather: Some((top, cols as isize)), ..access(&[0, 1], 0) },
            ]
            .into_iter()
            .collect(),
        };
        for top in [11, 10] {
            let buffers = vec![
                indices(&mut noise, rows, 11),
                noise.buffer(DType::Bool, rows * cols),
                noise.tame(dtype, 11 * cols),
                Buffer::zeros(dtype, rows * cols),
                Buffer::zeros(dtype, 11 * cols),
            ];
            let of_access = vec![0, 1, 2, 3, 4];
            Case {
                program: p.clone(),
                geometry: geometry(top),
                buffers,
                of_access,
                params: vec![],
                ulps: 0.0,
            }
            .check(&format!("gather {dtype} {top}"));
        }
    }
    // Coordinates and random bits, in a program with parameters.
    let mut p = Program { params: vec![DType::I64, DType::F32], ..Program::default() };
    let seed = p.push(InstOp::Param(0), DType::I64, Level::Row);
    let scale = p.push(InstOp::Param(1), DType::F32, Level::Row);
    let twice = p.push(InstOp::Binary(BinaryOp::Add, scale, scale), DType::F32, Level::Row);
    let bits = p.push(InstOp::RandomBits { stream: 2, seed, offset: seed }, DType::I32, Level::Elem);
    let u = p.push(InstOp::Unary(UnaryOp::Uniform, bits), DType::F32, Level::Elem);
    let i = p.push(InstOp::Index(0), DType::I64, Level::Elem);
    let j = p.push(InstOp::Index(1), DType::I64, Level::Elem);
    let ij = p.push(InstOp::Binary(BinaryOp::Mul, i, j), DType::I64, Level::Elem);
    let f = p.push(InstOp::Cast(ij), DType::F32, Level::Elem);
    let g = p.push(InstOp::Binary(BinaryOp::Mul, f, u), DType::F32, Level::Elem);
    let h = p.push(InstOp::Binary(BinaryOp::Add, g, twice), DType::F32, Level::Elem);
    store(&mut p, h, Level::Elem);
    for (rows, cols) in [(1, 1), (37, 29), (3, 3000)] {
        for strides in [[cols as isize, 1], [1, rows as isize]] {
            let geometry = Geometry {
                outer: [rows, cols].into_iter().collect(),
                inner: SmallVec::new(),
                accesses: [access(&strides, 0)].into_iter().collect(),
            };
            let params = vec![Scalar::Int(-77), Scalar::Float(0.3)];
            let buffers = vec![Buffer::zeros(DType::F32, rows * cols)];
            Case { program: p.clone(), geometry, buffers, of_access: vec![0], params, ulps: 0.0 }
                .check("random");
        }
    }
    for dtype in [DType::F16, DType::F32, DType::I32] {
        for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min] {
            let mut p = Program::default();
            let a = load(&mut p, dtype, Level::Elem);
            let s = p.push(InstOp::Scan(op, a), dtype, Level::Elem);
            let total = p.push(InstOp::Reduce(ReduceOp::Max, s), dtype, Level::Row);
            store(&mut p, total, Level::Row);
            let d = p.push(InstOp::Binary(BinaryOp::Sub, s, total), dtype, Level::Elem);
            store(&mut p, d, Level::Elem);
            for (outer, points) in [(3, 0), (70, 10), (9, 14), (3, 5000)] {
                for (geometry, size) in row_geometries(outer, points) {
                    let buffers = vec![
                        noise.tame(dtype, size),
                        Buffer::zeros(dtype, outer),
                        Buffer::zeros(dtype, outer * points.max(1)),
                    ];
                    Case {
                        program: p.clone(),
                        geometry,
                        buffers,
                        of_access: vec![0, 1, 2],
                        params: vec![],
                        ulps: 0.0,
                    }
                    .check(&format!("scan {} {dtype} {outer} x {points}", op.name()));
                }
            }
        }
    }
}
