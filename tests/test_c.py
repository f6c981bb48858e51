"""The C library of a network, and the engine that compiles and runs it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from cli_tools import make_files, run_cli
from language_tools import small_network, small_parts
from models import sound_images, sound_model

import pvae_neuro as pn
from pvae_neuro.errors import EngineError, EngineUnavailableError, InputError, NetworkError
from pvae_neuro.exporters.c import c_source, check_library_folder, layout_of
from pvae_neuro.exporters.c.names import identifiers
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.c_kernel import compiler
from pvae_neuro.sim.engine import get_engine
from pvae_neuro.verification.search import trials

SEED = 15
IMAGES = np.random.default_rng(0).random((3, 6))


def c_engine():
    engine = get_engine("c")
    try:
        engine.require()
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    return engine


def make(folder, *targets, compiler=None):
    if shutil.which("make") is None:
        pytest.skip("needs make")
    named = [] if compiler is None else [f"CC={compiler}"]
    return subprocess.run(
        ["make", "-C", str(folder), *named, "CFLAGS=-O1 -Werror -Wconversion", *targets],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


# ------------------------------------------------------------------------------- the library


def test_a_library_builds_without_a_warning_and_computes_its_golden_vector(tmp_path):
    c_engine()
    folder = pn.write_c(small_network(), tmp_path / "c", IMAGES[:2])
    done = make(folder, "libsmall.so", "test")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:][0].startswith("golden vector: 2 samples, 9 steps, all")
    assert (folder / "libsmall.so").exists()


def test_a_wrong_weight_is_named_by_the_test(tmp_path):
    c_engine()
    folder = pn.write_c(small_network(), tmp_path, IMAGES[:1])
    path = folder / "small_weights.c"
    text = path.read_text()
    row = "/* weights.given */\nstatic const int8_t array_1[3] = {\n"
    assert f"{row}1,1,1" in text
    path.write_text(text.replace(f"{row}1,1,1", f"{row}1,1,9"))
    done = make(folder, "test")
    assert done.returncode == 2
    assert re.search(r"in step 0, neuron \d of sample 0: expected -?\d+, got -?\d+", done.stdout)


def test_the_listing_is_recognized():
    source = c_source(small_network())["small.c"]
    assert "/* hidden.hear(sent) */\nvoid small_hidden_hear(" in source
    lines = [line.strip() for line in source.splitlines()]
    at = lines.index("const int32_t t0 = sent + bias;")
    assert lines[at + 1 : at + 3] == [
        "const int32_t t1 = t0 > low ? t0 : low;",
        "const int32_t t2 = t1 < high ? t1 : high;",
    ]
    order = [
        "/* cells.fire */",
        "/* hidden.hear <- forward, given */",
        "/* cells.integrate <- back */",
    ]
    places = [lines.index(line) for line in order]
    assert places == sorted(places)


def test_the_source_holds_no_float_no_heap_and_no_weights():
    network = small_network()
    source = c_source(network)["small.c"]
    for word in ("float", "double", "malloc", "static int", "#include <s"):
        assert word not in source.replace("static int32_t", "")
    # The same code runs other weights and other constants per neuron.
    parts = small_parts()
    forward = parts["connections"][0]
    other = replace(forward, weight=-forward.weight)
    connections = (
        other,
        replace(parts["connections"][1], weight=other.weight.T),
        *parts["connections"][2:],
    )
    changed = IntegerNetwork(**parts | {"connections": connections})
    assert c_source(changed)["small.c"] == source
    assert c_source(changed)["small_weights.c"] != c_source(network)["small_weights.c"]


def test_weights_are_stored_once():
    layout = layout_of(small_network())
    stored = [path for path in layout.data if path[0] == "weights"]
    assert stored == [("weights", "forward"), ("weights", "given")]


def test_names_become_different_identifiers():
    assert identifiers(["a-b", "a_b", "int", "int_", "_x", "é"][:5]) == {
        "a-b": "a_b", "a_b": "a_b_", "int": "int_", "int_": "int__", "_x": "x_x",
    }  # fmt: skip


def test_names_of_the_code_may_be_those_of_the_network():
    engine = c_engine()
    parts = small_parts()
    taken = {"drive": "state", "cells": "data", "hidden": "int"}
    populations = tuple(replace(p, name=taken[p.name]) for p in parts["populations"])
    connections = tuple(
        replace(c, name="neuron-1" if c.name == "given" else c.name, source=taken[c.source],
                target=taken[c.target])
        for c in parts["connections"]
    )  # fmt: skip
    iteration = tuple(
        replace(a, population=taken[a.population],
                connections=tuple("neuron-1" if n == "given" else n for n in a.connections))
        for a in parts["iteration"]
    )  # fmt: skip
    network = IntegerNetwork(
        **parts
        | {
            "name": "dense",
            "encodings": (replace(parts["encodings"][0], population="state"),),
            "populations": populations,
            "connections": connections,
            "iteration": iteration,
            "final": (replace(parts["final"][0], population="data"),),
            "readout": replace(parts["readout"], population="data"),
        }
    )
    run = [e.run(network, IMAGES, 4, record="full", progress=False)
           for e in (get_engine("reference"), engine)]  # fmt: skip
    for name, expected in run[0].variables.items():
        np.testing.assert_array_equal(run[1][name], expected)


def test_a_name_is_an_identifier():
    assert set(c_source(small_network(), "mine")) == {
        "mine.h", "mine.c", "mine_weights.c", "mine.txt",
    }  # fmt: skip
    for name in ("", "../mine", "a b", "3d", "int"):
        with pytest.raises(InputError, match="name: expected an identifier of C, got"):
            c_source(small_network(), name)


def test_a_network_without_proof_is_refused():
    cells = small_parts()["populations"][1]
    wide = replace(cells, variables=(replace(cells.variables[0], bits=4), cells.variables[1]))
    populations = tuple(wide if p.name == "cells" else p for p in small_parts()["populations"])
    with pytest.raises(NetworkError, match=r"cells\.integrate"):
        c_source(IntegerNetwork(**small_parts(populations=populations)))


# -------------------------------------------------------------------------------- the folder


def test_an_earlier_library_is_replaced_and_nothing_else(tmp_path):
    folder = pn.write_c(small_network(), tmp_path / "deep" / "c", IMAGES[:1], name="one")
    (folder / "libone.so").write_bytes(b"built")
    assert pn.write_c(small_network(), folder, IMAGES[:1], name="two") == folder
    assert {p.name for p in folder.iterdir()} == {
        "two.h", "two.c", "two.txt", "two_weights.c", "two_golden.h", "two_test.c", "Makefile",
    }  # fmt: skip
    assert [p.name for p in folder.parent.iterdir()] == ["c"]
    notes = folder / "notes.txt"
    notes.write_text("mine")
    before = {p: p.read_bytes() for p in folder.iterdir()}
    for check in (check_library_folder, lambda f: pn.write_c(small_network(), f, IMAGES[:1])):
        with pytest.raises(InputError, match=r"holds 'notes.txt', which would be lost"):
            check(folder)
    assert {p: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == ["c"]


def test_a_folder_of_somebody_elses_and_a_file_are_refused(tmp_path):
    (tmp_path / "Makefile").write_text("libsmall.so:\n")
    with pytest.raises(InputError, match="holds 'Makefile', which would be lost"):
        pn.write_c(small_network(), tmp_path, IMAGES[:1])
    with pytest.raises(InputError, match="is a file; expected the name of a folder"):
        pn.write_c(small_network(), tmp_path / "Makefile", IMAGES[:1])
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "other").symlink_to(tmp_path)
    with pytest.raises(InputError, match="holds 'other', which would be lost"):
        pn.write_c(small_network(), tmp_path / "linked", IMAGES[:1])


# -------------------------------------------------------------------------------- the engine


@pytest.mark.parametrize("structure", range(12))
def test_engine_equals_reference_on_random_networks(structure):
    engine = c_engine()
    (trial,) = trials(SEED, 1, first=structure)
    assert not engine.unsupported(trial.network)
    assert trial.difference(engine) is None


def test_a_spoiled_operation_is_found(monkeypatch):
    from pvae_neuro.exporters.c import operations

    engine = c_engine()
    monkeypatch.setitem(operations.EXPRESSIONS, "max", "{0} > {1} ? {1} : {0}")
    with_max = (t for t in trials(SEED, 20) if "max" in t.network.operations)
    assert any(trial.difference(engine) is not None for trial in with_max)


def test_no_compiler_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("CC", "")
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    with pytest.raises(
        EngineUnavailableError, match=r"expected a C compiler .*, got none; install"
    ):
        get_engine("c").require()
    monkeypatch.setenv("CC", "no-such-compiler -O1")
    with pytest.raises(EngineUnavailableError, match="in the variable CC, got 'no-such-compiler'"):
        get_engine("c").run(small_network(), IMAGES, 1)
    monkeypatch.setenv("CC", "cc '-O1")
    with pytest.raises(EngineUnavailableError, match="in the variable CC, got "):
        get_engine("c").require()


def test_a_compiler_that_fails_is_told(monkeypatch):
    monkeypatch.setenv("CC", "false")
    with pytest.raises(EngineError, match=r"false .* fails: exit code 1"):
        get_engine("c").run(small_network(), IMAGES, 1, progress=False)


# -------------------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An artifact, and the folder that a test may write into."""
    from pvae_neuro.artifact import save_artifact

    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    save_artifact(small_network(), IMAGES[:2], path)
    return path


def test_an_artifact_is_written_in_c(exported, tmp_path, capsys):
    folder = tmp_path / "c"
    code, out, _ = run_cli(capsys, "export", exported, "--c", folder, "--json", "-")
    assert code == 0
    content = json.loads(out)
    artifact = pn.load_artifact(exported)
    assert content == {
        "path": str(exported), "topology": "small", "program_hash": artifact.program_hash,
        "c": str(folder), "listing": None,
    }  # fmt: skip
    other = pn.write_c(artifact.network, tmp_path / "other", artifact.golden)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        p.name: p.read_bytes() for p in other.iterdir()
    }


def test_an_export_writes_both(tmp_path, capsys):
    files = make_files(tmp_path, sound_model(), sound_images(6), topologies=())
    code, out, _ = run_cli(
        capsys, "export", files / "model.safetensors", "--calibrate", files / "x.npy", "--accept",
        "-o", tmp_path / "m.onnx", "--c", tmp_path / "c", "--json", "-", "--stability-steps", 5,
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["c"] == str(tmp_path / "c")
    network = pn.load_artifact(tmp_path / "m.onnx").network
    assert (tmp_path / "c" / f"{network.name}.c").read_text() == c_source(network)[
        f"{network.name}.c"
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "is exported already; expected --c FOLDER, to write it in C"),
        (("--c", "new", "-o", "other.onnx"), "is exported already"),
        (("--c", "new", "--weight-bits", 4), "nothing else of an export, got --weight-bits"),
        (("--c", "new", "--key", "x"), "nothing else of an export, got --key"),
        (("--c", "new", "--listing", "new"), "--c and --listing: expected places apart, got new"),
        (("--c", "new/c", "--listing", "new"), "expected places apart, got new/c and new"),
        (("--c", "new", "--listing", "new/words"), "expected places apart"),
        (("--c", "full"), "holds 'mine', which would be lost"),
        (("--c", "full/mine"), "mine"),
    ],
)
def test_bad_options_write_nothing(exported, tmp_path, capsys, monkeypatch, options, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    code, _, err = run_cli(capsys, "export", exported, *options)
    assert code == 2
    assert err.count("\n") == 1
    assert expected in err
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["full", "mine"]


def test_a_float_model_needs_a_file_to_write(tmp_path, capsys):
    code, _, err = run_cli(capsys, "export", "mnist", "--c", tmp_path / "c")
    assert code == 2
    assert "--output: expected the name of an .onnx file" in err
    assert not list(tmp_path.iterdir())
