"""Tier 2 of the evidence: integers near the float model, under the same random words.

The two trajectories share every random word, so per sample their errors are strongly correlated
and the paired difference has a small standard error. A check passes if the mean difference lies
within the allowance plus three standard errors of that difference. The allowance is what 8-bit
networks are held to, or, if larger, what the artifact itself declares from its calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.float_model import FloatModel
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import Recording

Floats = NDArray[np.float64]
DECLARED_MSE = "declared mse difference, percent"
DECLARED_ZEROS = "declared zeros difference, points"
DECLARED_AGREEMENT = "declared count agreement"
STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Tolerances:
    """How far integers may be from float, before sampling noise is added.

    Attributes
    ----------
    mse_percent : float
        Mean squared error after the last iteration, relative, in percent.
    zeros_points : float
        Share of silent neurons after the last iteration, in percentage points.
    agreement : float
        Least share of equal counts over all iterations.
    """

    mse_percent: float = 0.5
    zeros_points: float = 0.2
    agreement: float = 0.98

    def widened(self, network: IntegerNetwork) -> Tolerances:
        """Return these, or what the network declares of itself where that is wider."""
        declared = {choice.name: choice.value for choice in network.choices}
        return Tolerances(
            max(self.mse_percent, declared.get(DECLARED_MSE, 0.0)),
            max(self.zeros_points, declared.get(DECLARED_ZEROS, 0.0)),
            min(self.agreement, declared.get(DECLARED_AGREEMENT, 1.0)),
        )


@dataclass(frozen=True, eq=False)
class FloatTrajectory:
    """What the float model did on a block of samples.

    Attributes
    ----------
    counts : float32 [B, T + 1, K]
        The last one is the readout.
    potentials : float32 [B, T, K]
        After each update, log-rate.
    """

    counts: NDArray[np.float32]
    potentials: NDArray[np.float32]


def run_float(
    model: FloatModel, images: NDArray[np.floating[Any]], words: NDArray[np.uint16]
) -> FloatTrajectory:
    """Run the float model on the words of T + 1 steps.

    Parameters
    ----------
    model : FloatModel
    images : float [B, M]
    words : uint16 [B, T + 1, K]
    """
    pairs = list(model.iterate(np.asarray(images, np.float32), words))
    return FloatTrajectory(
        np.stack([z for z, _ in pairs], axis=1), np.stack([u for _, u in pairs[:-1]], axis=1)
    )


@dataclass
class FloatCheck:
    """Comparison of the integer network with the float model, block by block.

    Attributes
    ----------
    tolerances : Tolerances
    mse_float, mse_integer : list of float64 [B, T]
        Squared error summed over pixels, after each update.
    zeros_float, zeros_integer : list of float64 [B, T]
        Share of neurons silent after each update.
    agreement : list of float64 [B]
        Share of equal counts.
    """

    tolerances: Tolerances = field(default_factory=Tolerances)
    mse_float: list[Floats] = field(default_factory=list)
    mse_integer: list[Floats] = field(default_factory=list)
    zeros_float: list[Floats] = field(default_factory=list)
    zeros_integer: list[Floats] = field(default_factory=list)
    agreement: list[Floats] = field(default_factory=list)

    def add(
        self,
        model: FloatModel,
        images: NDArray[np.floating[Any]],
        trajectory: FloatTrajectory,
        recording: Recording,
    ) -> None:
        """Take a block: the float trajectory and a full recording of the same samples."""
        if recording.counts is None or recording.squared_error is None:
            raise ValueError("the float check needs a full recording")
        counts = np.concatenate([recording.counts, recording.readout[:, None]], axis=1)
        reconstruction = trajectory.counts[:, 1:] @ model.dictionary.T
        error = (np.asarray(images, np.float32)[:, None] - reconstruction) ** 2
        self.mse_float.append(error.sum(axis=2, dtype=np.float64))
        self.mse_integer.append(recording.squared_error * recording.error_unit)
        self.zeros_float.append((trajectory.counts[:, 1:] == 0).mean(axis=2))
        self.zeros_integer.append((counts[:, 1:] == 0).mean(axis=2))
        self.agreement.append((trajectory.counts == counts).mean(axis=(1, 2)))

    def result(self) -> FloatResult:
        """Return the figures and the verdict."""
        mse = np.concatenate(self.mse_float), np.concatenate(self.mse_integer)
        zeros = np.concatenate(self.zeros_float), np.concatenate(self.zeros_integer)
        return FloatResult(
            mse_float=mse[0].mean(axis=0),
            mse_integer=mse[1].mean(axis=0),
            mse_error=_standard_error(mse[1][:, -1] - mse[0][:, -1]),
            zeros_float=zeros[0].mean(axis=0),
            zeros_integer=zeros[1].mean(axis=0),
            zeros_error=_standard_error(zeros[1][:, -1] - zeros[0][:, -1]),
            agreement=float(np.concatenate(self.agreement).mean()),
            agreement_error=_standard_error(np.concatenate(self.agreement)),
            samples=len(mse[0]),
            tolerances=self.tolerances,
        )


def _standard_error(values: Floats) -> float:
    if len(values) < 2:
        return 0.0
    return float(values.std(ddof=1) / np.sqrt(len(values)))


@dataclass(frozen=True, eq=False)
class FloatResult:
    """Figures of a float check; arrays are per iteration, after the update.

    Attributes
    ----------
    mse_float, mse_integer, zeros_float, zeros_integer : float64 [T]
    mse_error, zeros_error, agreement_error : float
        Standard errors: of the paired difference after the last iteration, of the agreement.
    agreement : float
        Share of equal counts over all iterations.
    samples : int
    tolerances : Tolerances
    """

    mse_float: Floats
    mse_integer: Floats
    mse_error: float
    zeros_float: Floats
    zeros_integer: Floats
    zeros_error: float
    agreement: float
    agreement_error: float
    samples: int
    tolerances: Tolerances

    @property
    def mse_percent(self) -> float:
        """Relative difference of the MSE after the last iteration, percent, signed."""
        return float(100 * (self.mse_integer[-1] / self.mse_float[-1] - 1))

    @property
    def zeros_points(self) -> float:
        """Difference of the share of zeros after the last iteration, points, signed."""
        return float(100 * (self.zeros_integer[-1] - self.zeros_float[-1]))

    @property
    def bounds(self) -> Tolerances:
        """Allowance plus three standard errors."""
        mse_error = 100 * self.mse_error / float(self.mse_float[-1])
        return Tolerances(
            self.tolerances.mse_percent + STANDARD_ERRORS * mse_error,
            self.tolerances.zeros_points + STANDARD_ERRORS * 100 * self.zeros_error,
            self.tolerances.agreement - STANDARD_ERRORS * self.agreement_error,
        )

    @property
    def passed(self) -> bool:
        """Whether all three figures lie within their bounds."""
        return not self.failures()

    def failures(self) -> list[str]:
        """Return a sentence per figure outside its bound."""
        bounds = self.bounds
        checks = [
            (abs(self.mse_percent) <= bounds.mse_percent, "MSE differs by", self.mse_percent, "%",
             bounds.mse_percent),
            (abs(self.zeros_points) <= bounds.zeros_points, "zeros differ by", self.zeros_points,
             " points", bounds.zeros_points),
            (self.agreement >= bounds.agreement, "counts agree in", self.agreement, "",
             bounds.agreement),
        ]  # fmt: skip
        return [
            f"integer against float: {what} {value:.4g}{unit}, bound {bound:.4g}{unit}"
            for ok, what, value, unit, bound in checks
            if not ok
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        bounds = self.bounds
        return {
            "samples": self.samples,
            "mse_float": float(self.mse_float[-1]),
            "mse_integer": float(self.mse_integer[-1]),
            "mse_difference_percent": self.mse_percent,
            "mse_difference_bound_percent": bounds.mse_percent,
            "zeros_float": float(self.zeros_float[-1]),
            "zeros_integer": float(self.zeros_integer[-1]),
            "zeros_difference_points": self.zeros_points,
            "zeros_difference_bound_points": bounds.zeros_points,
            "count_agreement": self.agreement,
            "count_agreement_bound": bounds.agreement,
            "mse_float_by_iteration": self.mse_float.tolist(),
            "mse_integer_by_iteration": self.mse_integer.tolist(),
            "zeros_float_by_iteration": self.zeros_float.tolist(),
            "zeros_integer_by_iteration": self.zeros_integer.tolist(),
            "passed": self.passed,
            "failures": self.failures(),
        }
