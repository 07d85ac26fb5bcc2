//! Statements, and what is known after them.

use super::body::{Body, Loop, settled};
use super::flow::State;
use crate::diagnostics::{Diagnostic, Kind};
use crate::signature::element;
use crate::syntax::{self, ExprKind as E, Span, StmtKind as S};
use crate::tree::{Constant, Expr, ExprKind, Slot, Stmt, StmtKind, Target};
use crate::types::Type;

impl Body<'_, '_> {
    /// Statements in a row. What follows a `return` is checked too, and never run.
    pub(super) fn block(&mut self, statements: &[syntax::Stmt]) -> Vec<Stmt> {
        let mut out = Vec::with_capacity(statements.len());
        for statement in statements {
            self.statement(statement, &mut out);
        }
        out
    }

    fn statement(&mut self, s: &syntax::Stmt, out: &mut Vec<Stmt>) {
        let span = s.span;
        let mut push = |kind| out.push(Stmt { kind, span });
        match &s.kind {
            S::Pass => {}
            S::Expr(e) if self.is_super_init(e) => {}
            S::Expr(e) => {
                let e = self.expr(e);
                push(StmtKind::Expr(e));
            }
            S::Assign { targets, value } => self.assignment(targets, value, span, out),
            S::Annotated { target, annotation, value } => {
                let ty = self.c.annotation(annotation);
                match value {
                    None => {
                        // A declaration alone: the variable has a type and no value yet.
                        if let E::Name(name) = &target.kind {
                            let before = self.state.clone();
                            self.assign(name, target.span, &ty, Some(ty.clone()));
                            let slot = self.local(name);
                            let after = std::mem::replace(&mut self.state, before);
                            if let (Some(slot), false) = (slot, after.reached && self.state.reached) {
                                self.state.refine(slot, ty);
                            }
                        }
                    }
                    Some(value) => {
                        let value = self.expr_as(value, &ty, "this value");
                        let known = if value.ty == Type::Unknown { ty.clone() } else { value.ty.clone() };
                        let known = if matches!(ty, Type::Optional(_)) { known } else { ty.clone() };
                        let target = match &target.kind {
                            E::Name(name) => Target::Slot(self.assign(name, target.span, &known, Some(ty))),
                            _ => self.target(target, &ty, Some(&ty)),
                        };
                        push(StmtKind::Assign { target, value });
                    }
                }
            }
            S::Augmented { target, op, value } => self.augmented(target, *op, value, span, out),
            S::If { test, then, otherwise } => {
                let condition = self.condition(test);
                let always = constant(&condition);
                let before = self.state.clone();
                self.learn(test, true);
                if always == Some(false) {
                    self.state.end();
                }
                let then = self.within(|b| b.block(then));
                let after = std::mem::replace(&mut self.state, before);
                self.learn(test, false);
                if always == Some(true) {
                    self.state.end();
                }
                let otherwise = self.within(|b| b.block(otherwise));
                let other = std::mem::replace(&mut self.state, State::new());
                self.state = self.meet(after, other);
                push(StmtKind::If { test: condition, then, otherwise });
            }
            S::While { test, body } => {
                self.forget(body);
                let condition = self.condition(test);
                let forever = constant(&condition) == Some(true);
                let head = self.state.clone();
                self.learn(test, true);
                let body = self.looped(|b| b.block(body));
                let mut after = head;
                if forever {
                    after.end();
                }
                std::mem::swap(&mut self.state, &mut after);
                if !forever {
                    self.learn(test, false);
                }
                self.leave(body.1);
                push(StmtKind::While { test: condition, body: body.0 });
            }
            S::For { target, iterable, body } => {
                let iterable = self.expr(iterable);
                let of = self.element_of(&iterable);
                self.forget(body);
                let head = self.state.clone();
                let mut place = None;
                let body = self.looped(|b| {
                    place = Some(b.target(target, &of, None));
                    b.block(body)
                });
                self.state = head;
                self.leave(body.1);
                if let Some(target) = place {
                    push(StmtKind::For { target, iterable, body: body.0 });
                }
            }
            S::With { items, body } => {
                let mut body = self.block(body);
                for (context, name) in items.iter().rev() {
                    let enabled = self.grad_context(context);
                    if let Some(name) = name {
                        let d = Diagnostic::new(Kind::Unsupported, name.span, "a name for a context");
                        self.c.report(d.hint("'with torch.no_grad():' gives nothing to name"));
                    }
                    let Some(enabled) = enabled else { continue };
                    body = vec![Stmt { kind: StmtKind::Grad { enabled, body }, span }];
                }
                out.extend(body);
            }
            S::Return(value) => {
                let value = self.returned_value(value.as_ref(), span);
                self.state.end();
                push(StmtKind::Return(value));
            }
            S::Break | S::Continue => {
                let leaves = matches!(s.kind, S::Break);
                let state = self.state.clone();
                match self.loops.last_mut() {
                    None => {
                        let word = if leaves { "break" } else { "continue" };
                        self.c.error(Kind::Syntax, span, format!("'{word}' outside of a loop"));
                    }
                    Some(l) if leaves => l.breaks.push(state),
                    Some(l) => l.continues.push(state),
                }
                self.state.end();
                push(if leaves { StmtKind::Break } else { StmtKind::Continue });
            }
            S::Assert { test, message } => {
                let condition = self.condition(test);
                let message = message.as_ref().map(|m| self.expr(m));
                self.learn(test, true);
                if constant(&condition) == Some(false) {
                    self.state.end();
                }
                push(StmtKind::Assert { test: condition, message });
            }
            S::Broken(names) => self.broken(names, span),
            S::Raise(e) => {
                let kind = self.raise(e);
                self.state.end();
                push(kind);
            }
            S::Delete { targets } => {
                for target in targets {
                    self.delete(target, span, out);
                }
            }
        }
    }

    /// The body of a loop, and what is known where it is left by `break`.
    fn looped(&mut self, check: impl FnOnce(&mut Self) -> Vec<Stmt>) -> (Vec<Stmt>, Loop) {
        self.loops.push(Loop::default());
        let body = self.within(check);
        (body, self.loops.pop().unwrap_or_default())
    }

    /// After a loop: its end and its breaks meet.
    fn leave(&mut self, l: Loop) {
        for state in l.breaks {
            let here = std::mem::replace(&mut self.state, State::new());
            self.state = self.meet(here, state);
        }
    }

    /// What looping over a value gives.
    pub(super) fn element_of(&mut self, iterable: &Expr) -> Type {
        match (element(&iterable.ty), &iterable.ty) {
            (Some(ty), _) => ty,
            (None, ty) => {
                let d = Diagnostic::new(Kind::Type, iterable.span, format!("one cannot loop over {ty}"));
                self.c.report(match ty {
                    Type::Int => d.hint("write 'range(n)'"),
                    Type::Optional(of) => d.hint(format!("test 'is not None' first; then it is {of}")),
                    Type::Tuple(_) => d.hint("its elements differ in type; take them by their index"),
                    _ => d.hint("loops go over lists, tuples, dicts, str, tensors, range, enumerate and zip"),
                });
                Type::Unknown
            }
        }
    }

    fn assignment(
        &mut self,
        targets: &[syntax::Expr],
        value: &syntax::Expr,
        span: Span,
        out: &mut Vec<Stmt>,
    ) {
        let [target] = targets else {
            // `a = b = value`: the value is computed once.
            let value = self.expr(value);
            let ty = settled(&value.ty);
            let (slot, at) = (self.temporary(ty.clone()), value.span);
            out.push(Stmt { kind: StmtKind::Assign { target: Target::Slot(slot), value }, span });
            for target in targets {
                let target = self.target(target, &ty, None);
                let value = Expr { kind: ExprKind::Load(slot), ty: ty.clone(), span: at };
                out.push(Stmt { kind: StmtKind::Assign { target, value }, span });
            }
            return;
        };
        // What the target must hold helps to read `[]` and `None`.
        let wanted = match &target.kind {
            E::Name(name) => self.local(name).map(|slot| self.declared(slot)),
            E::Attribute { .. } => self.attribute_type(target),
            _ => None,
        };
        let value = match wanted {
            Some(ty) => self.expr_like(value, &ty),
            None => self.expr(value),
        };
        let ty = value.ty.clone();
        let target = self.target(target, &ty, None);
        let value = match &target {
            Target::Field { .. } | Target::Item { .. } => match self.held(&target) {
                Some(wanted) => self.coerced(value, &wanted, "this value"),
                None => value,
            },
            _ => value,
        };
        out.push(Stmt { kind: StmtKind::Assign { target, value }, span });
    }

    /// The type that a field or an element of a container has.
    fn held(&self, target: &Target) -> Option<Type> {
        match target {
            Target::Field { object, field } => match &object.ty {
                Type::Object(id, _) => {
                    self.c.classes[id.0 as usize].fields.get(*field as usize).map(|f| f.ty.clone())
                }
                _ => None,
            },
            Target::Item { container, .. } => match &container.ty {
                Type::List(of) => Some((**of).clone()),
                Type::Dict(of) => Some(of.1.clone()),
                _ => None,
            },
            _ => None,
        }
    }

    /// What an assignment of a value of type `ty` writes to.
    pub(super) fn target(&mut self, target: &syntax::Expr, ty: &Type, annotation: Option<&Type>) -> Target {
        let nowhere = |b: &mut Self| Target::Slot(b.temporary(Type::Unknown));
        match &target.kind {
            E::Name(name) => Target::Slot(self.assign(name, target.span, ty, annotation.cloned())),
            E::Tuple(parts) | E::List(parts) => self.unpack(target, parts, ty),
            E::Attribute { value, name } => {
                let object = self.expr(value);
                match &object.ty {
                    Type::Object(id, _) => {
                        let id = *id;
                        match self.field_to_write(id, name, ty, annotation) {
                            Some(field) => Target::Field { object, field },
                            None => nowhere(self),
                        }
                    }
                    Type::Tensor if &*name.text == "grad" => Target::Grad { tensor: object },
                    Type::Unknown => nowhere(self),
                    other => {
                        let what = format!("'{}' of {other} cannot be written", name.text);
                        self.c.error(Kind::Type, name.span, what);
                        nowhere(self)
                    }
                }
            }
            E::Subscript { value, index } => {
                let container = self.expr(value);
                match container.ty.clone() {
                    Type::Tensor => {
                        let index = self.index(index);
                        if !matches!(ty, Type::Tensor | Type::Unknown) && !ty.is_number() {
                            let what =
                                format!("elements of a tensor are set to a tensor or a number, not to {ty}");
                            self.c.error(Kind::Type, target.span, what);
                        }
                        Target::Elements { tensor: container, index }
                    }
                    Type::List(of) => {
                        let key = self.expr_as(index, &Type::Int, "the index of a list");
                        self.must_fit(ty, &of, target.span, "an element");
                        Target::Item { container, key }
                    }
                    Type::Dict(of) => {
                        let key = self.expr_as(index, &of.0, "the key of this dict");
                        self.must_fit(ty, &of.1, target.span, "a value of this dict");
                        Target::Item { container, key }
                    }
                    Type::Unknown => nowhere(self),
                    other => {
                        let d = Diagnostic::new(
                            Kind::Type,
                            target.span,
                            format!("elements of {other} cannot be set"),
                        );
                        self.c.report(match other {
                            Type::Tuple(_) | Type::Named(..) | Type::Str => {
                                d.hint("tuples and strings do not change")
                            }
                            _ => d,
                        });
                        nowhere(self)
                    }
                }
            }
            _ => {
                self.c.error(Kind::Syntax, target.span, "this cannot be assigned to");
                nowhere(self)
            }
        }
    }

    fn must_fit(&mut self, ty: &Type, wanted: &Type, span: Span, what: &str) {
        let converts = matches!((ty, wanted), (Type::Int | Type::Bool | Type::Number, Type::Float));
        if !ty.fits(wanted) && !converts {
            self.c.error(Kind::Type, span, format!("{what} is {wanted}, not {ty}"));
        }
    }

    fn unpack(&mut self, target: &syntax::Expr, parts: &[syntax::Expr], ty: &Type) -> Target {
        let types: Vec<Type> = match ty {
            Type::Tuple(of) | Type::Named(_, of) if of.len() == parts.len() => of.to_vec(),
            Type::Tuple(of) | Type::Named(_, of) => {
                let what = format!("{} values for {} targets", of.len(), parts.len());
                self.c.error(Kind::Type, target.span, what);
                vec![Type::Unknown; parts.len()]
            }
            Type::Object(id, _) if self.c.classes[id.0 as usize].tuple => {
                let fields: Vec<Type> =
                    self.c.classes[id.0 as usize].fields.iter().map(|f| f.ty.clone()).collect();
                if fields.len() != parts.len() {
                    let what = format!("{} fields for {} targets", fields.len(), parts.len());
                    self.c.error(Kind::Type, target.span, what);
                }
                (0..parts.len()).map(|i| fields.get(i).cloned().unwrap_or(Type::Unknown)).collect()
            }
            Type::List(of) => vec![(**of).clone(); parts.len()],
            Type::Tensor => vec![Type::Tensor; parts.len()],
            Type::Unknown | Type::Never => vec![Type::Unknown; parts.len()],
            other => {
                self.c.error(Kind::Type, target.span, format!("{other} does not unpack"));
                vec![Type::Unknown; parts.len()]
            }
        };
        Target::Unpack(parts.iter().zip(&types).map(|(p, ty)| self.target(p, ty, None)).collect())
    }

    fn augmented(
        &mut self,
        target: &syntax::Expr,
        op: syntax::BinaryOp,
        value: &syntax::Expr,
        span: Span,
        out: &mut Vec<Stmt>,
    ) {
        let now = self.expr(target);
        let before = now.ty.clone();
        let value = match &before {
            Type::List(_) => self.expr_like(value, &before),
            _ => self.expr(value),
        };
        let after = match &before {
            Type::Tensor if value.ty == Type::Tensor || value.ty.is_number() => Type::Tensor,
            Type::List(_) if op == syntax::BinaryOp::Add && value.ty.fits(&before) => before.clone(),
            _ => {
                let left =
                    Expr { kind: ExprKind::Constant(Constant::None), ty: before.clone(), span: now.span };
                let right =
                    Expr { kind: ExprKind::Constant(Constant::None), ty: value.ty.clone(), span: value.span };
                self.binary(op, left, right, span).ty
            }
        };
        let place = self.target(target, &after, None);
        let kind = match (&place, &now.kind) {
            // A type that changes makes a new variable of the name, as `n = n + 0.5` does.
            (Target::Slot(new), ExprKind::Load(old)) if new != old => {
                StmtKind::Assign { target: place, value: self.binary(op, now, value, span) }
            }
            _ => StmtKind::Augmented { target: place, op, value },
        };
        out.push(Stmt { kind, span });
    }

    fn delete(&mut self, target: &syntax::Expr, span: Span, out: &mut Vec<Stmt>) {
        if let E::Subscript { value, index } = &target.kind {
            let container = self.expr(value);
            let wanted = match &container.ty {
                Type::List(_) => Some(Type::Int),
                Type::Dict(of) => Some(of.0.clone()),
                _ => None,
            };
            if let Some(wanted) = wanted {
                let key = self.expr_as(index, &wanted, "this key");
                out.push(Stmt { kind: StmtKind::Delete { container, key }, span });
                return;
            }
        }
        let d = Diagnostic::new(
            Kind::Unsupported,
            target.span,
            "only elements of lists and dicts can be deleted",
        );
        self.c.report(d.hint("a variable ends with its function"));
    }

    fn returned_value(&mut self, value: Option<&syntax::Expr>, span: Span) -> Option<Expr> {
        if self.function.is_none() {
            self.c.error(Kind::Syntax, span, "'return' outside of a function");
        }
        if let Some(wanted) = self.wanted.clone() {
            return match value {
                Some(value) => Some(self.expr_as(value, &wanted, "what is returned")),
                None => {
                    if !Type::None.fits(&wanted) {
                        self.c.error(Kind::Type, span, format!("{wanted} must be returned, not nothing"));
                    }
                    None
                }
            };
        }
        let value = value.map(|v| self.expr(v));
        let ty = value.as_ref().map_or(Type::None, |v| settled(&v.ty));
        let joined = match &self.returned {
            None => Some(ty.clone()),
            Some(before) => before.join(&ty),
        };
        if joined.is_none() {
            let before = self.returned.clone().unwrap_or(Type::None);
            let d = Diagnostic::new(Kind::Type, span, format!("{ty} is returned here and {before} before"));
            self.c.report(d.hint("one function returns one type; write it after '->'"));
        }
        self.returned = joined.or(self.returned.take());
        value
    }

    fn raise(&mut self, e: &syntax::Expr) -> StmtKind {
        let (callee, args) = match &e.kind {
            E::Call { callee, args, .. } => (&**callee, &args[..]),
            _ => (e, &[][..]),
        };
        let exception = match &callee.kind {
            E::Name(name) => &**name,
            E::Attribute { name, .. } => &*name.text,
            _ => {
                self.c.error(
                    Kind::Type,
                    e.span,
                    "an exception is raised by its name: 'raise ValueError(\"...\")'",
                );
                "Exception"
            }
        };
        let message = match args {
            [] => None,
            [message, ..] => Some(self.expr(message)),
        };
        StmtKind::Raise { exception: exception.into(), message }
    }

    /// Whether a `with` keeps gradients.
    fn grad_context(&mut self, context: &syntax::Expr) -> Option<bool> {
        if let E::Call { callee, args, .. } = &context.kind {
            let enabled = match (self.c.path(callee).as_deref(), &args[..]) {
                (Some("torch.no_grad" | "torch.inference_mode"), []) => Some(false),
                (Some("torch.enable_grad"), []) => Some(true),
                (Some("torch.set_grad_enabled"), [syntax::Expr { kind: E::Bool(on), .. }]) => Some(*on),
                _ => None,
            };
            if enabled.is_some() {
                return enabled;
            }
        }
        let d = Diagnostic::new(Kind::Unsupported, context.span, "this context manager");
        self.c.report(d.hint("'torch.no_grad()' and 'torch.enable_grad()' are known"));
        None
    }

    /// `super().__init__()`, which does nothing here.
    fn is_super_init(&self, e: &syntax::Expr) -> bool {
        let E::Call { callee, .. } = &e.kind else { return false };
        let E::Attribute { value, name } = &callee.kind else { return false };
        let E::Call { callee, .. } = &value.kind else { return false };
        &*name.text == "__init__" && matches!(&callee.kind, E::Name(n) if &**n == "super")
    }

    /// What a test teaches about variables, if it comes out so.
    pub(super) fn learn(&mut self, test: &syntax::Expr, truth: bool) {
        match &test.kind {
            E::Unary(syntax::UnaryOp::Not, e) => self.learn(e, !truth),
            E::Logical { and, left, right } if *and == truth => {
                self.learn(left, truth);
                self.learn(right, truth);
            }
            E::Compare { first, rest } => {
                let [(op, other)] = &rest[..] else { return };
                let (E::Name(name), E::None) = (&first.kind, &other.kind) else { return };
                let is_none = match op {
                    syntax::CompareOp::Is | syntax::CompareOp::Eq => truth,
                    syntax::CompareOp::IsNot | syntax::CompareOp::Ne => !truth,
                    _ => return,
                };
                let Some(slot) = self.local(name) else { return };
                self.learn_none(slot, is_none);
            }
            E::Call { callee, args, .. } => {
                let (E::Name(f), [syntax::Expr { kind: E::Name(name), .. }, _]) = (&callee.kind, &args[..])
                else {
                    return;
                };
                if &**f == "isinstance"
                    && truth
                    && let Some(slot) = self.local(name)
                {
                    self.learn_none(slot, false);
                }
            }
            _ => {}
        }
    }

    fn learn_none(&mut self, slot: Slot, is_none: bool) {
        match (self.state.get(slot).1, is_none) {
            (Type::Optional(_), true) => self.state.refine(slot, Type::None),
            (Type::Optional(of), false) => self.state.refine(slot, (*of).clone()),
            // The other way is not reached.
            (Type::None, false) => self.state.end(),
            (Type::Unknown, _) | (Type::None, true) => {}
            (_, true) => self.state.end(),
            _ => {}
        }
    }
}

/// The value of a test that is the same always.
pub(super) fn constant(e: &Expr) -> Option<bool> {
    match &e.kind {
        ExprKind::Constant(Constant::Bool(b)) => Some(*b),
        _ => None,
    }
}
