"""What the locally competitive algorithm is set to, in a saved model as in PyTorch."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pvae_neuro.utils.settings import Settings

POWER_ITERATIONS = 20
STABLE_SHARE = 1.5
_SMALLEST_NORM = 1e-8


class LCASettings(Settings):
    """Settings of the locally competitive algorithm.

    Attributes
    ----------
    lambda_ : float
        Price of a unit of activity as a share of beta: the threshold is ``beta lambda_``.
    nonnegative : bool
        Whether coefficients may not be negative.
    step : float
        Step per iteration as a fraction of the time constant, 1/tau; smaller where the dictionary
        requires it, see :func:`stable_step`. Published runs took 0.01 and 900 iterations.
    """

    lambda_: float = Field(default=1.0, ge=0.0)
    nonnegative: bool = False
    step: float = Field(default=0.1, gt=0.0, le=1.0)


def stable_step(dictionary: Any, ones: Any, step: float) -> float:
    """The step, at most ``1.5 / λ``, λ the largest eigenvalue of ΦᵀΦ.

    Potentials of active neurons are multiplied by ``I - step ΦᵀΦ``, which diverges beyond
    ``step = 2 / λ``. For images without negative pixels, atoms overlap so much that λ exceeds a
    hundred. Twenty power iterations may underestimate λ a little: hence 1.5.

    Parameters
    ----------
    dictionary : array or Tensor [M, K]
    ones : array or Tensor [K]
        Where the power iterations start.
    step : float
    """
    vector, size = ones, ones[0]
    for _ in range(POWER_ITERATIONS):
        vector = dictionary.T @ (dictionary @ vector)
        size = (vector @ vector) ** 0.5
        # Where all of it is 0, the vector stays 0.
        vector = vector / (size + _SMALLEST_NORM)
    return min(step, STABLE_SHARE / max(float(size), _SMALLEST_NORM))
