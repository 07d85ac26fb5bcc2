"""A block of a transformer: attention of several heads, causal or with a mask of lengths, and a feed-forward part.

Two optional arguments choose what is hidden: Optional refinement and host branches, no loop.

Source: Vaswani et al., "Attention Is All You Need", 2017; norms before the parts as in Xiong et al., "On Layer
Normalization in the Transformer Architecture", 2020.
"""

import math
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor


def forward(
    x: Tensor,
    w_qkv: Tensor,
    w_out: Tensor,
    w_up: Tensor,
    w_down: Tensor,
    heads: int,
    causal: bool,
    lengths: Optional[Tensor] = None,
) -> Tensor:
    """x is [batch, time, width], w_qkv is [width, 3 * width], lengths is [batch]; gives [batch, time, width]."""
    batch, time, width = x.size(0), x.size(1), x.size(2)
    size = width // heads
    q, k, v = (F.layer_norm(x, [width]) @ w_qkv).chunk(3, dim=-1)
    q = q.reshape(batch, time, heads, size).transpose(1, 2)
    k = k.reshape(batch, time, heads, size).transpose(1, 2)
    v = v.reshape(batch, time, heads, size).transpose(1, 2)
    scores = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(size)
    places = torch.arange(time)
    if causal:
        scores = scores.masked_fill(places.unsqueeze(0) > places.unsqueeze(1), -float("inf"))
    if lengths is not None:
        beyond = places.unsqueeze(0) >= lengths.unsqueeze(1)
        scores = scores.masked_fill(beyond.unsqueeze(1).unsqueeze(1), -float("inf"))
    mixed = torch.matmul(F.softmax(scores, dim=-1), v)
    x = x + mixed.transpose(1, 2).reshape(batch, time, width) @ w_out
    return x + F.gelu(F.layer_norm(x, [width]) @ w_up) @ w_down
