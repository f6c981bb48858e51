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

from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.data import Images
from pvae_neuro.evaluation.measures.classification import logistic_accuracy
from pvae_neuro.experiments.levels import counts
from pvae_neuro.experiments.levels.completion import MEAN_IMAGE, Case, completed
from pvae_neuro.experiments.levels.counts import (
    LOWER,
    ONE,
    UPPER,
    Subject,
    drawing,
    in_integers,
    steps_of,
)
from pvae_neuro.experiments.levels.samples import DIGITS, judged, samples_of
from pvae_neuro.experiments.shared.along import labels_of
from pvae_neuro.experiments.shared.claims import Claim, all_of, at_least, at_most
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.measures import interpolate
from pvae_neuro.experiments.shared.recipes import mnist_model
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import band, color_of, label_axes, legend_below
from pvae_neuro.plots.style import GUIDE, INK
from pvae_neuro.saved.model_file import LINEAR_FAMILY, Float32, load_model
from pvae_neuro.saved.shipped import model_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_INTEGERS = ", in integers"
RIVALS = ("pvae-linear", "gvae-linear")
LARGEST_GAP = 0.05
"""How far the error of integers on hidden pixels may lie above float, as a share of it."""

_SIDE = 28
_SHOWN = 8
_COLUMNS = [
    Column("accuracy", "accuracy, one draw", ".3f"),
    Column("summed", f"accuracy, {counts.DRAWS} draws", ".3f"),
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

_DRAWN = "shipped models; logistic regression on counts of training digits, scored on test digits"
_SAMPLED = "as many samples as test digits; squared distances summed over pixels; linear decoders"
_HIDDEN = f"MNIST test digits; error summed over hidden pixels, mean of {counts.DRAWS} draws"


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
    integer = in_integers(context, two)
    parts = {"": (two, one), IN_INTEGERS: (integer,)}
    for suffix, subjects in parts.items():
        for subject in subjects:
            read = _read(context, f"{subject.model.config.family}{suffix}", subject, train, test)
            spikes |= {f"{level}{suffix}": curve for level, curve in read["curves"].items()}
            if not suffix:
                rates |= {k: np.array(v, np.float32) for k, v in read["rates"].items()}
    for name, curve in spikes.items():
        _, ending, _ = name.partition(IN_INTEGERS)
        above = spikes[f"{UPPER}{ending}"]
        found[name] = {
            "accuracy": curve["accuracy"][0],
            "summed": curve["accuracy"][-1],
            "spikes": curve["spikes"][0],
        }
        sent = list(zip(above["spikes"], above["accuracy"], strict=True))
        equal = interpolate(sent, curve["spikes"][0])
        found[name] |= {} if equal is None else {"upper_equal": equal}
    rivals = {name: mnist_model(context, name) for name in RIVALS}
    budgets |= {name: budget_of(model) for name, model in rivals.items()}
    samples = samples_of(context, two, one, rates, rivals, len(test.pixels))
    for name, figures in judged(context, samples, test).items():
        found.setdefault(name, {}).update(figures)
    cases = {
        LOWER: Case(two, LOWER),
        f"{LOWER}{IN_INTEGERS}": Case(integer, LOWER),
        ONE: Case(one, ONE),
    }
    shown = test.take(context.pick(quick=25, hour=1000)).pixels
    masks = completed(context, cases, train.pixels.mean(axis=0), shown, _SHOWN)
    for key, under in masks.items():
        for name, error in under.errors.items():
            found.setdefault(name, {})[key] = error
    pictures = {**samples, DIGITS: test.pixels}
    rows = [
        Row(name, figures, {}, budgets.get(name.removesuffix(IN_INTEGERS), ""))
        for name, figures in found.items()
    ]
    real, integers = (found[f"{LOWER}{suffix}"] for suffix in ("", IN_INTEGERS))
    gap = max(integers[key] / real[key] - 1 for key in masks)
    return ExperimentResult(
        "hierarchy",
        "What an upper level adds",
        _COLUMNS,
        rows,
        _draw,
        (
            spikes,
            {name: images[:_SHOWN] for name, images in pictures.items()},
            masks["half"].pictures,
        ),
        {"integers: gap": gap},
        curves=spikes,
        notes=_notes(),
        size=(9.0, 7.0),
    )


def _read(
    context: Context, name: str, subject: Subject, train: Images, test: Images
) -> dict[str, Any]:
    """Accuracy of each level by the spikes sent, and its mean rates over training digits."""
    steps = steps_of(context)

    def compute() -> dict[str, Any]:
        draw = drawing(context, subject)
        seen, shown = (
            draw(f"{name}, {title}", images.pixels, steps)
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
        f"read {name}",
        subject.model,
        compute,
        digits=len(test.pixels),
        steps=steps,
        draws=counts.DRAWS,
        network=subject.hash,
    )


def _doublings() -> list[int]:
    return [1 << k for k in range(counts.DRAWS.bit_length())]


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
