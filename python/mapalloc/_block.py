# SPDX-License-Identifier: BSD-3-Clause
"""Blocks of a map, and memoryviews of their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Union

from ._lib import number

if TYPE_CHECKING:
    from ._map import Map

Buffer = Union[bytes, bytearray, memoryview]


class Block:
    """A block of a map: its place, and access to its bytes.

    A Block is a name for a place, not the memory itself: when the object goes away, the block stays
    allocated. Two Block objects are equal when they stand for the same place of the same map.
    """

    __slots__ = ("_map", "_word", "_freed")

    def __init__(self, owner: Map, word: int) -> None:
        """Programs get blocks from a map's methods: malloc(), block(), roots."""
        self._map = owner
        self._word = word
        self._freed = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Block):
            return NotImplemented
        return self._word == other._word and self._map.identity == other._map.identity

    def __hash__(self) -> int:
        return hash((self._word, self._map.identity))

    def __repr__(self) -> str:
        state = ", freed" if self._freed else ""
        return f"<mapalloc.Block {self._word:#x} of {self._map!r}{state}>"

    @property
    def map(self) -> Map:
        """The map that the block belongs to."""
        return self._map

    @property
    def word(self) -> int:
        """What the C interface calls the block by.

        It is the address for libqalloc and libmmalloc, and the offset for libshmbuddy. Store it in
        other blocks as a pointer; Map.block() makes a Block of it again.
        """
        return self._word

    @property
    def address(self) -> int:
        """The address of the block in this process."""
        return self._map._address(self._live())

    @property
    def offset(self) -> int:
        """The distance of the block from the map's base, in bytes."""
        return self._map._offset(self._live())

    @property
    def size(self) -> int:
        """The number of bytes that may be used: at least what was asked for.

        The library is asked each time. If no block begins here (it was freed, or this is a place
        inside a block), it raises Error with EINVAL.
        """
        return self._map._size(self._live())

    def view(self, start: int = 0, length: Optional[int] = None) -> memoryview:
        """Return a memoryview of *length* bytes from *start* on; without *length*, of the rest.

        The view is writable, unless the map was opened read-only. It is the memory itself: what is
        stored there is at once seen by all processes that have the map open.

        While a view exists, or anything made from it (a slice, a cast, a NumPy array), close() of
        the map and free() of the block raise BufferError. Release a view by its release(), by
        ``with``, or by ``del``. What other processes do the library cannot prevent: a block that
        another process frees may be allocated again while it is viewed.
        """
        start = number(start, "start")
        length = None if length is None else number(length, "length")
        return self._map._view(self._live(), start, length)

    def read(self, length: Optional[int] = None, start: int = 0) -> bytes:
        """Return a copy of *length* bytes from *start* on; without *length*, of the rest."""
        with self.view(start, length) as view:
            return bytes(view)

    def write(self, data: Buffer, start: int = 0) -> None:
        """Copy *data* into the block, from *start* on."""
        with memoryview(data) as source, source.cast("B") as raw:
            with self.view(start, raw.nbytes) as view:
                view[:] = raw

    def free(self) -> None:
        """Free the block. The object cannot be used afterwards.

        It raises BufferError while views of the block exist that were made by its Map object. A
        root that leads to the block is not removed: do that first.
        """
        word = self._live()
        self._map._free(word)
        self._freed = True

    def resize(self, size: int) -> Block:
        """Change the size to at least *size* bytes, and return the block's new object.

        The contents stay up to the smaller size. The block may move: this object cannot be used
        afterwards, and a root that leads to the block does not follow. If the call fails, nothing
        has changed. It raises BufferError while views of the block exist.
        """
        word = self._map._resize(self._live(), number(size, "size", 1))
        self._freed = True
        return Block(self._map, word)

    def _live(self) -> int:
        if self._freed:
            raise ValueError("the block was freed")
        return self._word
