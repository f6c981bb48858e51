"""Rounding: every weight within half a unit, every choice kept, both topologies near float."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random_images, random_model

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.exporters.calibrate import calibrate
from pvae_neuro.exporters.lateral import lateral_weights
from pvae_neuro.exporters.lowering import fit_exponent
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize

MODEL = random_model()
IMAGES = random_images(MODEL, 16)


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_lateral_weights_are_within_half_a_unit(bits):
    network = quantize(MODEL, IMAGES, QuantizeConfig("lateral", bits, 12))
    connection = network.connection("lateral")
    exact = lateral_weights(MODEL) * 2.0**12
    np.fill_diagonal(exact, 0)
    rounded = -connection.weight.astype(float) * 2.0**connection.exponent
    inside = np.abs(exact) <= ((1 << (bits - 1)) - 0.5) * 2.0**connection.exponent
    assert np.abs(rounded - exact)[inside].max() <= 2.0**connection.exponent / 2
    assert inside.mean() > 0.999
    assert np.array_equal(network.latents.diagonal, np.rint(np.diag(lateral_weights(MODEL)) * 4096))
    assert not np.diag(connection.weight).any()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_predictive_uses_one_dictionary_for_both_directions(bits):
    network = quantize(MODEL, IMAGES, QuantizeConfig("predictive", bits))
    prediction, feedback = network.connection("prediction"), network.connection("feedback")
    assert np.array_equal(-prediction.weight, feedback.weight.T)
    assert np.array_equal(network.readout.weight, feedback.weight.T)
    rounded = network.readout.weight * 2.0**-network.readout.frac_bits
    unit = 2.0**-network.readout.frac_bits
    inside = np.abs(MODEL.dictionary) <= ((1 << (bits - 1)) - 0.5) * unit
    assert np.abs(rounded - MODEL.dictionary)[inside].max() <= unit / 2
    assert inside.mean() > 0.999


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_one_update_is_near_float(topology):
    """Bound: half a unit for each rounding on the way, summed over a row of the largest counts."""
    from pvae_neuro.float_model import FloatModel
    from pvae_neuro.sim.reference import iterate

    network = quantize(MODEL, IMAGES, QuantizeConfig(topology, 8, 12))
    words = np.random.default_rng(0).integers(0, 1 << 16, (16, 1, 24), dtype=np.uint16)
    z, u = next(iterate(network, network.input.encode(IMAGES), words))
    start = np.tile(network.latents.initial / 4096.0, (16, 1)).astype(np.float32)
    exact = FloatModel(MODEL).update(start, z.astype(np.float32), IMAGES)
    weight = network.connections[-1].weight.astype(np.int64)
    if topology == "lateral":
        rounding = z.sum(axis=1).max() * 2.0 ** network.connections[0].exponent / 2
    else:
        # A message is off by the error's rounding (weights and input) times its gain, plus one.
        errors = network.populations[1]
        off = z.sum(axis=1).max() * 2.0 ** (network.connections[0].exponent - 1) + 1
        message = off * errors.gain.max() / 2.0**errors.gain_shift + 1
        rounding = (
            np.abs(weight).sum(axis=1).max() * message * 2.0 ** network.connections[1].exponent
        )
        # The feedback's own weights: half a unit each, times the largest message.
        e = np.abs(IMAGES - z @ MODEL.dictionary.T).max()
        gain = MODEL.step_size / MODEL.variance.min()
        rounding += 30 * 2.0**-network.readout.frac_bits / 2 * e * gain * 4096
    inner = (u > network.latents.u_min) & (u < network.latents.u_max)
    difference = np.abs(u / 4096.0 - exact)[inner]
    # The soft clamps of the float model stay within 1e-3 of the hard ones at these potentials.
    assert inner.mean() > 0.5
    assert difference.max() <= (rounding + 4) / 4096 + 1e-3


def test_choices_say_why():
    for topology in ("lateral", "predictive"):
        network = quantize(MODEL, IMAGES, QuantizeConfig(topology))
        names = [choice.name for choice in network.choices]
        assert "max_count" in names and len(set(names)) == len(names) >= 5
        assert all(choice.why for choice in network.choices)


def test_max_count_follows_calibration_or_the_wish():
    assert quantize(MODEL, IMAGES).latents.table.max_count in (15, 31, 63)
    asked = quantize(MODEL, IMAGES, QuantizeConfig(max_count=7))
    assert asked.latents.table.max_count == 7
    hot = replace(MODEL, arrays={**MODEL.arrays, "initial_potential": np.full(24, 3.0, np.float32)})
    assert quantize(hot, IMAGES).latents.table.max_count == 63


@settings(max_examples=200, deadline=None)
@given(largest=st.floats(1e-6, 1e6), mantissa_max=st.sampled_from([1, 3, 7, 15, 31, 63, 127]))
def test_exponent_is_the_smallest_that_fits(largest, mantissa_max):
    exponent = fit_exponent(np.array([-largest, largest / 3]), mantissa_max)
    assert np.rint(largest / 2.0**exponent) <= mantissa_max
    assert np.rint(largest / 2.0 ** (exponent - 1)) > mantissa_max


def test_zero_weights_need_no_exponent():
    assert fit_exponent(np.zeros(3), 127) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"topology": "circular"},
        {"weight_bits": 1},
        {"weight_bits": 9},
        {"frac_bits": 2},
        {"max_count": 0},
        {"max_count": 200},
    ],
)
def test_bad_options_are_named(options):
    (name,) = options
    with pytest.raises(InputError, match=f"{name}: expected"):
        QuantizeConfig(**options)


def test_bad_calibration_is_named():
    with pytest.raises(InputError, match=r"expected \[N, 30\]"):
        calibrate(MODEL, np.zeros((3, 7)))
    with pytest.raises(InputError, match="N >= 1"):
        calibrate(MODEL, np.zeros((0, 30)))
    inner = replace(MODEL, config=MODEL.config.model_copy(update={"inner_updates": 2}))
    with pytest.raises(ModelFileError, match="1 inner update"):
        quantize(inner, IMAGES)
