"""Bytes and operations of one image-iteration of the fast engine, counted from its kernels.

Counting follows ``sim/fast`` loop by loop. ``shared`` bytes are rows of weights and readout, which
all images read and which may be larger than a core's own caches; ``local`` bytes are the state of
one image, which stays in the first-level cache. An operation is one addition, comparison, shift,
logical operation or multiplication of one lane; a fused pair counts as two. Loops that only move
the results of others (summaries, lists of active neurons) count their bytes. No overlap between
phases is assumed, full overlap of bytes and operations within a phase is.
"""

from __future__ import annotations

from dataclasses import dataclass

NOISE_WORDS_PER_BLOCK = 16
PHILOX_ROUNDS = 10
ROWS_PER_PASS = 4
WIDE_ROWS_PER_PASS = 2
SURE_COMPARES = 3
INT16_MAX = (1 << 15) - 1


@dataclass(frozen=True)
class Work:
    """Size of an iteration.

    Attributes
    ----------
    latents, pixels, batch : int
    active : float
        Neurons that fire, mean.
    spikes : float
        Sum of counts, mean.
    mantissa_max : int
        Largest absolute weight.
    summary : bool
        Whether the squared error of every iteration is computed.
    feedback_bytes : int
        Bytes per feedback weight in the product that runs (4 in float32, 8 in float64).
    """

    latents: int
    pixels: int
    batch: int
    active: float
    spikes: float
    mantissa_max: int
    summary: bool
    feedback_bytes: int = 4


@dataclass(frozen=True)
class Phase:
    """A part of an iteration: bytes by where they lie, operations by width.

    Attributes
    ----------
    name : str
    shared, local : float
        Bytes.
    working_set : int
        Size of the shared array that the bytes come from.
    ops16, ops32, ops64 : float
        Integer lane operations.
    wide : float
        Multiplications of 64 by 64 to 128 bits.
    flops : float
        Floating-point operations that carry exact integers (dense feedback).
    """

    name: str
    shared: float = 0.0
    local: float = 0.0
    working_set: int = 0
    ops16: float = 0.0
    ops32: float = 0.0
    ops64: float = 0.0
    wide: float = 0.0
    flops: float = 0.0

    @property
    def operations(self) -> float:
        """All of them."""
        return self.ops16 + self.ops32 + self.ops64 + self.wide + self.flops


def lateral(work: Work) -> list[Phase]:
    """Phases of ``run_recurrent``."""
    size = work.latents
    update = Phase("update", local=32 * size, ops32=5 * size, ops64=3 * size)
    return [
        _noise(work),
        _sampling(work),
        _rows(work, "lateral rows", size),
        update,
        *_readout(work),
    ]


def predictive(work: Work) -> list[Phase]:
    """Phases of ``draw_and_weigh``, the dense product, and ``take_feedback``."""
    size, pixels = work.latents, work.pixels
    weights = size * pixels * work.feedback_bytes
    return [
        _noise(work),
        _sampling(work),
        _rows(work, "prediction rows", pixels),
        Phase("error neurons", local=20 * pixels, ops64=8 * pixels),
        Phase(
            "dense feedback",
            shared=weights / work.batch,
            working_set=weights,
            local=work.feedback_bytes * (pixels + size),
            flops=2 * pixels * size,
        ),
        Phase("update", local=33 * size, ops32=5 * size, ops64=6 * size),
        *_readout(work),
    ]


def _noise(work: Work) -> Phase:
    blocks = -(-work.latents // NOISE_WORDS_PER_BLOCK)
    rounds = blocks * PHILOX_ROUNDS
    # Per round: two products, each used in both halves; four exclusive ors; two key additions.
    return Phase("noise", local=32 * blocks, wide=2 * rounds, ops64=6 * rounds)


def _sampling(work: Work) -> Phase:
    # Row: five operations on u and word. Test: compare with the first threshold, count, append.
    # Each active neuron: compares with further thresholds. Then counts are written out.
    return Phase(
        "sampling",
        local=23 * work.latents + 29 * work.active,
        ops32=7 * work.latents + 2 * SURE_COMPARES * work.active,
    )


def _rows(work: Work, name: str, targets: int) -> Phase:
    # Sums are loaded and stored once per pass of four rows; moved to 32 bits before they overflow.
    moves = 1 + work.spikes * work.mantissa_max / INT16_MAX
    return Phase(
        name,
        shared=work.active * targets,
        working_set=work.latents * targets,
        local=4 * targets * work.active / ROWS_PER_PASS + (6 + 12 * moves) * targets,
        ops16=2 * work.active * targets,
        ops32=moves * targets,
    )


def _readout(work: Work) -> list[Phase]:
    if not work.summary:
        return []
    pixels = work.pixels
    return [
        Phase(
            "readout rows",
            shared=2 * work.active * pixels,
            working_set=2 * work.latents * pixels,
            local=8 * pixels * work.active / WIDE_ROWS_PER_PASS + 4 * pixels,
            ops32=2 * work.active * pixels,
        ),
        Phase("squared error", local=8 * pixels, ops64=4 * pixels),
    ]
