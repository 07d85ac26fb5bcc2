"""Writes torch_ops.safetensors, and PyTorch's part of mlp_steps.safetensors.

    pip install torch numpy
    python make_torch.py
"""

import pathlib

import torch

import mlp
import torch_elementwise
import torch_structured
from suite import Suite
from torch_framework import Torch

HERE = pathlib.Path(__file__).parent


def main():
    torch.set_num_threads(1)
    ops = Suite(Torch())
    for part in (torch_elementwise.unary, torch_elementwise.binary, torch_elementwise.choosing,
                 torch_structured.reducing, torch_structured.moving, torch_structured.products,
                 torch_structured.network, torch_structured.indexing, torch_structured.creating):
        part(ops.case)
    ops.write(HERE / "torch_ops.safetensors")
    mlp.write(HERE / "mlp_steps.safetensors", f"torch {torch.__version__}", mlp_steps())


def mlp_steps():
    """The three steps of mlp.py with torch.autograd."""
    found = {}
    for name in ("float32", "float64"):
        dtype = getattr(torch, name)
        inputs, parameters = mlp.data()
        x, y = torch.tensor(inputs["x"]).to(dtype), torch.tensor(inputs["y"])
        p = {k: torch.tensor(v).to(dtype).requires_grad_() for k, v in parameters.items()}
        losses = []
        for step in range(mlp.STEPS):
            h = torch.relu(x @ p["fc1.w"] + p["fc1.b"])
            h = torch.relu(h @ p["fc2.w"] + p["fc2.b"])
            loss = torch.nn.functional.cross_entropy(h @ p["fc3.w"] + p["fc3.b"], y)
            grads = dict(zip(p, torch.autograd.grad(loss, list(p.values()))))
            losses.append(loss.item())
            if step == 0:
                first = {k: g.numpy() for k, g in grads.items()}
            with torch.no_grad():
                for k in p:
                    p[k] -= mlp.LEARNING_RATE * grads[k]
        final = {k: v.detach().numpy() for k, v in p.items()}
        found |= mlp.record("torch", name, losses, first, final)
    return found


if __name__ == "__main__":
    main()
