"""A fully convolutional model on photographs larger than the crops that it was trained on.

It learns from small crops of one photograph and infers images cut from another, 1, 2, 4 and 8
times as high and as wide. All sizes see the same pixels, since parts of the largest size are cut
into pieces of the others. Iterations that settle on a crop need not settle on a large map, and
weights learned near the borders of crops need not fit inside. Pieces of the size of crops have
seams, where maps end; one large image should have none.

Photographs are whitened and their contrast is made even (local mean 0, local variance 1), so that
all parts have about the same variance, as in patches that are standardized each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.artifact import program_hash
from pvae_neuro.data import Images
from pvae_neuro.data.pictures import to_grey
from pvae_neuro.data.whitening import normalize_local_contrast, whiten
from pvae_neuro.evaluation.evaluate import evaluate
from pvae_neuro.evaluation.infer import infer
from pvae_neuro.experiments.shared.claims import Claim, all_of, at_least, at_most
from pvae_neuro.experiments.shared.context import Context, budget_of
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row
from pvae_neuro.experiments.shared.style import band, label_axes, legend_below
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.models.base import Iteration
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.fully_conv import FULLY_CONV_FAMILY, FullyConvSettings, at_image_shape
from pvae_neuro.saved.model_file import Float32, SavedModel
from pvae_neuro.training.train import recipe
from pvae_neuro.utils.optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FACTORS = (1, 2, 4, 8)
"""Sides of the images, in sides of the crops that the model was trained on."""

INTEGERS = "integers"
LIMIT = 8.0
"""Whitened pixels, of variance 1, are clipped to ± this."""

DECODER = FullyConvSettings(stride=4)
RADIUS = 16.0
BETA, STEPS, WINDOWS, BATCH = 4.0, 8, 4, 32
_SEAM, _BORDER = 1, 4
"""Pixels on each side of a line at which crops would meet; pixels from the end of an image."""

_AVERAGED = 16
"""Iterations over which R² is averaged to see whether it has settled."""

_CALIBRATION_IMAGES = 2
_COLORS = dict(zip(FACTORS, ("#c2410c", "#d9a006", "#0f9488", "#2563a8"), strict=True))

_COLUMNS = [
    Column("side", "side of the image", ".0f"),
    Column("mse", "squared error per pixel", ".4f"),
    Column("r2", "R² within images", ".4f"),
    Column("settled", f"R² of the last {_AVERAGED} iterations", ".4f"),
    Column("peak", f"largest R² of any {_AVERAGED} in a row", ".4f"),
    Column("zeros", "zeros", ".4f"),
    Column("seams", "left where crops would meet, relative to elsewhere", ".3f"),
    Column("borders", "left at the image's border, relative to inside", ".3f"),
]
_ROWS = {factor: f"{factor}x" for factor in FACTORS}
_LARGEST = _ROWS[FACTORS[-1]]
_INTEGER_ROW = f"{_LARGEST}, {INTEGERS}"

_PROTOCOL = (
    "trained on crops of one photograph, tested on parts of another, all sizes on the same pixels; "
    "whitened, local contrast made even"
)


def _claim(key: str, statement: str, bar: Any, protocol: str = "") -> Claim:
    return Claim(
        f"size-{key}", "beyond", statement, "not published",
        _PROTOCOL + (f"; {protocol}" if protocol else ""), bar, "hour",
    )  # fmt: skip


CLAIMS = (
    _claim(
        "error",
        "The error per pixel does not grow with the size of the image",
        all_of(
            *(at_most(f"{_ROWS[n]}: mse", "1x: mse", factor=1.05, form=".4f") for n in FACTORS[1:])
        ),
    ),
    _claim(
        "settles",
        "Inference settles at every size as it does on crops",
        all_of(
            *(
                at_least(f"{row}: settled", f"{row}: peak", slack=0.01, form=".4f")
                for row in _ROWS.values()
            )
        ),
        f"R² of the last {_AVERAGED} iterations against the largest of any {_AVERAGED} in a row",
    ),
    _claim(
        "zeros",
        "As many latents are at zero at every size",
        all_of(
            *(
                at_least(f"{_ROWS[n]}: zeros", "1x: zeros", slack=0.01, form=".4f")
                for n in FACTORS[1:]
            )
        ),
    ),
    _claim(
        "seams",
        "A large image has no seams where crops would meet",
        at_most(f"{_LARGEST}: seams", 1.05, form=".3f"),
        "share of the squared pixels that is left as error, next to those lines over that "
        "elsewhere, away from the ends of the parts",
    ),
    _claim(
        "integers",
        "Integers of the largest size are as exact as floats",
        at_most(f"{_INTEGER_ROW}: mse", f"{_LARGEST}: mse", factor=1.05, form=".4f"),
        "words of their own, as many iterations",
    ),
)


@dataclass(frozen=True)
class _Plan:
    """Sizes of a run."""

    side: int
    """Of crops, in pixels."""

    channels: int
    crops: int
    parts: int
    """Parts of the photograph that are inferred, of the largest size."""

    steps: int


_PLANS = {
    "quick": _Plan(16, 32, 960, 1, 100),
    "hour": _Plan(32, 32, 8_192, 1, 1_000),
}


def run(context: Context) -> ExperimentResult:
    """Train on crops; infer the same pixels at each size."""
    plan = context.pick(**_PLANS)
    learned, tested = (_photograph(name) for name in ("china.jpg", "flower.jpg"))
    model = _train(context, plan, learned)
    parts = _parts(tested, plan)
    found = {
        _ROWS[factor]: context.cached(
            _ROWS[factor], model, partial(_infer, context, plan, model, parts, factor),
            plan=vars(plan), factor=factor,
        )
        for factor in FACTORS
    }  # fmt: skip
    network = _quantized(model, learned, parts.shape[1])
    integers = context.cached(
        _INTEGER_ROW, model, partial(_integers, context, plan, network, parts),
        plan=vars(plan), network=program_hash(network),
    )  # fmt: skip
    figures = {
        **{name: each["figures"] | _settling(each["curves"]["r2"]) for name, each in found.items()},
        _INTEGER_ROW: integers,
    }
    curves = {name: each["curves"] for name, each in found.items()}
    return ExperimentResult(
        "photographs",
        "Photographs larger than the crops of training",
        _COLUMNS,
        [Row(name, each, {}, budget_of(model)) for name, each in figures.items()],
        _draw,
        curves,
        curves=curves,
        notes=_notes(plan),
    )


def _photograph(name: str) -> Float32:
    """A photograph that scikit-learn ships, whitened, [H, W]."""
    datasets = require("sklearn.datasets", "experiments", "photographs")
    picture = datasets.load_sample_image(name).astype(np.float32) / np.float32(255)
    even = normalize_local_contrast(whiten(to_grey(picture.transpose(2, 0, 1))), RADIUS)
    return np.clip(even, -LIMIT, LIMIT)


def _train(context: Context, plan: _Plan, photograph: Float32) -> SavedModel:
    rng = np.random.default_rng(context.seed)
    side, (height, width) = plan.side, photograph.shape
    rows = rng.integers(0, height - side + 1, plan.crops)
    columns = rng.integers(0, width - side + 1, plan.crops)
    crops = [photograph[y : y + side, x : x + side] for y, x in zip(rows, columns, strict=True)]
    images = Images(
        np.stack(crops).reshape(plan.crops, -1), None, (side, side), -LIMIT, LIMIT, "china.jpg"
    )
    places = (side // DECODER.reduction) ** 2
    config = recipe(
        FULLY_CONV_FAMILY, seed=context.seed, latents=plan.channels * places,
        architecture={"stride": DECODER.stride}, beta=BETA, steps=STEPS, windows=WINDOWS, epochs=1,
        batch_size=BATCH, isotropic=True,
    )  # fmt: skip
    return context.trained("photographs", images, config)


def _parts(photograph: Float32, plan: _Plan) -> Float32:
    """Parts of the largest size, side by side in the middle of a photograph, [N, H, W]."""
    side = FACTORS[-1] * plan.side
    top = (photograph.shape[0] - side) // 2
    left = (photograph.shape[1] - plan.parts * side) // 2
    middle = photograph[top : top + side, left : left + plan.parts * side]
    return middle.reshape(side, plan.parts, side).swapaxes(0, 1)


def _pieces(parts: NDArray[Any], side: int) -> NDArray[Any]:
    """Parts [N, H, W] cut into squares, [pieces, side · side]."""
    count, height, width = parts.shape
    cut = parts.reshape(count, height // side, side, width // side, side).swapaxes(2, 3)
    return cut.reshape(-1, side * side)


def _joined(pieces: NDArray[Any], shape: tuple[int, ...], side: int) -> NDArray[Any]:
    """Undo :func:`_pieces`."""
    count, height, width = shape
    cut = pieces.reshape(count, height // side, width // side, side, side).swapaxes(2, 3)
    return cut.reshape(shape)


def _infer(
    context: Context, plan: _Plan, model: SavedModel, parts: Float32, factor: int
) -> dict[str, Any]:
    side, steps = factor * plan.side, plan.steps
    pixels = _pieces(parts, side)
    errors = np.zeros(pixels.shape)

    def observe(step: int, block: slice, result: Iteration) -> None:
        # Errors of single iterations are noisy where a map of them is wanted.
        if step >= steps // 2:
            error = pixels[block] - result.reconstruction.numpy()
            errors[block] += np.square(error) / (steps - steps // 2)

    trace = infer(
        at_image_shape(model, (side, side)), pixels, steps, context.seed, observe=observe,
        progress=context.advance(f"infer {side} x {side}", steps * len(pixels)),
    )  # fmt: skip
    squares = np.square(pixels, dtype=np.float64)
    # Photographs differ from place to place, and errors with them; hence shares.
    by_line = _by_line(_joined(errors, parts.shape, side), plan.side)
    by_line /= _by_line(_joined(squares, parts.shape, side), plan.side)
    inside = (_end_distance(side, side) >= _BORDER).ravel()
    at_border, within = (
        float(errors[:, where].sum() / squares[:, where].sum()) for where in (~inside, inside)
    )
    return {
        "figures": {
            "side": side,
            "mse": float(trace.mse[-1]) / side**2,
            "r2": float(trace.r2[-1]),
            "zeros": float(trace.zeros[-1]),
            "seams": float(by_line[:_SEAM].mean() / by_line[_SEAM:].mean()),
            "borders": at_border / within,
        },
        "curves": {"r2": trace.r2.tolist(), "by_line": by_line.tolist()},
    }


def _settling(r2: list[float]) -> dict[str, float]:
    """R² at the end and at its largest; single samples of one image vary by some hundredths."""
    means = np.convolve(r2, np.full(_AVERAGED, 1 / _AVERAGED), "valid")
    return {"settled": float(means[-1]), "peak": float(means.max())}


def _by_line(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Mean of values [N, H, W] by distance from the nearest line of a grid, [side / 2].

    Half a crop at the ends of each part is left out: there every size has a border.
    """
    distance = _end_distance(side, side)
    tiles = np.tile(distance, (values.shape[1] // side, values.shape[2] // side))
    half = slice(side // 2, -(side // 2))
    kept, inner = values[:, half, half], tiles[half, half]
    return np.array([kept[:, inner == d].mean() for d in range(side // 2)])


def _end_distance(height: int, width: int) -> NDArray[np.int64]:
    """Pixels between each pixel and the nearest end of an image, [H, W]."""
    down, across = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (height, width))
    return np.minimum(down[:, None], across[None, :])


def _quantized(model: SavedModel, learned: Float32, side: int) -> IntegerNetwork:
    """The integers for images of a side, calibrated on the photograph of training."""
    # It is large enough for two such images.
    places = np.linspace(0, learned.shape[1] - side, _CALIBRATION_IMAGES).astype(int)
    calibration = np.stack([learned[:side, x : x + side].ravel() for x in places])
    return quantize(at_image_shape(model, (side, side)), calibration, QuantizeConfig("predictive"))


def _integers(
    context: Context, plan: _Plan, network: IntegerNetwork, parts: Float32
) -> dict[str, float]:
    side = parts.shape[1]
    found = evaluate(
        network, parts.reshape(len(parts), -1), steps=plan.steps, seed=context.seed,
        progress=context.advance(f"integers {side} x {side}", plan.steps * len(parts)),
    )  # fmt: skip
    return {
        "side": side,
        "mse": float(found.mse[-1]) / side**2,
        "r2": float(found.r2[-1]),
        "zeros": float(found.zeros[-1]),
    }


def _notes(plan: _Plan) -> list[str]:
    return [
        "Photographs are those that scikit-learn ships: china.jpg to learn from, flower.jpg to "
        "test on.",
        f"Crops of {plan.side} x {plan.side} pixels, {plan.channels} channels of latents at every "
        f"{DECODER.reduction} pixels; {plan.parts} part(s) of {FACTORS[-1] * plan.side} x "
        f"{FACTORS[-1] * plan.side} pixels, cut into pieces of each size.",
        "Integers are calibrated on parts of the photograph of training.",
    ]


def _draw(figure: Figure, seeds: list[dict[str, dict[str, list[float]]]]) -> None:
    left, right = figure.subplots(1, 2)
    for factor in FACTORS:
        name = _ROWS[factor]
        for ax, key in ((left, "r2"), (right, "by_line")):
            curves = [found[name][key] for found in seeds]
            places = np.arange(len(curves[0])) + (1 if ax is left else 0.5)
            band(ax, places, curves, color=_COLORS[factor], label=name)
    left.set_xscale("log")
    label_axes(left, "iteration", "R² within images", "settling, by side in crops")
    label_axes(
        right, "pixels from a line where crops would meet", "share of variance left", "seams"
    )
    legend_below(figure, [left, right])
