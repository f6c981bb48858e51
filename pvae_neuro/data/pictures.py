"""Single picture files (PNG, JPEG, TIFF, BMP), read by Pillow."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from pvae_neuro.data.images import Float32
from pvae_neuro.errors import InputError
from pvae_neuro.utils.optional import require

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
"""Endings, in any case, of the files that are taken for pictures."""

# The only decoders that Pillow may use, whatever a file is named.
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF")
_BYTE, _WORD = 255.0, 65535.0
_GREY_MODES = ("1", "L", "LA")
_DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
# Rec. 601, as in Pillow's own conversion to grey.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def list_pictures(folder: Path) -> list[Path]:
    """Picture files below a folder, sorted by their relative names, without hidden ones.

    Raises :class:`InputError` if the folder is absent or holds none.
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
    """Decode a picture to [H, W] or [3, H, W], cropped and resized to ``size`` if given.

    Bytes are divided by 255 and 16-bit values by 65535; floating-point TIFFs are read as they are.
    EXIF orientation is applied, transparency dropped.

    Raises :class:`InputError` if the file cannot be decoded, holds several pages, or values that
    are not finite.
    """
    with _decodable(path), _pillow().open(path, formats=_FORMATS) as image:
        # Photographs of some telephones (MPO) carry previews behind the picture.
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
            raise InputError(f"{path}: holds {image.n_frames} pages; expected one per file")
        return _to_array(image, size, path)


def to_grey(picture: Float32) -> Float32:
    """Luminance (Rec. 601) of [..., 3, H, W]; a picture of two axes is grey already."""
    if picture.ndim == 2:
        return picture
    return np.einsum("...chw,c->...hw", picture, _LUMINANCE, dtype=np.float32)


def crop_and_resize(image: Image, size: tuple[int, int]) -> Image:
    """Cut out the largest centred rectangle with the proportions of (H, W), and resize it.

    The kernel is bilinear, widened where the image shrinks (antialiasing).
    """
    height, width = size
    across = max(1, min(image.width, round(image.height * width / height)))
    down = max(1, min(image.height, round(image.width * height / width)))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    # Cut first: with the box argument of Pillow's resize, pixels outside the box bleed in.
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
    """Turn whatever Pillow raises on a damaged file into :class:`InputError`."""
    bomb = _pillow().DecompressionBombError
    try:
        # Pillow's warnings about damaged files add nothing: fatal damage also raises.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, bomb) as error:
        raise InputError(
            f"{path}: cannot be read as an image ({error}); remove or replace it"
        ) from error


def _pillow() -> ModuleType:
    return require("PIL.Image", "train", "image files")
