"""What a network would cost: counts equal those made plainly; levers change what they say."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest
import toy
from cli_tools import run_cli
from counted_plainly import Core, counted
from models import family_images, family_model, random_images, random_model

from pvae_neuro.artifact import save_artifact
from pvae_neuro.cost import cost_of, error_variables, with_dead_zone
from pvae_neuro.cost.activity import with_leak
from pvae_neuro.cost.counts import QUANTITIES, Load
from pvae_neuro.cost.levers import Levers
from pvae_neuro.cost.prices import CHIPS, Clock, band, coefficients, dynamic_energy
from pvae_neuro.cost.sampler_path import PARTS, traced
from pvae_neuro.errors import EngineError, InputError
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import CONNECTION_KINDS
from pvae_neuro.network.random import random_networks
from pvae_neuro.network.sampler import largest_potential, sample_counts
from pvae_neuro.placement import place
from pvae_neuro.sim.engine import Engine, get_engine
from pvae_neuro.sim.frames import Frames
from pvae_neuro.sim.reference import ReferenceEngine

SEED = 5


def pixels(network, samples=3):
    source = network.input
    shape = (samples, source.size)
    return np.random.default_rng(1).uniform(source.low, source.high, shape).astype(np.float32)


def equal_to_plain(network, images, steps, engine="reference"):
    cost = cost_of(network, images, steps=steps, seed=SEED, engine=engine, progress=False)
    plain, kinds = counted(network, images, steps, SEED)
    worked = {name for (_, step, name, _), value in plain.items() if value and step < steps}
    assert set(cost.cores) >= worked
    for number, quantity in enumerate(QUANTITIES):
        for sample in range(len(images)):
            for step in range(steps + 1):
                total = sum(plain[sample, step, p.name, quantity] for p in network.populations)
                by = cost.final[sample] if step == steps else cost.by_iteration[sample, step]
                assert by[number] == total, (quantity, sample, step)
        for core in cost.cores:
            ours = cost.of_core(core)[:, number]
            for sample, value in enumerate(ours):
                assert value == sum(plain[sample, t, core, quantity] for t in range(steps))
    for core in cost.cores:
        per = len(images) * steps
        ours = {kind: round(value * per) for kind, value in cost.kinds_of(core).items()}
        assert ours == {k: n for (name, k), n in kinds.items() if name == core and n}
    return cost


@pytest.mark.parametrize("make", [toy.lateral, toy.predictive])
@pytest.mark.parametrize("max_count", [3, 15, 200])
def test_counts_equal_plain_ones(make, max_count):
    network = make(max_count=max_count)
    cost = equal_to_plain(network, pixels(network), 7)
    assert cost["messages"].sum() and cost["spikes"].sum() and cost["acs"].sum()
    assert (cost["macs"] + cost["acs"] == cost["synops_nonzero"]).all()


def test_counts_of_random_networks_equal_plain_ones():
    """All kinds of connections and operations, several draws and any schedule."""
    kinds = set()
    rng = np.random.default_rng(11)
    for _ in range(12):
        (network,) = random_networks(rng, 1)
        cost = equal_to_plain(network, pixels(network, 2), 3)
        assert 0 <= (cost.to_dict()["neurobench"]["ActivationSparsity"] or 0) <= 1
        kinds |= network.connection_kinds
    assert kinds == set(CONNECTION_KINDS)


@pytest.mark.parametrize(
    "family", ["ipvae-mlp", "ipvae-conv", "ipvae-hierarchical", "pvae-mlp", "lca"]
)
def test_counts_of_families_equal_plain_ones(family):
    pytest.importorskip("torch", reason="needs torch")
    model, images = family_model(family), family_images(8)
    network = quantize(model, images)
    cost = equal_to_plain(network, images[:2], 4)
    assert cost["messages"].sum()


def test_engines_and_parts_give_the_same_counts(monkeypatch):
    network, engines = toy.predictive(), ["reference"]
    images = pixels(network, 5)
    whole = cost_of(network, images, steps=9, seed=SEED, engine="reference", progress=False)
    try:
        get_engine("fast").require()
        engines.append("fast")
    except ImportError:
        pass
    for values in (1, 300):
        monkeypatch.setattr("pvae_neuro.cost.cost.VALUES_AT_ONCE", values)
        for engine in engines:
            cost = cost_of(network, images, steps=9, seed=SEED, engine=engine, progress=False)
            assert np.array_equal(cost.by_iteration, whole.by_iteration)
            assert np.array_equal(cost.by_load, whole.by_load)
            assert np.array_equal(cost.final, whole.final)
            assert np.array_equal(cost.kinds, whole.kinds)
            assert cost.draws == whole.draws
            for chip in CHIPS:
                assert cost.seconds[chip].low == pytest.approx(whole.seconds[chip].low)


class Wrong(ReferenceEngine):
    name = "wrong"

    def run_block(self, block):
        result = super().run_block(block)
        if "latents.u" in result.variables:
            result.variables["latents.u"][0, 2, 1] += 1
        return result


def test_an_engine_that_is_wrong_is_found_out():
    network = toy.lateral()
    engine: Engine = Wrong()
    with pytest.raises(EngineError, match=r"latents\.u.*wrong recorded other integers"):
        cost_of(network, pixels(network), steps=6, engine=engine, progress=False)


@pytest.mark.parametrize("max_count", [1, 63, 127, 255])
def test_a_draw_takes_the_path_of_the_rule(max_count):
    bits, rng = 12, np.random.default_rng(3)
    u = rng.integers(-9 << bits, largest_potential(max_count, bits) + 1, (4, 200))
    word = rng.integers(0, 1 << 16, u.shape)
    word[0, :20], word[0, 20:40] = 65535, 0
    part = rng.integers(0, 3, u.shape[1])
    counts, seen = traced(u, word, max_count, bits, part)
    assert np.array_equal(counts, sample_counts(u, word, max_count, bits))
    for row in range(len(u)):
        for number in range(3):
            core, own = Core(), part == number
            pairs = zip(u[row, own].tolist(), word[row, own].tolist(), strict=True)
            drawn = [core.draw(a, b, max_count, bits) for a, b in pairs]
            assert drawn == counts[row, own].tolist()
            ours: Counter[str] = Counter()
            for times, operations in zip(seen[row, number].tolist(), PARTS.values(), strict=True):
                ours.update({kind: times * n for kind, n in operations.items()})
            assert ours == core.operations


SPLIT = {
    "latents": [("a", 0, 5), ("b", 5, 12)],
    "errors": [("c", 0, 4), ("b", 4, 11), ("d", 11, 20)],
}


def test_parts_on_cores_hold_what_is_theirs():
    network, steps = toy.predictive(), 6
    images = pixels(network)
    whole, split = (
        cost_of(network, images, steps=steps, engine="reference", cores=cores, progress=False)
        for cores in (None, SPLIT)
    )
    assert set(split.cores) == set("abcd")
    names = list(QUANTITIES)
    for name in names:
        total = sum(split.of_core(core) for core in split.cores)[:, names.index(name)]
        assert np.array_equal(total, split[name].sum(axis=1))
        if name != "packets":
            assert np.array_equal(split[name], whole[name]), name
        each = sum(split.iterations_of_core(core) for core in split.cores)[:, names.index(name)]
        assert each == pytest.approx(split[name].mean(axis=0))
    assert split.kinds_of() == whole.kinds_of() and split.draws == whole.draws
    for counts in (split.of_core, split.iterations_of_core, split.kinds_of):
        with pytest.raises(InputError, match="core 'e': expected one that works"):
            counts("e")
    run = ReferenceEngine().run(network, images, steps, 0, record="full")
    z, m = run["latents.z"][:, :steps], run["errors.m"][:, :steps]
    weight = network.connection_of["prediction"].weight != 0

    def of(core, name):
        return split.of_core(core)[:, names.index(name)]

    # Counts go to all three parts of the errors, errors to both parts of the latents.
    assert np.array_equal(of("a", "packets"), 3 * (z[..., :5] != 0).sum(axis=(1, 2)))
    assert np.array_equal(of("c", "packets"), 2 * (m[..., :4] != 0).sum(axis=(1, 2)))
    assert np.array_equal(of("a", "spikes"), z[..., :5].sum(axis=(1, 2)))
    to_c = ((z != 0) @ weight[:4].T.astype(int)).sum(axis=(1, 2))
    assert np.array_equal(of("c", "synops_nonzero"), to_c)
    to_b = ((z != 0) @ weight[4:11].T.astype(int)).sum(axis=(1, 2))
    to_b = to_b + ((m != 0) @ weight[:, 5:].astype(int)).sum(axis=(1, 2))
    assert np.array_equal(of("b", "synops_nonzero"), to_b)
    assert (of("d", "synops") == 9 * (z != 0).sum(axis=(1, 2))).all()
    assert (of("b", "updates") == steps * (2 * 7 + 7)).all()


@pytest.mark.parametrize(
    "cores",
    [
        {"nobody": [("a", 0, 1)]},
        {"latents": [("a", 0, 5), ("b", 6, 12)]},
        {"latents": [("a", 0, 5), ("b", 5, 13)]},
        {"latents": [("a", 5, 12), ("b", 0, 5)]},
        {"latents": "ab"},
    ],
)
def test_parts_that_do_not_make_a_population_are_refused(cores):
    network = toy.predictive()
    with pytest.raises(InputError, match=r"^cores: "):
        cost_of(network, pixels(network), steps=2, engine="reference", cores=cores)


# -------------------------------------------------------------------------------- time and energy


def test_every_coefficient_has_a_source_and_bands_span_them():
    for c in coefficients():
        assert c.source and c.value > 0 and c.chip in CHIPS
    found = [c.value for c in coefficients() if (c.chip, c.event) == ("loihi1", "barrier")]
    barrier = band("loihi1", "time", "barrier")
    assert (barrier.low, barrier.high) == (min(found), max(found))
    assert band("loihi2", "energy", "synop") is None
    counts = dict.fromkeys(QUANTITIES, 0.0) | {"synops": 10.0, "synops_nonzero": 4.0}
    assert dynamic_energy("loihi2", counts) is None
    energy = dynamic_energy("loihi1", counts)
    assert energy.low == pytest.approx(4 * 23.6e-12)
    assert energy.high == pytest.approx(10 * 35.5e-12)


def test_a_step_waits_for_its_busiest_core():
    loads = (Load(0, "a"), Load(0, "b"), Load(1, "a"))
    clock = Clock(loads, 2)
    clock.add(np.array([[100, 900, 50]]), np.array([[1, 2, 3]]), np.array([[10, 20, 3000]]))
    found = clock.band("loihi2")
    assert found.low == pytest.approx(900 * 0.66e-9 + 50 * 0.66e-9 + 20e-6)
    high = (900 * 0.66e-9 + 20 * 4e-9) + (50 * 0.66e-9 + 3000 * 4e-9) + 20e-6
    assert found.high == pytest.approx(high)


# ----------------------------------------------------------------------------------------- levers


def exported(topology="predictive"):
    model = random_model()
    images = random_images(model, 24)
    return quantize(model, images, QuantizeConfig(topology=topology)), images


def test_a_dead_zone_silences_small_errors_alone():
    network, images = exported()
    assert error_variables(network) == ("errors.m",)
    plain = ReferenceEngine().run(network, images, 6, 0, record="full")
    same = ReferenceEngine().run(with_dead_zone(network, 0), images, 6, 0, record="full")
    for name in network.variables:
        assert np.array_equal(plain[name], same[name])
    sizes = np.abs(plain["errors.m"])
    threshold = int(np.median(sizes[sizes > 0]))
    changed = with_dead_zone(network, threshold)
    cut = ReferenceEngine().run(changed, images, 6, 0, record="full")
    # Until the first feedback differs, errors are the same.
    first = plain["errors.m"][:, 0]
    assert np.array_equal(cut["errors.m"][:, 0], np.where(np.abs(first) > threshold, first, 0))
    left = cut["errors.m"]
    assert not ((left != 0) & (np.abs(left) <= threshold)).any()
    assert np.count_nonzero(left) < np.count_nonzero(plain["errors.m"])
    equal_to_plain(changed, images[:2], 3)
    with pytest.raises(InputError, match="has one already"):
        with_dead_zone(changed, 3)


def test_levers_say_what_is_left_and_its_price():
    network, images = exported()
    cost = cost_of(network, images, steps=40, engine="reference", progress=False)
    levers = Levers(network, 40, until=True, dead_zone=[0, 20], activity=[0.1])
    until, none, zone, activity = levers.pull(cost, images, "reference", False)
    run = ReferenceEngine().run(network, images, 40, 0)
    stop = Frames(1, 40).settling(run.squared_error)[:, 0]
    assert until.iterations == stop.mean() < 40
    kept = sum(run.spikes[n, :t].sum() for n, t in enumerate(stop))
    ends = cost.final[:, list(QUANTITIES).index("spikes")].sum()
    assert until.ratio["spikes"] == pytest.approx((kept + ends) / (run.spikes.sum() + ends))
    error = run.squared_error * run.error_unit
    at_stop = error[np.arange(len(stop)), stop - 1].mean()
    assert until.mse == pytest.approx(at_stop)
    assert until.mse_percent == pytest.approx(100 * (at_stop / error[:, -1].mean() - 1))
    assert none.mse_percent == 0 and none.ratio["messages"] == 1
    assert none.ratio["operations"] > 1
    assert zone.ratio["messages"] < 1
    found = ReferenceEngine().run(with_leak(network, activity.factor), images, 40, 0)
    assert activity.reached == pytest.approx((found.active / 24).mean())
    assert activity.reached == pytest.approx(0.1, rel=0.1)


def test_levers_are_compared_on_the_same_cores():
    network = toy.predictive()
    images = pixels(network)
    cost = cost_of(network, images, steps=6, engine="reference", cores=SPLIT, progress=False)
    (lever,) = Levers(network, 6, dead_zone=[0]).pull(cost, images, "reference", False)
    assert lever.ratio["packets"] == 1


def test_inputs_of_a_placed_network_belong_to_the_host():
    pytest.importorskip("torch", reason="needs torch")
    images = family_images(8)
    network = quantize(family_model("pvae-mlp"), images)
    cost = cost_of(
        network, images, steps=1, engine="reference", cores=place(network), progress=False
    )
    sent = cost.of_core("host")[:, list(QUANTITIES).index("messages")]
    assert np.array_equal(sent, np.count_nonzero(network.input.encode(images), axis=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dead_zone": [3]}, "no error neurons"),
        ({"activity": [1.0]}, "above 0 and below 1"),
        ({"activity": [float("nan")]}, "above 0 and below 1"),
        ({"until": True}, "more iterations than the window of 16, got 8"),
    ],
)
def test_a_lever_that_a_network_cannot_have_is_refused_first(options, message):
    with pytest.raises(InputError, match=message):
        Levers(exported("lateral")[0], 8, **options)


def test_signed_codes_are_no_errors():
    pytest.importorskip("torch", reason="needs torch")
    images = family_images(8)
    model = family_model("lca")
    for topology, errors in (("predictive", ("errors.m",)), ("lateral", ())):
        assert error_variables(quantize(model, images, QuantizeConfig(topology))) == errors


# ------------------------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost")
    for topology in ("lateral", "predictive"):
        network, images = exported(topology)
        save_artifact(network, images[:2], folder / f"{topology}.onnx")
    np.save(folder / "x.npy", images)
    return folder


def test_the_verb_prints_tables_and_json(files, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # In narrow tables, words are apart.
    command = ("cost", files / "predictive.onnx", "-i", files / "x.npy", "-t", "20", "-e")
    levers = ("--until", "--dead-zone", "8,16", "--activity", "0.2")
    code, out, err = run_cli(capsys, *command, "reference", *levers, "--json", files / "cost.json")
    assert code == 0, err
    for text in ("synops_nonzero", "latents", "Effective_MACs", "no source", "dead zone 16"):
        assert text in out
    found = json.loads((files / "cost.json").read_text())
    network, images = exported("predictive")
    cost = cost_of(network, images, steps=20, engine="reference", progress=False)
    assert "sanafe/examples/loihi.yaml; Davies" in " ".join(out.split())
    own = {"levers": [], "board": None}
    assert {**found, **own} == json.loads(json.dumps({**cost.to_dict(), **own}))
    assert [each["name"] for each in found["levers"]] == [
        "until", "dead_zone", "dead_zone", "activity",
    ]  # fmt: skip
    assert found["chips"]["loihi2"]["dynamic_joules"] is None
    assert found["neurobench"]["Footprint"] > network.connection_of["prediction"].weight.nbytes
    board = ("--board", "oheo-gulch", "--json", "-")
    code, out, err = run_cli(capsys, *command, "reference", *board)
    placed = json.loads(out)
    assert code == 0 and placed["levers"] == []
    assert placed["board"] == {"name": "oheo-gulch", "limits": "cautious", "given": {}}
    assert set(placed["cores"]) == {"core 0", "core 1"}
    placement = place(network, "oheo-gulch")
    again = cost_of(network, images, steps=20, engine="reference", cores=placement, progress=False)
    assert placed["cores"] == json.loads(json.dumps(again.to_dict()["cores"]))


def test_what_is_not_known_or_not_reached_is_said(files, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # In narrow tables, words are apart.
    command = ("cost", files / "predictive.onnx", "-i", files / "x.npy", "-t", "4", "-n", "1")
    levers = ("--dead-zone", "8", "--activity", "0.999", "--limit", "neurons=4", "-b", "oheo-gulch")
    code, out, err = run_cli(capsys, *command, "-e", "reference", *levers)
    assert code == 0, err
    assert re.search(r"dead zone 8 .* % +– ", out)
    assert re.search(r"activity 0\.999: 0\.\d+ at best", out)
    assert "core 8" in out and "nan" not in out


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("lateral", ["--dead-zone", "3"], "no error neurons"),
        ("lateral", ["--limit", "synapse=8"], "--board too"),
        ("lateral", ["--limits", "largest"], "--board too"),
        ("predictive", ["--dead-zone", "3,x"], "--dead-zone: expected whole numbers"),
        ("predictive", ["--dead-zone", "-3"], "dead zone: expected 0 to"),
        ("predictive", ["--activity", ""], "--activity: expected shares"),
        ("predictive", ["--activity", "2"], "above 0 and below 1"),
        ("predictive", ["--until"], "more iterations than the window"),
        ("predictive", ["--dead-zone", "3,3"], "each number once"),
        ("missing", [], "missing.onnx"),
        ("predictive", ["--board", "oheo"], "oheo-gulch"),
    ],
)
def test_bad_input_is_one_line(files, capsys, model, options, message):
    command = ("cost", files / f"{model}.onnx", "-i", files / "x.npy", "-t", "4", "-q", "-e")
    code, out, err = run_cli(capsys, *command, "reference", *options)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("error: ")
    assert re.search(re.escape(message), err), err
