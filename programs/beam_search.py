"""Beam search in a Markov model of tokens: the likeliest sequence by its mean log-probability.

Every step continues each open beam by every token and keeps the best `width`; a beam that takes the token `end` is closed.
Lists of lists grow with the search, and the loop ends when no open beam is left.

Source: Lowerre, "The HARPY Speech Recognition System", 1976; the norm of length as in Wu et al., "Google's Neural Machine
Translation System", 2016.
"""

from typing import List, Tuple

import torch
from torch import Tensor


def forward(logits: Tensor, start: int, end: int, width: int, limit: int) -> Tuple[Tensor, Tensor, int]:
    """logits is [tokens, tokens], row by row what follows a token; gives the sequence, its score, the beams closed."""
    table = torch.log_softmax(logits, dim=1)
    tokens = logits.size(1)
    beams: List[List[int]] = [[start]]
    scores = torch.zeros(1, dtype=logits.dtype)
    best: List[int] = []
    best_score = torch.full([1], -float("inf"), dtype=logits.dtype)
    closed = 0
    length = 0
    while len(beams) > 0 and length < limit:
        length += 1
        last = torch.tensor([beam[-1] for beam in beams])
        total = scores.unsqueeze(1) + table[last]
        values, places = torch.topk(total.flatten(), min(width, total.numel()))
        open_beams: List[List[int]] = []
        open_places: List[int] = []
        for i in range(places.size(0)):
            place = int(places[i].item())
            beam = beams[place // tokens] + [place % tokens]
            if beam[-1] == end:
                closed += 1
                mean = values[i : i + 1] / length
                if bool(mean > best_score):
                    best, best_score = beam, mean
            else:
                open_beams.append(beam)
                open_places.append(i)
        beams = open_beams
        if len(open_places) > 0:
            scores = values[torch.tensor(open_places)]
    if len(best) == 0:
        best, best_score = beams[0], scores[:1] / length
    return torch.tensor(best), best_score, closed
