# SPDX-License-Identifier: BSD-3-Clause
"""libqalloc: static and dynamic maps in files, for many threads and processes.

A *static* map has items of one size; a *dynamic* map has blocks of any size. A map is mapped at one
address, its base, in every process, so an address that is stored in a block stays valid.

Left out: qalloc_cleanup(), which closes all maps. Use sync() and close() of each map.
"""

from __future__ import annotations

import ctypes
from typing import List, NamedTuple, Tuple

from ._block import Block
from ._lib import Library, Path, Report, ReportFunction, Word, filename, flags, number
from ._lock import Lock
from ._map import Functions, from_structure
from ._map import Map as _Map
from ._roots import Roots

__all__ = ["Map", "Stats", "checkpoint", "create", "open", "restore", "salvage"]

_library = Library("qalloc")


class Stats(NamedTuple):
    """Figures of a map, in bytes unless the name says otherwise."""

    #: Length of the file.
    file_bytes: int
    #: Of which the file system has allocated.
    disk_bytes: int
    #: Most that blocks can take, at this length of the file.
    user_bytes: int
    #: Taken by live blocks.
    used_bytes: int
    #: Number of live blocks.
    used_blocks: int
    #: user_bytes - used_bytes: free, reserved by a thread, or lost at the edges.
    free_bytes: int
    #: Largest block that can be allocated now in one piece.
    largest_free: int
    #: Item size of a static map, else 0.
    item_bytes: int
    #: Number of streams.
    streams: int
    #: Live processes that allocate here.
    processes: int
    #: The address at which the map is mapped.
    base: int
    #: Whether it is a static map.
    is_static: bool
    #: How many processes can allocate at a time.
    slots: int
    #: The longest that the file can get.
    range_bytes: int


class _Stats(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint64) for name in Stats._fields[:8]),
        ("streams", ctypes.c_uint32),
        ("processes", ctypes.c_uint32),
        ("base", Word),
        ("is_static", ctypes.c_uint32),
        ("slots", ctypes.c_uint32),
        ("range_bytes", ctypes.c_uint64),
        ("reserved", ctypes.c_uint32 * 4),
    ]


class _Options(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint64),
        ("item", ctypes.c_uint64),
        ("base", Word),
        ("streams", ctypes.c_uint64),
        ("range", ctypes.c_uint64),
        ("processes", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64 * 6),
    ]


_functions = Functions(_library, _Stats)
_functions.locks(_library)
_functions.malloc = _library.function("qalloc_malloc", Word, Word, ctypes.c_size_t)
_functions.calloc = _library.function(
    "qalloc_calloc", Word, Word, ctypes.c_size_t, ctypes.c_size_t
)
_functions.realloc = _library.function("qalloc_realloc", Word, Word, Word, ctypes.c_size_t)
_functions.close = _library.function("qalloc_close", ctypes.c_int, Word)
_memalign = _library.function("qalloc_memalign", Word, Word, ctypes.c_size_t, ctypes.c_size_t)
_trim = _library.function("qalloc_trim", ctypes.c_int64, Word)
_grow = _library.function("qalloc_grow", ctypes.c_int, Word, ctypes.c_uint64)
_qalloc_free = _library.function("qalloc_free", None, Word, Word)
_qalloc_open = _library.function("qalloc_open", Word, ctypes.c_char_p, ctypes.c_uint)
_qalloc_make = _library.function("qalloc_make", Word, ctypes.c_char_p, ctypes.POINTER(_Options))
_qalloc_salvage = _library.function(
    "qalloc_salvage", Word, ctypes.c_char_p, ReportFunction, ctypes.c_void_p
)
_qalloc_checkpoint = _library.function("qalloc_checkpoint", None)


def _free(handle: int, word: int) -> int:
    _qalloc_free(word, handle)
    return ctypes.get_errno()


_functions.free = _free


class Map(_Map):
    """A map of libqalloc."""

    _library = _library
    _functions = _functions
    _base = 0

    @property
    def roots(self) -> Roots[str]:
        """The named roots of the map."""
        return Roots(self)

    def lock(self, block: Block, start: int = 0) -> Lock:
        """Return the lock at byte *start* of a block, a multiple of 8. All zero is free."""
        return Lock.at(self, block, start)

    def memalign(self, alignment: int, size: int) -> Block:
        """Allocate a block whose address is a multiple of *alignment*, a power of two."""
        alignment, size = number(alignment, "alignment", 1), number(size, "size", 1)
        return self._allocated(_memalign, alignment, size)

    def stats(self) -> Stats:
        """Count what is in the map. While others change it the figures are near, not exact."""
        found = _Stats()
        self._status(self._functions.stats, ctypes.byref(found))
        return from_structure(Stats, found, ["is_static"])

    def trim(self) -> int:
        """Return free memory and disk space to the file system, and the number of bytes."""
        return self._status(_trim)

    def grow(self, size: int) -> None:
        """Make the file *size* bytes long, while processes use it. A map never gets shorter."""
        self._status(_grow, number(size, "size"))

    def _offset(self, word: int) -> int:
        self._base = self._base or self.stats().base
        return self._address(word) - self._base


def open(
    path: Path,
    *,
    readonly: bool = False,
    private: bool = False,
    exclusive: bool = False,
    fork_snapshot: bool = False,
) -> Map:
    """Open an existing map.

    *readonly*: nothing can be changed; views are read-only. *private*: changes stay in this
    process. *exclusive*: no other process may have the map open. *fork_snapshot*: a fork child sees
    the map as it was at fork().
    """
    mode = flags((readonly, 1), (private, 2), (exclusive, 4), (fork_snapshot, 8))
    return _opened(_qalloc_open(filename(path), mode), path, readonly)


def create(
    path: Path,
    size: int,
    *,
    item: int = 0,
    base: int = 0,
    streams: int = 0,
    range: int = 0,
    processes: int = 0,
) -> Map:
    """Create a map, or open it when the file already holds one.

    *size*: of the file in bytes. *item*: the size of an item of a static map; 0 makes a dynamic
    map. *base*: the address; 0 for no preference. *streams*: independent lanes. *range*: the
    longest that the file may get by grow(). *processes*: so many can allocate at a time. An
    existing map keeps its own size, base, range and processes.
    """
    options = _Options(
        size=number(size, "size"),
        item=number(item, "item"),
        base=number(base, "base"),
        streams=number(streams, "streams"),
        range=number(range, "range"),
        processes=number(processes, "processes"),
    )
    return _opened(_qalloc_make(filename(path), ctypes.byref(options)), path)


def salvage(path: Path) -> Tuple[Map, List[str]]:
    """Open a map that open() refuses with EUCLEAN. What can be proved stays.

    Return the map, and a sentence for each thing that was changed or lost.
    """
    report = Report()
    handle = _qalloc_salvage(filename(path), report.function, None)
    found = _opened(handle, path)
    report.check()
    return found, report.sentences


def restore(path: Path) -> None:
    """Make a durable map what it was at its last checkpoint. No process may have it open."""
    _library.status(_functions.restore(filename(path)))


def checkpoint() -> None:
    """Write every open map of this process to disk, as Map.sync() does."""
    ctypes.set_errno(0)
    _qalloc_checkpoint()
    if ctypes.get_errno():
        raise _library.error()


def _opened(handle: int, path: Path, readonly: bool = False) -> Map:
    if not handle:
        raise _library.error()
    return Map(handle, path, readonly)
