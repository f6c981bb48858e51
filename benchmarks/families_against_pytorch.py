"""Times the engine ``fast`` against the float PyTorch iteration of the same model, in turns.

Usage::

    python benchmarks/families_against_pytorch.py MODEL.safetensors [--artifact MODEL.onnx]
        [--batch 256] [--threads 2] [--turns 9] [--cpu] [--record last] [--json out.json]

Both advance the same images, digits that come with the package unless ``--input`` names others, by
``--steps`` iterations a call. PyTorch runs ``Model.iterate`` in its eager mode, which also decodes
the counts that it draws; with ``--record last`` neither keeps figures of iterations. The integers
are those of the artifact, else the model is quantized here. The order changes every turn, and a
ratio is formed within a turn. ``--cpu`` takes the processor's time instead of the clock's, with
one thread each, for a machine that others use too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine, versions

import pvae_neuro as pn
from pvae_neuro.bench.timing import PAUSE, Spread
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.engine import get_engine

Run = Callable[[], None]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="float model: a file, or a name that the package knows")
    parser.add_argument("--artifact", type=Path, help="its integers; by default quantized here")
    parser.add_argument("--topology", help="circuit to quantize to; by default the family's first")
    parser.add_argument("--input", type=Path, help="images, float [N, M] in a .npy file")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--record", choices=("last", "summary"), default="last")
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def pytorch(saved: Any, images: Any, steps: int) -> Run:
    """Iterations of the float model from its initial state; nothing is kept."""
    model = model_from_saved(saved)
    x = torch.from_numpy(images)

    def run() -> None:
        generator = torch.Generator().manual_seed(0)
        state = model.start(x)
        for _ in range(steps):
            state = model.iterate(x, state, generator).state

    return run


def fast(network: IntegerNetwork, images: Any, chosen: argparse.Namespace) -> Run:
    """A run of the engine."""
    engine = get_engine("fast", threads=chosen.threads)
    engine.prepare(network, chosen.record)

    def run() -> None:
        engine.run(network, images, chosen.steps, 0, record=chosen.record, progress=False)

    return run


def activity(network: IntegerNetwork, images: Any) -> dict[str, float]:
    """Share of values that are not zero, of every variable that a connection sends."""
    sent = sorted(
        f"{population}.{variable}"
        for population, variable in {(c.source, c.variable) for c in network.connections}
        if not network.population_of[population].is_input
    )
    recording = get_engine("fast").run(network, images[:16], 32, 0, record=sent, progress=False)
    return {name: float((recording[name] != 0).mean()) for name in sent}


def main() -> None:
    """Run the comparison and print it."""
    chosen = options()
    if chosen.cpu:
        chosen.threads = 1
    torch.set_num_threads(chosen.threads)
    saved = pn.load_model(chosen.model)
    digits = pn.sample_digits()[0] if chosen.input is None else np.load(chosen.input)
    flat = digits.reshape(len(digits), -1).astype(np.float32)
    if chosen.artifact is None:
        network = pn.quantize(saved, flat, pn.QuantizeConfig(topology=chosen.topology))
    else:
        network = pn.load_artifact(chosen.artifact).network
    images = np.resize(flat, (chosen.batch, flat.shape[1]))
    runs = {"pytorch": pytorch(saved, images, chosen.steps), "fast": fast(network, images, chosen)}
    clock = time.process_time if chosen.cpu else time.perf_counter
    unit = 1e6 / (chosen.batch * chosen.steps)
    cost: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(chosen.turns + 1):
        for name in sorted(runs, reverse=bool(turn % 2)):
            time.sleep(PAUSE)
            begin = clock()
            runs[name]()
            # The first turn warms up.
            if turn:
                cost[name].append(unit * (clock() - begin))
    ratios = [a / b for a, b in zip(cost["pytorch"], cost["fast"], strict=True)]
    found = {
        "model": Path(chosen.model).name,
        "network": repr(network),
        "sent": activity(network, images),
        **{name: getattr(chosen, name) for name in ("batch", "steps", "threads", "cpu", "record")},
        **{f"{name}_us": asdict(Spread.of(values)) for name, values in cost.items()},
        "ratio": asdict(Spread.of(ratios)),
        "machine": machine(),
        "versions": versions(),
    }
    for name, values in cost.items():
        spread = Spread.of(values)
        print(
            f"{name:8} {spread.median:8.2f} us per image and iteration "
            f"({spread.q25:.2f} to {spread.q75:.2f}, best {min(values):.2f})"
        )
    ratio = Spread.of(ratios)
    print(f"fast is {ratio.median:.2f} times as fast ({ratio.q25:.2f} to {ratio.q75:.2f})")
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
