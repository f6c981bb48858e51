"""From a saved float model to a certified artifact: quantize, certify, try, measure, write."""

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
from pvae_neuro.errors import MissingDependencyError
from pvae_neuro.exporters.certify import Certificate, certify
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import engine_names, fastest_engine, get_engine
from pvae_neuro.utils.progress import StageProgress
from pvae_neuro.verification.against_float import STANDARD_ERRORS, FloatResult, Tolerances
from pvae_neuro.verification.stability import TRIAL_STEPS, stabilize
from pvae_neuro.verification.verify import verify

MEASURED_IMAGES = 64
MEASURED_ITERATIONS = 32
# Different from the default of `verify`, so that its tolerances are not fitted to its own words.
MEASURING_SEED = 1
GOLDEN_IMAGES = 2


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
    unsupported : dict of str to list of str
        Engines that will not run the network, by name, and why; one sentence each.
    """

    network: IntegerNetwork
    certificate: Certificate
    sha256: str
    path: Path
    unsupported: dict[str, list[str]]


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
        Iterations of the trial of a network with recurrent inhibition.
    progress : callable, optional
        Told (stage, image-iterations done, of how many).

    Returns
    -------
    ExportResult

    Raises
    ------
    ModelFileError
        If no circuit takes the model, or its numbers are beyond use.
    NetworkError
        If a number of the model does not fit any scale.
    CertificateError
        If a range cannot be proved, or recurrent inhibition is unstable; says what would help.
    InputError
        If an option or the calibration inputs are out of range, or the file cannot be written.
    """
    network = quantize(model, inputs, config)
    certificate = certify(network)
    if certificate.eigenvalue is not None:
        network = stabilize(network, model, inputs, stability_steps, _stage("stability", progress))
        certificate = certify(network)
    network = _measure(network, model, inputs, progress)
    sha256 = save_artifact(network, np.asarray(inputs[:GOLDEN_IMAGES]), path)
    return ExportResult(network, certificate, sha256, Path(path), unsupported_engines(network))


def unsupported_engines(network: IntegerNetwork) -> dict[str, list[str]]:
    """Engines that lack what a network needs, by name, and what they lack.

    An engine that is not installed here cannot be asked and is left out.
    """
    found = {}
    for name in engine_names():
        try:
            lacking = get_engine(name).unsupported(network)
        except MissingDependencyError:
            continue
        if lacking:
            found[name] = lacking
    return found


def _stage(name: str, progress: StageProgress | None) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return partial(progress, name)


def _measure(
    network: IntegerNetwork,
    model: SavedModel,
    inputs: NDArray[np.floating[Any]],
    progress: StageProgress | None,
) -> IntegerNetwork:
    """Measure the distance from float on the calibration inputs and keep it with the network."""
    report = verify(
        network,
        model,
        inputs[:MEASURED_IMAGES],
        steps=MEASURED_ITERATIONS,
        seed=MEASURING_SEED,
        engines=[fastest_engine(network)],
        tolerances=Tolerances(),
        progress=progress,
    )
    result = report.float_result
    return network if result is None else _with_distance(network, result)


def _with_distance(network: IntegerNetwork, result: FloatResult) -> IntegerNetwork:
    # Another set of images has another mean: less three standard errors, no set of them fails by
    # the luck of the calibration images alone.
    agreement = result.agreement - STANDARD_ERRORS * result.agreement_error
    measured = replace(
        network.measurements,
        mse_percent=abs(result.mse_percent),
        zeros_points=abs(result.zeros_points),
        agreement=agreement,
        images=result.samples,
        iterations=MEASURED_ITERATIONS,
    )
    return replace(network, measurements=measured)
