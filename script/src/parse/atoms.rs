//! Operands: names, literals, displays, f-strings, and what stands in brackets.

use super::expressions::BIT_OR;
use super::{Parsed, Parser};
use crate::lex::numbers::too_large;
use crate::lex::{Piece, TokenKind};
use crate::syntax::{Expr, ExprKind, FPart, Span};
use std::rc::Rc;

impl Parser<'_> {
    pub(super) fn atom(&mut self) -> Parsed<Expr> {
        let span = self.span();
        let kind = match self.kind() {
            TokenKind::Name => ExprKind::Name(Rc::from(self.slice(span))),
            TokenKind::Float(value) => ExprKind::Float(*value),
            TokenKind::Int(value) => match i64::try_from(*value) {
                Ok(value) => ExprKind::Int(value),
                Err(_) => {
                    self.report(too_large(span));
                    ExprKind::Int(0)
                }
            },
            TokenKind::Str(_) | TokenKind::FString(_) => return self.strings(),
            TokenKind::Fixed("True") => ExprKind::Bool(true),
            TokenKind::Fixed("False") => ExprKind::Bool(false),
            TokenKind::Fixed("None") => ExprKind::None,
            TokenKind::Fixed("...") => ExprKind::Ellipsis,
            TokenKind::Fixed("(") => return self.parenthesised(),
            TokenKind::Fixed("[") => return self.list(),
            TokenKind::Fixed("{") => return self.braces(),
            TokenKind::Fixed("yield") => return self.yielded(),
            _ => return self.no_operand(),
        };
        self.advance();
        self.node(kind, span, 0)
    }

    fn no_operand(&mut self) -> Parsed<Expr> {
        let before = self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map(|t| &t.kind);
        let before = match before {
            Some(TokenKind::Fixed(text)) => *text,
            _ => "",
        };
        let hint = match (before, self.fixed(0)) {
            ("=", Some("=")) | (_, Some("==")) => Some("a comparison is `==`, with an operand on each side"),
            ("<", Some(">")) => Some("inequality is `!=`"),
            ("&", Some("&")) => Some("write `and`"),
            ("|", Some("|")) => Some("write `or`"),
            (_, Some("=")) => Some("`=` is an assignment, a comparison is `==`"),
            ("+", _) | ("-", _) if self.fixed(0).is_none() => {
                Some("Python has no `++` and `--`: write `x += 1`")
            }
            (_, Some(word)) if word.starts_with(char::is_alphabetic) => {
                Some("this word is a keyword of Python and cannot be a name")
            }
            _ => None,
        };
        let mut diagnostic = self.expected("an expression");
        diagnostic.hint = hint.map(String::from);
        self.fail(diagnostic)
    }

    /// Adjacent strings, which are one.
    fn strings(&mut self) -> Parsed<Expr> {
        let start = self.span();
        let mut parts: Vec<FPart> = Vec::new();
        let mut text = String::new();
        let (mut formatted, mut height) = (false, 0);
        while let Some(token) = self.tokens.get_mut(self.at) {
            match &mut token.kind {
                TokenKind::Str(value) => text.push_str(value),
                TokenKind::FString(pieces) => {
                    formatted = true;
                    for piece in std::mem::take(pieces) {
                        self.piece(piece, &mut text, &mut parts);
                        height = height.max(self.height);
                    }
                }
                _ => break,
            }
            self.advance();
        }
        let span = start.to(self.last);
        if !formatted {
            return self.node(ExprKind::Str(Rc::from(text)), span, 0);
        }
        if !text.is_empty() {
            parts.push(FPart::Text(Rc::from(text)));
        }
        self.node(ExprKind::FString(parts), span, height)
    }

    fn piece(&mut self, piece: Piece, text: &mut String, parts: &mut Vec<FPart>) {
        match piece {
            Piece::Text(more) => text.push_str(&more),
            Piece::Field { tokens, shown, conversion, spec } => {
                text.push_str(shown.as_deref().unwrap_or(""));
                if !text.is_empty() {
                    parts.push(FPart::Text(Rc::from(std::mem::take(text))));
                }
                let outer = (std::mem::replace(&mut self.tokens, tokens), self.at, self.last);
                self.at = 0;
                let value = self.field();
                (self.tokens, self.at, self.last) = outer;
                parts.push(FPart::Value { value, conversion, spec: Rc::from(spec) });
            }
        }
    }

    /// The value of an f-string's field, whose tokens are ours for now. An error in it stays in it.
    fn field(&mut self) -> Expr {
        let span = self.span();
        if matches!(self.kind(), TokenKind::End) {
            let place = Span { start: span.start.saturating_sub(1), end: span.end };
            let diagnostic = crate::diagnostics::Diagnostic::new(
                crate::diagnostics::Kind::Syntax,
                place,
                "expected an expression between `{` and `}`",
            )
            .hint("write `{{` and `}}` for the characters themselves");
            self.report(diagnostic);
            return self.placeholder(span);
        }
        let Ok(value) = self.expressions() else { return self.placeholder(span) };
        if !matches!(self.kind(), TokenKind::End) {
            let diagnostic = self.expected("`}` after the value");
            self.report(diagnostic);
        }
        value
    }

    /// `(a)`, whose place has the parentheses, `()` or `(a, b)`.
    fn parenthesised(&mut self) -> Parsed<Expr> {
        let open = self.span();
        self.advance();
        if self.eat(")") {
            return self.node(ExprKind::Tuple(Vec::new()), open.to(self.last), 0);
        }
        let first = self.element()?;
        if self.at("for") || self.at("async") {
            self.generator(open)?;
            self.close(")", open)?;
            return Ok(self.placeholder(open.to(self.last)));
        }
        let mut height = self.height;
        if !self.at(",") {
            let mut only = self.no_star(first, "on its own")?;
            self.close(")", open)?;
            only.span = open.to(self.last);
            return Ok(only);
        }
        let mut items = vec![self.no_star(first, "in a tuple")?];
        while self.eat(",") && !self.at(")") {
            let item = self.element()?;
            height = height.max(self.height);
            items.push(self.no_star(item, "in a tuple")?);
        }
        self.close(")", open)?;
        self.node(ExprKind::Tuple(items), open.to(self.last), height)
    }

    fn list(&mut self) -> Parsed<Expr> {
        let open = self.span();
        self.advance();
        let (mut items, mut height) = (Vec::new(), 0);
        while !self.at("]") {
            let item = self.element()?;
            height = height.max(self.height);
            let item = self.no_star(item, "in a list")?;
            if items.is_empty() && (self.at("for") || self.at("async")) {
                return self.comprehension(open, item);
            }
            items.push(item);
            if !self.eat(",") {
                break;
            }
        }
        self.close("]", open)?;
        self.node(ExprKind::List(items), open.to(self.last), height)
    }

    fn comprehension(&mut self, open: Span, element: Expr) -> Parsed<Expr> {
        let mut height = self.height;
        let (target, iterable, test) = self.clauses()?;
        height = height.max(self.height);
        self.close("]", open)?;
        let (element, target, iterable) = (Box::new(element), Box::new(target), Box::new(iterable));
        let kind = ExprKind::ListComp { element, target, iterable, test: test.map(Box::new) };
        self.node(kind, open.to(self.last), height)
    }

    /// `for target in iterable if test`, of which the language has one `for`; several tests are one with `and`.
    pub(super) fn clauses(&mut self) -> Parsed<(Expr, Expr, Option<Expr>)> {
        let mut first: Option<(Expr, Expr, Option<Expr>)> = None;
        let mut height = 0;
        while self.at("for") || self.at("async") {
            let start = self.span();
            if self.eat("async") {
                self.unsupported(
                    start,
                    "`async` is left out",
                    "programs run on one thread, and nothing in them waits",
                    "use an ordinary `for`",
                );
            }
            self.expect("for", "after `async`")?;
            let target = self.targets("in")?;
            height = height.max(self.height);
            self.expect("in", "after the target of this `for`")?;
            let iterable = self.binary(super::expressions::OR)?;
            height = height.max(self.height);
            let mut test: Option<Expr> = None;
            while self.eat("if") {
                let begin = self.span();
                let more = self.binary(super::expressions::OR)?;
                let tall = self.height;
                test = Some(match test {
                    None => more,
                    Some(left) => {
                        let span = left.span.to(begin.to(self.last));
                        let (left, right) = (Box::new(left), Box::new(more));
                        self.node(ExprKind::Logical { and: true, left, right }, span, height.max(tall))?
                    }
                });
                height = height.max(self.height);
            }
            if first.is_some() {
                let span = start.to(self.last);
                self.unsupported(
                    span,
                    "a second `for` in a comprehension is left out",
                    "TorchScript's comprehensions have one",
                    "write the loops as statements that append to a list",
                );
            } else {
                first = Some((target, iterable, test));
            }
        }
        self.height = height;
        match first {
            Some(clauses) => Ok(clauses),
            None => {
                let diagnostic = self.expected("`for`");
                self.fail(diagnostic)
            }
        }
    }

    /// `a`, `a, b`, `(a, b)` before `in`, whose commas bind looser and whose operators all bind tighter than `in`.
    pub(super) fn targets(&mut self, end: &str) -> Parsed<Expr> {
        let start = self.span();
        let mut height = 0;
        let (mut items, mut comma) = (Vec::new(), false);
        loop {
            let begin = self.span();
            let starred = self.eat("*");
            let mut item = self.binary(BIT_OR)?;
            if starred {
                let span = begin.to(self.last);
                item = Expr { kind: ExprKind::Starred(Box::new(item)), span };
            }
            height = height.max(self.height + 1);
            self.check_target(&item);
            items.push(item);
            let more = self.eat(",");
            comma |= more;
            if !more || self.at(end) || !self.starts_expression() {
                break;
            }
        }
        if !comma && let Some(only) = items.pop() {
            return Ok(only);
        }
        self.node(ExprKind::Tuple(items), start.to(self.last), height)
    }

    /// `{k: v}`, and the other things in braces, which are left out.
    fn braces(&mut self) -> Parsed<Expr> {
        let open = self.span();
        self.advance();
        let (mut items, mut height, mut left_out) = (Vec::new(), 0, None);
        let mut clauses = None;
        while !self.at("}") {
            let start = self.span();
            if self.eat("**") {
                self.binary(BIT_OR)?;
                left_out = Some(("`**` in a dict is left out", "assign its items one by one"));
            } else {
                let key = self.element()?;
                height = height.max(self.height);
                let key = self.no_star(key, "in a set")?;
                if self.eat(":") {
                    let value = self.expression()?;
                    height = height.max(self.height);
                    items.push((key, value));
                } else {
                    left_out = Some(("sets are left out", "use a list, or a dict whose values are `True`"));
                }
                if self.at("for") || self.at("async") {
                    let read = self.clauses()?;
                    height = height.max(self.height);
                    match left_out {
                        None if items.len() == 1 && self.at("}") => clauses = Some(read),
                        None => {
                            let diagnostic = self.expected("`}` after the one item of a comprehension");
                            return self.fail(diagnostic);
                        }
                        Some(_) => {
                            let hint = "make a list: `[x for x in xs]`";
                            left_out = Some(("set comprehensions are left out", hint));
                        }
                    }
                }
            }
            if start == self.span() || !self.eat(",") {
                break;
            }
        }
        self.close("}", open)?;
        let span = open.to(self.last);
        if let Some((what, hint)) = left_out {
            self.unsupported(span, what, "braces hold `key: value` items here", hint);
            return Ok(self.placeholder(span));
        }
        let Some((target, iterable, test)) = clauses else {
            return self.node(ExprKind::Dict(items), span, height);
        };
        // The dict of a list of its items.
        let (target, iterable, test) = (Box::new(target), Box::new(iterable), test.map(Box::new));
        let item = items.pop().map(|(key, value)| vec![key, value]).unwrap_or_default();
        let element = Box::new(Expr { kind: ExprKind::Tuple(item), span });
        let list = Expr { kind: ExprKind::ListComp { element, target, iterable, test }, span };
        let callee = Box::new(Expr { kind: ExprKind::Name("dict".into()), span });
        self.node(ExprKind::Call { callee, args: vec![list], kwargs: Vec::new() }, span, height + 2)
    }

    fn yielded(&mut self) -> Parsed<Expr> {
        let start = self.span();
        self.advance();
        if self.eat("from") || self.starts_expression() {
            self.expressions()?;
        }
        let span = start.to(self.last);
        self.unsupported(
            span,
            "`yield` is left out",
            "functions return once; one that stops and goes on has no graph",
            "collect the values in a list and return it",
        );
        Ok(self.placeholder(span))
    }
}
