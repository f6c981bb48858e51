"""Proof of ranges: the bounds of every word of a network, over all inputs and all noise.

Every operation of every activation is followed by interval arithmetic, accumulators by the sums of
their rows' negative and positive terms. The bounds of variables are an invariant: no iteration
leaves them. It is searched from the initial values upwards; sides that do not settle go to the
declared widths, and from there downwards. Then it is checked, so the result is a proof.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from pvae_neuro.network.interval import Interval, hull, point, shift_bounds, signed_bits
from pvae_neuro.network.operations import (
    OPERATIONS,
    PRODUCT_WIDTH,
    WORD_WIDTH,
    product_interval,
)
from pvae_neuro.network.population import Population
from pvae_neuro.network.sampler import LOWEST_POTENTIAL, largest_potential

if TYPE_CHECKING:
    from pvae_neuro.network.circuit import Circuit
    from pvae_neuro.network.connection import Connection
    from pvae_neuro.network.schedule import Activation

PASSES_UPWARDS = 12
PASSES_WIDENING = 32
PASSES_DOWNWARDS = 3
HOST_WIDTH = 64
FLOAT_WIDTH = 54


@dataclass(frozen=True)
class Range:
    """Worst-case range of one word.

    Attributes
    ----------
    part : {"connection", "program", "shift", "variable", "host"}
        Kind of thing that the word belongs to: ``shift`` is the amount of a program's shift; the
        host works outside the neurons.
    where : str
        Connections that add up, ``population.program``, ``population.variable``, or host part.
    neuron : int or None
        Which neuron attains the range; None where all share it.
    quantity : str
        Which word.
    low, high : int
        Over all inputs and all noise.
    bits : int
        Signed width that holds the range.
    limit_bits : int
        Signed width that there is.
    """

    part: str
    where: str
    neuron: int | None
    quantity: str
    low: int
    high: int
    bits: int
    limit_bits: int

    @property
    def place(self) -> str:
        """Where, with the neuron that attains the range."""
        return self.where if self.neuron is None else f"{self.where}[{self.neuron}]"

    def __str__(self) -> str:
        return (
            f"{self.place}: {self.quantity} can reach [{self.low}, {self.high}], {self.bits} "
            f"bits; expected at most {self.limit_bits}"
        )

    @property
    def fits(self) -> bool:
        """Whether the range fits the width."""
        return self.bits <= self.limit_bits


Bounds = dict[str, Interval]
"""Intervals of variables, by ``population.variable``."""


@dataclass(frozen=True, eq=False)
class Ranges:
    """What was proved.

    Attributes
    ----------
    variables : dict of str to Interval
        What a recording may hold, by ``population.variable``, inputs included: values at the
        start, at the end of an iteration, and after ``final``. Where a variable is set twice in
        an iteration, the value between is in ``rows`` alone.
    rows : tuple of Range
        Every word: accumulators, received sums, results of operations, variables, host sums.
    unbounded : tuple of str
        Variables for which no invariant was found; empty for a network that may run.
    log_rates : dict of str to Interval
        What each population that draws counts draws them of.
    """

    variables: Bounds
    rows: tuple[Range, ...]
    unbounded: tuple[str, ...]
    log_rates: Bounds

    def __repr__(self) -> str:
        unfit = sum(not row.fits for row in self.rows) + len(self.unbounded)
        return f"<Ranges of {len(self.rows)} words, {unfit} not proved to fit>"

    def faults(self) -> Iterator[str]:
        """Yield one message for each variable or word that is not proved to fit."""
        for name in self.unbounded:
            yield (
                f"{name}: its programs do not keep it within a range; clip it, or declare the "
                f"width that it keeps to"
            )
        for row in self.rows:
            if not row.fits:
                yield str(row)


@dataclass(frozen=True, eq=False)
class ProvedActivation:
    """One activation with the bounds of its words; engines choose widths by them.

    Attributes
    ----------
    part : str
        ``iteration`` or ``final``.
    activation : Activation
    sent : dict of str to Interval
        Values that each connection sends.
    words : dict of str to Interval
        What the program reads and computes, by name.
    """

    part: str
    activation: Activation
    sent: Bounds
    words: Bounds


@dataclass
class _Report:
    """Collects rows while an iteration is followed."""

    rows: list[Range] = field(default_factory=list)
    log_rates: Bounds = field(default_factory=dict)

    def add(self, part: str, where: str, quantity: str, interval: Interval, limit: int) -> None:
        """Keep the range of a word."""
        low, high = interval
        widest = int(np.argmax(np.maximum(high, -low - 1))) if len(low) > 1 else None
        ends = interval.smallest, interval.largest, interval.bits, limit
        self.rows.append(Range(part, where, widest, quantity, *ends))


def prove_ranges(circuit: Circuit) -> Ranges:
    """Follow every word of an integer circuit; judges nothing."""
    pixel = circuit.input.interval
    inputs = {f"{e.population}.{e.variable}": e.interval(pixel) for e in circuit.encodings}
    initial = dict(inputs)
    for population in circuit.populations:
        for variable in population.variables:
            initial.setdefault(f"{population.name}.{variable.name}", point(variable.initial))
    bounds = _invariant(circuit, initial)
    # The check: one more iteration from these bounds stays within them.
    report = _Report()
    after = _iterate(circuit, bounds, report)
    unbounded = [name for name, interval in after.items() if not bounds[name].contains(interval)]
    for population in circuit.populations:
        for variable in population.variables:
            name = f"{population.name}.{variable.name}"
            report.add("variable", name, "variable", bounds[name], variable.bits)
    _add_host_rows(circuit, bounds, report)
    return Ranges(bounds, tuple(report.rows), tuple(unbounded), report.log_rates)


def proved_activations(circuit: Circuit, bounds: Bounds) -> list[ProvedActivation]:
    """Follow the schedule once from :attr:`Ranges.variables` and keep every word's bounds."""
    now, found = dict(bounds), []
    for part in ("iteration", "final"):
        for activation in getattr(circuit, part):
            sent = {
                c.name: now[f"{c.source}.{c.variable}"]
                for c in (circuit.connection_of[name] for name in activation.connections)
            }
            words = _words(circuit, activation, now)
            found.append(ProvedActivation(part, activation, sent, words))
            now.update(_stored(circuit, activation, words))
    return found


def _invariant(circuit: Circuit, initial: Bounds) -> Bounds:
    """Bounds that hold the initial values and that no iteration leaves, where there are such."""
    bounds = initial
    for _ in range(PASSES_UPWARDS):
        after = _iterate(circuit, bounds)
        if _holds(bounds, after):
            return bounds
        bounds = {name: hull(bounds[name], after[name]) for name in bounds}
    bounds = _widened(circuit, bounds)
    for _ in range(PASSES_DOWNWARDS):
        after = _iterate(circuit, bounds)
        smaller = {name: hull(initial[name], after[name]) for name in bounds}
        if not _holds(bounds, smaller):
            return bounds
        bounds = smaller
    return bounds


def _widened(circuit: Circuit, bounds: Bounds) -> Bounds:
    """Let each side that still grows go to its variable's declared width, and no other side."""
    for _ in range(PASSES_WIDENING):
        after = _iterate(circuit, bounds)
        if _holds(bounds, after):
            return bounds
        bounds = {name: _grown(circuit, name, bounds[name], after[name]) for name in bounds}
    return bounds


def _grown(circuit: Circuit, name: str, before: Interval, after: Interval) -> Interval:
    population, _, variable = name.partition(".")
    half = 1 << (circuit.population_of[population].variable(variable).bits - 1)
    # Beyond the declared width it may still settle; then it is known how wide it must be.
    low = np.where(before.low > -half, -half, after.low)
    high = np.where(before.high < half - 1, half - 1, after.high)
    return Interval(
        np.where(after.low < before.low, low, before.low),
        np.where(after.high > before.high, high, before.high),
    )


def _holds(bounds: Bounds, after: Bounds) -> bool:
    return all(bounds[name].contains(interval) for name, interval in after.items())


def _iterate(circuit: Circuit, bounds: Bounds, report: _Report | None = None) -> Bounds:
    """Bounds after an iteration from these, and after ``final``.

    A variable may be set more than once in an iteration; what is between is reported and judged,
    and not part of what comes back.
    """
    now = dict(bounds)
    for activation in circuit.iteration:
        now.update(_stored(circuit, activation, _words(circuit, activation, now, report)))
    end = dict(now)
    for activation in circuit.final:
        end.update(_stored(circuit, activation, _words(circuit, activation, end, report)))
    # Nothing runs after `final`: its values are recorded, not iterated from.
    return {name: hull(now[name], end[name]) for name in bounds}


def _words(
    circuit: Circuit, activation: Activation, bounds: Bounds, report: _Report | None = None
) -> Bounds:
    """Bounds of all that an activation reads and computes, by the names in its program."""
    population = circuit.population_of[activation.population]
    program = population.program(activation.program)
    values = {v.name: bounds[f"{population.name}.{v.name}"] for v in population.variables}
    values.update({c.name: point(c.values) for c in population.constants})
    values.update(_receive(circuit, activation, bounds, report))
    values.update({"0": point(0), "1": point(1)})
    where = f"{population.name}.{program.name}"
    for i in program.instructions:
        arguments = [values[a] for a in i.arguments]
        if i.operation == "draw":
            result = _draw(population, where, arguments[0], report)
        else:
            result = OPERATIONS[i.operation].interval(*arguments)
        if report is not None:
            text = OPERATIONS[i.operation].text.format(*i.arguments)
            if i.operation == "mul":
                product = product_interval(arguments[0], arguments[1])
                report.add(
                    "program", where, f"{i.result} = {text}, product", product, PRODUCT_WIDTH
                )
            for amount in _amounts(i.operation, arguments):
                report.add("shift", where, f"{i.result} = {text}, amount of the shift", amount, 6)
            report.add("program", where, f"{i.result} = {text}", result, WORD_WIDTH)
        values[i.result] = result
    if report is not None:
        for output in program.outputs:
            bits = population.variable(output.variable).bits
            stored = f"{output.variable} <- {output.value}"
            report.add("program", where, stored, values[output.value], bits)
    return values


def _stored(circuit: Circuit, activation: Activation, words: Bounds) -> Bounds:
    """Bounds of the variables that an activation sets, by ``population.variable``."""
    program = circuit.population_of[activation.population].program(activation.program)
    return {f"{activation.population}.{o.variable}": words[o.value] for o in program.outputs}


def _amounts(operation: str, arguments: list[Interval]) -> list[Interval]:
    """Amounts of a shift: within -31 .. 31, which six bits hold, and -32 is refused."""
    if operation not in ("shl", "shr", "mul"):
        return []
    low, high = arguments[-1]
    return [Interval(np.where(low == -32, -33, low), high)]


def _draw(
    population: Population, where: str, potential: Interval, report: _Report | None
) -> Interval:
    sampler = population.sampler
    if sampler is None:
        raise ValueError(f"{where}: draws without a sampler")  # The structure check excludes it.
    if report is not None:
        floor = LOWEST_POTENTIAL << sampler.frac_bits
        # The rule's registers hold a log-rate of this range; a tail above 1e-4 is not Poisson.
        limit = max(largest_potential(sampler.max_count, sampler.frac_bits), 0)
        if potential.smallest < floor or potential.largest > limit:
            wide = Interval(np.minimum(potential.low, 0), np.maximum(potential.high, 0))
            beyond = f"log-rate beyond [{floor}, {limit}] of its sampler"
            report.add("program", where, beyond, wide, 0)
        known = report.log_rates.get(population.name, potential)
        report.log_rates[population.name] = hull(known, potential)
    return OPERATIONS["draw"].interval(sampler.max_count)


# What a connection reached, and of which bounds: from one pass to the next most stay the same.
_reached: WeakKeyDictionary[Connection, tuple[Interval, tuple[Interval, Interval]]] = (
    WeakKeyDictionary()
)


def _reach(connection: Connection, message: Interval) -> tuple[Interval, Interval]:
    known = _reached.get(connection)
    if known is not None and all(map(np.array_equal, known[0], message)):
        return known[1]
    found = connection.reach(message)
    _reached[connection] = message, found
    return found


def _receive(
    circuit: Circuit, activation: Activation, bounds: Bounds, report: _Report | None
) -> Bounds:
    received: Bounds = {}
    for name, connections in circuit.groups(activation).items():
        reaches = [_reach(c, bounds[f"{c.source}.{c.variable}"]) for c in connections]
        while_adding, total = reaches[0]
        for more_adding, more in reaches[1:]:
            add = OPERATIONS["add"].interval
            while_adding, total = add(while_adding, more_adding), add(total, more)
        exponent = connections[0].exponent
        after = shift_bounds(total, point(-exponent))
        if report is not None:
            where = " + ".join(c.name for c in connections)
            report.add("connection", where, "accumulator", while_adding, WORD_WIDTH)
            if exponent < 0:
                # A rounded shift adds half of its unit first.
                half = Interval(total.low, total.high + (1 << (-exponent - 1)))
                report.add(
                    "connection", where, "accumulator with half a unit", half, WORD_WIDTH + 8
                )
            report.add("connection", where, "after its exponent", after, WORD_WIDTH)
        received[name] = after
    return received


def _add_host_rows(circuit: Circuit, bounds: Bounds, report: _Report) -> None:
    pixel = circuit.input.interval
    report.add("host", "input", "pixel", pixel, 32)
    for encoding in circuit.encodings:
        where = f"{encoding.population}.{encoding.variable}"
        report.add("host", where, "sum of the encoding", encoding.reach(pixel), HOST_WIDTH - 2)
    readout = circuit.readout
    if readout is None:
        return
    value = bounds[f"{readout.population}.{readout.variable}"]
    image = _readout_interval(circuit, value)
    # Readouts are computed in floats too, which hold 53 bits and a sign exactly.
    report.add("host", "readout", "reconstruction", image, FLOAT_WIDTH)
    unit = max(circuit.input.frac_bits, readout.frac_bits)
    pixel_shift, image_shift = unit - circuit.input.frac_bits, unit - readout.frac_bits
    largest = max(abs(pixel.smallest), abs(pixel.largest)) << pixel_shift
    largest += max(abs(image.smallest), abs(image.largest)) << image_shift
    total = largest * largest * circuit.input.size
    report.rows.append(
        Range("host", "readout", None, "squared error", 0, total, signed_bits(0, total), HOST_WIDTH)
    )


def _readout_interval(circuit: Circuit, value: Interval) -> Interval:
    weight = readout_weight(circuit)
    if weight is None:
        return value
    wide = weight.astype(np.float64)
    size = weight.shape[1]
    low, high = (np.broadcast_to(side.astype(np.float64), (size,)) for side in value)
    positive, negative = np.maximum(wide, 0.0), np.minimum(wide, 0.0)
    sums = positive @ low + negative @ high, positive @ high + negative @ low
    clipped = [np.clip(side, -(2.0**62), 2.0**62).astype(np.int64) for side in sums]
    return Interval(clipped[0], clipped[1])


def readout_weight(circuit: Circuit) -> np.ndarray | None:  # type: ignore[type-arg]
    """Weights of the readout, int [M, n]; None where the variable itself is the image."""
    readout = circuit.readout
    if readout is None:
        return None
    if readout.connection is not None:
        return circuit.connection_of[readout.connection].weight
    return readout.weight
