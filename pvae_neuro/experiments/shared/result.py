"""The result of an experiment: rows with published figures beside ours, checks, and a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.json_text import finite, json_text
from pvae_neuro.utils.optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pvae_neuro.experiments.shared.context import Context

UNPUBLISHED = "–"
"""In place of a figure that was not published or could not be verified."""


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
    """Ours, by the key of a column."""

    published: dict[str, float] = field(default_factory=dict)
    """The paper's; absent where it was not published or could not be verified."""

    budget: str = ""
    """What our training cost."""

    published_budget: str = ""
    """What the paper's cost, as far as it is known."""


@dataclass
class ExperimentResult:
    """What an experiment found."""

    name: str
    title: str
    columns: list[Column]
    rows: list[Row]

    draw: Callable[[Figure], None]
    """Draws on an empty matplotlib figure."""

    curves: dict[str, Any] = field(default_factory=dict)
    """Further numbers behind the figure, plain values."""

    notes: list[str] = field(default_factory=list)
    """What a reader must know: how figures were read, what is unverified, what falls short."""

    checks: dict[str, bool] = field(default_factory=dict)
    """Claims, each in a sentence, that hold or do not."""

    size: tuple[float, float] = (9.0, 5.0)
    """Of the figure, in inches."""

    def __repr__(self) -> str:
        return f"<ExperimentResult {self.name}: {len(self.rows)} rows, {len(self.checks)} checks>"

    def write(self, context: Context) -> None:
        """Write ``result.json``, ``.csv``, ``.md`` and ``figure.svg``, ``.png`` to its folder."""
        texts = {
            "result.json": json_text(self.to_dict(context)),
            "result.csv": self.to_csv(),
            "result.md": self.to_markdown(context),
        }
        for name, text in texts.items():
            with atomic_path(context.out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        figures = require("matplotlib.figure", "report", "figures")
        figure = figures.Figure(figsize=self.size, layout="constrained")
        self.draw(figure)
        for name in ("figure.svg", "figure.png"):
            with atomic_path(context.out / name) as temporary:
                figure.savefig(temporary, dpi=150)

    def to_dict(self, context: Context) -> dict[str, Any]:
        """Plain values, for JSON; numbers that are not finite become None."""
        content: dict[str, Any] = finite(
            {
                "experiment": self.name,
                "title": self.title,
                "quick": context.quick,
                "seed": context.seed,
                "minutes": context.minutes,
                "rows": [asdict(row) for row in self.rows],
                "checks": self.checks,
                "notes": self.notes,
                "curves": self.curves,
            }
        )
        return content

    def to_csv(self) -> str:
        """One line per row: our figure and the published one of every column, and the budgets."""
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
        version = context.choose("quick", "full")
        head = ["", *(column.title for column in self.columns), "budget", "published budget"]
        lines = [
            f"# {self.title}",
            "",
            f"`pvae-neuro experiment {self.name}`, {version} version, seed {context.seed}.",
            "",
            _line(head),
            _line(["---"] * len(head)),
        ]
        for row in self.rows:
            cells = [_cell(row, column) for column in self.columns]
            lines.append(_line([row.name, *cells, row.budget, row.published_budget or UNPUBLISHED]))
        if any(row.published for row in self.rows):
            lines += ["", "Ours, and in parentheses the published figure."]
        lines += ["", *(f"- {_verdict(ok)}: {claim}" for claim, ok in self.checks.items())]
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines).rstrip() + "\n"


def _verdict(holds: bool) -> str:
    return "holds" if holds else "**fails**"


def _cell(row: Row, column: Column) -> str:
    ours, theirs = row.figures.get(column.key), row.published.get(column.key)
    text = UNPUBLISHED if ours is None else format(ours, column.form)
    return text if theirs is None else f"{text} ({format(theirs, column.form)})"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
