//! Statements and blocks, and how reading goes on after an error in one.

use super::expressions::augmented_op;
use super::{MAX_DEPTH, Parsed, Parser, Reported};
use crate::diagnostics::{Diagnostic, Kind};
use crate::lex::TokenKind;
use crate::syntax::{Expr, ExprKind, Span, Stmt, StmtKind};

/// Words that go on with a compound statement.
const CLAUSES: [&str; 4] = ["elif", "else", "except", "finally"];

impl Parser<'_> {
    /// Statements up to the end of the block.
    pub(super) fn statements(&mut self, out: &mut Vec<Stmt>) {
        loop {
            match self.kind() {
                TokenKind::Dedent | TokenKind::End => return,
                TokenKind::Indent => self.unexpected_indent(out),
                TokenKind::Newline => self.advance(),
                _ => self.line(out),
            }
        }
    }

    /// One line, or a compound statement with its blocks.
    pub(super) fn line(&mut self, out: &mut Vec<Stmt>) {
        let (start, failures, span) = (self.at, self.failures, self.span());
        if self.statement(out).is_err() {
            self.recover();
        }
        if self.failures > failures {
            out.push(Stmt { kind: StmtKind::Broken(self.names_since(start)), span });
        }
    }

    /// Statements that are deeper than those before them for no reason.
    pub(super) fn unexpected_indent(&mut self, out: &mut Vec<Stmt>) {
        let place = self.tokens.get(self.at + 1).map_or(self.span(), |t| t.span);
        let diagnostic = Diagnostic::new(Kind::Syntax, place, "unexpected indentation")
            .label("deeper than the line before, which opens no block")
            .hint("give it the indentation of the lines around it");
        self.report(diagnostic);
        self.indented(out);
    }

    /// The statements between `Indent` and `Dedent`.
    fn indented(&mut self, out: &mut Vec<Stmt>) {
        if self.depth == MAX_DEPTH {
            return self.skip_block();
        }
        self.depth += 1;
        self.advance();
        self.statements(out);
        if matches!(self.kind(), TokenKind::Dedent) {
            self.advance();
        }
        self.depth -= 1;
    }

    pub(super) fn skip_block(&mut self) {
        let mut depth = 0;
        loop {
            match self.kind() {
                TokenKind::Indent => depth += 1,
                TokenKind::Dedent => depth -= 1,
                TokenKind::End => return,
                _ => {}
            }
            self.advance();
            if depth == 0 {
                return;
            }
        }
    }

    pub(super) fn skip_line(&mut self) {
        while !matches!(self.kind(), TokenKind::Newline | TokenKind::Dedent | TokenKind::End) {
            self.advance();
        }
        if matches!(self.kind(), TokenKind::Newline) {
            self.advance();
        }
    }

    /// After an error: to the end of the line; a block under it is read for its own errors, and so are its `else` and
    /// the like, which would seem to belong to nothing.
    pub(super) fn recover(&mut self) {
        self.skip_line();
        loop {
            if matches!(self.kind(), TokenKind::Indent) {
                let in_loop = std::mem::replace(&mut self.in_loop, true);
                self.indented(&mut Vec::new());
                self.in_loop = in_loop;
            }
            if !self.at_any(&CLAUSES) {
                return;
            }
            self.skip_line();
        }
    }

    pub(super) fn statement(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        let start = self.span();
        match self.fixed(0) {
            Some("if") => self.conditional(out),
            Some("while") => self.while_loop(out),
            Some("for") => self.for_loop(out),
            Some("with") => self.with(out),
            Some("def" | "class" | "@") => self.nested(),
            Some("async") => {
                self.advance();
                self.unsupported(
                    start,
                    "`async` is left out",
                    "programs run on one thread, and nothing in them waits",
                    "write an ordinary `def`, `for` or `with`",
                );
                self.statement(out)
            }
            Some("try") => self.try_statement(out),
            Some(word) if CLAUSES.contains(&word) => {
                let diagnostic =
                    Diagnostic::new(Kind::Syntax, start, format!("`{word}` belongs to no statement"))
                        .label("nothing before it, at this indentation, can have it")
                        .hint("give it the indentation of the `if` that it belongs to");
                self.fail(diagnostic)
            }
            _ if self.match_follows() => {
                self.unsupported(
                    start,
                    "`match` is left out",
                    "TorchScript has no patterns",
                    "write `if` and `elif` with comparisons",
                );
                self.skip_line();
                self.skip_block();
                Ok(())
            }
            _ => self.simple_line(out),
        }
    }

    /// Whether a line begins with the soft keyword `match`, rather than a variable of this name.
    fn match_follows(&self) -> bool {
        if !self.at_word("match") {
            return false;
        }
        let rest = &self.tokens[self.at..];
        let Some(end) = rest.iter().position(|t| matches!(t.kind, TokenKind::Newline)) else { return false };
        let case = rest.get(end + 2);
        matches!(rest[end - 1].kind, TokenKind::Fixed(":"))
            && matches!(rest.get(end + 1).map(|t| &t.kind), Some(TokenKind::Indent))
            && case.is_some_and(|t| matches!(t.kind, TokenKind::Name) && self.slice(t.span) == "case")
    }

    /// Functions and classes within functions.
    fn nested(&mut self) -> Parsed<()> {
        let decorators = self.decorators()?;
        if self.at("async") {
            self.advance();
        }
        let start = self.span();
        if self.at("class") {
            self.class(decorators)?;
            self.unsupported(
                start,
                "a class within a function or block is left out",
                "types are known before the program runs",
                "define the class at the top of the file",
            );
            return Ok(());
        }
        self.function(decorators)?;
        self.unsupported(
            start,
            "a function within a function or block is left out",
            "functions are no values here, and close over nothing",
            "define the function at the top of the file and pass it what it needs",
        );
        Ok(())
    }

    /// `a; b`, and the end of the line.
    pub(super) fn simple_line(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        loop {
            self.simple(out)?;
            if self.eat(";") && !matches!(self.kind(), TokenKind::Newline) {
                continue;
            }
            if matches!(self.kind(), TokenKind::Newline | TokenKind::End) {
                self.advance();
                return Ok(());
            }
            let mut diagnostic = self.expected("the end of the statement");
            diagnostic.hint = match self.fixed(0) {
                Some("=") => Some("`=` is an assignment, a comparison is `==`"),
                Some(":") => Some("only `if`, `for`, `while`, `with`, `def` and `class` open a block"),
                _ => None,
            }
            .map(String::from);
            return self.fail(diagnostic);
        }
    }

    /// `:` and the statements that it opens, on the same line or indented under it.
    pub(super) fn block(&mut self, what: &str, header: Span, out: &mut Vec<Stmt>) -> Parsed<()> {
        self.colon(what, header)?;
        if !matches!(self.kind(), TokenKind::Newline) {
            if self.at_any(&["if", "while", "for", "with", "def", "class", "try", "@"]) {
                let diagnostic = self
                    .expected("a simple statement")
                    .hint("a statement with a block of its own goes on the next line, indented");
                return self.fail(diagnostic);
            }
            return self.simple_line(out);
        }
        self.advance();
        self.indented_block(what, header, |p| {
            p.statements(out);
        });
        Ok(())
    }

    /// A block that must be here; its absence is reported and the block is empty.
    pub(super) fn indented_block(&mut self, what: &str, header: Span, read: impl FnOnce(&mut Self)) {
        if !matches!(self.kind(), TokenKind::Indent) {
            let diagnostic =
                Diagnostic::new(Kind::Syntax, header, format!("expected an indented block under {what}"))
                    .label("nothing is indented under this line")
                    .hint("indent what belongs to it, or write `pass`");
            return self.report(diagnostic);
        }
        let inner = self.deeper(|p| {
            p.advance();
            read(p);
            if matches!(p.kind(), TokenKind::Dedent) {
                p.advance();
            }
            Ok(())
        });
        if inner.is_err() {
            self.skip_block();
        }
    }

    /// The `:` of a header. One that is missing before an indented block is only reported.
    pub(super) fn colon(&mut self, what: &str, header: Span) -> Parsed<()> {
        if self.eat(":") {
            return Ok(());
        }
        if self.at("=") || self.at(":=") {
            let equals =
                Diagnostic::new(Kind::Syntax, self.span(), format!("expected `:` after {what}, found `=`"))
                    .label("an assignment")
                    .related(header, "belongs to this")
                    .hint("`=` is an assignment, a comparison is `==`");
            return self.fail(equals);
        }
        let diagnostic = Diagnostic::new(
            Kind::Syntax,
            self.place(),
            format!("expected `:` after {what}, found {}", self.found()),
        )
        .label(if matches!(self.kind(), TokenKind::Newline) {
            "`:` is missing after this"
        } else {
            "expected `:`"
        })
        .hint("a line that opens a block ends with `:`");
        self.report(diagnostic);
        let opens = matches!(self.kind(), TokenKind::Newline) && matches!(self.ahead(1), TokenKind::Indent);
        if opens { Ok(()) } else { Err(Reported) }
    }

    fn conditional(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        let start = self.span();
        let word = self.slice(start).to_string();
        self.advance();
        let test = self.expression()?;
        let span = start.to(self.last);
        let mut then = Vec::new();
        self.block(&format!("the condition of this `{word}`"), span, &mut then)?;
        let mut otherwise = Vec::new();
        if self.at("elif") {
            self.deeper(|p| p.conditional(&mut otherwise))?;
        } else if self.at("else") {
            let header = self.span();
            self.advance();
            self.block("`else`", header, &mut otherwise)?;
        }
        out.push(Stmt { kind: StmtKind::If { test, then, otherwise }, span });
        Ok(())
    }

    fn while_loop(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        let start = self.span();
        self.advance();
        let test = self.expression()?;
        let span = start.to(self.last);
        let body = self.loop_body("the condition of this `while`", span)?;
        out.push(Stmt { kind: StmtKind::While { test, body }, span });
        Ok(())
    }

    fn for_loop(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        let start = self.span();
        self.advance();
        let target = self.targets("in")?;
        self.expect("in", "after the target of this `for`")?;
        let iterable = self.expressions()?;
        let span = start.to(self.last);
        let body = self.loop_body("the header of this `for`", span)?;
        out.push(Stmt { kind: StmtKind::For { target, iterable, body }, span });
        Ok(())
    }

    fn loop_body(&mut self, what: &str, span: Span) -> Parsed<Vec<Stmt>> {
        let mut body = Vec::new();
        let outer = std::mem::replace(&mut self.in_loop, true);
        let read = self.block(what, span, &mut body);
        self.in_loop = outer;
        read?;
        if self.at("else") {
            let header = self.span();
            self.unsupported(
                header,
                "`else` of a loop is left out",
                "TorchScript refuses it",
                "remember in a variable whether the loop ended by `break`",
            );
            self.advance();
            self.block("`else`", header, &mut Vec::new())?;
        }
        Ok(body)
    }

    fn with(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        let start = self.span();
        self.advance();
        let open = self.span();
        let grouped = self.at("(") && self.group_of_items();
        if grouped {
            self.advance();
        }
        let mut items = Vec::new();
        loop {
            let context = self.expression()?;
            let name = if self.eat("as") { Some(self.with_target()?) } else { None };
            items.push((context, name));
            if !self.eat(",") || grouped && self.at(")") {
                break;
            }
        }
        if grouped {
            self.close(")", open)?;
        }
        let span = start.to(self.last);
        let mut body = Vec::new();
        self.block("the contexts of this `with`", span, &mut body)?;
        out.push(Stmt { kind: StmtKind::With { items, body }, span });
        Ok(())
    }

    /// Whether the `(` here closes right before the `:` and holds an `as` or a comma of its own: `with (a as b, c):`.
    fn group_of_items(&self) -> bool {
        let (mut depth, mut several) = (0, false);
        for (i, token) in self.tokens.iter().enumerate().skip(self.at) {
            match &token.kind {
                TokenKind::Fixed("(" | "[" | "{") => depth += 1,
                TokenKind::Fixed(")" | "]" | "}") => depth -= 1,
                TokenKind::Fixed("as" | ",") if depth == 1 => several = true,
                TokenKind::Newline | TokenKind::End => return false,
                _ => {}
            }
            if depth == 0 {
                let next = self.tokens.get(i + 1).map(|t| &t.kind);
                return several && matches!(next, Some(TokenKind::Fixed(":")));
            }
        }
        false
    }

    fn with_target(&mut self) -> Parsed<Expr> {
        let target = self.expression()?;
        self.check_target(&target);
        Ok(target)
    }

    /// `try`, whose blocks are read for their errors.
    fn try_statement(&mut self, out: &mut Vec<Stmt>) -> Parsed<()> {
        let start = self.span();
        self.unsupported(
            start,
            "`try` is left out",
            "TorchScript catches no exceptions: an error ends the program",
            "test for the condition beforehand, with `if` or `assert`",
        );
        self.advance();
        self.block("`try`", start, out)?;
        let mut clauses = 0;
        while self.at_any(&["except", "else", "finally"]) {
            let header = self.span();
            clauses += 1;
            self.advance();
            self.eat("*");
            if self.starts_expression() {
                self.expressions()?;
                if self.eat("as") {
                    self.name("a name after `as`")?;
                }
            }
            let what = format!("`{}`", self.slice(header));
            self.block(&what, header, &mut Vec::new())?;
        }
        if clauses == 0 {
            let diagnostic =
                Diagnostic::new(Kind::Syntax, start, "this `try` has no `except` and no `finally`");
            self.report(diagnostic);
        }
        Ok(())
    }

    /// Reports what cannot be assigned to.
    pub(super) fn check_target(&mut self, target: &Expr) {
        let what = match &target.kind {
            ExprKind::Name(_) | ExprKind::Attribute { .. } | ExprKind::Subscript { .. } => return,
            ExprKind::Tuple(items) | ExprKind::List(items) => {
                return items.iter().for_each(|item| self.check_target(item));
            }
            ExprKind::Starred(inner) => {
                self.unsupported(
                    target.span,
                    "`*` among the targets of an assignment is left out",
                    "how many values it takes would not be known before the program runs",
                    "take the rest with a slice: `a, b = xs[0], xs[1:]`",
                );
                return self.check_target(inner);
            }
            ExprKind::Call { .. } => "a call",
            ExprKind::Compare { .. } => "a comparison",
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Str(_)
            | ExprKind::FString(_)
            | ExprKind::Bool(_)
            | ExprKind::None => "a literal",
            // It was reported already.
            ExprKind::Missing => return,
            ExprKind::Ellipsis => "a literal",
            ExprKind::Dict(_) | ExprKind::ListComp { .. } | ExprKind::Slice { .. } => "this expression",
            ExprKind::Unary(..)
            | ExprKind::Binary(..)
            | ExprKind::Logical { .. }
            | ExprKind::Conditional { .. } => "the result of an operation",
        };
        let diagnostic = Diagnostic::new(Kind::Syntax, target.span, format!("{what} cannot be assigned to"))
            .label("not a name, attribute or subscript")
            .hint("`=` is an assignment, a comparison is `==`");
        self.report(diagnostic);
    }

    /// The assignment that begins with `first`, or `first` as a statement.
    pub(super) fn assignment(&mut self, first: Expr) -> Parsed<StmtKind> {
        if self.at(":") {
            return self.annotated(first);
        }
        if let Some(op) = self.fixed(0).and_then(augmented_op) {
            self.advance();
            if matches!(first.kind, ExprKind::Tuple(_) | ExprKind::List(_)) {
                let diagnostic =
                    Diagnostic::new(Kind::Syntax, first.span, "an operation assigns to one target")
                        .label("several targets")
                        .hint("write one statement for each");
                self.report(diagnostic);
            } else {
                self.check_target(&first);
            }
            let value = self.expressions()?;
            return Ok(StmtKind::Augmented { target: first, op, value });
        }
        if !self.at("=") {
            return Ok(match first.kind {
                ExprKind::Ellipsis | ExprKind::Str(_) => StmtKind::Pass,
                _ => StmtKind::Expr(first),
            });
        }
        let mut targets = Vec::new();
        let mut value = first;
        while self.eat("=") {
            self.check_target(&value);
            targets.push(value);
            value = self.expressions()?;
        }
        Ok(StmtKind::Assign { targets, value })
    }

    fn annotated(&mut self, target: Expr) -> Parsed<StmtKind> {
        if !matches!(target.kind, ExprKind::Name(_) | ExprKind::Attribute { .. } | ExprKind::Subscript { .. })
        {
            let diagnostic =
                Diagnostic::new(Kind::Syntax, target.span, "only a name or an attribute has a type")
                    .label("cannot stand before `:`")
                    .hint("only `if`, `for`, `while`, `with`, `def` and `class` open a block");
            return self.fail(diagnostic);
        }
        self.advance();
        let annotation = self.expression()?;
        let value = if self.eat("=") { Some(self.expressions()?) } else { None };
        Ok(StmtKind::Annotated { target, annotation, value })
    }
}
