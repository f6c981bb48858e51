"""The parts of an integer network: input, populations, connections, hops; each with its rule.

Import them from :mod:`pvae_neuro.network`, which documents how they act together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pvae_neuro.count_table import CountTable

# Signed accumulators and states of the chip: Loihi 2 as modelled by Lava's fixed-point processes.
ACCUMULATOR_BITS = 24
ACCUMULATOR_MAX = (1 << (ACCUMULATOR_BITS - 1)) - 1
# Counts travel as bytes, and ONNX Runtime's 8-bit products are exact only below 128 (two products
# of a pair are added in 16 bits on processors without VNNI).
LARGEST_COUNT = 127

ImageShape = tuple[int, int] | tuple[int, int, int]
"""(height, width), or (colours, height, width)."""


@dataclass(frozen=True, eq=False)
class InputEncoding:
    """How an image becomes integers: ``x_int = rint(x * 2**frac_bits)``, half to even.

    Attributes
    ----------
    pixels : int
        Number of pixels M.
    low, high : float
        Declared range of the input, inclusive.
    frac_bits : int
        Fixed-point position of a pixel.
    image_shape : tuple of int or None
        (height, width), or (colours, height, width), for display.
    """

    pixels: int
    low: float
    high: float
    frac_bits: int
    image_shape: ImageShape | None = None

    def encode(self, images: ArrayLike) -> NDArray[np.int32]:
        """Turn float images [..., M] into integers of unit 2**-frac_bits."""
        scaled = np.array(images, dtype=np.float64)
        scaled *= 2.0**self.frac_bits
        return np.rint(scaled, out=scaled).astype(np.int32)

    def integer_range(self) -> tuple[int, int]:
        """Smallest and largest encoded pixel."""
        low, high = self.encode([self.low, self.high])
        return int(low), int(high)


@dataclass(frozen=True, eq=False)
class PoissonPopulation:
    """Neurons that emit Poisson counts of their log-rate u and integrate what comes back.

    Integer rule, per iteration::

        z  = table(u, word)                                  0 <= z <= max_count
        du = clamp(drive - leak - diagonal * z + received, du_min, du_max)
        u <- clamp(u + du, u_min, u_max)

    Attributes
    ----------
    name : str
    initial : int32 [K]
        Potential u at the first iteration, unit 2**-frac_bits.
    leak : int32 [K]
        Constant leak per iteration, same unit.
    diagonal : int32 [K]
        Self-inhibition per spike, same unit; zero where the topology has none.
    frac_bits : int
        Fixed-point position of u.
    u_min, u_max, du_min, du_max : int
        Hard clamps, same unit.
    table : CountTable
        Sampler; holds the largest count.
    """

    name: str
    initial: NDArray[np.int32]
    leak: NDArray[np.int32]
    diagonal: NDArray[np.int32]
    frac_bits: int
    u_min: int
    u_max: int
    du_min: int
    du_max: int
    table: CountTable

    @property
    def size(self) -> int:
        """Number of neurons K."""
        return int(self.initial.shape[0])


@dataclass(frozen=True, eq=False)
class ErrorPopulation:
    """Neurons that compare the input with a prediction and send the weighted difference.

    Integer rule, per iteration (`received` holds the negative prediction)::

        e = x_int + received                                  unit 2**-input.frac_bits
        m = clamp((e * gain + 2**(gain_shift-1)) >> gain_shift, -message_limit, message_limit)

    Attributes
    ----------
    name : str
    gain : int32 [M]
        Positive mantissa of the error gain (step size over variance).
    gain_shift : int
        Right shift after the product, at least 1.
    message_limit : int
        Saturation of the graded spike m.
    """

    name: str
    gain: NDArray[np.int32]
    gain_shift: int
    message_limit: int

    @property
    def size(self) -> int:
        """Number of neurons M."""
        return int(self.gain.shape[0])


Population = PoissonPopulation | ErrorPopulation


@dataclass(frozen=True, eq=False)
class Connection:
    """All-to-all synapses with one power-of-two exponent.

    ``received[i] = shift(sum_j weight[i, j] * emitted[j], exponent)``

    Attributes
    ----------
    name, source, target : str
        Populations by name.
    weight : int8 [n_target, n_source]
        Mantissas, in +-(2**(bits-1) - 1); negative is inhibitory.
    exponent : int
        Power of two that turns the product into the target's unit.
    bits : int
        Declared width of a mantissa, sign included.
    """

    name: str
    source: str
    target: str
    weight: NDArray[np.int8]
    exponent: int
    bits: int


@dataclass(frozen=True, eq=False)
class Drive:
    """Feed-forward drive that the host sets once per input.

    ``drive = clamp((weight @ x_int + 2**(shift-1)) >> shift, -limit, limit)``

    Attributes
    ----------
    target : str
        Poisson population that it drives.
    weight : int32 [K, M]
        Wide mantissas: this product never runs on the chip.
    shift : int
        Right shift to the unit of u, at least 1.
    limit : int
        Saturation.
    """

    target: str
    weight: NDArray[np.int32]
    shift: int
    limit: int


@dataclass(frozen=True, eq=False)
class Readout:
    """Reconstruction on the host: ``x = (weight @ counts) * 2**-frac_bits``.

    Attributes
    ----------
    source : str
        Poisson population that it reads.
    weight : int16 [M, K]
        Dictionary mantissas.
    frac_bits : int
        Fixed-point position of the reconstruction.
    """

    source: str
    weight: NDArray[np.int16]
    frac_bits: int


@dataclass(frozen=True)
class Hop:
    """One hop of an iteration: these connections deliver, then the target updates and emits."""

    target: str
    connections: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """A number that quantization chose, and why."""

    name: str
    value: float
    why: str


def shift(value: NDArray[np.int64], exponent: int) -> NDArray[np.int64]:
    """Multiply by 2**exponent; a right shift rounds half up (adds half, then shifts).

    Parameters
    ----------
    value : int64 [...]
    exponent : int

    Returns
    -------
    int64 [...]
    """
    if exponent >= 0:
        return value << exponent
    return (value + (1 << (-exponent - 1))) >> -exponent
