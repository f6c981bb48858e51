"""The P-VAE: an encoder of rectifiers sets the log-rates, and every iteration draws from them.

``z_t ~ Poisson(exp(u))`` with ``u = clamp(W a(x) + b + log r)``, and ``a`` the rectifiers of the
layers below. Nothing recurs: on one image the counts of all iterations are samples of one
posterior. The first draw, before any image has arrived, is of the prior. The dictionary reads
counts out on the host. Source: arXiv 2405.14473, with hard clamps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.calibrate import Calibration
from pvae_neuro.exporters.lowerings.base import Lowering
from pvae_neuro.exporters.lowerings.encoders import (
    INPUT,
    SENT,
    encoder_layers,
    prior_log_rate,
    round_encoder,
)
from pvae_neuro.exporters.lowerings.layers import activation_of, array, no_rectifier
from pvae_neuro.exporters.lowerings.linear import LATENTS, input_of, wide_readout
from pvae_neuro.exporters.lowerings.rectifiers import (
    Stage,
    forward_activations,
    forward_connections,
    hidden_names,
    hidden_populations,
    names_of,
    real_stages,
)
from pvae_neuro.exporters.remedies import refused
from pvae_neuro.exporters.scales import Scales
from pvae_neuro.network import (
    Activation,
    Constant,
    Encoding,
    FloatCircuit,
    IntegerNetwork,
    Population,
    Readout,
    Sampler,
    Variable,
    shared,
)
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.network.sampler import LOWEST_POTENTIAL, largest_potential
from pvae_neuro.neurons.encoder import ENCODE, LARGEST_LOG_CHANGE, LARGEST_LOG_RATE
from pvae_neuro.neurons.poisson import FIRE
from pvae_neuro.saved.model_file import SavedModel

Numbers = NDArray[Any]
SOFT = (
    "expected hard clamps, got the smooth bounds of log-rates, which no word operation computes; "
    "train the model again with hard clamps"
)


class FeedForward(Lowering):
    """Pixels, rectifiers, and Poisson neurons; nothing recurs."""

    name = "feedforward"
    families = ("pvae-linear", "pvae-mlp", "pvae-conv")

    def obstacle(self, model: SavedModel) -> str | None:
        """Circuits have rectifiers, hard clamps and a linear decoder."""
        decoder = model.config.architecture.get("decoder", "linear")
        if decoder != "linear":
            return (
                f"expected a linear decoder, which the host computes from counts, got {decoder!r}; "
                f"train the model again with a linear one"
            )
        if (other := no_rectifier(activation_of(model))) is not None:
            return other
        return SOFT if model.config.clamp == "soft" else None

    def remedy(self, model: SavedModel) -> str | None:
        """See :meth:`Lowering.remedy`."""
        return "hard_clamp" if self.obstacle(model) == SOFT else None

    def hops(self, model: SavedModel) -> tuple[str, ...]:
        """Pixels, and the graded spikes of the rectifiers."""
        return (SENT, *(f"{name}.a" for name in hidden_names(encoder_layers(model))))

    def circuit(self, model: SavedModel, dtype: str = "float32") -> FloatCircuit:
        """The model in real numbers."""
        self.check(model)
        stages, config = real_stages(encoder_layers(model)), model.config
        prior = prior_log_rate(model)
        low = np.full(config.latents, float(config.floor_u))
        most = min(LARGEST_LOG_RATE, float(config.clamp_u))
        high = np.maximum(low, np.minimum(most, prior + LARGEST_LOG_CHANGE))
        ends, start = (low, high, shared(0.0)), np.clip(prior, low, high)
        latents = _latents(start, stages[-1].bias, ends, 24, Sampler(255, 14))
        return FloatCircuit(
            name=self.name,
            input=input_of(model),
            readout=Readout(LATENTS, "z", _dictionary(model)),
            dtype=dtype,
            **_structure(model, stages, latents),
        )

    def integers(
        self, model: SavedModel, scales: Scales, calibration: Calibration
    ) -> IntegerNetwork:
        """The model in integers; calibration fixes the units of the rectifiers' graded spikes."""
        real = self.circuit(model, "float64").population_of[LATENTS]
        bits, found, choices = round_encoder(model, scales, calibration)
        last = found[-1]
        # A sum is clamped in its own unit, so that no log-rate can leave 24 bits by its shift.
        shift = (last.unit + last.rows - scales.frac_bits).astype(np.int32)
        least = float(real.constant("low").min())
        if least < LOWEST_POTENTIAL:
            raise refused(
                f"{LATENTS}: the log-rate's lower clamp is {least:g}, expected at least "
                f"{LOWEST_POTENTIAL}, the lowest that the sampler draws from",
                "clip",
            )
        ends = [np.ldexp(real.constant(end), scales.frac_bits) for end in ("low", "high")]
        start = np.rint(np.ldexp(real.variable("u").initial, scales.frac_bits))
        most = largest_potential(scales.max_count, scales.frac_bits)
        low, high, start = (np.minimum(np.rint(end), most) for end in (*ends, start))
        low, high = np.ceil(np.ldexp(low, shift)), np.floor(np.ldexp(high, shift))
        low, high = (np.clip(end, -WORD_MAX, WORD_MAX).astype(np.int32) for end in (low, high))
        sampler = Sampler(scales.max_count, scales.frac_bits)
        width = max(2, scales.max_count.bit_length() + 1)
        start = start.astype(np.int32)
        latents = _latents(start, last.stage.bias, (low, high, shift), width, sampler)
        readout = replace(model, arrays={"dictionary": _dictionary(model).astype(np.float32)})
        return IntegerNetwork(
            input=input_of(model, bits),
            name=self.name,
            readout=wide_readout(readout, scales),
            choices=(*scales.choices, *choices),
            family=model.config.family,
            **_structure(model, [each.stage for each in found], latents),
        )


def _dictionary(model: SavedModel) -> NDArray[np.float64]:
    return array(model, "decoder.dictionary", 2, model.config.pixels)


def _latents(
    start: Numbers, bias: Numbers, ends: tuple[Numbers, ...], bits: int, sampler: Sampler
) -> Population:
    constants = zip(("bias", "low", "high", "shift"), (bias, *ends), strict=True)
    return Population(
        LATENTS,
        len(bias),
        (Variable("u", start), Variable("z", np.zeros(1, start.dtype), bits)),
        tuple(Constant(name, values) for name, values in constants),
        (FIRE, ENCODE),
        sampler,
    )


def _structure(model: SavedModel, stages: Sequence[Stage], latents: Population) -> dict[str, Any]:
    """What a float circuit and an integer network have in common."""
    zero = np.zeros(1, latents.variable("u").initial.dtype)
    pixels = Population(INPUT, model.config.pixels, (Variable("x", zero),))
    connections = forward_connections(stages, (INPUT, "x"), LATENTS, name="encoding")
    fire = Activation(LATENTS, "fire")
    encode = Activation(LATENTS, "encode", names_of(connections, LATENTS))
    return {
        "encodings": (Encoding(INPUT, "x"),),
        "populations": (pixels, *hidden_populations(stages, gated=False), latents),
        "connections": connections,
        "iteration": (fire, *forward_activations(connections), encode),
        "final": (fire,),
    }
