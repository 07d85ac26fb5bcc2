//! Calls of torch: arguments to parameters, and what they return.

use super::body::Body;
use super::calls::Arguments;
use super::expressions::{literal, made, wrong};
use crate::builtins;
use crate::calls::returns::{Known, returns};
use crate::calls::{self, Resolved};
use crate::diagnostics::{Diagnostic, Kind};
use crate::syntax::{self, ExprKind as E, Name, Span};
use crate::tree::{Constant, Expr, ExprKind, Returns};
use crate::types::Type;

/// Keyword arguments that ask for what every tensor here has anyway.
const USUAL: &[&str] = &["device", "layout", "pin_memory", "memory_format", "non_blocking", "_stacklevel"];

/// Values of such arguments that are none elsewhere.
const LAYOUTS: &[&str] = &["torch.contiguous_format", "torch.preserve_format", "torch.strided"];

impl Body<'_, '_> {
    /// A call of torch whose arguments are known by place.
    pub(super) fn torch(&mut self, name: &str, mut args: Vec<Option<Expr>>, span: Span) -> Expr {
        let Some(call) = calls::resolve(name) else {
            self.c.error(Kind::Unsupported, span, format!("'{name}' is not known"));
            return wrong(span);
        };
        args.resize_with(call.parameters.len(), || None);
        self.torch_made(call, args, span)
    }

    fn torch_made(&mut self, call: Resolved, args: Vec<Option<Expr>>, span: Span) -> Expr {
        let known = |parameter: &str| {
            let place = call.parameters.iter().position(|p| p.name == parameter);
            match place.and_then(|p| args.get(p)).and_then(Option::as_ref) {
                None => Known::Absent,
                Some(e) => match (&e.kind, &e.ty) {
                    (_, Type::None) => Known::Absent,
                    (ExprKind::Constant(Constant::Bool(true)), _) => Known::True,
                    (_, ty) if ty.is_number() => Known::Number,
                    _ => Known::Given,
                },
            }
        };
        let (returns, ty) = returns(&call.name, &known);
        made(ExprKind::Torch { call, args, returns }, ty, span)
    }

    pub(super) fn call_torch(&mut self, call: Resolved, object: Option<Expr>, a: Arguments) -> Expr {
        // `torch.where(condition)` alone says where it holds.
        if let ("torch.where", None, [condition], []) = (&*call.name, &object, a.args, a.kwargs) {
            let args = vec![Some(self.expr(condition)), Some(literal(Constant::Bool(true), a.span))];
            return self.torch("torch.nonzero", args, a.span);
        }
        let mut given: Vec<Expr> = object.into_iter().collect();
        let writable = calls::takes_inplace(&call.name);
        let mut in_place = false;
        for (i, e) in a.args.iter().enumerate() {
            match writable && i == call.parameters.len() {
                true => in_place = self.in_place(e),
                false => given.push(self.expr(e)),
            }
        }
        let mut named = Vec::new();
        let mut requires = false;
        for (keyword, e) in a.kwargs {
            if writable && &*keyword.text == "inplace" {
                in_place = self.in_place(e);
                continue;
            }
            let known = call.places(0, std::iter::once(&*keyword.text)).is_ok();
            if &*keyword.text == "requires_grad" && !known {
                requires = e.kind == E::Bool(true);
                continue;
            }
            let usual = !known && USUAL.contains(&&*keyword.text);
            if usual && self.c.path(e).is_some_and(|path| LAYOUTS.contains(&&*path)) {
                continue;
            }
            let value = self.expr(e);
            if usual {
                continue;
            }
            if &*keyword.text == "out" {
                let d = Diagnostic::new(Kind::Unsupported, keyword.span, "the argument 'out'");
                self.c.report(d.hint("a graph makes new tensors; write 'x.copy_(...)' to change one"));
                continue;
            }
            named.push((keyword, value));
        }
        // A variadic parameter takes all further positional arguments, or one list of them.
        if let Some(first) = call.parameters.iter().position(|p| p.is_variadic())
            && given.len() > first
        {
            let listed =
                matches!(given[first].ty, Type::List(_) | Type::Tuple(_)) && given.len() == first + 1;
            if !listed {
                let rest: Vec<Expr> = given.split_off(first);
                let ty = Type::tuple(rest.iter().map(|e| e.ty.clone()).collect::<Vec<_>>());
                given.push(made(ExprKind::Tuple(rest), ty, a.span));
            }
        }
        for e in given.iter().chain(named.iter().map(|(_, e)| e)) {
            if matches!(e.ty, Type::Dict(_) | Type::Object(..) | Type::Iterator(_)) {
                let what = format!("{} is no argument of '{}'", e.ty, call.name);
                self.c.error(Kind::Type, e.span, what);
            }
        }
        let places = match call.places(given.len(), named.iter().map(|(k, _)| &*k.text)) {
            Ok(places) => places,
            Err(_) => return self.wrong_arguments(&call, given.len(), &named, a.span),
        };
        let mut args: Vec<Option<Expr>> = call.parameters.iter().map(|_| None).collect();
        for (place, value) in
            places.into_iter().zip(given.into_iter().chain(named.into_iter().map(|(_, e)| e)))
        {
            args[place] = Some(value);
        }
        if let Some(missing) = call.missing(|place| args[place].is_some()) {
            let d = Diagnostic::new(Kind::Call, a.span, format!("'{}' needs '{}'", call.name, missing.name));
            self.c.report(d.hint(signature(&call)));
            return wrong(a.span);
        }
        self.unused(&call, &args);
        let mut e = self.torch_made(call, args, a.span);
        if in_place && let ExprKind::Torch { returns, .. } = &mut e.kind {
            *returns = Returns::Nothing;
        }
        if requires { self.requiring(e, a.span) } else { e }
    }

    /// Reports arguments for what torch has and calls here cannot do.
    fn unused(&mut self, call: &Resolved, args: &[Option<Expr>]) {
        for (parameter, e) in call.parameters.iter().zip(args) {
            let Some(e) = e.as_ref().filter(|_| parameter.is_unused) else { continue };
            let legacy = matches!(parameter.name, "size_average" | "reduce");
            match e.kind {
                ExprKind::Constant(Constant::None) => {}
                ExprKind::Constant(Constant::Bool(false)) if !legacy => {}
                _ => {
                    let what = format!("'{}' of '{}'", parameter.name, call.name);
                    let d = Diagnostic::new(Kind::Unsupported, e.span, what);
                    self.c.report(match legacy {
                        true => d.hint("torch has deprecated it; say reduction='mean', 'sum' or 'none'"),
                        false => d.hint("leave it out"),
                    });
                }
            }
        }
    }

    /// Whether a call writes to its argument, which decides what a graph is.
    fn in_place(&mut self, e: &syntax::Expr) -> bool {
        if let E::Bool(on) = e.kind {
            return on;
        }
        let d = Diagnostic::new(Kind::Unsupported, e.span, "'inplace' that is not 'True' or 'False'");
        self.c.report(d.hint("whether a call writes must be known before the program runs"));
        false
    }

    fn wrong_arguments(
        &mut self,
        call: &Resolved,
        positional: usize,
        named: &[(&Name, Expr)],
        span: Span,
    ) -> Expr {
        let count = call.parameters.len();
        let mut reported = false;
        for (keyword, _) in named {
            if call.places(0, std::iter::once(&*keyword.text)).is_err() {
                let what = format!("'{}' has no parameter '{}'", call.name, keyword.text);
                let d = Diagnostic::new(Kind::Call, keyword.span, what);
                self.c.report(d.hint(signature(call)));
                reported = true;
            }
        }
        if !reported {
            let what = match positional > count {
                true => format!("'{}' takes {count} arguments, not {positional}", call.name),
                false => format!("an argument of '{}' is given twice", call.name),
            };
            let d = Diagnostic::new(Kind::Call, span, what);
            self.c.report(d.hint(signature(call)));
        }
        wrong(span)
    }

    /// A tensor that requires a gradient.
    pub(super) fn requiring(&mut self, value: Expr, span: Span) -> Expr {
        match builtins::find("Tensor.requires_grad_").next() {
            Some(builtin) => {
                let on = literal(Constant::Bool(true), span);
                made(ExprKind::Builtin(builtin, vec![value, on]), Type::Tensor, span)
            }
            None => value,
        }
    }
}

/// A call's parameters in words; those in brackets may be left out.
fn signature(call: &Resolved) -> String {
    let word = |p: &calls::Parameter| if p.is_required { p.name.into() } else { format!("[{}]", p.name) };
    let usable = call.parameters.iter().filter(|p| !p.is_unused);
    format!("its parameters are {}", usable.map(word).collect::<Vec<String>>().join(", "))
}
