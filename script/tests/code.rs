//! The text that is made of a checked program reads as the same program: the same tree, the same text again, what it
//! prints; and so for programs that no one would write.

mod common;
mod mutated;
mod random;

use common::{Shared, programs};
use random::Random;
use script::interpret::Host;
use script::load::load;
use script::tree::Program;
use std::path::Path;

/// The tree as text without the places of its parts.
fn tree(program: &Program) -> String {
    let whole = format!("{:#?}\n{:#?}\n{:#?}", program.globals, program.classes, program.functions);
    let mut out = String::with_capacity(whole.len());
    let mut lines = whole.lines();
    while let Some(line) = lines.next() {
        match line.trim() {
            "span: Span {" => {
                lines.nth(2);
            }
            _ => out.extend([line, "\n"]),
        }
    }
    out
}

/// The first lines that differ, with those before them.
fn difference(a: &str, b: &str) -> String {
    let at = a.lines().zip(b.lines()).position(|(a, b)| a != b).unwrap_or(0);
    let part = |t: &str| t.lines().skip(at.saturating_sub(12)).take(20).collect::<Vec<_>>().join("\n");
    format!("{}\n-----\n{}", part(a), part(b))
}

/// Reads what is printed of a program, and gives it.
fn again(name: &str, program: &Program) -> Program {
    let code = program.code();
    let loaded = load(name, code.text.as_str());
    let text = loaded.render(false);
    let Some(second) = loaded.program else {
        panic!("{name}\n{text}\n{}\nof\n{}", code.text, program.source.text)
    };
    let printed = second.code().text;
    assert!(
        printed == code.text,
        "{name}\n{}\nof\n{}",
        difference(&code.text, &printed),
        program.source.text
    );
    second
}

fn same_tree(name: &str, program: &Program) -> Program {
    let second = again(name, program);
    let (a, b) = (tree(program), tree(&second));
    assert!(a == b, "{name}\n{}\n{}", difference(&a, &b), program.code().text);
    second
}

#[test]
fn shipped_programs_read_as_the_same_tree() {
    let mut count = 0;
    for folder in ["../programs", "tests/python/programs"] {
        for path in mutated::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) {
            let program = Program::parse("program.py", std::fs::read_to_string(&path).unwrap()).unwrap();
            same_tree(&path.display().to_string(), &program);
            count += 1;
        }
    }
    assert!(count >= 36, "{count} programs");
}

#[test]
fn printed_programs_print_what_python_prints() {
    for (name, text, _) in programs() {
        let output = |program: &Program| {
            let out = Shared::default();
            program
                .call(&mut Host::new(Box::new(out.clone())), program.find("main").unwrap(), vec![])
                .unwrap();
            out.text()
        };
        let program = Program::parse("program.py", text).unwrap();
        let second = again(&name, &program);
        assert_eq!(output(&program), output(&second), "{name}");
    }
}

#[test]
fn programs_that_no_one_would_write() {
    let texts = mutated::shipped();
    let words = mutated::words(&texts);
    let mut random = Random(0xc0de);
    let mut count = 0;
    for round in 0..12_000 {
        let text = mutated::mutate(&texts[round % texts.len()], &words, &mut random);
        let Some(program) = load("damaged.py", text.as_str()).program else { continue };
        again("damaged.py", &program);
        count += 1;
    }
    assert!(count > 300, "{count} programs were fine");
}

/// The expressions that are held against Python's answers.
#[test]
fn expressions_read_as_the_same_tree() {
    let all = include_str!("python/expressions.txt").lines().filter_map(|l| l.split_once("  ==>  "));
    let mut count = 0;
    for (expression, _) in all {
        let text =
            format!("import math\nimport torch\n\ndef main() -> None:\n    print(repr({expression}))\n");
        let Some(program) = load("program.py", text).program else { continue };
        same_tree(expression, &program);
        count += 1;
    }
    assert!(count > 500, "{count} expressions");
}

/// What the checker writes into the tree and what only an annotation says.
const HARD: &[&str] = &[
    "def f(x: Tensor) -> float:\n    y: float = 1\n    z: Optional[int] = None\n    if x.dim() > 0:\n        z = 3\n    return y + (0 if z is None else z)",
    "def f(x: Tensor) -> List[float]:\n    a = [1, 2.5]\n    b: List[float] = [1, 2]\n    a.append(3)\n    c = torch.jit.annotate(List[Optional[int]], [1, None])\n    return a + b if len(c) > 1 else []",
    "def f(a: int, b: int, c: float) -> bool:\n    return a < b <= c < 10 != 3 and not (a == b) == (b < c)",
    "def f(x: Tensor, y: Tensor) -> Tensor:\n    if 0 < x.sum() < 10:\n        return -x ** 2 @ y\n    return (-x) ** -y + (x ** y) ** x - (x - (y - x)) * (x + y) % 3",
    "def f(a: bool, b: bool, n: int) -> int:\n    c = a & b | (a ^ b)\n    if n & 3 and c or not (a or b) and (a and (b and c)):\n        return ~n + ~5 - -n - (-(-9223372036854775808) if a else -1) ** 2\n    return -a + a * 2",
    "def f(x: Tensor) -> Tuple[Tensor, Tensor]:\n    x.add_(1, alpha=2).mul_(3)\n    x[0, ..., None, 1:, ::2, x > 0, [1, 2]] = 5\n    x[()] += 1\n    r = torch.max(x, 0)\n    v, (w, u) = r.values, (r[1], r.indices)\n    a = b = x.new_zeros(3)\n    return x.reshape(2, 3).permute((1, 0)), torch.zeros(2, 3, dtype=torch.long)",
    "def f(s: str, x: float) -> str:\n    return f'{s!r:>10} {{x}} {x:.3f}{\"a\"}\\n{f\"{s}\"} \\\\ {s == \"b\"} { {1: 2}[1] }' + 'it\\'s \"\\x00\" \u{2028}'",
    "def f(xs: List[int], d: Dict[str, List[float]]) -> Dict[str, List[float]]:\n    d['a'] = torch.jit.annotate(List[float], [1, 2])\n    d.update({'b': [], 'c': [1.5, xs[-1]]})\n    del d['a'], xs[0]\n    ys = [x * 2 for x in xs if x % 2]\n    e: Dict[int, Optional[float]] = {1: None, 2: 3}\n    for i, (k, v) in enumerate(d.items(), 1):\n        xs += [i, len(k)]\n    return d",
    "def f(x: Tensor, n: int = 3, *, scale: float = 1, name: Optional[str] = None) -> Tensor:\n    return x * n * scale\n\ndef g(x: Tensor) -> Tensor:\n    return f(x, scale=2) + f(x) + f(x, 4, name='a')",
    "class P(NamedTuple):\n    a: int\n    b: float = 2\n\nclass C:\n    k: int\n    def __init__(self, n: int, v: float = 1):\n        self.n: Optional[int] = None\n        self.xs: List[int] = []\n        self.v = v\n        self.k = n\n    def put(self, n: int) -> 'C':\n        self.n = n\n        self.v = 1\n        self.xs.append(n)\n        return self\n\ndef f(n: int) -> float:\n    c = C(n).put(2)\n    p = P(1)\n    q, w = P(a=n, b=3)\n    return c.v + p.b + w + p[0]",
    "class A:\n    def __init__(self, n: int):\n        if n > 0:\n            self.a = 1\n        else:\n            self.a = 2\n        self.b: float = 1\n        self.c = 2\n        self.d: float = 3\n\ndef f(n: int) -> float:\n    return A(n).a + A(n).b",
    "def f(n: int) -> int:\n    torch = 3\n    math = torch + n\n    List = [math]\n    return len(List) + int(inf_of(n))\n\nX: List[float] = [1, 2]\nY = [1.0, 2]\nZ: Optional[int] = None\n\ndef inf_of(n: int) -> float:\n    return math.inf if n > 0 else -math.nan",
    "def f(x: Tensor) -> float:\n    rows: List[List[float]] = x.tolist()\n    total = 0.0\n    while True:\n        for row in rows:\n            if len(row) == 0:\n                continue\n            elif row[0] > 1:\n                break\n            else:\n                total += row[0]\n        with torch.no_grad():\n            assert total >= 0, f'{total}'\n        if total > 3:\n            raise ValueError('much')\n        return total",
    "@torch.no_grad\ndef f(x: Tensor) -> Tensor:\n    g, = torch.autograd.grad(x.sum(), [x], create_graph=True)\n    x.grad = g\n    t = torch.tensor([[1, 2], [3, 4]], dtype=torch.float64, requires_grad=True)\n    y = torch.zeros(3, requires_grad=True)\n    x.backward(retain_graph=True)\n    return F.relu(t) + x.T + x.data + y",
    "def f(a: int, b: float, s: str) -> float:\n    print(a, b, sep='', end='')\n    m = max(a, b, 3) + min(1, 2.5) + sum([1, 2]) + sum([1.5], 2) + abs(torch.jit.annotate(float, 1)) + round(b, 2)\n    return m + float(a) + int(s) + pow(2, a) + s.find('a', 1) + math.log(2, 3) + (1).bit_length()",
    "def f(n: int):\n    xs = []\n    xs.append(torch.zeros(n))\n    return torch.max(xs[0], 0), [], None",
];

#[test]
fn what_only_annotations_say() {
    let head = "import math\nimport torch\nimport torch.nn.functional as F\nfrom torch import Tensor\nfrom typing import Dict, List, NamedTuple, Optional, Tuple\n\n";
    for text in HARD {
        let program =
            Program::parse("program.py", format!("{head}{text}\n")).unwrap_or_else(|e| panic!("{e}"));
        same_tree(text, &program);
    }
}

#[test]
fn places_are_those_of_the_original() {
    let text = "# A comment.\nimport torch\nfrom torch import Tensor\n\n\ndef f(\n    x: Tensor,\n) -> Tensor:\n    \"\"\"Words.\"\"\"\n    y = (x +\n         torch.ones(3))\n\n    return y\n";
    let program = Program::parse("program.py", text).unwrap();
    let code = program.code();
    let expected = "import torch\nfrom torch import Tensor\n\n\ndef f(x: Tensor) -> Tensor:\n    y = x + torch.ones(3)\n    return y\n";
    assert_eq!(code.text, expected);
    let original = |printed: &str| {
        let at = code.text.find(printed).unwrap() as u32;
        let known = code.places.partition_point(|(p, _)| *p <= at);
        let byte = code.places[known - 1].1 as usize;
        text[..byte].matches('\n').count() + 1
    };
    assert_eq!(["def f", "y = x", "torch.ones", "return"].map(original), [6, 10, 11, 13]);
}
