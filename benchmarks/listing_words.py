"""Every shipped circuit as a written listing, read back and run with narrow registers.

Each circuit is quantized, written as `pvae-neuro export --listing` writes it, read back from the
files, and run by ``pvae_neuro/verification/words/``: every operation checks that its word fits
the width that the listing gives it, none of which exceeds 24 bits, and that products fit 48. All
variables of all steps are compared with the engine ``reference``. Before that the sampler's passes
are compared with its thresholds at every log-rate.

Usage: python benchmarks/listing_words.py [--samples 4] [--steps 32] [--seed 0]
           [--models mnist mnist-mlp ...] [--json FILE]
Exits with 1 if an integer differs.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import pvae_neuro as pn
from pvae_neuro.exporters.listing import Passes
from pvae_neuro.exporters.lowerings import topologies
from pvae_neuro.network.sampler import WORDS, cumulative, largest_potential
from pvae_neuro.saved.shipped import SHIPPED
from pvae_neuro.sim.noise import population_noise
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.verification.words import Ints, Machine, State, read_listing, replay

BLOCK = 1 << 13
SHOWN = (
    "{model} {topology}: {differing} of {compared:,} integers differ; {vectors:,} golden words "
    "equal; widest word {word} bits, sum {sum}, product {product}; of the sampler word "
    "{draw_word}, product {draw_product}; passes of a draw {passes:.2f}, at most {most_passes}"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", nargs="+", choices=SHIPPED, default=list(SHIPPED))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    differing, compared = thresholds()
    print(f"sampler, one pass at a time: {differing} of {compared:,} thresholds differ")
    print(f"{options.samples} digits, {options.steps} iterations, seed {options.seed}")
    for name in options.models:
        for topology in topologies(SHIPPED[name].family):
            found.append(measure(name, topology, options))
            print(SHOWN.format(**found[-1]), flush=True)
    if options.json is not None:
        with atomic_path(options.json) as path:
            path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return int(any(each["differing"] for each in found) or differing > 0)


class Passing:
    """Counts passes of the draws of a machine from now on.

    Attributes
    ----------
    draws, passes, most : int
        Of all draws together; ``most`` is that of the longest one.
    """

    def __init__(self, machine: Machine) -> None:
        self.draws = self.passes = self.most = 0
        self._draw = machine.draw
        machine.draw = self._counted  # type: ignore[method-assign]

    def _counted(self, sampler: str, u: Ints, word: Ints) -> list[State]:
        states = self._draw(sampler, u, word)
        self.draws += word.size
        self.passes += sum(int(np.count_nonzero(state["done"] == 0)) for state in states)
        self.most = max(self.most, len(states) - 1)
        return states


def thresholds(max_count: int = 63, frac_bits: int = 14) -> tuple[int, int]:
    """How many thresholds of passes differ from the sampler's, of how many.

    A word draws a count above z if it is at least the threshold of z; what passes compute does not
    depend on the word otherwise, so equal thresholds are equal counts of all words. Early exits are
    tried by their own words.
    """
    passes = Passes(max_count, frac_bits)
    low, high = -16 << frac_bits, largest_potential(max_count, frac_bits)
    differing = compared = 0
    for first in range(low, high + 1, BLOCK):
        u = np.arange(first, min(first + BLOCK, high + 1))
        expected = cumulative(u, max_count, frac_bits)
        state = passes.begin(u, np.full(len(u), WORDS - 1))
        for z in range(max_count):
            going = state["done"] == 0
            state = passes.advance(state, z + 1)
            # The last word is drawn by the end of the loop: at p = 0 every word has its count.
            reached = np.minimum((state["c"] + 32) >> 6, WORDS)
            ended = going & (state["done"] == 1)
            differing += int(np.count_nonzero(going & ~ended & (reached != expected[:, z])))
            differing += int(np.count_nonzero(ended & (expected[:, z] != WORDS)))
            compared += int(np.count_nonzero(going))
        first_word = expected[:, 0].astype(np.int64)
        silent = passes.draw(u, np.maximum(first_word - 1, 0))[first_word > 0] == 0
        firing = passes.draw(u, np.minimum(first_word, WORDS - 1))[first_word < WORDS] > 0
        differing += int(np.count_nonzero(~silent) + np.count_nonzero(~firing))
        compared += len(silent) + len(firing)
    return differing, compared


def measure(name: str, topology: str, options: argparse.Namespace) -> dict[str, Any]:
    """Compare one circuit; what differs and the widths of its listing."""
    digits = pn.sample_digits()[0]
    network = pn.quantize(pn.load_model(name), digits, pn.QuantizeConfig(topology=topology))
    images = digits[: options.samples]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pn.write_listing(network, Path(scratch, "listing"), images)
        machine = read_listing(folder)
        vectors = replay(machine, json.loads((folder / "vectors.json").read_text("utf-8")))
        text = (folder / "listing.txt").read_text("utf-8")
    words = {
        p.name: population_noise(p, options.seed, range(options.steps + 1), range(len(images)))
        for p in network.drawing
    }
    expected = pn.get_engine("reference").run(
        network, images, options.steps, options.seed, record="full", progress=False
    )
    taken = Passing(machine)
    states = machine.run(len(images), machine.encode(images), words, options.steps)
    differing = compared = 0
    for step, state in enumerate(states):
        for variable in network.variables:
            values = expected[variable][:, step]
            differing += int(np.count_nonzero(values != state[variable]))
            compared += values.size
    sampler, _, populations = text.partition("\npopulation ")
    return {
        "model": name,
        "topology": topology,
        "differing": differing,
        "compared": compared,
        "vectors": vectors,
        "word": _widest(r"\) +(\d+) bits", populations),
        "sum": _widest(r" sum (\d+) bits", populations),
        "product": _widest(r", product (\d+) bits", populations),
        "passes": taken.passes / max(1, taken.draws),
        "most_passes": taken.most,
        "draw_word": _widest(r"\) +(\d+) bits", sampler),
        "draw_product": _widest(r", product (\d+) bits", sampler),
    }


def _widest(pattern: str, text: str) -> int | None:
    return max(map(int, re.findall(pattern, text)), default=None)


if __name__ == "__main__":
    sys.exit(main())
