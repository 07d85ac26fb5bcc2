"""A random walk between reflecting walls, with its noise given: first passages, and the path by in-place writes.

Each walker stops when it reaches its goal; the loop ends when all have, or the noise does. All modes draw nothing, so they
agree.

Source: Pearson, "The Problem of the Random Walk", 1905.
"""

from typing import Tuple

import torch
from torch import Tensor


def forward(start: Tensor, noise: Tensor, goal: float, wall: float) -> Tuple[Tensor, Tensor, int]:
    """start is [walkers], noise is [steps, walkers]; gives the path, the step of each arrival (-1: none), the steps."""
    steps = noise.size(0)
    path = torch.zeros(steps + 1, start.size(0), dtype=start.dtype)
    path[0] = start
    arrival = torch.full([start.size(0)], -1, dtype=torch.int64)
    position = start
    walked = 0
    for t in range(steps):
        walking = arrival < 0
        if not bool(walking.any()):
            break
        moved = position + noise[t]
        moved = torch.where(moved < -wall, -2.0 * wall - moved, moved)
        position = torch.where(walking, moved, position)
        arrived = walking & (position >= goal)
        arrival[arrived] = t + 1
        path[t + 1] = position
        walked = t + 1
    return path[: walked + 1], arrival, walked
