"""Picture files (PNG, JPEG, TIFF, BMP), one at a time, through Pillow."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from pvae_neuro.data.arrays import Float32
from pvae_neuro.errors import EngineUnavailableError, InputError

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
"""Endings of the files that are taken for pictures, in any case."""

# Whatever a file is named: no other decoder ever sees it.
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF")
_BYTE, _WORD = 255.0, 65535.0
_GREY_MODES = ("1", "L", "LA")
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
# Rec. 601, as Pillow's own conversion to grey.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def list_pictures(folder: Path) -> list[Path]:
    """Picture files below a folder, in the order of their relative names; hidden ones are left out.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of Path

    Raises
    ------
    InputError
        If the folder is absent, unreadable, or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder of images")
    found = [path for path in folder.rglob("*") if _is_picture(path.relative_to(folder))]
    files = sorted((p for p in found if p.is_file()), key=lambda p: p.relative_to(folder).parts)
    if not files:
        endings = ", ".join(PICTURE_SUFFIXES)
        raise InputError(f"{folder}: holds no images; expected files that end in {endings}")
    return files


def _is_picture(relative: Path) -> bool:
    hidden = any(part.startswith(".") for part in relative.parts)
    return relative.suffix.lower() in PICTURE_SUFFIXES and not hidden


def read_picture(path: Path, size: tuple[int, int] | None = None) -> Float32:
    """Decode a picture.

    Parameters
    ----------
    path : Path
    size : (int, int), optional
        (H, W) to crop and resize to, see :func:`crop_and_resize`.

    Returns
    -------
    ndarray of float32, [H, W] or [3, H, W]
        In [0, 1]: bytes divided by 255, 16-bit values by 65535. Floating-point TIFFs hold whatever
        they hold. Turned as its EXIF orientation says; transparency is left away.

    Raises
    ------
    InputError
        If it cannot be decoded, holds several pages, or values that are not finite.
    EngineUnavailableError
        If Pillow is not installed.
    """
    with _decodable(path), _pillow().open(path, formats=_FORMATS) as image:
        # Photographs of some telephones (MPO) carry previews behind the picture.
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            raise InputError(f"{path}: holds {image.n_frames} pages; expected one per file")
        return _to_array(image, size, path)


def to_grey(picture: Float32) -> Float32:
    """Luminance of a picture, Rec. 601.

    Parameters
    ----------
    picture : ndarray of float32, [..., H, W] or [..., 3, H, W]
        Taken for grey where it has two axes.

    Returns
    -------
    ndarray of float32, [..., H, W]
    """
    if picture.ndim == 2:
        return picture
    return np.einsum("...chw,c->...hw", picture, _LUMINANCE, dtype=np.float32)


def crop_and_resize(image: Image, size: tuple[int, int]) -> Image:
    """Cut out the largest centred rectangle with the proportions of ``size``, and resize it.

    Parameters
    ----------
    image : PIL.Image.Image
    size : (int, int)
        (H, W) in pixels.

    Returns
    -------
    PIL.Image.Image
        Resized with an antialiasing (area-scaled bilinear) kernel.
    """
    height, width = size
    across = max(1, min(image.width, round(image.height * width / height)))
    down = max(1, min(image.height, round(image.width * height / width)))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    # Cut first: Pillow's box for resizing lets what lies outside bleed in.
    cut = image.crop((left, top, left + across, top + down))
    return cut.resize((width, height), _pillow().Resampling.BILINEAR)


def _to_array(image: Image, size: tuple[int, int] | None, path: Path) -> Float32:
    from PIL import ImageOps

    deep = image.mode in _DEEP_MODES
    scale = 1.0 if image.mode == "F" else _WORD if deep else _BYTE
    if deep:
        # Pillow resizes 16-bit modes poorly or not at all.
        image = _pillow().fromarray(np.asarray(image).astype(np.float32))
    else:
        image = image.convert("L" if image.mode in _GREY_MODES else "RGB")
    image = ImageOps.exif_transpose(image)
    if size is not None:
        image = crop_and_resize(image, size)
    values = np.asarray(image, dtype=np.float32) / np.float32(scale)
    if not np.isfinite(values).all() or (scale == _WORD and values.max() > 1.0):
        raise InputError(f"{path}: expected finite values of at most 16 bits, got others")
    return np.ascontiguousarray(values.transpose(2, 0, 1)) if values.ndim == 3 else values


@contextmanager
def _decodable(path: Path) -> Iterator[None]:
    try:
        # What Pillow warns of in damaged files it then fails at, or it was of no account.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise _undecodable(path, error) from error
    except _pillow().DecompressionBombError as error:
        raise _undecodable(path, error) from error


def _undecodable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read as an image ({error}); remove or replace it")


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise EngineUnavailableError(
            "reading image files needs Pillow: pip install 'pvae-neuro[train]'"
        ) from error
    return Image
