r"""Exact Poisson counts with a derivative: training sees the same samples as evaluation.

Each count comes from one uniform number, by inverting the distribution function. A count is a step
function of the potential, so its derivative is replaced by

.. math:: \frac{dz}{du} := \frac{z + r}{2}, \qquad r = e^u.

The gradient of the expectation of any function of second degree in the counts of one time step is
then estimated **without bias**. Counts are independent given the potentials, with
:math:`E z_i = r_i`, :math:`E z_i^2 = r_i^2 + r_i`, and :math:`\partial r_i / \partial u_i = r_i`:

* linear: :math:`E[(z_i + r_i)/2] = r_i = \partial E[z_i] / \partial u_i`;
* square: :math:`E[2 z_i (z_i + r_i)/2] = E z_i^2 + r_i^2 = 2 r_i^2 + r_i
  = \partial E[z_i^2] / \partial u_i`;
* product, :math:`i \ne j`: :math:`E[z_j (z_i + r_i)/2] = r_j r_i
  = \partial E[z_i z_j] / \partial u_i`.

The squared error of a linear decoder is of second degree, so its gradient with respect to the
potentials at which the readout is drawn is exact in expectation. Later time steps depend on the
counts through clamps and exponentials; there the estimate is biased, as any pathwise estimate for
discrete samples is. Among the derivatives ``a z + (1 - a) r``, which all have mean r, only
``a = 1/2`` satisfies the second line: ``r`` alone, the straight-through estimator, misses the
variance of the counts, and ``z`` alone counts it twice.

Unlike :mod:`~pvae_neuro.models.sampling.relaxed_poisson` (iP-VAE, arXiv 2410.19315; P-VAE, arXiv
2405.14473), there is no temperature, no largest number of arrivals and no saturation.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from pvae_neuro.models.sampling.counter_noise import CounterNoise

LARGEST_COUNT = 1023
"""Upper limit of counts, far above the rates within hard clamps: ``e^4 = 55``, at most ``e^6``."""


def exact_counts(u: Tensor, noise: CounterNoise | torch.Generator | None = None) -> Tensor:
    """Draw ``z ~ Poisson(exp(u))``, from 0 to 1023, with ``dz/du = (z + exp(u)) / 2``.

    The log-rates u may have any shape. The noise gives one uniform number per count; by default it
    is torch's global generator.
    """
    uniform = uniform_numbers(u, noise).view_as(u)
    return attach_slope(u, counts_at(u.detach(), uniform))


def attach_slope(u: Tensor, counts: Tensor) -> Tensor:
    """Give counts that were drawn at ``u`` the derivative ``(z + exp(u)) / 2``."""
    return cast(Tensor, _Slope.apply(u, counts))


def counts_at(u: Tensor, uniform: Tensor) -> Tensor:
    """Invert the distribution function: the smallest count at which it reaches ``uniform``.

    The uniform numbers lie in (0, 1) and have the shape of the log-rates u.
    """
    rate, counts = torch.exp(u.double()).flatten(), torch.zeros_like(u).flatten()
    place = torch.arange(len(rate), device=u.device)
    uniform, mass = uniform.double().flatten(), torch.exp(-rate)
    below = mass
    # Most counts are zero, so each round keeps only the neurons whose count is larger.
    for count in range(1, LARGEST_COUNT + 1):
        kept = (uniform > below).nonzero().squeeze(1)
        if len(kept) == 0:
            break
        place, rate, uniform, mass = place[kept], rate[kept], uniform[kept], mass[kept]
        counts[place] = count
        mass = mass * rate / count
        below = below[kept] + mass
    return counts.view_as(u)


class _Slope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, counts: Tensor) -> Tensor:
        ctx.save_for_backward(u, counts)
        return counts.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        u, counts = ctx.saved_tensors
        return grad * (0.5 * (counts + torch.exp(u))), None


def uniform_numbers(u: Tensor, noise: CounterNoise | torch.Generator | None) -> Tensor:
    """Multiples of 2**-24 plus half of one: never 0 nor 1."""
    if isinstance(noise, CounterNoise):
        places = torch.arange(u.numel(), device=u.device)
        return noise.draw(u.numel(), u.device)(places, 0, 1).double() + 2.0**-25
    uniform = torch.rand(u.numel(), generator=noise, dtype=torch.float32, device=u.device)
    return uniform.double() + 2.0**-25
