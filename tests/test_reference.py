"""Running networks: what the run() of all engines promises, shown on the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

from pvae_neuro.errors import EngineError, InputError, NetworkError
from pvae_neuro.network import Activation, Population, shift_right
from pvae_neuro.sim.engine import engine_names, get_engine
from pvae_neuro.sim.recording import variable_dtype
from pvae_neuro.sim.reference import ReferenceEngine

NETWORKS = [toy.lateral(), toy.predictive(), toy.predictive(latents=7, pixels=8, max_count=31)]


def run(network, images, steps, seed=1, record="full", **options):
    return ReferenceEngine().run(network, images, steps, seed, record=record, **options)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: n.name)
def test_samples_do_not_depend_on_their_batch(network):
    images = toy.images(network, 70)
    together = run(network, images, 4)
    alone = run(network, images[66:68], 4, first_sample=66)
    for name in network.variables:
        assert np.array_equal(together[name][66:68], alone[name])


def test_longer_runs_extend_shorter_ones():
    network = toy.lateral()
    images = toy.images(network, 2)
    short, long = run(network, images, 3), run(network, images, 6)
    for name in network.variables:
        assert np.array_equal(long[name][:, :3], short[name][:, :3])
    assert np.array_equal(long["latents.z"][:, 3], short.readout)


def test_the_last_step_is_that_of_final():
    network = toy.predictive()
    recording = run(network, toy.images(network, 3), 5)
    for name in network.variables:
        assert np.array_equal(recording[name][:, -1], recording.last[name])
    # `final` draws once more and moves nothing else.
    assert np.array_equal(recording["latents.u"][:, -1], recording["latents.u"][:, -2])
    assert np.array_equal(recording["errors.m"][:, -1], recording["errors.m"][:, -2])
    assert recording.source == "latents.z"


def test_summaries_follow_from_the_trajectory():
    network = toy.predictive()
    images = toy.images(network, 4)
    full, summary = run(network, images, 5), run(network, images, 5, record="summary")
    assert summary.variables == {}
    counts = full["latents.z"][:, :-1].astype(int)
    assert np.array_equal(summary.spikes, counts.sum(axis=2))
    assert np.array_equal(summary.active, (counts > 0).sum(axis=2))
    assert np.array_equal(summary.saturated, (counts == 15).sum(axis=2))
    encoded = network.input.encode(images) / 4096.0
    error = ((encoded - full.reconstruction) ** 2).sum(axis=1)
    assert np.allclose(summary.squared_error[:, -1] * summary.error_unit, error)
    last = run(network, images, 5, record="last")
    assert last.spikes is None and last.squared_error is None
    assert np.array_equal(last.last["latents.u"], full.last["latents.u"])
    # Zeros would say that the network was silent.
    unread = run(replace(network, readout=None), images, 5)
    assert unread["latents.z"].any()
    assert unread.spikes is None and unread.active is None and unread.saturated_after is None
    with pytest.raises(InputError, match="it has no spikes; expected a network with a readout"):
        _ = unread.frame_spikes


def test_only_what_is_asked_for_is_recorded():
    network = toy.predictive()
    images = toy.images(network, 3)
    recording = run(network, images, 4, record=["errors.m"])
    assert set(recording.variables) == {"errors.m"}
    assert np.array_equal(recording["errors.m"], run(network, images, 4)["errors.m"])
    message = r"'latents\.u' was not recorded; recorded were: errors\.m"
    with pytest.raises(InputError, match=message):
        recording["latents.u"]


def test_words_are_as_narrow_as_their_proved_range():
    network = toy.predictive()
    recording = run(network, toy.images(network, 2), 3)
    assert recording["latents.z"].dtype == np.uint8
    assert recording["errors.m"].dtype == np.int16
    assert recording["latents.u"].dtype == variable_dtype(network, "latents.u") == np.int16


def test_progress_counts_every_image_iteration():
    network = toy.lateral()
    told: list[int] = []
    run(network, toy.images(network, 70), 3, record="last", progress=told.append)
    assert sum(told) == 70 * 3


def test_states_stay_within_their_clamps():
    network = toy.lateral(latents=30)
    u = run(network, toy.images(network, 8), 40)["latents.u"]
    latents = network.population_of["latents"]
    assert u.min() >= latents.constant("u_min")[0] and u.max() <= latents.constant("u_max")[0]


def test_the_drive_saturates():
    (encoding,) = toy.lateral().encodings
    small = replace(encoding, limit=5)
    x = toy.lateral().input.encode(toy.images(toy.lateral(), 9))
    values = small.apply(x)
    exact = shift_right(x.astype(np.int64) @ encoding.weight.T.astype(np.int64), 12)
    assert np.array_equal(values, np.clip(exact, -5, 5)) and np.abs(values).max() == 5


def test_pixels_round_half_to_even():
    encode = toy.lateral().input.encode
    assert encode([0.5 / 4096, 1.5 / 4096, 1.0]).tolist() == [0, 2, 4096]


@settings(max_examples=100, deadline=None)
@given(value=st.integers(-(1 << 30), 1 << 30), amount=st.integers(-20, 31))
def test_shift_rounds_half_up(value, amount):
    exact = value * 2.0**-amount
    assert shift_right(np.array([value]), amount)[0] == np.floor(exact + 0.5 * (amount > 0))


def test_frames_are_runs_in_order():
    network = toy.lateral()
    frames = toy.images(network, 6).reshape(2, 3, 20)
    moving = run(network, frames, 4)
    still = run(network, frames[:, 0], 4)
    assert moving["latents.u"].shape == (2, 3 * 4 + 1, 12)
    assert np.array_equal(moving["latents.u"][:, :4], still["latents.u"][:, :4])
    assert not np.array_equal(moving["latents.u"][:, 4:5], still["latents.u"][:, 4:5])


def test_bad_calls_are_named():
    network = toy.lateral()
    image = toy.images(network, 1)
    for steps in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="steps: expected"):
            run(network, image, steps)
    with pytest.raises(InputError, match="seed: expected 0 to"):
        run(network, image, 1, seed=-1)
    with pytest.raises(InputError, match="record: expected 'last' or 'summary' or 'full'"):
        run(network, image, 1, record="all")
    with pytest.raises(InputError, match=r"record: expected variables of latents\.u"):
        run(network, image, 1, record=["latents.v"])
    with pytest.raises(InputError, match=r"expected shape \[N, 20\]"):
        run(network, image[:, 1:], 1)
    with pytest.raises(InputError, match=r"expected values in \[0, 1\]"):
        run(network, image + 1, 1)
    with pytest.raises(InputError, match="engine: expected one of reference"):
        get_engine("nonesuch")
    assert {"reference", "onnx", "torch", "lava", "loihi2"} <= set(engine_names())


def test_a_network_that_is_not_proved_runs_nowhere():
    network = toy.with_connection(toy.lateral(), "lateral", exponent=20)
    with pytest.raises(NetworkError, match=r"lateral\[\d+\]: after its exponent"):
        run(network, toy.images(network, 1), 1)


def test_an_engine_names_what_it_lacks():
    class Small(ReferenceEngine):
        name = "small"
        operations = frozenset({"add", "min", "max", "sub", "draw"})
        connection_kinds = frozenset({"one_to_one"})

    network = toy.lateral()
    with pytest.raises(EngineError, match="engine small does not have the operation 'mul'"):
        Small().run(network, toy.images(network, 1), 1, 0)
    assert "engine small does not have the connection kind 'dense'" in Small().unsupported(network)


def halves(population: Population) -> tuple[Population, Population]:
    """A population cut in two, each with its part of everything."""

    def part(name: str, rows: slice) -> Population:
        size = len(range(population.size)[rows])

        def cut(values):
            return values if len(values) == 1 else values[rows]

        return replace(
            population,
            name=name,
            size=size,
            variables=tuple(replace(v, initial=cut(v.initial)) for v in population.variables),
            constants=tuple(replace(c, values=cut(c.values)) for c in population.constants),
            sampler=replace(population.sampler, first=rows.start or 0),
        )

    middle = population.size // 2
    return part("left", slice(0, middle)), part("right", slice(middle, population.size))


def test_a_population_that_is_split_computes_the_same():
    """Over two cores, say: the same words, and sums that are rounded once."""
    network = toy.lateral()
    drive, latents = network.populations
    left, right = halves(latents)
    drives = tuple(replace(drive, name=f"{p.name}_drive", size=p.size) for p in (left, right))
    rows = {"left": slice(0, left.size), "right": slice(left.size, latents.size)}
    one, lateral = network.connections
    connections, encodings = [], []
    for target in (left, right):
        name = f"{target.name}_drive"
        encodings.append(
            replace(
                network.encodings[0],
                population=name,
                weight=network.encodings[0].weight[rows[target.name]],
            )
        )
        connections.append(
            replace(
                one, name=name, source=name, target=target.name, weight=one.weight[: target.size]
            )
        )
        for source in (left, right):
            weight = np.ascontiguousarray(lateral.weight[rows[target.name], rows[source.name]])
            connections.append(
                replace(
                    lateral,
                    name=f"{source.name}_{target.name}",
                    source=source.name,
                    target=target.name,
                    weight=weight,
                )
            )

    def integrate(p):
        names = (f"{p.name}_drive", f"left_{p.name}", f"right_{p.name}")
        return Activation(p.name, "integrate", names)

    split = replace(
        network,
        encodings=tuple(encodings),
        populations=(*drives, left, right),
        connections=tuple(connections),
        iteration=(
            Activation("left", "fire"),
            Activation("right", "fire"),
            integrate(left),
            integrate(right),
        ),
        final=(Activation("left", "fire"), Activation("right", "fire")),
        readout=None,
    )
    images = toy.images(network, 5)
    whole, parts = run(network, images, 9), run(split, images, 9)
    for variable in ("u", "z"):
        joined = np.concatenate([parts[f"{side}.{variable}"] for side in ("left", "right")], axis=2)
        assert np.array_equal(joined, whole[f"latents.{variable}"])


def test_long_trajectories_go_to_disk_and_leave_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr("pvae_neuro.sim.trajectory.IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    network = toy.lateral()
    images = toy.images(network, 6)
    streamed = run(network, images, 30)
    assert isinstance(streamed["latents.u"], np.memmap) and not list(tmp_path.iterdir())
    monkeypatch.setattr("pvae_neuro.sim.trajectory.IN_MEMORY_BYTES", 1 << 30)
    in_memory = run(network, images, 30)
    for name in network.variables:
        assert np.array_equal(streamed[name], in_memory[name])


def test_a_trajectory_that_does_not_fit_is_refused(monkeypatch, tmp_path):
    from pvae_neuro.sim.trajectory import trajectory_array

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(InputError, match="record a summary, run fewer images"):
        trajectory_array((1 << 20, 1 << 20, 1 << 10), np.int32)
    assert not list(tmp_path.iterdir())
