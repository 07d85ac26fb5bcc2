"""Power iteration: the largest eigenvalue of a symmetric matrix and its vector, until the residual is small.

Ends by a test on a tensor, and gives up at a limit; the result says which.

Source: von Mises and Pollaczek-Geiringer, "Praktische Verfahren der Gleichungsaufloesung", 1929.
"""

from typing import Tuple

import torch
from torch import Tensor


def forward(a: Tensor, start: Tensor, tolerance: float, limit: int) -> Tuple[Tensor, Tensor, bool]:
    """a is [n, n], start is [n]; gives eigenvalue, unit vector, and whether the residual is within the tolerance."""
    a = 0.5 * (a + a.t())
    v = start / torch.linalg.vector_norm(start)
    value = torch.dot(v, a @ v)
    for step in range(limit):
        product = a @ v
        value = torch.dot(v, product)
        residual = torch.linalg.vector_norm(product - value * v)
        if bool(residual <= tolerance * value.abs()):
            return value, v, True
        v = product / torch.linalg.vector_norm(product)
    return value, v, False
