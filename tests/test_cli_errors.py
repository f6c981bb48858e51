"""Bad input: one line that says what was expected, exit code 2, and nothing written."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from cli_tools import make_files, run_cli
from models import random_model, sound_images, sound_model
from onnx import TensorProto, helper
from safetensors.numpy import load_file, save_file

from pvae_neuro.errors import CertificateError
from pvae_neuro.exporters.onnx.file import SCHEMA_KEY


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("files"), sound_model(), sound_images(6))


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def refused(capsys, out):
    """Run, check how it was refused, and return the line."""

    def run(*arguments):
        code, _, err = run_cli(capsys, *arguments)
        assert code == 2, err
        # What was read is said before an error that comes later.
        err = err[err.startswith("images: ") and err.index("\n") + 1 :]
        assert err.startswith("error: "), err
        assert err.count("\n") == 1, err
        assert list(out.iterdir()) == []
        return err

    return run


INPUTS = {
    "wrong shape": (lambda x: x[:, :7], "shape [N, 30] or [N, 6, 5] with N >= 1, got [6, 7]"),
    "one image": (lambda x: x[0], "expected"),
    "NaN": (lambda x: np.where(np.arange(30) == 3, np.nan, x), "NaN"),
    "out of range": (lambda x: x + 2, "expected values in [0, 1]"),
    "empty batch": (lambda x: x[:0], "[0, 30]"),
    "words": (lambda x: np.array([["a", "b"]]), "real numbers"),
    "complex": (lambda x: x * 1j, "real numbers"),
}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("verb", ["run", "verify", "evaluate", "export"])
def test_inputs(files, out, refused, tmp_path, kind, verb):
    change, expected = INPUTS[kind]
    np.save(tmp_path / "x.npy", change(np.load(files / "x.npy")))
    arguments = {
        "run": (files / "lateral.onnx", "-i", tmp_path / "x.npy", "-o", out / "o.npz"),
        "verify": (files / "lateral.onnx", "-i", tmp_path / "x.npy", "--json", out / "r.json"),
        "evaluate": (files / "model.safetensors", "-i", tmp_path / "x.npy", "--json", out / "e"),
        "export": (files / "model.safetensors", "--calibrate", tmp_path / "x.npy", "-o", out / "m"),
    }[verb]
    assert expected in refused(verb, *arguments)


def test_input_files_that_are_none(files, out, refused, tmp_path):
    (tmp_path / "text.npy").write_text("not numbers")
    (tmp_path / "text.npz").write_text("not an archive")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    command = ("run", files / "lateral.onnx", "-o", out / "o.npz", "-i")
    for name in ("text.npy", "text.npz", "objects.npy"):
        assert "expected a NumPy file" in refused(*command, tmp_path / name)
    assert "no such file" in refused(*command, tmp_path / "absent.npy")
    assert ".npy or .npz" in refused(*command, tmp_path / "x.csv")
    assert "error" in refused(*command, tmp_path)


def test_artifacts(files, out, refused, tmp_path):
    data = (files / "lateral.onnx").read_bytes()
    altered = bytearray(data)
    altered[len(data) // 2] ^= 1
    bad = {
        "truncated": data[: len(data) // 2],
        "short": data[:-1],
        "altered": bytes(altered),
        "newer": _with_metadata(data, SCHEMA_KEY, "999"),
        "foreign": _foreign(),
        "empty": b"",
        "text": b"hello",
    }
    expected = {"altered": "altered or damaged", "newer": "newer", "foreign": "pvae-neuro"}
    for name, content in bad.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        for command in (
            ("inspect", path, "--json", out / "i.json"),
            ("run", path, "-i", files / "x.npy", "-o", out / "o.npz"),
            ("verify", path, "-i", files / "x.npy", "--html", out / "r.html"),
            ("evaluate", path, "-i", files / "x.npy", "--json", out / "e.json"),
        ):
            assert expected.get(name, "") in refused(*command)
    assert "absent.onnx" in refused("inspect", tmp_path / "absent.onnx")
    assert "expected a model" in refused("evaluate", files / "x.npy", "-i", files / "x.npy")


def _with_metadata(data, key, value):
    model = onnx.load_from_string(data)
    next(entry for entry in model.metadata_props if entry.key == key).value = value
    return model.SerializeToString()


def _foreign():
    value = helper.make_tensor_value_info
    x, y = value("x", TensorProto.FLOAT, [1]), value("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "other", [x], [y])
    return helper.make_model(graph).SerializeToString()


def test_float_models(files, out, refused, tmp_path):
    from safetensors import safe_open

    with safe_open(files / "model.safetensors", framework="np") as file:
        metadata = file.metadata()
    arrays = load_file(files / "model.safetensors")
    missing = {name: array for name, array in arrays.items() if name != "log_bias"}
    extra = {**arrays, "bonus": np.zeros(3, np.float32)}
    wrong = {**arrays, "log_bias": arrays["log_bias"][:-1]}
    nan = {**arrays, "dictionary": arrays["dictionary"] * np.float32(np.nan)}
    for name, content, expected in (
        ("missing", missing, "missing ['log_bias']"),
        ("extra", extra, "extra ['bonus']"),
        ("wrong", wrong, "expected float32 (24,)"),
        ("nan", nan, "NaN"),
    ):
        save_file(content, tmp_path / f"{name}.safetensors", metadata=metadata)
        command = ("export", tmp_path / f"{name}.safetensors", "-o", out / "m.onnx")
        assert expected in refused(*command)
    (tmp_path / "short.safetensors").write_bytes(b"\x00" * 20)
    assert "safetensors" in refused("export", tmp_path / "short.safetensors", "-o", out / "m.onnx")
    assert "no such file" in refused("export", tmp_path / "absent", "-o", out / "m.onnx")
    save_file(arrays, tmp_path / "bare.safetensors")
    assert "pvae-neuro" in refused("export", tmp_path / "bare.safetensors", "-o", out / "m.onnx")


class _Trap:
    def __init__(self, touched):
        self.touched = touched

    def __reduce__(self):
        return Path.touch, (self.touched,)


def test_checkpoint_with_code_in_its_pickle(out, refused, tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    config = {
        "dataset": "MNIST", "t_train": 8, "beta_outer": 8.0, "n_latents": [4],
        "inf_type": "grad", "dec_type": "lin", "clamp_u": 10.0, "clamp_du": 10.0,
    }  # fmt: skip
    (folder / "ConfigPoisVAE.json").write_text(json.dumps(config))
    torch.save({"model": _Trap(tmp_path / "touched")}, folder / "checkpoint.pt")
    assert "checkpoint.pt" in refused("import", folder, "-o", out / "m.safetensors")
    assert not (tmp_path / "touched").exists()
    assert "absent" in refused("import", tmp_path / "absent", "-o", out / "m.safetensors")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--weight-bits", 17), "2 to 16"),
        (("--weight-bits", 1), "2 to 16"),
        (("--frac-bits", 3), "4 to 16"),
        (("--max-count", 0), "1 to 255"),
        (("--topology", "ring"), "predictive, lateral"),
        (("--stability-steps", 0), "steps: expected 1 to"),
    ],
)
def test_exports_that_cannot_be(files, out, refused, options, expected):
    line = refused(
        "export", files / "model.safetensors", "--calibrate", files / "x.npy",
        "-o", out / "m.onnx", *options,
    )  # fmt: skip
    assert expected in line


def test_export_without_calibration_inputs(files, out, refused):
    line = refused("export", files / "model.safetensors", "-o", out / "m.onnx")
    assert "--calibrate" in line


@pytest.mark.parametrize("verb", ["run", "verify", "evaluate"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--steps", 0), "steps: expected 1 to"),
        (("--seed", -1), "seed: expected 0 to 18446744073709551615"),
        (("--seed", 1 << 64), "seed: expected 0 to 18446744073709551615"),
        (("ENGINE", "lavaa"), "expected one of"),
        (("ENGINE", "lava", "--timeout", 0), "timeout"),
        (
            ("ENGINE", "reference", "--timeout", 5),
            "--timeout: not an option of the engine reference",
        ),
        (("--lava-batch", 8), "--lava-batch: not an option of the engine auto"),
    ],
)
def test_numbers_and_names(files, out, refused, verb, options, expected):
    engine = "--engines" if verb == "verify" else "--engine"
    options = [engine if option == "ENGINE" else option for option in options]
    target = {"run": "-o", "verify": "--json", "evaluate": "--json"}[verb]
    command = (verb, files / "lateral.onnx", "-i", files / "x.npy", target, out / "o")
    assert expected in refused(*command, *options)


def test_samples_and_engine_lists(files, refused):
    command = ("verify", files / "lateral.onnx", "-i", files / "x.npy")
    assert "--samples" in refused(*command, "--samples", 0)
    assert "--engines" in refused(*command, "--engines", ",")


def test_float_model_of_another_artifact(files, refused, tmp_path):
    other = make_files(tmp_path, random_model(latents=10), np.zeros((1, 30), np.float32), ())
    line = refused(
        "verify", files / "lateral.onnx", "-m", other / "model.safetensors", "-i", files / "x.npy"
    )
    assert "30 pixels and 24 latents, got one with 30 and 10" in line


def test_evaluate_needs_one_source(files, refused):
    assert "--dataset" in refused("evaluate", files / "lateral.onnx")


def test_a_float_model_takes_no_engine(files, out, refused):
    command = ("evaluate", files / "model.safetensors", "-i", files / "x.npy", "--json", out / "e")
    line = refused(*command, "--engine", "reference")
    assert "--engine: a float model runs on no engine, got 'reference'" in line


def test_errors_of_the_library_get_flags_here(files, out, refused, monkeypatch):
    from pvae_neuro import export

    def refuse(network):
        raise CertificateError("latents.u: expected at most 24 bits, got 25", "narrower")

    monkeypatch.setattr(export, "certify", refuse)
    command = ("export", files / "model.safetensors", "--calibrate", files / "x.npy")
    line = refused(*command, "-o", out / "m.onnx")
    assert line.startswith("error: latents.u: expected at most 24 bits, got 25 (")
    assert "--weight-bits" in line


def test_lava_missing(files, out, refused, monkeypatch):
    from pvae_neuro.sim.lava import available

    monkeypatch.setattr(available, "module_found", lambda module: False)
    command = ("run", files / "lateral.onnx", "-i", files / "x.npy", "-o", out / "o.npz")
    assert "pip install 'pvae-neuro[lava]'" in refused(*command, "--engine", "lava")


def test_lava_on_a_newer_python(files, out, refused, monkeypatch):
    from pvae_neuro.sim.lava import available

    monkeypatch.setattr(available, "sys", SimpleNamespace(version_info=(3, 12, 1, "final", 0)))
    line = refused(
        "verify", files / "lateral.onnx", "-i", files / "x.npy", "--html", out / "r.html",
        "--engines", "reference,lava",
    )  # fmt: skip
    assert "needs Python 3.10" in line
    assert "this is Python 3.12" in line


def test_onnxruntime_missing(files, out, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    command = ("run", files / "lateral.onnx", "-i", files / "x.npy", "-o", out / "o.npz")
    assert "pvae-neuro[onnx-runtime]" in refused(*command, "--engine", "onnx")


OUTPUTS = {
    "run": ("lateral.onnx", "-i", "x.npy", "-o"),
    "export": ("model.safetensors", "--calibrate", "x.npy", "-o"),
    "verify": ("lateral.onnx", "-i", "x.npy", "--html"),
    "evaluate": ("lateral.onnx", "-i", "x.npy", "--json"),
    "inspect": ("lateral.onnx", "--json"),
}


@pytest.mark.parametrize("verb", OUTPUTS)
def test_outputs_that_cannot_be_written_are_refused_before_work(
    refused, tmp_path, monkeypatch, verb
):
    """Neither below a file, nor below /proc, nor over a folder; even root may not write there.

    No input exists here: that the output is what gets refused shows that it is looked at first.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for target, expected in (
        (tmp_path / "file" / "o", "cannot write"),
        (Path("/proc/o"), "cannot write"),
        (tmp_path, "is a folder"),
    ):
        assert expected in refused(verb, *OUTPUTS[verb], target)
    assert "cannot write" in refused("demo", "--out", tmp_path / "file" / "made")


def _small_disk():
    """No file of this process may grow beyond 2 kB: writes fail as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


@pytest.mark.parametrize("verb", ["run", "export", "verify"])
def test_full_disk(files, out, verb):
    done = subprocess.run(
        [sys.executable, "-m", "pvae_neuro", verb, *OUTPUTS[verb], out / "o", "--quiet"],
        cwd=files, preexec_fn=_small_disk, capture_output=True, text=True, timeout=240,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert list(out.iterdir()) == []


KILLED_WHILE_WRITING = """
import os, sys, time
import numpy as np
from pvae_neuro.cli.main import main

def write_array(file, array, allow_pickle):
    file.write(b"half of it")
    os.kill(os.getpid(), {number})
    time.sleep(30)

np.lib.format.write_array = write_array
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_it_writes(files, out, number, code):
    program = KILLED_WHILE_WRITING.format(number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", program, "run", *OUTPUTS["run"], out / "o"],
        cwd=files, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("-i", "x.npy", "--dataset=y.npy"), "--input / -i / --dataset: expected once, got it 2"),
        (("-i", "x.npy", "-t", 2, "--steps", 3, "-t", 2), "--steps / -t: expected once, got it 3"),
        (("-i", "x.npy", "--split", ""), "split: expected one of train, test, all, got ''"),
    ],
)
def test_options_of_one_value_are_given_once(refused, options, named):
    assert named in refused("evaluate", "mnist", *options)


def test_switches_may_be_given_twice_but_not_both_ways(refused, out, capsys):
    command = ("train", "-i", "absent", "-o", out / "m.safetensors", "-q", "--quiet")
    assert "dataset 'absent'" in refused(*command)
    both = "--isotropic / --anisotropic: expected once, got it 2 times"
    assert both in refused(*command, "--isotropic", "--anisotropic")


@pytest.mark.parametrize("model", ["mnist", "model.safetensors", "lateral.onnx"])
def test_inspect_reads_under_the_limit_that_is_asked_for(refused, files, model):
    path = model if model == "mnist" else files / model
    err = refused("inspect", path, "--max-memory", "1e-6")
    assert "the limit is 1e-06 GB (as asked)" in err
    assert "(--max-memory GB)" in err
