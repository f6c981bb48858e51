"""Settings of a training run, and the schedules that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import to_jsonable_python
from rich.console import Console
from typing_extensions import Self

from pvae_neuro.network.population import LARGEST_SIZE
from pvae_neuro.saved.model_file import LARGEST_POTENTIAL, LINEAR_FAMILY, SavedModel
from pvae_neuro.utils.settings import Settings

_MOST = (1 << 31) - 1
_LARGE = 1e9
# At rates of learning beyond this weights are not finite in float32 within some steps.
_FASTEST = 1e3
# Of relaxed arrivals, each of which is an axis of the samples.
_MOST_ARRIVALS = 1 << 16


class TrainConfig(Settings):
    """Settings of one training run; two runs with equal settings and data give equal weights.

    Attributes
    ----------
    model : str
        Family, one of :func:`~pvae_neuro.models.registry.model_names`. Each family has a recipe:
        :func:`pvae_neuro.training.train.recipe`.
    architecture : dict
        Settings that only this family has, such as widths of hidden layers; JSON.
    latents : int
        Number of neurons K.
    steps : int
        Iterations per window, T; gradients flow back through all of them.
    beta : float
        Weight of the KL term.
    kl : {"exact", "released"}
        Kind of KL; see :func:`~pvae_neuro.models.dynamics.kl_divergence`.
    inner_updates : int
        Updates per iteration.
    start : str
        Digest of the weights that the run started from; empty for random weights.
    clamp : {"soft", "hard"}
        Shape of the upper bounds; see :class:`~pvae_neuro.saved.model_file.ModelConfig`.
    clamp_u, clamp_du : float
        Upper bounds of the membrane potential and of its change. The released models use 10, a
        rate of 22,026, at which inputs of high contrast can make counts diverge; a bound of 4, a
        rate of 55, excludes that.
    epochs : int
        Passes over the data.
    batch_size : int
        Samples per optimiser step.
    windows : int
        Windows per batch. The state carries over between them without its gradient, and each
        window ends in an optimiser step.
    learning_rate, final_learning_rate : float
        Peak of the cosine schedule, and its end.
    dictionary_rate : float
        Learning rate of the dictionary relative to that of the other parameters. The dictionary
        needs smaller steps: its entries are small, and pixels that hardly vary amplify the noise of
        its gradient by a hundredfold precision. The other parameters are logarithms.
    warm_up : float
        Fraction of the run over which the learning rate rises from zero.
    weight_decay : float
        L2 penalty in Adamax.
    gradient_clip : float
        Upper bound of the gradient's norm.
    temperature, final_temperature : float
        Of relaxed samples, at the start and at the end of a linear fall.
    temperature_anneal : float
        Fraction of the run after which the temperature has reached its end.
    activity_cost : float
        Weight of the expected number of neurons that fire in an iteration, in nats. Zero trains
        the evidence bound, as the papers do.
    target_zeros : float, optional
        Fraction of zeros at the end of a batch's last window that the cost is adjusted to reach:
        it is multiplied by ``exp(0.2 (target_zeros - zeros))`` after each batch.
    isotropic : bool
        One variance for all pixels instead of one for each, so that all squared errors weigh the
        same, as in the MSE.
    beta_start : float
        KL weight at the start of the schedule; 1e-4 in the released codes.
    beta_anneal : float
        Fraction of the schedule over which the KL weight goes linearly from its start to ``beta``.
    clamp_start : float, optional
        Upper bounds of the state and of its change at the start of the schedule, 2 for Poisson and
        1 for Gaussian models in the released code (``get_c`` of its ``main/layers.py``); by default
        they are constant.
    clamp_anneal : float
        Fraction of the schedule over which the bounds go linearly from their start to their own
        values.
    hold : float
        Fraction of the schedule in which the KL weight and the bounds stay at their starts, before
        they move.
    schedule_batches : int, optional
        Batches that the schedules of the KL weight and of the bounds span, by default those of the
        run. With the batches of a longer run, a short one sees the first part of its schedules in
        their own shape. Learning rate and temperature always span the run, so that they end.
    max_arrivals : int
        Largest relaxed count. If it is too low, training never sees the large counts that exact
        sampling draws, and inference can diverge.
    estimator : {"relaxed", "exact"}
        How gradients pass Poisson counts: through relaxed samples, or through exact counts with the
        slope (z + rate) / 2; see :mod:`pvae_neuro.models.sampling.exact_poisson`.
    init_scale : float, optional
        Standard deviation of the initial decoder weights; by default the family's own.
    seed : int
        Of the initial weights, the order of the batches and every sample.
    """

    model: str = LINEAR_FAMILY
    architecture: dict[str, Any] = Field(default_factory=dict)
    latents: int = Field(default=512, ge=1, le=LARGEST_SIZE)
    steps: int = Field(default=16, ge=1, le=_MOST)
    beta: float = Field(default=16.0, ge=0.0, le=_LARGE)
    kl: Literal["exact", "released"] = "exact"
    inner_updates: int = Field(default=1, ge=1, le=_MOST)
    clamp_u: float = Field(default=10.0, gt=0.0, le=LARGEST_POTENTIAL)
    clamp_du: float = Field(default=10.0, gt=0.0, le=LARGEST_POTENTIAL)
    clamp: Literal["soft", "hard"] = "soft"
    start: str = ""
    epochs: int = Field(default=10, ge=1, le=_MOST)
    batch_size: int = Field(default=100, ge=1, le=_MOST)
    windows: int = Field(default=1, ge=1, le=_MOST)
    learning_rate: float = Field(default=5e-3, gt=0.0, le=_FASTEST)
    final_learning_rate: float = Field(default=1e-5, ge=0.0, le=_FASTEST)
    dictionary_rate: float = Field(default=0.25, gt=0.0, le=_FASTEST)
    warm_up: float = Field(default=0.02, ge=0.0, le=1.0)
    weight_decay: float = Field(default=3e-4, ge=0.0, le=_FASTEST)
    gradient_clip: float = Field(default=300.0, gt=0.0, le=_LARGE)
    activity_cost: float = Field(default=0.0, ge=0.0, le=_LARGE)
    target_zeros: float | None = Field(default=None, gt=0.0, lt=1.0)
    isotropic: bool = False
    temperature: float = Field(default=0.1, gt=0.0, le=_LARGE)
    final_temperature: float = Field(default=0.05, gt=0.0, le=_LARGE)
    temperature_anneal: float = Field(default=0.5, ge=0.0, le=1.0)
    beta_start: float = Field(default=0.0, ge=0.0, le=_LARGE)
    beta_anneal: float = Field(default=0.0, ge=0.0, le=1.0)
    clamp_start: float | None = Field(default=None, gt=0.0, le=LARGEST_POTENTIAL)
    clamp_anneal: float = Field(default=0.0, ge=0.0, le=1.0)
    hold: float = Field(default=0.0, ge=0.0, le=1.0)
    schedule_batches: int | None = Field(default=None, ge=1, le=_MOST)
    max_arrivals: int = Field(default=64, ge=1, le=_MOST_ARRIVALS)
    estimator: Literal["relaxed", "exact"] = "relaxed"
    init_scale: float | None = Field(default=None, gt=0.0, le=_LARGE)
    seed: int = Field(default=0, ge=0, lt=1 << 64)

    @field_validator("architecture")
    @classmethod
    def _as_saved(cls, value: dict[str, Any]) -> dict[str, Any]:
        """A tuple becomes a list, as in the checkpoint that a resumed run is compared with."""
        return dict(to_jsonable_python(value))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.target_zeros is not None and not self.activity_cost:
            raise ValueError("target_zeros adjusts the activity cost: expected a cost above 0")
        if self.clamp_anneal and self.clamp_start is None:
            raise ValueError("clamp_anneal moves the bounds from clamp_start: expected a start")
        for name, span in (("beta", self.beta_anneal), ("clamp", self.clamp_anneal)):
            if getattr(self, f"{name}_start") and not (span or self.hold):
                raise ValueError(
                    f"{name}_start: expected hold or {name}_anneal above 0, or it is left at once"
                )
        if self.schedule_batches and not (self.beta_anneal or self.clamp_anneal or self.hold):
            raise ValueError(
                "schedule_batches: expected something to schedule: beta_anneal, clamp_anneal or "
                "hold above 0, which a named recipe or the family's own may set"
            )
        return self

    def learning_rate_at(self, progress: float) -> float:
        """Linear warm-up, then half a cosine, over the fraction of the run done."""
        if progress < self.warm_up:
            return self.learning_rate * progress / self.warm_up
        done = (progress - self.warm_up) / max(1.0 - self.warm_up, 1e-12)
        span = self.learning_rate - self.final_learning_rate
        return self.final_learning_rate + span * 0.5 * (1.0 + math.cos(math.pi * done))

    def temperature_at(self, progress: float) -> float:
        """Linear fall, then constant, over the fraction of the run done."""
        share = _ramp(progress, self.temperature_anneal)
        return self.temperature + share * (self.final_temperature - self.temperature)

    def beta_at(self, progress: float) -> float:
        """Start, linear rise, then constant, over the fraction of the schedule done."""
        share = _ramp(progress - self.hold, self.beta_anneal)
        return self.beta_start + share * (self.beta - self.beta_start)

    def clamp_growth_at(self, progress: float) -> float:
        """How far the upper bounds have gone from their start, 0 to 1, likewise."""
        return _ramp(progress - self.hold, self.clamp_anneal)

    def differences(self, other: TrainConfig) -> str:
        """Settings that differ, as ``name: mine != other's``, comma-separated; empty if equal."""
        mine, theirs = self.model_dump(), other.model_dump()
        return ", ".join(
            f"{name}: {mine[name]} != {theirs[name]}" for name in mine if mine[name] != theirs[name]
        )


@dataclass
class TrainOptions:
    """How a run is carried out; none of these changes the weights, except ``start``.

    Attributes
    ----------
    resume : bool
        Continue the unfinished run whose checkpoint is beside the output.
    start : SavedModel, optional
        Weights to start from instead of random ones. Their digest becomes part of the settings.
    device : str
        A torch device by name; ``auto`` takes a CUDA device if there is one.
    checkpoint_seconds : float
        Time between two checkpoints.
    tensorboard : Path, optional
        Folder for TensorBoard's event files.
    console : Console
        Where progress is shown; by default a new one on standard error.
    """

    resume: bool = False
    start: SavedModel | None = None
    device: str = "auto"
    checkpoint_seconds: float = 30.0
    tensorboard: Path | None = None
    console: Console = field(default_factory=lambda: Console(stderr=True))


def checkpoint_path(output: Path) -> Path:
    """``<output>.ckpt``: the state of a run that will write ``output``, until it is done."""
    return output.with_name(output.name + ".ckpt")


def _ramp(progress: float, span: float) -> float:
    return 1.0 if progress >= max(span, 0.0) else max(progress, 0.0) / (span or 1.0)
