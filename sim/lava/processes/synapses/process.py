"""Process of a connection."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from pvae_neuro.network import Connection
from pvae_neuro.sim.lava.exchange import state_shape


class Synapses(AbstractProcess):  # type: ignore[misc]
    """Synapses of a connection of any kind, between populations with B samples side by side.

    Rule, with the timing of Lava's ``Dense``: what was computed on the step before is sent first,
    so that a connection takes one step and a loop cannot deadlock::

        send a_buff
        a_buff <- connection.product(s_in, weights)        exact, for every sample

    The integers are those of the bit-accurate ``Dense`` that
    :func:`~pvae_neuro.sim.lava.dense.exact_dense` builds for dense connections, which takes one
    sample at a time.

    Parameters
    ----------
    connection : Connection
        Of a network whose accumulators are proved to fit 24 bits; the exactness of the products
        rests on it. Its exponent is left to the target.
    batch : int
        Samples B.

    Attributes
    ----------
    s_in : InPort [n_source], or [B, n_source]
        Graded spikes.
    a_out : OutPort [n_target], or [B, n_target]
        Products of the step before.
    a_buff : Var [n_target], or [B, n_target]
        What the next step sends.
    weights : Var
        Mantissas, in the shape of the connection's kind.
    """

    def __init__(self, connection: Connection, *, batch: int = 1) -> None:
        super().__init__(name=connection.name, connection=connection)
        targets, sources = connection.shape
        self.s_in = InPort(shape=state_shape(sources, batch))
        self.a_out = OutPort(shape=state_shape(targets, batch))
        self.a_buff = Var(shape=state_shape(targets, batch), init=0)
        self.weights = Var(shape=connection.weight.shape, init=connection.weight)
