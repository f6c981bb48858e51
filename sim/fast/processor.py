"""What the code generator may use: the instructions of this processor, or those that numba is told.

``NUMBA_CPU_FEATURES`` limits them, as LLVM writes features: ``NUMBA_CPU_NAME=haswell
NUMBA_CPU_FEATURES=+avx2,+fma`` makes code for a processor without AVX-512. Where it is set, what it
does not name is not there.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache

from llvmlite import binding

# Linux hands out the tile registers of AMX to processes that ask for them.
_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18

AVX512 = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq"})
# Best first: what each level of products needs.
LEVELS: dict[str, frozenset[str]] = {
    "amx": AVX512 | {"avx512vnni", "amx-tile", "amx-int8"},
    "vnni": AVX512 | {"avx512vnni"},
    "avx512": AVX512,
    "avx2": frozenset({"avx2"}),
    "sse4": frozenset({"ssse3", "sse4.1"}),
    "plain": frozenset(),
}


def target_name() -> str:
    """Name of the processor that code is made for, as LLVM writes it."""
    name: str = os.environ.get("NUMBA_CPU_NAME") or binding.get_host_cpu_name()
    return name


@cache
def target_features() -> str:
    """Instruction sets that code may use beyond those of the name, as LLVM writes them."""
    given = os.environ.get("NUMBA_CPU_FEATURES")
    if given is None and os.environ.get("NUMBA_CPU_NAME", "").lower() == "generic":
        return ""
    return _all_features() if given is None else given


def _all_features() -> str:
    try:
        found: str = binding.get_host_cpu_features().flatten()
    except RuntimeError:
        return ""
    return found


@cache
def features() -> frozenset[str]:
    """Names of the instruction sets that may be used, as LLVM writes them."""
    named = target_features().split(",")
    return frozenset(name.strip()[1:] for name in named if name.strip().startswith("+"))


def has(*names: str) -> bool:
    """Whether all of these instruction sets may be used."""
    return features().issuperset(names)


@cache
def level() -> str:
    """Best level of ``LEVELS`` that may be used."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return "plain"
    for name, needed in LEVELS.items():
        if has(*needed) and (name != "amx" or _tiles_granted()):
            return name
    return "plain"


@cache
def _tiles_granted() -> bool:
    """Ask the system for the tile registers."""
    if not sys.platform.startswith("linux"):
        return False
    asked = ctypes.CDLL(None, use_errno=True).syscall(
        _ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA
    )
    return int(asked) == 0
