"""Engines that test_scheduling.py sends to workers, and a run of one that is interrupted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import toy

from pvae_neuro.cluster.engine import ScheduledEngine
from pvae_neuro.errors import EngineError
from pvae_neuro.sim.reference import ReferenceEngine


class Unpacked(ReferenceEngine):
    """Notes each time that it arrives somewhere."""

    name = "unpacked"

    def __init__(self, log: Path) -> None:
        self.log = log

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        with self.log.open("a") as log:
            log.write("arrived\n")


class Failing(ReferenceEngine):
    """Raises what it was given."""

    name = "failing"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self, *arguments: Any, **options: Any) -> Any:
        raise self.error


class Small(ReferenceEngine):
    """Has one kind of connection."""

    name = "small"
    connection_kinds = frozenset({"one_to_one"})


FAILURES = {"engine": EngineError("out of order"), "other": ZeroDivisionError("1 / 0")}


def main() -> None:
    """Run for a long time, and say when the first block is done."""
    network = toy.predictive()
    images = np.tile(toy.images(network, 10), (10_000, 1))
    engine = ScheduledEngine("reference", "local", block=2, workers=2)
    try:
        engine.run(network, images, 20, 0, progress=lambda done: print("going", flush=True))
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
