"""The state of an unfinished training run, in one safetensors file that is written atomically.

Everything random in a batch follows from the seed and the number of the batch. So the weights, the
optimiser's averages and the number of batches done are enough to resume to the same bits.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.models.base import Model
from pvae_neuro.saved.model_file import Float32, ModelConfig, SavedModel
from pvae_neuro.saved.tensor_files import read_safetensors, write_safetensors
from pvae_neuro.training.config import TrainConfig

FORMAT = "pvae-neuro-training"
SCHEMA_VERSION = 1

_OPTIMIZER_KEYS = ("step", "exp_avg", "exp_inf")
"""Adamax's state per parameter; ``step`` counts the updates in which it had a gradient."""

_PREFIXES = tuple(f"{key}." for key in _OPTIMIZER_KEYS)


@dataclass(frozen=True)
class RunIdentity:
    """What must be the same when a run is resumed; ``data`` is a digest of the training data."""

    train: TrainConfig
    model: ModelConfig
    data: str


@dataclass(frozen=True, eq=False)
class TrainingState:
    """How far an unfinished run has come.

    Attributes
    ----------
    identity : RunIdentity
    batches_done : int
        Batches since its start; the next batch has this index.
    arrays : dict of str to ndarray
        Weights by name, and Adamax's state of each as ``step.<name>`` and so on.
    seconds : float
        Time that the run has taken so far.
    activity_cost : float
        Its current value, if it is adjusted.
    """

    identity: RunIdentity
    batches_done: int
    arrays: dict[str, Float32]
    seconds: float = 0.0
    activity_cost: float = 0.0

    def to_saved(self) -> SavedModel:
        """The current weights as a model."""
        weights = {
            name: array for name, array in self.arrays.items() if not name.startswith(_PREFIXES)
        }
        return SavedModel(self.identity.model, weights)


def capture(
    identity: RunIdentity,
    batches_done: int,
    model: Model,
    optimizer: torch.optim.Adamax,
    seconds: float = 0.0,
    activity_cost: float = 0.0,
) -> TrainingState:
    """Copy the state of a run into NumPy arrays."""
    arrays = dict(model.to_saved().arrays)
    for name, parameter in model.named_parameters():
        for key, blank in _blank(parameter).items():
            value = optimizer.state[parameter].get(key, blank)
            arrays[f"{key}.{name}"] = np.array(value.cpu().numpy(), dtype=np.float32)
    return TrainingState(identity, batches_done, arrays, seconds, activity_cost)


def restore(state: TrainingState, model: Model, optimizer: torch.optim.Adamax) -> None:
    """Copy a captured state back into a model and into the optimiser of its parameters."""
    model.load_arrays(state.to_saved().arrays, "training state")
    for name, parameter in model.named_parameters():
        kept = {
            key: blank.copy_(torch.from_numpy(state.arrays[f"{key}.{name}"]))
            for key, blank in _blank(parameter).items()
        }
        optimizer.state[parameter] = kept if kept["step"] else {}


def _blank(parameter: Tensor) -> dict[str, Tensor]:
    """Adamax's state of a parameter before its first step, on the devices that Adamax uses."""
    tensors = (torch.zeros(()), torch.zeros_like(parameter), torch.zeros_like(parameter))
    return dict(zip(_OPTIMIZER_KEYS, tensors, strict=True))


def save_state(state: TrainingState, path: Path) -> None:
    """Write a state atomically; InputError if that fails, and then the old file stays."""
    identity = state.identity
    metadata = {
        "format": FORMAT,
        "schema_version": str(SCHEMA_VERSION),
        "train": identity.train.model_dump_json(),
        "model": identity.model.model_dump_json(),
        "data": identity.data,
        "batches_done": json.dumps(state.batches_done),
        "seconds": json.dumps(state.seconds),
        "activity_cost": json.dumps(state.activity_cost),
    }
    write_safetensors(path, dict(state.arrays), metadata)


def load_state(path: Path) -> TrainingState:
    """Read a state that :func:`save_state` wrote.

    Raises
    ------
    InputError
        If there is no such file.
    ModelFileError
        If it is not a training state of this version, or is damaged.
    """
    metadata, arrays, _ = read_safetensors(path)
    kind = (metadata.get("format"), metadata.get("schema_version"))
    if kind != (FORMAT, str(SCHEMA_VERSION)):
        raise ModelFileError(
            f"{path}: expected a training state of format {FORMAT} {SCHEMA_VERSION}, got {kind}; "
            f"delete it and start the run again"
        )
    try:
        train = TrainConfig.model_validate_json(metadata["train"])
        model = ModelConfig.model_validate_json(metadata["model"])
        batches_done = int(metadata["batches_done"])
        seconds, cost = (float(metadata[name]) for name in ("seconds", "activity_cost"))
        if batches_done < 0 or not (math.isfinite(seconds) and math.isfinite(cost)):
            raise ValueError(f"{batches_done} batches in {seconds:g} s, activity cost {cost:g}")
        identity = RunIdentity(train, model, metadata["data"])
    except (KeyError, ValueError, ValidationError) as error:
        raise ModelFileError(
            f"{path}: damaged training state ({error}); delete it and start the run again"
        ) from error
    _check_arrays(arrays, path)
    return TrainingState(identity, batches_done, arrays, seconds, cost)


def _check_arrays(arrays: dict[str, Float32], path: Path) -> None:
    """Each weight needs the optimiser's averages; its shape is checked when it is restored."""
    shapes = {name: array.shape for name, array in arrays.items()}
    averages = {name for name in shapes if name.startswith(_PREFIXES)}
    expected: dict[str, tuple[int, ...]] = {}
    for name in shapes.keys() - averages:
        shape = shapes[name]
        expected |= {f"step.{name}": (), f"exp_avg.{name}": shape, f"exp_inf.{name}": shape}
    got = {name: shapes[name] for name in averages}
    if got != expected or any(array.dtype != np.float32 for array in arrays.values()):
        raise ModelFileError(
            f"{path}: expected float32 weights, each with the optimiser's averages {expected}, "
            f"got {shapes}; delete it and start the run again"
        )


def check_same_run(state: TrainingState, identity: RunIdentity, path: Path) -> None:
    """Refuse to resume a run with other settings or on other data.

    Raises
    ------
    InputError
        Names the settings that differ, and ``path``, where the state came from.
    """
    before = state.identity
    problems = before.train.differences(identity.train)
    if before.data != identity.data:
        problems += (", " if problems else "") + "the training data"
    elif not problems and before.model != identity.model:
        problems = "the model's configuration"
    if problems:
        raise InputError(
            f"cannot resume {path}: the run that stopped differs from the one asked for in "
            f"{problems} (stopped != asked); use the same settings, or delete it to start afresh"
        )
