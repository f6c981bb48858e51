"""How far the gradients of predictive coding are from those of backpropagation, by λ."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pvae_neuro.data import Images
from pvae_neuro.experiments.generalized.part import Part
from pvae_neuro.experiments.shared.claims import Claim, all_of, at_least, at_most
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.result import Row
from pvae_neuro.models.base import WindowSettings
from pvae_neuro.models.registry import build_model
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.saved.model_file import ModelConfig

_TRUSTS = (1.0, 10.0, 100.0, 1000.0)
# What is left of the way shrinks by half or more in each step.
_STEPS = 32
_WAYS: dict[str, dict[str, Any]] = {
    "together": {"inference": "together", "step_size": 0.5, "bound": 100.0},
    "sweep": {"inference": "sweep"},
}
_LEAST, _MOST = "limit: least fall per decade", "limit: largest fall per decade"
CLAIMS = (
    Claim(
        "limit",
        "generalized",
        "Backpropagation is the limit of large λ: the error of the weights' gradients falls as 1/λ",
        "not published",
        "the classifier of the toy with random weights, 100 digits, float64, inference to "
        "convergence and by one sweep; relative error of all gradients at λ = 10, 100, 1,000",
        all_of(at_least(_LEAST, 8.0), at_most(_MOST, 12.0)),
    ),
)


def run(context: Context) -> Part:
    """Gradients of one batch under each λ against those of backpropagation."""
    images = context.images("mnist", "train", 100)
    exact = _gradients(context, images, {"inference": "backprop"})
    rows, falls = [], []
    for way, architecture in _WAYS.items():
        errors = []
        for trust in _TRUSTS:
            found = _gradients(context, images, {**architecture, "trust": trust})
            errors.append(float((found - exact).norm() / exact.norm()))
            rows.append(Row(f"limit, {way}, λ = {trust:g}", {"gradient_error": errors[-1]}))
        falls += [first / second for first, second in pairwise(errors[1:])]
    return Part(
        "backpropagation as the limit",
        "relative error of gradients",
        "gradient_error",
        rows,
        {_LEAST: min(falls), _MOST: max(falls)},
    )


def _gradients(context: Context, images: Images, architecture: dict[str, Any]) -> Tensor:
    config = ModelConfig(
        family="gpc-classifier", pixels=images.pixels.shape[1], latents=128, steps=_STEPS,
        beta=1.0, input_low=images.low, input_high=images.high, architecture=architecture,
    )  # fmt: skip
    model = build_model(config, torch.Generator().manual_seed(context.seed)).double()
    settings = WindowSettings(
        _STEPS, 1.0, 0.0, 0, "exact", CounterNoise(0), target=model.targets(images)
    )
    window = model.window(torch.from_numpy(images.pixels).double(), (), settings)
    gradients = torch.autograd.grad(window.nll, list(model.parameters()))
    return torch.cat([part.flatten() for part in gradients])
