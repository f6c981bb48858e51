"""From a saved float model to a certified artifact on disk: quantize, certify, try, write."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.artifact import save_artifact
from pvae_neuro.checkpoints import SavedModel
from pvae_neuro.errors import CertificateError
from pvae_neuro.evaluation import evaluate
from pvae_neuro.exporters.certify import Certificate, certify
from pvae_neuro.exporters.lateral import load_diagonal
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.float_check import (
    DECLARED_AGREEMENT,
    DECLARED_MSE,
    DECLARED_ZEROS,
    FloatResult,
    Tolerances,
)
from pvae_neuro.network import Choice, IntegerNetwork
from pvae_neuro.parity import verify
from pvae_neuro.sim.engine import default_engine

DECLARATION_IMAGES = 64
DECLARATION_STEPS = 32
# Not the seed that people verify with by default: a declaration is no promise about one seed.
DECLARATION_SEED = 1
STABILITY_IMAGES = 16
STABILITY_STEPS = 1000
# A lateral network that diverges leaves this far behind (5 bits: three times the float MSE).
STABILITY_PERCENT = 5.0
# Shares of the smallest eigenvalue that the diagonal may make good, tried in turn: each costs a
# little agreement with float, so none where none is needed.
DIAGONAL_LOADS = (0.0, 0.5, 1.0)
GOLDEN_IMAGES = 2

StageProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class ExportResult:
    """What :func:`export_model` made.

    Attributes
    ----------
    network : IntegerNetwork
    certificate : Certificate
    sha256 : str
        Of the artifact's content.
    path : Path
    """

    network: IntegerNetwork
    certificate: Certificate
    sha256: str
    path: Path


def export_model(
    model: SavedModel,
    path: str | os.PathLike[str],
    inputs: NDArray[np.floating[Any]],
    config: QuantizeConfig | None = None,
    *,
    stability_steps: int = STABILITY_STEPS,
    progress: StageProgress | None = None,
) -> ExportResult:
    """Quantize, certify, run against the float model, and write the ``.onnx`` file.

    Parameters
    ----------
    model : SavedModel
    path : path-like
        The artifact; written whole or not at all.
    inputs : float [N, M]
        Calibration images; 64 suffice.
    config : QuantizeConfig, optional
    stability_steps : int
        Length of the trial of a recurrent network.
    progress : callable, optional
        Told (stage, image-iterations done, of how many).

    Returns
    -------
    ExportResult

    Raises
    ------
    CertificateError
        If a range cannot be proved, or a lateral network is unstable; says what to do instead.
    InputError
        If an option or the calibration inputs are out of range, or the file cannot be written.
    """
    network = quantize(model, inputs, config)
    certificate = certify(network)
    if certificate.eigenvalue is not None:
        network = _stabilize(network, model, inputs, stability_steps, progress)
        certificate = certify(network)
    network = _declare(network, model, inputs, progress)
    sha256 = save_artifact(network, np.asarray(inputs[:GOLDEN_IMAGES]), path)
    return ExportResult(network, certificate, sha256, Path(path))


def _declare(
    network: IntegerNetwork,
    model: SavedModel,
    inputs: NDArray[np.floating[Any]],
    progress: StageProgress | None,
) -> IntegerNetwork:
    """Measure the distance from float on the calibration inputs and keep it with the network."""
    report = verify(
        network,
        model,
        inputs[:DECLARATION_IMAGES],
        steps=DECLARATION_STEPS,
        seed=DECLARATION_SEED,
        engines=[default_engine()],
        tolerances=Tolerances(),
        progress=progress,
    )
    if report.float_result is None:
        return network
    return replace(network, choices=(*network.choices, *_declaration(report.float_result)))


def _declaration(result: FloatResult) -> tuple[Choice, ...]:
    why = (
        f"measured against float on {result.samples} calibration inputs over "
        f"{DECLARATION_STEPS} iterations"
    )
    return (
        Choice(DECLARED_MSE, abs(result.mse_percent), why),
        Choice(DECLARED_ZEROS, abs(result.zeros_points), why),
        Choice(DECLARED_AGREEMENT, result.agreement, why),
    )


def _stabilize(
    network: IntegerNetwork,
    model: SavedModel,
    inputs: NDArray[np.floating[Any]],
    steps: int,
    progress: StageProgress | None,
) -> IntegerNetwork:
    """Return the network with the smallest diagonal load that passes the trial run."""
    images = inputs[:STABILITY_IMAGES]
    runs = 1 + len(DIAGONAL_LOADS)
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress("stability", done, runs * steps * len(images))

    def settled(subject: SavedModel | IntegerNetwork) -> float:
        mse = evaluate(subject, images, steps=steps, seed=DECLARATION_SEED, progress=tell).mse
        # The mean over the last tenth: single iterations of a few images are noisy.
        return float(mse[-max(1, steps // 10) :].mean())

    by_float = settled(model)
    for share in DIAGONAL_LOADS:
        loaded = load_diagonal(network, share)
        percent = 100 * (settled(loaded) / by_float - 1)
        if percent <= STABILITY_PERCENT:
            why = f"MSE against float after {steps} iterations on {len(images)} calibration inputs"
            trial = Choice("stability, percent", percent, why)
            return replace(loaded, choices=(*loaded.choices, trial))
    raise CertificateError(
        f"lateral connection of {network.connections[0].bits} bits: after {steps} iterations the "
        f"integer network's MSE is {percent:+.1f} % of float's, expected at most "
        f"{STABILITY_PERCENT} %: it is unstable, whatever its diagonal. Take --weight-bits 8, or "
        f"--topology predictive, which stays stable at low widths"
    )
