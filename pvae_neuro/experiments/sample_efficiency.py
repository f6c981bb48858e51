"""Nearest neighbours with few labels (arXiv:2405.14473, tables 3 and 5).

An amortized Poisson VAE and an amortized Gaussian one with the same kinds of networks (linear
decoders) learn MNIST without labels. A digit is then classified by its five nearest neighbours
(Euclidean, one vote each) among 200, 1,000 or 5,000 labelled ones, in the space of the encoder's
output, as in the authors' code: log-rates relative to the prior of the Poisson latents, means of
the Gaussian ones. Further columns give the same for one sample of the latents. Labelled digits
are drawn repeatedly from the first half of the test set, and the second half is classified; with
5,000 the whole first half is labelled, so there is one draw only.

The claim is that 200 labels suffice for Poisson latents where Gaussian ones need 1,000.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.data import Images
from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.measures.codes import codes_along
from pvae_neuro.evaluation.measures.neighbours import LABELS, NEIGHBOURS, neighbour_accuracies
from pvae_neuro.experiments.shared import published
from pvae_neuro.experiments.shared.claims import Claim, all_of, at_least, within
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.recipes import mnist_model
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import (
    OURS,
    PUBLISHED,
    color_of,
    label_axes,
    legend_below,
)
from pvae_neuro.saved.model_file import SavedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW, MANY = LABELS[0], LABELS[1]
FAMILIES = {"poisson": "pvae-conv", "gaussian": "gvae-conv"}
"""Families by the distribution of their latents, as the published table names it."""

_COLUMNS = [
    *(Column(f"labels_{count}", f"accuracy, {count:,} labels", ".3f") for count in LABELS),
    *(Column(f"sd_{count}", f"sd, {count:,}", ".3f") for count in (FEW, MANY)),
    *(Column(f"sampled_{count}", f"of one sample, {count:,}", ".3f") for count in (FEW, MANY)),
]

# The exact loss needs a linear decoder. Under it latents that carry little at first do not
# collapse, as they do under samples. Both families get a linear decoder, so that they differ in
# nothing but their distributions.
_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "poisson": {"decoder": "linear", "estimator": "exact"},
    "gaussian": {"decoder": "linear"},
}
_QUICK_RATES = {"poisson": 3e-3, "gaussian": 2e-3}


@dataclass(frozen=True)
class Setting:
    """One model."""

    law: str
    """Distribution of the latents, a key of :data:`FAMILIES`."""

    latents: int
    """K."""

    @property
    def family(self) -> str:
        """Name of the model family."""
        return FAMILIES[self.law]

    @property
    def title(self) -> str:
        """Name of the row."""
        return f"{self.family}, K = {self.latents}"


Found = dict[Setting, dict[str, float]]

_PROTOCOL = (
    "five nearest neighbours, Euclidean, in log-rates and means; labels drawn from the first half "
    "of the test digits, scored on the second; linear decoders"
)


def _level(latents: int) -> Claim:
    theirs = published.SAMPLE_EFFICIENCY["poisson"][latents]
    levels = [theirs[f"labels_{count}"] for count in LABELS]
    return Claim(
        f"level-{latents}",
        "pvae",
        f"Accuracy of the Poisson VAE with 200, 1,000 and 5,000 labels, K = {latents}",
        f"{', '.join(f'{level:.3f}' for level in levels)}, of log-rates",
        _PROTOCOL,
        all_of(
            *(
                within(f"pvae-conv, K = {latents}: labels_{count}", level, 0.02, form=".3f")
                for count, level in zip(LABELS, levels, strict=True)
            )
        ),
        "night",
    )


def _five_times(latents: int) -> Claim:
    few = published.SAMPLE_EFFICIENCY["poisson"][latents]["labels_200"]
    many = published.SAMPLE_EFFICIENCY["gaussian"][latents]["labels_1000"]
    return Claim(
        f"five-times-{latents}",
        "pvae",
        f"With 200 labels the Poisson VAE is as good as the Gaussian one with 1,000, K = {latents}",
        f"{few:.3f} against {many:.3f}; the published Gaussian accuracies lie below those of raw "
        "pixels",
        _PROTOCOL,
        at_least(
            f"pvae-conv, K = {latents}: labels_200", f"gvae-conv, K = {latents}: labels_1000",
            form=".3f",
        ),
        "hour",
    )  # fmt: skip


CLAIMS = (*map(_five_times, (10, 50)), *map(_level, (10, 50)))


def run(context: Context) -> ExperimentResult:
    """Train both VAEs at every K, draw labelled digits, and classify the others."""
    digits = context.images("mnist", "test")
    compared = [
        Setting(law, size)
        for size in context.pick((10, 50), published=(10, 50, 100))
        for law in FAMILIES
    ]
    rows = []
    found: Found = {}
    for i, setting in enumerate(compared):
        context.progress(f"train {setting.title}", i, len(compared))
        model = _train(context, setting)
        found[setting] = _measure(context, setting, model, digits)
        rows.append(_row(setting, found[setting], budget_of(model)))
    return ExperimentResult(
        "sample-efficiency",
        "Nearest neighbours with few labels",
        _COLUMNS,
        rows,
        _draw,
        found,
        notes=_notes(context),
    )


def _train(context: Context, setting: Setting) -> SavedModel:
    quick: dict[str, Any] = {
        "epochs": 10, "dictionary_rate": 1.0, "learning_rate": _QUICK_RATES[setting.law],
    }  # fmt: skip
    channels = context.pick({"channels": (16, 32)}, published={})
    return mnist_model(
        context, setting.family, latents=setting.latents,
        architecture={**_ARCHITECTURES[setting.law], **channels},
        **context.pick(quick, published={}),
    )  # fmt: skip


def _measure(
    context: Context, setting: Setting, model: SavedModel, digits: Images
) -> dict[str, float]:
    draws, few = context.pick(10, hour=100), (FEW, MANY)

    def compute() -> dict[str, Any]:
        encoded = codes_along(model, digits.pixels, (1,), context.seed, progress=False)[1]
        total = 2 * len(few) * draws + 1
        advance = context.advance(f"neighbours, {setting.title}", total)
        classify = partial(
            neighbour_accuracies,
            labels=_labels(digits),
            draws=draws,
            seed=context.seed,
            advance=advance,
        )
        found, sampled = classify(encoded.code), classify(encoded.z, counts=few)
        return {
            **{f"labels_{count}": float(np.mean(values)) for count, values in found.items()},
            **{f"sd_{count}": float(np.std(values)) for count, values in found.items()},
            **{f"sampled_{count}": float(np.mean(values)) for count, values in sampled.items()},
        }

    return context.cached(
        f"{setting.family}-k{setting.latents}", model, compute,
        draws=draws, digits=len(digits.pixels), sampled=few,
    )  # fmt: skip


def _labels(digits: Images) -> NDArray[np.int64]:
    if digits.labels is None:
        raise InputError(f"{digits.name}: expected labels to classify by, got none")
    return digits.labels


def _published(setting: Setting) -> dict[str, float]:
    theirs = published.SAMPLE_EFFICIENCY[setting.law][setting.latents]
    return {f"labels_{count}": theirs[f"labels_{count}"] for count in LABELS}


def _row(setting: Setting, figures: dict[str, float], budget: str) -> Row:
    budgets = budget, "MNIST, convolutional encoder"
    return Row(setting.title, figures, _published(setting), *budgets)


def _notes(context: Context) -> list[str]:
    quick = (
        "Quick version: encoders of half as many feature maps, 10 epochs on 20,000 digits, "
        "without K = 100."
    )
    return [
        f"{NEIGHBOURS} nearest neighbours, Euclidean, in log-rates (Poisson) and means (Gaussian); "
        f"mean and standard deviation over {context.pick(10, hour=100)} draws of labelled "
        "digits from the first half of the test set, tested on the second half; one draw of 5,000.",
        "Published Gaussian accuracies fall as K grows. Ours fall in samples, where latents that "
        "carry nothing add noise, and rise in means, which the authors' code reads.",
        "Published figures: arXiv:2405.14473, released data frames; their decoders and epochs are "
        "unverified.",
        *context.pick([quick], hour=[]),
    ]


def _draw(figure: Figure, seeds: list[Found]) -> None:
    found = {
        setting: {key: fmean(each[setting][key] for each in seeds) for key in figures}
        for setting, figures in seeds[0].items()
    }
    sizes = sorted({setting.latents for setting in found})
    axes = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for ax, size in zip(axes, sizes, strict=True):
        for setting, figures in found.items():
            if setting.latents == size:
                _draw_setting(ax, setting, figures)
        _draw_claim(ax, found[Setting("gaussian", size)])
        ax.set_xscale("log")
        ax.set_xticks(LABELS, [f"{count:,}" for count in LABELS])
        ax.minorticks_off()
        label_axes(ax, "labelled digits", "accuracy" if ax is axes[0] else "", f"K = {size}")
    axes[0].set_ylim(0.5, 1.0)
    legend_below(figure, list(axes), columns=5)


def _draw_setting(ax: Axes, setting: Setting, figures: dict[str, float]) -> None:
    color = color_of(setting.family)
    means = [figures[f"labels_{count}"] for count in LABELS]
    spreads = [figures[f"sd_{count}"] for count in LABELS]
    style = {**OURS, "marker": "o", "ms": 6, "capsize": 3, "color": color}
    ax.errorbar(LABELS, means, yerr=spreads, label=setting.family, **style)
    label = f"{setting.law.capitalize()}, published"
    ax.plot(LABELS, list(_published(setting).values()), color=color, label=label, **PUBLISHED)


def _draw_claim(ax: Axes, gaussian: dict[str, float]) -> None:
    """A level line at the accuracy for which the Gaussian latents need many labels."""
    level, color = gaussian[f"labels_{MANY}"], color_of(FAMILIES["gaussian"])
    label = f"Gaussian with {MANY:,}"
    ax.plot([FEW, MANY], [level, level], color=color, lw=1, ls=":", label=label)
