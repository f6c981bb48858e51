"""Units that drop out in training, by the noise of the run: a resumed run drops the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.models.sampling.counting import noise_for_width


class Dropout(nn.Module):
    """Drops a share of the units, [B, width], within :func:`dropping`, and nothing outside it."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.source: tuple[CounterNoise, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Zero where units are dropped; the others grow, so that the mean stays."""
        if self.source is None:
            return x
        noise, latents = self.source
        places = torch.arange(x.numel(), device=x.device)
        uniforms = noise_for_width(noise, latents, x.shape[1]).draw(x.numel(), x.device)
        kept = uniforms(places, 0, 1).view_as(x) >= self.share
        return x * kept / (1.0 - self.share)


@contextmanager
def dropping(network: nn.Module, noise: CounterNoise, latents: int) -> Iterator[None]:
    """Let the units of a network drop out; ``noise`` counts ``latents`` neurons per sample."""
    found = [module for module in network.modules() if isinstance(module, Dropout)]
    for module in found:
        module.source = noise, latents
    try:
        yield
    finally:
        for module in found:
            module.source = None
