"""Neuron programs: straight lines of word operations, traced from rules written in Python.

A rule is a function of one argument, the neuron. Attributes of the neuron are its variables, its
constants and what it receives; assigning to one sets a variable. Write it once::

    def integrate(n):
        du = n.clip(n.received + n.drive - n.leak, n.du_min, n.du_max)
        n.u = n.clip(n.u + du, n.u_min, n.u_max)

    program = trace(integrate)

and it runs on integers and on floats, is listed, certified, and compiled by every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pvae_neuro.errors import NetworkError
from pvae_neuro.network.bounds import Items, Name, Reference, Whole, bounded
from pvae_neuro.network.operations import FUNCTIONS, LITERALS, OPERATIONS
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.show import show


@dataclass(frozen=True, eq=False)
class Instruction:
    """``result = operation(arguments)``.

    An argument is the name of a variable, a constant or a received sum of the population, an
    earlier result, or one of the literals ``0`` and ``1``.
    """

    operation: str = bounded(Name())
    arguments: tuple[str, ...] = bounded(Items(Reference(), most=3))
    result: str = bounded(Name())


@dataclass(frozen=True, eq=False)
class Output:
    """At the end of a program the variable takes this value."""

    variable: str = bounded(Name())
    value: str = bounded(Reference())


@dataclass(frozen=True, eq=False)
class Composite:
    """Instructions that together compute one function, which real numbers have as a whole.

    Bit operations and shifts by values mean nothing in real numbers one by one. Integers run the
    instructions ``first`` to ``last``; a float circuit computes ``function`` of the arguments as
    the result of the last one.

    Attributes
    ----------
    function : str
        One of :data:`~pvae_neuro.network.operations.FUNCTIONS`.
    arguments : tuple of str
    first, last : int
        Numbers of instructions, both inclusive.
    """

    function: str = bounded(Name())
    arguments: tuple[str, ...] = bounded(Items(Reference(), most=3, least=1))
    first: int = bounded(Whole(0, 1023))
    last: int = bounded(Whole(0, 1023))


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions in order; then all outputs are stored at once.

    Results are named ``t0``, ``t1``, ... and each is assigned once. Names of variables mean their
    value at the start of the program. Engines run the instructions; ``composites`` are for float
    circuits alone.
    """

    name: str = bounded(Name())
    instructions: tuple[Instruction, ...] = bounded(Items(Instruction, most=1024))
    outputs: tuple[Output, ...] = bounded(Items(Output, most=64))
    composites: tuple[Composite, ...] = bounded(Items(Composite, most=64), later=True, default=())

    def __repr__(self) -> str:
        variables = show(", ".join(o.variable for o in self.outputs))[1:-1]
        return f"<Program {self.name}: {len(self.instructions)} operations, sets {variables}>"

    @property
    def reads(self) -> tuple[str, ...]:
        """Names that the program reads and does not compute, in order of first use."""
        known = {i.result for i in self.instructions} | set(LITERALS)
        arguments = [a for i in self.instructions for a in i.arguments]
        arguments += [o.value for o in self.outputs]
        return tuple(dict.fromkeys(a for a in arguments if a not in known))

    @property
    def operations(self) -> frozenset[str]:
        """Names of the operations in use."""
        return frozenset(i.operation for i in self.instructions)

    @property
    def log_rates(self) -> tuple[str, ...]:
        """Names that counts are drawn of; of a result that is stored too, that of its variable."""
        stored = {o.value: o.variable for o in self.outputs}
        drawn_of = (i.arguments[0] for i in self.instructions if i.operation == "draw")
        return tuple(stored.get(name, name) for name in drawn_of)

    @property
    def counts(self) -> tuple[str, ...]:
        """Variables that hold counts as they are drawn."""
        drawn = {i.result for i in self.instructions if i.operation == "draw"}
        return tuple(o.variable for o in self.outputs if o.value in drawn)

    @property
    def simple_operations(self) -> frozenset[str]:
        """Names of the operations outside composites."""
        inside = {n for c in self.composites for n in range(c.first, c.last + 1)}
        return frozenset(i.operation for n, i in enumerate(self.instructions) if n not in inside)

    def faults(self, path: str) -> Iterator[str]:
        """Yield a message for each instruction that does not fit."""
        known: set[str] = set()
        for number, i in enumerate(self.instructions):
            where = f"{path}.instructions[{number}]"
            operation = OPERATIONS.get(i.operation)
            if operation is None:
                yield f"{where}: expected one of {', '.join(OPERATIONS)}; got {i.operation!r}"
            elif len(i.arguments) != operation.arity:
                yield (
                    f"{where}: expected {operation.arity} arguments of {i.operation!r}, got "
                    f"{len(i.arguments)}"
                )
            if i.result != f"t{number}":
                yield f"{where}: expected the result name 't{number}', got {i.result!r}"
            for argument in i.arguments:
                if is_result(argument) and argument not in known:
                    yield f"{where}: {argument!r} is read before it is computed"
            known.add(f"t{number}")
        yield from self._output_faults(path, known)
        yield from self._composite_faults(path)

    def _composite_faults(self, path: str) -> Iterator[str]:
        free = 0
        for number, c in enumerate(self.composites):
            where = f"{path}.composites[{number}]"
            if c.function not in FUNCTIONS:
                known = ", ".join(FUNCTIONS)
                yield f"{where}: expected one of {known}; got {c.function!r}"
            elif len(c.arguments) != FUNCTIONS[c.function].nin:
                wanted = FUNCTIONS[c.function].nin
                got = len(c.arguments)
                yield f"{where}: expected {wanted} arguments of {c.function!r}, got {got}"
            if not free <= c.first <= c.last < len(self.instructions):
                yield (
                    f"{where}: expected instructions {free} to {len(self.instructions) - 1} in "
                    f"order, got {c.first} to {c.last}"
                )
                return
            free = c.last + 1
            inside = self.instructions[c.first : free]
            given = {a for i in inside for a in i.arguments} - {i.result for i in inside}
            for name in c.arguments:
                if name not in given:
                    yield f"{where}: its instructions do not read its argument {name!r}"
            hidden = {f"t{n}" for n in range(c.first, c.last)}
            after = [a for i in self.instructions[free:] for a in i.arguments]
            after += [o.value for o in self.outputs]
            for name in sorted(hidden.intersection(after)):
                yield f"{where}: {name!r} is read outside; expected its last result alone"

    def _output_faults(self, path: str, known: set[str]) -> Iterator[str]:
        names = [o.variable for o in self.outputs]
        if len(set(names)) != len(names):
            yield f"{path}.outputs: expected each variable once, got {names}"
        if not names:
            yield f"{path}: expected a program that sets a variable, got none"
        for output in self.outputs:
            if is_result(output.value) and output.value not in known:
                yield f"{path}.outputs: {output.value!r} is never computed"


def is_result(name: str) -> bool:
    """Whether a name is that of an instruction's result: ``t`` and a number."""
    return name[:1] == "t" and name[1:].isdigit()


def is_reserved(name: str) -> bool:
    """Whether a name is that of an operation, of a method of rules, or of a result."""
    return (
        is_result(name) or name in OPERATIONS or name in LITERALS or name in ("clip", "composite")
    )


class Value:
    """A word while a rule is traced; Python's operators append instructions."""

    __slots__ = ("_neuron", "name")
    # NumPy must not take the operators over.
    __array_ufunc__ = None

    def __init__(self, neuron: Neuron, name: str) -> None:
        self._neuron, self.name = neuron, name

    def __add__(self, other: Any) -> Value:
        return self._neuron._apply("add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self._neuron._apply("add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self._neuron._apply("sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self._neuron._apply("sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self._neuron._apply("mul", self, other, 0)

    def __rmul__(self, other: Any) -> Value:
        return self._neuron._apply("mul", other, self, 0)

    def __neg__(self) -> Value:
        return self._neuron._apply("neg", self)

    def __abs__(self) -> Value:
        return self._neuron._apply("abs", self)

    def __and__(self, other: Any) -> Value:
        return self._neuron._apply("and", self, other)

    def __rand__(self, other: Any) -> Value:
        return self._neuron._apply("and", other, self)

    def __or__(self, other: Any) -> Value:
        return self._neuron._apply("or", self, other)

    def __ror__(self, other: Any) -> Value:
        return self._neuron._apply("or", other, self)

    def __xor__(self, other: Any) -> Value:
        return self._neuron._apply("xor", self, other)

    def __rxor__(self, other: Any) -> Value:
        return self._neuron._apply("xor", other, self)

    def __ge__(self, other: Any) -> Value:
        return self._neuron._apply("ge", self, other)

    def __gt__(self, other: Any) -> Value:
        # Integers: a > b is a - b >= 1. In floats `ge` with the literal 1 means "above 0".
        difference = self if _is_zero(other) else self - other
        return self._neuron._apply("ge", difference, 1)

    def __le__(self, other: Any) -> Value:
        return self._neuron._apply("ge", other, self)

    def __lt__(self, other: Any) -> Value:
        return self._neuron._apply("ge", self._neuron._apply("sub", other, self), 1)

    # Python's own meaning of these would give a program that is not what the rule says.
    def __eq__(self, other: object) -> bool:
        raise NetworkError("rule: there is no operation ==; use n.min(a >= b, b >= a)")

    def __ne__(self, other: object) -> bool:
        raise NetworkError("rule: there is no operation !=; use 1 - n.min(a >= b, b >= a)")

    __hash__ = None  # type: ignore[assignment]

    def __rshift__(self, other: Any) -> Value:
        raise NetworkError("rule: use n.shr(value, amount), which rounds; Python's >> does not")

    def __lshift__(self, other: Any) -> Value:
        raise NetworkError("rule: use n.shl(value, amount)")

    def __bool__(self) -> bool:
        raise NetworkError(
            "rule: a value has no truth while the rule is traced; a program has no branches. "
            "Use n.select(condition, a, b)"
        )


def _is_zero(value: Any) -> bool:
    return isinstance(value, int) and value == 0


class Neuron:
    """What a rule is given: names read as words, methods append operations."""

    _instructions: list[Instruction]
    _composites: list[Composite]
    _assigned: dict[str, Value]

    def __init__(self) -> None:
        object.__setattr__(self, "_instructions", [])
        object.__setattr__(self, "_composites", [])
        object.__setattr__(self, "_assigned", {})

    def __getattr__(self, name: str) -> Value:
        if name.startswith("_"):
            raise AttributeError(name)
        _check_own(name)
        return self._assigned[name] if name in self._assigned else Value(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        _check_own(name)
        self._assigned[name] = Value(self, self._read(value))

    def _read(self, value: Any) -> str:
        if isinstance(value, Value) and value._neuron is not self:
            raise NetworkError(f"rule: {value.name!r} belongs to another rule or another neuron")
        return _name(value)

    def _apply(self, operation: str, *arguments: Any) -> Value:
        result = f"t{len(self._instructions)}"
        names = tuple(self._read(argument) for argument in arguments)
        self._instructions.append(Instruction(operation, names, result))
        return Value(self, result)

    def shr(self, value: Any, amount: Any) -> Value:
        """``value >> amount``, rounded half up; a negative amount shifts to the left."""
        return self._apply("shr", value, amount)

    def shl(self, value: Any, amount: Any) -> Value:
        """``value << amount``; a negative amount shifts to the right, rounded half up."""
        return self._apply("shl", value, amount)

    def mul(self, a: Any, b: Any, shift: Any = 0) -> Value:
        """``(a * b) >> shift``, rounded half up; the product has 48 bits."""
        return self._apply("mul", a, b, shift)

    def min(self, a: Any, b: Any) -> Value:
        """The smaller one."""
        return self._apply("min", a, b)

    def max(self, a: Any, b: Any) -> Value:
        """The larger one."""
        return self._apply("max", a, b)

    def clip(self, value: Any, low: Any, high: Any) -> Value:
        """``min(max(value, low), high)``."""
        return self.min(self.max(value, low), high)

    def select(self, condition: Any, a: Any, b: Any) -> Value:
        """``a`` where the condition is not 0, else ``b``."""
        return self._apply("select", condition, a, b)

    def abs(self, value: Any) -> Value:
        """Absolute value."""
        return self._apply("abs", value)

    def clz(self, value: Any) -> Value:
        """Leading zeros of a 24-bit word."""
        return self._apply("clz", value)

    def word(self) -> Value:
        """The population's random word of this step, 0 .. 65535."""
        return self._apply("word")

    def draw(self, log_rate: Any) -> Value:
        """Poisson count of a log-rate, by inversion of the random word of this step."""
        return self._apply("draw", log_rate)

    def composite(self, function: str, *arguments: Any, build: Callable[[], Value]) -> Value:
        """What ``build`` appends, which real numbers compute as one ``function`` of the arguments.

        The result is that of the last operation that ``build`` appends.
        """
        names = tuple(self._read(argument) for argument in arguments)
        first = len(self._instructions)
        result = build()
        last = len(self._instructions) - 1
        if last < first or result.name != f"t{last}":
            raise NetworkError(f"rule: composite {function!r}: expected its last result")
        self._composites.append(Composite(function, names, first, last))
        return result


def _check_own(name: str) -> None:
    if is_reserved(name) or name.startswith("_"):
        raise NetworkError(
            f"rule: {name!r} cannot be the name of a variable, a constant or what is received; "
            f"choose another"
        )


def _name(value: Any) -> str:
    if isinstance(value, Value):
        return value.name
    # Booleans are integers in Python; a rule has no use for them.
    if isinstance(value, int) and not isinstance(value, bool) and str(value) in LITERALS:
        return str(value)
    raise NetworkError(
        f"rule: the only literals are 0 and 1, got {value!r}; make it a constant of the population"
    )


@checked
def trace(rule: Callable[[Any], None], name: str | None = None) -> Program:
    """Run a rule once and keep its operations.

    Parameters
    ----------
    rule : callable
        Takes a neuron and sets its variables; see the example above.
    name : str, optional
        Of the program; by default that of the function.

    Raises
    ------
    NetworkError
        If the rule branches on a value, holds a literal other than 0 and 1, or uses something of
        Python's that is no word operation.
    """
    neuron = Neuron()
    name = name or str(getattr(rule, "__name__", "program"))
    try:
        rule(neuron)
    except TypeError as error:
        known = ", ".join(OPERATIONS)
        raise NetworkError(f"rule {name!r}: {error}; the operations are {known}") from error
    outputs = tuple(Output(variable, value.name) for variable, value in neuron._assigned.items())
    return Program(name, tuple(neuron._instructions), outputs, tuple(neuron._composites))


@checked
def reading(program: Program, name: str, rule: Callable[[Any], Value]) -> Program:
    """The program that reads what a rule makes of a name where it read the name itself.

    Such as the sum of two names that are received, ``lambda n: n.lateral + n.lateral_fine``.

    Parameters
    ----------
    program : Program
    name : str
        Of a variable, a constant or a received sum.
    rule : callable
        Takes a neuron and returns a value; it may read the name.
    """
    neuron = Neuron()
    value = rule(neuron)
    before = len(neuron._instructions)
    renamed = {i.result: f"t{n}" for n, i in enumerate(program.instructions, before)}
    renamed[name] = value.name

    def names(given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(renamed.get(each, each) for each in given)

    after = (
        Instruction(i.operation, names(i.arguments), *names((i.result,)))
        for i in program.instructions
    )
    composites = (
        Composite(c.function, names(c.arguments), c.first + before, c.last + before)
        for c in program.composites
    )
    outputs = (Output(o.variable, renamed.get(o.value, o.value)) for o in program.outputs)
    return Program(
        program.name,
        (*neuron._instructions, *after),
        tuple(outputs),
        (*neuron._composites, *composites),
    )
