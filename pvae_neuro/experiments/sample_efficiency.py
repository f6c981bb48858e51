"""Nearest neighbours with few labels (arXiv:2405.14473, tables 3 and 5).

An amortized Poisson VAE and an amortized Gaussian one with the published networks learn MNIST
without labels. A digit is then classified by its five nearest neighbours (Euclidean, one vote each)
among 200, 1,000 or 5,000 labelled ones, in the space of the encoder's output, as in the authors'
code: log-rates relative to the prior of the Poisson latents, means of the Gaussian ones. Raw pixels
and one sample of the latents are read beside it. Labelled digits are drawn repeatedly from the
first half of the test set, and the second half is classified; with 5,000 the whole first half is
labelled, so there is one draw only.

The claim is that 200 labels suffice for Poisson latents where Gaussian ones need 1,000. How the
accuracy grows with the length of the training is shown beside it, since no short training here is
the published one: 240,000 steps on a GPU.

The published estimator, relaxed arrivals with few spikes at the start, can go silent when the ramp
of the KL weight is short. Ours starts with three spikes of each latent per image and without noise,
which rises before the KL weight does. The row "relaxed" has the published estimator and schedule
at the same length; "first steps" has the first part of the published schedule in its own shape, in
which the KL weight hardly rises, so that its codes are those of an autoencoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.data import Images
from pvae_neuro.evaluation.measures.classification import shattering_dimension
from pvae_neuro.evaluation.measures.codes import codes_along
from pvae_neuro.evaluation.measures.neighbours import LABELS, NEIGHBOURS, neighbour_accuracies
from pvae_neuro.experiments.shared import published
from pvae_neuro.experiments.shared.along import labels_of
from pvae_neuro.experiments.shared.claims import Claim, all_of, at_least
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import (
    OURS,
    PUBLISHED,
    color_of,
    crosses,
    label_axes,
    legend_below,
)
from pvae_neuro.plots.style import GUIDE
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.training.train import recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW, MANY = LABELS[0], LABELS[1]
FAMILIES = {"poisson": "pvae-residual", "gaussian": "gvae-residual"}
"""Families by the distribution of their latents, as the published table names it."""

QUICK_FAMILIES = {"poisson": "pvae-conv", "gaussian": "gvae-conv"}
"""Shallow networks learn something in seconds; the published ones do not."""

PIXELS = "pixels"
LATENTS = (10, 50)
PUBLISHED_LATENTS = (*LATENTS, 100)

_COLUMNS = [
    *(Column(f"labels_{count}", f"accuracy, {count:,} labels", ".3f") for count in LABELS),
    *(Column(f"sd_{count}", f"sd, {count:,}", ".3f") for count in (FEW, MANY)),
    *(Column(f"sampled_{count}", f"of one sample, {count:,}", ".3f") for count in (FEW, MANY)),
    Column("shattering", "shattering dimension", ".3f"),
    Column("error", "squared error", ".1f"),
    Column("kl", "KL, nats", ".1f"),
    Column("zeros", "zeros", ".3f"),
]

PUBLISHED_STEPS = 240_000
"""Steps of a published training: 400 epochs of 600."""

_RAMP = {"beta_start": 0.0, "hold": 0.0}
_RECIPES: dict[str, dict[str, Any]] = {
    "relaxed": {},
    "relaxed, first steps": {"schedule_batches": PUBLISHED_STEPS},
    "blended": {
        "architecture": {"estimator": "blended", "first_log_rates": (1.0, 1.0)},
        "final_temperature": 1e-6, "temperature_anneal": 0.3, "beta_anneal": 0.7, **_RAMP,
    },
    "": {},
}  # fmt: skip
"""What differs from the family's recipe, which is the published one."""

_QUICK: dict[str, Any] = {"decoder": "conv", "channels": (16, 32), "decoder_channels": (32, 16)}


@dataclass(frozen=True)
class Setting:
    """One training."""

    law: str
    """Distribution of the latents, a key of :data:`FAMILIES`."""

    latents: int
    """K."""

    epochs: int

    longest: bool = True
    """Whether no other training of the model is longer; claims are about these."""

    variant: str = ""
    """Key of the recipes."""

    other: bool = False
    """Whether the recipe is not the one that claims are about."""

    @property
    def title(self) -> str:
        """Name of the row."""
        parts = [
            f"{self.law.capitalize()} VAE, K = {self.latents}",
            *([] if self.longest else [f"{self.epochs} epochs"]),
            *([self.variant] if self.other else []),
        ]
        return ", ".join(parts)


Found = dict[Setting, dict[str, float]]


@dataclass(frozen=True)
class Shown:
    """What the figure shows of one seed."""

    found: Found
    pixels: dict[str, float]


_PROTOCOL = (
    "the published networks, narrower in short budgets; five nearest neighbours, Euclidean, in "
    "log-rates and means; labels drawn from the first half of the test digits, scored on the second"
)
_OURS = (
    f"{_PROTOCOL}; below the published budget the Poisson VAE has another estimator and schedule "
    "than published, the Gaussian one has the published recipe"
)


def _level(latents: int) -> Claim:
    theirs = published.SAMPLE_EFFICIENCY["poisson"][latents]
    levels = [theirs[f"labels_{count}"] for count in LABELS]
    title = Setting("poisson", latents, 0).title
    return Claim(
        f"level-{latents}",
        "pvae",
        f"Accuracy of the Poisson VAE with 200, 1,000 and 5,000 labels, K = {latents}",
        f"{', '.join(f'{level:.3f}' for level in levels)}, of log-rates",
        _OURS,
        all_of(
            *(
                at_least(f"{title}: labels_{count}", level, slack=0.02, form=".3f")
                for count, level in zip(LABELS, levels, strict=True)
            )
        ),
        "night",
    )


def _five_times(latents: int) -> Claim:
    few = published.SAMPLE_EFFICIENCY["poisson"][latents]["labels_200"]
    many = published.SAMPLE_EFFICIENCY["gaussian"][latents]["labels_1000"]
    poisson, gaussian = (Setting(law, latents, 0).title for law in FAMILIES)
    return Claim(
        f"five-times-{latents}",
        "pvae",
        f"With 200 labels the Poisson VAE is as good as the Gaussian one with 1,000, K = {latents}",
        f"{few:.3f} against {many:.3f}; the published Gaussian accuracies lie below those of raw "
        "pixels",
        _OURS,
        at_least(f"{poisson}: labels_{FEW}", f"{gaussian}: labels_{MANY}", form=".3f"),
        "hour",
    )


def _baseline(latents: int) -> Claim:
    theirs = published.SAMPLE_EFFICIENCY["gaussian"][latents]["labels_1000"]
    return Claim(
        f"baseline-{latents}",
        "beyond",
        f"Means of the Gaussian VAE classify digits no worse than raw pixels do, K = {latents}",
        f"{theirs:.3f} with 1,000 labels, below the raw pixels that the paper does not give",
        _PROTOCOL,
        at_least(
            f"{Setting('gaussian', latents, 0).title}: labels_{MANY}", f"{PIXELS}: labels_{MANY}",
            form=".3f",
        ),
        "hour",
    )  # fmt: skip


def _shattering(latents: int) -> Claim:
    theirs = published.SAMPLE_EFFICIENCY["poisson"][latents]["shattering"]
    other = published.SAMPLE_EFFICIENCY["gaussian"][latents]["shattering"]
    return Claim(
        f"shattering-{latents}",
        "pvae",
        f"Shattering dimension of the Poisson VAE, K = {latents}",
        f"{theirs:.3f}; {other:.3f} of the Gaussian one",
        "mean accuracy of default logistic regressions on codes over all 126 balanced splits of "
        "the digits, trained on the training digits",
        at_least(
            f"{Setting('poisson', latents, 0).title}: shattering", theirs, slack=0.035, form=".3f"
        ),
        "hour",
    )


CLAIMS = (
    *(
        claim(latents)
        for claim in (_five_times, _baseline, _level, _shattering)
        for latents in PUBLISHED_LATENTS
    ),
)  # fmt: skip


def settings(context: Context) -> list[Setting]:
    """The trainings of a budget, shortest first."""
    lengths = context.pick((2,), hour=(2, 8), night=(2, 8, 32), published=(400,))
    sizes = context.pick(LATENTS[:1], hour=LATENTS, published=PUBLISHED_LATENTS)
    main = context.pick("blended", published="relaxed")
    last = lengths[-1]
    poisson, gaussian = FAMILIES
    trainings = [
        Setting(law, sizes[0], epochs, epochs == last, main if law == poisson else "")
        for epochs in lengths
        for law in FAMILIES
    ]
    trainings += context.pick(
        [],
        hour=[
            Setting(poisson, sizes[0], last, True, variant, True)
            for variant in ("relaxed", "relaxed, first steps")
        ],
        night=[],
    )
    return trainings + [
        Setting(law, size, last, True, main if law == poisson else "")
        for size in sizes[1:]
        for law in (poisson, gaussian)
    ]


_SHORTEST = 0.01
"""Minutes of the shortest training that a file tells from none."""


def run(context: Context) -> ExperimentResult:
    """Train both VAEs at every K, draw labelled digits, and classify the others."""
    digits = context.images("mnist", "test")
    draws = context.pick(5, hour=100)
    context.progress("neighbours of pixels", 0, 1)
    pixels = _accuracies(context, PIXELS, digits.pixels, digits, draws)
    rows = [Row(PIXELS, pixels, budget="no training")]
    found: Found = {}
    compared = settings(context)
    for i, setting in enumerate(compared):
        context.progress(f"train {setting.title}", i, len(compared))
        model = _train(context, setting)
        figures = _measure(context, setting, model, digits, draws)
        # A file holds hundredths; a shorter training counts as one on the logarithmic axis.
        minutes = max(float(model.config.training.get("minutes", float("nan"))), _SHORTEST)
        found[setting] = {**figures, "minutes": minutes}
        rows.append(Row(setting.title, figures, _published(setting), budget_of(model),
                        "400 epochs, width 32, 3 h 40 min on one GPU"))  # fmt: skip
    return ExperimentResult(
        "sample-efficiency",
        "Nearest neighbours with few labels",
        _COLUMNS,
        rows,
        _draw,
        Shown(found, pixels),
        curves={setting.title: figures for setting, figures in found.items()},
        notes=_notes(context, draws),
    )


def _train(context: Context, setting: Setting) -> SavedModel:
    changes = _RECIPES[setting.variant]
    shape = {"width": context.pick(8, night=16, published=32)}
    architecture = {**context.pick(_QUICK, hour=shape), **changes.get("architecture", {})}
    family = context.pick(QUICK_FAMILIES, hour=FAMILIES)[setting.law]
    config = recipe(
        family, latents=setting.latents, epochs=setting.epochs, seed=context.seed,
        **{**changes, "architecture": architecture},
    )  # fmt: skip
    images = context.images("mnist", "train", context.pick(10_000, hour=None))
    return context.trained(f"mnist-{family}-k{setting.latents}", images, config)


def _measure(
    context: Context, setting: Setting, model: SavedModel, digits: Images, draws: int
) -> dict[str, float]:
    shattered = setting.longest and not setting.other and not context.quick
    train = context.images("mnist", "train") if shattered else None

    def compute() -> dict[str, Any]:
        encoded = codes_along(model, digits.pixels, (1,), context.seed, progress=False)[1]
        sampled = _accuracies(
            context, f"{setting.title}, sampled", encoded.z, digits, draws, (FEW, MANY)
        )
        figures = {
            **_accuracies(context, setting.title, encoded.code, digits, draws),
            **{f"sampled_{count}": sampled[f"labels_{count}"] for count in (FEW, MANY)},
            "error": float(encoded.error.mean()),
            "kl": float(np.sum(encoded.kl)) if encoded.kl is not None else float("nan"),
            "zeros": float((encoded.z == 0).mean()),
        }
        if train is not None:
            learned = codes_along(model, train.pixels, (1,), context.seed, progress=False)[1]
            advance = context.advance(f"shattering dimension, {setting.title}", 126)
            figures["shattering"] = shattering_dimension(
                learned.code, labels_of(train), encoded.code, labels_of(digits), advance=advance
            )
        return figures

    return context.cached(
        f"{setting.law}-k{setting.latents}", model, compute,
        draws=draws, digits=len(digits.pixels), train=0 if train is None else len(train.pixels),
    )  # fmt: skip


def _accuracies(
    context: Context,
    title: str,
    codes: NDArray[np.float32],
    digits: Images,
    draws: int,
    counts: tuple[int, ...] = LABELS,
) -> dict[str, float]:
    """Accuracies by number of labels, and their deviations over draws where there are several."""
    advance = context.advance(
        f"neighbours, {title}", sum(1 if 2 * n == len(codes) else draws for n in counts)
    )
    found = neighbour_accuracies(
        codes, labels_of(digits), counts=counts, draws=draws, seed=context.seed, advance=advance
    )
    return {
        **{f"labels_{count}": float(np.mean(values)) for count, values in found.items()},
        **{f"sd_{n}": float(np.std(values)) for n, values in found.items() if len(values) > 1},
    }


def _published(setting: Setting) -> dict[str, float]:
    if not setting.longest:
        return {}
    theirs = published.SAMPLE_EFFICIENCY[setting.law][setting.latents]
    return {key: theirs[key] for key in (*(f"labels_{n}" for n in LABELS), "shattering")}


def _notes(context: Context, draws: int) -> list[str]:
    quick = (
        "Quick version: shallow convolutional networks instead of the published ones, 2 epochs on "
        "10,000 digits, K = 10 alone."
    )
    return [
        f"{NEIGHBOURS} nearest neighbours, Euclidean, in log-rates (Poisson) and means (Gaussian); "
        f"mean and standard deviation over {draws} draws of labelled digits from the first half of "
        "the test set, tested on the second half; one draw of 5,000.",
        "Published figures: arXiv:2405.14473, released data frames; networks and schedule are "
        "those of the authors' code and its logs.",
        *context.pick([quick], hour=[]),
    ]


def _draw(figure: Figure, seeds: list[Shown]) -> None:
    left, right = figure.subplots(1, 2, sharey=True)
    first = seeds[0].found
    size = min(setting.latents for setting in first)
    for setting in first:
        if setting.latents == size and setting.longest:
            _draw_setting(left, setting, seeds)
    pixels = [fmean(seed.pixels[f"labels_{count}"] for seed in seeds) for count in LABELS]
    left.plot(LABELS, pixels, color=GUIDE, lw=1, label="raw pixels")
    left.set_xscale("log")
    left.set_xticks(LABELS, [f"{count:,}" for count in LABELS])
    left.minorticks_off()
    label_axes(left, "labelled digits", "accuracy", f"K = {size}")
    for law, family in FAMILIES.items():
        chosen = [s for s in first if (s.law, s.latents, s.other) == (law, size, False)]
        minutes, levels = (
            [[seed.found[s][key] for s in chosen] for seed in seeds]
            for key in ("minutes", f"labels_{FEW}")
        )
        label, color = f"{law.capitalize()}, ours", color_of(family)
        crosses(right, minutes, levels, color=color, label=label, marker="o", **OURS)
    right.axhline(pixels[0], color=GUIDE, lw=1)
    right.set_xscale("log")
    label_axes(right, "minutes of training", "", f"{FEW} labels, by length of the training")
    left.set_ylim(0.3, 1.0)
    legend_below(figure, [left, right], columns=5)


def _draw_setting(ax: Axes, setting: Setting, seeds: list[Shown]) -> None:
    color = color_of(FAMILIES[setting.law])
    means, spreads = (
        [
            fmean(seed.found[setting].get(f"{key}_{count}", 0.0) for seed in seeds)
            for count in LABELS
        ]
        for key in ("labels", "sd")
    )
    label = f"{setting.law.capitalize()}, {setting.variant if setting.other else 'ours'}"
    style = {**OURS, "marker": "o", "ms": 6, "capsize": 3, "color": color}
    ax.errorbar(
        LABELS, means, yerr=spreads, label=label, alpha=0.5 if setting.other else 1, **style
    )
    if not setting.other:
        theirs = [_published(setting)[f"labels_{count}"] for count in LABELS]
        label = f"{setting.law.capitalize()}, published"
        ax.plot(LABELS, theirs, color=color, label=label, **PUBLISHED)
