"""Poisson neurons whose log-rate an encoder sets anew in every iteration (arXiv 2405.14473).

``u = clamp(received + bias, low, high) >> shift``: the bias holds the logarithm of the prior rate.
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, trace

LARGEST_LOG_CHANGE = 10.0
"""Upper bound of what the encoder adds to the logarithm of the prior rate."""

LARGEST_LOG_RATE = 5.0
"""Upper bound of a log-rate: rates end at 148."""


def encode(n: Neuron) -> None:
    """Log-rate from the last layer of the encoder, clamped in the unit of its sum."""
    n.u = n.shr(n.clip(n.received + n.bias, n.low, n.high), n.shift)


ENCODE = trace(encode)
