"""Prints the polynomial coefficients of kernels/src/cpu/math (needs mpmath).

Remez' exchange: the polynomial p of a degree whose weighted error w(x) (p(x) - f(x)) alternates between equal extrema.
The largest weighted error is printed beside each; coefficients are rounded to the type that holds them, lowest first.
"""
import struct
from mpmath import mp, mpf, matrix, lu_solve, cos, sin, tan, exp, expm1, log, log1p, erf, erfc, atan, pi, sqrt, chop

mp.prec = 160


def remez(f, given, lo, hi, degree, rounds=8, points=600):
    lo, hi = mpf(lo), mpf(hi)
    # A weight may vanish at a root of f; there it is held up a little so that the system stays regular.
    least = max(abs(given(lo)), abs(given(hi))) / 1000
    weight = lambda x: max(abs(given(x)), least)
    n = degree + 2
    nodes = [(lo + hi) / 2 - (hi - lo) / 2 * cos(pi * (2 * i + 1) / (2 * n)) for i in range(n)]
    grid = [(lo + hi) / 2 - (hi - lo) / 2 * cos(pi * i / points) for i in range(points + 1)]
    wf = [(x, weight(x), f(x)) for x in grid if abs(x) > mpf(2) ** -60]
    coefficients = None
    for _ in range(rounds):
        a, b = matrix(n, n), matrix(n, 1)
        for i, x in enumerate(nodes):
            for j in range(degree + 1):
                a[i, j] = x**j
            a[i, degree + 1] = (-1) ** i / weight(x)
            b[i] = f(x)
        solution = lu_solve(a, b)
        coefficients = [solution[j] for j in range(degree + 1)]
        errors = [(x, w * (evaluate(coefficients, x) - y)) for x, w, y in wf]
        extrema = []
        for x, e in errors:
            if extrema and (extrema[-1][1] > 0) == (e > 0):
                if abs(e) > abs(extrema[-1][1]):
                    extrema[-1] = (x, e)
            else:
                extrema.append((x, e))
        while len(extrema) > n:
            extrema.pop(0 if abs(extrema[0][1]) < abs(extrema[-1][1]) else -1)
        if len(extrema) < n:
            break
        nodes = [x for x, _ in extrema]
    return coefficients, max(abs(e) for _, e in errors)


def evaluate(coefficients, x):
    out = mpf(0)
    for c in reversed(coefficients):
        out = out * x + c
    return out


def single(x):
    return struct.unpack("f", struct.pack("f", float(x)))[0]


def show(name, f, weight, lo, hi, degree, f64=False):
    coefficients, error = remez(f, weight, lo, hi, degree)
    text = [repr(float(c)) if f64 else "%.9g" % single(c) for c in coefficients]
    print(f"{name}: error {float(error):.3g} (2^{float(log(error, 2)):.1f})\n    [{', '.join(text)}]")


half_ln2 = log(2) / 2 * mpf("1.001")
quarter_pi = pi / 4 * mpf("1.001")
g = lambda x: erfc(x) * exp(x * x)


def main():
    # exp(r) = 1 + r + r^2 q(r); weighted so that r + r^2 q(r) is good for expm1 as well.
    q = lambda r: (expm1(r) - r) / r**2
    for d in (4, 5):
        show(f"exp f32 {d}", q, lambda r: r**2 / expm1(r), -half_ln2, half_ln2, d)
    for d in (8, 9, 10):
        show(f"exp f64 {d}", q, lambda r: r**2 / expm1(r), -half_ln2, half_ln2, d, True)
    # log(1 + f) = f - f^2/2 + f^3 p(f)
    p = lambda f: (log1p(f) - f + f * f / 2) / f**3
    for d in (7, 8):
        show(f"log f32 {d}", p, lambda f: f**3 / log1p(f), sqrt(mpf(1) / 2) - 1, sqrt(2) - 1, d)
    # log((1 + s) / (1 - s)) = 2 s + s^3 p(s^2)
    edge = ((sqrt(2) - 1) / (sqrt(2) + 1)) ** 2
    for d in (4, 5, 6):
        show(f"log f64 by s^2 {d}", lambda z: (log((1 + sqrt(z)) / (1 - sqrt(z))) - 2 * sqrt(z)) / sqrt(z) ** 3,
             lambda z: z, mpf("1e-9"), edge, d, True)
    # sin(r) = r + r^3 s(r^2), cos(r) = 1 - r^2/2 + r^4 c(r^2)
    zq = quarter_pi**2
    for d, wide in ((2, False), (3, False), (4, True), (5, True)):
        show(f"sin {d}", lambda z: (sin(sqrt(z)) - sqrt(z)) / sqrt(z) ** 3, lambda z: z, mpf("1e-9"), zq, d, wide)
        show(f"cos {d}", lambda z: (cos(sqrt(z)) - 1 + z / 2) / z**2, lambda z: z**2, mpf("1e-9"), zq, d, wide)
    # atan(t) = t + t^3 a(t^2)
    for d, wide in ((7, False), (8, False), (11, True)):
        show(f"atan {d}", lambda z: (atan(sqrt(z)) - sqrt(z)) / sqrt(z) ** 3, lambda z: z, mpf("1e-9"), 1, d, wide)
    # erf(x) = x + x e(x^2) below, log(erfc(x)) above
    cut = mpf("0.921875")
    for d, wide in ((5, False), (6, False), (8, True)):
        show(f"erf small {d}", lambda z: erf(sqrt(z)) / sqrt(z) - 1, lambda z: sqrt(z) / erf(sqrt(z)), mpf("1e-9"), cut**2, d, wide)
    for d in (6, 7, 8):
        show(f"log erfc {d}", lambda x: log(erfc(x)), lambda x: erfc(x) / erf(x), cut, 4, d)
    # erfc(x) exp(x^2) over t = 1 / (1 + x/2)
    back = lambda t: 2 * (1 / t - 1)
    for d in (8, 9, 10, 11):
        show(f"erfc f64 {d}", lambda t: g(back(t)), lambda t: 1 / g(back(t)), 1 / (1 + mpf("10.2") / 2), 1 / (1 + mpf("0.45") / 2), d, True)


main()
