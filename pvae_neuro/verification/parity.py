"""The report of a verification, and the verdict that it comes to."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pvae_neuro.evaluation.figures import Figures
from pvae_neuro.evaluation.saturation import Saturation, remarks
from pvae_neuro.exporters.certify import Certificate
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.utils.show import show
from pvae_neuro.verification.against_float import (
    MOST_SEEDS,
    STANDARD_ERRORS,
    Distance,
    FloatResult,
)
from pvae_neuro.verification.integers import PairCheck
from pvae_neuro.verification.outcomes import (
    FAILED,
    LEAST_EXPLAINED,
    MOST_CAPPED,
    MOST_HELD,
    MOST_SILENT,
    PASSED,
    UNDECIDED,
    WITHIN_DECLARED,
)
from pvae_neuro.verification.traces import Traces

# To make an error smaller than by this takes more images than anybody has.
MOST_PROPOSED = 100.0


@dataclass(frozen=True, eq=False)
class ParityReport:
    """What was run, what came of it, and the verdict.

    Attributes
    ----------
    network : IntegerNetwork
        What was run.
    certificate : Certificate
        Ranges and samplers of the network.
    samples, steps, seed : int
        Images or sequences, iterations on each frame, and the first seed.
    seconds : dict of str to float
        Wall time per engine, without what it does once, such as compiling.
    pairs : tuple of PairCheck
    float_result : FloatResult or None
        None where no float model was given.
    figures : Figures or None
        Of the integers; None where the network has no readout of counts.
    traces : Traces or None
    held : float or None
        Share of neurons whose log-rate is at its upper bound after the last iteration, on the first
        engine; None where it was not recorded.
    hashes : dict of str to str
        SHA-256 of the values of images and float model, by what they are of.
    frames : int
        Frames of each sample; 1 for still images.
    reset : bool
        Whether every frame was a run of its own.
    saturations : tuple of Saturation
        Values at their limits on the first engine, over all steps, by variable.
    """

    network: IntegerNetwork
    certificate: Certificate
    samples: int
    steps: int
    seed: int
    seconds: dict[str, float]
    pairs: tuple[PairCheck, ...]
    float_result: FloatResult | None
    figures: Figures | None
    traces: Traces | None
    held: float | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    frames: int = 1
    reset: bool = False
    saturations: tuple[Saturation, ...] = ()

    def __repr__(self) -> str:
        engines = show(", ".join(self.seconds))[1:-1]
        return (
            f"<ParityReport {self.topology}: {self.outcome}, {self.samples} samples, "
            f"{self.steps} iterations on {engines}>"
        )

    def _repr_html_(self) -> str:
        from pvae_neuro.verification.report import report_fragment

        return report_fragment(self)

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write the report as a page, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            The ``.html`` file.

        Raises
        ------
        MissingDependencyError
            If jinja2 or matplotlib is not installed.
        InputError
            If the file cannot be written.
        """
        from pvae_neuro.verification.report import write_report

        write_report(path, self)

    @property
    def topology(self) -> str:
        """Name of the circuit."""
        return self.network.name

    @property
    def total_variation(self) -> float:
        """Of draws from their law, largest over every log-rate or log-odds that can be reached."""
        return self.certificate.total_variation

    @property
    def total_variation_limit(self) -> float:
        """What is accepted of :attr:`total_variation`."""
        return self.certificate.total_variation_limit

    @property
    def passed(self) -> bool:
        """Whether the outcome is ``passed``."""
        return self.outcome == PASSED

    @cached_property
    def outcome(self) -> str:
        """The verdict.

        ``failed``
            Engines differ, the sampler is not Poisson, the network explains nothing of the images,
            or it is farther from float than the tolerances and than its file declares.
        ``within-declared``
            Nothing but this: it is farther from float than the tolerances, and not farther than
            its file declares.
        ``undecided``
            Nothing failed, and the images do not suffice to know the distance from float.
        ``passed``
            None of these.
        """
        if self.faults or any(not d.within(self._declared(d)) for d in self._beyond()):
            return FAILED
        if any(self._beyond()):
            return WITHIN_DECLARED
        return UNDECIDED if any(self._doubts()) else PASSED

    @cached_property
    def failures(self) -> tuple[str, ...]:
        """A sentence for each reason why the outcome is not ``passed``; empty if it is."""
        beyond = (self._sentence(distance) for distance in self._beyond())
        return (*self.faults, *beyond, *self._doubts())

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each figure that asks for a look, though it decides nothing."""
        return tuple(self._remarks())

    @cached_property
    def faults(self) -> tuple[str, ...]:
        """Those of :attr:`failures` that have nothing to do with the distance from float."""
        return tuple(self._found_faults())

    def _found_faults(self) -> Iterator[str]:
        for p in self.pairs:
            if not p.passed:
                yield (
                    f"{p.a} against {p.b}: {p.differing_integers} of {p.compared_integers} "
                    f"integers differ; {p.first_divergence}"
                )
        if self.total_variation > self.total_variation_limit:
            yield (
                f"sampler: total variation {self.total_variation:.2e} from {self.certificate.law}, "
                f"bound {self.total_variation_limit:g}"
            )
        if self.explains_nothing:
            by_float = self.float_result and self.float_result.by_float.final()["r2_mean_image"]
            model = "" if by_float is None else f", its float model {by_float:.3g}"
            yield (
                f"the network explains nothing of these images: after {self.steps} iterations R² "
                f"about the mean image is {self._explained:.3g}{model}, expected at least "
                f"{LEAST_EXPLAINED}"
            )

    @property
    def explains_nothing(self) -> bool:
        """Whether R² about the mean image is below what a network must reach.

        False for a network that was lowered from no model: it may read anything out.
        """
        return self.network.family is not None and not self._explained >= LEAST_EXPLAINED

    @property
    def _explained(self) -> float:
        """R² about the mean image at the end; 1 where it is not defined."""
        last = math.nan if self.figures is None else self.figures.final()["r2_mean_image"]
        varied = self.figures is not None and not math.isnan(self.figures.r2_mean_image[0])
        return last if varied else 1.0

    def _beyond(self) -> tuple[Distance, ...]:
        """Distances from float beyond their tolerances."""
        found = () if self.float_result is None else self.float_result.distances
        return tuple(distance for distance in found if distance.failed)

    def _declared(self, distance: Distance) -> float | None:
        """What the file declares of a distance."""
        measured = self.network.measurements
        return {"MSE": measured.mse_percent, "zeros": measured.zeros_points}[distance.name]

    def _sentence(self, distance: Distance) -> str:
        declared = self._declared(distance)
        within = (
            f"; within the {declared:g}{distance.unit} that the file declares of itself"
            if declared is not None and distance.within(declared)
            else ""
        )
        return f"integer against float: {distance}, tolerance {distance.limit}{within}"

    def _doubts(self) -> Iterator[str]:
        """Why the distance from float is not known."""
        result = self.float_result
        if result is None:
            return
        if result.samples < 2:
            yield "integer against float: a single image says nothing of others; give at least 2"
            return
        if self.figures is not None and math.isnan(self.figures.r2_mean_image[0]):
            yield (
                "integer against float: the images do not differ from each other, so they cannot "
                "tell what the network explains; give images that differ"
            )
        for distance in result.distances:
            if distance.undecided:
                yield _unknown(distance, result)

    def _remarks(self) -> Iterator[str]:
        # What somebody's own network does at its bounds is its own affair.
        if self.network.family is not None:
            yield from remarks(self.saturations)
        if self.figures is None:
            return
        last = self.figures.final()
        if last["r2_mean_image"] < 0:
            yield (
                f"R² about the mean image is {last['r2_mean_image']:.3g}: the mean image alone "
                f"would be nearer to these images than what the network makes of them"
            )
        if last["zeros"] > MOST_SILENT:
            yield f"{100 * last['zeros']:.2f} % of all neurons are silent"
        sampler = self.network.latents and self.network.latents.sampler
        cap = f"{sampler.max_count}, the largest count" if sampler else "the largest count"
        advice = "a larger one may be needed, or calibration on images like these"
        beyond = 0.0 if self.float_result is None else self.float_result.by_float.final()["capped"]
        if beyond > MOST_CAPPED:
            yield f"{100 * beyond:.2g} % of the float model's counts reach {cap}; {advice}"
        if last["capped"] > MOST_CAPPED:
            yield f"{100 * last['capped']:.2g} % of all counts are at {cap}; {advice}"
        if self.held is not None and self.held > MOST_HELD:
            yield (
                f"{100 * self.held:.2g} % of all neurons are at the largest log-rate for which "
                f"counts stay below {cap}; {advice}"
            )
        if self.float_result is not None:
            mse = self.float_result.mse
            if mse.value + mse.margin < -mse.tolerance:
                yield (
                    f"{mse}: the network reconstructs better than its float model, so it does not "
                    f"follow it; this is no failure"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "passed": self.passed,
            "outcome": self.outcome,
            "failures": list(self.failures),
            "warnings": list(self.warnings),
            "topology": self.topology,
            "samples": self.samples,
            "steps": self.steps,
            "seed": self.seed,
            "frames": self.frames,
            "reset": self.reset,
            "engines": [{"name": n, "seconds": s} for n, s in self.seconds.items()],
            "pairs": [p.to_dict() for p in self.pairs],
            "figures": None if self.figures is None else self.figures.final(),
            "by_frame": None if self.figures is None else self.figures.by_frame(),
            "held": self.held,
            "saturations": [each.to_dict() for each in self.saturations],
            "hashes": self.hashes,
            "float_against_integer": (
                None if self.float_result is None else self.float_result.to_dict()
            ),
            "sampler": {
                "max_total_variation": self.total_variation,
                "limit": self.total_variation_limit,
                "passed": self.total_variation <= self.total_variation_limit,
            },
        }


def _rounded(images: float) -> str:
    """A number of images, up, to one digit."""
    scale = 10 ** max(0, math.floor(math.log10(images)))
    return f"{math.ceil(images / scale) * scale:,}"


def _unknown(distance: Distance, result: FloatResult) -> str:
    """Say that a distance is not known, and how many images would tell."""
    wanted = distance.tolerance / 2
    text = (
        f"integer against float: {distance}, over {result.samples} images and {result.seeds} "
        f"seeds, is not known to within {wanted:g}{distance.unit}"
    )
    if result.seeds < MOST_SEEDS:
        text += f", nor would it be after {MOST_SEEDS}"
    # Errors fall with the root of the number of images.
    share = STANDARD_ERRORS * distance.least_error / wanted if wanted else math.inf
    if not share <= MOST_PROPOSED:
        return f"{text}; give a wider tolerance"
    images = _rounded(result.samples * max(share, 1.0) ** 2)
    return f"{text}; give about {images} images, or a wider tolerance"
