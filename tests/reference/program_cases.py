"""The inputs of the programs in `programs/`: for each a few cases that take other branches and trip counts."""

import numpy as np

from suite import Spec, bools, floats, ints, values


def weights(*shape, dtype="float32"):
    """Uniform, of a size that keeps the sums over the first dim near one."""
    k = (3.0 / shape[0]) ** 0.5 if len(shape) > 1 else 0.1
    return floats(*shape, dtype=dtype, lo=-k, hi=k)


def recurrent(case):
    for time, batch, dtype in ((1, 2, "float32"), (5, 3, "float32"), (12, 1, "float32"), (4, 2, "float64")):
        inputs, hidden, classes = 6, 8, 4
        case("lstm", floats(time, batch, inputs, dtype=dtype, lo=-1, hi=1),
             weights(inputs + hidden, 4 * hidden, dtype=dtype), weights(4 * hidden, dtype=dtype),
             weights(hidden, classes, dtype=dtype), ints(batch, lo=0, hi=classes))
    for time, batch, more in ((1, 2, []), (6, 3, [False]), (6, 3, [True]), (11, 1, [True])):
        inputs, hidden = 5, 7
        case("gru", floats(time, batch, inputs, lo=-1, hi=1), weights(inputs, 3 * hidden),
             weights(hidden, 3 * hidden), weights(3 * hidden), weights(3 * hidden), *more)
    for text in ("hello world", "Hello, World!", "a", "", "The quick brown fox jumps over the lazy dog."):
        inputs, hidden = 6, 8
        case("char_lstm", text, weights(27, inputs), weights(inputs + hidden, 4 * hidden), weights(4 * hidden),
             weights(hidden, 27))
    leaf, balanced = ([-1], [3]), ([-1, -1, 0, -1, -1, 3, 2], [4, 1, 1, 7, 0, 4, 5])
    comb = ([-1, -1, 0, -1, 2, -1, 4], [4, 1, 1, 7, 3, 0, 5])
    for lefts, rights in (balanced, comb, leaf, ([-1] * 3, [2, 2, 5])):
        inputs, hidden = 5, 6
        case("tree_lstm", lefts, rights, weights(9, inputs), weights(inputs, 3 * hidden), weights(3 * hidden),
             weights(2 * hidden, 5 * hidden), weights(5 * hidden), weights(hidden, 3))


def decoding(case):
    for prompt, end, limit in (([1], 11, 6), ([3, 1, 4], 11, 9), ([5, 9, 2, 6], 0, 12), ([2, 7], 3, 0)):
        tokens, width = 12, 8
        case("greedy_decode", prompt, floats(tokens, width, lo=-1, hi=1), weights(width, 3 * width),
             weights(width, width), 2, end, limit)
    for tokens, end, width, limit in ((6, 5, 3, 8), (6, 5, 1, 8), (9, 0, 4, 12), (5, 4, 3, 1)):
        case("beam_search", floats(tokens, tokens), 1, end, width, limit)


def iterating(case):
    for n, tolerance, limit, high in ((4, 1e-9, 50, 1.0), (4, 1e-9, 50, 2000.0), (6, 1e-2, 50, 30.0), (3, 1e-12, 3, 9.0)):
        case("newton", floats(n, dtype="float64", lo=-high, hi=high), floats(n, dtype="float64", lo=0.5, hi=2.0),
             tolerance, limit)
    case("collatz", values([1, 2, 3, 6, 7]), 6)
    case("collatz", values([27, 97, 871, 6171]), 27)
    case("collatz", values([1, 1]), 1)
    case("collatz", ints(20, lo=1, hi=1000), 77031)
    for data, bound, limit in (([0.5, 0.25], 10.0, 100), ([0.5, 0.25], 100.0, 100), ([3.0, 9.0], 10.0, 100),
                               ([0.01, 0.0], 1e6, 7)):
        case("while_loop", values(data), bound, limit)


def training(case):
    for sizes, rows, steps, dtype in (((6, 8, 4), 5, 1, "float32"), ((6, 8, 4), 5, 3, "float32"),
                                      ((5, 7, 6, 3), 4, 4, "float32"), ((4, 3), 6, 2, "float64")):
        layers = [w(*s, dtype=dtype) for a, b in zip(sizes, sizes[1:]) for w, s in ((weights, (a, b)), (weights, (b,)))]
        case("mlp_sgd", floats(rows, sizes[0], dtype=dtype), ints(rows, lo=0, hi=sizes[-1]), layers, 0.1, steps, grad=False)


ALL = (recurrent, decoding, iterating, training)
