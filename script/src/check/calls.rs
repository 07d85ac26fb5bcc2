//! Calls: of torch, of the language's own functions and methods, of the program.

use super::Top;
use super::body::{Body, distance};
use super::expressions::{literal, made, wrong};
use super::operators::present;
use crate::builtins::{self, Builtin};
use crate::calls;
use crate::diagnostics::{Diagnostic, Kind};
use crate::signature::{self, Bound, Signature};
use crate::syntax::{self, ExprKind as E, Name, Span};
use crate::tree::{ClassId, Constant, Expr, ExprKind, FunctionId, Returns};
use crate::types::Type;
use std::sync::Arc;

/// The arguments of a call as they are written.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a> {
    pub(super) args: &'a [syntax::Expr],
    pub(super) kwargs: &'a [(Name, syntax::Expr)],
    pub(super) span: Span,
}

/// What the types of a value's methods are called after.
fn receiver(ty: &Type) -> Option<&'static str> {
    Some(match ty {
        Type::Tensor => "Tensor",
        Type::List(_) => "list",
        Type::Dict(_) => "dict",
        Type::Str => "str",
        Type::Int => "int",
        Type::Float => "float",
        Type::DType => "dtype",
        Type::Device => "device",
        Type::Tuple(_) | Type::Named(..) => "tuple",
        _ => return None,
    })
}

impl Body<'_, '_> {
    pub(super) fn call(
        &mut self,
        callee: &syntax::Expr,
        args: &[syntax::Expr],
        kwargs: &[(Name, syntax::Expr)],
        span: Span,
        wanted: Option<&Type>,
    ) -> Expr {
        let a = Arguments { args, kwargs, span };
        if let Some(starred) = args.iter().find(|e| matches!(e.kind, E::Starred(_))) {
            let d = Diagnostic::new(Kind::Unsupported, starred.span, "'*' in a call");
            self.c.report(d.hint("how many arguments there are must be known; write them out"));
            return wrong(span);
        }
        if let Some(path) = self.path_of(callee) {
            return self.call_path(&path, callee.span, a, wanted);
        }
        match &callee.kind {
            E::Name(name) if self.local(name).is_none() => match self.c.names.get(name).cloned() {
                Some(Top::Function(id)) => self.call_function(id, None, a),
                Some(Top::Class(id)) => self.construct(id, a),
                Some(Top::Broken) => {
                    self.arguments_alone(a);
                    wrong(a.span)
                }
                Some(_) => self.not_callable(callee),
                None => match builtins::find(name).next() {
                    Some(_) => self.call_builtin(name, None, a, wanted),
                    None => self.unknown_function(name, callee.span),
                },
            },
            E::Attribute { value, name } => {
                let object = self.expr(value);
                self.call_method(object, name, a, wanted)
            }
            _ => self.not_callable(callee),
        }
    }

    fn not_callable(&mut self, callee: &syntax::Expr) -> Expr {
        let ty = self.expr(callee).ty;
        if let Type::Object(id, class) = &ty
            && self.c.method(*id, "forward").is_some()
        {
            let d = Diagnostic::new(
                Kind::Unsupported,
                callee.span,
                format!("an object of '{class}' called as it is"),
            );
            self.c.report(d.hint("write 'object.forward(...)'"));
        } else if ty != Type::Unknown {
            self.c.error(Kind::Type, callee.span, format!("{ty} cannot be called"));
        }
        wrong(callee.span)
    }

    fn unknown_function(&mut self, name: &str, span: Span) -> Expr {
        let left_out = [
            ("open", "programs read no files"),
            ("input", "programs have no keyboard"),
            ("eval", "programs are known before they run"),
            ("exec", "programs are known before they run"),
            ("map", "functions are no values here; write a list comprehension"),
            ("filter", "functions are no values here; write a list comprehension"),
            ("getattr", "attributes are known before the program runs"),
            ("setattr", "attributes are known before the program runs"),
            ("hasattr", "attributes are known before the program runs"),
            ("type", "types are known before the program runs; use 'isinstance'"),
            ("super", "only 'super().__init__()' is known"),
            ("set", "there are no sets; use a dict"),
            ("iter", "loops take what they loop over as it is"),
            ("next", "loops take what they loop over as it is"),
        ];
        if let Some((_, why)) = left_out.iter().find(|(n, _)| *n == name) {
            let d = Diagnostic::new(Kind::Unsupported, span, format!("the function '{name}'"));
            self.c.report(d.hint(*why));
        } else {
            self.c.error(Kind::Name, span, format!("no function is called '{name}'"));
        }
        wrong(span)
    }

    fn call_path(&mut self, path: &str, at: Span, a: Arguments, wanted: Option<&Type>) -> Expr {
        if path == "torch.jit.annotate" && a.args.len() == 2 {
            let ty = self.c.annotation(&a.args[0]);
            return self.expr_as(&a.args[1], &ty, "this value");
        }
        if matches!(path, "torch.nn.Parameter" | "torch.jit.unused" | "torch.jit.export") && a.args.len() == 1
        {
            let value = self.expr_as(&a.args[0], &Type::Tensor, "a parameter");
            return self.requiring(value, a.span);
        }
        if builtins::find(path).next().is_some() {
            return self.call_builtin(path, None, a, wanted);
        }
        match calls::resolve(path) {
            Some(call) if path.starts_with("torch.") => self.call_torch(call, None, a),
            _ => {
                let d = Diagnostic::new(Kind::Name, at, format!("'{path}' is not known"));
                let class = path.strip_prefix("torch.nn.").filter(|n| n.starts_with(char::is_uppercase));
                let class = class.or(path.strip_prefix("torch.optim."));
                if class.is_some() {
                    self.c.report(d.hint(
                        "modules and optimisers are objects of Python; a program holds functions and \
                         tensors: call 'torch.nn.functional' with weights that it is given",
                    ));
                    self.arguments_alone(a);
                    return wrong(a.span);
                }
                let near = calls::names().filter(|n| !n.contains("Tensor.")).map(|n| (distance(n, path), n));
                self.c.report(match near.filter(|(d, _)| *d <= 2).min() {
                    Some((_, near)) => d.hint(format!("did you mean '{near}'?")),
                    None => d,
                });
                self.arguments_alone(a);
                wrong(a.span)
            }
        }
    }

    /// Checks arguments of a call that is wrong already.
    fn arguments_alone(&mut self, a: Arguments) {
        for e in a.args.iter().chain(a.kwargs.iter().map(|(_, e)| e)) {
            self.expr(e);
        }
    }

    fn call_method(&mut self, object: Expr, name: &Name, a: Arguments, wanted: Option<&Type>) -> Expr {
        let object = present(object);
        if let Type::Object(id, class) = object.ty.clone() {
            return match self.c.method(id, &name.text) {
                Some(method) => self.call_function(method, Some(object), a),
                None => {
                    let what = format!("'{class}' has no method '{}'", name.text);
                    self.c.error(Kind::Name, name.span, what);
                    self.arguments_alone(a);
                    wrong(a.span)
                }
            };
        }
        let Some(prefix) = receiver(&object.ty) else {
            if !matches!(object.ty, Type::Unknown | Type::Never) {
                let ty = &object.ty;
                let d = Diagnostic::new(Kind::Type, name.span, format!("{ty} has no method '{}'", name.text));
                self.c.report(match ty {
                    Type::Optional(of) => {
                        d.hint(format!("it may be None; test 'is not None' first, then it is {of}"))
                    }
                    Type::Number => d.hint("'.item()' gave a number"),
                    _ => d,
                });
            }
            self.arguments_alone(a);
            return wrong(a.span);
        };
        let own = format!("{prefix}.{}", name.text);
        if builtins::find(&own).next().is_some() {
            return self.call_builtin(&own, Some(object), a, wanted);
        }
        if prefix == "Tensor" {
            if let Some(call) = calls::resolve(&format!("torch.Tensor.{}", name.text)) {
                return self.call_torch(call, Some(object), a);
            }
            let written = calls::in_place::written(&name.text);
            if let Some(call) = written.and_then(|base| calls::resolve(&format!("torch.Tensor.{base}"))) {
                let mut e = self.call_torch(call, Some(object), a);
                if let ExprKind::Torch { returns, .. } = &mut e.kind {
                    *returns = Returns::Nothing;
                }
                return e;
            }
            if let Some(base) = calls::in_place::reshaped(&name.text) {
                let what = format!("'{}' changes the extents of a tensor in place", name.text);
                let d = Diagnostic::new(Kind::Unsupported, name.span, what);
                let hint =
                    format!("a tensor keeps its extents here; give its name to another: 'x = x.{base}(...)'");
                self.c.report(d.hint(hint));
                self.arguments_alone(a);
                return wrong(a.span);
            }
        }
        let d =
            Diagnostic::new(Kind::Name, name.span, format!("{} has no method '{}'", object.ty, name.text));
        let near = calls::names().filter_map(|n| n.strip_prefix("torch.")).filter(|n| !n.contains('.'));
        let near = near.map(|n| (distance(n, &name.text), n)).filter(|(d, n)| *d <= 1 && n.len() > 2).min();
        self.c.report(match near {
            Some((_, near)) if prefix == "Tensor" => d.hint(format!("did you mean '{near}'?")),
            _ => d,
        });
        self.arguments_alone(a);
        wrong(a.span)
    }

    // Functions of the program.

    fn call_function(&mut self, id: FunctionId, object: Option<Expr>, a: Arguments) -> Expr {
        let at = id.0 as usize;
        let returns = self.c.function(id, Some(a.span));
        let name = self.c.functions[at].syntax.name.text.clone();
        let parameters = self.c.functions[at].parameters.clone();
        let syntax = self.c.functions[at].syntax;
        let is_default = |i: usize| syntax.parameters.get(i).and_then(|p| p.default.clone());
        let keyword_only = |i: usize| syntax.parameters.get(i).is_some_and(|p| p.keyword_only);
        let skip = usize::from(object.is_some());
        let mut values: Vec<Option<Expr>> = parameters.iter().map(|_| None).collect();
        if let (Some(object), Some(first)) = (object, values.first_mut()) {
            *first = Some(object);
        }
        for (i, e) in a.args.iter().enumerate() {
            let place = i + skip;
            match parameters.get(place) {
                Some((parameter, ty)) if !keyword_only(place) => {
                    values[place] = Some(self.expr_as(e, ty, &format!("'{parameter}' of '{name}'")));
                }
                _ => {
                    let what =
                        format!("'{name}' takes {} arguments, not {}", parameters.len() - skip, a.args.len());
                    let d = Diagnostic::new(Kind::Call, e.span, what).label("one too many");
                    self.c.report(d.related(syntax.name.span, "it is defined here"));
                    self.expr(e);
                }
            }
        }
        for (keyword, e) in a.kwargs {
            match parameters.iter().position(|(p, _)| **p == *keyword.text) {
                Some(place) if values[place].is_none() => {
                    let (parameter, ty) = &parameters[place];
                    values[place] = Some(self.expr_as(e, ty, &format!("'{parameter}' of '{name}'")));
                }
                found => {
                    let what = match found {
                        Some(_) => format!("'{}' is given twice", keyword.text),
                        None => format!("'{name}' has no parameter '{}'", keyword.text),
                    };
                    let d = Diagnostic::new(Kind::Call, keyword.span, what);
                    self.c.report(d.related(syntax.name.span, "it is defined here"));
                    self.expr(e);
                }
            }
        }
        let mut out = Vec::with_capacity(values.len());
        for (i, value) in values.into_iter().enumerate() {
            let (parameter, ty) = &parameters[i];
            out.push(match (value, is_default(i)) {
                (Some(value), _) => value,
                (None, Some(default)) => Body::new(self.c, None, None).expr_as(&default, ty, "this default"),
                (None, None) => {
                    let d =
                        Diagnostic::new(Kind::Call, a.span, format!("'{name}' needs '{parameter}' ({ty})"));
                    self.c.report(d.related(syntax.name.span, "it is defined here"));
                    wrong(a.span)
                }
            });
        }
        made(ExprKind::Call(id, out), returns, a.span)
    }

    fn construct(&mut self, id: ClassId, a: Arguments) -> Expr {
        let ty = self.c.object(id);
        if let Some(init) = self.c.classes[id.0 as usize].init {
            let object = made(ExprKind::Constant(Constant::None), ty.clone(), a.span);
            let call = self.call_function(init, Some(object), a);
            let args = match call.kind {
                ExprKind::Call(_, mut args) => args.split_off(1),
                _ => Vec::new(),
            };
            return made(ExprKind::New(id, args), ty, a.span);
        }
        let class = self.c.class_syntax[id.0 as usize];
        let fields: Vec<(Arc<str>, Type)> =
            self.c.classes[id.0 as usize].fields.iter().map(|f| (f.name.clone(), f.ty.clone())).collect();
        let mut values: Vec<Option<Expr>> = fields.iter().map(|_| None).collect();
        for (i, e) in a.args.iter().enumerate() {
            match fields.get(i) {
                Some((name, ty)) => values[i] = Some(self.expr_as(e, ty, &format!("'{name}'"))),
                None => {
                    let what = format!("'{}' has {} fields", class.name.text, fields.len());
                    self.c.error(Kind::Call, e.span, what);
                }
            }
        }
        for (keyword, e) in a.kwargs {
            match fields.iter().position(|(n, _)| **n == *keyword.text) {
                Some(i) => values[i] = Some(self.expr_as(e, &fields[i].1, &format!("'{}'", fields[i].0))),
                None => {
                    let what = format!("'{}' has no field '{}'", class.name.text, keyword.text);
                    self.c.error(Kind::Call, keyword.span, what);
                }
            }
        }
        let mut out = Vec::with_capacity(values.len());
        for (i, value) in values.into_iter().enumerate() {
            let default = class.fields.get(i).and_then(|f| f.value.clone());
            out.push(match (value, default) {
                (Some(value), _) => value,
                (None, Some(default)) => {
                    Body::new(self.c, None, None).expr_as(&default, &fields[i].1, "this default")
                }
                (None, None) => {
                    let what = format!("'{}' needs '{}' ({})", class.name.text, fields[i].0, fields[i].1);
                    self.c.error(Kind::Call, a.span, what);
                    wrong(a.span)
                }
            });
        }
        made(ExprKind::New(id, out), ty, a.span)
    }

    // The language's own functions.

    pub(super) fn builtin_attribute(&mut self, object: Expr, name: &Name, span: Span) -> Expr {
        let prefix = receiver(&object.ty).unwrap_or("object");
        let own = format!("{prefix}.{}", name.text);
        let attribute = builtins::find(&own).find_map(|b| {
            let signature = signature::of(b.signature)?;
            (signature.parameters.len() == 1).then(|| (b, signature.returns.with(&Bound::new())))
        });
        match attribute {
            Some((builtin, ty)) if ATTRIBUTES.contains(&&*own) => {
                made(ExprKind::Builtin(builtin, vec![object]), ty, span)
            }
            found => {
                let d = Diagnostic::new(
                    Kind::Name,
                    name.span,
                    format!("{} has no attribute '{}'", object.ty, name.text),
                );
                let method = found.is_some() || calls::is_known(&format!("torch.{own}"));
                self.c.report(if method { d.hint("it is a method; call it") } else { d });
                wrong(span)
            }
        }
    }

    pub(super) fn call_builtin(
        &mut self,
        name: &str,
        object: Option<Expr>,
        a: Arguments,
        wanted: Option<&Type>,
    ) -> Expr {
        let overloads = overloads(name);
        if let Some((builtin, None)) = overloads.first() {
            return self.special(builtin, object, a, wanted);
        }
        // What the first overload wants helps to read `[]` and `None`.
        let skip = usize::from(object.is_some());
        let mut bound = Bound::new();
        let alone = if overloads.len() == 1 { overloads[0].1.clone() } else { None };
        if let (Some(s), Some(object)) = (&alone, &object)
            && let Some(first) = s.parameters.first()
        {
            first.pattern.takes(&object.ty, &mut bound);
        }
        let hint = |place: usize, bound: &Bound| {
            let p = alone.as_ref()?.parameters.get(place)?;
            Some(p.pattern.with(bound)).filter(|ty| *ty != Type::Unknown)
        };
        let mut given: Vec<Expr> = object.into_iter().collect();
        for (i, e) in a.args.iter().enumerate() {
            let value = match hint(i + skip, &bound) {
                Some(ty) => self.expr_like(e, &ty),
                None => self.expr(e),
            };
            given.push(value);
        }
        let mut named = Vec::new();
        for (keyword, e) in a.kwargs {
            named.push((keyword, self.expr(e)));
        }
        if given.iter().chain(named.iter().map(|(_, e)| e)).any(|e| e.ty == Type::Unknown)
            && overloads.len() > 1
        {
            // Which one is meant cannot be known; the mistake was reported.
            if given.iter().any(|e| e.ty == Type::Unknown) {
                return wrong(a.span);
            }
        }
        let keywords: Vec<&str> = named.iter().map(|(k, _)| &*k.text).collect();
        let types: Vec<&Type> = given.iter().chain(named.iter().map(|(_, e)| e)).map(|e| &e.ty).collect();
        if let Some(found) = fitting(&overloads, &keywords, &types) {
            return self.bind_builtin(found, given, named, a.span);
        }
        self.no_overload(name, &overloads, &given, &named, skip, a.span)
    }

    fn bind_builtin(
        &mut self,
        found: Found,
        given: Vec<Expr>,
        named: Vec<(&Name, Expr)>,
        span: Span,
    ) -> Expr {
        let Found { builtin, signature: s, places, bound } = found;
        let mut values: Vec<Vec<Expr>> = s.parameters.iter().map(|_| Vec::new()).collect();
        for (place, value) in
            places.into_iter().zip(given.into_iter().chain(named.into_iter().map(|(_, e)| e)))
        {
            let wanted = s.parameters[place].pattern.with(&bound);
            let value = match wanted {
                Type::Unknown => value,
                wanted => self.converted(value, &wanted).unwrap_or_else(|v| v),
            };
            values[place].push(value);
        }
        let mut out = Vec::new();
        for (parameter, mut value) in s.parameters.iter().zip(values) {
            if value.is_empty()
                && !parameter.many
                && let Some(default) = &parameter.default
            {
                value.push(literal(default.clone(), span));
            }
            out.append(&mut value);
        }
        let ty = s.returns.with(&bound);
        made(ExprKind::Builtin(builtin, out), ty, span)
    }

    fn no_overload(
        &mut self,
        name: &str,
        overloads: &[Overload],
        given: &[Expr],
        named: &[(&Name, Expr)],
        skip: usize,
        span: Span,
    ) -> Expr {
        let types: Vec<String> = given[skip.min(given.len())..]
            .iter()
            .map(|e| e.ty.to_string())
            .chain(named.iter().map(|(k, e)| format!("{}={}", k.text, e.ty)))
            .collect();
        let unknown = given.iter().chain(named.iter().map(|(_, e)| e)).any(|e| e.ty == Type::Unknown);
        if !unknown {
            let what = format!("'{name}' does not take ({})", types.join(", "));
            let known: Vec<&str> = overloads.iter().map(|(b, _)| b.signature).collect();
            let d = Diagnostic::new(Kind::Call, span, what);
            self.c.report(d.hint(format!("it takes {}", known.join(" or "))));
        }
        wrong(span)
    }
}

/// A line of the table of builtins with what it takes; none of those whose types follow a rule of their own.
pub(crate) type Overload = (&'static Builtin, Option<Arc<Signature>>);

/// The builtins of a name.
pub(crate) fn overloads(name: &str) -> Vec<Overload> {
    builtins::find(name).map(|b| (b, signature::of(b.signature))).collect()
}

/// The overload that a call means.
pub(crate) struct Found {
    pub(crate) builtin: &'static Builtin,
    pub(crate) signature: Arc<Signature>,
    /// The parameter of each argument.
    pub(crate) places: Vec<usize>,
    pub(crate) bound: Bound,
}

/// The first overload whose parameters take arguments of these types as they are, or else converted. The last
/// arguments are those by keyword.
pub(crate) fn fitting(overloads: &[Overload], keywords: &[&str], types: &[&Type]) -> Option<Found> {
    let positional = types.len() - keywords.len();
    for exact in [true, false] {
        for (builtin, s) in overloads {
            let Some(s) = s else { continue };
            let Some(places) = placed(s, positional, keywords.iter().copied()) else { continue };
            let mut bound = Bound::new();
            let fits = places.iter().zip(types).all(|(&p, ty)| {
                let pattern = &s.parameters[p].pattern;
                pattern.takes(ty, &mut bound) || (!exact && converts(ty, &pattern.with(&bound)))
            });
            if fits {
                return Some(Found { builtin, signature: s.clone(), places, bound });
            }
        }
    }
    None
}

/// Builtins that are attributes and are not called.
pub(crate) const ATTRIBUTES: &[&str] = &[
    "Tensor.shape",
    "Tensor.dtype",
    "Tensor.device",
    "Tensor.ndim",
    "Tensor.requires_grad",
    "Tensor.is_leaf",
    "Tensor.grad",
    "Tensor.itemsize",
    "Tensor.is_cuda",
    "dtype.is_floating_point",
    "device.type",
];

/// The parameters that arguments are for, or `None` if they do not fit.
fn placed<'n>(
    s: &Signature,
    positional: usize,
    keywords: impl Iterator<Item = &'n str>,
) -> Option<Vec<usize>> {
    let mut places = Vec::new();
    for i in 0..positional {
        let many = s.parameters.iter().position(|p| p.many);
        places.push(match many {
            Some(many) if i >= many => many,
            _ if i < s.parameters.len() => i,
            _ => return None,
        });
    }
    for keyword in keywords {
        let place = s.parameters.iter().position(|p| p.name == keyword)?;
        if places.contains(&place) {
            return None;
        }
        places.push(place);
    }
    let complete = (0..s.parameters.len())
        .all(|i| places.contains(&i) || s.parameters[i].default.is_some() || s.parameters[i].many);
    complete.then_some(places)
}

/// Whether a value of a type converts to another.
fn converts(ty: &Type, wanted: &Type) -> bool {
    match (ty, wanted) {
        (_, Type::Optional(of)) => converts(ty, of),
        (Type::Int | Type::Number | Type::Tensor, Type::Float) | (Type::Tensor, Type::Int) => true,
        (Type::Int | Type::Float | Type::Bool, Type::Number) => true,
        (ty, wanted) => ty.fits(wanted),
    }
}
