"""The command line: ``pvae-neuro VERB``. Each verb parses, calls the library, and prints."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from pvae_neuro.cli.bench import bench
from pvae_neuro.cli.demo import demo
from pvae_neuro.cli.evaluate import evaluate
from pvae_neuro.cli.experiment import experiment
from pvae_neuro.cli.export import export
from pvae_neuro.cli.import_ import import_
from pvae_neuro.cli.inspect import inspect
from pvae_neuro.cli.models import models
from pvae_neuro.cli.patches import patches
from pvae_neuro.cli.plot import plot
from pvae_neuro.cli.run import run
from pvae_neuro.cli.train import train
from pvae_neuro.cli.verify import verify

app = typer.Typer(
    name="pvae-neuro",
    help="Iterative Poisson VAEs on neuromorphic hardware: train, quantize, export, run, verify.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "models": models,
    "patches": patches,
    "train": train,
    "import": import_,
    "export": export,
    "inspect": inspect,
    "run": run,
    "verify": verify,
    "evaluate": evaluate,
    "plot": plot,
    "experiment": experiment,
    "bench": bench,
}
for _name, _verb in _VERBS.items():
    app.command(_name)(_verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"pvae-neuro {version('pvae-neuro')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print it."),
    ] = False,
) -> None:
    """Iterative Poisson VAEs on neuromorphic hardware: train, quantize, export, run, verify."""


def main() -> None:
    """Entry point of the ``pvae-neuro`` command."""
    # A polite kill unwinds like an error does, so that temporary files and children go too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    app()
