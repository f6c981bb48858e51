"""The golden vector: a short run that travels with the network, for any engine to replay.

What was computed is kept as hashes, one for each variable and step, so that it stays small whatever
the network. The values behind a hash come from the reference engine or from the file's own graph.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.utils.show import show

MOST_SAMPLES = 64
MOST_ITERATIONS = 1024
LARGEST_PIXELS = 1 << 26
_KEYS = ("iterations", "pixels", "samples", "seed", "sha256")


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs, noise seed, and hashes of what the reference engine computed from them.

    Row i of the inputs is sample i of the noise (``sim/noise.py``).

    Attributes
    ----------
    pixels : int32 [N, M]
        Encoded inputs, unit 2**-input.frac_bits.
    iterations : int
        T.
    seed : int
        Key of the noise.
    hashes : dict of str to tuple of str
        For each variable, :func:`hash_of` its values [N, n] in each of T + 1 steps: at the end of
        each iteration, then after ``final``.
    """

    pixels: NDArray[np.int32]
    iterations: int
    seed: int
    hashes: Mapping[str, tuple[str, ...]]

    def __repr__(self) -> str:
        return f"<Golden: {len(self.pixels)} samples, {self.iterations} iterations>"


def hash_of(values: NDArray[np.integer[Any]]) -> str:
    """SHA-256 of values [N, n] as little-endian 32-bit integers, sample after sample."""
    return hashlib.sha256(np.ascontiguousarray(values, "<i4").tobytes()).hexdigest()


def check_golden(golden: Golden, network: IntegerNetwork) -> None:
    """Raise :class:`NetworkError` if a golden vector does not belong to a network."""
    size = golden.pixels.shape[1]
    if size != network.input.size:
        raise NetworkError(f"golden.pixels: expected {network.input.size} pixels, got {size}")
    low, high = network.input.interval
    if golden.pixels.min() < low[0] or golden.pixels.max() > high[0]:
        raise NetworkError(
            f"golden.pixels: expected values in [{low[0]}, {high[0]}], got "
            f"[{golden.pixels.min()}, {golden.pixels.max()}]"
        )
    if set(golden.hashes) != set(network.variables):
        raise NetworkError(
            f"golden.sha256: expected the variables {', '.join(network.variables)}, got "
            f"{show(sorted(golden.hashes))}"
        )
    for name, hashes in golden.hashes.items():
        if len(hashes) != golden.iterations + 1:
            raise NetworkError(
                f"golden.sha256.{name}: expected {golden.iterations + 1} steps, got {len(hashes)}"
            )


def to_json(golden: Golden) -> dict[str, Any]:
    """A golden vector as a value of JSON."""
    pixels = zlib.compress(np.ascontiguousarray(golden.pixels, "<i4").tobytes(), 9)
    return {
        "iterations": golden.iterations,
        "pixels": base64.b64encode(pixels).decode(),
        "samples": len(golden.pixels),
        "seed": golden.seed,
        "sha256": {name: list(hashes) for name, hashes in golden.hashes.items()},
    }


def from_json(value: Any, network: IntegerNetwork) -> Golden:
    """Read the JSON back.

    Raises
    ------
    ValueError
        If a key or a value is not what :func:`to_json` writes.
    NetworkError
        If it does not belong to the network.
    """
    if type(value) is not dict or sorted(value) != sorted(_KEYS):
        raise ValueError(f"golden: expected an object with the keys {', '.join(_KEYS)}")
    whole = {
        name: _whole(name, value[name], low, high)
        for name, low, high in (
            ("samples", 1, MOST_SAMPLES),
            ("iterations", 1, MOST_ITERATIONS),
            ("seed", 0, (1 << 64) - 1),
        )
    }
    pixels = _pixels(value["pixels"], whole["samples"], network.input.size)
    hashes = value["sha256"]
    if type(hashes) is not dict or not all(_is_text_list(v) for v in hashes.values()):
        raise ValueError("golden.sha256: expected a list of hashes for each variable")
    golden = Golden(
        pixels, whole["iterations"], whole["seed"], {k: tuple(v) for k, v in hashes.items()}
    )
    check_golden(golden, network)
    return golden


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"golden.{name}: expected {low} to {high}, got {show(value)}")
    return value


def _is_text_list(value: Any) -> bool:
    return type(value) is list and all(type(v) is str for v in value)


def _pixels(text: Any, samples: int, size: int) -> NDArray[np.int32]:
    length = 4 * samples * size
    if type(text) is not str or length > LARGEST_PIXELS:
        raise ValueError(f"golden.pixels: expected {samples} x {size} pixels, got {show(text)}")
    try:
        unpacker = zlib.decompressobj()
        # No more than the pixels need, whatever the text would unpack to.
        data = unpacker.decompress(base64.b64decode(text, validate=True), length + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ValueError(f"golden.pixels: expected compressed bytes in base64: {error}") from None
    if len(data) != length:
        raise ValueError(f"golden.pixels: expected {length} bytes, got {len(data)} or more")
    return np.frombuffer(data, "<i4").reshape(samples, size).astype(np.int32)
