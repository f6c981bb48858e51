"""Process of the error population."""

from __future__ import annotations

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from pvae_neuro.network_parts import ErrorPopulation
from pvae_neuro.sim.lava.batch import Batch, state_shape


class ErrorNeurons(AbstractProcess):  # type: ignore[misc]
    """Neurons that compare the input with a prediction and send the weighted difference.

    Integer rule (tag ``fixed_pt``). On the steps with ``step % period == phase``, where the
    connections deliver the negative prediction::

        received = shift(a_in, exponents[0]) + shift(a_in_fine, exponents[1]) + x_in
        e = x + received
        m = clamp((e * gain + 2**(gain_shift-1)) >> gain_shift, -message_limit, message_limit)
        send m

    On the other steps the ports are emptied and zeros are sent. Then ``step <- step + 1``. With
    ``shift(a, e) = a << e`` for e >= 0, else ``(a + 2**(-e-1)) >> -e``.

    Tag ``floating_pt``: the same rule in the same units without rounding, clamps included.

    Parameters
    ----------
    population : ErrorPopulation
        Integer parameters.
    exponents : (int, int)
        Powers of two that bring ``a_in`` and ``a_in_fine`` to the unit of x.
    period, phase : int
        Steps per iteration, and the one on which this population acts.
    batch : int
        Samples B side by side. One: ports and state [M]; more: [B, M], for connections that carry
        them.
    files : Batch, optional
        Samples to run through without a word from outside.

    Attributes
    ----------
    a_in, a_in_fine : InPort [M]
        Products of ``Dense`` connections: integers below 2**23.
    x_in : InPort [M]
        Streamed input, unit of x; only what arrives on an acting step counts.
    s_out : OutPort [M]
        Graded spike m, within the message limit.
    x, m : Var [M]
        Input (unit 2**-input.frac_bits) and last message.
    gain : Var [M]
        Mantissa of the error gain.
    exponents : Var [2]
    step : Var [1]
        Setting it to 0 begins a sample.
    """

    def __init__(
        self,
        population: ErrorPopulation,
        *,
        exponents: tuple[int, int] = (0, 0),
        period: int = 2,
        phase: int = 1,
        batch: int = 1,
        files: Batch | None = None,
    ) -> None:
        super().__init__(
            name=population.name,
            gain_shift=population.gain_shift,
            message_limit=population.message_limit,
            period=period,
            phase=phase,
            batch=batch,
            files=files,
        )
        shape = state_shape(population.size, batch)
        self.a_in = InPort(shape=shape)
        self.a_in_fine = InPort(shape=shape)
        self.x_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.x = Var(shape=shape, init=0)
        self.m = Var(shape=shape, init=0)
        self.gain = Var(shape=(population.size,), init=population.gain)
        self.exponents = Var(shape=(2,), init=np.array(exponents))
        self.step = Var(shape=(1,), init=0)
