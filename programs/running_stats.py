"""A state machine: a class with mutable attributes follows a stream in chunks, its mean, variance, extremes and alarms.

The detector is calm, alert or halted; which state it is in decides what a chunk does. Welford's update merges chunks of any
size, also empty ones.

Source: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor


class Detector:
    def __init__(self, width: int, bound: float, largest: Optional[Tensor]):
        self.count = 0
        self.mean = torch.zeros(width, dtype=torch.float64)
        self.squares = torch.zeros(width, dtype=torch.float64)
        self.largest = largest
        self.bound = bound
        self.state = "calm"
        self.alarms: List[int] = []

    def is_odd(self, chunk: Tensor) -> bool:
        """Whether the chunk's mean is far from what was seen."""
        if self.count < 2:
            return False
        deviation = torch.sqrt(self.squares / (self.count - 1)) + 1e-6
        return bool(((chunk.mean(0) - self.mean).abs() > self.bound * deviation).any())

    def merge(self, chunk: Tensor):
        n = chunk.size(0)
        total = self.count + n
        mean = chunk.mean(0)
        change = mean - self.mean
        self.squares = self.squares + ((chunk - mean) ** 2).sum(0) + change * change * (self.count * n / total)
        self.mean = self.mean + change * (n / total)
        self.count = total
        top = chunk.max(dim=0)[0]
        largest = self.largest
        self.largest = top if largest is None else torch.maximum(largest, top)

    def feed(self, index: int, chunk: Tensor):
        if self.state == "halted" or chunk.size(0) == 0:
            return
        if self.is_odd(chunk):
            self.alarms.append(index)
            self.state = "halted" if self.state == "alert" else "alert"
        else:
            self.state = "calm"
            self.merge(chunk)


def forward(stream: Tensor, sizes: List[int], bound: float) -> Tuple[Tensor, Tensor, Tensor, List[int], int]:
    """stream is [rows, width] of float64; gives mean, variance, largest, the chunks that alarmed, the last state."""
    detector = Detector(stream.size(1), bound, None)
    for i, chunk in enumerate(stream.split(sizes)):
        detector.feed(i, chunk)
    largest = detector.largest
    if largest is None:
        largest = torch.full([stream.size(1)], -float("inf"), dtype=torch.float64)
    variance = detector.squares / max(detector.count - 1, 1)
    state = ["calm", "alert", "halted"].index(detector.state)
    return detector.mean, variance, largest, detector.alarms, state
