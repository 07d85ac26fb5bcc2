//! What a composed program costs, roughly, in nanoseconds of one core. Only comparisons of sums of these count: one kernel
//! against two. The numbers are ratios measured on the CPU executor; a device changes them all, and their order little.

use kernels::loops::{BinaryOp, Composed, InstOp, Level, Program, REDUCE_BLOCK, Sweeps, UnaryOp};

/// Starting a kernel.
const LAUNCH: f64 = 400.0;
/// Moving a byte between kernels.
const BYTE: f64 = 0.06;

/// Nanoseconds of one program at one go.
pub(super) fn of(composed: &Composed) -> f64 {
    let (outer, inner) = composed.space();
    let rows: usize = outer.iter().product();
    let row: usize = inner.iter().product();
    let program = &composed.program;
    // Rows that fit into a tile keep their values between sweeps; longer ones compute them again.
    let repeats = match row > REDUCE_BLOCK {
        true => Sweeps::of(program).repeats(program),
        false => vec![1; program.insts.len()],
    };
    let arithmetic: f64 = program
        .insts
        .iter()
        .zip(repeats)
        .map(|(inst, repeats)| match inst.level {
            Level::Row => weight(&inst.op) * rows as f64,
            Level::Elem => weight(&inst.op) * (rows * row) as f64 * repeats as f64,
        })
        .sum();
    LAUNCH + arithmetic + BYTE * traffic(program, composed) as f64
}

fn traffic(program: &Program, composed: &Composed) -> usize {
    let (outer, inner) = composed.space();
    let extents: Vec<usize> = outer.iter().chain(inner).copied().collect();
    (0..program.accesses.len())
        .map(|a| {
            let moves = composed.moves(a);
            let points: usize = extents.iter().zip(moves).filter(|(_, m)| *m).map(|(&n, _)| n).product();
            points * program.accesses[a].dtype.size()
        })
        .sum()
}

/// Nanoseconds for one element in the middle of a vector loop.
fn weight(op: &InstOp) -> f64 {
    match op {
        InstOp::Const(_) | InstOp::Param(_) | InstOp::Index(_) | InstOp::Extent => 0.0,
        InstOp::Load { index: None, .. } | InstOp::Store { index: None, .. } => 0.03,
        InstOp::Load { .. } => 0.5,
        InstOp::Store { .. } => 1.0,
        InstOp::Unary(op, _) => match op {
            UnaryOp::Neg
            | UnaryOp::Abs
            | UnaryOp::Sign
            | UnaryOp::Floor
            | UnaryOp::Ceil
            | UnaryOp::Trunc
            | UnaryOp::Round
            | UnaryOp::Not
            | UnaryOp::BitNot
            | UnaryOp::IsNan
            | UnaryOp::IsInf
            | UnaryOp::Uniform => 0.03,
            UnaryOp::Sqrt | UnaryOp::Rsqrt | UnaryOp::Recip => 0.15,
            UnaryOp::Exp
            | UnaryOp::Exp2
            | UnaryOp::Expm1
            | UnaryOp::Log
            | UnaryOp::Log2
            | UnaryOp::Log10
            | UnaryOp::Log1p
            | UnaryOp::Sin
            | UnaryOp::Cos
            | UnaryOp::Tan
            | UnaryOp::Atan
            | UnaryOp::Tanh
            | UnaryOp::Erf
            | UnaryOp::Erfc
            | UnaryOp::Sigmoid => 0.5,
        },
        InstOp::Binary(op, ..) => match op {
            BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::TruncDiv | BinaryOp::Rem | BinaryOp::Fmod => 0.15,
            BinaryOp::Pow | BinaryOp::Atan2 => 1.0,
            _ => 0.03,
        },
        InstOp::Select(..) | InstOp::Cast(_) => 0.03,
        InstOp::RandomBits { .. } => 1.0,
        InstOp::Reduce(..) => 0.05,
        InstOp::Scan(..) => 1.0,
    }
}
