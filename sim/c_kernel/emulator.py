"""A program on an emulated processor, by unicorn: its memory, its functions, its instructions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError
from pvae_neuro.sim.c_kernel.image import Image
from pvae_neuro.sim.c_kernel.processors import Processor, require_emulation
from pvae_neuro.utils.optional import require

_PAGE = 1 << 12
_RAM, _RAM_BYTES = 0x2000_0000, 64 << 20
_STACK_BYTES = 1 << 16
# Where a call returns to, and the emulation ends.
_END = 0x1000_0000


class Emulator:
    """Emulates a program function by function.

    Parameters
    ----------
    image : Image
    processor : Processor
    ram_bytes : int
        Memory beside the program, of which 64 kB are the stack.

    Raises
    ------
    EngineUnavailableError
        If unicorn is missing.
    """

    def __init__(self, image: Image, processor: Processor, ram_bytes: int = _RAM_BYTES) -> None:
        require_emulation(processor)
        self.image, self.processor = image, processor
        self._machine = _MACHINES[processor.architecture]()
        self._uc: Any = self._machine.uc
        mapped: set[int] = set()
        for address, _, size in image.segments:
            for page in range(address // _PAGE, -(-(address + size) // _PAGE)):
                if page not in mapped:
                    mapped.add(page)
                    self._uc.mem_map(page * _PAGE, _PAGE)
        for address, content, _ in image.segments:
            self._uc.mem_write(address, content)
        self._uc.mem_map(_END, _PAGE)
        self._uc.mem_map(_RAM, ram_bytes)
        self._stack = _RAM + ram_bytes
        self._free = _RAM

    def place(self, array: NDArray[Any]) -> int:
        """Copy an array into free memory; its address."""
        address = -(-self._free // 8) * 8
        if address + array.nbytes > self._stack - _STACK_BYTES:
            raise EngineError(
                f"processor {self.processor.name}: expected at most "
                f"{self._stack - _STACK_BYTES - _RAM} bytes of data, got more"
            )
        self._free = address + array.nbytes
        self.write(address, array)
        return address

    def write(self, address: int, array: NDArray[Any]) -> None:
        """Copy an array to an address."""
        self._uc.mem_write(address, array.tobytes())

    def read(self, address: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Copy an array from an address."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        return np.frombuffer(bytes(self._uc.mem_read(address, size)), dtype).reshape(shape)

    def address(self, symbol: str) -> int:
        """Address of a function or an array."""
        return self.image.symbols[symbol].address

    def call(self, function: str, *arguments: int) -> int:
        """Call a function with words of 32 bits; what it returns.

        Raises
        ------
        EngineError
            If it runs into something that the processor does not do.
        """
        self._machine.enter(self._stack, arguments)
        try:
            self._uc.emu_start(self._machine.start(self.address(function)), _END)
        except _unicorn().UcError as error:
            place = self.function_at(self._machine.counter())
            raise EngineError(
                f"processor {self.processor.name}: {function} fails: {error}, in {place}"
            ) from error
        return self._machine.result()

    def function_at(self, address: int) -> str:
        """Name of the function that an address lies in."""
        for symbol in self.image.symbols.values():
            if symbol.is_function and symbol.address <= address < symbol.address + symbol.size:
                return symbol.name
        return f"{address:#x}"

    @contextmanager
    def counting(self, owners: tuple[str, ...] = ()) -> Iterator[Counter[str]]:
        """Count the instructions of each function while the block runs.

        Parameters
        ----------
        owners : tuple of str
            Functions that instructions are counted for; those of any other function count for the
            owner that was at work last. By default every function is one.
        """
        counts: Counter[str] = Counter()
        owner_of: dict[int, str | None] = {}
        current = ""

        def count(uc: object, address: int, size: int, data: object) -> None:
            nonlocal current
            owner = owner_of.get(address, "")
            if owner == "":
                name = self.function_at(address)
                owner = owner_of[address] = name if not owners or name in owners else None
            if owner is not None:
                current = owner
            counts[current] += 1

        code = [s for s in self.image.symbols.values() if s.is_function]
        first, last = min(s.address for s in code), max(s.address + s.size for s in code)
        hook = self._uc.hook_add(_unicorn().UC_HOOK_CODE, count, None, first, last)
        # What was translated before does not know of the hook.
        self._uc.ctl_flush_tb()
        try:
            yield counts
        finally:
            self._uc.hook_del(hook)
            self._uc.ctl_flush_tb()


def _unicorn(part: str = "") -> ModuleType:
    """The emulator's library, or a module of it."""
    name = f"unicorn.{part}" if part else "unicorn"
    return require(name, "emulate", "emulated processors")


class _Arm:
    def __init__(self) -> None:
        unicorn, names = _unicorn(), _unicorn("arm_const")
        self.uc = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(names.UC_CPU_ARM_CORTEX_M4)
        self._names = names

    def enter(self, stack: int, arguments: tuple[int, ...]) -> None:
        """Arguments in four registers, then on the stack."""
        more = arguments[4:]
        stack -= -(-4 * len(more) // 8) * 8
        self.uc.mem_write(stack, np.array(more, "<u4").tobytes())
        self.uc.reg_write(self._names.UC_ARM_REG_SP, stack)
        self.uc.reg_write(self._names.UC_ARM_REG_LR, _END | 1)
        for number, value in enumerate(arguments[:4]):
            self.uc.reg_write(self._names.UC_ARM_REG_R0 + number, value)

    def start(self, address: int) -> int:
        """Where to begin: an odd address is Thumb code."""
        return address | 1

    def counter(self) -> int:
        """Address of the instruction at work."""
        return int(self.uc.reg_read(self._names.UC_ARM_REG_PC))

    def result(self) -> int:
        """What a function returned."""
        return int(self.uc.reg_read(self._names.UC_ARM_REG_R0))


class _X86:
    def __init__(self) -> None:
        unicorn, names = _unicorn(), _unicorn("x86_const")
        self.uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
        self.uc.ctl_set_cpu_model(names.UC_CPU_X86_PENTIUM)
        self._names = names

    def enter(self, stack: int, arguments: tuple[int, ...]) -> None:
        """Arguments on the stack, below them the address to return to."""
        words = np.array([_END, *arguments], "<u4").tobytes()
        stack = (stack - len(words)) // 16 * 16 - 4
        self.uc.mem_write(stack, words)
        self.uc.reg_write(self._names.UC_X86_REG_ESP, stack)

    def start(self, address: int) -> int:
        """Where to begin."""
        return address

    def counter(self) -> int:
        """Address of the instruction at work."""
        return int(self.uc.reg_read(self._names.UC_X86_REG_EIP))

    def result(self) -> int:
        """What a function returned."""
        return int(self.uc.reg_read(self._names.UC_X86_REG_EAX))


_MACHINES: dict[str, Any] = {"arm": _Arm, "x86": _X86}
