"""A thousand operations on sixteen elements each: what an operation costs when the numbers cost nothing."""

import torch
from torch import Tensor


def forward(x: Tensor, y: Tensor) -> Tensor:
    """x and y are float32 of any one shape."""
    for _ in range(250):
        x = x * y
        x = x + y
        x = x * 0.5
        x = x - y
    return x
