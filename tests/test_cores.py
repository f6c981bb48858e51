"""Networks as programs of many cores: phases, messages, memory, and the integers in emulation."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from cli_tools import run_cli
from language_tools import small_network, small_parts
from models import random_images, random_model

from pvae_neuro.artifact import save_artifact
from pvae_neuro.errors import InputError, NetworkError, PlacementError
from pvae_neuro.exporters.c import layout_of
from pvae_neuro.exporters.cores import COMMON, HOST, KERNEL, core_files, cut, memory_of, write_cores
from pvae_neuro.exporters.quantize import QuantizeConfig, quantize
from pvae_neuro.network import Activation
from pvae_neuro.placement.engine import PlacedEngine
from pvae_neuro.placement.split import split
from pvae_neuro.sim.c_kernel.compiler import ZIG, compiled
from pvae_neuro.sim.c_kernel.cores import Chip, CoresEngine, golden_run
from pvae_neuro.sim.c_kernel.processors import processor_of
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.verification.search import trials

SLICES = {
    "lateral": {"latents": ((0, 9), (9, 24))},
    "predictive": {"latents": ((0, 10), (10, 24)), "errors": ((0, 15), (15, 30))},
}
emulated = pytest.mark.skipif(
    not all(check.passed for check in CoresEngine().checks()),
    reason="needs ziglang and unicorn",
)


@pytest.fixture(scope="module")
def model():
    found = random_model()
    return found, random_images(found, 70)


def parts(model, topology):
    """A small model's network, split; and images."""
    network = quantize(model[0], model[1], QuantizeConfig(topology))
    return split(network, SLICES[topology]), model[1]


def assert_equal(engine, network, inputs, iterations, seed=0, first=0):
    runs = [
        e.run(network, inputs, iterations, seed, record="full", first_sample=first, progress=False)
        for e in (get_engine("reference"), engine)
    ]
    for name in network.variables:
        np.testing.assert_array_equal(runs[0][name], runs[1][name], err_msg=name)


def test_phases_end_where_another_core_is_read(model):
    lateral = cut(parts(model, "lateral")[0].network)
    assert (lateral.iteration_phases, lateral.phases) == (2, 3)
    assert [[str(a).partition(" ")[0] for a in phase] for phase in lateral.cores[1].phases] == [
        ["latents_1.fire"], ["latents_1.integrate"], ["latents_1.fire"],
    ]  # fmt: skip
    predictive = cut(parts(model, "predictive")[0].network)
    assert (predictive.iteration_phases, predictive.phases) == (3, 4)
    # On one core nothing has to be waited for.
    network = small_network()
    assert cut(network, [["cells", "hidden"]]).iteration_phases == 1
    assert cut(network).iteration_phases == 3


def test_links_say_who_sends_what_to_whom_and_when():
    links = {f"{x.population}.{x.variable}": x for x in cut(small_network()).links}
    assert [x.number for x in links.values()] == list(range(len(links)))
    assert {n: (x.source, x.targets, x.phases) for n, x in links.items()} == {
        "drive.x": (HOST, (1,), ()),
        "cells.word": (HOST, (0,), ()),
        "cells.z": (0, (HOST, 1), (0, 3)),
        "hidden.a": (1, (0,), (1,)),
    }


@pytest.mark.parametrize("cores", [[["cells"]], [["cells"], ["cells", "hidden"]], [["cells", "b"]]])
def test_every_population_has_one_core(cores):
    with pytest.raises(NetworkError, match=r"^cores: expected each of "):
        cut(small_network(), cores)


def test_a_population_that_messages_cannot_name_is_refused(monkeypatch):
    module = importlib.import_module("pvae_neuro.exporters.cores.cut")
    monkeypatch.setattr(module, "MOST_NEURONS", 3)
    with pytest.raises(NetworkError, match=r"cells\.z: expected at most 3 neurons .* got 4; split"):
        cut(small_network())


@emulated
@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_cores_compute_the_integers_of_reference(model, topology):
    placed, images = parts(model, topology)
    engine = PlacedEngine(placed, CoresEngine())
    assert_equal(engine, placed.source, images[:2], 12, seed=3, first=7)
    assert engine.inner.messages > 0
    frames = images[:6].reshape(1, 6, -1)
    assert_equal(engine, placed.source, frames, 3)


@emulated
def test_the_golden_run_of_a_package_is_what_cores_send(model):
    placed, images = parts(model, "predictive")
    network, engine = placed.network, CoresEngine()
    built = engine.built(network)
    golden = json.loads(json.dumps(golden_run(network, network.input.encode(images[0]), 5, 9)))
    names = {str(x.number): f"{x.population}.{x.variable}" for x in built.cut.links}
    chip = Chip(built, engine.processor)
    chip.start(golden["iterations"])
    for number, step in enumerate(golden["steps"]):
        host = {names[n]: np.array(values, np.int32) for n, values in step["host"].items()}
        assert len(host) == (2 if number else 4)
        chip.step(host, is_last=number == golden["iterations"])
        state = chip.state()
        for n, values in step["sent"].items():
            assert state[names[n]].tolist() == values
    expected = get_engine("reference").run(network, images[:1], 5, 9, record="last", progress=False)
    assert state["latents_1.z"].tolist() == expected.last["latents_1.z"][0].tolist()


@emulated
def test_a_core_may_hold_several_populations(model):
    placed, images = parts(model, "predictive")
    cores = [["latents_1", "errors_0"], ["errors_1", "latents_0"]]
    assert_equal(PlacedEngine(placed, CoresEngine(cores=cores)), placed.source, images[:1], 8)


@emulated
def test_random_networks_on_a_core_for_each_population():
    for trial in trials(5, 4):
        assert_equal(
            CoresEngine(), trial.network, trial.inputs, trial.iterations, trial.noise_seed,
            trial.first_sample,
        )  # fmt: skip


@emulated
def test_a_message_that_is_lost_is_seen(model, monkeypatch):
    """The comparison is of what cores are sent."""
    placed, images = parts(model, "lateral")
    outboxes = Chip._outboxes

    def lossy(chip):
        first, *others = outboxes(chip)
        return [first[:-1], *others]

    monkeypatch.setattr(Chip, "_outboxes", lossy)
    with pytest.raises(AssertionError, match="latents"):
        assert_equal(PlacedEngine(placed, CoresEngine()), placed.source, images[:1], 8)


@emulated
def test_memory_is_what_the_linker_makes_of_it(model):
    placed, _ = parts(model, "predictive")
    engine = CoresEngine()
    built = engine.built(placed.network)
    for core, layout, image in zip(built.cut.cores, built.layouts, built.images, strict=True):
        memory = memory_of(built.cut, core, layout)
        # Arrays lie at addresses of full words; variables of the core itself come on top.
        arrays, variables = memory.weights + memory.constants, memory.state + memory.buffers
        assert arrays <= image.constant_bytes <= arrays + 200
        assert variables + memory.outbox <= image.variable_bytes <= variables + memory.outbox + 64
        assert image.code_bytes < memory.code


@emulated
def test_the_sources_are_strict_c99(model):
    placed, _ = parts(model, "predictive")
    made = cut(placed.network)
    strict = ("-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-ffreestanding", "-nostdlib")
    target = processor_of("cortex-m4").target
    for core in made.cores[::2]:
        compiled(ZIG, (*target, *strict, "-r"), {**COMMON, **core_files(made, core)})


def test_a_package_has_a_folder_for_each_core(model, tmp_path):
    placed, _ = parts(model, "predictive")
    folder = write_cores(placed.network, tmp_path / "chip")
    manifest = json.loads((folder / "package.json").read_text("utf-8"))
    assert [c["folder"] for c in manifest["cores"]] == ["core_0", "core_1", "core_2", "core_3"]
    assert all(c["bytes"]["total"] <= manifest["core_bytes"] for c in manifest["cores"])
    for core in manifest["cores"]:
        names = {path.name for path in (folder / core["folder"]).iterdir()}
        assert names == {"kernel.h", "kernel.c", "kernel_weights.c", "kernel.txt", "messages.c"}
    assert {"cores.h", "main.c", "Makefile"} < {path.name for path in folder.iterdir()}
    # What was built there goes with the package; anything else stays, and is named.
    (folder / "core_3/core.o").write_bytes(b"")
    write_cores(placed.network, folder, [[p for p in placed.network.population_of if p[0] != "p"]])
    assert sorted(path.name for path in folder.glob("core_*")) == ["core_0"]
    (folder / "mine.c").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'mine\.c'"):
        write_cores(placed.network, folder)


def test_what_exceeds_a_core_is_refused(model, tmp_path):
    placed, _ = parts(model, "lateral")
    whole = layout_of(cut(placed.network).cores[1].circuit, KERNEL)
    memory = memory_of(cut(placed.network), cut(placed.network).cores[1], whole)
    assert memory.weights == 15 * 24 + 15
    with pytest.raises(
        PlacementError, match=r"^core 1, latents_1: .* at most .*\(weights 375, .*\); split its"
    ):
        write_cores(placed.network, tmp_path / "chip", core_bytes=memory.total - 1)
    assert not (tmp_path / "chip").exists()


def test_a_schedule_that_reads_within_one_core_stays_in_order():
    """Two activations that exchange their values on one core are one phase, in their order."""
    network = small_network(
        **{
            "iteration": (
                *small_parts()["iteration"],
                Activation("hidden", "hear", ("forward", "given")),
            )
        }
    )
    (core,) = cut(network, [["hidden", "cells"]]).cores
    assert [a.population for a in core.phases[0]] == ["cells", "hidden", "cells", "hidden"]


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("artifact") / "m.onnx"
    save_artifact(parts(model, "predictive")[0].source, model[1][:2], path)
    return path


def test_place_writes_a_package(artifact, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = ["place", artifact, "--board", "spinnaker2", "--package", "chip"]
    code, out, err = run_cli(capsys, *place, "--limit", "memory=17500", "--limit", "kernel=131072")
    assert code == 0, err
    assert "chip: a C program for each core" in out
    manifest = json.loads(Path("chip/package.json").read_text("utf-8"))
    assert manifest["core_bytes"] == 17500
    assert len(manifest["cores"]) > 2
    golden = json.loads(Path("chip/golden.json").read_text("utf-8"))
    numbers = {str(m["number"]) for m in manifest["messages"] if m["from"] != "host"}
    assert len(golden["steps"]) == golden["iterations"] + 1
    assert golden["steps"][-1]["sent"].keys() == numbers
    # The counts of a placement leave more to the reserve than a package does.
    code, out, err = run_cli(
        capsys, *place, "--limit", "memory=10900", "--limit", "kernel=80", "--json", "-"
    )
    assert code == 1
    assert "FAILED: core 0, " in err and err.count("\n") == 1
    assert json.loads(out)["fits"] is False
    assert json.loads(Path("chip/package.json").read_text("utf-8")) == manifest


def test_place_refuses_a_package_for_cores_that_run_no_c(artifact, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli(capsys, "place", artifact, "--package", "chip")
    assert (code, out) == (2, "")
    assert "the cores of oheo-gulch run no C" in err and err.count("\n") == 1
    Path("chip").mkdir()
    Path("chip/mine").write_text("mine")
    code, out, err = run_cli(
        capsys, "place", artifact, "--board", "spinnaker2", "--package", "chip"
    )
    assert (code, out) == (2, "")
    assert "holds 'mine'" in err


@pytest.mark.parametrize(
    ("option", "path"),
    [
        ("--json", "chip/x.json"),
        ("--json", "chip"),
        ("--output", "chip/cores.svg"),
        ("--placed", "chip/../chip/m.onnx"),
    ],
)
def test_place_refuses_outputs_inside_its_package(tmp_path, capsys, monkeypatch, option, path):
    monkeypatch.chdir(tmp_path)
    Path("m.onnx").write_text("Nothing reads it.")
    place = ["place", "m.onnx", "--board", "spinnaker2", "--package", "chip"]
    code, out, err = run_cli(capsys, *place, option, path)
    assert (code, out) == (2, "")
    assert f"--package and {option}: expected places apart, got chip and {path}" in err
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
