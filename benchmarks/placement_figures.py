"""Cores that networks take on each board, and whether their parts give the same integers.

``python benchmarks/placement_figures.py`` prints three tables and writes them as JSON: cores of
every shipped circuit on every board; cores by number of latents and by the numbers that sources
give, by synaptic memory alone, with what stops a network first when every limit counts; and for
each shipped circuit how many integers of its parts differ from those of the whole.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

import pvae_neuro as pn
from pvae_neuro.bench.networks import pinned_network
from pvae_neuro.errors import PlacementError
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.placement import board_names, place
from pvae_neuro.saved.shipped import SHIPPED
from pvae_neuro.sim.compare import compare

PIXELS = 784
TOPOLOGIES = ("lateral", "predictive")
LATENTS = (512, 1024, 2048, 4096)
SETS: dict[str, dict[str, int]] = {
    "8 bits, 128 KiB": {"synapse": 8, "synaptic_memory": 131_072},
    "8 bits, 96 kB": {"synapse": 8},
    "16 bits, 96 kB": {},
}
# Limits that the table of memory leaves out.
WIDE = dict.fromkeys(("axons_in", "axons_out", "neurons", "cores"), 1 << 30)
ENGINES = ("reference", "fast")


def shipped() -> dict[str, IntegerNetwork]:
    """Every shipped circuit, by name of the model and of the circuit."""
    digits, _ = pn.sample_digits()
    return {
        f"{name} {topology}": pn.quantize(model, digits, pn.QuantizeConfig(topology=topology))
        for name in SHIPPED
        for model in [pn.load_model(name)]
        for topology in topologies(model.config.family)
    }


def on_boards(networks: dict[str, IntegerNetwork]) -> list[dict[str, Any]]:
    """Cores of each network on each board."""
    rows = []
    for name, network in networks.items():
        for board in board_names():
            for limits in ("cautious", "largest"):
                placement = place(network, board, limits)
                cores = {p: len(c) for p, c in placement.by_population.items() if c}
                rows.append(
                    {"network": name, "board": board, "limits": limits, "cores": cores,
                     "all": len(placement.cores), "fullest": placement.largest}
                )  # fmt: skip
                print(f"{name:32} {board:14} {limits:9} {len(placement.cores):4}  {cores}")
    return rows


def by_latents() -> list[dict[str, Any]]:
    """Cores by number of latents, by memory alone; and what the boards say, all limits counted."""
    rows = []
    for topology in TOPOLOGIES:
        for latents in LATENTS:
            network = pinned_network(topology, latents, PIXELS, 0.2)
            cores = {
                name: len(place(network, given={**WIDE, **given}).cores)
                for name, given in SETS.items()
            }
            verdicts = {}
            for board in ("oheo-gulch", "kapoho-point"):
                try:
                    placement = place(network, board)
                    packets = sum(t.packets for t in placement.traffic)
                    verdicts[board] = {"cores": len(placement.cores), "packets": packets,
                                       "fullest": placement.largest}  # fmt: skip
                except PlacementError as error:
                    verdicts[board] = {"reasons": list(error.reasons)}
            row = {"topology": topology, "latents": latents, "memory alone": cores, **verdicts}
            rows.append(row)
            print(f"{topology:10} K = {latents:4}  {cores}")
            for board, verdict in verdicts.items():
                print(f"    {board}: {verdict}")
    return rows


def equality(networks: dict[str, IntegerNetwork], samples: int, steps: int) -> list[dict[str, Any]]:
    """Integers of the parts that differ from those of the whole, on each engine."""
    digits, _ = pn.sample_digits()
    rows = []
    for name, network in networks.items():
        placement = place(network)
        runs = {"whole": pn.get_engine("reference")}
        runs |= {f"parts, {e}": placement.engine(pn.get_engine(e)) for e in ENGINES}
        found = {
            label: engine.run(network, digits[:samples], steps, record="full", progress=False)
            for label, engine in runs.items()
        }
        whole = found.pop("whole").variables
        for label, recording in found.items():
            result = compare(network, whole, recording.variables)
            parts = len(placement.network.populations)
            rows.append(
                {"network": name, "engine": label, "populations": parts,
                 "compared": result.compared, "differing": result.differing}
            )  # fmt: skip
            print(
                f"{name:32} {label:18} {parts:4} populations: {result.differing} of "
                f"{result.compared:,} integers differ"
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", type=int, default=16)
    chosen = parser.parse_args()
    np.seterr(all="raise", under="ignore")
    networks = shipped()
    result = {
        "boards": on_boards(networks),
        "latents": by_latents(),
        "equality": equality(networks, chosen.samples, chosen.steps),
    }
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
