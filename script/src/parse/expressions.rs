//! Expressions: operators by binding power, and what follows an operand.

use super::{MAX_HEIGHT, Parsed, Parser};
use crate::diagnostics::{Diagnostic, Kind};
use crate::lex::TokenKind;
use crate::syntax::{BinaryOp, CompareOp, Expr, ExprKind, Name, Span, UnaryOp};

/// How tightly operators bind, loosest first; the operand to the right of one binds one tighter.
pub(super) const OR: u8 = 1;
const AND: u8 = 2;
const NOT: u8 = 3;
const COMPARE: u8 = 4;
pub(super) const BIT_OR: u8 = 5;
const MULTIPLY: u8 = 10;

const fn binary_op(text: &str) -> Option<(BinaryOp, u8)> {
    Some(match text.as_bytes() {
        b"|" => (BinaryOp::Or, BIT_OR),
        b"^" => (BinaryOp::Xor, 6),
        b"&" => (BinaryOp::And, 7),
        b"<<" => (BinaryOp::Shl, 8),
        b">>" => (BinaryOp::Shr, 8),
        b"+" => (BinaryOp::Add, 9),
        b"-" => (BinaryOp::Sub, 9),
        b"*" => (BinaryOp::Mul, MULTIPLY),
        b"/" => (BinaryOp::Div, MULTIPLY),
        b"//" => (BinaryOp::FloorDiv, MULTIPLY),
        b"%" => (BinaryOp::Mod, MULTIPLY),
        b"@" => (BinaryOp::MatMul, MULTIPLY),
        _ => return None,
    })
}

/// The operator of an augmented assignment.
pub(super) fn augmented_op(text: &str) -> Option<BinaryOp> {
    match text {
        "**=" => Some(BinaryOp::Pow),
        "<=" | ">=" | "==" | "!=" => None,
        _ => binary_op(text.strip_suffix('=')?).map(|(op, _)| op),
    }
}

impl Parser<'_> {
    /// A node over children whose greatest height is `height`.
    pub(super) fn node(&mut self, kind: ExprKind, span: Span, height: u32) -> Parsed<Expr> {
        self.height = height + 1;
        if self.height > MAX_HEIGHT {
            return self.fail(
                Diagnostic::new(Kind::Syntax, span, "this expression is too large")
                    .label(format!("more than {MAX_HEIGHT} operations, each on the result of another"))
                    .hint("give a part of it a name"),
            );
        }
        Ok(Expr { kind, span })
    }

    /// What stands in for an expression that was reported as left out.
    pub(super) fn placeholder(&mut self, span: Span) -> Expr {
        self.height = 1;
        Expr { kind: ExprKind::Missing, span }
    }

    /// `a, b`, `*a, b`, or one expression.
    pub(super) fn expressions(&mut self) -> Parsed<Expr> {
        let start = self.span();
        let first = self.element()?;
        if !self.at(",") {
            return self.no_star(first, "on its own");
        }
        let mut height = self.height;
        let mut items = vec![self.no_star(first, "in a tuple")?];
        while self.eat(",") {
            if !self.starts_expression() {
                break;
            }
            let item = self.element()?;
            height = height.max(self.height);
            items.push(self.no_star(item, "in a tuple")?);
        }
        let span = start.to(self.last);
        self.node(ExprKind::Tuple(items), span, height)
    }

    /// Reports `*a` where only a call may have it.
    pub(super) fn no_star(&mut self, expr: Expr, place: &str) -> Parsed<Expr> {
        if matches!(expr.kind, ExprKind::Starred(_)) {
            self.star_left_out(expr.span, place);
        }
        Ok(expr)
    }

    pub(super) fn star_left_out(&mut self, span: Span, place: &str) {
        self.unsupported(
            span,
            &format!("`*` {place} is left out"),
            "the number of values would not be known before the program runs",
            "write the values one by one, take them with an index or a slice, or join lists with `+`",
        );
    }

    pub(super) fn starts_expression(&self) -> bool {
        match self.kind() {
            TokenKind::Fixed(text) => matches!(
                *text,
                "(" | "["
                    | "{"
                    | "-"
                    | "+"
                    | "~"
                    | "*"
                    | "not"
                    | "lambda"
                    | "await"
                    | "yield"
                    | "None"
                    | "True"
                    | "False"
                    | "..."
            ),
            TokenKind::Newline | TokenKind::Indent | TokenKind::Dedent | TokenKind::End => false,
            _ => true,
        }
    }

    /// An expression, or `*` before one.
    pub(super) fn element(&mut self) -> Parsed<Expr> {
        let start = self.span();
        if !self.eat("*") {
            return self.expression();
        }
        let value = self.binary(BIT_OR)?;
        let (span, height) = (start.to(self.last), self.height);
        self.node(ExprKind::Starred(Box::new(value)), span, height)
    }

    /// A conditional expression, or what binds tighter.
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        self.deeper(Self::expression_here)
    }

    fn expression_here(&mut self) -> Parsed<Expr> {
        let start = self.span();
        if self.at("lambda") {
            return self.lambda();
        }
        let then = self.binary(OR)?;
        let expr = if self.at("if") {
            self.advance();
            let mut height = self.height;
            let test = self.binary(OR)?;
            height = height.max(self.height);
            if !self.eat("else") {
                let diagnostic = self
                    .expected("`else` of a conditional expression")
                    .hint("a conditional expression has both values: `a if test else b`");
                return self.fail(diagnostic);
            }
            let otherwise = self.expression()?;
            height = height.max(self.height);
            let (test, then, otherwise) = (Box::new(test), Box::new(then), Box::new(otherwise));
            self.node(ExprKind::Conditional { test, then, otherwise }, start.to(self.last), height)?
        } else {
            then
        };
        if self.eat(":=") {
            self.expression()?;
            let span = start.to(self.last);
            self.unsupported(
                span,
                "`:=` is left out",
                "TorchScript has no assignments within expressions",
                "assign on a line before, then use the name",
            );
        }
        Ok(expr)
    }

    fn lambda(&mut self) -> Parsed<Expr> {
        let start = self.span();
        self.advance();
        while !self.at(":") {
            if matches!(self.kind(), TokenKind::Newline | TokenKind::End) {
                let diagnostic = self.expected("`:` after the parameters of this `lambda`");
                return self.fail(diagnostic);
            }
            self.advance();
        }
        self.advance();
        self.expression()?;
        let span = start.to(self.last);
        self.unsupported(
            span,
            "`lambda` is left out",
            "functions are no values here: which one a call runs must be known before the program runs",
            "define a function with `def` at the top of the file and call it by name",
        );
        Ok(self.placeholder(span))
    }

    /// Operators that bind at least as tightly as `least`.
    pub(super) fn binary(&mut self, least: u8) -> Parsed<Expr> {
        let start = self.span();
        let mut left = if self.at("not") { self.not(least)? } else { self.unary()? };
        let mut height = self.height;
        while let Some(text) = self.fixed(0) {
            let kind = if text == "or" || text == "and" {
                let and = text == "and";
                let power = if and { AND } else { OR };
                if power < least {
                    break;
                }
                self.advance();
                let right = Box::new(self.binary(power + 1)?);
                ExprKind::Logical { and, left: Box::new(left), right }
            } else if let Some((op, power)) = binary_op(text) {
                if power < least {
                    break;
                }
                self.advance();
                let right = self.binary(power + 1)?;
                ExprKind::Binary(op, Box::new(left), Box::new(right))
            } else {
                if COMPARE < least || self.comparison().is_none() {
                    break;
                }
                let mut rest = Vec::new();
                let mut tallest = 0;
                while let Some((op, tokens)) = self.comparison() {
                    (0..tokens).for_each(|_| self.advance());
                    rest.push((op, self.binary(BIT_OR)?));
                    tallest = tallest.max(self.height);
                }
                self.height = tallest;
                ExprKind::Compare { first: Box::new(left), rest }
            };
            let span = start.to(self.last);
            left = self.node(kind, span, height.max(self.height))?;
            height = self.height;
        }
        self.height = height;
        Ok(left)
    }

    fn not(&mut self, least: u8) -> Parsed<Expr> {
        let start = self.span();
        if least > NOT {
            return self.fail(
                Diagnostic::new(Kind::Syntax, start, "`not` binds weaker than the operator before it")
                    .label("not an operand")
                    .hint("put it in parentheses: `(not a)`"),
            );
        }
        self.advance();
        let operand = self.deeper(|p| p.binary(NOT))?;
        let (span, height) = (start.to(self.last), self.height);
        self.node(ExprKind::Unary(UnaryOp::Not, Box::new(operand)), span, height)
    }

    /// The comparison that stands here, and how many tokens it is.
    fn comparison(&self) -> Option<(CompareOp, usize)> {
        Some(match self.fixed(0)? {
            "==" => (CompareOp::Eq, 1),
            "!=" => (CompareOp::Ne, 1),
            "<" => (CompareOp::Lt, 1),
            "<=" => (CompareOp::Le, 1),
            ">" => (CompareOp::Gt, 1),
            ">=" => (CompareOp::Ge, 1),
            "is" if self.fixed(1) == Some("not") => (CompareOp::IsNot, 2),
            "is" => (CompareOp::Is, 1),
            "in" => (CompareOp::In, 1),
            "not" if self.fixed(1) == Some("in") => (CompareOp::NotIn, 2),
            _ => return None,
        })
    }

    /// `-a`, or a power: `-a ** b` is `-(a ** b)`, and `a ** -b` needs no parentheses.
    fn unary(&mut self) -> Parsed<Expr> {
        let start = self.span();
        let op = match self.fixed(0) {
            Some("-") => UnaryOp::Neg,
            Some("+") => UnaryOp::Pos,
            Some("~") => UnaryOp::Invert,
            _ => return self.power(),
        };
        self.advance();
        let least = matches!(self.kind(), TokenKind::Int(value) if *value == i64::MIN.unsigned_abs());
        let operand = if op == UnaryOp::Neg && least && self.fixed(1) != Some("**") {
            let span = self.span();
            self.advance();
            self.node(ExprKind::Int(i64::MIN), span, 0)?
        } else {
            self.deeper(Self::unary)?
        };
        let (span, height) = (start.to(self.last), self.height);
        self.node(ExprKind::Unary(op, Box::new(operand)), span, height)
    }

    fn power(&mut self) -> Parsed<Expr> {
        let start = self.span();
        let waits = self.eat("await");
        let base = self.postfix()?;
        if waits {
            self.unsupported(
                start,
                "`await` is left out",
                "programs run on one thread, and nothing in them waits",
                "call the function without `await`",
            );
        }
        if !self.eat("**") {
            return Ok(base);
        }
        let height = self.height;
        let exponent = self.deeper(Self::unary)?;
        let (span, height) = (start.to(self.last), height.max(self.height));
        self.node(ExprKind::Binary(BinaryOp::Pow, Box::new(base), Box::new(exponent)), span, height)
    }

    /// An operand with its calls, attributes and subscripts.
    fn postfix(&mut self) -> Parsed<Expr> {
        let start = self.span();
        let mut value = self.atom()?;
        loop {
            let height = self.height;
            let open = self.span();
            let kind = match self.fixed(0) {
                Some(".") => {
                    self.advance();
                    let name = self.name("the name of an attribute after `.`")?;
                    ExprKind::Attribute { value: Box::new(value), name }
                }
                Some("(") => {
                    self.advance();
                    let (args, kwargs) = self.arguments(open)?;
                    ExprKind::Call { callee: Box::new(value), args, kwargs }
                }
                Some("[") => {
                    self.advance();
                    let index = Box::new(self.index(open)?);
                    ExprKind::Subscript { value: Box::new(value), index }
                }
                _ => return Ok(value),
            };
            let height =
                if matches!(kind, ExprKind::Attribute { .. }) { height } else { height.max(self.height) };
            value = self.node(kind, start.to(self.last), height)?;
        }
    }

    /// The arguments of a call and its `)`.
    pub(super) fn arguments(&mut self, open: Span) -> Parsed<(Vec<Expr>, Vec<(Name, Expr)>)> {
        let (mut args, mut kwargs): (Vec<Expr>, Vec<(Name, Expr)>) = (Vec::new(), Vec::new());
        let mut height = 0;
        while !self.at(")") {
            let start = self.span();
            if self.eat("**") {
                self.expression()?;
                let span = start.to(self.last);
                self.unsupported(
                    span,
                    "`**` in a call is left out",
                    "which arguments it passes would not be known before the program runs",
                    "write the arguments one by one: `name=value`",
                );
            } else if matches!(self.kind(), TokenKind::Name) && self.fixed(1) == Some("=") {
                let name = self.name("the name of an argument")?;
                self.advance();
                let value = self.expression()?;
                if let Some((first, _)) = kwargs.iter().find(|(n, _)| n.text == name.text) {
                    let diagnostic = Diagnostic::new(
                        Kind::Syntax,
                        name.span,
                        format!("the argument `{}` is given twice", name.text),
                    )
                    .related(first.span, "first given here");
                    self.report(diagnostic);
                }
                kwargs.push((name, value));
            } else {
                let mut value = self.element()?;
                if self.at("for") || self.at("async") {
                    value = self.collected(value)?;
                    if !args.is_empty() || !kwargs.is_empty() || !self.at(")") {
                        let span = value.span;
                        let what = "a generator expression is not the only argument";
                        let diagnostic = Diagnostic::new(Kind::Syntax, span, what);
                        self.report(diagnostic.hint("make a list of it: `[x for x in xs]`"));
                    }
                } else if let (Some((name, _)), false) =
                    (kwargs.first(), matches!(value.kind, ExprKind::Starred(_)))
                {
                    let diagnostic = Diagnostic::new(
                        Kind::Syntax,
                        value.span,
                        "an argument without a name follows one with a name",
                    )
                    .label("which parameter this is cannot be told")
                    .related(name.span, "this one has a name")
                    .hint("put arguments without names first");
                    self.report(diagnostic);
                }
                args.push(value);
            }
            height = height.max(self.height);
            if !self.eat(",") {
                break;
            }
        }
        self.close(")", open)?;
        self.height = height;
        Ok((args, kwargs))
    }

    /// A generator expression that is all that a call is given, from after its element: the list of its values, which is
    /// what TorchScript makes of it.
    fn collected(&mut self, element: Expr) -> Parsed<Expr> {
        let (start, mut height) = (element.span, self.height);
        let (target, iterable, test) = self.clauses()?;
        height = height.max(self.height);
        let (element, target, iterable) = (Box::new(element), Box::new(target), Box::new(iterable));
        let kind = ExprKind::ListComp { element, target, iterable, test: test.map(Box::new) };
        self.node(kind, start.to(self.last), height)
    }

    /// The rest of a generator expression that began at `start`.
    pub(super) fn generator(&mut self, start: Span) -> Parsed<()> {
        self.clauses()?;
        let span = start.to(self.last);
        self.unsupported(
            span,
            "generator expressions are left out",
            "values are computed when they are written, not when they are asked for",
            "make a list of it: `[x for x in xs]`",
        );
        Ok(())
    }

    /// What stands between `[` and `]` after a value, and the `]`.
    fn index(&mut self, open: Span) -> Parsed<Expr> {
        let start = self.span();
        if self.at("]") {
            let diagnostic =
                Diagnostic::new(Kind::Syntax, open.to(start), "expected an index between `[` and `]`")
                    .hint("the whole of it is `[:]`");
            return self.fail(diagnostic);
        }
        let first = self.slice_or_element()?;
        if !self.at(",") {
            self.close("]", open)?;
            return Ok(first);
        }
        let mut height = self.height;
        let mut items = vec![first];
        while self.eat(",") && !self.at("]") {
            items.push(self.slice_or_element()?);
            height = height.max(self.height);
        }
        let span = start.to(self.last);
        self.close("]", open)?;
        self.node(ExprKind::Tuple(items), span, height)
    }

    fn slice_or_element(&mut self) -> Parsed<Expr> {
        let begin = self.span();
        let mut height = 0;
        let mut parts = [None, None, None];
        let mut part = 0;
        loop {
            if self.starts_expression() {
                let expr = self.element()?;
                height = height.max(self.height);
                parts[part] = Some(Box::new(self.no_star(expr, "in an index")?));
            } else if part == 0 && !self.at(":") {
                return self.expression();
            }
            if part == 2 || !self.eat(":") {
                break;
            }
            part += 1;
        }
        let [start, stop, step] = parts;
        match start {
            Some(only) if part == 0 => {
                self.height = height;
                Ok(*only)
            }
            start => self.node(ExprKind::Slice { start, stop, step }, begin.to(self.last), height),
        }
    }
}
