"""Published figures beside ours, from ``published.json``, and what could not be verified.

The file names its sources. A figure that is known only from secondary text, or that no source
settles, is not in it as a number; :data:`UNVERIFIED` describes such figures for the notes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_CONTENT: dict[str, Any] = json.loads(
    Path(__file__).with_name("published.json").read_text(encoding="utf-8")
)

Figures = dict[str, Any]
"""One row of a table, by the names of its columns; what was not published is absent."""


def _rows(table: str) -> dict[str, list[Figures]]:
    content = {key: value for key, value in _CONTENT[table].items() if key != "about"}
    columns = content.pop("columns")
    return {
        group: [
            {name: value for name, value in zip(columns, row, strict=True) if value is not None}
            for row in rows
        ]
        for group, rows in content.items()
    }


def _by(key: str, table: str) -> dict[str, dict[Any, Figures]]:
    return {
        group: {row[key]: {k: v for k, v in row.items() if k != key} for row in rows}
        for group, rows in _rows(table).items()
    }


CONVERGENCE = _by("t", "convergence")
"""By family and iteration, counted from 0."""

RATE_DISTORTION = _rows("rate_distortion")
"""Settings by family."""

MNIST_TABLE = {family: row for family, (row,) in _rows("mnist_table").items()}
"""By family."""

SAMPLE_EFFICIENCY = _by("latents", "sample_efficiency")
"""By distribution of the latents, and their number."""

ELBO = {way: row for way, (row,) in _rows("elbo").items()}
"""By law of the latents and, of Poisson ones, how gradients pass them."""

SPARSE_CODING = _by("setting", "sparse_coding")
"""By way of inference, and its β or λ."""

PATCHES_BUDGET: str = _CONTENT["budgets"]["patches"]
"""Of the iterative models on whitened patches."""

SPARSE_CODING_BUDGET: str = _CONTENT["budgets"]["sparse_coding"]

UNVERIFIED: dict[str, list[str]] = _CONTENT["unverified"]
"""What a reader must not take for a published figure, by experiment or subject."""
