//! Regions evaluated node by node on dense arrays, by coordinates and without any notion of an axis: what composition
//! is tested against.

use super::ir::{BinaryOp, Combine, ReduceOp};
use super::random::{Case, Style, case};
use super::reference::{Buffer, reduce};
use super::region::{Kind, Node, Output, Region};
use super::{Precision, Program, verify, verify_geometry};
use crate::dtype::{DType, Scalar};
use crate::layout::Layout;
use crate::philox;
use crate::shape::{Dims, numel};
use std::collections::HashMap;

const DECLARED: Precision = Precision::Declared;

/// Coordinates of each element of a shape, in order.
fn points(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..numel(shape)).map(move |mut number| {
        let mut at = vec![0; shape.len()];
        for dim in (0..shape.len()).rev() {
            at[dim] = number % shape[dim];
            number /= shape[dim];
        }
        at
    })
}

struct Naive<'a> {
    region: &'a Region,
    case: &'a Case,
    values: Vec<Vec<Scalar>>,
}

impl Naive<'_> {
    /// The element of a node that is right-aligned broadcast to `at`.
    fn get(&self, node: Node, at: &[usize]) -> Scalar {
        let shape = self.region.shape(node);
        let at = &at[at.len() - shape.len()..];
        let number =
            shape.iter().zip(at).fold(0, |n, (&extent, &c)| n * extent + if extent == 1 { 0 } else { c });
        self.values[node.0 as usize][number]
    }

    fn evaluate(&mut self) {
        for node in &self.region.nodes {
            let shape = &node.shape;
            let operand = |a: Node| self.region.dtype(a);
            let value: Vec<Scalar> = match &node.kind {
                Kind::Input(i) => {
                    let (buffer, layout) = &self.case.inputs[*i as usize];
                    read(&self.case.buffers[*buffer], layout)
                }
                Kind::Param(i) => vec![DECLARED.convert(self.case.params[*i as usize], node.dtype)],
                Kind::Const(value) => vec![DECLARED.convert(*value, node.dtype)],
                Kind::Index(dim) => points(shape).map(|at| Scalar::Int(at[*dim] as i64)).collect(),
                Kind::Random { stream, seed, offset } => {
                    let (seed, offset) = (self.get(*seed, &[]).to_i64(), self.get(*offset, &[]).to_i64());
                    let bits = |i: usize| philox::random_bits(seed, offset, i as i64, *stream) as i32;
                    (0..numel(shape)).map(|i| Scalar::Int(bits(i) as i64)).collect()
                }
                Kind::Unary(op, a) => {
                    points(shape).map(|at| DECLARED.unary(*op, operand(*a), self.get(*a, &at))).collect()
                }
                Kind::Binary(op, a, b) => points(shape)
                    .map(|at| DECLARED.binary(*op, operand(*a), self.get(*a, &at), self.get(*b, &at)))
                    .collect(),
                Kind::Select(c, a, b) => points(shape)
                    .map(|at| self.get(if self.get(*c, &at).to_bool() { *a } else { *b }, &at))
                    .collect(),
                Kind::Cast(a) => {
                    points(shape).map(|at| DECLARED.convert(self.get(*a, &at), node.dtype)).collect()
                }
                Kind::Reduce { op, of, dims, keepdim } => {
                    self.reduced(*op, *of, dims, *keepdim, node.dtype, shape)
                }
                Kind::Scan { op, of, dim } => {
                    let wide = operand(*of).accumulator();
                    let start = reduce(*op, operand(*of), 0, &|_| Scalar::Int(0), DECLARED);
                    let function = match op {
                        ReduceOp::Prod => BinaryOp::Mul,
                        ReduceOp::Max => BinaryOp::Max,
                        ReduceOp::Min => BinaryOp::Min,
                        _ => BinaryOp::Add,
                    };
                    // Row-major order meets the points of each line in ascending order.
                    let mut carried = HashMap::new();
                    points(shape)
                        .map(|mut at| {
                            let element = self.get(*of, &at);
                            at[*dim] = 0;
                            let carry = carried.entry(at).or_insert(start);
                            *carry = DECLARED.binary(function, wide, *carry, element);
                            DECLARED.convert(*carry, node.dtype)
                        })
                        .collect()
                }
                Kind::Count { of, dims } => {
                    let extents = self.region.shape(*of);
                    let count: usize = dims.iter().map(|&dim| extents[dim]).product();
                    vec![DECLARED.convert(Scalar::Int(count as i64), node.dtype)]
                }
                Kind::Gather { source, dim, index, mask } => points(shape)
                    .map(|at| {
                        if mask.is_some_and(|mask| !self.get(mask, &at).to_bool()) {
                            return DECLARED.convert(Scalar::Int(0), node.dtype);
                        }
                        let mut from = at.clone();
                        from[*dim] = self.get(*index, &at).to_i64() as usize;
                        self.get(*source, &from)
                    })
                    .collect(),
                Kind::View { base, dims } => points(shape)
                    .map(|at| {
                        let mut from = vec![0; self.region.shape(*base).len()];
                        for (dim, to) in dims.iter().enumerate().filter_map(|(i, d)| Some((i, (*d)?))) {
                            from[to as usize] = at[dim];
                        }
                        self.get(*base, &from)
                    })
                    .collect(),
                Kind::Invalid => Vec::new(),
            };
            self.values.push(value);
        }
    }

    fn reduced(
        &self,
        op: ReduceOp,
        of: Node,
        dims: &[usize],
        keepdim: bool,
        dtype: DType,
        shape: &[usize],
    ) -> Vec<Scalar> {
        let full = self.region.shape(of);
        let inner: Dims = dims.iter().map(|&dim| full[dim]).collect();
        let inside: Vec<Vec<usize>> = points(&inner).collect();
        points(shape)
            .map(|at| {
                let mut kept = at.iter();
                let mut from: Vec<usize> = (0..full.len())
                    .map(|dim| if dims.contains(&dim) && !keepdim { 0 } else { *kept.next().unwrap() })
                    .collect();
                let elements: Vec<Scalar> = inside
                    .iter()
                    .map(|point| {
                        dims.iter().zip(point).for_each(|(&dim, &c)| from[dim] = c);
                        self.get(of, &from)
                    })
                    .collect();
                let operand = self.region.dtype(of);
                let total = reduce(op, operand, elements.len(), &|k| elements[k], DECLARED);
                DECLARED.convert(total, dtype)
            })
            .collect()
    }

    fn output(&self, output: &Output, before: Vec<Scalar>) -> Vec<Scalar> {
        match output {
            Output::Store(value) => self.values[value.0 as usize].clone(),
            Output::Scatter { shape, points: visited, dim, index, value, combine } => {
                let mut elements = before;
                let dtype = self.region.dtype(*value);
                for at in points(visited) {
                    let mut to = at.clone();
                    to[*dim] = self.get(*index, &at).to_i64() as usize;
                    let number =
                        shape.iter().zip(&to).fold(0, |n, (&e, &c)| n * e + if e == 1 { 0 } else { c });
                    elements[number] = match combine {
                        Combine::Set => self.get(*value, &at),
                        Combine::Add => {
                            DECLARED.binary(BinaryOp::Add, dtype, elements[number], self.get(*value, &at))
                        }
                    };
                }
                elements
            }
        }
    }
}

fn read(buffer: &Buffer, layout: &Layout) -> Vec<Scalar> {
    points(&layout.shape)
        .map(|at| {
            let steps = at.iter().zip(&layout.strides).map(|(&c, &s)| c as isize * s);
            buffer.get((layout.offset as isize + steps.sum::<isize>()) as usize)
        })
        .collect()
}

fn same(a: &Scalar, b: &Scalar) -> bool {
    a == b || (a.to_f64().is_nan() && b.to_f64().is_nan())
}

#[test]
fn composing_does_not_change_the_meaning() {
    let mut kinds = [0usize; 4];
    for seed in 0..800 {
        let case = case(seed, if seed % 3 == 0 { Style::Any } else { Style::Exact });
        let program = &case.composed.program;
        verify(program).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{program}"));
        verify_geometry(program, &case.geometry, &case.lens())
            .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{program}"));
        let text = program.to_string();
        assert_eq!(&text.parse::<Program>().unwrap(), program, "seed {seed}\n{text}");
        let mut naive = Naive { region: &case.region, case: &case, values: Vec::new() };
        naive.evaluate();
        let after = case.expected(DECLARED).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{program}"));
        for (i, (output, (buffer, layout))) in case.region.outputs.iter().zip(&case.outputs).enumerate() {
            let wanted = naive.output(output, read(&case.buffers[*buffer], layout));
            let found = read(&after[*buffer], layout);
            for (k, (a, b)) in wanted.iter().zip(&found).enumerate() {
                assert!(same(a, b), "seed {seed}, output {i}, element {k}: {a} is not {b}\n{program}");
            }
        }
        let (outer, inner) = case.composed.space();
        kinds[0] += usize::from(!inner.is_empty() && !outer.is_empty());
        kinds[1] += usize::from(program.insts.len() > 8);
        kinds[2] += usize::from(case.outputs.iter().any(|(b, _)| case.inputs.iter().any(|(c, _)| b == c)));
        kinds[3] += usize::from(program.insts.iter().any(|inst| matches!(inst.op, super::InstOp::Scan(..))));
    }
    // The generator must go on making the interesting ones.
    let enough = [100, 150, 60, 15];
    assert!(kinds.iter().zip(enough).all(|(&found, enough)| found >= enough), "{kinds:?}");
}
