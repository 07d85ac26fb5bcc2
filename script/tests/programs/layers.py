"""A small transformer: classes, fields, methods, keyword arguments, slices."""
from __future__ import annotations

import math
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from typing import Dict, List, Optional, Tuple

EPSILON: float = 1e-5
WIDTH = 0x40
NAMES = ["query", 'key', """value"""]


class LayerNorm(nn.Module):
    """Normalises the last dimension."""

    __constants__ = ["width"]
    width: int
    gain: Tensor
    bias: Optional[Tensor] = None

    def __init__(self, width: int, bias: bool = True) -> None:
        super().__init__()
        self.width = width
        self.gain = nn.Parameter(torch.ones(width))
        if bias:
            self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
        y = (x - mean) / torch.sqrt(variance + EPSILON) * self.gain
        bias = self.bias
        return y + bias if bias is not None else y


class Attention(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        assert width % heads == 0, f"{width=} is no multiple of {heads!r:>4}"
        self.heads, self.scale = heads, 1.0 / math.sqrt(width // heads)
        self.project = nn.Linear(width, 3 * width, bias=False)

    def split(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        n, t, c = x.shape[0], x.shape[1], x.size(2)
        parts = self.project(x).view(n, t, 3, self.heads, c // self.heads)
        q, (k, v) = parts[:, :, 0], (parts[:, :, 1], parts[..., 2, :, :])
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def forward(self, x: Tensor, mask: Optional[Tensor] = None, *, causal: bool = False) -> Tensor:
        q, k, v = self.split(x)
        scores = q @ k.transpose(-2, -1) * self.scale
        if causal and mask is None:
            t = x.shape[1]
            keep = torch.ones(t, t, dtype=torch.bool).tril()
            scores = scores.masked_fill(~keep, -1e9)
        elif mask is not None:
            scores += mask[:, None, ::1]
        y = F.softmax(scores, dim=-1) @ v
        return y.transpose(1, 2).reshape(x.shape[0], -1, x.shape[2])

    @staticmethod
    def describe(sizes: Dict[str, List[int]]) -> str:
        return ", ".join([f"{k}: {v[0]:03d}" for k, v in sizes.items() if len(v) > 0])


@torch.jit.script
def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(0.797_884_56 * (x + 0.044715 * x ** 3)))


if __name__ == "__main__":
    import sys

    print((lambda n: n + 1)(len(sys.argv)), {1, 2}, *NAMES)
