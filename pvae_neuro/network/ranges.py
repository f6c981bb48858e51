"""Proof of ranges: the bounds of every word of a network, over all inputs and all noise.

Every operation of every activation is followed by interval arithmetic, accumulators by the sums of
their rows' negative and positive terms. The bounds of variables are an invariant: no iteration
leaves them. It is searched from the initial values upwards, and if that does not settle, from the
declared widths downwards; either way it is then checked, so the result is a proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    from pvae_neuro.network.schedule import Activation

PASSES_UPWARDS = 12
PASSES_DOWNWARDS = 3
HOST_WIDTH = 64
FLOAT_WIDTH = 54


@dataclass(frozen=True)
class Range:
    """Worst-case range of one word.

    Attributes
    ----------
    where : str
        Population, connection or host part, with the neuron that attains the range.
    quantity : str
        Which word.
    low, high : int
        Over all inputs and all noise.
    bits : int
        Signed width that holds the range.
    limit_bits : int
        Signed width that there is.
    """

    where: str
    quantity: str
    low: int
    high: int
    bits: int
    limit_bits: int

    @property
    def fits(self) -> bool:
        """Whether the range fits the width."""
        return self.bits <= self.limit_bits


Bounds = dict[str, Interval]
"""Intervals of variables, by ``population.variable``."""
Report = Callable[[str, str, Interval, int], None]


@dataclass(frozen=True, eq=False)
class Ranges:
    """What was proved.

    Attributes
    ----------
    variables : dict of str to Interval
        By ``population.variable``; inputs included.
    rows : tuple of Range
        Every word: accumulators, received sums, results of operations, variables, host sums.
    unbounded : tuple of str
        Variables for which no invariant was found; empty for a network that may run.
    """

    variables: Bounds
    rows: tuple[Range, ...]
    unbounded: tuple[str, ...]

    def faults(self) -> Iterator[str]:
        """Yield one message for each variable or word that is not proved to fit."""
        for name in self.unbounded:
            yield (
                f"{name}: its programs do not keep it within a range; clip it, or declare the "
                f"width that it keeps to"
            )
        for row in self.rows:
            if not row.fits:
                yield (
                    f"{row.where}: {row.quantity} can reach [{row.low}, {row.high}], {row.bits} "
                    f"bits; expected at most {row.limit_bits}"
                )


def prove_ranges(circuit: Circuit) -> Ranges:
    """Follow every word of an integer circuit; judges nothing."""
    pixel = circuit.input.interval
    inputs = {f"{e.population}.{e.variable}": e.interval(pixel) for e in circuit.encodings}
    initial = dict(inputs)
    for population in circuit.populations:
        for variable in population.variables:
            initial.setdefault(f"{population.name}.{variable.name}", point(variable.initial))
    bounds, settled = _upwards(circuit, initial)
    if not settled:
        bounds = _downwards(circuit, initial)
    # The check: one more iteration from these bounds stays within them.
    rows: list[Range] = []

    def report(where: str, quantity: str, interval: Interval, limit: int) -> None:
        rows.append(_row(where, quantity, interval, limit))

    after = _iterate(circuit, bounds, report)
    unbounded = [name for name, interval in after.items() if not bounds[name].contains(interval)]
    for population in circuit.populations:
        for variable in population.variables:
            name = f"{population.name}.{variable.name}"
            rows.append(_row(name, "variable", bounds[name], variable.bits))
    rows.extend(_host_rows(circuit, bounds))
    return Ranges(bounds, tuple(rows), tuple(unbounded))


def _upwards(circuit: Circuit, bounds: Bounds) -> tuple[Bounds, bool]:
    for _ in range(PASSES_UPWARDS):
        after = _iterate(circuit, bounds)
        if all(bounds[name].contains(interval) for name, interval in after.items()):
            return bounds, True
        bounds = {name: hull(bounds[name], after[name]) for name in bounds}
    return bounds, False


def _downwards(circuit: Circuit, initial: Bounds) -> Bounds:
    bounds = dict(initial)
    for population in circuit.populations:
        for variable in population.variables:
            if not population.is_input:
                half = np.array([1 << (variable.bits - 1)], np.int64)
                bounds[f"{population.name}.{variable.name}"] = Interval(-half, half - 1)
    for _ in range(PASSES_DOWNWARDS):
        after = _iterate(circuit, bounds)
        smaller = {name: hull(initial[name], after[name]) for name in bounds}
        if not all(bounds[name].contains(smaller[name]) for name in bounds):
            return bounds
        bounds = smaller
    return bounds


def _iterate(circuit: Circuit, bounds: Bounds, report: Report | None = None) -> Bounds:
    """Bounds that hold at any time during and after an iteration from these.

    A variable may be set more than once in an iteration, and ``final`` follows the last one; what
    comes back holds at the end of either.
    """
    now = dict(bounds)
    for activation in circuit.iteration:
        now.update(_activate(circuit, activation, now, report))
    end = dict(now)
    for activation in circuit.final:
        end.update(_activate(circuit, activation, end, report))
    # Nothing runs after `final`: its values are recorded, not iterated from.
    return {name: hull(now[name], end[name]) for name in bounds}


def _activate(
    circuit: Circuit, activation: Activation, bounds: Bounds, report: Report | None
) -> Bounds:
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
                report(where, f"{i.result} = {text}, product", product, PRODUCT_WIDTH)
            for amount in _amounts(i.operation, arguments):
                report(where, f"{i.result} = {text}, amount of the shift", amount, 6)
            report(where, f"{i.result} = {text}", result, WORD_WIDTH)
        values[i.result] = result
    if report is not None:
        for output in program.outputs:
            bits = population.variable(output.variable).bits
            report(where, f"{output.variable} <- {output.value}", values[output.value], bits)
    return {f"{population.name}.{o.variable}": values[o.value] for o in program.outputs}


def _amounts(operation: str, arguments: list[Interval]) -> list[Interval]:
    """Amounts of a shift: within -31 .. 31, which six bits hold, and -32 is refused."""
    if operation not in ("shl", "shr", "mul"):
        return []
    low, high = arguments[-1]
    return [Interval(np.where(low == -32, -33, low), high)]


def _draw(
    population: Population, where: str, potential: Interval, report: Report | None
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
            report(where, f"log-rate beyond [{floor}, {limit}] of its sampler", wide, 0)
    return OPERATIONS["draw"].interval(sampler.max_count)


def _receive(
    circuit: Circuit, activation: Activation, bounds: Bounds, report: Report | None
) -> Bounds:
    received: Bounds = {}
    for name, connections in circuit.groups(activation).items():
        reaches = [c.reach(bounds[f"{c.source}.{c.variable}"]) for c in connections]
        while_adding, total = reaches[0]
        for more_adding, more in reaches[1:]:
            add = OPERATIONS["add"].interval
            while_adding, total = add(while_adding, more_adding), add(total, more)
        exponent = connections[0].exponent
        after = shift_bounds(total, point(-exponent))
        if report is not None:
            where = " + ".join(c.name for c in connections)
            report(where, "accumulator", while_adding, WORD_WIDTH)
            if exponent < 0:
                # A rounded shift adds half of its unit first.
                half = Interval(total.low, total.high + (1 << (-exponent - 1)))
                report(where, "accumulator with half a unit", half, WORD_WIDTH + 8)
            report(where, "after its exponent", after, WORD_WIDTH)
        received[name] = after
    return received


def _host_rows(circuit: Circuit, bounds: Bounds) -> Iterator[Range]:
    pixel = circuit.input.interval
    yield _row("input", "pixel", pixel, 32)
    for encoding in circuit.encodings:
        where = f"{encoding.population}.{encoding.variable}"
        yield _row(where, "sum of the encoding", encoding.reach(pixel), HOST_WIDTH - 2)
    readout = circuit.readout
    if readout is None:
        return
    value = bounds[f"{readout.population}.{readout.variable}"]
    image = _readout_interval(circuit, value)
    # Readouts are computed in floats too, which hold 53 bits and a sign exactly.
    yield _row("readout", "reconstruction", image, FLOAT_WIDTH)
    unit = max(circuit.input.frac_bits, readout.frac_bits)
    pixel_shift, image_shift = unit - circuit.input.frac_bits, unit - readout.frac_bits
    largest = max(abs(pixel.smallest), abs(pixel.largest)) << pixel_shift
    largest += max(abs(image.smallest), abs(image.largest)) << image_shift
    total = largest * largest * circuit.input.size
    yield Range("readout", "squared error", 0, total, signed_bits(0, total), HOST_WIDTH)


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


def _row(where: str, quantity: str, interval: Interval, limit_bits: int) -> Range:
    low, high = interval
    widest = int(np.argmax(np.maximum(high, -low - 1)))
    label = f"{where}[{widest}]" if len(low) > 1 else where
    return Range(label, quantity, interval.smallest, interval.largest, interval.bits, limit_bits)
