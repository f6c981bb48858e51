"""Nodes of a chain: what every kind of neuron in a hierarchy of exponential families does.

A node has natural parameters u, and is predicted natural parameters t by the node above. It hands
on what it draws of u; its error e is that less what it draws of t, by the same random word, so that
a node that is what is predicted has no error at all. With errors of the node below coming back::

    u <- clamp(u + clamp(push * feedback + pull * (t - u) - leak + own * z))

which is a step of ``F^-1 dE/du = trust (u - t) + dE_below/dm`` for every exponential family
(``docs/generalized_integers.md``). The mean of e is the difference of the two means. The last two
terms are what the variance of the node's own draws costs the pixels below it, where there are any.
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, Value, trace
from pvae_neuro.neurons.poisson import integrated


def predicted(n: Neuron) -> Value:
    """Natural parameters that are predicted, clamped, in the unit of the node's own."""
    return n.shl(n.clip(n.prediction + n.bias, n.t_min, n.t_max), n.t_shift)


def message(n: Neuron, error: Value) -> Value:
    """Graded spike of an error that is weighted."""
    return n.clip(n.mul(error, n.gain, n.gain_shift), n.low, n.high)


def settle(n: Neuron) -> None:
    """Move with the errors of the node below, and towards what is predicted."""
    n.u = integrated(n, _change(n, n.feedback))


def settle_and_pay(n: Neuron) -> None:
    """Move a node whose draws vary above pixels."""
    n.u = integrated(n, _change(n, n.feedback) + n.own * n.z - n.leak)


def settle_rectified(n: Neuron) -> None:
    """Move a node that hands on what of its parameters is above 0; at 0 it is open."""
    n.u = integrated(n, _change(n, n.select(n.u >= 0, n.feedback, 0)))


def _change(n: Neuron, feedback: Value) -> Value:
    push = n.mul(n.clip(feedback, n.least, n.most), n.push, n.push_shift)
    return push + n.mul(n.t - n.u, n.pull, n.pull_shift)


def rectify(n: Neuron) -> None:
    """Gaussian: graded spike of what of the mean is above 0; nothing is drawn."""
    n.z = _rectified(n)


def rectify_and_compare(n: Neuron) -> None:
    """Gaussian: graded spikes of what of the mean is above 0, and of its error."""
    n.z = _rectified(n)
    n.t = predicted(n)
    n.e = n.clip(n.shr(n.u - n.t, n.e_shift), n.e_low, n.e_high)


def _rectified(n: Neuron) -> Value:
    return n.clip(n.shr(n.u, n.z_shift), 0, n.z_high)


def count_and_compare(n: Neuron) -> None:
    """Poisson: draw of the log-rate and of what is predicted; send the difference."""
    n.z = n.draw(n.u)
    n.t = predicted(n)
    n.e = n.z - n.draw(n.t)


SETTLE = trace(settle)
SETTLE_AND_PAY = trace(settle_and_pay, "settle")
SETTLE_RECTIFIED = trace(settle_rectified, "settle")
RECTIFY = trace(rectify, "fire")
RECTIFY_AND_COMPARE = trace(rectify_and_compare, "fire")
COUNT_AND_COMPARE = trace(count_and_compare, "fire")
