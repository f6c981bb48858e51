"""A training window of the linear iterative Poisson VAE on compiled kernels.

The same mathematics as :meth:`~pvae_neuro.models.poisson.ipvae.IPVAE.plain_window` with exact
counts, several times faster: one pass over events forward, one backward with a gradient written by
hand, and the products by the dictionary once per window. Needs numba.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pvae_neuro.models.base import Window, WindowSettings
from pvae_neuro.models.poisson.fused.adjoint import gather_lateral, step_back
from pvae_neuro.models.poisson.fused.kernels import run_forward
from pvae_neuro.models.poisson.pixels import LOG_2PI
from pvae_neuro.saved.model_file import LOG_SIGMA_BOUND, ModelConfig

Floats = NDArray[np.float32]


def run_window(
    x: Tensor,
    u: Tensor,
    parameters: tuple[Tensor, Tensor, Tensor, Tensor],
    config: ModelConfig,
    settings: WindowSettings,
) -> Window:
    """Run a window on the kernels; its last state carries no gradient.

    Parameters
    ----------
    x : Tensor
        Inputs, [B, M], float32.
    u : Tensor
        Membrane potentials before the first step, [B, K].
    parameters : tuple of Tensor
        Dictionary [M, K], raw log sigma [M], log leak [K], log step size [].
    config : ModelConfig
        Bounds of the clamps and their shape.
    settings : WindowSettings
        Its noise gives the counts of the plain window, up to rounding.
    """
    noise, steps = settings.noise, settings.steps
    bounds = settings.bound(config.clamp_u), settings.bound(config.clamp_du), config.floor_u
    run = ((*bounds, config.clamp == "soft"), steps, noise.keys(steps + 1), noise.offset)
    nll, kl, active, last, counts = _Window.apply(x, u, *parameters, run)
    return Window(nll, kl, (last,), counts, active)


@dataclass(frozen=True, eq=False)
class _Tape:
    """What the backward pass needs of the forward pass; shapes as in ``kernels``."""

    x: Floats
    dictionary: Floats
    squashed: Floats
    slope: Floats
    leak: Floats
    bounds: Floats
    lateral: Floats
    potential: Floats
    count: NDArray[np.uint16]
    residual: Floats

    @property
    def precision(self) -> Floats:
        return np.exp(-2.0 * self.squashed)


class _Window(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        u: Tensor,
        dictionary: Tensor,
        log_sigma: Tensor,
        log_bias: Tensor,
        log_step_size: Tensor,
        run: Any,
    ) -> tuple[Tensor, ...]:
        clamps, steps, keys, offset = run
        bounds = [math.exp(float(log_step_size)), *clamps]
        arrays = [np.ascontiguousarray(t.detach().numpy()) for t in (x, dictionary, log_sigma)]
        leak = torch.exp(log_bias).numpy()
        pixels, columns, sigma = arrays
        tape = _start(pixels, columns, sigma, leak, np.array(bounds, np.float32), u, steps)
        totals = _run(tape, keys, offset)
        ctx.tape = tape
        last, counts = (torch.tensor(part[-1]) for part in (tape.potential, tape.count))
        ctx.mark_non_differentiable(last, counts)
        terms = totals.sum(0) / (steps * len(x))
        constant = 0.5 * float((tape.x**2 @ tape.precision).mean())
        constant += float(tape.squashed.sum()) + 0.5 * x.shape[1] * LOG_2PI
        terms += np.array([constant, 0.0, 0.0])
        nll, kl, active = (torch.tensor(t, dtype=u.dtype) for t in terms)
        return nll, kl, active, last, counts.to(u.dtype)

    @staticmethod
    def backward(ctx: Any, nll: Tensor, kl: Tensor, active: Tensor, *_: Any) -> tuple[Any, ...]:
        tape: _Tape = ctx.tape
        terms = (len(tape.residual) - 1) * len(tape.x)
        weights = np.array([float(nll), float(kl), float(active)]) / terms
        potential, drive, lateral, leak, step_size = _run_back(tape, weights.astype(np.float32))
        dictionary, log_sigma = _decoder_gradients(tape, drive, lateral, float(nll))
        arrays = (potential, dictionary, log_sigma, leak)
        gradients = [torch.from_numpy(a.astype(np.float32, copy=False)) for a in arrays]
        return None, *gradients, torch.tensor(step_size, dtype=torch.float32), None


def _start(
    x: Floats, dictionary: Floats, log_sigma: Floats, leak: Floats, bounds: Floats,
    u: Tensor, steps: int,
) -> _Tape:  # fmt: skip
    tangent = np.tanh(log_sigma / LOG_SIGMA_BOUND)
    squashed = LOG_SIGMA_BOUND * tangent
    weighted = np.exp(-squashed)[:, None] * dictionary
    shape = (steps + 1, *u.shape)
    potential, residual = np.empty(shape, np.float32), np.empty(shape, np.float32)
    potential[0] = u.detach().numpy()
    # A product of a matrix by its own transpose takes half the operations.
    lateral = weighted.T @ weighted
    count = np.empty(shape, np.uint16)
    return _Tape(
        x, dictionary, squashed, 1.0 - tangent**2, leak, bounds, lateral, potential, count, residual
    )


def _run(tape: _Tape, keys: NDArray[np.uint32], offset: int) -> NDArray[np.float64]:
    drive = (tape.x * tape.precision) @ tape.dictionary
    totals = np.empty((len(tape.x), 3))
    run_forward(
        tape.potential, tape.count, tape.residual, drive, tape.lateral, tape.leak, tape.bounds,
        keys, offset, totals,
    )  # fmt: skip
    return totals


def _run_back(tape: _Tape, weights: Floats) -> tuple[Floats, Floats, Floats, Floats, float]:
    """Gradients of u before the window, of h, of W, of b and of log η."""
    adjoint, pull, through, source, drive = (np.zeros_like(tape.residual[0]) for _ in range(5))
    lateral, leak, step_size = np.zeros_like(tape.lateral), np.zeros(len(tape.leak)), 0.0
    product = [torch.from_numpy(a) for a in (pull, tape.lateral, through)]
    for step in range(len(tape.residual) - 1, -1, -1):
        # The last step hands nothing down: its pull is zero, and so is the product.
        torch.mm(product[0], product[1], out=product[2])
        step_size += step_back(
            tape.potential, tape.count, tape.residual, tape.leak, tape.bounds, weights, step,
            through, adjoint, pull, source, drive, leak,
        )  # fmt: skip
        gather_lateral(tape.count[step], source, lateral)
    return adjoint, drive, lateral, leak.astype(np.float32), step_size


def _decoder_gradients(
    tape: _Tape, drive: Floats, lateral: Floats, nll: float
) -> tuple[Floats, Floats]:
    """Gradients of Φ and of the raw log σ, from those of h = x Σ⁻¹ Φ and W = Φᵀ Σ⁻¹ Φ."""
    feedforward = tape.x.T @ drive
    recurrent = tape.dictionary @ (lateral + lateral.T)
    dictionary = tape.precision[:, None] * (feedforward + recurrent)
    precision = (tape.dictionary * (feedforward + 0.5 * recurrent)).sum(1)
    precision += nll * 0.5 * (tape.x**2).mean(0)
    return dictionary, (nll - 2.0 * tape.precision * precision) * tape.slope
