"""An adaptive Runge-Kutta method of orders 5 and 4: the Van der Pol oscillator from time 0 to `end`.

Each step is judged by the difference of the two orders; one that is too coarse is done again with a smaller size. How many
steps are taken and how many refused depends on the values.

Source: Dormand and Prince, "A family of embedded Runge-Kutta formulae", 1980.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def slope(y: Tensor, mu: Tensor) -> Tensor:
    """y is [2, systems]."""
    return torch.stack([y[1], mu * (1.0 - y[0] * y[0]) * y[1] - y[0]])


def forward(y: Tensor, mu: Tensor, end: float, tolerance: float, limit: int) -> Tuple[Tensor, int, int]:
    """y is [2, systems], mu is [systems]; gives the state at the end, the steps taken and the steps refused."""
    rows = [
        [1.0 / 5.0],
        [3.0 / 40.0, 9.0 / 40.0],
        [44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
        [19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
        [9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
        [35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0],
    ]
    errors = [71.0 / 57600.0, 0.0, -71.0 / 16695.0, 71.0 / 1920.0, -17253.0 / 339200.0, 22.0 / 525.0, -1.0 / 40.0]
    time, size = 0.0, min(0.1, end)
    taken, refused = 0, 0
    first = slope(y, mu)
    while time < end and taken + refused < limit:
        if time + size > end:
            size = end - time
        slopes: List[Tensor] = [first]
        point = y
        for row in rows:
            point = y
            for j, factor in enumerate(row):
                if factor != 0.0:
                    point = point + size * factor * slopes[j]
            slopes.append(slope(point, mu))
        error = torch.zeros_like(y)
        for factor, k in zip(errors, slopes):
            error = error + size * factor * k
        scale = tolerance * (1.0 + torch.maximum(y.abs(), point.abs()))
        ratio = float((error / scale).abs().max().item())
        if ratio <= 1.0:
            time += size
            y = point
            first = slopes[-1]
            taken += 1
        else:
            refused += 1
        size = size * min(5.0, max(0.2, 0.9 * max(ratio, 1e-10) ** -0.2))
    return y, taken, refused
