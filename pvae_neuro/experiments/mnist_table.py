"""Every model on MNIST (arXiv:2410.19315, table "mnist").

Reconstruction error, R², share of zeros, accuracy of a logistic regression on the latents, and
number of parameters, of every family; and of the model that comes with the package, whose bars are
the published linear iterative Poisson VAE's. The paper tests for up to 1,000 iterations and does
not say where it read its table: ours says the iterations of each row.

MSE, R² and zeros are those of one sample of the latents after the last iteration. The regression
sees the latents of the last 16 iterations averaged, and, in a column of its own, that one sample.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pvae_neuro.data.images import Images
from pvae_neuro.errors import InputError
from pvae_neuro.experiments import published
from pvae_neuro.experiments.context import Context, budget_of
from pvae_neuro.experiments.drawing import color_of, label_axes, legend_below
from pvae_neuro.experiments.latents import (
    classification_accuracy,
    infer_shown,
    is_amortized,
    weights_digest,
)
from pvae_neuro.experiments.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.trainings import mnist_model
from pvae_neuro.models.registry import model_names
from pvae_neuro.models.sizes import count_parameters
from pvae_neuro.plots.parity import INK
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.training.train import recipe
from pvae_neuro.zoo import load_pretrained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHIPPED = "shipped model"
SHIPPED_STEPS = (128, 1000)
AVERAGED = 16
"""Of how many of the last iterations the regression sees the average."""

BARS = {"mse": 3.44, "r2": 0.951, "zeros": 0.844, "accuracy": 0.964}
"""What the shipped model is held to: the published linear iterative Poisson VAE."""

_FULL_ALONE = ("r2", "accuracy")
"""Bars that a quick version cannot tell: its first digits have less variance than the average one,
which takes .0035 off R² within images, and its regressions learn from a few labels."""

_IMAGE_SHAPE = (28, 28)
_COLUMNS = [
    Column("steps", "iterations", ",.0f"),
    Column("mse", "MSE, summed", ".2f"),
    Column("mse_pixel", "MSE per pixel", ".2e"),
    Column("r2", "R² within images", ".3f"),
    Column("r2_total", "R² about the mean image", ".3f"),
    Column("zeros", "zeros", ".3f"),
    Column("accuracy", "accuracy", ".3f"),
    Column("accuracy_sample", "accuracy, one sample", ".3f"),
    Column("parameters", "parameters", ",.0f"),
]


def run(context: Context) -> ExperimentResult:
    """Train every family on MNIST and fill the table.

    Parameters
    ----------
    context : Context

    Returns
    -------
    ExperimentResult

    Raises
    ------
    InputError
        If MNIST is absent.
    EngineUnavailableError
        If scikit-learn is not installed.
    """
    steps = context.choose(32, 128)
    names = model_names()
    rows = []
    for place, name in enumerate(names):
        context.tell(f"train {name}", place, len(names))
        model = mnist_model(context, name)
        # The encoder's state does not change, so that more iterations only sample again.
        count = AVERAGED if is_amortized(name) else steps
        figures = _measure(context, name, model, count, classify=True)
        rows.append(_row(name, name, figures, budget_of(model)))
    shipped = load_pretrained()
    for count in SHIPPED_STEPS:
        classify = count == min(SHIPPED_STEPS) or not context.quick
        figures = _measure(context, SHIPPED, shipped, count, classify=classify)
        rows.append(_row(f"{SHIPPED}, {count:,}", "ipvae-linear", figures, budget_of(shipped)))
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


def _measure(
    context: Context, name: str, model: SavedModel, steps: int, *, classify: bool
) -> dict[str, float]:
    test = context.images("mnist", "test", context.choose(250, None))
    train = context.images("mnist", "train", context.choose(500, None))

    def compute() -> dict[str, Any]:
        return _figures(context, name, model, steps, test, train if classify else None)

    return context.part(
        name.replace(" ", "-"), compute, weights=weights_digest(model), steps=steps,
        test=len(test.pixels), train=len(train.pixels) if classify else 0,
    )  # fmt: skip


def _figures(
    context: Context, name: str, model: SavedModel, steps: int, test: Images, train: Images | None
) -> dict[str, float]:
    trace = infer_shown(context, f"infer {name}, test", model, test.pixels, steps, AVERAGED)
    figures = {
        "steps": float(steps),
        "mse": float(trace.mse[-1]),
        "mse_pixel": float(trace.mse[-1]) / test.pixels.shape[1],
        "r2": float(trace.r2_image[-1]),
        "r2_total": float(trace.r2[-1]),
        "zeros": float(trace.zeros[-1]),
        "parameters": float(_parameters(model)),
    }
    if train is None:
        return figures
    if train.labels is None or test.labels is None:
        raise InputError("mnist: expected labels, which a logistic regression learns; got none")
    seen = infer_shown(context, f"infer {name}, train", model, train.pixels, steps, AVERAGED)
    context.tell(f"classify {name}", 0, 1)
    classify = partial(classification_accuracy, iterations=context.choose(100, 1000))
    labels = train.labels, test.labels
    figures["accuracy"] = classify(seen.z_average, labels[0], trace.z_average, labels[1])
    figures["accuracy_sample"] = classify(seen.z, labels[0], trace.z, labels[1])
    return figures


def _parameters(model: SavedModel) -> int:
    """At the number of latents of the family's own recipe, whatever a quick version has."""
    family = model.config.family
    return count_parameters(family, recipe(family).latents, _IMAGE_SHAPE)


def _row(title: str, family: str, figures: dict[str, float], budget: str) -> Row:
    theirs = published.MNIST_TABLE.get(family)
    if theirs is None:
        return Row(title, figures, budget=budget)
    return Row(title, figures, theirs.figures(), budget, theirs.budget)


def _checks(context: Context, rows: list[Row]) -> dict[str, bool]:
    found = {row.name: row.figures for row in rows}
    checks = {
        f"{name} has the published number of parameters": found[name]["parameters"]
        == theirs.parameters
        for name, theirs in published.MNIST_TABLE.items()
        if theirs.same_architecture
    }
    for steps in SHIPPED_STEPS:
        title = f"{SHIPPED}, {steps:,}"
        for key, bar in BARS.items():
            if key in _FULL_ALONE and context.quick:
                continue
            meets = _meets(key, found[title][key], bar)
            checks[f"{title} iterations: {_bar_text(key, bar)}"] = meets
    better = ("ipvae-linear", "igvae", "igvae-relu")
    checks[f"MSE in the published order: {' < '.join(better)} < pvae-conv"] = _rising(
        [found[name]["mse"] for name in (*better, "pvae-conv")]
    )
    return checks


def _meets(key: str, value: float, bar: float) -> bool:
    return value <= bar if key == "mse" else value >= bar


def _bar_text(key: str, bar: float) -> str:
    title = {"mse": "MSE", "r2": "R² within images"}.get(key, key)
    return f"{title} {'≤' if key == 'mse' else '≥'} {bar:g}"


def _rising(values: list[float]) -> bool:
    return all(low < high for low, high in pairwise(values))


def _notes(context: Context) -> list[str]:
    notes = [
        f"Latents that the regression sees are averaged over the last {AVERAGED} iterations; "
        f"published ones are not described.",
        "R² within images averages 1 - SSE / variance of each image; the published MSE and R² "
        "stand in that ratio, though no source says so. About the mean image 0.951 would be an MSE "
        "of 2.6.",
        "Published figures are means over five seeds; those of pvae-conv and gvae-conv are of "
        "other, larger networks of several million parameters.",
        *published.UNVERIFIED["mnist-table"],
        *published.UNVERIFIED["decoders"],
    ]
    if context.quick:
        notes.append(
            "Quick version: trainings of seconds, the first 250 test digits, and regressions on "
            "500 labels instead of 60,000, so accuracies are lower; neither they nor R² within "
            "images, which is .0035 lower on these digits than on all 10,000, are held to a bar. "
            "The shipped model's accuracy is read at 128 iterations alone. Parameters are counted "
            "at the published number of latents."
        )
    return notes


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
    for place, row in enumerate(order):
        color = color_of("ipvae" if row.name.startswith(SHIPPED) else row.name)
        if key in row.published:
            ax.plot(row.published[key], place, "D", color=color, zorder=1.8, **style)
        if key in row.figures:
            mark = "*" if row.name.startswith(SHIPPED) else "o"
            ax.plot(row.figures[key], place, mark, color=color, ms=10 if mark == "*" else 6)
    for mark, label, fill in (("o", "ours", INK), ("*", SHIPPED, INK), ("D", "published", "white")):
        ax.plot([], [], mark, color=INK, mfc=fill, ms=7, label=label)
