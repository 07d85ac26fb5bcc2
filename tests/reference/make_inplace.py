"""What PyTorch makes of writes in place under autograd: inplace.json.

Each case is a program `forward(x, w)`: `h` is made by `start`, the statements change it, `h` is returned. Stored are the
values and the gradients of x and w for the cotangent below, or `fails`: `forward` or `backward`, where PyTorch refuses.
`trace_grads` stand where torch.jit.trace of the program has other gradients (it records no `no_grad`).

    pip install torch && python make_inplace.py
"""

import json
import pathlib
import warnings

import torch

X = [0.3, -0.7, 0.5, 0.8]
W = [1.5, 0.4, -2.0, 0.6]
COTANGENT = [1.0, -2.0, 0.5, 3.0]

INNER = "x * 1"
POSITIVE = "x.abs() * 1"
LARGE = "x.abs() + 1.5"
SQUARE = "x.reshape(2, 2) * 1"
FRESH = "torch.full_like(x, 0.5)"

HEAD = """import torch
import torch.nn.functional as F
from torch import Tensor

def forward(x: Tensor, w: Tensor) -> Tensor:
    h = {start}
{body}
    return h
"""

UNARY = """abs absolute acos arccos asin asinh atan atanh ceil cos cosh deg2rad erf erfc erfinv exp exp2 expm1 fix floor frac
i0 nan_to_num neg negative rad2deg reciprocal relu round sgn sigmoid sign sin sinc sinh square tan tanh trunc zero""".split()
ABOVE_ZERO = "log log2 log10 log1p sqrt rsqrt logit digamma lgamma".split()

CASES = (
    [(INNER, f"h.{name}_()") for name in UNARY]
    + [(POSITIVE, f"h.{name}_()") for name in ABOVE_ZERO]
    + [(LARGE, s) for s in ["h.acosh_()", "h.polygamma_(1)", "h.mvlgamma_(1)", "h.pow_(0.5)", "h.xlogy_(w.abs())", "h.pow_(w)"]]
    + [
        (INNER, s)
        for s in [
            # Numbers.
            "h.add_(2.0)", "h.sub_(2.0)", "h.mul_(3.0)", "h.div_(2.0)", "h.pow_(2.0)", "h.pow_(3)", "h.pow_(1.0)",
            "h.pow_(0.0)", "h.clamp_(-0.4, 0.4)", "h.clamp_min_(0.1)", "h.clamp_max_(0.1)", "h.fmod_(0.4)",
            "h.remainder_(0.4)", "h.fill_(2.0)", "h.copysign_(-1.0)", "h.xlogy_(2.0)", "h.cumsum_(0)", "h.cumprod_(0)",
            "h.float_power_(2.0)", "h.masked_fill_(x > 0.4, 2.0)", "h.lerp_(w, 0.3)",
            # Tensors.
            "h.add_(w)", "h.sub_(w, alpha=2)", "h.mul_(w)", "h.div_(w)", "h.true_divide_(w)", "h.atan2_(w)",
            "h.hypot_(w)", "h.copysign_(w)", "h.fmod_(w)", "h.remainder_(w)", "h.addcmul_(w, w, value=0.5)",
            "h.addcdiv_(w, w.exp())", "h.lerp_(w, w)", "h.copy_(w)", "h.clamp_(w.neg(), w.abs())",
            "h.masked_fill_(x > 0.4, w.sum())", "h.masked_scatter_(x > 0.4, w)",
            "h.index_add_(0, torch.tensor([0, 2]), w[:2])", "h.index_copy_(0, torch.tensor([0, 2]), w[:2])",
            "h.index_fill_(0, torch.tensor([0, 2]), 3.0)", "h.scatter_(0, torch.tensor([3, 1]), w[:2])",
            "h.scatter_add_(0, torch.tensor([3, 1, 3]), w[:3])", "h.index_put_((torch.tensor([3, 1]),), w[:2])",
            "h.mul_(w.detach())", "h.div_(w.detach())", "h.mul_(x)", "h.mul_(w[0])",
            # The target twice.
            "h.add_(h)", "h.mul_(h)", "h.div_(h)", "h.mul_(h[0])", "h.mul_(h.clone())", "h.addcmul_(h, w)",
            # Functions that take `inplace`.
            "F.relu(h, inplace=True)", "F.relu6(h, inplace=True)", "F.leaky_relu(h, 0.1, inplace=True)",
            "F.elu(h, inplace=True)", "F.selu(h, inplace=True)", "F.celu(h, 2.0, inplace=True)",
            "F.silu(h, inplace=True)", "F.mish(h, inplace=True)", "F.hardswish(h, inplace=True)",
            "F.hardsigmoid(h, inplace=True)", "F.hardtanh(h, -0.4, 0.4, inplace=True)",
            "F.threshold(h, 0.4, 0.2, inplace=True)", "F.rrelu(h, training=False, inplace=True)",
            "F.dropout(h, 0.5, training=False, inplace=True)",
            # Operators, elements and views.
            "h *= w", "h /= w", "h -= w", "h **= 2", "h *= h", "h[0] = w.sum()", "h[1] *= w[0]", "h[1:3] *= w[:2]",
            "h[1:3].sin_()", "h[1:3].mul_(w[1:3])", "h.view(2, 2)[0].sin_()", "h[x > 0.4] = w[:2]", "h[x > 0.4] *= 3.0",
            # Several statements: what was kept is written over, or was not needed.
            "h.sin_(); h.add_(1.0)", "h.mul_(w); h.add_(1.0)", "h.exp_(); h.add_(1.0)", "h.sigmoid_(); h.mul_(2.0)",
            "h.relu_(); h.mul_(2.0)", "h.sin_().mul_(w).add_(x)", "h.sin_(); h.cos_(); h.mul_(w)",
            "g = h * h; h.sin_()", "g = h * h; h.sin_(); h = g + h", "g = h * 2; h.sin_(); h = g * h",
            "g = h.sin_(); h = g * h", "v = h[1:3]; h.sin_(); h = h * v.sum()", "v = h[1:3]; v.sin_(); h = h.mul_(w)",
            "h.mul_(w); h = h * w; w.detach().add_(0.0)", "w = w * 1; h.mul_(w); w.add_(1.0)",
            "w = w * 1; h.add_(w); w.add_(1.0)", "h.detach().sin_(); h = h * 2", "g = h.sin(); h.detach().add_(1.0); h = g",
            "for i in range(3): h.mul_(w)", "for i in range(3): h.sin_().add_(w)",
            "if bool(h.sum() > 0): h.sin_()\nelse: h.mul_(w)", "with torch.no_grad(): h.mul_(2.0)",
            "with torch.no_grad(): h.sin_()", "x.sin_()", "x[1:3].sin_()", "x.detach().mul_(2.0)", "w.add_(x)",
        ]
    ]
    + [(SQUARE, s) for s in ["h.tril_()", "h.triu_()", "h.t().sin_()", "h.addmm_(h.clone(), w.reshape(2, 2))",
                             "h.addr_(w[:2], w[2:])", "h.cumprod_(1)", "h.renorm_(2.0, 0, 0.6)", "h[:, 0].mul_(w[:2])", "h.fill_diagonal_(2.0)"]]
    + [(FRESH, s) for s in ["h.add_(x)", "h.mul_(x)", "h.div_(x)", "h.atan2_(x)", "h.pow_(x)", "h.copy_(x)", "h.lerp_(x, 0.3)",
                            "h.sin_(); h.mul_(x)", "h.mul_(x); h.mul_(w)", "h[1:3].mul_(x[1:3])", "h[1:3] = x[:2].sin_()"]]
)


def text(start, statements):
    """The program of a case."""
    lines = [line for statement in statements.split("; ") for line in statement.split("\n")]
    return HEAD.format(start=start, body="\n".join("    " + line for line in lines))


def reshaped(cotangent, like):
    return cotangent.reshape(like.shape) if like.shape != cotangent.shape else cotangent


def leaves():
    return [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (X, W)]


def gradients(forward):
    """Values, and gradients of x and w; None where there is none."""
    x, w = leaves()
    h = forward(x, w)
    if not h.requires_grad:
        return h, [None, None]
    seed = torch.tensor(COTANGENT, dtype=torch.float64).reshape(h.shape)
    grads = torch.autograd.grad([h], [x, w], [seed], allow_unused=True)
    # Some are tensors of zeros without memory.
    return h, [None if g is None else (g + 0.0).tolist() for g in grads]


def ran(start, statements):
    """What the program does in eager PyTorch, and in torch.jit.trace."""
    scope = {"__name__": "case"}
    exec(text(start, statements), scope)
    forward = scope["forward"]
    try:
        forward(*leaves())
    except RuntimeError as e:
        return {"fails": "forward", "why": str(e).splitlines()[0]}
    try:
        h, grads = gradients(forward)
    except RuntimeError as e:
        return {"fails": "backward", "why": str(e).splitlines()[0]}
    case = {"out": h.detach().flatten().tolist(), "grads": grads}
    traced = torch.jit.trace(forward, tuple(leaves()), check_trace=False)
    _, traced_grads = gradients(traced)
    return case if traced_grads == grads else case | {"trace_grads": traced_grads}


def main():
    warnings.simplefilter("ignore")
    cases = [{"start": s, "statements": t, "text": text(s, t)} | ran(s, t) for s, t in CASES]
    about = {"made_by": "make_inplace.py", "torch": torch.__version__.split("+")[0], "x": X, "w": W, "cotangent": COTANGENT}
    lines = ",\n".join(json.dumps(case) for case in cases)
    path = pathlib.Path(__file__).with_name("inplace.json")
    path.write_text(f'{{"about": {json.dumps(about)}, "cases": [\n{lines}\n]}}\n')
    failing = sum("fails" in case for case in cases)
    print(f"{len(cases)} cases, {failing} of them fail")


if __name__ == "__main__":
    main()
