"""The ``fast`` engine: exactly the integers of ``reference``, compiled and on all cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Block, BlockResult, Engine
from pvae_neuro.sim.fast.drive import encode
from pvae_neuro.sim.fast.events import list_cells
from pvae_neuro.sim.fast.kernel import Samples, advance
from pvae_neuro.sim.fast.layouts import CACHE_LINE
from pvae_neuro.sim.fast.memory import SEED, address, compilation_told
from pvae_neuro.sim.fast.plan import Timeline, plan_for
from pvae_neuro.sim.fast.readout import read_blocks, read_values, ring_bytes
from pvae_neuro.sim.fast.team import Kernel, Team, default_threads, share_out
from pvae_neuro.sim.noise import check_whole
from pvae_neuro.sim.readout import Summary
from pvae_neuro.sim.recording import Record, variable_dtype

# Samples that share one call of the kernel, and the time a call may take before control returns to
# Python for progress and Ctrl-C.
SAMPLES_PER_BLOCK = 512
SECONDS_PER_CALL = 0.2
# What is recorded of one block, before it is handed to the recording.
BLOCK_BYTES = 128 << 20
FIRST_STEPS = 16
GROWTH = 8
MOST_THREADS = 1024


class FastEngine(Engine):
    """Compiled engine.

    Parameters
    ----------
    threads : int, optional
        By default ``NUMBA_NUM_THREADS``, else all cores.
    """

    name: ClassVar[str] = "fast"
    packages = ("numba", "llvmlite")

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
        return max(1, min(SAMPLES_PER_BLOCK, BLOCK_BYTES // (per_step * steps)))

    def prepare(
        self,
        network: IntegerNetwork,
        record: Record = "summary",
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Compile; ``tell`` gets a line if that is not kept from an earlier process."""
        with compilation_told(tell or (lambda _: None)):
            super().prepare(network, record)

    def encode(self, network: IntegerNetwork, x: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        """Values of the inputs' variables; see :meth:`Engine.encode`."""
        samples, frames, pixels = x.shape
        found = {}
        for e in network.encodings:
            values = encode(network, e, x.reshape(-1, pixels), self._threads)
            found[f"{e.population}.{e.variable}"] = values.reshape(samples, frames, -1)
        return {name: values.swapaxes(0, 1) for name, values in found.items()}

    def run_block(self, block: Block) -> BlockResult:
        """Run a block; see :meth:`Engine.run_block`."""
        return _Run(block, None).run(self._threads)

    def run_summarized(self, block: Block, x: NDArray[np.int32]) -> tuple[BlockResult, Summary]:
        """Run a block and make its figures as it goes; see :meth:`Engine.run_summarized`."""
        if plan_for(block.network).summarizer is None:
            return super().run_summarized(block, x)
        run = _Run(block, x)
        result = run.run(self._threads)
        spikes, active, saturated = (run.figures[:, :-1, i] for i in range(3))
        return result, Summary(spikes, active, saturated, run.figures[:, 1:, 3])

    def reconstruct(self, network: IntegerNetwork, values: NDArray[Any]) -> NDArray[np.float32]:
        """Read values out; see :meth:`Engine.reconstruct`."""
        plan, source = plan_for(network).readout, network.readout
        if plan is None or source is None:
            return super().reconstruct(network, values)
        wide = values.astype(np.int32)
        image = np.empty((len(wide), plan.pixels), np.int32)
        work = 4 * list_cells(plan.neurons) + ring_bytes(plan.neurons, plan.pixels)

        def share(first: int, last: int) -> None:
            room = room_for(work)
            read_values(
                read_blocks.address, address(plan.weight), plan.neurons, plan.pixels,
                address(wide[first:]), address(room), address(image[first:]), last - first,
            )  # fmt: skip

        share_out(share, len(wide), self._threads)
        return (image * 2.0**-source.frac_bits).astype(np.float32)


class _Run:
    """One block: its state, what is recorded of it, and the kernel that advances it."""

    def __init__(self, block: Block, x: NDArray[np.int32] | None) -> None:
        count, steps, frames = len(block.samples), block.steps, block.frames
        self.block = block
        self.plan = plan = plan_for(block.network)
        self.state = np.empty((count, len(plan.initial)), np.int32)
        self.state[:] = plan.initial
        self.inputs = np.zeros((frames, count, plan.inputs), np.int32)
        for name, values in block.inputs.items():
            place, size, _ = plan.places[name]
            self.inputs[:, :, place : place + size] = values
        self.variables: dict[str, NDArray[Any]] = {}
        rows = []
        for name in block.record:
            place, size, dtype = plan.places[name]
            self.variables[name] = values = np.empty((count, steps, size), dtype)
            rows.append((address(values), dtype.itemsize, place, size))
        self.records = np.array(rows, np.int64)
        self.summary = None if x is None else self._summary(x)
        samples = Samples(
            state=address(self.state),
            inputs=address(self.inputs),
            records=address(self.records),
            record_count=len(rows),
            samples=count,
            first_sample=block.samples.start,
            first_step=block.first_step,
            iterations=block.iterations,
            steps=steps,
            summary=0 if self.summary is None else address(self.summary),
        )
        self.samples = np.array(samples, np.int64)
        self.addresses = address(plan.code), address(self.samples)
        # The kernel takes the seed's bits.
        self.seed = block.seed - ((block.seed >> 63) << 64)

    def _summary(self, x: NDArray[np.int32]) -> NDArray[np.int64]:
        plan, steps, frames = self.plan.summarizer, self.block.steps, x.shape[1]
        if plan is None:
            raise EngineError("engine fast: this network has no readout to summarize by")
        self.target = np.ascontiguousarray(x << plan.target_left)
        self.figures = np.zeros((len(x), steps, 4), np.int64)
        timeline = Timeline(frames, (steps - 1) // frames, steps)
        numbers = plan.summary(address(self.target), address(self.figures), timeline)
        return np.array(numbers, np.int64)

    def run(self, threads: int | None) -> BlockResult:
        """Run all steps."""
        block = self.block
        with Team(len(block.samples), threads) as team:
            _advance(team, self._kernel, block)
        last = {}
        for name in block.network.variables:
            place, size, dtype = self.plan.places[name]
            last[name] = self.state[:, place : place + size].astype(dtype)
        return BlockResult(last, self.variables)

    def _kernel(self, first: int, last: int, start: int, stop: int) -> None:
        memory = room_for(self.plan.room_bytes)
        room = self.plan.room + address(memory)
        room[SEED] = self.seed
        advance(*self.addresses, address(room), first, last, start, stop)


def room_for(size: int) -> NDArray[np.uint8]:
    """Memory that begins at a cache line."""
    memory = np.empty(size + CACHE_LINE, np.uint8)
    return memory[-address(memory) % CACHE_LINE :]


def _advance(team: Team, kernel: Kernel, block: Block) -> None:
    samples, steps = len(block.samples), block.steps
    # Seconds for a sample's step in an earlier run; without one a few steps are tried first.
    pace = block.network.compiled.get("fast pace", 0.0) * samples
    done, chunk = 0, int(SECONDS_PER_CALL / pace) if pace else FIRST_STEPS
    while done < steps:
        start = time.perf_counter()
        stop = min(done + max(1, chunk), steps)
        team.run(kernel, done, stop)
        block.advance(samples * (min(stop, steps - 1) - done))
        elapsed = time.perf_counter() - start
        pace = elapsed / (stop - done)
        # Follow the measured speed, but grow gently: the first call may include compilation.
        chunk = min(int(SECONDS_PER_CALL / pace), GROWTH * (stop - done))
        done = stop
    block.network.compiled["fast pace"] = pace / samples
