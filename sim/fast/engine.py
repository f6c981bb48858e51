"""The ``fast`` engine: exactly the integers of ``reference``, compiled and on all cores."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import IntegerNetwork, check_steps
from pvae_neuro.sim.engine import Progress, Record, Recording
from pvae_neuro.sim.fast.feedback import draw_and_weigh, take_feedback
from pvae_neuro.sim.fast.plan import Plan, plan_for
from pvae_neuro.sim.fast.products import choose_product
from pvae_neuro.sim.fast.recurrent import run_recurrent
from pvae_neuro.sim.inputs import encode_inputs
from pvae_neuro.sim.noise import check_seed
from pvae_neuro.sim.recorder import check_record, error_unit, reconstruct
from pvae_neuro.sim.trajectory import trajectory_array

# Samples that share one call of a kernel, and the time a call may take before control returns to
# Python for progress and Ctrl-C.
SAMPLES_PER_BLOCK = 512
SECONDS_PER_CALL = 0.2
# Trajectories of one block, before they are handed to the recording.
TRAJECTORY_BYTES = 128 << 20
FIRST_STEPS = 4

Options = dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Block:
    """State and output arrays of one block of samples; shapes as in ``run_recurrent``."""

    first_sample: int
    encoded: NDArray[np.int32]
    target: NDArray[np.int32]
    u: NDArray[np.int32]
    drive: NDArray[np.int32]
    sums: NDArray[np.int64]
    error: NDArray[np.int64]
    readout: NDArray[np.uint8]
    counts: NDArray[np.uint8]
    potentials: NDArray[np.int32]


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
            block = _block(plan, encoded, first_sample + first, steps, record)
            _advance(plan, block, steps, seed, progress)
            out.take(first, block)
        return out.recording()


def _block_size(network: IntegerNetwork, steps: int, record: Record) -> int:
    """Samples per block: as many as threads like, fewer where their trajectories are long."""
    if record != "full":
        return SAMPLES_PER_BLOCK
    per_sample = (steps + 1) * network.latents.size * 5
    return max(1, min(SAMPLES_PER_BLOCK, TRAJECTORY_BYTES // per_sample))


def _block(
    plan: Plan, encoded: NDArray[np.int32], first_sample: int, steps: int, record: Record
) -> _Block:
    latents = plan.network.latents
    samples, size = len(encoded), latents.size
    full = steps + 1 if record == "full" else 0
    return _Block(
        first_sample=first_sample,
        encoded=encoded,
        target=encoded << plan.target_left,
        u=np.tile(latents.initial, (samples, 1)),
        drive=(plan.drive(encoded) - latents.leak).astype(np.int32),
        sums=np.zeros((samples, steps + 1, 3), np.int64),
        error=np.zeros((samples, 0 if record == "last" else steps + 1), np.int64),
        readout=np.zeros((samples, size), np.uint8),
        counts=np.zeros((samples, full, size), np.uint8),
        potentials=np.zeros((samples, full, size), np.int32),
    )


def _advance(plan: Plan, block: _Block, steps: int, seed: int, progress: Progress | None) -> None:
    run = _run_recurrent if plan.errors is None else _run_feedback
    done, chunk = 0, min(FIRST_STEPS, steps + 1)
    while done <= steps:
        start = time.perf_counter()
        stop = min(done + chunk, steps + 1)
        run(plan, block, steps, seed, done, stop)
        if progress is not None:
            progress(len(block.u) * (min(stop, steps) - done))
        elapsed = time.perf_counter() - start
        # Follow the measured speed, but grow gently: the first call may include compilation.
        chunk = int(np.clip(SECONDS_PER_CALL / elapsed * (stop - done), 1, 4 * chunk))
        done = stop


def _run_recurrent(plan: Plan, block: _Block, steps: int, seed: int, start: int, stop: int) -> None:
    run_recurrent(
        block.u, block.drive, plan.weight, plan.exponent, plan.mantissa_max,
        plan.diagonal, plan.clamps, plan.first, plan.threshold, plan.sampler,
        np.uint64(seed), block.first_sample, start, stop, steps, block.target,
        plan.readout_weight, plan.readout_left, block.sums, block.error, block.readout,
        block.counts, block.potentials,
    )  # fmt: skip


def _run_feedback(plan: Plan, block: _Block, steps: int, seed: int, start: int, stop: int) -> None:
    errors, feedback = plan.errors, plan.feedback
    if errors is None or feedback is None:
        return
    product = choose_product(feedback.weight.T, errors.message_limit, len(block.u))
    message = np.empty(block.encoded.shape, product.dtype)
    gain = errors.gain.astype(np.int64)
    for step in range(start, stop):
        draw_and_weigh(
            block.u, block.encoded, plan.weight[0], int(plan.exponent[0]), plan.mantissa_max,
            gain, errors.gain_shift, errors.message_limit, plan.first, plan.threshold,
            plan.sampler, np.uint64(seed), block.first_sample, step, block.target,
            plan.readout_weight, plan.readout_left, block.sums, block.error, block.readout,
            block.counts, step, message,
        )  # fmt: skip
        if step < steps:
            take_feedback(
                block.u, block.drive, product(message), feedback.exponent, plan.diagonal,
                block.readout, plan.clamps, block.potentials, step,
            )  # fmt: skip


class _Output:
    """Gathers blocks into a recording."""

    def __init__(self, network: IntegerNetwork, samples: int, steps: int, record: Record) -> None:
        size = network.latents.size
        self.network, self.record = network, record
        self.readout = np.zeros((samples, size), np.uint8)
        self.final = np.zeros((samples, size), np.int32)
        summaries = record != "last"
        self.sums = np.zeros((3, samples, steps), np.int64) if summaries else None
        self.error = np.zeros((samples, steps), np.int64) if summaries else None
        full = record == "full"
        shape = (samples, steps, size)
        self.counts = trajectory_array(shape, np.uint8) if full else None
        self.potentials = trajectory_array(shape, np.int32) if full else None

    def take(self, first: int, block: _Block) -> None:
        rows = slice(first, first + len(block.u))
        self.readout[rows], self.final[rows] = block.readout, block.u
        if self.sums is not None and self.error is not None:
            self.sums[:, rows] = np.moveaxis(block.sums[:, :-1], 2, 0)
            self.error[rows] = block.error[:, 1:]
        if self.counts is not None and self.potentials is not None:
            self.counts[rows] = block.counts[:, :-1]
            self.potentials[rows] = block.potentials[:, :-1]

    def recording(self) -> Recording:
        spikes, active, saturated = (None,) * 3 if self.sums is None else self.sums
        return Recording(
            readout=self.readout,
            final=self.final,
            reconstruction=reconstruct(self.network, self.readout),
            error_unit=error_unit(self.network),
            spikes=spikes,
            active=active,
            saturated=saturated,
            squared_error=self.error,
            counts=self.counts,
            potentials=self.potentials,
        )
