"""Conjugate gradients: solves a x = b for a symmetric positive definite matrix until the residual is small.

The trip count depends on the values; the gradient of the solution runs back through all steps.

Source: Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems", 1952.
"""

from typing import Optional, Tuple

import torch
from torch import Tensor


def forward(m: Tensor, b: Tensor, shift: float, tolerance: float, guess: Optional[Tensor] = None) -> Tuple[Tensor, int]:
    """m is [k, n]; the matrix is m^T m + shift. Gives the solution and the number of steps, at most 2 n."""
    x = torch.zeros_like(b)
    if guess is not None:
        x = guess
    residual = b - (m.t() @ (m @ x) + shift * x)
    direction = residual
    square = torch.dot(residual, residual)
    bound = tolerance * tolerance * torch.dot(b, b)
    steps = 0
    while bool(square > bound) and steps < 2 * b.numel():
        product = m.t() @ (m @ direction) + shift * direction
        step = square / torch.dot(direction, product)
        x = x + step * direction
        residual = residual - step * product
        following = torch.dot(residual, residual)
        direction = residual + (following / square) * direction
        square = following
        steps += 1
    return x, steps
