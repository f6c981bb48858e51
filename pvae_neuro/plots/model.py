"""One figure of a model: reconstructions, curves by iteration, and decoder elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.evaluation.infer import Trace, infer
from pvae_neuro.evaluation.metrics import elements
from pvae_neuro.models.base import Iteration
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.plots.images import as_images, dictionary, image_grid
from pvae_neuro.plots.parity import by_iteration
from pvae_neuro.plots.style import require_matplotlib
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.progress import Advance

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

Float32 = NDArray[np.float32]

SHOWN_IMAGES = 10
SHOWN_ELEMENTS = 80


@checked
def plot_model(
    model: SavedModel,
    images: ArrayLike,
    steps: int = 128,
    seed: int = 0,
    progress: Advance | bool | None = None,
) -> Figure:
    """Draw inputs and reconstructions, curves by iteration, and decoder elements.

    The curves are over all images, [N, M] or [N, H, W]; the first ten are shown. The figure does
    not belong to pyplot: save it by ``figure.savefig``.

    Raises
    ------
    MissingDependencyError
        If matplotlib or torch is not installed.
    InputError
        If the images do not fit the model.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    module = model_from_saved(model)
    inputs = model.config.declared_input.floats(images)
    shown = _Shown(steps)
    trace = infer(module, inputs, steps, seed, observe=shown, progress=progress)
    figure = Figure(figsize=(11, 9), layout="constrained")
    config = model.config
    figure.suptitle(f"{config.family}, {config.latents} latents, {len(inputs)} images")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.1, 1.0))
    left, right = top.subfigures(1, 2, width_ratios=(1.2, 1.0))
    rows = {"input": inputs[:SHOWN_IMAGES], **shown.rows}
    shape = config.image_shape
    image_grid({k: as_images(v, shape) for k, v in rows.items()}, left.subplots())
    _draw_curves(right, trace)
    dictionary(
        elements(module)[:SHOWN_ELEMENTS], bottom.subplots(), image_shape=shape,
        title="decoder elements, most kurtotic first",
    )  # fmt: skip
    return figure


class _Shown:
    """Observer of inference: reconstructions of the first images at iterations 1, 4, 16, …."""

    def __init__(self, steps: int) -> None:
        doubling = {min(2**power, steps) for power in range(0, 11, 2)} | {steps}
        self._wanted = sorted(doubling)
        self.rows: dict[str, Float32] = {}

    def __call__(self, step: int, block: slice, result: Iteration) -> None:
        if block.start == 0 and step + 1 in self._wanted:
            shown = result.reconstruction[:SHOWN_IMAGES].cpu().numpy()
            self.rows[f"iteration {step + 1}"] = shown


def _draw_curves(figure: SubFigure, trace: Trace) -> None:
    upper, lower = figure.subplots(2, 1, sharex=True)
    values = {"from samples": trace.r2_mean_image, "from means": trace.r2_from_means}
    by_iteration(values, upper, ylabel="R²")
    by_iteration({"zeros": trace.zeros}, lower, ylabel="share of zeros")
    upper.set_ylim(max(-0.1, float(np.nanmin(trace.r2_mean_image, initial=0.0))), 1.0)
    upper.set_xlabel("")
    for ax in (upper, lower):
        ax.set_xscale("log")
