"""An LSTM cell of primitive operations over a loop, and the loss that trains it: 50 steps, batch 32, 128 to 128.

Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997.
"""

import torch
from torch import Tensor


def forward(x: Tensor, wx: Tensor, wh: Tensor, b: Tensor) -> Tensor:
    """x is [time, batch, inputs], wx and wh are [inputs or hidden, 4 * hidden]; gives the last state's mean square."""
    h = torch.zeros(x.size(1), wh.size(0), dtype=x.dtype)
    c = h
    for t in range(x.size(0)):
        z = x[t] @ wx + h @ wh + b
        i, f, g, o = torch.chunk(z, 4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
    return (h * h).sum() / x.size(1)
