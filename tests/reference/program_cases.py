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


    for tasks, rows, steps, dtype in ((2, 5, 1, "float32"), (2, 5, 3, "float32"), (1, 4, 0, "float32"), (3, 3, 2, "float64")):
        hidden, data = 6, floats(tasks, rows, 1, dtype=dtype, lo=-2, hi=2)
        case("maml", [weights(1, hidden, dtype=dtype), weights(hidden, dtype=dtype), weights(hidden, 1, dtype=dtype),
                      weights(1, dtype=dtype)], data, data, data, data, 0.05, steps)


def layers(case):
    for batch, time, causal, lengths in ((2, 5, True, []), (3, 4, False, [values([4, 1, 3])]), (1, 1, True, []),
                                         (2, 6, True, [values([2, 6])]), (2, 3, False, [])):
        width = 8
        case("attention", floats(batch, time, width), weights(width, 3 * width), weights(width, width),
             weights(width, 16), weights(16, width), 2, causal, *lengths)
    for size, enter, leave, stride, training in ((6, 3, 3, 1, True), (6, 3, 3, 1, False), (7, 3, 4, 2, True),
                                                 (4, 2, 4, 2, False)):
        k = 0.4
        case("resnet_block", floats(2, enter, size, size), floats(leave, enter, 3, 3, lo=-k, hi=k),
             floats(leave, leave, 3, 3, lo=-k, hi=k),
             None if enter == leave else floats(leave, enter, 1, 1, lo=-1, hi=1),
             floats(2, 2, leave, lo=0.5, hi=1.5), floats(2, 2, leave, lo=0.5, hi=1.5), stride, training)
    for longest, lengths in ((5, [5, 3, 1]), (7, [2, 7, 4]), (3, [0, 0]), (1, [1, 0])):
        inputs, hidden = 4, 6
        case("dynrnn", floats(len(lengths), longest, inputs, lo=-1, hi=1), values(lengths), weights(inputs, hidden),
             weights(hidden, hidden), weights(hidden))


def chains(case):
    for time, states, lengths in ((5, 4, [5, 5]), (6, 3, [1, 6, 4]), (1, 2, [1])):
        case("viterbi", floats(len(lengths), time, states), floats(states, states), floats(states), lengths)
    for time, labels, lengths in ((8, 4, [8, 8]), (8, 3, [3, 0, 8]), (20, 2, [20]), (3, 2, [0, 0])):
        case("ctc_decode", floats(time, len(lengths), labels), values(lengths), 0)
    for a, b in (([11, 9, 20, 20, 5, 14], [19, 9, 20, 20, 9, 14, 7]), ([1, 2, 3], [1, 2, 3]), ([], [4, 4]), ([7], [])):
        case("levenshtein", values(np.array(a, "int64")), values(np.array(b, "int64")))
    case("levenshtein", ints(12, lo=0, hi=3), ints(9, lo=0, hi=3))


def linear(case):
    for n, tolerance, limit in ((4, 1e-6, 500), (6, 1e-3, 500), (5, 1e-12, 4)):
        case("power_iteration", floats(n, n, dtype="float64", lo=0, hi=1), floats(n, dtype="float64", lo=0.5, hi=1),
             tolerance, limit)
    case("power_iteration", values(np.eye(3) * 2.0, "float64"), values([1.0, 2.0, 2.0], "float64"), 1e-9, 10)
    for n, rows, shift, tolerance, guess in ((5, 7, 0.5, 1e-8, False), (8, 3, 1.0, 1e-8, False), (5, 7, 10.0, 1e-3, True)):
        case("conjugate_gradient", floats(rows, n, dtype="float64"), floats(n, dtype="float64"), shift, tolerance,
             *[floats(n, dtype="float64")] * guess)
    case("conjugate_gradient", floats(4, 3, dtype="float64"), values([0.0, 0.0, 0.0], "float64"), 1.0, 1e-6, grad=False)
    for n, size, tolerance in ((3, 0.1, 1e-16), (4, 1.0, 1e-14), (5, 6.0, 1e-12), (2, 0.0, 1e-12)):
        case("matrix_exponential", floats(n, n, dtype="float64", lo=-size, hi=size), tolerance)
    inf = float("inf")
    ring = [[0.0, 3.0, inf, 7.0], [8.0, 0.0, 2.0, inf], [5.0, inf, 0.0, 1.0], [2.0, inf, inf, 0.0]]
    apart = [[0.0, 1.0, inf], [1.0, 0.0, inf], [inf, inf, 0.0]]
    for edges, source, target in ((ring, 1, 0), (ring, 3, 3), (apart, 0, 2), (apart, 1, 0)):
        case("floyd_warshall", values(edges), source, target, grad=False)
    case("floyd_warshall", floats(7, 7, lo=1, hi=9), 2, 5)


def simulating(case):
    for batch, size, steps in ((3, 2, 1), (3, 2, 5), (5, 4, 3)):
        nets = [[weights(size, 6), weights(size, 6), weights(2, 6), weights(6), weights(6, 3 * size), weights(3 * size)]
                for _ in range(2)]
        masks = [[float((i + j) % 2) for j in range(size)] for i in range(steps)]
        case("l2hmc", floats(batch, size), floats(batch, size), floats(batch, lo=0, hi=1),
             values(np.eye(size) + 0.1, "float32"), values(masks), *nets, 0.2, steps)
    for systems, end, mu, tolerance, limit in ((1, 1.0, 0.5, 1e-4, 500), (3, 5.0, 5.0, 1e-6, 500), (1, 0.0, 1.0, 1e-6, 9),
                                               (2, 20.0, 3.0, 1e-3, 500), (1, 9.0, 9.0, 1e-9, 6)):
        case("rk45", floats(2, systems, dtype="float64", lo=0.5, hi=2),
             floats(systems, dtype="float64", lo=mu / 2, hi=mu), end, tolerance, limit, grad=limit < 100 or end == 1.0)
    blinker = np.zeros((6, 6), bool)
    blinker[2, 1:4] = True
    block = np.zeros((5, 5), bool)
    block[1:3, 1:3] = True
    for board, limit in ((blinker, 10), (block, 10), (bools(8, 8), 12), (bools(12, 10), 40), (np.zeros((4, 4), bool), 3)):
        case("life", board if isinstance(board, Spec) else values(board), limit)
    for steps, walkers, goal, wall in ((12, 4, 3.0, 1.0), (20, 3, 1.0, 0.5), (6, 5, 100.0, 0.1), (9, 2, -1.0, 3.0)):
        case("random_walk", floats(walkers, lo=-0.5, hi=0.5), floats(steps, walkers, lo=-1, hi=1.2), goal, wall)


def grouping(case):
    for n, k, d, limit in ((12, 3, 2, 50), (20, 4, 3, 50), (6, 1, 2, 50), (30, 5, 2, 2)):
        case("kmeans", floats(n, d), floats(k, d), limit)
    case("kmeans", floats(8, 2), values([[0.0, 0.0], [100.0, 100.0], [1.0, 1.0]]), 50)
    for n, top in ((30, 1000), (1, 5), (100, 50), (2, 2)):
        case("sieve", n, values([top]))
    for rows, n, descending in ((3, 8, False), (2, 8, True), (2, 5, False), (4, 1, False), (1, 11, True)):
        case("sorting_network", floats(rows, n), descending)
    for centre, width, points, limit, power in (([-0.5, 0.0], 3.0, 9, 20, 0.0), ([5.0, 5.0], 1.0, 4, 20, 0.0),
                                                ([-0.75, 0.1], 0.1, 6, 60, 0.0), ([0.0, 0.0], 2.0, 7, 15, 0.5)):
        case("mandelbrot", centre, width, points, limit, values([power], "float64"), grad=False)
    for rows, sizes, bound in ((10, [4, 3, 3], 100.0), (12, [4, 0, 4, 4], 0.01), (5, [2, 3], 3.0), (0, [0], 1.0),
                               (12, [3, 3, 3, 3], 1.0)):
        case("running_stats", floats(rows, 3, dtype="float64"), sizes, bound)
    for text, top in (("the cat and the dog and the bird", 2), ("Extraordinarily long; extraordinarily dull!", 5), ("", 3),
                      ("one", 0)):
        case("text_stats", text, top, floats(1))


ALL = (recurrent, decoding, iterating, training, layers, chains, linear, simulating, grouping)
