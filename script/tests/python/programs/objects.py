from typing import Dict, List, NamedTuple, Optional

import torch
from torch import Tensor


class Point(NamedTuple):
    x: int
    y: float


class Counter:
    def __init__(self, start: int, step: int = 1) -> None:
        self.value = start
        self.step = step
        self.log: List[int] = []
        self.last: Optional[int] = None

    def tick(self, times: int = 1) -> int:
        for _ in range(times):
            self.value += self.step
            self.log.append(self.value)
        self.last = self.value
        return self.value

    def describe(self) -> str:
        return f"<{self.value} after {len(self.log)}>"


class Linear:
    def __init__(self, n: int, m: int) -> None:
        self.weight = torch.arange(n * m).reshape(n, m).float() / 10
        self.bias = torch.zeros(m)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.weight + self.bias)


def distance(p: Point, q: Point) -> float:
    dx, dy = p.x - q.x, p.y - q.y
    return (dx * dx + dy * dy) ** 0.5


def bump(c: Counter) -> None:
    c.step *= 10


def main() -> None:
    c = Counter(5)
    print(c.tick(), c.tick(2), c.log, c.last)
    other = c
    bump(other)
    print(c.step, c.tick(), c.describe())
    p = Point(3, 4.0)
    print(p, p.x, p[1], distance(p, Point(0, 0.0)))
    x, y = p
    print(x, y)
    layer = Linear(2, 3)
    layer.bias[1] = -100.0
    print(layer.forward(torch.ones(1, 2)))
    layer.bias += 1
    print(layer.bias)
    counters: Dict[str, Counter] = {"a": Counter(0), "b": Counter(1, 2)}
    for name in counters:
        counters[name].tick(3)
    print([counters[k].value for k in counters])
