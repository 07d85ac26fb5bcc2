"""Writes opinfo_*.safetensors: PyTorch's own samples (OpInfo) of the operations in scope, with what PyTorch answers.

    pip install torch numpy expecttest
    python make_opinfo.py                              # all files
    python make_opinfo.py --files errors,half          # these
    python make_opinfo.py --out X.safetensors NAME...  # only the operations called so (nn.functional.conv2d, add)

An operation's samples are PyTorch's `op_db` entry for it. Each is run by the torch name that a user would call; a sample
whose arguments a reference file cannot say (complex numbers, other devices and layouts, callables, generators), and an
operation that draws random numbers, is left out, and the summary says how many. All small samples are taken; where an
entry has none, its two smallest, or the samples that `opinfo_own.py` has for it.
"""

import argparse
import collections
import json
import math
import pathlib
import random
import warnings
import zlib

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._pytree import tree_leaves, tree_map

from opinfo_own import OWN, OWN_ERRORS
from suite import CODES, TOLERANCE, array, write_safetensors
from torch_framework import Torch, flat, resolve

HERE = pathlib.Path(__file__).parent
FILES = {
    "float32": ["float32"], "float64": ["float64"], "half": ["bfloat16", "float16"],
    "integer": ["int64", "int32", "uint8", "bool"], "errors": [],
}
# Elements of all tensors of a case; up to LARGE where an operation has no smaller sample.
SMALL, LARGE = 300, 6000

COMPLEX, SPARSE, MEMORY, INTERNAL, PROTOTYPE, DRAWN, GAUGE = (
    "complex numbers", "sparse tensors", "undefined memory or strides as an argument", "no public function",
    "a prototype namespace", "random", "its outputs are defined up to a sign or a rotation")
OUT_OF_SCOPE = {
    "stft": COMPLEX, "istft": COMPLEX, "view_as_real": COMPLEX, "view_as_complex": COMPLEX, "complex": COMPLEX,
    "polar": COMPLEX, "cdouble": COMPLEX, "cfloat": COMPLEX, "chalf": COMPLEX, "imag": COMPLEX, "linalg.eig": COMPLEX,
    "linalg.eigvals": COMPLEX, "to_sparse": SPARSE, "short": "int16", "char": "int8",
    "empty": MEMORY, "empty_like": MEMORY, "empty_strided": MEMORY, "empty_permuted": MEMORY, "new_empty": MEMORY,
    "new_empty_strided": MEMORY, "resize_": MEMORY, "resize_as_": MEMORY, "grid_sampler_3d": "no small samples",
    "linalg.eigh": GAUGE, "linalg.svd": GAUGE, "svd": GAUGE, "geqrf": "LAPACK's own packed form", "ormqr": "LAPACK's own packed form",
    "bernoulli": DRAWN, "svd_lowrank": DRAWN, "pca_lowrank": DRAWN, "linalg.ldl_factor": "LAPACK's own packed form",
    "linalg.ldl_factor_ex": "LAPACK's own packed form", "linalg.ldl_solve": "LAPACK's own packed form",
    "hash_tensor": "a hash of memory", "nn.functional.linear_cross_entropy": PROTOTYPE, "linalg.polar": PROTOTYPE,
    "linalg.matrix_sqrth": PROTOTYPE,
}
OUT_OF_SCOPE_PREFIXES = {
    "fft.": COMPLEX, "sparse.": SPARSE, "jiterator": "CUDA source", "torch.": INTERNAL, "_": INTERNAL, "masked.": PROTOTYPE,
    "signal.": PROTOTYPE,
}
# Names that are not found as torch.NAME with the same meaning.
CALLS = {"max_pool2d_with_indices_backward": None, "zero_": None, "T": "torch.t", "H": "torch.Tensor.adjoint", "mT": "torch.adjoint", "mH": "torch.adjoint"}


# Entries whose own function takes the arguments in another order than the public one.
ORDER = {"einsum": (1, 0), "nn.functional.embedding": (1, 0), "nn.functional.embedding_bag": (1, 0), "polygamma": (1, 0), "special.polygamma": (1, 0)}


def out_of_scope(op):
    if op.name in ("__getitem__",) or op.name.startswith("__r"):
        return None
    prefix = next((why for p, why in OUT_OF_SCOPE_PREFIXES.items() if op.name.startswith(p)), None)
    return OUT_OF_SCOPE.get(op.name) or prefix


class Unsayable(Exception):
    """A sample that a reference file cannot hold."""


class Case:
    """The JSON of a sample's arguments, and its tensors by name."""

    def __init__(self, ident):
        self.ident, self.tensors, self.names = ident, {}, {}

    def put(self, tensor):
        if id(tensor) not in self.names:
            if str(tensor.dtype)[6:] not in CODES or tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.dim() > 64:
                raise Unsayable(f"{tensor.dtype} {tensor.layout} {tensor.device} of {tensor.dim()} dimensions")
            name = f"{self.ident}/in{len(self.names)}"
            self.names[id(tensor)] = name
            self.tensors[name] = tensor
        return "$" + self.names[id(tensor)]

    def json(self, value):
        if isinstance(value, torch.Tensor):
            return self.put(value)
        if isinstance(value, torch.dtype):
            if str(value)[6:] not in CODES:
                raise Unsayable(str(value))
            return {"dtype": str(value)[6:]}
        if isinstance(value, slice):
            return {"slice": [None if v is None else int(v) for v in (value.start, value.stop, value.step)]}
        if value is Ellipsis:
            return {"ellipsis": True}
        if isinstance(value, (list, tuple)):
            return [self.json(v) for v in value]
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": str(value)}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise Unsayable(type(value).__name__)


# Keywords that ask for what every tensor here has anyway.
USUAL = {
    "device": lambda v: str(v) == "cpu", "layout": lambda v: v is torch.strided, "requires_grad": lambda v: v is False,
    "pin_memory": lambda v: v is False, "memory_format": lambda v: v in (torch.contiguous_format, torch.preserve_format),
}


def arguments(op, sample):
    kwargs = dict(sample.kwargs)
    for name, usual in USUAL.items():
        if name in kwargs and (kwargs[name] is None or usual(kwargs[name])):
            del kwargs[name]
    args = [sample.input, *sample.args]
    order = ORDER.get(op.name, ())
    return [args[i] for i in order] + args[len(order):], kwargs


def seed(text):
    number = zlib.crc32(text.encode())
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)


def same(a, b):
    a, b = flat_tensors(a), flat_tensors(b)
    return len(a) == len(b) and all(
        x.shape == y.shape and x.dtype == y.dtype and torch.equal(x.nan_to_num(1.5, 2.5, 3.5), y.nan_to_num(1.5, 2.5, 3.5))
        for x, y in zip(a, b))


def flat_tensors(result):
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, torch.Size):
        return [torch.tensor(list(result), dtype=torch.int64)]
    return [t.detach() for t in flat(result)]


def candidates(op):
    if op.name in CALLS:
        return [CALLS[op.name]] if CALLS[op.name] else []
    names = [f"torch.{op.name}", f"torch.Tensor.{op.name}"]
    found = []
    for name in names:
        try:
            resolve(name)
            found.append(name)
        except AttributeError:
            pass
    return found


def copied(value):
    """Arguments of their own, so that an operation that writes to them harms no other run."""
    memo = {}
    def copy(v):
        if not isinstance(v, torch.Tensor):
            return v
        if id(v) not in memo:
            memo[id(v)] = v.detach().clone().requires_grad_(v.requires_grad)
        return memo[id(v)]
    return tree_map(copy, value)


def call_of(op, sample, args, kwargs):
    """The torch name under which a user gets what this entry computes from its sample."""
    found = candidates(op)
    entry_args, entry_kwargs = (sample.input, *sample.args), sample.kwargs
    for name in found:
        try:
            results = []
            for function, given in ((op.op, (entry_args, entry_kwargs)), *[(resolve(name), (args, kwargs))] * 2):
                torch.manual_seed(1 if len(results) < 2 else 12345)
                own, named = copied(given)
                results.append(function(*own, **named))
        except Exception:
            continue
        if not same(results[0], results[1]):
            continue
        if not same(results[0], results[2]):
            raise Unsayable(DRAWN)
        return name
    raise Unsayable(f"none of {found} computes it")


def leaves_of(value):
    seen = []
    for t in tree_leaves(value):
        if isinstance(t, torch.Tensor) and t.requires_grad and not any(t is s for s in seen):
            seen.append(t)
    return seen


def evaluate(call, args, kwargs, cotangents):
    """Outputs, cotangents and the gradients of the leaves; `cotangents` of another run or None to draw them."""
    args, kwargs = copied((args, kwargs))
    outputs = resolve(call)(*args, **kwargs)
    if isinstance(outputs, (dict, torch.Size)):
        outputs = flat_tensors(outputs)
    outputs = flat(outputs)
    leaves = leaves_of((args, kwargs))
    wanted = [t.requires_grad and t.grad_fn is not None for t in outputs]
    if not leaves or not any(wanted):
        return outputs, [], []
    if cotangents is None:
        cotangents = [torch.empty(t.shape).uniform_(-1, 1).to(t.dtype) if w else None for t, w in zip(outputs, wanted)]
    pairs = [(t, c.to(t.dtype)) for t, c in zip(outputs, cotangents) if c is not None]
    grads = torch.autograd.grad([t for t, _ in pairs], leaves, [c for _, c in pairs], allow_unused=True)
    return outputs, cotangents, grads


def widened(call, args, kwargs, cotangents):
    memo = {}
    def widen(v):
        if not isinstance(v, torch.Tensor) or not v.is_floating_point():
            return torch.float64 if v in (torch.float32, torch.float16, torch.bfloat16) else v
        if id(v) not in memo:
            memo[id(v)] = v.detach().double().requires_grad_(v.requires_grad)
        return memo[id(v)]
    args, kwargs = tree_map(widen, (args, kwargs))
    return evaluate(call, args, kwargs, [None if c is None else c.double() for c in cotangents])


def tolerance(case, call, args, kwargs, outputs, cotangents, grads):
    """Checks stored values against the same call in float64. Where PyTorch's own rounding uses more than half of its
    default tolerance, the case's atol is the least that leaves room for twice that rounding. Infinite values whose true
    ones are finite are no values to compare with."""
    given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    dtypes = {t.dtype for t in [*outputs, *given] if t.is_floating_point()}
    if dtypes <= {torch.float64} or not any(t.is_floating_point() for t in outputs):
        return
    try:
        wide_outputs, _, wide_grads = widened(call, args, kwargs, cotangents)
    except Exception:
        return
    least = 0.0
    for got, exact in [*zip(outputs, wide_outputs), *zip(grads, wide_grads)]:
        if got is None or exact is None or str(got.dtype)[6:] not in TOLERANCE or got.shape != exact.shape:
            continue
        rtol, atol = TOLERANCE[str(got.dtype)[6:]]
        largest = torch.finfo(got.dtype).max
        got, exact = got.detach().double(), exact.detach().double()
        if (~torch.isfinite(got) & torch.isfinite(exact) & (exact.abs() <= largest)).any():
            raise Unsayable("PyTorch's own overflow")
        wanted = (2 * (got - exact).abs() - rtol * got.abs())[torch.isfinite(got) & torch.isfinite(exact)]
        wanted = wanted.max().item() if wanted.numel() else 0.0
        if wanted > atol:
            least = max(least, wanted)
    if least > 0:
        case["atol"] = float(f"{1.05 * least:.2g}")


class Writer:
    def __init__(self):
        self.cases, self.tensors = [], {}
        self.left_out, self.widened, self.large = collections.Counter(), 0, 0

    def store(self, name, tensor):
        if tensor._is_zerotensor():
            tensor = torch.zeros(tensor.shape, dtype=tensor.dtype)
        self.tensors[name] = Torch().export(tensor.resolve_neg())
        return name

    def operation(self, op, dtype):
        name = op.name + ("." + op.variant_test_name if op.variant_test_name else "")
        torch_dtype = getattr(torch, dtype)
        if torch_dtype not in op.dtypes:
            return
        grad = op.supports_autograd and torch_dtype.is_floating_point and torch_dtype in op.backward_dtypes
        seed(f"{name}/{dtype}")
        made = []
        samples = op.sample_inputs("cpu", torch_dtype, requires_grad=grad)
        if op.name in OWN:
            samples = OWN[op.name](torch_dtype, grad)
        for i, sample in enumerate(samples):
            elements = sum(t.numel() for t in tree_leaves((sample.input, sample.args, sample.kwargs)) if isinstance(t, torch.Tensor))
            made.append((elements, i, sample))
        small = [m for m in made if m[0] <= SMALL]
        self.large += len(made) - len(small)
        if not small:
            small = sorted(m for m in made if m[0] <= LARGE)[:2] if made else []
        for _, i, sample in small:
            self.sample(op, f"{name}/{dtype}/{i}", sample)

    def sample(self, op, ident, sample):
        case = Case(ident)
        try:
            args, kwargs = arguments(op, sample)
            if "fractional_max_pool" in op.name and kwargs.get("_random_samples") is None:
                raise Unsayable(DRAWN)
            record = {"id": ident, "call": "", "args": case.json(args), "kwargs": {k: case.json(v) for k, v in kwargs.items()}}
            record["call"] = call = call_of(op, sample, args, kwargs)
            if "as_strided" in call and any(not t.is_contiguous() for t in case.tensors.values()):
                raise Unsayable("strides as an argument")
            seed(ident)
            outputs, cotangents, grads = evaluate(call, args, kwargs, None)
            results = [t.detach() for t in outputs] + [g for g in grads if g is not None]
            if any(str(t.dtype)[6:] not in CODES or t.layout != torch.strided for t in results):
                raise Unsayable("a result's dtype")
            if sum(t.numel() for t in results) > 2 * LARGE:
                raise Unsayable("large results")
        except Unsayable as reason:
            self.left_out[f"{op.name}: {reason}"] += 1
            return
        except Exception as reason:
            raise RuntimeError(f"{ident}: {record}"[:500]) from reason
        try:
            tolerance(record, call, args, kwargs, outputs, cotangents, grads)
        except Unsayable as reason:
            self.left_out[f"{op.name}: {reason}"] += 1
            return
        self.widened += "atol" in record
        for name, tensor in case.tensors.items():
            self.store(name, tensor)
        record["outputs"] = [self.store(f"{ident}/out{i}", t) for i, t in enumerate(outputs)]
        if grads:
            record["cotangents"] = [None if t is None else self.store(f"{ident}/ct{i}", t) for i, t in enumerate(cotangents)]
            record["grads"] = {}
            for leaf, gradient in zip(leaves_of((args, kwargs)), grads):
                if gradient is not None:
                    source = case.names[id(leaf)]
                    record["grads"][source] = self.store(source.replace("/in", "/grad"), gradient)
        self.cases.append(record)

    def errors(self, op):
        if op.error_inputs_func is None and op.name not in OWN_ERRORS:
            return
        seed(op.name)
        errors = OWN_ERRORS[op.name]() if op.name in OWN_ERRORS else op.error_inputs("cpu")
        for i, error in enumerate(errors):
            name = op.name + ("." + op.variant_test_name if op.variant_test_name else "")
            ident = f"{name}/error/{i}"
            case = Case(ident)
            try:
                args, kwargs = arguments(op, error.sample_input)
                if "out" in kwargs:
                    raise Unsayable("out=")
                if sum(t.numel() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)) > LARGE:
                    raise Unsayable("large")
                record = {"id": ident, "call": "", "args": case.json(args), "kwargs": {k: case.json(v) for k, v in kwargs.items()}}
                calls = candidates(op)
                for call in calls:
                    try:
                        own, named = copied((args, kwargs))
                        resolve(call)(*own, **named)
                    except Exception as e:
                        record["call"], text = call, str(e)
                        break
                else:
                    raise Unsayable(f"no error from {calls}")
            except Unsayable as reason:
                self.left_out[f"{op.name} (error): {reason}"] += 1
                continue
            record["error"] = kind(ident, error.error_type, text)
            for tensor_name, tensor in case.tensors.items():
                self.store(tensor_name, tensor)
            self.cases.append(record)

    def write(self, path):
        text = json.dumps(self.cases, separators=(",", ":"), allow_nan=False)
        write_safetensors(path, self.tensors, {"cases": text})
        count = lambda key: sum(key in c for c in self.cases)
        print(f"{path.name}: {len(self.cases)} cases of {len({c['call'] for c in self.cases})} calls, {count('grads')} with "
              f"gradients, {count('error')} errors, {self.widened} with a wider tolerance, {path.stat().st_size} bytes; "
              f"{self.large} samples are too large, {sum(self.left_out.values())} cannot be said", flush=True)
        for reason, n in sorted(self.left_out.items()):
            print(f"    {n} x {reason[:150]}")


# The word for an error, by the first fragment that PyTorch's message has.
KINDS = [
    ("dtype", ("should be type", "should be the same", "only bool and floating")),
    ("value", (
        "greater than 0, got 0", "must be greater than zero", "cannot sample", "invalid combination of arguments",
        "must be tensor, not", "doesn't apply to", "to be greater than or equal", "to have value at", "not divisible by",
        "bias_v is none", "need attn_mask", "is_causal")),
    ("shape", (
        "non-zero size", "numel() == 0", "cannot be converted to scalar", "same numel", "1 or 2 dim", "must be 2-d",
        "log_probs tensor must not be empty", "zero-dim input", "expected a matrix", "4d or 5d")),
    ("value", (
        "identical", "multiple times", "can be inferred", "must align", "rotation dims", "number of steps", "divisible",
        "lambda must be", "spacing argument", "should contain the same number", "appears", "spacing to be unspecified")),
    ("index", (
        "out of range", "out of bounds", "exceeds dimension size", "cannot be applied to a 0-dim", "total dims >= 2",
        "length must be non-negative", "input must be >=", "sizes.size()")),
    ("dtype", (
        "dtype", "scalar type", "not implemented for", "floating point", "boolean", "integral", "type promotion",
        "on a bool tensor")),
    ("shape", (
        "shape", "size", "dimension", "broadcast", "-d ", "1d", "2d", "3d", "length", "dims", "number of channels")),
]


# Where one message stands for errors of two kinds.
KINDS_OF = {"narrow/error/7": "shape"}


def kind(ident, error_type, text):
    """The word for an error."""
    text = text.lower()
    if ident in KINDS_OF:
        return KINDS_OF[ident]
    if error_type is IndexError and "non-zero size" not in text:
        return "index"
    return next((word for word, fragments in KINDS if any(f in text for f in fragments)), "value")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--dtypes", default=",".join(d for dtypes in FILES.values() for d in dtypes))
    parser.add_argument("--files", default=",".join(FILES))
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    known = [op for op in op_db if not out_of_scope(op)]
    if options.names:
        writer = Writer()
        for op in (op for op in op_db if op.name in options.names):
            for dtype in options.dtypes.split(","):
                writer.operation(op, dtype)
            writer.errors(op)
        writer.write(options.out)
        return
    for file in options.files.split(","):
        writer = Writer()
        for op in known:
            for dtype in FILES[file]:
                writer.operation(op, dtype)
            if file == "errors":
                writer.errors(op)
        writer.write(HERE / f"opinfo_{file}.safetensors.gz")
    for name, why in sorted({op.name: out_of_scope(op) for op in op_db if out_of_scope(op)}.items()):
        print(f"    out of scope: {name}: {why}")


if __name__ == "__main__":
    main()
