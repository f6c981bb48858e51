"""Word operations of a draw, by the path that it takes through the sampler.

The sampler (:mod:`pvae_neuro.network.sampler`) leaves early for most draws and else makes a pass
for each count. Its parts, with the operations that a neuron core runs for each; branches, and that
two conditions hold, are free; a comparison is ``ge``; shifts round:

==================  =============================================  ==============================
part                when                                           operations
==================  =============================================  ==============================
``split``           always: t, f, i, and ``i < -1``                mul and sub shr ge
``first exit``      i < -1: ``w < 65535 - max(2**(17+i), 1)``      add shl max sub ge
``rate``            not left: exp2, shift, and ``i < 0``           4 mul, 4 add, sub shr ge
``second exit``     and i < 0: ``w < 65534 - (r >> (q - 16))``     shr sub ge
``probability``     not left: x, its fraction, S, exp2             5 mul, 5 add, neg and shr
``pass``            for each z up to the count                     2 shr, add, 3 ge
``next``            for each z below the count, and ``P >= 2^22``  2 mul, add ge
``full``            where P is at least 2**22: ``S > 0``           ge
``normalize``       and S > 0: shift by one more; ``P >= 2^22``    shr sub add ge
==================  =============================================  ==============================
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.network import sampler

Ints = NDArray[np.int64]

_EXP2 = "mul add mul add mul add mul add"
PARTS: dict[str, Counter[str]] = {
    name: Counter(operations.split())
    for name, operations in {
        "split": "mul and sub shr ge",
        "first exit": "add shl max sub ge",
        "rate": f"{_EXP2} sub shr ge",
        "second exit": "shr sub ge",
        "probability": f"mul neg and add shr {_EXP2}",
        "pass": "shr add shr ge ge ge",
        "next": "mul mul add ge",
        "full": "ge",
        "normalize": "shr sub add ge",
    }.items()
}
"""Operations of each part."""
CONSTANTS_READ = {"next": 1}
"""Words of the sampler's table of inverses that each part reads."""


def table_bytes(max_count: int) -> int:
    """Bytes of the sampler's constants: inverses of 2 to the largest count, and six more."""
    return 4 * (max_count - 1 + 1 + len(sampler.EXP2_COEFFICIENTS))


def traced(
    u: NDArray[Any], word: NDArray[Any], max_count: int, frac_bits: int, part: Ints
) -> tuple[Ints, Ints]:
    """Draw counts, and count how often each part of the sampler runs.

    Parameters
    ----------
    u, word : int [R, n]
        Log-rates and random words.
    max_count, frac_bits : int
    part : int64 [n]
        Which part of the population each neuron belongs to, from 0.

    Returns
    -------
    counts : int64 [R, n]
        As :func:`~pvae_neuro.network.sampler.sample_counts` draws them.
    visits : int64 [R, parts of the population, parts of the sampler]
        Summed over neurons; the last axis in the order of :data:`PARTS`.
    """
    rows, parts = len(word), int(part.max()) + 1
    place = (np.arange(rows)[:, None] * parts + part).ravel()
    u = np.broadcast_to(np.asarray(u, np.int64), word.shape).ravel()
    w = np.asarray(word, np.int64).ravel()
    counts = np.zeros(len(u), np.int64)
    found = dict.fromkeys(PARTS, np.zeros(rows * parts, np.int64))

    def seen(name: str, index: Any) -> None:
        found[name] = found[name] + np.bincount(place[index], minlength=rows * parts)

    q = sampler.rate_bits(max_count)
    f, i = sampler._split(u, frac_bits)
    seen("split", slice(None))
    small = i < -1
    index = np.flatnonzero(small)
    seen("first exit", index)
    stays = ~small
    stays[index] = w[index] >= sampler._first_exit(i[index])
    index = np.flatnonzero(stays)
    f, i, w = f[index], i[index], w[index]
    seen("rate", index)
    r = sampler._rate(f, i, q)
    low = i < 0
    seen("second exit", index[low])
    stays = ~(low & (w < 65534 - sampler._in_words(r, q)))
    index, r, w = index[stays], r[stays], w[stays]
    seen("probability", index)
    p, s = sampler._first_probability(r, q)
    c = np.zeros(len(index), np.int64)
    for z in range(max_count + 1):
        seen("pass", index)
        c = c + sampler._rounded(p, s)
        more = ~((w < (c + 32) >> 6) | (p == 0) | (z == max_count))
        counts[index[~more]] = z
        index, r, w, c, p, s = (v[more] for v in (index, r, w, c, p, s))
        if not len(index):
            break
        seen("next", index)
        product, shift = p * sampler.mul(r, sampler.inverse(z + 1), 22), np.full(p.shape, q)
        while True:
            p = sampler._rounded(product, shift)
            full = p >= sampler.ONE
            seen("full", index[full])
            again = full & (s > 0)
            if not again.any():
                break
            seen("normalize", index[again])
            shift, s = shift + again, s - again
    visits = np.stack(list(found.values()), axis=1)
    return counts.reshape(word.shape), visits.reshape(rows, parts, len(PARTS))
