"""Inputs that change in time, frame by frame.

A feeder gives frame after frame of the same batch of scenes: row ``b`` of every frame continues row
``b`` of the frame before, so that a network can carry its state over instead of starting anew. Each
frame is shown for ``steps_per_frame`` iterations. A frame depends only on its number: frame 7 is
the same whether or not frame 6 was asked for.
"""

from __future__ import annotations

import inspect
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.contents import Request
from pvae_neuro.data.file_kinds import file_kind
from pvae_neuro.data.folder import read_pictures
from pvae_neuro.data.images import Float32, Images, check_size, make_images
from pvae_neuro.data.layout import arrange
from pvae_neuro.data.listing import left_out_text, list_pictures
from pvae_neuro.data.scale import check_scale
from pvae_neuro.data.transforms import rotate_planes, shift_planes
from pvae_neuro.errors import InputError
from pvae_neuro.sim.noise import LARGEST_INDEX, check_seed, check_whole
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.arrays import real_array
from pvae_neuro.utils.memory import require_memory
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.show import show
from pvae_neuro.utils.suggest import suggest

if TYPE_CHECKING:
    from pvae_neuro.network import ImageShape

Float64 = npt.NDArray[np.float64]

LARGEST = 1e9
"""Largest magnitude of the numbers that describe a feeder: shifts, angles, frequencies, ranges."""


@runtime_checkable
class Feeder(Protocol):
    """A sequence of frames of a batch of scenes."""

    steps_per_frame: int
    """Iterations that each frame is shown for."""

    image_shape: ImageShape | None
    """(H, W) or (C, H, W)."""

    low: float
    high: float
    """Range that all frames lie in."""

    name: str
    """What is shown."""

    def frame(self, t: int) -> Float32:
        """Frame ``t`` as float32 [B, M]; the caller may change it."""

    def __len__(self) -> int:
        """Number of frames."""

    def __getitem__(self, t: int) -> Float32:
        """Frame ``t``; negative numbers count from the end, :class:`IndexError` beyond it."""

    def __iter__(self) -> Iterator[Float32]:
        """Frames from the first to the last."""


class FrameSource(ABC):
    """Base of all feeders: it checks frame numbers and iterates; a subclass has ``_make(t)``."""

    def __init__(
        self,
        frames: int,
        steps_per_frame: int,
        image_shape: ImageShape | None,
        low: float,
        high: float,
        name: str,
    ) -> None:
        self._frames = check_whole("frames", frames, 1, LARGEST_INDEX)
        self.steps_per_frame = check_whole("steps_per_frame", steps_per_frame, 1, LARGEST_INDEX)
        self.image_shape = image_shape
        self.low, self.high, self.name = float(low), float(high), name

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {show(self.name)}: {self._frames} frames, "
            f"{self.steps_per_frame} iterations on each>"
        )

    def __len__(self) -> int:
        return self._frames

    def __iter__(self) -> Iterator[Float32]:
        return (self.frame(t) for t in range(len(self)))

    def __getitem__(self, t: int) -> Float32:
        number = t + len(self) if t < 0 else t
        if not 0 <= number < len(self):
            raise IndexError(f"frame {t} of {len(self)}")
        return self.frame(number)

    def frame(self, t: int) -> Float32:
        """Frame ``t`` as float32 [B, M]; :class:`InputError` if there is no such frame."""
        if isinstance(t, bool) or not isinstance(t, int | np.integer) or not 0 <= t < len(self):
            raise InputError(
                f"frame: expected a whole number from 0 to {len(self) - 1}, got {t!r}; ask for "
                f"more frames where the feeder is made"
            )
        return self._make(int(t))

    @abstractmethod
    def _make(self, t: int) -> Float32:
        """Make frame ``t``."""


class _Scenes(FrameSource):
    """Base of feeders that show a set of images."""

    def __init__(self, images: Images, frames: int, steps_per_frame: int, suffix: str = "") -> None:
        if not isinstance(images, Images):
            raise InputError(
                f"images: expected Images, which load_images and make_images return, got "
                f"{show(images)}"
            )
        super().__init__(
            frames, steps_per_frame, images.image_shape, images.low, images.high,
            images.name + suffix,
        )  # fmt: skip


class Stationary(_Scenes):
    """The same images in every frame."""

    def __init__(self, images: Images, *, frames: int = 100, steps_per_frame: int = 1) -> None:
        super().__init__(images, frames, steps_per_frame)
        self._pixels = images.pixels

    def _make(self, t: int) -> Float32:
        return self._pixels.copy()


class Sequence(FrameSource):
    """Recorded frames.

    Parameters
    ----------
    frames : array_like or path-like
        [T, H, W] (one scene), [T, B, H, W] or, in colour, [T, B, 3, H, W], as numbers that
        :func:`~pvae_neuro.data.load_images` would take; a path to such an ``.npy`` or ``.npz``
        file, or to a film [H, W, T] or [H, W, 3, T] in a ``.mat`` file; or to a folder of pictures,
        whose frames are in natural order of their names (``frame_2`` before ``frame_10``).
    size : int or (int, int), optional
        Height and width to crop and resize the frames of a folder to.
    scale : float, optional
        The number that means 1, where the frames do not tell: see
        :func:`~pvae_neuro.data.make_images`.

    Attributes
    ----------
    about : str
        What was read, in one line.
    """

    def __init__(
        self,
        frames: npt.ArrayLike | str | os.PathLike[str],
        *,
        size: int | tuple[int, int] | None = None,
        scale: float | None = None,
        steps_per_frame: int = 1,
    ) -> None:
        if scale is not None:
            scale = check_scale(_check_number(scale, "scale"))
        if isinstance(frames, str | os.PathLike):
            path = user_path(frames)
            name, (values, about, left) = path.name, _read_frames(path, size, scale)
        else:
            name, values, about, left = "frames", real_array("frames", frames), "", scale
        images, batch = _frames_as_images(values, name, left)
        self.about = about or images.about
        self._pixels = images.pixels.reshape(len(values), batch, -1)
        super().__init__(
            len(values), steps_per_frame, images.image_shape, images.low, images.high, name
        )

    def _make(self, t: int) -> Float32:
        return self._pixels[t].copy()


class Rotating(_Scenes):
    """Images that turn counter-clockwise about their centre at a constant speed, from ``start``.

    Every frame is turned from the original, so that interpolation errors do not add up. Pixels
    from outside are zero. Angles are in degrees.
    """

    def __init__(
        self,
        images: Images,
        degrees_per_frame: float = 1.0,
        *,
        start: float = 0.0,
        frames: int = 100,
        steps_per_frame: int = 1,
    ) -> None:
        super().__init__(images, frames, steps_per_frame, ", rotating")
        self._planes = images.planes()
        self._speed = _check_number(degrees_per_frame, "degrees_per_frame")
        self._start = _check_number(start, "start")

    def angle(self, t: int) -> float:
        """Angle of frame ``t``, in degrees, counter-clockwise."""
        return self._start + self._speed * t

    def _make(self, t: int) -> Float32:
        turned = rotate_planes(self._planes, self.angle(t), self.low, self.high)
        return turned.reshape(len(turned), -1)


class Jittering(_Scenes):
    """Images that jump about their position, as under small movements of the eye.

    In each frame each image has a shift of its own, independent of all other frames, in whole
    pixels so that nothing is blurred. Pixels from outside are zero. Shifts come from Philox with
    the seed as key and the frame as counter, so that they depend only on (seed, frame, image).

    Parameters
    ----------
    images : Images
        With a height and a width.
    sd : float, optional
        Standard deviation, in pixels, of a normal shift along each axis, before it is rounded; 1
        where neither is given.
    max_shift : int, optional
        Instead, the largest shift of a uniform one along each axis.
    """

    def __init__(
        self,
        images: Images,
        *,
        sd: float | None = None,
        max_shift: int | None = None,
        seed: int = 0,
        frames: int = 100,
        steps_per_frame: int = 1,
    ) -> None:
        if sd is not None and max_shift is not None:
            raise InputError("jittering: expected sd or max_shift, got both")
        super().__init__(images, frames, steps_per_frame, ", jittering")
        self._planes = images.planes()
        self._sd = 1.0 if sd is None else _check_number(sd, "sd", lowest=0.0)
        self._max_shift = (
            None if max_shift is None else check_whole("max_shift", max_shift, 0, int(LARGEST))
        )
        self._seed = check_seed(seed)

    def shifts(self, t: int) -> npt.NDArray[np.int64]:
        """Shifts of frame ``t``, [B, 2]: down and to the right, in pixels."""
        # The frame is the second word of the counter: frames are 2^64 blocks of numbers apart.
        rng = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, t, 0, 0]))
        shape = (len(self._planes), 2)
        if self._max_shift is not None:
            bound = self._max_shift
            return rng.integers(-bound, bound, shape, dtype=np.int64, endpoint=True)
        return np.rint(self._sd * rng.standard_normal(shape)).astype(np.int64)

    def _make(self, t: int) -> Float32:
        moved = shift_planes(self._planes, self.shifts(t), self.low, self.high)
        return moved.reshape(len(moved), -1)


class Morphing(_Scenes):
    """Images that turn into one another, pixel by pixel, at a constant speed.

    Row ``b`` begins as image ``b`` and goes through those that follow it, the first after the last.

    Parameters
    ----------
    images : Images
    images_per_frame : float
        Share of the way to the next image that a frame goes; 1 shows another image in each frame.
    """

    def __init__(
        self,
        images: Images,
        images_per_frame: float = 0.1,
        *,
        frames: int = 100,
        steps_per_frame: int = 1,
    ) -> None:
        super().__init__(images, frames, steps_per_frame, ", morphing")
        self._pixels = images.pixels
        self._speed = _check_number(images_per_frame, "images_per_frame", lowest=0.0)

    def _make(self, t: int) -> Float32:
        whole, share = divmod(self._speed * t, 1.0)
        rows = np.arange(len(self._pixels)) + int(whole % len(self._pixels))
        before, after = (np.take(self._pixels, rows + k, axis=0, mode="wrap") for k in (0, 1))
        frame = (1.0 - np.float32(share)) * before + np.float32(share) * after
        return np.clip(frame, self.low, self.high)


class DriftingGrating(FrameSource):
    """Sinusoidal gratings that drift, one or a batch of them.

    Frame t at the pixel (row r, column c), counted from the centre:

        mean + contrast * amplitude * cos(2 pi (f s - w t) + phase)
        s = c cos(orientation) - r sin(orientation)

    For a positive temporal frequency w the grating moves along its orientation axis, to the right
    at 0 degrees and upwards at 90. Options marked "or [B]" broadcast against each other; their
    common length is the batch.

    Parameters
    ----------
    size : int or (int, int)
        (H, W) in pixels.
    orientation : float or [B]
        Direction of drift in degrees, counter-clockwise; the bars are perpendicular to it.
    spatial_frequency : float or [B]
        f, in cycles per pixel, from 0 to 0.5 (Nyquist).
    temporal_frequency : float or [B]
        w, in cycles per frame.
    contrast : float or [B]
        From 0 to 1 (Michelson, where low is 0).
    phase : float or [B]
        In degrees.
    low, high : float
        Declared range. The mean is its middle: 0 for the symmetric range of whitened patches.
    amplitude : float, optional
        Of contrast 1; by default, and at most, half the range.
    zero_mean : bool
        Subtract the spatial mean of every frame, as whitening does with patches; a window of few
        cycles has one. Where a frame then exceeds the amplitude, its grating is scaled down, by
        one factor for all frames.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 16,
        *,
        orientation: npt.ArrayLike = 0.0,
        spatial_frequency: npt.ArrayLike = 0.125,
        temporal_frequency: npt.ArrayLike = 0.0625,
        contrast: npt.ArrayLike = 1.0,
        phase: npt.ArrayLike = 0.0,
        low: float = -1.0,
        high: float = 1.0,
        amplitude: float | None = None,
        zero_mean: bool = False,
        frames: int = 100,
        steps_per_frame: int = 1,
    ) -> None:
        shape, height = check_size(size), _check_amplitude(amplitude, low, high)
        if not isinstance(zero_mean, bool | np.bool_):
            raise InputError(f"zero_mean: expected True or False, got {show(zero_mean)}")
        super().__init__(frames, steps_per_frame, shape, low, high, "drifting gratings")
        options = _broadcast(
            {
                "orientation": orientation, "spatial_frequency": spatial_frequency,
                "temporal_frequency": temporal_frequency, "contrast": contrast, "phase": phase,
            }
        )  # fmt: skip
        _check_within(options["spatial_frequency"], 0.0, 0.5, "spatial_frequency")
        _check_within(options["contrast"], 0.0, 1.0, "contrast")
        self._mean = (self.low + self.high) / 2.0
        self._cycles_per_frame = options["temporal_frequency"]
        pixels = shape[0] * shape[1] * len(options["phase"])
        # Two images in float64 of each grating, and as many in between.
        require_memory(4 * 8 * pixels, f"gratings of {shape[0]}x{shape[1]} pixels")
        even, odd = _quadrature(shape, options)
        if zero_mean:
            even, odd = _without_mean(even, odd)
        scale = height * options["contrast"][:, None]
        self._even, self._odd = scale * even, scale * odd

    def _make(self, t: int) -> Float32:
        # cos(a - wt) = cos(a) cos(wt) + sin(a) sin(wt): two images make all frames.
        angle = 2.0 * math.pi * self._cycles_per_frame[:, None] * t
        frame = self._mean + self._even * np.cos(angle) + self._odd * np.sin(angle)
        return np.clip(frame, self.low, self.high).astype(np.float32)


_KINDS: dict[str, type[FrameSource]] = {
    "stationary": Stationary,
    "sequence": Sequence,
    "rotating": Rotating,
    "jittering": Jittering,
    "morphing": Morphing,
    "drifting-grating": DriftingGrating,
}

FEEDERS = tuple(_KINDS)
"""Names that :func:`make_feeder` knows."""


@checked
def make_feeder(name: str, images: Images | None = None, **options: Any) -> Feeder:
    """Make a feeder by its name, one of :data:`FEEDERS`, with the options of its class.

    ``images`` are the scenes of ``stationary``, ``rotating``, ``jittering`` and ``morphing``. For
    ``sequence`` they are the frames of one scene, unless the option ``frames`` gives others; for
    ``drifting-grating`` they give size and range, unless options do.

    Raises :class:`InputError` if the name or an option is unknown (it suggests the nearest ones),
    or a value does not fit.
    """
    if name not in _KINDS:
        raise InputError(f"feeder {name!r}: expected the name of a feeder{suggest(name, FEEDERS)}")
    kind = _KINDS[name]
    known = [option for option in inspect.signature(kind).parameters if option != "images"]
    for option in options:
        if option not in known:
            raise InputError(f"feeder {name!r}: has no option {option!r}{suggest(option, known)}")
    defaults = _DEFAULTS.get(name, _scenes)(name, images, options)
    # FrameSource itself takes other arguments than its subclasses.
    make: Any = kind
    return make(**{**defaults, **options})


def _scenes(name: str, images: Images | None, options: dict[str, Any]) -> dict[str, Any]:
    if images is None:
        raise InputError(f"feeder {name!r}: expected images to show, got none")
    return {"images": images}


def _frames(name: str, images: Images | None, options: dict[str, Any]) -> dict[str, Any]:
    if "frames" in options:
        return {}
    scenes: Images = _scenes(name, images, options)["images"]
    planes = scenes.planes()
    colour = planes.shape[1] > 1
    # They are pixels already.
    return {"frames": planes[:, None] if colour else planes, "scale": 1.0}


def _size_and_range(name: str, images: Images | None, options: dict[str, Any]) -> dict[str, Any]:
    if images is None:
        return {}
    if images.image_shape is None or len(images.image_shape) != 2:
        raise InputError(
            f"{images.name}: expected grey images, whose size the gratings take, got shape "
            f"{images.image_shape}; give the option size and no images"
        )
    return {"size": images.image_shape, "low": images.low, "high": images.high}


_DEFAULTS = {"sequence": _frames, "drifting-grating": _size_and_range}
"""How images become arguments, for feeders that do not show them as they are."""


def _check_number(value: float, name: str, lowest: float = -LARGEST) -> float:
    number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    if not number or not lowest <= value <= LARGEST:
        raise InputError(
            f"{name}: expected a finite number from {lowest:g} to {LARGEST:g}, got {show(value)}"
        )
    return float(value)


def _read_frames(
    path: Path, size: int | tuple[int, int] | None, scale: float | None
) -> tuple[npt.NDArray[Any], str, float | None]:
    """Frames, what was read, and the scale that is left to apply."""
    kind = file_kind(path)
    if kind is not None:
        if size is not None:
            raise InputError("size: expected a folder of frames; a file is read as it is")
        contents = kind.read(path, Request("train", scale=scale))
        values = real_array(path.name, contents.values)
        if contents.layout is not None:  # The frames of one scene, in the order of their format.
            values = arrange(values, contents.layout, path.name)[:, None]
        return values, "", scale
    wanted = None if size is None else check_size(size)
    listing = list_pictures(path)
    read = read_pictures(listing.files, wanted, str(path), scale)
    about = f"{len(read.values):,} frames; {read.about}; {left_out_text(listing.left_out)}"
    return read.values[:, None], about, None if scale is None else 1.0


def _frames_as_images(
    values: npt.NDArray[Any], name: str, scale: float | None
) -> tuple[Images, int]:
    """All frames of all scenes as one set of images, and the number of scenes."""
    if values.ndim not in (3, 4, 5) or values.size == 0:
        raise InputError(
            f"{name}: expected frames of shape [T, H, W], [T, B, H, W] or [T, B, 3, H, W], got "
            f"{list(values.shape)}"
        )
    batch = 1 if values.ndim == 3 else values.shape[1]
    image = values.shape[1:] if values.ndim == 3 else values.shape[2:]
    images = make_images(
        values.reshape(len(values) * batch, *image),
        name=name,
        scale=scale,
        layout="NHW" if len(image) == 2 else "NCHW",
    )
    return replace(images, name=name), batch


def _check_amplitude(amplitude: float | None, low: float, high: float) -> float:
    if not _check_number(low, "low") < _check_number(high, "high"):
        raise InputError(f"low, high: expected low below high, got [{low}, {high}]")
    half = (high - low) / 2.0
    if amplitude is None:
        return half
    if not 0.0 < _check_number(amplitude, "amplitude") <= half:
        raise InputError(
            f"amplitude: expected more than 0 and at most {half:g}, half of [{low:g}, {high:g}], "
            f"got {amplitude}"
        )
    return float(amplitude)


def _broadcast(options: dict[str, npt.ArrayLike]) -> dict[str, Float64]:
    """Each option as float64 [B]."""
    try:
        arrays = [np.asarray(value, dtype=np.float64) for value in options.values()]
        wide: list[Any] = np.broadcast_arrays(*arrays, np.zeros(1))[:-1]
    except (ValueError, TypeError) as error:
        raise InputError(
            f"gratings: expected one number each, or lists of one length, for "
            f"{', '.join(options)} ({error})"
        ) from error
    for name, value in zip(options, wide, strict=True):
        if value.ndim != 1 or value.size == 0 or not (np.abs(value) <= LARGEST).all():
            raise InputError(
                f"{name}: expected finite numbers up to {LARGEST:g}, one or [B], got "
                f"{show(options[name])}"
            )
    return dict(zip(options, wide, strict=True))


def _check_within(values: Float64, low: float, high: float, name: str) -> None:
    if values.min() < low or values.max() > high:
        raise InputError(
            f"{name}: expected values in [{low:g}, {high:g}], got [{values.min():g}, "
            f"{values.max():g}]"
        )


def _quadrature(shape: tuple[int, int], options: dict[str, Float64]) -> tuple[Float64, Float64]:
    """Cosine and sine of each grating at frame 0, [B, M] each."""
    row, column = (np.arange(length) - (length - 1) / 2.0 for length in shape)
    angle = np.radians(options["orientation"])[:, None, None]
    along = column[None, None, :] * np.cos(angle) - row[None, :, None] * np.sin(angle)
    frequency = options["spatial_frequency"][:, None, None]
    phase = np.radians(options["phase"])[:, None, None]
    argument = (2.0 * math.pi * frequency * along + phase).reshape(len(angle), -1)
    return np.cos(argument), np.sin(argument)


def _without_mean(even: Float64, odd: Float64) -> tuple[Float64, Float64]:
    even = even - even.mean(axis=1, keepdims=True)
    odd = odd - odd.mean(axis=1, keepdims=True)
    # The largest value that any frame can reach at any pixel.
    peak = np.maximum(np.hypot(even, odd).max(axis=1, keepdims=True), 1.0)
    return even / peak, odd / peak
