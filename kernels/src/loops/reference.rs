//! The executable definition of the loop language: one row at a time, one instruction at a time, one point at a time.
//!
//! It is slow and obvious, and the executors are tested against it. A program and geometry that `verify` has accepted
//! do not panic here.

use super::arithmetic::Precision;
use super::ir::{
    AccessId, BinaryOp, Combine, Geometry, IndexOutOfRange, Inst, InstOp, Level, Program, REDUCE_BLOCK,
    REDUCE_LANES, ReduceOp, Reg,
};
use crate::dtype::{DType, Element, Scalar};
use crate::philox;

/// A block of elements in plain memory, 8-byte aligned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Buffer {
    dtype: DType,
    len: usize,
    words: Vec<u64>,
}

impl Buffer {
    /// `len` zeros.
    pub fn zeros(dtype: DType, len: usize) -> Buffer {
        Buffer { dtype, len, words: vec![0; (len * dtype.size()).div_ceil(8)] }
    }

    /// These elements.
    pub fn of<T: Element>(elements: &[T]) -> Buffer {
        let mut buffer = Buffer::zeros(T::DTYPE, elements.len());
        buffer.bytes_mut().copy_from_slice(bytemuck::cast_slice(elements));
        buffer
    }

    /// These host numbers, converted as torch's `to` does.
    pub fn of_scalars(dtype: DType, values: impl IntoIterator<Item = Scalar>) -> Buffer {
        let values: Vec<Scalar> = values.into_iter().collect();
        let mut buffer = Buffer::zeros(dtype, values.len());
        for (i, value) in values.into_iter().enumerate() {
            buffer.set(i, value);
        }
        buffer
    }

    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its memory.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len * self.dtype.size()]
    }

    /// Its memory.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len * self.dtype.size()]
    }

    /// One element.
    pub fn get(&self, i: usize) -> Scalar {
        let bytes = &self.bytes()[i * self.dtype.size()..][..self.dtype.size()];
        match self.dtype {
            DType::Bool => Scalar::Bool(bytes[0] != 0),
            DType::U8 => bytes[0].to_scalar(),
            DType::I32 => bytemuck::pod_read_unaligned::<i32>(bytes).to_scalar(),
            DType::I64 => bytemuck::pod_read_unaligned::<i64>(bytes).to_scalar(),
            DType::F16 => bytemuck::pod_read_unaligned::<half::f16>(bytes).to_scalar(),
            DType::BF16 => bytemuck::pod_read_unaligned::<half::bf16>(bytes).to_scalar(),
            DType::F32 => bytemuck::pod_read_unaligned::<f32>(bytes).to_scalar(),
            DType::F64 => bytemuck::pod_read_unaligned::<f64>(bytes).to_scalar(),
        }
    }

    /// Replaces one element.
    pub fn set(&mut self, i: usize, value: Scalar) {
        fn put<T: Element>(buffer: &mut Buffer, i: usize, value: Scalar) {
            let size = size_of::<T>();
            buffer.bytes_mut()[i * size..][..size]
                .copy_from_slice(bytemuck::bytes_of(&T::from_scalar(value)));
        }
        match self.dtype {
            DType::Bool => put::<bool>(self, i, value),
            DType::U8 => put::<u8>(self, i, value),
            DType::I32 => put::<i32>(self, i, value),
            DType::I64 => put::<i64>(self, i, value),
            DType::F16 => put::<half::f16>(self, i, value),
            DType::BF16 => put::<half::bf16>(self, i, value),
            DType::F32 => put::<f32>(self, i, value),
            DType::F64 => put::<f64>(self, i, value),
        }
    }

    /// Every element.
    pub fn scalars(&self) -> Vec<Scalar> {
        (0..self.len).map(|i| self.get(i)).collect()
    }
}

/// Runs a program. `of_access` names the buffer of each access; several accesses may share one.
///
/// Loads and stores convert between the buffers' types and the program's, so with `Precision::Double` the float buffers
/// may be f64.
pub fn run(
    program: &Program,
    geometry: &Geometry,
    buffers: &mut [Buffer],
    of_access: &[usize],
    params: &[Scalar],
    precision: Precision,
) -> Result<(), IndexOutOfRange> {
    let mut machine =
        Machine { program, geometry, buffers, of_access, params, precision, row: 0, values: Vec::new() };
    for row in 0..geometry.outer_points() {
        machine.row = row;
        machine.values.clear();
        for inst in &program.insts {
            let value = machine.step(inst)?;
            machine.values.push(value);
        }
    }
    Ok(())
}

/// A value in one row: one number, or one for each inner point.
enum Value {
    Row(Scalar),
    Elem(Vec<Scalar>),
}

struct Machine<'a> {
    program: &'a Program,
    geometry: &'a Geometry,
    buffers: &'a mut [Buffer],
    of_access: &'a [usize],
    params: &'a [Scalar],
    precision: Precision,
    row: usize,
    values: Vec<Value>,
}

impl Machine<'_> {
    fn step(&mut self, inst: &Inst) -> Result<Value, IndexOutOfRange> {
        let points = self.geometry.inner_points();
        match inst.op {
            InstOp::Reduce(op, a) => {
                let dtype = self.program.inst(a).dtype;
                let total = reduce(op, dtype, points, &|k| self.get(a, k), self.precision);
                Ok(Value::Row(self.precision.convert(total, inst.dtype)))
            }
            InstOp::Scan(op, a) => {
                let wide = self.program.inst(a).dtype.accumulator();
                let mut carry = start(op, wide).value;
                let mut outputs = Vec::with_capacity(points);
                for k in 0..points {
                    carry = self.precision.binary(function(op), wide, carry, self.get(a, k));
                    outputs.push(self.precision.convert(carry, inst.dtype));
                }
                Ok(Value::Elem(outputs))
            }
            _ if inst.level == Level::Row => Ok(Value::Row(self.point(inst, 0)?)),
            _ => Ok(Value::Elem((0..points).map(|k| self.point(inst, k)).collect::<Result<_, _>>()?)),
        }
    }

    fn get(&self, reg: Reg, k: usize) -> Scalar {
        match &self.values[reg.0 as usize] {
            Value::Row(value) => *value,
            Value::Elem(values) => values[k],
        }
    }

    /// One instruction at inner point `k` of the current row.
    fn point(&mut self, inst: &Inst, k: usize) -> Result<Scalar, IndexOutOfRange> {
        let precision = self.precision;
        Ok(match inst.op {
            InstOp::Const(value) => precision.convert(value, inst.dtype),
            InstOp::Param(i) => precision.convert(self.params[i as usize], inst.dtype),
            InstOp::Index(axis) => Scalar::Int(self.coordinate(axis as usize, k) as i64),
            InstOp::Extent => precision.convert(Scalar::Int(self.geometry.inner_points() as i64), inst.dtype),
            InstOp::Load { mask: Some(mask), .. } if !self.get(mask, k).to_bool() => {
                precision.convert(Scalar::Int(0), inst.dtype)
            }
            InstOp::Load { access, index, .. } => {
                let at = self.position(access, index, k)?;
                precision.convert(self.buffers[self.of_access[access.0 as usize]].get(at), inst.dtype)
            }
            InstOp::Unary(op, a) => precision.unary(op, self.program.inst(a).dtype, self.get(a, k)),
            InstOp::Binary(op, a, b) => {
                precision.binary(op, self.program.inst(a).dtype, self.get(a, k), self.get(b, k))
            }
            InstOp::Select(c, a, b) => self.get(if self.get(c, k).to_bool() { a } else { b }, k),
            InstOp::Cast(a) => precision.convert(self.get(a, k), inst.dtype),
            InstOp::RandomBits { stream, seed, offset } => {
                let point = self.row * self.geometry.inner_points() + k;
                let (seed, offset) = (self.get(seed, k).to_i64(), self.get(offset, k).to_i64());
                Scalar::Int(philox::random_bits(seed, offset, point as i64, stream) as i32 as i64)
            }
            InstOp::Store { access, value, index, combine } => {
                let at = self.position(access, index, k)?;
                let value = self.get(value, k);
                let buffer = &mut self.buffers[self.of_access[access.0 as usize]];
                let stored = match combine {
                    Combine::Set => value,
                    Combine::Add => precision.binary(BinaryOp::Add, inst.dtype, buffer.get(at), value),
                };
                buffer.set(at, stored);
                stored
            }
            InstOp::Reduce(..) | InstOp::Scan(..) => unreachable!("invariant: reductions are not point-wise"),
        })
    }

    fn coordinate(&self, axis: usize, k: usize) -> usize {
        let outer = self.geometry.outer.len();
        let (mut number, extents, axis) = if axis < outer {
            (self.row, &self.geometry.outer, axis)
        } else {
            (k, &self.geometry.inner, axis - outer)
        };
        for &extent in extents[axis + 1..].iter() {
            number /= extent;
        }
        number % extents[axis]
    }

    /// Where an access stands at inner point `k` of the current row.
    fn position(&self, access: AccessId, index: Option<Reg>, k: usize) -> Result<usize, IndexOutOfRange> {
        let steps = &self.geometry.accesses[access.0 as usize];
        let mut at = steps.offset;
        for (axis, &stride) in steps.strides.iter().enumerate() {
            if stride != 0 {
                at += self.coordinate(axis, k) as isize * stride;
            }
        }
        if let Some(index) = index {
            let index = self.get(index, k).to_i64();
            let (extent, stride) = steps.gather.unwrap_or((0, 0));
            if index < 0 || index >= extent as i64 {
                return Err(IndexOutOfRange { access, index, extent });
            }
            at += index as isize * stride;
        }
        Ok(at as usize)
    }
}

/// What a reduction has seen of some of its points.
#[derive(Clone, Copy)]
struct Seen {
    /// The combined value; the extremum of `ArgMax` and `ArgMin`; the mean of `Moment2`.
    value: Scalar,
    count: usize,
    /// First point of the extremum.
    first: usize,
    m2: f64,
}

/// The accumulator of no points.
fn start(op: ReduceOp, dtype: DType) -> Seen {
    let value = match (op, dtype) {
        (ReduceOp::Any, _) | (ReduceOp::Sum | ReduceOp::Max, DType::Bool) => Scalar::Bool(false),
        (ReduceOp::All, _) | (ReduceOp::Prod | ReduceOp::Min, DType::Bool) => Scalar::Bool(true),
        (ReduceOp::Sum, d) if d.is_float() => Scalar::Float(0.0),
        (ReduceOp::Prod, d) if d.is_float() => Scalar::Float(1.0),
        (ReduceOp::Max, d) if d.is_float() => Scalar::Float(f64::NEG_INFINITY),
        (ReduceOp::Min, d) if d.is_float() => Scalar::Float(f64::INFINITY),
        (ReduceOp::Moment2, _) => Scalar::Float(0.0),
        (ReduceOp::Prod, _) => Scalar::Int(1),
        (ReduceOp::Max, DType::I32) => Scalar::Int(i32::MIN as i64),
        (ReduceOp::Max, DType::I64) => Scalar::Int(i64::MIN),
        (ReduceOp::Min, DType::U8) => Scalar::Int(u8::MAX as i64),
        (ReduceOp::Min, DType::I32) => Scalar::Int(i32::MAX as i64),
        (ReduceOp::Min, _) => Scalar::Int(i64::MAX),
        (ReduceOp::Sum | ReduceOp::Max | ReduceOp::ArgMax | ReduceOp::ArgMin, _) => Scalar::Int(0),
    };
    Seen { value, count: 0, first: 0, m2: 0.0 }
}

/// The function that a reduction to a single value, or a scan, repeats.
fn function(op: ReduceOp) -> BinaryOp {
    match op {
        ReduceOp::Sum | ReduceOp::Moment2 => BinaryOp::Add,
        ReduceOp::Prod => BinaryOp::Mul,
        ReduceOp::Max | ReduceOp::ArgMax => BinaryOp::Max,
        ReduceOp::Min | ReduceOp::ArgMin => BinaryOp::Min,
        ReduceOp::Any => BinaryOp::Or,
        ReduceOp::All => BinaryOp::And,
    }
}

/// All `points` values combined in the canonical order, in the accumulator's type.
pub(super) fn reduce(
    op: ReduceOp,
    dtype: DType,
    points: usize,
    get: &dyn Fn(usize) -> Scalar,
    precision: Precision,
) -> Scalar {
    let wide = dtype.accumulator();
    let mut total: Option<Seen> = None;
    for block in (0..points).step_by(REDUCE_BLOCK) {
        let mut lanes = [start(op, wide); REDUCE_LANES];
        for k in block..points.min(block + REDUCE_BLOCK) {
            let lane = &mut lanes[k % REDUCE_LANES];
            *lane = add_point(op, wide, *lane, get(k), k, precision);
        }
        let mut half = REDUCE_LANES / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] = join(op, wide, lanes[i], lanes[i + half], precision);
            }
            half /= 2;
        }
        total = Some(match total {
            None => lanes[0],
            Some(total) => join(op, wide, total, lanes[0], precision),
        });
    }
    let total = total.unwrap_or_else(|| start(op, wide));
    match op {
        ReduceOp::ArgMax | ReduceOp::ArgMin => Scalar::Int(total.first as i64),
        ReduceOp::Moment2 => Scalar::Float(total.m2),
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::Any | ReduceOp::All => {
            total.value
        }
    }
}

fn add_point(op: ReduceOp, dtype: DType, seen: Seen, x: Scalar, k: usize, precision: Precision) -> Seen {
    match op {
        ReduceOp::Moment2 => {
            let round = |v: f64| precision.round(dtype, v);
            let (mean, x) = (seen.value.to_f64(), x.to_f64());
            let before = round(x - mean);
            let share = round(1.0 / round((seen.count + 1) as f64));
            let mean = round(mean + round(before * share));
            let m2 = round(seen.m2 + round(before * round(x - mean)));
            Seen { value: Scalar::Float(mean), count: seen.count + 1, m2, ..seen }
        }
        ReduceOp::Sum
        | ReduceOp::Prod
        | ReduceOp::Max
        | ReduceOp::Min
        | ReduceOp::Any
        | ReduceOp::All
        | ReduceOp::ArgMax
        | ReduceOp::ArgMin => {
            join(op, dtype, seen, Seen { value: x, count: 1, first: k, m2: 0.0 }, precision)
        }
    }
}

fn join(op: ReduceOp, dtype: DType, a: Seen, b: Seen, precision: Precision) -> Seen {
    let count = a.count + b.count;
    match op {
        ReduceOp::ArgMax | ReduceOp::ArgMin => {
            if a.count == 0 || b.count == 0 {
                return Seen { count, ..if a.count == 0 { b } else { a } };
            }
            let nan = |v: Scalar| matches!(v, Scalar::Float(v) if v.is_nan());
            let strictly = if op == ReduceOp::ArgMax { BinaryOp::Gt } else { BinaryOp::Lt };
            let beats = |x: Scalar, y: Scalar| {
                !nan(y) && (nan(x) || precision.binary(strictly, dtype, x, y).to_bool())
            };
            let later = beats(b.value, a.value) || (!beats(a.value, b.value) && b.first < a.first);
            Seen { count, ..if later { b } else { a } }
        }
        ReduceOp::Moment2 => {
            if a.count == 0 || b.count == 0 {
                return if a.count == 0 { b } else { a };
            }
            let round = |v: f64| precision.round(dtype, v);
            // The counts are numbers of the accumulator's type as well.
            let (m, n, all) = (round(a.count as f64), round(b.count as f64), round(count as f64));
            let (mean, other) = (a.value.to_f64(), b.value.to_f64());
            let between = round(other - mean);
            let mean = round(mean + round(between * round(n / all)));
            let spread = round(round(between * between) * round(round(m * n) / all));
            let m2 = round(round(a.m2 + b.m2) + spread);
            Seen { value: Scalar::Float(mean), count, m2, ..a }
        }
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min | ReduceOp::Any | ReduceOp::All => {
            Seen { value: precision.binary(function(op), dtype, a.value, b.value), count, ..a }
        }
    }
}
