# SPDX-License-Identifier: BSD-3-Clause
"""libmmalloc: a growing heap per file, or in memory of this process.

A heap in a file is mapped at one address, its base, in every process, so an address that is stored
in a block stays valid.

Left out: the default heap of a process (a NULL descriptor), guarded blocks (mmcheck()), traces
(mmtrace()) and mmstats(), of which Heap.stats() has the figures.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import List, NamedTuple, Tuple, Union

from ._block import Block
from ._lib import Error, Library, Path, Report, ReportFunction, Word, WordPointer, filename, flags
from ._lib import number
from ._lock import Lock
from ._map import Functions, Map, from_structure
from ._roots import Roots

__all__ = ["Heap", "KEYS", "Stats", "attach", "create", "findbase", "open", "restore", "salvage"]

#: A heap has so many keys: 0 to KEYS - 1.
KEYS = 64

_library = Library("mmalloc")


class Stats(NamedTuple):
    """Figures of a heap, in bytes unless the name says otherwise."""

    #: Length of the file; of a heap in memory, what it has grown to.
    file_bytes: int
    #: Of which the file system has allocated; 0 in memory.
    disk_bytes: int
    #: Most that blocks can ever take.
    user_bytes: int
    #: Taken by live blocks.
    used_bytes: int
    #: Number of live blocks.
    used_blocks: int
    #: Largest block that the range has room for in one piece.
    largest_free: int
    #: Number of streams.
    streams: int
    #: Live processes that allocate here.
    processes: int
    #: The address at which the heap is mapped.
    base: int


class _Stats(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint64) for name in Stats._fields[:6]),
        ("streams", ctypes.c_uint32),
        ("processes", ctypes.c_uint32),
        ("base", Word),
        ("reserved", ctypes.c_uint64 * 8),
    ]


class _Options(ctypes.Structure):
    _fields_ = [
        ("flags", ctypes.c_uint),
        ("streams", ctypes.c_uint),
        ("reserve", ctypes.c_size_t),
        ("processes", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64 * 3),
    ]


_functions = Functions(_library, _Stats)
_functions.locks(_library)
_functions.malloc = _library.function("mmalloc", Word, Word, ctypes.c_size_t)
_functions.calloc = _library.function("mcalloc", Word, Word, ctypes.c_size_t, ctypes.c_size_t)
_functions.realloc = _library.function("mrealloc", Word, Word, Word, ctypes.c_size_t)
_functions.close = _library.function("mmalloc_detach", Word, Word)
_memalign = _library.function("mmemalign", Word, Word, ctypes.c_size_t, ctypes.c_size_t)
_trim = _library.function("mmalloc_trim", ctypes.c_int64, Word)
_setkey = _library.function("mmalloc_setkey", ctypes.c_int, Word, ctypes.c_int, Word)
_getkey = _library.function("mmalloc_getkey", Word, Word, ctypes.c_int)
_caskey = _library.function("mmalloc_caskey", ctypes.c_int, Word, ctypes.c_int, WordPointer, Word)
_mfree = _library.function("mfree", None, Word, Word)
_attach = _library.function(
    "mmalloc_attach_opt", Word, ctypes.c_int, Word, ctypes.POINTER(_Options)
)
_salvage = _library.function(
    "mmalloc_salvage", Word, ctypes.c_int, ReportFunction, ctypes.c_void_p
)
_findbase = _library.function("mmalloc_findbase", Word, ctypes.c_size_t)


def _free(handle: int, word: int) -> int:
    _mfree(handle, word)
    return ctypes.get_errno()


_functions.free = _free


class Heap(Map):
    """A heap of libmmalloc."""

    _library = _library
    _functions = _functions
    _base = 0

    @property
    def roots(self) -> Roots[str]:
        """The named roots of the heap."""
        return Roots(self)

    def lock(self, block: Block, start: int = 0) -> Lock:
        """Return the lock at byte *start* of a block, a multiple of 8. All zero is free."""
        return Lock.at(self, block, start)

    def memalign(self, alignment: int, size: int) -> Block:
        """Allocate a block whose address is a multiple of *alignment*, a power of two."""
        alignment, size = number(alignment, "alignment", 1), number(size, "size", 1)
        return self._allocated(_memalign, alignment, size)

    def stats(self) -> Stats:
        """Count what is in the heap. While others change it the figures are near, not exact."""
        found = _Stats()
        self._status(self._functions.stats, ctypes.byref(found))
        return from_structure(Stats, found)

    def trim(self) -> int:
        """Return free memory and disk space to the system, and the number of bytes."""
        return self._status(_trim)

    def get_key(self, key: int) -> int:
        """Return the word that is stored under a key; 0 when none is."""
        ctypes.set_errno(0)
        word: int = self._use(_getkey, number(key, "key", 0, 31))
        if not word and ctypes.get_errno():
            raise self._library.error()
        return word

    def set_key(self, key: int, value: Union[Block, int]) -> None:
        """Store a block, or any word, under a key; 0 takes it away."""
        if not self._use(_setkey, number(key, "key", 0, 31), _key_word(value)):
            raise self._library.error()

    def compare_and_set_key(
        self, key: int, expected: Union[Block, int], desired: Union[Block, int]
    ) -> bool:
        """Store under a key only if *expected* is still stored there. Return whether it was."""
        old = ctypes.byref(Word(_key_word(expected)))
        key = number(key, "key", 0, 31)
        return bool(self._status(_caskey, key, old, _key_word(desired)))

    def _offset(self, word: int) -> int:
        self._base = self._base or self.stats().base
        return self._address(word) - self._base


def _key_word(value: Union[Block, int]) -> int:
    return value.word if isinstance(value, Block) else number(value, "the word of a key")


def attach(
    fd: int = -1,
    *,
    name: Path = "",
    base: int = 0,
    streams: int = 0,
    reserve: int = 0,
    processes: int = 0,
    readonly: bool = False,
    private: bool = False,
    exclusive: bool = False,
    fork_snapshot: bool = False,
) -> Heap:
    """Attach the heap in a file that is open; -1 makes a heap in memory of this process alone.

    An empty file becomes a new heap. The caller may close *fd* at once. *name* is only shown.
    *base*: the address of a new heap; 0 for no preference. *streams*: lanes with a lock each.
    *reserve*: the range of a new heap, 0 is 1 TiB. *processes*: so many can allocate at a time.
    *readonly*: nothing can be changed; views are read-only. *private*: changes stay in this
    process. *exclusive*: no other process may have the heap attached. *fork_snapshot*: a fork child
    sees the heap as it was at fork().
    """
    options = _Options(
        flags=flags((readonly, 1), (private, 2), (exclusive, 4), (fork_snapshot, 8)),
        streams=number(streams, "streams", 0, 32),
        reserve=number(reserve, "reserve"),
        processes=number(processes, "processes"),
    )
    handle = _attach(fd, number(base, "base"), ctypes.byref(options))
    return _attached(handle, name or (f"descriptor {fd}" if fd >= 0 else "memory"), readonly)


def open(
    path: Path,
    *,
    readonly: bool = False,
    private: bool = False,
    exclusive: bool = False,
    fork_snapshot: bool = False,
) -> Heap:
    """Attach the heap in an existing file, as attach() does. An empty file becomes a new heap."""
    with _Descriptor(path, os.O_RDONLY if readonly or private else os.O_RDWR) as fd:
        return attach(
            fd,
            name=path,
            readonly=readonly,
            private=private,
            exclusive=exclusive,
            fork_snapshot=fork_snapshot,
        )


def create(
    path: Path,
    *,
    base: int = 0,
    streams: int = 0,
    reserve: int = 0,
    processes: int = 0,
    exclusive: bool = False,
    fork_snapshot: bool = False,
) -> Heap:
    """Create a file (mode 0600) with a heap, or attach the heap that the file holds already."""
    with _Descriptor(path, os.O_RDWR | os.O_CREAT) as fd:
        return attach(
            fd,
            name=path,
            base=base,
            streams=streams,
            reserve=reserve,
            processes=processes,
            exclusive=exclusive,
            fork_snapshot=fork_snapshot,
        )


def salvage(path: Path) -> Tuple[Heap, List[str]]:
    """Attach a heap that open() refuses with EUCLEAN. What can be proved stays.

    Return the heap, and a sentence for each thing that was changed or lost.
    """
    report = Report()
    with _Descriptor(path, os.O_RDWR) as fd:
        found = _attached(_salvage(fd, report.function, None), path)
    report.check()
    return found, report.sentences


def restore(path: Path) -> None:
    """Make a durable heap what it was at its last checkpoint. No process may have it attached."""
    _library.status(_functions.restore(filename(path)))


def findbase(size: int) -> int:
    """Return an address that is free for *size* bytes, as a base for a new heap."""
    address: int = _findbase(number(size, "size", 1))
    if not address:
        raise _library.error()
    return address


class _Descriptor:
    """A file that is open for as long as the library needs the caller's descriptor."""

    def __init__(self, path: Path, mode: int) -> None:
        try:
            self._fd = os.open(path, mode | os.O_CLOEXEC, 0o600)
        except OSError as reason:  # ValueError, for a null byte, is raised as it is.
            code = reason.errno or errno.EIO
            name, why = os.fsdecode(path), os.strerror(code)
            raise Error(code, f"{name}: cannot open it: {why} ({errno.errorcode[code]})") from None

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _attached(handle: int, name: Path, readonly: bool = False) -> Heap:
    if not handle:
        raise _library.error()
    return Heap(handle, name, readonly)
