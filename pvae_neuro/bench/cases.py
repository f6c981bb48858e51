"""What is run: a network on images, and a float model of the same size and activity."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.bench.networks import pinned_float_model, pinned_network, random_images
from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.saved.model_file import SavedModel, load_model
from pvae_neuro.sim.engine import fastest_engine

Images = NDArray[np.float32]
# Family of the synthetic float models.
LINEAR = "ipvae-linear"


@dataclass(frozen=True, eq=False)
class Case:
    """One setting in which all contenders are timed side by side.

    Attributes
    ----------
    network : IntegerNetwork
    images : float32 [B, M]
    float_model : SavedModel or None
        For the PyTorch contenders; None leaves them out.
    activity : float
        Share of neurons that fire per iteration, as measured.
    threads : int
    model : str or None
        File name of a real artifact; None for a synthetic network.
    activity_target : float or None
        Activity that a synthetic network was made for.
    seed : int
        Of the noise.
    """

    network: IntegerNetwork
    images: Images
    float_model: SavedModel | None
    activity: float
    threads: int
    model: str | None = None
    activity_target: float | None = None
    seed: int = 0

    @property
    def latents(self) -> int:
        """Neurons of the population whose state is inferred."""
        return latents_of(self.network)

    def __str__(self) -> str:
        what = self.model or f"{self.network.name}, K {self.latents}"
        batch = f"batch {len(self.images)}, {100 * self.activity:.1f} % active"
        return f"{what}, {batch}, {self.threads} thread{'s' * (self.threads > 1)}"


def synthetic_cases(
    topologies: tuple[str, ...],
    latents: tuple[int, ...],
    batches: tuple[int, ...],
    activities: tuple[float, ...],
    threads: tuple[int, ...],
    *,
    pixels: int = 784,
    seed: int = 0,
) -> Iterator[Case]:
    """Yield a case for every combination, of networks that keep their activity."""
    for count, topology, size, activity in product(threads, topologies, latents, activities):
        network = pinned_network(topology, size, pixels, activity, seed)
        float_model = pinned_float_model(size, pixels, activity, seed)
        for batch in batches:
            images = random_images(network, batch, seed)
            found = measured_activity(network, images, seed)
            yield Case(network, images, float_model, found, count, None, activity, seed)


def artifact_cases(
    path: str | os.PathLike[str],
    batches: tuple[int, ...],
    threads: tuple[int, ...],
    *,
    float_model: str | os.PathLike[str] | None = None,
    images: Images | None = None,
    seed: int = 0,
) -> list[Case]:
    """Cases of an exported network, with every batch and number of threads.

    Parameters
    ----------
    path : path-like
        The ``.onnx`` file.
    batches, threads : tuple of int
    float_model : path-like, optional
        Its ``.safetensors``; without it PyTorch runs a synthetic linear model of the same size and
        measured activity beside linear networks, and nothing beside others.
    images : float32 [N, M], optional
        Repeated to fill a batch; by default the golden inputs.
    seed : int

    Raises
    ------
    InputError
        If the float model or the images do not fit the network.
    """
    from pvae_neuro.artifact import load_artifact

    artifact = load_artifact(path)
    network = artifact.network
    if images is None:
        images = (artifact.golden.pixels * 2.0**-network.input.frac_bits).astype(np.float32)
    size = latents_of(network), network.input.size
    activity = measured_activity(network, images, seed)
    model = None
    if float_model is not None:
        model = load_model(float_model)
        family = network.family or LINEAR
        if model.config.family != family:
            raise InputError(
                f"{float_model}: expected family {family} as {path}, got {model.config.family}"
            )
        if (model.config.latents, model.config.pixels) != size:
            raise InputError(
                f"{float_model}: expected {size[0]} latents and {size[1]} pixels as {path}, got "
                f"{model.config.latents} and {model.config.pixels}"
            )
    elif network.family in (None, LINEAR):
        model = pinned_float_model(*size, activity, seed)
    return [
        Case(
            network,
            np.resize(images, (batch, network.input.size)),
            model,
            activity,
            count,
            Path(path).name,
            seed=seed,
        )
        for count in threads
        for batch in batches
    ]


def measured_activity(network: IntegerNetwork, images: Images, seed: int) -> float:
    """Share of neurons that fire per iteration, in a run of the fastest engine on few images."""
    few = images[:8]
    steps = max(16, 256 // len(few))
    recording = fastest_engine(network).run(network, few, steps, seed, progress=False)
    if recording.active is None:
        raise InputError(f"network {network.name!r}: expected one with a readout")
    return float(recording.active.mean()) / latents_of(network)


def latents_of(network: IntegerNetwork) -> int:
    """Neurons of the population whose state is inferred."""
    if network.latents is None:
        raise InputError(f"network {network.name!r}: expected one with a readout")
    return network.latents.size


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
