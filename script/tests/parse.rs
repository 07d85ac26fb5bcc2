//! The parser: the shape of trees, the places of nodes, and the words of errors.

use script::diagnostics::{Diagnostic, Kind, SourceFile, render};
use script::parse::parse;
use script::syntax::*;
use std::fmt::Write;

/// An expression as nested calls: what a test can spell out.
fn show(expr: &Expr) -> String {
    let list = |items: &[Expr]| items.iter().map(show).collect::<Vec<_>>().join(" ");
    let maybe = |e: &Option<Box<Expr>>| e.as_ref().map_or("_".to_string(), |e| show(e));
    match &expr.kind {
        ExprKind::Name(name) => name.to_string(),
        ExprKind::Int(value) => value.to_string(),
        ExprKind::Float(value) => format!("{value:?}"),
        ExprKind::Str(text) => format!("{text:?}"),
        ExprKind::FString(parts) => {
            let part = |p: &FPart| match p {
                FPart::Text(text) => format!("{text:?}"),
                FPart::Value { value, conversion, spec } => {
                    let conversion = conversion.map_or(String::new(), |c| format!("!{c}"));
                    format!("<{}{conversion}:{spec}>", show(value))
                }
            };
            format!("f({})", parts.iter().map(part).collect::<Vec<_>>().join(" "))
        }
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::None => "None".to_string(),
        ExprKind::Ellipsis => "...".to_string(),
        ExprKind::Missing => "missing".to_string(),
        ExprKind::List(items) => format!("[{}]", list(items)),
        ExprKind::Tuple(items) => format!("({})", list(items)),
        ExprKind::Dict(items) => {
            let items: Vec<_> = items.iter().map(|(k, v)| format!("{}: {}", show(k), show(v))).collect();
            format!("{{{}}}", items.join(" "))
        }
        ExprKind::ListComp { element, target, iterable, test } => {
            format!("comp({} {} {} {})", show(element), show(target), show(iterable), maybe(test))
        }
        ExprKind::Unary(op, operand) => format!("{op:?}({})", show(operand)),
        ExprKind::Binary(op, left, right) => format!("{op:?}({} {})", show(left), show(right)),
        ExprKind::Logical { and, left, right } => {
            format!("{}({} {})", if *and { "and" } else { "or" }, show(left), show(right))
        }
        ExprKind::Compare { first, rest } => {
            let rest: Vec<_> = rest.iter().map(|(op, e)| format!("{op:?} {}", show(e))).collect();
            format!("cmp({} {})", show(first), rest.join(" "))
        }
        ExprKind::Conditional { test, then, otherwise } => {
            format!("if({} {} {})", show(test), show(then), show(otherwise))
        }
        ExprKind::Call { callee, args, kwargs } => {
            let kwargs: Vec<_> = kwargs.iter().map(|(n, v)| format!("{}={}", n.text, show(v))).collect();
            format!("{}<{}|{}>", show(callee), list(args), kwargs.join(" "))
        }
        ExprKind::Starred(value) => format!("*{}", show(value)),
        ExprKind::Attribute { value, name } => format!("{}.{}", show(value), name.text),
        ExprKind::Subscript { value, index } => format!("{}[{}]", show(value), show(index)),
        ExprKind::Slice { start, stop, step } => {
            format!("{}:{}:{}", maybe(start), maybe(stop), maybe(step))
        }
    }
}

fn words(diagnostics: &[Diagnostic]) -> Vec<&str> {
    diagnostics.iter().map(|d| d.message.as_str()).collect()
}

fn module(text: &str) -> Module {
    let (module, diagnostics) = parse(text);
    assert!(diagnostics.is_empty(), "{text}\n{:?}", words(&diagnostics));
    module
}

fn expression(text: &str) -> Expr {
    module(&format!("X = {text}\n")).constants.remove(0).value
}

fn body(text: &str) -> Vec<Stmt> {
    let indented: String = text.lines().map(|l| format!("    {l}\n")).collect();
    module(&format!("def f():\n{indented}")).functions.remove(0).body
}

#[test]
fn precedence_and_associativity() {
    let table = [
        ("a + b * c", "Add(a Mul(b c))"),
        ("a - b - c", "Sub(Sub(a b) c)"),
        ("a ** b ** c", "Pow(a Pow(b c))"),
        ("-a ** b", "Neg(Pow(a b))"),
        ("a ** -b", "Pow(a Neg(b))"),
        ("-a * b", "Mul(Neg(a) b)"),
        ("2 ** -1 * 3", "Mul(Pow(2 Neg(1)) 3)"),
        ("~a ** b.c[d](e)", "Invert(Pow(a b.c[d]<e|>))"),
        ("a @ b / c // d % e", "Mod(FloorDiv(Div(MatMul(a b) c) d) e)"),
        ("a | b ^ c & d << e + f", "Or(a Xor(b And(c Shl(d Add(e f)))))"),
        ("a << b >> c", "Shr(Shl(a b) c)"),
        ("a < b <= c != d", "cmp(a Lt b Le c Ne d)"),
        ("a in b not in c", "cmp(a In b NotIn c)"),
        ("a is b is not c", "cmp(a Is b IsNot c)"),
        ("a is not not_b", "cmp(a IsNot not_b)"),
        ("not a == b", "Not(cmp(a Eq b))"),
        ("not a in b and c", "and(Not(cmp(a In b)) c)"),
        ("a or b and c or d", "or(or(a and(b c)) d)"),
        ("a if b else c if d else e", "if(b a if(d c e))"),
        ("(a if b else c) if d else e", "if(d if(b a c) e)"),
        ("a or b if c and d else e", "if(and(c d) or(a b) e)"),
        ("a | b == c", "cmp(Or(a b) Eq c)"),
        ("- - +a", "Neg(Neg(Pos(a)))"),
        ("not not a", "Not(Not(a))"),
    ];
    for (text, tree) in table {
        assert_eq!(show(&expression(text)), tree, "{text}");
    }
}

#[test]
fn operands() {
    let table = [
        ("(1)", "1"),
        ("()", "()"),
        ("(1,)", "(1)"),
        ("1,", "(1)"),
        ("1, 2", "(1 2)"),
        ("[1, 2,]", "[1 2]"),
        ("[]", "[]"),
        ("{}", "{}"),
        ("{'a': 1, 'b': 2,}", "{\"a\": 1 \"b\": 2}"),
        ("f(a, *b, c=d, *e,)", "f<a *b *e|c=d>"),
        ("f()()", "f<|><|>"),
        ("x[1]", "x[1]"),
        ("x[1,]", "x[(1)]"),
        ("x[:, 1:, ::2, ..., None]", "x[(_:_:_ 1:_:_ _:_:2 ... None)]"),
        ("x[a:b:c]", "x[a:b:c]"),
        ("x[:b:]", "x[_:b:_]"),
        ("[x for x in y]", "comp(x x y _)"),
        ("[a + b for a, b in c if a if b]", "comp(Add(a b) (a b) c and(a b))"),
        ("1_000", "1000"),
        ("0xFF_ff", "65535"),
        ("0o17", "15"),
        ("0b1_01", "5"),
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "Neg(-9223372036854775808)"),
        ("1.", "1.0"),
        (".5", "0.5"),
        ("1e-3", "0.001"),
        ("1_0.5E+2", "1050.0"),
        ("1 .real", "1.real"),
        ("'a' \"b\" '''c'''", "\"abc\""),
        (r"'\n\x41\u00e9\101\\\''", "\"\\nAéA\\\\'\""),
        (r"r'\n\''", r#""\\n\\'""#),
        ("'''a\nb'''", "\"a\\nb\""),
        ("'a\\\nb'", "\"ab\""),
        ("(1 +\n   2) # three\n", "Add(1 2)"),
        ("1 + \\\n  2", "Add(1 2)"),
        ("True if None else False", "if(None true false)"),
    ];
    for (text, tree) in table {
        assert_eq!(show(&expression(text)), tree, "{text}");
    }
}

#[test]
fn f_strings() {
    let table = [
        ("f''", "f()"),
        ("f'a{b}c'", "f(\"a\" <b:> \"c\")"),
        ("f'{{{a}}}'", "f(\"{\" <a:> \"}\")"),
        ("f'{a!r}{b!s:>3}{c:.2f}'", "f(<a!r:> <b!s:>3> <c:.2f>)"),
        ("f'{a + 1 = }'", "f(\"a + 1 = \" <Add(a 1)!r:>)"),
        ("f'{a=:3}'", "f(\"a=\" <a:3>)"),
        ("f'{a == b}{c != d}'", "f(<cmp(a Eq b):> <cmp(c Ne d):>)"),
        ("f\"{d['k']}{x[1:2]}{f(a=1)}\"", "f(<d[\"k\"]:> <x[1:2:_]:> <f<|a=1>:>)"),
        ("f'{f\"{a}\"}'", "f(<f(<a:>):>)"),
        ("f'{a, b}'", "f(<(a b):>)"),
        ("f'{ {1: 2}[1] }'", "f(<{1: 2}[1]:>)"),
        ("'a' f'{b}' 'c' f'd'", "f(\"a\" <b:> \"cd\")"),
        ("rf'\\{a}\\d'", "f(\"\\\\\" <a:> \"\\\\d\")"),
        ("f'''{\na\n}'''", "f(<a:>)"),
    ];
    for (text, tree) in table {
        assert_eq!(show(&expression(text)), tree, "{text}");
    }
    let text = "X = f'é{ab + cd!r}' f'{ef}'\n";
    let ExprKind::FString(parts) = module(text).constants.remove(0).value.kind else { panic!("an f-string") };
    let spans: Vec<&str> = parts
        .iter()
        .filter_map(|p| match p {
            FPart::Value { value, .. } => text.get(value.span.start as usize..value.span.end as usize),
            FPart::Text(_) => None,
        })
        .collect();
    assert_eq!(spans, ["ab + cd", "ef"]);
}

#[test]
fn statements() {
    let text = "
a = b, c[0] = d.e = 1, 2
x: List[int] = []
self.y: int
x //= 2; x **= 3
if a: return
elif b: pass
else:
    ...
for i, (j, k) in xs, ys:
    break
while True: continue
with a(), b() as c: pass
with (a() as b, c()):
    'a string alone'
assert x, f'{x}'
raise ValueError('a')
del d['k'], e
match = match + 1
f(x)";
    // A loop in one line and a docstring elsewhere must not be taken for the function's own.
    let shown: Vec<String> = body(text)
        .iter()
        .map(|s| match &s.kind {
            StmtKind::Expr(e) => show(e),
            StmtKind::Assign { targets, value } => {
                format!("{} = {}", targets.iter().map(show).collect::<Vec<_>>().join(" = "), show(value))
            }
            StmtKind::Annotated { target, annotation, value } => {
                format!(
                    "{}: {} = {}",
                    show(target),
                    show(annotation),
                    value.as_ref().map_or("_".into(), show)
                )
            }
            StmtKind::Augmented { target, op, value } => format!("{} {op:?}= {}", show(target), show(value)),
            StmtKind::If { test, then, otherwise } => {
                format!("if {} {} {}", show(test), then.len(), otherwise.len())
            }
            StmtKind::While { test, body } => format!("while {} {}", show(test), body.len()),
            StmtKind::For { target, iterable, body } => {
                format!("for {} in {} {}", show(target), show(iterable), body.len())
            }
            StmtKind::With { items, body } => {
                let items: Vec<_> = items
                    .iter()
                    .map(|(e, n)| format!("{} as {}", show(e), n.as_ref().map_or("_".into(), show)))
                    .collect();
                format!("with {} {}", items.join(", "), body.len())
            }
            StmtKind::Return(value) => format!("return {}", value.as_ref().map_or("_".into(), show)),
            StmtKind::Break => "break".to_string(),
            StmtKind::Continue => "continue".to_string(),
            StmtKind::Pass => "pass".to_string(),
            StmtKind::Assert { test, message } => {
                format!("assert {} {}", show(test), message.as_ref().map_or("_".into(), show))
            }
            StmtKind::Raise(e) => format!("raise {}", show(e)),
            StmtKind::Delete { targets } => {
                format!("del {}", targets.iter().map(show).collect::<Vec<_>>().join(" "))
            }
            StmtKind::Broken(names) => format!("broken {}", names.join(" ")),
        })
        .collect();
    let expected = [
        "a = (b c[0]) = d.e = (1 2)",
        "x: List[int] = []",
        "self.y: int = _",
        "x FloorDiv= 2",
        "x Pow= 3",
        "if a 1 1",
        "for (i (j k)) in (xs ys) 1",
        "while true 1",
        "with a<|> as _, b<|> as c 1",
        "with a<|> as b, c<|> as _ 1",
        "assert x f(<x:>)",
        "raise ValueError<\"a\"|>",
        "del d[\"k\"] e",
        "match = Add(match 1)",
        "f<x|>",
    ];
    assert_eq!(shown, expected);
}

const PROGRAM: &str = r#""""A module."""
from __future__ import annotations
import torch, math as m
import torch.nn.functional
import torch.nn as nn
from typing import (List, Optional as Opt,)

N: int = 3
A = B = 2.5

@torch.jit.script
def add(x: torch.Tensor, y: List[int] = [1], /, *, k: bool = True, z) -> torch.Tensor:
    """A docstring."""
    return x + y[0]

@dataclass(frozen=True)
class Point(nn.Module, object):
    """A class."""
    __constants__ = ['x']
    x: int
    y: Opt[int] = None

    def __init__(self) -> None:
        super().__init__()

    @staticmethod
    def make(a, b): return a

if __name__ == "__main__":
    import sys
    print((lambda: sys)(), {1, 2})
"#;

#[test]
fn declarations() {
    let module = module(PROGRAM);
    let imports: Vec<_> = module.imports.iter().map(|i| (&*i.path, &*i.name.text)).collect();
    let expected = [
        ("torch", "torch"),
        ("math", "m"),
        ("torch", "torch"),
        ("torch.nn", "nn"),
        ("typing.List", "List"),
        ("typing.Optional", "Opt"),
    ];
    assert_eq!(imports, expected);
    let constants: Vec<_> = module.constants.iter().map(|c| (&*c.name.text, show(&c.value))).collect();
    assert_eq!(constants, [("N", "3".into()), ("A", "2.5".into()), ("B", "2.5".into())]);
    let add = &module.functions[0];
    let names: Vec<_> = add.parameters.iter().map(|p| (&*p.name.text, p.keyword_only)).collect();
    assert_eq!(names, [("x", false), ("y", false), ("k", true), ("z", true)]);
    assert_eq!(add.body.len(), 1);
    assert_eq!(show(&add.decorators[0]), "torch.jit.script");
    let point = &module.classes[0];
    assert_eq!(point.bases.iter().map(show).collect::<Vec<_>>(), ["nn.Module", "object"]);
    assert_eq!(point.fields.iter().map(|f| &*f.name.text).collect::<Vec<_>>(), ["__constants__", "x", "y"]);
    assert_eq!(point.methods.iter().map(|f| &*f.name.text).collect::<Vec<_>>(), ["__init__", "make"]);
    assert_eq!(point.methods[1].body.len(), 1);
}

#[test]
fn places_name_their_text() {
    let module = module(PROGRAM);
    let text = |span: Span| &PROGRAM[span.start as usize..span.end as usize];
    for import in &module.imports {
        assert_eq!(text(import.name.span), &*import.name.text);
    }
    let add = &module.functions[0];
    assert_eq!(text(add.name.span), "add");
    assert!(text(add.span).starts_with("def add(") && text(add.span).ends_with("return x + y[0]"));
    assert_eq!(text(add.body[0].span), "return x + y[0]");
    let StmtKind::Return(Some(value)) = &add.body[0].kind else { panic!("a return") };
    assert_eq!(text(value.span), "x + y[0]");
    let parenthesised = "X = (a + b) * (c).d\n";
    let value = parse(parenthesised).0.constants.remove(0).value;
    let ExprKind::Binary(_, left, right) = &value.kind else { panic!("a product") };
    let part = |e: &Expr| &parenthesised[e.span.start as usize..e.span.end as usize];
    assert_eq!([part(&value), part(left), part(right)], ["(a + b) * (c).d", "(a + b)", "(c).d"]);
}

#[test]
fn what_is_left_out_is_named() {
    let table = [
        ("x = lambda a, b=1: a", "`lambda`"),
        ("yield x", "`yield`"),
        ("x = yield from y", "`yield`"),
        ("await x", "`await`"),
        ("async with a: pass", "`async`"),
        ("async for a in b: pass", "`async`"),
        ("try:\n    pass\nexcept (A, B) as e:\n    pass\nelse:\n    pass\nfinally:\n    pass", "`try`"),
        ("global a, b", "`global`"),
        ("nonlocal a", "`nonlocal`"),
        ("del a.b", "`del`"),
        ("if (a := 1): pass", "`:=`"),
        ("match a, b:\n    case [x, *y] if x: pass\n    case _: pass", "`match`"),
        ("x = {1, 2}", "sets"),
        ("x = {a for a in b}", "set comprehensions"),
        ("x = {**a, 'b': 1}", "`**` in a dict"),
        ("x = (a for a in b)", "generator"),
        ("x = [a for b in c for a in b]", "second `for`"),
        ("x = [a async for a in b]", "`async`"),
        ("def g(): return 1", "a function within"),
        ("class A:\n    x: int", "a class within"),
        ("for a in b: pass\nelse: pass", "`else` of a loop"),
        ("while a: pass\nelse: pass", "`else` of a loop"),
        ("a, *b = c", "`*` among the targets"),
        ("for a, *b in c: pass", "`*` among the targets"),
        ("x = [*a, b]", "`*` in a list"),
        ("x = *a, b", "`*` in a tuple"),
        ("x = a[*b]", "`*` in an index"),
        ("f(**a)", "`**` in a call"),
        ("x = b'a'", "bytes"),
        ("x = 2j", "complex"),
        ("print >>a, b", "`print`"),
        ("raise", "`raise` without"),
        ("raise a from b", "`raise ... from`"),
        ("import math", "an import within"),
        ("type A = int", "`type`"),
        ("x = f'{a:{b}}'", "a format specification"),
        ("x = f'{a!a}'", "`!a`"),
        (r"x = '\N{BULLET}'", "by name"),
    ];
    for (text, what) in table {
        let indented: String = text.lines().map(|l| format!("    {l}\n")).collect();
        refused(&format!("def f():\n{indented}"), what);
    }
    let top = [
        ("def f(*args): pass", "`*args`"),
        ("def f(**kwargs: int): pass", "`**kwargs`"),
        ("def f[T](x: T): pass", "type parameters"),
        ("class A[T]: pass", "type parameters"),
        ("class A(metaclass=B): pass", "arguments of a class"),
        ("class A:\n    class B: pass", "a class within a class"),
        ("class A:\n    print(1)", "this statement in a class"),
        ("async def f(): pass", "`async`"),
        ("@a(b + 1)\ndef f(): pass", "decorator"),
        ("@a[0]\ndef f(): pass", "decorator"),
        ("import numpy as np", "`numpy`"),
        ("from os.path import join", "`os.path`"),
        ("from . import a", "relative"),
        ("from ..a.b import c", "relative"),
        ("from torch import *", "`import *`"),
        ("print(1)", "an expression at the top"),
        ("X += 1", "changing a constant"),
        ("X: int", "without a value"),
        ("a, b = 1, 2", "other than a name"),
        ("assert X", "this statement at the top"),
        ("for a in b:\n    c", "`for` at the top"),
        ("try:\n    import a\nexcept ImportError:\n    pass", "`try` at the top"),
        ("if TYPE_CHECKING:\n    import a", "`if` at the top"),
    ];
    for (text, what) in top {
        refused(text, what);
    }
}

fn refused(text: &str, what: &str) {
    let (_, diagnostics) = parse(text);
    let [only] = diagnostics.as_slice() else { panic!("{text}\n{:?}", words(&diagnostics)) };
    assert_eq!(only.kind, Kind::Unsupported, "{text}\n{only:?}");
    assert!(only.message.contains(what), "{text}\n{}", only.message);
    assert!(!only.label.is_empty() && only.hint.is_some(), "{text}: neither a reason nor a hint");
}

#[test]
fn every_error_of_a_file_is_reported_once() {
    let text = "import numpy
def f(x):
    if x = 3:
        y = = 2
    else:
        return lambda: 1
    z = (1, 2
    return z
def g(:
    pass
def h(x)
    for i in x
        i ++
    while x:
    return x
        indented
    'unclosed
class 3:
    x = )
def last(x):
    return x
";
    let (module, diagnostics) = parse(text);
    let source = SourceFile::new("f.py", text);
    let lines: Vec<usize> = diagnostics.iter().map(|d| source.place(d.span.start).0).collect();
    assert_eq!(lines, [1, 3, 4, 6, 7, 9, 11, 12, 13, 14, 16, 17, 18, 19], "{:?}", words(&diagnostics));
    assert_eq!(&*module.functions.last().expect("a function").name.text, "last");
}

#[test]
fn main_blocks_are_for_python_only() {
    let (module, diagnostics) =
        parse("if '__main__' == __name__:\n    try:\n        f(**a)\n    finally: pass\nX = 1\n");
    assert!(diagnostics.is_empty(), "{:?}", words(&diagnostics));
    assert_eq!(module.constants.len(), 1);
    let (_, diagnostics) = parse("if __name__ == '__main__':\n    x = = 1\n");
    assert_eq!(diagnostics.len(), 1);
}

#[test]
fn depth_is_bounded() {
    let cases = [
        format!("X = {}1{}\n", "(".repeat(100_000), ")".repeat(100_000)),
        format!("X = {}1\n", "[".repeat(100_000)),
        format!("X = {}1\n", "-".repeat(100_000)),
        format!("X = {}1\n", "not ".repeat(100_000)),
        format!("X = 1{}\n", " + 1".repeat(100_000)),
        format!("X = 1{}\n", " ** 1".repeat(100_000)),
        format!("X = a{}\n", ".b".repeat(100_000)),
        format!("X = a{}\n", "[0]()".repeat(100_000)),
        format!("X = 1{}\n", " if a else 1".repeat(100_000)),
        format!("def f():\n    if a: pass\n{}", "    elif a: pass\n".repeat(10_000)),
        format!("X = {}\n", "f'{".repeat(1000)),
        format!("X = {}1{}\n", "(a".repeat(99), " + 1".repeat(250) + ")").repeat(3),
        (0..1000).fold(String::from("def f():\n"), |mut text, i| {
            let _ = writeln!(text, "{}if a:", " ".repeat(i + 1));
            text
        }),
    ];
    for text in cases {
        let (_, diagnostics) = parse(&text);
        assert!(diagnostics.iter().any(Diagnostic::is_error), "{}", &text[..60]);
        assert!(diagnostics.len() < 10, "{} {:?}", &text[..60], &words(&diagnostics)[..10]);
    }
    let allowed = format!("X = {}1{}\nY = 1{}\n", "(".repeat(90), ")".repeat(90), " + 1".repeat(250));
    module(&allowed);
}

#[test]
fn numbers_and_strings_that_are_none() {
    let table = [
        ("9223372036854775808", "64 bits"),
        ("99999999999999999999999", "64 bits"),
        ("-9223372036854775808 ** 2", "64 bits"),
        ("012", "does not begin with `0`"),
        ("1__0", "not well formed"),
        ("0x", "not well formed"),
        ("12abc", "not well formed"),
        ("'abc", "never closed"),
        ("'''abc\n", "never closed"),
        ("f'{a'", "never closed"),
        ("f'{}'", "between `{` and `}`"),
        ("f'}'", "lone `}`"),
        (r"'\x4'", "escape"),
        ("a ? b", "`?`"),
        ("a \\ b", "backslash"),
        ("(a]", "does not close"),
        ("a)", "closes nothing"),
    ];
    for (text, what) in table {
        let (_, diagnostics) = parse(&format!("X = {text}\n"));
        let [only] = diagnostics.as_slice() else { panic!("{text}\n{:?}", words(&diagnostics)) };
        assert!(only.message.contains(what), "{text}: {}", only.message);
    }
    let (_, warnings) = parse("X = '\\d'\n");
    assert_eq!((warnings.len(), warnings[0].kind), (1, Kind::Warning));
}

#[test]
fn rendered() {
    let table = [
        ("assignment", "def f(x):\n    if x = 3:\n        return x\n"),
        ("colon", "def f(x):\n    while x > 3\n        x -= 1\n"),
        ("bracket", "def f(x):\n    y = g(x, (1, 2)\n    return y\n"),
        ("mismatch", "X = [1, (2, 3]\n"),
        ("indentation", "def f(x):\n    y = x\n      z = x\n"),
        ("dedent", "def f(x):\n        y = x\n    z = x\n"),
        ("block", "def f(x):\n    for i in x:\n    return x\n"),
        ("tabs", "def f(x):\n    if x:\n\treturn x\n"),
        ("string", "X = 'é and no end\n"),
        ("lambda", "def f(x):\n    return map(lambda é: é + 1, x)\n"),
        ("import", "import numpy as np\n"),
        ("default", "def f(a, b=1, c): pass\n"),
        ("try", "def f(x):\n    try:\n        return x[0]\n    except IndexError:\n        return 0\n"),
        ("f_string", "X = f'a {b c} d'\n"),
        ("keyword", "def f(x):\n    class = x\n    return f(x=1, 2)\n"),
    ];
    for (name, text) in table {
        let (_, diagnostics) = parse(text);
        insta::assert_snapshot!(name, render(&SourceFile::new("program.py", text), &diagnostics, false));
    }
}
