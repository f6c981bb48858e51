"""C compilers of this machine, and what they make, kept from one process to the next."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pvae_neuro.errors import EngineError, EngineUnavailableError
from pvae_neuro.sim.fast.objects import folder, kept
from pvae_neuro.utils.digest import digest

COMPILERS = ("cc", "gcc", "clang")
ZIG = (sys.executable, "-m", "ziglang", "cc")
_SECONDS = 600.0
_REMEDY = (
    "install one, or pip install 'pvae-neuro[emulate]', which brings ziglang, or name one in the "
    "variable CC. The engine 'reference' gives the same integers"
)


def host_compiler() -> tuple[str, ...]:
    """Command of a C compiler: that of ``CC``, else cc, gcc, clang, or ziglang's.

    Raises :class:`EngineUnavailableError` if there is none.
    """
    variable = os.environ.get("CC", "")
    try:
        named = shlex.split(variable)
    except ValueError:  # A quote that nothing closes.
        named = [variable]
    if named:
        if shutil.which(named[0]) is None:
            raise EngineUnavailableError(
                f"engine c: expected a C compiler in the variable CC, got {named[0]!r}, which is "
                f"no program here; {_REMEDY}"
            )
        return tuple(named)
    for name in COMPILERS:
        found = shutil.which(name)
        if found is not None:
            return (found,)
    if find_spec("ziglang") is not None:
        return ZIG
    raise EngineUnavailableError(
        f"engine c: expected a C compiler ({', '.join(COMPILERS)}), got none; {_REMEDY}"
    )


def compiled(command: tuple[str, ...], flags: tuple[str, ...], files: Mapping[str, str]) -> bytes:
    """What a compiler makes of C files; the same once for all processes.

    Parameters
    ----------
    command : tuple of str
        The compiler.
    flags : tuple of str
    files : mapping of str to str
        Texts by name; those that end in ``.c`` are compiled and linked.

    Raises
    ------
    EngineError
        If it fails.
    """
    key = digest(
        *(f"{name}\n{text}\n" for name, text in sorted(files.items())),
        "\n".join((*command, *flags, _version(command), platform.machine(), sys.platform)),
    )
    return kept(key, lambda: _compile(command, flags, files))


def _compile(command: tuple[str, ...], flags: tuple[str, ...], files: Mapping[str, str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="pvae-neuro-") as scratch:
        for name, text in files.items():
            Path(scratch, name).write_text(text, encoding="utf-8")
        sources = [name for name in files if name.endswith(".c")]
        called = [*command, *flags, "-o", "out", *sources]
        try:
            done = subprocess.run(
                called, cwd=scratch, env=_environment(scratch), capture_output=True, text=True,
                timeout=_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise EngineError(
                f"engine c: the compiler {command[0]} does not run: {error}"
            ) from error
        out = Path(scratch, "out")
        if done.returncode or not out.exists():
            lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
            reason = next((line for line in lines if "error" in line), lines[0])
            raise EngineError(f"engine c: {shlex.join(called)} fails: {reason}")
        return out.read_bytes()


def _environment(scratch: str) -> dict[str, str]:
    """Ziglang builds its own parts once, into a folder beside the compiled code."""
    where = folder()
    zig = scratch if where is None else str(where.with_name("pvae-neuro-zig"))
    caches = {"ZIG_GLOBAL_CACHE_DIR": zig, "ZIG_LOCAL_CACHE_DIR": zig}
    return {**caches, **os.environ}


@cache
def _version(command: tuple[str, ...]) -> str:
    if command == ZIG:
        from importlib.metadata import version

        return version("ziglang")
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return done.stdout
