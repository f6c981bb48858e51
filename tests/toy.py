"""Small integer networks with random numbers: quick to run, and hard on every branch."""

from __future__ import annotations

import numpy as np

from pvae_neuro.count_table import build_count_table, largest_potential
from pvae_neuro.network import (
    Connection,
    Drive,
    ErrorPopulation,
    Hop,
    InputEncoding,
    IntegerNetwork,
    PoissonPopulation,
    Readout,
)

FRAC_BITS = 12


def population(rng: np.random.Generator, latents: int, max_count: int, diagonal: int = 0):
    u_min, u_max = -8 << FRAC_BITS, min(largest_potential(max_count, FRAC_BITS), 10 << FRAC_BITS)
    initial = rng.integers(-4 << FRAC_BITS, u_max, latents, dtype=np.int32)
    return PoissonPopulation(
        name="latents",
        initial=initial,
        leak=rng.integers(0, 1 << 9, latents, dtype=np.int32),
        diagonal=rng.integers(0, diagonal + 1, latents, dtype=np.int32),
        frac_bits=FRAC_BITS,
        u_min=u_min,
        u_max=u_max,
        du_min=-8 << FRAC_BITS,
        du_max=10 << FRAC_BITS,
        table=build_count_table(FRAC_BITS, u_min, u_max, max_count),
    )


def mantissas(rng: np.random.Generator, shape: tuple[int, int], bits: int) -> np.ndarray:
    limit = (1 << (bits - 1)) - 1
    return rng.integers(-limit, limit + 1, shape).astype(np.int8)


def lateral(
    seed: int = 0, latents: int = 12, pixels: int = 20, max_count: int = 15, bits: int = 8
) -> IntegerNetwork:
    rng = np.random.default_rng(seed)
    return IntegerNetwork(
        topology="lateral",
        input=InputEncoding(pixels, 0.0, 1.0, 12, (4, pixels // 4)),
        populations=(population(rng, latents, max_count, diagonal=3 << FRAC_BITS),),
        connections=(
            Connection(
                "lateral", "latents", "latents", mantissas(rng, (latents, latents), bits), 3, bits
            ),
        ),
        schedule=(Hop("latents", ("lateral",)),),
        readout=Readout("latents", rng.integers(-900, 900, (pixels, latents), dtype=np.int16), 11),
        drive=Drive(
            "latents",
            rng.integers(-3000, 5000, (latents, pixels), dtype=np.int32),
            shift=12,
            limit=1 << 20,
        ),
    )


def predictive(
    seed: int = 0, latents: int = 12, pixels: int = 20, max_count: int = 15, bits: int = 8
) -> IntegerNetwork:
    rng = np.random.default_rng(seed)
    dictionary = mantissas(rng, (pixels, latents), bits)
    return IntegerNetwork(
        topology="predictive",
        input=InputEncoding(pixels, -1.0, 1.0, 12, (4, pixels // 4)),
        populations=(
            population(rng, latents, max_count),
            ErrorPopulation("errors", rng.integers(1, 1 << 14, pixels, dtype=np.int32), 12, 900),
        ),
        connections=(
            Connection("prediction", "latents", "errors", np.negative(dictionary), 4, bits),
            Connection(
                "feedback", "errors", "latents", np.ascontiguousarray(dictionary.T), -4, bits
            ),
        ),
        schedule=(Hop("errors", ("prediction",)), Hop("latents", ("feedback",))),
        readout=Readout("latents", dictionary.astype(np.int16), 8),
    )


def images(network: IntegerNetwork, samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(network.input.low, network.input.high, (samples, network.input.pixels))
