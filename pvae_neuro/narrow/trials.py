"""Integers of one model, at several widths, against float on the same images.

All run under the same random words. The figure is the mean squared error over the second half of
the iterations, in percent above float, with its standard error over images, each paired with
itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import CertificateError, InputError, NetworkError
from pvae_neuro.evaluation.figures import ImageFigures, of_circuit, of_recording
from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.certify import certify
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.quantize import QuantizeConfig, calibrated, quantize
from pvae_neuro.network import FloatCircuit, IntegerNetwork
from pvae_neuro.network.partly_rounded import percent_above
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import fastest_engine
from pvae_neuro.sim.frames import Frames
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.verification.stability import TRIAL_STEPS, instability, stabilize

SAMPLES_AT_ONCE = 250
STANDARD_ERRORS = 2.0
Floats = NDArray[np.float64]
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Trial:
    """What was measured of integers of some widths.

    Attributes
    ----------
    topology : str
    weight_bits, frac_bits : int
    mse, zeros : float
        Means over images and the second half of the iterations; NaN where there is no network.
    mse_percent, error : float
        MSE above float, and its standard error.
    zeros_points : float
        Share of zeros above float, in percentage points.
    refused : str or None
        Why there is no such network.
    """

    topology: str
    weight_bits: int
    frac_bits: int
    mse: float = float("nan")
    zeros: float = float("nan")
    mse_percent: float = float("inf")
    error: float = 0.0
    zeros_points: float = float("nan")
    refused: str | None = None

    @property
    def bound(self) -> float:
        """Percent above float that the MSE hardly exceeds: two standard errors more."""
        return self.mse_percent + STANDARD_ERRORS * self.error

    def __str__(self) -> str:
        widths = f"{self.weight_bits} weight bits, {self.frac_bits} fractional bits"
        if self.refused is not None:
            return f"{widths}: {self.refused}"
        return (
            f"{widths}: MSE {self.mse_percent:+.2f} ± {STANDARD_ERRORS * self.error:.2f} % of "
            f"float's, zeros {self.zeros_points:+.2f} points"
        )


class Trials:
    """Trials of one model and circuit on the same images.

    Parameters
    ----------
    model : SavedModel
    calibration, images : float [N, M]
        What scales are chosen by, and what is measured on: at least two images.
    topology : str or None
    steps : int
        Iterations.
    seed : int
        Of the random words.
    tell : callable
        Told (stage, image-iterations done, of how many).
    stability_steps : int
        Iterations of the trial of a network that inhibits itself.

    Raises
    ------
    InputError
        If there are fewer than two images, or the circuit reads nothing out.
    """

    def __init__(
        self,
        model: SavedModel,
        calibration: NDArray[Any],
        images: NDArray[Any],
        topology: str | None,
        steps: int,
        seed: int,
        tell: Tell,
        stability_steps: int = TRIAL_STEPS,
    ) -> None:
        if len(images) < 2:
            raise InputError(
                f"widths: expected at least 2 inputs to measure on, beside those of calibration, "
                f"got {len(images)}; give some hundreds"
            )
        self._model, self._calibration, self._images = model, calibration, images
        self._steps, self._seed, self._tell = steps, seed, tell
        self._stability_steps = stability_steps
        circuit = lowering_of(topology, model.config.family).circuit(model)
        self.topology = circuit.name
        if circuit.readout is None or circuit.code is None:
            raise InputError(f"widths: the circuit {circuit.name!r} has no readout to judge by")
        self._calibrated: Calibration | None = None
        self._by_float = self._figures("float", partial(self._float, circuit))

    def network(self, config: QuantizeConfig) -> IntegerNetwork:
        """Integers of some widths of the circuit: proved, and stable if they inhibit themselves.

        Raises
        ------
        CertificateError, NetworkError
            If they cannot be proved, or are unstable.
        """
        calibration = self._calibrated
        if calibration is None or (config.compensate and calibration.moments is None):
            calibration = calibrated(self._model, self._calibration, config)
            self._calibrated = calibration
        network = quantize(self._model, self._calibration, config, calibration=calibration)
        if certify(network).eigenvalue is not None:
            network = stabilize(network, self._model, self._calibration, self._stability_steps)
            certify(network)
            if (fault := instability(network)) is not None:
                raise CertificateError(fault, "predictive")
        return network

    def of(self, config: QuantizeConfig) -> tuple[Trial, IntegerNetwork | None]:
        """Measure integers of some widths; without a network the trial says why."""
        widths = self.topology, config.weight_bits, config.frac_bits
        stage = f"{config.weight_bits} weight bits, {config.frac_bits} fractional bits"
        try:
            network = self.network(config)
        except (CertificateError, NetworkError) as error:
            return Trial(*widths, refused=str(error)), None
        engine = fastest_engine(network)

        def run(images: NDArray[Any], first: int) -> ImageFigures:
            recording = engine.run(
                network, images, self._steps, self._seed, first_sample=first, progress=False
            )
            found = of_recording(recording)
            if found is None:
                raise InputError(f"widths: the circuit {network.name!r} has no readout")
            return found

        (mse, zeros), (mse_float, zeros_float) = self._figures(stage, run), self._by_float
        percent, deviation = percent_above(mse, mse_float)
        points = 100 * float((zeros - zeros_float).mean())
        trial = Trial(*widths, float(mse.mean()), float(zeros.mean()), percent, deviation, points)
        return trial, network

    def _figures(
        self, stage: str, run: Callable[[NDArray[Any], int], ImageFigures]
    ) -> tuple[Floats, Floats]:
        """Squared error and share of zeros of each image."""
        found, late = list[tuple[Floats, Floats]](), slice(self._steps // 2, None)
        total = len(self._images) * self._steps
        self._tell(stage, 0, total)
        for first in range(0, len(self._images), SAMPLES_AT_ONCE):
            images = self._images[first : first + SAMPLES_AT_ONCE]
            figures = run(images, first)
            found.append((figures.error[:, late].mean(axis=1), figures.zeros[:, late].mean(axis=1)))
            self._tell(stage, (first + len(images)) * self._steps, total)
        mse, zeros = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return mse, zeros

    def _float(self, circuit: FloatCircuit, images: NDArray[Any], first: int) -> ImageFigures:
        held = Frames(1, self._steps)
        places = range(held.steps), range(first, first + len(images))
        words = {p.name: population_noise(p, self._seed, *places) for p in circuit.drawing}
        return of_circuit(circuit, images[:, None], words, held)
