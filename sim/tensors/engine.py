"""The engine ``torch``: exactly the integers of ``reference``, on a processor or a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Block, BlockResult, Engine
from pvae_neuro.sim.noise import check_whole
from pvae_neuro.sim.readout import Summary
from pvae_neuro.sim.recording import variable_dtype
from pvae_neuro.sim.tensors.interpreter import run
from pvae_neuro.sim.tensors.library import (
    exact_arithmetic,
    tensor_of,
    torch_library,
    usable_device,
)
from pvae_neuro.sim.tensors.noise import words_by_step
from pvae_neuro.sim.tensors.plan import Plan, plan_for
from pvae_neuro.sim.tensors.readout import Host, blocks

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MOST_THREADS = 1024


class Limits(NamedTuple):
    """How much a kind of device works on at once.

    Attributes
    ----------
    samples : int
        Samples of one block.
    recorded : int
        Bytes that are recorded of a block.
    noise : int
        Blocks of 256 random bits made at once: few enough for the cache of a processor, many
        enough to keep a GPU busy.
    """

    samples: int
    recorded: int
    noise: int


LIMITS = {"cpu": Limits(256, 128 << 20, 1 << 14), "cuda": Limits(4096, 2 << 30, 1 << 20)}


class TorchEngine(Engine):
    """PyTorch tensors.

    Parameters
    ----------
    device : str, optional
        ``cpu``, ``cuda`` or ``cuda:1``; by default the GPU where PyTorch finds one, else ``cpu``.
    threads : int, optional
        Of the processor, while it runs; by default those of PyTorch.

    Raises
    ------
    EngineUnavailableError
        If PyTorch is not installed, or has no such device.
    """

    name: ClassVar[str] = "torch"
    packages = ("torch",)

    def __init__(self, device: str | None = None, threads: int | None = None) -> None:
        if threads is not None:
            check_whole("threads", threads, 1, MOST_THREADS)
        self._device, self._threads = device, threads

    def __repr__(self) -> str:
        return f"<engine {self.name} on {self._device or 'its default device'}>"

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return usable_device(self._device)

    def require(self) -> None:
        """Raise :class:`EngineUnavailableError` if PyTorch or the device is missing."""
        usable_device(self._device)

    def block_size(self, network: IntegerNetwork, steps: int, record: tuple[str, ...]) -> int:
        """Samples that run at once."""
        limits = LIMITS[self.device.type]
        per_step = 32  # Figures of a summary.
        for name in record:
            size = network.population_of[name.partition(".")[0]].size
            per_step += size * variable_dtype(network, name).itemsize
        return max(1, min(limits.samples, limits.recorded // (per_step * steps)))

    def encode(self, network: IntegerNetwork, x: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        """Values of the inputs' variables; see :meth:`Engine.encode`."""
        with self._ready(network) as plan:
            pixels = tensor_of(x.swapaxes(0, 1), plan.device)
            return {name: _array(v) for name, v in plan.host.encoded(pixels).items()}

    def run_block(self, block: Block) -> BlockResult:
        """Run a block; see :meth:`Engine.run_block`."""
        with self._ready(block.network) as plan:
            return _run(plan, block, ())

    def run_summarized(self, block: Block, x: NDArray[np.int32]) -> tuple[BlockResult, Summary]:
        """Run a block and make its figures as it goes; see :meth:`Engine.run_summarized`."""
        with self._ready(block.network) as plan:
            figures = _Figures(plan.host, block, tensor_of(x, plan.device))
            result = _run(plan, block, (figures,))
            return result, figures.summary()

    def reconstruct(self, network: IntegerNetwork, values: NDArray[Any]) -> NDArray[np.float32]:
        """Read values out; see :meth:`Engine.reconstruct`."""
        found = np.empty((len(values), network.input.size), np.float32)
        with self._ready(network) as plan:
            for rows in blocks(len(values), LIMITS[plan.device.type].samples):
                some = tensor_of(values[rows].astype(np.int32), plan.device)
                found[rows] = _array(plan.host.floats(some))
        return found

    @contextmanager
    def _ready(self, network: IntegerNetwork) -> Iterator[Plan]:
        """The plan of a network, with what PyTorch is told while it runs."""
        torch, device = torch_library(), self.device
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads or before)
        try:
            with torch.inference_mode(), exact_arithmetic(device):
                yield plan_for(network, device)
        except torch.cuda.OutOfMemoryError as error:
            raise EngineError(
                f"engine torch: expected memory for {LIMITS[device.type].samples} samples at once "
                f"on {device}, got none; free what else takes it, or use the device cpu"
            ) from error
        finally:
            torch.set_num_threads(before)


Watcher = Callable[[int, dict[str, "Tensor"]], None]


def _run(plan: Plan, block: Block, watchers: tuple[Watcher, ...]) -> BlockResult:
    """Run a block; each watcher is told every step and what the variables are after it."""
    network, samples = block.network, len(block.samples)
    steps = range(block.first_step, block.first_step + block.steps)
    noise = {
        p.name: words_by_step(
            p.sampler, p.size, block.seed, steps, block.samples, plan.device,
            LIMITS[plan.device.type].noise,
        )
        for p in network.drawing
        if p.sampler is not None
    }  # fmt: skip
    inputs = {name: tensor_of(values, plan.device) for name, values in block.inputs.items()}
    recorded = _recorded(plan, block)
    state = plan.initial_state(samples)
    for step in range(block.steps):
        last = step == block.steps - 1
        words = {name: next(each) for name, each in noise.items()}
        if step % block.iterations == 0 and not last:
            state.update({n: values[step // block.iterations] for n, values in inputs.items()})
        run(plan.final if last else plan.iteration, state, words)
        for name, values in recorded.items():
            values[:, step] = state[name]
        for watcher in watchers:
            watcher(step, state)
        if not last:
            block.advance(samples)
    return BlockResult(
        {name: _array(state[name]).copy() for name in network.variables},
        {name: _array(values) for name, values in recorded.items()},
    )


def _recorded(plan: Plan, block: Block) -> dict[str, Tensor]:
    """Room for what is recorded, in the narrowest type: [B, T + 1, n]."""
    torch = torch_library()
    found = {}
    for name in block.record:
        size = block.network.population_of[name.partition(".")[0]].size
        dtype = getattr(torch, variable_dtype(block.network, name).name)
        shape = len(block.samples), block.steps, size
        found[name] = torch.empty(shape, dtype=dtype, device=plan.device)
    return found


class _Figures:
    """Figures of every iteration, made as the block runs."""

    def __init__(self, host: Host, block: Block, x: Tensor) -> None:
        self._host, self._iterations = host, block.iterations
        # Without an input the network runs as one frame; every image is a target all the same.
        self._hold = (block.steps - 1) // x.shape[1]
        self._target = host.target(x)
        self._activity: list[Tensor] = []
        self._errors: list[Tensor] = []

    def __call__(self, step: int, state: dict[str, Tensor]) -> None:
        host = self._host
        if host.code is None or host.source is None:
            return
        self._activity.append(host.activity(state[host.code]))
        if step:
            target = self._target[:, (step - 1) // self._hold]
            self._errors.append(host.squared_error(target, state[host.source]))

    def summary(self) -> Summary:
        """All of them."""
        torch = torch_library()
        spikes, active, saturated = _array(torch.stack(self._activity[:-1], dim=-1))
        return Summary(spikes, active, saturated, _array(torch.stack(self._errors, dim=-1)))


def _array(values: Tensor) -> NDArray[Any]:
    found: NDArray[Any] = values.cpu().numpy()
    return found
