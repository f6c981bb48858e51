"""Programs for many cores, each on an emulated processor of its own; messages pass between them.

This machine stands in for the mesh: it hands the messages of each core's outbox to the cores that
``platform_exchange`` would send them to. All else is the code that a chip would run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.c import Layout, layout_of
from pvae_neuro.exporters.cores import COMMON, HOST, KERNEL, WORD, Core, Cut, core_files, cut
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.c_kernel.emulator import Emulator
from pvae_neuro.sim.c_kernel.engine import CEngine
from pvae_neuro.sim.c_kernel.image import Image
from pvae_neuro.sim.c_kernel.processors import Processor, build, processor_of, require_emulation
from pvae_neuro.sim.c_kernel.samples import run_samples
from pvae_neuro.sim.engine import Block, BlockResult, Engine
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.reference import activate, initial_state

MESSAGE = np.dtype([("key", "<u4"), ("value", "<i4")])
# The platform's part is this machine; what calls it, main, is linked all the same.
_PLATFORM = '#include "cores.h"\n\nvoid platform_exchange(void) {}\n'


@dataclass(frozen=True, eq=False)
class Built:
    """A network built for cores.

    Attributes
    ----------
    cut : Cut
    layouts : tuple of Layout
    images : tuple of Image
    """

    cut: Cut
    layouts: tuple[Layout, ...]
    images: tuple[Image, ...]


class CoresEngine(Engine):
    """Builds a program for each core and emulates them side by side, a sample at a time.

    Parameters
    ----------
    processor : str
    cores : sequence of sequences of str, optional
        Names of the populations of each core; by default every population has one.

    Attributes
    ----------
    messages : int
        Messages between cores since the engine was made; inputs, words and results aside.
    """

    name = "cores"
    operations = CEngine.operations
    connection_kinds = CEngine.connection_kinds

    def __init__(
        self, processor: str = "cortex-m4", cores: Sequence[Sequence[str]] | None = None
    ) -> None:
        self.processor = processor_of(processor)
        self.cores = cores
        self.messages = 0

    def require(self) -> None:
        """Raise :class:`EngineUnavailableError` if compiler or emulator is missing."""
        require_emulation(self.processor)

    def block_size(self, network: IntegerNetwork, steps: int, record: tuple[str, ...]) -> int:
        """Samples that run at once."""
        return min(64, super().block_size(network, steps, record))

    def built(self, network: IntegerNetwork) -> Built:
        """Programs of all cores, compiled once for a network."""
        key = f"cores {self.processor.name} {self.cores}"
        if key not in network.compiled:
            made = cut(network, self.cores)
            network.compiled[key] = Built(
                made,
                tuple(layout_of(core.circuit, KERNEL) for core in made.cores),
                tuple(_image(made, core, self.processor) for core in made.cores),
            )
        found: Built = network.compiled[key]
        return found

    def run_block(self, block: Block) -> BlockResult:
        """Run a block; see :meth:`Engine.run_block`."""
        chip = Chip(self.built(block.network), self.processor)
        result = run_samples(block, chip)
        self.messages += chip.messages
        return result


def golden_run(
    network: IntegerNetwork,
    pixels: NDArray[np.int32],
    iterations: int,
    seed: int,
    cores: Sequence[Sequence[str]] | None = None,
) -> dict[str, Any]:
    """A run with all that cores are sent and send, as values of JSON, by ``reference``.

    Parameters
    ----------
    network : IntegerNetwork
    pixels : int32 [M]
        An encoded image.
    iterations, seed : int
    cores : sequence of sequences of str, optional
        As for :func:`~pvae_neuro.exporters.cores.write_cores`.

    Returns
    -------
    dict
        For each iteration, and for what comes after the last one: what the host sends before it,
        and the values at its end of each variable that cores send, by number of the variable.
    """
    state = initial_state(network, 1)
    links = cut(network, cores).links
    given = {f"{e.population}.{e.variable}": e.apply(pixels[None]) for e in network.encodings}
    state.update(given)
    steps = []
    for step in range(iterations + 1):
        words = {
            p.name: population_noise(p, seed, range(step, step + 1), [0])[:, 0]
            for p in network.drawing
        }
        host: dict[str, NDArray[Any]] = {f"{n}.{WORD}": w for n, w in words.items()}
        host |= given if step == 0 else {}
        for activation in network.iteration if step < iterations else network.final:
            activate(network, activation, state, words)
        names = {link.number: f"{link.population}.{link.variable}" for link in links}
        steps.append(
            {
                "host": {n: host[name][0].tolist() for n, name in names.items() if name in host},
                "sent": {
                    link.number: state[names[link.number]][0].tolist()
                    for link in links
                    if link.source != HOST
                },
            }
        )
    return {"iterations": iterations, "seed": seed, "steps": steps}


def _image(made: Cut, core: Core, processor: Processor) -> Image:
    files = {**COMMON, **core_files(made, core), "platform.c": _PLATFORM}
    return build(files, processor, "main")


class Chip:
    """Cores with their memories, and the way of messages between them.

    Attributes
    ----------
    cores : list of Emulator
    messages : int
        Between cores, until now.
    """

    def __init__(self, built: Built, processor: Processor) -> None:
        self.cut, self.layouts = built.cut, built.layouts
        self.cores = [Emulator(image, processor) for image in built.images]
        most = sum(link.size for link in self.cut.links)
        self.inboxes = [core.place(np.zeros(most, MESSAGE)) for core in self.cores]
        self.numbers = {f"{x.population}.{x.variable}": x.number for x in self.cut.links}
        self.messages = 0

    def start(self, iterations: int) -> None:
        """Begin a run on every core."""
        for core in self.cores:
            core.call("core_start", iterations)

    def step(self, given: Mapping[str, NDArray[Any]], is_last: bool) -> Mapping[str, NDArray[Any]]:
        """Run all phases of an iteration, or of ``final``.

        See :class:`~pvae_neuro.sim.c_kernel.samples.Machine`.
        """
        arriving = [self._messages(name, values) for name, values in given.items()]
        first = self.cut.iteration_phases if is_last else 0
        for _ in range(first, self.cut.phases if is_last else self.cut.iteration_phases):
            self._exchange(arriving)
            arriving = []
            for core in self.cores:
                core.call("core_next")
        return self.state()

    def state(self) -> dict[str, NDArray[np.int32]]:
        """Every variable of every core's own populations, by ``population.variable``."""
        found = {}
        for core, layout, part in zip(self.cores, self.layouts, self.cut.cores, strict=True):
            state = core.read(core.address("core_state"), layout.state_dtype, ())
            names = layout.names
            for name in part.populations:
                for variable in part.circuit.population_of[name].variables:
                    member = names.member[name, variable.name]
                    values = state[names.population[name]][member]
                    found[f"{name}.{variable.name}"] = values
        return found

    def _messages(self, name: str, values: NDArray[Any]) -> NDArray[Any]:
        found = np.zeros(len(values), MESSAGE)
        # What no core receives, such as an input that nothing reads, has no number.
        if name not in self.numbers:
            return found[:0]
        found["key"] = self.numbers[name] << 16 | np.arange(len(values))
        found["value"] = values
        return found

    def _exchange(self, from_host: list[NDArray[Any]]) -> None:
        sent = [*from_host, *self._outboxes()]
        inboxes: dict[int, list[NDArray[Any]]] = defaultdict(list)
        for messages in sent:
            for number in np.unique(messages["key"] >> 16):
                link = self.cut.links[number]
                chosen = messages[messages["key"] >> 16 == number]
                for core in link.targets:
                    if core != HOST:
                        inboxes[core].append(chosen)
                        self.messages += len(chosen) if link.source != HOST else 0
        for core, parts in inboxes.items():
            arrived = np.concatenate(parts)
            self.cores[core].write(self.inboxes[core], arrived)
            self.cores[core].call("core_receive", self.inboxes[core], len(arrived))

    def _outboxes(self) -> Iterator[NDArray[Any]]:
        for core in self.cores:
            size = core.read(core.address("core_outbox_size"), np.dtype("<i4"), ())
            yield core.read(core.address("core_outbox"), MESSAGE, (int(size),))
