"""Encoders of P-VAEs as layers, from the pixels to log-rates: of saved models, and in integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.equalize import equalized
from pvae_neuro.exporters.lowerings.layers import (
    Layer,
    array,
    checked_chain,
    convolution,
    dense,
    dense_layers,
    halved_sides,
)
from pvae_neuro.exporters.lowerings.linear import input_of
from pvae_neuro.exporters.lowerings.rectifiers import hidden_names
from pvae_neuro.exporters.lowerings.rounding import Rounded, Source, round_forward
from pvae_neuro.exporters.scales import Scales
from pvae_neuro.network import Choice
from pvae_neuro.saved.model_file import SavedModel
from pvae_neuro.utils.reproducible import power_below

INPUT, SENT = "pixels", "pixels.x"
PIXEL_BITS = 8


def encoder_layers(model: SavedModel) -> tuple[Layer, ...]:
    """Layers of a model of a family of :data:`ENCODERS`; the last bias holds the prior.

    Raises
    ------
    ModelFileError
        If the model's arrays are not those of such an encoder.
    """
    config, prior = model.config, prior_log_rate(model)
    layers = checked_chain(model, ENCODERS[config.family](model), config.pixels, config.latents)
    return (*layers[:-1], replace(layers[-1], bias=layers[-1].bias + prior))


def prior_log_rate(model: SavedModel) -> NDArray[np.float64]:
    """Logarithms of the prior rates, [K]."""
    return array(model, "log_rate", 1, model.config.latents)


def round_encoder(
    model: SavedModel, scales: Scales, calibration: Calibration
) -> tuple[int, tuple[Rounded, ...], tuple[Choice, ...]]:
    """Fixed-point position of the pixels, the layers in integers, and what was chosen."""
    image, exact = input_of(model), encoder_layers(model)
    layers, reached = equalized(exact, calibration.largest, scales.mantissa_max)
    _, mean = equalized(exact, calibration.mean, scales.mantissa_max)
    largest = max(abs(image.low), abs(image.high))

    def rounded(
        bits: int, layers: Sequence[Layer] = layers
    ) -> tuple[tuple[Rounded, ...], tuple[Choice, ...]]:
        sides = (round(side * 2.0**bits) for side in (image.low, image.high))
        return round_forward(layers, Source(bits, *sides), scales, reached, same=False)

    finest = power_below(scales.message_limit(SENT, 1 << scales.input_frac_bits), largest)
    least = min(finest, power_below(1 << PIXEL_BITS, largest))
    # Pixels of one bit leave the first weights all that their mantissas hold.
    rows = rounded(power_below(1.0, largest))[0][0].rows
    fitting = (b for b in range(finest, least, -1) if (rounded(b)[0][0].rows == rows).all())
    bits = next(fitting, least)
    why = (
        f"finest, from {PIXEL_BITS} bits on, at which the sums of the first layer keep 24 bits and "
        f"its weights their mantissas"
    )
    sent = [mean[SENT], *(mean[f"{name}.a"] for name in hidden_names(layers))]
    corrected = _corrected(layers, rounded(bits)[0], sent)
    found, choices = rounded(bits, corrected)
    added = np.abs(corrected[-1].bias - layers[-1].bias).max()
    because = (
        "largest that a log-rate gets, to make up for what rounding of weights adds on average"
    )
    correction = Choice("bias correction", float(added), because)
    return bits, found, (Choice("pixel position", bits, why), *choices, correction)


def _corrected(
    layers: Sequence[Layer], found: Sequence[Rounded], sent: Sequence[NDArray[np.float64]]
) -> list[Layer]:
    """Layers whose biases make up for what rounding of the weights adds on average.

    ``sent`` is the mean of what each layer takes.
    """
    corrected = []
    for layer, each, mean in zip(layers, found, sent, strict=True):
        rounded = layer.connect("layer", "source", "x", "target", weight=each.mantissas)
        by_mantissas = rounded.product(np.ldexp(mean, -each.columns)[None], each.mantissas)
        wanted = rounded.product(mean[None], layer.weight)
        off = np.ldexp(by_mantissas[0], -each.rows) - wanted[0]
        corrected.append(replace(layer, bias=layer.bias - off))
    return corrected


def _linear(model: SavedModel) -> tuple[Layer, ...]:
    return (dense(model, "encoder"),)


def _mlp(model: SavedModel) -> tuple[Layer, ...]:
    return dense_layers(model, "encoder.layers")


def _conv(model: SavedModel) -> tuple[Layer, ...]:
    """Convolutions of kernel 3, stride 2 and padding 1, each with a rectifier; then all to all."""
    held = [name for name in model.arrays if name.startswith("encoder.")]
    depth = sum(model.arrays[name].ndim == 4 for name in held)
    sides = halved_sides(model, depth)
    maps = (
        convolution(model, f"encoder.layers.{2 * n}", large, small, 2, 1)
        for n, (large, small) in enumerate(pairwise(sides))
    )
    return (*maps, dense(model, f"encoder.layers.{2 * depth + 1}"))


ENCODERS: dict[str, Callable[[SavedModel], tuple[Layer, ...]]] = {
    "pvae-linear": _linear,
    "pvae-mlp": _mlp,
    "pvae-conv": _conv,
}
