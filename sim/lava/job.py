"""What a worker is told to run."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.lava.batch import Batch

_NAME = "job.pickle"


@dataclass(frozen=True, eq=False)
class Job:
    """A network, and a batch whose inputs lie in its folder."""

    network: IntegerNetwork
    batch: Batch
    seed: int
    first_sample: int

    def write(self) -> None:
        """Write into the batch's folder."""
        (Path(self.batch.folder) / _NAME).write_bytes(pickle.dumps(self))


def read_job(folder: Path) -> Job:
    """Read what :meth:`Job.write` wrote: a file of this user's own, in a private folder."""
    job: Job = pickle.loads((folder / _NAME).read_bytes())
    return job
