"""Every model on MNIST (arXiv:2410.19315, table "mnist").

For every family: reconstruction error, R², share of zeros, accuracy of a logistic regression on the
latents, and number of parameters. For the model that comes with the package the same, with the
published figures of the linear iterative Poisson VAE as thresholds. The paper tests for up to 1,000
iterations and does not say after which its table was read; ours gives the iterations of each row.

MSE, R² and zeros are those of one sample of the latents after the last iteration. The regression
gets the latents averaged over the last 16 iterations, and, in a column of its own, that one sample.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pvae_neuro.data import Images
from pvae_neuro.errors import InputError
from pvae_neuro.experiments.shared import published
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.families import is_amortized
from pvae_neuro.experiments.shared.measures import classification_accuracy
from pvae_neuro.experiments.shared.recipes import mnist_model
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import color_of, label_axes, legend_below
from pvae_neuro.models.registry import model_names
from pvae_neuro.models.sizes import count_parameters
from pvae_neuro.plots.style import INK
from pvae_neuro.saved.model_file import LINEAR_FAMILY, SavedModel
from pvae_neuro.training.train import recipe
from pvae_neuro.zoo import load_pretrained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHIPPED = "shipped model"
SHIPPED_STEPS = (128, 1000)
AVERAGED = 16
"""Number of last iterations over which latents are averaged for the regression."""

BARS = {"mse": 3.44, "r2": 0.951, "zeros": 0.844, "accuracy": 0.964}
"""Thresholds for the shipped model: the published linear iterative Poisson VAE."""

# Thresholds that are not checked in quick mode: the first test digits have less variance than the
# average one, which lowers R² within images by .0035, and quick regressions have few labels.
_FULL_ALONE = ("r2", "accuracy")

_ORDER = ("ipvae-linear", "igvae", "igvae-relu", "pvae-conv")
"""Families from the smallest published MSE to the largest."""

_IMAGE_SHAPE = (28, 28)
_COLUMNS = [
    Column("steps", "iterations", ",.0f"),
    Column("mse", "MSE, summed", ".2f"),
    Column("mse_pixel", "MSE per pixel", ".2e"),
    Column("r2", "R² within images", ".3f"),
    Column("r2_mean_image", "R² about the mean image", ".3f"),
    Column("zeros", "zeros", ".3f"),
    Column("accuracy", "accuracy", ".3f"),
    Column("accuracy_sample", "accuracy, one sample", ".3f"),
    Column("parameters", "parameters", ",.0f"),
]


def run(context: Context) -> ExperimentResult:
    """Train every family on MNIST and fill the table."""
    steps = context.choose(32, 128)
    names = model_names()
    rows = []
    for i, name in enumerate(names):
        context.progress(f"train {name}", i, len(names))
        model = mnist_model(context, name)
        # More iterations of an encoder only sample again.
        count = AVERAGED if is_amortized(name) else steps
        figures = _measure(context, name, model, count, classify=True)
        rows.append(_row(name, name, figures, budget_of(model)))
    shipped = load_pretrained()
    for count in SHIPPED_STEPS:
        classify = count == min(SHIPPED_STEPS) or not context.quick
        figures = _measure(context, SHIPPED, shipped, count, classify=classify)
        rows.append(_row(_shipped_title(count), LINEAR_FAMILY, figures, budget_of(shipped)))
    return ExperimentResult(
        "mnist-table",
        "Every model on MNIST",
        _COLUMNS,
        rows,
        partial(_draw, rows),
        notes=_notes(context),
        checks=_checks(context, rows),
        size=(9.0, 5.6),
    )


def _shipped_title(steps: int) -> str:
    return f"{SHIPPED}, {steps:,}"


def _measure(
    context: Context, name: str, model: SavedModel, steps: int, *, classify: bool
) -> dict[str, float]:
    test = context.images("mnist", "test", context.choose(250, None))
    train = context.images("mnist", "train", context.choose(500, None)) if classify else None
    return context.cached(
        name, model, partial(_figures, context, name, model, steps, test, train), steps=steps,
        test=len(test.pixels), train=0 if train is None else len(train.pixels),
        figures=[column.key for column in _COLUMNS],
    )  # fmt: skip


def _figures(
    context: Context, name: str, model: SavedModel, steps: int, test: Images, train: Images | None
) -> dict[str, Any]:
    trace = context.infer(f"infer {name}, test", model, test.pixels, steps, AVERAGED)
    family = model.config.family
    figures = {
        "steps": float(steps),
        "mse": float(trace.mse[-1]),
        "mse_pixel": float(trace.mse[-1]) / test.pixels.shape[1],
        "r2": float(trace.r2[-1]),
        "r2_mean_image": float(trace.r2_mean_image[-1]),
        "zeros": float(trace.zeros[-1]),
        # With as many latents as the family's own recipe has, also where a quick version has fewer.
        "parameters": float(count_parameters(family, recipe(family).latents, _IMAGE_SHAPE)),
    }
    if train is None:
        return figures
    if train.labels is None or test.labels is None:
        raise InputError("mnist: expected labels for a logistic regression to learn, got none")
    seen = context.infer(f"infer {name}, train", model, train.pixels, steps, AVERAGED)
    context.progress(f"classify {name}", 0, 1)
    classify = partial(
        classification_accuracy, train_labels=train.labels, test_labels=test.labels,
        iterations=context.choose(100, 1000),
    )  # fmt: skip
    figures["accuracy"] = classify(train=seen.z_average, test=trace.z_average)
    figures["accuracy_sample"] = classify(train=seen.z, test=trace.z)
    return figures


def _row(title: str, family: str, figures: dict[str, float], budget: str) -> Row:
    theirs = published.MNIST_TABLE.get(family, {"budget": ""})
    known = {column.key: theirs[column.key] for column in _COLUMNS if column.key in theirs}
    return Row(title, figures, known, budget, theirs["budget"])


def _checks(context: Context, rows: list[Row]) -> dict[str, bool]:
    found = {row.name: row.figures for row in rows}
    checks = {
        f"{name} has the published number of parameters": found[name]["parameters"]
        == theirs["parameters"]
        for name, theirs in published.MNIST_TABLE.items()
        if theirs["same_architecture"]
    }
    for title in map(_shipped_title, SHIPPED_STEPS):
        for key, bar in BARS.items():
            if key not in _FULL_ALONE or not context.quick:
                text, meets = _against_bar(key, found[title][key], bar)
                checks[f"{title} iterations: {text}"] = meets
    checks[f"MSE in the published order: {' < '.join(_ORDER)}"] = all(
        found[low]["mse"] < found[high]["mse"] for low, high in pairwise(_ORDER)
    )
    return checks


def _against_bar(key: str, value: float, bar: float) -> tuple[str, bool]:
    """The threshold in words, and whether it is met."""
    if key == "mse":
        return f"MSE ≤ {bar:g}", value <= bar
    title = {"r2": "R² within images"}.get(key, key)
    return f"{title} ≥ {bar:g}", value >= bar


def _notes(context: Context) -> list[str]:
    quick = (
        "Quick version: trainings of seconds, the first 250 test digits, and regressions on 500 "
        "labels instead of 60,000, so accuracies are lower. Accuracy, and R² within images, which "
        "is .0035 lower on these digits than on all 10,000, are not checked. The shipped model's "
        "accuracy is read only at 128 iterations. Parameters are counted at the published number "
        "of latents."
    )
    return [
        f"Latents for the regression are averaged over the last {AVERAGED} iterations; how the "
        f"published ones were read is not described.",
        "R² within images is the average over images of 1 - SSE / variance of the image. The "
        "published MSE and R² fit this definition, though no source states it: about the mean "
        "image, an R² of 0.951 would be an MSE of 2.6.",
        "Published figures are means over five seeds; those of pvae-conv and gvae-conv are of "
        "other, larger networks of several million parameters.",
        *published.UNVERIFIED["mnist-table"],
        *published.UNVERIFIED["decoders"],
        *context.choose([quick], []),
    ]


def _draw(rows: list[Row], figure: Figure) -> None:
    order = sorted(rows, key=lambda row: row.figures["mse"], reverse=True)
    axes = figure.subplots(1, 3, sharey=True, width_ratios=[1.4, 1.0, 1.0])
    panels = (
        ("mse", "MSE, summed over pixels", "reconstruction"),
        ("zeros", "share of zeros", "sparsity"),
        ("accuracy", "accuracy", "logistic regression on latents"),
    )
    for ax, (key, label, title) in zip(axes, panels, strict=True):
        _draw_column(ax, order, key)
        label_axes(ax, label, "", title)
    axes[0].set_xscale("log")
    axes[1].set_xlim(-0.03, 1.03)
    axes[0].set_yticks(range(len(order)), [row.name for row in order])
    legend_below(figure, [axes[0]])


def _draw_column(ax: Any, order: list[Row], key: str) -> None:
    style = {"mfc": "white", "ls": "none", "ms": 7}
    shipped = [_shipped_title(steps) for steps in SHIPPED_STEPS]
    for y, row in enumerate(order):
        mark, size, family = ("*", 10, LINEAR_FAMILY) if row.name in shipped else ("o", 6, row.name)
        color = color_of(family)
        if key in row.published:
            ax.plot(row.published[key], y, "D", color=color, zorder=1.8, **style)
        if key in row.figures:
            ax.plot(row.figures[key], y, mark, color=color, ms=size)
    for mark, label, fill in (("o", "ours", INK), ("*", SHIPPED, INK), ("D", "published", "white")):
        ax.plot([], [], mark, color=INK, mfc=fill, ms=7, label=label)
