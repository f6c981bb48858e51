"""The command line: ``pvae-neuro VERB``. Each verb parses, calls the library, and prints."""

from __future__ import annotations

import keyword
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

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


class _Verbs(Mapping[str, Callable[..., None]]):
    """Functions of the verbs, by name; a verb's module is imported when it is asked for."""

    # In the order of the help.
    names = (
        *("demo", "models", "samples", "patches", "train", "finetune", "import", "export"),
        *(
            "inspect",
            "run",
            "verify",
            "evaluate",
            "pareto",
            "cost",
            "place",
            "plot",
            "experiment",
            "bench",
        ),
        "doctor",
    )

    def __getitem__(self, name: str) -> Callable[..., None]:
        if name not in self.names:
            raise KeyError(name)
        written = name + "_" * keyword.iskeyword(name)
        verb: Callable[..., None] = getattr(import_module(f"pvae_neuro.cli.{written}"), written)
        return verb

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


VERBS = _Verbs()


def application(verbs: Iterable[str]) -> typer.Typer:
    """Command line of these verbs."""
    made = typer.Typer(
        name="pvae-neuro",
        help="Iterative Poisson VAEs on neuromorphic hardware: train, quantize, export, run, "
        "verify.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in verbs:
        made.command(name, cls=Verb)(VERBS[name])
    made.callback(invoke_without_command=True)(common)
    return made


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"pvae-neuro {version('pvae-neuro')}")
        raise typer.Exit


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
            # To make the commands of all verbs takes longer than some verbs do.
            verbs = given[:1] if given[:1] and given[0] in VERBS else VERBS
            run = application(verbs)
            return int(run(given, prog_name="pvae-neuro", standalone_mode=False) or 0)
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
