"""Shipped circuits as programs for the cores of a SpiNNaker2 chip, run core by core in emulation.

Each circuit is placed on the board ``spinnaker2``, built for Cortex-M4, and run on one emulated
processor for each core; messages pass between them. All variables of all steps are compared with
the engine ``reference``. Bytes are those that the linker reports, and as counted for the memory
map; instructions are those of the busiest core in one iteration. Nothing here ran on a chip.

Usage: python benchmarks/spinnaker2_cores.py [--samples 4] [--steps 32] [--seed 0] [--json FILE]
           [--circuits mnist/lateral mnist/predictive]
Exits with 1 if an integer differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import pvae_neuro as pn
from pvae_neuro.errors import PlacementError
from pvae_neuro.exporters.c import layout_of
from pvae_neuro.exporters.cores import KERNEL, cut, memory_of
from pvae_neuro.placement import Placement, place
from pvae_neuro.sim.c_kernel.cores import Built, Chip, CoresEngine
from pvae_neuro.sim.compare import compare
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.utils.files import atomic_path

CIRCUITS = ("mnist/lateral", "mnist/predictive")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--circuits", nargs="+", default=CIRCUITS, metavar="MODEL/CIRCUIT")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"{options.samples} digits, {options.steps} iterations, seed {options.seed}; emulated")
    found = []
    for circuit in options.circuits:
        try:
            found.append({"circuit": circuit, **measure(*circuit.split("/"), options)})
        except PlacementError as error:
            print(f"{circuit}: does not fit: {error}")
            continue
        print(
            "{circuit}: {cores} cores, {differing} of {compared:,} integers differ; the fullest "
            "core: code {code:,} B, arrays {arrays:,}, variables {variables:,}, in all {linked:,}; "
            "with the reserve {counted:,} of {core_bytes:,}; messages between cores {messages:,.0f}"
            ", instructions of the busiest core {instructions:,} in an iteration".format(
                **found[-1]
            ),
            flush=True,
        )
    if options.json is not None:
        with atomic_path(options.json) as path:
            path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return int(any(each["differing"] for each in found))


def measure(name: str, topology: str, options: argparse.Namespace) -> dict[str, Any]:
    """Build, run and compare one circuit."""
    digits = pn.sample_digits()[0]
    network = pn.quantize(pn.load_model(name), digits, pn.QuantizeConfig(topology=topology))
    placement, engine = place(network, "spinnaker2"), CoresEngine()
    made = cut(placement.network)
    maps = [memory_of(made, core, layout_of(core.circuit, KERNEL)) for core in made.cores]
    counted, core_bytes = max(memory.total for memory in maps), placement.maximum["memory"]
    if core_bytes is not None and counted > core_bytes:
        raise PlacementError(f"a core takes {counted:,} of {core_bytes:,} bytes")
    built = engine.built(placement.network)
    images = digits[: options.samples]
    runs = [
        each.run(network, images, options.steps, options.seed, record="full", progress=False)
        for each in (pn.get_engine("reference"), placement.engine(engine))
    ]
    result = compare(network, *(run.variables for run in runs))
    linked = [(i.code_bytes, i.constant_bytes, i.variable_bytes) for i in built.images]
    fullest = max(linked, key=sum)
    return {
        "cores": len(built.images),
        "differing": result.differing,
        "compared": result.compared,
        "code": fullest[0],
        "arrays": fullest[1],
        "variables": fullest[2],
        "linked": sum(fullest),
        "largest_code": max(code for code, _, _ in linked),
        "counted": counted,
        "core_bytes": core_bytes,
        "messages": engine.messages / len(images) / options.steps,
        "instructions": instructions(placement, built, engine, images[:1], options),
    }


def instructions(
    placement: Placement,
    built: Built,
    engine: CoresEngine,
    image: np.ndarray,  # type: ignore[type-arg]
    options: argparse.Namespace,
) -> int:
    """Instructions of the busiest core in the last iteration of one image."""
    network = placement.network
    chip = Chip(built, engine.processor)
    chip.start(options.steps)
    pixels = network.input.encode(image)
    inputs = {
        f"{e.population}.{e.variable}": e.apply(pixels)[0].astype(np.int32)
        for e in network.encodings
    }
    counts = []
    for step in range(options.steps):
        words = {
            f"{p.name}.word": population_noise(p, options.seed, range(step, step + 1), [0])[0, 0]
            for p in network.drawing
        }
        host = inputs if step == 0 else {}
        with ExitStack() as stack:
            if step == options.steps - 1:
                counts = [stack.enter_context(core.counting()) for core in chip.cores]
            chip.step({**host, **{n: w.astype(np.int32) for n, w in words.items()}}, is_last=False)
    return max(sum(count.values()) for count in counts)


if __name__ == "__main__":
    sys.exit(main())
