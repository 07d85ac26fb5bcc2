//! From a region to one program.
//!
//! Nodes become instructions in the order of their making, each exactly as it would alone: nothing is re-associated,
//! folded or simplified, so that the bits of a fused op are the bits of the op. Identical instructions are merged (they
//! are pure functions of operands and point); what no output needs is left out. Stores come last, in the order of the
//! outputs, so that every read of a point precedes its writes.
//!
//! Levels: with inner axes, what depends on one of them is Elem and all else is Row. Where the inner axes are all of
//! extent 1, loads are Elem. Without reductions only numbers of rank 0 (constants, parameters, inputs) are Row.

use super::axes::{AxisList, NO_AXIS, Space, find_space};
use super::composed::{AxisMap, BufferRef, Composed};
use super::ir::{AccessId, AccessKind, Combine, Inst, InstOp, Level, Program, Reg};
use super::region::{Kind, Node, Output, Region, Unfusible, ViewDims, canonical, operands};
use crate::dtype::{DType, Scalar};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

impl Region {
    /// One program that computes every output, or the reason why there is none.
    pub fn compose(&self) -> Result<Composed, Unfusible> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let space = find_space(self)?;
        let mut emitter = Emitter {
            region: self,
            program: Program { params: self.params.clone(), ..Program::default() },
            buffers: Vec::new(),
            maps: Vec::new(),
            values: vec![None; self.nodes.len()],
            known: HashMap::default(),
            space: &space,
        };
        for (i, node) in self.nodes.iter().enumerate() {
            if space.nodes[i].live {
                emitter.node(i, &node.kind, node.dtype)?;
            }
        }
        // All reads precede all writes, so that at each point an output may replace an input that another one copies.
        let stored: Vec<_> = (0..self.outputs.len()).map(|i| emitter.stored(i)).collect();
        for (i, (value, index)) in stored.into_iter().enumerate() {
            emitter.output(i, value, index);
        }
        let Emitter { program, buffers, maps, .. } = emitter;
        Ok(Composed {
            program,
            buffers,
            maps,
            outer: space.outer,
            inner: space.inner,
            inputs: self.inputs.len(),
            outputs: self.outputs.len(),
        })
    }
}

struct Emitter<'a> {
    region: &'a Region,
    space: &'a Space,
    program: Program,
    buffers: Vec<BufferRef>,
    maps: Vec<AxisMap>,
    /// Of computed nodes; leaves are emitted at each use.
    values: Vec<Option<Reg>>,
    known: HashMap<Inst, Reg, BuildHasherDefault<Mix>>,
}

impl Emitter<'_> {
    fn node(&mut self, i: usize, kind: &Kind, dtype: DType) -> Result<(), Unfusible> {
        // A gather's source is no value: the gather itself is the load.
        let sources = usize::from(matches!(kind, Kind::Gather { .. }));
        let space = self.space;
        let mut read: SmallVec<[Reg; 3]> = SmallVec::new();
        for (&operand, axes) in operands(kind).iter().zip(&space.nodes[i].uses).skip(sources) {
            read.push(self.operand(operand, axes));
        }
        let level = self.level_of(&read);
        let value = match kind {
            Kind::Unary(op, _) => self.emit(InstOp::Unary(*op, read[0]), dtype, level),
            Kind::Binary(op, ..) => self.emit(InstOp::Binary(*op, read[0], read[1]), dtype, level),
            Kind::Select(..) => self.emit(InstOp::Select(read[0], read[1], read[2]), dtype, level),
            Kind::Cast(_) => self.emit(InstOp::Cast(read[0]), dtype, level),
            Kind::Reduce { op, .. } => {
                let elem = self.lifted(read[0]);
                self.emit(InstOp::Reduce(*op, elem), dtype, Level::Row)
            }
            Kind::Scan { op, .. } => {
                let elem = self.lifted(read[0]);
                self.emit(InstOp::Scan(*op, elem), dtype, Level::Elem)
            }
            Kind::Random { stream, .. } => {
                if level != Level::Row {
                    return Err(Unfusible::SeedVaries);
                }
                let (seed, offset) = (read[0], read[1]);
                self.emit(InstOp::RandomBits { stream: *stream, seed, offset }, dtype, Level::Elem)
            }
            Kind::Gather { source, dim, mask, .. } => {
                let (base, view) = self.region.resolve(*source);
                let Kind::Input(number) = self.region.nodes[base.0 as usize].kind else {
                    return Err(Unfusible::GatherOfComputedValue);
                };
                let mut map = self.map(&space.nodes[i].uses[0], &view);
                map.gather = Some(view[*dim]);
                let spread = level == Level::Elem || self.is_spread(&map, base);
                self.load(number, dtype, map, spread, Some(read[0]), mask.map(|_| read[1]))
            }
            Kind::Input(_)
            | Kind::Param(_)
            | Kind::Const(_)
            | Kind::Index(_)
            | Kind::Count { .. }
            | Kind::View { .. }
            | Kind::Invalid => return Ok(()),
        };
        self.values[i] = Some(value);
        Ok(())
    }

    /// The value of a node at one use.
    fn operand(&mut self, a: Node, axes: &AxisList) -> Reg {
        let (base, dims) = self.region.resolve(a);
        let node = &self.region.nodes[base.0 as usize];
        match &node.kind {
            Kind::Param(i) => self.emit(InstOp::Param(*i), node.dtype, Level::Row),
            Kind::Const(value) => self.emit(InstOp::Const(*value), node.dtype, Level::Row),
            Kind::Input(number) => {
                let map = self.map(axes, &dims);
                let spread = self.is_spread(&map, base);
                self.load(*number, node.dtype, map, spread, None, None)
            }
            Kind::Index(dim) => {
                let at = dims.iter().position(|d| *d == Some(*dim as u8));
                match at.map(|d| axes[d]).filter(|&axis| axis != NO_AXIS) {
                    Some(axis) => {
                        let row = (axis as usize) < self.space.outer.len() && !self.space.inner.is_empty();
                        let level = if row { Level::Row } else { Level::Elem };
                        self.emit(InstOp::Index(axis), DType::I64, level)
                    }
                    None => self.emit(InstOp::Const(Scalar::Int(0)), DType::I64, Level::Row),
                }
            }
            Kind::Count { of, dims } => {
                if self.space.counts_inner[base.0 as usize] {
                    return self.emit(InstOp::Extent, node.dtype, Level::Row);
                }
                let shape = self.region.shape(*of);
                let points: usize = dims.iter().map(|&dim| shape[dim]).product();
                let value = canonical(Scalar::Int(points as i64), node.dtype);
                self.emit(InstOp::Const(value), node.dtype, Level::Row)
            }
            _ => self.values[base.0 as usize].expect("invariant: operands precede their users"),
        }
    }

    /// How a use of an input with this view runs along the axes.
    fn map(&self, axes: &AxisList, view: &ViewDims) -> AxisMap {
        let mut map = AxisMap::new(self.space.outer.len() + self.space.inner.len());
        for (&axis, dim) in axes.iter().zip(view) {
            if axis != NO_AXIS && dim.is_some() {
                map.dims[axis as usize] = *dim;
            }
        }
        map
    }

    /// Whether a load differs, or would differ for other extents, within a row.
    fn is_spread(&self, map: &AxisMap, input: Node) -> bool {
        if self.space.inner.is_empty() {
            return !self.region.shape(input).is_empty();
        }
        map.dims[self.space.outer.len()..].iter().any(Option::is_some)
    }

    fn load(
        &mut self,
        input: u32,
        dtype: DType,
        map: AxisMap,
        spread: bool,
        index: Option<Reg>,
        mask: Option<Reg>,
    ) -> Reg {
        let buffer = BufferRef::Input(input);
        let known = (0..self.buffers.len()).find(|&i| self.buffers[i] == buffer && self.maps[i] == map);
        let access = match known {
            Some(i) => AccessId(i as u32),
            None => self.access(buffer, map, dtype, AccessKind::Read),
        };
        let level = if spread { Level::Elem } else { Level::Row };
        self.emit(InstOp::Load { access, index, mask }, dtype, level)
    }

    /// The value of an output, and the index of a scattered one.
    fn stored(&mut self, i: usize) -> (Reg, Option<Reg>) {
        let space = self.space;
        let uses = &space.outputs[i].uses;
        match self.region.outputs[i] {
            Output::Store(value) => (self.operand(value, &uses[0]), None),
            Output::Scatter { index, value, .. } => {
                let index = self.operand(index, &uses[0]);
                (self.operand(value, &uses[1]), Some(index))
            }
        }
    }

    fn output(&mut self, i: usize, value: Reg, index: Option<Reg>) {
        let placed = &self.space.outputs[i];
        let output = &self.region.outputs[i];
        let combine = match output {
            Output::Store(_) => Combine::Set,
            Output::Scatter { combine, .. } => *combine,
        };
        let mut map = AxisMap::new(self.space.outer.len() + self.space.inner.len());
        for (dim, &axis) in placed.own.iter().enumerate() {
            let skipped = match output {
                Output::Store(_) => false,
                Output::Scatter { shape, dim: scattered, .. } => dim == *scattered || shape[dim] == 1,
            };
            if axis != NO_AXIS && !skipped {
                map.dims[axis as usize] = Some(dim as u8);
            }
        }
        if let Output::Scatter { dim, .. } = *output {
            map.gather = Some(Some(dim as u8));
        }
        let dtype = self.program.inst(value).dtype;
        let read: SmallVec<[Reg; 3]> = [value].into_iter().chain(index).collect();
        let outer = self.space.outer.len() as u32;
        let level = if !self.space.inner.is_empty() {
            let inside = placed.own.iter().any(|&axis| axis != NO_AXIS && axis >= outer);
            if inside { Level::Elem } else { Level::Row }
        } else if self.space.reduces {
            self.level_of(&read)
        } else {
            Level::Elem
        };
        let access = self.access(BufferRef::Output(i as u32), map, dtype, AccessKind::Write);
        self.program.push(InstOp::Store { access, value, index, combine }, dtype, level);
    }

    fn access(&mut self, buffer: BufferRef, map: AxisMap, dtype: DType, kind: AccessKind) -> AccessId {
        self.buffers.push(buffer);
        self.maps.push(map);
        self.program.access(dtype, kind)
    }

    fn level_of(&self, read: &[Reg]) -> Level {
        read.iter().map(|&reg| self.program.inst(reg).level).max().unwrap_or(Level::Row)
    }

    /// The value at every point, for what reduces or scans a Row value.
    fn lifted(&mut self, value: Reg) -> Reg {
        let inst = self.program.inst(value);
        match inst.level {
            Level::Elem => value,
            Level::Row => self.emit(InstOp::Cast(value), inst.dtype, Level::Elem),
        }
    }

    fn emit(&mut self, op: InstOp, dtype: DType, level: Level) -> Reg {
        let inst = Inst { op, dtype, level };
        if let Some(&reg) = self.known.get(&inst) {
            return reg;
        }
        self.program.insts.push(inst.clone());
        let reg = Reg(self.program.insts.len() as u32 - 1);
        self.known.insert(inst, reg);
        reg
    }
}

/// Multiply and rotate. Instructions are small and come from ourselves, so the default hasher's defence against chosen
/// keys would only be a quarter of the time that composing takes.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte as u64);
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(n as u64);
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }

    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::loops::ir::{BinaryOp, ReduceOp, UnaryOp};

    fn softmax(shape: &[usize]) -> Composed {
        let mut region = Region::new();
        let dim = shape.len() - 1;
        let x = region.input(DType::F32, shape);
        let m = region.reduce(ReduceOp::Max, x, &[dim], true);
        let shifted = region.binary(BinaryOp::Sub, x, m);
        let e = region.unary(UnaryOp::Exp, shifted);
        let s = region.reduce(ReduceOp::Sum, e, &[dim], true);
        let out = region.binary(BinaryOp::Div, e, s);
        region.output(out);
        region.compose().unwrap()
    }

    #[test]
    fn softmax_is_one_program_for_every_shape() {
        let wide = softmax(&[2, 3, 5]);
        assert_eq!(wide.program.insts.len(), 7);
        assert_eq!(wide.program.accesses.len(), 2);
        assert_eq!(wide.space(), (&[2, 3][..], &[5][..]));
        let layout = Layout::contiguous(&[2, 3, 5]);
        let geometry = wide.geometry(&[&layout], &[&layout]);
        assert_eq!((geometry.outer.as_slice(), geometry.inner.as_slice()), (&[6][..], &[5][..]));
        assert_eq!(geometry.accesses[0].strides.as_slice(), &[5, 1]);
        assert!(wide.in_place(0, 0));
        for shape in [&[4, 1][..], &[1, 7], &[1], &[0, 3], &[3, 0]] {
            assert_eq!(softmax(shape).program, wide.program, "{shape:?}");
        }
    }

    #[test]
    fn one_buffer_is_read_in_two_ways() {
        let mut region = Region::new();
        let x = region.input(DType::F32, &[4, 4]);
        let t = region.permute(x, &[1, 0]);
        let sum = region.binary(BinaryOp::Add, x, t);
        region.output(sum);
        let composed = region.compose().unwrap();
        assert_eq!(composed.buffers(), &[BufferRef::Input(0), BufferRef::Input(0), BufferRef::Output(0)]);
        assert!(!composed.in_place(0, 0));

        let e = region.unary(UnaryOp::Exp, x);
        let t = region.permute(e, &[1, 0]);
        let sum = region.binary(BinaryOp::Add, e, t);
        region.output(sum);
        assert!(matches!(region.compose(), Err(Unfusible::TwoPoints { .. })));
    }

    #[test]
    fn reductions_agree_or_do_not_fuse() {
        let mut region = Region::new();
        let x = region.input(DType::F32, &[4, 6]);
        let rows = region.reduce(ReduceOp::Sum, x, &[1], false);
        region.output(rows);
        let columns = region.reduce(ReduceOp::Sum, x, &[0], false);
        region.output(columns);
        assert!(matches!(region.compose(), Err(Unfusible::ReducedAxesDiffer { .. })));

        let mut region = Region::new();
        let x = region.input(DType::F32, &[4, 6]);
        let y = region.input(DType::F32, &[3, 6]);
        let column = region.reduce(ReduceOp::Sum, x, &[0], true);
        let out = region.binary(BinaryOp::Add, y, column);
        region.output(out);
        assert!(matches!(region.compose(), Err(Unfusible::ShapesDiffer { what: "a reduction", .. })));
    }

    #[test]
    fn a_repeated_value_is_reduced_along_the_axis_it_is_used_on() {
        let mut region = Region::new();
        let dy = region.input(DType::F32, &[1, 1]);
        let y = region.input(DType::F32, &[4, 6]);
        let dy = region.expand(dy, &[4, 6]);
        let sum = region.reduce(ReduceOp::Sum, dy, &[1], true);
        let e = region.unary(UnaryOp::Exp, y);
        let scaled = region.binary(BinaryOp::Mul, e, sum);
        let dx = region.binary(BinaryOp::Sub, dy, scaled);
        region.output(dx);
        assert_eq!(region.compose().unwrap().space(), (&[4][..], &[6][..]));
    }

    #[test]
    fn transposed_dense_operands_are_one_axis() {
        let mut region = Region::new();
        let x = region.input(DType::F32, &[2, 3, 4]);
        let y = region.unary(UnaryOp::Neg, x);
        region.output(y);
        let composed = region.compose().unwrap();
        let layout = Layout::contiguous(&[4, 2, 3]).permute(&[1, 2, 0]);
        let geometry = composed.geometry(&[&layout], &[&layout]);
        assert_eq!(geometry.outer.as_slice(), &[24]);
    }

    #[test]
    fn mistakes_are_kept_until_the_end() {
        let mut region = Region::new();
        let x = region.input(DType::F32, &[2, 3]);
        let y = region.input(DType::F64, &[4]);
        let z = region.binary(BinaryOp::Add, x, y);
        let z = region.reduce(ReduceOp::Sum, z, &[7], false);
        region.output(z);
        let error = region.compose().unwrap_err();
        assert_eq!(error.to_string(), "add needs operands of one type, got f32 and f64");
    }
}
