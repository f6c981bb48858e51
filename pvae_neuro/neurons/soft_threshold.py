"""Neurons of the locally competitive algorithm: leaky potentials whose soft threshold is sent.

``u <- u + step (drive - u)``; the coefficient a is u beyond a threshold, and 0 within it. The
finer a is for readout, the coarser m is sent. Source: Rozell, Johnson, Baraniuk, Olshausen 2008,
eq. 3.4.
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, Value, trace


def activate(n: Neuron) -> None:
    """Coefficient of either sign."""
    _send(n, _beyond(n, n.u) - _beyond(n, -n.u))


def activate_nonnegative(n: Neuron) -> None:
    """Coefficient of no sign."""
    _send(n, _beyond(n, n.u))


def integrate(n: Neuron) -> None:
    """Integrate what the error neurons send back (the predictive circuit)."""
    n.u = _integrated(n, n.feedback + n.shl(n.m, n.own_shift))


def integrate_lateral(n: Neuron) -> None:
    """Integrate a drive that is set once per frame, and lateral weights (the lateral circuit)."""
    lateral = n.mul(n.lateral, n.gain, n.gain_shift)
    n.u = _integrated(n, n.drive + lateral + n.shl(n.m, n.own_shift) - n.diagonal * n.m)


def _beyond(n: Neuron, u: Value) -> Value:
    above = n.max(u - n.threshold, 0)
    # At least one unit, so that a is 0 within the threshold alone.
    return n.max(n.shr(above, n.a_shift), n.min(above, 1))


def _send(n: Neuron, coefficient: Value) -> None:
    n.a = n.clip(coefficient, n.a_min, n.a_max)
    n.m = n.shr(n.a, n.m_shift)


def _integrated(n: Neuron, drive: Value) -> Value:
    force = drive - n.shr(n.u, n.u_shift)
    return n.clip(n.u + n.mul(force, n.step, n.step_shift), n.u_min, n.u_max)


ACTIVATE = trace(activate)
ACTIVATE_NONNEGATIVE = trace(activate_nonnegative, "activate")
INTEGRATE = trace(integrate)
INTEGRATE_LATERAL = trace(integrate_lateral, "integrate")
