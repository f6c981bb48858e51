"""Integer Poisson sampling: one potential and one random word give one count."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.count_table import CountTable


def sample_counts(
    potential: NDArray[np.integer[Any]], word: NDArray[np.uint16], table: CountTable
) -> NDArray[np.int64]:
    """Draw counts by compares and adds alone.

    ``row = (u - u_min + dither(word)) >> row_bits``; the count is the number of thresholds of that
    row that the word exceeds. See :class:`~pvae_neuro.count_table.CountTable` for the circuit and
    its exact distribution.

    Parameters
    ----------
    potential : int [...]
        In [table.u_min, table.u_max], unit 2**-table.frac_bits.
    word : uint16 [...]
        Uniform random words, same shape.
    table : CountTable

    Returns
    -------
    int64 [...]
        Counts in [0, table.max_count].
    """
    low_bits = word.astype(np.int64) & ((1 << table.dither_bits) - 1)
    dither = low_bits << (table.row_bits - table.dither_bits)
    row = (potential - table.u_min + dither) >> table.row_bits
    return np.count_nonzero(word[..., None] > table.threshold[row], axis=-1)
