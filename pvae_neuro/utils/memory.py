"""A limit of memory for what is read from files, so that no file can exhaust the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from pvae_neuro.errors import InputError

_GROUPS = Path("/sys/fs/cgroup")
# Where nothing tells how much memory there is.
_UNKNOWN = 2 << 30
_GIGA = 1e9
# So little is always there, and asking the system takes longer than reading a small file.
_ALWAYS = 1 << 20

_asked: ContextVar[int | None] = ContextVar("max_memory", default=None)


def available_memory() -> int:
    """Bytes that this process can still take: the machine's, a container's or ``ulimit``'s."""
    found = [read() for read in (_machine, _group_2, _group_1, _process)]
    return max(0, min((size for size in found if size is not None), default=_UNKNOWN))


@contextmanager
def memory_limit(max_memory: int | None) -> Iterator[None]:
    """Read under a limit of ``max_memory`` bytes within this block; None leaves it as it is."""
    if max_memory is not None and not 0 < max_memory < 1 << 63:
        raise InputError(f"max_memory: expected bytes, at least 1, got {max_memory}")
    token = _asked.set(_asked.get() if max_memory is None else max_memory)
    try:
        yield
    finally:
        _asked.reset(token)


def require_memory(needed: int, what: str, max_memory: int | None = None) -> None:
    """Refuse to read ``what`` if it needs more bytes than the limit.

    Parameters
    ----------
    needed : int
        Bytes that reading takes, at its peak.
    what : str
        The file or array; begins the message.
    max_memory : int, optional
        The limit; by default that of :func:`memory_limit`, and otherwise half of what is available.

    Raises
    ------
    InputError
        With both figures.
    """
    asked = _asked.get() if max_memory is None else max_memory
    if asked is None and needed <= _ALWAYS:
        return
    limit = available_memory() // 2 if asked is None else asked
    if needed <= limit:
        return
    origin = "half of what is available here" if asked is None else "as asked"
    raise InputError(
        f"{what}: needs {gigabytes(needed)} of memory, the limit is {gigabytes(limit)} ({origin}); "
        f"raise the limit, or take less",
        remedy="max_memory",
    )


def gigabytes(size: int) -> str:
    """Bytes as text, in units of 10^9 bytes."""
    # A figure beyond floats may come from a file.
    return f"{size / _GIGA:,.3g} GB" if size < 1e30 else f"10^{len(str(size)) - 10} GB"


def _machine() -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _group_2() -> int | None:
    return _groups("", _GROUPS, "memory.max", "memory.current")


def _group_1() -> int | None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    return _groups("memory", _GROUPS / "memory", *names)


def _groups(
    controller: str, root: Path, limit: str, usage: str, own: Path = Path("/proc/self/cgroup")
) -> int | None:
    """What is left to this process's control group and to those around it, such as a job's."""
    place = "/"
    with suppress(OSError, ValueError):
        lines = own.read_text(encoding="utf-8").splitlines()
        entries = (line.split(":", 2)[1:] for line in lines)
        place = next((path for names, path in entries if controller in names.split(",")), place)
    # A container may see its group as the root, whatever the name of it outside.
    group = root / place.strip("/")
    around = [each for each in (group, *group.parents) if each.is_relative_to(root)]
    found = [_group(limit, usage, each) for each in around]
    return min((size for size in found if size is not None), default=None)


def _group(limit: str, usage: str, root: Path) -> int | None:
    """What is left to a control group; files that it has read may be dropped from memory."""
    with suppress(OSError, ValueError):
        most, used = (int((root / name).read_text(encoding="ascii")) for name in (limit, usage))
        statistics = (root / limit).with_name("memory.stat").read_text(encoding="ascii")
        cached = dict(line.split() for line in statistics.splitlines()).get("inactive_file", "0")
        return most - used + int(cached)
    return None


def _process() -> int | None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return None
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return limit - pages * os.sysconf("SC_PAGE_SIZE")
    return None
