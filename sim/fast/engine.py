"""The ``fast`` engine: exactly the integers of ``reference``, compiled and on all cores."""

from __future__ import annotations

import threading
import time
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Block, BlockResult, Engine
from pvae_neuro.sim.fast.choice import (
    AUTO,
    check_products,
    chosen_ways,
    explained,
    note_activity,
)
from pvae_neuro.sim.fast.drive import encode
from pvae_neuro.sim.fast.kernel import Samples, advance
from pvae_neuro.sim.fast.layouts import CACHE_LINE
from pvae_neuro.sim.fast.memory import SEED, STRIDE, address
from pvae_neuro.sim.fast.plan import (
    MOST_ROWS,
    READOUT,
    Plan,
    Timeline,
    plan_for,
    readout_plan,
    tasks_of,
)
from pvae_neuro.sim.fast.team import Team, default_threads
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
# Of a thread's room between calls: that of most networks, whose allocation would take its time.
KEPT_BYTES = 32 << 20


class FastEngine(Engine):
    """Compiled engine.

    Parameters
    ----------
    threads : int, optional
        By default ``NUMBA_NUM_THREADS``, else all cores.
    products : {"auto", "events", "pairs", "dense", "tiles"}
        How dense products are computed: by default in the way whose estimated cost is least
        (:meth:`explain`); otherwise in this way wherever it gives the same integers, elsewhere as
        by default.
    """

    name: ClassVar[str] = "fast"
    packages = ("llvmlite",)

    def __init__(self, threads: int | None = None, products: str = AUTO) -> None:
        if threads is not None:
            check_whole("threads", threads, 1, MOST_THREADS)
        self._threads = threads
        self.products = check_products(products)

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
        plan = self._plan(block.network)
        return _Run(block, None, plan, self.products).run(self._threads)

    def _plan(self, network: IntegerNetwork) -> Plan:
        """The plan for full groups."""
        return plan_for(network, chosen_ways(network, MOST_ROWS, self.products))

    def run_summarized(self, block: Block, x: NDArray[np.int32]) -> tuple[BlockResult, Summary]:
        """Run a block and make its figures as it goes; see :meth:`Engine.run_summarized`."""
        if self._plan(block.network).summarizer is None:
            return super().run_summarized(block, x)
        run = _Run(block, x, self._plan(block.network), self.products)
        result = run.run(self._threads)
        spikes, active, saturated = (run.figures[:, :-1, i] for i in range(3))
        return result, Summary(spikes, active, saturated, run.figures[:, 1:, 3])

    def reconstruct(self, network: IntegerNetwork, values: NDArray[Any]) -> NDArray[np.float32]:
        """Read values out; see :meth:`Engine.reconstruct`."""
        ways = chosen_ways(network, min(len(values), MOST_ROWS), self.products)
        plan, source = readout_plan(network, ways.get(READOUT)), network.readout
        if plan is None or source is None or not tasks_of(network)[READOUT].takes(values):
            return super().reconstruct(network, values)
        state = np.zeros((len(values), len(plan.initial)), np.int32)
        state[:, : values.shape[1]] = values
        image = np.empty((len(values), 1, network.input.size), np.int32)
        work = Work(plan, plan.code, state, {"image": image}, steps=1)
        Team(len(values), self._threads, plan.rows).run(work.kernel, 0, 1)
        return (image[:, 0] * 2.0**-source.frac_bits).astype(np.float32)

    def explain(self, network: IntegerNetwork) -> list[str]:
        """How each dense product is computed, and what each of its ways is estimated to cost.

        By the activity of the network's last run in this process.

        Examples
        --------
        >>> from pvae_neuro import QuantizeConfig, load_pretrained, quantize, sample_digits
        >>> digits, _ = sample_digits()
        >>> network = quantize(load_pretrained(), digits, QuantizeConfig(topology="lateral"))
        >>> for line in FastEngine().explain(network):
        ...     print(line.partition(":")[0])
        engine fast
        lateral
        the readout
        """
        return explained(network, self._plan(network).rows, self.products)


class Work:
    """Arrays that the kernel works on, and the kernel itself.

    Parameters
    ----------
    plan : Plan
    code : int64
        One of the plan's two.
    state : int32 [B, S]
    records : dict of str to array [B, steps, n]
        What is recorded of each step, by the plan's places.
    **numbers
        Others of :class:`kernel.Samples`.
    """

    def __init__(
        self,
        plan: Plan,
        code: NDArray[np.int64],
        state: NDArray[np.int32],
        records: dict[str, NDArray[Any]],
        seed: int = 0,
        **numbers: int,
    ) -> None:
        rows = [
            (address(values), values.dtype.itemsize, *plan.places[name][:2])
            for name, values in records.items()
        ]
        self._records = np.array(rows, np.int64)
        known = dict.fromkeys(Samples._fields, 0) | {
            "state": address(state),
            "records": address(self._records),
            "record_count": len(rows),
            "samples": len(state),
            "iterations": 1,
        }
        self._samples = np.array(Samples(**(known | numbers)), np.int64)
        self.plan, self.code = plan, code
        # The kernel takes the seed's bits.
        self._seed = seed - ((seed >> 63) << 64)

    def kernel(self, first: int, last: int, start: int, stop: int) -> None:
        """Advance a group of samples."""
        memory = room_for(self.plan.room_bytes + (last - first) * self.plan.stride)
        room = self.plan.room + address(memory)
        room[SEED], room[STRIDE] = self._seed, self.plan.stride
        advance(address(self.code), address(self._samples), address(room), first, last, start, stop)


class _Run:
    """One block: its state, what is recorded of it, and the plan that advances it."""

    def __init__(
        self, block: Block, x: NDArray[np.int32] | None, plan: Plan, products: str
    ) -> None:
        count, steps, frames = len(block.samples), block.steps, block.frames
        self.block, self.products = block, products
        self.places, self.most = plan.places, plan.rows
        self.state = np.empty((count, len(plan.initial)), np.int32)
        self.state[:] = plan.initial
        self.inputs = np.zeros((frames, count, plan.inputs), np.int32)
        for name, values in block.inputs.items():
            place, size, _ = plan.places[name]
            self.inputs[:, :, place : place + size] = values
        self.variables: dict[str, NDArray[Any]] = {}
        for name in block.record:
            _, size, dtype = plan.places[name]
            self.variables[name] = np.empty((count, steps, size), dtype)
        self.summarized = x is not None
        if x is not None and plan.summarizer is not None:
            self.target = np.ascontiguousarray(x << plan.summarizer.target_left)
            self.figures = np.zeros((len(x), steps, 4), np.int64)
            self.time = Timeline(x.shape[1], (steps - 1) // x.shape[1], steps)

    def run(self, threads: int | None) -> BlockResult:
        """Run all steps."""
        network, samples, steps = self.block.network, len(self.block.samples), self.block.steps
        # Seconds for a sample's step in an earlier run; without one a few steps are tried first.
        pace = network.compiled.get("fast pace", 0.0) * samples
        done, chunk = 0, int(SECONDS_PER_CALL / pace) if pace else FIRST_STEPS
        team = Team(samples, threads, self.most)
        while done < steps:
            start = time.perf_counter()
            stop = min(done + max(1, chunk), steps)
            team.run(self._work(team.rows).kernel, done, stop)
            self.block.advance(samples * (min(stop, steps - 1) - done))
            pace = (time.perf_counter() - start) / (stop - done)
            # Follow the measured speed, but grow gently: the first call may compile.
            chunk = min(int(SECONDS_PER_CALL / pace), GROWTH * (stop - done))
            done = stop
            note_activity(network, self._values)
        network.compiled["fast pace"] = pace / samples
        last = {name: self._values(name).astype(self.places[name][2]) for name in network.variables}
        return BlockResult(last, self.variables)

    def _values(self, name: str) -> NDArray[np.int32]:
        place, size, _ = self.places[name]
        return self.state[:, place : place + size]

    def _work(self, rows: int) -> Work:
        """The kernel for the products that suit the activity of late."""
        block = self.block
        plan = plan_for(block.network, chosen_ways(block.network, rows, self.products))
        self.summary = np.zeros(0, np.int64)
        if self.summarized and plan.summarizer is not None:
            numbers = plan.summarizer.numbers(
                address(self.target), address(self.figures), self.time
            )
            self.summary = np.array(numbers, np.int64)
        return Work(
            plan,
            plan.summarized if self.summarized else plan.code,
            self.state,
            self.variables,
            block.seed,
            inputs=address(self.inputs),
            first_sample=block.samples.start,
            first_step=block.first_step,
            iterations=block.iterations,
            steps=block.steps,
            summary=address(self.summary) if self.summarized else 0,
        )


_rooms = threading.local()


def room_for(size: int) -> NDArray[np.uint8]:
    """Memory that begins at a cache line; a thread keeps up to ``KEPT_BYTES`` for its next call."""
    memory: NDArray[np.uint8] | None = getattr(_rooms, "memory", None)
    if memory is None or len(memory) < size + CACHE_LINE:
        memory = np.empty(size + CACHE_LINE, np.uint8)
        if len(memory) <= KEPT_BYTES:
            _rooms.memory = memory
    return memory[-address(memory) % CACHE_LINE :]
