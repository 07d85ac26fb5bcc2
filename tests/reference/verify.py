"""Reads reference files back and runs their cases in PyTorch: the files mean what they say, and TensorFlow and
PyTorch agree where both have values.

    pip install torch numpy
    python verify.py [FILE...]          # without names, all files beside this script
"""

import json
import pathlib
import sys

import torch

from suite import read_safetensors
from program_framework import flat as flat_program, load
from torch_framework import flat, resolve

HERE = pathlib.Path(__file__).parent


def decoded(value, tensors):
    if isinstance(value, str):
        return tensors[value[1:]] if value.startswith("$") else value
    if isinstance(value, list):
        return [decoded(v, tensors) for v in value]
    if isinstance(value, dict):
        (kind, inner), = value.items()
        return {"dtype": lambda: getattr(torch, inner), "slice": lambda: slice(*inner), "float": lambda: float(inner)}[kind]()
    return value


def tensor(dtype, shape, data):
    dtype = getattr(torch, dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape) if data else torch.empty(shape, dtype=dtype)


def close(got, want, case):
    tolerance = {k: case[k] for k in ("rtol", "atol") if k in case}
    torch.testing.assert_close(got, want, equal_nan=True, **tolerance)


def check(case, stored):
    program = case.get("program")
    if not program and not case["call"].startswith("torch."):
        return  # TensorFlow's own meaning
    call = getattr(load(program), case["call"]) if program else resolve(case["call"])
    tensors = dict(stored)
    for name in case.get("grads", {}):
        tensors[name] = tensors[name].clone().requires_grad_()
    args, kwargs = decoded(case["args"], tensors), {k: decoded(v, tensors) for k, v in case.get("kwargs", {}).items()}
    if "error" in case:
        try:
            call(*args, **kwargs)
        except Exception:
            return
        raise AssertionError("no error")
    outputs = (flat_program if program else flat)(call(*args, **kwargs))
    assert len(outputs) == len(case["outputs"])
    for got, name in zip(outputs, case["outputs"]):
        close(got.detach(), stored[name], case)
    if "grads" in case:
        assert len(case["cotangents"]) == len(outputs)
        pairs = [(o, stored[c]) for o, c in zip(outputs, case["cotangents"]) if c]
        grads = torch.autograd.grad([o for o, _ in pairs], [tensors[n] for n in case["grads"]], [c for _, c in pairs])
        for got, name in zip(grads, case["grads"].values()):
            close(got, stored[name], case)


def steps(path, stored):
    """The losses, gradients and parameters of every framework against those of PyTorch in float64."""
    failed = 0
    for name, got in stored.items():
        want = stored["torch.float64." + name.split(".", 2)[2]]
        error = ((got.double() - want).abs() / want.abs().clamp(min=1e-2)).max().item()
        failed += error > (1e-5 if ".float32." in name else 1e-12)
        if name.endswith("loss"):
            print(f"  {name}: {got.tolist()}")
    print(f"{path.name}: {len(stored) - failed} agree, {failed} do not")
    return failed


def main():
    failures = 0
    for path in [pathlib.Path(a) for a in sys.argv[1:]] or sorted(HERE.glob("*.safetensors*")):
        stored, metadata = read_safetensors(path)
        stored = {name: tensor(*t) for name, t in stored.items()}
        if "cases" not in metadata:
            failures += steps(path, stored)
            continue
        cases, failed = json.loads(metadata["cases"]), 0
        for case in cases:
            try:
                check(case, stored)
            except Exception as reason:
                failed += 1
                print(f"{case['id']}: {case['call']}: {' '.join(str(reason).split())[:200]}")
        print(f"{path.name}: {len(cases) - failed} passed, {failed} failed")
        failures += failed
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
