"""``load_images``: read a data set by name, a file of images, or a folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pvae_neuro.data.contents import PARTS, SPLITS, Contents, Request
from pvae_neuro.data.events import holds_events, read_event_folder
from pvae_neuro.data.file_kinds import file_kind
from pvae_neuro.data.images import Images, check_size, images_of
from pvae_neuro.data.named_sets import NAMED_SETS, RESIZED_SETS, read_named_set
from pvae_neuro.data.scale import check_scale
from pvae_neuro.data.text import TOPICS, WINDOWED, read_topics
from pvae_neuro.errors import InputError
from pvae_neuro.network import Input
from pvae_neuro.utils.arguments import checked
from pvae_neuro.utils.memory import memory_limit, require_memory
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.progress import StageProgress, shown_stages
from pvae_neuro.utils.suggest import suggest
from pvae_neuro.utils.whole_file import check_regular

if TYPE_CHECKING:
    from pvae_neuro.data.folder import FolderPictures

_PICTURES = frozenset({"size", "scale"})


@checked
def load_images(
    dataset: str | os.PathLike[str],
    data_root: str | os.PathLike[str] = "data",
    split: str | None = "train",
    key: str | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    limit: int | None = None,
    seed: int = 0,
    scale: float | None = None,
    layout: str | None = None,
    model: Input | None = None,
    max_memory: int | None = None,
    stream: bool = False,
    progress: StageProgress | bool | None = None,
) -> Images:
    """Read a data set by name, or images from a file or a folder; ``about`` says what was taken.

    Parameters
    ----------
    dataset : str or path-like
        One of :data:`~pvae_neuro.data.named_sets.NAMED_SETS`; or a path to a file that
        :data:`~pvae_neuro.data.file_kinds.FILE_KINDS` names (``.npy``, ``.npz``, ``.mat``, IDX,
        ``.bin``, ``.txt``) or a picture; or ``python-topics``, a text
        (:mod:`pvae_neuro.data.text`); or a folder of pictures (:mod:`pvae_neuro.data.folder`) or of
        N-MNIST's recordings. A name takes precedence over a folder of that name: write ``./mnist``
        for the folder. An array ``range`` in an ``.npz``
        declares the range of all its parts.
    data_root : path-like
        Folder that holds named data sets. Nothing is ever downloaded.
    split : {"train", "test", "all"}, optional
        Which part; None takes the test part where the data have parts, and everything where they
        have none. A file without parts is read whole.
    key : str, optional
        Array of an ``.npz`` or ``.mat`` to read, instead of the one that its name tells.
    size : int or (int, int), optional
        Height and width that pictures, or images of CelebA (default 128), are cropped about their
        centre and resized to; or symbols of a window of text, one number (default 32, or what the
        model takes).
    limit : int, optional
        Read the first images only.
    seed : int
        Of the division of a folder that has no ``train`` and ``test`` folders.
    scale : float, optional
        Number that values are divided by; see :func:`~pvae_neuro.data.make_images` for what is
        certain without it.
    layout : str, optional
        Order of the axes of an array; see :func:`~pvae_neuro.data.layout.arrange`.
    model : Input, optional
        What the model takes that the images are for. Floats are then taken as they are, since its
        range is known, a shape that fits is certain, and grey pictures have three equal channels
        where the model takes colours.
    max_memory : int, optional
        Limit in bytes for what is read; by default half of what is available.
    stream : bool
        Leave the pixels as they are stored, and decode them where they are asked for: they are a
        :class:`~pvae_neuro.utils.decoded.Decoded` then, which :func:`~pvae_neuro.evaluate` takes.
        An ``.npy`` file stays on the disk, of other sources the stored numbers are in memory.
    progress : callable or bool, optional
        Of reading a folder of pictures: see :mod:`pvae_neuro.utils.progress`.

    Raises
    ------
    InputError
        If the data are absent or unreadable, hold no images, exceed the limit of memory, or have no
        certain meaning, or the options do not fit.
    MissingDependencyError
        If torchvision, Pillow or SciPy is needed and not installed.
    """
    check_split(split)
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected at least 1 image, got {limit}")
    try:
        source = _find(dataset, user_path(data_root))
    except OSError as error:
        raise InputError(f"{dataset}: cannot be read ({error.strerror or error})") from error
    if scale is not None:
        scale = check_scale(scale)
    wanted = None if size is None else check_size(size)
    window: int | None = None
    check_heeded(dataset, source.heeds, size=size, key=key, layout=layout)
    with memory_limit(max_memory), shown_stages(progress) as tell:
        if wanted is not None and "window" in source.heeds:
            window, wanted = _window(wanted), None
        if wanted is not None:
            # In three colours, as floats.
            require_memory(12 * wanted[0] * wanted[1], f"size {wanted[0]}x{wanted[1]}")
        colours = model is not None and len(model.image_shape or ()) == 3
        columns = None if model is None else model.size
        request = Request(
            split, key, wanted, limit, scale, seed, colours, stream, tell, columns, window
        )
        contents = source.read(request)
        left = None if "scale" in source.heeds else scale
        images = images_of(
            contents, source.name, scale=left, layout=layout, model=model, stream=stream
        )
    if model is not None and wanted is None and "size" in source.heeds:
        check_fits(images, model)
    return images.take(limit)


def _window(size: tuple[int, int]) -> int:
    """Symbols of a window, which one number of a size says."""
    if size[0] != size[1]:
        raise InputError(
            f"size: expected one number of symbols for the windows of a text, got "
            f"{size[0]}x{size[1]}"
        )
    return size[1]


def check_fits(images: Images, model: Input) -> None:
    """Refuse images of another size than a model's, where they could be resized."""
    if images.image_shape is None:
        return  # A text, which is cut to fit.
    *_, height, width = images.planes().shape
    own = model.image_shape
    unfit = images.pixels.shape[1] != model.size if own is None else (height, width) != own[-2:]
    if unfit:
        expected = f"{model.size:,} pixels in all" if own is None else f"{own[-2]}x{own[-1]} pixels"
        raise InputError(
            f"{images.name}: expected pictures of {expected}, as the model takes, got "
            f"{height}x{width} (height x width); give a size to crop and resize them to",
            remedy="size",
        )


def check_split(split: str | None) -> None:
    """Refuse what is no part of a data set."""
    if split is not None and split not in SPLITS:
        raise InputError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")


def check_heeded(dataset: str | os.PathLike[str], heeds: frozenset[str], **options: object) -> None:
    """Refuse options that were given and that a source has no use for."""
    for option, given in options.items():
        if given is not None and option not in heeds:
            raise InputError(_UNHEEDED[option].format(os.fspath(dataset)))


_UNHEEDED = {
    "size": (
        f"size: only pictures, images of {' or '.join(RESIZED_SETS)}, or texts can have another; "
        f"{{!r}} is read as it is"
    ),
    "key": "key: only .npz and .mat files have arrays with names, not {!r}",
    "layout": "layout: only arrays may be in another order of axes, not {!r}",
}


class _Source(NamedTuple):
    """Where images come from."""

    name: str
    read: Callable[[Request], Contents]
    heeds: frozenset[str]


def _find(dataset: str | os.PathLike[str], root: Path) -> _Source:
    path, written = user_path(dataset), os.fspath(dataset)
    name = written.lower()
    if name in NAMED_SETS:
        heeds = frozenset({"size"} if name in RESIZED_SETS else ())
        return _Source(name, partial(read_named_set, name, root), heeds)
    if name == TOPICS:
        return _Source(name, read_topics, WINDOWED)
    kind = file_kind(path)
    if kind is not None:
        return _Source(path.name, partial(kind.read, path), kind.heeds)
    if path.is_dir():
        title = path.resolve().name
        if holds_events(path):
            return _Source(title, partial(read_event_folder, path), frozenset())
        return _Source(title, partial(_read_folder, path), _PICTURES)
    if path.is_file():
        return _Source(path.name, partial(_read_picture, path), _PICTURES)
    check_regular(path)
    raise InputError(
        f"dataset {written!r}: expected the name of a data set, an existing folder of images, or a "
        f"file of images such as .npy or .npz{suggest(written, (*NAMED_SETS, TOPICS))}"
    )


def _read_folder(path: Path, request: Request) -> Contents:
    from pvae_neuro.data.folder import read_folder

    parts = any((path / part).is_dir() for part in PARTS)
    split = request.split or ("test" if parts else "all")
    read = read_folder(
        path, split, request.size, request.limit, request.seed, request.scale, request.progress,
        request.colours,
    )  # fmt: skip
    return _divided(read, request, split)


def _read_picture(path: Path, request: Request) -> Contents:
    from pvae_neuro.data.folder import read_pictures

    read = read_pictures([path], request.size, path.name, request.scale, colours=request.colours)
    return _divided(read, request)


def _divided(read: FolderPictures, request: Request, part: str = "all") -> Contents:
    """Pictures, which their reader has divided if there is a scale, and integers in any case."""
    scale = None if request.scale is None else 1.0
    return Contents(read.values, scale=scale, layout=read.layout, meaning=read.about, part=part)
