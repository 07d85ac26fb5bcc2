//! The syntax tree of a program, as it is written: no name is resolved, no type is known.

use std::rc::Rc;

/// A range of bytes of the source.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The least span that covers both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// An identifier where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Name {
    /// Its text.
    pub text: Rc<str>,
    /// Its place.
    pub span: Span,
}

/// A file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Module {
    /// `import torch`, `from typing import List`: what each binds.
    pub imports: Vec<Import>,
    /// `NAME = expression` and `NAME: T = expression` at the top, in order.
    pub constants: Vec<Constant>,
    /// Functions, in order.
    pub functions: Vec<Function>,
    /// Classes, in order.
    pub classes: Vec<Class>,
    /// Names in what could not be read, whatever they may mean.
    pub broken: Vec<Rc<str>>,
}

/// One name bound by an import.
#[derive(Clone, PartialEq, Debug)]
pub struct Import {
    /// What is imported, with dots: `torch.nn.functional`, `typing.List`.
    pub path: Rc<str>,
    /// The name it gets. `import torch.nn.functional` binds `torch` to `torch`.
    pub name: Name,
}

/// A constant of the module.
#[derive(Clone, PartialEq, Debug)]
pub struct Constant {
    /// Its name.
    pub name: Name,
    /// Its type, where one is written.
    pub annotation: Option<Expr>,
    /// Its value.
    pub value: Expr,
}

/// `def`.
#[derive(Clone, PartialEq, Debug)]
pub struct Function {
    /// Its name.
    pub name: Name,
    /// Its parameters; of a method the first is `self`.
    pub parameters: Vec<Parameter>,
    /// The type after `->`.
    pub returns: Option<Expr>,
    /// `@torch.jit.script`, `@staticmethod`: decorators in order.
    pub decorators: Vec<Expr>,
    /// Statements, without the docstring.
    pub body: Vec<Stmt>,
    /// From `def` to the last statement.
    pub span: Span,
}

/// A parameter.
#[derive(Clone, PartialEq, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: Name,
    /// Its type; one without is a tensor.
    pub annotation: Option<Expr>,
    /// Its default.
    pub default: Option<Expr>,
    /// Whether it stands after a lone `*`.
    pub keyword_only: bool,
}

/// `class`.
#[derive(Clone, PartialEq, Debug)]
pub struct Class {
    /// Its name.
    pub name: Name,
    /// What it derives from: nothing, `object`, `nn.Module`, `NamedTuple`, `torch.autograd.Function`.
    pub bases: Vec<Expr>,
    /// `@torch.jit.script`, `@dataclass`.
    pub decorators: Vec<Expr>,
    /// `name: T` and `name: T = value` in its body.
    pub fields: Vec<Field>,
    /// Its methods.
    pub methods: Vec<Function>,
    /// The whole class.
    pub span: Span,
}

/// A declared attribute of a class.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub annotation: Option<Expr>,
    /// Its value, the same for all objects.
    pub value: Option<Expr>,
}

/// A statement.
#[derive(Clone, PartialEq, Debug)]
pub struct Stmt {
    /// What it does.
    pub kind: StmtKind,
    /// Its place; of a compound statement its header.
    pub span: Span,
}

/// What a statement does.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the lines of the variants show their fields")]
pub enum StmtKind {
    /// An expression for its effect.
    Expr(Expr),
    /// `a = b = value`; a target is a name, attribute, subscript, or a tuple or list of targets.
    Assign { targets: Vec<Expr>, value: Expr },
    /// `name: T` or `name: T = value`.
    Annotated { target: Expr, annotation: Expr, value: Option<Expr> },
    /// `target += value`.
    Augmented { target: Expr, op: BinaryOp, value: Expr },
    /// `if`; an `elif` is an `if` alone in `otherwise`.
    If { test: Expr, then: Vec<Stmt>, otherwise: Vec<Stmt> },
    /// `while`.
    While { test: Expr, body: Vec<Stmt> },
    /// `for target in iterable`.
    For { target: Expr, iterable: Expr, body: Vec<Stmt> },
    /// `with context:`, `with context as name:`.
    With { items: Vec<(Expr, Option<Expr>)>, body: Vec<Stmt> },
    /// `return`.
    Return(Option<Expr>),
    /// `break`.
    Break,
    /// `continue`.
    Continue,
    /// `pass`, and an expression that is only `...` or a string.
    Pass,
    /// `assert test, message`.
    Assert { test: Expr, message: Option<Expr> },
    /// `raise exception`.
    Raise(Expr),
    /// `del xs[i], name`; a target is a name or a subscript.
    Delete { targets: Vec<Expr> },
    /// What could not be read, or is left out: its names, about which nothing is known from here on.
    Broken(Vec<Rc<str>>),
}

/// An expression.
#[derive(Clone, PartialEq, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its place.
    pub span: Span,
}

/// What an expression is.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs, reason = "the lines of the variants show their fields")]
pub enum ExprKind {
    /// An identifier.
    Name(Rc<str>),
    /// An integer of 64 bits; `-9223372036854775808` is the negation of `i64::MIN`'s own literal.
    Int(i64),
    /// A float.
    Float(f64),
    /// A string, its escapes resolved and adjacent ones joined.
    Str(Rc<str>),
    /// `f"..."`.
    FString(Vec<FPart>),
    /// `True`, `False`.
    Bool(bool),
    /// `None`.
    None,
    /// `...`.
    Ellipsis,
    /// Stands for Python that the language leaves out.
    Missing,
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `a, b`, `(a,)`, `()`.
    Tuple(Vec<Expr>),
    /// `{k: v}`.
    Dict(Vec<(Expr, Expr)>),
    /// `[element for target in iterable if test]`.
    ListComp { element: Box<Expr>, target: Box<Expr>, iterable: Box<Expr>, test: Option<Box<Expr>> },
    /// `-a`, `not a`.
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `a and b` (true), `a or b` (false).
    Logical { and: bool, left: Box<Expr>, right: Box<Expr> },
    /// `a < b <= c`.
    Compare { first: Box<Expr>, rest: Vec<(CompareOp, Expr)> },
    /// `then if test else otherwise`.
    Conditional { test: Box<Expr>, then: Box<Expr>, otherwise: Box<Expr> },
    /// `callee(args, name=value)`; `*a` is an argument of kind `Starred`.
    Call { callee: Box<Expr>, args: Vec<Expr>, kwargs: Vec<(Name, Expr)> },
    /// `*a` among a call's arguments.
    Starred(Box<Expr>),
    /// `value.name`.
    Attribute { value: Box<Expr>, name: Name },
    /// `value[index]`; several indices are a `Tuple`.
    Subscript { value: Box<Expr>, index: Box<Expr> },
    /// `start:stop:step` within a subscript.
    Slice { start: Option<Box<Expr>>, stop: Option<Box<Expr>>, step: Option<Box<Expr>> },
}

/// A part of an f-string.
#[derive(Clone, PartialEq, Debug)]
pub enum FPart {
    /// Text.
    Text(Rc<str>),
    /// `{value!conversion:spec}`; `{value=}` also writes its own text first, as a part before it.
    Value {
        /// The expression.
        value: Expr,
        /// `'r'` or `'s'` after `!`.
        conversion: Option<char>,
        /// What stands after `:`.
        spec: Rc<str>,
    },
}

/// An operator before one operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UnaryOp {
    /// `-`.
    Neg,
    /// `+`.
    Pos,
    /// `~`.
    Invert,
    /// `not`.
    Not,
}

/// An operator between two operands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BinaryOp {
    /// `+`.
    Add,
    /// `-`.
    Sub,
    /// `*`.
    Mul,
    /// `/`.
    Div,
    /// `//`.
    FloorDiv,
    /// `%`.
    Mod,
    /// `**`.
    Pow,
    /// `@`.
    MatMul,
    /// `&`.
    And,
    /// `|`.
    Or,
    /// `^`.
    Xor,
    /// `<<`.
    Shl,
    /// `>>`.
    Shr,
}

impl BinaryOp {
    /// All of them.
    pub const ALL: [BinaryOp; 13] = [
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::FloorDiv,
        BinaryOp::Mod,
        BinaryOp::Pow,
        BinaryOp::MatMul,
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Xor,
        BinaryOp::Shl,
        BinaryOp::Shr,
    ];

    /// How it is written.
    pub const fn symbol(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::FloorDiv => "//",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "**",
            BinaryOp::MatMul => "@",
            BinaryOp::And => "&",
            BinaryOp::Or => "|",
            BinaryOp::Xor => "^",
            BinaryOp::Shl => "<<",
            BinaryOp::Shr => ">>",
        }
    }
}

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CompareOp {
    /// `==`.
    Eq,
    /// `!=`.
    Ne,
    /// `<`.
    Lt,
    /// `<=`.
    Le,
    /// `>`.
    Gt,
    /// `>=`.
    Ge,
    /// `is`.
    Is,
    /// `is not`.
    IsNot,
    /// `in`.
    In,
    /// `not in`.
    NotIn,
}

impl CompareOp {
    /// How it is written.
    pub const fn symbol(self) -> &'static str {
        match self {
            CompareOp::Eq => "==",
            CompareOp::Ne => "!=",
            CompareOp::Lt => "<",
            CompareOp::Le => "<=",
            CompareOp::Gt => ">",
            CompareOp::Ge => ">=",
            CompareOp::Is => "is",
            CompareOp::IsNot => "is not",
            CompareOp::In => "in",
            CompareOp::NotIn => "not in",
        }
    }
}
