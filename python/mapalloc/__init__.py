# SPDX-License-Identifier: BSD-3-Clause
"""Memory in mapped files: Python for libqalloc, libmmalloc and libshmbuddy.

Each library has a module of its own, which loads the library when it is imported:

- ``mapalloc.qalloc``: static and dynamic maps in files;
- ``mapalloc.mmalloc``: one growing heap per file, or in memory;
- ``mapalloc.shmbuddy``: a buddy allocator in shared memory, without locks.

This module has what they share: the errors, blocks, roots and locks.

    from mapalloc import qalloc

    with qalloc.create("notes.map", 1 << 20) as notes:
        block, created = notes.roots.find_or_create("greeting", 64)
        block.write(b"hello")
"""

from ._block import Block
from ._lib import Error, LockTimeout, MapFullError
from ._lock import Lock
from ._map import Map, Opening
from ._roots import Roots

__all__ = ["Block", "Error", "Lock", "LockTimeout", "Map", "MapFullError", "Opening", "Roots"]
