"""What caller and worker exchange: the job, and files of inputs and records.

``Var.set`` and ``Var.get`` move one element per message through two other processes, and a Monitor
receives every value as a message of its own; files cost next to nothing per step. The record is
appended: writing into mapped pages would wait for the disk in mid-step. Records come in pieces,
which the caller takes and deletes while the next ones are written. Knows nothing of Lava, so that
both sides of the process boundary can import it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import IntegerNetwork
from pvae_neuro.sim.noise import check_whole

# A piece is written, reported and then read and deleted; this bounds what lies in the folder.
PIECE_BYTES = 1 << 25
MOST_SAMPLES = 1 << 20
_BUFFER_BYTES = 1 << 20
_JOB = "job.pickle"


@dataclass(frozen=True, eq=False)
class Job:
    """Samples to run through without a word from outside, ``width`` at a time.

    Attributes
    ----------
    folder : str
        Private folder of the files.
    network : IntegerNetwork
    seed, first_sample, first_step : int
        Place of the samples in the noise.
    samples, frames, iterations : int
        Number of samples, of frames of each, and of iterations of a frame.
    record : tuple of str
        Variables to record after every iteration.
    dtypes : dict of str to str
        Type that each of the network's variables is recorded in.
    width : int
        Samples that run side by side in one pass; the last pass may hold fewer.
    stock_convolutions : bool
        Whether convolutions are Lava's stock process.
    piece_bytes : int
        Size of the files of a piece, unless one pass needs more.
    """

    folder: str
    network: IntegerNetwork
    seed: int
    first_sample: int
    first_step: int
    samples: int
    frames: int
    iterations: int
    record: tuple[str, ...]
    dtypes: dict[str, str]
    width: int = 1
    stock_convolutions: bool = False
    piece_bytes: int = PIECE_BYTES

    @property
    def total_iterations(self) -> int:
        """Iterations of all frames, T."""
        return self.frames * self.iterations

    @property
    def passes_per_piece(self) -> int:
        """Passes whose records take no more than ``piece_bytes``; at least one."""
        steps = dict.fromkeys(self.network.variables, 1)
        steps.update(dict.fromkeys(self.record, self.total_iterations + 2))
        values = sum(
            self.size(name) * np.dtype(self.dtypes[name]).itemsize * count
            for name, count in steps.items()
        )
        return max(1, self.piece_bytes // (values * self.width))

    @property
    def pieces(self) -> int:
        """Number of pieces."""
        return -(-self.samples // (self.passes_per_piece * self.width))

    def rows(self, piece: int) -> range:
        """Rows of the samples in a piece."""
        size = self.passes_per_piece * self.width
        return range(piece * size, min((piece + 1) * size, self.samples))

    def passes(self, piece: int) -> int:
        """Times that the network starts anew to run the samples of a piece."""
        return -(-len(self.rows(piece)) // self.width)

    def size(self, variable: str) -> int:
        """Number of neurons that have a variable."""
        return self.network.population_of[variable.partition(".")[0]].size

    def write(self, inputs: Mapping[str, NDArray[np.int32]]) -> None:
        """Write the job, and inputs int32 [F, N, n] by ``population.variable``."""
        for variable, values in inputs.items():
            np.save(self._path(f"input-{variable}.npy"), values)
        self.create_progress()
        self._path(_JOB).write_bytes(pickle.dumps(self))

    def read_input(self, variable: str) -> NDArray[np.int32]:
        """Map an input: int32 [F, N, n]."""
        return _plain(np.load(self._path(f"input-{variable}.npy"), mmap_mode="r"))

    def take(self, piece: int) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """Read the files of a finished piece and delete them.

        Returns
        -------
        last, variables : dict of str to int [samples, n], int [samples, T + 1, n]
        """
        last = {
            name: self._take(self.last_file(name, piece), name, piece, 1)[:, 0]
            for name in self.network.variables
        }
        variables = {
            name: self._take(
                self.variable_file(name, piece), name, piece, self.total_iterations + 1
            )
            for name in self.record
        }
        return last, variables

    def _take(self, path: Path, variable: str, piece: int, steps: int) -> NDArray[Any]:
        """Read and delete a file; bring each sample's steps together."""
        written = np.fromfile(path, self.dtypes[variable])
        path.unlink()
        shape = self.passes(piece), steps, self.width, self.size(variable)
        samples = written.reshape(shape).swapaxes(1, 2).reshape(-1, steps, shape[-1])
        return samples[: len(self.rows(piece))]

    def variable_file(self, variable: str, piece: int) -> Path:
        """File of a variable after every iteration: [passes, T + 1, width, n]."""
        return self._path(f"steps-{variable}-{piece}")

    def last_file(self, variable: str, piece: int) -> Path:
        """File of a variable after ``final``: [passes, width, n]."""
        return self._path(f"last-{variable}-{piece}")

    def create_progress(self) -> NDArray[np.int64]:
        """Create the counter of image-iterations done, int64 [1]."""
        return _plain(np.memmap(self._path("progress"), np.int64, "w+", shape=(1,)))

    def open_progress(self) -> NDArray[np.int64]:
        """Map the counter of image-iterations done."""
        return _plain(np.memmap(self._path("progress"), np.int64, "r+", shape=(1,)))

    def _path(self, name: str) -> Path:
        return Path(self.folder) / name


def read_job(folder: Path) -> Job:
    """Read what :meth:`Job.write` wrote: a file of this user's own, in a private folder."""
    job: Job = pickle.loads((folder / _JOB).read_bytes())
    return job


class Tape:
    """One population's side of a job: what it is given for each pass, and what it records.

    Parameters
    ----------
    job : Job
    population : str
    """

    def __init__(self, job: Job, population: str) -> None:
        self.job = job
        self._pass = 0
        self._inputs: dict[str, NDArray[np.int32]] = {}
        self._files: dict[Path, BinaryIO] = {}
        own = [name for name in job.network.variables if name.partition(".")[0] == population]
        self._variables = {name.partition(".")[2]: name for name in own}
        self._recorded = {n.partition(".")[2]: n for n in own if n in job.record}
        self._waiting: list[tuple[str, NDArray[Any]]] = []
        self._progress = job.open_progress()

    @property
    def first_sample(self) -> int:
        """Index in the noise of the first sample of this pass."""
        return self.job.first_sample + self._row

    @property
    def is_over(self) -> bool:
        """Whether all samples have run."""
        return self._row >= self.job.samples

    @property
    def _row(self) -> int:
        return self._pass * self.job.width

    @property
    def _piece(self) -> int:
        return self._pass // self.job.passes_per_piece

    def fill(self, variable: str, frame: int, state: NDArray[Any]) -> None:
        """Copy this pass's rows of a frame of an input into an array [n] or [width, n].

        Where samples are fewer than the width, the rest goes on with what it had, unrecorded.
        """
        if variable not in self._inputs:
            self._inputs[variable] = self.job.read_input(variable)
        rows = self._inputs[variable][frame, self._row : self._row + self.job.width]
        state.reshape(-1, state.shape[-1])[: len(rows)] = rows

    def record(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Keep the recorded variables as they are now, to be written by :meth:`write`."""
        for variable, name in self._recorded.items():
            self._waiting.append((name, state[variable].astype(self.job.dtypes[name])))

    def write(self) -> None:
        """Append what was recorded to its files."""
        for name, values in self._waiting:
            self._append(self.job.variable_file(name, self._piece), values)
        self._waiting.clear()

    def count_iteration(self) -> None:
        """Tell the caller that an iteration of this pass is done."""
        self._progress[0] += min(self.job.width, self.job.samples - self._row)

    def end_pass(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Record the end of a pass; the caller reads a piece's files once this step is over."""
        self.record(state)
        self.write()
        for variable, name in self._variables.items():
            values = state[variable].astype(self.job.dtypes[name])
            self._append(self.job.last_file(name, self._piece), values)
        self._pass += 1
        if self.is_over or self._pass % self.job.passes_per_piece == 0:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _append(self, path: Path, values: NDArray[Any]) -> None:
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = path.open("wb", _BUFFER_BYTES)
        file.write(values.tobytes())


def check_batch(batch: int) -> int:
    """Return a number of samples side by side as an int; raise :class:`InputError` if not one."""
    return check_whole("batch", batch, 1, MOST_SAMPLES)


def check_stock(stock_convolutions: bool, batch: int) -> None:
    """Raise :class:`InputError` where stock convolutions are asked for samples side by side."""
    if stock_convolutions and batch > 1:
        raise InputError(
            f"stock_convolutions: Lava's Conv takes one sample at a time, got batch {batch}"
        )


def state_shape(neurons: int, width: int) -> tuple[int, ...]:
    """Shape of a population's ports and state: (neurons,), or (width, neurons) side by side."""
    return (neurons,) if width == 1 else (width, neurons)


def _plain(mapped: NDArray[Any]) -> NDArray[Any]:
    """The same memory without the memmap subclass, whose indexing is slow."""
    return mapped.view(np.ndarray)
