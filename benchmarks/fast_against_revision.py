"""Times the engine ``fast`` against another revision of this project, side by side.

Usage::

    python benchmarks/fast_against_revision.py OTHER_PYTHON [--turns 9] [--limit avx2]
        [--evaluate --data-root data] [--json out.json]

``OTHER_PYTHON`` is the interpreter of an environment that holds the other revision. Both read this
revision's shipped model and quantize it themselves; the integers of the two networks are compared.
They run in processes of their own that wait while the other is timed, and take turns, so that a
slow spell of the machine falls on both. A ratio is formed within a turn; printed are its median and
that of the smallest times. ``--cpu`` times the processor instead of the clock, with one thread, for
a machine that others use too. Starts are first runs of a network in a process of its own: by the
clock with kernels cached, and by the processor without.

``draws`` are draws and update alone: a population of 512 neurons with drive, leak and diagonal
whose potentials stay, and no connection else. In ``draws-settled`` potentials are those that the
shipped model has after 128 iterations; in ``draws-spread`` they spread over two nats and 16 % fire.

``--evaluate`` times ``pvae-neuro evaluate`` of 10,000 test digits for 128 iterations as whole
processes; both read the same file of images.

``--limit avx2`` or ``--limit sse4`` gives both the instructions of a Haswell or a Nehalem alone:
the code generator, and the libraries that can be limited. The other revision takes any limit for
one without AVX2; under ``avx2`` it is told otherwise. Unless ``--evaluate`` is given, the integers
of every shipped model are then compared with ``reference``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from limits import LIMITS, differing_integers, limited
from machine import machine, versions

from pvae_neuro.data import load_images
from pvae_neuro.saved.shipped import SHIPPED, shipped_file

CHILD = Path(__file__).with_name("revision_child.py")
MODEL = str(shipped_file(SHIPPED["mnist"].file))
STEPS = 128
LEAST_SECONDS = 0.15
TOPOLOGIES = ("lateral", "predictive")
EVALUATED = 10_000
# Starts the command line, after what a limit needs.
EVALUATE = """
import os, runpy
if os.environ.get("LET_AVX2"):
    import pvae_neuro.sim.fast.vectors as vectors
    vectors._AVX2 = True
runpy.run_module("pvae_neuro", run_name="__main__")
"""


class Timed(NamedTuple):
    """A case and the largest ratio to the other revision that is asked for.

    Attributes
    ----------
    network : str
    batch : int
    record : str
    threads : int or None
        None for all cores.
    bar : float or None
    """

    network: str
    batch: int
    record: str
    threads: int | None
    bar: float | None


CASES = (
    *(
        Timed(topology, batch, record, None, None)
        for topology in TOPOLOGIES
        for batch in (64, 256)
        for record in ("last", "summary")
    ),
    *(Timed(topology, 1, "last", 1, 0.75) for topology in TOPOLOGIES),
    *(Timed(topology, 1, "summary", 1, None) for topology in TOPOLOGIES),
    Timed("draws-settled", 64, "last", 1, 0.5),
    Timed("draws-spread", 64, "last", 1, 0.5),
)
# Bars of whole processes, without a limit and with AVX2 alone.
EVALUATE_BARS = {
    None: {"lateral": 0.72, "predictive": 0.60},
    "avx2": {"lateral": 0.9, "predictive": 0.85},
}
# Under a limit nothing may be slower.
LIMITED_BAR = 1.0


class Child:
    """A process of one environment that runs cases when it is told to."""

    def __init__(self, python: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, str(CHILD), MODEL],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"CLOCK": "perf_counter", **os.environ, **environment},
            cwd=tempfile.gettempdir(),
        )
        self._line()

    def _line(self) -> str:
        if self._process.stdout is None:
            raise RuntimeError("expected a pipe")
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a child ended; its message is above")
        return line

    def run(self, case: Timed, least: float) -> dict[str, Any]:
        """Time one case."""
        if self._process.stdin is None:
            raise RuntimeError("expected a pipe")
        words = [case.network, case.batch, case.record, STEPS, least]
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._line())
        return found

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()


def compared(best: dict[str, list[float]], bar: float | None) -> dict[str, Any]:
    """Times of both sides by turn, summarized."""
    ratios = [a / b for a, b in zip(best["this"], best["other"], strict=True)]
    return {
        **{f"{name}_s": min(times) for name, times in best.items()},
        "ratio_of_best": min(best["this"]) / min(best["other"]),
        "median_ratio": median(ratios),
        "bar": bar,
    }


def shown(what: str, row: dict[str, Any]) -> None:
    """Print a row beside its bar."""
    bar = row["bar"]
    verdict = "reached" if bar is not None and row["median_ratio"] <= bar else "missed"
    print(
        f"{what:42} this {1e3 * row['this_s']:10.3f} ms  other {1e3 * row['other_s']:10.3f} ms  "
        f"best {row['ratio_of_best']:.3f}  median {row['median_ratio']:.3f}"
        + ("" if bar is None else f"  (at most {bar:g}: {verdict})"),
        flush=True,
    )


def in_turns(
    pythons: dict[str, str], turns: int, environments: dict[str, dict[str, str]], cpu: bool,
    names: list[str],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:  # fmt: skip
    """Time all cases; return their rows, and whether the networks hold the same integers."""
    children: dict[tuple[str, int | None], Child] = {}
    limited_run = any("NUMBA_CPU_NAME" in e for e in environments.values())
    rows, networks = [], {}
    for case in CASES:
        if case.network not in names:
            continue
        threads = 1 if cpu else case.threads
        for name, python in pythons.items():
            if (name, threads) not in children:
                more = {} if threads is None else {"NUMBA_NUM_THREADS": str(threads)}
                more |= {"CLOCK": "thread_time"} if cpu else {}
                children[name, threads] = Child(python, {**environments[name], **more})
        best: dict[str, list[float]] = {name: [] for name in pythons}
        for turn in range(turns + 1):
            for name in sorted(pythons, reverse=bool(turn % 2)):
                answer = children[name, threads].run(case, LEAST_SECONDS)
                if "network" in answer:
                    networks[case.network, name] = answer
                # The first turn warms up.
                if turn:
                    best[name].append(answer["best"])
        row = compared(best, LIMITED_BAR if limited_run else case.bar)
        rows.append({**case._asdict(), "threads": threads, **row})
        on = "all cores" if threads is None else f"{threads} thread"
        shown(f"{case.network:13} batch {case.batch:3} {case.record:7} {on}", rows[-1])
    for child in children.values():
        child.close()
    return rows, same_integers(networks)


def same_integers(networks: dict[Any, Any]) -> dict[str, Any]:
    """Compare what both revisions quantized to; print the activity of each."""
    found = {}
    for network in dict.fromkeys(name for name, _ in networks):
        this, other = (networks[network, name] for name in ("this", "other"))
        names = sorted(this["network"].keys() & other["network"].keys())
        differing = [n for n in names if this["network"][n] != other["network"][n]]
        found[network] = {
            "compared": names,
            "differing": differing,
            "active": {"this": this["activity"], "other": other["activity"]},
        }
        print(
            f"{network:13} arrays compared: {', '.join(names) or 'none'}; differing: "
            f"{', '.join(differing) or 'none'}; active: this {this['activity']:.4f}, other "
            f"{other['activity']:.4f}"
        )
    return found


def evaluations(
    pythons: dict[str, str], turns: int, environments: dict[str, dict[str, str]],
    chosen: argparse.Namespace,
) -> list[dict[str, Any]]:  # fmt: skip
    """Time ``evaluate`` as whole processes; each revision runs its own export."""
    rows = []
    bars = EVALUATE_BARS.get(chosen.limit, {})
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "digits.npy"
        digits = load_images("mnist", chosen.data_root, "test").pixels
        np.save(images, digits[: chosen.samples])
        for topology in TOPOLOGIES:
            words = {}
            for name, python in pythons.items():
                artifact = str(Path(folder) / f"{name}_{topology}.onnx")
                export = ["export", MODEL, "-o", artifact, "--quiet"]
                export += ["--topology", topology, "--max-count", "63"]
                subprocess.run([python, "-m", "pvae_neuro", *export], check=True, cwd=folder)
                words[name] = [
                    python, "-c", EVALUATE, "evaluate", artifact, "--input", str(images),
                    "--steps", str(STEPS), "--quiet", "--json", "-",
                ]  # fmt: skip
            best: dict[str, list[float]] = {name: [] for name in pythons}
            answers = {}
            for turn in range(turns + 1):
                for name in sorted(pythons, reverse=bool(turn % 2)):
                    begin = time.perf_counter()
                    done = subprocess.run(
                        words[name],
                        check=True,
                        stdout=subprocess.PIPE,
                        text=True,
                        env={**os.environ, **environments[name]},
                        cwd=folder,
                    )
                    # The first turn warms up.
                    if turn:
                        best[name].append(time.perf_counter() - begin)
                    answers[name] = json.loads(done.stdout)
            bar = bars.get(topology, None if chosen.limit is None else LIMITED_BAR)
            row = {"topology": topology, "samples": chosen.samples, **compared(best, bar)}
            row["engines"] = {name: answer["engine"] for name, answer in answers.items()}
            rows.append(row)
            shown(f"evaluate {topology:10} {chosen.samples} x {STEPS}", row)
    return rows


def starts(python: str, turns: int, environment: dict[str, str], empty: bool) -> list[float]:
    """Seconds of the first run of a network; processor time where the cache is empty."""
    found = []
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as folder:
            more = {"NUMBA_CACHE_DIR": folder} if empty else {}
            child = Child(python, {**environment, **more})
            first = child.run(Timed("lateral", 1, "summary", None, None), 0.0)["first"]
            found.append(first[1 if empty else 0])
            child.close()
    return found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", help="Python of the other revision's environment")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument(
        "--networks", nargs="+", default=list(dict.fromkeys(case.network for case in CASES))
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    parser.add_argument("--limit", choices=LIMITS, help="instructions that both may use")
    parser.add_argument("--evaluate", action="store_true", help="whole processes instead")
    parser.add_argument("--samples", type=int, default=EVALUATED, help="of --evaluate")
    parser.add_argument("--data-root", type=Path, default=Path("data"), help="of --evaluate")
    parser.add_argument("--skip-starts", action="store_true")
    return parser.parse_args()


def main() -> None:
    """Run the comparison and print it."""
    chosen = options()
    pythons = {"this": sys.executable, "other": chosen.other}
    found: dict[str, Any] = {"limit": chosen.limit, "machine": machine(), "versions": versions()}
    with ExitStack() as stack:
        environments: dict[str, dict[str, str]] = {name: {} for name in pythons}
        if chosen.limit is not None:
            # Kernels of a limit and of a changed revision must not meet others in a cache.
            for name in pythons:
                cache = stack.enter_context(tempfile.TemporaryDirectory())
                environments[name] = {**limited(chosen.limit), "NUMBA_CACHE_DIR": cache}
            if chosen.limit == "avx2":
                environments["other"]["LET_AVX2"] = "1"
        if chosen.evaluate:
            found["evaluate"] = evaluations(pythons, chosen.turns, environments, chosen)
        else:
            found["cases"], found["networks"] = in_turns(
                pythons, chosen.turns, environments, chosen.cpu, chosen.networks
            )
        if chosen.limit is not None and not chosen.evaluate:
            found["integers"] = differing_integers(environments["this"])
        elif not chosen.evaluate and not chosen.skip_starts:
            for name, python in pythons.items():
                warm = starts(python, 5, {}, False)
                cold = starts(python, 1, {}, True)
                found[f"start_{name}"] = {"cached_s": min(warm), "compiled_cpu_s": min(cold)}
                print(
                    f"{name:5} start {min(warm):.3f} s, first of its kind {min(cold):.1f} s of CPU"
                )
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
