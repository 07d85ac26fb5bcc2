//! Statements: what runs next, and what is written where.

use super::Machine;
use crate::arithmetic;
use crate::autograph;
use crate::syntax::{BinaryOp, Span};
use crate::tree::{Expr, Stmt, StmtKind, Target};
use crate::value::{Cursor, Value};
use eager::Autograd;
use runtime::error::{Error, ErrorKind, Result};
use runtime::table::OpDef;
use runtime::{Arg, Origin, Tensor, door};
use std::rc::Rc;

/// Where a block went.
pub(crate) enum Flow {
    /// To its end.
    Next,
    /// Out of the loop.
    Break,
    /// To the loop's next turn.
    Continue,
    /// Out of the function.
    Return(Value),
}

impl<'p> Machine<'p, '_> {
    pub(crate) fn block(&mut self, body: &'p [Stmt]) -> Result<Flow> {
        for stmt in body {
            match self.statement(stmt) {
                Ok(Flow::Next) => {}
                Ok(flow) => return Ok(flow),
                Err(e) => return Err(self.located(e, stmt.span)),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, stmt: &'p Stmt) -> Result<Flow> {
        match &stmt.kind {
            StmtKind::Expr(e) => {
                self.eval(e)?;
            }
            StmtKind::Assign { target: Target::Slot(slot), value } => {
                let value = self.eval(value)?;
                self.set_slot(*slot, value);
            }
            StmtKind::Assign { target, value } => {
                let value = self.eval(value)?;
                self.assign(target, value, stmt.span)?;
            }
            StmtKind::Augmented { target, op, value } => self.augmented(target, *op, value, stmt.span)?,
            StmtKind::If { test, then, otherwise } => {
                let taken = match self.eval(test)? {
                    Value::Bool(taken) => taken,
                    Value::Staged(test) => {
                        self.at(stmt.span);
                        return self.staged_if(&test, stmt, then, otherwise).map(|()| Flow::Next);
                    }
                    other => other.truth()?,
                };
                return self.block(if taken { then } else { otherwise });
            }
            StmtKind::While { test, body } => loop {
                match self.eval(test)? {
                    Value::Bool(true) => {}
                    Value::Bool(false) => break,
                    Value::Staged(_) => {
                        self.at(stmt.span);
                        return self.staged_while(stmt, test, body).map(|()| Flow::Next);
                    }
                    other if other.truth()? => {}
                    _ => break,
                }
                self.host.tick()?;
                match self.block(body)? {
                    Flow::Next | Flow::Continue => {}
                    Flow::Break => break,
                    Flow::Return(value) => return Ok(Flow::Return(value)),
                }
            },
            StmtKind::For { target, iterable, body } if self.is_staging() => {
                return self.for_in_graph(stmt, target, iterable, body).map(|()| Flow::Next);
            }
            StmtKind::For { target, iterable, body } => {
                let value = self.eval(iterable)?;
                self.at(iterable.span);
                let mut cursor = Cursor::over(&value)?;
                drop(value);
                while let Some(value) = cursor.next()? {
                    self.host.tick()?;
                    self.assign(target, value, stmt.span)?;
                    match self.block(body)? {
                        Flow::Next | Flow::Continue => {}
                        Flow::Break => break,
                        Flow::Return(value) => return Ok(Flow::Return(value)),
                    }
                }
            }
            StmtKind::Grad { enabled, body } => {
                let _mode = if *enabled { door::enable_grad() } else { door::no_grad() };
                return self.block(body);
            }
            StmtKind::Return(None) => return Ok(Flow::Return(Value::None)),
            StmtKind::Return(Some(value)) => return Ok(Flow::Return(self.eval(value)?)),
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::Assert { test, message } => match self.eval(test)? {
                Value::Bool(true) => {}
                Value::Staged(holds) => {
                    let error = self.raised("AssertionError", message.as_ref())?;
                    self.at(stmt.span);
                    autograph::check(&holds, error)?;
                }
                other if other.truth()? => {}
                _ => return Err(self.raised("AssertionError", message.as_ref())?),
            },
            StmtKind::Raise { exception, message } => return Err(self.raised(exception, message.as_ref())?),
            StmtKind::Delete { container, key } => {
                let (container, key) = (self.eval(container)?, self.eval(key)?);
                super::places::delete(&container, &key)?;
            }
        }
        Ok(Flow::Next)
    }

    /// What a test decides; it is a bool, or was converted to one.
    #[inline]
    pub(super) fn test(&mut self, test: &'p Expr) -> Result<bool> {
        match self.eval(test)? {
            Value::Bool(b) => Ok(b),
            other => other.truth(),
        }
    }

    fn raised(&mut self, exception: &str, message: Option<&'p Expr>) -> Result<Error> {
        Ok(Error::value(match message {
            Some(message) => format!("{exception}: {}", self.eval(message)?),
            None => exception.to_string(),
        }))
    }

    pub(crate) fn assign(&mut self, target: &'p Target, value: Value, span: Span) -> Result<()> {
        match target {
            Target::Slot(slot) => self.set_slot(*slot, value),
            Target::Field { object, field } => {
                let object = self.eval(object)?;
                set_field(&object, *field, value)?;
            }
            Target::Item { container, key } => {
                let (container, key) = (self.eval(container)?, self.eval(key)?);
                super::places::set_item(&container, key, value)?;
            }
            Target::Elements { tensor, index } => {
                let tensor = self.eval(tensor)?;
                let index = self.index(tensor.tensor()?, index)?;
                self.at(span);
                super::places::set_elements(tensor.tensor()?, &index, &value)?;
            }
            Target::Unpack(targets) => {
                let values: Rc<[Value]> = match value {
                    Value::Tuple(values) => values,
                    other => {
                        self.at(span);
                        Cursor::over(&other)?.collect()?.into()
                    }
                };
                if values.len() != targets.len() {
                    return Err(Error::value(match values.len() > targets.len() {
                        true => format!("ValueError: too many values to unpack (expected {})", targets.len()),
                        false => format!(
                            "ValueError: not enough values to unpack (expected {}, got {})",
                            targets.len(),
                            values.len()
                        ),
                    }));
                }
                for (target, value) in targets.iter().zip(values.iter()) {
                    self.assign(target, value.clone(), span)?;
                }
            }
            Target::Grad { tensor } => {
                let tensor = self.eval(tensor)?;
                self.at(span);
                match &value {
                    Value::None => tensor.tensor()?.zero_grad(),
                    grad => tensor.tensor()?.set_grad(Some(grad.tensor()?))?,
                }
            }
        }
        Ok(())
    }

    /// `target op= value`. What changes in place keeps its place; the target's parts are evaluated once.
    fn augmented(&mut self, target: &'p Target, op: BinaryOp, value: &'p Expr, span: Span) -> Result<()> {
        match target {
            Target::Slot(slot) => {
                let value = self.eval(value)?;
                self.at(span);
                if let Some(new) = augment(op, self.slot(*slot), &value)? {
                    self.set_slot(*slot, new);
                }
            }
            Target::Field { object, field } => {
                let object = self.eval(object)?;
                let current = super::places::field(&object, *field)?;
                let value = self.eval(value)?;
                self.at(span);
                if let Some(new) = augment(op, &current, &value)? {
                    set_field(&object, *field, new)?;
                }
            }
            Target::Item { container, key } => {
                let (container, key) = (self.eval(container)?, self.eval(key)?);
                let current = super::places::item(&container, &key)?;
                let value = self.eval(value)?;
                self.at(span);
                if let Some(new) = augment(op, &current, &value)? {
                    super::places::set_item(&container, key, new)?;
                }
            }
            Target::Elements { tensor, index } => {
                let tensor = self.eval(tensor)?;
                let tensor = tensor.tensor()?;
                let index = self.index(tensor, index)?;
                self.at(span);
                let current = tensor.at(&index)?;
                let value = self.eval(value)?;
                self.at(span);
                in_place(op, &current, &value)?;
                // A view was written through; what tensors name is a copy, to be put back.
                if super::places::copies(&index) {
                    tensor.set_at(&index, &current)?;
                }
            }
            Target::Grad { tensor } => {
                let tensor = self.eval(tensor)?;
                let current = Value::from(tensor.tensor()?.grad());
                let value = self.eval(value)?;
                self.at(span);
                in_place(op, current.tensor()?, &value)?;
            }
            Target::Unpack(_) => return Err(Error::internal("several targets of one augmented assignment")),
        }
        Ok(())
    }
}

/// `object.field = value`.
pub(crate) fn set_field(object: &Value, field: u32, value: Value) -> Result<()> {
    let Value::Object(object) = object else { return Err(object.unexpected("an object")) };
    match object.fields.borrow_mut().get_mut(field as usize) {
        Some(place) => *place = value,
        None => return Err(Error::internal(format!("a {} has no field {field}", object.shape.name))),
    }
    Ok(())
}

/// What replaces `current`, unless it changed in place: tensors do, and lists that are added to.
pub(crate) fn augment(op: BinaryOp, current: &Value, value: &Value) -> Result<Option<Value>> {
    match (current, op) {
        (Value::Tensor(t), _) => in_place(op, t, value).map(|()| None),
        (Value::List(list), BinaryOp::Add) => {
            let more = Cursor::over(value)?.collect()?;
            list.borrow_mut().extend(more);
            Ok(None)
        }
        (Value::List(list), BinaryOp::Mul) => {
            let Value::List(new) = arithmetic::binary(op, current, value)? else {
                return Err(Error::internal("a repeated list is a list"));
            };
            let new = new.take();
            *list.borrow_mut() = new;
            Ok(None)
        }
        _ => arithmetic::binary(op, current, value).map(Some),
    }
}

/// The op that `op=` of a tensor writes with.
fn op_in_place(op: BinaryOp) -> Result<&'static OpDef> {
    arithmetic::elementwise(op).ok_or_else(|| {
        Error::new(ErrorKind::InPlace, "a matrix product cannot be written in place").hint("write a = a @ b")
    })
}

/// `target op= value` of a tensor.
pub(crate) fn in_place(op: BinaryOp, target: &Tensor, value: &Value) -> Result<()> {
    if let Value::Staged(t) = value {
        let t = autograph::weak(t, [target.dtype()].into_iter())?;
        return door::mutate(op_in_place(op)?, &[Arg::Tensor(target), Arg::Tensor(&t)], Origin::caller());
    }
    let Some(operand) = value.arg() else { return Err(value.unexpected("a tensor or a number")) };
    door::mutate(op_in_place(op)?, &[Arg::Tensor(target), operand], Origin::caller())
}
