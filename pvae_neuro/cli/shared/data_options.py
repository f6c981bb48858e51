"""How images are read: options that every verb which reads them has, under one name each."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pvae_neuro.cli.shared.options import DataRoot, MaxMemory, memory_of
from pvae_neuro.errors import InputError
from pvae_neuro.utils.memory import memory_limit

if TYPE_CHECKING:
    from pvae_neuro.data import Images
    from pvae_neuro.data.frames import Sequences
    from pvae_neuro.network import Input


@dataclass(frozen=True)
class DataOptions:
    """What the user says about images; a field is an option."""

    data_root: DataRoot = None
    split: Annotated[
        str | None,
        typer.Option(
            "--split",
            help="train, test or all.  [default: train to train and to calibrate; otherwise test, "
            "and all where there are no parts]",
            show_default=False,
        ),
    ] = None
    key: Annotated[
        str | None,
        typer.Option("--key", help="Array of an .npz or .mat to read.", show_default=False),
    ] = None
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale", help="Divide values by this; 1 takes them as they are.", show_default=False
        ),
    ] = None
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout", help="Order of an array's axes, such as HWN or NHWC.", show_default=False
        ),
    ] = None
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            help="Crop and resize pictures to this, such as 28 or 32x48 (height x width); of a "
            "text, symbols of a window.",
            show_default=False,
        ),
    ] = None
    max_memory: MaxMemory = None

    def load(
        self,
        source: str,
        split: str | None = None,
        limit: int | None = None,
        model: Input | None = None,
        quiet: bool = False,
        stream: bool = False,
    ) -> Images:
        """Read images; ``split`` stands where the user gives none."""
        from pvae_neuro.data import load_images

        return load_images(
            source,
            self.data_root or Path("data"),
            split if self.split is None else self.split,
            self.key,
            size=None if self.size is None else _size(self.size),
            limit=limit,
            scale=self.scale,
            layout=self.layout,
            model=model,
            stream=stream,
            progress=not quiet,
        )

    def load_frames(self, source: str, model: Input, quiet: bool = False) -> Sequences:
        """Read frames for a model."""
        from pvae_neuro.data.frames import load_frames

        return load_frames(
            source,
            model,
            key=self.key,
            size=None if self.size is None else _size(self.size),
            scale=self.scale,
            layout=self.layout,
            split=self.split,
            progress=not quiet,
        )


def reads_images(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the options of :class:`DataOptions` in place of its parameter ``data``.

    All that it reads is then under the limit of memory that is asked for.
    """
    # typing.get_type_hints would wrap what defaults to None, and hide its annotation.
    hints = inspect.get_annotations(verb, eval_str=True)
    options = inspect.get_annotations(DataOptions, eval_str=True)
    names = [field.name for field in fields(DataOptions)]
    own = inspect.signature(verb).parameters.values()
    expanded = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
        for name, hint in options.items()
    ]
    kept = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[each.name])
        for each in own
        if each.name != "data"
    ]

    @functools.wraps(verb)
    def run(**arguments: Any) -> None:
        data = DataOptions(**{name: arguments.pop(name, None) for name in names})
        with memory_limit(memory_of(data.max_memory)):
            verb(**arguments, data=data)

    signature = inspect.Signature([*kept, *expanded])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
    return run


def _size(text: str) -> int | tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,6})(?:x([0-9]{1,6}))?", text.strip().lower())
    if found is None:
        raise InputError(f"--size: expected pixels, such as 28 or 32x48, got {text!r}")
    height, width = found.groups()
    return int(height) if width is None else (int(height), int(width))
