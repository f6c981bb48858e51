"""Shared paths and fixtures."""

from __future__ import annotations

import os
import random
import sys
from itertools import groupby
from pathlib import Path

# Tests run side by side: threads of their own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser):
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="run files, and the tests of each, in any order"
    )


def pytest_collection_modifyitems(config, items):
    """Shuffle files and the tests in each; a file stays together, for it shares fixtures."""
    seed = config.getoption("--shuffle")
    if seed is not None:
        order = random.Random(seed)
        files = [list(tests) for _, tests in groupby(items, lambda item: item.path)]
        order.shuffle(files)
        for tests in files:
            order.shuffle(tests)
        items[:] = [test for tests in files for test in tests]


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
