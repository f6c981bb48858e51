"""How arguments become values, where Typer's own way would take something in silence."""

from __future__ import annotations

from collections import Counter
from typing import Any

from typer.core import TyperCommand

from pvae_neuro.cli.shared.paths import roles

# Pairs of options that say one thing, and what.
_ONE_THING = {("steps", "hold"): "iterations", ("quick", "budget"): "budgets"}


class Verb(TyperCommand):
    """A command that refuses what would be taken in silence.

    That is an option which is given twice, of which the last would count, two options that say one
    thing, and an empty path, which would be the current folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, after a first pass that only counts."""
        texts, _, found = self.make_parser(ctx).parse_args(args=list(args))
        for option, count in Counter(found).items():
            # An option of a list takes several; a mere switch says the same again.
            switch = getattr(option, "is_flag", False) and not option.secondary_opts
            if count > 1 and not (option.multiple or switch or ctx.resilient_parsing):
                names = " / ".join([*option.opts, *option.secondary_opts])
                ctx.fail(f"{names}: expected once, got it {count} times")
        for (one, other), kind in _ONE_THING.items():
            if {one, other} <= texts.keys() and not ctx.resilient_parsing:
                ctx.fail(f"--{one}, --{other}: expected one of them, as both are {kind}; got both")
        paths = {} if self.callback is None else roles(self.callback)
        for parameter in self.params:
            if parameter.name in paths and texts.get(parameter.name) == "":
                names = " / ".join(parameter.opts)
                ctx.fail(f"{names}: expected a path, got an empty text")
        return super().parse_args(ctx, args)
