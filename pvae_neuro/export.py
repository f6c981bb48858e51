"""From a saved float model to a certified artifact: quantize, certify, try, measure, write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.artifact import program_hash, save_artifact
from pvae_neuro.errors import MissingDependencyError, QualityError
from pvae_neuro.evaluation.saturation import Saturation, SaturationCount, remarks
from pvae_neuro.exporters.calibrate import MAX_CALIBRATION_IMAGES
from pvae_neuro.exporters.certify import Certificate, certify
from pvae_neuro.exporters.quantize import ACTIVITY, QuantizeConfig, quantize
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.sim.engine import engine_names, fastest_engine, get_engine
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.files import check_target
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.progress import StageProgress, shown_stages
from pvae_neuro.utils.show import show
from pvae_neuro.verification.against_float import Tolerances
from pvae_neuro.verification.parity import ParityReport
from pvae_neuro.verification.stability import TRIAL_STEPS, instability, stabilize
from pvae_neuro.verification.verify import verify

MEASURED_IMAGES = 64
# Beyond those of calibration, to see whether its ranges hold for others.
HELD_OUT_IMAGES = 64
# As many as the model was trained for, within these.
MEASURED_ITERATIONS = 32, 128
# Far from the seeds of calibration and, by default, of `verify`.
MEASURING_SEED = 1 << 32
GOLDEN_IMAGES = 2
# A network beyond these is not written unless asked for. What `verify` accepts is narrower.
WRITTEN = Tolerances(mse_percent=5.0, zeros_points=1.0)
# Where less than this fires, of what does in training, calibration inputs are warned of.
LEAST_FIRING = 0.5
# Share of the declared range; the brightest of some tens of images reach nearly all of it.
LEAST_REACHED = 0.25
# Beyond what a file can hold.
LARGEST_DISTANCE = 1e30


@dataclass(frozen=True, eq=False)
class ExportResult:
    """What :func:`export_model` made.

    Attributes
    ----------
    network : IntegerNetwork
    certificate : Certificate
    sha256 : str
        Of the file, as ``sha256sum`` prints it.
    program_hash : str
        Of what the network computes, see :func:`pvae_neuro.artifact.program_hash`.
    path : Path
    unsupported : dict of str to list of str
        Engines that will not run the network, by name, and why; one sentence each.
    report : ParityReport
        What was measured on the calibration inputs, with words of its own.
    accepted : tuple of str
        What would have kept the file from being written, had ``accept`` not been given.
    warnings : tuple of str
        What asks for a look: of the calibration inputs and of the measurement.
    held_out : int
        How many inputs there were beyond those of calibration, up to 64.
    saturations : tuple of Saturation
        Values at their limits on these; empty where there were none.
    """

    network: IntegerNetwork
    certificate: Certificate
    sha256: str
    program_hash: str
    path: Path
    unsupported: dict[str, list[str]]
    report: ParityReport
    accepted: tuple[str, ...]
    warnings: tuple[str, ...]
    held_out: int = 0
    saturations: tuple[Saturation, ...] = ()

    def __repr__(self) -> str:
        return (
            f"<ExportResult {show(self.path.name)}: {self.network.name}, {self.report.outcome}, "
            f"program {self.program_hash[:12]}>"
        )


@checked
def export_model(
    model: SavedModel,
    path: str | os.PathLike[str],
    inputs: ArrayLike,
    config: QuantizeConfig | None = None,
    *,
    stability_steps: int = TRIAL_STEPS,
    accept: bool = False,
    progress: StageProgress | bool | None = None,
) -> ExportResult:
    """Quantize, certify, run against the float model, and write the ``.onnx`` file.

    Nothing is written where the mean squared error is more than 5 % above the float model's, the
    share of silent neurons differs by more than one point, or R² about the mean image is below .05.

    Parameters
    ----------
    model : SavedModel
    path : path-like
        The artifact; written whole or not at all.
    inputs : array_like [N, M] or [N, H, W]
        Calibration images. The first 64 set the scales; on the next 64, where there are any, the
        ranges found are checked.
    config : QuantizeConfig, optional
    stability_steps : int
        Iterations of the trial of a network with recurrent inhibition.
    accept : bool
        Write such a network all the same. :func:`~pvae_neuro.verification.verify.verify` fails it.
    progress : callable, True or False, optional
        Told (stage, image-iterations done, of how many); True shows a bar, False nothing. By
        default a terminal shows a bar and a notebook a line now and then.

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
        If a range cannot be proved; says what would help.
    QualityError
        If the network is too far from the float model, explains nothing, or is unstable.
    InputError
        If an option or the calibration inputs are out of range, the inputs are all alike or hardly
        anything fires on them, or the file cannot be written.
    """
    path = user_path(path)
    check_target(path)
    images = model.config.declared_input.floats(inputs)
    with shown_stages(progress, "export: ") as tell:
        network = quantize(model, images, config)
        certificate = certify(network)
        unstable = None
        if certificate.eigenvalue is not None:
            network = stabilize(network, model, images, stability_steps, partial(tell, "stability"))
            certificate = certify(network)
            unstable = instability(network)
            _refuse((unstable,) if unstable else (), accept)
        report = verify(
            network,
            model,
            images[:MEASURED_IMAGES],
            steps=int(np.clip(model.config.steps, *MEASURED_ITERATIONS)),
            seed=MEASURING_SEED,
            engines=[fastest_engine(network)],
            progress=tell,
        )
        found = ((unstable,) if unstable else ()) + _obstacles(report)
        _refuse(found, accept, report)
        network = _with_distance(network, report)
        held_out = images[MAX_CALIBRATION_IMAGES:][:HELD_OUT_IMAGES]
        saturations = _saturations(network, held_out, report.steps)
        sha256 = save_artifact(network, images[:GOLDEN_IMAGES], path)
        return ExportResult(
            network,
            certificate,
            sha256,
            program_hash(network),
            path,
            unsupported_engines(network),
            report,
            found,
            (
                *_calibration_warnings(network, images[:MAX_CALIBRATION_IMAGES]),
                *(f"held-out calibration inputs: {line}" for line in remarks(saturations)),
                *report.warnings,
            ),
            len(held_out),
            saturations,
        )


def _saturations(
    network: IntegerNetwork, images: NDArray[Any], steps: int
) -> tuple[Saturation, ...]:
    """Run images that no scale was chosen by, and count what is at its limit."""
    count = SaturationCount(network)
    if not len(images) or not count.variables:
        return ()
    # The same record as the measurement's: nothing is compiled anew.
    engine = fastest_engine(network)
    run = engine.run(
        network, images, steps, MEASURING_SEED, record="full",
        first_sample=MEASURED_IMAGES, progress=False,
    )  # fmt: skip
    count.add(run.variables)
    return count.found


def _refuse(reasons: tuple[str, ...], accept: bool, report: ParityReport | None = None) -> None:
    if reasons and not accept:
        raise QualityError(f"{'; '.join(reasons)}; nothing is written", "accept", report)


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


def _obstacles(report: ParityReport) -> tuple[str, ...]:
    """Reasons not to write the network; a sentence each."""
    result = report.float_result
    if result is None:
        return report.faults
    limits = WRITTEN.mse_percent, WRITTEN.zeros_points
    judged = (replace(d, tolerance=t) for d, t in zip(result.distances, limits, strict=True))
    return report.faults + tuple(
        f"integer against float: {distance}, expected at most {distance.tolerance:g}{distance.unit}"
        for distance in judged
        if distance.failed
    )


def _with_distance(network: IntegerNetwork, report: ParityReport) -> IntegerNetwork:
    """Keep the distance from float with the network, as far as it may be by what was measured."""
    result = report.float_result
    if result is None:
        return network
    mse, zeros = (_storable(abs(d.value) + d.margin) for d in result.distances)
    measured = replace(
        network.measurements,
        mse_percent=mse,
        zeros_points=zeros,
        agreement=result.agreement,
        images=result.samples,
        iterations=report.steps,
    )
    return replace(network, measurements=measured)


def _storable(value: float) -> float | None:
    return value if value <= LARGEST_DISTANCE else None


def _calibration_warnings(network: IntegerNetwork, images: NDArray[Any]) -> Iterator[str]:
    if len(images) < 2:
        yield (
            "a single calibration input tells neither what the network explains nor how far it is "
            "from float on others; give some tens"
        )
    share = next((c.value for c in network.choices if c.name == ACTIVITY), 1.0)
    if share < LEAST_FIRING:
        yield (
            f"calibration inputs: {share:.2g} times as many latents fire as on the model's "
            f"training images, so larger potentials and counts may be reached; give images such "
            f"as the network will see"
        )
    declared = max(abs(network.input.low), abs(network.input.high))
    reached = float(np.abs(images).max())
    if reached < LEAST_REACHED * declared:
        yield (
            f"calibration inputs reach {reached:.3g} of a declared range of "
            f"[{network.input.low:g}, {network.input.high:g}]: scales fit them, and stronger "
            f"images may saturate; give images such as the network will see"
        )
