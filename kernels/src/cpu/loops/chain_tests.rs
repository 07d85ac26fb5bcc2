//! Chains against the steps that they stand for: random programs of f32, bit for bit.

use super::tests::{Noise, access, load, store};
use super::*;
use crate::dtype::DType;
use crate::loops::reference::Buffer;
use crate::loops::{AccessGeometry, BinaryOp, InstOp, Level, ReduceOp, Reg, UnaryOp};
use smallvec::SmallVec;

/// A program of f32 of the kind that becomes chains: functions, comparisons that choose, reductions whose results later
/// operations read, constants, parameters and row operands.
fn chain_program(noise: &mut Noise) -> Program {
    const UNARY: [UnaryOp; 13] = [
        UnaryOp::Neg,
        UnaryOp::Abs,
        UnaryOp::Floor,
        UnaryOp::Ceil,
        UnaryOp::Trunc,
        UnaryOp::Round,
        UnaryOp::Sqrt,
        UnaryOp::Rsqrt,
        UnaryOp::Recip,
        UnaryOp::Exp,
        UnaryOp::Tanh,
        UnaryOp::Sigmoid,
        UnaryOp::Erf,
    ];
    use BinaryOp::{Add, Div, Eq, Ge, Gt, Le, Lt, Max, Min, Mul, Ne, Sub};
    let f32 = DType::F32;
    let mut p = Program::default();
    let mut elems: Vec<Reg> = (0..1 + noise.next() % 3).map(|_| load(&mut p, f32, Level::Elem)).collect();
    let number = Scalar::Float((noise.next() % 17) as f64 / 4.0 - 2.0);
    elems.push(p.push(InstOp::Const(number), f32, Level::Row));
    let row = load(&mut p, f32, Level::Row);
    let pick = |noise: &mut Noise, elems: &[Reg]| match noise.next() % 8 {
        0 => row,
        k => elems[elems.len() - 1 - (k as usize * 7 + noise.next() as usize) % elems.len().min(9)],
    };
    for _ in 0..2 + noise.next() % 40 {
        let (a, b) = (pick(noise, &elems), pick(noise, &elems));
        let made = match noise.next() % 16 {
            0..4 => p.push(InstOp::Unary(UNARY[noise.next() as usize % 13], a), f32, Level::Elem),
            4..13 => {
                let op = [Add, Sub, Mul, Div, Max, Min, Add, Mul][noise.next() as usize % 8];
                p.push(InstOp::Binary(op, a, b), f32, Level::Elem)
            }
            13 | 14 => {
                let op = [Eq, Ne, Lt, Le, Gt, Ge][noise.next() as usize % 6];
                let truth = p.push(InstOp::Binary(op, a, b), DType::Bool, Level::Elem);
                p.push(InstOp::Select(truth, pick(noise, &elems), pick(noise, &elems)), f32, Level::Elem)
            }
            _ => {
                let op = [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min][noise.next() as usize % 3];
                let last = *elems.last().unwrap();
                let elem = p.push(InstOp::Binary(Mul, last, elems[0]), f32, Level::Elem);
                p.push(InstOp::Reduce(op, elem), f32, Level::Row)
            }
        };
        elems.push(made);
    }
    let last = *elems.last().unwrap();
    let result = p.push(InstOp::Binary(Add, last, elems[0]), f32, Level::Elem);
    store(&mut p, result, Level::Elem);
    if noise.next().is_multiple_of(2) {
        let other = p.push(InstOp::Binary(Sub, pick(noise, &elems), elems[0]), f32, Level::Elem);
        store(&mut p, other, Level::Elem);
    }
    p
}

#[test]
fn chains_have_the_bits_of_their_steps() {
    if Isa::highest() < Isa::Avx2 {
        return;
    }
    let mut noise = Noise(11);
    let mut chains = 0;
    for round in 0..600 {
        let program = chain_program(&mut noise);
        crate::loops::verify(&program).unwrap_or_else(|e| panic!("{e}\n{program}"));
        let reduces = program.insts.iter().any(|i| matches!(i.op, InstOp::Reduce(..)));
        let (outer, inner) = (1 + noise.next() as usize % 5, 1 + noise.next() as usize % 70);
        let inner = if round % 7 == 0 { inner * 90 } else { inner };
        let axes = |elem: bool| {
            let strides: &[isize] = if elem { &[inner as isize, 1] } else { &[1, 0] };
            access(strides, 0)
        };
        let level = |a: usize| {
            let of = |inst: &crate::loops::Inst| match inst.op {
                InstOp::Load { access, .. } | InstOp::Store { access, .. } => access.0 as usize == a,
                _ => false,
            };
            program.insts.iter().find(|i| of(i)).map_or(Level::Elem, |i| i.level)
        };
        let accesses: SmallVec<[AccessGeometry; 4]> =
            (0..program.accesses.len()).map(|a| axes(level(a) == Level::Elem)).collect();
        let all = [outer, inner];
        let geometry = Geometry {
            outer: all[..if reduces { 1 } else { 2 }].iter().copied().collect(),
            inner: all[if reduces { 1 } else { 2 }..].iter().copied().collect(),
            accesses,
        };
        let buffers: Vec<Buffer> =
            program.accesses.iter().map(|_| noise.buffer(DType::F32, outer * inner)).collect();
        let run = |isa, native| {
            let compiled = compile_with(&program, isa, native).unwrap();
            let mut got = buffers.clone();
            let pointers: Vec<*mut u8> = got.iter_mut().map(|b| b.bytes_mut().as_mut_ptr()).collect();
            // SAFETY: each access lies in a buffer of its own.
            unsafe { compiled.run(&geometry, &pointers, &[], &Pool::new(1)) }.unwrap();
            (got, compiled.code.chains.len())
        };
        for isa in Isa::available().filter(|&isa| isa >= Isa::Avx2) {
            let ((steps, none), (native, some)) = (run(isa, false), run(isa, true));
            assert_eq!(none, 0);
            chains += some;
            for (a, (x, y)) in steps.iter().zip(&native).enumerate() {
                for i in 0..x.len() {
                    let (x, y) = (x.get(i).to_f64(), y.get(i).to_f64());
                    let same = x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
                    assert!(
                        same,
                        "round {round}: access {a}[{i}] is {y}, by steps {x}\n{program}\n{geometry:?}"
                    );
                }
            }
        }
    }
    assert!(chains > 600, "{chains} chains");
}
