"""How much a trained model fires on its training images: computed once, at the end of training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pvae_neuro.models.base import Model
from pvae_neuro.saved.activity import described

IMAGES = 128
ITERATIONS = 64
_SEED = 0


@torch.no_grad()
def firing(model: Model, pixels: Tensor) -> dict[str, Any]:
    """Activity of a model on the first of its training images, by exact samples.

    Parameters
    ----------
    model : Model
    pixels : Tensor [N, M]
        Training images; the first ``IMAGES`` are used, for ``ITERATIONS`` iterations.

    Returns
    -------
    dict
        See :func:`pvae_neuro.saved.activity.described`. It follows from weights and images alone.
    """
    x = pixels[:IMAGES]
    noise = torch.Generator(x.device)
    noise.manual_seed(_SEED)
    state = model.start(x)
    for _ in range(ITERATIONS):
        result = model.iterate(x, state, noise)
        state = result.state
    return described(result.z.cpu().numpy(), result.mean.cpu().numpy(), ITERATIONS)
