"""A network as a text of word operations, with the width of every register and product.

For owners of stacks that this package does not run: the text is complete together with its arrays,
and is read back by :mod:`pvae_neuro.verification.words`, which shares no code with what wrote it.
Widths are those of the proof (:attr:`IntegerNetwork.ranges`); the sampler's are found by running
every log-rate that the proof allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.exporters.listing.sampler import ADVANCE, BEGIN, STATE, Passes, rounding
from pvae_neuro.network.connection import Connection, Convolution
from pvae_neuro.network.host import Encoding
from pvae_neuro.network.interval import Interval, hull, point
from pvae_neuro.network.network import IntegerNetwork
from pvae_neuro.network.operations import PRODUCT_WIDTH, WORD_WIDTH, product_interval
from pvae_neuro.network.population import Population
from pvae_neuro.network.program import Program
from pvae_neuro.network.ranges import ProvedActivation, proved_activations
from pvae_neuro.utils.arguments import checked

VERSION = 1
LISTING, ARRAYS = "listing.txt", "arrays.txt"
Arrays = dict[str, NDArray[Any]]
Bounds = Mapping[str, Interval]
"""Intervals of a program's words by name; of a product before its shift, with a star."""

_HEAD = f"""\
listing {VERSION}
# A network of integer neurons. What follows a # is a comment; @name is an array of arrays.txt.
# Words are signed integers; "n bits" is the width, sign included, that holds a word over all inputs
# and all random words, and "product" that of a product and its rounding before the shift.
# A variable is one word per neuron; a constant is one number, or one per neuron. A program is a
# straight line of operations on them. Names of variables mean their value at its start; "x <- t3"
# stores, when all operations are done.
#   mul(a, b, s) = (a * b) >> s     shr(a, s) = a >> s     shl(a, s) = a << s
#   ge(a, b) = 1 if a >= b else 0   select(c, a, b) = a if c is not 0 else b
#   clz(a): zeros before the first one of {WORD_WIDTH} bits; none of a negative number
#   word(): the neuron's random word of this step, 0 .. 65535
#   draw(u): a count by the sampler that the population names: program begin with u and w = word(),
#   then in pass 1, 2, ... program advance with inverse = the entry of that pass, until done is not
#   0; z is the count. One pass per time step is enough: the state stays in the sampler's variables.
# Every >> rounds half up: (a + 2^(s-1)) >> s; at s = 0 it is a, and a negative s shifts to the
# left. The same for "receive", which adds up weight * value over the synapses of its connections
# ("sum": width while they add up, in any order) and shifts the sum to the left by its exponent.
# An iteration runs its lines in order; those of final run once, after the last iteration.
"""


@checked
def word_listing(network: IntegerNetwork) -> dict[str, str]:
    """The text of a network and the arrays that it names: ``listing.txt`` and ``arrays.txt``.

    Raises
    ------
    NetworkError
        If a word of the network is not proved to fit its width.
    """
    network.require_proof()
    writer = _Writer(network)
    text = _HEAD + "\n".join(writer.lines()) + "\n"
    return {LISTING: text, ARRAYS: "".join(_array(*item) for item in writer.arrays.items())}


def _array(name: str, values: NDArray[Any]) -> str:
    """Name and sides in a line, then a line for each row of the last side."""
    rows = values.reshape(-1, values.shape[-1]).tolist()
    lines = (" ".join(map(str, row)) for row in rows)
    return f"array {name} {' '.join(map(str, values.shape))}\n" + "\n".join(lines) + "\n"


class _Writer:
    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self.arrays: Arrays = {}
        self.proved = proved_activations(network, network.ranges.variables)
        # The widths of connections that are received together, by the text of the proof.
        self.sums: dict[str, int] = {}
        for row in network.ranges.rows:
            if row.part == "connection" and row.quantity == "accumulator":
                self.sums[row.where] = max(row.bits, self.sums.get(row.where, 0))

    def lines(self) -> Iterator[str]:
        network = self.network
        yield f"network {network.name}"
        yield f"words {WORD_WIDTH} products {PRODUCT_WIDTH}"
        yield ""
        for choice in network.choices:
            yield f"# {choice.name} = {choice.value:g}: {choice.why}"
        yield ""
        given = network.input
        yield "# The host: a pixel is rint(value * 2^frac_bits), rounded half to even."
        yield (
            f"input pixels {given.size} low {given.low!r} high {given.high!r} "
            f"frac_bits {given.frac_bits}"
        )
        yield from (self._encoding(encoding) for encoding in network.encodings)
        yield ""
        for name, (passes, low, high) in self._samplers().items():
            yield from self._sampler(name, passes, low, high)
            yield ""
        for population in network.populations:
            yield from self._population(population)
            yield ""
        yield from (self._connection(connection) for connection in network.connections)
        for part in ("iteration", "final"):
            yield ""
            yield part
            for activation in self.proved:
                if activation.part == part:
                    yield from self._activation(activation)
        if network.readout is not None:
            yield ""
            yield f"# The host reads {network.readout.population}.{network.readout.variable}."

    def _value(self, name: str, values: NDArray[Any]) -> str:
        if values.size == 1:
            return str(int(values.flat[0]))
        self.arrays[name] = values
        return f"@{name}"

    def _encoding(self, encoding: Encoding) -> str:
        name = f"{encoding.population}.{encoding.variable}"
        if encoding.weight is None:
            return f"encode {name} pixel"
        self.arrays[name] = encoding.weight
        return f"encode {name} weight @{name} shift {encoding.shift} limit {encoding.limit}"

    def _samplers(self) -> dict[str, tuple[Passes, int, int]]:
        found: dict[str, tuple[Passes, int, int]] = {}
        for population in self.network.populations:
            log_rate = self.network.ranges.log_rates.get(population.name)
            if population.sampler is None or log_rate is None:
                continue
            passes = Passes(population.sampler.max_count, population.sampler.frac_bits)
            _, low, high = found.get(passes.name, (passes, 0, 0))
            low, high = min(low, log_rate.smallest), max(high, log_rate.largest)
            found[passes.name] = passes, low, high
        return found

    def _sampler(self, name: str, passes: Passes, low: int, high: int) -> Iterator[str]:
        yield f"# Counts 0 .. {passes.max_count} of log-rates {low} .. {high}, in units of"
        yield f"# 2^-{passes.frac_bits}; at most {passes.max_count + 1} passes."
        yield f"sampler {name}"
        inverses = np.array(passes.inverses, np.int32)
        yield f"  inverse {self._value(f'{name}.inverse', inverses)}"
        widths = passes.widths(low, high)
        ends = [
            {o.variable: point(0) if o.value == "0" else widths[p.name][o.value] for o in p.outputs}
            for p in (BEGIN, ADVANCE)
        ]
        for variable in STATE:
            known = [each[variable] for each in ends if variable in each]
            bits = hull(*known).bits if known else 17
            yield f"  variable {variable} bits {bits} initial 0"
        for constant, value in passes.constants.items():
            yield f"  constant {constant} {value}"
        for program in (BEGIN, ADVANCE):
            yield from _program(program, widths[program.name])

    def _population(self, population: Population) -> Iterator[str]:
        yield f"population {population.name} size {population.size}"
        bounds = self.network.ranges.variables
        for variable in population.variables:
            name = f"{population.name}.{variable.name}"
            yield (
                f"  variable {variable.name} bits {variable.bits} "
                f"initial {self._value(f'{name}.initial', variable.initial)}"
                f"  # {bounds[name].smallest} .. {bounds[name].largest}"
            )
        for constant in population.constants:
            name = f"{population.name}.{constant.name}"
            yield f"  constant {constant.name} {self._value(name, constant.values)}"
        sampler = population.sampler
        if sampler is not None:
            draws = Passes(sampler.max_count, sampler.frac_bits).name
            draws = draws if population.name in self.network.ranges.log_rates else "none"
            yield f"  sampler {draws} stream {sampler.stream} first {sampler.first}"
        for program in population.programs:
            yield from _program(program, self._widths(population, program))

    def _widths(self, population: Population, program: Program) -> Bounds:
        """Over all activations of a program; one that never runs has no widths."""
        found: dict[str, Interval] = {}
        for proved in self.proved:
            activation = proved.activation
            if (activation.population, activation.program) != (population.name, program.name):
                continue
            known = dict(proved.words)
            for i in program.instructions:
                if i.operation == "mul":
                    product = product_interval(*(known[a] for a in i.arguments[:2]))
                    half = rounding(known[i.arguments[2]].high)
                    known[f"{i.result}*"] = Interval(product.low, product.high + half)
            for name, ends in known.items():
                found[name] = _together(found[name], ends) if name in found else ends
        return found

    def _connection(self, connection: Connection) -> str:
        text = (
            f"connection {connection.name} {connection.kind} "
            f"{connection.source}.{connection.variable} -> {connection.target}"
        )
        if isinstance(connection, Convolution):
            shapes = (connection.source_shape, connection.target_shape)
            sides = ("x".join(map(str, shape)) for shape in shapes)
            text += " from {} to {}".format(*sides)
            text += f" stride {connection.stride} padding {connection.padding}"
        shared = connection.shared
        if shared is None:
            self.arrays[connection.name] = connection.weight
            return f"{text} weights @{connection.name}"
        text += f" weights @{shared.connection}"
        if connection.weight.ndim == 2:
            for axis, part in (("rows", shared.rows), ("columns", shared.columns)):
                text += f" {axis} {part[0]}:{part[1]}" if part is not None else ""
            text += " transposed yes" if shared.transposed else ""
        return text

    def _activation(self, proved: ProvedActivation) -> Iterator[str]:
        yield f"  run {proved.activation}".partition(" <- ")[0]
        for name, connections in self.network.groups(proved.activation).items():
            names = [c.name for c in connections]
            yield (
                f"    receive {name} exponent {connections[0].exponent} from {'+'.join(names)} "
                f"sum {self.sums[' + '.join(names)]} bits, then {proved.words[name].bits} bits"
            )


def _program(program: Program, widths: Bounds) -> Iterator[str]:
    yield f"  program {program.name}"
    for i in program.instructions:
        text = f"    {i.result} = {i.operation}({', '.join(i.arguments)})"
        if i.result in widths:
            text = f"{text:<48} {widths[i.result].bits} bits"
        if f"{i.result}*" in widths:
            text += f", product {widths[f'{i.result}*'].bits} bits"
        yield text
    for output in program.outputs:
        yield f"    {output.variable} <- {output.value}"


def _together(a: Interval, b: Interval) -> Interval:
    """Bounds over neurons of two intervals, which may be of different lengths."""
    ends = (min(a.smallest, b.smallest), max(a.largest, b.largest))
    return Interval(*(np.array([end]) for end in ends))
