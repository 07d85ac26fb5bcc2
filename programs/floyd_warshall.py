"""The Floyd-Warshall algorithm: all shortest paths of a graph, and the path between two of its nodes.

A loop over the nodes that updates two matrices; then a walk along the remembered first steps, as long as the path is.

Source: Floyd, "Algorithm 97: Shortest path", 1962; Warshall, "A theorem on Boolean matrices", 1962.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def forward(edges: Tensor, source: int, target: int) -> Tuple[Tensor, List[int], Tensor]:
    """edges is [n, n], inf where there is none; gives distances, the nodes of the path, its length.

    The path is empty where there is none. A negative cycle is an error.
    """
    n = edges.size(0)
    distances = edges.clone()
    distances.fill_diagonal_(0.0)
    following = torch.arange(n).unsqueeze(0).expand(n, n).clone()
    for k in range(n):
        through = distances[:, k : k + 1] + distances[k : k + 1, :]
        shorter = through < distances
        distances = torch.where(shorter, through, distances)
        following = torch.where(shorter, following[:, k : k + 1], following)
    if bool((torch.diagonal(distances) < 0).any()):
        raise ValueError("a negative cycle")
    path: List[int] = []
    length = distances[source, target]
    if not bool(torch.isinf(length)):
        node = source
        path.append(node)
        while node != target:
            node = int(following[node, target].item())
            path.append(node)
    return distances, path, length
