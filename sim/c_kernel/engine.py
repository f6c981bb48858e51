"""Engine ``c``: the network's C library, on this machine or on an emulated processor."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.exporters.c import Layout, c_source, layout_of
from pvae_neuro.exporters.c.connections import CALLS
from pvae_neuro.exporters.c.operations import EXPRESSIONS
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.c_kernel.compiler import compiled, host_compiler
from pvae_neuro.sim.c_kernel.image import Image
from pvae_neuro.sim.c_kernel.processors import REMEDY, build, processor_of, require_emulation
from pvae_neuro.sim.c_kernel.session import EmulatedSession, HostSession, Session
from pvae_neuro.sim.checks import Check, package_check
from pvae_neuro.sim.engine import Block, BlockResult, Engine
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.recording import variable_dtype

_FLAGS = ("-std=c99", "-O3", "-shared", "-fPIC")
# Begins the names in the code, which is the same whatever a network is called.
_NAME = "kernel"


class CEngine(Engine):
    """Compiles a network's C library and runs it, a sample at a time.

    Parameters
    ----------
    processor : str, optional
        ``cortex-m4`` or ``i586``: build the library for it and emulate it. By default this machine.
    """

    name = "c"
    operations = frozenset(EXPRESSIONS) | {"word", "draw"}
    connection_kinds = frozenset(CALLS)

    def __init__(self, processor: str | None = None) -> None:
        self.processor = None if processor is None else processor_of(processor)

    def require(self) -> None:
        """Raise :class:`EngineUnavailableError` if there is no compiler, or no emulator."""
        if self.processor is None:
            host_compiler()
        else:
            require_emulation(self.processor)

    def checks(self) -> list[Check]:
        """The compiler, or what builds and emulates; runs nothing."""
        if self.processor is not None:
            return [package_check(name, REMEDY) for name in ("ziglang", "unicorn")]
        try:
            return [Check("compiler", True, shlex.join(host_compiler()))]
        except EngineUnavailableError as error:
            return [Check("compiler", False, "none", str(error))]

    def block_size(self, network: IntegerNetwork, steps: int, record: tuple[str, ...]) -> int:
        """Samples that run at once."""
        return min(64, super().block_size(network, steps, record))

    def session(self, network: IntegerNetwork) -> Session:
        """A library in memory, compiled once for a network."""
        key = "c" if self.processor is None else f"c {self.processor.name}"
        if key not in network.compiled:
            network.compiled[key] = self._compiled(network)
        layout, code = network.compiled[key]
        if self.processor is None:
            return HostSession(layout, code)
        return EmulatedSession(layout, code, self.processor)

    def _compiled(self, network: IntegerNetwork) -> tuple[Layout, bytes | Image]:
        files = c_source(network, _NAME, weights=False)
        layout = layout_of(network, _NAME)
        if self.processor is None:
            return layout, compiled(host_compiler(), _FLAGS, files)
        return layout, build(files, self.processor, f"{_NAME}_iteration")

    def run_block(self, block: Block) -> BlockResult:
        """Run a block; see :meth:`Engine.run_block`."""
        network, samples = block.network, len(block.samples)
        steps = range(block.first_step, block.first_step + block.steps)
        words = {
            p.name: population_noise(p, block.seed, steps, block.samples) for p in network.drawing
        }
        session = self.session(network)
        sizes = {
            name: network.population_of[name.partition(".")[0]].size for name in network.variables
        }
        last: dict[str, NDArray[Any]] = {
            name: np.empty((samples, size), variable_dtype(network, name))
            for name, size in sizes.items()
        }
        recorded = {
            name: np.empty((samples, block.steps, sizes[name]), last[name].dtype)
            for name in block.record
        }
        views = {name: session.variable(*name.split(".")) for name in (*sizes, *block.inputs)}
        drawn = {name: session.words(name) for name in words}
        for sample in range(samples):
            session.call("reset")
            for step in range(block.steps):
                is_last = step == block.steps - 1
                if not is_last and step % block.iterations == 0:
                    for name, frames in block.inputs.items():
                        views[name][:] = frames[step // block.iterations, sample]
                for name, view in drawn.items():
                    view[:] = words[name][sample, step]
                session.call("final" if is_last else "iteration")
                for name, array in recorded.items():
                    array[sample, step] = views[name]
            for name, array in last.items():
                array[sample] = views[name]
            block.advance(block.steps - 1)
        return BlockResult(last, recorded)
