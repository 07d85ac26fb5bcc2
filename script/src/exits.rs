//! Functions without `break`, `continue` and early `return`: what leaves a loop or a function early becomes variables that
//! say so, and tests of them around what it skips. What stages control flow then has branches and loops alone to stage.
//!
//! A branch that always leaves takes no variable: what follows it moves to the other side. `while test` with a way out
//! becomes `while not broken and test`; `for` has no test, so its whole body stands behind `if not broken`, which `stop`
//! finds again for those who can end the loop.

use crate::syntax::Span;
use crate::tree::{Constant, Expr, ExprKind, Function, Local, Slot, Stmt, StmtKind, Target};
use crate::types::Type;

/// A function without early exits.
#[derive(Debug)]
pub struct Structured {
    /// The function: no `Break` or `Continue` is left in it, and `Return` at most as its last statement.
    pub function: Function,
    /// The variable that holds what is returned, if there are several places that return. It has a value only where
    /// something returned, unless the function's end is reached without: then it starts as `None`.
    pub value: Option<Slot>,
    /// How many variables the function had before: the later ones are made here.
    pub slots: u32,
}

impl Structured {
    /// The variable that ends a `for` whose body this is.
    pub fn stop(&self, body: &[Stmt]) -> Option<Slot> {
        match body {
            [Stmt { kind: StmtKind::If { test, otherwise, .. }, .. }] if otherwise.is_empty() => {
                match &test.kind {
                    ExprKind::Not(flag) => match flag.kind {
                        ExprKind::Load(slot) if slot.0 >= self.slots => Some(slot),
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether a variable was made here: it is a bool, the value to return, or an element of a loop.
    pub fn is_made(&self, slot: Slot) -> bool {
        slot.0 >= self.slots
    }
}

/// A function without early exits; one that has none stays as it is.
pub fn structured(function: &Function) -> Structured {
    let slots = function.slots.len() as u32;
    let mut function = function.clone();
    if !leaves_early(&function.body) {
        return Structured { function, value: None, slots };
    }
    let span = Span { start: function.span.end, end: function.span.end };
    let mut exits =
        Exits { slots: &mut function.slots, made: slots, value: None, returned: Slot(0), loops: Vec::new() };
    exits.returned = exits.make("@returned", Type::Bool);
    exits.value = (function.returns != Type::None).then(|| exits.make("@value", function.returns.clone()));
    let (value, returned) = (exits.value, exits.returned);
    let ends = !always(&function.body);
    let mut body = vec![flag(returned, false, function.span)];
    if let (Some(value), true) = (value, ends) {
        body.push(assign(value, constant(Constant::None, Type::None, span), span));
    }
    body.extend(exits.block(std::mem::take(&mut function.body)));
    if let Some(value) = value {
        let result = load(value, function.returns.clone(), span);
        body.push(Stmt { kind: StmtKind::Return(Some(result)), span });
    }
    function.body = without_unread(body, slots, value);
    Structured { function, value, slots }
}

/// What one statement may do besides going on.
#[derive(Clone, Copy, Default)]
struct Leaves {
    breaks: bool,
    continues: bool,
    returns: bool,
}

impl Leaves {
    fn any(self) -> bool {
        self.breaks || self.continues || self.returns
    }

    fn or(self, other: Leaves) -> Leaves {
        Leaves {
            breaks: self.breaks || other.breaks,
            continues: self.continues || other.continues,
            returns: self.returns || other.returns,
        }
    }
}

fn leaves_of(body: &[Stmt]) -> Leaves {
    body.iter().fold(Leaves::default(), |all, stmt| all.or(leaves(stmt)))
}

/// How a statement leaves the block that it stands in.
fn leaves(stmt: &Stmt) -> Leaves {
    match &stmt.kind {
        StmtKind::Break => Leaves { breaks: true, ..Leaves::default() },
        StmtKind::Continue => Leaves { continues: true, ..Leaves::default() },
        StmtKind::Return(_) => Leaves { returns: true, ..Leaves::default() },
        StmtKind::If { then, otherwise, .. } => leaves_of(then).or(leaves_of(otherwise)),
        StmtKind::Grad { body, .. } => leaves_of(body),
        StmtKind::While { body, .. } | StmtKind::For { body, .. } => {
            Leaves { returns: leaves_of(body).returns, ..Leaves::default() }
        }
        StmtKind::Expr(_)
        | StmtKind::Assign { .. }
        | StmtKind::Augmented { .. }
        | StmtKind::Assert { .. }
        | StmtKind::Raise { .. }
        | StmtKind::Delete { .. } => Leaves::default(),
    }
}

/// Whether a body has an exit other than a `return` at its end.
fn leaves_early(body: &[Stmt]) -> bool {
    let within = |stmt: &Stmt| match &stmt.kind {
        StmtKind::While { body, .. } | StmtKind::For { body, .. } => {
            has_loop_exit(body) || leaves_early(body)
        }
        _ => false,
    };
    match body.split_last() {
        None => false,
        Some((last, rest)) => {
            let end = !matches!(last.kind, StmtKind::Return(_)) && leaves(last).any();
            end || leaves_of(rest).any() || body.iter().any(|s| any_within(s, &within))
        }
    }
}

fn has_loop_exit(body: &[Stmt]) -> bool {
    leaves_of(body).any()
}

/// Whether a statement or one inside it, outside of loops, is of a kind.
fn any_within(stmt: &Stmt, is: &dyn Fn(&Stmt) -> bool) -> bool {
    is(stmt)
        || match &stmt.kind {
            StmtKind::If { then, otherwise, .. } => then.iter().chain(otherwise).any(|s| any_within(s, is)),
            StmtKind::Grad { body, .. } => body.iter().any(|s| any_within(s, is)),
            _ => false,
        }
}

/// Whether what follows a body is never reached.
fn always(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match &stmt.kind {
        StmtKind::Break | StmtKind::Continue | StmtKind::Return(_) | StmtKind::Raise { .. } => true,
        StmtKind::If { then, otherwise, .. } => always(then) && always(otherwise),
        StmtKind::Grad { body, .. } => always(body),
        StmtKind::While { test, body } => is_true(test) && !leaves_of(body).breaks,
        _ => false,
    })
}

fn is_true(test: &Expr) -> bool {
    matches!(test.kind, ExprKind::Constant(Constant::Bool(true)))
}

/// The flags of an open loop.
#[derive(Clone, Copy)]
struct Loop {
    broken: Slot,
    continued: Slot,
}

struct Exits<'a> {
    slots: &'a mut Vec<Local>,
    /// The number of variables before.
    made: u32,
    value: Option<Slot>,
    returned: Slot,
    loops: Vec<Loop>,
}

impl Exits<'_> {
    fn make(&mut self, name: &str, ty: Type) -> Slot {
        let count = self.slots[self.made as usize..].iter().filter(|l| l.name.starts_with(name)).count();
        let name = if count == 0 { name.to_string() } else { format!("{name}{}", count + 1) };
        self.slots.push(Local { name: name.into(), ty });
        Slot(self.slots.len() as u32 - 1)
    }

    fn block(&mut self, body: Vec<Stmt>) -> Vec<Stmt> {
        let mut out = Vec::new();
        let mut rest = body.into_iter();
        while let Some(stmt) = rest.next() {
            let (span, leaves) = (stmt.span, leaves(&stmt));
            match stmt.kind {
                StmtKind::Break | StmtKind::Continue | StmtKind::Return(_) => {
                    self.leave(stmt, &mut out);
                    return out;
                }
                StmtKind::If { test, then, otherwise } => {
                    if leaves.any() && always(&then) {
                        let (then, otherwise) = (self.block(then), self.block(joined(otherwise, rest)));
                        out.push(Stmt { kind: StmtKind::If { test, then, otherwise }, span });
                        return out;
                    }
                    if leaves.any() && always(&otherwise) {
                        let (then, otherwise) = (self.block(joined(then, rest)), self.block(otherwise));
                        out.push(Stmt { kind: StmtKind::If { test, then, otherwise }, span });
                        return out;
                    }
                    let (then, otherwise) = (self.block(then), self.block(otherwise));
                    out.push(Stmt { kind: StmtKind::If { test, then, otherwise }, span });
                }
                StmtKind::Grad { enabled, body } => {
                    let body = self.block(body);
                    out.push(Stmt { kind: StmtKind::Grad { enabled, body }, span });
                }
                StmtKind::While { test, body } => {
                    let (open, body, breaks) = self.turn(body, span);
                    let test = match breaks {
                        true => {
                            out.push(flag(open.broken, false, span));
                            both(not(open.broken, test.span), test)
                        }
                        false => test,
                    };
                    out.push(Stmt { kind: StmtKind::While { test, body }, span });
                }
                StmtKind::For { target, iterable, body } => {
                    let (open, mut body, breaks) = self.turn(body, span);
                    if !breaks {
                        out.push(Stmt { kind: StmtKind::For { target, iterable, body }, span });
                    } else {
                        // The loop's variables keep the values of the turn that left.
                        let ty = self.type_of(&target);
                        let item = self.make("@item", ty.clone());
                        body.insert(
                            0,
                            Stmt { kind: StmtKind::Assign { target, value: load(item, ty, span) }, span },
                        );
                        let inside =
                            StmtKind::If { test: not(open.broken, span), then: body, otherwise: Vec::new() };
                        out.push(flag(open.broken, false, span));
                        let (target, body) = (Target::Slot(item), vec![Stmt { kind: inside, span }]);
                        out.push(Stmt { kind: StmtKind::For { target, iterable, body }, span });
                    }
                }
                kind @ (StmtKind::Expr(_)
                | StmtKind::Assign { .. }
                | StmtKind::Augmented { .. }
                | StmtKind::Assert { .. }
                | StmtKind::Raise { .. }
                | StmtKind::Delete { .. }) => out.push(Stmt { kind, span }),
            }
            if leaves.any() {
                let then = self.block(rest.collect());
                if let (Some(test), false) = (self.gone_on(leaves, span), then.is_empty()) {
                    out.push(Stmt { kind: StmtKind::If { test, then, otherwise: Vec::new() }, span });
                }
                return out;
            }
        }
        out
    }

    /// The body of a loop, and whether anything ends the loop from within.
    fn turn(&mut self, body: Vec<Stmt>, span: Span) -> (Loop, Vec<Stmt>, bool) {
        let leaves = leaves_of(&body);
        let open =
            Loop { broken: self.make("@broken", Type::Bool), continued: self.make("@continued", Type::Bool) };
        self.loops.push(open);
        let mut out = vec![flag(open.continued, false, span)];
        out.extend(self.block(body));
        self.loops.pop();
        (open, out, leaves.breaks || leaves.returns)
    }

    /// Notes an exit.
    fn leave(&mut self, stmt: Stmt, out: &mut Vec<Stmt>) {
        let span = stmt.span;
        match (stmt.kind, self.loops.last()) {
            (StmtKind::Break, Some(open)) => out.push(flag(open.broken, true, span)),
            (StmtKind::Continue, Some(open)) => out.push(flag(open.continued, true, span)),
            (StmtKind::Return(value), _) => {
                if let Some(slot) = self.value {
                    let value = value.unwrap_or_else(|| constant(Constant::None, Type::None, span));
                    out.push(assign(slot, value, span));
                } else if let Some(value) = value {
                    out.push(Stmt { kind: StmtKind::Expr(value), span });
                }
                out.push(flag(self.returned, true, span));
                out.extend(self.loops.iter().map(|open| flag(open.broken, true, span)));
            }
            // The checker allows the others in loops only.
            (kind, _) => out.push(Stmt { kind, span }),
        }
    }

    /// The test that nothing has left, after a statement that may have.
    fn gone_on(&self, leaves: Leaves, span: Span) -> Option<Expr> {
        match self.loops.last() {
            None => Some(not(self.returned, span)),
            Some(open) => {
                let broken = (leaves.breaks || leaves.returns).then(|| not(open.broken, span));
                let continued = leaves.continues.then(|| not(open.continued, span));
                match (broken, continued) {
                    (Some(a), Some(b)) => Some(both(a, b)),
                    (a, b) => a.or(b),
                }
            }
        }
    }

    fn type_of(&self, target: &Target) -> Type {
        match target {
            Target::Slot(slot) => self.slots[slot.0 as usize].ty.clone(),
            Target::Unpack(targets) => {
                Type::tuple(targets.iter().map(|t| self.type_of(t)).collect::<Vec<_>>())
            }
            Target::Elements { .. } | Target::Grad { .. } => Type::Tensor,
            Target::Field { .. } | Target::Item { .. } => Type::Unknown,
        }
    }
}

fn joined(mut body: Vec<Stmt>, rest: impl Iterator<Item = Stmt>) -> Vec<Stmt> {
    // What follows a body that always leaves is not reached.
    if !always(&body) {
        body.extend(rest);
    }
    body
}

fn constant(value: Constant, ty: Type, span: Span) -> Expr {
    Expr { kind: ExprKind::Constant(value), ty, span }
}

fn load(slot: Slot, ty: Type, span: Span) -> Expr {
    Expr { kind: ExprKind::Load(slot), ty, span }
}

fn not(slot: Slot, span: Span) -> Expr {
    Expr { kind: ExprKind::Not(Box::new(load(slot, Type::Bool, span))), ty: Type::Bool, span }
}

/// `left and right`.
fn both(left: Expr, right: Expr) -> Expr {
    if is_true(&right) {
        return left;
    }
    let span = right.span;
    let kind = ExprKind::Logical { and: true, left: Box::new(left), right: Box::new(right) };
    Expr { kind, ty: Type::Bool, span }
}

fn assign(slot: Slot, value: Expr, span: Span) -> Stmt {
    Stmt { kind: StmtKind::Assign { target: Target::Slot(slot), value }, span }
}

fn flag(slot: Slot, on: bool, span: Span) -> Stmt {
    assign(slot, constant(Constant::Bool(on), Type::Bool, span), span)
}

/// Flags that nobody reads are not written.
fn without_unread(body: Vec<Stmt>, made: u32, value: Option<Slot>) -> Vec<Stmt> {
    let mut read: Vec<Slot> = value.into_iter().collect();
    reads(&body, made, &mut read);
    drop_unread(body, made, &read)
}

fn test_reads(test: &Expr, made: u32, read: &mut Vec<Slot>) {
    match &test.kind {
        ExprKind::Load(slot) if slot.0 >= made => read.push(*slot),
        ExprKind::Not(e) => test_reads(e, made, read),
        ExprKind::Logical { left, right, .. } => {
            test_reads(left, made, read);
            test_reads(right, made, read);
        }
        _ => {}
    }
}

/// The flags that tests of a body read.
fn reads(body: &[Stmt], made: u32, read: &mut Vec<Slot>) {
    for stmt in body {
        match &stmt.kind {
            StmtKind::If { test, then, otherwise } => {
                test_reads(test, made, read);
                reads(then, made, read);
                reads(otherwise, made, read);
            }
            StmtKind::While { test, body } => {
                test_reads(test, made, read);
                reads(body, made, read);
            }
            StmtKind::For { body, .. } | StmtKind::Grad { body, .. } => reads(body, made, read),
            _ => {}
        }
    }
}

fn drop_unread(body: Vec<Stmt>, made: u32, read: &[Slot]) -> Vec<Stmt> {
    let mut out = Vec::new();
    for Stmt { kind, span } in body {
        let within = |body| drop_unread(body, made, read);
        let kind = match kind {
            StmtKind::Assign { target: Target::Slot(slot), value }
                if slot.0 >= made
                    && matches!(value.kind, ExprKind::Constant(Constant::Bool(_)))
                    && value.ty == Type::Bool
                    && !read.contains(&slot) =>
            {
                continue;
            }
            StmtKind::If { test, then, otherwise } => {
                StmtKind::If { test, then: within(then), otherwise: within(otherwise) }
            }
            StmtKind::While { test, body } => StmtKind::While { test, body: within(body) },
            StmtKind::For { target, iterable, body } => {
                StmtKind::For { target, iterable, body: within(body) }
            }
            StmtKind::Grad { enabled, body } => StmtKind::Grad { enabled, body: within(body) },
            other => other,
        };
        out.push(Stmt { kind, span });
    }
    out
}
