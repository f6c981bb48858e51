"""Whether Lava can be used here; asks without importing it."""

from __future__ import annotations

import sys

from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.sim.checks import module_found
from pvae_neuro.sim.engine import engine_names

LAVA_PYTHON = (3, 10)


def require_lava() -> None:
    """Raise :class:`EngineUnavailableError` with the remedy if Lava cannot run here."""
    version = python_version()
    if version != LAVA_PYTHON:
        raise EngineUnavailableError(
            f"lava: lava-nc 0.10.0, the last release, needs Python 3.10; this is Python "
            f"{version[0]}.{version[1]}. These engines give the same integers: {_other_engines()}"
        )
    if not module_found("lava.magma"):
        raise EngineUnavailableError(
            "lava: lava-nc is not installed; pip install 'pvae-neuro[lava]' (Python 3.10 only)"
        )


def python_version() -> tuple[int, int]:
    """Of this interpreter."""
    return sys.version_info[0], sys.version_info[1]


def _other_engines() -> str:
    return ", ".join(name for name in engine_names() if name not in ("lava", "loihi2"))
