//! Operators: on host numbers, on tensors, on strings and lists; comparisons and their chains.

use super::body::Body;
use super::expressions::{literal, made, wrong};
use crate::builtins;
use crate::diagnostics::{Diagnostic, Kind};
use crate::syntax::{self, BinaryOp, CompareOp, Span, UnaryOp};
use crate::tree::{Arithmetic, Constant, Conversion, Expr, ExprKind};
use crate::types::Type;

/// Whether computing a value does nothing but give it.
fn still(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Constant(_) | ExprKind::Load(_) | ExprKind::Global(_) => true,
        ExprKind::Field { object, .. } => still(object),
        _ => false,
    }
}

/// Whether a value has a type that is known and without `None`.
fn never_none(e: &Expr) -> bool {
    !matches!(e.ty, Type::Optional(_) | Type::None | Type::Unknown | Type::Never)
}

/// Whether a link of a chain of comparisons is `is None` or `is not None`.
fn asks_none(link: &(CompareOp, syntax::Expr)) -> bool {
    matches!(link.0, CompareOp::Is | CompareOp::IsNot) && link.1.kind == syntax::ExprKind::None
}

/// torch's function of an operator.
pub(crate) fn function(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "torch.add",
        BinaryOp::Sub => "torch.sub",
        BinaryOp::Mul => "torch.mul",
        BinaryOp::Div => "torch.div",
        BinaryOp::FloorDiv => "torch.floor_divide",
        BinaryOp::Mod => "torch.remainder",
        BinaryOp::Pow => "torch.pow",
        BinaryOp::MatMul => "torch.matmul",
        BinaryOp::And => "torch.bitwise_and",
        BinaryOp::Or => "torch.bitwise_or",
        BinaryOp::Xor => "torch.bitwise_xor",
        BinaryOp::Shl => "torch.bitwise_left_shift",
        BinaryOp::Shr => "torch.bitwise_right_shift",
    }
}

/// torch's function of a comparison.
pub(crate) fn compare_function(op: CompareOp) -> Option<&'static str> {
    Some(match op {
        CompareOp::Eq => "torch.eq",
        CompareOp::Ne => "torch.ne",
        CompareOp::Lt => "torch.lt",
        CompareOp::Le => "torch.le",
        CompareOp::Gt => "torch.gt",
        CompareOp::Ge => "torch.ge",
        _ => return None,
    })
}

impl Body<'_, '_> {
    pub(super) fn unary(&mut self, op: UnaryOp, inner: &syntax::Expr, span: Span) -> Expr {
        if op == UnaryOp::Not {
            let e = syntax::Expr { kind: syntax::ExprKind::Unary(op, Box::new(inner.clone())), span };
            return self.condition(&e);
        }
        // The least integer is written as the negation of one that there is not.
        if let (UnaryOp::Neg, syntax::ExprKind::Int(i64::MIN)) = (op, &inner.kind) {
            return literal(Constant::Int(i64::MIN), span);
        }
        let value = self.expr(inner);
        match (op, &value.ty, &value.kind) {
            (UnaryOp::Neg, _, ExprKind::Constant(Constant::Int(n))) if *n != i64::MIN => {
                literal(Constant::Int(-n), span)
            }
            (UnaryOp::Neg, _, ExprKind::Constant(Constant::Float(v))) => literal(Constant::Float(-v), span),
            (UnaryOp::Neg, Type::Tensor, _) => self.torch("torch.neg", vec![Some(value)], span),
            (UnaryOp::Invert, Type::Tensor, _) => self.torch("torch.bitwise_not", vec![Some(value)], span),
            (UnaryOp::Pos, Type::Tensor | Type::Int | Type::Float | Type::Number, _) => value,
            (UnaryOp::Neg, Type::Int | Type::Float | Type::Number, _) => {
                let ty = value.ty.clone();
                made(ExprKind::Negate(Box::new(value)), ty, span)
            }
            (UnaryOp::Pos, Type::Bool, _) => self.number(value),
            (UnaryOp::Neg, Type::Bool, _) => {
                let value = self.number(value);
                made(ExprKind::Negate(Box::new(value)), Type::Int, span)
            }
            (UnaryOp::Invert, Type::Int | Type::Bool, _) => {
                // ~n is -n - 1.
                let negated = made(ExprKind::Negate(Box::new(self.number(value))), Type::Int, span);
                let one = literal(Constant::Int(1), span);
                let kind =
                    ExprKind::Arithmetic(Arithmetic::Int, BinaryOp::Sub, Box::new(negated), Box::new(one));
                made(kind, Type::Int, span)
            }
            (_, Type::Unknown | Type::Never, _) => wrong(span),
            (_, ty, _) => {
                let what = format!("{ty} has no such operator");
                self.c.error(Kind::Type, span, what);
                wrong(span)
            }
        }
    }

    /// A bool as the int that it is.
    fn number(&mut self, value: Expr) -> Expr {
        if value.ty != Type::Bool {
            return value;
        }
        let span = value.span;
        made(ExprKind::Convert(Conversion::BoolToInt, Box::new(value)), Type::Int, span)
    }

    /// Two numbers as two of one type.
    pub(super) fn same_number(&mut self, a: Expr, b: Expr) -> (Expr, Expr) {
        match (&a.ty, &b.ty) {
            (Type::Int, Type::Float) => (self.converted(a, &Type::Float).unwrap_or_else(|a| a), b),
            (Type::Float, Type::Int) => (a, self.converted(b, &Type::Float).unwrap_or_else(|b| b)),
            _ => (a, b),
        }
    }

    /// A shape is a list here and a tuple in Python, so that beside a list of ints a tuple of ints is one too.
    fn as_shapes(left: Expr, right: Expr) -> (Expr, Expr) {
        let ints = Type::list(Type::Int);
        let is_ints = |ty: &Type| matches!(ty, Type::Tuple(of) if of.iter().all(|t| *t == Type::Int));
        let listed = |tuple: Expr| {
            let span = tuple.span;
            made(ExprKind::Convert(Conversion::ToInts, Box::new(tuple)), Type::list(Type::Int), span)
        };
        match (left.ty == ints, right.ty == ints) {
            (true, false) if is_ints(&right.ty) => (left, listed(right)),
            (false, true) if is_ints(&left.ty) => (listed(left), right),
            _ => (left, right),
        }
    }

    pub(super) fn binary(&mut self, op: BinaryOp, left: Expr, right: Expr, span: Span) -> Expr {
        let (left, right) = Self::as_shapes(present(left), present(right));
        let (l, r) = (left.ty.clone(), right.ty.clone());
        match (&l, &r) {
            (Type::Unknown | Type::Never, _) | (_, Type::Unknown | Type::Never) => wrong(span),
            (Type::Tensor, Type::Tensor) => self.torch(function(op), vec![Some(left), Some(right)], span),
            (Type::Tensor, n) | (n, Type::Tensor) if n.is_number() && op != BinaryOp::MatMul => {
                self.torch(function(op), vec![Some(left), Some(right)], span)
            }
            (a, b) if a.is_number() && b.is_number() && op != BinaryOp::MatMul => {
                self.arithmetic(op, left, right, span)
            }
            (Type::Str, Type::Str) if op == BinaryOp::Add => {
                self.named_builtin("str.__add__", vec![left, right], Type::Str, span)
            }
            (Type::Str, Type::Int) if op == BinaryOp::Mul => {
                self.named_builtin("str.__mul__", vec![left, right], Type::Str, span)
            }
            (Type::List(_), Type::List(_)) if op == BinaryOp::Add => match l.join(&r) {
                Some(ty) => self.named_builtin("list.__add__", vec![left, right], ty, span),
                None => self.no_operator(op, &l, &r, span),
            },
            (Type::List(_), Type::Int) if op == BinaryOp::Mul => {
                self.named_builtin("list.__mul__", vec![left, right], l, span)
            }
            (Type::Int, Type::List(_)) if op == BinaryOp::Mul => {
                self.named_builtin("list.__mul__", vec![right, left], r, span)
            }
            _ => self.no_operator(op, &l, &r, span),
        }
    }

    fn no_operator(&mut self, op: BinaryOp, l: &Type, r: &Type, span: Span) -> Expr {
        let d = Diagnostic::new(Kind::Type, span, format!("'{}' of {l} and {r}", op.symbol()));
        self.c.report(match (l, r) {
            (Type::Str, other) | (other, Type::Str) if op == BinaryOp::Add && *other != Type::Tensor => {
                d.hint("write an f-string: f\"{a}{b}\"")
            }
            (Type::Str, _) if op == BinaryOp::Mod => d.hint("write an f-string"),
            (Type::Optional(_), _) | (_, Type::Optional(_)) => {
                d.hint("one of them may be None; test 'is not None' first")
            }
            (Type::List(_), Type::Tensor) | (Type::Tensor, Type::List(_)) => {
                d.hint("make a tensor: 'torch.tensor(list)'")
            }
            _ => d,
        });
        wrong(span)
    }

    fn arithmetic(&mut self, op: BinaryOp, left: Expr, right: Expr, span: Span) -> Expr {
        let bools = left.ty == Type::Bool && right.ty == Type::Bool;
        let (left, right) = (self.number(left), self.number(right));
        let (left, right) = self.same_number(left, right);
        let bitwise =
            matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Xor | BinaryOp::Shl | BinaryOp::Shr);
        if bitwise && (left.ty == Type::Float || right.ty == Type::Float) {
            return self.no_operator(op, &left.ty.clone(), &right.ty.clone(), span);
        }
        let kind = match (&left.ty, &right.ty) {
            (Type::Int, Type::Int) => Arithmetic::Int,
            (Type::Float, Type::Float) => Arithmetic::Float,
            _ => Arithmetic::Number,
        };
        let float = left.ty == Type::Float || right.ty == Type::Float || op == BinaryOp::Div;
        let known = matches!(&right.kind, ExprKind::Constant(Constant::Int(n)) if *n >= 0);
        let ty = match kind {
            _ if float => Type::Float,
            Arithmetic::Int if op == BinaryOp::Pow && !known => Type::Number,
            Arithmetic::Int => Type::Int,
            _ => Type::Number,
        };
        let e = made(ExprKind::Arithmetic(kind, op, Box::new(left), Box::new(right)), ty, span);
        match bools && bitwise && !matches!(op, BinaryOp::Shl | BinaryOp::Shr) {
            true => made(ExprKind::Convert(Conversion::Truth, Box::new(e)), Type::Bool, span),
            false => e,
        }
    }

    pub(super) fn comparison(
        &mut self,
        first: &syntax::Expr,
        rest: &[(CompareOp, syntax::Expr)],
        span: Span,
    ) -> Expr {
        let mut left = self.expr(first);
        let mut whole: Option<Expr> = None;
        for (i, (op, right)) in rest.iter().enumerate() {
            let right = match (&left.ty, op) {
                (Type::List(_) | Type::Dict(_), _) => {
                    let ty = left.ty.clone();
                    self.expr_like(right, &ty)
                }
                _ => self.expr(right),
            };
            // What is compared twice is computed once.
            let (right, next) = match i + 1 < rest.len() {
                // `... is None` of what cannot be is known without it.
                true if never_none(&right) && asks_none(&rest[i + 1]) || right.ty == Type::None => {
                    let next = literal(Constant::None, right.span);
                    let ty = right.ty.clone();
                    (right, Some(Expr { ty, ..next }))
                }
                true => {
                    let (ty, at) = (right.ty.clone(), right.span);
                    let slot = self.temporary(ty.clone());
                    let kept = made(ExprKind::Keep { slot, value: Box::new(right) }, ty.clone(), at);
                    (kept, Some(made(ExprKind::Load(slot), ty, at)))
                }
                false => (right, None),
            };
            let one = self.compare(*op, left, right, span);
            whole = Some(match whole {
                None => one,
                Some(before) => {
                    let (a, b) = (self.truth(before), self.truth(one));
                    let kind = ExprKind::Logical { and: true, left: Box::new(a), right: Box::new(b) };
                    made(kind, Type::Bool, span)
                }
            });
            match next {
                Some(next) => left = next,
                None => break,
            }
        }
        whole.unwrap_or_else(|| wrong(span))
    }

    fn compare(&mut self, op: CompareOp, left: Expr, right: Expr, span: Span) -> Expr {
        let (left, right) = match op {
            CompareOp::Is | CompareOp::IsNot | CompareOp::In | CompareOp::NotIn => (left, right),
            _ => Self::as_shapes(left, right),
        };
        let (l, r) = (left.ty.clone(), right.ty.clone());
        if matches!(l, Type::Unknown | Type::Never) || matches!(r, Type::Unknown | Type::Never) {
            return Expr { ty: if l == Type::Unknown { Type::Unknown } else { Type::Bool }, ..wrong(span) };
        }
        let simple =
            |left, right| made(ExprKind::Compare(op, Box::new(left), Box::new(right)), Type::Bool, span);
        match op {
            CompareOp::Is | CompareOp::IsNot => {
                let none = matches!(l, Type::None) || matches!(r, Type::None);
                let maybe = matches!(l, Type::Optional(_) | Type::None)
                    && matches!(r, Type::Optional(_) | Type::None);
                // What is known beforehand is not computed, unless computing it does something: a call may, and a
                // middle of a chain is kept for what comes after it.
                let settled = still(&left) && still(&right);
                if none && !maybe && settled {
                    return literal(Constant::Bool(op == CompareOp::IsNot), span);
                }
                if l == Type::None && r == Type::None && settled {
                    return literal(Constant::Bool(op == CompareOp::Is), span);
                }
                let shared = matches!(l, Type::Tensor | Type::Object(..) | Type::List(_) | Type::Dict(_));
                let bools = l == Type::Bool && r == Type::Bool;
                if !(none || shared || bools) {
                    let d = Diagnostic::new(Kind::Type, span, format!("'is' of {l} and {r}"));
                    self.c.report(d.hint("'is' compares with None; values are compared with '=='"));
                }
                simple(left, right)
            }
            CompareOp::In | CompareOp::NotIn => {
                let name = match (&r, &l) {
                    (Type::Str, Type::Str) => "str.__contains__",
                    (Type::List(of), l) if l.join(of).is_some() || (l.is_number() && of.is_number()) => {
                        "list.__contains__"
                    }
                    (Type::Tuple(_), _) => "tuple.__contains__",
                    (Type::Tensor, l) if *l == Type::Tensor || l.is_number() => "Tensor.__contains__",
                    (Type::Dict(of), l) if l.fits(&of.0) => "dict.__contains__",
                    _ => {
                        self.c.error(Kind::Type, span, format!("'in' of {l} and {r}"));
                        return wrong(span);
                    }
                };
                let found = self.named_builtin(name, vec![right, left], Type::Bool, span);
                match op {
                    CompareOp::NotIn => made(ExprKind::Not(Box::new(found)), Type::Bool, span),
                    _ => found,
                }
            }
            _ => match (&l, &r) {
                (Type::Tensor, t) | (t, Type::Tensor) if *t == Type::Tensor || t.is_number() => {
                    match compare_function(op) {
                        Some(call) => self.torch(call, vec![Some(left), Some(right)], span),
                        None => wrong(span),
                    }
                }
                (a, b) if a.is_number() && b.is_number() => {
                    let (left, right) = (self.number(left), self.number(right));
                    let (left, right) = self.same_number(left, right);
                    simple(left, right)
                }
                (Type::Str, Type::Str) => simple(left, right),
                _ if matches!(op, CompareOp::Eq | CompareOp::Ne) && l.join(&r).is_some() => {
                    if matches!(l, Type::Object(..)) {
                        let what =
                            format!("objects of '{l}' are compared by their attributes, not with '=='");
                        self.c.error(Kind::Unsupported, span, what);
                    }
                    simple(left, right)
                }
                (Type::List(_) | Type::Tuple(_), Type::List(_) | Type::Tuple(_)) if l.join(&r).is_some() => {
                    simple(left, right)
                }
                _ => {
                    let d = Diagnostic::new(Kind::Type, span, format!("{l} compared with {r}"));
                    self.c.report(match (&l, &r) {
                        (Type::Optional(_), _) | (_, Type::Optional(_)) => {
                            d.hint("one of them may be None; test 'is not None' first")
                        }
                        _ => d,
                    });
                    wrong(span)
                }
            },
        }
    }

    /// A builtin that an operator stands for.
    pub(super) fn named_builtin(&mut self, name: &str, args: Vec<Expr>, ty: Type, span: Span) -> Expr {
        match builtins::find(name).next() {
            Some(builtin) => made(ExprKind::Builtin(builtin, args), ty, span),
            None => {
                self.c.error(Kind::Unsupported, span, format!("'{name}' is not known"));
                wrong(span)
            }
        }
    }
}

/// The gradient of a tensor where a tensor is needed: TorchScript types `.grad` as one, and fails where there is none.
pub(super) fn present(e: Expr) -> Expr {
    match &e.kind {
        ExprKind::Builtin(builtin, _) if builtin.name == "Tensor.grad" => {
            let span = e.span;
            made(ExprKind::Convert(Conversion::Unwrap, Box::new(e)), Type::Tensor, span)
        }
        _ => e,
    }
}
