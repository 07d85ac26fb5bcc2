//! torch-qualified calls, as reference files name them, to operations of the runtime. A call whose parameters are an op's
//! operands is one line of `operations`; what torch spells as one function and we as several is a line of
//! its family's file.

mod aliases;
mod composed;
mod draws;
mod functions;
mod hosts;
pub(crate) mod in_place;
mod linear;
mod operations;
mod order;
mod places;
pub mod returns;
mod sequence;
mod special;
mod tensorflow;
mod windows;

use aliases::ALIASES;
use operations::OPS;
use runtime::error::{Error, ErrorKind, Result};
use runtime::table::{Effect, OpDef};
use runtime::{Arg, DType, DeviceId, Host, Origin, Scalar, Tensor, door, table};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A call that is several ops, or one whose operands differ from torch's.
type Function = fn(&Call) -> Result<Vec<Tensor>>;

/// torch's name, torch's parameters (`Parameter`), what it runs.
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
    sequence::FUNCTIONS,
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
#[derive(Clone)]
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

impl fmt::Debug for Value {
    /// In words, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Tensor(t) => write!(f, "{:?}", Arg::Tensor(t)),
            Value::Host(host) => write!(f, "{:?}", host.as_arg()),
            Value::List(list) => f.debug_list().entries(list).finish(),
            Value::Slice(_) => f.write_str("a slice"),
            Value::Ellipsis => f.write_str("'...'"),
        }
    }
}

impl Value {
    /// Whether it is a number that is known only when a graph that is being staged runs.
    fn is_unknown(&self) -> bool {
        matches!(self, Value::Tensor(t) if t.traced().is_some() && graph::trace::is_staging())
    }
}

/// A call's arguments by the names of torch's parameters.
pub struct Call<'a> {
    parameters: &'a [Parameter],
    values: SmallVec<[Option<&'a Value>; 8]>,
}

impl<'a> Call<'a> {
    /// What was given for a parameter, `None` too.
    fn given(&self, name: &str) -> Option<&'a Value> {
        self.values[self.parameters.iter().position(|p| p.name == name)?]
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.given(name).filter(|v| !matches!(v, Value::Host(Host::None)))
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
            Some(Value::Host(Host::Ints(none))) if none.is_empty() => Ok(Vec::new()),
            Some(other) => Err(Error::value(format!("{name} must be a list of tensors, got {other:?}"))),
            None => Err(Error::value(format!("the argument {name} is missing"))),
        }
    }

    fn arg(&self, name: &str) -> Result<Arg<'a>> {
        match self.value(name) {
            None => Ok(Arg::None),
            Some(Value::Tensor(t)) => Ok(Arg::Tensor(t)),
            Some(Value::Host(h)) => Ok(h.as_arg()),
            Some(Value::List(list)) if list.iter().any(|v| v.is_unknown()) => {
                Err(Error::new(ErrorKind::Trace, format!("{name} is known when the graph runs, not while it is recorded"))
                    .hint("an extent would depend on a tensor's value: a graph's shapes are settled while it is recorded; \
                           give the number from outside, or mask what is too much"))
            }
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

    /// A number, or the one that a tensor holds.
    fn number(&self, name: &str) -> Result<Arg<'a>> {
        Ok(match self.arg(name)? {
            Arg::Tensor(t) => match t.item()? {
                Scalar::Int(v) => Arg::Int(v),
                Scalar::Float(v) => Arg::Float(v),
                Scalar::Bool(v) => Arg::Bool(v),
            },
            number => number,
        })
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
#[derive(Clone, Copy)]
enum Target {
    /// This op of the table, whose operands are the parameters.
    Op(&'static OpDef),
    /// Several ops.
    Function(Function),
}

/// A parameter of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameter {
    /// torch's name for it.
    pub name: &'static str,
    /// Whether a host number may stand for the tensor (`#`), or never (`!`), or where the op's schema allows it.
    mark: Option<u8>,
    /// Whether it takes any number of arguments (`*`), or of lists (`**`).
    gathers: Gathers,
    /// Whether a call must give it (no `?` after it).
    pub(crate) is_required: bool,
    /// Whether torch has it and calls here cannot use it (`~`): it may only say that it is not used.
    pub(crate) is_unused: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gathers {
    Nothing,
    Arguments,
    Lists,
}

impl Parameter {
    fn parse(text: &'static str) -> Parameter {
        let gathers = match text.bytes().take_while(|b| *b == b'*').count() {
            0 => Gathers::Nothing,
            1 => Gathers::Arguments,
            _ => Gathers::Lists,
        };
        let mark = text.bytes().next().filter(|b| matches!(b, b'#' | b'!'));
        let name = text.trim_start_matches(['*', '#', '!', '~']);
        let is_required = !text.ends_with('?');
        let is_unused = text.starts_with('~');
        Parameter { name: name.trim_end_matches('?'), mark, gathers, is_required, is_unused }
    }

    /// Whether it takes all further positional arguments.
    pub fn is_variadic(&self) -> bool {
        self.gathers != Gathers::Nothing
    }

    /// Whether a keyword argument of this name is meant for it.
    fn is_called(&self, keyword: &str) -> bool {
        self.name == keyword || SPELLINGS.iter().any(|(a, b)| *a == keyword && *b == self.name)
    }
}

/// Parameters of calls that drop elements at random.
const DROPS: &[&str] = &["dropout", "dropout_p", "training", "p"];

/// Other spellings of a parameter.
const SPELLINGS: &[(&str, &str)] =
    &[("self", "input"), ("input", "self"), ("axis", "dim"), ("keepdims", "keepdim"), ("axis", "dims")];

/// A call that is known: its parameters and what it runs.
#[derive(Clone)]
pub struct Resolved {
    /// As it was asked for.
    pub name: Arc<str>,
    /// torch's parameters, in order.
    pub parameters: Arc<[Parameter]>,
    target: Target,
}

impl fmt::Debug for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A call's line. A method without a line of its own is the function of its name.
fn find(call: &str) -> Option<(&'static str, Target)> {
    let name = ALIASES.iter().find(|(alias, _)| *alias == call).map_or(call, |(_, name)| name);
    let of_table = |op: &str| table::find(op).map(Target::Op);
    let op = OPS
        .iter()
        .chain(special::OPS)
        .find(|(own, ..)| *own == name)
        .and_then(|(_, op, parameters)| Some((*parameters, of_table(op)?)));
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

/// Functions whose last parameter says whether they write to their argument.
const INPLACE: &[&str] = &[
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "selu",
    "celu",
    "silu",
    "mish",
    "hardswish",
    "hardsigmoid",
    "hardtanh",
    "threshold",
    "rrelu",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "alpha_dropout",
    "feature_alpha_dropout",
];

/// Whether a call takes `inplace`, as its last argument or by name.
pub(crate) fn takes_inplace(call: &str) -> bool {
    call.strip_prefix("torch.nn.functional.").is_some_and(|name| INPLACE.contains(&name))
}

/// Whether the call is known.
pub fn is_known(call: &str) -> bool {
    find(call).is_some()
}

/// The call of this name, looked up once to be run many times.
pub fn resolve(call: &str) -> Option<Resolved> {
    let (parameters, target) = find(call)?;
    let parameters = parameters.split(' ').filter(|p| !p.is_empty()).map(Parameter::parse).collect();
    Some(Resolved { name: call.into(), parameters, target })
}

/// Runs a call; `None` where it is not known.
pub fn run(call: &str, args: &[Value], kwargs: &[(String, Value)]) -> Option<Result<Vec<Tensor>>> {
    let call = resolve(call)?;
    let args = call.gathered(args);
    Some(call.places(args.len(), kwargs.iter().map(|(name, _)| name.as_str())).and_then(|places| {
        let mut values: SmallVec<[Option<&Value>; 8]> = call.parameters.iter().map(|_| None).collect();
        for (place, value) in places.into_iter().zip(args.iter().chain(kwargs.iter().map(|(_, v)| v))) {
            values[place] = Some(value);
        }
        match call.missing(|place| values[place].is_some()) {
            Some(parameter) => Err(Error::value(format!("the argument {} is missing", parameter.name))),
            None => call.run(values),
        }
    }))
}

impl Resolved {
    /// The op of the table that it is, if it is one op whose operands are the parameters.
    pub fn op(&self) -> Option<&'static OpDef> {
        match self.target {
            Target::Op(op) => Some(op),
            Target::Function(_) => None,
        }
    }

    /// Whether it draws random numbers, or may.
    pub fn draws(&self) -> bool {
        match self.target {
            Target::Op(op) => op.effect == Effect::Random,
            Target::Function(function) => {
                let drawn = |(_, _, own): &Entry| std::ptr::fn_addr_eq(*own, function);
                draws::FUNCTIONS.iter().any(drawn) || self.parameters.iter().any(|p| DROPS.contains(&p.name))
            }
        }
    }

    /// Whether its result may share the memory of its first argument.
    pub fn views(&self) -> bool {
        match self.target {
            Target::Op(op) => matches!(op.effect, Effect::View(_)),
            // What is composed may end in a view.
            Target::Function(_) => true,
        }
    }

    /// The parameters that these arguments are for: the positional ones, then those by name.
    pub fn places<'n>(
        &self,
        positional: usize,
        keywords: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<usize>> {
        let names = || self.parameters.iter().map(|p| p.name).collect::<Vec<_>>();
        if positional > self.parameters.len() {
            return Err(Error::value(format!("{positional} arguments for parameters {:?}", names())));
        }
        let mut places: Vec<usize> = (0..positional).collect();
        for keyword in keywords {
            let exact = self.parameters.iter().position(|p| p.name == keyword);
            let place = exact.or_else(|| self.parameters.iter().position(|p| p.is_called(keyword)));
            let Some(place) = place else {
                return Err(Error::value(format!("unknown argument {keyword} beside {:?}", names())));
            };
            if places.contains(&place) {
                return Err(Error::value(format!("two arguments for {keyword}")));
            }
            places.push(place);
        }
        Ok(places)
    }

    /// The first parameter that a call must give, and that is not given.
    pub(crate) fn missing(&self, given: impl Fn(usize) -> bool) -> Option<&Parameter> {
        let missing = |(place, p): &(usize, &Parameter)| p.is_required && !given(*place);
        self.parameters.iter().enumerate().find(missing).map(|(_, p)| p)
    }

    /// Runs it with an argument, or none, for each parameter.
    pub fn run<'a>(&'a self, values: SmallVec<[Option<&'a Value>; 8]>) -> Result<Vec<Tensor>> {
        let c = Call { parameters: &self.parameters, values };
        match self.target {
            Target::Op(op) => {
                c.tensors_where_wanted(self.name.starts_with("torch.Tensor."))?;
                let operands: SmallVec<[Arg; 8]> =
                    self.parameters.iter().map(|p| c.arg(p.name)).collect::<Result<_>>()?;
                let given = operands.iter().rposition(|a| !a.is_none()).map_or(0, |i| i + 1);
                Ok(door::bind(op, &operands[..given], Origin::caller())?.into_iter().collect())
            }
            Target::Function(function) => function(&c),
        }
    }

    /// The arguments, those for a parameter `*name` as one list (for `**name` even if they are one list themselves).
    fn gathered<'a>(&self, args: &'a [Value]) -> Cow<'a, [Value]> {
        let Some(first) = self.parameters.iter().position(Parameter::is_variadic) else { return args.into() };
        let is_list = |v: &Value| matches!(v, Value::List(_) | Value::Host(Host::Ints(_)));
        let of_lists = self.parameters[first].gathers == Gathers::Lists;
        let Some(rest) = args.get(first..).filter(|rest| of_lists || !rest.first().is_none_or(is_list))
        else {
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
}

impl Call<'_> {
    /// Refuses numbers where torch takes only tensors.
    fn tensors_where_wanted(&self, method: bool) -> Result<()> {
        let number = |p: &Parameter| matches!(self.value(p.name), Some(Value::Host(_)));
        for (i, p) in self.parameters.iter().enumerate() {
            let wanted = p.mark == Some(b'!') || (i == 0 && (method || p.mark != Some(b'#')));
            if wanted
                && number(p)
                && let Some(given) = self.value(p.name)
            {
                return Err(Error::value(format!("{} must be a tensor, got {given:?}", p.name)));
            }
        }
        let open = self.parameters.first().is_some_and(|p| p.mark == Some(b'#'));
        match open && self.parameters.iter().take(2).all(number) {
            true => {
                let names: Vec<&str> = self.parameters.iter().map(|p| p.name).collect();
                Err(Error::value(format!("one of {names:?} must be a tensor")))
            }
            false => Ok(()),
        }
    }
}
