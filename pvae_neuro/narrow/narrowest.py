"""The narrowest weights and state within a tolerance of float.

One part of the inputs chooses, another judges: a width that was chosen for being good on some
images looks better there than it is. What fails before the judge gives way to the next wider one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError, QualityError
from pvae_neuro.exporters.calibrate import MAX_CALIBRATION_IMAGES, MAX_MOMENT_IMAGES
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.quantize import QuantizeConfig
from pvae_neuro.exporters.scales import LEAST_FRAC_BITS
from pvae_neuro.narrow.trials import Trial, Trials
from pvae_neuro.network.connection import MANTISSA_BITS
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import MOST_ITERATIONS
from pvae_neuro.sim.noise import check_seed, check_whole
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import StageProgress, shown_stages
from pvae_neuro.verification.stability import TRIAL_STEPS

# Those of calibration, those that its ranges are checked on, and those of compensation.
SCALED_BY = MAX_CALIBRATION_IMAGES + MAX_MOMENT_IMAGES
MOST_IMAGES = 512
"""Of each part, those that choose and those that judge."""
WANTED_IMAGES = SCALED_BY + 2 * MOST_IMAGES
FEW_IMAGES = 100
"""Fewer than these that choose or judge leave the widths to chance."""
NARROWEST_WEIGHTS = 2
# Far from the seeds of calibration, and from those of the measurement at export.
SEED = 1 << 33
LARGEST_TOLERANCE = 100.0
# Half of what an export accepts at most.
ZEROS_POINTS = 0.5


@dataclass(frozen=True, eq=False)
class Narrowest:
    """What :func:`narrowest` found.

    Attributes
    ----------
    config : QuantizeConfig
        With the widths that were found.
    tolerance : float
        Percent.
    judged : Trial
        On inputs that chose nothing.
    trials : tuple of Trial
        All that was tried, in order; the last ones are those of the judge.
    scaled_by : int
        How many of the inputs, from the first on, set the scales; export with these.
    chosen_on, judged_on : int
        How many inputs chose, and judged.
    """

    config: QuantizeConfig
    tolerance: float
    judged: Trial
    trials: tuple[Trial, ...]
    scaled_by: int
    chosen_on: int
    judged_on: int

    @property
    def few_inputs(self) -> bool:
        """Whether fewer than 100 inputs chose or judged: others may find other widths."""
        return min(self.chosen_on, self.judged_on) < FEW_IMAGES

    def __repr__(self) -> str:
        return f"<Narrowest within {self.tolerance:g} %: {self.judged}>"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **{n: getattr(self, n) for n in ("tolerance", "scaled_by", "chosen_on", "judged_on")},
            "weight_bits": self.config.weight_bits,
            "frac_bits": self.config.frac_bits,
            "few_inputs": self.few_inputs,
            "judged": asdict(self.judged),
            "trials": [asdict(trial) for trial in self.trials],
        }


@checked
def narrowest(
    model: SavedModel,
    inputs: ArrayLike,
    tolerance: float = 1.0,
    config: QuantizeConfig | None = None,
    *,
    steps: int = 128,
    seed: int = SEED,
    stability_steps: int = TRIAL_STEPS,
    progress: StageProgress | bool | None = None,
) -> Narrowest:
    """Find the narrowest weights, and then the narrowest state, within a tolerance.

    A width is within it where the mean squared error, plus two standard errors, is at most so far
    above float's, and the share of zeros is within half a point of it: more spikes must not buy
    what coarse weights lose. Rounding compensates where the circuit has it, since that costs
    nothing.

    Parameters
    ----------
    model : SavedModel
    inputs : array_like [N, M] or [N, H, W]
        The first 320 set the scales, where there are as many as 448, else the first 64. Half of the
        others, up to 512, choose, and the rest, up to 512, judges.
    tolerance : float
        Percent.
    config : QuantizeConfig, optional
        All but the width of weights; its fractional bits are the most.
    steps : int
        Iterations; the second half of them counts.
    seed : int
        Of the random words.
    stability_steps : int
        Iterations of the trial of networks that inhibit themselves.
    progress : callable, True or False, optional
        Told (stage, image-iterations done, of how many); True shows a bar, False nothing. By
        default a terminal shows a bar and a notebook a line now and then.

    Raises
    ------
    QualityError
        If no width is within the tolerance; says the best.
    InputError
        If an argument is out of range, or there are fewer than 68 inputs.
    """
    if not 0.0 < tolerance <= LARGEST_TOLERANCE:
        raise InputError(
            f"tolerance: expected percent above 0 and up to {LARGEST_TOLERANCE:g}, got "
            f"{tolerance:g}"
        )
    steps, seed = check_whole("steps", steps, 2, MOST_ITERATIONS), check_seed(seed)
    config = config or QuantizeConfig()
    lowering = lowering_of(config.topology, model.config.family)
    config = replace(config, compensate=config.compensate or lowering.compensates)
    images = model.config.declared_input.floats(inputs)
    scaled_by, choosing, judging = _parts(images)
    widest = MANTISSA_BITS if config.latent_units else lowering.most_weight_bits
    with shown_stages(progress, "widths: ") as tell:
        made = partial(
            Trials, model, images[:scaled_by], topology=config.topology, steps=steps,
            stability_steps=stability_steps,
        )  # fmt: skip
        search = _Search(config, tolerance, widest)
        chosen = search.choose(made(choosing, seed=seed, tell=partial(_prefixed, tell, "choose")))
        found = search.judge(
            chosen, made(judging, seed=seed + 1, tell=partial(_prefixed, tell, "judge"))
        )
    return Narrowest(
        found[0], tolerance, found[1], tuple(search.trials), scaled_by, len(choosing), len(judging)
    )


def _prefixed(tell: StageProgress, part: str, stage: str, done: int, of: int) -> None:
    tell(f"{part}, {stage}", done, of)


def _parts(images: NDArray[np.float32]) -> tuple[int, NDArray[Any], NDArray[Any]]:
    """How many inputs set the scales, those that choose, and those that judge."""
    many = len(images) >= SCALED_BY + 2 * MAX_CALIBRATION_IMAGES
    scaled_by = SCALED_BY if many else MAX_CALIBRATION_IMAGES
    left = images[scaled_by:]
    if len(left) < 4:
        raise InputError(
            f"narrowest: expected at least {MAX_CALIBRATION_IMAGES + 4} inputs, {scaled_by} for "
            f"the scales and others to choose and to judge by, got {len(images)}; give "
            f"{WANTED_IMAGES}"
        )
    half = len(left) // 2
    return scaled_by, left[:half][:MOST_IMAGES], left[half:][:MOST_IMAGES]


class _Search:
    """Widths that are tried, and what came of it."""

    def __init__(self, config: QuantizeConfig, tolerance: float, widest: int) -> None:
        self.config, self.tolerance, self.widest = config, tolerance, widest
        self.trials: list[Trial] = []

    def choose(self, trials: Trials) -> QuantizeConfig:
        """Narrowest weights at the full state, then the narrowest state with these weights."""
        within = partial(self._within, trials)
        weights = _least(NARROWEST_WEIGHTS, self.widest, lambda bits: within(self._config(bits)))
        if weights is None:
            # The widest may pass where it lost to chance here: the judge has the last word.
            return self._config(self.widest)
        state = _least(
            LEAST_FRAC_BITS, self.config.frac_bits, lambda bits: within(self._config(weights, bits))
        )
        return self._config(weights, state)

    def judge(self, chosen: QuantizeConfig, trials: Trials) -> tuple[QuantizeConfig, Trial]:
        """The first of the chosen widths and the next wider ones that is within the tolerance."""
        judged = list[Trial]()
        for config in self._wider(chosen):
            if self._within(trials, config):
                return config, self.trials[-1]
            judged.append(self.trials[-1])
        best = min(judged, key=lambda t: (not abs(t.zeros_points) <= ZEROS_POINTS, t.bound))
        raise QualityError(
            f"narrowest: no width keeps the MSE, plus two standard errors, within "
            f"{self.tolerance:g} % of float's, and zeros within {ZEROS_POINTS:g} points, on "
            f"held-out inputs; the best found, {best}",
            "tolerance",
        )

    def _wider(self, chosen: QuantizeConfig) -> Iterator[QuantizeConfig]:
        yield chosen
        if chosen.frac_bits < self.config.frac_bits:
            yield self._config(chosen.weight_bits)
        for bits in range(chosen.weight_bits + 1, self.widest + 1):
            yield self._config(bits)

    def _within(self, trials: Trials, config: QuantizeConfig) -> bool:
        trial, _ = trials.of(config)
        self.trials.append(trial)
        return self._is_within(trial)

    def _is_within(self, trial: Trial) -> bool:
        # Not-a-number is within nothing.
        return trial.bound <= self.tolerance and abs(trial.zeros_points) <= ZEROS_POINTS

    def _config(self, weight_bits: int, frac_bits: int | None = None) -> QuantizeConfig:
        bits = self.config.frac_bits if frac_bits is None else frac_bits
        return replace(self.config, weight_bits=weight_bits, frac_bits=bits)


def _least(low: int, high: int, within: Callable[[int], bool]) -> int | None:
    """Smallest number that is within, where all above it are too; None if ``high`` is not."""
    found = None
    while low <= high:
        middle = (low + high) // 2
        if within(middle):
            found, high = middle, middle - 1
        else:
            low = middle + 1
    return found
