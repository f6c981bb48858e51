"""Poisson neurons of the iterative Poisson VAE (arXiv 2410.19315, eq. 7), hard clamps.

``u <- clamp(u + clamp(drive + feedback - leak - diagonal z, du_min, du_max), u_min, u_max)``

With several inner updates per time step u also leaks to its value at the start of the time step,
the prior: ``change - pull (u - prior)``. The phase counts the updates that are left in a time step.
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, Value, trace


def fire(n: Neuron) -> None:
    """Draw spike counts of the log-rate u."""
    n.z = n.draw(n.u)


def fire_in_units(n: Neuron) -> None:
    """Draw spike counts, and send them in units of the latent's own weights."""
    n.z = n.draw(n.u)
    n.sent = n.shl(n.z, n.spread)


def integrate(n: Neuron) -> None:
    """Integrate what the error neurons send back (the predictive circuit)."""
    n.u = integrated(n, _sent_back(n))


def integrate_lateral(n: Neuron) -> None:
    """Integrate a drive that is set once per frame, and lateral weights (the lateral circuit)."""
    n.u = integrated(n, _driven(n))


def integrate_inner(n: Neuron) -> None:
    """One of several inner updates of the predictive circuit."""
    n.u = integrated(n, _sent_back(n) - _leak_to_prior(n))


def integrate_inner_lateral(n: Neuron) -> None:
    """One of several inner updates of the lateral circuit."""
    n.u = integrated(n, _driven(n) - _leak_to_prior(n))


def _sent_back(n: Neuron) -> Value:
    return n.feedback - n.leak


def _driven(n: Neuron) -> Value:
    return n.drive + n.lateral - n.leak - n.diagonal * n.z


def _leak_to_prior(n: Neuron) -> Value:
    """The leak; at the first update of a time step the potential becomes the prior."""
    first = n.phase <= 0
    n.prior = n.select(first, n.u, n.prior)
    n.phase = n.select(first, n.last_phase, n.max(n.phase - 1, 0))
    return n.mul(n.u - n.prior, n.pull, n.pull_shift)


def integrated(n: Neuron, change: Value) -> Value:
    """The potential after a change; both are clamped."""
    return n.clip(n.u + n.clip(change, n.du_min, n.du_max), n.u_min, n.u_max)


FIRE = trace(fire)
FIRE_IN_UNITS = trace(fire_in_units, "fire")
INTEGRATE = trace(integrate)
INTEGRATE_LATERAL = trace(integrate_lateral, "integrate")
INTEGRATE_INNER = trace(integrate_inner, "integrate")
INTEGRATE_INNER_LATERAL = trace(integrate_inner_lateral, "integrate")
