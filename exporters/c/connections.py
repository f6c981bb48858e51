"""Each kind of connection in C: how its weights are stored, its function, and the call of it.

A function adds to the sums of the target's neurons what the source's values bring. Where messages
come in rows of weights, a value of 0 costs no synapse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import Connection, Convolution, Dense

DENSE = """\
/* Each value that is not 0 adds its row of weights to the sums. */
static void dense(const int8_t *weight, int32_t stride, const int32_t *value, int32_t sources,
                  int32_t *sum, int32_t targets)
{
    int32_t j, i;
    for (j = 0; j < sources; j++, weight += stride) {
        const int32_t message = value[j];
        if (message == 0) continue;
        for (i = 0; i < targets; i++) sum[i] += weight[i] * message;
    }
}
"""
DENSE_TRANSPOSED = """\
/* The same synapses the other way round: each sum adds up along its row of weights. */
static void dense_transposed(const int8_t *weight, int32_t stride, const int32_t *value,
                             int32_t sources, int32_t *sum, int32_t targets)
{
    int32_t i, j;
    for (i = 0; i < targets; i++, weight += stride) {
        int32_t total = 0;
        for (j = 0; j < sources; j++) total += weight[j] * value[j];
        sum[i] += total;
    }
}
"""
ONE_TO_ONE = """\
/* Neuron i to neuron i. */
static void one_to_one(const int8_t *weight, const int32_t *value, int32_t *sum, int32_t size)
{
    int32_t i;
    for (i = 0; i < size; i++) sum[i] += weight[i] * value[i];
}
"""
SHAPE = """\
/* Slides of a kernel over a picture (wide); each slide has a value per map (narrow). */
typedef struct {
    int32_t maps, channels, kernel_height, kernel_width;
    int32_t narrow_height, narrow_width, wide_height, wide_width, stride, padding;
} slides;
"""
CONVOLUTION = """\
/* Each slide's sum: the picture under the kernel. Outside the picture there is nothing. */
static void convolution(const int8_t *weight, const int32_t *value, int32_t *sum, slides k)
{
    int32_t o, y, x, c, i, j;
    for (o = 0; o < k.maps; o++)
    for (y = 0; y < k.narrow_height; y++)
    for (x = 0; x < k.narrow_width; x++, sum++) {
        const int8_t *w = weight + o * k.channels * k.kernel_height * k.kernel_width;
        int32_t total = 0;
        for (c = 0; c < k.channels; c++)
        for (i = 0; i < k.kernel_height; i++)
        for (j = 0; j < k.kernel_width; j++, w++) {
            const int32_t row = k.stride * y + i - k.padding;
            const int32_t column = k.stride * x + j - k.padding;
            if (row < 0 || row >= k.wide_height || column < 0 || column >= k.wide_width) continue;
            total += *w * value[(c * k.wide_height + row) * k.wide_width + column];
        }
        *sum += total;
    }
}
"""
TRANSPOSED_CONVOLUTION = """\
/* The same synapses the other way round: each slide's value spreads over the picture. */
static void transposed_convolution(const int8_t *weight, const int32_t *value, int32_t *sum,
                                   slides k)
{
    int32_t o, y, x, c, i, j;
    for (o = 0; o < k.maps; o++)
    for (y = 0; y < k.narrow_height; y++)
    for (x = 0; x < k.narrow_width; x++, value++) {
        const int8_t *w = weight + o * k.channels * k.kernel_height * k.kernel_width;
        if (*value == 0) continue;
        for (c = 0; c < k.channels; c++)
        for (i = 0; i < k.kernel_height; i++)
        for (j = 0; j < k.kernel_width; j++, w++) {
            const int32_t row = k.stride * y + i - k.padding;
            const int32_t column = k.stride * x + j - k.padding;
            if (row < 0 || row >= k.wide_height || column < 0 || column >= k.wide_width) continue;
            sum[(c * k.wide_height + row) * k.wide_width + column] += *w * *value;
        }
    }
}
"""


@dataclass(frozen=True)
class Call:
    """How a connection adds to sums.

    Attributes
    ----------
    functions : tuple of str
        Definitions that the call needs, in order.
    text : str
        The call, with ``{weight}``, ``{value}`` and ``{sum}`` for its arrays.
    """

    functions: tuple[str, ...]
    text: str


def call_of(c: Connection, holder: Connection) -> Call:
    """The call of a connection whose weights ``holder`` stores; it may be the connection itself."""
    return CALLS[c.kind](c, holder)


def stored_weight(c: Connection) -> NDArray[Any]:
    """Weights in the order in which they are stored: int8 [n].

    Those of a dense connection by source, so that one row belongs to each message.
    """
    weight = c.weight.T if isinstance(c, Dense) else c.weight
    return np.ascontiguousarray(weight).reshape(-1)


def _dense(c: Connection, holder: Connection) -> Call:
    targets, sources = c.shape
    stride, offset = holder.shape[0], 0
    backwards = c.shared is not None and c.shared.transposed
    if c.shared is not None:
        row = 0 if c.shared.rows is None else c.shared.rows[0]
        column = 0 if c.shared.columns is None else c.shared.columns[0]
        offset = column * stride + row
    weight = f"{{weight}} + {offset}" if offset else "{weight}"
    name, function = ("dense_transposed", DENSE_TRANSPOSED) if backwards else ("dense", DENSE)
    return Call(
        (function,), f"{name}({weight}, {stride}, {{value}}, {sources}, {{sum}}, {targets});"
    )


def _one_to_one(c: Connection, holder: Connection) -> Call:
    return Call((ONE_TO_ONE,), f"one_to_one({{weight}}, {{value}}, {{sum}}, {c.shape[0]});")


def _slides(name: str, function: str) -> Callable[[Connection, Connection], Call]:
    def call(c: Connection, holder: Connection) -> Call:
        if not isinstance(c, Convolution):
            raise TypeError(f"{c.name}: expected a convolution, got {c.kind}")
        numbers = (*c.weight.shape, *c.narrow[1:], *c.wide[1:], c.stride, c.padding)
        shape = ", ".join(str(n) for n in numbers)
        return Call(
            (SHAPE, function), f"{name}({{weight}}, {{value}}, {{sum}}, (slides){{{{{shape}}}}});"
        )

    return call


CALLS: dict[str, Callable[[Connection, Connection], Call]] = {
    "dense": _dense,
    "one_to_one": _one_to_one,
    "convolution": _slides("convolution", CONVOLUTION),
    "transposed_convolution": _slides("transposed_convolution", TRANSPOSED_CONVOLUTION),
}
