"""What a benchmark runs: its cases and the rules of timing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pvae_neuro.bench.networks import TOPOLOGIES
from pvae_neuro.bench.timing import Rules
from pvae_neuro.errors import InputError

# Order of tables and legends.
CONTENDERS = ("fast", "fast-bare", "reference", "onnx", "pytorch", "pytorch-bare")
# The largest rate of the synthetic networks allows no more.
LARGEST_ACTIVITY = 0.9


@dataclass(frozen=True)
class Case:
    """One setting in which all contenders are timed side by side.

    Attributes
    ----------
    topology : str or None
        Circuit of a synthetic network; None where ``model`` says it.
    latents : int or None
        K; None where ``model`` says it.
    batch : int
        Images B.
    activity : float or None
        Share of neurons that fire per iteration, pinned; None where ``model`` decides it.
    threads : int
    model : str or None
        A real artifact instead of a synthetic network.
    """

    topology: str | None
    latents: int | None
    batch: int
    activity: float | None
    threads: int
    model: str | None = None

    def __str__(self) -> str:
        what = self.model or f"{self.topology}, K {self.latents}, {100 * (self.activity or 0):g} %"
        return f"{what}, batch {self.batch}, {self.threads} thread{'s' * (self.threads > 1)}"


@dataclass(frozen=True)
class BenchConfig:
    """Settings of a benchmark.

    Attributes
    ----------
    latents, batches, activities, topologies, threads : tuple
        Every combination is a case. No latents: no synthetic case. No threads: all cores.
    models : tuple of str
        Artifacts (``.onnx``) to time as well, each with every batch and thread count, on
        ``images`` or else on its golden inputs.
    float_model : str or None
        Saved float model (``.safetensors``) of these artifacts, for the PyTorch contenders.
        Without it they run a synthetic model of the same size and measured activity.
    images : str or None
        ``.npy`` of float [N, M] for ``models``; repeated to fill a batch.
    engines : tuple of str
        Names of contenders. One whose dependency is missing is left out and the reason kept.
    baseline : str or None
        Contender that ratios refer to; None takes ``pytorch`` if it runs here, else
        ``reference``.
    rules : Rules
        How long each is timed.
    pixels : int
        M of synthetic networks.
    seed : int
        Of weights, images and noise.

    Raises
    ------
    InputError
        If a number is out of range, or there is no case.
    """

    latents: tuple[int, ...] = (128, 512, 2048)
    batches: tuple[int, ...] = (1, 64, 256)
    activities: tuple[float, ...] = (0.02, 0.12, 0.5)
    topologies: tuple[str, ...] = ("lateral",)
    threads: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    float_model: str | None = None
    images: str | None = None
    engines: tuple[str, ...] = CONTENDERS
    baseline: str | None = None
    rules: Rules = field(default_factory=Rules)
    pixels: int = 784
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.threads:
            object.__setattr__(self, "threads", (available_cores(),))
        for problem in self._problems():
            raise InputError(problem)

    def _problems(self) -> Iterator[str]:
        for name in self.topologies:
            if name not in TOPOLOGIES:
                yield f"topologies: expected one of {', '.join(TOPOLOGIES)}; got {name!r}"
        if self.baseline is not None and self.baseline not in self.engines:
            yield f"baseline: expected one of {', '.join(self.engines)}; got {self.baseline!r}"
        for name in ("engines", "batches", "threads"):
            if not getattr(self, name):
                yield f"{name}: expected at least one"
        if not (self.models or (self.latents and self.activities and self.topologies)):
            yield "nothing to run: expected latents, activities and topologies, or models"
        yield from self._number_problems()

    def _number_problems(self) -> Iterator[str]:
        for name in ("latents", "batches", "threads"):
            for value in getattr(self, name):
                if value < 1:
                    yield f"{name}: expected whole numbers of at least 1, got {value}"
        if max(self.threads) > available_cores():
            yield f"threads: expected at most the {available_cores()} cores, got {self.threads}"
        for value in self.activities:
            if not 0.0 < value <= LARGEST_ACTIVITY:
                yield f"activities: expected shares in (0, {LARGEST_ACTIVITY}], got {value}"
        rules = self.rules
        for name, value, least in (
            ("repeats", rules.repeats, 1),
            ("steps", 1 if rules.steps is None else rules.steps, 1),
            ("pixels", self.pixels, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                yield f"{name}: expected at least {least}, got {value}"
        if not (rules.min_seconds > 0 and rules.limit_seconds > 0):
            yield "expected min_seconds and limit_seconds above 0"

    def cases(self) -> list[Case]:
        """Every case: the synthetic ones, then the models."""
        synthetic = [
            Case(topology, latents, batch, activity, threads)
            for threads in self.threads
            for topology in self.topologies
            for latents in self.latents
            for activity in self.activities
            for batch in self.batches
        ]
        real = [
            Case(None, None, batch, None, threads, model)
            for threads in self.threads
            for model in self.models
            for batch in self.batches
        ]
        return synthetic + real

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def quick(cls, **changes: Any) -> BenchConfig:
        """Preset of under a minute: two sizes, three activities, one batch, three turns."""
        preset = cls(latents=(128, 512), batches=(64,), rules=Rules(repeats=3, limit_seconds=3.0))
        return replace(preset, **changes)

    @classmethod
    def full(cls, **changes: Any) -> BenchConfig:
        """Preset of all sizes, batches, activities and both topologies on all cores."""
        return replace(cls(topologies=tuple(TOPOLOGIES), rules=Rules(steps=64)), **changes)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
