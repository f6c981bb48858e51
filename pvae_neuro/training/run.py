"""One training run: a model, its optimiser, the data, and how far it has come."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor

from pvae_neuro.data.images import Images
from pvae_neuro.errors import InputError, PvaeNeuroError
from pvae_neuro.models.base import Model, State, Window, WindowSettings, load_arrays
from pvae_neuro.models.registry import build_model
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.saved.model_file import Float32, ModelConfig, SavedModel
from pvae_neuro.training.activity import ActivityCost
from pvae_neuro.training.config import TrainConfig
from pvae_neuro.training.progress import Metrics
from pvae_neuro.training.ranks import Ranks, find_device
from pvae_neuro.training.state import (
    RunIdentity,
    TrainingState,
    capture,
    check_same_run,
    load_state,
    restore,
    save_state,
)

_REPORT_EVERY = 10
"""Batches between two readings of the loss: each waits for the device."""

_SAMPLES, _WEIGHTS = 1, 2
"""Streams of randomness that must not share a seed."""


@dataclass
class TrainOptions:
    """How a run is carried out; none of it changes the weights that come out.

    Attributes
    ----------
    resume : bool
        Go on from the checkpoint of a run that stopped.
    device : str
        ``auto`` takes a CUDA device if there is one, or a torch device by name.
    checkpoint_seconds : float
        Time between two checkpoints.
    tensorboard : Path, optional
        Folder for TensorBoard's event files.
    console : Console, optional
        Where progress goes; a new one on standard error if not given.
    start : SavedModel, optional
        Weights to start from, in place of random ones. Their digest becomes part of the settings.
    """

    resume: bool = False
    start: SavedModel | None = None
    device: str = "auto"
    checkpoint_seconds: float = 30.0
    tensorboard: Path | None = None
    console: Console = field(default_factory=lambda: Console(stderr=True))


def checkpoint_path(output: Path) -> Path:
    """Where the state of a run that writes ``output`` is kept until it is done.

    Parameters
    ----------
    output : Path
        The model to be written.

    Returns
    -------
    Path
        ``<output>.ckpt``.
    """
    return output.with_name(output.name + ".ckpt")


class TrainingRun:
    """One training run: model, optimiser, data on the device, and how far it has come."""

    def __init__(
        self,
        images: Images,
        config: TrainConfig,
        output: Path,
        options: TrainOptions,
        ranks: Ranks | None = None,
    ) -> None:
        self.config, self.options, self.output = config, options, output
        self.ranks = ranks or Ranks(0, 1, find_device(options.device))
        self.checkpoint = checkpoint_path(output)
        self.count = len(images.pixels)
        if self.count < config.batch_size:
            raise InputError(
                f"{images.name}: expected at least one batch of {config.batch_size} images, got "
                f"{self.count}; lower the batch size"
            )
        if config.batch_size < self.ranks.size:
            raise InputError(
                f"batch size: expected at least one image for each of {self.ranks.size} "
                f"processes, got {config.batch_size}"
            )
        self.share = self.ranks.share(config.batch_size)
        self.identity = RunIdentity(config, _model_config(images, config), _digest(images.pixels))
        self.device = self.ranks.device
        weights = torch.Generator().manual_seed(_stream_seed(config.seed, _WEIGHTS, 0))
        self.model = build_model(self.identity.model, weights, config.init_scale).to(self.device)
        if options.start is not None:
            self._take_weights(options.start)
        if config.isotropic:
            self._share_variance()
        self.activity_cost = ActivityCost(config, self.ranks, self.model.silence)
        self.optimizer = _make_optimizer(self.model, config)
        self.pixels = torch.tensor(images.pixels, device=self.device)
        self.batches_done = 0
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None
        self._start()

    def _take_weights(self, start: SavedModel) -> None:
        wanted, got = self.identity.model, start.config
        if wanted.family != got.family:
            raise InputError(
                f"model to start from: expected one of the family {wanted.family!r}, got "
                f"{got.family!r}; start from a model of the same family"
            )
        if (wanted.pixels, wanted.latents) != (got.pixels, got.latents):
            raise InputError(
                f"model to start from: expected {wanted.pixels} pixels and {wanted.latents} "
                f"latents, got {got.pixels} and {got.latents}; start from a model of the same size"
            )
        load_arrays(self.model, start.arrays, "model to start from")

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches in one pass over the data."""
        return self.count // self.config.batch_size

    @property
    def batches(self) -> int:
        """Batches of the whole run."""
        return self.batches_per_epoch * self.config.epochs

    def _start(self) -> None:
        """Take up the run that stopped, or leave a checkpoint that says that this one began."""
        state = self.ranks.from_first(self._begin)
        strangers = self.ranks.sum_values([float(state.identity != self.identity)])
        if strangers[0]:
            raise InputError(
                f"expected {self.ranks.size} processes with the same settings and data, got "
                f"{strangers[0]:.0f} that differ from the first"
            )
        restore(state, self.model, self.optimizer)
        self.batches_done = state.batches_done
        self.activity_cost.value = state.activity_cost
        self._began = time.monotonic() - state.seconds
        self._save()

    def _begin(self) -> TrainingState:
        if self.options.resume:
            if not self.checkpoint.exists():
                raise InputError(f"{self.checkpoint}: no unfinished run; start without --resume")
            state = load_state(self.checkpoint)
            check_same_run(state, self.identity, self.checkpoint)
            return state
        if self.checkpoint.exists():
            raise InputError(
                f"{self.checkpoint} holds an unfinished run: continue it by --resume, or delete it"
            )
        cost = self.activity_cost.value
        return capture(self.identity, 0, self.model, self.optimizer, activity_cost=cost)

    def _save(self) -> None:
        if self.ranks.is_first:
            seconds = time.monotonic() - self._began
            state = capture(
                self.identity, self.batches_done, self.model, self.optimizer, seconds,
                self.activity_cost.value,
            )  # fmt: skip
            save_state(state, self.checkpoint)
        self._saved_at = time.monotonic()

    def keep(self) -> None:
        """Write a checkpoint if the last one is old enough."""
        if time.monotonic() - self._saved_at >= self.options.checkpoint_seconds:
            self._save()

    def to_saved(self) -> SavedModel:
        """Copy out the model as it stands; its provenance tells the minutes that it took."""
        minutes = (time.monotonic() - self._began) / 60
        provenance = {**self.identity.model.training, "minutes": round(minutes, 2)}
        return self.model.to_saved(training=provenance)

    def _select(self, batch: int) -> Tensor:
        """Share of a batch's images: the order of an epoch follows from the seed and its number."""
        epoch, place = divmod(batch, self.batches_per_epoch)
        if self._order is None or self._order[0] != epoch:
            shuffle = np.random.default_rng([self.config.seed, epoch])
            self._order = epoch, shuffle.permutation(self.count)
        first = place * self.config.batch_size
        chosen = self._order[1][first : first + self.config.batch_size][self.share]
        return self.pixels[torch.from_numpy(chosen).to(self.device)]

    def train_batch(self, batch: int) -> Metrics | None:
        """Run the windows of a batch; every tenth batch is read out."""
        x = self._select(batch)
        seed = _stream_seed(self.config.seed, _SAMPLES, batch)
        noise = CounterNoise(seed, self.share.start * self.config.latents)
        state = self.model.start(x)
        for number in range(self.config.windows):
            done = (batch + (number + 1) / self.config.windows) / self.batches
            window = self._optimise(x, state, noise, done)
            state = tuple(part.detach() for part in window.state)
        self.activity_cost.steer(window)
        self.batches_done = batch + 1
        last = self.batches_done == self.batches
        wanted = last or batch % _REPORT_EVERY == 0
        return self._measure(x, window, self.config.beta_at(done)) if wanted else None

    def _optimise(self, x: Tensor, state: State, noise: CounterNoise, progress: float) -> Window:
        """One window forward, back through time, and one step of the optimiser."""
        config = self.config
        window = self.model.window(x, state, self._window_settings(noise, progress))
        loss = self._loss(x, window, config.beta_at(progress))
        self.optimizer.zero_grad()
        # Means over shares of a batch, weighted by their sizes, add up to the mean over the batch.
        (loss * (len(x) / config.batch_size)).backward()  # type: ignore[no-untyped-call]
        self.ranks.sum_gradients(self.model.parameters())
        if config.isotropic:
            gradient = self._log_sigma().grad
            gradient.fill_(gradient.mean())  # type: ignore[union-attr]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        self._check_finite(loss, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(progress) * group["share"]
        self.optimizer.step()
        self.model.project()
        return window

    def _window_settings(self, noise: CounterNoise, progress: float) -> WindowSettings:
        config = self.config
        return WindowSettings(
            steps=config.steps,
            beta=config.beta_at(progress),
            temperature=config.temperature_at(progress),
            max_arrivals=config.max_arrivals,
            estimator=config.estimator,
            noise=noise,
        )

    def _loss(self, x: Tensor, window: Window, beta: float) -> Tensor:
        loss = window.nll + beta * window.kl
        loss = loss + self.activity_cost.of(window)
        return loss * (256 / x.shape[1])

    def _log_sigma(self) -> torch.nn.Parameter:
        found = dict(self.model.named_parameters()).get("log_sigma")
        if found is None:
            raise InputError(
                f"isotropic: the family {self.config.model!r} learns no variance per pixel; "
                f"expected false"
            )
        return found

    @torch.no_grad()
    def _share_variance(self) -> None:
        parameter = self._log_sigma()
        parameter.fill_(parameter.mean())

    def _check_finite(self, loss: Tensor, norm: Tensor) -> None:
        """Stop before a bad gradient reaches the weights: those in the checkpoint stay good."""
        readings = self.ranks.sum_values([float(loss.detach()), float(norm)])
        if np.isfinite(readings).all():
            return
        raise PvaeNeuroError(
            f"training diverged at batch {self.batches_done + 1} of {self.batches}: loss "
            f"{readings[0]}, norm of the gradient {readings[1]}; the checkpoint before it stays at "
            f"{self.checkpoint}: lower the learning rate or the gradient clip and start again "
            f"without --resume"
        )

    @torch.no_grad()
    def _measure(self, x: Tensor, window: Window, beta: float) -> Metrics:
        mse = ((x - self.model.decode(window.z)) ** 2).sum(1).mean()
        zeros = self.activity_cost.zeros(window)
        share = len(x) / self.config.batch_size
        loss = self._loss(x, window, beta)
        readings = [share * float(r) for r in (loss, window.nll, window.kl, mse, zeros)]
        return Metrics(*self.ranks.sum_values(readings))


def _make_optimizer(model: Model, config: TrainConfig) -> torch.optim.Adamax:
    shares = model.learning_rate_shares(config.dictionary_rate)
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault(shares.get(name, 1.0), []).append(parameter)
    settings = [{"params": group, "share": share} for share, group in groups.items()]
    return torch.optim.Adamax(settings, config.learning_rate, weight_decay=config.weight_decay)


def _model_config(images: Images, config: TrainConfig) -> ModelConfig:
    provenance = {"dataset": images.name, "images": len(images.pixels), **config.model_dump()}
    return ModelConfig(
        family=config.model,
        architecture=config.architecture,
        pixels=images.pixels.shape[1],
        latents=config.latents,
        clamp_u=config.clamp_u,
        clamp_du=config.clamp_du,
        clamp=config.clamp,
        steps=config.steps,
        beta=config.beta,
        kl=config.kl,
        inner_updates=config.inner_updates,
        input_low=images.low,
        input_high=images.high,
        image_shape=images.image_shape,
        training=provenance,
    )


def _digest(pixels: Float32) -> str:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).hexdigest()


def _stream_seed(seed: int, stream: int, index: int) -> int:
    """Seed of one step's randomness; SeedSequence keeps neighbouring numbers independent."""
    words = np.random.SeedSequence([seed, stream, index]).generate_state(1, np.uint64)
    return int(words[0]) >> 1
