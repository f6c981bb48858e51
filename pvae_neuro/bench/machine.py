"""What a figure depends on besides the program: machine, versions, threads."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pvae_neuro.bench.config import available_cores
from pvae_neuro.sim.fast.team import set_threads, threads_asked_for
from pvae_neuro.sim.fast.team import threads as fast_threads

PACKAGES = (
    "pvae-neuro", "numpy", "numba", "llvmlite", "torch", "onnxruntime", "lava-nc", "snntorch",
    "norse", "threadpoolctl",
)  # fmt: skip
# Instruction sets that decide which kernels libraries choose.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "i8mm")
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS",
)  # fmt: skip


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


def installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    if module in sys.modules:
        return True
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):
        return False


@contextmanager
def use_threads(threads: int, modules: Iterable[str]) -> Iterator[None]:
    """Let every library use the same number of threads for a while.

    ONNX Runtime takes the number with each session, and Lava's processes run one thread each.

    Parameters
    ----------
    threads : int
    modules : iterable of str
        Libraries about to be used: ``torch`` is set if it is among them.
    """
    wanted = set(modules) | set(sys.modules)
    with ExitStack() as stack:
        stack.callback(set_threads, threads_asked_for())
        set_threads(threads)
        if "torch" in wanted and installed("torch"):
            torch = import_module("torch")
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        if installed("threadpoolctl"):
            limits = import_module("threadpoolctl").threadpool_limits
            stack.enter_context(limits(limits=threads, user_api="blas"))
        yield


def thread_settings() -> dict[str, Any]:
    """Threads as they are set now, by library; null for what is not loaded or cannot be asked."""
    torch = sys.modules.get("torch")
    return {
        "fast": fast_threads(),
        "torch": torch.get_num_threads() if torch else None,
        "torch_between_operators": torch.get_num_interop_threads() if torch else None,
        "blas": _blas_threads(),
        "environment": {name: os.environ.get(name) for name in _THREAD_VARIABLES},
    }


def _blas_threads() -> dict[str, int] | None:
    if not installed("threadpoolctl"):
        return None
    pools = import_module("threadpoolctl").threadpool_info()
    return {
        Path(pool["filepath"]).name: pool["num_threads"]
        for pool in pools
        if pool["user_api"] == "blas"
    }
