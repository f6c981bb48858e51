"""The ``fast`` engine: exactly the integers of ``reference``, compiled and on all cores."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import IntegerNetwork, check_steps
from pvae_neuro.sim.engine import Progress, Record, Recording
from pvae_neuro.sim.fast.feedback import run_feedback
from pvae_neuro.sim.fast.plan import Plan, plan_for
from pvae_neuro.sim.fast.readout import Records
from pvae_neuro.sim.fast.recurrent import run_recurrent
from pvae_neuro.sim.fast.team import Kernel, Team
from pvae_neuro.sim.inputs import encode_inputs
from pvae_neuro.sim.noise import check_seed
from pvae_neuro.sim.recorder import check_record, error_unit
from pvae_neuro.sim.trajectory import trajectory_array

# Samples that share one call of a kernel, and the time a call may take before control returns to
# Python for progress and Ctrl-C.
SAMPLES_PER_BLOCK = 512
SECONDS_PER_CALL = 0.2
# Trajectories of one block, before they are handed to the recording.
TRAJECTORY_BYTES = 128 << 20
FIRST_STEPS = 16
GROWTH = 8


class _Samples(NamedTuple):
    """State of a block of samples.

    Attributes
    ----------
    u : int32 [B, K]
    drive : int32 [B, K]
        Leak already subtracted.
    encoded, target : int32 [B, M]
        Inputs, and the same in the unit of the readout.
    """

    u: NDArray[np.int32]
    drive: NDArray[np.int32]
    encoded: NDArray[np.int32]
    target: NDArray[np.int32]


class _Noise(NamedTuple):
    """Which words the block draws: those of samples ``first_sample`` and on."""

    seed: np.uint64
    first_sample: int


class FastEngine:
    """Compiled engine; see :class:`~pvae_neuro.sim.engine.Engine` for ``run``."""

    name = "fast"

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
        check_steps(steps)
        check_seed(seed)
        check_record(record)
        plan = plan_for(network)
        pixels = encode_inputs(network, inputs)
        out = _Output(network, len(pixels), steps, record)
        size = _block_size(network, steps, record)
        for first in range(0, len(pixels), size):
            encoded = pixels[first : first + size]
            records = _records(plan, len(encoded), steps, record)
            noise = _Noise(np.uint64(seed), first_sample + first)
            with Team(len(encoded)) as team:
                samples = _samples(plan, encoded, team)
                kernel = _kernel(plan, samples, records, noise, steps)
                _advance(team, kernel, len(encoded), steps, progress)
            out.take(first, samples, records)
        return out.recording()


def _block_size(network: IntegerNetwork, steps: int, record: Record) -> int:
    """Samples per block: as many as threads like, fewer where their trajectories are long."""
    if record != "full":
        return SAMPLES_PER_BLOCK
    per_sample = (steps + 1) * network.latents.size * 5
    return max(1, min(SAMPLES_PER_BLOCK, TRAJECTORY_BYTES // per_sample))


def _samples(plan: Plan, encoded: NDArray[np.int32], team: Team) -> _Samples:
    latents = plan.network.latents
    drive = np.empty((len(encoded), latents.size), np.int32)

    def share(first: int, last: int, start: int, stop: int) -> None:
        drive[first:last] = plan.drive(encoded[first:last]) - latents.leak

    team.run(share, 0, 0)
    return _Samples(
        u=np.tile(latents.initial, (len(encoded), 1)),
        drive=drive,
        encoded=encoded,
        target=encoded << plan.target_left,
    )


def _records(plan: Plan, samples: int, steps: int, record: Record) -> Records:
    size = plan.network.latents.size
    full = steps + 1 if record == "full" else 0
    return Records(
        sums=np.zeros((samples, steps + 1, 3), np.int64),
        error=np.zeros((samples, 0 if record == "last" else steps + 1), np.int64),
        last=np.zeros((samples, size), np.uint8),
        image=np.zeros((samples, plan.network.input.pixels), np.int32),
        counts=np.zeros((samples, full, size), np.uint8),
        potentials=np.zeros((samples, full, size), np.int32),
    )


def _kernel(plan: Plan, samples: _Samples, records: Records, noise: _Noise, updates: int) -> Kernel:
    """Return what advances samples ``first`` to ``last`` from step ``start`` to ``stop``."""

    def recurrent(first: int, last: int, start: int, stop: int) -> None:
        run_recurrent(
            samples, plan.rows, plan.neurons, plan.sampler, plan.readout, records, noise,
            first, last, start, stop, updates,
        )  # fmt: skip

    def with_feedback(first: int, last: int, start: int, stop: int) -> None:
        run_feedback(
            samples, plan.rows, plan.feedback, plan.neurons, plan.sampler, plan.readout, records,
            noise, first, last, start, stop, updates,
        )  # fmt: skip

    return recurrent if plan.feedback is None else with_feedback


def _advance(
    team: Team, kernel: Kernel, samples: int, steps: int, progress: Progress | None
) -> None:
    done, chunk = 0, min(FIRST_STEPS, steps + 1)
    while done <= steps:
        start = time.perf_counter()
        stop = min(done + chunk, steps + 1)
        team.run(kernel, done, stop)
        if progress is not None:
            progress(samples * (min(stop, steps) - done))
        elapsed = time.perf_counter() - start
        # Follow the measured speed, but grow gently: the first call may include compilation.
        chunk = int(np.clip(SECONDS_PER_CALL / elapsed * (stop - done), 1, GROWTH * chunk))
        done = stop


class _Output:
    """Gathers blocks into a recording."""

    def __init__(self, network: IntegerNetwork, samples: int, steps: int, record: Record) -> None:
        size = network.latents.size
        self.network, self.record = network, record
        self.readout = np.zeros((samples, size), np.uint8)
        self.final = np.zeros((samples, size), np.int32)
        self.reconstruction = np.zeros((samples, network.input.pixels), np.float32)
        summaries = record != "last"
        self.sums = np.zeros((3, samples, steps), np.int64) if summaries else None
        self.error = np.zeros((samples, steps), np.int64) if summaries else None
        full = record == "full"
        shape = (samples, steps, size)
        self.counts = trajectory_array(shape, np.uint8) if full else None
        self.potentials = trajectory_array(shape, np.int32) if full else None

    def take(self, first: int, samples: _Samples, records: Records) -> None:
        rows = slice(first, first + len(samples.u))
        self.readout[rows], self.final[rows] = records.last, samples.u
        self.reconstruction[rows] = records.image * 2.0**-self.network.readout.frac_bits
        if self.sums is not None and self.error is not None:
            self.sums[:, rows] = np.moveaxis(records.sums[:, :-1], 2, 0)
            self.error[rows] = records.error[:, 1:]
        if self.counts is not None and self.potentials is not None:
            self.counts[rows] = records.counts[:, :-1]
            self.potentials[rows] = records.potentials[:, :-1]

    def recording(self) -> Recording:
        spikes, active, saturated = (None,) * 3 if self.sums is None else self.sums
        return Recording(
            readout=self.readout,
            final=self.final,
            reconstruction=self.reconstruction,
            error_unit=error_unit(self.network),
            spikes=spikes,
            active=active,
            saturated=saturated,
            squared_error=self.error,
            counts=self.counts,
            potentials=self.potentials,
        )
