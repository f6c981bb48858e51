"""Categorical neurons: Poisson neurons in groups, and one normalizer neuron for each group.

The neurons of a group fire at the rates ``e^(u - c)``. The normalizer neuron counts their spikes
and moves its log-sum c until one comes in an iteration: ``c <- c + rate (sum z - 1)``. In mean
rates c converges to the logarithm of ``sum e^u``, so that the rates are the softmax of u. Counts
are drawn at these rates, and no one-hot vectors. A second log-sum does the same for the counts of
what is predicted.
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, Value, trace
from pvae_neuro.neurons.node import predicted


def fire(n: Neuron) -> None:
    """Draw counts, whose rates the log-sum of the group divides."""
    n.r = _log_rate(n, n.u, n.log_sum)
    n.z = n.draw(n.r)


def fire_and_compare(n: Neuron) -> None:
    """Draw of the parameters and, by the same word, of what is predicted; send the difference."""
    n.r = _log_rate(n, n.u, n.log_sum)
    n.z = n.draw(n.r)
    n.t = predicted(n)
    n.q = _log_rate(n, n.t, n.expected_log_sum)
    n.p = n.draw(n.q)
    n.e = n.z - n.p


def normalize(n: Neuron) -> None:
    """Move the log-sum towards one spike in each iteration."""
    n.c = _log_sum(n, n.c, n.total)


def normalize_both(n: Neuron) -> None:
    """Move the log-sum, and that of what is predicted."""
    n.c = _log_sum(n, n.c, n.total)
    n.d = _log_sum(n, n.d, n.expected)


def _log_rate(n: Neuron, u: Value, log_sum: Value) -> Value:
    return n.clip(u - log_sum, n.r_min, n.r_max)


def _log_sum(n: Neuron, log_sum: Value, total: Value) -> Value:
    return n.clip(log_sum + n.mul(total - 1, n.rate, n.rate_shift), n.c_min, n.c_max)


FIRE = trace(fire)
FIRE_AND_COMPARE = trace(fire_and_compare, "fire")
NORMALIZE = trace(normalize)
NORMALIZE_BOTH = trace(normalize_both, "normalize")
