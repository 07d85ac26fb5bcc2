"""The Levenshtein distance of two sequences, twice: over lists of ints, and over tensors with a row at a time.

The row over tensors turns its one sequential dependency, on the element to the left, into a running minimum.

Source: Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals", 1966; Wagner and Fischer,
"The string-to-string correction problem", 1974.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def over_lists(a: List[int], b: List[int]) -> int:
    row = [j for j in range(len(b) + 1)]
    for i, x in enumerate(a):
        following = [i + 1]
        for j, y in enumerate(b):
            if x == y:
                cost = row[j]
            else:
                cost = 1 + min(row[j], min(row[j + 1], following[j]))
            following.append(cost)
        row = following
    return row[-1]


def over_tensors(a: Tensor, b: Tensor) -> Tensor:
    """The rows of the table, [len(a) + 1, len(b) + 1]."""
    places = torch.arange(b.size(0) + 1)
    row = places
    rows: List[Tensor] = [row]
    for i in range(a.size(0)):
        best = torch.minimum(row[:-1] + (b != a[i]).to(torch.int64), row[1:] + 1)
        best = torch.cat([row[:1] + 1, best])
        row = torch.cummin(best - places, dim=0)[0] + places
        rows.append(row)
    return torch.stack(rows)


def forward(a: Tensor, b: Tensor) -> Tuple[int, Tensor]:
    """a and b are [n] and [m] of int64; gives the distance, and the whole table."""
    first: List[int] = a.tolist()
    second: List[int] = b.tolist()
    table = over_tensors(a, b)
    distance = over_lists(first, second)
    assert distance == int(table[-1, -1].item()), "the two ways differ"
    return distance, table
