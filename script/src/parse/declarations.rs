//! Functions, classes, and their decorators.

use super::{Parsed, Parser};
use crate::diagnostics::{Diagnostic, Kind};
use crate::lex::TokenKind;
use crate::syntax::{Class, Expr, ExprKind, Field, Function, Parameter, Span, Stmt, StmtKind};

impl Parser<'_> {
    /// `@decorator` lines before a function or class.
    pub(super) fn decorators(&mut self) -> Parsed<Vec<Expr>> {
        let mut decorators = Vec::new();
        while self.eat("@") {
            let decorator = self.expression()?;
            if !plain_decorator(&decorator) {
                self.unsupported(
                    decorator.span,
                    "this decorator is left out",
                    "decorators are names, or calls of names whose arguments are names and literals",
                    "the program is read, not run: what a decorator computes is not known",
                );
            }
            decorators.push(decorator);
            if !matches!(self.kind(), TokenKind::Newline) {
                let diagnostic = self.expected("the end of the line after a decorator");
                return self.fail(diagnostic);
            }
            self.advance();
        }
        if !decorators.is_empty() && !self.at_any(&["def", "class", "@", "async"]) {
            let diagnostic = self.expected("a function or class after the decorator");
            return self.fail(diagnostic);
        }
        Ok(decorators)
    }

    /// `[T]` after the name of a function or class.
    fn type_parameters(&mut self) -> Parsed<()> {
        let open = self.span();
        if !self.eat("[") {
            return Ok(());
        }
        while !self.at("]") && !matches!(self.kind(), TokenKind::Newline | TokenKind::End) {
            self.advance();
        }
        self.close("]", open)?;
        let span = open.to(self.last);
        self.unsupported(
            span,
            "type parameters are left out",
            "every value has one type that is known before the program runs",
            "write one function for each type",
        );
        Ok(())
    }

    /// A function from its `def`.
    pub(super) fn function(&mut self, decorators: Vec<Expr>) -> Parsed<Function> {
        let start = self.span();
        self.expect("def", "of a function")?;
        let name = self.name("the name of a function")?;
        self.type_parameters()?;
        let open = self.span();
        self.expect("(", "after the name of a function")?;
        let parameters = self.parameters()?;
        self.close(")", open)?;
        let returns = if self.eat("->") { Some(self.expression()?) } else { None };
        let header = start.to(self.last);
        let outer = std::mem::replace(&mut self.in_loop, false);
        let mut body = Vec::new();
        let documented = self.docstring();
        let read = self.block("the header of this function", header, &mut body);
        self.in_loop = outer;
        read?;
        if documented && !body.is_empty() {
            body.remove(0);
        }
        Ok(Function { name, parameters, returns, decorators, body, span: start.to(self.last) })
    }

    /// Whether the block that begins at this `:` begins with a string alone.
    fn docstring(&self) -> bool {
        let indented =
            matches!(self.ahead(1), TokenKind::Newline) && matches!(self.ahead(2), TokenKind::Indent);
        let mut at = if indented { 3 } else { 1 };
        let first = at;
        while matches!(self.ahead(at), TokenKind::Str(_)) {
            at += 1;
        }
        at > first && matches!(self.ahead(at), TokenKind::Newline | TokenKind::Fixed(";"))
    }

    fn parameters(&mut self) -> Parsed<Vec<Parameter>> {
        let mut parameters: Vec<Parameter> = Vec::new();
        let mut star: Option<Span> = None;
        while !self.at(")") {
            let start = self.span();
            if self.eat("**") {
                self.variadic(start, "**")?;
            } else if self.eat("*") {
                if matches!(self.kind(), TokenKind::Name) {
                    self.variadic(start, "*")?;
                } else if star.is_some() {
                    let diagnostic =
                        Diagnostic::new(Kind::Syntax, start, "a second `*` among the parameters");
                    self.report(diagnostic);
                }
                star = Some(start);
            } else if !self.eat("/") {
                let parameter = self.parameter(star.is_some())?;
                self.check_parameter(&parameters, &parameter);
                parameters.push(parameter);
            }
            if !self.eat(",") {
                break;
            }
        }
        let keywords = parameters.iter().any(|p| p.keyword_only);
        if let Some(span) = star.filter(|&s| !keywords && self.slice(s) == "*" && self.last.end <= s.end + 2)
        {
            let diagnostic = Diagnostic::new(Kind::Syntax, span, "no parameter follows this `*`")
                .label("what stands after it is given by name only")
                .hint("remove the `*`");
            self.report(diagnostic);
        }
        Ok(parameters)
    }

    fn variadic(&mut self, start: Span, stars: &str) -> Parsed<()> {
        let name = self.name("a name")?;
        if self.eat(":") {
            self.element()?;
        }
        let span = start.to(name.span);
        self.unsupported(
            span,
            &format!("`{stars}{}` is left out", name.text),
            "the number and types of a function's arguments are known before the program runs",
            "name the parameters one by one, or take a list",
        );
        Ok(())
    }

    fn parameter(&mut self, keyword_only: bool) -> Parsed<Parameter> {
        let name = self.name("the name of a parameter")?;
        let annotation = if self.eat(":") { Some(self.expression()?) } else { None };
        let default = if self.eat("=") { Some(self.expression()?) } else { None };
        Ok(Parameter { name, annotation, default, keyword_only })
    }

    fn check_parameter(&mut self, before: &[Parameter], new: &Parameter) {
        let span = new.name.span;
        if let Some(first) = before.iter().find(|p| p.name.text == new.name.text) {
            let message = format!("two parameters are named `{}`", new.name.text);
            let diagnostic =
                Diagnostic::new(Kind::Syntax, span, message).related(first.name.span, "the first of them");
            self.report(diagnostic);
        }
        let optional = before.iter().rfind(|p| p.default.is_some());
        if let (Some(optional), None, false) = (optional, &new.default, new.keyword_only) {
            let message = format!("`{}` has no default but follows a parameter that has one", new.name.text);
            let diagnostic = Diagnostic::new(Kind::Syntax, span, message)
                .related(optional.name.span, "this one has a default")
                .hint("give it a default too, or put it first");
            self.report(diagnostic);
        }
    }

    /// A class from its `class`.
    pub(super) fn class(&mut self, decorators: Vec<Expr>) -> Parsed<Class> {
        let start = self.span();
        self.expect("class", "of a class")?;
        let name = self.name("the name of a class")?;
        self.type_parameters()?;
        let open = self.span();
        let mut bases = Vec::new();
        if self.eat("(") {
            let (args, kwargs) = self.arguments(open)?;
            for base in args {
                bases.push(self.no_star(base, "among the bases of a class")?);
            }
            for (keyword, _) in kwargs {
                self.unsupported(
                    keyword.span,
                    "arguments of a class are left out",
                    "metaclasses do not exist here",
                    "remove it",
                );
            }
        }
        let header = start.to(self.last);
        let (mut fields, mut methods) = (Vec::new(), Vec::new());
        let outer = std::mem::replace(&mut self.in_loop, false);
        let body = self.class_body(header, &mut fields, &mut methods);
        self.in_loop = outer;
        body?;
        Ok(Class { name, bases, decorators, fields, methods, span: start.to(self.last) })
    }

    fn class_body(
        &mut self,
        header: Span,
        fields: &mut Vec<Field>,
        methods: &mut Vec<Function>,
    ) -> Parsed<()> {
        let what = "the header of this class";
        self.colon(what, header)?;
        let mut statements = Vec::new();
        if matches!(self.kind(), TokenKind::Newline) {
            self.advance();
            self.indented_block(what, header, |p| p.members(&mut statements, methods));
        } else {
            self.simple_line(&mut statements)?;
        }
        statements.into_iter().for_each(|s| self.field_of(s, fields));
        Ok(())
    }

    fn members(&mut self, statements: &mut Vec<Stmt>, methods: &mut Vec<Function>) {
        loop {
            match self.kind() {
                TokenKind::Dedent | TokenKind::End => return,
                TokenKind::Fixed("def" | "@" | "async" | "class") => {
                    if self.member(methods).is_err() {
                        self.recover();
                    }
                }
                TokenKind::Indent => self.unexpected_indent(statements),
                TokenKind::Newline => self.advance(),
                _ => self.line(statements),
            }
        }
    }

    fn member(&mut self, methods: &mut Vec<Function>) -> Parsed<()> {
        let decorators = self.decorators()?;
        let start = self.span();
        if self.at("class") {
            self.unsupported(
                start,
                "a class within a class is left out",
                "types have one name each, at the top of the file",
                "define the class at the top of the file",
            );
            return self.class(decorators).map(|_| ());
        }
        self.not_async();
        methods.push(self.function(decorators)?);
        Ok(())
    }

    /// Takes an `async` and reports it.
    pub(super) fn not_async(&mut self) {
        let span = self.span();
        if self.eat("async") {
            self.unsupported(
                span,
                "`async` is left out",
                "programs run on one thread, and nothing in them waits",
                "write an ordinary `def`, `for` or `with`",
            );
        }
    }

    fn field_of(&mut self, statement: Stmt, fields: &mut Vec<Field>) {
        match statement.kind {
            StmtKind::Pass => return,
            StmtKind::Annotated { target, annotation, value } => {
                if let Some(name) = self.as_name(&target) {
                    return fields.push(Field { name, annotation: Some(annotation), value });
                }
            }
            StmtKind::Assign { targets, value } => {
                let names: Vec<_> = targets.iter().filter_map(|t| self.as_name(t)).collect();
                if names.len() == targets.len() {
                    let field = |name| Field { name, annotation: None, value: Some(value.clone()) };
                    return fields.extend(names.into_iter().map(field));
                }
            }
            _ => {}
        }
        self.unsupported(
            statement.span,
            "this statement in a class is left out",
            "a class holds fields and methods: its body declares, and runs nothing",
            "move it into `__init__` or another method",
        );
    }
}

/// A dotted name, or a call of one with names and literals.
fn plain_decorator(decorator: &Expr) -> bool {
    fn dotted(expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Name(_) => true,
            ExprKind::Attribute { value, .. } => dotted(value),
            _ => false,
        }
    }
    let plain = |e: &Expr| {
        dotted(e)
            || matches!(
                e.kind,
                ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Str(_) | ExprKind::Bool(_) | ExprKind::None
            )
    };
    match &decorator.kind {
        ExprKind::Call { callee, args, kwargs } => {
            dotted(callee) && args.iter().all(plain) && kwargs.iter().all(|(_, v)| plain(v))
        }
        _ => dotted(decorator),
    }
}
