"""Draws counts: the rule of ``network/sampler.py``, decided for nearly all neurons by a table.

Three steps. A scan finds the candidates, the neurons whose word reaches a lower bound of the first
threshold: most neurons of a sparse code are decided by this one comparison. For a candidate the
word is compared with a row of :mod:`thresholds`, all of its window at once. Where it lies too close
to a threshold, or outside the window, the rule itself is run (:mod:`poisson_rule`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from pvae_neuro.network import Interval, Sampler
from pvae_neuro.network import sampler as rule
from pvae_neuro.sim.fast.candidates import Lists, Ranges, keep_active, list_candidates
from pvae_neuro.sim.fast.events import HEAD_BYTES, close_list
from pvae_neuro.sim.fast.language import (
    Array,
    Body,
    Value,
    command,
    int32_at,
    int64_at,
    select,
    uint8_at,
    uint16_at,
)
from pvae_neuro.sim.fast.layouts import CELLS_PER_LINE, aligned
from pvae_neuro.sim.fast.machine import I16, I32, I64, intrinsic, splat
from pvae_neuro.sim.fast.memory import BUCKET, CELLS, RAW, address
from pvae_neuro.sim.fast.poisson_rule import count_by_rule
from pvae_neuro.sim.fast.thresholds import WINDOW, threshold_table


class _Numbers(NamedTuple):
    """A sampler as :data:`draw_counts` reads it.

    Attributes
    ----------
    u_min, span : int
        Smallest potential; how far the largest one is above it.
    bits, rows, start, gap, first_bits, first : int
        Of :class:`thresholds.Table`: the numbers, and the addresses of the arrays.
    first_bytes : int
        Address of the upper halves of ``first``.
    rule : int
        Address of :data:`poisson_rule.count_by_rule`.
    rule_numbers : int
        Address of its numbers.
    """

    u_min: Any
    span: Any
    bits: Any
    rows: Any
    start: Any
    gap: Any
    first_bits: Any
    first: Any
    first_bytes: Any
    rule: Any
    rule_numbers: Any


class Samplers:
    """The samplers that a network's commands point to."""

    def __init__(self) -> None:
        self._kept: list[tuple[NDArray[Any], ...]] = []

    def address_of(self, log_rate: Interval, sampler: Sampler) -> int:
        """Address of a sampler's numbers for log-rates within an interval."""
        u_min, u_max, most = log_rate.smallest, log_rate.largest, sampler.max_count
        table = threshold_table(u_min, u_max, most, sampler.frac_bits)
        inverse = np.array([rule.inverse(n) for n in range(1, most + 1)], np.int64)
        of_rule = [most, sampler.frac_bits, rule.rate_bits(most), address(inverse)]
        first_bytes = (table.first >> 8).astype(np.uint8)
        arrays: list[NDArray[Any]] = [table.rows, table.start, table.gap, table.first, first_bytes]
        kept = [aligned(a) for a in (*arrays, np.array(of_rule, np.int64))]
        rows, start, gap, first, upper, rule_numbers = (address(a) for a in kept)
        numbers = _Numbers(
            u_min, u_max - u_min, table.bits, rows, start, gap, table.first_bits, first,
            upper, count_by_rule.address, rule_numbers,
        )  # fmt: skip
        found = np.array(numbers, np.int64)
        self._kept.append((found, inverse, *kept))
        return address(found)


def draw_bytes(neurons: int) -> int:
    """Room that a draw needs."""
    return 16 * (neurons + CELLS_PER_LINE)


class _Draw(NamedTuple):
    """What the steps of a draw share.

    Attributes
    ----------
    u, z, words : Array
        Potentials, counts and words of all neurons.
    candidates : Lists
    counts : Array
        Counts of the candidates.
    sampler : _Numbers
    """

    code: Body
    u: Array
    z: Array
    words: Array
    candidates: Lists
    counts: Array
    sampler: _Numbers


@command
def draw_counts(code: Body, given: Array, room: Array) -> None:
    """Places of u, z; neurons; skipped words; sampler; places of packed bytes, list; its stride.

    Draws the counts of a population from their log-rates; u and z are different arrays. The sampler
    is an address, see :class:`Samplers`. A place is -1 for what is not wanted: each count as a
    byte, for counts up to 255; a list of the active neurons, see :mod:`events`.
    """
    cells, neurons, stride = room[CELLS], given[3], given[8]
    bytes_at, listed_at = (cells + 4 * given[i] for i in (6, 7))
    wanted, numbers = given[7] >= 0, int64_at(given[5])
    # Behind each of them a whole vector may be written.
    candidates, counts, places, open_ = (
        room[BUCKET] + 4 * part * (neurons + CELLS_PER_LINE) for part in range(4)
    )
    active = listed_at + HEAD_BYTES
    d = _Draw(
        code,
        int32_at(cells + 4 * given[1]),
        int32_at(cells + 4 * given[2]),
        uint16_at(room[RAW] + 2 * given[4]),
        Lists(int32_at(select(wanted, active, candidates)), int32_at(places)),
        int32_at(select(wanted, active + 4 * stride, counts)),
        _Numbers(*(numbers[i] for i in range(len(_Numbers._fields)))),
    )
    sampler = d.sampler
    ranges = Ranges(
        sampler.u_min.to(I32),
        sampler.span.to(I32),
        sampler.first_bits.to(I32),
        sampler.bits.to(I32),
        uint16_at(sampler.first),
        uint8_at(sampler.first_bytes),
    )
    found = list_candidates(code, ranges, d.u, d.words, neurons, d.candidates)
    _clear(code, d.z, neurons)
    _decide(d, found, int32_at(open_))
    with code.when(given[6] >= 0), code.loop(0, neurons, CELLS_PER_LINE) as i:
        uint8_at(bytes_at).set_line(i, d.z.line(i, CELLS_PER_LINE))
    with code.when(wanted):
        kept = keep_active(code, d.candidates.neuron, d.counts, found)
        close_list(code, listed_at, stride, kept)


def _clear(code: Body, z: Array, neurons: Value) -> None:
    """Set all counts to zero, in whole cache lines: the place of an array has these."""
    zeros = Value(code.b, ir.Constant(ir.VectorType(I32, CELLS_PER_LINE), None))
    with code.loop(0, neurons, CELLS_PER_LINE) as i:
        z.set_line(i, zeros)


def _decide(d: _Draw, found: Value, open_: Array) -> None:
    """Counts of all candidates; by the rule where a table leaves them open."""
    code, sampler, opened = d.code, d.sampler, d.code.variable(0)
    starts, gap = int32_at(sampler.start), uint16_at(sampler.gap).line(0, WINDOW)
    with code.loop(found) as a:
        i, place = d.candidates.neuron[a], d.candidates.place[a]
        row = (place >> 16).to(I64)
        words, bounds = _all(d.words[i]), _bounds(sampler, row, place)
        # One word more than needed: a sum that saturates must not count as reached.
        perhaps, surely = _reached(bounds, ">=", words), _reached(_sum(bounds, gap), ">", words)
        count = starts[2 * row] + Value(code.b, code.b.ctpop(perhaps.ir))
        d.z[i], d.counts[a] = count, count
        # A window that is reached everywhere leaves it open, and one that begins above zero and is
        # reached nowhere.
        outside = ~_below(starts[2 * row + 1], perhaps + 1)
        with code.b.if_then(((perhaps != surely) | outside).ir, likely=False):
            open_[opened] = a
            opened += 1
    with code.loop(opened) as o:
        a = open_[o]
        i, above = d.candidates.neuron[a], d.candidates.place[a].to(I64) >> (16 - sampler.bits)
        u = sampler.u_min + above
        count = code.call(sampler.rule, u, d.words[i], sampler.rule_numbers)
        d.z[i], d.counts[a] = count, count


def _bounds(sampler: _Numbers, row: Value, place: Value) -> Value:
    """Lower bounds of the thresholds of a row, at a place between its ends."""
    b, rows, wide = row.b, uint16_at(sampler.rows), ir.VectorType(I32, WINDOW)
    left, fall = (rows.line((2 * row + i) * WINDOW, WINDOW) for i in (0, 1))
    # The upper half of a product of 16 bits.
    product = b.mul(b.zext(fall.ir, wide), b.zext(_all(place).ir, wide))
    half = ir.Constant(wide, [ir.Constant(I32, 16)] * WINDOW)
    return left - Value(b, b.trunc(b.lshr(product, half), left.kind))


def _all(value: Value) -> Value:
    """The lower 16 bits of a number, in all places of a window."""
    return Value(value.b, splat(value.b, value.to(I16).ir, WINDOW))


def _below(x: Value, y: Value) -> Value:
    """``x < y`` of numbers without a sign."""
    return Value(x.b, x.b.icmp_unsigned("<", x.ir, y.ir))


def _sum(x: Value, y: Value) -> Value:
    """``min(x + y, LARGEST_WORD)`` of words."""
    name = f"llvm.uadd.sat.v{WINDOW}i16"
    return Value(x.b, x.b.call(intrinsic(x.b, name, x.kind, [x.kind] * 2), [x.ir, y.ir]))


def _reached(bounds: Value, sign: str, words: Value) -> Value:
    """Which bounds the words reach, or exceed: a bit each."""
    return Value(words.b, words.b.icmp_unsigned(sign, words.ir, bounds.ir)).read_as(I32)
