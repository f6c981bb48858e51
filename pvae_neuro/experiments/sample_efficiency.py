"""Nearest neighbours with few labels (arXiv:2405.14473, tables 3 and 5): the claim of five times.

An amortized Poisson VAE and an amortized Gaussian one with the same kinds of networks (linear
decoders) learn MNIST without its labels. A digit is then named by its five nearest neighbours
(Euclidean, each one vote) among 200, 1,000 or 5,000 labelled ones, in the space of what the encoder
says: log-rates of the Poisson latents, means of the Gaussian ones. What the papers compared is not
known; columns of their own have the same in one sample of the latents. Labelled digits are drawn
from the first half of the test set, again and again, and the second half is named; with 5,000 the
whole half is labelled, and there is one draw alone.

The claim is that 200 labels do for Poisson latents what 1,000 do for Gaussian ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.data.images import Images
from pvae_neuro.errors import EngineUnavailableError, InputError
from pvae_neuro.experiments import published
from pvae_neuro.experiments.context import Context, budget_of
from pvae_neuro.experiments.drawing import OURS, PUBLISHED, color_of, label_axes, legend_below
from pvae_neuro.experiments.latents import infer_shown, telling, weights_digest
from pvae_neuro.experiments.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.trainings import mnist_model
from pvae_neuro.saved.model_file import Float32, SavedModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = (200, 1000, 5000)
FEW, MANY = LABELS[0], LABELS[1]
NEIGHBOURS = 5
LAWS = {"poisson": "pvae", "gaussian": "gvae"}
"""Law of the latents as the published table names it, and the families that have it."""

_COLUMNS = [Column(f"labels_{count}", f"accuracy, {count:,} labels", ".3f") for count in LABELS]
_SAMPLED = [Column(f"sampled_{count}", f"of one sample, {count:,}", ".3f") for count in LABELS[:2]]
_SPREADS = [Column(f"sd_{count}", f"sd, {count:,}", ".3f") for count in LABELS[:2]]


@dataclass(frozen=True)
class Setting:
    """One model.

    Attributes
    ----------
    law : str
        Of the latents, a key of :data:`LAWS`.
    latents : int
        K.
    encoder : str
        Kind of its encoder.
    """

    law: str
    latents: int
    encoder: str

    @property
    def family(self) -> str:
        """Name of the model family."""
        return f"{LAWS[self.law]}-{self.encoder}"

    @property
    def title(self) -> str:
        """Family and number of latents, as a row is named."""
        return f"{self.family}, K = {self.latents}"


def settings(quick: bool) -> list[Setting]:
    """Models that are compared; the quick version leaves the largest K out."""
    sizes = (10, 50) if quick else (10, 50, 100)
    return [Setting(law, size, "conv") for size in sizes for law in LAWS]


def run(context: Context) -> ExperimentResult:
    """Train both VAEs at every K, draw labelled digits, and name the others.

    Parameters
    ----------
    context : Context

    Returns
    -------
    ExperimentResult

    Raises
    ------
    InputError
        If MNIST is absent, or holds too few digits.
    EngineUnavailableError
        If scikit-learn is not installed.
    """
    digits = context.images("mnist", "test")
    compared = settings(context.quick)
    rows, found = [], {}
    for place, setting in enumerate(compared):
        context.tell(f"train {setting.title}", place, len(compared))
        model = _train(context, setting)
        figures = _measure(context, setting, model, digits)
        found[setting] = figures
        rows.append(_row(setting, figures, budget_of(model)))
    return ExperimentResult(
        "sample-efficiency",
        "Nearest neighbours with few labels",
        [*_COLUMNS, *_SPREADS, *_SAMPLED],
        rows,
        partial(_draw, found),
        notes=_notes(context),
        checks=_checks(found),
    )


def _train(context: Context, setting: Setting) -> SavedModel:
    # The exact loss needs a linear decoder, and counts that carry little at first do not collapse
    # under it as they do under samples. Both sides have one, so that their laws alone differ.
    exact = {"estimator": "exact"} if setting.law == "poisson" else {}
    changes: dict[str, Any] = context.choose(
        {
            "epochs": 10, "dictionary_rate": 1.0,
            "learning_rate": 3e-3 if setting.law == "poisson" else 2e-3,
        },
        {},
    )  # fmt: skip
    networks = {"decoder": "linear", **context.choose({"channels": (16, 32)}, {}), **exact}
    return mnist_model(
        context, setting.family, latents=setting.latents, architecture=networks, **changes
    )


def _measure(
    context: Context, setting: Setting, model: SavedModel, digits: Images
) -> dict[str, float]:
    draws, few = context.choose(10, 100), LABELS[:2]

    def compute() -> dict[str, Any]:
        trace = infer_shown(context, f"encode, {setting.title}", model, digits.pixels, 1)
        codes = np.log(trace.mean + 1e-12) if setting.law == "poisson" else trace.mean
        total = draws * (len(LABELS) - 1 + len(few)) + 1
        progress = telling(context, f"neighbours, {setting.title}", total)
        name = partial(
            accuracies, labels=_labels(digits), draws=draws, seed=context.seed, progress=progress
        )
        found, sampled = name(codes), name(trace.z, counts=few)
        return {
            **{f"labels_{count}": float(np.mean(values)) for count, values in found.items()},
            **{f"sd_{count}": float(np.std(values)) for count, values in found.items()},
            **{f"sampled_{count}": float(np.mean(values)) for count, values in sampled.items()},
        }

    return context.part(
        f"{setting.family}-k{setting.latents}", compute,
        weights=weights_digest(model), draws=draws, digits=len(digits.pixels), sampled=few,
    )  # fmt: skip


def accuracies(
    codes: Float32,
    labels: NDArray[np.int64],
    draws: int,
    seed: int,
    *,
    counts: tuple[int, ...] = LABELS,
    progress: Callable[[int], None] | None = None,
) -> dict[int, list[float]]:
    """Accuracy of nearest neighbours over draws of labelled samples from the first half.

    Parameters
    ----------
    codes : float32 [N, K]
        What neighbours are near in.
    labels : int64 [N]
    draws : int
        How often labelled samples are drawn; once where all of the first half is labelled.
    seed : int
        Of the draws. The same samples are drawn for every model.
    counts : tuple of int
        Numbers of labelled samples.
    progress : callable, optional
        Told draws done since the last call.

    Returns
    -------
    dict of int to list of float
        Share of the second half that is named rightly, by count and draw.

    Raises
    ------
    InputError
        If half of the samples are fewer than the largest count.
    EngineUnavailableError
        If scikit-learn is not installed.
    """
    half = len(codes) // 2
    if half < max(counts):
        raise InputError(
            f"digits: expected at least {2 * max(counts):,}, half of them to be labelled, got "
            f"{len(codes):,}; use the whole test set"
        )
    found: dict[int, list[float]] = {}
    for count in counts:
        found[count] = []
        for draw in range(1 if count == half else draws):
            chosen = np.random.default_rng([seed, count, draw]).permutation(half)[:count]
            found[count].append(_accuracy(codes, labels, chosen, half))
            if progress is not None:
                progress(1)
    return found


def _accuracy(
    codes: Float32, labels: NDArray[np.int64], chosen: NDArray[np.int64], half: int
) -> float:
    try:
        from sklearn.neighbors import KNeighborsClassifier
    except ImportError as error:
        raise EngineUnavailableError(
            "nearest neighbours need scikit-learn: pip install scikit-learn"
        ) from error
    # Trees gain nothing in so many dimensions.
    neighbours = KNeighborsClassifier(n_neighbors=NEIGHBOURS, algorithm="brute")
    neighbours.fit(codes[chosen], labels[chosen])
    return float(neighbours.score(codes[half:], labels[half:]))


def _labels(digits: Images) -> NDArray[np.int64]:
    if digits.labels is None:
        raise InputError(f"{digits.name}: expected labels, which neighbours hand on; got none")
    return digits.labels


def _row(setting: Setting, figures: dict[str, float], budget: str) -> Row:
    theirs = published.SAMPLE_EFFICIENCY[setting.law][setting.latents]
    named = {f"labels_{count}": value for count, value in theirs.items()}
    return Row(setting.title, figures, named, budget, "MNIST, convolutional encoder")


def _checks(found: dict[Setting, dict[str, float]]) -> dict[str, bool]:
    checks = {}
    for setting, figures in found.items():
        if setting.law != "poisson":
            continue
        rival = Setting("gaussian", setting.latents, setting.encoder)
        claim = (
            f"K = {setting.latents}: {setting.family} with {FEW} labels is no worse than "
            f"{rival.family} with {MANY:,}"
        )
        checks[claim] = figures[f"labels_{FEW}"] >= found[rival][f"labels_{MANY}"]
    return checks


def _notes(context: Context) -> list[str]:
    return [
        f"{NEIGHBOURS} nearest neighbours, Euclidean, in log-rates (Poisson) and means (Gaussian); "
        f"mean and standard deviation over {context.choose(10, 100)} draws of labelled digits "
        "from the first half of the test set, tested on the second half; one draw of 5,000.",
        "Published Gaussian accuracies fall as K grows. Ours do so in samples, where latents that "
        "carry nothing are noise, and rise in means; how the published ones were read is "
        "unverified.",
        f"Published figures: {published.PVAE_SOURCE}; their decoders and epochs are unverified.",
        *(
            [
                "Quick version: encoders of half as many feature maps, 10 epochs on 20,000 digits, "
                "without K = 100."
            ]
            if context.quick
            else []
        ),
    ]


def _draw(found: dict[Setting, dict[str, float]], figure: Figure) -> None:
    sizes = sorted({setting.latents for setting in found})
    axes = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for ax, size in zip(axes, sizes, strict=True):
        for setting, figures in found.items():
            if setting.latents == size:
                _draw_setting(ax, setting, figures)
        _draw_claim(ax, found, size)
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
    theirs = published.SAMPLE_EFFICIENCY[setting.law][setting.latents]
    label = f"{setting.law.capitalize()}, published"
    ax.plot(LABELS, [theirs[n] for n in LABELS], color=color, label=label, **PUBLISHED)


def _draw_claim(ax: Axes, found: dict[Setting, dict[str, float]], size: int) -> None:
    """A level line at what the Gaussian latents need many labels for."""
    for setting, figures in found.items():
        if (setting.law, setting.latents) == ("gaussian", size):
            level = figures[f"labels_{MANY}"]
            ax.plot([FEW, MANY], [level, level], color=color_of(setting.family), lw=1, ls=":",
                    label=f"Gaussian with {MANY:,}")  # fmt: skip
