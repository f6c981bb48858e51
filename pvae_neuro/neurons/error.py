"""Error neurons: they compare an input with its prediction and send the weighted difference.

``m = clamp(((pixel - prediction) * gain) >> gain_shift, -limit, limit)``; predictive coding.
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, trace


def compare(n: Neuron) -> None:
    """Graded spike of the error."""
    error = n.pixel - n.prediction
    n.m = n.clip(n.mul(error, n.gain, n.gain_shift), n.low, n.high)


COMPARE = trace(compare)
