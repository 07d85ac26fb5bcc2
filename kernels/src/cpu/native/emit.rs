//! From a body to code: registers, the loop over the points, the points that are left over.
//!
//! A round of the loop is sixteen points, the lanes of a reduction, as two halves of eight. The points behind the last
//! round come the same way under a mask, so no byte outside the operands is touched. Stores end a half, because an
//! output may be an operand.

use super::body::{Body, Fold, Node, Predicate, Two, Value};
use super::encode::{self as x, Assembler, Condition, Gpr, Opcode, Operand, Ymm};

/// Registers for the addresses of operands: all but the stack's and those of the two arguments.
const POINTERS: [Gpr; 13] = [
    Gpr(0),
    Gpr(1),
    Gpr(2),
    Gpr(8),
    Gpr(9),
    Gpr(10),
    Gpr(11),
    Gpr(3),
    Gpr(5),
    Gpr(12),
    Gpr(13),
    Gpr(14),
    Gpr(15),
];
/// Those of them that a function gives back as they were, from here on.
const KEPT: usize = 7;
/// Vector registers.
const REGISTERS: usize = 16;
/// Operands and results of one chain.
pub(super) const MOST_POINTERS: usize = POINTERS.len();
/// Reductions of one chain; each keeps two registers.
pub(super) const MOST_FOLDS: usize = 3;
/// How far ahead of the loop streams are fetched, in bytes: about what memory takes to answer.
const AHEAD: i32 = 2048;
/// Values that wait on the stack.
const SPILLS: usize = 64;
/// Bytes of a vector.
const VECTOR: i32 = 32;

/// What a chain is called with, word by word: for each input its address and the bytes from round to round, the address of
/// each output, that of each reduction's sixteen lanes, that of the mask of the last round, and that of lines to be fetched.
pub(super) struct Arguments {
    inputs: usize,
    outputs: usize,
    folds: usize,
}

impl Arguments {
    pub(super) fn of(body: &Body) -> Arguments {
        Arguments { inputs: body.inputs.len(), outputs: body.outputs.len(), folds: body.folds.len() }
    }
    fn input(&self, i: usize) -> i32 {
        (16 * i) as i32
    }
    fn step(&self, i: usize) -> i32 {
        (16 * i + 8) as i32
    }
    fn output(&self, i: usize) -> i32 {
        (16 * self.inputs + 8 * i) as i32
    }
    fn fold(&self, i: usize) -> i32 {
        (16 * self.inputs + 8 * (self.outputs + i)) as i32
    }
    fn mask(&self) -> i32 {
        (16 * self.inputs + 8 * (self.outputs + self.folds)) as i32
    }
    fn fetch(&self) -> i32 {
        self.mask() + 8
    }
    /// Words in all.
    pub(super) fn len(&self) -> usize {
        2 * self.inputs + self.outputs + self.folds + 2
    }
}

/// The code of a body: `extern "sysv64" fn(arguments, points)`.
pub(super) fn emit(body: &Body) -> Option<Vec<u8>> {
    let operands = body.inputs.len() + body.outputs.len();
    // One more for lines to be fetched, where the streams of the chain itself are not.
    let fetches = !body.streams();
    let pointers = operands + fetches as usize;
    if pointers > MOST_POINTERS || body.folds.len() > MOST_FOLDS {
        return None;
    }
    let arguments = Arguments::of(body);
    let mut asm = Assembler::default();
    let kept = &POINTERS[KEPT.min(pointers)..pointers];
    let frame = VECTOR * SPILLS as i32;
    let uses = Uses::of(body);
    let mut spills = Spills { slots: vec![None; body.nodes.len()], count: 0 };
    kept.iter().for_each(|&r| asm.push(r));
    asm.subtract(x::RSP, frame);
    let lanes = |fold: usize, half: usize| (REGISTERS - 1 - 2 * fold - half) as Ymm;
    let (any, state) = (POINTERS[0], |half: usize| Operand::Memory(POINTERS[0], half as i32 * VECTOR));
    for fold in 0..body.folds.len() {
        asm.load(any, x::RDI, arguments.fold(fold));
        (0..2).for_each(|half| asm.vector(x::MOVE, lanes(fold, half), None, state(half), None));
    }
    let (inputs, results) = POINTERS[..operands].split_at(arguments.inputs);
    for (i, &pointer) in inputs.iter().enumerate() {
        asm.load(pointer, x::RDI, arguments.input(i));
    }
    for (i, &pointer) in results.iter().enumerate() {
        asm.load(pointer, x::RDI, arguments.output(i));
    }
    if fetches {
        asm.load(POINTERS[operands], x::RDI, arguments.fetch());
    }
    let (again, rest, end) = (asm.label(), asm.label(), asm.label());
    asm.compare(x::RSI, 16);
    asm.jump_if(Condition::Below, rest);
    asm.bind(again);
    let streams = body.inputs.iter().copied().chain(body.outputs.iter().map(|o| o.1));
    for (&pointer, _) in POINTERS.iter().zip(streams).filter(|(_, streams)| *streams) {
        asm.prefetch(pointer, AHEAD);
    }
    if fetches {
        asm.prefetch(POINTERS[operands], 0);
    }
    for half in 0..2 {
        Half::new(body, &uses, &mut asm, &mut spills, half, None).run();
    }
    for (i, &pointer) in inputs.iter().enumerate() {
        asm.add_memory(pointer, x::RDI, arguments.step(i));
    }
    for &pointer in &POINTERS[arguments.inputs..pointers] {
        asm.add(pointer, 2 * VECTOR);
    }
    asm.subtract(x::RSI, 16);
    asm.compare(x::RSI, 16);
    asm.jump_if(Condition::AtLeast, again);
    asm.bind(rest);
    asm.compare(x::RSI, 0);
    asm.jump_if(Condition::Equal, end);
    asm.load(x::RSI, x::RDI, arguments.mask());
    let mask = (REGISTERS - 1 - 2 * body.folds.len()) as Ymm;
    for half in 0..2 {
        asm.vector(x::MOVE, mask, None, Operand::Memory(x::RSI, half * VECTOR), None);
        Half::new(body, &uses, &mut asm, &mut spills, half, Some(mask)).run();
    }
    asm.bind(end);
    for fold in 0..body.folds.len() {
        asm.load(any, x::RDI, arguments.fold(fold));
        (0..2).for_each(|half| asm.vector(x::STORE, lanes(fold, half), None, state(half), None));
    }
    asm.add(x::RSP, frame);
    kept.iter().rev().for_each(|&r| asm.pop(r));
    asm.ret();
    (spills.count <= SPILLS).then(|| asm.finish())
}

/// Which operations read each value, in order: those of value v are `positions[starts[v]..starts[v + 1]]`.
struct Uses {
    starts: Vec<u32>,
    positions: Vec<u32>,
}

impl Uses {
    /// An operation reads its operands, a value that is combined is read where it is made, and outputs behind the last
    /// operation.
    fn of(body: &Body) -> Uses {
        let n = body.nodes.len();
        let mut pairs: Vec<(Value, u32)> = Vec::with_capacity(4 * n);
        for (at, node) in body.nodes.iter().enumerate() {
            node.operands(|v| pairs.push((v, at as u32)));
        }
        pairs.extend(body.folds.iter().map(|&(_, v)| (v, v)));
        pairs.extend(body.outputs.iter().map(|&(v, _)| (v, n as u32)));
        pairs.sort_unstable();
        let mut starts = vec![0; n + 1];
        pairs.iter().for_each(|&(v, _)| starts[v as usize + 1] += 1);
        (0..n).for_each(|v| starts[v + 1] += starts[v]);
        Uses { starts, positions: pairs.into_iter().map(|(_, at)| at).collect() }
    }

    fn count(&self, value: Value) -> u32 {
        self.starts[value as usize + 1] - self.starts[value as usize]
    }

    /// The use of a value after so many that are done.
    fn next(&self, value: Value, done: u32) -> u32 {
        self.positions[(self.starts[value as usize] + done) as usize]
    }
}

/// The places on the stack that values have, the same in every half.
struct Spills {
    slots: Vec<Option<usize>>,
    count: usize,
}

impl Spills {
    fn of(&mut self, value: Value) -> Operand {
        let slot = *self.slots[value as usize].get_or_insert_with(|| {
            self.count += 1;
            self.count - 1
        });
        Operand::Memory(x::RSP, slot as i32 * VECTOR)
    }
}

/// The operations on eight points.
struct Half<'a> {
    body: &'a Body,
    asm: &'a mut Assembler,
    spills: &'a mut Spills,
    half: i32,
    mask: Option<Ymm>,
    /// Which value each register holds.
    held: [Option<Value>; REGISTERS],
    /// Registers that values may take.
    free_for_use: usize,
    /// The register of each value, and whether its place on the stack holds it.
    register: Vec<Option<Ymm>>,
    spilled: Vec<bool>,
    uses: &'a Uses,
    /// How many of the uses of each value are done.
    done: Vec<u32>,
    /// Registers that the instruction at hand reads.
    locked: u16,
}

impl<'a> Half<'a> {
    fn new(
        body: &'a Body,
        uses: &'a Uses,
        asm: &'a mut Assembler,
        spills: &'a mut Spills,
        half: i32,
        mask: Option<Ymm>,
    ) -> Half<'a> {
        let n = body.nodes.len();
        Half {
            body,
            asm,
            spills,
            half,
            mask,
            held: [None; REGISTERS],
            free_for_use: REGISTERS - 2 * body.folds.len() - mask.is_some() as usize,
            register: vec![None; n],
            spilled: vec![false; n],
            uses,
            done: vec![0; n],
            locked: 0,
        }
    }

    fn run(mut self) {
        for at in 0..self.body.nodes.len() {
            let value = at as Value;
            self.node(value, self.body.nodes[at]);
            for fold in 0..self.body.folds.len() {
                let (how, folded) = self.body.folds[fold];
                if folded == value {
                    self.fold(fold, how, value);
                }
            }
            if self.over(value) {
                self.drop(value);
            }
        }
        for i in 0..self.body.outputs.len() {
            let (value, _) = self.body.outputs[i];
            let register = self.in_register(value);
            let base = POINTERS[self.body.inputs.len() + i];
            let to = Operand::Memory(base, self.half * VECTOR);
            match self.mask {
                None => self.asm.vector(x::STORE, register, None, to, None),
                Some(mask) => self.asm.vector(x::MASKED_STORE, register, Some(mask), to, None),
            }
            self.used(value);
            self.locked = 0;
        }
    }

    /// Whether nobody will read the value any more.
    fn over(&self, value: Value) -> bool {
        self.done[value as usize] >= self.uses.count(value)
    }

    fn used(&mut self, value: Value) {
        self.done[value as usize] += 1;
        if self.over(value) {
            self.drop(value);
        }
    }

    fn drop(&mut self, value: Value) {
        if let Some(r) = self.register[value as usize].take() {
            self.held[r as usize] = None;
        }
    }

    /// A register that is free, or that of the value which is needed last.
    fn take(&mut self) -> Ymm {
        let usable = 0..self.free_for_use;
        let unlocked = |r: &usize| self.locked >> r & 1 == 0;
        if let Some(r) = usable.clone().find(|r| self.held[*r].is_none() && unlocked(r)) {
            self.locked |= 1 << r;
            return r as Ymm;
        }
        let next = |r: &usize| {
            let v = self.held[*r].expect("invariant: no register is free");
            self.uses.next(v, self.done[v as usize])
        };
        let r =
            usable.filter(unlocked).max_by_key(next).expect("invariant: an instruction locks few registers");
        let value = self.held[r].take().expect("invariant: no register is free");
        self.register[value as usize] = None;
        let remade = matches!(self.body.nodes[value as usize], Node::Input(_) | Node::Constant(_));
        if !remade && !self.spilled[value as usize] {
            self.spilled[value as usize] = true;
            let to = self.spills.of(value);
            self.asm.vector(x::STORE, r as Ymm, None, to, None);
        }
        self.locked |= 1 << r;
        r as Ymm
    }

    /// A register for the result of an operation.
    fn result(&mut self, value: Value) -> Ymm {
        let r = self.take();
        self.put(value, r);
        r
    }

    fn put(&mut self, value: Value, r: Ymm) {
        self.held[r as usize] = Some(value);
        self.register[value as usize] = Some(r);
    }

    /// The value in a register, which stays there until the instruction is done.
    fn in_register(&mut self, value: Value) -> Ymm {
        if let Some(r) = self.register[value as usize] {
            self.locked |= 1 << r;
            return r;
        }
        let r = self.take();
        self.load(r, value);
        self.put(value, r);
        r
    }

    /// Fetches a value that is in no register.
    fn load(&mut self, r: Ymm, value: Value) {
        match (self.body.nodes[value as usize], self.mask) {
            (Node::Input(i), Some(mask)) => {
                let from = Operand::Memory(POINTERS[i as usize], self.half * VECTOR);
                self.asm.vector(x::MASKED_LOAD, r, Some(mask), from, None);
            }
            _ => {
                let from = self.memory(value).expect("invariant: a value is somewhere");
                self.asm.vector(x::MOVE, r, None, from, None);
            }
        }
    }

    /// Where a value lies in memory that may be read.
    fn memory(&mut self, value: Value) -> Option<Operand> {
        match (self.body.nodes[value as usize], self.mask) {
            (Node::Constant(bits), _) => Some(Operand::Pool(self.asm.constant(bits))),
            (Node::Input(i), None) => Some(Operand::Memory(POINTERS[i as usize], self.half * VECTOR)),
            (Node::Input(_), Some(_)) => None,
            _ if self.spilled[value as usize] => Some(self.spills.of(value)),
            _ => None,
        }
    }

    /// The value as a last operand: in its register or, if it is read once more at most, in memory.
    fn operand(&mut self, value: Value) -> Operand {
        if let Some(r) = self.register[value as usize] {
            self.locked |= 1 << r;
            return Operand::Register(r);
        }
        let constant = matches!(self.body.nodes[value as usize], Node::Constant(_));
        let left = self.uses.count(value) - self.done[value as usize];
        match self.memory(value) {
            Some(memory) if constant || left <= 1 => memory,
            _ => Operand::Register(self.in_register(value)),
        }
    }

    fn has_register(&self, value: Value) -> bool {
        self.register[value as usize].is_some()
    }

    /// Whether the instruction at hand is the last to read a value that has a register.
    fn dies(&self, value: Value) -> bool {
        self.has_register(value) && self.done[value as usize] + 1 == self.uses.count(value)
    }

    fn node(&mut self, value: Value, node: Node) {
        match node {
            // Fetched when they are read.
            Node::Input(_) | Node::Constant(_) => {}
            Node::Two(op, mut a, mut b) => {
                let (code, commutes) = two(op);
                if commutes && !self.has_register(a) && self.has_register(b) {
                    (a, b) = (b, a);
                }
                self.three(value, code, a, b, None);
            }
            Node::Compare(predicate, a, b) => self.three(value, x::COMPARE, a, b, Some(predicate as u8)),
            Node::Blend { mask, yes, no } => {
                let (m, n) = (self.in_register(mask), self.in_register(no));
                let y = self.operand(yes);
                [mask, yes, no].into_iter().for_each(|v| self.used(v));
                let dst = self.result(value);
                self.asm.vector(x::BLEND, dst, Some(n), y, Some(m << 4));
            }
            Node::Sqrt(a) => self.one(value, x::SQRT, a, None),
            Node::Round(how, a) => self.one(value, x::ROUND, a, Some(how as u8)),
            Node::Shift { left, by, a } => {
                let r = self.in_register(a);
                self.used(a);
                let dst = self.result(value);
                self.asm.shift(left, dst, r, by);
            }
            Node::MulAdd { a, b, c, negative } => self.mul_add(value, a, b, c, negative),
        }
        self.locked = 0;
    }

    fn one(&mut self, value: Value, code: Opcode, a: Value, immediate: Option<u8>) {
        let operand = self.operand(a);
        self.used(a);
        let dst = self.result(value);
        self.asm.vector(code, dst, None, operand, immediate);
    }

    fn three(&mut self, value: Value, code: Opcode, a: Value, b: Value, immediate: Option<u8>) {
        let first = self.in_register(a);
        let second = self.operand(b);
        self.used(a);
        self.used(b);
        // The operands' registers may be the result's: they are free if nobody reads them later.
        self.locked = 0;
        let dst = self.result(value);
        self.asm.vector(code, dst, Some(first), second, immediate);
    }

    /// a * b + c, over one of the operands if it is read for the last time.
    fn mul_add(&mut self, value: Value, mut a: Value, mut b: Value, c: Value, negative: bool) {
        if !self.has_register(a) && self.has_register(b) {
            (a, b) = (b, a);
        }
        if !self.dies(c) && !self.dies(a) && self.dies(b) {
            (a, b) = (b, a);
        }
        let over = if self.dies(c) && c != a && c != b {
            let dst = self.in_register(c);
            let (first, second) = (self.in_register(a), self.operand(b));
            self.asm.vector(x::fma231(negative), dst, Some(first), second, None);
            dst
        } else if self.dies(a) && a != b && a != c {
            let dst = self.in_register(a);
            if self.has_register(b) || !self.has_register(c) {
                let (first, second) = (self.in_register(b), self.operand(c));
                self.asm.vector(x::fma213(negative), dst, Some(first), second, None);
            } else {
                let (first, second) = (self.in_register(c), self.operand(b));
                self.asm.vector(x::fma132(negative), dst, Some(first), second, None);
            }
            dst
        } else {
            let (first, second) = (self.in_register(a), self.operand(b));
            let start = self.operand(c);
            let dst = self.take();
            self.asm.vector(x::MOVE, dst, None, start, None);
            self.asm.vector(x::fma231(negative), dst, Some(first), second, None);
            dst
        };
        [a, b, c].into_iter().for_each(|v| self.used(v));
        self.put(value, over);
    }

    /// Combines a value into the lanes of a reduction.
    fn fold(&mut self, fold: usize, how: Fold, value: Value) {
        let lanes = (REGISTERS - 1 - 2 * fold) as Ymm - self.half as Ymm;
        let mut x = self.in_register(value);
        if let Some(mask) = self.mask {
            // What lies behind the points must not change the lanes: no number is smaller than the start of each fold.
            let start = match how {
                Fold::Sum => 0.0f32,
                Fold::Max => f32::NEG_INFINITY,
                Fold::Min => f32::INFINITY,
            };
            let dst = self.take();
            let start = Operand::Pool(self.asm.constant(start.to_bits()));
            self.asm.vector(x::MOVE, dst, None, start, None);
            self.asm.vector(x::BLEND, dst, Some(dst), Operand::Register(x), Some(mask << 4));
            x = dst;
        }
        let operand = Operand::Register(x);
        match how {
            Fold::Sum => self.asm.vector(x::ADD, lanes, Some(lanes), operand, None),
            Fold::Max | Fold::Min => {
                let code = if how == Fold::Max { x::MAX } else { x::MIN };
                let nan = self.take();
                self.asm.vector(x::COMPARE, nan, Some(x), operand, Some(Predicate::Unordered as u8));
                self.asm.vector(code, lanes, Some(x), Operand::Register(lanes), None);
                self.asm.vector(x::BLEND, lanes, Some(lanes), operand, Some(nan << 4));
            }
        }
        self.used(value);
        self.locked = 0;
    }
}

/// The instruction of an operation, and whether its operands may change places.
fn two(op: Two) -> (Opcode, bool) {
    match op {
        Two::Add => (x::ADD, true),
        Two::Sub => (x::SUB, false),
        Two::Mul => (x::MUL, true),
        Two::Div => (x::DIV, false),
        Two::Min => (x::MIN, false),
        Two::Max => (x::MAX, false),
        Two::And => (x::AND, true),
        Two::Or => (x::OR, true),
        Two::Xor => (x::XOR, true),
        Two::SubInt => (x::SUB_INT, false),
    }
}
