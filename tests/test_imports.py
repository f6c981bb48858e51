"""Imports: one way between folders, no optional package in the core; the public surface."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import pvae_neuro
from pvae_neuro.utils import lazy
from pvae_neuro.utils.optional import EXTRAS

ROOT = Path(__file__).parents[1]
# A folder imports from those to its left alone, at module level and inside functions.
ORDER = [
    *("errors", "utils", "network", "neurons", "saved", "exporters", "sim", "artifact"),
    *("placement", "data", "models", "training", "evaluation", "plots", "verification", "cost"),
    "narrow",
    *("export", "zoo", "experiments", "cluster", "bench", "cli"),
]
OPTIONAL = sorted(EXTRAS)
NEED_TORCH = {
    *("IPVAE", "Model", "Trace", "TrainConfig"),
    *("import_official", "infer", "plot_model", "recipe", "train"),
}

# ------------------------------------------------------------------------------ the source, read


class Import(NamedTuple):
    """An import statement: who imports what, and whether when it is loaded itself."""

    importer: str
    imported: str
    at_load: bool
    for_types: bool


@cache
def sources():
    """Syntax trees by module name."""
    found = {}
    for package, folder in (
        ("pvae_neuro", ROOT / "pvae_neuro"),
        ("pvae_neuro.exporters", ROOT / "exporters"),
        ("pvae_neuro.sim", ROOT / "sim"),
    ):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found[name] = ast.parse(path.read_text("utf-8"))
    return found


def imports(name, node, at_load=True, for_types=False):
    """Every import of a module."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(name, alias.name, at_load, for_types)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"{name}: imports by a relative name"
        # `from package import module` imports the module.
        submodules = [f"{node.module}.{alias.name}" for alias in node.names]
        for imported in {sub if sub in sources() else node.module for sub in submodules}:
            yield Import(name, imported, at_load, for_types)
    elif not isinstance(node, ast.expr):
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        types = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for child in ast.iter_child_nodes(node):
            yield from imports(name, child, at_load and not (later or types), for_types or types)


@cache
def all_imports():
    return [found for name, tree in sources().items() for found in imports(name, tree)]


def place(module):
    """Folder (or file) of a module below the package: ``sim`` of ``pvae_neuro.sim.engine``."""
    return (*module.split("."), "")[1]


def test_folders_import_one_way():
    inside = [i for i in all_imports() if i.imported.startswith("pvae_neuro.")]
    places = {place(module) for module in sources()} - {"", "__main__"}
    assert places == set(ORDER)
    upwards = [
        f"{i.importer} imports {i.imported}"
        for i in inside
        if place(i.importer) in ORDER
        and ORDER.index(place(i.imported)) > ORDER.index(place(i.importer))
    ]
    assert upwards == []


def test_modules_do_not_import_each_other_in_a_circle():
    """Types aside, and a package's own ``__init__``, which lists what its files hold."""
    graph = {name: set() for name in sources()}
    for i in all_imports():
        if i.imported in graph and not i.for_types and not i.importer.startswith(f"{i.imported}."):
            graph[i.importer].add(i.imported)
    # Take away what imports nothing that is left, again and again; a circle stays.
    while free := {name for name, needs in graph.items() if not needs & graph.keys()}:
        graph = {name: needs for name, needs in graph.items() if name not in free}
    assert {name: needs & graph.keys() for name, needs in graph.items()} == {}


def test_lava_is_imported_in_its_own_folder():
    found = [i for i in all_imports() if i.imported.partition(".")[0] == "lava"]
    assert found
    assert {i.importer for i in found if not i.importer.startswith("pvae_neuro.sim.lava.")} == set()


def test_exporters_and_engines_load_no_torch():
    loaded = [i for i in all_imports() if i.at_load and i.imported.partition(".")[0] == "torch"]
    assert loaded
    assert {i.importer for i in loaded if place(i.importer) in ("exporters", "sim")} == set()


def test_the_language_knows_numpy_alone():
    allowed = {*sys.stdlib_module_names, "numpy", "pvae_neuro"}
    for i in all_imports():
        if place(i.importer) in ("network", "neurons"):
            assert i.imported.partition(".")[0] in allowed, i


def test_pages_name_modules_that_exist():
    """Paths to Python files and folders in the pages."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        if page.name == "decisions.md":
            continue  # It tells of what was, too.
        text = page.read_text("utf-8")
        for path in re.findall(r"`((?:pvae_neuro|exporters|sim|benchmarks|tests)/[\w/.]*)`", text):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


# --------------------------------------------------------------------- without optional packages

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
"""
MAKE = """
import numpy as np
import pvae_neuro as pn
from pvae_neuro.artifact import save_artifact
from pvae_neuro.bench.networks import pinned_network, random_images

def make(topology):
    network = pinned_network(topology, 12, 20, 0.3)
    return network, random_images(network, 3)
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
for topology in ("lateral", "predictive"):
    network, images = make(topology)
    path = sys.argv[1] + "/toy.onnx"
    save_artifact(network, images, path)
    loaded = pn.load_artifact(path).network
    pn.certify(loaded)
    recording = pn.get_engine("reference").run(loaded, images, 4, 0, record="full")
    assert recording["latents.z"].any()
    assert pn.verify(loaded, None, images, steps=4, engines=["reference"]).passed
    assert pn.evaluate(loaded, images, steps=4).mse.shape == (4,)
print("done")
"""
    done = run_python(BLOCK + MAKE + code, tmp_path)
    assert done.stdout.strip() == "done", done.stderr


def test_the_command_line_works_without_any_optional_package(tmp_path):
    files = """
import os
os.chdir(sys.argv[1])
network, images = make("predictive")
np.save("x.npy", images)
save_artifact(network, images, "toy.onnx")
"""
    done = run_python(BLOCK + MAKE + files, tmp_path)
    assert done.returncode == 0, done.stderr
    run = "import os; os.chdir(sys.argv.pop(1)); from pvae_neuro.cli.main import main; main()"
    for verb in (
        ["--help"],
        ["models"],
        ["samples", "-o", "digits.npy"],
        ["doctor", "reference"],
        ["inspect", "toy.onnx"],
        ["inspect", "mnist"],
        ["run", "toy.onnx", "--input", "x.npy", "--steps", "4", "-o", "out.npz"],
        ["evaluate", "toy.onnx", "--input", "x.npy", "--steps", "4"],
        ["verify", "toy.onnx", "--input", "x.npy", "--steps", "4", "--engines", "reference"],
    ):
        done = run_python(BLOCK + run, tmp_path, *verb)
        assert done.returncode == 0, (verb, done.stderr)
    for verb, extra in (
        (["run", "toy.onnx", "-i", "x.npy", "-o", "o.npz", "--engine", "lava"], "lava"),
        (["run", "toy.onnx", "-i", "x.npy", "-o", "o.npz", "--engine", "onnx"], "onnx"),
        (["verify", "toy.onnx", "-i", "x.npy", "--html", "r.html"], "matplotlib"),
        (["train", "--dataset", "x.npy", "-o", "m.safetensors"], "torch"),
    ):
        done = run_python(BLOCK + run, tmp_path, *verb)
        assert done.returncode == 2, (verb, done.stderr)
        assert extra in done.stderr
        assert "pip install" in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


LOOK = """
import contextlib, io, inspect
import pvae_neuro as pn, pvae_neuro.data

with contextlib.redirect_stdout(io.StringIO()) as shown:
    help(pn)
    help(pn.data)
    help(pn.infer)
for name in dir(pn):
    value = getattr(pn, name)
    repr(value), inspect.getdoc(value), inspect.isclass(value), callable(value), dir(value)
assert "train" in shown.getvalue() and "build_lava" in shown.getvalue()
print([m for m in sys.modules if m.partition(".")[0] in OPTIONAL])
"""
USES = [
    ("pn.infer(1, steps=2)", "train"),
    ("pn.Model.from_saved", "train"),
    ("isinstance(1, pn.Model)", "train"),
    ("issubclass(int, pn.Model)", "train"),
    ("types.new_class('Mine', (pn.IPVAE,))", "train"),
    ("pn.Trace | None", "train"),
    ("pn.build_lava(None)", "lava"),
]


def test_names_that_need_an_extra_can_be_looked_at_without_it():
    done = run_python(f"{BLOCK}\nOPTIONAL = {OPTIONAL}\n{LOOK}")
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(("use", "extra"), USES)
def test_names_that_need_an_extra_say_which_when_used(use, extra):
    code = f"""
import types
import pvae_neuro as pn
try:
    {use}
except pn.MissingDependencyError as error:
    print(error)
"""
    done = run_python(BLOCK + code)
    assert extra in done.stdout, done
    assert "pip install" in done.stdout or "Python 3.10" in done.stdout


def test_every_optional_dependency_names_the_extra_that_installs_it():
    """``EXTRAS`` against pyproject.toml, by the names of the packages that are installed here."""
    packages = importlib.metadata.packages_distributions()
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for module, extra in EXTRAS.items():
        if module not in packages:
            continue
        (listed,) = re.findall(rf"(?ms)^{extra} = \[(.*?)\]$", text)
        names = {name.lower() for name in re.findall(r'"([\w-]+)', listed)}
        assert names & {name.lower() for name in packages[module]}, module


def test_an_import_that_fails_for_another_reason_is_not_hidden(monkeypatch):
    def fails(name):
        raise ImportError("cannot import name 'Model'", name="pvae_neuro.models.base")

    monkeypatch.setattr(lazy, "import_module", fails)
    with pytest.raises(ImportError, match="cannot import name"):
        lazy.load(pvae_neuro, "Model", {"Model": "pvae_neuro.models.base"})


def test_python_started_in_a_clone_finds_the_folders_beside_the_package():
    """Without the finder of an editable installation, as where a wheel is installed."""
    code = f"""
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
sys.path[:] = [{str(ROOT)!r}, *(p for p in sys.path if "editable" not in p)]
import pvae_neuro.exporters.quantize, pvae_neuro.sim.reference
print(pvae_neuro.sim.reference.__file__)
"""
    done = run_python(code)
    assert done.stdout.strip() == str(ROOT / "sim" / "reference.py"), done.stderr


# ---------------------------------------------------------------------------- the public surface


def is_sentence(text):
    """Whether a docstring begins with at least three words and a full stop or colon."""
    first = (text or "").strip().partition("\n\n")[0]
    return len(first.split()) >= 3 and first.rstrip("`\"'")[-1:] in ".:!?"


@pytest.mark.parametrize("name", sorted(set(pvae_neuro.__all__) - {"__version__"}))
def test_every_public_name_exists_and_is_documented(name):
    if name in NEED_TORCH:
        pytest.importorskip("torch", reason="needs torch")
    if name == "build_lava":
        # Lava sets the start method of processes when imported: not in this process.
        pytest.importorskip("lava", reason="needs Lava")
        done = run_python("import pvae_neuro; print(pvae_neuro.build_lava.__doc__)")
        assert is_sentence(done.stdout), done.stderr
        return
    value = getattr(pvae_neuro, name)
    # A dataclass without a docstring of its own gets its signature for one.
    assert not value.__doc__.startswith(f"{name}(")
    assert is_sentence(value.__doc__)


def test_every_module_says_what_it_holds():
    assert [
        name for name, tree in sources().items() if not is_sentence(ast.get_docstring(tree))
    ] == []


def test_the_surface_is_what_the_stub_lists():
    stub = ast.parse((ROOT / "pvae_neuro/__init__.pyi").read_text("utf-8"))
    listed = [
        alias.asname
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted([*listed, "__version__"]) == pvae_neuro.__all__ == dir(pvae_neuro)
    assert pvae_neuro.__version__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'simulate'"):
        _ = pvae_neuro.simulate
