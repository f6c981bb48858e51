"""Decoder elements by kurtosis, and Gabor functions fitted to them.

An element is what one unit of a latent adds to the reconstruction; for a linear decoder, a column
of its dictionary. Elements of digits are strokes and blobs. Those of whitened natural patches are
oriented and localized like receptive fields of V1 (Olshausen, Field 1996; arXiv:2405.14473, figure
4; arXiv:2410.19315). Gabor functions are fitted to them, and an element counts as Gabor-like where
the fit explains more than 70 % of its variance. The kurtosis of an element is high where few pixels
carry it; for Gaussian noise, with which training starts, it is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.evaluation.metrics import elements, kurtosis
from pvae_neuro.experiments.shared.claims import Claim, at_least, holds
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.families import SHIPPED
from pvae_neuro.experiments.shared.gabor import LOWEST_FREQUENCY, Gabor, fit_gabors
from pvae_neuro.experiments.shared.recipes import gabor_like_model, mnist_model, patches_model
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import color_of, label_axes, legend_below
from pvae_neuro.plots.style import GUIDE, INK
from pvae_neuro.saved.model_file import LINEAR_FAMILY, Float32, SavedModel
from pvae_neuro.zoo import load_pretrained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

EXPLAINED = 0.7
"""Fraction of an element's variance that a Gabor function must explain."""

DIGITS, PATCHES = "MNIST", "natural patches"
_SHOWN_ROWS, _SHOWN_COLUMNS = 6, 11

_COLUMNS = [
    Column("kurtosis", "kurtosis, median", ".2f"),
    Column("gabor", "share of Gabor functions", ".3f"),
    Column("explained", "variance explained, median", ".3f"),
    Column("frequency", "frequency, cycles/pixel, median", ".3f"),
    Column("bandwidth", "bandwidth, octaves, median", ".2f"),
    Column("latents", "latents", ",.0f"),
]

Fits = list[Gabor]

_PROTOCOL = "linear iterative Poisson VAE on whitened patches of other photographs, T = 16, β = 24"
CLAIMS = (
    Claim(
        "kurtotic",
        "pvae",
        "Elements learned from natural patches are localized",
        "shown in figure 4, not counted",
        f"{_PROTOCOL}; median kurtosis against the upper quartile of noise",
        at_least("kurtosis, median", "kurtosis of noise, upper quartile"),
        "hour",
    ),
    Claim(
        "gabor",
        "pvae",
        "Elements learned from natural patches are Gabor functions",
        "shown in figure 4, not counted",
        f"{_PROTOCOL}; a fit explains more than {EXPLAINED:.0%} of the variance",
        at_least("share of Gabor functions", 0.5),
        "hour",
    ),
    Claim(
        "orientations",
        "pvae",
        "Their orientations cover the half circle",
        "shown in figure 4, not counted",
        _PROTOCOL,
        holds("all quarters", "some elements in every quarter of the half circle"),
        "hour",
    ),
)


def run(context: Context) -> ExperimentResult:
    """Order elements by kurtosis and fit those of natural patches."""
    context.progress(f"train on {DIGITS}", 0, 1)
    digits = {SHIPPED: load_pretrained(), LINEAR_FAMILY: mnist_model(context, LINEAR_FAMILY)}
    patches = {}
    trainings: dict[str, Callable[[Context], SavedModel]] = {LINEAR_FAMILY: gabor_like_model}
    if not context.quick:
        trainings["lca"] = partial(patches_model, name="lca", beta=0.5)
    for name, train in trainings.items():
        context.progress(f"train {name} on {PATCHES}", 0, 1)
        patches[name] = train(context)
    fits = {name: _fit(context, name, model) for name, model in patches.items()}
    rows = [
        *(_row(f"{DIGITS}, {name}", model, {}) for name, model in digits.items()),
        *(
            _row(f"{PATCHES}, {name}", model, _gabor_figures(fits[name]))
            for name, model in patches.items()
        ),
    ]
    return ExperimentResult(
        "features",
        "Decoder elements by kurtosis, and Gabor fits",
        _COLUMNS,
        rows,
        _draw,
        (digits[SHIPPED], patches[LINEAR_FAMILY], fits),
        _of_claims(patches[LINEAR_FAMILY], fits[LINEAR_FAMILY]),
        curves={name: [asdict(fit) for fit in found] for name, found in fits.items()},
        notes=_notes(context, fits),
        size=(9.0, 5.4),
    )


def _fit(context: Context, name: str, model: SavedModel) -> Fits:
    found = elements(model)

    def compute() -> dict[str, Any]:
        advance = context.advance(f"fit Gabor functions, {name}", len(found))
        return {"fits": [asdict(fit) for fit in fit_gabors(found, _shape(model), advance)]}

    stored = context.cached(f"gabor-{name}", model, compute, lowest=LOWEST_FREQUENCY)
    return [Gabor(**values) for values in stored["fits"]]


def _shape(model: SavedModel) -> tuple[int, int]:
    shape = model.config.image_shape
    side = round(model.config.pixels**0.5)
    return (side, side) if shape is None else (shape[-2], shape[-1])


def _row(title: str, model: SavedModel, gabor_figures: dict[str, float]) -> Row:
    figures = {
        "kurtosis": float(np.median(kurtosis(elements(model)))),
        **gabor_figures,
        "latents": float(model.config.latents),
    }
    return Row(title, figures, budget=budget_of(model))


def _gabor_figures(fits: Fits) -> dict[str, float]:
    gabors = _gabors(fits)
    figures = {
        "gabor": len(gabors) / len(fits),
        "explained": float(np.median([fit.explained for fit in fits])),
    }
    if gabors:
        figures["frequency"] = float(np.median([fit.frequency for fit in gabors]))
        figures["bandwidth"] = float(np.median([fit.bandwidth for fit in gabors]))
    return figures


def _gabors(fits: Fits) -> Fits:
    return [fit for fit in fits if fit.explained > EXPLAINED]


def _of_claims(model: SavedModel, fits: Fits) -> dict[str, float]:
    learned = elements(model)
    noise = np.random.default_rng(0).standard_normal(learned.shape)
    quarters = np.histogram([f.orientation for f in _gabors(fits)], 4, (0, 180))[0]
    return {
        "kurtosis, median": float(np.median(kurtosis(learned))),
        "kurtosis of noise, upper quartile": float(np.percentile(kurtosis(noise), 75)),
        "share of Gabor functions": len(_gabors(fits)) / len(fits),
        "all quarters": float(quarters.min() > 0),
    }


def _notes(context: Context, fits: dict[str, Fits]) -> list[str]:
    counts = ", ".join(f"{name} {len(_gabors(f))} of {len(f)}" for name, f in fits.items())
    quick = (
        "Quick version: 64 latents and a training of a minute, after which some elements still "
        "resemble the noise that they started as; without LCA."
    )
    return [
        f"Gabor functions among the elements (more than {EXPLAINED:.0%} of variance explained): "
        f"{counts}. Frequencies, bandwidths and orientations are of those only; an orientation is "
        "that of the wave, so that bars of 0° are upright.",
        "Single edges are fitted at the lowest frequency that fits may take, "
        f"{LOWEST_FREQUENCY:g} cycles/pixel.",
        "Patches are signed and whitened; grey is zero, and each element has its own scale.",
        "Published elements are shown, not counted: there is no figure to compare with.",
        *context.pick([quick], hour=[]),
    ]


def _draw(figure: Figure, seeds: list[tuple[SavedModel, SavedModel, dict[str, Fits]]]) -> None:
    digits, patches, first = seeds[0]
    fits = {name: [fit for *_, each in seeds for fit in each[name]] for name in first}
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1.0))
    left, right = top.subfigures(1, 2)
    _draw_elements(left, elements(digits), _shape(digits), f"{DIGITS}, {SHIPPED}")
    _draw_elements(right, elements(patches), _shape(patches), f"{PATCHES}, {LINEAR_FAMILY}")
    axes = bottom.subplots(1, 3)
    gabors = {name: _gabors(each) for name, each in fits.items()}
    _draw_histogram(axes[0], fits, "explained", np.linspace(0, 1, 21))
    axes[0].axvline(EXPLAINED, color=GUIDE, lw=1, ls=":")
    _draw_histogram(axes[1], gabors, "orientation", np.linspace(0, 180, 13))
    _draw_histogram(axes[2], gabors, "frequency", np.linspace(0, 0.5, 16))
    label_axes(axes[0], "variance explained by the fit", "elements, share", "Gabor fits")
    label_axes(axes[1], "orientation of the wave, °", "", "orientation")
    label_axes(axes[2], "frequency, cycles/pixel", "", "spatial frequency")
    axes[1].set_xticks([0, 45, 90, 135, 180])
    legend_below(bottom, list(axes), columns=2)


def _draw_elements(figure: SubFigure, found: Float32, shape: tuple[int, int], title: str) -> None:
    ax = figure.subplots()
    count = min(len(found), _SHOWN_ROWS * _SHOWN_COLUMNS)
    # Evenly through the order, from the most kurtotic to the least.
    chosen = found[np.linspace(0, len(found) - 1, count).astype(int)]
    height, width = shape
    rows = -(-count // _SHOWN_COLUMNS)
    canvas = np.full((rows * (height + 1), _SHOWN_COLUMNS * (width + 1)), np.nan)
    for i, element in enumerate(chosen):
        row, column = divmod(i, _SHOWN_COLUMNS)
        top, left = row * (height + 1), column * (width + 1)
        scaled = element / max(float(np.abs(element).max()), 1e-12)
        canvas[top : top + height, left : left + width] = scaled.reshape(shape)
    ax.imshow(canvas, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_title(f"{title}: most kurtotic first", fontsize=9, color=INK, loc="left")
    ax.set_axis_off()


def _draw_histogram(ax: Axes, fits: dict[str, Fits], key: str, bins: Any) -> None:
    for name, found in fits.items():
        if found:
            values = [getattr(fit, key) for fit in found]
            weights = np.full(len(values), 1.0 / len(values))
            style: dict[str, Any] = {"histtype": "step", "color": color_of(name), "lw": 1.6}
            ax.hist(values, bins, weights=weights, label=name, **style)
