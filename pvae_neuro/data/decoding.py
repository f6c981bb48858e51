"""What a picture file stores, as numbers: each of Pillow's modes brings its own rule.

A rule returns exactly what the file holds, or refuses: Pillow itself reads 16-bit colour with 8
bits, ignores that white is zero in TIFF files of 16 bits, and scales some depths by the wrong
white.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.optional import require

if TYPE_CHECKING:
    from PIL.Image import Image

# The only decoders that Pillow may use, whatever a file is named. Left out are those that start
# other programs (EPS, WMF), that need a handler of somebody else's, and those of icons, textures
# and films.
_FORMATS = (
    "AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "QOI", "SGI", "SUN",
    "TGA", "TIFF", "WEBP",
)  # fmt: skip

# At the peak: the decoded picture, its channels as an array, and those as float32.
_BYTES_PER_PIXEL = 24
_BYTE, _WORD = 255, 65535
_GREY_AND_ALPHA, _COLOUR_AND_ALPHA = 2, 4

# Pillow unpacks the high byte of each 16-bit sample. Told that the order of bytes is the other one,
# it unpacks the low byte.
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_DEEP_COLOUR = ("RGB;16", "RGBX;16", "RGBA;16")
# Decoders that only unpack, so that the order of bytes that they are told is the one that counts.
_PLAIN_DECODERS = ("libtiff", "raw", "zip")

# Numbers of TIFF tags, which EXIF shares.
_ORIENTATION = 274
_COMPRESSION, _PHOTOMETRIC, _BITS, _PLANAR, _SAMPLE_FORMAT = 259, 262, 258, 284, 339


class Stored(NamedTuple):
    """Samples as a file stores them."""

    values: npt.NDArray[Any]
    """[H, W] or [H, W, 3]."""

    white: int
    """What samples are divided by; 1 where nothing says what is white."""

    bits: int
    """Of a sample."""


@dataclass(frozen=True)
class Decoded:
    """A picture that Pillow decoded, and the facts that its mode does not tell."""

    name: str
    """Of the file, for messages."""

    data: bytes = field(repr=False)
    """The whole file."""

    image: Image
    decoder: str
    """Pillow's name of it; may be empty."""

    arguments: tuple[Any, ...]
    """Of the decoder; the first is the layout of samples in the file, if it is text."""

    pictures: int
    """Pages or frames in the file."""

    orientation: int
    """From EXIF, 1 to 8: how the decoded picture lies."""

    turned: bool
    """Whether the file says that its picture does not lie upright."""

    @property
    def layout(self) -> str:
        """Arrangement of samples in the file, in Pillow's names of "raw modes"; may be empty."""
        return str(self.arguments[0]) if self.arguments else ""

    def unfit(self, holds: str, instead: str) -> InputError:
        """The error for a picture that cannot be read rightly."""
        return InputError(f"{self.name}: {holds}; {instead}")

    def tag(self, number: int, default: Any) -> Any:
        """A tag of a TIFF file; the default in other files."""
        tags = getattr(self.image, "tag_v2", None)
        return default if tags is None else tags.get(number, default)


def decode(name: str, data: bytes) -> Decoded:
    """Decode a picture from its bytes; :class:`InputError` if Pillow cannot.

    From bytes, because Pillow 12.3 maps uncompressed TIFF files that it opens by name, and
    scrambles those whose orientation swaps the axes.
    """
    return _decode(name, data, lambda layout: layout)


def stored(decoded: Decoded) -> Stored:
    """What the file stores, without a transparency that hides nothing.

    Raises :class:`InputError` if the samples cannot be read exactly or their meaning is not known,
    or if something is transparent.
    """
    _check_tiff(decoded)
    rule = _MODES.get(decoded.image.mode)
    if rule is None:
        raise decoded.unfit(
            f"is stored in {decoded.image.mode}, whose colours depend on a device or a profile",
            "convert it to RGB or grey",
        )
    return _without_alpha(decoded, rule(decoded))


def pillow() -> ModuleType:
    """Pillow's module ``Image``; :class:`MissingDependencyError` without it."""
    return require("PIL.Image", "train", "image files")


@cache
def formats() -> tuple[str, ...]:
    """Names of the formats that may be read, among those of the Pillow that is installed."""
    image = pillow()
    image.init()
    return tuple(name for name in _FORMATS if name in image.OPEN)


def _decode(name: str, data: bytes, arrange: Callable[[str], str]) -> Decoded:
    """Decode a picture, told that its samples are laid out as ``arrange(layout)``."""
    with _foreign(name), pillow().open(io.BytesIO(data), formats=formats()) as image:
        require_memory(image.width * image.height * _BYTES_PER_PIXEL, name)
        # Taken before loading, which empties the list; formats that decode in one go have none.
        tiles = [(*tile[:3], _arguments(tile[3])) for tile in image.tile]
        if any(arrange(layout) != layout for *_, (layout, *_) in tiles):
            # Newer versions of Pillow want their own kind of tuple back.
            make = getattr(image.tile[0], "_make", tuple)
            image.tile = [make((*tile, (arrange(first), *rest))) for *tile, (first, *rest) in tiles]
        decoder, *_, arguments = tiles[0] if tiles else ("", ())
        pictures = getattr(image, "n_frames", 1)
        # Pillow turns a TIFF while it loads it, and newer versions then forget its orientation.
        tags = getattr(image, "tag_v2", None)
        declared = None if tags is None else tags.get(_ORIENTATION, 1)
        image.load()
        # Of other files after loading, because a PNG may hold it behind the picture.
        found = image.getexif().get(_ORIENTATION, 1) if declared is None else declared
        turned = found in range(2, 9)
        orientation = found if turned and declared is None else 1
        return Decoded(name, data, image, decoder, arguments, pictures, orientation, turned)


def _arguments(given: Any) -> tuple[Any, ...]:
    """Arguments of a decoder as a tuple, where Pillow allows a single one without."""
    return tuple(given) if isinstance(given, tuple | list) and given else (given,)


@contextmanager
def _foreign(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises on a damaged file into :class:`InputError`."""
    try:
        # Pillow's warnings about damaged files add nothing: fatal damage also raises.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InputError, MemoryError):
        raise
    # Only Pillow runs in here, on bytes of unknown origin, and its decoders raise any exception.
    except Exception as error:
        unknown = isinstance(error, pillow().UnidentifiedImageError)
        reason = "none that Pillow can decode" if unknown else str(error) or type(error).__name__
        raise InputError(
            f"{name}: cannot be read as an image ({' '.join(reason.split())}); remove or replace it"
        ) from error


def _check_tiff(decoded: Decoded) -> None:
    """Refuse what Pillow reads from a TIFF file as something else."""
    bits = max(decoded.tag(_BITS, (8,)))
    jpeg = decoded.tag(_COMPRESSION, 1) in (6, 7)
    checks = {
        "holds signed integers, whose black is not known": set(decoded.tag(_SAMPLE_FORMAT, (1,)))
        <= {1, 3},
        "holds floating-point numbers and says that white is zero": not (
            decoded.image.mode == "F" and decoded.tag(_PHOTOMETRIC, 1) == 0
        ),
        "holds YCbCr without JPEG compression": decoded.tag(_PHOTOMETRIC, 1) != 6 or jpeg,
        f"holds planes of {bits} bits one after the other": bits <= 8
        or decoded.tag(_PLANAR, 1) == 1,
    }
    for holds, fits in checks.items():
        if not fits:
            raise decoded.unfit(holds, "save it as a plain grey or RGB TIFF or PNG")


def _bytes_as(mode: str) -> Callable[[Decoded], Stored]:
    """The rule for modes of 8 bits: converted to ``mode``, which loses nothing."""

    def rule(decoded: Decoded) -> Stored:
        values = np.asarray(decoded.image.convert(mode))
        if decoded.layout.endswith((";16B", ";16L", ";16N")) or decoded.decoder == "SGI16":
            return Stored(_words_of_colour(decoded, values), _WORD, 16)
        _check_ppm(decoded)
        return _scaled_by_jpeg_2000(decoded, Stored(values, _BYTE, 8))

    return rule


def _palette(decoded: Decoded) -> Stored:
    transparent = "transparency" in decoded.image.info
    return Stored(np.asarray(decoded.image.convert("RGBA" if transparent else "RGB")), _BYTE, 8)


def _words(decoded: Decoded) -> Stored:
    values = np.asarray(decoded.image).astype(np.uint16)
    bits = decoded.tag(_BITS, (16,))[0]
    white = 2**bits - 1
    if decoded.tag(_PHOTOMETRIC, 1) == 0:
        values = white - values
    return _scaled_by_jpeg_2000(decoded, Stored(values, white, bits))


def _long(decoded: Decoded) -> Stored:
    # PNG (in older versions of Pillow) and PPM files of 16 bits.
    if decoded.image.format not in ("PNG", "PPM"):
        raise decoded.unfit(
            "holds 32-bit integers, whose white is not known", "save it with 16 bits or as floats"
        )
    return Stored(np.asarray(decoded.image).astype(np.uint16), _WORD, 16)


def _floats(decoded: Decoded) -> Stored:
    return Stored(np.asarray(decoded.image, dtype=np.float32), 1, 32)


_MODES: dict[str, Callable[[Decoded], Stored]] = {
    "1": _bytes_as("L"),
    "L": _bytes_as("L"),
    "LA": _bytes_as("LA"),
    "P": _palette,
    "PA": _bytes_as("RGBA"),
    "RGB": _bytes_as("RGB"),
    "RGBX": _bytes_as("RGB"),
    "RGBA": _bytes_as("RGBA"),
    "YCbCr": _bytes_as("RGB"),
    "I;16": _words,
    "I;16B": _words,
    "I;16L": _words,
    "I;16N": _words,
    "I": _long,
    "F": _floats,
}


def _words_of_colour(decoded: Decoded, high: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    """16-bit samples from two decodings: of the high bytes, and of the low ones."""
    if decoded.decoder not in _PLAIN_DECODERS or decoded.layout[:-1] not in _DEEP_COLOUR:
        raise decoded.unfit(
            f"holds 16-bit samples that Pillow reads with 8 bits ({decoded.layout})",
            "save it as a PNG of 16-bit grey or RGB, or with 8 bits",
        )
    again = _decode(decoded.name, decoded.data, lambda name: name[:-1] + _OTHER_ORDER[name[-1]])
    low = np.asarray(again.image)[..., : high.shape[-1]]
    return high.astype(np.uint16) << 8 | low


def _check_ppm(decoded: Decoded) -> None:
    """Refuse colour of more than 8 bits in a PPM file."""
    if decoded.decoder in ("ppm", "ppm_plain") and decoded.image.mode == "RGB":
        highest = decoded.arguments[-1]
        if highest > _BYTE:
            raise decoded.unfit(
                f"holds colours up to {highest}, which Pillow reads with 8 bits",
                "save it as a PNG of 16-bit RGB, or with 8 bits",
            )


def _scaled_by_jpeg_2000(decoded: Decoded, found: Stored) -> Stored:
    """Correct the white of JPEG 2000, whose decoder shifts samples up to 8 or 16 bits."""
    if decoded.image.format != "JPEG2000":
        return found
    # The code stream begins with the markers SOC and SIZ; the first component's depth follows.
    depth = decoded.data[decoded.data.index(b"\xff\x4f\xff\x51") + 42]
    bits = (depth & 0x7F) + 1
    if bits > found.bits or depth & 0x80:
        raise decoded.unfit(
            f"holds {'signed ' if depth & 0x80 else ''}samples of {bits} bits, which Pillow reads "
            f"with {found.bits}",
            "save it as a PNG of 16-bit grey or RGB, or with 8 bits",
        )
    return Stored(found.values, (2**bits - 1) << (found.bits - bits), bits)


def _without_alpha(decoded: Decoded, found: Stored) -> Stored:
    """Drop an alpha channel that is opaque everywhere; refuse another one."""
    values = found.values
    channels = values.shape[2] if values.ndim == 3 else 1
    if channels in (_GREY_AND_ALPHA, _COLOUR_AND_ALPHA):
        opaque = bool((values[..., -1] == found.white).all())
        values = values[..., 0] if channels == _GREY_AND_ALPHA else values[..., :-1]
    else:
        opaque = not _has_key(decoded, values)
    if not opaque:
        raise decoded.unfit(
            "has transparent pixels, whose brightness depends on what lies behind them",
            "put it on a background and save it without transparency",
        )
    return found._replace(values=values)


def _has_key(decoded: Decoded, values: npt.NDArray[Any]) -> bool:
    """Whether some pixel has the colour that a file without alpha declares transparent."""
    key = decoded.image.info.get("transparency")
    if key is None or decoded.image.mode == "P":
        return False
    # Pillow scales grey of 2 or 4 bits to 8, but not its key; newer versions scale that of 1 bit.
    bits = {"1": 1, "L;2": 2, "L;4": 4}.get(decoded.layout, 8)
    scaled = min(key * (_BYTE // (2**bits - 1)), _BYTE) if bits < 8 else key
    same = values == np.asarray(scaled)
    return bool((same.all(axis=-1) if values.ndim == 3 else same).any())
