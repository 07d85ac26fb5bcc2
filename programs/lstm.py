"""A long short-term memory over a loop, with the loss that trains it.

One step computes all four gates in one product of the input and the state with one matrix. The last state is classified,
and the loss is the mean cross entropy.

Source: Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; forget gates of Gers, Schmidhuber and Cummins, 2000.
"""

from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def step(x: Tensor, h: Tensor, c: Tensor, weight: Tensor, bias: Tensor) -> Tuple[Tensor, Tensor]:
    """One step: x is [batch, inputs], h and c are [batch, hidden], weight is [inputs + hidden, 4 * hidden]."""
    gates = torch.cat([x, h], dim=1) @ weight + bias
    write, keep, new, show = gates.chunk(4, dim=1)
    c = torch.sigmoid(keep) * c + torch.sigmoid(write) * torch.tanh(new)
    h = torch.sigmoid(show) * torch.tanh(c)
    return h, c


def forward(
    xs: Tensor, weight: Tensor, bias: Tensor, classifier: Tensor, labels: Tensor
) -> Tuple[Tensor, Tensor, Tensor]:
    """xs is [time, batch, inputs], classifier is [hidden, classes]; gives the loss and the last state."""
    hidden = bias.size(0) // 4
    h = torch.zeros(xs.size(1), hidden, dtype=xs.dtype)
    c = torch.zeros_like(h)
    for t in range(xs.size(0)):
        h, c = step(xs[t], h, c, weight, bias)
    loss = F.cross_entropy(h @ classifier, labels)
    return loss, h, c
