"""Reconstruction against sparsity on whitened patches (arXiv:2410.19315, figure 4).

Every point is a model of its own: the linear iterative Poisson VAE and the rectified Gaussian one
over T and β, the amortized Poisson VAE over β, and sparse coding by LCA, dictionary learning
included, over its penalty λ. R² is that of reconstructions from samples. The distance
``d = sqrt((1 - R²)² + (1 - zeros)²)`` from perfect reconstruction by no latent at all ranks them.

At equal zeros the iterative Poisson VAE is held against LCA by straight lines between neighbouring
settings, both trained here on the same patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pvae_neuro.experiments import published
from pvae_neuro.experiments.context import Context, budget_of
from pvae_neuro.experiments.drawing import color_of, label_axes, legend_below
from pvae_neuro.experiments.latents import (
    distance,
    infer_shown,
    interpolate,
    is_amortized,
    iterations_of,
    weights_digest,
)
from pvae_neuro.experiments.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.trainings import PATCHES, patches_model
from pvae_neuro.saved.model_file import Float32, SavedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EQUAL_ZEROS = 0.775
"""Zeros at which the published iterative Poisson VAE and LCA meet."""

_COLUMNS = [
    Column("zeros", "zeros", ".3f"),
    Column("r2", "R²", ".3f"),
    Column("r2_mean", "R² of the mean", ".3f"),
    Column("distance", "distance d", ".3f"),
]
_SYMBOLS = {8: "v", 16: "o", 32: "^", None: "s"}


@dataclass(frozen=True)
class Setting:
    """One model of the sweep.

    Attributes
    ----------
    family : str
    beta : float
        Weight of the KL term; λ of LCA.
    steps : int, optional
        T, where the family has training windows.
    """

    family: str
    beta: float
    steps: int | None = None

    @property
    def title(self) -> str:
        """Family and setting, as a row is named."""
        if self.family == "lca":
            return f"lca, λ = {self.beta:g}"
        window = "" if self.steps is None else f"T = {self.steps}, "
        return f"{self.family}, {window}β = {self.beta:g}"


def settings(quick: bool) -> list[Setting]:
    """The sweep: the papers' settings, or a few of them.

    Parameters
    ----------
    quick : bool

    Returns
    -------
    list of Setting
    """
    chosen = _QUICK if quick else _FULL
    return [
        Setting(family, beta, steps)
        for family, windows in chosen.items()
        for steps, betas in windows.items()
        for beta in betas
    ]


_Sweep = dict[str, dict[int | None, tuple[float, ...]]]
_QUICK: _Sweep = {
    "ipvae-linear": {8: (8.0,), 16: (8.0, 24.0, 48.0)},
    "igvae-relu": {16: (4.0, 8.0)},
    "pvae-linear": {None: (0.2, 0.6, 1.0)},
    "lca": {None: (0.2, 0.5, 1.0)},
}
_FULL: _Sweep = {
    "ipvae-linear": {
        8: (4.0, 8.0, 16.0),
        16: (8.0, 12.0, 16.0, 20.0, 24.0, 32.0, 48.0, 64.0),
        32: (16.0, 32.0, 64.0, 96.0, 128.0),
    },
    "igvae-relu": {
        8: (4.0, 8.0, 16.0, 32.0),
        16: (8.0, 16.0, 32.0, 64.0),
        32: (8.0, 16.0, 32.0, 64.0, 128.0),
    },
    "pvae-linear": {None: (0.01, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 4.0)},
    "pvae-conv": {None: (0.01, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 4.0)},
    "lca": {
        None: (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0, 5.0),
    },
}


def run(context: Context) -> ExperimentResult:
    """Train the sweep, read R² and zeros after inference, and rank by distance.

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
    steps = context.choose(300, 1000)
    patches = context.images(PATCHES, "test", context.choose(200, None)).pixels
    sweep = settings(context.quick)
    points: list[tuple[Setting, dict[str, float]]] = []
    rows: list[Row] = []
    for place, setting in enumerate(sweep):
        context.tell(f"train {setting.title}", place, len(sweep))
        model = train_setting(context, setting)
        figures = _measure(context, setting, model, patches, steps)
        points.append((setting, figures))
        rows.append(_row(setting, figures, model))
    ours, lca = _at_equal_zeros(points, "ipvae-linear"), _at_equal_zeros(points, "lca")
    return ExperimentResult(
        "rate-distortion",
        "Reconstruction against sparsity on whitened patches",
        _COLUMNS,
        rows,
        partial(_draw, points),
        curves={"at_equal_zeros": {"zeros": EQUAL_ZEROS, "ipvae-linear": ours, "lca": lca}},
        notes=_notes(context, points, len(patches), steps, ours, lca),
        checks=_checks(points, ours, lca),
    )


def train_setting(context: Context, setting: Setting) -> SavedModel:
    """Train one model of the sweep, or take the one trained before."""
    if setting.family == "lca":
        architecture = {"lambda_": setting.beta}
        return patches_model(context, "lca", beta=1.0, architecture=architecture)
    return patches_model(context, setting.family, beta=setting.beta, steps=setting.steps)


def _measure(
    context: Context, setting: Setting, model: SavedModel, patches: Float32, steps: int
) -> dict[str, float]:
    count = iterations_of(setting.family, steps)

    def compute() -> dict[str, Any]:
        trace = infer_shown(context, f"infer {setting.title}", model, patches, count)
        r2, zeros = float(trace.r2[-1]), float(trace.zeros[-1])
        return {
            "r2": r2,
            "r2_mean": float(trace.r2_mean[-1]),
            "zeros": zeros,
            "distance": distance(r2, zeros),
        }

    return context.part(
        setting.family, compute, weights=weights_digest(model), images=len(patches), steps=count
    )


def _row(setting: Setting, figures: dict[str, float], model: SavedModel) -> Row:
    theirs = _published_point(setting)
    if theirs is None:
        return Row(setting.title, figures, budget=budget_of(model))
    known = {"zeros": theirs.zeros, "r2": theirs.r2, "distance": distance(theirs.r2, theirs.zeros)}
    if theirs.r2_mean is not None:
        known["r2_mean"] = theirs.r2_mean
    budget = published.PATCHES_BUDGET if setting.steps is not None else ""
    return Row(setting.title, figures, known, budget_of(model), budget)


def _published_point(setting: Setting) -> published.RatePoint | None:
    points = published.RATE_DISTORTION.get(setting.family, [])
    found = (p for p in points if (p.beta, p.steps) == (setting.beta, setting.steps))
    return next(found, None)


def _at_equal_zeros(points: list[tuple[Setting, dict[str, float]]], family: str) -> float | None:
    """R² of a family at the zeros of comparison: the best of its windows' curves."""
    windows = {setting.steps for setting, _ in points if setting.family == family}
    found = [
        interpolate(
            [
                (figures["zeros"], figures["r2"])
                for setting, figures in points
                if (setting.family, setting.steps) == (family, window)
            ],
            EQUAL_ZEROS,
        )
        for window in windows
    ]
    return max((value for value in found if value is not None), default=None)


def _checks(
    points: list[tuple[Setting, dict[str, float]]], ours: float | None, lca: float | None
) -> dict[str, bool]:
    best = {
        family: min(f["distance"] for s, f in points if s.family == family)
        for family in dict.fromkeys(setting.family for setting, _ in points)
    }
    reached = ours is not None and lca is not None
    return {
        f"R² of ipvae-linear at {EQUAL_ZEROS} zeros ≥ that of LCA": reached and ours >= lca,  # type: ignore[operator]
        "best distance: ipvae-linear below igvae-relu": best["ipvae-linear"] < best["igvae-relu"],
        "best distance: ipvae-linear below the amortized P-VAE": best["ipvae-linear"]
        < min(value for family, value in best.items() if is_amortized(family)),
    }


def _notes(
    context: Context,
    points: list[tuple[Setting, dict[str, float]]],
    patches: int,
    steps: int,
    ours: float | None,
    lca: float | None,
) -> list[str]:
    def tell(family: str, value: float | None) -> str:
        if value is not None:
            return f"R² {value:.3f} ({family})"
        zeros = [figures["zeros"] for setting, figures in points if setting.family == family]
        return f"not reached by {family}, whose zeros span {min(zeros):.3f} to {max(zeros):.3f}"

    return [
        f"{patches:,} held-out patches; figures after {steps:,} iterations, of amortized models "
        f"after their one pass.",
        f"At {EQUAL_ZEROS} zeros, between neighbouring settings: {tell('ipvae-linear', ours)}, "
        f"{tell('lca', lca)}; published .827 and .826.",
        "Published patches are van Hateren's; ours are of other photographs, whitened to unit "
        "variance. A published amortized model has a convolutional encoder.",
        *(["Quick version: trainings of seconds, not of hours."] if context.quick else []),
    ]


def _draw(points: list[tuple[Setting, dict[str, float]]], figure: Figure) -> None:
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1.0])
    _draw_plane(left, points)
    _draw_distances(right, points)
    legend_below(figure, [left], columns=4)


def _draw_plane(ax: Axes, points: list[tuple[Setting, dict[str, float]]]) -> None:
    groups = dict.fromkeys((s.family, s.steps) for s, _ in points)
    for family, window in groups:
        chosen = [f for s, f in points if (s.family, s.steps) == (family, window)]
        curve = sorted((f["zeros"], f["r2"]) for f in chosen)
        label = family if window is None else f"{family}, T = {window}"
        marker = _SYMBOLS.get(window, "D")
        ax.plot(*zip(*curve, strict=True), color=color_of(family), marker=marker, ms=6, lw=1.6,
                label=label)  # fmt: skip
    for family in ("ipvae-linear", "lca"):
        curve = sorted((p.zeros, p.r2) for p in published.RATE_DISTORTION[family])
        ax.plot(*zip(*curve, strict=True), color=color_of(family), marker="o", ms=5, mfc="white",
                ls="--" if family == "lca" else "none", lw=1.0, label=f"{family}, published",
                zorder=1.5)  # fmt: skip
    ax.axvline(EQUAL_ZEROS, color="#94a3b8", lw=1, ls=":", label=f"{EQUAL_ZEROS} zeros")
    ax.set_xlim(0.0, 1.02)
    ax.set_ylim(0.0, 1.02)
    label_axes(ax, "share of zeros", "R² (samples)", "one point a model")


def _draw_distances(ax: Axes, points: list[tuple[Setting, dict[str, float]]]) -> None:
    families = list(dict.fromkeys(setting.family for setting, _ in points))
    for place, family in enumerate(families):
        values = [f["distance"] for s, f in points if s.family == family]
        ax.plot([place] * len(values), values, "o", color=color_of(family), ms=5, alpha=0.6)
        ax.plot(place, min(values), "_", color=color_of(family), ms=22, mew=2.5)
        theirs = published.RATE_DISTORTION.get(family, [])
        if theirs:
            best = min(distance(point.r2, point.zeros) for point in theirs)
            ax.plot(place + 0.25, best, "o", color=color_of(family), mfc="white", ms=6)
    ax.set_xticks(range(len(families)), families, rotation=20, ha="right")
    ax.set_xlim(-0.5, len(families) - 0.5)
    ax.set_ylim(bottom=0.0)
    label_axes(ax, "", "distance d", "bar: best of ours; open: best published")
