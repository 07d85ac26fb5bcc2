"""Chains of element-wise operations on ever new lengths: more kinds of inputs than anyone compiles for."""

from typing import List

import torch
from torch import Tensor


def forward(x: Tensor, w: Tensor, lengths: List[int]) -> Tensor:
    total = torch.zeros(())
    for n in lengths:
        z = x[:n]
        z = torch.tanh(z * w[:n] + 0.5)
        z = z * torch.sigmoid(z) - w[:1]
        z = torch.relu(z) + z * z
        total = total + z.mean()
    return total
