"""Stock ``Dense`` connections that deliver exactly the program's integers.

Lava's fixed-point ``Dense`` clips mantissas beyond 8 bits, drops the lowest bit of a matrix of
mixed sign, and turns graded messages into booleans unless told their width; none of it is
reported. So a mantissa q is held as 2 * q, the product is shifted back by one, and what the
ProcessModel will hold is computed beforehand by Lava's own functions and compared.
"""

from __future__ import annotations

import numpy as np
from lava.proc.dense.process import Dense
from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights

from pvae_neuro.errors import NetworkError
from pvae_neuro.network import ACCUMULATOR_BITS, Connection

WEIGHT_BITS = 8
HELD_EXPONENT = -1


def exact_dense(connection: Connection) -> Dense:
    """Stock ``Dense`` whose output is ``connection.weight @ emitted``, one step later.

    Parameters
    ----------
    connection : Connection
        Its exponent is left to the target population.

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
            f"[{row}, {column}]; quantize to 8 bits, mantissas in +-127"
        )
    return Dense(
        weights=held,
        weight_exp=HELD_EXPONENT,
        num_weight_bits=WEIGHT_BITS,
        sign_mode=sign_mode,
        num_message_bits=ACCUMULATOR_BITS,
        name=connection.name,
    )
