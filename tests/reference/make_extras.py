"""What PyTorch's autograd does beyond gradients of operations: extras.json.

One function a behaviour, by the name under which `tests/extras.rs` does the same: it returns numbers (None is NaN's place:
`"none"`), or fails, and then stored is which kind of error it is, told by what the message says.

    pip install torch && python make_extras.py
"""

import json
import pathlib
import re
import warnings

import torch
from torch.autograd import Function, grad
from torch.utils.checkpoint import checkpoint

BEHAVIOURS = []

# A kind of error, and words of PyTorch's message that make it one.
KINDS = {
    "freed": "second time",
    "overwritten": "modified by an inplace operation",
    "leaf in place": "leaf Variable that requires grad",
    "unused": "not have been used in the graph",
    "no history": "does not require grad|doesn't require gradient",
    "several elements": "only for scalar outputs",
    "shape": "ismatch in shape|invalid gradient|changed the size",
    "count": "incorrect number of gradients",
    "nan": "returned nan values",
    "once": "once_differentiable",
    "leaf only": "leaf tensor|non-leaf",
    "no floats": "floating point",
}


def behaviour(function):
    BEHAVIOURS.append(function)
    return function


def leaf(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def flat(*parts):
    """Numbers of tensors, lists, flags and None, in order."""
    out = []
    for part in parts:
        if part is None:
            out.append("none")
        elif isinstance(part, torch.Tensor):
            out.extend(float(v) for v in part.detach().flatten())
        elif isinstance(part, (list, tuple)):
            out.extend(flat(*part))
        else:
            out.append(float(part))
    return out


class Product(Function):
    """x^2 y, which saves both."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * x * y

    @staticmethod
    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * x * y * 2, g * x * x


class Both(Function):
    """x y and x + y; what is not asked for is zero."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y, x + y

    @staticmethod
    def backward(ctx, g, h):
        x, y = ctx.saved_tensors
        return g * y + h, g * x + h


class First(Function):
    """x y with no gradient for y."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(y)
        return x * y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y, None


class Double(Function):
    """2 x with the gradient 3: saves nothing."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 3


class Exponential(Function):
    """Saves its output."""

    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


@behaviour
def function_saves_inputs():
    x, y = leaf(1.5, -0.5), leaf(2.0, 3.0)
    out = Product.apply(x, y)
    out.sum().backward()
    return flat(out, x.grad, y.grad)


@behaviour
def function_saves_its_output():
    x = leaf(1.5, -0.5)
    out = Exponential.apply(x)
    (first,) = grad(out.sum(), x, create_graph=True)
    (second,) = grad(first.sum(), x)
    return flat(out, first, second)


@behaviour
def function_with_two_outputs():
    x, y = leaf(1.5), leaf(2.0)
    a, b = Both.apply(x, y)
    return flat(a, b, grad([a, b], [x, y], retain_graph=True), grad([a, a * b], [x, y]))


@behaviour
def function_of_which_one_output_is_used():
    x, y = leaf(1.5), leaf(2.0)
    a, b = Both.apply(x, y)
    return flat(grad(a, [x, y], retain_graph=True), grad(b, [x, y]))


@behaviour
def function_without_a_gradient_for_one_input():
    x, y = leaf(1.5), leaf(2.0)
    First.apply(x, y).backward()
    return flat(x.grad, y.grad)


@behaviour
def function_without_a_gradient_asked_for():
    x, y = leaf(1.5), leaf(2.0)
    return flat(grad(First.apply(x, y), [x, y], allow_unused=True))


@behaviour
def function_without_a_gradient_insisted_on():
    x, y = leaf(1.5), leaf(2.0)
    return flat(grad(First.apply(x, y), [x, y]))


@behaviour
def function_differentiated_twice():
    x, y = leaf(1.5), leaf(2.0)
    first = grad(Product.apply(x, y), [x, y], create_graph=True)
    return flat(first, grad(first[0], [x, y], retain_graph=True), grad(first[1], [x, y], allow_unused=True))


@behaviour
def function_that_saved_walked_twice():
    out = Product.apply(leaf(1.5), leaf(2.0))
    out.backward()
    out.backward()


@behaviour
def function_that_saved_nothing_walked_twice():
    x = leaf(1.5)
    out = Double.apply(x)
    out.backward()
    out.backward()
    return flat(out, x.grad)


@behaviour
def function_whose_input_is_overwritten():
    x, y = leaf(1.5), leaf(2.0)
    h = x * 1
    out = Product.apply(h, y)
    h.add_(1)
    out.backward()


@behaviour
def function_whose_output_is_overwritten():
    out = Exponential.apply(leaf(1.5))
    out.add_(1)
    out.backward()


@behaviour
def function_is_told_what_is_needed():
    told = []

    class Told(Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, g):
            told.extend(ctx.needs_input_grad)
            return g, g

    x, y = leaf(1.5), leaf(2.0)
    Told.apply(x, y.detach()).backward()
    Told.apply(x, y).backward()
    return flat(told, x.grad, y.grad)


@behaviour
def function_with_a_plain_output():
    class Plain(Function):
        @staticmethod
        def forward(ctx, x):
            doubled, sign = x * 2, x.sign()
            ctx.mark_non_differentiable(sign)
            return doubled, sign

        @staticmethod
        def backward(ctx, g, _):
            return g * 2

    x = leaf(1.5, -2.0)
    a, b = Plain.apply(x)
    (a * b).sum().backward()
    return flat(a.requires_grad, b.requires_grad, x.grad)


@behaviour
def function_with_too_many_gradients():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g, g

    Wrong.apply(leaf(1.5)).backward()


@behaviour
def function_with_a_gradient_of_another_shape():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return x.sum()

        @staticmethod
        def backward(ctx, g):
            return torch.ones(3, dtype=torch.float64)

    Wrong.apply(leaf(1.5, 2.5)).backward()


@behaviour
def function_that_returns_its_input():
    class Same(Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 5

    x = leaf(1.5)
    y = Same.apply(x)
    y.backward()
    return flat(y, y.is_leaf, x.is_leaf, x.grad)


@behaviour
def function_differentiated_once():
    class Once(Product):
        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return g * x * y * 2, g * x * x

    x, y = leaf(1.5), leaf(2.0)
    (first, _) = grad(Once.apply(x, y), [x, y], leaf(1.0), create_graph=True)
    first.backward()


@behaviour
def function_under_no_grad():
    with torch.no_grad():
        out = Product.apply(leaf(1.5), leaf(2.0))
    return flat(out, out.requires_grad)


@behaviour
def hooks_run_in_order_and_pass_on():
    x, log = leaf(1.5), []
    h = x * 2

    def first(g):
        log.append(("first", g.item()))
        return g * 10

    def second(g):
        log.append(("second", g.item()))
        return g + 1

    h.register_hook(first)
    h.register_hook(second)
    (h * 3).backward()
    return flat([v for _, v in log], [name == "first" for name, _ in log], x.grad)


@behaviour
def hooks_see_sums():
    x, log = leaf(1.5), []
    h = x * 2
    h.register_hook(lambda g: log.append(g.item()))
    x.register_hook(lambda g: log.append(g.item()))
    (h * 3 + h * h + x).backward()
    return flat(log, x.grad)


@behaviour
def hooks_go_when_removed():
    x, log = leaf(1.5), []
    h = x * 2
    handle = h.register_hook(lambda g: log.append(1.0))
    h.register_hook(lambda g: g * 2)
    h.backward(retain_graph=True)
    handle.remove()
    h.backward()
    return flat(log, x.grad)


@behaviour
def hooks_of_a_leaf_change_what_is_accumulated():
    x = leaf(1.5)
    x.register_hook(lambda g: g * 10)
    (x * x).backward()
    x.register_hook(lambda g: g + 1)
    (x * 2).backward()
    return flat(x.grad)


@behaviour
def hooks_change_what_grad_returns():
    x = leaf(1.5)
    h = x * 2
    h.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    return flat(grad(h * h, [h, x]), x.grad)


@behaviour
def hooks_change_what_grad_returns_at_the_end():
    x = leaf(1.5)
    h = x * 2
    h.register_hook(lambda g: g * 10)
    return flat(grad(h * h, h))


@behaviour
def hooks_come_before_retained_gradients():
    x = leaf(1.5)
    h = x * 2
    h.retain_grad()
    h.register_hook(lambda g: g * 10)
    (h * 3).backward()
    return flat(h.grad, x.grad)


@behaviour
def hooks_of_a_tensor_that_is_then_written():
    x, log = leaf(1.5), []
    h = x * 2
    h.register_hook(lambda g: log.append(g.item()))
    h.mul_(3)
    h.register_hook(lambda g: log.append(g.item()))
    (h * 5).backward()
    return flat(log, x.grad)


@behaviour
def hooks_of_a_view():
    x, log = leaf(1.5, 2.5), []
    h = x * 2
    h[1].register_hook(lambda g: g * 0)
    part = h[0]
    part.register_hook(lambda g: g * 10)
    (part * 3 + h.sum()).backward()
    return flat(log, x.grad)


@behaviour
def hooks_must_keep_the_shape():
    h = leaf(1.5, 2.5) * 2
    h.register_hook(lambda g: g.sum())
    h.sum().backward()


@behaviour
def hooks_need_a_gradient():
    torch.ones(2).register_hook(lambda g: g)


@behaviour
def hooks_can_be_differentiated():
    x = leaf(1.5)
    h = x * x
    h.register_hook(lambda g: g * x)
    (first,) = grad(h, x, create_graph=True)
    return flat(first, grad(first, x))


@behaviour
def post_hooks_see_the_sum_in_order():
    x, log = leaf(1.5), []
    x.register_post_accumulate_grad_hook(lambda t: log.append(t.grad.item()))
    x.register_post_accumulate_grad_hook(lambda t: log.append(-t.grad.item()))
    x.register_hook(lambda g: log.append(100.0))
    (x * 2 + x * x).backward()
    (x * 2).backward()
    return flat(log, x.grad)


@behaviour
def post_hooks_may_take_the_gradient():
    x = leaf(1.5)

    def step(t):
        with torch.no_grad():
            t.sub_(t.grad * 0.1)
        t.grad = None

    handle = x.register_post_accumulate_grad_hook(step)
    (x * x).backward()
    between = flat(x, x.grad)
    handle.remove()
    (x * x).backward()
    return between + flat(x, x.grad)


@behaviour
def post_hooks_are_not_for_grad():
    x, log = leaf(1.5), []
    x.register_post_accumulate_grad_hook(lambda t: log.append(1.0))
    grad(x * x, x)
    (x * x).backward()
    return flat(log)


@behaviour
def post_hooks_are_for_leaves():
    (leaf(1.5) * 2).register_post_accumulate_grad_hook(lambda t: None)


def region(log):
    def run(x, y):
        log.append(1.0)
        return (x * y).sin() * x

    return run


@behaviour
def checkpoint_gives_the_same():
    x, y, log = leaf(0.5, 1.0), leaf(2.0, 3.0), []
    plain = region([])(x, y)
    want = grad(plain.sum(), [x, y])
    out = checkpoint(region(log), x, y, use_reentrant=False)
    runs = [len(log)]
    out.sum().backward()
    runs.append(len(log))
    same = torch.equal(out, plain) and torch.equal(x.grad, want[0]) and torch.equal(y.grad, want[1])
    return flat(out, x.grad, y.grad, runs, same)


@behaviour
def checkpoint_under_no_grad_runs_once():
    log = []
    with torch.no_grad():
        out = checkpoint(region(log), leaf(0.5), leaf(2.0), use_reentrant=False)
    return flat(out, out.requires_grad, len(log))


@behaviour
def checkpoint_is_differentiated_twice():
    x, y = leaf(0.5), leaf(2.0)
    out = checkpoint(region([]), x, y, use_reentrant=False)
    first = grad(out, [x, y], create_graph=True)
    return flat(first, grad(first[0], [x, y]))


@behaviour
def checkpoint_walked_twice():
    x, y, log = leaf(0.5), leaf(2.0), []
    out = checkpoint(region(log), x, y, use_reentrant=False)
    out.backward(retain_graph=True)
    runs = len(log)
    out.backward()
    return flat(x.grad, y.grad, runs)


@behaviour
def checkpoint_freed():
    out = checkpoint(region([]), leaf(0.5), leaf(2.0), use_reentrant=False)
    out.backward()
    out.backward()


@behaviour
def checkpoint_inside_a_checkpoint():
    x, y, log = leaf(0.5), leaf(2.0), []

    def outer(x, y):
        return checkpoint(region(log), x * 2, y, use_reentrant=False) * 3

    out = checkpoint(outer, x, y, use_reentrant=False)
    runs = len(log)
    out.backward()
    return flat(out, x.grad, y.grad, runs)


@behaviour
def anomaly_is_not_looked_for():
    x = leaf(0.0, 4.0)
    (x.sqrt() * 0).sum().backward()
    return flat(x.grad.isnan(), x.grad[1])


def found(program):
    """Operation and operand that the error names, and whether the line of the forward was told."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with torch.autograd.detect_anomaly():
            try:
                program().backward()
            except RuntimeError as e:
                name, place = re.search(r"'(\w+)Backward\d' returned nan values in its (\d)th output", str(e)).groups()
                line = any("# here" in str(w.message) for w in told)
                return {"op": name.lower(), "operand": int(place), "line": line}
    return {"op": None}


@behaviour
def anomaly_in_sqrt():
    def program():
        x = leaf(0.0, 4.0)
        root = x.sqrt()  # here
        return (root * 0).sum()

    return found(program)


@behaviour
def anomaly_in_mul():
    def program():
        x, y = leaf(float("inf")), leaf(2.0)
        product = x * y  # here
        return (product.clamp(0, 1) * 0).sum()

    return found(program)


@behaviour
def anomaly_in_div():
    def program():
        x, y = leaf(0.0), leaf(0.0)
        quotient = x / y  # here
        return quotient.nan_to_num().sum() * 0

    return found(program)


@behaviour
def anomaly_in_log():
    def program():
        x = leaf(0.0)
        logarithm = x.log()  # here
        return (logarithm.exp() * 1).sum()

    return found(program)


@behaviour
def anomaly_is_not_infinity():
    def program():
        x = leaf(0.0)
        return x.sqrt().sum()

    return found(program)


@behaviour
def graph_that_saved_walked_twice():
    y = leaf(3.0) ** 2
    y.backward()
    y.backward()


@behaviour
def graph_that_saved_nothing_walked_twice():
    x = leaf(3.0)
    y = x + 1
    y.backward()
    y.backward()
    return flat(x.grad)


@behaviour
def graph_that_saved_a_number_walked_twice():
    x = leaf(3.0)
    y = x * 3
    y.backward()
    y.backward()
    return flat(x.grad)


@behaviour
def graph_of_exp_walked_twice():
    y = leaf(3.0).exp()
    y.backward()
    y.backward()


@behaviour
def graph_retained():
    x = leaf(3.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    return flat(x.grad)


@behaviour
def graph_freed_by_grad():
    x = leaf(3.0)
    y = x * x
    grad(y, x)
    y.backward()


@behaviour
def graph_shared_in_part():
    h = leaf(3.0) ** 2
    (h + 1).backward()
    (h * 2).backward()


@behaviour
def graph_shared_where_nothing_was_saved():
    x = leaf(3.0)
    h = x + 1
    (h * h).backward()
    (h * 2).backward()
    return flat(x.grad)


@behaviour
def create_graph_cube():
    x = leaf(2.0)
    (first,) = grad(x**3, x, create_graph=True)
    (second,) = grad(first, x, create_graph=True)
    (third,) = grad(second, x)
    return flat(first, second, third)


@behaviour
def create_graph_of_products():
    x = leaf(2.0)
    (first,) = grad(x * x * x, x, create_graph=True)
    (second,) = grad(first, x)
    return flat(first, second)


@behaviour
def create_graph_accumulates():
    x = leaf(2.0)
    y = x**3
    y.backward(create_graph=True)
    first = x.grad.clone()
    x.grad.sum().backward()
    return flat(first, x.grad)


@behaviour
def create_graph_retains():
    x = leaf(2.0)
    y = x * x
    (first,) = grad(y, x, create_graph=True)
    return flat(first, grad(y, x))


@behaviour
def create_graph_left_out():
    x = leaf(2.0)
    (first,) = grad(x**3, x)
    return flat(first.requires_grad)


@behaviour
def gradient_of_a_gradient_penalty():
    x, w = leaf(1.0, -2.0), leaf(0.5, 3.0)
    (inner,) = grad((x * w).tanh().sum(), x, create_graph=True)
    (inner * inner).sum().backward()
    return flat(inner, x.grad, w.grad)


@behaviour
def versions_are_shared_by_views():
    t = torch.zeros(4)
    part, seen = t[1:3], []
    note = lambda: seen.extend([t._version, part._version])
    note()
    part.add_(1)
    note()
    t.detach().mul_(2)
    note()
    with torch.no_grad():
        t.add_(1)
    note()
    t[0] = 7
    note()
    part.view(2, 1).zero_()
    note()
    return flat(seen, t.clone()._version, (t + 1)._version)


@behaviour
def written_leaf():
    leaf(1.0).add_(1)


@behaviour
def written_view_of_a_leaf():
    leaf(1.0, 2.0)[0].add_(1)


@behaviour
def written_leaf_under_no_grad():
    x = leaf(1.0)
    with torch.no_grad():
        x.add_(1)
    (x * x).backward()
    return flat(x, x.is_leaf, x.requires_grad, x.grad)


@behaviour
def written_leaf_that_was_saved():
    x = leaf(1.0)
    y = x * x
    with torch.no_grad():
        x.add_(1)
    y.backward()


def versions(program):
    """The versions that the error names: the one found, the one expected."""
    try:
        program()
    except RuntimeError as e:
        return flat([int(n) for n in re.search(r"is at version (\d+); expected version (\d+)", str(e)).groups()])
    raise AssertionError("no error")


@behaviour
def written_saved_operand():
    def program():
        h = leaf(1.0) + 0
        y = h * h
        h.add_(1).mul_(2)
        y.backward()

    return versions(program)


@behaviour
def written_saved_output():
    def program():
        y = leaf(1.0).exp()
        y.add_(1)
        y.backward()

    return versions(program)


@behaviour
def written_through_a_view():
    def program():
        h = leaf(1.0, 2.0) + 0
        y = (h * h).sum()
        h[0] = 5
        y.backward()

    return versions(program)


@behaviour
def written_through_a_detached_alias():
    def program():
        h = leaf(1.0) + 0
        y = h * h
        h.detach().zero_()
        y.backward()

    return versions(program)


@behaviour
def written_but_not_saved():
    x = leaf(1.0, 2.0)
    h = x * 2
    y = h + 1
    h.mul_(3)
    z = h.sin()
    (y + z).sum().backward()
    return flat(y, z, x.grad)


@behaviour
def detached_is_a_constant():
    x = leaf(3.0)
    h = x * x
    d = h.detach()
    (h * d).backward()
    return flat(d, d.requires_grad, d.is_leaf, x.grad)


@behaviour
def detached_shares_memory():
    h = leaf(3.0) * 2
    d = h.detach()
    d.fill_(7)
    return flat(h, d)


@behaviour
def no_grad_records_nothing():
    x = leaf(3.0)
    with torch.no_grad():
        a = x * 2
        made = torch.ones(1, requires_grad=True, dtype=torch.float64)
        with torch.enable_grad():
            b = x * 2
        c = x * 2
    d = x * made
    d.backward()
    return flat(a.requires_grad, b.requires_grad, c.requires_grad, made.requires_grad, d.requires_grad, x.grad, made.grad)


@behaviour
def no_grad_is_a_constant():
    x = leaf(3.0)
    h = x * x
    with torch.no_grad():
        k = h * x
    (h * k).backward()
    return flat(x.grad)


@behaviour
def unused_input():
    x, z = leaf(1.0), leaf(1.0)
    grad(x * 2, [x, z])


@behaviour
def unused_input_allowed():
    x, z = leaf(1.0), leaf(1.0)
    return flat(grad(x * 2, [x, z], allow_unused=True))


@behaviour
def unused_leaf_keeps_no_gradient():
    x, z = leaf(1.0), leaf(1.0)
    (x * 2).backward()
    return flat(x.grad, z.grad)


@behaviour
def unused_for_zero_is_not_unused():
    x, z = leaf(1.0), leaf(1.0)
    return flat(grad(x * 2 + z * 0, [x, z]))


@behaviour
def asked_of_a_constant():
    torch.ones(1).backward()


@behaviour
def asked_for_a_constant():
    x = leaf(1.0)
    grad(x * 2, torch.ones(1))


@behaviour
def asked_of_several_elements():
    (leaf(1.0, 2.0) * 2).backward()


@behaviour
def asked_with_a_gradient_of_another_shape():
    (leaf(1.0, 2.0) * 2).backward(torch.ones(3, dtype=torch.float64))


@behaviour
def asked_for_inputs_alone():
    x, z = leaf(1.0), leaf(2.0)
    (x * z).backward(inputs=[x])
    return flat(x.grad, z.grad)


@behaviour
def asked_for_the_inside():
    x = leaf(3.0)
    h = x * x
    return flat(grad(h * 5, [h, x]), grad(h, h))


@behaviour
def asked_for_one_input_twice():
    x = leaf(3.0)
    return flat(grad(x * x, [x, x]))


@behaviour
def asked_of_outputs_together():
    x = leaf(3.0)
    h = x * x
    return flat(grad([h, h, x * 2], x))


@behaviour
def asked_of_a_leaf():
    x = leaf(3.0)
    x.backward()
    return flat(x.grad, grad(x, x))


@behaviour
def integers_have_no_gradient():
    torch.ones(2, dtype=torch.int64).requires_grad_()


def outcome(function):
    try:
        result = function()
    except RuntimeError as e:
        text = str(e)
        kinds = [kind for kind, words in KINDS.items() if re.search(words, text)]
        if not kinds:
            raise
        return {"error": kinds[0], "message": text.splitlines()[0]}
    assert result is not None, f"{function.__name__} neither returns nor fails"
    return result if isinstance(result, dict) else {"values": result}


def main():
    warnings.simplefilter("ignore")
    about = {"made_by": "make_extras.py", "torch": torch.__version__.split("+")[0]}
    stored = {function.__name__: outcome(function) for function in BEHAVIOURS}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in stored.items())
    path = pathlib.Path(__file__).with_name("extras.json")
    path.write_text(f'{{"about": {json.dumps(about)}, "behaviours": {{\n{lines}\n}}}}\n')
    print(f"{len(stored)} behaviours, {sum('error' in v for v in stored.values())} of them errors")


if __name__ == "__main__":
    main()
