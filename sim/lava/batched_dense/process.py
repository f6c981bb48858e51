"""Process of a connection with a batch axis."""

from __future__ import annotations

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from numpy.typing import NDArray

from pvae_neuro.errors import NetworkError
from pvae_neuro.sim.exact_products import largest_sum

ACCUMULATOR_REACH = 1 << 31


class BatchedDense(AbstractProcess):  # type: ignore[misc]
    """All-to-all synapses between populations that run B samples side by side.

    Rule (tag ``fixed_pt``), the timing of Lava's ``Dense``: what was computed on the step before is
    sent first, so a connection takes one step and a loop cannot deadlock::

        send a_buff
        a_buff[b, i] <- sum_j weights[i, j] * s_in[b, j]        exact, for every sample b

    The integers are those of the bit-accurate ``Dense`` that
    :func:`~pvae_neuro.sim.lava.dense.exact_dense` builds, which takes one sample at a time.

    Tag ``floating_pt``: the same order; delivers 2 * weights @ s_in, as that ``Dense`` does in its
    floating-point model (it holds doubled mantissas), and the populations halve it.

    Parameters
    ----------
    weights : int8 [n_target, n_source]
        Mantissas.
    message_limit : int
        Largest absolute graded spike that arrives; the exactness of the products rests on it.
    batch : int
        Samples B.
    name : str

    Attributes
    ----------
    s_in : InPort [B, n_source]
        Graded spikes, integers within +-message_limit.
    a_out : OutPort [B, n_target]
        Products of the step before: integers below 2**31.
    a_buff : Var [B, n_target]
        What the next step sends.
    weights : Var [n_target, n_source]

    Raises
    ------
    NetworkError
        If a product can reach 2**31, the range of the accumulator.
    """

    def __init__(
        self, weights: NDArray[np.int8], *, message_limit: int, batch: int, name: str
    ) -> None:
        reach = largest_sum(weights.T, message_limit)
        if reach >= ACCUMULATOR_REACH:
            raise NetworkError(
                f"connection {name!r}: products can reach {reach}, expected below 2**31; lower "
                f"the largest message, now {message_limit}"
            )
        super().__init__(name=name, message_limit=message_limit)
        targets, sources = weights.shape
        self.s_in = InPort(shape=(batch, sources))
        self.a_out = OutPort(shape=(batch, targets))
        self.a_buff = Var(shape=(batch, targets), init=0)
        self.weights = Var(shape=weights.shape, init=weights)
