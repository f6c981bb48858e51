"""Stock ``Dense`` connections that deliver exactly the network's integers.

Lava's fixed-point ``Dense`` clips mantissas beyond 8 bits, drops the lowest bit of a matrix of
mixed sign, and turns graded messages into booleans unless told their width; none of it is
reported. So a mantissa q is held as 2 * q, the product is shifted back by one, and what the
ProcessModel will hold is computed beforehand by Lava's own functions and compared.
"""

from __future__ import annotations

import numpy as np
from lava.proc.dense.process import Dense as LavaDense
from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import Dense
from pvae_neuro.network.operations import WORD_WIDTH

WEIGHT_BITS = 8
HELD_EXPONENT = -1


def exact_dense(connection: Dense) -> LavaDense:
    """Stock ``Dense`` whose output is ``connection.weight @ sent``, one step later.

    Its exponent is left to the target.

    Raises
    ------
    NetworkError
        If ``Dense`` would hold other mantissas.
    """
    held = connection.weight.astype(np.int32) * 2
    sign_mode = determine_sign_mode(held)
    kept = truncate_weights(clip_weights(held, sign_mode, WEIGHT_BITS), sign_mode, WEIGHT_BITS)
    if not np.array_equal(kept >> 1, connection.weight):
        row, column = np.argwhere(kept >> 1 != connection.weight)[0]
        raise NetworkError(
            f"connection {connection.name!r}: Lava's Dense would hold "
            f"{kept[row, column] >> 1} instead of mantissa {connection.weight[row, column]} at "
            f"[{row}, {column}]; mantissas must lie in +-127"
        )
    return LavaDense(
        weights=held,
        weight_exp=HELD_EXPONENT,
        num_weight_bits=WEIGHT_BITS,
        sign_mode=sign_mode,
        num_message_bits=WORD_WIDTH,
        name=connection.name,
    )
