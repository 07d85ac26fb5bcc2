"""The programs of `programs/` as the framework of a suite (see suite.py): eagerly, and through torch.jit.script."""

import importlib.util
import pathlib
import sys

import torch

from torch_framework import Torch

PROGRAMS = pathlib.Path(__file__).parent.parent.parent / "programs"


def load(program):
    spec = importlib.util.spec_from_file_location(program.removesuffix(".py"), PROGRAMS / program)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where torch.jit.script looks for the names of a class
    spec.loader.exec_module(module)
    return module


def flat(result):
    """The tensors of a result in order: a host number is a tensor of rank 0 that holds it whole, a list of ints one of
    rank 1."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, dict):
        return flat(tuple(result.values()))
    if isinstance(result, list) and all(type(v) is int for v in result):
        return [torch.tensor(result, dtype=torch.int64)]
    if isinstance(result, (list, tuple)):
        return [t for part in result for t in flat(part)]
    return [torch.tensor(result, dtype={bool: torch.bool, int: torch.int64, float: torch.float64}[type(result)])]


class Eager(Torch):
    """Programs as calls: `programs.lstm` is `forward` of lstm.py."""

    def __init__(self):
        self.modules = {}

    def module(self, program):
        if program not in self.modules:
            self.modules[program] = load(program)
        return self.modules[program]

    def run(self, call, args, kwargs):
        return flat(self.module(call.split(".")[1] + ".py").forward(*args))


class Scripted(Eager):
    """The same through torch.jit.script, which remembers what it made of a function: these functions are new ones."""

    def module(self, program):
        if program not in self.modules:
            self.modules[program] = type("Script", (), {"forward": torch.jit.script(load(program).forward)})
        return self.modules[program]
