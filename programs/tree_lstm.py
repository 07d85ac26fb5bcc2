"""A Tree-LSTM over a binary tree: the state of a node is computed from those of its two children.

The tree is two lists of ints in an order in which children come before parents: a leaf has the left child -1 and its word
in the other list. No recursion, so that every system can run it; the shape of the tree is the control flow.

Source: Tai, Socher and Manning, "Improved Semantic Representations From Tree-Structured LSTM Networks", 2015.
"""

from typing import List, NamedTuple

import torch
from torch import Tensor


class State(NamedTuple):
    h: Tensor
    c: Tensor


def leaf(x: Tensor, w: Tensor, b: Tensor) -> State:
    """w is [inputs, 3 * hidden]."""
    enter, new, show = (x @ w + b).chunk(3)
    c = torch.sigmoid(enter) * torch.tanh(new)
    return State(torch.sigmoid(show) * torch.tanh(c), c)


def inner(left: State, right: State, u: Tensor, b: Tensor) -> State:
    """u is [2 * hidden, 5 * hidden]; each child has its own forget gate."""
    enter, keep_left, keep_right, new, show = (torch.cat([left.h, right.h]) @ u + b).chunk(5)
    c = torch.sigmoid(enter) * torch.tanh(new)
    c = c + torch.sigmoid(keep_left + 1.0) * left.c + torch.sigmoid(keep_right + 1.0) * right.c
    return State(h=torch.sigmoid(show) * torch.tanh(c), c=c)


def forward(
    lefts: List[int],
    rights: List[int],
    embedding: Tensor,
    w_leaf: Tensor,
    b_leaf: Tensor,
    u_inner: Tensor,
    b_inner: Tensor,
    score: Tensor,
) -> Tensor:
    """rights holds a leaf's word; the result is each node's score, [nodes, classes]."""
    assert len(lefts) == len(rights), "a node is an element of both lists"
    states: List[State] = []
    for left, right in zip(lefts, rights):
        if left < 0:
            states.append(leaf(embedding[right], w_leaf, b_leaf))
        else:
            states.append(inner(states[left], states[right], u_inner, b_inner))
    hs = torch.stack([state.h for state in states])
    return torch.log_softmax(hs @ score, dim=1)
