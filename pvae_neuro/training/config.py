"""How a model is trained: every setting of a run, and the schedules that follow from them."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from pvae_neuro.saved.model_file import LINEAR_FAMILY


class TrainConfig(BaseModel):
    """Settings of one training run; two runs with equal settings and data give equal weights.

    Attributes
    ----------
    model : str
        Family, one of :func:`~pvae_neuro.models.registry.model_names`. Families have recipes of
        their own: :func:`pvae_neuro.training.train.recipe`.
    architecture : dict
        Settings of that family alone, such as widths of hidden layers; JSON.
    latents : int
        Number of neurons K.
    steps : int
        Time steps per window, T: gradients flow back through all of them.
    beta : float
        Weight of the KL term.
    kl : {"exact", "released"}
        Which rate stands in front of the KL; see :func:`~pvae_neuro.models.dynamics.kl_divergence`.
    inner_updates : int
        Updates per time step.
    start : str
        Digest of the weights that the run started from; empty for random ones.
    clamp : {"soft", "hard"}
        Shape of the upper bounds; see :class:`~pvae_neuro.saved.model_file.ModelConfig`.
    clamp_u, clamp_du : float
        Soft upper bounds of the membrane potential and of its change. The released models use 10,
        a rate of 22,026: inputs of high contrast can then drive counts into a runaway that a bound
        of 4, a rate of 55, excludes.
    epochs : int
        Passes over the data. The schedules span all of them.
    batch_size : int
        Samples per optimiser step.
    windows : int
        Windows per batch. The state carries over from one to the next without its gradient, and
        each ends in an optimiser step.
    learning_rate, final_learning_rate : float
        Peak of the cosine schedule, and its end.
    dictionary_rate : float
        Learning rate of the dictionary as a share of the others'. Its entries are small, and
        pixels that hardly vary weigh a step's noise by a hundredfold precision, while the other
        parameters move in logarithms and have far to go.
    warm_up : float
        Share of the run over which the learning rate rises from zero.
    weight_decay : float
        L2 penalty in Adamax.
    gradient_clip : float
        Upper bound of the gradient's norm.
    temperature, final_temperature : float
        Of the relaxed samples, falling linearly.
    temperature_anneal : float
        Share of the run after which the temperature has reached its end.
    activity_cost : float
        Weight of the expected number of neurons that fire in an iteration, in nats; zero trains
        the evidence bound alone, as the papers do.
    target_zeros : float, optional
        Share of silent neurons at the end of a batch's last window that the cost is steered to: it
        grows by the factor ``exp(0.2 (target_zeros - zeros))`` after each batch.
    isotropic : bool
        One variance for all pixels instead of one for each: squared errors then count alike, as
        they do in the MSE.
    beta_anneal : float
        Share of the run over which the KL weight rises linearly from zero.
    max_arrivals : int
        Largest relaxed count. Too low, and training never meets the large counts that exact
        sampling draws, which can then run away.
    estimator : {"relaxed", "exact"}
        How gradients pass Poisson counts: through relaxed samples, or through exact counts by the
        slope (z + rate) / 2; see :mod:`pvae_neuro.models.poisson.window`.
    init_scale : float, optional
        Standard deviation of the initial decoder; the family's own if not given.
    seed : int
        Of the initial weights, the order of the batches and every sample.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = LINEAR_FAMILY
    architecture: dict[str, Any] = Field(default_factory=dict)
    latents: int = Field(default=512, ge=1)
    steps: int = Field(default=16, ge=1)
    beta: float = Field(default=16.0, ge=0.0)
    kl: Literal["exact", "released"] = "exact"
    inner_updates: int = Field(default=1, ge=1)
    clamp_u: float = Field(default=10.0, gt=0.0)
    clamp_du: float = Field(default=10.0, gt=0.0)
    clamp: Literal["soft", "hard"] = "soft"
    start: str = ""
    epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=100, ge=1)
    windows: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=5e-3, gt=0.0)
    final_learning_rate: float = Field(default=1e-5, ge=0.0)
    dictionary_rate: float = Field(default=0.25, gt=0.0)
    warm_up: float = Field(default=0.02, ge=0.0, le=1.0)
    weight_decay: float = Field(default=3e-4, ge=0.0)
    gradient_clip: float = Field(default=300.0, gt=0.0)
    activity_cost: float = Field(default=0.0, ge=0.0)
    target_zeros: float | None = Field(default=None, gt=0.0, lt=1.0)
    isotropic: bool = False
    temperature: float = Field(default=0.1, gt=0.0)
    final_temperature: float = Field(default=0.05, gt=0.0)
    temperature_anneal: float = Field(default=0.5, ge=0.0, le=1.0)
    beta_anneal: float = Field(default=0.0, ge=0.0, le=1.0)
    max_arrivals: int = Field(default=64, ge=1)
    estimator: Literal["relaxed", "exact"] = "relaxed"
    init_scale: float | None = Field(default=None, gt=0.0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.target_zeros is not None and not self.activity_cost:
            raise ValueError("target_zeros steers the activity cost: expected one above 0 to start")
        return self

    def learning_rate_at(self, progress: float) -> float:
        """Linear warm-up, then half a cosine.

        Parameters
        ----------
        progress : float
            Share of the run done, in [0, 1].

        Returns
        -------
        float
            Learning rate of the next optimiser step.
        """
        if progress < self.warm_up:
            return self.learning_rate * progress / self.warm_up
        done = (progress - self.warm_up) / max(1.0 - self.warm_up, 1e-12)
        span = self.learning_rate - self.final_learning_rate
        return self.final_learning_rate + span * 0.5 * (1.0 + math.cos(math.pi * done))

    def temperature_at(self, progress: float) -> float:
        """Linear fall, then constant.

        Parameters
        ----------
        progress : float
            Share of the run done, in [0, 1].

        Returns
        -------
        float
            Temperature of the relaxed samples.
        """
        share = _ramp(progress, self.temperature_anneal)
        return self.temperature + share * (self.final_temperature - self.temperature)

    def beta_at(self, progress: float) -> float:
        """Linear rise from zero, then constant.

        Parameters
        ----------
        progress : float
            Share of the run done, in [0, 1].

        Returns
        -------
        float
            Weight of the KL term.
        """
        return self.beta * _ramp(progress, self.beta_anneal)

    def differences(self, other: TrainConfig) -> str:
        """Name the settings in which two configurations differ.

        Parameters
        ----------
        other : TrainConfig
            To compare with.

        Returns
        -------
        str
            ``name: mine != other's``, comma-separated; empty if they are equal.
        """
        mine, theirs = self.model_dump(), other.model_dump()
        return ", ".join(
            f"{name}: {mine[name]} != {theirs[name]}" for name in mine if mine[name] != theirs[name]
        )


def _ramp(progress: float, span: float) -> float:
    return 1.0 if progress >= span else progress / span
