"""Writes exact integer arithmetic as ONNX nodes.

A :class:`Signal` is a tensor with the smallest and the largest value that it can take. Words of a
proved network fit 24 bits, so their tensors are int32; products and sums of the host are int64.

What ONNX Runtime computes wrongly is not used: from 1.21 on, its ``Clip``, ``Min``, ``Max`` and
``Sign`` of int64 are wrong where a magnitude lies in 2**31 .. 2**32; compares and ``Where`` are
right in every version. Right shifts of ONNX take unsigned numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from pvae_neuro.network.interval import Interval, between
from pvae_neuro.network.operations import PRODUCT_WIDTH, WORD_WIDTH

TYPES: dict[str, int] = {
    "bool": TensorProto.BOOL,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "uint32": TensorProto.UINT32,
    "int64": TensorProto.INT64,
    "uint64": TensorProto.UINT64,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}
WORD_LOW, WORD_HIGH = -(1 << (WORD_WIDTH - 1)), (1 << (WORD_WIDTH - 1)) - 1


@dataclass(frozen=True)
class Signal:
    """A tensor of words, int32, and the range of its values.

    Attributes
    ----------
    name : str
    low, high : int
        Smallest and largest value, inclusive.
    wide : bool
        Whether it has a row for each sample; constants have one row.
    """

    name: str
    low: int
    high: int
    wide: bool = True

    @property
    def value(self) -> int | None:
        """The value, where all neurons and samples share it."""
        return self.low if self.low == self.high and not self.wide else None

    @property
    def interval(self) -> Interval:
        """The range."""
        return between(self.low, self.high)


class IntegerGraph:
    """Collects the nodes and initializers of one graph.

    A name that is taken gets a number, so that all names of a model differ.

    Parameters
    ----------
    scope : str
        Prefix of the constants of this graph.
    outer : IntegerGraph, optional
        The graph around this one; ONNX wants all names of both to differ.
    """

    def __init__(self, scope: str = "", outer: IntegerGraph | None = None) -> None:
        self.scope = scope
        self._names: dict[str, int] = outer._names if outer else {}
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._made: dict[tuple[Any, ...], str] = {}

    def fresh(self, name: str) -> str:
        """The name itself if it is free, else with a number."""
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return name if count == 0 else self.fresh(f"{name}#{count + 1}")

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append a node with one output; return the output's name."""
        output = self.fresh(name)
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def once(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Like :meth:`node`, but the same node is written once."""
        key = (operator, *inputs, *sorted((k, str(v)) for k, v in attributes.items()))
        if key not in self._made:
            self._made[key] = self.node(operator, inputs, name, **attributes)
        return self._made[key]

    def output(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> None:
        """Append a node whose output has a name that was reserved for it."""
        self._nodes.append(helper.make_node(operator, inputs, [name], **attributes))

    def block(
        self,
        operator: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        name: str,
        **attributes: Any,
    ) -> None:
        """Append a Scan or a Loop; its outputs' names must be free."""
        name = self.fresh(name)
        self._nodes.append(helper.make_node(operator, inputs, outputs, name, **attributes))

    def graph(
        self, name: str, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto], doc: str
    ) -> GraphProto:
        """Return what was collected, as a graph."""
        return helper.make_graph(
            self._nodes, name, inputs, outputs, list(self._initializers.values()), doc
        )

    def initializer(self, name: str, values: NDArray[Any]) -> str:
        """Store an array as it is; return its name."""
        name = self.fresh(name)
        tensor = numpy_helper.from_array(np.asarray(values, order="C"), name)
        self._initializers[name] = tensor
        return name

    def constant(self, value: int | Sequence[Any], dtype: str) -> str:
        """A scalar or a list of a type, stored once."""
        key = ("constant", dtype, str(value))
        if key not in self._made:
            text = str(value).replace(" ", "")
            text = text if len(text) < 24 else "list"
            name = f"{self.scope}{dtype}:{text}"
            self._made[key] = self.initializer(name, np.array(value, dtype))
        return self._made[key]

    def cast(self, name: str, dtype: str, output: str | None = None) -> str:
        """The tensor in another type."""
        return self.once("Cast", [name], output or f"{name}:{dtype}", to=TYPES[dtype])

    # ------------------------------------------------------------------------------- shifts

    def floor_shift(self, name: str, a: str, bounds: tuple[int, int], n: int) -> str:
        """``a >> n``, rounded down, of an int32 tensor of these bounds."""
        return self._shift_right(name, a, "int32", bounds, n, 0)

    def round_shift(
        self, name: str, a: str, dtype: str, bounds: tuple[int, int], n: int
    ) -> tuple[str, str]:
        """``(a + 2**(n-1)) >> n`` for n > 0, else ``a << -n``; returns the tensor and its type.

        An int32 sum that would overflow is made in int64.
        """
        if n == 0:
            return a, dtype
        if n < 0:
            if dtype == "int32" and n < -30:
                a, dtype = self.cast(a, "int64"), "int64"
            return self.node("Mul", [a, self.constant(1 << -n, dtype)], name), dtype
        half = 1 << (n - 1)
        lift = -(min(bounds[0], 0) >> n) << n
        if dtype == "int32" and not fits("int32", bounds[0], bounds[1] + half + lift):
            a, dtype = self.cast(a, "int64"), "int64"
        return self._shift_right(name, a, dtype, bounds, n, half), dtype

    def _shift_right(
        self, name: str, a: str, dtype: str, bounds: tuple[int, int], n: int, half: int
    ) -> str:
        """Shift, after adding half a unit and a multiple of 2**n that leaves no negative value.

        ONNX shifts unsigned integers only. What the multiple adds is taken off again.
        """
        lift = -(min(bounds[0], 0) >> n)
        added = half + (lift << n)
        if added:
            a = self.node("Add", [a, self.constant(added, dtype)], f"{name}.raised")
        amount = self.constant(n, f"u{dtype}")
        operands = [self.cast(a, f"u{dtype}"), amount]
        raw = self.node("BitShift", operands, f"{name}.raw", direction="RIGHT")
        if not lift:
            return self.cast(raw, dtype, name)
        return self.node("Sub", [self.cast(raw, dtype), self.constant(lift, dtype)], name)

    def variable_shift(self, name: str, a: str, amount: Signal) -> str:
        """``shift_right(a, amount)`` of an int64 tensor of at most 48 bits, amounts in -31 .. 31.

        Returns an int64 tensor.
        """
        zero, one = self.constant(0, "int32"), self.constant(1, "uint64")
        right = self.node("Max", [amount.name, zero], f"{name}.right")
        left = self.node("Sub", [right, amount.name], f"{name}.left")
        right, left = self.cast(right, "uint64"), self.cast(left, "uint64")
        scale = self.node("BitShift", [one, left], f"{name}.scale", direction="LEFT")
        a = self.node("Mul", [a, self.cast(scale, "int64")], f"{name}.up")
        unit = self.node("BitShift", [one, right], f"{name}.unit", direction="LEFT")
        half = self.node("BitShift", [unit, one], f"{name}.half", direction="RIGHT")
        a = self.node("Add", [a, self.cast(half, "int64")], f"{name}.rounded")
        # A multiple of every unit that makes every value non-negative.
        lift = 1 << PRODUCT_WIDTH
        a = self.node("Add", [a, self.constant(lift, "int64")], f"{name}.raised")
        raw = self.node(
            "BitShift", [self.cast(a, "uint64"), right], f"{name}.raw", direction="RIGHT"
        )
        down = self.constant(lift, "uint64")
        down = self.node("BitShift", [down, right], f"{name}.lift", direction="RIGHT")
        return self.node("Sub", [self.cast(raw, "int64"), self.cast(down, "int64")], f"{name}.wide")

    def clip64(self, name: str, a: str, low: int, high: int) -> str:
        """``min(max(a, low), high)`` of int64, by compares that every runtime has right."""
        for side, operator, bound in (("low", "Less", low), ("high", "Greater", high)):
            limit = self.constant(bound, "int64")
            beyond = self.node(operator, [a, limit], f"{name}.{side}")
            a = self.node("Where", [beyond, limit, a], f"{name}.not_{side}")
        return a


def word_range(interval: Interval) -> tuple[int, int]:
    """Bounds of a word; the proof keeps every word of a network within 24 bits."""
    return max(interval.smallest, WORD_LOW), min(interval.largest, WORD_HIGH)


def fits(dtype: str, low: int, high: int) -> bool:
    """Whether a range fits an integer type."""
    limits = np.iinfo(dtype)
    return bool(limits.min <= low and high <= limits.max)


def narrowest(low: int, high: int) -> str:
    """Narrowest of uint8, int16 and int32 that holds a range: the type of a recorded variable."""
    return next(dtype for dtype in ("uint8", "int16", "int32") if fits(dtype, low, high))


def value_info(name: str, dtype: str, *shape: int | str) -> ValueInfoProto:
    """Name, type and shape of a graph's input or output."""
    return helper.make_tensor_value_info(name, TYPES[dtype], shape)
