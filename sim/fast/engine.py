"""The ``fast`` engine: exactly the integers of ``reference``, compiled and on all cores."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Block, BlockResult, Engine, Progress
from pvae_neuro.sim.fast.drive import encode
from pvae_neuro.sim.fast.kernel import Records, Samples, advance
from pvae_neuro.sim.fast.plan import Plan, plan_for
from pvae_neuro.sim.fast.readout import read_values
from pvae_neuro.sim.fast.team import Kernel, Team, default_threads
from pvae_neuro.sim.noise import check_whole
from pvae_neuro.sim.readout import Summary
from pvae_neuro.sim.recording import variable_dtype

# Samples that share one call of the kernel, and the time a call may take before control returns to
# Python for progress and Ctrl-C.
SAMPLES_PER_BLOCK = 512
SECONDS_PER_CALL = 0.2
# What is recorded of one block, before it is handed to the recording.
BLOCK_BYTES = 128 << 20
FIRST_STEPS = 16
GROWTH = 8
MOST_THREADS = 1024
TYPES = (np.dtype(np.uint8), np.dtype(np.int16), np.dtype(np.int32))


class FastEngine(Engine):
    """Compiled engine.

    Parameters
    ----------
    threads : int, optional
        By default ``NUMBA_NUM_THREADS``, else all cores.
    """

    name: ClassVar[str] = "fast"

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None:
            check_whole("threads", threads, 1, MOST_THREADS)
        self._threads = threads

    @property
    def threads(self) -> int:
        """Threads that a run uses."""
        return default_threads() if self._threads is None else self._threads

    def block_size(self, network: IntegerNetwork, steps: int, record: tuple[str, ...]) -> int:
        """Samples that run at once."""
        per_step = 32  # Figures of a summary.
        for name in record:
            size = network.population_of[name.partition(".")[0]].size
            per_step += size * variable_dtype(network, name).itemsize
        return int(np.clip(BLOCK_BYTES // (per_step * steps), 1, SAMPLES_PER_BLOCK))

    def encode(
        self, network: IntegerNetwork, x: NDArray[np.int32]
    ) -> dict[str, NDArray[np.int32]]:
        """Values of the inputs' variables; see :meth:`Engine.encode`."""
        frames = x.swapaxes(0, 1)
        return {
            f"{e.population}.{e.variable}": np.stack(
                [encode(network, e, frame, self.threads) for frame in frames]
            )
            for e in network.encodings
        }

    def run_block(self, block: Block) -> BlockResult:
        """Run a block; see :meth:`Engine.run_block`."""
        plan = plan_for(block.network)
        return self._run(plan, block, np.zeros((len(block.samples), 1, 0), np.int32))[0]

    def run_summarized(
        self, block: Block, x: NDArray[np.int32], counts: str, max_count: int
    ) -> tuple[BlockResult, Summary]:
        """Run a block and make its figures as it goes; see :meth:`Engine.run_summarized`."""
        plan = plan_for(block.network)
        if not plan.reads_out:
            return super().run_summarized(block, x, counts, max_count)
        result, records = self._run(plan, block, x << plan.target_left)
        spikes, active, saturated = np.moveaxis(records.sums[:, :-1], 2, 0)
        return result, Summary(spikes, active, saturated, records.error[:, 1:])

    def reconstruct(
        self, network: IntegerNetwork, values: NDArray[Any]
    ) -> NDArray[np.float32]:
        """Read values out; see :meth:`Engine.reconstruct`."""
        plan = plan_for(network)
        if not plan.reads_out or network.readout is None:
            return super().reconstruct(network, values)
        image = np.empty((len(values), network.input.size), np.int32)
        wide = values.astype(np.int32)

        def share(first: int, last: int, start: int, stop: int) -> None:
            read_values(plan.readout, wide, image, first, last)

        with Team(len(values), self.threads) as team:
            team.run(share, 0, 0)
        return (image * 2.0**-network.readout.frac_bits).astype(np.float32)

    def _run(
        self, plan: Plan, block: Block, target: NDArray[np.int32]
    ) -> tuple[BlockResult, Records]:
        samples = _samples(plan, block, target)
        records = _records(plan, block, target.shape[2] > 0)

        def kernel(first: int, last: int, start: int, stop: int) -> None:
            advance(plan.code, samples, records, plan.readout, first, last, start, stop)

        with Team(len(block.samples), self.threads) as team:
            _advance(team, kernel, len(block.samples), block.steps, block.advance)
        return _result(plan, block, samples, records), records


def _samples(plan: Plan, block: Block, target: NDArray[np.int32]) -> Samples:
    code, count = plan.code, len(block.samples)
    cells = int(code.sizes[0])
    inputs = np.zeros((block.frames, count, cells), np.int32)
    for name, values in block.inputs.items():
        place = plan.places[name]
        inputs[:, :, place : place + values.shape[2]] = values
    return Samples(
        state=np.tile(code.cells[: code.sizes[1]], (count, 1)),
        inputs=inputs,
        target=target,
        seed=np.uint64(block.seed),
        first_sample=block.samples.start,
        first_step=block.first_step,
        iterations=block.iterations,
        steps=block.steps,
        target_iterations=(block.steps - 1) // target.shape[1],
    )


def _records(plan: Plan, block: Block, summary: bool) -> Records:
    network, count, steps = block.network, len(block.samples), block.steps
    widths = [0, 0, 0]
    which = []
    for name in block.record:
        kind = TYPES.index(variable_dtype(network, name))
        size = network.population_of[name.partition(".")[0]].size
        which.append((kind, plan.places[name], widths[kind], size))
        widths[kind] += size
    arrays = [
        np.empty((count, steps, width), dtype) for width, dtype in zip(widths, TYPES, strict=True)
    ]
    summarized = steps if summary else 0
    return Records(
        *arrays,
        which=np.array(which, np.int64).reshape(-1, 4),
        sums=np.zeros((count, summarized, 3), np.int64),
        error=np.zeros((count, summarized), np.int64),
    )


def _result(plan: Plan, block: Block, samples: Samples, records: Records) -> BlockResult:
    network = block.network
    last = {}
    for name in network.variables:
        place, size = plan.places[name], network.population_of[name.partition(".")[0]].size
        last[name] = samples.state[:, place : place + size].astype(variable_dtype(network, name))
    arrays = (records.bytes, records.words, records.longs)
    variables = {
        name: arrays[kind][:, :, first : first + size]
        for name, (kind, _, first, size) in zip(block.record, records.which.tolist(), strict=True)
    }
    return BlockResult(last, variables)


def _advance(team: Team, kernel: Kernel, samples: int, steps: int, progress: Progress) -> None:
    done, chunk = 0, min(FIRST_STEPS, steps)
    while done < steps:
        start = time.perf_counter()
        stop = min(done + chunk, steps)
        team.run(kernel, done, stop)
        progress(samples * (min(stop, steps - 1) - done))
        elapsed = time.perf_counter() - start
        # Follow the measured speed, but grow gently: the first call may include compilation.
        chunk = int(np.clip(SECONDS_PER_CALL / elapsed * (stop - done), 1, GROWTH * chunk))
        done = stop
