"""Options that several verbs share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pvae_neuro.cli.shared.paths import PLACE, PRINTS, READS, WRITES

Input = Annotated[
    Path,
    typer.Option(
        "--input", "-i", help="Images: .npy or .npz, float [N, M] or [N, H, W].", show_default=False
    ),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="File to write.", show_default=False), WRITES
]
Steps = Annotated[int, typer.Option("--steps", "-t", help="Iterations.")]
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
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="A torchvision data set by name (mnist, ...), or a .npy or .npz file, or a folder "
        "of images.",
        show_default=False,
    ),
    READS,
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Folder with torchvision's data sets.", show_default=False),
    PLACE,
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
        "--engine", "-e", help="auto, reference, fast, onnx or lava; all give the same integers."
    ),
]
ArtifactFile = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="Exported network.")]
