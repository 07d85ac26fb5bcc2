"""Times the programs of this folder in trifold and in real PyTorch, side by side in one run.

    cargo build --release
    python benches/programs/peers.py target/release/trifold [--rounds 4] [--only lstm_train] [--forward] [--compile]

In each round trifold (`trifold compare PROGRAM --grad`, one thread) is followed by PyTorch's eager mode, torch.jit.script
and, if asked for, torch.compile on the same file and the same arguments. The lines give the medians over the rounds and
their ratios; above 1 trifold is faster. Needs torch, numpy and safetensors' format only (written here).
"""

import argparse
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent


def forest(rng, trees=20, least=5, most=25):
    """Random binary trees in post order: the children of each node, -1 at a leaf, and each leaf's row."""
    left, right, leaf, rows = [], [], [], 0

    def build(low, high):
        if high - low == 1:
            left.append(-1), right.append(-1), leaf.append(low)
        else:
            middle = low + 1 + int(rng.integers(high - low - 1))
            a, b = build(low, middle), build(middle, high)
            left.append(a), right.append(b), leaf.append(-1)
        return len(leaf) - 1

    for _ in range(trees):
        count = least + int(rng.integers(most - least + 1))
        build(rows, rows + count)
        rows += count
    return left, right, leaf, rows


def program(name):
    """The file of a workload: lengths_1000 is lengths.py on up to 200 lengths from 1000 to 1999."""
    return "lengths" if name.startswith("lengths_") else name


def arguments(name):
    rng = np.random.default_rng(7)

    def uniform(*shape, scale=1.0):
        return rng.uniform(-scale, scale, shape).astype(np.float32)

    if name == "lstm_train":
        t, b, d, h = 50, 32, 128, 128
        k = h**-0.5
        return {"x": uniform(t, b, d), "wx": uniform(d, 4 * h, scale=k), "wh": uniform(h, 4 * h, scale=k), "b": uniform(4 * h, scale=k)}
    if name == "treelstm":
        left, right, leaf, rows = forest(rng)
        h = 64
        return {
            "left": np.array(left), "right": np.array(right), "leaf": np.array(leaf), "embedding": uniform(rows, h),
            "leaf_w": uniform(h, 3 * h, scale=h**-0.5), "leaf_b": uniform(3 * h, scale=h**-0.5),
            "node_w": uniform(2 * h, 5 * h, scale=(2 * h) ** -0.5), "node_b": uniform(5 * h, scale=(2 * h) ** -0.5),
        }
    if name == "while_loop":
        return {"n": np.array(1412987847, dtype=np.int64)}
    if name == "small_ops":
        return {"x": uniform(16), "y": uniform(16)}
    if program(name) == "lengths":
        least = int(name.removeprefix("lengths_"))
        lengths = least + rng.permutation(least)[:200]
        return {"x": uniform(2 * least), "w": uniform(2 * least), "lengths": lengths.astype(np.int64)}
    raise SystemExit(f"no program is called {name}")


def write(path, tensors):
    header, data = {}, b""
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        kind = {"float32": "F32", "int64": "I64"}[str(array.dtype)]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def torch_step(name, values, how, grad):
    sys.path.insert(0, str(HERE))
    function = how(getattr(__import__(program(name)), "forward"))
    args = [v.tolist() if v.ndim == 1 and v.dtype == np.int64 else torch.tensor(v) for v in values.values()]
    floats = [a for a in args if grad and isinstance(a, torch.Tensor) and a.is_floating_point()]
    for a in floats:
        a.requires_grad_()

    def step():
        out = function(*args)
        if floats:
            torch.autograd.grad(out.sum(), floats)

    return step


def timed(step, seconds):
    for _ in range(5):
        step()
    samples, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(samples) < 5:
        start = time.perf_counter()
        step()
        samples.append(time.perf_counter() - start)
    return statistics.median(samples) * 1e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trifold")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", default=["lstm_train", "treelstm", "while_loop", "small_ops"])
    parser.add_argument("--modes", default="torch,torch.script")
    parser.add_argument("--forward", action="store_true", help="no gradients")
    parser.add_argument("--compile", action="store_true", help="time torch.compile too (minutes for loops that it unrolls)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    modes = options.modes.split(",")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            values = arguments(name)
            path = pathlib.Path(folder) / f"{name}.safetensors"
            write(path, values)
            grad = name != "while_loop" and not options.forward
            hows = {"eager": lambda f: f, "jit.script": torch.jit.script}
            if options.compile:
                hows["compile"] = torch.compile
            steps = {key: torch_step(name, values, how, grad) for key, how in hows.items()}
            times = {}
            for _ in range(options.rounds):
                out = pathlib.Path(folder) / "out.json"
                command = [options.trifold, "compare", str(HERE / f"{program(name)}.py"), "--args", str(path), "--quick", "--threads", "1"]
                command += ["--modes", ",".join(modes), "--json", str(out)]
                command += ["--grad"] if grad else []
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for record in json.loads(out.read_text())["results"]:
                    if record.get("median_s"):
                        times.setdefault(record["mode"], []).append(record["median_s"] * 1e3)
                for key, step in steps.items():
                    times.setdefault(key, []).append(timed(step, options.seconds))
            show = {k: f"{statistics.median(v):.3f} ms ({min(v):.3f} .. {max(v):.3f})" for k, v in times.items()}
            peers = [("torch", "eager"), ("torch.script", "jit.script"), ("torch.compile", "compile")]
            pairs = [(a, b) for a, b in peers if a in times and b in times]
            ratios = [f"{a} against {b} {statistics.median(times[b]) / statistics.median(times[a]):.2f}x" for a, b in pairs]
            print(f"{name}: " + ", ".join(f"{k} {v}" for k, v in show.items()) + "; " + ", ".join(ratios), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
