"""What a figure depends on besides the program: machine and versions."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pvae_neuro.bench.cases import available_cores

PACKAGES = (
    "pvae-neuro", "numpy", "numba", "llvmlite", "torch", "onnxruntime", "lava-nc", "snntorch",
    "norse", "threadpoolctl",
)  # fmt: skip
# Instruction sets that decide which kernels libraries choose.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "i8mm")


def machine() -> dict[str, Any]:
    """Processor, cores, caches, memory and load; null where the system does not tell."""
    return {
        "processor": processor(),
        "cores": available_cores(),
        "instruction_sets": [name for name in _FLAGS if name in _cpu_field("flags").split()],
        "cache_bytes": cache_bytes(),
        "memory_bytes": _memory_bytes(),
        "system": platform.platform(),
        "load_average": _load_average(),
    }


def processor() -> str | None:
    """Model name of the processor."""
    return _cpu_field("model name") or platform.processor() or None


def _cpu_field(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(found, "")


def cache_bytes() -> dict[str, int]:
    """Sizes of the caches that the first core sees, by level: ``{"L1d": ..., "L2": ...}``."""
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level = (folder / "level").read_text().strip()
            kind = (folder / "type").read_text().strip()
            size = (folder / "size").read_text().strip()
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K"):
            sizes[f"L{level}{'d' if level == '1' else ''}"] = int(size[:-1]) << 10
    return sizes


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _load_average() -> list[float] | None:
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except (AttributeError, OSError):
        return None


def versions() -> dict[str, str | None]:
    """Version of Python and of every package that takes part; null if it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
