"""Engines that run an integer network on Lava. Importing this module does not import Lava."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineUnavailableError, InputError
from pvae_neuro.network import IntegerNetwork, check_steps
from pvae_neuro.sim.engine import Progress, Record, Recording
from pvae_neuro.sim.inputs import encode_inputs
from pvae_neuro.sim.lava.available import missing_for_loihi2, require_lava
from pvae_neuro.sim.lava.batch import Batch
from pvae_neuro.sim.lava.inputs import check_batch, input_values
from pvae_neuro.sim.lava.job import Job
from pvae_neuro.sim.lava.supervisor import Supervisor
from pvae_neuro.sim.lava.supported import check_supported
from pvae_neuro.sim.noise import check_seed
from pvae_neuro.sim.recorder import Recorder

DEFAULT_TIMEOUT = 120.0


class LavaEngine:
    """Lava's CPU simulation of Loihi 2, in processes of its own.

    The populations are this package's Processes; the connections are Lava's stock ``Dense`` in its
    bit-accurate model, or with ``batch`` above 1 this package's ``BatchedDense``, which delivers
    the same integers for many samples at a time. See :class:`~pvae_neuro.sim.engine.Engine` for
    ``run``.

    Parameters
    ----------
    timeout : float
        Seconds without any progress (of start-up, compilation or iterations) after which the run
        is given up with an :class:`EngineError`.
    batch : int
        Most samples to run side by side; they are spread evenly over as few passes as that allows.
        Does not change a single integer.

    Raises
    ------
    InputError
        If ``timeout`` is not positive or ``batch`` not an integer of at least 1.
    """

    name = "lava"

    def __init__(self, timeout: float = DEFAULT_TIMEOUT, batch: int = 1) -> None:
        if not timeout > 0:
            raise InputError(f"timeout: expected a positive number of seconds, got {timeout}")
        self.timeout = timeout
        self.batch = check_batch(batch)

    def run(
        self,
        network: IntegerNetwork,
        inputs: NDArray[np.floating[Any]],
        steps: int,
        seed: int,
        *,
        record: Record = "summary",
        first_sample: int = 0,
        progress: Progress | None = None,
    ) -> Recording:
        """Run ``steps`` iterations; see :meth:`Engine.run`."""
        require_lava()
        check_supported(network)
        check_steps(steps)
        check_seed(seed)
        if first_sample < 0:
            raise InputError(f"first_sample: expected at least 0, got {first_sample}")
        pixels = encode_inputs(network, inputs)
        recorder = Recorder(network, pixels, steps, record)
        if len(pixels) > 0:
            with Supervisor() as supervisor:
                batch = Batch(
                    str(supervisor.folder),
                    len(pixels),
                    steps,
                    network.latents.size,
                    width=even_width(len(pixels), self.batch),
                )
                for population, values in input_values(network, pixels).items():
                    batch.write_input(population, values)
                Job(network, batch, seed, first_sample).write()
                self._collect(supervisor, batch, recorder, progress)
        return recorder.finish()

    def _collect(
        self, supervisor: Supervisor, batch: Batch, recorder: Recorder, progress: Progress | None
    ) -> None:
        """Run a job and gather its blocks."""
        counter = batch.create_progress()
        told = 0

        def poll() -> int:
            nonlocal told
            done = int(counter[0])
            if progress is not None and done > told:
                progress(done - told)
            told = done
            return done

        command = [sys.executable, "-m", "pvae_neuro.sim.lava.worker"]
        supervisor.start([*command, batch.folder, supervisor.token])
        for line in supervisor.reports(poll, self.timeout):
            kind, _, number = line.partition(" ")
            if kind == "block":
                first = batch.rows(int(number)).start
                for piece in batch.take_block(int(number)).pieces(batch.samples_per_piece):
                    recorder.add(first, piece.counts, piece.potentials)
                    first += len(piece.counts)
        poll()


def even_width(samples: int, most: int) -> int:
    """Samples side by side, at most ``most``, such that the fewest passes are filled evenly."""
    passes = -(-samples // most)
    return -(-samples // passes)


class Loihi2Engine:
    """Loihi 2 hardware; refuses, with the reasons, where it is not there.

    Nothing in this package has run on a chip. The network that
    :func:`~pvae_neuro.sim.lava.build_lava` builds is the graph to run there, with Lava's
    ``Loihi2HwCfg`` instead of ``Loihi2SimCfg``, once both populations have an NcProcessModel.
    """

    name = "loihi2"

    def run(
        self,
        network: IntegerNetwork,
        inputs: NDArray[np.floating[Any]],
        steps: int,
        seed: int,
        *,
        record: Record = "summary",
        first_sample: int = 0,
        progress: Progress | None = None,
    ) -> Recording:
        """Raise :class:`EngineUnavailableError` with everything that is missing."""
        require_lava()
        reasons = "; ".join(missing_for_loihi2())
        raise EngineUnavailableError(
            f"loihi2: cannot run on hardware: {reasons}. Engine 'lava' simulates the same graph"
        )
