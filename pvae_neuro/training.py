"""Train an iterative Poisson VAE, resumable at any moment to bit-identical weights."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from pvae_neuro.checkpoints import Float32, ModelConfig, SavedModel, array_shapes, save_model
from pvae_neuro.data.images import Images
from pvae_neuro.errors import EngineUnavailableError, InputError, PvaeNeuroError
from pvae_neuro.training_config import TrainConfig

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise EngineUnavailableError("training needs torch: pip install 'pvae-neuro[train]'") from error

from pvae_neuro.models.counter_noise import CounterNoise
from pvae_neuro.models.ipvae import IPVAE
from pvae_neuro.models.window import WindowResult, run_window
from pvae_neuro.training_progress import Metrics, Reporter, progress_bar, summary_writer
from pvae_neuro.training_ranks import Ranks, find_device, join_ranks
from pvae_neuro.training_state import (
    RunIdentity,
    TrainingState,
    capture,
    check_same_run,
    load_state,
    restore,
    save_state,
)

__all__ = ["TrainConfig", "TrainOptions", "checkpoint_path", "train"]

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


def train(
    images: Images, config: TrainConfig, output: Path, options: TrainOptions | None = None
) -> SavedModel:
    """Train a model and save it.

    A checkpoint stands beside the output until the run is done. A run that was killed, however
    hard, resumes from it and ends, on the same machine with as many threads, with the very bits
    of a run that was not. Under ``torchrun`` every process takes a share of each batch: the run is
    that of one process but for rounding, and the first process alone writes files.

    Parameters
    ----------
    images : Images
        Training data.
    config : TrainConfig
        Settings; with the data they determine the weights.
    output : Path
        Model file to write, ``.safetensors``.
    options : TrainOptions, optional
        How to carry the run out.

    Returns
    -------
    SavedModel
        What was written.

    Raises
    ------
    InputError
        If there are fewer images than one batch, or fewer in a batch than processes, the device is
        unknown, an unfinished run is in the way, there is none to resume, or it differs from this
        one.
    ModelFileError
        If the checkpoint to resume is damaged.
    PvaeNeuroError
        If the training diverges.
    EngineUnavailableError
        If TensorBoard is asked for and not installed.
    """
    options = options or TrainOptions()
    if options.start is not None:
        config = config.model_copy(update={"start": _weights_digest(options.start)})
    ranks = join_ranks(options.device)
    # The writer comes first: without TensorBoard the run must not even leave its checkpoint.
    with summary_writer(options.tensorboard if ranks.is_first else None) as writer:
        run = _Run(images, config, Path(output), options, ranks)
        _train_all(run, writer)
    saved = run.to_saved()
    if ranks.is_first:
        save_model(saved, run.output)
        run.checkpoint.unlink(missing_ok=True)
    return saved


def _train_all(run: _Run, writer: Reporter) -> None:
    console = run.options.console if run.ranks.is_first else Console(quiet=True)
    with progress_bar(console, run.batches_done, run.batches, run.batches_per_epoch) as report:
        for batch in range(run.batches_done, run.batches):
            metrics = run.train_batch(batch)
            if metrics is not None:
                report(batch + 1, metrics)
                writer(batch, metrics)
            run.keep()


class _Run:
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
        self.model = IPVAE(self.identity.model, weights, config.init_scale).to(self.device)
        if options.start is not None:
            self._take_weights(options.start)
        self.optimizer = _make_optimizer(self.model, config)
        self.pixels = torch.tensor(images.pixels, device=self.device)
        self.batches_done = 0
        self._order: tuple[int, npt.NDArray[np.int64]] | None = None
        self._start()

    def _take_weights(self, start: SavedModel) -> None:
        wanted, got = array_shapes(self.identity.model), array_shapes(start.config)
        if wanted != got:
            raise InputError(
                f"model to start from: expected {wanted['dictionary']} pixels and latents, got "
                f"{got['dictionary']}; start from a model of the same size"
            )
        self.model.load_state_dict(IPVAE.from_saved(start).state_dict())

    @property
    def batches_per_epoch(self) -> int:
        return self.count // self.config.batch_size

    @property
    def batches(self) -> int:
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
        return capture(self.identity, 0, self.model, self.optimizer)

    def _save(self) -> None:
        if self.ranks.is_first:
            state = capture(self.identity, self.batches_done, self.model, self.optimizer)
            save_state(state, self.checkpoint)
        self._saved_at = time.monotonic()

    def keep(self) -> None:
        """Write a checkpoint if the last one is old enough."""
        if time.monotonic() - self._saved_at >= self.options.checkpoint_seconds:
            self._save()

    def to_saved(self) -> SavedModel:
        return self.model.to_saved()

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
        """Run the windows of a batch; every tenth batch is read out and checked."""
        x = self._select(batch)
        seed = _stream_seed(self.config.seed, _SAMPLES, batch)
        noise = CounterNoise(seed, self.share.start * self.config.latents)
        u = self.model.initial_state(len(x))
        for window in range(self.config.windows):
            done = (batch + (window + 1) / self.config.windows) / self.batches
            loss, result = self._optimise(x, u, noise, done)
            u = result.u.detach()
        self.batches_done = batch + 1
        last = self.batches_done == self.batches
        return self._measure(x, loss, result) if last or batch % _REPORT_EVERY == 0 else None

    def _optimise(
        self, x: Tensor, u: Tensor, noise: CounterNoise, progress: float
    ) -> tuple[Tensor, WindowResult]:
        """One window forward, back through time, and one step of the optimiser."""
        config = self.config
        temperature = config.temperature_at(progress)
        result = run_window(self.model, x, u, config.steps, temperature, noise, config.max_arrivals)
        loss = (result.nll + config.beta_at(progress) * result.kl) * (256 / x.shape[1])
        self.optimizer.zero_grad()
        # Means over shares of a batch, weighted by their sizes, add up to the mean over the batch.
        (loss * (len(x) / config.batch_size)).backward()  # type: ignore[no-untyped-call]
        self.ranks.sum_gradients(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate_at(progress) * group["share"]
        self.optimizer.step()
        return loss, result

    @torch.no_grad()
    def _measure(self, x: Tensor, loss: Tensor, result: WindowResult) -> Metrics:
        mse = ((x - self.model.decode(result.z)) ** 2).sum(1).mean()
        zeros = (result.z < 0.5).float().mean()
        share = len(x) / self.config.batch_size
        readings = [share * float(r) for r in (loss, result.nll, result.kl, mse, zeros)]
        metrics = Metrics(*self.ranks.sum_values(readings))
        if not np.isfinite(metrics).all():
            raise PvaeNeuroError(
                f"training diverged at batch {self.batches_done} of {self.batches}: {metrics}; "
                f"lower the learning rate or the gradient clip"
            )
        return metrics


def _make_optimizer(model: IPVAE, config: TrainConfig) -> torch.optim.Adamax:
    others = [value for name, value in model.named_parameters() if name != "dictionary"]
    groups = [
        {"params": [model.dictionary], "share": config.dictionary_rate},
        {"params": others, "share": 1.0},
    ]
    return torch.optim.Adamax(groups, config.learning_rate, weight_decay=config.weight_decay)


def _model_config(images: Images, config: TrainConfig) -> ModelConfig:
    provenance = {"dataset": images.name, "images": len(images.pixels), **config.model_dump()}
    return ModelConfig(
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


def _weights_digest(model: SavedModel) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(model.arrays().items()):
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()[:32]


def _digest(pixels: Float32) -> str:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).hexdigest()


def _stream_seed(seed: int, stream: int, index: int) -> int:
    """Seed of one step's randomness; SeedSequence keeps neighbouring numbers independent."""
    words = np.random.SeedSequence([seed, stream, index]).generate_state(1, np.uint64)
    return int(words[0]) >> 1
