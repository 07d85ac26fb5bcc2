//! torch-qualified calls, as reference files name them, to operations of the runtime. A call whose parameters are an op's
//! operands is one line of `operations`; what torch spells as one function and we as several is a line of
//! its family's file.

mod aliases;
mod composed;
mod draws;
mod functions;
mod hosts;
mod linear;
mod operations;
mod order;
mod places;
mod special;
mod tensorflow;
mod windows;

use aliases::ALIASES;
use operations::OPS;
use runtime::error::{Error, Result};
use runtime::{Arg, DType, DeviceId, Host, Origin, Scalar, Tensor, door, table};
use std::borrow::Cow;
use std::collections::HashMap;

/// A call that is several ops, or one whose operands differ from torch's.
type Function = fn(&Call) -> Result<Vec<Tensor>>;

/// torch's name, torch's parameters, what it runs.
type Entry = (&'static str, &'static str, Function);

/// Every family's functions.
const FAMILIES: &[&[Entry]] = &[
    composed::FUNCTIONS,
    draws::FUNCTIONS,
    functions::FUNCTIONS,
    linear::FUNCTIONS,
    order::FUNCTIONS,
    tensorflow::FUNCTIONS,
    places::FUNCTIONS,
    hosts::FUNCTIONS,
    special::FUNCTIONS,
    windows::FUNCTIONS,
];

fn one(t: Result<Tensor>) -> Result<Vec<Tensor>> {
    t.map(|t| vec![t])
}

/// An op of the table, without the operands that are left out at its end.
fn bind(op: &str, args: &[Arg]) -> Result<Vec<Tensor>> {
    let op = table::find(op).ok_or_else(|| Error::internal(format!("no op is called {op}")))?;
    let given = args.iter().rposition(|a| !a.is_none()).map_or(0, |i| i + 1);
    Ok(door::bind(op, &args[..given], Origin::caller())?.into_iter().collect())
}

/// One argument of a call.
#[derive(Clone, Debug)]
pub enum Value {
    /// A tensor of the file.
    Tensor(Tensor),
    /// Several values.
    List(Vec<Value>),
    /// A host value; an empty or all-integer list is `Host::Ints`.
    Host(Host),
    /// A slice: start, stop, step.
    Slice([Option<i64>; 3]),
    /// `...` in an index.
    Ellipsis,
}

/// A call's arguments by the names of torch's parameters.
pub struct Call<'a> {
    parameters: &'a [&'a str],
    values: HashMap<&'a str, &'a Value>,
}

impl<'a> Call<'a> {
    fn value(&self, name: &str) -> Option<&'a Value> {
        self.values.get(name).copied().filter(|v| !matches!(v, Value::Host(Host::None)))
    }

    fn tensor(&self, name: &str) -> Result<&'a Tensor> {
        self.optional(name)?.ok_or_else(|| Error::value(format!("the argument {name} is missing")))
    }

    fn optional(&self, name: &str) -> Result<Option<&'a Tensor>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Tensor(t)) => Ok(Some(t)),
            Some(other) => Err(Error::value(format!("{name} must be a tensor, got {other:?}"))),
        }
    }

    fn tensors(&self, name: &str) -> Result<Vec<Tensor>> {
        match self.value(name) {
            Some(Value::List(list)) => list
                .iter()
                .map(|v| match v {
                    Value::Tensor(t) => Ok(t.clone()),
                    other => Err(Error::value(format!("{name} must hold tensors, got {other:?}"))),
                })
                .collect(),
            other => Err(Error::value(format!("{name} must be a list of tensors, got {other:?}"))),
        }
    }

    fn arg(&self, name: &str) -> Result<Arg<'a>> {
        match self.value(name) {
            None => Ok(Arg::None),
            Some(Value::Tensor(t)) => Ok(Arg::Tensor(t)),
            Some(Value::Host(h)) => Ok(h.as_arg()),
            Some(other) => Err(Error::value(format!("{name} cannot be {other:?}"))),
        }
    }

    /// An integer; a tensor of one is looked at.
    fn int(&self, name: &str, default: i64) -> Result<i64> {
        match self.arg(name)? {
            Arg::None => Ok(default),
            Arg::Tensor(t) if t.dtype().is_float() || t.dtype() == DType::Bool => {
                Err(Error::dtype(format!("{name} must be a whole number, got a tensor of {}", t.dtype())))
            }
            Arg::Tensor(t) => Ok(t.item()?.to_i64()),
            number => number.int(),
        }
    }

    fn optional_int(&self, name: &str) -> Result<Option<i64>> {
        self.value(name).map(|_| self.int(name, 0)).transpose()
    }

    fn optional_float(&self, name: &str) -> Result<Option<f64>> {
        self.value(name).map(|_| self.float(name, 0.0)).transpose()
    }

    /// A tensor, or a host number as one of rank 0 that widens `beside` no further than the number would.
    fn weak(&self, name: &str, beside: DType) -> Result<Tensor> {
        let of = |default: DType| if beside.promote(default) == beside { beside } else { default };
        match self.arg(name)? {
            Arg::Tensor(t) => Ok(t.clone()),
            number @ Arg::Bool(_) => Tensor::full(&[], number, DType::Bool, DeviceId::Cpu),
            number @ Arg::Int(_) => {
                let dtype = if beside == DType::Bool { DType::I64 } else { beside };
                Tensor::full(&[], number, dtype, DeviceId::Cpu)
            }
            number @ Arg::Float(_) => {
                let dtype = if beside.is_float() { beside } else { of(DType::F32) };
                Tensor::full(&[], number, dtype, DeviceId::Cpu)
            }
            other => Err(Error::value(format!("{name} must be a tensor or a number, got {other:?}"))),
        }
    }

    fn float(&self, name: &str, default: f64) -> Result<f64> {
        match self.arg(name)? {
            Arg::None => Ok(default),
            Arg::Tensor(t) => Ok(t.item()?.to_f64()),
            number => number.float(),
        }
    }

    fn dtype(&self, default: DType) -> Result<DType> {
        let arg = self.arg("dtype")?;
        if arg.is_none() { Ok(default) } else { arg.dtype() }
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool> {
        let arg = self.arg(name)?;
        if arg.is_none() { Ok(default) } else { arg.bool() }
    }

    /// A list of integers; one integer is a list of itself, and none at all an empty one.
    fn ints(&self, name: &str) -> Result<Vec<i64>> {
        match self.arg(name)? {
            Arg::None => Ok(Vec::new()),
            Arg::Int(n) => Ok(vec![n]),
            list => Ok(list.ints()?.to_vec()),
        }
    }

    fn str(&self, name: &str, default: &'a str) -> Result<&'a str> {
        let arg = self.arg(name)?;
        if arg.is_none() { Ok(default) } else { arg.str() }
    }

    /// The tensor converted first where a dtype is asked for.
    fn converted(&self, name: &str) -> Result<Tensor> {
        let x = self.tensor(name)?;
        x.to(self.dtype(x.dtype())?)
    }
}

/// What a call runs.
enum Target {
    /// This op of the table, whose operands are the parameters.
    Op(&'static str),
    /// Several ops.
    Function(Function),
}

/// Other spellings of a parameter.
const SPELLINGS: &[(&str, &str)] =
    &[("self", "input"), ("input", "self"), ("axis", "dim"), ("keepdims", "keepdim"), ("axis", "dims")];

/// A call's parameters and what it runs. A method without a line of its own is the function of its name.
fn find(call: &str) -> Option<(&'static str, Target)> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == call).map_or(call, |(_, name)| name);
    let op = OPS
        .iter()
        .chain(special::OPS)
        .find(|(own, ..)| *own == name)
        .map(|(_, op, parameters)| (*parameters, Target::Op(op)));
    let function = || {
        let entry = FAMILIES.iter().flat_map(|f| f.iter()).find(|(own, ..)| *own == name);
        entry.map(|(_, parameters, function)| (*parameters, Target::Function(*function)))
    };
    op.or_else(function).or_else(|| find(&format!("torch.{}", name.strip_prefix("torch.Tensor.")?)))
}

/// Every name that has a line, in no order. Methods without one are functions, see `find`.
pub fn names() -> impl Iterator<Item = &'static str> {
    let ops = OPS.iter().chain(special::OPS).map(|(name, ..)| *name);
    let functions = FAMILIES.iter().flat_map(|f| f.iter()).map(|(name, ..)| *name);
    ALIASES.iter().map(|(name, _)| *name).chain(ops).chain(functions)
}

/// Whether the call is known.
pub fn is_known(call: &str) -> bool {
    find(call).is_some()
}

/// Runs a call; `None` where it is not known.
pub fn run(call: &str, args: &[Value], kwargs: &[(String, Value)]) -> Option<Result<Vec<Tensor>>> {
    let (parameters, target) = find(call)?;
    let parameters: Vec<&str> = parameters.split(' ').collect();
    let args = gathered(&parameters, args);
    let marked = parameters.clone();
    let parameters: Vec<&str> = parameters.iter().map(|p| p.trim_start_matches(['*', '#', '!'])).collect();
    Some(name_arguments(&parameters, &args, kwargs).and_then(|c| match target {
        Target::Op(op) => {
            tensors_where_wanted(&c, &marked, call.starts_with("torch.Tensor."))?;
            let operands = c.parameters.iter().map(|p| c.arg(p)).collect::<Result<Vec<_>>>()?;
            bind(op, &operands)
        }
        Target::Function(function) => function(&c),
    }))
}

/// Refuses numbers where torch takes only tensors.
fn tensors_where_wanted(c: &Call, marked: &[&str], method: bool) -> Result<()> {
    let number = |name: &str| matches!(c.value(name), Some(Value::Host(_)));
    for (i, (mark, name)) in marked.iter().zip(c.parameters).enumerate() {
        let wanted = mark.starts_with('!') || (i == 0 && (method || !mark.starts_with('#')));
        if wanted && number(name) {
            return Err(Error::value(format!("{name} must be a tensor, got {:?}", c.value(name))));
        }
    }
    let open = marked.first().is_some_and(|m| m.starts_with('#'));
    match open && c.parameters.iter().take(2).all(|name| number(name)) {
        true => Err(Error::value(format!("one of {:?} must be a tensor", c.parameters))),
        false => Ok(()),
    }
}

/// The arguments, those for a parameter `*name` as one list (for `**name` even if they are one list themselves).
fn gathered<'a>(parameters: &[&str], args: &'a [Value]) -> Cow<'a, [Value]> {
    let Some(first) = parameters.iter().position(|p| p.starts_with('*')) else { return args.into() };
    let is_list = |v: &Value| matches!(v, Value::List(_) | Value::Host(Host::Ints(_)));
    let of_lists = parameters[first].starts_with("**");
    let Some(rest) = args.get(first..).filter(|rest| of_lists || !rest.first().is_none_or(is_list)) else {
        return args.into();
    };
    let int = |v: &Value| match v {
        Value::Host(Host::Scalar(Scalar::Int(n))) => Some(*n),
        _ => None,
    };
    let list = match rest.iter().map(int).collect::<Option<_>>().filter(|_| !of_lists) {
        Some(ints) => Value::Host(Host::Ints(ints)),
        None => Value::List(rest.to_vec()),
    };
    args[..first].iter().cloned().chain([list]).collect()
}

fn name_arguments<'a>(
    parameters: &'a [&'a str],
    args: &'a [Value],
    kwargs: &'a [(String, Value)],
) -> Result<Call<'a>> {
    if args.len() > parameters.len() {
        return Err(Error::value(format!("{} arguments for parameters {parameters:?}", args.len())));
    }
    let mut values: HashMap<&str, &Value> = parameters.iter().copied().zip(args).collect();
    for (name, value) in kwargs {
        let other = || SPELLINGS.iter().find(|(a, b)| a == name && parameters.contains(b)).map(|(_, b)| *b);
        let own = parameters.iter().copied().find(|p| p == name).or_else(other);
        let Some(own) = own else {
            return Err(Error::value(format!("unknown argument {name} beside {parameters:?}")));
        };
        values.insert(own, value);
    }
    Ok(Call { parameters, values })
}
