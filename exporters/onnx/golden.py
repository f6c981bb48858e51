"""The golden vector: a short run that travels with the network, for any engine to replay."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import IntegerNetwork


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs, noise seed, and what the reference engine computed from them.

    Row i of the inputs is sample i of the noise (``sim/noise.py``).

    Attributes
    ----------
    pixels : int32 [N, M]
        Encoded inputs, unit 2**-input.frac_bits.
    steps : int
        Iterations T.
    seed : int
        Key of the noise.
    counts : uint8 [N, T, K]
        Spikes of every iteration.
    potentials : int32 [N, T, K]
        After every update, unit 2**-frac_bits.
    """

    pixels: NDArray[np.int32]
    steps: int
    seed: int
    counts: NDArray[np.uint8]
    potentials: NDArray[np.int32]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ArrayPart(_Part):
    """An array in JSON: little-endian bytes in base64, last axis fastest."""

    dtype: Literal["uint8", "int32"]
    shape: tuple[int, ...]
    base64: str


class GoldenPart(_Part):
    """A :class:`Golden` in JSON."""

    pixels: ArrayPart
    steps: int
    seed: int
    counts: ArrayPart
    potentials: ArrayPart


def to_golden_part(golden: Golden) -> GoldenPart:
    """Turn a golden vector into its JSON model."""
    return GoldenPart(
        pixels=_array_part(golden.pixels, "int32"),
        steps=golden.steps,
        seed=golden.seed,
        counts=_array_part(golden.counts, "uint8"),
        potentials=_array_part(golden.potentials, "int32"),
    )


def to_golden(part: GoldenPart) -> Golden:
    """Turn the JSON model back.

    Raises
    ------
    ValueError
        If the bytes of an array do not fit its shape.
    """
    return Golden(
        pixels=_array(part.pixels),
        steps=part.steps,
        seed=part.seed,
        counts=_array(part.counts),
        potentials=_array(part.potentials),
    )


def check_golden_shapes(golden: Golden, network: IntegerNetwork) -> None:
    """Raise :class:`NetworkError` if a golden vector does not belong to a network's sizes."""
    samples = len(golden.pixels)
    run = (samples, golden.steps, network.latents.size)
    expected = {"pixels": (samples, network.input.pixels), "counts": run, "potentials": run}
    for name, shape in expected.items():
        got = getattr(golden, name).shape
        if got != shape:
            raise NetworkError(f"golden.{name}: expected shape {shape}, got {got}")


def _array_part(values: NDArray[Any], dtype: Literal["uint8", "int32"]) -> ArrayPart:
    data = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<")).tobytes()
    return ArrayPart(dtype=dtype, shape=values.shape, base64=base64.b64encode(data).decode())


def _array(part: ArrayPart) -> NDArray[Any]:
    data = base64.b64decode(part.base64, validate=True)
    stored = np.frombuffer(data, np.dtype(part.dtype).newbyteorder("<"))
    return stored.reshape(part.shape).astype(part.dtype)
