# SPDX-License-Identifier: BSD-3-Clause
"""Locks in a map, for the program's own data."""

from __future__ import annotations

import contextlib
import errno
import time
from types import TracebackType
from typing import TYPE_CHECKING, Iterator, Optional, Type

from ._lib import LockTimeout, number

if TYPE_CHECKING:
    from ._block import Block
    from ._map import Map

#: So many milliseconds one C call waits. Between two of them Python handles signals such as Ctrl-C.
STEP = 100


class Lock:
    """A lock of 8 bytes in a block, for threads of all processes that have the map open.

    Its holder is a thread. When the holder is gone (its process was killed, its thread ended, its
    process closed the map), the next thread that locks gets the lock and is told so. That thread
    then holds the lock, and makes the data consistent before it unlocks.

        lock = notes.lock(block)
        with lock as died:
            if died:
                repair()

    The lock is not recursive: to lock it twice in one thread raises Error with EDEADLK.
    """

    def __init__(self, owner: Map, word: int) -> None:
        """Programs get locks from the method lock() of a map."""
        self._map = owner
        self._word = word
        self._died = False

    @classmethod
    def at(cls, owner: Map, block: Block, start: int) -> Lock:
        """Return the lock at a place of a block, after a check that the block has room for it."""
        start = number(start, "start")
        if block.map.identity != owner.identity:
            raise ValueError("the block belongs to another map")
        if start % 8 or start + 8 > block.size:
            raise ValueError(f"no place for a lock at byte {start} of {block.size}")
        return cls(owner, block.word + start)

    def __repr__(self) -> str:
        return f"<mapalloc.Lock {self._word:#x} of {self._map!r}>"

    @property
    def owner_died(self) -> bool:
        """Whether the last acquire() of this object took over from a holder that is gone."""
        return self._died

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Lock, and return True; return False when a live thread held the lock all the time.

        *timeout* is in seconds; -1 waits as long as it takes. ``blocking=False`` does not wait.
        """
        if not blocking and timeout != -1:
            raise ValueError("a call that does not wait has no timeout")
        if timeout < 0 and timeout != -1:
            raise ValueError("timeout must be -1 or a number of seconds")
        functions = self._map._functions
        if not blocking:
            return self._took(self._map._use(functions.trylock, self._word), errno.EBUSY)
        end = None if timeout == -1 else time.monotonic() + timeout
        while True:
            wait = STEP
            if end is not None:
                wait = min(STEP, max(0, round((end - time.monotonic()) * 1000)))
            result = self._map._use(functions.timedlock, self._word, wait)
            if self._took(result, errno.ETIMEDOUT):
                return True
            if end is not None and time.monotonic() >= end:
                return False

    def release(self) -> None:
        """Unlock. In a thread that does not hold the lock it raises Error with EPERM."""
        result = self._map._use(self._map._functions.unlock, self._word)
        if result:
            raise self._map._library.error(result)

    @contextlib.contextmanager
    def within(self, timeout: float) -> Iterator[bool]:
        """Hold the lock in a ``with`` statement, or raise LockTimeout after so many seconds.

        Its value is whether the last holder died.
        """
        if not self.acquire(timeout=timeout):
            raise self._map._library.error(errno.ETIMEDOUT, LockTimeout)
        try:
            yield self._died
        finally:
            self.release()

    def __enter__(self) -> bool:
        self.acquire()
        return self._died

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        exception: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.release()

    def _took(self, result: int, busy: int) -> bool:
        """Return whether the lock was taken. *busy* is the error that says it was not free."""
        if result == busy:
            return False
        if result not in (0, errno.EOWNERDEAD):
            raise self._map._library.error(result)
        self._died = result == errno.EOWNERDEAD
        return True
