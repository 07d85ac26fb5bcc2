"""L2HMC: a leapfrog integrator whose updates are scaled and shifted by small networks, and its Metropolis step.

The energy is a Gaussian's. Each leapfrog step moves the velocity, the two halves of the position by a mask, and the velocity
again; the sum of the logarithms of the scales is the Jacobian. `steps` is a host number, so a trace unrolls it.

Source: Levy, Hoffman and Sohl-Dickstein, "Generalizing Hamiltonian Monte Carlo with Neural Networks", 2018; a benchmark of
Moldovan et al., "AutoGraph: Imperative-style Coding with Graph-based Performance", 2019.
"""

import math
from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def network(a: Tensor, b: Tensor, time: Tensor, w: List[Tensor]) -> Tuple[Tensor, Tensor, Tensor]:
    """Scale, transform and translation from two inputs and the time, each [batch, size]."""
    hidden = F.relu(a @ w[0] + b @ w[1] + time @ w[2] + w[3])
    scale, transform, shift = (hidden @ w[4] + w[5]).chunk(3, dim=1)
    return torch.tanh(scale), torch.tanh(transform), shift


def energy(x: Tensor, precision: Tensor) -> Tensor:
    return 0.5 * ((x @ precision) * x).sum(dim=1)


def forward(
    x: Tensor,
    v: Tensor,
    uniform: Tensor,
    precision: Tensor,
    masks: Tensor,
    w_v: List[Tensor],
    w_x: List[Tensor],
    epsilon: float,
    steps: int,
) -> Tuple[Tensor, Tensor]:
    """x and v are [batch, size], masks is [steps, size] of 0 and 1; gives the next state and the chance of each move."""
    start = energy(x, precision) + 0.5 * (v * v).sum(1)
    x0 = x
    jacobian = torch.zeros_like(start)
    for i in range(steps):
        angle = 2.0 * math.pi * i / steps
        time = torch.tensor([[math.cos(angle), math.sin(angle)]], dtype=x.dtype)
        for half in range(2):
            slope = x @ precision
            s, q, t = network(x, slope, time, w_v)
            v = v * torch.exp(0.5 * epsilon * s) - 0.5 * epsilon * (slope * torch.exp(epsilon * q) + t)
            jacobian = jacobian + 0.5 * epsilon * s.sum(1)
            if half == 0:
                for mask in [masks[i], 1.0 - masks[i]]:
                    s, q, t = network(v, mask * x, time, w_x)
                    moved = x * torch.exp(epsilon * s) + epsilon * (v * torch.exp(epsilon * q) + t)
                    x = mask * x + (1.0 - mask) * moved
                    jacobian = jacobian + epsilon * ((1.0 - mask) * s).sum(1)
    end = energy(x, precision) + 0.5 * (v * v).sum(1)
    chance = torch.exp(torch.clamp(start - end + jacobian, max=0.0))
    accepted = (uniform < chance).unsqueeze(1)
    return torch.where(accepted, x, x0), chance
