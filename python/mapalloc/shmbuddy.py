# SPDX-License-Identifier: BSD-3-Clause
"""libshmbuddy: a buddy allocator in shared memory, without locks.

A *region* is a file, a memfd, a POSIX shared memory object, or memory that the program has mapped.
Its blocks have sizes that are powers of two. A block is known by its offset from the start of the
region, so each process may have the region at another address.

The library has no locks of its own for the program's data. Left out: the calls of <shm_alloc.h>.
"""

from __future__ import annotations

import ctypes
from typing import Any, List, NamedTuple, Optional, Tuple, Union

from ._lib import Library, Path, Report, ReportFunction, Word, filename, flags, number
from ._map import Functions, Map, from_structure
from ._roots import Roots

__all__ = [
    "Region", "Stats", "create", "format", "join", "open", "open_fd", "restore", "salvage",
    "size_needed", "unlink",
]  # fmt: skip

_EXISTING, _NEW, _RDONLY, _EXCLUSIVE = 1, 2, 4, 16

_library = Library("shmbuddy")


class Stats(NamedTuple):
    """Figures of a region, in bytes unless the name says otherwise."""

    #: All of it.
    region_bytes: int
    #: What blocks can take.
    capacity: int
    #: Of which this much has its disk space.
    backed_bytes: int
    #: Taken by live blocks.
    used_bytes: int
    #: Number of live blocks.
    used_blocks: int
    #: Largest block that there is room for.
    largest_free: int
    #: Smallest block.
    smallest: int
    #: Largest block.
    largest: int
    #: What the file system has allocated; 0 for memory of the program's.
    disk_bytes: int
    #: Number of levels.
    levels: int
    #: Number of parts.
    parts: int
    #: What capacity can grow to.
    range: int


class _Stats(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint64) for name in Stats._fields[:9]),
        ("levels", ctypes.c_uint32),
        ("parts", ctypes.c_uint32),
        ("range", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64 * 7),
    ]


class _Options(ctypes.Structure):
    _fields_ = [
        ("capacity", ctypes.c_uint64),
        ("smallest", ctypes.c_uint64),
        ("largest", ctypes.c_uint64),
        ("flags", ctypes.c_uint),
        ("mode", ctypes.c_uint),
        ("address", Word),
        ("range", ctypes.c_uint64),
        ("reserved", ctypes.c_uint64 * 3),
    ]


_functions = Functions(_library, _Stats)
_functions.unnamed_root = True
_functions.malloc = _library.function("shmbuddy_malloc", Word, Word, ctypes.c_size_t)
_functions.calloc = _library.function(
    "shmbuddy_calloc", Word, Word, ctypes.c_size_t, ctypes.c_size_t
)
_functions.realloc = _library.function("shmbuddy_realloc", Word, Word, Word, ctypes.c_size_t)
_functions.free = _library.function("shmbuddy_free", ctypes.c_int, Word, Word)
_functions.close = _library.function("shmbuddy_close", ctypes.c_int, Word)
_address = _library.function("shmbuddy_address", Word, Word, Word)
_grow = _library.function("shmbuddy_grow", ctypes.c_int, Word, ctypes.c_uint64)
_mend = _library.function("shmbuddy_mend", ctypes.c_int, Word)
_OptionsPointer = ctypes.POINTER(_Options)
_open = _library.function("shmbuddy_open", Word, ctypes.c_char_p, _OptionsPointer)
_open_fd = _library.function("shmbuddy_open_fd", Word, ctypes.c_int, _OptionsPointer)
_format = _library.function("shmbuddy_format", Word, Word, ctypes.c_size_t, _OptionsPointer)
_join = _library.function("shmbuddy_join", Word, Word)
_size_needed = _library.function("shmbuddy_size_needed", ctypes.c_uint64, _OptionsPointer)
_unlink = _library.function("shmbuddy_unlink", ctypes.c_int, ctypes.c_char_p)
_salvage = _library.function(
    "shmbuddy_salvage", Word, ctypes.c_char_p, ReportFunction, ctypes.c_void_p
)


class Region(Map):
    """A region of libshmbuddy."""

    _library = _library
    _functions = _functions
    #: Keeps the program's memory exported, so that it stays mapped, until the region is closed.
    _memory: Any = None

    @property
    def roots(self) -> Roots[Optional[str]]:
        """The named roots of the region, at most 64. None is the name of the one without a name."""
        return Roots(self)

    def stats(self) -> Stats:
        """Count what is in the region. While others change it the figures are near, not exact."""
        found = _Stats()
        self._status(self._functions.stats, ctypes.byref(found))
        return from_structure(Stats, found)

    def grow(self, capacity: int) -> None:
        """Make room for blocks of *capacity* bytes in all, while others use the region."""
        self._status(_grow, number(capacity, "capacity"))

    def mend(self) -> None:
        """Make available at once what killed processes left half split or half merged."""
        self._status(_mend)

    def _address(self, word: int) -> int:
        address: int = self._use(_address, word)
        if not address:
            raise self._library.error()
        return address

    def _offset(self, word: int) -> int:
        super()._address(word)
        return word

    def _block_address(self, word: int, size: int) -> int:
        self._address(word + size - 1)  # ENOMEM when this process has not mapped all of it.
        return self._address(word)

    def _close(self) -> None:
        super()._close()
        self._memory = None


def _options(
    mode: int = 0,
    *,
    capacity: int = 0,
    smallest: int = 0,
    largest: int = 0,
    address: int = 0,
    range: int = 0,
    permissions: int = 0,
) -> _Options:
    return _Options(
        capacity=number(capacity, "capacity"),
        smallest=number(smallest, "smallest"),
        largest=number(largest, "largest"),
        flags=mode,
        mode=number(permissions, "mode", 0, 32),
        address=number(address, "address"),
        range=number(range, "range"),
    )


def open(path: Path, *, readonly: bool = False, exclusive: bool = False) -> Region:
    """Open an existing region.

    *readonly*: nothing can be changed; views are read-only. *exclusive*: no other opening of the
    region is allowed, in this process or another one.
    """
    mode = flags((not readonly, _EXISTING), (readonly, _RDONLY), (exclusive, _EXCLUSIVE))
    return _opened(_open(filename(path), ctypes.byref(_options(mode))), path, readonly)


def create(
    path: Path,
    capacity: int = 0,
    *,
    smallest: int = 0,
    largest: int = 0,
    range: int = 0,
    address: int = 0,
    mode: int = 0,
    new: bool = False,
    exclusive: bool = False,
) -> Region:
    """Create a region, or open it when the file already holds one.

    *capacity*: bytes for blocks, 0 is 512 MiB. *smallest*, *largest*: the sizes of the smallest and
    the largest block, powers of two; 0 is 32, and 32 times the smallest. *range*: what capacity can
    grow to. *address*: where to map it, if possible. *mode*: permission bits of a new file, 0 is
    0600. *new*: raise Error with EEXIST when the file exists and is not empty. *exclusive*: as for
    open(). An existing region must agree with what is not 0.
    """
    options = _options(
        flags((new, _NEW), (exclusive, _EXCLUSIVE)),
        capacity=capacity,
        smallest=smallest,
        largest=largest,
        range=range,
        address=address,
        permissions=mode,
    )
    return _opened(_open(filename(path), ctypes.byref(options)), path)


def open_fd(
    fd: int,
    capacity: int = 0,
    *,
    smallest: int = 0,
    largest: int = 0,
    range: int = 0,
    address: int = 0,
    readonly: bool = False,
    exclusive: bool = False,
) -> Region:
    """Open or create a region by a descriptor: of a file, os.memfd_create(), or shared memory.

    The caller may close *fd* at once. The rest is as for create() and open().
    """
    options = _options(
        flags((readonly, _RDONLY), (exclusive, _EXCLUSIVE)),
        capacity=capacity,
        smallest=smallest,
        largest=largest,
        range=range,
        address=address,
    )
    handle = _open_fd(number(fd, "fd", 0, 31), ctypes.byref(options))
    return _opened(handle, f"descriptor {fd}", readonly)


def format(
    memory: Any, capacity: int = 0, *, smallest: int = 0, largest: int = 0, range: int = 0
) -> Region:
    """Make a region in memory that the program has, such as an mmap.mmap; its contents are lost.

    *memory* is any writable buffer that begins at a multiple of 64. It stays exported until the
    region is closed: mmap.close() raises BufferError before. *capacity* 0: as much as there is room
    for. size_needed() tells how much memory a capacity takes.
    """
    options = _options(capacity=capacity, smallest=smallest, largest=largest, range=range)
    array = _array(memory)
    handle = _format(ctypes.addressof(array), len(array), ctypes.byref(options))
    region = _opened(handle, "memory")
    region._memory = array
    return region


def join(memory: Any) -> Region:
    """Join the region in memory that the program has mapped, all of it, as format() made it.

    It raises ValueError when the memory is shorter than the region may become by grow(). To use a
    region's file, call open() instead.
    """
    array = _array(memory)
    if len(array) < 4096:
        raise ValueError("the memory is too short for a region")
    region = _opened(_join(ctypes.addressof(array)), "memory")
    region._memory = array
    # The library believes what the region says of its length; only here it can be compared.
    sizes = region.stats()
    needed = size_needed(
        max(sizes.capacity, sizes.range),
        smallest=sizes.smallest,
        largest=sizes.largest,
        range=sizes.range,
    )
    if max(needed, sizes.region_bytes) > len(array):
        region.close()
        raise ValueError(f"the region needs {needed} bytes, the memory has {len(array)}")
    return region


def size_needed(
    capacity: int = 0, *, smallest: int = 0, largest: int = 0, range: int = 0
) -> int:
    """Return the bytes of memory that format() needs for a capacity, or for a range."""
    options = _options(capacity=capacity, smallest=smallest, largest=largest, range=range)
    size: int = _size_needed(ctypes.byref(options))
    if not size:
        raise _library.error()
    return size


def unlink(path: Path) -> None:
    """Remove the file of a region; processes that have it open keep it. Other files stay."""
    _library.status(_unlink(filename(path)))


def restore(path: Path) -> None:
    """Make a durable region what it was at its last checkpoint. No process may have it open."""
    _library.status(_functions.restore(filename(path)))


def salvage(path: Path) -> Tuple[Region, List[str]]:
    """Open a region that open() refuses with EUCLEAN. What can be proved stays.

    Return the region, and a sentence for each violation that was mended.
    """
    report = Report()
    handle = _salvage(filename(path), report.function, None)
    found = _opened(handle, path)
    report.check()
    return found, report.sentences


def _array(memory: Any) -> ctypes.Array[ctypes.c_char]:
    with memoryview(memory) as view:
        length = view.nbytes
    return (ctypes.c_char * length).from_buffer(memory)


def _opened(handle: int, name: Union[Path, str], readonly: bool = False) -> Region:
    if not handle:
        raise _library.error()
    return Region(handle, name, readonly)
