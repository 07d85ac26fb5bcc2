# Control flow and numbers, without a class.
import torch
from typing import List, Tuple, Optional

LIMIT: int = 1_000
MASK = 0b1010 | 0o17 & ~0xFF ^ 1 << 3
SMALL = -1.5e-3 + .5 - 1.


def collatz(n: int, /, limit: int = LIMIT) -> int:
    """How many steps to one."""
    steps = 0
    while n != 1 and not steps >= limit:
        n = 3 * n + 1 if n % 2 else n // 2
        steps += 1
    return steps


def newton(f0: torch.Tensor, tolerance: float = 1e-6) -> Tuple[torch.Tensor, int]:
    x, i = f0.clone(), 0
    while True:
        step = (x ** 2 - 2.0) / (2.0 * x)
        x -= step; i += 1
        if bool((step.abs() < tolerance).all()): break
        elif i > 50:
            raise RuntimeError("no convergence: "
                               "giving up\n" r"\d" % i)
        else:
            continue
    return x, i


def search(values: List[int], wanted: int) -> Optional[int]:
    low, high = 0, len(values) - 1
    while low <= high:
        middle = (low + high) >> 1
        if values[middle] == wanted: return middle
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle - 1
    return None


def loops(xs: List[torch.Tensor], n: int) -> torch.Tensor:
    total: torch.Tensor = torch.zeros(
        xs[0].shape,  # as wide as the first
        dtype=torch.float32,
    )
    counts = {"a": 1, 'b': 2,}
    del counts["a"]
    for i, (x, k) in enumerate(zip(xs, range(n, 0, -1))):
        with torch.no_grad():
            total += x * k if i is not None else -x
        for _ in range(k): pass
    a = b = total[1:-1, ..., None]
    a[0], b[::2] = b[1], a[1] \
        .clone()
    squares = [v * v for v in range(n) if v % 2 == 0 if v > 2]
    print(f"{n:>3} {{}} {squares[0] + 1 = } {counts['b']!s}")
    assert 0 <= n < LIMIT <= 10 ** 4, "range"
    """A string alone does nothing."""
    return total.sum() @ a if n in squares and n not in [1] else b
