"""The Collatz map of one number in scalar tensors until 1: from 1412987847 exactly 1000 steps, a branch in each.

Source: L. Collatz, 1937.
"""

import torch
from torch import Tensor


def forward(n: Tensor) -> Tensor:
    """n is an int64 of rank 0; gives the number of steps."""
    steps = torch.zeros((), dtype=torch.int64)
    while bool(n != 1):
        if bool(n % 2 == 0):
            n = n // 2
        else:
            n = 3 * n + 1
        steps = steps + 1
    return steps
