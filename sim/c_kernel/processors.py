"""Processors that a library is built and emulated for, and the build.

Cortex-M4 is the processing element of SpiNNaker2; i586 is the class of the processors embedded in
Loihi 2 (``docs/c.md``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from pvae_neuro.errors import EngineUnavailableError, InputError
from pvae_neuro.sim.c_kernel.compiler import ZIG, compiled
from pvae_neuro.sim.c_kernel.image import Image

_FLAGS = (
    "-std=c99", "-O2", "-g0", "-ffreestanding", "-fomit-frame-pointer", "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    # Functions stay whole, so that their instructions can be told apart.
    "-finline-hint-functions",
    "-static", "-nostdlib",
)  # fmt: skip
REMEDY = "pip install 'pvae-neuro[emulate]'"


@dataclass(frozen=True)
class Processor:
    """A processor.

    Attributes
    ----------
    name : str
    target : tuple of str
        What names it to clang.
    architecture : str
        ``arm`` or ``x86``: how functions are called.
    """

    name: str
    target: tuple[str, ...]
    architecture: str


PROCESSORS = {
    p.name: p
    for p in (
        Processor("cortex-m4", ("-target", "thumb-freestanding-eabi", "-mcpu=cortex_m4"), "arm"),
        Processor("i586", ("-target", "x86-freestanding-none", "-mcpu=i586"), "x86"),
    )
}


def processor_of(name: str) -> Processor:
    """Processor of that name; raises :class:`InputError` if there is none."""
    if name not in PROCESSORS:
        raise InputError(f"processor: expected one of {', '.join(PROCESSORS)}; got {name!r}")
    return PROCESSORS[name]


def require_emulation(processor: Processor) -> None:
    """Raise :class:`EngineUnavailableError` if the compiler or the emulator is missing."""
    for module, what in (("ziglang", "to build"), ("unicorn", "to emulate")):
        if find_spec(module) is None:
            raise EngineUnavailableError(
                f"engine c: processor {processor.name}: expected {module} {what} for it, got "
                f"none; {REMEDY}"
            )


def build(files: Mapping[str, str], processor: Processor, entry: str) -> Image:
    """Build C files for a processor without an operating system.

    Parameters
    ----------
    files : mapping of str to str
        Texts by name.
    processor : Processor
    entry : str
        A function that begins the program; what nothing calls stays in it all the same.

    Raises
    ------
    EngineUnavailableError
        If ziglang is missing.
    EngineError
        If the compiler fails.
    """
    require_emulation(processor)
    return Image(compiled(ZIG, (*processor.target, *_FLAGS, f"-Wl,-e,{entry}"), files))
