"""Rounding: every weight within half a unit, every choice kept, both topologies near float."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random_images, random_model

from pvae_neuro.errors import CertificateError, InputError, ModelFileError
from pvae_neuro.exporters.calibrate import calibrate
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.lowerings.lateral import lateral_weights, raise_diagonal
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.exporters.scales import check_exponent, fit_exponent, mantissas, words
from pvae_neuro.exporters.spectrum import eigenvalues, inhibition_matrix
from pvae_neuro.sim.reference import ReferenceEngine

MODEL = random_model()
IMAGES = random_images(MODEL, 16)


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_lateral_weights_are_within_half_a_unit(bits):
    network = quantize(MODEL, IMAGES, QuantizeConfig("lateral", bits, 12))
    connection = network.connection_of["lateral"]
    exact = lateral_weights(MODEL) * 2.0**12
    np.fill_diagonal(exact, 0)
    rounded = -connection.weight.astype(float) * 2.0**connection.exponent
    inside = np.abs(exact) <= ((1 << (bits - 1)) - 0.5) * 2.0**connection.exponent
    assert np.abs(rounded - exact)[inside].max() <= 2.0**connection.exponent / 2
    assert inside.mean() > 0.999
    diagonal = network.population_of["latents"].constant("diagonal")
    assert np.array_equal(diagonal, np.rint(np.diag(lateral_weights(MODEL)) * 4096))
    assert not np.diag(connection.weight).any()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_predictive_stores_one_dictionary_for_both_directions_and_the_readout(bits):
    network = quantize(MODEL, IMAGES, QuantizeConfig("predictive", bits))
    prediction, feedback = (network.connection_of[name] for name in ("prediction", "feedback"))
    assert feedback.shared.connection == "prediction" and feedback.shared.transposed
    assert np.shares_memory(prediction.weight, feedback.weight)
    assert network.readout.connection == "prediction" and network.readout.weight is None
    unit = 2.0**-network.readout.frac_bits
    rounded = prediction.weight * unit
    inside = np.abs(MODEL.dictionary) <= ((1 << (bits - 1)) - 0.5) * unit
    assert np.abs(rounded - MODEL.dictionary)[inside].max() <= unit / 2
    assert inside.mean() > 0.999


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_one_update_is_near_float(topology):
    """Bound: half a unit for each rounding on the way, summed over a row of the largest counts."""
    network = quantize(MODEL, IMAGES, QuantizeConfig(topology, 8, 12))
    run = ReferenceEngine().run(network, IMAGES, 1, 0, record="full")
    z, u = run["latents.z"][:, 0].astype(np.int64), run["latents.u"][:, 0]
    latents = network.population_of["latents"]
    # The float update of the same counts, in float64.
    residual = (IMAGES - z @ MODEL.dictionary.T) / MODEL.variance
    change = MODEL.step_size * (residual @ MODEL.dictionary - MODEL.leak)
    exact = np.clip(latents.variable("u").initial / 4096 + np.clip(change, -8, 10), -8, 10)
    if topology == "lateral":
        rounding = z.sum(axis=1).max() * 2.0 ** network.connection_of["lateral"].exponent / 2
    else:
        # A message is off by the error's rounding (weights and input) times its gain, plus one.
        prediction, feedback = (network.connection_of[n] for n in ("prediction", "feedback"))
        errors = network.population_of["errors"]
        off = z.sum(axis=1).max() * 2.0 ** (prediction.exponent - 1) + 1
        message = off * errors.constant("gain").max() / 2.0 ** errors.constant("gain_shift")[0] + 1
        reach = np.abs(feedback.weight.astype(np.int64)).sum(axis=1).max()
        rounding = reach * message * 2.0**feedback.exponent
        # The feedback's own weights: half a unit each, times the largest message.
        e = np.abs(IMAGES - z @ MODEL.dictionary.T).max()
        gain = MODEL.step_size / MODEL.variance.min()
        rounding += 30 * 2.0**-network.readout.frac_bits / 2 * e * gain * 4096
    inner = (u > latents.constant("u_min")[0]) & (u < latents.constant("u_max")[0])
    assert inner.mean() > 0.5
    assert np.abs(u / 4096.0 - exact)[inner].max() <= (rounding + 4) / 4096


def test_choices_say_why():
    for topology in ("lateral", "predictive"):
        network = quantize(MODEL, IMAGES, QuantizeConfig(topology))
        names = [choice.name for choice in network.choices]
        assert "max_count" in names and len(set(names)) == len(names) >= 3
        assert all(choice.why for choice in network.choices)


def test_max_count_follows_calibration_or_the_wish():
    def largest(model, **options):
        return quantize(model, IMAGES, QuantizeConfig(**options)).latents.sampler.max_count

    assert largest(MODEL) in (15, 31, 63)
    assert largest(MODEL, max_count=7) == 7
    assert largest(MODEL, max_count=255) == 255
    for potential, expected in ((2.0, 31), (3.0, 63), (6.0, 63)):
        initial = np.full(24, potential, np.float32)
        hot = replace(MODEL, arrays={**MODEL.arrays, "initial_potential": initial})
        assert largest(hot) == expected


def test_raising_the_diagonal_makes_the_matrix_semidefinite():
    network = quantize(MODEL, IMAGES, QuantizeConfig("lateral", 3))
    assert network.measurements.smallest_eigenvalue < 0
    raised = raise_diagonal(network, 1.0)
    assert eigenvalues(inhibition_matrix(raised))[0] >= 0
    assert raised.measurements.smallest_eigenvalue >= 0
    assert raise_diagonal(network, 0.0) == network
    before, after = (n.population_of["latents"].constant("diagonal") for n in (network, raised))
    assert np.ptp(after - before) == 0 and (after > before).all()
    predictive = quantize(MODEL, IMAGES, QuantizeConfig("predictive", 3))
    assert raise_diagonal(predictive, 1.0) == predictive


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
@pytest.mark.parametrize("log_bias", [4.0, 8.0, 40.0, 88.0])
def test_a_leak_is_cut_only_where_nothing_depends_on_it(topology, log_bias):
    """A neuron that leaks beyond all that it can receive falls by the largest step, each time."""
    biases = MODEL.arrays["log_bias"].copy()
    biases[3] = log_bias
    model = replace(MODEL, arrays={**MODEL.arrays, "log_bias": biases})
    network = quantize(model, IMAGES, QuantizeConfig(topology))
    latents = network.population_of["latents"]
    leak, du_min = latents.constant("leak"), latents.constant("du_min")[0]
    exact = np.rint(model.step_size * model.leak * 2.0**14)
    others = np.arange(24) != 3
    assert np.array_equal(leak[others], exact[others])
    assert leak[3] == exact[3] if log_bias == 4.0 else leak[3] < exact[3]
    if log_bias == 4.0:
        return
    u = ReferenceEngine().run(network, IMAGES, 4, 0, record=["latents.u"])["latents.u"][:, :, 3]
    start, floor = latents.variable("u").initial[3], latents.constant("u_min")[0]
    expected = np.maximum(start + du_min * np.arange(1, 5), floor)
    assert np.array_equal(u[:, :4], np.tile(expected, (len(u), 1)))


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_steps_beyond_the_range_of_the_potential_act_as_that_range(topology):
    config = MODEL.config.model_copy(update={"clamp": "hard", "clamp_du": 1e300})
    far = quantize(replace(MODEL, config=config), IMAGES, QuantizeConfig(topology))
    latents = far.population_of["latents"]
    span = latents.constant("u_max")[0] - latents.constant("u_min")[0]
    assert latents.constant("du_max")[0] == span
    wide = toy.with_constant(far, "latents", du_max=2 * span)
    runs = [ReferenceEngine().run(n, IMAGES, 12, 0, record="full") for n in (far, wide)]
    assert np.array_equal(runs[0]["latents.u"], runs[1]["latents.u"])


def test_a_floor_below_the_sampler_is_refused():
    config = MODEL.config.model_copy(update={"floor_u": -20.0})
    with pytest.raises(CertificateError, match="lower clamp is -20, expected at least -16"):
        quantize(replace(MODEL, config=config), IMAGES)


def test_messages_are_coarser_where_their_largest_would_be_no_word():
    network = quantize(MODEL, IMAGES, QuantizeConfig("predictive", 2))
    network.require_proof()
    assert all(row.fits for row in network.ranges.rows)


def test_squared_errors_fit_whatever_the_dictionary():
    for scale in (1e-9, 1e-3):
        dictionary = (MODEL.dictionary * scale).astype(np.float32)
        model = replace(MODEL, arrays={**MODEL.arrays, "dictionary": dictionary})
        quantize(model, IMAGES, QuantizeConfig("lateral")).require_proof()


def test_numbers_that_are_no_words_are_refused():
    assert words(np.array([1.0, -3.0]), "x").dtype == np.int32
    for value in (1e9, -np.inf, np.nan):
        with pytest.raises(CertificateError, match=r"^x: reaches .*, expected at most 8388607"):
            words(np.array([1.0, value]), "x")
    for fewer_bits, remedy in ((9, "weights"), (10, "narrower")):
        with pytest.raises(CertificateError) as caught:
            words(np.array([2.0**33 - 1024]), "x", fewer_bits=fewer_bits)
        assert caught.value.remedy == remedy
    assert check_exponent(31, "x") == 31
    with pytest.raises(CertificateError, match="a power of two of -32 is needed"):
        check_exponent(-32, "x")


@settings(max_examples=200, deadline=None)
@given(largest=st.floats(1e-300, 1e300), mantissa_max=st.sampled_from([1, 3, 7, 15, 31, 63, 127]))
def test_exponent_is_the_smallest_that_fits(largest, mantissa_max):
    exponent = fit_exponent(np.array([-largest, largest / 3]), mantissa_max)
    assert mantissas(np.array([largest]), exponent)[0] <= mantissa_max
    assert mantissas(np.array([largest]), exponent - 1)[0] > mantissa_max


def test_zero_weights_need_no_exponent():
    assert fit_exponent(np.zeros(3), 127) == 0


def test_the_smallest_of_all_numbers_has_an_exponent():
    assert fit_exponent(np.array([5e-324]), 127) == -1080


@pytest.mark.parametrize(
    "options",
    [
        {"topology": "circular"},
        {"weight_bits": 1},
        {"weight_bits": 17},
        {"frac_bits": 2},
        {"max_count": 0},
        {"max_count": 256},
    ],
)
def test_bad_options_are_named(options):
    (name,) = options
    with pytest.raises(InputError, match=f"{name}: expected"):
        QuantizeConfig(**options)


def test_bad_calibration_is_named():
    circuit = lowering_of("predictive", "ipvae-linear").circuit(MODEL)
    with pytest.raises(InputError, match=r"expected shape \[N, 30\]"):
        calibrate(circuit, np.zeros((3, 7)))
    with pytest.raises(InputError, match="N >= 1"):
        calibrate(circuit, np.zeros((0, 30)))
    with pytest.raises(InputError, match="finite"):
        calibrate(circuit, np.full((3, 30), np.nan))
    large = np.full((30, 24), 3e38).astype(np.float32)
    with pytest.raises(ModelFileError, match="overflows on the calibration images"):
        quantize(replace(MODEL, arrays={**MODEL.arrays, "dictionary": large}), IMAGES)
