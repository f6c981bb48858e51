"""The first place where two runs of a network differ, in the order in which a network computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import Activation, IntegerNetwork
from pvae_neuro.sim.frames import Frames

Trajectories = Mapping[str, NDArray[Any]]
"""Variables by ``population.variable``, each int [N, T + 1, n]."""


@dataclass(frozen=True)
class Divergence:
    """One integer that differs.

    Attributes
    ----------
    population, variable : str
    step : int
        Iteration, from 0, within the frame; their number for what ``final`` leaves.
    sample, neuron : int
    a, b : int
        What each run has there.
    final : bool
        Whether it is of what ``final`` leaves.
    frame : int or None
        Number of the frame, from 0; None for still images.
    """

    population: str
    variable: str
    step: int
    sample: int
    neuron: int
    a: int
    b: int
    final: bool = False
    frame: int | None = None

    def __str__(self) -> str:
        place = when(self.step, self.final, self.frame)
        return (
            f"{self.population}.{self.variable} differs first {place}, "
            f"neuron {self.neuron} (sample {self.sample}): {self.a} against {self.b}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; ``iteration`` is null for what ``final`` leaves."""
        fields = asdict(self)
        step, final, frame = fields.pop("step"), fields.pop("final"), fields.pop("frame")
        place = {} if frame is None else {"frame": frame + 1}
        return {**fields, **place, "iteration": None if final else step + 1}


def when(step: int, final: bool, frame: int | None = None) -> str:
    """A step of a recording in words; frames and iterations are counted from 1."""
    words = "after the last iteration" if final else f"in iteration {step + 1}"
    return words if frame is None else f"{words} on frame {frame + 1}"


@dataclass(frozen=True)
class Comparison:
    """Outcome of :func:`compare`.

    Attributes
    ----------
    differing, compared : int
        How many integers.
    first : Divergence or None
    """

    differing: int
    compared: int
    first: Divergence | None


def compare(
    network: IntegerNetwork,
    a: Trajectories,
    b: Trajectories,
    first_sample: int = 0,
    frames: Frames | None = None,
) -> Comparison:
    """Compare the trajectories of two runs, integer by integer.

    Of all differences the first is the one of the earliest step; within a step, of the variable
    that the schedule sets first; within that, of the first sample and neuron.

    Parameters
    ----------
    network : IntegerNetwork
    a, b : mapping of str to int [N, T + 1, n]
        The same variables of the same samples.
    first_sample : int
        Index of the first sample, for the result.
    frames : Frames, optional
        How the runs went through their frames; by default they are of still images.

    Raises
    ------
    InputError
        If the runs hold different variables, or arrays of different shapes.
    """
    if set(a) != set(b):
        raise InputError(f"compare: expected the same variables, got {sorted(a)} and {sorted(b)}")
    differing = compared = 0
    earliest: dict[str, int] = {}
    steps = 0
    for name in a:
        if a[name].shape != b[name].shape:
            raise InputError(
                f"compare: {name}: expected one shape, got {list(a[name].shape)} and "
                f"{list(b[name].shape)}"
            )
        steps = a[name].shape[1]
        compared += a[name].size
        unequal = a[name] != b[name]
        count = int(np.count_nonzero(unequal))
        differing += count
        if count:
            earliest[name] = int(np.argmax(unequal.any(axis=(0, 2))))
    if not earliest:
        return Comparison(0, compared, None)
    step = min(earliest.values())
    candidates = [name for name, found in earliest.items() if found == step]
    frame, iteration, final = (frames or Frames(1, steps - 1)).place(step)
    order = computing_order(network, final)
    name = min(candidates, key=order.index)
    sample, neuron = np.argwhere(a[name][:, step] != b[name][:, step])[0].tolist()
    population, _, variable = name.partition(".")
    values = int(a[name][sample, step, neuron]), int(b[name][sample, step, neuron])
    first = Divergence(
        population, variable, iteration, first_sample + sample, neuron, *values, final, frame
    )
    return Comparison(differing, compared, first)


def computing_order(network: IntegerNetwork, after_final: bool = False) -> list[str]:
    """Variables in the order in which the schedule first sets them.

    ``after_final`` begins with those that ``final`` sets.
    """
    activations: tuple[Activation, ...] = network.iteration
    if after_final:
        activations = (*network.final, *network.iteration)
    set_by = [
        f"{activation.population}.{output.variable}"
        for activation in activations
        for output in network.population_of[activation.population]
        .program(activation.program)
        .outputs
    ]
    return list(dict.fromkeys((*set_by, *network.variables)))
