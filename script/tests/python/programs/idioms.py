"""Idioms that TorchScript takes: refinement of what is None at first, shapes as tuples, comprehensions, formats."""
import torch
import torch.nn.functional as F
from math import pi
from torch import Tensor
from typing import Dict, List, Optional


class Counter:
    step: int = 4
    scale: float = 0.5

    def __init__(self, start: int):
        self.total = start

    def next(self) -> float:
        self.total += self.step
        return self.total * self.scale


def chosen(x: Tensor, other: Optional[Tensor]) -> Tensor:
    best: Optional[Tensor] = None
    if best is None:
        best = x
    if other is None:
        other = best * 2
    return best + other


def item_or_zero(x: Tensor) -> float:
    return x.sum().item() if x.numel() > 0 else 0.0


def gradients(x: Tensor) -> Tensor:
    z = x.detach().requires_grad_()
    (z * z).sum().backward()
    return z.grad * 2


def first(gs: List[Optional[Tensor]]) -> Tensor:
    g = gs[0]
    assert g is not None
    return g


def main() -> None:
    x = torch.arange(8.0).reshape(2, 4)
    print(chosen(x, None), chosen(x, x + 1))
    print(x.view(x.shape[:-1] + (2, 2)).shape == (2, 2, 2), x.shape == (4, 2), (2, 4) == x.shape)
    print(item_or_zero(x), item_or_zero(x[:0]))
    print(gradients(x))
    z = x.detach().requires_grad_()
    print(first(torch.autograd.grad([(z * z).sum()], [z])))
    squares: Dict[int, int] = {i: i * i for i in range(4) if i != 2}
    print(squares, sum(v for v in squares.values()), any(v > 8 for v in [1, 9]))
    print(torch.where(x > 5)[1], torch.arange(end=3), torch.arange(torch.tensor([2, 3]).max()))
    counter = Counter(1)
    print(counter.next(), counter.next(), counter.step)
    t = torch.tensor(2.5)
    print(f"{t} {t:.3f} {x[0]}", f"{torch.tensor(3)}", "{}".format(t))
    print(x.contiguous(memory_format=torch.contiguous_format)[0], round(pi, 3))
    print("12".isnumeric(), "12".isdecimal(), "Ab Cd".istitle(), "aB".istitle(), "a1".isidentifier(), "1a".isidentifier(), "a b".isprintable(), "a\n".isprintable())
    print(F.softmax(x, dim=0)[0], torch.softmax(x, 0, torch.float64).dtype, x.softmax(-1, torch.float64).dtype)
    print(F.mse_loss(x, x + 1, None, None, "sum"), F.embedding(torch.tensor([1, 0]), x, None, None, 2.0, False, False))


if __name__ == "__main__":
    main()
