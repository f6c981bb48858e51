"""An experiment with all its seeds: rows with their spread, verdicts on claims, and its files."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pvae_neuro.experiments.shared.claims import Claim, Finding
from pvae_neuro.experiments.shared.result import Column, ExperimentResult, Row, combined_rows
from pvae_neuro.utils.files import atomic_path
from pvae_neuro.utils.json_text import finite, json_text
from pvae_neuro.utils.optional import require

UNPUBLISHED = "–"
"""In place of a figure that was not published or could not be verified."""


@dataclass
class ExperimentSummary:
    """What an experiment found with one or more seeds."""

    budget: str
    seeds: list[int]

    times: list[tuple[float, float]]
    """Minutes that each seed took, and minutes of one core."""

    results: list[ExperimentResult]
    """Of each seed."""

    claims: Sequence[Claim] = ()

    def __repr__(self) -> str:
        return (
            f"<ExperimentSummary {self.name}: {len(self.rows)} rows, {len(self.claims)} claims, "
            f"{len(self.seeds)} seeds>"
        )

    @property
    def name(self) -> str:
        """Of the experiment."""
        return self.results[0].name

    @cached_property
    def rows(self) -> list[Row]:
        """Means over seeds, with standard deviations where there are several."""
        return combined_rows([result.rows for result in self.results])

    @cached_property
    def findings(self) -> dict[str, Finding]:
        """The verdict on each claim, by its key."""
        seeds = [result.judged() for result in self.results]
        return {claim.key: claim.judge(seeds, self.budget) for claim in self.claims}

    @cached_property
    def notes(self) -> list[str]:
        """Of all seeds; those that not all of them share name their seed."""
        noted: dict[str, list[int]] = {}
        for seed, result in zip(self.seeds, self.results, strict=True):
            for note in result.notes:
                noted.setdefault(note, []).append(seed)
        return [
            note if len(seeds) == len(self.seeds) else f"Seed {', '.join(map(str, seeds))}: {note}"
            for note, seeds in noted.items()
        ]

    def write(self, folder: Path) -> None:
        """Write ``result.json``, ``.csv``, ``.md`` and ``figure.svg``, ``.png`` to a folder."""
        texts = {
            "result.json": json_text(self.to_dict()),
            "result.csv": self.to_csv(),
            "result.md": self.to_markdown(),
        }
        for name, text in texts.items():
            with atomic_path(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
        figures = require("matplotlib.figure", "report", "figures")
        first = self.results[0]
        figure = figures.Figure(figsize=first.size, layout="constrained")
        first.draw(figure, [result.shown for result in self.results])
        for name in ("figure.svg", "figure.png"):
            with atomic_path(folder / name) as temporary:
                figure.savefig(temporary, dpi=150)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; numbers that are not finite become None."""
        content: dict[str, Any] = finite(
            {
                "experiment": self.name,
                "title": self.results[0].title,
                "budget": self.budget,
                "seeds": self.seeds,
                "minutes": sum(minutes for minutes, _ in self.times),
                "core_minutes": sum(minutes for _, minutes in self.times),
                "rows": [asdict(row) for row in self.rows],
                "claims": [
                    {
                        "key": claim.key,
                        "statement": claim.statement,
                        "published": claim.published,
                        "bar": claim.bar.text,
                        "ours": finding.ours,
                        "verdict": finding.verdict.value,
                    }
                    for claim, finding in zip(self.claims, self.findings.values(), strict=True)
                ],
                "notes": self.notes,
                "by_seed": [
                    {
                        "seed": seed,
                        "figures": result.judged(),
                        "curves": result.curves,
                    }
                    for seed, result in zip(self.seeds, self.results, strict=True)
                ],
            }
        )
        return content

    def to_csv(self) -> str:
        """One line per row: of every column our figure, its spread and the published one."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        keys = [column.key for column in self.results[0].columns]
        several = len(self.seeds) > 1
        endings = ("", "_sd", "_published") if several else ("", "_published")
        head = [f"{key}{ending}" for key in keys for ending in endings]
        writer.writerow(["name", *head, "budget", "published_budget"])
        for row in self.rows:
            parts = [row.figures, row.spread, row.published] if several else [
                row.figures, row.published,
            ]  # fmt: skip
            cells = [part.get(key) for key in keys for part in parts]
            writer.writerow([row.name, *cells, row.budget, row.published_budget])
        return text.getvalue()

    def to_markdown(self) -> str:
        """Rows with the published figure beside ours, the verdicts, and the notes."""
        first = self.results[0]
        seeds = ", ".join(map(str, self.seeds))
        lines = [
            f"# {first.title}",
            "",
            f"`pvae-neuro experiment {self.name}`, budget {self.budget}, "
            f"seed{'s' if len(self.seeds) > 1 else ''} {seeds}.",
            "",
            *table_lines(
                ["", *(column.title for column in first.columns), "budget", "published budget"],
                [
                    [
                        row.name,
                        *(_cell(row, column) for column in first.columns),
                        row.budget,
                        row.published_budget or UNPUBLISHED,
                    ]
                    for row in self.rows
                ],
            ),
        ]
        if len(self.seeds) > 1:
            lines += ["", f"Means and standard deviations of {len(self.seeds)} seeds."]
        if any(row.published for row in self.rows):
            lines += ["", "Ours, and in parentheses the published figure."]
        if self.claims:
            lines += ["", *self._verdicts()]
        lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines).rstrip() + "\n"

    def _verdicts(self) -> list[str]:
        return table_lines(
            ["claim", "published", "bar", "ours", "verdict"],
            [
                [claim.statement, claim.published, claim.bar.text, finding.ours,
                 f"**{finding.verdict.value}**"]
                for claim, finding in zip(self.claims, self.findings.values(), strict=True)
            ],
        )  # fmt: skip


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cell(row: Row, column: Column) -> str:
    ours, theirs = row.figures.get(column.key), row.published.get(column.key)
    text = UNPUBLISHED if ours is None else format(ours, column.form)
    if column.key in row.spread:
        text += f" ± {row.spread[column.key]:.2g}"
    return text if theirs is None else f"{text} ({format(theirs, column.form)})"
