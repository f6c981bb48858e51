"""Inference past its training horizon (arXiv:2410.19315, figure 3).

Models are trained on whitened patches over windows of T = 16 iterations and then infer for 1,000:
R² of the reconstruction from samples and from posterior means, share of zeros, and the norm of the
update ‖Δu‖ are read after each. The iterative Poisson VAE must gain sparsity long after its
reconstruction has settled. Iterations are counted from 0, so t = 15 ends the training horizon.

The claim that error does not grow past the horizon is made for every decoder of the iterative
Poisson VAE; those with an MLP and a convolutional decoder are the models of ``mnist-table``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.experiments import published
from pvae_neuro.experiments.context import Context, budget_of
from pvae_neuro.experiments.drawing import OURS, PUBLISHED, color_of, label_axes, legend_below
from pvae_neuro.experiments.latents import curves_of, infer_shown, weights_digest
from pvae_neuro.experiments.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.trainings import PATCHES, mnist_model, patches_model
from pvae_neuro.saved.model_file import Float32, SavedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BETAS = {"ipvae-linear": 24.0, "igvae": 8.0, "igvae-relu": 8.0}
"""Families on patches, and their KL weights: the published ones of this figure."""

NONLINEAR = ("ipvae-mlp", "ipvae-conv")
HORIZON = 16
TIMES = (7, 15, 63, 127, 255, 999)

_COLUMNS = [
    Column("r2", "R²", ".3f"),
    Column("r2_mean", "R² of the mean", ".3f"),
    Column("zeros", "zeros", ".3f"),
    Column("change", "‖Δu‖, nats", ".3f"),
    Column("mse", "MSE, summed over pixels", ".2f"),
]

_QUICK_NOTES = [
    "Quick version: trainings of seconds on 256 latents. They hardly move the initial potentials, "
    "which lie low, so that the zeros of the iterative Poisson VAE fall to their level instead of "
    "rising to it."
]

Curves = dict[str, list[float]]


def run(context: Context) -> ExperimentResult:
    """Train, infer for 1,000 iterations, and compare with the published curves.

    Parameters
    ----------
    context : Context

    Returns
    -------
    ExperimentResult

    Raises
    ------
    InputError
        If the patches or MNIST are absent.
    """
    steps = max(TIMES) + 1
    patches = context.images(PATCHES, "test", context.choose(200, 2000)).pixels
    digits = context.images("mnist", "test", context.choose(50, 1000)).pixels
    curves: dict[str, Curves] = {}
    rows: list[Row] = []
    checks: dict[str, bool] = {}
    for place, name in enumerate((*BETAS, *NONLINEAR)):
        context.tell(f"train {name}", place, len(BETAS) + len(NONLINEAR))
        on_patches = name in BETAS
        model = _train(context, name)
        found = _follow(context, name, model, patches if on_patches else digits, steps)
        curves[name] = found
        horizon = model.config.steps
        rows += _rows(name, model, found, TIMES if on_patches else (horizon - 1, steps - 1))
        if name.startswith("ipvae"):
            holds = found["mse"][-1] <= found["mse"][horizon - 1]
            checks[f"{name}: MSE after {steps:,} iterations ≤ MSE after T = {horizon}"] = holds
    checks["ipvae-linear leaves more latents at zero than igvae-relu after 1,000 iterations"] = (
        curves["ipvae-linear"]["zeros"][-1] > curves["igvae-relu"]["zeros"][-1]
    )
    return ExperimentResult(
        "convergence",
        "Inference past its training horizon",
        _COLUMNS,
        rows,
        partial(_draw, curves),
        curves=curves,
        notes=_notes(context, len(patches), len(digits)),
        checks=checks,
    )


def _train(context: Context, name: str) -> SavedModel:
    if name in BETAS:
        return patches_model(context, name, beta=BETAS[name], steps=HORIZON)
    return mnist_model(context, name)


def _follow(context: Context, name: str, model: SavedModel, inputs: Float32, steps: int) -> Curves:
    def compute() -> dict[str, Any]:
        return curves_of(infer_shown(context, f"infer {name}", model, inputs, steps))

    return context.part(
        name, compute, weights=weights_digest(model), images=len(inputs), steps=steps
    )


def _rows(name: str, model: SavedModel, curves: Curves, times: tuple[int, ...]) -> list[Row]:
    theirs = published.CONVERGENCE.get(name, {})
    return [
        Row(
            f"{name}, t = {time}",
            {column.key: curves[column.key][time] for column in _COLUMNS},
            _published(theirs[time]) if time in theirs else {},
            budget_of(model),
            published.PATCHES_BUDGET if time in theirs else "",
        )
        for time in times
    ]


def _published(moment: published.Convergence) -> dict[str, float]:
    return {"r2": moment.r2, "zeros": moment.zeros, "change": moment.change}


def _notes(context: Context, patches: int, digits: int) -> list[str]:
    return [
        f"{patches:,} held-out patches, {digits:,} MNIST test digits; iterations count from 0.",
        "Published patches are van Hateren's; ours are of other photographs, whitened to unit "
        "variance, so levels compare only roughly.",
        "‖Δu‖ of Gaussian models is that of their whole state, means and log deviations.",
        f"{' and '.join(NONLINEAR)} are trained and tested on MNIST, as in mnist-table.",
        *published.UNVERIFIED["convergence"],
        *published.UNVERIFIED["decoders"],
        *(_QUICK_NOTES if context.quick else []),
    ]


def _draw(curves: dict[str, Curves], figure: Figure) -> None:
    axes = figure.subplots(1, 3)
    shown = {
        "r2": ("R²", "reconstruction"),
        "zeros": ("share of zeros", "sparsity"),
        "change": ("‖Δu‖, nats", "size of the update"),
    }
    for ax, (key, (ylabel, title)) in zip(axes, shown.items(), strict=True):
        for name in BETAS:
            _draw_family(ax, name, curves[name][key], key)
        ax.axvline(HORIZON, color="#94a3b8", lw=1, ls=":", label="training horizon T")
        ax.set_xscale("log")
        label_axes(ax, "iteration", ylabel, title)
    axes[0].set_ylim(-0.1, 1.0)
    axes[1].set_ylim(-0.03, 1.0)
    axes[2].set_ylim(bottom=0.0)
    legend_below(figure, list(axes), columns=4)


def _draw_family(ax: Axes, name: str, series: list[float], key: str) -> None:
    color = color_of(name)
    ax.plot(np.arange(1, len(series) + 1), series, color=color, label=name, **OURS)
    theirs = published.CONVERGENCE[name]
    values = [_published(moment)[key] for moment in theirs.values()]
    places = [time + 1 for time in theirs]
    ax.plot(places, values, color=color, label=f"{name}, published", **PUBLISHED)
