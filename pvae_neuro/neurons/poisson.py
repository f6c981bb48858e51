"""Poisson neurons of the iterative Poisson VAE (arXiv 2410.19315, eq. 7), hard clamps.

``u <- clamp(u + clamp(drive + feedback - leak - diagonal z, du_min, du_max), u_min, u_max)``
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, Value, trace


def fire(n: Neuron) -> None:
    """Draw spike counts of the log-rate u."""
    n.z = n.draw(n.u)


def integrate(n: Neuron) -> None:
    """Integrate what the error neurons send back (the predictive circuit)."""
    n.u = _integrated(n, n.feedback - n.leak)


def integrate_lateral(n: Neuron) -> None:
    """Integrate a drive that is set once per frame, and lateral weights (the lateral circuit)."""
    n.u = _integrated(n, n.drive + n.lateral - n.leak - n.diagonal * n.z)


def _integrated(n: Neuron, change: Value) -> Value:
    return n.clip(n.u + n.clip(change, n.du_min, n.du_max), n.u_min, n.u_max)


FIRE = trace(fire)
INTEGRATE = trace(integrate)
INTEGRATE_LATERAL = trace(integrate_lateral, "integrate")
