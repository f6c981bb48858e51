"""Time from the command to the first result: whole processes, on eight digits.

Usage::

    python benchmarks/start_time.py [--models mnist-lateral ...] [--turns 5] [--other PYTHON]
        [--json start.json]

Each shipped model in each of its circuits is exported, then ``pvae-neuro run`` of 8 digits and 32
iterations is timed as a process of its own, by the clock and by the processor (user and system):

``warm``
    as every run but the first;
``kernels``
    with no compiled code kept from an earlier run, as after an installation by pip, which compiles
    the bytecode of Python files;
``bytecode``
    with no bytecode either, of no package, as after an installation by uv.

``--other`` names the interpreter of an environment with another revision, which exports and runs
the models that it has. The processes of both take turns. Phases are processor times within a
process that calls what ``run`` calls.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from machine import machine, versions

MAKE = """
import sys
import numpy as np
import pvae_neuro as pn
from pvae_neuro.artifact import save_artifact

digits = pn.sample_digits()[0]
np.save(f"{sys.argv[1]}/x.npy", digits[:8])
for case in sys.argv[2:]:
    name, _, circuit = case.rpartition("-")
    try:
        model = pn.load_pretrained() if name == "mnist" else pn.load_model(name)
        network = pn.quantize(model, digits, pn.QuantizeConfig(topology=circuit))
    except Exception as error:
        print(f"{case}: not made by {sys.executable}: {error}", file=sys.stderr)
        continue
    save_artifact(network, digits[:2], f"{sys.argv[1]}/{case}.onnx")
"""
PHASES = """
import json, sys, time

begun, found = 0.0, {}

def stamp(phase):
    global begun
    now = time.process_time()
    found[phase] = now - begun
    begun = now

stamp("interpreter")
import pvae_neuro.cli.main
stamp("command line")
from pvae_neuro.artifact import load_artifact
from pvae_neuro.data import load_images
from pvae_neuro.sim.engine import get_engine
stamp("imports to load")
network = load_artifact(sys.argv[1]).network
stamp("load and check")
images = load_images(sys.argv[2]).pixels
stamp("images")
engine = get_engine("fast")
stamp("imports of the engine")
engine.run(network, images[:1], 1, 0)
stamp("compile, plan")
engine.run(network, images, 32, 0)
stamp("run")
print(json.dumps(found))
"""
CASES = (
    *("mnist-lateral", "mnist-predictive", "mnist-mlp-predictive", "mnist-conv-predictive"),
    *("mnist-hierarchical-predictive", "mnist-pvae-feedforward", "mnist-lca-lateral"),
    "mnist-lca-predictive",
)
KINDS = ("warm", "kernels", "bytecode")


class Revision(NamedTuple):
    """An interpreter, and the folder that its files are in."""

    name: str
    python: str
    folder: Path

    def environment(self, kind: str) -> dict[str, str]:
        """Variables under which a process finds what is kept from earlier ones, or nothing."""
        kept = self.folder / "kept"
        found = {**os.environ, "HOME": str(kept), "XDG_CACHE_HOME": str(kept / "cache")}
        found["NUMBA_CACHE_DIR"] = str(kept / "numba")
        if kind != "warm":
            shutil.rmtree(kept, ignore_errors=True)
        if kind == "bytecode":
            found["PYTHONPYCACHEPREFIX"] = str(kept / "bytecode")
        return found

    def make(self, cases: list[str]) -> None:
        """Export the models."""
        self.folder.mkdir()
        subprocess.run([self.python, "-c", MAKE, self.folder, *cases], check=True, cwd=self.folder)

    def timed(self, case: str, kind: str) -> tuple[float, float]:
        """Seconds of a whole process, by the clock and by the processor."""
        words = [
            self.python, "-m", "pvae_neuro", "run", f"{self.folder}/{case}.onnx",
            "-i", f"{self.folder}/x.npy", "-o", f"{self.folder}/out.npz", "-e", "fast", "-q",
        ]  # fmt: skip
        environment = self.environment(kind)
        used, start = _children(), time.perf_counter()
        # A package in the current folder would be imported in place of the interpreter's.
        subprocess.run(words, check=True, env=environment, stderr=subprocess.PIPE, cwd=self.folder)
        return time.perf_counter() - start, _children() - used

    def phases(self, case: str, kind: str) -> dict[str, float]:
        """Processor seconds of each phase."""
        words = [self.python, "-c", PHASES, f"{self.folder}/{case}.onnx", f"{self.folder}/x.npy"]
        done = subprocess.run(
            words, check=True, env=self.environment(kind), stdout=subprocess.PIPE, text=True,
            cwd=self.folder,
        )  # fmt: skip
        found: dict[str, float] = json.loads(done.stdout)
        return found


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(
    revisions: list[Revision], case: str, turns: int, kinds: list[str]
) -> list[dict[str, Any]]:
    """Rows of one model: each revision in each kind, in turns, then its phases."""
    able = [each for each in revisions if (each.folder / f"{case}.onnx").exists()]
    found = []
    for kind in kinds:
        for each in able:
            # Fills the file cache, and what is kept.
            each.timed(case, "warm")
        timed: dict[str, list[tuple[float, float]]] = {each.name: [] for each in able}
        for _ in range(turns):
            for each in able:
                timed[each.name].append(each.timed(case, kind))
        for each in able:
            clock, processor = zip(*timed[each.name], strict=True)
            phases = [each.phases(case, kind) for _ in range(min(turns, 3))]
            row = {
                "model": case, "kind": kind, "revision": each.name,
                "clock": median(clock), "processor": median(processor), "clocks": clock,
                "phases": {name: median(p[name] for p in phases) for name in phases[0]},
            }  # fmt: skip
            found.append(row)
            print(_line(row), flush=True)
    return found


def _line(row: dict[str, Any]) -> str:
    phases = ", ".join(f"{name} {1e3 * spent:.0f}" for name, spent in row["phases"].items())
    return (
        f"{row['model']:30} {row['kind']:9} {row['revision']:6} {row['clock']:.2f} s, processor "
        f"{row['processor']:.2f} s; ms of the processor: {phases}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(CASES), choices=CASES, metavar="MODEL")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--other", help="interpreter of another revision")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        revisions = [Revision("this", sys.executable, Path(name, "this"))]
        if chosen.other:
            revisions.append(Revision("other", chosen.other, Path(name, "other")))
        for each in revisions:
            each.make(chosen.models)
        rows = [
            row
            for case in chosen.models
            for row in measured(revisions, case, chosen.turns, chosen.kinds)
        ]
    if chosen.json:
        content = {"machine": machine(), "versions": versions(), "rows": rows}
        chosen.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
