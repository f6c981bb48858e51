"""Integers of the linear model with several inner updates per time step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from models import random_images, random_model, sound_images, sound_model

from pvae_neuro import QuantizeConfig, get_engine, load_artifact, quantize, verify
from pvae_neuro.export import export_model
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.saved.model_file import SavedModel

TOPOLOGIES = topologies("ipvae-linear")


def with_updates(model: SavedModel, updates: int, beta: float = 0.7) -> SavedModel:
    changes = {"inner_updates": updates, "beta_inner": beta}
    return replace(model, config=model.config.model_copy(update=changes))


def without_pull(network):
    """The same network whose leak to the prior is 0."""
    latents = network.population_of["latents"]
    constants = tuple(
        replace(c, values=0 * c.values) if c.name == "pull" else c for c in latents.constants
    )
    others = {"latents": replace(latents, constants=constants)}
    return replace(network, populations=tuple(others.get(p.name, p) for p in network.populations))


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_leak_is_towards_the_potential_at_the_start_of_a_time_step(topology):
    updates = 3
    model = with_updates(random_model(), updates)
    images = random_images(model, 4)
    network = quantize(model, images, QuantizeConfig(topology))
    engine = get_engine("reference")
    run = engine.run(network, images, 9, seed=3, record="full")
    latents = network.population_of["latents"]
    u, prior, phase = (run[f"latents.{name}"].astype(np.int64) for name in ("u", "prior", "phase"))
    begun = np.broadcast_to(latents.variable("u").initial, u[:, 0].shape)
    for step in range(9):
        started = u[:, step - step % updates - 1] if step >= updates else begun
        assert np.array_equal(prior[:, step], started)
        assert (phase[:, step] == updates - 1 - step % updates).all()
    # The first update starts at the prior: nothing leaks. In the second all else is still equal.
    plain = engine.run(without_pull(network), images, 9, seed=3, record="full")["latents.u"]
    assert np.array_equal(plain[:, 0], u[:, 0])
    pull, shift = (int(latents.constant(name)[0]) for name in ("pull", "pull_shift"))
    assert pull / 2.0**shift == pytest.approx(model.step_size * 0.7, rel=2.0**-14)
    leak = (pull * (u[:, 0] - begun) + (1 << shift >> 1)) >> shift
    assert leak.any() and np.array_equal(plain[:, 1] - u[:, 1], leak)
    # After `final` nothing is integrated.
    assert np.array_equal(u[:, 9], u[:, 8])


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_engines_agree_and_the_network_says_what_an_iteration_is(topology):
    model = with_updates(random_model(), 2)
    images = random_images(model, 6)
    network = quantize(model, images, QuantizeConfig(topology))
    (choice,) = (c for c in network.choices if c.name == "inner updates")
    assert choice.value == 2 and "T time steps are 2 T iterations" in choice.why
    runs = {
        name: get_engine(name).run(network, images, 16, seed=1, record="full")
        for name in ("reference", "fast", "onnx")
    }
    for name in network.variables:
        for run in runs.values():
            assert np.array_equal(run[name], runs["reference"][name]), name
    assert runs["reference"]["latents.z"].any()


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_exports_and_verifies(topology, tmp_path):
    model, images = with_updates(sound_model(), 2), sound_images(64)
    export_model(model, tmp_path / "m.onnx", images, QuantizeConfig(topology), stability_steps=60)
    network = load_artifact(tmp_path / "m.onnx").network
    report = verify(network, model, images, steps=32, engines=["reference", "fast"])
    assert report.outcome == "passed", report.failures
    if topology == "lateral":
        assert abs(network.measurements.excess_percent) < 5


def test_a_network_of_one_update_follows_no_model_of_two(tmp_path):
    """The check that passes above sees the prior: without its leak integers are far from float."""
    images = sound_images(64)
    network = quantize(sound_model(), images, QuantizeConfig("predictive"))
    report = verify(
        network, with_updates(sound_model(), 4, 40.0), images, steps=32, engines=["fast"]
    )
    assert report.outcome == "failed"
