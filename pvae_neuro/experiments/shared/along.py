"""A model measured along its inference, by the authors' protocol, in parts that a rerun reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.data import Images
from pvae_neuro.errors import InputError
from pvae_neuro.evaluation.measures.classification import logistic_accuracy
from pvae_neuro.evaluation.measures.codes import codes_along
from pvae_neuro.evaluation.measures.integer_codes import Codes
from pvae_neuro.evaluation.measures.measured import figures_of
from pvae_neuro.experiments.shared.context import Context, weights_digest
from pvae_neuro.experiments.shared.style import band, label_axes, legend_below, log_errors
from pvae_neuro.plots.style import INK
from pvae_neuro.saved.model_file import Float32, SavedModel
from pvae_neuro.utils.digest import digest
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.progress import Advance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_IMAGES_PER_PART = 2500
_ARRAYS = ("code", "z", "error", "kl")

Figures = dict[str, float]

LAST = 1000
"""Iterations up to which the paper tests."""

TIMES = (16, 50, 128, 250, 500, LAST)
"""After which full runs read figures."""

TITLES = {
    "mse": "MSE", "zeros": "zeros", "r2": "R² within images", "accuracy": "accuracy on exp(u)",
}  # fmt: skip
"""Of the figures that claims are about."""

_PANELS = {
    "mse": ("MSE, summed over pixels", "reconstruction"),
    "zeros": ("share of zeros", "sparsity"),
    "accuracy": ("accuracy on exp(u)", "logistic regression"),
}


def along_inference(
    context: Context,
    key: str,
    model: SavedModel,
    times: tuple[int, ...],
    test: Images,
    train: Images,
) -> dict[int, Figures]:
    """Figures of a model after each of some numbers of iterations, ascending.

    Those of :func:`figures_of`, and ``accuracy`` of the authors' logistic regression, fitted to the
    codes of the training images and judged on the test images.

    What was inferred is kept below ``context.out`` until all figures are there, so that a run that
    was stopped goes on: some 2 kB for each image and time at 512 latents.
    """
    labels = [labels_of(images) for images in (train, test)]

    def compute() -> dict[str, Any]:
        name = digest(weights_digest(model), f"{context.seed} {times}")[:12]
        folder = context.out / "codes" / f"{key.replace(' ', '-')}-{name}"
        total = times[-1] * (len(train.pixels) + len(test.pixels))
        advance = context.advance(f"infer {key}", total)
        for split, images in (("train", train), ("test", test)):
            _infer(folder / split, model, images.pixels, times, context.seed, advance)
        found = {}
        for done, time in enumerate(times):
            context.progress(f"classify {key}", done, len(times))
            seen = _read(folder / "train", time, len(train.pixels)).code
            tested = _read(folder / "test", time, len(test.pixels))
            found[str(time)] = {
                **figures_of(tested, test.pixels),
                "accuracy": logistic_accuracy(seen, labels[0], tested.code, labels[1]),
            }
        shutil.rmtree(folder)
        return found

    counts = len(test.pixels), len(train.pixels)
    found = context.cached(key, model, compute, times=times, images=counts)
    return {int(time): figures for time, figures in found.items()}


def draw_along(
    figure: Figure,
    shown: Mapping[str, tuple[str, Sequence[Mapping[int, Figures]]]],
    published: Mapping[str, float],
) -> None:
    """Error, zeros and accuracy along inference, with published levels.

    ``shown`` has, by its label, the colour of each curve and what :func:`along_inference` found by
    seed.
    """
    axes = figure.subplots(1, len(_PANELS))
    for ax, (key, (label, title)) in zip(axes, _PANELS.items(), strict=True):
        for name, (color, seeds) in shown.items():
            times = list(seeds[0])
            curves = [[found[time][key] for time in times] for found in seeds]
            band(ax, times, curves, color=color, marker="o", label=name)
        ax.axhline(published[key], color=INK, ls="--", lw=1.2, label="published figure")
        ax.set_xscale("log")
        ax.set_xticks(times, [f"{time:,}" for time in times])
        ax.minorticks_off()
        label_axes(ax, "iteration", label, title)
    log_errors(axes[0])
    legend_below(figure, list(axes))


def labels_of(images: Images) -> NDArray[np.int64]:
    """Labels of images; :class:`InputError` if there are none."""
    if images.labels is None:
        raise InputError(f"{images.name}: expected labels to classify by, got none")
    return images.labels


def _parts(folder: Path, count: int) -> Iterator[tuple[Path, slice]]:
    """The file of each part of so many images."""
    for first in range(0, count, _IMAGES_PER_PART):
        part = slice(first, min(first + _IMAGES_PER_PART, count))
        yield folder / f"{part.start}-{part.stop}.npz", part


def _infer(
    folder: Path,
    model: SavedModel,
    pixels: Float32,
    times: tuple[int, ...],
    seed: int,
    advance: Advance,
) -> None:
    """Infer what is not stored yet, part by part."""
    for path, part in _parts(folder, len(pixels)):
        if path.is_file():
            advance(times[-1] * (part.stop - part.start))
            continue
        found = codes_along(
            model, pixels[part], times, seed, first_sample=part.start, progress=advance
        )
        arrays = {
            f"{name}-{time}": getattr(codes, name)
            for time, codes in found.items()
            for name in _ARRAYS
            if getattr(codes, name) is not None
        }
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)


def _read(folder: Path, time: int, count: int) -> Codes:
    """Read what was stored of so many images after so many iterations."""
    read: dict[str, list[Any]] = {name: [] for name in _ARRAYS}
    sizes = []
    for path, part in _parts(folder, count):
        sizes.append(part.stop - part.start)
        with np.load(path) as stored:
            for name, values in read.items():
                if f"{name}-{time}" in stored:
                    values.append(stored[f"{name}-{time}"])
    kl = np.average(read["kl"], axis=0, weights=sizes) if read["kl"] else None
    code, z, error = (np.concatenate(read[name]) for name in _ARRAYS[:-1])
    return Codes(code, z, error, kl)
