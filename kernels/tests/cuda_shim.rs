//! The text of the CUDA kernels computes what the loop language says: compiled for the host and compared with the
//! reference interpreter, and the matrix product with the CPU's, bit for bit where the bits are defined.
//!
//! Needs g++; without it the tests say so and pass.

mod cuda_common;

use cuda_common::shim::{self, Shim};
use kernels::cpu::gemm::{Activation, Gemm, MatrixGeometry};
use kernels::cpu::threads::Pool;
use kernels::cuda::{self, FAULT_BYTES, LaunchPlan, gemm};
use kernels::loops::random::{self, Draw, Style};
use kernels::loops::reference::{self, Buffer};
use kernels::loops::{AccessGeometry, AccessKind, Geometry, InstOp, Precision, Program};
use kernels::shape::contiguous_strides;
use kernels::{DType, Scalar};

/// A program with memory to run it on.
struct Launch {
    name: String,
    program: Program,
    geometry: Geometry,
    buffers: Vec<Buffer>,
    of_access: Vec<usize>,
    params: Vec<Scalar>,
}

impl Launch {
    /// The buffers after the kernel has run in this order of threads, and the index out of range that it reported.
    fn run(&self, shim: &Shim, kernel: &str, order: i32) -> (Vec<Buffer>, Option<i64>) {
        let source = cuda::source(&self.program, kernel);
        let plan =
            LaunchPlan::new(&source, &self.program, &self.geometry).expect("the geometry can be launched");
        let mut buffers = self.buffers.clone();
        let addresses: Vec<u64> = buffers.iter_mut().map(|b| b.bytes_mut().as_mut_ptr() as u64).collect();
        let pointers: Vec<u64> = self.of_access.iter().map(|&b| addresses[b]).collect();
        let mut fault = [0u64; FAULT_BYTES / 8];
        let mut arguments = Vec::new();
        let grid = plan
            .arguments(&pointers, &self.params, fault.as_mut_ptr() as u64, &mut arguments)
            .expect("the operands belong to the program");
        if !plan.is_empty() {
            // SAFETY: the geometry keeps every access inside its buffer, as the reference interpreter has checked.
            unsafe { shim.launch(kernel, &arguments, [grid, 1, 1], plan.block(), order) };
        }
        (buffers, (fault[0] as u32 != 0).then_some(fault[1] as i64))
    }

    /// Compares with the reference interpreter.
    fn check(&self, shim: &Shim, kernel: &str, order: i32, tolerance: Option<f64>) {
        let mut expected = self.buffers.clone();
        let outcome = reference::run(
            &self.program,
            &self.geometry,
            &mut expected,
            &self.of_access,
            &self.params,
            Precision::Declared,
        );
        let (got, fault) = self.run(shim, kernel, order);
        assert_eq!(
            fault.is_some(),
            outcome.is_err(),
            "{}: {outcome:?}, the kernel reported {fault:?}",
            self.name
        );
        if outcome.is_err() {
            return;
        }
        for (b, (expected, got)) in expected.iter().zip(&got).enumerate() {
            for i in 0..expected.len() {
                let (e, g) = (expected.get(i), got.get(i));
                assert!(
                    agree(e, g, expected.dtype(), tolerance),
                    "{} order {order} buffer {b}[{i}]: expected {e}, got {g}\n{:?}\n{:#?}",
                    self.name,
                    self.geometry,
                    self.program.insts
                );
            }
        }
    }
}

/// Equal bits (any NaN equals any other), or a relative distance within `tolerance` steps of the type.
fn agree(e: Scalar, g: Scalar, dtype: DType, tolerance: Option<f64>) -> bool {
    let (Scalar::Float(e), Scalar::Float(g)) = (e, g) else { return e == g };
    if (e.is_nan() && g.is_nan()) || e.to_bits() == g.to_bits() {
        return true;
    }
    let (step, least) = match dtype {
        DType::F16 => (2f64.powi(-11), 2f64.powi(-24)),
        DType::BF16 => (2f64.powi(-8), 1e-40),
        DType::F64 => (2f64.powi(-53), 1e-320),
        _ => (2f64.powi(-24), 1e-44),
    };
    tolerance.is_some_and(|steps| (e - g).abs() <= steps * 2.0 * step * e.abs().max(g.abs()) + least)
}

/// The unit of many programs, and their kernels' names.
fn compile(name: &str, programs: &[(&str, &Program)]) -> Shim {
    let texts: Vec<String> =
        programs.iter().map(|(kernel, program)| cuda::source(program, kernel).text).collect();
    let kernels: Vec<(String, String)> =
        programs.iter().map(|(kernel, _)| (kernel.to_string(), format!("Arguments_{kernel}"))).collect();
    Shim::compile(name, &format!("{}\n{}", cuda::PRELUDE, texts.join("\n")), &kernels)
}

/// Outer and inner extents, with accesses dense in the order of axes that `order` gives, starting at `offset`.
fn dense(program: &Program, outer: &[usize], inner: &[usize], transposed: bool, offset: isize) -> Geometry {
    let row_level = |a: usize| {
        program.insts.iter().any(|inst| match inst.op {
            InstOp::Store { access, .. } => {
                access.0 as usize == a && inst.level == kernels::loops::Level::Row && !inner.is_empty()
            }
            _ => false,
        })
    };
    let accesses = (0..program.accesses.len())
        .map(|a| {
            let mut extents: Vec<usize> = outer.to_vec();
            if !row_level(a) {
                extents.extend(inner);
            }
            let mut strides: Vec<isize> = if transposed {
                let reversed: Vec<usize> = extents.iter().rev().copied().collect();
                contiguous_strides(&reversed).iter().rev().copied().collect()
            } else {
                contiguous_strides(&extents).to_vec()
            };
            strides.resize(outer.len() + inner.len(), 0);
            AccessGeometry { offset, strides: strides.into_iter().collect(), gather: None }
        })
        .collect();
    Geometry { outer: outer.iter().copied().collect(), inner: inner.iter().copied().collect(), accesses }
}

/// A buffer for each access, filled at random.
fn filled(program: &Program, points: usize, draw: &mut Draw) -> (Vec<Buffer>, Vec<usize>) {
    let buffer = |dtype: DType, draw: &mut Draw| {
        Buffer::of_scalars(dtype, (0..points + 8).map(|_| draw.element(dtype)).collect::<Vec<_>>())
    };
    let buffers = program.accesses.iter().map(|a| buffer(a.dtype, draw)).collect();
    (buffers, (0..program.accesses.len()).collect())
}

/// Whether the bits of a function's result are the device library's choice.
fn is_approximate(program: &Program) -> bool {
    use kernels::loops::{BinaryOp, UnaryOp};
    program.insts.iter().any(|inst| match inst.op {
        InstOp::Unary(op, _) => {
            use UnaryOp::*;
            matches!(
                op,
                Exp | Exp2
                    | Expm1
                    | Log
                    | Log2
                    | Log10
                    | Log1p
                    | Sin
                    | Cos
                    | Tan
                    | Atan
                    | Tanh
                    | Erf
                    | Erfc
                    | Sigmoid
            )
        }
        InstOp::Binary(op, ..) => matches!(op, BinaryOp::Pow | BinaryOp::Atan2) && inst.dtype.is_float(),
        _ => false,
    })
}

#[test]
fn every_operation_is_the_references() {
    if !shim::compiler() {
        return;
    }
    let cases = cuda_common::operations();
    let mut draw = Draw(5);
    for (unit, chunk) in cases.chunks(110).enumerate() {
        let programs: Vec<(&str, &Program)> = chunk.iter().map(|c| (c.name.as_str(), &c.program)).collect();
        let shim = compile(&format!("operations{unit}"), &programs);
        for case in chunk {
            let rows = cuda::source(&case.program, &case.name).class;
            let spaces: &[(&[usize], &[usize])] = match rows {
                cuda::Class::Map { .. } => &[(&[301], &[]), (&[7, 19], &[]), (&[], &[]), (&[0], &[])],
                cuda::Class::Rows { .. } => {
                    &[(&[3], &[70]), (&[2], &[4100]), (&[19], &[3, 5]), (&[2], &[0]), (&[], &[1])]
                }
            };
            for (outer, inner) in spaces {
                for (transposed, offset) in [(false, 0), (true, 3)] {
                    let geometry = dense(&case.program, outer, inner, transposed, offset);
                    let points = geometry.outer_points() * geometry.inner_points();
                    let (buffers, of_access) =
                        filled(&case.program, points.max(geometry.outer_points()), &mut draw);
                    let launch = Launch {
                        name: case.name.clone(),
                        program: case.program.clone(),
                        geometry,
                        buffers,
                        of_access,
                        params: Vec::new(),
                    };
                    let tolerance = is_approximate(&case.program).then_some(4.0);
                    launch.check(&shim, &case.name, if transposed { 1 } else { 0 }, tolerance);
                }
            }
        }
    }
}

fn random_programs(style: Style, seeds: std::ops::Range<u64>, tolerance: Option<f64>) {
    if !shim::compiler() {
        return;
    }
    let cases: Vec<Launch> = seeds
        .map(|seed| {
            let case = random::case(seed, style);
            Launch {
                name: format!("k{seed}"),
                program: case.composed.program.clone(),
                geometry: case.geometry,
                buffers: case.buffers,
                of_access: case.of_access,
                params: case.params,
            }
        })
        .collect();
    for (unit, chunk) in cases.chunks(64).enumerate() {
        let programs: Vec<(&str, &Program)> = chunk.iter().map(|c| (c.name.as_str(), &c.program)).collect();
        let shim = compile(&format!("random{style:?}{unit}"), &programs);
        for launch in chunk {
            for order in [0, 1, 17] {
                launch.check(&shim, &launch.name, order, tolerance);
            }
        }
    }
}

#[test]
fn random_exact_programs_have_the_references_bits() {
    random_programs(Style::Exact, 0..192, None);
}

#[test]
fn softmax_and_its_like_stay_close() {
    if !shim::compiler() {
        return;
    }
    let forms = cuda_common::forms();
    let programs: Vec<(&str, &Program)> = forms.iter().map(|c| (c.name.as_str(), &c.program)).collect();
    let shim = compile("forms", &programs);
    let mut draw = Draw(11);
    let mut run = |name: &str, outer: &[usize], inner: &[usize], adjust: &dyn Fn(&mut Launch)| {
        let program = forms.iter().find(|c| c.name == name).expect("a form").program.clone();
        let geometry = dense(&program, outer, inner, false, 0);
        let points = geometry.outer_points() * geometry.inner_points();
        let (mut buffers, of_access) = filled(&program, points, &mut draw);
        for (buffer, access) in buffers.iter_mut().zip(&program.accesses) {
            if access.dtype.is_float() {
                (0..buffer.len())
                    .for_each(|i| buffer.set(i, Scalar::Float(draw.below(4001) as f64 / 1000.0 - 2.0)));
            }
        }
        let params = program.params.iter().map(|&d| draw.element(d)).collect();
        let mut launch = Launch { name: name.into(), program, geometry, buffers, of_access, params };
        adjust(&mut launch);
        for order in [0, 1, 5] {
            launch.check(&shim, name, order, Some(64.0));
        }
    };
    let plain = |_: &mut Launch| {};
    run("softmax", &[5], &[777], &plain);
    run("softmax", &[37], &[10], &plain);
    run("normalise", &[3], &[4500], &plain);
    run("cumulative_share", &[3], &[100], &plain);
    run("dropout", &[1000], &[], &|l| l.params = vec![Scalar::Int(7), Scalar::Int(3), Scalar::Float(0.25)]);
    run("masked", &[9, 11], &[], &plain);
    // A table of 6 rows of 5; ids repeat, and the last launch has one that is out of range.
    for last in [2, 6] {
        let ids = move |l: &mut Launch, table: usize| {
            l.geometry.accesses[0].strides = [1, 0].into_iter().collect();
            l.geometry.accesses[table].strides = [0, 1].into_iter().collect();
            l.geometry.accesses[table].gather = Some((6, 5));
            for i in 0..8 {
                l.buffers[0].set(i, Scalar::Int([0, 5, 2, 2, 0, 2, 1, last][i]));
            }
        };
        run("embedding", &[8, 5], &[], &|l| ids(l, 1));
        run("embedding_gradient", &[8, 5], &[], &|l| ids(l, 2));
    }
    run("row_scatter", &[4], &[40], &|l| {
        let at = l.program.accesses.iter().position(|a| a.kind == AccessKind::Write).expect("a sink");
        l.geometry.accesses[at].strides = [0, 0].into_iter().collect();
        l.geometry.accesses[at].gather = Some((6, 1));
        for i in 0..l.buffers[1].len() {
            l.buffers[1].set(i, Scalar::Int((i * i % 6) as i64));
        }
    });
    for dtype in DType::ALL {
        run(&format!("numbers_{dtype}"), &[33], &[], &plain);
    }
}

#[test]
fn products_have_the_cpus_bits() {
    if !shim::compiler() {
        return;
    }
    let texts: Vec<String> = DType::ALL.iter().map(|&d| gemm::source(d, &format!("product_{d}"))).collect();
    let kernels: Vec<(String, String)> =
        DType::ALL.iter().map(|d| (format!("product_{d}"), "ProductArguments".to_string())).collect();
    let text = format!("{}\n{}\n{}", cuda::PRELUDE, gemm::PRODUCT, texts.join("\n"));
    let shim = Shim::compile("products", &text, &kernels);
    let pool = Pool::new(1);
    let mut draw = Draw(3);
    for dtype in DType::ALL {
        for (m, n, k, plain, rounds_once) in [
            (5, 7, 3, true, false),
            (70, 66, 300, true, false),
            (33, 10, 600, false, false),
            (9, 70, 20, false, true),
            (4, 4, 0, true, false),
        ] {
            let mut product = Gemm { rounds_once, ..Gemm::dense(dtype, m, n, k) };
            product.batch = [3usize].into_iter().collect();
            let batched = |rows: isize, columns: isize, batch: isize| MatrixGeometry {
                batch_strides: [batch].into_iter().collect(),
                ..MatrixGeometry::new(rows, columns)
            };
            product.a = batched(1, m as isize, (m * k) as isize);
            product.b = batched(n as isize, 1, 0);
            product.c = batched(n as isize, 1, (m * n) as isize);
            if !plain {
                (product.accumulate, product.bias, product.activation) =
                    (true, dtype != DType::Bool, Activation::Relu);
            }
            let mut operand = |len: usize| {
                let small = |draw: &mut Draw| match dtype.is_float() {
                    true => Scalar::Float(draw.below(2001) as f64 / 1000.0 - 1.0),
                    false => draw.element(dtype),
                };
                Buffer::of_scalars(dtype, (0..len).map(|_| small(&mut draw)).collect::<Vec<_>>())
            };
            let (a, b, bias) = (operand(3 * m * k), operand(k * n), operand(n));
            let mut expected = operand(3 * m * n);
            let mut got = expected.clone();
            // SAFETY: the buffers are as long as the dense geometries reach.
            unsafe {
                product.run(
                    a.bytes().as_ptr(),
                    b.bytes().as_ptr(),
                    expected.bytes_mut().as_mut_ptr(),
                    bias.bytes().as_ptr(),
                    &pool,
                );
            }
            let pointers =
                [a.bytes(), b.bytes(), got.bytes(), bias.bytes()].map(|bytes| bytes.as_ptr() as u64);
            let mut arguments = Vec::new();
            gemm::arguments(&product, pointers, &mut arguments).expect("one batch dimension");
            let grid = gemm::grid(&product).expect("something to write");
            got.bytes_mut();
            // SAFETY: as above.
            unsafe { shim.launch(&format!("product_{dtype}"), &arguments, grid, gemm::THREADS, 0) };
            for i in 0..got.len() {
                let (e, g) = (expected.get(i), got.get(i));
                assert!(agree(e, g, dtype, None), "{dtype} {m}x{n}x{k} [{i}]: expected {e}, got {g}");
            }
        }
    }
}
