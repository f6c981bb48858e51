"""Time of an image's iteration on Lava with samples side by side, against Lava's stock Dense.

Both are the same network; the circuits are compiled first and then run in turn, so that whatever
else the machine does falls on all of them. Every turn begins the samples anew, as a data set would,
and compares the first sample's integers. Needs lava-nc (Python 3.10).

Usage: OPENBLAS_NUM_THREADS=1 python benchmarks/lava_batch.py [--batch 64] [--turns 9] [MODEL.onnx]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg

from pvae_neuro.artifact import load_artifact
from pvae_neuro.bench.networks import TOPOLOGIES, pinned_network
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.lava import LavaNetwork, build_lava
from pvae_neuro.sim.lava.worker import CHANNEL_SLOTS


@dataclass
class Comparison:
    """Milliseconds per image-iteration, turn by turn, and how many integers differed."""

    stock: list[float] = field(default_factory=list)
    batched: list[float] = field(default_factory=list)
    differing: int = 0
    active: float = 0.0

    def summary(self) -> dict[str, Any]:
        """Medians over the turns; ratios within a turn."""
        ratios = [s / b for s, b in zip(self.stock, self.batched, strict=True)]
        return {
            "stock_ms": statistics.median(self.stock),
            "batched_ms": statistics.median(self.batched),
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "active": self.active,
            "differing_integers": self.differing,
        }


def started(network: IntegerNetwork, images: np.ndarray, batch: int) -> LavaNetwork:
    """Compile as the engine does and run a few steps."""
    circuit = build_lava(network, batch=batch)
    circuit.set_input(images if batch > 1 else images[0])
    config = {"pypy_channel_size": CHANNEL_SLOTS}
    circuit.latents.create_runtime(Loihi2SimCfg(select_tag="fixed_pt"), compile_config=config)
    circuit.latents.run(RunSteps(num_steps=3))
    return circuit


def milliseconds(circuit: LavaNetwork, iterations: int, sample: int) -> float:
    """Run new samples; return the time per image-iteration."""
    circuit.reset(sample=sample)
    steps = circuit.steps(iterations)
    start = time.perf_counter()
    circuit.latents.run(RunSteps(num_steps=steps))
    return 1e3 * (time.perf_counter() - start) / (iterations * circuit.batch)


def compare(network: IntegerNetwork, batch: int, iterations: int, turns: int) -> Comparison:
    """Run both circuits in turn."""
    encoding = network.input
    shape = batch, encoding.size
    images = np.random.default_rng(0).uniform(encoding.low, encoding.high, shape)
    stock, batched = started(network, images, 1), started(network, images, batch)
    result = Comparison()
    try:
        for turn in range(turns):
            result.stock.append(milliseconds(stock, iterations, turn * batch))
            result.batched.append(milliseconds(batched, iterations, turn * batch))
            for name in ("z", "u"):
                one, many = (getattr(c.latents, name).get() for c in (stock, batched))
                result.differing += int(np.count_nonzero(one != many[0]))
            result.active = float(np.mean(batched.latents.z.get() > 0))
    finally:
        stock.latents.stop()
        batched.latents.stop()
    return result


def machine() -> dict[str, Any]:
    return {
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS", "default"),
        "versions": {name: version(name) for name in ("pvae-neuro", "lava-nc", "numpy")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="*", type=Path, help="exported networks; else synthetic")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--neurons", type=int, default=512)
    parser.add_argument("--pixels", type=int, default=784)
    parser.add_argument("--iterations", type=int, default=64)
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    networks = {path.name: load_artifact(path).network for path in options.model} or {
        topology: pinned_network(topology, options.neurons, options.pixels, 0.12)
        for topology in TOPOLOGIES
    }
    results = {
        name: compare(network, options.batch, options.iterations, options.turns).summary()
        for name, network in networks.items()
    }
    settings = {key: getattr(options, key) for key in ("batch", "iterations", "turns")}
    print(json.dumps({**machine(), **settings, "results": results}, indent=2))


if __name__ == "__main__":
    main()
