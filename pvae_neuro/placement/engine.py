"""An engine that runs a split network and records the whole one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.placement.split import Split
from pvae_neuro.sim.engine import Block, BlockResult, Engine
from pvae_neuro.sim.reference import ReferenceEngine


class PlacedEngine(Engine):
    """Runs the parts of a network on another engine and puts their integers together.

    So ``verify(network, ..., engines=["reference", placement.engine()])`` compares
    every integer of a network with those of its parts.

    Parameters
    ----------
    split : Split
        The network and its parts.
    inner : Engine, optional
        Runs the parts; by default ``reference``.
    """

    name = "placed"

    def __init__(self, split: Split, inner: Engine | None = None) -> None:
        self.split = split
        self.inner = inner or ReferenceEngine()

    def require(self) -> None:
        """Raise what the inner engine raises if something that it needs is missing."""
        self.inner.require()

    def unsupported(self, network: IntegerNetwork) -> list[str]:
        """What the parts need and the inner engine lacks, one sentence each."""
        if network is not self.split.source and network != self.split.source:
            return [f"engine {self.name} runs the network that was split, and no other"]
        return self.inner.unsupported(self.split.network)

    def encode(self, network: IntegerNetwork, x: NDArray[np.int32]) -> dict[str, NDArray[np.int32]]:
        """Values of the parts' inputs, as the inner engine takes them."""
        return self.inner.encode(self.split.network, x)

    def block_size(self, network: IntegerNetwork, steps: int, record: tuple[str, ...]) -> int:
        """Samples that run at once."""
        return self.inner.block_size(network, steps, record)

    def run_block(self, block: Block) -> BlockResult:
        """Run a block; see :meth:`Engine.run_block`."""
        placed = self.split.network
        placed.require_proof()
        result = self.inner.run_block(
            replace(
                block,
                network=placed,
                record=tuple(name for whole in block.record for name in self._names(whole)),
            )
        )
        return BlockResult(
            {name: self._whole(name, result.last) for name in block.network.variables},
            {name: self._whole(name, result.variables) for name in block.record},
        )

    def _names(self, variable: str) -> list[str]:
        population, _, name = variable.partition(".")
        return [f"{part.name}.{name}" for part in self.split.parts[population]]

    def _whole(self, variable: str, found: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([found[name] for name in self._names(variable)], axis=-1)
