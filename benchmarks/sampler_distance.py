"""Largest distance of the sampler's thresholds from Poisson's law, for all potentials.

Usage: python benchmarks/sampler_distance.py

A threshold depends on the potential by its binary logarithm of the rate alone, in units of 2**-16:
every value that this can have is tried. ``DISTANCE`` in ``sim/fast/thresholds.py`` rests on it.
"""

from __future__ import annotations

import json

import numpy as np

from pvae_neuro.network import sampler

BLOCK = 1 << 12
# At this position a potential is finer than the logarithm, so that all of its values are met.
FRAC_BITS = 17


def largest_distance(max_count: int, first: int, last: int, step: int = 1) -> float:
    """Largest distance in words over potentials of ``FRAC_BITS`` from ``first`` to ``last``."""
    largest = 0.0
    for start in range(first, last + 1, BLOCK * step):
        u = np.arange(start, min(start + BLOCK * step, last + 1), step)
        drawn = sampler.cumulative(u, max_count, FRAC_BITS)[:, :max_count]
        law = sampler.WORDS * sampler.poisson_cdf(np.exp(u / 2.0**FRAC_BITS), max_count)
        largest = max(largest, float(np.abs(drawn - law).max()))
    return largest


def main() -> None:
    found = {}
    for max_count in (63, 127, 255):
        last = sampler.largest_potential(max_count, FRAC_BITS)
        first = sampler.LOWEST_POTENTIAL << FRAC_BITS
        found[sampler.rate_bits(max_count)] = largest_distance(max_count, first, last)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
