"""Loops that do one thing, in LLVM's language: what this processor's instructions reach at most.

Each loop is a function ``(address, length, repeats)`` of compiled code. Its work per repeat is
known, so that a rate follows from its time. Every instruction set that LLVM may use is tried: where
``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` limit the engine, they limit these loops too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import binding

from pvae_neuro.sim.fast import processor

# Bytes that loops on data read, unless they are about larger arrays: a part of a first-level cache.
L1_BYTES = 1 << 14
# Products of a tile instruction: 16 rows of 64 bytes by 16 columns.
TILE_MACS = 16 * 16 * 64
PHILOX_ROUNDS = 10
_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_WEYL = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_MASK = 0xFFFFFFFF

Run = Callable[[int, int, int], object]


@dataclass(frozen=True)
class Peak:
    """A loop.

    Attributes
    ----------
    kind : str
        What it counts; of several loops of a kind the fastest is the machine's.
    instructions : str
        What it is made of, for people.
    needs : frozenset of str
        Features of the processor, as LLVM writes them.
    units : float
        Counted per repeat; per byte of ``length`` where the loop passes over data.
    text : str
        The function, named ``peak``, and what it declares.
    passes : bool
        Whether a repeat is one pass over ``length`` bytes.
    """

    kind: str
    instructions: str
    needs: frozenset[str]
    units: float
    text: str
    passes: bool = False


# ------------------------------------------------------------------------- text of functions


def _vector(lanes: int, bits: int) -> str:
    return f"<{lanes} x i{bits}>"


def _splat(lanes: int, bits: int, value: int) -> str:
    return f"<{', '.join(f'i{bits} {value}' for _ in range(lanes))}>"


class _Lines:
    """Lines of a function, which name their results by number."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, line: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"{name} = {line}")
        return name

    def do(self, line: str) -> None:
        self.lines.append(line)


Body = Callable[[_Lines, list[str], str], list[str]]


def _function(
    kind: str, sums: int, body: Body, step: int = 0, declared: Sequence[str] = (), begin: str = "",
    end: str = "",
) -> str:  # fmt: skip
    """A loop over repeats that keeps ``sums`` vectors; with a step, over the data in each repeat.

    ``body`` takes the sums and the address of the data at hand, and returns the next sums.
    """
    lines = _Lines()
    new = body(lines, [f"%s{n}" for n in range(sums)], "%at")
    text = [*declared, "define void @peak(ptr %data, i64 %length, i64 %repeats) {", "entry:", begin]
    # What nobody reads would not be computed.
    text += [f"%out = alloca {kind}, align 64"]
    text += ["br label %outer", "outer:"]
    text += ["%r = phi i64 [0, %entry], [%r1, %next]"]
    text += [f"%o{n} = phi {kind} [zeroinitializer, %entry], [%n{n}, %next]" for n in range(sums)]
    text += ["br label %loop", "loop:", "%i = phi i64 [0, %outer], [%i1, %loop]"]
    text += [f"%s{n} = phi {kind} [%o{n}, %outer], [%n{n}, %loop]" for n in range(sums)]
    text += ["%at = getelementptr i8, ptr %data, i64 %i"]
    text += lines.lines
    # A sum has a name of its own, since its value may be that of another line.
    text += [f"%n{n} = freeze {kind} {value}" for n, value in enumerate(new)]
    text += [f"%i1 = add i64 %i, {step or 1}"]
    text += ["%more = icmp ult i64 %i1, " + ("%length" if step else "1")]
    text += ["br i1 %more, label %loop, label %next", "next:", "%r1 = add i64 %r, 1"]
    text += ["%again = icmp ult i64 %r1, %repeats", "br i1 %again, label %outer, label %end"]
    text += ["end:", end]
    for n in range(sums):
        text += [f"store volatile {kind} %n{n}, ptr %out, align 1"]
    text += ["ret void", "}"]
    return "\n".join(line for line in text if line)


# ------------------------------------------------------------------------- products


def _tiles() -> Peak:
    """Four sums from two tiles by two: no loads, as in a product whose tiles are all there."""
    names = [(a - 4 + 2 * (b - 6), a, b) for a in (4, 5) for b in (6, 7)] * 4
    calls = [f"call void @llvm.x86.tdpbusd(i8 {c}, i8 {a}, i8 {b})" for c, a, b in names]

    def body(lines: _Lines, sums: list[str], at: str) -> list[str]:
        for call in calls:
            lines.do(call)
        return sums

    # Palette 1, then 16 rows of 64 bytes for each of eight tiles.
    layout = bytes([1, *[0] * 15, *[64, 0] * 8, *[0] * 16, *[16] * 8, *[0] * 8])
    written = "".join(f"\\{byte:02X}" for byte in layout)
    begin = "call void @llvm.x86.ldtilecfg(ptr @layout)\n" + "\n".join(
        f"call void @llvm.x86.tilezero(i8 {n})" for n in range(8)
    )
    declared = (
        f'@layout = private constant [64 x i8] c"{written}", align 64',
        "declare void @llvm.x86.ldtilecfg(ptr)",
        "declare void @llvm.x86.tilezero(i8 immarg)",
        "declare void @llvm.x86.tilerelease()",
        "declare void @llvm.x86.tdpbusd(i8 immarg, i8 immarg, i8 immarg)",
    )
    end = "call void @llvm.x86.tilerelease()"
    text = _function("i32", 0, body, 0, declared, begin, end)
    needs = frozenset({"amx-tile", "amx-int8"})
    return Peak("byte_macs", "tdpbusd", needs, TILE_MACS * len(names), text)


_SUMS = 12


def _dot(
    kind: str, name: str, intrinsic: str, needs: Sequence[str], bits: int, operand: int
) -> Peak:
    """Sums of 32 bits that an instruction adds products to, from registers."""
    lanes = bits // 32
    sums, values = _vector(lanes, 32), _vector(bits // operand, operand)
    full = f"@llvm.x86.{intrinsic}"

    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        a = lines(f"load {values}, ptr %data, align 1")
        return [lines(f"call {sums} {full}({sums} {s}, {values} {a}, {values} {a})") for s in old]

    declared = (f"declare {sums} {full}({sums}, {values}, {values})",)
    text = _function(sums, _SUMS, body, 0, declared)
    per = {"byte_macs": 4, "word_macs": 2}[kind]
    return Peak(kind, f"{name} {bits}", frozenset(needs), _SUMS * lanes * per, text)


def _multiply_add(kind: str, name: str, intrinsic: str, needs: Sequence[str], bits: int) -> Peak:
    """Products of pairs, added to sums by an instruction of its own."""
    wide = {"byte_macs": 16, "small_byte_macs": 16, "word_macs": 32}[kind]
    sums, values = _vector(bits // wide, wide), _vector(2 * bits // wide, wide // 2)
    full = f"@llvm.x86.{intrinsic}"

    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        new = []
        a = lines(f"load {values}, ptr %data, align 1")
        # Each product depends on its sum, or it would be computed once.
        for s in old:
            other = lines(f"bitcast {sums} {s} to {values}")
            product = lines(f"call {sums} {full}({values} {a}, {values} {other})")
            new.append(lines(f"add {sums} {product}, {s}"))
        return new

    declared = (f"declare {sums} {full}({values}, {values})",)
    text = _function(sums, _SUMS, body, 0, declared)
    return Peak(kind, f"{name} {bits}", frozenset(needs), _SUMS * 2 * bits // wide, text)


def _plain_words() -> Peak:
    """Products of 16 bits in sums of 16 bits by whatever LLVM makes of them."""
    kind = _vector(8, 16)

    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        a = lines(f"load {kind}, ptr %data, align 1")
        return [lines(f"add {kind} {lines(f'mul {kind} {a}, {s}')}, {s}") for s in old]

    text = _function(kind, 8, body)
    return Peak("word_macs", "plain 128", frozenset(), 8 * 8, text)


# ------------------------------------------------------------------------- rows of active neurons


def _rows(kind: str, bits: int, intrinsic: str, needs: Sequence[str]) -> Peak:
    """Add rows two at a time: two loads, two interleaves, two multiply-adds, two additions."""
    element = {"byte_rows": 8, "word_rows": 16}[kind]
    lanes = bits // element
    row, sums = _vector(lanes, element), _vector(lanes // 2, 2 * element)
    both, full = _vector(lanes, element), f"@llvm.x86.{intrinsic}"
    size, columns = bits // 8, 4
    # Within each 128 bits, as the instruction does it.
    part = 128 // element
    places = [
        [
            start + half * part // 2 + i // 2 + (lanes if i % 2 else 0)
            for start in range(0, lanes, part)
            for i in range(part)
        ]
        for half in range(2)
    ]
    masks = [f"<{', '.join(f'i32 {n}' for n in place)}>" for place in places]

    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        factor = lines(f"load {both}, ptr %factors, align 1")
        new = list(old)
        for c in range(columns):
            loaded = []
            for r in range(2):
                place = lines(f"getelementptr i8, ptr {at}, i64 {size * (c + columns * r)}")
                loaded.append(lines(f"load {row}, ptr {place}, align 1"))
            for half, mask in enumerate(masks):
                mixed = lines(
                    f"shufflevector {row} {loaded[0]}, {row} {loaded[1]}, <{lanes} x i32> {mask}"
                )
                # Bytes without sign come first.
                pair = (factor, mixed) if element == 8 else (mixed, factor)
                product = lines(f"call {sums} {full}({both} {pair[0]}, {both} {pair[1]})")
                new[2 * c + half] = lines(f"add {sums} {new[2 * c + half]}, {product}")
        return new

    declared = (f"declare {sums} {full}({both}, {both})",)
    step = 2 * columns * size
    begin = f"%factors = getelementptr i8, ptr %data, i64 {L1_BYTES}"
    text = _function(sums, 2 * columns, body, step, declared, begin)
    macs = 1.0 if element == 8 else 0.5
    return Peak(kind, f"{intrinsic.split('.', 1)[1]} {bits}", frozenset(needs), macs, text, True)


def _plain_rows(kind: str) -> Peak:
    """Rows that are made wide and added, with a product, by whatever LLVM makes of it."""
    element = {"byte_rows": 8, "word_rows": 16}[kind]
    row, sums = _vector(8, element), _vector(8, 2 * element)

    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        new = []
        factor = lines(f"load {sums}, ptr %factors, align 1")
        for n, s in enumerate(old):
            place = lines(f"getelementptr i8, ptr {at}, i64 {element * n}")
            wide = lines(f"sext {row} {lines(f'load {row}, ptr {place}, align 1')} to {sums}")
            new.append(lines(f"add {sums} {s}, {lines(f'mul {sums} {wide}, {factor}')}"))
        return new

    begin = f"%factors = getelementptr i8, ptr %data, i64 {L1_BYTES}"
    text = _function(sums, 4, body, 4 * element, (), begin)
    return Peak(kind, "plain 128", frozenset(), 8 / element, text, True)


# ------------------------------------------------------------------------- lanes, bytes, look-ups


def _lanes(bits: int, element: int, needs: Sequence[str]) -> Peak:
    """An exclusive or and an addition for each lane, in registers."""
    lanes = bits // element
    kind = _vector(lanes, element)

    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        salt = lines(f"load {kind}, ptr %data, align 1")
        return [lines(f"add {kind} {lines(f'xor {kind} {s}, {salt}')}, {salt}") for s in old]

    text = _function(kind, _SUMS, body)
    return Peak(f"ops{element}", f"xor, add {bits}", frozenset(needs), 2 * _SUMS * lanes, text)


def _stream(bits: int, needs: Sequence[str]) -> Peak:
    """Read data from its beginning to its end."""
    lanes, kind = bits // 64, _vector(bits // 64, 64)
    size, together = 8 * lanes, 8

    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        new = []
        for n, s in enumerate(old):
            place = lines(f"getelementptr i8, ptr {at}, i64 {size * n}")
            new.append(lines(f"xor {kind} {s}, {lines(f'load {kind}, ptr {place}, align 1')}"))
        return new

    text = _function(kind, together, body, together * size)
    return Peak("bytes", f"load {bits}", frozenset(needs), 1.0, text, True)


def _lookups(lanes: int, needs: Sequence[str]) -> Peak:
    """Entries of a table of 32 bits at places that stand in a row."""
    kind, pointers = _vector(lanes, 32), f"<{lanes} x ptr>"
    full, true = f"@llvm.masked.gather.v{lanes}i32.v{lanes}p0", _splat(lanes, 1, 1)

    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        new = []
        for n, s in enumerate(old):
            place = lines(f"getelementptr i8, ptr {at}, i64 {4 * lanes * n}")
            index = lines(f"load {kind}, ptr {place}, align 4")
            where = lines(f"getelementptr i32, ptr %data, {kind} {index}")
            mask = f"<{lanes} x i1> {true}"
            got = lines(
                f"call {kind} {full}({pointers} align 4 {where}, {mask}, {kind} zeroinitializer)"
            )
            new.append(lines(f"xor {kind} {s}, {got}"))
        return new

    mask = f"<{lanes} x i1>"
    declared = (f"declare {kind} {full}({pointers}, {mask}, {kind})",)
    text = _function(kind, 4, body, 4 * 4 * lanes, declared)
    return Peak("lookups", f"gather {lanes}", frozenset(needs), 0.25, text, True)


def _single_lookups() -> Peak:
    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        new = []
        for n, s in enumerate(old):
            place = lines(f"getelementptr i8, ptr {at}, i64 {4 * n}")
            index = lines(f"zext i32 {lines(f'load i32, ptr {place}, align 4')} to i64")
            where = lines(f"getelementptr i32, ptr %data, i64 {index}")
            new.append(lines(f"xor i32 {s}, {lines(f'load i32, ptr {where}, align 4')}"))
        return new

    text = _function("i32", 8, body, 32)
    return Peak("lookups", "load", frozenset(), 0.25, text, True)


# ------------------------------------------------------------------------- noise


def _philox_single(together: int) -> Peak:
    """Blocks of Philox4x64-10 in general registers, some side by side."""

    def product(lines: _Lines, a: str, multiplier: int) -> tuple[str, str]:
        wide = lines(f"zext i64 {a} to i128")
        both = lines(f"mul i128 {wide}, {multiplier}")
        high = lines(f"trunc i128 {lines(f'lshr i128 {both}, 64')} to i64")
        return high, lines(f"trunc i128 {both} to i64")

    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        return _rounds(lines, old, "i64", product, str)

    text = _function("i64", together, body)
    return Peak("philox", f"mul 64, {together} together", frozenset(), together, text)


def _philox_vector(lanes: int, together: int, needs: Sequence[str]) -> Peak:
    """Blocks in the lanes of vectors: a product is four of 32 bits."""
    kind = _vector(lanes, 64)

    def splat(value: int) -> str:
        return _splat(lanes, 64, value)

    def product(lines: _Lines, a: str, multiplier: int) -> tuple[str, str]:
        mask, half = splat(_MASK), splat(32)
        low, high = splat(multiplier & _MASK), splat(multiplier >> 32)
        a0, a1 = lines(f"and {kind} {a}, {mask}"), lines(f"lshr {kind} {a}, {half}")
        ll, lh = (lines(f"mul {kind} {a0}, {b}") for b in (low, high))
        hl, hh = (lines(f"mul {kind} {a1}, {b}") for b in (low, high))
        t = lines(f"add {kind} {hl}, {lines(f'lshr {kind} {ll}, {half}')}")
        u = lines(f"add {kind} {lh}, {lines(f'and {kind} {t}, {mask}')}")
        top = lines(f"add {kind} {hh}, {lines(f'lshr {kind} {t}, {half}')}")
        top = lines(f"add {kind} {top}, {lines(f'lshr {kind} {u}, {half}')}")
        up = lines(f"shl {kind} {u}, {half}")
        return top, lines(f"or {kind} {up}, {lines(f'and {kind} {ll}, {mask}')}")

    def body(lines: _Lines, old: list[str], at: str) -> list[str]:
        return _rounds(lines, old, kind, product, splat, lanes)

    text = _function(kind, together, body)
    name = f"pmuludq {64 * lanes}, {together} together"
    return Peak("philox", name, frozenset(needs), together * lanes, text)


def _rounds(
    lines: _Lines,
    old: list[str],
    kind: str,
    product: Any,
    constant: Callable[[int], str],
    lanes: int = 0,
) -> list[str]:
    """Ten rounds of independent blocks; the sums keep them from being computed once."""
    count = lines("add i64 %r, %i")
    if lanes:
        one = lines(f"insertelement {kind} poison, i64 {count}, i32 0")
        same = lines(f"shufflevector {kind} {one}, {kind} poison, <{lanes} x i32> zeroinitializer")
        ramp = f"<{', '.join(f'i64 {lane}' for lane in range(lanes))}>"
        count = lines(f"add {kind} {same}, {ramp}")
    blocks = []
    for n in range(len(old)):
        first, third = (lines(f"add {kind} {count}, {constant(n + more)}") for more in (0, 100))
        blocks.append([first, constant(7), third, constant(0)])
    for r in range(PHILOX_ROUNDS):
        keys = [constant((weyl * r) % (1 << 64)) for weyl in _WEYL]
        for block in blocks:
            c0, c1, c2, c3 = block
            high0, low0 = product(lines, c0, _MULTIPLIERS[0])
            high1, low1 = product(lines, c2, _MULTIPLIERS[1])
            block[0] = lines(f"xor {kind} {lines(f'xor {kind} {high1}, {c1}')}, {keys[0]}")
            block[1] = low1
            block[2] = lines(f"xor {kind} {lines(f'xor {kind} {high0}, {c3}')}, {keys[1]}")
            block[3] = low0
    new = []
    for total, block in zip(old, blocks, strict=True):
        words = [total, *block]
        while len(words) > 1:
            words.append(lines(f"xor {kind} {words.pop()}, {words.pop()}"))
        new.append(words[0])
    return new


# ------------------------------------------------------------------------- all of them


AVX512 = ("avx512f", "avx512bw", "avx512vl", "avx512dq")


def _all() -> Iterator[Peak]:
    yield _tiles()
    vnni = "avx512vnni"
    yield _dot("byte_macs", "vpdpbusd", "avx512.vpdpbusd.512", (*AVX512, vnni), 512, 8)
    yield _dot("byte_macs", "vpdpbusd", "avx512.vpdpbusd.256", (*AVX512, vnni), 256, 8)
    yield _dot("word_macs", "vpdpwssd", "avx512.vpdpwssd.512", (*AVX512, vnni), 512, 16)
    # Sums of two products of bytes leave 16 bits unless one factor is below 128.
    for bits, bytes_, words, needs in (
        (512, "avx512.pmaddubs.w.512", "avx512.pmaddw.d.512", AVX512),
        (256, "avx2.pmadd.ub.sw", "avx2.pmadd.wd", ("avx2",)),
        (128, "ssse3.pmadd.ub.sw.128", "sse2.pmadd.wd", ("ssse3",)),
    ):
        yield _multiply_add("small_byte_macs", "pmaddubsw", bytes_, needs, bits)
        yield _multiply_add("word_macs", "pmaddwd", words, needs, bits)
        yield _rows("byte_rows", bits, bytes_, needs)
        yield _rows("word_rows", bits, words, needs)
    yield _plain_words()
    yield _plain_rows("byte_rows")
    yield _plain_rows("word_rows")
    for bits, needs in ((512, AVX512), (256, ("avx2",)), (128, ())):
        yield _lanes(bits, 32, needs)
        yield _lanes(bits, 64, needs)
        yield _stream(bits, needs)
        yield _philox_vector(bits // 64, 2, needs)
    yield _philox_vector(8, 3, AVX512)
    yield _lookups(16, AVX512)
    yield _lookups(8, ("avx2",))
    yield _single_lookups()
    for together in (1, 2, 4):
        yield _philox_single(together)


@cache
def allowed() -> frozenset[str]:
    """Features that may be used, as LLVM writes them: those that the engine may use."""
    tiles = frozenset({"amx-tile", "amx-int8"})
    return processor.features() - (frozenset() if processor.level() == "amx" else tiles)


@cache
def peaks() -> tuple[Peak, ...]:
    """Loops that run here."""
    return tuple(peak for peak in _all() if peak.needs <= allowed())


def _parsed(peak: Peak) -> tuple[Any, Any]:
    """Module of a loop, and the machine that it is compiled for."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(
        cpu=processor.target_name(), features=processor.target_features(), opt=2, jit=True
    )
    module = binding.parse_assembly(peak.text)
    module.triple = target.triple
    module.verify()
    return module, machine


def assembly(peak: Peak) -> str:
    """Instructions of a loop."""
    module, machine = _parsed(peak)
    found: str = machine.emit_assembly(module)
    return found


_engines: list[Any] = []


@cache
def compiled(peak: Peak) -> Run:
    """Machine code of a loop; it runs without the interpreter's lock."""
    engine = binding.create_mcjit_compiler(*_parsed(peak))
    engine.finalize_object()
    _engines.append(engine)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    function: Run = kind(engine.get_function_address("peak"))
    return function
