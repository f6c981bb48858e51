"""Search for a network on which an engine differs from ``reference``: thousands, overnight.

Networks are random and proved, over all word operations, connection kinds and schedules. Every
variable of every population is compared at every step. Ends with exit code 1 at the first
difference; the network's listing and numbers are then saved, and the command to make it again is
printed.

Usage: python benchmarks/random_networks.py [--networks 2000] [--lava 40] [--seed 0]
           [--engines fast onnx] [--first 0] [--per-structure 4] [--out differences]
"""

from __future__ import annotations

import argparse
import pickle
import sys
import time
from collections import Counter
from pathlib import Path

from pvae_neuro.errors import EngineUnavailableError, PvaeNeuroError
from pvae_neuro.network import listing
from pvae_neuro.sim.engine import Engine, get_engine
from pvae_neuro.verification.search import Trial, trials

SECONDS_BETWEEN_LINES = 10.0


def main() -> int:
    options = _options()
    engines = _working(options.engines)
    structures = -(-options.networks // options.per_structure)
    searched = trials(options.seed, structures, options.per_structure, first=options.first)
    if not _search(
        "random networks", searched, engines, structures * options.per_structure, options
    ):
        return 1
    lava = _working(["lava"]) if options.lava else []
    searched = trials(options.seed, options.lava, first=options.first)
    return 0 if not lava or _search("on Lava", searched, lava, options.lava, options) else 1


def _search(what, searched, engines, number, options) -> bool:
    """Whether all engines agree on all trials."""
    ran: Counter[str] = Counter()
    lacking: Counter[str] = Counter()
    started = told = time.monotonic()
    for done, trial in enumerate(searched, start=1):
        for engine in engines:
            missing = engine.unsupported(trial.network)
            if missing:
                lacking[missing[0]] += 1
                continue
            difference = _difference(trial, engine)
            if difference is not None:
                _save(trial, engine, difference, options)
                return False
            ran[engine.name] += 1
        if time.monotonic() - told > SECONDS_BETWEEN_LINES or done == number:
            told = time.monotonic()
            counts = ", ".join(f"{name} {count}" for name, count in ran.items())
            print(
                f"{what}: {done} of {number} in {told - started:.0f} s; equal: {counts}", flush=True
            )
    for reason, count in lacking.items():
        print(f"{count} left out: {reason}")
    return True


def _difference(trial: Trial, engine: Engine) -> str | None:
    try:
        return trial.difference(engine)
    except PvaeNeuroError as error:
        return f"{engine.name}: {error}"


def _save(trial: Trial, engine: Engine, difference: str, options: argparse.Namespace) -> None:
    name = f"{engine.name}-{trial.seed}-{trial.structure}-{trial.number}"
    options.out.mkdir(parents=True, exist_ok=True)
    text = options.out / f"{name}.txt"
    text.write_text(f"{difference}\n\n{listing(trial.network)}", encoding="utf-8")
    (options.out / f"{name}.pickle").write_bytes(pickle.dumps(trial))
    print(difference)
    print(f"listing: {text}")
    print(f"again: {_command(trial, engine, options)}")


def _command(trial: Trial, engine: Engine, options: argparse.Namespace) -> str:
    """Command that makes the trial again; Lava's trials have one network for each structure."""
    which = f"--seed {trial.seed} --first {trial.structure}"
    if engine.name == "lava":
        which += " --networks 0 --lava 1"
    else:
        size = options.per_structure
        which += f" --engines {engine.name} --networks {size} --per-structure {size} --lava 0"
    return f"python benchmarks/random_networks.py {which}"


def _working(names: list[str]) -> list[Engine]:
    found = []
    for name in names:
        engine = get_engine(name)
        try:
            engine.require()
        except EngineUnavailableError as error:
            print(f"left out: {error}")
        else:
            found.append(engine)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--lava", type=int, default=40, help="networks that run on Lava too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first structure")
    parser.add_argument("--per-structure", type=int, default=4)
    parser.add_argument("--engines", nargs="+", default=["fast", "onnx", "torch"])
    parser.add_argument("--out", type=Path, default=Path("differences"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
