"""The verb that writes the shipped digits, as inputs to try things with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pvae_neuro.cli.shared.options import Quiet
from pvae_neuro.cli.shared.paths import WRITES
from pvae_neuro.cli.shared.support import console, guarded, say
from pvae_neuro.errors import InputError

DEFAULT = Path("digits.npy")


@guarded
def samples(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="File to write: .npy, or .npz with the labels too.",
            show_default=str(DEFAULT),
        ),
        WRITES,
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write inputs for the shipped model: 100 digits of the MNIST test set."""
    if output is None:
        output = DEFAULT
        if os.path.lexists(output):
            raise InputError(f"{output}: exists already; give a name with -o to write it there")
    if output.suffix not in (".npy", ".npz"):
        raise InputError(f"--output: expected a name that ends in .npy or .npz, got {output}")
    import numpy as np

    from pvae_neuro.utils.files import atomic_path
    from pvae_neuro.zoo import sample_digits

    images, labels = sample_digits()
    images = images.reshape(-1, 28, 28)
    with atomic_path(output) as temporary, temporary.open("wb") as file:
        if output.suffix == ".npy":
            np.save(file, images)
        else:
            np.savez(file, images=images, labels=labels)
    also = "" if output.suffix == ".npy" else ", and their labels"
    what = f"digits of the MNIST test set, float32 {list(images.shape)} in [0, 1]{also}"
    say(console(quiet=quiet), f"{output}: {len(images)} {what}")
