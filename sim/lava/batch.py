"""Files that carry a batch of samples into Lava's processes and their record out of them.

``Var.set`` and ``Var.get`` move one element per message through two other processes, and a Monitor
receives every value as a message of its own; files cost next to nothing per step. The record is
appended: writing into mapped pages would wait for the disk in mid-step.
Knows NumPy alone, so that both sides of the process boundary can import it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A block is written, reported and then read and deleted; this bounds what lies in the folder.
BLOCK_BYTES = 1 << 25
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Block:
    """Record of consecutive samples.

    Attributes
    ----------
    counts : uint8 [B, T + 1, K]
        The last one is the readout.
    potentials : int32 [B, T, K]
        After each update, unit 2**-frac_bits.
    """

    counts: NDArray[np.uint8]
    potentials: NDArray[np.int32]

    def pieces(self, samples: int) -> Iterator[Block]:
        """Yield the block in parts of at most so many samples."""
        for first in range(0, len(self.counts), samples):
            rows = slice(first, first + samples)
            yield Block(self.counts[rows], self.potentials[rows])


class BlockWriter:
    """Appends the record of a block to its files, pass after pass and step after step.

    Parameters
    ----------
    counts, potentials : Path
    """

    def __init__(self, counts: Path, potentials: Path) -> None:
        self._counts = counts.open("wb", _BUFFER_BYTES)
        self._potentials = potentials.open("wb", _BUFFER_BYTES)

    def add_counts(self, counts: NDArray[Any]) -> None:
        """Append the counts of one step, int [K] or [width, K]."""
        self._counts.write(counts.astype(np.uint8).tobytes())

    def add_potentials(self, potentials: NDArray[Any]) -> None:
        """Append the potentials after one update, int [K] or [width, K]."""
        self._potentials.write(potentials.astype(np.int32).tobytes())

    def close(self) -> None:
        """Write out what is buffered."""
        self._counts.close()
        self._potentials.close()


@dataclass(frozen=True)
class Batch:
    """Samples that run without a word from outside, ``width`` at a time.

    Attributes
    ----------
    folder : str
        Private folder of the files.
    samples, iterations, latents : int
        N, T and K.
    block_bytes : int
        Size of the files of a block, unless one pass needs more.
    width : int
        Samples that run side by side in one pass; the last pass may hold fewer.
    """

    folder: str
    samples: int
    iterations: int
    latents: int
    block_bytes: int = BLOCK_BYTES
    width: int = 1

    @property
    def samples_per_piece(self) -> int:
        """Samples whose record takes no more than ``block_bytes``; at least one."""
        bytes_per_sample = self.latents * (5 * self.iterations + 1)
        return max(1, self.block_bytes // bytes_per_sample)

    @property
    def samples_per_block(self) -> int:
        """Samples B recorded in one file: whole passes; the last block may hold fewer."""
        passes = min(-(-self.samples // self.width), self.samples_per_piece // self.width)
        return max(1, passes) * self.width

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.samples // self.samples_per_block)

    def rows(self, block: int) -> range:
        """Rows of the samples in a block."""
        first = block * self.samples_per_block
        return range(first, min(first + self.samples_per_block, self.samples))

    def passes(self, block: int) -> int:
        """Times that the network starts anew to run the samples of a block."""
        return -(-len(self.rows(block)) // self.width)

    def write_input(self, population: str, values: NDArray[np.integer[Any]]) -> None:
        """Store the input of a population, int [N, neurons]."""
        np.save(self._path(f"input-{population}.npy"), values)

    def read_input(self, population: str) -> NDArray[Any] | None:
        """Map the input of a population, or None where it has none."""
        path = self._path(f"input-{population}.npy")
        return _plain(np.load(path, mmap_mode="r")) if path.exists() else None

    def open_block(self, block: int) -> BlockWriter:
        """Create the files of a block."""
        return BlockWriter(*self._block_files(block))

    def take_block(self, block: int) -> Block:
        """Read the files of a finished block and delete them."""
        counts, potentials = self._block_files(block)
        return Block(
            self._take(counts, np.uint8, block, self.iterations + 1),
            self._take(potentials, np.int32, block, self.iterations),
        )

    def _take(self, path: Path, dtype: Any, block: int, steps: int) -> NDArray[Any]:
        """Read and delete a file; bring each sample's steps together."""
        shape = self.passes(block), steps, self.width, self.latents
        written = np.fromfile(path, dtype).reshape(shape)
        path.unlink()
        samples = written.swapaxes(1, 2).reshape(-1, steps, self.latents)
        return samples[: len(self.rows(block))]

    def create_progress(self) -> NDArray[np.int64]:
        """Create the counter of iterations done, int64 [1]."""
        return _plain(np.memmap(self._path("progress"), np.int64, "w+", shape=(1,)))

    def open_progress(self) -> NDArray[np.int64]:
        """Map the counter of iterations done."""
        return _plain(np.memmap(self._path("progress"), np.int64, "r+", shape=(1,)))

    def _path(self, name: str) -> Path:
        return Path(self.folder) / name

    def _block_files(self, block: int) -> tuple[Path, Path]:
        """Files of the counts and of the potentials: [passes, steps, width, K]."""
        return self._path(f"counts-{block}"), self._path(f"potentials-{block}")


def state_shape(neurons: int, width: int) -> tuple[int, ...]:
    """Shape of a population's ports and state: (neurons,), or (width, neurons) side by side."""
    return (neurons,) if width == 1 else (width, neurons)


def _plain(mapped: NDArray[Any]) -> NDArray[Any]:
    """The same memory without the memmap subclass, whose indexing is slow."""
    return mapped.view(np.ndarray)
