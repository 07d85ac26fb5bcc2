"""What tells execution models apart, run in the real systems: golden.json.

Programs for which PyTorch's eager mode, `torch.jit.trace` and `torch.jit.script` give different answers or the same one on
purpose, and behaviours of TensorFlow's tapes and functions, one function each. Each half is made where its system is
installed, and the other half stays as it is.

    pip install torch && python make_golden.py
    pip install tensorflow-cpu && python make_golden.py
"""

import importlib.util
import json
import pathlib
import tempfile
import warnings

FILE = pathlib.Path(__file__).parent / "golden.json"

# Name, text, the vector for which it is traced, and the vectors on which it is called.
PROGRAMS = [
    (
        "a branch",
        "def forward(x: Tensor) -> Tensor:\n"
        "    return x + 1 if bool(x.sum() > 0) else x - 1\n",
        [1.0, 1.0],
        [[1.0, 1.0], [-1.0, -1.0]],
    ),
    (
        "a number of the host",
        "def forward(x: Tensor) -> Tensor:\n"
        "    return x * float(x.sum())\n",
        [1.0, 1.0],
        [[1.0, 1.0], [3.0, 3.0]],
    ),
    (
        "turns that a shape counts",
        "def forward(x: Tensor) -> Tensor:\n"
        "    total = torch.zeros(1, dtype=torch.float64)\n"
        "    for i in range(x.shape[0]):\n"
        "        total = total + x[i]\n"
        "    return total\n",
        [1.0, 1.0, 1.0],
        [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0]],
    ),
    (
        "turns that a value counts",
        "def forward(v: Tensor) -> Tensor:\n"
        "    while bool((v < 8).all()):\n"
        "        v = v * v\n"
        "    return v\n",
        [2.0],
        [[2.0], [3.0], [1.5], [9.0]],
    ),
    (
        "continue and break",
        "def forward(n: Tensor) -> Tensor:\n"
        "    total = torch.zeros_like(n)\n"
        "    for i in range(int(n)):\n"
        "        if i == 2:\n"
        "            continue\n"
        "        if i > 5:\n"
        "            break\n"
        "        total = total + i\n"
        "    return total\n",
        [3.0],
        [[10.0], [3.0], [0.0]],
    ),
    (
        "a return in a loop",
        "def forward(x: Tensor) -> Tensor:\n"
        "    for i in range(x.shape[0]):\n"
        "        if bool(x[i] > 1.0):\n"
        "            return x[i]\n"
        "    return torch.full_like(x[0], -1.0)\n",
        [0.5, 2.0, 3.0],
        [[0.5, 2.0, 3.0], [0.5, 0.25, 1.0], [5.0, 0.0, 0.0]],
    ),
    (
        "a while around an if",
        "def forward(x: Tensor) -> Tensor:\n"
        "    turns = 0\n"
        "    while bool(x.sum() < 100.0):\n"
        "        if turns % 2 == 0:\n"
        "            x = x * 2\n"
        "        else:\n"
        "            x = x - 1\n"
        "        turns += 1\n"
        "    return x * turns\n",
        [1.0, 1.25],
        [[1.0, 1.25], [3.0, 7.0], [100.0, 100.0]],
    ),
    (
        "a list that grows",
        "def forward(x: Tensor) -> Tensor:\n"
        "    rows: List[Tensor] = []\n"
        "    for i in range(x.shape[0]):\n"
        "        if bool(x[i] > 0.0):\n"
        "            rows.append(x[i] * x[i])\n"
        "    return torch.stack(rows)\n",
        [1.0, -1.0, 2.0],
        [[1.0, -1.0, 2.0], [-1.0, 3.0, 2.0], [1.0, 2.0, 3.0]],
    ),
    (
        "a cube",
        "def forward(x: Tensor) -> Tensor:\n"
        "    return x ** 3\n",
        [2.0],
        [[2.0], [-1.0]],
    ),
    (
        "a write through a view",
        "def forward(x: Tensor) -> Tensor:\n"
        "    y = x * 1\n"
        "    row = y[0:1]\n"
        "    row.mul_(3.0)\n"
        "    return y * 2\n",
        [1.0, 2.0],
        [[1.0, 2.0], [5.0, 7.0]],
    ),
    (
        "what has no history",
        "def forward(x: Tensor) -> Tensor:\n"
        "    h = x * 3\n"
        "    with torch.no_grad():\n"
        "        s = h * h\n"
        "        t = s[0:1] + 1\n"
        "    return h * s * t\n",
        [2.0, 1.0],
        [[2.0, 1.0], [-1.0, 3.0]],
    ),
    (
        "a loop with a part without history",
        "def forward(x: Tensor) -> Tensor:\n"
        "    h = x * 2\n"
        "    for i in range(3):\n"
        "        with torch.no_grad():\n"
        "            step = h * 0.5\n"
        "        h = h + step * x\n"
        "    return h\n",
        [1.0, 2.0],
        [[1.0, 2.0], [3.0, -1.0]],
    ),
    (
        "writes that have no history",
        "def forward(x: Tensor) -> Tensor:\n"
        "    h = x * 3\n"
        "    with torch.no_grad():\n"
        "        h.mul_(2.0)\n"
        "        h[0:1].add_(1.0)\n"
        "    g = h + 0\n"
        "    g.detach().add_(5.0)\n"
        "    return g * x\n",
        [2.0, 1.0],
        [[2.0, 1.0], [-1.0, 3.0]],
    ),
    (
        "a failure that nothing uses",
        "def forward(x: Tensor) -> Tensor:\n"
        "    unused = torch.gather(x, 0, torch.ones(1, dtype=torch.int64) * 7)\n"
        "    return x * 2\n",
        None,
        [[1.0, 2.0]],
    ),
]
HEAD = "from typing import List\nimport torch\nfrom torch import Tensor\n\n\n"


def pytorch():
    import torch

    def called(function, values):
        x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        try:
            out = function(x)
        except Exception as error:
            return {"fails": type(error).__name__}
        grad = None
        if out.requires_grad:
            (grad,) = torch.autograd.grad(out.sum(), x, allow_unused=True)
        return {"out": out.flatten().tolist(), "grad": grad if grad is None else grad.tolist()}

    def program(name, text, example, calls):
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(HEAD + text)
            file.flush()
            spec = importlib.util.spec_from_file_location("program", file.name)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            forward = module.forward
            modes = {"torch": forward, "torch.script": torch.jit.script(forward)}
        warned = []
        if example is not None:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                x = torch.tensor(example, dtype=torch.float64, requires_grad=True)
                modes["torch.trace"] = torch.jit.trace(forward, (x,), check_trace=False)
            warned = [w.lineno for w in caught if issubclass(w.category, torch.jit.TracerWarning)]
        # A scripted program is called twice before it is compiled.
        for values in calls * 2:
            called(modes["torch.script"], values)
        answers = {mode: [called(f, values) for values in calls] for mode, f in modes.items()}
        return {
            "name": name,
            "text": HEAD + text,
            "example": example,
            "calls": calls,
            "answers": answers,
            "warned": len(warned),
        }

    return {"version": torch.__version__.split("+")[0], "programs": [program(*p) for p in PROGRAMS]}


def tensorflow():
    import tensorflow as tf

    behaviours = {}

    def behaviour(function):
        try:
            behaviours[function.__name__] = {"values": [float(v) for v in function()]}
        except Exception as error:
            behaviours[function.__name__] = {"fails": type(error).__name__}

    def constant(value):
        return tf.constant(value, tf.float64)

    @behaviour
    def a_cube():
        x = constant(2.0)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x ** 3
        (dx,) = tape.gradient(y, [x])
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = x ** 3
            first = inner.gradient(y, x)
        return dx, outer.gradient(first, x)

    @behaviour
    def nested_tapes():
        x = constant(1.0)
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = x * x * x
            first = inner.gradient(y, x)
        return first, outer.gradient(first, x)

    @behaviour
    def a_persistent_tape():
        x = constant(3.0)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            y = x * x
            z = y * y
        return tape.gradient(z, x), tape.gradient(y, x)

    @behaviour
    def another_tape_asked_twice():
        x = constant(3.0)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x * x
        return tape.gradient(y, x), tape.gradient(y, x)

    @behaviour
    def a_loop_and_its_gradient():
        @tf.function
        def f(v):
            while v < 8.0:
                v = v * v
            return v

        v = constant(2.0)
        with tf.GradientTape() as tape:
            tape.watch(v)
            y = f(v)
        return y, tape.gradient(y, v)

    @behaviour
    def a_failure_that_nothing_uses_eagerly():
        x = constant([1.0, 2.0])
        with tf.device("/CPU:0"):
            tf.gather(x, tf.constant([7]))
        return (x * 2).numpy()

    @behaviour
    def a_failure_that_nothing_uses_in_a_function():
        @tf.function
        def f(x):
            tf.gather(x, tf.constant([7]))
            return x * 2

        return f(constant([1.0, 2.0])).numpy()

    @behaviour
    def a_variable_assigned_and_read():
        variable = tf.Variable(1.0, dtype=tf.float64)

        @tf.function
        def f():
            variable.assign(2.0)
            before = variable.read_value()
            variable.assign_add(3.0)
            return before, variable.read_value()

        return [*f(), variable.numpy()]

    @behaviour
    def an_effect_of_the_host():
        ran = []

        @tf.function
        def f(x):
            ran.append(1)
            return x * 2

        for _ in range(3):
            f(constant(1.0))
        return [len(ran)]

    @behaviour
    def kinds_of_arguments():
        traces = []

        @tf.function
        def f(x):
            traces.append(1)
            return x

        counts = []
        i32 = lambda v: tf.constant(v, tf.int32)
        for x in [i32(1), i32(2), tf.constant(1.0), 1, 2, 1, i32([1, 2]), i32([1, 2, 3])]:
            f(x)
            counts.append(len(traces))
        return counts

    return {"version": tf.__version__, "behaviours": behaviours}


def main():
    stored = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name, make in [("torch", pytorch), ("tensorflow", tensorflow)]:
        if importlib.util.find_spec(name):
            stored[name] = make()
    FILE.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
