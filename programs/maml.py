"""Model-agnostic meta-learning: the loss after a few steps of gradient descent that a program takes by itself.

The inner gradients are made with create_graph, so the outer gradient of the result runs through them: second derivatives of
a small regression network. The outer gradient is the caller's; where an input asks for none, the inner loop still works.

Source: Finn, Abbeel and Levine, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", 2017.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def network(x: Tensor, weights: List[Tensor]) -> Tensor:
    return torch.tanh(x @ weights[0] + weights[1]) @ weights[2] + weights[3]


def loss_of(x: Tensor, y: Tensor, weights: List[Tensor]) -> Tensor:
    difference = network(x, weights) - y
    return (difference * difference).mean()


def forward(
    weights: List[Tensor], x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, rate: float, steps: int
) -> Tuple[Tensor, Tensor]:
    """x and y are [tasks, rows, 1]; gives the mean loss over the tasks after adapting to each, and each task's."""
    losses: List[Tensor] = []
    for task in range(x.size(0)):
        adapted = [w if w.requires_grad else w.detach().requires_grad_() for w in weights]
        for step in range(steps):
            loss = loss_of(x[task], y[task], adapted)
            grads = torch.autograd.grad([loss], adapted, create_graph=True)
            updated: List[Tensor] = []
            for w, g in zip(adapted, grads):
                assert g is not None
                updated.append(w - rate * g)
            adapted = updated
        losses.append(loss_of(x_test[task], y_test[task], adapted))
    each = torch.stack(losses)
    return each.mean(), each
