//! Programs that the tests of the CUDA text share: every function of the loop language on every type that has it, and
//! the shapes of programs that real ops lower to.

#[allow(dead_code)]
pub mod shim;

use kernels::DType;
use kernels::dtype::Scalar;
use kernels::loops::{
    AccessId, AccessKind, BinaryOp, Combine, InstOp, Level, Program, ReduceOp, Reg, UnaryOp,
};

/// A program and the name of its kernel.
pub struct Case {
    pub name: String,
    pub program: Program,
}

fn load(p: &mut Program, access: AccessId, level: Level) -> Reg {
    let dtype = p.accesses[access.0 as usize].dtype;
    p.push(InstOp::Load { access, index: None, mask: None }, dtype, level)
}

fn store(p: &mut Program, value: Reg, level: Level) {
    let dtype = p.inst(value).dtype;
    let access = p.access(dtype, AccessKind::Write);
    p.push(InstOp::Store { access, value, index: None, combine: Combine::Set }, dtype, level);
}

fn read(p: &mut Program, dtype: DType) -> Reg {
    let access = p.access(dtype, AccessKind::Read);
    load(p, access, Level::Elem)
}

/// One kernel for each function and type.
pub fn operations() -> Vec<Case> {
    let mut cases = Vec::new();
    for dtype in DType::ALL {
        for &op in UnaryOp::ALL {
            if let Some(result) = op.result(dtype) {
                let mut p = Program::default();
                let a = read(&mut p, dtype);
                let r = p.push(InstOp::Unary(op, a), result, Level::Elem);
                store(&mut p, r, Level::Elem);
                cases.push(Case { name: format!("unary_{}_{dtype}", op.name()), program: p });
            }
        }
        for &op in BinaryOp::ALL {
            if let Some(result) = op.result(dtype) {
                let mut p = Program::default();
                let (a, b) = (read(&mut p, dtype), read(&mut p, dtype));
                let r = p.push(InstOp::Binary(op, a, b), result, Level::Elem);
                store(&mut p, r, Level::Elem);
                cases.push(Case { name: format!("binary_{}_{dtype}", op.name()), program: p });
            }
        }
        for &op in ReduceOp::ALL {
            if let Some(result) = op.result(dtype) {
                let mut p = Program::default();
                let a = read(&mut p, dtype);
                let r = p.push(InstOp::Reduce(op, a), result, Level::Row);
                store(&mut p, r, Level::Row);
                cases.push(Case { name: format!("reduce_{}_{dtype}", op.name()), program: p });
            }
            let scans = matches!(op, ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min);
            if scans && op.result(dtype) == Some(dtype) {
                let mut p = Program::default();
                let a = read(&mut p, dtype);
                let r = p.push(InstOp::Scan(op, a), dtype, Level::Elem);
                store(&mut p, r, Level::Elem);
                cases.push(Case { name: format!("scan_{}_{dtype}", op.name()), program: p });
            }
        }
        for to in DType::ALL {
            let mut p = Program::default();
            let a = read(&mut p, dtype);
            let r = p.push(InstOp::Cast(a), to, Level::Elem);
            store(&mut p, r, Level::Elem);
            cases.push(Case { name: format!("cast_{dtype}_{to}"), program: p });
        }
    }
    cases
}

/// Kernels of the forms that ops and fused regions take.
pub fn forms() -> Vec<Case> {
    let case = |name: &str, program| Case { name: name.to_string(), program };
    let mut cases = vec![
        case("softmax", softmax()),
        case("normalise", normalise()),
        case("dropout", dropout()),
        case("embedding", embedding()),
        case("embedding_gradient", embedding_gradient()),
        case("cumulative_share", cumulative_share()),
        case("row_scatter", row_scatter()),
        case("masked", masked()),
    ];
    for dtype in DType::ALL {
        let mut p = Program { params: vec![dtype], ..Program::default() };
        let a = read(&mut p, dtype);
        let s = p.push(InstOp::Param(0), dtype, Level::Row);
        let c = p.push(InstOp::Const(Scalar::Float(1.75)), dtype, Level::Row);
        let t = p.push(InstOp::Binary(BinaryOp::Max, a, s), dtype, Level::Elem);
        let t = p.push(InstOp::Binary(BinaryOp::Add, t, c), dtype, Level::Elem);
        store(&mut p, t, Level::Elem);
        cases.push(case(&format!("numbers_{dtype}"), p));
    }
    cases
}

fn softmax() -> Program {
    let mut p = Program::default();
    let x = read(&mut p, DType::F32);
    let m = p.push(InstOp::Reduce(ReduceOp::Max, x), DType::F32, Level::Row);
    let d = p.push(InstOp::Binary(BinaryOp::Sub, x, m), DType::F32, Level::Elem);
    let e = p.push(InstOp::Unary(UnaryOp::Exp, d), DType::F32, Level::Elem);
    let s = p.push(InstOp::Reduce(ReduceOp::Sum, e), DType::F32, Level::Row);
    let r = p.push(InstOp::Binary(BinaryOp::Div, e, s), DType::F32, Level::Elem);
    store(&mut p, r, Level::Elem);
    p
}

/// Layer norm with a weight, on halves that are computed in f32; stores the mean as well.
fn normalise() -> Program {
    let mut p = Program::default();
    let half = read(&mut p, DType::F16);
    let weight = read(&mut p, DType::F32);
    let x = p.push(InstOp::Cast(half), DType::F32, Level::Elem);
    let n = p.push(InstOp::Extent, DType::F32, Level::Row);
    let sum = p.push(InstOp::Reduce(ReduceOp::Sum, x), DType::F32, Level::Row);
    let m2 = p.push(InstOp::Reduce(ReduceOp::Moment2, x), DType::F32, Level::Row);
    let mean = p.push(InstOp::Binary(BinaryOp::Div, sum, n), DType::F32, Level::Row);
    let variance = p.push(InstOp::Binary(BinaryOp::Div, m2, n), DType::F32, Level::Row);
    let small = p.push(InstOp::Const(Scalar::Float(1e-5)), DType::F32, Level::Row);
    let shifted = p.push(InstOp::Binary(BinaryOp::Add, variance, small), DType::F32, Level::Row);
    let scale = p.push(InstOp::Unary(UnaryOp::Rsqrt, shifted), DType::F32, Level::Row);
    let d = p.push(InstOp::Binary(BinaryOp::Sub, x, mean), DType::F32, Level::Elem);
    let d = p.push(InstOp::Binary(BinaryOp::Mul, d, scale), DType::F32, Level::Elem);
    let d = p.push(InstOp::Binary(BinaryOp::Mul, d, weight), DType::F32, Level::Elem);
    let out = p.push(InstOp::Cast(d), DType::F16, Level::Elem);
    store(&mut p, out, Level::Elem);
    store(&mut p, mean, Level::Row);
    p
}

fn dropout() -> Program {
    let mut p = Program { params: vec![DType::I64, DType::I64, DType::F32], ..Program::default() };
    let x = read(&mut p, DType::F32);
    let seed = p.push(InstOp::Param(0), DType::I64, Level::Row);
    let offset = p.push(InstOp::Param(1), DType::I64, Level::Row);
    let keep = p.push(InstOp::Param(2), DType::F32, Level::Row);
    let bits = p.push(InstOp::RandomBits { stream: 1, seed, offset }, DType::I32, Level::Elem);
    let u = p.push(InstOp::Unary(UnaryOp::Uniform, bits), DType::F32, Level::Elem);
    let kept = p.push(InstOp::Binary(BinaryOp::Lt, u, keep), DType::Bool, Level::Elem);
    let zero = p.push(InstOp::Const(Scalar::Float(0.0)), DType::F32, Level::Row);
    let scaled = p.push(InstOp::Binary(BinaryOp::Div, x, keep), DType::F32, Level::Elem);
    let r = p.push(InstOp::Select(kept, scaled, zero), DType::F32, Level::Elem);
    store(&mut p, r, Level::Elem);
    store(&mut p, kept, Level::Elem);
    p
}

/// out[i, j] = table[ids[i], j].
fn embedding() -> Program {
    let mut p = Program::default();
    let ids = read(&mut p, DType::I64);
    let table = p.access(DType::F32, AccessKind::Read);
    let x = p.push(InstOp::Load { access: table, index: Some(ids), mask: None }, DType::F32, Level::Elem);
    store(&mut p, x, Level::Elem);
    p
}

/// table[ids[i], j] += gradient[i, j].
fn embedding_gradient() -> Program {
    let mut p = Program::default();
    let ids = read(&mut p, DType::I64);
    let g = read(&mut p, DType::F32);
    let table = p.access(DType::F32, AccessKind::Write);
    let add = InstOp::Store { access: table, value: g, index: Some(ids), combine: Combine::Add };
    p.push(add, DType::F32, Level::Elem);
    p
}

/// A scan whose result is divided by its own largest value: two sweeps that both run the scan.
fn cumulative_share() -> Program {
    let mut p = Program::default();
    let x = read(&mut p, DType::F32);
    let running = p.push(InstOp::Scan(ReduceOp::Sum, x), DType::F32, Level::Elem);
    let most = p.push(InstOp::Reduce(ReduceOp::Max, running), DType::F32, Level::Row);
    let total = p.push(InstOp::Reduce(ReduceOp::Sum, x), DType::F32, Level::Row);
    let share = p.push(InstOp::Binary(BinaryOp::Div, running, most), DType::F32, Level::Elem);
    store(&mut p, share, Level::Elem);
    store(&mut p, total, Level::Row);
    p
}

/// Adds each row's deviations from its largest value into one shared histogram.
fn row_scatter() -> Program {
    let mut p = Program::default();
    let x = read(&mut p, DType::F32);
    let to = read(&mut p, DType::I64);
    let m = p.push(InstOp::Reduce(ReduceOp::Max, x), DType::F32, Level::Row);
    let d = p.push(InstOp::Binary(BinaryOp::Sub, x, m), DType::F32, Level::Elem);
    let sink = p.access(DType::F32, AccessKind::Write);
    let add = InstOp::Store { access: sink, value: d, index: Some(to), combine: Combine::Add };
    p.push(add, DType::F32, Level::Elem);
    p
}

/// Coordinates and a masked load.
fn masked() -> Program {
    let mut p = Program::default();
    let source = p.access(DType::BF16, AccessKind::Read);
    let i = p.push(InstOp::Index(0), DType::I64, Level::Row);
    let j = p.push(InstOp::Index(1), DType::I64, Level::Row);
    let below = p.push(InstOp::Binary(BinaryOp::Le, j, i), DType::Bool, Level::Elem);
    let x = p.push(InstOp::Load { access: source, index: None, mask: Some(below) }, DType::BF16, Level::Elem);
    let x = p.push(InstOp::Binary(BinaryOp::Mul, x, x), DType::BF16, Level::Elem);
    store(&mut p, x, Level::Elem);
    store(&mut p, below, Level::Elem);
    p
}
