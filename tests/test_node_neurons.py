"""Neurons of exponential families: what they compute, over their whole range."""

from __future__ import annotations

import numpy as np
import pytest

from pvae_neuro import get_engine
from pvae_neuro.network import (
    Activation,
    Constant,
    Dense,
    FloatCircuit,
    Input,
    IntegerNetwork,
    Population,
    Sampler,
    Variable,
    shared,
)
from pvae_neuro.network.interpreter import run_program
from pvae_neuro.network.operations import OPERATIONS
from pvae_neuro.network.sampler import LOWEST_POTENTIAL, WORDS, largest_potential
from pvae_neuro.neurons import bernoulli, categorical
from pvae_neuro.sim.noise import population_noise

FORMULAS = {name: operation.integer for name, operation in OPERATIONS.items()}
ZERO = shared(0)


# ------------------------------------------------------------------------------------ Bernoulli


def cells(frac_bits: int) -> Population:
    return Population(
        "cells", 1, (Variable("u", ZERO), Variable("z", ZERO)),
        bernoulli.firing_constants(frac_bits), (bernoulli.FIRE,), Sampler(1, frac_bits),
    )  # fmt: skip


def potentials(frac_bits: int, every: int) -> np.ndarray:
    """Potentials of the whole range, one in a few of them on either side of 0, and the ends."""
    above = np.arange(0, (-LOWEST_POTENTIAL << frac_bits) + 1, every)
    above = np.unique([*above, 1, -LOWEST_POTENTIAL << frac_bits])
    return np.unique([*-above, *above])


@pytest.mark.parametrize(("frac_bits", "every"), [(4, 1), (14, 37), (16, 151)])
def test_bernoulli_neurons_fire_by_the_sigmoid(frac_bits, every):
    u = potentials(frac_bits, every)
    words = bernoulli.firing_words(cells(frac_bits), u)
    probability = 1 / (1 + np.exp(-u / 2.0**frac_bits))
    # Half a word by the grid of words, 7.6e-6; the rest is the polynomial's.
    assert np.abs(words / WORDS - probability).max() < 1.0e-5
    assert (np.diff(words) >= 0).all()
    # Exact: firing at u and at -u adds up to certainty.
    assert np.array_equal(words + words[::-1], np.full(len(u), WORDS))


@pytest.mark.parametrize("u", [-(16 << 14), -70_001, -1, 0, 1, 5_003, 16 << 14])
def test_the_lower_words_fire(u):
    words = {"word": lambda: np.arange(WORDS)}
    every = run_program(cells(14), bernoulli.FIRE, {"u": np.full(WORDS, u)}, FORMULAS, words)["z"]
    assert (np.diff(every) <= 0).all()
    assert every.sum() == bernoulli.firing_words(cells(14), np.array([u]))[0]


def pixels(frac_bits: int, pixel_bits: int, size: int) -> Population:
    scale = 2**pixel_bits
    ends = {"u_min": LOWEST_POTENTIAL << frac_bits, "u_max": -LOWEST_POTENTIAL << frac_bits}
    message = {"gain": 1, "gain_shift": 0, "low": -scale, "high": scale}
    return Population(
        "pixels", size, (Variable("y", ZERO), Variable("m", ZERO)),
        (
            *bernoulli.sigmoid_constants(frac_bits, pixel_bits),
            *(Constant(name, shared(value)) for name, value in {**ends, **message}.items()),
            Constant("bias", ZERO),
        ),
        (bernoulli.COMPARE_PIXELS,),
    )  # fmt: skip


@pytest.mark.parametrize(("frac_bits", "pixel_bits"), [(14, 12), (11, 12), (14, 20)])
def test_pixels_compute_the_sigmoid_without_a_division(frac_bits, pixel_bits):
    u = np.arange(LOWEST_POTENTIAL << frac_bits, (-LOWEST_POTENTIAL << frac_bits) + 1, 5)
    values = {"prediction": u, "pixel": np.zeros_like(u)}
    found = run_program(
        pixels(frac_bits, pixel_bits, 1), bernoulli.COMPARE_PIXELS, values, FORMULAS, {}
    )
    error = found["y"] / 2.0**pixel_bits - 1 / (1 + np.exp(-u / 2.0**frac_bits))
    # Half a unit of the pixel, and 1e-5 of the exponential, of which the sigmoid takes a quarter.
    assert np.abs(error).max() < 0.5 * 2.0**-pixel_bits + 2.5e-6
    assert np.array_equal(found["m"], -found["y"])


# ---------------------------------------------------------------------------------- categorical

GROUPS, PER_GROUP, RATE, BITS = 48, 8, 0.02, 14
NEURONS = GROUPS * PER_GROUP
LOG_RATES = np.random.default_rng(3).normal(0.0, 1.5, NEURONS).round(2)
EXACT = np.log(np.exp(LOG_RATES).reshape(GROUPS, PER_GROUP).sum(axis=1))


def normalized(kind, unit: float):
    """Groups of Poisson neurons with their normalizer neurons, and nothing else."""
    real = kind is FloatCircuit

    def number(value: float) -> np.ndarray:
        return shared(float(value)) if real else shared(round(value * unit))

    def numbers(values: np.ndarray) -> np.ndarray:
        return values if real else np.rint(values * unit).astype(np.int32)

    together = np.kron(np.eye(GROUPS), np.ones(PER_GROUP))
    weight = together if real else together.astype(np.int8)
    high = largest_potential(15, BITS) / 2.0**BITS
    zero, counts = shared(0.0 if real else 0), Variable("z", shared(0.0 if real else 0))
    cells = Population(
        "cells", NEURONS, (Variable("u", numbers(LOG_RATES)), Variable("r", zero), counts),
        (Constant("r_min", number(LOWEST_POTENTIAL)), Constant("r_max", number(high))),
        (categorical.FIRE,), Sampler(15, BITS),
    )  # fmt: skip
    log_sums = Population(
        "log_sums", GROUPS, (Variable("c", zero),),
        (
            Constant("rate", number(RATE)), Constant("rate_shift", zero),
            Constant("c_min", number(-32)), Constant("c_max", number(32)),
        ),
        (categorical.NORMALIZE,),
    )  # fmt: skip
    return kind(
        name="groups", input=Input(1, 0.0, 1.0, 0), encodings=(), populations=(cells, log_sums),
        connections=(
            Dense("total", "cells", "z", "log_sums", weight, 0, "total"),
            Dense("log_sum", "log_sums", "c", "cells", weight.T.copy(), 0, "log_sum"),
        ),
        iteration=(
            Activation("cells", "fire", ("log_sum",)),
            Activation("log_sums", "normalize", ("total",)),
        ),
    )  # fmt: skip


def test_the_log_sum_is_exact_in_mean_rates():
    circuit = normalized(FloatCircuit, 1.0)
    log_sums = circuit.population_of["log_sums"]
    real = {name: o.real for name, o in OPERATIONS.items()}
    c = np.zeros(GROUPS)
    for _ in range(3000):
        total = np.exp(LOG_RATES.reshape(GROUPS, PER_GROUP) - c[:, None]).sum(axis=1)
        values = {"c": c, "total": total}
        c = run_program(
            log_sums, categorical.NORMALIZE, values, real, {}, {"0": np.zeros(1), "1": np.ones(1)}
        )["c"]
    # It stands still where a step, the rate times the difference, is half a unit of its last digit.
    assert np.abs(c - EXACT).max() < np.spacing(EXACT.max()) / RATE


@pytest.mark.parametrize("engine", ["float", "fast"])
def test_the_log_sum_is_near_it_with_spikes(engine):
    """Its variance is rate / 2: .1 about a mean that over T steps varies by 1 / sqrt(T)."""
    steps, settled = 2400, 400
    image = np.zeros((1, 1))
    if engine == "float":
        circuit = normalized(FloatCircuit, 1.0)
        words = {"cells": population_noise(circuit.drawing[0], 5, range(steps + 1), range(1))}
        log_sums = np.stack([state["log_sums.c"][0] for state in circuit.run(image, words)])
    else:
        network = normalized(IntegerNetwork, 2.0**BITS)
        network.require_proof()
        run = get_engine(engine).run(network, image, steps, seed=5, record=["log_sums.c"])
        log_sums = run["log_sums.c"][0] / 2.0**BITS
    error = log_sums[settled:] - EXACT
    assert error.std(axis=0).mean() == pytest.approx(np.sqrt(RATE / 2), rel=0.1)
    # The mean is above by half the variance, since rates are convex in the log-sum.
    expected = np.hypot(1 / np.sqrt(steps - settled), RATE / 4)
    assert np.sqrt((error.mean(axis=0) ** 2).mean()) == pytest.approx(expected, rel=0.4)
