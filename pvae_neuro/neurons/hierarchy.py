"""Two levels of Poisson neurons: the upper one predicts the log-rates p of the lower one.

``p = clamp(base + prior, u_min, u_max)``; the lower level moves towards it, and the upper level
compares the counts that came, where p is within its bounds, with the rates ``exp(p)`` that it
predicted. ``docs/hierarchical.md`` derives the rules.
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, trace
from pvae_neuro.neurons.exponential import exponential
from pvae_neuro.neurons.poisson import integrated


def predict(n: Neuron) -> None:
    """Clamp the log-rate that is predicted; send counts and rates where the clamp is open."""
    free = n.prior + n.base
    inside = (free > n.p_min) * (n.p_max > free)
    # Hard in a float circuit of soft clamps too, whose `min` is soft: the smaller one by `max`.
    n.p = n.shl(-n.max(-n.max(free, n.p_min), -n.p_max), n.p_shift)
    n.seen = n.z * inside
    n.rate = n.min(exponential(n, n.p), n.rate_high) * inside


def integrate_lower(n: Neuron) -> None:
    """Integrate what the errors send back, and move towards the log-rate that is predicted."""
    pull = n.mul(n.p - n.u, n.pull, n.pull_shift)
    n.u = integrated(n, n.feedback + pull - n.leak)


def integrate_upper(n: Neuron) -> None:
    """Integrate the counts that came, less the rates that were predicted."""
    surprise = n.clip(n.seen - n.expected, n.low, n.high)
    n.u = integrated(n, n.mul(surprise, n.pull, n.pull_shift) - n.leak)


PREDICT = trace(predict)
INTEGRATE_LOWER = trace(integrate_lower, "integrate")
INTEGRATE_UPPER = trace(integrate_upper, "integrate")
