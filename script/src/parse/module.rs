//! The top of a file: imports, constants, functions and classes. It declares, and runs nothing.

use super::{Parsed, Parser};
use crate::diagnostics::{Diagnostic, Kind};
use crate::lex::TokenKind;
use crate::syntax::{CompareOp, Constant, Expr, ExprKind, Import, Name, Span, Stmt, StmtKind};
use std::rc::Rc;

/// Modules besides `torch` and what is in it.
const MODULES: [&str; 4] = ["typing", "math", "dataclasses", "__future__"];

impl Parser<'_> {
    /// The file.
    pub(super) fn module(&mut self) {
        loop {
            let (start, failures, functions) = (self.at, self.failures, self.module.functions.len());
            match self.kind() {
                TokenKind::End => return,
                TokenKind::Newline | TokenKind::Dedent => self.advance(),
                TokenKind::Fixed("import" | "from") => {
                    if self.imports().is_err() {
                        self.recover();
                    }
                }
                TokenKind::Fixed("def" | "class" | "@") => {
                    if self.declaration().is_err() {
                        self.recover();
                    }
                }
                TokenKind::Fixed("async") if self.fixed(1) == Some("def") => self.not_async(),
                TokenKind::Fixed("if" | "for" | "while" | "with" | "try" | "async") => self.compound(),
                TokenKind::Indent => {
                    let mut statements = Vec::new();
                    self.unexpected_indent(&mut statements);
                }
                _ => {
                    let mut statements = Vec::new();
                    self.line(&mut statements);
                    statements.into_iter().for_each(|s| self.top(s));
                }
            }
            // A function says itself what of it could not be read.
            if self.failures > failures && self.module.functions.len() == functions {
                let names = self.names_since(start);
                self.module.broken.extend(names);
            }
        }
    }

    fn declaration(&mut self) -> Parsed<()> {
        let decorators = self.decorators()?;
        self.not_async();
        if self.at("class") {
            let class = self.class(decorators)?;
            self.module.classes.push(class);
        } else {
            let function = self.function(decorators)?;
            self.module.functions.push(function);
        }
        Ok(())
    }

    /// A statement with blocks: all of it is one error, unless it is `if __name__ == "__main__":`. What it holds is
    /// checked as Python only.
    fn compound(&mut self) {
        let start = self.span();
        let word = self.slice(start).to_string();
        let mut statements = Vec::new();
        let mark = self.diagnostics.len();
        self.line(&mut statements);
        self.skipped.push(start.to(self.last));
        if statements.first().is_some_and(is_main) {
            return;
        }
        let failed = self.diagnostics.len() > mark && statements.is_empty() && word != "try";
        if failed {
            return;
        }
        self.skipped.pop();
        let mut inner = self.diagnostics.split_off(mark);
        inner.retain(|d| d.kind != Kind::Unsupported);
        self.diagnostics.append(&mut inner);
        self.unsupported(
            start,
            &format!("`{word}` at the top of a file is left out"),
            "the top of a file declares functions, classes and constants, and runs nothing",
            "put it into a function, or under `if __name__ == \"__main__\":`, which only Python runs",
        );
    }

    fn top(&mut self, statement: Stmt) {
        let span = statement.span;
        let (what, hint) = match statement.kind {
            StmtKind::Pass | StmtKind::Broken(_) => return,
            StmtKind::Assign { targets, value } => {
                let names: Vec<Name> = targets.iter().filter_map(|t| self.as_name(t)).collect();
                if names.len() == targets.len() {
                    for name in names {
                        let value = value.clone();
                        self.module.constants.push(Constant { name, annotation: None, value });
                    }
                    return;
                }
                ("an assignment to something other than a name", "write one `NAME = value` for each")
            }
            StmtKind::Annotated { target, annotation, value: Some(value) } => {
                if let Some(name) = self.as_name(&target) {
                    self.module.constants.push(Constant { name, annotation: Some(annotation), value });
                    return;
                }
                ("an assignment to something other than a name", "write `NAME: T = value`")
            }
            StmtKind::Annotated { .. } => ("a name without a value", "give it a value: `NAME: T = value`"),
            StmtKind::Augmented { .. } => ("changing a constant", "compute it where it is defined"),
            StmtKind::Expr(_) => (
                "an expression",
                "put it into a function, or under `if __name__ == \"__main__\":`, which only Python runs",
            ),
            StmtKind::Return(_) => {
                let diagnostic = Diagnostic::new(Kind::Syntax, span, "`return` outside a function")
                    .hint("indent it under the function that it belongs to");
                return self.report(diagnostic);
            }
            StmtKind::Break
            | StmtKind::Continue
            | StmtKind::Assert { .. }
            | StmtKind::Raise(_)
            | StmtKind::Delete { .. }
            | StmtKind::If { .. }
            | StmtKind::While { .. }
            | StmtKind::For { .. }
            | StmtKind::With { .. } => ("this statement", "put it into a function"),
        };
        self.unsupported(
            span,
            &format!("{what} at the top of a file is left out"),
            "the top of a file declares functions, classes and constants, and runs nothing",
            hint,
        );
    }

    pub(super) fn as_name(&self, expr: &Expr) -> Option<Name> {
        match &expr.kind {
            ExprKind::Name(text) => Some(Name { text: Rc::clone(text), span: expr.span }),
            _ => None,
        }
    }

    /// Imports on one line, which may share it with other simple statements.
    fn imports(&mut self) -> Parsed<()> {
        let mut imports = Vec::new();
        let read = self.import(&mut imports);
        self.module.imports.append(&mut imports);
        read?;
        if self.eat(";") {
            return Ok(());
        }
        if matches!(self.kind(), TokenKind::Newline | TokenKind::End) {
            self.advance();
            return Ok(());
        }
        let diagnostic = self.expected("the end of the statement");
        self.fail(diagnostic)
    }

    /// `import a.b as c, d` or `from a import b as c, d`.
    pub(super) fn import(&mut self, out: &mut Vec<Import>) -> Parsed<()> {
        if self.eat("from") {
            return self.import_from(out);
        }
        self.advance();
        loop {
            let start = self.span();
            let (path, first) = self.dotted()?;
            let span = start.to(self.last);
            let import = if self.eat("as") {
                Import { path: Rc::from(path.as_str()), name: self.name("a name after `as`")? }
            } else {
                Import { path: Rc::clone(&first.text), name: first }
            };
            if self.allowed(&path, span) {
                out.push(import);
            }
            if !self.eat(",") {
                return Ok(());
            }
        }
    }

    fn import_from(&mut self, out: &mut Vec<Import>) -> Parsed<()> {
        let start = self.span();
        if self.at(".") || self.at("...") {
            while self.eat(".") || self.eat("...") {}
            if !self.at("import") {
                self.dotted()?;
            }
            let span = start.to(self.last);
            self.unsupported(
                span,
                "relative imports are left out",
                "a program is one file",
                "put what it needs into this file",
            );
            self.expect("import", "after the module's name")?;
            return self.imported("", false, &mut Vec::new());
        }
        let (path, _) = self.dotted()?;
        let span = start.to(self.last);
        self.expect("import", "after the module's name")?;
        let known = self.allowed(&path, span);
        self.imported(&path, known && path != "__future__", out)
    }

    /// What stands after `from path import`.
    fn imported(&mut self, path: &str, keep: bool, out: &mut Vec<Import>) -> Parsed<()> {
        let open = self.span();
        if self.eat("*") {
            self.unsupported(
                open,
                "`import *` is left out",
                "which names it binds does not show in the program",
                "import the names that are used",
            );
            return Ok(());
        }
        let grouped = self.eat("(");
        loop {
            let name = self.name("a name to import")?;
            let bound = if self.eat("as") { self.name("a name after `as`")? } else { name.clone() };
            if keep {
                out.push(Import { path: Rc::from(format!("{path}.{}", name.text)), name: bound });
            }
            if !self.eat(",") || grouped && self.at(")") {
                break;
            }
        }
        if grouped { self.close(")", open) } else { Ok(()) }
    }

    /// `a.b.c` with its first name.
    fn dotted(&mut self) -> Parsed<(String, Name)> {
        let first = self.name("the name of a module")?;
        let mut path = first.text.to_string();
        while self.eat(".") {
            let part = self.name("the name of a module after `.`")?;
            path.push('.');
            path.push_str(&part.text);
        }
        Ok((path, first))
    }

    fn allowed(&mut self, path: &str, span: Span) -> bool {
        let known = path == "torch" || path.starts_with("torch.") || MODULES.contains(&path);
        if !known {
            self.unsupported(
                span,
                &format!("the module `{path}` cannot be imported"),
                "programs carry no Python packages",
                "there are `torch` and its modules, `typing`, `math` and `dataclasses`",
            );
        }
        known
    }
}

/// `if __name__ == "__main__":`.
fn is_main(statement: &Stmt) -> bool {
    let StmtKind::If { test: Expr { kind: ExprKind::Compare { first, rest }, .. }, .. } = &statement.kind
    else {
        return false;
    };
    let [(CompareOp::Eq, second)] = rest.as_slice() else { return false };
    let name = |e: &Expr| matches!(&e.kind, ExprKind::Name(n) if &**n == "__name__");
    let main = |e: &Expr| matches!(&e.kind, ExprKind::Str(s) if &**s == "__main__");
    name(first) && main(second) || main(first) && name(second)
}
