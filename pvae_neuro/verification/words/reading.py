"""A written listing, read for a machine: ``listing.txt`` and ``arrays.txt``.

:mod:`pvae_neuro.exporters.listing` writes them; a line that says nothing is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pvae_neuro.errors import InputError, NetworkError
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.show import show
from pvae_neuro.verification.words.machine import (
    ARITY,
    FORMULAS,
    PRODUCT_BITS,
    PRODUCTS,
    REGISTER_BITS,
    Code,
    Encode,
    Ints,
    Machine,
    Receive,
    Run,
    State,
    Step,
    Synapses,
    Unit,
)

LISTING, ARRAYS = "listing.txt", "arrays.txt"

_RESULT = re.compile(r"(t\d+) = (\w+)\((.*?)\)(?: +(\d+) bits)?(?:, product (\d+) bits)?")
_STORE = re.compile(r"(\S+) <- (\S+)")
_RECEIVE = re.compile(r"receive (\S+) exponent (-?\d+) from (\S+) sum (\d+) bits, then (\d+) bits")


def read_listing(
    folder: str | os.PathLike[str],
    register_bits: int = REGISTER_BITS,
    product_bits: int = PRODUCT_BITS,
) -> Machine:
    """Read a listing for a machine whose registers and products have these widths.

    Parameters
    ----------
    folder : path-like
        With ``listing.txt`` and ``arrays.txt``.
    register_bits, product_bits : int

    Raises
    ------
    InputError
        If there is no such listing, or a line of it says nothing; names the line.
    NetworkError
        If a word or a product is declared wider than the machine's.
    """
    path = user_path(folder) / LISTING
    try:
        text = path.read_text("utf-8")
        arrays = dict(map(_array, path.with_name(ARRAYS).read_text("utf-8").split("array ")[1:]))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path.parent}: expected a folder with {LISTING} and {ARRAYS}, as an export with a "
            f"listing writes it; {error}"
        ) from error
    return _Reader(path, arrays, register_bits, product_bits).read(text)


def _array(text: str) -> tuple[str, Ints]:
    head, _, numbers = text.partition("\n")
    name, *sides = head.split()
    return name, np.array(numbers.split(), np.int64).reshape([int(side) for side in sides])


class _Reader:
    def __init__(self, path: Path, arrays: State, register_bits: int, product_bits: int) -> None:
        self.path, self.arrays = path, arrays
        self.register_bits, self.product_bits = register_bits, product_bits
        self.machine = Machine()
        self.unit, self.code = Unit(), Code()
        # Unit, and unit and program: where the present line is.
        self.unit_name = self.place = ""
        self.lines: list[Run] = []

    def read(self, text: str) -> Machine:
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.partition("#")[0].strip()
            if not words:
                continue
            try:
                self._line(words)
            except NetworkError:
                raise
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise InputError(
                    f"{self.path}, line {number}: expected a line of a listing, got {show(words)}; "
                    f"export the listing again"
                ) from error
        self.machine.schedule.setdefault("final", [])
        if not self.machine.schedule.get("iteration"):
            raise InputError(f"{self.path}: expected a schedule; export the listing again")
        for sampler, unit in self.machine.samplers.items():
            for name, given in (("begin", {"u", "w"}), ("advance", {"inverse"})):
                if name not in unit.programs:
                    raise InputError(
                        f"{self.path}: {sampler}: expected a program {name!r}, got none; export "
                        f"the listing again"
                    )
                self._check_names(f"{sampler}.{name}", unit, unit.programs[name], given)
        for run in chain(*self.machine.schedule.values()):
            unit = self.machine.populations[run.population]
            where = f"{run.population}.{run.program}"
            received = {receive.name for receive in run.receives}
            self._check_names(where, unit, unit.programs[run.program], received)
        return self.machine

    def _check_names(self, where: str, unit: Unit, code: Code, given: set[str]) -> None:
        """Every name that a program reads is there when it reads it."""
        known = {"0", "1", *unit.bits, *unit.constants, *given}
        for step in code.steps:
            unknown = [name for name in step.arguments if name not in known]
            if step.operation == "draw" and unit.sampler not in self.machine.samplers:
                unknown.append(f"sampler {unit.sampler}")
            if unknown:
                raise InputError(
                    f"{self.path}: {where}: {step.result} reads {show(', '.join(unknown))}, which "
                    f"nothing gives; export the listing again"
                )
            known.add(step.result)
        for variable, value in code.stores.items():
            if value not in known:
                raise InputError(
                    f"{self.path}: {where}: {variable} <- {show(value)}, which nothing gives; "
                    f"export the listing again"
                )

    def _line(self, line: str) -> None:
        if found := _RESULT.fullmatch(line):
            self._step(*found.groups())
        elif found := _STORE.fullmatch(line):
            variable, value = found.groups()
            self._width(f"{variable} <- {value}", self.unit.bits[variable])
            self.code.stores[variable] = value
        elif found := _RECEIVE.fullmatch(line):
            name, exponent, names, total, bits = found.groups()
            for what, width in ((f"receive {name}, sum", total), (f"receive {name}", bits)):
                self._width(what, int(width))
            connections = names.split("+")
            receive = Receive(name, int(exponent), connections, int(total), int(bits))
            for each in connections:
                _ = self.machine.connections[each]
            self.lines[-1].receives.append(receive)
        else:
            keyword, *words = line.split()
            getattr(self, f"on_{keyword}")(*words)

    def _step(self, result: str, name: str, inside: str, bits: Any, product: Any) -> None:
        arguments = tuple(inside.split(", ")) if inside else ()
        if len(arguments) != ARITY.get(name, 2):
            raise ValueError(name)
        if name not in FORMULAS:
            _ = {"mul": 0, "draw": 0, "word": 0}[name]
        where = f"{result} = {name}({inside})"
        bits, product = (int(width) if width else None for width in (bits, product))
        self._width(where, bits)
        if product is not None and product > self.product_bits:
            raise self._too_wide(f"{where}, product", product, self.product_bits)
        self.code.steps.append(Step(result, name, arguments, bits, product))

    def _width(self, where: str, bits: int | None) -> None:
        if bits is not None and bits > self.register_bits:
            raise self._too_wide(where, bits, self.register_bits)

    def _too_wide(self, where: str, bits: int, most: int) -> NetworkError:
        return NetworkError(
            f"{self.place}: {where}: the listing has {bits} bits, the machine has {most}"
        )

    def _value(self, text: str) -> Ints:
        values = self.arrays[text[1:]] if text[0] == "@" else np.array([int(text)])
        half = 1 << (self.register_bits - 1)
        if values.min() < -half or values.max() >= half:
            raise self._too_wide(text, int(max(abs(values.min()), values.max())).bit_length() + 1,
                                 self.register_bits)  # fmt: skip
        return values

    # One method for each word that a line begins with.

    def on_listing(self, version: str) -> None:
        if version != "1":
            raise ValueError(version)

    def on_network(self, name: str) -> None:
        self.machine.name = name

    def on_words(self, *_: str) -> None:
        pass

    def on_input(self, *words: str) -> None:
        self.machine.frac_bits = int(_options(words)["frac_bits"])

    def on_encode(self, name: str, *words: str) -> None:
        encoding = Encode()
        if words != ("pixel",):
            said = _options(words)
            weight = self.arrays[said["weight"][1:]]
            encoding = Encode(weight, int(said["shift"]), int(said["limit"]))
        self.machine.encodings[name] = encoding

    def on_sampler(self, name: str, *words: str) -> None:
        if not words:
            self.unit = self.machine.samplers[name] = Unit()
            self.unit_name = self.place = name
            return
        said = _options(words)
        self.unit.sampler = name
        self.unit.stream, self.unit.first = int(said["stream"]), int(said["first"])

    def on_inverse(self, values: str) -> None:
        self.unit.inverse = self._value(values)

    def on_population(self, name: str, *words: str) -> None:
        self.unit = self.machine.populations[name] = Unit(int(_options(words)["size"]))
        self.unit_name = self.place = name

    def on_variable(self, name: str, *words: str) -> None:
        said = _options(words)
        self._width(f"variable {name}", int(said["bits"]))
        self.unit.bits[name] = int(said["bits"])
        self.unit.initial[name] = self._value(said["initial"])

    def on_constant(self, name: str, value: str) -> None:
        self.unit.constants[name] = self._value(value)

    def on_program(self, name: str) -> None:
        self.code = self.unit.programs[name] = Code()
        self.place = f"{self.unit_name}.{name}"

    def on_connection(self, name: str, kind: str, *words: str) -> None:
        source, _, target, *others = words
        said = _options(others)
        weight = self.arrays[said["weights"][1:]]
        for axis in ("rows", "columns"):
            if axis in said:
                first, last = map(int, said[axis].split(":"))
                weight = weight[first:last] if axis == "rows" else weight[:, first:last]
        if said.get("transposed") == "yes":
            weight = weight.T
        apply = PRODUCTS[kind](kind, said)
        sender, _, variable = source.partition(".")
        _ = self.machine.populations[sender].bits[variable]
        silence = np.zeros((1, self.machine.populations[sender].size), np.int64)
        if apply(silence, weight).shape != (1, self.machine.populations[target].size):
            raise ValueError(weight.shape)
        self.machine.connections[name] = Synapses(source, target, apply, weight)

    def on_iteration(self) -> None:
        self.lines = self.machine.schedule["iteration"] = []

    def on_final(self) -> None:
        self.lines = self.machine.schedule["final"] = []

    def on_run(self, name: str) -> None:
        population, program = name.split(".")
        self.place = name
        _ = self.machine.populations[population].programs[program]
        self.lines.append(Run(population, program))


def _options(words: Sequence[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=True))
