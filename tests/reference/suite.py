"""Cases and the file that holds them; knows no framework.

A case is a call with its arguments. Tensor arguments are written as specifications (`floats`,
`ints`, `bools`, `values`) and drawn from a generator seeded by the case's id, so that a new
case changes no other. A framework is a small object:

    tensor(array, dtype)              a tensor of that dtype from a numpy array
    export(tensor)                    (dtype's name, shape, little-endian bytes)
    has_grad(tensor)                  whether its dtype may have a gradient
    run(call, args, kwargs)           a list of output tensors, or an exception
    grad(call, args, kwargs, leaves, draw)
                                      (outputs, cotangents, {position: gradient}) of the inputs in
                                      {position: tensor}; draw(shape) gives a cotangent's values
    widen(tensor)                     the same tensor in float64
"""

import dataclasses
import gzip
import json
import math
import struct
import zlib

import numpy as np

# safetensors' names.
CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "int64": "I64", "int32": "I32", "uint8": "U8", "bool": "BOOL",
}
# (rtol, atol) that a case has unless it says otherwise: those of torch.testing.assert_close.
TOLERANCE = {"float64": (1e-7, 1e-7), "float32": (1.3e-6, 1e-5), "float16": (1e-3, 1e-5), "bfloat16": (1.6e-2, 1e-5)}


@dataclasses.dataclass(frozen=True)
class Spec:
    shape: tuple
    dtype: str
    draw: object  # (numpy generator, shape) -> array


def floats(*shape, dtype="float32", lo=-3.0, hi=3.0):
    return Spec(shape, dtype, lambda g, s: g.uniform(lo, hi, s))


def ints(*shape, dtype="int64", lo=-5, hi=6):
    """Integers of [lo, hi)."""
    return Spec(shape, dtype, lambda g, s: g.randint(lo, hi, s))


def bools(*shape):
    return Spec(shape, "bool", lambda g, s: g.randint(0, 2, s) == 1)


def values(data, dtype=None):
    """These values: float32, int64 or bool where no dtype is given."""
    array = np.array(data)
    dtype = dtype or {"f": "float32", "i": "int64", "b": "bool"}[array.dtype.kind]
    return Spec(array.shape, dtype, lambda g, s: array)


@dataclasses.dataclass(frozen=True)
class Dtype:
    name: str


def plain(value):
    """A host argument as JSON."""
    if isinstance(value, Dtype):
        return {"dtype": value.name}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    assert value is None or isinstance(value, (bool, int, float, str)), value
    return value


def mapped(change, value):
    """`value` with `change` applied to everything in it that is no list, tuple or dictionary."""
    if isinstance(value, (list, tuple)):
        return [mapped(change, v) for v in value]
    if isinstance(value, dict):
        return {k: mapped(change, v) for k, v in value.items()}
    return change(value)


def array(exported):
    """A numpy array of what a framework exported; bfloat16 as float32."""
    dtype, shape, data = exported
    if dtype == "bfloat16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(data, dtype).reshape(shape)


class Suite:
    def __init__(self, framework, prefix=""):
        self.framework, self.prefix = framework, prefix
        self.cases, self.tensors, self.counts = [], {}, {}

    def case(self, call, *args, grad=True, tol=None, error=None, check=True, **kwargs):
        """Adds one case. `grad`: whether gradients too, of the inputs that are float32 or float64; or the
        positions of the inputs. `tol`: (rtol, atol). `error`: the kind of the error it must give.
        `check`: see the method."""
        op = call.rsplit(".", 1)[1].strip("_")
        number = self.counts.get(op, 0)
        self.counts[op] = number + 1
        ident = f"{self.prefix}{op}/{number}"
        random = np.random.RandomState(zlib.crc32(ident.encode()))
        inputs = []

        def build(value):
            """(the JSON of an argument, what the framework is given)"""
            if isinstance(value, Spec):
                tensor = self.framework.tensor(value.draw(random, value.shape), value.dtype)
                name = f"{ident}/in{len(inputs)}"
                inputs.append((name, tensor))
                self.put(name, tensor)
                return "$" + name, tensor
            if isinstance(value, (list, tuple)):
                pairs = [build(v) for v in value]
                return [j for j, _ in pairs], [t for _, t in pairs]
            return plain(value), value

        pairs = [build(a) for a in args]
        named = {k: build(v) for k, v in kwargs.items()}
        case = {
            "id": ident, "call": call,
            "args": [j for j, _ in pairs], "kwargs": {k: j for k, (j, _) in named.items()},
        }
        given = [t for _, t in pairs], {k: t for k, (_, t) in named.items()}
        try:
            if error:
                case["error"] = error
                try:
                    self.framework.run(call, *given)
                except (RuntimeError, IndexError, TypeError, ValueError, ZeroDivisionError):
                    pass
                else:
                    raise AssertionError("no error")
            else:
                self.evaluate(case, ident, call, given, inputs, random, grad)
                if tol:
                    case["rtol"], case["atol"] = tol
                if check:
                    self.check(case, call, given, inputs)
        except Exception as reason:
            raise RuntimeError(f"{ident}: {call} {case['args']} {case['kwargs']}") from reason
        self.cases.append(case)

    def evaluate(self, case, ident, call, given, inputs, random, grad):
        f = self.framework
        positions = range(len(inputs)) if grad is True else grad or ()
        leaves = {i: inputs[i][1] for i in positions if f.has_grad(inputs[i][1])}
        if leaves:
            outputs, cotangents, grads = f.grad(call, *given, leaves, lambda shape: random.uniform(-1, 1, shape))
        else:
            outputs, cotangents, grads = f.run(call, *given), [], {}
        case["outputs"] = [self.put(f"{ident}/out{i}", t) for i, t in enumerate(outputs)]
        if grads:
            case["cotangents"] = [
                None if t is None else self.put(f"{ident}/ct{i}", t) for i, t in enumerate(cotangents)]
            case["grads"] = {
                inputs[i][0]: self.put(f"{ident}/grad{i}", t) for i, t in sorted(grads.items())}

    def check(self, case, call, given, inputs):
        """A stored value must be worth comparing with: the framework's own rounding error, seen from
        float64, may use half of the tolerance (of float16, three quarters: one rounding is half)."""
        f, given = self.framework, list(given)
        used = [self.tensors[name][0] for name, _ in inputs]
        if "float64" in used or not any("float" in dtype for dtype in used) or '{"dtype"' in json.dumps(case):
            return
        wide = [(n, f.widen(t) if "float" in dtype else t) for (n, t), dtype in zip(inputs, used)]
        by_id = {id(t): w for (_, t), (_, w) in zip(inputs, wide)}
        args, kwargs = mapped(lambda v: by_id.get(id(v), v), given)
        if "grads" in case:
            cotangents = iter([array(self.tensors[n]) for n in case["cotangents"] if n])
            leaves = {i: t for i, (n, t) in enumerate(wide) if n in case["grads"]}
            outputs, _, grads = f.grad(call, args, kwargs, leaves, lambda shape: next(cotangents))
            pairs = list(zip(case["grads"].values(), grads.values()))
        else:
            outputs, pairs = f.run(call, args, kwargs), []
        for name, tensor in list(zip(case["outputs"], outputs)) + pairs:
            got, exact = array(self.tensors[name]), array(f.export(tensor))
            dtype = self.tensors[name][0]
            if dtype not in TOLERANCE:
                assert np.array_equal(got, exact), f"{name}: not the value of float64"
                continue
            rtol, atol = (case.get(k, t) for k, t in zip(("rtol", "atol"), TOLERANCE[dtype]))
            with np.errstate(all="ignore"):
                used = abs(got.astype("float64") - exact) / (atol + rtol * abs(exact))
            worst = used[np.isfinite(got) & np.isfinite(exact)].max(initial=0)
            assert worst <= (0.75 if dtype == "float16" else 0.5), f"{name}: {worst:.2f} of the tolerance is lost"

    def put(self, name, tensor):
        assert name not in self.tensors, name
        self.tensors[name] = self.framework.export(tensor)
        return name

    def write(self, path):
        text = json.dumps(self.cases, separators=(",", ":"), allow_nan=False)
        write_safetensors(path, self.tensors, {"cases": text})
        grads = sum("grads" in c for c in self.cases)
        errors = sum("error" in c for c in self.cases)
        print(f"{path.name}: {len(self.cases)} cases of {len({c['call'] for c in self.cases})} calls, "
              f"{grads} with gradients, {errors} errors, {path.stat().st_size} bytes")


def write_safetensors(path, tensors, metadata):
    """The same bytes for the same tensors, which the library's unordered metadata does not promise; through gzip for `.gz`.
    Wider dtypes come first, so that every tensor is aligned to its element."""
    width = lambda name: -struct.calcsize({"64": "q", "32": "i", "16": "h"}.get(tensors[name][0][-2:], "b"))
    header, body = {"__metadata__": metadata}, bytearray()
    for name in sorted(tensors, key=width):
        dtype, shape, data = tensors[name]
        header[name] = {"dtype": CODES[dtype], "shape": list(shape),
                        "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = struct.pack("<Q", len(text)) + text + bytes(body)
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def read_safetensors(path):
    """(tensors, metadata), as write_safetensors takes them."""
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    names = {code: name for name, code in CODES.items()}
    return {
        name: (names[t["dtype"]], tuple(t["shape"]),
               data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
        for name, t in header.items()
    }, metadata
