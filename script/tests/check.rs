//! What the checker makes of programs: types that it finds, errors that it reports, all of a text at once.

use script::load::load;

/// The kinds and messages of a text's errors, with their lines.
fn errors(text: &str) -> Vec<String> {
    let loaded = load("program.py", text);
    loaded
        .diagnostics
        .iter()
        .map(|d| format!("{}: {}: {}", loaded.source.place(d.span.start).0, d.kind.words(), d.message))
        .collect()
}

fn fine(text: &str) {
    let loaded = load("program.py", text);
    assert!(loaded.program.is_some(), "{}", loaded.render(false));
}

#[test]
fn programs_that_are_fine() {
    fine(
        "import torch
from torch import Tensor
from typing import List, Optional, Tuple, Dict

EPS = 1e-5

def scale(x: Tensor, by: float = 2.0) -> Tensor:
    return x * by + EPS

def forward(x: Tensor, n: int, mask: Optional[Tensor] = None) -> Tuple[Tensor, int]:
    total = torch.zeros_like(x)
    count = 0
    for i in range(n):
        if i % 2 == 0 and mask is not None:
            total += x * mask
        elif i > 5:
            break
        else:
            continue
        count += 1
    while count < 10:
        count = count * 2 + 1
    values, places = torch.max(total, dim=0)
    y = scale(total, by=3)
    y[0] = values[0]
    best = x.max(0).values if n > 2 else x[0]
    return y + best, count
",
    );
}

#[test]
fn classes_and_lists() {
    fine(
        "import torch
from torch import Tensor
from typing import List, Dict, NamedTuple

class Pair(NamedTuple):
    a: Tensor
    b: int = 3

class Counter:
    seen: int
    def __init__(self, start: int):
        self.seen = start
        self.items: List[Tensor] = []
    def add(self, x: Tensor) -> int:
        self.seen += 1
        self.items.append(x)
        return self.seen

def forward(x: Tensor) -> Tensor:
    c = Counter(1)
    p = Pair(x)
    for k in range(3):
        c.add(x * k)
    a, b = p
    names: Dict[str, int] = {'a': 1}
    names['b'] = b
    parts = [t + 1 for t in c.items if t.dim() > 0]
    return torch.stack(parts).sum() + names['a'] + len(parts)
",
    );
}

#[test]
fn every_error_of_a_text() {
    let found = errors(
        "import torch
from torch import Tensor
from typing import Optional

def f(x: Tensor, m: Optional[Tensor]) -> int:
    y = x + m
    z = undefined + 1
    if x.sum() > 0:
        w = 1
    return w + 'a'

def g(x: Tensor):
    n = 1
    for i in range(3):
        n = 2.5
    return torch.softmx(x, 0)
",
    );
    let text = found.join("\n");
    for part in [
        "6: type error: '+' of Tensor and Optional[Tensor]",
        "7: undefined name: nothing is called 'undefined'",
        "10: undefined name: 'w' may have no value here",
        "15: type error: 'n' is int and cannot become float here",
        "16: undefined name: 'torch.softmx' is not known",
    ] {
        assert!(text.contains(part), "{part} is not among\n{text}");
    }
}

#[test]
fn a_function_that_calls_itself() {
    let found = errors("def f(n: int) -> int:\n    return 1 if n < 2 else n * f(n - 1)\n");
    assert_eq!(found, ["2: unsupported Python: 'f' calls itself"]);
}

#[test]
fn what_cannot_be_read_hides_no_other_error() {
    let text = "import torch
import numpy as np
from torch import Tensor

def f(x: Tensor) -> Tensor:
    return missing_a + x.foo()

def forward(x: Tensor) -> Tensor:
    y = 1 +
    g = lambda a: a
    z = {1, 2}
    n = y + g + len(z) + np.zeros(3)
    s: int = 'text'
    for i in range(3)
        total = x * i
    return missing_b + f(x) + total

def g(x: Tensor, *rest) -> Tensor:
    if x.sum() > 0:
        return x
    match x:
        case 1:
            return x

class A(:
    pass

def h(a: A) -> int:
    return a.size + 'one'
";
    assert_eq!(
        errors(text),
        [
            "2: unsupported Python: the module `numpy` cannot be imported",
            "6: undefined name: nothing is called 'missing_a'",
            "6: undefined name: Tensor has no method 'foo'",
            "9: syntax error: expected an expression, found the end of the line",
            "10: unsupported Python: `lambda` is left out",
            "11: unsupported Python: sets are left out",
            "13: type error: this value must be int, not str",
            "14: syntax error: expected `:` after the header of this `for`, found the end of the line",
            "16: undefined name: nothing is called 'missing_b'",
            "18: unsupported Python: `*rest` is left out",
            "21: unsupported Python: `match` is left out",
            "25: syntax error: this `(` is never closed",
        ]
    );
}

#[test]
fn a_call_says_which_argument_it_needs() {
    let head = "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor\ndef forward(x: Tensor) -> Tensor:\n    return ";
    for (call, needs) in [
        ("x.transpose(0)", "'torch.Tensor.transpose' needs 'dim1'"),
        ("x.flip()", "'torch.Tensor.flip' needs 'dims'"),
        ("F.pad(x)", "'torch.nn.functional.pad' needs 'pad'"),
        ("torch.softmax(x)", "'torch.softmax' needs 'dim'"),
        ("torch.linspace(0, 1)", "'torch.linspace' needs 'steps'"),
        ("torch.add(x)", "'torch.add' needs 'other'"),
        ("F.mse_loss(x, x, True)", "'size_average' of 'torch.nn.functional.mse_loss'"),
        ("F.embedding(x, x, max_norm=1.0)", "'max_norm' of 'torch.nn.functional.embedding'"),
        ("x.t_()", "'t_' changes the extents of a tensor in place"),
        ("x.sum_()", "Tensor has no method 'sum_'"),
        ("torch.nn.Linear(3, 4)(x)", "'torch.nn.Linear' is not known"),
    ] {
        let found = errors(&format!("{head}{call}\n"));
        assert!(found.iter().any(|e| e.ends_with(needs)), "{call}: {found:?}");
    }
}

#[test]
fn type_comments_are_not_passed_over() {
    let text = "from torch import Tensor
def f(x, n):
    # type: (Tensor, int) -> Tensor
    return x * n  # type: ignore
";
    assert_eq!(errors(text), ["3: unsupported Python: a type comment is left out"]);
}
