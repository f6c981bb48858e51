"""Import checkpoints of the authors' own code (IterativeVAE).

Their ``.pt`` files are pickles. torch's restricted unpickler reads them: it calls only functions on
an explicit list, to which this module adds NumPy's scalars, which those files hold as training
statistics.
"""

from __future__ import annotations

import io
import math
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from warnings import catch_warnings, simplefilter

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from pvae_neuro.errors import InputError, ModelFileError
from pvae_neuro.network import ImageShape
from pvae_neuro.network.host import LARGEST_INPUT
from pvae_neuro.saved.data_sets import find_data_set
from pvae_neuro.saved.model_file import (
    ModelConfig,
    Potential,
    Repeats,
    SavedModel,
    Size,
    Weight,
    array_shapes,
    check_model,
    config_of,
)
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.optional import require
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.settings import problems_of
from pvae_neuro.utils.show import show
from pvae_neuro.utils.whole_file import read_whole

_WEIGHTS = {
    "dictionary": "layer.phi.weight",
    "log_sigma": "layer.dec_log_sigma",
    "log_bias": "layer.log_bias",
    "log_step_size": "layer.log_lr.0",
    "initial_potential": "layer.u_init.0",
}
_WRAPPERS = {"module", "_orig_mod"}
"""What DataParallel and torch.compile put into the names of weights."""
_SECOND_STATE = ("layer.u_init.1", "layer.log_lr.1")
"""Log standard deviations of the posterior: Gaussian and Laplace models have them."""
_FIRST_CLAMP = 2.0
"""Their clamps grow from this value to the configured ones while ``layer.eps`` grows to 1."""
_TYPES = ("float16", "bfloat16", "float32", "float64")
_CHOOSE = "move all but the one to import out of this folder"

Clamp = Annotated[Potential, Field(gt=0.0)]
Strict = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


def _as_list(value: object) -> object:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


class _OfficialConfig(BaseModel):
    """The authors' settings that affect what a model computes; others are kept as provenance."""

    model_config = Strict

    dataset: Annotated[str, Field(max_length=64)]
    t_train: Repeats
    beta_outer: Weight
    n_latents: Annotated[list[Size], Field(min_length=1, max_length=1), BeforeValidator(_as_list)]
    inf_type: Literal["grad"]
    dec_type: Literal["lin"]
    n_iters_inner: Repeats = 1
    n_iters_outer: Literal[1] = 1
    beta_inner: Weight = 1.0
    clamp_u: Clamp
    clamp_du: Clamp


@checked
def import_official(
    folder: str | os.PathLike[str], input_range: tuple[float, float] | None = None
) -> SavedModel:
    """Read a checkpoint folder of the authors' released code as a model of this package.

    The model is declared with the released KL, with which it was trained. ``notes`` of the result
    say which files were read, what inputs are declared, and what was converted.

    Parameters
    ----------
    folder : path-like
        Holds one configuration of a model, ``Config*.json``, and one or more ``*.pt``; that with
        the highest checkpoint number is read. Other configurations, such as ``ConfigTrain.json``,
        may lie beside it.
    input_range : tuple of float, optional
        (lowest, highest) value of an input; by default that of the data set that the configuration
        names, as the authors' code scales it.

    Raises
    ------
    InputError
        If there is no such folder, a file cannot be read or needs more memory than the limit, or
        the range of the inputs is not known.
    ModelFileError
        If a file is missing, ambiguous or damaged, would call code that is not on the list, or
        describes another model than a Poisson one with a linear decoder.
    MissingDependencyError
        If torch is not installed.
    """
    root = user_path(folder)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a checkpoint folder of IterativeVAE")
    if input_range is not None:
        low, high = input_range
        if not -LARGEST_INPUT <= low < high <= LARGEST_INPUT:
            raise InputError(
                f"input_range: expected a lowest value below the highest one, both within "
                f"{LARGEST_INPUT:g} of zero, got {low:g} and {high:g}"
            )
    config_path, official = _model_config(root)
    path = _newest_checkpoint(root)
    weights = _read_weights(path)
    pixels, latents = _sizes(weights, path)
    if official.n_latents != [latents]:
        raise ModelFileError(
            f"{path}: expected {official.n_latents[0]} latents, as {config_path.name} says, got "
            f"{latents}; the two files are not of one model"
        )
    low, high, shape = _inputs(official.dataset, pixels, input_range, config_path)
    config = config_of(
        {
            "pixels": pixels,
            "latents": latents,
            "clamp_u": _clamp(official.clamp_u, weights.progress),
            "clamp_du": _clamp(official.clamp_du, weights.progress),
            "steps": official.t_train,
            "beta": official.beta_outer,
            "kl": "released",
            "inner_updates": official.n_iters_inner,
            "beta_inner": official.beta_inner,
            "input_low": low,
            "input_high": high,
            "image_shape": shape,
            "training": {"imported_from": path.name, **official.model_dump()},
        },
        str(config_path),
    )
    arrays = {
        name: _array(weights, name, expected, path)
        for name, expected in array_shapes(config).items()
    }
    model = SavedModel(config, arrays, _notes(root, config_path, path, official, config, weights))
    check_model(model, str(path))
    return model


def _model_config(root: Path) -> tuple[Path, _OfficialConfig]:
    """The one configuration in the folder that has latents; those of a training have none."""
    paths = sorted(root.glob("Config*.json"))
    if not paths:
        raise _missing(root, "Config*.json")
    contents = {path: _json(path) for path in paths}
    found = [path for path, content in contents.items() if "n_latents" in content]
    if not found:
        names = ", ".join(path.name for path in paths)
        raise ModelFileError(
            f"{root}: expected the configuration of a model, with n_latents; got {names}"
        )
    if len(found) > 1:
        raise ModelFileError(
            f"{root}: expected one configuration of a model, got "
            f"{' and '.join(path.name for path in found)}; {_CHOOSE}"
        )
    return found[0], _checked(contents[found[0]], found[0])


def _json(path: Path) -> dict[str, Any]:
    try:
        content = from_json(read_whole(path, "a configuration (.json)", copies=8))
    except InputError:
        raise
    except ValueError as error:
        raise ModelFileError(f"{path}: expected JSON ({error})") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{path}: expected a JSON object with settings, got {show(content)}")
    return content


def _checked(content: dict[str, Any], path: Path) -> _OfficialConfig:
    if "latent_act" in content or path.name in ("ConfigGausVAE.json", "ConfigLapVAE.json"):
        raise _not_poisson(path, "its configuration has the settings of one")
    try:
        return _OfficialConfig.model_validate(content)
    except ValidationError as error:
        raise ModelFileError(
            f"{path}: expected an iterative Poisson model with gradient inference and a linear "
            f"decoder: {problems_of(error)}"
        ) from error


def _not_poisson(path: Path, reason: str) -> ModelFileError:
    return ModelFileError(
        f"{path}: expected a Poisson model, got a Gaussian or Laplace one: {reason}; this package "
        f"trains such models itself but does not import them"
    )


def _missing(root: Path, pattern: str) -> ModelFileError:
    return ModelFileError(
        f"{root}: no {pattern}; expected a checkpoint folder of IterativeVAE with a Config*.json "
        f"and a *.pt"
    )


def _newest_checkpoint(root: Path) -> Path:
    """The file with the highest checkpoint number; among equals, the latest time in its name."""
    paths = sorted(root.glob("*.pt"), key=_age)
    if not paths:
        raise _missing(root, "*.pt")
    newest = [path for path in paths if _age(path) == _age(paths[-1])]
    if len(newest) > 1:
        raise ModelFileError(
            f"{root}: expected names that tell which checkpoint is the newest, got "
            f"{' and '.join(path.name for path in newest)}; {_CHOOSE}"
        )
    return newest[0]


def _age(path: Path) -> tuple[int, str]:
    number = re.search(r"-(\d+)_", path.name)
    time = re.search(r"\((\d{4}_\d\d_\d\d,\d\d:\d\d)\)", path.name)
    return int(number.group(1)) if number else -1, time.group(1) if time else ""


@dataclass(frozen=True)
class _Weights:
    """Tensors by our names, checked to be dense numbers in memory.

    ``progress`` is how far their training had opened the clamps, ``types`` what the tensors are
    stored as, and ``averaged`` whether the file also holds averaged weights.
    """

    tensors: dict[str, Any]
    progress: float
    types: tuple[str, ...]
    averaged: bool


def _read_weights(path: Path) -> _Weights:
    checkpoint = _load(path)
    state = checkpoint.get("model") if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise ModelFileError(f"{path}: expected a checkpoint of IterativeVAE with a 'model' entry")
    named: dict[str, Any] = {}
    for key, value in state.items():
        name = ".".join(part for part in str(key).split(".") if part not in _WRAPPERS)
        if name in named:
            raise ModelFileError(f"{path}: expected each weight once, got {name} twice")
        named[name] = value
    for name in _SECOND_STATE:
        if name in named:
            raise _not_poisson(path, f"it has {name}")
    missing = sorted(key for key in _WEIGHTS.values() if key not in named)
    if missing:
        raise ModelFileError(
            f"{path}: expected a Poisson model with a linear decoder; missing {missing}, "
            f"got {show(sorted(named))}"
        )
    tensors = {name: _dense(named[key], key, path) for name, key in _WEIGHTS.items()}
    types = tuple(str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values())
    averaged = checkpoint.get("model_ema") is not None
    return _Weights(tensors, _progress(named, path), types, averaged)


def _load(path: Path) -> Any:
    """Unpickle with torch's restricted unpickler, which refuses code that is not on its list."""
    torch = require("torch", "train", "importing a torch checkpoint")
    data = io.BytesIO(read_whole(path, "a torch checkpoint (.pt)", copies=3))
    require_memory(_unpacked(data), str(path))
    try:
        with torch.serialization.safe_globals(_numpy_scalar_globals()), catch_warnings():
            simplefilter("ignore")  # On kinds of tensors that are refused below.
            return torch.load(data, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    # A damaged pickle makes its reader raise anything.
    except Exception as error:
        raise _refusal(path, str(error)) from error


def _unpacked(data: io.BytesIO) -> int:
    """Bytes that the members of an archive say they take; 0 for what is no archive."""
    try:
        with zipfile.ZipFile(data) as archive:
            return sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return 0
    finally:
        data.seek(0)


def _numpy_scalar_globals() -> list[Any]:
    """What a pickled float64 of NumPy 1 or 2 calls: the scalar, its type and a byte codec."""
    from _codecs import encode

    scalar = np.dtype(np.float64).type(0).__reduce__()[0]
    names = ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar")
    return [*((scalar, name) for name in names), np.dtype, type(np.dtype(np.float64)), encode]


def _refusal(path: Path, reason: str) -> ModelFileError:
    match = re.search(r"GLOBAL ([\w.]+)", reason)
    if match is None:
        first = next(iter(reason.splitlines()), "")
        return ModelFileError(f"{path}: expected a torch checkpoint, damaged? ({first[:200]})")
    return ModelFileError(
        f"{path}: refused, because unpickling it would call {match.group(1)}; expected only "
        f"tensors, numbers and text. If you trust its origin, save its tensors again with "
        f"torch.save"
    )


def _dense(value: Any, key: str, path: Path) -> Any:
    """The tensor, if it holds floats that lie in memory one beside the other."""
    torch = require("torch", "train", "importing a torch checkpoint")
    if not isinstance(value, torch.Tensor):
        raise ModelFileError(f"{path}: {key}: expected a tensor, got {show(value)}")
    found = value.detach()
    kind = str(found.dtype).removeprefix("torch.")
    if found.is_meta or found.is_nested or found.layout is not torch.strided:
        layout = str(found.layout).removeprefix("torch.")
        kind += f" without values ({'meta' if found.is_meta else layout})"
    if kind not in _TYPES:
        raise ModelFileError(
            f"{path}: {key}: expected a dense tensor of {' or '.join(_TYPES)}, got {kind}"
        )
    require_memory(8 * math.prod(found.shape), f"{path}: {key}")
    return found


def _progress(named: dict[str, Any], path: Path) -> float:
    key = "layer.eps"
    if key not in named:
        return 1.0
    value = _dense(named[key], key, path)
    progress = float(value) if value.numel() == 1 else math.nan
    if not 0.0 <= progress <= 1.0:
        raise ModelFileError(f"{path}: {key}: expected a number from 0 to 1, got {progress}")
    return progress


def _clamp(configured: float, progress: float) -> float:
    return _FIRST_CLAMP + progress * (configured - _FIRST_CLAMP)


def _sizes(weights: _Weights, path: Path) -> tuple[int, int]:
    shape = tuple(weights.tensors["dictionary"].shape)
    if len(shape) != 2 or 0 in shape:
        raise ModelFileError(
            f"{path}: {_WEIGHTS['dictionary']}: expected the shape [pixels, latents], got "
            f"{list(shape)}"
        )
    return shape[0], shape[1]


def _array(
    weights: _Weights, name: str, shape: tuple[int, ...], path: Path
) -> npt.NDArray[np.float32]:
    tensor = weights.tensors[name]
    if tuple(tensor.shape) not in (shape, (1, *shape)):
        raise ModelFileError(
            f"{path}: {_WEIGHTS[name]}: expected shape {[1, *shape]}, got {list(tensor.shape)}"
        )
    return np.array(tensor.float().numpy().reshape(shape), dtype=np.float32)


def _inputs(
    dataset: str, pixels: int, asked: tuple[float, float] | None, path: Path
) -> tuple[float, float, ImageShape | None]:
    """Range and shape of the inputs: what is asked for, else what the data set's name says."""
    known = find_data_set(dataset, pixels)
    shape = None if known is None else known.shape
    if asked is not None:
        return asked[0], asked[1], shape
    if known is None:
        raise InputError(
            f"{path}: the range of the inputs of data set {dataset!r} with {pixels} pixels is not "
            f"known; give the lowest and the highest value that it was trained with",
            "input_range",
        )
    return known.low, known.high, shape


def _notes(
    root: Path,
    config_path: Path,
    path: Path,
    official: _OfficialConfig,
    config: ModelConfig,
    weights: _Weights,
) -> tuple[str, ...]:
    beside = sorted({*root.glob("Config*.json"), *root.glob("*.pt")} - {config_path, path})
    left_out = f"; left out {', '.join(one.name for one in beside)}" if beside else ""
    shape = " x ".join(map(str, config.image_shape or (config.pixels,)))
    notes = [
        f"read {config_path.name} and {path.name}{left_out}",
        f"data set {official.dataset}: inputs of {shape} pixels are declared to lie in "
        f"[{config.input_low:g}, {config.input_high:g}]",
    ]
    others = sorted({kind for kind in weights.types if kind != "float32"})
    if others:
        notes.append(f"weights stored as {' and '.join(others)} were converted to float32")
    if weights.progress != 1.0:
        notes.append(
            f"its training had opened the clamps by {weights.progress:g}: they are "
            f"{config.clamp_u:g} and {config.clamp_du:g}, configured are {official.clamp_u:g} and "
            f"{official.clamp_du:g}"
        )
    if weights.averaged:
        notes.append("its averaged weights (model_ema) were left out")
    return tuple(notes)
