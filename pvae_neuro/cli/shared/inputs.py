"""Files that verbs read: images within a declared range, float models, artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.errors import InputError
from pvae_neuro.network import Input, IntegerNetwork

if TYPE_CHECKING:
    from pvae_neuro.artifact import Artifact
    from pvae_neuro.saved.model_file import ModelConfig, SavedModel

Float32 = NDArray[np.float32]


def declared_input(config: ModelConfig) -> Input:
    """What a float model declares of its inputs, in the words of a network."""
    low, high = float(config.input_low), float(config.input_high)
    return Input(config.pixels, low, high, 0, config.image_shape)


def read_images(
    source: str | Path,
    declared: Input,
    *,
    data_root: Path | None = None,
    split: str = "test",
    clip: bool = False,
    samples: int | None = None,
) -> Float32:
    """Images for a model, checked against what it declares.

    Parameters
    ----------
    source : str or Path
        A ``.npy`` or ``.npz`` file, or the name of a data set.
    declared : Input
    data_root : Path, optional
        Where named data sets lie.
    split : {"train", "test"}
    clip : bool
        Clip values outside the range instead of refusing them.
    samples : int, optional
        Take the first ones only.

    Returns
    -------
    float32 [N, M]

    Raises
    ------
    InputError
        If they are absent, unreadable or not what the model takes.
    """
    from pvae_neuro.data import load_images

    images = load_images(
        str(source), data_root or Path("data"), split, model_range=(declared.low, declared.high)
    )
    shaped = images.image_shape is not None and declared.image_shape is not None
    pixels = images.planes() if shaped else images.pixels
    return declared.floats(first_samples(pixels, samples), clip)


def first_samples(images: Float32, samples: int | None) -> Float32:
    """The first ``samples`` images; all where None."""
    if samples is not None and samples < 1:
        raise InputError(f"--samples: expected at least 1, got {samples}")
    return images[:samples]


def read_calibration(source: Path | None, model: SavedModel, clip: bool) -> Float32:
    """Calibration images: a file, or the shipped digits where the model takes digits.

    Raises
    ------
    InputError
        If no file is given and the model takes something else.
    """
    declared = declared_input(model.config)
    if source is not None:
        return read_images(source, declared, split="train", clip=clip)
    if (declared.size, declared.low, declared.high) != (784, 0.0, 1.0):
        raise InputError(
            f"--calibrate: expected a file of inputs, since this model takes {declared.size} "
            f"pixels in [{declared.low:g}, {declared.high:g}] and not the shipped digits; give "
            f"some tens of its training inputs as .npy"
        )
    from pvae_neuro.zoo import sample_digits

    return sample_digits()[0]


def read_subject(path: Path) -> SavedModel | Artifact:
    """Float model (``.safetensors``, or the name of a shipped one) or artifact (``.onnx``).

    Raises
    ------
    InputError
        If the ending is neither.
    """
    from pvae_neuro.saved.shipped import model_path

    path = model_path(path)
    if path.suffix == ".onnx":
        from pvae_neuro.artifact import load_artifact

        return load_artifact(path)
    if path.suffix == ".safetensors":
        from pvae_neuro.saved.model_file import load_model

        return load_model(path)
    raise InputError(f"{path}: expected a model.safetensors or a model.onnx")


def check_pair(network: IntegerNetwork, model: SavedModel) -> None:
    """Refuse a float model that cannot be the one that the artifact came from.

    Raises
    ------
    InputError
        If their sizes differ.
    """
    artifact = network.input.size, _latents(network)
    given = model.config.pixels, model.config.latents
    if artifact != given:
        raise InputError(
            f"--model: expected the float model of this artifact, {artifact[0]} pixels and "
            f"{artifact[1]} latents; got {given[0]} pixels and {given[1]} latents"
        )


def _latents(network: IntegerNetwork) -> int:
    return 0 if network.latents is None else network.latents.size
