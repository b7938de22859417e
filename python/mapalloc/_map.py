# SPDX-License-Identifier: BSD-3-Clause
"""What maps of all libraries have in common."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import threading
import warnings
import weakref
from types import TracebackType
from typing import Any, Callable, ClassVar, Dict, List, NamedTuple, Optional, Sequence
from typing import Tuple, Type, TypeVar

from ._block import Block
from ._lib import Error, Guard, Library, Path, Report, ReportFunction, RootFunction
from ._lib import WalkFunction, Word, WordPointer, filename, number

Self = TypeVar("Self", bound="Map")
Tuples = TypeVar("Tuples", bound=Tuple[Any, ...])


class Opening(NamedTuple):
    """What this process found when it opened a map."""

    #: How often a process opened the map with no other one attached, up to this opening.
    generation: int
    #: This opening made the map.
    created: bool
    #: No other process was attached.
    first: bool
    #: The file is a copy, or was moved to another file system.
    copied: bool
    #: The machine was restarted, or the file system unmounted, while the map was in use.
    machine_died: bool
    #: How the last process left it: 0 not closed, 1 closed, 2 closed and on disk.
    closed: int
    #: It was not closed, and what killed processes had reserved was reclaimed.
    recovered: bool
    #: This opening checked the whole map.
    verified: bool
    #: The map was durable, and this opening made it what its last checkpoint was.
    restored: bool


class _Opening(ctypes.Structure):
    _fields_ = [
        ("generation", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in Opening._fields[1:]),
        ("reserved", ctypes.c_uint32 * 6),
    ]


def from_structure(
    kind: Type[Tuples], structure: ctypes.Structure, booleans: Sequence[str] = ()
) -> Tuples:
    """Return the members of a C structure that a NamedTuple has; some of them are booleans."""
    names: Tuple[str, ...] = kind._fields  # type: ignore[attr-defined]
    values = [getattr(structure, name) for name in names]
    return kind(*(bool(v) if name in booleans else v for name, v in zip(names, values)))


class _Exported(weakref.ref):  # type: ignore[type-arg]  # Python 3.8 and older cannot say it.
    """Stands for the array under a view and all that was made from it, which has no hash."""

    __slots__ = ()
    __hash__ = object.__hash__
    __eq__ = object.__eq__


class Functions:
    """The C functions that have one form in all libraries, by their names without the prefix."""

    def __init__(self, library: Library, stats: Type[ctypes.Structure]) -> None:
        prefix, integer, size, name = library.name, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p

        def declare(symbol: str, result: Any, *arguments: Any) -> Callable[..., Any]:
            return library.function(f"{prefix}_{symbol}", result, *arguments)

        #: Whether NULL names a root.
        self.unnamed_root = False
        self.usable_size = declare("usable_size", size, Word, Word)
        self.setroot = declare("setroot", integer, Word, name, Word)
        self.getroot = declare("getroot", Word, Word, name)
        self.casroot = declare("casroot", integer, Word, name, WordPointer, Word)
        pointer = ctypes.c_void_p
        self.find_or_create = declare(
            "find_or_create", Word, Word, name, size, pointer, pointer, ctypes.POINTER(integer)
        )
        self.walkroots = declare("walkroots", integer, Word, RootFunction, pointer)
        self.sync = declare("sync", integer, Word)
        self.durable = declare("durable", integer, Word)
        self.capture = declare("capture", integer, Word)
        self.commit = declare("commit", integer, Word)
        self.restore = declare("restore", integer, name)
        self.snapshot = declare("snapshot", integer, Word, name)
        self.check = declare("check", integer, Word, ReportFunction, pointer)
        self.walk = declare("walk", integer, Word, WalkFunction, pointer)
        self.opening = declare("opening", integer, Word, ctypes.POINTER(_Opening))
        self.settag = declare("settag", integer, Word, ctypes.c_uint64)
        self.gettag = declare("gettag", ctypes.c_uint64, Word)
        self.stats = declare("stats", integer, Word, ctypes.POINTER(stats))

    def locks(self, library: Library) -> None:
        """Declare the functions of locks, which libshmbuddy does not have."""
        prefix = library.name
        self.trylock = library.function(f"{prefix}_trylock", ctypes.c_int, Word, Word)
        self.timedlock = library.function(
            f"{prefix}_timedlock", ctypes.c_int, Word, Word, ctypes.c_uint
        )
        self.unlock = library.function(f"{prefix}_unlock", ctypes.c_int, Word, Word)

    trylock: Callable[..., int]
    timedlock: Callable[..., int]
    unlock: Callable[..., int]

    #: The functions whose names or arguments differ; each module sets them.
    malloc: Callable[..., int]
    calloc: Callable[..., int]
    realloc: Callable[..., int]
    #: It gets the handle and the block, and returns 0 when the block was freed.
    free: Callable[..., int]
    #: It gets the handle, and returns 0 when it was closed.
    close: Callable[..., int]


class Map:
    """A map that this process has open. Each library's module has a class of its own.

    A map is a context manager: it is closed at the end of the ``with`` statement. A call on a
    closed map raises ValueError. Any thread may call any method.
    """

    _library: ClassVar[Library]
    _functions: ClassVar[Functions]
    _open_maps: ClassVar[weakref.WeakSet[Map]] = weakref.WeakSet()

    _handle = 0

    def __init__(self, handle: int, name: Path, readonly: bool) -> None:
        """Programs get maps from the functions open(), create() and so on of a module."""
        # Guards the handle, the number of calls, and the order of views and of frees.
        self._mutex = threading.RLock()
        self._calls = 0
        # The arrays under all views that exist, each with the word of its block.
        self._views: Dict[_Exported, int] = {}
        self._readonly = readonly
        self._handle = handle
        self.name = name
        #: Two Map objects of one map in one process have the same identity.
        self.identity = (self._library.name, handle)
        Map._open_maps.add(self)

    def __repr__(self) -> str:
        kind = f"{type(self).__module__}.{type(self).__name__}"
        return f"<{kind} {self.name!r}{'' if self._handle else ', closed'}>"

    def __enter__(self: Self) -> Self:
        if not self._handle:
            raise ValueError("the map is closed")
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        exception: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        try:
            self.close()
        except BufferError:
            # The traceback of an exception often keeps views alive; the exception is what counts.
            if kind is None:
                raise

    def __del__(self) -> None:
        if self._handle:
            warnings.warn(f"unclosed map {self!r}", ResourceWarning, stacklevel=2, source=self)
            # Views that become garbage together with the map are still recorded here. Code that
            # runs while they are collected may use them: then the map stays open.
            if not self._views and not self._calls:
                self._close()

    @property
    def closed(self) -> bool:
        """Whether this object was closed."""
        return not self._handle

    @property
    def readonly(self) -> bool:
        """Whether the map was opened read-only. Its views are read-only then."""
        return self._readonly

    def close(self) -> None:
        """Close the map. Its blocks stay in the file. To close it again does nothing.

        It raises BufferError while views of blocks exist, and Error with EBUSY while another thread
        is inside a call on the map. The map stays open then.
        """
        if not self._handle:
            return
        if self._views:
            gc.collect()  # Views in reference cycles are released now.
        with self._mutex:
            if not self._handle:
                return
            if self._calls:
                raise Error(errno.EBUSY, "a call on the map has not returned: close it later")
            if self._views:
                raise BufferError(
                    f"{len(self._views)} views of blocks exist: release them, then close the map"
                )
            self._close()

    def malloc(self, size: int) -> Block:
        """Allocate a block of at least *size* bytes; its contents are arbitrary."""
        return self._allocated(self._functions.malloc, number(size, "size", 1))

    def calloc(self, count: int, size: int = 1) -> Block:
        """Allocate a block of *count* times *size* bytes, all zero."""
        count, size = number(count, "count", 1), number(size, "size", 1)
        return self._allocated(self._functions.calloc, count, size)

    def block(self, word: int) -> Block:
        """Return the Block at a word that was stored before (Block.word).

        It raises Error with EINVAL if no block begins there.
        """
        word = number(word, "word", 1)
        self._size(word)
        return Block(self, word)

    def walk(self, function: Callable[[Block, int], object]) -> object:
        """Call *function* with each block and its size, in the order of their places.

        The walk ends when *function* returns something true; walk() returns that, else None. The
        function may free the block that it gets. Blocks that others allocate or free meanwhile may
        be visited or not. An exception of *function* ends the walk, and walk() raises it.
        """
        found: List[object] = []
        guard = Guard()

        def visit(word: int, size: int) -> int:
            result = function(Block(self, word), size)
            if result:
                found.append(result)
                return 1
            return 0

        callback = WalkFunction(lambda word, size, _: guard.run(visit, word, size))
        result = self._use(self._functions.walk, callback, None)
        guard.check()
        self._library.status(result)
        return found[0] if found else None

    def blocks(self) -> List[Block]:
        """Return all blocks, in the order of their places."""
        found: List[Block] = []
        self.walk(lambda block, _: found.append(block))
        return found

    def check(self) -> List[str]:
        """Check the whole map, also while others use it. Return a sentence for each violation.

        An empty list says that the map is consistent.
        """
        report = Report()
        result = self._use(self._functions.check, report.function, None)
        code = ctypes.get_errno()
        report.check()
        if result < 0 and code != errno.EUCLEAN:
            raise self._library.error(code)
        return report.sentences

    def opening(self) -> Opening:
        """Return what this process found when it opened the map."""
        found = _Opening()
        self._status(self._functions.opening, ctypes.byref(found))
        numbers = ("generation", "closed")
        return from_structure(Opening, found, [n for n in Opening._fields if n not in numbers])

    @property
    def tag(self) -> int:
        """The application's own number, such as the version of its data's layout; 0: none.

        It is set once, and stays. To set another number raises Error with EEXIST.
        """
        ctypes.set_errno(0)
        tag: int = self._use(self._functions.gettag)
        if not tag and ctypes.get_errno():
            raise self._library.error()
        return tag

    @tag.setter
    def tag(self, tag: int) -> None:
        self._status(self._functions.settag, number(tag, "tag"))

    def sync(self) -> None:
        """Write what was changed to disk, and wait for it. Of a durable map, make a checkpoint."""
        self._status(self._functions.sync)

    def durable(self) -> None:
        """Make the map durable, now and later: each sync() is a checkpoint.

        A power cut then leaves the state of the last checkpoint. The pages of that state are in a
        second file, ``NAME.checkpoint``, which belongs to the map.
        """
        self._status(self._functions.durable)

    def capture(self) -> None:
        """Make the first half of a checkpoint: note what changed.

        A program whose data are consistent only under a lock of its own holds the lock during this
        call. The same thread then calls commit(), without the lock.
        """
        self._status(self._functions.capture)

    def commit(self) -> None:
        """Make the second half of a checkpoint: write what was captured, and wait for the disk."""
        self._status(self._functions.commit)

    def snapshot(self, path: Path) -> None:
        """Copy the map, while it is in use, into a file of its own. An existing file is replaced."""
        self._status(self._functions.snapshot, filename(path))

    # What the other modules of this package call.

    def _use(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a C function with the handle, unless the map is closed."""
        entered = False
        try:
            with self._mutex:
                handle = self._handle
                if not handle:
                    raise ValueError("the map is closed")
                self._calls += 1
                entered = True
            return function(handle, *arguments)
        finally:
            if entered:
                with self._mutex:
                    self._calls = max(self._calls - 1, 0)  # A fork child began with 0.

    def _status(self, function: Callable[..., Any], *arguments: Any) -> int:
        """Call a C function that returns a negative number for a failure."""
        return self._library.status(self._use(function, *arguments))

    def _allocated(self, function: Callable[..., Any], *arguments: Any) -> Block:
        word = self._use(function, *arguments)
        if not word:
            raise self._library.allocation_error()
        return Block(self, word)

    def _size(self, word: int) -> int:
        size: int = self._use(self._functions.usable_size, word)
        if not size:
            raise self._library.error()
        return size

    def _address(self, word: int) -> int:
        """Return the address of a word. For most libraries the word is the address."""
        if not self._handle:
            raise ValueError("the map is closed")
        return word

    def _offset(self, word: int) -> int:
        raise NotImplementedError

    def _view(self, word: int, start: int, length: Optional[int]) -> memoryview:
        with self._mutex:  # No other thread frees the block, or closes the map, meanwhile.
            size = self._size(word)
            if length is None:
                length = max(size - start, 0)
            if start + length > size:
                raise ValueError(f"bytes {start} to {start + length} of a block of {size} bytes")
            return self._export(self._block_address(word, size) + start, length, word)

    def _block_address(self, word: int, size: int) -> int:
        """Return the address of a block whose *size* bytes are all mapped."""
        return self._address(word)

    def _export(self, address: int, length: int, word: int) -> memoryview:
        """Return a view, which is in _views as long as it exists, or anything made from it."""
        if not length:
            return memoryview(bytearray())  # A view of zero bytes cannot be cast.
        array = (ctypes.c_ubyte * length).from_address(address)
        # Each view of any kind keeps the array, and the array keeps the map.
        setattr(array, "map", self)
        views = self._views

        def drop(dead: Any) -> None:
            views.pop(dead, None)

        views[_Exported(array, drop)] = word
        view = memoryview(array).cast("B")
        return view.toreadonly() if self._readonly else view

    def _ended(self, word: int) -> None:
        """Raise BufferError if views of a new block exist that should have ended."""
        if word in self._views.values():
            gc.collect()
        if word in self._views.values():
            raise BufferError("the function that fills a new block kept a view of it")

    def _discard(self, word: int) -> None:
        """Free a block after an exception, whose traceback may keep views of it."""
        self._use(self._functions.free, word)

    def _free(self, word: int) -> None:
        with self._mutex:
            self._not_viewed(word)
            ctypes.set_errno(0)
            if self._use(self._functions.free, word):
                raise self._library.error()

    def _resize(self, word: int, size: int) -> int:
        with self._mutex:
            self._not_viewed(word)
            result: int = self._use(self._functions.realloc, word, size)
            if not result:
                raise self._library.allocation_error()
            return result

    def _not_viewed(self, word: int) -> None:
        if word in self._views.values():
            raise BufferError("views of the block exist: release them first")

    def _close(self) -> None:
        handle, self._handle = self._handle, 0
        if self._functions.close(handle):
            raise self._library.error()

    @staticmethod
    def _after_fork() -> None:
        """In a fork child no other thread is inside a call, and none holds a mutex."""
        for one in Map._open_maps:
            one._mutex = threading.RLock()
            one._calls = 0


os.register_at_fork(after_in_child=Map._after_fork)
