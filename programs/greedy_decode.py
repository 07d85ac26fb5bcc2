"""Greedy decoding of a one-layer transformer with a cache of keys and values.

Each step attends with one query to all keys so far, takes the likeliest token and ends at the token `end`: the number of
steps depends on values, the size of the cache on the step.

Source: Vaswani et al., "Attention Is All You Need", 2017; the cache as in Pope et al., "Efficiently Scaling Transformer
Inference", 2022.
"""

import math
from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, keys: Tensor, values: Tensor, heads: int) -> Tensor:
    """q is [1, width], keys and values are [time, width]."""
    size = q.size(1) // heads
    q = q.view(1, heads, size).transpose(0, 1)
    k = keys.view(-1, heads, size).transpose(0, 1)
    v = values.view(-1, heads, size).transpose(0, 1)
    scores = torch.matmul(q, k.transpose(1, 2)) / math.sqrt(size)
    return torch.matmul(F.softmax(scores, dim=-1), v).transpose(0, 1).reshape(1, heads * size)


def forward(
    prompt: List[int], embedding: Tensor, w_qkv: Tensor, w_out: Tensor, heads: int, end: int, limit: int
) -> Tuple[Tensor, Tensor]:
    """embedding is [tokens, width] and also reads the result out; gives the tokens and the score of each choice."""
    key_cache: Optional[Tensor] = None
    value_cache: Optional[Tensor] = None
    tokens: List[int] = []
    scores: List[Tensor] = []
    position = 0
    token = prompt[0]
    while len(tokens) < limit:
        x = embedding[token].unsqueeze(0)
        q, k, v = (F.layer_norm(x, [x.size(1)]) @ w_qkv).chunk(3, dim=1)
        if key_cache is None or value_cache is None:
            keys, values = k, v
        else:
            keys, values = torch.cat([key_cache, k]), torch.cat([value_cache, v])
        key_cache, value_cache = keys, values
        position += 1
        if position < len(prompt):
            token = prompt[position]
            continue
        y = x + attend(q, keys, values, heads) @ w_out
        logits = F.log_softmax(y @ embedding.t(), dim=1)
        token = int(logits.argmax().item())
        tokens.append(token)
        scores.append(logits[0, token])
        if token == end:
            break
    if len(scores) == 0:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=embedding.dtype)
    return torch.tensor(tokens), torch.stack(scores)
