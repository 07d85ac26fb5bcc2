//! Statements of one line.

use super::{Parsed, Parser};
use crate::diagnostics::{Diagnostic, Kind};
use crate::lex::TokenKind;
use crate::syntax::{Expr, ExprKind, Stmt, StmtKind};

impl Parser<'_> {
    /// A statement without a block.
    pub(super) fn simple(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        let start = self.span();
        let kind = match self.fixed(0) {
            Some("pass") => self.word(StmtKind::Pass),
            Some("break") => self.leave_loop(StmtKind::Break),
            Some("continue") => self.leave_loop(StmtKind::Continue),
            Some("return") => {
                self.advance();
                StmtKind::Return(if self.starts_expression() { Some(self.expressions()?) } else { None })
            }
            Some("assert") => {
                self.advance();
                let test = self.expression()?;
                let message = if self.eat(",") { Some(self.expression()?) } else { None };
                StmtKind::Assert { test, message }
            }
            Some("raise") => self.raise()?,
            Some("del") => self.delete()?,
            Some("import" | "from") => {
                self.import(&mut Vec::new())?;
                let span = start.to(self.last);
                self.unsupported(
                    span,
                    "an import within a function or block is left out",
                    "names are known before the program runs",
                    "import at the top of the file",
                );
                StmtKind::Pass
            }
            Some("global" | "nonlocal") => self.global()?,
            Some("if" | "while" | "for" | "with" | "def" | "class" | "try" | "@") => {
                let diagnostic = self.expected("a simple statement").hint("put it on a line of its own");
                return self.fail(diagnostic);
            }
            _ => self.expression_statement()?,
        };
        let span = start.to(self.last);
        out.push(Stmt { kind, span });
        Ok(())
    }

    fn word(&mut self, kind: StmtKind) -> StmtKind {
        self.advance();
        kind
    }

    fn leave_loop(&mut self, kind: StmtKind) -> StmtKind {
        let span = self.span();
        if !self.in_loop {
            let word = self.slice(span);
            let diagnostic = Diagnostic::new(Kind::Syntax, span, format!("`{word}` outside a loop"))
                .label("no loop is around it");
            self.report(diagnostic);
        }
        self.word(kind)
    }

    fn raise(&mut self) -> Parsed<StmtKind> {
        let start = self.span();
        self.advance();
        if !self.starts_expression() {
            self.unsupported(
                start,
                "`raise` without an exception is left out",
                "it raises again what an `except` caught, and nothing is caught here",
                "raise an exception with a message: `raise RuntimeError(\"...\")`",
            );
            return Ok(StmtKind::Pass);
        }
        let exception = self.expression()?;
        let from = self.span();
        if self.eat("from") {
            self.expression()?;
            let span = from.to(self.last);
            self.unsupported(
                span,
                "`raise ... from` is left out",
                "exceptions have no causes here",
                "put the cause into the message",
            );
        }
        Ok(StmtKind::Raise(exception))
    }

    fn delete(&mut self) -> Parsed<StmtKind> {
        self.advance();
        let targets = self.expressions()?;
        let targets = match targets.kind {
            ExprKind::Tuple(items) if !items.is_empty() => items,
            kind => vec![Expr { kind, span: targets.span }],
        };
        for target in &targets {
            if !matches!(target.kind, ExprKind::Name(_) | ExprKind::Subscript { .. }) {
                self.unsupported(
                    target.span,
                    "`del` of this is left out",
                    "only names and elements of lists and dicts can be deleted",
                    "`del xs[i]`, or assign something else to it",
                );
            }
        }
        Ok(StmtKind::Delete { targets })
    }

    fn global(&mut self) -> Parsed<StmtKind> {
        let start = self.span();
        let word = self.slice(start).to_string();
        self.advance();
        self.name("a name")?;
        while self.eat(",") {
            self.name("a name")?;
        }
        let span = start.to(self.last);
        self.unsupported(
            span,
            &format!("`{word}` is left out"),
            "functions assign only to their own variables, so that a call's effects show in its result",
            "pass the value as an argument and return the new one, or keep it in an attribute",
        );
        Ok(StmtKind::Pass)
    }

    fn expression_statement(&mut self) -> Parsed<StmtKind> {
        let start = self.span();
        if self.at_word("print") {
            let argument = matches!(
                self.ahead(1),
                TokenKind::Name
                    | TokenKind::Int(_)
                    | TokenKind::Float(_)
                    | TokenKind::Str(_)
                    | TokenKind::FString(_)
            );
            if argument || self.fixed(1) == Some(">>") {
                let diagnostic = Diagnostic::new(
                    if argument { Kind::Syntax } else { Kind::Unsupported },
                    start,
                    "`print` is a function, not a statement",
                )
                .label("the statement of Python 2")
                .hint("write `print(...)`");
                return self.fail(diagnostic);
            }
        }
        if self.at_word("type")
            && matches!(self.ahead(1), TokenKind::Name)
            && matches!(self.fixed(2), Some("=" | "["))
        {
            let diagnostic = Diagnostic::new(Kind::Unsupported, start, "`type` statements are left out")
                .label("types have no other names here")
                .hint("write the type itself where it is needed");
            return self.fail(diagnostic);
        }
        let first = self.starred_expressions()?;
        self.assignment(first)
    }

    /// As `expressions`, but stars stay in the tree: whether they are targets shows after it.
    fn starred_expressions(&mut self) -> Parsed<Expr> {
        let start = self.span();
        let first = self.element()?;
        let mut height = self.height;
        let mut items = vec![first];
        let mut comma = false;
        while self.eat(",") {
            comma = true;
            if !self.starts_expression() {
                break;
            }
            items.push(self.element()?);
            height = height.max(self.height);
        }
        if !self.at("=") {
            for item in &items {
                if matches!(item.kind, ExprKind::Starred(_)) {
                    self.star_left_out(item.span, "in a tuple");
                }
            }
        }
        if !comma && let Some(only) = items.pop() {
            self.height = height;
            return Ok(only);
        }
        let span = start.to(self.last);
        self.node(ExprKind::Tuple(items), span, height)
    }
}
