//! The text of single instructions: expressions over the registers `r<n>` and the stream positions `o<n>`.
//!
//! Every function of the loop language is an overloaded `op_<name>` of the prelude, so this file holds no second list
//! of them; it knows only how types are spelled, when a result is rounded, and how memory is reached.

use crate::dtype::{DType, Scalar};
use crate::loops::{BinaryOp, Combine, Inst, InstOp, Program, ReduceOp, Reg, UnaryOp};

/// Where an instruction finds the streams, and under which condition it may touch memory.
pub struct Place<'a> {
    /// The position of a stream, as an expression.
    pub stream: &'a dyn Fn(usize) -> String,
    /// The value that a plain load has already brought, if it has.
    pub loaded: &'a dyn Fn(usize) -> Option<String>,
    /// Loads and stores happen only where this holds; `None` is always.
    pub guard: Option<&'a str>,
}

/// The C type that holds a value; halves live as f32 that has been rounded.
pub fn value_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::U8 => "u8",
        DType::I32 => "int",
        DType::I64 => "i64",
        DType::F16 | DType::BF16 | DType::F32 => "float",
        DType::F64 => "double",
    }
}

/// The C type of an element in memory.
pub fn storage_type(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "u8",
        DType::F16 | DType::BF16 => "u16",
        other => value_type(other),
    }
}

/// An element in memory, as an expression of `storage_type`, turned into a value.
pub fn from_storage(dtype: DType, element: &str) -> String {
    match dtype {
        DType::Bool => format!("({element} != 0)"),
        DType::F16 => format!("f32_of_f16({element})"),
        DType::BF16 => format!("f32_of_bf16({element})"),
        _ => element.to_string(),
    }
}

/// A value, as an expression, turned into an element in memory.
pub fn to_storage(dtype: DType, value: &str) -> String {
    match dtype {
        DType::Bool => format!("(u8)({value} ? 1 : 0)"),
        DType::F16 => format!("f16_of_f32({value})"),
        DType::BF16 => format!("bf16_of_f32({value})"),
        _ => value.to_string(),
    }
}

/// A literal with exactly the bits of the host number converted to a type.
pub fn literal(value: Scalar, dtype: DType) -> String {
    use crate::dtype::Element;
    match dtype {
        DType::Bool => value.to_bool().to_string(),
        DType::U8 => format!("(u8){}", u8::from_scalar(value)),
        DType::I32 => match i32::from_scalar(value) {
            i32::MIN => "(-2147483647 - 1)".into(),
            v => format!("({v})"),
        },
        DType::I64 => match value.to_i64() {
            i64::MIN => "(-9223372036854775807ll - 1)".into(),
            v => format!("({v}ll)"),
        },
        DType::F16 => single(half::f16::from_scalar(value).to_f32()),
        DType::BF16 => single(half::bf16::from_scalar(value).to_f32()),
        DType::F32 => single(f32::from_scalar(value)),
        DType::F64 => format!("f64_of_bits(0x{:016x}ull /* {value} */)", value.to_f64().to_bits()),
    }
}

fn single(value: f32) -> String {
    format!("f32_of_bits(0x{:08x}u /* {value:?} */)", value.to_bits())
}

/// The expression rounded to a half where the type is one.
pub fn rounded(dtype: DType, expression: String) -> String {
    match dtype {
        DType::F16 => format!("round_f16({expression})"),
        DType::BF16 => format!("round_bf16({expression})"),
        _ => expression,
    }
}

/// The prelude's reduction for an operation on values of a type.
pub fn reduction(op: ReduceOp, operand: DType) -> String {
    let name = match op {
        ReduceOp::Sum => "Sum",
        ReduceOp::Prod => "Prod",
        ReduceOp::Max => "Max",
        ReduceOp::Min => "Min",
        ReduceOp::Any => "Any",
        ReduceOp::All => "All",
        ReduceOp::ArgMax => "ArgMax",
        ReduceOp::ArgMin => "ArgMin",
        ReduceOp::Moment2 => "Moment2",
    };
    format!("{name}<{}>", value_type(operand.accumulator()))
}

/// The value of an instruction that is neither a store nor a combination over points.
pub fn value(program: &Program, inst: &Inst, place: &Place, stream_of: Option<usize>) -> String {
    let r = |reg: Reg| format!("r{}", reg.0);
    let position = || (place.stream)(stream_of.expect("invariant: the instruction follows a stream"));
    match inst.op {
        InstOp::Const(value) => literal(value, inst.dtype),
        InstOp::Param(i) => parameter(i, inst.dtype),
        InstOp::Index(_) => position(),
        InstOp::Extent => rounded(inst.dtype, convert(DType::I64, inst.dtype, "g.extent")),
        InstOp::Load { access, index, mask } => {
            if let Some(done) = (place.loaded)(access.0 as usize) {
                return done;
            }
            let mut conditions: Vec<String> = place.guard.map(str::to_string).into_iter().collect();
            conditions.extend(mask.map(r));
            let mut at = position();
            if let Some(index) = index {
                at = format!("{at} + {} * g.gathers[{}][1]", r(index), access.0);
                conditions.push(range_check(access.0, &r(index)));
            }
            let load = format!("load_{}(g.pointers[{}], {at})", inst.dtype.name(), access.0);
            match conditions.is_empty() {
                true => load,
                false => format!("{} ? {load} : ({})0", conditions.join(" && "), value_type(inst.dtype)),
            }
        }
        InstOp::Unary(op, a) => {
            let call = format!("op_{}({})", op.name(), r(a));
            if is_exact_unary(op) { call } else { rounded(inst.dtype, call) }
        }
        InstOp::Binary(op, a, b) => {
            let call = format!("op_{}({}, {})", op.name(), r(a), r(b));
            let exact = op.is_comparison() || matches!(op, BinaryOp::Max | BinaryOp::Min);
            if exact { call } else { rounded(inst.dtype, call) }
        }
        InstOp::Select(c, a, b) => format!("{} ? {} : {}", r(c), r(a), r(b)),
        InstOp::Cast(a) => convert(program.inst(a).dtype, inst.dtype, &r(a)),
        InstOp::RandomBits { stream, seed, offset } => {
            format!("random_bits({}, {}, {}, {})", r(seed), r(offset), position(), stream & 3)
        }
        InstOp::Reduce(..) | InstOp::Scan(..) | InstOp::Store { .. } => {
            unreachable!("invariant: collectives and stores are emitted by their kernels")
        }
    }
}

/// Functions whose result for a half is a half without rounding.
fn is_exact_unary(op: UnaryOp) -> bool {
    use UnaryOp::*;
    matches!(op, Neg | Abs | Sign | Floor | Ceil | Trunc | Round | Not | BitNot | IsNan | IsInf | Uniform)
}

fn parameter(i: u32, dtype: DType) -> String {
    match dtype {
        DType::Bool => format!("(g.params[{i}] != 0)"),
        DType::U8 | DType::I32 | DType::I64 => format!("({})g.params[{i}]", value_type(dtype)),
        DType::F16 | DType::BF16 | DType::F32 => format!("(float)f64_of_bits((u64)g.params[{i}])"),
        DType::F64 => format!("f64_of_bits((u64)g.params[{i}])"),
    }
}

/// A value of one type converted to another.
pub fn convert(from: DType, to: DType, value: &str) -> String {
    if from == to {
        return value.to_string();
    }
    format!("{}_of({value})", to.name())
}

fn range_check(access: u32, index: &str) -> String {
    format!("in_range({index}, g.gathers[{access}][0], {access}, g.fault)")
}

/// The statement of a store.
pub fn store(program: &Program, inst: &Inst, place: &Place, stream: usize) -> String {
    let InstOp::Store { access, value, index, combine } = inst.op else {
        unreachable!("invariant: only stores come here")
    };
    let dtype = program.accesses[access.0 as usize].dtype;
    let (name, pointer) = (dtype.name(), format!("g.pointers[{}]", access.0));
    let mut conditions: Vec<String> = place.guard.map(str::to_string).into_iter().collect();
    let mut at = (place.stream)(stream);
    if let Some(index) = index {
        at = format!("{at} + r{} * g.gathers[{}][1]", index.0, access.0);
        conditions.push(range_check(access.0, &format!("r{}", index.0)));
    }
    let stored = match combine {
        Combine::Set => format!("r{}", value.0),
        Combine::Add => rounded(dtype, format!("op_add(load_{name}({pointer}, {at}), r{})", value.0)),
    };
    let write = format!("store_{name}({pointer}, {at}, {stored});");
    match conditions.is_empty() {
        true => write,
        false => format!("if ({}) {write}", conditions.join(" && ")),
    }
}
