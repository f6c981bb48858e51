"""Decoders that are networks of rectifiers: circuits of ipvae-mlp, -conv and -fully-conv."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="makes and compares models of these families")

from models import family_model  # noqa: E402
from pytorch_words import pytorch_states  # noqa: E402

from pvae_neuro.errors import ModelFileError  # noqa: E402
from pvae_neuro.exporters.calibrate import calibrate  # noqa: E402
from pvae_neuro.exporters.certify import certify  # noqa: E402
from pvae_neuro.exporters.lowerings import float_circuit_of, lowering_of  # noqa: E402
from pvae_neuro.exporters.lowerings.equalize import equalized  # noqa: E402
from pvae_neuro.exporters.lowerings.rounding import (  # noqa: E402
    Source,
    _scaled,
    round_forward,
)
from pvae_neuro.exporters.quantize import quantize  # noqa: E402
from pvae_neuro.exporters.scales import Scales  # noqa: E402
from pvae_neuro.network.interpreter import run_program  # noqa: E402
from pvae_neuro.network.operations import OPERATIONS  # noqa: E402
from pvae_neuro.sim.engine import get_engine  # noqa: E402
from pvae_neuro.sim.noise import population_noise  # noqa: E402

STEPS, SAMPLES = 32, 3
# Depths, and sides that are even, odd, and hardly large enough.
MODELS = {
    "mlp 1": ("ipvae-mlp", (8, 8), {"hidden": (16,)}),
    "mlp 2": ("ipvae-mlp", (8, 8), {"hidden": (16, 12)}),
    "mlp 3": ("ipvae-mlp", (7, 9), {"hidden": (14, 12, 10)}),
    "conv 28x28": ("ipvae-conv", (28, 28), {"channels": (4, 3)}),
    "conv 27x25": ("ipvae-conv", (27, 25), {"channels": (4, 3)}),
    "conv 9x31": ("ipvae-conv", (9, 31), {"channels": (3, 4, 2)}),
    "conv colour": ("ipvae-conv", (3, 9, 8), {"channels": (4,)}),
    "fully conv": ("ipvae-fully-conv", (8, 12), {"stride": 2, "channels": (4,)}),
    "fully conv colour": ("ipvae-fully-conv", (3, 8, 8), {"stride": 2, "channels": (5,)}),
}
each_model = pytest.mark.parametrize("name", MODELS)
needs_lava = pytest.mark.skipif(find_spec("lava") is None, reason="lava-nc is not installed")


def model_of(name, **changes):
    family, shape, architecture = MODELS[name]
    settings = {"image_shape": shape, "pixels": int(np.prod(shape)), "architecture": architecture}
    return family_model(family, **(settings | changes))


def images_of(model, samples=SAMPLES, seed=1):
    rng = np.random.default_rng(seed)
    return np.clip(rng.random((samples, model.config.pixels)) * 1.6 - 0.6, 0, 1).astype("float32")


@pytest.fixture(scope="module")
def network_of():
    """Integers of a model, made once."""
    made = {}

    def make(name):
        if name not in made:
            model = model_of(name)
            made[name] = quantize(model, images_of(model, 16))
        return made[name]

    return make


def distance_from_pytorch(model, images):
    """Largest difference of any potential, count or pixel, each on its own trajectory."""
    circuit = lowering_of(None, model.config.family).circuit(model, "float64")
    updates = model.config.inner_updates
    steps = STEPS * updates
    words = {
        p.name: population_noise(p, 0, range(steps + 1), range(len(images)))
        for p in circuit.drawing
    }
    states = list(circuit.run(images.astype(np.float64), words, steps))
    farthest = 0.0
    for step, theirs in enumerate(pytorch_states(model, images, words, ["latents"], STEPS), 1):
        # What is recorded at the end of an iteration was decoded from its first potentials.
        before, after = states[step * updates - 1], states[step * updates]
        for got, expected in (
            (before["latents.u"], theirs.state[0]),
            (after["latents.z"], theirs.z),
            (circuit.reconstruct(after), theirs.reconstruction),
        ):
            farthest = max(farthest, float(np.abs(got - expected.detach().numpy()).max()))
    assert max(state["latents.z"].max() for state in states) > 0
    return farthest


@each_model
def test_follows_the_pytorch_model(name):
    # A count that differs would move a potential by .001 and more; rounding moves it by 1e-14.
    model = model_of(name)
    assert distance_from_pytorch(model, images_of(model)) < 1e-9


@pytest.mark.parametrize("name", ["mlp 2", "conv 27x25"])
@pytest.mark.parametrize(
    "changes",
    [{"clamp": "soft", "clamp_u": 1.0, "clamp_du": 0.5}, {"inner_updates": 2, "beta_inner": 0.7}],
)
def test_follows_the_pytorch_model_with_other_settings(name, changes):
    model = model_of(name, **changes)
    assert distance_from_pytorch(model, images_of(model)) < 1e-9


def test_the_circuit_of_a_model_is_the_one_that_follows_its_iterations():
    assert float_circuit_of(model_of("mlp 1")).name == "predictive"
    # With two inner updates an iteration of the circuit is half of the model's.
    assert float_circuit_of(model_of("mlp 1", inner_updates=2)) is None


@each_model
def test_engines_compute_the_same_integers_within_what_is_proved(name, network_of):
    network = network_of(name)
    certify(network)
    images = images_of(model_of(name))
    expected = get_engine("reference").run(network, images, STEPS, seed=3, record="full")
    for engine in ("fast", "onnx"):
        got = get_engine(engine).run(network, images, STEPS, seed=3, record="full")
        for variable in network.variables:
            np.testing.assert_array_equal(got[variable], expected[variable], err_msg=variable)
    assert len(np.unique(expected["latents.z"])) > 2
    # Gates of both kinds, or the way back is tested in part alone.
    assert np.array_equal(np.unique(expected["hidden1.gate"]), [0, 1])
    assert expected["hidden1.d"].any() and expected["errors.m"].any()


@needs_lava
@pytest.mark.parametrize("name", ["mlp 2", "conv colour"])
def test_lava_computes_the_same_integers(name, network_of):
    from lava_threads import run_job

    network, images = network_of(name), images_of(model_of(name), 2)
    expected = get_engine("reference").run(network, images, 4, seed=3, record="full")
    _, variables = run_job(network, images, 4, 3)
    for variable in network.variables:
        np.testing.assert_array_equal(variables[variable], expected[variable], err_msg=variable)


def test_weights_of_both_directions_are_one_array(network_of):
    for name, number in (("mlp 3", 4), ("conv 9x31", 4)):
        connections = network_of(name).connection_of
        back = [c for c in connections.values() if c.shared is not None]
        assert len(back) == number
        for connection in back:
            holder = connections[connection.shared.connection]
            assert np.shares_memory(connection.weight, holder.weight)
    kinds = network_of("conv 9x31").connection_kinds
    assert {"convolution", "transposed_convolution"} < kinds


# ------------------------------------------------------------------------------- rounding


def beyond_half_a_unit(network, recording):
    """Share of graded spikes further than half of their unit from the sum that they are of."""
    seen = beyond = 0
    for name in (p.name for p in network.populations if p.name.startswith("hidden")):
        population = network.population_of[name]
        forward, back = (
            next(c for c in network.connections if c.target == name and c.received_as == received)
            for received in ("received", "back")
        )
        for sent, connection, beside, shift, limit in (
            ("a", forward, population.constant("bias"), "shift", "high"),
            ("d", back, 0, "back_shift", "most"),
        ):
            values = recording[f"{connection.source}.{connection.variable}"].astype(np.int64)
            rows = values.reshape(-1, values.shape[-1])
            total = (connection.apply(rows) + beside) * population.constant("gain")
            amount = population.constant(shift).astype(np.int64)
            assert amount.min() > 0
            found = recording[f"{name}.{sent}"].reshape(total.shape).astype(np.int64)
            inside = (found != 0) & (np.abs(found) < population.constant(limit))
            away = 2 * np.abs(total - (found << amount)) > (np.int64(1) << amount)
            seen += int(inside.sum())
            beyond += int((away & inside).sum())
    assert seen > 500
    return beyond / seen


def with_constant(network, name, change):
    """The network with another constant of its rectifiers."""

    def changed(p):
        if not p.name.startswith("hidden"):
            return p
        constants = (
            replace(c, values=change(c.values)) if c.name == name else c for c in p.constants
        )
        return replace(p, constants=tuple(constants))

    return replace(network, populations=tuple(changed(p) for p in network.populations))


def forward_state(network, images):
    """One iteration: what is sent back was compared in the same iteration."""
    return get_engine("reference").run(network, images, 1, seed=3, record="full")


def floored(network, name, recording):
    """What the first rectifiers send if their shift does not round."""
    p = network.population_of[name]
    total = network.connection_of[f"to_{name}"].apply(recording["latents.z"][:, 0].astype(np.int64))
    product = (total + p.constant("bias")) * p.constant("gain").astype(np.int64)
    return np.clip(product >> p.constant("shift"), 0, p.constant("high"))[:, None]


@pytest.mark.parametrize("name", ["mlp 2", "conv 27x25"])
def test_graded_spikes_are_rounded_to_the_nearest(name, network_of):
    network = network_of(name)
    images = images_of(model_of(name), 40)
    recording = forward_state(network, images)
    # The last step is `final`, which sends nothing back.
    during = {k: v[:, :1] for k, v in recording.variables.items()}
    assert beyond_half_a_unit(network, during) == 0.0
    # A fault: what a shift that floors would have sent.
    during["hidden1.a"] = floored(network, "hidden1", during)
    assert beyond_half_a_unit(network, during) > 0.1


def largest_distance(network, found, images):
    """Distance of predictions from the real layers', in units of what rounding allows at most.

    Every mantissa, bias and graded spike is at most half of its unit off; the rest is what layers
    do to the errors of those before them.
    """
    last = get_engine("reference").run(network, images, 2, seed=3, record="full").last
    value, error = last["latents.z"].astype(np.float64), np.zeros(last["latents.z"].shape)
    for now, after in zip(found, (*found[1:], None), strict=True):
        layer, connection = now.stage.layer, now.stage.layer.connect("layer", "a", "x", "b")
        ones = replace(layer, weight=np.ones_like(layer.weight))
        held = sum(each.astype(float) for each in now.stage.weights)
        off = np.abs(held / _scaled(ones, now.rows, now.columns) - layer.weight)
        error = connection.product(error, np.abs(layer.weight) + off)
        error += connection.product(value, off) + 0.5 * np.exp2(-now.unit - now.rows)
        value = connection.product(value, layer.weight) + layer.bias
        if after is not None:
            unit = np.exp2(after.columns - after.unit)
            value, error = np.maximum(value, 0.0) * layer.gain, error * layer.gain
            # Gains have 15 bits.
            error += 0.5 * unit + value * 2.0**-14
            assert np.all(value + error < unit * int(now.stage.high[0])), "saturates"
    got = last["errors.y"] * 2.0**-network.readout.frac_bits
    return float((np.abs(got - value) / error).max())


@pytest.mark.parametrize("name", ["mlp 1", "conv 27x25", "conv colour"])
def test_predictions_are_within_what_rounding_allows(name):
    model = model_of(name)
    lowering = lowering_of(None, model.config.family)
    calibration = calibrate(lowering.circuit(model, "float64"), images_of(model, 16))
    scales = Scales(8, 14, 12, 15)
    network = lowering.integers(model, scales, calibration)
    layers, reached = equalized(lowering.layers(model), calibration.largest, 127)
    found, _ = round_forward(layers, Source(0, 0, 15), scales, reached, beside=1.0)
    for now in found[:-1]:
        rows = now.stage.layer.largest(0, now.stage.weights[0].astype(np.float64))
        # A bias may count as the largest weight.
        assert (rows == 127).mean() > 0.5
    images = images_of(model, 6)
    assert largest_distance(network, found, images) < 1.0 + 1e-6
    halved = with_constant(network, "shift", lambda shift: shift + 1)
    assert largest_distance(halved, found, images) > 1.0


def heavy_tailed(model):
    """The model with one weight of each row of its last layer far above the others."""
    name = "decoder.layers.2.weight"
    weight = model.arrays[name]
    rows = np.arange(len(weight))
    largest = np.abs(weight).max()
    weight *= 0.02
    weight[rows, rows % weight.shape[1]] = largest
    return model


def without(network, name):
    """The network without one of its connections."""
    kept = [c for c in network.connections if c.name != name]

    def changed(activations):
        return tuple(
            replace(a, connections=tuple(n for n in a.connections if n != name))
            for a in activations
        )

    return replace(
        network,
        connections=tuple(
            replace(c, shared=None) if c.shared and c.shared.connection == name else c for c in kept
        ),
        iteration=changed(network.iteration),
        final=changed(network.final),
    )


def test_rows_with_a_few_large_weights_have_two_connections():
    sides = {"image_shape": (18, 18), "pixels": 324, "architecture": {"hidden": (320,)}}
    model = heavy_tailed(family_model("ipvae-mlp", **sides))
    images = images_of(model, 16)
    lowering = lowering_of(None, "ipvae-mlp")
    calibration = calibrate(lowering.circuit(model, "float64"), images)
    scales = Scales(8, 14, 12, 15)
    network = lowering.integers(model, scales, calibration)
    certify(network)
    added = {"prediction", "prediction_2"}, {"back_to_hidden1", "back_to_hidden1_2"}
    assert all(names < set(network.connection_of) for names in added)
    assert "to_hidden1_2" not in network.connection_of
    (said,) = (c for c in network.choices if c.name == "connections of layer 2")
    assert said.value == 2 and said.why.startswith("of 324x320 weights")
    first, second = (network.connection_of[name].weight.astype(int) for name in sorted(added[0]))
    # Together they have the mantissas of one bit more.
    assert np.abs(first).max() == 127 and 127 < np.abs(first + second).max() <= 254
    layers, reached = equalized(lowering.layers(model), calibration.largest, 127)
    found, _ = round_forward(layers, Source(0, 0, 15), scales, reached, beside=1.0)
    assert largest_distance(network, found, images[:6]) < 1.0 + 1e-6
    assert largest_distance(without(network, "prediction_2"), found, images[:6]) > 1.0
    expected, *others = (
        get_engine(name).run(network, images, 8, seed=3, record="full")
        for name in ("reference", "fast", "onnx")
    )
    for variable in network.variables:
        for other in others:
            np.testing.assert_array_equal(other[variable], expected[variable], err_msg=variable)
    assert expected["hidden1.d"].any()
    one = forward_state(without(network, "back_to_hidden1_2"), images)
    assert not np.array_equal(one["hidden1.d"][:, 0], expected["hidden1.d"][:, 0])


@each_model
def test_what_is_sent_back_moves_potentials_as_in_float(name, network_of):
    network, model = network_of(name), model_of(name)
    images = images_of(model, 8)
    circuit = lowering_of(None, model.config.family).circuit(model, "float64")
    words = {p.name: population_noise(p, 3, range(2), range(8)) for p in circuit.drawing}
    real = next(circuit.run(images.astype(np.float64), words))
    for changed, least, most in (
        (network, 0.0, 0.2),
        (with_constant(network, "back_shift", lambda back: back + 1), 0.4, 0.9),
    ):
        recording = forward_state(changed, images)
        assert np.array_equal(recording["latents.z"][:, 0], real["latents.z"])
        leak = network.population_of["latents"].constant("leak")
        start = network.population_of["latents"].variable("u").initial
        ours = (recording["latents.u"][:, 0] - start + leak) * 2.0**-14
        floats = circuit.population_of["latents"]
        theirs = real["latents.u"] - floats.variable("u").initial + floats.constant("leak")
        assert least <= np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) <= most


def test_widths_that_are_asked_for_are_kept():
    model = model_of("mlp 2")
    lowering = lowering_of(None, "ipvae-mlp")
    images = images_of(model, 16)
    calibration = calibrate(lowering.circuit(model, "float64"), images)
    hops = lowering.hops(model)
    assert hops == ("hidden1.a", "hidden2.a", "errors.m", "hidden2.d", "hidden1.d")
    bits = dict(zip(hops, (9, 8, 10, 9, 11), strict=True))
    network = lowering.integers(model, Scales(8, 14, 12, 15, message_bits=bits), calibration)
    recording = get_engine("reference").run(network, images, 16, record="full")
    for name, width in bits.items():
        reached = int(np.abs(recording[name]).max())
        # A quarter is head room, and a power of two at most half of the rest is left over.
        assert (1 << (width - 1)) / 4 < reached < 1 << (width - 1), name


# ------------------------------------------------------------------------------ the rule


@pytest.mark.parametrize("total", [-5, 0, 1, 5])
def test_the_gate_is_open_above_zero(total, network_of):
    hidden = network_of("mlp 1").population_of["hidden1"]
    formulas = {name: operation.integer for name, operation in OPERATIONS.items()}
    values = {
        "received": total - hidden.constant("bias").astype(np.int64)[None],
        **{v.name: np.zeros((1, hidden.size), np.int64) for v in hidden.variables},
    }
    literals = {"0": np.array([0]), "1": np.array([1])}
    stored = run_program(hidden, hidden.program("rectify"), values, formulas, {}, literals)
    assert set(stored["gate"].ravel().tolist()) == {int(total > 0)}


# ------------------------------------------------------------------------------ bad input


BAD = {
    "a number that is none": (
        "mlp 1",
        lambda held: held["decoder.layers.0.weight"].__setitem__((0, 0), np.nan),
        "'decoder.layers.0.weight' holds NaN or infinity",
    ),
    "no decoder": (
        "mlp 1",
        lambda held: held.pop("decoder.layers.0.weight"),
        r"expected an array 'decoder.layers.0.weight' of 2 axes, got only \['decoder.layers.0.b",
    ),
    "a dictionary": (
        "conv colour",
        lambda held: held.pop("decoder.project.weight"),
        "expected an array 'decoder.project.weight' of 2 axes",
    ),
    "no convolution": (
        "conv colour",
        lambda held: held.pop("decoder.convolutions.0.weight"),
        "its last layer gives .* values, expected 216; save it again",
    ),
    "a layer of another size": (
        "mlp 2",
        lambda held: held.__setitem__("decoder.layers.2.weight", np.ones((12, 3), np.float32)),
        "layer 2 takes 3 values and is given 16; save it again",
    ),
    "a bias of another size": (
        "mlp 2",
        lambda held: held.__setitem__("decoder.layers.2.bias", np.ones(3, np.float32)),
        r"expected an array 'decoder.layers.2.bias' of 12 numbers, got the shape \(3,\)",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_models_that_have_no_circuit_are_named(fault):
    name, change, message = BAD[fault]
    model = model_of(name)
    change(model.arrays)
    images = images_of(model, 4)
    with pytest.raises(ModelFileError, match=message):
        quantize(model, images)


def test_convolutions_need_the_shape_of_the_images():
    model = model_of("conv 9x31")
    config = model.config.model_copy(update={"image_shape": None})
    with pytest.raises(ModelFileError, match="expected images of a known shape, got none"):
        quantize(replace(model, config=config), images_of(model, 4))


def test_hidden_neurons_that_never_fire_do_no_harm():
    model = model_of("mlp 2")
    model.arrays["decoder.layers.0.weight"][:5] = 0.0
    model.arrays["decoder.layers.0.bias"][:5] = -1.0
    model.arrays["decoder.layers.2.weight"][:, 3:8] = 0.0
    model.arrays["decoder.layers.4.weight"][:9] = 0.0
    network = quantize(model, images_of(model, 16))
    certify(network)
    recording = get_engine("reference").run(network, images_of(model), 8, record="full")
    assert not recording["hidden1.a"][..., :5].any() and recording["hidden1.a"].any()
    assert not recording["errors.m"][..., :9].any() and recording["errors.m"].any()
