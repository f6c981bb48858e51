"""Stock ``Conv`` connections that deliver exactly the network's integers.

Lava's ``Conv`` turns its kernel round, numbers a picture's channels last, takes messages for
booleans unless told their width, makes as many slides as fit, wraps sums at 24 bits, and ignores
its ``weight_exp``; none of it is reported. So the kernel is turned round once more, ports are
reshaped, and what the ProcessModel delivers for the messages that reach farthest is computed
beforehand by Lava's own functions and compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.proc.conv import utils
from lava.proc.conv.process import Conv as LavaConv
from numpy.typing import NDArray

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import Convolution
from pvae_neuro.network.interval import Interval
from pvae_neuro.network.operations import WORD_WIDTH

# One kernel position to the next, and groups of channels.
DILATION, GROUPS = (1, 1), 1


def exact_convolution(connection: Convolution, message: Interval) -> LavaConv:
    """Stock ``Conv`` whose output is the connection's product of what is sent, one step later.

    Its exponent is left to the target. :func:`connect_convolution` connects it.

    Parameters
    ----------
    connection : Convolution
    message : Interval
        Bounds of what is sent.

    Raises
    ------
    NetworkError
        If ``Conv`` has no such connection, or would deliver other integers.
    """
    if connection.kind != Convolution.kind:
        raise NetworkError(
            f"connection {connection.name!r}: Lava has no stock process for the kind "
            f"{connection.kind!r}; its process is this package's Synapses"
        )
    channels, height, width = connection.source_shape
    made = LavaConv(
        weight=_held(connection),
        input_shape=(height, width, channels),
        padding=(connection.padding,) * 2,
        stride=(connection.stride,) * 2,
        num_message_bits=WORD_WIDTH,
        name=connection.name,
    )
    maps, *wanted = connection.target_shape
    if tuple(made.output_shape) != (*wanted, maps):
        found = " x ".join(str(n) for n in made.output_shape[:2])
        raise NetworkError(
            f"connection {connection.name!r}: Lava's Conv makes {found} slides of a picture of "
            f"{height} x {width}, expected {wanted[0]} x {wanted[1]}; its process is this "
            f"package's Synapses"
        )
    for values in _farthest(connection, message):
        exact, stock = connection.apply(values[None])[0], _delivered(connection, values)
        if not np.array_equal(exact, stock):
            neuron = int(np.flatnonzero(exact != stock)[0])
            raise NetworkError(
                f"connection {connection.name!r}: Lava's Conv would deliver {stock[neuron]} "
                f"instead of {exact[neuron]} to neuron {neuron}; expected sums within "
                f"{WORD_WIDTH} bits: send smaller values of {connection.source}."
                f"{connection.variable}"
            )
    return made


def connect_convolution(connection: Convolution, made: LavaConv, sent: Any, received: Any) -> None:
    """Connect a stock ``Conv`` between ports of whole populations, which number channels first."""
    sent.reshape(connection.source_shape).transpose((1, 2, 0)).connect(made.s_in)
    made.a_out.transpose((2, 0, 1)).reshape((connection.shape[0],)).connect(received)


def _held(connection: Convolution) -> NDArray[np.int32]:
    """Weights as ``Conv`` takes them: target channel, height, width, source channel; turned."""
    turned = connection.weight[:, :, ::-1, ::-1].transpose(0, 2, 3, 1)
    return np.ascontiguousarray(turned, np.int32)


def _delivered(connection: Convolution, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """What the ProcessModel computes from values [source]."""
    sums = utils.conv(
        values.reshape(connection.source_shape).transpose(1, 2, 0).astype(np.int32),
        _held(connection),
        connection.weight.shape[2:],
        (connection.stride,) * 2,
        (connection.padding,) * 2,
        DILATION,
        GROUPS,
    )
    clamped = utils.signed_clamp(sums, bits=WORD_WIDTH)
    delivered: NDArray[np.int64] = clamped.transpose(2, 0, 1).ravel().astype(np.int64)
    return delivered


def _farthest(connection: Convolution, message: Interval) -> list[NDArray[np.int64]]:
    """Values whose largest sum, and whose smallest, is as far from zero as any can be."""
    low, high = (np.broadcast_to(side, connection.shape[1]) for side in message)
    _, sums = connection.reach(message)
    found = []
    for neuron, raised in ((sums.high.argmax(), True), (sums.low.argmin(), False)):
        unit = np.zeros((1, connection.shape[0]), np.int64)
        unit[0, neuron] = 1
        weights = connection.transposed(
            name=connection.name, source=connection.target, variable=connection.variable,
            target=connection.source,
        ).apply(unit)[0]  # fmt: skip
        found.append(np.where((weights > 0) == raised, high, low).astype(np.int64))
    return found
