"""What an upper level of Poisson neurons adds: a denser code, samples, and what pixels hide.

The hierarchical iterative Poisson VAE that is shipped against the shipped model of one level.

- **Code.** A logistic regression reads the counts of one draw, and the sums of several, of each
  level. ``upper_equal`` is the accuracy of the upper level after as many spikes as one draw of the
  row sends.
- **Samples.** Upper counts of independent neurons at their mean rates over training digits,
  then lower counts at the rates that they predict, then pixels. Likewise one level alone, and
  Poisson and Gaussian VAEs from their own priors, all with linear decoders. Samples near to
  training digits are plausible; digits near to samples are covered.
- **Completion.** Pixels that are hidden get no weight: their rows of the dictionary are zero while
  inference runs, and the whole dictionary reads the counts out. In integers this is a circuit
  without the synapses of these pixels, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pvae_neuro.data import Images
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.evaluation.measures.classification import logistic_accuracy
from pvae_neuro.experiments.shared.along import labels_of
from pvae_neuro.experiments.shared.claims import Claim, all_of, at_least, at_most
from pvae_neuro.experiments.shared.context import Context, budget_of, weights_digest
from pvae_neuro.experiments.shared.recipes import mnist_model
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import band, color_of, label_axes, legend_below
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.models.base import Iteration
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.plots.style import GUIDE, INK
from pvae_neuro.saved.model_file import LINEAR_FAMILY, Float32, SavedModel, load_model
from pvae_neuro.saved.shipped import model_path
from pvae_neuro.sim.engine import fastest_engine
from pvae_neuro.utils.optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UPPER, LOWER, ONE = "upper level", "lower level", "one level"
IN_INTEGERS = ", in integers"
DRAWS = 16
"""Draws that are summed, at most; as many are averaged to complete an image."""

RIVALS = ("pvae-linear", "gvae-linear")
MEAN_IMAGE = "mean image"
DIGITS = "test digits"
LARGEST_GAP = 0.05
"""How far the error of integers on hidden pixels may lie above float, as a share of it."""

_CALIBRATION_DIGITS = 64
_SIDE = 28
_SHOWN = 8
_LEAST_RATE = 1e-6
_COLUMNS = [
    Column("accuracy", "accuracy, one draw", ".3f"),
    Column("summed", f"accuracy, {DRAWS} draws", ".3f"),
    Column("spikes", "spikes, one draw", ",.1f"),
    Column("upper_equal", "accuracy of the upper level after as many spikes", ".3f"),
    Column("nearest", "squared distance of a sample to the nearest training digit", ".2f"),
    Column("covered", "squared distance of a test digit to the nearest sample", ".2f"),
    Column("confidence", "confidence of a classifier of digits", ".3f"),
    Column("classes", "classes it sees, exp of the mean divergence", ".2f"),
    Column("half", "error on the lower half, hidden", ".2f"),
    Column("random", "error on half of the pixels, hidden at random", ".2f"),
    Column("most", "error on .8 of the pixels, hidden at random", ".2f"),
]

Counts = dict[str, NDArray[Any]]
"""Of each level, of the last draws, [S, N, K]."""


@dataclass(frozen=True)
class Subject:
    """A float model, and where the counts of its levels are."""

    model: SavedModel
    levels: dict[str, tuple[int, str]]
    """By name: place in the state after an iteration, and variable of the integer circuit."""


_DRAWN = "MNIST test digits, shipped models; logistic regression on counts, none seen in training"
_SAMPLED = "as many samples as test digits; squared distances summed over pixels; linear decoders"
_HIDDEN = f"MNIST test digits; error summed over hidden pixels, mean of {DRAWS} draws"


def _code_claim(key: str, suffix: str, words: str) -> Claim:
    return Claim(
        key,
        "beyond",
        f"At equal spikes, the upper level{words} tells the class better than the lower one",
        "not published",
        _DRAWN,
        at_least(f"{LOWER}{suffix}: upper_equal", f"{LOWER}{suffix}: accuracy", form=".3f"),
        "hour",
    )


def _completion_claim(key: str, words: str) -> Claim:
    return Claim(
        f"completes-{key}",
        "beyond",
        f"{words} are completed better with an upper level than without, and than by the mean "
        "image",
        "not published",
        _HIDDEN,
        all_of(*(at_most(f"{LOWER}: {key}", f"{row}: {key}", form=".2f") for row in _WITHOUT)),
        "hour",
    )


_WITHOUT = (ONE, MEAN_IMAGE)
CLAIMS = (
    _code_claim("per-spike", "", ""),
    _code_claim("per-spike-integers", IN_INTEGERS, " in integers"),
    Claim(
        "per-spike-one-level",
        "beyond",
        "At equal spikes, the upper level tells the class better than a model of one level",
        "not published",
        _DRAWN,
        at_least(f"{ONE}: upper_equal", f"{ONE}: accuracy", form=".3f"),
        "hour",
    ),
    *(
        Claim(
            f"samples-{name.replace(' ', '-')}",
            "beyond",
            f"Samples from the upper level are nearer to digits than those of {words}, and digits "
            "nearer to them",
            "not published",
            _SAMPLED,
            all_of(
                at_most(f"{UPPER}: nearest", f"{name}: nearest", form=".2f"),
                at_most(f"{UPPER}: covered", f"{name}: covered", form=".2f"),
            ),
            "hour",
        )
        for name, words in {
            LOWER: "the lower level alone",
            **{name: name for name in RIVALS},
        }.items()
    ),
    _completion_claim("half", "Digits whose lower half is hidden"),
    _completion_claim("random", "Digits of which half of the pixels are hidden at random"),
    _completion_claim("most", "Digits of which .8 of the pixels are hidden at random"),
    Claim(
        "completes-integers",
        "beyond",
        "Integers complete digits as their float model does",
        "not published",
        f"{_HIDDEN}; the predictive circuit without the synapses of hidden pixels; words of their "
        "own",
        at_most("integers: gap", LARGEST_GAP, form=".4f"),
        "hour",
    ),
)


def run(context: Context) -> ExperimentResult:
    """Read both levels, sample, and complete; the shipped models are not trained again."""
    two = Subject(
        load_model(model_path("mnist-hierarchical")),
        {LOWER: (2, "latents.z"), UPPER: (3, "upper.z")},
    )
    one = Subject(load_model(model_path("mnist")), {ONE: (1, "latents.z")})
    count = context.pick(quick=100, hour=2000)
    train, test = (context.images("mnist", split, count) for split in ("train", "test"))
    budgets = {ONE: budget_of(one.model)} | dict.fromkeys((LOWER, UPPER), budget_of(two.model))
    found: dict[str, dict[str, float]] = {}
    spikes: dict[str, Any] = {}
    rates: dict[str, Float32] = {}
    parts = {"": (two, one), IN_INTEGERS: (two,)}
    for suffix, subjects in parts.items():
        for subject in subjects:
            read = _read(context, subject, bool(suffix), train, test)
            spikes |= {f"{level}{suffix}": curve for level, curve in read["curves"].items()}
            if not suffix:
                rates |= {k: np.array(v, np.float32) for k, v in read["rates"].items()}
    for name, curve in spikes.items():
        above = spikes[UPPER + (IN_INTEGERS if name.endswith(IN_INTEGERS) else "")]
        found[name] = {
            "accuracy": curve["accuracy"][0],
            "summed": curve["accuracy"][-1],
            "spikes": curve["spikes"][0],
            "upper_equal": float(np.interp(curve["spikes"][0], above["spikes"], above["accuracy"])),
        }
    pictures = _sample(context, two, one, rates, train, test, found, budgets)
    completed = _complete(context, two, one, train, test, found)
    rows = [
        Row(name, figures, {}, budgets.get(name.removesuffix(IN_INTEGERS), ""))
        for name, figures in found.items()
    ]
    real, integers = (found[f"{LOWER}{suffix}"] for suffix in ("", IN_INTEGERS))
    gap = max(integers[key] / real[key] - 1 for key in ("half", "random", "most"))
    return ExperimentResult(
        "hierarchy",
        "What an upper level adds",
        _COLUMNS,
        rows,
        _draw,
        (spikes, pictures, completed),
        {"integers: gap": gap},
        curves=spikes,
        notes=_notes(),
        size=(9.0, 7.0),
    )


def _steps(context: Context) -> int:
    return context.pick(quick=32, hour=128)


def _counts(context: Context, stage: str, subject: Subject, pixels: Float32, steps: int) -> Counts:
    """Counts that the float model draws in its last iterations."""
    found: dict[str, list[NDArray[Any]]] = {level: [] for level in subject.levels}
    blocks: dict[tuple[str, int], list[NDArray[Any]]] = {}

    def observe(step: int, block: slice, result: Iteration) -> None:
        if step >= steps - DRAWS:
            for level, (place, _) in subject.levels.items():
                counts = result.state[place].numpy().astype(np.int16)
                blocks.setdefault((level, block.start), []).append(counts)

    advance = context.advance(stage, steps * len(pixels))
    infer(subject.model, pixels, steps, context.seed, observe=observe, progress=advance)
    for (level, _), draws in blocks.items():
        found[level].append(np.stack(draws))
    return {level: np.concatenate(parts, axis=1) for level, parts in found.items()}


def _integer_counts(
    context: Context, stage: str, subject: Subject, pixels: Float32, steps: int, train: Images
) -> Counts:
    """Counts that the predictive circuit draws in its last iterations, on the fastest engine."""
    network = quantize(
        subject.model, train.pixels[:_CALIBRATION_DIGITS], QuantizeConfig("predictive")
    )
    engine = fastest_engine(network)
    wanted = {level: variable for level, (_, variable) in subject.levels.items()}
    found: dict[str, list[NDArray[Any]]] = {level: [] for level in wanted}
    advance = context.advance(stage, steps * len(pixels))
    for first in range(0, len(pixels), 100):
        run = engine.run(
            network, pixels[first : first + 100], steps, context.seed, first_sample=first,
            record=list(wanted.values()), progress=advance,
        )  # fmt: skip
        for level, variable in wanted.items():
            drawn = run.variables[variable][:, -DRAWS:].astype(np.int16)
            found[level].append(drawn.swapaxes(0, 1))
    return {level: np.concatenate(parts, axis=1) for level, parts in found.items()}


def _read(
    context: Context, subject: Subject, integers: bool, train: Images, test: Images
) -> dict[str, Any]:
    """Accuracy of each level by the spikes sent, and its mean rates over training digits."""
    steps = _steps(context)
    name = subject.model.config.family + (IN_INTEGERS if integers else "")

    def compute() -> dict[str, Any]:
        seen, shown = (
            _integer_counts(context, f"{name}, {title}", subject, images.pixels, steps, train)
            if integers
            else _counts(context, f"{name}, {title}", subject, images.pixels, steps)
            for title, images in (("train", train), ("test", test))
        )
        labels = labels_of(train), labels_of(test)
        curves = {}
        for level in subject.levels:
            sums = [
                (seen[level][:draws].sum(axis=0), shown[level][:draws].sum(axis=0))
                for draws in _doublings()
            ]
            curves[level] = {
                "spikes": [float(tested.sum(axis=1).mean()) for _, tested in sums],
                "accuracy": [
                    logistic_accuracy(a, labels[0], b, labels[1], scaled=True) for a, b in sums
                ],
            }
        means = {level: counts.mean(axis=(0, 1)).tolist() for level, counts in seen.items()}
        return {"curves": curves, "rates": means}

    return context.cached(
        f"read {name}", subject.model, compute, digits=len(test.pixels), steps=steps, draws=DRAWS
    )


def _doublings() -> list[int]:
    return [1 << k for k in range(DRAWS.bit_length())]


def _sample(
    context: Context,
    two: Subject,
    one: Subject,
    rates: dict[str, Float32],
    train: Images,
    test: Images,
    found: dict[str, dict[str, float]],
    budgets: dict[str, str],
) -> dict[str, Float32]:
    """Sample every model, add the figures of samples to ``found``, and return some of each."""
    noise = torch.Generator().manual_seed(context.seed)
    count = len(test.pixels)
    hierarchy: Any = model_from_saved(two.model)
    single = model_from_saved(one.model)

    def counts(of: torch.Tensor) -> torch.Tensor:
        return torch.poisson(of.expand(count, *of.shape[-1:]), generator=noise)

    def at_means(level: str) -> torch.Tensor:
        return counts(torch.from_numpy(rates[level]).clamp(min=_LEAST_RATE))

    def ancestral() -> torch.Tensor:
        return counts(torch.exp(hierarchy.predict(at_means(UPPER)).log_rates))

    samplers: dict[str, Callable[[], torch.Tensor]] = {
        UPPER: lambda: hierarchy.decode(ancestral()),
        LOWER: lambda: hierarchy.decode(at_means(LOWER)),
        ONE: lambda: single.decode(at_means(ONE)),
    }
    for name in RIVALS:
        saved = mnist_model(context, name)
        budgets[name] = budget_of(saved)
        samplers[name] = _of_prior(model_from_saved(saved), counts, noise, count)
    with torch.no_grad():
        samples = {name: sample().numpy() for name, sample in samplers.items()}
    samples[DIGITS] = test.pixels
    digits = context.images("mnist", "train", context.pick(quick=1000, hour=20_000))
    context.progress("judge samples", 0, 1)
    classifier = _classifier(digits.take(context.pick(quick=1000, hour=10_000)))
    for name, images in samples.items():
        own = found.setdefault(name, {})
        own["nearest"] = float(_nearest(images, digits.pixels).mean())
        if name != DIGITS:
            own["covered"] = float(_nearest(test.pixels, images).mean())
        own |= _as_digits(classifier, images)
    return {name: images[:_SHOWN] for name, images in samples.items()}


def _of_prior(
    model: Any,
    counts: Callable[[torch.Tensor], torch.Tensor],
    noise: torch.Generator,
    count: int,
) -> Callable[[], torch.Tensor]:
    """What draws images from the prior of an encoder's model: Poisson rates of its own, or normal.

    A Gaussian prior is standard normal.
    """
    own = getattr(model, "log_rate", None)
    if own is not None:
        return lambda: torch.as_tensor(model.decode(counts(torch.exp(own))))
    size = count, model.config.latents
    return lambda: torch.as_tensor(model.decode(torch.randn(size, generator=noise)))


def _nearest(images: Float32, others: Float32) -> NDArray[np.float64]:
    """Squared distance of each image to the nearest of others, float64 [N]."""
    a, b = images.astype(np.float64), others.astype(np.float64)
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2.0 * a @ b.T
    return np.asarray(squares.min(axis=1))


def _classifier(digits: Images) -> Any:
    models = require("sklearn.linear_model", "experiments", "classification")
    regression = models.LogisticRegression(max_iter=300)
    return regression.fit(digits.pixels, labels_of(digits))


def _as_digits(classifier: Any, images: Float32) -> dict[str, float]:
    """Mean confidence, and exp of the mean divergence of each image's classes from all images'."""
    chances = np.clip(classifier.predict_proba(images), 1e-12, 1.0)
    divergence = (chances * np.log(chances / chances.mean(axis=0))).sum(axis=1)
    return {
        "confidence": float(chances.max(axis=1).mean()),
        "classes": float(np.exp(divergence.mean())),
    }


def _hidden(seed: int) -> dict[str, NDArray[np.bool_]]:
    """Pixels that are hidden, [784], by the key of the column."""
    random = np.random.default_rng(seed).random(_SIDE * _SIDE)
    lower = np.arange(_SIDE * _SIDE) >= _SIDE * _SIDE // 2
    return {"half": lower, "random": random < 0.5, "most": random < 0.8}


def _blind(subject: Subject, hidden: NDArray[np.bool_]) -> Subject:
    """The model with no weight from the hidden pixels."""
    seen = np.where(hidden[:, None], np.float32(0), subject.model.arrays["dictionary"])
    arrays = {**subject.model.arrays, "dictionary": seen}
    return replace(subject, model=replace(subject.model, arrays=arrays))


def _complete(
    context: Context,
    two: Subject,
    one: Subject,
    train: Images,
    test: Images,
    found: dict[str, dict[str, float]],
) -> dict[str, Any]:
    """Complete digits, add the errors to ``found``, and return some images of each."""
    shown = test.take(context.pick(quick=25, hour=1000)).pixels
    steps = _steps(context)
    cases = {
        LOWER: (two, LOWER, False),
        f"{LOWER}{IN_INTEGERS}": (two, LOWER, True),
        ONE: (one, ONE, False),
    }
    pictures: dict[str, Any] = {}
    for key, hidden in _hidden(context.seed).items():

        def compute(key: str = key, hidden: NDArray[np.bool_] = hidden) -> dict[str, Any]:
            filled = {MEAN_IMAGE: np.broadcast_to(train.pixels.mean(axis=0), shown.shape)}
            for name, (subject, level, integers) in cases.items():
                blind = _blind(subject, hidden)
                stage = f"complete, {key}, {name}"
                counts = (
                    _integer_counts(context, stage, blind, shown, steps, train)
                    if integers
                    else _counts(context, stage, blind, shown, steps)
                )[level]
                filled[name] = counts.mean(axis=0) @ subject.model.arrays["dictionary"].T
            wrong = {
                name: np.square(shown - images, dtype=np.float64)[:, hidden].sum(axis=1).mean()
                for name, images in filled.items()
            }
            some = {
                name: np.where(hidden, images, shown)[:_SHOWN].round(3).tolist()
                for name, images in filled.items()
            }
            return {"errors": {name: float(value) for name, value in wrong.items()}, "some": some}

        part = context.cached(
            f"complete {key}", two.model, compute, other=weights_digest(one.model),
            digits=len(shown), steps=steps, draws=DRAWS,
        )  # fmt: skip
        for name, error in part["errors"].items():
            found.setdefault(name, {})[key] = error
        if not pictures:
            given = np.where(hidden, np.float32(0.5), shown)[:_SHOWN]
            pictures = {"given": given, "digit": shown[:_SHOWN], **part["some"]}
    return pictures


def _notes() -> list[str]:
    return [
        "Models are the shipped ones, whose trainings differ: the one of one level has 512 latents "
        "and the longer training.",
        "Upper and single levels are sampled as independent neurons at mean rates over training "
        "digits, since the prior of the papers is the posterior of the step before; Poisson and "
        "Gaussian VAEs from the priors that they learned.",
        "Ancestral samples are drawn by the float model; the integer circuit infers only.",
        "Blurred images are near to many digits, hence distances both ways. Samples nearer to "
        "training digits than test digits are lack variety.",
    ]


def _draw(
    figure: Figure, seeds: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]
) -> None:
    left, right = figure.subfigures(1, 2, width_ratios=(1.0, 1.3))
    ax = left.subplots()
    colors = {UPPER: color_of(LINEAR_FAMILY), LOWER: color_of("igvae"), ONE: INK}
    for name in seeds[0][0]:
        level, integers, _ = name.partition(IN_INTEGERS)
        curves = [spikes[name]["accuracy"] for spikes, _, _ in seeds]
        x = np.mean([spikes[name]["spikes"] for spikes, _, _ in seeds], axis=0)
        style = {"ls": ":" if integers else "-", "marker": "o", "ms": 4}
        band(ax, x, curves, color=colors.get(level, GUIDE), label=name, **style)
    ax.set_xscale("log")
    label_axes(ax, "spikes, an image", "accuracy", "sums of draws")
    legend_below(left, [ax], columns=2)
    above, below = right.subfigures(2, 1)
    for part, pictures, title in (
        (above, seeds[0][1], "samples"),
        (below, seeds[0][2], "lower half hidden"),
    ):
        part.suptitle(title, fontsize=10, color=INK)
        axes = part.subplots(len(pictures), 1)
        for panel, (name, images) in zip(axes, pictures.items(), strict=True):
            strip = np.asarray(images).reshape(-1, _SIDE, _SIDE).transpose(1, 0, 2)
            panel.imshow(strip.reshape(_SIDE, -1), cmap="gray_r", vmin=0, vmax=1)
            panel.set_xticks([])
            panel.set_yticks([])
            panel.set_ylabel(name, fontsize=7, color=INK, rotation=0, ha="right", va="center")
