"""Fine-tune a model for the integers that an export of it computes."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.quantize import QuantizeConfig
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel, save_model
from pvae_neuro.sim.engine import fastest_engine
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.training.config import checkpoint_path
from pvae_neuro.training.finetuning.config import FinetuneConfig
from pvae_neuro.training.finetuning.refit import fit_readout, match_activity
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.files import check_target
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.progress import StageProgress, shown_stages

if TYPE_CHECKING:
    from pvae_neuro.training.finetuning.run import FinetuningRun

# Images that are kept for measuring, at most so many and such a share of all.
HELD_OUT, HELD_OUT_SHARE = 200, 0.2
# Images by which leaks are matched.
ACTIVITY_IMAGES = 200
# Far from the seeds of training.
MEASURING_SEED = 1 << 33
CHECKPOINT_SECONDS = 30.0
RECORD = "finetuned"
"""Key of ``ModelConfig.training`` under which a tuned model says what it was tuned for."""


@dataclass(frozen=True)
class Figures:
    """What a circuit does on the images that are kept for measuring, at the last iteration.

    Attributes
    ----------
    mse : float
        Squared error summed over pixels, in squared units of the input.
    zeros : float
        Share of latents that are silent.
    mean : float
        Mean count of a latent.
    """

    mse: float
    zeros: float
    mean: float


@dataclass(frozen=True, eq=False)
class FinetuneResult:
    """What fine-tuning made, and what it gained.

    Attributes
    ----------
    model : SavedModel
        To be exported with the same quantization.
    before, after : Figures
        Of the integers.
    real : Figures
        Of the model in real numbers, before.
    images, iterations : int
        How many were measured.
    seconds : float
        That the updates took.
    """

    model: SavedModel
    real: Figures
    before: Figures
    after: Figures
    images: int
    iterations: int
    seconds: float

    def loss(self, figures: Figures) -> float:
        """Mean squared error above that of real numbers, in percent of it."""
        return 100.0 * (figures.mse / self.real.mse - 1.0)

    def __repr__(self) -> str:
        return (
            f"<FinetuneResult: MSE {self.loss(self.before):+.1f} % of float before, "
            f"{self.loss(self.after):+.1f} % after>"
        )


@checked
def finetune(
    model: SavedModel,
    images: ArrayLike,
    output: str | os.PathLike[str] | None = None,
    quantization: QuantizeConfig | None = None,
    config: FinetuneConfig | None = None,
    *,
    resume: bool = False,
    progress: StageProgress | bool | None = None,
) -> FinetuneResult:
    """Train a model's arrays by what their integers compute.

    Every update rounds the arrays, runs the integers, and moves the arrays by slopes that pass
    roundings straight through. The result is a float model: quantized alike, it has the mantissas
    that were trained; units of messages are calibrated again, on the inputs of that export.

    Parameters
    ----------
    model : SavedModel
        Of a family and to a circuit whose weights are arrays of the model.
    images : array_like [N, M] or [N, H, W]
        Training images. A fifth of them, at most 200, is kept to measure the gain.
    output : path-like, optional
        Model file to write. Until the run is done a checkpoint is kept beside it.
    quantization : QuantizeConfig, optional
        What the model is to be exported with; by default 4-bit weights.
    config : FinetuneConfig, optional
    resume : bool
        Go on with the unfinished run whose checkpoint is beside the output.
    progress : callable, True or False, optional
        Told (stage, units done, of how many); True shows a bar, False nothing. By default a
        terminal shows a bar and a notebook a line now and then.

    Returns
    -------
    FinetuneResult

    Raises
    ------
    InputError
        If there are too few images, an option is out of range, an unfinished run is in the way, or
        there is none to resume.
    ModelFileError
        If no circuit takes the model, or none of its arrays is a weight of the circuit.
    CertificateError, NetworkError
        If the integers do not fit.
    PvaeNeuroError
        If it diverges.
    MissingDependencyError
        If torch is not installed.
    """
    require("torch", "train", "fine-tuning")
    from pvae_neuro.training.finetuning.run import FinetuningRun

    config = config or FinetuneConfig()
    quantization = quantization or QuantizeConfig(weight_bits=4)
    target = None if output is None else user_path(output)
    checkpoint = None if target is None else _checkpoint(target, resume)
    pixels = model.config.declared_input.floats(images).astype(np.float32)
    kept = min(HELD_OUT, int(HELD_OUT_SHARE * len(pixels)))
    if not kept:
        raise InputError(f"images: expected at least 5, got {len(pixels)}; give some hundreds")
    held_out, trained = pixels[-kept:], pixels[:-kept]
    iterations = config.ages * config.window
    with shown_stages(progress, "finetune: ") as tell:
        run = FinetuningRun(model, trained, quantization, config)
        before = run.network()
        seed, fitted = config.seed, trained[: config.fitted_images]
        if resume and checkpoint is not None:
            run.load(checkpoint)
        elif len(fitted):
            run.round_together(fitted, lambda done: tell("moments of counts", done, len(fitted)))
        _run(run, checkpoint, tell)
        tuned = replace(model, arrays=run.arrays())
        if run.leaks:
            tell("leaks", 0, 1)
            some = trained[-ACTIVITY_IMAGES:]
            wanted = _measure_real(model, quantization, some, iterations, seed).zeros
            tuned = match_activity(tuned, run.leaks, run.lowered, some, wanted, iterations, seed)
        if len(fitted):
            tuned = fit_readout(
                tuned, run.lowered(tuned), fitted, iterations, seed,
                lambda done: tell("readout", done, len(fitted)),
            )  # fmt: skip
        after = run.lowered(tuned)
        tell("measure", 0, 3)
        real = _measure_real(model, quantization, held_out, iterations, MEASURING_SEED)
        tell("measure", 1, 3)
        first = _measure(before, held_out, iterations)
        tell("measure", 2, 3)
        last = _measure(after, held_out, iterations)
        tell("measure", 3, 3)
    result = FinetuneResult(tuned, real, first, last, kept, iterations, round(run.seconds, 1))
    # The arrays are mantissas already.
    recorded = {**asdict(quantization), "compensate": False}
    record = {
        "quantization": recorded, "settings": config.model_dump(mode="json"),
        "float": asdict(real), "before": asdict(first), "after": asdict(last),
        "images": kept, "iterations": iterations, "seconds": result.seconds,
    }  # fmt: skip
    training = {**model.config.training, RECORD: record}
    tuned = replace(tuned, config=tuned.config.model_copy(update={"training": training}))
    if target is not None and checkpoint is not None:
        save_model(tuned, target)
        checkpoint.unlink(missing_ok=True)
    return replace(result, model=tuned)


def _checkpoint(target: Path, resume: bool) -> Path:
    """Checkpoint of a run, after a look at what is there."""
    check_target(target)
    found = checkpoint_path(target)
    if resume and not found.exists():
        raise InputError(f"{found}: no unfinished run to resume; start a new one")
    if found.exists() and not resume:
        raise InputError(f"{found} holds an unfinished run: resume it, or delete it")
    return found


def _run(run: FinetuningRun, checkpoint: Path | None, tell: StageProgress) -> None:
    saved = began = time.monotonic()
    earlier = run.seconds
    while run.done < run.config.updates:
        found = run.update()
        run.seconds = earlier + time.monotonic() - began
        tell(
            f"updates, MSE {found['mse']:.3f}, zeros {100 * found['zeros']:.1f} %",
            run.done,
            run.config.updates,
        )
        if checkpoint is not None and time.monotonic() - saved >= CHECKPOINT_SECONDS:
            run.save(checkpoint)
            saved = time.monotonic()


def _measure(network: IntegerNetwork, images: NDArray[Any], iterations: int) -> Figures:
    code = network.code
    record = [code] if code else "summary"
    engine = fastest_engine(network)
    found = engine.run(network, images, iterations, MEASURING_SEED, record=record, progress=False)
    values = found.last[code] if code else np.zeros(1)
    return _figures(found.reconstruction - images, values)


def _measure_real(
    model: SavedModel,
    quantization: QuantizeConfig,
    images: NDArray[Any],
    iterations: int,
    seed: int,
) -> Figures:
    """The float circuit under the words of an engine with this seed."""
    circuit = lowering_of(quantization.topology, model.config.family).circuit(model)
    words = {
        p.name: population_noise(p, seed, range(iterations + 1), range(len(images)))
        for p in circuit.drawing
    }
    *_, last = circuit.run(images, words, iterations)
    values = last[circuit.code] if circuit.code else np.zeros(1)
    return _figures(circuit.reconstruct(last) - images, values)


def _figures(error: NDArray[Any], values: NDArray[Any]) -> Figures:
    mse = float(np.square(error.astype(np.float64)).sum(axis=1).mean())
    return Figures(mse, float((values == 0).mean()), float(np.abs(values).mean()))
