"""Small integer networks with random numbers: quick to run, and hard on every branch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pvae_neuro.network import (
    Activation,
    Constant,
    Dense,
    Encoding,
    Input,
    IntegerNetwork,
    OneToOne,
    Population,
    Readout,
    Sampler,
    Variable,
    shared,
    transpose_of,
)
from pvae_neuro.network.program import Program
from pvae_neuro.network.sampler import largest_potential
from pvae_neuro.neurons.error import COMPARE
from pvae_neuro.neurons.poisson import FIRE, INTEGRATE, INTEGRATE_LATERAL

FRAC_BITS = 12


def latents_of(
    rng: np.random.Generator,
    integrate: Program,
    latents: int,
    max_count: int,
    diagonal: int | None = None,
) -> Population:
    u_min, u_max = -8 << FRAC_BITS, min(largest_potential(max_count, FRAC_BITS), 10 << FRAC_BITS)
    initial = rng.integers(-4 << FRAC_BITS, u_max, latents, dtype=np.int32)
    constants = [
        Constant("leak", rng.integers(0, 1 << 9, latents, dtype=np.int32)),
        Constant("u_min", shared(u_min)),
        Constant("u_max", shared(u_max)),
        Constant("du_min", shared(-8 << FRAC_BITS)),
        Constant("du_max", shared(10 << FRAC_BITS)),
    ]
    if diagonal is not None:
        constants.append(
            Constant("diagonal", rng.integers(0, diagonal + 1, latents, dtype=np.int32))
        )
    return Population(
        "latents",
        latents,
        (Variable("u", initial), Variable("z", shared(0), max(2, max_count.bit_length() + 1))),
        tuple(constants),
        (FIRE, integrate),
        Sampler(max_count, FRAC_BITS),
    )


def mantissas(rng: np.random.Generator, shape: tuple[int, int], bits: int) -> np.ndarray:
    limit = (1 << (bits - 1)) - 1
    return rng.integers(-limit, limit + 1, shape).astype(np.int8)


def lateral(
    seed: int = 0, latents: int = 12, pixels: int = 20, max_count: int = 15, bits: int = 8
) -> IntegerNetwork:
    rng = np.random.default_rng(seed)
    population = latents_of(rng, INTEGRATE_LATERAL, latents, max_count, 3 << FRAC_BITS)
    weight = mantissas(rng, (latents, latents), bits)
    readout = rng.integers(-900, 900, (pixels, latents), dtype=np.int16)
    drive = rng.integers(-3000, 5000, (latents, pixels), dtype=np.int32)
    ones = np.ones(latents, np.int8)
    return IntegerNetwork(
        name="lateral",
        input=Input(pixels, 0.0, 1.0, 12, (4, pixels // 4)),
        encodings=(Encoding("drive", "h", drive, 12, 1 << 20),),
        populations=(Population("drive", latents, (Variable("h", shared(0)),)), population),
        connections=(
            OneToOne("drive", "drive", "h", "latents", ones, received_as="drive"),
            Dense("lateral", "latents", "z", "latents", weight, 3, "lateral"),
        ),
        iteration=(
            Activation("latents", "fire"),
            Activation("latents", "integrate", ("drive", "lateral")),
        ),
        final=(Activation("latents", "fire"),),
        readout=Readout("latents", "z", readout, None, 11),
    )


def predictive(
    seed: int = 0, latents: int = 12, pixels: int = 20, max_count: int = 15, bits: int = 8
) -> IntegerNetwork:
    rng = np.random.default_rng(seed)
    dictionary = mantissas(rng, (pixels, latents), bits)
    population = latents_of(rng, INTEGRATE, latents, max_count)
    errors = Population(
        "errors",
        pixels,
        (Variable("m", shared(0)),),
        (
            Constant("gain", rng.integers(1, 1 << 14, pixels, dtype=np.int32)),
            Constant("gain_shift", shared(12)),
            Constant("low", shared(-900)),
            Constant("high", shared(900)),
        ),
        (COMPARE,),
    )
    prediction = Dense("prediction", "latents", "z", "errors", dictionary, 4, "prediction")
    feedback = transpose_of(
        prediction, "feedback", "errors", "m", "latents", exponent=-4, received_as="feedback"
    )
    ones = np.ones(pixels, np.int8)
    return IntegerNetwork(
        name="predictive",
        input=Input(pixels, -1.0, 1.0, 12, (4, pixels // 4)),
        encodings=(Encoding("pixels", "x"),),
        populations=(Population("pixels", pixels, (Variable("x", shared(0)),)), population, errors),
        connections=(
            OneToOne("pixels", "pixels", "x", "errors", ones, received_as="pixel"),
            prediction,
            feedback,
        ),
        iteration=(
            Activation("latents", "fire"),
            Activation("errors", "compare", ("pixels", "prediction")),
            Activation("latents", "integrate", ("feedback",)),
        ),
        final=(Activation("latents", "fire"),),
        readout=Readout("latents", "z", None, "prediction", 8),
    )


def images(network: IntegerNetwork, samples: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.uniform(network.input.low, network.input.high, (samples, network.input.size))


def with_constant(network: IntegerNetwork, population: str, **values: object) -> IntegerNetwork:
    """The network with other values of some constants of a population."""

    def changed(p: Population) -> Population:
        if p.name != population:
            return p
        constants = tuple(
            replace(c, values=np.atleast_1d(np.asarray(values[c.name], np.int32)))
            if c.name in values
            else c
            for c in p.constants
        )
        return replace(p, constants=constants)

    return replace(network, populations=tuple(changed(p) for p in network.populations))


def with_connection(network: IntegerNetwork, name: str, **changes: object) -> IntegerNetwork:
    """The network with a connection changed; connections that share its weights are not."""
    connections = tuple(replace(c, **changes) if c.name == name else c for c in network.connections)
    return replace(network, connections=connections)
