"""One function for each word operation: it appends the nodes that compute it.

Each takes the graph, a name and the arguments, and gives the name of an int32 tensor. The formulas
are those of :data:`pvae_neuro.network.OPERATIONS`. ``word`` and ``draw`` are in ``sampler.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from pvae_neuro.exporters.onnx.integers import IntegerGraph, Signal, fits, word_range
from pvae_neuro.network.operations import OPERATIONS, WORD_WIDTH, product_interval

Lowered = Callable[..., str]


def apply(graph: IntegerGraph, operation: str, name: str, *arguments: Signal) -> Signal:
    """Append one operation; the result carries the bounds that the arguments leave it."""
    interval = OPERATIONS[operation].interval(*(a.interval for a in arguments))
    low, high = word_range(interval)
    output = LOWERED[operation](graph, name, *arguments)
    return Signal(output, low, high, any(a.wide for a in arguments))


def _plain(operator: str) -> Lowered:
    """An operation that is one node of ONNX."""

    def lowered(graph: IntegerGraph, name: str, *arguments: Signal) -> str:
        return graph.node(operator, [a.name for a in arguments], name)

    return lowered


def _mul(graph: IntegerGraph, name: str, a: Signal, b: Signal, amount: Signal) -> str:
    product = product_interval(a.interval, b.interval)
    bounds = product.smallest, product.largest
    small = fits("int32", *bounds) and amount.value is not None
    dtype = "int32" if small else "int64"
    operands = [a.name, b.name] if small else [graph.cast(s.name, dtype) for s in (a, b)]
    product_name = graph.node("Mul", operands, name if amount.value == 0 else f"{name}.product")
    return _shifted(graph, name, product_name, dtype, bounds, amount)


def _shr(graph: IntegerGraph, name: str, a: Signal, amount: Signal) -> str:
    if amount.value is None:
        return _shifted(graph, name, graph.cast(a.name, "int64"), "int64", (0, 0), amount)
    return _shifted(graph, name, a.name, "int32", (a.low, a.high), amount)


def _shl(graph: IntegerGraph, name: str, a: Signal, amount: Signal) -> str:
    opposite = graph.node("Neg", [amount.name], f"{name}.amount")
    return _shr(graph, name, a, Signal(opposite, -amount.high, -amount.low, amount.wide))


def _shifted(
    graph: IntegerGraph,
    name: str,
    a: str,
    dtype: str,
    bounds: tuple[int, int],
    amount: Signal,
) -> str:
    if amount.value is None:
        return graph.cast(graph.variable_shift(name, a, amount), "int32")
    shifted, dtype = graph.round_shift(name, a, dtype, bounds, amount.value)
    return shifted if dtype == "int32" else graph.cast(shifted, "int32")


def _at_least(graph: IntegerGraph, name: str, a: Signal, b: Signal) -> str:
    holds = graph.node("GreaterOrEqual", [a.name, b.name], f"{name}.holds")
    return graph.cast(holds, "int32", name)


def _select(graph: IntegerGraph, name: str, condition: Signal, a: Signal, b: Signal) -> str:
    zero = graph.node("Equal", [condition.name, graph.constant(0, "int32")], f"{name}.zero")
    return graph.node("Where", [zero, b.name, a.name], name)


def _leading_zeros(graph: IntegerGraph, name: str, a: Signal) -> str:
    """24 less the number of powers of two up to the value; 0 where it is negative."""
    powers = graph.constant([1 << k for k in range(WORD_WIDTH - 1)], "int32")
    column = graph.node("Unsqueeze", [a.name, graph.constant([-1], "int64")], f"{name}.column")
    reached = graph.node("GreaterOrEqual", [column, powers], f"{name}.reached")
    axis = graph.constant([-1], "int64")
    length = graph.node(
        "ReduceSum", [graph.cast(reached, "int32"), axis], f"{name}.length", keepdims=0
    )
    zeros = graph.node("Sub", [graph.constant(WORD_WIDTH, "int32"), length], f"{name}.zeros")
    zero = graph.constant(0, "int32")
    negative = graph.node("Less", [a.name, zero], f"{name}.negative")
    return graph.node("Where", [negative, zero, zeros], name)


LOWERED: dict[str, Lowered] = {
    "add": _plain("Add"),
    "sub": _plain("Sub"),
    "mul": _mul,
    "shl": _shl,
    "shr": _shr,
    "and": _plain("BitwiseAnd"),
    "or": _plain("BitwiseOr"),
    "xor": _plain("BitwiseXor"),
    "min": _plain("Min"),
    "max": _plain("Max"),
    "ge": _at_least,
    "select": _select,
    "abs": _plain("Abs"),
    "neg": _plain("Neg"),
    "clz": _leading_zeros,
}
