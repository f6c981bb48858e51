"""Networks in C on emulated processors: integers compared, instructions and bytes counted.

Two networks of 64 latents and 64 pixels, cut out of the shipped model `mnist`, run for 32
iterations on each processor; every variable of every step is compared with the engine `reference`.
What programs cost is counted in instructions for each latent and iteration: the update and the
share of an error neuron (pixels / latents) in that run; the draw on the potentials and words of the
shipped model's own first 32 iterations on digits. Synapses are counted apart; random words are
given. Emulation counts instructions, and says nothing of time.
Exits with 1 if an integer differs or a program takes more than its limit.

Usage: python benchmarks/emulated_processors.py [--digits 16] [--shipped] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import pvae_neuro as pn
from pvae_neuro.exporters.c import c_source, layout_of
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.saved.shipped import SHIPPED
from pvae_neuro.sim.c_kernel.engine import CEngine
from pvae_neuro.sim.c_kernel.processors import PROCESSORS, build
from pvae_neuro.sim.c_kernel.session import EmulatedSession
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.utils.files import atomic_path

SIDE = 8
LATENTS = SIDE * SIDE
ITERATIONS = 32
KERNEL = "kernel"
"""Begins the names in the engine's code."""
LIMITS = {"cortex-m4": 250, "i586": 320}


def small_model(model: pn.SavedModel) -> tuple[pn.SavedModel, np.ndarray]:
    """A model of 64 latents and the 64 pixels in the middle; those pixels' numbers."""
    side = model.config.image_shape[0]
    rows = np.arange((side - SIDE) // 2, (side + SIDE) // 2)
    pixels = (rows[:, None] * side + rows).ravel()
    # Those that explain most there.
    dictionary = model.arrays["dictionary"][pixels]
    latents = np.sort(np.argsort(-np.square(dictionary).sum(axis=0))[:LATENTS])
    arrays = {
        "dictionary": dictionary[:, latents],
        "log_sigma": model.arrays["log_sigma"][pixels],
        "log_step_size": model.arrays["log_step_size"],
        **{name: model.arrays[name][latents] for name in ("initial_potential", "log_bias")},
    }
    changed = {"pixels": len(pixels), "latents": LATENTS, "image_shape": (SIDE, SIDE)}
    return pn.SavedModel(model.config.model_copy(update=changed), arrays), pixels


class Draws(NamedTuple):
    """Draws of 64 neurons at once, each int [n, 64]."""

    potentials: np.ndarray
    words: np.ndarray
    counts: np.ndarray


def shipped_draws(model: pn.SavedModel, digits: np.ndarray) -> Draws:
    """A quarter of the draws of the shipped model."""
    network = pn.quantize(model, digits, pn.QuantizeConfig(topology="lateral"))
    run = pn.get_engine("reference").run(network, digits, ITERATIONS, record="full", progress=False)
    latents = network.population_of["latents"]
    initial = np.broadcast_to(latents.variable("u").initial, (len(digits), 1, latents.size))
    u = np.concatenate([initial, run["latents.u"][:, : ITERATIONS - 1]], axis=1)
    words = population_noise(latents, 0, range(ITERATIONS), range(len(digits)))
    counts = run["latents.z"][:, :ITERATIONS]
    print(f"shipped model: {(counts > 0).mean():.1%} of draws above 0, mean {counts.mean():.2f}")
    return Draws(*(each.reshape(-1, LATENTS)[::4] for each in (u, words, counts)))


def differences(engine: CEngine, network: pn.IntegerNetwork, images: np.ndarray) -> tuple[int, int]:
    """Integers of every variable and step that were compared, and that differ."""
    expected, got = (
        each.run(network, images, ITERATIONS, record="full", progress=False).variables
        for each in (pn.get_engine("reference"), engine)
    )
    found = [values != got[name] for name, values in expected.items()]
    return sum(each.size for each in found), sum(int(each.sum()) for each in found)


def measure(
    processor: str, network: pn.IntegerNetwork, images: np.ndarray, draw: float
) -> dict[str, float]:
    """Differences, instructions for each latent and iteration, and bytes."""
    engine = CEngine(processor)
    compared, differ = differences(engine, network, images)
    names = layout_of(network, KERNEL).names
    programs = {".".join(key): function for key, function in names.program.items()}
    receives = tuple(dict.fromkeys(names.receive.values()))
    counts = _own_run(engine, network, images, (*programs.values(), *receives))
    steps = ITERATIONS * LATENTS
    update = counts[programs["latents.integrate"]] / steps
    errors = counts[programs.get("errors.compare", "")] / steps
    image = build(
        c_source(network, KERNEL, weights=False), PROCESSORS[processor], f"{KERNEL}_iteration"
    )
    layout = layout_of(network, KERNEL)
    weights = sum(a.nbytes for path, a in layout.data.items() if path[0] == "weights")
    return {
        "compared": compared,
        "differ": differ,
        "update": update,
        "draw": draw,
        "error share": errors,
        "programs": update + draw + errors,
        "synapses": sum(counts[function] for function in receives) / steps,
        "code bytes": image.code_bytes,
        "constant bytes": image.constant_bytes,
        "state bytes": layout.state_dtype.itemsize,
        "array bytes": sum(a.nbytes for a in layout.data.values()) - weights,
        "weight bytes": weights,
    }


def _own_run(
    engine: CEngine, network: pn.IntegerNetwork, images: np.ndarray, functions: tuple[str, ...]
) -> Counter[str]:
    """Instructions of each function over the iterations of the first image."""
    session = engine.session(network)
    assert isinstance(session, EmulatedSession)
    words = population_noise(network.population_of["latents"], 0, range(ITERATIONS), [0])[0]
    session.call("reset")
    x = network.input.encode(images[:1])[:, None]
    for name, values in engine.encode(network, x).items():
        session.views[name][:] = values[0, 0]
    with session.emulator.counting((*functions, f"{KERNEL}_iteration")) as counts:
        for row in words:
            session.views["latents.word"][:] = row
            session.call("iteration")
    return counts


def draw_cost(processor: str, network: pn.IntegerNetwork, draws: Draws) -> float:
    """Instructions of a draw; fails where a count differs."""
    session = CEngine(processor).session(network)
    assert isinstance(session, EmulatedSession)
    counts = session.views["latents.z"]
    with session.emulator.counting() as instructions:
        for u, words, expected in zip(*draws, strict=True):
            session.views["latents.u"][:] = u
            session.views["latents.word"][:] = words
            session.call("latents_fire")
            np.testing.assert_array_equal(counts, expected)
    return instructions.total() / draws.counts.size


def shipped_networks(digits: np.ndarray) -> Iterator[dict[str, object]]:
    """Every circuit of every shipped model, one digit, on this machine and on each processor."""
    for name, shipped in SHIPPED.items():
        for topology in topologies(shipped.family):
            config = pn.QuantizeConfig(topology=topology)
            network = pn.quantize(pn.load_model(name), digits, config)
            for processor in (None, *PROCESSORS):
                compared, differ = differences(CEngine(processor), network, digits[:1])
                yield {
                    "model": name, "topology": topology, "processor": processor or "this machine",
                    "compared": compared, "differ": differ,
                }  # fmt: skip


def main() -> int:
    options = _options()
    model = pn.load_model("mnist")
    digits, _ = pn.sample_digits()
    small, pixels = small_model(model)
    images = digits[: options.digits]
    draws = shipped_draws(model, images)
    rows: list[dict[str, object]] = []
    cost: dict[str, float] = {}
    for topology in ("lateral", "predictive"):
        network = pn.quantize(small, digits[:, pixels], pn.QuantizeConfig(topology=topology))
        cost = cost or {name: draw_cost(name, network, draws) for name in PROCESSORS}
        for processor in PROCESSORS:
            found = measure(processor, network, images[:, pixels], cost[processor])
            rows.append({"processor": processor, "topology": topology, **found})
            _tell(rows[-1])
    good = all(float(str(r["programs"])) <= LIMITS[str(r["processor"])] for r in rows)
    if options.shipped:
        for row in shipped_networks(digits):
            rows.append(row)
            _tell(row)
    if options.json is not None:
        with atomic_path(options.json) as path:
            path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    good = good and all(row["differ"] == 0 for row in rows)
    print("within the limits" if good else f"beyond the limits: {LIMITS}, no difference")
    return 0 if good else 1


def _tell(row: dict[str, object]) -> None:
    print(", ".join(f"{k} {_short(v)}" for k, v in row.items()), flush=True)


def _short(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=int, default=16)
    parser.add_argument("--shipped", action="store_true", help="run every shipped circuit too")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
