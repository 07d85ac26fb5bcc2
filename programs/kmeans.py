"""k-means: points are assigned to their nearest centre and centres move to the means, until no point changes.

A centre that has lost its points is put on the point farthest from its own centre: a branch that few inputs take.

Source: Lloyd, "Least squares quantization in PCM", 1982.
"""

from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def forward(points: Tensor, centres: Tensor, limit: int) -> Tuple[Tensor, Tensor, Tensor, int]:
    """points is [n, d], centres is [k, d]; gives centres, assignments, the sum of squared distances and the rounds."""
    k = centres.size(0)
    assigned = torch.full([points.size(0)], -1, dtype=torch.int64)
    nearest = torch.zeros(points.size(0), dtype=points.dtype)
    rounds = 0
    for i in range(limit):
        distances = (points.unsqueeze(1) - centres.unsqueeze(0)).pow(2).sum(2)
        nearest, places = distances.min(dim=1)
        if bool((places == assigned).all()):
            break
        rounds += 1
        assigned = places
        one_hot = F.one_hot(assigned, k).to(points.dtype)
        counts = one_hot.sum(0)
        means = (one_hot.t() @ points) / counts.clamp(min=1.0).unsqueeze(1)
        if bool((counts == 0).any()):
            farthest = points[nearest.argmax()]
            means = torch.where((counts == 0).unsqueeze(1), farthest.unsqueeze(0), means)
        centres = means
    return centres, assigned, nearest.sum(), rounds
