//! Expressions and their types.

use super::body::Body;
use crate::diagnostics::{Diagnostic, Kind};
use crate::syntax::{self, ExprKind as E, FPart, Span, UnaryOp};
use crate::tree::{Constant, Conversion, Expr, ExprKind, Piece};
use crate::types::Type;
use runtime::DType;
use std::sync::Arc;

/// An expression of a known kind.
pub(super) fn made(kind: ExprKind, ty: Type, span: Span) -> Expr {
    Expr { kind, ty, span }
}

/// A value in the source.
pub(super) fn literal(value: Constant, span: Span) -> Expr {
    let ty = match &value {
        Constant::None => Type::None,
        Constant::Int(_) => Type::Int,
        Constant::Float(_) => Type::Float,
        Constant::Bool(_) => Type::Bool,
        Constant::Str(_) => Type::Str,
        Constant::DType(_) => Type::DType,
    };
    made(ExprKind::Constant(value), ty, span)
}

/// What is put where an error was reported.
pub(super) fn wrong(span: Span) -> Expr {
    made(ExprKind::Constant(Constant::None), Type::Unknown, span)
}

/// What makes a value of one type one of another that it does not fit.
pub(crate) fn conversion(from: &Type, to: &Type) -> Option<Conversion> {
    Some(match (from, to) {
        (Type::Int | Type::Number, Type::Float) => Conversion::IntToFloat,
        (Type::Tensor, Type::Float) => Conversion::TensorToFloat,
        (Type::Tensor, Type::Int) => Conversion::TensorToInt,
        _ => return None,
    })
}

/// Names of paths that are values.
pub(super) fn constant_path(path: &str) -> Option<Constant> {
    let float = |v: f64| Some(Constant::Float(v));
    match path {
        "math.pi" | "torch.pi" => return float(std::f64::consts::PI),
        "math.e" | "torch.e" => return float(std::f64::consts::E),
        "math.tau" => return float(std::f64::consts::TAU),
        "math.inf" | "torch.inf" => return float(f64::INFINITY),
        "math.nan" | "torch.nan" => return float(f64::NAN),
        _ => {}
    }
    Some(Constant::DType(match path.strip_prefix("torch.")? {
        "float32" | "float" => DType::F32,
        "float64" | "double" => DType::F64,
        "float16" | "half" => DType::F16,
        "bfloat16" => DType::BF16,
        "int64" | "long" => DType::I64,
        "int32" | "int" => DType::I32,
        "uint8" => DType::U8,
        "bool" => DType::Bool,
        _ => return None,
    }))
}

impl Body<'_, '_> {
    /// An expression.
    pub(super) fn expr(&mut self, e: &syntax::Expr) -> Expr {
        self.expr_hinted(e, None)
    }

    /// An expression where a value of this type is wanted: empty lists and `None` take it. It is not an error if the type
    /// is another one.
    pub(super) fn expr_like(&mut self, e: &syntax::Expr, wanted: &Type) -> Expr {
        self.expr_hinted(e, Some(wanted))
    }

    /// An expression that must have this type; what converts without loss is converted.
    pub(super) fn expr_as(&mut self, e: &syntax::Expr, wanted: &Type, what: &str) -> Expr {
        let value = self.expr_hinted(e, Some(wanted));
        self.coerced(value, wanted, what)
    }

    /// A value as one of this type.
    pub(super) fn coerced(&mut self, value: Expr, wanted: &Type, what: &str) -> Expr {
        match self.converted(value, wanted) {
            Ok(value) => value,
            Err(value) => {
                let text = format!("{what} must be {wanted}, not {}", value.ty);
                let d = Diagnostic::new(Kind::Type, value.span, text).label(format!("this is {}", value.ty));
                self.c.report(match (&value.ty, wanted) {
                    (Type::Optional(of), w) if of.fits(w) => {
                        d.hint("it may be None; test 'is not None' before, or assert it")
                    }
                    (Type::Number, Type::Int) => d.hint("it may be a float; write 'int(...)'"),
                    (Type::Float, Type::Int) => d.hint("write 'int(...)', which rounds towards zero"),
                    (Type::Int | Type::Float | Type::Bool | Type::Number, Type::Tensor) => {
                        d.hint("write 'torch.tensor(...)'")
                    }
                    _ => d,
                });
                Expr { ty: Type::Unknown, ..value }
            }
        }
    }

    /// A value as one of this type if it converts, else itself.
    pub(super) fn towards(&mut self, value: Expr, wanted: &Type) -> Expr {
        self.converted(value, wanted).unwrap_or_else(|value| value)
    }

    /// A value as one of this type, or itself where it does not convert.
    #[allow(clippy::result_large_err, reason = "the value that does not convert is given back")]
    pub(super) fn converted(&mut self, value: Expr, wanted: &Type) -> Result<Expr, Expr> {
        if value.ty.fits(wanted) {
            return Ok(value);
        }
        match (&value.ty, wanted) {
            (_, Type::Optional(of)) => return self.converted(value, &of.clone()),
            (Type::Int | Type::Float | Type::Bool, Type::Number) => {
                return Ok(Expr { ty: Type::Number, ..value });
            }
            _ => {}
        }
        let Some(conversion) = conversion(&value.ty, wanted) else { return Err(value) };
        let span = value.span;
        Ok(made(ExprKind::Convert(conversion, Box::new(value)), wanted.clone(), span))
    }

    /// A test: a bool, or what has a truth.
    pub(super) fn condition(&mut self, e: &syntax::Expr) -> Expr {
        match &e.kind {
            E::Unary(UnaryOp::Not, inner) => {
                let inner = self.condition(inner);
                self.negated(inner, e.span)
            }
            E::Logical { and, left, right } => {
                let left_tree = self.condition(left);
                let before = self.state.clone();
                self.learn(left, *and);
                let right = self.condition(right);
                self.state = before;
                let kind = ExprKind::Logical { and: *and, left: Box::new(left_tree), right: Box::new(right) };
                made(kind, Type::Bool, e.span)
            }
            _ => {
                let value = self.expr(e);
                if !matches!(value.ty, Type::Bool | Type::Unknown | Type::Never) {
                    self.loose = Some((value.span, value.ty.clone()));
                }
                self.truth(value)
            }
        }
    }

    fn negated(&mut self, inner: Expr, span: Span) -> Expr {
        match inner.kind {
            ExprKind::Constant(Constant::Bool(b)) => literal(Constant::Bool(!b), span),
            _ => made(ExprKind::Not(Box::new(inner)), Type::Bool, span),
        }
    }

    /// A value's truth.
    pub(super) fn truth(&mut self, value: Expr) -> Expr {
        let conversion = match &value.ty {
            Type::Bool | Type::Unknown | Type::Never => return value,
            Type::Tensor => Conversion::TensorToBool,
            Type::Int | Type::Float | Type::Number | Type::Str | Type::List(_) | Type::Dict(_) => {
                Conversion::Truth
            }
            Type::Optional(of) if !matches!(**of, Type::Tensor) => Conversion::Truth,
            other => {
                let d = Diagnostic::new(Kind::Type, value.span, format!("{other} is no condition"));
                self.c.report(match other {
                    Type::Optional(_) => d.hint("test 'is not None'"),
                    _ => d.hint("compare it with something"),
                });
                return Expr { ty: Type::Unknown, ..value };
            }
        };
        let span = value.span;
        made(ExprKind::Convert(conversion, Box::new(value)), Type::Bool, span)
    }

    fn expr_hinted(&mut self, e: &syntax::Expr, wanted: Option<&Type>) -> Expr {
        let span = e.span;
        match &e.kind {
            E::Name(name) => self.load(name, span),
            E::Int(n) => literal(Constant::Int(*n), span),
            E::Float(v) => literal(Constant::Float(*v), span),
            E::Str(s) => literal(Constant::Str((&**s).into()), span),
            E::Bool(b) => literal(Constant::Bool(*b), span),
            E::None => literal(Constant::None, span),
            E::FString(parts) => {
                let pieces = parts.iter().map(|p| self.piece(p)).collect();
                made(ExprKind::FString(pieces), Type::Str, span)
            }
            E::List(parts) => self.list(parts, wanted, span),
            E::Tuple(parts) => {
                let hints: Option<Arc<[Type]>> = match wanted {
                    Some(Type::Tuple(of)) if of.len() == parts.len() => Some(of.clone()),
                    _ => None,
                };
                let mut of = Vec::with_capacity(parts.len());
                for (i, part) in parts.iter().enumerate() {
                    let value = match &hints {
                        Some(hints) => {
                            let value = self.expr_like(part, &hints[i]);
                            self.converted(value, &hints[i]).unwrap_or_else(|v| v)
                        }
                        None => self.expr(part),
                    };
                    of.push(value);
                }
                let ty = Type::tuple(of.iter().map(|v| super::body::settled(&v.ty)).collect::<Vec<_>>());
                made(ExprKind::Tuple(of), ty, span)
            }
            E::Dict(entries) => self.dict(entries, wanted, span),
            E::ListComp { element, target, iterable, test } => {
                let iterable = self.expr(iterable);
                let of = self.element_of(&iterable);
                let outer = self.state.clone();
                let (target, test, element) = self.within(|b| {
                    let target = b.target(target, &of, None);
                    let condition = test.as_ref().map(|t| {
                        let c = b.inner_condition(t);
                        b.learn(t, true);
                        Box::new(c)
                    });
                    let element = match wanted {
                        Some(Type::List(of)) => b.expr_as(element, of, "an element"),
                        _ => b.expr(element),
                    };
                    (target, condition, element)
                });
                self.state = outer;
                let ty = Type::list(element.ty.clone());
                let kind = ExprKind::ListComp {
                    element: Box::new(element),
                    target: Box::new(target),
                    iterable: Box::new(iterable),
                    test,
                };
                made(kind, ty, span)
            }
            E::Unary(op, inner) => self.unary(*op, inner, span),
            E::Binary(op, left, right) => {
                let left = self.expr_hinted(left, wanted.filter(|w| matches!(w, Type::List(_))));
                let right = match &left.ty {
                    Type::List(_) => {
                        let ty = left.ty.clone();
                        self.expr_like(right, &ty)
                    }
                    _ => self.expr(right),
                };
                self.binary(*op, left, right, span)
            }
            E::Logical { .. } => self.logical_value(e),
            E::Compare { first, rest } => self.comparison(first, rest, span),
            E::Conditional { test, then, otherwise } => {
                let condition = self.inner_condition(test);
                let before = self.state.clone();
                self.learn(test, true);
                let then = self.expr_hinted(then, wanted);
                self.state = before.clone();
                self.learn(test, false);
                let otherwise = self.expr_hinted(otherwise, wanted);
                self.state = before;
                match super::statements::constant(&condition) {
                    Some(true) => return then,
                    Some(false) => return otherwise,
                    None => {}
                }
                let (then, otherwise) = self.same_number(then, otherwise);
                // Two kinds of numbers are what is wanted of them, or any number.
                let number = then.ty.is_number() && otherwise.ty.is_number() && then.ty != otherwise.ty;
                let (then, otherwise) = match wanted.or(number.then_some(&Type::Number)) {
                    Some(ty) if then.ty != otherwise.ty => {
                        (self.towards(then, ty), self.towards(otherwise, ty))
                    }
                    _ => (then, otherwise),
                };
                let ty = then.ty.join(&otherwise.ty).unwrap_or_else(|| {
                    let what = format!("one way gives {}, the other {}", then.ty, otherwise.ty);
                    self.c.error(Kind::Type, span, what);
                    Type::Unknown
                });
                let kind = ExprKind::Conditional {
                    test: Box::new(condition),
                    then: Box::new(then),
                    otherwise: Box::new(otherwise),
                };
                made(kind, ty, span)
            }
            E::Call { callee, args, kwargs } => self.call(callee, args, kwargs, span, wanted),
            E::Attribute { value, name } => {
                if let Some(path) = self.path_of(e) {
                    return match constant_path(&path) {
                        Some(constant) => literal(constant, span),
                        None => {
                            let d = Diagnostic::new(Kind::Name, span, format!("'{path}' is no value here"));
                            self.c.report(
                                d.hint("constants of math, dtypes, and functions that are called are known"),
                            );
                            wrong(span)
                        }
                    };
                }
                let object = self.expr(value);
                self.attribute(object, name, span)
            }
            E::Subscript { value, index } => {
                let container = self.expr(value);
                self.subscript(container, index, span)
            }
            E::Missing => wrong(span),
            E::Ellipsis | E::Slice { .. } | E::Starred(_) => {
                self.c.error(Kind::Syntax, span, "this stands only within an index or a call");
                wrong(span)
            }
        }
    }

    /// A path, unless a local variable hides its first name.
    pub(super) fn path_of(&self, e: &syntax::Expr) -> Option<String> {
        let mut root = e;
        while let E::Attribute { value, .. } = &root.kind {
            root = value;
        }
        match &root.kind {
            E::Name(name) if self.local(name).is_none() => self.c.path(e),
            _ => None,
        }
    }

    fn piece(&mut self, part: &FPart) -> Piece {
        match part {
            FPart::Text(text) => Piece::Text((&**text).into()),
            FPart::Value { value, conversion, spec } => {
                Piece::Value(self.expr(value), *conversion, (&**spec).into())
            }
        }
    }

    fn list(&mut self, parts: &[syntax::Expr], wanted: Option<&Type>, span: Span) -> Expr {
        let of = match wanted {
            Some(Type::List(of)) => Some((**of).clone()),
            Some(Type::Optional(inner)) => match &**inner {
                Type::List(of) => Some((**of).clone()),
                _ => None,
            },
            _ => None,
        };
        if let Some(of) = of.filter(|of| *of != Type::Unknown) {
            let parts: Vec<Expr> = parts
                .iter()
                .map(|p| {
                    let value = self.expr_like(p, &of);
                    self.converted(value, &of).unwrap_or_else(|v| v)
                })
                .collect();
            if parts.iter().all(|p| p.ty.fits(&of)) {
                return made(ExprKind::List(parts), Type::list(of), span);
            }
            return self.joined(parts, span);
        }
        let parts = parts.iter().map(|p| self.expr(p)).collect();
        self.joined(parts, span)
    }

    /// A list of the type that all its elements have; ints among floats become floats.
    fn joined(&mut self, mut parts: Vec<Expr>, span: Span) -> Expr {
        if parts.iter().any(|p| p.ty == Type::Float)
            && parts.iter().all(|p| p.ty.is_number() && p.ty != Type::Bool)
        {
            parts =
                parts.into_iter().map(|p| self.converted(p, &Type::Float).unwrap_or_else(|p| p)).collect();
        }
        let mut ty = Type::Unknown;
        for part in &parts {
            match ty.join(&part.ty) {
                Some(both) => ty = both,
                None => {
                    let d = Diagnostic::new(Kind::Type, part.span, format!("{} in a list of {ty}", part.ty));
                    self.c.report(d.hint("the elements of a list have one type; a tuple's may differ"));
                    return made(ExprKind::List(parts), Type::list(Type::Unknown), span);
                }
            }
        }
        made(ExprKind::List(parts), Type::list(ty), span)
    }

    fn dict(&mut self, entries: &[(syntax::Expr, syntax::Expr)], wanted: Option<&Type>, span: Span) -> Expr {
        let (mut key, mut value) = match wanted {
            Some(Type::Dict(of)) => (Some(of.0.clone()), Some(of.1.clone())),
            _ => (None, None),
        };
        let mut out = Vec::with_capacity(entries.len());
        for (k, v) in entries {
            let mut one = |wanted: &mut Option<Type>, e: &syntax::Expr, what: &str| {
                let tree = match &*wanted {
                    Some(ty) => self.expr_as(e, ty, what),
                    None => self.expr(e),
                };
                wanted.get_or_insert_with(|| super::body::settled(&tree.ty));
                tree
            };
            out.push((one(&mut key, k, "a key of this dict"), one(&mut value, v, "a value of this dict")));
        }
        let ty = Type::dict(key.unwrap_or(Type::Unknown), value.unwrap_or(Type::Unknown));
        made(ExprKind::Dict(out), ty, span)
    }

    /// `a and b` gives one of its operands in Python; here it is a bool, so that only bools may be used as values.
    fn logical_value(&mut self, e: &syntax::Expr) -> Expr {
        let outer = self.loose.take();
        let value = self.condition(e);
        if let Some((span, ty)) = std::mem::replace(&mut self.loose, outer) {
            let d = Diagnostic::new(Kind::Type, span, format!("{ty} in a value made by 'and' or 'or'"));
            self.c.report(d.hint("Python gives one of the operands; write 'a if test else b'"));
        }
        value
    }

    /// The test of a conditional expression, in which anything with a truth may stand.
    fn inner_condition(&mut self, e: &syntax::Expr) -> Expr {
        let outer = self.loose.take();
        let value = self.condition(e);
        self.loose = outer;
        value
    }

    fn attribute(&mut self, object: Expr, name: &syntax::Name, span: Span) -> Expr {
        match object.ty.clone() {
            Type::Object(id, class) => {
                self.complete(id);
                if let Some(field) = self.c.field(id, &name.text) {
                    let ty = self.c.classes[id.0 as usize].fields[field as usize].ty.clone();
                    return made(ExprKind::Field { object: Box::new(object), field }, ty, span);
                }
                let d = Diagnostic::new(
                    Kind::Name,
                    name.span,
                    format!("'{class}' has no attribute '{}'", name.text),
                );
                self.c.report(match self.c.method(id, &name.text) {
                    Some(_) => d.hint("it is a method; call it"),
                    None => d.hint("attributes are made in '__init__' or declared in the class"),
                });
                wrong(span)
            }
            Type::Named(names, of) => match names.iter().position(|n| **n == *name.text) {
                Some(place) => {
                    let key = Box::new(literal(Constant::Int(place as i64), name.span));
                    made(ExprKind::Item { container: Box::new(object), key }, of[place].clone(), span)
                }
                None => {
                    let d =
                        Diagnostic::new(Kind::Name, name.span, format!("no part is called '{}'", name.text));
                    self.c.report(d.hint(format!("the parts are {}", names.join(", "))));
                    wrong(span)
                }
            },
            Type::Tensor => match &*name.text {
                "T" | "mT" => {
                    let call = if &*name.text == "T" { "torch.t" } else { "torch.adjoint" };
                    self.torch(call, vec![Some(object)], span)
                }
                "data" => self.torch("torch.detach", vec![Some(object)], span),
                _ => self.builtin_attribute(object, name, span),
            },
            Type::DType | Type::Device => self.builtin_attribute(object, name, span),
            Type::Unknown | Type::Never => wrong(span),
            Type::Optional(of) => {
                let d = Diagnostic::new(Kind::Type, span, format!("'{}' of what may be None", name.text));
                self.c.report(d.hint(format!(
                    "test 'is not None' first; then it is {of} (of an attribute take a local copy)"
                )));
                wrong(span)
            }
            other => {
                let what = format!("{other} has no attribute '{}'", name.text);
                self.c.error(Kind::Name, name.span, what);
                wrong(span)
            }
        }
    }
}
