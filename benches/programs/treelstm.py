"""Tree-LSTMs over a forest of binary trees, each node by itself: the trees are lists of ints, children before parents.

Source: Tai, Socher and Manning, "Improved Semantic Representations From Tree-Structured LSTM Networks", 2015.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def tree_leaf(x: Tensor, w: Tensor, b: Tensor) -> Tuple[Tensor, Tensor]:
    z = x @ w + b
    i, o, u = torch.chunk(z, 3, 1)
    c = torch.sigmoid(i) * torch.tanh(u)
    return torch.sigmoid(o) * torch.tanh(c), c


def tree_node(hl: Tensor, cl: Tensor, hr: Tensor, cr: Tensor, w: Tensor, b: Tensor) -> Tuple[Tensor, Tensor]:
    z = torch.cat([hl, hr], 1) @ w + b
    i, fl, fr, o, u = torch.chunk(z, 5, 1)
    c = torch.sigmoid(i) * torch.tanh(u) + torch.sigmoid(fl) * cl + torch.sigmoid(fr) * cr
    return torch.sigmoid(o) * torch.tanh(c), c


def forward(
    left: List[int],
    right: List[int],
    leaf: List[int],
    embedding: Tensor,
    leaf_w: Tensor,
    leaf_b: Tensor,
    node_w: Tensor,
    node_b: Tensor,
) -> Tensor:
    """Node k is a leaf with row leaf[k] of the embedding, or leaf[k] is -1; a root has no parent and ends its tree."""
    total = torch.zeros((), dtype=embedding.dtype)
    used = [False for _ in leaf]
    for k in range(len(leaf)):
        if leaf[k] < 0:
            used[left[k]] = True
            used[right[k]] = True
    hs: List[Tensor] = []
    cs: List[Tensor] = []
    for k in range(len(leaf)):
        if leaf[k] >= 0:
            h, c = tree_leaf(embedding[leaf[k] : leaf[k] + 1], leaf_w, leaf_b)
        else:
            h, c = tree_node(hs[left[k]], cs[left[k]], hs[right[k]], cs[right[k]], node_w, node_b)
        hs.append(h)
        cs.append(c)
        if not used[k]:
            total = total + (h * h).sum()
    return total
