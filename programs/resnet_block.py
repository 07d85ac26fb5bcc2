"""A residual block of convolutions with batch normalisation, for training or for inference.

In training the statistics are the batch's and the running ones are returned updated; a projection stands on the shortcut
where the block changes channels or size.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016; Ioffe and Szegedy, "Batch Normalization", 2015.
"""

from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def normalised(
    x: Tensor, mean: Tensor, var: Tensor, scale: Tensor, shift: Tensor, training: bool
) -> Tuple[Tensor, Tensor, Tensor]:
    """The result, and the running mean and variance after it."""
    if training:
        count = x.numel() // x.size(1)
        batch_mean = x.mean(dim=[0, 2, 3])
        batch_var = x.var(dim=[0, 2, 3], unbiased=False)
        y = F.batch_norm(x, None, None, scale, shift, True)
        mean = 0.9 * mean + 0.1 * batch_mean.detach()
        var = 0.9 * var + 0.1 * batch_var.detach() * count / max(count - 1, 1)
        return y, mean, var
    return F.batch_norm(x, mean, var, scale, shift, False), mean, var


def forward(
    x: Tensor,
    first: Tensor,
    second: Tensor,
    projection: Optional[Tensor],
    running: Tensor,
    affine: Tensor,
    stride: int,
    training: bool,
) -> Tuple[Tensor, Tensor]:
    """x is [batch, channels, rows, columns]; running and affine are [2, 2, channels out]."""
    means, variances = running.detach().unbind(1)
    scales, shifts = affine.unbind(1)
    y = F.conv2d(x, first, stride=stride, padding=1)
    y, mean0, var0 = normalised(y, means[0], variances[0], scales[0], shifts[0], training)
    y = F.conv2d(F.relu(y), second, padding=1)
    y, mean1, var1 = normalised(y, means[1], variances[1], scales[1], shifts[1], training)
    if projection is not None:
        x = F.conv2d(x, projection, stride=stride)
    return F.relu(x + y), torch.stack([mean0, var0, mean1, var1])
