"""Values at their limits: found in programs, counted in runs, warned of where there are many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toy
from cli_tools import run_cli
from models import random_images, random_model, sound_images, sound_model

from pvae_neuro.artifact import save_artifact
from pvae_neuro.evaluation.evaluate import COUNTED_SAMPLES, evaluate
from pvae_neuro.evaluation.saturation import MOST_SATURATED, Saturation, SaturationCount, remarks
from pvae_neuro.export import export_model
from pvae_neuro.exporters.calibrate import calibrate
from pvae_neuro.exporters.lowerings import lowering_of
from pvae_neuro.exporters.scales import Scales
from pvae_neuro.network import (
    Activation,
    Constant,
    Input,
    IntegerNetwork,
    Population,
    Sampler,
    Variable,
    shared,
    trace,
)
from pvae_neuro.network.limits import limits_of
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification.verify import verify

MODEL = random_model()
IMAGES = random_images(MODEL, 16)


def narrow(share: float, model=MODEL, images=IMAGES):
    """Predictive network whose calibration saw errors of this share of the true ones."""
    lowering = lowering_of("predictive", model.config.family)
    seen = calibrate(lowering.circuit(model, "float64"), images)
    scales = Scales(8, 14, 12, 63, message_bits={"errors.m": 8})
    return lowering.integers(model, scales, replace(seen, error=seen.error * share))


class Rules:
    """Rules that cut values off, and some that only look so."""

    @staticmethod
    def rectified(n):
        n.a = n.clip(n.x, 0, n.high)

    @staticmethod
    def signed(n):
        n.a = n.min(n.max(n.x, n.low), n.high)

    @staticmethod
    def gated(n):
        n.a = n.select(n.x > 0, n.max(n.min(n.x, n.high), n.low), 0)

    @staticmethod
    def masked(n):
        n.a = n.min(n.x, n.high) * ((n.x > n.low) * (n.high >= n.low))

    @staticmethod
    def inside(n):
        n.a = n.x + n.clip(n.x, n.low, n.high)

    @staticmethod
    def binary(n):
        n.a = n.min(n.x, n.x >= n.high)

    @staticmethod
    def scaled(n):
        n.a = n.min(n.x, n.high) * n.high

    @staticmethod
    def drawn(n):
        n.x = n.clip(n.x, n.low, n.high)
        n.a = n.draw(n.x)


def population(rule, high=(7, 0, 5)) -> Population:
    return Population(
        "p",
        3,
        (Variable("x", shared(0)), Variable("a", shared(0))),
        (
            Constant("low", -np.array(high, np.int32)),
            Constant("high", np.array(high, np.int32)),
        ),
        (trace(rule, "rule"),),
        Sampler(15, 12),
    )


def limits(rule):
    iteration = (Activation("p", "rule"),)
    circuit = IntegerNetwork("n", Input(3, 0.0, 1.0, 0), (), (population(rule),), (), iteration)
    return limits_of(circuit)


@pytest.mark.parametrize(
    ("rule", "has_low"),
    [
        (Rules.rectified, False),
        (Rules.signed, True),
        (Rules.gated, True),
        (Rules.masked, False),
    ],
)
def test_limits_are_found_where_values_are_cut_off_as_they_are_stored(rule, has_low):
    (limit,) = limits(rule)
    assert limit.variable == "p.a" and limit.largest == 7 and not limit.is_log_rate
    values = np.array([[7, 9, 5], [-7, 0, -5], [6, 0, 4]], np.int16)
    # The neuron in the middle is held at 0: it has nothing to lose.
    assert limit.reached(values) == (4 if has_low else 2)
    assert limit.reached(values.astype(np.int32)) == limit.reached(values)


@pytest.mark.parametrize("rule", [Rules.inside, Rules.binary, Rules.scaled])
def test_a_clip_within_a_sum_or_a_product_and_a_bit_are_no_limits(rule):
    assert limits(rule) == ()


def test_log_rates_have_an_upper_limit_alone():
    limit = next(limit for limit in limits(Rules.drawn) if limit.variable == "p.x")
    assert limit.is_log_rate and not limit.has_low.any()


def test_circuits_of_the_linear_model_have_the_limits_of_their_rules():
    found = {limit.variable: limit for limit in limits_of(toy.predictive())}
    assert list(found) == ["latents.u", "errors.m"]
    assert found["latents.u"].is_log_rate and found["errors.m"].has_low.all()
    assert [limit.variable for limit in limits_of(toy.lateral())] == ["latents.u"]


def test_counts_are_those_of_the_recording():
    network = narrow(0.2)
    run = ReferenceEngine().run(network, IMAGES, 12, 3, record="full")
    count = SaturationCount(network)
    for rows in (slice(0, 7), slice(7, 16)):
        count.add({name: values[rows] for name, values in run.variables.items()})
    found = {each.variable: each for each in count.found}
    messages, high = run["errors.m"], int(network.population_of["errors"].constant("high")[0])
    assert found["errors.m"].count == int((np.abs(messages) >= high).sum()) > 0
    assert found["errors.m"].values == messages.size and found["errors.m"].limit == high
    assert found["errors.m"].to_dict()["count"] == found["errors.m"].count


def test_many_are_warned_of_and_few_are_not():
    many = Saturation("hidden.a", 255, 12, 3_000)
    assert str(many) == "hidden.a: 12 of 3,000 values are at their limit 255"
    assert many.share > MOST_SATURATED and remarks([many])[0].startswith(str(many))
    assert remarks([replace(many, values=12_001)]) == ()
    # A bound of log-rates shows in the counts at their cap.
    assert remarks([replace(many, is_log_rate=True)]) == ()


def test_verify_and_evaluate_tell(tmp_path, capsys):
    network = narrow(0.2)
    report = verify(network, MODEL, IMAGES, steps=8, engines=["reference"])
    (warning,) = (line for line in report.warnings if line.startswith("errors.m"))
    assert "what lies beyond is lost; calibrate on images like these" in warning
    assert report.to_dict()["saturations"] == [s.to_dict() for s in report.saturations]
    path, inputs = tmp_path / "m.onnx", tmp_path / "x.npy"
    save_artifact(network, IMAGES[:2], path)
    np.save(inputs, IMAGES)
    code, out, err = run_cli(
        capsys, "evaluate", path, "-i", inputs, "--steps", 8, "--engine", "reference"
    )
    assert code == 0 and "errors.m: " in out and "warning: errors.m: " in err
    wide = verify(narrow(1.5), MODEL, IMAGES, steps=8, engines=["reference"])
    assert not any(line.startswith("errors.m") for line in wide.warnings)
    # Whatever somebody's own network does at its bounds is its own affair.
    own = verify(replace(network, family=None), None, IMAGES, steps=8, engines=["reference"])
    assert own.saturations == report.saturations and own.warnings == tuple(
        line for line in own.warnings if "errors.m" not in line
    )


def test_evaluate_counts_on_the_first_samples_and_gives_the_same_figures(monkeypatch):
    network = narrow(0.2)
    images = random_images(MODEL, 2 * COUNTED_SAMPLES, seed=5)
    whole = ReferenceEngine().run(network, images, 6, 0)
    found = evaluate(network, images, steps=6, engine="reference")
    assert [each.values for each in found.saturations] == [
        COUNTED_SAMPLES * 7 * network.population_of[each.variable.split(".")[0]].size
        for each in found.saturations
    ]
    np.testing.assert_allclose(found.mse, whole.mse, rtol=1e-12)
    first = ReferenceEngine().run(network, images[:COUNTED_SAMPLES], 6, 0, record=["errors.m"])
    count = SaturationCount(network)
    count.add(first.variables)
    assert count.found[0] in found.saturations and count.found[0].count > 0


def test_export_checks_ranges_on_images_beyond_those_of_calibration(tmp_path):
    model, images = sound_model(), sound_images(80)
    alone = export_model(model, tmp_path / "m.onnx", images[:64])
    assert (alone.held_out, alone.saturations) == (0, ())
    both = export_model(model, tmp_path / "m.onnx", images)
    assert both.program_hash == alone.program_hash and both.held_out == 16
    assert {each.variable for each in both.saturations} == {"latents.u", "errors.m"}
    assert not any(each.is_large for each in both.saturations) and both.warnings == ()
    # Calibration in the dark: what comes after is much brighter.
    images[:64] *= 0.05
    dim = export_model(model, tmp_path / "m.onnx", images, accept=True)
    assert any(line.startswith("held-out calibration inputs: errors.m") for line in dim.warnings)
    # Those that set the scales are told of, however bright the others are.
    assert any("calibration inputs reach 0.0" in line for line in dim.warnings)
