//! Expressions: one function from an expression to its value.

use super::{Lowering, assigned_in, ir_type, pieces};
use crate::calls::Resolved;
use crate::scripted::action::{Action, Call};
use crate::tree::{Constant, Expr, ExprKind, IndexPart, Returns, Slot};
use crate::types::Type;
use graph::ir::{Operand, Type as IrType, ValueId};
use runtime::error::{Error, Result};
use runtime::{Host, Scalar};
use std::sync::Arc;

impl Lowering<'_> {
    /// An expression as a node's operand: a constant needs no value.
    pub(super) fn expr(&mut self, e: &Expr) -> Result<Operand> {
        Ok(match &e.kind {
            ExprKind::Constant(c) => Operand::Host(host(c)),
            _ => Operand::Value(self.value(e)?),
        })
    }

    fn all<'e>(&mut self, list: impl IntoIterator<Item = &'e Expr>) -> Result<Vec<Operand>> {
        list.into_iter().map(|e| self.expr(e)).collect()
    }

    /// A variable's value.
    pub(super) fn variable(&mut self, slot: Slot) -> Result<ValueId> {
        let found = self.frame().variables[slot.0 as usize];
        found.ok_or_else(|| Error::internal(format!("variable {} is read without a value", slot.0)))
    }

    /// The value of an expression.
    pub(super) fn value(&mut self, e: &Expr) -> Result<ValueId> {
        let ty = ir_type(&e.ty);
        let value = match &e.kind {
            ExprKind::Constant(c) => return Ok(self.literal(host(c))),
            ExprKind::Load(slot) => return self.variable(*slot),
            ExprKind::Global(at) => {
                let name = self.program.globals.get(*at as usize).map_or("".into(), |g| g.name.clone());
                (Action::Global(*at, name), Vec::new())
            }
            ExprKind::Field { object, field } => {
                let (name, fixed) = (self.field_name(object, *field), self.is_fixed(&object.ty));
                (Action::Field(*field, name, fixed), vec![self.expr(object)?])
            }
            ExprKind::Convert(conversion, inner) => (Action::Convert(*conversion), vec![self.expr(inner)?]),
            ExprKind::List(parts) => (Action::List, self.all(parts)?),
            ExprKind::Tuple(parts) => (Action::Tuple, self.all(parts)?),
            ExprKind::Dict(entries) => (Action::Dict, self.all(entries.iter().flat_map(|(k, v)| [k, v]))?),
            ExprKind::ListComp { element, target, iterable, test } => {
                return self.comprehension(e, element, target, iterable, test.as_deref());
            }
            ExprKind::Arithmetic(kind, op, a, b) => {
                (Action::Arithmetic(*kind, *op), vec![self.expr(a)?, self.expr(b)?])
            }
            ExprKind::Negate(inner) => (Action::Negate, vec![self.expr(inner)?]),
            ExprKind::Compare(op, a, b) => (Action::Compare(*op), vec![self.expr(a)?, self.expr(b)?]),
            ExprKind::Not(inner) => (Action::Not, vec![self.expr(inner)?]),
            ExprKind::Logical { and, left, right } => {
                let condition = self.value(left)?;
                let mut evaluate = |this: &mut Self| this.value(right).map(Some);
                let kept = assigned_in(right);
                // What the right side keeps is read only where it was evaluated.
                let mut decided = |this: &mut Self| {
                    for slot in &kept {
                        if this.frame().variables[slot.0 as usize].is_none() {
                            let none = this.literal(Host::None);
                            this.set(*slot, none);
                        }
                    }
                    Ok(Some(this.truth(!*and)))
                };
                return self.chosen(condition, right, &ty, *and, &mut evaluate, &mut decided);
            }
            ExprKind::Conditional { test, then, otherwise } => {
                let condition = self.value(test)?;
                let mut slots = assigned_in(then);
                slots.extend(assigned_in(otherwise));
                let sides: [&mut dyn FnMut(&mut Self) -> Result<Option<ValueId>>; 2] =
                    [&mut |this: &mut Self| this.value(then).map(Some), &mut |this: &mut Self| {
                        this.value(otherwise).map(Some)
                    }];
                return found(self.branch(condition, &slots, Some(&ty), sides)?);
            }
            ExprKind::Keep { slot, value } => {
                let value = self.value(value)?;
                self.set(*slot, value);
                return Ok(value);
            }
            ExprKind::Torch { call, args, returns } => {
                let mut given = 0u64;
                let mut operands = Vec::new();
                for (i, arg) in args.iter().enumerate() {
                    if let Some(arg) = arg {
                        given |= 1 << i;
                        operands.push(self.expr(arg)?);
                    }
                }
                self.at(e.span);
                let ty = if *returns == Returns::Nothing { IrType::AnyTensor } else { ty };
                let action = Action::Torch { call: call.clone(), given, returns: returns.clone() };
                return Ok(match action.is_still(&|name| known(call, args, name)) {
                    true => self.made(Call::still(action, self.ordered), operands, &[ty])[0],
                    false => self.one(action, operands, ty),
                });
            }
            ExprKind::Index { tensor, index } => {
                let (parts, operands) = self.indexed(tensor, index)?;
                (Action::Index(parts), operands)
            }
            ExprKind::Item { container, key } => (Action::Item, vec![self.expr(container)?, self.expr(key)?]),
            ExprKind::Slice { container, part } => {
                let IndexPart::Slice { start, stop, step } = &**part else {
                    return Err(Error::internal("a slice of host values has bounds"));
                };
                let mut operands = vec![self.expr(container)?];
                for bound in [start, stop, step] {
                    operands.push(match bound {
                        Some(e) => self.expr(e)?,
                        None => Operand::Host(Host::None),
                    });
                }
                (Action::Slice, operands)
            }
            ExprKind::Builtin(builtin, _) if builtin.name == "torch.jit.is_scripting" => {
                return Ok(self.literal(Host::Scalar(Scalar::Bool(true))));
            }
            ExprKind::Builtin(builtin, args) => (Action::Builtin(builtin), self.all(args)?),
            ExprKind::Call(function, args) => {
                let args = args.iter().map(|a| self.value(a)).collect::<Result<Vec<_>>>()?;
                let depth = self.frames.len();
                let result = self.call(*function, args);
                self.frames.truncate(depth);
                return result;
            }
            ExprKind::New(class, args) => return self.object(e, class.0, args),
            ExprKind::FString(list) => {
                let (pieces, values) = pieces(list);
                (Action::Text(pieces), self.all(values)?)
            }
        };
        self.at(e.span);
        Ok(self.one(value.0, value.1, ty))
    }

    /// `right` where the truth of `condition` is `and`, else what is decided already.
    fn chosen(
        &mut self,
        condition: ValueId,
        right: &Expr,
        ty: &IrType,
        and: bool,
        evaluate: &mut dyn FnMut(&mut Self) -> Result<Option<ValueId>>,
        decided: &mut dyn FnMut(&mut Self) -> Result<Option<ValueId>>,
    ) -> Result<ValueId> {
        let slots = assigned_in(right);
        found(match and {
            true => self.branch(condition, &slots, Some(ty), [evaluate, decided])?,
            false => self.branch(condition, &slots, Some(ty), [decided, evaluate])?,
        })
    }

    fn object(&mut self, e: &Expr, class: u32, args: &[Expr]) -> Result<ValueId> {
        let program = self.program;
        let found = program.classes.get(class as usize);
        let found = found.ok_or_else(|| Error::internal("the program has no such class"))?;
        let ty = ir_type(&e.ty);
        let id = crate::tree::ClassId(class);
        let values = args.iter().map(|a| self.value(a)).collect::<Result<Vec<_>>>()?;
        self.at(e.span);
        if let Some(init) = found.init {
            let made = self.one(Action::Object(id, found.name.clone(), false), Vec::new(), ty);
            self.call(init, [made].into_iter().chain(values).collect())?;
            return Ok(made);
        }
        let mut operands: Vec<Operand> = values.into_iter().map(Operand::Value).collect();
        for default in found.defaults.iter().skip(operands.len()) {
            let default = default
                .as_ref()
                .ok_or_else(|| Error::value(format!("{}() is missing an argument", found.name)))?;
            operands.push(self.expr(default)?);
        }
        Ok(self.one(Action::Object(id, found.name.clone(), found.tuple), operands, ty))
    }

    /// The name of an attribute.
    pub(super) fn field_name(&self, object: &Expr, field: u32) -> Arc<str> {
        let class = match &object.ty {
            Type::Object(class, _) => self.program.classes.get(class.0 as usize),
            _ => None,
        };
        let found = class.and_then(|c| c.fields.get(field as usize)).map(|f| f.name.clone());
        found.unwrap_or_else(|| field.to_string().into())
    }

    /// The type of an attribute.
    pub(super) fn field_type(&self, object: &Expr, field: u32) -> IrType {
        let class = match &object.ty {
            Type::Object(class, _) => self.program.classes.get(class.0 as usize),
            _ => None,
        };
        class.and_then(|c| c.fields.get(field as usize)).map_or(IrType::None, |f| ir_type(&f.ty))
    }

    /// Whether attributes of objects of this type never change.
    fn is_fixed(&self, ty: &Type) -> bool {
        match ty {
            Type::Object(class, _) => self.program.classes.get(class.0 as usize).is_some_and(|c| c.tuple),
            _ => false,
        }
    }
}

fn found(value: Option<ValueId>) -> Result<ValueId> {
    value.ok_or_else(|| Error::internal("a branch that was to give a value gave none"))
}

/// The number that a constant of the source is.
fn number(constant: &Constant) -> Option<Scalar> {
    match host(constant) {
        Host::Scalar(number) => Some(number),
        _ => None,
    }
}

/// What is known of an argument of a call: `None` where it is left out, else its number, if it is written there.
pub(super) fn known(call: &Resolved, args: &[Option<Expr>], name: &str) -> Option<Option<Scalar>> {
    let at = call.parameters.iter().position(|p| p.name == name)?;
    Some(match &args.get(at)?.as_ref()?.kind {
        ExprKind::Constant(c) => number(c),
        _ => None,
    })
}

/// A constant of the source as a constant of the graph.
fn host(constant: &Constant) -> Host {
    match constant {
        Constant::None => Host::None,
        Constant::Int(v) => Host::Scalar(Scalar::Int(*v)),
        Constant::Float(v) => Host::Scalar(Scalar::Float(*v)),
        Constant::Bool(v) => Host::Scalar(Scalar::Bool(*v)),
        Constant::Str(v) => Host::Str(v.clone()),
        Constant::DType(v) => Host::DType(*v),
    }
}
