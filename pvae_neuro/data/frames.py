"""Sequences of frames: inputs that change in time, from an array or a folder of pictures."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from pvae_neuro.data.contents import Contents, Request
from pvae_neuro.data.file_kinds import file_kind
from pvae_neuro.data.folder import read_pictures
from pvae_neuro.data.images import Images, check_size, images_of
from pvae_neuro.data.layout import arrange
from pvae_neuro.data.listing import left_out_text, list_pictures
from pvae_neuro.data.load import check_fits, check_heeded, check_split
from pvae_neuro.data.named_sets import NAMED_SETS
from pvae_neuro.errors import InputError
from pvae_neuro.network import Input
from pvae_neuro.utils.arrays import real_array
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.progress import StageProgress, shown_stages


@dataclass(frozen=True, eq=False)
class Sequences:
    """Frames of one or several sequences.

    Attributes
    ----------
    images : Images
        All frames, one sequence after the other.
    count : int
        Number of sequences N, of equal length.
    """

    images: Images
    count: int

    @property
    def frames(self) -> int:
        """Frames of each sequence, F."""
        return len(self.images.pixels) // self.count

    def take(self, count: int | None) -> Sequences:
        """The first sequences; all of them for None or where there are no more."""
        if count is None or count >= self.count:
            return self
        return Sequences(self.images.take(count * self.frames), count)


def load_frames(
    source: str | os.PathLike[str],
    model: Input,
    *,
    key: str | None = None,
    size: int | tuple[int, int] | None = None,
    scale: float | None = None,
    layout: str | None = None,
    split: str | None = None,
    progress: StageProgress | bool | None = None,
) -> Sequences:
    """Read frames for a model.

    Parameters
    ----------
    source : str or path-like
        A file of an array [N, F, M] or [N, F, H, W], or, of one sequence, [F, M] or [F, H, W], with
        colours before height and width; or a folder of pictures, which are one sequence in natural
        order of their names (``frame_2`` before ``frame_10``).
    model : Input
        What the model takes that the frames are for: it tells how an array is divided.
    key, size, scale, layout, split
        As for :func:`~pvae_neuro.data.load_images`; an array with a layout is one sequence, and N
        stands for its frames.
    progress : callable or bool, optional
        Of reading a folder.

    Raises
    ------
    InputError
        If there are no frames of the model's size, or they are unreadable or have no certain
        meaning.
    """
    check_split(split)
    path = user_path(source)
    kind = file_kind(path)
    if kind is None:
        check_heeded(source, frozenset({"size"}), key=key, layout=layout)
        if split not in (None, "all"):
            raise InputError(
                f"split: expected none, as all pictures of {os.fspath(source)!r} are one sequence, "
                f"got {split!r}"
            )
        return _read_folder(path, os.fspath(source), model, size, scale, progress)
    if size is not None:
        raise InputError("size: expected a folder of frames; a file is read as it is")
    check_heeded(source, kind.heeds, key=key, layout=layout)
    contents = kind.read(path, Request(split, key, scale=scale))
    values = real_array(path.name, contents.values)
    order = layout or contents.layout
    if order is not None:
        values = arrange(values, order, path.name, model.image_shape)
    own = model.image_shape
    plain: list[tuple[int, ...]] = [*([own] if own else []), (model.size,)]
    grey: list[tuple[int, ...]] = [(1, *own)] if own is not None and len(own) == 2 else []
    # [F, 1, H, W] without a layout could be F sequences of one frame, and is taken so.
    one = next(
        (s for s in (plain if order is None else plain + grey) if values.shape[1:] == s), None
    )
    several = next((s for s in plain + grey if order is None and values.shape[2:] == s), None)
    image = one or several
    if image is None or not values.size:
        raise InputError(
            f"{path.name}: expected frames of the model's size, {_expected(plain, order)}, got "
            f"{list(values.shape)}"
        )
    flat = contents._replace(values=values.reshape(-1, *image), labels=None, layout=None)
    return Sequences(
        images_of(flat, path.name, scale=scale, model=model), len(values) if one is None else 1
    )


def _expected(shapes: list[tuple[int, ...]], order: str | None) -> str:
    texts = [", ".join(map(str, shape)) for shape in reversed(shapes)]
    several = " or ".join(f"[N, F, {text}]" for text in texts)
    one = " or ".join(f"[F, {text}]" for text in texts)
    if order is not None:
        return f"one sequence {one} once its axes are in order, as they are in the layout {order!r}"
    return f"{several}, or one sequence {one}"


def _read_folder(
    path: Path,
    written: str,
    model: Input,
    size: int | tuple[int, int] | None,
    scale: float | None,
    progress: StageProgress | bool | None,
) -> Sequences:
    if not path.is_dir():
        named = f"the data set {written!r}" if written.lower() in NAMED_SETS else repr(written)
        raise InputError(
            f"frames: expected a file of an array such as .npy or .npz, or a folder of pictures, "
            f"got {named}"
        )
    listing = list_pictures(path)
    folders = {file.parent for file in listing.files}
    if len(folders) > 1:
        raise InputError(
            f"{path}: expected the pictures of one sequence in one folder, got pictures in "
            f"{len(folders)} folders; give one of them"
        )
    colours = len(model.image_shape or ()) == 3
    wanted = None if size is None else check_size(size)
    with shown_stages(progress) as tell:
        read = read_pictures(listing.files, wanted, str(path), scale, tell, colours)
    about = f"{len(listing.files):,} pictures; {read.about}; {left_out_text(listing.left_out)}"
    contents = Contents(
        read.values, scale=None if scale is None else 1.0, layout=read.layout, meaning=about
    )
    images = images_of(contents, path.resolve().name, model=model)
    if wanted is None:
        check_fits(images, model)
    return Sequences(replace(images, labels=None), 1)
