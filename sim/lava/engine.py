"""Engines that run an integer network on Lava. Importing this module does not import Lava."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError, InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Block, BlockResult, Engine
from pvae_neuro.sim.lava.available import require_lava
from pvae_neuro.sim.lava.exchange import MOST_SAMPLES, Job, check_batch, check_stock
from pvae_neuro.sim.lava.supervisor import Supervisor
from pvae_neuro.sim.lava.supported import lacking
from pvae_neuro.sim.readout import Summary, summarize
from pvae_neuro.sim.recording import Record, variable_dtype
from pvae_neuro.sim.trajectory import trajectory_array

DEFAULT_TIMEOUT = 120.0
WORKER = "pvae_neuro.sim.lava.worker"
# Values of a summary's counts that are looked at together.
SUMMARY_VALUES = 1 << 22


class LavaEngine(Engine):
    """Lava's CPU simulation of Loihi 2, in processes of its own.

    Populations are this package's ``Neurons``; dense connections are Lava's stock ``Dense`` in its
    bit-accurate model. Other kinds, and with ``batch`` above 1 all of them, are this package's
    ``Synapses``, which deliver the same integers.

    Parameters
    ----------
    timeout : float
        Seconds without any progress (of start-up, compilation or iterations) after which the run
        is given up with an :class:`EngineError`.
    batch : int
        Most samples to run side by side; they are spread evenly over as few passes as that allows.
        Does not change a single integer.
    stock_convolutions : bool
        Whether convolutions are Lava's stock ``Conv``; needs a ``batch`` of 1. Does not change a
        single integer.

    Raises
    ------
    InputError
        If ``timeout`` is not positive, ``batch`` not a whole number of at least 1, or above 1 with
        stock convolutions.
    """

    name = "lava"
    packages: ClassVar[tuple[str, ...]] = ("lava-nc",)
    worker: ClassVar[str] = WORKER

    def __init__(
        self,
        timeout: float = DEFAULT_TIMEOUT,
        batch: int = 1,
        stock_convolutions: bool = False,
    ) -> None:
        if not timeout > 0:
            raise InputError(f"timeout: expected a positive number of seconds, got {timeout}")
        self.timeout = timeout
        self.batch = check_batch(batch)
        check_stock(stock_convolutions, batch)
        self.stock_convolutions = stock_convolutions

    def require(self) -> None:
        """Raise unless Lava can run here."""
        require_lava()

    def prepare(
        self,
        network: IntegerNetwork,
        record: Record = "summary",
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Do nothing: a run keeps nothing for the next one."""

    def unsupported(self, network: IntegerNetwork) -> list[str]:
        """What a network needs and Lava cannot do exactly."""
        return [*super().unsupported(network), *lacking(network)]

    def block_size(self, network: IntegerNetwork, steps: int, record: tuple[str, ...]) -> int:
        """All samples at once: starting Lava takes seconds; large records lie on disk."""
        return MOST_SAMPLES

    def summarize(
        self,
        network: IntegerNetwork,
        x: NDArray[np.int32],
        code: NDArray[Any],
        values: NDArray[Any],
    ) -> Summary:
        """Figures of a block, some samples at a time."""
        per_sample = code.shape[1] * (code.shape[2] + values.shape[2] + x.shape[-1])
        size = max(1, SUMMARY_VALUES // per_sample)
        starts = range(0, len(code), size)
        parts = [
            summarize(network, x[i : i + size], code[i : i + size], values[i : i + size])
            for i in starts
        ]
        errors = [p.squared_error for p in parts if p.squared_error is not None]
        return Summary(
            np.concatenate([p.spikes for p in parts]),
            np.concatenate([p.active for p in parts]),
            np.concatenate([p.saturated for p in parts]),
            np.concatenate(errors) if errors else None,
        )

    def run_block(self, block: Block) -> BlockResult:
        """Run all samples in a worker process; see :meth:`Engine.run_block`."""
        with Supervisor() as supervisor:
            job = self._job(str(supervisor.folder), block)
            job.write(block.inputs)
            return self._collect(supervisor, job, block)

    def _job(self, folder: str, block: Block) -> Job:
        return Job(
            **job_of(folder, block),
            width=even_width(len(block.samples), self.batch),
            stock_convolutions=self.stock_convolutions,
        )

    def _collect(self, supervisor: Supervisor, job: Job, block: Block) -> BlockResult:
        """Run a job and gather its pieces."""
        counter = job.open_progress()
        told = 0

        def poll() -> int:
            nonlocal told
            done = int(counter[0])
            if done > told:
                block.advance(done - told)
            told = done
            return done

        last = {
            name: np.zeros((job.samples, job.size(name)), dtype)
            for name, dtype in job.dtypes.items()
        }
        variables = {
            name: trajectory_array((job.samples, block.steps, job.size(name)), job.dtypes[name])
            for name in job.record
        }
        supervisor.start([*worker_command(self.worker), job.folder, supervisor.token])
        for line in supervisor.reports(poll, self.timeout):
            kind, _, text = line.partition(" ")
            if kind == "error":
                raise EngineError(text)
            if kind == "piece":
                rows = job.rows(int(text))
                for target, values in zip((last, variables), job.take(int(text)), strict=True):
                    for name, array in values.items():
                        target[name][rows.start : rows.stop] = array
        poll()
        return BlockResult(last, variables)


def job_of(folder: str, block: Block) -> dict[str, Any]:
    """What a block says of its job."""
    names = block.network.variables
    return {
        "folder": folder,
        "network": block.network,
        "seed": block.seed,
        "first_sample": block.samples.start,
        "first_step": block.first_step,
        "samples": len(block.samples),
        "frames": block.frames,
        "iterations": block.iterations,
        "record": block.record,
        "dtypes": {name: variable_dtype(block.network, name).name for name in names},
    }


def worker_command(worker: str = WORKER) -> list[str]:
    """Start a worker with the modules that this process finds.

    Not by ``-m``, which would look in the current folder first: a clone of this project, or a
    ``random.py`` of the user's, is not to be imported instead. Python 3.10 has no ``-P``.
    """
    places = [place for place in sys.path if place]
    start = f"import sys; sys.path[:] = {places}; from {worker} import main; main(sys.argv[1:])"
    # Isolated only where this process is: `-I` hides what is installed for one user by an import
    # hook, which no place on the path stands for.
    isolated = ["-I"] if sys.flags.isolated else []
    return [sys.executable, *isolated, "-W", "ignore", "-c", start]


def even_width(samples: int, most: int) -> int:
    """Samples side by side, at most ``most``, such that the fewest passes are filled evenly."""
    passes = -(-samples // most)
    return -(-samples // passes)
