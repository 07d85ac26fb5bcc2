"""The exponential of a matrix by scaling, a Taylor polynomial and squaring.

The matrix is halved until its norm is small, and the result squared as often: both loops are as long as the norm says. The
polynomial ends when its last term adds nothing.

Source: Moler and Van Loan, "Nineteen Dubious Ways to Compute the Exponential of a Matrix", 1978 and 2003.
"""

from typing import Tuple

import torch
from torch import Tensor


def forward(a: Tensor, tolerance: float) -> Tuple[Tensor, int, int]:
    """a is [n, n]; gives exp(a), the squarings and the terms."""
    squarings = 0
    norm = float(a.detach().abs().sum(0).max().item())
    while norm > 0.5:
        norm = norm / 2.0
        squarings += 1
    scaled = a / float(2**squarings)
    identity = torch.eye(a.size(0), dtype=a.dtype)
    term = identity
    total = identity
    terms = 0
    while True:
        terms += 1
        term = term @ scaled / terms
        total = total + term
        if bool(term.abs().max() <= tolerance) or terms >= 30:
            break
    for i in range(squarings):
        total = total @ total
    return total, squarings, terms
