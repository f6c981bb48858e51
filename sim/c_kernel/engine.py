"""Engine ``c``: the network's C library, on this machine or on an emulated processor."""

from __future__ import annotations

import shlex

from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.exporters.c import Layout, c_source, layout_of
from pvae_neuro.exporters.c.connections import CALLS
from pvae_neuro.exporters.c.operations import EXPRESSIONS
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.c_kernel.compiler import compiled, host_compiler
from pvae_neuro.sim.c_kernel.image import Image
from pvae_neuro.sim.c_kernel.processors import REMEDY, build, processor_of, require_emulation
from pvae_neuro.sim.c_kernel.samples import run_samples
from pvae_neuro.sim.c_kernel.session import EmulatedSession, HostSession, Session
from pvae_neuro.sim.checks import Check, package_check
from pvae_neuro.sim.engine import Block, BlockResult, Engine

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
        return run_samples(block, self.session(block.network))
