"""Shared paths and fixtures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Tests run side by side: threads of their own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """No test reads or writes the user's cache folder."""
    before = os.environ.get("PVAE_NEURO_CACHE")
    os.environ["PVAE_NEURO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["PVAE_NEURO_CACHE"]
    else:
        os.environ["PVAE_NEURO_CACHE"] = before
