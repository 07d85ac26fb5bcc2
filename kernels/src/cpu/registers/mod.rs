//! Code on single numbers: registers of 64 bits, jumps, and no memory.
//!
//! A loop whose every value is one number spends its time on starting kernels. Here it is a list of instructions over
//! registers instead, at one or two nanoseconds each. Only operations whose results are exact or correctly rounded are
//! known, with the meanings of `loops::ir`, so that the bits are those of the kernels; whoever needs another one stays
//! with kernels.

mod settle;

use crate::dtype::{DType, Scalar};
use crate::loops::{BinaryOp, UnaryOp};

/// A register. Integers are sign-extended, truth is 0 or 1, an f32 is its bits in the lower half.
pub type Register = u16;

/// A place in the code that jumps name.
pub type Label = u32;

/// Turns of a loop between two questions whether to go on: some ten microseconds.
const TURNS_BETWEEN_QUESTIONS: u32 = 4096;

/// One instruction.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Inst {
    what: What,
    to: Register,
    a: Register,
    b: Register,
    /// Of a jump: a label, and the instruction there once the code is finished.
    target: u32,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum What {
    Move,
    Add,
    Sub,
    Mul,
    FloorDiv,
    Rem,
    /// `b` is a number of bits.
    Shift,
    And,
    Or,
    Xor,
    Max,
    Min,
    Eq,
    Ne,
    Lt,
    Le,
    Not,
    Wrap32,
    AddF64,
    SubF64,
    MulF64,
    DivF64,
    EqF64,
    NeF64,
    LtF64,
    LeF64,
    AddF32,
    SubF32,
    MulF32,
    DivF32,
    EqF32,
    NeF32,
    LtF32,
    LeF32,
    IntToF64,
    IntToF32,
    F64ToInt,
    F32ToInt,
    F64ToF32,
    F32ToF64,
    /// Where register `b` does not hold, `to` becomes `a`.
    Unless,
    /// Always, or where a register or two compare.
    Jump,
    JumpIf,
    JumpUnless,
    JumpEq,
    JumpNe,
    JumpLt,
    JumpLe,
    Halt,
}

impl What {
    fn jumps(self) -> bool {
        use What::*;
        matches!(self, Jump | JumpIf | JumpUnless | JumpEq | JumpNe | JumpLt | JumpLe)
    }
}

/// Code and the first values of its registers.
#[derive(Clone, Default, Debug)]
pub struct Code {
    insts: Vec<Inst>,
    registers: Vec<u64>,
    labels: Vec<u32>,
    constants: Vec<(Register, i64)>,
}

/// The bits of a number in a register; `None` for types that registers do not hold.
pub fn bits(value: Scalar, dtype: DType) -> Option<u64> {
    Some(match dtype {
        DType::Bool => value.to_bool() as u64,
        DType::I32 => value.to_i64() as i32 as i64 as u64,
        DType::I64 => value.to_i64() as u64,
        DType::F32 => match value {
            Scalar::Int(v) => (v as f32).to_bits() as u64,
            other => (other.to_f64() as f32).to_bits() as u64,
        },
        DType::F64 => value.to_f64().to_bits(),
        DType::U8 | DType::F16 | DType::BF16 => return None,
    })
}

impl Code {
    /// A new register with this value; `None` where there are no more.
    pub fn register(&mut self, first: u64) -> Option<Register> {
        let at = Register::try_from(self.registers.len()).ok()?;
        self.registers.push(first);
        Some(at)
    }

    /// A register that is never written.
    pub fn constant(&mut self, value: Scalar, dtype: DType) -> Option<Register> {
        let at = self.register(bits(value, dtype)?)?;
        if dtype.is_int() {
            self.constants.push((at, value.to_i64()));
        }
        Some(at)
    }

    /// Number of instructions.
    pub fn len(&self) -> usize {
        self.insts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.insts.is_empty()
    }

    /// The first values of the registers.
    pub fn registers(&self) -> &[u64] {
        &self.registers
    }

    fn push(&mut self, what: What, to: Register, a: Register, b: Register) {
        self.insts.push(Inst { what, to, a, b, target: 0 });
    }

    /// `to` becomes `from`.
    pub fn copy(&mut self, to: Register, from: Register) {
        self.push(What::Move, to, from, 0);
    }

    /// `to` becomes a function of `x`; `None` where it is not known.
    pub fn unary(&mut self, op: UnaryOp, dtype: DType, to: Register, x: Register) -> Option<()> {
        match (op, dtype) {
            (UnaryOp::Neg, DType::I32 | DType::I64) => {
                let zero = self.constant(Scalar::Int(0), dtype)?;
                self.binary(BinaryOp::Sub, dtype, to, zero, x)
            }
            (UnaryOp::Neg, DType::F32 | DType::F64) => {
                let sign = self.register(1 << if dtype == DType::F32 { 31 } else { 63 })?;
                self.push(What::Xor, to, x, sign);
                Some(())
            }
            (UnaryOp::Not, DType::Bool) => {
                self.push(What::Not, to, x, 0);
                Some(())
            }
            _ => None,
        }
    }

    /// `to` becomes a function of two values of type `dtype`; `None` where it is not known.
    pub fn binary(
        &mut self,
        op: BinaryOp,
        dtype: DType,
        to: Register,
        a: Register,
        b: Register,
    ) -> Option<()> {
        let swapped = matches!(op, BinaryOp::Gt | BinaryOp::Ge);
        let (a, b) = if swapped { (b, a) } else { (a, b) };
        let op = match op {
            BinaryOp::Gt => BinaryOp::Lt,
            BinaryOp::Ge => BinaryOp::Le,
            other => other,
        };
        if let Some(()) = self.by_power_of_two(op, dtype, to, a, b) {
            return Some(());
        }
        use What::*;
        let what = match (dtype, op) {
            (DType::Bool, BinaryOp::Add) => Or,
            (DType::Bool, BinaryOp::Mul) => And,
            (DType::I32 | DType::I64, BinaryOp::Add) => Add,
            (DType::I32 | DType::I64, BinaryOp::Sub) => Sub,
            (DType::I32 | DType::I64, BinaryOp::Mul) => Mul,
            (DType::I32 | DType::I64, BinaryOp::FloorDiv) => FloorDiv,
            (DType::I32 | DType::I64, BinaryOp::Rem) => Rem,
            (DType::Bool | DType::I32 | DType::I64, op) => match op {
                BinaryOp::And => And,
                BinaryOp::Or => Or,
                BinaryOp::Xor => Xor,
                BinaryOp::Max => Max,
                BinaryOp::Min => Min,
                BinaryOp::Eq => Eq,
                BinaryOp::Ne => Ne,
                BinaryOp::Lt => Lt,
                BinaryOp::Le => Le,
                _ => return None,
            },
            (DType::F64, op) => match op {
                BinaryOp::Add => AddF64,
                BinaryOp::Sub => SubF64,
                BinaryOp::Mul => MulF64,
                BinaryOp::Div => DivF64,
                BinaryOp::Eq => EqF64,
                BinaryOp::Ne => NeF64,
                BinaryOp::Lt => LtF64,
                BinaryOp::Le => LeF64,
                _ => return None,
            },
            (DType::F32, op) => match op {
                BinaryOp::Add => AddF32,
                BinaryOp::Sub => SubF32,
                BinaryOp::Mul => MulF32,
                BinaryOp::Div => DivF32,
                BinaryOp::Eq => EqF32,
                BinaryOp::Ne => NeF32,
                BinaryOp::Lt => LtF32,
                BinaryOp::Le => LeF32,
                _ => return None,
            },
            (DType::U8 | DType::F16 | DType::BF16, _) => return None,
        };
        self.push(what, to, a, b);
        if dtype == DType::I32 && matches!(what, Add | Sub | Mul | FloorDiv) {
            self.push(Wrap32, to, to, 0);
        }
        Some(())
    }

    /// Floor division and remainder by a constant power of two are a shift and a mask, for negative numbers too.
    fn by_power_of_two(
        &mut self,
        op: BinaryOp,
        dtype: DType,
        to: Register,
        a: Register,
        b: Register,
    ) -> Option<()> {
        let &(_, by) = self.constants.iter().find(|(r, _)| *r == b)?;
        if !dtype.is_int() || by <= 0 || !(by as u64).is_power_of_two() {
            return None;
        }
        match op {
            BinaryOp::FloorDiv => self.push(What::Shift, to, a, by.trailing_zeros() as Register),
            BinaryOp::Rem => {
                let mask = self.constant(Scalar::Int(by - 1), DType::I64)?;
                self.push(What::And, to, a, mask);
            }
            _ => return None,
        }
        Some(())
    }

    /// `to` becomes `yes` where `which` holds, else `no`. `to` is none of them.
    pub fn select(&mut self, to: Register, which: Register, yes: Register, no: Register) {
        self.copy(to, yes);
        self.push(What::Unless, to, no, which);
    }

    /// `to` becomes `x` of type `from` as one of type `into`; `None` where it is not known.
    pub fn cast(&mut self, from: DType, into: DType, to: Register, x: Register) -> Option<()> {
        use DType::{Bool, F32, F64, I32, I64};
        let what = match (from, into) {
            _ if from == into => What::Move,
            (Bool, I32 | I64) | (I32, I64) => What::Move,
            (I64, I32) => What::Wrap32,
            (Bool | I32 | I64, F64) => What::IntToF64,
            (Bool | I32 | I64, F32) => What::IntToF32,
            (F64, I64) => What::F64ToInt,
            (F32, I64) => What::F32ToInt,
            (F64, F32) => What::F64ToF32,
            (F32, F64) => What::F32ToF64,
            (I32 | I64 | F32 | F64, Bool) => {
                let zero = self.constant(Scalar::Int(0), from)?;
                return self.binary(BinaryOp::Ne, from, to, x, zero);
            }
            _ => return None,
        };
        bits(Scalar::Int(0), into)?;
        self.push(what, to, x, 0);
        Some(())
    }

    /// Lets the last instruction give its result to `to` instead of `from`, if it is one that can.
    pub fn redirect(&mut self, from: Register, to: Register) -> bool {
        match self.insts.last_mut() {
            Some(last) if last.to == from && last.what != What::Unless && !last.what.jumps() => {
                last.to = to;
                true
            }
            _ => false,
        }
    }

    /// A label that has no place yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(u32::MAX);
        self.labels.len() as Label - 1
    }

    /// The label is here.
    pub fn place(&mut self, label: Label) {
        self.labels[label as usize] = self.insts.len() as u32;
    }

    /// Goes on at the label; given a register and a truth, only where the register holds it.
    pub fn jump(&mut self, label: Label, when: Option<(Register, bool)>) {
        let (what, a) = match when {
            None => (What::Jump, 0),
            Some((register, true)) => (What::JumpIf, register),
            Some((register, false)) => (What::JumpUnless, register),
        };
        self.insts.push(Inst { what, to: 0, a, b: 0, target: label });
    }

    /// Runs finished code to its end, on registers that began as `registers` says; false where `go_on`, asked every few
    /// thousand turns, ended it before.
    pub fn run(&self, registers: &mut [u64], go_on: &dyn Fn() -> bool) -> bool {
        assert!(registers.len() == self.registers.len() && !self.insts.is_empty());
        let (mut at, mut turns) = (0, 0u32);
        loop {
            // SAFETY: `finish` has ended the code with `Halt` and seen that every jump leads to an instruction.
            let &Inst { what, to, a, b, target } = unsafe { self.insts.get_unchecked(at) };
            at += 1;
            // SAFETY: `finish` has seen that every register that is read exists, and there are as many as it saw.
            let get = |x: Register| unsafe { *registers.get_unchecked(x as usize) };
            let int = |x: Register| get(x) as i64;
            let double = |x: Register| f64::from_bits(get(x));
            let float = |x: Register| f32::from_bits(get(x) as u32);
            macro_rules! jump {
                ($taken:expr) => {{
                    if $taken {
                        let target = target as usize;
                        if target < at {
                            turns = turns.wrapping_add(1);
                            if turns % TURNS_BETWEEN_QUESTIONS == 0 && !go_on() {
                                return false;
                            }
                        }
                        at = target;
                    }
                    continue;
                }};
            }
            let of_int = |v: i64| v as u64;
            let of_float = |v: f32| v.to_bits() as u64;
            let value = match what {
                What::Move => get(a),
                What::Add => of_int(int(a).wrapping_add(int(b))),
                What::Sub => of_int(int(a).wrapping_sub(int(b))),
                What::Mul => of_int(int(a).wrapping_mul(int(b))),
                What::FloorDiv => of_int(floor_div(int(a), int(b))),
                What::Rem => of_int(floor_rem(int(a), int(b))),
                What::Shift => of_int(int(a) >> b),
                What::And => get(a) & get(b),
                What::Or => get(a) | get(b),
                What::Xor => get(a) ^ get(b),
                What::Max => of_int(int(a).max(int(b))),
                What::Min => of_int(int(a).min(int(b))),
                What::Eq => (get(a) == get(b)) as u64,
                What::Ne => (get(a) != get(b)) as u64,
                What::Lt => (int(a) < int(b)) as u64,
                What::Le => (int(a) <= int(b)) as u64,
                What::Not => get(a) ^ 1,
                What::Wrap32 => of_int(int(a) as i32 as i64),
                What::AddF64 => (double(a) + double(b)).to_bits(),
                What::SubF64 => (double(a) - double(b)).to_bits(),
                What::MulF64 => (double(a) * double(b)).to_bits(),
                What::DivF64 => (double(a) / double(b)).to_bits(),
                What::EqF64 => (double(a) == double(b)) as u64,
                What::NeF64 => (double(a) != double(b)) as u64,
                What::LtF64 => (double(a) < double(b)) as u64,
                What::LeF64 => (double(a) <= double(b)) as u64,
                What::AddF32 => of_float(float(a) + float(b)),
                What::SubF32 => of_float(float(a) - float(b)),
                What::MulF32 => of_float(float(a) * float(b)),
                What::DivF32 => of_float(float(a) / float(b)),
                What::EqF32 => (float(a) == float(b)) as u64,
                What::NeF32 => (float(a) != float(b)) as u64,
                What::LtF32 => (float(a) < float(b)) as u64,
                What::LeF32 => (float(a) <= float(b)) as u64,
                What::IntToF64 => (int(a) as f64).to_bits(),
                What::IntToF32 => of_float(int(a) as f32),
                What::F64ToInt => of_int(double(a) as i64),
                What::F32ToInt => of_int(float(a) as i64),
                What::F64ToF32 => of_float(double(a) as f32),
                What::F32ToF64 => (float(a) as f64).to_bits(),
                What::Unless => {
                    if get(b) != 0 {
                        continue;
                    }
                    get(a)
                }
                What::Jump => jump!(true),
                What::JumpIf => jump!(get(a) != 0),
                What::JumpUnless => jump!(get(a) == 0),
                What::JumpEq => jump!(get(a) == get(b)),
                What::JumpNe => jump!(get(a) != get(b)),
                What::JumpLt => jump!(int(a) < int(b)),
                What::JumpLe => jump!(int(a) <= int(b)),
                What::Halt => return true,
            };
            // SAFETY: as above, of registers that are written.
            unsafe { *registers.get_unchecked_mut(to as usize) = value };
        }
    }
}

fn floor_div(a: i64, b: i64) -> i64 {
    if b == 0 {
        return 0;
    }
    let quotient = a.wrapping_div(b);
    if a.wrapping_rem(b) != 0 && (a < 0) != (b < 0) { quotient - 1 } else { quotient }
}

fn floor_rem(a: i64, b: i64) -> i64 {
    if b == 0 {
        return 0;
    }
    let rest = a.wrapping_rem(b);
    if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_to_the_number_one() {
        let mut code = Code::default();
        let (n, k) = (code.register(27).unwrap(), code.register(0).unwrap());
        let number = |code: &mut Code, v: i64| code.constant(Scalar::Int(v), DType::I64).unwrap();
        let (one, two, three) = (number(&mut code, 1), number(&mut code, 2), number(&mut code, 3));
        let (t, zero) = (code.register(0).unwrap(), number(&mut code, 0));
        let (body, test, odd, next) = (code.label(), code.label(), code.label(), code.label());
        code.jump(test, None);
        code.place(body);
        code.binary(BinaryOp::Rem, DType::I64, t, n, two).unwrap();
        code.binary(BinaryOp::Eq, DType::I64, t, t, zero).unwrap();
        code.jump(odd, Some((t, false)));
        code.binary(BinaryOp::FloorDiv, DType::I64, n, n, two).unwrap();
        code.jump(next, None);
        code.place(odd);
        code.binary(BinaryOp::Mul, DType::I64, n, n, three).unwrap();
        code.binary(BinaryOp::Add, DType::I64, n, n, one).unwrap();
        code.place(next);
        code.binary(BinaryOp::Add, DType::I64, k, k, one).unwrap();
        code.place(test);
        code.binary(BinaryOp::Ne, DType::I64, t, n, one).unwrap();
        code.jump(body, Some((t, true)));
        code.finish(&[n, k]);
        // Six in a turn: a mask, a jump, a shift or two operations, a jump or an addition, a jump.
        assert!(code.len() <= 10, "{code:?}");
        let mut registers = code.registers().to_vec();
        assert!(code.run(&mut registers, &|| true));
        assert_eq!(registers[..2], [1, 111]);
    }

    #[test]
    fn integers_divide_as_python_does() {
        for a in [-9i64, -8, -1, 0, 1, 7, 8, i64::MIN, i64::MAX] {
            for b in [-8i64, -3, -1, 1, 2, 8] {
                let mut code = Code::default();
                let x = code.register(a as u64).unwrap();
                let by = code.constant(Scalar::Int(b), DType::I64).unwrap();
                let (q, r) = (code.register(0).unwrap(), code.register(0).unwrap());
                code.binary(BinaryOp::FloorDiv, DType::I64, q, x, by).unwrap();
                code.binary(BinaryOp::Rem, DType::I64, r, x, by).unwrap();
                code.finish(&[x, q, r]);
                let mut registers = code.registers().to_vec();
                assert!(code.run(&mut registers, &|| true));
                let (q, r) = (registers[q as usize] as i64, registers[r as usize] as i64);
                assert_eq!(q.wrapping_mul(b).wrapping_add(r), a, "{a} by {b}");
                assert!(
                    r == 0 || (r < 0) == (b < 0) && r.unsigned_abs() < b.unsigned_abs(),
                    "{a} by {b}: {r}"
                );
            }
        }
        assert_eq!((floor_div(5, 0), floor_rem(5, 0)), (0, 0));
    }
}
