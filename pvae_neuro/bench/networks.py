"""Synthetic networks whose activity does not drift, however long they run.

The cost of an event-driven iteration depends on how many neurons fire, so a benchmark has to fix
it. Here every array has the size and type of a real network and every operation is carried out,
but what returns to the potentials rounds to zero: the exponent of the connection that ends there
is so small that the largest possible sum is less than half a unit. Leak, drive and self-inhibition
are zero. So each neuron keeps the potential that it starts with and fires independently, with the
probability that belongs to it. The potentials spread over two nats around the value that gives the
wanted activity, so that the sampler meets many rates, as it does in a real network.

The float model of the same size is pinned likewise: with a step size of exp(-60) its potentials do
not move.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import (
    Activation,
    Constant,
    Dense,
    Encoding,
    Input,
    IntegerNetwork,
    OneToOne,
    Population,
    Program,
    Readout,
    Sampler,
    Variable,
    shared,
    transpose_of,
)
from pvae_neuro.network.population import WORD_MAX
from pvae_neuro.network.sampler import largest_potential
from pvae_neuro.neurons.error import COMPARE
from pvae_neuro.neurons.poisson import FIRE, INTEGRATE, INTEGRATE_LATERAL
from pvae_neuro.saved.model_file import ModelConfig, SavedModel

FRAC_BITS = 12
MAX_COUNT = 15
MESSAGE_LIMIT = 900
LARGEST_MANTISSA = 127
LOWEST = -8.0
# Half the width over which potentials spread, in nats.
SPREAD = 1.0
# Far above any potential: soft clamps are then linear to the last bit of float32.
FLOAT_CLAMP = 30.0
LOG_STEP_SIZE = -60.0


def pinned_potentials(latents: int, activity: float, seed: int = 0) -> NDArray[np.float64]:
    """Potentials [K], in nats and random order, whose mean probability to fire is ``activity``.

    The probability that a neuron of potential u fires is ``1 - exp(-exp(u))``.
    """
    spread = np.linspace(-SPREAD, SPREAD, latents) if latents > 1 else np.zeros(1)
    highest = largest_potential(MAX_COUNT, FRAC_BITS) / 2.0**FRAC_BITS
    low, high = LOWEST - SPREAD, highest + SPREAD
    for _ in range(60):
        middle = (low + high) / 2
        u = np.clip(middle + spread, LOWEST, highest)
        below = float(np.mean(-np.expm1(-np.exp(u)))) < activity
        low, high = (middle, high) if below else (low, middle)
    result: NDArray[np.float64] = np.random.default_rng(seed).permutation(u)
    return result


def pinned_network(
    topology: str, latents: int, pixels: int, activity: float, seed: int = 0
) -> IntegerNetwork:
    """Network of K latents and M pixels that keeps an activity.

    Raises
    ------
    InputError
        If there is no such topology.
    """
    if topology not in TOPOLOGIES:
        raise InputError(f"topology: expected one of {', '.join(TOPOLOGIES)}; got {topology!r}")
    rng = np.random.default_rng(seed)
    return TOPOLOGIES[topology](rng, latents, pixels, activity, seed)


def _lateral(
    rng: np.random.Generator, latents: int, pixels: int, activity: float, seed: int
) -> IntegerNetwork:
    weight = _mantissas(rng, latents, latents)
    exponent = vanishing_exponent(weight, MAX_COUNT)
    diagonal = Constant("diagonal", np.zeros(latents, np.int32))
    fire = Activation("latents", "fire")
    return IntegerNetwork(
        name="lateral",
        input=Input(pixels, 0.0, 1.0, 12),
        encodings=(
            Encoding("drive", "h", np.zeros((latents, pixels), np.int32), 12, limit=1 << 20),
        ),
        populations=(
            Population("drive", latents, (Variable("h", shared(0)),)),
            _latents(latents, activity, seed, INTEGRATE_LATERAL, diagonal),
        ),
        connections=(
            OneToOne("drive", "drive", "h", "latents", _ones(latents), 0, "drive"),
            Dense("lateral", "latents", "z", "latents", weight, exponent, "lateral"),
        ),
        iteration=(fire, Activation("latents", "integrate", ("drive", "lateral"))),
        final=(fire,),
        readout=Readout(
            "latents", "z", rng.integers(-900, 900, (pixels, latents), np.int16), None, 11
        ),
    )


def _predictive(
    rng: np.random.Generator, latents: int, pixels: int, activity: float, seed: int
) -> IntegerNetwork:
    dictionary = _mantissas(rng, pixels, latents)
    # As in a lowering: no sum of messages may leave 24 bits.
    limit = min(MESSAGE_LIMIT, (WORD_MAX - (1 << 14)) // _row_sum(dictionary.T))
    prediction = Dense("prediction", "latents", "z", "errors", dictionary, 2, "prediction")
    feedback = transpose_of(
        prediction, "feedback", "errors", "m", "latents",
        exponent=vanishing_exponent(dictionary.T, limit), received_as="feedback",
    )  # fmt: skip
    fire = Activation("latents", "fire")
    return IntegerNetwork(
        name="predictive",
        input=Input(pixels, 0.0, 1.0, 12),
        encodings=(Encoding("pixels", "x"),),
        populations=(
            Population("pixels", pixels, (Variable("x", shared(0)),)),
            _latents(latents, activity, seed, INTEGRATE),
            _errors(pixels, limit),
        ),
        connections=(
            OneToOne("pixels", "pixels", "x", "errors", _ones(pixels), 0, "pixel"),
            prediction,
            feedback,
        ),
        iteration=(
            fire,
            Activation("errors", "compare", ("pixels", "prediction")),
            Activation("latents", "integrate", ("feedback",)),
        ),
        final=(fire,),
        readout=Readout("latents", "z", None, "prediction", 11),
    )


TOPOLOGIES = {"lateral": _lateral, "predictive": _predictive}


def _latents(
    size: int, activity: float, seed: int, integrate: Program, *more: Constant
) -> Population:
    floor, top = int(LOWEST) << FRAC_BITS, largest_potential(MAX_COUNT, FRAC_BITS)
    u = np.rint(pinned_potentials(size, activity, seed) * 2.0**FRAC_BITS)
    clamps = {"u_min": floor, "u_max": top, "du_min": -8 << FRAC_BITS, "du_max": 8 << FRAC_BITS}
    return Population(
        "latents",
        size,
        (
            Variable("u", np.clip(u, floor, top).astype(np.int32)),
            Variable("z", shared(0), MAX_COUNT.bit_length() + 1),
        ),
        (
            Constant("leak", np.zeros(size, np.int32)),
            *(Constant(name, shared(value)) for name, value in clamps.items()),
            *more,
        ),
        (FIRE, integrate),
        Sampler(MAX_COUNT, FRAC_BITS),
    )


def _errors(size: int, limit: int) -> Population:
    constants = {"gain_shift": 12, "low": -limit, "high": limit}
    return Population(
        "errors",
        size,
        (Variable("m", shared(0)),),
        (
            Constant("gain", np.full(size, 100, np.int32)),
            *(Constant(name, shared(value)) for name, value in constants.items()),
        ),
        (COMPARE,),
    )


def vanishing_exponent(weight: NDArray[np.int8], largest: int) -> int:
    """Exponent at which every sum of messages within +-``largest`` rounds to zero."""
    return -((_row_sum(weight) * largest).bit_length() + 1)


def _row_sum(weight: NDArray[np.int8]) -> int:
    return int(np.abs(weight.astype(np.int64)).sum(axis=1).max())


def _mantissas(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.int8]:
    values = rng.normal(0.0, LARGEST_MANTISSA / 3, (rows, columns))
    return np.clip(values, -LARGEST_MANTISSA, LARGEST_MANTISSA).astype(np.int8)


def _ones(size: int) -> NDArray[np.int8]:
    return np.ones(size, np.int8)


def pinned_float_model(latents: int, pixels: int, activity: float, seed: int = 0) -> SavedModel:
    """Float model of the same size and activity."""
    rng = np.random.default_rng(seed)
    config = ModelConfig(
        pixels=pixels,
        latents=latents,
        steps=1,
        beta=1.0,
        clamp_u=FLOAT_CLAMP,
        clamp_du=FLOAT_CLAMP,
        input_low=0.0,
        input_high=1.0,
    )
    arrays = {
        "dictionary": rng.normal(0.0, 0.05, (pixels, latents)).astype(np.float32),
        "log_sigma": np.full(pixels, -1.0, np.float32),
        "log_bias": np.full(latents, -3.0, np.float32),
        "log_step_size": np.array(LOG_STEP_SIZE, np.float32),
        "initial_potential": pinned_potentials(latents, activity, seed).astype(np.float32),
    }
    return SavedModel(config, arrays)


def random_images(network: IntegerNetwork, samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Images [samples, M] inside a network's range."""
    rng = np.random.default_rng(seed)
    source = network.input
    return rng.uniform(source.low, source.high, (samples, source.size)).astype(np.float32)
