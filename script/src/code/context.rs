//! What the checker would make of an expression where it stands: which types it hints at and which conversions it puts in
//! by itself. What it would not make again is annotated.

use crate::check::{conversion, settled};
use crate::syntax::BinaryOp;
use crate::tree::{Arithmetic, Constant, Conversion, Expr, ExprKind};
use crate::types::Type;

/// What the checker knows of a value where it reads it.
#[derive(Clone, Copy)]
pub(super) enum Context<'t> {
    /// Nothing.
    Free,
    /// The type that would be welcome.
    Like(&'t Type),
    /// The type that it must have; it is converted.
    As(&'t Type),
    /// The type to which it is converted, which helps not to read it.
    Into(&'t Type),
    /// It is a test.
    Test,
}

impl<'t> Context<'t> {
    /// The type that helps to read the value.
    pub(super) fn hint(self) -> Option<&'t Type> {
        match self {
            Context::Like(ty) | Context::As(ty) => Some(ty),
            Context::Free | Context::Into(_) | Context::Test => None,
        }
    }

    /// The type to which the value is converted.
    pub(super) fn wanted(self) -> Option<&'t Type> {
        match self {
            Context::As(ty) | Context::Into(ty) => Some(ty),
            Context::Free | Context::Like(_) | Context::Test => None,
        }
    }
}

/// The type that a value would be converted to.
fn target(wanted: &Type) -> &Type {
    match wanted {
        Type::Optional(of) => target(of),
        other => other,
    }
}

/// What is converted, if the checker would convert it so by itself.
pub(super) fn unconverted<'e>(e: &'e Expr, wanted: &Type) -> Option<&'e Expr> {
    match &e.kind {
        ExprKind::Convert(own, inner) if !inner.ty.fits(wanted) => {
            (conversion(&inner.ty, target(wanted)) == Some(*own)).then_some(&**inner)
        }
        _ => None,
    }
}

/// Whether the checker would convert a value where this type is wanted.
fn changes(e: &Expr, wanted: &Type) -> bool {
    !e.ty.fits(wanted) && conversion(&e.ty, target(wanted)).is_some()
}

/// An int that became a float beside a float.
pub(super) fn float_of_int(e: &Expr) -> Option<&Expr> {
    match &e.kind {
        ExprKind::Convert(Conversion::IntToFloat, inner) if inner.ty == Type::Int => Some(inner),
        _ => None,
    }
}

/// A bool that became an int by being a number.
pub(super) fn int_of_bool(e: &Expr) -> &Expr {
    match &e.kind {
        ExprKind::Convert(Conversion::BoolToInt, inner) => inner,
        _ => e,
    }
}

/// `a & b` of bools, which is one: computed of ints, and its truth taken.
pub(super) fn of_bools(e: &Expr) -> Option<&Expr> {
    let ExprKind::Convert(Conversion::Truth, inner) = &e.kind else { return None };
    let ExprKind::Arithmetic(Arithmetic::Int, BinaryOp::And | BinaryOp::Or | BinaryOp::Xor, a, b) =
        &inner.kind
    else {
        return None;
    };
    let bool = |e: &Expr| matches!(e.kind, ExprKind::Convert(Conversion::BoolToInt, _));
    (bool(a) && bool(b)).then_some(inner)
}

/// The type of a list's elements that a hint says.
pub(super) fn element_hint(hint: Option<&Type>) -> Option<&Type> {
    let list = |ty: &'_ Type| matches!(ty, Type::List(of) if **of != Type::Unknown);
    let hint = match hint? {
        Type::Optional(of) => of,
        other => other,
    };
    match hint {
        Type::List(of) if list(hint) => Some(of),
        _ => None,
    }
}

/// Whether ints among the elements of a list become floats.
pub(super) fn floats(parts: &[Expr]) -> bool {
    let float = |e: &Expr| e.ty == Type::Float && float_of_int(e).is_none();
    parts.iter().any(float) && parts.iter().all(|e| e.ty == Type::Float)
}

/// The elements' hints of a tuple.
pub(super) fn parts_hint(hint: Option<&Type>, count: usize) -> Option<&[Type]> {
    match hint {
        Some(Type::Tuple(of)) if of.len() == count => Some(of),
        _ => None,
    }
}

fn is_gradient(e: &Expr) -> bool {
    matches!(&e.kind, ExprKind::Builtin(builtin, _) if builtin.name == "Tensor.grad")
}

/// Whether the checker makes the expression again of its text, if this is hinted at; parts of it can always be annotated.
pub(super) fn reproduces(e: &Expr, context: Context) -> bool {
    let hint = context.hint();
    match &e.kind {
        ExprKind::Convert(Conversion::BoolToInt, _) => true,
        // A tuple of ints beside a shape, and a gradient that is used as a tensor.
        ExprKind::Convert(Conversion::ToInts, inner) if matches!(inner.ty, Type::Tuple(_)) => true,
        ExprKind::Convert(Conversion::Unwrap, inner) if is_gradient(inner) => true,
        ExprKind::Convert(..) => of_bools(e).is_some() || matches!(context, Context::Test),
        ExprKind::Constant(c) => {
            let own = match c {
                Constant::None => Type::None,
                Constant::Int(_) => Type::Int,
                Constant::Float(_) => Type::Float,
                Constant::Bool(_) => Type::Bool,
                Constant::Str(_) => Type::Str,
                Constant::DType(_) => Type::DType,
            };
            e.ty == own || context.wanted() == Some(&Type::Number)
        }
        ExprKind::List(parts) => {
            let hinted = element_hint(hint);
            if hinted.is_some_and(|of| e.ty == Type::list(of.clone())) {
                return true;
            }
            let joined = parts.iter().try_fold(Type::Unknown, |ty, p| ty.join(&p.ty));
            joined.is_some_and(|of| e.ty == Type::list(of))
                && !hinted.is_some_and(|of| parts.iter().any(|p| changes(p, of)))
        }
        ExprKind::Dict(entries) => match (hint, entries.first()) {
            (Some(hint @ Type::Dict(_)), _) => e.ty == *hint,
            (_, None) => e.ty == Type::dict(Type::Unknown, Type::Unknown),
            (_, Some((key, value))) => e.ty == Type::dict(settled(&key.ty), settled(&value.ty)),
        },
        ExprKind::Tuple(parts) => match parts_hint(hint, parts.len()) {
            Some(hints) => parts.iter().zip(hints).all(|(p, h)| !changes(p, h)),
            None => true,
        },
        ExprKind::ListComp { element, .. } => match hint {
            Some(Type::List(of)) => element.ty.fits(of),
            _ => true,
        },
        ExprKind::Builtin(builtin, _) if builtin.name == "Tensor.tolist" => {
            hint == Some(&e.ty) && matches!(e.ty, Type::List(_) | Type::Int | Type::Float | Type::Bool)
        }
        _ => true,
    }
}
