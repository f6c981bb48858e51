"""What the float model does on calibration inputs: the ranges that quantization has to cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.count_table import WORDS
from pvae_neuro.errors import InputError
from pvae_neuro.float_model import FloatModel
from pvae_neuro.saved.model_file import SavedModel

MAX_CALIBRATION_IMAGES = 64
CALIBRATION_STEPS = 64


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranges seen on the calibration inputs.

    Attributes
    ----------
    potential : float
        Largest membrane potential (log-rate).
    count : int
        Largest spike count.
    error : float64 [M]
        Largest absolute reconstruction error per pixel, units of the input.
    images, steps : int
        How much was looked at.
    """

    potential: float
    count: int
    error: NDArray[np.float64]
    images: int
    steps: int


def calibrate(model: SavedModel, inputs: NDArray[np.floating[Any]], seed: int = 0) -> Calibration:
    """Run the float model on at most ``MAX_CALIBRATION_IMAGES`` inputs and keep the extremes.

    Parameters
    ----------
    model : SavedModel
    inputs : float [N, M]
        Images in the model's declared range.
    seed : int
        Of the random words.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        If the inputs have the wrong shape or there are none.
    """
    if inputs.ndim != 2 or inputs.shape[1] != model.config.pixels or not len(inputs):
        raise InputError(
            f"calibration inputs: expected [N, {model.config.pixels}] with N >= 1, "
            f"got {list(inputs.shape)}"
        )
    images = np.asarray(inputs[:MAX_CALIBRATION_IMAGES], dtype=np.float32)
    rng = np.random.Generator(np.random.Philox(seed))
    shape = (len(images), CALIBRATION_STEPS, model.config.latents)
    words = rng.integers(0, WORDS, shape, dtype=np.uint16)
    return _extremes(FloatModel(model), images, words)


def _extremes(
    model: FloatModel, images: NDArray[np.float32], words: NDArray[np.uint16]
) -> Calibration:
    potential, count = float(model.initial.max()), 0
    error = np.abs(images).max(axis=0).astype(np.float64)
    for z, u in model.iterate(images, words):
        potential = max(potential, float(u.max()))
        count = max(count, int(z.max()))
        error = np.maximum(error, np.abs(images - z @ model.dictionary.T).max(axis=0))
    return Calibration(potential, count, error, len(images), words.shape[1])
