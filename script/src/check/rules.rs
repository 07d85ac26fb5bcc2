//! Builtins whose types follow rules that a signature cannot say.

use super::body::Body;
use super::calls::Arguments;
use super::expressions::{literal, made, wrong};
use crate::builtins::Builtin;
use crate::diagnostics::{Diagnostic, Kind};
use crate::syntax::{self, Span};
use crate::tree::{Constant, Expr, ExprKind};
use crate::types::Type;
use std::sync::Arc;

impl Body<'_, '_> {
    /// A builtin of the signature `...`. Its arguments are passed on in the order of its parameters, all of them present.
    pub(super) fn special(
        &mut self,
        builtin: &'static Builtin,
        object: Option<Expr>,
        a: Arguments,
        wanted: Option<&Type>,
    ) -> Expr {
        let span = a.span;
        let iterator = |of: Type| Type::Iterator(Arc::new(of));
        match builtin.name {
            "isinstance" => self.isinstance(a),
            "print" => {
                let parameters = [("sep", Constant::Str(" ".into())), ("end", Constant::Str("\n".into()))];
                let mut args = self.by_name(&parameters, a);
                args.extend(a.args.iter().map(|e| self.expr(e)).collect::<Vec<_>>());
                made(ExprKind::Builtin(builtin, args), Type::None, span)
            }
            "range" => {
                let mut args: Vec<Expr> =
                    a.args.iter().map(|e| self.expr_as(e, &Type::Int, "an argument of 'range'")).collect();
                if args.is_empty() || args.len() > 3 || !a.kwargs.is_empty() {
                    self.c.error(Kind::Call, span, "'range' takes a stop, or a start, a stop and a step");
                    return wrong(span);
                }
                if args.len() == 1 {
                    args.insert(0, literal(Constant::Int(0), span));
                }
                if args.len() == 2 {
                    args.push(literal(Constant::Int(1), span));
                }
                made(ExprKind::Builtin(builtin, args), iterator(Type::Int), span)
            }
            "enumerate" => {
                let Some((first, rest)) = a.args.split_first().filter(|(_, rest)| rest.len() <= 1) else {
                    self.c.error(Kind::Call, span, "'enumerate' takes what to count and where to start");
                    return wrong(span);
                };
                let first = self.expr(first);
                let of = self.element_of(&first);
                let start = match rest.first().or(a.kwargs.first().map(|(_, e)| e)) {
                    Some(e) => self.expr_as(e, &Type::Int, "where 'enumerate' starts"),
                    None => literal(Constant::Int(0), span),
                };
                let ty = iterator(Type::tuple(vec![Type::Int, of]));
                made(ExprKind::Builtin(builtin, vec![first, start]), ty, span)
            }
            "zip" => {
                let args: Vec<Expr> = a.args.iter().map(|e| self.expr(e)).collect();
                let of: Vec<Type> = args.iter().map(|e| self.element_of(e)).collect();
                made(ExprKind::Builtin(builtin, args), iterator(Type::tuple(of)), span)
            }
            "torch.autograd.grad" => self.gradient(builtin, a, wanted),
            "torch.tensor" | "torch.as_tensor" => {
                let Some(data) =
                    a.args.first().or(a.kwargs.iter().find(|(k, _)| &*k.text == "data").map(|(_, e)| e))
                else {
                    self.c.error(Kind::Call, span, format!("'{}' needs its data", builtin.name));
                    return wrong(span);
                };
                let data = self.expr(data);
                if !holds_numbers(&data.ty) {
                    let what = format!("a tensor is made of numbers in lists, not of {}", data.ty);
                    self.c.error(Kind::Type, data.span, what);
                }
                let rest = Arguments { args: a.args.get(1..).unwrap_or(&[]), ..a };
                let parameters = [("dtype", Constant::None), ("requires_grad", Constant::Bool(false))];
                let mut args = vec![data];
                args.extend(self.by_name(&parameters, rest));
                if let [dtype, ..] = rest.args {
                    args[1] = self.expr_as(dtype, &Type::DType, "the dtype");
                }
                made(ExprKind::Builtin(builtin, args), Type::Tensor, span)
            }
            "Tensor.tolist" => {
                let Some(object) = object else { return wrong(span) };
                match wanted {
                    Some(ty @ (Type::List(_) | Type::Int | Type::Float | Type::Bool)) => {
                        made(ExprKind::Builtin(builtin, vec![object]), ty.clone(), span)
                    }
                    _ => {
                        let d =
                            Diagnostic::new(Kind::Type, span, "how deep the list is depends on the tensor");
                        self.c.report(d.hint("say it: 'rows: List[List[float]] = x.tolist()'"));
                        wrong(span)
                    }
                }
            }
            "str.format" => {
                let mut args: Vec<Expr> = object.into_iter().collect();
                args.extend(a.args.iter().map(|e| self.expr(e)).collect::<Vec<_>>());
                for (keyword, _) in a.kwargs {
                    let d = Diagnostic::new(Kind::Unsupported, keyword.span, "a named field");
                    self.c.report(d.hint("write an f-string"));
                }
                made(ExprKind::Builtin(builtin, args), Type::Str, span)
            }
            _ => {
                // What holds for all its arguments: numbers stay numbers, elements stay elements.
                let mut args: Vec<Expr> = object.into_iter().collect();
                args.extend(a.args.iter().map(|e| self.expr(e)).collect::<Vec<_>>());
                for (keyword, e) in a.kwargs {
                    self.c.error(Kind::Call, keyword.span, format!("'{}' takes no keywords", builtin.name));
                    self.expr(e);
                }
                let ty = self.of_arguments(builtin.name, &mut args, span);
                made(ExprKind::Builtin(builtin, args), ty, span)
            }
        }
    }

    /// The type of `min`, `max`, `sum`, `sorted` and their like: that of their arguments or of their argument's elements.
    fn of_arguments(&mut self, name: &str, args: &mut Vec<Expr>, span: Span) -> Type {
        match &args[..] {
            [] => {
                self.c.error(Kind::Call, span, format!("'{name}' needs an argument"));
                Type::Unknown
            }
            [one] => {
                let of = self.element_of(one);
                if name == "sorted" || name == "list" { Type::list(of) } else { of }
            }
            _ => {
                if args.iter().any(|e| e.ty == Type::Float) {
                    let all = std::mem::take(args);
                    *args = all
                        .into_iter()
                        .map(|e| self.converted(e, &Type::Float).unwrap_or_else(|e| e))
                        .collect();
                }
                let mut ty = args[0].ty.clone();
                for other in &args[1..] {
                    match ty.join(&other.ty) {
                        Some(both) => ty = both,
                        None if ty.is_number() && other.ty.is_number() => ty = Type::Number,
                        None => {
                            let what = format!("'{name}' of {ty} and {}", other.ty);
                            self.c.error(Kind::Type, span, what);
                            return Type::Unknown;
                        }
                    }
                }
                ty
            }
        }
    }

    /// Arguments that are given by name, in order; the defaults of the others.
    fn by_name(&mut self, parameters: &[(&str, Constant)], a: Arguments) -> Vec<Expr> {
        let usual = ["device", "pin_memory", "file", "flush", "data"];
        for (keyword, _) in a.kwargs {
            if !parameters.iter().any(|(p, _)| *p == &*keyword.text) && !usual.contains(&&*keyword.text) {
                self.c.error(Kind::Call, keyword.span, format!("no parameter is called '{}'", keyword.text));
            }
        }
        let mut out = Vec::with_capacity(parameters.len());
        for (parameter, default) in parameters {
            out.push(match a.kwargs.iter().find(|(k, _)| &*k.text == *parameter) {
                Some((_, e)) => self.expr(e),
                None => literal(default.clone(), a.span),
            });
        }
        out
    }

    fn gradient(&mut self, builtin: &'static Builtin, a: Arguments, wanted: Option<&Type>) -> Expr {
        let parameters = [
            ("outputs", Constant::None),
            ("inputs", Constant::None),
            ("grad_outputs", Constant::None),
            ("retain_graph", Constant::None),
            ("create_graph", Constant::Bool(false)),
            ("allow_unused", Constant::Bool(false)),
        ];
        let named = self.by_name(&parameters, a);
        let mut args: Vec<Expr> = a.args.iter().take(parameters.len()).map(|e| self.expr(e)).collect();
        let rest = args.len();
        args.extend(named.into_iter().skip(rest));
        for e in &args[..3] {
            let tensors = match &e.ty {
                Type::Tensor | Type::None | Type::Unknown => true,
                Type::List(of) => matches!(**of, Type::Tensor | Type::Optional(_) | Type::Unknown),
                Type::Tuple(of) => of.iter().all(|t| *t == Type::Tensor),
                _ => false,
            };
            if !tensors {
                let what = format!("gradients are of tensors with respect to tensors, not {}", e.ty);
                self.c.error(Kind::Type, e.span, what);
            }
        }
        // Without `allow_unused` a gradient that does not flow is an error, so that all are tensors.
        let unused = !matches!(&args[5].kind, ExprKind::Constant(Constant::Bool(false)));
        let asked = wanted.is_some_and(|ty| *ty == Type::list(Type::optional(Type::Tensor)));
        let of = if unused || asked { Type::optional(Type::Tensor) } else { Type::Tensor };
        made(ExprKind::Builtin(builtin, args), Type::list(of), a.span)
    }

    /// `isinstance(x, T)`: known before the program runs, but for what may be `None`.
    fn isinstance(&mut self, a: Arguments) -> Expr {
        let [value, class] = a.args else {
            self.c.error(Kind::Call, a.span, "'isinstance' takes a value and a type");
            return wrong(a.span);
        };
        let value = self.expr(value);
        let classes: &[syntax::Expr] = match &class.kind {
            syntax::ExprKind::Tuple(parts) => parts,
            _ => std::slice::from_ref(class),
        };
        let types: Vec<Type> = classes
            .iter()
            .map(|c| match &c.kind {
                syntax::ExprKind::Name(n) if matches!(&**n, "list" | "dict" | "tuple") => {
                    match (&**n, &value.ty) {
                        ("list", ty @ Type::List(_))
                        | ("dict", ty @ Type::Dict(_))
                        | ("tuple", ty @ Type::Tuple(_)) => ty.clone(),
                        _ => Type::Never,
                    }
                }
                _ => self.c.annotation(c),
            })
            .collect();
        let is = |ty: &Type| types.iter().any(|t| t != &Type::Never && ty == t);
        match &value.ty {
            Type::Optional(of) if is(of) => {
                let none = literal(Constant::None, a.span);
                let kind = ExprKind::Compare(syntax::CompareOp::IsNot, Box::new(value), Box::new(none));
                made(kind, Type::Bool, a.span)
            }
            ty => literal(Constant::Bool(is(ty)), a.span),
        }
    }
}

/// Whether a tensor can be made of values of a type.
fn holds_numbers(ty: &Type) -> bool {
    match ty {
        Type::List(of) => holds_numbers(of),
        Type::Tuple(of) => of.iter().all(holds_numbers),
        Type::Tensor | Type::Unknown => true,
        other => other.is_number(),
    }
}
