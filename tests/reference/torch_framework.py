"""PyTorch as the framework of a suite (see suite.py)."""

import functools

import torch

from suite import Dtype, mapped

# What a call means where the name's own signature does not take the case's arguments as they are.
ADAPTED = {
    "torch.Tensor.__getitem__": lambda x, index: x[tuple(index) if isinstance(index, list) else index],
}


def resolve(call):
    names = call.split(".")
    assert names[0] == "torch", call
    return ADAPTED.get(call) or functools.reduce(getattr, names[1:], torch)


def flat(result):
    if result is None:
        return []
    if isinstance(result, (list, tuple)):
        return [t for part in result for t in flat(part)]
    return [result if isinstance(result, torch.Tensor) else torch.tensor(result)]


def host(value):
    return getattr(torch, value.name) if isinstance(value, Dtype) else value


class Torch:
    def tensor(self, array, dtype):
        return torch.tensor(array).to(getattr(torch, dtype)).contiguous()

    def export(self, tensor):
        tensor = tensor.detach().contiguous()
        raw = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
        return str(tensor.dtype)[6:], tuple(tensor.shape), raw.numpy().tobytes()

    def widen(self, tensor):
        return tensor.double()

    def has_grad(self, tensor):
        return tensor.dtype in (torch.float32, torch.float64)

    def run(self, call, args, kwargs):
        return flat(resolve(call)(*mapped(host, args), **mapped(host, kwargs)))

    def grad(self, call, args, kwargs, leaves, draw):
        twins = {i: t.clone().requires_grad_() for i, t in leaves.items()}
        by_id = {id(t): twins[i] for i, t in leaves.items()}
        swap = lambda v: by_id.get(id(v), v)
        outputs = self.run(call, mapped(swap, args), mapped(swap, kwargs))
        cotangents = [torch.tensor(draw(tuple(t.shape))).to(t.dtype) if t.requires_grad else None
                      for t in outputs]
        pairs = [(t, c) for t, c in zip(outputs, cotangents) if c is not None]
        if not pairs:
            return outputs, [], {}
        grads = torch.autograd.grad([t for t, _ in pairs], list(twins.values()), [c for _, c in pairs],
                                    allow_unused=True)
        return outputs, cotangents, {i: g for i, g in zip(twins, grads) if g is not None}
