"""What connections deliver, exactly, as products of floats.

Whole numbers below 2**24 are exact in float32, and below 2**53 in float64, in any order of a sum.
The proof of ranges bounds every partial sum of a connection below 2**23. Wider products, of the
host, are cut into planes of weights that stay below such a limit; their sums are put together as
integers.

Convolutions are matrix products of all slides. Those of libraries may go by Winograd's or Fourier's
ways, where rounding is not that of a sum of products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Connection, Convolution, OneToOne
from pvae_neuro.network.interval import Interval
from pvae_neuro.sim.tensors.library import placed, torch_library

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Product = Callable[["Tensor"], "Tensor"]
# Largest sum that each type holds exactly, in any order.
EXACT = {"float32": 1 << 24, "float64": 1 << 53}


class Kind(NamedTuple):
    """How a kind of connection is computed.

    Attributes
    ----------
    product : callable
        ``(connection, values [B, source], weight) -> [B, target]``, differentiable.
    dtype : str
        In which it is exact for proved connections.
    """

    product: Callable[[Any, Tensor, Tensor], Tensor]
    dtype: str


def _dense(connection: Connection, values: Tensor, weight: Tensor) -> Tensor:
    return values @ weight.T


def _one_to_one(connection: OneToOne, values: Tensor, weight: Tensor) -> Tensor:
    return values * weight


def _convolution(connection: Convolution, values: Tensor, weight: Tensor) -> Tensor:
    functional = torch_library().nn.functional
    pictures = values.reshape(len(values), *connection.wide)
    padded = functional.pad(pictures, _margins(connection))
    slides = functional.unfold(padded, weight.shape[2:], stride=connection.stride)
    return (weight.flatten(1) @ slides).flatten(1)


def _transposed(connection: Convolution, values: Tensor, weight: Tensor) -> Tensor:
    functional = torch_library().nn.functional
    maps = connection.narrow[0]
    spread = weight.flatten(1).T @ values.reshape(len(values), maps, -1)
    left, right, top, bottom = _margins(connection)
    _, height, width = connection.wide
    met = (height + top + bottom, width + left + right)
    pictures = functional.fold(spread, met, weight.shape[2:], stride=connection.stride)
    return functional.pad(pictures, (-left, -right, -top, -bottom)).flatten(1)


def _margins(connection: Convolution) -> tuple[int, int, int, int]:
    """What the slides meet beyond the picture, left, right, top, bottom; negative where it ends."""
    found: list[int] = []
    for axis in (2, 1):
        met = (connection.narrow[axis] - 1) * connection.stride + connection.weight.shape[axis + 1]
        before = connection.padding
        found += [before, met - connection.wide[axis] - before]
    return found[0], found[1], found[2], found[3]


KINDS: dict[str, Kind] = {
    "dense": Kind(_dense, "float32"),
    "one_to_one": Kind(_one_to_one, "int32"),
    "convolution": Kind(_convolution, "float32"),
    "transposed_convolution": Kind(_transposed, "float32"),
}


def merged(connections: tuple[Connection, ...]) -> list[tuple[Connection, NDArray[np.int64]]]:
    """Connections that add up, with those of one source and geometry as one: their weights' sum.

    The sums of the merged one are among the partial sums of the separate ones, which are bounded.
    """
    alike: dict[tuple[object, ...], list[Connection]] = {}
    for c in connections:
        parts = {f.name: getattr(c, f.name) for f in fields(c)}
        own = [v for name, v in parts.items() if name not in ("name", "weight", "shared")]
        alike.setdefault((c.kind, c.weight.shape, *own), []).append(c)
    return [
        (group[0], np.sum([c.weight for c in group], axis=0, dtype=np.int64))
        for group in alike.values()
    ]


def delivered(
    connection: Connection, weight: NDArray[np.int64], device: torch.device
) -> Callable[[Tensor], Tensor]:
    """The product of a proved connection: int32 [B, source] -> int32 [B, target]."""
    torch = torch_library()
    kind = KINDS[connection.kind]
    dtype = getattr(torch, kind.dtype)
    own = placed(weight, device, kind.dtype)
    return lambda values: kind.product(connection, values.to(dtype), own).int()


def wide_product(
    weight: NDArray[Any], message: Interval, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """``values @ weight.T`` for whole numbers within bounds: int [B, n] -> int64 [B, m].

    The sum must fit 63 bits. Weights are cut into as few planes as a type allows: of float32 where
    two do, else of float64, with which a product takes twice as long on most processors.
    """
    torch = torch_library()
    largest = max(-message.smallest, message.largest)
    planes, dtype = _planes(weight, largest, "float32"), "float32"
    if planes is None or len(planes) > 2:
        planes, dtype = _planes(weight, largest, "float64"), "float64"
    if planes is None:
        raise ValueError("a product of the host exceeds 63 bits")  # The proof excludes it.
    shifts = [shift for shift, _ in planes]
    stacked = placed(np.concatenate([plane for _, plane in planes]).T, device, dtype)
    exact = getattr(torch, dtype)

    def product(values: Tensor) -> Tensor:
        total, *more = (values.to(exact) @ stacked).long().chunk(len(shifts), dim=-1)
        for shift, one in zip(shifts[1:], more, strict=True):
            total = total + (one << shift)
        return total

    return product


def _planes(
    weight: NDArray[Any], largest: int, dtype: str
) -> list[tuple[int, NDArray[np.int64]]] | None:
    """Cut weights into planes: ``weight = sum of plane << shift``, each exact in a product.

    None where not even planes of single bits are.
    """

    def fits(part: NDArray[np.int64]) -> bool:
        # Half of the limit stays free for the rounding of this sum itself.
        return bool(np.abs(part).sum(axis=1, dtype=np.float64).max() * largest < EXACT[dtype] / 2)

    rest, shift, found = weight.astype(np.int64), 0, []
    while not fits(rest):
        bits = max((n for n in range(1, 32) if fits(rest & ((1 << n) - 1))), default=0)
        if not bits:
            return None
        found.append((shift, rest & ((1 << bits) - 1)))
        rest, shift = rest >> bits, shift + bits
    return [*found, (shift, rest)]
