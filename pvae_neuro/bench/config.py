"""What a benchmark runs: its cases, contenders and rules of timing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from pvae_neuro.errors import InputError

TOPOLOGIES = ("lateral", "predictive")
# Order of tables and legends. Lava's contenders take seconds to start, so they are asked for.
ENGINES = (
    "fast",
    "fast-bare",
    "reference",
    "onnx",
    "torch",
    "torch-bare",
    "snntorch",
    "norse",
)
LAVA_ENGINES = ("lava-stock", "lava", "lava-batch")
_BASELINES = ("torch", "reference")
# Which the largest rate of the synthetic networks' count table allows.
LARGEST_ACTIVITY = 0.9


@dataclass(frozen=True)
class Case:
    """One setting in which all contenders are timed side by side.

    Attributes
    ----------
    topology : str
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
        Contenders, of ``ENGINES`` and ``LAVA_ENGINES``. One whose dependency is missing is left
        out and the reason kept.
    baseline : str or None
        Contender that ratios refer to; None takes ``torch`` if it runs here, else ``reference``.
    repeats : int
        Turns of each contender.
    steps : int or None
        Iterations per call; None lets a call last ``min_seconds``.
    min_seconds : float
        Shortest measurement.
    limit_seconds : float
        A contender whose shortest sensible measurement takes longer is left out of the case. One
        that would need more for all its turns takes fewer turns, but at least three.
    pixels : int
        M of synthetic networks.
    seed : int
        Of weights, images and noise.

    Raises
    ------
    InputError
        If a name is unknown or a number out of range.
    """

    latents: tuple[int, ...] = (128, 512, 2048)
    batches: tuple[int, ...] = (1, 64, 256)
    activities: tuple[float, ...] = (0.02, 0.12, 0.5)
    topologies: tuple[str, ...] = ("lateral",)
    threads: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    float_model: str | None = None
    images: str | None = None
    engines: tuple[str, ...] = ENGINES
    baseline: str | None = None
    repeats: int = 7
    steps: int | None = None
    min_seconds: float = 0.05
    limit_seconds: float = 10.0
    pixels: int = 784
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.threads:
            object.__setattr__(self, "threads", (available_cores(),))
        for problem in self._problems():
            raise InputError(problem)

    def _problems(self) -> Iterator[str]:
        yield from _unknown("engines", self.engines, (*ENGINES, *LAVA_ENGINES))
        yield from _unknown("topologies", self.topologies, TOPOLOGIES)
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
        for name, least in (("repeats", 1), ("pixels", 1), ("seed", 0)):
            if getattr(self, name) < least:
                yield f"{name}: expected at least {least}, got {getattr(self, name)}"
        if self.steps is not None and self.steps < 1:
            yield f"steps: expected at least 1, got {self.steps}"
        if not (self.min_seconds > 0 and self.limit_seconds > 0):
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

    def choose_baseline(self) -> str:
        """Return the contender that ratios refer to."""
        if self.baseline is not None:
            return self.baseline
        return next((name for name in _BASELINES if name in self.engines), self.engines[0])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def quick(cls, **changes: Any) -> BenchConfig:
        """Preset of under a minute: two sizes, three activities, one batch, three turns.

        Parameters
        ----------
        **changes : Any
            Settings to replace.

        Returns
        -------
        BenchConfig
        """
        preset = cls(latents=(128, 512), batches=(64,), repeats=3, limit_seconds=3.0)
        return replace(preset, **changes)

    @classmethod
    def full(cls, **changes: Any) -> BenchConfig:
        """Preset of all sizes, batches, activities and both topologies on all cores."""
        return replace(cls(topologies=TOPOLOGIES, steps=64), **changes)

    @classmethod
    def headline(cls, **changes: Any) -> BenchConfig:
        """Preset of one size (K = 512) on one core and on all, Lava included.

        What the project claims about its speed is read off this one run. Calls last 128
        iterations, as evaluations do: an image costs its drive and its readout once per call.
        """
        preset = cls(
            latents=(512,),
            topologies=TOPOLOGIES,
            threads=tuple(sorted({1, available_cores()})),
            engines=(*ENGINES, *LAVA_ENGINES),
            repeats=7,
            steps=128,
            limit_seconds=20.0,
        )
        return replace(preset, **changes)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _unknown(field: str, names: tuple[str, ...], known: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{field}: expected one of {', '.join(known)}; got {name!r}"
