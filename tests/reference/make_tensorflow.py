"""Writes tensorflow_ops.safetensors, and TensorFlow's part of mlp_steps.safetensors.

    pip install tensorflow-cpu numpy
    python make_tensorflow.py

Only operations whose meaning is the same in both systems are here. A case names PyTorch's operation, as
in every reference file; its values and gradients are those of TensorFlow's (CALLS).
"""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf

import mlp
from suite import Dtype, Suite, bools, floats, ints, values

HERE = pathlib.Path(__file__).parent
F = "torch.nn.functional."
INF = float("inf")


def reduction(function):
    return lambda x, dim=None, keepdim=False: function(x, axis=dim, keepdims=keepdim)


def layer_norm(x, shape, weight, bias, eps=1e-5):
    axes = list(range(-len(shape), 0))
    mean, variance = tf.nn.moments(x, axes, keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + eps) * weight + bias


def averaged(loss):
    """A function that gives a loss for each row or element, with torch's `reduction`."""
    def function(*args, reduction="mean"):
        each = loss(*args)
        return {"mean": tf.reduce_mean, "sum": tf.reduce_sum, "none": tf.identity}[reduction](each)
    return function


UNARY = {
    "neg": tf.negative, "abs": tf.abs, "exp": tf.exp, "expm1": tf.math.expm1, "log": tf.math.log,
    "log1p": tf.math.log1p, "sqrt": tf.sqrt, "rsqrt": tf.math.rsqrt, "reciprocal": tf.math.reciprocal,
    "square": tf.square, "sin": tf.sin, "cos": tf.cos, "tan": tf.tan, "tanh": tf.tanh, "sigmoid": tf.sigmoid,
    "erf": tf.math.erf, "relu": tf.nn.relu, "floor": tf.floor, "ceil": tf.math.ceil, "round": tf.round,
    "sign": tf.sign,
}
BINARY = {
    "add": tf.add, "sub": tf.subtract, "mul": tf.multiply, "div": tf.divide, "pow": tf.pow, "maximum": tf.maximum,
    "minimum": tf.minimum, "atan2": tf.math.atan2, "remainder": tf.math.floormod,
}
CALLS = {"torch." + name: function for name, function in (UNARY | BINARY).items()} | {
    "torch.sum": reduction(tf.reduce_sum), "torch.mean": reduction(tf.reduce_mean),
    "torch.prod": reduction(tf.reduce_prod), "torch.amax": reduction(tf.reduce_max),
    "torch.amin": reduction(tf.reduce_min), "torch.logsumexp": reduction(tf.reduce_logsumexp),
    "torch.argmax": lambda x, dim: tf.argmax(x, dim), "torch.argmin": lambda x, dim: tf.argmin(x, dim),
    "torch.cumsum": tf.cumsum, "torch.matmul": tf.matmul,
    "torch.var": lambda x, dim, correction: tf.math.reduce_variance(x, dim),      # correction is 0
    F + "linear": lambda x, w, b: tf.tensordot(x, w, [[-1], [1]]) + b,
    F + "softmax": tf.nn.softmax, F + "log_softmax": tf.nn.log_softmax, F + "layer_norm": layer_norm,
    F + "gelu": lambda x, approximate="none": tf.nn.gelu(x, approximate == "tanh"),
    F + "silu": tf.nn.silu, F + "softplus": tf.nn.softplus,
    F + "cross_entropy": averaged(lambda x, y: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=x)),
    F + "mse_loss": averaged(lambda x, y: tf.math.squared_difference(x, y)),
    F + "binary_cross_entropy_with_logits":
        averaged(lambda x, y: tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x)),
    F + "embedding": lambda index, table: tf.nn.embedding_lookup(table, index),
    "torch.index_select": lambda x, dim, index: tf.gather(x, index, axis=dim),
    "torch.gather": lambda x, dim, index: tf.gather(x, index, axis=dim, batch_dims=dim),
    "torch.where": tf.where, "torch.clamp": tf.clip_by_value,
    "torch.cat": tf.concat, "torch.stack": tf.stack, "torch.split": tf.split,
    "torch.permute": tf.transpose, "torch.reshape": tf.reshape, "torch.flip": tf.reverse,
    "torch.tril": lambda x: tf.linalg.band_part(x, -1, 0),
    "torch.Tensor.to": lambda x, dtype: tf.cast(x, dtype.name),
}


class TensorFlow:
    def tensor(self, array, dtype):
        return tf.cast(tf.constant(array), dtype)

    def export(self, tensor):
        raw = tensor.numpy()
        return tensor.dtype.name, tuple(tensor.shape), np.ascontiguousarray(raw).tobytes()

    def widen(self, tensor):
        return tf.cast(tensor, tf.float64)

    def has_grad(self, tensor):
        return tensor.dtype in (tf.float32, tf.float64)

    def run(self, call, args, kwargs):
        result = CALLS[call](*args, **kwargs)
        return list(result) if isinstance(result, (list, tuple)) else [result]

    def grad(self, call, args, kwargs, leaves, draw):
        with tf.GradientTape() as tape:
            tape.watch(list(leaves.values()))
            outputs = self.run(call, args, kwargs)
        cotangents = [tf.cast(tf.constant(draw(tuple(t.shape))), t.dtype) if t.dtype.is_floating else None
                      for t in outputs]
        if not any(c is not None for c in cotangents):
            return outputs, [], {}
        grads = tape.gradient(outputs, leaves, output_gradients=cotangents)
        # A gradient of tf.gather is a list of rows.
        return outputs, cotangents, {i: tf.convert_to_tensor(g) for i, g in grads.items() if g is not None}


def ops(case):
    positive = dict(lo=0.2, hi=4.0)
    for name in UNARY:
        domain = positive if name in ("log", "log1p", "sqrt", "rsqrt", "reciprocal") else dict(lo=-1.4, hi=1.4)
        case("torch." + name, floats(3, 4, **domain))
        case("torch." + name, floats(2, 1, 3, dtype="float64", **domain))
        case("torch." + name, floats(**domain))
    for name in BINARY:
        left = positive if name == "pow" else {}
        right = positive if name in ("div", "remainder") else {}
        for a, b in (((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 3), (4, 1)), ((), (3,))):
            case("torch." + name, floats(*a, **left), floats(*b, **right))
        case("torch." + name, floats(2, 3, dtype="float64", **left), floats(3, dtype="float64", **right))
    for name in ("add", "mul", "remainder"):
        case("torch." + name, ints(4, lo=-9, hi=9), ints(4, lo=1, hi=5))
    for name in ("sum", "mean", "prod", "amax", "amin", "logsumexp"):
        call = "torch." + name
        case(call, floats(3, 4), 0)
        case(call, floats(2, 3, 4), -1, True)
        case(call, floats(2, 3, dtype="float64"), 1)
        if name != "prod":
            case(call, floats(2, 3, 4), [0, 2])
        if name not in ("amax", "amin", "logsumexp"):
            case(call, floats(3, 4))
    for name in ("argmax", "argmin"):
        case("torch." + name, floats(3, 4), 1)
        case("torch." + name, floats(3, 4), 0)
    case("torch.cumsum", floats(3, 4), 1)
    case("torch.var", floats(3, 4), dim=1, correction=0)
    for a, b in (((3, 4), (4, 2)), ((2, 3, 4), (2, 4, 2)), ((2, 3, 4), (4, 2)), ((2, 1, 3, 2), (3, 2, 2))):
        case("torch.matmul", floats(*a), floats(*b))
    case("torch.matmul", floats(2, 3, dtype="float64"), floats(3, 2, dtype="float64"))
    case(F + "linear", floats(3, 4), floats(2, 4), floats(2))
    case(F + "linear", floats(2, 3, 4), floats(2, 4), floats(2))
    for name in ("softmax", "log_softmax"):
        case(F + name, floats(3, 4), 1)
        case(F + name, floats(2, 3, 4), 1)
        case(F + name, floats(3, dtype="float64"), 0)
        case(F + name, values([[1000.0, 999.0], [-1000.0, -1002.0]]), 1)
    for name in ("softmax", "log_softmax"):
        case(F + name, values([[-INF, 0.0, 1.0]]), 1, grad=False)
    case(F + "layer_norm", floats(3, 8), [8], floats(8), floats(8))
    case(F + "layer_norm", floats(2, 3, 4), [3, 4], floats(3, 4), floats(3, 4))
    case(F + "layer_norm", floats(2, 6, dtype="float64"), [6], floats(6, dtype="float64"), floats(6, dtype="float64"))
    case(F + "gelu", floats(3, 4))
    case(F + "gelu", floats(3, 4), approximate="tanh")
    case(F + "gelu", floats(7, dtype="float64"), approximate="none")
    case(F + "gelu", floats(7, dtype="float64"), approximate="tanh")
    for name in ("silu", "softplus"):
        case(F + name, floats(3, 4))
        case(F + name, floats(5, dtype="float64"))
    for kind in ("mean", "sum", "none"):
        case(F + "cross_entropy", floats(5, 4), ints(5, lo=0, hi=4), reduction=kind)
        case(F + "mse_loss", floats(3, 4), floats(3, 4), reduction=kind)
        case(F + "binary_cross_entropy_with_logits", floats(3, 4), floats(3, 4, lo=0, hi=1), reduction=kind)
    case(F + "embedding", ints(2, 3, lo=0, hi=5), floats(5, 3))
    case("torch.index_select", floats(3, 4), 0, values([2, 0, 2]))
    case("torch.index_select", floats(3, 4), 1, values([1, 1, 3]))
    case("torch.gather", floats(3, 4), 1, ints(3, 2, lo=0, hi=4))
    case("torch.where", bools(3, 1), floats(4), floats(2, 1, 1))
    case("torch.where", bools(4), ints(4), ints(4))
    case("torch.clamp", floats(3, 4), -1.0, 1.0)
    case("torch.cat", [floats(2, 3), floats(1, 3)], 0)
    case("torch.cat", [floats(2, 3), floats(2, 1)], -1)
    case("torch.stack", [floats(3), floats(3)], -1)
    case("torch.split", floats(2, 5), [1, 4], 1)
    case("torch.permute", floats(2, 3, 4), [2, 0, 1])
    case("torch.reshape", floats(2, 6), [3, -1])
    case("torch.flip", floats(2, 3, 2), [1, 0])
    case("torch.tril", floats(3, 4))
    for source, target in (("float32", "float64"), ("float32", "float16"), ("float32", "bfloat16")):
        case("torch.Tensor.to", floats(5, dtype=source), Dtype(target))
    case("torch.Tensor.to", values([2.7, -2.7, 0.5, -0.5]), Dtype("int64"))
    case("torch.Tensor.to", ints(4), Dtype("float32"))


def mlp_steps():
    """The three steps of mlp.py with tf.GradientTape."""
    found = {}
    for name in ("float32", "float64"):
        inputs, parameters = mlp.data()
        x, y = tf.cast(inputs["x"], name), tf.constant(inputs["y"])
        p = {k: tf.Variable(tf.cast(v, name)) for k, v in parameters.items()}
        losses = []
        for step in range(mlp.STEPS):
            with tf.GradientTape() as tape:
                h = tf.nn.relu(x @ p["fc1.w"] + p["fc1.b"])
                h = tf.nn.relu(h @ p["fc2.w"] + p["fc2.b"])
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels=y, logits=h @ p["fc3.w"] + p["fc3.b"]))
            grads = tape.gradient(loss, p)
            losses.append(float(loss))
            if step == 0:
                first = {k: g.numpy() for k, g in grads.items()}
            for k in p:
                p[k].assign_sub(mlp.LEARNING_RATE * grads[k])
        found |= mlp.record("tf", name, losses, first, {k: v.numpy() for k, v in p.items()})
    return found


def main():
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    suite = Suite(TensorFlow(), "tf/")
    ops(suite.case)
    suite.write(HERE / "tensorflow_ops.safetensors")
    mlp.write(HERE / "mlp_steps.safetensors", f"tensorflow {tf.__version__}", mlp_steps())


if __name__ == "__main__":
    main()
