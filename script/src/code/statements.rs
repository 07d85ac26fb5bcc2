//! Statements, one a line.

use super::Printer;
use super::context::{Context, reproduces};
use crate::check::settled;
use crate::tree::{Constant, Expr, ExprKind, Slot, Stmt, StmtKind, Target};
use crate::types::Type;

impl<'p> Printer<'p> {
    /// An indented block; `fields` of the object are annotated where they are first written.
    pub(super) fn body(&mut self, statements: &'p [Stmt], fields: &[u32], byte: u32) {
        self.indent += 1;
        let start = self.out.len();
        let mut fields = fields.to_vec();
        let mut at = 0;
        while let Some(statement) = statements.get(at) {
            at += match self.chain(&statements[at..]) {
                0 => {
                    self.statement(statement, &mut fields);
                    1
                }
                written => written,
            };
        }
        if self.out.len() == start {
            self.line(byte);
            self.write("pass\n");
        }
        self.indent -= 1;
    }

    /// `a = b = value`, which is several statements with a variable without a name; how many were written.
    fn chain(&mut self, statements: &'p [Stmt]) -> usize {
        let Some((first, rest)) = statements.split_first() else { return 0 };
        let StmtKind::Assign { target: Target::Slot(slot), value } = &first.kind else { return 0 };
        if !self.local(*slot).0.is_empty() {
            return 0;
        }
        let links = rest.iter().take_while(
            |s| matches!(&s.kind, StmtKind::Assign { value, .. } if matches!(value.kind, ExprKind::Load(s) if s == *slot)),
        );
        self.line(first.span.start);
        let mut count = 1;
        for link in links {
            if let StmtKind::Assign { target, .. } = &link.kind {
                self.target(target);
                self.write(" = ");
            }
            count += 1;
        }
        self.free(value);
        self.write("\n");
        count
    }

    fn header(&mut self, word: &str, test: &'p Expr, byte: u32) {
        self.line(byte);
        self.write(word);
        self.expr(test, Context::Test, 0);
        self.write(":\n");
    }

    fn statement(&mut self, statement: &'p Stmt, fields: &mut Vec<u32>) {
        let byte = statement.span.start;
        match &statement.kind {
            // A string alone is a comment of Python's, which the tree has not.
            StmtKind::Expr(Expr { kind: ExprKind::Constant(Constant::Str(_)), .. }) => return,
            StmtKind::If { test, then, otherwise } => {
                return self.branches("if ", test, then, otherwise, byte);
            }
            StmtKind::While { test, body } => {
                self.header("while ", test, byte);
                return self.body(body, &[], byte);
            }
            StmtKind::For { target, iterable, body } => {
                self.line(byte);
                self.write("for ");
                self.target(target);
                self.write(" in ");
                self.free(iterable);
                self.write(":\n");
                return self.body(body, &[], byte);
            }
            StmtKind::Grad { enabled, body } => {
                self.line(byte);
                let torch = self.names.import("torch");
                let mode = if *enabled { "enable_grad" } else { "no_grad" };
                self.write(&format!("with {torch}.{mode}():\n"));
                return self.body(body, &[], byte);
            }
            _ => self.line(byte),
        }
        match &statement.kind {
            StmtKind::Expr(e) => self.free(e),
            StmtKind::Assign { target: Target::Slot(slot), value } => self.assign_slot(*slot, value),
            StmtKind::Assign { target, value } => self.assign(target, value, fields),
            StmtKind::Augmented { target, op, value } => {
                let list = self.target_type(target).filter(|ty| matches!(ty, Type::List(_)));
                self.target(target);
                self.write(&format!(" {}= ", op.symbol()));
                self.expr(value, list.as_ref().map_or(Context::Free, Context::Like), 0);
            }
            StmtKind::Return(None) => self.write("return"),
            StmtKind::Return(Some(value)) => {
                self.write("return ");
                let returns = self.function.map(|f| f.returns.clone()).unwrap_or(Type::Unknown);
                let said = self.names.ty(&returns).is_some();
                self.expr(value, if said { Context::As(&returns) } else { Context::Free }, 0);
            }
            StmtKind::Break => self.write("break"),
            StmtKind::Continue => self.write("continue"),
            StmtKind::Assert { test, message } => {
                self.write("assert ");
                self.expr(test, Context::Test, 0);
                if let Some(message) = message {
                    self.write(", ");
                    self.free(message);
                }
            }
            StmtKind::Raise { exception, message } => {
                self.write(&format!("raise {exception}"));
                if let Some(message) = message {
                    self.write("(");
                    self.free(message);
                    self.write(")");
                }
            }
            StmtKind::Delete { container, key } => {
                self.write("del ");
                self.item(container, key);
            }
            StmtKind::If { .. } | StmtKind::While { .. } | StmtKind::For { .. } | StmtKind::Grad { .. } => {}
        }
        self.write("\n");
    }

    fn branches(&mut self, word: &str, test: &'p Expr, then: &'p [Stmt], otherwise: &'p [Stmt], byte: u32) {
        self.header(word, test, byte);
        self.body(then, &[], byte);
        match otherwise {
            [] => {}
            [Stmt { kind: StmtKind::If { test, then, otherwise }, span }] => {
                self.branches("elif ", test, then, otherwise, span.start);
            }
            _ => {
                self.line(byte);
                self.write("else:\n");
                self.body(otherwise, &[], byte);
            }
        }
    }

    /// A variable gets a value; its type is written where the value does not show it.
    fn assign_slot(&mut self, slot: Slot, value: &'p Expr) {
        let (name, declared) = self.local(slot);
        let before = self.bound.insert(name.clone(), slot);
        let known = before.map(|s| self.local(s).1);
        let context = known.as_ref().map_or(Context::Free, Context::Like);
        let shown = settled(&value.ty);
        // A value that the name's present variable takes goes there; another one makes a new variable.
        let finds = match (before, &known) {
            (Some(old), _) if old == slot => shown.fits(&declared),
            (_, Some(known)) => shown == declared && !shown.fits(known),
            (_, None) => shown == declared,
        };
        self.write(&name);
        if !(finds && reproduces(value, context))
            && let Some(ty) = self.names.ty(&declared)
        {
            self.write(&format!(": {ty} = "));
            return self.expr(value, Context::As(&declared), 0);
        }
        self.write(" = ");
        self.expr(value, context, 0);
    }

    fn assign(&mut self, target: &'p Target, value: &'p Expr, fields: &mut Vec<u32>) {
        self.target(target);
        let held = self.target_type(target);
        if let (Target::Field { object, field }, Some(ty)) = (target, &held)
            && matches!(object.kind, ExprKind::Load(Slot(0)))
            && let Some(place) = fields.iter().position(|f| f == field)
        {
            fields.remove(place);
            if let Some(ty) = self.names.ty(ty) {
                self.write(&format!(": {ty}"));
            }
        }
        self.write(" = ");
        let context = match (target, &held) {
            // A variable's attribute helps to read its value, another expression's does not.
            (Target::Field { object, .. }, Some(ty)) if matches!(object.kind, ExprKind::Load(_)) => {
                Context::As(ty)
            }
            (Target::Field { .. } | Target::Item { .. }, Some(ty)) => Context::Into(ty),
            _ => Context::Free,
        };
        self.expr(value, context, 0);
    }

    /// The type of what a place holds.
    fn target_type(&self, target: &Target) -> Option<Type> {
        match target {
            Target::Slot(slot) => Some(self.local(*slot).1),
            Target::Field { object, field } => match &object.ty {
                Type::Object(id, _) => {
                    let class = self.program.classes.get(id.0 as usize)?;
                    class.fields.get(*field as usize).map(|f| f.ty.clone())
                }
                _ => None,
            },
            Target::Item { container, .. } => match &container.ty {
                Type::List(of) => Some((**of).clone()),
                Type::Dict(of) => Some(of.1.clone()),
                _ => None,
            },
            Target::Elements { .. } | Target::Grad { .. } => Some(Type::Tensor),
            Target::Unpack(_) => None,
        }
    }

    pub(super) fn target(&mut self, target: &'p Target) {
        match target {
            Target::Slot(slot) => {
                let name = self.local(*slot).0;
                self.bound.insert(name.clone(), *slot);
                self.write(&name);
            }
            Target::Field { object, field } => self.field(object, *field),
            Target::Item { container, key } => self.item(container, key),
            Target::Elements { tensor, index } => self.elements(tensor, index),
            Target::Unpack(parts) => {
                self.write("(");
                for (i, part) in parts.iter().enumerate() {
                    if i > 0 {
                        self.write(", ");
                    }
                    self.target(part);
                }
                self.write(if parts.len() == 1 { ",)" } else { ")" });
            }
            Target::Grad { tensor } => {
                self.postfix(tensor);
                self.write(".grad");
            }
        }
    }
}
