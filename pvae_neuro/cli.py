"""The command line: ``pvae-neuro VERB``. Each verb parses, calls the library, and prints."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from pvae_neuro.commands.bench import bench
from pvae_neuro.commands.demo import demo
from pvae_neuro.commands.experiment import experiment
from pvae_neuro.commands.make import export, import_
from pvae_neuro.commands.models import models
from pvae_neuro.commands.patches import patches
from pvae_neuro.commands.plot import plot
from pvae_neuro.commands.train import train
from pvae_neuro.commands.use import evaluate, inspect, run
from pvae_neuro.commands.verify import verify

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
