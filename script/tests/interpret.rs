//! Programs run: what they print is what Python prints, their errors name their lines, and limits end them.

mod common;

use common::{Shared, program, programs};
use runtime::{DType, DeviceId, ErrorKind, Tensor, door};
use script::diagnostics::SourceFile;
use script::interpret::Host;
use script::syntax::Span;
use script::tree::{Expr, ExprKind, Function, FunctionId, Program, Stmt, StmtKind};
use script::types::Type;
use script::value::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn made(text: &str) -> Program {
    program(text).unwrap_or_else(|e| panic!("{e}"))
}

/// Calls `main` with these arguments.
fn run(text: &str, args: Vec<Value>) -> runtime::Result<Value> {
    let program = made(text);
    program.call(&mut Host::default(), program.find("main").unwrap(), args)
}

#[test]
fn programs_print_what_python_prints() {
    for (name, text, expected) in programs() {
        let program = made(&text);
        let out = Shared::default();
        let called =
            program.call(&mut Host::new(Box::new(out.clone())), program.find("main").unwrap(), vec![]);
        if let Err(e) = called {
            panic!("{name}: {e}\nafter\n{}", out.text());
        }
        // What torch prints of a tensor's history is its own.
        let plain = |text: &str| text.replace("torch.Size(", "(");
        let found = out.text();
        for (i, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
            assert_eq!(plain(found), plain(expected), "{name}, line {} of its output", i + 1);
        }
        assert_eq!(found.lines().count(), expected.lines().count(), "{name}");
    }
}

#[test]
fn errors_name_the_line_of_the_program() {
    let cases = [
        ("def main(x: Tensor) -> Tensor:\n    y = x + 1\n    return y @ y", ErrorKind::Shape, 5),
        ("def main(x: Tensor) -> int:\n    xs = [1]\n\n    return xs[3]", ErrorKind::Index, 6),
        ("def main(x: Tensor) -> int:\n    n = 0\n    return 1 // n", ErrorKind::Value, 5),
        ("def main(x: Tensor) -> int:\n    assert x.dim() == 7, 'rank'\n    return 0", ErrorKind::Value, 4),
        (
            "def main(x: Tensor) -> int:\n    if x.dim() == 1:\n        raise ValueError('no')\n    return 0",
            ErrorKind::Value,
            5,
        ),
        (
            "def f(n: int) -> int:\n    return 10 // n\n\ndef main(x: Tensor) -> int:\n    return f(0)",
            ErrorKind::Value,
            4,
        ),
        ("def main(x: Tensor) -> Tensor:\n    x[9] = 1\n    return x", ErrorKind::Index, 4),
        ("def main(x: Tensor) -> Tensor:\n    x += torch.ones(5)\n    return x", ErrorKind::Shape, 4),
        ("def main(x: Tensor) -> int:\n    a, b = x\n    return 0", ErrorKind::Value, 4),
        ("def main(x: Tensor) -> int:\n    n = 9223372036854775807\n    return n + 1", ErrorKind::Value, 5),
    ];
    for (text, kind, line) in cases {
        let text = format!("import torch\nfrom torch import Tensor\n{text}\n");
        let x = Tensor::ones(&[3], DType::F32, DeviceId::Cpu).unwrap();
        // A matrix of unequal sides has no square.
        let x =
            if text.contains("@") { Tensor::ones(&[2, 3], DType::F32, DeviceId::Cpu).unwrap() } else { x };
        let error = run(&text, vec![Value::Tensor(x)]).expect_err(&text);
        let origin = error.origin().unwrap_or_else(|| panic!("{text}\n{error}"));
        assert_eq!((origin.file(), origin.line()), ("program.py", line), "{text}\n{error}");
        assert_eq!(error.kind(), kind, "{text}\n{error}");
    }
}

#[test]
fn messages_are_those_of_the_program() {
    let text = "def main(n: int) -> int:\n    assert n > 0, f'{n} is not positive'\n    if n > 5:\n        raise KeyError('many')\n    return n\n";
    assert_eq!(run(text, vec![Value::Int(3)]).unwrap().int().unwrap(), 3);
    let error = run(text, vec![Value::Int(-1)]).unwrap_err();
    assert_eq!(error.message(), "AssertionError: -1 is not positive");
    assert_eq!(run(text, vec![Value::Int(9)]).unwrap_err().message(), "KeyError: many");
}

const FOREVER: &str = "def main() -> int:\n    n = 0\n    while True:\n        n += 1\n    return n\n";

#[test]
fn a_step_limit_ends_loops() {
    let program = made(FOREVER);
    let mut host = Host::default();
    host.step_limit = Some(1000);
    let error = program.call(&mut host, program.find("main").unwrap(), vec![]).unwrap_err();
    assert_eq!(error.message(), "step limit of 1000 reached");
    assert_eq!(host.steps(), 1001);
}

#[test]
fn a_flag_stops_loops() {
    let program = made(FOREVER);
    let stop = Arc::new(AtomicBool::new(false));
    let later = stop.clone();
    let setter = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        later.store(true, Ordering::Relaxed);
    });
    let mut host = Host::default();
    host.stop = Some(stop);
    let error = program.call(&mut host, program.find("main").unwrap(), vec![]).unwrap_err();
    setter.join().unwrap();
    assert_eq!(error.message(), "stopped");
}

#[test]
fn the_grad_mode_comes_back_on_every_exit() {
    let text = "import torch\n\ndef main(n: int) -> int:\n    for i in range(3):\n        with torch.no_grad():\n            if n == 0:\n                return 1\n            if n == 1:\n                break\n            if n == 2:\n                continue\n            assert n != 3\n    return 0\n";
    for n in 0..4 {
        let outcome = run(text, vec![Value::Int(n)]);
        assert_eq!(outcome.is_err(), n == 3);
        assert!(door::grad_enabled());
    }
}

#[test]
fn a_host_is_used_again_for_other_programs() {
    let one = made("LIST = [1, 2]\n\ndef main() -> int:\n    LIST.append(3)\n    return len(LIST)\n");
    let two = made("N = 7\nM = N * 2\n\ndef main() -> int:\n    return M\n");
    let mut host = Host::default();
    let mut call = |p: &Program| p.call(&mut host, p.find("main").unwrap(), vec![]).unwrap().int().unwrap();
    assert_eq!((call(&one), call(&one)), (3, 4));
    assert_eq!(call(&two), 14);
    assert_eq!(call(&one), 3, "its constants are made anew after another program");
}

#[test]
fn arguments_left_out_take_their_defaults() {
    let text = "def main(a: int, b: int = 5, c: float = 0.5) -> float:\n    return a * b + c\n";
    let all = |args: Vec<Value>| run(text, args).unwrap().float().unwrap();
    assert_eq!(all(vec![Value::Int(2)]), 10.5);
    assert_eq!(all(vec![Value::Int(2), Value::Int(3)]), 6.5);
    assert_eq!(all(vec![Value::Int(2), Value::Int(3), Value::Int(1)]), 7.0);
    assert!(run(text, vec![]).is_err());
    assert!(run(text, vec![Value::Int(1); 4]).is_err());
}

#[test]
fn origins_are_the_callers_again_afterwards() {
    run("def main() -> int:\n    return 1\n", vec![]).unwrap();
    assert!(!runtime::Origin::caller().is_program());
}

#[test]
fn writes_to_arguments_are_seen_outside() {
    let text = "from torch import Tensor\n\ndef main(x: Tensor) -> Tensor:\n    x[0] = 5.0\n    x += 1\n    return x\n";
    let x = Tensor::zeros(&[2], DType::F32, DeviceId::Cpu).unwrap();
    let out = run(text, vec![Value::Tensor(x.clone())]).unwrap();
    assert!(out.tensor().unwrap().same(&x));
    assert_eq!(x.to_vec::<f32>().unwrap(), [6.0, 1.0]);
}

/// The checker lets no function call itself; a tree that does ends all the same, long before the stack does.
#[test]
fn calls_without_end_are_an_error() {
    let span = Span::default();
    let call = Expr { kind: ExprKind::Call(FunctionId(0), vec![]), ty: Type::Int, span };
    let body = vec![Stmt { kind: StmtKind::Return(Some(call)), span }];
    let function =
        Function { name: "main".into(), parameters: vec![], returns: Type::Int, slots: vec![], body, span };
    let source = Arc::new(SourceFile::new("program.py", ""));
    let program = Program { source, functions: vec![function], classes: vec![], globals: vec![] };
    let mut host = Host::default();
    for limit in [10, 1000, u32::MAX] {
        host.depth_limit = limit;
        let error = program.call(&mut host, FunctionId(0), vec![]).unwrap_err();
        assert!(error.message().starts_with("RecursionError"), "{error}");
    }
    assert!(program.call(&mut host, FunctionId(1), vec![]).is_err());
}
