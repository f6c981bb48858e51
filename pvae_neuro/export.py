"""From a saved float model to a certified artifact on disk: quantize, certify, try, write."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.artifact import save_artifact
from pvae_neuro.exporters.certify import Certificate, certify
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import Choice, IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import default_engine
from pvae_neuro.verification.against_float import (
    DECLARED_AGREEMENT,
    DECLARED_MSE,
    DECLARED_ZEROS,
    STANDARD_ERRORS,
    FloatResult,
    Tolerances,
)
from pvae_neuro.verification.stability import TRIAL_STEPS, stabilize
from pvae_neuro.verification.verify import verify

DECLARATION_IMAGES = 64
DECLARATION_STEPS = 32
# Not the seed that people verify with by default: a declaration is no promise about one seed.
DECLARATION_SEED = 1
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
    stability_steps: int = TRIAL_STEPS,
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
        network = stabilize(network, model, inputs, stability_steps, _stage("stability", progress))
        certificate = certify(network)
    network = _declare(network, model, inputs, progress)
    sha256 = save_artifact(network, np.asarray(inputs[:GOLDEN_IMAGES]), path)
    return ExportResult(network, certificate, sha256, Path(path))


def _stage(name: str, progress: StageProgress | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return partial(progress, name)


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
    # Another set of images has another mean: less three standard errors, no set of them fails by
    # the luck of the calibration images alone.
    agreement = result.agreement - STANDARD_ERRORS * result.agreement_error
    return (
        Choice(DECLARED_MSE, abs(result.mse_percent), why),
        Choice(DECLARED_ZEROS, abs(result.zeros_points), why),
        Choice(DECLARED_AGREEMENT, agreement, f"{why}, less three standard errors"),
    )
