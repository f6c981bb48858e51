"""Files that carry a batch of samples into Lava's processes and their record out of them.

``Var.set`` and ``Var.get`` move one element per message through two other processes, and a Monitor
receives every value as a message of its own; an array in a mapped file costs nothing per step.
Knows NumPy alone, so that both sides of the process boundary can import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A block is written, reported and then read and deleted; this bounds what lies in the folder.
BLOCK_BYTES = 1 << 25


@dataclass(frozen=True, eq=False)
class Block:
    """Record of consecutive samples, mapped into memory.

    Attributes
    ----------
    counts : uint8 [B, T + 1, K]
        The last one is the readout.
    potentials : int32 [B, T, K]
        After each update, unit 2**-frac_bits.
    """

    counts: NDArray[np.uint8]
    potentials: NDArray[np.int32]


@dataclass(frozen=True)
class Batch:
    """Samples that run one after the other without a word from outside.

    Attributes
    ----------
    folder : str
        Private folder of the files.
    samples, iterations, latents : int
        N, T and K.
    block_bytes : int
        Size of the files of a block, unless one sample needs more.
    """

    folder: str
    samples: int
    iterations: int
    latents: int
    block_bytes: int = BLOCK_BYTES

    @property
    def samples_per_block(self) -> int:
        """Samples B that are recorded in one file; the last block may hold fewer."""
        bytes_per_sample = self.latents * (5 * self.iterations + 1)
        return max(1, min(self.samples, self.block_bytes // bytes_per_sample))

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.samples // self.samples_per_block)

    def rows(self, block: int) -> range:
        """Rows of the samples in a block."""
        first = block * self.samples_per_block
        return range(first, min(first + self.samples_per_block, self.samples))

    def write_input(self, population: str, values: NDArray[np.integer[Any]]) -> None:
        """Store the input of a population, int [N, neurons]."""
        np.save(self._path(f"input-{population}.npy"), values)

    def read_input(self, population: str) -> NDArray[Any] | None:
        """Map the input of a population, or None where it has none."""
        path = self._path(f"input-{population}.npy")
        return _plain(np.load(path, mmap_mode="r")) if path.exists() else None

    def create_block(self, block: int) -> Block:
        """Create and map the files of a block."""
        mapped = [
            _plain(np.memmap(path, dtype, "w+", shape=shape))
            for path, dtype, shape in self._block_files(block)
        ]
        return Block(*mapped)

    def take_block(self, block: int) -> Block:
        """Read the files of a finished block and delete them."""
        taken = []
        for path, dtype, shape in self._block_files(block):
            taken.append(np.fromfile(path, dtype).reshape(shape))
            path.unlink()
        return Block(*taken)

    def create_progress(self) -> NDArray[np.int64]:
        """Create the counter of iterations done, int64 [1]."""
        return _plain(np.memmap(self._path("progress"), np.int64, "w+", shape=(1,)))

    def open_progress(self) -> NDArray[np.int64]:
        """Map the counter of iterations done."""
        return _plain(np.memmap(self._path("progress"), np.int64, "r+", shape=(1,)))

    def _path(self, name: str) -> Path:
        return Path(self.folder) / name

    def _block_files(self, block: int) -> list[tuple[Path, Any, tuple[int, int, int]]]:
        """Path, dtype and shape of the counts and of the potentials."""
        rows, steps = len(self.rows(block)), self.iterations
        return [
            (self._path(f"counts-{block}"), np.uint8, (rows, steps + 1, self.latents)),
            (self._path(f"potentials-{block}"), np.int32, (rows, steps, self.latents)),
        ]


def _plain(mapped: NDArray[Any]) -> NDArray[Any]:
    """The same memory without the memmap subclass, whose indexing is slow."""
    return mapped.view(np.ndarray)
