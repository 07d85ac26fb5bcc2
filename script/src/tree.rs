//! The typed tree: what `check` makes of the syntax tree and what the interpreter and the lowering walk. Names are slots,
//! calls know what they call, every expression has a type, and implicit conversions are written out.

use crate::builtins::Builtin;
use crate::calls::Resolved;
use crate::diagnostics::SourceFile;
use crate::syntax::{BinaryOp, CompareOp, Span};
use crate::types::Type;
use runtime::DType;
use std::sync::Arc;

/// A function of a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FunctionId(pub u32);

/// A class of a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClassId(pub u32);

/// A local variable of a function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Slot(pub u32);

/// A checked program.
#[derive(Debug)]
pub struct Program {
    /// Its text.
    pub source: Arc<SourceFile>,
    /// Functions and methods.
    pub functions: Vec<Function>,
    /// Classes.
    pub classes: Vec<Class>,
    /// Constants of the module, evaluated once, in order; a later one may load earlier ones.
    pub globals: Vec<Global>,
}

/// A constant of the module.
#[derive(Debug)]
pub struct Global {
    /// Its name.
    pub name: Arc<str>,
    /// Its type: the annotation's, or the value's own.
    pub ty: Type,
    /// Its value.
    pub value: Expr,
}

/// A function or method.
#[derive(Clone, Debug)]
pub struct Function {
    /// `forward`, `Cell.step`.
    pub name: Arc<str>,
    /// Parameters; their slots are the first ones. Of a method the first is the object.
    pub parameters: Vec<Parameter>,
    /// What it returns.
    pub returns: Type,
    /// Every local variable, parameters first.
    pub slots: Vec<Local>,
    /// What it does.
    pub body: Vec<Stmt>,
    /// From `def` to the last statement.
    pub span: Span,
}

/// A parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// Its default: an expression without locals.
    pub default: Option<Expr>,
}

/// A local variable.
#[derive(Clone, Debug)]
pub struct Local {
    /// Its name.
    pub name: Arc<str>,
    /// Its declared type; a place may know more (`Optional` refined).
    pub ty: Type,
}

/// A class.
#[derive(Debug)]
pub struct Class {
    /// Its name.
    pub name: Arc<str>,
    /// Attributes in order.
    pub fields: Vec<Local>,
    /// Its `__init__`; `None` of a data class, whose constructor takes the fields.
    pub init: Option<FunctionId>,
    /// Methods by name.
    pub methods: Vec<(Arc<str>, FunctionId)>,
    /// Defaults of the fields, by place; for data classes.
    pub defaults: Vec<Option<Expr>>,
    /// Whether it is a `NamedTuple`: fields do not change, and it unpacks.
    pub tuple: bool,
    /// The whole class.
    pub span: Span,
}

/// A statement.
#[derive(Clone, Debug)]
pub struct Stmt {
    /// What it does.
    pub kind: StmtKind,
    /// Its place.
    pub span: Span,
}

/// What a statement does.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the lines of the variants show their fields")]
pub enum StmtKind {
    /// An expression for its effect.
    Expr(Expr),
    /// `target = value`; a chain is several with a temporary slot.
    Assign { target: Target, value: Expr },
    /// `target += value`: tensors in place, lists extended, others replaced. Container and index are evaluated once.
    Augmented { target: Target, op: BinaryOp, value: Expr },
    /// `if`; the test is a bool (a tensor's truth is a `Convert`).
    If { test: Expr, then: Vec<Stmt>, otherwise: Vec<Stmt> },
    /// `while`.
    While { test: Expr, body: Vec<Stmt> },
    /// `for` over a list, tuple, dict (its keys), str, tensor (its rows) or one of `range`, `enumerate`, `zip`, which are lazy.
    For { target: Target, iterable: Expr, body: Vec<Stmt> },
    /// Statements whose operations keep (`true`) or do not keep (`false`) a gradient.
    Grad { enabled: bool, body: Vec<Stmt> },
    /// `return`.
    Return(Option<Expr>),
    /// `break`.
    Break,
    /// `continue`.
    Continue,
    /// `assert test, message`.
    Assert { test: Expr, message: Option<Expr> },
    /// `raise Name(message)`.
    Raise { exception: Arc<str>, message: Option<Expr> },
    /// `del container[key]` of a list or dict.
    Delete { container: Expr, key: Expr },
}

/// What an assignment writes to.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the lines of the variants show their fields")]
pub enum Target {
    /// A local variable.
    Slot(Slot),
    /// An attribute of an object, by its place.
    Field { object: Expr, field: u32 },
    /// An element of a list or dict.
    Item { container: Expr, key: Expr },
    /// Elements of a tensor.
    Elements { tensor: Expr, index: Vec<IndexPart> },
    /// Elements of a tuple, a list, a named tuple or a tensor, as many as targets.
    Unpack(Vec<Target>),
    /// A tensor's attribute, of which only `grad` can be written.
    Grad { tensor: Expr },
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Its type.
    pub ty: Type,
    /// Its place.
    pub span: Span,
}

/// A value that stands in the source.
#[derive(Clone, PartialEq, Debug)]
pub enum Constant {
    /// `None`.
    None,
    /// `1`.
    Int(i64),
    /// `1.5`.
    Float(f64),
    /// `True`.
    Bool(bool),
    /// `"a"`.
    Str(Arc<str>),
    /// `torch.float32`.
    DType(DType),
}

/// The type of operands of host arithmetic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arithmetic {
    /// Integers of 64 bits, an overflow is an error; `//` and `%` round down; `/` gives a float; bools are 0 and 1.
    Int,
    /// Floats; ints among the operands are converted before.
    Float,
    /// What `.item()` gave, an int or a float, known when it runs.
    Number,
}

/// What an expression is.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the lines of the variants show their fields")]
pub enum ExprKind {
    /// A value in the source.
    Constant(Constant),
    /// A local variable.
    Load(Slot),
    /// A constant of the module.
    Global(u32),
    /// An attribute of an object, by its place.
    Field { object: Box<Expr>, field: u32 },
    /// An implicit conversion.
    Convert(Conversion, Box<Expr>),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `(a, b)`.
    Tuple(Vec<Expr>),
    /// `{k: v}`.
    Dict(Vec<(Expr, Expr)>),
    /// `[element for target in iterable if test]`.
    ListComp { element: Box<Expr>, target: Box<Target>, iterable: Box<Expr>, test: Option<Box<Expr>> },
    /// Arithmetic on host numbers.
    Arithmetic(Arithmetic, BinaryOp, Box<Expr>, Box<Expr>),
    /// `-a` of a host number, of the expression's own type.
    Negate(Box<Expr>),
    /// A comparison of host numbers (both of one type), strings, bools, tuples, lists, and `is None`.
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    /// `not a`.
    Not(Box<Expr>),
    /// `a and b` (true), `a or b` (false), of bools; the right one is evaluated only if it decides.
    Logical { and: bool, left: Box<Expr>, right: Box<Expr> },
    /// `then if test else otherwise`.
    Conditional { test: Box<Expr>, then: Box<Expr>, otherwise: Box<Expr> },
    /// A comparison chain's middle operand is kept in a slot while it is compared twice.
    Keep { slot: Slot, value: Box<Expr> },
    /// An operation on tensors by its torch name: `args` are in the order of the call's parameters, `None` where left out.
    Torch { call: Resolved, args: Vec<Option<Expr>>, returns: Returns },
    /// `tensor[index]`.
    Index { tensor: Box<Expr>, index: Vec<IndexPart> },
    /// An element of a list, tuple, dict or str (`key` a host value).
    Item { container: Box<Expr>, key: Box<Expr> },
    /// `list[a:b:c]`, `str[a:b]`, `tuple[a:b]`.
    Slice { container: Box<Expr>, part: Box<IndexPart> },
    /// A function or method of the language itself: `len`, `math.sqrt`, `list.append`, `Tensor.item`.
    Builtin(&'static Builtin, Vec<Expr>),
    /// A function or method of the program; of a method the object is the first argument.
    Call(FunctionId, Vec<Expr>),
    /// An object of a class; arguments of its `__init__` without `self`, or its fields.
    New(ClassId, Vec<Expr>),
    /// An f-string.
    FString(Vec<Piece>),
}

/// What becomes of a torch call's outputs.
#[derive(Clone, PartialEq, Debug)]
pub enum Returns {
    /// One tensor.
    Tensor,
    /// A tuple of these.
    Tuple,
    /// A tuple of so many, `None` in place of the last ones that the call leaves out.
    TupleOf(usize),
    /// A list of tensors.
    List,
    /// A host bool of a tensor of one element (`torch.equal`, `torch.is_floating_point`).
    Bool,
    /// Nothing: the first argument was written to.
    Nothing,
}

/// A part of an f-string.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Text.
    Text(Arc<str>),
    /// A value, `'r'` or `'s'`, its format.
    Value(Expr, Option<char>, Arc<str>),
}

/// An implicit conversion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conversion {
    /// An int (or bool, for `float(b)` only) as a float.
    IntToFloat,
    /// A bool as an int.
    BoolToInt,
    /// A tensor of one element as a bool: it is looked at.
    TensorToBool,
    /// A tensor of one element as an int.
    TensorToInt,
    /// A tensor of one element as a float.
    TensorToFloat,
    /// A host number as a tensor of rank 0 with its default dtype.
    NumberToTensor,
    /// The truth of an int, float, str, list, dict or optional.
    Truth,
    /// What is no longer optional; an error if it is `None` after all.
    Unwrap,
    /// A tensor, list or tuple as a list of ints that a torch call wants (a tensor is looked at).
    ToInts,
}

/// A part of an index of a tensor.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the lines of the variants show their fields")]
pub enum IndexPart {
    /// An int.
    Int(Expr),
    /// `start:stop:step`.
    Slice { start: Option<Expr>, stop: Option<Expr>, step: Option<Expr> },
    /// `None`.
    New,
    /// `...`.
    Ellipsis,
    /// A mask or indices.
    Tensor(Expr),
    /// A list of ints or bools, which is a tensor of indices or a mask.
    List(Expr),
}
