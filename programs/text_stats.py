"""Statistics of a text with dicts and strings: how often each word stands there, the entropy, the most frequent words.

Nothing but the host's values until the last lines, where the counts become a tensor.

Source: Shannon, "Prediction and Entropy of Printed English", 1951.
"""

from typing import Dict, List, Tuple

import torch
from torch import Tensor


def words_of(text: str) -> List[str]:
    """Runs of letters, in lower case."""
    words: List[str] = []
    word = ""
    for letter in text.lower():
        if letter.isalpha():
            word += letter
        elif word != "":
            words.append(word)
            word = ""
    if word != "":
        words.append(word)
    return words


def forward(text: str, top: int, weight: Tensor) -> Tuple[Tensor, Tensor, List[int], Dict[str, int]]:
    """Gives the entropy times weight, counts by first standing, lengths of the most frequent words, counts by length."""
    counts: Dict[str, int] = {}
    by_length: Dict[str, int] = {}
    for word in words_of(text):
        counts[word] = counts.get(word, 0) + 1
        key = "{}".format(len(word)) if len(word) < 8 else "long"
        if key not in by_length:
            by_length[key] = 0
        by_length[key] += 1
    ranked: List[Tuple[int, str]] = []
    for word, count in counts.items():
        ranked.append((-count, word))
    ranked.sort()
    lengths = [len(word) for count, word in ranked[:top]]
    table = torch.tensor([count for count in counts.values()], dtype=torch.float32)
    if table.numel() == 0:
        return 0.0 * weight, table, lengths, by_length
    shares = table / table.sum()
    entropy = -(shares * torch.log2(shares)).sum()
    return entropy * weight, table, lengths, by_length
