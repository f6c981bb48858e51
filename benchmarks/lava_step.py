"""Time of an iteration on Lava, against Lava's own stock LIF and Dense of the same size.

All networks are compiled first and then run in turn, so that whatever else the machine does falls
on all of them; each figure is a median over the turns. Needs lava-nc (Python 3.10).

Usage: python benchmarks/lava_step.py [--neurons 512] [--steps 200] [--turns 11]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIF

from pvae_neuro.bench.networks import pinned_network
from pvae_neuro.sim.lava import build_lava

MESSAGE_BITS = 24
ACTIVITY = 0.12
TOPOLOGIES = ("lateral", "predictive")
LARGEST_MANTISSA = 9
Step = Callable[[int], None]


def stock(neurons: int, message_bits: int) -> Any:
    """Recurrent LIF and Dense, driven to fire; 0 bits of messages are binary spikes."""
    largest, rng = LARGEST_MANTISSA, np.random.default_rng(0)
    weight = rng.integers(-largest, largest + 1, (neurons, neurons)).astype(np.int32) * 2
    lif = LIF(shape=(neurons,), bias_mant=10, bias_exp=6, vth=100, du=4095, dv=400)
    dense = Dense(weights=weight, weight_exp=-1, num_message_bits=message_bits)
    lif.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    return lif


def ready(process: Any) -> Step:
    process.run(RunSteps(num_steps=3), Loihi2SimCfg(select_tag="fixed_pt"))
    return lambda steps: process.run(RunSteps(num_steps=steps))


def seconds(run: Step, steps: int) -> float:
    start = time.perf_counter()
    run(steps)
    return time.perf_counter() - start


def var_costs(process: Any, neurons: int) -> dict[str, float]:
    """Seconds of setting and getting Vars between runs."""
    wide = timed(lambda: process.u.set(np.zeros(neurons)))
    process.step.set(np.zeros(1))
    got = timed(process.z.get)
    one = timed(lambda: [process.step.set(np.zeros(1)) for _ in range(20)]) / 20
    return {f"Var.set of {neurons}": wide, f"Var.get of {neurons}": got, "Var.set of 1": one}


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neurons", type=int, default=512)
    parser.add_argument("--pixels", type=int, default=784)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--turns", type=int, default=11)
    options = parser.parse_args()
    neurons, pixels = options.neurons, options.pixels
    ours = {
        topology: build_lava(pinned_network(topology, neurons, pixels, ACTIVITY))
        for topology in TOPOLOGIES
    }
    hops = {name: network.steps_per_iteration for name, network in ours.items()}
    processes = {
        "stock LIF + Dense": stock(neurons, MESSAGE_BITS),
        "stock LIF + Dense, binary spikes": stock(neurons, 0),
        **{name: network.latents for name, network in ours.items()},
    }
    runs = {name: ready(process) for name, process in processes.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.turns):
        for name, run in runs.items():
            steps = options.steps * hops.get(name, 1)
            times[name].append(seconds(run, steps) / options.steps)
    report(times)
    for name, cost in var_costs(ours["lateral"].latents, neurons).items():
        print(f"{name:34s} {1e3 * cost:8.3f} ms")
    for process in processes.values():
        process.stop()


def report(times: dict[str, list[float]]) -> None:
    baseline = times["stock LIF + Dense"]
    print(f"{len(baseline)} turns; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':34s} {'ms/iteration':>12s} {'ratio':>7s}  turn by turn")
    for name, values in times.items():
        ratios = [value / base for value, base in zip(values, baseline, strict=True)]
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        milliseconds = 1e3 * statistics.median(values)
        print(f"{name:34s} {milliseconds:12.3f} {middle:7.2f}  {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
