"""Read images, scale them into their declared range, and refuse what does not fit a model."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.checkpoints import Float32
from pvae_neuro.data.torchvision_sets import TORCHVISION_SETS, read_torchvision
from pvae_neuro.errors import InputError

_LABEL_KEYS = ("labels", "{split}_labels", "y", "y_{split}")


@dataclass(frozen=True, eq=False)
class Images:
    """A set of images, flattened.

    Attributes
    ----------
    pixels : ndarray of float32, [N, M]
        One image per row, within ``[low, high]``.
    labels : ndarray of int64, [N], optional
        Classes.
    image_shape : tuple of int, optional
        (H, W) of an image, H W = M.
    low, high : float
        Declared range of the values.
    name : str
        Where the images came from.
    """

    pixels: Float32
    labels: npt.NDArray[np.int64] | None
    image_shape: tuple[int, int] | None
    low: float
    high: float
    name: str


def load_images(
    dataset: str,
    data_root: str | os.PathLike[str] = "data",
    split: str = "train",
    key: str | None = None,
) -> Images:
    """Read a data set by name, or images from a NumPy file.

    Parameters
    ----------
    dataset : str
        ``mnist``, ``fashion-mnist``, ``emnist`` or ``omniglot``, read through torchvision; or a
        path to an ``.npy`` or ``.npz`` file that holds [N, H, W] or [N, M]. Bytes are divided by
        255. Values that fit [0, 1] declare that range, others ``[-m, m]``, m the largest size.
    data_root : path-like
        Folder that holds torchvision's data sets. Nothing is ever downloaded.
    split : {"train", "test"}
        Which part.
    key : str, optional
        Array of an ``.npz`` to read; by default the one named ``split``, or ``images``, or the
        only one.

    Returns
    -------
    Images
        Flattened and scaled.

    Raises
    ------
    InputError
        If the data are absent or unreadable, or hold no images.
    EngineUnavailableError
        If a named data set is asked for and torchvision is not installed.
    """
    if split not in ("train", "test"):
        raise InputError(f"split: expected 'train' or 'test', got {split!r}")
    name = dataset.lower()
    if name in TORCHVISION_SETS:
        return _make_images(*read_torchvision(name, Path(data_root), split == "train"), name)
    return _make_images(*_read_numpy(Path(dataset), split, key), Path(dataset).name)


def check_images(
    x: npt.ArrayLike,
    pixels: int,
    image_shape: tuple[int, int] | None = None,
    low: float = 0.0,
    high: float = 1.0,
    clip: bool = False,
) -> Float32:
    """Refuse images that a model cannot take, and flatten the others.

    Parameters
    ----------
    x : array_like
        [N, M] or [N, H, W], in the range that the model declares. Bytes are not rescaled.
    pixels : int
        M of the model.
    image_shape : tuple of int, optional
        (H, W) of the model, if its inputs are images.
    low, high : float
        The declared range.
    clip : bool
        Clip values outside the range instead of refusing them.

    Returns
    -------
    ndarray of float32, [N, M]
        Contiguous; never aliases an array that a caller may change.

    Raises
    ------
    InputError
        If the shape does not fit, the batch is empty, or values are not numbers, not finite or
        out of range.
    """
    values = np.asarray(x)
    if values.dtype.kind not in "fiub":
        raise InputError(f"images: expected real numbers, got dtype {values.dtype}")
    flat = _flatten(values, pixels, image_shape)
    result = _to_float32(flat)
    _check_finite(result)
    if clip:
        return np.clip(result, np.float32(low), np.float32(high), out=result)
    _check_range(result, low, high)
    return result


def _flatten(
    values: npt.NDArray[Any], pixels: int, image_shape: tuple[int, int] | None
) -> npt.NDArray[Any]:
    shapes = f"[N, {pixels}]"
    if image_shape is not None:
        shapes += f" or [N, {image_shape[0]}, {image_shape[1]}]"
    fits = values.shape[1:] == (pixels,) or (
        image_shape is not None and values.shape[1:] == tuple(image_shape)
    )
    if values.ndim < 2 or not fits:
        hint = "; add a leading axis for a single image" if values.size == pixels else ""
        raise InputError(f"images: expected shape {shapes}, got {list(values.shape)}{hint}")
    if len(values) == 0:
        raise InputError(f"images: expected at least one, got an empty batch {list(values.shape)}")
    return values.reshape(len(values), pixels)


def _to_float32(values: npt.NDArray[Any]) -> Float32:
    # What is too large for float32 becomes infinite, which the checks that follow refuse.
    with np.errstate(over="ignore"):
        return np.array(values, dtype=np.float32, order="C")


def _check_finite(values: Float32) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad.any(axis=1)))
        raise InputError(
            f"images: {int(bad.sum())} values are NaN or infinite, the first in image {row}; "
            f"expected finite numbers: clean the data (--clip does not repair them)"
        )


def _check_range(values: Float32, low: float, high: float) -> None:
    lowest, highest = float(values.min()), float(values.max())
    # Half a float16 step of slack: the declared bound itself may have been rounded on the way.
    slack = 1e-6 * max(abs(low), abs(high))
    if lowest < low - slack or highest > high + slack:
        hint = "divide bytes by 255, or " if highest > 1.0 and highest <= 255.0 else ""
        raise InputError(
            f"images: expected values in [{low:g}, {high:g}], the range that the model was trained "
            f"on, got [{lowest:g}, {highest:g}]; {hint}clip them (--clip)"
        )


def _read_numpy(
    path: Path, split: str, key: str | None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any] | None]:
    if path.suffix not in (".npy", ".npz"):
        raise InputError(
            f"dataset {str(path)!r}: expected one of {', '.join(TORCHVISION_SETS)}, or a path to "
            f"an .npy or .npz file"
        )
    # Opened here, because numpy.load leaves its own handle open when a file is damaged.
    with _readable(path), path.open("rb") as file:
        data = np.load(file, allow_pickle=False)
        if isinstance(data, np.ndarray):
            return data, None
        with data:
            chosen = _choose_key(data.files, split, key, path)
            labels = [k.format(split=split) for k in _LABEL_KEYS]
            found = next((k for k in labels if k in data.files), None)
            return data[chosen], data[found] if found else None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: expected a NumPy file of plain numbers, got something else or a damaged one "
            f"({error}); write it with numpy.save or numpy.savez"
        ) from error


def _choose_key(keys: list[str], split: str, key: str | None, path: Path) -> str:
    if key is None:
        named = [k for k in (split, f"{split}_images", "images") if k in keys]
        key = named[0] if named else keys[0] if len(keys) == 1 else None
    if key is None or key not in keys:
        wanted = "images" if key is None else key
        raise InputError(f"{path}: no array {wanted!r}; it holds {keys}: choose one by its key")
    return key


def _make_images(values: npt.NDArray[Any], labels: npt.NDArray[Any] | None, name: str) -> Images:
    if values.ndim not in (2, 3) or values.size == 0 or values.dtype.kind not in "fiub":
        raise InputError(
            f"{name}: expected numbers of shape [N, H, W] or [N, M], got {values.dtype} "
            f"{list(values.shape)}"
        )
    pixels = _to_float32(values.reshape(len(values), -1))
    if values.dtype == np.uint8:
        pixels /= np.float32(255)
    _check_finite(pixels)
    shape = (values.shape[1], values.shape[2]) if values.ndim == 3 else None
    low, high = _declared_range(pixels)
    return Images(pixels, _check_labels(labels, len(pixels), name), shape, low, high, name)


def _declared_range(pixels: Float32) -> tuple[float, float]:
    lowest, highest = float(pixels.min()), float(pixels.max())
    if lowest >= 0.0 and highest <= 1.0:
        return 0.0, 1.0
    size = max(-lowest, highest)
    return -size, size


def _check_labels(
    labels: npt.NDArray[Any] | None, count: int, name: str
) -> npt.NDArray[np.int64] | None:
    if labels is None:
        return None
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InputError(
            f"{name}: expected {count} integer labels, one per image, got {labels.dtype} "
            f"{list(labels.shape)}"
        )
    return labels.astype(np.int64)
