"""What narrow integers cost in accuracy, and what they save: a table over widths and circuits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pvae_neuro.cost import cost_of
from pvae_neuro.errors import InputError, QualityError
from pvae_neuro.exporters.lowerings import lowering_of, topologies
from pvae_neuro.exporters.quantize import QuantizeConfig
from pvae_neuro.narrow.trials import Trial, Trials
from pvae_neuro.network import IntegerNetwork, OneToOne
from pvae_neuro.network.connection import MANTISSA_BITS
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import MOST_ITERATIONS
from pvae_neuro.sim.noise import check_seed, check_whole
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import StageProgress, shown_stages
from pvae_neuro.verification.stability import TRIAL_STEPS

# Counting what a network does takes longer than to run it.
COUNTED_IMAGES = 8
WEIGHT_BITS = (2, 3, 4, 5, 6, 8, 12, 16)


@dataclass(frozen=True)
class Point:
    """Integers of some widths.

    Attributes
    ----------
    trial : Trial
        Distance from float.
    weight_bytes, state_bytes : float
        Of all synapses, those of the way back once more since another core holds them, and of all
        variables, by the widths that their values need.
    synops, messages : float
        Per image and iteration, over the first images.
    best : bool
        Whether no other point has less memory and a lower MSE.
    """

    trial: Trial
    weight_bytes: float
    state_bytes: float
    synops: float
    messages: float
    best: bool = False

    @property
    def kilobytes(self) -> float:
        """Of synapses and variables together."""
        return (self.weight_bytes + self.state_bytes) / 1000

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        own = {name: value for name, value in vars(self).items() if name != "trial"}
        return {**asdict(self.trial), **own, "kilobytes": self.kilobytes}


@dataclass(frozen=True, eq=False)
class Pareto:
    """What :func:`pareto` found.

    Attributes
    ----------
    points : tuple of Point
    refused : tuple of Trial
        Widths that give no network, and why.
    samples, steps, seed : int
    """

    points: tuple[Point, ...]
    refused: tuple[Trial, ...]
    samples: int
    steps: int
    seed: int

    def __repr__(self) -> str:
        return f"<Pareto: {len(self.points)} networks on {self.samples} images>"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "samples": self.samples,
            "steps": self.steps,
            "seed": self.seed,
            "points": [point.to_dict() for point in self.points],
            "refused": [asdict(trial) for trial in self.refused],
        }


@checked
def pareto(
    model: SavedModel,
    calibration: ArrayLike,
    inputs: ArrayLike,
    *,
    circuits: Sequence[str] | None = None,
    weight_bits: Sequence[int] = WEIGHT_BITS,
    frac_bits: Sequence[int] = (14,),
    latent_units: bool = False,
    compensate: bool = False,
    steps: int = 128,
    seed: int = 0,
    stability_steps: int = TRIAL_STEPS,
    progress: StageProgress | bool | None = None,
) -> Pareto:
    """Measure networks of several widths: distance from float, memory, and what they do.

    Parameters
    ----------
    model : SavedModel
    calibration : array_like [N, M] or [N, H, W]
        What scales are chosen by.
    inputs : array_like [N, M] or [N, H, W]
        What is measured on.
    circuits : sequence of str, optional
        By default all that the model is lowered to.
    weight_bits, frac_bits : sequence of int
        Widths of weights that a circuit does not take are left out.
    latent_units, compensate : bool
        As of :class:`QuantizeConfig`, for the circuits and widths that have it.
    steps : int
        Iterations; figures are means over the second half.
    seed : int
        Of the random words.
    stability_steps : int
        Iterations of the trial of networks that inhibit themselves.
    progress : callable, True or False, optional
        Told (stage, image-iterations done, of how many); True shows a bar, False nothing. By
        default a terminal shows a bar and a notebook a line now and then.

    Raises
    ------
    InputError
        If an argument is out of range.
    QualityError
        If there is no network of any of these widths.
    """
    steps, seed = check_whole("steps", steps, 2, MOST_ITERATIONS), check_seed(seed)
    family = model.config.family
    options = QuantizeConfig(latent_units=latent_units, compensate=compensate)
    configs = {
        name: _configs(replace(options, topology=name), family, weight_bits, frac_bits)
        for name in _named(circuits, family)
    }
    if not any(configs.values()):
        raise InputError(
            f"weight_bits: expected a width that {' or '.join(configs)} of {family} takes, got "
            f"{', '.join(map(str, weight_bits))}"
        )
    declared = model.config.declared_input
    images, scaled_by = declared.floats(inputs), declared.floats(calibration)
    points, refused = list[Point](), list[Trial]()
    with shown_stages(progress, "pareto: ") as tell:
        for name, wanted in configs.items():
            told = partial(_named_stage, tell, name)
            trials = Trials(model, scaled_by, images, name, steps, seed, told, stability_steps)
            for config in wanted:
                trial, network = trials.of(config)
                if network is None:
                    refused.append(trial)
                    continue
                counted = cost_of(
                    network, images[:COUNTED_IMAGES], steps=steps, seed=seed, progress=False
                ).means()
                memory = _weight_bits(network) / 8, _state_bits(network) / 8
                points.append(Point(trial, *memory, counted["synops"], counted["messages"]))
    if not points:
        reasons = "; ".join(str(trial) for trial in refused)
        raise QualityError(f"pareto: expected a network of at least one width; {reasons}")
    return Pareto(_marked(points), tuple(refused), len(images), steps, seed)


def _named(circuits: Sequence[str] | None, family: str) -> tuple[str, ...]:
    # Refuses a family, or a circuit, that there is not.
    if circuits is None:
        lowering_of(None, family)
        return topologies(family)
    return tuple(dict.fromkeys(lowering_of(name, family).name for name in circuits))


def _configs(
    options: QuantizeConfig, family: str, weight_bits: Sequence[int], frac_bits: Sequence[int]
) -> list[QuantizeConfig]:
    """Widths that a circuit takes, with what it has of the options."""
    if not weight_bits or not frac_bits:
        raise InputError("pareto: expected at least one width of weights and of the potential")
    lowering = lowering_of(options.topology, family)
    # Refuses widths that no circuit has.
    wanted = [
        replace(options, weight_bits=weight, frac_bits=frac)
        for weight in weight_bits
        for frac in frac_bits
    ]
    return [
        replace(
            config,
            latent_units=config.latent_units
            and lowering.latent_units
            and config.weight_bits <= MANTISSA_BITS,
            compensate=config.compensate and lowering.compensates,
        )
        for config in wanted
        if config.weight_bits <= lowering.most_weight_bits
    ]


def _named_stage(tell: StageProgress, name: str, stage: str, done: int, of: int) -> None:
    tell(f"{name}, {stage}", done, of)


def _weight_bits(network: IntegerNetwork) -> int:
    """Bits of all synapses; connections of ones need no memory for them."""
    return sum(
        c.weight.size * (1 + int(np.abs(c.weight.astype(np.int64)).max(initial=0)).bit_length())
        for c in network.connections
        if not (isinstance(c, OneToOne) and c.is_identity)
    )


def _state_bits(network: IntegerNetwork) -> int:
    """Bits of all variables, by the ranges that are proved of them."""
    bounds = network.ranges.variables
    return sum(
        network.population_of[name.partition(".")[0]].size * bounds[name].bits
        for name in network.variables
    )


def _marked(points: list[Point]) -> tuple[Point, ...]:
    """Points, those marked to which no other is preferable."""
    return tuple(
        replace(
            point,
            best=not any(
                other.kilobytes <= point.kilobytes and other.trial.mse < point.trial.mse
                for other in points
            ),
        )
        for point in points
    )
