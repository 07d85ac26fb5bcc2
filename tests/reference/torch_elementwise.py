"""Cases of the element-wise operations."""

import functools

from suite import bools, floats, ints, values

F = "torch.nn.functional."
NAN, INF = float("nan"), float("inf")
SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 20.0, -100.0, 1e-6]


def unary(case):
    wide, positive = (-3.0, 3.0), (0.1, 5.0)
    for name, (lo, hi) in {
        "neg": wide, "abs": wide, "sign": wide, "floor": wide, "ceil": wide, "trunc": wide, "round": wide,
        "sqrt": positive, "rsqrt": positive, "reciprocal": (0.3, 4.0), "exp": wide, "expm1": wide, "exp2": wide,
        "log": positive, "log1p": (-0.6, 4.0), "log2": positive, "log10": positive, "sin": wide, "cos": wide,
        "tan": (-1.2, 1.2), "tanh": wide, "sigmoid": wide, "erf": wide, "relu": wide, "square": wide,
    }.items():
        call = "torch." + name
        case(call, floats(3, 4, lo=lo, hi=hi))
        case(call, floats(2, 1, 3, dtype="float64", lo=lo, hi=hi))
        case(call, floats(lo=lo, hi=hi))
        case(call, floats(0, 3, lo=lo, hi=hi))
        case(call, values(SPECIAL), grad=False)
        case(call, floats(5, dtype="float16", lo=lo, hi=hi))
        case(call, floats(5, dtype="bfloat16", lo=lo, hi=hi))
        case(call, ints(6, lo=int(lo > 0), hi=5))
        if name in ("abs", "neg", "square", "exp", "sqrt", "sigmoid"):
            case(call, ints(6, dtype="int32", lo=int(lo > 0), hi=5))
        if name in ("exp", "sqrt", "sin"):
            case(call, bools(4))
    # Where the derivative jumps, PyTorch's choice.
    for name in ("abs", "sign", "relu", "floor", "sqrt"):
        case("torch." + name, values([0.0, 1.0, 4.0]))
    case("torch.round", values([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997]))
    case("torch.round", floats(4), decimals=2)
    case("torch.neg", bools(3), error="dtype")
    case("torch.relu", bools(3), error="dtype")
    case("torch.square", bools(3))
    for name in ("isnan", "isinf", "isfinite"):
        case("torch." + name, values(SPECIAL))
        case("torch." + name, values(SPECIAL, "float64"))
        case("torch." + name, values(SPECIAL, "bfloat16"))
        case("torch." + name, ints(2, 3))
        case("torch." + name, floats(0))
    for spec in (values(SPECIAL), values([0, 1, -2], "int32"), bools(2, 3), values([0, 1, 255], "uint8"), values(0.0)):
        case("torch.logical_not", spec)
    for spec in (ints(2, 3), ints(4, dtype="int32"), values([0, 1, 255], "uint8"), bools(5), ints(0, 2), ints()):
        case("torch.bitwise_not", spec)
    case("torch.bitwise_not", floats(3), error="dtype")
    for call, options in ((F + "gelu", ({}, {"approximate": "none"}, {"approximate": "tanh"})),
                          (F + "silu", ({},)), (F + "softplus", ({}, {"beta": 2.0, "threshold": 3.0})),
                          (F + "relu", ({},))):
        for kwargs in options:
            case(call, floats(3, 4), **kwargs)
            case(call, floats(7, dtype="float64", lo=-6, hi=6), **kwargs)
            case(call, values([NAN, INF, 0.0, -0.0, 1.0, -1.0, 20.0, 25.0]), grad=False, **kwargs)
            case(call, floats(0, 2), **kwargs)
            case(call, floats(5, dtype="bfloat16"), **kwargs)
            case(call, floats(), **kwargs)
    case(F + "gelu", floats(3), approximate="sigmoid", error="value")
    case(F + "gelu", ints(3), error="dtype")


def binary(given):
    positive = dict(lo=0.2, hi=3.0)
    shapes = [((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 3), (4, 1)), ((), (3,)), ((0, 3), (1, 3)), ((1,), (1, 1))]
    for name in ("add", "sub", "mul", "div", "floor_divide", "remainder", "fmod", "pow", "maximum", "minimum", "atan2"):
        call = "torch." + name
        case = functools.partial(given, grad=False) if name == "floor_divide" else given
        left = positive if name == "pow" else {}
        right = positive if name in ("div", "floor_divide", "remainder", "fmod") else {}
        for a, b in shapes:
            case(call, floats(*a, **left), floats(*b, **right))
        case(call, floats(2, 3, dtype="float64", **left), floats(2, 1, dtype="float64", **right))
        case(call, floats(5, dtype="float16", **left), floats(5, dtype="float16", **right))
        case(call, floats(5, dtype="bfloat16", **left), floats(5, dtype="bfloat16", **right))
        case(call, ints(6, lo=-9, hi=9), ints(6, lo=1, hi=4))
        case(call, ints(6, dtype="uint8", lo=0, hi=9), ints(6, dtype="uint8", lo=1, hi=4))
        # Promotion: a tensor of rank 0 and a category that is not higher keep the other's dtype.
        case(call, ints(3, lo=1), floats(3, **right))
        case(call, floats(3, **left), floats(dtype="float64", **right), grad=False)
        case(call, floats(3, dtype="float16", **left), floats(3, **right), grad=False)
        case(call, ints(3, dtype="int32", lo=1), ints(3, lo=1))
        case(call, values([NAN, INF, -INF, 1.0, 2.0, 0.0, -0.0, 3.0]),
             values([1.0, 2.0, 3.0, NAN, INF, -0.0, 0.0, -INF]), grad=False)
        if name not in ("maximum", "minimum", "atan2"):
            case(call, floats(2, 3, **left), 2.5)
            case(call, floats(2, 3, **left), 2)
            case(call, ints(4, lo=-9, hi=9), 3)
            case(call, ints(4, lo=1, hi=9), 1.5)
            case(call, floats(3, dtype="bfloat16", **left), 1.5)
        case(call, floats(3, **left), floats(4, **right), error="shape")
        case(call, floats(2, 3, **left), floats(3, 2, **right), error="shape")
    case = given
    for name in ("add", "sub"):
        case("torch." + name, floats(2, 3), floats(3), alpha=2.5)
        case("torch." + name, ints(3), ints(3), alpha=-2)
        case("torch." + name, floats(2, 3), 1.5, alpha=2)
        case("torch." + name, ints(3), ints(3), alpha=1.5, error="dtype")
    case("torch.add", bools(4), bools(4))
    case("torch.add", bools(4), 1)
    case("torch.mul", bools(4), bools(4))
    case("torch.div", bools(4), values([True] * 4, "bool"))
    case("torch.sub", bools(4), bools(4), error="dtype")
    for a, b in ((values([7.0, -7.0, 7.5, -7.5]), values([2.0, 2.0, -2.0, -2.0])),
                 (values([7, -7, 8, -8]), values([2, 2, -3, -3]))):
        for mode in (None, "trunc", "floor"):
            case("torch.div", a, b, rounding_mode=mode)
        for name in ("floor_divide", "remainder", "fmod"):
            case("torch." + name, a, b, grad=name != "floor_divide")
    case("torch.div", floats(3), floats(3), rounding_mode="up", error="value")
    case("torch.div", ints(3), values([0, 1, 2]))
    for name in ("floor_divide", "remainder", "fmod"):
        case("torch." + name, ints(3), values([0, 1, 2]), error="value")
        case("torch." + name, values([5.0, -5.0]), values([0.0, 0.0]), grad=False)
    case("torch.pow", ints(3), -1, error="value")
    case("torch.pow", ints(4), values([0, 1, 2, 3]))
    case("torch.pow", 2.0, floats(2, 3))
    case("torch.pow", 2, ints(3, lo=0))
    case("torch.pow", values([0.0, 0.0, -2.0, 4.0]), values([0.0, 2.0, 3.0, 0.5]), grad=False)
    case("torch.pow", values([0.0, -2.0, 3.0]), 2)
    case("torch.pow", values([0.0, -2.0, 3.0]), 0)
    case("torch.pow", values([0.25, 4.0, 9.0]), 0.5)
    case("torch.pow", values([0.25, 4.0, 9.0]), -0.5)
    for name in ("maximum", "minimum"):      # a tie: half of the gradient to each
        case("torch." + name, values([1.0, 2.0, -1.0]), values([1.0, 1.0, 3.0]))
    case("torch.atan2", values([0.0, -0.0, 0.0, -0.0, 1.0]), values([1.0, 1.0, -1.0, -1.0, 0.0]), grad=False)

    small = dict(lo=-1, hi=2)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        call = "torch." + name
        case(call, ints(3, 4, **small), ints(4, **small))
        case(call, values([1.0, NAN, INF, -0.0, 2.0]), values([1.0, NAN, INF, 0.0, 3.0]))
        case(call, floats(2, 1, 3), floats(4, 1))
        case(call, ints(5, **small), values([0.0, 0.5, 1.0, -1.0, -0.5]))
        case(call, ints(5, dtype="uint8", lo=0, hi=3), ints(5, dtype="int32", lo=0, hi=3))
        case(call, bools(4), bools(4))
        case(call, ints(5, **small), 0)
        case(call, ints(5, **small), 0.5)
        case(call, floats(0, 3), floats(3))
        case(call, floats(3), floats(4), error="shape")
    for name in ("eq", "lt"):      # the host number becomes a float32 first
        case("torch." + name, values([0.1, 1.0]), 0.1, check=False)
    for name in ("logical_and", "logical_or", "logical_xor"):
        call = "torch." + name
        case(call, bools(3, 4), bools(4))
        case(call, values([0.0, 1.0, NAN, -2.0]), values([0.0, 0.0, 1.0, 1.0]))
        case(call, ints(6, dtype="int32", **small), ints(6, **small))
        case(call, bools(2, 1), ints(dtype="uint8", lo=0, hi=2))
        case(call, bools(3), bools(2), error="shape")
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        call = "torch." + name
        case(call, ints(3, 4), ints(4))
        case(call, bools(4), bools(4))
        case(call, ints(4, dtype="uint8", lo=0, hi=256), ints(4, dtype="uint8", lo=0, hi=256))
        case(call, ints(4, dtype="int32"), ints(4))
        case(call, ints(4), 6)
        case(call, bools(4), ints(4))
        case(call, floats(3), floats(3), error="dtype")


def choosing(case):
    w = "torch.where"
    case(w, bools(3, 4), floats(3, 4), floats(3, 4))
    case(w, bools(3, 1), floats(4), floats(2, 1, 1))
    case(w, bools(4), floats(4), 1.5)
    case(w, bools(4), 2.0, floats(4))
    case(w, bools(4), ints(4), floats(4))
    case(w, bools(4), ints(4), 2)
    case(w, bools(), floats(2, dtype="float64"), floats(2, dtype="float64"))
    case(w, bools(0), floats(0), floats(0))
    case(w, bools(3), values([NAN, INF, 1.0]), values([1.0, 2.0, NAN]), grad=False)
    case(w, bools(3), floats(4), floats(4), error="shape")
    case(w, floats(3), floats(3), floats(3), error="dtype")
    c = "torch.clamp"
    case(c, floats(3, 4), -1.0, 1.0)
    case(c, floats(3, 4), min=-0.5)
    case(c, floats(3, 4), max=0.5)
    case(c, floats(3, 4), floats(4, lo=-2, hi=0), floats(3, 1, lo=0, hi=2))
    case(c, ints(5), -2, 2)
    case(c, ints(5), -1.5, 1.5)
    case(c, values([-1.0, 0.0, 1.0, 2.0]), 0.0, 1.0)      # at a bound the gradient passes
    case(c, floats(4), 2.0, 1.0)                           # max wins
    case(c, values(SPECIAL), -1.0, 1.0, grad=False)
    case(c, floats(0), 0.0, 1.0)
    case(c, floats(3), error="value")
    m = "torch.Tensor.masked_fill"
    case(m, floats(3, 4), bools(3, 4), 1.5)
    case(m, floats(3, 4), bools(4), -INF)
    case(m, floats(3, 4), bools(3, 1), floats())
    case(m, ints(5), bools(5), 7)
    case(m, floats(0, 2), bools(2), 1.0)
    case(m, floats(3), ints(3), 1.0, error="dtype")
    case(m, floats(3), bools(4), 1.0, error="shape")
    a = "torch.addcmul"
    case(a, floats(3, 4), floats(3, 4), floats(3, 4))
    case(a, floats(4), floats(3, 1), floats(3, 4), value=0.5)
    case(a, floats(dtype="float64"), floats(2, dtype="float64"), floats(2, dtype="float64"), value=-2.0)
    case(a, ints(3), ints(3), ints(3), value=2)
    case(a, floats(3), floats(2), floats(3), error="shape")
    e = "torch.lerp"
    case(e, floats(3, 4), floats(3, 4), 0.25)
    case(e, floats(3, 4), floats(4), 0.75)
    case(e, floats(3, 4), floats(3, 4), floats(3, 1, lo=0, hi=1))
    case(e, floats(dtype="float64"), floats(dtype="float64"), 1.5)
    case(e, floats(0), floats(0), 0.5)
    case(e, ints(3), ints(3), 0.5, error="dtype")
