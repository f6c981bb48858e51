"""What an experiment found with one seed: rows with published figures beside ours, and a figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Column:
    """One measure."""

    key: str
    """In :attr:`Row.figures` and :attr:`Row.published`."""

    title: str
    """Heading, with its unit."""

    form: str = ".3g"
    """Format of a number, as :func:`format` takes it."""


@dataclass(frozen=True)
class Row:
    """One model or setting."""

    name: str

    figures: dict[str, float]
    """Ours, by the key of a column; means where several seeds are combined."""

    published: dict[str, float] = field(default_factory=dict)
    """The paper's; absent where it was not published or could not be verified."""

    budget: str = ""
    """What our training cost."""

    published_budget: str = ""
    """What the paper's cost, as far as it is known."""

    spread: dict[str, float] = field(default_factory=dict)
    """Standard deviations over seeds, where there are several."""


@dataclass
class ExperimentResult:
    """What an experiment found with one seed."""

    name: str
    title: str
    columns: list[Column]
    rows: list[Row]

    draw: Callable[[Figure, list[Any]], None]
    """Draws on an empty matplotlib figure what was found, a list of :attr:`shown` of each seed."""

    shown: Any = None
    """What the figure shows of this seed."""

    figures: dict[str, float] = field(default_factory=dict)
    """Figures that claims name, beside those of the rows; see :meth:`judged`."""

    curves: dict[str, Any] = field(default_factory=dict)
    """Further numbers behind the figure, plain values."""

    notes: list[str] = field(default_factory=list)
    """What a reader must know: how figures were read, what is unverified, what falls short."""

    size: tuple[float, float] = (9.0, 5.0)
    """Of the figure, in inches."""

    def __repr__(self) -> str:
        return f"<ExperimentResult {self.name}: {len(self.rows)} rows>"

    def judged(self) -> dict[str, float]:
        """Figures by the names that claims use: those of rows as ``"ROW: COLUMN"``, and others."""
        of_rows = {
            f"{row.name}: {key}": value for row in self.rows for key, value in row.figures.items()
        }
        return of_rows | self.figures


def combined_rows(seeds: Sequence[Sequence[Row]]) -> list[Row]:
    """Rows of several seeds as means and standard deviations, row by row of the same name."""
    if len(seeds) == 1:
        return list(seeds[0])
    rows: dict[str, list[Row]] = {}
    for found in seeds:
        for row in found:
            rows.setdefault(row.name, []).append(row)
    return [_combined(each) for each in rows.values()]


def _combined(rows: list[Row]) -> Row:
    values = {
        key: [row.figures[key] for row in rows if key in row.figures]
        for key in dict.fromkeys(key for row in rows for key in row.figures)
    }
    return replace(
        rows[0],
        figures={key: fmean(found) for key, found in values.items()},
        spread={key: stdev(found) for key, found in values.items() if len(found) > 1},
    )
