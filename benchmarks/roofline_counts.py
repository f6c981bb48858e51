"""Bytes and operations of one image-iteration of the fast engine, counted from its kernels.

Counting follows ``sim/fast`` loop by loop. ``reads`` are bytes of weights and readout, which all
images share and which may be larger than a core's own caches; ``local`` bytes are the state of one
image, which stays in the first-level cache. Rows are counted with the zeros that fill up their
blocks, since those are read and multiplied like weights.

An operation is one addition, comparison, shift, logical operation or multiplication of one lane; a
product and the sum that it is added to are two. Operations on rows stand by themselves, since their
rates are those of the instructions that carry them out. On x86 with AVX2, these are, for two rows
and 32 bytes of each: two loads, two interleaves, two multiply-adds and two additions, 128
operations in all (16-bit rows: the same instructions for 32 bytes and 64 operations). Of dense
feedback, 16 bytes are a load that extends the sign, a multiply-add and an addition, 32 operations.
Elsewhere the instructions differ, the operations do not.

What is done once per call (encoding, drive, the last readout) is left out. No overlap between
phases is assumed, full overlap of bytes and operations within a phase is.
"""

from __future__ import annotations

from dataclasses import dataclass

from pvae_neuro.sim.fast.events import HEAD, INT16_MAX
from pvae_neuro.sim.fast.readout import STEPS_TOGETHER
from pvae_neuro.sim.fast.vectors import BYTE_LANES, PAIR_LANES, WORD_LANES

NOISE_WORDS_PER_BLOCK = 16
PHILOX_ROUNDS = 10
# Numbers of two neurons (which) and their counts packed into one, read for each block of columns.
PAIR_BYTES = 12


@dataclass(frozen=True)
class Work:
    """Size of an iteration; activity in means per image-iteration.

    Attributes
    ----------
    latents, pixels : int
    active : float
        Neurons that fire.
    spikes : float
        Sum of counts.
    compares : float
        Thresholds compared for neurons with counts of ``HEAD`` and more.
    touched : float
        Neurons that fire at least once in the steps that are read out together.
    largest : float
        Largest absolute weight of a row, mean over rows.
    digits : int
        Digits that the messages of dense feedback are split into.
    summary : bool
        Whether the squared error of every iteration is computed.
    """

    latents: int
    pixels: int
    active: float
    spikes: float
    compares: float
    touched: float
    largest: float
    digits: int
    summary: bool


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
    byte_ops, word_ops, pair_ops : float
        Of ``add_byte_rows``, ``add_word_rows`` and ``add_pairs``.
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
    ops16: float = 0.0
    ops32: float = 0.0
    ops64: float = 0.0
    wide: float = 0.0

    @property
    def shared(self) -> float:
        """Bytes of weights."""
        return sum(size for size, _ in self.reads)


KINDS = ("byte_ops", "word_ops", "pair_ops", "ops16", "ops32", "ops64", "wide")


def operations(phase: Phase) -> float:
    """All of a phase, whatever their kind."""
    return sum(getattr(phase, kind) for kind in KINDS)


def lateral(work: Work) -> list[Phase]:
    """Phases of ``run_recurrent``."""
    size, active = work.latents, work.active
    # Drive, self-inhibition, shifted sums, two clamps.
    update = Phase("update", local=32 * size + 20 * active, ops32=8 * size + 2 * active)
    return [
        _noise(work),
        _sampling(work),
        _rows(work, "lateral rows", size),
        update,
        *_readout(work),
    ]


def predictive(work: Work) -> list[Phase]:
    """Phases of ``run_feedback``."""
    size, active = work.latents, work.active
    update = Phase(
        "update", local=28 * size + 20 * active, ops32=5 * size + 2 * active, ops64=4 * size
    )
    return [
        _noise(work),
        _sampling(work),
        _rows(work, "prediction rows", work.pixels),
        Phase("error neurons", local=20 * work.pixels, ops64=8 * work.pixels),
        _feedback(work),
        update,
        *_readout(work),
    ]


def _padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _noise(work: Work) -> Phase:
    blocks = -(-work.latents // NOISE_WORDS_PER_BLOCK)
    rounds = blocks * PHILOX_ROUNDS
    # Per round: two products, each used in both halves; four exclusive ors; two key additions.
    return Phase("noise", local=32 * blocks, wide=2 * rounds, ops64=6 * rounds)


def _sampling(work: Work) -> Phase:
    # Each neuron: row (five operations), first threshold, place in the list. Each active one:
    # further thresholds of the head, sum of counts, pairs, comparison with the largest count.
    return Phase(
        "sampling",
        local=24 * work.latents + (24 + 2 * (HEAD - 1)) * work.active + 2 * work.compares,
        ops16=work.compares,
        ops32=7 * work.latents + (4 + 2 * (HEAD - 1)) * work.active,
    )


def _rows(work: Work, name: str, targets: int) -> Phase:
    # Sums leave the registers once per cut of the list; those of further cuts are added in memory.
    width = _padded(targets, BYTE_LANES)
    cuts = max(1.0, work.spikes * work.largest / INT16_MAX)
    lists = (PAIR_BYTES / 2 * (width // BYTE_LANES) + 12) * work.active
    return Phase(
        name,
        reads=((work.active * width, work.latents * width),),
        local=4 * width * cuts + 12 * width * (cuts - 1) + lists,
        byte_ops=2 * work.active * width,
        ops32=width * (2 * cuts - 1) + 2 * work.active,
    )


def _feedback(work: Work) -> Phase:
    # For each digit: take it from the messages, multiply, add the products to the 64-bit sums.
    size, pixels = _padded(work.latents, PAIR_LANES), _padded(work.pixels, 2)
    digits, weights = work.digits, size * pixels
    pairs = 2 * pixels * (size // PAIR_LANES)
    return Phase(
        "dense feedback",
        reads=((digits * weights, weights),),
        local=digits * (6 * work.pixels + pairs + 4 * size + 20 * work.latents) + 8 * work.latents,
        pair_ops=2 * digits * weights,
        ops32=2 * digits * work.pixels,
        ops64=2 * digits * work.latents,
    )


def _readout(work: Work) -> list[Phase]:
    if not work.summary:
        return []
    width = _padded(work.pixels, WORD_LANES)
    blocks = width // WORD_LANES
    # A block is fetched once for some steps; each step then reads its rows of the block.
    fetched = (2 * width * work.touched / STEPS_TOGETHER, 2 * width * work.latents)
    rows = (2 * width * work.active, 2 * WORD_LANES * work.latents)
    return [
        Phase(
            "readout rows",
            reads=(fetched, rows),
            local=4 * width + (8 + PAIR_BYTES / 2 * blocks) * work.active,
            word_ops=2 * work.active * width,
            ops32=work.active,
        ),
        Phase("squared error", local=8 * work.pixels, ops64=4 * work.pixels),
    ]
