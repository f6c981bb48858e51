"""Inputs that change in time, frame by frame.

A feeder gives frame after frame of the same batch of scenes: row ``b`` of every frame continues row
``b`` of the frame before, so that a network may carry its state over instead of starting anew. Each
frame is shown for ``steps_per_frame`` iterations. Frames are functions of their number alone:
frame 7 is the same whether or not frame 6 was asked for.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from pvae_neuro.data.arrays import Float32, ImageShape, check_seed, check_size, to_planes
from pvae_neuro.data.folder import stack_pictures
from pvae_neuro.data.images import Images, make_images
from pvae_neuro.data.numpy_files import SUFFIXES, read_numpy
from pvae_neuro.data.pictures import list_pictures, read_picture
from pvae_neuro.data.turning import rotate_planes, shift_planes
from pvae_neuro.errors import InputError


@runtime_checkable
class Feeder(Protocol):
    """Frames of a batch of scenes, in their order.

    Attributes
    ----------
    steps_per_frame : int
        Iterations that each frame is shown for.
    image_shape : tuple of int or None
        (H, W) or (C, H, W).
    low, high : float
        Range that all frames lie in.
    name : str
        What is shown.
    """

    steps_per_frame: int
    image_shape: ImageShape | None
    low: float
    high: float
    name: str

    def frame(self, t: int) -> Float32:
        """Frame ``t`` as float32 [B, M]; the caller may change it."""

    def __len__(self) -> int:
        """Number of frames."""

    def __getitem__(self, t: int) -> Float32:
        """Frame ``t``; negative numbers count from the end, :class:`IndexError` beyond it."""

    def __iter__(self) -> Iterator[Float32]:
        """Frames from the first to the last."""


class FrameSource:
    """What all feeders share: counting, checking and iterating.

    Parameters
    ----------
    frames : int
        Number of frames, at least 1.
    steps_per_frame : int
        Iterations that each is shown for, at least 1.
    image_shape : tuple of int or None
    low, high : float
    name : str

    Raises
    ------
    InputError
        If a number is below 1.
    """

    def __init__(
        self,
        frames: int,
        steps_per_frame: int,
        image_shape: ImageShape | None,
        low: float,
        high: float,
        name: str,
    ) -> None:
        self._frames = _at_least_one(frames, "frames")
        self.steps_per_frame = _at_least_one(steps_per_frame, "steps_per_frame")
        self.image_shape = image_shape
        self.low, self.high, self.name = float(low), float(high), name

    def __len__(self) -> int:
        return self._frames

    def __iter__(self) -> Iterator[Float32]:
        return (self.frame(t) for t in range(len(self)))

    def __getitem__(self, t: int) -> Float32:
        place = t + len(self) if t < 0 else t
        if not 0 <= place < len(self):
            raise IndexError(f"frame {t} of {len(self)}")
        return self.frame(place)

    def frame(self, t: int) -> Float32:
        """Frame ``t`` as float32 [B, M].

        Raises
        ------
        InputError
            If there is no such frame.
        """
        if isinstance(t, bool) or not isinstance(t, int | np.integer) or not 0 <= t < len(self):
            raise InputError(
                f"frame: expected a whole number from 0 to {len(self) - 1}, got {t!r}; ask for "
                f"more frames where the feeder is made"
            )
        return self._make(int(t))

    def _make(self, t: int) -> Float32:
        raise NotImplementedError


class Stationary(FrameSource):
    """The same images in every frame.

    Parameters
    ----------
    images : Images
    frames, steps_per_frame : int
    """

    def __init__(self, images: Images, *, frames: int = 100, steps_per_frame: int = 1) -> None:
        shape, low, high = images.image_shape, images.low, images.high
        super().__init__(frames, steps_per_frame, shape, low, high, images.name)
        self._pixels = images.pixels

    def _make(self, t: int) -> Float32:
        return self._pixels.copy()


class Sequence(FrameSource):
    """Recorded frames.

    Parameters
    ----------
    frames : array_like or path-like
        [T, H, W] (one scene), [T, B, H, W] or, in colour, [T, B, 3, H, W], as numbers that
        :func:`~pvae_neuro.data.load_images` would take; a path to an ``.npy`` or ``.npz`` file
        of such; or to a folder of pictures, whose frames are in the order of their names.
    size : int or (int, int), optional
        Height and width to crop and resize a folder's frames to.
    steps_per_frame : int

    Raises
    ------
    InputError
        If they are no frames, or unreadable.
    EngineUnavailableError
        If a folder is given and Pillow is not installed.
    """

    def __init__(
        self,
        frames: npt.ArrayLike | str | os.PathLike[str],
        *,
        size: int | tuple[int, int] | None = None,
        steps_per_frame: int = 1,
    ) -> None:
        name = "frames"
        if isinstance(frames, str | os.PathLike):
            name = Path(frames).name
            values = _read_frames(Path(frames), size)
        else:
            values = np.asarray(frames)
        images, batch = _frames_as_images(values, name)
        self._pixels = images.pixels.reshape(len(values), batch, -1)
        super().__init__(
            len(values), steps_per_frame, images.image_shape, images.low, images.high, name
        )

    def _make(self, t: int) -> Float32:
        return self._pixels[t].copy()


class Rotating(FrameSource):
    """Images that turn about their centre at a constant speed.

    Every frame is turned from the original, so that interpolation errors do not add up. What comes
    from outside is zero.

    Parameters
    ----------
    images : Images
        With a height and a width.
    degrees_per_frame : float
        Counter-clockwise.
    start : float
        Angle of frame 0, in degrees.
    frames, steps_per_frame : int

    Raises
    ------
    InputError
        If the images are flat, or an angle is not finite.
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
        self._planes = to_planes(images.pixels, images.image_shape, images.name)
        self._speed = check_number(degrees_per_frame, "degrees_per_frame")
        self._start = check_number(start, "start")
        shape, low, high = images.image_shape, images.low, images.high
        super().__init__(frames, steps_per_frame, shape, low, high, f"{images.name}, rotating")

    def angle(self, t: int) -> float:
        """Angle of frame ``t``, in degrees, counter-clockwise."""
        return self._start + self._speed * t

    def _make(self, t: int) -> Float32:
        turned = rotate_planes(self._planes, self.angle(t), self.low, self.high)
        return turned.reshape(len(turned), -1)


class Jittering(FrameSource):
    """Images that jump about their place, as under small movements of the eye.

    Each image has in each frame a shift of its own, in whole pixels so that nothing is blurred,
    independent of all other frames. What comes from outside is zero. Shifts come from Philox with
    the seed as key and the frame as counter, so that they depend on (seed, frame, image) alone.

    Parameters
    ----------
    images : Images
        With a height and a width.
    sd : float, optional
        Standard deviation in pixels of a normal shift per axis, before it is rounded; 1 where
        neither is given.
    max_shift : int, optional
        Largest shift of a uniform one per axis, in its place.
    seed : int
    frames, steps_per_frame : int

    Raises
    ------
    InputError
        If the images are flat, both kinds of shift are given, or one is negative.
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
        self._planes = to_planes(images.pixels, images.image_shape, images.name)
        self._sd = 1.0 if sd is None else check_number(sd, "sd", lowest=0.0)
        self._max_shift = None if max_shift is None else _check_shift(max_shift)
        self._seed = check_seed(seed)
        shape, low, high = images.image_shape, images.low, images.high
        super().__init__(frames, steps_per_frame, shape, low, high, f"{images.name}, jittering")

    def shifts(self, t: int) -> npt.NDArray[np.int64]:
        """Shifts of frame ``t``, [B, 2]: down and to the right, in pixels."""
        # The second word of the counter: 2^64 blocks lie between the numbers of two frames.
        rng = np.random.Generator(np.random.Philox(key=self._seed, counter=[0, t, 0, 0]))
        shape = (len(self._planes), 2)
        if self._max_shift is not None:
            bound = self._max_shift
            return rng.integers(-bound, bound, shape, dtype=np.int64, endpoint=True)
        return np.rint(self._sd * rng.standard_normal(shape)).astype(np.int64)

    def _make(self, t: int) -> Float32:
        moved = shift_planes(self._planes, self.shifts(t), self.low, self.high)
        return moved.reshape(len(moved), -1)


def check_number(value: float, name: str, lowest: float = -math.inf) -> float:
    """Refuse what is not finite or too low.

    Raises
    ------
    InputError
        Names the option.
    """
    if not math.isfinite(value) or value < lowest:
        bound = "" if lowest == -math.inf else f" of at least {lowest:g}"
        raise InputError(f"{name}: expected a finite number{bound}, got {value}")
    return float(value)


def _at_least_one(value: int, name: str) -> int:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < 1:
        raise InputError(f"{name}: expected a whole number of at least 1, got {value!r}")
    return int(value)


def _check_shift(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise InputError(f"max_shift: expected a whole number of pixels, 0 or more, got {value!r}")
    return int(value)


def _read_frames(path: Path, size: int | tuple[int, int] | None) -> npt.NDArray[Any]:
    if path.suffix in SUFFIXES:
        if size is not None:
            raise InputError("size: expected a folder of frames; a NumPy file is read as it is")
        return read_numpy(path, "train", None).values
    files = list_pictures(path)
    wanted = None if size is None else check_size(size)
    return stack_pictures((read_picture(file, wanted) for file in files), files)[:, None]


def _frames_as_images(values: npt.NDArray[Any], name: str) -> tuple[Images, int]:
    """All frames of all scenes as one set of images, and the number of scenes."""
    if values.ndim not in (3, 4, 5) or values.size == 0:
        raise InputError(
            f"{name}: expected frames of shape [T, H, W], [T, B, H, W] or [T, B, 3, H, W], got "
            f"{list(values.shape)}"
        )
    batch = 1 if values.ndim == 3 else values.shape[1]
    rest = values.shape[1:] if values.ndim == 3 else values.shape[2:]
    images = make_images(values.reshape(len(values) * batch, *rest), None, name)
    return replace(images, name=name), batch
