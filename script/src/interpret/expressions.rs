//! Expressions: one function from an expression to its value.

use super::{Machine, places};
use crate::tree::{Arithmetic, Constant, Conversion, Expr, ExprKind, IndexPart, Piece, Target};
use crate::value::{self, Cursor, Dict, Value, tensor_of};
use crate::{arithmetic, autograph};
use runtime::error::{Error, Result};

/// The value of a constant.
pub(crate) fn constant(constant: &Constant) -> Value {
    match constant {
        Constant::None => Value::None,
        Constant::Int(v) => Value::Int(*v),
        Constant::Float(v) => Value::Float(*v),
        Constant::Bool(v) => Value::Bool(*v),
        Constant::Str(v) => Value::Str(v.clone()),
        Constant::DType(v) => Value::DType(*v),
    }
}

impl<'p> Machine<'p, '_> {
    /// The value of an expression.
    #[inline]
    pub(crate) fn eval(&mut self, e: &'p Expr) -> Result<Value> {
        match self.value_of(e) {
            Ok(value) => Ok(value),
            Err(error) => Err(self.located(error, e.span)),
        }
    }

    fn value_of(&mut self, e: &'p Expr) -> Result<Value> {
        match &e.kind {
            ExprKind::Constant(c) => Ok(constant(c)),
            ExprKind::Load(slot) => Ok(self.slot(*slot).clone()),
            ExprKind::Global(i) => self.global(*i).cloned(),
            ExprKind::Field { object, field } => self.field(object, *field),
            ExprKind::Convert(conversion, e) => {
                let value = self.eval(e)?;
                self.at(e.span);
                if self.is_staging()
                    && let Some(staged) = autograph::convert(*conversion, &value)?
                {
                    return Ok(staged);
                }
                convert(*conversion, value)
            }
            ExprKind::List(parts) => Ok(Value::list(self.all(parts)?)),
            ExprKind::Tuple(parts) => Ok(Value::Tuple(self.all(parts)?.into())),
            ExprKind::Dict(entries) => {
                let mut dict = Dict::new();
                for (key, value) in entries {
                    let key = self.eval(key)?;
                    dict.insert(key, self.eval(value)?)?;
                }
                Ok(Value::dict(dict))
            }
            ExprKind::ListComp { element, target, iterable, test } => {
                self.comprehension(element, target, iterable, test.as_deref())
            }
            ExprKind::Arithmetic(kind, op, left, right) => {
                if *kind == Arithmetic::Int
                    && let (Some(a), Some(b)) = (self.int_at_hand(left), self.int_at_hand(right))
                {
                    return arithmetic::ints(*op, a, b);
                }
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                match (kind, &left, &right) {
                    (Arithmetic::Int, Value::Int(a), Value::Int(b)) => arithmetic::ints(*op, *a, *b),
                    (Arithmetic::Float, Value::Float(a), Value::Float(b)) => arithmetic::floats(*op, *a, *b),
                    (Arithmetic::Float, a, b) if autograph::either(a, b) => autograph::binary(*op, a, b),
                    (Arithmetic::Float, a, b) => arithmetic::floats(*op, a.float()?, b.float()?),
                    (Arithmetic::Int | Arithmetic::Number, a, b) => arithmetic::binary(*op, a, b),
                }
            }
            ExprKind::Negate(e) => match self.eval(e)? {
                Value::Staged(t) => autograph::negate(&t),
                value => arithmetic::negate(&value),
            },
            ExprKind::Compare(op, left, right) => {
                if let (Some(a), Some(b)) = (self.int_at_hand(left), self.int_at_hand(right)) {
                    return value::compare(*op, &Value::Int(a), &Value::Int(b)).map(Value::Bool);
                }
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                self.at(e.span);
                if self.is_staging()
                    && let Some(staged) = autograph::compare(*op, &left, &right)?
                {
                    return Ok(staged);
                }
                value::compare(*op, &left, &right).map(Value::Bool)
            }
            ExprKind::Not(e) => match self.eval(e)? {
                Value::Bool(b) => Ok(Value::Bool(!b)),
                Value::Staged(t) => autograph::not(&t),
                other => Ok(Value::Bool(!other.truth()?)),
            },
            ExprKind::Logical { and, left, right } => {
                let left = match self.eval(left)? {
                    Value::Bool(b) => b,
                    Value::Staged(left) => {
                        self.at(e.span);
                        return self.staged_logical(*and, &left, right);
                    }
                    other => other.truth()?,
                };
                if left != *and {
                    return Ok(Value::Bool(left));
                }
                match self.eval(right)? {
                    Value::Bool(b) => Ok(Value::Bool(b)),
                    Value::Staged(t) => Ok(Value::Staged(t)),
                    other => Ok(Value::Bool(other.truth()?)),
                }
            }
            ExprKind::Conditional { test, then, otherwise } => {
                let taken = match self.eval(test)? {
                    Value::Bool(b) => b,
                    Value::Staged(test) => {
                        self.at(e.span);
                        return self.staged_conditional(&test, then, otherwise);
                    }
                    other => other.truth()?,
                };
                self.eval(if taken { then } else { otherwise })
            }
            ExprKind::Keep { slot, value } => {
                let value = self.eval(value)?;
                self.set_slot(*slot, value.clone());
                Ok(value)
            }
            ExprKind::Torch { call, args, returns } => self.torch(call, args, returns, e.span),
            ExprKind::Index { tensor, index } => {
                let tensor = self.eval(tensor)?;
                let tensor = tensor.tensor()?;
                let index = self.index(tensor, index)?;
                self.at(e.span);
                tensor.at(&index).map(Value::Tensor)
            }
            ExprKind::Item { container, key } => {
                if let Some((tensor, dim)) = extent_of(container, key) {
                    let tensor = self.eval(tensor)?;
                    self.at(container.span);
                    return places::extent(tensor.tensor()?, dim);
                }
                let (container, key) = (self.eval(container)?, self.eval(key)?);
                places::item(&container, &key)
            }
            ExprKind::Slice { container, part } => {
                let container = self.eval(container)?;
                let IndexPart::Slice { start, stop, step } = &**part else {
                    return Err(Error::internal("a slice of host values has bounds"));
                };
                places::slice(&container, self.bounds(start, stop, step)?)
            }
            ExprKind::Builtin(builtin, args) => {
                let base = self.stack.len();
                for arg in args {
                    let value = self.eval(arg)?;
                    self.stack.push(value);
                }
                self.at(e.span);
                if self.is_staging()
                    && let Some(staged) = autograph::builtin(builtin.name, &self.stack[base..])?
                {
                    self.stack.truncate(base);
                    return Ok(staged);
                }
                let value = (builtin.run)(&mut self.stack[base..], self.host);
                self.stack.truncate(base);
                value
            }
            ExprKind::Call(function, args) => {
                let base = self.stack.len();
                for arg in args {
                    let value = self.eval(arg)?;
                    self.stack.push(value);
                }
                self.call(*function, base)
            }
            ExprKind::New(class, args) => {
                let base = self.stack.len();
                for arg in args {
                    let value = self.eval(arg)?;
                    self.stack.push(value);
                }
                self.construct(*class, base)
            }
            ExprKind::FString(pieces) => self.text(pieces),
        }
    }

    /// The int in a variable or in the source, which need not be evaluated.
    #[inline]
    fn int_at_hand(&self, e: &'p Expr) -> Option<i64> {
        match &e.kind {
            ExprKind::Constant(Constant::Int(v)) => Some(*v),
            ExprKind::Load(slot) => match self.slot(*slot) {
                Value::Int(v) => Some(*v),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn global(&self, at: u32) -> Result<&Value> {
        let value = self.loaded.globals.get(at as usize);
        value.ok_or_else(|| Error::internal(format!("the constant {at} of the module is not made yet")))
    }

    /// A field; of an object in a variable without a handle of its own.
    fn field(&mut self, object: &'p Expr, field: u32) -> Result<Value> {
        match &object.kind {
            ExprKind::Load(slot) => places::field(self.slot(*slot), field),
            _ => places::field(&self.eval(object)?, field),
        }
    }

    fn all(&mut self, parts: &'p [Expr]) -> Result<Vec<Value>> {
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            values.push(self.eval(part)?);
        }
        Ok(values)
    }

    fn comprehension(
        &mut self,
        element: &'p Expr,
        target: &'p Target,
        iterable: &'p Expr,
        test: Option<&'p Expr>,
    ) -> Result<Value> {
        let mut cursor = Cursor::over(&self.eval(iterable)?)?;
        let mut values = Vec::new();
        while let Some(value) = cursor.next()? {
            self.host.tick()?;
            self.assign(target, value, element.span)?;
            let taken = match test {
                None => true,
                Some(test) => self.test(test)?,
            };
            if taken {
                values.push(self.eval(element)?);
            }
        }
        Ok(Value::list(values))
    }

    fn text(&mut self, pieces: &'p [Piece]) -> Result<Value> {
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value(e, conversion, spec) => {
                    let value = self.eval(e)?;
                    let value = match conversion {
                        None => value,
                        Some('r' | 'a') => Value::str(value.repr()),
                        Some(_) => Value::str(value.to_string()),
                    };
                    out.push_str(&value::format(&value, spec)?);
                }
            }
        }
        Ok(Value::str(out))
    }
}

/// The tensor and the place of `x.shape[0]`: a look at one extent, not at all of them.
fn extent_of<'p>(container: &'p Expr, key: &Expr) -> Option<(&'p Expr, i64)> {
    match (&container.kind, &key.kind) {
        (ExprKind::Builtin(builtin, args), ExprKind::Constant(Constant::Int(dim)))
            if builtin.name == "Tensor.shape" =>
        {
            Some((args.first()?, *dim))
        }
        _ => None,
    }
}

/// The number that a tensor of one element holds; a number itself.
fn number(value: Value) -> Result<Value> {
    match &value {
        Value::Tensor(t) => Ok(t.item()?.into()),
        _ => Ok(value),
    }
}

/// The value after an implicit conversion.
pub(crate) fn convert(conversion: Conversion, value: Value) -> Result<Value> {
    Ok(match conversion {
        Conversion::IntToFloat => Value::Float(value.float()?),
        Conversion::BoolToInt => Value::Int(value.int()?),
        Conversion::TensorToBool | Conversion::Truth => Value::Bool(value.truth()?),
        Conversion::TensorToInt => match number(value)? {
            Value::Float(v) => Value::Int(arithmetic::truncated(v)?),
            number => Value::Int(number.int()?),
        },
        Conversion::TensorToFloat => Value::Float(number(value)?.float()?),
        Conversion::NumberToTensor => match value.scalar() {
            Some(number) => Value::Tensor(tensor_of(number)?),
            None => Value::Tensor(value.tensor()?.clone()),
        },
        Conversion::Unwrap => match value {
            Value::None => {
                return Err(Error::value("AssertionError: the optional value is None after all"));
            }
            value => value,
        },
        Conversion::ToInts => Value::ints(value.to_ints()?),
    })
}
