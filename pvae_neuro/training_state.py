"""The state of an unfinished training run, in one safetensors file that is never half written.

Everything random in a step follows from the seed and the number of the step, so weights, the
optimiser's averages and that number are all it takes to go on as if nothing had happened.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from pvae_neuro.checkpoints import (
    Float32,
    ModelConfig,
    SavedModel,
    array_shapes,
)
from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.models.ipvae import IPVAE
from pvae_neuro.tensor_files import read_safetensors, write_safetensors
from pvae_neuro.training_config import TrainConfig

FORMAT = "pvae-neuro-training"
SCHEMA_VERSION = 1

_OPTIMIZER_KEYS = ("step", "exp_avg", "exp_inf")
"""What Adamax keeps per parameter; its step counts the updates that brought a gradient."""


@dataclass(frozen=True)
class RunIdentity:
    """What must not change between the start of a run and its resumption.

    Attributes
    ----------
    train : TrainConfig
        Settings of the run.
    model : ModelConfig
        Configuration of the model.
    data : str
        Digest of the training data.
    """

    train: TrainConfig
    model: ModelConfig
    data: str


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Where an unfinished run stands.

    Attributes
    ----------
    identity : RunIdentity
        Which run it is.
    batches_done : int
        Batches since its start; the next batch has this number.
    arrays : dict of str to ndarray
        Weights by their names, and what Adamax keeps of each as ``step.name`` and so on.
    """

    identity: RunIdentity
    batches_done: int
    arrays: dict[str, Float32]

    def to_saved(self) -> SavedModel:
        """Take the weights as they stand out of an unfinished run.

        Returns
        -------
        SavedModel
            A model like any other.
        """
        config = self.identity.model
        return SavedModel(config, **{name: self.arrays[name] for name in array_shapes(config)})


def capture(
    identity: RunIdentity, batches_done: int, model: IPVAE, optimizer: torch.optim.Adamax
) -> TrainingState:
    """Copy out what a run needs to go on.

    Parameters
    ----------
    identity : RunIdentity
        Which run it is.
    batches_done : int
        Batches since its start.
    model : IPVAE
        Its weights.
    optimizer : torch.optim.Adamax
        Its averages.

    Returns
    -------
    TrainingState
        Copies, in NumPy.
    """
    arrays = dict(model.to_saved().arrays())
    for name, parameter in model.named_parameters():
        for key, blank in _blank(parameter).items():
            value = optimizer.state[parameter].get(key, blank)
            arrays[f"{key}.{name}"] = np.array(value.cpu().numpy(), dtype=np.float32)
    return TrainingState(identity, batches_done, arrays)


def restore(state: TrainingState, model: IPVAE, optimizer: torch.optim.Adamax) -> None:
    """Put a captured state back, in place.

    Parameters
    ----------
    state : TrainingState
        From :func:`capture` or :func:`load_state`.
    model : IPVAE
        Receives the weights.
    optimizer : torch.optim.Adamax
        Built on ``model``'s parameters; receives the averages.
    """
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(state.arrays[name]))
        kept = {
            key: blank.copy_(torch.from_numpy(state.arrays[f"{key}.{name}"]))
            for key, blank in _blank(parameter).items()
        }
        optimizer.state[parameter] = kept if kept["step"] else {}


def _blank(parameter: Tensor) -> dict[str, Tensor]:
    """Adamax's state before its first step, on the devices where Adamax keeps it."""
    tensors = (torch.zeros(()), torch.zeros_like(parameter), torch.zeros_like(parameter))
    return dict(zip(_OPTIMIZER_KEYS, tensors, strict=True))


def save_state(state: TrainingState, path: Path) -> None:
    """Write a state, whole or not at all.

    Parameters
    ----------
    state : TrainingState
        To write.
    path : Path
        Target; the state before it is replaced.

    Raises
    ------
    InputError
        If the file cannot be written; the state before it stays.
    """
    identity = state.identity
    metadata = {
        "format": FORMAT,
        "schema_version": str(SCHEMA_VERSION),
        "train": identity.train.model_dump_json(),
        "model": identity.model.model_dump_json(),
        "data": identity.data,
        "batches_done": json.dumps(state.batches_done),
    }
    write_safetensors(path, dict(state.arrays), metadata)


def load_state(path: Path) -> TrainingState:
    """Read a state that :func:`save_state` wrote.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    TrainingState
        Ready for :func:`restore`.

    Raises
    ------
    InputError
        If there is no such file.
    ModelFileError
        If it is not a training state of this version, or is damaged.
    """
    metadata, arrays = read_safetensors(path)
    kind = (metadata.get("format"), metadata.get("schema_version"))
    if kind != (FORMAT, str(SCHEMA_VERSION)):
        raise ModelFileError(
            f"{path}: expected a training state of format {FORMAT} {SCHEMA_VERSION}, got {kind}; "
            f"delete it and start again without --resume"
        )
    try:
        train = TrainConfig.model_validate_json(metadata["train"])
        model = ModelConfig.model_validate_json(metadata["model"])
        batches_done = int(metadata["batches_done"])
        identity = RunIdentity(train, model, metadata["data"])
    except (KeyError, ValueError, ValidationError) as error:
        raise ModelFileError(
            f"{path}: damaged training state ({error}); delete it and start again without --resume"
        ) from error
    _check_arrays(arrays, model, path)
    return TrainingState(identity, batches_done, arrays)


def _check_arrays(arrays: dict[str, Float32], model: ModelConfig, path: Path) -> None:
    expected = dict(array_shapes(model))
    for name, shape in array_shapes(model).items():
        expected |= {f"step.{name}": (), f"exp_avg.{name}": shape, f"exp_inf.{name}": shape}
    got = {name: array.shape for name, array in arrays.items()}
    if got != expected or any(array.dtype != np.float32 for array in arrays.values()):
        raise ModelFileError(
            f"{path}: expected float32 arrays {expected}, got {got}; "
            f"delete it and start again without --resume"
        )


def check_same_run(state: TrainingState, identity: RunIdentity, path: Path) -> None:
    """Refuse to resume a run under other settings or on other data.

    Parameters
    ----------
    state : TrainingState
        The run that stopped.
    identity : RunIdentity
        What it would go on with.
    path : Path
        Where the state came from, for the message.

    Raises
    ------
    InputError
        Names the settings that differ.
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
