"""Files that verbs read: images within a declared range, float models, artifacts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pvae_neuro.cli.shared.endings import say_line
from pvae_neuro.errors import InputError
from pvae_neuro.network import Input, IntegerNetwork
from pvae_neuro.utils.decoded import Decoded, pieces

if TYPE_CHECKING:
    from pvae_neuro.artifact import Artifact
    from pvae_neuro.cli.shared.data_options import DataOptions
    from pvae_neuro.data import Images
    from pvae_neuro.saved.model_file import SavedModel

Float32 = NDArray[np.float32]


def read_images(
    source: str,
    declared: Input,
    data: DataOptions,
    *,
    split: str | None = None,
    clip: bool = False,
    samples: int | None = None,
    quiet: bool = False,
    stream: bool = False,
) -> Float32:
    """Images for a model, checked against what it declares; what was read is said on stderr.

    Parameters
    ----------
    source : str
        A file, a folder, or the name of a data set.
    declared : Input
    data : DataOptions
        What the user says about them.
    split : str, optional
        The part to read where the user names none.
    clip : bool
        Clip values outside the range instead of refusing them.
    samples : int, optional
        Take the first ones only.
    quiet : bool
        Say nothing.
    stream : bool
        Decode them where they are asked for, see :func:`~pvae_neuro.data.load_images`.

    Returns
    -------
    float32 [N, M]

    Raises
    ------
    InputError
        If they are absent, unreadable or not what the model takes.
    """
    check_samples(samples)
    images = data.load(source, split, samples, declared, quiet, stream)
    return _checked(images, declared, clip, quiet)


def read_inputs(
    source: str,
    declared: Input,
    data: DataOptions,
    hold: int | None,
    reset: bool,
    *,
    clip: bool = False,
    samples: int | None = None,
    quiet: bool = False,
    stream: bool = False,
) -> Float32:
    """Images [N, M]; with ``hold`` frames [N, F, M], held for so many iterations each.

    Otherwise as :func:`read_images`.
    """
    if hold is None:
        return read_images(
            source, declared, data, clip=clip, samples=samples, quiet=quiet, stream=stream
        )
    check_samples(samples)
    read = data.load_frames(source, declared, quiet).take(samples)
    checked = _checked(read.images, declared, clip, quiet)
    if not quiet:
        state = "the state starts anew at each" if reset else "the state carries over"
        say_line(
            f"frames: {read.count:,} sequence{'s' * (read.count != 1)} of {read.frames:,} frames "
            f"of {declared.size:,} pixels, each held for {hold:,} iterations; {state}"
        )
    return checked.reshape(read.count, read.frames, declared.size)


def read_labelled(
    source: str,
    declared: Input,
    data: DataOptions,
    *,
    split: str | None = None,
    clip: bool = False,
    samples: int | None = None,
) -> Images:
    """Images for a model with the labels that they have, as :func:`read_images`; nothing is said.

    A ``split`` that is given stands, whatever the user says.
    """
    check_samples(samples)
    data = data if split is None else replace(data, split=split)
    images = data.load(source, None, samples, declared, quiet=True)
    return replace(images, pixels=_checked(images, declared, clip, quiet=True))


def _checked(images: Images, declared: Input, clip: bool, quiet: bool) -> Float32:
    """Pixels that fit what a model declares; what was read is said."""
    # Without the shape on either side pixels alone can be compared.
    shaped = images.image_shape is not None and declared.image_shape is not None
    given = images.planes() if shaped else images.pixels
    try:
        checked: Any = declared.accept(given, clip)
    except InputError as error:
        fault = str(error).removeprefix("inputs: ")
        raise InputError(f"{images.name}: {fault}", error.remedy) from error
    clipped_to = partial(declared.clipped, dtype=np.float32)
    checked = checked.then(clipped_to) if isinstance(checked, Decoded) else clipped_to(checked)
    both = zip(pieces(checked), pieces(images.pixels), strict=True) if clip else ()
    stray = sum(int((taken != given).sum()) for taken, given in both)
    clipped = f"; {stray:,} of {images.pixels.size:,} values clipped to the range of the model"
    if not quiet:
        say_line(f"images: {images.about}{clipped if stray else ''}")
    return checked


def check_samples(samples: int | None) -> None:
    """Refuse a number of images below 1; None stands for all."""
    if samples is not None and samples < 1:
        raise InputError(f"--samples: expected at least 1, got {samples}")


def read_known(
    option: str,
    source: str | None,
    model: SavedModel | IntegerNetwork,
    data: DataOptions,
    *,
    split: str | None = None,
    clip: bool = False,
    samples: int | None = None,
    quiet: bool = False,
) -> Float32:
    """As :func:`read_images`; without a source the shipped digits, where the model takes digits.

    Raises
    ------
    InputError
        Also if no source is given and the model takes something else; names the ``option``.
    """
    declared = model.input if isinstance(model, IntegerNetwork) else model.config.declared_input
    if source is not None:
        return read_images(
            source, declared, data, split=split, clip=clip, samples=samples, quiet=quiet
        )
    if (declared.size, declared.low, declared.high) != (784, 0.0, 1.0):
        raise InputError(
            f"{option}: expected inputs, since this model takes {declared.size} pixels in "
            f"[{declared.low:g}, {declared.high:g}] and not the shipped digits; give some tens of "
            f"its training inputs"
        )
    from pvae_neuro.zoo import sample_digits

    check_samples(samples)
    digits: Float32 = sample_digits()[0][:samples]
    if not quiet:
        say_line(f"images: {len(digits)} of the shipped digits, of the MNIST test set, in [0, 1]")
    return digits


def read_model(path: Path, quiet: bool = False) -> SavedModel:
    """A float model, by its file or the name of a shipped one; says what reading converted."""
    from pvae_neuro.saved.model_file import load_model

    model = load_model(path)
    for note in () if quiet else model.notes:
        say_line(note)
    return model


def read_subject(path: Path, quiet: bool = False) -> SavedModel | Artifact:
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
        return read_model(path, quiet)
    raise InputError(f"{path}: expected a model.safetensors or a model.onnx")


def check_pair(network: IntegerNetwork, model: SavedModel) -> None:
    """Refuse a float model that cannot be the one that the artifact came from.

    Raises
    ------
    InputError
        If its family or its sizes are others.
    """
    from pvae_neuro.verification.verify import float_circuit

    try:
        float_circuit(network, model)
    except InputError as error:
        raise InputError(f"--model: {str(error).removeprefix('verify: ')}") from error
