"""One figure of a model: reconstructions, curves by iteration, and decoder elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.evaluation.infer import Trace, infer
from pvae_neuro.evaluation.metrics import elements
from pvae_neuro.models.base import Iteration
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.plots import parity
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.progress import Advance

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

Float32 = NDArray[np.float32]

SHOWN_IMAGES = 10
SHOWN_ELEMENTS = 80
ELEMENTS_PER_ROW = 16


def plot_model(
    model: SavedModel,
    images: Float32,
    steps: int = 128,
    seed: int = 0,
    progress: Advance | None = None,
) -> Figure:
    """Draw inputs and reconstructions, curves by iteration, and decoder elements.

    The curves are over all images [N, M]; the first ten are shown. The figure does not belong to
    pyplot: save it by ``figure.savefig``.

    Raises
    ------
    MissingDependencyError
        If matplotlib or torch is not installed.
    InputError
        If the images do not fit the model.
    """
    figures = require("matplotlib.figure", "report", "figures")
    module = model_from_saved(model)
    shown = _Shown(steps)
    trace = infer(module, images, steps, seed, observe=shown, progress=progress)
    figure: Figure = figures.Figure(figsize=(11, 9), layout="constrained")
    config = model.config
    figure.suptitle(f"{config.family}, {config.latents} latents, {len(images)} images")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.1, 1.0))
    left, right = top.subfigures(1, 2, width_ratios=(1.2, 1.0))
    rows = {"input": images[:SHOWN_IMAGES], **shown.rows}
    shape = config.image_shape
    parity.image_grid({k: parity.as_images(v, shape) for k, v in rows.items()}, left.subplots())
    _draw_curves(right, trace)
    _draw_elements(bottom, elements(module), shape)
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
    values = {"from samples": trace.r2, "from means": trace.r2_mean}
    parity.by_iteration(values, upper, ylabel="R²")
    parity.by_iteration({"zeros": trace.zeros}, lower, ylabel="share of zeros")
    upper.set_ylim(max(-0.1, min(0.0, float(np.nanmin(trace.r2)))), 1.0)
    upper.set_xlabel("")
    for ax in (upper, lower):
        ax.set_xscale("log")


def _draw_elements(figure: SubFigure, added: Float32, shape: tuple[int, ...] | None) -> None:
    shown = added[:SHOWN_ELEMENTS]
    # Each on its own scale: its shape matters here, not its strength.
    scaled = shown / np.maximum(np.abs(shown).max(axis=1, keepdims=True), 1e-12)
    count = min(ELEMENTS_PER_ROW, len(scaled))
    rows = [scaled[first : first + count] for first in range(0, len(scaled) - count + 1, count)]
    # Rows without a name: keys of blanks only keep them apart.
    grids = {" " * i: parity.as_images(row, shape) for i, row in enumerate(rows)}
    ax = parity.image_grid(grids, figure.subplots())
    ax.set_title("decoder elements, most kurtotic first", fontsize=10, loc="left")
    if ax.images[0].cmap is not None:
        ax.images[0].set_clim(-1, 1)
