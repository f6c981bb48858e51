"""What rounding costs: partly rounded runs equal the integers where all of it is rounded."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import toy
from cli_tools import run_cli
from models import random_images, random_model, sound_images, sound_model

from pvae_neuro.artifact import save_artifact
from pvae_neuro.errors import InputError
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import Constant
from pvae_neuro.network.partly_rounded import hops, reconstructed, run_partly_rounded
from pvae_neuro.network.random import random_networks
from pvae_neuro.saved.model_file import save_model
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.sim.reference import ReferenceEngine
from pvae_neuro.verification.loss_by_hop import ALL, WEIGHTS, loss_by_hop, number_of_runs

MODEL = random_model()
IMAGES = random_images(MODEL, 24)


def words(network, samples, steps, seed=3):
    return {
        p.name: population_noise(p, seed, range(steps + 1), range(samples)) for p in network.drawing
    }


def networks():
    yield from (toy.lateral(), toy.predictive())
    rng = np.random.default_rng(7)
    for _ in range(6):
        yield from random_networks(rng, 1)


def test_rounded_everywhere_it_is_the_integers():
    """Products have 48 bits, which float64 holds exactly."""
    for network in networks():
        pixels = np.random.default_rng(0).uniform(
            network.input.low, network.input.high, (3, network.input.size)
        )
        images = network.input.check(pixels)
        exact = ReferenceEngine().run(network, images, 5, 3, record="full")
        states = run_partly_rounded(network, images, words(network, 3, 5), 5, hops(network))
        for step, state in enumerate(states):
            for name in network.variables:
                assert np.array_equal(state[name], exact[name][:, step]), (name, step)


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_rounded_nowhere_it_is_between_integers_and_float(topology):
    network = quantize(MODEL, IMAGES, QuantizeConfig(topology))
    runs = {
        part: [
            reconstructed(network, state)
            for state in run_partly_rounded(network, IMAGES, words(network, 24, 6), 6, part)
        ]
        for part in ((), hops(network))
    }
    exact = ReferenceEngine().run(network, IMAGES, 6, 3)
    np.testing.assert_array_equal(runs[hops(network)][-1].astype(np.float32), exact.reconstruction)
    # Counts differ in a few places alone.
    differ = np.abs(runs[()][-1] - runs[hops(network)][-1]).max(axis=1) > 1e-6
    assert differ.mean() < 0.5


def coarser(network, bits):
    """The predictive network with messages of so many bits fewer, and the same meaning."""
    errors, feedback = network.population_of["errors"], network.connection_of["feedback"]
    changed = {
        "low": errors.constant("low") >> bits,
        "high": errors.constant("high") >> bits,
        "gain_shift": errors.constant("gain_shift") + bits,
    }
    constants = tuple(Constant(c.name, changed.get(c.name, c.values)) for c in errors.constants)
    new = {
        "errors": replace(errors, constants=constants),
        "feedback": replace(feedback, exponent=feedback.exponent + bits),
    }
    return replace(
        network,
        populations=tuple(new.get(p.name, p) for p in network.populations),
        connections=tuple(new.get(c.name, c) for c in network.connections),
    )


def test_the_hop_that_is_coarse_loses_most():
    model, images = sound_model(), sound_images(24)
    network = quantize(model, images, QuantizeConfig("predictive"))
    found = loss_by_hop(coarser(network, 16), images, model, steps=32)
    parts = [loss.part for loss in found.losses]
    hops_in_order = ["latents.fire", "errors.compare", "latents.integrate"]
    assert parts == [WEIGHTS, *hops_in_order, ALL]
    assert found.worst.part == "errors.compare"
    assert found.worst.mse_percent > 5 * found.worst.error > 0
    fine = {loss.part: loss for loss in loss_by_hop(network, images, steps=32).losses}
    assert WEIGHTS not in fine
    assert abs(fine["errors.compare"].mse_percent) < found.worst.mse_percent / 5
    assert number_of_runs(network, model) == 6 and number_of_runs(network, None) == 5


def test_all_of_it_is_the_integers_against_float():
    network = quantize(MODEL, IMAGES, QuantizeConfig("predictive"))
    found = loss_by_hop(network, IMAGES, MODEL, steps=8, seed=4)
    errors = []
    for run in (network, MODEL):
        from pvae_neuro.evaluation.evaluate import evaluate

        mse = evaluate(run, IMAGES, steps=8, seed=4, dtype="float64").mse
        errors.append(mse[4:].mean())
    percent = 100 * (errors[0] / errors[1] - 1)
    # Engines compare with encoded pixels, of 12 bits: their squared error of half a unit is less.
    assert found.losses[-1].mse_percent == pytest.approx(percent, abs=0.05)
    assert [each.variable for each in found.saturations] == ["latents.u", "errors.m"]
    # Nine states of 24 images; those of the float circuit are not among them.
    assert [each.values for each in found.saturations] == [9 * 24 * 24, 9 * 24 * 30]
    assert found.saturations == loss_by_hop(network, IMAGES, steps=8, seed=4).saturations


def test_bad_arguments():
    network = quantize(MODEL, IMAGES, QuantizeConfig("predictive"))
    with pytest.raises(InputError, match="expected at least 2 images"):
        loss_by_hop(network, IMAGES[:1])
    with pytest.raises(InputError, match="has no readout to judge by"):
        loss_by_hop(replace(network, readout=None), IMAGES)


def test_command(tmp_path, capsys):
    network = quantize(MODEL, IMAGES, QuantizeConfig("predictive"))
    path, inputs, model = (tmp_path / n for n in ("m.onnx", "x.npy", "m.safetensors"))
    save_artifact(network, IMAGES[:2], path)
    save_model(MODEL, model)
    np.save(inputs, IMAGES)
    asked = "inspect", path, "--loss-by-hop", "-i", inputs, "-n", 8, "--steps", 4
    code, out, _ = run_cli(capsys, *asked, "--model", model, "--json", "-")
    told = json.loads(out)
    assert code == 0 and (told["samples"], told["steps"]) == (8, 4)
    assert told["losses"][0]["part"] == WEIGHTS
    code, out, _ = run_cli(capsys, *asked)
    assert code == 0 and "errors.compare" in out and "loses most by itself: " in out
    assert "the loss of weights and constants is left out" in out
    for wrong, said in (
        (("inspect", path, "-n", 8), "--samples: nothing is run"),
        (("inspect", path, "--steps", 8), "--steps: nothing is run"),
        (("inspect", path, "--steps", 32), "--steps: nothing is run"),
        (("inspect", path, "--seed", 0), "--seed: nothing is run"),
        (("inspect", model, "--loss-by-hop"), "--loss-by-hop: expected an export"),
        (("inspect", path, "--loss-by-hop"), "--input: expected inputs"),
        ((*asked[:-1], 0), "steps: expected"),
    ):
        code, _, err = run_cli(capsys, *wrong)
        assert code == 2 and said in err
