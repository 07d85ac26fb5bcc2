from typing import List, Optional, Tuple


def first_above(values: List[float], limit: float) -> Optional[float]:
    for v in values:
        if v > limit:
            return v
    return None


def collatz(n: int) -> int:
    steps = 0
    while n != 1:
        n = n // 2 if n % 2 == 0 else 3 * n + 1
        steps += 1
    return steps


def both(a: int = 2, b: int = 3) -> Tuple[int, int]:
    return b, a


def side(log: List[str], name: str, answer: bool) -> bool:
    log.append(name)
    return answer


def main() -> None:
    print(first_above([1.0, 5.0, 7.0], 4.0), first_above([1.0], 4.0))
    print(collatz(27), collatz(1))
    print(both(), both(5), both(b=9), both(1, b=2))
    total = 0
    for i in range(1000000000):
        if i % 2 == 0:
            continue
        if i > 10:
            break
        total += i
    print(total)
    for i in range(3):
        for j in range(3):
            if j == i:
                break
            print(i, j, end=" ")
    print()
    x, (y, z) = 1, (2, 3)
    x, y = y, x
    print(x, y, z)
    a = b = [0]
    a.append(1)
    print(b, a is b)
    n = 0
    while True:
        n += 1
        if n >= 7:
            break
    print(n)
    log: List[str] = []
    if side(log, "a", False) and side(log, "b", True):
        print("never")
    if side(log, "c", True) or side(log, "d", True):
        print("once")
    print(log)
    if 1 < n <= 7 < 100:
        print("chain")
    for i in range(10, 0, -3):
        print(i, end=",")
    print()
    for c in "añb":
        print(c, ord(c))
    for i, (p, q) in enumerate(zip([1, 2, 3], ["x", "y"]), 1):
        print(i, p, q)
    grow = [1]
    for g in grow:
        if len(grow) < 5:
            grow.append(g * 2)
    print(grow)
    pairs = [(i, j) for i, j in zip(range(3), range(3, 6)) if i != 1]
    print(pairs)
    r = range(3)
    print([v for v in r], [v for v in r], len(r))
