"""Viterbi decoding: the likeliest path through a chain of hidden states, and its score.

Forwards a maximum over a matrix in each step, then back along the remembered choices: a list of tensors written in one loop
and read in reverse by another.

Source: Viterbi, "Error bounds for convolutional codes", 1967.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def forward(emissions: Tensor, transitions: Tensor, start: Tensor, lengths: List[int]) -> Tuple[Tensor, Tensor]:
    """emissions is [batch, time, states]; gives scores [batch], and paths [batch, time] with -1 after each one's end."""
    batch, time = emissions.size(0), emissions.size(1)
    paths = torch.full([batch, time], -1, dtype=torch.int64)
    totals: List[Tensor] = []
    for b in range(batch):
        score = start + emissions[b, 0]
        choices: List[Tensor] = []
        for t in range(1, lengths[b]):
            best, choice = torch.max(score.unsqueeze(1) + transitions, dim=0)
            score = best + emissions[b, t]
            choices.append(choice)
        total, state = score.max(dim=0)
        totals.append(total)
        t = lengths[b] - 1
        paths[b, t] = state
        while t > 0:
            t -= 1
            state = choices[t][state]
            paths[b, t] = state
    return torch.stack(totals), paths
