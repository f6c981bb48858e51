"""Work of one image-iteration, counted for any network from its language alone.

Nothing here knows how an engine goes about it: what is counted is the work that no way of computing
the same integers avoids, in the better of the forms that are known. Products have two forms, of
which the machine's limit takes the lesser: rows of active neurons alone (events), and all of a
matrix for a batch of images at once (dense). One operation is an addition, comparison, shift,
logical operation or multiplication of one lane; a product and the sum that it is added to are one
MAC.

What is done once per call or frame (encoding, what depends on inputs alone, the last readout) is
left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pvae_neuro.network import (
    Activation,
    Connection,
    Dense,
    IntegerNetwork,
    OneToOne,
    Population,
    readout_weight,
)
from pvae_neuro.network.interval import Interval
from pvae_neuro.sim.engine import Engine
from pvae_neuro.sim.noise import WORDS_PER_BLOCK

# One factor below this, and sums of two products of bytes fit 16 bits.
SMALL = 128


@dataclass(frozen=True)
class Form:
    """A way to do a phase.

    Attributes
    ----------
    name : str
    work : dict of str to float
        Units by kind of the machine's rates.
    reads : tuple of (float, int)
        Bytes of weights, and the size of what they are read from again and again.
    """

    name: str
    work: Mapping[str, float]
    reads: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True)
class Phase:
    """A part of an iteration.

    Attributes
    ----------
    name : str
    forms : tuple of Form
        Of which one is enough.
    local : float
        Bytes of the image's own state, which stay in the first-level cache.
    macs : float
        Products of all synapses, whatever sends; 0 where there are none.
    """

    name: str
    forms: tuple[Form, ...]
    local: float = 0.0
    macs: float = 0.0


@dataclass(frozen=True)
class Activity:
    """How many neurons of each variable that is sent are not zero, per image and iteration.

    Attributes
    ----------
    active : dict of str to float
        By ``population.variable``.
    """

    active: Mapping[str, float] = field(default_factory=dict)


def measured(network: IntegerNetwork, images: np.ndarray, steps: int, engine: Engine) -> Activity:
    """Activity of a run, and of the counts that are read out."""
    names = {
        f"{c.source}.{c.variable}"
        for c in network.connections
        if not network.population_of[c.source].is_input
    }
    if network.readout is not None:
        names.add(f"{network.readout.population}.{network.readout.variable}")
    names |= {f"{p.name}.{_drawn(p)}" for p in network.drawing}
    recording = engine.run(network, images, steps, 0, record=sorted(names), progress=False)
    return Activity(
        {name: float((recording[name] != 0).sum(axis=2).mean()) for name in sorted(names)}
    )


def phases(
    network: IntegerNetwork, activity: Activity, batch: int, summary: bool
) -> Iterator[Phase]:
    """Yield the phases of an iteration; with a summary, those of its figures too."""
    for population in network.drawing:
        blocks = -(-population.size // WORDS_PER_BLOCK)
        yield Phase(f"{population.name}: noise", (Form("words", {"philox": blocks}),))
    inputs = {p.name for p in network.populations if p.is_input}
    for activation in network.iteration:
        for name in activation.connections:
            connection = network.connection_of[name]
            # What depends on inputs alone is done once per frame.
            if connection.source not in inputs:
                yield _delivered(network, connection, activity, batch)
        yield from _program(network, activation, activity)
    if summary and network.readout is not None:
        yield from _summary(network, activity, batch)


def _drawn(population: Population) -> str:
    return next(
        output.variable
        for program in population.programs
        if "draw" in program.operations
        for output in program.outputs
    )


def _program(
    network: IntegerNetwork, activation: Activation, activity: Activity
) -> Iterator[Phase]:
    population = network.population_of[activation.population]
    program = population.program(activation.program)
    count, size = len(program.instructions), population.size
    if "draw" in program.operations:
        # Each neuron: its word made wide, where its potential's thresholds stand, the first of
        # them, whether the word reaches it. Each that fires: more of them, and how many it reaches.
        active = activity.active[f"{population.name}.{_drawn(population)}"]
        work = {"ops32": 4 * size + 4 * active, "lookups": size + active}
        yield Phase(f"{population.name}: draw", (Form("thresholds", work),), 10.0 * size)
        count -= 1
    if count > 0:
        words = len(program.reads) + len(program.outputs)
        work = {"ops32": float(count * size)}
        yield Phase(
            f"{population.name}: {program.name}", (Form("lanes", work),), 4.0 * words * size
        )


def _delivered(network: IntegerNetwork, c: Connection, activity: Activity, batch: int) -> Phase:
    targets = c.shape[0]
    name = f"{c.source}.{c.variable}"
    if isinstance(c, OneToOne):
        work = {"ops32": 2.0 * targets}
        return Phase(f"{c.name}: products", (Form("lanes", work),), 9.0 * targets, targets)
    macs = synapses(c)
    sent = network.ranges.variables[name]
    return _product(
        f"{c.name}: products", macs, c.weight.size, c.shape, sent, 1, activity.active[name], batch
    )


def synapses(c: Connection) -> float:
    """Products that a connection stands for."""
    if isinstance(c, Dense):
        return float(c.weight.size)
    # Each value of the narrow side meets one kernel per pair of channels.
    return float(c.weight.size * math.prod(c.narrow[1:]))  # type: ignore[attr-defined]


def _product(
    name: str, macs: float, weights: int, shape: tuple[int, int], sent: Interval, width: int,
    active: float, batch: int,
) -> Phase:  # fmt: skip
    """A product by weights of ``width`` bytes, by events and dense."""
    targets, sources = shape
    values = planes(sent)
    small = sent.smallest >= 0 and sent.largest < SMALL
    stored = width * weights
    # The sum of each target is made wide, shifted and rounded.
    finish = {"ops32": 2.0 * targets}
    forms = []
    for kind, count in (
        ("byte_macs", values * width),
        ("small_byte_macs", width if small else 0),
        ("word_macs", -(-values // 2) * -(-width // 2)),
    ):
        if count:
            work = {kind: count * macs, **finish}
            forms.append(Form(f"dense, {kind}", work, ((stored / batch, stored),)))
    share = active / sources
    rows = "byte_rows" if small and width == 1 else "word_rows"
    work = {rows: share * macs * max(1, -(-values // 2)), "ops32": 2.0 * targets + active}
    # The row of each active neuron is read; a kernel stays where it is.
    read = share * stored if macs == weights else stored / batch
    forms.append(Form(f"events, {rows}", work, ((read, stored),)))
    return Phase(name, tuple(forms), 4.0 * targets + values * sources, macs)


def planes(sent: Interval) -> int:
    """Bytes that hold a value."""
    bits = sent.largest.bit_length() if sent.smallest >= 0 else sent.bits
    return max(1, -(-bits // 8))


def _summary(network: IntegerNetwork, activity: Activity, batch: int) -> Iterator[Phase]:
    pixels, readout = network.input.size, network.readout
    if readout is None:
        return
    latents = network.population_of[readout.population].size
    # A difference, its square, and a sum of 64 bits.
    work = {"ops32": float(pixels), "ops64": 2.0 * pixels}
    yield Phase("squared error", (Form("lanes", work),), 8.0 * pixels)
    # Spikes, active and saturated neurons.
    yield Phase("figures", (Form("lanes", {"ops32": 3.0 * latents}),), 4.0 * latents)
    weight = readout_weight(network)
    # Where a connection is the readout, the circuit has its sums already.
    if weight is None or readout.connection is not None:
        return
    name = f"{readout.population}.{readout.variable}"
    sent = network.ranges.variables[name]
    width = weight.dtype.itemsize
    yield _product(
        "readout", float(weight.size), weight.size, weight.shape, sent, width,
        activity.active[name], batch,
    )  # fmt: skip
