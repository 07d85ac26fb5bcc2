"""Newton's iteration for the roots of x^3 + b x - a in each element, until the largest step is below a tolerance.

The trip count depends on the values; a gradient flows through every step that was taken.

Source: Newton, "De analysi", 1669, as taught everywhere.
"""

from typing import Tuple

import torch
from torch import Tensor


def forward(a: Tensor, b: Tensor, tolerance: float, limit: int) -> Tuple[Tensor, Tensor]:
    """a and b have one shape, b is positive; gives the roots and how many steps were needed."""
    x = torch.ones_like(a)
    steps = 0
    while steps < limit:
        value = x * x * x + b * x - a
        slope = 3.0 * x * x + b
        change = value / slope
        x = x - change
        steps += 1
        if change.abs().max().item() < tolerance:
            break
    return x, torch.tensor(steps)
