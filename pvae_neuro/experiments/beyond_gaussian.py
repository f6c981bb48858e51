"""Predictive coding beyond Gaussian distributions (arXiv:2211.03481), part by part.

The same weights, batches and loop of training learn by backpropagation, by generalized predictive
coding and by standard, Gaussian predictive coding: a classifier with a softmax inside, a
variational autoencoder, and a transformer that predicts text. Learning rates are chosen on data
held out from training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvae_neuro.experiments.generalized import autoencoder, language, limit, toy
from pvae_neuro.experiments.generalized.part import BACKPROP, GAUSSIAN, Part
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.result import Column, ExperimentResult
from pvae_neuro.experiments.shared.style import label_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PARTS = (toy, autoencoder, language, limit)
CLAIMS = tuple(claim for part in _PARTS for claim in part.CLAIMS)
_COLUMNS = [
    Column("accuracy", "accuracy", ".3f"),
    Column("mse", "MSE, summed", ".2f"),
    Column("elbo", "evidence bound, nats", ".1f"),
    Column("perplexity", "perplexity", ".2f"),
    Column("gradient_error", "relative error of gradients", ".2g"),
]


@dataclass(frozen=True)
class Panel:
    """What the figure shows of one part: a value for each row."""

    title: str
    measure: str
    values: dict[str, float]


def run(context: Context) -> ExperimentResult:
    """Run all parts with one seed."""
    parts = [part.run(context) for part in _PARTS]
    return ExperimentResult(
        "beyond-gaussian",
        "Predictive coding beyond Gaussian distributions",
        [c for c in _COLUMNS if any(c.key in row.figures for part in parts for row in part.rows)],
        [row for part in parts for row in part.rows],
        _draw,
        [_panel(part) for part in parts],
        {name: value for part in parts for name, value in part.figures.items()},
        notes=[
            "Learning rates are chosen on data held out from training, and all else is fixed; the "
            "figures are of test data.",
            *(note for part in parts for note in part.notes),
        ],
        size=(4.2 * len(parts), 3.6),
    )


def _panel(part: Part) -> Panel:
    values = {row.name.partition(", ")[2]: row.figures[part.key] for row in part.rows}
    return Panel(part.title, part.measure, values)


def _draw(figure: Figure, seeds: list[list[Panel]]) -> None:
    """A point for each seed, a row for each way."""
    for ax, panels in zip(figure.subplots(1, len(seeds[0])), zip(*seeds, strict=True), strict=True):
        names = list(panels[0].values)
        for panel in panels:
            for place, name in enumerate(names):
                ax.plot(panel.values[name], -place, "o", ms=5, color=_colour(name), alpha=0.7)
        ax.set_yticks([-place for place in range(len(names))], names)
        if _spans([value for panel in panels for value in panel.values.values()]):
            ax.set_xscale("log")
        label_axes(ax, panels[0].measure, "", panels[0].title)


def _spans(values: list[float]) -> bool:
    """Whether values, all above zero, lie more than a decade apart."""
    return bool(values) and min(values) > 0 and max(values) > 10 * min(values)


def _colour(name: str) -> str:
    if name == BACKPROP:
        return "#334155"
    return "#7b8794" if name.startswith(GAUSSIAN) else "#c2410c"
