"""Writes tensorflow_own.safetensors: calls whose meaning is TensorFlow's own.

    pip install tensorflow-cpu numpy
    python make_tensorflow_own.py

Channels come last, a frame is SAME or VALID (SAME adds more at the end where it adds an odd number), means leave the
frame out, the variance of a fused batch norm is the unbiased one, rows of negative segments are dropped. A case names
TensorFlow's operation.
"""

import functools
import pathlib

from make_tensorflow import TensorFlow, tf
from suite import Suite, bools, floats, ints, values

HERE = pathlib.Path(__file__).parent


class Own(TensorFlow):
    def run(self, call, args, kwargs):
        function = functools.reduce(getattr, call.split(".")[1:], tf)
        try:
            result = function(*args, **kwargs)
        except tf.errors.InvalidArgumentError as reason:
            raise ValueError(str(reason)) from reason
        return list(result) if isinstance(result, (list, tuple)) else [result]


def windows(case):
    for padding in ("SAME", "VALID"):
        for dtype in ("float32", "float64"):
            f = functools.partial(floats, dtype=dtype)
            # Even kernels and strides of 2: one side of the frame is larger.
            case("tf.nn.conv1d", f(2, 7, 2), f(2, 2, 3), 2, padding)
            case("tf.nn.conv2d", f(1, 5, 6, 2), f(3, 2, 2, 3), [2, 2], padding)
            case("tf.nn.conv2d", f(2, 6, 5, 2), f(2, 4, 2, 1), [1, 2], padding)
            case("tf.nn.conv2d", f(1, 8, 7, 1), f(4, 4, 1, 2), [2, 2], padding)
            case("tf.nn.conv2d", f(1, 6, 6, 4), f(3, 3, 2, 4), 1, padding, grad=False)  # no gradient of groups on the CPU
            case("tf.nn.conv2d", f(1, 7, 6, 2), f(2, 3, 2, 2), 1, padding, dilations=[2, 1], grad=False)
            case("tf.nn.conv3d", f(1, 4, 5, 3, 2), f(2, 3, 2, 2, 2), [1, 2, 2, 1, 1], padding)
            case("tf.nn.depthwise_conv2d", f(1, 5, 6, 2), f(2, 3, 2, 2), [1, 2, 2, 1], padding)
            case("tf.nn.max_pool1d", f(2, 7, 2), 2, 2, padding)
            case("tf.nn.max_pool2d", f(1, 5, 6, 2), 2, 2, padding)
            case("tf.nn.max_pool2d", f(1, 6, 7, 2), [3, 2], [2, 1], padding)
            case("tf.nn.avg_pool1d", f(2, 7, 2), 2, 2, padding)
            case("tf.nn.avg_pool2d", f(1, 5, 6, 2), 2, 2, padding)
            case("tf.nn.avg_pool2d", f(1, 6, 7, 2), [3, 4], [2, 1], padding)
        case("tf.nn.max_pool3d", floats(1, 4, 5, 3, 2), 2, 2, padding, check=False)  # float32 alone
        case("tf.nn.avg_pool3d", floats(1, 4, 5, 3, 2), 2, 2, padding, check=False)
    case("tf.nn.conv2d", floats(1, 5, 6, 2), floats(3, 2, 2, 3), 2, [[0, 0], [1, 0], [0, 2], [0, 0]])
    case("tf.nn.conv2d_transpose", floats(1, 3, 3, 3), floats(3, 2, 2, 3), [1, 5, 6, 2], [2, 2], "SAME")
    case("tf.nn.conv2d_transpose", floats(1, 3, 3, 3), floats(2, 2, 2, 3), [1, 6, 5, 2], [2, 2], "SAME")
    case("tf.nn.conv2d_transpose", floats(1, 2, 3, 2), floats(3, 3, 1, 2), [1, 5, 7, 1], [2, 2], "VALID")
    case("tf.nn.conv2d", floats(1, 5, 6, 2), floats(3, 2, 3, 3), 1, "SAME", error="shape")


def statistics(case):
    for dtype in ("float32",):
        vector = functools.partial(floats, 3, dtype=dtype)
        for shape in ((2, 4, 3, 3), (4, 2, 2, 3)):
            case("tf.compat.v1.nn.fused_batch_norm", floats(*shape), vector(lo=0.5, hi=2.0), vector(),
                 tol=(1e-4, 1e-4), check=False)
        case("tf.compat.v1.nn.fused_batch_norm", floats(2, 3, 2, 3), vector(lo=0.5, hi=2.0), vector(), vector(),
             vector(lo=0.5, hi=3.0), 0.01, is_training=False, grad=[0, 1, 2], tol=(1e-4, 1e-4), check=False)


def choices(case):
    case("tf.compat.v1.where", bools(3), floats(3, 4), floats(3, 4))
    case("tf.compat.v1.where", bools(3, 4), floats(3, 4), floats(3, 4))
    case("tf.compat.v1.where", bools(3), floats(3, 2, 2), floats(3, 2, 2))
    case("tf.compat.v1.where", bools(3), floats(4, 3), floats(4, 3), error="shape")
    for name in ("sum", "mean", "sqrt_n", "max", "min", "prod"):
        call = "tf.math.unsorted_segment_" + name
        # An empty segment is the least number of its type, which no wider type has.
        wide = name not in ("max", "min")
        ids = values([2, 0, 2, -1, 0])
        case(call, floats(5), ids, 3, check=wide)
        case(call, floats(5, 2), ids, 4, check=wide)
        case(call, floats(5, 2, dtype="float64"), values([1, 1, 0, 1, 1]), 2)
        case(call, floats(2, 3, 2), values([[0, 1, 0], [1, 1, 0]]), 2)
        if name not in ("mean", "sqrt_n"):
            case(call, ints(5), ids, 3)
    case("tf.math.unsorted_segment_sum", floats(5), values([0, 1]), 2, error="shape")


def main():
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    suite = Suite(Own(), "tf-own/")
    for part in (windows, statistics, choices):
        part(suite.case)
    suite.write(HERE / "tensorflow_own.safetensors")


if __name__ == "__main__":
    main()
