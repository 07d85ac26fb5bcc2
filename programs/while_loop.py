"""The smallest loop worth measuring: x is scaled and shifted until its sum passes a bound.

Nearly nothing is computed in each round, so what is measured is what an execution model pays for a branch on a tensor.

Source: the micro-benchmarks of Yu et al., "Dynamic Control Flow in Large-Scale Machine Learning", 2018.
"""

from typing import Tuple

import torch
from torch import Tensor


def forward(x: Tensor, bound: float, limit: int) -> Tuple[Tensor, Tensor]:
    """Gives x after the last round, and the number of rounds."""
    rounds = torch.zeros((), dtype=torch.int64)
    while bool(x.sum() < bound) and bool(rounds < limit):
        if bool(rounds % 2 == 0):
            x = x * 1.5 + 0.125
        else:
            x = x + 0.25
        rounds = rounds + 1
    return x, rounds
