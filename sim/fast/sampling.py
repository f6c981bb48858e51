"""Draws counts: the rule of ``network/sampler.py``, decided for nearly all neurons by a table.

Three steps. A scan finds the candidates: neurons whose word reaches a lower bound of the first
threshold; most neurons of a sparse code are decided by this one comparison. For a candidate the
word is compared with a row of :mod:`thresholds`, all of its window at once. Where it lies too close
to a threshold, or outside the window, the rule itself is run (:mod:`poisson_rule`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.typing import NDArray

from pvae_neuro.network import Interval, Sampler
from pvae_neuro.network import sampler as rule
from pvae_neuro.sim.fast.layouts import aligned
from pvae_neuro.sim.fast.machine import (
    I8,
    I16,
    I32,
    I64,
    Written,
    counted,
    intrinsic,
    load,
    number,
    pointer_to,
    splat,
    store,
)
from pvae_neuro.sim.fast.memory import BUCKET, CELLS, RAW, address
from pvae_neuro.sim.fast.poisson_rule import write_rule
from pvae_neuro.sim.fast.processor import AVX512, has, level
from pvae_neuro.sim.fast.thresholds import FIRST_ROWS, WINDOW, threshold_table

# ------------------------------------------------------------------------------ the numbers

# Numbers of a sampler, by their places.
U_MIN, SPAN, BITS, ROWS, START, GAP, FIRST_BITS, FIRST, FIRST_BYTES, RULE = range(10)


class Samplers:
    """The samplers that a network's commands point to."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, ...]] = []

    def address_of(self, log_rate: Interval, sampler: Sampler) -> int:
        """Address of a sampler's numbers for log-rates within an interval."""
        u_min, u_max = log_rate.smallest, log_rate.largest
        max_count, frac_bits = sampler.max_count, sampler.frac_bits
        table = threshold_table(u_min, u_max, max_count, frac_bits)
        inverse = np.array([rule.inverse(n) for n in range(1, max_count + 1)], np.int64)
        first_bytes = (table.first >> 8).astype(np.uint8)
        of_rule = [max_count, frac_bits, rule.rate_bits(max_count), address(inverse)]
        arrays = [
            aligned(a) for a in (table.rows, table.start, table.gap, table.first, first_bytes)
        ]
        rows, start, gap, first, coarse = (address(a) for a in arrays)
        numbers = np.array(
            [u_min, u_max - u_min, table.bits, rows, start, gap, table.first_bits, first]
            + [coarse, *of_rule],
            np.int64,
        )
        self._kept.append((numbers, inverse, arrays))
        return address(numbers)


def draw_bytes(neurons: int) -> int:
    """Room that a draw needs: three arrays of so many int32."""
    return 12 * neurons


# --------------------------------------------------------------------------------- the code


@dataclass
class _Draw:
    """What all steps need: the writer, and values by name."""

    b: ir.IRBuilder
    u: Any
    z: Any
    words: Any
    bytes: Any
    candidates: Any
    u_min: Any
    first_bits: Any
    first: Any
    first_bytes: Any


def _vector(kind: ir.IntType, lanes: int) -> ir.VectorType:
    return ir.VectorType(kind, lanes)


def _constant(values: Any, kind: ir.IntType) -> ir.Constant:
    return ir.Constant(_vector(kind, len(values)), [number(int(v), kind) for v in values])


def _cells(b: ir.IRBuilder, pointer: Any, index: Any, size: int = 4) -> Any:
    return b.gep(pointer, [b.mul(index, number(size))])


def _variable(b: ir.IRBuilder, value: Any) -> Any:
    """A number that changes; LLVM keeps it in a register if it begins with the function."""
    with b.goto_entry_block():
        slot = b.alloca(I64)
    b.store(value, slot)
    return slot


def _scan_single(d: _Draw, start: Any, stop: Any, found: Any) -> Any:
    """List candidates one by one; returns how many there are."""
    b = d.b
    last = number(FIRST_ROWS - 1, I32)
    slot = _variable(b, found)
    with counted(b, start, stop) as i:
        above = b.sub(load(b, _cells(b, d.u, i), I32, 4), d.u_min)
        bucket = b.and_(b.lshr(above, b.trunc(d.first_bits, I32)), last)
        bound = load(b, _cells(b, d.first, b.zext(bucket, I64), 2), I16, 2)
        word = load(b, _cells(b, d.words, i, 2), I16, 2)
        store(b, number(0, I32), _cells(b, d.z, i), 4)
        here = b.load(slot)
        store(b, b.trunc(i, I32), _cells(b, d.candidates, here), 4)
        reached = b.icmp_unsigned(">=", word, bound)
        b.store(b.add(here, b.zext(reached, I64)), slot)
    return b.load(slot)


def _scan_words(d: _Draw, stop: Any) -> Any:
    """The same for 32 at a time, with AVX-512: one lookup among 64 bounds of 16 bits."""
    b, lanes = d.b, 32
    table = load(b, d.first, _vector(I16, FIRST_ROWS), 64)
    low, high = (
        b.shuffle_vector(table, table, _constant(range(half, half + lanes), I32))
        for half in (0, lanes)
    )
    look_up = intrinsic(b, "llvm.x86.avx512.vpermi2var.hi.512", low.type, [low.type] * 3)
    u_min, places = splat(b, d.u_min, lanes), splat(b, b.trunc(d.first_bits, I32), lanes)
    slot = _variable(b, number(0))
    with counted(b, number(0), stop, lanes) as i:
        above = b.sub(load(b, _cells(b, d.u, i), _vector(I32, lanes), 4), u_min)
        bucket = b.trunc(b.lshr(above, places), _vector(I16, lanes))
        bound = b.call(look_up, [low, bucket, high])
        word = load(b, _cells(b, d.words, i, 2), _vector(I16, lanes), 2)
        store(b, ir.Constant(_vector(I32, lanes), None), _cells(b, d.z, i), 4)
        reached = b.bitcast(b.icmp_unsigned(">=", word, bound), I32)
        for half in (0, 16):
            bits = b.trunc(b.lshr(reached, number(half, I32)), I16)
            _compress(d, b.add(i, number(half)), bits, slot)
    return b.load(slot)


def _compress(d: _Draw, i: Any, bits: Any, slot: Any) -> None:
    """List those of 16 neurons whose bits are set."""
    b, kind = d.b, _vector(I32, 16)
    numbers = b.add(splat(b, b.trunc(i, I32), 16), _constant(range(16), I32))
    mask = b.bitcast(bits, _vector(ir.IntType(1), 16))
    press = intrinsic(b, "llvm.x86.avx512.mask.compress.v16i32", kind, [kind, kind, mask.type])
    pressed = b.call(press, [numbers, ir.Constant(kind, None), mask])
    here = b.load(slot)
    store(b, pressed, _cells(b, d.candidates, here), 4)
    count = b.call(intrinsic(b, "llvm.ctpop.i16", I16, [I16]), [bits])
    b.store(b.add(here, b.zext(count, I64)), slot)


def write_draw(module: ir.Module, name: str) -> None:
    """Places of u, z; neurons; skipped words; sampler; places of packed bytes, list; its stride.

    Draws the counts of a population. u and z are different arrays. The sampler is the address of
    its numbers. Each count is also written as a byte where the place of packed bytes is not
    negative, and the active neurons are listed where that of the list is not.
    """
    undecided = write_rule(module, f"{name}rule")
    numbers = I64.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [numbers, numbers]), name)
    b = ir.IRBuilder(function.append_basic_block())
    command, room = function.args
    u_at, z_at, n, skipped, sampler, bytes_at, list_at, stride = (
        load(b, b.gep(command, [number(i)]), I64) for i in range(1, 9)
    )
    cells, raw, bucket = (load(b, b.gep(room, [number(i)]), I64) for i in (CELLS, RAW, BUCKET))
    scratch = [_cells(b, pointer_to(b, bucket), b.mul(n, number(k))) for k in range(3)]
    given = pointer_to(b, sampler)
    values = [load(b, b.gep(given, [number(8 * i)]), I64) for i in range(RULE)]
    cells = pointer_to(b, cells)
    listed = b.icmp_signed(">=", list_at, number(0))
    active = b.gep(_cells(b, cells, list_at), [number(HEAD_BYTES)])
    d = _Draw(
        b,
        _cells(b, cells, u_at),
        _cells(b, cells, z_at),
        pointer_to(b, raw, b.mul(skipped, number(2))),
        _cells(b, cells, bytes_at),
        b.select(listed, active, scratch[0]),
        b.trunc(values[U_MIN], I32),
        values[FIRST_BITS],
        pointer_to(b, values[FIRST]),
        pointer_to(b, values[FIRST_BYTES]),
    )
    scan, together = SCANS[level()]
    whole = b.and_(n, number(-together))
    found = scan(d, whole)
    found = _scan_single(d, whole, n, found)
    counts_at = b.select(listed, _cells(b, active, stride), scratch[1])
    open_at = scratch[2]
    table = _Rows(d, values, counts_at)
    still = _decide(d, table, found, open_at)
    with counted(b, number(0), still) as o:
        a = b.zext(load(b, _cells(b, open_at, o), I32, 4), I64)
        i = b.zext(load(b, _cells(b, d.candidates, a), I32, 4), I64)
        u, word = load(b, _cells(b, d.u, i), I32, 4), load(b, _cells(b, d.words, i, 2), I16, 2)
        given = b.sext(u, I64), b.zext(word, I64), b.add(sampler, number(8 * RULE))
        count = b.trunc(b.call(undecided, given), I32)
        for array, place in ((d.z, i), (counts_at, a)):
            store(b, count, _cells(b, array, place), 4)
    with b.if_then(b.icmp_signed(">=", bytes_at, number(0))):
        _write_bytes(d, n)
    with b.if_then(listed):
        kept = _keep_active(d, counts_at, found)
        close_list(b, _cells(b, cells, list_at), stride, kept)
    b.ret_void()


class _Rows:
    def __init__(self, d, values, counts_at):
        b = d.b
        self.u_min, self.span, self.bits = (b.trunc(values[i], I32) for i in (U_MIN, SPAN, BITS))
        self.rest = b.sub(number(16, I32), self.bits)
        self.rows, self.starts = pointer_to(b, values[ROWS]), pointer_to(b, values[START])
        self.gap = load(b, pointer_to(b, values[GAP]), _vector(I16, WINDOW), 64)
        self.counts_at = counts_at


def _decide(d, table, found, open_at):
    """Counts of candidates; those that are left open are listed, and their number returned."""
    b = d.b
    line = _vector(I16, WINDOW)
    below = intrinsic(b, f"llvm.usub.sat.v{WINDOW}i16", line, [line, line])
    ones = intrinsic(b, "llvm.ctpop.i32", I32, [I32])
    slot = _variable(b, number(0))
    with counted(b, number(0), found) as a:
        i = b.zext(load(b, _cells(b, d.candidates, a), I32, 4), I64)
        word = load(b, _cells(b, d.words, i, 2), I16, 2)
        above = b.sub(load(b, _cells(b, d.u, i), I32, 4), table.u_min)
        # No proved potential is outside; a wrong one must not read memory that is not the table's.
        above = b.select(b.icmp_unsigned("<", above, table.span), above, table.span)
        row = b.zext(b.lshr(above, table.bits), I64)
        bound = _bounds(b, table, row, b.trunc(b.shl(above, table.rest), I16))
        words = splat(b, word, WINDOW)
        perhaps = b.bitcast(b.icmp_unsigned(">=", words, bound), I32)
        surely = b.icmp_unsigned(">=", b.call(below, [words, table.gap]), bound)
        at = _cells(b, table.starts, row, 8)
        drawn = b.add(load(b, at, I32, 4), b.call(ones, [perhaps]))
        store(b, drawn, _cells(b, d.z, i), 4)
        store(b, drawn, _cells(b, table.counts_at, a), 4)
        # A window that is reached nowhere, but begins above zero, or everywhere, leaves it open.
        later = load(b, b.gep(at, [number(4)]), I32, 4)
        undecided = b.icmp_unsigned("<=", b.add(perhaps, number(1, I32)), later)
        undecided = b.or_(undecided, b.icmp_signed("!=", perhaps, b.bitcast(surely, I32)))
        with b.if_then(undecided, likely=False):
            here = b.load(slot)
            store(b, b.trunc(a, I32), _cells(b, open_at, here), 4)
            b.store(b.add(here, number(1)), slot)
    return b.load(slot)


def _bounds(b, table, row, part):
    """Lower bounds of a row's thresholds at a place between its ends."""
    line, wide = _vector(I16, WINDOW), _vector(I32, WINDOW)
    at = _cells(b, table.rows, row, 4 * WINDOW)
    left, fall = load(b, at, line, 64), load(b, b.gep(at, [number(2 * WINDOW)]), line, 64)
    fallen = b.mul(b.zext(fall, wide), b.zext(splat(b, part, WINDOW), wide))
    return b.sub(left, b.trunc(b.lshr(fallen, splat(b, number(16, I32), WINDOW)), line))


def _write_bytes(d, n):
    b, lanes = d.b, 16
    with counted(b, number(0), n, lanes) as i:
        values = load(b, _cells(b, d.z, i), _vector(I32, lanes), 4)
        store(b, b.trunc(values, _vector(I8, lanes)), b.gep(d.bytes, [i]))


def _keep_active(d, counts_at, found):
    """Drop candidates of count zero; returns how many are left."""
    b = d.b
    slot = _variable(b, number(0))
    with counted(b, number(0), found) as a:
        count = load(b, _cells(b, counts_at, a), I32, 4)
        i = load(b, _cells(b, d.candidates, a), I32, 4)
        here = b.load(slot)
        store(b, i, _cells(b, d.candidates, here), 4)
        store(b, count, _cells(b, counts_at, here), 4)
        fires = b.icmp_signed(">", count, number(0, I32))
        b.store(b.add(here, b.zext(fires, I64)), slot)
    return b.load(slot)


def close_list(b: ir.IRBuilder, at: Any, stride: Any, found: Any) -> None:
    """Finish a list of which ``active`` and ``count`` are there; see :mod:`events`."""
    active = b.gep(at, [number(HEAD_BYTES)])
    count = _cells(b, active, stride)
    pair = _cells(b, count, stride)
    store(b, b.trunc(found, I32), at, 4)
    for array in (active, count):
        store(b, number(0, I32), _cells(b, array, found), 4)
    # Arrays of a list have whole cache lines, so that pairs behind the last one may be written.
    kind = _vector(I64, 8)
    with counted(b, number(0), b.add(found, number(1)), 16) as i:
        both = load(b, _cells(b, count, i), kind, 4)
        low = b.and_(both, _constant([0xFFFF] * 8, I64))
        both = b.or_(low, b.lshr(both, _constant([16] * 8, I64)))
        store(b, b.trunc(both, _vector(I32, 8)), _cells(b, pair, i, 2), 4)


SCANS: dict[str, Any] = {
    "amx": (_scan_words, 32),
    "vnni": (_scan_words, 32),
    "avx512": (_scan_words, 32),
    "plain": (lambda d, whole: number(0), 1 << 62),
}
HEAD_BYTES = 64

draw_counts = Written(write_draw)
