"""The command line: ``pvae-neuro VERB``. Each verb parses, calls the library, and prints."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
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
from pvae_neuro.cli.samples import samples
from pvae_neuro.cli.shared.endings import (
    EXIT_BAD_INPUT,
    EXIT_TERMINATED,
    Terminated,
    one_line,
    quiet_libraries,
    say_line,
)
from pvae_neuro.cli.shared.streams import output_failure, prepare_streams
from pvae_neuro.cli.shared.verb import Verb
from pvae_neuro.cli.train import train
from pvae_neuro.cli.verify import verify

app = typer.Typer(
    name="pvae-neuro",
    help="Iterative Poisson VAEs on neuromorphic hardware: train, quantize, export, run, verify.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "models": models,
    "samples": samples,
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
for _name, _verb in VERBS.items():
    app.command(_name, cls=Verb)(_verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"pvae-neuro {version('pvae-neuro')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def common(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_print_version, help="Print it."),
    ] = False,
) -> None:
    """Iterative Poisson VAEs on neuromorphic hardware: train, quantize, export, run, verify."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def _as_meant(argument: str) -> str:
    """Argument without what would be misread: ``-o=FILE``, and ``./~FILE`` with a tilde."""
    # `-o=FILE` is meant like `--output=FILE`, and not as a file named `=FILE`.
    argument = re.sub(r"^(-[a-zA-Z])=", r"\1", argument)
    # Paths drop the dot of `./~FILE`, and what is left begins like a name in a home folder.
    dotted = r"^(--[a-z-]+=|-[a-zA-Z])?(\./+)+(?=~)"
    return re.sub(dotted, lambda found: f"{found[1] or ''}{Path.cwd()}/", argument)


def run_command(arguments: Sequence[str]) -> int:
    """Run ``pvae-neuro ARGUMENTS`` and return its exit code; raises nothing but SystemExit."""
    try:
        with one_line():
            given = [_as_meant(argument) for argument in arguments]
            return int(app(given, prog_name="pvae-neuro", standalone_mode=False) or 0)
    except typer.Exit as stop:
        return stop.exit_code


def _terminate(number: int, frame: object) -> None:
    raise Terminated(EXIT_TERMINATED)


def main() -> None:
    """Entry point of the ``pvae-neuro`` command."""
    # A polite kill unwinds like an error does, so that temporary files and children go too.
    signal.signal(signal.SIGTERM, _terminate)
    prepare_streams()
    quiet_libraries()
    code = run_command(sys.argv[1:])
    failure = output_failure()
    if failure is not None:
        say_line(f"error: cannot write standard output: {failure.strerror or failure}")
        code = EXIT_BAD_INPUT
    sys.exit(code)


if __name__ == "__main__":
    main()
