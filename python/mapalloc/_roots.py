# SPDX-License-Identifier: BSD-3-Clause
"""Named roots, by which the next process finds what is in a map."""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING, Callable, Iterator, List, MutableMapping, Optional, Tuple
from typing import TypeVar, Union, cast, overload

from ._block import Block
from ._lib import Guard, RootFunction, Word, number

if TYPE_CHECKING:
    from ._map import Map

#: str, or Optional[str] where one root has no name (libshmbuddy).
Name = TypeVar("Name", bound=Optional[str])
Default = TypeVar("Default")
#: What fills a new block: it gets a view of it, all zero.
Init = Callable[[memoryview], object]

_MISSING = object()


class Roots(MutableMapping[Name, Block]):
    """The named roots of a map, as a mapping from names to blocks.

    Each change is atomic for all threads and processes: they see the old root or the new one, and
    so does the next process after a kill. A name is a string of at most 63 bytes in UTF-8. Instead
    of a Block, its word can be set, also of a place inside a block.
    """

    def __init__(self, owner: Map) -> None:
        """Programs use the attribute *roots* of a map."""
        self._map = owner

    def __getitem__(self, name: Name) -> Block:
        word = self._get(self._name(name))
        if not word:
            raise KeyError(name)
        return Block(self._map, word)

    def __setitem__(self, name: Name, block: Union[Block, int]) -> None:
        functions = self._map._functions
        word = self._word(block)
        self._map._status(functions.setroot, self._name(name), word)

    def __delitem__(self, name: Name) -> None:
        self.pop(name)

    def __iter__(self) -> Iterator[Name]:
        return iter([name for name, _ in self._all()])

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return f"<roots of {self._map!r}>"

    def compare_and_set(
        self, name: Name, expected: Union[Block, int, None], desired: Union[Block, int, None]
    ) -> bool:
        """Set a root only if it still is *expected*. Return whether it was.

        None as *expected*: there must be no such root. None as *desired*: remove the root. This is
        the way to change a root that several processes change at once:

            while True:
                head = map.roots.get("list")
                block.write((head.word if head else 0).to_bytes(8, "little"))
                if map.roots.compare_and_set("list", head, block):
                    break
        """
        old = 0 if expected is None else self._word(expected)
        new = 0 if desired is None else self._word(desired)
        return self._swap(self._name(name), old, new) is None

    def find_or_create(
        self, name: Name, size: int, init: Optional[Init] = None
    ) -> Tuple[Block, bool]:
        """Return the root, and whether this call created it.

        If there is no root of this name, a new block of *size* bytes, all zero, becomes it. Before
        that, *init* fills the block: it gets a memoryview of *size* bytes, which ends with the
        call. No other process finds an unfinished block. If *init* raises an exception, the block
        is freed, and this call raises the exception. When several callers create at once, one block
        stays and all get it, so *init* may run in several of them.
        """
        raw = self._name(name)
        size = number(size, "size", 1)
        if init is None:
            return self._create(raw, size)
        word = self._get(raw)
        if word:
            return Block(self._map, word), False
        # Not by the callback of the C function. A signal's exception, such as KeyboardInterrupt,
        # that comes between C and Python is lost there, and the unfinished block would get a name.
        block = self._map.calloc(1, size)
        try:
            with block.view(0, size) as view:
                init(view)
            self._map._ended(block.word)
            current = self._swap(raw, 0, block.word)
        except BaseException:
            self._map._discard(block.word)
            raise
        if current is None:
            return block, True
        block.free()
        return Block(self._map, current), False

    @overload
    def pop(self, name: Name) -> Block: ...

    @overload
    def pop(self, name: Name, default: Union[Block, Default]) -> Union[Block, Default]: ...

    def pop(self, name: Name, default: object = _MISSING) -> object:
        """Remove a root and return it, in one atomic step. The block stays allocated."""
        raw = self._name(name)
        word = self._get(raw)
        while word:
            current = self._swap(raw, word, 0)
            if current is None:
                return Block(self._map, word)
            word = current
        if default is _MISSING:
            raise KeyError(name)
        return default

    def setdefault(self, name: Name, default: Optional[Block] = None) -> Block:
        """Return the root; if there is none, set it to *default*, in one atomic step."""
        if default is None:
            raise TypeError("a root is a block, not None")
        current = self._swap(self._name(name), 0, self._word(default))
        return default if current is None else Block(self._map, current)

    def _name(self, name: Name) -> Optional[bytes]:
        """Return the name as the C function reads it, up to the first zero."""
        if name is None and self._map._functions.unnamed_root:
            return None
        if not isinstance(name, str):
            raise TypeError(f"the name of a root is a string, not {type(name).__name__}")
        raw = name.encode(errors="surrogateescape")
        if b"\0" in raw:
            raise ValueError("embedded null character in the name of a root")
        return raw

    def _word(self, block: Union[Block, int]) -> int:
        if isinstance(block, Block):
            if block.map.identity != self._map.identity:
                raise ValueError("the block belongs to another map")
            return block._live()
        return number(block, "the word of a root", 1)

    def _create(self, raw: Optional[bytes], size: int) -> Tuple[Block, bool]:
        """Find or create a root whose block is all zero."""
        owner = self._map
        created = ctypes.c_int()
        function = owner._functions.find_or_create
        word = owner._use(function, raw, size, None, None, ctypes.byref(created))
        if not word:
            raise owner._library.allocation_error()
        return Block(owner, word), bool(created.value)

    def _get(self, raw: Optional[bytes]) -> int:
        """Return the word of a root, 0 if there is none."""
        owner = self._map
        word: int = owner._use(owner._functions.getroot, raw)
        if not word and ctypes.get_errno() != errno.ENOENT:
            raise owner._library.error()
        return word

    def _swap(self, raw: Optional[bytes], old: int, new: int) -> Optional[int]:
        """Compare and set. Return None when it was done, else the word of the root."""
        owner = self._map
        expected = Word(old)
        done = owner._status(owner._functions.casroot, raw, ctypes.byref(expected), new)
        return None if done else expected.value

    def _all(self) -> List[Tuple[Name, int]]:
        """Return all names and words as they are now."""
        found: List[Tuple[Name, int]] = []
        guard = Guard()

        def add(raw: Optional[bytes], word: int) -> int:
            name = None if raw is None else raw.decode(errors="surrogateescape")
            found.append((cast(Name, name), word))
            return 0

        function = RootFunction(lambda raw, word, _: guard.run(add, raw, word))
        result = self._map._use(self._map._functions.walkroots, function, None)
        guard.check()
        self._map._library.status(result)
        return found
