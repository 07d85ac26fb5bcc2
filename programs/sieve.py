"""The sieve of Eratosthenes: primes up to n, over a tensor of marks and over a list of bools.

A slice with a step is written in place while a loop whose end depends on n goes on.

Source: Nicomachus, "Introduction to Arithmetic", about 100, who names Eratosthenes.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def count_with_lists(n: int) -> int:
    marks = [True for _ in range(n + 1)]
    count = 0
    for i in range(2, n + 1):
        if not marks[i]:
            continue
        count += 1
        j = i * i
        while j <= n:
            marks[j] = False
            j += i
    return count


def forward(n: int, limit: Tensor) -> Tuple[Tensor, int]:
    """Gives the primes up to n that are below `limit`, a tensor of one int64, and how many there are up to n."""
    marks = torch.ones(n + 1, dtype=torch.bool)
    marks[:2] = False
    i = 2
    while i * i <= n:
        if bool(marks[i]):
            marks[i * i :: i] = False
        i += 1
    primes = torch.nonzero(marks).flatten()
    return primes[primes < limit], count_with_lists(n)
