"""The Collatz map n -> n / 2 or 3 n + 1 until 1: how many steps each number takes, and how high it climbs.

Once over host ints, whose branches are the host's, and once over a tensor, where a mask takes the place of the branch and
the loop ends when no element is above 1.

Source: L. Collatz, 1937; numbers A006577 and A025586 of the OEIS.
"""

from typing import Tuple

import torch
from torch import Tensor


def steps_of(n: int) -> Tuple[int, int]:
    steps = 0
    top = n
    while n != 1:
        if n % 2 == 0:
            n = n // 2
        else:
            n = 3 * n + 1
        top = max(top, n)
        steps += 1
    return steps, top


def forward(numbers: Tensor, single: int) -> Tuple[Tensor, Tensor, int, int]:
    """numbers is [n] of int64, all positive; gives steps and highest values of them, then those of `single`."""
    now = numbers.clone()
    steps = torch.zeros_like(numbers)
    top = numbers.clone()
    going = now > 1
    while bool(going.any()):
        following = torch.where(now % 2 == 0, now // 2, 3 * now + 1)
        now = torch.where(going, following, now)
        top = torch.maximum(top, now)
        steps += going.to(torch.int64)
        going = now > 1
    single_steps, single_top = steps_of(single)
    return steps, top, single_steps, single_top
