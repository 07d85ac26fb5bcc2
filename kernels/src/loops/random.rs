//! Random regions with memory to run them on, the same for the same seed: what executors are tested with.
//!
//! A case has an iteration space, maybe with reduced dimensions in any position, inputs that broadcast to it and lie in
//! memory in any order, with gaps and offsets, a handful of nodes of every kind, and outputs over the space or its outer
//! part, scattered or written in place. Shapes include unit and empty extents and rows of several reduction blocks.

use super::ir::{BinaryOp, Combine, Geometry, IndexOutOfRange, ReduceOp, UnaryOp};
use super::reference::{self, Buffer};
use super::{BufferRef, Composed, Node, Precision, Region};
use crate::dtype::{DType, Scalar};
use crate::layout::Layout;
use crate::shape::Dims;

/// Which functions a case may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// Those whose every bit is defined: arithmetic, comparisons, conversions, reductions.
    Exact,
    /// Transcendental functions as well.
    Any,
}

/// A launch.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is computed.
    pub region: Region,
    /// Its program.
    pub composed: Composed,
    /// Where it runs.
    pub geometry: Geometry,
    /// The memory before the launch.
    pub buffers: Vec<Buffer>,
    /// The buffer of each access.
    pub of_access: Vec<usize>,
    /// The launch parameters.
    pub params: Vec<Scalar>,
    /// Buffer and layout of each input.
    pub inputs: Vec<(usize, Layout)>,
    /// Buffer and layout of each output.
    pub outputs: Vec<(usize, Layout)>,
}

impl Case {
    /// The memory after the launch, by the reference interpreter.
    pub fn expected(&self, precision: Precision) -> Result<Vec<Buffer>, IndexOutOfRange> {
        let mut buffers = self.buffers.clone();
        let program = &self.composed.program;
        reference::run(program, &self.geometry, &mut buffers, &self.of_access, &self.params, precision)?;
        Ok(buffers)
    }

    /// Elements of the buffer of each access.
    pub fn lens(&self) -> Vec<usize> {
        self.of_access.iter().map(|&buffer| self.buffers[buffer].len()).collect()
    }
}

/// The case with this seed.
pub fn case(seed: u64, style: Style) -> Case {
    let mut draw = Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    // A region that cannot be one program is thrown away; most can.
    loop {
        let mut maker = Maker::new(&mut draw, style);
        maker.grow();
        let region = maker.region;
        if let Ok(composed) = region.compose() {
            return memory(&mut draw, region, composed);
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Draw(pub u64);

impl Draw {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// An element: mostly ordinary, sometimes special.
    pub fn element(&mut self, dtype: DType) -> Scalar {
        let unit = (self.bits() >> 11) as f64 / (1u64 << 53) as f64;
        match dtype {
            DType::Bool => Scalar::Bool(self.once_in(2)),
            d if d.is_float() => Scalar::Float(match self.below(64) {
                0 => self.pick(&[0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40, 7e4, -3e38]),
                1..=8 => self.below(9) as f64 - 4.0,
                _ => unit * 8.0 - 4.0,
            }),
            _ => Scalar::Int(match self.below(16) {
                0 => self.pick(&[0, 1, -1, i64::MAX, i64::MIN, i32::MAX as i64, i32::MIN as i64, 255]),
                _ => self.below(21) as i64 - 10,
            }),
        }
    }
}

const TYPES: [DType; 14] = [
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F64,
    DType::F16,
    DType::BF16,
    DType::I32,
    DType::I64,
    DType::I64,
    DType::U8,
    DType::Bool,
];

/// Functions whose results are not defined to the last bit.
fn is_approximate(op: UnaryOp) -> bool {
    use UnaryOp::*;
    match op {
        Neg | Abs | Sign | Floor | Ceil | Trunc | Round | Sqrt | Rsqrt | Recip | Not | BitNot | IsNan
        | IsInf | Uniform => false,
        Exp | Exp2 | Expm1 | Log | Log2 | Log10 | Log1p | Sin | Cos | Tan | Atan | Tanh | Erf | Erfc
        | Sigmoid => true,
    }
}

struct Maker<'a> {
    draw: &'a mut Draw,
    style: Style,
    region: Region,
    shape: Dims,
    reduced: Dims,
    values: Vec<Node>,
}

impl<'a> Maker<'a> {
    fn new(draw: &'a mut Draw, style: Style) -> Maker<'a> {
        let mut shape = Dims::new();
        let mut room = 2000;
        let rank = draw.pick(&[0, 1, 2, 2, 2, 3, 3, 3, 4]);
        for _ in 0..rank {
            let extent = draw.pick(&[1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 64, 100, 129, 700]).min(room);
            room = (room / extent.max(1)).max(1);
            shape.push(extent);
        }
        if rank > 0 && draw.once_in(10) {
            let long = draw.below(rank);
            shape.iter_mut().for_each(|extent| *extent = (*extent).min(2));
            shape[long] = draw.pick(&[4095, 4096, 4097, 8192, 9001]);
        }
        if rank > 0 && draw.once_in(20) {
            let empty = draw.below(rank);
            shape[empty] = 0;
        }
        let mut reduced = Dims::new();
        if !draw.once_in(3) {
            let suffix = draw.once_in(2);
            let from = rank.min(draw.below(rank + 1) + usize::from(rank > 1 && draw.once_in(2)));
            reduced = (0..rank).filter(|&dim| if suffix { dim >= from } else { draw.once_in(2) }).collect();
        }
        Maker { draw, style, region: Region::new(), shape, reduced, values: Vec::new() }
    }

    fn grow(&mut self) {
        for _ in 0..1 + self.draw.below(3) {
            self.input();
        }
        for _ in 0..1 + self.draw.below(10) {
            self.node();
        }
        if !self.reduced.is_empty() && !self.draw.once_in(4) {
            let (total, other) = (self.reduction(), self.value());
            let total = self.region.cast(total, self.region.dtype(other));
            let joined = self.region.binary(BinaryOp::Max, other, total);
            self.values.extend([total, joined]);
        }
        for i in 0..self.draw.pick(&[1, 1, 1, 2, 3]) {
            let last = self.values[self.values.len() - 1];
            let value = if i == 0 { last } else { self.value() };
            self.output(value);
        }
    }

    /// A shape that broadcasts to the space's.
    fn part(&mut self) -> Dims {
        let whole = self.draw.once_in(2);
        let drop = if whole || !self.draw.once_in(3) { 0 } else { self.draw.below(self.shape.len() + 1) };
        let mut part = Dims::from_slice(&self.shape[drop..]);
        for extent in &mut part {
            if !whole && self.draw.once_in(4) {
                *extent = 1;
            }
        }
        part
    }

    /// An input, sometimes seen through a permutation.
    fn input(&mut self) {
        let (dtype, part) = (self.draw.pick(&TYPES), self.part());
        let mut order: Vec<usize> = (0..part.len()).collect();
        if self.draw.once_in(3) {
            for i in (1..order.len()).rev() {
                order.swap(i, self.draw.below(i + 1));
            }
        }
        let mut shape = part.clone();
        for (dim, &from) in order.iter().enumerate() {
            shape[from] = part[dim];
        }
        let input = self.region.input(dtype, &shape);
        let seen = self.region.permute(input, &order);
        self.values.push(seen);
    }

    fn value(&mut self) -> Node {
        // Later values more often, so that chains grow.
        let (a, b) = (self.draw.below(self.values.len()), self.draw.below(self.values.len()));
        self.values[a.max(b)]
    }

    fn value_of(&mut self, dtype: DType) -> Node {
        let value = self.value();
        self.region.cast(value, dtype)
    }

    /// An index below `extent`; Python's remainder never leaves 0..extent.
    fn index_below(&mut self, extent: usize) -> Node {
        let value = self.value_of(DType::I64);
        let extent = self.region.constant(extent as i64, DType::I64);
        self.region.binary(BinaryOp::Rem, value, extent)
    }

    fn node(&mut self) {
        let shape = self.shape.clone();
        let node = match self.draw.below(15) {
            0..3 => {
                let a = self.value();
                let dtype = self.region.dtype(a);
                let exact = self.style == Style::Exact;
                let fits = |op: &UnaryOp| op.result(dtype).is_some() && !(exact && is_approximate(*op));
                let ops: Vec<UnaryOp> = UnaryOp::ALL.iter().copied().filter(fits).collect();
                match ops.is_empty() {
                    true => a,
                    false => {
                        let op = self.draw.pick(&ops);
                        self.region.unary(op, a)
                    }
                }
            }
            3..7 => {
                let a = self.value();
                let dtype = self.region.dtype(a);
                let b = if self.draw.once_in(4) { self.number(dtype) } else { self.value_of(dtype) };
                let exact = self.style == Style::Exact && dtype.is_float();
                let vague = |op: &BinaryOp| matches!(op, BinaryOp::Pow | BinaryOp::Atan2);
                let fits = |op: &BinaryOp| op.result(dtype).is_some() && !(exact && vague(op));
                let ops: Vec<BinaryOp> = BinaryOp::ALL.iter().copied().filter(fits).collect();
                let op = self.draw.pick(&ops);
                self.region.binary(op, a, b)
            }
            7 => {
                let (c, a) = (self.value_of(DType::Bool), self.value());
                let b = self.value_of(self.region.dtype(a));
                self.region.select(c, a, b)
            }
            8 => {
                let dtype = self.draw.pick(&TYPES);
                self.value_of(dtype)
            }
            9..12 if self.draw.once_in(4) && self.reduced.len() == 1 => {
                let a = self.value();
                let a = self.region.expand(a, &shape);
                let ops = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min];
                let op = self.draw.pick(&ops);
                if op.result(self.region.dtype(a)).is_none() {
                    return;
                }
                self.region.scan(op, a, self.reduced[0])
            }
            9..12 if !self.reduced.is_empty() => self.reduction(),
            12 if !shape.is_empty() => {
                let dim = self.draw.below(shape.len());
                self.region.index(&shape, dim)
            }
            13 if !shape.is_empty() => {
                let dim = self.draw.below(shape.len());
                let mut source = shape.clone();
                source.iter_mut().for_each(|extent| {
                    if self.draw.once_in(6) {
                        *extent = 1;
                    }
                });
                source[dim] = 1 + self.draw.below(5);
                let index = self.index_below(source[dim]);
                let source = self.region.input(self.draw.pick(&TYPES), &source);
                if self.draw.once_in(3) {
                    let mask = self.value_of(DType::Bool);
                    self.region.gather_masked(source, dim, index, mask)
                } else {
                    self.region.gather(source, dim, index)
                }
            }
            14 => {
                let (seed, offset) = (self.region.param(DType::I64), self.region.param(DType::I64));
                self.region.random_bits(&shape, self.draw.below(4) as u8, seed, offset)
            }
            _ => {
                let whole = self.values[0];
                let whole = self.region.expand(whole, &shape);
                let (dims, dtype) =
                    (self.reduced.clone(), self.draw.pick(&[DType::F32, DType::I64, DType::F16]));
                self.region.count(whole, &dims, dtype)
            }
        };
        self.values.push(node);
    }

    fn reduction(&mut self) -> Node {
        let a = self.value();
        let (a, dtype) = (self.region.expand(a, &self.shape), self.region.dtype(a));
        let ops: Vec<ReduceOp> =
            ReduceOp::ALL.iter().copied().filter(|op| op.result(dtype).is_some()).collect();
        let op = self.draw.pick(&ops);
        self.region.reduce(op, a, &self.reduced, true)
    }

    fn number(&mut self, dtype: DType) -> Node {
        if self.draw.once_in(2) {
            return self.region.param(dtype);
        }
        let value = self.draw.element(dtype);
        self.region.constant(value, dtype)
    }

    fn output(&mut self, mut value: Node) {
        if self.draw.once_in(6) && !self.shape.is_empty() {
            let dim = self.draw.below(self.shape.len());
            let mut shape = self.shape.clone();
            shape[dim] = 1 + self.draw.below(6);
            let index = self.index_below(shape[dim]);
            let index = self.region.expand(index, &self.shape);
            let combine = self.draw.pick(&[Combine::Set, Combine::Add]);
            return self.region.scatter_output(&shape, dim, index, value, combine);
        }
        let mut outer = self.shape.clone();
        self.reduced.iter().for_each(|&dim| outer[dim] = 1);
        let fits = |shape: &[usize]| crate::shape::broadcast(shape, &outer).as_deref() == Ok(&outer[..]);
        if fits(self.region.shape(value)) && !self.draw.once_in(4) {
            value = self.region.expand(value, &outer);
            for (gone, &dim) in self.reduced.clone().iter().enumerate() {
                value = self.region.squeeze(value, dim - gone);
            }
        } else {
            value = self.region.expand(value, &self.shape);
        }
        self.region.output(value);
    }
}

/// Memory for the inputs and outputs of a region, some outputs in place.
fn memory(draw: &mut Draw, region: Region, composed: Composed) -> Case {
    let mut buffers = Vec::new();
    let mut fill = |draw: &mut Draw, dtype: DType, layout: &Layout| {
        let len = layout.end() + draw.below(3);
        buffers.push(Buffer::of_scalars(dtype, (0..len).map(|_| draw.element(dtype)).collect::<Vec<_>>()));
        buffers.len() - 1
    };
    let types: Vec<(DType, Dims)> = region
        .inputs
        .iter()
        .map(|&input| (region.dtype(input), Dims::from_slice(region.shape(input))))
        .collect();
    let inputs: Vec<(usize, Layout)> = types
        .iter()
        .map(|(dtype, shape)| {
            let layout = lay_out(draw, shape);
            (fill(draw, *dtype, &layout), layout)
        })
        .collect();
    let mut outputs: Vec<(usize, Layout)> = Vec::new();
    for (i, (dtype, shape)) in region.outputs().enumerate() {
        let free = |input: &usize| {
            composed.in_place(i, *input)
                && types[*input].1[..] == *shape
                && outputs.iter().all(|(buffer, _)| *buffer != inputs[*input].0)
        };
        let target = (0..inputs.len()).find(free).filter(|_| draw.once_in(2));
        outputs.push(match target {
            Some(input) => inputs[input].clone(),
            None => {
                let layout = lay_out(draw, shape);
                (fill(draw, dtype, &layout), layout)
            }
        });
    }
    let params = region.params.clone();
    let params = params.into_iter().map(|dtype| draw.element(dtype)).collect();
    let geometry = composed.geometry(
        &inputs.iter().map(|(_, layout)| layout).collect::<Vec<_>>(),
        &outputs.iter().map(|(_, layout)| layout).collect::<Vec<_>>(),
    );
    let buffer = |r: &BufferRef| match *r {
        BufferRef::Input(i) => inputs[i as usize].0,
        BufferRef::Output(i) => outputs[i as usize].0,
    };
    let of_access = composed.buffers().iter().map(buffer).collect();
    Case { geometry, buffers, of_access, params, inputs, outputs, region, composed }
}

/// A layout without overlap: dense, in another order of dimensions, or with gaps.
fn lay_out(draw: &mut Draw, shape: &[usize]) -> Layout {
    let mut order: Vec<usize> = (0..shape.len()).collect();
    if draw.once_in(4) {
        for i in (1..order.len()).rev() {
            order.swap(i, draw.below(i + 1));
        }
    }
    let mut layout = Layout::contiguous(shape);
    let mut step = if draw.once_in(6) { 2 } else { 1 };
    for &dim in order.iter().rev() {
        layout.strides[dim] = step;
        step *= shape[dim].max(1) as isize + isize::from(draw.once_in(10));
    }
    layout.offset = if draw.once_in(3) { draw.below(20) } else { 0 };
    layout
}
