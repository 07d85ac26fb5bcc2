from typing import Dict, List


def main() -> None:
    xs = [3, 1, 2]
    xs.append(5)
    xs.insert(0, 9)
    xs.insert(-1, 7)
    xs.insert(100, 8)
    print(xs, len(xs))
    xs.sort()
    print(xs)
    xs.sort(reverse=True)
    print(xs)
    xs.reverse()
    xs.remove(7)
    print(xs.pop(), xs.pop(0), xs, xs.index(5), xs.count(2))
    ys = xs.copy()
    ys.extend([1, 1])
    ys.extend(ys)
    ys += [0]
    print(xs, ys, ys.count(1))
    ys[0] = -1
    ys[-1] += 10
    del ys[1]
    print(ys, -1 in ys, 77 in ys)
    ys.clear()
    print(ys, not ys)
    zs = [1, 2]
    zs *= 2
    print(zs)
    nested = [[0] * 2 for _ in range(2)]
    nested[0][1] = 5
    print(nested)
    d: Dict[str, int] = {"a": 1, "b": 2}
    d["c"] = 3
    d["a"] += 10
    del d["b"]
    print(d, len(d), "b" in d, d.get("z", -1))
    d.update({"a": 0, "q": 4})
    d["b"] = 5
    for k in d:
        print(k, d[k], end="; ")
    print()
    for k, v in d.items():
        print(k, v, end="; ")
    print()
    e = d.copy()
    e.clear()
    print(d, e, list(d.keys()), sum(d.values()))
    counts: Dict[int, List[str]] = {}
    for word in "the quick brown fox jumps over the lazy dog".split():
        counts.setdefault(len(word), []).append(word)
    for n in sorted(counts.keys()):
        print(n, counts[n])
    numbers: Dict[float, str] = {}
    numbers[1.0] = "one"
    numbers[0.5] = "half"
    print(numbers)
    text = "x"
    text += "y" * 3
    print(text, f"{text!r:>8}|{len(text):03d}", sep="-", end="!\n")
    print("a", 1, 2.0, None, True, sep=", ")
    parts = "1,2,,3".split(",")
    print([int(p) for p in parts if p != ""])
    total = 0
    for a, b, c in [(1, 2, 3), (4, 5, 6)]:
        total += a * b + c
    print(total)
    empty = list(range(0))
    print(empty, dict(d) == d, str([1.5]), bool(d))
