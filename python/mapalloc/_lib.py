# SPDX-License-Identifier: BSD-3-Clause
"""Load the libraries, call their functions, and turn failures into exceptions."""

from __future__ import annotations

import ctypes
import errno
import operator
import os
from typing import Any, Callable, List, Optional, Tuple, Type, Union

#: What names a file: as for open().
Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

#: A pointer of the C interface, or an offset of libshmbuddy: both have the width of size_t.
Word = ctypes.c_size_t
#: Where a C function stores a word, or reads and replaces it.
WordPointer = ctypes.POINTER(Word)

#: The function types of the C interface. The last argument is what the caller gave; it is unused.
ReportFunction = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p)
WalkFunction = ctypes.CFUNCTYPE(ctypes.c_int, Word, ctypes.c_size_t, ctypes.c_void_p)
RootFunction = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, Word, ctypes.c_void_p)


class Error(OSError):
    """A call of a library failed.

    ``errno`` is the error number; the manual page of the C function says what it means.
    ``strerror`` is the library's sentence: what failed, why, and what to do.
    """


class MapFullError(Error, MemoryError):
    """A block could not be allocated, because the map has no room for it (ENOMEM).

    It is a MemoryError too. A full disk is not: that is an Error with ENOSPC.
    """


class LockTimeout(Error, TimeoutError):
    """A lock was not free within the time that the caller allowed."""


class Library:
    """One of the C libraries: its functions by name, and its errors."""

    def __init__(self, name: str) -> None:
        """Load lib*name*.so.1. The dynamic linker's rules apply, such as LD_LIBRARY_PATH."""
        self.name = name
        try:
            self._dll = ctypes.CDLL(f"lib{name}.so.1", use_errno=True)
        except OSError as reason:
            raise ImportError(f"lib{name} is not installed: {reason}") from None
        self._errmsg = self.function(f"{name}_errmsg", ctypes.c_char_p)

    def function(self, symbol: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """Return the function *symbol* with the types of its result and its arguments."""
        function = self._dll[symbol]
        function.restype = result
        function.argtypes = arguments
        return function

    def error(self, number: Optional[int] = None, kind: Type[Error] = Error) -> Error:
        """Return the exception for the last failure of this thread. *number*: else errno."""
        if number is None:
            number = ctypes.get_errno()
        sentence: bytes = self._errmsg()
        return kind(number, sentence.decode(errors="replace"))

    def allocation_error(self) -> Error:
        """Return the exception for an allocation that failed."""
        number = ctypes.get_errno()
        return self.error(number, MapFullError if number == errno.ENOMEM else Error)

    def status(self, result: int) -> int:
        """Return what a function returned, unless it is negative: then raise its error."""
        if result < 0:
            raise self.error()
        return result


class Guard:
    """Carry an exception over the C function that called back.

    An exception cannot pass through C. The guard keeps the first one, tells the C function to end,
    and raises the exception when the C function has returned.
    """

    def __init__(self) -> None:
        self.exception: Optional[BaseException] = None

    def run(self, function: Callable[..., int], *arguments: Any) -> int:
        """Call a function inside a callback. Return its result, or 1 after an exception."""
        if self.exception is not None:
            return 1
        try:
            return function(*arguments)
        except BaseException as exception:  # Also KeyboardInterrupt and SystemExit.
            self.exception = exception
            return 1

    def check(self) -> None:
        """Raise the exception, if there was one."""
        if self.exception is not None:
            exception, self.exception = self.exception, None
            try:
                raise exception
            finally:
                del exception  # No cycle through the traceback: it would keep views alive.


class Report:
    """Collect the sentences of a C function that reports each fault."""

    def __init__(self) -> None:
        self.sentences: List[str] = []
        self._guard = Guard()
        self.function = ReportFunction(self._add)

    def _add(self, text: bytes, _: Optional[int]) -> None:
        self._guard.run(self._append, text)

    def _append(self, text: bytes) -> int:
        self.sentences.append(text.decode(errors="replace"))
        return 0

    def check(self) -> None:
        """Raise what interrupted the report, such as KeyboardInterrupt."""
        self._guard.check()


def number(value: int, what: str, least: int = 0, bits: int = 64) -> int:
    """Return *value* as an int that a C argument can hold, or raise ValueError.

    ctypes would take the lowest bits of any number, and pass -1 as the largest one.
    """
    value = operator.index(value)
    if not least <= value < 1 << bits:
        raise ValueError(f"{what} must be at least {least} and below 2**{bits}, not {value}")
    return value


def filename(path: Path) -> bytes:
    """Return the bytes of a file's name, which C reads up to the first zero."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError("embedded null byte in the name of a file")
    return name


def flags(*pairs: Tuple[bool, int]) -> int:
    """Return the sum of the flags whose condition is true."""
    return sum(flag for condition, flag in pairs if condition)
