"""Compares the engine ``torch`` with ``reference`` on every shipped model: integers, then time.

Usage::

    python benchmarks/tensors_against_reference.py [MODEL ...] [--batch 64] [--steps 16]
        [--threads 1] [--turns 3] [--device cpu] [--record last] [--cpu] [--json out.json]

Each circuit of each model is quantized, run by both engines with everything recorded, and compared:
every variable of every step and every figure. Then both run the same images in turns, with as many
threads, and a ratio is formed within a turn. ``--cpu`` takes the processor's time instead of the
clock's, for a machine that others use too. The exit status is 1 where an integer differs, or where
a ratio is below ``--at-least``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, versions

import pvae_neuro as pn
from pvae_neuro.bench.timing import Spread
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.shipped import SHIPPED
from pvae_neuro.sim.engine import Engine, get_engine

FIGURES = ("spikes", "active", "saturated", "squared_error", "reconstruction")
# Images that are compared with everything recorded.
COMPARED = 8


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(SHIPPED), help="shipped names")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--record", choices=("last", "summary"), default="last")
    parser.add_argument("--cpu", action="store_true", help="processor time of all threads")
    parser.add_argument("--at-least", type=float, default=3.0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def networks(names: list[str]) -> Iterator[tuple[str, IntegerNetwork]]:
    """Every circuit of the models."""
    digits = pn.sample_digits()[0]
    for name in names:
        model = pn.load_model(name)
        for topology in topologies(SHIPPED[name].family):
            config = pn.QuantizeConfig(topology=topology)
            yield f"{name} {topology}", pn.quantize(model, digits, config)


def differing(network: IntegerNetwork, engines: list[Engine], images: Any, steps: int) -> int:
    """Integers that differ: variables, last values, figures."""
    first, second = (
        e.run(network, images, steps, 0, record="full", progress=False) for e in engines
    )
    pairs = [(getattr(first, name), getattr(second, name)) for name in FIGURES]
    for name in network.variables:
        pairs += [(first[name], second[name]), (first.last[name], second.last[name])]
    return sum(int((a != b).sum()) for a, b in pairs if a is not None)


def times(
    network: IntegerNetwork, engines: list[Engine], images: Any, chosen: argparse.Namespace
) -> list[list[float]]:
    """Microseconds for an image and iteration, by engine and turn; the first turn warms up."""
    clock = time.process_time if chosen.cpu else time.perf_counter
    unit = 1e6 / (len(images) * chosen.steps)
    found: list[list[float]] = [[] for _ in engines]
    for turn in range(chosen.turns + 1):
        order = list(enumerate(engines))
        for number, engine in reversed(order) if turn % 2 else order:
            begin = clock()
            engine.run(network, images, chosen.steps, 0, record=chosen.record, progress=False)
            if turn:
                found[number].append(unit * (clock() - begin))
    return found


def main() -> int:
    """Run the comparison and print it."""
    chosen = options()
    digits = pn.sample_digits()[0]
    images = np.resize(digits.reshape(len(digits), -1), (chosen.batch, 784))
    tensors = get_engine("torch", device=chosen.device, threads=chosen.threads)
    engines = [get_engine("reference"), tensors]
    rows, failed = [], False
    print(f"{'model':34} {'integers that differ':>20} {'reference':>12} {'torch':>9} {'ratio':>7}")
    for name, network in networks(chosen.models):
        wrong = differing(network, engines, images[:COMPARED], chosen.steps)
        slow, quick = times(network, engines, images, chosen)
        ratio = Spread.of([a / b for a, b in zip(slow, quick, strict=True)])
        rows.append(
            {
                "model": name,
                "differing": wrong,
                "reference_us": asdict(Spread.of(slow)),
                "torch_us": asdict(Spread.of(quick)),
                "ratio": asdict(ratio),
            }
        )
        failed |= bool(wrong) or ratio.median < chosen.at_least
        print(
            f"{name:34} {wrong:20} {rows[-1]['reference_us']['median']:9.1f} us "
            f"{rows[-1]['torch_us']['median']:6.1f} us {ratio.median:6.1f}x",
            flush=True,
        )
    if chosen.json:
        settings = {k: v for k, v in vars(chosen).items() if k != "json"}
        found = {"rows": rows, **settings, "machine": machine(), "versions": versions()}
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
