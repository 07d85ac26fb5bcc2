//! Which variables are read after a statement, in functions without early exits: only those need become results of a
//! branch or be carried by a loop. A temporary of a loop's body may have another shape in every turn.

use crate::tree::{Expr, ExprKind, IndexPart, Piece, Slot, Stmt, StmtKind, Target};
use std::collections::{BTreeSet, HashMap};

/// Variables.
pub(crate) type Slots = BTreeSet<Slot>;

/// What is read after each branch and loop of a body.
#[derive(Default)]
pub(crate) struct Liveness {
    after: HashMap<*const Stmt, Slots>,
    /// Of loops: what a turn reads of what was before it.
    head: HashMap<*const Stmt, Slots>,
}

impl Liveness {
    /// Of a body, after which `out` is read.
    pub(crate) fn of(body: &[Stmt], out: Slots) -> Liveness {
        let mut liveness = Liveness::default();
        liveness.block(body, out);
        liveness
    }

    /// What is read after a statement.
    pub(crate) fn after(&self, stmt: &Stmt) -> Option<&Slots> {
        self.after.get(&std::ptr::from_ref(stmt))
    }

    /// What the turns of a loop read of what was before them, and what is read after it.
    pub(crate) fn carried(&self, stmt: &Stmt) -> Option<Slots> {
        let key = std::ptr::from_ref(stmt);
        Some(self.head.get(&key)?.union(self.after.get(&key)?).copied().collect())
    }

    fn block(&mut self, body: &[Stmt], mut live: Slots) -> Slots {
        for stmt in body.iter().rev() {
            live = self.statement(stmt, live);
        }
        live
    }

    /// What is read before a statement, if `out` is read after it.
    fn statement(&mut self, stmt: &Stmt, out: Slots) -> Slots {
        let key = std::ptr::from_ref(stmt);
        match &stmt.kind {
            StmtKind::Expr(e) => with(out, e),
            StmtKind::Assign { target, value } => {
                let mut live = out;
                defined(target, &mut |slot| {
                    live.remove(&slot);
                });
                with(target_reads(target, live), value)
            }
            StmtKind::Augmented { target, value, .. } => {
                let mut live = with(target_reads(target, out), value);
                if let Target::Slot(slot) = target {
                    live.insert(*slot);
                }
                live
            }
            StmtKind::If { test, then, otherwise } => {
                self.after.insert(key, out.clone());
                let mut live = self.block(then, out.clone());
                live.extend(self.block(otherwise, out));
                with(live, test)
            }
            StmtKind::While { test, body } => {
                self.after.insert(key, out.clone());
                let mut head = with(out, test);
                loop {
                    let again = with(self.block(body, head.clone()), test);
                    if again.is_subset(&head) {
                        break;
                    }
                    head.extend(again);
                }
                self.head.insert(key, head.clone());
                head
            }
            StmtKind::For { target, iterable, body } => {
                self.after.insert(key, out.clone());
                let mut head = out;
                loop {
                    let mut again = self.block(body, head.clone());
                    defined(target, &mut |slot| {
                        again.remove(&slot);
                    });
                    let again = target_reads(target, again);
                    if again.is_subset(&head) {
                        break;
                    }
                    head.extend(again);
                }
                self.head.insert(key, head.clone());
                with(head, iterable)
            }
            StmtKind::Grad { body, .. } => self.block(body, out),
            StmtKind::Return(None) | StmtKind::Break | StmtKind::Continue => out,
            StmtKind::Return(Some(value)) => with(Slots::new(), value),
            StmtKind::Assert { test, message } => {
                let live = with(out, test);
                message.iter().fold(live, with)
            }
            StmtKind::Raise { message, .. } => message.iter().fold(out, with),
            StmtKind::Delete { container, key } => with(with(out, container), key),
        }
    }
}

/// Calls `f` with every variable that a target gives a value.
fn defined(target: &Target, f: &mut dyn FnMut(Slot)) {
    match target {
        Target::Slot(slot) => f(*slot),
        Target::Unpack(targets) => targets.iter().for_each(|t| defined(t, f)),
        Target::Field { .. } | Target::Item { .. } | Target::Elements { .. } | Target::Grad { .. } => {}
    }
}

/// Calls `f` with every variable that a body may give another value, and the place of the statement that does.
pub(crate) fn assigned(body: &[Stmt], f: &mut dyn FnMut(Slot, &Stmt)) {
    for stmt in body {
        match &stmt.kind {
            StmtKind::Assign { target, .. } | StmtKind::Augmented { target, .. } => {
                defined(target, &mut |slot| f(slot, stmt));
            }
            StmtKind::If { then, otherwise, .. } => {
                assigned(then, f);
                assigned(otherwise, f);
            }
            StmtKind::While { body, .. } | StmtKind::Grad { body, .. } => assigned(body, f),
            StmtKind::For { target, body, .. } => {
                defined(target, &mut |slot| f(slot, stmt));
                assigned(body, f);
            }
            StmtKind::Expr(_)
            | StmtKind::Return(_)
            | StmtKind::Break
            | StmtKind::Continue
            | StmtKind::Assert { .. }
            | StmtKind::Raise { .. }
            | StmtKind::Delete { .. } => {}
        }
    }
}

fn with(mut live: Slots, e: &Expr) -> Slots {
    reads(e, &mut live);
    live
}

fn target_reads(target: &Target, mut live: Slots) -> Slots {
    match target {
        Target::Slot(_) => {}
        Target::Field { object, .. } => reads(object, &mut live),
        Target::Item { container, key } => {
            reads(container, &mut live);
            reads(key, &mut live);
        }
        Target::Elements { tensor, index } => {
            reads(tensor, &mut live);
            parts(index, &mut live);
        }
        Target::Unpack(targets) => {
            for target in targets {
                live = target_reads(target, live);
            }
        }
        Target::Grad { tensor } => reads(tensor, &mut live),
    }
    live
}

fn parts(index: &[IndexPart], live: &mut Slots) {
    for part in index {
        match part {
            IndexPart::Int(e) | IndexPart::Tensor(e) | IndexPart::List(e) => reads(e, live),
            IndexPart::Slice { start, stop, step } => {
                [start, stop, step].into_iter().flatten().for_each(|e| reads(e, live));
            }
            IndexPart::New | IndexPart::Ellipsis => {}
        }
    }
}

/// The variables that an expression reads of those before it. A kept operand is read by the same comparison alone.
fn reads(e: &Expr, live: &mut Slots) {
    match &e.kind {
        ExprKind::Load(slot) => {
            live.insert(*slot);
        }
        ExprKind::Constant(_) | ExprKind::Global(_) => {}
        ExprKind::Field { object: e, .. }
        | ExprKind::Convert(_, e)
        | ExprKind::Negate(e)
        | ExprKind::Not(e)
        | ExprKind::Keep { value: e, .. } => reads(e, live),
        ExprKind::List(all)
        | ExprKind::Tuple(all)
        | ExprKind::Builtin(_, all)
        | ExprKind::Call(_, all)
        | ExprKind::New(_, all) => all.iter().for_each(|e| reads(e, live)),
        ExprKind::Dict(entries) => entries.iter().for_each(|(k, v)| {
            reads(k, live);
            reads(v, live);
        }),
        ExprKind::ListComp { element, target, iterable, test } => {
            let mut inside = Slots::new();
            reads(element, &mut inside);
            test.iter().for_each(|e| reads(e, &mut inside));
            defined(target, &mut |slot| {
                inside.remove(&slot);
            });
            live.extend(inside);
            reads(iterable, live);
        }
        ExprKind::Arithmetic(_, _, a, b) | ExprKind::Compare(_, a, b) => {
            reads(a, live);
            reads(b, live);
        }
        ExprKind::Logical { left, right, .. } => {
            let mut inside = Slots::new();
            reads(right, &mut inside);
            kept(left, &mut |slot| {
                inside.remove(&slot);
            });
            live.extend(inside);
            reads(left, live);
        }
        ExprKind::Conditional { test, then, otherwise } => {
            [test, then, otherwise].into_iter().for_each(|e| reads(e, live));
        }
        ExprKind::Torch { args, .. } => args.iter().flatten().for_each(|e| reads(e, live)),
        ExprKind::Index { tensor, index } => {
            reads(tensor, live);
            parts(index, live);
        }
        ExprKind::Item { container, key } => {
            reads(container, live);
            reads(key, live);
        }
        ExprKind::Slice { container, part } => {
            reads(container, live);
            parts(std::slice::from_ref(part), live);
        }
        ExprKind::FString(pieces) => {
            for piece in pieces {
                if let Piece::Value(e, ..) = piece {
                    reads(e, live);
                }
            }
        }
    }
}

/// The operands that comparisons of a chain keep.
fn kept(e: &Expr, f: &mut dyn FnMut(Slot)) {
    match &e.kind {
        ExprKind::Keep { slot, .. } => f(*slot),
        ExprKind::Compare(_, a, b) => {
            kept(a, f);
            kept(b, f);
        }
        ExprKind::Logical { left, right, .. } => {
            kept(left, f);
            kept(right, f);
        }
        ExprKind::Convert(_, e) | ExprKind::Not(e) => kept(e, f),
        _ => {}
    }
}
