"""A small language for compiled functions: Python writes them, LLVM compiles them.

A function is run once, when it is written, and every operator adds an instruction to it. What is
known then, a number of Python's or a loop of Python's, is part of the text; what is known when the
compiled function runs is a :class:`Value`::

    @function(2)
    def total(code, values_at, n):
        values, sum = int32_at(values_at), code.variable(0)
        with code.loop(n) as i:
            with code.when(values[i] > 0):
                sum += values[i]
        return sum

Numbers behave as in C: values of 8 and 16 bits have 32 once they are read, the narrower of two
operands is widened, and what is stored is cut.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

from llvmlite import ir

from pvae_neuro.sim.fast.machine import (
    I1,
    I8,
    I16,
    I32,
    I64,
    POINTER,
    Written,
    counted,
    intrinsic,
    load,
    splat,
    store,
)

FLOAT64 = ir.DoubleType()
_NUMBERS = I64.as_pointer()


class Value:
    """A number, or a vector of numbers, of the function that is being written."""

    def __init__(self, b: ir.IRBuilder, known: Any) -> None:
        self.b, self._known = b, known

    @property
    def ir(self) -> Any:
        """What LLVM knows it by."""
        return self._known

    @property
    def kind(self) -> Any:
        """Its type."""
        return self.ir.type

    def to(self, kind: Any) -> Value:
        """The number in another type: widened with its sign, cut, or turned to or from a float."""
        return Value(self.b, _converted(self.b, self.ir, kind))

    def read_as(self, kind: Any) -> Value:
        """The same bits in another type."""
        return Value(self.b, self.b.bitcast(self.ir, kind))

    def picked(self, places: Iterable[int], other: Value | None = None) -> Value:
        """Some lanes of this vector, or of this and another one of the same kind."""
        second = ir.Constant(self.kind, ir.Undefined) if other is None else other.ir
        numbers = [ir.Constant(I32, place) for place in places]
        mask = ir.Constant(ir.VectorType(I32, len(numbers)), numbers)
        return Value(self.b, self.b.shuffle_vector(self.ir, second, mask))

    def added_up(self) -> Value:
        """Sum of the lanes of a vector."""
        name = f"llvm.vector.reduce.add.v{self.kind.count}{self.kind.element.intrinsic_name}"
        add = intrinsic(self.b, name, self.kind.element, [self.kind])
        return Value(self.b, self.b.call(add, [self.ir]))

    def _with(self, other: Any, whole: str, floating: str = "") -> Value:
        x, y = _alike(self.b, self.ir, other)
        return Value(self.b, getattr(self.b, floating if x.type == FLOAT64 else whole)(x, y))

    def _compared(self, sign: str, other: Any) -> Value:
        x, y = _alike(self.b, self.ir, other)
        compare = self.b.fcmp_unordered if x.type == FLOAT64 else self.b.icmp_signed
        return Value(self.b, compare(sign, x, y))

    def __add__(self, other: Any) -> Value:
        return self._with(other, "add", "fadd")

    def __sub__(self, other: Any) -> Value:
        return self._with(other, "sub", "fsub")

    def __mul__(self, other: Any) -> Value:
        return self._with(other, "mul", "fmul")

    def __floordiv__(self, other: Any) -> Value:
        """Of numbers that are not negative."""
        return self._with(other, "udiv")

    def __mod__(self, other: Any) -> Value:
        """Of numbers that are not negative."""
        return self._with(other, "urem")

    def __and__(self, other: Any) -> Value:
        return self._with(other, "and_")

    def __or__(self, other: Any) -> Value:
        return self._with(other, "or_")

    def __xor__(self, other: Any) -> Value:
        return self._with(other, "xor")

    def __lshift__(self, places: Any) -> Value:
        return self._with(places, "shl")

    def __rshift__(self, places: Any) -> Value:
        return self._with(places, "ashr")

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: int) -> Value:
        return Value(self.b, _constant(other, self.kind)) - self

    def __invert__(self) -> Value:
        return Value(self.b, self.b.not_(self.ir))

    def __rlshift__(self, other: int) -> Value:
        return Value(self.b, _constant(other, self.kind)) << self

    def __neg__(self) -> Value:
        return 0 - self

    def __lt__(self, other: Any) -> Value:
        return self._compared("<", other)

    def __le__(self, other: Any) -> Value:
        return self._compared("<=", other)

    def __gt__(self, other: Any) -> Value:
        return self._compared(">", other)

    def __ge__(self, other: Any) -> Value:
        return self._compared(">=", other)

    def __eq__(self, other: Any) -> Value:  # type: ignore[override]
        return self._compared("==", other)

    def __ne__(self, other: Any) -> Value:  # type: ignore[override]
        return self._compared("!=", other)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("a value is not known while the function is written; use when()")


class Variable(Value):
    """A value that changes: ``set``, ``+=`` and ``-=``."""

    @property
    def ir(self) -> Any:
        """Its present value."""
        return self.b.load(self._known)

    @property
    def kind(self) -> Any:
        """Its type."""
        return self._known.allocated_type

    def set(self, value: Any) -> None:
        """Change it."""
        self.b.store(_converted(self.b, _plain(value), self.kind), self._known)

    def __iadd__(self, other: Any) -> Variable:
        self.set(self + other)
        return self

    def __isub__(self, other: Any) -> Variable:
        self.set(self - other)
        return self


class Array:
    """Numbers at an address: ``array[i]`` and ``array[i] = value``."""

    def __init__(self, kind: Any, address: Value, *, signed: bool = True) -> None:
        self._kind, self._signed, self._b = kind, signed, address.b
        self._start = self._b.inttoptr(address.ir, kind.as_pointer())

    def _at(self, place: Any) -> Any:
        return self._b.gep(self._start, [_converted(self._b, _plain(place), I64)])

    def __getitem__(self, place: Any) -> Value:
        found = self._b.load(self._at(place))
        if self._kind in (I8, I16):
            found = (self._b.sext if self._signed else self._b.zext)(found, I32)
        return Value(self._b, found)

    def __setitem__(self, place: Any, value: Any) -> None:
        self._b.store(_converted(self._b, _plain(value), self._kind), self._at(place))

    def line(self, place: Any, lanes: int, mask: Value | None = None) -> Value:
        """Numbers that follow each other, as a vector of their own type; aligned or not.

        Where a mask has a lane that is false, nothing is read, and the number is zero.
        """
        at, kind = self._at(place), ir.VectorType(self._kind, lanes)
        if mask is None:
            return Value(self._b, load(self._b, at, kind))
        at = self._b.bitcast(at, kind.as_pointer())
        read = self._masked("load", kind, kind, [at.type, I32, mask.kind, kind])
        given = [at, ir.Constant(I32, 1), mask.ir, ir.Constant(kind, None)]
        return Value(self._b, self._b.call(read, given))

    def set_line(self, place: Any, values: Value, mask: Value | None = None) -> None:
        """Write a vector: all of it, or those lanes that are true in a mask."""
        at, written = self._at(place), _converted(self._b, values.ir, self._kind)
        if mask is None:
            store(self._b, written, at)
            return
        at = self._b.bitcast(at, written.type.as_pointer())
        kinds = [written.type, at.type, I32, mask.kind]
        write = self._masked("store", written.type, ir.VoidType(), kinds)
        self._b.call(write, [written, at, ir.Constant(I32, 1), mask.ir])

    def _masked(self, name: str, kind: Any, result: Any, arguments: list[Any]) -> Any:
        suffix = f"v{kind.count}{kind.element.intrinsic_name}.p0"
        return intrinsic(self._b, f"llvm.masked.{name}.{suffix}", result, arguments)


int8_at, int16_at, int32_at, int64_at, float64_at = (
    partial(Array, kind) for kind in (I8, I16, I32, I64, FLOAT64)
)
uint8_at, uint16_at = (partial(Array, kind, signed=False) for kind in (I8, I16))


def select(condition: Value, x: Any, y: Any) -> Value:
    """``x`` where the condition holds, else ``y``."""
    known = x if isinstance(x, Value) else y
    return Value(known.b, known.b.select(condition.ir, *_alike(known.b, *map(_plain, (x, y)))))


def smaller(x: Value, y: Any) -> Value:
    """The smaller of two numbers."""
    return select(x < y, x, y)


def larger(x: Value, y: Any) -> Value:
    """The larger of two numbers."""
    return select(x > y, x, y)


def _plain(value: Any) -> Any:
    return value.ir if isinstance(value, Value) else value


def _constant(value: float, kind: Any) -> Any:
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)
    return ir.Constant(kind, value)


def _converted(b: ir.IRBuilder, value: Any, kind: Any) -> Any:
    if isinstance(value, int | float):
        return _constant(value, kind)
    if isinstance(value.type, ir.VectorType) and not isinstance(kind, ir.VectorType):
        kind = ir.VectorType(kind, value.type.count)
    before, after = (getattr(each, "element", each) for each in (value.type, kind))
    if before == after:
        return value
    if FLOAT64 in (before, after):
        return (b.sitofp if after == FLOAT64 else b.fptosi)(value, kind)
    if before.width > after.width:
        return b.trunc(value, kind)
    # A condition is 0 or 1.
    return (b.zext if before == I1 else b.sext)(value, kind)


def _alike(b: ir.IRBuilder, x: Any, other: Any) -> tuple[Any, Any]:
    """Two operands in one type: the wider, as many lanes as the vector has."""
    y = _plain(other)
    if isinstance(y, int | float):
        return x, _constant(y, x.type)
    if isinstance(x, int | float):
        return _constant(x, y.type), y
    x, y = (
        splat(b, each, other.type.count)
        if isinstance(other.type, ir.VectorType) and not isinstance(each.type, ir.VectorType)
        else each
        for each, other in ((x, y), (y, x))
    )
    elements = [getattr(each.type, "element", each.type) for each in (x, y)]
    wide = max(elements, key=lambda kind: getattr(kind, "width", 64))
    return _converted(b, x, wide), _converted(b, y, wide)


class Body:
    """The function that is being written: its variables, loops and conditions."""

    def __init__(self, b: ir.IRBuilder) -> None:
        self.b = b

    def value(self, known: Any, kind: Any = I64) -> Value:
        """A constant."""
        return Value(self.b, _constant(known, kind))

    def lane_numbers(self, lanes: int) -> Value:
        """The vector 0, 1, 2 and so on, of 32 bits."""
        return Value(self.b, ir.Constant(ir.VectorType(I32, lanes), list(range(lanes))))

    def variable(self, first: Any, kind: Any = None) -> Variable:
        """A variable with its first value; of 64 bits where that does not say it."""
        if kind is None:
            kind = first.kind if isinstance(first, Value) else I64
        with self.b.goto_entry_block():
            made = Variable(self.b, self.b.alloca(kind))
        made.set(first)
        return made

    @contextmanager
    def loop(self, *bounds: Any) -> Iterator[Value]:
        """``for i in range(...)``: the stop, or start, stop and a step that Python knows."""
        start, stop = (0, *bounds) if len(bounds) == 1 else bounds[:2]
        first, end = (_converted(self.b, _plain(each), I64) for each in (start, stop))
        with counted(self.b, first, end, *bounds[2:]) as index:
            yield Value(self.b, index)

    @contextmanager
    def loop_while(self, condition: Callable[[], Value]) -> Iterator[None]:
        """``while condition:``, worked out anew each time."""
        head, body, end = (self.b.append_basic_block() for _ in range(3))
        self.b.branch(head)
        self.b.position_at_end(head)
        self.b.cbranch(condition().ir, body, end)
        self.b.position_at_end(body)
        yield
        self.b.branch(head)
        self.b.position_at_end(end)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """``if condition:``."""
        with self.b.if_then(condition.ir):
            yield

    @contextmanager
    def cases(self, condition: Value) -> Iterator[tuple[Any, Any]]:
        """``if condition:`` and ``else:``, two contexts."""
        with self.b.if_else(condition.ir) as both:
            yield both

    def copy(self, source: Value, target: Value, size: Value) -> None:
        """Copy so many bytes from an address to another one."""
        kinds = [POINTER, POINTER, I64, I1]
        copy = intrinsic(self.b, "llvm.memcpy.p0.p0.i64", ir.VoidType(), kinds)
        given = [self.b.inttoptr(each.ir, POINTER) for each in (target, source)]
        self.b.call(copy, [*given, size.ir, ir.Constant(I1, 0)])

    def call(self, address: Value, *arguments: Any) -> Value:
        """Call a :func:`function` by its address."""
        given = [_converted(self.b, _plain(argument), I64) for argument in arguments]
        kind = ir.FunctionType(I64, [I64] * len(given))
        return Value(self.b, self.b.call(self.b.inttoptr(address.ir, kind.as_pointer()), given))

    def call_command(self, at: Value, room: Value) -> None:
        """Carry out the command at an address, with the address of the room."""
        kind = ir.FunctionType(ir.VoidType(), [_NUMBERS, _NUMBERS])
        numbers = [self.b.inttoptr(each.ir, _NUMBERS) for each in (at, room)]
        function = self.b.inttoptr(self.b.load(numbers[0]), kind.as_pointer())
        self.b.call(function, numbers)


class Function(Written):
    """A function of so many int64 that returns one: called by its address, or from Python."""

    def __init__(self, write: Callable[..., Value | int], count: int) -> None:
        def add(module: ir.Module, name: str) -> None:
            kind = ir.FunctionType(I64, [I64] * count)
            made = ir.Function(module, kind, name)
            b = ir.IRBuilder(made.append_basic_block())
            b.ret(_converted(b, _plain(write(Body(b), *(Value(b, a) for a in made.args))), I64))

        super().__init__(add, _known_as(write))
        self.__doc__, self._count = write.__doc__, count

    @cached_property
    def _callable(self) -> Callable[..., int]:
        return ctypes.CFUNCTYPE(*[ctypes.c_int64] * (self._count + 1))(self.address)

    def __call__(self, *arguments: int) -> int:
        """Call it, without the interpreter's lock."""
        return self._callable(*arguments)


def function(count: int) -> Callable[[Callable[..., Value | int]], Function]:
    """Write a function of so many int64; see :class:`Function`."""
    return lambda write: Function(write, count)


def command(write: Callable[[Body, Array, Array], None]) -> Written:
    """Write a command: a function of its own numbers, the first its address, and of its room."""

    def add(module: ir.Module, name: str) -> None:
        made = ir.Function(module, ir.FunctionType(ir.VoidType(), [_NUMBERS, _NUMBERS]), name)
        b = ir.IRBuilder(made.append_basic_block())
        numbers = (int64_at(Value(b, b.ptrtoint(argument, I64))) for argument in made.args)
        write(Body(b), *numbers)
        b.ret_void()

    made = Written(add, _known_as(write))
    made.__doc__ = write.__doc__
    return made


def _known_as(write: Callable[..., Any]) -> str | None:
    """Name of what a module of the engine defines; None for all others."""
    name = f"{write.__module__}.{write.__qualname__}"
    return name if name.startswith(f"{__package__}.") and "<locals>" not in name else None
