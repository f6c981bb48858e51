"""What the host does around a network, on the device: encodings, pictures, figures of iterations.

The integers are those of :mod:`pvae_neuro.network.host` and :mod:`pvae_neuro.sim.readout`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pvae_neuro.network import IntegerNetwork, readout_weight
from pvae_neuro.sim.tensors.library import torch_library
from pvae_neuro.sim.tensors.operations import shifted
from pvae_neuro.sim.tensors.products import wide_product

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Host:
    """Encodings and readout of a network.

    Attributes
    ----------
    code, source : str or None
        ``population.variable`` of what was inferred, and of what is read out; None without a
        readout.
    """

    def __init__(self, network: IntegerNetwork, device: torch.device) -> None:
        pixel = network.input.interval
        self._encodings = [
            (e, None if e.weight is None else wide_product(e.weight, pixel, device))
            for e in network.encodings
        ]
        self.code = self.source = None
        self._largest = network.largest_code
        readout, weight = network.readout, readout_weight(network)
        if readout is None:
            return
        self.code, self.source = network.code, f"{readout.population}.{readout.variable}"
        reached = network.ranges.variables[self.source]
        self._product = None if weight is None else wide_product(weight, reached, device)
        # Pixels and pictures are compared in the finer unit of the two.
        bits = max(network.input.frac_bits, readout.frac_bits)
        self._left = bits - network.input.frac_bits, bits - readout.frac_bits
        self._unit = 2.0**-readout.frac_bits

    def encoded(self, pixels: Tensor) -> dict[str, Tensor]:
        """Values of the inputs' variables for encoded pixels int32 [..., M]: int32 [..., n]."""
        found = {}
        for e, product in self._encodings:
            values = pixels
            if product is not None:
                values = shifted(product(pixels), e.shift).clamp(-e.limit, e.limit).int()
            found[f"{e.population}.{e.variable}"] = values
        return found

    def picture(self, values: Tensor) -> Tensor:
        """What the readout makes of its variable: int64 [..., M]."""
        return values.long() if self._product is None else self._product(values)

    def floats(self, values: Tensor) -> Tensor:
        """The reconstruction, float32 [..., M]."""
        return (self.picture(values).double() * self._unit).float()

    def activity(self, code: Tensor) -> Tensor:
        """Sum of magnitudes, values that are not 0, those at the largest: int64 [3, B]."""
        torch = torch_library()
        size = code.abs()
        return torch.stack(
            [
                size.sum(-1, dtype=torch.int64),
                size.count_nonzero(-1),
                # A silent neuron is at no limit.
                ((size == self._largest) & (size > 0)).count_nonzero(-1),
            ]
        )

    def target(self, pixels: Tensor) -> Tensor:
        """Encoded pixels in the unit of the comparison: int64."""
        return pixels.long() << self._left[0]

    def squared_error(self, target: Tensor, values: Tensor) -> Tensor:
        """Sum over pixels of the squared difference from the target: int64 [B]."""
        error = target - (self.picture(values) << self._left[1])
        return (error * error).sum(-1)


def blocks(count: int, size: int) -> list[slice]:
    """Slices of at most ``size`` that cover ``count`` rows."""
    return [slice(first, first + size) for first in np.arange(0, count, size).tolist()]
