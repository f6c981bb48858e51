"""Time of one training step, from the authors' loop to ours, change by change.

    python benchmarks/training_step.py --data-root DATA --json training_step.json

One row per change, all run in turn in one process on the same batch and weights: a window of T
steps with its gradient and its optimiser step, in CPU milliseconds per time step. The first row
rebuilds the authors' loop from its published description (docs/training.md): errors in the space
of the pixels, two relaxed samples per step of ten exponential intervals each, autograd.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

import pvae_neuro as pn
from pvae_neuro.data import load_images
from pvae_neuro.models.base import WindowSettings
from pvae_neuro.models.dynamics import kl_divergence, soft_clamp
from pvae_neuro.models.poisson.ipvae import IPVAE
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.models.sampling.exact_poisson import exact_counts
from pvae_neuro.models.sampling.relaxed_poisson import sample_counts

AUTHORS_ARRIVALS, ARRIVALS, TEMPERATURE = 10, 64, 0.05
WARM_ITERATIONS = 48

Loss = Callable[[IPVAE, Tensor, Tensor, int, int], Tensor]


def authors(model: IPVAE, x: Tensor, u: Tensor, steps: int, seed: int) -> Tensor:
    """Pixels, dense relaxed samples, one to infer and one to read out, soft clamps."""
    variance = torch.exp(2.0 * 3.45 * torch.tanh(model.log_sigma / 3.45))
    loss = x.new_zeros(())
    for _ in range(steps):
        before = u
        error = (x - _dense_sample(u) @ model.dictionary.T) / variance
        descent = -(error @ model.dictionary) + torch.exp(model.log_bias)
        change = soft_clamp(-torch.exp(model.log_step_size) * descent, 10.0, -8.0)
        u = soft_clamp(u + change, 10.0, -8.0)
        error = x - _dense_sample(u) @ model.dictionary.T
        nll = 0.5 * (error**2 / variance + torch.log(variance)).sum(1)
        loss = loss + nll.mean() + model.config.beta * kl_divergence(u, before).sum(1).mean()
    return loss / steps


def _dense_sample(u: Tensor) -> Tensor:
    """Every neuron gets all its intervals, and autograd keeps them."""
    intervals = torch.empty(AUTHORS_ARRIVALS, *u.shape).exponential_() / torch.exp(u)
    return torch.sigmoid((1.0 - intervals.cumsum(0)) / TEMPERATURE).sum(0)


def sparse_sampler(model: IPVAE, x: Tensor, u: Tensor, steps: int, seed: int) -> Tensor:
    """Still pixels and two samples; arrivals are followed only while they matter."""
    generator, loss = torch.Generator().manual_seed(seed), x.new_zeros(())
    for _ in range(steps):
        step = model.step(u, x, TEMPERATURE, generator, ARRIVALS)
        u = step.u
        loss = loss + step.nll.mean() + model.config.beta * step.kl.sum(1).mean()
    return loss / steps


def latent_space(model: IPVAE, x: Tensor, u: Tensor, steps: int, seed: int) -> Tensor:
    """Errors projected once per window; still two samples per step."""
    noise, drive, loss = CounterNoise(seed), model.drive(x), x.new_zeros(())
    for _ in range(steps):
        before = u
        z = sample_counts(u, TEMPERATURE, noise, ARRIVALS)
        u = model.advance(u, drive.feedforward - z @ drive.lateral)
        z = sample_counts(u, TEMPERATURE, noise, ARRIVALS)
        residual = drive.feedforward - z @ drive.lateral
        loss = loss - 0.5 * (z * (drive.feedforward + residual)).sum(1).mean()
        loss = loss + model.config.beta * kl_divergence(u, before).sum(1).mean()
    return loss / steps + drive.constant.mean()


def settings(estimator: str, steps: int, seed: int) -> WindowSettings:
    return WindowSettings(steps, 0.0, TEMPERATURE, ARRIVALS, estimator, CounterNoise(seed))


def shared_sample(model: IPVAE, x: Tensor, u: Tensor, steps: int, seed: int) -> Tensor:
    """The sample that reads out drives the next step."""
    result = model.plain_window(x, (u,), settings("relaxed", steps, seed))
    return result.nll + model.config.beta * result.kl


def exact_autograd(model: IPVAE, x: Tensor, u: Tensor, steps: int, seed: int) -> Tensor:
    """Exact counts in place of relaxed ones."""
    result = model.plain_window(x, (u,), settings("exact", steps, seed))
    return result.nll + model.config.beta * result.kl


def fused(model: IPVAE, x: Tensor, u: Tensor, steps: int, seed: int) -> Tensor:
    """Products over events and a gradient written by hand, compiled."""
    result = model.window(x, (u,), settings("exact", steps, seed))
    return result.nll + model.config.beta * result.kl


CHANGES: dict[str, Loss] = {
    "authors' loop": authors,
    "+ arrivals only while they matter": sparse_sampler,
    "+ space of the latents": latent_space,
    "+ shared sample": shared_sample,
    "+ exact counts": exact_autograd,
    "+ products over events, gradient by hand": fused,
}


def train_once(change: Loss, model: IPVAE, x: Tensor, u: Tensor, steps: int, seed: int) -> float:
    """CPU seconds of one window with its gradient and its optimiser step."""
    optimizer = torch.optim.Adamax(model.parameters(), 1e-6)
    start = time.process_time()
    change(model, x, u, steps, seed).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return time.process_time() - start


@torch.no_grad()
def settled(model: IPVAE, x: Tensor) -> Tensor:
    """Potentials after some iterations: training meets them more often than the first ones."""
    u, drive, noise = model.initial_state(len(x)), model.drive(x), CounterNoise(0)
    for _ in range(WARM_ITERATIONS):
        u = model.advance(u, drive.feedforward - exact_counts(u, noise) @ drive.lateral)
    return u


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Median CPU milliseconds per time step, by change."""
    saved = pn.load_model(options.model) if options.model else pn.load_pretrained()
    model = IPVAE.from_saved(saved)
    pixels = load_images("mnist", options.data_root, "train").pixels
    x = torch.tensor(pixels[: options.batch])
    u = settled(model, x)
    seconds: dict[str, list[float]] = {name: [] for name in CHANGES}
    for repeat in range(options.repeats + 1):
        for name, change in CHANGES.items():
            taken = train_once(change, model, x, u, options.steps, repeat)
            # The first round compiles and fills the caches.
            if repeat:
                seconds[name].append(taken)
    return {name: 1e3 * median(times) / options.steps for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", required=True)
    parser.add_argument("--model", help="default: the shipped model")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measure(options)
    first = before = next(iter(found.values()))
    print("| change | ms per step | times the row above | times the authors' |\n|---|---|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:.2f} | {before / value:.2f} | {first / value:.2f} |")
        before = value
    if options.json:
        options.json.write_text(json.dumps({**vars(options), "ms": found}, default=str, indent=1))


if __name__ == "__main__":
    main()
