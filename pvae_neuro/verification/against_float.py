"""Compare integers with the float circuit, under the same random words.

**Figures.** A figure of an image is its mean over seeds; of a sequence of frames, its mean over the
last iterations on each frame too. The MSE of the integers is compared with
float's as a ratio of means over images, zeros as a difference of such means.

**Standard errors.** Both trajectories of an image and seed share every random word, so their errors
are correlated and the paired difference has a small spread. Seeds of one image share that image, so
they are one observation, not several: errors are taken over images, of their means over seeds. For
the ratio r of n images with float errors f and integer errors g the error is that of the mean of
g - r f over the mean of f (the delta method). It shrinks with seeds only as far as random words
cause the spread; what images differ in by themselves takes more images. The spread over the seeds
of an image tells these two apart, and so what error the largest number of seeds would leave.

**Verdict.** A distance is known well enough once three standard errors are at most half of its
tolerance; then it is compared with the tolerance as it is. Before, it fails only if it lies beyond
the tolerance by more than three standard errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.figures import (
    Figures,
    Floats,
    ImageFigures,
    Images,
    Sums,
    frame_variances,
)
from pvae_neuro.sim.frames import Frames
from pvae_neuro.utils.arguments import check_fields
from pvae_neuro.verification.outcomes import FAILED, PASSED, UNDECIDED

STANDARD_ERRORS = 3.0
MOST_SEEDS = 64
# Images that differ too much are given up once this many seeds foresee it, by this factor.
LEAST_SEEDS, HOPELESS = 8, 1.5


@dataclass(frozen=True)
class Tolerances:
    """How far integers may be from float.

    Attributes
    ----------
    mse_percent : float
        Mean squared error after the last iteration, above that of float, in percent of it. To be
        below is no fault.
    zeros_points : float
        Share of silent neurons after the last iteration, to either side, in percentage points.

    Of inputs that change in time both are means over the last iterations on all frames.

    Raises
    ------
    InputError
        If one is negative or not finite.
    """

    mse_percent: float = 1.0
    zeros_points: float = 0.3

    def __post_init__(self) -> None:
        check_fields(self)
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise InputError(
                    f"Tolerances: {name}: expected a finite number of at least 0, got {value}"
                )


@dataclass(frozen=True)
class Distance:
    """How far a figure of the integers is from that of float.

    Attributes
    ----------
    name, unit : str
    value : float
        Signed.
    error : float
        One standard error; infinite for a single image.
    least_error : float
        What is expected of it after the largest number of seeds.
    tolerance : float
    two_sided : bool
        Whether a figure below float's counts too.
    """

    name: str
    unit: str
    value: float
    error: float
    least_error: float
    tolerance: float
    two_sided: bool

    @property
    def size(self) -> float:
        """What is compared with the tolerance; infinite for what is not a number."""
        if math.isnan(self.value):
            return math.inf
        return abs(self.value) if self.two_sided else self.value

    @property
    def margin(self) -> float:
        """Three standard errors."""
        return STANDARD_ERRORS * self.error

    @property
    def known(self) -> bool:
        """Whether three standard errors are at most half of the tolerance."""
        return self.margin <= self.tolerance / 2

    @property
    def failed(self) -> bool:
        """Whether it lies beyond the tolerance: as known, or for certain."""
        return self.size > self.tolerance and (
            self.known or not self.size - self.margin <= self.tolerance
        )

    @property
    def undecided(self) -> bool:
        """Whether it is neither known well enough nor beyond the tolerance for certain."""
        return not self.failed and not self.known

    @property
    def outcome(self) -> str:
        """``passed``, ``failed`` or ``undecided``."""
        return FAILED if self.failed else UNDECIDED if self.undecided else PASSED

    @property
    def hopeless(self) -> bool:
        """Whether it is undecided and more seeds are not expected to change that."""
        least = STANDARD_ERRORS * self.least_error
        return self.undecided and least > HOPELESS * self.tolerance / 2

    def seeds_wanted(self, seeds: int) -> int:
        """How many seeds are expected to be enough to know it, when so many are in."""
        # The squared error is fixed + varying / seeds, and at best that for MOST_SEEDS.
        most = MOST_SEEDS if seeds > 1 else math.inf
        varying = (self.error**2 - self.least_error**2) / (1 / seeds - 1 / most)
        fixed = self.error**2 - varying / seeds
        room = (self.tolerance / 2 / STANDARD_ERRORS) ** 2 - fixed
        enough = room > 0 and varying <= room * MOST_SEEDS
        return max(seeds + 1, math.ceil(varying / room)) if enough else MOST_SEEDS

    def within(self, declared: float | None) -> bool:
        """Whether it lies within what was declared, which was measured on other images."""
        return declared is not None and self.size <= declared + self.margin

    def __str__(self) -> str:
        return f"{self.name} {self.value:+.3g} ± {self.margin:.2g}{self.unit}"

    @property
    def limit(self) -> str:
        """The tolerance in words."""
        return f"{'±' if self.two_sided else '+'}{self.tolerance:g}{self.unit}"


@dataclass(frozen=True, eq=False)
class FloatResult:
    """Figures of a float check.

    Attributes
    ----------
    by_float, by_integer : Figures
        Means over all images and seeds, by iteration.
    mse, zeros : Distance
        After the last iteration; of frames, means over the last iterations on each.
    mse_errors : float64 [T]
        One standard error of the distance of the MSE, in percent, by iteration; infinite for a
        single image.
    agreement : float or None
        Share of equal counts over all iterations of the first seed; None where nothing is drawn,
        since units and real numbers are hardly ever equal. Trajectories part where one
        count differs, so this says how near the potentials are and nothing of how good the network
        is; it is not judged.
    samples, seeds : int
    """

    by_float: Figures
    by_integer: Figures
    mse: Distance
    zeros: Distance
    mse_errors: Floats
    agreement: float | None
    samples: int
    seeds: int

    def __repr__(self) -> str:
        equal = "" if self.agreement is None else f"; counts agree in {self.agreement:.1%}"
        return f"<FloatResult: {self.mse}; {self.zeros}{equal}>"

    @property
    def distances(self) -> tuple[Distance, Distance]:
        """Those that are judged."""
        return self.mse, self.zeros

    @property
    def passed(self) -> bool:
        """Whether every distance is known and within its tolerance."""
        return all(d.outcome == PASSED for d in self.distances)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "samples": self.samples,
            "seeds": self.seeds,
            "mse_float": self.by_float.final()["mse"],
            "mse_integer": self.by_integer.final()["mse"],
            "mse_difference_percent": self.mse.value,
            "mse_difference_margin_percent": self.mse.margin,
            "mse_tolerance_percent": self.mse.tolerance,
            "zeros_float": self.by_float.final()["zeros"],
            "zeros_integer": self.by_integer.final()["zeros"],
            "zeros_difference_points": self.zeros.value,
            "zeros_difference_margin_points": self.zeros.margin,
            "zeros_tolerance_points": self.zeros.tolerance,
            "count_agreement": self.agreement,
            "float": self.by_float.final(),
            "integer": self.by_integer.final(),
            "float_by_iteration": self.by_float.curves(),
            "integer_by_iteration": self.by_integer.curves(),
            "float_by_frame": self.by_float.by_frame(),
            "integer_by_frame": self.by_integer.by_frame(),
            "passed": self.passed,
        }


class FloatCheck:
    """Comparison of an integer network with its float circuit, block by block and seed by seed.

    Parameters
    ----------
    images : float [N, F, M]
    held : Frames
        How runs go through the frames.
    tolerances : Tolerances
    """

    def __init__(self, images: Images, held: Frames, tolerances: Tolerances) -> None:
        self._images, self._held, self._tolerances = images, held, tolerances
        self._variances = frame_variances(images)
        # After the last iteration, by seed: figures of the integers, then of float, by image.
        self._mse: list[Floats] = []
        self._zeros: list[Floats] = []
        self._sums: list[Sums] = []
        # Errors by image and iteration, summed over seeds: of the integers, then of float.
        self._errors = np.zeros((2, len(images), 0))

    @property
    def seeds(self) -> int:
        """How many seeds are in."""
        return len(self._mse)

    def add(self, first: int, by_integer: ImageFigures, by_float: ImageFigures) -> None:
        """Add a block of one seed, in order; its first image has this index, 0 in a new seed."""
        rows = slice(first, first + len(by_float.error))
        both = by_integer, by_float
        if first == 0:
            self._mse.append(np.zeros((2, len(self._images))))
            self._zeros.append(np.zeros((2, len(self._images))))
        if not self._errors.size:
            self._errors = np.zeros((2, len(self._images), by_float.error.shape[1]))
        self._errors[:, rows] += [each.error for each in both]
        ends = self._held.at_ends
        self._mse[-1][:, rows] = [ends(each.error).mean(axis=1) for each in both]
        self._zeros[-1][:, rows] = [ends(each.zeros).mean(axis=1) for each in both]
        new = [Sums.of(each, self._images[rows], self._held) for each in both]
        self._sums = [a + b for a, b in zip(self._sums, new, strict=True)] if self._sums else new

    @property
    def distances(self) -> tuple[Distance, Distance]:
        """Of MSE and zeros, by what was added."""
        allowed = self._tolerances
        return self._relative(allowed.mse_percent), self._difference(allowed.zeros_points)

    def seeds_to_come(self) -> int:
        """How many more seeds are expected to decide; 0 where more would change no verdict."""
        undecided = [distance for distance in self.distances if distance.undecided]
        if not undecided or len(self._images) < 2 or self.seeds >= MOST_SEEDS:
            return 0
        # The spread over seeds tells from 2 of them, and tells well from LEAST_SEEDS.
        if any(distance.hopeless for distance in undecided):
            return max(0, LEAST_SEEDS - self.seeds)
        return max(distance.seeds_wanted(self.seeds) for distance in undecided) - self.seeds

    def result(self, agreement: float | None) -> FloatResult:
        """Return the figures of all that was added, and the distances."""
        by_integer, by_float = (sums.figures(self._variances) for sums in self._sums)
        mse, zeros = self.distances
        return FloatResult(
            by_float=by_float,
            by_integer=by_integer,
            mse=mse,
            zeros=zeros,
            mse_errors=self._relative_errors(),
            agreement=agreement,
            samples=len(self._images),
            seeds=self.seeds,
        )

    def _relative(self, tolerance: float) -> Distance:
        """How far the mean error of the integers is above that of float."""
        ours, theirs = np.stack(self._mse, axis=1)
        mean = float(theirs.mean())
        if mean == 0.0 or not math.isfinite(mean):
            # Of nothing, nothing is 0 % and anything else is infinite.
            of_nothing = math.inf if ours.any() else 0.0
            value = of_nothing if mean == 0.0 else math.nan
            return Distance("MSE", " %", value, 0.0, 0.0, tolerance, two_sided=False)
        ratio = float(ours.mean()) / mean
        errors = _errors(100 * (ours - ratio * theirs) / mean)
        return Distance("MSE", " %", 100 * (ratio - 1), *errors, tolerance, two_sided=False)

    def _relative_errors(self) -> Floats:
        """Standard error of the distance of the MSE, by iteration; NaN where it is not defined."""
        images = len(self._images)
        if images < 2:
            return np.full(self._errors.shape[2], math.inf)
        ours, theirs = self._errors / self.seeds
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            mean = theirs.mean(axis=0)
            spread = (ours - ours.mean(axis=0) / mean * theirs).std(axis=0, ddof=1)
            found: Floats = 100 * spread / mean / math.sqrt(images)
        return found

    def _difference(self, tolerance: float) -> Distance:
        """How far the share of zeros of the integers is from that of float."""
        ours, theirs = 100 * np.stack(self._zeros, axis=1)
        value, errors = float((ours - theirs).mean()), _errors(ours - theirs)
        return Distance("zeros", " points", value, *errors, tolerance, two_sided=True)


def _errors(values: Floats) -> tuple[float, float]:
    """Standard error of the mean over images, of values [seeds, images]: now, and at best.

    At best is what is expected of the largest number of seeds; a single image says nothing of
    others.
    """
    seeds, images = values.shape
    if images < 2:
        return math.inf, math.inf
    found = float(values.mean(axis=0).var(ddof=1)) / images
    if seeds < 2:
        return math.sqrt(found), 0.0
    by_seeds = float(values.var(axis=0, ddof=1).mean()) / images
    at_best = max(0.0, found - by_seeds / seeds) + by_seeds / MOST_SEEDS
    return math.sqrt(found), math.sqrt(at_best)
