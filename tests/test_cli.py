"""The command line: what each verb writes, on tiny models."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cli_tools import make_files, run_cli
from models import sound_images, sound_model

from pvae_neuro.cli import main
from pvae_neuro.sim.reference import ReferenceEngine


@pytest.fixture
def cli(capsys):
    return partial(run_cli, capsys)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A float model, its inputs, and its export in both topologies."""
    return make_files(tmp_path_factory.mktemp("files"), sound_model(), sound_images(32))


def test_help_lists_every_verb(cli):
    code, out, _ = cli("--help")
    assert code == 0
    for verb in ("demo", "train", "import", "export", "inspect", "run", "verify", "evaluate"):
        assert verb in out
        assert cli(verb, "--help")[0] == 0


def test_version(cli):
    assert cli("--version")[1].startswith("pvae-neuro ")


def test_export_prints_certificate_and_hash(cli, files, tmp_path):
    code, out, _ = cli(
        "export", files / "model.safetensors", "-o", tmp_path / "m.onnx",
        "--calibrate", files / "x.npy", "--weight-bits", 6, "--json", tmp_path / "e.json",
    )  # fmt: skip
    content = json.loads((tmp_path / "e.json").read_text())
    assert code == 0
    assert "certificate" in out
    assert content["sha256"] in out
    assert content["certificate"]["rows"]


def test_inspect_describes_the_file(cli, files):
    code, out, err = cli("inspect", files / "lateral.onnx", "--json", "-")
    content = json.loads(out)
    assert code == 0
    assert content["topology"] == "lateral"
    u, z = content["populations"][1]["variables"]
    assert (u["name"], z["name"], z["low"]) == ("u", "z", 0)
    assert u["low"] < 0 < u["high"] < 1 << (u["bits"] - 1)
    assert {c["kind"] for c in content["connections"]} == {"one_to_one", "dense"}
    assert content["iteration"][0] == "latents.fire"
    assert content["certificate"]["rows"]
    assert content["choices"]
    assert content["sha256"] in err


def test_inspect_prints_the_listing(cli, files):
    from pvae_neuro.artifact import load_artifact
    from pvae_neuro.network import listing

    code, out, _ = cli("inspect", files / "predictive.onnx", "--program")
    assert code == 0
    assert out == listing(load_artifact(files / "predictive.onnx").network)
    code, out, _ = cli("inspect", files / "predictive.onnx", "--program", "--json", "-")
    assert "program compare(pixel, prediction)" in json.loads(out)["listing"]


def test_run_writes_what_the_engine_computes(cli, files, tmp_path):
    from pvae_neuro.artifact import load_artifact

    network = load_artifact(files / "predictive.onnx").network
    code, out, _ = cli(
        "run", files / "predictive.onnx", "--input", files / "x.npy", "--steps", 5,
        "--seed", 3, "-o", tmp_path / "out.npz",
    )  # fmt: skip
    expected = ReferenceEngine().run(network, np.load(files / "x.npy"), 5, 3, record="full")
    assert code == 0
    assert "32 samples, 5 iterations" in out
    with np.load(tmp_path / "out.npz") as written:
        assert sorted(written.files) == ["counts", "potentials", "reconstruction"]
        assert np.array_equal(written["counts"], expected["latents.z"][:, :-1])
        assert np.array_equal(written["potentials"], expected["latents.u"][:, :-1])
        assert np.array_equal(written["reconstruction"], expected.reconstruction)


@pytest.mark.parametrize("record", ["errors.m", "full", "latents.z, errors.m"])
def test_run_writes_further_variables(cli, files, tmp_path, record):
    from pvae_neuro.artifact import load_artifact

    network = load_artifact(files / "predictive.onnx").network
    out = tmp_path / "out.npz"
    command = ("run", files / "predictive.onnx", "-i", files / "x.npy", "-o", out, "--steps", 3)
    assert cli(*command, "--record", record)[0] == 0
    expected = ReferenceEngine().run(network, np.load(files / "x.npy"), 3, 0, record="full")
    with np.load(out) as written:
        assert sorted(written.files) == ["counts", "errors.m", "potentials", "reconstruction"]
        assert np.array_equal(written["errors.m"], expected["errors.m"])
    code, _, err = cli(*command, "--record", "errors.q")
    assert code == 2
    assert "'errors.q'" in err


@pytest.mark.parametrize("verb", ["run", "evaluate"])
def test_products_are_explained_and_chosen(cli, files, tmp_path, verb):
    pytest.importorskip("llvmlite", reason="the fast engine needs llvmlite")
    output = ["-o", tmp_path / "o.npz"] if verb == "run" else []
    command = (verb, files / "lateral.onnx", "-i", files / "x.npy", *output, "--steps", 3)
    code, _, said = cli(*command, "--engine", "fast", "--products", "events", "--explain")
    assert code == 0
    lines = [line for line in said.splitlines() if "active: " in line]
    assert [line.partition(":")[0] for line in lines] == ["lateral", "the readout"]
    assert all(line.endswith("takes events") for line in lines)
    code, out, _ = cli(*command, "--engine", "fast", "--explain", "--json", "-")
    assert code == 0
    assert "activity as of late" in json.loads(out)["explained"][0]
    code, _, said = cli(*command, "--engine", "reference", "--products", "events")
    assert code == 2
    assert "--products: not an option of the engine reference" in said


def test_run_takes_images_with_two_axes_and_any_output_name(cli, files, tmp_path):
    np.save(tmp_path / "square.npy", np.load(files / "x.npy").reshape(-1, 6, 5))
    code, _, _ = cli(
        "run", files / "lateral.onnx", "--input", tmp_path / "square.npy", "-o", tmp_path / "out"
    )
    assert code == 0
    assert (tmp_path / "out").is_file()


def test_clip_forces_inputs_into_the_declared_range(cli, files, tmp_path):
    np.save(tmp_path / "x.npy", 3 * np.load(files / "x.npy"))
    arguments = ("run", files / "lateral.onnx", "-i", tmp_path / "x.npy", "-o", tmp_path / "o.npz")
    assert cli(*arguments)[0] == 2
    assert cli(*arguments, "--clip")[0] == 0


@pytest.mark.parametrize("topology", ["lateral", "predictive"])
def test_verify_passes_and_writes_both_reports(cli, files, tmp_path, topology):
    pytest.importorskip("onnxruntime", reason="runs the graph in ONNX Runtime")
    code, out, err = cli(
        "verify", files / f"{topology}.onnx", "--model", files / "model.safetensors",
        "--input", files / "x.npy", "--json", tmp_path / "r.json",
        "--html", tmp_path / "r.html",
    )  # fmt: skip
    content = json.loads((tmp_path / "r.json").read_text())
    assert code == 0, err
    # The engine `fast` says that it compiles, unless its code is kept from an earlier process.
    said = {line.partition(":")[0] for line in err.splitlines()} - {"engine fast"}
    assert said == {"images"}
    assert content["passed"] is True
    assert content["pairs"][0]["differing_integers"] == 0
    compared = content["float_against_integer"]
    assert {"mse_float", "mse_integer", "zeros_float", "zeros_integer", "count_agreement"} <= set(
        compared
    )
    assert "reference = onnx" in out
    assert (tmp_path / "r.html").read_text().lstrip().startswith("<!doctype html>")


def test_verify_fails_with_exit_code_1_and_names_the_place(cli, files, monkeypatch):
    from pvae_neuro.sim import engine

    monkeypatch.setitem(engine.ENGINES, "faulty", "faulty_engines:WeightOffByOne")
    code, out, err = cli(
        "verify", files / "lateral.onnx", "--input", files / "x.npy", "--engines",
        "reference,faulty",
    )  # fmt: skip
    assert code == 1
    assert "FAILED" in out
    assert "differs first in iteration" in err
    assert "neuron" in err


def test_an_engine_that_was_asked_for_is_never_left_out(cli, files, monkeypatch):
    from pvae_neuro.sim import engine

    monkeypatch.setitem(engine.ENGINES, "extra", "test_cli:Extra")
    monkeypatch.setitem(sys.modules, "test_cli", sys.modules[__name__])
    monkeypatch.setattr(engine, "BY_SPEED", ("reference",))
    code, out, err = cli(
        "verify", files / "lateral.onnx", "-i", files / "x.npy", "--engines", "auto,extra"
    )
    assert code == 0, err
    assert "reference = extra" in out


class Extra(ReferenceEngine):
    name = "extra"


def test_auto_says_which_engine_it_passes_over(cli, files, tmp_path, monkeypatch):
    from pvae_neuro.sim import engine

    monkeypatch.setitem(engine.ENGINES, "broken", "test_cli:Broken")
    monkeypatch.setitem(sys.modules, "test_cli", sys.modules[__name__])
    monkeypatch.setattr(engine, "BY_SPEED", ("broken", "reference"))
    arguments = ("-i", files / "x.npy")
    for verb in (("run", "-o", tmp_path / "o.npz"), ("evaluate",), ("verify",)):
        code, _, err = cli(verb[0], files / "lateral.onnx", *arguments, *verb[1:])
        assert code == 0
        assert "engine broken is not used: it fails on this machine: no such luck" in err


class Broken(ReferenceEngine):
    name = "broken"

    def run_block(self, block):
        raise RuntimeError("no such luck")


def test_evaluate_float_and_integer(cli, files, tmp_path):
    for model in ("model.safetensors", "predictive.onnx"):
        code, out, _ = cli(
            "evaluate", files / model, "--input", files / "x.npy", "--steps", 4,
            "--json", tmp_path / "e.json",
        )  # fmt: skip
        content = json.loads((tmp_path / "e.json").read_text())
        assert code == 0
        assert "mse" in out
        assert [len(content[name]) for name in ("mse", "r2", "zeros")] == [4, 4, 4]


def test_long_paths_and_brackets_are_printed_as_they_are(cli, files, tmp_path):
    folder = tmp_path / ("long" * 30) / "[red]"
    target = folder / "out.npz"
    code, out, _ = cli("run", files / "lateral.onnx", "-i", files / "x.npy", "-o", target)
    assert code == 0
    assert str(target) in out


def test_quiet_prints_nothing(cli, files):
    assert cli("inspect", files / "lateral.onnx", "--quiet") == (0, "", "")


def test_same_seed_same_bytes(cli, files, tmp_path):
    for name in ("a.npz", "b.npz"):
        cli("run", files / "lateral.onnx", "-i", files / "x.npy", "-o", tmp_path / name, "-q")
    a, b = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert all(np.array_equal(a[name], b[name]) for name in a.files)
    a.close()
    b.close()


def test_demo_goes_on_without_lava(cli, tmp_path, monkeypatch):
    from pvae_neuro import zoo
    from pvae_neuro.saved import model_file
    from pvae_neuro.sim.lava import available

    images = sound_images(32)
    monkeypatch.setattr(model_file, "load_model", lambda name: sound_model())
    monkeypatch.setattr(zoo, "sample_digits", lambda: (images, np.zeros(32, np.int64)))
    monkeypatch.setattr(available, "module_found", lambda module: False)
    code, out, err = cli("demo", "--out", tmp_path / "made")
    made = sorted(path.name for path in (tmp_path / "made").iterdir())
    assert code == 0, err
    assert "left out: lava" in err
    assert made == ["lateral.onnx", "predictive.onnx", "report.html", "report.json"]
    assert "report.html" in out


def test_train_writes_a_model(cli, tmp_path):
    pytest.importorskip("torch", reason="needs PyTorch")
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.random((20, 6, 5)).astype(np.float32))
    code, out, err = cli(
        "train", "--dataset", tmp_path / "x.npy", "-o", tmp_path / "m.safetensors",
        "--latents", 8, "--steps", 2, "--beta", 1, "--epochs", 1, "--batch-size", 10,
        "--device", "cpu", "--quiet",
    )  # fmt: skip
    assert (code, out, err) == (0, "", "")
    assert (tmp_path / "m.safetensors").is_file()


def test_of_several_training_processes_the_first_alone_speaks(cli, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs PyTorch")
    from pvae_neuro.training import ranks

    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.random((20, 6, 5)).astype(np.float32))
    monkeypatch.setattr(ranks, "is_first_process", lambda: False)
    code, out, _ = cli(
        "train", "--dataset", tmp_path / "x.npy", "-o", tmp_path / "m.safetensors",
        "--latents", 8, "--steps", 2, "--epochs", 1, "--batch-size", 10, "--device", "cpu",
        "--json", tmp_path / "train.json",
    )  # fmt: skip
    assert (code, out) == (0, "")
    assert not (tmp_path / "train.json").exists()


def test_bench_prints_a_table_and_writes_json(cli, tmp_path, monkeypatch):
    from pvae_neuro.bench import cases

    full_size, result = cases.synthetic_cases, tmp_path / "bench.json"
    monkeypatch.setattr(
        cases, "synthetic_cases",
        lambda *sizes: full_size(("lateral",), (8,), (2,), (0.2,), (1,), pixels=9),
    )  # fmt: skip
    code, out, _ = cli("bench", "--engines", "reference", "--json", result)
    assert code == 0
    assert "reference" in out
    content = json.loads(result.read_text())
    assert content["cases"][0]["measurements"][0]["engine"] == "reference"
    for options, expected in (
        (("--engines", "warp"), "'warp'"),
        (("--threads", 0), "--threads"),
        (("--model", tmp_path / "absent.onnx"), "absent.onnx"),
    ):
        code, _, err = cli("bench", *options)
        assert code == 2
        assert expected in err


def test_the_installed_command_starts_quickly_and_without_heavy_imports():
    code = (
        "import sys; import pvae_neuro.cli.main; "
        "print([m for m in ('numpy', 'torch', 'onnx', 'matplotlib', 'lava') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_every_file_of_a_verb_is_one():
    files = {path.stem for path in Path(main.__file__).parent.glob("*.py")} - {"__init__", "main"}
    assert {function.__module__.rpartition(".")[2] for function in main.VERBS.values()} == files
    with pytest.raises(KeyError):
        main.VERBS["shared"]


# Run by a process of its own, which says what it has loaded.
LOADED = """
import sys
from pvae_neuro.cli.main import VERBS, run_command

assert run_command(sys.argv[1:]) == 0
heavy = {"torch", "matplotlib", "onnxruntime", "dask", "distributed", "lava", "PIL", "sklearn"}
heavy |= {"numba", "scipy"} | ({"rich"} if sys.argv[1] == "run" else set())
print(*sorted(heavy & set(sys.modules)))
print(*(name for name in VERBS if f"pvae_neuro.cli.{name}" in sys.modules))
print("pvae_neuro.saved.model_file" in sys.modules)
"""


@pytest.mark.parametrize("verb", ["run", "evaluate"])
def test_a_verb_loads_what_it_needs_alone(files, tmp_path, verb):
    """Other verbs, engines and readers, and the checks of float models, stay where they are."""
    output = ["-o", tmp_path / "o.npz"] if verb == "run" else []
    arguments = [verb, files / "lateral.onnx", "-i", files / "x.npy", "--steps", 2, "-q", *output]
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *map(str, arguments)],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["", verb, str(verb == "evaluate")]
