"""Options that several verbs share, each described once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from pvae_neuro.cli.shared.paths import PLACE, PRINTS, READS, WRITES
from pvae_neuro.errors import InputError

_IMAGES = "Images: a data set by name (mnist, ...), a file (.npy, .npz, .mat, IDX) or a folder."
Input = Annotated[
    str, typer.Option("--input", "-i", "--dataset", help=_IMAGES, show_default=False), READS
]
OptionalInput = Annotated[
    str | None, typer.Option("--input", "-i", "--dataset", help=_IMAGES, show_default=False), READS
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="File to write.", show_default=False), WRITES
]
OptionalOutput = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write.", show_default=False), WRITES
]
Steps = Annotated[int, typer.Option("--steps", "-t", help="Iterations.")]
Hold = Annotated[
    int | None,
    typer.Option(
        "--hold",
        help="The input is frames: iterations that each is held for, instead of --steps.",
        show_default=False,
    ),
]
Reset = Annotated[
    bool, typer.Option("--reset", help="Start anew at each frame; the state carries over else.")
]
Seed = Annotated[int, typer.Option("--seed", "-s", help="Key of the random words.")]
Clip = Annotated[
    bool, typer.Option("--clip", help="Force pixels into the declared range instead of refusing.")
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json", help="Write the result as JSON; - for standard output.", show_default=False
    ),
    PRINTS,
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No tables, no progress.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        help="Seconds without progress after which the lava engine is given up.",
        show_default=False,
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", help="Folder with the named data sets.  [default: data]", show_default=False
    ),
    PLACE,
]
MaxMemory = Annotated[
    float | None,
    typer.Option(
        "--max-memory",
        help="Most GB to read at once.  [default: half of what is available]",
        show_default=False,
    ),
]
Samples = Annotated[
    int | None,
    typer.Option("--samples", "-n", help="Use the first N images only.", show_default=False),
]
LavaBatch = Annotated[
    int | None,
    typer.Option(
        "--lava-batch",
        help="Samples side by side in the lava engine; same integers.  [default: 1]",
        show_default=False,
    ),
]
Products = Annotated[
    str | None,
    typer.Option(
        "--products",
        help="How the engine fast computes dense products: auto, dense, events or pairs; "
        "same integers.  [default: auto]",
        show_default=False,
    ),
]
Processor = Annotated[
    str | None,
    typer.Option(
        "--processor",
        help="Processor that the engine c builds for and emulates: cortex-m4 or i586.  "
        "[default: this machine's own]",
        show_default=False,
    ),
]
Explain = Annotated[
    bool,
    typer.Option("--explain", help="Say how the engine computes each product, and what it costs."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        help="Spread samples over Dask workers: local, or a scheduler's address.",
        show_default=False,
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        "-e",
        help="auto, reference, fast, onnx, torch, c or lava; all give the same integers.",
    ),
]
FracBits = Annotated[int, typer.Option("--frac-bits", help="Of the potential, 4 to 16.")]
MaxCount = Annotated[
    int | None,
    typer.Option(
        "--max-count", help="Largest spike count.  [default: by calibration]", show_default=False
    ),
]
LatentUnits = Annotated[
    bool,
    typer.Option(
        "--latent-units", help="Give the weights of each latent a power of two of their own."
    ),
]
ArtifactFile = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Exported network.")]


def memory_of(gigabytes: float | None) -> int | None:
    """Bytes of ``--max-memory``."""
    if gigabytes is None:
        return None
    if not 0.0 < gigabytes <= 1e9:
        raise InputError(f"--max-memory: expected GB above 0 and up to 1e9, got {gigabytes:g}")
    return int(gigabytes * 1e9)


def iterations(steps: int, hold: int | None, reset: bool) -> int:
    """Iterations on each image or frame, of ``--steps`` or ``--hold``."""
    if hold is None:
        if reset:
            raise InputError("--reset: expected frames, and --hold with the iterations on each")
        return steps
    if hold < 1:
        raise InputError(f"--hold: expected at least 1 iteration on each frame, got {hold}")
    return hold


def given_beside(
    taken: tuple[str, ...], verb: Callable[..., None], given: Mapping[str, Any]
) -> list[str]:
    """Flags of the options of a verb, but those taken, whose values are not the defaults."""
    return [
        f"--{name.replace('_', '-')}"
        for name, parameter in signature(verb).parameters.items()
        if name not in taken and given.get(name, parameter.default) != parameter.default
    ]
