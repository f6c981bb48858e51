"""Single picture files (PNG, JPEG, TIFF, GIF, WebP, ...), decoded by Pillow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.decoding import (
    Decoded,
    Stored,
    decode,
    formats,
    pillow,
    stored,
)
from pvae_neuro.data.images import Float32
from pvae_neuro.data.van_hateren import VAN_HATEREN_ENDINGS, read_van_hateren
from pvae_neuro.errors import InputError
from pvae_neuro.utils.whole_file import read_whole

if TYPE_CHECKING:
    from PIL.Image import Image

# Rec. 601, as in Pillow's own conversion to grey.
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)

# What brings a picture of each EXIF orientation upright.
_UPRIGHT: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, upright."""

    values: Float32 = field(repr=False)
    """[H, W] or [3, H, W]; integers are divided by their white, and then lie in [0, 1]."""

    depth: str
    """What was divided by what, as ``8 bits, divided by 255``."""

    brightness: float
    """Largest stored sample relative to white; 1 where there is no white."""

    notes: tuple[str, ...]
    """What was done to it."""


def picture_suffixes() -> tuple[str, ...]:
    """Endings, in lower case, of the files that are taken for pictures.

    They are those that Pillow registers for formats that it can decode as it is installed here,
    and those of van Hateren's photographs.
    """
    # JPEG's decoder also opens MPO, JPEG files of several pictures.
    readable = {*formats(), "MPO"}
    endings = pillow().registered_extensions().items()
    found = [ending for ending, kind in endings if kind in readable]
    return tuple(sorted([*found, *VAN_HATEREN_ENDINGS]))


def read_picture(
    path: Path, size: tuple[int, int] | None = None, scale: float | None = None
) -> Picture:
    """Decode a picture, turn it upright, and crop and resize it to ``size`` if that is given.

    Integers are divided by the white of their depth (255, 65535), floating-point samples are read
    as they are; with a ``scale``, all are divided by that. Three equal channels are taken as grey.

    Raises
    ------
    InputError
        If the file cannot be decoded exactly, holds several pages or frames, transparent pixels or
        values that are not finite, or is stored in colours that need a profile (CMYK, LAB).
    MissingDependencyError
        Without Pillow.
    """
    found, notes = _van_hateren(path) if _is_van_hateren(path) else _upright(path)
    values = found.values
    if values.ndim == 3 and (values[..., :1] == values).all():
        values = values[..., 0]
        notes.append("three equal channels taken as grey")
    if not np.isfinite(values).all():
        raise InputError(f"{path}: expected finite values, got NaN or infinite ones")
    brightness = float(values.max()) / found.white if found.white > 1 else 1.0
    if size is not None:
        if max(size[0] / values.shape[0], size[1] / values.shape[1]) > 1.0:
            notes.append("enlarged")
        values = _resized(values, size)
    divisor = found.white if scale is None else scale
    scaled = values / np.float32(divisor) if divisor != 1 else values
    planes = np.moveaxis(scaled, -1, 0) if scaled.ndim == 3 else scaled
    planes = np.ascontiguousarray(planes, dtype=np.float32)
    return Picture(planes, _depth(found, divisor), brightness, tuple(notes))


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
    return cut.resize((width, height), pillow().Resampling.BILINEAR)


def _is_van_hateren(path: Path) -> bool:
    return path.suffix.lower() in VAN_HATEREN_ENDINGS


def _van_hateren(path: Path) -> tuple[Stored, list[str]]:
    # Proportional to luminance, without a white.
    return Stored(read_van_hateren(path), 1, 16), []


def _upright(path: Path) -> tuple[Stored, list[str]]:
    """What Pillow decodes, turned upright, and what was done to it."""
    decoded = decode(str(path), read_whole(path, "a picture", copies=1))
    notes = _check_count(decoded)
    found = stored(decoded)
    if decoded.turned:
        notes.append("turned upright by EXIF")
    return found._replace(values=_UPRIGHT[decoded.orientation](found.values)), notes


def _check_count(decoded: Decoded) -> list[str]:
    """Refuse files of several pages or frames; the first of an MPO is the picture."""
    if decoded.pictures <= 1:
        return []
    # Photographs of some telephones carry previews, or the other eye's picture, behind the first.
    if decoded.image.format == "MPO":
        return ["first of several in an MPO file"]
    raise decoded.unfit(
        f"holds {decoded.pictures} pages or frames", "expected one picture; save each as a file"
    )


def _depth(found: Stored, divisor: float) -> str:
    kind = "floats" if found.values.dtype.kind == "f" else f"{found.bits} bits"
    return f"{kind}, as they are" if divisor == 1 else f"{kind}, divided by {divisor:g}"


def _resized(values: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Crop and resize [H, W] or [H, W, 3]; bytes stay bytes, others become floats."""
    image = pillow().fromarray
    if values.dtype == np.uint8:
        return np.asarray(crop_and_resize(image(np.ascontiguousarray(values)), size))
    planes = values.astype(np.float32)[..., None] if values.ndim == 2 else values.astype(np.float32)
    resized = [
        np.asarray(crop_and_resize(image(np.ascontiguousarray(plane)), size))
        for plane in np.moveaxis(planes, -1, 0)
    ]
    # Interpolation does not leave the range of the values, its rounding may.
    stacked = np.clip(np.stack(resized, axis=-1), planes.min(), planes.max())
    return stacked[..., 0] if values.ndim == 2 else stacked
