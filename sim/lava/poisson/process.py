"""Process of the Poisson population."""

from __future__ import annotations

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from pvae_neuro.network_parts import PoissonPopulation
from pvae_neuro.sim.lava.batch import Batch, state_shape
from pvae_neuro.sim.noise import check_seed


class PoissonNeurons(AbstractProcess):  # type: ignore[misc]
    """Neurons that emit Poisson counts of their log-rate u and integrate what comes back.

    Integer rule (tag ``fixed_pt``). On the steps with ``step % period == 0``::

        t = step // period
        if t == 0:  u <- initial
        else:       received = shift(a_in, exponents[0]) + shift(a_in_fine, exponents[1]) + drive_in
                    du = clamp(drive - leak - diagonal * z + received, du_min, du_max)
                    u <- clamp(u + du, u_min, u_max)
        word = words(seed, t, sample)             16 bits per neuron, Philox4x64-10
        row  = (u - u_min + dither(word)) >> row_bits
        z    = number of thresholds of table[row] that the word exceeds
        send z

    On the other steps the ports are emptied and zeros are sent. Then ``step <- step + 1``. With
    ``shift(a, e) = a << e`` for e >= 0, else ``(a + 2**(-e-1)) >> -e``.

    Tag ``floating_pt``: the same rule without rounding; u is held in real units (log-rate), the
    count is the inverse of the Poisson distribution function at ``(word + 1/2) / 2**16`` and
    saturates at the largest count, and the clamps are hard, at the same bounds.

    Parameters
    ----------
    population : PoissonPopulation
        Integer parameters; unit of u is 2**-frac_bits.
    exponents : (int, int)
        Powers of two that bring ``a_in`` and ``a_in_fine`` to the unit of u.
    period : int
        Steps per iteration: the number of hops.
    seed : int
        Key of the noise, below 2**64.
    sample : int
        Index of the (first) sample in the noise.
    batch : int
        Samples B side by side, ``sample`` to ``sample + B - 1`` in the noise. One: ports, u, z and
        drive [K]; more: [B, K], for connections that carry them.
    files : Batch, optional
        Samples to run through and to record without a word from outside.

    Attributes
    ----------
    a_in, a_in_fine : InPort [K]
        Products of ``Dense`` connections: integers below 2**23, unit 2**(exponent - frac_bits).
    drive_in : InPort [K]
        Streamed drive, unit of u; only what arrives on an acting step counts.
    s_out : OutPort [K]
        Spike counts z: graded spikes from 0 to the largest count.
    u, z : Var [K]
        Membrane potential and last counts.
    drive, initial, leak, diagonal : Var [K]
        Unit of u, in both models.
    table : Var [rows, max_count]
        Thresholds; see :class:`~pvae_neuro.count_table.CountTable`.
    clamps : Var [4]
        u_min, u_max, du_min, du_max.
    exponents : Var [2]
    seed : Var [2]
        Low and high 32 bits: Lava carries every number as a float64.
    sample, step : Var [1]
        Setting ``step`` to 0 begins a sample.
    """

    def __init__(
        self,
        population: PoissonPopulation,
        *,
        exponents: tuple[int, int] = (0, 0),
        period: int = 1,
        seed: int = 0,
        sample: int = 0,
        batch: int = 1,
        files: Batch | None = None,
    ) -> None:
        super().__init__(
            name=population.name,
            population=population,
            period=period,
            phase=0,
            batch=batch,
            files=files,
        )
        check_seed(seed)
        neurons = (population.size,)
        shape = state_shape(population.size, batch)
        self.a_in = InPort(shape=shape)
        self.a_in_fine = InPort(shape=shape)
        self.drive_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.u = Var(shape=shape, init=population.initial)
        self.z = Var(shape=shape, init=0)
        self.initial = Var(shape=neurons, init=population.initial)
        self.drive = Var(shape=shape, init=0)
        self.leak = Var(shape=neurons, init=population.leak)
        self.diagonal = Var(shape=neurons, init=population.diagonal)
        self.table = Var(shape=population.table.threshold.shape, init=population.table.threshold)
        self.clamps = Var(shape=(4,), init=_clamps(population))
        self.exponents = Var(shape=(2,), init=np.array(exponents))
        self.seed = Var(shape=(2,), init=split_seed(seed))
        self.sample = Var(shape=(1,), init=np.array([sample]))
        self.step = Var(shape=(1,), init=0)


def _clamps(population: PoissonPopulation) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    p = population
    return np.array([p.u_min, p.u_max, p.du_min, p.du_max], dtype=np.int64)


def split_seed(seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Low and high 32 bits of a seed, int64 [2]."""
    return np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.int64)
