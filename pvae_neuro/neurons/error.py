"""Error neurons: they compare an input with its prediction and send the weighted difference.

``m = clamp(((pixel - prediction) * gain) >> gain_shift, -limit, limit)``; predictive coding. Where
the prediction has a bias they also hold it, ``y = prediction + bias``, which is the reconstruction.
"""

from __future__ import annotations

from pvae_neuro.network.program import Neuron, Value, trace


def compare(n: Neuron) -> None:
    """Graded spike of the error."""
    n.m = _message(n, n.prediction)


def predict_and_compare(n: Neuron) -> None:
    """Prediction with its bias, and graded spike of the error."""
    n.y = n.prediction + n.bias
    n.m = _message(n, n.y)


def _message(n: Neuron, prediction: Value) -> Value:
    return n.clip(n.mul(n.pixel - prediction, n.gain, n.gain_shift), n.low, n.high)


COMPARE = trace(compare)
PREDICT_AND_COMPARE = trace(predict_and_compare, "compare")
