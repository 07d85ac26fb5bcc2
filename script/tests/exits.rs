//! Functions without early exits do what they did, and no exit is left in them.

mod common;

use common::{Shared, program, programs};
use script::exits::structured;
use script::interpret::Host;
use script::tree::{Program, Stmt, StmtKind};
use script::value::Value;

fn made(text: &str) -> Program {
    program(text).unwrap_or_else(|e| panic!("{e}"))
}

/// The program with every function made anew.
fn without_exits(mut program: Program) -> Program {
    program.functions = program.functions.iter().map(|f| structured(f).function).collect();
    program
}

fn count(body: &[Stmt], wanted: &dyn Fn(&StmtKind) -> bool) -> usize {
    let within = |stmt: &Stmt| match &stmt.kind {
        StmtKind::If { then, otherwise, .. } => count(then, wanted) + count(otherwise, wanted),
        StmtKind::While { body, .. } | StmtKind::For { body, .. } | StmtKind::Grad { body, .. } => {
            count(body, wanted)
        }
        _ => 0,
    };
    body.iter().map(|s| within(s) + usize::from(wanted(&s.kind))).sum()
}

fn assert_no_exits(program: &Program) {
    for function in &program.functions {
        let exits = count(&function.body, &|k| matches!(k, StmtKind::Break | StmtKind::Continue));
        assert_eq!(exits, 0, "{} has exits of loops", function.name);
        let last = function.body.last().is_some_and(|s| matches!(s.kind, StmtKind::Return(_)));
        let returns = count(&function.body, &|k| matches!(k, StmtKind::Return(_)));
        assert_eq!(returns, usize::from(last), "{} returns early", function.name);
    }
}

fn outcome(program: &Program, n: i64) -> String {
    let main = program.find("main").expect("a main");
    match program.call(&mut Host::new(Box::new(std::io::sink())), main, vec![Value::Int(n)]) {
        Ok(value) => value.repr(),
        Err(e) => e.to_string(),
    }
}

const LOOPS: &[&str] = &[
    "for i in range(n):\n    if i == 3:\n        break\n    s += i\ns = s * 10 + i\nreturn s",
    "for i in range(n):\n    if i % 2 == 0:\n        continue\n    if i > 5:\n        break\n    s += i\nreturn s",
    "while True:\n    s += 1\n    if s > n:\n        break\n    if s % 3 == 0:\n        continue\n    s += 2\nreturn s",
    "while s < n:\n    s += 1\n    if s == 4:\n        return -s\n    s += 1\nreturn s",
    "for i in range(n):\n    for j in range(n):\n        if i * j == 6:\n            return i * 100 + j\n        if j > i:\n            break\n        s += j\n    s += 1000\nreturn s",
    "for i in range(n):\n    while True:\n        s += 1\n        if s % 2 == 0:\n            continue\n        if s > 7:\n            break\n        if s == 5:\n            return s\n    s += i\nreturn s",
    "if n > 3:\n    if n > 6:\n        return 1\n    s = 2\nelse:\n    if n == 0:\n        return 5\n    s = 3\ns += 1\nreturn s",
    "if n > 3:\n    return 1\nelif n > 1:\n    s = 7\nelse:\n    return 2\nreturn s",
    "while True:\n    s += 1\n    if s > n:\n        return s",
    "for i in range(n):\n    with torch.no_grad():\n        if i == 2:\n            break\n        s += i\n    s += 10\nreturn s",
    "for i in range(n):\n    if i == 1:\n        if n > 4:\n            continue\n        s += 100\n    elif i == 2:\n        s += 7\n        if n > 7:\n            break\n    s += 1\nreturn s",
    "for i in range(n):\n    if i == 5:\n        raise ValueError('five')\n    if i == 3 and n == 4:\n        return i\n    s += 1\nreturn s",
    "for i in range(n):\n    if i == 2:\n        s += 5\n        break\n    else:\n        s += 1\n        continue\nreturn s",
];

#[test]
fn loops_and_returns_do_what_they_did() {
    for text in LOOPS {
        let body: String = text.lines().map(|l| format!("    {l}\n")).collect();
        let text = format!("import torch\n\ndef main(n: int) -> int:\n    s = 0\n    i = -1\n{body}");
        let plain = made(&text);
        let other = without_exits(made(&text));
        assert_no_exits(&other);
        let outcomes: Vec<String> = (0..10).map(|n| outcome(&plain, n)).collect();
        assert!(outcomes.iter().any(|o| *o != outcomes[0]), "{text}\nsays nothing: {outcomes:?}");
        for (n, outcome_before) in outcomes.iter().enumerate() {
            assert_eq!(
                &outcome(&other, n as i64),
                outcome_before,
                "{n}\n{text}\n{:#?}",
                other.functions[0].body
            );
        }
    }
}

#[test]
fn a_function_that_ends_without_a_value_gives_none() {
    let text = "from typing import Optional\n\ndef main(n: int) -> Optional[int]:\n    for i in range(n):\n        if i == 3:\n            return i\n";
    let (plain, other) = (made(text), without_exits(made(text)));
    assert_no_exits(&other);
    assert_eq!((outcome(&plain, 2), outcome(&plain, 5)), ("None".to_string(), "3".to_string()));
    assert_eq!((outcome(&other, 2), outcome(&other, 5)), ("None".to_string(), "3".to_string()));
}

#[test]
fn only_what_is_needed_is_made() {
    let made_of = |body: &str| {
        let program = made(&format!("def main(n: int) -> int:\n{body}"));
        let made = structured(&program.functions[0]);
        made.function.slots[made.slots as usize..].iter().map(|l| l.name.to_string()).collect::<Vec<_>>()
    };
    assert!(made_of("    s = 0\n    for i in range(n):\n        s += i\n    return s\n").is_empty());
    let program = made("def main(n: int) -> int:\n    if n > 1:\n        return 1\n    return 2\n");
    let function = structured(&program.functions[0]).function;
    // The rest moved to the other side: a branch, and the return.
    assert_eq!(function.body.len(), 2, "{:#?}", function.body);
}

/// A loop's `continue` is a branch around the rest, without a variable.
#[test]
fn a_for_says_what_stops_it() {
    let program = made(
        "def main(n: int) -> int:\n    s = 0\n    for i in range(n):\n        if i == 4:\n            break\n        s += i\n    return s\n",
    );
    let made = structured(&program.functions[0]);
    let bodies: Vec<&Vec<Stmt>> = made
        .function
        .body
        .iter()
        .filter_map(|s| if let StmtKind::For { body, .. } = &s.kind { Some(body) } else { None })
        .collect();
    let [body] = bodies[..] else { panic!("{} loops", bodies.len()) };
    let stop = made.stop(body).expect("the loop has a flag");
    assert!(made.is_made(stop));
    assert_eq!(&*made.function.slots[stop.0 as usize].name, "@broken");
    assert_eq!(made.stop(&made.function.body), None);
}

#[test]
fn whole_programs_do_what_they_did() {
    for (name, text, _) in programs() {
        // A host that does not know `stop` takes every turn of the loop that was left.
        let text = text.replace("range(1000000000)", "range(1000)");
        let run = |program: Program| {
            let out = Shared::default();
            let called =
                program.call(&mut Host::new(Box::new(out.clone())), program.find("main").unwrap(), vec![]);
            called.unwrap_or_else(|e| panic!("{name}: {e}\nafter\n{}", out.text()));
            out.text()
        };
        let other = without_exits(made(&text));
        assert_no_exits(&other);
        assert_eq!(run(other), run(made(&text)), "{name}");
    }
}
