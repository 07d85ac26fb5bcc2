"""Writes torch_more.safetensors: the operations beyond those of make_torch.py.

    pip install torch numpy
    python make_torch_more.py
"""

import pathlib

import torch

import torch_more
from suite import Suite
from torch_framework import Torch

HERE = pathlib.Path(__file__).parent


def main():
    torch.set_num_threads(1)
    ops = Suite(Torch())
    for part in (torch_more.elements, torch_more.pairs, torch_more.activations, torch_more.losses,
                 torch_more.reductions, torch_more.arranging, torch_more.indexing, torch_more.products):
        part(ops.case)
    ops.write(HERE / "torch_more.safetensors")


if __name__ == "__main__":
    main()
