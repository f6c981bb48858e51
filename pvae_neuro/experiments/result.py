"""What an experiment found: rows with published figures beside ours, and a figure to look at."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pvae_neuro.errors import EngineUnavailableError
from pvae_neuro.utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pvae_neuro.experiments.context import Context

UNPUBLISHED = "–"
"""Stands where a figure was not published, or could not be verified."""


@dataclass(frozen=True)
class Column:
    """One measure.

    Attributes
    ----------
    key : str
        In :attr:`Row.figures` and :attr:`Row.published`.
    title : str
        Heading, with its unit.
    form : str
        Format of a number, as :func:`format` takes it.
    """

    key: str
    title: str
    form: str = ".3g"


@dataclass(frozen=True)
class Row:
    """One model or setting.

    Attributes
    ----------
    name : str
    figures : dict of str to float
        Ours, by the key of a column.
    published : dict of str to float
        The paper's; absent where it was not published or could not be verified.
    budget : str
        What our training cost.
    published_budget : str
        What the paper's cost, as far as it is known.
    """

    name: str
    figures: dict[str, float]
    published: dict[str, float] = field(default_factory=dict)
    budget: str = ""
    published_budget: str = ""


@dataclass
class ExperimentResult:
    """What an experiment found.

    Attributes
    ----------
    name, title : str
    columns : sequence of Column
    rows : sequence of Row
    draw : callable
        Takes an empty matplotlib Figure and draws on it.
    curves : dict
        Further numbers behind the figure, JSON.
    notes : list of str
        What a reader must know: where figures were read, what is unverified, what fell short.
    checks : dict of str to bool
        Claims that hold or do not, each in a sentence.
    size : tuple of float
        Of the figure, inches.
    """

    name: str
    title: str
    columns: list[Column]
    rows: list[Row]
    draw: Callable[[Figure], None]
    curves: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    checks: dict[str, bool] = field(default_factory=dict)
    size: tuple[float, float] = (9.0, 5.0)

    def write(self, context: Context) -> None:
        """Write ``result.json``, ``.csv``, ``.md`` and ``figure.svg``, ``.png`` to its folder.

        Raises
        ------
        InputError
            If a file cannot be written.
        EngineUnavailableError
            If matplotlib is not installed.
        """
        texts = {
            "result.json": json.dumps(self.to_dict(context), indent=2, allow_nan=False) + "\n",
            "result.csv": self.to_csv(),
            "result.md": self.to_markdown(context),
        }
        for name, text in texts.items():
            with atomic_path(context.out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        self._write_figure(context)

    def _write_figure(self, context: Context) -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise EngineUnavailableError(
                "figures need matplotlib: pip install 'pvae-neuro[report]'"
            ) from error
        figure = Figure(figsize=self.size, layout="constrained")
        self.draw(figure)
        for name in ("figure.svg", "figure.png"):
            with atomic_path(context.out / name) as temporary:
                figure.savefig(temporary, dpi=150)

    def to_dict(self, context: Context) -> dict[str, Any]:
        """Plain values, for JSON; numbers that are not finite become null."""
        return _finite(
            {
                "experiment": self.name,
                "title": self.title,
                "quick": context.quick,
                "seed": context.seed,
                "minutes": context.minutes,
                "rows": [
                    {
                        "name": row.name,
                        "figures": row.figures,
                        "published": row.published,
                        "budget": row.budget,
                        "published_budget": row.published_budget,
                    }
                    for row in self.rows
                ],
                "checks": self.checks,
                "notes": self.notes,
                "curves": self.curves,
            }
        )

    def to_csv(self) -> str:
        """One line a row: our figure and the published one of every column, and the budgets."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        keys = [column.key for column in self.columns]
        head = [name for key in keys for name in (key, f"{key}_published")]
        writer.writerow(["name", *head, "budget", "published_budget"])
        for row in self.rows:
            cells = [v for k in keys for v in (row.figures.get(k), row.published.get(k))]
            writer.writerow([row.name, *cells, row.budget, row.published_budget])
        return text.getvalue()

    def to_markdown(self, context: Context) -> str:
        """Table with the published figure beside ours and the training budget of both."""
        lines = [f"# {self.title}", ""]
        kind = "quick version" if context.quick else "full version"
        lines += [f"`pvae-neuro experiment {self.name}`, {kind}, seed {context.seed}.", ""]
        head = ["", *(column.title for column in self.columns), "budget", "published budget"]
        lines += [_line(head), _line(["---"] * len(head))]
        for row in self.rows:
            cells = [self._cell(row, column) for column in self.columns]
            lines.append(_line([row.name, *cells, row.budget, row.published_budget or UNPUBLISHED]))
        lines += ["", "Ours, and in parentheses the published figure."] if self._published() else []
        lines += [
            "",
            *(f"- {'holds' if ok else '**fails**'}: {c}" for c, ok in self.checks.items()),
        ]
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines).rstrip() + "\n"

    def _published(self) -> bool:
        return any(row.published for row in self.rows)

    @staticmethod
    def _cell(row: Row, column: Column) -> str:
        ours, theirs = row.figures.get(column.key), row.published.get(column.key)
        text = UNPUBLISHED if ours is None else format(ours, column.form)
        return text if theirs is None else f"{text} ({format(theirs, column.form)})"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
