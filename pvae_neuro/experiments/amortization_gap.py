"""One dictionary, three ways to infer (arXiv:2405.14473, comparison with sparse coding).

The dictionary is the one that an amortized Poisson VAE with a linear encoder learned at β = 1 on
whitened patches, standardized each. With it, latents are inferred by that encoder; by iterative
Poisson inference, whose leaks, step size, variances and initial potentials are trained while the
dictionary is fixed; and by LCA over its penalty λ, with atoms scaled to unit norm. If another way
reconstructs better at equal sparsity, then the encoder was the limit, not the dictionary.

The encoder's curve over β uses the dictionary that was learned at each β, as published, and so does
that of a rectified Gaussian encoder beside it. The error is that of the posterior mean; sparsity is
that of samples, over images (lifetime) and over latents (population), after Vinje and Gallant,
silent ones as 1. The ways are compared at the lifetime sparsity of the published figures, .91.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pvae_neuro.data import Images
from pvae_neuro.data.transforms import standardize_images
from pvae_neuro.evaluation.measures.sparsity import lifetime_sparsity, population_sparsity
from pvae_neuro.experiments.shared import published
from pvae_neuro.experiments.shared.claims import Claim, all_of, at_least, at_most, ordered
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.families import iterations_of
from pvae_neuro.experiments.shared.measures import interpolate
from pvae_neuro.experiments.shared.recipes import EXACT, PATCHES, PATCHES_OF_A_UNIT
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import color_of, crosses, label_axes, legend_below
from pvae_neuro.models.registry import build_model, model_from_saved
from pvae_neuro.saved.model_file import Float32, ModelConfig, SavedModel
from pvae_neuro.training.train import recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENCODER, ITERATIVE, SPARSE = "encoder", "iterative Poisson", "LCA"
RECTIFIED = "rectified Gaussian encoder"
"""With dictionaries of its own; the metabolic claims compare it (arXiv:2602.13421)."""

SHARED_BETA = 1.0
"""β of the P-VAE whose dictionary is shared."""

LIFETIME = 0.91
"""Lifetime sparsity at which the ways are compared."""

_FAMILIES = {
    ENCODER: "pvae-linear", ITERATIVE: "ipvae-linear", SPARSE: "lca", RECTIFIED: "gvae-linear",
}  # fmt: skip
_ARCHITECTURES: dict[str, dict[str, Any]] = {
    ENCODER: {"estimator": "exact"}, RECTIFIED: {"relu": True, "log_sigma_bound": 5.3},
}  # fmt: skip
_COLUMNS = [
    Column("mse_mean", "MSE of the mean, summed", ".1f"),
    Column("lifetime", "lifetime sparsity", ".3f"),
    Column("population", "population sparsity", ".3f"),
    Column("zeros", "zeros", ".3f"),
]
_HORIZON = 16
_PROTOCOL = (
    "whitened patches of other photographs, standardized each; a dictionary that a P-VAE with a "
    "linear encoder learned at β = 1; error of the mean"
)
_AT_LIFETIME = (
    f"{_PROTOCOL} at lifetime sparsity {LIFETIME:g} of samples, between settings; encoders at "
    "other β have dictionaries of their own, as published"
)
_SAME_LAMBDA = 0.5
"""λ at which LCA is read beside the encoder of the shared dictionary."""

_RISING = (1.0, 1.5, 4.0)
"""β that encoders have at every budget."""

_SHARED, _SPARSE = f"{ENCODER}, β = {SHARED_BETA:g}", f"{SPARSE}, λ = {_SAME_LAMBDA:g}"

CLAIMS = (
    Claim(
        "gap-LCA",
        "pvae",
        "LCA with the dictionary of the P-VAE has far less error than its encoder",
        "58 against 131 at lifetime sparsity .91",
        _AT_LIFETIME,
        at_most(f"{SPARSE}: error", f"{ENCODER}: error", factor=0.6),
        "hour",
    ),
    Claim(
        "gap-dictionary",
        "pvae",
        "With the very dictionary of the encoder, LCA has far less error and is sparser",
        "58.2 at lifetime sparsity .916 (λ = .5) against 102.4 at .790 (β = 1)",
        _PROTOCOL,
        all_of(
            at_most(f"{_SPARSE}: mse_mean", f"{_SHARED}: mse_mean", factor=0.6),
            at_least(f"{_SPARSE}: lifetime", f"{_SHARED}: lifetime", form=".3f"),
        ),
        "hour",
    ),
    Claim(
        "gap-iterative",
        "beyond",
        "Iterative Poisson inference with the dictionary of the P-VAE has less error than its "
        "encoder",
        "not published",
        _AT_LIFETIME,
        at_most(f"{ITERATIVE}: error", f"{ENCODER}: error"),
        "hour",
    ),
    Claim(
        "beta-zeros",
        "metabolic",
        "The larger β, the more latents of the P-VAE stay silent",
        "monotone in β from .01 to 4; KL from 1,333 to 1.13 nats",
        "P-VAE with a linear encoder, a dictionary of its own at each β; zeros of one sample",
        ordered(*(f"{ENCODER}, β = {beta:g}: zeros" for beta in _RISING), form=".3f"),
        "hour",
    ),
    Claim(
        "beta-error",
        "metabolic",
        "The larger β, the larger the error of the P-VAE",
        "MSE of the mean from 3.35 (β = .01) to 234.5 (β = 4)",
        "the same models; patches of other photographs",
        ordered(*(f"{ENCODER}, β = {beta:g}: mse_mean" for beta in _RISING), form=".1f"),
        "hour",
    ),
    Claim(
        "beta-rectified",
        "metabolic",
        "The sparsity of a rectified Gaussian VAE does not rise with β",
        "in words",
        "linear encoder, a dictionary of its own at each β; zeros of one sample",
        at_most(
            f"{RECTIFIED}, β = {_RISING[-1]:g}: zeros",
            f"{RECTIFIED}, β = {_RISING[0]:g}: zeros",
            slack=0.05,
            form=".3f",
        ),
        "hour",
    ),
)

# Fraction of the learning rate at which a dictionary does not change.
_FIXED = 1e-9


@dataclass(frozen=True)
class Point:
    """One way to infer at one setting."""

    way: str
    """:data:`ENCODER`, :data:`ITERATIVE`, :data:`SPARSE` or :data:`RECTIFIED`."""

    setting: float
    """β, or λ of LCA."""

    figures: dict[str, float]
    budget: str

    @property
    def title(self) -> str:
        """Name of the row."""
        return f"{self.way}, {'λ' if self.way == SPARSE else 'β'} = {self.setting:g}"


def run(context: Context) -> ExperimentResult:
    """Train the P-VAEs, infer with one dictionary in three ways, and compare."""
    patches = patches_of(context, "test", context.pick(100, hour=1000, published=None)).pixels
    shared = encoder_model(context, SHARED_BETA)
    dictionary = dictionary_of(shared)
    betas = context.pick(
        _RISING,
        hour=(1.0, 1.5, 2.5, 4.0, 8.0, 16.0),
        published=(0.01, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 4.0, 8.0, 16.0),
    )
    points = [
        *_encoders(context, ENCODER, betas, patches),
        *_iterative(context, patches, dictionary),
        *_sparse(context, patches, dictionary, budget_of(shared)),
        *_encoders(context, RECTIFIED, _RISING, patches),
    ]
    gaps = errors_at(points)
    return ExperimentResult(
        "amortization-gap",
        "One dictionary, three ways to infer",
        _COLUMNS,
        [_row(point) for point in points],
        _draw,
        points,
        {f"{way}: error": error for way, error in gaps.items() if error is not None},
        curves={"error_at_equal_lifetime_sparsity": gaps},
        notes=_notes(context, len(patches), gaps),
    )


def _encoders(
    context: Context, way: str, betas: tuple[float, ...], patches: Float32
) -> list[Point]:
    points = []
    for beta in betas:
        context.progress(f"train the {way}, β = {beta:g}", 0, 1)
        model = encoder_model(context, beta, way)
        points.append(_point(context, way, beta, model, patches, 1, budget_of(model)))
    return points


def _iterative(context: Context, patches: Float32, dictionary: Float32) -> list[Point]:
    points = []
    images = patches_of(context, "train", context.pick(PATCHES_OF_A_UNIT, published=None))
    steps = context.pick(100, hour=1000)
    for beta in context.pick(
        (24.0, 64.0),
        hour=(24.0, 64.0, 200.0),
        published=(4.0, 8.0, 16.0, 24.0, 48.0, 64.0, 128.0, 200.0),
    ):
        context.progress(f"train iterative inference, β = {beta:g}", 0, 1)
        model = poisson_on(context, images, dictionary, beta)
        points.append(_point(context, ITERATIVE, beta, model, patches, steps, budget_of(model)))
    return points


def _sparse(context: Context, patches: Float32, dictionary: Float32, budget: str) -> list[Point]:
    steps = context.pick(200, hour=900)
    penalties = context.pick(
        (0.5, 1.0, 2.0),
        hour=(0.3, 0.4, 0.5, 1.0, 2.0),
        published=(0.001, 0.1, 0.3, 0.5, 0.7, 1.0, 2.0, 4.0),
    )
    # Steps and shrinkage know no range: LCA takes patches of any contrast.
    reach = float(np.abs(patches).max())
    models = {penalty: lca_on(dictionary, penalty, reach) for penalty in penalties}
    return [
        _point(context, SPARSE, penalty, model, patches, steps, budget)
        for penalty, model in models.items()
    ]


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
        trace = context.infer(f"infer, {way} {setting:g}", model, patches, count)
        return {
            "mse_mean": float(trace.mse_mean[-1]),
            "lifetime": lifetime_sparsity(trace.z),
            "population": population_sparsity(trace.z),
            "zeros": float(trace.zeros[-1]),
        }

    figures = context.cached(way, model, compute, steps=count, images=len(patches), setting=setting)
    return Point(way, setting, figures, budget)


def patches_of(context: Context, split: str, count: int | None) -> Images:
    """Whitened patches, standardized each."""
    return standardize_images(context.images(PATCHES, split, count))


def encoder_model(context: Context, beta: float, way: str = ENCODER) -> SavedModel:
    """The amortized VAE of a way, with linear encoder and decoder, trained at a β."""
    config = recipe(
        _FAMILIES[way], latents=context.pick(256, hour=512), beta=beta, seed=context.seed,
        epochs=context.pick(4, hour=20, published=300), batch_size=100,
        learning_rate=context.pick(3e-3, published=2e-3), architecture=_ARCHITECTURES[way],
    )  # fmt: skip
    images = patches_of(context, "train", context.pick(PATCHES_OF_A_UNIT, hour=None))
    return context.trained(f"patches-{_FAMILIES[way]}-b{beta:g}", images, config)


def dictionary_of(model: SavedModel) -> Float32:
    """What each latent of a linear decoder without bias adds to the reconstruction, [M, K]."""
    with torch.no_grad():
        atoms = model_from_saved(model).decode(torch.eye(model.config.latents))
    return np.ascontiguousarray(atoms.numpy().T)


def poisson_on(context: Context, images: Images, dictionary: Float32, beta: float) -> SavedModel:
    """A linear iterative Poisson VAE with this dictionary [M, K]; all other parameters trained."""
    config = recipe(
        "ipvae-linear", latents=dictionary.shape[1], steps=_HORIZON, beta=beta, seed=context.seed,
        **EXACT, dictionary_rate=_FIXED, learning_rate=3e-2, batch_size=100,
        epochs=context.pick(1, hour=2, published=20),
    )  # fmt: skip
    sizes = ModelConfig(
        family=config.model, pixels=images.pixels.shape[1], latents=config.latents,
        steps=config.steps, beta=config.beta, input_low=images.low, input_high=images.high,
        image_shape=images.image_shape,
    )  # fmt: skip
    untrained = build_model(sizes, torch.Generator().manual_seed(config.seed)).to_saved()
    # Starting with a step size of 1 / λmax of ΦᵀΦ keeps inference stable; training improves it.
    step = np.array(-np.log(max(_largest_eigenvalue(dictionary), 1.0)), np.float32)
    start = _with_arrays(untrained, dictionary=dictionary, log_step_size=step)
    trained = context.trained(f"patches-poisson-on-pvae-b{beta:g}", images, config, start)
    # Training moved the dictionary by rounding at most: put the very same one back.
    return _with_arrays(trained, dictionary=dictionary)


def lca_on(dictionary: Float32, penalty: float, reach: float) -> SavedModel:
    """LCA with penalty λ and the atoms of a dictionary [M, K], scaled to unit norm.

    ``reach`` is the largest magnitude of its inputs.
    """
    norms = np.linalg.norm(dictionary, axis=0)
    atoms = (dictionary / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    # Potentials oscillate with steps above 2 / λmax; half of that leaves a margin.
    step = min(0.1, 1.0 / _largest_eigenvalue(atoms))
    config = ModelConfig(
        family="lca", pixels=len(atoms), latents=atoms.shape[1], steps=1, beta=1.0,
        input_low=-reach, input_high=reach, architecture={"lambda_": penalty, "step": step},
    )  # fmt: skip
    return SavedModel(config, {"dictionary": atoms})


def _largest_eigenvalue(dictionary: Float32) -> float:
    """λmax of ΦᵀΦ."""
    return float(np.linalg.norm(dictionary, ord=2)) ** 2


def _with_arrays(model: SavedModel, **arrays: Float32) -> SavedModel:
    return replace(model, arrays={**model.arrays, **arrays})


def errors_at(points: list[Point], lifetime: float = LIFETIME) -> dict[str, float | None]:
    """Error of each way at a lifetime sparsity, between its settings; None outside of them."""
    return {
        way: interpolate(
            [(p.figures["lifetime"], p.figures["mse_mean"]) for p in points if p.way == way],
            lifetime,
        )
        for way in _FAMILIES
    }


def _shared_encoder(points: list[Point]) -> Point:
    return next(p for p in points if (p.way, p.setting) == (ENCODER, SHARED_BETA))


def _row(point: Point) -> Row:
    theirs = published.SPARSE_CODING.get(point.way, {}).get(point.setting, {})
    budget = published.SPARSE_CODING_BUDGET if theirs else ""
    return Row(point.title, point.figures, theirs, point.budget, budget)


def _notes(context: Context, patches: int, gaps: dict[str, float | None]) -> list[str]:
    errors = ", ".join(
        f"{way} {value:.1f}" if value is not None else f"{way}: not reached by its settings"
        for way, value in gaps.items()
    )
    return [
        f"{patches:,} held-out patches. Error of the mean at lifetime sparsity {LIFETIME:g}: "
        f"{errors}.",
        "Encoders at other β have dictionaries of their own, as published.",
        "Published patches are van Hateren's; ours are of other photographs, whitened and "
        "standardized. Iterative Poisson inference on the dictionary of a P-VAE was not published.",
        *context.pick(["Quick version: trainings of seconds, not of hours."], hour=[]),
    ]


def _draw(figure: Figure, seeds: list[list[Point]]) -> None:
    axes = figure.subplots(1, 2, sharey=True)
    titles = {"lifetime": "over images", "population": "over latents"}
    for ax, (key, title) in zip(axes, titles.items(), strict=True):
        for way in _FAMILIES:
            _draw_way(ax, way, seeds, key)
        label_axes(ax, f"{key} sparsity", "MSE of the mean, summed over pixels", title)
    for way, settings in published.SPARSE_CODING.items():
        curve = [(row["lifetime"], row["mse_mean"]) for row in settings.values()]
        axes[0].plot(*zip(*curve, strict=True), color=color_of(_FAMILIES[way]), ls="--", lw=1.0,
                     marker="o", ms=5, mfc="white", label=f"{way}, published")  # fmt: skip
    axes[0].set_ylim(bottom=0.0)
    axes[1].set_ylabel("")
    legend_below(figure, list(axes), columns=3)


def _draw_way(ax: Axes, way: str, seeds: list[list[Point]], key: str) -> None:
    color = color_of(_FAMILIES[way])
    sparsities, errors = (
        [[p.figures[name] for p in points if p.way == way] for points in seeds]
        for name in (key, "mse_mean")
    )
    owned = "own dictionaries" if way in _ARCHITECTURES else "shared dictionary"
    label = f"{way}, {owned}"
    crosses(ax, sparsities, errors, color=color, marker="o", ms=6, lw=1.8, label=label)
    if way == ENCODER:
        shared = [_shared_encoder(points).figures for points in seeds]
        ax.plot(fmean(f[key] for f in shared), fmean(f["mse_mean"] for f in shared), "*",
                color=color, ms=16, mec="white", label="encoder, shared dictionary")  # fmt: skip
