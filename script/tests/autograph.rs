//! Programs staged: what tensors decide becomes branches and loops of the graph, and gives what eager gives.

mod common;

use common::program;
use eager::{GradientTape, TapeOptions};
use graph::interpret;
use graph::trace::{Mode, Recording, Spec, record};
use runtime::error::{Error, Result};
use runtime::{DType, Tensor};
use script::interpret::Host;
use script::tree::Program;
use script::value::{Value, flatten, from_tensors};

const HEAD: &str = "from typing import Dict, List, NamedTuple, Optional, Tuple\nimport math\nimport torch\nimport torch.nn.functional as F\nfrom torch import Tensor\n\n";

fn made(text: &str) -> Program {
    program(&format!("{HEAD}{text}")).unwrap_or_else(|e| panic!("{e}"))
}

fn call(program: &Program, args: &[Tensor]) -> Result<Vec<Tensor>> {
    let main = program.find("main").expect("a main");
    flatten(&program.call(&mut Host::new(Box::new(std::io::sink())), main, from_tensors(args))?)
}

fn specs(args: &[Tensor]) -> Vec<Spec> {
    args.iter().map(|t| Spec { example: None, ..Spec::of(t) }).collect()
}

fn recorded(program: &Program, args: &[Tensor]) -> Result<Recording> {
    record("main", Mode::Staged, &specs(args), |traced| call(program, traced))
}

fn scalars(tensors: &[Tensor]) -> Vec<(DType, Vec<usize>, Vec<f64>)> {
    let of = |t: &Tensor| t.to_scalars().unwrap().into_iter().map(|s| s.to_f64()).collect();
    tensors.iter().map(|t| (t.dtype(), t.shape().to_vec(), of(t))).collect()
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, &[values.len()]).unwrap()
}

/// Stages a program for the first arguments and runs the graph on all of them: what it gives is what eager gives. Gives the
/// graph.
fn agrees(text: &str, all: &[&[Tensor]]) -> Recording {
    let program = made(text);
    let recording = recorded(&program, all[0]).unwrap_or_else(|e| panic!("{text}\n{e}"));
    for args in all {
        let eager = call(&program, args).unwrap_or_else(|e| panic!("{text}\n{e}"));
        let inputs = recording.bind(args).unwrap();
        let found = interpret::run(&recording.graph, &inputs).unwrap_or_else(|e| panic!("{text}\n{e}"));
        assert_eq!(scalars(&found[..eager.len()]), scalars(&eager), "{text}\n{}", recording.graph);
    }
    recording
}

/// The same, with the arguments one vector each.
fn agrees_on(text: &str, all: &[&[f32]]) -> Recording {
    let args: Vec<Vec<Tensor>> = all.iter().map(|v| vec![vector(v)]).collect();
    agrees(text, &args.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn refused(text: &str) -> Error {
    match recorded(&made(text), &[vector(&[1.0, 2.0])]) {
        Err(e) => e,
        Ok(recording) => panic!("{text}\nis staged as\n{}", recording.graph),
    }
}

/// The gradient of the sum of the first result.
fn gradients(program: &Program, args: &[Tensor]) -> Result<(Vec<Tensor>, Vec<bool>)> {
    let tape = GradientTape::with_options(TapeOptions { persistent: false, watch_accessed_variables: false });
    let args: Vec<Tensor> = args.iter().map(Tensor::alias).collect();
    args.iter().try_for_each(|t| tape.watch(t))?;
    let outputs = call(program, &args)?;
    let found = tape.gradient(&outputs[0], &args.iter().collect::<Vec<_>>())?;
    let present = found.iter().map(Option::is_some).collect();
    Ok((found.into_iter().flatten().collect(), present))
}

/// Program and tape staged together give the gradients that the tape gives eagerly.
fn gradients_agree(text: &str, all: &[&[f32]]) {
    let program = made(text);
    let args: Vec<Tensor> = vec![vector(all[0])];
    let recording = record("main", Mode::Staged, &specs(&args), |traced| Ok(gradients(&program, traced)?.0));
    let recording = recording.unwrap_or_else(|e| panic!("{text}\n{e}"));
    for values in all {
        let args = [vector(values)];
        let (eager, _) = gradients(&program, &args).unwrap();
        let found = interpret::run(&recording.graph, &recording.bind(&args).unwrap()).unwrap();
        assert_eq!(scalars(&found), scalars(&eager), "{text}\n{}", recording.graph);
        assert!(!eager.is_empty());
    }
}

#[test]
fn branches() {
    let recording = agrees_on(
        "def main(x: Tensor) -> Tensor:\n    if bool(x.sum() > 0):\n        y = x * 2\n    else:\n        y = -x\n    return y + 1\n",
        &[&[1.0, 2.0], &[-1.0, -2.0]],
    );
    assert_eq!(recording.graph.count("if"), 1);
    // A variable that only one side assigns, a number that differs, nested and chained tests.
    let text = "def main(x: Tensor) -> Tuple[Tensor, int, float, bool]:\n    n, f, b = 1, 0.5, False\n    if bool(x[0] > 0):\n        x = x + 1\n        if bool(x[1] > 3):\n            n = 5\n        elif bool(x[1] > 2):\n            n = 6\n            f = 2.5\n        else:\n            b = True\n    return x * n, n, f, b\n";
    agrees_on(text, &[&[1.0, 1.0], &[1.0, 2.5], &[1.0, 4.0], &[-1.0, 9.0]]);
    // What the host knows is decided while recording.
    let text = "def main(x: Tensor) -> Tensor:\n    if x.size(0) > 1:\n        return x * 2\n    return x\n";
    assert_eq!(agrees_on(text, &[&[1.0, 2.0]]).graph.count("if"), 0);
}

#[test]
fn expressions_that_tensors_decide() {
    let all: &[&[f32]] = &[&[1.0, 2.0], &[-1.0, 2.0], &[1.0, -2.0], &[-1.0, -2.0], &[0.0, 0.0]];
    let expression = |e: &str| {
        agrees_on(
            &format!(
                "def main(x: Tensor) -> Tuple[Tensor, bool]:\n    a, b = bool(x[0] > 0), bool(x[1] > 0)\n    c = {e}\n    return x * (2.0 if c else 3.0), c\n"
            ),
            all,
        )
    };
    for e in [
        "a and b",
        "a or b",
        "not a",
        "a and not b or b",
        "a != b",
        "x[0].item() < x[1].item()",
        "True and a",
        "a or True",
    ] {
        expression(e);
    }
    let recording = agrees_on(
        "def main(x: Tensor) -> Tensor:\n    return x * 2 if bool(x.sum() > 0) else x.abs()\n",
        all,
    );
    assert_eq!(recording.graph.count("if"), 1);
}

#[test]
fn numbers_that_the_graph_knows() {
    let cases = [
        "int(a) + 1",
        "int(a) * int(b)",
        "int(a) - 2 * int(b)",
        "int(a) // 3",
        "int(a) % 3",
        "float(a) / 4",
        "-int(a)",
        "abs(float(a))",
        "min(float(a), 1.5)",
        "max(float(a), float(b))",
        "max(1.5, float(a))",
        "math.exp(float(a))",
        "math.floor(float(a))",
        "int(float(a) * 1.5)",
        "2 ** 3 + int(a)",
        "float(a) ** 2",
        "int(a > b)",
        "[int(a), 3]",
        "(int(a), float(b))",
        "math.sqrt(abs(float(a)))",
        "sum([int(a), 2, int(b)])",
        "[10, 20, 30][int(abs(a))]",
        "min([int(a), int(b), 0])",
    ];
    for e in cases {
        let text = format!("def main(x: Tensor):\n    a, b = x[0], x[1]\n    return {e}\n");
        agrees_on(&text, &[&[1.0, 2.0], &[-2.0, 1.0], &[2.0, 2.0]]);
    }
    // Beside tensors they are as weak as host numbers.
    for e in [
        "x * int(x[0])",
        "x * float(x[0])",
        "x + bool(x[0] > 0)",
        "torch.tensor([int(x[0]), 2])",
        "torch.tensor(float(x[0]))",
        "x ** int(x[1])",
        "x[int(x[0])]",
        "x - (float(x[0]) - 1) / 3",
    ] {
        let text = format!("def main(x: Tensor) -> Tensor:\n    return {e}\n");
        agrees_on(&text, &[&[1.0, 2.0], &[0.0, 3.0]]);
    }
}

#[test]
fn loops() {
    let recording = agrees_on(
        "def main(x: Tensor) -> Tuple[Tensor, int]:\n    n = 0\n    while bool(x.sum() < 100):\n        x = x * 2\n        n += 1\n    return x, n\n",
        &[&[1.0, 2.0], &[200.0, 1.0], &[30.0, 2.0]],
    );
    assert_eq!(recording.graph.count("while"), 1);
    let text = "def main(x: Tensor) -> Tensor:\n    total = torch.zeros_like(x)\n    for i in range(int(x[0])):\n        total = total + x * i\n    for i in range(2, int(x[1]), 3):\n        total = total - i\n    return total\n";
    let recording = agrees_on(text, &[&[3.0, 9.0], &[0.0, 0.0], &[1.0, 5.0]]);
    assert_eq!(recording.graph.count("while"), 2);
    // Loops in loops, branches in loops.
    let text = "def main(x: Tensor) -> Tuple[Tensor, int]:\n    steps = 0\n    while bool(x[0] > 1):\n        while bool(x[1] > 1):\n            x = x * torch.tensor([1.0, 0.5])\n            steps += 1\n        if bool(x[0] > 8):\n            x = x * torch.tensor([0.25, 16.0])\n        else:\n            x = x * 0.5\n            steps = steps + 10\n    return x, steps\n";
    agrees_on(text, &[&[100.0, 5.0], &[0.5, 30.0], &[9.0, 0.0]]);
    // The host's loops are unrolled.
    let text = "def main(x: Tensor) -> Tensor:\n    for i in range(3):\n        x = x + i\n    while x.dim() < 3:\n        x = x.unsqueeze(0)\n    for row in x:\n        x = x + row.sum()\n    return x\n";
    assert_eq!(agrees_on(text, &[&[1.0, 2.0]]).graph.count("while"), 0);
}

#[test]
fn exits_that_tensors_decide() {
    for text in [
        "for i in range(20):\n    x = x * 1.5\n    if bool(x.sum() > 20):\n        break\nreturn x",
        "n = 0\nwhile n < 9:\n    n += 1\n    if bool(x[0] * n > 4):\n        continue\n    x = x + n\nreturn x",
        "for i in range(6):\n    if bool(x[0] > 7):\n        return x * i\n    x = x * 2\nreturn -x",
        "if bool(x.sum() > 3):\n    return x\nx = x + 1\nif bool(x.sum() > 3):\n    return x * 10\nreturn x * 100",
        "while True:\n    x = x + 1\n    if bool(x[0] > 5):\n        break\nreturn x",
        "while True:\n    x = x * 2\n    if bool(x[0] > 5) or bool(x[1] > 90):\n        return x + 1",
        "for row in [1.0, 2.0, 3.0, 4.0]:\n    if bool(x[0] + row > 4):\n        break\n    x = x + row\nreturn x",
        "for i in range(int(x[1])):\n    if i == 2:\n        break\n    x = x + i\nreturn x",
        "for i in range(5):\n    for j in range(5):\n        if bool(x[0] > 9 + i):\n            return x + j\n        x = x + 1\n    x = x - 2\nreturn x",
    ] {
        let body: String = text.lines().map(|l| format!("    {l}\n")).collect();
        agrees_on(
            &format!("def main(x: Tensor) -> Tensor:\n{body}"),
            &[&[1.0, 2.0], &[3.0, 1.0], &[0.5, 60.0], &[8.0, 3.0]],
        );
    }
    let text = "def first(x: Tensor) -> Tuple[Tensor, int, bool]:\n    for i in range(10):\n        x = x * 2\n        if bool(x[0] > 10):\n            return x, i, True\n    return x, -1, False\n\ndef main(x: Tensor) -> Tuple[Tensor, int, bool]:\n    return first(x)\n";
    agrees_on(text, &[&[1.0, 2.0], &[0.0, 3.0], &[8.0, 1.0]]);
}

#[test]
fn what_is_carried() {
    let all: &[&[f32]] = &[&[1.0, 2.0], &[30.0, 2.0], &[-3.0, 8.0]];
    for body in [
        // Lists of one length, tuples, dicts, named tuples.
        "xs = [x, x + 1]\nwhile bool(xs[0].sum() < 50):\n    xs = [xs[1] * 2, xs[0] + 1]\nreturn xs[0] + xs[1]",
        "xs = [x, x + 1]\nwhile bool(xs[0].sum() < 50):\n    xs[0] = xs[0] * 2 + xs[1].abs()\nreturn xs[0] - xs[1]",
        "pair = (x, 1)\nwhile bool(pair[0].sum() < 50):\n    pair = (pair[0] + 8, pair[1] + 1)\nreturn pair[0] * pair[1]",
        "d = {'a': x, 'b': x * 2}\nif bool(x.sum() > 5):\n    d['a'] = d['b'] + 1\nreturn d['a'] - d['b']",
        "xs = [x, x]\nif bool(x.sum() > 5):\n    xs[1] = x * 3\n    xs = [xs[1], xs[0]]\nreturn xs[0] - 2 * xs[1]",
        // In-place writes.
        "y = torch.zeros_like(x)\nif bool(x.sum() > 5):\n    y += x\nelse:\n    y[0] = 7\nreturn y",
        "y = torch.zeros(4)\ni = 0\nwhile bool(y.sum() < 9) and i < 4:\n    y[i] = x[1].abs() + 1\n    i += 1\nreturn y",
    ] {
        let body: String = body.lines().map(|l| format!("    {l}\n")).collect();
        agrees_on(&format!("def main(x: Tensor) -> Tensor:\n{body}"), all);
    }
    let text = "class Pair(NamedTuple):\n    h: Tensor\n    n: int\n\nclass Counter:\n    def __init__(self, x: Tensor):\n        self.total = x\n        self.count = 0\n\n    def add(self, x: Tensor):\n        self.total = self.total + x\n        self.count += 1\n\ndef main(x: Tensor) -> Tuple[Tensor, int, Tensor, int]:\n    c = Counter(x)\n    p = Pair(x, 0)\n    while bool(c.total.sum() < 40):\n        c.add(x.abs())\n        p = Pair(p.h + 1, p.n + 2)\n    return c.total, c.count, p.h, p.n\n";
    agrees_on(text, all);
}

#[test]
fn a_temporary_is_not_carried() {
    let text = "def main(x: Tensor) -> Tensor:\n    t = x\n    while bool(x.sum() < 50):\n        t = x.unsqueeze(0) @ x.unsqueeze(1)\n        x = x + 1 + t.flatten().abs()\n    return x\n";
    agrees_on(text, &[&[1.0, 2.0], &[90.0, 1.0]]);
}

#[test]
fn assertions_are_checked_when_the_graph_runs() {
    let program = made(
        "def main(x: Tensor) -> Tensor:\n    assert bool(x[0] > 0), 'not positive'\n    if bool(x[1] > 9):\n        raise ValueError('too large')\n    return x * 2\n",
    );
    let recording = recorded(&program, &[vector(&[1.0, 2.0])]).unwrap();
    let run = |values: &[f32]| interpret::run(&recording.graph, &[vector(values)]).map(|t| scalars(&t[..1]));
    assert_eq!(run(&[1.0, 2.0]).unwrap()[0].2, [2.0, 4.0]);
    let error = run(&[-1.0, 2.0]).unwrap_err();
    assert_eq!(error.message(), "AssertionError: not positive");
    assert_eq!(error.origin().map(|o| (o.file(), o.line())), Some(("program.py", 8)));
    assert_eq!(run(&[1.0, 10.0]).unwrap_err().message(), "ValueError: too large");
}

#[test]
fn gradients_through_branches() {
    for body in [
        "if bool(x.sum() > 0):\n    y = x * x\nelse:\n    y = x * 3\nreturn y * 2",
        "y = x * 2\nif bool(y[0] > 0):\n    y = y * x\n    if bool(x[1] > 1):\n        y = y.exp()\nreturn y + x",
        "return x * x if bool(x[0] > 0) else x.sin()",
        "s = float(x[0]) * 2\nreturn x * s",
    ] {
        let body: String = body.lines().map(|l| format!("    {l}\n")).collect();
        gradients_agree(
            &format!("def main(x: Tensor) -> Tensor:\n{body}"),
            &[&[1.0, 2.0], &[-1.0, -2.0], &[2.0, -1.0]],
        );
    }
}

fn shown(error: &Error) -> String {
    let origin = error.origin().map(|o| format!("{}:{}", o.file(), o.line())).unwrap_or_default();
    format!("{origin}: {}\n", error.message())
}

#[test]
fn what_is_refused_is_named() {
    let cases = [
        "if bool(x.sum() > 0):\n    y = x\nelse:\n    y = x[:1]\nreturn y",
        "if bool(x.sum() > 0):\n    y = x\nelse:\n    y = x.to(torch.int64)\nreturn y",
        "s = 'a'\nif bool(x.sum() > 0):\n    s = 'b'\nreturn x * len(s)",
        "xs = [x]\nif bool(x.sum() > 0):\n    xs.append(x)\nreturn torch.stack(xs)",
        "xs = [x]\nwhile bool(x.sum() < 9):\n    x = x + 1\n    xs.append(x)\nreturn torch.stack(xs)",
        "while bool(x.sum() < 9):\n    x = torch.cat([x, x])\nreturn x",
        "y: Optional[Tensor] = None\nwhile bool(x.sum() < 9):\n    x = x + 1\n    y = x\nreturn x if y is None else y",
        "return x[:int(x[0])]",
        "return torch.zeros(int(x[0]))",
        "xs = [i for i in range(3) if bool(x[0] > i)]\nreturn x * len(xs)",
        "for i in range(0, 9, int(x[0])):\n    x = x + i\nreturn x",
        "xs = [x, x[:1]]\nreturn xs[int(x[0])]",
        "n = 'abc'[int(x[0])]\nreturn x * len(n)",
        "d: Dict[int, Tensor] = {}\nd[int(x[0])] = x\nreturn x",
    ];
    let text: String = cases
        .iter()
        .map(|body| {
            let body: String = body.lines().map(|l| format!("    {l}\n")).collect();
            shown(&refused(&format!("def main(x: Tensor) -> Tensor:\n{body}")))
        })
        .collect();
    insta::assert_snapshot!(text);
    let optional = refused(
        "def main(x: Tensor) -> Optional[Tensor]:\n    if bool(x.sum() > 0):\n        return x\n    return None\n",
    );
    insta::assert_snapshot!("all_paths", optional.to_string());
}

#[test]
fn statements_are_staged_from_outside() {
    let program = made(
        "def main(x: Tensor, n: int) -> Tensor:\n    while bool(x.sum() < 10):\n        x = x + n\n        n += 1\n    return x * n\n",
    );
    let function = script::exits::structured(&program.functions[0]);
    let x = vector(&[1.0, 2.0]);
    let recording = record("part", Mode::Staged, &specs(std::slice::from_ref(&x)), |traced| {
        let mut slots = vec![Value::Tensor(traced[0].clone()), Value::Int(1)];
        let body = &function.function.body[..1];
        program.stage(&mut Host::default(), &function, body, &mut slots)?;
        flatten(&Value::tuple(slots[..2].iter().cloned()))
    })
    .unwrap();
    let found = interpret::run(&recording.graph, std::slice::from_ref(&x)).unwrap();
    assert_eq!(scalars(&found)[0].2, [7.0, 8.0]);
    assert_eq!(scalars(&found)[1].2, [4.0]);
    let mut slots = vec![Value::Tensor(x), Value::Int(1)];
    assert!(program.stage(&mut Host::default(), &function, &[], &mut slots).is_err());
}
