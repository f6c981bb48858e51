"""What latents stand for: decoder elements by kurtosis, and Gabor functions fitted to them.

An element is what one unit of a latent adds to the reconstruction; for a linear decoder, a column
of its dictionary. Elements of digits are strokes and blobs. Those of whitened natural patches are
oriented and localized as receptive fields of V1 are (Olshausen, Field 1996; arXiv:2405.14473,
figure 4; arXiv:2410.19315), and are fitted by Gabor functions: an element counts as one where the
fit explains more than 70 % of its variance. Kurtosis of an element's pixels is high where few of
them carry it, and that of Gaussian noise, as an element begins, is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.experiments.context import Context, budget_of
from pvae_neuro.experiments.drawing import color_of, label_axes, legend_below
from pvae_neuro.experiments.gabor import LOWEST_FREQUENCY, Gabor, fit_gabors
from pvae_neuro.experiments.latents import telling, weights_digest
from pvae_neuro.experiments.natural import natural_model
from pvae_neuro.experiments.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.trainings import mnist_model, patches_model
from pvae_neuro.plots.model import elements, kurtosis
from pvae_neuro.plots.parity import INK
from pvae_neuro.saved.model_file import Float32, SavedModel
from pvae_neuro.zoo import load_pretrained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

EXPLAINED = 0.7
"""Share of an element's variance that makes it a Gabor function."""

DIGITS, PATCHES = "MNIST", "natural patches"
_SHIPPED = "shipped model"
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


def run(context: Context) -> ExperimentResult:
    """Order elements by kurtosis and fit those of natural patches.

    Parameters
    ----------
    context : Context

    Returns
    -------
    ExperimentResult

    Raises
    ------
    InputError
        If MNIST or the patches are absent.
    """
    digits = {_SHIPPED: load_pretrained(), "ipvae-linear": _train(context, DIGITS, mnist_model)}
    patches = {
        name: _train(context, name, train) for name, train in _natural(context.quick).items()
    }
    rows = [_digits_row(name, model) for name, model in digits.items()]
    fits = {}
    for name, model in patches.items():
        fits[name] = _fit(context, name, model)
        rows.append(_patches_row(name, model, fits[name]))
    return ExperimentResult(
        "features",
        "Decoder elements by kurtosis, and Gabor fits",
        _COLUMNS,
        rows,
        partial(_draw, digits[_SHIPPED], patches["ipvae-linear"], fits),
        curves={name: [asdict(fit) for fit in found] for name, found in fits.items()},
        notes=_notes(context, fits),
        checks=_checks(patches, fits),
        size=(9.0, 5.4),
    )


def _natural(quick: bool) -> dict[str, Callable[[Context], SavedModel]]:
    """Families whose elements of natural patches are fitted, and how each is trained."""
    return (
        {"ipvae-linear": natural_model}
        if quick
        else {
            "ipvae-linear": natural_model,
            "lca": _sparse_coding,
        }
    )


def _sparse_coding(context: Context) -> SavedModel:
    return patches_model(context, "lca", beta=0.5)


def _train(context: Context, name: str, train: Callable[..., SavedModel]) -> SavedModel:
    context.tell(f"train on {name}", 0, 1)
    return train(context, "ipvae-linear") if train is mnist_model else train(context)


def _fit(context: Context, name: str, model: SavedModel) -> Fits:
    found = elements(model)

    def compute() -> dict[str, Any]:
        progress = telling(context, f"fit Gabor functions, {name}", len(found))
        return {"fits": [asdict(fit) for fit in fit_gabors(found, _shape(model), progress)]}

    kept = context.part(
        f"gabor-{name}", compute, weights=weights_digest(model), lowest=LOWEST_FREQUENCY
    )
    return [Gabor(**values) for values in kept["fits"]]


def _shape(model: SavedModel) -> tuple[int, int]:
    shape = model.config.image_shape
    side = round(model.config.pixels**0.5)
    return (side, side) if shape is None else (shape[-2], shape[-1])


def _digits_row(name: str, model: SavedModel) -> Row:
    figures = {
        "kurtosis": float(np.median(kurtosis(elements(model)))),
        "latents": float(model.config.latents),
    }
    return Row(f"{DIGITS}, {name}", figures, budget=budget_of(model))


def _patches_row(name: str, model: SavedModel, fits: Fits) -> Row:
    gabors = _gabors(fits)
    figures = {
        "kurtosis": float(np.median(kurtosis(elements(model)))),
        "gabor": len(gabors) / len(fits),
        "explained": float(np.median([fit.explained for fit in fits])),
        "latents": float(model.config.latents),
    }
    if gabors:
        figures["frequency"] = float(np.median([fit.frequency for fit in gabors]))
        figures["bandwidth"] = float(np.median([fit.bandwidth for fit in gabors]))
    return Row(f"{PATCHES}, {name}", figures, budget=budget_of(model))


def _gabors(fits: Fits) -> Fits:
    return [fit for fit in fits if fit.explained > EXPLAINED]


def _checks(patches: dict[str, SavedModel], fits: dict[str, Fits]) -> dict[str, bool]:
    noise = np.random.default_rng(0).standard_normal(elements(patches["ipvae-linear"]).shape)
    kurtotic = float(np.median(kurtosis(elements(patches["ipvae-linear"]))))
    found = fits["ipvae-linear"]
    return {
        "elements of natural patches are more kurtotic than noise": kurtotic
        > float(np.percentile(kurtosis(noise), 75)),
        f"most elements of natural patches are Gabor functions (more than {EXPLAINED:.0%} "
        "explained)": len(_gabors(found)) > len(found) / 2,
        "their orientations cover the half circle, no quarter of it without any": bool(
            np.histogram([f.orientation for f in _gabors(found)], 4, (0, 180))[0].min() > 0
        ),
    }


def _notes(context: Context, fits: dict[str, Fits]) -> list[str]:
    counts = ", ".join(f"{name} {len(_gabors(f))} of {len(f)}" for name, f in fits.items())
    return [
        f"Gabor functions among the elements (more than {EXPLAINED:.0%} of variance explained): "
        f"{counts}. Frequencies, bandwidths and orientations are of those alone; an orientation is "
        "that of the wave, so that bars of 0° are upright.",
        "Single edges are fitted at the lowest frequency that fits may take, "
        f"{LOWEST_FREQUENCY:g} cycles/pixel.",
        "Patches are signed and whitened; grey is zero, and each element has a scale of its own.",
        "Published elements are shown, not counted: there is no figure to compare with.",
        *(
            [
                "Quick version: 64 latents and a training of a minute, in which some elements are "
                "still between the noise that they began as and what they become; without LCA."
            ]
            if context.quick
            else []
        ),
    ]


def _draw(digits: SavedModel, patches: SavedModel, fits: dict[str, Fits], figure: Figure) -> None:
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1.0))
    left, right = top.subfigures(1, 2)
    _draw_elements(left, elements(digits), _shape(digits), f"{DIGITS}, {_SHIPPED}")
    _draw_elements(right, elements(patches), _shape(patches), f"{PATCHES}, ipvae-linear")
    axes = bottom.subplots(1, 3)
    _draw_histogram(axes[0], fits, "explained", np.linspace(0, 1, 21))
    axes[0].axvline(EXPLAINED, color="#94a3b8", lw=1, ls=":")
    _draw_histogram(axes[1], fits, "orientation", np.linspace(0, 180, 13))
    _draw_histogram(axes[2], fits, "frequency", np.linspace(0, 0.5, 16))
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
    for place, element in enumerate(chosen):
        row, column = divmod(place, _SHOWN_COLUMNS)
        top, left = row * (height + 1), column * (width + 1)
        scaled = element / max(float(np.abs(element).max()), 1e-12)
        canvas[top : top + height, left : left + width] = scaled.reshape(shape)
    ax.imshow(canvas, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    ax.set_title(f"{title}: most kurtotic first", fontsize=9, color=INK, loc="left")
    ax.set_axis_off()


def _draw_histogram(ax: Axes, fits: dict[str, Fits], key: str, bins: Any) -> None:
    for name, found in fits.items():
        chosen = found if key == "explained" else _gabors(found)
        if not chosen:
            continue
        values = [getattr(fit, key) for fit in chosen]
        shares = np.full(len(values), 1.0 / len(values))
        ax.hist(
            values, bins, weights=shares, histtype="step", color=color_of(name), lw=1.6, label=name
        )
