//! torch-qualified calls, as reference files name them, to operations of the runtime. A call whose parameters are an op's
//! operands is one line of `operations`; what torch spells as one function and we as several is a line of
//! its family's file.

mod functions;
mod linear;
mod operations;
mod order;
mod windows;

use operations::OPS;
use runtime::error::{Error, Result};
use runtime::{Arg, DType, Host, Origin, Tensor, door, table};
use std::collections::HashMap;

/// A call that is several ops, or one whose operands differ from torch's.
type Function = fn(&Call) -> Result<Vec<Tensor>>;

/// torch's name, torch's parameters, what it runs.
type Entry = (&'static str, &'static str, Function);

/// Every family's functions.
const FAMILIES: &[&[Entry]] =
    &[functions::FUNCTIONS, linear::FUNCTIONS, order::FUNCTIONS, windows::FUNCTIONS];

fn find(call: &str) -> Option<&'static Entry> {
    FAMILIES.iter().flat_map(|f| f.iter()).find(|(name, ..)| *name == call)
}

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

    fn int(&self, name: &str, default: i64) -> Result<i64> {
        let arg = self.arg(name)?;
        if arg.is_none() { Ok(default) } else { arg.int() }
    }

    fn float(&self, name: &str, default: f64) -> Result<f64> {
        let arg = self.arg(name)?;
        if arg.is_none() { Ok(default) } else { arg.float() }
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

/// Whether the call is known.
pub fn is_known(call: &str) -> bool {
    OPS.iter().any(|(name, ..)| *name == call) || find(call).is_some()
}

/// Runs a call; `None` where it is not known.
pub fn run(call: &str, args: &[Value], kwargs: &[(String, Value)]) -> Option<Result<Vec<Tensor>>> {
    if let Some((_, op, parameters)) = OPS.iter().find(|(name, ..)| *name == call) {
        let parameters: Vec<&str> = parameters.split(' ').collect();
        return Some(name_arguments(&parameters, args, kwargs).and_then(|c| {
            let operands = c.parameters.iter().map(|p| c.arg(p)).collect::<Result<Vec<_>>>()?;
            bind(op, &operands)
        }));
    }
    let (_, parameters, function) = find(call)?;
    let parameters: Vec<&str> = parameters.split(' ').collect();
    Some(name_arguments(&parameters, args, kwargs).and_then(|c| function(&c)))
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
        if !parameters.contains(&name.as_str()) {
            return Err(Error::value(format!("unknown argument {name} beside {parameters:?}")));
        }
        values.insert(name, value);
    }
    Ok(Call { parameters, values })
}
