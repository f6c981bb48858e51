"""Where the folders of failing inputs lie."""

from __future__ import annotations

from pathlib import Path

import pytest

CASES = Path(__file__).parents[2] / "shared" / "cases"


def case_folder(name: str) -> Path:
    """The folder of one case; the test is skipped where it is absent."""
    folder = CASES / name
    if not folder.is_dir():
        pytest.skip(f"no failing inputs at {folder}")
    return folder
