"""A language model of characters: the mean loss of predicting each character of a text from those before it.

The text is a string of any length; its characters become embeddings by their codes. How long the loop runs is known only
when the text is there, which makes it the example of a program that a trace cannot hold.

Source: Karpathy, "The Unreasonable Effectiveness of Recurrent Neural Networks", 2015.
"""

from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor


def encode(text: str) -> List[int]:
    """Letters are 1 to 26 whatever their case, all else is 0."""
    codes: List[int] = []
    for letter in text.lower():
        code = ord(letter) - ord("a") + 1
        if code < 1 or code > 26:
            code = 0
        codes.append(code)
    return codes


def forward(text: str, embedding: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> Tuple[Tensor, Tensor]:
    """embedding is [27, inputs], weight [inputs + hidden, 4 * hidden], out [hidden, 27]; gives loss and last state."""
    codes = encode(text)
    hidden = out.size(0)
    h = torch.zeros(1, hidden, dtype=weight.dtype)
    c = torch.zeros(1, hidden, dtype=weight.dtype)
    loss = torch.zeros(1, dtype=weight.dtype)
    for i in range(len(codes) - 1):
        x = embedding[codes[i]].unsqueeze(0)
        gates = torch.cat([x, h], 1) @ weight + bias
        inputs = torch.sigmoid(gates[:, :hidden])
        forget = torch.sigmoid(gates[:, hidden : 2 * hidden])
        cell = torch.tanh(gates[:, 2 * hidden : 3 * hidden])
        output = torch.sigmoid(gates[:, 3 * hidden :])
        c = forget * c + inputs * cell
        h = output * torch.tanh(c)
        loss = loss - F.log_softmax(h @ out, 1)[:, codes[i + 1]]
    if len(codes) > 1:
        loss = loss / (len(codes) - 1)
    return loss, h
