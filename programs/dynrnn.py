"""A dynamic recurrent network: sequences of different lengths in one batch, by a mask and a loop to the longest.

After a sequence's end its output is zero and its state stays. The loop's end is a tensor's largest element.

Source: tf.nn.dynamic_rnn as AutoGraph's benchmark writes it, in Moldovan et al., "AutoGraph: Imperative-style Coding with
Graph-based Performance", 2019.
"""

from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def forward(xs: Tensor, lengths: Tensor, w_x: Tensor, w_h: Tensor, bias: Tensor) -> Tuple[Tensor, Tensor]:
    """xs is [batch, time, inputs], lengths is [batch]; gives outputs [batch, time, hidden] and the last states."""
    batch, time = xs.size(0), xs.size(1)
    xs = xs.transpose(0, 1)
    state = torch.zeros(batch, w_h.size(0), dtype=xs.dtype)
    outputs: List[Tensor] = []
    longest = int(lengths.max().item())
    for t in range(longest):
        following = torch.tanh(xs[t] @ w_x + state @ w_h + bias)
        live = (lengths > t).unsqueeze(1)
        outputs.append(torch.where(live, following, torch.zeros_like(following)))
        state = torch.where(live, following, state)
    if longest == 0:
        return torch.zeros(batch, time, w_h.size(0), dtype=xs.dtype), state
    stacked = torch.stack(outputs).transpose(0, 1)
    return F.pad(stacked, [0, 0, 0, time - longest]), state
