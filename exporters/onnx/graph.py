"""IntegerNetwork → ONNX graph: a Scan over iterations whose body is one pass of the schedule.

Standard integer operators only. ``sim/reference.py`` is the definition that this graph equals; the
functions here follow it one by one. Names of populations and connections are names of nodes, so
that the file can be read in a graph viewer.
"""

from __future__ import annotations

from importlib.metadata import version

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from pvae_neuro.count_table import WORDS, CountTable
from pvae_neuro.errors import NetworkError
from pvae_neuro.exporters.onnx_integers import TYPES, IntegerGraph
from pvae_neuro.exporters.onnx_signal import Signal
from pvae_neuro.exporters.program import tensor_name
from pvae_neuro.network import (
    Connection,
    Drive,
    ErrorPopulation,
    IntegerNetwork,
    PoissonPopulation,
    Readout,
)

# Oldest that have every operator used here (BitwiseAnd is the youngest).
OPSET = 18
IR_VERSION = 8
PRODUCER = "pvae-neuro"
GRAPH_DOC = (
    "Integer spiking network. input: encoded pixels, rint(x * 2**frac_bits). noise: uniform "
    "16-bit words. counts: spikes per step. potentials: log-rates after each step."
)


def build_graph(network: IntegerNetwork) -> GraphProto:
    """Lower a network to a graph of standard ONNX integer operators.

    Inputs: ``input`` int32 [batch, M], encoded pixels within the declared range; ``noise`` uint16
    [steps, batch, K]. Outputs: ``counts`` uint8 [steps, batch, K]; ``potentials`` int32
    [steps, batch, K], after each update; ``reconstruction`` int32 [batch, M], of the last counts,
    unit 2**-readout.frac_bits.

    Parameters
    ----------
    network : IntegerNetwork

    Returns
    -------
    GraphProto

    Raises
    ------
    NetworkError
        If a value needs more than 64 bits, a name is taken twice, or the schedule does not update
        every population once, each after its sources have emitted.
    """
    _check_populations(network)
    graph = IntegerGraph()
    pixels = Signal("input", *network.input.integer_range())
    driven = _drive(graph, network.drive, pixels) if network.drive else None
    thresholds = _flat_thresholds(graph, network.latents)
    initial = _initial_potential(graph, network.latents)
    body = _body(graph, network, pixels, driven, thresholds)
    graph.scan([initial, "noise"], ["final_potential", "counts", "potentials"], body)
    _readout(graph, network)
    size, latents = network.input.pixels, network.latents.size
    return graph.graph(
        network.topology,
        [
            _value("input", "int32", "batch", size),
            _value("noise", "uint16", "steps", "batch", latents),
        ],
        [
            _value("counts", "uint8", "steps", "batch", latents),
            _value("potentials", "int32", "steps", "batch", latents),
            _value("reconstruction", "int32", "batch", size),
        ],
        GRAPH_DOC,
    )


def build_model(network: IntegerNetwork) -> ModelProto:
    """Wrap the graph of a network as a model, without metadata.

    Raises
    ------
    NetworkError
        See :func:`build_graph`.
    """
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(
        build_graph(network),
        opset_imports=[opset],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
        producer_version=version(PRODUCER),
    )


def stored_arrays(graph: GraphProto) -> dict[str, TensorProto]:
    """Every initializer of a graph and of the bodies inside it, by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                found.update(stored_arrays(attribute.g))
    return found


def _check_populations(network: IntegerNetwork) -> None:
    poisson = [p.name for p in network.populations if isinstance(p, PoissonPopulation)]
    if len(poisson) != 1:
        raise NetworkError(f"the graph carries one Poisson population, this network has {poisson}")
    targets = [hop.target for hop in network.schedule]
    if sorted(targets) != sorted(p.name for p in network.populations):
        raise NetworkError(
            f"schedule: the graph updates every population once per iteration, "
            f"got hops to {targets}"
        )


def _value(name: str, dtype: str, *shape: int | str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TYPES[dtype], shape)


def _drive(graph: IntegerGraph, drive: Drive, pixels: Signal) -> Signal:
    weight = graph.initializer(tensor_name(drive, "weight"), drive.weight.T)
    product = graph.matrix_product("drive.product", pixels, weight, drive.weight)
    shifted = graph.shift("drive.shift", product, -drive.shift)
    return graph.clip("drive", shifted, -drive.limit, drive.limit)


def _initial_potential(graph: IntegerGraph, latents: PoissonPopulation) -> str:
    """The same initial potential for every sample: [batch, K]."""
    graph.node("Shape", ["input"], "batch", start=0, end=1)
    graph.node("Concat", ["batch", graph.shape(latents.size)], "batch_by_latents", axis=0)
    initial = graph.initializer(tensor_name(latents, "initial"), latents.initial)
    return graph.node("Expand", [initial, "batch_by_latents"], "initial_potential")


def _flat_thresholds(graph: IntegerGraph, latents: PoissonPopulation) -> str:
    """Rows padded to a power of two, for the binary search, then laid end to end: int32."""
    table = latents.table
    name = tensor_name(latents, "threshold")
    graph.initializer(name, table.threshold)
    padding = (1 << _levels(table)) - table.max_count
    # No word exceeds the largest word, so the padding never counts.
    largest = graph.constant(WORDS - 1, "int32")
    pads = graph.shape(0, 0, 0, padding)
    graph.node("Pad", [graph.cast(name, "int32"), pads, largest], f"{name}.padded")
    return graph.node("Reshape", [f"{name}.padded", graph.shape(-1)], f"{name}.flat")


def _levels(table: CountTable) -> int:
    """Number of compares of the binary search: enough to tell max_count + 1 counts apart."""
    return table.max_count.bit_length()


def _body(
    graph: IntegerGraph,
    network: IntegerNetwork,
    pixels: Signal,
    driven: Signal | None,
    thresholds: str,
) -> GraphProto:
    """One iteration: counts, then each hop; the state is the potential."""
    step = IntegerGraph("step.", outer=graph)
    latents = network.latents
    u = Signal("potential", latents.u_min, latents.u_max)
    z = _sample(step, latents, u, thresholds)
    emitted = {latents.name: z}
    for hop in network.schedule:
        connections = [network.connection(name) for name in hop.connections]
        received = _receive(step, hop.target, connections, emitted)
        target = network.population(hop.target)
        if isinstance(target, ErrorPopulation):
            emitted[hop.target] = _error_message(step, target, pixels, received)
        else:
            u = _update(step, latents, u, z, driven, received)
    step.cast(z.name, "uint8", "counts_of_step")
    step.node("Identity", [u.name], "potential_of_step")
    state = step.node("Identity", [u.name], "next_potential")
    row = ("batch", latents.size)
    return step.graph(
        "iteration",
        [_value("potential", "int32", *row), _value("noise_of_step", "uint16", *row)],
        [
            _value(state, "int32", *row),
            _value("counts_of_step", "uint8", *row),
            _value("potential_of_step", "int32", *row),
        ],
        "One iteration of the schedule.",
    )


def _sample(step: IntegerGraph, latents: PoissonPopulation, u: Signal, thresholds: str) -> Signal:
    """Counts: the number of thresholds of the potential's row that the word exceeds.

    Found by binary search: GatherElements of single values is far cheaper in ONNX Runtime than
    Gather of whole rows with a compare and a sum over them.
    """
    table = latents.table
    name = f"{latents.name}.sample"
    word = Signal(step.cast("noise_of_step", "int32", f"{name}.word"), 0, WORDS - 1)
    low_bits = step.bitwise_and(f"{name}.low_bits", word, (1 << table.dither_bits) - 1)
    dither = step.shift(f"{name}.dither", low_bits, table.row_bits - table.dither_bits)
    height = step.subtract(f"{name}.height", u, table.u_min)
    dithered = step.add(f"{name}.dithered", height, dither)
    row = step.shift_right(f"{name}.row", dithered, table.row_bits)
    start = step.multiply(f"{name}.start", row, 1 << _levels(table))
    position = _flatten(step, start)
    first = position
    flat_word = _flatten(step, word)
    for level in reversed(range(_levels(table))):
        position = _search(step, name, thresholds, position, flat_word, 1 << level)
    count = step.subtract(f"{name}.flat_count", position, first)
    shape = step.node("Shape", ["potential"], f"{name}.shape")
    step.node("Reshape", [count.name, shape], f"{latents.name}.counts")
    return Signal(f"{latents.name}.counts", 0, table.max_count)


def _flatten(step: IntegerGraph, a: Signal) -> Signal:
    name = step.node("Reshape", [a.name, step.shape(-1)], f"{a.name}.flat")
    return Signal(name, a.low, a.high)


def _search(
    step: IntegerGraph, name: str, thresholds: str, position: Signal, word: Signal, stride: int
) -> Signal:
    """Move on by ``stride`` where the word exceeds the last threshold of that stride."""
    level = f"{name}.stride_{stride}"
    probe = step.add(f"{level}.probe", position, stride - 1)
    step.node("GatherElements", [thresholds, probe.name], f"{level}.threshold", axis=0)
    step.node("Greater", [word.name, f"{level}.threshold"], f"{level}.exceeds")
    jumps = [step.constant(stride, "int32"), step.constant(0, "int32")]
    step.node("Where", [f"{level}.exceeds", *jumps], f"{level}.jump")
    return step.add(f"{level}.position", position, Signal(f"{level}.jump", 0, stride))


def _receive(
    step: IntegerGraph, target: str, connections: list[Connection], emitted: dict[str, Signal]
) -> Signal:
    """Sum of what the connections deliver, each shifted to the target's unit."""
    total: Signal | None = None
    for c in connections:
        if c.source not in emitted:
            raise NetworkError(
                f"schedule: {c.name!r} delivers before {c.source!r} has emitted; reorder the hops"
            )
        weight = step.initializer(tensor_name(c, "weight"), c.weight.T)
        product = step.synapses(f"{c.name}.product", emitted[c.source], weight, c.weight)
        part = step.shift(f"{c.name}.received", product, c.exponent)
        total = part if total is None else step.add(f"{c.name}.sum", total, part)
    if total is None:
        raise NetworkError(f"schedule: the hop to {target!r} has no connection")
    return total


def _error_message(
    step: IntegerGraph, population: ErrorPopulation, pixels: Signal, received: Signal
) -> Signal:
    """Graded spike ``clamp(((x + received) * gain) >> gain_shift, +-message_limit)``."""
    name = population.name
    gain = step.array(tensor_name(population, "gain"), population.gain)
    error = step.add(f"{name}.error", pixels, received)
    weighted = step.multiply(f"{name}.weighted", error, gain)
    rounded = step.shift(f"{name}.rounded", weighted, -population.gain_shift)
    limit = population.message_limit
    return step.clip(f"{name}.message", rounded, -limit, limit)


def _update(
    step: IntegerGraph,
    latents: PoissonPopulation,
    u: Signal,
    z: Signal,
    driven: Signal | None,
    received: Signal,
) -> Signal:
    """``clamp(u + clamp(drive - leak - diagonal z + received, du_min, du_max), u_min, u_max)``."""
    name = latents.name
    leak = step.array(tensor_name(latents, "leak"), latents.leak)
    diagonal = step.array(tensor_name(latents, "diagonal"), latents.diagonal)
    current = step.add(f"{name}.driven", received, driven) if driven else received
    leaking = step.subtract(f"{name}.leaking", current, leak)
    inhibition = step.multiply(f"{name}.self_inhibition", z, diagonal)
    change = step.subtract(f"{name}.change", leaking, inhibition)
    du = step.clip(f"{name}.du", change, latents.du_min, latents.du_max)
    moved = step.add(f"{name}.moved", u, du)
    return step.clip(f"{name}.potential", moved, latents.u_min, latents.u_max)


def _readout(graph: IntegerGraph, network: IntegerNetwork) -> None:
    """Reconstruction of the last counts."""
    readout: Readout = network.readout
    weight = graph.initializer(tensor_name(readout, "weight"), readout.weight.T)
    graph.node("Gather", ["counts", graph.constant(-1, "int32")], "last_counts", axis=0)
    counts = Signal(graph.cast("last_counts", "int32"), 0, network.latents.table.max_count)
    result = graph.matrix_product("reconstruction", counts, weight, readout.weight)
    if result.dtype != "int32":
        raise NetworkError(
            f"readout.weight: a reconstruction between {result.low} and {result.high} does not "
            f"fit 32 bits; lower readout.frac_bits"
        )
