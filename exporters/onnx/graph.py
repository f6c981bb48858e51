"""IntegerNetwork to ONNX graph: a Scan over iterations, then ``final``.

The body of the Scan is one pass of ``network.iteration``; every variable is a state of the Scan.
``sim/reference.py`` is the definition that this graph equals. There is one function for each word
operation (``operations.py``, ``sampler.py``) and each kind of connection (``connections.py``), and
none for a model. ``docs/artifact.md`` names the inputs and outputs.

Weights, constants, inputs and the expanded samplers lie in the graph around the body, which reads
them from there: they are stored once, and nothing is copied in an iteration.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, ValueInfoProto, helper

from pvae_neuro.exporters.onnx.connections import check_connection, matrix, operand, product
from pvae_neuro.exporters.onnx.integers import (
    TYPES,
    IntegerGraph,
    Signal,
    fits,
    narrowest,
    value_info,
    word_range,
)
from pvae_neuro.exporters.onnx.operations import apply
from pvae_neuro.exporters.onnx.program import stored_arrays
from pvae_neuro.exporters.onnx.sampler import RANDOM, Table, expand, is_expanded
from pvae_neuro.network import Activation, Connection, Encoding, IntegerNetwork, Population
from pvae_neuro.network.interval import point, shift_bounds
from pvae_neuro.network.operations import OPERATIONS

# Oldest that have every operator used here (BitwiseAnd is the youngest).
OPSET = 18
IR_VERSION = 8
PRODUCER = "pvae-neuro"
GRAPH_DOC = "Network of integer neurons. Inputs and outputs: docs/artifact.md of pvae-neuro."
FLOAT64_EXACT = 1 << 53


def build_model(network: IntegerNetwork) -> ModelProto:
    """Graph of a network as a model without metadata, on which every variable is recorded.

    Raises
    ------
    NetworkError
        If a word could leave its width, or the graph cannot add up a connection's products.
    """
    network.require_proof()
    for connection in network.connections:
        check_connection(connection)
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(
        _Writer(network).graph(),
        opset_imports=[opset],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
        producer_version=version(PRODUCER),
    )


# The graph input of encoded pixels, and the one that says the number of steps where none draws.
INPUT = "input"
STEPS = "steps"
RECONSTRUCTION = "reconstruction"


def noise_name(population: str) -> str:
    """Graph input that holds the random words of a population."""
    return f"noise.{population}"


def initial_name(variable: str) -> str:
    """Graph input that holds a variable's value at the start; it has a default."""
    population, name = variable.split(".")
    return f"populations.{population}.variables.{name}.initial"


def state_name(variable: str) -> str:
    """Graph output that holds a variable's value after the last iteration, before ``final``."""
    return f"state.{variable}"


def last_name(variable: str) -> str:
    """Graph output that holds a variable's value after ``final``."""
    return f"last.{variable}"


def _constant_name(population: str, constant: str) -> str:
    return f"populations.{population}.constants.{constant}.values"


def _weight_name(connection: Connection) -> str:
    holder = connection.name if connection.shared is None else connection.shared.connection
    return f"connections.{holder}.weight"


class _Store:
    """Arrays of the network in the outer graph, each placed at its first use."""

    def __init__(self, graph: IntegerGraph, arrays: dict[str, NDArray[Any]]) -> None:
        self.graph, self.arrays = graph, arrays
        self.placed: dict[str, str] = {}
        self.tables: dict[tuple[str, int, int], Table] = {}

    def tensor(self, name: str) -> str:
        """Tensor of a stored array."""
        if name not in self.placed:
            self.placed[name] = self.graph.initializer(name, self.arrays[name])
        return self.placed[name]

    def operand(self, connection: Connection) -> str:
        """Weights of a connection, in the form that its product takes."""
        key = f"operand {connection.name}"
        if key not in self.placed:
            stored = self.tensor(_weight_name(connection))
            self.placed[key] = operand(self.graph, connection, stored)
        return self.placed[key]

    def matrix(self, connection: Connection) -> str:
        """Weights of a dense connection, [source, target]."""
        return matrix(self.graph, connection, self.tensor(_weight_name(connection)))

    def constant(self, population: Population, name: str) -> Signal:
        """Constant of a population."""
        values = population.constant(name)
        low, high = int(values.min()), int(values.max())
        stored = _constant_name(population.name, name)
        if stored in self.arrays:
            return Signal(self.tensor(stored), low, high, wide=False)
        return Signal(self.graph.constant(low, "int32"), low, high, wide=False)

    def table(self, population: Population, potential: Signal) -> Table | None:
        """The expanded sampler for log-rates of a range; None where it is too large."""
        sampler, low, high = population.sampler, potential.low, potential.high
        if sampler is None or not is_expanded(sampler, low, high):
            return None
        key = population.name, low, high
        if key not in self.tables:
            self.tables[key] = expand(self.graph, population.name, sampler, low, high)
        return self.tables[key]


class _Pass:
    """Appends activations to a graph; ``values`` holds the present tensor of every variable."""

    def __init__(
        self,
        network: IntegerNetwork,
        graph: IntegerGraph,
        store: _Store,
        values: dict[str, Signal],
        words: dict[str, str],
    ) -> None:
        self.network, self.graph, self.store = network, graph, store
        self.values, self.words = dict(values), words

    def activate(self, activation: Activation) -> None:
        """Receive, run the program, store its outputs."""
        network = self.network
        population = network.population_of[activation.population]
        program = population.program(activation.program)
        known = {v.name: self.values[f"{population.name}.{v.name}"] for v in population.variables}
        known.update(self._receive(activation))
        known.update({str(n): self._literal(n) for n in (0, 1)})
        constants = {c.name for c in population.constants}
        prefix = f"{population.name}.{program.name}"
        for i in program.instructions:
            for name in i.arguments:
                if name in constants and name not in known:
                    known[name] = self.store.constant(population, name)
            arguments = [known[name] for name in i.arguments]
            known[i.result] = self._apply(
                population, i.operation, f"{prefix}.{i.result}", arguments
            )
        for output in program.outputs:
            if output.value in constants:
                known[output.value] = self.store.constant(population, output.value)
        stored = {o.variable: self._widened(population, known[o.value]) for o in program.outputs}
        self.values.update({f"{population.name}.{name}": s for name, s in stored.items()})

    def _literal(self, number: int) -> Signal:
        return Signal(self.graph.constant(number, "int32"), number, number, wide=False)

    def _apply(
        self, population: Population, operation: str, name: str, arguments: list[Signal]
    ) -> Signal:
        if operation in RANDOM and population.sampler is not None:
            words = self.words[population.name]
            # Only a draw has an argument: its log-rate.
            table = self.store.table(population, arguments[0]) if arguments else None
            return RANDOM[operation](self.graph, name, words, population.sampler, table, *arguments)
        return apply(self.graph, operation, name, *arguments)

    def _receive(self, activation: Activation) -> dict[str, Signal]:
        """Sums of what the connections deliver, by the name under which they are received."""
        received: dict[str, Signal] = {}
        for name, connections in self.network.groups(activation).items():
            parts, interval = [], point(0)
            for c in connections:
                message = self.values[f"{c.source}.{c.variable}"]
                parts.append(product(self.graph, c, self.store.operand(c), message))
                interval = OPERATIONS["add"].interval(interval, c.reach(message.interval)[1])
            total = parts[0]
            label = f"{activation.population}.{activation.program}.{name}"
            for part in parts[1:]:
                total = self.graph.node("Add", [total, part], f"{label}.sum")
            exponent = connections[0].exponent
            total, dtype = self.graph.round_shift(
                label, total, "int32", word_range(interval), -exponent
            )
            total = total if dtype == "int32" else self.graph.cast(total, "int32")
            received[name] = Signal(total, *word_range(shift_bounds(interval, point(-exponent))))
        return received

    def _widened(self, population: Population, signal: Signal) -> Signal:
        """A row for each sample and a value for each neuron."""
        if signal.wide:
            return signal
        like = self.values[f"{population.name}.{population.variables[0].name}"]
        shape = self.graph.once("Shape", [like.name], f"{like.name}.shape")
        name = self.graph.once("Expand", [signal.name, shape], f"{signal.name}.wide")
        return Signal(name, signal.low, signal.high)


class _Writer:
    """Writes one network."""

    def __init__(self, network: IntegerNetwork) -> None:
        self.network = network
        self.arrays = stored_arrays(network)
        self.outer = IntegerGraph()
        self.store = _Store(self.outer, self.arrays)
        self.inputs: list[ValueInfoProto] = []
        self.outputs: list[ValueInfoProto] = []
        # The inputs' and outputs' own names; nothing else may take them.
        ends = [name(v) for v in network.variables for name in (state_name, last_name)]
        for name in (INPUT, STEPS, RECONSTRUCTION, *network.variables, *ends):
            self.outer.fresh(name)

    def graph(self) -> GraphProto:
        """Encodings, the Scan, ``final``, and the readout."""
        graph, network = self.outer, self.network
        self.inputs.append(value_info(INPUT, "int32", "batch", network.input.size))
        noise = self._noise()
        start = self._start()
        stacks, after = self._scan(start, noise)
        last_row = graph.constant(-1, "int64")
        words = {
            p.name: graph.once("Gather", [noise[p.name], last_row], f"{p.name}.last_words", axis=0)
            for p in network.drawing
            if p.name in {a.population for a in network.final}
        }
        last = _Pass(network, graph, self.store, after, words)
        for activation in network.final:
            last.activate(activation)
        for name in network.variables:
            self._record(name, stacks[name], last.values[name].name)
        self._reconstruct(last.values)
        for name in self.arrays:
            # Whatever no node uses belongs to the network all the same.
            self.store.tensor(name)
        return graph.graph(network.name, self.inputs, self.outputs, GRAPH_DOC)

    def _noise(self) -> dict[str, str]:
        """Random words of each population that draws; their number is that of the steps."""
        noise: dict[str, str] = {}
        for population in self.network.drawing:
            noise[population.name] = self.outer.fresh(noise_name(population.name))
            shape = ("steps", "batch", population.size)
            self.inputs.append(value_info(noise[population.name], "uint16", *shape))
        if not noise:
            self.inputs.append(value_info(STEPS, "uint8", "steps"))
        return noise

    def _start(self) -> dict[str, Signal]:
        """Every variable before the first iteration."""
        graph, network = self.outer, self.network
        values = {f"{e.population}.{e.variable}": self._encoded(e) for e in network.encodings}
        batch = graph.node("Shape", [INPUT], "batch", start=0, end=1)
        for population in network.populations:
            size = graph.constant([population.size], "int64")
            for variable in population.variables:
                name = f"{population.name}.{variable.name}"
                if name in values:
                    continue
                default = initial_name(name)
                rows = self.arrays.get(default, variable.initial.reshape(1, -1))
                self.store.placed[default] = graph.initializer(default, rows)
                columns: int | str = population.size if rows.shape[1] > 1 else f"columns {name}"
                self.inputs.append(value_info(default, "int32", f"rows {name}", columns))
                shape = graph.once("Concat", [batch, size], f"{population.name}.shape", axis=0)
                start = graph.node("Expand", [default, shape], f"{name}.start")
                values[name] = self._signal(name, start)
        return values

    def _signal(self, variable: str, tensor: str) -> Signal:
        return Signal(tensor, *word_range(self.network.ranges.variables[variable]))

    def _encoded(self, encoding: Encoding) -> Signal:
        """Value of an input's variable: ``clamp((weight @ x) >> shift)``, or the pixel itself."""
        graph, name = self.outer, f"{encoding.population}.{encoding.variable}"
        if encoding.weight is None:
            return self._signal(name, INPUT)
        place = self.network.encodings.index(encoding)
        reach = encoding.reach(self.network.input.interval)
        bounds = reach.smallest, reach.largest
        weight = self.store.tensor(f"encodings.{place}.weight")
        product = self._wide_product(INPUT, weight, bounds, f"{name}.product")
        shifted, _ = graph.round_shift(f"{name}.shifted", product, "int64", bounds, encoding.shift)
        clipped = graph.clip64(name, shifted, -encoding.limit, encoding.limit)
        return self._signal(name, graph.cast(clipped, "int32"))

    def _wide_product(self, rows: str, weight: str, bounds: tuple[int, int], name: str) -> str:
        """``rows @ weight.T``, int64, of weights [target, source]; ``bounds`` hold for all parts.

        Sums below 2**53 are exact in float64, in any order, and a float product is faster.
        """
        graph = self.outer
        exact = max(-bounds[0], bounds[1]) < FLOAT64_EXACT
        dtype = "float64" if exact else "int64"
        transposed = graph.once("Transpose", [weight], f"{weight}.transposed", perm=[1, 0])
        operands = [graph.cast(rows, dtype), graph.cast(transposed, dtype)]
        return graph.cast(graph.node("MatMul", operands, name), "int64")

    def _scan(
        self, start: dict[str, Signal], noise: dict[str, str]
    ) -> tuple[dict[str, str], dict[str, Signal]]:
        """Every variable of all iterations, and every variable after the last one."""
        network, graph = self.network, self.outer
        body = IntegerGraph("body.", outer=graph)
        states = network.variables
        before = {n: self._signal(n, body.fresh(f"{n}.in")) for n in states}
        scanned = {name: body.fresh(f"{name}.words") for name in noise}
        iteration = _Pass(network, body, self.store, {**start, **before}, scanned)
        for activation in network.iteration:
            iteration.activate(activation)
        inputs = [self._info(before[n].name, "int32", n) for n in states]
        outputs = []
        for n in states:
            end = body.node("Identity", [iteration.values[n].name], f"{n}.next")
            outputs.append(self._info(end, "int32", n))
        for n in states:
            record = body.cast(iteration.values[n].name, self._dtype(n))
            record = body.node("Identity", [record], f"{n}.recorded")
            outputs.append(self._info(record, self._dtype(n), n))
        for name, words in scanned.items():
            size = network.population_of[name].size
            inputs.append(value_info(words, "uint16", "batch", size))
        if not scanned:
            inputs.append(value_info(body.fresh("step"), "uint8"))
        ends = [graph.constant([n], "int64") for n in (0, -1, 0)]
        steps = list(noise.values()) or [STEPS]
        sliced = [graph.node("Slice", [s, *ends], f"{s}.iterations") for s in steps]
        stacks = {n: graph.fresh(f"{n}.iterations") for n in states}
        graph.block(
            "Scan",
            [*(start[n].name for n in states), *sliced],
            [*(state_name(n) for n in states), *stacks.values()],
            "iterations",
            body=body.graph("iteration", inputs, outputs, "One iteration of the schedule."),
            num_scan_inputs=len(sliced),
        )
        self.outputs += [self._info(state_name(n), "int32", n) for n in states]
        return stacks, {**start, **{n: self._signal(n, state_name(n)) for n in states}}

    def _info(self, name: str, dtype: str, variable: str, *outside: str) -> ValueInfoProto:
        """Type and shape of a tensor that holds a variable."""
        size = self.network.population_of[variable.partition(".")[0]].size
        return value_info(name, dtype, *outside, "batch", size)

    def _dtype(self, variable: str) -> str:
        bounds = self.network.ranges.variables[variable]
        return narrowest(bounds.smallest, bounds.largest)

    def _record(self, variable: str, stack: str, last: str) -> None:
        """The graph output of a variable: all iterations, then after ``final``."""
        graph, dtype = self.outer, self._dtype(variable)
        first = graph.constant([0], "int64")
        row = graph.node("Unsqueeze", [graph.cast(last, dtype), first], f"{variable}.last")
        graph.output("Concat", [stack, row], variable, axis=0)
        graph.output("Identity", [last], last_name(variable))
        self.outputs.append(self._info(variable, dtype, variable, "steps"))
        self.outputs.append(self._info(last_name(variable), "int32", variable))

    def _reconstruct(self, values: dict[str, Signal]) -> None:
        """The readout's variable, after ``final``, through its weights."""
        network, graph = self.network, self.outer
        readout = network.readout
        if readout is None:
            return
        value = values[f"{readout.population}.{readout.variable}"]
        largest = max(-value.low, value.high)
        if readout.connection is not None:
            connection = network.connection_of[readout.connection]
            weights = connection.weight
            weight = graph.once(
                "Transpose",
                [self.store.matrix(connection)],
                f"{readout.connection}.readout",
                perm=[1, 0],
            )
        elif readout.weight is not None:
            weights, weight = readout.weight, self.store.tensor("readout.weight")
        else:
            graph.output("Identity", [value.name], RECONSTRUCTION)
            self.outputs.append(value_info(RECONSTRUCTION, "int32", "batch", network.input.size))
            return
        reach = largest * int(np.abs(weights.astype(np.int64)).sum(axis=1).max())
        image = self._wide_product(value.name, weight, (-reach, reach), "reconstruction.wide")
        dtype = "int32" if fits("int32", -reach, reach) else "int64"
        graph.output("Cast", [image], RECONSTRUCTION, to=TYPES[dtype])
        self.outputs.append(value_info(RECONSTRUCTION, dtype, "batch", network.input.size))
