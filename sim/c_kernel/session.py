"""A run of a library: its state, which the host reads and writes by name, and its functions."""

from __future__ import annotations

import ctypes
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import EngineError
from pvae_neuro.exporters.c import Layout
from pvae_neuro.exporters.cores import WORD
from pvae_neuro.sim.c_kernel.emulator import Emulator
from pvae_neuro.sim.c_kernel.image import Image
from pvae_neuro.sim.c_kernel.processors import Processor


class Session(ABC):
    """One sample's state in memory.

    Attributes
    ----------
    state : structured array []
        As ``Layout.state_dtype`` says.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.state = np.zeros((), layout.state_dtype)

    @cached_property
    def views(self) -> dict[str, NDArray[Any]]:
        """Variables, received sums and random words [n] by ``population.name``, as views."""
        names = self._layout.names
        members = names.member | {(population, WORD): WORD for population in names.population}
        return {
            f"{population}.{name}": self.state[own][member]
            for (population, name), member in members.items()
            if ((own := names.population[population]), member) in self._layout.state
        }

    def start(self, iterations: int) -> None:
        """Begin a run; see :class:`~pvae_neuro.sim.c_kernel.samples.Machine`."""
        self.call("reset")

    def step(self, given: Mapping[str, NDArray[Any]], is_last: bool) -> Mapping[str, NDArray[Any]]:
        """Run an iteration or ``final``; see :class:`~pvae_neuro.sim.c_kernel.samples.Machine`."""
        for name, values in given.items():
            self.views[name][:] = values
        self.call("final" if is_last else "iteration")
        return self.views

    def call(self, function: str) -> None:
        """Call a function of the library by what follows its prefix: ``iteration``."""
        self._call(f"{self._layout.names.prefix}_{function}")

    @abstractmethod
    def _call(self, function: str) -> None: ...


class HostSession(Session):
    """On this machine's processor."""

    def __init__(self, layout: Layout, code: bytes) -> None:
        super().__init__(layout)
        self._library = _loaded(code)
        pointers = layout.data_dtype("<u8" if ctypes.sizeof(ctypes.c_void_p) == 8 else "<u4")
        self._data = np.zeros((), pointers)
        # The code reads the arrays in place.
        self._arrays = {path: np.ascontiguousarray(a) for path, a in layout.data.items()}
        for path, array in self._arrays.items():
            _set(self._data, path, array.ctypes.data)

    def _call(self, function: str) -> None:
        self._library[function](
            ctypes.c_void_p(self.state.ctypes.data), ctypes.c_void_p(self._data.ctypes.data)
        )


class EmulatedSession(Session):
    """On an emulated processor, whose memory holds a copy of the state."""

    def __init__(self, layout: Layout, image: Image, processor: Processor) -> None:
        super().__init__(layout)
        self.emulator = Emulator(image, processor)
        data = np.zeros((), layout.data_dtype("<u4"))
        for path, array in layout.data.items():
            _set(data, path, self.emulator.place(array))
        self._data = self.emulator.place(data)
        self._state = self.emulator.place(self.state)

    def _call(self, function: str) -> None:
        self.emulator.write(self._state, self.state)
        self.emulator.call(function, self._state, self._data)
        self.state[...] = self.emulator.read(self._state, self.state.dtype, ())


def _set(data: NDArray[Any], path: tuple[str, ...], address: int) -> None:
    for part in path[:-1]:
        data = data[part]
    data[path[-1]] = address


@cache
def _loaded(code: bytes) -> ctypes.CDLL:
    """A shared library in memory; its file is gone once it is loaded."""
    with tempfile.TemporaryDirectory(prefix="pvae-neuro-") as scratch:
        path = Path(scratch, "library.so")
        path.write_bytes(code)
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            raise EngineError(
                f"engine c: the compiled library cannot be loaded: {error}; set TMPDIR to a folder "
                f"that programs may run from"
            ) from error
