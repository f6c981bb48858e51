"""The integer network: what every engine runs, every exporter writes and the certificate proves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from pvae_neuro.errors import NetworkError
from pvae_neuro.network.bounds import Items, Name, Optional, Part, Real, Text, bounded, faults
from pvae_neuro.network.circuit import Circuit
from pvae_neuro.network.ranges import Ranges, prove_ranges
from pvae_neuro.utils.show import short_repr

MOST_FAULTS_SHOWN = 5


@dataclass(frozen=True)
class Choice:
    """A number that quantization chose, and why."""

    name: str = bounded(Text(100))
    value: float = bounded(Real())
    why: str = bounded(Text())

    __repr__ = short_repr


@dataclass(frozen=True)
class Measurements:
    """What was measured of a network against its float model; None where it was not.

    Attributes
    ----------
    mse_percent, zeros_points : float
        Declared distance from the float circuit under the same words: mean squared error in
        percent, share of silent neurons in percentage points.
    agreement : float
        Declared share of equal counts.
    images, iterations : int
        What these were measured on.
    excess_percent, excess_error : float
        Mean squared error above float's at the end of the stability run, and its standard error.
    stability_iterations : int
    smallest_eigenvalue, smallest_eigenvalue_float, largest_eigenvalue_float : float
        Of the inhibition matrix, over its largest entry: rounded, and before.
    """

    mse_percent: float | None = bounded(Optional(Real()), default=None)
    zeros_points: float | None = bounded(Optional(Real()), default=None)
    agreement: float | None = bounded(Optional(Real()), default=None)
    images: float | None = bounded(Optional(Real()), default=None)
    iterations: float | None = bounded(Optional(Real()), default=None)
    excess_percent: float | None = bounded(Optional(Real()), default=None)
    excess_error: float | None = bounded(Optional(Real()), default=None)
    stability_iterations: float | None = bounded(Optional(Real()), default=None)
    smallest_eigenvalue: float | None = bounded(Optional(Real()), default=None)
    smallest_eigenvalue_float: float | None = bounded(Optional(Real()), default=None)
    largest_eigenvalue_float: float | None = bounded(Optional(Real()), default=None)

    __repr__ = short_repr


@dataclass(frozen=True, eq=False, repr=False)
class IntegerNetwork(Circuit):
    """A quantized model, or any network of integer neurons, ready for any engine.

    Built only if every field lies within its bounds and the parts fit; see
    :attr:`ranges` for the proof that no word leaves its width.

    Attributes
    ----------
    choices : tuple of Choice
        Every scale that quantization chose.
    measurements : Measurements
    family : str or None
        Model family that it was lowered from.

    Raises
    ------
    NetworkError
        If a field is out of bounds or the parts do not fit; one line for each fault.
    """

    choices: tuple[Choice, ...] = bounded(Items(Choice, most=256), default=())
    measurements: Measurements = bounded(Part(Measurements), default=Measurements())
    family: str | None = bounded(Optional(Name()), default=None)

    def __post_init__(self) -> None:
        raise_faults(faults(self, "network"))

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    __hash__ = object.__hash__

    def __getstate__(self) -> dict[str, Any]:
        # What engines compiled stays behind where a network is sent to another process.
        kept = {f.name for f in fields(self)} | {"file_bytes"}
        return {name: value for name, value in vars(self).items() if name in kept}

    # Bytes of the artifact that the network was read from; the engine `onnx` runs them.
    file_bytes: ClassVar[bytes | None] = None

    def attach_file(self, data: bytes) -> None:
        """Keep the bytes of the artifact that this network was read from."""
        object.__setattr__(self, "file_bytes", data)

    @cached_property
    def compiled(self) -> dict[str, Any]:
        """What engines make of this network once, by a name of theirs; it goes with the network."""
        return {}

    @cached_property
    def ranges(self) -> Ranges:
        """Bounds of every word, over all inputs and all noise."""
        return prove_ranges(self)

    def require_proof(self) -> None:
        """Raise :class:`NetworkError` unless every word is proved to fit its width."""
        raise_faults(self.ranges.faults())

    @cached_property
    def largest_code(self) -> int:
        """Largest magnitude of :attr:`code`: the largest count drawn, else what is proved.

        At this value something may have been cut off. 0 where neurons compare their random words
        themselves, which cuts nothing off.
        """
        latents = self.latents
        if latents is None or self.code is None:
            return 0
        if latents in self.drawing:
            counts = any("draw" in program.operations for program in latents.programs)
            return latents.drawn_by.max_count if counts else 0
        bounds = self.ranges.variables[self.code]
        return max(-bounds.smallest, bounds.largest)


def raise_faults(found: Iterator[str]) -> None:
    """Raise :class:`NetworkError` with the first few messages; do nothing if there is none."""
    messages = list(found)
    if not messages:
        return
    shown = messages[:MOST_FAULTS_SHOWN]
    if len(messages) > len(shown):
        shown.append(f"and {len(messages) - len(shown)} more")
    raise NetworkError("; ".join(shown))


def same(a: Any, b: Any) -> bool:
    """Whether two objects hold the same integers, names and texts."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "__dataclass_fields__"):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return bool(a == b)
