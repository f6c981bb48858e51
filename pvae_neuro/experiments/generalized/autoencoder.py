"""A variational autoencoder of nodes, on digits."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch

from pvae_neuro.data import Images
from pvae_neuro.experiments.generalized.part import (
    BACKPROP,
    GAUSSIAN,
    OWN,
    SWEEP,
    Part,
    best_of_rates,
    halves,
)
from pvae_neuro.experiments.shared.claims import Bar, Claim, all_of, at_least, at_most
from pvae_neuro.experiments.shared.context import Context
from pvae_neuro.experiments.shared.result import Row
from pvae_neuro.models.generalized.vae import PIXELS
from pvae_neuro.models.registry import model_from_saved
from pvae_neuro.saved.model_file import SavedModel

_TOGETHER = {"inference": "together", "trust": 20.0, "step_size": 0.2, "bound": 0.5}
_WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    BACKPROP: (20, {"inference": "backprop"}),
    OWN: (8, {**_TOGETHER, "step_size": 1.0, "gains": True}),
    f"{OWN}, one trust": (20, _TOGETHER),
    SWEEP: (20, {"inference": "sweep", "trust": 1000.0}),
    GAUSSIAN: (20, {**_TOGETHER, "families": {"*": "squared", PIXELS: "bernoulli"}}),
}
"""Steps of inference and settings of each way to learn."""

_DRAWS = 4
_PROTOCOL = (
    "784–128 tanh–16 latents–128 tanh–784 Bernoulli pixels, MNIST, 10,000 digits, 4 epochs of "
    "batches of 100, λ = 20, trust by gain, 8 steps of rate 1 within ±.5 (with one trust for all "
    "nodes 20 of rate .2); learning rate by the bound of 10,000 digits more; the encoder's "
    "posterior of the test digits"
)


def _as_good(way: str) -> Bar:
    """Error and bound are within a few parts of a hundred of those of backpropagation."""
    return all_of(
        at_most(f"VAE, {way}: mse", f"VAE, {BACKPROP}: mse", factor=1.03),
        at_least(f"VAE, {way}: elbo", f"VAE, {BACKPROP}: elbo", slack=2.0, form=".1f"),
    )


CLAIMS = (
    Claim(
        "autoencoder",
        "generalized",
        "Generalized predictive coding trains a variational autoencoder as backpropagation does",
        "a figure without numbers that we could read",
        _PROTOCOL,
        _as_good(OWN),
        "hour",
    ),
    Claim(
        "autoencoder-sweep",
        "generalized",
        "So it does by one sweep of inference",
        "not published",
        f"{_PROTOCOL}; one sweep at λ = 1,000 in place of steps",
        _as_good(SWEEP),
        "hour",
    ),
)


def run(context: Context) -> Part:
    """Train by each way on the same digits; error and bound of the test digits."""
    train, held_out = halves(context.images("mnist", "train", context.pick(2_000, hour=20_000)))
    test = context.images("mnist", "test", context.pick(200, hour=None))
    rates = context.pick((0.01,), hour=(0.01, 0.03, 0.1))
    rows, notes = [], []
    for way, (steps, architecture) in _WAYS.items():
        settings = {
            "epochs": context.pick(1, hour=4), "steps": steps, "latents": 16,
            "architecture": architecture,
        }  # fmt: skip
        chosen = best_of_rates(
            context, f"VAE, {way}", "gpc-vae", train, rates, settings, partial(_bound, held_out)
        )
        figures = chosen.figure(partial(_figures, context, way, test), _guess(test))
        rows.append(Row(f"VAE, {way}", figures, budget=chosen.budget))
        by_rate = chosen.by_rate(".1f")
        notes.append(f"VAE, {way}, bound on held out digits by learning rate: {by_rate}")
    return Part("variational autoencoder", "evidence bound, nats", "elbo", rows, notes=notes)


def _figures(context: Context, way: str, test: Images, model: SavedModel) -> dict[str, float]:
    infer = context.infer(f"infer, VAE, {way}", model, test.pixels, 1)
    return {"mse": float(infer.mse[0]), "elbo": _bound(test, model)}


def _guess(images: Images) -> dict[str, float]:
    """What stands for trainings none of which stays finite: all pixels ½."""
    mse = float(((images.pixels - 0.5) ** 2).sum(1).mean())
    return {"mse": mse, "elbo": -math.log(2.0) * images.pixels.shape[1]}


def _bound(images: Images, model: SavedModel) -> float:
    """Evidence lower bound of the encoder's posterior, nats per image."""
    module: Any = model_from_saved(model)
    noise, pixels = torch.Generator().manual_seed(0), torch.from_numpy(images.pixels)
    bounds = [module.evidence_bound(pixels, noise).mean() for _ in range(_DRAWS)]
    return float(torch.stack(bounds).mean())
