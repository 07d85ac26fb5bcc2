//! Indices: of tensors, lists, tuples, dicts and strings.

use super::body::Body;
use super::expressions::{made, wrong};
use crate::diagnostics::{Diagnostic, Kind};
use crate::syntax::{self, ExprKind as E, Span};
use crate::tree::{Constant, Conversion, Expr, ExprKind, IndexPart};
use crate::types::Type;

impl Body<'_, '_> {
    pub(super) fn subscript(&mut self, container: Expr, index: &syntax::Expr, span: Span) -> Expr {
        match container.ty.clone() {
            Type::Tensor => {
                let index = self.index(index);
                made(ExprKind::Index { tensor: Box::new(container), index }, Type::Tensor, span)
            }
            Type::List(of) => {
                if let E::Slice { .. } = &index.kind {
                    return self.slice(container, index, Type::List(of), span);
                }
                let key = Box::new(self.expr_as(index, &Type::Int, "the index of a list"));
                made(ExprKind::Item { container: Box::new(container), key }, (*of).clone(), span)
            }
            Type::Str => {
                if let E::Slice { .. } = &index.kind {
                    return self.slice(container, index, Type::Str, span);
                }
                let key = Box::new(self.expr_as(index, &Type::Int, "the index of a string"));
                made(ExprKind::Item { container: Box::new(container), key }, Type::Str, span)
            }
            Type::Dict(of) => {
                let key = Box::new(self.expr_as(index, &of.0, "the key of this dict"));
                made(ExprKind::Item { container: Box::new(container), key }, of.1.clone(), span)
            }
            Type::Tuple(of) | Type::Named(_, of) => self.tuple_item(container, index, &of, span),
            Type::Object(id, _) if self.c.classes[id.0 as usize].tuple => {
                let of: Vec<Type> =
                    self.c.classes[id.0 as usize].fields.iter().map(|f| f.ty.clone()).collect();
                self.tuple_item(container, index, &of, span)
            }
            Type::Unknown | Type::Never => wrong(span),
            other => {
                let d = Diagnostic::new(Kind::Type, span, format!("{other} has no elements"));
                self.c.report(match other {
                    Type::Optional(of) => d.hint(format!("test 'is not None' first; then it is {of}")),
                    _ => d,
                });
                wrong(span)
            }
        }
    }

    /// An element of a tuple: which one must be known, since types differ.
    fn tuple_item(&mut self, container: Expr, index: &syntax::Expr, of: &[Type], span: Span) -> Expr {
        if let E::Slice { .. } = &index.kind {
            let part = self.part(index);
            let bound = |e: &Option<Expr>| match e.as_ref().map(|e| &e.kind) {
                None => Some(None),
                Some(ExprKind::Constant(Constant::Int(n))) => Some(Some(*n)),
                _ => None,
            };
            if let IndexPart::Slice { start, stop, step: None } = &part
                && let (Some(start), Some(stop)) = (bound(start), bound(stop))
            {
                let n = of.len() as i64;
                let wrap = |v: i64| if v < 0 { (v + n).max(0) } else { v.min(n) };
                let (start, stop) = (wrap(start.unwrap_or(0)), wrap(stop.unwrap_or(n)));
                let ty = Type::tuple(of[start as usize..(stop.max(start)) as usize].to_vec());
                let kind = ExprKind::Slice { container: Box::new(container), part: Box::new(part) };
                return made(kind, ty, span);
            }
            let d = Diagnostic::new(Kind::Type, index.span, "which part of the tuple is meant is not known");
            self.c.report(d.hint("the bounds of a tuple's slice are written as numbers"));
            return wrong(span);
        }
        let key = self.expr_as(index, &Type::Int, "the index of a tuple");
        let ty = match &key.kind {
            ExprKind::Constant(Constant::Int(n)) => {
                let place = if *n < 0 { n + of.len() as i64 } else { *n };
                match of.get(usize::try_from(place).unwrap_or(usize::MAX)) {
                    Some(ty) => ty.clone(),
                    None => {
                        let what = format!("element {n} of a tuple of {}", of.len());
                        self.c.error(Kind::Type, index.span, what);
                        Type::Unknown
                    }
                }
            }
            _ => {
                let mut all = of.iter();
                let first = all.next().cloned().unwrap_or(Type::Unknown);
                match all.try_fold(first, |a, b| a.join(b)) {
                    Some(ty) => ty,
                    None => {
                        let d =
                            Diagnostic::new(Kind::Type, index.span, "which element is meant is not known");
                        self.c.report(d.hint("its elements differ in type; write the index as a number"));
                        Type::Unknown
                    }
                }
            }
        };
        made(ExprKind::Item { container: Box::new(container), key: Box::new(key) }, ty, span)
    }

    fn slice(&mut self, container: Expr, index: &syntax::Expr, ty: Type, span: Span) -> Expr {
        let part = Box::new(self.part(index));
        made(ExprKind::Slice { container: Box::new(container), part }, ty, span)
    }

    /// The parts of a tensor's index.
    pub(super) fn index(&mut self, index: &syntax::Expr) -> Vec<IndexPart> {
        match &index.kind {
            E::Tuple(parts) => parts.iter().map(|p| self.part(p)).collect(),
            _ => vec![self.part(index)],
        }
    }

    fn part(&mut self, part: &syntax::Expr) -> IndexPart {
        match &part.kind {
            E::Slice { start, stop, step } => {
                let mut bound = |e: &Option<Box<syntax::Expr>>| {
                    let e = e.as_ref()?;
                    if e.kind == E::None {
                        return None;
                    }
                    let value = self.expr(e);
                    let value = match value.ty {
                        Type::Optional(_) => value,
                        _ => self.coerced(value, &Type::Int, "a bound of a slice"),
                    };
                    Some(value)
                };
                IndexPart::Slice { start: bound(start), stop: bound(stop), step: bound(step) }
            }
            E::None => IndexPart::New,
            E::Ellipsis => IndexPart::Ellipsis,
            _ => {
                let value = self.expr(part);
                match &value.ty {
                    Type::Int | Type::Unknown | Type::Never => IndexPart::Int(value),
                    Type::Number => {
                        let span = value.span;
                        let kind = ExprKind::Convert(Conversion::TensorToInt, Box::new(value));
                        IndexPart::Int(made(kind, Type::Int, span))
                    }
                    Type::Tensor => IndexPart::Tensor(value),
                    Type::List(of) if matches!(**of, Type::Int | Type::Bool | Type::Unknown) => {
                        IndexPart::List(value)
                    }
                    Type::None => IndexPart::New,
                    other => {
                        let d = Diagnostic::new(
                            Kind::Type,
                            value.span,
                            format!("{other} is no index of a tensor"),
                        );
                        self.c.report(d.hint("ints, slices, None, ..., masks and tensors of indices are"));
                        IndexPart::Int(value)
                    }
                }
            }
        }
    }
}
