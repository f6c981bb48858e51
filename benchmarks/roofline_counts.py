"""Bytes and operations of one image-iteration of the fast engine, counted for any network.

One function for each kind of command that the engine carries out (``sim/fast``): noise, drawing,
connections, programs, readout. ``reads`` are bytes of weights and readout, which all images share
and which may be larger than a core's own caches; ``local`` bytes are the state of one image, which
stays in the first-level cache. Rows are counted with the zeros that fill up their blocks, since
those are read and multiplied like weights.

An operation is one addition, comparison, shift, logical operation or multiplication of one lane; a
product and the sum that it is added to are two. Operations on rows stand by themselves, since their
rates are those of the instructions that carry them out. On x86 with AVX2, these are, for two rows
and 32 bytes of each: two loads, two interleaves, two multiply-adds and two additions, 128
operations in all (16-bit rows: the same instructions for 32 bytes and 64 operations). Of products
by digits, 16 bytes are a load that extends the sign, a multiply-add and an addition, 32 operations.
Elsewhere the instructions differ, the operations do not.

What is done once per call or frame (encoding, what depends on inputs alone, the last readout) is
left out. No overlap between phases is assumed, full overlap of bytes and operations within a phase
is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pvae_neuro.network import (
    Activation,
    Connection,
    Convolution,
    Dense,
    IntegerNetwork,
    OneToOne,
    Population,
    TransposedConvolution,
    readout_weight,
)
from pvae_neuro.sim.fast.convolutions import GROUP, SHAPE, Group, Shape, lay_out
from pvae_neuro.sim.fast.layouts import digits_of, padded_size, sends_events
from pvae_neuro.sim.fast.readout import STEPS_TOGETHER
from pvae_neuro.sim.fast.sampling import HEAD
from pvae_neuro.sim.fast.vectors import BYTE_LANES, PAIR_LANES, WORD_LANES
from pvae_neuro.sim.noise import WORDS_PER_BLOCK
from pvae_neuro.sim.recording import Recording

PHILOX_ROUNDS = 10
INT16_MAX = (1 << 15) - 1
# Numbers of two neurons (which) and their counts packed into one, read for each block of columns.
PAIR_BYTES = 12


@dataclass(frozen=True)
class Phase:
    """A part of an iteration: bytes by where they lie, operations by kind.

    Attributes
    ----------
    name : str
    reads : tuple of (float, int)
        Bytes of weights, and the size of what they are read from again and again.
    local : float
        Bytes of the image's own state.
    byte_ops, word_ops, pair_ops, plane_ops : float
        Of ``add_byte_rows``, ``add_word_rows``, ``add_pairs`` and ``add_word_pairs``.
    ops16, ops32, ops64 : float
        Other integer lane operations.
    wide : float
        Multiplications of 64 by 64 to 128 bits.
    """

    name: str
    reads: tuple[tuple[float, int], ...] = ()
    local: float = 0.0
    byte_ops: float = 0.0
    word_ops: float = 0.0
    pair_ops: float = 0.0
    plane_ops: float = 0.0
    ops16: float = 0.0
    ops32: float = 0.0
    ops64: float = 0.0
    wide: float = 0.0

    @property
    def shared(self) -> float:
        """Bytes of weights."""
        return sum(size for size, _ in self.reads)


KINDS = ("byte_ops", "word_ops", "pair_ops", "plane_ops", "ops16", "ops32", "ops64", "wide")


def operations(phase: Phase) -> float:
    """All of a phase, whatever their kind."""
    return sum(getattr(phase, kind) for kind in KINDS)


def phases(network: IntegerNetwork, recording: Recording, summary: bool) -> Iterator[Phase]:
    """Yield the phases of an iteration, with activity as a full recording has it."""
    for population in network.drawing:
        yield _noise(population)
    inputs = {p.name for p in network.populations if p.is_input}
    for activation in network.iteration:
        for name in activation.connections:
            connection = network.connection_of[name]
            # What depends on inputs alone is done once per frame.
            if connection.source not in inputs:
                yield _DELIVERED[type(connection)](network, connection, recording)
        yield from _program(network, activation, recording)
    if summary and network.readout is not None:
        yield from _readout(network, recording)


def _noise(population: Population) -> Phase:
    blocks = -(-population.size // WORDS_PER_BLOCK)
    rounds = blocks * PHILOX_ROUNDS
    # Per round: two products, each used in both halves; four exclusive ors; two key additions.
    name = f"{population.name}: noise"
    return Phase(name, local=32 * blocks, wide=2 * rounds, ops64=6 * rounds)


def _program(
    network: IntegerNetwork, activation: Activation, recording: Recording
) -> Iterator[Phase]:
    population = network.population_of[activation.population]
    program = population.program(activation.program)
    count = len(program.instructions)
    if "draw" in program.operations:
        counts = recording[f"{population.name}.{program.outputs[0].variable}"]
        active = _active(counts)
        # Each neuron: bucket, first threshold, place in the list. Each that fires: the head of its
        # thresholds, its count, its part of a pair.
        yield Phase(
            f"{population.name}: draw",
            local=24 * population.size + (24 + 2 * HEAD) * active,
            ops32=7 * population.size + (4 + 2 * HEAD) * active,
        )
        count -= 1
    if count > 0:
        words = len(program.reads) + len(program.outputs)
        yield Phase(
            f"{population.name}: {program.name}",
            local=4 * words * population.size,
            ops32=count * population.size,
        )


def _dense(network: IntegerNetwork, c: Connection, recording: Recording) -> Phase:
    sent = network.ranges.variables[f"{c.source}.{c.variable}"]
    targets, sources = c.weight.shape
    if not sends_events(c, sent):
        # For each digit: take it from the values, multiply pairs that are not both zero; add the
        # sums of two digits.
        width = padded_size(targets, PAIR_LANES)
        pairs = 2 * _active_pairs(recording[f"{c.source}.{c.variable}"])
        digits, weights = digits_of(sent), width * pairs
        read = 2 * pairs * (width // PAIR_LANES)
        return Phase(
            f"{c.name}: products",
            reads=((digits * weights, width * padded_size(sources, 2)),),
            local=digits * (6 * sources + read + 4 * width),
            pair_ops=2 * digits * weights,
            ops32=2 * digits * sources + 2 * (digits - 1) * width,
        )
    # Sums leave the registers once per cut of the list; those of further cuts are added in memory.
    counts = recording[f"{c.source}.{c.variable}"]
    active, spikes = _active(counts), float(counts.sum(axis=2).mean())
    width = padded_size(targets, BYTE_LANES)
    largest = float(np.abs(c.weight.astype(np.int16)).max(axis=0).mean())
    cuts = max(1.0, spikes * largest / INT16_MAX)
    lists = (PAIR_BYTES / 2 * (width // BYTE_LANES) + 12) * active
    return Phase(
        f"{c.name}: rows",
        reads=((active * width, sources * width),),
        local=4 * width * cuts + 12 * width * (cuts - 1) + lists,
        byte_ops=2 * active * width,
        ops32=width * (2 * cuts - 1) + 2 * active,
    )


def _one_to_one(network: IntegerNetwork, c: Connection, recording: Recording) -> Phase:
    return Phase(f"{c.name}: products", local=9 * c.weight.size, ops32=2 * c.weight.size)


def _convolution(network: IntegerNetwork, c: Connection, recording: Recording) -> Phase:
    """For each digit: lay the values out, add up all taps for whole vectors of sums, write them."""
    if not isinstance(c, Convolution):
        raise TypeError(f"{c.name}: expected a convolution, got {c.kind}")
    digits = digits_of(network.ranges.variables[f"{c.source}.{c.variable}"])
    layout = lay_out(c)
    shape = Shape(*layout.numbers[:SHAPE])
    groups = [Group(*row) for row in layout.numbers[SHAPE:].reshape(-1, GROUP)]
    vectors = sum(
        shape.target_channels * g.taps * -(-((g.rows - 1) * shape.pitch + g.columns) // PAIR_LANES)
        for g in groups
    )
    sums, values = c.shape
    return Phase(
        f"{c.name}: products",
        local=digits * (4.0 * PAIR_LANES * vectors + 8 * vectors + 8 * sums + 6 * values),
        plane_ops=4.0 * digits * PAIR_LANES * vectors,
        ops32=digits * (sums + 2.0 * values),
    )


_DELIVERED: dict[type, Callable[[IntegerNetwork, Connection, Recording], Phase]] = {
    Dense: _dense,
    OneToOne: _one_to_one,
    Convolution: _convolution,
    TransposedConvolution: _convolution,
}


def _readout(network: IntegerNetwork, recording: Recording) -> Iterator[Phase]:
    pixels = network.input.size
    yield Phase("squared error", local=8 * pixels, ops64=4 * pixels)
    if readout_weight(network) is None:
        return
    counts = recording[f"{network.readout.population}.{network.readout.variable}"]
    latents = counts.shape[2]
    width, active = padded_size(pixels, WORD_LANES), _active(counts)
    # A block is fetched once for some steps; each step then reads its rows of the block.
    fetched = (2 * width * touched(counts) / STEPS_TOGETHER, 2 * width * latents)
    rows = (2 * width * active, 2 * WORD_LANES * latents)
    yield Phase(
        "readout rows",
        reads=(fetched, rows),
        local=4 * width + (8 + PAIR_BYTES / 2 * (width // WORD_LANES)) * active,
        word_ops=2 * active * width,
        ops32=active,
    )


def _active(counts: np.ndarray) -> float:
    return float((counts != 0).sum(axis=2).mean())


def _active_pairs(values: np.ndarray) -> float:
    """Neighbours of which one at least is not zero, per image and step."""
    either = np.pad(values != 0, ((0, 0), (0, 0), (0, values.shape[2] % 2)))
    return float((either[..., ::2] | either[..., 1::2]).sum(axis=2).mean())


def touched(counts: np.ndarray) -> float:
    """Neurons that fire at least once in the steps that are read out together."""
    steps = counts.shape[1] // STEPS_TOGETHER * STEPS_TOGETHER
    together = counts[:, :steps].reshape(len(counts), -1, STEPS_TOGETHER, counts.shape[2])
    return float(together.any(axis=2).sum(axis=2).mean())
