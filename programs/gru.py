"""A gated recurrent unit over a loop that keeps every state, forwards or backwards in time.

The reset gate applies to the product of the state, as in cuDNN and in torch.nn.GRU.

Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def step(x: Tensor, h: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor) -> Tensor:
    """One step: w_x is [inputs, 3 * hidden], w_h is [hidden, 3 * hidden]."""
    from_x = torch.addmm(b_x, x, w_x)
    from_h = torch.addmm(b_h, h, w_h)
    reset_x, update_x, new_x = from_x.chunk(3, 1)
    reset_h, update_h, new_h = from_h.chunk(3, 1)
    reset = torch.sigmoid(reset_x + reset_h)
    update = torch.sigmoid(update_x + update_h)
    new = torch.tanh(new_x + reset * new_h)
    return new + update * (h - new)


def forward(
    xs: Tensor, w_x: Tensor, w_h: Tensor, b_x: Tensor, b_h: Tensor, backwards: bool = False
) -> Tuple[Tensor, Tensor]:
    """xs is [time, batch, inputs]; gives all states, [time, batch, hidden], in the order of time, and the last one."""
    time = xs.size(0)
    h = torch.zeros(xs.size(1), w_h.size(0), dtype=xs.dtype)
    states: List[Tensor] = []
    for i in range(time):
        t = time - 1 - i if backwards else i
        h = step(xs[t], h, w_x, w_h, b_x, b_h)
        states.append(h)
    if backwards:
        states.reverse()
    return torch.stack(states), h
