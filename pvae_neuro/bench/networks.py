"""Synthetic networks whose activity does not drift, however long they run.

The cost of an event-driven iteration depends on how many neurons fire, so a benchmark has to fix
it. Here every array has the size and type of a real network and every operation is carried out,
but what returns to the potentials rounds to zero: the exponent of the connection that ends there
is so small that the largest possible sum is less than half a unit. Leak, drive and self-inhibition
are zero. So each neuron keeps the potential it starts with and fires independently with the
probability that belongs to it. The potentials spread over two nats around the value that gives the
wanted activity, so that the sampler meets many rows of its table, as it does in a real network.

The float model of the same size is pinned likewise: a step size of exp(-60) leaves its potentials
where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.count_table import build_count_table, largest_potential
from pvae_neuro.errors import InputError
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
from pvae_neuro.saved.model_file import ModelConfig, SavedModel

FRAC_BITS = 12
MAX_COUNT = 15
BITS = 8
MESSAGE_LIMIT = 900
LOWEST = -8.0
# Half the width over which potentials spread, in nats.
SPREAD = 1.0
# Far above any potential: soft clamps are then linear to the last bit of float32.
FLOAT_CLAMP = 30.0
LOG_STEP_SIZE = -60.0


@dataclass(frozen=True, eq=False)
class Workload:
    """What all contenders of a case run.

    Attributes
    ----------
    network : IntegerNetwork
    images : float32 [B, M]
    activity : float
        Share of neurons that fire per iteration, as measured.
    float_model : SavedModel
        Of the same size and activity.
    """

    network: IntegerNetwork
    images: NDArray[np.float32]
    activity: float
    float_model: SavedModel


def pinned_potentials(latents: int, activity: float, seed: int = 0) -> NDArray[np.float64]:
    """Potentials whose mean probability to fire is ``activity``.

    Parameters
    ----------
    latents : int
    activity : float
        Mean of ``1 - exp(-exp(u))``.
    seed : int
        Of the order.

    Returns
    -------
    float64 [K]
        In nats, in random order.
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
    """Network of either topology that keeps an activity.

    Parameters
    ----------
    topology : {"lateral", "predictive"}
    latents, pixels : int
        K and M.
    activity : float
    seed : int

    Returns
    -------
    IntegerNetwork

    Raises
    ------
    InputError
        If there is no such topology.
    """
    makers = {"lateral": _lateral, "predictive": _predictive}
    if topology not in makers:
        raise InputError(f"topology: expected one of {', '.join(makers)}; got {topology!r}")
    rng = np.random.default_rng(seed)
    return makers[topology](rng, _latents(latents, activity, seed), pixels)


def _latents(latents: int, activity: float, seed: int) -> PoissonPopulation:
    u_min, u_max = int(LOWEST) << FRAC_BITS, largest_potential(MAX_COUNT, FRAC_BITS)
    u = np.rint(pinned_potentials(latents, activity, seed) * 2.0**FRAC_BITS)
    return PoissonPopulation(
        name="latents",
        initial=np.clip(u, u_min, u_max).astype(np.int32),
        leak=np.zeros(latents, np.int32),
        diagonal=np.zeros(latents, np.int32),
        frac_bits=FRAC_BITS,
        u_min=u_min,
        u_max=u_max,
        du_min=-8 << FRAC_BITS,
        du_max=8 << FRAC_BITS,
        table=build_count_table(FRAC_BITS, u_min, u_max, MAX_COUNT),
    )


def _lateral(rng: np.random.Generator, latents: PoissonPopulation, pixels: int) -> IntegerNetwork:
    size = latents.size
    weight = _mantissas(rng, size, size)
    exponent = vanishing_exponent(weight, MAX_COUNT)
    return IntegerNetwork(
        topology="lateral",
        input=InputEncoding(pixels, 0.0, 1.0, 12),
        populations=(latents,),
        connections=(Connection("lateral", "latents", "latents", weight, exponent, BITS),),
        schedule=(Hop("latents", ("lateral",)),),
        readout=_readout(rng, pixels, size),
        drive=Drive("latents", np.zeros((size, pixels), np.int32), shift=12, limit=1 << 20),
    )


def _predictive(
    rng: np.random.Generator, latents: PoissonPopulation, pixels: int
) -> IntegerNetwork:
    dictionary = _mantissas(rng, pixels, latents.size)
    back = np.ascontiguousarray(dictionary.T)
    exponent = vanishing_exponent(back, MESSAGE_LIMIT)
    errors = ErrorPopulation("errors", np.full(pixels, 100, np.int32), 12, MESSAGE_LIMIT)
    return IntegerNetwork(
        topology="predictive",
        input=InputEncoding(pixels, 0.0, 1.0, 12),
        populations=(latents, errors),
        connections=(
            Connection("prediction", "latents", "errors", np.negative(dictionary), 2, BITS),
            Connection("feedback", "errors", "latents", back, exponent, BITS),
        ),
        schedule=(Hop("errors", ("prediction",)), Hop("latents", ("feedback",))),
        readout=_readout(rng, pixels, latents.size),
    )


def vanishing_exponent(weight: NDArray[np.int8], largest: int) -> int:
    """Exponent at which every sum of messages within +-``largest`` rounds to zero."""
    reach = int(np.abs(weight.astype(np.int64)).sum(axis=1).max()) * largest
    return -(reach.bit_length() + 1)


def _mantissas(rng: np.random.Generator, rows: int, columns: int) -> NDArray[np.int8]:
    limit = (1 << (BITS - 1)) - 1
    return np.clip(rng.normal(0.0, limit / 3, (rows, columns)), -limit, limit).astype(np.int8)


def _readout(rng: np.random.Generator, pixels: int, latents: int) -> Readout:
    return Readout("latents", rng.integers(-900, 900, (pixels, latents), dtype=np.int16), 11)


def pinned_float_model(latents: int, pixels: int, activity: float, seed: int = 0) -> SavedModel:
    """Float model of the same size and activity.

    Parameters
    ----------
    latents, pixels : int
    activity : float
    seed : int

    Returns
    -------
    SavedModel
    """
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
    low, high = network.input.low, network.input.high
    return rng.uniform(low, high, (samples, network.input.pixels)).astype(np.float32)


def measured_activity(
    network: IntegerNetwork, images: NDArray[Any], seed: int, steps: int | None = None
) -> float:
    """Share of neurons that fire per iteration, in a run of the quickest engine on few images."""
    from pvae_neuro.sim.engine import default_engine, get_engine

    few = images[:8]
    steps = steps or max(16, 256 // len(few))
    recording = get_engine(default_engine()).run(network, few, steps, seed)
    if recording.active is None:
        raise InputError("activity: expected an engine that records summaries")
    return float(recording.active.mean()) / network.latents.size
