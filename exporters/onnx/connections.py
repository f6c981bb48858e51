"""One function for each connection kind: it appends the product of a population's message.

Accumulators of a proved network stay within 24 bits in whatever order they add up, so products of
bytes summed in int32 are exact, and so are float32 sums, which hold 24 bits and a sign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pvae_neuro.errors import NetworkError
from pvae_neuro.exporters.onnx.integers import IntegerGraph, Signal
from pvae_neuro.network import Connection, Convolution, Shared

# MatMulInteger operands keep to 7 bits: on processors without VNNI two products of an unsigned and
# a signed byte are added in 16 bits, and saturate above 127.
DIGIT_BITS = 7
DIGIT = 1 << DIGIT_BITS
ZERO_POINT = DIGIT // 2
INT32_MAX = (1 << 31) - 1
# On processors with AMX, ONNX Runtime (seen: 1.23.2) multiplies matrices wrongly in the 32nd row,
# where more than 16 columns are left over from blocks of 32: they get columns of zeros.
BLOCK_COLUMNS = 32


@dataclass(frozen=True)
class _Digit:
    """One base-128 digit of a message, as a byte; its value is the byte less ``zero_point``."""

    name: str
    zero_point: int


def check_connection(connection: Connection) -> None:
    """Raise :class:`NetworkError` if the graph cannot add up the connection's products."""
    # Runtimes may sum the raw bytes first and take the zero point off afterwards.
    sources = connection.shape[1]
    if connection.kind == "dense" and sources * 127 * DIGIT > INT32_MAX:
        raise NetworkError(
            f"{connection.name}: sums of {sources} products of bytes do not fit the 32 bits of "
            f"ONNX; split the connection"
        )


def operand(graph: IntegerGraph, connection: Connection, stored: str) -> str:
    """The weights in the form that the product takes, from the stored tensor."""
    return _OPERANDS[connection.kind](graph, connection, stored)


def product(graph: IntegerGraph, connection: Connection, weight: str, message: Signal) -> str:
    """Sum of weight times value at each target neuron: int32 [batch, target]."""
    return _PRODUCTS[connection.kind](
        graph, f"{connection.name}.product", connection, weight, message
    )


# ------------------------------------------------------------------------------------- dense


def matrix(graph: IntegerGraph, connection: Connection, stored: str) -> str:
    """The matrix [source, target]: the stored one, or a part of it, lies [target, source]."""
    shared = connection.shared or Shared(connection.name, transposed=False)
    for axis, part in enumerate((shared.rows, shared.columns)):
        if part is not None:
            bounds = [graph.constant([n], "int64") for n in (*part, axis)]
            stored = graph.node("Slice", [stored, *bounds], f"{connection.name}.part")
    if shared.transposed:
        return stored
    return graph.once("Transpose", [stored], f"{stored}.transposed", perm=[1, 0])


def _dense_operand(graph: IntegerGraph, connection: Connection, stored: str) -> str:
    weight, missing = matrix(graph, connection, stored), _missing_columns(connection)
    if not missing:
        return weight
    ends = graph.constant([0, 0, 0, missing], "int64")
    return graph.node("Pad", [weight, ends], f"{connection.name}.widened")


def _missing_columns(connection: Connection) -> int:
    """Columns of zeros that the matrix needs so that all runtimes multiply it rightly."""
    left_over = connection.shape[0] % BLOCK_COLUMNS
    return BLOCK_COLUMNS - left_over if left_over > BLOCK_COLUMNS // 2 else 0


def _dense(
    graph: IntegerGraph, name: str, connection: Connection, weight: str, message: Signal
) -> str:
    if not _missing_columns(connection):
        return _sums(graph, name, connection, weight, message)
    wide = _sums(graph, f"{name}.wide", connection, weight, message)
    columns = [graph.constant([n], "int64") for n in (0, connection.shape[0], 1)]
    return graph.node("Slice", [wide, *columns], name)


def _sums(
    graph: IntegerGraph, name: str, connection: Connection, weight: str, message: Signal
) -> str:
    digits = _digits(graph, message)
    if len(digits) == 1:
        return _digit_product(graph, name, weight, digits[0])
    # The sum of all digits fits 24 bits; those before it may need more than 32.
    largest = sum(connection.shape[1] * 127 * ZERO_POINT * DIGIT**k for k in range(len(digits)))
    dtype = "int32" if largest <= INT32_MAX else "int64"
    total = ""
    for place, digit in enumerate(digits):
        part = _digit_product(graph, f"{name}.digit_{place}", weight, digit)
        part = part if dtype == "int32" else graph.cast(part, dtype)
        if place:
            unit = graph.constant(1 << (DIGIT_BITS * place), dtype)
            part = graph.node("Mul", [part, unit], f"{name}.scaled_{place}")
            part = graph.node("Add", [total, part], f"{name}.sum_{place}")
        total = part
    return total if dtype == "int32" else graph.cast(total, "int32")


def _digit_product(graph: IntegerGraph, name: str, weight: str, digit: _Digit) -> str:
    point = [graph.constant(digit.zero_point, "uint8")] if digit.zero_point else []
    return graph.node("MatMulInteger", [digit.name, weight, *point], name)


def _digits(graph: IntegerGraph, message: Signal) -> list[_Digit]:
    """Split a message into bytes below 128 that MatMulInteger multiplies exactly.

    A message in 0 .. 127 is its own digit. Any other is written in base 128 with the balanced
    digits -64 .. 63; MatMulInteger takes the 64 off again as its zero point.
    """
    if message.low >= 0 and message.high < DIGIT:
        return [_Digit(graph.cast(message.name, "uint8"), 0)]
    count = 1
    while not _balanced(count)[0] <= message.low <= message.high <= _balanced(count)[1]:
        count += 1
    raised = graph.constant(-_balanced(count)[0], "int32")
    raised = graph.once("Add", [message.name, raised], f"{message.name}.raised")
    raised = graph.cast(raised, "uint32")
    return [
        _Digit(_digit(graph, message.name, raised, place, place == count - 1), ZERO_POINT)
        for place in range(count)
    ]


def _digit(graph: IntegerGraph, name: str, raised: str, place: int, last: bool) -> str:
    digit = raised
    if place:
        amount = graph.constant(DIGIT_BITS * place, "uint32")
        digit = graph.once("BitShift", [digit, amount], f"{name}.shifted", direction="RIGHT")
    if not last:
        digit = graph.once(
            "BitwiseAnd", [digit, graph.constant(DIGIT - 1, "uint32")], f"{name}.masked"
        )
    return graph.cast(digit, "uint8")


def _balanced(count: int) -> tuple[int, int]:
    """Range of ``count`` balanced digits -64 .. 63 in base 128."""
    ones = sum(DIGIT**place for place in range(count))
    return -ZERO_POINT * ones, (ZERO_POINT - 1) * ones


# -------------------------------------------------------------------------------- one to one


def _row_operand(graph: IntegerGraph, connection: Connection, stored: str) -> str:
    return graph.cast(stored, "int32")


def _one_to_one(
    graph: IntegerGraph, name: str, connection: Connection, weight: str, message: Signal
) -> str:
    return graph.node("Mul", [message.name, weight], name)


# ------------------------------------------------------------------------------ convolutions


def _float_operand(graph: IntegerGraph, connection: Connection, stored: str) -> str:
    return graph.cast(stored, "float32")


def _picture(graph: IntegerGraph, name: str, message: Signal, shape: tuple[int, ...]) -> str:
    """The message as float32 [batch, channels, height, width]."""
    shape_name = graph.constant([-1, *shape], "int64")
    floats = graph.cast(message.name, "float32")
    return graph.once("Reshape", [floats, shape_name], f"{name}.picture")


def _row(graph: IntegerGraph, name: str, picture: str, size: int) -> str:
    flat = graph.node("Reshape", [picture, graph.constant([-1, size], "int64")], f"{name}.row")
    return graph.cast(flat, "int32", name)


def _cut(graph: IntegerGraph, name: str, picture: str, first: int, shape: tuple[int, ...]) -> str:
    """Rows and columns ``first`` to ``first`` + the shape's height and width."""
    starts = graph.constant([first, first], "int64")
    ends = graph.constant([first + side for side in shape[1:]], "int64")
    axes = graph.constant([2, 3], "int64")
    return graph.node("Slice", [picture, starts, ends, axes], f"{name}.cut")


def _convolution(
    graph: IntegerGraph, name: str, connection: Connection, weight: str, message: Signal
) -> str:
    c = _as_convolution(connection)
    picture = _picture(graph, name, message, c.source_shape)
    behind = [
        met - side - c.padding for met, side in zip(c.padded[1:], c.source_shape[1:], strict=True)
    ]
    picture = graph.node(
        "Conv",
        [picture, weight],
        f"{name}.sums",
        strides=[c.stride] * 2,
        pads=[c.padding, c.padding, *behind],
        kernel_shape=list(c.weight.shape[2:]),
    )
    # Fewer rows and columns may be wanted than the picture has room for.
    picture = _cut(graph, name, picture, 0, c.target_shape)
    return _row(graph, name, picture, c.shape[0])


def _transposed_convolution(
    graph: IntegerGraph, name: str, connection: Connection, weight: str, message: Signal
) -> str:
    c = _as_convolution(connection)
    picture = _picture(graph, name, message, c.source_shape)
    picture = graph.node(
        "ConvTranspose",
        [picture, weight],
        f"{name}.sums",
        strides=[c.stride] * 2,
        kernel_shape=list(c.weight.shape[2:]),
    )
    sides = [
        (side - 1) * c.stride + kernel
        for side, kernel in zip(c.source_shape[1:], c.weight.shape[2:], strict=True)
    ]
    # What no slide of the convolution reaches is 0.
    missing = [
        max(0, c.padding + side - reached)
        for side, reached in zip(c.target_shape[1:], sides, strict=True)
    ]
    if any(missing):
        pads = graph.constant([0, 0, 0, 0, 0, 0, *missing], "int64")
        picture = graph.node("Pad", [picture, pads], f"{name}.padded")
    picture = _cut(graph, name, picture, c.padding, c.target_shape)
    return _row(graph, name, picture, c.shape[0])


def _as_convolution(connection: Connection) -> Convolution:
    if not isinstance(connection, Convolution):
        raise NetworkError(f"{connection.name}: expected a convolution, got {connection.kind}")
    return connection


_OPERANDS: dict[str, Callable[[IntegerGraph, Connection, str], str]] = {
    "dense": _dense_operand,
    "one_to_one": _row_operand,
    "convolution": _float_operand,
    "transposed_convolution": _float_operand,
}
_PRODUCTS: dict[str, Callable[[IntegerGraph, str, Connection, str, Signal], str]] = {
    "dense": _dense,
    "one_to_one": _one_to_one,
    "convolution": _convolution,
    "transposed_convolution": _transposed_convolution,
}
