"""Compare integers with the float circuit, under the same random words.

The two trajectories share every random word, so per sample their errors are strongly correlated
and the paired difference has a small standard error. A check passes if the mean difference lies
within the allowance plus three standard errors of that difference. The allowance is what 8-bit
networks are held to, or, if larger, what was measured of the artifact at export.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import FloatCircuit, IntegerNetwork
from pvae_neuro.network.float_circuit import Words
from pvae_neuro.network.interpreter import Values
from pvae_neuro.sim.recording import Recording

Floats = NDArray[np.float64]
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
        """Return these, or what was measured of the network at export where that is wider."""
        measured = network.measurements
        return Tolerances(
            max(self.mse_percent, measured.mse_percent or 0.0),
            max(self.zeros_points, measured.zeros_points or 0.0),
            self.agreement
            if measured.agreement is None
            else min(self.agreement, measured.agreement),
        )


@dataclass
class FloatCheck:
    """Comparison of an integer network with its float circuit, block by block.

    Attributes
    ----------
    tolerances : Tolerances
    mse_float, mse_integer : list of float64 [B, T]
        Squared error summed over pixels, by the counts drawn after each iteration.
    zeros_float, zeros_integer : list of float64 [B, T]
        Share of these counts that are zero.
    agreement : list of float64 [B]
        Share of equal counts over all steps.
    """

    tolerances: Tolerances = field(default_factory=Tolerances)
    mse_float: list[Floats] = field(default_factory=list)
    mse_integer: list[Floats] = field(default_factory=list)
    zeros_float: list[Floats] = field(default_factory=list)
    zeros_integer: list[Floats] = field(default_factory=list)
    agreement: list[Floats] = field(default_factory=list)

    def add(
        self,
        circuit: FloatCircuit,
        images: NDArray[np.floating[Any]],
        words: Words,
        recording: Recording,
        observe: Callable[[int, Values], None],
    ) -> None:
        """Run the float circuit on a block and compare.

        Parameters
        ----------
        circuit : FloatCircuit
        images : float [B, M]
        words : dict of str to uint16 [B, T + 1, n]
        recording : Recording
            Full, of the same samples.
        observe : callable
            Shown each step and the circuit's state after it.

        Raises
        ------
        InputError
            If the recording is not full, or the network has no readout.
        """
        source, squared_error = recording.source, recording.squared_error
        if source is None or squared_error is None:
            raise InputError("float check: expected a full recording of a network with a readout")
        counts = recording[source]
        x = np.asarray(images, circuit.dtype)
        mse = np.zeros(squared_error.shape)
        zeros = np.zeros(squared_error.shape)
        equal = np.zeros(len(x))
        for step, state in enumerate(circuit.run(x, words, mse.shape[1])):
            z = state[source]
            equal += (z == counts[:, step]).mean(axis=1)
            # The counts that one iteration begins with read out the one before.
            if step:
                error = (x - circuit.reconstruct(state)) ** 2
                mse[:, step - 1] = error.sum(axis=1, dtype=np.float64)
                zeros[:, step - 1] = (z == 0).mean(axis=1)
            observe(step, state)
        self.mse_float.append(mse)
        self.mse_integer.append(squared_error * recording.error_unit)
        self.zeros_float.append(zeros)
        self.zeros_integer.append((counts[:, 1:] == 0).mean(axis=2))
        self.agreement.append(equal / counts.shape[1])

    def result(self) -> FloatResult:
        """Return the figures and the verdict."""
        mse = np.concatenate(self.mse_float), np.concatenate(self.mse_integer)
        zeros = np.concatenate(self.zeros_float), np.concatenate(self.zeros_integer)
        agreement = np.concatenate(self.agreement)
        return FloatResult(
            mse_float=mse[0].mean(axis=0),
            mse_integer=mse[1].mean(axis=0),
            mse_error=_standard_error(mse[1][:, -1] - mse[0][:, -1]),
            zeros_float=zeros[0].mean(axis=0),
            zeros_integer=zeros[1].mean(axis=0),
            zeros_error=_standard_error(zeros[1][:, -1] - zeros[0][:, -1]),
            agreement=float(agreement.mean()),
            agreement_error=_standard_error(agreement),
            samples=len(mse[0]),
            tolerances=self.tolerances,
        )


def _standard_error(values: Floats) -> float:
    if len(values) < 2:
        return 0.0
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def _percent(part: float, whole: float) -> float:
    """``100 part / whole``; of nothing, nothing is 0 % and anything else is infinite."""
    if whole == 0.0:
        return float(np.copysign(np.inf, part)) if part else 0.0
    return float(100 * part / whole)


@dataclass(frozen=True, eq=False)
class FloatResult:
    """Figures of a float check; arrays are per iteration, by the counts drawn after it.

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
        return _percent(float(self.mse_integer[-1] - self.mse_float[-1]), self.mse_float[-1])

    @property
    def zeros_points(self) -> float:
        """Difference of the share of zeros after the last iteration, points, signed."""
        return float(100 * (self.zeros_integer[-1] - self.zeros_float[-1]))

    @property
    def bounds(self) -> Tolerances:
        """Allowance plus three standard errors."""
        mse_error = _percent(self.mse_error, self.mse_float[-1])
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
