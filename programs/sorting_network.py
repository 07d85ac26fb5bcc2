"""A sorting network: rows are sorted by compare-and-exchange of fixed pairs, which has a gradient.

Batcher's odd-even merge sort: three nested loops over host ints decide which pairs are compared, no value is looked at, so a
trace holds it for one width.

Source: Batcher, "Sorting networks and their applications", 1968; Knuth, "The Art of Computer Programming", 5.2.2, algorithm M.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def pairs(n: int) -> List[Tuple[int, int]]:
    """The pairs to compare, in order, of n elements."""
    found: List[Tuple[int, int]] = []
    top = 1
    while top * 2 < n:
        top *= 2
    p = top if n > 1 else 0
    while p > 0:
        q, r, d = top, 0, p
        going = True
        while going:
            for i in range(n - d):
                if i & p == r:
                    found.append((i, i + d))
            going = q != p
            d, q, r = q - p, q // 2, p
        p = p // 2
    return found


def forward(x: Tensor, descending: bool) -> Tuple[Tensor, int]:
    """x is [rows, n]; gives its sorted rows and the number of comparisons."""
    columns = list(x.unbind(1))
    network = pairs(len(columns))
    for i, j in network:
        low = torch.minimum(columns[i], columns[j])
        high = torch.maximum(columns[i], columns[j])
        columns[i], columns[j] = (high, low) if descending else (low, high)
    return torch.stack(columns, dim=1), len(network)
