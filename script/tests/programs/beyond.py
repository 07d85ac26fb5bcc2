# What is left out of the language, so that damage also strikes the code that recognises it.
import os.path, numpy as np
from . import sibling
from collections import *

try:
    import scipy
except ImportError as error:
    scipy = None
finally:
    pass

@decorate(1 + 2, key=[3])
async def wait(*args, key: int, **kwargs):
    async with open(args) as f, g:
        await f.read()
    async for x in f:
        yield x
    else:
        yield from x

def inner[T](a: T, b=lambda x, *y: (x, y)) -> None:
    global counter
    nonlocal other
    def nested(x):
        class Local(object, metaclass=M):
            x = 1
            for x in y: print(x)
        return Local
    match a, b:
        case [1, *rest] if rest:
            pass
        case {"k": v, **others} | Point(x=0):
            return v
    first, *others = [*a, *b], {*a}, {**a, "k": 1}
    if (n := len(a)) > 10: print(n)
    s = {x for x in a}, {k: v for k, v in b.items()}, (x for x in a), [x for y in a for x in y]
    z = 1j + 2.5J, b"bytes", rb'raw', f"{a:{b}.{c}}" f'{d!a}', "\N{BULLET}\u2192\x41\101\q"
    print >>stream, a
    del a.b, a[0]
    call(*a, k=1, **b)
    type Alias = list[int]
    raise
    raise A from B

print("at the top", 012, 1__0, 0xg, 99999999999999999999, "é→𝄞" '''
many lines''')
