"""Writes exact integer arithmetic as ONNX nodes, each value with its proved range.

Every :class:`~pvae_neuro.exporters.onnx_signal.Signal` carries the smallest and the largest value
that it can take. Its type follows from that range: int32 where it fits, int64 where it must. So no
node can overflow, whatever the network; a network that needs more than 64 bits is refused while
the graph is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from pvae_neuro.errors import NetworkError
from pvae_neuro.exporters.onnx_signal import (
    DIGIT,
    DIGIT_BITS,
    DIGIT_ZERO_POINT,
    Digit,
    Signal,
    balanced,
    fits,
    product_range,
)

TYPES: dict[str, int] = {
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "int32": TensorProto.INT32,
    "uint32": TensorProto.UINT32,
    "int64": TensorProto.INT64,
    "uint64": TensorProto.UINT64,
}


class IntegerGraph:
    """Collects the nodes and initializers of one graph.

    Every method names its output after its first argument, and the node after its output.

    Parameters
    ----------
    scope : str
        Prefix of the constants and casts of this graph.
    outer : IntegerGraph, optional
        The graph around this one; ONNX wants all names of both to differ.
    """

    def __init__(self, scope: str = "", outer: IntegerGraph | None = None) -> None:
        self._scope = scope
        self._names: set[str] = outer._names if outer else set()
        self._nodes: list[NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._casts: set[str] = set()
        self._digits: dict[str, list[Digit]] = {}

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node with one output; return the output's name."""
        self._claim(output)
        self._nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def scan(self, inputs: Sequence[str], outputs: Sequence[str], body: GraphProto) -> None:
        """Append a Scan with one state variable and one scanned input."""
        for name in outputs:
            self._claim(name)
        node = helper.make_node("Scan", inputs, outputs, "scan", body=body, num_scan_inputs=1)
        self._nodes.append(node)

    def _claim(self, name: str) -> None:
        if name in self._names:
            raise NetworkError(
                f"{name}: two values of the graph share this name; rename a population or "
                f"a connection"
            )
        self._names.add(name)

    def graph(
        self, name: str, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto], doc: str
    ) -> GraphProto:
        """Return what was collected, as a graph."""
        for value in inputs:
            self._claim(value.name)
        return helper.make_graph(
            self._nodes, name, inputs, outputs, list(self._initializers.values()), doc
        )

    def initializer(self, name: str, values: NDArray[Any]) -> str:
        """Store an array as it is; return its name."""
        self._claim(name)
        tensor = numpy_helper.from_array(np.asarray(values, order="C"), name)
        self._initializers[name] = tensor
        return name

    def array(self, name: str, values: NDArray[np.int32]) -> Signal:
        """Store an int32 array; its range is that of its values."""
        return Signal(self.initializer(name, values), int(values.min()), int(values.max()))

    def constant(self, value: int, dtype: str) -> str:
        """Scalar of a type, stored once."""
        name = f"{self._scope}{dtype}:{value}"
        if name not in self._initializers:
            self.initializer(name, np.array(value, dtype))
        return name

    def shape(self, *dims: int) -> str:
        """Shape or axes, int64, stored once."""
        name = f"{self._scope}shape:" + "x".join(map(str, dims))
        if name not in self._initializers:
            self.initializer(name, np.array(dims, np.int64))
        return name

    def cast(self, name: str, dtype: str, output: str | None = None) -> str:
        """Cast a tensor; without ``output`` the same cast is written once."""
        if output is not None:
            return self.node("Cast", [name], output, to=TYPES[dtype])
        output = f"{self._scope}{name}:{dtype}"
        if output not in self._casts:
            self._casts.add(output)
            self.node("Cast", [name], output, to=TYPES[dtype])
        return output

    def add(self, name: str, a: Signal, b: Signal | int) -> Signal:
        """``a + b``, element by element."""
        b = _signal(b)
        return self._combine("Add", name, a, b, (a.low + b.low, a.high + b.high))

    def subtract(self, name: str, a: Signal, b: Signal | int) -> Signal:
        """``a - b``, element by element."""
        b = _signal(b)
        return self._combine("Sub", name, a, b, (a.low - b.high, a.high - b.low))

    def multiply(self, name: str, a: Signal, b: Signal | int) -> Signal:
        """``a * b``, element by element."""
        b = _signal(b)
        corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
        return self._combine("Mul", name, a, b, (min(corners), max(corners)))

    def bitwise_and(self, name: str, a: Signal, mask: int) -> Signal:
        """``a & mask`` of values and a mask that are not negative."""
        return self._combine("BitwiseAnd", name, a, _signal(mask), (0, min(a.high, mask)))

    def clip(self, name: str, a: Signal, low: int, high: int) -> Signal:
        """``min(max(a, low), high)``."""
        limits = np.iinfo(a.dtype)
        bounds = [
            self.constant(min(max(bound, limits.min), limits.max), a.dtype) for bound in (low, high)
        ]
        result = Signal(name, min(max(a.low, low), high), min(max(a.high, low), high))
        self._finish("Clip", [self._as(a, a.dtype), *bounds], a.dtype, result)
        return result

    def shift(self, name: str, a: Signal, exponent: int) -> Signal:
        """Multiply by 2**exponent; a right shift rounds half up, as ``network.shift``.

        ONNX shifts unsigned integers only. So a multiple of 2**n that makes every value
        non-negative is added before the shift, and its quotient taken off after it.
        """
        if exponent >= 0:
            return self.multiply(name, a, 1 << exponent) if exponent else a
        n = -exponent
        lift = -(min(a.low, 0) >> n)
        raised = self.add(f"{name}.raised", a, (lift << n) + (1 << (n - 1)))
        if not lift:
            return self.shift_right(name, raised, n)
        return self.subtract(name, self.shift_right(f"{name}.shifted", raised, n), lift)

    def shift_right(self, name: str, a: Signal, n: int) -> Signal:
        """``a >> n`` of values that are not negative; rounds down."""
        result = Signal(name, a.low >> n, a.high >> n)
        unsigned = f"u{a.dtype}"
        raw = self.cast(a.name, unsigned)
        if n:
            operands = [raw, self.constant(n, unsigned)]
            raw = self.node("BitShift", operands, f"{name}:{unsigned}", direction="RIGHT")
        self.cast(raw, result.dtype, name)
        return result

    def digits(self, a: Signal) -> list[Digit]:
        """Split a signal into bytes below 128 that MatMulInteger multiplies exactly.

        A signal in 0 .. 127 is its own digit. Any other is written in base 128 with the balanced
        digits -64 .. 63; MatMulInteger takes the 64 off again as its zero point.
        """
        if a.name not in self._digits:
            self._digits[a.name] = self._split(a)
        return self._digits[a.name]

    def _split(self, a: Signal) -> list[Digit]:
        if a.low >= 0 and a.high < DIGIT:
            return [Digit(self.cast(a.name, "uint8"), 0, a.low, a.high)]
        count = 1
        while not balanced(count)[0] <= a.low <= a.high <= balanced(count)[1]:
            count += 1
        raised = self.add(f"{a.name}.raised", a, -balanced(count)[0])
        return [self._digit(a.name, raised, place, place == count - 1) for place in range(count)]

    def _digit(self, name: str, raised: Signal, place: int, last: bool) -> Digit:
        output = f"{name}.digit_{place}"
        digit = self.shift_right(f"{output}.shifted", raised, DIGIT_BITS * place)
        if not last:
            digit = self.bitwise_and(f"{output}.masked", digit, DIGIT - 1)
        self.cast(digit.name, "uint8", output)
        zero = DIGIT_ZERO_POINT
        return Digit(output, zero, digit.low - zero, digit.high - zero)

    def synapses(self, name: str, a: Signal, weight_name: str, weight: NDArray[np.int8]) -> Signal:
        """``a @ weight.T``, exactly, by 8-bit products.

        Parameters
        ----------
        name : str
        a : Signal [batch, source]
        weight_name : str
            Initializer that holds ``weight.T``.
        weight : int8 [target, source]

        Returns
        -------
        Signal [batch, target]
        """
        digits = self.digits(a)
        if len(digits) == 1:
            return self._product(name, digits[0], weight_name, weight)
        total = Signal("", 0, 0)
        for place, digit in enumerate(digits):
            product = self._product(f"{name}.digit_{place}", digit, weight_name, weight)
            scaled = self.shift(f"{name}.scaled_{place}", product, DIGIT_BITS * place)
            total = self.add(f"{name}.sum_{place}", total, scaled) if place else scaled
        return self._narrow(name, total, product_range(weight, a.low, a.high))

    def _product(
        self, name: str, digit: Digit, weight_name: str, weight: NDArray[np.int8]
    ) -> Signal:
        zero_point = [self.constant(digit.zero_point, "uint8")] if digit.zero_point else []
        self.node("MatMulInteger", [digit.name, weight_name, *zero_point], name)
        # Engines may sum the raw bytes first and take the zero point off afterwards.
        largest = int(np.abs(weight.astype(np.int64)).sum(axis=1).max()) * (DIGIT - 1)
        if not fits("int32", -largest, largest):
            raise NetworkError(
                f"{weight_name}: sums of up to {largest} overflow the 32-bit product; "
                f"split the connection"
            )
        return Signal(name, *product_range(weight, digit.low, digit.high))

    def matrix_product(
        self, name: str, a: Signal, weight_name: str, weight: NDArray[np.integer[Any]]
    ) -> Signal:
        """``a @ weight.T`` with wide weights [target, source]; ``weight_name`` holds weight.T."""
        result = Signal(name, *product_range(weight, a.low, a.high))
        largest = max(abs(a.low), abs(a.high))
        partial = product_range(np.abs(weight.astype(np.int64)), 0, largest)[1]
        dtype = "int32" if fits("int32", -partial, partial) and a.dtype == "int32" else "int64"
        inputs = [self._as(a, dtype), self.cast(weight_name, dtype)]
        self._finish("MatMul", inputs, dtype, result)
        return result

    def _narrow(self, name: str, a: Signal, known_range: tuple[int, int]) -> Signal:
        """Same values, under a range that is known to be smaller."""
        result = Signal(name, *known_range)
        if result.dtype == a.dtype:
            return Signal(a.name, *known_range)
        self.cast(a.name, result.dtype, name)
        return result

    def _combine(
        self, operator: str, name: str, a: Signal, b: Signal, bounds: tuple[int, int]
    ) -> Signal:
        result = Signal(name, *bounds)
        dtype = _widest((a, b, result))
        self._finish(operator, [self._as(a, dtype), self._as(b, dtype)], dtype, result)
        return result

    def _finish(self, operator: str, inputs: Sequence[str], dtype: str, result: Signal) -> None:
        """Append the node, and a cast where it computed in a wider type than its result needs."""
        if dtype == result.dtype:
            self.node(operator, inputs, result.name)
        else:
            self.node(operator, inputs, f"{result.name}:{dtype}")
            self.cast(f"{result.name}:{dtype}", result.dtype, result.name)

    def _as(self, signal: Signal, dtype: str) -> str:
        if not signal.name:
            return self.constant(signal.low, dtype)
        return signal.name if signal.dtype == dtype else self.cast(signal.name, dtype)


def _signal(value: Signal | int) -> Signal:
    return value if isinstance(value, Signal) else Signal("", value, value)


def _widest(signals: Iterable[Signal]) -> str:
    return "int64" if any(s.dtype == "int64" for s in signals) else "int32"
