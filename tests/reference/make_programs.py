"""Writes programs.safetensors.gz: what PyTorch answers to the programs in `programs/`.

    pip install torch numpy
    python make_programs.py

Every case runs eagerly, which gives the values. torch.jit.script must agree with them, gradients included. A
torch.jit.trace of a program's first case runs on all of them; where it gives something else, that is stored too.
"""

import json
import pathlib
import warnings

import torch

import program_cases
from program_framework import PROGRAMS, Eager, Scripted, flat
from suite import Suite, mapped
from verify import decoded, tensor

HERE = pathlib.Path(__file__).parent
# Programs that torch.jit.script refuses or runs otherwise, with the first line of its error.
UNSCRIPTED = {}


def tensors_of(args):
    found = []
    mapped(lambda v: found.append(v) if isinstance(v, torch.Tensor) else None, args)
    return found


def with_tensors(args, tensors):
    """`args` with other tensors in the places of its own."""
    tensors = iter(tensors)
    return mapped(lambda v: next(tensors) if isinstance(v, torch.Tensor) else v, args)


def reason(error):
    """An error in one line: of TorchScript's, which begin with places, the last line that names an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    named = [line for line in lines if line.startswith("RuntimeError: ")]
    return named[-1] if named else f"{type(error).__name__}: {lines[0]}"


class Programs(Suite):
    def __init__(self):
        super().__init__(Eager())
        self.scripted, self.traces = Scripted(), {}

    def program(self, name, *args, **options):
        self.case("programs." + name, *args, **options)
        case = self.cases[-1]
        case |= {"call": "forward", "program": name + ".py"}
        if not case["kwargs"]:
            del case["kwargs"]
        try:
            self.script(case)
            self.trace(case)
        except Exception as error:
            raise RuntimeError(case["id"]) from error

    def check(self, case, call, given, inputs):
        """A case's tolerance is the least of a few that leaves room for PyTorch's own rounding, twice."""
        for atol in (None, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3):
            if atol:
                case["rtol"], case["atol"] = atol, atol
            try:
                return super().check(case, call, given, inputs)
            except AssertionError as error:
                last = error
        raise last

    def stored(self, names):
        return [tensor(*self.tensors[name]) for name in names]

    def arguments(self, case):
        """The arguments, anew."""
        names = [n for n in self.tensors if n.startswith(case["id"] + "/in")]
        return decoded(case["args"], dict(zip(names, self.stored(names))))

    def script(self, case):
        """torch.jit.script of the program gives what eager gives, at first and when it has specialised itself. One that has
        seen all cases so far is told of in the case: `script` and `script_error`."""
        refused = UNSCRIPTED.get(case["program"])
        try:
            self.run_script(case, Scripted())
        except AssertionError:
            raise
        except Exception as error:
            assert refused == reason(error), f"torch.jit.script says {reason(error)!r}"
        else:
            assert not refused, f"torch.jit.script takes {case['program']}"
        try:
            self.run_script(case, self.scripted)
            case["script"] = "same"
        except AssertionError:
            case["script"] = "differs"
        except Exception as error:
            case["script"], case["script_error"] = "error", reason(error)

    def run_script(self, case, scripted):
        call = "programs." + case["program"].removesuffix(".py")
        for _ in range(3):
            args = self.arguments(case)
            if "grads" in case:
                cotangents = iter([t.numpy() for t in self.stored(n for n in case["cotangents"] if n)])
                leaves = {i: t for i, t in enumerate(tensors_of(args)) if f"{case['id']}/in{i}" in case["grads"]}
                outputs, _, grads = scripted.grad(call, args, {}, leaves, lambda shape: next(cotangents))
            else:
                outputs, grads = scripted.run(call, args, {}), {}
            for got, want in zip(outputs, self.stored(case["outputs"]), strict=True):
                torch.testing.assert_close(got.detach(), want, rtol=1e-6, atol=1e-6, equal_nan=True)
            for got, want in zip(grads.values(), self.stored(case.get("grads", {}).values()), strict=True):
                torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6, equal_nan=True)

    def trace(self, case):
        """What a trace of the program's first case says. Host arguments are those of the first case, and host results
        become tensors, since torch.jit.trace takes and gives tensors alone."""
        program, args = case["program"], self.arguments(case)
        if program not in self.traces:
            forward = self.framework.module(program).forward
            recorded = lambda *tensors: tuple(flat(forward(*with_tensors(args, tensors))))
            try:
                self.traces[program] = torch.jit.trace(recorded, tuple(tensors_of(args)), check_trace=False)
            except Exception as error:
                self.traces[program] = error
        traced = self.traces[program]
        try:
            if isinstance(traced, Exception):
                raise traced
            outputs = flat(traced(*tensors_of(self.arguments(case))))
        except Exception as error:
            case["trace"], case["trace_error"] = "error", reason(error)
            return
        want = self.stored(case["outputs"])
        try:
            assert len(want) == len(outputs)
            for got, expected in zip(outputs, want):
                torch.testing.assert_close(got.detach(), expected, equal_nan=True)
            case["trace"] = "same"
        except AssertionError:
            case["trace"] = "differs"
            case["trace_outputs"] = [self.put(f"{case['id']}/trace_out{i}", t) for i, t in enumerate(outputs)]

    def table(self):
        for program in dict.fromkeys(c["program"] for c in self.cases):
            cases = [c for c in self.cases if c["program"] == program]
            lines = [f"{program}: {len(cases)} cases, {sum('grads' in c for c in cases)} with gradients"]
            for mode in ("script", "trace"):
                counts = [f"{sum(c[mode] == word for c in cases)} {word}" for word in ("same", "differs", "error")]
                lines.append(f"{mode}: {', '.join(counts)}")
                lines += dict.fromkeys("    " + c[mode + "_error"] for c in cases if mode + "_error" in c)
            print(*lines, sep="\n    ")


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    suite = Programs()
    for part in program_cases.ALL:
        part(suite.program)
    suite.table()
    missing = {p.name for p in PROGRAMS.glob("*.py")} - {c["program"] for c in suite.cases}
    assert not missing, f"no cases: {missing}"
    suite.write(HERE / "programs.safetensors.gz")


if __name__ == "__main__":
    main()
