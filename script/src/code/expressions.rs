//! Expressions, with as few parentheses as Python's precedence needs.

use super::Printer;
use super::context::{
    Context, element_hint, float_of_int, floats, int_of_bool, of_bools, parts_hint, reproduces, unconverted,
};
use crate::check::settled;
use crate::syntax::{BinaryOp, CompareOp};
use crate::tree::{Arithmetic, Constant, Conversion, Expr, ExprKind, IndexPart, Slot};
use crate::types::Type;
use crate::value::float_text;

/// How tightly an expression binds, from the loosest.
pub(super) mod level {
    pub const ANY: u8 = 0;
    pub const CONDITIONAL: u8 = 1;
    pub const OR: u8 = 2;
    pub const AND: u8 = 3;
    pub const NOT: u8 = 4;
    pub const COMPARE: u8 = 5;
    pub const UNARY: u8 = 12;
    pub const POWER: u8 = 13;
    pub const POSTFIX: u8 = 14;
}

fn of_operator(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 6,
        BinaryOp::Xor => 7,
        BinaryOp::And => 8,
        BinaryOp::Shl | BinaryOp::Shr => 9,
        BinaryOp::Add | BinaryOp::Sub => 10,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod | BinaryOp::MatMul => 11,
        BinaryOp::Pow => level::POWER,
    }
}

/// A comparison by its operator and operands, whatever it is of.
pub(super) struct Compared<'e> {
    pub(super) op: CompareOp,
    pub(super) left: &'e Expr,
    pub(super) right: &'e Expr,
}

/// `a + b` and its like in any of their forms.
struct Operation<'e> {
    op: BinaryOp,
    left: &'e Expr,
    right: &'e Expr,
}

/// A value's truth, taken where a test needs it.
fn tested(e: &Expr) -> &Expr {
    match &e.kind {
        ExprKind::Convert(Conversion::TensorToBool | Conversion::Truth, inner) if of_bools(e).is_none() => {
            inner
        }
        _ => e,
    }
}

/// A number without what made it one of the other's type.
fn bare_number(e: &Expr) -> &Expr {
    int_of_bool(float_of_int(e).unwrap_or(e))
}

/// Operands as they are written: what the checker converts beside the other stays away.
fn operands<'e>(left: &'e Expr, right: &'e Expr) -> (&'e Expr, &'e Expr) {
    let kept = |e: &Expr| e.ty == Type::Float && float_of_int(e).is_none();
    let right_bare = if left.ty == Type::Float { bare_number(right) } else { int_of_bool(right) };
    let left_bare = if kept(right) { bare_number(left) } else { int_of_bool(left) };
    (left_bare, right_bare)
}

/// `~5`, which is -5 - 1, but not the number that the text `-5` is.
fn inverted(e: &Expr) -> Option<&Expr> {
    let ExprKind::Arithmetic(Arithmetic::Int, BinaryOp::Sub, left, right) = &e.kind else { return None };
    let one = matches!(right.kind, ExprKind::Constant(Constant::Int(1)));
    match &left.kind {
        ExprKind::Negate(n) if one && matches!(n.kind, ExprKind::Constant(Constant::Int(_))) => Some(n),
        _ => None,
    }
}

fn compared(e: &Expr) -> Option<Compared<'_>> {
    let contains = |e: &Expr| matches!(&e.kind, ExprKind::Builtin(b, args) if b.name.ends_with(".__contains__") && args.len() == 2);
    Some(match &e.kind {
        ExprKind::Compare(op, left, right) => {
            let (left, right) = operands(left, right);
            Compared { op: *op, left, right }
        }
        ExprKind::Builtin(_, args) if contains(e) => {
            Compared { op: CompareOp::In, left: &args[1], right: &args[0] }
        }
        ExprKind::Not(inner) if contains(inner) => match &inner.kind {
            ExprKind::Builtin(_, args) => Compared { op: CompareOp::NotIn, left: &args[1], right: &args[0] },
            _ => return None,
        },
        ExprKind::Torch { .. } => {
            let (name, left, right) = super::calls::two_operands(e)?;
            let op =
                [CompareOp::Eq, CompareOp::Ne, CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge]
                    .into_iter()
                    .find(|op| crate::check::compare_function(*op) == Some(name))?;
            Compared { op, left, right }
        }
        _ => return None,
    })
}

fn operation(e: &Expr) -> Option<Operation<'_>> {
    if let Some(bits) = of_bools(e) {
        return operation(bits);
    }
    Some(match &e.kind {
        ExprKind::Arithmetic(_, op, left, right) => {
            let (left, right) = operands(left, right);
            Operation { op: *op, left, right }
        }
        ExprKind::Builtin(b, args) if args.len() == 2 => {
            let op = match b.name {
                "str.__add__" | "list.__add__" => BinaryOp::Add,
                "str.__mul__" | "list.__mul__" => BinaryOp::Mul,
                _ => return None,
            };
            Operation { op, left: &args[0], right: &args[1] }
        }
        ExprKind::Torch { .. } => {
            let (name, left, right) = super::calls::two_operands(e)?;
            let op = BinaryOp::ALL.into_iter().find(|op| crate::check::function(*op) == name)?;
            (left.ty == Type::Tensor && right.ty == Type::Tensor || op != BinaryOp::MatMul)
                .then_some(Operation { op, left, right })?
        }
        _ => return None,
    })
}

impl<'p> Printer<'p> {
    /// An expression of which nothing is known where it stands.
    pub(super) fn free(&mut self, e: &'p Expr) {
        self.expr(e, Context::Free, level::ANY);
    }

    /// What something is taken of: an attribute, an element, a method.
    pub(super) fn postfix(&mut self, e: &'p Expr) {
        // `1.real` would be a float.
        if matches!(&e.kind, ExprKind::Constant(Constant::Int(_) | Constant::Float(_))) {
            self.write("(");
            self.free(e);
            return self.write(")");
        }
        self.expr(e, Context::Free, level::POSTFIX);
    }

    /// An expression where this is known, in parentheses if it binds looser than `least`.
    pub(super) fn expr(&mut self, e: &'p Expr, context: Context, least: u8) {
        self.from(e.span.start);
        if let Context::Test = context {
            return self.expr(tested(e), Context::Free, least);
        }
        if let Some(inner) = context.wanted().and_then(|wanted| unconverted(e, wanted)) {
            return self.expr(inner, context.hint().map_or(Context::Free, Context::Like), least);
        }
        if !reproduces(e, context)
            && let Some(ty) = self.names.ty(&e.ty)
        {
            let torch = self.names.import("torch");
            self.write(&format!("{torch}.jit.annotate({ty}, "));
            match unconverted(e, &e.ty) {
                Some(inner) => self.expr(inner, Context::Like(&e.ty), level::ANY),
                None => self.bare(e, Some(&e.ty), level::ANY),
            }
            return self.write(")");
        }
        self.bare(e, context.hint(), least);
    }

    fn binding(&mut self, own: u8, least: u8, write: impl FnOnce(&mut Self)) {
        if own < least {
            self.write("(");
            write(self);
            self.write(")");
        } else {
            write(self);
        }
    }

    /// An expression whose type is hinted at so.
    fn bare(&mut self, e: &'p Expr, hint: Option<&Type>, least: u8) {
        if let Some(inverted) = inverted(e) {
            return self.binding(level::UNARY, least, |p| {
                p.write("~");
                p.expr(inverted, Context::Free, level::UNARY);
            });
        }
        if let ExprKind::Convert(Conversion::BoolToInt, inner) = &e.kind {
            return self.binding(level::UNARY, least, |p| {
                p.write("+");
                p.expr(inner, Context::Free, level::UNARY);
            });
        }
        if let Some(Operation { op, left, right }) = operation(e) {
            let own = of_operator(op);
            let first = match hint {
                Some(ty @ Type::List(_)) => Context::Like(ty),
                _ => Context::Free,
            };
            return self.binding(own, least, |p| {
                // Of powers the right one is first.
                let (a, b) =
                    if op == BinaryOp::Pow { (level::POSTFIX, level::UNARY) } else { (own, own + 1) };
                p.expr(left, first, a);
                p.write(&format!(" {} ", op.symbol()));
                let second =
                    if matches!(left.ty, Type::List(_)) { Context::Like(&left.ty) } else { Context::Free };
                p.expr(right, second, b);
            });
        }
        if let Some(links) = chain(e) {
            return self.binding(level::COMPARE, least, |p| p.comparison(&links));
        }
        match &e.kind {
            ExprKind::Constant(c) => self.constant(c, least),
            ExprKind::Load(slot) => {
                let name = self.local(*slot).0;
                self.write(&name);
            }
            ExprKind::Global(i) => {
                if let Some(global) = self.program.globals.get(*i as usize) {
                    self.write(&global.name);
                }
            }
            ExprKind::Field { object, field } => self.field(object, *field),
            ExprKind::Convert(_, inner) => self.bare(inner, None, least),
            ExprKind::List(parts) => {
                let of = element_hint(hint).filter(|of| e.ty == Type::list((*of).clone()));
                let floats = of.is_none() && floats(parts);
                self.write("[");
                for (i, part) in parts.iter().enumerate() {
                    self.comma(i);
                    match (of, floats) {
                        (Some(of), _) => self.expr(part, Context::As(of), level::ANY),
                        (None, true) => {
                            self.expr(float_of_int(part).unwrap_or(part), Context::Free, level::ANY)
                        }
                        (None, false) => self.free(part),
                    }
                }
                self.write("]");
            }
            ExprKind::Tuple(parts) => {
                let hints = parts_hint(hint, parts.len());
                self.write("(");
                for (i, part) in parts.iter().enumerate() {
                    self.comma(i);
                    let context = hints.map_or(Context::Free, |of| Context::As(&of[i]));
                    self.expr(part, context, level::ANY);
                }
                self.write(if parts.len() == 1 { ",)" } else { ")" });
            }
            ExprKind::Dict(entries) => {
                let of = match (hint, entries.first()) {
                    (Some(Type::Dict(of)), _) => Some((**of).clone()),
                    (_, Some((key, value))) => Some((settled(&key.ty), settled(&value.ty))),
                    (_, None) => None,
                };
                let hinted = matches!(hint, Some(Type::Dict(_)));
                self.write("{");
                for (i, (key, value)) in entries.iter().enumerate() {
                    self.comma(i);
                    let known = of.as_ref().filter(|_| hinted || i > 0);
                    self.expr(key, known.map_or(Context::Free, |of| Context::As(&of.0)), level::ANY);
                    self.write(": ");
                    self.expr(value, known.map_or(Context::Free, |of| Context::As(&of.1)), level::ANY);
                }
                self.write("}");
            }
            ExprKind::ListComp { element, target, iterable, test } => {
                self.write("[");
                let context = match hint {
                    Some(Type::List(of)) => Context::As(of),
                    _ => Context::Free,
                };
                self.expr(element, context, level::ANY);
                self.write(" for ");
                self.target(target);
                self.write(" in ");
                self.expr(iterable, Context::Free, level::OR);
                if let Some(test) = test {
                    self.write(" if ");
                    self.expr(test, Context::Test, level::OR);
                }
                self.write("]");
            }
            ExprKind::Negate(inner) => self.binding(level::UNARY, least, |p| {
                p.write("-");
                let inner = int_of_bool(inner);
                match &inner.kind {
                    ExprKind::Constant(Constant::Int(_) | Constant::Float(_)) => {
                        p.write("(");
                        p.free(inner);
                        p.write(")");
                    }
                    _ => p.expr(inner, Context::Free, level::UNARY),
                }
            }),
            ExprKind::Not(inner) => self.binding(level::NOT, least, |p| {
                p.write("not ");
                p.expr(inner, Context::Test, level::NOT);
            }),
            ExprKind::Logical { and, left, right } => {
                let (own, word) = if *and { (level::AND, " and ") } else { (level::OR, " or ") };
                self.binding(own, least, |p| {
                    p.expr(left, Context::Test, own);
                    p.write(word);
                    p.expr(right, Context::Test, own + 1);
                });
            }
            ExprKind::Conditional { test, then, otherwise } => {
                self.binding(level::CONDITIONAL, least, |p| {
                    let kept = |e: &Expr| e.ty == Type::Float && float_of_int(e).is_none();
                    let context = hint.map_or(Context::Free, Context::Like);
                    let first = float_of_int(then).filter(|_| kept(otherwise)).unwrap_or(then);
                    let second =
                        float_of_int(otherwise).filter(|_| then.ty == Type::Float).unwrap_or(otherwise);
                    p.expr(first, context, level::OR);
                    p.write(" if ");
                    p.expr(test, Context::Test, level::OR);
                    p.write(" else ");
                    p.expr(second, context, level::CONDITIONAL);
                });
            }
            // Within a chain of comparisons it is written by the chain.
            ExprKind::Keep { value, .. } => self.bare(value, None, least),
            ExprKind::Torch { call, args, returns } => self.torch(e, call, args, returns, least),
            ExprKind::Index { tensor, index } => self.elements(tensor, index),
            ExprKind::Item { container, key } => self.item(container, key),
            ExprKind::Slice { container, part } => {
                self.postfix(container);
                self.write("[");
                self.part(part);
                self.write("]");
            }
            ExprKind::Builtin(builtin, args) => self.builtin(builtin, args),
            ExprKind::Call(id, args) => self.call(*id, args),
            ExprKind::New(id, args) => self.construct(*id, args),
            ExprKind::FString(pieces) => self.f_string(pieces),
            // They have a form of `operation` or `chain` each.
            ExprKind::Arithmetic(..) | ExprKind::Compare(..) => {}
        }
    }

    pub(super) fn comma(&mut self, place: usize) {
        if place > 0 {
            self.write(", ");
        }
    }

    /// Comparisons in a row, each with the one before it.
    fn comparison(&mut self, links: &[Compared<'p>]) {
        for (i, Compared { op, left, right }) in links.iter().enumerate() {
            if i == 0 {
                self.expr(left, Context::Free, level::COMPARE + 1);
            }
            self.write(&format!(" {} ", op.symbol()));
            let context = match &left.ty {
                Type::List(_) | Type::Dict(_) => Context::Like(&left.ty),
                _ => Context::Free,
            };
            let right = match &right.kind {
                ExprKind::Keep { value, .. } => value,
                _ => *right,
            };
            self.expr(right, context, level::COMPARE + 1);
        }
    }

    fn constant(&mut self, constant: &Constant, least: u8) {
        let number = |p: &mut Self, negative: bool, text: String| {
            let own = if negative { level::UNARY } else { level::POSTFIX };
            p.binding(own, least, |p| p.write(&text));
        };
        match constant {
            Constant::None => self.write("None"),
            Constant::Bool(true) => self.write("True"),
            Constant::Bool(false) => self.write("False"),
            Constant::Int(v) => number(self, *v < 0, v.to_string()),
            Constant::Float(v) => {
                let text = if v.is_finite() {
                    float_text(v.abs())
                } else {
                    let math = self.names.import("math");
                    format!("{math}.{}", if v.is_nan() { "nan" } else { "inf" })
                };
                let sign = if v.is_sign_negative() { "-" } else { "" };
                number(self, v.is_sign_negative(), format!("{sign}{text}"));
            }
            Constant::Str(text) => self.string(text),
            Constant::DType(dtype) => {
                let torch = self.names.import("torch");
                self.write(&format!("{torch}.{}", dtype.torch_name()));
            }
        }
    }

    pub(super) fn field(&mut self, object: &'p Expr, field: u32) {
        self.postfix(object);
        let name = match &object.ty {
            Type::Object(id, _) => self.program.classes.get(id.0 as usize),
            _ => None,
        };
        if let Some(field) = name.and_then(|class| class.fields.get(field as usize)) {
            self.write(&format!(".{}", field.name));
        }
    }

    pub(super) fn item(&mut self, container: &'p Expr, key: &'p Expr) {
        self.postfix(container);
        if let (Type::Named(names, _), ExprKind::Constant(Constant::Int(n))) = (&container.ty, &key.kind)
            && let Some(name) = usize::try_from(*n).ok().and_then(|n| names.get(n))
        {
            return self.write(&format!(".{name}"));
        }
        self.write("[");
        let key_type = match &container.ty {
            Type::Dict(of) => of.0.clone(),
            _ => Type::Int,
        };
        self.expr(key, Context::As(&key_type), level::ANY);
        self.write("]");
    }

    pub(super) fn elements(&mut self, tensor: &'p Expr, index: &'p [IndexPart]) {
        self.postfix(tensor);
        self.write("[");
        if index.is_empty() {
            self.write("()");
        }
        for (i, part) in index.iter().enumerate() {
            self.comma(i);
            self.part(part);
        }
        self.write("]");
    }

    fn part(&mut self, part: &'p IndexPart) {
        match part {
            IndexPart::Int(e) => match &e.kind {
                // What `.item()` gave is made an int by being an index.
                ExprKind::Convert(Conversion::TensorToInt, inner) if inner.ty == Type::Number => {
                    self.free(inner)
                }
                _ => self.free(e),
            },
            IndexPart::Slice { start, stop, step } => {
                let bound = |p: &mut Self, e: &'p Option<Expr>| {
                    if let Some(e) = e {
                        p.expr(e, Context::Into(&Type::Int), level::ANY);
                    }
                };
                bound(self, start);
                self.write(":");
                bound(self, stop);
                if step.is_some() {
                    self.write(":");
                    bound(self, step);
                }
            }
            IndexPart::New => self.write("None"),
            IndexPart::Ellipsis => self.write("..."),
            IndexPart::Tensor(e) | IndexPart::List(e) => self.free(e),
        }
    }
}

/// Comparisons of which each has the right operand of the one before it for its left one; one alone is a chain too.
fn chain(e: &Expr) -> Option<Vec<Compared<'_>>> {
    if let Some(only) = compared(e) {
        return Some(vec![only]);
    }
    let ExprKind::Logical { and: true, left, right } = &e.kind else { return None };
    let last = compared(tested(right))?;
    let kept = |e: &Expr| match &bare_number(e).kind {
        ExprKind::Load(slot) => Some(*slot),
        _ => None,
    };
    let keeps =
        |e: &Expr, slot: Slot| matches!(&bare_number(e).kind, ExprKind::Keep { slot: s, .. } if *s == slot);
    let slot = kept(last.left)?;
    let mut links = chain(tested(left))?;
    let before = links.last_mut()?;
    if !keeps(before.right, slot) {
        return None;
    }
    before.right = bare_number(before.right);
    links.push(last);
    Some(links)
}
