"""Float contenders: our own model in PyTorch, and recurrent cells of snnTorch and Norse.

All run in eager mode without gradients. The dense product of a float step costs the same whatever
fires, so the cells of other frameworks are left to their own dynamics; our model is pinned to the
activity of the case, because the time of ``torch.poisson`` depends on the rate.
"""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor

from pvae_neuro.bench.contenders import Setting
from pvae_neuro.bench.timing import Entry
from pvae_neuro.models.poisson.ipvae import IPVAE

_LEAK = 0.9


def torch_step(setting: Setting) -> Entry:
    """``IPVAE.step``, as the float model is evaluated."""
    model, images, generator = _float_model(setting)

    @torch.no_grad()
    def run(steps: int) -> None:
        u = model.initial_state(len(images))
        for _ in range(steps):
            u = model.step(u, images, generator=generator).u

    return Entry("torch", len(images), run)


def torch_bare(setting: Setting) -> Entry:
    """The update alone, with everything that stays the same computed before."""
    model, images, generator = _float_model(setting)

    @torch.no_grad()
    def run(steps: int) -> None:
        drive = model.drive(images)
        u = model.initial_state(len(images))
        for _ in range(steps):
            z = torch.poisson(torch.exp(u), generator)
            u = model.advance(u, drive.feedforward - z @ drive.lateral)

    return Entry("torch-bare", len(images), run)


def _float_model(setting: Setting) -> tuple[IPVAE, Tensor, torch.Generator]:
    model = IPVAE.from_saved(setting.workload.float_model).eval()
    generator = torch.Generator().manual_seed(setting.seed)
    return model, torch.from_numpy(setting.workload.images), generator


def snntorch_step(setting: Setting) -> Entry:
    """``snntorch.RLeaky`` with a dense recurrent product."""
    snntorch = import_module("snntorch")
    size, batch = setting.workload.network.latents.size, len(setting.workload.images)
    torch.manual_seed(setting.seed)
    cell = snntorch.RLeaky(beta=_LEAK, linear_features=size, all_to_all=True)
    current = torch.rand(batch, size)

    @torch.no_grad()
    def run(steps: int) -> None:
        spikes, membrane = torch.zeros(batch, size), torch.zeros(batch, size)
        for _ in range(steps):
            spikes, membrane = cell(current, spikes, membrane)

    return Entry("snntorch", batch, run)


def norse_step(setting: Setting) -> Entry:
    """``norse.torch.LIFRecurrentCell`` with one input feature: the recurrent product alone."""
    norse = import_module("norse.torch")
    size, batch = setting.workload.network.latents.size, len(setting.workload.images)
    torch.manual_seed(setting.seed)
    cell = norse.LIFRecurrentCell(1, size)
    current = torch.rand(batch, 1)

    @torch.no_grad()
    def run(steps: int) -> None:
        state = None
        for _ in range(steps):
            _, state = cell(current, state)

    return Entry("norse", batch, run)
