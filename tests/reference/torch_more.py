"""Cases of the operations beyond torch_elementwise.py and torch_structured.py."""

from suite import Dtype, bools, floats, ints, values

F = "torch.nn.functional."
NAN, INF = float("nan"), float("inf")
SPECIAL = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 20.0, -100.0, 1e-6]
F64, F32 = Dtype("float64"), Dtype("float32")


def elements(case):
    wide, unit = (-3.0, 3.0), (-0.95, 0.95)
    for name, (lo, hi) in {
        "frac": wide, "asin": unit, "acos": unit, "sinh": wide, "cosh": wide, "asinh": wide, "acosh": (1.1, 5.0),
        "atanh": unit, "deg2rad": (-180.0, 180.0), "rad2deg": wide, "sinc": wide, "erfc": wide, "erfinv": unit,
    }.items():
        call = "torch." + name
        case(call, floats(3, 4, lo=lo, hi=hi))
        case(call, floats(2, 1, 3, dtype="float64", lo=lo, hi=hi))
        case(call, floats(lo=lo, hi=hi))
        case(call, floats(0, 3, lo=lo, hi=hi))
        case(call, values(SPECIAL), grad=False)
        case(call, floats(5, dtype="float16", lo=lo, hi=hi), check=name not in ("frac", "sinc"))
        case(call, floats(5, dtype="bfloat16", lo=lo, hi=hi), check=name not in ("frac", "sinc"))
        if name != "frac":
            case(call, ints(4, lo=1, hi=2))
    case("torch.frac", ints(3), error="dtype")
    for x in ([1e-3, -1e-5, 1e-7], [30.0, -60.0, 88.9], [1e6, -1e12, 3e30]):
        for name in ("sinh", "asinh", "cosh"):
            case("torch." + name, values(x), grad=False)
    case("torch.acosh", values([1.0, 1.0 + 1e-6, 1e6, 3e30]), grad=False)
    case("torch.atanh", values([1e-7, 1.0, -1.0, 0.9999999]), grad=False)
    case("torch.erfinv", values([1.0, -1.0, 0.999999, 1e-6, 1.5, 0.0]), grad=False)
    case("torch.erfinv", values([0.9999999999, 1e-12, -0.7, 0.7], "float64"))
    for name in ("isposinf", "isneginf", "signbit"):
        call = "torch." + name
        case(call, values(SPECIAL[1:]))
        case(call, values(SPECIAL[1:], "float64"))
        case(call, values(SPECIAL[1:], "bfloat16"))
        case(call, ints(2, 3))
        case(call, floats(0))
    g = "torch.logit"
    case(g, floats(3, 4, lo=0.1, hi=0.9))
    case(g, floats(5, dtype="float64", lo=0.1, hi=0.9))
    case(g, values([0.0, 1.0, 0.05, 0.5, 0.95, 1.5]), 0.1)
    case(g, values([0.0, 1.0, 0.5, -1.0]), grad=False)
    n = "torch.nan_to_num"
    case(n, values(SPECIAL), check=False)
    case(n, values(SPECIAL), 1.0, 2.0, -2.0)
    case(n, values(SPECIAL, "float64"), posinf=9.0)
    case(n, values([NAN, INF, -INF, 1.5], "float16"), check=False)
    case(n, values([NAN, INF, -INF, 1.5], "bfloat16"), nan=3.0, check=False)
    case(n, ints(3))
    c = "torch.isclose"
    case(c, values([1.0, 1.0, INF, INF, NAN, 0.0]), values([1.0 + 1e-6, 1.1, INF, -INF, NAN, 1e-9]))
    case(c, values([1.0, NAN]), values([1.4, NAN]), rtol=0.0, atol=0.5, equal_nan=True)
    case(c, ints(3, 4), ints(4))
    case(c, floats(3), floats(3), rtol=-1.0, error="value")
    case(c, floats(3), ints(3), error="dtype")


def pairs(case):
    positive = dict(lo=0.2, hi=3.0)
    shapes = [((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 1, 3), (4, 1)), ((), (3,)), ((0, 3), (1, 3))]
    odd = values([NAN, INF, -INF, 1.0, 2.0, 0.0, -0.0, 3.0]), values([1.0, 2.0, 3.0, NAN, INF, -0.0, 0.0, -INF])
    for name in ("hypot", "logaddexp", "logaddexp2", "xlogy", "special.xlog1py", "copysign", "fmax", "fmin", "ldexp"):
        call = "torch." + name
        b = positive if "xlog" in name else {}
        for x, y in shapes:
            case(call, floats(*x), floats(*y, **b))
        case(call, floats(2, 3, dtype="float64"), floats(2, 1, dtype="float64", **b))
        case(call, floats(5, dtype="bfloat16"), floats(5, dtype="bfloat16", **b), check=False)
        case(call, *odd, grad=False)
        case(call, floats(3), floats(4, **b), error="shape")
    for name in ("xlogy", "special.xlog1py"):
        case("torch." + name, floats(2, 3), 2.5)
        case("torch." + name, 2.0, floats(2, 3, **positive))
        case("torch." + name, values([0.0, 0.0, 1.0]), values([1.0, 2.0, 3.0]))
        case("torch." + name, ints(4), ints(4, lo=1))
    case("torch.hypot", values([3e30, 3e-30, 0.0]), values([4e30, 4e-30, 0.0]), grad=False)
    case("torch.logaddexp", values([1000.0, -1000.0, INF, -INF]), values([1000.0, -1001.0, INF, -INF]), grad=False)
    case("torch.copysign", values([1.0, -2.0, 0.0]), values([-0.0, 0.0, -1.0]))
    case("torch.copysign", floats(3), -2.0)
    case("torch.copysign", ints(3), ints(3))
    case("torch.fmax", values([1.0, 2.0, NAN]), values([1.0, NAN, 3.0]))
    case("torch.fmin", values([1.0, 2.0, NAN]), values([1.0, NAN, 3.0]))
    case("torch.fmax", ints(4), ints(4))
    case("torch.ldexp", floats(3), ints(3))
    case("torch.ldexp", ints(3), ints(3))
    h = "torch.heaviside"
    case(h, values([-1.0, 0.0, 2.0, NAN]), values([0.5, 0.5, 0.5, 0.5]), grad=False)
    case(h, ints(2, 3, lo=-1, hi=2), ints(3))
    case(h, floats(3), ints(3), error="dtype")
    for name in ("bitwise_left_shift", "bitwise_right_shift"):
        call = "torch." + name
        case(call, ints(3, 4, lo=-99, hi=99), ints(4, lo=0, hi=5))
        case(call, values([1, -1, 7, -8, 5]), values([63, 70, 62, 100, 0]))
        case(call, values([1, -1, 7, -8, 5], "int32"), values([31, 30, 33, 2, 0], "int32"))
        case(call, values([1, 255, 7], "uint8"), values([7, 9, 1], "uint8"))
        case(call, ints(4), 2)
        case(call, floats(3), floats(3), error="dtype")
    a = "torch.addcdiv"
    case(a, floats(3, 4), floats(3, 4), floats(3, 4, **positive))
    case(a, floats(4), floats(3, 1), floats(3, 4, **positive), value=0.5)
    case(a, floats(2, dtype="float64"), floats(dtype="float64"), floats(2, dtype="float64", **positive), value=-2.0)
    case(a, ints(3), ints(3), ints(3, lo=1), error="dtype")


def activations(case):
    for name, options in {
        "elu": [{}, {"alpha": 0.5}], "selu": [{}], "celu": [{}, {"alpha": 2.0}], "mish": [{}],
        "hardtanh": [{}, {"min_val": -2.0, "max_val": 0.5}], "hardswish": [{}], "hardsigmoid": [{}],
        "softsign": [{}], "logsigmoid": [{}], "leaky_relu": [{}, {"negative_slope": 0.3}],
        "softshrink": [{}, {"lambd": 1.5}], "hardshrink": [{}, {"lambd": 1.5}], "tanhshrink": [{}], "relu6": [{}],
        "threshold": [{"threshold": 0.5, "value": -1.5}],
    }.items():
        call = F + name
        for kwargs in options:
            case(call, floats(3, 4, lo=-4, hi=4), **kwargs)
            case(call, floats(7, dtype="float64", lo=-6, hi=8), **kwargs)
            case(call, values([INF, -INF, 0.0, 1.0, -1.0, 25.0, -25.0]), grad=False,
                 check=name not in ("softsign", "mish"), **kwargs)
            case(call, floats(0, 2), **kwargs)
            case(call, floats(5, dtype="bfloat16"), check=False, **kwargs)
            case(call, floats(), **kwargs)
    case(F + "celu", floats(3), alpha=0.0, error="value")
    case(F + "softshrink", floats(3), lambd=-1.0, error="value")
    case(F + "elu", ints(3), error="dtype")
    case(F + "threshold", ints(5), 1, 7)
    for weight in (floats(3), floats(1)):
        case(F + "prelu", floats(2, 3), weight)
        case(F + "prelu", floats(2, 3, 4), weight)
    case(F + "prelu", floats(5), floats(1))
    case(F + "prelu", floats(2, 3, 2, 2, dtype="float64"), floats(3, dtype="float64"))
    case(F + "prelu", floats(2, 3), floats(2), error="shape")
    case(F + "glu", floats(3, 4))
    case(F + "glu", floats(4, 3), 0)
    case(F + "glu", floats(2, 6, 3, dtype="float64"), -2)
    case(F + "glu", floats(2, 3), error="shape")
    for name in ("rms_norm", "group_norm", "instance_norm", "normalize"):
        call = F + name
        if name == "rms_norm":
            case(call, floats(3, 8), [8])
            case(call, floats(3, 8), [8], floats(8), 1e-5)
            case(call, floats(2, 3, 4, dtype="float64"), [3, 4], floats(3, 4, dtype="float64"))
            case(call, floats(3, 4), [3], error="shape")
        if name == "group_norm":
            case(call, floats(2, 4, 3), 2, floats(4), floats(4))
            case(call, floats(2, 4, 2, 3), 4)
            case(call, floats(3, 6, dtype="float64"), 2, floats(6, dtype="float64"), None, 1e-3)
            case(call, floats(2, 4, 3), 3, error="value")
        if name == "instance_norm":
            case(call, floats(2, 3, 5))
            case(call, floats(2, 3, 4, 2), weight=floats(3), bias=floats(3))
        if name == "normalize":
            case(call, floats(3, 4))
            case(call, floats(3, 4), 1.0, 0)
            case(call, floats(2, 3, 4, dtype="float64"), 3.0, -1)
            case(call, values([[0.0, 0.0], [3.0, 4.0]]))


def losses(case):
    words = ("mean", "sum", "none")
    for name, options in {
        "l1_loss": [{}], "smooth_l1_loss": [{}, {"beta": 0.5}, {"beta": 0.0}], "huber_loss": [{}, {"delta": 0.5}],
        "soft_margin_loss": [{}],
    }.items():
        call = F + name
        grad = [0] if name == "soft_margin_loss" else True      # PyTorch's target is a constant here
        for kwargs in options:
            for word in words:
                case(call, floats(3, 4), floats(3, 4), reduction=word, grad=grad, **kwargs)
            case(call, floats(5, dtype="float64"), floats(5, dtype="float64"), grad=grad, **kwargs)
        case(call, floats(0, 2), floats(0, 2), reduction="none", grad=grad)
        case(call, floats(3), floats(3), reduction="average", error="value")
    k = F + "kl_div"
    goal = dict(lo=0.1, hi=0.9)
    for word in words + ("batchmean",):
        case(k, floats(3, 4, lo=-3, hi=0), floats(3, 4, **goal), reduction=word)
        case(k, floats(3, 4, lo=-3, hi=0), floats(3, 4, lo=-3, hi=0), reduction=word, log_target=True)
    case(k, floats(3, lo=-3, hi=0), values([0.0, 0.5, 0.5]), reduction="sum", grad=[0])
    b = F + "binary_cross_entropy"
    for word in words:
        case(b, floats(3, 4, **goal), floats(3, 4, lo=0, hi=1), reduction=word)
    case(b, floats(3, 4, **goal), floats(3, 4, lo=0, hi=1), weight=floats(4, lo=0.5, hi=2), grad=[0, 1])
    case(b, values([0.0, 1.0, 0.0, 1.0]), values([0.0, 1.0, 1.0, 0.0]), reduction="none", grad=False)
    case(b, floats(5, dtype="float64", **goal), floats(5, dtype="float64", **goal))
    p = F + "poisson_nll_loss"
    for word in words:
        case(p, floats(3, 4), floats(3, 4, lo=0, hi=4), reduction=word)
        case(p, floats(3, 4), floats(3, 4, lo=0.1, hi=4), reduction=word, full=True)
    case(p, floats(3, 4, lo=0.2, hi=3), floats(3, 4, lo=0, hi=4), log_input=False)
    g = F + "gaussian_nll_loss"
    for word in words:
        case(g, floats(3, 4), floats(3, 4), floats(3, 4, lo=0.3, hi=2), reduction=word)
    case(g, floats(3, 4), floats(3, 4), floats(3, 1, lo=0.3, hi=2), full=True)
    case(F + "margin_ranking_loss", floats(7), floats(7), values([1.0, -1.0, 1.0, 1.0, -1.0, -1.0, 1.0]), 0.5)
    case(F + "margin_ranking_loss", floats(3), floats(3), values([1.0, -1.0, 1.0]), reduction="none")
    h = F + "hinge_embedding_loss"
    signs = values([1.0, -1.0, 1.0, -1.0, 1.0])
    for word in words:
        case(h, floats(5), signs, reduction=word, grad=[0])
    case(h, floats(5), signs, margin=0.3, grad=[0])
    c = F + "cosine_embedding_loss"
    for word in words:
        case(c, floats(4, 3), floats(4, 3), values([1, -1, 1, -1]), reduction=word)
    case(c, floats(4, 3), floats(4, 3), values([-1, -1, 1, -1]), margin=0.2)
    t = F + "triplet_margin_loss"
    for word in words:
        case(t, floats(4, 3), floats(4, 3), floats(4, 3), reduction=word)
    case(t, floats(4, 3), floats(4, 3), floats(4, 3), margin=2.0, p=1.0, swap=True)
    s = F + "cosine_similarity"
    case(s, floats(3, 4), floats(3, 4))
    case(s, floats(3, 4), floats(3, 4), dim=0)
    case(s, floats(2, 3, 4, dtype="float64"), floats(1, 3, 4, dtype="float64"), dim=-1)
    case(s, values([[0.0, 0.0], [1.0, 2.0]]), floats(2, 2), grad=False)
    case(s, floats(2, 3), floats(2, 4), error="shape")
    d = F + "pairwise_distance"
    case(d, floats(3, 4), floats(3, 4))
    case(d, floats(3, 4), floats(3, 4), p=1.0, keepdim=True)
    case(d, floats(2, 3, 4, dtype="float64"), floats(2, 3, 4, dtype="float64"), p=3.0)


def reductions(case):
    for name in ("max", "min", "cummax", "cummin"):
        call = "torch." + name
        keep = name in ("max", "min")
        case(call, floats(3, 4), 0)
        case(call, floats(2, 3, 4), -1)
        if keep:
            case(call, floats(2, 3, 4), 1, True)
            case(call, floats(0, 3), 0, error="shape")
        case(call, floats(), 0)
        case(call, values([[1.0, 3.0, 3.0, 2.0], [2.0, 2.0, 1.0, 2.0]]), 1)
        case(call, values([[1.0, NAN, 3.0, NAN], [INF, -INF, 0.0, INF]]), 1, grad=False)
        case(call, values([3, 1, 2, 3]), 0)
        case(call, bools(2, 3), 1)
        case(call, floats(3), 1, error="index")
    case("torch.aminmax", floats(3, 4))
    case("torch.aminmax", floats(3, 4), dim=1, keepdim=True)
    case("torch.aminmax", values([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]), dim=0)
    case("torch.aminmax", ints(4))
    case("torch.aminmax", floats(0), error="shape")
    p = "torch.cumprod"
    case(p, floats(3, 4), 0)
    case(p, floats(2, 3, 2, dtype="float64"), -2)
    case(p, values([[1.0, 0.0, 3.0, 2.0], [2.0, 0.0, 0.0, 5.0], [1.0, 2.0, 3.0, 0.0]]), 1)
    case(p, floats(), 0)
    case(p, ints(2, 3), 1)
    case(p, floats(0, 2), 0)
    case(p, floats(3), 1, error="index")
    for name in ("nansum", "nanmean"):
        call = "torch." + name
        case(call, floats(3, 4))
        case(call, floats(2, 3, 4), [0, -1], True)
        case(call, values([[NAN, 1.0, 2.0], [3.0, NAN, NAN]]), 1)
        case(call, values([[NAN, 1.0, 2.0], [3.0, NAN, NAN]], "float64"))
    case("torch.nansum", ints(3))
    z = "torch.count_nonzero"
    case(z, ints(3, 4, lo=0, hi=2))
    case(z, values([[0.0, NAN, 1.0], [0.0, -0.0, 2.0]]), 1)
    case(z, bools(2, 3, 4), [0, 2])
    case(z, floats(0, 3), 0)
    for name in ("var_mean", "std_mean"):
        call = "torch." + name
        case(call, floats(3, 4))
        case(call, floats(3, 4), dim=1, correction=0)
        case(call, floats(2, 3, 4, dtype="float64"), [0, 2], keepdim=True)
        case(call, ints(3), error="dtype")
    v = "torch.linalg.vector_norm"
    for order in (2.0, 1.0, 0.0, INF, -INF, 3.0, 1.5, -1.0):
        case(v, floats(3, 4), order, 1)
        case(v, floats(2, 3, 2, dtype="float64"), order)
    case(v, floats(2, 3, 4), 2, [0, -1], True)
    case(v, values([[0.0, 0.0], [3.0, 4.0]]), 2, 1)
    case(v, values([[0.0, 0.0], [3.0, -3.0]]), 3.0, 1)
    case(v, values([[1.0, -1.0, 1.0], [0.0, 2.0, 1.0]]), INF, 1)
    case(v, floats(0, 2), 2, 0)
    case(v, floats(0, 2), INF, 0, error="shape")
    case(v, ints(3), error="dtype")


def arranging(case):
    case("torch.roll", floats(5), 2, 0)
    case("torch.roll", floats(3, 4), [-1, 6], [0, -1])
    case("torch.roll", floats(3, 4), 5)
    case("torch.roll", ints(0, 4), 1, 0)
    case("torch.roll", floats(3), 1, 1, error="index")
    for call in ("torch.Tensor.repeat", "torch.tile"):
        case(call, floats(3), [2])
        case(call, floats(2, 3), [2, 1, 3])
        case(call, floats(2, 3), [0, 2])
        case(call, floats(), [2, 2])
    case("torch.tile", floats(2, 3), [2])
    case("torch.Tensor.repeat", floats(2, 3), [2], error="shape")
    i = "torch.repeat_interleave"
    case(i, floats(2, 3), 2)
    case(i, floats(2, 3), 3, dim=0)
    case(i, ints(2, 3), 2, dim=-1)
    d = F + "pad"
    case(d, floats(3), [1, 2])
    case(d, floats(2, 3), [1, 0, 2, 1], value=1.5)
    case(d, floats(2, 5), [-1, -2])
    case(d, floats(2, 3), [2, -1], "constant", 3.0)
    case(d, ints(2, 3), [1, 1])
    case(d, floats(3), [-2, -2], error="shape")
    for mode in ("reflect", "replicate", "circular"):
        case(d, floats(2, 5), [2, 1], mode)
        case(d, floats(2, 2, 4, 5), [2, 1, 1, 3], mode)
    case(d, floats(2, 3), [3, 0], "reflect", error="shape")
    case(d, floats(2, 3), [4, 0], "circular", error="shape")
    u = "torch.Tensor.unfold"
    case(u, floats(7), 0, 3, 2)
    case(u, floats(2, 5, 3), 1, 2, 1)
    case(u, ints(4), -1, 4, 9)
    case(u, floats(3), 0, 4, 1, error="shape")
    e = "torch.diag_embed"
    case(e, floats(3))
    case(e, floats(2, 3), 1)
    case(e, floats(2, 3), -2, 0, 2)
    case(e, floats(2, 3), 0, 1, 1, error="value")
    for spec in (floats(3), floats(3, 4), floats(4, 2)):
        for k in (0, 1, -1):
            case("torch.diag", spec, k)
    case("torch.trace", floats(3, 3))
    case("torch.trace", floats(2, 4))
    case("torch.trace", ints(3, 2))
    case("torch.trace", floats(3), error="shape")
    m = "torch.movedim"
    case(m, floats(2, 3, 4), 0, 2)
    case(m, floats(2, 3, 4), [0, 1], [-1, 0])
    case(m, floats(2, 3), [0, 0], [0, 1], error="value")
    case("torch.swapaxes", floats(2, 3, 4), 0, -1)
    case("torch.unflatten", floats(2, 6), 1, [2, -1])
    case("torch.unflatten", floats(6), 0, [2, 3])
    case("torch.unflatten", floats(6), 0, [4, -1], error="shape")
    case("torch.unbind", floats(3, 2))
    case("torch.unbind", floats(3, 2), 1)
    for name in ("hstack", "vstack", "dstack"):
        for shape in ((3,), (2, 3), (2, 3, 2), ()):
            case("torch." + name, [floats(*shape), floats(*shape)])
    for k in (0, 1, 2, -1, 5):
        case("torch.rot90", floats(2, 3), k, [0, 1])
    case("torch.rot90", floats(2, 3, 2), 1, [2, 0])
    case("torch.fliplr", floats(2, 3))
    case("torch.flipud", floats(2, 3))
    case("torch.meshgrid", [floats(2), floats(3)], indexing="ij")
    case("torch.meshgrid", [floats(2), floats(3), floats(4)], indexing="xy")
    case("torch.pixel_shuffle", floats(2, 8, 3, 2), 2)
    case("torch.pixel_unshuffle", floats(2, 6, 4), 2)
    case("torch.pixel_shuffle", floats(3, 2, 2), 2, error="shape")
    case("torch.diff", floats(5))
    case("torch.diff", floats(3, 5), 2, 1)
    case("torch.diff", bools(5))
    case("torch.diff", ints(3, 2), 1, 0)


def indexing(case):
    case("torch.take", floats(3, 4), values([[0, 11], [-1, 5]]))
    case("torch.take", floats(3), values(2))
    case("torch.take", ints(2, 2), values([1, 1, 0]))
    case("torch.take", floats(2, 2), values([4]), error="index")
    g = "torch.Tensor.__getitem__"
    case(g, floats(3, 4), [values([2, 0])])
    case(g, floats(3, 4), [values([2, 0, 2]), values([-1, 1, -1])])
    case(g, floats(3, 4, 2), [values([[2], [0]]), values([3, 1, 0])])
    case(g, floats(2, 2), [values([0]), values([2])], error="index")
    p = "torch.index_put"
    case(p, floats(3, 4), [values([2, 0])], floats(2, 4))
    case(p, floats(3, 4), [values([2, 0]), values([-1, 1])], floats())
    case(p, floats(3, 4, 2), [values([[2], [0]]), values([3, 1, 0])], floats(3, 2))
    case(p, floats(3), [values([1, 1, 0, 1])], floats(4), True)
    case(p, floats(2, 3), [values([1, 1, 0])], floats(1, 3), accumulate=True)
    case(p, ints(3), [values([1])], ints(1))
    case(p, floats(3), [values([3])], floats(1), error="index")
    case("torch.index_copy", floats(3, 4), 0, values([2, 0]), floats(2, 4))
    case("torch.index_copy", floats(3, 4), -1, values([0, 3, 1]), floats(3, 3))
    case("torch.index_copy", floats(3), 0, values([3]), floats(1), error="index")
    case("torch.index_fill", floats(3, 4), 0, values([2, 0]), 1.5)
    case("torch.index_fill", floats(3, 4), -1, values([0, 3, 0]), floats())
    case("torch.index_fill", ints(3), 0, values([1]), 7)
    case("torch.take_along_dim", floats(3, 4), ints(3, 2, lo=0, hi=4), 1)
    case("torch.take_along_dim", floats(3, 4), ints(1, 2, lo=0, hi=4), 1)
    case("torch.take_along_dim", floats(3, 4), ints(5, lo=0, hi=12))
    h = F + "one_hot"
    case(h, values([0, 2, 1]), 3)
    case(h, values([[0, 2], [1, 1]]), 5)
    case(h, values([3]), 3, error="index")
    case(h, floats(2), 3, error="dtype")


def products(case):
    case("torch.addmv", floats(3), floats(3, 4), floats(4))
    case("torch.addmv", floats(), floats(3, 4), floats(4), beta=0.5, alpha=2.0)
    case("torch.addmv", values([NAN, NAN]), floats(2, 3), floats(3), beta=0, grad=False)
    case("torch.addmv", ints(2), ints(2, 3), ints(3))
    case("torch.addmv", floats(3), floats(3, 4), floats(3), error="shape")
    case("torch.addr", floats(3, 4), floats(3), floats(4))
    case("torch.addr", floats(1, 4), floats(3), floats(4), beta=2.0, alpha=-1.0)
    case("torch.addr", values([[NAN]]), floats(2), floats(3), beta=0, grad=False)
    case("torch.baddbmm", floats(2, 3, 5), floats(2, 3, 4), floats(2, 4, 5))
    case("torch.baddbmm", floats(3, 1), floats(2, 3, 4), floats(2, 4, 5), beta=0.5, alpha=2.0)
    case("torch.baddbmm", floats(2, 3, 5, dtype="float64"), floats(2, 3, 4, dtype="float64"),
         floats(2, 4, 5, dtype="float64"))
    case("torch.baddbmm", floats(2, 3, 5), floats(2, 3, 4), floats(3, 4, 5), error="shape")
    case("torch.outer", floats(3), floats(4))
    case("torch.dot", floats(4), floats(4))
    case("torch.mv", floats(3, 4), floats(4))
    case("torch.dot", floats(2, 2), floats(2, 2), error="shape")
    t = "torch.tensordot"
    case(t, floats(2, 3, 4), floats(3, 4, 5), [[1, 2], [0, 1]])
    case(t, floats(2, 3, 4), floats(4, 3, 5), [[2, 1], [0, 1]])
    case(t, floats(2, 3), floats(3, 2), [[0], [0]], error="shape")
    e = "torch.einsum"
    case(e, "ij,jk->ik", [floats(2, 3), floats(3, 4)])
    case(e, "bij, bjk -> bik", [floats(2, 3, 4), floats(2, 4, 5)])
    case(e, "ij,jk,kl->il", [floats(2, 3), floats(3, 4), floats(4, 2)])
    case(e, "ij,jk", [floats(2, 3), floats(3, 4)])
    case(e, "ba,cb", [floats(2, 3), floats(4, 2)])
    case(e, "ii->i", [floats(3, 3)])
    case(e, "ii", [floats(3, 3)])
    case(e, "ij->", [floats(2, 3)])
    case(e, "ij->ji", [floats(2, 3)])
    case(e, "i,j->ij", [floats(2), floats(3)])
    case(e, "...ij,...jk->...ik", [floats(5, 2, 3), floats(2, 1, 3, 4)])
    case(e, "i...->...", [floats(3, 2, 4)])
    case(e, "bhqd,bhkd->bhqk", [floats(2, 2, 3, 4, dtype="float64"), floats(2, 2, 5, 4, dtype="float64")])
    case(e, "ij,ij->i", [floats(2, 3), floats(2, 3)])
    case(e, "ij,jk->iq", [floats(2, 3), floats(3, 4)], error="value")
    case(e, "ij,jk->ik", [floats(2, 3), floats(2, 4)], error="shape")
    case(e, "ijk->i", [floats(2, 3)], error="shape")
    s = F + "scaled_dot_product_attention"
    for dtype in ("float32", "float64"):
        qkv = [floats(2, 3, 5, 4, dtype=dtype), floats(2, 3, 6, 4, dtype=dtype), floats(2, 3, 6, 7, dtype=dtype)]
        case(s, *qkv)
        case(s, *qkv, is_causal=True)
        case(s, *qkv, attn_mask=floats(5, 6, dtype=dtype))
        case(s, *qkv, scale=0.3)
    case(s, floats(2, 5, 4), floats(2, 6, 4), floats(2, 6, 4),
         attn_mask=values([[True, False, True, True, False, True]] * 5))
