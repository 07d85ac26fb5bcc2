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
