"""The float update of a model with the fewest operations, written by hand: what ``fast`` is up to.

Everything that stays the same from one iteration to the next is computed before: products of
constants, the drive, step size and leak inside the weights. The way back through a decoder is
written out, so that nothing is differentiated. One iteration is::

    z = poisson(exp(u))
    u = clamp(u + clamp(change(z)))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pvae_neuro.errors import EngineError
from pvae_neuro.models.dynamics import CLAMPS
from pvae_neuro.models.networks.decoders import ConvDecoder, LinearDecoder, MLPDecoder
from pvae_neuro.models.poisson.ipvae import IPVAE
from pvae_neuro.models.poisson.ipvae_jacobian import JacobianIPVAE
from pvae_neuro.models.poisson.potentials import PoissonLevel
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.saved.model_file import SavedModel

Change = Callable[[Tensor], Tensor]
"""Counts [B, K] to what the potentials change by before clamping, [B, K]."""


def float_update(saved: SavedModel, x: Tensor, lateral: bool) -> tuple[Tensor, Change, Change]:
    """The first potentials, the change by counts, and the whole update of potentials.

    Parameters
    ----------
    saved : SavedModel
        Of family ``ipvae-linear``, ``ipvae-mlp`` or ``ipvae-conv``, with one inner update.
    x : Tensor
        Inputs, [B, M].
    lateral : bool
        For linear models, whether counts come back by one product with lateral weights, instead of
        through the error of the pixels by two.

    Returns
    -------
    start : Tensor
        Potentials, [B, K].
    change : callable
        From counts.
    update : callable
        From potentials to the next ones.

    Raises
    ------
    EngineError
        If there is no update of this family here.
    """
    model: Any = model_from_saved(saved).eval()
    with torch.no_grad():
        level, change = _parts(model, saved, x, lateral)
        start = level.initial_state(len(x)).detach().clone()
    config = saved.config
    clamp, floor = CLAMPS[config.clamp], config.floor_u

    def update(u: Tensor) -> Tensor:
        z = torch.poisson(torch.exp(u))
        return clamp(u + clamp(change(z), config.clamp_du, floor), config.clamp_u, floor)

    return start, change, update


def _parts(model: Any, saved: SavedModel, x: Tensor, lateral: bool) -> tuple[PoissonLevel, Change]:
    if saved.config.inner_updates > 1:
        raise EngineError("the hand-written float update has one inner update per iteration")
    if isinstance(model, IPVAE):
        return model, (_lateral if lateral else _two_products)(model, x)
    if isinstance(model, JacobianIPVAE) and type(model.decoder) in _THROUGH:
        return model.potentials, _THROUGH[type(model.decoder)](model, x)
    raise EngineError(
        f"there is no hand-written float update of family {saved.config.family!r}; expected "
        f"ipvae-linear, ipvae-mlp or ipvae-conv"
    )


def _step(level: PoissonLevel) -> tuple[Tensor, Tensor]:
    """Step size, and what the leak takes per iteration, [K]."""
    eta = torch.exp(level.log_step_size)
    return eta, eta * torch.exp(level.log_bias)


def _lateral(model: IPVAE, x: Tensor) -> Change:
    eta, leak = _step(model)
    drive = model.drive(x)
    forward, back = eta * drive.feedforward - leak, eta * drive.lateral
    return lambda z: torch.addmm(forward, z, back, alpha=-1.0)


def _two_products(model: IPVAE, x: Tensor) -> Change:
    return _by_dictionary(model, model.precision, model.dictionary.detach(), x)


def _through_linear(model: JacobianIPVAE, x: Tensor) -> Change:
    decoder: Any = model.decoder
    return _by_dictionary(model.potentials, model.precision, decoder.dictionary.detach(), x)


def _by_dictionary(level: PoissonLevel, precision: Tensor, dictionary: Tensor, x: Tensor) -> Change:
    eta, leak = _step(level)
    out, back = dictionary.T.contiguous(), eta * precision.unsqueeze(1) * dictionary
    return lambda z: torch.addmm(-leak, torch.addmm(x, z, out, alpha=-1.0), back)


def _through_mlp(model: JacobianIPVAE, x: Tensor) -> Change:
    """Products forward, and back by the same weights through the gates of the rectifiers."""
    eta, leak = _step(model.potentials)
    decoder: Any = model.decoder
    layers = [layer for layer in decoder.layers if isinstance(layer, torch.nn.Linear)]
    *hidden, last = [(layer.weight.detach(), layer.bias.detach()) for layer in layers]
    forward = [(weight.T.contiguous(), bias) for weight, bias in hidden]
    # The error is that of x without the last bias, weighted by precision on its way back.
    target, out = x - last[1], last[0].T.contiguous()
    back = [weight for weight, _ in hidden]
    back[0] = eta * back[0]
    last_back = model.precision.unsqueeze(1) * last[0]

    def change(z: Tensor) -> Tensor:
        sums = []
        for weight, bias in forward:
            sums.append(torch.addmm(bias, z, weight))
            z = functional.relu(sums[-1])
        d = torch.addmm(target, z, out, alpha=-1.0) @ last_back
        for n in range(len(back) - 1, 0, -1):
            d = (d * (sums[n] > 0)) @ back[n]
        return torch.addmm(-leak, d * (sums[0] > 0), back[0])

    return change


def _through_convolutions(model: JacobianIPVAE, x: Tensor) -> Change:
    """Transposed convolutions forward, and back by convolutions through the gates."""
    eta, leak = _step(model.potentials)
    decoder: Any = model.decoder
    project = decoder.project.weight.detach().T.contiguous()
    project_bias = decoder.project.bias.detach()
    layers = [(c.weight.detach(), c.bias.detach()) for c in decoder.convolutions]
    sizes, first = decoder._sizes[1:], decoder._first
    colours = layers[-1][0].shape[1]
    target = x.view(len(x), colours, *sizes[-1])
    precision = model.precision.view(colours, *sizes[-1])
    back = eta * decoder.project.weight.detach()

    def change(z: Tensor) -> Tensor:
        maps = torch.addmm(project_bias, z, project).view(-1, *first)
        met = []
        for (weight, bias), (height, width) in zip(layers, sizes, strict=True):
            met.append(maps)
            maps = functional.conv_transpose2d(functional.relu(maps), weight, bias, 2, 1)
            maps = maps[:, :, :height, :width]
        d = (target - maps) * precision
        for (weight, _), before in zip(reversed(layers), reversed(met), strict=True):
            # What odd sides lose on their way forward is zero on the way back.
            more = [2 * n - m for n, m in zip(before.shape[2:], d.shape[2:], strict=True)]
            d = functional.pad(d, (0, more[1], 0, more[0]))
            d = functional.conv2d(d, weight, None, 2, 1) * (before > 0)
        return torch.addmm(-leak, d.flatten(1), back)

    return change


_THROUGH: dict[type, Callable[[JacobianIPVAE, Tensor], Change]] = {
    LinearDecoder: _through_linear,
    MLPDecoder: _through_mlp,
    ConvDecoder: _through_convolutions,
}
