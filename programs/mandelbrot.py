"""The Mandelbrot set: how many rounds of z^2 + c each point of a grid stays within radius 2.

Complex numbers are pairs of tensors; the loop ends early when every point has escaped.

Source: Brooks and Matelski, 1978; Mandelbrot, "Fractal aspects of the iteration of z -> lambda z (1 - z)", 1980.
"""

from typing import Tuple

import torch
from torch import Tensor


def forward(centre: Tuple[float, float], width: float, points: int, limit: int, power: Tensor) -> Tuple[Tensor, Tensor]:
    """power is one float: z^2 + c + power * z; gives the rounds and the share of points that never escape."""
    x0, y0 = centre
    steps = torch.linspace(-0.5, 0.5, points, dtype=power.dtype) * width
    c_y, c_x = torch.meshgrid([steps + y0, steps + x0], indexing="ij")
    x, y = torch.zeros_like(c_x), torch.zeros_like(c_y)
    rounds = torch.zeros([points, points], dtype=torch.int64)
    inside = torch.ones_like(rounds, dtype=torch.bool)
    for i in range(limit):
        following = x * x - y * y + c_x + power * x
        y = 2.0 * x * y + c_y + power * y
        x = following
        inside = inside & (x * x + y * y <= 4.0)
        if not bool(inside.any()):
            break
        rounds += inside.to(torch.int64)
        x = torch.where(inside, x, torch.zeros_like(x))
        y = torch.where(inside, y, torch.zeros_like(y))
    return rounds, inside.to(power.dtype).mean()
