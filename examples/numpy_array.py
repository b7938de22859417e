#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A NumPy array in a map that two processes share, and that outlives both.

    python3 numpy_array.py array.map

The program starts itself a second time. Both processes add 1 to each number of the array, under a
lock that lies in the map. Run it again, and the numbers go on from where they were. Without NumPy
the array is a memoryview.
"""

import contextlib
import importlib
import subprocess
import sys
from typing import Any, Iterator

from mapalloc import Block, qalloc

numpy: Any = None
with contextlib.suppress(ImportError):
    numpy = importlib.import_module("numpy")

COUNT = 1000


@contextlib.contextmanager
def numbers(block: Block) -> Iterator[Any]:
    """Give a block's bytes as an array of floating-point numbers, until the end of the statement.

    The array has no life of its own: it is the memory of the map. The map cannot be closed while
    the array, or a slice of it, exists.
    """
    view = block.view(0, COUNT * 8)
    if numpy is not None:
        yield numpy.frombuffer(view, dtype=numpy.float64)
    else:
        with view, view.cast("d") as array:
            yield array


def add(notes: qalloc.Map) -> Block:
    """Add 1 to each number, while no other process does."""
    # All zero: the lock is free, and each number is 0.0.
    lock, _ = notes.roots.find_or_create("lock", 8)
    block, _ = notes.roots.find_or_create("numbers", COUNT * 8)
    with notes.lock(lock) as died, numbers(block) as array:
        if died:
            print("the last holder of the lock was killed: some numbers may be too small by 1")
        if numpy is not None:
            array += 1
        else:
            for i, number in enumerate(array):
                array[i] = number + 1
    return block


def report(block: Block) -> None:
    """Print the sum. The array ends with this function, before the map is closed."""
    with numbers(block) as array:
        total = float(sum(array))
        print(f"{len(array)} numbers, each {float(array[0])}: their sum is {total}")


def main(path: str, role: str = "first") -> None:
    with qalloc.create(path, 1 << 20) as notes:
        block = add(notes)
        if role == "second":
            return
        if numpy is None:
            print("NumPy is not installed: memoryview.cast() is used instead.", flush=True)
        subprocess.run([sys.executable, __file__, path, "second"], check=True)
        report(block)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: {sys.argv[0]} MAP")
    main(*sys.argv[1:])
