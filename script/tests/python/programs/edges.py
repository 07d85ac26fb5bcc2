"""What is rare and has a meaning all the same."""

from typing import Dict, List, Optional

import torch
import torch.nn.functional as F
from torch import Tensor


def listed(x: Tensor) -> List[float]:
    out: List[float] = x.flatten().tolist()
    return out


def told(log: List[str], name: str) -> Optional[int]:
    log.append(name)
    return None if name == "none" else len(name)


def given(log: List[str], x: Tensor) -> Tensor:
    log.append("given")
    return x


@torch.no_grad()
def doubled(x: Tensor) -> Tensor:
    return x * 2


def chains() -> None:
    log: List[str] = []
    a = 3
    print(a is not None is not None, a is None is None, 1 < 2 is not None, None is None is None)
    print(told(log, "none") is None is not None, 1 < 3 != 4 > 2, 1 < (2 if a > 2 else 5) < 3)
    print(given(log, torch.zeros(1)) is None, told(log, "b") is not None, log)


def changed_types() -> None:
    x = 1
    x += 0.5
    n = True
    n += 2
    t = 2
    t *= torch.ones(2)
    k = 7
    k /= 2
    print(x, n, listed(t), k)
    flag = True
    flag &= False
    print(flag, +True, -True, ~True, +3, +2.5)


def in_place() -> None:
    x = torch.tensor([-1.0, 0.5, 7.0])
    y = F.relu(x, inplace=True)
    print(listed(x), listed(y), F.relu(x, inplace=False) is x)
    z = torch.tensor([-2.0, 2.0])
    F.leaky_relu(z, 0.5, True)
    F.elu(z, alpha=1.0, inplace=False)
    print(listed(z))
    F.dropout(z, 0.5, False, True)
    F.hardtanh(z, -0.5, 0.5, inplace=True)
    print(listed(z), listed(F.threshold(z, 0.1, 20.0, True)), listed(z))
    w = torch.ones(2, requires_grad=True)
    v = w * 3
    F.relu(v, inplace=True)
    v.sum().backward()
    g = w.grad
    if g is not None:
        print(listed(g), doubled(w).requires_grad, (w * 2).requires_grad)


def attention() -> None:
    q = torch.arange(8, dtype=torch.float32).reshape(2, 1, 4) / 10
    w, o = torch.ones(12, 4) / 10, torch.ones(4, 4)
    for wanted in [True, False]:
        out, weights = F.multi_head_attention_forward(
            q, q, q, 4, 2, w, None, None, None, False, 0.0, o, None, need_weights=wanted)
        print([round(v, 4) for v in listed(out.flatten())], weights is None)
        if weights is not None:
            print([round(v, 4) for v in listed(weights.flatten())])


def containers() -> None:
    d: Dict[str, List[int]] = {}
    for word in "one two three two one two".split():
        d.setdefault(word, []).append(len(d))
    print(d, sorted(d.keys()), [len(v) for v in d.values()])
    d["one"] += [9]
    d.update({"two": [0]})
    print(d.pop("three"), d, d.get("none"), "two" in d, len(d))
    counts: Dict[int, float] = {3: 0.5}
    counts[3] += 1
    counts[4] = 2.0
    print(counts, [f"{k}:{v:.2f}" for k, v in counts.items()])
    xs = [5, 3, 8, 1]
    xs[1] *= 7
    xs[-1] -= 4
    xs.insert(-1, 2)
    xs.sort(reverse=True)
    print(xs, xs.index(5), xs.count(2), xs[::-2], xs[5:2:-1], xs.pop(0), xs)
    xs.extend(xs[:2])
    xs.remove(5)
    xs.reverse()
    print(xs, max(xs), min(xs), sum(xs), [x // 2 for x in xs if x % 2])
    a = [[0] * 2] * 2
    a[0][1] = 4
    print(a, a[0] is a[1], [1, 2] + [3] == [1, 2, 3])
    words = ["b", "A", "c"]
    words.sort()
    print(words, "-".join(words), " x ".strip() + "|".join(["q"]), "%" in "50%")
    print("Ab cD".swapcase(), "x=1;y=2".split(";"), "a,b,,c".split(","), "abcabc".find("c", 3), "abc".rfind("z"))


def main() -> None:
    chains()
    changed_types()
    in_place()
    attention()
    containers()
