"""Boards: what their cores hold, from one data file in which every number has its source.

Where sources differ all numbers are kept; :func:`load_board` takes the cautious one, or the
largest, or one that the caller gives. A limit without a number is not public: what is used is
reported, and nothing is refused by it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pvae_neuro.errors import InputError
from pvae_neuro.utils.paths import user_path
from pvae_neuro.utils.show import show
from pvae_neuro.utils.suggest import suggest

BOARDS_FILE = Path(__file__).with_name("boards.json")
DEFAULT_BOARD = "oheo-gulch"
CHOICES = ("cautious", "largest")
_LARGEST_FILE = 1 << 20
_Label = Annotated[str, Field(min_length=1, max_length=200)]
Count = Literal[
    "synapses", "neurons", "axons_in", "axons_out", "message_bits",
    "state", "constants", "messages", "operations", "cores",
]  # fmt: skip
"""What is counted of a core; :mod:`pvae_neuro.placement.counts` says how."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Sourced(_Strict):
    """A number as a source has it.

    ``verified`` says that the source states this number, with its unit, for this chip; it is
    false for what is derived, of a neighbouring chip, or of an unconfirmed unit.
    """

    value: Annotated[int, Field(ge=1, le=1 << 40)]
    source: Annotated[str, Field(min_length=1, max_length=1000)]
    verified: bool


class Quantity(_Strict):
    """Everything that sources say of one number; nothing where it is not public."""

    values: tuple[Sourced, ...] = Field(max_length=20, strict=False)
    unit: Annotated[str, Field(max_length=20)] = ""

    def chosen(self, lowest: bool) -> int | None:
        """The lowest or the highest value; None where there is none."""
        values = [v.value for v in self.values]
        return (min if lowest else max)(values) if values else None


class _Known(Quantity):
    values: tuple[Sourced, ...] = Field(max_length=20, min_length=1, strict=False)


class _Limit(Quantity):
    # What adds up, and the size of one of each; None for one each.
    counts: dict[Count, str | None] = Field(min_length=1)


class _Chip(_Strict):
    title: _Label
    columns: Annotated[int, Field(ge=1, le=1024)] = 16
    cores: _Known
    sizes: dict[str, _Known] = {}
    limits: dict[_Label, _Limit]


class _Board(_Strict):
    title: _Label
    chip: str | _Chip
    chips: _Known


class _File(_Strict):
    chips: dict[str, _Chip]
    boards: dict[str, _Board]


@dataclass(frozen=True)
class Limit:
    """What a core has of one thing.

    Attributes
    ----------
    name, unit : str
    counts : dict of str to int or None
        What takes it, and how many bits each takes where the unit is bytes; None for one each.
    maximum : int or None
        None where no source gives it.
    """

    name: str
    unit: str
    counts: dict[str, int | None]
    maximum: int | None

    def used(self, counted: Mapping[str, Any]) -> Any:
        """What is used, of counts (numbers, or arrays with one for each core)."""
        total: Any = sum(
            counted[name] * (1 if size is None else size) for name, size in self.counts.items()
        )
        in_bits = any(size is not None for size in self.counts.values())
        return -(-total // 8) if in_bits else total


@dataclass(frozen=True)
class Board:
    """A board with the numbers that were chosen.

    Attributes
    ----------
    name, title, choice : str
        ``choice`` is ``cautious`` or ``largest``.
    chips, cores_per_chip : int
    columns : int
        Of the picture of a chip; where its cores lie is not public.
    limits : dict of str to Limit
    sizes : dict of str to int
        Bits of a synapse, a word and what else takes memory.
    given : dict of str to int
        Numbers that the caller gave in place of those of the sources.
    quantities : dict of str to Quantity
        All that sources say of each number.
    """

    name: str
    title: str
    choice: str
    chips: int
    cores_per_chip: int
    columns: int
    limits: dict[str, Limit]
    sizes: dict[str, int]
    given: dict[str, int]
    quantities: dict[str, Quantity]

    @property
    def cores(self) -> int:
        """Cores of all chips."""
        return self.chips * self.cores_per_chip

    def numbers(self) -> list[tuple[str, str, str, str]]:
        """Name, value, ``yes`` if it is verified, and source, of every number that sources give."""
        return [
            (name, f"{v.value:,} {quantity.unit}".strip(), "yes" if v.verified else "no", v.source)
            for name, quantity in self.quantities.items()
            for v in quantity.values
        ]

    def to_dict(self) -> dict[str, Any]:
        """The numbers, with all that sources say of each."""
        return {
            "name": self.name,
            "title": self.title,
            "choice": self.choice,
            "chips": self.chips,
            "cores_per_chip": self.cores_per_chip,
            "sizes_in_bits": self.sizes,
            "given": self.given,
            "limits": {
                name: {"unit": limit.unit, "maximum": limit.maximum}
                for name, limit in self.limits.items()
            },
            "sources": {
                name: [v.model_dump() for v in quantity.values]
                for name, quantity in self.quantities.items()
            },
        }


def board_names() -> tuple[str, ...]:
    """Names of the boards that this package knows."""
    return tuple(_known().boards)


def load_board(
    board: str | os.PathLike[str] = DEFAULT_BOARD,
    choice: str = "cautious",
    given: Mapping[str, int] | None = None,
) -> Board:
    """Find a board.

    Parameters
    ----------
    board : str or path-like
        One of :func:`board_names`, or a JSON file of one's own (``docs/placement.md``).
    choice : {"cautious", "largest"}
        Which number counts where sources differ: the smallest limit and the largest size, or the
        other way round.
    given : mapping of str to int, optional
        Numbers to use instead, by the name of a limit, of a size (in bits), ``cores`` of a chip or
        ``chips``.

    Raises
    ------
    InputError
        If there is no such board, limit or choice, or the file is not one.
    """
    if choice not in CHOICES:
        raise InputError(f"limits: expected one of {', '.join(CHOICES)}{suggest(choice, CHOICES)}")
    name = os.fspath(board)
    if name in _known().boards:
        found = _known().boards[name]
    elif name.endswith(".json"):
        found = _read(_Board, user_path(name))
    else:
        raise InputError(
            f"board {show(name)}: expected the name of a board, or a file that ends in .json"
            f"{suggest(name, board_names())}"
        )
    chip = found.chip if isinstance(found.chip, _Chip) else _known().chips.get(found.chip)
    if chip is None:
        known = suggest(str(found.chip), _known().chips)
        raise InputError(f"{name}: chip {show(found.chip)} is not known{known}")
    return _chosen(name, found, chip, choice, dict(given or {}))


def _chosen(name: str, found: _Board, chip: _Chip, choice: str, given: dict[str, int]) -> Board:
    names = [*chip.limits, *chip.sizes, "cores", "chips"]
    for key, value in given.items():
        if key not in names:
            raise InputError(f"{name}: has no limit {show(key)}{suggest(str(key), names)}")
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1 << 40:
            raise InputError(f"{key}: expected a whole number from 1 on, got {show(value)}")
    cautious = choice == "cautious"

    def number(key: str, quantity: Quantity, lowest: bool) -> int | None:
        return given[key] if key in given else quantity.chosen(lowest)

    sizes = {key: number(key, size, not cautious) or 1 for key, size in chip.sizes.items()}
    limits = {}
    for key, limit in chip.limits.items():
        for size in limit.counts.values():
            if size is not None and size not in sizes:
                raise InputError(f"{name}: limit {key!r} counts by {size!r}, which has no size")
        counts: dict[str, int | None] = {
            n: None if size is None else sizes[size] for n, size in limit.counts.items()
        }
        maximum = number(key, limit, cautious)
        limits[key] = Limit(key, limit.unit, counts, maximum)
    return Board(
        name=name,
        title=found.title,
        choice=choice,
        chips=number("chips", found.chips, cautious) or 1,
        cores_per_chip=number("cores", chip.cores, cautious) or 1,
        columns=chip.columns,
        limits=limits,
        sizes=sizes,
        given=given,
        quantities={"chips": found.chips, "cores": chip.cores, **chip.sizes, **chip.limits},
    )


@cache
def _known() -> _File:
    return _File.model_validate_json(BOARDS_FILE.read_text("utf-8"))


def _read(kind: type[_Board], path: Path) -> _Board:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; expected a board as JSON")
    if path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path}: expected a board as JSON, of at most {_LARGEST_FILE:,} bytes")
    try:
        return kind.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        # A chip may be a name too; what is wrong within an object says more.
        deepest = max(error.errors(), key=lambda found: len(found["loc"]))
        where = ".".join(map(str, deepest["loc"])) or "the file"
        raise InputError(f"{path}: {where}: {deepest['msg']}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected JSON in UTF-8: {error}") from error
