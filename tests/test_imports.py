"""The core needs NumPy, onnx and pydantic alone; the public surface says what it holds."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pvae_neuro

OPTIONAL = [
    "jinja2",
    "lava",
    "matplotlib",
    "numba",
    "onnxruntime",
    "safetensors",
    "scipy",
    "torch",
    "torchvision",
]
NEED_TORCH = {
    *("IPVAE", "Model", "Trace", "TrainConfig"),
    *("import_official", "infer", "plot_model", "recipe", "train"),
}
BLOCK = f"""
import sys

class Hidden:
    # As where the package was never installed: no finder knows it, and none raises.
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {OPTIONAL}:
            return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = map(Hidden, sys.meta_path)
sys.path.insert(0, {str(Path(__file__).parent)!r})
"""


def run_python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, pvae_neuro; print([m for m in {[*OPTIONAL, 'numpy']} if m in sys.modules])"
    assert run_python(code).stdout.strip() == "[]"


def test_the_core_runs_without_any_optional_package(tmp_path):
    code = """
import numpy as np, toy
import pvae_neuro as pn
from pvae_neuro.artifact import save_artifact

for make in (toy.lateral, toy.predictive):
    network = make()
    images = toy.images(network, 3)
    path = sys.argv[1] + "/toy.onnx"
    save_artifact(network, images, path)
    loaded = pn.load_artifact(path).network
    pn.certify(loaded) if make is toy.predictive else None
    recording = pn.get_engine("reference").run(loaded, images, 4, 0, record="full")
    assert recording.counts.any()
    report = pn.verify(loaded, None, images, steps=4, engines=["reference"])
    assert pn.evaluate(loaded, images, steps=4).mse.shape == (4,)
print("done")
"""
    done = run_python(BLOCK + code, tmp_path)
    assert done.stdout.strip() == "done", done.stderr


def test_the_command_line_works_without_any_optional_package(tmp_path):
    make = """
import numpy as np, toy
from pvae_neuro.artifact import save_artifact

network = toy.predictive()
images = toy.images(network, 3)
np.save("x.npy", images)
save_artifact(network, images, "toy.onnx")
"""
    run = "import os; os.chdir(sys.argv.pop(1)); from pvae_neuro.cli.main import main; "
    done = run_python(BLOCK + f"import os; os.chdir({str(tmp_path)!r})" + make)
    assert done.returncode == 0, done.stderr
    for verb in (
        ["--help"],
        ["inspect", "toy.onnx"],
        ["run", "toy.onnx", "--input", "x.npy", "--steps", "4", "-o", "out.npz"],
        ["evaluate", "toy.onnx", "--input", "x.npy", "--steps", "4"],
        ["verify", "toy.onnx", "--input", "x.npy", "--steps", "4", "--engines", "reference"],
    ):
        done = run_python(BLOCK + run + "main()", tmp_path, *verb)
        assert done.returncode == 0, (verb, done.stderr)
    for verb, extra in (
        (["run", "toy.onnx", "-i", "x.npy", "-o", "o.npz", "--engine", "lava"], "lava"),
        (["run", "toy.onnx", "-i", "x.npy", "-o", "o.npz", "--engine", "onnx"], "onnx"),
        (["verify", "toy.onnx", "-i", "x.npy", "--html", "r.html"], "matplotlib"),
        (["train", "--dataset", "x.npy", "-o", "m.safetensors"], "torch"),
        (["export", "m.safetensors", "-o", "m.onnx"], "safetensors"),
    ):
        done = run_python(BLOCK + run + "main()", tmp_path, *verb)
        assert done.returncode == 2, (verb, done.stderr)
        assert extra in done.stderr
        assert "pip install" in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize("name", pvae_neuro.__all__)
def test_every_public_name_exists_and_is_documented(name):
    if name in NEED_TORCH:
        pytest.importorskip("torch", reason="needs torch")
    if name == "build_lava":
        # Lava sets the start method of processes when imported: not in this process.
        pytest.importorskip("lava")
        done = run_python("import pvae_neuro; assert pvae_neuro.build_lava.__doc__")
        assert done.returncode == 0, done.stderr
        return
    value = getattr(pvae_neuro, name)
    assert isinstance(value, str) or value.__doc__


def test_type_checkers_see_the_same_surface():
    tree = ast.parse(Path(pvae_neuro.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module.removeprefix("pvae_neuro.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == pvae_neuro._HOME_OF
    assert sorted([*seen, "__version__"]) == pvae_neuro.__all__ == dir(pvae_neuro)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'simulate'"):
        _ = pvae_neuro.simulate
