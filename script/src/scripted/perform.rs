//! What an action does with values: the meaning that the interpreter of the tree has, for values that lie in registers.

use super::action::{Action, Part, Piece};
use crate::arithmetic;
use crate::interpret::expressions::convert;
use crate::interpret::operations;
use crate::interpret::places;
use crate::interpret::statements::{augment, in_place, set_field};
use crate::interpret::{Host, Loaded};
use crate::tree::Arithmetic;
use crate::value::{self, Cursor, Dict, Lazy, Object, Value, tensor_of_list};
use eager::Autograd;
use runtime::door::{self, NoGrad};
use runtime::error::{Error, Result};
use runtime::ops::Index;
use runtime::{DType, Tensor};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::rc::Rc;

/// The operands of a node: places in the registers.
#[derive(Clone, Copy)]
pub(super) struct Args<'a> {
    pub(super) registers: &'a [Value],
    pub(super) places: &'a [u32],
}

impl<'a> Args<'a> {
    #[inline]
    pub(super) fn get(&self, i: usize) -> &'a Value {
        &self.registers[self.places[i] as usize]
    }

    fn iter(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        let registers = self.registers;
        self.places.iter().map(move |&p| &registers[p as usize])
    }

    fn to_vec(self) -> Vec<Value> {
        self.iter().cloned().collect()
    }
}

/// What a running program has around it.
pub(super) struct World<'h> {
    pub(super) host: &'h mut Host,
    pub(super) loaded: Loaded,
    /// Grad modes that are open; they end with the program, however it ends.
    pub(super) modes: Vec<NoGrad>,
}

/// Does it; actions with several outputs are `unpack` and `next`.
pub(super) fn perform(action: &Action, args: Args, world: &mut World) -> Result<Value> {
    match action {
        Action::Torch { call, given, returns } => {
            let mut next = 0;
            let mut values: SmallVec<[Option<&Value>; 8]> = SmallVec::new();
            for i in 0..call.parameters.len() {
                values.push((given >> i & 1 == 1).then(|| {
                    next += 1;
                    args.get(next - 1)
                }));
            }
            operations::call(call, &values, returns)
        }
        Action::Builtin(builtin) => {
            let mut values: SmallVec<[Value; 4]> = args.iter().cloned().collect();
            (builtin.run)(&mut values, world.host)
        }
        Action::Convert(conversion) => convert(*conversion, args.get(0).clone()),
        Action::Widen(_) => Ok(args.get(0).clone()),
        Action::Arithmetic(kind, op) => match (kind, args.get(0), args.get(1)) {
            (Arithmetic::Int, Value::Int(a), Value::Int(b)) => arithmetic::ints(*op, *a, *b),
            (Arithmetic::Float, a, b) => arithmetic::floats(*op, a.float()?, b.float()?),
            (Arithmetic::Int | Arithmetic::Number, a, b) => arithmetic::binary(*op, a, b),
        },
        Action::Negate => arithmetic::negate(args.get(0)),
        Action::Compare(op) => value::compare(*op, args.get(0), args.get(1)).map(Value::Bool),
        Action::Not => Ok(Value::Bool(!args.get(0).truth()?)),
        Action::List => Ok(Value::list(args.to_vec())),
        Action::Tuple => Ok(Value::Tuple(args.to_vec().into())),
        Action::Dict => {
            let mut dict = Dict::new();
            for pair in args.to_vec().chunks_exact(2) {
                dict.insert(pair[0].clone(), pair[1].clone())?;
            }
            Ok(Value::dict(dict))
        }
        Action::Text(pieces) => text(pieces, args),
        Action::Index(parts) => {
            let tensor = args.get(0).tensor()?;
            tensor.at(&index(tensor, parts, args)?).map(Value::Tensor)
        }
        Action::SetIndex(parts) => {
            let tensor = args.get(0).tensor()?;
            let index = index(tensor, parts, args)?;
            places::set_elements(tensor, &index, args.get(args.places.len() - 1))?;
            Ok(Value::None)
        }
        Action::AugmentIndex(op, parts) => {
            let tensor = args.get(0).tensor()?;
            let index = index(tensor, parts, args)?;
            let current = tensor.at(&index)?;
            in_place(*op, &current, args.get(args.places.len() - 1))?;
            if places::copies(&index) {
                tensor.set_at(&index, &current)?;
            }
            Ok(Value::None)
        }
        Action::Item => places::item(args.get(0), args.get(1)),
        Action::SetItem => {
            places::set_item(args.get(0), args.get(1).clone(), args.get(2).clone()).map(|()| Value::None)
        }
        Action::Delete => places::delete(args.get(0), args.get(1)).map(|()| Value::None),
        Action::Slice => {
            places::slice(args.get(0), [bound(args.get(1))?, bound(args.get(2))?, bound(args.get(3))?])
        }
        Action::Field(field, ..) => places::field(args.get(0), *field),
        Action::SetField(field, _) => {
            set_field(args.get(0), *field, args.get(1).clone()).map(|()| Value::None)
        }
        Action::SetGrad => {
            match args.get(1) {
                Value::None => args.get(0).tensor()?.zero_grad(),
                grad => args.get(0).tensor()?.set_grad(Some(grad.tensor()?))?,
            }
            Ok(Value::None)
        }
        Action::AugmentGrad(op) => {
            let current = Value::from(args.get(0).tensor()?.grad());
            in_place(*op, current.tensor()?, args.get(1))?;
            Ok(Value::None)
        }
        Action::Augment(op) => {
            let current = args.get(0);
            Ok(augment(*op, current, args.get(1))?.unwrap_or_else(|| current.clone()))
        }
        Action::Iterate => {
            let cursor = Cursor::over(args.get(0))?;
            Ok(Value::Iterator(Rc::new(Lazy::once("loop", cursor))))
        }
        Action::GradMode(on) => {
            world.modes.push(if *on { door::enable_grad() } else { door::no_grad() });
            Ok(Value::None)
        }
        Action::EndGradMode => {
            world.modes.pop();
            Ok(Value::None)
        }
        Action::Raise(exception) => Err(Error::value(match args.places.is_empty() {
            true => exception.to_string(),
            false => format!("{exception}: {}", args.get(0)),
        })),
        Action::Never => Err(Error::internal("a place that is not reached was reached")),
        Action::Object(class, ..) => {
            let shape = world.loaded.shapes.get(class.0 as usize).cloned();
            let shape = shape.ok_or_else(|| Error::internal("the program has no such class"))?;
            let mut fields = args.to_vec();
            fields.resize(shape.fields.len(), Value::None);
            Ok(Value::Object(Rc::new(Object { shape, fields: RefCell::new(fields) })))
        }
        Action::Global(at, name) => {
            let found = world.loaded.globals.get(*at as usize).cloned();
            found.ok_or_else(|| Error::internal(format!("the constant {name} is not made yet")))
        }
        Action::Unpack | Action::Next | Action::Region(_) => {
            Err(Error::internal("an action that has no single output"))
        }
    }
}

/// As many values as asked for.
pub(super) fn unpack(value: &Value, count: usize) -> Result<Rc<[Value]>> {
    let values: Rc<[Value]> = match value {
        Value::Tuple(values) => values.clone(),
        other => Cursor::over(other)?.collect()?.into(),
    };
    if values.len() == count {
        return Ok(values);
    }
    Err(Error::value(match values.len() > count {
        true => format!("ValueError: too many values to unpack (expected {count})"),
        false => format!("ValueError: not enough values to unpack (expected {count}, got {})", values.len()),
    }))
}

/// The next element of what `Iterate` gave.
pub(super) fn next(iterator: &Value) -> Result<Option<Value>> {
    match iterator {
        Value::Iterator(lazy) => match &**lazy {
            Lazy::Once(_, cursor) => cursor.borrow_mut().next(),
            Lazy::Range(..) | Lazy::View(..) | Lazy::Staged(..) => {
                Err(Error::internal("a loop over what has no place"))
            }
        },
        other => Err(other.unexpected("the start of a loop")),
    }
}

fn bound(value: &Value) -> Result<Option<i64>> {
    match value {
        Value::None => Ok(None),
        Value::Tensor(t) => Ok(Some(t.item()?.to_i64())),
        other => other.int().map(Some),
    }
}

/// The index of a tensor; its operands follow the tensor.
fn index(tensor: &Tensor, parts: &[Part], args: Args) -> Result<places::Indices> {
    let mut at = 0;
    let mut take = || {
        at += 1;
        args.get(at)
    };
    let mut out = places::Indices::new();
    for part in parts {
        out.push(match part {
            Part::At => match take() {
                Value::Int(i) => Index::At(*i),
                Value::Bool(on) => Index::Truth(*on),
                Value::Tensor(t) => Index::Places(t.clone()),
                other => return Err(other.unexpected("an int")),
            },
            Part::Slice(start, stop, step) => {
                let mut each = |on: &bool| if *on { bound(take()) } else { Ok(None) };
                let (start, stop, step) = (each(start)?, each(stop)?, each(step)?);
                Index::Slice(start, stop, step.unwrap_or(1))
            }
            Part::New => Index::New,
            Part::Ellipsis => Index::Ellipsis,
            Part::List => {
                let places = tensor_of_list(take(), None)?;
                let places = if places.numel() == 0 { places.to(DType::I64)? } else { places };
                Index::Places(places.to_device(tensor.device())?)
            }
        });
    }
    Ok(out)
}

fn text(pieces: &[Piece], args: Args) -> Result<Value> {
    let (mut out, mut values) = (String::new(), args.iter());
    for piece in pieces {
        let (conversion, spec) = match piece {
            Piece::Text(text) => {
                out.push_str(text);
                continue;
            }
            Piece::Value(conversion, spec) => (conversion, spec),
        };
        let value = values.next().ok_or_else(|| Error::internal("a piece of text without value"))?;
        let value = match conversion {
            None => value.clone(),
            Some('r' | 'a') => Value::str(value.repr()),
            Some(_) => Value::str(value.to_string()),
        };
        out.push_str(&value::format(&value, spec)?);
    }
    Ok(Value::str(out))
}
