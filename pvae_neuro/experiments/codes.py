"""What a code tells per bit, per spike, at equal zeros and under noise: Poisson against Gaussian.

A Poisson VAE sends counts, a Gaussian one real numbers. Full accuracy is not the whole comparison:
a chip sends integers and pays for each. So Gaussian codes are cut to what the counts cost:

- **equal bits**: rounded to multiples of one step, which is chosen so that the entropy of the code
  is that of the counts. Entropies are those of single latents, summed.
- **as many as spikes**: all but the largest magnitudes set to zero, so that as many values are sent
  as the Poisson model sends spikes. The values that stay keep their full precision.
- **equal zeros**: the same, at the Poisson model's share of zeros.

Counts are samples, so the like of them is one Gaussian sample; posterior means, which an encoder
can send as well, are the harder rival, and the like of rates. Under noise, classifiers that learned
from clean digits read codes of noisy ones.

A code is read by a logistic regression and by nearest neighbours among 200 labelled digits. Both
models of a pair have as many latents and the same kind of inference. The integers of the shipped
model stand beside: they are what a chip can compute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.artifact import program_hash
from pvae_neuro.data import Images
from pvae_neuro.evaluation.measures.classification import logistic_classifier
from pvae_neuro.evaluation.measures.entropy import entropy, rounded, step_of
from pvae_neuro.evaluation.measures.neighbours import neighbour_accuracies
from pvae_neuro.experiments.shared.along import labels_of
from pvae_neuro.experiments.shared.claims import Claim, at_least, at_most, within
from pvae_neuro.experiments.shared.context import Context, budget_of, weights_digest
from pvae_neuro.experiments.shared.families import SHIPPED, iterations_of
from pvae_neuro.experiments.shared.integers import integers_of
from pvae_neuro.experiments.shared.noise import noisy
from pvae_neuro.experiments.shared.recipes import mnist_model
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import band, color_of, crosses, label_axes, legend_below
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.plots.style import INK
from pvae_neuro.saved.model_file import LINEAR_FAMILY, Float32, SavedModel
from pvae_neuro.sim.engine import fastest_engine
from pvae_neuro.zoo import load_pretrained

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAIRS = {"one pass": ("pvae-conv", "gvae-conv"), "iterative": (LINEAR_FAMILY, "igvae")}
"""A Poisson and a Gaussian family, by their kind of inference."""

COUNTS, MANY, RATES = "counts", "counts of 16 draws", "rates"
SAMPLE, MEANS = "sample", "means"
"""Codes of a Poisson model, and of a Gaussian one."""

BITS, SPIKES, ZEROS = "equal bits", "as many as spikes", "equal zeros"
"""Ways to cut a code."""

DRAWS = 16
NOISE = 0.3
"""Standard deviation of the noise at which claims are decided; pixels lie in [0, 1]."""

LABELS = 200
LARGEST_GAP = 0.01
"""How far the accuracy of integers may lie from that of the float model."""


@dataclass(frozen=True)
class Code:
    """What one model sends of an image."""

    family: str
    kind: str
    """:data:`COUNTS`, :data:`MANY` or :data:`RATES`, :data:`SAMPLE` or :data:`MEANS`."""

    cut: str = ""
    """:data:`BITS`, :data:`SPIKES` or :data:`ZEROS`, where it is cut."""

    title: str = ""
    """Of the row; by default what it is."""

    @property
    def name(self) -> str:
        """Of the row."""
        return self.title or ", ".join(filter(None, (self.family, self.kind, self.cut)))

    @property
    def along(self) -> bool:
        """Whether it is read at all levels of noise."""
        return not self.cut and self.kind in (COUNTS, SAMPLE, MEANS)


_SHIPPED = Code(LINEAR_FAMILY, COUNTS, title=SHIPPED)
_INTEGERS = Code(LINEAR_FAMILY, COUNTS, title=f"{SHIPPED} in integers")
_COLUMNS = [
    Column("accuracy", "accuracy", ".3f"),
    Column("neighbours", f"neighbours, {LABELS} labels", ".3f"),
    Column("noisy", f"accuracy under noise {NOISE:g}", ".3f"),
    Column("bits", "entropy, bits an image", ",.0f"),
    Column("events", "values sent, an image", ",.1f"),
    Column("spikes", "spikes, an image", ",.1f"),
    Column("zeros", "zeros", ".3f"),
    Column("circuits", "circuits of integers", ",.0f"),
]

Values = dict[str, Float32]
"""A code of training digits, of test digits, and of test digits with noise: :func:`_shown`."""

TRAIN, TEST = "train", "test"

Read = dict[str, list[Any]]
"""Codes and their figures, for JSON."""

Found = dict[Code, dict[str, Any]]


@dataclass(frozen=True)
class Shown:
    """What the figure shows of one seed."""

    found: Found
    noise: tuple[float, ...]


@dataclass(frozen=True)
class Digits:
    """What codes are made of."""

    train: Images
    test: Images
    noise: tuple[float, ...]


_PROTOCOL = (
    "logistic regression on codes divided by their root mean square, of MNIST training digits, "
    "scored on test digits"
)


_CUTS = {
    BITS: ("per-bit", "At equal entropy"),
    SPIKES: ("per-spike", "With as many values as spikes"),
    ZEROS: ("equal-zeros", "At equal zeros"),
}


def _claims(kind: str, poisson: str, gaussian: str) -> tuple[Claim, ...]:
    def claim(key: str, statement: str, ours: str, theirs: str) -> Claim:
        return Claim(
            f"{key}-{kind.replace(' ', '-')}",
            "beyond",
            f"{statement}, {kind} inference",
            "not published",
            f"{_PROTOCOL}; cut to what the counts cost",
            at_least(f"{poisson}, {ours}: accuracy", f"{gaussian}, {theirs}: accuracy", form=".3f"),
            "hour",
        )

    against = {SAMPLE: "one Gaussian sample", MEANS: "Gaussian means"}
    return (
        *(
            claim(
                f"{key}-{code}", f"{start} counts tell the class as well as {rival}", COUNTS,
                f"{code}, {cut}",
            )
            for code, rival in against.items()
            for cut, (key, start) in _CUTS.items()
        ),
        claim(
            "per-bit-rates", "At equal entropy rates tell the class as well as Gaussian means",
            f"{RATES}, {BITS}", f"{MEANS}, {BITS}",
        ),
        Claim(
            f"noise-{kind.replace(' ', '-')}",
            "beyond",
            f"Noise in the image harms counts less than one Gaussian sample, {kind} inference",
            "not published",
            f"{_PROTOCOL}; normal noise of sd {NOISE:g}, clipped to [0, 1]; share of the accuracy "
            "that is lost",
            at_most(f"{poisson}, {COUNTS}: lost", f"{gaussian}, {SAMPLE}: lost", form=".3f"),
            "hour",
        ),
    )  # fmt: skip


CLAIMS = (
    *(claim for kind, pair in PAIRS.items() for claim in _claims(kind, *pair)),
    Claim(
        "integers",
        "beyond",
        "Counts in integers tell the class as well as those of the float model",
        "not published",
        f"{_PROTOCOL}; the shipped model and its lateral circuit, words of their own",
        within("integers: gap", 0.0, LARGEST_GAP, form=".4f"),
        "hour",
    ),
)


def run(context: Context) -> ExperimentResult:
    """Read codes of both models of each pair, cut the Gaussian ones, and classify."""
    count = context.pick(quick=200, hour=5000)
    digits = Digits(
        context.images("mnist", "train", count),
        context.images("mnist", "test", count),
        context.pick(quick=(NOISE,), hour=(0.1, 0.2, NOISE, 0.4, 0.5)),
    )
    models = {family: mnist_model(context, family) for pair in PAIRS.values() for family in pair}
    found: Found = {}
    for poisson, gaussian in PAIRS.values():
        found |= _compare(context, models[poisson], models[gaussian], digits)
    budgets = {code: budget_of(models[code.family]) for code in found}
    found |= _shipped(context, digits)
    rows = [
        Row(code.name, _columns(figures, code), budget=budgets.get(code, "shipped"))
        for code, figures in found.items()
    ]
    curves = {code.name: figures["by_noise"] for code, figures in found.items()}
    accuracy = {code: figures["accuracy"] for code, figures in found.items()}
    return ExperimentResult(
        "codes",
        "What codes tell per bit, per spike and under noise",
        _COLUMNS,
        rows,
        _draw,
        Shown(found, digits.noise),
        {
            **{
                f"{row.name}: lost": 1.0 - row.figures["noisy"] / row.figures["accuracy"]
                for row in rows
                if row.figures["accuracy"]
            },
            "integers: gap": accuracy[_INTEGERS] - accuracy[_SHIPPED],
        },
        curves=curves,
        notes=_notes(context, count),
        size=(9.0, 5.2),
    )


def _columns(figures: dict[str, Any], code: Code) -> dict[str, float]:
    known = {column.key: figures[column.key] for column in _COLUMNS if column.key in figures}
    return {**known, "circuits": float(len(topologies(code.family)))}


def _compare(context: Context, poisson: SavedModel, gaussian: SavedModel, digits: Digits) -> Found:
    names = poisson.config.family, gaussian.config.family

    def compute() -> Read:
        counts, many, exact = _values(context, poisson, digits)
        sample, _, means = _values(context, gaussian, digits)
        bits, zeros = entropy(counts[TEST]), float((counts[TEST] == 0).mean())
        spikes = float(counts[TEST].mean())
        codes = {
            Code(names[0], COUNTS): counts,
            Code(names[0], MANY): many,
            Code(names[0], RATES): exact,
            Code(names[0], RATES, BITS): _rounded(exact, bits),
        }
        for kind, values in {SAMPLE: sample, MEANS: means}.items():
            codes |= {
                Code(names[1], kind): values,
                Code(names[1], kind, BITS): _rounded(values, bits),
                Code(names[1], kind, SPIKES): _largest(values, spikes),
                Code(names[1], kind, ZEROS): _largest(values, 1.0 - zeros),
            }
        return _read(context, codes, digits)

    return _found(
        context.cached(
            " ".join(names), poisson, compute, other=weights_digest(gaussian),
            digits=len(digits.train.pixels), noise=digits.noise,
        )
    )  # fmt: skip


def _shipped(context: Context, digits: Digits) -> Found:
    model = load_pretrained()
    network = integers_of(context, model, "lateral")

    def compute() -> Read:
        counts, *_ = _values(context, model, digits)
        engine = fastest_engine(network)
        steps = _iterations(context, model)

        def infer(title: str, pixels: Float32) -> Float32:
            advance = context.advance(f"integers, {title}", len(pixels) * steps)
            recording = engine.run(
                network, pixels, steps, context.seed, record="last", progress=advance
            )
            return recording.last[str(recording.code)].astype(np.float32)

        integers = {title: infer(title, pixels) for title, pixels in _shown(context, digits)}
        return _read(context, {_SHIPPED: counts, _INTEGERS: integers}, digits)

    return _found(
        context.cached(
            "shipped", model, compute, digits=len(digits.train.pixels), noise=digits.noise,
            network=program_hash(network),
        )
    )  # fmt: skip


def _iterations(context: Context, model: SavedModel) -> int:
    return iterations_of(model.config.family, context.pick(quick=16, hour=128))


def _values(context: Context, model: SavedModel, digits: Digits) -> tuple[Values, Values, Values]:
    """One sample, the sum of several samples, and posterior means."""
    name = model.config.family
    # More iterations of an encoder only sample again.
    steps = max(DRAWS, _iterations(context, model))
    found: tuple[Values, Values, Values] = ({}, {}, {})
    for title, pixels in _shown(context, digits):
        trace = context.infer(f"{name}, {title}", model, pixels, steps, DRAWS)
        for codes, values in zip(
            found, (trace.z, DRAWS * trace.z_average, trace.mean), strict=True
        ):
            codes[title] = values
    return found


def _shown(context: Context, digits: Digits) -> list[tuple[str, Float32]]:
    """Training digits, test digits, and test digits with noise, with a title each."""
    clean = digits.test.pixels
    return [
        (TRAIN, digits.train.pixels),
        (TEST, clean),
        *((_under_noise(sd), noisy(clean, sd, context.seed)) for sd in digits.noise),
    ]


def _under_noise(sd: float) -> str:
    return f"noise {sd:g}"


def _each(codes: Values, change: Callable[[Float32], Float32]) -> Values:
    return {title: change(values) for title, values in codes.items()}


def _rounded(codes: Values, bits: float) -> Values:
    """In whole numbers of the step at which the code of test digits has this entropy."""
    return _each(codes, partial(rounded, step=step_of(codes[TEST], bits)))


def _largest(codes: Values, share: float) -> Values:
    """Only this share of the values of test digits, the largest by magnitude; 1 keeps all."""
    threshold = float(np.quantile(np.abs(codes[TEST]), np.clip(1.0 - share, 0.0, 1.0)))
    return _each(codes, lambda values: np.where(np.abs(values) >= threshold, values, 0.0))


def _read(context: Context, codes: dict[Code, Values], digits: Digits) -> Read:
    return {
        "figures": [
            [vars(code), _figures(context, code, values, digits)] for code, values in codes.items()
        ]
    }


def _found(read: Read) -> Found:
    return {Code(**code): figures for code, figures in read["figures"]}


def _figures(context: Context, code: Code, values: Values, digits: Digits) -> dict[str, Any]:
    context.progress(f"classify {code.name}", 0, 1)
    labels = {TRAIN: labels_of(digits.train), TEST: labels_of(digits.test)}
    noise = digits.noise if code.along else (NOISE,)
    classifier = logistic_classifier(values[TRAIN], labels[TRAIN], scaled=True)
    shown = {0.0: TEST, **{sd: _under_noise(sd) for sd in noise}}
    by_noise = {sd: classifier(values[title], labels[TEST]) for sd, title in shown.items()}
    together = (np.concatenate([each[TRAIN], each[TEST]]) for each in (values, labels))
    neighbours = neighbour_accuracies(
        *together,
        counts=(LABELS,), draws=context.pick(quick=2, hour=20), seed=context.seed,
    )  # fmt: skip
    test = values[TEST]
    counted = code.kind in (COUNTS, MANY)
    return {
        "accuracy": by_noise[0.0],
        "neighbours": float(np.mean(neighbours[LABELS])),
        "noisy": by_noise[NOISE],
        "events": float((test != 0).sum(axis=1).mean()),
        "zeros": float((test == 0).mean()),
        "by_noise": list(by_noise.values()),
        **({"bits": entropy(test)} if counted or code.cut == BITS else {}),
        **({"spikes": float(test.sum(axis=1).mean())} if counted else {}),
    }


def _notes(context: Context, count: int) -> list[str]:
    quick = "Quick version: trainings of seconds, 16 iterations; accuracies err by several points."
    return [
        f"{count:,} digits teach the classifiers, {count:,} test digits are read.",
        "The entropy of a code is estimated from the shares of its values on the test digits. Real "
        "numbers have none; a code without a number of bits needs rounding first.",
        "Circuits of integers: how many this project has for the family.",
        *context.pick([quick], hour=[]),
    ]


def _draw(figure: Figure, seeds: list[Shown]) -> None:
    axes = figure.subplots(1, 3)
    codes = list(seeds[0].found)
    for ax, key, title in zip(
        axes, ("bits", "events"), ("per bit (hollow: cut)", "per value"), strict=False
    ):
        for code in codes:
            _draw_point(ax, code, [seed.found[code] for seed in seeds], key)
        label_axes(ax, {"bits": "entropy, bits", "events": "values sent"}[key], "accuracy", title)
    levels = (0.0, *seeds[0].noise)
    for code in codes:
        if code.along:
            curves = [seed.found[code]["by_noise"] for seed in seeds]
            band(axes[2], levels, curves, **_style(code))
    label_axes(axes[2], "noise, sd", "accuracy", "under noise")
    legend_below(figure, [axes[1], axes[0]], columns=3)


def _draw_point(ax: Axes, code: Code, seeds: list[dict[str, Any]], key: str) -> None:
    if all(key in figures for figures in seeds):
        values = [[figures[key]] for figures in seeds]
        crosses(ax, values, [[figures["accuracy"]] for figures in seeds], **_style(code))


_MARKERS = {COUNTS: "o", MANY: "D", RATES: "*", SAMPLE: "x", MEANS: "s"}


_OF_SHIPPED = {_SHIPPED: "*", _INTEGERS: "P"}


def _style(code: Code) -> dict[str, Any]:
    return {
        "color": INK if code in _OF_SHIPPED else color_of(code.family),
        "marker": _OF_SHIPPED.get(code, _MARKERS[code.kind]),
        "mfc": "white" if code.cut else None,
        "label": replace(code, cut="").name,
        "ms": 6,
        "lw": 1.4,
    }
