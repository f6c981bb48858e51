"""The model that comes with the package, by the authors' protocol (arXiv:2410.19315, MNIST table).

Along 1,000 iterations: squared error, R² within images and zeros of one sample on test digits, and
accuracy of the authors' logistic regression on the rates exp(u), fitted to training digits. After
the last of them the same for its integer networks, in both circuits, by the potentials and counts
that the fastest engine computes.

The model was trained with another objective than the published one: an activity cost, steered to a
target of zeros, and one variance for all pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvae_neuro.artifact import program_hash
from pvae_neuro.evaluation.measures.classification import logistic_accuracy
from pvae_neuro.evaluation.measures.integer_codes import Codes, codes_of_network
from pvae_neuro.evaluation.measures.measured import figures_of
from pvae_neuro.experiments.shared import published
from pvae_neuro.experiments.shared.along import (
    LAST,
    TIMES,
    TITLES,
    along_inference,
    draw_along,
    labels_of,
)
from pvae_neuro.experiments.shared.claims import Claim, all_of, at_least, at_most
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.families import SHIPPED
from pvae_neuro.experiments.shared.integers import CIRCUITS, integers_of
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import color_of
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import LINEAR_FAMILY, Float32
from pvae_neuro.zoo import load_pretrained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALIBRATION_DIGITS = 256
BARS = {"mse": 3.44, "zeros": 0.844, "r2": 0.951, "accuracy": 0.9646}
"""The published linear iterative Poisson VAE."""

_COLUMNS = [
    Column("mse", "MSE, summed", ".3f"),
    Column("r2", "R² within images", ".4f"),
    Column("zeros", "zeros", ".4f"),
    Column("accuracy", "accuracy on exp(u)", ".4f"),
    Column("lifetime", "lifetime sparsity", ".3f"),
    Column("nelbo", "MSE + KL", ".3f"),
]


def float_row(time: int) -> str:
    """Name of the row of the float model after so many iterations."""
    return f"float, t = {time:,}"


def integer_row(circuit: str) -> str:
    """Name of the row of the integers of a circuit."""
    return f"integers, {circuit}, t = {LAST:,}"


def _claim(key: str, bar: float) -> Claim:
    test = at_most if key == "mse" else at_least
    rows = [float_row(LAST), *map(integer_row, CIRCUITS)]
    return Claim(
        f"shipped-{key}",
        "ipvae",
        f"{TITLES[key]} of the linear iterative Poisson VAE on MNIST",
        f"{bar:g}, mean of five seeds; the iteration of the reading is not stated",
        "the shipped model, trained with another objective (activity cost), as floats and as both "
        "integer networks; all test digits, one sample, t = 1,000; default logistic regression on "
        "60,000 training digits",
        all_of(*(test(f"{row}: {key}", bar, form=".4g") for row in rows)),
        "hour",
    )


CLAIMS = tuple(_claim(key, bar) for key, bar in BARS.items())


def run(context: Context) -> ExperimentResult:
    """Measure the shipped model and its integers; nothing is trained."""
    model = load_pretrained()
    test = context.images("mnist", "test", context.pick(50, hour=None))
    train = context.images("mnist", "train", context.pick(100, hour=None))
    theirs = {key: published.MNIST_TABLE[LINEAR_FAMILY][key] for key in BARS}
    along = along_inference(context, "shipped", model, TIMES, test, train)
    rows = [
        Row(float_row(time), figures, theirs if time == LAST else {}, budget_of(model))
        for time, figures in along.items()
    ]
    for circuit in CIRCUITS:
        network = integers_of(context, model, circuit, CALIBRATION_DIGITS)

        def compute(network: IntegerNetwork = network, circuit: str = circuit) -> dict[str, Any]:
            seen, tested = (
                _infer(context, f"{circuit}, {name}", network, images.pixels)
                for name, images in (("train", train), ("test", test))
            )
            context.progress(f"classify {circuit}", 0, 1)
            accuracy = logistic_accuracy(seen.code, labels_of(train), tested.code, labels_of(test))
            return {**figures_of(tested, test.pixels), "accuracy": accuracy}

        figures = context.cached(
            circuit, model, compute, network=program_hash(network),
            images=(len(test.pixels), len(train.pixels)), steps=LAST,
        )  # fmt: skip
        rows.append(Row(integer_row(circuit), figures, theirs, budget_of(model)))
    return ExperimentResult(
        "shipped",
        "The shipped model by the authors' protocol",
        _COLUMNS,
        rows,
        _draw,
        along,
        notes=_notes(context, len(test.pixels), len(train.pixels)),
    )


def _infer(context: Context, stage: str, network: IntegerNetwork, pixels: Float32) -> Codes:
    advance = context.advance(f"infer {stage}", LAST * len(pixels))
    return codes_of_network(network, pixels, LAST, context.seed, progress=advance)


def _notes(context: Context, test: int, train: int) -> list[str]:
    quick = (
        "Quick version: few digits and few labels, so that accuracy is far lower; they decide no "
        "claim."
    )
    return [
        f"{test:,} test digits; the regression is fitted to {train:,} training digits.",
        "Accuracy: scikit-learn's default logistic regression on exp(u) as it is, as the authors' "
        "code computes it along 1,000 iterations.",
        *published.UNVERIFIED["mnist-table"],
        *context.pick([quick], hour=[]),
    ]


def _draw(figure: Figure, seeds: list[dict[int, dict[str, float]]]) -> None:
    draw_along(figure, {SHIPPED: (color_of(LINEAR_FAMILY), seeds)}, BARS)
