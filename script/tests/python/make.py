"""Writes what Python answers behind each expression of expressions.txt, and what programs/*.py print beside them.

Run it where torch is installed: python make.py
"""

import contextlib
import importlib.util
import io
import math  # noqa: F401 (the expressions use it)
from pathlib import Path

import torch  # noqa: F401

HERE = Path(__file__).parent
ARROW = "  ==>  "


def answer(expression: str) -> str:
    torch.manual_seed(0)
    try:
        return repr(eval(expression)).replace("\n", "\\n")
    except Exception as error:
        return f"!{type(error).__name__}"


def main() -> None:
    path = HERE / "expressions.txt"
    lines = []
    for line in path.read_text().splitlines():
        expression = line.split(ARROW)[0].rstrip()
        plain = not expression or expression.startswith("#")
        lines.append(expression if plain else expression + ARROW + answer(expression))
    path.write_text("\n".join(lines) + "\n")

    for program in sorted((HERE / "programs").glob("*.py")):
        spec = importlib.util.spec_from_file_location(program.stem, program)
        module = importlib.util.module_from_spec(spec)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            spec.loader.exec_module(module)
            module.main()
        program.with_suffix(".out").write_text(out.getvalue())


if __name__ == "__main__":
    main()
