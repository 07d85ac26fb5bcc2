//! Statements of a function, in order.

use super::{Lowering, assigned, ir_type};
use crate::exits::Structured;
use crate::interpret::expressions::constant;
use crate::liveness::Slots;
use crate::scripted::action::{Action, Part};
use crate::syntax::{BinaryOp, CompareOp, Span};
use crate::tree::{Arithmetic, Constant, Expr, ExprKind, IndexPart, Slot, Stmt, StmtKind, Target};
use crate::types::Type;
use crate::value::Value;
use graph::ir::{Operand, Type as IrType, ValueId};
use runtime::error::{Error, Result};
use runtime::{Host, Scalar};
use std::sync::Arc;

impl Lowering<'_> {
    pub(super) fn block(&mut self, body: &[Stmt], within: &Structured) -> Result<()> {
        for stmt in body {
            if !self.frame().reached {
                break;
            }
            self.at(stmt.span);
            self.statement(stmt, within)?;
        }
        Ok(())
    }

    fn statement(&mut self, stmt: &Stmt, within: &Structured) -> Result<()> {
        match &stmt.kind {
            StmtKind::Expr(e) => {
                self.expr(e)?;
            }
            StmtKind::Assign { target: Target::Unpack(targets), value } => match &value.kind {
                // The parts need no tuple.
                ExprKind::Tuple(parts) if parts.len() == targets.len() => {
                    let values = parts.iter().map(|p| self.value(p)).collect::<Result<Vec<_>>>()?;
                    for ((target, value), part) in targets.iter().zip(values).zip(parts) {
                        self.assign(target, value, &part.ty)?;
                    }
                }
                _ => {
                    let made = self.value(value)?;
                    self.at(stmt.span);
                    self.unpack(targets, made, &value.ty)?;
                }
            },
            StmtKind::Assign { target, value } => {
                let made = self.value(value)?;
                self.at(stmt.span);
                self.assign(target, made, &value.ty)?;
            }
            StmtKind::Augmented { target, op, value } => {
                self.augmented(target, *op, value)?;
            }
            StmtKind::If { test, then, otherwise } => {
                let condition = self.value(test)?;
                let mut slots = assigned(then);
                slots.extend(
                    assigned(otherwise).into_iter().filter(|s| !slots.contains(s)).collect::<Vec<_>>(),
                );
                let live = self.frame().liveness.after(stmt);
                slots.retain(|slot| live.is_none_or(|live| live.contains(slot)));
                self.at(stmt.span);
                let mut sides = [then, otherwise].map(|body| {
                    move |this: &mut Self| {
                        this.block(body, within)?;
                        Ok(None)
                    }
                });
                let [a, b] = &mut sides;
                self.branch(condition, &slots, None, [a, b])?;
            }
            StmtKind::While { test, body } => {
                let mut slots = assigned(body);
                slots.extend(
                    super::assigned_in(test).into_iter().filter(|s| !slots.contains(s)).collect::<Vec<_>>(),
                );
                let after = self.handed_on(stmt, &mut slots);
                self.repeat(&slots, &after, Vec::new(), &mut |this, _| this.value(test), &mut |this, _| {
                    this.block(body, within)?;
                    Ok(Vec::new())
                })?;
            }
            StmtKind::For { target, iterable, body } => self.each(stmt, target, iterable, body, within)?,
            StmtKind::Grad { enabled, body } => {
                self.effect(Action::GradMode(*enabled), Vec::new());
                self.block(body, within)?;
                if self.frame().reached {
                    self.effect(Action::EndGradMode, Vec::new());
                }
            }
            StmtKind::Return(value) => {
                let result = match value {
                    Some(e) => self.value(e)?,
                    None => self.literal(Host::None),
                };
                let frame = self.frame();
                frame.result = Some(result);
                frame.reached = false;
            }
            StmtKind::Break | StmtKind::Continue => {
                return Err(Error::internal("an early exit is left in a function without early exits"));
            }
            StmtKind::Assert { test, message } => {
                let condition = self.value(test)?;
                self.branch(
                    condition,
                    &[],
                    None,
                    [&mut |_: &mut Self| Ok(None), &mut |this: &mut Self| {
                        this.raise("AssertionError", message.as_ref(), stmt.span)?;
                        Ok(None)
                    }],
                )?;
            }
            StmtKind::Raise { exception, message } => {
                self.raise(exception, message.as_ref(), stmt.span)?;
            }
            StmtKind::Delete { container, key } => {
                let operands = vec![self.expr(container)?, self.expr(key)?];
                self.effect(Action::Delete, operands);
            }
        }
        Ok(())
    }

    fn raise(&mut self, exception: &str, message: Option<&Expr>, span: Span) -> Result<()> {
        let operands = message.map(|m| self.expr(m)).transpose()?.into_iter().collect();
        self.at(span);
        self.effect(Action::Raise(exception.into()), operands);
        self.frame().reached = false;
        Ok(())
    }

    /// Gives a target a value.
    pub(super) fn assign(&mut self, target: &Target, value: ValueId, ty: &Type) -> Result<()> {
        match target {
            Target::Slot(slot) => self.set(*slot, value),
            Target::Field { object, field } => {
                let name = self.field_name(object, *field);
                let object = self.expr(object)?;
                self.effect(Action::SetField(*field, name), vec![object, Operand::Value(value)]);
            }
            Target::Item { container, key } => {
                let operands = vec![self.expr(container)?, self.expr(key)?, Operand::Value(value)];
                self.effect(Action::SetItem, operands);
            }
            Target::Elements { tensor, index } => {
                let (parts, mut operands) = self.indexed(tensor, index)?;
                operands.push(Operand::Value(value));
                self.effect(Action::SetIndex(parts), operands);
            }
            Target::Unpack(targets) => self.unpack(targets, value, ty)?,
            Target::Grad { tensor } => {
                let tensor = self.expr(tensor)?;
                self.effect(Action::SetGrad, vec![tensor, Operand::Value(value)]);
            }
        }
        Ok(())
    }

    fn unpack(&mut self, targets: &[Target], value: ValueId, ty: &Type) -> Result<()> {
        let types: Vec<Type> = match ty {
            Type::Tuple(of) | Type::Named(_, of) if of.len() == targets.len() => of.to_vec(),
            Type::List(of) | Type::Iterator(of) => vec![(**of).clone(); targets.len()],
            Type::Object(class, _) => {
                let class = self.program.classes.get(class.0 as usize);
                class.map_or(Vec::new(), |c| c.fields.iter().map(|f| f.ty.clone()).collect())
            }
            Type::Str => vec![Type::Str; targets.len()],
            _ => vec![Type::Tensor; targets.len()],
        };
        if types.len() != targets.len() {
            return Err(Error::value(format!("{} values for {} targets", types.len(), targets.len())));
        }
        let made: Vec<IrType> = types.iter().map(ir_type).collect();
        let values = self.node(Action::Unpack, vec![Operand::Value(value)], &made);
        for ((target, value), ty) in targets.iter().zip(values).zip(&types) {
            self.assign(target, value, ty)?;
        }
        Ok(())
    }

    fn augmented(&mut self, target: &Target, op: BinaryOp, value: &Expr) -> Result<()> {
        match target {
            Target::Slot(slot) => {
                let operand = self.expr(value)?;
                let current = self.variable(*slot)?;
                let new = self.augment(op, current, operand);
                self.set(*slot, new);
            }
            Target::Field { object, field } => {
                let name = self.field_name(object, *field);
                let ty = self.field_type(object, *field);
                let object = self.expr(object)?;
                let current = self.one(Action::Field(*field, name.clone(), false), vec![object.clone()], ty);
                let operand = self.expr(value)?;
                let new = self.augment(op, current, operand);
                self.effect(Action::SetField(*field, name), vec![object, Operand::Value(new)]);
            }
            Target::Item { container, key } => {
                let ty = match &container.ty {
                    Type::List(of) => ir_type(of),
                    Type::Dict(of) => ir_type(&of.1),
                    _ => IrType::AnyTensor,
                };
                let (container, key) = (self.expr(container)?, self.expr(key)?);
                let current = self.one(Action::Item, vec![container.clone(), key.clone()], ty);
                let operand = self.expr(value)?;
                let new = self.augment(op, current, operand);
                self.effect(Action::SetItem, vec![container, key, Operand::Value(new)]);
            }
            Target::Elements { tensor, index } => {
                let (parts, mut operands) = self.indexed(tensor, index)?;
                operands.push(self.expr(value)?);
                self.effect(Action::AugmentIndex(op, parts), operands);
            }
            Target::Grad { tensor } => {
                let operands = vec![self.expr(tensor)?, self.expr(value)?];
                self.effect(Action::AugmentGrad(op), operands);
            }
            Target::Unpack(_) => return Err(Error::internal("several targets of one augmented assignment")),
        }
        Ok(())
    }

    /// What a variable is after `op=`; numbers are replaced, all else changes where it is.
    fn augment(&mut self, op: BinaryOp, current: ValueId, operand: Operand) -> ValueId {
        let ty = self.ty(current);
        let action = match &ty {
            IrType::Int => Action::Arithmetic(Arithmetic::Int, op),
            IrType::Float => Action::Arithmetic(Arithmetic::Float, op),
            _ => Action::Augment(op),
        };
        self.one(action, vec![Operand::Value(current), operand], ty)
    }

    /// Keeps of the variables that a loop assigns those that a later turn or what follows reads; gives the latter.
    fn handed_on(&mut self, stmt: &Stmt, slots: &mut Vec<Slot>) -> Slots {
        let liveness = &self.frame().liveness;
        if let Some(carried) = liveness.carried(stmt) {
            slots.retain(|slot| carried.contains(slot));
        }
        liveness.after(stmt).cloned().unwrap_or_default()
    }

    /// A `for`: over a range of ints a counter, over anything else what gives the next element.
    fn each(
        &mut self,
        stmt: &Stmt,
        target: &Target,
        iterable: &Expr,
        body: &[Stmt],
        within: &Structured,
    ) -> Result<()> {
        let stop = within.stop(body);
        let (mut slots, mut own) = (assigned(body), Vec::new());
        targets(target, &mut own);
        slots.extend(own.into_iter().filter(|s| !slots.contains(s)).collect::<Vec<_>>());
        let after = self.handed_on(stmt, &mut slots);
        // The loop goes on where neither its elements nor an exit end it.
        let going = |this: &mut Self, more: ValueId| -> Result<ValueId> {
            let Some(flag) = stop else { return Ok(more) };
            let flag = this.variable(flag)?;
            let on = this.one(Action::Not, vec![Operand::Value(flag)], IrType::Bool);
            this.branch(
                on,
                &[],
                Some(&IrType::Bool),
                [&mut |_: &mut Self| Ok(Some(more)), &mut |this: &mut Self| Ok(Some(this.truth(false)))],
            )
            .and_then(|v| v.ok_or_else(|| Error::internal("a test without value")))
        };
        if let Some((start, end, step)) = self.range(iterable)? {
            let compare = if step > 0 { CompareOp::Lt } else { CompareOp::Gt };
            return self.repeat(
                &slots,
                &after,
                vec![start],
                &mut |this, own| {
                    let operands = vec![Operand::Value(own[0]), Operand::Value(end)];
                    let more = this.one(Action::Compare(compare), operands, IrType::Bool);
                    going(this, more)
                },
                &mut |this, own| {
                    this.assign(target, own[0], &Type::Int)?;
                    this.block(body, within)?;
                    let operands =
                        vec![Operand::Value(own[0]), Operand::Host(Host::Scalar(Scalar::Int(step)))];
                    Ok(vec![this.one(
                        Action::Arithmetic(Arithmetic::Int, BinaryOp::Add),
                        operands,
                        IrType::Int,
                    )])
                },
            );
        }
        let element = element(&iterable.ty);
        let types = [IrType::Bool, ir_type(&element)];
        let over = self.expr(iterable)?;
        let places = self.one(Action::Iterate, vec![over], IrType::Object("iterator".into()));
        let next = |this: &mut Self| this.node(Action::Next, vec![Operand::Value(places)], &types);
        let first = next(self);
        self.repeat(&slots, &after, first, &mut |this, own| going(this, own[0]), &mut |this, own| {
            this.assign(target, own[1], &element)?;
            this.block(body, within)?;
            this.at(stmt.span);
            Ok(next(this))
        })
    }

    /// Start, end and step of a range whose step is written out.
    fn range(&mut self, iterable: &Expr) -> Result<Option<(ValueId, ValueId, i64)>> {
        let ExprKind::Builtin(builtin, args) = &iterable.kind else { return Ok(None) };
        if builtin.name != "range" || !args.iter().all(|a| a.ty == Type::Int) {
            return Ok(None);
        }
        Ok(match args.as_slice() {
            [end] => {
                let end = self.value(end)?;
                Some((self.int(0), end, 1))
            }
            [start, end] => Some((self.value(start)?, self.value(end)?, 1)),
            [start, end, step] => match int(step) {
                Some(step) if step != 0 => Some((self.value(start)?, self.value(end)?, step)),
                _ => None,
            },
            _ => None,
        })
    }

    /// A list made of elements of a loop.
    pub(super) fn comprehension(
        &mut self,
        e: &Expr,
        element: &Expr,
        target: &Target,
        iterable: &Expr,
        test: Option<&Expr>,
    ) -> Result<ValueId> {
        let list = self.one(Action::List, Vec::new(), ir_type(&e.ty));
        let append = crate::builtins::find("list.append").next();
        let append = append.ok_or_else(|| Error::internal("lists have no append"))?;
        let item = super::statements::element(&iterable.ty);
        let types = [IrType::Bool, ir_type(&item)];
        let over = self.expr(iterable)?;
        let places = self.one(Action::Iterate, vec![over], IrType::Object("iterator".into()));
        let next = |this: &mut Self| this.node(Action::Next, vec![Operand::Value(places)], &types);
        let add = |this: &mut Self| -> Result<()> {
            let value = this.expr(element)?;
            this.node(Action::Builtin(append), vec![Operand::Value(list), value], &[IrType::None]);
            Ok(())
        };
        let first = next(self);
        self.repeat(&[], &Slots::new(), first, &mut |_, own| Ok(own[0]), &mut |this, own| {
            this.assign(target, own[1], &item)?;
            match test {
                None => add(this)?,
                Some(test) => {
                    let condition = this.value(test)?;
                    this.branch(
                        condition,
                        &[],
                        None,
                        [
                            &mut |this: &mut Self| {
                                add(this)?;
                                Ok(None)
                            },
                            &mut |_: &mut Self| Ok(None),
                        ],
                    )?;
                }
            }
            Ok(next(this))
        })?;
        Ok(list)
    }

    /// The parts of an index and their operands after the tensor.
    pub(super) fn indexed(
        &mut self,
        tensor: &Expr,
        index: &[IndexPart],
    ) -> Result<(Arc<[Part]>, Vec<Operand>)> {
        let mut operands = vec![self.expr(tensor)?];
        let mut parts = Vec::new();
        for part in index {
            parts.push(match part {
                IndexPart::Int(e) | IndexPart::Tensor(e) => {
                    operands.push(self.expr(e)?);
                    Part::At
                }
                IndexPart::List(e) => {
                    operands.push(self.expr(e)?);
                    Part::List
                }
                IndexPart::Slice { start, stop, step } => {
                    for e in [start, stop, step].into_iter().flatten() {
                        operands.push(self.expr(e)?);
                    }
                    Part::Slice(start.is_some(), stop.is_some(), step.is_some())
                }
                IndexPart::New => Part::New,
                IndexPart::Ellipsis => Part::Ellipsis,
            });
        }
        Ok((parts.into(), operands))
    }
}

/// What a loop over a value of this type gives.
pub(super) fn element(ty: &Type) -> Type {
    match ty {
        Type::List(of) | Type::Iterator(of) => (**of).clone(),
        Type::Dict(of) => of.0.clone(),
        Type::Str => Type::Str,
        Type::Tuple(of) | Type::Named(_, of) => of.first().cloned().unwrap_or(Type::None),
        _ => Type::Tensor,
    }
}

fn int(e: &Expr) -> Option<i64> {
    match &e.kind {
        ExprKind::Constant(c @ Constant::Int(_)) => match constant(c) {
            Value::Int(v) => Some(v),
            _ => None,
        },
        ExprKind::Negate(inner) => int(inner).and_then(i64::checked_neg),
        _ => None,
    }
}

fn targets(target: &Target, out: &mut Vec<Slot>) {
    match target {
        Target::Slot(slot) => out.push(*slot),
        Target::Unpack(all) => all.iter().for_each(|t| targets(t, out)),
        Target::Field { .. } | Target::Item { .. } | Target::Elements { .. } | Target::Grad { .. } => {}
    }
}
