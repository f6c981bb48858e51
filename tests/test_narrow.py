"""Weights of two mantissas, units by latent, rounding that compensates, search of exponents."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from cli_tools import run_cli
from models import random_images, random_model, sound_images, sound_model

from pvae_neuro import QuantizeConfig, certify, get_engine, load_artifact, quantize, verify
from pvae_neuro.errors import InputError, QualityError
from pvae_neuro.export import export_model
from pvae_neuro.exporters.compensation import compensated
from pvae_neuro.exporters.lowerings.lateral import lateral_weights
from pvae_neuro.exporters.scales import column_exponents, halves, mantissas
from pvae_neuro.narrow import Trial, narrowest, pareto
from pvae_neuro.narrow.trials import Trials
from pvae_neuro.network import Population, Sampler, Variable, shared, trace
from pvae_neuro.network.interpreter import run_program
from pvae_neuro.network.program import reading
from pvae_neuro.saved.model_file import save_model
from pvae_neuro.sim.reference import FORMULAS

MODEL = random_model()
IMAGES = random_images(MODEL, 16)
ENGINES = ["reference", "fast", "onnx"]
OPTIONS = [
    QuantizeConfig("lateral", 9),
    QuantizeConfig("lateral", 16),
    QuantizeConfig("predictive", 11),
    QuantizeConfig("predictive", 16),
    QuantizeConfig("predictive", 8, latent_units=True, compensate=True),
    QuantizeConfig("predictive", 3, latent_units=True, search=True),
]


def spread_model(factor=7.0):
    """Latents whose weights differ in size, as trained ones do."""
    sizes = np.geomspace(1 / factor, 1.0, MODEL.config.latents).astype(np.float32)
    return replace(MODEL, arrays={**MODEL.arrays, "dictionary": MODEL.dictionary * sizes})


@pytest.mark.parametrize("place, options", list(enumerate(OPTIONS)), ids=str)
def test_engines_compute_equal_integers(place, options):
    config = MODEL.config.model_copy(update={"inner_updates": 1 + place % 2})
    network = quantize(replace(spread_model(), config=config), IMAGES, options)
    certify(network)
    report = verify(network, None, IMAGES[:4], steps=6, engines=ENGINES, progress=False)
    assert not any(pair.differing_integers for pair in report.pairs), report.failures
    assert all(pair.compared_integers for pair in report.pairs)


@pytest.mark.parametrize("bits", [9, 12, 16])
def test_two_mantissas_are_one_weight(bits):
    network = quantize(MODEL, IMAGES, QuantizeConfig("lateral", bits))
    parts = [network.connection_of[name] for name in ("lateral", "lateral_fine")]
    assert parts[0].exponent - parts[1].exponent == bits - 8
    held = sum(c.weight.astype(float) * 2.0**c.exponent for c in parts)
    exact = -lateral_weights(MODEL) * 2.0**14
    np.fill_diagonal(exact, 0)
    assert np.abs(held - exact).max() <= 2.0 ** parts[1].exponent


def test_halves_keep_every_mantissa_but_one_rest():
    for fine_bits in range(1, 9):
        most = (127 << fine_bits) + min(127, 1 << fine_bits >> 1)
        whole = np.arange(-most, most + 1).astype(float)
        coarse, fine = halves(whole, fine_bits)
        lost = np.abs(coarse * 2.0**fine_bits + fine - whole)
        assert lost.max() == (fine_bits == 8)
        assert np.array_equal(lost > 0, (fine_bits == 8) & (np.abs(whole) % 256 == 128))


@pytest.mark.parametrize("topology, name", [("lateral", "lateral"), ("predictive", "dictionary")])
def test_a_choice_says_by_which_rule(topology, name):
    words = {8: "finest unit of 8 bits with few saturated", 9: "unit of 9 bits with the least sq"}
    for bits, begin in words.items():
        network = quantize(MODEL, IMAGES, QuantizeConfig(topology, bits))
        choice = next(c for c in network.choices if c.name == f"{name} exponent")
        assert choice.why.startswith(begin) and " up to " in choice.why


def test_a_wide_predictive_network_reads_out_both_mantissas():
    network = quantize(MODEL, IMAGES, QuantizeConfig("predictive", 14))
    coarse, fine = (network.connection_of[n].weight for n in ("prediction", "prediction_fine"))
    assert np.array_equal(network.readout.weight, coarse.astype(int) * 64 + fine)
    unit = 2.0**-network.readout.frac_bits
    assert np.abs(network.readout.weight * unit - MODEL.dictionary).max() <= unit / 2


def test_a_latent_has_a_unit_of_its_own():
    model = spread_model(40.0)
    network = quantize(model, IMAGES, QuantizeConfig("predictive", 5, latent_units=True))
    latents, weight = network.population_of["latents"], network.connection_of["prediction"].weight
    spread = latents.constant("spread")
    assert spread.min() == 0 and spread.max() >= 4
    units = 2.0 ** (spread - network.readout.frac_bits)
    assert np.abs(weight * units - model.dictionary).max() <= units.max() / 2
    error, whole = (
        np.square(each - model.dictionary).sum()
        for each in (
            weight * units,
            dequantized(quantize(model, IMAGES, QuantizeConfig("predictive", 5))),
        )
    )
    assert error < whole / 2
    run = get_engine("reference").run(network, IMAGES[:3], 5, record="full")
    assert np.array_equal(run["latents.sent"], run["latents.z"] << spread)


def dequantized(network):
    return network.connection_of["prediction"].weight * 2.0**-network.readout.frac_bits


@pytest.mark.parametrize("compensate", [False, True])
def test_weights_that_fit_stay_what_they_are(compensate):
    options = QuantizeConfig("predictive", 4, latent_units=True, compensate=compensate)
    first = quantize(spread_model(), IMAGES, options)
    spread = first.population_of["latents"].constant("spread")
    held = dequantized(first) * 2.0**spread
    again = replace(spread_model(), arrays={**MODEL.arrays, "dictionary": held.astype(np.float32)})
    second = quantize(again, IMAGES, options)
    moved = second.population_of["latents"].constant("spread")
    assert np.array_equal(dequantized(second) * 2.0**moved, held)


def test_rounding_together_lowers_the_error_of_sums():
    rng = np.random.default_rng(0)
    sent = rng.poisson(rng.gamma(0.5, 2.0, (400, 1)) * rng.uniform(0, 1, 24), (400, 24)).astype(
        float
    )
    moments = sent.T @ sent / len(sent)
    weight = rng.normal(0, 2, (40, 24))
    together, alone = compensated(weight, 7, moments), np.clip(np.rint(weight), -7, 7)
    assert np.array_equal(together, np.rint(together)) and np.abs(together).max() <= 7
    errors = [np.square(sent @ (each - weight).T).mean() for each in (together, alone)]
    assert errors[0] < 0.6 * errors[1]
    assert np.array_equal(compensated(np.rint(alone), 7, moments), alone)
    assert np.array_equal(compensated(weight, 7, np.zeros((24, 24))), alone)


def test_columns_take_the_unit_of_least_error():
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (200, 3)) * np.array([1.0, 0.1, 0.0])
    found = column_exponents(values, 7, -31)
    assert found[0] > found[1] == found[2]
    for column, exponent in enumerate(found[:2]):
        errors = {
            e: np.square(mantissas(values[:, column], e, 7) * 2.0**e - values[:, column]).sum()
            for e in range(-8, 4)
        }
        assert errors[exponent] == min(errors.values())
    assert np.array_equal(column_exponents(np.zeros((4, 2)), 7, -5), [-5, -5])


def test_a_search_says_what_it_tried():
    network = quantize(spread_model(40.0), IMAGES, QuantizeConfig("predictive", 3, search=True))
    choice = next(c for c in network.choices if c.name == "step of the exponent of prediction")
    assert "+0: +0.00 %" in choice.why and f"{choice.value:+.0f}: " in choice.why
    plain = quantize(spread_model(40.0), IMAGES, QuantizeConfig("predictive", 3))
    moved = network.readout.frac_bits - plain.readout.frac_bits
    assert moved == -choice.value


def test_a_program_reads_what_a_rule_makes():
    def rule(n):
        n.u = n.max(n.a, n.composite("exp", n.b, build=lambda: n.shl(n.b, 1)))

    program = reading(
        trace(rule), "a", lambda n: n.a + n.composite("exp", n.c, build=lambda: n.c & 1)
    )
    population = Population("p", 2, (Variable("u", shared(0)),), (), (program,), Sampler(1, 4))
    values = {name: np.array([[v, v]]) for name, v in (("u", 0), ("a", 5), ("b", 3), ("c", 3))}
    assert run_program(population, program, values, FORMULAS, {})["u"].tolist() == [[6, 6]]
    functions = {"exp": lambda value: 10 * value}
    found = run_program(population, program, values, FORMULAS, {}, functions=functions)
    assert found["u"].tolist() == [[35, 35]]


@pytest.mark.parametrize("options", [OPTIONS[1], OPTIONS[4]], ids=str)
def test_networks_are_exported_and_loaded(tmp_path, options):
    result = export_model(
        sound_model(), tmp_path / "m.onnx", sound_images(40), options, stability_steps=50
    )
    assert load_artifact(tmp_path / "m.onnx").network == result.network
    assert result.report.float_result.mse.value < 0.5


@pytest.mark.parametrize(
    "options, words",
    [
        (QuantizeConfig("lateral", latent_units=True), "latent_units: the circuit 'lateral'"),
        (QuantizeConfig("lateral", compensate=True), "compensate: the circuit 'lateral'"),
        (QuantizeConfig("predictive", 9, latent_units=True), "at most 8 bits, got 9"),
    ],
)
def test_options_that_a_circuit_does_not_have_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        quantize(MODEL, IMAGES, options)


def test_a_search_needs_two_inputs():
    with pytest.raises(InputError, match="search: expected at least 2"):
        quantize(MODEL, IMAGES[:1], QuantizeConfig("predictive", search=True))


# ------------------------------------------------------------------------ widths that are found


@pytest.fixture(scope="module")
def sound():
    """A model, and inputs: 64 that set the scales, and as many that choose and judge."""
    return sound_model(), sound_images(128)


def test_the_narrowest_widths_are_within_the_tolerance(sound):
    model, images = sound
    found = narrowest(model, images, 3.0, QuantizeConfig("predictive"), steps=16, progress=False)
    assert (found.scaled_by, found.chosen_on, found.judged_on) == (64, 32, 32)
    assert found.config.compensate and found.config.weight_bits < 8 and found.config.frac_bits < 14
    assert found.judged.bound <= 3.0 and found.trials[-1] == found.judged
    tried = {(t.weight_bits, t.frac_bits): t for t in found.trials[:-1]}
    assert tried[found.config.weight_bits - 1, 14].bound > 3.0
    assert json.loads(json.dumps(found.to_dict()))["judged"]["mse_percent"] < 3.0


def test_what_chance_chose_gives_way_to_the_next_wider_one(sound, monkeypatch):
    model, images = sound

    def of(trials, config):
        bits, judging = config.weight_bits, bool(len(seen) and seen[-1] is not trials)
        if not seen or judging:
            seen.append(trials)
        percent = 0.0 if bits >= (5 if len(seen) == 1 else 7) else 9.0
        return Trial("predictive", bits, config.frac_bits, 1.0, 0.5, percent, 0.1, 0.0), None

    seen = []
    monkeypatch.setattr(Trials, "of", of)
    found = narrowest(model, images, 1.0, QuantizeConfig("predictive"), steps=4, progress=False)
    assert (found.config.weight_bits, found.config.frac_bits) == (7, 14)


@pytest.mark.parametrize("topology", ["predictive", "lateral"])
def test_a_tolerance_that_nothing_meets_says_the_best(sound, topology):
    model, images = sound
    with pytest.raises(QualityError, match=r"best found, \d+ weight bits, 4 fr") as error:
        config = QuantizeConfig(topology, frac_bits=4)
        narrowest(model, images, 1e-6, config, steps=8, stability_steps=8, progress=False)
    assert error.value.remedy == "tolerance"


@pytest.mark.parametrize(
    "inputs, options, words",
    [
        (67, {}, "at least 68 inputs"),
        (80, {"tolerance": 0.0}, "above 0"),
        (80, {"steps": 1}, "steps"),
    ],
)
def test_narrowest_refuses(sound, inputs, options, words):
    with pytest.raises(InputError, match=words):
        narrowest(sound[0], sound[1][:inputs], **options, progress=False)


def test_pareto_measures_and_counts(sound):
    model, images = sound
    found = pareto(
        model, images[:64], images[64:80], weight_bits=(2, 8, 12), frac_bits=(8, 14), steps=8,
        latent_units=True, compensate=True, stability_steps=8, progress=False,
    )  # fmt: skip
    widths = [(p.trial.topology, p.trial.weight_bits, p.trial.frac_bits) for p in found.points]
    widths += [(t.topology, t.weight_bits, t.frac_bits) for t in found.refused]
    assert len(set(widths)) == 2 * 3 * 2
    by_width = dict(zip(widths, found.points, strict=False))
    narrow, wide = by_width["predictive", 2, 14], by_width["predictive", 12, 14]
    assert narrow.weight_bytes < wide.weight_bytes / 5 and narrow.trial.mse > wide.trial.mse
    assert by_width["predictive", 12, 8].state_bytes < wide.state_bytes
    assert all(p.synops > 0 and p.messages > 0 for p in found.points)
    best = [p for p in found.points if p.best]
    assert best and best == [
        p for p in found.points
        if not any(q.kilobytes <= p.kilobytes and q.trial.mse < p.trial.mse for q in found.points)
    ]  # fmt: skip
    assert len(json.loads(json.dumps(found.to_dict()))["points"]) == len(found.points)


def test_pareto_refuses(sound):
    model, images = sound
    with pytest.raises(InputError, match="expected at least one width"):
        pareto(model, images[:64], images[64:], weight_bits=(), progress=False)
    with pytest.raises(InputError, match="topology: expected one of predictive, lateral"):
        pareto(model, images[:64], images[64:], circuits=["ring"], progress=False)
    with pytest.raises(InputError, match="at least 2 inputs to measure on"):
        pareto(model, images[:64], images[:1], steps=4, progress=False)


# ------------------------------------------------------------------------------ command line


@pytest.fixture(scope="module")
def files(tmp_path_factory, sound):
    folder = tmp_path_factory.mktemp("narrow")
    save_model(sound[0], folder / "m.safetensors")
    np.save(folder / "x.npy", sound[1])
    return folder


@pytest.fixture
def no_compiling(monkeypatch):
    """An engine that begins at once; all compute equal integers."""
    monkeypatch.setattr(
        "pvae_neuro.narrow.trials.fastest_engine", lambda network: get_engine("reference")
    )


def test_export_finds_widths(files, tmp_path, capsys, no_compiling):
    command = ("export", files / "m.safetensors", "--calibrate", files / "x.npy", "-o")
    options = ("--weight-bits", "auto", "--tolerance", "4%", "--json", tmp_path / "j.json")
    options += ("--latent-units", "--frac-bits", 10)
    code, out, _ = run_cli(capsys, *command, tmp_path / "m.onnx", *options)
    assert code == 0 and "on 32 held-out inputs: " in out
    few = "chose the widths: 32, judged: 32; few: --calibrate with at least 1,344 training inputs"
    assert few in out
    found = json.loads((tmp_path / "j.json").read_text())["narrowest"]
    network = load_artifact(tmp_path / "m.onnx").network
    assert found["judged"]["mse_percent"] <= 4 and found["few_inputs"]
    assert found["frac_bits"] == network.latents.sampler.frac_bits
    most = np.abs(network.connection_of["prediction"].weight.astype(int)).max()
    assert most < 1 << (found["weight_bits"] - 1)


@pytest.mark.parametrize(
    "options, code, words",
    [
        (("--weight-bits", "auto", "--tolerance", "0.00001%", "--frac-bits", 4), 1, "--tolerance"),
        (("--weight-bits", "auto", "--tolerance", "much"), 2, "percent such as 1%"),
        (("--weight-bits", "wide"), 2, "2 to 16, or auto"),
        (("--tolerance", "1%"), 2, "--weight-bits auto"),
    ],
)
def test_export_refuses_and_writes_nothing(files, tmp_path, capsys, options, code, words):
    command = ("export", files / "m.safetensors", "--calibrate", files / "x.npy", "-q", "-o")
    found, _, err = run_cli(capsys, *command, tmp_path / "m.onnx", *options)
    assert found == code and words in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_pareto_writes_a_figure_and_json(files, tmp_path, capsys, no_compiling):
    figure, content = tmp_path / "p.svg", tmp_path / "p.json"
    code, out, _ = run_cli(
        capsys, "pareto", files / "m.safetensors", "-i", files / "x.npy", "-n", 4, "-o", figure,
        "--calibrate", files / "x.npy", "--weight-bits", "3,8", "--steps", 2, "--json", content,
        "--topology", "predictive", "--latent-units",
    )  # fmt: skip
    assert code == 0 and "4 images, 2 iterations" in out
    assert figure.read_text().count("bits of a weight") == 2
    points = json.loads(content.read_text())["points"]
    assert [p["weight_bits"] for p in points] == [3, 8]
    assert points[1]["kilobytes"] > points[0]["kilobytes"] > 0


@pytest.mark.parametrize(
    "options, words",
    [
        (("--weight-bits", "few"), "--weight-bits: expected numbers such as 4,6,8"),
        (("--weight-bits", "8,99"), "weight_bits: expected a whole number from 2 to 16, got 99"),
        (("-o", "p.gif"), "one of .svg, .png, .pdf"),
        (("--topology", "ring"), "predictive, lateral"),
    ],
)
def test_pareto_refuses_on_the_command_line(files, capsys, options, words):
    command = ("pareto", files / "m.safetensors", "-i", files / "x.npy", "--steps", 2, "-q")
    code, _, err = run_cli(capsys, *command, "--calibrate", files / "x.npy", *options)
    assert code == 2 and words in err and err.count("\n") == 1
