"""Widths of graded spikes, chosen by what the network loses on its calibration inputs.

By default a graded spike is as wide as the proof of 24 bits allows; nothing is lost by that
(docs/quantization.md). Narrower ones are for hardware and links that have fewer bits: asked for a
loss, each hop in turn takes the narrowest width at which all of them together stay within it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Choice, IntegerNetwork
from pvae_neuro.network.partly_rounded import (
    hops,
    late_errors,
    percent_above,
    reconstructed,
    run_partly_rounded,
)
from pvae_neuro.network.sampler import WORDS

Widths = dict[str, int]
Lower = Callable[[Mapping[str, int]], IntegerNetwork]

ITERATIONS = 32
# Widths tried: none loses anything above the first, and with the last only signs are left.
WIDEST, NARROWEST = 12, 2
_SEED = 2


def narrowest_widths(
    lower: Lower, sent: Sequence[str], images: NDArray[np.floating[Any]], percent: float
) -> tuple[Widths, tuple[Choice, ...]]:
    """Narrowest widths within a loss.

    Parameters
    ----------
    lower : callable
        Makes the network of some widths, by the ``population.variable`` that is sent.
    sent : sequence of str
        Graded spikes.
    images : float [B, M]
        Calibration inputs, at least two.
    percent : float
        Most that the mean squared error may rise, in percent, plus one standard error.

    Returns
    -------
    dict of str to int
        Width, sign included, of each graded spike that can be narrower than ``WIDEST``.
    tuple of Choice
        What was measured.
    """
    widest = squared_errors(lower({}), images)
    found, choices = Widths(), list[Choice]()
    for name in sent:
        loss = refused = "not tried"
        for bits in range(WIDEST, NARROWEST - 1, -1):
            above, error = percent_above(
                squared_errors(lower({**found, name: bits}), images), widest
            )
            measured = f"{above:+.2f} ± {error:.2f} %"
            # Not-a-number is within nothing.
            if not above + error <= percent:
                refused = f"{bits} bits: {measured}"
                break
            found[name], loss = bits, measured
        if name in found:
            why = (
                f"bits, narrowest at which the MSE on {len(images)} calibration inputs rises by at "
                f"most {percent:g} %, all hops so far together: {loss}; {refused}"
            )
            choices.append(Choice(f"{name} width", found[name], why))
    return found, tuple(choices)


def squared_errors(
    network: IntegerNetwork, images: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Squared error of each image over the second half of a short run: float64 [B]."""
    rng = np.random.Generator(np.random.Philox(_SEED))
    words = {
        p.name: rng.integers(0, WORDS, (len(images), ITERATIONS + 1, p.size), dtype=np.uint16)
        for p in network.drawing
    }
    states = run_partly_rounded(network, images, words, ITERATIONS, hops(network))
    return late_errors(states, partial(reconstructed, network), images, ITERATIONS)
