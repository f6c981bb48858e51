"""Import checkpoints of the authors' own code (IterativeVAE).

Their ``.pt`` files are pickles. torch's restricted unpickler reads them: it calls only functions on
an explicit list, to which this module adds NumPy's scalars, which those files hold as training
statistics.
"""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.saved.model_file import ModelConfig, SavedModel, array_shapes
from pvae_neuro.utils.optional import require

_WEIGHTS = {
    "dictionary": "layer.phi.weight",
    "log_sigma": "layer.dec_log_sigma",
    "log_bias": "layer.log_bias",
    "log_step_size": "layer.log_lr.0",
    "initial_potential": "layer.u_init.0",
}
_IMAGE_SHAPES = {784: (28, 28), 256: (16, 16)}
_UNIT_RANGE = {"MNIST", "EMNIST", "FashionMNIST", "Omniglot", "Balls", "BALLS16"}
_WHITENED_SIZE = 16.0
"""Declared input range of whitened patches: unit variance, hardly any pixel beyond 16."""


class _OfficialConfig(BaseModel):
    """The authors' settings that affect what a model computes; others are kept as provenance."""

    model_config = ConfigDict(extra="allow")

    dataset: str
    t_train: int
    beta_outer: float
    n_latents: list[int]
    inf_type: Literal["grad"]
    dec_type: Literal["lin"]
    n_iters_inner: int = 1
    n_iters_outer: Literal[1] = 1
    beta_inner: float = 1.0
    clamp_u: float
    clamp_du: float


def import_official(folder: str | os.PathLike[str]) -> SavedModel:
    """Read a checkpoint folder of the authors' released code as a model of this package.

    The model is declared with the released KL, with which it was trained.

    Parameters
    ----------
    folder : path-like
        Holds one ``Config*.json`` and one or more ``*.pt``; the newest ``*.pt`` is read.

    Raises
    ------
    InputError
        If there is no such folder, or a file cannot be read.
    ModelFileError
        If a file is missing or damaged, would call code that is not on the list, or describes
        another model than a Poisson one with a linear decoder.
    MissingDependencyError
        If torch is not installed.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a checkpoint folder of IterativeVAE")
    official = _read_config(_newest(root, "Config*.json"))
    path = _newest(root, "*.pt")
    weights = _model_weights(_load(path), path)
    pixels, latents = weights["dictionary"].shape
    if official.n_latents != [latents]:
        raise ModelFileError(
            f"{path}: expected {official.n_latents} latents, as the configuration says, got "
            f"{latents}; the two files are not of one model"
        )
    config = _to_config(official, pixels, latents, path)
    arrays = {
        name: np.array(weights[name].reshape(shape), dtype=np.float32)
        for name, shape in array_shapes(config).items()
    }
    return SavedModel(config, arrays)


def _newest(root: Path, pattern: str) -> Path:
    """The file with the highest checkpoint number; among equals, the last one changed."""
    found = sorted(root.glob(pattern), key=lambda path: (_number(path), path.stat().st_mtime))
    if not found:
        raise ModelFileError(
            f"{root}: no {pattern}; expected a checkpoint folder of IterativeVAE with a "
            f"Config*.json and a *.pt"
        )
    return found[-1]


def _number(path: Path) -> int:
    match = re.search(r"-(\d+)_", path.name)
    return int(match.group(1)) if match else -1


def _read_config(path: Path) -> _OfficialConfig:
    try:
        return _OfficialConfig.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}, got {item['input']!r}"
            for item in error.errors()
        )
        raise ModelFileError(
            f"{path}: expected a Poisson model with gradient inference and a linear decoder: "
            f"{problems}"
        ) from error
    except ValueError as error:
        raise ModelFileError(f"{path}: expected JSON ({error})") from error


def _load(path: Path) -> Any:
    """Unpickle with torch's restricted unpickler, which refuses code that is not on its list."""
    torch = require("torch", "train", "importing a torch checkpoint")
    try:
        with torch.serialization.safe_globals(_numpy_scalar_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (RuntimeError, EOFError, KeyError, ValueError) as error:
        raise ModelFileError(f"{path}: expected a torch checkpoint, damaged? ({error})") from error


def _numpy_scalar_globals() -> list[Any]:
    """What a pickled float64 of NumPy 1 or 2 calls: the scalar, its type and a byte codec."""
    from _codecs import encode

    scalar = np.dtype(np.float64).type(0).__reduce__()[0]
    names = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
    return [*((scalar, name) for name in names), np.dtype, type(np.dtype(np.float64)), encode]


def _refusal(path: Path, reason: str) -> ModelFileError:
    match = re.search(r"GLOBAL ([\w.]+)", reason)
    if match is None:
        return ModelFileError(f"{path}: expected a torch checkpoint, damaged? ({reason})")
    return ModelFileError(
        f"{path}: refused, because unpickling it would call {match.group(1)}; expected only "
        f"tensors, numbers and text. If you trust its origin, save its tensors again with "
        f"torch.save"
    )


def _model_weights(checkpoint: Any, path: Path) -> dict[str, npt.NDArray[Any]]:
    state = checkpoint.get("model") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise ModelFileError(f"{path}: expected a checkpoint of IterativeVAE with a 'model' entry")
    missing = sorted(key for key in _WEIGHTS.values() if key not in state)
    if missing:
        raise ModelFileError(
            f"{path}: expected a Poisson model with a linear decoder; missing {missing}, "
            f"got {sorted(state)}"
        )
    weights = {name: state[key].float().numpy() for name, key in _WEIGHTS.items()}
    if weights["dictionary"].ndim != 2:
        raise ModelFileError(
            f"{path}: expected a dictionary of shape [pixels, latents], got "
            f"{list(weights['dictionary'].shape)}"
        )
    return weights


def _to_config(official: _OfficialConfig, pixels: int, latents: int, path: Path) -> ModelConfig:
    low, high = (0.0, 1.0) if official.dataset in _UNIT_RANGE else (-_WHITENED_SIZE, _WHITENED_SIZE)
    return ModelConfig(
        pixels=pixels,
        latents=latents,
        clamp_u=official.clamp_u,
        clamp_du=official.clamp_du,
        steps=official.t_train,
        beta=official.beta_outer,
        kl="released",
        inner_updates=official.n_iters_inner,
        beta_inner=official.beta_inner,
        input_low=low,
        input_high=high,
        image_shape=_IMAGE_SHAPES.get(pixels),
        training={"imported_from": path.name, **official.model_dump()},
    )
