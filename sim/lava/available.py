"""Whether Lava, and Loihi 2 behind it, can be used here; asks without importing Lava."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.sim.engine import engine_names

LAVA_PYTHON = (3, 10)
# lava.utils.slurm and lava.utils.loihi name a board with these.
_BOARD_VARIABLES = ("NXSDKHOST", "SLURM")


def require_lava() -> None:
    """Raise :class:`EngineUnavailableError` with the remedy if Lava cannot run here."""
    version = sys.version_info[:2]
    if version != LAVA_PYTHON:
        raise EngineUnavailableError(
            f"lava: lava-nc 0.10.0, the last release, needs Python 3.10; this is Python "
            f"{version[0]}.{version[1]}. These engines give the same integers: {_other_engines()}"
        )
    if not _found("lava.magma"):
        raise EngineUnavailableError(
            "lava: lava-nc is not installed; pip install 'pvae-neuro[lava]' (Python 3.10 only)"
        )


def missing_for_loihi2() -> list[str]:
    """What keeps a network from running on a Loihi 2 chip from this installation; never empty.

    Returns
    -------
    list of str
        One reason each, in the order in which they would have to be met.
    """
    missing = []
    # The module that lava.utils.loihi.is_installed looks for.
    if not _found("lava.utils.loihi2_profiler"):
        missing.append(
            "lava-loihi is not installed (Intel gives it to members of its research community)"
        )
    if not any(name in os.environ for name in _BOARD_VARIABLES):
        missing.append(
            "no board is selected (lava.utils.loihi.use_ethernet_host or use_slurm_host)"
        )
    missing.append(
        "Neurons has a ProcessModel for the CPU only: each population's programs need an "
        "NcProcessModel in Loihi 2 microcode, with a pseudo-random source on the chip, and the "
        "record needs probes"
    )
    return missing


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _other_engines() -> str:
    return ", ".join(name for name in engine_names() if name not in ("lava", "loihi2"))
