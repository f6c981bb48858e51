"""Training in several processes, as ``torchrun`` starts them.

Each process (rank) computes on its part of every batch; gradients are summed over all processes, so
that all take the same step. ``DistributedDataParallel`` would do the same, but it wraps a module's
``forward``, and a window is a method of its own whose later windows leave some parameters without a
gradient. So the sum is taken here, in one message.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed

from pvae_neuro.errors import InputError, PvaeNeuroError

T = TypeVar("T")

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_LAST_PORT = (1 << 16) - 1


@dataclass(frozen=True)
class Ranks:
    """One process among all that train together.

    Attributes
    ----------
    rank, size : int
        Number of this process, and the number of processes.
    device : torch.device
        Where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Part of ``count`` samples for this process; the sizes of parts differ by at most one."""
        first, last = (count * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(first, last)

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over all processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def sum_values(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return [float(value) for value in total]

    def from_first(self, make: Callable[[], T]) -> T:
        """Call ``make`` on the first process; return its result, or raise its error, on all."""
        if self.size == 1:
            return make()
        box: list[tuple[T | None, PvaeNeuroError | None]] = [(None, None)]
        if self.is_first:
            try:
                box = [(make(), None)]
            except PvaeNeuroError as error:
                box = [(None, error)]
        distributed.broadcast_object_list(box, src=0, device=self.device)
        value, failure = box[0]
        if failure is not None:
            raise failure
        return value  # type: ignore[return-value]


def is_first_process() -> bool:
    """Whether this process has rank 0, or is the only one; known before :func:`join_ranks`."""
    return os.environ.get("RANK", "0") == "0" or not _is_distributed()


def join_ranks(device: str) -> Ranks:
    """Join the process group of this run, if ``torchrun`` started several processes.

    Where several processes share a machine, each uses the CUDA device of its local rank; see
    :func:`find_device` for the name.

    Raises
    ------
    InputError
        If the device is unknown, or there are more processes than devices.
    """
    if not _is_distributed():
        return Ranks(0, 1, find_device(device))
    rank, size, local = (_environment(name) for name in _VARIABLES[:3])
    if not 0 <= rank < size:
        raise InputError(
            f"environment: expected a RANK of 0 to WORLD_SIZE - 1, as torchrun sets them, got "
            f"{rank} and {size}"
        )
    if not 0 <= _environment("MASTER_PORT") <= _LAST_PORT:
        raise InputError(
            f"environment: expected a port of 0 to {_LAST_PORT} in MASTER_PORT, as torchrun sets "
            f"it, got {os.environ['MASTER_PORT']!r}"
        )
    place = find_device(device, local)
    if not distributed.is_initialized():
        if place.type == "cuda":
            torch.cuda.set_device(place)
        distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
        # The group stays until the process ends: a group that was left cannot be joined again under
        # the same torchrun, and a second run would wait for ever.
        atexit.register(_leave_process_group)
    return Ranks(rank, size, place)


def _leave_process_group() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _is_distributed() -> bool:
    return all(name in os.environ for name in _VARIABLES) and os.environ["WORLD_SIZE"] != "1"


def _environment(name: str) -> int:
    try:
        return int(os.environ[name])
    except ValueError as error:
        raise InputError(
            f"environment: expected an integer in {name}, as torchrun sets it, got "
            f"{os.environ[name]!r}"
        ) from error


def find_device(name: str, local_rank: int | None = None) -> torch.device:
    """Find a torch device by name; ``auto`` takes a CUDA device if there is one.

    ``local_rank`` is the number of this process among those of its machine, if there are several:
    it selects the CUDA device.

    Raises
    ------
    InputError
        If the device is not usable here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and local_rank is not None:
        name = f"cuda:{local_rank}"
    try:
        probe = torch.zeros(1, device=name)
        probe.item()  # Devices without memory, such as meta, hold no values.
        return probe.device
    # Names of devices whose packages are missing are not found as modules.
    except (RuntimeError, AssertionError, ImportError) as error:
        # torch goes on to list all that it knows.
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"device {name!r} is not usable here: {reason}; use auto or cpu"
        ) from error
