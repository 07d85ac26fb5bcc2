"""The Game of Life on a torus: generations until the board repeats one that it had two before, or a limit.

The neighbours are counted by a convolution with a wrapped frame; the rule is a mask.

Source: Gardner, "The fantastic combinations of John Conway's new solitaire game 'life'", 1970.
"""

from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def generation(board: Tensor) -> Tensor:
    """board is [rows, columns] of bool."""
    cells = board.to(torch.float32).unsqueeze(0).unsqueeze(0)
    wrapped = F.pad(cells, [1, 1, 1, 1], mode="circular")
    around = torch.ones(1, 1, 3, 3)
    around[0, 0, 1, 1] = 0.0
    neighbours = F.conv2d(wrapped, around)[0, 0]
    return (neighbours == 3) | (board & (neighbours == 2))


def forward(board: Tensor, limit: int) -> Tuple[Tensor, Tensor, int]:
    """Gives the last board, how many lived in each generation, and the number of generations."""
    population = torch.zeros(limit + 1, dtype=torch.int64)
    population[0] = board.sum()
    before = torch.zeros_like(board)
    count = 0
    while count < limit:
        following = generation(board)
        count += 1
        population[count] = following.sum()
        if torch.equal(following, before) or torch.equal(following, board):
            board = following
            break
        before, board = board, following
    return board, population[: count + 1], count
