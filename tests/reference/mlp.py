"""Three steps of training a multi-layer perceptron: data, names and the file.

784-512-256-10, relu between, mean cross entropy, 64 rows, plain gradient descent with
learning rate 0.01, y = x W + b with W of [in, out]. Nothing is stored of inputs and
weights: each tensor is a function of its name, in integers, so that any language makes the
same bits.

A name's key is "trifold/0/mlp_train/" followed by the tensor's name. The 64-bit FNV-1a hash of the
key's bytes is the seed of a splitmix64 stream. An element of a real tensor takes the upper 24
bits of its number (elements in row-major order) as u in [0, 1), and is low + (high - low) u,
computed in float64 and rounded to float32. An element of an integer tensor is the upper 53 bits
modulo the count of classes. x is uniform in [0, 1); y has ten classes; weights and biases
are uniform in [-k, k) with k = 1 / sqrt(inputs of the layer). The float64 run starts from the same
float32 values.
"""

import json

import numpy as np

from suite import read_safetensors, write_safetensors

LAYERS = (("fc1", 784, 512), ("fc2", 512, 256), ("fc3", 256, 10))
STEPS, LEARNING_RATE, ROWS, CLASSES, SAMPLE = 3, 0.01, 64, 10, 32


def stream(name, count):
    """`count` numbers of the tensor `name`, as uint64."""
    state = 0xCBF29CE484222325
    for byte in f"trifold/0/mlp_train/{name}".encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    # numpy's arrays of uint64 wrap around.
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(state)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ z >> np.uint64(shift)) * np.uint64(factor)
    return z ^ z >> np.uint64(31)


def uniform(name, shape, low, high):
    u = (stream(name, int(np.prod(shape))) >> np.uint64(40)) / 2.0**24
    return (low + (high - low) * u).astype(np.float32).reshape(shape)


def data():
    """(inputs, parameters): dictionaries of numpy arrays."""
    inputs = {
        "x": uniform("x", (ROWS, LAYERS[0][1]), 0.0, 1.0),
        "y": ((stream("y", ROWS) >> np.uint64(11)) % np.uint64(CLASSES)).astype(np.int64),
    }
    parameters = {}
    for layer, width, out in LAYERS:
        k = (1.0 / width) ** 0.5
        parameters[layer + ".w"] = uniform(layer + ".w", (width, out), -k, k)
        parameters[layer + ".b"] = uniform(layer + ".b", (out,), -k, k)
    return inputs, parameters


def record(framework, dtype, losses, first_gradients, final_parameters):
    """What is stored of a run, as tensors by name."""
    prefix = f"{framework}.{dtype}."
    found = {prefix + "loss": np.array(losses, dtype=dtype)}
    for name, gradient in first_gradients.items():
        found[f"{prefix}abs_grad_sum.{name}"] = np.abs(gradient.astype(np.float64)).sum()
    for name, value in final_parameters.items():
        flat = value.reshape(-1)
        count = min(SAMPLE, flat.size)
        found[f"{prefix}sample.{name}"] = flat[np.arange(count) * flat.size // count]
    return {
        name: (str(array.dtype), array.shape, np.ascontiguousarray(array).tobytes())
        for name, array in found.items()
    }


def write(path, version, found):
    """Puts a framework's tensors into the file, beside those of the others."""
    framework = version.split()[0]
    tensors, made = {}, {}
    if path.exists():
        tensors, metadata = read_safetensors(path)
        made = json.loads(metadata["about"])["made"]
    short = "torch" if framework == "torch" else "tf"
    tensors = {k: v for k, v in tensors.items() if not k.startswith(short + ".")} | found
    made[short] = version
    about = {
        "program": "mlp.py: 784-512-256-10, relu, mean cross entropy, 64 rows, 3 steps of SGD, learning rate 0.01",
        "names": {
            "{framework}.{dtype}.loss": "loss of each step before its update, [3]",
            "{framework}.{dtype}.abs_grad_sum.{parameter}":
                "sum of the gradient's magnitudes at the first step, added in float64",
            "{framework}.{dtype}.sample.{parameter}":
                "32 elements (all, if fewer) after the third update: those at i * size // 32 of the row-major order",
        },
        "made": dict(sorted(made.items())),
    }
    tensors = dict(sorted(tensors.items()))
    write_safetensors(path, tensors, {"about": json.dumps(about)})
    print(f"{path.name}: {len(tensors)} tensors of {', '.join(about['made'].values())}, {path.stat().st_size} bytes")
