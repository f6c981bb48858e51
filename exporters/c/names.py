"""Names of a network as identifiers of C, each different from all others of its scope."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from pvae_neuro.errors import InputError
from pvae_neuro.exporters.c.sampler import draw_name
from pvae_neuro.network import Activation, Circuit
from pvae_neuro.utils.show import show

Key = TypeVar("Key", bound=Hashable)
# Keywords of C99 and C++, types of the code, and what compilers define besides.
_KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int
long register restrict return short signed sizeof static struct switch typedef union unsigned void
volatile while asm bool catch class delete explicit export false friend mutable namespace new
operator private protected public template this throw true try typeid typename using virtual wchar_t
linux unix i386 arm NULL int8_t int32_t int64_t uint16_t uint32_t
"""
# What the function of a program uses beside the population's own names.
_LOCALS = frozenset({"state", "data", "neuron"})
# Functions of the library that no program is named like.
_FUNCTIONS = frozenset({"dense_transposed", "one_to_one", "power_of_two", "transposed_convolution"})


@dataclass(frozen=True)
class Names:
    """Identifiers of a network.

    Attributes
    ----------
    prefix : str
        Begins every global name.
    population, connection : dict of str to str
    member : dict of (str, str) to str
        Variables, constants and received sums, by population and name.
    program : dict of (str, str) to str
        Functions, by population and program.
    receive : dict of Activation to str
        Functions that deliver what an activation receives.
    """

    prefix: str
    population: dict[str, str]
    connection: dict[str, str]
    member: dict[tuple[str, str], str]
    program: dict[tuple[str, str], str]
    receive: dict[Activation, str]


def names_of(network: Circuit, name: str | None = None) -> Names:
    """Identifiers of a network; its global ones begin with ``name``, by default its own name.

    Raises :class:`InputError` if ``name`` is no identifier.
    """
    wanted = network.name if name is None else name
    prefix = identifiers([wanted])[wanted]
    if name is not None and prefix != name:
        raise InputError(f"name: expected an identifier of C, got {show(name)}")
    draws = {draw_name(p.sampler) for p in network.populations if p.sampler is not None}
    member = {}
    for p in network.populations:
        own = [v.name for v in p.variables] + [c.name for c in p.constants]
        received = [r for program in p.programs for r in p.received_names(program)]
        for key, found in identifiers(dict.fromkeys(own + received), _LOCALS | draws).items():
            member[p.name, key] = found
    functions: dict[Hashable, str] = {
        (p.name, q.name): f"{prefix}_{p.name}_{q.name}" for p in network.populations
        for q in p.programs
    }  # fmt: skip
    functions |= {
        a: f"{prefix}_receive_{a.population}_{a.program}"
        for a in network.activations if a.connections
    }  # fmt: skip
    named = unique(functions, _FUNCTIONS | draws)
    return Names(
        prefix,
        identifiers(p.name for p in network.populations),
        identifiers(c.name for c in network.connections),
        member,
        {key: text for key, text in named.items() if isinstance(key, tuple)},
        {key: text for key, text in named.items() if isinstance(key, Activation)},
    )


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Identifier of each name of one scope."""
    return unique({name: name for name in names}, taken)


def unique(wanted: dict[Key, str], taken: Iterable[str] = ()) -> dict[Key, str]:
    """The wanted identifiers, with underscores after those that would be taken."""
    used, found = {*_KEYWORDS.split(), *taken}, {}
    for key, text in wanted.items():
        # Names that begin with an underscore belong to the compiler.
        name = re.sub("[^A-Za-z0-9_]", "_", text)
        name = name if re.match("[A-Za-z]", name) else f"x{name}"
        while name in used:
            name += "_"
        used.add(name)
        found[key] = name
    return found
