//! Calls: of torch, of the language's own functions, of the program; what is left out takes its default again.

use super::Printer;
use super::context::Context;
use super::expressions::level;
use crate::builtins::{self, Builtin};
use crate::calls::Resolved;
use crate::check::{ATTRIBUTES, conversion, fitting, overloads};
use crate::signature::Bound;
use crate::tree::{ClassId, Constant, Conversion, Expr, ExprKind, FunctionId, Returns};
use crate::types::Type;

/// A torch call of two operands that an operator could stand for: its name, the operands.
pub(super) fn two_operands(e: &Expr) -> Option<(&str, &Expr, &Expr)> {
    let ExprKind::Torch { call, args, returns: Returns::Tensor } = &e.kind else { return None };
    let [Some(left), Some(right), rest @ ..] = &args[..] else { return None };
    let tensors = [&left.ty, &right.ty].into_iter().any(|ty| *ty == Type::Tensor);
    let fits = [&left.ty, &right.ty].into_iter().all(|ty| *ty == Type::Tensor || ty.is_number());
    (tensors && fits && rest.iter().all(Option::is_none)).then_some((&call.name, left, right))
}

/// A value that the text need not say, since it is the parameter's default.
fn is_default(value: &Expr, default: &Expr) -> bool {
    match (&value.kind, &default.kind) {
        (ExprKind::Convert(a, x), ExprKind::Convert(b, y)) => a == b && is_default(x, y),
        (_, ExprKind::Constant(c)) => value.ty == default.ty && is_constant(value, c),
        _ => false,
    }
}

/// Whether it is this constant; of floats to the bit, since -0.0 is another one.
fn is_constant(e: &Expr, wanted: &Constant) -> bool {
    match (&e.kind, wanted) {
        (ExprKind::Constant(Constant::Float(a)), Constant::Float(b)) => a.to_bits() == b.to_bits(),
        (ExprKind::Constant(c), wanted) => c == wanted,
        _ => false,
    }
}

impl<'p> Printer<'p> {
    pub(super) fn torch(
        &mut self,
        e: &'p Expr,
        call: &Resolved,
        args: &'p [Option<Expr>],
        returns: &Returns,
        least: u8,
    ) {
        let alone = match args {
            [Some(x), rest @ ..] if x.ty == Type::Tensor && rest.iter().all(Option::is_none) => Some(x),
            _ => None,
        };
        let sign = match &*call.name {
            "torch.neg" => Some("-"),
            "torch.bitwise_not" => Some("~"),
            _ => None,
        };
        if let (Some(x), Some(sign), Type::Tensor) = (alone, sign, &e.ty) {
            let own = level::UNARY;
            self.write(if own < least { "(" } else { "" });
            self.write(sign);
            self.expr(x, Context::Free, own);
            return self.write(if own < least { ")" } else { "" });
        }
        let method = call.name.strip_prefix("torch.Tensor.");
        if let (Some(method), Some(Some(object))) = (method, args.first())
            && object.ty == Type::Tensor
            && builtins::find(&format!("Tensor.{method}")).next().is_none()
        {
            self.postfix(object);
            let end = if *returns == Returns::Nothing { "_" } else { "" };
            self.write(&format!(".{method}{end}("));
            self.torch_args(call, args, 1);
            return self.write(")");
        }
        self.path(&call.name);
        self.write("(");
        self.torch_args(call, args, 0);
        self.write(if *returns == Returns::Nothing { ", inplace=True)" } else { ")" });
    }

    /// `torch.exp`, `math.sqrt`: a path by way of what it is imported as.
    fn path(&mut self, path: &str) {
        match path.split_once('.') {
            Some((module, rest)) => {
                let module = self.names.import(module);
                self.write(&format!("{module}.{rest}"));
            }
            None => self.write(path),
        }
    }

    /// Arguments by place as long as none is left out, then by name.
    fn torch_args(&mut self, call: &Resolved, args: &'p [Option<Expr>], from: usize) {
        let mut by_name = false;
        let mut written = 0;
        for (parameter, arg) in call.parameters.iter().zip(args).skip(from) {
            let Some(arg) = arg else {
                by_name = true;
                continue;
            };
            self.comma(written);
            written += 1;
            let list = matches!(arg.ty, Type::List(_) | Type::Tuple(_));
            if parameter.is_variadic() && !by_name && list {
                // All that follows is by name: an argument after it would be taken for one of it.
                by_name = true;
                match &arg.kind {
                    ExprKind::Tuple(parts) if spreads(arg, parts) => {
                        for (i, part) in parts.iter().enumerate() {
                            self.comma(i);
                            self.free(part);
                        }
                    }
                    _ => self.free(arg),
                }
                continue;
            }
            by_name |= parameter.is_variadic();
            if by_name {
                self.write(&format!("{}=", parameter.name));
            }
            self.free(arg);
        }
    }

    pub(super) fn builtin(&mut self, builtin: &'static Builtin, args: &'p [Expr]) {
        let name = builtin.name;
        let method = name.split_once('.').filter(|(module, _)| !matches!(*module, "torch" | "math"));
        let (from, end) = match (method, args.first()) {
            (Some((_, method)), Some(object)) => {
                self.postfix(object);
                if ATTRIBUTES.contains(&name) {
                    return self.write(&format!(".{method}"));
                }
                self.write(&format!(".{method}("));
                (1, ")")
            }
            _ => {
                self.path(name);
                self.write("(");
                (0, ")")
            }
        };
        match builtin.signature {
            "..." => self.special(name, args, from),
            _ => self.builtin_args(builtin, args, from),
        }
        self.write(end);
    }

    fn builtin_args(&mut self, builtin: &'static Builtin, args: &'p [Expr], from: usize) {
        let overloads = overloads(builtin.name);
        // What the checker converts for this overload is written unconverted, if that still means this overload.
        let stripped: Vec<&Expr> = args
            .iter()
            .map(|e| match &e.kind {
                ExprKind::Convert(
                    Conversion::IntToFloat | Conversion::TensorToFloat | Conversion::TensorToInt,
                    inner,
                ) => &**inner,
                _ => e,
            })
            .collect();
        let types: Vec<&Type> = stripped.iter().map(|e| &e.ty).collect();
        let found = fitting(&overloads, &[], &types).filter(|f| std::ptr::eq(f.builtin, builtin));
        let found = found.filter(|f| {
            let converts = |(i, e): (usize, &&Expr)| {
                let wanted = f.signature.parameters[f.places[i]].pattern.with(&f.bound);
                let of = match &wanted {
                    Type::Optional(of) => of,
                    other => other,
                };
                std::ptr::eq(*e, &args[i]) || !e.ty.fits(&wanted) && conversion(&e.ty, of).is_some()
            };
            stripped.iter().enumerate().all(converts)
        });
        let written: Vec<&'p Expr> = if found.is_some() { stripped } else { args.iter().collect() };
        let types: Vec<&Type> = written.iter().map(|e| &e.ty).collect();
        let found = found.or_else(|| fitting(&overloads, &[], &types));
        let alone = overloads.len() == 1;
        let mut receiver = Bound::new();
        let mut last = written.len();
        if let Some(found) = &found {
            if from == 1
                && let Some(first) = found.signature.parameters.first()
            {
                first.pattern.takes(&args[0].ty, &mut receiver);
            }
            let default = |i: usize| found.signature.parameters.get(*found.places.get(i)?)?.default.as_ref();
            let plain = |e: &Expr| e.ty != Type::Number;
            while last > from
                && default(last - 1)
                    .is_some_and(|d| plain(written[last - 1]) && is_constant(written[last - 1], d))
            {
                last -= 1;
            }
        }
        for (i, argument) in written.iter().enumerate().take(last).skip(from) {
            self.comma(i - from);
            let pattern =
                found.as_ref().and_then(|f| f.signature.parameters.get(f.places[i])).map(|p| &p.pattern);
            let number = found.as_ref().zip(pattern).is_some_and(|(f, p)| p.with(&f.bound) == Type::Number);
            let hint = pattern.filter(|_| alone).map(|p| p.with(&receiver)).filter(|ty| *ty != Type::Unknown);
            let context = match &hint {
                _ if number => Context::As(&Type::Number),
                Some(hint) => Context::Like(hint),
                None => Context::Free,
            };
            self.expr(argument, context, level::ANY);
        }
    }

    /// Builtins whose arguments follow rules of their own.
    fn special(&mut self, name: &str, args: &'p [Expr], from: usize) {
        let int = |e: &Expr, n: i64| is_constant(e, &Constant::Int(n));
        match (name, args) {
            ("range", [start, stop, step]) => {
                let first = usize::from(int(start, 0) && int(step, 1));
                let last = if int(step, 1) { 2 } else { 3 };
                debug_assert!(first < last, "a range has a stop: {stop:?}");
                for (i, e) in args[first..last].iter().enumerate() {
                    self.comma(i);
                    self.expr(e, Context::As(&Type::Int), level::ANY);
                }
            }
            ("enumerate", [values, start]) => {
                self.free(values);
                if !int(start, 0) {
                    self.write(", ");
                    self.expr(start, Context::As(&Type::Int), level::ANY);
                }
            }
            ("print", [separator, end, rest @ ..]) => {
                for (i, e) in rest.iter().enumerate() {
                    self.comma(i);
                    self.free(e);
                }
                let named = [("sep", separator, " "), ("end", end, "\n")];
                self.named_args(rest.len(), named.map(|(n, e, d)| (n, e, Constant::Str(d.into()))));
            }
            ("torch.tensor" | "torch.as_tensor", [data, dtype, requires]) => {
                self.free(data);
                let named =
                    [("dtype", dtype, Constant::None), ("requires_grad", requires, Constant::Bool(false))];
                self.named_args(1, named);
            }
            ("torch.autograd.grad", [outputs, inputs, of, retain, create, unused]) => {
                self.free(outputs);
                self.write(", ");
                self.free(inputs);
                let named = [
                    ("grad_outputs", of, Constant::None),
                    ("retain_graph", retain, Constant::None),
                    ("create_graph", create, Constant::Bool(false)),
                    ("allow_unused", unused, Constant::Bool(false)),
                ];
                self.named_args(2, named);
            }
            _ => {
                for (i, e) in args.iter().enumerate().skip(from) {
                    self.comma(i - from);
                    self.free(e);
                }
            }
        }
    }

    /// Arguments by name, without those that are their defaults.
    fn named_args<const N: usize>(&mut self, before: usize, named: [(&str, &'p Expr, Constant); N]) {
        let mut written = before;
        for (name, value, default) in named {
            if !is_constant(value, &default) {
                self.comma(written);
                written += 1;
                self.write(&format!("{name}="));
                self.free(value);
            }
        }
    }

    pub(super) fn call(&mut self, id: FunctionId, args: &'p [Expr]) {
        let program = self.program;
        let Some(function) = program.functions.get(id.0 as usize) else { return };
        let from = match (function.name.split_once('.'), args.first()) {
            (Some((_, method)), Some(object)) => {
                self.postfix(object);
                self.write(&format!(".{method}("));
                1
            }
            _ => {
                self.write(&format!("{}(", function.name));
                0
            }
        };
        let parameters = function.parameters.iter().map(|p| (&p.ty, p.default.as_ref()));
        let pairs: Vec<_> = args.iter().zip(parameters).skip(from).collect();
        self.arguments(&pairs);
    }

    pub(super) fn construct(&mut self, id: ClassId, args: &'p [Expr]) {
        let program = self.program;
        let Some(class) = program.classes.get(id.0 as usize) else { return };
        self.write(&format!("{}(", class.name));
        let init = class.init.and_then(|f| program.functions.get(f.0 as usize));
        let pairs: Vec<_> = match init {
            Some(init) => {
                let parameters = init.parameters.iter().skip(1).map(|p| (&p.ty, p.default.as_ref()));
                args.iter().zip(parameters).collect()
            }
            None => {
                let default = |i: usize| class.defaults.get(i).and_then(Option::as_ref);
                let fields = class.fields.iter().enumerate().map(|(i, f)| (&f.ty, default(i)));
                args.iter().zip(fields).collect()
            }
        };
        self.arguments(&pairs);
    }

    /// Arguments of parameters of these types and defaults, and the closing parenthesis.
    fn arguments(&mut self, pairs: &[(&'p Expr, (&'p Type, Option<&'p Expr>))]) {
        let given = |(value, (_, default)): &(&Expr, (&Type, Option<&Expr>))| {
            !default.is_some_and(|d| is_default(value, d))
        };
        let count = pairs.iter().rposition(given).map_or(0, |i| i + 1);
        for (i, (value, (ty, _))) in pairs[..count].iter().enumerate() {
            self.comma(i);
            self.expr(value, Context::As(ty), level::ANY);
        }
        self.write(")");
    }
}

/// Whether a tuple is what separate arguments become: one list alone would be taken for all of them.
fn spreads(e: &Expr, parts: &[Expr]) -> bool {
    let listed = matches!(parts, [only] if matches!(only.ty, Type::List(_) | Type::Tuple(_)));
    let own = Type::tuple(parts.iter().map(|p| p.ty.clone()).collect::<Vec<_>>());
    !parts.is_empty() && !listed && e.ty == own
}
