"""Value nodes of predictive coding: they settle where their prediction errors are least.

``e = v - p``, ``v <- v + step (f'(v) * feedback - e)`` with the rectifier f (Whittington, Bogacz
2017, eqs. 2.7 to 2.18). A node sends ``a = f(v)`` down and its error up, as graded spikes whose
units are shifts of the node's own.
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, trace


def rectify(n: Neuron) -> None:
    """Graded spike of the node's value."""
    n.a = n.clip(n.shr(n.v, n.a_shift), 0, n.a_high)


def guess(n: Neuron) -> None:
    """Graded spike of what the top alone predicts of the node, which is also its first value.

    At first no node has an error. Integers must have none either, or rounding would decide to which
    side of 0, and of the rectifier, the nodes above move.
    """
    predicted = n.prediction + n.bias
    n.t = n.clip(n.shr(predicted, n.a_shift), 0, n.a_high)
    n.v = n.select(n.begun, n.v, n.clip(predicted, n.v_low, n.v_high))
    n.begun = 1


def compare(n: Neuron) -> None:
    """Error of the node, and its graded spike."""
    n.d = n.v - (n.prediction + n.bias)
    n.e = n.clip(n.shr(n.d, n.e_shift), n.e_low, n.e_high)


def compare_top(n: Neuron) -> None:
    """Error of a node of the top layer against its prior, whose mean is zero."""
    n.d = n.mul(n.v, n.precision, n.precision_shift)


def compare_input(n: Neuron) -> None:
    """Graded spike of the error of an input."""
    error = n.pixel - (n.prediction + n.bias)
    n.e = n.clip(n.shr(error, n.e_shift), n.e_low, n.e_high)


def settle(n: Neuron) -> None:
    """One step down the energy; the rectifier's slope is open at 0, where inference begins."""
    force = n.select(n.v >= 0, n.feedback, 0) - n.d
    n.v = n.clip(n.v + n.mul(force, n.step, n.step_shift), n.v_low, n.v_high)


def show(n: Neuron) -> None:
    """What the top alone predicts of an input."""
    n.x = n.prediction + n.bias


RECTIFY = trace(rectify)
GUESS = trace(guess)
COMPARE = trace(compare)
COMPARE_TOP = trace(compare_top, "compare")
COMPARE_INPUT = trace(compare_input, "compare")
SETTLE = trace(settle)
SHOW = trace(show)
