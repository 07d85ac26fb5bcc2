//! Calls of torch. One that is one operation of the table takes its operands where they lie; the others take arguments
//! of their own making.

use super::Machine;
use super::expressions::constant;
use crate::autograph;
use crate::calls::{self, Resolved};
use crate::syntax::Span;
use crate::tree::{Constant, Expr, ExprKind, Returns};
use crate::types::Type;
use crate::value::Value;
use eager::Autograd;
use runtime::error::{Error, ErrorKind, Result};
use runtime::table::OpDef;
use runtime::{Arg, DType, Origin, Tensor, door, ops};
use smallvec::SmallVec;
use std::ops::Range;

/// Where an operand lies.
enum Operand<'p> {
    /// Left out.
    Missing,
    /// In the source.
    Constant(&'p Constant),
    /// On the stack: in a variable, or made for this call.
    Stack(usize),
    /// A constant of the module.
    Global(u32),
    /// A list of ints, gathered.
    Ints(Range<usize>),
}

/// A value in the source as an argument.
fn literal(c: &Constant) -> Arg<'_> {
    match c {
        Constant::None => Arg::None,
        Constant::Int(v) => Arg::Int(*v),
        Constant::Float(v) => Arg::Float(*v),
        Constant::Bool(v) => Arg::Bool(*v),
        Constant::Str(v) => Arg::Str(v),
        Constant::DType(v) => Arg::DType(*v),
    }
}

/// The ints of every list among the operands, one after the other.
type Ints = SmallVec<[i64; 12]>;

/// Most operands of a call that is passed without looking for a place for them.
const AT_HAND: usize = 4;

impl<'p> Machine<'p, '_> {
    /// A call of torch.
    #[inline]
    pub(super) fn torch(
        &mut self,
        call: &'p Resolved,
        args: &'p [Option<Expr>],
        returns: &'p Returns,
        span: Span,
    ) -> Result<Value> {
        if *returns == Returns::Tensor
            && let Some(op) = call.op()
        {
            let mut given = [Arg::None; AT_HAND];
            if let Some(count) = self.at_hand(args, &mut given) {
                self.at(span);
                return door::bind1(op, &given[..count]).map(Value::Tensor);
            }
        }
        self.gathered(call, args, returns, span)
    }

    /// The operands, where every one is a variable or a literal that can be passed as it lies: most calls in loops.
    #[inline]
    fn at_hand<'a>(&'a self, args: &'a [Option<Expr>], given: &mut [Arg<'a>; AT_HAND]) -> Option<usize> {
        let mut count = 0;
        for (i, arg) in args.iter().enumerate() {
            let Some(e) = arg else { continue };
            let arg = match &e.kind {
                ExprKind::Load(slot) => self.slot(*slot).arg()?,
                ExprKind::Constant(c) => literal(c),
                _ => return None,
            };
            if !arg.is_none() {
                *given.get_mut(i)? = arg;
                count = i + 1;
            }
        }
        Some(count)
    }

    /// A call whose operands have to be made first.
    #[inline(never)]
    fn gathered(
        &mut self,
        call: &'p Resolved,
        args: &'p [Option<Expr>],
        returns: &'p Returns,
        span: Span,
    ) -> Result<Value> {
        let base = self.stack.len();
        let value = match call.op() {
            Some(op) => self.operation(op, call, args, returns, span),
            None => self.composed(call, args, returns, span),
        };
        self.stack.truncate(base);
        value
    }

    /// An operation of the table.
    fn operation(
        &mut self,
        op: &'static OpDef,
        call: &'p Resolved,
        args: &'p [Option<Expr>],
        returns: &'p Returns,
        span: Span,
    ) -> Result<Value> {
        let mut ints = Ints::new();
        let mut operands: SmallVec<[Operand<'p>; 8]> = SmallVec::new();
        for arg in args {
            operands.push(match arg {
                None => Operand::Missing,
                Some(e) => self.operand(e, &mut ints)?,
            });
        }
        self.at(span);
        let mut given: SmallVec<[Arg; 8]> = SmallVec::new();
        for operand in &operands {
            let arg = match operand {
                Operand::Missing => Some(Arg::None),
                Operand::Constant(c) => Some(literal(c)),
                Operand::Stack(at) => self.stack[*at].arg(),
                Operand::Global(at) => self.global(*at)?.arg(),
                Operand::Ints(range) => Some(Arg::Ints(&ints[range.clone()])),
            };
            match arg {
                Some(arg) => given.push(arg),
                None => return self.listed(call, &operands, &ints, returns),
            }
        }
        while given.last().is_some_and(Arg::is_none) {
            given.pop();
        }
        bound(op, call, &given, returns)
    }

    /// Where the operand is that an expression stands for; what is not in a variable is put on the stack.
    fn operand(&mut self, e: &'p Expr, ints: &mut Ints) -> Result<Operand<'p>> {
        let start = ints.len();
        let at = match &e.kind {
            ExprKind::Constant(c) => return Ok(Operand::Constant(c)),
            ExprKind::Global(i) if !matches!(self.global(*i)?, Value::List(_) | Value::Tuple(_)) => {
                return Ok(Operand::Global(*i));
            }
            ExprKind::Load(slot) => self.base + slot.0 as usize,
            ExprKind::List(parts) | ExprKind::Tuple(parts) if parts.iter().all(|p| p.ty == Type::Int) => {
                for part in parts {
                    let n = self.eval(part)?.int()?;
                    ints.push(n);
                }
                return Ok(Operand::Ints(start..ints.len()));
            }
            _ => {
                let value = self.eval(e)?;
                self.stack.push(value);
                self.stack.len() - 1
            }
        };
        let gathered = match &self.stack[at] {
            Value::List(list) => all_ints(&list.borrow(), ints),
            Value::Tuple(values) => all_ints(values, ints),
            _ => false,
        };
        Ok(if gathered { Operand::Ints(start..ints.len()) } else { Operand::Stack(at) })
    }

    /// The call with lists among its operands that are not of ints.
    #[cold]
    fn listed(&self, call: &Resolved, operands: &[Operand], ints: &Ints, returns: &Returns) -> Result<Value> {
        let argument = |operand: &Operand| match operand {
            Operand::Missing => Ok(None),
            Operand::Constant(c) => constant(c).to_call().map(Some),
            Operand::Stack(at) => self.stack[*at].to_call().map(Some),
            Operand::Global(at) => self.global(*at)?.to_call().map(Some),
            Operand::Ints(range) => {
                let list = ints[range.clone()].iter().copied().collect();
                Ok(Some(calls::Value::Host(runtime::Host::Ints(list))))
            }
        };
        let mut values = operands.iter().map(argument).collect::<Result<Vec<_>>>()?;
        let staged = |operand: &Operand| match operand {
            Operand::Stack(at) => matches!(self.stack[*at], Value::Staged(_)),
            _ => false,
        };
        let weak: SmallVec<[bool; 8]> = operands.iter().map(staged).collect();
        weaken(&mut values, &weak)?;
        run(call, &values, returns)
    }

    /// A call that is several operations.
    fn composed(
        &mut self,
        call: &'p Resolved,
        args: &'p [Option<Expr>],
        returns: &'p Returns,
        span: Span,
    ) -> Result<Value> {
        let mut values: SmallVec<[Option<calls::Value>; 8]> = SmallVec::new();
        let mut weak: SmallVec<[bool; 8]> = SmallVec::new();
        for arg in args {
            let mut staged = false;
            let mut given = |value: &Value| {
                staged = matches!(value, Value::Staged(_));
                value.to_call().map(Some)
            };
            values.push(match arg {
                None => None,
                Some(e) => match &e.kind {
                    ExprKind::Load(slot) => given(self.slot(*slot))?,
                    _ => given(&self.eval(e)?)?,
                },
            });
            weak.push(staged);
        }
        self.at(span);
        weaken(&mut values, &weak)?;
        run(call, &values, returns)
    }
}

/// Calls torch with values, `None` for arguments that are left out.
pub(crate) fn call(call: &Resolved, args: &[Option<&Value>], returns: &Returns) -> Result<Value> {
    let listed = || -> Result<Value> {
        let values: SmallVec<[Option<calls::Value>; 8]> =
            args.iter().map(|a| a.map(Value::to_call).transpose()).collect::<Result<_>>()?;
        run(call, &values, returns)
    };
    let Some(op) = call.op() else { return listed() };
    let given = args.iter().rposition(|a| !matches!(a, None | Some(Value::None))).map_or(0, |i| i + 1);
    let args = &args[..given];
    // Lists of ints first, since operands borrow from where they are gathered.
    let (mut ints, mut ranges) = (Ints::new(), SmallVec::<[Option<Range<usize>>; 8]>::new());
    for arg in args {
        let start = ints.len();
        let gathered = match arg {
            Some(Value::List(list)) => all_ints(&list.borrow(), &mut ints),
            Some(Value::Tuple(values)) => all_ints(values, &mut ints),
            _ => false,
        };
        ranges.push(gathered.then(|| start..ints.len()));
    }
    let mut operands: SmallVec<[Arg; 8]> = SmallVec::new();
    for (arg, range) in args.iter().zip(&ranges) {
        operands.push(match (arg, range) {
            (_, Some(range)) => Arg::Ints(&ints[range.clone()]),
            (None, _) => Arg::None,
            (Some(value), _) => match value.arg() {
                Some(arg) => arg,
                None => return listed(),
            },
        });
    }
    bound(op, call, &operands, returns)
}

/// Adds the ints of a list; false, and nothing is added, if others are among them.
fn all_ints(values: &[Value], ints: &mut Ints) -> bool {
    let start = ints.len();
    for value in values {
        match value {
            Value::Int(n) => ints.push(*n),
            _ => {
                ints.truncate(start);
                return false;
            }
        }
    }
    true
}

/// An operation of the table on its operands.
fn bound(op: &'static OpDef, call: &Resolved, given: &[Arg], returns: &Returns) -> Result<Value> {
    match returns {
        Returns::Tensor => door::bind1(op, given).map(Value::Tensor),
        Returns::Nothing => {
            let Some(Arg::Tensor(target)) = given.first() else {
                return Err(Error::value(format!("{} writes to a tensor", call.name)));
            };
            door::mutate(op, given, Origin::caller())?;
            Ok(Value::Tensor((*target).clone()))
        }
        Returns::Tuple | Returns::TupleOf(_) | Returns::List | Returns::Bool => {
            returned(door::bind(op, given, Origin::caller())?.into_iter(), returns)
        }
    }
}

/// Numbers that are known when the graph runs get the type that host numbers would have beside the tensors.
fn weaken(values: &mut [Option<calls::Value>], weak: &[bool]) -> Result<()> {
    if !weak.contains(&true) {
        return Ok(());
    }
    let of = |value: &Option<calls::Value>| match value {
        Some(calls::Value::Tensor(t)) => Some(t.dtype()),
        _ => None,
    };
    let strong = values.iter().zip(weak).filter(|(_, weak)| !**weak).filter_map(|(v, _)| of(v));
    let strong: SmallVec<[DType; 4]> = strong.collect();
    for (value, _) in values.iter_mut().zip(weak).filter(|(_, weak)| **weak) {
        if let Some(calls::Value::Tensor(t)) = value {
            *t = autograph::weak(t, strong.iter().copied())?;
        }
    }
    Ok(())
}

/// Runs a call with arguments of its own.
fn run(call: &Resolved, values: &[Option<calls::Value>], returns: &Returns) -> Result<Value> {
    if *returns != Returns::Nothing {
        return returned(call.run(values.iter().map(Option::as_ref).collect())?.into_iter(), returns);
    }
    let Some(Some(calls::Value::Tensor(target))) = values.first() else {
        return Err(Error::value(format!("{} writes to a tensor", call.name)));
    };
    // Where a history is recorded, the operations keep what they read, and the write at the end would take it from them.
    let old = (door::grad_enabled() && requires_grad(values)).then(|| target.copy()).transpose()?;
    let old = old.map(|old| Some(calls::Value::Tensor(old)));
    let first = old.as_ref().or(values.first());
    let given = first.into_iter().chain(values.iter().skip(1)).map(Option::as_ref);
    let outputs = call.run(given.collect())?;
    let Some(result) = outputs.first() else {
        return Err(Error::internal(format!("{} has no output", call.name)));
    };
    write(target, result)?;
    Ok(Value::Tensor(target.clone()))
}

/// Whether a tensor among the arguments has a history.
fn requires_grad(values: &[Option<calls::Value>]) -> bool {
    values.iter().flatten().any(|value| match value {
        calls::Value::Tensor(t) => t.requires_grad(),
        calls::Value::List(list) => {
            list.iter().any(|v| matches!(v, calls::Value::Tensor(t) if t.requires_grad()))
        }
        calls::Value::Host(_) | calls::Value::Slice(_) | calls::Value::Ellipsis => false,
    })
}

/// Replaces the elements of a tensor, as an in-place call of several operations does.
fn write(target: &Tensor, result: &Tensor) -> Result<()> {
    if target.tensor_type() != result.tensor_type() {
        return Err(Error::new(
            ErrorKind::InPlace,
            format!("the result {} does not fit into {}", result.tensor_type(), target.tensor_type()),
        ));
    }
    door::mutate(&ops::COPY, &[Arg::Tensor(target), Arg::Tensor(result)], Origin::caller())
}

/// What a program sees of a call's outputs.
fn returned(mut outputs: impl Iterator<Item = Tensor>, returns: &Returns) -> Result<Value> {
    let first = |outputs: &mut dyn Iterator<Item = Tensor>| {
        outputs.next().ok_or_else(|| Error::internal("the call has no output"))
    };
    Ok(match returns {
        Returns::Tensor => Value::Tensor(first(&mut outputs)?),
        Returns::Tuple => Value::Tuple(outputs.map(Value::Tensor).collect()),
        Returns::TupleOf(count) => {
            let given = outputs.map(Value::Tensor).chain(std::iter::repeat(Value::None));
            Value::Tuple(given.take(*count).collect())
        }
        Returns::List => Value::list(outputs.map(Value::Tensor)),
        Returns::Bool => match first(&mut outputs)? {
            t if t.traced().is_some() && graph::trace::is_staging() => autograph::item(&t)?,
            t => Value::Bool(t.item()?.to_bool()),
        },
        Returns::Nothing => Value::None,
    })
}
