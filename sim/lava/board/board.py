"""The machine behind Lava: what it needs here, how it is selected, and where its models are.

Importing this module does not import Lava. Every module of the closed stack that this package
relies on stands in this file, as openly licensed programs use them; ``docs/loihi2.md`` has the
sources.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pvae_neuro.errors import EngineUnavailableError, InputError
from pvae_neuro.sim.checks import Check, check, installed_version, module_found, package_check
from pvae_neuro.sim.lava.available import LAVA_PYTHON, python_version

LAVA_NC, LAVA_LOIHI = "0.10.0", "0.7.0"
GENERATIONS = ("N3B2", "N3B3", "N3C1", "N3D1")
_MEMBERS = "Intel gives lava-loihi to members of its research community (INRC)"
# Modules of lava-loihi, and what needs them.
MODULES = {
    "lava.magma.core.model.nc.model": "models on cores",
    "lava.magma.core.model.c.model": "models on embedded processors",
    "lava.proc.dense.ncmodels": "Dense on cores",
    "lava.proc.embedded_io.spike": "adapters between the host and cores",
    "lava.utils.loihi2_profiler": "time and power",
}
ADAPTERS = "lava.proc.embedded_io.spike"
DENSE_ON_CORES = "lava.proc.dense.ncmodels:NcModelDense"
LONGEST = 1024
"""Lava steps that a message may be declared to take."""


@dataclass(frozen=True)
class Bounds:
    """Fewest and most Lava steps that a message takes from one population to another."""

    least: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most <= LONGEST:
            raise InputError(
                f"latency: expected 1 <= least <= most <= {LONGEST} steps, got {self.least} to "
                f"{self.most}"
            )


@dataclass(frozen=True)
class Board:
    """A Loihi 2 board through lava-loihi.

    Attributes
    ----------
    host : str or None
        Address of a board's host; else SLURM, or what the environment says, selects it.
    partition, node : str or None
        Of SLURM.
    generation : str or None
        Of the chip; None takes ``LOIHI_GEN`` of the environment, or ``N3B3``, that of most.
    latency : Bounds or None
        Declared bounds, for machines on which messages do not always take as long; None where the
        pulse tells.
    accumulator : str or None
        Model on cores of Lava's ``GradedVec``, ``module:Class``; None lets Lava look for it.
    """

    host: str | None = None
    partition: str | None = None
    node: str | None = None
    generation: str | None = None
    latency: Bounds | None = None
    accumulator: str | None = None

    def __post_init__(self) -> None:
        if self.generation not in (None, *GENERATIONS):
            raise InputError(
                f"generation: expected one of {', '.join(GENERATIONS)}; got {self.generation!r}"
            )
        if self.host is not None and (self.partition or self.node):
            raise InputError("host: expected a host or a partition and node of SLURM, got both")

    @property
    def name(self) -> str:
        """Which one, for reports."""
        chosen = self.host or self.node or self.partition
        return chosen or next(_selected(), "none")

    @property
    def _generation(self) -> str:
        return self.generation or os.environ.get("LOIHI_GEN") or "N3B3"

    def checks(self) -> list[Check]:
        """What a run needs, in the order in which it has to be met; imports no Lava."""
        python = python_version()
        found = [
            check(
                "Python",
                python == LAVA_PYTHON,
                ".".join(map(str, python)),
                "make an environment of Python 3.10, the only one of Lava's last release",
            ),
            package_check("lava-nc", "pip install 'pvae-neuro[lava]'", LAVA_NC),
            package_check(
                "lava-loihi",
                f"install lava-loihi {LAVA_LOIHI}, which goes with lava-nc {LAVA_NC}; {_MEMBERS}",
                LAVA_LOIHI,
            ),
        ]
        # Where the package is missing or another one, so may all its modules be.
        if found[-1].passed:
            found += [_module_check(module, needed) for module, needed in MODULES.items()]
        chosen = self.host or self.node or self.partition or next(_selected(), None)
        found.append(
            check(
                "board",
                chosen is not None,
                chosen or "none is selected",
                "give host= or partition=, or set NXSDKHOST (a host on the network) or SLURM=1 "
                "with PARTITION or BOARD",
            )
        )
        found.append(
            check(
                "LOIHI_GEN",
                self._generation in GENERATIONS,
                self._generation,
                f"set it to one of {', '.join(GENERATIONS)}",
            )
        )
        return found

    def require(self) -> None:
        """Raise :class:`EngineUnavailableError` with every reason and its remedy."""
        missing = [c for c in self.checks() if not c.passed]
        if missing:
            reasons = "; ".join(f"{c.name}: {c.found} ({c.remedy})" for c in missing)
            raise EngineUnavailableError(
                f"loihi2: cannot run on hardware: {reasons}. Engine 'lava' simulates the same graph"
            )

    def select(self) -> None:
        """Select the board; in the process that runs on it, before Lava compiles.

        Raises
        ------
        EngineUnavailableError
            If Lava does not find it.
        """
        loihi: Any = import_module("lava.utils.loihi")
        generation = loihi.ChipGeneration(self._generation)
        try:
            if self.host is not None:
                loihi.use_ethernet_host(self.host, loihi_gen=generation)
            elif self.partition or self.node:
                loihi.use_slurm_host(self.partition, self.node, loihi_gen=generation)
        except (ImportError, ValueError) as error:
            raise EngineUnavailableError(f"loihi2: board {self.name!r}: {error}") from error

    def versions(self) -> dict[str, str | None]:
        """Of what the run rests on."""
        names = ("lava-nc", "lava-loihi", "nxcore", "numpy", "pvae-neuro")
        return {name: installed_version(name) for name in names}


def _module_check(module: str, needed: str) -> Check:
    present = module_found(module)
    remedy = f"comes with lava-loihi {LAVA_LOIHI}; {_MEMBERS}"
    return check(module, present, needed if present else f"not found: {needed}", remedy)


def _selected() -> Iterator[str]:
    """What the environment selects."""
    host = os.environ.get("NXSDKHOST")
    if host:
        yield host
    if os.environ.get("SLURM"):
        yield os.environ.get("BOARD") or os.environ.get("PARTITION") or "SLURM"
