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
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pvae_neuro.data import Images
from pvae_neuro.evaluation.measures.classification import logistic_classifier
from pvae_neuro.evaluation.measures.entropy import entropy, rounded, step_of
from pvae_neuro.evaluation.measures.neighbours import neighbour_accuracies
from pvae_neuro.experiments.shared.along import labels_of
from pvae_neuro.experiments.shared.claims import Claim, at_least, at_most, within
from pvae_neuro.experiments.shared.context import Context, budget_of, weights_digest
from pvae_neuro.experiments.shared.families import iterations_of
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

_SHIPPED, _INTEGERS = "shipped model", "shipped model in integers"
# Codes that are read at all levels of noise.
_ALONG = (f", {COUNTS}", f", {SAMPLE}", f", {MEANS}", _SHIPPED, _INTEGERS)
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

Codes = dict[str, Float32]
"""Of training digits, of test digits, and of test digits with noise, by :func:`_under_noise`."""

TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Digits:
    """What codes are made of."""

    train: Images
    test: Images
    noise: tuple[float, ...]


_PROTOCOL = (
    "MNIST digits, none seen in training; logistic regression on codes divided by their root mean "
    "square"
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
    rows: list[Row] = []
    curves: dict[str, Any] = {}
    for poisson, gaussian in PAIRS.values():
        models = {family: mnist_model(context, family) for family in (poisson, gaussian)}
        found = _compare(context, models[poisson], models[gaussian], digits)
        for name, figures in found.items():
            family = name.partition(",")[0]
            rows.append(Row(name, _columns(figures, family), budget=budget_of(models[family])))
            curves[name] = figures["by_noise"]
    for name, figures in _shipped(context, digits).items():
        rows.append(Row(name, _columns(figures, LINEAR_FAMILY), budget="shipped"))
        curves[name] = figures["by_noise"]
    accuracy = {row.name: row.figures["accuracy"] for row in rows}
    return ExperimentResult(
        "codes",
        "What codes tell per bit, per spike and under noise",
        _COLUMNS,
        rows,
        _draw,
        (rows, curves, digits.noise),
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


def _columns(figures: dict[str, Any], family: str) -> dict[str, float]:
    known = {column.key: figures[column.key] for column in _COLUMNS if column.key in figures}
    return {**known, "circuits": float(len(topologies(family)))}


def _compare(
    context: Context, poisson: SavedModel, gaussian: SavedModel, digits: Digits
) -> dict[str, Any]:
    names = poisson.config.family, gaussian.config.family

    def compute() -> dict[str, Any]:
        counts, many, rates = _codes(context, poisson, digits)
        sample, _, means = _codes(context, gaussian, digits)
        bits, zeros = entropy(counts[TEST]), float((counts[TEST] == 0).mean())
        spikes = float(counts[TEST].mean())
        codes = {
            f"{names[0]}, {COUNTS}": counts,
            f"{names[0]}, {MANY}": many,
            f"{names[0]}, {RATES}": rates,
            f"{names[0]}, {RATES}, {BITS}": _rounded(rates, bits),
        }
        for code, values in {SAMPLE: sample, MEANS: means}.items():
            codes |= {
                f"{names[1]}, {code}": values,
                f"{names[1]}, {code}, {BITS}": _rounded(values, bits),
                f"{names[1]}, {code}, {SPIKES}": _largest(values, spikes),
                f"{names[1]}, {code}, {ZEROS}": _largest(values, 1.0 - zeros),
            }
        return {name: _figures(context, name, each, digits) for name, each in codes.items()}

    return context.cached(
        " ".join(names), poisson, compute, other=weights_digest(gaussian),
        digits=len(digits.train.pixels), noise=digits.noise,
    )  # fmt: skip


def _shipped(context: Context, digits: Digits) -> dict[str, Any]:
    model = load_pretrained()

    def compute() -> dict[str, Any]:
        counts, *_ = _codes(context, model, digits)
        network = integers_of(context, model, "lateral")
        engine = fastest_engine(network)
        steps = _iterations(context, model)

        def infer(title: str, pixels: Float32) -> Float32:
            advance = context.advance(f"integers, {title}", len(pixels) * steps)
            recording = engine.run(
                network, pixels, steps, context.seed, record="last", progress=advance
            )
            return recording.last[str(recording.code)].astype(np.float32)

        integers = {title: infer(title, pixels) for title, pixels in _shown(context, digits)}
        found = {_SHIPPED: counts, _INTEGERS: integers}
        return {name: _figures(context, name, each, digits) for name, each in found.items()}

    return context.cached(
        "shipped", model, compute, digits=len(digits.train.pixels), noise=digits.noise
    )


def _iterations(context: Context, model: SavedModel) -> int:
    return iterations_of(model.config.family, context.pick(quick=16, hour=128))


def _codes(context: Context, model: SavedModel, digits: Digits) -> tuple[Codes, Codes, Codes]:
    """One sample, the sum of several samples, and posterior means."""
    name = model.config.family
    # More iterations of an encoder only sample again.
    steps = max(DRAWS, _iterations(context, model))
    found: tuple[Codes, Codes, Codes] = ({}, {}, {})
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


def _each(codes: Codes, change: Callable[[Float32], Float32]) -> Codes:
    return {title: change(values) for title, values in codes.items()}


def _rounded(codes: Codes, bits: float) -> Codes:
    """In whole numbers of the step at which the code of test digits has this entropy."""
    return _each(codes, partial(rounded, step=step_of(codes[TEST], bits)))


def _largest(codes: Codes, share: float) -> Codes:
    """Only this share of the values of test digits, the largest by magnitude; 1 keeps all."""
    threshold = float(np.quantile(np.abs(codes[TEST]), np.clip(1.0 - share, 0.0, 1.0)))
    return _each(codes, lambda values: np.where(np.abs(values) >= threshold, values, 0.0))


def _figures(context: Context, name: str, codes: Codes, digits: Digits) -> dict[str, Any]:
    context.progress(f"classify {name}", 0, 1)
    labels = {TRAIN: labels_of(digits.train), TEST: labels_of(digits.test)}
    noise = digits.noise if name.endswith(_ALONG) else (NOISE,)
    classifier = logistic_classifier(codes[TRAIN], labels[TRAIN], scaled=True)
    shown = {0.0: TEST, **{sd: _under_noise(sd) for sd in noise}}
    by_noise = {sd: classifier(codes[title], labels[TEST]) for sd, title in shown.items()}
    neighbours = neighbour_accuracies(
        np.concatenate([codes[TRAIN], codes[TEST]]), np.concatenate([labels[TRAIN], labels[TEST]]),
        counts=(LABELS,), draws=context.pick(quick=2, hour=20), seed=context.seed,
    )  # fmt: skip
    test = codes[TEST]
    whole = bool((test == np.rint(test)).all())
    # Whole numbers of a step are no spikes.
    counted = whole and not name.endswith(BITS)
    return {
        "accuracy": by_noise[0.0],
        "neighbours": float(np.mean(neighbours[LABELS])),
        "noisy": by_noise[NOISE],
        "events": float((test != 0).sum(axis=1).mean()),
        "zeros": float((test == 0).mean()),
        "by_noise": list(by_noise.values()),
        **({"bits": entropy(test)} if whole else {}),
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


def _draw(figure: Figure, seeds: list[tuple[list[Row], dict[str, Any], tuple[float, ...]]]) -> None:
    axes = figure.subplots(1, 3)
    names = [row.name for row in seeds[0][0]]
    for ax, key, title in zip(
        axes, ("bits", "events"), ("per bit (hollow: cut)", "per value"), strict=False
    ):
        for name in names:
            _draw_point(ax, name, [_of(rows, name) for rows, *_ in seeds], key)
        label_axes(ax, {"bits": "entropy, bits", "events": "values sent"}[key], "accuracy", title)
    levels = (0.0, *seeds[0][2])
    for name in names:
        if name.endswith(_ALONG):
            band(axes[2], levels, [curves[name] for _, curves, _ in seeds], **_style(name))
    label_axes(axes[2], "noise, sd", "accuracy", "under noise")
    legend_below(figure, [axes[1], axes[0]], columns=3)


def _of(rows: list[Row], name: str) -> dict[str, float]:
    return next(row.figures for row in rows if row.name == name)


def _draw_point(ax: Axes, name: str, seeds: list[dict[str, float]], key: str) -> None:
    if all(key in figures for figures in seeds):
        values = [[figures[key]] for figures in seeds]
        crosses(ax, values, [[figures["accuracy"]] for figures in seeds], **_style(name))


_MARKERS = {COUNTS: "o", MANY: "D", RATES: "*", SAMPLE: "x", MEANS: "s"}


def _style(name: str) -> dict[str, Any]:
    family, *code = name.split(", ")
    known: dict[str, Any] = {"color": INK, "marker": "P" if name == _INTEGERS else "*"}
    if code:
        known = {"color": color_of(family), "marker": _MARKERS[code[0]]}
    if code[1:]:
        known["mfc"] = "white"
    return {**known, "label": ", ".join([family, *code[:1]]), "ms": 6, "lw": 1.4}
