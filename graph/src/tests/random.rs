//! Random graphs over element-wise, reducing, moving and multiplying ops, with fused blocks, branches and loops.

use crate::build::Builder;
use crate::ir::{Graph, InputRole, NodeKind, Operand, Type, ValueId, tensor};
use kernels::{DType, Scalar};
use runtime::ops;
use runtime::table::OpDef;
use runtime::tensor::Tensor;
use runtime::value::Host;

/// A small deterministic source of choices.
pub(super) struct Choices(u64);

impl Choices {
    pub(super) fn new(seed: u64) -> Choices {
        Choices(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % n as u64) as usize
    }

    pub(super) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(super) fn number(&mut self) -> f32 {
        self.below(2000) as f32 / 500.0 - 2.0
    }
}

pub(super) fn random_tensor(choices: &mut Choices, dims: &[usize]) -> Tensor {
    let data: Vec<f32> = (0..dims.iter().product()).map(|_| choices.number()).collect();
    Tensor::from_slice(&data, dims).unwrap()
}

const UNARY: &[&OpDef] = &[&ops::NEG, &ops::CLONE];
const BINARY: &[&OpDef] = &[&ops::ADD, &ops::SUB, &ops::MUL, &ops::MAXIMUM];

/// Square matrices throughout, so that every pair of values fits every op.
const DIMS: [usize; 2] = [3, 3];

pub(super) fn random_graph(seed: u64) -> Graph {
    let mut choices = Choices::new(seed);
    let mut builder = Builder::new("random");
    let mut values = Vec::new();
    for (i, role) in [InputRole::Argument, InputRole::State, InputRole::Captured].into_iter().enumerate() {
        values.push(builder.input(tensor(DType::F32, &DIMS), role, ["x", "w", ""][i]));
    }
    let constant = random_tensor(&mut choices, &DIMS);
    values.push(builder.constant(constant, None));
    grow(&mut builder, &mut choices, &mut values, 12);
    let condition = {
        let total = builder.op1(&ops::SUM, vec![Operand::Value(values[0])], None).unwrap();
        let zero = Operand::Host(Host::Scalar(Scalar::Float(0.0)));
        builder.op1(&ops::GT, vec![Operand::Value(total), zero], None).unwrap()
    };
    let blocks = (0..2).map(|_| {
        builder.begin(&[]);
        let mut inner = values.clone();
        grow(&mut builder, &mut choices, &mut inner, 3);
        builder.end(vec![*inner.last().unwrap()])
    });
    let blocks = blocks.collect();
    let ty = tensor(DType::F32, &DIMS);
    let branch = builder.node(NodeKind::If, vec![Operand::Value(condition)], blocks, &[ty], None);
    values.push(builder.outputs(branch)[0]);
    repeat(&mut builder, &mut choices, &mut values);
    fused(&mut builder, &mut choices, &mut values);
    grow(&mut builder, &mut choices, &mut values, 5);
    let last = values[values.len() - 2..].to_vec();
    builder.finish(last, vec![(1, 1)])
}

/// A loop of a few turns that carries two of the values and reads any other.
fn repeat(builder: &mut Builder, choices: &mut Choices, values: &mut Vec<ValueId>) {
    let host = |v: i64| Operand::Host(Host::Scalar(Scalar::Int(v)));
    let zero = builder.constant(Tensor::scalar(0i64), None);
    let types = [tensor(DType::F32, &DIMS), tensor(DType::F32, &DIMS), tensor(DType::I64, &[])];
    let test = builder.begin(&types);
    let turn = builder.graph().block(test).params[2];
    let turns = choices.below(4) as i64;
    let holds = builder.op1(&ops::LT, vec![Operand::Value(turn), host(turns)], None).unwrap();
    builder.end(vec![holds]);
    let body = builder.begin(&types);
    let params = builder.graph().block(body).params.clone();
    let mut inner = [values.as_slice(), &params[..2]].concat();
    grow(builder, choices, &mut inner, 3);
    let next = builder.op1(&ops::ADD, vec![Operand::Value(params[2]), host(1)], None).unwrap();
    builder.end(vec![*inner.last().unwrap(), params[0], next]);
    let first = vec![
        Operand::Value(choices.pick(values)),
        Operand::Value(choices.pick(values)),
        Operand::Value(zero),
    ];
    let node = builder.node(NodeKind::While, first, vec![test, body], &types, None);
    values.extend(&builder.outputs(node)[..2].to_vec());
}

fn grow(builder: &mut Builder, choices: &mut Choices, values: &mut Vec<ValueId>, nodes: usize) {
    for _ in 0..nodes {
        let value = |choices: &mut Choices, values: &[ValueId]| Operand::Value(choices.pick(values));
        let (op, operands): (&'static OpDef, Vec<Operand>) = match choices.below(6) {
            0 => (choices.pick(UNARY), vec![value(choices, values)]),
            1 => (&ops::MATMUL, vec![value(choices, values), value(choices, values)]),
            2 => (
                &ops::PERMUTE,
                vec![value(choices, values), Operand::Host(Host::Ints([1, 0].into_iter().collect()))],
            ),
            3 => {
                let number = Scalar::Float(choices.number() as f64);
                (&ops::MUL, vec![value(choices, values), Operand::Host(Host::Scalar(number))])
            }
            4 => {
                let dim = Host::Ints([choices.below(2) as i64].into_iter().collect());
                let keep = Host::Scalar(Scalar::Bool(true));
                let reduced = vec![value(choices, values), Operand::Host(dim), Operand::Host(keep)];
                let reduced = builder.op1(&ops::SUM, reduced, None).unwrap();
                (&ops::ADD, vec![value(choices, values), Operand::Value(reduced)])
            }
            _ => (choices.pick(BINARY), vec![value(choices, values), value(choices, values)]),
        };
        values.push(builder.op1(op, operands, None).unwrap());
    }
}

fn fused(builder: &mut Builder, choices: &mut Choices, values: &mut Vec<ValueId>) {
    let ty: Type = tensor(DType::F32, &DIMS);
    let operands = vec![Operand::Value(choices.pick(values)), Operand::Value(choices.pick(values))];
    let block = builder.begin(&[ty.clone(), ty.clone()]);
    let params = builder.graph().block(block).params.clone();
    let sum =
        builder.op1(&ops::ADD, vec![Operand::Value(params[0]), Operand::Value(params[1])], None).unwrap();
    let negated = builder.op1(&ops::NEG, vec![Operand::Value(sum)], None).unwrap();
    builder.end(vec![negated, sum]);
    let node = builder.node(NodeKind::Fused, operands, vec![block], &[ty.clone(), ty], None);
    values.extend(builder.outputs(node).to_vec());
}
