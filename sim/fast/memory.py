"""Compiled functions, and arrays inside them: bare pointers, made of addresses.

numba compiles a function once more into each of its callers, and counts references to arrays
wherever they are passed on, which takes several times as long. Here functions without arrays call
each other by their addresses: each is compiled once, when the first network needs it.
Python keeps arrays alive while a compiled function runs.
"""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numba as nb
from numba import types
from numba.core.event import Listener, install_listener
from numba.extending import intrinsic
from numpy.typing import NDArray

from pvae_neuro.errors import PvaeNeuroWarning

_one_at_a_time = threading.Lock()
_NO_CACHE = (
    "engine fast: there is no folder that its compiled code can be kept in, so it is compiled anew "
    "in every process; set NUMBA_CACHE_DIR to one that can be written"
)
_Nothing = ctypes.c_char * 0
_NUMBERS = types.CPointer(types.int64)
# Where the numbers of a command's room are; all but the last three are addresses.
CELLS, RAW, BUCKET, FIRES, ROW, DIGIT, PART, RING, SEED, STEP, SAMPLE = range(11)
GROUP, STRIDE, ROWS = range(11, 14)
ROOM_SIZE = 14


class Compiled:
    """A function of numbers and pointers to numbers, compiled when it is first used.

    The code is kept in numba's cache folder: ``NUMBA_CACHE_DIR``, else ``__pycache__`` beside the
    source, else the user's cache folder. Where none can be written, it is compiled anew in every
    process.
    """

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self._function, self._signature = function, signature
        self._code: Any = None
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    @property
    def code(self) -> Any:
        """The compiled function."""
        if self._code is None:
            with _one_at_a_time:
                if self._code is None:
                    self._code = self._compile()
        return self._code

    def _compile(self) -> Any:
        try:
            return nb.cfunc(self._signature, cache=True)(self._function)
        except RuntimeError:
            _warn_once()
            return nb.cfunc(self._signature)(self._function)

    @property
    def address(self) -> int:
        """Address of its code."""
        return int(self.code.address)

    def __call__(self, *arguments: int) -> int:
        """Call it from Python, without the interpreter's lock."""
        return int(self.code.ctypes(*arguments))


_COMPILING = "engine fast: compiling once, some seconds"


class _Told(Listener):  # type: ignore[misc]
    """Tells once that numba compiles; code that its cache holds is not compiled."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell: Callable[[str], None] | None = tell

    def on_start(self, event: Any) -> None:
        """Tell at the first pass of the compiler."""
        if self._tell is not None:
            self._tell(_COMPILING)
            self._tell = None

    def on_end(self, event: Any) -> None:
        """Tell nothing."""


@contextmanager
def compilation_told(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell before anything is compiled within this context; nothing where all is kept."""
    with install_listener("numba:run_pass", _Told(tell)):
        yield


@cache
def _warn_once() -> None:
    """Python's own memory of warnings does not last: numba resets it."""
    warnings.warn(_NO_CACHE, PvaeNeuroWarning, stacklevel=1)


def compiled(count: int) -> Callable[[Callable[..., Any]], Compiled]:
    """Compile a function of so many int64 that returns one."""
    signature = types.int64(*[types.int64] * count)
    return lambda function: Compiled(function, signature)


inner = nb.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Compile a function into those that call it; without what a call from Python would take."""


def command(function: Callable[..., Any]) -> Compiled:
    """Compile a command: a function of its own numbers, the first its address, and of its room."""
    return Compiled(function, types.void(_NUMBERS, _NUMBERS))


def _pointers_to(kind: Any) -> Callable[..., Any]:
    pointer = types.CPointer(kind)

    @intrinsic  # type: ignore[untyped-decorator]
    def at(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(pointer))

        return pointer(types.int64), generate

    return at


int8_at = _pointers_to(types.int8)
uint8_at = _pointers_to(types.uint8)
int16_at = _pointers_to(types.int16)
uint16_at = _pointers_to(types.uint16)
int32_at = _pointers_to(types.int32)
int64_at = _pointers_to(types.int64)
uint64_at = _pointers_to(types.uint64)
float64_at = _pointers_to(types.float64)


def address(array: NDArray[Any]) -> int:
    """Address of a C-ordered array's first value."""
    if array.flags.writeable:
        # A third of the time of `array.ctypes.data`.
        buffer: Any = array
        return ctypes.addressof(_Nothing.from_buffer(buffer))
    return int(array.ctypes.data)
