"""What readers of files are asked for, and what they return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pvae_neuro.utils.progress import StageProgress, no_stages

PARTS = ("train", "test")
SPLITS = (*PARTS, "all")

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
"""Images [N, ...] and labels [N]."""


class Contents(NamedTuple):
    """What a file held, and what is certain about it."""

    values: Any
    """Images, as they are."""

    labels: npt.NDArray[Any] | None = None

    declared: npt.NDArray[Any] | None = None
    """Lowest and highest value of all parts of the file, where it declares them."""

    scale: float | None = None
    """What values are divided by, where the format says it."""

    layout: str | None = None
    """Order of the axes, where the format says it; see :func:`~pvae_neuro.data.layout.arrange`."""

    meaning: str = ""
    """What the numbers were and what they were divided by, if the reader has done that."""

    said: tuple[str, ...] = ()
    """What was chosen or left out, in a few words each."""

    part: str = "all"
    """Which of :data:`SPLITS` the images are; ``all`` too where there are no parts."""


@dataclass(frozen=True)
class Request:
    """The part of a file or data set to read."""

    split: str | None = None
    """One of :data:`SPLITS`; None for the test part where there are parts, else everything."""

    key: str | None = None
    """Array of an archive."""

    size: tuple[int, int] | None = None
    """Height and width to crop and resize pictures to."""

    limit: int | None = None
    """Number of images after which a reader may stop."""

    scale: float | None = None
    """What the user says that values are divided by."""

    seed: int = 0
    """Of the division of a folder without parts."""

    colours: bool = False
    """Whether grey pictures are to have three equal channels, for a model that takes colours."""

    stream: bool = False
    """Whether the images are decoded piece by piece later, so that files can stay on the disk."""

    progress: StageProgress = no_stages
    """Told after each picture of a folder."""

    columns: int | None = None
    """Numbers of an input that a model takes, for inputs that are cut to fit."""

    window: int | None = None
    """Symbols of a window of a text."""
