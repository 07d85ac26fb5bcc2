//! x86-64 instructions as bytes: the few that chains are made of. Vector instructions are the 256-bit VEX forms.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.

/// A vector register, 0 to 15.
pub(super) type Ymm = u8;

/// A general register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gpr(pub(super) u8);

pub(super) const RSP: Gpr = Gpr(4);
pub(super) const RSI: Gpr = Gpr(6);
pub(super) const RDI: Gpr = Gpr(7);

/// The last operand of a vector instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operand {
    /// A register.
    Register(Ymm),
    /// Memory at a register and a distance.
    Memory(Gpr, i32),
    /// Thirty-two bytes of the constants behind the code, by number.
    Pool(u32),
}

/// A vector instruction: opcode map, prefix and opcode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Opcode {
    map: u8,
    prefix: u8,
    code: u8,
}

const fn plain(code: u8) -> Opcode {
    Opcode { map: 1, prefix: 0, code }
}

const fn wide(map: u8, code: u8) -> Opcode {
    Opcode { map, prefix: 1, code }
}

pub(super) const MOVE: Opcode = plain(0x10);
pub(super) const STORE: Opcode = plain(0x11);
pub(super) const SQRT: Opcode = plain(0x51);
pub(super) const AND: Opcode = plain(0x54);
pub(super) const OR: Opcode = plain(0x56);
pub(super) const XOR: Opcode = plain(0x57);
pub(super) const ADD: Opcode = plain(0x58);
pub(super) const MUL: Opcode = plain(0x59);
pub(super) const SUB: Opcode = plain(0x5c);
pub(super) const MIN: Opcode = plain(0x5d);
pub(super) const DIV: Opcode = plain(0x5e);
pub(super) const MAX: Opcode = plain(0x5f);
pub(super) const COMPARE: Opcode = plain(0xc2);
pub(super) const SUB_INT: Opcode = wide(1, 0xfa);
const SHIFT: Opcode = wide(1, 0x72);
pub(super) const BLEND: Opcode = wide(3, 0x4a);
pub(super) const ROUND: Opcode = wide(3, 0x08);
pub(super) const MASKED_LOAD: Opcode = wide(2, 0x2c);
pub(super) const MASKED_STORE: Opcode = wide(2, 0x2e);

/// d = d * m + b, where m is the last operand; `negative` takes the product away.
pub(super) const fn fma132(negative: bool) -> Opcode {
    wide(2, if negative { 0x9c } else { 0x98 })
}
/// d = b * d + m.
pub(super) const fn fma213(negative: bool) -> Opcode {
    wide(2, if negative { 0xac } else { 0xa8 })
}
/// d = b * m + d.
pub(super) const fn fma231(negative: bool) -> Opcode {
    wide(2, if negative { 0xbc } else { 0xb8 })
}

/// Conditions of jumps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Condition {
    Below = 2,
    AtLeast = 3,
    Equal = 4,
}

/// A place that a jump goes to; set later or before.
#[derive(Clone, Copy)]
pub(super) struct Label(usize);

/// Code on its way.
#[derive(Default)]
pub(super) struct Assembler {
    bytes: Vec<u8>,
    /// Constants: eight equal words each.
    pool: Vec<u32>,
    /// Where the distance to a constant belongs: position, bytes of the instruction behind it, number.
    constants: Vec<(usize, usize, u32)>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, usize)>,
}

impl Assembler {
    /// The number of a constant of eight equal words.
    pub(super) fn constant(&mut self, bits: u32) -> u32 {
        let at = self.pool.iter().position(|&word| word == bits).unwrap_or_else(|| {
            self.pool.push(bits);
            self.pool.len() - 1
        });
        at as u32
    }

    /// `code dst, a, b`; where there is no `a`, its field is empty.
    pub(super) fn vector(
        &mut self,
        code: Opcode,
        dst: Ymm,
        a: Option<Ymm>,
        b: Operand,
        immediate: Option<u8>,
    ) {
        let base = match b {
            Operand::Register(r) => r,
            Operand::Memory(base, _) => base.0,
            Operand::Pool(_) => 0,
        };
        self.bytes.push(0xc4);
        self.bytes.push((!dst & 8) << 4 | 1 << 6 | (!base & 8) << 2 | code.map);
        self.bytes.push((!a.unwrap_or(0) & 15) << 3 | 1 << 2 | code.prefix);
        self.bytes.push(code.code);
        let behind = immediate.is_some() as usize;
        self.operand(dst, b, behind);
        self.bytes.extend(immediate);
    }

    fn operand(&mut self, field: u8, operand: Operand, behind: usize) {
        let field = (field & 7) << 3;
        match operand {
            Operand::Register(r) => self.bytes.push(0xc0 | field | r & 7),
            Operand::Memory(base, distance) => {
                self.bytes.push(0x80 | field | base.0 & 7);
                // The number of rsp and r12 announces a further byte.
                if base.0 & 7 == 4 {
                    self.bytes.push(0x24);
                }
                self.bytes.extend(distance.to_le_bytes());
            }
            Operand::Pool(number) => {
                self.bytes.push(field | 5);
                self.constants.push((self.bytes.len(), behind, number));
                self.bytes.extend([0; 4]);
            }
        }
    }

    /// Shifts each 32-bit word.
    pub(super) fn shift(&mut self, left: bool, dst: Ymm, a: Ymm, by: u8) {
        // The destination stands where other instructions have their first operand.
        let digit = if left { 6 } else { 2 };
        self.vector(SHIFT, digit, Some(dst), Operand::Register(a), Some(by));
    }

    /// A 64-bit instruction on a register and memory.
    fn general(&mut self, code: u8, register: Gpr, base: Gpr, distance: i32) {
        self.bytes.push(0x48 | (register.0 & 8) >> 1 | base.0 >> 3);
        self.bytes.push(code);
        self.operand(register.0, Operand::Memory(base, distance), 0);
    }

    /// register = memory.
    pub(super) fn load(&mut self, register: Gpr, base: Gpr, distance: i32) {
        self.general(0x8b, register, base, distance);
    }

    /// register += memory.
    pub(super) fn add_memory(&mut self, register: Gpr, base: Gpr, distance: i32) {
        self.general(0x03, register, base, distance);
    }

    /// An instruction on a register and a constant: 0 adds, 5 subtracts, 7 compares.
    fn immediate(&mut self, digit: u8, register: Gpr, value: i32) {
        self.bytes.extend([0x48 | register.0 >> 3, 0x81, 0xc0 | digit << 3 | register.0 & 7]);
        self.bytes.extend(value.to_le_bytes());
    }

    pub(super) fn add(&mut self, register: Gpr, value: i32) {
        self.immediate(0, register, value);
    }

    pub(super) fn subtract(&mut self, register: Gpr, value: i32) {
        self.immediate(5, register, value);
    }

    pub(super) fn compare(&mut self, register: Gpr, value: i32) {
        self.immediate(7, register, value);
    }

    pub(super) fn push(&mut self, register: Gpr) {
        self.bytes.extend([0x40 | register.0 >> 3, 0x50 | register.0 & 7]);
    }

    pub(super) fn pop(&mut self, register: Gpr) {
        self.bytes.extend([0x40 | register.0 >> 3, 0x58 | register.0 & 7]);
    }

    pub(super) fn ret(&mut self) {
        // The upper halves are cleared for whoever uses 128-bit instructions next.
        self.bytes.extend([0xc5, 0xf8, 0x77, 0xc3]);
    }

    /// Asks for a line that will be read.
    pub(super) fn prefetch(&mut self, base: Gpr, distance: i32) {
        if base.0 >= 8 {
            self.bytes.push(0x41);
        }
        self.bytes.extend([0x0f, 0x18]);
        self.operand(1, Operand::Memory(base, distance), 0);
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub(super) fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.bytes.len());
    }

    pub(super) fn jump_if(&mut self, condition: Condition, to: Label) {
        self.bytes.extend([0x0f, 0x80 | condition as u8]);
        self.jumps.push((self.bytes.len(), to.0));
        self.bytes.extend([0; 4]);
    }

    /// The code, then its constants, aligned.
    pub(super) fn finish(mut self) -> Vec<u8> {
        for &(at, label) in &self.jumps {
            let to = self.labels[label].expect("invariant: every label is bound");
            self.bytes[at..at + 4].copy_from_slice(&(to as i32 - (at as i32 + 4)).to_le_bytes());
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(32), 0xcc);
        let pool = self.bytes.len();
        for &(at, behind, number) in &self.constants {
            let distance = (pool + number as usize * 32) as i32 - (at + 4 + behind) as i32;
            self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        for word in self.pool {
            self.bytes.extend([word.to_le_bytes(); 8].as_flattened());
        }
        self.bytes
    }
}
