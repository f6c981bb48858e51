"""Rectifiers: a layer of a network, forward, and backward through the same neurons.

Forward ``a = max(0, received + bias)``; backward ``d = back`` where the sum was above 0, else 0:
the derivative of the rectifier. Each neuron scales what it sends, either way, by a gain and by
shifts of its own, so that its weights fill their mantissas; shifts round.
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, Value, trace


def rectify(n: Neuron) -> None:
    """Send what is above 0."""
    n.a = _rectified(n, n.received + n.bias)


def rectify_and_gate(n: Neuron) -> None:
    """Send what is above 0, and keep whether it was."""
    total = n.received + n.bias
    n.gate = total > 0
    n.a = _rectified(n, total)


def _rectified(n: Neuron, total: Value) -> Value:
    return n.clip(n.mul(total, n.gain, n.shift), 0, n.high)


def through_gate(n: Neuron) -> None:
    """Send back what comes back, where the gate is open."""
    scaled = n.mul(n.back, n.gain, n.back_shift)
    n.d = n.clip(n.select(n.gate, scaled, 0), n.low, n.most)


RECTIFY = trace(rectify)
RECTIFY_AND_GATE = trace(rectify_and_gate, "rectify")
THROUGH_GATE = trace(through_gate)
