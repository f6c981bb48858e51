"""One training run: the model, its optimiser, the data, and how far the run has come."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pvae_neuro.data.images import Images
from pvae_neuro.errors import InputError, PvaeNeuroError
from pvae_neuro.models.base import Model, State, Window, WindowSettings
from pvae_neuro.models.registry import build_model, model_class
from pvae_neuro.models.sampling.counter_noise import CounterNoise
from pvae_neuro.saved.activity import KEY
from pvae_neuro.saved.model_file import ModelConfig, SavedModel
from pvae_neuro.training.activity import ActivityCost
from pvae_neuro.training.config import TrainConfig, TrainOptions, checkpoint_path
from pvae_neuro.training.firing import firing
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
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.show import show

_REPORT_EVERY = 10
"""Batches between two readings of the metrics; a reading waits for the device."""

_SAMPLES, _WEIGHTS = 1, 2
"""Streams of random numbers that must not share a seed."""

# A parameter, its gradient, and two numbers of Adamax, as float32.
_BYTES_PER_PARAMETER = 16


class TrainingRun:
    """One training run. The constructor touches no file; :meth:`start` opens the checkpoint."""

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
        self.batches_done = 0
        self._began = self._saved_at = time.monotonic()
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
        _refuse_unread(config)
        self.share = self.ranks.share(config.batch_size)
        self.identity = RunIdentity(config, _model_config(images, config), _digest(images.pixels))
        self.device = self.ranks.device
        with torch.device("meta"):
            parameters = build_model(self.identity.model).parameter_count
        require_memory(
            parameters * _BYTES_PER_PARAMETER,
            f"{config.model} of {config.latents:,} latents and {images.pixels.shape[1]:,} pixels",
        )
        weights = torch.Generator().manual_seed(_stream_seed(config.seed, _WEIGHTS, 0))
        self.model = build_model(self.identity.model, weights, config.init_scale).to(self.device)
        if options.start is not None:
            self._take_weights(options.start)
        if config.isotropic:
            self._share_variance()
        self.activity_cost = ActivityCost(config, self.ranks, self.model.zero_threshold)
        self.optimizer = _make_optimizer(self.model, config)
        self.pixels = torch.tensor(images.pixels, device=self.device)
        self.targets = self.model.targets(images)
        if self.targets is not None:
            named = f"{self.identity.data} {_digest(self.targets.numpy())}"
            self.identity = replace(self.identity, data=named)
            self.targets = self.targets.to(self.device)
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None

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
        ours = self.model.architecture
        theirs = type(ours)(**got.architecture)
        for name in ours.array_settings:
            mine, other = getattr(ours, name), getattr(theirs, name)
            if mine != other:
                raise InputError(
                    f"model to start from: expected {name} {show(mine)}, got {show(other)}, so its "
                    f"arrays stand for something else; set the architecture's {name} to the model's"
                )
        self.model.load_arrays(start.arrays, "model to start from")

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches in one pass over the data."""
        return self.count // self.config.batch_size

    @property
    def batches(self) -> int:
        """Batches of the whole run."""
        return self.batches_per_epoch * self.config.epochs

    def start(self) -> None:
        """Load the checkpoint of the run to resume, or write the first checkpoint of a new one.

        Raises
        ------
        InputError
            If an unfinished run is in the way, there is none to resume, it differs from this one,
            or the processes of this run differ in settings or data.
        ModelFileError
            If the checkpoint is damaged.
        """
        state = self.ranks.from_first(self._begin)
        (different,) = self.ranks.sum_values([float(state.identity != self.identity)])
        if different:
            raise InputError(
                f"expected {self.ranks.size} processes with the same settings and data, got "
                f"{different:.0f} that differ from the first"
            )
        restore(state, self.model, self.optimizer)
        self.batches_done = state.batches_done
        self.activity_cost.value = state.activity_cost
        self._began = time.monotonic() - state.seconds
        self._save()

    def _begin(self) -> TrainingState:
        if self.options.resume:
            if not self.checkpoint.exists():
                raise InputError(f"{self.checkpoint}: no unfinished run to resume; start a new one")
            state = load_state(self.checkpoint)
            check_same_run(state, self.identity, self.checkpoint)
            return state
        if self.checkpoint.exists():
            raise InputError(f"{self.checkpoint} holds an unfinished run: resume it, or delete it")
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
        """Write a checkpoint if the last one is older than ``checkpoint_seconds``."""
        if time.monotonic() - self._saved_at >= self.options.checkpoint_seconds:
            self._save()

    def to_saved(self) -> SavedModel:
        """Copy the current model.

        Its provenance records the minutes that the run took, and how much the model fires on its
        training images.
        """
        minutes = (time.monotonic() - self._began) / 60
        provenance = {
            **self.identity.model.training,
            "minutes": round(minutes, 2),
            KEY: firing(self.model, self.pixels),
        }
        return self.model.to_saved(training=provenance)

    def _select(self, batch: int) -> tuple[Tensor, Tensor | None]:
        """Inputs and targets of this process's part of a batch.

        The order of an epoch follows from seed and number.
        """
        epoch, index = divmod(batch, self.batches_per_epoch)
        if self._order is None or self._order[0] != epoch:
            shuffle = np.random.default_rng([self.config.seed, epoch])
            self._order = epoch, shuffle.permutation(self.count)
        first = index * self.config.batch_size
        chosen = self._order[1][first : first + self.config.batch_size][self.share]
        places = torch.from_numpy(chosen).to(self.device)
        return self.pixels[places], None if self.targets is None else self.targets[places]

    def train_batch(self, batch: int) -> Metrics | None:
        """Run the windows of a batch; returns the metrics of every tenth batch and of the last."""
        x, target = self._select(batch)
        seed = _stream_seed(self.config.seed, _SAMPLES, batch)
        noise = CounterNoise(seed, self.share.start * self.config.latents)
        state = self.model.start(x)
        for number in range(self.config.windows):
            done = batch + (number + 1) / self.config.windows
            window = self._optimise(x, target, state, noise, done)
            state = tuple(part.detach() for part in window.state)
        self.activity_cost.steer(window)
        self.batches_done = batch + 1
        last = self.batches_done == self.batches
        wanted = last or batch % _REPORT_EVERY == 0
        return self._measure(x, target, window, self._beta_after(done)) if wanted else None

    def _optimise(
        self, x: Tensor, target: Tensor | None, state: State, noise: CounterNoise, done: float
    ) -> Window:
        """Run one window, its backward pass, and one step, after ``done`` batches of the run."""
        config = self.config
        settings = replace(self._window_settings(noise, done), target=target)
        window = self.model.window(x, state, settings)
        loss = self._loss(x, window, self._beta_after(done))
        self.optimizer.zero_grad()
        # Means over parts of a batch, weighted by their sizes, add up to the mean over the batch.
        (loss * (len(x) / config.batch_size)).backward()  # type: ignore[no-untyped-call]
        self.ranks.sum_gradients(self.model.parameters())
        if config.isotropic:
            gradient = self._log_sigma().grad
            gradient.fill_(gradient.mean())  # type: ignore[union-attr]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        self._check_finite(loss, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(done / self.batches) * group["share"]
        self.optimizer.step()
        self.model.project()
        return window

    def _scheduled(self, done: float) -> float:
        """Fraction of the schedules that ``done`` batches are."""
        return done / (self.config.schedule_batches or self.batches)

    def _beta_after(self, done: float) -> float:
        return self.config.beta_at(self._scheduled(done))

    def _window_settings(self, noise: CounterNoise, done: float) -> WindowSettings:
        config, progress = self.config, self._scheduled(done)
        return WindowSettings(
            steps=config.steps,
            beta=config.beta_at(progress),
            temperature=config.temperature_at(done / self.batches),
            clamp_start=config.clamp_start,
            clamp_growth=config.clamp_growth_at(progress),
            max_arrivals=config.max_arrivals,
            estimator=config.estimator,
            noise=noise,
        )

    def _loss(self, x: Tensor, window: Window, beta: float) -> Tensor:
        loss = window.nll + beta * window.kl
        loss = loss + self.activity_cost.term(window)
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
        """Stop before a gradient that is not finite reaches the weights or the checkpoint."""
        readings = self.ranks.sum_values([float(loss.detach()), float(norm)])
        if np.isfinite(readings).all():
            return
        raise PvaeNeuroError(
            f"training diverged at batch {self.batches_done + 1} of {self.batches}: loss "
            f"{readings[0]}, norm of the gradient {readings[1]}; the last good checkpoint stays at "
            f"{self.checkpoint}: delete it, and start again with a lower learning rate or gradient "
            f"clip"
        )

    @torch.no_grad()
    def _measure(self, x: Tensor, target: Tensor | None, window: Window, beta: float) -> Metrics:
        mse = self.model.squared_error(x, window.z, target).mean()
        zeros = self.activity_cost.zeros(window)
        share = len(x) / self.config.batch_size
        loss = self._loss(x, window, beta)
        readings = [share * float(r) for r in (loss, window.nll, window.kl, mse, zeros)]
        return Metrics(*self.ranks.sum_values(readings))


def _refuse_unread(config: TrainConfig) -> None:
    family = model_class(config.model)
    for name in family.unread:
        usual = family.defaults.get(name, TrainConfig.model_fields[name].default)
        if getattr(config, name) != usual:
            raise InputError(
                f"{name}: the family {config.model!r} does not read this setting; expected "
                f"{usual!r}, got {getattr(config, name)!r}; leave it out"
            )


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
        architecture={**model_class(config.model).settings_of(images), **config.architecture},
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


def _digest(array: npt.NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).hexdigest()


def _stream_seed(seed: int, stream: int, index: int) -> int:
    """Seed of one batch or of the weights; SeedSequence makes neighbouring indices independent."""
    words = np.random.SeedSequence([seed, stream, index]).generate_state(1, np.uint64)
    return int(words[0]) >> 1
