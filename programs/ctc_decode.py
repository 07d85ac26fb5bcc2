"""Greedy decoding of connectionist temporal classification: the best label of each frame, repeats merged, blanks left out.

The length of each result depends on the values; results are padded to the longest.

Source: Graves et al., "Connectionist Temporal Classification", 2006.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def forward(logits: Tensor, lengths: Tensor, blank: int) -> Tuple[Tensor, List[int], Tensor]:
    """logits is [time, batch, labels], lengths is [batch]; gives labels padded with -1, their counts, the scores."""
    logs = torch.log_softmax(logits, dim=2)
    values, labels = logs.max(dim=2)
    found: List[List[int]] = []
    scores: List[Tensor] = []
    for b in range(logits.size(1)):
        frames = int(lengths[b].item())
        scores.append(values[:frames, b].sum())
        last = blank
        decoded: List[int] = []
        for t in range(frames):
            label = int(labels[t, b].item())
            if label == last:
                continue
            if label != blank:
                decoded.append(label)
            last = label
        found.append(decoded)
    counts = [len(decoded) for decoded in found]
    longest = 0
    for count in counts:
        if count > longest:
            longest = count
    padded = torch.full([len(found), longest], -1, dtype=torch.int64)
    for b, decoded in enumerate(found):
        if len(decoded) > 0:
            padded[b, : len(decoded)] = torch.tensor(decoded)
    return padded, counts, torch.stack(scores)
