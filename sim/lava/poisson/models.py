"""ProcessModels of the Poisson population: integers, and their floating-point counterpart."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from numpy.typing import NDArray

from pvae_neuro.count_table import WORDS, poisson_cdf
from pvae_neuro.sim.lava.batch import Batch, BlockWriter
from pvae_neuro.sim.lava.phased import PhasedModel, sum_scaled, sum_shifted
from pvae_neuro.sim.lava.poisson.process import PoissonNeurons
from pvae_neuro.sim.noise import NoiseSource

Arrived = list[tuple[NDArray[Any], int]]


class _PoissonModel(PhasedModel):
    """Order of an iteration, noise and record; subclasses do the arithmetic."""

    initial: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)
    drive: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)
    leak: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)
    diagonal: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)
    table: NDArray[np.uint16] = LavaPyType(np.ndarray, np.uint16, precision=16)
    clamps: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)
    seed: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64)
    sample: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64)
    u: NDArray[Any]
    z: NDArray[Any]
    stream = "drive_in"

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._population = proc_params["population"]
        self._block: BlockWriter | None = None
        self._progress: NDArray[np.int64] | None = None

    def _prepare(self) -> None:
        super()._prepare()
        self._u_min, self._u_max, self._du_min, self._du_max = (int(c) for c in self.clamps)
        key = int(self.seed[0]) | int(self.seed[1]) << 32
        self._noise = NoiseSource(key, self._population.size)
        self._driven = self.drive - self.leak
        self._word_place: tuple[int, int] | None = None
        if self._files is not None and self._progress is None:
            self._progress = self._files.open_progress()

    def _begin_sample(self) -> None:
        self._load_input(self.drive)
        self._driven = self.drive - self.leak

    def _act(self, iteration: int, arrived: Arrived) -> NDArray[Any]:
        if iteration == 0:
            self._rest()
        else:
            self._update(arrived)
        place = int(self.sample[0]), iteration
        if self._word_place != place:
            self._load_words(place)
        self._fire()
        return self.z

    def _after(self, iteration: int) -> None:
        if self._files is not None:
            self._record(self._files, iteration)
        self._load_words((int(self.sample[0]), iteration + 1))

    def _record(self, files: Batch, iteration: int) -> None:
        block, row = divmod(self._row, files.samples_per_block)
        if iteration == 0 and row == 0:
            self._block = files.open_block(block)
        if self._block is None or self._progress is None:
            return
        self._block.add_counts(self.z)
        if iteration > 0:
            self._block.add_potentials(self.u)
            self._progress[0] += min(self._width, files.samples - self._row)

    def _next_sample(self) -> None:
        super()._next_sample()
        self.sample[0] += self._width
        self._close_block()
        self._load_words((int(self.sample[0]), 0))

    def _close_block(self) -> None:
        """After the last sample of a block: the host reads its files once this step is over."""
        files = self._files
        if files is None or self._block is None:
            return
        if self._row >= files.samples or self._row % files.samples_per_block == 0:
            self._block.close()
            self._block = None

    def _load_words(self, place: tuple[int, int]) -> None:
        """Draw the noise of (first sample, iteration): ahead of time, while connections compute."""
        first, iteration = place
        self._word_place = place
        words = [self._noise.words(iteration, first + row) for row in range(self._width)]
        self._word = np.concatenate(words).reshape(self.u.shape)

    def _rest(self) -> None:
        """Set the initial potential."""
        raise NotImplementedError

    def _update(self, arrived: Arrived) -> None:
        """Update u."""
        raise NotImplementedError

    def _fire(self) -> None:
        """Set z from u and the words."""
        raise NotImplementedError


@implements(proc=PoissonNeurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPoissonModelFixed(_PoissonModel):
    """Equal to ``sim/reference.py``, integer for integer."""

    drive_in: Any = LavaPyType(PyInPort.VEC_DENSE, np.int64, precision=24)
    s_out: Any = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    u: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=24)
    z: NDArray[np.int64] = LavaPyType(np.ndarray, np.int64, precision=8)

    def _prepare(self) -> None:
        super()._prepare()
        # [max_count, rows]: thresholds do not decrease along a row, so each level is asked only of
        # the neurons whose words exceeded the one before; most exceed none.
        self._levels = np.ascontiguousarray(self.table.T)

    def _load_words(self, place: tuple[int, int]) -> None:
        super()._load_words(place)
        table = self._population.table
        self._row_bits = table.row_bits
        dither = self._word.astype(np.int64)
        dither &= (1 << table.dither_bits) - 1
        dither <<= table.row_bits - table.dither_bits
        dither -= self._u_min
        self._dither = dither

    def _rest(self) -> None:
        self.u[:] = self.initial

    def _update(self, arrived: Arrived) -> None:
        du = self._driven - self.diagonal * self.z
        du += sum_shifted(arrived)
        # Two ufuncs in place: np.clip costs several times as much on so few neurons.
        np.maximum(du, self._du_min, out=du)
        np.minimum(du, self._du_max, out=du)
        np.add(self.u, du, out=self.u)
        np.maximum(self.u, self._u_min, out=self.u)
        np.minimum(self.u, self._u_max, out=self.u)

    def _fire(self) -> None:
        row = self.u + self._dither
        row >>= self._row_bits
        above = np.flatnonzero(self._word > self._levels[0].take(row))
        self.z.fill(0)
        counts = self.z.reshape(-1)
        for level in self._levels[1:]:
            if not above.size:
                return
            counts[above] += 1
            above = above[self._word.take(above) > level.take(row.take(above))]
        counts[above] += 1


@implements(proc=PoissonNeurons, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyPoissonModelFloat(_PoissonModel):
    """The same rule without rounding, u in real units."""

    a_in: Any = LavaPyType(PyInPort.VEC_DENSE, float)
    a_in_fine: Any = LavaPyType(PyInPort.VEC_DENSE, float)
    drive_in: Any = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: Any = LavaPyType(PyOutPort.VEC_DENSE, float)
    u: NDArray[np.float64] = LavaPyType(np.ndarray, float)
    z: NDArray[np.float64] = LavaPyType(np.ndarray, float)

    def _prepare(self) -> None:
        super()._prepare()
        self._unit = 2.0**-self._population.frac_bits

    def _rest(self) -> None:
        self.u[:] = self.initial * self._unit

    def _update(self, arrived: Arrived) -> None:
        received = sum_scaled(arrived, streamed=bool(self.drive_in.csp_ports))
        du = self._driven - self.diagonal * self.z + received
        du = np.clip(du, self._du_min, self._du_max) * self._unit
        self.u[:] = np.clip(self.u + du, self._u_min * self._unit, self._u_max * self._unit)

    def _fire(self) -> None:
        uniform = (self._word + 0.5) / WORDS
        below = poisson_cdf(np.exp(self.u).ravel(), self._population.table.max_count)
        above = uniform.ravel()[:, None] > below
        self.z[:] = np.count_nonzero(above, axis=1).reshape(self.z.shape)
