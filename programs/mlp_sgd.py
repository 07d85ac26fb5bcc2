"""Training steps of a multi-layer perceptron inside of the program: forward, backward and plain gradient descent.

The gradients come from torch.autograd.grad, so the whole of training is one function of data and weights, and the weights
that it is given stay as they are.

Source: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", 1986.
"""

from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def network(x: Tensor, weights: List[Tensor]) -> Tensor:
    """Weights and biases in turn; relu between the layers."""
    layers = len(weights) // 2
    for i in range(layers):
        x = torch.addmm(weights[2 * i + 1], x, weights[2 * i])
        if i + 1 < layers:
            x = torch.relu(x)
    return x


def forward(x: Tensor, labels: Tensor, start: List[Tensor], rate: float, steps: int) -> Tuple[Tensor, List[Tensor]]:
    """Gives the loss before each step and the weights after the last."""
    weights = [w.detach().clone() for w in start]
    losses: List[Tensor] = []
    for step in range(steps):
        leaves = [w.requires_grad_() for w in weights]
        loss = F.cross_entropy(network(x, leaves), labels)
        losses.append(loss.detach())
        grads = torch.autograd.grad([loss], leaves)
        updated: List[Tensor] = []
        for w, g in zip(leaves, grads):
            assert g is not None
            updated.append(w.detach() - rate * g)
        weights = updated
    return torch.stack(losses), weights
