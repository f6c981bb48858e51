"""Tier 1 of the evidence: integers equal to integers, and where they part if they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Recording


@dataclass(frozen=True)
class Divergence:
    """First place at which two engines differ: earliest step, then sample, then neuron.

    Attributes
    ----------
    population : str
    quantity : str
        ``counts`` are drawn before the update of their step, ``potentials`` hold after it.
    sample, step, neuron : int
    a, b : int
        What each engine has there.
    """

    population: str
    quantity: str
    sample: int
    step: int
    neuron: int
    a: int
    b: int

    def __str__(self) -> str:
        return (
            f"{self.population}: {self.quantity} differ first at step {self.step}, neuron "
            f"{self.neuron} (sample {self.sample}): {self.a} against {self.b}"
        )


@dataclass
class PairCheck:
    """Comparison of two engines, over every count and potential of every step.

    Attributes
    ----------
    a, b : str
        Names of the engines.
    differing_integers, compared_integers : int
    first_divergence : Divergence or None
    """

    a: str
    b: str
    differing_integers: int = 0
    compared_integers: int = 0
    first_divergence: Divergence | None = None

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing differed."""
        return self.differing_integers == 0 and self.compared_integers > 0

    def add(
        self, network: IntegerNetwork, a: Recording, b: Recording, first_sample: int = 0
    ) -> None:
        """Compare two full recordings of the same block of samples.

        Parameters
        ----------
        network : IntegerNetwork
        a, b : Recording
            With counts and potentials.
        first_sample : int
            Index of the block's first sample, for the message.
        """
        name = network.latents.name
        found: list[Divergence] = []
        for quantity, left, right in _quantities(a, b):
            different = np.argwhere(left != right)
            self.compared_integers += left.size
            self.differing_integers += len(different)
            if len(different):
                sample, step, neuron = min(different.tolist(), key=lambda i: (i[1], i[0], i[2]))
                values = int(left[sample, step, neuron]), int(right[sample, step, neuron])
                found.append(
                    Divergence(name, quantity, first_sample + sample, step, neuron, *values)
                )
        # At one step counts come before potentials, the order in which the circuit makes them.
        if found and self.first_divergence is None:
            self.first_divergence = min(found, key=lambda d: (d.step, d.quantity, d.sample))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "passed": self.passed}


def _quantities(
    a: Recording, b: Recording
) -> Sequence[tuple[str, NDArray[np.integer[Any]], NDArray[np.integer[Any]]]]:
    if a.counts is None or b.counts is None or a.potentials is None or b.potentials is None:
        raise ValueError("comparison needs full recordings of both engines")
    # The readout is the count of the step after the last.
    left = np.concatenate([a.counts, a.readout[:, None]], axis=1)
    right = np.concatenate([b.counts, b.readout[:, None]], axis=1)
    return [("counts", left, right), ("potentials", a.potentials, b.potentials)]
