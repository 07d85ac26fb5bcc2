//! How types are written: `Tensor`, `List[int]`, `Optional[Tensor]`, `int | None`, a class of the program.

use super::{Checker, Top};
use crate::diagnostics::{Diagnostic, Kind};
use crate::syntax::{BinaryOp, Expr, ExprKind};
use crate::types::Type;
use std::sync::Arc;

/// Names that need no import.
const PLAIN: &[(&str, Type)] = &[
    ("int", Type::Int),
    ("float", Type::Float),
    ("bool", Type::Bool),
    ("str", Type::Str),
    ("torch.Tensor", Type::Tensor),
    ("torch.dtype", Type::DType),
    ("torch.device", Type::Device),
    ("numbers.Number", Type::Number),
    ("torch.types.Number", Type::Number),
];

impl Checker<'_> {
    /// The type that an annotation names.
    pub(super) fn annotation(&mut self, e: &Expr) -> Type {
        match &e.kind {
            ExprKind::None => Type::None,
            ExprKind::Binary(BinaryOp::Or, a, b) => {
                let (left, right) = (self.annotation(a), self.annotation(b));
                match (left, right) {
                    (Type::None, t) | (t, Type::None) => Type::optional(t),
                    _ => self.union(e),
                }
            }
            ExprKind::Str(text) => match self.names.get(&**text) {
                Some(Top::Class(id)) => Type::Object(*id, (&**text).into()),
                _ => match PLAIN.iter().find(|(n, _)| *n == &**text || n.rsplit('.').next() == Some(text)) {
                    Some((_, ty)) => ty.clone(),
                    None => self.unknown(e, text),
                },
            },
            ExprKind::Name(name) => {
                if let Some(Top::Class(id)) = self.names.get(name) {
                    return Type::Object(*id, (&**name).into());
                }
                let path = self.path(e).unwrap_or_else(|| name.to_string());
                self.named(e, &path)
            }
            ExprKind::Attribute { .. } => match self.path(e) {
                Some(path) => self.named(e, &path),
                None => self.unknown(e, "this expression"),
            },
            ExprKind::Subscript { value, index } => {
                let own = match &value.kind {
                    ExprKind::Name(name) => Some(name.to_string()),
                    _ => None,
                };
                let Some(path) = self.path(value).or(own) else {
                    return self.unknown(value, "this expression");
                };
                let parts: &[Expr] = match &index.kind {
                    ExprKind::Tuple(parts) => parts,
                    _ => std::slice::from_ref(index),
                };
                self.generic(e, path.strip_prefix("typing.").unwrap_or(&path), parts)
            }
            _ => self.unknown(e, "this expression"),
        }
    }

    fn named(&mut self, e: &Expr, path: &str) -> Type {
        let short = path.strip_prefix("typing.").unwrap_or(path);
        if let Some((_, ty)) = PLAIN.iter().find(|(name, _)| *name == path) {
            return ty.clone();
        }
        match short {
            "List" | "list" => Type::list(Type::Tensor),
            "Dict" | "dict" => Type::dict(Type::Str, Type::Tensor),
            "Tuple" | "tuple" | "Optional" => {
                let d = Diagnostic::new(Kind::Type, e.span, format!("'{short}' without its element types"));
                self.report(d.hint(format!("write '{short}[Tensor, int]' or the like")));
                Type::Unknown
            }
            "Any" | "Callable" | "Union" | "Sequence" | "Iterable" => {
                let d = Diagnostic::new(Kind::Unsupported, e.span, format!("the type '{short}'"));
                self.report(d.hint("a graph needs one type for each value; name it"));
                Type::Unknown
            }
            _ => self.unknown(e, path),
        }
    }

    fn generic(&mut self, e: &Expr, name: &str, parts: &[Expr]) -> Type {
        let mut types: Vec<Type> = match (name, parts) {
            // `Tuple[()]`.
            ("Tuple" | "tuple", [Expr { kind: ExprKind::Tuple(none), .. }]) if none.is_empty() => Vec::new(),
            _ => parts.iter().map(|p| self.annotation(p)).collect(),
        };
        match (name, types.len()) {
            ("List" | "list", 1) => Type::list(types.remove(0)),
            ("Optional", 1) => Type::optional(types.remove(0)),
            ("Final" | "ClassVar" | "torch.jit.Final", 1) => types.remove(0),
            ("Dict" | "dict", 2) => {
                let value = types.remove(1);
                let key = types.remove(0);
                let fine = matches!(
                    key,
                    Type::Str | Type::Int | Type::Float | Type::Bool | Type::Tensor | Type::Unknown
                );
                if !fine {
                    let what = format!("a dict's keys are str, int, float, bool or Tensor, not {key}");
                    self.error(Kind::Type, parts[0].span, what);
                }
                Type::dict(key, value)
            }
            ("Tuple" | "tuple", _) => Type::tuple(types),
            ("Union", 2) if types.contains(&Type::None) => {
                types.retain(|t| *t != Type::None);
                Type::optional(types.pop().unwrap_or(Type::None))
            }
            ("Union", _) => self.union(e),
            ("List" | "list" | "Optional" | "Dict" | "dict" | "Final", n) => {
                let what = format!("'{name}' of {n} types");
                self.error(Kind::Type, e.span, what);
                Type::Unknown
            }
            _ => self.unknown(e, name),
        }
    }

    fn union(&mut self, e: &Expr) -> Type {
        let d = Diagnostic::new(Kind::Unsupported, e.span, "a union of types other than 'T | None'");
        self.report(d.hint("a graph needs one type for each value; make two functions"));
        Type::Unknown
    }

    fn unknown(&mut self, e: &Expr, name: &str) -> Type {
        let root = name.split('.').next().unwrap_or(name);
        if matches!(self.names.get(root), Some(Top::Broken)) || matches!(e.kind, ExprKind::Missing) {
            return Type::Unknown;
        }
        let d = Diagnostic::new(Kind::Name, e.span, format!("'{name}' names no type")).label("no type");
        let known =
            "Tensor, int, float, bool, str, None, List, Tuple, Dict, Optional and the classes of the file";
        let hint = match name {
            "Tensor" => "write 'from torch import Tensor' or 'torch.Tensor'".to_string(),
            "Optional" | "List" | "Dict" | "Tuple" => format!("write 'from typing import {name}'"),
            _ => format!("the types are {known}"),
        };
        self.report(d.hint(hint));
        Type::Unknown
    }

    /// What a class's name stands for as a type.
    pub(super) fn object(&self, id: crate::tree::ClassId) -> Type {
        Type::Object(id, Arc::clone(&self.classes[id.0 as usize].name))
    }
}
