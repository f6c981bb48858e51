"""One dictionary, three ways to infer (arXiv:2405.14473, comparison with sparse coding).

The dictionary is the one that an amortized Poisson VAE with a linear encoder learned on whitened
patches at β = 1. With it, latents are inferred by that encoder; by iterative Poisson inference,
whose leaks, step size, variances and initial potentials are trained while the dictionary stands
still; and by LCA over its penalty λ, atoms scaled to unit norm. Where the same dictionary serves a
better reconstruction at equal sparsity, the encoder, not the dictionary, was the limit.

The encoder's curve over β lets every β have the dictionary that it learned itself, which favours
the encoder. Error is that of the posterior mean; sparsity is that of the means, over images
(lifetime) and over latents (population), in the sense of Vinje and Gallant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.experiments import published
from pvae_neuro.experiments.context import Context, budget_of
from pvae_neuro.experiments.drawing import color_of, label_axes, legend_below
from pvae_neuro.experiments.latents import (
    infer_shown,
    interpolate,
    iterations_of,
    sparsity,
    weights_digest,
)
from pvae_neuro.experiments.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared_dictionary import dictionary_of, lca_on, poisson_on
from pvae_neuro.experiments.trainings import PATCHES, QUICK_PATCHES, patches_model
from pvae_neuro.saved.model_file import Float32, SavedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENCODER, ITERATIVE, SPARSE = "encoder", "iterative Poisson", "LCA"
SHARED_BETA = 1.0
"""β of the P-VAE whose dictionary all share."""

_COLORS = {ENCODER: "pvae", ITERATIVE: "ipvae", SPARSE: "lca"}
_COLUMNS = [
    Column("mse_mean", "MSE of the mean, summed", ".1f"),
    Column("lifetime", "lifetime sparsity", ".3f"),
    Column("population", "population sparsity", ".3f"),
    Column("zeros", "zeros", ".3f"),
]


@dataclass(frozen=True)
class Point:
    """One way to infer at one setting.

    Attributes
    ----------
    way : str
        :data:`ENCODER`, :data:`ITERATIVE` or :data:`SPARSE`.
    setting : float
        β, or λ of LCA.
    figures : dict of str to float
    budget : str
        Of the training behind it.
    """

    way: str
    setting: float
    figures: dict[str, float]
    budget: str

    @property
    def title(self) -> str:
        """Way and setting, as a row is named."""
        return f"{self.way}, {'λ' if self.way == SPARSE else 'β'} = {self.setting:g}"


def run(context: Context) -> ExperimentResult:
    """Train the P-VAEs, infer with one dictionary in three ways, and compare.

    Parameters
    ----------
    context : Context

    Returns
    -------
    ExperimentResult

    Raises
    ------
    InputError
        If the patches are absent.
    """
    patches = context.images(PATCHES, "test", context.choose(400, None)).pixels
    shared = patches_model(context, "pvae-linear", beta=SHARED_BETA)
    dictionary = dictionary_of(shared)
    points = [
        *_encoder(context, patches),
        *_iterative(context, patches, dictionary),
        *_sparse(context, patches, dictionary, budget_of(shared)),
    ]
    gaps = _gaps(points)
    return ExperimentResult(
        "amortization-gap",
        "One dictionary, three ways to infer",
        _COLUMNS,
        [Row(p.title, p.figures, *_published(p)) for p in points],
        partial(_draw, points),
        curves={"mse_at_the_encoders_lifetime_sparsity": gaps},
        notes=_notes(context, len(patches), gaps),
        checks={
            f"{way} has less error than the encoder that learned the dictionary, at its lifetime "
            f"sparsity or above": _beats(points, way, gaps)
            for way in (ITERATIVE, SPARSE)
        },
    )


def _encoder(context: Context, patches: Float32) -> list[Point]:
    points = []
    for beta in context.choose((0.2, 0.6, 1.0, 1.5), (0.01, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 4.0)):
        context.tell(f"train the encoder, β = {beta:g}", 0, 1)
        model = patches_model(context, "pvae-linear", beta=beta)
        points.append(_point(context, ENCODER, beta, model, patches, 1, budget_of(model)))
    return points


def _iterative(context: Context, patches: Float32, dictionary: Float32) -> list[Point]:
    points = []
    images = context.images(PATCHES, "train", context.choose(QUICK_PATCHES, None))
    for beta in context.choose((8.0, 24.0, 64.0), (4.0, 8.0, 16.0, 24.0, 48.0, 64.0, 128.0)):
        context.tell(f"train iterative inference, β = {beta:g}", 0, 1)
        model = poisson_on(context, images, dictionary, beta)
        steps = context.choose(200, 1000)
        points.append(_point(context, ITERATIVE, beta, model, patches, steps, budget_of(model)))
    return points


def _sparse(context: Context, patches: Float32, dictionary: Float32, budget: str) -> list[Point]:
    points = []
    for penalty in context.choose(
        (0.01, 0.1, 0.5, 1.0, 2.0), (0.001, 0.1, 0.3, 0.5, 0.7, 1.0, 2.0, 4.0)
    ):
        model = lca_on(dictionary, penalty)
        steps = context.choose(300, 900)
        points.append(_point(context, SPARSE, penalty, model, patches, steps, budget))
    return points


def _point(
    context: Context,
    way: str,
    setting: float,
    model: SavedModel,
    patches: Float32,
    steps: int,
    budget: str,
) -> Point:
    count = iterations_of(model.config.family, steps)

    def compute() -> dict[str, Any]:
        trace = infer_shown(context, f"infer, {way} {setting:g}", model, patches, count)
        return {
            "mse_mean": float(trace.mse_mean[-1]),
            "lifetime": sparsity(trace.mean, axis=0),
            "population": sparsity(trace.mean, axis=1),
            "zeros": float(trace.zeros[-1]),
        }

    figures = context.part(
        way.replace(" ", "-"), compute, weights=weights_digest(model), steps=count,
        images=len(patches), setting=setting,
    )  # fmt: skip
    return Point(way, setting, figures, budget)


def _gaps(points: list[Point]) -> dict[str, Any]:
    """Error of each way at the lifetime sparsity of the encoder that has the shared dictionary."""
    encoder = _shared_encoder(points)
    found: dict[str, Any] = {ENCODER: encoder.figures["mse_mean"]}
    for way in (ITERATIVE, SPARSE):
        curve = [(p.figures["lifetime"], p.figures["mse_mean"]) for p in points if p.way == way]
        found[way] = interpolate(curve, encoder.figures["lifetime"])
    return found


def _beats(points: list[Point], way: str, gaps: dict[str, Any]) -> bool:
    """Whether a way's sweep has less error at the encoder's sparsity, or at more than that."""
    sparsity_of_encoder = _shared_encoder(points).figures["lifetime"]
    errors = [
        p.figures["mse_mean"]
        for p in points
        if p.way == way and p.figures["lifetime"] >= sparsity_of_encoder
    ]
    errors += [] if gaps[way] is None else [gaps[way]]
    return min(errors, default=np.inf) < gaps[ENCODER]


def _shared_encoder(points: list[Point]) -> Point:
    return next(p for p in points if (p.way, p.setting) == (ENCODER, SHARED_BETA))


def _published(point: Point) -> tuple[dict[str, float], str, str]:
    known = {ENCODER: published.PVAE_SWEEP, SPARSE: published.LCA_ON_PVAE}.get(point.way, [])
    theirs = next((p for p in known if p.setting == point.setting), None)
    if theirs is None:
        return {}, point.budget, ""
    figures = {"mse_mean": theirs.mse, "lifetime": theirs.sparsity}
    return figures, point.budget, published.SPARSE_CODING_BUDGET


def _notes(context: Context, patches: int, gaps: dict[str, Any]) -> list[str]:
    told = ", ".join(
        f"{way} {value:.1f}" if value is not None else f"{way}: its sweep does not reach there"
        for way, value in gaps.items()
    )
    return [
        f"{patches:,} held-out patches. At the lifetime sparsity of the encoder that learned the "
        f"shared dictionary (β = {SHARED_BETA:g}), MSE of the mean: {told}.",
        "Encoders at other β have dictionaries of their own, as published.",
        "Published patches are van Hateren's; ours are of other photographs, whitened to unit "
        "variance. Iterative Poisson inference on the dictionary of a P-VAE was not published.",
        *(["Quick version: trainings of seconds, not of hours."] if context.quick else []),
    ]


def _draw(points: list[Point], figure: Figure) -> None:
    axes = figure.subplots(1, 2, sharey=True)
    titles = {"lifetime": "over images", "population": "over latents"}
    for ax, (key, title) in zip(axes, titles.items(), strict=True):
        for way in (ENCODER, ITERATIVE, SPARSE):
            _draw_way(ax, [p for p in points if p.way == way], key)
        label_axes(ax, f"{key} sparsity", "MSE of the mean, summed over pixels", title)
    _draw_published(axes[0])
    axes[0].set_ylim(bottom=0.0)
    axes[1].set_ylabel("")
    legend_below(figure, list(axes), columns=3)


def _draw_way(ax: Axes, points: list[Point], key: str) -> None:
    way = points[0].way
    color = color_of(_COLORS[way])
    curve = sorted((p.figures[key], p.figures["mse_mean"]) for p in points)
    label = f"{way}, own dictionaries" if way == ENCODER else f"{way}, shared dictionary"
    ax.plot(*zip(*curve, strict=True), color=color, marker="o", ms=6, lw=1.8, label=label)
    if way == ENCODER:
        shared = next(p for p in points if p.setting == SHARED_BETA)
        place = shared.figures[key], shared.figures["mse_mean"]
        ax.plot(*place, "*", color=color, ms=16, mec="white", label="encoder, shared dictionary")


def _draw_published(ax: Axes) -> None:
    for way, points in ((ENCODER, published.PVAE_SWEEP), (SPARSE, published.LCA_ON_PVAE)):
        curve = [(p.sparsity, p.mse) for p in points]
        ax.plot(*zip(*curve, strict=True), color=color_of(_COLORS[way]), ls="--", lw=1.0,
                marker="o", ms=5, mfc="white", label=f"{way}, published")  # fmt: skip
