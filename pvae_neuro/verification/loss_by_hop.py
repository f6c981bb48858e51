"""What rounding costs, hop by hop: which program of a network loses most against its float model.

The network runs in real numbers with its own weights and constants, and one program at a time is
rounded as the integers round it, under the same random words. A program's loss is the mean squared
error that its rounding adds; that of weights and constants is what the network in real numbers
lies above the float circuit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.saturation import Saturation, SaturationCount
from pvae_neuro.network import FloatCircuit, IntegerNetwork
from pvae_neuro.network.partly_rounded import (
    Hop,
    hops,
    late_errors,
    percent_above,
    reconstructed,
    run_partly_rounded,
)
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import MOST_ITERATIONS
from pvae_neuro.sim.noise import check_seed, check_whole, population_noise
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import Advance, shown_advance
from pvae_neuro.verification.verify import float_circuit

WEIGHTS, ALL = "weights and constants", "all of it"


@dataclass(frozen=True)
class Loss:
    """What one part of quantization costs.

    Attributes
    ----------
    part : str
        ``population.program`` that alone is rounded; or ``weights and constants``, the network in
        real numbers against float; or ``all of it``, the integers: against float where a model is
        given, else against the network in real numbers.
    mse_percent, error : float
        Mean squared error above that of what it is compared with, in percent of it, mean over the
        second half of the iterations; its standard error over images, each paired with itself.
    sets : tuple of str
        Variables, ``population.variable``, that the program sets; empty for the other parts.
    """

    part: str
    mse_percent: float
    error: float
    sets: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.part}: MSE {self.mse_percent:+.2f} ± {self.error:.2f} %"


@dataclass(frozen=True, eq=False)
class LossByHop:
    """Losses of all parts of a network.

    Attributes
    ----------
    losses : tuple of Loss
        Weights and constants where a model was given, every hop in the order of the schedule, all.
    saturations : tuple of Saturation
        Values at their limits in the run of the integers.
    samples, steps, seed : int
    """

    losses: tuple[Loss, ...]
    saturations: tuple[Saturation, ...]
    samples: int
    steps: int
    seed: int

    def __repr__(self) -> str:
        return f"<LossByHop of {self.samples} images, {self.steps} iterations: {self.worst}>"

    @property
    def worst(self) -> Loss:
        """The part that loses most by itself."""
        return max(
            (loss for loss in self.losses if loss.part != ALL), key=lambda loss: loss.mse_percent
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "samples": self.samples,
            "steps": self.steps,
            "seed": self.seed,
            "worst": self.worst.part,
            "losses": [vars(loss) for loss in self.losses],
            "saturations": [each.to_dict() for each in self.saturations],
        }


@checked
def loss_by_hop(
    network: IntegerNetwork,
    inputs: ArrayLike,
    model: SavedModel | None = None,
    *,
    steps: int = 32,
    seed: int = 0,
    progress: Advance | bool | None = None,
) -> LossByHop:
    """Measure what each part of quantization costs.

    Parameters
    ----------
    network : IntegerNetwork
        With a readout.
    inputs : array_like [N, M] or [N, H, W]
        At least two images in the declared range; some tens tell tenths of a percent.
    model : SavedModel, optional
        The float model that the network was lowered from; without it weights and constants are
        left out.
    steps : int
        Iterations.
    seed : int
        Of the random words.
    progress : callable, True or False, optional
        Told image-iterations done since the last call; True shows a bar, False nothing. By default
        a terminal shows a bar and a notebook a line now and then.

    Raises
    ------
    InputError
        If there are fewer than two images, the network has no readout, or it was not lowered from
        this model.
    NetworkError
        If a word of the network could leave its width.
    """
    steps = check_whole("steps", steps, 1, MOST_ITERATIONS)
    seed = check_seed(seed)
    images = network.input.check(inputs).astype(np.float64)
    if len(images) < 2:
        raise InputError("loss by hop: expected at least 2 images to take a standard error of")
    if network.readout is None:
        raise InputError(f"loss by hop: the network {network.name!r} has no readout to judge by")
    network.require_proof()
    circuit = None if model is None else float_circuit(network, model)
    parts = hops(network)
    work = number_of_runs(network, model) * steps * len(images)
    with shown_advance(progress, "loss by hop", work) as tell:
        run = _Runs(network, images, steps, seed, tell)
        exact = run.rounded(())
        alone = [
            Loss(".".join(hop), *percent_above(run.rounded([hop]), exact), _sets(network, hop))
            for hop in parts
        ]
        count = SaturationCount(network)
        integers, losses = run.rounded(parts, count), list[Loss]()
        by_float = exact
        if circuit is not None:
            by_float = run.by_float(circuit)
            losses.append(Loss(WEIGHTS, *percent_above(exact, by_float)))
        losses += [*alone, Loss(ALL, *percent_above(integers, by_float))]
    return LossByHop(tuple(losses), count.found, len(images), steps, seed)


def _sets(network: IntegerNetwork, hop: Hop) -> tuple[str, ...]:
    program = network.population_of[hop[0]].program(hop[1])
    return tuple(f"{hop[0]}.{output.variable}" for output in program.outputs)


def number_of_runs(network: IntegerNetwork, model: SavedModel | None) -> int:
    """How often :func:`loss_by_hop` runs all images: once for each hop, for all, and for none."""
    return len(hops(network)) + 2 + (model is not None)


class _Runs:
    """Runs on the same images under the same words."""

    def __init__(
        self,
        network: IntegerNetwork,
        images: NDArray[np.float64],
        steps: int,
        seed: int,
        progress: Advance,
    ) -> None:
        self.network, self.images, self.steps, self.progress = network, images, steps, progress
        places = range(len(images))
        self.words = {
            p.name: population_noise(p, seed, range(steps + 1), places) for p in network.drawing
        }

    def rounded(
        self, parts: Collection[Hop], count: SaturationCount | None = None
    ) -> NDArray[np.float64]:
        """Mean squared error of each image, with these programs rounded: float64 [B]."""
        states = run_partly_rounded(self.network, self.images, self.words, self.steps, parts)
        counted = states if count is None else _counted(states, count)
        return self._errors(counted, partial(reconstructed, self.network))

    def by_float(self, circuit: FloatCircuit) -> NDArray[np.float64]:
        """Mean squared error of each image in the float circuit: float64 [B]."""
        return self._errors(circuit.run(self.images, self.words, self.steps), circuit.reconstruct)

    def _errors(
        self,
        states: Iterator[dict[str, NDArray[Any]]],
        picture: Callable[[dict[str, NDArray[Any]]], NDArray[Any]],
    ) -> NDArray[np.float64]:
        return late_errors(self._told(states), picture, self.images, self.steps)

    def _told(self, states: Iterator[dict[str, NDArray[Any]]]) -> Iterator[dict[str, NDArray[Any]]]:
        for step, state in enumerate(states):
            if step:
                self.progress(len(self.images))
            yield state


def _counted(
    states: Iterator[dict[str, NDArray[Any]]], count: SaturationCount
) -> Iterator[dict[str, NDArray[Any]]]:
    """Count the values of integers that are at their limits."""
    for state in states:
        count.add({name: state[name].astype(np.int32) for name in count.variables})
        yield state
