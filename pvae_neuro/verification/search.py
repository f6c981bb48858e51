"""Search for a network on which an engine differs from ``reference``.

Networks are random and proved, over all word operations, connection kinds and kinds of schedule
(:mod:`pvae_neuro.network.random`). A trial is known by its seed and its number, so that any one can
be made again alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.network.random import random_inputs, random_networks
from pvae_neuro.sim.compare import compare
from pvae_neuro.sim.engine import Engine
from pvae_neuro.sim.recording import Recording
from pvae_neuro.sim.reference import ReferenceEngine


@dataclass(frozen=True, eq=False)
class Trial:
    """A network and a run of it.

    Attributes
    ----------
    seed, structure, number : int
        What it is made from: :func:`trials` with this seed gives it as that network of that
        structure.
    network : IntegerNetwork
    inputs : float [N, M] or [N, F, M]
    iterations : int
    noise_seed, first_sample : int
    """

    seed: int
    structure: int
    number: int
    network: IntegerNetwork
    inputs: NDArray[np.float64]
    iterations: int
    noise_seed: int
    first_sample: int

    @cached_property
    def expected(self) -> Recording:
        """What ``reference`` computes."""
        return self.run(ReferenceEngine())

    def run(self, engine: Engine) -> Recording:
        """Run the trial on an engine."""
        return engine.run(
            self.network,
            self.inputs,
            self.iterations,
            self.noise_seed,
            record="full",
            first_sample=self.first_sample,
            progress=False,
        )

    def difference(self, engine: Engine) -> str | None:
        """The first integer in which an engine differs from ``reference``; None if none does."""
        got = self.run(engine)
        found = compare(self.network, self.expected.variables, got.variables, self.first_sample)
        if found.first is not None:
            return f"{engine.name}: {found.first}"
        for name, figures in _figures(self.expected).items():
            if not np.array_equal(figures, _figures(got)[name]):
                return f"{engine.name}: {name} differs"
        return None


def _figures(recording: Recording) -> dict[str, Any]:
    """All that is not a variable at each step."""
    return {
        **{f"{name} after the last step": values for name, values in recording.last.items()},
        "spikes": recording.spikes,
        "active": recording.active,
        "saturated": recording.saturated,
        "squared_error": recording.squared_error,
        "reconstruction": recording.reconstruction,
    }


def trials(
    seed: int, structures: int, per_structure: int = 1, *, first: int = 0, **options: Any
) -> Iterator[Trial]:
    """Yield the trials of a seed.

    Parameters
    ----------
    seed : int
    structures : int
        How many structures to make.
    per_structure : int
        Networks of each structure: the same programs, other sizes and numbers. An engine that
        compiles programs does so once for them.
    first : int
        Number of the first structure.
    **options
        As for :func:`~pvae_neuro.network.random.random_network`.
    """
    for structure in range(first, first + structures):
        rng = np.random.default_rng([seed, structure])
        for number, network in enumerate(random_networks(rng, per_structure, **options)):
            frames = (None, None, 1, 2, 3)[int(rng.integers(5))]
            yield Trial(
                seed=seed,
                structure=structure,
                number=number,
                network=network,
                inputs=random_inputs(network, rng, int(rng.integers(1, 4)), frames),
                iterations=int(rng.integers(1, 5)),
                noise_seed=int(rng.integers(1 << 32)),
                first_sample=int(rng.integers(100)),
            )
