"""Placement: counts of a core, cuts that keep every integer, what fits and what is refused."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy
from cli_tools import run_cli

from pvae_neuro.artifact import load_artifact, save_artifact
from pvae_neuro.bench.networks import pinned_network
from pvae_neuro.errors import EngineError, InputError, NetworkError, PlacementError
from pvae_neuro.network import Convolution, OneToOne, TransposedConvolution
from pvae_neuro.network.random import random_network
from pvae_neuro.placement import PlacedEngine, board_names, load_board, place, split
from pvae_neuro.placement.counts import Demands
from pvae_neuro.placement.place import balanced
from pvae_neuro.placement.split import _Splitting, unrolled
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.sim.reference import ReferenceEngine

ROOT = Path(__file__).parents[1]
EIGHT_BITS = {"synapse": 8}
WHOLE_MEMORY = {"synapse": 8, "synaptic_memory": 131_072}


def random_cut(network, rng):
    """Slices of each population that has programs."""
    slices = {}
    for p in network.populations:
        if not p.is_input and p.size > 1:
            parts = int(rng.integers(1, min(4, p.size) + 1))
            inner = sorted(rng.choice(np.arange(1, p.size), parts - 1, replace=False).tolist())
            slices[p.name] = tuple(zip([0, *inner], [*inner, p.size], strict=True))
    return slices


def differing(network, engine, samples=3, steps=5, seed=1):
    """Variables in which an engine differs from the definition."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(network.input.low, network.input.high, (samples, network.input.size))
    runs = [
        each.run(network, images, steps, seed, record="full", progress=False)
        for each in (ReferenceEngine(), engine)
    ]
    return [name for name in network.variables if not np.array_equal(*(r[name] for r in runs))]


def lif_network():
    """The neuron of the guide: cells that hear each other, in one program that also fires."""
    spec = importlib.util.spec_from_file_location("lif", ROOT / "docs/examples/lif.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.lif_network()


# ------------------------------------------------------------------------------- split networks


@pytest.mark.parametrize("seed", range(16))
def test_a_split_random_network_gives_the_same_integers(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    made = split(network, random_cut(network, rng))
    made.network.require_proof()
    assert differing(network, PlacedEngine(made)) == []


def test_random_networks_meet_every_kind_and_sums_that_are_stored():
    """So that the test above tests what it should."""
    kinds, collecting = set(), False
    for seed in range(16):
        rng = np.random.default_rng(seed)
        network = random_network(rng)
        kinds |= {type(c) for c in network.connections}
        made = split(network, random_cut(network, rng)).network
        collecting |= any("collect" in q.name for p in made.populations for q in p.programs)
    assert {OneToOne, Convolution, TransposedConvolution} < kinds
    assert collecting


@pytest.mark.parametrize("engine", ["fast", "onnx", "torch"])
@pytest.mark.parametrize("make", [toy.lateral, toy.predictive], ids=["lateral", "predictive"])
def test_other_engines_run_the_parts(make, engine):
    pytest.importorskip({"fast": "llvmlite", "onnx": "onnxruntime"}.get(engine, engine))
    network = make()
    slices = {p.name: balanced(p.size, 3) for p in network.populations if not p.is_input}
    made = split(network, slices)
    assert len(made.network.populations) > len(network.populations)
    assert differing(network, PlacedEngine(made, get_engine(engine))) == []


def test_parts_of_a_population_that_hears_itself_store_what_they_receive(monkeypatch):
    network = lif_network()
    slices = {"cells": balanced(12, 3)}
    assert differing(network, PlacedEngine(split(network, slices)), steps=20) == []
    monkeypatch.setattr(_Splitting, "_collected", lambda self: {})
    assert differing(network, PlacedEngine(split(network, slices)), steps=20) != []


def test_a_wrong_block_or_a_wrong_word_is_seen():
    network = toy.lateral()
    made = split(network, {"latents": balanced(network.population_of["latents"].size, 2)})
    (name,) = [p.name for p in made.network.drawing][1:]
    second = made.network.population_of[name]
    wrong = replace(second, sampler=replace(second.sampler, first=second.sampler.first + 1000))
    populations = tuple(wrong if p is second else p for p in made.network.populations)
    broken = replace(made, network=replace(made.network, populations=populations))
    assert differing(network, PlacedEngine(broken)) != []


def test_weights_that_were_stored_once_still_are():
    network = toy.predictive()
    slices = {p.name: balanced(p.size, 2) for p in network.populations if not p.is_input}
    made = split(network, slices).network
    sharing = [c for c in made.connections if c.shared is not None]
    assert len(sharing) == 4
    for c in sharing:
        assert np.shares_memory(c.weight, made.connection_of[c.shared.connection].weight)


def test_a_split_network_is_an_artifact_like_any_other(tmp_path):
    network = toy.predictive()
    slices = {p.name: balanced(p.size, 2) for p in network.populations if not p.is_input}
    made = split(network, slices)
    save_artifact(made.network, toy.images(network, 2), tmp_path / "placed.onnx")
    read = load_artifact(tmp_path / "placed.onnx").network
    assert read == made.network
    assert differing(network, PlacedEngine(replace(made, network=read))) == []


def test_a_network_that_is_not_cut_stays_what_it_is():
    network = toy.predictive()
    assert split(network, {}).network == network


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ({"latent": ((0, 12),)}, "no population is named 'latent'"),
        ({"latents": ((0, 3), (4, 12))}, "without gaps"),
        ({"latents": ()}, "without gaps"),
        ({"latents": ((0, 5), (5, 5), (5, 12))}, "without gaps"),
    ],
)
def test_slices_that_fit_no_population_are_refused(slices, words):
    network = toy.lateral()
    assert network.population_of["latents"].size == 12
    with pytest.raises(NetworkError, match=words):
        split(network, slices)


def test_the_parts_run_no_other_network():
    made = split(toy.lateral(), {})
    with pytest.raises(EngineError, match="was split"):
        PlacedEngine(made).run(toy.lateral(seed=1), toy.images(toy.lateral(), 1), 2)


def test_the_parts_run_frames():
    network = toy.predictive()
    slices = {p.name: balanced(p.size, 3) for p in network.populations if not p.is_input}
    frames = np.random.default_rng(0).random((2, 3, network.input.size))
    runs = [
        engine.run(network, frames, 4, 1, record="full", progress=False)
        for engine in (ReferenceEngine(), PlacedEngine(split(network, slices)))
    ]
    for name in network.variables:
        assert np.array_equal(*(run[name] for run in runs))


# --------------------------------------------------------------------------------- what is counted


def brute_force(network, slices, population):
    """Counts of synapses and axons from matrices of synapses, block by block."""
    host = Demands(network).host_sets
    found = {"synapses": [], "axons_in": [], "axons_out": []}
    matrix = {
        c.name: unrolled(replace(c, weight=np.ones_like(c.weight), shared=None), 0, c.shape[1]) != 0
        for c in network.connections
        if c.name not in host
    }
    for first, last in slices[population]:
        into = [matrix[c.name][first:last] for c in network.connections
                if c.target == population and c.name in matrix]  # fmt: skip
        out = 0
        for c in network.connections:
            if c.source == population and c.name in matrix:
                out += sum(
                    matrix[c.name][a:b, first:last].any(axis=0).sum() for a, b in slices[c.target]
                )
        found["synapses"].append(sum(m.sum() for m in into))
        found["axons_in"].append(sum(m.any(axis=0).sum() for m in into))
        found["axons_out"].append(out)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_counts_equal_those_of_the_matrices(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    slices = {p.name: ((0, p.size),) for p in network.populations} | random_cut(network, rng)
    demands = Demands(network)
    for population in demands.populations:
        counted = demands.count(population, slices[population.name])
        counted["axons_out"] = demands.axons_out(population.name, slices)
        expected = brute_force(network, slices, population.name)
        assert {name: counted[name].tolist() for name in expected} == expected


# Of the derivation in docs/placement.md: 8 bits and 128 KiB, 8 bits and 96 kB, 16 bits and 96 kB.
CORES = [
    ("lateral", 512, (2, 3, 6)),
    ("lateral", 1024, (8, 12, 23)),
    ("predictive", 512, (8, 10, 18)),
    ("predictive", 1024, (14, 18, 35)),
    ("predictive", 2048, (26, 35, 69)),
]


@pytest.mark.parametrize(("topology", "latents", "cores"), CORES)
def test_cores_by_the_limits_of_loihi_2(topology, latents, cores):
    network = pinned_network(topology, latents, 784, 0.25)
    found = tuple(
        len(place(network, given=given).cores) for given in (WHOLE_MEMORY, EIGHT_BITS, None)
    )
    assert found == cores


def test_every_core_stays_within_its_limits_and_all_neurons_are_placed():
    placement = place(pinned_network("predictive", 512, 784, 0.25))
    for core in placement.cores:
        assert all(m is None or core.used[n] <= m for n, m in placement.maximum.items())
    for name, cores in placement.by_population.items():
        placed = [neuron for core in cores for neuron in range(core.first, core.last)]
        size = placement.source.population_of[name].size
        assert placed == list(range(size))
    by_name = {t.connection: t for t in placement.traffic}
    assert by_name["prediction"].packets == 512 * 9
    assert by_name["feedback"].packets == 784 * 9


def test_a_placed_network_gives_the_same_integers():
    network = pinned_network("lateral", 512, 784, 0.25)
    placement = place(network)
    assert [p.size for p in placement.network.drawing] == [85, 85, 86, 85, 85, 86]
    assert differing(network, placement.engine(), samples=2, steps=3) == []


def test_packets_between_chips_are_counted():
    network = pinned_network("lateral", 64, 100, 0.25)
    given = {"neurons": 8, "cores": 4, "chips": 2}
    (traffic,) = place(network, given=given).traffic
    assert (traffic.messages, traffic.packets, traffic.between_chips) == (64, 64 * 8, 64 * 4)


# --------------------------------------------------------------------------------- what is refused


def test_too_many_cores_are_refused_with_what_would_help():
    network = pinned_network("lateral", 256, 100, 0.25)
    given = {"synaptic_memory": 512}
    with pytest.raises(PlacementError) as raised:
        place(network, given=given)
    error = raised.value
    assert "256 cores (latents 256), and the board has 120" in error.reasons[0]
    assert (
        "2 neurons of latents on a core would need 1,024 B of synaptic memory" in error.reasons[0]
    )
    assert "kapoho-point" in error.remedies[0]
    assert "memory above K = 2M" in str(error)
    assert "51,200 synapses" in str(error)


def test_predictive_is_not_proposed_where_it_takes_more():
    with pytest.raises(PlacementError) as raised:
        place(pinned_network("lateral", 64, 100, 0.25), given={"cores": 1, "neurons": 4})
    assert "2M" not in str(raised.value)


def test_a_neuron_that_no_core_holds_is_named():
    network = pinned_network("lateral", 64, 100, 0.25)
    with pytest.raises(
        PlacementError, match=r"neuron 0 of latents alone needs 64 axons in, .*10"
    ) as raised:
        place(network, given={"axons_in": 10})
    assert raised.value.remedy == "board"


def test_nothing_is_proposed_where_nothing_helps():
    # Above 2 * 784 latents, a predictive circuit takes less memory, and as many axons.
    with pytest.raises(PlacementError, match="alone needs 4,100 axons in") as raised:
        place(pinned_network("lateral", 4100, 784, 0.25))
    assert (raised.value.remedies, raised.value.remedy) == ((), None)


def test_axons_that_no_cut_reduces_are_refused():
    network = pinned_network("lateral", 64, 100, 0.25)
    # A part of n neurons sends to 64 / n cores, so that its axons stay 64.
    with pytest.raises(PlacementError, match="axons out"):
        place(network, given={"neurons": 16, "axons_out": 63})
    # Five parts of 12 or 13 neurons send to five cores: 65; so it is cut until it fits.
    placement = place(network, given={"neurons": 13, "axons_out": 64})
    assert len(placement.cores) == 8


def test_the_ranges_have_to_be_proved():
    network = toy.lateral()
    latents = network.population_of["latents"]
    narrow = tuple(replace(v, bits=2) for v in latents.variables)
    populations = tuple(
        replace(p, variables=narrow) if p is latents else p for p in network.populations
    )
    with pytest.raises(NetworkError):
        place(replace(network, populations=populations))


# ------------------------------------------------------------------------------------------ boards


@pytest.mark.parametrize("name", board_names())
def test_every_number_of_a_board_has_a_source(name):
    cautious, largest = load_board(name), load_board(name, "largest")
    for row in cautious.numbers():
        assert all(row)
    for limit, chosen in cautious.limits.items():
        if chosen.maximum is not None:
            assert chosen.maximum <= largest.limits[limit].maximum
    assert cautious.cores <= largest.cores


def own_board():
    number = {"value": 64, "source": "a sheet of ours", "verified": False}
    return {
        "title": "ours",
        "chip": {
            "title": "our chip",
            "cores": {"values": [number]},
            "sizes": {"synapse": {"values": [{**number, "value": 8}], "unit": "bit"}},
            "limits": {
                "memory": {"unit": "B", "counts": {"synapses": "synapse"}, "values": [number]},
                "neurons": {"counts": {"neurons": None}, "values": []},
            },
        },
        "chips": {"values": [{**number, "value": 1}]},
    }


def test_a_board_of_ones_own(tmp_path):
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(own_board()))
    network = pinned_network("lateral", 8, 16, 0.25)
    placement = place(network, path)
    assert len(placement.cores) == 1
    assert placement.cores[0].used == {"memory": 64, "neurons": 8}
    assert placement.maximum == {"memory": 64, "neurons": None}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: b.pop("title"), "title: Field required"),
        (lambda b: b.update(chip="loihi3"), "did you mean 'loihi2'"),
        (lambda b: b["chips"]["values"].clear(), "chips.values"),
        (lambda b: b["chips"]["values"][0].pop("source"), "source: Field required"),
        (lambda b: b["chip"]["limits"]["memory"]["counts"].update(colours=None), "colours"),
        (lambda b: b["chip"]["sizes"].clear(), "'synapse', which has no size"),
        (lambda b: b["chip"]["cores"]["values"][0].update(value=0), "greater than or equal to 1"),
    ],
)
def test_a_board_file_that_is_wrong_says_where(tmp_path, change, words):
    board = own_board()
    change(board)
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(board))
    with pytest.raises(InputError, match=words):
        load_board(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("oheo-gulf",), "did you mean 'oheo-gulch'"),
        (("missing.json",), "no such file"),
        (("oheo-gulch", "bold"), "cautious, largest"),
        (("oheo-gulch", "cautious", {"synapses": 8}), "did you mean 'synapse'"),
        (("oheo-gulch", "cautious", {"synapse": 0}), "whole number from 1"),
        (("oheo-gulch", "cautious", {1: 2}), "has no limit 1"),
    ],
)
def test_a_board_that_is_not_known_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        load_board(*arguments)


# --------------------------------------------------------------------------- page and command line


def test_the_example_of_the_page_runs_on_the_shipped_model():
    text = (ROOT / "docs/placement.md").read_text("utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    exec(compile(block, "placement.md", "exec"), {})


def test_the_board_of_the_page_is_one(tmp_path):
    text = (ROOT / "docs/placement.md").read_text("utf-8")
    (block,) = re.findall(r"^```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    path = tmp_path / "board.json"
    path.write_text(block)
    assert load_board(path).cores == 128


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    path = tmp_path_factory.mktemp("placement") / "toy.onnx"
    network = pinned_network("lateral", 40, 16, 0.25)
    save_artifact(network, toy.images(network, 2), path)
    return path


def test_the_verb_shows_cores_and_checks_the_parts(capsys, artifact, tmp_path):
    placed, result = tmp_path / "placed.onnx", tmp_path / "result.json"
    code, out, err = run_cli(
        capsys, "place", artifact, "--check", "--sources", "--limit", "neurons=13",
        "--placed", placed, "--json", result,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "4 of 120 cores" in out
    assert "a a a a . ." in out
    assert "the parts give the same integers" in out
    assert "nengo-loihi" in out
    content = json.loads(result.read_text())
    assert content["fits"]
    assert content["check"]["equal"]
    assert content["cores"][3]["used"]["neurons"] == [10, 13]
    assert len(load_artifact(placed).network.drawing) == 4


def test_the_verb_exits_1_where_it_does_not_fit(capsys, artifact):
    code, out, err = run_cli(capsys, "place", artifact, "--limit", "cores=1", "--limit",
                             "neurons=4", "--json", "-")  # fmt: skip
    assert code == 1
    assert err.startswith("FAILED: lateral does not fit on oheo-gulch: it needs 10 cores")
    assert "--board NAME" in err
    content = json.loads(out)
    assert not content["fits"]
    assert content["reasons"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--board", "kapoho"), "did you mean 'kapoho-point'"),
        (("--limit", "synapse"), "NAME=NUMBER"),
        (("--limit", "synapse=many"), "NAME=NUMBER"),
        (("--limit", "synapse=8", "--limit", "synapse=9"), "each name once"),
        (("--limit", "colour=3"), "has no limit 'colour'"),
        (("--limits", "largst"), "did you mean 'largest'"),
        (("-o", "cores.txt"), ".svg, .png, .pdf"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(capsys, artifact, options, words):
    code, out, err = run_cli(capsys, "place", artifact, *options)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_the_picture_of_the_cores(capsys, artifact, tmp_path):
    pytest.importorskip("matplotlib")
    from pvae_neuro.plots.cores import core_grid

    drawn = tmp_path / "cores.svg"
    code, *_ = run_cli(capsys, "place", artifact, "-o", drawn, "-q")
    assert code == 0
    assert drawn.read_text().startswith("<?xml")
    network = pinned_network("lateral", 64, 100, 0.25)
    placement = place(network, "kapoho-point", given={"neurons": 8, "cores": 4, "chips": 2})
    ax = core_grid(placement)
    # A frame for each core of each chip that is used, and two areas for each core that is used.
    assert [len(c.get_paths()) for c in ax.collections] == [8, 8, 8]
    assert "8 of 8 cores" in ax.get_title(loc="left")
